"""Who is compared with whom, and what the scores of that say: pairs (verification), or gallery and probes."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facebridge.data.face_list import FaceList
from facebridge.evaluation import bootstrap, matching
from facebridge.evaluation.bootstrap import Interval
from facebridge.evaluation.folds import folds_in_order
from facebridge.evaluation.groups import Compared, Found
from facebridge.evaluation.identify import identification
from facebridge.evaluation.lfw import lfw_accuracy
from facebridge.evaluation.protocol import GalleryProtocol, PairProtocol
from facebridge.evaluation.result import Figure, Threshold, true_accept_rate_name
from facebridge.evaluation.thresholds import thresholds
from facebridge.evaluation.verify import FALSE_ACCEPT_RATES, roc, verification

HISTOGRAM_EDGES = np.linspace(-0.5, 1.0, 61)
"""One range for every row, so that histograms of one page compare; scores outside it count in the last bins."""

FOLDS = 10
"""Formed in file order where the protocol has none of its own (LFW view 1)."""

OF_FILES = ("path", "crop", "region", "original")
"""Columns that speak of a list's own pictures, whatever other pictures were cut from them."""

Scores = NDArray[np.floating]


@dataclass(frozen=True)
class Judged:
    """What scores say."""

    figures: dict[str, Figure]
    curve_roc: list[tuple[float, float]]
    curve_cmc: list[float] = field(default_factory=list)
    histogram: dict[str, list[float]] = field(default_factory=dict)
    thresholds: list[Threshold] = field(default_factory=list)


class Comparison(ABC):
    """Faces to compare: each picture once in `gallery` and once in `probe`, however often it is compared."""

    gallery: FaceList
    probe: FaceList

    @abstractmethod
    def only(self, gallery: NDArray[np.bool_], probe: NDArray[np.bool_]) -> "Comparison":
        """The same comparison without some pictures. ValueError: if nothing is left to compare."""

    @abstractmethod
    def scores(self, probe: NDArray[np.float32], gallery: NDArray[np.float32]) -> Scores:
        """Cosines, from the embeddings of `probe` and `gallery`."""

    @abstractmethod
    def judge(self, scores: Scores) -> Judged:
        """Figures with 95 % intervals, and curves."""

    @abstractmethod
    def genuine_scores(self, scores: Scores) -> tuple[NDArray[np.int64], NDArray[np.int64], Scores]:
        """For probes with a mate: rows of `probe`, rows of `gallery`, and the score of the two."""

    @abstractmethod
    def found(self, scores: Scores) -> Found | None:
        """Which probes are found at rank 1; None without a gallery to search."""

    @cached_property
    @abstractmethod
    def compared(self) -> Compared:
        """Which faces each score compares."""

    @abstractmethod
    def truth(self) -> dict[str, NDArray[Any]]:
        """What scores.npz needs beside the scores."""

    @abstractmethod
    def describe(self) -> dict[str, str | int | float]:
        """The protocol, for people."""

    def people(self) -> list[str]:
        """Everybody who is tested, each once, under every name that the lists give."""
        listed = [*self.probe.column("identity").tolist(), *self.gallery.column("identity").tolist()]
        return list(dict.fromkeys(listed))

    def mean_over_probes(self, values: NDArray[np.floating]) -> Figure:
        """The mean of one number per probe, with an interval over identities."""
        return _figure(bootstrap.mean_interval(values, self.probe.column("identity").tolist()))


