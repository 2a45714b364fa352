"""A run folder: what training leaves, written so that a crash never leaves half of it.

RUN/recipe.toml       the resolved recipe
    run.jsonl         one line a start (versions, commit, machine, command), bad picture, diagnosis or other event
    log.jsonl         one line a logged step
    validation.jsonl  one line a validation, where the recipe asks for them
    previews/         sheets of sample faces
    checkpoints/      step-000500.safetensors and .json: networks, optimisers, schedules, memories, place
    best.safetensors  the networks as they were at the best validation
    weights.safetensors  the trained networks, when training has ended
"""

import contextlib
import hashlib
import json
import math
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors.torch import save
from torch import Tensor

from facebridge import crops, methods, recipe, shipped, weights
from facebridge.method import HallucinationMethod, Method, RecognitionMethod, SamplingMethod
from facebridge.recipe import Recipe

CHECKPOINTS_KEPT = 2
"""The newest and the one before, in case the disk damages the newest."""

LOCK = ".lock"
LOG = "log.jsonl"
VALIDATION = "validation.jsonl"

Which = Literal["best", "last"]
"""Which weights of a run: those of the best validation, where there was one, or those that training ended with."""

PACKAGES = ("facebridge", "torch", "numpy", "opencv-python-headless", "lightning-fabric", "pillow")


@dataclass(frozen=True)
class Checkpoint:
    """A place to go on from."""

    step: int
    """Steps done."""
    tensors: dict[str, Tensor]
    state: dict[str, Any]


