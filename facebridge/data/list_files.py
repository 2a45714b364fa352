"""The files a face list can come from (CSV, Parquet, text, folders) as plain columns; see `face_list`."""

import csv
import math
import os
import re
import secrets
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

Column = NDArray[Any]
STRINGS = np.dtypes.StringDType()

REQUIRED = ("path", "identity", "domain")
OPTIONAL_TEXT = ("session", "split", "expression", "pair", "crop", "region", "original")
NUMBERS = ("yaw_deg",)
LANDMARKS_5 = tuple(
    f"{point}_{axis}" for point in ("right_eye", "left_eye", "nose", "mouth_right", "mouth_left") for axis in "xy"
)
LANDMARKS_68 = tuple(f"p{point:02}_{axis}" for point in range(68) for axis in "xy")
PICTURE_SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".pgm", ".ppm", ".pnm", ".webp"])
_TEXT_DOMAINS = {"0": "nir", "1": "vis"}  # DVG's lists
_LARGEST_NUMBER = 1e9
ROWS_PER_BATCH = 65536


@dataclass(frozen=True)
class Table:
    """Columns of equal length by name, and landmarks (N, 5 or 68, 2) float32 pixels, NaN where a row has none."""

    columns: dict[str, Column]
    landmarks: NDArray[np.float32] | None