class Pairs(Comparison):
    """Verification: pairs of pictures, the second of which is the probe.

    Args:
        protocol: the pairs.
        faces: a face list with all their pictures, found by path.
        name: what to call the protocol.
        left_out: how many pairs of the protocol were left out before.

    Raises:
        ValueError: if a picture of the pairs is not in the list; names the first and counts all.
    """

    def __init__(self, protocol: PairProtocol, faces: FaceList, name: str, left_out: int = 0) -> None:
        rows = rows_of(faces, protocol.pictures(), name)
        firsts, seconds = list(dict.fromkeys(protocol.first)), list(dict.fromkeys(protocol.second))
        self.gallery = faces.take([rows[path] for path in firsts])
        self.probe = faces.take([rows[path] for path in seconds])
        self.first = _places(protocol.first, firsts)
        self.second = _places(protocol.second, seconds)
        self.genuine = np.array(protocol.genuine, bool)
        self.fold = np.array(protocol.fold, np.int64)
        self.first_ids = np.array(protocol.first_identities)
        self.second_ids = np.array(protocol.second_identities)
        self.name, self.left_out = name, left_out

    def only(self, gallery: NDArray[np.bool_], probe: NDArray[np.bool_]) -> "Pairs":
        keep = gallery[self.first] & probe[self.second]
        if not (self.genuine & keep).any() or not (~self.genuine & keep).any():
            raise ValueError(
                f"of the {len(keep)} pairs none is left with pictures that can be used, of one kind or both"
            )
        left = object.__new__(Pairs)
        left.gallery, left.probe = self.gallery.take(gallery), self.probe.take(probe)
        left.first, left.second = (np.cumsum(gallery) - 1)[self.first[keep]], (np.cumsum(probe) - 1)[self.second[keep]]
        left.genuine, left.fold = self.genuine[keep], self.fold[keep]
        left.first_ids, left.second_ids = self.first_ids[keep], self.second_ids[keep]
        left.name, left.left_out = self.name, self.left_out + int((~keep).sum())
        return left

    def scores(self, probe: NDArray[np.float32], gallery: NDArray[np.float32]) -> Scores:
        return matching.pair_scores(probe[self.second], gallery[self.first])

    def judge(self, scores: Scores) -> Judged:
        fold = self.fold if len(set(self.fold.tolist())) > 1 else folds_in_order(self.genuine, FOLDS)
        found = lfw_accuracy(scores, self.genuine, fold)
        identities = self.first_ids.tolist(), self.second_ids.tolist()
        accuracy = bootstrap.accuracy_interval(found.right, self.genuine, *identities)
        verified = _verified(scores, self.genuine, *identities)
        return Judged(
            {
                "accuracy": Figure(found.accuracy, accuracy.low, accuracy.high),
                "accuracy_std": Figure(found.std),
                **verified,
            },
            roc(scores, self.genuine),
            histogram=_histogram(scores, self.genuine),
            thresholds=thresholds(scores, self.compared),
        )

    def found(self, scores: Scores) -> Found | None:
        return None

    def people(self) -> list[str]:
        """The names of the pairs too, which may be others than those of the face list."""
        return list(dict.fromkeys([*super().people(), *self.first_ids.tolist(), *self.second_ids.tolist()]))

    @cached_property
    def compared(self) -> Compared:
        return Compared(self.second, self.first, self.second_ids, self.first_ids, self.genuine)

    def genuine_scores(self, scores: Scores) -> tuple[NDArray[np.int64], NDArray[np.int64], Scores]:
        return self.second[self.genuine], self.first[self.genuine], scores[self.genuine]

    def truth(self) -> dict[str, NDArray[Any]]:
        return {"genuine": self.genuine, "fold": self.fold, "first": self.first, "second": self.second}

    def describe(self) -> dict[str, str | int | float]:
        return {
            "protocol": self.name,
            "kind": "verification: pairs, the second picture of which is the probe",
            "genuine pairs": int(self.genuine.sum()),
            "impostor pairs": int((~self.genuine).sum()),
            "pairs left out": self.left_out,
        }


