"""Faces in pictures: from a folder or a list without landmarks to a face list with them."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from facebridge import landmarks
from facebridge.data import face_list
from facebridge.data.face_list import FaceList
from facebridge.images import BadPicture
from facebridge.landmarks import Detector

PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
NO_FACE = "no face was found"


@dataclass(frozen=True)
class Found:
    """A list of the faces with landmarks, and the pictures that are not in it."""

    faces: FaceList
    refused: list[BadPicture] = field(default_factory=list)


def open_faces(path: Path, root: Path | None = None) -> FaceList:
    """A face list, a folder identity/picture, or a folder of pictures in which every picture is its own identity.

    Raises:
        ValueError: if there is no such list or folder, or no picture in it.
    """
    if not path.is_dir() or any(entry.is_dir() and not entry.name.startswith(".") for entry in path.iterdir()):
        return face_list.read(path, root=root)
    names = sorted(entry.name for entry in path.iterdir() if entry.suffix.lower() in PICTURES)
    if not names:
        raise ValueError(f"{path}: no picture in this folder; known endings: {', '.join(sorted(PICTURES))}")
    return FaceList(path, {"path": names, "identity": names, "domain": ["vis"] * len(names)})


def with_landmarks(faces: FaceList, detector: Detector, workers: int = 2) -> Found:
    """Find the largest face of each picture; those without one are left out and named.

    Args:
        faces: pictures; landmarks they have are replaced.
        detector: finds faces and their points.
        workers: threads that decode.
    """
    paths = [faces.picture_path(row) for row in range(len(faces))]
    located = landmarks.locate(paths, detector, workers)
    refused = [*located.unreadable, *(BadPicture(Path(name), NO_FACE) for name in located.without_face)]
    usable = np.isfinite(located.points).all((1, 2))
    return Found(faces.with_landmarks(located.points).take(usable), refused)


def moved(faces: FaceList, root: Path) -> FaceList:
    """The same rows under another folder, their paths unchanged: for a list kept apart from its pictures."""
    return FaceList(root, {name: faces.column(name) for name in faces.column_names}, faces.landmarks)
