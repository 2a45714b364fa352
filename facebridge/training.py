"""The one loop: time, seed, precision, processes, log, checkpoints, resuming. It knows no method."""

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from facebridge import allocator, crops, images, methods, recognisers, runs, weights
from facebridge.data.batches import Ahead, Batches
from facebridge.data.faces import Faces, faces_of, num_identities
from facebridge.data.samplers.choosing import sampler_of
from facebridge.images import BadPicture
from facebridge.method import Batch, HallucinationMethod, Method, RecognitionMethod
from facebridge.progress import Progress
from facebridge.recipe import Recipe
from facebridge.runs import Checkpoint, Run
from facebridge.stopping import Stopped, pass_on_stop_signals, stop_signals
from facebridge.streamline import streamline

PREVIEW_FACES = 6
"""Rows of a preview sheet."""


class Diverged(ValueError):
    """A loss or a network is no longer finite."""


def train(
    recipe: Recipe,
    folder: Path,
    *,
    resume: bool = False,
    device: str = "auto",
    processes: int = 1,
    progress: bool = True,
    faces: Faces | None = None,
) -> Run:
    """Train a recipe into a run folder.

    Args:
        recipe: what to train, resolved.
        folder: the run folder.
        resume: go on from the newest checkpoint, bit for bit on one machine with the same number of threads.
        device: `auto`, `cpu` or `cuda`.
        processes: how many processes share each batch; under torchrun leave it at 1, torchrun decides.
        progress: whether to show a progress bar.
        faces: the faces to train on; absent: those that the recipe names.

    Raises:
        ValueError: if the recipe, the folder or the data do not fit; the message says what to do.
        Diverged: if a loss or a network is not finite; names the step and the loss or the tensor.
        Stopped: after SIGTERM or Ctrl-C, once the checkpoint is written.
    """
    launched = "TORCHELASTIC_RUN_ID" in os.environ
    strategy = "ddp" if launched else "ddp_spawn" if processes > 1 else "auto"
    devices: Any = int(os.environ["LOCAL_WORLD_SIZE"]) if launched else processes
    nodes = int(os.environ.get("GROUP_WORLD_SIZE", 1)) if launched else 1
    fabric = Fabric(
        accelerator=device, devices=devices, num_nodes=nodes, strategy=strategy, precision=recipe.training.precision
    )
    recipe = settled(recipe, faces)
    owner = not launched or os.environ["RANK"] == "0"
    with _threads_given_back(), runs.locked(folder) if owner else nullcontext():
        run = _opened(folder, recipe, resume) if owner else Run(folder)
        if strategy == "ddp_spawn":
            with pass_on_stop_signals():
                ended = fabric.launch(partial(_train_spawned, recipe=recipe, run=run, faces=faces, progress=progress))
            if ended is not None:
                raise ended
        else:
            fabric.launch(partial(_train, recipe=recipe, run=run, faces=faces, progress=progress))
    return run


@contextmanager
def _threads_given_back() -> Iterator[None]:
    """A recipe may set the number of threads; who called goes on with his own."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _opened(folder: Path, recipe: Recipe, resume: bool) -> Run:
    if not resume and (Run(folder).steps() or Run(folder).weights.is_file()):
        raise ValueError(f"{folder} holds a run already: add --resume to go on, or choose another folder")
    return runs.create(folder, recipe)


def _train_spawned(
    fabric: Fabric, recipe: Recipe, run: Run, faces: Faces | None, progress: bool
) -> Stopped | ValueError | None:
    """In a spawned process: how it ended, for the parent to raise, which would see only a traceback's text."""
    try:
        _train(fabric, recipe, run, faces, progress)
    except (Stopped, Diverged) as ended:
        return ended
    except ValueError as error:
        return ValueError(str(error))
    return None


def _train(fabric: Fabric, recipe: Recipe, run: Run, faces: Faces | None, progress: bool) -> None:
    allocator.keep_memory()
    if recipe.training.threads:
        torch.set_num_threads(recipe.training.threads)
    method = build(recipe)
    with Journal(run, fabric.is_global_zero) as journal:
        faces = faces_of(recipe) if faces is None else faces
        sampler = sampler_of(recipe, faces)
        journal.write({"event": "data", "places": len(sampler), "left_out": sampler.left_out}, "run.jsonl")
        batches = Batches(
            faces,
            recipe.training.batch_size,
            recipe.seed,
            sampler=sampler,
            mirror=recipe.training.mirror,
            rank=fabric.global_rank,
            processes=fabric.world_size,
            report=journal.bad_picture,
        )
        method.to(fabric.device)
        step = _restore(method, run, journal)
        if step == 0:
            method.begin(lambda: _on_device(batches(0), fabric))
        raw = dict(method.named_children())
        for name, network in raw.items():
            setattr(method, name, fabric.setup_module(network))
        object.__setattr__(method, "backward", fabric.backward)
        _loop(fabric, method, batches, recipe, run, journal, step, progress)
        for name, network in raw.items():
            setattr(method, name, network)
        if fabric.is_global_zero:
            weights.write(run.weights, _networks(method), {"method": recipe.method})


