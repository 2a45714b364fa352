"""A face in a picture, what finds it, and which of several faces is meant."""

from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

FIVE_POINT_NAMES = ("right_eye", "left_eye", "nose", "mouth_right", "mouth_left")

Choose = Literal["largest", "central", "all"]
"""Which faces of a picture count: the one with the largest box, the one nearest the middle, or every one."""


@dataclass(frozen=True, eq=False)
class Detection:
    """One face: box (left, top, width, height) and five points (5, 2) in pixels of the picture, score in [0, 1]."""

    box: NDArray[np.float32]
    score: float
    points: NDArray[np.float32]


class Detector(Protocol):
    """Finds faces. picture: (H, W, 3) uint8 RGB."""

    def detect(self, picture: NDArray[np.uint8]) -> list[Detection]:
        """All faces of the picture, the most certain first; an empty list where there is none."""
        ...


def faces_in(
    picture: NDArray[np.uint8], detector: Detector, choose: Choose = "largest", min_face_px: float = 0
) -> list[Detection]:
    """The faces of a picture that count; an empty list where there is none.

    "largest" and "central" give one face at most; "all" gives every face, the largest first. Faces whose box is
    narrower or lower than `min_face_px` do not count. A face cut by the border counts, and its points may lie outside
    the picture.
    ValueError: if `choose` is unknown, or the detector refuses the picture or fails on it.
    """
    return chosen(searched(picture, detector), picture.shape[:2], choose, min_face_px)


def searched(picture: NDArray[np.uint8], detector: Detector) -> list[Detection]:
    """All faces that the detector finds.

    ValueError: if it refuses the picture or fails on it (OpenCV, torch or the memory), or a number of a face is none.
    So one odd picture among many can be named, and the others searched.
    """
    try:
        found = detector.detect(picture)
    except (cv2.error, RuntimeError, MemoryError) as error:
        raise ValueError(f"the detector failed ({str(error) or type(error).__name__})") from error
    if not all(np.isfinite(face.box).all() and np.isfinite(face.points).all() for face in found):
        raise ValueError("the detector gave a face whose box or points are no numbers")
    return found


def chosen(
    found: list[Detection], size: tuple[int, ...], choose: Choose = "largest", min_face_px: float = 0
) -> list[Detection]:
    """Those of the faces found that count; see `faces_in`. size: height and width of the picture in pixels."""
    check_choice(choose)
    large = [face for face in found if smaller_side_px(face) >= min_face_px]
    if choose == "central":
        middle = (np.array(size[1::-1]) - 1) / 2
        return sorted(large, key=lambda face: float(np.linalg.norm(_centre(face) - middle)))[:1]
    ordered = sorted(large, key=lambda face: -float(face.box[2]) * float(face.box[3]))
    return ordered if choose == "all" else ordered[:1]


def check_choice(choose: str) -> None:
    """ValueError: if this says not which faces count (the known ways are named)."""
    if choose not in get_args(Choose):
        raise ValueError(f"choose is {choose!r}; expected one of {', '.join(get_args(Choose))}")


def checked(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture. ValueError: if it is not uint8 (H, W, 3), or is empty."""
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise ValueError(f"expected a uint8 (H, W, 3) picture, got {picture.dtype} {picture.shape}")
    return picture


def detect_largest(detector: Detector, picture: NDArray[np.uint8]) -> Detection | None:
    """The face with the largest box, or None where there is no face."""
    return next(iter(faces_in(picture, detector)), None)


def smaller_side_px(face: Detection) -> float:
    """The smaller of a box's width and height."""
    return float(face.box[2:].min())


def _centre(face: Detection) -> NDArray[np.float64]:
    """Of the box, in pixels whose centres are whole numbers."""
    return np.asarray(face.box[:2] + face.box[2:] / 2, np.float64) - 0.5
