"""BUAA-VisNir: 150 people in nine poses and expressions and four lights, near-infrared and visible at the same moment.

    12/1.bmp, 12/2.bmp, ...    person / picture

Published: Huang, Sun, Wang, "The BUAA-VisNir Face Database Instructions", IRIP-TR-12-FR-001, 2012. The protocol of the
NIR-VIS papers trains on 50 people and tests on 100. Its test was published with PR-HFR (Miao et al., NeurIPS 2022):
the gallery is picture 1 of each of the 100 people below, the probes are pictures 2, 4, ... 18 and 22, 24, 26, 28 of
them. These are 1,284 and not 100 x 13 = 1,300, because people 2, 4, 5 and 10 have no pictures 12, 14, 16 and 18.
Inferred: those thirteen numbers are the near-infrared pictures and all others visible ones. The set is described as 13
pairs and 14 further visible pictures a person, which makes pictures 1 to 40, and copies of it are counted as 5,952
pictures: 150 x 40 less 8 of six people. So an even number is near-infrared only among the thirteen.
Inferred: the training people are the 50 who are not tested.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from facebridge.data.data_set import Count, Imported, Protocol, absent_note, pictures, require
from facebridge.data.face_list import FaceList
from facebridge.data.splits import Protocols, as_face_list, home, known_counts, named_note, num_people

TITLE = "BUAA-VisNir"
NIR_NUMBERS = (*range(2, 19, 2), 22, 24, 26, 28)
GALLERY_NUMBER = 1
PROTOCOL = "test_100"
TEST_PEOPLE = frozenset(
    [2, 3, 4, 5, 7, 10, 11, 13, 15, 16, 17, 21, 25, 26, 27, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 41, 42, 43, 44, 45]
    + [46, 47, 48, 50, 51, 52, 53, 54, 55, 58, 59, 60, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70, 72, 73, 77, 78, 80, 81]
    + [82, 85, 86, 87, 88, 89, 95, 96, 97, 98, 99, 100, 101, 103, 104, 106, 108, 109, 112, 113, 114, 116, 119, 122]
    + [124, 125, 126, 129, 131, 132, 133, 134, 138, 139, 141, 143, 144, 145, 146, 147, 148, 149]
)

_PATH = re.compile(r"(?P<person>\d{1,4})/(?P<number>\d{1,4})\.[^/.]+")


def read(root: Path) -> Imported:
    """Read the pictures, and the protocol test_100.

    Args:
        root: the folder of the people's folders, or the folder that holds it.

    Raises:
        WrongRoot: if there are no such pictures.
    """
    folder = home(root, _holds_people)
    rows, others = _rows(folder)
    require(root, TITLE, "PERSON/NUMBER.bmp, such as 12/1.bmp, in it or in its only such subfolder", bool(rows))
    protocols = Protocols(as_face_list(folder, rows))
    protocols.add_rule(PROTOCOL, [_split(path) for path in protocols.faces.column("path").tolist()])
    tested = [row["path"] for row in rows if _numbers(row["path"])[0] in TEST_PEOPLE]
    left_out = named_note("not PERSON/NUMBER, and left out:", others)
    notes = [*left_out, *_absent(tested), *protocols.notes]
    return Imported(protocols.faces, protocols.found, notes=notes)


def counts(faces: FaceList, protocols: Mapping[str, Protocol]) -> list[Count]:
    """People of the set, people of the training, gallery and probes."""
    found = [Count("people", 150, num_people(faces)), *known_counts(protocols, PROTOCOL, gallery=100, probe=1284)]
    protocol = protocols.get(PROTOCOL)
    if isinstance(protocol, FaceList):
        found.append(Count(f"{PROTOCOL}: training people", 50, num_people(protocol.where(split="train"))))
    return found


def _rows(folder: Path) -> tuple[list[dict[str, str]], list[str]]:
    """A row for every picture of the layout, and the pictures that lie elsewhere."""
    rows, others = [], []
    for path in pictures(folder):
        if _PATH.fullmatch(path) is None:
            others.append(path)
        else:
            person, number = _numbers(path)
            rows.append({"path": path, "identity": str(person), "domain": "nir" if number in NIR_NUMBERS else "vis"})
    return rows, others


def _holds_people(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    people = [entry for entry in folder.iterdir() if entry.is_dir() and entry.name.isdecimal()]
    return any(_PATH.fullmatch(f"{person.name}/{file.name}") for person in people for file in person.iterdir())


def _numbers(path: str) -> tuple[int, int]:
    """Person and picture of a path of the layout."""
    parts = _PATH.fullmatch(path)
    assert parts is not None, path
    return int(parts["person"]), int(parts["number"])


def _split(path: str) -> str:
    person, number = _numbers(path)
    if person not in TEST_PEOPLE:
        return "train"
    if number == GALLERY_NUMBER:
        return "gallery"
    return "probe" if number in NIR_NUMBERS else ""


def _absent(paths: list[str]) -> list[str]:
    """A note of those pictures of the test that are not there."""
    there = {_numbers(path) for path in paths}
    wanted = [(person, number) for person in sorted(TEST_PEOPLE) for number in (GALLERY_NUMBER, *NIR_NUMBERS)]
    return absent_note(
        f"protocol {PROTOCOL}", [f"{person}/{number}.bmp" for person, number in wanted if (person, number) not in there]
    )
