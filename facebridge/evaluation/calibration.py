"""Calibration: the threshold that lets through a chosen share of impostor pairs, as a card for `facebridge match`.

CARD.json                  the threshold, what it lets through, and how the scores were made
CARD.cohort.safetensors    with score normalisation: the embeddings of the cohort (num_cohort, D)

A pair is accepted as one person when its score is at least the threshold. Intervals are of 95 %, over people
(`facebridge.evaluation.bootstrap`).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import ValidationError

from facebridge import recognisers, runs, weight_card, weights
from facebridge.crops import Convention
from facebridge.embedding import JudgeSettings
from facebridge.evaluation import bootstrap
from facebridge.evaluation.bootstrap import Interval
from facebridge.evaluation.identify import Identities
from facebridge.evaluation.normalisation import Kind, ScoreNormalisation
from facebridge.evaluation.verify import POINTS_PER_DECADE, checked_pairs, num_allowed, too_few, verification
from facebridge.method import Frozen
from facebridge.recogniser import Mirror

FILE_NAME = "calibration.json"
"""What a card is called in an evaluation's folder."""
DEEPEST = 1 << 18
"""So many of the highest impostor scores have levels; a score below them is let through too often to matter."""
RULE_OF_THREE = 3
"""No false accept among N independent impostor pairs: with 95 % confidence the rate is below 3 / N."""


class Bounded(Frozen):
    """A figure and its interval."""

    value: float
    low: float
    high: float


class Level(Frozen):
    """What would be let through by a threshold just above an impostor score."""

    score: float
    """The score of an impostor pair."""
    num_above: int
    """How many impostor pairs score higher."""
    low: float
    high: float
    """Interval of the false accept rate."""


class Calibration(Frozen):
    """A threshold, and what it lets through."""

    far: float
    """The false accept rate that was asked for."""
    threshold: Bounded
    false_accept_rate: Bounded
    """Measured at this threshold; at most `far`."""
    true_accept_rate: Bounded
    """Measured at this threshold."""
    num_false_accepts: int
    num_genuine: int
    num_impostors: int
    num_people: int
    low_confidence: bool
    """Whether few false accepts decide the threshold (`verify.LOW_CONFIDENCE_FALSE_ACCEPTS`)."""
    num_resamples: int
    seed: int
    levels: tuple[Level, ...]
    """The highest impostor scores (all, up to DEEPEST), thinned, highest first."""

    def rates_at(self, scores: ArrayLike) -> NDArray[np.float64]:
        """The false accept rates at which pairs of these scores would just be accepted: (num_scores, 3).

        Columns: the rate, and its interval. The rate is exact for the highest impostor scores and up to 4 % too high
        (never too low) further down, where the levels are thinned. Beyond the highest impostor score it was not
        measured (`is_beyond`): 1 / N is given, from 0 to 3 / N, N being the impostor pairs. Below the levels it is 1.
        """
        levels = np.array([level.score for level in self.levels])
        rates = np.array([[level.num_above / self.num_impostors, level.low, level.high] for level in self.levels])
        rates[0] = 1 / self.num_impostors, 0, RULE_OF_THREE / self.num_impostors
        place = len(levels) - np.searchsorted(levels[::-1], np.asarray(scores, np.float64), "left")
        return np.asarray(np.append(rates, [[1.0, self.levels[-1].low, 1.0]], axis=0)[place])

    def is_beyond(self, scores: ArrayLike) -> NDArray[np.bool_]:
        """Whether scores are above all that impostor pairs had."""
        return np.asarray(np.asarray(scores) > self.levels[0].score)


class WeightFile(Frozen):
    """A file that a recogniser was made from."""

    name: str
    sha256: str


class Normalised(Frozen):
    """The score normalisation; its cohort lies beside the card."""

    kind: Kind
    top: int | None
    num_cohort: int
    cohort_sha256: str


