"""Oulu-CASIA NIR-VIS: six expressions of 80 people as frames of video, near-infrared and visible, in three lights.

    NI/Strong/P005/Anger/020.jpeg    camera (NI, VL) / light (Strong, Weak, Dark) / person / expression / frame

Published: Zhao, Huang, Taini, Li, Pietikainen, "Facial expression recognition from near-infrared videos", 2011. The
protocol for recognition (Shao and Fu; used by the NIR-VIS papers) takes the normal light, 20 people for training and 20
for the test, and 8 random frames of each expression: 48 pictures a person and camera. The lists of one test were
published with PR-HFR (Miao et al., NeurIPS 2022): test_{nir,vis}_paths.txt with lines `NI/Strong/P009/Anger/018.jpeg 9`
(20 people), and {nir,vis}_test_paths.csv with lines `NI/Strong/P005/Anger/020.jpeg,P005` (40 people, for recognisers
that were not trained on the set). The people below are theirs.
Inferred: the training people are the other 20 of those 40.
Ours: where those lists are not given, 8 frames are drawn by the seed for each camera, person and expression, whatever
else there is, and the same for both protocols. Training frames are always drawn: their lists were not published.
"""

import re
import zlib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from facebridge.data.data_set import Count, Imported, Protocol, lines, pictures, require
from facebridge.data.face_list import FaceList
from facebridge.data.splits import (
    PictureList,
    Protocols,
    as_face_list,
    home,
    known_counts,
    named_note,
    num_people,
    subfolder,
)

TITLE = "Oulu-CASIA NIR-VIS"
NUM_FRAMES = 8
TEST_PEOPLE = frozenset(
    f"P{number:03}" for number in (9, 14, 17, 18, 19, 21, 25, 33, 37, 46, 49, 53, 57, 59, 62, 63, 64, 65, 69, 75)
)
TRAIN_PEOPLE = frozenset(
    f"P{number:03}" for number in (5, 7, 8, 15, 16, 26, 29, 35, 38, 41, 47, 51, 60, 61, 66, 67, 71, 74, 76, 80)
)

FORTY_PEOPLE = TEST_PEOPLE | TRAIN_PEOPLE
EXPRESSIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")

_CAMERAS = {"ni": "nir", "vl": "vis"}
_PATH = re.compile(
    r"(?P<camera>ni|vl)/(?P<light>strong|weak|dark)/(?P<person>p\d+)/(?P<expression>[^/]+)/[^/]+", re.IGNORECASE
)
_NORMAL_LIGHT = "strong"
_TEST_SPLITS = {"vis": "gallery", "nir": "probe"}
_LISTS = {"normal_20": "test_{}_paths.txt", "all_40": "{}_test_paths.csv"}


def read(root: Path, *, lists: Path = Path("."), seed: int = 0) -> Imported:
    """Read every frame, and the protocols normal_20 (20 people train, 20 are tested) and all_40 (40 are tested).

    Args:
        root: the folder of NI and VL, or the folder that holds it.
        lists: folder of the published lists, where one has them; relative to root.
        seed: of the frames that are drawn where there are no lists.

    Raises:
        WrongRoot: if there are no frames of both cameras.
        ValueError: if a line of a list is not such a line, its label is another person than its path, or a folder of
            lists is named and holds none.
    """
    folder = home(root, lambda place: all(subfolder(place, camera).is_dir() for camera in _CAMERAS))
    rows, others = _rows(folder)
    expected = "NI/Strong/P005/Anger/020.jpeg and VL/Strong/... in it or in its only such subfolder"
    require(root, TITLE, expected, {row["domain"] for row in rows} == {"nir", "vis"})
    _check_lists(root, lists)
    protocols = Protocols(as_face_list(folder, rows))
    drawn, short = _drawn(protocols.faces, seed)
    for name, tested, trained in (("normal_20", TEST_PEOPLE, TRAIN_PEOPLE), ("all_40", FORTY_PEOPLE, frozenset[str]())):
        test_parts, drawn_words = _test_parts(name, root / lists, drawn, tested, seed)
        people = {path.split("/")[2].upper() for part in test_parts for path in part.paths}
        training = PictureList("train", "the training", _of(drawn, trained - people, ("nir", "vis")))
        absent = sorted((tested | trained) - people - {person for person, _ in drawn})
        protocols.notes += drawn_words
        protocols.notes += named_note(f"protocol {name}: no frames in normal light of", absent, "person", "people")
        protocols.add_lists(name, [training, *test_parts])
    left_out = named_note("not in NI/Strong/PERSON/EXPRESSION or the like, and left out:", others)
    few = named_note(f"fewer than {NUM_FRAMES} frames, and all taken, in", short, "expression", "expressions")
    return Imported(protocols.faces, protocols.found, notes=[*left_out, *few, *protocols.notes])


