"""A method at work: threads that read pictures, the network on its device, threads that write what it made.

What waits on either side of the network is bounded, so memory depends on the batch and not on how many pictures there
are.
"""

import errno
import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facebridge import blocks, images, pasting, runs, shipped
from facebridge.data import reading
from facebridge.hallucination import hallucinate, strip, turned, turning
from facebridge.images import BadPicture
from facebridge.made_faces import ACCOUNT, MadeFaces, refuse_other
from facebridge.method import HallucinationMethod, TakesPoints
from facebridge.precision import Precision, set_precision
from facebridge.progress import Progress
from facebridge.provenance import Provenance
from facebridge.source_faces import SourceFace, Sources
from facebridge.stopping import Stopped, stop_signals

Ending = Literal["png", "jpg"]

LIST = "faces.csv"
FULL = "full"
STRIP = "strip"


@dataclass(frozen=True)
class Done:
    """How many faces there are now, and the pictures that could not be used."""

    count: int
    refused: list[BadPicture] = field(default_factory=list)


class Maker:
    """The method on its device, and where and how its faces are written.

    folders: of further pictures of a face, and the columns that name them. files: of a face, with {stem} in them:
    itself, then one in each of the folders.
    """

    def __init__(
        self,
        run: str | Path,
        out: Path,
        ending: Ending,
        paste_back: bool,
        precision: Precision,
        device: str,
        batch_size: int,
        workers: int | None,
        yaw_deg: float | None = None,
        strip: bool = False,
    ) -> None:
        if ending not in get_args(Ending):
            raise ValueError(f"ending is {ending!r}; expected one of {', '.join(get_args(Ending))}")
        if batch_size < 1 or (workers is not None and workers < 1):
            raise ValueError(f"batches of {batch_size} faces, {workers} threads: both must be at least 1")
        self.device = as_device(device)
        self.method: HallucinationMethod[Any] = runs.load_hallucination(run)
        _check_turning(self.method, yaw_deg, strip)
        set_precision(self.method.to(self.device), precision)
        self.yaw_deg, self.strip = yaw_deg, strip
        self.out, self.ending, self.paste_back, self.batch_size = out, ending, paste_back, batch_size
        self.workers = workers or min(16, max(2, os.cpu_count() or 1))
        self.made_by = made_by(run)
        self.weights = weights_sha256(run)
        self.version = metadata.version("facebridge")
        self.folders = [*([FULL] if paste_back else []), *([STRIP] if strip else [])]
        self.files = [f"{folder}{{stem}}.{ending}" for folder in ["", *(f"{name}/" for name in self.folders)]]
        self.job: dict[str, Any] = {
            "made_by": self.made_by,
            "weights": self.weights,
            "ending": ending,
            "paste_back": paste_back,
            "batch_size": batch_size,
            # Nothing where it is as it always was: a folder that knows none of these can be gone on with.
            "precision": None if precision == "float32" else precision,
            "yaw_deg": yaw_deg,
            "strip": strip or None,
        }

    def make(
        self,
        sources: Sources,
        job: dict[str, Any],
        write_list: Callable[[NDArray[np.int64], MadeFaces], None],
        notes: dict[str, Any],
    ) -> Done:
        """Make what is not made yet, then the list."""
        refuse_other(self.out, job)
        with ExitStack() as stack:
            stack.enter_context(blocks.full_disk_told(self.out))
            _check_writable(self.out)
            stack.enter_context(runs.locked(self.out / ACCOUNT))
            account = stack.enter_context(MadeFaces(self.out, {**job, **notes}))
            there = account.read(sources, self.files)
            stop = stack.enter_context(stop_signals())
            bar = stack.enter_context(Progress("generating", len(sources), done=int(there.sum())))
            flow = Flow(self, sources, account, there)
            for num_done in flow.run(stop.is_set):
                bar.step(num_done)
            if int(there.sum()) + len(flow.refused) < len(sources):
                raise Stopped(
                    f"generating stopped: {int(there.sum()):,} of {len(sources):,} faces are done; the same command "
                    "goes on from there"
                )
            account.flush()
            made = np.flatnonzero(there)
            if len(made):
                write_list(made, account)
            else:
                (self.out / LIST).unlink(missing_ok=True)
            return Done(len(made), [flow.refused[row] for row in sorted(flow.refused)])

    def name(self, stem: str) -> str:
        return self.files[0].format(stem=stem)

    def network(self, faces: NDArray[np.uint8], seed: int, points: NDArray[np.float32] | None = None) -> "Made":
        """(B, h, w, 3) uint8 through the method. A method that draws numbers draws the same for the same batch.

        points: (B, 5, 2) px of the faces; None: nothing is known beyond the crop.
        """
        stacked = torch.from_numpy(faces)
        if self.device.type == "cuda":
            stacked = stacked.pin_memory().to(self.device, non_blocking=True)
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(seed)
            sources = stacked.permute(0, 3, 1, 2).contiguous().float() / 255
            made = self._faces(sources, points)
            strips = Made(strip(self.method, sources)) if self.strip else None
        return Made(made, strips)

    def _faces(self, sources: Tensor, points: NDArray[np.float32] | None) -> Tensor:
        if self.yaw_deg is not None:
            return turned(self.method, sources, self.yaw_deg)
        if points is None or not isinstance(self.method, TakesPoints):
            return hallucinate(self.method, sources)
        return hallucinate(self.method, sources, points=torch.from_numpy(points).to(self.device))

    def write(self, sources: Sources, row: int, source: SourceFace, made: "Made", place: int, part: str) -> None:
        """Write the files of one face."""
        face = made.picture(place)
        if face is None:
            raise BadPicture(source.path, "the method made numbers of it that are none (NaN)")
        told = Provenance(self.made_by, self.weights, self.version, source.source, source.sha256)
        pictures = [(face, told)]
        if self.paste_back:
            assert source.matrix is not None
            whole = pasting.paste(sources.whole(row, source.sha256), face, source.matrix)
            pictures.append((whole, Provenance(**{**asdict(told), "pasted": True})))
        if made.strips is not None:
            turned_faces = made.strips.picture(place)
            if turned_faces is None:
                raise BadPicture(source.path, "the method made numbers of its strip that are none (NaN)")
            pictures.append((turned_faces, told))
        for name, (picture, provenance) in zip(self.files, pictures, strict=True):
            if self.ending == "jpg" and max(picture.shape) > _LARGEST_JPEG_PX:
                raise BadPicture(source.path, f"over {_LARGEST_JPEG_PX:,} px wide or high, too large for a JPEG file")
            path = self.out / name.format(stem=source.stem)
            with open(part, "wb") as file:
                file.write(images.encode(picture, path.suffix, provenance))
                file.flush()
                os.fsync(file.fileno())
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                os.replace(part, path)
            except OSError as error:
                if error.errno not in _NAME_ERRORS:
                    raise
                cause = f"its face cannot be written as {path} ({error.strerror}): rename it"
                raise BadPicture(source.path, cause) from error


