"""Helen: 2,330 photographs with 194 points on the outlines of the face's parts.

    ROOT/
      train_1/ ... train_4/  test/      pictures, 100032540_1.jpg
      list_annos_trn.txt                header; then `train_1/100032540_1.jpg` and 388 numbers, between tabs
      list_annos_tst.txt                the same for test/
      annotation/1.txt ...              of the original archive: the picture's name, then 194 lines `x , y`; read where
                                        the lists are absent

Published: pictures and points (Le et al. 2012); the two lists are those of a port of FSRNet. What the points mean is in
`helen_parts`, which also draws maps from them. The column `points194` says where a picture's points stand
(list_annos_trn.txt#train_1/100032540_1.jpg, or annotation/1.txt); `annotated_points` reads them. Ours: the five points
of the face list, and the protocol "fidelity", since Helen names nobody: every picture is a person of its own.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from facebridge.data import data_set, helen_parts, list_files, own_protocols, point_lists
from facebridge.data.data_set import ByStem, Count, Imported, Protocol, require
from facebridge.data.face_list import FaceList
from facebridge.data.point_lists import Points

TITLE = "Helen"
LISTS = {"train": "list_annos_trn.txt", "test": "list_annos_tst.txt"}
ANNOTATIONS = "annotation"
COLUMN = "points194"
"""Of the face list: where the 194 points of a picture stand."""
_LAYOUT = f"{' and '.join(LISTS.values())}, or a folder {ANNOTATIONS}, beside train_1 ... train_4 and test"


def read(root: Path) -> Imported:
    """Helen's pictures with five points each; the protocol "fidelity" of the test pictures.

    Raises:
        WrongRoot: if there are no lists of points, or no pictures.
        ValueError: if a list cannot be read.
    """
    annotations = _annotations(root)
    annotated = {path: found for path, (_, found) in annotations.items()}
    known = ByStem(data_set.pictures(root))
    own = {path: found for path in annotated if (found := known.find(path)) is not None}
    listed = list(own.values())
    require(root, TITLE, f"the pictures that its points are for, such as {next(iter(annotated), '')}", bool(listed))
    columns = {
        "path": listed,
        "identity": [Path(path).stem for path in listed],
        "domain": ["vis"] * len(listed),
        "split": ["test" if path.startswith("test/") else "train" for path in listed],
        COLUMN: [annotations[path][0] for path in own],
    }
    faces = FaceList(root, columns, np.stack([helen_parts.five_points(annotated[path]) for path in own]))
    protocols, notes = own_protocols.fidelity_of(fidelity=faces.where(split="test"))
    absent = sorted(annotated.keys() - own.keys())
    return Imported(faces, protocols, notes=[*data_set.absent_note("the list of points", absent), *notes])


def counts(faces: FaceList, protocols: Mapping[str, Protocol]) -> list[Count]:
    """The published numbers of pictures."""
    return [
        Count("training pictures", 2_000, len(faces.where(split="train"))),
        Count("test pictures", 330, len(faces.where(split="test"))),
    ]


def points(root: Path) -> dict[str, Points]:
    """The 194 points of every picture, there or not: path -> (194, 2) pixels, as annotated.

    Raises:
        WrongRoot: if there are neither lists nor a folder of annotations.
        ValueError: if one cannot be read.
    """
    return {path: found for path, (_, found) in _annotations(root).items()}


def annotated_points(root: Path, place: str) -> Points:
    """The 194 points (194, 2), pixels of the picture, that stand where a cell of the column `points194` says.

    Raises:
        ValueError: if the cell leads out of root, there are no points there, or they cannot be read.
    """
    name, _, picture = list_files.relative_path(place, allow_outside=False).partition("#")
    file = root / name
    if not file.is_file():
        raise ValueError(
            f"{file}: no such file; the points of Helen's pictures lie beside them, not beside aligned ones"
        )
    if not picture:
        return _of_file(file)[1]
    table = _table(file)
    if picture not in table:
        raise ValueError(f"{file}: no points of {picture}")
    return table[picture]


def _annotations(root: Path) -> dict[str, tuple[str, Points]]:
    """Path -> where its points stand, as in the column `points194`, and the points."""
    lists = [root / name for name in LISTS.values() if (root / name).is_file()]
    require(root, TITLE, _LAYOUT, bool(lists) or (root / ANNOTATIONS).is_dir())
    if not lists:
        return _original(root)
    tables = {file.name: point_lists.read_table(file, helen_parts.NUM_POINTS) for file in lists}
    return {path: (f"{name}#{path}", found) for name, table in tables.items() for path, found in table.items()}


def _original(root: Path) -> dict[str, tuple[str, Points]]:
    """The points of the original archive, whose files name their picture without folder and ending."""
    by_name = {Path(path).stem: path for path in data_set.pictures(root)}
    annotated = {}
    for file in sorted((root / ANNOTATIONS).glob("*.txt")):
        name, found = _of_file(file)
        annotated[by_name.get(name, name)] = (f"{ANNOTATIONS}/{file.name}", found)
    return annotated


def _of_file(file: Path) -> tuple[str, Points]:
    """The picture's name, and the points, of a file of the original archive."""
    (_, name), *rows = data_set.lines(file)
    try:
        found = np.array([line.split(",") for _, line in rows], np.float32)
    except ValueError as error:
        raise ValueError(f"{file}: expected lines `x , y` below the picture's name ({error})") from error
    if found.shape != (helen_parts.NUM_POINTS, 2) or not np.isfinite(found).all():
        raise ValueError(f"{file}: expected {helen_parts.NUM_POINTS} points of finite numbers, got {len(rows)} lines")
    return name, found


@lru_cache(maxsize=4)
def _table(file: Path) -> dict[str, Points]:
    """A list of points, read once for all its pictures."""
    return point_lists.read_table(file, helen_parts.NUM_POINTS)
