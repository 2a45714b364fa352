"""Intervals: how far a figure would move with other people in the test.

Pairs that share a person are not independent, so people are drawn, not pairs: each of `num_resamples` times as many
identities as there are, with replacement. A pair of two people drawn m and n times counts m x n times; a pair of one
person drawn m times counts m times (its pictures come along once a draw, and two draws of one person are no new genuine
pair). This is the vertex bootstrap of Fogliato, Patil and Perona, "Confidence Intervals for Error Rates in 1:1 Matching
Tasks" (IJCV 2024); the interval is between percentiles of the figure over the resamples.

Weights stand in for copies: no resample is ever laid out, and a block of resamples is worked out at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from facebridge.evaluation.identify import Identities, codes
from facebridge.evaluation.verify import (
    FALSE_ACCEPT_RATES,
    allowed_weights,
    checked_pairs,
    corner_counts,
    lowest_accepted,
    verification,
)

NUM_RESAMPLES = 1000
LEVEL = 0.95
WEIGHTS_PER_BLOCK = 2**22
SMALLEST_BLOCK = 16

Weights = NDArray[np.float32]
"""(num_items, num_resamples): how often each item counts in each resample; whole numbers."""
Statistic = Callable[[Weights], NDArray[np.floating]]
"""Weights -> (num_resamples,) or (num_figures, num_resamples); NaN where undefined."""


@dataclass(frozen=True)
class Interval:
    """A figure and the interval that holds it; None where it cannot be measured."""

    value: float | None
    low: float | None
    high: float | None


def mean_interval(
    values: ArrayLike, identities: Identities, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> Interval:
    """The mean of one number per picture, and how far it moves with other people.

    For rank-1: 1.0 where a mated probe was found, 0.0 where not, with the probes' identities (the gallery stays as it
    is); likewise PSNR, SSIM and identity similarity.

    ValueError: if there is no value, or one is not finite.
    """
    numbers = np.asarray(values, np.float64)
    if len(numbers) == 0 or not np.isfinite(numbers).all():
        raise ValueError("an interval needs at least one value, all of them finite")
    return interval(lambda weights: numbers @ weights / weights.sum(0), identities, None, num_resamples, seed)[0]


def accuracy_interval(
    right: ArrayLike,
    genuine: ArrayLike,
    first_ids: Identities,
    second_ids: Identities,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The accuracy over pairs, `right` being True where a pair was called correctly.

    Each fold's threshold stays as chosen, and so does the protocol's proportion of genuine to impostor pairs.
    """
    hits, is_genuine = np.asarray(right, np.float64), np.asarray(genuine, np.bool_)
    share = is_genuine.mean()

    def statistic(weights: Weights) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore"):  # a resample without a pair of one kind is left out, as NaN
            parts = [hits[kind] @ weights[kind] / weights[kind].sum(0) for kind in (is_genuine, ~is_genuine)]
        return np.asarray(share * parts[0] + (1 - share) * parts[1])

    return interval(statistic, first_ids, second_ids, num_resamples, seed)[0]


