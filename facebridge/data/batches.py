"""Batches as a function of the step: any step can be asked for, in any order, on any machine.

So the place in the data is one number, resuming costs nothing, and a batch can be made ahead of time in a thread.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facebridge import images, parts
from facebridge.data.faces import Faces, FivePointFaces, ParsedFaces, PlacedFaces, PosedFaces
from facebridge.data.samplers import Sample, Sampler, SingleFaces
from facebridge.images import BadPicture
from facebridge.landmarks.points68 import MIRRORED
from facebridge.pose import mirrored_points

Report = Callable[[BadPicture], None]
"""Told of a picture that cannot be used."""

_NO_POINTS = np.zeros((0, 2), np.float32)
_NO_PARSING = np.zeros((0, 0), np.uint8)
_MIRROR_TARGET_SALT, _MIRROR_SOURCE_SALT = 1, 2


class Batches:
    """Aligned faces in a shuffled order that is decided by the seed alone.

    Args:
        faces: where they come from.
        batch_size: samples in a step, over all processes.
        seed: decides the order, the pairs and the mirroring.
        sampler: which rows stand together; absent: single faces.
        mirror: whether a face is mirrored with probability one half.
        points: whether batches hold the faces' 68 landmarks too.
        five_points: whether they hold the faces' five points.
        yaw: whether they say how far each head is turned to a side.
        parsing: whether batches say of each pixel of the targets which part of the face it shows.
        rank, processes: which part of each batch is made here.
        report: told of each bad picture, once; the next sample of the order then takes the place of the one it is in.

    Raises:
        ValueError: if the batch cannot be shared evenly, there are fewer samples than a batch needs, or landmarks,
            yaw or parts are asked for of faces that have none.
    """

    def __init__(
        self,
        faces: Faces,
        batch_size: int,
        seed: int,
        *,
        sampler: Sampler | None = None,
        mirror: bool = True,
        points: bool = False,
        five_points: bool = False,
        yaw: bool = False,
        parsing: bool = False,
        rank: int = 0,
        processes: int = 1,
        report: Report = lambda bad: None,
    ) -> None:
        if batch_size % processes:
            raise ValueError(f"a batch of {batch_size} faces cannot be shared evenly by {processes} processes")
        self.sampler = SingleFaces(range(len(faces))) if sampler is None else sampler
        if len(self.sampler) < batch_size:
            what = "pairs" if self.sampler.num_sources else "faces"
            raise ValueError(
                f"{len(self.sampler)} {what} are fewer than one batch of {batch_size}: lower training.batch_size"
            )
        for is_asked, kind, what in (
            (points, PlacedFaces, "where their 68 landmarks lie"),
            (five_points, FivePointFaces, "where their five points lie"),
            (yaw, PosedFaces, "how far heads are turned"),
            (parsing, ParsedFaces, "which parts they show where"),
        ):
            if is_asked and not isinstance(faces, kind):
                raise ValueError(
                    f"{type(faces).__name__} do not say {what}, which this method needs: train from the list of the "
                    'pictures (data.kind = "face_list"), or on drawn people; shards hold the faces alone'
                )
        self.faces = faces
        self._placed = faces if points and isinstance(faces, PlacedFaces) else None
        self._pointed = faces if five_points and isinstance(faces, FivePointFaces) else None
        self._posed = faces if yaw and isinstance(faces, PosedFaces) else None
        self._parsed = faces if parsing and isinstance(faces, ParsedFaces) else None
        self.batch_size = batch_size
        self.seed = seed
        self.mirror = mirror
        self.rank = rank
        self.processes = processes
        self.report = report
        self.bad: dict[int, BadPicture] = {}

    def __call__(self, step: int) -> dict[str, Tensor]:
        """The batch of a step, counted from 0.

        `target` (B, 3, H, W) in [0, 1] and `target_identity` (B,); with one source `source` (B, 3, H, W), with k of
        them (B, k, 3, H, W), and `source_identity` (B,); where generated faces are mixed in, `is_generated` (B,) bool;
        with points `target_points` and `source_points` (B, 68, 2) or (B, k, 68, 2), with five points `target_points5`
        and `source_points5` likewise; with yaw `target_yaw_deg` and `source_yaw_deg` (B,) or (B, k) float32; with
        parsing `target_parsing` (B, H, W) uint8.
        """
        share = self.batch_size // self.processes
        first = step * self.batch_size + self.rank * share
        found = [self._usable(first + offset) for offset in range(share)]
        samples = [usable.sample for usable in found]
        pictures = np.stack([picture for usable in found for picture in usable.pictures])
        faces = images.to_faces(pictures)
        faces = faces.reshape(share, -1, *faces.shape[1:])  # (B, 1 + k, 3, H, W)
        points = torch.from_numpy(np.stack([usable.points for usable in found]))  # (B, 1 + k, 68 or 0, 2)
        points5 = torch.from_numpy(np.stack([usable.points5 for usable in found]))  # (B, 1 + k, 5 or 0, 2)
        yaw_deg = torch.from_numpy(np.stack([usable.yaw_deg for usable in found]))  # (B, 1 + k)
        parsing = torch.from_numpy(np.stack([usable.parsing for usable in found]))  # (B, H, W), or (B, 0, 0)
        if self.mirror:
            mirrored = torch.from_numpy(self._mirrored(step, samples))[:, :, None, None]
            faces = torch.where(mirrored[..., None], faces.flip(-1), faces)
            if self._placed is not None:
                points = torch.where(mirrored, mirrored_points(points, faces.shape[-1], MIRRORED), points)
            if self._pointed is not None:
                points5 = torch.where(mirrored, mirrored_points(points5, faces.shape[-1]), points5)
            yaw_deg = torch.where(mirrored[..., 0, 0], -yaw_deg, yaw_deg)
            parsing = torch.where(mirrored[:, 0], parts.mirrored(parsing), parsing)
        batch = self._named(samples, faces)
        if self._placed is not None:
            batch |= self._by_side("points", points)
        if self._pointed is not None:
            batch |= self._by_side("points5", points5)
        if self._posed is not None:
            batch |= self._by_side("yaw_deg", yaw_deg)
        if self._parsed is not None:
            batch["target_parsing"] = parsing.contiguous()
        return batch

    def _named(self, samples: list[Sample], faces: Tensor) -> dict[str, Tensor]:
        sides = self._by_side("", faces)
        batch = {
            "target": sides["target"],
            "target_identity": torch.tensor([self.faces.identity(sample.target) for sample in samples]),
        }
        if self.sampler.num_sources:
            batch["source"] = sides["source"]
            batch["source_identity"] = torch.tensor([self.faces.identity(sample.sources[0]) for sample in samples])
        if self.sampler.mixes_generated:
            batch["is_generated"] = torch.tensor([sample.is_generated for sample in samples])
        return batch

    def _by_side(self, what: str, of_all: Tensor) -> dict[str, Tensor]:
        """(B, 1 + k, ...): of the targets alone, and of their source, or their k sources."""
        found = {"target": of_all[:, 0].contiguous()}
        if self.sampler.num_sources:
            found["source"] = (of_all[:, 1] if self.sampler.num_sources == 1 else of_all[:, 1:]).contiguous()
        return {f"{side}_{what}" if what else side: value for side, value in found.items()}

    def _mirrored(self, step: int, samples: list[Sample]) -> NDArray[np.bool_]:
        """(B, 1 + k) for this process: whether the target and its sources are mirrored."""
        share = len(samples)
        mine = slice(self.rank * share, (self.rank + 1) * share)
        target = np.random.default_rng([self.seed, step, 0, _MIRROR_TARGET_SALT]).random(self.batch_size)[mine, None]
        shape = (self.batch_size, self.sampler.num_sources)
        sources = np.random.default_rng([self.seed, step, 0, _MIRROR_SOURCE_SALT]).random(shape)[mine]
        together = np.array([sample.mirrored_together for sample in samples])[:, None]
        return np.concatenate([target, np.where(together, target, sources)], axis=1) < 0.5

    def _usable(self, place: int) -> "_Usable":
        """The sample at a place of the endless order, or the next one that can be used."""
        for _ in range(2 * len(self.sampler)):  # one whole epoch is among them
            sample = self.sampler.sample(self.seed, place)
            found = self._read(sample)
            if found is not None:
                return found
            place = self.sampler.following(place)
        last = next(reversed(self.bad.values()))
        if not self.sampler.num_sources:
            raise ValueError(f"none of the {len(self.faces)} pictures can be used; the last: {last}")
        raise ValueError(
            f"no pair was found whose pictures can be used: {len(self.bad)} of {len(self.faces)} cannot, the last: "
            f"{last}"
        )

    def _read(self, sample: Sample) -> "_Usable | None":
        """The sample with its pictures and what is asked for of them; None, if one of them cannot be used."""
        rows = (sample.target, *sample.sources)
        if any(row in self.bad for row in rows):
            return None
        pictures, places, fives, yaws, parsing = [], [], [], [], _NO_PARSING
        for row in rows:
            try:
                pictures.append(self.faces.picture(row))
                places.append(_NO_POINTS if self._placed is None else self._placed.points(row))
                fives.append(_NO_POINTS if self._pointed is None else self._pointed.points5(row))
                yaws.append(0.0 if self._posed is None else self._posed.yaw_deg(row))
                if row == sample.target and self._parsed is not None:
                    parsing = self._parsed.parsing(row)
            except BadPicture as bad:
                self.bad[row] = BadPicture(bad.path, bad.cause)  # its traceback would hold pictures, a whole shard
                self.report(bad)
                return None
        return _Usable(sample, pictures, np.stack(places), np.stack(fives), np.array(yaws, np.float32), parsing)


@dataclass(frozen=True)
class _Usable:
    """A sample, target first, then sources; without what is not asked for.

    points: (1 + k, 68, 2) or (1 + k, 0, 2). points5: (1 + k, 5, 2) or (1 + k, 0, 2). yaw_deg: (1 + k,), zeros where it
    is not asked for. parsing: of the target, (H, W) or (0, 0).
    """

    sample: Sample
    pictures: list[NDArray[np.uint8]]
    points: NDArray[np.float32]
    points5: NDArray[np.float32]
    yaw_deg: NDArray[np.float32]
    parsing: NDArray[np.uint8]


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
