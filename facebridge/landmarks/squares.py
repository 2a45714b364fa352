"""Square pieces of a picture at the size that a network takes."""

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Levels = TypeVar("Levels", np.uint8, np.float32)


def cut(picture: NDArray[Levels], left: int, top: int, right: int, bottom: int, side_px: int) -> NDArray[Levels]:
    """The pixels from (left, top) up to (right, bottom), exclusive, black outside the picture, as a square.

    picture: (H, W, 3), of which the piece must hold a part. Returns (side_px, side_px, 3).
    """
    height, width = picture.shape[:2]
    inner = picture[max(top, 0) : bottom, max(left, 0) : right]
    if left < 0 or top < 0 or right > width or bottom > height:
        around = (max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0))
        inner = np.asarray(cv2.copyMakeBorder(inner, *around, cv2.BORDER_CONSTANT), picture.dtype)
    return resized(inner, side_px, side_px)


def resized(picture: NDArray[Levels], height: int, width: int) -> NDArray[Levels]:
    """A picture at another size: the mean over the area where it shrinks, linear where it grows."""
    kernel = cv2.INTER_AREA if height < picture.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (width, height), interpolation=kernel), picture.dtype)
