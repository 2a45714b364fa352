"""Runs that come with the package: found by name, stored small, marked, with a card; no path of a machine in them."""

import importlib.util
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

import facebridge
from facebridge import cli, generating, images, recipe, runs, shipped, weight_card, weights
from facebridge.data import face_list
from tests import drawn

TOLD: dict[str, Any] = {
    "licence": "non-commercial research only",
    "data": "noise, which has no terms",
    "intended_use": "tests",
    "limits": "shows nothing",
    "results": {"accuracy": "50 % [40, 60]"},
}
NAME = "tiny_sr"


@pytest.fixture(scope="module")
def ship_run() -> ModuleType:
    """The script."""
    path = Path(__file__).parents[1] / "scripts" / "ship_run.py"
    found = importlib.util.spec_from_file_location("ship_run", path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn.untrained_run(tmp_path_factory.mktemp("runs") / "mine")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that ships nothing."""
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "shipped")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "shipped"


@pytest.fixture
def held(folder: Path, run: Path, ship_run: ModuleType) -> Path:
    """A package that ships one run."""
    ship_run.ship(run, NAME, TOLD)
    return folder / NAME


def test_shipped_name_generates_and_the_pictures_say_so(held: Path, run: Path, tmp_path: Path) -> None:
    listed = drawn.people(tmp_path / "people", num_people=2, shots=1)
    answer = CliRunner().invoke(cli.app, ["generate", NAME, str(listed), str(tmp_path / "made")])
    assert answer.exit_code == 0, answer.output
    made = face_list.read(tmp_path / "made" / generating.LIST)
    assert len(made) == 2
    told = images.provenance(made.picture_path(0))
    assert told is not None
    assert told.made_by == f"FaceBridge edsr_identity (shipped run {NAME})"
    assert told.weights_sha256 == weight_card.digest(held / "weights.safetensors")
    generating.generate(run, face_list.read(listed), tmp_path / "own")
    own = face_list.read(tmp_path / "own" / generating.LIST)
    assert images.generated_by(own.picture_path(0)) == "FaceBridge edsr_identity"
    for row in range(2):
        one, other = (images.read(faces.picture_path(row)).astype(int) for faces in (made, own))
        assert np.abs(one - other).max() <= 1


def test_weights_are_half_as_large_and_come_back_in_float32(held: Path, run: Path) -> None:
    stored, own = weights.read(held / "weights.safetensors"), runs.load(run).state_dict()
    assert {tensor.dtype for tensor in stored.values()} <= {torch.float16, torch.bfloat16}
    loaded = facebridge.load(NAME).state_dict()
    assert loaded.keys() == own.keys()
    for name, tensor in loaded.items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, stored[name].float())
        assert torch.allclose(tensor, own[name], rtol=2**-8, atol=1e-6)


def test_type_is_taken_that_holds_the_weights(folder: Path, run: Path, ship_run: ModuleType, tmp_path: Path) -> None:
    """float16 ends at 65,504: a method with a larger weight is stored in bfloat16, another in the finer float16."""
    large = tmp_path / "large"
    shutil.copytree(run, large)
    tensors = weights.read(large / "weights.safetensors")
    weights.write(large / "weights.safetensors", {**tensors, "generator.tail.bias": torch.tensor([1e6, 0.0, 0.0])})
    for name, source, dtype in (("plain", run, torch.float16), ("large", large, torch.bfloat16)):
        ship_run.ship(source, name, TOLD)
        assert {each.dtype for each in weights.read(folder / name / "weights.safetensors").values()} == {dtype}


def test_no_path_of_this_machine_is_left(folder: Path, run: Path, ship_run: ModuleType, tmp_path: Path) -> None:
    placed = tmp_path / "placed"
    shutil.copytree(run, placed)
    table = runs.Run(run).recipe.model_dump(mode="json", exclude_none=True)
    table["data"] = {
        "kind": "face_list",
        "list": "/home/ann/lists/faces.csv",
        "root": "/home/ann",
        "convention": "cp2tform",
    }
    table["recogniser"] = {"name": "/home/ann/runs/judge", "weights": "/home/ann/weights/net.ckpt"}
    table["trained"] = {"teacher": "/home/ann/runs/teacher"}
    table["validation"] = {
        "every_steps": 5,
        "data": {"kind": "face_list", "list": "held/out.csv", "pairing": {"kind": "same_shot"}},
        "recogniser": {"name": "mobile_facenet", "weights": "C:\\ann\\net.ckpt"},
    }
    (placed / "recipe.toml").write_text(recipe.to_toml(recipe.resolve(table, "a test")), "utf-8")
    command = "/home/ann/bin/facebridge train tiny --set data.list=/home/ann/lists/faces.csv -o /home/ann/runs/mine"
    runs.add_line(placed / "run.jsonl", {"event": "start", "command": command, "time": "now", "commit": "abc"})
    ship_run.ship(placed, NAME, TOLD)
    assert weight_card.of_shipped_run(NAME).command == "facebridge train tiny --set data.list=faces.csv -o mine"
    text = (folder / NAME / "recipe.toml").read_text("utf-8") + (folder / NAME / "card.json").read_text("utf-8")
    assert "ann" not in text
    assert "/" not in (folder / NAME / "recipe.toml").read_text("utf-8")
    resolved = runs.find(NAME).recipe
    assert resolved.data.convention == "cp2tform"
    assert str(resolved.data.list) == "faces.csv"
    assert resolved.recogniser.name == "judge"
    assert resolved.settings == runs.Run(run).recipe.settings


def test_run_folder_of_the_name_wins(held: Path, run: Path, tmp_path: Path) -> None:
    assert runs.find(NAME).folder == held
    (tmp_path / NAME).mkdir()
    assert runs.find(NAME).folder == held, "a folder that is no run is not meant"
    shutil.copytree(run, tmp_path / NAME, dirs_exist_ok=True)
    assert runs.find(NAME).folder == Path(NAME)
    assert runs.find(f"./{NAME}").folder == Path(NAME)


def test_unknown_name_names_the_shipped_ones(held: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"no_such is not a run.*shipped: {NAME}"):
        runs.load("no_such")
    with pytest.raises(ValueError, match="not a run"):
        runs.load(tmp_path)


def test_card_is_shown_and_listed_and_compared_with_the_weights(held: Path) -> None:
    card = weight_card.of_shipped_run(NAME)
    assert (card.name, card.kind, card.layout, card.crop) == (NAME, "method", "edsr_identity", "sphereface")
    assert {key: getattr(card, key) for key in TOLD} == TOLD
    assert card.parameters == sum(each.numel() for each in weights.read(held / "weights.safetensors").values())
    assert card.bytes == (held / "weights.safetensors").stat().st_size
    listing = CliRunner().invoke(cli.app, ["weights", "list"]).output
    assert any(NAME in line and "method" in line and "shipped" in line for line in listing.splitlines())
    shown = CliRunner().invoke(cli.app, ["weights", "show", NAME])
    assert shown.exit_code == 0
    for text in ("non-commercial research only", "shows nothing", card.sha256, "generator.head.weight"):
        assert text in shown.output
    assert NAME in CliRunner().invoke(cli.app, ["methods", "--shipped"]).output.split()
    (held / "weights.safetensors").write_bytes(b"other")
    with pytest.raises(ValueError, match="has changed since its card was written"):
        weight_card.of_shipped_run(NAME)
    assert "left out" in CliRunner().invoke(cli.app, ["weights", "list"]).output


def test_what_is_there_gives_way_only_when_asked_for(held: Path, run: Path, ship_run: ModuleType) -> None:
    with pytest.raises(ValueError, match="--replace"):
        ship_run.ship(run, NAME, TOLD)
    ship_run.ship(run, NAME, {**TOLD, "results": {"accuracy": "90 %"}}, replace=True)
    ship_run.ship(run, NAME, None, replace=True)
    assert weight_card.of_shipped_run(NAME).results == {"accuracy": "90 %"}


@pytest.mark.parametrize(
    ("name", "told", "match"),
    [
        ("../out", TOLD, "cannot be a name"),
        ("Upper", TOLD, "cannot be a name"),
        ("new", None, "give --card"),
        ("new", {**TOLD, "limits": ""}, "does not say limits"),
        ("new", {**TOLD, "mood": "good"}, "has no mood"),
    ],
)
def test_what_cannot_be_shipped_is_refused_and_leaves_nothing(
    folder: Path, run: Path, ship_run: ModuleType, name: str, told: dict[str, Any] | None, match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        ship_run.ship(run, name, told)
    assert shipped.names() == []


def test_package_stays_small(folder: Path, run: Path, ship_run: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    ship_run.ship(run, "first", TOLD)
    size = (folder / "first" / "weights.safetensors").stat().st_size
    monkeypatch.setattr(shipped, "MAX_BYTES", 2 * size - 1)
    with pytest.raises(ValueError, match="at most"):
        ship_run.ship(run, "second", TOLD)
    assert shipped.names() == ["first"]
    assert sorted(path.name for path in folder.iterdir()) == ["first"]
    monkeypatch.setattr(sys, "argv", ["ship_run.py", str(run), "first"])
    with pytest.raises(ValueError, match="--replace"):
        ship_run.main()


def test_a_run_may_fill_the_allowance_to_the_last_byte(
    folder: Path, run: Path, ship_run: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    ship_run.ship(run, "first", TOLD)
    size = (folder / "first" / "weights.safetensors").stat().st_size
    monkeypatch.setattr(shipped, "MAX_BYTES", size)
    ship_run.ship(run, "first", TOLD, replace=True)
    assert sorted(path.name for path in folder.iterdir()) == ["first"]


def test_new_weights_do_not_keep_the_figures_of_the_old_ones(
    folder: Path, run: Path, ship_run: ModuleType, tmp_path: Path
) -> None:
    ship_run.ship(run, "first", TOLD)
    ship_run.ship(run, "first", None, replace=True)
    assert weight_card.read(folder / "first" / shipped.CARD)["results"] == TOLD["results"]
    other = tmp_path / "other"
    shutil.copytree(run, other)
    tensors = weights.read(other / "weights.safetensors")
    save_file({name: each + 1 for name, each in tensors.items()}, other / "weights.safetensors")
    ship_run.ship(other, "first", None, replace=True)
    assert not weight_card.read(folder / "first" / shipped.CARD).get("results")


def test_what_is_shipped_is_whole_small_and_of_no_machine() -> None:
    total = 0
    for name in shipped.names():
        assert {path.name for path in (shipped.FOLDER / name).iterdir()} == {
            "recipe.toml",
            "weights.safetensors",
            "card.json",
        }
        card = weight_card.of_shipped_run(name)
        assert card.name == name
        assert all(getattr(card, key) for key in ("licence", "data", "command", "intended_use", "limits", "results"))
        assert "/" not in (shipped.FOLDER / name / "recipe.toml").read_text("utf-8")
        assert not re.search(r"(?<![\w.:/])/\w+/", (shipped.FOLDER / name / "card.json").read_text("utf-8"))
        method = facebridge.load(name)
        assert {parameter.dtype for parameter in method.parameters()} == {torch.float32}
        total += card.bytes
    assert total <= shipped.MAX_BYTES