class Made:
    """A batch of generated faces on its way from the device: the next batch need not wait for it.

    strips: what else was made of the same sources, face by face.
    """

    def __init__(self, faces: Tensor, strips: "Made | None" = None) -> None:
        self.strips = strips
        levels = (faces.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
        broken = faces.isnan().flatten(1).any(1)
        self._event: torch.cuda.Event | None = None
        if faces.is_cuda:
            self._levels = torch.empty(levels.shape, dtype=levels.dtype, pin_memory=True)
            self._broken = torch.empty(broken.shape, dtype=broken.dtype, pin_memory=True)
            self._levels.copy_(levels, non_blocking=True)
            self._broken.copy_(broken, non_blocking=True)
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record()
        else:
            self._levels, self._broken = levels, broken

    def picture(self, place: int) -> NDArray[np.uint8] | None:
        """uint8 RGB (H, W, 3), or None where the network gave NaN."""
        if self._event is not None:
            self._event.synchronize()
        return None if bool(self._broken[place]) else self._levels[place].numpy()


_Read = SourceFace | BadPicture


class Flow:
    """Reading threads, the network, writing threads.

    there: which rows are made; kept up to date. refused: why rows could not be.
    """

    def __init__(self, maker: Maker, sources: Sources, account: MadeFaces, there: NDArray[np.bool_]) -> None:
        self.maker = maker
        self.sources = sources
        self.account = account
        self.there = there
        self.refused: dict[int, BadPicture] = {}
        self.writing: deque[tuple[int, SourceFace, Future[None]]] = deque()
        self.names = dict(account.names)

    def run(self, is_asked_to_stop: Callable[[], bool]) -> Iterator[int]:
        """How many rows are dealt with, after each batch."""
        maker = self.maker
        with ThreadPoolExecutor(maker.workers) as readers, ThreadPoolExecutor(maker.workers) as writers:
            try:
                for rows, found in self._ahead(readers):
                    if is_asked_to_stop():
                        break
                    self._batch(rows, found, writers)
                    self._finish(at_most=_BEHIND * maker.batch_size)
                    yield int(self.there.sum()) + len(self.refused)
                self._finish(at_most=0)
                yield int(self.there.sum()) + len(self.refused)
            finally:
                for pool in (readers, writers):
                    pool.shutdown(wait=True, cancel_futures=True)

    def _ahead(self, readers: ThreadPoolExecutor) -> Iterator[tuple[range, list[_Read]]]:
        """The batches in order, of which a few are begun before they are asked for; those that are made are left out.

        A batch of which some faces are made goes through the network as a whole, so that each face comes out as if
        nothing had been interrupted; only the missing ones are written.
        """
        size, count = self.maker.batch_size, len(self.there)
        batches = (range(start, min(start + size, count)) for start in range(0, count, size))
        missing = (rows for rows in batches if not self.there[rows.start : rows.stop].all())
        begun: deque[tuple[range, list[Future[_Read]]]] = deque()
        for rows in missing:
            begun.append((rows, [readers.submit(_read, self.sources, row) for row in rows]))
            if len(begun) > _AHEAD:
                yield _waited(*begun.popleft())
        while begun:
            yield _waited(*begun.popleft())

    def _batch(self, rows: range, found: Sequence[_Read], writers: ThreadPoolExecutor) -> None:
        """Through the network, faces of one size together."""
        by_size: dict[tuple[int, ...], list[tuple[int, SourceFace]]] = {}
        for row, source in zip(rows, found, strict=True):
            refused = source if isinstance(source, BadPicture) else self._name_taken(row, source)
            if refused is not None:
                if not self.there[row]:
                    self.refused[row] = refused
            else:
                assert isinstance(source, SourceFace)
                by_size.setdefault(source.face.shape, []).append((row, source))
        for members in by_size.values():
            try:
                faces = [source.face for _, source in members]
                made = self.maker.network(np.stack(faces), rows.start, self._points([each for _, each in members]))
            except RuntimeError as error:
                self._refuse_size(members, error)
                continue
            for place, (row, source) in enumerate(members):
                if not self.there[row]:
                    arguments = (self.sources, row, source, made, place, self.account.part())
                    self.writing.append((row, source, writers.submit(self.maker.write, *arguments)))

    def _points(self, sources: Sequence[SourceFace]) -> NDArray[np.float32] | None:
        """(B, 5, 2) in pixels of faces of one size, the crop's where nothing else is known; None: where none is."""
        if all(source.points is None for source in sources):
            return None
        height, width = sources[0].face.shape[:2]
        of_crop = np.array(reading.scaled(self.maker.method.crop, height, width).points, np.float32)
        return np.stack([of_crop if source.points is None else source.points for source in sources])

    def _refuse_size(self, members: Sequence[tuple[int, SourceFace]], error: RuntimeError) -> None:
        """Faces of a size that the network was not trained on may be too small for it; all else is raised again."""
        size, trained = members[0][1].face.shape[:2], self.maker.method.source_sizes()
        if isinstance(error, torch.OutOfMemoryError) or size in trained:
            raise error
        sizes = ", ".join(f"{height}x{width}" for height, width in trained)
        cause = f"the method cannot take a face of {size[0]}x{size[1]} px ({error}): it was trained on {sizes}"
        self.refused |= {row: BadPicture(source.path, cause) for row, source in members if not self.there[row]}

    def _name_taken(self, row: int, source: SourceFace) -> BadPicture | None:
        """Shards may come from strangers, and name two faces alike, or one as what else is written."""
        folder = PurePosixPath(source.stem).parts[0]
        if folder != source.stem and folder in (LIST, *self.maker.folders):
            cause = f"its face lies in a folder {folder}, the name of something that is written: rename it"
            return BadPicture(source.path, cause)
        first = self.names.setdefault(source.stem, row) if source.cells else row
        name = self.maker.name(source.stem)
        return None if first == row else BadPicture(source.path, f"another face was written as {name} already")

    def _finish(self, at_most: int) -> None:
        """Wait until at most so many faces are still being written, and put the others into the account."""
        while len(self.writing) > at_most:
            row, source, written = self.writing.popleft()
            try:
                written.result()
            except BadPicture as bad:
                self.refused[row] = BadPicture(bad.path, bad.cause)  # without the traceback, which holds pixels
                continue
            line = {"row": row, "stem": source.stem, "facts": self.sources.facts(row), "stamp": source.stamp}
            line |= {"sha256": source.sha256} | ({"cells": source.cells} if source.cells else {})
            self.account.add(row, line)
            self.there[row] = True
        self.account.flush()


_LARGEST_JPEG_PX = 65500  # libjpeg's
_NAME_ERRORS = (errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG)
_AHEAD = 2  # batches whose pictures are being read
_BEHIND = 2  # batches whose faces are being written


def _read(sources: Sources, row: int) -> _Read:
    try:
        return sources.read(row)
    except BadPicture as bad:
        return BadPicture(bad.path, bad.cause)  # without the traceback, which holds pixels


def _waited(rows: range, begun: list[Future[_Read]]) -> tuple[range, list[_Read]]:
    return rows, [future.result() for future in begun]


def _check_turning(method: HallucinationMethod[Any], yaw_deg: float | None, strip: bool) -> None:
    """ValueError: if turned heads are asked for of a method that does not turn them, or not so far."""
    if yaw_deg is None and not strip:
        return
    poses = turning(method).poses_deg()
    if yaw_deg is not None and not min(poses) <= yaw_deg <= max(poses):
        raise ValueError(
            f"a yaw of {yaw_deg:g} degrees: {type(method).__name__} was trained from {min(poses):g} to {max(poses):g}"
        )


def _check_writable(out: Path) -> None:
    """ValueError: if the folder cannot be made or written to."""
    try:
        (out / ACCOUNT).mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=out), TemporaryFile(dir=out / ACCOUNT):
            pass
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ValueError(
            f"{out}: cannot be written to ({error.strerror}): choose another folder, or get leave to write there"
        ) from error


def made_by(run: str | Path) -> str:
    """What generated pictures are marked with: FaceBridge, the method and, where it is one, the shipped run."""
    name = shipped.name_of(run)
    return f"FaceBridge {runs.find(run).recipe.method}" + (f" (shipped run {name})" if name else "")


def weights_sha256(run: str | Path) -> str:
    """SHA-256 of the file that `facebridge.load` takes the weights of a run from.

    ValueError: if it has none.
    """
    with runs.find(run).trained().open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def as_device(name: str) -> torch.device:
    """auto (cuda where there is one), cpu or cuda. ValueError: if it is none of these, or not there."""
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device is {name!r}; expected auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("no CUDA device was found: use --device cpu")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")
