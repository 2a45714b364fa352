"""Networks that come trained from another run: the recipe's section, and what a training takes from it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from facebridge import methods, recipe, runs, training, weights
from facebridge.recipe import Recipe
from facebridge.runs import Run
from tests import tiny

SIZES = {"identity_size": 16, "identity_noise_size": 6, "sampler_widths": [10], "autoencoder_widths": [10]}
RECOGNISER = {"name": "mobile_facenet", "sizes": {**tiny.RECOGNISER["sizes"], "embedding_size": 16}}
PAIRING = {"kind": "same_person", "source": {"domain": "nir"}, "target": {"domain": "vis"}}


@pytest.fixture
def _as_before() -> Iterator[None]:
    """Lightning leaves a port and a number of threads in the environment."""
    before, threads = dict(os.environ), torch.get_num_threads()
    yield
    os.environ.clear()
    os.environ.update(before)
    torch.set_num_threads(threads)


def resolved(method: str = "dvg_face", **changes: Any) -> Recipe:
    table: dict[str, Any] = {
        "method": method,
        "crop": "arcface_64",
        "settings": SIZES | ({"num_filters": 4, "style_widths": [8], "codes_kept": 8} if method == "dvg_face" else {}),
        "data": {"kind": "synthetic", "identities": 4, "shots": 2, "size": 64, "pairing": PAIRING},
        "recogniser": RECOGNISER,
        "training": {"steps": 2, "batch_size": 2, "threads": 1, "preview_every_steps": 100},
    }
    return recipe.resolve(table | changes, "a test")


def sampler_run(folder: Path, *, checkpoint: bool = False) -> Path:
    """A run of identity_sampler with its first weights, as a file or as a checkpoint."""
    found = resolved("identity_sampler")
    run = runs.create(folder, found)
    torch.manual_seed(8)
    state = methods.load("identity_sampler")(found.config(), training.crops.crop(found.crop)).state_dict()
    if checkpoint:
        run.save(runs.Checkpoint(1, {f"networks/{name}": tensor for name, tensor in state.items()}, {"threads": 1}))
    else:
        weights.write(run.weights, state)
    return folder


def test_section_comes_back_from_toml_and_from_the_command_line(tmp_path: Path) -> None:
    found = resolved(trained={"identity_sampler": "my runs/one"})
    assert found.trained == {"identity_sampler": Path("my runs/one")}
    (tmp_path / "again.toml").write_text(recipe.to_toml(found), "utf-8")
    assert recipe.read(tmp_path / "again.toml") == found
    assert recipe.read(tmp_path / "again.toml", ["trained.identity_sampler=runs/other"]).trained == {
        "identity_sampler": Path("runs/other")
    }
    assert resolved().trained == {}


@pytest.mark.parametrize("checkpoint", [False, True])
def test_a_given_network_has_the_weights_of_its_run_and_the_others_their_own(tmp_path: Path, checkpoint: bool) -> None:
    run = sampler_run(tmp_path / "sampler", checkpoint=checkpoint)
    built = training.build(resolved(trained={"identity_sampler": str(run)}))
    wanted = runs.load(run).identity_sampler.state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in built.identity_sampler.state_dict().items())
    learning = resolved(settings={**resolved().settings, "identity_sampler_learns": True})
    other = training.build(learning)
    assert not torch.equal(other.identity_sampler.layers[0].weight, built.identity_sampler.layers[0].weight)
    assert torch.equal(other.decoder.start.weight, built.decoder.start.weight)


def test_a_network_that_must_come_trained_is_asked_for_with_the_recipe_and_the_key() -> None:
    with pytest.raises(ValueError, match=r"recipes: .*identity_sampler_small\), then set trained\.identity_sampler="):
        training.build(resolved())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sampler", r"trained\.sampler: dvg_face has no such network; known: .*decoder, identity_sampler"),
        ("decoder", r"trained\.decoder: .* is a run of identity_sampler, which has no decoder"),
    ],
)
def test_a_network_that_is_not_there_is_named(tmp_path: Path, name: str, message: str) -> None:
    run = str(sampler_run(tmp_path / "sampler"))
    with pytest.raises(ValueError, match=message):
        training.build(resolved(trained={"identity_sampler": run, name: run}))


def test_a_network_of_other_sizes_or_from_no_run_is_refused(tmp_path: Path) -> None:
    run = str(sampler_run(tmp_path / "sampler"))
    settings = {**resolved().settings, "sampler_widths": [11]}
    with pytest.raises(ValueError, match=r"trained\.identity_sampler: .*does not fit the settings"):
        training.build(resolved(settings=settings, trained={"identity_sampler": run}))
    with pytest.raises(ValueError, match=r"trained\.identity_sampler: .*is not a run"):
        training.build(resolved(trained={"identity_sampler": str(tmp_path / "nothing")}))


@pytest.mark.usefixtures("_as_before")
def test_a_frozen_network_is_part_of_the_weights_and_stays_as_it_came(tmp_path: Path) -> None:
    run = sampler_run(tmp_path / "sampler")
    found = resolved(trained={"identity_sampler": str(run)})
    ended = training.train(found, tmp_path / "run", device="cpu", progress=False)
    check_trained(ended, run)


@pytest.mark.slow
@pytest.mark.usefixtures("_as_before")
def test_two_processes_train_beside_a_frozen_network(tmp_path: Path) -> None:
    run = sampler_run(tmp_path / "sampler")
    found = resolved(trained={"identity_sampler": str(run)})
    ended = training.train(found, tmp_path / "run", device="cpu", progress=False, processes=2)
    check_trained(ended, run)


def check_trained(ended: Run, sampler: Path) -> None:
    tensors, wanted = weights.read(ended.weights), weights.read(Run(sampler).weights)
    for name, tensor in wanted.items():
        if name.startswith("identity_sampler."):
            assert torch.equal(tensors[name], tensor)
    first = training.build(ended.recipe).state_dict()
    assert not torch.equal(first["decoder.start.weight"], tensors["decoder.start.weight"])
    faces = runs.load(ended.folder).sample(2, torch.Generator().manual_seed(0))
    assert {domain: tuple(shown.shape) for domain, shown in faces.items()} == {
        "nir": (2, 3, 64, 64),
        "vis": (2, 3, 64, 64),
    }


def test_a_training_goes_on_without_the_run_that_a_network_came_from(tmp_path: Path) -> None:
    run = sampler_run(tmp_path / "sampler")
    wanted = resolved(trained={"identity_sampler": str(run)}, training={**resolved().training.model_dump(), "steps": 3})
    begun = training.build(wanted)
    (run / "recipe.toml").unlink()
    with pytest.raises(ValueError, match=r"trained\.identity_sampler"):
        training.build(wanted)
    again = training.build(wanted, begins=False)
    again.load_state_dict(begun.state_dict())
    assert torch.equal(again.identity_sampler.layers[0].weight, begun.identity_sampler.layers[0].weight)


def test_a_network_trained_with_another_recogniser_is_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = sampler_run(tmp_path / "sampler")
    training.build(resolved(trained={"identity_sampler": str(run)}))
    assert "was trained with the recogniser" not in capsys.readouterr().out
    other = {**RECOGNISER, "sizes": {**RECOGNISER["sizes"], "width_multiplier": 0.25}}
    training.build(resolved(trained={"identity_sampler": str(run)}, recogniser=other))
    assert "identity_sampler was trained with the recogniser mobile_facenet" in capsys.readouterr().out
