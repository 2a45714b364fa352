"""Weights decided by the names and shapes of tensors, and the reference numbers of published networks with them."""

import json
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parent


def fill(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """A value for every tensor, the same on any machine: drawn from a generator seeded with its name's CRC-32."""
    return {name: torch.from_numpy(_values(name, shape)) for name, shape in shapes.items()}


def published_state(name: str) -> dict[str, Tensor]:
    """The filled state dict of a published network, under its published names."""
    described = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return fill({tensor: tuple(shape) for tensor, shape in described["parameters"].items()})


def reference(name: str, folder: Path = FOLDER) -> dict[str, Tensor]:
    """The inputs (`input_*`) and outputs (`output_*`) of a published network."""
    with np.load(folder / f"{name}.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays}


def error_in_spreads(ours: Tensor, published: Tensor) -> float:
    """The largest difference, in units of the published output's spread (largest minus smallest)."""
    assert ours.shape == published.shape
    return float((ours - published).abs().max() / (published.max() - published.min()))


def _values(name: str, shape: tuple[int, ...]) -> np.ndarray:
    normal = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
    leaf = name.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if leaf == "running_var":
        return 1 + np.float32(0.2) * np.abs(normal)
    if leaf in ("running_mean", "bias"):
        return np.float32(0.1) * normal
    if len(shape) < 2:
        return np.float32(0.5) + np.float32(0.1) * normal
    return (normal * np.sqrt(1.0 / np.prod(shape[1:]))).astype(np.float32)
