"""CASIA NIR-VIS 2.0: near-infrared probes against visible photographs, two views, the second in ten folds.

    NIR-VIS-2.0/s1..s4/NIR/10153/001.bmp    session / camera / person / picture; VIS pictures end in .jpg
    NIR-VIS-2.0/s2/NIR/10153/001.pos        where there: the eyes, `x y x y` in the first line
    NIR-VIS-2.0/protocols/nir_train_1.txt   vis_train_1, vis_gallery_1, nir_probe_1; folds 1 to 10 are view 2, and
                                            `dev` in place of the fold is view 1 (tuning)

Published: Li, Yi, Lei, Liao, "The CASIA NIR-VIS 2.0 Face Database", CVPRW 2013; the numbers of pictures are those that
bob.db.cbsr_nir_vis_2 checks of the distributed lists. Lines have backslashes and may name .bmp where the file is .jpg.
The same person number in two sessions is one person, as in that package.
Inferred: which eye comes first in a .pos file. We go by the picture: of an upright face, the eye further left is the
person's right eye.
Ours: a fold without training lists is kept for evaluation. Two eyes fix no alignment of five points: they are carried
along in columns of their own and never taken for landmarks.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path

from facebridge.data.data_set import Count, Imported, Protocol, beside, counted, lines, pictures, require
from facebridge.data.face_list import FaceList
from facebridge.data.splits import (
    Protocols,
    as_face_list,
    home,
    known_counts,
    named_note,
    num_people,
    subfolder,
)

TITLE = "CASIA NIR-VIS 2.0"
EYE_COLUMNS = ("right_eye_pos_x", "right_eye_pos_y", "left_eye_pos_x", "left_eye_pos_y")

_PATH = re.compile(r"(?P<session>s[1-4])/(?P<domain>nir|vis)/(?P<person>[^/]+)/[^/]+", re.IGNORECASE)
_LISTS = {"nir_train": "train", "vis_train": "train", "vis_gallery": "gallery", "nir_probe": "probe"}
_SUFFIXES = {"view1": "dev"} | {f"view2_{fold:02}": str(fold) for fold in range(1, 11)}
_NUM_GALLERY = 358
_NUM_PROBES = dict(zip(_SUFFIXES, (6123, 6208, 6232, 6210, 6055, 6204, 6191, 6247, 6222, 6162, 6245), strict=True))
_VIEW1_TRAINING = {"people": 357, "nir": 6270, "vis": 2480}


def read(root: Path, *, eyes: Path = Path(".")) -> Imported:
    """Read the pictures, both views, and the eye files where there are any.

    Args:
        root: NIR-VIS-2.0, or the folder that holds it.
        eyes: folder of the eye files, laid out as the pictures are; relative to NIR-VIS-2.0.

    Raises:
        WrongRoot: if there are no lists or no pictures.
        ValueError: if a line of a list is no path of a picture of the camera that the list is of, or a folder of eye
            files is named and holds none.
    """
    folder = home(root, lambda place: subfolder(place, "protocols").is_dir())
    lists = subfolder(folder, "protocols")
    chosen, others = _rows(folder)
    has_lists = any((lists / f"nir_probe_{suffix}.txt").is_file() for suffix in _SUFFIXES.values())
    expected = "s1/NIR/PERSON/PICTURE.bmp and protocols/nir_probe_1.txt in it or in its only such subfolder"
    require(root, TITLE, expected, has_lists, bool(chosen))
    eye_notes = _add_eyes(chosen, folder / eyes)
    if eyes != Path(".") and not eye_notes:
        raise ValueError(f"{folder / eyes}: no eye file such as {Path(chosen[0]['path']).with_suffix('.pos')} is there")
    protocols = Protocols(as_face_list(folder, chosen))
    without = [name for name, suffix in _SUFFIXES.items() if not _add_view(protocols, name, lists, suffix)]
    protocols.notes += named_note(f"no lists in {lists} for", without, "protocol", "protocols")
    left_out = named_note("not in a folder s1/NIR/PERSON or the like, and left out:", others)
    return Imported(protocols.faces, protocols.found, notes=[*left_out, *eye_notes, *protocols.notes])


def counts(faces: FaceList, protocols: Mapping[str, Protocol]) -> list[Count]:
    """Gallery and probes of every fold, and the training of view 1. For view 2 the sources differ about training."""
    found = []
    for name, num_probes in _NUM_PROBES.items():
        found += known_counts(protocols, name, gallery=_NUM_GALLERY, probe=num_probes)
    view1 = protocols.get("view1")
    if isinstance(view1, FaceList):
        train = view1.where(split="train")
        found.append(Count("view1: training people", _VIEW1_TRAINING["people"], num_people(train)))
        for domain in ("nir", "vis"):
            num_found = len(train.where(domain=domain))
            found.append(Count(f"view1: training pictures, {domain}", _VIEW1_TRAINING[domain], num_found))
    return found


def _rows(folder: Path) -> tuple[list[dict[str, str]], list[str]]:
    """A row for every picture of the layout, and the pictures that lie elsewhere."""
    rows, others = [], []
    for path in pictures(folder):
        parts = _PATH.fullmatch(path)
        if parts is None:
            others.append(path)
        else:
            rows.append(
                {
                    "path": path,
                    "identity": parts["person"],
                    "domain": parts["domain"].lower(),
                    "session": parts["session"].lower(),
                }
            )
    return rows, others


def _add_view(protocols: Protocols, name: str, lists: Path, suffix: str) -> bool:
    """Add a protocol from its lists; whether any of them is there."""
    files = {lists / f"{kind}_{suffix}.txt": split for kind, split in _LISTS.items()}
    return protocols.add_files(name, files, _listed)


def _listed(file: Path) -> list[str]:
    """Paths of a list. The list's name begins with the camera that all of its pictures are of."""
    domain = file.name[:3]
    paths = []
    for number, text in lines(file):
        parts = _PATH.fullmatch(text)
        if parts is None or parts["domain"].lower() != domain:
            example = rf"s2\{domain.upper()}\10153\001.bmp"
            raise ValueError(f"{file}: line {number}: expected a path like {example}, got {text!r}")
        paths.append(text)
    return paths