def read_csv(path: Path, allow_outside: bool, required: Sequence[str] = REQUIRED) -> Table:
    """Read a CSV file with a header line, UTF-8 with or without byte order mark."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            try:
                return collect(next(rows, []), (row for row in rows if row), allow_outside, required)
            except (csv.Error, BadRow) as error:
                raise ValueError(f"{path}: line {rows.line_num}: {error}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 text ({error})") from error


def read_parquet(path: Path, allow_outside: bool, required: Sequence[str] = REQUIRED) -> Table:
    """Read a Parquet file."""
    try:
        parquet = pyarrow_parquet()
        with arrow_told(), parquet.ParquetFile(path) as file:
            num_rows = file.metadata.num_rows
            whole, first = _empty(file.schema_arrow.names, num_rows, required), 0
            for batch in file.iter_batches(batch_size=ROWS_PER_BATCH):
                piece, rows = from_arrow(batch, allow_outside, required, first), slice(first, first + batch.num_rows)
                for name, values in piece.columns.items():
                    whole.columns[name][rows] = values
                if whole.landmarks is not None:
                    whole.landmarks[rows] = piece.landmarks
                first += batch.num_rows
            if first != num_rows:
                raise ValueError(f"has {first:,} rows, but says that it has {num_rows:,}")
            return whole
    except MemoryError as error:
        raise ValueError(f"{path}: is more than memory holds; read it in pieces (facebridge.data.pieces)") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def read_text(path: Path, allow_outside: bool, domain: str) -> Table:
    """Read lines `path label [domain]`; `domain` is for lists without a third word, 0 means nir and 1 vis."""
    line_number = 0

    def rows(file: Iterable[str]) -> Iterator[Sequence[str]]:
        nonlocal line_number
        num_words = None
        for line_number, line in enumerate(file, start=1):  # noqa: B007
            words = line.split()
            if not words:
                continue
            if len(words) not in (2, 3) or num_words not in (None, len(words)):
                raise BadRow(
                    f"{len(words)} words; expected `path label [domain]`, on every line alike, without spaces in paths"
                )
            num_words = len(words)
            yield words[0], words[1], _text_domain(words[2]) if len(words) == 3 else domain

    try:
        with path.open(encoding="utf-8-sig") as file:
            return collect(REQUIRED, rows(file), allow_outside, REQUIRED)
    except BadRow as error:
        raise ValueError(f"{path}: line {line_number}: {error}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 text ({error})") from error


def read_folder(root: Path, domain: str) -> Table:
    """List the pictures of `root/identity/...`, sorted; the first folder is the identity. Other files are left out."""
    paths = sorted(picture_paths(root))
    if not paths:
        raise ValueError(f"{root}: no pictures in it; expected {root}/identity/picture")
    stray = next((path for path in paths if "/" not in path), None)
    if stray is not None:
        raise ValueError(f"{root}/{stray}: lies in no identity's folder; expected {root}/identity/picture")
    rows = ((path, path.split("/", 1)[0], domain) for path in paths)
    try:
        return collect(REQUIRED, rows, False, REQUIRED)
    except BadRow as error:
        raise ValueError(f"{root}: {error}") from error


def picture_paths(root: Path) -> Iterator[str]:
    """Paths of the pictures in a folder and below it, relative to it; hidden ones are left out.

    Linked folders count, each real folder once, so that a loop ends. ValueError: if a folder cannot be read.
    """
    seen = set()
    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=_raise):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in files:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES:
                yield (PurePosixPath(Path(folder).relative_to(root).as_posix()) / name).as_posix()


def write_csv(table: Table, path: Path) -> None:
    """Write a CSV file; it appears whole or not at all."""
    with replacing(path) as temporary, temporary.open("x", encoding="utf-8", newline="") as file:
        write_csv_header(table, file)
        write_csv_rows(table, file)


def write_csv_header(table: Table, file: TextIO) -> None:
    """Write the line of names."""
    names = flat(table)[0]
    _csv_writer(file, [strings(names)]).writerow(names)


def write_csv_rows(table: Table, file: TextIO) -> None:
    """Write the rows of a table, without the line of names."""
    columns = flat(table)[1]
    writer = _csv_writer(file, [column for column in columns if column.dtype == STRINGS])
    for start in range(0, len(columns[0]), 4096):
        writer.writerows(zip(*(_as_text(column[start : start + 4096]) for column in columns), strict=True))


def write_parquet(table: Table, path: Path) -> None:
    """Write a Parquet file; it appears whole or not at all."""
    parquet = pyarrow_parquet()
    with replacing(path) as temporary:
        parquet.write_table(to_arrow(table), temporary)


def to_arrow(table: Table) -> Any:
    """The table as a pyarrow.Table: texts as strings, numbers as float32, NaN as null."""
    pyarrow_parquet()
    import pyarrow

    names, columns = flat(table)
    arrays = [
        pyarrow.array(column.astype(object), pyarrow.string())
        if column.dtype == STRINGS
        else pyarrow.array(column, from_pandas=True)
        for column in columns
    ]
    return pyarrow.table(arrays, names=list(names))


def from_arrow(batch: Any, allow_outside: bool, required: Sequence[str] = REQUIRED, first: int = 0) -> Table:
    """A pyarrow.RecordBatch as a table; `first` is how many rows lie before it.

    A batch in which all is as it should be is converted a column at a time, any other row by row.
    ValueError: with row and column, if a cell is not as it should be.
    """
    table = _quickly(batch, checked_header(batch.schema.names, required), allow_outside, required)
    if table is not None:
        return table
    row_number = first

    def rows() -> Iterator[Sequence[object]]:
        nonlocal row_number
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            row_number += 1
            yield row

    try:
        return collect(batch.schema.names, rows(), allow_outside, required)
    except BadRow as error:
        raise ValueError(f"row {row_number}: {error}") from error


@contextmanager
def arrow_told() -> Iterator[None]:
    """What pyarrow cannot read or convert becomes a ValueError; some of its errors are none, and of no common kind."""
    from pyarrow import ArrowException

    try:
        yield
    except ValueError:
        raise
    except (ArrowException, OverflowError) as error:
        raise ValueError(f"cannot be read ({error})") from error


def strings(values: Iterable[str]) -> Column:
    """Texts as a numpy array of variable-length strings. ValueError: if one cannot be written as UTF-8."""
    try:
        return np.array(list(values), dtype=STRINGS)
    except UnicodeEncodeError as error:
        raise ValueError(f"{error.object!r} is not valid Unicode; rename the file or folder") from error


def relative_path(path: str, allow_outside: bool) -> str:
    """A path of a list with slashes. ValueError: if it is empty or leaves the list's folder."""
    path = path.replace("\\", "/")
    if not path or "\0" in path:
        raise ValueError("the path is empty or holds a NUL")
    if not allow_outside:
        if path.startswith("/") or re.match(r"[A-Za-z]:|[A-Za-z][A-Za-z0-9+.-]*://", path):
            raise ValueError(
                f"path {path!r} is absolute; expected one relative to the list's folder (or allow_outside)"
            )
        if ".." in path.split("/"):
            raise ValueError(f"path {path!r} leaves the list's folder (allow_outside would permit it)")
    return path


