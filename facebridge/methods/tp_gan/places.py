"""Where TP-GAN's local paths look: which side a face shows, patches about its points, and their places in the front.

Points are five, (x, y) in pixels, as `facebridge.crops` orders them. The parts' order is everywhere: the eye that is
seen, the eye that may be hidden, the nose, the mouth. A face that shows its left cheek is mirrored first, so that the
eye that is seen is always the one on the left of the picture.
"""

import torch
from torch import Tensor
from torch.nn import functional

from facebridge.crops import Crop
from facebridge.layers import Patch
from facebridge.pose import MIRRORED_FIVE, looks_right

PARTS = ("seen_eye", "hidden_eye", "nose", "mouth")

Size = tuple[int, int]
"""Height and width, px."""

BLACK = -1.0
"""In pictures with values in [-1, 1]."""


def turned(faces: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Faces that all show their right cheek: those that look to the left of the picture are mirrored.

    Args:
        faces: (B, C, H, W).
        points: (B, 5, 2).

    Returns:
        Which were mirrored (B,) bool, the faces, and their points, right and left changed places.
    """
    points = points.to(faces)
    left = ~torch.from_numpy(looks_right(points.cpu().numpy())).to(points.device)
    mirrored = points[:, list(MIRRORED_FIVE)]
    mirrored = torch.stack([faces.shape[-1] - 1 - mirrored[..., 0], mirrored[..., 1]], -1)
    return left, mirrored_where(left, faces), torch.where(left[:, None, None], mirrored, points)


def mirrored_where(is_mirrored: Tensor, pictures: Tensor) -> Tensor:
    """Pictures (B, C, H, W), those mirrored left to right that (B,) bool says."""
    return torch.where(is_mirrored[:, None, None, None], pictures.flip(-1), pictures)


def centres(points: Tensor) -> Tensor:
    """The parts' middles, rounded to whole pixels: points (B, 5, 2) -> (B, 4, 2) int64, in the order of `PARTS`."""
    mouth = points[:, 3:].mean(1, keepdim=True)
    return torch.cat([points[:, :3], mouth], 1).add(0.5).floor().long()


def cut(pictures: Tensor, middle: Tensor, size: Size) -> Tensor:
    """The patches of this size about whole pixels: (B, C, H, W), (B, 2) (x, y) -> (B, C, *size).

    A patch that would leave its picture is moved inwards.
    """
    height, width = size
    left, top = (middle - torch.tensor([width // 2, height // 2], device=middle.device)).unbind(-1)
    top, left = top.clamp(0, pictures.shape[-2] - height), left.clamp(0, pictures.shape[-1] - width)
    rows = top[:, None] + torch.arange(height, device=top.device)  # (B, height)
    columns = left[:, None] + torch.arange(width, device=left.device)  # (B, width)
    samples = torch.arange(len(pictures), device=pictures.device)
    found = pictures.permute(0, 2, 3, 1)[samples[:, None, None], rows[:, :, None], columns[:, None, :]]
    return found.permute(0, 3, 1, 2)


def frontal_places(crop: Crop, eye: Size, nose: Size, mouth: Size) -> tuple[Patch, ...]:
    """Where the parts of a frontal face lie: about the points of the crop, in the order of `PARTS`.

    Raises:
        ValueError: if a patch is larger than the crop, or a side is no multiple of 8.
    """
    sizes = {"eye_size": eye, "nose_size": nose, "mouth_size": mouth}
    for name, (height, width) in sizes.items():
        if height % 8 or width % 8 or height > crop.height or width > crop.width:
            raise ValueError(
                f"{name} is {height}x{width} px; a local path halves its patch three times: choose multiples of 8, at "
                f"most the {crop.height}x{crop.width} px of crop {crop.name}"
            )
    middles = centres(torch.tensor([crop.points], dtype=torch.float64, device="cpu"))[0].tolist()
    return tuple(_about(x, y, size, crop) for (x, y), size in zip(middles, (eye, eye, nose, mouth), strict=True))


def fused(maps: list[Tensor], places: tuple[Patch, ...], size: Size, outside: float = 0.0) -> Tensor:
    """Maps (B, C, h, w) of the parts, each in its place in one of this size; where several are, the largest value."""
    padded = [
        functional.pad(each, _margins(place, size), value=outside) for each, place in zip(maps, places, strict=True)
    ]
    largest = padded[0]
    for each in padded[1:]:
        largest = torch.maximum(largest, each)
    return largest


def _margins(place: Patch, size: Size) -> tuple[int, int, int, int]:
    right, bottom = size[1] - place.left - place.width, size[0] - place.top - place.height
    return place.left, right, place.top, bottom


def _about(x: int, y: int, size: Size, crop: Crop) -> Patch:
    height, width = size
    top, left = y - height // 2, x - width // 2
    return Patch(min(max(top, 0), crop.height - height), min(max(left, 0), crop.width - width), height, width)
