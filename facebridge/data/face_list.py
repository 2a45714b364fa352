"""The face list: one table, one row a picture, that says who is where, under which camera, and how seen."""

import json
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facebridge.data import list_files

Layout = Literal["auto", "csv", "parquet", "folder", "text"]


@dataclass(frozen=True, eq=False)
class FaceRow:
    """One picture of a face list. None: the list does not say.

    path: relative to the list's folder. yaw_deg: degrees. landmarks: (5 or 68, 2) float32 pixels (x, y) of the
    picture. crop: how the picture was aligned, one of `facebridge.crops.names()`. region: the part of the picture that
    counts, `left top width height` in pixels. original: the key (see `FaceList.keys`) of the picture that an aligned
    face was first cut from. extra: cells of the columns that FaceBridge has no meaning for.
    """

    path: str
    identity: str
    domain: str
    session: str | None = None
    split: str | None = None
    yaw_deg: float | None = None
    expression: str | None = None
    pair: str | None = None
    landmarks: NDArray[np.float32] | None = None
    crop: str | None = None
    region: str | None = None
    original: str | None = None
    extra: dict[str, str] = field(default_factory=dict)


class FaceList:
    """A table of pictures of faces, held as columns.

    root: the folder that the paths are relative to.
    columns: name -> N texts. "path", "identity" and "domain" are needed; "session", "split", "expression", "pair",
    "crop", "region", "original" and "yaw_deg" (N numbers, NaN: unknown) have a meaning; any other name is carried
    along. An empty text means unknown.
    landmarks: (N, 5 or 68, 2) pixels, NaN in rows without; None for a list without landmarks.

    ValueError: if a needed column is missing or has an empty text, lengths differ, a number is infinite, or the
    landmarks have another shape or are there in part.
    """

    def __init__(self, root: Path, columns: Mapping[str, Any], landmarks: ArrayLike | None = None) -> None:
        missing = [name for name in list_files.REQUIRED if name not in columns]
        if missing:
            raise ValueError(f"a face list needs the column {missing[0]!r}; got {', '.join(columns) or 'none'}")
        self.root = Path(root)
        self._columns = {name: _as_column(name, values) for name, values in columns.items()}
        lengths = {name: len(values) for name, values in self._columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of different lengths: {lengths}")
        self.landmarks = None if landmarks is None else _as_landmarks(landmarks, len(self))

    def __len__(self) -> int:
        return len(self._columns["path"])

    def __getitem__(self, index: int) -> FaceRow:
        cells: dict[str, Any] = {name: values[index] for name, values in self._columns.items()}
        yaw_deg = float(cells.get("yaw_deg", np.nan))
        points = None if self.landmarks is None else self.landmarks[index]
        return FaceRow(
            path=cells["path"],
            identity=cells["identity"],
            domain=cells["domain"],
            session=cells.get("session") or None,
            split=cells.get("split") or None,
            yaw_deg=None if np.isnan(yaw_deg) else yaw_deg,
            expression=cells.get("expression") or None,
            pair=cells.get("pair") or None,
            landmarks=None if points is None or np.isnan(points).any() else points,
            crop=cells.get("crop") or None,
            region=cells.get("region") or None,
            original=cells.get("original") or None,
            extra={name: cells[name] for name in self.extra_names},
        )

    def __iter__(self) -> Iterator[FaceRow]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        return f"FaceList({len(self)} rows, root={str(self.root)!r}, columns={', '.join(self._columns)})"

    @property
    def column_names(self) -> list[str]:
        """Names of the columns, in the order of the file; landmarks are not among them."""
        return list(self._columns)

    @property
    def extra_names(self) -> list[str]:
        """Names of the columns that FaceBridge has no meaning for."""
        known = {*list_files.REQUIRED, *list_files.OPTIONAL_TEXT, *list_files.NUMBERS}
        return [name for name in self._columns if name not in known]

    def column(self, name: str) -> NDArray[Any]:
        """One column: numpy strings of variable length (StringDType), or float32 for yaw_deg; not to be written to.

        ValueError: if the list has no such column.
        """
        if name not in self._columns:
            raise ValueError(f"the face list has no column {name!r}; it has {', '.join(self._columns)}")
        return self._columns[name]

    def keys(self) -> list[str]:
        """What tells the pictures apart: the path, and where a row has a region that too.

        It is written as the W3C's media fragments are: PATH#xywh=left,top,width,height.
        """
        paths: list[str] = self._columns["path"].tolist()
        if "region" not in self._columns:
            return paths
        regions: list[str] = self._columns["region"].tolist()
        return [
            f"{path}#xywh={','.join(region.split())}" if region else path
            for path, region in zip(paths, regions, strict=True)
        ]

    def originals(self) -> list[str]:
        """The key of the picture that each face was first cut from: its own, where the list names no other."""
        keys = self.keys()
        if "original" not in self._columns:
            return keys
        return [original or key for original, key in zip(self._columns["original"].tolist(), keys, strict=True)]

    def picture_path(self, index: int) -> Path:
        """Where the picture of a row lies."""
        return self.root / str(self._columns["path"][index])

    def where(self, **wanted: str | Collection[str]) -> "FaceList":
        """The rows whose columns have the wanted value, or one of the wanted values, in their order.

        where(domain="vis", split=("train", "tune")). ValueError: if the list has no such column.
        """
        keep = np.ones(len(self), bool)
        for name, values in wanted.items():
            column, chosen = self.column(name), {values} if isinstance(values, str) else set(values)
            keep &= np.fromiter((value in chosen for value in column), bool, len(column))
        return self.take(keep)

    def take(self, rows: ArrayLike) -> "FaceList":
        """The rows of these indices, or those where a mask of N bools is true."""
        chosen = np.asarray(rows)
        chosen = chosen if chosen.dtype == bool else chosen.astype(np.int64)
        columns = {name: values[chosen] for name, values in self._columns.items()}
        return FaceList(self.root, columns, None if self.landmarks is None else self.landmarks[chosen])

    def with_column(self, name: str, values: ArrayLike) -> "FaceList":
        """The same list with one column added or replaced."""
        return FaceList(self.root, self._columns | {name: values}, self.landmarks)

    def with_landmarks(self, landmarks: ArrayLike | None) -> "FaceList":
        """The same list with other landmarks: (N, 5 or 68, 2) pixels, NaN in rows without; None takes them away."""
        return FaceList(self.root, self._columns, landmarks)


def read(
    path: str | Path,
    layout: Layout = "auto",
    *,
    root: str | Path | None = None,
    domain: str = "vis",
    allow_outside: bool = False,
) -> FaceList:
    """Read a face list.

    layout: "csv" and "parquet" have a header (path, identity, domain, ...; landmarks as right_eye_x ... mouth_left_y,
    or p00_x ... p67_y); "text" has lines `path label [domain]`, where 0 means nir and 1 vis; "folder" holds
    identity/picture. "auto" tells them by being a folder or by suffix (.csv, .parquet, .txt).
    root: the folder that the paths are relative to; by default the list's own.
    domain: of a folder, or of a text list that does not say.
    allow_outside: permit absolute paths and "..".
    ValueError: with file, line or row, and column, if anything in it is not as it should be.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder")
    if layout not in get_args(Layout):
        raise ValueError(f"layout is {layout!r}; expected one of {', '.join(get_args(Layout))}")
    chosen = _layout(path) if layout == "auto" else layout
    if path.is_dir() != (chosen == "folder"):
        raise ValueError(f"{path}: is {'a folder' if path.is_dir() else 'no folder'}; the layout says {chosen!r}")
    if chosen == "csv":
        table = list_files.read_csv(path, allow_outside)
    elif chosen == "parquet":
        table = list_files.read_parquet(path, allow_outside)
    elif chosen == "text":
        table = list_files.read_text(path, allow_outside, domain)
    else:
        table = list_files.read_folder(path, domain)
    own_folder = path if chosen == "folder" else path.parent
    return FaceList(own_folder if root is None else Path(root), table.columns, table.landmarks)


def joined(first: FaceList, second: FaceList) -> FaceList:
    """The rows of both lists, which must have the same root, columns and landmarks.

    ValueError: if they have not.
    """
    if first.root != second.root or set(first.column_names) != set(second.column_names):
        raise ValueError(f"only lists of one folder with the same columns can be joined, not {first!r} and {second!r}")
    if (first.landmarks is None) != (second.landmarks is None):
        raise ValueError("a list with landmarks cannot be joined with one without")
    columns = {name: np.concatenate([first.column(name), second.column(name)]) for name in first.column_names}
    landmarks = None
    if first.landmarks is not None and second.landmarks is not None:
        landmarks = np.concatenate([first.landmarks, second.landmarks])
    return FaceList(first.root, columns, landmarks)


def read_landmarks(path: str | Path) -> dict[str, NDArray[np.float32]]:
    """Landmarks by path from a CSV or Parquet file that need not hold more: path -> (5 or 68, 2) pixels.

    Rows without landmarks are left out. ValueError: as `read`, or if the file has no landmark columns, or a path twice.
    """
    path = Path(path)
    reader = list_files.read_parquet if path.suffix == ".parquet" else list_files.read_csv
    table = reader(path, True, required=("path",))
    if table.landmarks is None:
        raise ValueError(f"{path}: has no landmark columns; expected {', '.join(list_files.LANDMARKS_5)}")
    paths = table.columns["path"].tolist()
    if len(set(paths)) < len(paths):
        raise ValueError(f"{path}: lists {Counter(paths).most_common(1)[0][0]!r} twice")
    return {name: row for name, row in zip(paths, table.landmarks, strict=True) if not np.isnan(row).any()}


def write(face_list: FaceList, path: str | Path, *, allow_outside: bool = False) -> None:
    """Write a face list as .csv or .parquet; the file appears whole or not at all.

    In another folder than the list's own, the paths are rewritten to be relative to it.
    ValueError: if the suffix is another, or a path would leave that folder and `allow_outside` is not given.
    """
    path = Path(path)
    writers = {".csv": list_files.write_csv, ".parquet": list_files.write_parquet}
    if path.suffix.lower() not in writers:
        raise ValueError(f"{path}: face lists are written as {' or '.join(writers)}")
    paths = relocated(face_list, path.parent)
    try:
        list_files.refuse_unsafe(paths, allow_outside)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    columns = {name: face_list.column(name) for name in face_list.column_names}
    writers[path.suffix.lower()](list_files.Table(columns | {"path": paths}, face_list.landmarks), path)


def relocated(face_list: FaceList, folder: Path) -> NDArray[Any]:
    """The paths as a list in this folder has them: relative to it."""
    paths = face_list.column("path")
    own, new = os.path.realpath(face_list.root), os.path.realpath(folder)
    if own == new:
        return paths
    return list_files.strings(os.path.relpath(os.path.join(own, name), new) for name in paths.tolist())


def to_json(row: FaceRow) -> bytes:
    """A row as a JSON object: its texts, `yaw_deg`, `landmarks` and `extra`, where it has them."""
    cells: dict[str, Any] = {name: value for name, value in vars(row).items() if isinstance(value, str)}
    if row.yaw_deg is not None:
        cells["yaw_deg"] = _shortest(np.float32(row.yaw_deg))
    if row.landmarks is not None:
        cells["landmarks"] = [[_shortest(x), _shortest(y)] for x, y in row.landmarks]
    if row.extra:
        cells["extra"] = row.extra
    return json.dumps(cells, ensure_ascii=False, separators=(",", ":")).encode()


def from_json(data: bytes) -> FaceRow:
    """A row from the JSON that `to_json` gives.

    ValueError: if it is not that, a needed text is missing, or the path leaves the list's folder.
    """
    try:
        cells = dict(json.loads(data))
        yaw_deg, landmarks = cells.pop("yaw_deg", None), cells.pop("landmarks", None)
        extra = {name: _as_text(name, value) for name, value in dict(cells.pop("extra", {})).items()}
        texts = {name: _as_text(name, value) for name, value in cells.items()}
        missing = [name for name in list_files.REQUIRED if not texts.get(name)]
        if missing:
            raise ValueError(f"{missing[0]!r} is missing")
        texts["path"] = list_files.relative_path(texts["path"], allow_outside=False)
        points = None if landmarks is None else _as_landmarks([landmarks], 1)[0]
        if not np.isfinite([0.0 if yaw_deg is None else yaw_deg, 0.0 if points is None else points.max()]).all():
            raise ValueError("a number is none")
        return FaceRow(
            **texts, yaw_deg=None if yaw_deg is None else float(np.float32(yaw_deg)), landmarks=points, extra=extra
        )
    except (OverflowError, RecursionError, TypeError) as error:
        raise ValueError(str(error)) from error


def _shortest(value: np.float32) -> float:
    """The number of fewest digits that reads back as this one."""
    return float(str(value))


def _as_text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name!r} is {str(value)[:40]!r}; expected text")
    value.encode()  # a lone surrogate is no text
    return value


_SUFFIXES: dict[str, Layout] = {".csv": "csv", ".parquet": "parquet", ".txt": "text"}


def _layout(path: Path) -> Layout:
    if path.is_dir():
        return "folder"
    if path.suffix.lower() not in _SUFFIXES:
        raise ValueError(f"{path}: cannot tell the layout from the name; expected a folder or {', '.join(_SUFFIXES)}")
    return _SUFFIXES[path.suffix.lower()]


def _as_column(name: str, values: Any) -> NDArray[Any]:
    if not name or name in {*list_files.LANDMARKS_5, *list_files.LANDMARKS_68}:
        raise ValueError(f"no column can be called {name!r}; landmarks are given as one array")
    if name in list_files.NUMBERS:
        numbers = np.asarray(values, np.float32)
        if np.isinf(numbers).any():
            raise ValueError(f"column {name!r}: row {int(np.isinf(numbers).argmax()) + 1} is infinite")
        return numbers
    if isinstance(values, np.ndarray) and values.dtype == list_files.STRINGS:
        texts = values
    else:
        texts = list_files.strings(str(value).replace("\\", "/") if name == "path" else str(value) for value in values)
    if name in list_files.REQUIRED and (texts == "").any():
        raise ValueError(f"column {name!r}: row {int((texts == '').argmax()) + 1} is empty")
    return texts


def _as_landmarks(landmarks: ArrayLike, num_rows: int) -> NDArray[np.float32]:
    points = np.asarray(landmarks, np.float32)
    if points.shape not in ((num_rows, 5, 2), (num_rows, 68, 2)):
        raise ValueError(f"landmarks have shape {points.shape}; expected ({num_rows}, 5 or 68, 2)")
    absent = np.isnan(points)
    bad = (absent.any((1, 2)) & ~absent.all((1, 2))) | np.isinf(points).any((1, 2))
    if bad.any():
        raise ValueError(f"landmarks of row {int(bad.argmax()) + 1} are infinite or there in part; NaN must fill a row")
    return points
