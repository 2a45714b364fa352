"""Verification: which share of genuine pairs is accepted when few impostor pairs are.

All figures are exact counts over all scores, ties included, and equal those of scikit-learn's
`roc_curve(drop_intermediate=False)`. A pair is accepted when its score is at least the threshold.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import ceil, floor, inf

import numpy as np
from numpy.typing import ArrayLike, NDArray

LOW_CONFIDENCE_FALSE_ACCEPTS = 10
"""Fewer expected false accepts than this: the figure is given, marked as uncertain."""
FALSE_ACCEPT_RATES = (1e-2, 1e-3, 1e-4)
NONE_ACCEPTED = "no score can be accepted: the highest are equal, and of impostor pairs"
"""Why a threshold is inf."""
POINTS_PER_DECADE = 60
"""Steps of the false accept rate in a thinned ROC: two pixels of a plot 120 pixels a decade wide."""
SAMPLE_SIZE = 65_536
SAMPLE_MARGIN = 1.25


@dataclass(frozen=True)
class OperatingPoint:
    """The last point of the ROC whose false accept rate does not exceed the one asked for."""

    false_accept_rate: float
    true_accept_rate: float | None
    """None where `measurable` is False."""
    threshold: float | None
    """The lowest accepted score, inf if no score can be accepted; None where `measurable` is False."""
    num_false_accepts: int | None
    measurable: bool
    """False where false_accept_rate x impostor pairs is below 1."""
    low_confidence: bool
    """True where false_accept_rate x impostor pairs is below LOW_CONFIDENCE_FALSE_ACCEPTS."""
    reason: str = ""


@dataclass(frozen=True)
class Verification:
    """Figures of a verification; `eer` and `auc` are worked out when first asked for."""

    points: tuple[OperatingPoint, ...]
    num_genuine: int
    num_impostors: int
    curve: "Curve | None" = field(default=None, repr=False, compare=False)

    def at(self, false_accept_rate: float) -> OperatingPoint:
        """The operating point at one of the rates that were asked for. ValueError: if it was not."""
        for point in self.points:
            if point.false_accept_rate == false_accept_rate:
                return point
        known = ", ".join(f"{point.false_accept_rate:g}" for point in self.points)
        raise ValueError(f"no operating point at a false accept rate of {false_accept_rate:g}; known: {known}")

    @property
    def eer(self) -> float | None:
        """Equal error rate: where the ROC, straight between its points, crosses false accepts = false rejects.

        None if only the highest scores were kept (`match`).
        """
        return None if self.curve is None else self.curve.eer

    @property
    def auc(self) -> float | None:
        """Area under the ROC, ties counting one half. None if only the highest scores were kept (`match`)."""
        return None if self.curve is None else self.curve.auc


@dataclass(frozen=True)
class Curve:
    """The whole ROC of some scores, sorted only when needed."""

    scores: NDArray[np.floating]
    genuine: NDArray[np.bool_]

    @cached_property
    def corners(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Numbers of false and of true accepts at the corners of the ROC."""
        return corner_counts(np.sort(self.scores[~self.genuine]), np.sort(self.scores[self.genuine]))

    @cached_property
    def rates(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """False and true accept rates at the corners."""
        false_accepts, true_accepts = self.corners
        return false_accepts / false_accepts[-1], true_accepts / true_accepts[-1]

    @cached_property
    def eer(self) -> float:
        false_accept_rate, true_accept_rate = self.rates
        excess = false_accept_rate - (1 - true_accept_rate)  # rises from -1 to 1
        after = int(np.argmax(excess >= 0))
        share = -excess[after - 1] / (excess[after] - excess[after - 1])
        return float(false_accept_rate[after - 1] + share * (false_accept_rate[after] - false_accept_rate[after - 1]))

    @cached_property
    def auc(self) -> float:
        false_accept_rate, true_accept_rate = self.rates
        return float(np.trapezoid(true_accept_rate, false_accept_rate))


def verification(scores: ArrayLike, genuine: ArrayLike, far: Sequence[float] = FALSE_ACCEPT_RATES) -> Verification:
    """True accept rates at fixed false accept rates, over all pairs given.

    scores: any shape, higher is more alike; genuine: same shape, True where both faces are one person.
    Only the highest impostor scores are sorted, so this costs about as much as reading the scores once; `eer` and `auc`
    sort all of them when first asked for, and keep both arrays alive until then.

    ValueError: if shapes differ, a score is not finite, genuine or impostor pairs are missing, or a rate is outside
    (0, 1].
    """
    flat, is_genuine = checked_pairs(scores, genuine)
    rows = np.flatnonzero(is_genuine)
    num_impostors = len(flat) - len(rows)
    if len(rows) == 0 or num_impostors == 0:
        missing = "genuine" if len(rows) == 0 else "impostor"
        raise ValueError(f"verification needs genuine and impostor pairs; there are no {missing} pairs")
    count = num_allowed(max(far, default=0.0), num_impostors) + 1
    tail = _highest_impostors(flat, is_genuine, min(count, num_impostors))
    points = operating_points(flat[rows], tail, num_impostors, far)
    return Verification(points, len(rows), num_impostors, Curve(flat, is_genuine))


def roc(scores: ArrayLike, genuine: ArrayLike) -> list[tuple[float, float]]:
    """(false accept rate, true accept rate) for a plot on a logarithmic axis, rising.

    Of the corners of the exact curve the first and the last within each step of POINTS_PER_DECADE are kept, the one
    with the highest true accept rate at no false accept among them. ValueError: as in `verification`.
    """
    curve = verification(scores, genuine, far=(1.0,)).curve
    assert curve is not None
    false_accept_rate, true_accept_rate = curve.rates
    with np.errstate(divide="ignore"):
        step = np.floor(np.log10(false_accept_rate) * POINTS_PER_DECADE)
    change = step[1:] != step[:-1]
    kept = np.concatenate([[True], change]) | np.concatenate([change, [True]])
    return list(zip(false_accept_rate[kept].tolist(), true_accept_rate[kept].tolist(), strict=True))


def operating_points(
    genuine_scores: NDArray[np.floating],
    impostor_tail: NDArray[np.floating],
    num_impostors: int,
    far: Sequence[float] = FALSE_ACCEPT_RATES,
) -> tuple[OperatingPoint, ...]:
    """Operating points from all genuine scores and the highest impostor scores.

    impostor_tail: at least the `num_allowed(rate, num_impostors)` + 1 highest (or all) for every rate, in any order.
    """
    mates, tail = np.sort(genuine_scores), np.sort(impostor_tail)
    return tuple(_operating_point(mates, tail, num_impostors, rate) for rate in far)


def corner_counts(
    impostors: NDArray[np.floating], mates: NDArray[np.floating]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of false and of true accepts at the corners of the ROC, from (0, 0) to (impostors, mates); both sorted.

    Between two neighbouring genuine scores the ROC is flat, so only genuine scores make corners: one where the score
    itself is not accepted yet, one where it is; between the two the curve runs straight (ties).
    """
    levels = np.unique(mates)[::-1]
    counts = []
    for sample in (impostors, mates):
        above = len(sample) - np.searchsorted(sample, levels, "right")
        at_least = len(sample) - np.searchsorted(sample, levels, "left")
        counts.append(np.concatenate([[0], np.stack([above, at_least], axis=1).ravel(), [len(sample)]]))
    return counts[0], counts[1]


def lowest_accepted(
    scores: NDArray[np.floating],
    genuine: NDArray[np.bool_],
    weights: NDArray[np.float32],
    num_impostors: NDArray[np.floating],
    far: Sequence[float] = FALSE_ACCEPT_RATES,
) -> NDArray[np.float64]:
    """Thresholds in resamples, where each pair counts as often as its two people were drawn.

    scores, genuine: (num_pairs,) falling, and as many of the highest as any resample accepts; weights: (num_pairs,
    num_resamples); num_impostors: (num_resamples,) weight of all impostor pairs. Gives (num_far, num_resamples), NaN
    where no score can be accepted (at a rate that a resample cannot show, no impostor pair is).
    """
    begins = np.flatnonzero(np.append(True, scores[1:] != scores[:-1]))
    drawn = np.add.reduceat(weights, begins, axis=0) > 0
    of_impostors = np.add.reduceat(np.where(genuine[:, None], 0, weights), begins, axis=0)
    false_accepts = np.cumsum(of_impostors, axis=0, dtype=np.float64)
    levels, places = np.append(scores[begins], np.nan).astype(np.float64), np.arange(len(begins))[:, None]
    return np.stack(
        [
            levels[np.where(drawn & (false_accepts <= allowed_weights(rate, num_impostors)), places, -1).max(axis=0)]
            for rate in far
        ]
    )


def allowed_weights(false_accept_rate: float, num_impostors: NDArray[np.floating]) -> NDArray[np.int64]:
    """`num_allowed` of each resample, from the weight of its impostor pairs: (num_resamples,); 0 where it has none."""
    return np.array([num_allowed(false_accept_rate, int(total)) if total else 0 for total in num_impostors], np.int64)


def num_allowed(false_accept_rate: float, num_impostors: int) -> int:
    """The largest number of false accepts whose share of the impostor pairs does not exceed the rate."""
    if not 0 < false_accept_rate <= 1:
        raise ValueError(f"a false accept rate must be in (0, 1]; got {false_accept_rate}")
    count = floor(false_accept_rate * num_impostors)
    while count / num_impostors > false_accept_rate:
        count -= 1
    while (count + 1) / num_impostors <= false_accept_rate:
        count += 1
    return count


def too_few(num_impostors: int, rate: float) -> str:
    """Why a false accept rate is not measurable."""
    return (
        f"{num_impostors:,} impostor pairs cannot show a false accept rate of {rate:g}: "
        f"it takes at least {ceil(1 / rate - 1e-6):,}"
    )


def _operating_point(
    mates: NDArray[np.floating], tail: NDArray[np.floating], num_impostors: int, rate: float
) -> OperatingPoint:
    allowed = num_allowed(rate, num_impostors)
    low_confidence = allowed < LOW_CONFIDENCE_FALSE_ACCEPTS
    if allowed == 0:
        return OperatingPoint(rate, None, None, None, False, low_confidence, too_few(num_impostors, rate))
    # The highest impostor score that must be rejected; every score above it is accepted.
    rejected = -inf if allowed >= num_impostors else float(tail[len(tail) - 1 - allowed])
    first_mate = int(np.searchsorted(mates, rejected, "right"))
    first_impostor = int(np.searchsorted(tail, rejected, "right"))
    accepted = [
        float(sample[first]) for sample, first in ((mates, first_mate), (tail, first_impostor)) if first < len(sample)
    ]
    true_accept_rate = (len(mates) - first_mate) / len(mates)
    num_false_accepts = len(tail) - first_impostor
    reason = f"about {allowed} false accepts decide this figure" if low_confidence else ""
    return OperatingPoint(
        rate, true_accept_rate, min(accepted, default=inf), num_false_accepts, True, low_confidence, reason
    )


def checked_pairs(scores: ArrayLike, genuine: ArrayLike) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    values, is_genuine = np.asarray(scores), np.asarray(genuine)
    if values.shape != is_genuine.shape:
        raise ValueError(f"scores and genuine must have one shape; got {values.shape} and {is_genuine.shape}")
    if values.dtype.kind != "f":
        values = values.astype(np.float64)
    if is_genuine.dtype != np.bool_:
        if not np.isin(is_genuine, (0, 1)).all():
            raise ValueError("genuine must hold True and False (or 1 and 0) only")
        is_genuine = is_genuine.astype(np.bool_)
    # The sum of two extremes is finite only if every score is: minimum and maximum pass NaN on.
    if values.size and not np.isfinite(values.min() + values.max()):
        first = np.unravel_index(int(np.argmin(np.isfinite(values))), values.shape)
        raise ValueError(f"score {tuple(int(i) for i in first)} is {values[first]}; every score must be finite")
    return values.ravel(), is_genuine.ravel()


def _highest_impostors(scores: NDArray[np.floating], is_genuine: NDArray[np.bool_], count: int) -> NDArray[np.floating]:
    """At least the `count` highest impostor scores: a bound from a sample, one pass of comparisons, no full sort."""
    if len(scores) > 4 * SAMPLE_SIZE:
        sample = np.random.default_rng(0).integers(0, len(scores), SAMPLE_SIZE)
        sample_impostors = np.sort(scores[sample[~is_genuine[sample]]])
        rank = int(count / len(scores) * SAMPLE_SIZE * SAMPLE_MARGIN) + 25
        if rank < len(sample_impostors):
            above = np.flatnonzero(scores > sample_impostors[-rank])
            tail = scores[above[~is_genuine[above]]]
            if len(tail) >= count:
                return tail
    impostors = scores[~is_genuine]
    return np.partition(impostors, len(impostors) - count)[len(impostors) - count :]
