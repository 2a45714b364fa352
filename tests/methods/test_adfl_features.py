"""adfl_features misleads a discriminator of cameras, and evens out the variances of the features."""

import copy
import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from facebridge import crops, recipe, recognisers, runs, training
from facebridge.data.batches import Batches
from facebridge.data.faces import DrawnFaces
from facebridge.data.samplers.choosing import sampler_of
from facebridge.heads import SoftmaxHead
from facebridge.methods.adfl_features import (
    SLOPE,
    AdflFeatures,
    CameraDiscriminator,
    camera_loss,
    even,
    variance_discrepancy,
)
from facebridge.recipe import Recipe
from tests import drawn, tiny

THIN: dict[str, Any] = {"height": 64, "width": 64, "width_multiplier": 0.125}
PLAIN = {"kind": "sgd", "learning_rate": 0.05, "momentum": 0.0, "weight_decay": 0.0}
PEOPLE = [0, 1, 1, 2, 0]
PAIRING = {"kind": "same_person", "source": {"domain": "nir"}, "target": {"domain": "vis"}}


def method(**settings: Any) -> AdflFeatures:
    torch.manual_seed(0)
    given = {"network": "light_cnn_9", "sizes": THIN, "num_identities": 5, "hidden_size": 7}
    plain = {"descent": PLAIN, "discriminator_descent": PLAIN}
    built = AdflFeatures(AdflFeatures.Config.model_validate(given | plain | settings), crops.crop("light_cnn"))
    drawn.shaken(built.network)
    return built


def batch() -> dict[str, torch.Tensor]:
    faces = functional.interpolate(torch.rand(10, 3, 5, 5, generator=torch.Generator().manual_seed(5)), (128, 128))
    people = torch.tensor(PEOPLE)
    return {"target": faces[:5], "source": faces[5:] / 4, "target_identity": people, "source_identity": people}


def small_recipe() -> Recipe:
    table = {
        "method": "adfl_features",
        "crop": "light_cnn",
        "settings": {"sizes": THIN, "descent": {"learning_rate": 0.001}},
        "data": {"kind": "synthetic", "identities": 4, "shots": 2, "size": 64, "pairing": PAIRING},
        "training": {"steps": 4, "batch_size": 4, "threads": 1, "checkpoint_every_steps": 2, "log_every_steps": 1},
    }
    return recipe.resolve(table, "a test")


@functools.cache
def faces() -> DrawnFaces:
    return DrawnFaces(small_recipe().data, crops.crop("light_cnn"), ["vis", "nir"])  # type: ignore[arg-type]


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def still(built: AdflFeatures, name: str) -> None:
    """Let an optimiser move nothing in the next step."""
    for group in built.optimisers[name].param_groups:
        group["lr"] = 0.0


def looped_camera_loss(scores: Any, is_target: Any, objective: str) -> float:
    losses = []
    for score, wanted in zip(scores, is_target, strict=True):
        chance = 1 / (1 + np.exp(-score))
        losses.append(
            (score - float(wanted)) ** 2 / 2
            if objective == "least_squares"
            else -np.log(chance if wanted else 1 - chance)
        )
    return float(np.mean(losses))


@pytest.mark.parametrize("objective", ["least_squares", "cross_entropy"])
def test_camera_loss_is_that_of_a_plain_loop(objective: Any) -> None:
    scores, is_target = numbers(6), torch.tensor([True, False, False, True, True, False])
    wanted = looped_camera_loss(scores.tolist(), is_target.tolist(), objective)
    assert float(camera_loss(scores, is_target, objective)) == pytest.approx(wanted, rel=1e-10)
    assert torch.autograd.gradcheck(lambda s: camera_loss(s, is_target, objective), [scores.requires_grad_()])


def test_variance_discrepancy_is_that_of_plain_loops() -> None:
    source, target = numbers(5, 3), 2 * numbers(4, 3, seed=1)
    wanted = 0.0
    for one, other in zip(source.T.tolist(), target.T.tolist(), strict=True):
        means = [sum(values) / len(values) for values in (one, other)]
        squares = [[(value - mean) ** 2 for value in values] for values, mean in zip((one, other), means, strict=True)]
        variances = [sum(values) / len(values) for values in squares]
        wanted += (variances[0] - variances[1]) ** 2
    assert float(variance_discrepancy(source, target)) == pytest.approx(wanted, rel=1e-10)
    assert torch.autograd.gradcheck(variance_discrepancy, [source.requires_grad_(), target.requires_grad_()])


def test_variance_discrepancy_does_not_see_the_means() -> None:
    source = numbers(5, 3)
    assert float(variance_discrepancy(source, source.flip(0) + 7)) == pytest.approx(0, abs=1e-20)


