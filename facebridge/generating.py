"""From a list of faces to hallucinated faces or embeddings; bad pictures are named and counted, the rest goes on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from facebridge import crops, images, runs
from facebridge.crops import Convention, Crop
from facebridge.data import face_list, finding
from facebridge.data.batches import aligned
from facebridge.data.face_list import FaceList
from facebridge.evaluation.ways import AS_IT_IS, Judge
from facebridge.hallucination import hallucinate, reduce
from facebridge.images import BadPicture
from facebridge.method import Method
from facebridge.progress import Progress
from facebridge.recipe import FaceListData

LIST = "faces.csv"
FACES_PER_BLOCK = 32
ADVICE = "run 'facebridge data landmarks' on the list first"


@dataclass(frozen=True)
class Done:
    """How many faces were made, and the pictures that could not be used."""

    count: int
    refused: list[BadPicture] = field(default_factory=list)


def open_faces(path: Path, root: Path | None = None, landmarks: Path | None = None) -> FaceList:
    """A face list or folder, with landmarks from a file beside it where given.

    Args:
        path: face list, folder identity/picture, or folder of pictures.
        root: folder that the list's paths are relative to; None: its own.
        landmarks: CSV or Parquet with `path` and landmark columns; its paths are those of the list.

    Raises:
        ValueError: if a file is missing or malformed, or the landmarks know no picture of the list.
    """
    faces = finding.open_faces(path, root)
    if landmarks is None:
        return faces
    known = face_list.read_landmarks(landmarks)
    paths = faces.column("path").tolist()
    found = [known.get(name) for name in paths]
    shapes = {points.shape for points in found if points is not None}
    if not shapes:
        raise ValueError(f"{landmarks}: has landmarks of none of the {len(paths)} pictures; the first is {paths[0]}")
    absent = np.full(shapes.pop(), np.nan, np.float32)
    return faces.with_landmarks(np.stack([absent if points is None else points for points in found]))


def generate(run: Path, faces: FaceList, out: Path, size: tuple[int, int] | None = None) -> Done:
    """Hallucinate every face of a list into a folder of PNG pictures and a face list.

    Args:
        run: a run folder.
        faces: pictures; with landmarks they are aligned first, without they are taken as aligned faces of any size up
            to the crop's.
        out: the folder; pictures keep their relative path, with the ending .png.
        size: (height, width) in px to which aligned faces are reduced before they go in; None: by each face's own
            size in its picture, so that no detail is made up that the camera gave.

    Raises:
        ValueError: if the run has no weights, `out` is the folder of the sources, or two pictures would get one name.
    """
    if out.resolve() == faces.root.resolve():
        raise ValueError(f"{out} holds the sources, which would be overwritten: choose another folder")
    method = runs.load(run)
    label = f"FaceBridge {runs.Run(run).recipe.method}"
    data = runs.Run(run).recipe.data
    convention: Convention = data.convention if isinstance(data, FaceListData) else "umeyama"
    names = _names(faces)
    refused: list[BadPicture] = []
    made: list[int] = []
    with Progress("generating", len(faces)) as bar:
        for row in range(len(faces)):
            try:
                source = _source(faces, row, method, size, convention)
            except BadPicture as bad:
                refused.append(bad)
                continue
            target = out / names[row]
            target.parent.mkdir(parents=True, exist_ok=True)
            images.write(target, hallucinate(method, source)[0], generated_by=label)
            made.append(row)
            bar.step(row + 1)
    if made:
        listed = faces.take(made).with_column("path", [names[row] for row in made])
        face_list.write(finding.moved(listed, out).with_landmarks(_template(method.crop, len(made))), out / LIST)
    return Done(len(made), refused)


def embed(judge: Judge, faces: FaceList, crop: str, out: Path, convention: Convention = "umeyama") -> Done:
    """Embed every face of a list into one .npz: embeddings (N, D), path, identity, domain (N,), recogniser, crop."""
    wanted = crops.crop(crop)
    refused: list[BadPicture] = []
    found: list[NDArray[np.float32]] = []
    rows: list[int] = []
    with Progress("embedding", len(faces)) as bar:
        for start in range(0, len(faces), FACES_PER_BLOCK):
            block = range(start, min(start + FACES_PER_BLOCK, len(faces)))
            pictures = list(_usable(faces, block, wanted, convention, refused))
            if pictures:
                source = images.to_faces(np.stack([picture for _, picture in pictures]))
                found.append(judge.embed(AS_IT_IS, source, wanted))
                rows += [row for row, _ in pictures]
            bar.step(block.stop)
    if not rows:
        raise ValueError(f"none of the {len(faces)} pictures could be used; the first: {refused[0]}")
    columns: dict[str, Any] = {
        name: np.array(faces.take(rows).column(name).tolist()) for name in ("path", "identity", "domain")
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("wb") as file:
        np.savez_compressed(
            file,
            embeddings=np.concatenate(found),
            recogniser=np.array(judge.recogniser.name),
            mirror=np.array(judge.mirror),
            crop=np.array(crop),
            **columns,
        )
    return Done(len(rows), refused)


def _usable(
    faces: FaceList, rows: Sequence[int], crop: Crop, convention: Convention, refused: list[BadPicture]
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    for row in rows:
        try:
            yield row, aligned(faces.picture_path(row), faces[row].landmarks, crop, convention)
        except BadPicture as bad:
            refused.append(bad)


def _source(
    faces: FaceList, row: int, method: Method[Any], size: tuple[int, int] | None, convention: Convention
) -> torch.Tensor:
    """The face that goes into the method: (1, 3, h, w)."""
    landmarks = faces[row].landmarks
    path = faces.picture_path(row)
    if landmarks is None and size is None:
        picture = images.read(path)
        if picture.shape[0] > method.crop.height or picture.shape[1] > method.crop.width:
            raise BadPicture(path, f"no landmarks, and larger than an aligned face: {ADVICE}")
        return images.to_faces(picture[None])
    face = images.to_faces(aligned(path, landmarks, method.crop, convention)[None])
    if size is None:
        assert landmarks is not None
        size = _natural_size(landmarks, method)
    return reduce(face, *size)


def _natural_size(landmarks: NDArray[np.float32], method: Method[Any]) -> tuple[int, int]:
    """The largest size that the method takes which is not more than the face has in its picture."""
    points = crops.five_points(landmarks) if len(landmarks) == 68 else landmarks
    matrix = crops.similarity(points, method.crop.points)
    height_px = method.crop.height / float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    sizes = sorted(method.source_sizes())
    fitting = [size for size in sizes if size[0] <= height_px]
    return fitting[-1] if fitting else sizes[0]


def _names(faces: FaceList) -> list[str]:
    names = [str(Path(path).with_suffix(".png")) for path in faces.column("path").tolist()]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two pictures of the list would both be written as {twice}: give them different names")
    return names


def _template(crop: Crop, count: int) -> NDArray[np.float32]:
    """The landmarks of faces that lie in a crop: its own points."""
    return np.tile(np.array(crop.points, np.float32), (count, 1, 1))
