"""Tufts Face Database: thermal, visible and near-infrared pictures of 113 people, paired by expression.

    TD_IR_E_Set1/7/TD_IR_E_1.jpg       expressions: camera, set / person / picture 1 to 5; IR is thermal
    TD_RGB_E_Set1/7/TD_RGB_E_1.jpg     the same expressions in visible light
    TD_IR_A_Set1/7/TD_IR_A_4.jpg       around: nine places of the camera; TD_RGB_A_1_0.jpg, TD_NIR_A_... too
    (in any folders, as the archives unpack; TD_CS, TD_3D, TD_LYT and TD_VIDEO are left out)

Published: Panetta et al., "A Comprehensive Database for Benchmarking Imaging Systems", TPAMI 2020. DVG-Face counts
1,583 thermal-visible pairs of 112 people and trains on 90 of them; its lists were not published.
Inferred, from public code that reads the set: the layout, and that the number of an _E picture means the same
expression in every camera (EXPRESSIONS). The pictures of two cameras are not pixel-aligned, so there is no column
`pair`; and how the numbers of the _A pictures of two cameras belong together is not known.
Ours: the protocol thermal_vis. Of the people with thermal and visible pictures, 90 are drawn by the seed for training;
of the others the first visible picture (of _E, where there is one) is the gallery and every thermal one a probe.
Detectors made for visible faces find few thermal ones: DVG-Face's authors marked the points by hand.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from facebridge.data.data_set import Count, Imported, Protocol, counted, pictures, require
from facebridge.data.face_list import FaceList
from facebridge.data.splits import Protocols, as_face_list, named_note

TITLE = "Tufts Face Database"
PROTOCOL = "thermal_vis"
EXPRESSIONS = {"1": "neutral", "2": "smile", "3": "eyes_closed", "4": "shocked", "5": "sunglasses"}

_DOMAINS = {"ir": "thermal", "rgb": "vis", "nir": "nir"}
_PATH = re.compile(
    r"(?:.*/)?(?P<person>\d+)/TD_(?P<camera>IR|RGB|NIR)_(?P<kind>[AE])_(?P<number>\d+)(?:_\d+)?\.[^./]+", re.IGNORECASE
)
_OTHER_MODALITY = re.compile(r"(?:^|/)TD_(?:CS|3D|LYT|VIDEO)[^/]*/", re.IGNORECASE)


def read(root: Path, *, num_train: int = 90, seed: int = 0) -> Imported:
    """Read the thermal, visible and near-infrared pictures, and the protocol thermal_vis.

    Args:
        root: the folder into which the archives TD_IR_E_Set1.zip, TD_RGB_E_Set1.zip ... were unpacked.
        num_train: people of the training.
        seed: of the people drawn for training.

    Raises:
        WrongRoot: if there are no thermal or no visible pictures.
        ValueError: if num_train is below 0.
    """
    if num_train < 0:
        raise ValueError(f"num_train is {num_train}; expected a number of people from 0")
    rows, others, twice = _rows(root)
    found = {row["domain"] for row in rows}
    expected = "TD_IR_E_Set1/PERSON/TD_IR_E_1.jpg and TD_RGB_E_Set1/PERSON/TD_RGB_E_1.jpg in it or below it"
    require(root, TITLE, expected, "thermal" in found, "vis" in found)
    protocols = Protocols(as_face_list(root, rows))
    both = _in_both(protocols.faces)
    if len(both) > num_train:
        order = np.random.default_rng(seed).permutation(len(both)).tolist()
        protocols.add_rule(PROTOCOL, _splits(protocols.faces, {both[index] for index in order[num_train:]}))
    else:
        people = counted(len(both), "person has", "people have")
        words = f"only {people} thermal and visible pictures, and num_train is {num_train}"
        protocols.notes.append(f"protocol {PROTOCOL} is left out: {words}")
    notes = [
        *named_note("of another kind, and left out:", others),
        *named_note("of the same person and name as another one, and left out:", twice),
    ]
    return Imported(protocols.faces, protocols.found, notes=[*notes, *protocols.notes])


def counts(faces: FaceList, protocols: Mapping[str, Protocol]) -> list[Count]:
    """People with thermal and visible pictures, as DVG-Face counts them."""
    return [Count("people with thermal and visible pictures", 112, len(_in_both(faces)))]


def _rows(root: Path) -> tuple[list[dict[str, str]], list[str], list[str]]:
    """A row for every picture of the layout, the pictures of other kinds, and second copies of one picture."""
    rows, others, twice = [], [], []
    seen = set()
    for path in pictures(root):
        parts = _PATH.fullmatch(path)
        if parts is None or _OTHER_MODALITY.search(path):
            others.append(path)
            continue
        person, name = str(int(parts["person"])), path.rsplit("/", 1)[1].lower()
        if (person, name) in seen:
            twice.append(path)
            continue
        seen.add((person, name))
        expression = EXPRESSIONS.get(parts["number"], "") if parts["kind"].upper() == "E" else ""
        domain = _DOMAINS[parts["camera"].lower()]
        rows.append({"path": path, "identity": person, "domain": domain, "expression": expression})
    return rows, others, twice


def _in_both(faces: FaceList) -> list[str]:
    """People with thermal and visible pictures, sorted as numbers."""
    people = (set(faces.where(domain=domain).column("identity").tolist()) for domain in ("thermal", "vis"))
    return sorted(set.intersection(*people), key=int)


def _splits(faces: FaceList, tested: set[str]) -> list[str]:
    columns = [faces.column(name).tolist() for name in ("path", "identity", "domain")]
    visible: dict[str, list[tuple[bool, int, str]]] = defaultdict(list)
    for path, person, domain in zip(*columns, strict=True):
        parts = _PATH.fullmatch(path)
        if domain == "vis" and parts is not None:
            visible[person].append((parts["kind"].upper() != "E", int(parts["number"]), path))
    enrolled = {min(of_person)[-1] for of_person in visible.values()}

    def split(path: str, person: str, domain: str) -> str:
        if person not in tested:
            return "train"
        if domain == "thermal":
            return "probe"
        return "gallery" if path in enrolled else ""

    return [split(*row) for row in zip(*columns, strict=True)]
