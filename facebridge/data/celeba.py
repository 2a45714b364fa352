"""CelebA: 202,599 pictures of 10,177 celebrities with five points each, aligned or as found on the web.

    ROOT/
      img_align_celeba/000001.jpg          also in Img/, and one folder deeper, as some archives have it
      img_celeba/000001.jpg                the pictures as found (option pictures=img_celeba)
      list_landmarks_align_celeba.txt      also in Anno/: a count, a header, then `000001.jpg` and ten numbers
      list_landmarks_celeba.txt            the same for img_celeba; or celeba_clean_landmarks.csv (SR_LRFR's)
      identity_CelebA.txt                  also in Anno/: `000001.jpg 2880`
      list_eval_partition.txt              also in Eval/: `000001.jpg 0`, where 0 is train, 1 val, 2 test

Published: layout, lists and partition (Liu et al. 2015). The list's "left eye" is at the left of the picture, so it is
the person's right: the order is ours already. Commas instead of spaces (.csv) are read too. Inferred: that
celeba_clean_landmarks.csv belongs to img_celeba. Ours: the protocol "test", since CelebA has none for recognition.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from facebridge.data import data_set, face_list, own_protocols, point_lists
from facebridge.data.data_set import ByStem, Count, Imported, Protocol, counted, require
from facebridge.data.face_list import FaceList
from facebridge.data.splits import named_note

TITLE = "CelebA"
PARTITION = {"0": "train", "1": "val", "2": "test"}
IDENTITIES, PARTITIONS = "identity_CelebA", "list_eval_partition"
LANDMARKS = {
    "img_align_celeba": ("list_landmarks_align_celeba",),
    "img_celeba": ("list_landmarks_celeba", "celeba_clean_landmarks"),
}
T = TypeVar("T")
_LIST_FOLDERS = ("", "Anno", "Eval", "lists")
TEST_NOTE = (
    "protocol test is FaceBridge's own: of the people in the test partition, the first picture is gallery, the others "
    "are probes"
)


def read(root: Path, *, pictures: str = "") -> Imported:
    """CelebA's pictures with points, identities and partition, as far as their lists are there.

    Without identities each picture is a person of its own, and the protocol is "fidelity" in place of "test".

    Args:
        root: the folder that holds the pictures' folder.
        pictures: img_align_celeba or img_celeba; by default the first that is there.

    Raises:
        WrongRoot: if there is no such folder.
        ValueError: if `pictures` is another word or a list cannot be read.
    """
    if pictures and pictures not in LANDMARKS:
        raise ValueError(f"pictures is {pictures!r}; expected one of {', '.join(LANDMARKS)}")
    wanted = [pictures] if pictures else list(LANDMARKS)
    found = {name: path for name in wanted if (path := _pictures_folder(root, name)) is not None}
    require(root, TITLE, f"a folder {' or '.join(wanted)}", bool(found))
    name, folder = next(iter(found.items()))
    paths = [path for path in data_set.pictures(root, folder) if path.rpartition("/")[0] == folder]
    files = [path.rpartition("/")[2] for path in paths]
    known = ByStem(files)
    identity_of, notes = _of_pictures(known, *_words(root, IDENTITIES))
    partition_of, no_partition = _of_pictures(known, *_words(root, PARTITIONS))
    points_of, no_points = _of_pictures(known, *_points(root, name))
    _check_partition(root, partition_of)
    unnamed = [file for file in files if file not in identity_of] if identity_of else []
    columns = {
        "path": paths,
        "identity": [identity_of.get(file, file) for file in files],
        "domain": ["vis"] * len(paths),
        "split": [PARTITION.get(partition_of.get(file, ""), "") for file in files],
    }
    faces = FaceList(root, columns, point_lists.in_order(files, points_of))
    without = named_note(f"not in {IDENTITIES}.txt, and so a person each:", unnamed)
    notes = list(dict.fromkeys([*notes, *no_partition, *no_points, *without]))
    protocols, found_notes = recognition_protocols(faces, bool(identity_of))
    return Imported(faces, protocols, notes=[*notes, *found_notes])


def counts(faces: FaceList, protocols: Mapping[str, Protocol]) -> list[Count]:
    """The published numbers of pictures and, where identities are known, of people."""
    known = [Count("pictures", 202_599, len(faces))]
    if "test" in protocols:
        known.append(Count("people", 10_177, len(set(faces.column("identity").tolist()))))
    return known


def recognition_protocols(faces: FaceList, with_identities: bool) -> tuple[dict[str, Protocol], list[str]]:
    """The protocol "test" where identities are known, else "fidelity": of the test partition, if there is one."""
    tested = faces.where(split="test")
    tested = tested if len(tested) else faces
    if not with_identities:
        return own_protocols.fidelity_of(fidelity=tested)
    gallery_and_probes = own_protocols.first_as_gallery(tested)
    if gallery_and_probes is None:
        return {}, ["no protocol test: nobody in the test partition has two pictures"]
    people = set(tested.column("identity").tolist())
    training = faces.where(split="train")
    others = training.take([row for row, name in enumerate(training.column("identity").tolist()) if name not in people])
    lost = counted(len(training) - len(others), "training picture", "training pictures")
    left_out = f"; left out of it: {lost} of these people"
    notes = [TEST_NOTE + left_out * (len(others) < len(training))]
    return {"test": face_list.joined(others, gallery_and_probes)}, notes


def _pictures_folder(root: Path, name: str) -> str | None:
    """Where the pictures lie, relative to root."""
    for folder in (name, f"Img/{name}"):
        for nested in (f"{folder}/{name}", folder):
            if (root / nested).is_dir():
                return nested
    return None


def find_list(root: Path, stem: str) -> Path | None:
    """A list of CelebA's, as text or CSV, in the folder or in those of the official archive."""
    names = [root / folder / f"{stem}{suffix}" for folder in _LIST_FOLDERS for suffix in (".txt", ".csv")]
    return next((path for path in names if path.is_file()), None)


def _words(root: Path, stem: str) -> tuple[dict[str, str], str, str]:
    """What a list says of pictures, its name, and a note where it is absent."""
    path = find_list(root, stem)
    return ({}, "", f"no {stem}.txt is there") if path is None else (point_lists.read_words(path), path.name, "")


def _points(root: Path, name: str) -> tuple[dict[str, point_lists.Points], str, str]:
    found = next((path for stem in LANDMARKS[name] if (path := find_list(root, stem)) is not None), None)
    if found is None:
        return {}, "", f"no points: no {LANDMARKS[name][0]}.txt is there"
    return point_lists.read_table(found, 5), found.name, ""


def _of_pictures(known: ByStem, said: Mapping[str, T], source: str, note: str) -> tuple[dict[str, T], list[str]]:
    """What a list says, by the pictures' own names, whatever their ending: the set is given out as .jpg and as .png."""
    found = {own: value for file, value in said.items() if (own := known.find(file)) is not None}
    absent = sorted(file for file in said if known.find(file) is None)
    return found, [note] if note else data_set.absent_note(source, absent)


def _check_partition(root: Path, partition_of: Mapping[str, str]) -> None:
    strange = next((file for file, word in partition_of.items() if word not in PARTITION), None)
    if strange is not None:
        words = ", ".join(f"{word} ({split})" for word, split in PARTITION.items())
        path = find_list(root, PARTITIONS)
        raise ValueError(f"{path}: the partition of {strange} is {partition_of[strange]!r}; expected one of {words}")
