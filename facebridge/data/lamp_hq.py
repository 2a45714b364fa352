"""LAMP-HQ: near-infrared and visible pictures of 573 people in many poses, lights and scenes; ten folds.

    NIR/NIR_FP0001_1_DOWN_a.jpg    camera, person, scene, light, ...
    VIS/VIS_FP0001_1_a.jpg
    Protocols/train/train_nir1.txt, train_vis1.txt     or Protocol/; folds 1 to 10
    Protocols/test/gallery_vis1.txt, probe_nir1.txt    lines `VIS/VIS_FP0001_1_a.jpg FP0001`

Published: Yu, Wu, Huang, Lei, He, "LAMP-HQ: A Large-Scale Multi-pose High-Quality Database and Benchmark for NIR-VIS
Face Recognition", IJCV 2021: 56,788 near-infrared and 16,828 visible pictures; the gallery holds one picture a person.
Gallery (273) and probes (27,263) of fold 1 were counted in the copy of its lists published with PR-HFR.
Inferred: where the lists lie, from public code that reads them. Some copies are said to have a header line.
Ours: a first line that names no picture is a header. Camera and person are those of the picture's name; a label that
names another person is an error, a number as label is not used. The other parts of the name are left alone.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from facebridge.data.data_set import Count, Imported, Protocol, lines, pictures, require
from facebridge.data.face_list import FaceList
from facebridge.data.list_files import PICTURE_SUFFIXES
from facebridge.data.splits import (
    Protocols,
    as_face_list,
    home,
    known_counts,
    named_note,
    num_people,
    subfolder,
)

TITLE = "LAMP-HQ"

_NAME = re.compile(r"(?P<domain>NIR|VIS)_(?P<person>[A-Z]+\d+)_.+", re.IGNORECASE)
_LISTS = {
    "train/train_nir": "train",
    "train/train_vis": "train",
    "test/gallery_vis": "gallery",
    "test/probe_nir": "probe",
}
_FOLDS = range(1, 11)
_PICTURES = {"nir": 56788, "vis": 16828}


def read(root: Path) -> Imported:
    """Read the pictures, and the folds fold_01 to fold_10.

    Args:
        root: the folder of NIR, VIS and Protocols, or the folder that holds it.

    Raises:
        WrongRoot: if there are no lists or no pictures.
        ValueError: if a line of a list names no picture of the camera that the list is of, or its label another person.
    """
    folder = home(root, lambda place: _lists_of(place).is_dir())
    lists = _lists_of(folder)
    rows, others = _rows(folder)
    has_lists = any((lists / f"test/probe_nir{fold}.txt").is_file() for fold in _FOLDS)
    expected = "NIR/NIR_FP0001_1_DOWN_a.jpg and Protocols/test/probe_nir1.txt in it or in its only such subfolder"
    require(root, TITLE, expected, has_lists, bool(rows))
    protocols = Protocols(as_face_list(folder, rows))
    without = [f"fold_{fold:02}" for fold in _FOLDS if not _add_fold(protocols, lists, fold)]
    protocols.notes += named_note(f"no lists in {lists} for", without, "protocol", "protocols")
    left_out = named_note("not named NIR_PERSON_... or VIS_PERSON_..., and left out:", others)
    return Imported(protocols.faces, protocols.found, notes=[*left_out, *protocols.notes])


def counts(faces: FaceList, protocols: Mapping[str, Protocol]) -> list[Count]:
    """People and pictures of the set; gallery, probes and training people of fold 1."""
    found = [Count("people", 573, num_people(faces))]
    found += [
        Count(f"pictures, {domain}", known, len(faces.where(domain=domain))) for domain, known in _PICTURES.items()
    ]
    found += known_counts(protocols, "fold_01", gallery=273, probe=27263)
    first = protocols.get("fold_01")
    if isinstance(first, FaceList):
        found.append(Count("fold_01: training people", 300, num_people(first.where(split="train"))))
    return found


def _lists_of(folder: Path) -> Path:
    either = subfolder(folder, "Protocols")
    return either if either.is_dir() else subfolder(folder, "Protocol")


def _rows(folder: Path) -> tuple[list[dict[str, str]], list[str]]:
    """A row for every picture named as in the layout, and the other pictures."""
    rows, others = [], []
    for path in pictures(folder):
        parts = _NAME.fullmatch(path.rsplit("/", 1)[-1])
        if parts is None:
            others.append(path)
        else:
            rows.append({"path": path, "identity": parts["person"].upper(), "domain": parts["domain"].lower()})
    return rows, others


def _add_fold(protocols: Protocols, lists: Path, fold: int) -> bool:
    """Add a protocol from its lists; whether any of them is there."""
    files = {lists / f"{kind}{fold}.txt": split for kind, split in _LISTS.items()}
    return protocols.add_files(f"fold_{fold:02}", files, _listed)


def _listed(file: Path) -> list[str]:
    """Paths of a list. The list's name says the camera that all of its pictures are of."""
    domain = "nir" if "nir" in file.name else "vis"
    paths = []
    for number, text in lines(file):
        words = text.split()
        parts = _NAME.fullmatch(words[0].rsplit("/", 1)[-1])
        if number == 1 and os.path.splitext(words[0])[1].lower() not in PICTURE_SUFFIXES:
            continue
        if parts is None or parts["domain"].lower() != domain or len(words) > 2:
            example = f"{domain.upper()}/{domain.upper()}_FP0001_1_..._a.jpg FP0001"
            raise ValueError(f"{file}: line {number}: expected a line like `{example}`, got {text!r}")
        if len(words) == 2 and not words[1].isdecimal() and words[1].upper() != parts["person"].upper():
            raise ValueError(f"{file}: line {number}: the picture is of {parts['person']}, the label says {words[1]!r}")
        paths.append(words[0])
    return paths
