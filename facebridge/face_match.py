"""Two pictures, folders or face lists and a calibration card -> scores, decisions and false accept rates.

The first side is the gallery, the second the probes: it matters only where scores are normalised by one side.
"""

import csv
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from facebridge import crops, images
from facebridge.crops import Convention, Crop
from facebridge.data import face_list, finding, list_files, reading
from facebridge.data.face_list import FaceList
from facebridge.data.opening import as_aligned, open_faces
from facebridge.embedding import FACES_PER_BATCH, JudgeSettings
from facebridge.evaluation import calibration, matching
from facebridge.evaluation.calibration import Card
from facebridge.evaluation.normalisation import (
    FaceStatistics,
    Kind,
    ScoreNormalisation,
    grid,
    normalised,
    refuse_shared,
)
from facebridge.evaluation.ways import AS_IT_IS, Judge
from facebridge.images import BadPicture
from facebridge.landmarks import DetectorSettings
from facebridge.progress import Progress

Pairing = Literal["all", "names"]
Choose = Literal["largest", "central"]

SCORES_PER_TILE = 1 << 18
SILENT = 64
"""So few pictures need no progress bar."""


@dataclass(frozen=True)
class FindingFaces:
    """Where the faces lie in pictures of which no list says it.

    aligned: the crop that they were aligned to. landmarks: CSV or Parquet with `path` and landmark columns; they win
    over a list's own. Its paths are those of the list, or relative to the side's folder; for a single picture, to the
    table's folder, or its bare name. detector: finds the faces of the pictures that are left; choose: which of several
    counts.

    ValueError: if aligned pictures are to be searched too, or `choose` is unknown.
    """

    aligned: str | None = None
    landmarks: Path | None = None
    detector: DetectorSettings | None = None
    choose: Choose = "largest"

    def __post_init__(self) -> None:
        if self.aligned is not None and self.detector is not None:
            raise ValueError("the pictures are aligned, or a detector is to find their faces; not both")
        if self.choose not in get_args(Choose):
            raise ValueError(f"face is {self.choose!r}; expected one of {', '.join(get_args(Choose))}")


class MatchedPair(NamedTuple):
    """Two pictures compared."""

    first: str
    second: str
    score: float
    same: bool
    """Whether the score is at least the card's threshold."""
    far: float
    """False accept rate at which this score would just be accepted, never too low; see `is_beyond`."""
    far_low: float
    far_high: float
    is_beyond: bool
    """Whether no impostor pair of the calibration scored as high: the rate is then below `far`."""
    note: str
    """What else must be known: that a face was generated, or that both are one picture. Empty: nothing."""


