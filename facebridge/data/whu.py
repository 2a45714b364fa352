"""WHU VIS-NIR: pairs of near-infrared and visible pictures; read as any paired folder is.

    VIS/ann/1.png, NIR/ann/1.png    camera / person / picture; the same picture in both cameras is a pair

Published: Wang et al., "Facial Feature Embedded CycleGAN for VIS-NIR Translation": two cameras side by side, 80 people
with 20 selected pairs each, 70 of them for training and 10 (200 + 200 pictures) for the test. The pictures are not
given out, and neither the layout nor who is tested was published.
Ours: the layout, which serves for any folder of pairs, and two protocols of the people with pictures of both cameras.
half: half of them, drawn by the seed, are training; of the others the first visible picture is the gallery, and every
near-infrared one a probe. train_70, where there are more than 70: as many, drawn in the same order, are training, and
of the others every visible picture is gallery. People with pictures of one camera alone are training in both.
The two cameras stand side by side, so the pictures of a pair are alike but not equal to the pixel.
"""

import os
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from facebridge.data.data_set import Count, Imported, Protocol, pictures, require
from facebridge.data.face_list import FaceList
from facebridge.data.splits import Protocols, as_face_list, home, known_counts, named_note, subfolder

TITLE = "WHU VIS-NIR (or any paired folder)"
NUM_TRAIN = 70

_DOMAINS = ("nir", "vis")
_PATH = re.compile(r"(?P<domain>nir|vis)/(?P<person>[^/]+)/(?P<picture>.+)", re.IGNORECASE)


def read(root: Path, *, seed: int = 0) -> Imported:
    """Read the pictures, with the column `pair` for those of both cameras, and the protocols half and train_70.

    Args:
        root: the folder of VIS and NIR, or the folder that holds it.
        seed: of the people drawn for training.

    Raises:
        WrongRoot: if there are no pictures of both cameras.
    """
    folder = home(root, lambda place: all(subfolder(place, domain).is_dir() for domain in _DOMAINS))
    rows, others = _rows(folder)
    domains_of: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        domains_of[row["identity"]].add(row["domain"])
    expected = "VIS/PERSON/PICTURE and NIR/PERSON/PICTURE in it or in its only such subfolder"
    require(root, TITLE, expected, {row["domain"] for row in rows} == set(_DOMAINS))
    both = sorted(person for person, domains in domains_of.items() if len(domains) == len(_DOMAINS))
    drawn = [both[index] for index in np.random.default_rng(seed).permutation(len(both)).tolist()]
    protocols = Protocols(as_face_list(folder, rows))
    protocols.add_rule("half", _splits(protocols.faces, set(drawn[len(both) // 2 :]), one_a_person=True))
    if len(both) > NUM_TRAIN:
        protocols.add_rule("train_70", _splits(protocols.faces, set(drawn[NUM_TRAIN:]), one_a_person=False))
    notes = [
        *named_note("not in VIS/PERSON or NIR/PERSON, and left out:", others),
        *named_note("without one partner in the other camera, so in no pair:", _alone(rows)),
    ]
    return Imported(protocols.faces, protocols.found, notes=[*notes, *protocols.notes])


def counts(faces: FaceList, protocols: Mapping[str, Protocol]) -> list[Count]:
    """Training, gallery and probes of train_70, as published for the pictures that the authors selected."""
    return known_counts(protocols, "train_70", people=False, train=2800, gallery=200, probe=200)


def _rows(folder: Path) -> tuple[list[dict[str, str]], list[str]]:
    """A row for every picture of the layout, with its pair where both cameras have one picture, and the others."""
    rows, others = [], []
    cameras: dict[str, list[str]] = defaultdict(list)
    for path in pictures(folder):
        parts = _PATH.fullmatch(path)
        if parts is None:
            others.append(path)
        else:
            shot, domain = f"{parts['person']}/{os.path.splitext(parts['picture'])[0]}", parts["domain"].lower()
            cameras[shot].append(domain)
            rows.append({"path": path, "identity": parts["person"], "domain": domain, "pair": shot})
    for row in rows:
        row["pair"] *= sorted(cameras[row["pair"]]) == list(_DOMAINS)
    return rows, others


def _alone(rows: list[dict[str, str]]) -> list[str]:
    return [row["path"] for row in rows if not row["pair"]]


def _splits(faces: FaceList, tested: set[str], one_a_person: bool) -> list[str]:
    paths, people, domains = (faces.column(name).tolist() for name in ("path", "identity", "domain"))
    enrolled: dict[str, str] = {}
    for path, person, domain in zip(paths, people, domains, strict=True):
        if domain == "vis":
            enrolled[person] = min(enrolled.get(person, path), path, key=_as_numbers)

    def split(path: str, person: str, domain: str) -> str:
        if person not in tested:
            return "train"
        if domain == "nir":
            return "probe"
        return "gallery" if not one_a_person or enrolled[person] == path else ""

    return [split(*row) for row in zip(paths, people, domains, strict=True)]


def _as_numbers(path: str) -> list[tuple[int, str]]:
    """What sorts 2.png before 10.png."""
    return [(int(word), "") if word.isdecimal() else (0, word) for word in re.split(r"(\d+)", path)]