class Scoring(Frozen):
    """All that decides a score: another recogniser, alignment or normalisation needs another threshold."""

    recogniser: str
    weights: tuple[WeightFile, ...]
    settings: tuple[str, ...]
    """`key=value`, as given to the recogniser."""
    mirror: Mirror
    crop: str
    """How the faces were aligned before they went in."""
    convention: Convention
    interpolation: Literal["cubic"] = "cubic"
    normalisation: Normalised | None = None
    """None: scores are cosines."""


class Card(Frozen):
    """What `facebridge match` needs to decide."""

    format: Literal["facebridge calibration 1"] = "facebridge calibration 1"
    protocol: dict[str, str | int | float]
    """The pairs that were compared, for people."""
    calibration: Calibration
    scoring: Scoring
    provenance: dict[str, Any]
    """Versions, commit, machine, command, time."""


def calibrate(
    scores: ArrayLike,
    genuine: ArrayLike,
    first_ids: Identities,
    second_ids: Identities,
    far: float,
    num_resamples: int = bootstrap.NUM_RESAMPLES,
    seed: int = 0,
) -> Calibration:
    """The threshold of a false accept rate, from scored pairs.

    scores, genuine: (num_pairs,) with as many identities on both sides, or (num_probes, num_gallery) with the probes'
    and the gallery's identities.

    ValueError: as `verification`, if far x impostor pairs is below 1 (it says how many are needed), or no score at all
    can be accepted at that rate.
    """
    values, is_genuine = checked_pairs(scores, genuine)
    point = verification(values, is_genuine, (far,)).points[0]
    check_rate(far, int((~is_genuine).sum()))
    assert point.threshold is not None
    assert point.num_false_accepts is not None
    if not isfinite(point.threshold):
        raise ValueError(f"cannot calibrate at a false accept rate of {far:g}: too many impostor pairs share one score")
    first, second = bootstrap.of_pairs(np.shape(scores), first_ids, second_ids)
    (threshold,) = bootstrap.threshold_intervals(values, is_genuine, first, second, (far,), num_resamples, seed)
    mates, impostors = ((values[kind], first[kind], second[kind]) for kind in (is_genuine, ~is_genuine))
    levels = _thinned(impostors[0])
    true_accepts = bootstrap.accept_rate_intervals(*mates, [point.threshold], num_resamples, seed)
    thresholds = [point.threshold, *np.nextafter(levels, np.inf)]
    false_accepts = bootstrap.accept_rate_intervals(*impostors, thresholds, num_resamples, seed)
    return Calibration(
        far=far,
        threshold=_bounded(threshold),
        false_accept_rate=_bounded(false_accepts[0]),
        true_accept_rate=_bounded(true_accepts[0]),
        num_false_accepts=point.num_false_accepts,
        num_genuine=int(is_genuine.sum()),
        num_impostors=int((~is_genuine).sum()),
        num_people=len(np.unique(np.concatenate([first, second]))),
        low_confidence=point.low_confidence,
        num_resamples=num_resamples,
        seed=seed,
        levels=_levels(impostors[0], levels, false_accepts[1:]),
    )


def check_rate(far: float, num_impostors: int) -> None:
    """Check that so many impostor pairs can show a false accept rate.

    ValueError: if they cannot (it says how many are needed), or the rate is outside (0, 1].
    """
    if num_impostors and not num_allowed(far, num_impostors):
        raise ValueError(
            f"cannot calibrate: {too_few(num_impostors, far)}; add impostor pairs, or ask for a higher rate"
        )


def scoring(
    judge: JudgeSettings, crop: str, convention: Convention, normalisation: ScoreNormalisation | None = None
) -> Scoring:
    """How scores are made, for a card."""
    return Scoring(
        recogniser=judge.name,
        weights=weight_files(judge),
        settings=judge.settings,
        mirror=cast(Mirror, judge.mirror),
        crop=crop,
        convention=convention,
        normalisation=None if normalisation is None else _described(normalisation),
    )


def weight_files(judge: JudgeSettings) -> tuple[WeightFile, ...]:
    """The files that decide what a recogniser gives; none for an untrained one."""
    files = recognisers.files(judge.name, judge.weights)
    return tuple(WeightFile(name=path.name, sha256=weight_card.digest(path)) for path in files)


