"""Helen's 194 points as parts of the face: a map for each part or for all, heat maps, and five points for alignment.

Which points outline which part, the nine maps, the 3-pixel jaw and the spread of the heat maps are those of a port of
FSRNet; on Helen's published points the first eye and brow lie at the right of the picture, so they are the person's
left. Ours: outlines are drawn from real-valued points, maps hold 0 and 1, and the tip of the nose.
"""

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from facebridge import parts
from facebridge.parts import Part

NUM_POINTS = 194
PARTS = {
    "jaw": slice(0, 41),
    "nose": slice(41, 58),
    "upper_lip": slice(58, 72),
    "lower_lip": slice(72, 86),
    "inner_mouth": slice(86, 114),
    "left_eye": slice(114, 134),
    "right_eye": slice(134, 154),
    "left_brow": slice(154, 174),
    "right_brow": slice(174, 194),
}
"""Part -> its points, in the order of the maps; left and right are the person's."""
MOUTH_RIGHT, MOUTH_LEFT, NOSE_BASE = 58, 71, 49
JAW_WIDTH_PX = 3
HEAT_SIGMA_PX = 3.0
NOSE_TIP = 0.73
"""How far from the middle of the eyes to the base of the nose the tip lies. No point marks it. Measured on 239 nearly
frontal photographs of LFW with YuNet's tip and PFLD's eyes and base: median 0.73, and 0.70 with PFLD's own tip."""
_FRACTION_BITS = 4


def parsing_maps(points: ArrayLike, height: int, width: int) -> NDArray[np.float32]:
    """Where each of `PARTS` is: (9, height, width), 1 inside and on the outline (less than a pixel from it), else 0.

    The jaw is an open line of 3 pixels; the nose is closed through the middle of the eyes; each lip is what its points
    outline, which for the upper lip of an open mouth is more than the lip.

    points: (194, 2) pixels of the maps. ValueError: if they have another shape or are not finite.
    """
    found = _checked(points)
    maps = np.zeros((len(PARTS), height, width), np.uint8)
    for place, (name, rows) in enumerate(PARTS.items()):
        outline = found[rows]
        if name == "jaw":
            maps[place] = _distance_px(outline, height, width) <= JAW_WIDTH_PX / 2
            continue
        if name == "nose":
            outline = np.vstack([outline, found[_EYES].mean(0)])
        corners = np.round(outline * 2**_FRACTION_BITS).astype(np.int32)
        cv2.fillPoly(maps[place], [corners], 1, shift=_FRACTION_BITS)
    return maps.astype(np.float32)


def parsing(points: ArrayLike, height: int, width: int) -> NDArray[np.uint8]:
    """Which part each pixel shows: (height, width), a `Part`, from 194 points (194, 2) in pixels of the map.

    Skin is the convex hull of jaw and brows: the points know no hair, forehead, ears and neck, which are background.
    The nose is closed through the middle of the eyes. ValueError: as `parsing_maps`.
    """
    found = _checked(points)
    outlines = {name: found[rows] for name, rows in PARTS.items()}
    face = np.vstack([outlines[name] for name in ("jaw", "left_brow", "right_brow")])
    return parts.painted(
        [
            (Part.SKIN, parts.hull(face)),
            (Part.NOSE, np.vstack([outlines["nose"], found[_EYES].mean(0)])),
            *((Part[name.upper()], outlines[name]) for name in _PAINTED),
        ],
        height,
        width,
    )


def heat_maps(points: ArrayLike, height: int, width: int, sigma_px: float = HEAT_SIGMA_PX) -> NDArray[np.float32]:
    """A Gaussian around each point: (N, height, width), 1 at the point.

    points: (N, 2) pixels of the maps; those beyond the edge leave their tail.
    """
    found = np.asarray(points, np.float32)
    across = np.exp(-((np.arange(width) - found[:, :1]) ** 2) / (2 * sigma_px**2))  # (N, width)
    down = np.exp(-((np.arange(height) - found[:, 1:]) ** 2) / (2 * sigma_px**2))  # (N, height)
    return np.asarray(down[:, :, None] * across[:, None, :], np.float32)


def five_points(points: ArrayLike) -> NDArray[np.float32]:
    """194 points -> five for alignment: (194, 2) -> (5, 2) pixels.

    The eyes are the middles of their outlines, the corners of the mouth the ends of the upper lip; the tip of the nose,
    which no point marks, lies `NOSE_TIP` of the way from the middle of the eyes to the base of the nose.
    ValueError: as `parsing_maps`.
    """
    found = _checked(points)
    right, left = found[PARTS["right_eye"]].mean(0), found[PARTS["left_eye"]].mean(0)
    middle = (right + left) / 2
    tip = middle + NOSE_TIP * (found[NOSE_BASE] - middle)
    return np.stack([right, left, tip, found[MOUTH_RIGHT], found[MOUTH_LEFT]]).astype(np.float32)


_PAINTED = ("right_brow", "left_brow", "right_eye", "left_eye", "upper_lip", "lower_lip", "inner_mouth")
"""Parts that are outlined whole, the last on top: the upper lip's outline goes round an open mouth."""
_EYES = np.r_[PARTS["left_eye"], PARTS["right_eye"]]


def _distance_px(line: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """From each pixel's centre to the nearest point of an open line of corners: (height, width)."""
    down, across = np.mgrid[:height, :width]
    pixels = across + 1j * down
    nearest = np.full((height, width), np.inf)
    ends = line[:, 0] + 1j * line[:, 1]
    for start, stop in zip(ends[:-1], ends[1:], strict=True):
        along, offset = stop - start, pixels - start
        share = np.clip((offset * along.conjugate()).real / max(abs(along) ** 2, np.finfo(float).tiny), 0, 1)
        np.minimum(nearest, abs(offset - share * along), out=nearest)
    return nearest


def _checked(points: ArrayLike) -> NDArray[np.float64]:
    found = np.asarray(points, np.float64)
    if found.shape != (NUM_POINTS, 2) or not np.isfinite(found).all():
        raise ValueError(f"expected {NUM_POINTS} finite points (x, y), got shape {found.shape}")
    return found