def test_features_that_do_not_vary_have_a_finite_gradient() -> None:
    source, target = torch.ones(5, 3, requires_grad=True), torch.randn(5, 3)
    variance_discrepancy(source, target).backward()  # type: ignore[no-untyped-call]
    assert torch.equal(source.grad, torch.zeros(5, 3))  # type: ignore[arg-type]


def test_even_features_have_one_length_and_keep_their_direction() -> None:
    features = numbers(3, 16)
    evened = even(features)
    np.testing.assert_allclose(np.linalg.norm(evened.numpy(), axis=1), 4)
    np.testing.assert_allclose(functional.cosine_similarity(evened, features).numpy(), 1)


def test_discriminator_is_two_linear_layers_with_a_leaky_relu_between_them() -> None:
    discriminator, features = CameraDiscriminator(4, 3), torch.randn(5, 4)
    hidden = discriminator.hidden.weight.detach().numpy() @ features.numpy().T
    hidden += discriminator.hidden.bias.detach().numpy()[:, None]
    hidden = np.where(hidden > 0, hidden, SLOPE * hidden)
    wanted = discriminator.score.weight.detach().numpy() @ hidden + discriminator.score.bias.detach().numpy()
    np.testing.assert_allclose(discriminator(features).detach().numpy(), wanted[0], atol=1e-6)


@pytest.mark.parametrize("objective", ["least_squares", "cross_entropy"])
def test_step_costs_all_losses_by_the_discriminator_that_has_just_learned(objective: str) -> None:
    built, given = method(objective=objective, adversarial_weight=0.7, variance_weight=0.3), batch()
    before = copy.deepcopy(built)
    found = {name: float(value) for name, value in built.training_step(given).items()}
    with torch.no_grad():
        target, source = (before.network(built.seen(given[name])) for name in ("target", "source"))
        logits = (torch.cat([target, source]) @ before.head.weight.T + before.head.bias).double().numpy()
        vis, nir = (even(features) for features in (target, source))
        told = looped_camera_loss(
            before.discriminator(torch.cat([vis, nir])).tolist(), [True] * 5 + [False] * 5, objective
        )
        misled = looped_camera_loss(built.discriminator(nir).tolist(), [True] * 5, objective)
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    wanted = {
        "discriminator": told,
        "cross_entropy": -np.log([row[person] for row, person in zip(chances, PEOPLE * 2, strict=True)]).mean(),
        "adversarial": misled,
        "variance": ((nir.double().numpy().var(0) - vis.double().numpy().var(0)) ** 2).sum(),
    }
    total = wanted["cross_entropy"] + 0.7 * wanted["adversarial"] + 0.3 * wanted["variance"]
    assert found == pytest.approx({**wanted, "total": total}, rel=1e-4)


@pytest.mark.parametrize(("resting", "moving"), [("recogniser", "discriminator"), ("discriminator", "recogniser")])
def test_each_optimiser_moves_its_own_networks_alone(resting: str, moving: str) -> None:
    built = method()
    old = {name: value.detach().clone() for name, value in built.named_parameters()}
    still(built, resting)
    built.training_step(batch())
    changed = {name for name, value in built.named_parameters() if not torch.equal(value, old[name])}
    is_moving = {name for name in old if name.startswith("discriminator") == (moving == "discriminator")}
    assert changed == is_moving


def test_discriminator_descends_its_own_loss_and_never_what_the_network_asks_of_it() -> None:
    built, given = method(adversarial_weight=50.0), batch()
    for name in built.optimisers:
        still(built, name)
    built.training_step(given)  # leaves gradients of the adversarial loss behind
    by_hand = copy.deepcopy(built)
    with torch.no_grad():
        features = torch.cat([by_hand.network(built.seen(given[name])) for name in ("target", "source")])
    is_target = torch.tensor([True] * 5 + [False] * 5)
    loss = camera_loss(by_hand.discriminator(even(features)), is_target, "least_squares")
    slopes = torch.autograd.grad(loss, list(by_hand.discriminator.parameters()))
    for group in built.optimisers["discriminator"].param_groups:
        group["lr"] = 0.1
    built.training_step(given)
    for found, start, slope in zip(
        built.discriminator.parameters(), by_hand.discriminator.parameters(), slopes, strict=True
    ):
        torch.testing.assert_close(found, start - 0.1 * slope, atol=1e-6, rtol=1e-4)