def refuse_unsafe(paths: Column, allow_outside: bool, first: int = 0) -> None:
    """ValueError: with the row, if a path is not as `relative_path` wants it; `first` rows lie before these."""
    for row, path in enumerate(paths.tolist(), start=first + 1):
        try:
            relative_path(path, allow_outside)
        except ValueError as error:
            raise ValueError(f"row {row}: {error}") from error


def all_safe(paths: Column, allow_outside: bool) -> bool:
    """Whether a quick look with pyarrow finds nothing that `refuse_unsafe` may have to refuse."""
    from pyarrow import array, compute, string

    texts = array(paths.astype(object), string())
    return not compute.any(compute.match_substring_regex(texts, _UNCLEAN if allow_outside else _UNSAFE)).as_py()


class BadRow(ValueError):
    """What is wrong with the row (or header) that was read last; the reader adds where that is."""


def collect(
    header: Sequence[str], rows: Iterable[Sequence[object]], allow_outside: bool, required: Sequence[str]
) -> Table:
    """The rows under a header as columns, each cell checked. BadRow: if a cell, a row or the header is wrong."""
    landmark_names = checked_header(header, required)
    position = {name: index for index, name in enumerate(header)}
    numbers = {name: array("d") for name in NUMBERS if name in position}
    texts: dict[str, list[str]] = {name: [] for name in header if name not in {*landmark_names, *numbers}}
    landmarks = array("f")
    for row in rows:
        if len(row) != len(header):
            raise BadRow(f"{len(row)} cells; expected {len(header)}, as in the header")
        for name, text_column in texts.items():
            text_column.append(_text(row[position[name]], name, name in required, allow_outside))
        for name, number_column in numbers.items():
            number_column.append(_number(row[position[name]], name))
        if landmark_names:
            landmarks.extend(_point_values([_number(row[position[name]], name) for name in landmark_names]))
    try:
        columns: dict[str, Column] = {name: strings(values) for name, values in texts.items()}
    except ValueError as error:
        raise BadRow(str(error)) from error
    columns |= {name: np.array(values, np.float32) for name, values in numbers.items()}
    points = np.array(landmarks, np.float32).reshape(-1, len(landmark_names) // 2, 2) if landmark_names else None
    return Table({name: columns[name] for name in header if name in columns}, points)


def checked_header(header: Sequence[str], required: Sequence[str]) -> tuple[str, ...]:
    """The names of the landmark columns. BadRow: if the header is not one of a face list."""
    missing = [name for name in required if name not in header]
    if missing:
        found = ", ".join(map(repr, header[:20])) or "nothing"
        raise BadRow(f"column {missing[0]!r} is missing; the header has {found}; expected {', '.join(required)}")
    repeated = [name for index, name in enumerate(header) if name in header[:index]]
    if repeated:
        raise BadRow(f"column {repeated[0]!r} appears twice")
    if "" in header:
        raise BadRow("a column has no name")
    present = [names for names in (LANDMARKS_5, LANDMARKS_68) if set(names) & set(header)]
    if len(present) > 1:
        raise BadRow("five and 68 landmarks in one list; keep one kind")
    names = present[0] if present else ()
    absent = [name for name in names if name not in header]
    if absent:
        raise BadRow(f"landmark column {absent[0]!r} is missing, though others of its kind are there")
    return names


def _empty(header: Sequence[str], num_rows: int, required: Sequence[str]) -> Table:
    points = checked_header(header, required)
    names = [name for name in header if name not in points]
    columns: dict[str, Column] = {
        name: np.empty(num_rows, np.float32 if name in NUMBERS else STRINGS) for name in names
    }
    return Table(columns, np.empty((num_rows, len(points) // 2, 2), np.float32) if points else None)


_UNCLEAN = r"^$|\\|\x00"
_UNSAFE = _UNCLEAN + r"|^/|^[A-Za-z][A-Za-z0-9+.-]*:|(^|/)\.\.(/|$)"


def _quickly(batch: Any, points: Sequence[str], allow_outside: bool, required: Sequence[str]) -> Table | None:
    """The batch as `collect` would give it, without a look at each cell; None if a cell may need one."""
    columns: dict[str, Column] = {}
    for name, values in zip(batch.schema.names, batch.columns, strict=True):
        if name in points or name in NUMBERS:
            column = _quick_numbers(values)
        elif name == "path":
            column = _quick_texts(values, _UNCLEAN if allow_outside else _UNSAFE)
        else:
            column = _quick_texts(values, "^$" if name in required else None)
        if column is None:
            return None
        columns[name] = column
    landmarks = np.stack([columns.pop(name) for name in points], axis=1) if points else None
    if landmarks is not None:
        if (np.isnan(landmarks).any(1) & ~np.isnan(landmarks).all(1)).any():
            return None
        landmarks = landmarks.reshape(-1, len(points) // 2, 2)
    return Table(columns, landmarks)


def _quick_texts(values: Any, refused: str | None) -> Column | None:
    from pyarrow import compute, string, types

    if types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if types.is_integer(values.type):
        values = values.cast(string())
    if not (types.is_string(values.type) or types.is_large_string(values.type)):
        return None
    values = values.fill_null("")
    if refused is not None and compute.any(compute.match_substring_regex(values, refused)).as_py():
        return None
    return np.asarray(values.to_numpy(zero_copy_only=False).astype(STRINGS))


def _quick_numbers(values: Any) -> Column | None:
    from pyarrow import float64, types

    if not (types.is_integer(values.type) or types.is_floating(values.type)):
        return None
    numbers = values.cast(float64(), safe=False).to_numpy(zero_copy_only=False)
    return None if (np.abs(numbers) > _LARGEST_NUMBER).any() else numbers.astype(np.float32)


def _text(cell: object, name: str, required: bool, allow_outside: bool) -> str:
    if cell is None:
        cell = ""
    if not isinstance(cell, (str, int)) or isinstance(cell, bool):
        raise BadRow(f"column {name!r}: {cell!r} is a {type(cell).__name__}; expected text")
    text = str(cell)
    if required and not text:
        raise BadRow(f"column {name!r} is empty")
    if name != "path":
        return sys.intern(text)
    try:
        return relative_path(text, allow_outside)
    except ValueError as error:
        raise BadRow(f"column 'path': {error}") from error


def _number(cell: object, name: str) -> float:
    if cell is None or cell == "":
        return math.nan
    try:
        value = float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise BadRow(f"column {name!r}: {cell!r} is not a number") from error
    if abs(value) > _LARGEST_NUMBER:
        raise BadRow(f"column {name!r}: {cell!r} is too large")
    return value


def _point_values(values: list[float]) -> list[float]:
    num_missing = sum(math.isnan(value) for value in values)
    if num_missing not in (0, len(values)):
        raise BadRow(f"{num_missing} of {len(values)} landmark cells are empty; fill in all or none")
    return values


def _text_domain(word: str) -> str:
    if word.isdigit() and word not in _TEXT_DOMAINS:
        raise BadRow(f"domain {word!r}: of the numbers, 0 means nir and 1 means vis; use words for others")
    return _TEXT_DOMAINS.get(word, word)


def _raise(error: OSError) -> None:
    raise ValueError(f"{error.filename}: folder cannot be read ({error.strerror})") from error


def flat(table: Table) -> tuple[list[str], list[Column]]:
    """Names and columns as a file has them, one for each coordinate."""
    names, columns = list(table.columns), list(table.columns.values())
    if table.landmarks is not None:
        num_points = table.landmarks.shape[1]
        names += {5: LANDMARKS_5, 68: LANDMARKS_68}[num_points]
        columns += [table.landmarks[:, point, axis] for point in range(num_points) for axis in range(2)]
    return names, columns


def _csv_writer(file: TextIO, texts: Iterable[Column]) -> Any:
    # Python 3.11 quotes a carriage return only if it is part of the line's end.
    odd = any((np.strings.find(text, "\r") >= 0).any() for text in texts)
    return csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL if odd else csv.QUOTE_MINIMAL)


def _as_text(column: Column) -> list[str]:
    """Cells of a CSV file; a number as the shortest text that reads back as the same float32."""
    if column.dtype == STRINGS:
        return column.tolist()  # type: ignore[no-any-return]
    return ["" if math.isnan(value) else str(value) for value in column]


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; it becomes `path` if all goes well, and is gone if not."""
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def pyarrow_parquet() -> Any:
    """The module pyarrow.parquet. ValueError: if it is not installed."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ValueError("Parquet lists need pyarrow: pip install 'facebridge[scale]', or use a .csv list") from error
    return pyarrow.parquet
