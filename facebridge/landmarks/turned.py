"""Faces that lie on their side or stand on their head."""

import numpy as np
import torch
from numpy.typing import NDArray

from facebridge.landmarks.detection import Detection, Detector
from facebridge.landmarks.mtcnn_boxes import suppress


class Turned:
    """A detector that also searches the picture turned by 90, 180 and 270 degrees, at four times the cost.

    Of the same face in several turns the most certain is kept. All four are always searched: detectors find faces that
    stand on their head as well, with points that are wrong.
    """

    def __init__(self, detector: Detector) -> None:
        self.detector = detector

    def detect(self, picture: NDArray[np.uint8]) -> list[Detection]:
        """All faces of the picture, the most certain first; points in the person's own order, whatever the turn."""
        found = []
        for quarters in range(4):
            turned = np.ascontiguousarray(np.rot90(picture, quarters))
            found += [_turned_back(face, quarters, turned.shape) for face in self.detector.detect(turned)]
        if not found:
            return []
        boxes = torch.from_numpy(np.stack([face.box for face in found])).double()
        corners = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:] - 1], 1)
        scores = torch.tensor([face.score for face in found])
        kept = suppress(corners, scores, torch.zeros(len(found), dtype=torch.int64), _SAME_FACE, "smaller")
        return [found[index] for index in kept.tolist()]


_SAME_FACE = 0.5  # of the smaller box


def _turned_back(face: Detection, quarters: int, shape: tuple[int, ...]) -> Detection:
    """A face of a picture that was turned against the clock -> of the picture. shape: of the turned one."""
    left, top, width, height = face.box.tolist()
    edges = np.array([[left, top], [left + width, top + height]], np.float32)
    points = face.points
    for quarter in range(quarters):
        width_before = shape[(quarter) % 2]  # each turn back swaps height and width
        points = np.stack([width_before - 1 - points[:, 1], points[:, 0]], 1)  # from 0 to width - 1
        edges = np.stack([width_before - edges[:, 1], edges[:, 0]], 1)  # from 0 to width
    corner, end = edges.min(0), edges.max(0)
    return Detection(np.concatenate([corner, end - corner]), face.score, points)
