"""Rows of faces that a decoder makes in use."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from facebridge.layers import unsigned
from facebridge.methods.dr_gan.networks import flat


def rows(decoder: nn.Module, features: Tensor, codes: Tensor, noise: Tensor) -> Tensor:
    """Faces (B, n, 3, H, W) float32 in [0, 1], by running statistics.

    Args:
        decoder: takes features, codes and noise; see `facebridge.methods.dr_gan.networks.Decoder`.
        features: (B, n or 1, D).
        codes: (n or 1, Np).
        noise: (n or 1, Nz).
    """
    people, count = len(features), max(features.shape[1], len(codes), len(noise))
    codes, noise = (each.to(features).expand(people, count, -1) for each in (codes, noise))
    with evaluating(decoder):
        made: Tensor = decoder(flat(features.expand(-1, count, -1)), flat(codes), flat(noise))
    return unsigned(made).float().clamp(0, 1).reshape(people, count, *made.shape[1:])


def equal_parts(count: int) -> Tensor:
    """0 to 1 in equal steps: (count,).

    Raises:
        ValueError: if there are fewer than two.
    """
    if count < 2:
        raise ValueError(f"from one end to the other it takes two faces or more, not {count}")
    return torch.linspace(0, 1, count)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Running statistics while this lasts."""
    mode = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(mode)