def verification_intervals(
    scores: ArrayLike,
    genuine: ArrayLike,
    first_ids: Identities,
    second_ids: Identities,
    far: Sequence[float] = FALSE_ACCEPT_RATES,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> dict[str | float, Interval]:
    """Intervals of "eer", "auc" and, under the rate itself as key, of the true accept rate at each false accept rate.

    scores, genuine: (num_pairs,) with as many identities on both sides, or (num_probes, num_gallery) with the probes'
    and the gallery's identities. A rate that `verification` calls not measurable has no interval either.

    ValueError: as in `verification`, or if identities and scores do not fit.
    """
    values, is_genuine = checked_pairs(scores, genuine)
    first, second = of_pairs(np.shape(scores), first_ids, second_ids)
    whole = verification(values, is_genuine, far)
    impostors, mates = (np.flatnonzero(kind)[np.argsort(-values[kind])] for kind in (~is_genuine, is_genuine))
    at_impostors, at_mates = corner_counts(values[impostors][::-1], values[mates][::-1])

    def statistic(weights: Weights) -> NDArray[np.float64]:
        false_accepts = _cumulative(weights[: len(impostors)], at_impostors)
        return _verification_figures(false_accepts, _cumulative(weights[len(impostors) :], at_mates), far)

    order = np.concatenate([impostors, mates])
    found = interval(statistic, first[order], second[order], num_resamples, seed)
    keys: list[str | float] = ["eer", "auc", *far]
    exact = [whole.eer, whole.auc, *(point.true_accept_rate for point in whole.points)]
    return {
        key: Interval(None, None, None) if value is None else Interval(value, item.low, item.high)
        for key, value, item in zip(keys, exact, found, strict=True)
    }


def threshold_intervals(
    scores: ArrayLike,
    genuine: ArrayLike,
    first_ids: Identities,
    second_ids: Identities,
    far: Sequence[float] = FALSE_ACCEPT_RATES,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> list[Interval]:
    """The thresholds of `verification` at some false accept rates, and how far they move with other people.

    scores, genuine, identities: as in `verification_intervals`. A resample in which no score can be accepted has no
    threshold and is left out; None where `verification` has no finite one. Only as many of the highest scores are
    looked at as the resamples accept.

    ValueError: as in `verification_intervals`.
    """
    values, is_genuine = checked_pairs(scores, genuine)
    first, second = of_pairs(np.shape(scores), first_ids, second_ids)
    points = verification(values, is_genuine, far).points
    multiplicity = draws(int(max(first.max(), second.max())) + 1, num_resamples, seed)
    impostors = np.flatnonzero(~is_genuine)
    impostors = impostors[np.argsort(-values[impostors])]
    totals = _totals(multiplicity, first[impostors], second[impostors])
    depth = _depth(multiplicity, first[impostors], second[impostors], allowed_weights(max(far), totals))
    items = np.arange(len(values))
    if depth < len(impostors):
        items = np.flatnonzero(values >= values[impostors[depth - 1]])
    items = items[np.argsort(-values[items])]
    step = max(SMALLEST_BLOCK, WEIGHTS_PER_BLOCK // len(items))
    found = [
        lowest_accepted(
            values[items],
            is_genuine[items],
            pair_weights(multiplicity[start : start + step], first[items], second[items]),
            totals[start : start + step],
            far,
        )
        for start in range(0, num_resamples, step)
    ]
    whole = [np.nan if each.threshold is None or np.isinf(each.threshold) else each.threshold for each in points]
    return [_interval(value, row, LEVEL) for value, row in zip(whole, np.concatenate(found, axis=1), strict=True)]


def accept_rate_intervals(
    scores: ArrayLike,
    first_ids: Identities,
    second_ids: Identities,
    thresholds: ArrayLike,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> list[Interval]:
    """The share of pairs whose score is at least each threshold, the thresholds staying as they are.

    Of impostor pairs it is the false accept rate, of genuine pairs the true accept rate. scores: (num_pairs,). Time
    grows with the pairs that the lowest threshold accepts, memory with the people alone.

    ValueError: if scores and identities differ in number, or there is none.
    """
    values = np.asarray(scores)
    first, second = codes(first_ids, second_ids)
    if not len(values) == len(first) == len(second) or len(values) == 0:
        raise ValueError(f"an interval needs both identities of each score; got {len(values)}, {len(first)}")
    order = np.argsort(-values)
    counts = len(values) - np.searchsorted(values[order][::-1], np.asarray(thresholds), "left")
    multiplicity = draws(int(max(first.max(), second.max())) + 1, num_resamples, seed)
    with np.errstate(invalid="ignore"):  # a resample without a pair is left out, as NaN
        shares = _accumulated(multiplicity, first[order], second[order], counts) / _totals(multiplicity, first, second)
    return [_interval(count / len(values), row, LEVEL) for count, row in zip(counts, shares, strict=True)]


def interval(
    statistic: Statistic,
    first_ids: Identities,
    second_ids: Identities | None = None,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> list[Interval]:
    """Percentile intervals of any figures that can be worked out from weights; one per figure of the statistic.

    first_ids: identity of each item; second_ids: for pairs, the identity on the other side. Resamples in which a figure
    is undefined (NaN) are left out. Same seed, same interval.

    ValueError: if the numbers of identities differ, or there is none.
    """
    first, second = codes(first_ids, first_ids if second_ids is None else second_ids)
    second = first if second_ids is None else second
    if len(first) == 0 or len(first) != len(second):
        raise ValueError(f"an interval needs identities on both sides of each pair; got {len(first)} and {len(second)}")
    multiplicity = draws(int(max(first.max(), second.max())) + 1, num_resamples, seed)
    step = max(SMALLEST_BLOCK, WEIGHTS_PER_BLOCK // len(first))
    blocks = [
        np.atleast_2d(statistic(pair_weights(multiplicity[start : start + step], first, second)))
        for start in range(0, num_resamples, step)
    ]
    whole = np.atleast_2d(statistic(np.ones((len(first), 1), np.float32)))[:, 0]
    return [_interval(value, row, level) for value, row in zip(whole, np.concatenate(blocks, axis=1), strict=True)]


def draws(num_identities: int, num_resamples: int, seed: int) -> NDArray[np.int64]:
    """How often each identity is drawn: (num_resamples, num_identities), each row summing to num_identities."""
    random = np.random.default_rng(seed)
    return random.multinomial(num_identities, np.full(num_identities, 1 / num_identities), size=num_resamples)


def pair_weights(multiplicity: NDArray[np.int64], first: NDArray[np.int64], second: NDArray[np.int64]) -> Weights:
    """How often each pair counts in each resample: (num_pairs, num_resamples)."""
    return _pair_weights(np.ascontiguousarray(multiplicity.T, np.float32), first, second)


def _pair_weights(of_identity: Weights, first: NDArray[np.int64], second: NDArray[np.int64]) -> Weights:
    """As `pair_weights`, from (num_identities, num_resamples)."""
    weights = np.take(of_identity, first, axis=0)
    if first is not second:
        weights *= np.take(of_identity, second, axis=0)
        # Squared, pictures of one draw would count against those of another draw of the same person.
        same = np.flatnonzero(first == second)
        weights[same] = of_identity[first[same]]
    return weights


def of_pairs(
    shape: tuple[int, ...], first_ids: Identities, second_ids: Identities
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of both identities of each score; those of a matrix spread over its rows and columns."""
    first, second = codes(first_ids, second_ids)
    if shape == (len(first), len(second)):
        return np.repeat(first, len(second)), np.tile(second, len(first))
    if shape != (len(first),) or shape != (len(second),):
        raise ValueError(f"scores of shape {shape} do not fit {len(first)} and {len(second)} identities")
    return first, second


def _cumulative(weights: Weights, counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weight of the first `counts` items: (num_items, num_resamples), (num_counts,) -> (num_counts, num_resamples)."""
    ends, place = np.unique(counts, return_inverse=True)  # from 0 to num_items
    sums = np.add.reduceat(weights, ends[:-1], axis=0)
    return np.vstack([np.zeros((1, weights.shape[1])), np.cumsum(sums, axis=0, dtype=np.float64)])[place]


def _totals(
    multiplicity: NDArray[np.int64], first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Weight of all pairs in each resample: (num_resamples,)."""
    of_identity = torch.from_numpy(multiplicity.T.astype(np.float64))
    apart = first != second
    ends = torch.from_numpy(np.stack([first[apart], second[apart]]))
    ones = torch.ones(ends.shape[1], dtype=torch.float64)
    couples = torch.sparse_coo_tensor(ends, ones, (len(of_identity),) * 2, check_invariants=False).coalesce()
    of_couples = (torch.sparse.mm(couples, of_identity) * of_identity).sum(0)
    alone = torch.from_numpy(np.bincount(first[~apart], minlength=len(of_identity)).astype(np.float64))
    return np.asarray((of_couples + alone @ of_identity).numpy())


def _depth(
    multiplicity: NDArray[np.int64], first: NDArray[np.int64], second: NDArray[np.int64], allowed: NDArray[np.int64]
) -> int:
    """How many of the first pairs it takes until each resample has more weight than allowed; all, if it never has."""
    depth = min(2 * int(allowed.max()) + SMALLEST_BLOCK, len(first))
    while depth < len(first) and (_accumulated(multiplicity, first, second, np.array([depth])) <= allowed).any():
        depth = min(2 * depth, len(first))
    return depth


def _accumulated(
    multiplicity: NDArray[np.int64], first: NDArray[np.int64], second: NDArray[np.int64], counts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Weight of the first `counts` pairs in each resample, a block of pairs at a time: (num_counts, num_resamples)."""
    of_identity = np.ascontiguousarray(multiplicity.T, np.float32)
    ends, place = np.unique(counts, return_inverse=True)
    sums = np.zeros((len(ends), len(multiplicity)))
    step = max(1, WEIGHTS_PER_BLOCK // len(multiplicity))
    for start in range(0, int(ends[-1]), step):
        stop = min(start + step, int(ends[-1]))
        weights = _pair_weights(of_identity, first[start:stop], second[start:stop])
        within, begins = np.unique(np.searchsorted(ends, np.arange(start, stop), "right"), return_index=True)
        sums[within] += np.add.reduceat(weights, begins, axis=0)
    return np.asarray(np.cumsum(sums, axis=0)[place])


def _verification_figures(
    false_accepts: NDArray[np.float64], true_accepts: NDArray[np.float64], far: Sequence[float]
) -> NDArray[np.float64]:
    """EER, AUC and true accept rates from weights accepted at the corners of the ROC: (num_corners, num_resamples)."""
    with np.errstate(invalid="ignore", divide="ignore"):  # a resample without genuine or impostor pairs gives NaN
        rate_true, rate_false = true_accepts / true_accepts[-1], false_accepts / false_accepts[-1]
    figures = [_eer(rate_true, rate_false), np.trapezoid(rate_true, rate_false, axis=0)]
    for rate in far:
        allowed = allowed_weights(rate, false_accepts[-1])
        last = (false_accepts <= allowed).sum(axis=0, keepdims=True) - 1
        figures.append(np.take_along_axis(rate_true, last, axis=0)[0])
    return np.stack(figures)


def _eer(rate_true: NDArray[np.float64], rate_false: NDArray[np.float64]) -> NDArray[np.float64]:
    excess = rate_false - (1 - rate_true)
    after = np.maximum(np.argmax(excess >= 0, axis=0, keepdims=True), 1)
    low, high = (np.take_along_axis(excess, at, axis=0) for at in (after - 1, after))
    before, behind = (np.take_along_axis(rate_false, at, axis=0) for at in (after - 1, after))
    return np.asarray((before - low / (high - low) * (behind - before))[0])


def _interval(value: float, resampled: NDArray[np.float64], level: float) -> Interval:
    defined = resampled[~np.isnan(resampled)]
    if np.isnan(value) or len(defined) == 0:
        return Interval(None, None, None)
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value), float(low), float(high))
