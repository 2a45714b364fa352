"""Tiny faces in pictures: a detector made for larger ones is shown them enlarged, and finds more, and better points."""

import cv2
import numpy as np
from numpy.typing import NDArray

from facebridge import landmarks
from facebridge.landmarks import Choose, Detection, Detector
from facebridge.landmarks.detection import smaller_side_px

SMALL_PICTURE_PX = 320
"""A picture whose longer side is below this is searched enlarged to it, where nothing is found in it as it is."""
TINY_FACE_PX = 48
"""A face whose box is narrower or lower is looked at again, enlarged."""
SHOWN_PX = 64
"""The smaller side of its box when it is looked at again."""
MAX_ENLARGEMENT = 8.0


def faces_in(
    picture: NDArray[np.uint8], detector: Detector, choose: Choose = "largest", min_face_px: float = 0
) -> list[Detection]:
    """As `facebridge.landmarks.faces_in`, also where faces have 10 to 30 px: boxes and points in px of the picture.

    ValueError: as there.
    """
    found = landmarks.faces_in(picture, detector, choose, min_face_px)
    longer_px = max(picture.shape[:2])
    if not found and longer_px < SMALL_PICTURE_PX:
        factor = min(SMALL_PICTURE_PX / longer_px, MAX_ENLARGEMENT)
        larger, per_axis = _enlarged(picture, factor)
        found = [_scaled(face, per_axis) for face in landmarks.faces_in(larger, detector, choose, min_face_px * factor)]
    return [_again(picture, face, detector) if smaller_side_px(face) < TINY_FACE_PX else face for face in found]


def _again(picture: NDArray[np.uint8], face: Detection, detector: Detector) -> Detection:
    """The face as it is seen in an enlarged piece of the picture three times as large as its box; else as it was."""
    left, top, width, height = map(float, face.box)
    first = np.floor([left - width, top - height]).clip(0).astype(int)
    last = np.ceil([left + 2 * width, top + 2 * height]).clip(0).astype(int)
    piece = picture[first[1] : last[1], first[0] : last[0]]
    if not piece.size:
        return face
    larger, per_axis = _enlarged(piece, min(SHOWN_PX / smaller_side_px(face), MAX_ENLARGEMENT))
    seen = [_moved(_scaled(each, per_axis), first) for each in landmarks.faces_in(larger, detector, "all")]
    middle = face.box[:2] + face.box[2:] / 2
    same = [each for each in seen if (abs(each.box[:2] + each.box[2:] / 2 - middle) < face.box[2:] / 2).all()]
    return same[0] if same else face


def _enlarged(picture: NDArray[np.uint8], factor: float) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The picture, and px of the given one for each of its px, along x and y."""
    height, width = picture.shape[:2]
    size = max(1, round(width * factor)), max(1, round(height * factor))
    larger = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    return larger, np.array([width, height]) / size


def _scaled(face: Detection, per_axis: NDArray[np.float64]) -> Detection:
    half = 0.5  # resizing keeps the outer edge of the first pixel, which lies at -0.5, where it is
    box = np.concatenate([(face.box[:2] + half) * per_axis - half, face.box[2:] * per_axis])
    return Detection(box.astype(np.float32), face.score, ((face.points + half) * per_axis - half).astype(np.float32))


def _moved(face: Detection, by_px: NDArray[np.int64]) -> Detection:
    box = np.concatenate([face.box[:2] + by_px, face.box[2:]])
    return Detection(box.astype(np.float32), face.score, (face.points + by_px).astype(np.float32))
