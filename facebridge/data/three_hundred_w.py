"""300-W: four sets of photographs with 68 points, and the common, challenging and full test sets.

    ROOT/
      afw/  helen/trainset/  lfpw/trainset/      training: pictures and, beside each, its points, NAME.pts
      helen/testset/  lfpw/testset/              the common test set
      ibug/                                      the challenging one; both together are the full one

Published: folders, .pts files (they count from 1; the face list counts from 0) and test sets (Sagonas et al. 2013).
Folders may lie deeper and be written in capitals. Ours: the pairs of the protocols, which compare each picture with
itself and the next one, since nobody is named: every picture is a person of its own.
"""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from facebridge.data import data_set, own_protocols, point_lists
from facebridge.data.data_set import Count, Imported, Protocol, require
from facebridge.data.face_list import FaceList

TITLE = "300-W"
SUBSETS = ("afw", "helen", "ibug", "lfpw")
TEST_SETS = {"common": ("helen", "lfpw"), "challenging": ("ibug",), "full": ("helen", "ibug", "lfpw")}
PUBLISHED_PICTURES = {"training": 3_148, "common": 554, "challenging": 135, "full": 689}
_LAYOUT = "folders afw, helen, ibug or lfpw with pictures and their .pts files"


def read(root: Path) -> Imported:
    """The pictures that have points, 68 each; the protocols common, challenging and full.

    Raises:
        WrongRoot: if there are no such folders.
        ValueError: if a file of points cannot be read.
    """
    require(root, TITLE, _LAYOUT)
    pictures = [path for path in data_set.pictures(root) if _subset(path)]
    require(root, TITLE, _LAYOUT, bool(pictures))
    paths = [path for path in pictures if _points_file(root, path).is_file()]
    require(root, TITLE, f"a .pts file beside each picture, such as {_points_file(root, pictures[0])}", bool(paths))
    columns = {
        "path": paths,
        "identity": [PurePosixPath(path).with_suffix("").as_posix() for path in paths],
        "domain": ["vis"] * len(paths),
        "split": [_split(path) for path in paths],
        "subset": [_subset(path) for path in paths],
    }
    faces = FaceList(root, columns, np.stack([point_lists.read_pts(_points_file(root, path)) for path in paths]))
    bare = len(pictures) - len(paths)
    protocols, notes = own_protocols.fidelity_of(
        **{name: faces.where(split="test", subset=subsets) for name, subsets in TEST_SETS.items()}
    )
    notes += [f"left out without a .pts file: {data_set.counted(bare, 'picture')}"] if bare else []
    return Imported(faces, protocols, notes=notes)


def counts(faces: FaceList, protocols: Mapping[str, Protocol]) -> list[Count]:
    """The published numbers of pictures of the training and of each test set."""
    found = {name: len(faces.where(split="test", subset=subsets)) for name, subsets in TEST_SETS.items()}
    found["training"] = len(faces.where(split="train"))
    return [Count(f"{name} pictures", expected, found[name]) for name, expected in PUBLISHED_PICTURES.items()]


def _folders(path: str) -> list[str]:
    return [part.lower() for part in path.split("/")[:-1]]


def _subset(path: str) -> str:
    return next((part for part in _folders(path) if part in SUBSETS), "")


def _split(path: str) -> str:
    return "test" if _subset(path) == "ibug" or {"testset", "test"} & set(_folders(path)) else "train"


def _points_file(root: Path, path: str) -> Path:
    return data_set.beside(root / path, ".pts")
