"""What is in a face list, and what is wrong with it, found before a long job starts."""

import hashlib
import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facebridge import crops, images
from facebridge.data.data_set import Count, counted
from facebridge.data.face_list import FaceList

TRAIN_SPLIT = "train"
FACE_NUMBER = "face"
"""The extra column that tells several faces of one picture apart."""


@dataclass(frozen=True)
class Finding:
    """How often something was found, and the names of the first few."""

    count: int
    first: tuple[str, ...]


@dataclass(frozen=True)
class CheckReport:
    """What `check` found.

    repeated_paths: the same path in a second row, with the same region and number of the face in it. same_content:
    another file with the same bytes. landmarks_outside: a point lies beyond the picture's edge. landmarks_mirrored:
    right and left are swapped (`crops.is_mirrored`). split_leaks: identities of the split "train" that are in another
    split too. without_landmarks counts only in lists that have landmarks; it and extra_columns (which FaceBridge gives
    no meaning) are notes, all others problems.
    """

    num_rows: int
    num_identities: int
    rows_per_domain: dict[str, int]
    rows_per_split: dict[str, int]
    missing_files: Finding
    unreadable: Finding
    repeated_paths: Finding
    same_content: Finding
    landmarks_outside: Finding
    landmarks_mirrored: Finding
    split_leaks: Finding
    without_landmarks: Finding
    extra_columns: Finding
    counts: tuple[Count, ...] = ()
    """Numbers that are known of the whole data set; one that differs is a problem: figures would not compare."""

    @property
    def ok(self) -> bool:
        """Whether nothing was found that would spoil a training or an evaluation."""
        spoilt = any(finding.count for name, finding in self._findings() if name not in _NOTES)
        return not spoilt and all(count.found == count.expected for count in self.counts)

    def lines(self) -> list[str]:
        """The report as lines of text."""
        lines = [f"{counted(self.num_rows, 'row')}, {counted(self.num_identities, 'identity', 'identities')}"]
        lines += [f"domain {name}: {count:,}" for name, count in self.rows_per_domain.items()]
        lines += [f"split {name or '(none)'}: {count:,}" for name, count in self.rows_per_split.items()]
        for name, finding in self._findings():
            if finding.count:
                more = ", ..." if finding.count > len(finding.first) else ""
                kind = "note" if name in _NOTES else "PROBLEM"
                lines.append(f"{kind}: {name.replace('_', ' ')}: {finding.count:,}: {', '.join(finding.first)}{more}")
        lines += [("" if count.found == count.expected else "PROBLEM: ") + str(count) for count in self.counts]
        return [*lines, "no problems" if self.ok else "there are problems"]

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _findings(self) -> Iterator[tuple[str, Finding]]:
        values = ((each.name, getattr(self, each.name)) for each in fields(self))
        return ((name, value) for name, value in values if isinstance(value, Finding))


def check(
    face_list: FaceList,
    workers: int = 2,
    max_pixels: int = images.MAX_PIXELS,
    num_named: int = 5,
    counts: Sequence[Count] = (),
    may_overlap: bool = False,
) -> CheckReport:
    """Decode every picture of a face list once and look for what would spoil a job; see `CheckReport`.

    workers: threads. max_pixels: larger pictures count as unreadable. num_named: how many of each finding are named.
    counts: what is known of the data set. may_overlap: identities of the training may be in other splits too.
    """
    paths = [posixpath.normpath(path) for path in face_list.column("path").tolist()]
    repeated = _repeated(face_list)
    files = _inspect_all(face_list.root, list(dict.fromkeys(paths)), workers, max_pixels)
    row_sizes = files.sizes[np.array([files.position[path] for path in paths], np.int64)]
    outside, mirrored, without = _landmark_rows(face_list, row_sizes)

    def finding(names: Iterable[str]) -> Finding:
        remaining = iter(names)
        first = tuple(islice(remaining, num_named))
        return Finding(len(first) + sum(1 for _ in remaining), first)

    return CheckReport(
        num_rows=len(face_list),
        num_identities=len(set(face_list.column("identity").tolist())),
        rows_per_domain=_counts(face_list, "domain"),
        rows_per_split=_counts(face_list, "split"),
        missing_files=finding(files.missing),
        unreadable=finding(files.unreadable),
        repeated_paths=finding(repeated),
        same_content=finding(files.same_content),
        landmarks_outside=finding(paths[row] for row in outside),
        landmarks_mirrored=finding(paths[row] for row in mirrored),
        split_leaks=finding([] if may_overlap else _split_leaks(face_list)),
        without_landmarks=finding(paths[row] for row in without),
        extra_columns=finding(name for name in face_list.extra_names if name != FACE_NUMBER),
        counts=tuple(counts),
    )


