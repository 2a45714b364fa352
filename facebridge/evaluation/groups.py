"""Errors by group of people or pictures, at one threshold for all, as NIST's reports on demographics give them.

A column of the face list divides the pictures. Per group: the false reject rate over the genuine pairs whose probe is
in the group, and the false accept rate over impostor pairs. Where the column tells people apart (sex, skin tone, age),
both faces of such a pair are in the group, since who looks for an impostor looks among one's like; where it tells
pictures of one person apart (yaw, expression), only the probe is. Then how far the groups are apart: the largest rate
over the smallest, and over the geometric mean (NIST IR 8429, FRTE Part 8). Intervals resample people (`bootstrap`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite, isinf, isnan, nan

import numpy as np
from numpy.typing import NDArray

from facebridge.data.face_list import FaceList
from facebridge.evaluation import bootstrap
from facebridge.evaluation.bootstrap import Interval, Weights
from facebridge.evaluation.identify import Identities, codes
from facebridge.evaluation.result import Figure, GroupFigures, Groups, Impostors
from facebridge.evaluation.verify import NONE_ACCEPTED, OperatingPoint, verification

THRESHOLD_FALSE_ACCEPT_RATES = (1e-3, 1e-2)
"""The threshold of all groups is set at the first of these that the impostor pairs can show."""
EDGES: dict[str, tuple[float, ...]] = {
    "yaw_deg": (0, 15, 30, 45, 60, 90),
    "age": (0, 18, 30, 45, 60, inf),
    "age_0_to_1": (0, 0.33, 0.67, 1),
}
"""Borders of the groups of a column of numbers, where none are asked for; others are divided by value."""
ABSOLUTE = ("yaw_deg",)
"""Columns whose sign does not matter."""
OF_PICTURES, OF_PEOPLE = ("yaw_deg", "expression", "domain", "session"), ("age",)
"""Columns of which it is known what they tell apart. Another tells people apart if SHARE_OF_PEOPLE have one value, of
those with several pictures."""
SHARE_OF_PEOPLE = 0.9
MAX_GROUPS = 24
FEW_ERRORS, FEW_PEOPLE = 10, 10
"""Fewer of either: the rate is given, marked as uncertain."""
UNKNOWN, OUTSIDE = "unknown", "outside the borders"
"""Groups of the rest: in the table, not in the ratios."""

Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Grouping:
    """A column, and the borders of its groups; no borders: those of EDGES, or a group for each value."""

    column: str
    edges: tuple[float, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Grouping":
        """`COLUMN` or `COLUMN:0,15,30`; the last border may be inf.

        Raises:
            ValueError: if the borders are not two or more rising numbers.
        """
        column, colon, borders = text.partition(":")
        if not column:
            raise ValueError(f"groups {text!r}: expected COLUMN or COLUMN:EDGES, such as yaw_deg:0,30,60,90")
        if not colon:
            return cls(column)
        edges = tuple(map(_number, borders.split(",")))
        rises = all(low < high for low, high in zip(edges, edges[1:], strict=False))  # false where one is no number
        if len(edges) < 2 or not rises or not isfinite(edges[0]):
            raise ValueError(f"groups {text!r}: expected rising numbers after the column, such as {column}:0,30,60,90")
        return cls(column, edges)


@dataclass(frozen=True)
class Members:
    """Which group each face is in: (num_probes,) and (num_gallery,) places in `names`."""

    column: str
    names: list[str]
    probe: Codes
    gallery: Codes
    impostors: Impostors
    num_known: int
    """The first so many names are groups that are compared with each other."""


def members(grouping: Grouping, probe: FaceList, gallery: FaceList) -> Members:
    """Divide the faces of a comparison.

    Raises:
        ValueError: if there is no such column, a value is no number where borders were asked for, or there are more
            than MAX_GROUPS groups.
    """
    cells = [*_cells(probe, grouping.column), *_cells(gallery, grouping.column)]
    groups, names = _divided(cells, grouping)
    if len(names) > MAX_GROUPS:
        raise ValueError(
            f"the column {grouping.column!r} has {len(names)} different values, more than {MAX_GROUPS}: for a column "
            f"of numbers give borders, such as {grouping.column}:0,10,20"
        )
    of_face = np.array([names.index(name) for name in groups], np.int64)
    num_known = sum(name not in (UNKNOWN, OUTSIDE) for name in names)
    people = [*probe.column("identity").tolist(), *gallery.column("identity").tolist()]
    impostors = _impostors(grouping.column, people, of_face, num_known)
    label = f"absolute {grouping.column}" if grouping.column in ABSOLUTE else grouping.column
    return Members(label, names, of_face[: len(probe)], of_face[len(probe) :], impostors, num_known)


class Compared:
    """Which faces each score compares, score by score; the scores of a matrix row by row.

    probe, gallery: (num_pairs,) rows of the comparison's faces. probe_person, gallery_person: their identities, as
    numbers. first, second: every two people that are compared (one twice, if genuine), once. couple: (num_pairs,) the
    place of a pair's people among these.
    """

    def __init__(
        self, probe: Codes, gallery: Codes, probe_ids: Identities, gallery_ids: Identities, genuine: NDArray[np.bool_]
    ) -> None:
        self.probe, self.gallery, self.genuine = probe, gallery, genuine
        self.probe_person, self.gallery_person = codes(probe_ids, gallery_ids)
        ends = self.probe_person, self.gallery_person
        size = 1 + int(np.max(ends))
        unique, self.couple = np.unique(np.minimum(*ends) * size + np.maximum(*ends), return_inverse=True)
        self.first, self.second = unique // size, unique % size


@dataclass(frozen=True)
class Found:
    """Probes with a mate in the gallery: their rows, their identities, and whether each is found at rank 1."""

    rows: Codes
    people: Identities
    hits: NDArray[np.bool_]


def by_group(
    scores: NDArray[np.floating],
    compared: Compared,
    division: Members,
    found: Found | None = None,
    far: Sequence[float] = THRESHOLD_FALSE_ACCEPT_RATES,
    num_resamples: int = bootstrap.NUM_RESAMPLES,
) -> Groups:
    """Error rates of each group at one threshold, with 95 % intervals, and how far apart they are.

    scores: as many as `compared` has pairs, in any shape. found: of an identification; None: none was made. far: the
    threshold is set at the first of these that is measurable.
    """
    point = _point(scores.ravel(), compared.genuine, far)
    threshold = _threshold(point)
    tally = _tally(compared, division, scores.ravel() >= (inf if threshold.value is None else threshold.value))
    if threshold.value is None:
        rates, apart = _unmeasured(division, threshold.reason)
    else:
        rates, apart = _rates(tally, compared, division, num_resamples)
    groups = []
    for place, name in enumerate(division.names):
        figures = {kind: rates[kind][place] for kind in KINDS}
        if found is not None:
            figures["rank1"] = _rank1(found, division.probe[found.rows] == place, num_resamples)
        num_genuine, num_impostors = tally.num_pairs()[:, place].tolist()
        groups.append(GroupFigures(name, tally.num_people[place], num_genuine, num_impostors, figures))
    return Groups(division.column, division.impostors, point.false_accept_rate, threshold, groups, *apart)


KINDS = ("false_reject_rate", "false_accept_rate")
_WORDS = (("genuine", "false rejects"), ("impostor", "false accepts"))


@dataclass(frozen=True)
class _Tally:
    """Pairs, and pairs decided wrongly: (2 x num_groups, num_couples), genuine pairs first, then impostor pairs."""

    pairs: NDArray[np.float32]
    errors: NDArray[np.float32]
    num_people: list[int]

    def num_pairs(self) -> Codes:
        """(2, num_groups)"""
        return _whole(self.pairs)

    def num_errors(self) -> Codes:
        """(2, num_groups)"""
        return _whole(self.errors)

    def rates(self, weights: Weights) -> NDArray[np.float32]:
        """(2 x num_groups, num_resamples): false reject and false accept rates; NaN where no such pair was drawn."""
        wrong = np.flatnonzero(self.errors.any(0))
        errors = np.take(self.errors, wrong, axis=1) @ weights[wrong]
        with np.errstate(invalid="ignore"):
            return np.asarray(errors / (self.pairs @ weights), np.float32)


def _whole(counts: NDArray[np.float32]) -> Codes:
    return np.asarray(counts.sum(1, dtype=np.float64).reshape(2, -1), np.int64)


def _tally(compared: Compared, division: Members, accepted: NDArray[np.bool_]) -> _Tally:
    num_groups, num_couples = len(division.names), len(compared.first)
    group = division.probe[compared.probe]
    counted = np.full(len(group), True)
    if division.impostors == "within":
        counted = compared.genuine | (group == division.gallery[compared.gallery])
    cell = np.where(compared.genuine, group, num_groups + group) * num_couples + compared.couple
    pairs, errors = (
        np.bincount(cell[chosen], minlength=2 * num_groups * num_couples).reshape(-1, num_couples).astype(np.float32)
        for chosen in (counted, counted & (accepted != compared.genuine))
    )
    of_people = [len(np.unique(compared.probe_person[group == place])) for place in range(num_groups)]
    return _Tally(pairs, errors, of_people)


Rates = dict[str, list[Figure]]
"""Kind of error -> the rate of each group."""
Apart = tuple[dict[str, Figure], dict[str, Figure]]
"""Kind of error -> largest over smallest rate, and largest rate over the geometric mean."""


def _unmeasured(division: Members, reason: str) -> tuple[Rates, Apart]:
    none = Figure(None, reason=reason)
    return {kind: [none] * len(division.names) for kind in KINDS}, (dict.fromkeys(KINDS, none),) * 2


def _rates(tally: _Tally, compared: Compared, division: Members, num_resamples: int) -> tuple[Rates, Apart]:
    num_groups, known = len(division.names), division.num_known
    measurable = (tally.num_pairs() > 0) & (np.arange(num_groups) < known)

    def statistic(weights: Weights) -> NDArray[np.float32]:
        rates = tally.rates(weights)
        spreads = [_spread(own[which]) for own, which in zip(np.split(rates, 2), measurable, strict=True)]
        return np.concatenate([rates, *spreads])

    intervals = bootstrap.interval(statistic, compared.first, compared.second, num_resamples)
    rates, largest, to_mean = {}, {}, {}
    for number, kind in enumerate(KINDS):
        own = intervals[number * num_groups : (number + 1) * num_groups]
        rates[kind] = [_rate(tally, number, place, found) for place, found in enumerate(own)]
        named = list(zip(division.names, rates[kind], strict=True))[:known]
        inverses = intervals[2 * (num_groups + number) :]
        largest[kind], to_mean[kind] = (_ratio(named, inverse, number) for inverse in inverses[:2])
    return rates, (largest, to_mean)


def _spread(rates: NDArray[np.float32]) -> NDArray[np.float32]:
    """(num_groups, num_resamples) -> smallest over largest rate, and geometric mean over largest: 0 where one is 0.

    The inverse of what is asked for, since it stays finite; NaN where all are 0, or a group was not drawn.
    """
    if len(rates) < 2:
        return np.full((2, rates.shape[1]), np.nan, np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.exp(np.log(rates).mean(0))
        return np.asarray(np.stack([rates.min(0), mean]) / rates.max(0), np.float32)


def _rate(tally: _Tally, kind: int, place: int, found: Interval) -> Figure:
    errors, pairs = int(tally.num_errors()[kind, place]), int(tally.num_pairs()[kind, place])
    of_pairs, of_errors = _WORDS[kind]
    if pairs == 0:
        return Figure(None, reason=f"the group has no {of_pairs} pairs")
    few = errors < FEW_ERRORS or tally.num_people[place] < FEW_PEOPLE
    reason = f"fewer than {FEW_ERRORS} {of_errors}, or than {FEW_PEOPLE} people" if few else ""
    if errors in (0, pairs):  # resampled, none stays none and all stay all: that interval would say nothing
        return Figure(
            errors / pairs, reason=f"{'only' if errors else 'no'} {of_errors}, so no interval", low_confidence=few
        )
    if found.low == found.high:
        return Figure(errors / pairs, reason="everybody has this rate, so no interval", low_confidence=few)
    return Figure(errors / pairs, found.low, found.high, reason, few)


def _ratio(named: Sequence[tuple[str, Figure]], inverse: Interval, kind: int) -> Figure:
    """The ratio whose inverse was resampled."""
    rated = [(name, figure) for name, figure in named if figure.value is not None]
    if len(rated) < 2:
        return Figure(None, reason="a ratio needs two groups whose rates are measurable")
    free = [name for name, figure in rated if figure.value == 0]
    if free:
        return Figure(None, reason=f"no {_WORDS[kind][1]} in {', '.join(free)}: the ratio has no upper limit")
    if not inverse.value:
        return Figure(None, reason="too few people to resample")
    low, high = (1 / end if end else None for end in (inverse.high, inverse.low))
    notes = [f"without {name}: {figure.reason}" for name, figure in named if figure.value is None]
    if high is None:
        notes.append("no upper limit: some resamples have a group without errors")
    doubtful = [name for name, figure in rated if figure.low_confidence]
    if doubtful:
        notes.append(f"few errors or people in {', '.join(doubtful)}")
    return Figure(1 / inverse.value, low, high, "; ".join(notes), bool(doubtful))


def _rank1(found: Found, chosen: NDArray[np.bool_], num_resamples: int) -> Figure:
    if not chosen.any():
        return Figure(None, reason="the group has no probe with a mate in the gallery")
    people = np.asarray(found.people)[chosen]
    interval = bootstrap.mean_interval(found.hits[chosen], people, num_resamples)
    few = len(np.unique(people)) < FEW_PEOPLE
    if interval.low == interval.high:
        return Figure(interval.value, reason="everybody has this rate, so no interval", low_confidence=few)
    reason = f"fewer than {FEW_PEOPLE} people" if few else ""
    return Figure(interval.value, interval.low, interval.high, reason, few)


def _point(scores: NDArray[np.floating], genuine: NDArray[np.bool_], far: Sequence[float]) -> OperatingPoint:
    """The first that is measurable, else the last."""
    points = verification(scores, genuine, far).points
    return next((point for point in points if point.measurable), points[-1])


def _threshold(point: OperatingPoint) -> Figure:
    if point.threshold is None:
        return Figure(None, reason=point.reason)
    if isinf(point.threshold):
        return Figure(None, reason=NONE_ACCEPTED)
    return Figure(point.threshold, reason=point.reason, low_confidence=point.low_confidence)


def _cells(faces: FaceList, column: str) -> list[str]:
    """The column as text, empty where unknown."""
    cells = [str(value).strip() for value in faces.column(column).tolist()]
    return ["" if cell.lower() in ("nan", UNKNOWN) else cell for cell in cells]


def _divided(cells: Sequence[str], grouping: Grouping) -> tuple[list[str], list[str]]:
    """The group of each cell, and the groups in their order: those that are known first."""
    numbers = [_number(cell) for cell in cells if cell]
    all_numbers = not any(map(isnan, numbers))
    edges = grouping.edges or (EDGES.get(grouping.column, ()) if all_numbers else ())
    if not edges:
        names = sorted(set(cells) - {""}, key=_number if all_numbers else str)
        return [cell or UNKNOWN for cell in cells], names + [UNKNOWN] * ("" in cells)
    if not all_numbers:
        odd = next(cell for cell in cells if cell and isnan(_number(cell)))
        raise ValueError(f"column {grouping.column!r}: {odd!r} is no number; borders are for columns of numbers")
    bins = [*_bin_names(edges), OUTSIDE, UNKNOWN]
    groups = [bins[_bin(cell, edges, grouping.column in ABSOLUTE)] for cell in cells]
    return groups, [name for name in bins if name in groups]


def _bin_names(edges: Sequence[float]) -> list[str]:
    return [
        f"{low:g} and more" if isinf(high) else f"{low:g} to {high:g}"
        for low, high in zip(edges, edges[1:], strict=False)
    ]


def _bin(cell: str, edges: Sequence[float], absolute: bool) -> int:
    """Lower borders belong to a group, upper ones to the next, the last to the last; -2: outside, -1: unknown."""
    if not cell:
        return -1
    value = abs(_number(cell)) if absolute else _number(cell)
    if not edges[0] <= value <= edges[-1]:
        return -2
    return min(int(np.searchsorted(edges, value, "right")), len(edges) - 1) - 1


def _impostors(column: str, people: Sequence[str], group: Codes, num_known: int) -> Impostors:
    """Whether both faces of an impostor pair have to be in a group, or the probe alone."""
    if column in OF_PICTURES + OF_PEOPLE:
        return "probe" if column in OF_PICTURES else "within"
    values: dict[str, list[int]] = {}
    for person, place in zip(people, group.tolist(), strict=True):
        if place < num_known:
            values.setdefault(person, []).append(place)
    constant = [len(set(places)) == 1 for places in values.values() if len(places) > 1]
    return "within" if sum(constant) >= SHARE_OF_PEOPLE * len(constant) else "probe"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return nan
