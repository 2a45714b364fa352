"""Face lists too long for memory: read and written a piece at a time, on disk or in an object store."""

import csv
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, TextIO

import numpy as np

from facebridge.data import face_list as face_lists
from facebridge.data import list_files
from facebridge.data.face_list import FaceList
from facebridge.data.list_files import BadRow, Table

ROWS_PER_PIECE = list_files.ROWS_PER_BATCH
_ROWS_PER_GROUP = 131072
_ROWS_PER_MARK = 65536
_BUFFER_BYTES = 1 << 20


class FaceListFile:
    """A face list that stays on disk, or in an object store, and is read in pieces; memory does not grow with it.

    path: a .parquet file (only the row groups that a range touches are read) or a .csv file (read through once, at the
    first question for its length or for a range, to note where its rows begin); a path, or a URL that fsspec reaches.
    root: the folder that the paths are relative to; by default the list's own, or the present one if it is in a store.
    allow_outside: permit absolute paths and "..".
    ValueError: if it is no face list; and, when rows are read, with row or line and column, as `face_list.read`.
    """

    def __init__(self, path: str | Path, *, root: str | Path | None = None, allow_outside: bool = False) -> None:
        self.place, name = reach_file(path)
        self.path = self.place.shown(name)
        self.root = Path(root) if root is not None else self.place.local or Path()
        if _suffix(name) not in _READERS:
            raise ValueError(f"{self.path}: a list that is read in pieces is {' or '.join(_READERS)}")
        with self._naming_file():
            self._rows = _READERS[_suffix(name)](self.place, name, allow_outside)

    def __len__(self) -> int:
        with self._naming_file():
            return len(self._rows)

    @property
    def column_names(self) -> list[str]:
        """Names of the columns, in the order of the file; landmarks are not among them."""
        return [name for name in self._rows.header if name not in self._rows.points]

    @property
    def num_landmarks(self) -> int:
        """0, 5 or 68."""
        return len(self._rows.points) // 2

    @property
    def metadata(self) -> dict[str, str]:
        """What the writer noted about the file; a CSV file has no place for it."""
        return self._rows.metadata

    def read(self, start: int, stop: int) -> FaceList:
        """The rows from `start` up to `stop`, which are held within the list as those of a slice are."""
        start, stop, _ = slice(start, stop).indices(len(self))
        with self._naming_file():
            tables = list(self._rows.tables(start, stop, ROWS_PER_PIECE))
        return self._face_list(_concatenated(tables)) if tables else self._nothing()

    def pieces(self, rows: int = ROWS_PER_PIECE, start: int = 0) -> Iterator[FaceList]:
        """All rows from `start` on, in order, at most `rows` at a time; one pass over the file."""
        if rows < 1 or start < 0:
            raise ValueError(f"pieces of {rows} rows from row {start}: expected at least 1 row, from row 0 or later")
        with self._naming_file():
            for table in self._rows.tables(start, None, rows):
                yield self._face_list(table)

    def _nothing(self) -> FaceList:
        points = np.empty((0, self.num_landmarks, 2)) if self.num_landmarks else None
        return FaceList(self.root, {name: [] for name in self.column_names}, points)

    def _face_list(self, table: Table) -> FaceList:
        return FaceList(self.root, table.columns, table.landmarks)

    @contextmanager
    def _naming_file(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, csv.Error) as error:
            raise ValueError(f"{self.path}: {error}") from error


