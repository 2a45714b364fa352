"""The parts of a face: eleven classes that a parsing map tells apart, and maps of them.

A parsing map is uint8 (..., H, W), a `Part` for each pixel. The classes are those of Helen's published labels (Smith et
al., "Exemplar-Based Face Parsing", CVPR 2013).
"""

from collections.abc import Iterable
from enum import IntEnum

import cv2
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from facebridge.crops import Crop, Outside


class Part(IntEnum):
    """The eleven classes of the parsing map; right and left are the person's own."""

    BACKGROUND = 0
    SKIN = 1
    RIGHT_BROW = 2
    LEFT_BROW = 3
    RIGHT_EYE = 4
    LEFT_EYE = 5
    NOSE = 6
    UPPER_LIP = 7
    INNER_MOUTH = 8
    LOWER_LIP = 9
    HAIR = 10


NUM_PARTS = len(Part)
NUM_POINTS = 68
"""Landmarks from which parts can be drawn."""

MIRRORED = (
    Part.BACKGROUND,
    Part.SKIN,
    Part.LEFT_BROW,
    Part.RIGHT_BROW,
    Part.LEFT_EYE,
    Part.RIGHT_EYE,
    Part.NOSE,
    Part.UPPER_LIP,
    Part.INNER_MOUTH,
    Part.LOWER_LIP,
    Part.HAIR,
)
"""Which part of the mirrored face is which of the face."""

BROW_THICKNESS = 0.09
"""How far a brow reaches below its five landmarks, of the distance of the eyes: drawn people's true
brows are met best at 0.08 and 0.09 (intersection over union 0.65)."""

NOSE_WIDTH, BRIDGE_WIDTH = 1.4, 0.3
"""How wide the wings of the nose are, beside its two outermost landmarks, and how wide the bridge is beside the wings:
about where drawn people's true noses are met best (intersection over union 0.77)."""

Outline = tuple[Part, NDArray[np.float64]]
"""A part, and the corners (N, 2) of what it covers, pixels."""


def mirrored(parsing: Tensor) -> Tensor:
    """Maps (..., H, W) uint8 of faces -> those of the mirrored faces, in which right and left change places."""
    return torch.tensor(MIRRORED, dtype=torch.uint8, device=parsing.device)[parsing.flip(-1).long()]


def cut(
    parsing: NDArray[np.uint8], matrix: NDArray[np.float64], crop: Crop, outside: Outside = "black"
) -> NDArray[np.uint8]:
    """The map (H, W) of a picture, aligned as `crops.cut` aligns the picture: (crop.height, crop.width).

    Each pixel is of the part that the nearest pixel of the picture shows; beyond the picture is background, or with
    outside = "mirror" what lies within.

    Args:
        matrix: the similarity (2, 3) from the picture to the crop.
    """
    mirrors = outside == "mirror" and min(parsing.shape) > 1
    border = cv2.BORDER_REFLECT_101 if mirrors else cv2.BORDER_CONSTANT
    size = (crop.width, crop.height)
    return np.asarray(cv2.warpAffine(parsing, matrix, size, flags=cv2.INTER_NEAREST, borderMode=border), np.uint8)


def from_points68(points: ArrayLike, height: int, width: int) -> NDArray[np.uint8]:
    """The parts that 68 landmarks outline: (height, width) uint8. An approximation.

    Skin is the convex hull of jaw and brows, so that the forehead above the brows, the ears, the neck and the hair are
    background; a brow is a band below its five landmarks; the nose goes from the bridge to the wings, wider than its
    landmarks.

    Args:
        points: (68, 2) pixels of the map, in iBUG's order.

    Raises:
        ValueError: if the points have another shape or are not finite.
    """
    found = np.asarray(points, np.float64)
    if found.shape != (NUM_POINTS, 2) or not np.isfinite(found).all():
        raise ValueError(f"expected {NUM_POINTS} finite points (x, y), got shape {found.shape}")
    across = found[42:48].mean(0) - found[36:42].mean(0)
    below = BROW_THICKNESS * np.array([-across[1], across[0]])
    brows = [np.vstack([brow, brow[::-1] + below]) for brow in (found[17:22], found[22:27])]
    return painted(
        [
            (Part.SKIN, hull(found[:27])),
            (Part.NOSE, _nose(found)),
            (Part.RIGHT_BROW, brows[0]),
            (Part.LEFT_BROW, brows[1]),
            (Part.RIGHT_EYE, found[36:42]),
            (Part.LEFT_EYE, found[42:48]),
            (Part.UPPER_LIP, found[[*range(48, 55), *range(64, 59, -1)]]),
            (Part.LOWER_LIP, found[[*range(54, 60), 48, 60, *range(67, 63, -1)]]),
            (Part.INNER_MOUTH, found[60:68]),
        ],
        height,
        width,
    )


def painted(outlines: Iterable[Outline], height: int, width: int) -> NDArray[np.uint8]:
    """Parts painted one over the other, the last on top: (height, width) uint8.

    A pixel is of a part if its centre lies within the outline, or less than a fifth of a pixel from it.
    """
    fine = np.zeros((height * _FINER, width * _FINER), np.uint8)
    for part, outline in outlines:
        # The middle of the _FINER x _FINER fine pixels of a pixel is its centre.
        corners = np.clip(outline, -_FARTHEST_PX, _FARTHEST_PX) * _FINER + _FINER // 2
        cv2.fillPoly(fine, [np.round(corners * 2**_FRACTION_BITS).astype(np.int32)], int(part), shift=_FRACTION_BITS)
    return np.ascontiguousarray(fine[_FINER // 2 :: _FINER, _FINER // 2 :: _FINER])


def hull(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The corners (M, 2) of the smallest convex outline around points (N, 2)."""
    corners = cv2.convexHull(np.unique(points.astype(np.float32) + 0.0, axis=0))  # -0 and 0 are one place
    return np.asarray(points[:1] if corners is None else corners[:, 0], np.float64)


def _nose(points: NDArray[np.float64]) -> NDArray[np.float64]:
    wing = NOSE_WIDTH * (points[35] - points[31]) / 2
    base, bridge = (points[31] + points[35]) / 2, BRIDGE_WIDTH * wing
    return np.array([points[27] - bridge, base - wing, points[33], base + wing, points[27] + bridge])


_FINER = 9
_FRACTION_BITS = 4
_FARTHEST_PX = 10_000
