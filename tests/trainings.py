"""Trainings for tests: tiny ones, ones that crash or are stopped, and what it takes for two to be the same."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facebridge import recipe as recipes
from facebridge import training, weights
from facebridge.recipe import Recipe
from facebridge.runs import Run
from tests import tiny
from tests.tiny import RandomFaces


class Crash(Exception):
    """What no code expects, like a power cut."""


class CrashingFaces(RandomFaces):
    """Faces that end the training when a picture is asked for the n-th time."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls = calls

    def picture(self, index: int) -> np.ndarray:
        self.calls -= 1
        if self.calls < 0:
            raise Crash
        return super().picture(index)


class StoppingFaces(RandomFaces):
    """Faces that send SIGTERM to their own process when a picture is asked for the n-th time."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls = calls

    def picture(self, index: int) -> np.ndarray:
        self.calls -= 1
        if self.calls == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().picture(index)


def train(recipe: Recipe, folder: Path, **options: Any) -> Run:
    options = dict[str, Any]() | {"faces": RandomFaces(), "device": "cpu", "progress": False} | options
    return training.train(recipe, folder, **options)


def validated(folder: Path, section: dict[str, Any] | None = None, **training_settings: Any) -> Recipe:
    """The tiny recipe with a validation on pictures that are written to a folder."""
    folder.mkdir(exist_ok=True)
    data = {"kind": "face_list", "list": str(tiny.face_list(folder))}
    section = {"every_steps": 2, "pairs": 5, "data": data, "recogniser": tiny.RECOGNISER} | (section or {})
    return recipes.resolve(tiny.table(**training_settings) | {"validation": section}, "a test")


def assert_same_end(one: Path, other: Path) -> None:
    tiny.assert_same_weights(one, other)
    assert (one / "log.jsonl").read_text() == (other / "log.jsonl").read_text()


def assert_same_validations(one: Run, other: Run) -> None:
    assert (one.folder / "validation.jsonl").read_bytes() == (other.folder / "validation.jsonl").read_bytes()
    assert weights.metadata(one.best) == weights.metadata(other.best)
    assert_equal_tensors(weights.read(one.best), weights.read(other.best))


def assert_equal_tensors(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    assert all(torch.equal(tensor, right[name]) for name, tensor in left.items())


def events(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.folder / "run.jsonl").read_text("utf-8").splitlines()]