class GalleryAndProbes(Comparison):
    """Identification, and verification over every probe with every gallery picture."""

    def __init__(self, protocol: GalleryProtocol, name: str) -> None:
        self.gallery, self.probe, self.name = protocol.gallery, protocol.probe, name
        self.left_out = 0

    def only(self, gallery: NDArray[np.bool_], probe: NDArray[np.bool_]) -> "GalleryAndProbes":
        if not gallery.any() or not probe.any():
            raise ValueError("no gallery picture or no probe is left that can be used")
        left = GalleryAndProbes(GalleryProtocol(self.gallery.take(gallery), self.probe.take(probe)), self.name)
        left.left_out = self.left_out + int((~gallery).sum() + (~probe).sum())
        return left

    def scores(self, probe: NDArray[np.float32], gallery: NDArray[np.float32]) -> Scores:
        return matching.scores(probe, gallery)

    def judge(self, scores: Scores) -> Judged:
        probe_ids, gallery_ids = self._ids()
        found = identification(scores, probe_ids, gallery_ids)
        rank1 = bootstrap.mean_interval(found.found, np.asarray(probe_ids)[found.mated].tolist())
        genuine = self._genuine()
        return Judged(
            {"rank1": Figure(found.rank1, rank1.low, rank1.high), **_verified(scores, genuine, probe_ids, gallery_ids)},
            roc(scores, genuine),
            list(found.cmc),
            _histogram(scores, genuine),
            thresholds(scores, self.compared),
        )

    def found(self, scores: Scores) -> Found | None:
        probe_ids, gallery_ids = self._ids()
        result = identification(scores, probe_ids, gallery_ids)
        rows = np.flatnonzero(result.mated)
        return Found(rows, np.asarray(probe_ids)[rows], result.found)

    @cached_property
    def compared(self) -> Compared:
        rows = (
            np.repeat(np.arange(len(self.probe)), len(self.gallery)),
            np.tile(np.arange(len(self.gallery)), len(self.probe)),
        )
        probe_ids, gallery_ids = (np.asarray(ids) for ids in self._ids())
        return Compared(*rows, probe_ids[rows[0]], gallery_ids[rows[1]], self._genuine().ravel())

    def genuine_scores(self, scores: Scores) -> tuple[NDArray[np.int64], NDArray[np.int64], Scores]:
        of_mates = np.where(self._genuine(), scores, -np.inf)
        rows = np.flatnonzero(np.isfinite(of_mates).any(1))
        mates = of_mates[rows].argmax(1)
        return rows, mates, scores[rows, mates]

    def truth(self) -> dict[str, NDArray[Any]]:
        probe_ids, gallery_ids = self._ids()
        return {"probe_ids": np.array(probe_ids, str), "gallery_ids": np.array(gallery_ids, str)}

    def describe(self) -> dict[str, str | int | float]:
        probe_ids, gallery_ids = self._ids()
        return {
            "protocol": self.name,
            "kind": "identification, and verification over every probe with every gallery picture",
            "gallery pictures": len(gallery_ids),
            "gallery identities": len(set(gallery_ids)),
            "probes": len(probe_ids),
            "probes without a mate": int((~np.isin(probe_ids, gallery_ids)).sum()),
            "genuine pairs": int(self._genuine().sum()),
            "impostor pairs": int((~self._genuine()).sum()),
            "pictures left out": self.left_out,
        }

    def _ids(self) -> tuple[list[str], list[str]]:
        return self.probe.column("identity").tolist(), self.gallery.column("identity").tolist()

    def _genuine(self) -> NDArray[np.bool_]:
        return matching.genuine_pairs(*self._ids())


def by_split(faces: FaceList, name: str) -> GalleryAndProbes:
    """The comparison of a face list whose column `split` says gallery or probe.

    Raises:
        ValueError: if the list has no such column, or no row of either.
    """
    protocol = GalleryProtocol(faces.where(split="gallery"), faces.where(split="probe"))
    for part, rows in (("gallery", protocol.gallery), ("probe", protocol.probe)):
        if not len(rows):
            raise ValueError(f"{name}: no row whose split is {part}; an identification needs gallery and probe faces")
    return GalleryAndProbes(protocol, name)


