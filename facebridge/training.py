"""The one loop: time, seed, precision, processes, log, checkpoints, resuming. It knows no method."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from facebridge import allocator, checkpoints, crops, images, methods, recognisers, runs, weights
from facebridge import recipe as recipes
from facebridge.data.batches import Ahead, Batches
from facebridge.data.faces import Faces, faces_of, num_identities
from facebridge.data.samplers.choosing import sampler_of
from facebridge.diagnostics import Diverged, finite
from facebridge.hallucination import hallucinate
from facebridge.journal import EVENTS, Journal
from facebridge.method import Batch, HallucinationMethod, Method
from facebridge.progress import Progress
from facebridge.recipe import Recipe
from facebridge.runs import Run
from facebridge.stopping import Stopped, pass_on_stop_signals, stop_signals
from facebridge.streamline import streamline
from facebridge.validation import HeldOut, people_in_both

__all__ = ["Diverged", "build", "settled", "train"]

PREVIEW_FACES = 6
"""Rows of a preview sheet."""


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
    method = build(recipe, begins=not run.steps())
    with Journal(run, fabric.is_global_zero) as journal:
        faces = faces_of(recipe) if faces is None else faces
        sampler = sampler_of(recipe, faces)
        journal.write({"event": "data", "places": len(sampler), "left_out": sampler.left_out}, EVENTS)
        batches = Batches(
            faces,
            recipe.training.batch_size,
            recipe.seed,
            sampler=sampler,
            mirror=recipe.training.mirror,
            points=method.wants_points,
            five_points=method.wants_five_points,
            yaw=method.wants_yaw,
            parsing=method.wants_parsing,
            rank=fabric.global_rank,
            processes=fabric.world_size,
            report=journal.bad_picture,
        )
        method.to(fabric.device)
        held_out = _held_out(recipe, method, faces, fabric, journal)
        step = _restore(method, run, journal)
        if step == 0:
            told = method.begin(lambda: _on_device(batches(0), fabric))
            if told and fabric.is_global_zero:
                journal.write({"event": "begun", "text": told}, EVENTS)
                print(told)
        # What learns nothing stays as it is: DistributedDataParallel refuses a network without gradients.
        raw = {name: network for name, network in method.named_children() if _learns(network)}
        for name, network in raw.items():
            setattr(method, name, fabric.setup_module(network))
        object.__setattr__(method, "backward", fabric.backward)
        _Loop(fabric, method, recipe, run, journal, held_out).go(batches, step, progress)
        for name, network in raw.items():
            setattr(method, name, network)
        if fabric.is_global_zero:
            networks = checkpoints.networks(method, recipe.training.steps)
            weights.write(run.weights, networks, {"method": recipe.method})
        journal.summary()


def _held_out(recipe: Recipe, method: Method[Any], faces: Faces, fabric: Fabric, journal: Journal) -> HeldOut | None:
    if recipe.validation is None:
        return None
    assert isinstance(method, HallucinationMethod), "recipes that validate others are refused"
    held_out = HeldOut(recipe, method, fabric.device, report=journal.bad_picture)
    shared = people_in_both(held_out.faces, faces)
    if shared and fabric.is_global_zero:
        journal.write({"event": "not held out", "people": shared}, EVENTS)
        print(
            f"validation.data shows {len(shared)} people whom training sees too, such as {shared[0]}: the best weights "
            "will be chosen by faces that may be known by heart"
        )
    return held_out


@dataclass(frozen=True)
class _Loop:
    """The steps of one training, and what comes at some of them."""

    fabric: Fabric
    method: Method[Any]
    recipe: Recipe
    run: Run
    journal: Journal
    held_out: HeldOut | None

    def go(self, batches: Batches, start: int, progress: bool) -> None:
        """From a step on to the last."""
        fabric, method, settings = self.fabric, self.method, self.recipe.training
        preview = _on_device(_shown(batches(0)), fabric)
        show = progress and fabric.is_global_zero
        with stop_signals() as stop, Progress("training", settings.steps, start, show) as bar:
            for step, batch in Ahead(batches, start, settings.steps):
                torch.manual_seed(_mixed(self.recipe.seed, step, fabric.global_rank))
                batch["shared_seed"] = torch.tensor(_mixed(self.recipe.seed, step, -1))
                with fabric.autocast():
                    losses = method.training_step(_on_device(batch, fabric))
                found = finite(_mean(fabric, losses), step + 1)
                done = step + 1
                bar.step(done, found)
                last = done == settings.steps
                if done % settings.log_every_steps == 0 or last:
                    self.journal.losses(done, found)
                asked = _any(fabric, stop.is_set())
                if done % settings.preview_every_steps == 0 or last:
                    self._sheet(preview, f"step-{done:08d}.png")
                # before the checkpoint: a training that goes on from it has had this step's validation
                if self.recipe.validation and (done % self.recipe.validation.every_steps == 0 or last):
                    self._validate(done)
                if done % settings.checkpoint_every_steps == 0 or last or asked:
                    checkpoint = checkpoints.of_method(method, done)
                    if fabric.is_global_zero:
                        self.run.save(checkpoint)
                if asked and not last:
                    raise Stopped(f"stopped after step {done} with a checkpoint: go on with --resume")

    def _validate(self, step: int) -> None:
        """In every process, so that all of them go on or stop alike; the first one writes."""
        assert self.held_out is not None
        torch.manual_seed(self.recipe.seed)  # what a generator draws, it draws alike at every validation
        networks = checkpoints.networks(self.method, step)
        with _evaluating(self.method):
            found = self.held_out.figures(partial(self._generated, step))
        if self.fabric.is_global_zero:
            if found.combined < self.run.best_figure("combined"):
                told = {name: repr(value) for name, value in found.as_dict().items()}
                about = {"method": self.recipe.method, "step": str(step), **told}
                weights.write(self.run.best, networks, about)
            self.journal.validation(step, found.as_dict())
        self._sheet(_on_device(self.held_out.first(PREVIEW_FACES), self.fabric), f"validation-{step:08d}.png")

    def _generated(self, step: int, faces: Tensor, points: Tensor | None = None) -> Tensor:
        assert isinstance(self.method, HallucinationMethod)
        with self.fabric.autocast():
            where = None if points is None else self.fabric.to_device(points)
            generated = hallucinate(self.method, self.fabric.to_device(faces), points=where)
        if not generated.isfinite().all():
            raise Diverged(f"step {step}: a generated face is not finite; lower the step size")
        return generated.float().cpu()

    def _sheet(self, batch: Batch, name: str) -> None:
        """Generate in every process, since networks may talk to each other; the first one writes."""
        with _evaluating(self.method), torch.no_grad(), self.fabric.autocast():
            columns = self.method.preview(batch)
        if not self.fabric.is_global_zero or not columns:
            return
        rows = [[faces[row].float().cpu() for faces in columns.values()] for row in range(len(batch["target"]))]
        told = f"preview of {type(self.method).__name__}: {', '.join(columns)}"
        images.write(self.run.folder / "previews" / name, images.grid(rows), generated_by=told)


@contextmanager
def _evaluating(method: Method[Any]) -> Iterator[None]:
    """Evaluation mode, so that what is looked at does not change: running statistics, dropout."""
    method.eval()
    try:
        yield
    finally:
        method.train()


def _shown(batch: Batch) -> Batch:
    return {name: value[:PREVIEW_FACES] if value.ndim else value for name, value in batch.items()}


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


def build(recipe: Recipe, begins: bool = True) -> Method[Any]:
    """The method of a recipe with its first weights, decided by the recipe's seed, and its recogniser.

    Args:
        recipe: resolved.
        begins: whether networks that come trained are taken from their runs; a checkpoint holds them already.
    """
    crop, method = crops.crop(recipe.crop), methods.load(recipe.method)
    wanted = recipe.recogniser
    recogniser = None
    torch.manual_seed(recipe.seed)
    if wanted is not None:
        starts = method.starts_from_recogniser(recipe.config())
        if starts and wanted.weights is None and weights.is_layout(wanted.name):
            raise ValueError(
                f"training would start from an untrained {wanted.name}: add recogniser.weights, give a run as "
                "recogniser.name, or leave [recogniser] out"
            )
        if wanted.weights is None and wanted.name in recognisers.builtin() and not recognisers.has_weights(wanted.name):
            print(f"{wanted.name} is untrained: faces are compared by random features; add recogniser.weights")
        recogniser = recognisers.load(wanted.name, weights=wanted.weights, **wanted.sizes)
        if not starts:
            streamline(recogniser)
    torch.manual_seed(recipe.seed)
    built = method(recipe.config(), crop, recogniser)
    if begins:
        _take_trained(built, recipe)
    return built


def _take_trained(method: Method[Any], recipe: Recipe) -> None:
    """Put the networks that other runs trained into the method.

    Raises:
        ValueError: if one that is needed is not given, the method has none of that name, or it does not fit.
    """
    known = dict(method.named_children())
    for name in method.given_networks(method.config):
        if name not in recipe.trained:
            raise ValueError(
                f"{recipe.method} takes its {name} from another run: train one first (recipes: "
                f"{', '.join(one for one in recipes.names() if one.startswith(name))}), then set trained.{name}=RUN"
            )
    for name, folder in recipe.trained.items():
        if name not in known:
            raise ValueError(f"trained.{name}: {recipe.method} has no such network; known: {', '.join(sorted(known))}")
        try:
            found = checkpoints.part(dict(runs.load(folder).state_dict()), f"{name}.")
        except ValueError as error:
            raise ValueError(f"trained.{name}: {error}") from error
        if not found:
            trainer = runs.find(folder).recipe.method
            raise ValueError(f"trained.{name}: {folder} is a run of {trainer}, which has no {name}")
        try:
            known[name].load_state_dict(found)
        except RuntimeError as error:
            raise ValueError(f"trained.{name}: the network of {folder} does not fit the settings ({error})") from error
        through = runs.find(folder).recipe.recogniser
        if through is not None and recipe.recogniser is not None and through != recipe.recogniser:
            print(f"trained.{name} was trained with the recogniser {_told(through)}, not {_told(recipe.recogniser)}")


def _told(recogniser: recipes.RecogniserSettings) -> str:
    return recogniser.name if recogniser.weights is None else f"{recogniser.name} of {recogniser.weights}"


def _learns(network: torch.nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in network.parameters())


def _restore(method: Method[Any], run: Run, journal: Journal) -> int:
    """Put the newest checkpoint into the method; the number of steps done."""
    checkpoint = run.last()
    journal.back_to(checkpoint.step if checkpoint else 0)
    if checkpoint is None:
        return 0
    for damaged in (step for step in run.steps() if step > checkpoint.step):
        journal.write({"event": "damaged checkpoint", "step": damaged, "resumed_from": checkpoint.step}, EVENTS)
        print(f"the checkpoint of step {damaged} is damaged: going on from the one of step {checkpoint.step}")
    threads = checkpoint.state["threads"]
    if threads != torch.get_num_threads():
        journal.write(
            {"event": "threads changed", "before": threads, "now": torch.get_num_threads(), "bit_for_bit": False},
            EVENTS,
        )
        print(
            f"the checkpoint was made with {threads} threads and goes on with {torch.get_num_threads()}: "
            f"the result will not be the same bit for bit (set training.threads={threads})"
        )
    checkpoints.restore(method, checkpoint)
    return checkpoint.step


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