class Run:
    """A run folder that exists."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe.

        Raises:
            ValueError: if the folder is no run.
        """
        path = self.folder / "recipe.toml"
        if not path.is_file():
            raise ValueError(f"{self.folder} is not a run: it has no recipe.toml")
        return recipe.read(path)

    @property
    def weights(self) -> Path:
        """The networks that training ended with."""
        return self.folder / "weights.safetensors"

    @property
    def best(self) -> Path:
        """The networks of the best validation; its metadata says which step that was, and its figures."""
        return self.folder / "best.safetensors"

    def trained(self, which: Which = "best") -> Path:
        """The file that `load` takes: the best weights where there are some, else the last, else a checkpoint's.

        Raises:
            ValueError: if there is none of them yet, or `which` is neither "best" nor "last".
        """
        if which not in get_args(Which):
            raise ValueError(f"which weights: {' or '.join(get_args(Which))}, not {which!r}")
        if which == "best" and self.best.is_file():
            return self.best
        if self.weights.is_file():
            return self.weights
        checkpoint = self.last()
        if checkpoint is None:
            raise ValueError(f"{self.folder} has neither weights.safetensors nor a checkpoint: train it first")
        return self._stem(checkpoint.step).with_suffix(".safetensors")

    def best_figure(self, name: str) -> float:
        """A figure of the best validation so far; infinite before there is one."""
        return float(weights.metadata(self.best)[name]) if self.best.is_file() else math.inf

    def log(self) -> list[dict[str, Any]]:
        """The logged steps."""
        return lines(self.folder / LOG)

    def validations(self) -> list[dict[str, Any]]:
        """The figures of each validation."""
        return lines(self.folder / VALIDATION)

    def diagnoses(self) -> list[dict[str, Any]]:
        """Losses that were found to be stuck: loss, kind, first_step, step, value, text."""
        return [line for line in lines(self.folder / "run.jsonl") if line["event"] == "diagnosis"]

    def bad_pictures(self) -> list[dict[str, str]]:
        """Pictures that training could not use: path and cause, each picture once however often it was resumed."""
        found = {line["path"]: line for line in lines(self.folder / "run.jsonl") if line["event"] == "bad picture"}
        return list(found.values())

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint: tensors first, then the state file that makes it count.

        Afterwards older ones go, and later ones too: those were damaged, or this one would not have been made.
        """
        stem = self._stem(checkpoint.step)
        data = save(checkpoint.tensors)
        state = {**checkpoint.state, "step": checkpoint.step}
        state["sha256"] = _digest(data, state)
        write_bytes(stem.with_suffix(".safetensors"), data)
        write_bytes(stem.with_suffix(".json"), json.dumps(state, indent=1).encode())
        kept = [step for step in self.steps() if step <= checkpoint.step][-CHECKPOINTS_KEPT:]
        for step in set(self.steps()) - set(kept):
            for suffix in (".json", ".safetensors"):
                self._stem(step).with_suffix(suffix).unlink(missing_ok=True)

    def steps(self) -> list[int]:
        """Steps with a complete checkpoint, oldest first."""
        names = (re.fullmatch(r"step-(\d+)\.json", path.name) for path in (self.folder / "checkpoints").glob("*.json"))
        return sorted(int(name[1]) for name in names if name)

    def last(self) -> Checkpoint | None:
        """The newest whole checkpoint; a damaged one is passed over for the one before.

        Raises:
            ValueError: if there are checkpoints and all of them are damaged.
        """
        for step in reversed(self.steps()):
            found = _whole(self._stem(step), step)
            if found is not None:
                return found
        if self.steps():
            raise ValueError(
                f"every checkpoint in {self.folder / 'checkpoints'} is damaged: start again in a new folder"
            )
        return None

    def _stem(self, step: int) -> Path:
        return self.folder / "checkpoints" / f"step-{step:08d}"


def find(run: str | Path) -> Run:
    """The run in a folder, or the shipped one of this name; a folder of the name wins.

    Raises:
        ValueError: if there is neither; the shipped ones are named.
    """
    return Run(shipped.find(run))


def create(folder: Path, resolved: Recipe) -> Run:
    """Make a run folder, or open the unfinished one of the same recipe.

    Raises:
        ValueError: if the folder holds something else, or a run of another recipe.
    """
    text = recipe.to_toml(resolved)
    if (folder / "recipe.toml").is_file():
        if Run(folder).recipe != resolved:
            raise ValueError(f"{folder} holds a run of another recipe: choose another folder, or remove that one")
    elif folder.is_dir() and any(not _first_trace(path) for path in folder.iterdir()):
        raise ValueError(f"{folder} is not empty and holds no run: choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / "recipe.toml", text.encode())
    for part in ("checkpoints", "previews"):
        (folder / part).mkdir(exist_ok=True)
    for left in (*folder.rglob("*.part"), *folder.glob("checkpoints/*.safetensors")):
        if left.suffix == ".part" or not left.with_suffix(".json").is_file():
            left.unlink()
    for journal in folder.glob("*.jsonl"):
        whole, _, torn = journal.read_bytes().rpartition(b"\n")
        if torn:
            write_bytes(journal, whole + b"\n" if whole else b"")
    return Run(folder)


def _first_trace(path: Path) -> bool:
    """Whether a file is what a process leaves that is killed before the recipe is written."""
    return path.name == LOCK or re.fullmatch(r"recipe\.toml\.\d+\.part", path.name) is not None


def _whole(stem: Path, step: int) -> Checkpoint | None:
    """The checkpoint of two files, or None where a bit of them has changed."""
    tensors = stem.with_suffix(".safetensors")
    try:
        state = json.loads(stem.with_suffix(".json").read_text("utf-8"))
        data = tensors.read_bytes()
    except (ValueError, FileNotFoundError):
        return None
    if not isinstance(state, dict) or state.pop("sha256", None) != _digest(data, state):
        return None
    return Checkpoint(step, weights.read(tensors), state)


def _digest(data: bytes, state: dict[str, Any]) -> str:
    return hashlib.sha256(data + json.dumps(state, sort_keys=True).encode()).hexdigest()


def load(run: str | Path, which: Which = "best") -> Method[Any]:
    """The trained method of a run, ready to `generate` or to `embed`.

    Args:
        run: a run folder, any folder with its recipe.toml and its best.safetensors or weights.safetensors, or the name
            of a shipped run (`facebridge.shipped.names()`).
        which: "best": the weights of the best validation, where there are some; "last": those that training ended
            with. Where training has not ended, those of the newest checkpoint stand in for the last.

    Returns:
        The method in evaluation mode, in float32, on the CPU.

    Raises:
        ValueError: if the folder is no run, or has no weights or checkpoint yet.
    """
    opened = find(run)
    resolved = opened.recipe
    method = methods.load(resolved.method)(resolved.config(), crops.crop(resolved.crop))
    file = opened.trained(which)
    tensors = weights.read(file)
    if file.parent != opened.folder:  # a checkpoint
        prefix = "networks/"
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    try:
        method.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"{file}: the weights do not fit the recipe beside them ({error})") from error
    return method.eval().requires_grad_(False)


def load_hallucination(run: str | Path, which: Which = "best") -> HallucinationMethod[Any]:
    """As `load`, for a run that generates faces.

    Raises:
        ValueError: as `load`, and if the run trained a recogniser.
    """
    method = load(run, which)
    if not isinstance(method, HallucinationMethod):
        does = "generates no faces"
        if isinstance(method, SamplingMethod):
            does = "makes people from noise: use facebridge sample"
        elif isinstance(method, RecognitionMethod):
            does = "embeds faces and generates none: give it as --recogniser"
        raise ValueError(f"{run} is a run of {find(run).recipe.method}, which {does}")
    return method


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for one writer; the lock goes with the process, however it ends.

    Raises:
        ValueError: if another process is writing to the folder.
    """
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise ValueError(f"{folder} is being written by process {lock.read().strip() or '?'}") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: a temporary name, flushed, then renamed."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def add_line(path: Path, line: dict[str, Any]) -> None:
    """Add one line to a .jsonl file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a .jsonl file, none if there is no file; a last line that a crash has torn is left out."""
    texts = path.read_text("utf-8").splitlines(keepends=True) if path.is_file() else []
    return [json.loads(text) for text in texts if text.endswith("\n")]


def provenance() -> dict[str, Any]:
    """What produced a result: versions, commit, machine, command, time (UTC)."""
    return {
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        "commit": _commit(),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "system": platform.platform(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        },
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    here = Path(__file__).parent
    found = subprocess.run(
        ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"], capture_output=True, text=True
    )
    return found.stdout.strip() if found.returncode == 0 else "unknown"


def _processor() -> str:
    cpu = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*:\s*(.+)", cpu.read_text()) if cpu.is_file() else []
    return names[0] if names else platform.processor()
