"""What a worker of a sampling job does: noise through the network, and pictures that say what they are into files."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from facebridge import allocator, blocks, images, noise, runs
from facebridge.block_files import BlockFiles
from facebridge.crops import Crop
from facebridge.data import shards
from facebridge.data.face_list import FaceList
from facebridge.making import weights_sha256
from facebridge.method import HallucinationMethod, RecognitionMethod, SamplingMethod
from facebridge.provenance import Provenance

Ending = Literal["jpg", "png"]
Layout = Literal["files", "shards"]
Arithmetic = Literal["float32", "bfloat16"]

UNFINISHED = ".sampling"
PARTS = "parts"
PAIRS_PER_FOLDER = 1000


@dataclass(frozen=True)
class Settings:
    """How pairs are drawn and written; see `facebridge.sampling.sample`."""

    seed: int
    ending: Ending
    layout: Layout
    precision: Arithmetic
    device: str
    batch_size: int


@dataclass(frozen=True)
class NewPairs:
    """The work of `facebridge.sampling.sample`, whose rows are pairs; paths are absolute.

    weights_sha256: of the weights' file. made_by: FaceBridge and the method.
    """

    run: Path
    out: Path
    count: int
    settings: Settings
    block_size: int
    weights_sha256: str
    made_by: str

    def prepare(self) -> blocks.Step:
        """Load the method, once in each worker."""
        allocator.keep_memory()
        return _Sampler(self).block

    def name(self, pair: int, domain: str) -> str:
        """The file of a picture, relative to `out`."""
        return f"{domain}/{pair // PAIRS_PER_FOLDER:04}/{pair:08}.{self.settings.ending}"

    def identity(self, pair: int) -> str:
        """A name that no real person has, and no pair of other weights or another seed."""
        return f"generated-{self.weights_sha256[:12]}-{self.settings.seed}-{pair:08}"

    def listed(self, start: int, stop: int, domains: Sequence[str], crop: Crop) -> FaceList:
        """The rows of pairs, one after the other."""
        numbers = [pair for pair in range(start, stop) for _ in domains]
        each = list(domains) * (stop - start)
        identities = [self.identity(pair) for pair in numbers]
        columns = {
            "path": [self.name(pair, domain) for pair, domain in zip(numbers, each, strict=True)],
            "identity": identities,
            "domain": each,
            "pair": identities,
            "crop": [crop.name] * len(numbers),
        }
        return FaceList(self.out, columns, np.tile(np.array(crop.points, np.float32), (len(numbers), 1, 1)))


class _Sampler:
    """A worker, with the method on its device."""

    def __init__(self, work: NewPairs) -> None:
        self.work = work
        self.settings = work.settings
        if weights_sha256(work.run) != work.weights_sha256:
            raise ValueError(f"the weights of {work.run} changed while pairs were sampled: start again elsewhere")
        self.method = load(work.run)
        self.method.to(self.settings.device)
        self.method.streamline(getattr(torch, self.settings.precision))
        self.version = metadata.version("facebridge")
        self.sink: _Files | _Shard = _Files(work) if self.settings.layout == "files" else _Shard(work)

    def block(self, start: int, stop: int) -> blocks.Record:
        """Make pairs; the record names the domains."""
        domains: list[str] = []
        for first in range(start, stop, self.settings.batch_size):
            drawn = noise.standard_normal(self.settings.seed, first, self.settings.batch_size, self.method.noise_size)
            pictures = self._pictures(first, drawn)
            domains = list(pictures)
            for place in range(min(self.settings.batch_size, stop - first)):
                told = self._told(first + place, drawn[place])
                for domain in domains:
                    data = images.encode(pictures[domain][place], f".{self.settings.ending}", told)
                    self.sink.add(self.work.name(first + place, domain), data)
        self.sink.end_block(self.work.listed(start, stop, domains, self.method.crop), start)
        return {"domains": domains}

    @torch.inference_mode()
    def _pictures(self, first: int, drawn: NDArray[np.float32]) -> dict[str, NDArray[np.uint8]]:
        """By domain uint8 RGB (batch_size, H, W, 3). The last batch is a whole one too, so that what comes of a pair
        does not depend on how many there are."""
        faces = self.method.pairs(torch.from_numpy(drawn).to(self.settings.device))
        try:
            return {domain: images.to_pictures(batch) for domain, batch in faces.items()}
        except ValueError as error:
            last = first + len(drawn) - 1
            raise ValueError(
                f"{self.work.run}: of pairs {first} to {last} its method made no pictures: {error}"
            ) from error

    def _told(self, pair: int, drawn: NDArray[np.float32]) -> Provenance:
        return Provenance(
            self.work.made_by,
            self.work.weights_sha256,
            self.version,
            f"noise of seed {self.settings.seed}, pair {pair}",
            hashlib.sha256(drawn.astype("<f4").tobytes()).hexdigest(),
        )


class _Files:
    """Writes each picture to a file of its own."""

    def __init__(self, work: NewPairs) -> None:
        self.files = BlockFiles(work.out, work.out / UNFINISHED / PARTS)

    def add(self, name: str, data: bytes) -> None:
        self.files.write(name, data)

    def end_block(self, rows: FaceList, start: int) -> None:
        """Have the disk keep the files."""
        self.files.keep()


class _Shard:
    """Writes the pictures of a block as one shard."""

    def __init__(self, work: NewPairs) -> None:
        self.work = work
        self.pictures: list[bytes] = []

    def add(self, name: str, data: bytes) -> None:
        self.pictures.append(data)

    def end_block(self, rows: FaceList, start: int) -> None:
        crop = str(rows.column("crop")[0])
        shards.write_shard(self.work.out, start // self.work.block_size, crop, rows, enumerate(self.pictures))
        self.pictures = []


def load(run: str | Path) -> SamplingMethod[Any]:
    """The trained method of a run, in evaluation mode, on the CPU.

    Raises:
        ValueError: as `runs.load`, and if the method makes no people from noise.
    """
    method = runs.load(run)
    if isinstance(method, SamplingMethod):
        return method
    does = "trains something else"
    if isinstance(method, HallucinationMethod):
        does = "makes faces from faces: use facebridge generate"
    elif isinstance(method, RecognitionMethod):
        does = "embeds faces: give it as --recogniser"
    name = runs.find(run).recipe.method
    raise ValueError(f"{run} is a run of {name}, which makes no people from noise; it {does}")
