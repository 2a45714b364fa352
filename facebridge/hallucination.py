"""From the face a camera gave to a face at a crop's size: degrading for experiments, enlarging, and methods between."""

from collections.abc import Sequence
from typing import Any, Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from facebridge.crops import Crop
from facebridge.images import Kernel, resize, to_faces, to_pictures
from facebridge.method import HallucinationMethod, TakesPoints, TurnsHeads

LEVELS = 255

Preset = Literal["clean", "code"]
"""clean: floating point from the small face to the recogniser.
code: where something is enlarged to the crop's size, it is an 8-bit picture and cv2 enlarges it; what a network made is
cut down to 8 bits for that, not rounded (test script of SR_LRFR, ICIP 2019)."""

_CV2 = {"bicubic": cv2.INTER_CUBIC, "bilinear": cv2.INTER_LINEAR, "lanczos": cv2.INTER_LANCZOS4}


def reduce(faces: Tensor, height: int, width: int) -> Tensor:
    """What a small picture file would hold: bicubic without anti-aliasing (cv2.resize), rounded to 8 bits.

    Faces (B, 3, H, W) -> (B, 3, height, width), both in [0, 1]; SR_LRFR makes its low-resolution probes so.
    """
    if faces.shape[-2:] == (height, width):
        return faces
    return (resize(faces, height, width).clamp(0, 1) * LEVELS).round() / LEVELS


def enlarge(faces: Tensor, crop: Crop, kernel: Kernel = "bicubic", preset: Preset = "clean") -> Tensor:
    """Faces (B, 3, h, w) at the crop's size, in [0, 1]; those of that size come back as they are.

    Preset "code" takes them as pictures, rounded to 8 bits, and gives pictures.
    """
    if faces.shape[-2:] == (crop.height, crop.width):
        return faces
    if preset == "code":
        size = (crop.width, crop.height)
        large = [cv2.resize(picture, size, interpolation=_CV2[kernel]) for picture in to_pictures(faces)]
        return to_faces(np.stack(large).astype(np.uint8, copy=False)).to(faces)
    return resize(faces, crop.height, crop.width, kernel).clamp(0, 1)


@torch.no_grad()
def hallucinate(
    method: HallucinationMethod[Any], faces: Tensor, preset: Preset = "clean", points: Tensor | None = None
) -> Tensor:
    """Faces of the method, at its crop's size: (B, 3, h, w) -> (B, 3, crop.height, crop.width), both in [0, 1].

    points: (B, 5, 2) px of the faces, for a method that looks where they lie; absent: where the crop has them.

    A method that stops short of the crop's size (edsr_identity enlarges four times) is taken on by bicubic enlargement;
    with the preset "code" by that of its 8-bit picture, cut down, as SR_LRFR's test does.
    """
    if points is not None and isinstance(method, TakesPoints):
        made = method.generate_at(faces, points)
    else:
        made = method.generate(faces)
    if preset == "code" and made.shape[-2:] != (method.crop.height, method.crop.width):
        made = (made * LEVELS).floor() / LEVELS
    return enlarge(made, method.crop, preset=preset)


@torch.no_grad()
def turned(method: HallucinationMethod[Any], faces: Tensor, yaw_deg: float) -> Tensor:
    """Faces turned to one yaw, degrees: (B, 3, h, w) -> (B, 3, crop.height, crop.width), both in [0, 1].

    Raises:
        ValueError: if the method turns no heads, or was not trained for this yaw.
    """
    return turning(method).turned(faces, [yaw_deg])[:, 0]


@torch.no_grad()
def strip(method: HallucinationMethod[Any], faces: Tensor) -> Tensor:
    """Faces at each of the method's n poses, from left to right: (B, 3, crop.height, n crop.width) in [0, 1].

    Raises:
        ValueError: if the method turns no heads.
    """
    able = turning(method)
    poses: Sequence[float] = able.poses_deg()
    return torch.cat(able.turned(faces, poses).unbind(1), -1)


def turning(method: HallucinationMethod[Any]) -> TurnsHeads:
    """The method, where it turns heads. ValueError: if it does not."""
    if not isinstance(method, TurnsHeads):
        raise ValueError(
            f"{type(method).__name__} turns no heads: a yaw or a strip needs a method that was trained for several "
            "poses, such as dr_gan"
        )
    return method
