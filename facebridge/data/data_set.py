"""What a data set's own module gives: its pictures as a face list, its protocols, and what is known to be in it."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol as Interface

from facebridge.data.face_list import FaceList
from facebridge.data.list_files import picture_paths
from facebridge.evaluation.protocol import PairProtocol

Protocol = FaceList | PairProtocol
"""Rows whose split says train, gallery or probe (identification), or pairs in folds (verification)."""

NUM_NAMED = 5


class WrongRoot(ValueError):
    """The folder given is not what the data set's layout asks for."""


@dataclass(frozen=True)
class Count:
    """A number that is known of the whole data set, beside the number found. what: in words, such as "probes"."""

    what: str
    expected: int
    found: int

    def __str__(self) -> str:
        if self.found == self.expected:
            return f"{self.what}: {self.found:,}, as published"
        missing = self.expected - self.found
        words = f"{missing:,} fewer" if missing > 0 else f"{-missing:,} more"
        return f"{self.what}: {self.found:,} found, {self.expected:,} published: {words}"


@dataclass(frozen=True)
class Imported:
    """A data set as FaceBridge's own lists.

    faces: every picture, once; its root is the folder that was given, or one inside it. protocols: by name; paths are
    those of `faces`. may_overlap: protocols in which people of the training may be among gallery and probes.
    notes: what a person should know, such as lines that name pictures which are not there.
    """

    faces: FaceList
    protocols: Mapping[str, Protocol] = field(default_factory=dict)
    may_overlap: frozenset[str] = frozenset()
    notes: Sequence[str] = ()


class DataSet(Interface):
    """The module of a data set."""

    TITLE: str

    def read(self, root: Path, **options: object) -> Imported:
        """Its lists. Options are keyword-only, each with a default. WrongRoot: if the folder has another layout."""
        ...

    def counts(self, faces: FaceList, protocols: Mapping[str, Protocol]) -> list[Count]:
        """The known counts of the whole set beside those of these lists; of protocols only what is there."""
        ...


def require(root: Path, data_set: str, expected: str, *found: bool) -> None:
    """Refuse a folder that does not hold what a data set's layout asks for.

    Args:
        root: the folder.
        data_set: its title.
        expected: what should be there, in words.
        found: whether each part of it is there.

    Raises:
        WrongRoot: if the folder is none or a part is missing; the message lists what lies there instead.
    """
    if root.is_file():
        raise WrongRoot(f"{root}: is a file, no folder (unpack it first?); expected {data_set}: {expected}")
    if not root.is_dir():
        raise WrongRoot(f"{root}: no such folder; expected {data_set}: {expected}")
    if not all(found):
        entries = sorted(entry.name + "/" * entry.is_dir() for entry in root.iterdir())
        shown = ", ".join(entries[:NUM_NAMED]) + (f" and {len(entries) - NUM_NAMED} more" * (len(entries) > NUM_NAMED))
        raise WrongRoot(f"{root}: this is not {data_set}; expected {expected}; found {shown or 'nothing'}")


def pictures(root: Path, under: str = "") -> list[str]:
    """Paths of the pictures in a folder and below it, relative to root with slashes, sorted; none if it is not there.

    ValueError: if a folder is there and cannot be read.
    """
    if not (root / under).is_dir():
        return []
    return sorted((PurePosixPath(under) / path).as_posix() for path in picture_paths(root / under))


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text list that hold anything: number from 1, text without the spaces and line ends around it.

    A byte order mark, Windows' line ends and backslashes in paths are all read alike.
    ValueError: if there is no such file, or it is not text.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 text ({error})") from error
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), start=1):
        if line.strip():
            yield number, line.strip().replace("\\", "/")


class ByStem:
    """Finds the pictures that lists mean, whatever ending and case the files have: s2/NIR/1/001.bmp -> .../001.jpg.

    Of several files that a list may mean, the one of that very name, then the one of that case.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._own: set[str] = set()
        self._by_stem: dict[str, str] = {}
        self._in_any_case: dict[str, str] = {}
        for path in paths:
            self._own.add(path)
            self._by_stem.setdefault(_stem(path), path)
            self._in_any_case.setdefault(_stem(path).lower(), path)

    def find(self, path: str) -> str | None:
        """The picture's own path, or None where there is no such picture."""
        if path in self._own:
            return path
        stem = _stem(path)
        return self._by_stem.get(stem) or self._in_any_case.get(stem.lower())


def absent_note(source: str, absent: Sequence[str]) -> list[str]:
    """A note of the pictures that a list names and that are not there; none if all are."""
    if not absent:
        return []
    what = "picture that is" if len(absent) == 1 else "pictures that are"
    more = f" and {len(absent) - NUM_NAMED:,} more" if len(absent) > NUM_NAMED else ""
    return [f"{source} names {len(absent):,} {what} not there: {', '.join(absent[:NUM_NAMED])}{more}"]


def counted(number: int, one: str, several: str = "") -> str:
    """A number with its noun: 1 picture, 2,000 pictures."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def beside(picture: Path, suffix: str) -> Path:
    """The file of the same name with another ending, in small or capital letters; in small ones where there is none."""
    capital = picture.with_suffix(suffix.upper())
    return capital if capital.is_file() else picture.with_suffix(suffix)


def _stem(path: str) -> str:
    return os.path.splitext(path.replace("\\", "/"))[0]
