"""What training does beside its steps: validations, memories, diagnoses."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from facebridge import training, weights
from facebridge.methods.edsr_identity import EdsrIdentity
from facebridge.recipe import Recipe
from facebridge.runs import Run
from facebridge.stopping import Stopped
from facebridge.validation import Figures, HeldOut
from tests import tiny
from tests.trainings import (
    Crash,
    CrashingFaces,
    StoppingFaces,
    assert_equal_tensors,
    assert_same_end,
    assert_same_validations,
    events,
    train,
    validated,
)


def test_validation_does_not_change_training(tmp_path: Path) -> None:
    train(tiny.recipe(), tmp_path / "without")
    train(validated(tmp_path / "held_out", {"every_steps": 1}), tmp_path / "with")
    assert_same_end(tmp_path / "without", tmp_path / "with")


def test_validation_leaves_mode_and_draws_of_training_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, generate = EdsrIdentity.training_step, EdsrIdentity.generate

    def noisy_step(self: EdsrIdentity, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        assert self.training
        return step(self, batch | {"target": (batch["target"] + torch.rand(())) / 2})

    def noisy_generate(self: EdsrIdentity, faces: torch.Tensor) -> torch.Tensor:
        assert not self.training
        return generate(self, (faces + torch.rand(())) / 2)

    monkeypatch.setattr(EdsrIdentity, "training_step", noisy_step)
    monkeypatch.setattr(EdsrIdentity, "generate", noisy_generate)
    train(tiny.recipe(), tmp_path / "without")
    train(validated(tmp_path / "held_out", {"every_steps": 1}), tmp_path / "with")
    train(validated(tmp_path / "held_out", {"every_steps": 3}, preview_every_steps=1), tmp_path / "seldom")
    assert_same_end(tmp_path / "without", tmp_path / "with")
    often, seldom = Run(tmp_path / "with").validations(), Run(tmp_path / "seldom").validations()
    assert [line for line in often if line["step"] % 3 == 0] == seldom, "the noise of a validation is always the same"


def test_weights_that_are_not_finite_are_never_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = EdsrIdentity.training_step

    def poisoned(self: EdsrIdentity, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        losses = honest(self, batch)
        next(self.generator.tail.parameters()).data[0] = float("inf")
        return losses

    monkeypatch.setattr(EdsrIdentity, "training_step", poisoned)
    with pytest.raises(training.Diverged, match=r"step 1: the tensor 'generator\.tail\.weight' is not finite"):
        train(validated(tmp_path / "held_out", {"every_steps": 1}, checkpoint_every_steps=5), tmp_path / "run")
    assert not Run(tmp_path / "run").best.exists()


def test_validations_come_at_their_interval_and_at_the_end_with_a_sheet_each(tmp_path: Path) -> None:
    run = train(validated(tmp_path / "held_out", {"every_steps": 4}), tmp_path / "run")
    assert [line["step"] for line in run.validations()] == [4, 6]
    names = {"step", "identity_similarity", "other_similarity", "frechet_distance", "combined"}
    assert all(set(line) == names for line in run.validations())
    sheets = sorted(path.name for path in (run.folder / "previews").glob("validation-*"))
    assert sheets == ["validation-00000004.png", "validation-00000006.png"]


def test_the_best_weights_are_those_of_the_best_validation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frechet_distances = iter([0.5, 0.2, 0.3])  # after 2, 4 and 6 steps

    def judged(self: HeldOut, generate: Any) -> Figures:
        return Figures(0.5, 0.1, next(frechet_distances))

    monkeypatch.setattr(HeldOut, "figures", judged)
    run = train(validated(tmp_path / "held_out"), tmp_path / "run")
    told = weights.metadata(run.best)
    assert (told["method"], told["step"]) == ("edsr_identity", "4")
    (line,) = (line for line in run.validations() if line["step"] == 4)
    assert line == {name: json.loads(value) for name, value in told.items() if name != "method"}
    best, last = weights.read(run.best), weights.read(run.weights)
    shorter = train(tiny.recipe(steps=4), tmp_path / "shorter")
    assert_equal_tensors(best, weights.read(shorter.weights))
    assert best.keys() == last.keys()
    assert any(not torch.equal(best[name], last[name]) for name in best)


@pytest.mark.parametrize("crash", ["before the validation of step 4", "between validation and checkpoint"])
def test_a_resumed_training_ends_with_the_validations_of_an_unbroken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash: str
) -> None:
    recipe = validated(tmp_path / "held_out", checkpoint_every_steps=3)
    train(recipe, tmp_path / "unbroken")
    with monkeypatch.context() as patch:
        if crash.startswith("before"):
            honest = HeldOut.figures
            patch.setattr(HeldOut, "figures", lambda self, g: honest(self, g) if not validations(tmp_path) else fail())
        else:
            save = Run.save
            patch.setattr(Run, "save", lambda run, point: save(run, point) if point.step < 6 else fail())
        with pytest.raises(Crash):
            train(recipe, tmp_path / "broken")
    assert Run(tmp_path / "broken").steps() == [3]
    train(recipe, tmp_path / "broken", resume=True)
    assert_same_end(tmp_path / "unbroken", tmp_path / "broken")
    assert_same_validations(Run(tmp_path / "unbroken"), Run(tmp_path / "broken"))


def test_better_weights_than_the_checkpoint_are_not_written_over_by_worse_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distances = iter([0.5, 0.1, 0.3, 0.2])  # steps 2 and 4; then 4 anew, otherwise than before, and 6

    def judged(self: HeldOut, generate: Any) -> Figures:
        return Figures(0.5, 0.1, next(distances))

    monkeypatch.setattr(HeldOut, "figures", judged)
    recipe = validated(tmp_path / "held_out", checkpoint_every_steps=3)
    with pytest.raises(Crash):  # 4 pictures for the preview, 4 for each step
        train(recipe, tmp_path / "run", faces=CrashingFaces(4 + 4 * 5))
    run = train(recipe, tmp_path / "run", resume=True)
    assert [line["frechet_distance"] for line in run.validations()] == [0.5, 0.3, 0.2]
    assert weights.metadata(run.best)["frechet_distance"] == "0.1"


def test_a_generated_face_that_is_not_finite_stops_with_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EdsrIdentity, "generate", lambda self, faces: faces * float("nan"))
    with pytest.raises(training.Diverged, match="step 2: a generated face is not finite"):
        train(validated(tmp_path / "held_out"), tmp_path / "run")


def test_people_who_are_not_held_out_are_said_and_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = validated(tmp_path / "held_out", steps=1)
    assert recipe.validation is not None
    run = train(recipe.model_copy(update={"data": recipe.validation.data}), tmp_path / "run", faces=None)
    (event,) = (line for line in events(run) if line["event"] == "not held out")
    assert event["people"] == ["person0", "person1", "person2", "person3"]
    assert "validation.data shows 4 people whom training sees too, such as person0" in capsys.readouterr().out


class Diary:
    """A memory: the last pictures, none at first."""

    def __init__(self) -> None:
        self.pictures = torch.zeros(0, 3, 2, 2)

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"pictures": self.pictures, "half/1": self.pictures[1:], "count": torch.tensor(len(self.pictures))}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        assert set(state) == {"pictures", "half/1", "count"}
        assert torch.equal(state["half/1"], state["pictures"][1:])
        assert int(state["count"]) == len(state["pictures"])
        self.pictures = state["pictures"]


@pytest.mark.parametrize("first_step", [1, 4])
def test_memories_come_back_with_the_checkpoint_and_are_no_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first_step: int
) -> None:
    build, honest = training.build, EdsrIdentity.training_step

    def with_memory(recipe: Recipe, begins: bool = True) -> Any:
        method = build(recipe, begins)
        method.memories["shown"] = Diary()
        return method

    def remembering(self: Any, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        diary, target = self.memories["shown"], batch["target"]
        batch["target"] = (target + diary.pictures.mean()) / 2 if len(diary.pictures) else target
        if len(diary.pictures) or int(self.schedules["generator"].last_epoch) + 1 >= first_step:
            diary.pictures = torch.cat([diary.pictures, target[:1, :, :2, :2]])[-3:]
        return honest(self, batch)

    monkeypatch.setattr(training, "build", with_memory)
    monkeypatch.setattr(EdsrIdentity, "training_step", remembering)
    train(tiny.recipe(), tmp_path / "unbroken")
    with pytest.raises(Crash):
        train(tiny.recipe(), tmp_path / "broken", faces=CrashingFaces(4 + 4 * 3))
    train(tiny.recipe(), tmp_path / "broken", resume=True)
    assert_same_end(tmp_path / "unbroken", tmp_path / "broken")
    assert not any("shown" in name for name in weights.read(tmp_path / "broken" / "weights.safetensors"))


def test_a_loss_that_stays_constant_is_recorded_once_and_said_at_once_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = EdsrIdentity.training_step

    def flat(self: EdsrIdentity, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return honest(self, batch) | {"adversarial": torch.tensor(0.5)}

    monkeypatch.setattr(EdsrIdentity, "training_step", flat)
    recipe = tiny.recipe(steps=26, checkpoint_every_steps=100)
    with pytest.raises(Stopped):
        train(recipe, tmp_path / "run", faces=StoppingFaces(4 + 4 * 22))
    first = capsys.readouterr().out
    assert first.count("the loss 'adversarial' has not changed from step 1 to step 20") == 1
    run = train(recipe, tmp_path / "run", resume=True)
    (found,) = run.diagnoses()
    assert (found["loss"], found["kind"], found["step"]) == ("adversarial", "constant", 20)
    assert capsys.readouterr().out == f"still at the end: {found['text']}\n"
    assert [line["step"] for line in run.log()] == list(range(1, 27))


def test_a_sound_training_is_not_diagnosed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train(tiny.recipe(steps=24, checkpoint_every_steps=100), tmp_path / "run")
    assert run.diagnoses() == []
    assert capsys.readouterr().out == ""


def validations(folder: Path) -> list[dict[str, Any]]:
    return Run(folder / "broken").validations()


def fail() -> Any:
    raise Crash
