import copy
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facebridge import recipe as recipes
from facebridge import runs, training, weights
from facebridge.images import BadPicture
from facebridge.methods.edsr_identity import EdsrIdentity
from facebridge.recipe import Recipe
from facebridge.runs import Run
from facebridge.stopping import Stopped
from tests import tiny
from tests.tiny import RandomFaces
from tests.trainings import (
    Crash,
    CrashingFaces,
    StoppingFaces,
    assert_same_end,
    assert_same_validations,
    events,
    train,
    validated,
)

EXIT_STOPPED = 75


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def _environment_as_before() -> Iterator[None]:
    """Lightning leaves a port and a number of threads in the environment."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def with_recogniser(**training_settings: Any) -> Recipe:
    table = tiny.table({"identity_weight": 0.5}, **training_settings)
    return recipes.resolve(table | {"recogniser": tiny.RECOGNISER}, "a test")


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("identity", [False, True])
def test_a_run_resumed_after_a_crash_ends_bit_for_bit_like_an_unbroken_one(
    tmp_path: Path, precision: str, identity: bool
) -> None:
    recipe = with_recogniser(precision=precision) if identity else tiny.recipe(precision=precision)
    train(recipe, tmp_path / "unbroken")
    with pytest.raises(Crash):  # after 4 pictures for the preview and three batches
        train(recipe, tmp_path / "broken", faces=CrashingFaces(4 + 4 * 3))
    assert Run(tmp_path / "broken").steps() == [2]
    assert len(Run(tmp_path / "broken").log()) == 3
    torch.manual_seed(99)
    np.random.seed(99)
    train(recipe, tmp_path / "broken", resume=True)
    assert_same_end(tmp_path / "unbroken", tmp_path / "broken")
    names = weights.read(tmp_path / "unbroken" / "weights.safetensors").keys()
    assert all(name.startswith("generator.") for name in names), "the recogniser is no part of the weights"


def test_the_log_holds_every_step_once_and_the_losses_change(tmp_path: Path) -> None:
    run = train(tiny.recipe(), tmp_path / "run")
    log = run.log()
    assert [line["step"] for line in log] == [1, 2, 3, 4, 5, 6]
    assert len({line["total"] for line in log}) == 6


def test_log_and_preview_come_at_their_intervals_and_at_the_end(tmp_path: Path) -> None:
    run = train(tiny.recipe(log_every_steps=4, preview_every_steps=4), tmp_path / "run")
    assert [line["step"] for line in run.log()] == [4, 6]
    assert [path.name for path in sorted((run.folder / "previews").iterdir())] == [
        "step-00000004.png",
        "step-00000006.png",
    ]


def test_how_often_previews_and_checkpoints_are_made_does_not_change_the_weights(tmp_path: Path) -> None:
    train(tiny.recipe(preview_every_steps=1, checkpoint_every_steps=1), tmp_path / "often")
    train(tiny.recipe(checkpoint_every_steps=100), tmp_path / "never")
    tiny.assert_same_weights(tmp_path / "often", tmp_path / "never")


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    one = train(tiny.recipe(steps=1), tmp_path / "one")
    other = train(recipes.resolve(tiny.table(steps=1) | {"seed": 4}, "a test"), tmp_path / "other")
    left, right = weights.read(one.weights), weights.read(other.weights)
    assert not torch.equal(left["generator.head.weight"], right["generator.head.weight"])


def test_a_random_recogniser_is_decided_by_the_seed_of_the_recipe() -> None:
    recipe = with_recogniser()
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        recogniser = training.build(recipe).recogniser
        assert recogniser is not None
        found.append(list(recogniser.state_dict().values()))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_sigterm_leaves_a_checkpoint_of_the_present_step_and_resuming_is_exact(tmp_path: Path) -> None:
    recipe = tiny.recipe(checkpoint_every_steps=100)
    train(recipe, tmp_path / "unbroken")
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match=r"stopped after step \d .*--resume"):
        train(recipe, tmp_path / "stopped", faces=StoppingFaces(4 + 4 * 2))
    assert signal.getsignal(signal.SIGTERM) is before
    (step,) = Run(tmp_path / "stopped").steps()
    assert 1 <= step < 6
    assert not (tmp_path / "stopped" / "weights.safetensors").exists()
    train(recipe, tmp_path / "stopped", resume=True)
    assert_same_end(tmp_path / "unbroken", tmp_path / "stopped")


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    run = train(tiny.recipe(), tmp_path / "run")
    weights_before, log_before = run.weights.read_bytes(), (run.folder / "log.jsonl").read_bytes()
    train(tiny.recipe(), tmp_path / "run", resume=True)
    assert run.weights.read_bytes() == weights_before
    assert (run.folder / "log.jsonl").read_bytes() == log_before


@pytest.mark.parametrize("interval", [2, 100])
def test_an_existing_run_is_never_trained_over_without_resume(tmp_path: Path, interval: int) -> None:
    train(tiny.recipe(checkpoint_every_steps=interval), tmp_path / "run")
    with pytest.raises(ValueError, match="holds a run already: add --resume"):
        train(tiny.recipe(checkpoint_every_steps=interval), tmp_path / "run")


@pytest.mark.parametrize("resume", [True, False])
def test_another_recipe_in_the_same_folder_is_refused(tmp_path: Path, resume: bool) -> None:
    with pytest.raises(Crash):
        train(tiny.recipe(checkpoint_every_steps=100), tmp_path / "run", faces=CrashingFaces(8))
    with pytest.raises(ValueError, match="another recipe"):
        train(tiny.recipe({"num_filters": 5}), tmp_path / "run", resume=resume)


def test_a_damaged_newest_checkpoint_is_passed_over_said_and_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny.recipe(), tmp_path / "unbroken")
    run = train(tiny.recipe(), tmp_path / "run")
    assert run.steps() == [4, 6]
    flip_a_bit(run.folder / "checkpoints" / "step-00000006.safetensors")
    train(tiny.recipe(), tmp_path / "run", resume=True)
    assert_same_end(tmp_path / "unbroken", tmp_path / "run")
    assert "checkpoint of step 6 is damaged: going on from the one of step 4" in capsys.readouterr().out
    assert {"event": "damaged checkpoint", "step": 6, "resumed_from": 4} in events(run)


def test_a_change_in_the_number_of_threads_is_said_and_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny.recipe(threads=None)
    torch.set_num_threads(1)
    with pytest.raises(Crash):
        train(recipe, tmp_path / "run", faces=CrashingFaces(4 + 4 * 4))
    assert "threads" not in capsys.readouterr().out
    torch.set_num_threads(2)
    run = train(recipe, tmp_path / "run", resume=True)
    assert "made with 1 threads and goes on with 2" in capsys.readouterr().out
    assert {"event": "threads changed", "before": 1, "now": 2, "bit_for_bit": False} in events(run)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_with_the_step_and_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    honest = EdsrIdentity.training_step
    done = []

    def poisoned(self: EdsrIdentity, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        losses = honest(self, batch)
        done.append(losses)
        return losses | {"pixel": torch.tensor(value)} if len(done) == 4 else losses

    monkeypatch.setattr(EdsrIdentity, "training_step", poisoned)
    with pytest.raises(training.Diverged, match=rf"step 4: the loss 'pixel' is {value}"):
        train(tiny.recipe(), tmp_path / "run")
    run = Run(tmp_path / "run")
    assert run.steps() == [2]
    assert [line["step"] for line in run.log()] == [1, 2, 3]
    runs.load(run.folder)


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = EdsrIdentity.training_step
    done = []

    def poisoned(self: EdsrIdentity, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        losses = honest(self, batch)
        done.append(losses)
        if len(done) == 4:
            next(self.generator.tail.parameters()).data[0] = float("nan")
        return losses

    monkeypatch.setattr(EdsrIdentity, "training_step", poisoned)
    with pytest.raises(training.Diverged, match=r"step 4: the tensor 'generator\.tail\.weight' is not finite"):
        train(tiny.recipe(), tmp_path / "run")
    assert Run(tmp_path / "run").steps() == [2]


def test_bad_pictures_are_recorded_once_even_when_the_run_is_resumed(tmp_path: Path) -> None:
    class BadFaces(RandomFaces):
        def picture(self, index: int) -> np.ndarray:
            if index == 2:
                raise BadPicture(Path("2.png"), "made for this test")
            return super().picture(index)

    run = train(tiny.recipe(), tmp_path / "run", faces=BadFaces())
    train(tiny.recipe(), tmp_path / "run", faces=BadFaces(), resume=True)
    assert [(bad["path"], bad["cause"]) for bad in run.bad_pictures()] == [("2.png", "made for this test")]


def test_every_start_is_recorded_with_versions_and_machine(tmp_path: Path) -> None:
    run = train(tiny.recipe(steps=1), tmp_path / "run")
    (start,) = (line for line in events(run) if line["event"] == "start")
    assert start["versions"]["torch"] == torch.__version__
    assert start["machine"]["threads"] == 1


@pytest.mark.slow
@pytest.mark.usefixtures("_environment_as_before")
def test_two_processes_validate_as_one_does(tmp_path: Path) -> None:
    recipe = validated(tmp_path / "held_out", steps=4)
    one, two = train(recipe, tmp_path / "one"), train(recipe, tmp_path / "two", processes=2)
    figures = [[[line[name] for name in sorted(line)] for line in run.validations()] for run in (one, two)]
    np.testing.assert_allclose(figures[0], figures[1], rtol=0, atol=1e-3)
    assert weights.metadata(two.best).keys() == weights.metadata(one.best).keys()
    assert len(list((two.folder / "previews").glob("validation-*.png"))) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("_environment_as_before")
def test_a_batch_that_two_processes_cannot_share_is_a_plain_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a batch of 7 faces cannot be shared evenly by 2 processes"):
        train(tiny.recipe(batch_size=7), tmp_path / "run", processes=2)


@pytest.mark.slow
@pytest.mark.usefixtures("_environment_as_before")
def test_two_processes_end_with_the_weights_of_one_and_stop_on_sigterm(tmp_path: Path) -> None:
    one = train(tiny.recipe(steps=60), tmp_path / "one")
    path = write_recipe(tmp_path, steps=60)
    with start(path, tmp_path / "two", "--processes", "2") as process:
        wait_for(lambda: len(logged(tmp_path / "two")) >= 2, process)
        process.terminate()
        errors = process.communicate()[1]
    assert process.returncode == EXIT_STOPPED, errors
    assert "stopped after step" in errors
    assert len(Run(tmp_path / "two").log()) < 60
    train(recipes.read(path), tmp_path / "two", processes=2, resume=True)
    left, right = weights.read(one.weights), weights.read(tmp_path / "two" / "weights.safetensors")
    for name, tensor in left.items():
        torch.testing.assert_close(tensor, right[name], rtol=0, atol=2e-5)
    losses = [[line["total"] for line in Run(tmp_path / name).log()] for name in ("one", "two")]
    np.testing.assert_allclose(losses[0], losses[1], rtol=0, atol=2e-5)


@pytest.mark.slow
def test_a_training_under_torchrun_ends_with_the_weights_of_one_process(tmp_path: Path) -> None:
    one = train(tiny.recipe(), tmp_path / "one")
    path = write_recipe(tmp_path)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable, *torchrun, "-m", "facebridge.cli", "train", str(path), "--out", str(tmp_path / "two")]
    found = subprocess.run([*command, "--device", "cpu"], capture_output=True, text=True, timeout=200, check=False)
    assert found.returncode == 0, found.stderr
    for name, tensor in weights.read(tmp_path / "two" / "weights.safetensors").items():
        torch.testing.assert_close(tensor, weights.read(one.weights)[name], rtol=0, atol=1e-5)


def test_sigterm_ends_the_command_with_status_75(tmp_path: Path) -> None:
    unbroken = train(tiny.recipe(steps=150, checkpoint_every_steps=1000), tmp_path / "unbroken")
    path = write_recipe(tmp_path, steps=150, checkpoint_every_steps=1000)
    with start(path, tmp_path / "run") as process:
        wait_for(lambda: len(logged(tmp_path / "run")) >= 3, process)
        process.terminate()
        errors = process.communicate()[1]
    assert process.returncode == EXIT_STOPPED, errors
    (step,) = Run(tmp_path / "run").steps()
    assert f"stopped after step {step} with a checkpoint" in errors
    train(recipes.read(path), tmp_path / "run", resume=True, faces=None)
    assert_same_end(unbroken.folder, tmp_path / "run")


@pytest.mark.slow
def test_a_training_killed_ten_times_ends_bit_for_bit_like_an_unbroken_one(tmp_path: Path) -> None:
    steps = 240
    path = write_recipe(tmp_path, {"every_steps": 10}, steps=steps, checkpoint_every_steps=3)
    unbroken = train(recipes.read(path), tmp_path / "unbroken", faces=None)
    folder = tmp_path / "killed"
    moments = random.Random(20240607)
    for attempt in range(10):
        with start(path, folder, "--resume") as process:
            if attempt == 0:  # while the folder is being made
                wait_for((folder / ".lock").is_file, process)
            else:
                begun = len(starts(folder))
                wait_for(lambda begun=begun: len(starts(folder)) > begun, process)
                already, more = len(logged(folder)), moments.randrange(12)
                wait_for(lambda goal=already + more: len(logged(folder)) >= goal, process, seconds=2)
            time.sleep(moments.uniform(0, 0.03))
            process.kill()
        assert process.returncode == -signal.SIGKILL, "it ended before it was killed: make it longer"
        (folder / "checkpoints").mkdir(exist_ok=True)
        (folder / "checkpoints" / f"step-{attempt:08d}.json.1.part").write_bytes(b"torn")
    with start(path, folder, "--resume") as process:
        errors = process.communicate()[1]
    assert process.returncode == 0, errors
    assert_same_end(unbroken.folder, folder)
    assert_same_validations(unbroken, Run(folder))
    assert not list(folder.rglob("*.part"))


def write_recipe(folder: Path, validation: dict[str, Any] | None = None, **training_settings: Any) -> Path:
    """The tiny recipe on pictures on disk, as a file; with a validation on the same ones where asked for."""
    table = copy.deepcopy(tiny.table(**training_settings))
    table["data"]["list"] = str(tiny.face_list(folder))
    if validation is not None:
        table["validation"] = {"pairs": 5, "data": table["data"], "recogniser": tiny.RECOGNISER} | validation
    path = folder / "recipe.toml"
    path.write_text(recipes.to_toml(recipes.resolve(table, "a test")), "utf-8")
    return path


def start(path: Path, folder: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "facebridge.cli", "train", str(path), "--out", str(folder), "--device", "cpu"]
    return subprocess.Popen(
        [*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for(happened: Any, process: subprocess.Popen[str], seconds: float = 100) -> None:
    """Wait until it has happened, the process has ended, or the time is over."""
    end = time.monotonic() + seconds
    while not happened() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.002)


def logged(folder: Path) -> list[dict[str, Any]]:
    return runs.lines(folder / "log.jsonl")


def starts(folder: Path) -> list[dict[str, Any]]:
    return [line for line in runs.lines(folder / "run.jsonl") if line["event"] == "start"]


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
