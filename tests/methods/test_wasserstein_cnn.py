"""wasserstein_cnn computes the distance of two Gaussians and the nuclear norm, beside what IDR computes."""

import copy
import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from torch.nn import functional

from facebridge import crops, recipe, recognisers, runs, training
from facebridge.data.batches import Batches
from facebridge.data.faces import DrawnFaces
from facebridge.data.samplers.choosing import sampler_of
from facebridge.methods.wasserstein_cnn import WassersteinCnn, nuclear_norm, wasserstein
from facebridge.recipe import Recipe
from tests import drawn, tiny

THIN: dict[str, Any] = {"height": 64, "width": 64, "width_multiplier": 0.125}
PLAIN = {"learning_rate": 0.001, "momentum": 0.0, "weight_decay": 0.0}
PEOPLE = [0, 1, 1, 2, 0]
PAIRING = {"kind": "same_person", "source": {"domain": "nir"}, "target": {"domain": "vis"}}


def method(**settings: Any) -> WassersteinCnn:
    torch.manual_seed(0)
    given = {"network": "light_cnn_9", "sizes": THIN, "num_identities": 5, "shared_size": 6, "descent": PLAIN}
    built = WassersteinCnn(WassersteinCnn.Config.model_validate(given | settings), crops.crop("light_cnn"))
    drawn.shaken(built.network)
    return built


def batch() -> dict[str, torch.Tensor]:
    faces = functional.interpolate(torch.rand(10, 3, 5, 5, generator=torch.Generator().manual_seed(5)), (128, 128))
    people = torch.tensor(PEOPLE)
    return {"target": faces[:5], "source": faces[5:], "target_identity": people, "source_identity": people}


def small_recipe(alternate: bool = True) -> Recipe:
    table = {
        "method": "wasserstein_cnn",
        "crop": "light_cnn",
        "settings": {"sizes": THIN, "shared_size": 6, "alternate": alternate, "descent": {"learning_rate": 0.01}},
        "data": {"kind": "synthetic", "identities": 4, "shots": 2, "size": 64, "pairing": PAIRING},
        "training": {"steps": 4, "batch_size": 4, "threads": 1, "checkpoint_every_steps": 2, "log_every_steps": 1},
    }
    return recipe.resolve(table, "a test")


@functools.cache
def faces() -> DrawnFaces:
    return DrawnFaces(small_recipe().data, crops.crop("light_cnn"), ["vis", "nir"])  # type: ignore[arg-type]


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_distance_is_half_the_squared_wasserstein_distance_of_diagonal_gaussians() -> None:
    """By the formula for any two covariances S and T: |mu - nu|^2 + tr(S + T - 2 (S^(1/2) T S^(1/2))^(1/2))."""
    source, target = 2 * numbers(9, 4), numbers(7, 4, seed=1) + 0.5
    first, second = (np.diag(features.numpy().var(0)) for features in (source, target))
    root = scipy.linalg.sqrtm(first)
    shared = scipy.linalg.sqrtm(root @ second @ root)
    means = source.numpy().mean(0) - target.numpy().mean(0)
    wanted = (means @ means + np.trace(first + second - 2 * shared)) / 2
    assert float(wasserstein(source, target)) == pytest.approx(wanted, rel=1e-8)


def test_distance_is_that_of_plain_loops() -> None:
    source, target = numbers(5, 3), numbers(4, 3, seed=1)
    wanted = 0.0
    for one, other in zip(source.T.tolist(), target.T.tolist(), strict=True):
        means = [sum(values) / len(values) for values in (one, other)]
        squares = [[(value - mean) ** 2 for value in values] for values, mean in zip((one, other), means, strict=True)]
        deviations = [(sum(values) / len(values)) ** 0.5 for values in squares]
        wanted += ((means[0] - means[1]) ** 2 + (deviations[0] - deviations[1]) ** 2) / 2
    assert float(wasserstein(source, target)) == pytest.approx(wanted, rel=1e-8)


def test_distance_is_zero_for_the_same_features_in_another_order() -> None:
    features = numbers(6, 3)
    assert float(wasserstein(features, features.flip(0))) == pytest.approx(0, abs=1e-25)


def test_features_that_do_not_vary_have_a_finite_gradient() -> None:
    source, target = torch.ones(5, 3, requires_grad=True), torch.zeros(5, 3, requires_grad=True)
    wasserstein(source, target).backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(source.grad, torch.full((5, 3), 1 / 5))
    torch.testing.assert_close(target.grad, torch.full((5, 3), -1 / 5))


def test_gradient_of_the_distance_is_that_of_differences() -> None:
    features = [numbers(5, 3).requires_grad_(), numbers(4, 3, seed=1).requires_grad_()]
    assert torch.autograd.gradcheck(wasserstein, features)


@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (5, 5)])
def test_nuclear_norm_is_the_trace_of_the_root_of_the_square(shape: tuple[int, int]) -> None:
    matrix = numbers(*shape)
    smaller = matrix.T @ matrix if shape[0] >= shape[1] else matrix @ matrix.T
    wanted = np.trace(scipy.linalg.sqrtm(smaller.numpy())).real
    assert float(nuclear_norm(matrix)) == pytest.approx(wanted, rel=1e-8)
    assert torch.autograd.gradcheck(nuclear_norm, [matrix.requires_grad_()])


