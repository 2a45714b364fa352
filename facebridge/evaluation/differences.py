"""By how much one way is better than another on the same pairs, with an interval.

Both are scored on the same pictures, so most of what other people in the test would change, changes both: the interval
of the difference is narrower than two intervals side by side suggest. People are drawn as everywhere (`bootstrap`).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facebridge.evaluation import bootstrap, matching
from facebridge.evaluation.accuracy import folds_of
from facebridge.evaluation.bootstrap import Weights
from facebridge.evaluation.comparison import Comparison
from facebridge.evaluation.identify import identification
from facebridge.evaluation.lfw import ThresholdRule, lfw_accuracy
from facebridge.evaluation.result import Figure, true_accept_rate_name
from facebridge.evaluation.verify import FALSE_ACCEPT_RATES, OperatingPoint, allowed_weights, verification

Scores = NDArray[np.floating]
Truth = Mapping[str, NDArray[Any]]
"""Of pairs: "genuine", "fold", "first_person", "second_person", (num_pairs,) each; of gallery and probes: "probe_ids",
"gallery_ids". scores.npz of an evaluation holds them beside the scores."""


def truth(comparison: Comparison) -> dict[str, NDArray[Any]]:
    """What of a comparison `difference` needs; written beside its scores."""
    known = comparison.truth()
    if "fold" not in known:
        return known
    held = comparison.compared
    return {**known, "first_person": held.gallery_person, "second_person": held.probe_person}


def difference(
    truth: Truth,
    scores: Scores,
    other: Scores,
    metric: str,
    num_resamples: int = bootstrap.NUM_RESAMPLES,
    seed: int = 0,
    rule: ThresholdRule = "exact",
) -> Figure:
    """The figure of `scores` less that of `other`, with its 95 % interval over people.

    Args:
        truth: what scores.npz holds beside the scores.
        scores: as many as there are pairs, or (num_probes, num_gallery).
        other: those that it is compared with, of the same pairs.
        metric: "accuracy" (thresholds stay as the folds chose them), "rank1", or "true_accept_rate@" and one of
            FALSE_ACCEPT_RATES (the threshold of either is found anew in each resample).
        num_resamples: how often people are drawn.
        seed: of the draws.
        rule: how the threshold of the accuracy is found.

    Raises:
        ValueError: if the truth is not of that kind, the metric is another, or scores do not fit.
    """
    if np.shape(scores) != np.shape(other):
        raise ValueError(f"both need scores of the same pairs; got {np.shape(scores)} and {np.shape(other)}")
    rates = {true_accept_rate_name(rate): rate for rate in FALSE_ACCEPT_RATES}
    drawn = num_resamples, seed
    if metric in rates:
        return _of_true_accept_rates(truth, scores, other, rates[metric], *drawn)
    if metric == "accuracy" and "fold" in truth:
        return _of_accuracies(truth, scores, other, rule, *drawn)
    if metric == "rank1" and "probe_ids" in truth:
        return _of_rank1(truth, scores, other, *drawn)
    known = [*(["accuracy"] if "fold" in truth else ["rank1"]), *rates]
    raise ValueError(f"no difference in {metric!r} is known of these scores; known: {', '.join(known)}")


def _of_accuracies(
    truth: Truth, scores: Scores, other: Scores, rule: ThresholdRule, num_resamples: int, seed: int
) -> Figure:
    genuine = truth["genuine"]
    fold = folds_of(genuine, truth["fold"])
    ours, theirs = (lfw_accuracy(each, genuine, fold, rule) for each in (scores, other))
    gained = ours.right.astype(np.float64) - theirs.right  # 1: right now, -1: wrong now
    people = truth["first_person"], truth["second_person"]
    found = bootstrap.accuracy_interval(gained, genuine, *people, num_resamples, seed)
    return Figure(ours.accuracy - theirs.accuracy, found.low, found.high)


def _of_rank1(truth: Truth, scores: Scores, other: Scores, num_resamples: int, seed: int) -> Figure:
    ours, theirs = (identification(each, truth["probe_ids"], truth["gallery_ids"]) for each in (scores, other))
    gained = ours.found.astype(np.float64) - theirs.found
    people = truth["probe_ids"][ours.mated]
    found = bootstrap.mean_interval(gained, people, num_resamples, seed)
    return Figure(found.value, found.low, found.high)


def _of_true_accept_rates(
    truth: Truth, scores: Scores, other: Scores, rate: float, num_resamples: int, seed: int
) -> Figure:
    genuine, first, second = _pairs(truth, np.shape(scores))
    points = [verification(each.ravel(), genuine, (rate,)).points[0] for each in (scores, other)]
    ours, theirs = (point.true_accept_rate for point in points)
    if ours is None or theirs is None:
        return Figure(None, reason=points[0].reason)
    ladders = [_Ladder(each.ravel(), genuine, rate) for each in (scores, other)]

    def statistic(weights: Weights) -> NDArray[np.float64]:
        rates = [ladder.true_accept_rates(weights) for ladder in ladders]
        return np.asarray(rates[0] - rates[1])

    found = bootstrap.interval(statistic, first, second, num_resamples, seed)[0]
    return Figure(ours - theirs, found.low, found.high, *_doubt(points[0]))


def _doubt(point: OperatingPoint) -> tuple[str, bool]:
    return point.reason, point.low_confidence


def _pairs(truth: Truth, shape: tuple[int, ...]) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
    """Whether each score is genuine, and the people of both its faces, as numbers."""
    if "fold" in truth:
        first, second = bootstrap.of_pairs(shape, truth["first_person"], truth["second_person"])
        return truth["genuine"], first, second
    people = truth["probe_ids"], truth["gallery_ids"]
    first, second = bootstrap.of_pairs(shape, *people)
    return matching.genuine_pairs(*people).ravel(), first, second


class _Ladder:
    """Pairs by falling score, equal scores on one step."""

    def __init__(self, scores: Scores, genuine: NDArray[np.bool_], rate: float) -> None:
        self.rate = rate
        self.order = np.argsort(-scores, kind="stable")
        falling = scores[self.order]
        self.begins = np.flatnonzero(np.append(True, falling[1:] != falling[:-1]))
        self.genuine = genuine[self.order][:, None]

    def true_accept_rates(self, weights: Weights) -> NDArray[np.float64]:
        """Of each resample, at the last step whose false accepts do not exceed the rate: (num_resamples,)."""
        of_pairs = weights[self.order]
        true_accepts, false_accepts = (
            np.cumsum(np.add.reduceat(np.where(kind, of_pairs, 0), self.begins, axis=0), axis=0, dtype=np.float64)
            for kind in (self.genuine, ~self.genuine)
        )
        allowed = allowed_weights(self.rate, false_accepts[-1])
        last = (false_accepts <= allowed).sum(axis=0) - 1
        accepted = np.where(last < 0, 0, true_accepts[last, np.arange(len(last))])
        with np.errstate(invalid="ignore"):  # a resample without a pair of one kind is left out, as NaN
            return np.asarray(np.where(false_accepts[-1] > 0, accepted / true_accepts[-1], np.nan))
