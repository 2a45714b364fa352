"""Protocols: which faces are compared with which, read from the lists that data sets come with."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path, PurePosixPath

from facebridge.data import face_list
from facebridge.data.face_list import FaceList

TRUE_WORDS = {"1": True, "true": True, "0": False, "false": False}
PAIR_COLUMNS = ("path_a", "path_b", "genuine")
OPTIONAL_PAIR_COLUMNS = ("fold", "identity_a", "identity_b")
LFW_VIEW_2 = ("pairs.txt", "lfw_pairs.txt")
"""As it is published, and as SR_LRFR's loader calls it."""


@dataclass(frozen=True)
class PairProtocol:
    """Pairs to compare; one entry per pair in every field, in file order."""

    first: tuple[str, ...]
    """Picture paths, as in the file or as the data set names them (Name/Name_0001.jpg)."""
    second: tuple[str, ...]
    genuine: tuple[bool, ...]
    fold: tuple[int, ...]
    """0 for all where the file has no folds (see `folds_in_order`)."""
    first_identities: tuple[str, ...]
    second_identities: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.first)

    @property
    def num_folds(self) -> int:
        """How many folds the file itself has; 1: none."""
        return len(set(self.fold))

    def pictures(self) -> list[str]:
        """Every picture once, in order of first use."""
        return list(dict.fromkeys(path for pair in zip(self.first, self.second, strict=True) for path in pair))


@dataclass(frozen=True)
class GalleryProtocol:
    """Enrolled faces and faces to recognise."""

    gallery: FaceList
    probe: FaceList


def read_pairs(path: Path) -> PairProtocol:
    """Read a pair list: a CSV (`read_pair_table`), or LFW's own layout otherwise (`read_lfw_pairs`)."""
    return read_pair_table(path) if path.suffix.lower() == ".csv" else read_lfw_pairs(path)


def under_either_name(path: Path) -> Path:
    """The file itself; LFW's list of view 2 is also found where it lies under its other name in the same folder."""
    if path.name in LFW_VIEW_2 and not path.exists():
        return next((other for name in LFW_VIEW_2 if (other := path.with_name(name)).is_file()), path)
    return path


def is_face_list(path: Path) -> bool:
    """Whether a file is a face list rather than a pair list, by its first line.

    A pair list is a CSV with a column path_a, or a text that begins with its numbers of folds and pairs.
    ValueError: if a CSV or text cannot be decoded.
    """
    if path.is_dir() or path.suffix.lower() not in (".csv", ".txt"):
        return True
    first_line = _text(path).partition("\n")[0]
    if path.suffix.lower() == ".csv":
        return "path_a" not in next(csv.reader([first_line]), [])
    return not all(_is_count(word) for word in first_line.split())


def read_lfw_pairs(path: Path) -> PairProtocol:
    """Read pairs.txt of view 2 (first line "10<tab>300") or pairsDevTest.txt and its like of view 1 ("500").

    Each fold has that many lines "name i j" (same person), then as many "name i name j" (different people).

    ValueError: if a line is not such a line, or too many or too few follow; it names file and line.
    """
    lines = _lines(path)
    num_folds, num_pairs = _lfw_header(path, lines[0] if lines else "")
    expected = 1 + 2 * num_folds * num_pairs
    if len(lines) != expected:
        raise ValueError(f"{path}: {len(lines)} lines; the first line announces {expected} in all")
    rows = []
    for number, line in enumerate(lines[1:], 2):
        fold, place = divmod(number - 2, 2 * num_pairs)
        rows.append((*_lfw_pair(f"{path}:{number}", line, genuine=place < num_pairs), fold))
    return _protocol(rows)


def read_pair_table(path: Path) -> PairProtocol:
    """Read a CSV with a header line: path_a, path_b, genuine (1/0 or true/false).

    It may also have the columns fold, identity_a, identity_b. Without identities, the names of the pictures' folders
    are taken if they agree with the column genuine throughout; otherwise every picture counts as a person of its own
    (this matters for intervals only). Paths are names to be found in a face list; none is opened here.

    ValueError: if a column is missing or unknown, or a value cannot be read; it names file and line.
    """
    reader = csv.DictReader(StringIO(_text(path), newline=""), strict=True)
    try:
        _check_columns(path, reader.fieldnames or [])
        rows = [_table_pair(f"{path}:{reader.line_num}", row) for row in reader]
    except csv.Error as error:
        raise ValueError(f"{path}:{reader.reader.line_num}: not a CSV line: {error}") from error
    if not rows:
        raise ValueError(f"{path}: no pairs below the header line")
    return _protocol(rows if "identity_a" in (reader.fieldnames or []) else _with_identities(rows))


def write_pairs(pairs: PairProtocol, path: Path) -> None:
    """Write pairs as the CSV that `read_pair_table` reads; the file appears whole or not at all."""
    temporary = path.with_name(f".{path.name}.part")
    with temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*PAIR_COLUMNS, *OPTIONAL_PAIR_COLUMNS])
        genuine = (int(each) for each in pairs.genuine)
        writer.writerows(
            zip(
                pairs.first,
                pairs.second,
                genuine,
                pairs.fold,
                pairs.first_identities,
                pairs.second_identities,
                strict=True,
            )
        )
    temporary.replace(path)


