"""A face list -> the embeddings of its faces, in one file; over many processes, going on after a kill.

OUT.npz              embeddings (N, D), path, identity, domain (N,), and recogniser, mirror, crop
OUT.safetensors      embeddings (N, D); path, identity and domain of each in OUT.safetensors.csv
OUT.parquet          columns path, identity, domain, embedding (a list of D float32): for more than memory holds
OUT.npz.parts/       the account of an unfinished job, see `facebridge.blocks`, and the embeddings of each block
"""

import io
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from facebridge import blocks, crops, images, recognisers, runs, weight_card, weights
from facebridge.blocks import Engine
from facebridge.crops import Convention
from facebridge.data import finding, list_files, reading
from facebridge.data.face_list import FaceList
from facebridge.data.pieces import FaceListWriter
from facebridge.data.source import Source, blocks_of, digest, rows_of
from facebridge.evaluation.ways import AS_IT_IS, Judge
from facebridge.images import BadPicture
from facebridge.key_values import key_and_value
from facebridge.recogniser import Mirror

COLUMNS = ("path", "identity", "domain")
FACES_PER_BATCH = 32
_ROWS_PER_GROUP = 1 << 15


@dataclass(frozen=True)
class JudgeSettings:
    """A recogniser to be built where it is used: in each worker. Can be pickled.

    name: one of `facebridge.recognisers.names()`, or the path of a run folder or of a file that describes itself.
    weights: its file; None for a shipped one, one of the user's store, or a path. settings: `key=value` with TOML
    values, such as `crop=arcface`. mirror: none, sum or concatenate.
    """

    name: str
    weights: Path | None = None
    settings: tuple[str, ...] = ()
    mirror: str = "none"

    def build(self) -> Judge:
        """The recogniser.

        Raises:
            ValueError: if a name or setting is unknown, or a published network comes without weights.
        """
        if self.mirror not in get_args(Mirror):
            raise ValueError(f"mirror is {self.mirror!r}; expected one of {', '.join(get_args(Mirror))}")
        if self.weights is None and self.name in recognisers.builtin() and not recognisers.has_weights(self.name):
            raise ValueError(f"{self.name} needs weights: an untrained recogniser judges nothing; add --weights FILE")
        settings = dict(map(key_and_value, self.settings))
        if recognisers.is_onnx(self.name):
            settings.setdefault("threads", 1)  # it has threads of its own, beside torch's
        return Judge(recognisers.load(self.name, self.weights, **settings), cast(Mirror, self.mirror))

    def absolute(self) -> "JudgeSettings":
        """The same recogniser for a process with another working folder."""
        name = str(Path(self.name).absolute()) if recognisers.is_path(self.name) else self.name
        return replace(self, name=name, weights=None if self.weights is None else self.weights.absolute())

    def contents(self) -> list[str]:
        """SHA-256 of each file that decides the recogniser; the same recogniser has the same, wherever it lies."""
        return [weight_card.digest(path) for path in recognisers.files(self.name, self.weights)]


@dataclass(frozen=True)
class Embedded:
    """How many faces were embedded, and the pictures that could not be used."""

    count: int
    refused: list[BadPicture] = field(default_factory=list)


def embed(
    judge: JudgeSettings,
    faces: Source,
    crop: str,
    out: Path,
    convention: Convention = "umeyama",
    *,
    engine: Engine = "local",
    workers: int | None = None,
    resume: bool = True,
    block_size: int = blocks.BLOCK_SIZE,
) -> Embedded:
    """Embed every face of a list into one file; called again after a kill, it goes on.

    Args:
        judge: the recogniser.
        faces: pictures with landmarks, or aligned ones that name their crop.
        crop: how they are aligned before they go in.
        out: the file to write: .npz, .safetensors or .parquet. It appears whole or not at all.
        convention: how the similarity is fitted.
        engine, workers, block_size: see `facebridge.blocks.run`; the numbers do not depend on the first two, bit for
            bit on one kind of machine. Under Ray the pictures, the weights and `out` lie on a shared file system.
        resume: False: throw away what an unfinished run left.

    Raises:
        ValueError: if the recogniser, the crop or the ending is unknown, no picture can be used, or an unfinished run
            of another job was writing to `out`.
        Stopped: if SIGTERM or Ctrl-C asked to stop; the same call goes on.
    """
    if out.suffix not in _WRITERS:
        raise ValueError(f"{out}: embeddings are written as {', '.join(_WRITERS)}")
    wanted, built = crops.crop(crop), judge.build()
    parts = out.absolute().with_name(f"{out.name}.parts")
    if not resume and parts.is_dir():
        with runs.locked(parts):
            shutil.rmtree(parts)
    work = Embedding(faces, faces.root.absolute(), parts, judge.absolute(), wanted.name, convention)
    with blocks.full_disk_told(out), runs.locked(parts):
        records = blocks.run(
            work,
            len(faces),
            parts,
            job=_job(work),
            title="embedding",
            engine=engine,
            workers=workers,
            block_size=block_size,
        )
        made: list[Refused] = [record["refused"] for record in records]
        refused = list(_refused(work, made, block_size))
        if len(refused) < len(faces):
            noted = {"recogniser": built.recogniser.name, "mirror": built.mirror, "crop": wanted.name}
            _WRITERS[out.suffix](out, _pieces(work, made, block_size), noted)
        shutil.rmtree(parts, ignore_errors=True)
    if len(refused) == len(faces):
        first = f"; the first: {refused[0]}" if refused else ""
        raise ValueError(f"none of the {len(faces)} pictures could be used{first}")
    return Embedded(len(faces) - len(refused), refused)