_NOTES = {"without_landmarks", "extra_columns"}
_AT_A_TIME = 1024


@dataclass(frozen=True)
class _Files:
    position: dict[str, int]
    sizes: NDArray[np.int32]  # (N, 2) height, width; 0 where unknown
    missing: list[str]
    unreadable: list[str]
    same_content: list[str]


def _inspect_all(root: Path, paths: list[str], workers: int, max_pixels: int) -> _Files:
    """Look at each file; what is kept of one is its size and 16 bytes of hash."""
    sizes = np.zeros((len(paths), 2), np.int32)
    missing, unreadable, same_content = [], [], []
    first_with: dict[bytes, str] = {}
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(paths), _AT_A_TIME):
            some = paths[start : start + _AT_A_TIME]
            results = pool.map(lambda path: _inspect(root / path, max_pixels), some)
            for index, (path, result) in enumerate(zip(some, results, strict=True), start):
                if result is None:
                    missing.append(path)
                elif isinstance(result, str):
                    unreadable.append(f"{path} ({result})")
                else:
                    sizes[index], digest = result
                    twin = first_with.setdefault(digest, path)
                    if twin != path:
                        same_content.append(f"{path} = {twin}")
    return _Files({path: index for index, path in enumerate(paths)}, sizes, missing, unreadable, same_content)


def _inspect(path: Path, max_pixels: int) -> tuple[tuple[int, int], bytes] | str | None:
    """Size and hash of a picture; the cause if it is bad; None if there is no file."""
    if not path.exists():
        return None
    try:
        height, width, _ = images.read(path, max_pixels).shape
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
    except images.BadPicture as error:
        return error.cause
    except OSError as error:
        return str(error)
    return (height, width), digest


def _landmark_rows(
    face_list: FaceList, sizes: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Rows with landmarks outside the picture, rows with mirrored landmarks, rows without landmarks."""
    points = face_list.landmarks
    if points is None:
        none = np.zeros(0, np.int64)
        return none, none, none
    absent = np.isnan(points).any((1, 2))
    known = (sizes > 0).all(1)
    last = sizes[:, None, ::-1] - 0.5  # the outer edge of the last pixel, (N, 1, 2) as x, y
    outside = ((points < -0.5) | (points > last)).any((1, 2)) & known & ~absent
    five = points if points.shape[1] == 5 else crops.five_points(points)
    return np.flatnonzero(outside), np.flatnonzero(crops.is_mirrored(five)), np.flatnonzero(absent)


def _repeated(face_list: FaceList) -> list[str]:
    numbers = face_list.column(FACE_NUMBER).tolist() if FACE_NUMBER in face_list.column_names else [""] * len(face_list)
    seen: set[tuple[str, str]] = set()
    repeated = []
    for key in zip(map(posixpath.normpath, face_list.keys()), numbers, strict=True):
        if key in seen:
            repeated.append(key[0])
        seen.add(key)
    return repeated


def _split_leaks(face_list: FaceList) -> list[str]:
    if "split" not in face_list.column_names:
        return []
    identities, splits = face_list.column("identity").tolist(), face_list.column("split").tolist()
    pairs = list(zip(identities, splits, strict=True))
    trained = {identity for identity, split in pairs if split == TRAIN_SPLIT}
    return sorted({identity for identity, split in pairs if split not in ("", TRAIN_SPLIT)} & trained)


def _counts(face_list: FaceList, column: str) -> dict[str, int]:
    if column not in face_list.column_names:
        return {}
    return dict(sorted(Counter(face_list.column(column).tolist()).items()))