def _loop(
    fabric: Fabric,
    method: Method[Any],
    batches: Batches,
    recipe: Recipe,
    run: Run,
    journal: "Journal",
    start: int,
    progress: bool,
) -> None:
    settings = recipe.training
    preview = _on_device(batches(0), fabric)
    preview = {name: value[:PREVIEW_FACES] if value.ndim else value for name, value in preview.items()}
    show = progress and fabric.is_global_zero
    with stop_signals() as stop, Progress("training", settings.steps, start, show) as bar:
        for step, batch in Ahead(batches, start, settings.steps):
            torch.manual_seed(_mixed(recipe.seed, step, fabric.global_rank))
            batch["shared_seed"] = torch.tensor(_mixed(recipe.seed, step, -1))
            with fabric.autocast():
                losses = method.training_step(_on_device(batch, fabric))
            found = _finite(_mean(fabric, losses), step + 1)
            done = step + 1
            bar.step(done, found)
            last = done == settings.steps
            if done % settings.log_every_steps == 0 or last:
                journal.losses(done, found)
            asked = _any(fabric, stop.is_set())
            if done % settings.preview_every_steps == 0 or last:
                _preview(fabric, method, preview, run.folder / "previews" / f"step-{done:08d}.png")
            if done % settings.checkpoint_every_steps == 0 or last or asked:
                checkpoint = _checkpoint(method, done)
                if fabric.is_global_zero:
                    run.save(checkpoint)
            if asked and not last:
                raise Stopped(f"stopped after step {done} with a checkpoint: go on with --resume")


def settled(recipe: Recipe, faces: Faces | None = None) -> Recipe:
    """The recipe with what its steps and its faces decide written into the settings.

    Raises:
        ValueError: if the faces are needed and cannot be found.
    """
    config = methods.load(recipe.method).settled(
        recipe.config(),
        steps=recipe.training.steps,
        num_identities=lambda: num_identities(faces_of(recipe) if faces is None else faces),
    )
    return recipe.model_copy(update={"settings": config.model_dump(mode="json")})


def build(recipe: Recipe) -> Method[Any]:
    """The method of a recipe with its first weights, decided by the recipe's seed, and its recogniser."""
    crop, method = crops.crop(recipe.crop), methods.load(recipe.method)
    wanted = recipe.recogniser
    recogniser = None
    torch.manual_seed(recipe.seed)
    if wanted is not None:
        if issubclass(method, RecognitionMethod) and wanted.weights is None and weights.is_layout(wanted.name):
            raise ValueError(
                f"training would start from an untrained {wanted.name}: add recogniser.weights, give a run as "
                "recogniser.name, or leave [recogniser] out"
            )
        recogniser = recognisers.load(wanted.name, weights=wanted.weights, **wanted.sizes)
        if issubclass(method, HallucinationMethod):
            streamline(recogniser)
    torch.manual_seed(recipe.seed)
    return method(recipe.config(), crop, recogniser)


class Journal:
    """log.jsonl, run.jsonl and, where tensorboard is installed, its event file.

    Silent in all processes but the first, except for bad pictures: each process meets its own.
    """

    def __init__(self, run: Run, writing: bool) -> None:
        self.run = run
        self.writing = writing
        self.board: Any = None

    def __enter__(self) -> "Journal":
        if self.writing:
            self.write({"event": "start", **runs.provenance()}, "run.jsonl")
            self.board = _tensorboard(self.run.folder)
        return self

    def __exit__(self, *_: object) -> None:
        if self.board is not None:
            self.board.close()

    def write(self, line: dict[str, Any], file: str = "log.jsonl") -> None:
        if self.writing:
            runs.add_line(self.run.folder / file, line)

    def losses(self, step: int, losses: dict[str, float]) -> None:
        self.write({"step": step, **losses})
        if self.board is not None:
            for name, value in losses.items():
                self.board.add_scalar(name, value, step)

    def bad_picture(self, bad: BadPicture) -> None:
        line = {"event": "bad picture", "path": str(bad.path), "cause": bad.cause}
        runs.add_line(self.run.folder / "run.jsonl", line)

    def back_to(self, step: int) -> None:
        """Forget the steps after a checkpoint: they will come again."""
        path = self.run.folder / "log.jsonl"
        if self.writing and path.is_file():
            kept = [line for line in runs.lines(path) if line["step"] <= step]
            runs.write_bytes(path, "".join(json.dumps(line) + "\n" for line in kept).encode())