def by_rows(protocol: FaceList, faces: FaceList, name: str) -> GalleryAndProbes:
    """The comparison of a protocol's gallery and probe rows, whose pictures are found in another list.

    Args:
        protocol: rows with `split`; identities are taken from here, and columns that the other list does not have.
        faces: a list of the same pictures, or of faces cut from them, with landmarks or crops.
        name: what to call the protocol.

    Raises:
        ValueError: as `by_split` and `rows_of`.
    """
    compared = protocol.where(split=("gallery", "probe")) if "split" in protocol.column_names else protocol
    keys = compared.keys()
    rows = rows_of(faces, keys, name)
    found = faces.take([rows[key] for key in keys])
    for column in compared.column_names:
        if column in ("identity", "domain", "split") or column not in (*faces.column_names, *OF_FILES):
            found = found.with_column(column, compared.column(column))
    return by_split(found, name)


def rows_of(faces: FaceList, wanted: Sequence[str], name: str) -> dict[str, int]:
    """Where the pictures of a protocol stand in a list: by the key of the original where the list says it.

    Raises:
        ValueError: if some are not there (names the first and counts all), or one is there twice.
    """
    keys = faces.originals()
    rows = {key: row for row, key in enumerate(keys)}
    twice = {key for row, key in enumerate(keys) if rows[key] != row}.intersection(wanted)
    if twice:
        raise ValueError(f"several faces of the list were cut from {min(twice)}: align with one face a picture")
    missing = [key for key in dict.fromkeys(wanted) if key not in rows]
    if missing:
        what = "picture of the protocol {} is" if len(missing) == 1 else "pictures of the protocol {} are"
        raise ValueError(
            f"{len(missing):,} {what.format(name)} not in the face list, the first: {missing[0]}; expected a list of "
            "all of them, or one that `facebridge data align` made, which says why some gave no face"
        )
    return rows


def without_pairs(protocol: PairProtocol, pictures: Collection[str]) -> PairProtocol:
    """The pairs that need none of these pictures.

    Raises:
        ValueError: if no pair is left.
    """
    ends = zip(protocol.first, protocol.second, strict=True)
    kept = [row for row, (one, other) in enumerate(ends) if one not in pictures and other not in pictures]
    if not kept:
        raise ValueError(f"of the {len(protocol)} pairs none is left with pictures that can be used")
    return PairProtocol(*(tuple(values[row] for row in kept) for values in vars(protocol).values()))


def _verified(
    scores: Scores, genuine: NDArray[np.bool_], first: Sequence[str], second: Sequence[str]
) -> dict[str, Figure]:
    """True accept rates, EER and AUC with their intervals."""
    exact = verification(scores, genuine, FALSE_ACCEPT_RATES)
    found = bootstrap.verification_intervals(scores, genuine, first, second, FALSE_ACCEPT_RATES)
    figures = {}
    for point in exact.points:
        interval = found[point.false_accept_rate]
        figures[true_accept_rate_name(point.false_accept_rate)] = (
            Figure(point.true_accept_rate, interval.low, interval.high, point.reason, point.low_confidence)
            if point.measurable
            else Figure(None, reason=point.reason)
        )
    return {**figures, "eer": _figure(found["eer"]), "auc": _figure(found["auc"])}


def _figure(found: Interval) -> Figure:
    return Figure(found.value, found.low, found.high, reason="" if found.value is not None else "not measurable")


def _histogram(scores: Scores, genuine: NDArray[np.bool_]) -> dict[str, list[float]]:
    edges = HISTOGRAM_EDGES if np.abs(scores).max(initial=0) <= 1 + 1e-6 else _spread_edges(scores)
    inside = np.clip(scores, edges[0], edges[-1])
    shares = {}
    for kind, chosen in (("genuine", genuine), ("impostor", ~genuine)):
        counts = np.histogram(inside[chosen], edges)[0]
        shares[kind] = [round(float(share), 6) for share in counts / max(chosen.sum(), 1)]
    return {"edges": [round(float(edge), 4) for edge in edges], **shares}


def _spread_edges(scores: Scores) -> Scores:
    """Edges for scores that are no cosines any more."""
    return np.linspace(float(scores.min()), float(scores.max()), len(HISTOGRAM_EDGES))


def _places(names: Sequence[str], unique: Sequence[str]) -> NDArray[np.int64]:
    place = {name: number for number, name in enumerate(unique)}
    return np.array([place[name] for name in names], np.int64)
