"""YuNet (Wu et al. 2023) through OpenCV: the fast detector."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from facebridge.landmarks.detection import Detection, checked

SETTINGS = ("min_score", "largest_side_px")


def load(weights: Sequence[Path], **settings: Any) -> "YuNet":
    """YuNet from its one file.

    ValueError: as YuNet, or if there is not one file.
    """
    if len(weights) != 1:
        raise ValueError(f"yunet takes one ONNX file, got {len(weights)}")
    return YuNet(weights[0], **settings)


class YuNet:
    """YuNet from an ONNX file of OpenCV's model zoo.

    A picture in which nothing is found is searched once more inside a black frame, for faces that fill the picture;
    their points may lie outside it. Pictures larger than `largest_side_px` are reduced for the search. One instance
    a thread.
    ValueError: if the file is missing or is no such network, or a picture is not (H, W, 3) uint8.
    """

    def __init__(self, weights: Path, min_score: float = 0.6, largest_side_px: int = 640) -> None:
        if not weights.is_file():
            raise ValueError(f"{weights}: no such file; expected YuNet's weights in ONNX format")
        if not largest_side_px >= _TRIAL_PX:
            raise ValueError(f"largest_side_px is {largest_side_px}; expected at least {_TRIAL_PX}")
        if not 0 <= min_score <= 1:
            raise ValueError(f"min_score is {min_score}; expected a number from 0 to 1")
        self.largest_side_px = largest_side_px
        self._network = _network(weights, min_score)

    def detect(self, picture: NDArray[np.uint8]) -> list[Detection]:
        """All faces of the picture, the most certain first."""
        checked(picture)
        return self._search(picture, 0) or self._search(picture, round(_FRAME * max(picture.shape[:2])))

    def _search(self, picture: NDArray[np.uint8], border_px: int) -> list[Detection]:
        whole_height, whole_width = picture.shape[:2]
        scale = min(1.0, self.largest_side_px / (max(whole_height, whole_width) + 2 * border_px))
        width, height = max(1, round(whole_width * scale)), max(1, round(whole_height * scale))
        if scale < 1:  # before it is framed: about a strip of 1 x 100,000 pixels the frame would take gigabytes
            picture = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        border_px = round(border_px * scale)
        framed = cv2.copyMakeBorder(picture, border_px, border_px, border_px, border_px, cv2.BORDER_CONSTANT)
        self._network.setInputSize(framed.shape[1::-1])
        # OpenCV's annotations do not know that it returns None where it finds nothing.
        rows = cast("NDArray[np.float32] | None", self._network.detect(cv2.cvtColor(framed, cv2.COLOR_RGB2BGR))[1])
        if rows is None:
            return []
        per_axis = np.array([whole_width / width, whole_height / height])
        found = [_detection(row, per_axis, border_px) for row in np.asarray(rows, np.float64)]
        return sorted(found, key=lambda detection: -detection.score)


_FRAME = 0.25  # of the picture's longer side
_TRIAL_PX = 32
_CV2_ERRORS_ONLY = cv2.utils.logging.LOG_LEVEL_ERROR
_log_level_lock = threading.Lock()  # the level belongs to the process


def _network(weights: Path, min_score: float) -> cv2.FaceDetectorYN:
    with _log_level_lock:
        log_level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(_CV2_ERRORS_ONLY)  # OpenCV 5 warns of a target that nobody asked for
        try:
            network = cv2.FaceDetectorYN.create(str(weights), "", (_TRIAL_PX, _TRIAL_PX), score_threshold=min_score)
            network.detect(np.zeros((_TRIAL_PX, _TRIAL_PX, 3), np.uint8))  # other networks load, but give no faces
            return network
        except cv2.error as error:
            raise ValueError(f"{weights}: OpenCV cannot load this as YuNet ({error})") from error
        finally:
            cv2.utils.logging.setLogLevel(log_level)


def _detection(row: NDArray[np.float64], per_axis: NDArray[np.float64], border_px: int) -> Detection:
    """One row of YuNet (box, five points, score) in pixels of the reduced picture in its frame -> of the picture."""
    half = 0.5  # resizing keeps the outer edge of the first pixel, which lies at -0.5, where it is
    corner = (row[:2] - border_px + half) * per_axis - half
    points = (row[4:14].reshape(5, 2) - border_px + half) * per_axis - half
    box = np.concatenate([corner, row[2:4] * per_axis])
    return Detection(box.astype(np.float32), float(row[14]), points.astype(np.float32))