class FaceListWriter:
    """Writes a face list piece by piece; the file appears whole when the `with` block ends, or not at all.

    path: .parquet or .csv; a path, or a URL that fsspec reaches.
    columns: names of the columns. num_landmarks: 0, 5 or 68.
    allow_outside: permit absolute paths and "..".
    metadata: notes that a Parquet file keeps.
    ValueError: if the suffix or a column is none of a face list.
    """

    def __init__(
        self,
        path: str | Path,
        columns: Sequence[str],
        num_landmarks: int = 0,
        *,
        allow_outside: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.place, self._name = reach_file(path)
        self.path = self.place.shown(self._name)
        self.num_rows = 0
        if _suffix(self._name) not in _APPENDERS:
            raise ValueError(f"{self.path}: face lists are written as {' or '.join(_APPENDERS)}")
        points = np.empty((0, num_landmarks, 2), np.float32) if num_landmarks else None
        self._nothing = FaceList(Path(), {name: [] for name in columns}, points)
        self._allow_outside = allow_outside
        self._metadata = dict(metadata or {})
        self._stack = ExitStack()
        self._append: Callable[[Table], None] | None = None

    def __enter__(self) -> "FaceListWriter":
        with ExitStack() as stack:
            temporary = stack.enter_context(self.place.replacing(self._name))
            appender = _APPENDERS[_suffix(self._name)]
            self._append = stack.enter_context(appender(temporary, _table(self._nothing), self._metadata))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def write(self, faces: FaceList) -> None:
        """Append the rows of a list with the same columns, in any order, and as many landmarks.

        Paths of a list of another folder on disk are rewritten to be relative to the file's.
        ValueError: if columns or landmarks are others, or a path would leave the file's folder.
        """
        assert self._append is not None, "rows are written inside the `with` block"
        if set(faces.column_names) != set(self._nothing.column_names) or _num_points(faces) != _num_points(
            self._nothing
        ):
            raise ValueError(f"{self.path}: expected {_described(self._nothing)}; got {_described(faces)}")
        columns = {name: faces.column(name) for name in self._nothing.column_names}
        if self.place.local is not None:
            columns["path"] = face_lists.relocated(faces, self.place.local)
        try:
            if _suffix(self._name) != ".parquet" or not list_files.all_safe(columns["path"], self._allow_outside):
                list_files.refuse_unsafe(columns["path"], self._allow_outside, self.num_rows)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error
        self._append(Table(columns, faces.landmarks))
        self.num_rows += len(faces)


@dataclass(frozen=True)
class Place:
    """A folder, on disk or in an object store.

    system: the fsspec file system. folder: its name there. local: the folder, where it is one on disk.
    """

    system: Any
    folder: str
    local: Path | None

    def open(self, name: str) -> BinaryIO:
        """A file of the folder, for reading. FileNotFoundError: if there is none."""
        return self.system.open(self.inside(name), "rb")  # type: ignore[no-any-return]

    def inside(self, name: str) -> str:
        """The name that the file system has for a file of the folder."""
        return f"{self.folder}/{name}"

    def shown(self, name: str) -> str:
        """A file of the folder as a reader knows it: a path, or a URL."""
        return str(self.local / name) if self.local is not None else self.system.unstrip_protocol(self.inside(name))

    def sizes(self) -> dict[str, int]:
        """The files of the folder and how many bytes each has; none where there is no folder."""
        self.system.invalidate_cache(self.folder)  # other processes write there too
        try:
            found = self.system.ls(self.folder, detail=True)
        except FileNotFoundError:
            return {}
        return {entry["name"].rpartition("/")[2]: entry["size"] for entry in found if entry["type"] == "file"}

    @contextmanager
    def replacing(self, name: str) -> Iterator[Path]:
        """A path on disk to write to; it becomes the file of that name if all goes well, and is gone if not.

        What it holds is on the disk before it has its name, so that no half file is found when the power fails.
        """
        if self.local is not None:
            with list_files.replacing(self.local / name) as temporary:
                yield temporary
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
            return
        with tempfile.TemporaryDirectory() as folder:
            temporary = Path(folder) / name
            yield temporary
            self.system.put_file(str(temporary), self.inside(name))


def reach(folder: str | Path) -> Place:
    """The folder of this path or URL.

    ValueError: if the URL is of a kind that fsspec, or what it needs for it, does not know.
    """
    from fsspec.core import url_to_fs  # type: ignore[import-untyped]

    try:
        system, name = url_to_fs(str(folder))
    except (ImportError, ValueError) as error:
        raise ValueError(f"{folder}: cannot be reached ({error})") from error
    return Place(system, name.rstrip("/"), Path(name) if "file" in system.protocol else None)


def reach_file(path: str | Path) -> tuple[Place, str]:
    """The folder of a file, and the file's name in it. ValueError: as `reach`."""
    folder, _, name = str(path).rpartition("/")
    if not name:
        raise ValueError(f"{path}: expected a file")
    return reach(folder or ("/" if str(path).startswith("/") else ".")), name


class _ParquetRows:
    """Rows of a Parquet file by number."""

    def __init__(self, folder: Place, name: str, allow_outside: bool) -> None:
        self.folder = folder
        self.name = name
        self.allow_outside = allow_outside
        self.footer: Any = None
        with self._open() as file:
            self.footer = file.metadata
            self.header = list(file.schema_arrow.names)
            self.metadata = {
                key.decode(errors="replace"): value.decode(errors="replace")
                for key, value in (file.schema_arrow.metadata or {}).items()
            }
        self.points = list_files.checked_header(self.header, list_files.REQUIRED)
        groups = [self.footer.row_group(group).num_rows for group in range(self.footer.num_row_groups)]
        self.starts = np.concatenate([[0], np.cumsum(groups, dtype=np.int64)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def tables(self, start: int, stop: int | None, rows: int) -> Iterator[Table]:
        stop = len(self) if stop is None else stop
        if start >= stop:
            return
        first, last = np.searchsorted(self.starts, [start, stop - 1], side="right") - 1
        row = int(self.starts[first])
        with self._open() as file:
            for batch in file.iter_batches(batch_size=rows, row_groups=range(first, last + 1)):
                wanted = batch.slice(max(0, start - row), max(0, stop - max(start, row)))
                if wanted.num_rows:
                    yield list_files.from_arrow(wanted, self.allow_outside, first=max(start, row))
                row += batch.num_rows

    @contextmanager
    def _open(self) -> Iterator[Any]:
        parquet = list_files.pyarrow_parquet()
        with ExitStack() as stack:
            source: Any = self.folder.inside(self.name)
            if self.folder.local is None:
                source = stack.enter_context(self.folder.open(self.name))
            stack.enter_context(list_files.arrow_told())
            yield stack.enter_context(parquet.ParquetFile(source, metadata=self.footer, buffer_size=_BUFFER_BYTES))


class _CsvRows:
    """Rows of a CSV file by number: one pass notes where every so many of them begin."""

    def __init__(self, folder: Place, name: str, allow_outside: bool) -> None:
        self.folder = folder
        self.name = name
        self.allow_outside = allow_outside
        self.metadata: dict[str, str] = {}
        with self._lines(0) as lines:
            self.header = next(csv.reader(lines, strict=True), [])
        self.points = list_files.checked_header(self.header, list_files.REQUIRED)

    def __len__(self) -> int:
        return self._marks[0]

    def tables(self, start: int, stop: int | None, rows: int) -> Iterator[Table]:
        """The rows from `start` on, up to `stop` or the end, at most `rows` at a time."""
        mark, skip = divmod(start, _ROWS_PER_MARK)
        if mark and start >= len(self):
            return
        byte, line = self._marks[1][mark] if mark else (0, 0)  # a read from the top needs no pass over the file
        with self._lines(byte) as lines:
            reader = csv.reader(lines, strict=True)
            if not mark:
                next(reader)
            cells = itertools.islice((row for row in reader if row), skip, None)
            while stop is None or start < stop:
                wanted = rows if stop is None else min(rows, stop - start)
                try:
                    table = list_files.collect(
                        self.header, itertools.islice(cells, wanted), self.allow_outside, list_files.REQUIRED
                    )
                except (csv.Error, BadRow) as error:
                    raise ValueError(f"line {line + reader.line_num}: {error}") from error
                found = len(table.columns["path"])
                if not found:
                    return
                yield table
                start += found

    @cached_property
    def _marks(self) -> tuple[int, list[tuple[int, int]]]:
        """How many rows there are, and the byte and line where every so many of them begin."""
        num_rows, marks = 0, []
        with self._lines(0) as lines:
            reader = csv.reader(lines, strict=True)
            next(reader)
            mark = (lines.num_bytes, reader.line_num)
            for row in reader:
                if row:
                    if num_rows % _ROWS_PER_MARK == 0:
                        marks.append(mark)
                    num_rows += 1
                mark = (lines.num_bytes, reader.line_num)
        return num_rows, marks

    @contextmanager
    def _lines(self, byte: int) -> Iterator["_CountedLines"]:
        with self.folder.open(self.name) as file:
            byte = byte or (3 if file.read(3) == b"\xef\xbb\xbf" else 0)
            file.seek(byte)
            try:
                yield _CountedLines(TextIOWrapper(file, encoding="utf-8", newline=""), byte)
            except UnicodeDecodeError as error:
                raise ValueError(f"is not UTF-8 text ({error})") from error


class _CountedLines:
    """Lines of a UTF-8 file, and the byte where the next one begins."""

    def __init__(self, file: TextIO, num_bytes: int) -> None:
        self.file = file
        self.num_bytes = num_bytes

    def __iter__(self) -> Iterator[str]:
        for line in self.file:
            self.num_bytes += len(line.encode())
            yield line


_READERS: dict[str, type[_ParquetRows] | type[_CsvRows]] = {".parquet": _ParquetRows, ".csv": _CsvRows}


@contextmanager
def _appending_csv(path: Path, header: Table, metadata: Mapping[str, str]) -> Iterator[Callable[[Table], None]]:
    if metadata:
        raise ValueError("a CSV list has no place for notes; write a .parquet list")
    with path.open("x", encoding="utf-8", newline="") as file:
        list_files.write_csv_header(header, file)
        yield lambda table: list_files.write_csv_rows(table, file)


@contextmanager
def _appending_parquet(path: Path, header: Table, metadata: Mapping[str, str]) -> Iterator[Callable[[Table], None]]:
    """Small tables wait until they fill a row group."""
    parquet = list_files.pyarrow_parquet()
    from pyarrow import concat_tables

    schema = list_files.to_arrow(header).schema.with_metadata(dict(metadata))
    repeated = [name for name in header.columns if name != "path"]
    waiting: list[Any] = []

    def append(table: Table) -> None:
        waiting.append(list_files.to_arrow(table).replace_schema_metadata(dict(metadata)))
        if sum(map(len, waiting)) >= _ROWS_PER_GROUP:
            flush()

    def flush() -> None:
        if waiting:
            writer.write_table(concat_tables(waiting), _ROWS_PER_GROUP)
            waiting.clear()

    with parquet.ParquetWriter(path, schema, compression="zstd", use_dictionary=repeated) as writer:
        yield append
        flush()


_APPENDERS = {".parquet": _appending_parquet, ".csv": _appending_csv}


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _table(faces: FaceList) -> Table:
    return Table({name: faces.column(name) for name in faces.column_names}, faces.landmarks)


def _concatenated(tables: Sequence[Table]) -> Table:
    columns = {name: np.concatenate([table.columns[name] for table in tables]) for name in tables[0].columns}
    points = [table.landmarks for table in tables if table.landmarks is not None]
    return Table(columns, np.concatenate(points) if points else None)


def _num_points(faces: FaceList) -> int:
    return 0 if faces.landmarks is None else faces.landmarks.shape[1]


def _described(faces: FaceList) -> str:
    return f"the columns {', '.join(sorted(faces.column_names))} and {_num_points(faces)} landmarks"
