"""What a user names on the command line -> a face list: where its pictures lie, and what else is known of them."""

from pathlib import Path

import numpy as np

from facebridge import crops
from facebridge.data import face_list, finding, importing, shards
from facebridge.data.face_list import FaceList
from facebridge.data.list_files import STRINGS
from facebridge.data.pieces import FaceListFile


def open_faces(
    path: Path, root: Path | None = None, landmarks: Path | None = None, aligned: str | None = None
) -> FaceList:
    """A face list or folder, with landmarks from a file beside it where given; those win over the list's own.

    Args:
        path: face list, folder identity/picture, or folder of pictures.
        root: folder that the list's paths are relative to; None: where an import found them, else the list's own.
        landmarks: CSV or Parquet with `path` and landmark columns; its paths are those of the list.
        aligned: the crop that pictures are aligned to of which the list says neither crop nor landmarks.

    Raises:
        ValueError: if a file is missing or malformed, the landmarks know no picture of the list, or the crop is
            unknown.
    """
    faces = finding.open_faces(path, importing.root_of(path) if root is None else root)
    if landmarks is not None:
        faces = with_known_landmarks(faces, landmarks)
    return faces if aligned is None else as_aligned(faces, aligned)


def open_source(
    path: Path, root: Path | None = None, landmarks: Path | None = None, aligned: str | None = None
) -> FaceList | FaceListFile:
    """As `open_faces`, but a Parquet list that nothing has to be added to is read in pieces, whatever its length."""
    if path.suffix.lower() == ".parquet" and landmarks is None and aligned is None:
        return FaceListFile(path, root=importing.root_of(path) if root is None else root)
    return open_faces(path, root, landmarks, aligned)


def is_shards(path: str) -> bool:
    """Whether a user names a folder of shards: a URL, or a folder with their index."""
    return "://" in path or (Path(path) / shards.INDEX).is_file()


def as_aligned(faces: FaceList, crop: str) -> FaceList:
    """The list with this crop for all rows that have neither a crop nor landmarks.

    Raises:
        ValueError: if the crop is unknown.
    """
    name = crops.crop(crop).name
    known = faces.column("crop") if "crop" in faces.column_names else np.full(len(faces), "", STRINGS)
    bare = np.full(len(faces), True) if faces.landmarks is None else np.isnan(faces.landmarks[:, 0, 0])
    return faces.with_column("crop", np.where((known == "") & bare, np.array(name, STRINGS), known))


def with_known_landmarks(faces: FaceList, landmarks: Path) -> FaceList:
    """The list with the landmarks of a CSV or Parquet file, which win over its own.

    ValueError: if the file cannot be read, or names none of the pictures.
    """
    known = face_list.read_landmarks(landmarks)
    paths = faces.column("path").tolist()
    found = [known.get(name) for name in paths]
    shapes = {points.shape for points in found if points is not None}
    if not shapes:
        raise ValueError(f"{landmarks}: has landmarks of none of the {len(paths)} pictures; the first is {paths[0]}")
    shape = shapes.pop()
    own = faces.landmarks
    points = np.full((len(faces), *shape), np.nan, np.float32) if own is None or own.shape[1:] != shape else own.copy()
    for row, better in enumerate(found):
        if better is not None:
            points[row] = better
    return faces.with_landmarks(points)