@dataclass(frozen=True)
class Side:
    """Embedded pictures of one side."""

    names: list[str]
    """For people: the picture's path."""
    keys: list[str]
    """Its name within its folder or list."""
    files: list[str]
    """Which file and which part of it."""
    generated: list[str]
    """What generated the face, as the file says; empty: it does not say."""
    embeddings: NDArray[np.float32]
    statistics: FaceStatistics | None
    """Against the cohort; None: scores are not normalised."""
    refused: list[BadPicture]

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Matching:
    """What is compared; iterating over it works the comparisons out, a tile at a time."""

    card: Card
    first: Side
    second: Side
    pairs: Pairing

    def __len__(self) -> int:
        return len(self._named) if self.pairs == "names" else len(self.first) * len(self.second)

    def __iter__(self) -> Iterator[MatchedPair]:
        if self.pairs == "names":
            for start in range(0, len(self._named), SCORES_PER_TILE):
                rows = np.array(self._named[start : start + SCORES_PER_TILE], np.int64)
                yield from self._compared(rows[:, 0], rows[:, 1], self._of_pairs(rows[:, 0], rows[:, 1]))
            return
        step = max(1, SCORES_PER_TILE // max(len(self.second), 1))
        columns = np.arange(len(self.second))
        for start in range(0, len(self.first), step) if len(self.second) else ():
            rows = np.arange(start, min(start + step, len(self.first)))
            scores = self._of_tile(slice(start, start + step))
            yield from self._compared(np.repeat(rows, len(columns)), np.tile(columns, len(rows)), scores.ravel())

    @property
    def refused(self) -> list[BadPicture]:
        """Pictures of both sides that could not be used."""
        return self.first.refused + self.second.refused

    @property
    def alone(self) -> list[str]:
        """With pairs by name: pictures without one of the same name on the other side."""
        if self.pairs == "all":
            return []
        both = set(self.first.keys) & set(self.second.keys)
        sides = (self.first, self.second)
        return [name for side in sides for name, key in zip(side.names, side.keys, strict=True) if key not in both]

    @property
    def _named(self) -> list[tuple[int, int]]:
        place = {key: row for row, key in enumerate(self.second.keys)}
        return [(row, place[key]) for row, key in enumerate(self.first.keys) if key in place]

    def _of_tile(self, rows: slice) -> NDArray[np.float32]:
        scores = matching.scores(self.first.embeddings[rows], self.second.embeddings)
        gallery, probe = self.first.statistics, self.second.statistics
        if gallery is None or probe is None:
            return scores
        of_rows, of_columns = grid(gallery.take(rows), probe)
        return self._normalised(scores, of_columns, of_rows)

    def _of_pairs(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.float32]:
        scores = matching.pair_scores(self.first.embeddings[first], self.second.embeddings[second])
        gallery, probe = self.first.statistics, self.second.statistics
        if gallery is None or probe is None:
            return scores
        return self._normalised(scores, probe.take(second), gallery.take(first))

    def _normalised(
        self, scores: NDArray[np.float32], probe: FaceStatistics, gallery: FaceStatistics
    ) -> NDArray[np.float32]:
        described = self.card.scoring.normalisation
        assert described is not None
        return normalised(described.kind, scores, probe, gallery)

    def _compared(
        self, first: NDArray[np.int64], second: NDArray[np.int64], scores: NDArray[np.float32]
    ) -> Iterator[MatchedPair]:
        found = self.card.calibration
        same = scores >= found.threshold.value
        columns = zip(
            first.tolist(),
            second.tolist(),
            scores.tolist(),
            same.tolist(),
            found.rates_at(scores).tolist(),
            found.is_beyond(scores).tolist(),
            strict=True,
        )
        for one, other, score, accepted, (rate, low, high), beyond in columns:
            names = self.first.names[one], self.second.names[other]
            yield MatchedPair(*names, score, accepted, rate, low, high, beyond, self._note(one, other))

    def _note(self, first: int, second: int) -> str:
        made = (("first", self.first.generated[first]), ("second", self.second.generated[second]))
        notes = [f"the {which} face was generated by {by}: no evidence" for which, by in made if by]
        if self.first.files[first] == self.second.files[second]:
            notes.append("both are one picture")
        return "; ".join(notes)


def match(
    first: Path,
    second: Path,
    card: Path,
    *,
    recogniser: str | None = None,
    weights: Path | None = None,
    finding_faces: FindingFaces = FindingFaces(),
    pairs: Pairing = "all",
) -> Matching:
    """Compare pictures as a card says.

    Args:
        first, second: a picture, a folder of pictures or of identity/picture, or a face list.
        card: what `facebridge evaluate --calibrate` wrote.
        recogniser, weights: where the card's recogniser lies here; None: as the card names it. Its contents must be
            those that the card was made with.
        finding_faces: where the faces lie in pictures of which no list says it.
        pairs: "all": each picture of the first side with each of the second; "names": those of the same name.

    Returns:
        The comparisons, to iterate over, and the pictures that could not be used.

    Raises:
        ValueError: if the card, a list or the recogniser cannot be read, the recogniser is another than the card's, or
            nothing says where the faces lie.
    """
    if pairs not in get_args(Pairing):
        raise ValueError(f"pairs is {pairs!r}; expected one of {', '.join(get_args(Pairing))}")
    known = calibration.read(card)
    normalisation = calibration.read_normalisation(card, known)
    judge = _judge(known, card, recogniser, weights).build()
    listed = [_listed(path, finding_faces) for path in (first, second)]
    sides = [_side(faces, known, judge, normalisation, finding_faces) for faces in listed]
    return Matching(known, sides[0], sides[1], pairs)


@dataclass(frozen=True)
class Embedded:
    """Embeddings (num_used, D) of the rows of a list that could be used, and the pictures that could not."""

    rows: NDArray[np.int64]
    embeddings: NDArray[np.float32]
    refused: list[BadPicture] = field(default_factory=list)


def embed(judge: Judge, faces: FaceList, crop: Crop, convention: Convention) -> Embedded:
    """Embed the faces of a list, in memory; pictures that cannot be used are named."""
    rows: list[int] = []
    found: list[NDArray[np.float32]] = []
    refused: list[BadPicture] = []
    with Progress("embedding", len(faces), shown=len(faces) > SILENT) as bar:
        for start in range(0, len(faces), FACES_PER_BATCH):
            pictures = []
            for row in range(start, min(start + FACES_PER_BATCH, len(faces))):
                try:
                    pictures.append(reading.aligned(faces, row, crop, convention))
                    rows.append(row)
                except BadPicture as bad:
                    refused.append(BadPicture(bad.path, bad.cause))  # without the traceback, which holds pixels
            if pictures:
                found.append(judge.embed(AS_IT_IS, images.to_faces(np.stack(pictures)), crop))
            bar.step(min(start + FACES_PER_BATCH, len(faces)))
    embeddings = np.concatenate(found) if found else np.empty((0, 0), np.float32)
    return Embedded(np.array(rows, np.int64), embeddings, refused)


def with_cohort(
    kind: Kind,
    cohort: FaceList,
    judge: Judge,
    crop: Crop,
    convention: Convention,
    tested_identities: Sequence[str],
    top: int | None = None,
) -> tuple[ScoreNormalisation, list[BadPicture]]:
    """The normalisation by the faces of a list, and those of them that could not be used.

    ValueError: if somebody of the cohort is tested too, or fewer than two faces can be used.
    """
    refuse_shared(cohort.column("identity").tolist(), tested_identities)
    embedded = embed(judge, cohort, crop, convention)
    return ScoreNormalisation(kind, embedded.embeddings, top), embedded.refused


COLUMNS = (
    "first", "second", "score", "decision", "threshold", "threshold_far", "threshold_far_low", "threshold_far_high",
    "score_far_is", "score_far", "score_far_low", "score_far_high", "note",
)  # fmt: skip


def write(found: Matching, out: Path) -> None:
    """Write the comparisons as .csv or .json, one after the other; the file appears whole or not at all.

    ValueError: if the ending is another.
    """
    if out.suffix.lower() not in (".csv", ".json"):
        raise ValueError(f"{out}: comparisons are written as .csv or .json")
    out.parent.mkdir(parents=True, exist_ok=True)
    with list_files.replacing(out) as part, part.open("x", encoding="utf-8", newline="") as file:
        if out.suffix.lower() == ".csv":
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(_cells(found))
            return
        file.write(f'{{"card": {_json(found.card.model_dump(mode="json"))},\n"comparisons": [')
        for number, cells in enumerate(_cells(found)):
            row = dict(zip(COLUMNS, cells, strict=True))
            file.write(("," if number else "") + "\n" + _json(row))
        refused = [{"picture": str(bad.path), "cause": bad.cause} for bad in found.refused]
        file.write(f'],\n"refused": {_json(refused)},\n"alone": {_json(found.alone)}}}\n')


def _cells(found: Matching) -> Iterator[tuple[Any, ...]]:
    held = found.card.calibration
    rate = held.false_accept_rate
    of_card = (held.threshold.value, _short(rate.value), _short(rate.low), _short(rate.high))
    for pair in found:
        decision = "same" if pair.same else "different"
        rates = (_short(pair.far), _short(pair.far_low), _short(pair.far_high))
        is_what = "below" if pair.is_beyond else "at most"
        yield (pair.first, pair.second, float(f"{pair.score:.9g}"), decision, *of_card, is_what, *rates, pair.note)


def _short(rate: float) -> float:
    return float(f"{rate:.4g}")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _judge(known: Card, card: Path, recogniser: str | None, weights: Path | None) -> JudgeSettings:
    """The card's recogniser. ValueError: if it is not here, or another one."""
    scoring = known.scoring
    name = scoring.recogniser if recogniser is None else recogniser
    wanted = " and ".join(f"{file.name} (sha256 {file.sha256[:12]})" for file in scoring.weights)
    advice = f"{card} was made with {scoring.recogniser} from {wanted}"
    judge = JudgeSettings(name, weights, scoring.settings, scoring.mirror)
    try:
        there = calibration.weight_files(judge)
    except FileNotFoundError as error:
        raise ValueError(
            f"{advice}; {error.filename} is not there: say where it is (--recogniser, --weights)"
        ) from error
    if not there:
        raise ValueError(f"{advice}; add --weights FILE")
    if sorted(file.sha256 for file in there) != sorted(file.sha256 for file in scoring.weights):
        have = " and ".join(f"{file.name} (sha256 {file.sha256[:12]})" for file in there)
        raise ValueError(f"{advice}, but here is {have}: its threshold holds for no other; calibrate again")
    return judge


def _listed(path: Path, finding_faces: FindingFaces) -> FaceList:
    """What a user names, with landmarks or a crop where something says them."""
    if path.is_dir() or path.suffix.lower() not in list_files.PICTURE_SUFFIXES:
        faces = open_faces(path, None, finding_faces.landmarks, finding_faces.aligned)
    else:
        faces = FaceList(path.parent, {"path": [path.name], "identity": [path.name], "domain": ["vis"]})
        if finding_faces.landmarks is not None:
            known = face_list.read_landmarks(finding_faces.landmarks)
            names = (Path(os.path.relpath(path, finding_faces.landmarks.parent)).as_posix(), str(path), path.name)
            points = next((known[name] for name in names if name in known), None)
            if points is None:
                raise ValueError(f"{finding_faces.landmarks}: has no landmarks of {path}")
            faces = faces.with_landmarks(points[None])
        if finding_faces.aligned is not None:
            faces = as_aligned(faces, finding_faces.aligned)
    if finding_faces.detector is None and faces.landmarks is None and "crop" not in faces.column_names:
        raise ValueError(
            f"{path}: nothing says where the faces lie: name the crop of aligned pictures (--aligned CROP), a table of "
            "landmarks (--landmarks FILE), or a detector (--detector yunet --detector-weights FILE)"
        )
    return faces


def _side(
    faces: FaceList,
    known: Card,
    judge: Judge,
    normalisation: ScoreNormalisation | None,
    finding_faces: FindingFaces,
) -> Side:
    refused: list[BadPicture] = []
    if finding_faces.detector is not None:
        searched = finding.with_landmarks(faces, finding_faces.detector, choose=finding_faces.choose)
        faces, refused = searched.faces, searched.refused
    crop = crops.crop(known.scoring.crop)
    embedded = embed(judge, faces, crop, known.scoring.convention)
    used = faces.take(embedded.rows)
    paths = [used.picture_path(row) for row in range(len(used))]
    regions: Sequence[str] = used.column("region").tolist() if "region" in used.column_names else [""] * len(used)
    return Side(
        names=[str(path) for path in paths],
        keys=used.keys(),
        files=[f"{os.path.realpath(path)} {region}" for path, region in zip(paths, regions, strict=True)],
        generated=[images.generated_by(path) or "" for path in paths],
        embeddings=embedded.embeddings,
        statistics=normalisation.statistics(embedded.embeddings) if normalisation is not None and len(used) else None,
        refused=refused + embedded.refused,
    )
