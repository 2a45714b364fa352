"""Pairs of pictures of people who do not exist, as many as are asked for; over many processes, going on after a kill.

OUT/nir/0000/00000012.jpg   pair 12: a person as a near-infrared camera would see them; at most 1,000 a folder
    vis/0000/00000012.jpg   the same person in visible light; one folder for each domain of the method
    sheet.png               the first pairs
    faces.csv               the list of all pictures
    sampled.json            how they were made, written last
    .sampling/              the account of an unfinished job, see `facebridge.blocks`

As shards, OUT holds `facebridge.data.shards` in place of the pictures and their list; a block is a shard.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

from facebridge import blocks, crops, images, noise, runs
from facebridge.blocks import Engine
from facebridge.data import shards
from facebridge.data.pieces import FaceListWriter
from facebridge.making import as_device, weights_sha256
from facebridge.new_pairs import PARTS, UNFINISHED, Arithmetic, Ending, Layout, NewPairs, Settings, load

Precision = Literal["auto", "float32", "bfloat16"]

LIST = "faces.csv"
SHEET = "sheet.png"
DONE = "sampled.json"
BATCH_SIZE = 20
"""Pairs that come out of the network together: 0 to 19, 20 to 39, and so on."""
PAIRS_PER_BLOCK = 200
PAIRS_PER_SHARD = 1000
PAIRS_ON_SHEET = 24
PAIRS_PER_ROW = 8

_COLUMNS = ("path", "identity", "domain", "pair", "crop")


@dataclass(frozen=True)
class Sampled:
    """What there is at the end: how many pairs, the list of their pictures (of shards the index), and the sheet."""

    count: int
    faces: Path
    sheet: Path


def sample(
    run: Path,
    out: Path,
    count: int,
    *,
    seed: int = 0,
    ending: Ending = "jpg",
    layout: Layout = "files",
    precision: Precision = "auto",
    device: str = "auto",
    engine: Engine = "local",
    workers: int | None = None,
    batch_size: int = BATCH_SIZE,
    block_size: int | None = None,
) -> Sampled:
    """Make pairs of new people, each once, whatever is killed in between; called again, it goes on.

    Args:
        run: a run folder whose method makes people from noise.
        out: a new folder, or the one of an unfinished or finished run of the same job.
        count: how many pairs.
        seed: decides, with the number of a pair, its noise; see `facebridge.noise`.
        ending: "jpg" is written at quality 95 with full chroma, "png" keeps every pixel.
        layout: "files", or "shards": a few large tar files (needs webdataset), with one shard for each block.
        precision: of the network; "auto": bfloat16 where the device computes in it, else float32. What was chosen when
            the job began stays for the whole of it.
        device: auto, cpu or cuda; chosen as the precision is. On cuda one worker in this process does all.
        engine, workers: see `facebridge.blocks.run`; what is written does not depend on them. Under Ray the run and
            `out` lie on a file system that all machines share.
        batch_size: pairs that come out of the network together; pictures depend on it by rounding alone.
        block_size: pairs of a block; None: 200, of shards 1,000, or the next multiple of the batch size.

    Raises:
        ValueError: if the run has no weights or its method makes no people from noise, an option is wrong, the disk is
            full, or `out` holds something else.
        Stopped: if SIGTERM or Ctrl-C asked to stop; the same call goes on.
    """
    known = _known_job(out)
    device = _chosen_device(device, engine, workers, known)
    settings = Settings(seed, ending, layout, _chosen_precision(precision, device, known), device, batch_size)
    if block_size is None:
        block_size = _whole_batches(PAIRS_PER_BLOCK if layout == "files" else PAIRS_PER_SHARD, batch_size)
    _refuse_unknown(settings, count, block_size, engine, workers)
    work = NewPairs(run.absolute(), out.absolute(), count, settings, block_size, weights_sha256(run), _made_by(run))
    job = _job(work)
    finished = _open(out, job)
    if finished is not None:
        return finished
    with blocks.full_disk_told(out), runs.locked(out / UNFINISHED):
        _remove_parts(out)
        records = blocks.run(
            work,
            count,
            out / UNFINISHED,
            job=job,
            title="sampling",
            engine=engine,
            workers=1 if device == "cuda" else workers,
            block_size=block_size,
        )
        return _finish(work, records, job)


def computes_in_bfloat16(device: str) -> bool:
    """Whether a device, cpu or cuda, multiplies bfloat16 itself: elsewhere it is slower than float32."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    found: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older PyTorch cannot tell
    return any(found.get(name, False) for name in _BFLOAT16)


_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")  # Intel and AMD, Intel's matrix unit, ARM


def _finish(work: NewPairs, records: Iterator[blocks.Record], job: dict[str, Any]) -> Sampled:
    """Write list and sheet, then the note that all is done; take the account away."""
    all_domains = [record["domains"] for record in records]
    crop = crops.crop(runs.Run(work.run).recipe.crop)
    if work.settings.layout == "files":
        listed = work.out / LIST
        with FaceListWriter(listed, _COLUMNS, len(crop.points)) as writer:
            for block, domains in enumerate(all_domains):
                start = block * work.block_size
                writer.write(work.listed(start, min(start + work.block_size, work.count), domains, crop))
    else:
        shards.write_index(work.out)
        listed = work.out / shards.INDEX
    _write_sheet(work, all_domains[0])
    note = {"count": work.count, "pictures": work.count * len(all_domains[0]), "list": listed.name, "job": job}
    runs.write_bytes(work.out / DONE, json.dumps(note, indent=1).encode())
    shutil.rmtree(work.out / UNFINISHED, ignore_errors=True)
    return Sampled(work.count, listed, work.out / SHEET)


