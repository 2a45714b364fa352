"""Trainings so small that a test can afford many: a generator of one block on random faces."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from facebridge import images, weights
from facebridge import recipe as recipes
from facebridge.recipe import Recipe

HEIGHT, WIDTH = 112, 96  # the sphereface crop
RECOGNISER = {"name": "mobile_facenet", "sizes": {"height": HEIGHT, "width": WIDTH, "width_multiplier": 0.125}}


class RandomFaces:
    """Pictures of noise, the same for the same number; `tests` can pickle it for another process."""

    def __init__(self, count: int = 7) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def identity(self, index: int) -> int:
        return index // 2

    def picture(self, index: int) -> np.ndarray:
        return np.random.default_rng(index).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def table(settings: dict[str, Any] | None = None, **training: Any) -> dict[str, Any]:
    """A recipe's table; `settings` and `training` over the smallest ones."""
    return {
        "method": "edsr_identity",
        "seed": 3,
        "settings": {"num_blocks": 1, "num_filters": 4, "identity_weight": 0.0, "learning_rate": 1e-3}
        | {"halve_every_steps": 3}
        | (settings or {}),
        "data": {"kind": "face_list", "list": "faces.csv"},
        "training": {"steps": 6, "batch_size": 4, "threads": 1, "log_every_steps": 1}
        | {"checkpoint_every_steps": 2, "preview_every_steps": 100}
        | training,
    }


def recipe(settings: dict[str, Any] | None = None, **training: Any) -> Recipe:
    return recipes.resolve(table(settings, **training), "a test")


def face_list(folder: Path, count: int = 7) -> Path:
    """The same faces as PNG files of the crop's size, with their list."""
    faces = RandomFaces(count)
    rows = ["path,identity,domain,crop"]
    for index in range(count):
        images.write(folder / f"{index}.png", faces.picture(index))
        rows.append(f"{index}.png,person{faces.identity(index)},vis,sphereface")
    path = folder / "faces.csv"
    path.write_text("\n".join(rows) + "\n", "utf-8")
    return path


def assert_same_weights(one: Path, other: Path) -> None:
    """Bit for bit."""
    left, right = weights.read(one / "weights.safetensors"), weights.read(other / "weights.safetensors")
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        assert torch.equal(tensor, right[name]), name