def write(
    path: Path,
    calibration: Calibration,
    scoring: Scoring,
    protocol: Mapping[str, str | int | float],
    normalisation: ScoreNormalisation | None = None,
) -> Card:
    """Write a card, whole or not at all; first its cohort beside it, where scores are normalised.

    ValueError: if the normalisation is not the one that `scoring` describes.
    """
    if scoring.normalisation != (None if normalisation is None else _described(normalisation)):
        raise ValueError(f"{path}: scores were made with another normalisation than the one given")
    card = Card(protocol=dict(protocol), calibration=calibration, scoring=scoring, provenance=runs.provenance())
    path.parent.mkdir(parents=True, exist_ok=True)
    if normalisation is not None:
        cohort = torch.from_numpy(np.asarray(normalisation.cohort, np.float32))
        weights.write(cohort_beside(path), {"cohort": cohort}, {"recogniser": scoring.recogniser})
    text = json.dumps(card.model_dump(mode="json"), indent=1, allow_nan=False, ensure_ascii=False)
    runs.write_bytes(path, f"{text}\n".encode())
    if normalisation is None:
        cohort_beside(path).unlink(missing_ok=True)  # of a card that this one replaces
    return card


def read(path: Path) -> Card:
    """Read a card.

    ValueError: if there is no such file, or it is not a card; names the key.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such card; `facebridge evaluate --calibrate RATE` writes one")
    try:
        return Card.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the file"
        raise ValueError(f"{path}: is not a calibration card: {key}: {first['msg'].lower()}") from error


def read_normalisation(path: Path, card: Card) -> ScoreNormalisation | None:
    """The normalisation of a card that lies at this path; None if its scores are not normalised.

    ValueError: if the cohort is missing beside the card, or is not the one that the card was made with.
    """
    described = card.scoring.normalisation
    if described is None:
        return None
    beside = cohort_beside(path)
    if not beside.is_file():
        raise ValueError(f"{beside}: no such file; it holds the cohort of {path.name}: move the two together")
    tensors = weights.read(beside)
    if list(tensors) != ["cohort"]:
        raise ValueError(f"{beside}: holds no cohort")
    found = ScoreNormalisation(described.kind, tensors["cohort"].numpy(), described.top)
    if _described(found) != described:
        raise ValueError(f"{beside}: is not the cohort that {path.name} was made with; calibrate again")
    return found


def cohort_beside(path: Path) -> Path:
    """Where the cohort of a card lies."""
    return path.with_name(f"{path.stem}.cohort.safetensors")


def _thinned(impostors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Some of the highest scores, falling: first one by one, then in POINTS_PER_DECADE steps."""
    falling = np.sort(impostors)[::-1][:DEEPEST]
    num_steps = int(np.log10(len(falling)) * POINTS_PER_DECADE) + 2
    places = np.round(np.geomspace(1, len(falling), num_steps)).astype(np.int64) - 1
    return np.asarray(np.unique(falling[places].astype(np.float64))[::-1])


def _levels(
    impostors: NDArray[np.floating], scores: NDArray[np.float64], rates: Sequence[Interval]
) -> tuple[Level, ...]:
    num_above = len(impostors) - np.searchsorted(np.sort(impostors), scores, "right")
    return tuple(
        Level(score=score, num_above=count, low=_bounded(rate).low, high=_bounded(rate).high)
        for score, count, rate in zip(scores.tolist(), num_above.tolist(), rates, strict=True)
    )


def _bounded(found: Interval) -> Bounded:
    if found.value is None or found.low is None or found.high is None:
        raise ValueError("cannot calibrate: there are too few people for an interval")
    return Bounded(value=found.value, low=found.low, high=found.high)


def _described(normalisation: ScoreNormalisation) -> Normalised:
    cohort = np.ascontiguousarray(normalisation.cohort, np.float32)
    return Normalised(
        kind=normalisation.kind,
        top=normalisation.top,
        num_cohort=len(cohort),
        cohort_sha256=hashlib.sha256(cohort.tobytes()).hexdigest(),
    )
