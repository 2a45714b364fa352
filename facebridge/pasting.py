"""A generated face back into the picture that it was made from, where the face lies and as large as it is there."""

import cv2
import numpy as np
from numpy.typing import NDArray

EDGE = 0.1
"""Width of the soft edge, as a part of the crop's smaller side."""


def paste(
    picture: NDArray[np.uint8], face: NDArray[np.uint8], matrix: NDArray[np.float64], edge: float = EDGE
) -> NDArray[np.uint8]:
    """The picture with the face in it; pixels that the crop does not reach stay as they are.

    The face counts in full inside the soft edge; towards the crop's outer edge its weight falls to 0 as 3t^2 - 2t^3.

    Args:
        picture: (H, W, 3) uint8 RGB.
        face: (h, w, 3) uint8 RGB in the crop.
        matrix: the similarity (2, 3) from the picture to the crop, by which it was aligned.
        edge: see `EDGE`.
    """
    height, width = face.shape[:2]
    left, top, right, bottom = _box(matrix, (height, width), picture.shape[:2])
    whole = picture.copy()
    if left >= right or top >= bottom:
        return whole
    to_box = matrix @ np.array([[1, 0, left], [0, 1, top], [0, 0, 1]])  # from pixels of the box to the crop
    weight = _weight(to_box, (bottom - top, right - left), (height, width), edge)[..., None]
    warped = warped_back(face, to_box, (bottom - top, right - left))
    there = whole[top:bottom, left:right]
    whole[top:bottom, left:right] = (weight * warped + (1 - weight) * there).round().astype(np.uint8)
    return whole


def warped_back(face: NDArray[np.uint8], matrix: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The face as a picture (height, width) would show it: cubic; one that shrinks is first reduced by area.

    matrix: the similarity (2, 3) from that picture to the crop. Beyond the crop its edge is repeated.
    """
    height, width = face.shape[:2]
    per_px = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if per_px > 1:
        reduced = max(1, round(width / per_px)), max(1, round(height / per_px))
        face = np.asarray(cv2.resize(face, reduced, interpolation=cv2.INTER_AREA), np.uint8)
        per_axis = np.array([reduced[0] / width, reduced[1] / height])
        half = np.array([[0, 0, 0.5], [0, 0, 0.5]])  # the outer edge of the first pixel, at -0.5, stays where it is
        matrix = (matrix + half) * per_axis[:, None] - half
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    back = cv2.warpAffine(face, matrix, size[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(back, np.uint8)


def _box(matrix: NDArray[np.float64], crop: tuple[int, int], picture: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the pixels of the picture that the crop may reach."""
    outer = np.array([[x, y] for x in (-0.5, crop[1] - 0.5) for y in (-0.5, crop[0] - 0.5)])
    corners = (outer - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    first = np.clip(np.floor(corners.min(0)), 0, picture[1::-1]).astype(int)
    last = np.clip(np.ceil(corners.max(0)) + 1, 0, picture[1::-1]).astype(int)
    return int(first[0]), int(first[1]), int(last[0]), int(last[1])


def _weight(
    matrix: NDArray[np.float64], size: tuple[int, int], crop: tuple[int, int], edge: float
) -> NDArray[np.float32]:
    """How much of the face each pixel (height, width) shows, 0 to 1."""
    x, y = np.meshgrid(np.arange(size[1]), np.arange(size[0]))
    crop_x, crop_y = (row[0] * x + row[1] * y + row[2] for row in matrix)
    inside = np.minimum(
        np.minimum(crop_x + 0.5, crop[1] - 0.5 - crop_x), np.minimum(crop_y + 0.5, crop[0] - 0.5 - crop_y)
    )
    share = np.clip(inside / (edge * min(crop)), 0, 1)
    return np.asarray(share * share * (3 - 2 * share), np.float32)