def _write_sheet(work: NewPairs, domains: Sequence[str]) -> None:
    """The first pairs, a row of each domain under the other."""
    numbers = range(min(work.count, PAIRS_ON_SHEET))
    if work.settings.layout == "files":
        pictures = [[images.read(work.out / work.name(pair, domain)) for domain in domains] for pair in numbers]
    else:
        made = shards.ShardedFaces(work.out, mix=1)
        size = len(domains)
        pictures = [[made.picture(size * pair + place) for place in range(size)] for pair in numbers]
    faces = [list(images.to_faces(np.stack(shown))) for shown in pictures]
    rows = [
        [shown[place] for shown in faces[first : first + PAIRS_PER_ROW]]
        for first in range(0, len(faces), PAIRS_PER_ROW)
        for place in range(len(domains))
    ]
    told = f"{work.made_by}, weights SHA-256 {work.weights_sha256}, seed {work.settings.seed}, pairs 0 to {numbers[-1]}"
    images.write(work.out / SHEET, images.grid(rows), told)


def _made_by(run: Path) -> str:
    return f"FaceBridge {runs.Run(run).recipe.method}"


def _job(work: NewPairs) -> dict[str, Any]:
    """What identifies the job: all that decides a byte of what is written."""
    recipe = runs.Run(work.run).recipe
    load(work.run)  # a run that cannot be used is refused before anything is written
    method_settings = json.dumps(recipe.config().model_dump(mode="json"), sort_keys=True)
    return {
        "made_by": work.made_by,
        "weights": work.weights_sha256,
        "method_settings": hashlib.sha256(method_settings.encode()).hexdigest(),
        "crop": recipe.crop,
        "version": metadata.version("facebridge"),
        "count": work.count,
        **asdict(work.settings),
        "block_size": work.block_size,
    }


def _known_job(out: Path) -> dict[str, Any]:
    """The job whose account or note the folder holds; empty if it holds none."""
    done, unfinished = out / DONE, out / UNFINISHED / "job.json"
    path = done if done.is_file() else unfinished
    if not path.is_file():
        return {}
    try:
        told = json.loads(path.read_text("utf-8"))
        return dict(told["job"] if path == done else told)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} was not written by facebridge sample: choose another folder") from error


def _chosen_device(device: str, engine: Engine, workers: int | None, known: dict[str, Any]) -> str:
    """cpu or cuda."""
    if device == "auto":
        device = known.get("device", "cpu" if engine == "ray" else "auto")
    device = as_device(device).type
    if device == "cuda" and (engine == "ray" or workers not in (None, 1)):
        raise ValueError("a CUDA device has one worker, in this process: leave engine and workers, or use device cpu")
    return device


def _chosen_precision(precision: Precision, device: str, known: dict[str, Any]) -> Arithmetic:
    if precision != "auto":
        return precision
    found: Arithmetic = known.get("precision") or ("bfloat16" if computes_in_bfloat16(device) else "float32")
    return found


def _whole_batches(num_pairs: int, batch_size: int) -> int:
    return -(-num_pairs // max(batch_size, 1)) * batch_size


def _refuse_unknown(settings: Settings, count: int, block_size: int, engine: Engine, workers: int | None) -> None:
    choices = {"ending": Ending, "layout": Layout, "precision": Arithmetic, "engine": Engine}
    for name, value in {**asdict(settings), "engine": engine}.items():
        if name in choices and value not in get_args(choices[name]):
            raise ValueError(f"{name} is {value!r}; expected one of {', '.join(get_args(choices[name]))}")
    if count < 1 or settings.batch_size < 1 or (workers is not None and workers < 1):
        raise ValueError(f"{count} pairs in batches of {settings.batch_size} by {workers} workers: at least 1 each")
    if block_size < 1 or block_size % settings.batch_size:
        raise ValueError(f"blocks of {block_size} pairs: expected a multiple of the batch size {settings.batch_size}")
    if not 0 <= settings.seed < noise.SEEDS:
        raise ValueError(f"the seed is {settings.seed}; expected 0 to 2^64 - 1")


def _open(out: Path, job: dict[str, Any]) -> Sampled | None:
    """What the folder holds if the same job has ended there. ValueError: if it holds something else."""
    if not (out / DONE).is_file():
        if out.is_dir() and any(out.iterdir()) and not (out / UNFINISHED).is_dir():
            raise ValueError(f"{out} is not empty and holds no sampled pairs: choose another folder")
        return None
    note, known = json.loads((out / DONE).read_text("utf-8")), _known_job(out)
    for key, value in json.loads(json.dumps(job)).items():
        if known.get(key) != value:
            raise ValueError(
                f"{out} holds pairs sampled with {key} {known.get(key)!r}, not {value!r}: choose another folder"
            )
    shutil.rmtree(out / UNFINISHED, ignore_errors=True)
    return Sampled(note["count"], out / note["list"], out / SHEET)


def _remove_parts(out: Path) -> None:
    """Take away half files that a kill left."""
    shutil.rmtree(out / UNFINISHED / PARTS, ignore_errors=True)
    for path in list(out.iterdir()):
        if re.fullmatch(r"\.[0-9a-f]{16}\.part", path.name):
            path.unlink()
