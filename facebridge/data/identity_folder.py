"""A folder for each person: identity/picture, as training sets of recognisers are kept (CASIA-WebFace, MS-Celeb-1M).

    ROOT/
      0000045/001.jpg ...       the first folder is the person; deeper folders are allowed

Ours: the protocol "drawn".
"""

from collections.abc import Mapping
from pathlib import Path

from facebridge import crops
from facebridge.data import face_list, own_protocols
from facebridge.data.data_set import Count, Imported, Protocol, WrongRoot, require
from facebridge.data.face_list import FaceList

TITLE = "a folder for each person"


def read(root: Path, *, domain: str = "vis", crop: str = "") -> Imported:
    """Every picture under the name of its folder.

    Args:
        root: the folder of folders.
        domain: of all pictures.
        crop: how the pictures are aligned, if they are: one of `facebridge.crops.names()`.

    Raises:
        WrongRoot: if there is no picture, or one that lies in no person's folder.
        ValueError: if the crop is unknown.
    """
    require(
        root, TITLE, "folders IDENTITY/ with pictures", root.is_dir() and any(path.is_dir() for path in root.iterdir())
    )
    try:
        faces = face_list.read(root, "folder", domain=domain)
    except ValueError as error:
        raise WrongRoot(f"{root}: this is not {TITLE}: {error}") from error
    faces = faces.with_column("crop", [crops.crop(crop).name] * len(faces)) if crop else faces
    protocols, notes = own_protocols.drawn_of(faces)
    return Imported(faces, protocols, notes=notes)


def counts(faces: FaceList, protocols: Mapping[str, Protocol]) -> list[Count]:
    """Nothing is known of anybody's own pictures."""
    return []