def _restore(method: Method[Any], run: Run, journal: Journal) -> int:
    """Put the newest checkpoint into the method; the number of steps done."""
    checkpoint = run.last()
    journal.back_to(checkpoint.step if checkpoint else 0)
    if checkpoint is None:
        return 0
    for damaged in (step for step in run.steps() if step > checkpoint.step):
        journal.write({"event": "damaged checkpoint", "step": damaged, "resumed_from": checkpoint.step}, "run.jsonl")
        print(f"the checkpoint of step {damaged} is damaged: going on from the one of step {checkpoint.step}")
    threads = checkpoint.state["threads"]
    if threads != torch.get_num_threads():
        journal.write(
            {"event": "threads changed", "before": threads, "now": torch.get_num_threads(), "bit_for_bit": False},
            "run.jsonl",
        )
        print(
            f"the checkpoint was made with {threads} threads and goes on with {torch.get_num_threads()}: "
            f"the result will not be the same bit for bit (set training.threads={threads})"
        )
    method.load_state_dict(_part(checkpoint.tensors, "networks/"))
    for name, optimiser in method.optimisers.items():
        optimiser.load_state_dict(
            _optimiser_state(
                optimiser, _part(checkpoint.tensors, f"optimisers/{name}/"), checkpoint.state["groups"][name]
            )
        )
    for name, schedule in method.schedules.items():
        schedule.load_state_dict(checkpoint.state["schedules"][name])
    return checkpoint.step


def _checkpoint(method: Method[Any], step: int) -> Checkpoint:
    for name, tensor in method.state_dict().items():
        if not tensor.isfinite().all():
            raise Diverged(f"step {step}: the tensor {name!r} is not finite; lower the step size")
    tensors = {f"networks/{name}": tensor for name, tensor in _networks(method).items()}
    groups = {}
    for name, optimiser in method.optimisers.items():
        state = optimiser.state_dict()
        groups[name] = state["param_groups"]
        for index, values in state["state"].items():
            for key, value in values.items():
                tensors[f"optimisers/{name}/{index}/{key}"] = torch.as_tensor(value).detach().cpu().contiguous()
    schedules = {name: schedule.state_dict() for name, schedule in method.schedules.items()}
    return Checkpoint(step, tensors, {"threads": torch.get_num_threads(), "groups": groups, "schedules": schedules})


def _optimiser_state(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor], groups: Any) -> dict[str, Any]:
    """What `load_state_dict` takes; a tensor of a parameter's shape gets the parameter's layout in memory too.

    Fused optimisers walk through parameter and state as flat memory: a contiguous state beside a channels-last
    parameter would pair up the wrong numbers.
    """
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, key = name.split("/")
        like = parameters[int(number)]
        same = value.shape == like.shape
        state.setdefault(int(number), {})[key] = (
            torch.empty_like(like, dtype=value.dtype).copy_(value) if same else value
        )
    return {"state": state, "param_groups": groups}


def _networks(method: Method[Any]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in method.state_dict().items()}


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _finite(losses: dict[str, Tensor], step: int) -> dict[str, float]:
    found = {name: float(value) for name, value in losses.items()}
    for name, value in found.items():
        if not math.isfinite(value):
            raise Diverged(
                f"step {step}: the loss {name!r} is {value}; lower the step size, or look at the last preview"
            )
    return found


def _preview(fabric: Fabric, method: Method[Any], batch: Batch, path: Path) -> None:
    """Generate in every process, since networks may talk to each other, and in evaluation mode, to change nothing."""
    method.eval()
    with torch.no_grad(), fabric.autocast():
        columns = method.preview(batch)
    method.train()
    if not fabric.is_global_zero or not columns:
        return
    rows = [[faces[row].float().cpu() for faces in columns.values()] for row in range(len(batch["target"]))]
    images.write(path, images.grid(rows), generated_by=f"preview of {type(method).__name__}: {', '.join(columns)}")


def _on_device(batch: Batch, fabric: Fabric) -> Batch:
    return {name: fabric.to_device(value) for name, value in batch.items()}


def _any(fabric: Fabric, flag: bool) -> bool:
    if fabric.world_size == 1:
        return flag
    return bool(fabric.all_reduce(torch.tensor(float(flag), device=fabric.device), reduce_op="sum"))


def _mean(fabric: Fabric, losses: dict[str, Tensor]) -> dict[str, Tensor]:
    """The losses of the whole batch: the mean over the processes, which so also stop at the same step."""
    if fabric.world_size == 1:
        return losses
    mean = fabric.all_reduce(torch.stack([loss.float() for loss in losses.values()]), reduce_op="mean")
    assert isinstance(mean, Tensor)
    return dict(zip(losses, mean, strict=True))


def _mixed(seed: int, step: int, rank: int) -> int:
    """One number from three, so that every step of every process draws its own numbers."""
    return int(np.random.SeedSequence([seed, step, rank + 1]).generate_state(1, np.uint64)[0] >> 1)


def _tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"))
