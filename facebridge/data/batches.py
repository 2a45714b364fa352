"""Batches as a function of the step: any step can be asked for, in any order, on any machine.

So the place in the data is one number, resuming costs nothing, and a batch can be made ahead of time in a thread.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from facebridge import crops, images
from facebridge.crops import Convention, Crop, Outside
from facebridge.data import face_list as face_lists
from facebridge.data.face_list import FaceList
from facebridge.images import BadPicture
from facebridge.recipe import FaceListData, Recipe, SyntheticData

Report = Callable[[BadPicture], None]
"""Told of a picture that cannot be used."""


class Faces(Protocol):
    """Aligned faces by number."""

    def __len__(self) -> int: ...

    def identity(self, index: int) -> int: ...

    def picture(self, index: int) -> np.ndarray:
        """uint8 RGB (crop.height, crop.width, 3). BadPicture: if it cannot be used."""
        ...


class Batches:
    """Aligned faces in a shuffled order that is decided by the seed alone.

    Args:
        faces: where they come from.
        batch_size: faces in a step, over all processes.
        seed: decides the order and the mirroring.
        mirror: whether a face is mirrored with probability one half.
        rank, processes: which part of each batch is made here.
        report: told of each bad picture, once; the next picture of the order then takes its place.

    Raises:
        ValueError: if the batch cannot be shared evenly or there are fewer faces than a batch needs.
    """

    def __init__(
        self,
        faces: Faces,
        batch_size: int,
        seed: int,
        *,
        mirror: bool = True,
        rank: int = 0,
        processes: int = 1,
        report: Report = lambda bad: None,
    ) -> None:
        if batch_size % processes:
            raise ValueError(f"a batch of {batch_size} faces cannot be shared evenly by {processes} processes")
        if len(faces) < batch_size:
            raise ValueError(f"{len(faces)} faces are fewer than one batch of {batch_size}: lower training.batch_size")
        self.faces = faces
        self.batch_size = batch_size
        self.seed = seed
        self.mirror = mirror
        self.rank = rank
        self.processes = processes
        self.report = report
        self.bad: dict[int, BadPicture] = {}
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))

    def __call__(self, step: int) -> dict[str, Tensor]:
        """The batch of a step, counted from 0: `target` (B, 3, H, W) in [0, 1] and `target_identity` (B,)."""
        share = self.batch_size // self.processes
        first = step * self.batch_size + self.rank * share
        found = [self._usable(first + offset) for offset in range(share)]
        faces = images.to_faces(np.stack([picture for _, picture in found]))
        if self.mirror:
            draw = np.random.default_rng([self.seed, step, 0, 1]).random(self.batch_size) < 0.5
            mine = torch.from_numpy(draw[self.rank * share : (self.rank + 1) * share])
            faces = torch.where(mine[:, None, None, None], faces.flip(-1), faces)
        return {
            "target": faces,
            "target_identity": torch.tensor([self.faces.identity(index) for index, _ in found]),
        }

    def _usable(self, place: int) -> tuple[int, np.ndarray]:
        """The picture at a place of the endless order, or the next one that can be used."""
        for attempt in range(2 * len(self.faces)):  # one whole epoch is among them
            index = self._index(place + attempt)
            if index in self.bad:
                continue
            try:
                return index, self.faces.picture(index)
            except BadPicture as bad:
                self.bad[index] = bad
                self.report(bad)
        raise ValueError(
            f"none of the {len(self.faces)} pictures can be used; the last: {next(iter(self.bad.values()))}"
        )

    def _index(self, place: int) -> int:
        epoch, offset = divmod(place, len(self.faces))
        if self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng([self.seed, epoch, 0]).permutation(len(self.faces)))
        return int(self._order[1][offset])


class Ahead:
    """The batches from `first` on, each made in a thread while the one before is used."""

    def __init__(self, batches: Callable[[int], dict[str, Tensor]], first: int, last: int) -> None:
        self.batches = batches
        self.first = first
        self.last = last

    def __iter__(self):  # type: ignore[no-untyped-def]
        with ThreadPoolExecutor(1) as pool:
            coming = [pool.submit(self.batches, step) for step in range(self.first, self.last)[:1]]
            for step in range(self.first, self.last):
                batch = coming.pop().result()
                if step + 1 < self.last:
                    coming.append(pool.submit(self.batches, step + 1))
                yield step, batch


class ListedFaces:
    """Faces of a face list, aligned when they are asked for.

    Rows with landmarks are aligned by them; a row without them must be a picture of the crop's own size.
    """

    def __init__(
        self, rows: FaceList, crop: Crop, convention: Convention = "umeyama", outside: Outside = "black"
    ) -> None:
        self.rows = rows
        self.outside = outside
        self.crop = crop
        self.convention = convention
        numbers = {name: number for number, name in enumerate(sorted(set(rows.column("identity"))))}
        self.identities = np.array([numbers[name] for name in rows.column("identity")], np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    def identity(self, index: int) -> int:
        return int(self.identities[index])

    def picture(self, index: int) -> np.ndarray:
        row = self.rows[index]
        return aligned(self.rows.picture_path(index), row.landmarks, self.crop, self.convention, self.outside)


def aligned(
    path: Path,
    landmarks: np.ndarray | None,
    crop: Crop,
    convention: Convention = "umeyama",
    outside: Outside = "black",
) -> np.ndarray:
    """One picture, aligned: uint8 RGB (crop.height, crop.width, 3).

    Raises:
        BadPicture: if it cannot be read, or has no landmarks and is not of the crop's size.
    """
    picture = images.read(path)
    if landmarks is not None and np.isfinite(landmarks).all():
        points = crops.five_points(landmarks) if len(landmarks) == 68 else landmarks
        try:
            return crops.align(picture, points, crop, convention, outside=outside)
        except ValueError as error:
            raise BadPicture(path, f"its landmarks cannot be aligned: {error}") from error
    if picture.shape[:2] == (crop.height, crop.width):
        return picture
    size = f"{picture.shape[0]}x{picture.shape[1]}"
    raise BadPicture(
        path,
        f"no landmarks, and {size} px is not the {crop.name} crop's {crop.height}x{crop.width}: run "
        f"'facebridge data landmarks' on the list first",
    )


class DrawnFaces:
    """Embedded people, drawn and aligned when they are asked for, and kept as bytes from then on."""

    def __init__(self, data: SyntheticData, crop: Crop) -> None:
        self.data = data
        self.crop = crop
        self.drawn: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return self.data.identities * self.data.shots

    def identity(self, index: int) -> int:
        return index // self.data.shots

    def picture(self, index: int) -> np.ndarray:
        if index not in self.drawn:
            self._draw(index)
        return self.drawn[index]

    def _draw(self, index: int) -> None:
        """All shots of the person: one call draws them far faster than single ones."""
        from facebridge.data import synthetic

        person = self.identity(index)
        shots = synthetic.render(
            self.data.seed,
            [self.data.first_identity + person] * self.data.shots,
            list(range(self.data.shots)),
            size=self.data.size,
            domains=(self.data.domain,),
            yaw_range=self.data.yaw_range,
            truth=True,
        )
        pictures = images.to_pictures(shots.faces[self.data.domain])
        points = shots.landmarks5.cpu().numpy()
        for shot in range(self.data.shots):
            self.drawn[person * self.data.shots + shot] = crops.align(pictures[shot], points[shot], self.crop)


def faces_of(recipe: Recipe) -> Faces:
    """The faces that a recipe trains on.

    Raises:
        ValueError: if the list is missing, or none of its rows is of the split and domain asked for.
    """
    crop = crops.crop(recipe.crop)
    data = recipe.data
    if isinstance(data, SyntheticData):
        return DrawnFaces(data, crop)
    assert isinstance(data, FaceListData)
    rows = face_lists.read(data.list, root=data.root)
    wanted = {key: value for key, value in (("split", data.split), ("domain", data.domain)) if value is not None}
    chosen = rows.where(**wanted) if wanted else rows
    if not len(chosen):
        raise ValueError(f"{data.list}: none of its {len(rows)} rows has {wanted}")
    return ListedFaces(chosen, crop, data.convention, data.outside)