def counts(faces: FaceList, protocols: Mapping[str, Protocol]) -> list[Count]:
    """People of the set, and the pictures of both protocols."""
    per_person = len(EXPRESSIONS) * NUM_FRAMES
    half, whole = len(TEST_PEOPLE) * per_person, len(FORTY_PEOPLE) * per_person
    return [
        Count("people", 80, num_people(faces)),
        *known_counts(protocols, "normal_20", people=False, train=2 * half, gallery=half, probe=half),
        *known_counts(protocols, "all_40", people=False, gallery=whole, probe=whole),
    ]


def _rows(folder: Path) -> tuple[list[dict[str, str]], list[str]]:
    """A row for every frame of the layout, and the pictures that lie elsewhere."""
    rows, others = [], []
    for path in pictures(folder):
        parts = _PATH.fullmatch(path)
        if parts is None:
            others.append(path)
        else:
            rows.append(
                {
                    "path": path,
                    "identity": parts["person"].upper(),
                    "domain": _CAMERAS[parts["camera"].lower()],
                    "expression": parts["expression"].lower(),
                    "light": parts["light"].lower(),
                }
            )
    return rows, others


Drawn = dict[tuple[str, str], list[str]]
"""(person, domain) -> frames"""


def _drawn(faces: FaceList, seed: int) -> tuple[Drawn, list[str]]:
    """Frames drawn in the normal light, and the folders that have too few frames."""
    groups: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    normal = faces.where(light=_NORMAL_LIGHT)
    names = ("identity", "domain", "expression", "path")
    for person, domain, expression, path in zip(*(normal.column(name).tolist() for name in names), strict=True):
        groups[person, domain, expression].append(path)
    drawn: Drawn = defaultdict(list)
    short = []
    for (person, domain, expression), frames in groups.items():
        if len(frames) < NUM_FRAMES:
            short.append(frames[0].rsplit("/", 1)[0])
        own_seed = zlib.crc32(f"{person} {domain} {expression}".encode())
        order = np.random.default_rng((seed, own_seed)).permutation(len(frames))[:NUM_FRAMES]
        drawn[person, domain] += [frames[index] for index in sorted(order.tolist())]
    return drawn, short


def _check_lists(root: Path, lists: Path) -> None:
    names = [name.format(domain) for name in _LISTS.values() for domain in _TEST_SPLITS]
    if lists != Path(".") and not any((root / lists / name).is_file() for name in names):
        raise ValueError(f"{root / lists}: expected one of the lists {', '.join(names)}; none is there")


def _test_parts(
    name: str, lists: Path, drawn: Drawn, tested: frozenset[str], seed: int
) -> tuple[list[PictureList], list[str]]:
    """Gallery and probes, from the published lists where they are there, and a note that says from where."""
    parts, notes = [], []
    for domain, split in _TEST_SPLITS.items():
        file = lists / _LISTS[name].format(domain)
        if file.is_file():
            parts.append(PictureList(split, file.name, _listed(file, domain)))
            notes.append(f"protocol {name}: its {split} pictures are those of {file.name}")
        else:
            parts.append(PictureList(split, f"protocol {name}", _of(drawn, tested, (domain,))))
            notes.append(f"protocol {name}: its {split} pictures are drawn with seed {seed}; there is no {file}")
    return parts, notes


def _listed(file: Path, domain: str) -> list[str]:
    """Paths of a list with lines `path label` or `path,label`; the label is the person or the person's number."""
    paths = []
    for number, text in lines(file):
        words = re.split(r"[\s,]+", text)
        parts = _PATH.fullmatch(words[0])
        if parts is None or len(words) != 2 or _CAMERAS[parts["camera"].lower()] != domain:
            camera = next(key for key, value in _CAMERAS.items() if value == domain).upper()
            raise ValueError(f"{file}: line {number}: expected `{camera}/Strong/P009/Anger/018.jpeg 9`, got {text!r}")
        if words[1].upper().lstrip("P0") != parts["person"].upper().lstrip("P0"):
            raise ValueError(f"{file}: line {number}: the picture is of {parts['person']}, the label says {words[1]!r}")
        paths.append(words[0])
    return paths


def _of(drawn: Drawn, people: frozenset[str], domains: tuple[str, ...]) -> list[str]:
    return [
        path for (person, domain), frames in drawn.items() if person in people and domain in domains for path in frames
    ]