@dataclass(frozen=True)
class Embedding:
    """The work of `embed` on its rows; paths are absolute."""

    source: Source
    root: Path
    parts: Path
    judge: JudgeSettings
    crop: str
    convention: Convention

    def prepare(self) -> blocks.Step:
        """Load the recogniser, once in each worker."""
        judge = self.judge.build()
        return lambda start, stop: self._block(judge, start, stop)

    def rows(self, start: int, stop: int) -> FaceList:
        """Rows of the list."""
        return finding.moved(rows_of(self.source, start, stop), self.root)

    def part(self, start: int) -> Path:
        """Where the embeddings of the block that starts with this row lie."""
        return self.parts / f"{start:012}.npy"

    def _block(self, judge: Judge, start: int, stop: int) -> blocks.Record:
        rows, crop = self.rows(start, stop), crops.crop(self.crop)
        refused: list[tuple[int, str]] = []
        found: list[NDArray[np.float32]] = []
        for first in range(0, len(rows), FACES_PER_BATCH):
            pictures = []
            for place in range(first, min(first + FACES_PER_BATCH, len(rows))):
                try:
                    pictures.append(reading.aligned(rows, place, crop, self.convention))
                except BadPicture as bad:
                    refused.append((place, bad.cause))
            if pictures:
                found.append(judge.embed(AS_IT_IS, images.to_faces(np.stack(pictures)), crop))
        if found:
            content = io.BytesIO()
            np.save(content, np.concatenate(found))
            runs.write_bytes(self.part(start), content.getvalue())
        return {"refused": refused}


Refused = list[tuple[int, str]]
"""Of a block: place in it, and cause."""
Piece = tuple[FaceList, NDArray[np.float32]]
"""Rows, and their embeddings (N, D)."""


def _refused(work: Embedding, made: list[Refused], block_size: int) -> Iterator[BadPicture]:
    for number, refused in enumerate(made):
        if refused:
            rows = work.rows(number * block_size, (number + 1) * block_size)
            yield from (BadPicture(rows.picture_path(place), cause) for place, cause in refused)


def _pieces(work: Embedding, made: list[Refused], block_size: int) -> Iterator[Piece]:
    for (start, rows), refused in zip(blocks_of(work.source, block_size), made, strict=True):
        if len(refused) < len(rows):
            usable = np.ones(len(rows), bool)
            usable[[place for place, _ in refused]] = False
            yield rows.take(usable), np.load(work.part(start), allow_pickle=False)


def _write_npz(out: Path, pieces: Iterator[Piece], noted: dict[str, str]) -> None:
    columns, embeddings = _joined(pieces)
    arrays = {name: np.array(values) for name, values in {**noted, **columns}.items()}
    with list_files.replacing(out) as part, part.open("xb") as file:
        np.savez_compressed(file, allow_pickle=False, embeddings=embeddings, **arrays)


def _write_safetensors(out: Path, pieces: Iterator[Piece], noted: dict[str, str]) -> None:
    columns, embeddings = _joined(pieces)
    with FaceListWriter(out.with_name(f"{out.name}.csv"), COLUMNS) as listed:
        listed.write(FaceList(out.parent, columns))  # the paths as they are in the list, wherever `out` lies
    # One entry, because several would be written in an order that changes from run to run.
    weights.write(out, {"embeddings": torch.from_numpy(embeddings)}, {"embeddings": json.dumps(noted)})


def _write_parquet(out: Path, pieces: Iterator[Piece], noted: dict[str, str]) -> None:
    parquet = list_files.pyarrow_parquet()
    import pyarrow

    with ExitStack() as stack:
        part = stack.enter_context(list_files.replacing(out))
        writer = None
        for columns, embeddings in _grouped(pieces):
            values = pyarrow.array(embeddings.reshape(-1))
            vectors = pyarrow.FixedSizeListArray.from_arrays(values, embeddings.shape[1])
            texts = [pyarrow.array(columns[name], pyarrow.string()) for name in COLUMNS]
            table = pyarrow.table([*texts, vectors], names=[*COLUMNS, "embedding"]).replace_schema_metadata(noted)
            if writer is None:
                writer = stack.enter_context(parquet.ParquetWriter(part, table.schema))
            writer.write_table(table)


_WRITERS: dict[str, Callable[[Path, Iterator[Piece], dict[str, str]], None]] = {
    ".npz": _write_npz,
    ".safetensors": _write_safetensors,
    ".parquet": _write_parquet,
}


def _grouped(pieces: Iterator[Piece]) -> Iterator[tuple[dict[str, list[str]], NDArray[np.float32]]]:
    """Pieces put together until a group has enough rows."""
    waiting: list[Piece] = []
    for piece in pieces:
        waiting.append(piece)
        if sum(len(rows) for rows, _ in waiting) >= _ROWS_PER_GROUP:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def _joined(pieces: Iterable[Piece]) -> tuple[dict[str, list[str]], NDArray[np.float32]]:
    columns: dict[str, list[str]] = {name: [] for name in COLUMNS}
    embeddings = []
    for rows, found in pieces:
        embeddings.append(found)
        for name, values in columns.items():
            values += rows.column(name).tolist()
    return columns, np.concatenate(embeddings)


def _job(work: Embedding) -> dict[str, Any]:
    """What identifies the job; the recogniser by what is in its files."""
    judge = work.judge
    return {
        "list": digest(work.source),
        "root": str(work.root),
        "recogniser": judge.name,
        "weights": " ".join(judge.contents()),
        "settings": list(judge.settings),
        "mirror": judge.mirror,
        "crop": work.crop,
        "convention": work.convention,
    }
