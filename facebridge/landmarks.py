"""Faces and their landmarks in pictures: one interface, and the detectors behind it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from facebridge import images

FIVE_POINT_NAMES = ("right_eye", "left_eye", "nose", "mouth_right", "mouth_left")


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


@dataclass(frozen=True)
class Located:
    """Five points for each of many pictures.

    points: (N, 5, 2) float32 pixels, NaN where nothing was found. without_face: paths of readable pictures in which
    no face was found. unreadable: one error for each picture that could not be decoded.
    """

    points: NDArray[np.float32]
    without_face: list[str] = field(default_factory=list)
    unreadable: list[images.BadPicture] = field(default_factory=list)


class YuNet:
    """YuNet (Wu et al. 2023) through OpenCV, from an ONNX file of OpenCV's model zoo.

    A picture in which nothing is found is searched once more inside a black frame, for faces that fill the picture;
    their points may lie outside it. Pictures larger than `largest_side_px` are reduced for the search. One instance
    a thread.
    ValueError: if the file is missing or is no such network, or a picture is not (H, W, 3) uint8.
    """

    def __init__(self, weights: Path, min_score: float = 0.6, largest_side_px: int = 640) -> None:
        if not weights.is_file():
            raise ValueError(f"{weights}: no such file; expected YuNet's weights in ONNX format")
        self.largest_side_px = largest_side_px
        self._network = _load_yunet(weights, min_score)

    def detect(self, picture: NDArray[np.uint8]) -> list[Detection]:
        """All faces of the picture, the most certain first."""
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise ValueError(f"expected a uint8 (H, W, 3) picture, got {picture.dtype} {picture.shape}")
        return self._search(picture, 0) or self._search(picture, round(_FRAME * max(picture.shape[:2])))

    def _search(self, picture: NDArray[np.uint8], border_px: int) -> list[Detection]:
        framed = cv2.copyMakeBorder(picture, border_px, border_px, border_px, border_px, cv2.BORDER_CONSTANT)
        framed_height, framed_width = framed.shape[:2]
        scale = min(1.0, self.largest_side_px / max(framed_height, framed_width))
        width, height = max(1, round(framed_width * scale)), max(1, round(framed_height * scale))
        if scale < 1:
            framed = cv2.resize(framed, (width, height), interpolation=cv2.INTER_AREA)
        self._network.setInputSize((width, height))
        # OpenCV's annotations do not know that it returns None where it finds nothing.
        rows = cast("NDArray[np.float32] | None", self._network.detect(cv2.cvtColor(framed, cv2.COLOR_RGB2BGR))[1])
        if rows is None:
            return []
        per_axis = np.array([framed_width / width, framed_height / height])
        found = [_detection(row, per_axis, border_px) for row in np.asarray(rows, np.float64)]
        return sorted(found, key=lambda detection: -detection.score)


def detect_largest(detector: Detector, picture: NDArray[np.uint8]) -> Detection | None:
    """The face with the largest box, or None where there is no face."""
    return max(detector.detect(picture), key=lambda found: float(found.box[2] * found.box[3]), default=None)


def locate(paths: Iterable[str | Path], detector: Detector, workers: int = 2) -> Located:
    """Find the largest face of each picture; go on past bad pictures, and name every one without a result."""
    points: list[NDArray[np.float32]] = []
    without_face: list[str] = []
    unreadable: list[images.BadPicture] = []
    for path, picture in _with_paths(paths, workers):
        found = None
        if isinstance(picture, images.BadPicture):
            unreadable.append(picture)
        elif (found := detect_largest(detector, picture)) is None:
            without_face.append(path)
        points.append(np.full((5, 2), np.nan, np.float32) if found is None else found.points)
    return Located(np.array(points, np.float32).reshape(-1, 5, 2), without_face, unreadable)


_FRAME = 0.25  # of the picture's longer side
_CV2_ERRORS_ONLY = cv2.utils.logging.LOG_LEVEL_ERROR


def _load_yunet(weights: Path, min_score: float) -> cv2.FaceDetectorYN:
    log_level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(_CV2_ERRORS_ONLY)  # OpenCV 5 warns of a target that nobody asked for
    try:
        return cv2.FaceDetectorYN.create(str(weights), "", (320, 320), score_threshold=min_score)
    except cv2.error as error:
        raise ValueError(f"{weights}: OpenCV cannot load this as YuNet ({error})") from error
    finally:
        cv2.utils.logging.setLogLevel(log_level)


def _detection(row: NDArray[np.float64], per_axis: NDArray[np.float64], border_px: int) -> Detection:
    """One row of YuNet (box, five points, score) in pixels of the reduced framed picture -> of the picture."""
    half = 0.5  # resizing keeps the outer edge of the first pixel, which lies at -0.5, where it is
    corner = (row[:2] + half) * per_axis - half - border_px
    points = (row[4:14].reshape(5, 2) + half) * per_axis - half - border_px
    box = np.concatenate([corner, row[2:4] * per_axis])
    return Detection(box.astype(np.float32), float(row[14]), points.astype(np.float32))


def _with_paths(
    paths: Iterable[str | Path], workers: int
) -> Iterator[tuple[str, NDArray[np.uint8] | images.BadPicture]]:
    names = [str(path) for path in paths]
    return zip(names, images.read_all(names, workers), strict=True)
