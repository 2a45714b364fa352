"""From the face a camera gave to a face at a crop's size: degrading for experiments, enlarging, and methods between."""

from typing import Any

import torch
from torch import Tensor

from facebridge.crops import Crop
from facebridge.images import Kernel, resize
from facebridge.method import HallucinationMethod

LEVELS = 255


def reduce(faces: Tensor, height: int, width: int) -> Tensor:
    """What a small picture file would hold: bicubic without anti-aliasing (cv2.resize), rounded to 8 bits.

    Faces (B, 3, H, W) -> (B, 3, height, width), both in [0, 1]; SR_LRFR makes its low-resolution probes so.
    """
    if faces.shape[-2:] == (height, width):
        return faces
    return (resize(faces, height, width).clamp(0, 1) * LEVELS).round() / LEVELS


def enlarge(faces: Tensor, crop: Crop, kernel: Kernel = "bicubic") -> Tensor:
    """Faces (B, 3, h, w) at the crop's size, in [0, 1]; those of that size come back as they are."""
    if faces.shape[-2:] == (crop.height, crop.width):
        return faces
    return resize(faces, crop.height, crop.width, kernel).clamp(0, 1)


@torch.no_grad()
def hallucinate(method: HallucinationMethod[Any], faces: Tensor) -> Tensor:
    """Faces of the method, at its crop's size: (B, 3, h, w) -> (B, 3, crop.height, crop.width), both in [0, 1].

    A method that stops short of the crop's size (edsr_identity enlarges four times) is taken on by bicubic
    enlargement of its 8-bit picture, as SR_LRFR's test does.
    """
    made = method.generate(faces)
    if made.shape[-2:] != (method.crop.height, method.crop.width):
        made = (made * LEVELS).floor() / LEVELS
    return enlarge(made, method.crop)
