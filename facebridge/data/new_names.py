"""Names for files that are made from the pictures of a list: the same path with another ending, and never one twice."""

import posixpath
import re
from array import array
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from facebridge.data import list_files
from facebridge.data.source import Source, blocks_of


def new_stems(source: Source, numbered: bool) -> dict[int, str]:
    """The new names, without ending, of rows whose own would be those of other rows too: a.jpg and a.png, a_1 and a_2.

    Holds 16 bytes a row. numbered: whether a row may give several files, NAME_1, NAME_2 and so on.

    Raises:
        ValueError: if a path leaves its folder, or names would clash all the same.
    """
    hashes = array("q")
    for start, rows in blocks_of(source):
        for offset, path in enumerate(rows.column("path").tolist()):
            try:
                hashes.append(hash(stem_of(path)))
            except ValueError as error:
                raise ValueError(f"row {start + offset + 1}: {error}") from error
    of_rows = np.array(hashes, np.int64)
    known = np.sort(of_rows)
    if numbered:
        _refuse_ambiguous(source, known)
    return _resolved(source, of_rows, known)


def stem_of(path: str) -> str:
    """The path of a face, without ending. ValueError: if it would lie outside the folder, or among the account."""
    stem = posixpath.splitext(posixpath.normpath(list_files.relative_path(path, allow_outside=False)))[0]
    if stem.startswith("."):
        raise ValueError(f"path {path!r} is none that a picture can be written to")
    return stem


def _resolved(source: Source, hashes: NDArray[np.int64], known: NDArray[np.int64]) -> dict[int, str]:
    """New names for the rows that would be written as one: a.jpg and a.png become a_1 and a_2."""
    doubtful = np.isin(hashes, np.unique(known[1:][known[1:] == known[:-1]]))
    if not doubtful.any():
        return {}
    own: dict[int, str] = {}
    for start, rows in blocks_of(source):
        for offset in np.flatnonzero(doubtful[start : start + len(rows)]).tolist():
            own[start + offset] = stem_of(str(rows.column("path")[offset]))
    shared, met = Counter(own.values()), Counter[str]()
    renamed: dict[int, str] = {}
    for row, stem in own.items():
        if shared[stem] > 1:
            met[stem] += 1
            renamed[row] = f"{stem}_{met[stem]}"
            if _contains(known, hash(renamed[row])):
                raise ValueError(
                    f"row {row + 1}: {shared[stem]} pictures would be written as {stem}; as {renamed[row]} it would "
                    "clash with another: give them different names"
                )
    return renamed


def _refuse_ambiguous(source: Source, known: NDArray[np.int64]) -> None:
    """Refuse a picture a_1 beside a picture a, in which two faces may be found."""
    for start, rows in blocks_of(source):
        for offset, path in enumerate(rows.column("path").tolist()):
            numbered = re.fullmatch(r"(.+)_[1-9]\d*", stem_of(path))
            if numbered and _contains(known, hash(numbered[1])):
                raise ValueError(
                    f"row {start + offset + 1}: {path!r} is named like a second face of {numbered[1]!r}: rename it, or "
                    "choose the largest face of each picture"
                )


def _contains(known: NDArray[np.int64], wanted: int) -> bool:
    place = int(np.searchsorted(known, wanted))
    return place < len(known) and int(known[place]) == wanted
