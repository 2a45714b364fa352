"""CycleGAN's folders: pictures of two domains that do not belong together one by one.

    ROOT/
      trainA/  trainB/      needed
      testA/   testB/       and valA/, valB/, if there are any

Published: the folders (Zhu et al. 2017). Ours: every picture is a person of its own, and the protocol "fidelity" of the
test pictures. Pictures with people's names in their paths are better imported as identity_folder or csv_list.
"""

from collections.abc import Mapping
from pathlib import Path

from facebridge import crops
from facebridge.data import data_set, own_protocols
from facebridge.data.data_set import Count, Imported, Protocol, require
from facebridge.data.face_list import FaceList

TITLE = "folders trainA, trainB, testA, testB (CycleGAN's)"
SPLITS = ("train", "val", "test")


def read(root: Path, *, source: str = "nir", target: str = "vis", crop: str = "") -> Imported:
    """The pictures of both domains.

    Args:
        root: the folder that holds trainA and trainB.
        source: the domain of the folders A.
        target: the domain of the folders B.
        crop: how the pictures are aligned, if they are: one of `facebridge.crops.names()`.

    Raises:
        WrongRoot: if trainA or trainB is missing or empty.
        ValueError: if the crop is unknown.
    """
    require(root, TITLE, "folders trainA and trainB", *((root / folder).is_dir() for folder in ("trainA", "trainB")))
    domains = {"A": source, "B": target}
    found = {(split, side): data_set.pictures(root, f"{split}{side}") for split in SPLITS for side in domains}
    require(root, TITLE, "pictures in trainA and in trainB", *(bool(found["train", side]) for side in domains))
    rows = [(path, split, domains[side]) for (split, side), paths in found.items() for path in paths]
    columns = {
        "path": [path for path, _, _ in rows],
        "identity": [path for path, _, _ in rows],
        "domain": [domain for _, _, domain in rows],
        "split": [split for _, split, _ in rows],
    }
    columns |= {"crop": [crops.crop(crop).name] * len(rows)} if crop else {}
    faces = FaceList(root, columns)
    protocols, notes = own_protocols.fidelity_of(fidelity=faces.where(split="test"))
    return Imported(faces, protocols, notes=notes)


def counts(faces: FaceList, protocols: Mapping[str, Protocol]) -> list[Count]:
    """Nothing is known of anybody's own pictures."""
    return []
