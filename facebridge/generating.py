"""A list or shards of faces -> hallucinated faces; bad pictures are named and counted, and the rest goes on."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from facebridge import crops, images, runs
from facebridge.crops import Convention, Crop
from facebridge.data import face_list
from facebridge.data.face_list import FaceList, FaceRow
from facebridge.data.new_names import stem_of
from facebridge.data.pieces import FaceListWriter
from facebridge.data.reading import aligned, located
from facebridge.data.shards import ShardedFaces
from facebridge.hallucination import hallucinate, reduce
from facebridge.images import BadPicture
from facebridge.method import HallucinationMethod
from facebridge.progress import Progress
from facebridge.recipe import FaceListData

LIST = "faces.csv"


@dataclass(frozen=True)
class Done:
    """How many faces were made, and the pictures that could not be used."""

    count: int
    refused: list[BadPicture] = field(default_factory=list)


def generate(run: Path, faces: FaceList, out: Path, size: tuple[int, int] | None = None) -> Done:
    """Hallucinate every face of a list into a folder of PNG pictures and a face list.

    Args:
        run: a run folder.
        faces: pictures; with landmarks they are aligned first; those that name the method's crop, of any size up to
            it, go in as they are.
        out: the folder; pictures keep their relative path, with the ending .png.
        size: (height, width) in px to which aligned faces are reduced before they go in; None: by each face's own
            size in its picture, so that no detail is made up that the camera gave.

    Raises:
        ValueError: if the run has no weights, `out` is the folder of the sources, or two pictures would get one name.
    """
    if out.resolve() == faces.root.resolve():
        raise ValueError(f"{out} holds the sources, which would be overwritten: choose another folder")
    method = runs.load_hallucination(run)
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
                refused.append(BadPicture(bad.path, bad.cause))  # without the traceback, which holds pixels
                continue
            target = out / names[row]
            target.parent.mkdir(parents=True, exist_ok=True)
            images.write(target, hallucinate(method, source)[0], generated_by=label)
            made.append(row)
            bar.step(row + 1)
    if made:
        face_list.write(_listed(faces.take(made), [names[row] for row in made], method.crop, out), out / LIST)
    return Done(len(made), refused)


def generate_from_shards(run: Path, folder: str, out: Path, size: tuple[int, int] | None = None) -> Done:
    """Hallucinate every face of a folder of shards, which is streamed; one shard is in memory at a time.

    Args:
        run: a run folder.
        folder: of `facebridge data align --format shards-png`: a path, or a URL that fsspec reaches.
        out: as of `generate`; pictures are called as the rows of the shards are.
        size: as of `generate`; None: the faces go in as they are.

    Raises:
        ValueError: if the run has no weights, or the folder no index.
    """
    method = runs.load_hallucination(run)
    label = f"FaceBridge {runs.Run(run).recipe.method}"
    faces = ShardedFaces(folder, method.crop, mix=1)
    columns = list(dict.fromkeys([*faces.index.columns, "crop", "original"]))
    out.mkdir(parents=True, exist_ok=True)
    refused: list[BadPicture] = []
    names: set[str] = set()
    with Progress("generating", len(faces)) as bar, FaceListWriter(out / LIST, columns, 5) as made:
        for index in range(len(faces)):
            try:
                row, source = faces.row(index), images.to_faces(faces.picture(index)[None])
                name = _name_in_shards(row.path, names)
            except BadPicture as bad:
                refused.append(BadPicture(bad.path, bad.cause))  # without the traceback, which holds pixels
                continue
            target = out / name
            target.parent.mkdir(parents=True, exist_ok=True)
            face = hallucinate(method, source if size is None else reduce(source, *size))[0]
            images.write(target, face, generated_by=label)
            listed = FaceList(out, {name: [_cell(row, name)] for name in faces.index.columns})
            made.write(_listed(listed, [name], method.crop, out))
            bar.step(index + 1)
    return Done(len(faces) - len(refused), refused)


def _source(
    faces: FaceList, row: int, method: HallucinationMethod[Any], size: tuple[int, int] | None, convention: Convention
) -> torch.Tensor:
    """The face that goes into the method: (1, 3, h, w)."""
    crop = method.crop
    if size is not None:
        return reduce(images.to_faces(aligned(faces, row, crop, convention)[None]), *size)
    picture, points = located(faces, row)
    if faces[row].crop == crop.name and picture.shape[0] <= crop.height:
        return images.to_faces(picture[None])
    face = images.to_faces(aligned(faces, row, crop, convention)[None])
    return reduce(face, *_natural_size(points, method))


def _natural_size(points: NDArray[np.float32], method: HallucinationMethod[Any]) -> tuple[int, int]:
    """The largest size that the method takes which is not more than the face has in its picture."""
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


def _listed(sources: FaceList, names: list[str], crop: Crop, out: Path) -> FaceList:
    """The list of the generated faces: the rows of their sources, now lying in a crop."""
    columns: dict[str, Any] = {name: sources.column(name) for name in sources.column_names if name != "region"}
    columns |= {"path": names, "crop": [crop.name] * len(names), "original": sources.originals()}
    return FaceList(out, columns, np.tile(np.array(crop.points, np.float32), (len(names), 1, 1)))


def _name_in_shards(path: str, names: set[str]) -> str:
    """The file for a row of shards, which may come from strangers. BadPicture: if it cannot be, or is taken."""
    try:
        name = f"{stem_of(path)}.png"
    except ValueError as error:
        raise BadPicture(path, str(error)) from error
    if name in names:
        raise BadPicture(path, f"another face was written as {name} already")
    names.add(name)
    return name


def _cell(row: FaceRow, column: str) -> Any:
    if column == "yaw_deg":
        return np.nan if row.yaw_deg is None else row.yaw_deg
    return row.extra[column] if column in row.extra else getattr(row, column, None) or ""
