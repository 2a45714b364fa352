"""Celebrities in Frontal-Profile (CFP): 500 people, ten frontal and four profile pictures each.

    ROOT/
      Data/Images/001/frontal/01.jpg ... 10.jpg     Data/Images/001/profile/01.jpg ... 04.jpg
      Data/Fiducials/001/frontal/01.txt             30 lines `x,y`
      Protocol/Pair_list_F.txt  Pair_list_P.txt     lines `number ../Data/Images/001/frontal/01.jpg`
      Protocol/Split/{FF,FP}/01 ... 10/{same,diff}.txt    lines `i,j`: numbers of the pair lists, F,F or F,P

Published: layout and protocols (Sengupta et al. 2016). Inferred from the pictures: the order of the fiducials
(`fiducials`). They mark one half of a face, so five points cannot be had from them: the second eye and corner of the
mouth would have to be guessed, which docs/data/visible_sets.md measures; the list therefore has no landmarks.
Profile pictures have the domain `profile`.
"""

import posixpath
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facebridge.data import data_set, own_protocols
from facebridge.data.data_set import ByStem, Count, Imported, Protocol, require
from facebridge.data.face_list import FaceList
from facebridge.data.own_protocols import Pair
from facebridge.evaluation.protocol import PairProtocol

TITLE = "CFP (Celebrities in Frontal-Profile)"
PROTOCOLS = {"ff": ("FF", "F", "F"), "fp": ("FP", "F", "P")}
DOMAINS = {"frontal": "vis", "profile": "profile"}
NUM_FIDUCIALS = 30
_LAYOUT = "Data/Images/001/frontal/01.jpg and, for the protocols, Protocol/Pair_list_F.txt and Protocol/Split"


def read(root: Path) -> Imported:
    """CFP's pictures, and the protocols frontal-frontal (ff) and frontal-profile (fp) in ten folds.

    Pairs of pictures that are not there are left out and noted.

    Raises:
        WrongRoot: if the folder has no Data/Images.
        ValueError: if a list cannot be read.
    """
    require(root, TITLE, _LAYOUT, (root / "Data" / "Images").is_dir())
    paths = [path for path in data_set.pictures(root, "Data/Images") if _is_face(path)]
    require(root, TITLE, _LAYOUT, bool(paths))
    words = [path.split("/") for path in paths]
    faces = FaceList(
        root,
        {"path": paths, "identity": [part[2] for part in words], "domain": [DOMAINS[part[3]] for part in words]},
    )
    known, notes, protocols = ByStem(paths), list[str](), dict[str, Protocol]()
    for name, parts in PROTOCOLS.items():
        listed, found = _listed(root / "Protocol", *parts)
        notes += found
        if listed is not None:
            kept, found = own_protocols.present(listed, known, f"Protocol/Split/{parts[0]}")
            protocols |= {} if kept is None else {name: kept}
            notes += found
    return Imported(faces, protocols, notes=list(dict.fromkeys(notes)))


def counts(faces: FaceList, protocols: Mapping[str, Protocol]) -> list[Count]:
    """The published numbers of pictures, people, pairs and folds."""
    known = [Count("pictures", 7_000, len(faces)), Count("people", 500, len(set(faces.column("identity").tolist())))]
    for name in PROTOCOLS:
        protocol = protocols.get(name)
        if isinstance(protocol, PairProtocol):
            known.append(Count(f"pairs of {name}", 7_000, len(protocol)))
            known.append(Count(f"folds of {name}", 10, protocol.num_folds))
    return known


def fiducials(path: Path) -> NDArray[np.float32]:
    """The 30 points of one file of Data/Fiducials: (30, 2) pixels as they stand there (whether from 0 or 1 is unknown).

    Of the half of the face that is seen (in frontal pictures always the person's right, at the left of the picture):
    0-8 jaw, from beside the eye to the chin; 9-11 brow, outer end first; 12-17 outline of the eye: outer corner, upper
    lid, inner corner, lower lid (16 is nearer the inner corner in frontal pictures, 17 in profiles); 18-21 bridge of
    the nose, down to its tip; 22-24 base of the nose, middle first; 25 corner of the mouth; 26-29 middle of the lips:
    upper and lower edge of the upper lip, then lower and upper edge of the lower lip.
    ValueError: if the file does not hold 30 points.
    """
    rows = list(data_set.lines(path))
    try:
        points = np.array([[float(word) for word in line.split(",")] for _, line in rows], np.float32)
    except ValueError as error:
        raise ValueError(f"{path}: expected lines `x,y` ({error})") from error
    if points.shape != (NUM_FIDUCIALS, 2):
        raise ValueError(f"{path}: expected {NUM_FIDUCIALS} lines `x,y`, got {len(rows)} lines")
    return points


def _is_face(path: str) -> bool:
    parts = path.split("/")
    return len(parts) == 5 and parts[3] in DOMAINS


def _listed(folder: Path, split: str, first: str, second: str) -> tuple[PairProtocol | None, list[str]]:
    """One protocol as its files list it, and notes of numbers that a pair list does not have."""
    lists = [folder / f"Pair_list_{kind}.txt" for kind in (first, second)]
    folds = sorted(
        path for path in (folder / "Split" / split).glob("[0-9]*") if path.is_dir() and path.name.isdecimal()
    )
    if not folds or not all(path.is_file() for path in lists):
        return None, [f"no protocol {split}: Protocol/Split/{split} or a Pair_list is not there"]
    numbered = [_pair_list(path) for path in lists]
    rows: list[Pair] = []
    unknown = 0
    for fold in folds:
        for kind in ("same", "diff"):
            found, strange = _split_file(fold / f"{kind}.txt", kind == "same", int(fold.name), *numbered)
            rows += found
            unknown += strange
    strange_pairs = data_set.counted(unknown, "pair has a number", "pairs have numbers")
    notes = [f"Protocol/Split/{split}: {strange_pairs} that the pair lists do not have"] if unknown else []
    return own_protocols.pairs(rows), notes


def _pair_list(path: Path) -> dict[str, str]:
    """Number -> picture, relative to the data set's folder."""
    numbered: dict[str, str] = {}
    for number, line in data_set.lines(path):
        words = line.split(maxsplit=1)
        picture = posixpath.normpath(posixpath.join("Protocol", words[-1]))
        if len(words) != 2 or not words[0].isdecimal() or not _is_face(picture):
            raise ValueError(f"{path}:{number}: expected `number ../Data/Images/001/frontal/01.jpg`, got {line!r}")
        if numbered.setdefault(words[0], picture) != picture:
            raise ValueError(f"{path}:{number}: {words[0]} is {picture}, but was {numbered[words[0]]} further up")
    return numbered


def _split_file(
    path: Path, genuine: bool, fold: int, first: Mapping[str, str], second: Mapping[str, str]
) -> tuple[list[Pair], int]:
    """The pairs of a file, and how many have a number that is in no pair list."""
    rows: list[Pair] = []
    unknown = 0
    for number, line in data_set.lines(path):
        words = [word.strip() for word in line.split(",")]
        if len(words) != 2 or not all(word.isdecimal() for word in words):
            raise ValueError(f"{path}:{number}: expected `i,j`, numbers of the pair lists; got {line!r}")
        one, other = first.get(words[0]), second.get(words[1])
        if one is None or other is None:
            unknown += 1
            continue
        identities = one.split("/")[2], other.split("/")[2]
        if (identities[0] == identities[1]) != genuine:
            raise ValueError(f"{path}:{number}: {one} and {other} are {'not ' * genuine}of one person")
        rows.append((one, other, genuine, fold, *identities))
    return rows, unknown
