"""Labeled Faces in the Wild: news photographs of 5,749 people, and the pairs of its views.

    ROOT/                       or ROOT itself is the folder of people
      lfw-deepfunneled/         lfw, lfw_funneled ...; also one folder deeper, as some archives have it
        Aaron_Eckhart/Aaron_Eckhart_0001.jpg
      pairs.txt                 view 2: "10<tab>300", then 300 genuine and 300 impostor lines a fold
      pairsDevTrain.txt pairsDevTest.txt            view 1
      peopleDevTrain.txt peopleDevTest.txt people.txt

Published: names, lists and protocols (Huang et al. 2007). The lists lie in ROOT, in the folder of people, or where the
option `lists` says; where a text is absent its CSV form (`lfw_tables`) is read, a layout inferred from programs that
use it. Ours: the protocol "drawn" (`own_protocols.folds_of_people`) where no pair list is found at all.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from facebridge import crops
from facebridge.data import data_set, lfw_tables, own_protocols
from facebridge.data.data_set import ByStem, Count, Imported, Protocol, WrongRoot, counted, require
from facebridge.data.face_list import FaceList
from facebridge.evaluation.protocol import PairProtocol, read_lfw_pairs

TITLE = "LFW (Labeled Faces in the Wild)"
VIEWS = {"view2": "pairs", "view1_train": "pairsDevTrain", "view1_test": "pairsDevTest"}
SPLITS = {"train": "peopleDevTrain", "test": "peopleDevTest"}
PUBLISHED_PAIRS = {"view2": 6000, "view1_train": 2200, "view1_test": 1000}
_LAYOUT = "a folder of people with pictures Name/Name_0001.jpg, or a folder that holds it"


def read(root: Path, *, lists: str = "", seed: int = 0, crop: str = "") -> Imported:
    """LFW's pictures, views 1 and 2 as far as their lists are there, and the column split (train or test of view 1).

    Args:
        root: the folder of people, or the one around it.
        lists: a folder with the lists, if they lie neither in root nor among the people.
        seed: of the protocol "drawn", which is made only where no list of pairs is found.
        crop: "lfw_deepfunneled" takes the deep-funneled pictures for aligned faces as they are, so that no detector is
            needed; faces lie some pixels beside it, and figures are lower than with landmarks.

    Raises:
        WrongRoot: if there is no such folder of people, or more than one.
        ValueError: if `lists` is no folder or a list cannot be read.
    """
    if lists and not Path(lists).is_dir():
        raise ValueError(f"lists is {lists}: no such folder; expected the one with {VIEWS['view2']}.txt and the like")
    people = _folder_of_people(root)
    folders = list(dict.fromkeys([*([Path(lists)] if lists else []), root, people]))
    paths = [path for path in data_set.pictures(people) if path.count("/") == 1]
    faces = FaceList(
        people, {"path": paths, "identity": [_person(path) for path in paths], "domain": ["vis"] * len(paths)}
    )
    if crop:
        faces = faces.with_column("crop", [crops.crop(crop).name] * len(faces))
    faces, notes = _with_splits(faces, folders)
    protocols: dict[str, Protocol] = {}
    known, listed_views = ByStem(paths), set[str]()
    for name, stem in VIEWS.items():
        listed, source = _listed_pairs(stem, folders)
        if listed is not None:
            kept, found = own_protocols.present(listed, known, source)
            protocols |= {} if kept is None else {name: kept}
            notes.extend(found)
            listed_views.add(name)
    if listed_views:
        absent = [(name, stem) for name, stem in VIEWS.items() if name not in listed_views]
        notes += [f"no protocol {name}: no {stem}.txt was found" for name, stem in absent]
    else:
        drawn = own_protocols.folds_of_people(faces, seed)
        protocols |= {} if drawn is None else {"drawn": drawn}
        notes.append(_drawn_note(drawn, seed))
    return Imported(faces, protocols, notes=notes)


def counts(faces: FaceList, protocols: Mapping[str, Protocol]) -> list[Count]:
    """The published numbers of pictures, people, pairs and folds."""
    known = [Count("pictures", 13_233, len(faces)), Count("people", 5_749, len(set(faces.column("identity").tolist())))]
    for name, expected in PUBLISHED_PAIRS.items():
        protocol = protocols.get(name)
        if isinstance(protocol, PairProtocol):
            known.append(Count(f"pairs of {name}", expected, len(protocol)))
            if name == "view2":
                known.append(Count("folds of view2", 10, protocol.num_folds))
    return known


def _folder_of_people(root: Path) -> Path:
    require(root, TITLE, _LAYOUT)
    if _holds_people(root):
        return root
    found = [folder for folder in _subfolders(root) if _holds_people(folder)]
    found = found or [deeper for folder in _subfolders(root) for deeper in _subfolders(folder) if _holds_people(deeper)]
    if len(found) > 1:
        names = ", ".join(str(folder) for folder in found)
        raise WrongRoot(f"{root}: holds several copies of {TITLE}: {names}; give one of them as the root")
    require(root, TITLE, _LAYOUT, bool(found))
    return found[0]


def _holds_people(folder: Path) -> bool:
    return any(next(person.glob(f"{person.name}_[0-9]*.*"), None) is not None for person in _subfolders(folder))


def _subfolders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith((".", "[")))


def _person(path: str) -> str:
    return path.split("/", 1)[0]


def _first_file(names: list[str], folders: list[Path]) -> Path | None:
    return next((folder / name for name in names for folder in folders if (folder / name).is_file()), None)


def _listed_pairs(stem: str, folders: list[Path]) -> tuple[PairProtocol | None, str]:
    """The pairs of one view, and the file they are from."""
    text = _first_file([f"{stem}.txt", *(["lfw_pairs.txt"] if stem == "pairs" else [])], folders)
    if text is not None:
        return read_lfw_pairs(text), text.name
    part = stem.removeprefix("pairs")
    tables = (
        [f"{stem}.csv"] if not part else [f"{kind}{part}.csv" for kind in (lfw_tables.MATCHED, lfw_tables.MISMATCHED)]
    )
    found = [path for name in tables if (path := _first_file([name], folders)) is not None]
    if len(found) < len(tables):
        return None, ""
    return lfw_tables.read_pairs(found), " and ".join(tables)


def _with_splits(faces: FaceList, folders: list[Path]) -> tuple[FaceList, list[str]]:
    """The column split from view 1's people, and notes of pictures that a list counts and that are not there."""
    identities = faces.column("identity").tolist()
    found, split_of, notes = Counter(identities), dict[str, str](), list[str]()
    for split, stem in [*SPLITS.items(), ("", "people")]:
        path = _first_file([f"{stem}.txt", f"{stem}.csv"], folders)
        if path is None:
            continue
        people = lfw_tables.read_people(path)
        split_of |= dict.fromkeys(people, split) if split else {}
        missing = sum(max(0, count - found[name]) for name, count in people.items())
        if missing:
            what = counted(missing, "picture that is", "pictures that are")
            notes.append(f"{path.name} counts {what} not there, of {sum(people.values()):,}")
    if not split_of:
        return faces, notes
    return faces.with_column("split", [split_of.get(name, "") for name in identities]), notes


def _drawn_note(drawn: PairProtocol | None, seed: int) -> str:
    expected = ", ".join(f"{stem}.txt" for stem in VIEWS.values())
    if drawn is None:
        return f"no list of pairs was found ({expected}), and there are too few people to draw one"
    return (
        f"no list of pairs was found ({expected}): the protocol drawn is FaceBridge's own, {len(drawn):,} pairs in "
        f"{drawn.num_folds} folds of people (seed {seed}); its figures cannot be compared with published ones"
    )