def read_gallery_and_probe(path: Path, probe_path: Path | None = None) -> GalleryProtocol:
    """Read one face list whose column `split` says gallery or probe, or two lists, one of each.

    ValueError: if gallery or probe is empty; it names the file.
    """
    faces = face_list.read(path)
    if probe_path is None:
        protocol = GalleryProtocol(faces.where(split="gallery"), faces.where(split="probe"))
    else:
        protocol = GalleryProtocol(faces, face_list.read(probe_path))
    for part, source, name in ((protocol.gallery, path, "gallery"), (protocol.probe, probe_path or path, "probe")):
        if len(part) == 0:
            wanted = "no faces" if probe_path else f"no row whose split is {name}"
            raise ValueError(f"{source}: {wanted}; an identification needs gallery and probe faces")
    return protocol


PairRow = tuple[str, str, bool, str, str, int]


def _lfw_header(path: Path, line: str) -> tuple[int, int]:
    numbers = line.split()
    if len(numbers) not in (1, 2) or not all(_is_count(number) for number in numbers):
        raise ValueError(f'{path}:1: expected "folds pairs" (view 2) or "pairs" (view 1), got {line!r}')
    return (1, int(numbers[0])) if len(numbers) == 1 else (int(numbers[0]), int(numbers[1]))


def _lfw_pair(place: str, line: str, genuine: bool) -> tuple[str, str, bool, str, str]:
    words = line.split("\t") if "\t" in line else line.split()
    words = [word.strip() for word in words]
    if len(words) != (3 if genuine else 4):
        wanted = '"name i j" (same person)' if genuine else '"name i name j" (different people)'
        raise ValueError(f"{place}: expected {wanted}, got {line!r}")
    first, i, second, j = (words[0], words[1], words[0], words[2]) if genuine else words
    for number in (i, j):
        if not _is_count(number):
            raise ValueError(f"{place}: expected a picture number from 1, got {number!r}")
    if not genuine and first == second:
        raise ValueError(f"{place}: expected two different people, got {first!r} twice")
    return _lfw_picture(place, first, int(i)), _lfw_picture(place, second, int(j)), genuine, first, second


def _lfw_picture(place: str, name: str, number: int) -> str:
    if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise ValueError(f"{place}: {name!r} cannot be the name of a person's folder")
    return f"{name}/{name}_{number:04d}.jpg"


def _is_count(word: str) -> bool:
    return word.isascii() and word.isdecimal() and 0 < len(word) < 10 and int(word) > 0


def _lines(path: Path) -> list[str]:
    lines = [line.strip(" \t\r") for line in _text(path).split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file: {error}") from error


def _check_columns(path: Path, columns: Iterable[str]) -> None:
    found = list(columns)
    for name in PAIR_COLUMNS:
        if name not in found:
            raise ValueError(f"{path}:1: no column {name!r}; expected {', '.join(PAIR_COLUMNS)}")
    for name in found:
        if name not in PAIR_COLUMNS + OPTIONAL_PAIR_COLUMNS:
            raise ValueError(
                f"{path}:1: unknown column {name!r}; known: {', '.join(PAIR_COLUMNS + OPTIONAL_PAIR_COLUMNS)}"
            )
        if found.count(name) > 1:
            raise ValueError(f"{path}:1: column {name!r} stands twice")
    if ("identity_a" in found) != ("identity_b" in found):
        raise ValueError(f"{path}:1: identity_a and identity_b are given together or not at all")


def _table_pair(place: str, row: dict[str, str | None]) -> PairRow:
    if None in row or None in row.values():
        raise ValueError(f"{place}: expected as many values as the header line has columns")
    values = {name: value or "" for name, value in row.items()}
    genuine = TRUE_WORDS.get(values["genuine"].strip().lower())
    if genuine is None:
        raise ValueError(f"{place}: genuine must be 1, 0, true or false; got {values['genuine']!r}")
    first, second = values["path_a"], values["path_b"]
    if not first or not second:
        raise ValueError(f"{place}: path_a and path_b must not be empty")
    fold = values.get("fold", "0").strip()
    if not (fold == "0" or _is_count(fold)):
        raise ValueError(f"{place}: fold must be a whole number from 0, got {fold!r}")
    one, other = values.get("identity_a", ""), values.get("identity_b", "")
    if "identity_a" in values and (not one or not other or (one == other) != genuine):
        raise ValueError(f"{place}: genuine is {values['genuine']}, but the identities are {one!r} and {other!r}")
    return first, second, genuine, one, other, int(fold)


def _with_identities(rows: list[PairRow]) -> list[PairRow]:
    named = [
        (first, second, genuine, PurePosixPath(first).parent.name, PurePosixPath(second).parent.name, fold)
        for first, second, genuine, _, _, fold in rows
    ]
    if all(one and other and (one == other) == genuine for _, _, genuine, one, other, _ in named):
        return named
    return [(first, second, genuine, first, second, fold) for first, second, genuine, _, _, fold in rows]


def _protocol(rows: list[PairRow]) -> PairProtocol:
    first, second, genuine, first_identities, second_identities, fold = zip(*rows, strict=True)
    return PairProtocol(first, second, genuine, fold, first_identities, second_identities)
