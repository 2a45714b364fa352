"""Anybody's own face list, as CSV or Parquet: ROOT is the file.

    faces.csv       path, identity, domain, and whatever else docs/data/face_lists.md names

Paths are relative to the file's folder, or to the option `pictures`. The protocol "listed" is the list itself where its
column split says gallery and probe; ours, where it does not: "drawn".
"""

from collections.abc import Mapping
from pathlib import Path

from facebridge.data import face_list, own_protocols
from facebridge.data.data_set import Count, Imported, Protocol, WrongRoot
from facebridge.data.face_list import FaceList

TITLE = "a face list (CSV or Parquet)"
_SUFFIXES = (".csv", ".parquet")


def read(root: Path, *, pictures: str = "", may_overlap: bool = False) -> Imported:
    """The list, and a protocol if there are two people and one of them has two pictures.

    Whether the pictures are there is left to `facebridge data check`, since lists may have many millions of rows.

    Args:
        root: the file.
        pictures: the folder that its paths are relative to; by default its own.
        may_overlap: whether people of its split train may be among gallery and probes.

    Raises:
        WrongRoot: if root is no such file.
        ValueError: if the list cannot be read (it names line or row, and column), has no rows, or `pictures` is no
            folder.
    """
    if not root.is_file() or root.suffix.lower() not in _SUFFIXES:
        found = "a folder" if root.is_dir() else "another file" if root.is_file() else "nothing"
        raise WrongRoot(f"{root}: this is not {TITLE}; expected a file that ends in .csv or .parquet; found {found}")
    if pictures and not Path(pictures).is_dir():
        raise ValueError(f"pictures is {pictures}: no such folder; expected the one that the paths are relative to")
    faces = face_list.read(root, root=pictures or None)
    if not len(faces):
        raise ValueError(f"{root}: no pictures below the header line")
    splits = set(faces.column("split").tolist()) if "split" in faces.column_names else set()
    if {"gallery", "probe"} <= splits:
        listed = {"listed": faces.where(split=("train", "gallery", "probe"))}
        return Imported(faces, listed, frozenset(listed) if may_overlap else frozenset())
    protocols, notes = own_protocols.drawn_of(faces)
    return Imported(faces, protocols, notes=notes)


def counts(faces: FaceList, protocols: Mapping[str, Protocol]) -> list[Count]:
    """Nothing is known of anybody's own pictures."""
    return []