def test_descending_the_nuclear_norm_lowers_the_rank() -> None:
    matrix = numbers(6, 4).requires_grad_()
    descent = torch.optim.SGD([matrix], lr=0.01)
    smallest = float(torch.linalg.svdvals(matrix.detach())[-1])
    for _ in range(round(smallest / 0.01) + 5):
        descent.zero_grad()
        nuclear_norm(matrix).backward()  # type: ignore[no-untyped-call]
        descent.step()
    assert torch.linalg.matrix_rank(matrix.detach(), atol=0.02) == 3


@pytest.mark.parametrize("alternate", [True, False])
def test_step_costs_all_four_losses_of_the_shared_features(alternate: bool) -> None:
    weights = {"orthogonality_weight": 0.3, "wasserstein_weight": 0.7, "low_rank_weight": 0.2}
    built, given = method(alternate=alternate, **weights), batch()
    network = copy.deepcopy(built.network)
    first = copy.deepcopy(built)
    found = {name: float(value) for name, value in built.training_step(given).items()}
    seen_by = built if alternate else first  # the network's turn sees the new last layer
    with torch.no_grad():
        vis, nir = (network(built.seen(given[name])).double().numpy() for name in ("target", "source"))
    layers = seen_by.projections.shared, seen_by.projections.source, seen_by.projections.target
    shared, source, target = (layer.weight.detach().double().numpy() for layer in layers)
    whole = np.concatenate([vis @ (shared + target).T, nir @ (shared + source).T])
    logits = whole @ seen_by.head.weight.detach().numpy().T + seen_by.head.bias.detach().numpy()
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    one, other = nir @ shared.T, vis @ shared.T
    wanted = {
        "cross_entropy": -np.log([row[person] for row, person in zip(chances, PEOPLE * 2, strict=True)]).mean(),
        "orthogonality": ((shared @ source.T) ** 2).sum() + ((shared @ target.T) ** 2).sum(),
        "wasserstein": (((one.mean(0) - other.mean(0)) ** 2).sum() + ((one.std(0) - other.std(0)) ** 2).sum()) / 2,
        "low_rank": np.linalg.svd(np.concatenate([shared, source, target]))[1].sum(),
    }
    total = wanted["cross_entropy"] + sum(weights[f"{name}_weight"] * wanted[name] for name in list(wanted)[1:])
    assert found == pytest.approx({**wanted, "total": total}, rel=1e-4)


def test_training_brings_the_two_cameras_together() -> None:
    adam = {"kind": "adam", "learning_rate": 3e-3}
    built, given = method(wasserstein_weight=1.0, descent=adam), batch()
    given["source"] = given["source"] / 4
    first = built.training_step(given)
    for _ in range(20):
        last = built.training_step(given)
    assert float(last["wasserstein"]) < 0.3 * float(first["wasserstein"])


def test_step_changes_every_tensor_and_the_private_parts_take_no_part_in_the_embedding() -> None:
    built, given = method(), batch()
    old = {name: value.detach().clone() for name, value in built.named_parameters()}
    built.training_step(given)
    assert [name for name, value in built.named_parameters() if torch.equal(value, old[name])] == []
    embedded = built.embed(given["source"])
    assert embedded.shape == (5, 6)
    with torch.no_grad():
        built.projections.source.weight.normal_()
        built.projections.target.weight.normal_()
    assert torch.equal(built.embed(given["source"]), embedded)


def test_batch_of_one_camera_is_refused() -> None:
    given = batch()
    with pytest.raises(ValueError, match="same_person"):
        method().training_step({"target": given["target"], "target_identity": given["target_identity"]})


@pytest.mark.parametrize("alternate", [True, False])
def test_resumed_training_is_the_unbroken_one_bit_for_bit_and_embeds(tmp_path: Path, alternate: bool) -> None:
    wanted = small_recipe(alternate)
    training.train(wanted, tmp_path / "whole", progress=False, device="cpu", faces=faces())
    run = training.train(wanted, tmp_path / "broken", progress=False, device="cpu", faces=faces())
    run.weights.unlink()
    for late in (run.folder / "checkpoints").glob("step-00000004.*"):
        late.unlink()
    training.train(wanted, tmp_path / "broken", progress=False, device="cpu", faces=faces(), resume=True)
    tiny.assert_same_weights(tmp_path / "whole", tmp_path / "broken")
    loaded = runs.load(tmp_path / "broken")
    assert isinstance(loaded, WassersteinCnn)
    shown = batch()["target"]
    recogniser = recognisers.load(str(tmp_path / "broken"))
    assert torch.equal(recogniser.embed(shown, loaded.crop), loaded.embed(shown))


@pytest.mark.slow
def test_each_of_two_processes_compares_the_cameras_in_its_own_part_of_the_batch(tmp_path: Path) -> None:
    wanted = small_recipe(alternate=False)
    run = training.train(wanted, tmp_path / "two", progress=False, device="cpu", faces=faces(), processes=2)
    losses = []
    for rank in range(2):
        part = Batches(faces(), 4, wanted.seed, sampler=sampler_of(wanted, faces()), rank=rank, processes=2)
        built = training.build(training.settled(wanted, faces()))
        losses.append(float(built.training_step(part(0))["wasserstein"]))
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)
    assert run.log()[0]["wasserstein"] == pytest.approx(sum(losses) / 2, rel=1e-4)