def test_network_is_judged_by_the_discriminator_that_has_just_learned_under_autocast_too() -> None:
    """Autocast keeps bf16 copies of the weights that it has once seen."""
    built, given = method(discriminator_descent=PLAIN | {"learning_rate": 0.5}), batch()
    network = copy.deepcopy(built.network)
    with torch.autocast("cpu", torch.bfloat16):
        found = built.training_step(given)["adversarial"]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        features = network(built.seen(torch.cat([given["target"], given["source"]])))
        scores = built.discriminator(even(features)[5:])
        torch.testing.assert_close(found, camera_loss(scores, torch.ones(5, dtype=torch.bool), "least_squares"))


def test_discriminator_learns_to_tell_the_cameras_apart_where_the_network_stands_still() -> None:
    built, given = method(discriminator_descent={"kind": "adam", "learning_rate": 0.01, "weight_decay": 0.0}), batch()
    chance = 0.125  # of a discriminator that says 1/2 to all
    for _ in range(30):
        still(built, "recogniser")
        found = built.training_step(given)
    assert float(found["discriminator"]) < 0.5 * chance


@pytest.mark.parametrize("name", ["adversarial", "variance"])
def test_network_lowers_the_loss_that_has_a_weight(name: str) -> None:
    """Against the same training without it: recognition alone lets features spread, and with them the variances."""
    adam = {"kind": "adam", "learning_rate": 1e-3}

    def reached(weight: float) -> float:
        weights = {"adversarial_weight": 0.0, "variance_weight": 0.0} | {f"{name}_weight": weight}
        built = method(**weights, descent=adam)
        for _ in range(20):
            still(built, "discriminator")
            found = built.training_step(batch())
        return float(found[name])

    assert reached(10.0) < 0.3 * reached(0.0)


def test_targets_are_not_pulled_towards_the_sources_by_the_discriminator() -> None:
    features = torch.randn(6, 4, requires_grad=True)
    built = method()
    built.head = SoftmaxHead(4, 2)
    built.discriminator = CameraDiscriminator(4, 3)
    losses = built._losses(features, torch.zeros(6, dtype=torch.int64), torch.arange(6) >= 3)
    slope = torch.autograd.grad(losses["adversarial"], features)[0]
    assert torch.equal(slope[:3], torch.zeros(3, 4))
    assert bool((slope[3:] != 0).any())


def test_both_schedules_know_the_length_of_the_training() -> None:
    cosine = {"schedule": {"kind": "cosine"}}
    config = AdflFeatures.Config.model_validate({"descent": cosine, "discriminator_descent": cosine})
    known = AdflFeatures.settled(config, steps=70, num_identities=lambda: 9)
    assert known.num_identities == 9
    assert known.descent.schedule.steps == known.discriminator_descent.schedule.steps == 70  # type: ignore[union-attr]


def test_batch_of_one_camera_is_refused() -> None:
    given = batch()
    with pytest.raises(ValueError, match="same_person"):
        method().training_step({"target": given["target"], "target_identity": given["target_identity"]})


def test_resumed_training_is_the_unbroken_one_bit_for_bit_and_embeds(tmp_path: Path) -> None:
    training.train(small_recipe(), tmp_path / "whole", progress=False, device="cpu", faces=faces())
    run = training.train(small_recipe(), tmp_path / "broken", progress=False, device="cpu", faces=faces())
    run.weights.unlink()
    for late in (run.folder / "checkpoints").glob("step-00000004.*"):
        late.unlink()
    training.train(small_recipe(), tmp_path / "broken", progress=False, device="cpu", faces=faces(), resume=True)
    tiny.assert_same_weights(tmp_path / "whole", tmp_path / "broken")
    loaded = runs.load(tmp_path / "broken")
    assert isinstance(loaded, AdflFeatures)
    shown = batch()["target"]
    recogniser = recognisers.load(str(tmp_path / "broken"))
    assert torch.equal(recogniser.embed(shown, loaded.crop), loaded.embed(shown))


@pytest.mark.slow
def test_each_of_two_processes_compares_the_variances_in_its_own_part_of_the_batch(tmp_path: Path) -> None:
    wanted = small_recipe()
    run = training.train(wanted, tmp_path / "two", progress=False, device="cpu", faces=faces(), processes=2)
    losses = []
    for rank in range(2):
        part = Batches(faces(), 4, wanted.seed, sampler=sampler_of(wanted, faces()), rank=rank, processes=2)
        built = training.build(training.settled(wanted, faces()))
        losses.append({name: float(value) for name, value in built.training_step(part(0)).items()})
    for name in ("variance", "discriminator", "cross_entropy"):
        assert run.log()[0][name] == pytest.approx((losses[0][name] + losses[1][name]) / 2, rel=1e-4)
