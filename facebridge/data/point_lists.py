"""Points of faces as data sets write them: tables of points by picture, and iBUG's .pts files."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facebridge.data import data_set
from facebridge.data.list_files import PICTURE_SUFFIXES

Points = NDArray[np.float32]


def read_table(path: Path, num_points: int) -> dict[str, Points]:
    """A table `picture x1 y1 x2 y2 ...`, between spaces, tabs or commas: picture -> (num_points, 2) as written.

    Lines whose first word is no picture's name are headers. ValueError: if a line has other than num_points points of
    finite numbers, or a picture has other points further up; it names file and line.
    """
    table: dict[str, Points] = {}
    for number, line in data_set.lines(path):
        name, *cells = line.replace(",", " ").split()
        if not is_picture(name):
            continue
        points = _finite(cells, num_points)
        if points is None:
            got = f"{data_set.counted(len(cells), 'word')}: {' '.join(cells[:5])}{' ...' * (len(cells) > 5)}"
            raise ValueError(f"{path}:{number}: expected {name} and {2 * num_points} numbers, all finite; got {got}")
        if not np.array_equal(table.setdefault(name, points), points):
            raise ValueError(f"{path}:{number}: {name} has other points further up")
    return table


def read_words(path: Path) -> dict[str, str]:
    """A table `picture word`, between spaces, tabs or commas; lines whose first word is no picture's name are headers.

    ValueError: if a line has another number of words, or a picture another word further up; it names file and line.
    """
    table: dict[str, str] = {}
    for number, line in data_set.lines(path):
        words = line.replace(",", " ").split()
        if not is_picture(words[0]):
            continue
        if len(words) != 2:
            raise ValueError(f"{path}:{number}: expected a picture and one word, got {line!r}")
        if table.setdefault(words[0], words[1]) != words[1]:
            raise ValueError(f"{path}:{number}: {words[0]} is {words[1]!r} here, and {table[words[0]]!r} further up")
    return table


def read_pts(path: Path, num_points: int = 68) -> Points:
    """iBUG's .pts file: `version: 1`, `n_points: N`, then N lines `x y` in braces -> (N, 2) pixels counted from 0.

    The file counts from 1. ValueError: if it is another, or has another number of points.
    """
    rows = [line for _, line in data_set.lines(path)]
    header = [line.partition(":")[2].strip() for line in rows if line.lower().startswith("n_points")]
    if header != [str(num_points)] or rows[-1] != "}" or "{" not in rows:
        raise ValueError(f"{path}: expected a .pts file with n_points: {num_points} and its points in braces")
    words = [line.split() for line in rows[rows.index("{") + 1 : -1]]
    try:
        points = np.array(words, np.float64)
    except ValueError as error:
        raise ValueError(f"{path}: expected lines `x y` in the braces ({error})") from error
    if points.shape != (num_points, 2) or not np.isfinite(points).all():
        raise ValueError(f"{path}: announces {num_points} points, has {len(words)} lines; expected `x y` on each")
    return (points - 1).astype(np.float32)


def in_order(paths: Iterable[str], by_path: Mapping[str, ArrayLike], num_points: int = 5) -> Points | None:
    """Points of each picture, (N, num_points, 2), NaN where there are none; None if there are none at all."""
    absent = np.full((num_points, 2), np.nan, np.float32)
    points = [by_path.get(path, absent) for path in paths]
    return np.array(points, np.float32).reshape(-1, num_points, 2) if by_path else None


def is_picture(name: str) -> bool:
    """Whether a name ends like that of a picture file."""
    return Path(name).suffix.lower() in PICTURE_SUFFIXES


def _finite(words: list[str], num_points: int) -> Points | None:
    """Words as points (num_points, 2); None if they are not as many finite numbers."""
    try:
        points = np.array(words, np.float32).reshape(num_points, 2)
    except ValueError:
        return None
    return points if np.isfinite(points).all() else None
