"""Pair accuracy as on LFW: nine folds choose the threshold, the tenth is judged, each fold once.

Every rule finds the same kind of threshold; they differ in which candidates they try and which of several equally good
ones they take, as the published evaluations do.
"""

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facebridge.evaluation.folds import folds_in_order, over_folds
from facebridge.evaluation.matching import pair_scores
from facebridge.evaluation.verify import checked_pairs

ThresholdRule = Literal["exact", "sr_lrfr", "sphereface"]
"""exact: midpoints between neighbouring scores of the other folds, the middle one of the best.
sr_lrfr: 10,001 thresholds from -1 to 1, the last of the best (test script of SR_LRFR, ICIP 2019).
sphereface: 20,001 thresholds from -1 to 1, the mean of the best; a score equal to the threshold is wrong for both kinds
of pair (MATLAB script of SphereFace, CVPR 2017)."""
GRID_SIZES = {"sr_lrfr": 10_001, "sphereface": 20_001}
COSINE_ROUNDING = 1e-3


@dataclass(frozen=True)
class LfwAccuracy:
    """Accuracy over folds, in [0, 1]."""

    accuracy: float
    """Mean over the folds."""
    std: float
    """Population standard deviation over the folds."""
    fold_accuracies: tuple[float, ...]
    thresholds: tuple[float, ...]
    """Threshold by which each fold was judged, chosen on the others: same person if score > threshold."""
    right: NDArray[np.bool_] = field(repr=False, compare=False)
    """(num_pairs,): which pairs were called correctly."""


def lfw_accuracy(
    scores: ArrayLike, genuine: ArrayLike, folds: int | NDArray[np.int64] = 10, rule: ThresholdRule = "exact"
) -> LfwAccuracy:
    """Accuracy of saying "same person" or "different" for each pair.

    scores: (num_pairs,), higher is more alike; genuine: (num_pairs,) bool; folds: the fold of each pair, or how many to
    form by `folds_in_order` (10 on LFW, where pairs stand in file order).

    ValueError: if shapes differ, a score is not finite (or no cosine, for a rule with a grid), or a fold is missing.
    """
    values, is_genuine = checked_pairs(scores, genuine)
    if rule in GRID_SIZES and len(values) and np.abs(values).max() > 1 + COSINE_ROUNDING:
        raise ValueError(f'rule "{rule}" tries thresholds from -1 to 1 and needs cosine scores; use "exact"')
    fold = _fold_of_pairs(is_genuine, folds)
    return _gather([_judge(values, is_genuine, fold == judged, rule) for judged in np.unique(fold)], fold)


def lfw_accuracy_of_embeddings(
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    genuine: ArrayLike,
    folds: int | NDArray[np.int64] = 10,
    rule: ThresholdRule = "sphereface",
    mean_subtract: bool = True,
) -> LfwAccuracy:
    """As `lfw_accuracy`, from the embeddings of both sides, (num_pairs, D).

    mean_subtract: take the mean embedding of the other folds (both sides) off before the cosine, as SphereFace does.
    """
    is_genuine = np.asarray(genuine, dtype=np.bool_)
    fold = _fold_of_pairs(is_genuine, folds)
    outcomes = []
    for judged in np.unique(fold):
        others = fold != judged
        mean = np.concatenate([first[others], second[others]]).mean(axis=0) if mean_subtract else 0.0
        values, _ = checked_pairs(pair_scores(first - mean, second - mean), is_genuine)
        outcomes.append(_judge(values, is_genuine, ~others, rule))
    return _gather(outcomes, fold)


def _fold_of_pairs(is_genuine: NDArray[np.bool_], folds: int | NDArray[np.int64]) -> NDArray[np.int64]:
    if isinstance(folds, int):
        return folds_in_order(is_genuine, folds)
    fold = np.asarray(folds)
    if fold.shape != is_genuine.shape:
        raise ValueError(f"folds must name the fold of each of the {len(is_genuine)} pairs; got shape {fold.shape}")
    if len(np.unique(fold)) < 2:
        raise ValueError("at least 2 folds are needed; the list has one: give folds=10 to form them")
    return fold


def _judge(
    values: NDArray[np.floating], is_genuine: NDArray[np.bool_], judged: NDArray[np.bool_], rule: ThresholdRule
) -> tuple[NDArray[np.bool_], float]:
    """Which of the judged pairs are right, and the threshold: the one that is best on the others."""
    same, different = np.sort(values[~judged & is_genuine]), np.sort(values[~judged & ~is_genuine])
    threshold = _best_threshold(same, different, rule)
    rejected = values[judged] < threshold if rule == "sphereface" else values[judged] <= threshold
    return np.where(is_genuine[judged], values[judged] > threshold, rejected), threshold


def _best_threshold(same: NDArray[np.floating], different: NDArray[np.floating], rule: ThresholdRule) -> float:
    if rule not in get_args(ThresholdRule):
        raise ValueError(f"unknown threshold rule {rule!r}; known: {', '.join(get_args(ThresholdRule))}")
    candidates = _midpoints(same, different) if rule == "exact" else np.linspace(-1, 1, GRID_SIZES[rule])
    right_same = len(same) - np.searchsorted(same, candidates, "right")
    right_different = np.searchsorted(different, candidates, "left" if rule == "sphereface" else "right")
    right = right_same + right_different
    best = np.flatnonzero(right == right.max())
    if rule == "sphereface":
        return float(candidates[best].mean())
    return float(candidates[best[-1] if rule == "sr_lrfr" else best[len(best) // 2]])


def _midpoints(same: NDArray[np.floating], different: NDArray[np.floating]) -> NDArray[np.float64]:
    levels = np.unique(np.concatenate([same, different])).astype(np.float64)
    return np.concatenate([[-np.inf], (levels[1:] + levels[:-1]) / 2, [np.inf]])


def _gather(outcomes: list[tuple[NDArray[np.bool_], float]], fold: NDArray[np.int64]) -> LfwAccuracy:
    accuracies = tuple(float(right.mean()) for right, _ in outcomes)
    mean, std = over_folds(accuracies)
    right_of_pairs = np.empty(len(fold), np.bool_)
    right_of_pairs[np.argsort(fold, kind="stable")] = np.concatenate([right for right, _ in outcomes])
    return LfwAccuracy(mean, std, accuracies, tuple(threshold for _, threshold in outcomes), right_of_pairs)