def _add_eyes(rows: list[dict[str, str]], folder: Path) -> list[str]:
    """Put the eyes into the rows, if any picture has a file of them."""
    files = {row["path"]: beside(folder / row["path"], ".pos") for row in rows}
    eyes = {path: _eyes(file) for path, file in files.items() if file.is_file()}
    if not eyes:
        return []
    malformed = [path for path, four in eyes.items() if not four]
    swapped = [path for path, four in eyes.items() if four and float(four[0]) > float(four[2])]
    eyes |= {path: eyes[path][2:] + eyes[path][:2] for path in swapped}
    for row in rows:
        row.update(zip(EYE_COLUMNS, eyes.get(row["path"]) or ("",) * len(EYE_COLUMNS), strict=True))
    return [
        f"the eyes of {len(eyes) - len(malformed):,} of {counted(len(rows), 'picture')} are in the columns "
        f"{', '.join(EYE_COLUMNS)}; two eyes are no landmarks: find five points with `facebridge data landmarks`",
        *named_note(
            "eyes put the other way round than in the file, the one further left as the right one, in", swapped
        ),
        *named_note("no `x y x y` in the first line of the eye files of", malformed),
    ]


def _eyes(file: Path) -> tuple[str, ...]:
    """The four numbers of the first line, as written; empty if they are not there."""
    try:
        words = next((text.split() for _, text in lines(file)), [])
        finite = all(math.isfinite(float(word)) for word in words)
    except ValueError:
        return ()
    return tuple(words) if len(words) == len(EYE_COLUMNS) and finite else ()
