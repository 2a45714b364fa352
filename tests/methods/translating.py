"""Small material for tests of methods that translate: pairs of drawn faces, and generators that are known."""

import functools

import numpy as np
import torch
from torch import Tensor, nn

from facebridge import crops, images
from facebridge.crops import Crop
from tests.drawn import shots

CROP = crops.crop("arcface_64")


@functools.cache
def pairs(count: int = 2, crop: Crop = CROP) -> dict[str, Tensor]:
    """Near-infrared sources and visible targets of one person each at different moments, with their 68 points."""
    drawn = shots()
    made: dict[str, list[np.ndarray]] = {"source": [], "target": [], "source_points": [], "target_points": []}
    for person in range(count):
        for side, pictures, shot in (("source", drawn.nir, 0), ("target", drawn.vis, 1)):
            matrix = crops.similarity(drawn.five[person, shot], crop.points)
            made[side].append(crops.cut(pictures[person][shot], matrix, crop))
            made[f"{side}_points"].append(crops.moved(drawn.sixty_eight[person, shot], matrix))
    faces = {side: images.to_faces(np.stack(made[side])) for side in ("source", "target")}
    points = {side: torch.from_numpy(np.stack(made[side])) for side in ("source_points", "target_points")}
    return {**faces, **points, "source_identity": torch.arange(count), "target_identity": torch.arange(count)}


def l1(first: Tensor, second: Tensor) -> float:
    """Mean absolute difference, one number at a time."""
    values = [abs(float(a) - float(b)) for a, b in zip(first.ravel(), second.ravel(), strict=True)]
    return sum(values) / len(values)


class Tinted(nn.Module):
    """Pictures times a number: a generator whose pictures are known."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, pictures: Tensor) -> Tensor:
        return pictures * self.factor


class Scored(nn.Module):
    """A discriminator that gives each picture's mean, times a number, as scores of one patch."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, pictures: Tensor) -> Tensor:
        return pictures.mean((1, 2, 3), keepdim=True) * self.factor


def unchanged(before: dict[str, Tensor], after: dict[str, Tensor]) -> list[str]:
    """Names of tensors that are as they were."""
    return [name for name, tensor in after.items() if torch.equal(tensor, before[name])]


def batch(seed: int = 5) -> dict[str, Tensor]:
    """Noise of two people: enough where no face has to be found in it."""
    faces = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(seed))
    people = torch.tensor([0, 1])
    return {"source": faces[:2], "target": faces[2:], "source_identity": people, "target_identity": people}


def num_parameters(network: nn.Module) -> int:
    return sum(tensor.numel() for tensor in network.parameters())
