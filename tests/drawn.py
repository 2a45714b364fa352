"""Small material for tests: drawn people on disk, a thin untrained recogniser, a run that was never trained."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facebridge import crops, images, methods, recipe, recognisers, runs, weights
from facebridge.data import face_list, synthetic
from facebridge.recogniser import Recogniser

PEOPLE, SHOTS, SIZE = 6, 3, 96
THIN: dict[str, Any] = {"height": 112, "width": 96, "width_multiplier": 0.125, "embedding_size": 16}
TINY = {"num_blocks": 1, "num_filters": 4}


def people(folder: Path, num_people: int = PEOPLE, shots: int = SHOTS) -> Path:
    """Draw people into a folder, the first shot of each as gallery, the others as probes; the face list."""
    listed = synthetic.render_to(folder, identities=num_people, shots=shots, size=SIZE, seed=5)
    faces = face_list.read(listed)
    is_first = [path.endswith("/0000_vis.png") for path in faces.column("path").tolist()]
    face_list.write(faces.with_column("split", np.where(is_first, "gallery", "probe").tolist()), listed)
    return listed


def thin_recogniser(seed: int = 3) -> Recogniser:
    """A MobileFaceNet of a few channels whose weights and statistics are all random, so that nothing cancels."""
    recogniser = recognisers.load("mobile_facenet", **THIN)
    shaken(recogniser, seed)
    return recogniser


def shaken(network: torch.nn.Module, seed: int = 3) -> None:
    """Move every statistic, scale, bias and slope away from what it starts with."""
    draw = torch.Generator().manual_seed(seed)
    for name, value in network.state_dict().items():
        noise = torch.rand(value.shape, generator=draw)
        if name.endswith("running_var") or (value.ndim == 1 and name.endswith("weight")):
            value.copy_(0.5 + noise)
        elif value.ndim == 1 and value.is_floating_point() and name.endswith(("bias", "running_mean")):
            value.copy_(noise - 0.5)
        elif value.ndim > 1:
            fan_in = value[0].numel()
            value.copy_((noise - 0.5) * (12 / fan_in) ** 0.5)


@functools.cache
def aligned_faces(num: int = 4) -> Tensor:
    """Drawn faces in the sphereface crop: (num, 3, 112, 96), no two of one person."""
    shots = synthetic.render(7, list(range(num)), [0] * num, size=128, truth=True)
    pictures = images.to_pictures(shots.faces["vis"])
    points = shots.landmarks5.numpy()
    crop = crops.crop("sphereface")
    return images.to_faces(np.stack([crops.align(pictures[row], points[row], crop) for row in range(num)]))


def untrained_run(folder: Path, crop: str = "sphereface") -> Path:
    """A run folder of a tiny edsr_identity with its first weights."""
    table = {
        "method": "edsr_identity",
        "crop": crop,
        "settings": {**TINY, "identity_weight": 0, "reductions": [4, 8, 16]},
        "data": {"kind": "synthetic"},
        "training": {"steps": 1, "batch_size": 1},
    }
    run = runs.create(folder, recipe.resolve(table, "a test"))
    torch.manual_seed(1)
    method = methods.load("edsr_identity")(run.recipe.config(), crops.crop(crop))
    weights.write(run.weights, method.state_dict(), {"method": "edsr_identity"})
    return folder


@dataclasses.dataclass(frozen=True)
class Shots:
    """Drawn pictures, uint8 RGB (size, size, 3) by [person][shot], and their points in pixels."""

    vis: list[list[np.ndarray]]
    nir: list[list[np.ndarray]]
    five: np.ndarray
    """(people, shots, 5, 2)"""
    sixty_eight: np.ndarray
    """(people, shots, 68, 2)"""
    yaw_deg: np.ndarray
    """(people, shots)"""


@functools.cache
def shots(num_people: int = 4, num_shots: int = 4, size: int = 96) -> Shots:
    """Pictures of drawn people in both cameras, pixel-aligned, to write under the names of any data set's layout."""
    drawn = synthetic.render(
        11,
        [person for person in range(num_people) for _ in range(num_shots)],
        list(range(num_shots)) * num_people,
        size=size,
        domains=("vis", "nir"),
        truth=True,
    )
    by_person = (num_people, num_shots)

    def pictures(domain: str) -> list[list[np.ndarray]]:
        found = images.to_pictures(drawn.faces[domain])
        return [list(person) for person in found.reshape(*by_person, size, size, 3)]

    return Shots(
        pictures("vis"),
        pictures("nir"),
        drawn.landmarks5.numpy().reshape(*by_person, 5, 2),
        drawn.landmarks68.numpy().reshape(*by_person, 68, 2),
        drawn.yaw_deg.numpy().reshape(by_person),
    )
