"""Is a hallucinated face shaped like the true one: where its landmarks lie, and which part each pixel shows.

Both are read off the faces by a network that had no hand in making them. FSRNet (Chen et al., CVPR 2018) is judged
so: by the landmarks' NRMSE and the parts' intersection over union.
"""

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from facebridge import images, runs
from facebridge.landmarks import Detection, Points68
from facebridge.methods.face_priors import FacePriors
from facebridge.parts import NUM_PARTS

TOGETHER = 64
"""Faces that are looked at at a time."""
OUTER_CORNERS = (36, 45)
"""Of the eyes, among 68 landmarks."""


class ShapeEstimator(Protocol):
    """Says where landmarks and, unless it knows landmarks alone, parts of faces lie."""

    def estimate(self, faces: Tensor) -> tuple[Tensor, Tensor | None]:
        """68 landmarks (B, 68, 2) px in iBUG's order, and parts (B, H, W) uint8, of faces (B, 3, H, W) in [0, 1]."""
        ...


def load(source: Path) -> ShapeEstimator:
    """An estimator: a run folder of `face_priors`, or an ONNX file that gives 68 landmarks (`landmarks.Points68`).

    Raises:
        ValueError: if it is neither.
        ImportError: if an ONNX file is given and onnxruntime is not installed.
    """
    if source.suffix.lower() == ".onnx":
        return LandmarksAlone(Points68(source, margin=0))
    estimator = runs.load(source)
    if not isinstance(estimator, FacePriors):
        raise ValueError(
            f"{source} is a run of {runs.find(source).recipe.method}, which judges no landmarks: give one of "
            "face_priors (facebridge train face_priors_small), or an ONNX file of 68 landmarks"
        )
    return estimator


class LandmarksAlone:
    """A 68-point regressor, shown aligned faces whole: a `ShapeEstimator` that knows no parts.

    Args:
        regressor: of a margin of 0, since a crop ends near the face's own box.
    """

    def __init__(self, regressor: Points68) -> None:
        self.regressor = regressor

    def estimate(self, faces: Tensor) -> tuple[Tensor, None]:
        """As `ShapeEstimator.estimate`; in place of the parts None."""
        pictures = images.to_pictures(faces)
        height, width = faces.shape[2:]
        whole = Detection(np.array([0, 0, width, height], np.float32), 1.0, np.zeros((5, 2), np.float32))
        return torch.from_numpy(self.regressor.find(list(pictures), [whole] * len(pictures))), None


def errors(
    estimator: ShapeEstimator,
    made: Tensor,
    sharp: Tensor,
    true_points: ArrayLike | None = None,
    true_parsing: ArrayLike | None = None,
) -> dict[str, NDArray[np.float64]]:
    """How far each hallucinated face is from its true shape.

    Args:
        estimator: looks at the faces.
        made, sharp: (B, 3, H, W) in [0, 1], row by row of one face, of the estimator's crop.
        true_points: (B, 68, 2) px; absent: what the estimator finds in the sharp faces.
        true_parsing: (B, H, W); absent: likewise.

    Returns:
        `nrmse` (B,) and, where the estimator knows parts, `part_iou` (B,).

    Raises:
        ValueError: if shapes do not fit.
    """
    if made.shape != sharp.shape:
        raise ValueError(f"expected as many made as sharp faces, of one size; got {made.shape} and {sharp.shape}")
    points, parsing = _estimates(estimator, made)
    needs_points, needs_parsing = true_points is None, parsing is not None and true_parsing is None
    if needs_points or needs_parsing:
        seen_points, seen_parsing = _estimates(estimator, sharp)
        true_points = seen_points if needs_points else true_points
        true_parsing = seen_parsing if needs_parsing else true_parsing
    assert true_points is not None
    found = {"nrmse": nrmse(points, true_points)}
    if parsing is not None:
        assert true_parsing is not None
        found["part_iou"] = part_iou(parsing, true_parsing)
    return found


def nrmse(found: ArrayLike, true: ArrayLike) -> NDArray[np.float64]:
    """Mean distance of 68 landmarks from the true ones, over the true distance of the outer corners of the eyes: (B,).

    Args:
        found, true: (B, 68, 2) px.

    Raises:
        ValueError: if shapes differ, or the corners of an eye coincide.
    """
    ours, theirs = np.asarray(found, np.float64), np.asarray(true, np.float64)
    if ours.shape != theirs.shape or ours.shape[1:] != (68, 2):
        raise ValueError(f"expected landmarks (B, 68, 2) of the same faces, got {ours.shape} and {theirs.shape}")
    right, left = OUTER_CORNERS
    apart = np.linalg.norm(theirs[:, left] - theirs[:, right], axis=-1)
    if not (apart > 0).all():
        raise ValueError(f"face {int(np.argmin(apart > 0))}: the outer corners of its eyes coincide or are not known")
    return np.asarray(np.linalg.norm(ours - theirs, axis=-1).mean(1) / apart, np.float64)


def part_iou(found: ArrayLike, true: ArrayLike, num_parts: int = NUM_PARTS) -> NDArray[np.float64]:
    """Intersection over union of each face's parts, mean over those that found or true map show: (B,).

    Args:
        found, true: (B, H, W), numbers of parts from 0.
        num_parts: how many parts there are, background among them.

    Raises:
        ValueError: if shapes differ, or a number is no part's.
    """
    both, either = _counts(found, true, num_parts)
    return np.asarray(_mean_share(both, either), np.float64)


def pooled_part_iou(found: ArrayLike, true: ArrayLike, num_parts: int = NUM_PARTS) -> float:
    """As `part_iou`, of all pixels of all faces together, so that a part counts as much as it is seen."""
    both, either = _counts(found, true, num_parts)
    return float(_mean_share(both.sum(0), either.sum(0)))


def _mean_share(both: NDArray[np.int64], either: NDArray[np.int64]) -> NDArray[np.float64]:
    shares = np.where(either > 0, both / np.maximum(either, 1), np.nan)
    return np.asarray(np.nanmean(shares, -1))


def _counts(found: ArrayLike, true: ArrayLike, num_parts: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels (B, num_parts) that both maps give a part, and that one of them does."""
    ours, theirs = np.asarray(found, np.int64), np.asarray(true, np.int64)
    if ours.shape != theirs.shape or ours.ndim != 3 or not ours.size:
        raise ValueError(f"expected maps (B, H, W) of the same faces, got {ours.shape} and {theirs.shape}")
    if min(ours.min(), theirs.min()) < 0 or max(ours.max(), theirs.max()) >= num_parts:
        raise ValueError(f"a map holds a part that is none of 0 to {num_parts - 1}")
    face = np.arange(len(ours))[:, None, None]
    together = np.bincount(((face * num_parts + theirs) * num_parts + ours).ravel(), minlength=len(ours) * num_parts**2)
    confusion = together.reshape(-1, num_parts, num_parts)
    both = np.diagonal(confusion, axis1=1, axis2=2)
    return both, confusion.sum(1) + confusion.sum(2) - both


def _estimates(estimator: ShapeEstimator, faces: Tensor) -> tuple[NDArray[np.float32], NDArray[np.uint8] | None]:
    """What the estimator finds, some faces at a time."""
    found = [estimator.estimate(some) for some in torch.split(faces, TOGETHER)]
    points = np.concatenate([points.cpu().numpy() for points, _ in found])
    parsing = [parsing.cpu().numpy() for _, parsing in found if parsing is not None]
    return points, np.concatenate(parsing) if parsing else None
