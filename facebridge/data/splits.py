"""Which of a data set's pictures are train, gallery and probe: protocols from published lists, or from a rule."""

import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facebridge.data.data_set import NUM_NAMED, ByStem, Count, Protocol, absent_note
from facebridge.data.face_list import FaceList

SPLITS = ("train", "gallery", "probe")


@dataclass(frozen=True)
class PictureList:
    """Pictures that a list names for one split of a protocol. source: the list, as notes call it."""

    split: str
    source: str
    paths: Sequence[str]


class Protocols:
    """The protocols of one data set, as they are put together.

    faces: every picture of the set. found: protocol by name; its rows are those of `faces`, train before gallery before
    probe, and in the order of `faces` within a split, so that the order of a list's lines does not matter.
    notes: what is not as the lists say.
    """

    def __init__(self, faces: FaceList) -> None:
        self.faces = faces
        self.found: dict[str, FaceList] = {}
        self.notes: list[str] = []
        paths = faces.column("path").tolist()
        self._row_of: dict[str, int] = {path: row for row, path in enumerate(paths)}
        self._finder = Finder(paths)

    def add_lists(self, name: str, lists: Iterable[PictureList]) -> None:
        """Add a protocol from lists. Pictures that are not there, or named twice by one list, become notes."""
        rows: dict[str, set[int]] = {split: set() for split in SPLITS}
        for listed in lists:
            rows[listed.split] |= self._rows(listed)
        self._add(name, {split: sorted(chosen) for split, chosen in rows.items()})

    def add_files(self, name: str, files: Mapping[Path, str], listed: Callable[[Path], Sequence[str]]) -> bool:
        """Add a protocol from published files; whether any of them is there. Missing and empty ones become notes.

        files: file -> the split of the pictures that it names. listed: reads their paths.
        """
        there = [file for file in files if file.is_file()]
        if not there:
            return False
        if len(there) < len(files):
            missing = ", ".join(file.name for file in files if file not in there)
            self.notes.append(f"protocol {name}: there is no {missing}")
        named = [PictureList(files[file], file.name, listed(file)) for file in there]
        self.notes += [f"{each.source} names no picture" for each in named if not each.paths]
        self.add_lists(name, named)
        return True

    def add_rule(self, name: str, splits: Sequence[str]) -> None:
        """Add a protocol from the split of every picture; empty: the picture is no part of it."""
        self._add(name, {split: [row for row, own in enumerate(splits) if own == split] for split in SPLITS})

    def _add(self, name: str, rows: Mapping[str, Sequence[int]]) -> None:
        empty = [split for split in ("gallery", "probe") if not rows[split]]
        if empty:
            self.notes.append(f"protocol {name} is left out: none of its {' and '.join(empty)} pictures is there")
            return
        chosen = np.array([row for split in SPLITS for row in rows[split]], np.int64)
        self.found[name] = self.faces.take(chosen).with_column(
            "split", [split for split in SPLITS for _ in rows[split]]
        )

    def _rows(self, listed: PictureList) -> set[int]:
        rows: set[int] = set()
        absent, repeated = [], []
        for listed_path in listed.paths:
            path = self._finder.find(listed_path)
            if path is None:
                absent.append(listed_path)
            elif self._row_of[path] in rows:
                repeated.append(listed_path)
            else:
                rows.add(self._row_of[path])
        self.notes += absent_note(listed.source, absent) + named_note(f"{listed.source} names twice", repeated)
        return rows


class Finder:
    """Finds the picture that a list means: the file of that very name, else one of another ending or case."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = set(paths)
        self._by_stem = ByStem(sorted(self._paths))

    def find(self, listed: str) -> str | None:
        """The picture's own path, or None where there is no such picture."""
        path = posixpath.normpath(listed.replace("\\", "/"))
        return path if path in self._paths else self._by_stem.find(path)


def home(root: Path, holds: Callable[[Path], bool]) -> Path:
    """The folder that holds a data set: root, or its only subfolder that does; root where none or several do."""
    if holds(root) or not root.is_dir():
        return root
    inside = [folder for folder in sorted(root.iterdir()) if folder.is_dir() and holds(folder)]
    return inside[0] if len(inside) == 1 else root


def subfolder(folder: Path, name: str) -> Path:
    """The subfolder of this name, whatever its case; folder/name where there is none."""
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    return next((entry for entry in entries if entry.is_dir() and entry.name.lower() == name.lower()), folder / name)


def as_face_list(root: Path, rows: Iterable[Mapping[str, str]]) -> FaceList:
    """A face list of rows with the same columns, sorted by path."""
    ordered = sorted(rows, key=lambda row: row["path"])
    return FaceList(root, {name: [row[name] for row in ordered] for name in (ordered[0] if ordered else _NO_ROWS)})


def named_note(words: str, names: Sequence[str], one: str = "picture", several: str = "pictures") -> list[str]:
    """A note of some pictures, how many and the first of them; none where there are none."""
    if not names:
        return []
    more = f" and {len(names) - NUM_NAMED:,} more" if len(names) > NUM_NAMED else ""
    return [f"{words} {len(names):,} {one if len(names) == 1 else several}: {', '.join(names[:NUM_NAMED])}{more}"]


def known_counts(protocols: Mapping[str, Protocol], name: str, *, people: bool = True, **expected: int) -> list[Count]:
    """Known numbers of pictures by split beside those of one protocol, and of its gallery's people; none if absent.

    Args:
        protocols: by name.
        name: of the protocol.
        people: also count one person for each gallery picture, as in protocols with a single picture a person.
        expected: pictures of each split.
    """
    protocol = protocols.get(name)
    if not isinstance(protocol, FaceList):
        return []
    counts = [
        Count(f"{name}: {split} pictures", known, len(protocol.where(split=split))) for split, known in expected.items()
    ]
    if people:
        counts.append(
            Count(f"{name}: gallery people", expected["gallery"], num_people(protocol.where(split="gallery")))
        )
    return counts


def num_people(faces: FaceList) -> int:
    """How many identities a list has."""
    return len(set(faces.column("identity").tolist()))


_NO_ROWS = ("path", "identity", "domain")
