"""low_shot_recogniser classifies real people alone, and learns from generated pairs what DVG and DVG-Face learn."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from facebridge import crops, recipe, recognisers, runs, training
from facebridge.data import synthetic
from facebridge.data.batches import Batches
from facebridge.data.faces import DrawnFaces, JoinedFaces, faces_of
from facebridge.data.samplers.choosing import sampler_of
from facebridge.methods.low_shot_recogniser import LowShotRecogniser, mean_difference, pull, push
from facebridge.recipe import Recipe
from tests import drawn, tiny

THIN: dict[str, Any] = {"height": 64, "width": 64, "width_multiplier": 0.125}
PLAIN = {"learning_rate": 0.1, "momentum": 0.0, "weight_decay": 0.0}
REAL_PEOPLE, PEOPLE = [0, 1, 1], [0, 7, 1, 8, 1, 9, 10]
MADE = [False, True, False, True, False, True, True]
"""Of the rows of a batch: which are generated."""
REAL, GENERATED = [0, 2, 4], [1, 3, 5, 6]
MEANS = {"kind": "mean_matching", "weight": 0.7}
COSINES = {"kind": "pull_and_push", "weight": 0.7, "push_weight": 0.4, "margin": 0.2}
PAIRING = {"kind": "same_person", "source": {"domain": "nir"}, "target": {"domain": "vis"}}


def method(**settings: Any) -> LowShotRecogniser:
    torch.manual_seed(0)
    given = {"network": "light_cnn_9", "sizes": THIN, "num_identities": 2, "dropout": 0.0, "descent": PLAIN, **settings}
    built = LowShotRecogniser(LowShotRecogniser.Config.model_validate(given), crops.crop("light_cnn"))
    drawn.shaken(built.network)
    return built


def batch(**changed: Any) -> dict[str, torch.Tensor]:
    faces = functional.interpolate(torch.rand(14, 3, 5, 5, generator=torch.Generator().manual_seed(5)), (128, 128))
    people = torch.tensor(PEOPLE)
    given = {"target": faces[:7], "source": faces[7:], "target_identity": people, "source_identity": people}
    return {**given, "is_generated": torch.tensor(MADE), "shared_seed": torch.tensor(1), **changed}


def taken(given: dict[str, torch.Tensor], rows: list[int]) -> dict[str, torch.Tensor]:
    return {name: value[rows] if value.ndim else value for name, value in given.items()}


def small_recipe(generated: str = "people.csv", **settings: Any) -> Recipe:
    table = {
        "method": "low_shot_recogniser",
        "crop": "light_cnn",
        "settings": {"network": "light_cnn_9", "sizes": THIN, "classifier_first_steps": 1, "classifier_first_rate": 5.0}
        | {"dropout": 0.3, "descent": {"learning_rate": 0.01}}
        | settings,
        "data": {"kind": "synthetic", "identities": 4, "shots": 2, "size": 64, "pairing": PAIRING}
        | {"generated": {"list": generated, "share": 0.5}},
        "training": {"steps": 4, "batch_size": 4, "threads": 1, "checkpoint_every_steps": 2},
    }
    return recipe.resolve(table, "a test")


@functools.cache
def faces() -> JoinedFaces:
    data, crop = small_recipe().data, crops.crop("light_cnn")
    others = data.model_copy(update={"first_identity": 50, "identities": 6, "shots": 1})
    real, made = (DrawnFaces(people, crop, ["vis", "nir"]) for people in (data, others))  # type: ignore[arg-type]
    return JoinedFaces(real, made, counts_generated=False)


def features(seed: int = 0, count: int = 6) -> torch.Tensor:
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))


def cosine(one: Any, other: Any) -> float:
    return float(np.dot(one, other) / np.linalg.norm(one) / np.linalg.norm(other))


def plain_means(source: Any, target: Any) -> float:
    """Feature by feature."""
    count, size = source.shape
    gaps = [sum(float(source[row, k] - target[row, k]) for row in range(count)) / count for k in range(size)]
    return sum(gap**2 for gap in gaps) / size


def plain_push(source: Any, target: Any, people: list[int], margin: float) -> float:
    """Pair by pair."""
    count = len(source)
    costs = [max(0.0, cosine(source[row], target[row - 1]) - margin) for row in range(count)]
    return sum(cost for row, cost in enumerate(costs) if people[row] != people[row - 1]) / count


def step_by_hand(built: LowShotRecogniser, given: dict[str, torch.Tensor]) -> tuple[dict[str, float], torch.Tensor]:
    """The losses of a step in float64, feature by feature, and the gradient of the total by the classifier's rows."""
    with torch.no_grad():
        target = built.network(built.seen(given["target"])).double().numpy()
        source = built.network(built.seen(given["source"])).double().numpy()
    head = built.head.weight.detach().double().numpy()
    real = np.concatenate([target[REAL], source[REAL]])
    logits = real @ head.T
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    true = np.eye(len(head))[REAL_PEOPLE * 2]
    found = {"cross_entropy": float(-np.log(shares[true == 1]).mean())}
    made = source[GENERATED], target[GENERATED]
    if built.config.pair_loss.kind == "mean_matching":
        found |= {"real_means": plain_means(source[REAL], target[REAL]), "generated_means": plain_means(*made)}
        weighed = found["real_means"] + found["generated_means"]
    else:
        pulls = [1 - cosine(one, other) for one, other in zip(*made, strict=True)]
        found |= {"pull": float(np.mean(pulls)), "push": plain_push(*made, [7, 8, 9, 10], 0.2)}
        weighed = found["pull"] + 0.4 * found["push"]
    gradient = (shares - true).T @ real / len(real)
    return {**found, "total": found["cross_entropy"] + 0.7 * weighed}, torch.from_numpy(gradient)


@pytest.mark.parametrize("pair_loss", [MEANS, COSINES], ids=lambda wanted: wanted["kind"])
def test_step_is_gradient_descent_on_the_losses_computed_by_hand(pair_loss: dict[str, Any]) -> None:
    built, given = method(pair_loss=pair_loss), batch()
    wanted, gradient = step_by_hand(built, given)
    before = built.head.weight.detach().clone()
    found = {name: float(value) for name, value in built.training_step(given).items()}
    assert found == pytest.approx(wanted, rel=1e-4)
    torch.testing.assert_close(built.head.weight.detach(), (before.double() - 0.1 * gradient).float())


@pytest.mark.parametrize("pair_loss", [MEANS, COSINES], ids=lambda wanted: wanted["kind"])
def test_network_descends_the_gradient_of_the_total(pair_loss: dict[str, Any]) -> None:
    built, other, given = method(pair_loss=pair_loss), method(), batch()
    target, source = (other.network(other.seen(given[side])) for side in ("target", "source"))
    real = torch.cat([source[REAL], target[REAL]])
    loss = functional.cross_entropy(real @ other.head.weight.T, torch.tensor(REAL_PEOPLE * 2))
    if pair_loss is MEANS:
        for rows in (REAL, GENERATED):
            loss = loss + 0.7 * functional.mse_loss(source[rows].mean(0), target[rows].mean(0))
    else:
        nir, vis = functional.normalize(source[GENERATED]), functional.normalize(target[GENERATED])
        shifted = vis[[3, 0, 1, 2]]
        loss = loss + 0.7 * (1 - (nir * vis).sum(1).mean() + 0.4 * ((nir * shifted).sum(1) - 0.2).clamp(min=0).mean())
    parameters = list(other.network.parameters())
    gradients = torch.autograd.grad(loss, parameters)
    built.training_step(given)
    for found, old, gradient in zip(built.network.parameters(), parameters, gradients, strict=True):
        torch.testing.assert_close(found.detach(), (old - 0.1 * gradient).detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("pair_loss", [MEANS, COSINES], ids=lambda wanted: wanted["kind"])
def test_generated_identities_never_reach_the_cross_entropy(pair_loss: dict[str, Any]) -> None:
    renamed = torch.where(torch.tensor(MADE), torch.tensor(PEOPLE) + 1000, torch.tensor(PEOPLE))
    one, other = method(pair_loss=pair_loss), method(pair_loss=pair_loss)
    found = one.training_step(batch())
    again = other.training_step(batch(target_identity=renamed, source_identity=renamed))
    assert {name: float(value) for name, value in again.items()} == {n: float(v) for n, v in found.items()}
    alone = method(pair_loss={**pair_loss, "weight": 0.0})
    alone.training_step(taken({n: v for n, v in batch().items() if n != "is_generated"}, REAL))
    torch.testing.assert_close(one.head.weight, alone.head.weight)  # as if there were no generated faces
    assert len(one.head.weight) == 2


def test_classifier_learns_alone_at_first_from_real_pictures_and_at_its_own_rate() -> None:
    built = method(classifier_first_steps=2, classifier_first_rate=10.0, pair_loss=COSINES)
    network = {name: value.clone() for name, value in built.network.state_dict().items()}
    before = built.head.weight.detach().clone()
    wanted, gradient = step_by_hand(built, batch())
    found = built.training_step(batch())
    assert sorted(found) == ["cross_entropy", "total"]
    assert float(found["total"]) == pytest.approx(wanted["cross_entropy"], rel=1e-5)
    torch.testing.assert_close(built.head.weight.detach(), (before.double() - 1.0 * gradient).float())
    built.training_step(batch())
    assert all(torch.equal(value, network[name]) for name, value in built.network.state_dict().items())
    assert "pull" in built.training_step(batch())
    assert not torch.equal(built.network.stem.conv.weight, network["stem.conv.weight"])


def test_second_stage_begins_without_the_momentum_of_the_first() -> None:
    built = method(classifier_first_steps=2, descent={**PLAIN, "momentum": 0.9}, pair_loss=MEANS)
    for _ in range(2):
        built.training_step(batch())
    before = built.head.weight.detach().clone()
    _, gradient = step_by_hand(built, batch())
    built.training_step(batch())
    torch.testing.assert_close(built.head.weight.detach(), (before.double() - 0.1 * gradient).float())


def test_schedule_begins_when_the_network_does() -> None:
    schedule = {"kind": "steps", "milestones": [2, 3], "factor": 0.5}
    built = method(classifier_first_steps=3, classifier_first_rate=10.0, descent={**PLAIN, "schedule": schedule})
    optimiser, rates = built.optimisers["recogniser"], []
    for _ in range(7):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        built.schedules["recogniser"].step()
    assert rates == pytest.approx([1.0, 1.0, 1.0, 0.1, 0.1, 0.05, 0.025])


def test_cosine_ends_with_the_training() -> None:
    config = LowShotRecogniser.Config(classifier_first_steps=10, descent={"schedule": {"kind": "cosine"}})  # type: ignore[arg-type]
    known = LowShotRecogniser.settled(config, steps=30, num_identities=lambda: 3)
    assert [known.rate(step) for step in (0, 9, 10, 20, 30)] == pytest.approx([1.0, 1.0, 1.0, 0.5, 0.0])


@pytest.mark.parametrize("unit_length", [False, True])
def test_mean_difference_is_that_of_a_plain_loop(unit_length: bool) -> None:
    source, target = features(), features(1)
    scaled = [rows / rows.norm(dim=1, keepdim=True) if unit_length else rows for rows in (source, target)]
    assert float(mean_difference(source, target, unit_length)) == pytest.approx(plain_means(*scaled), rel=1e-5)


@pytest.mark.parametrize("people", [[1, 2, 3, 4, 5, 6], [1, 1, 2, 3, 3, 1]])
def test_push_is_that_of_a_plain_loop_and_spares_the_same_person(people: list[int]) -> None:
    source, target = features(), features(1)
    wanted = plain_push(source.numpy(), target.numpy(), people, -0.3)
    assert wanted > 0
    assert float(push(source, target, torch.tensor(people), -0.3)) == pytest.approx(wanted, rel=1e-5)


def test_pull_and_push_have_the_values_of_known_angles() -> None:
    axes = torch.eye(4)
    assert float(pull(axes, 3 * axes)) == pytest.approx(0)
    assert float(pull(axes, -axes)) == pytest.approx(2)
    assert float(push(axes, 2 * axes, torch.arange(4), 0.5)) == 0
    assert float(push(axes, axes.roll(-1, 0), torch.arange(4), 0.5)) == pytest.approx(0.5)
    assert float(push(axes[:1], axes[:1], torch.arange(1), 0.5)) == 0  # a pair alone meets nobody else


def test_terms_without_a_row_cost_nothing_and_have_a_gradient() -> None:
    nothing = torch.zeros(0, 8, requires_grad=True)
    total = mean_difference(nothing, nothing) + pull(nothing, nothing) + push(nothing, nothing, torch.arange(0), 0.5)
    total.backward()  # type: ignore[no-untyped-call]
    assert total.item() == 0
    assert nothing.grad is not None


def test_data_without_generated_faces_matches_the_means_of_real_pairs() -> None:
    given = {name: value for name, value in taken(batch(), REAL).items() if name != "is_generated"}
    assert set(method(pair_loss=MEANS).training_step(given)) == {"cross_entropy", "real_means", "total"}
    assert set(method(pair_loss=COSINES).training_step(given)) == {"cross_entropy", "total"}


@pytest.mark.parametrize("left_out", ["real", "generated"])
def test_each_kind_of_pairs_can_be_left_out_of_the_means(left_out: str) -> None:
    built, given = method(pair_loss={**MEANS, left_out: False}), batch()
    wanted, _ = step_by_hand(built, given)
    found = {name: float(value) for name, value in built.training_step(given).items()}
    kept = {"real": "generated_means", "generated": "real_means"}[left_out]
    assert found.keys() == {"cross_entropy", kept, "total"}
    assert found["total"] == pytest.approx(wanted["cross_entropy"] + 0.7 * wanted[kept], rel=1e-4)


def test_batch_without_real_faces_is_refused() -> None:
    with pytest.raises(ValueError, match=r"without a real face.*batch_size"):
        method().training_step(taken(batch(), GENERATED))


def test_batch_of_one_camera_is_refused() -> None:
    given = {name: value for name, value in batch().items() if not name.startswith("source")}
    with pytest.raises(ValueError, match="same_person"):
        method().training_step(given)


def test_losses_are_worked_out_in_float32_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        losses = method(pair_loss=COSINES).training_step(batch())
    assert {value.dtype for value in losses.values()} == {torch.float32}


@pytest.mark.parametrize("pair_loss", [MEANS, COSINES], ids=lambda wanted: wanted["kind"])
def test_two_steps_change_every_tensor(pair_loss: dict[str, Any]) -> None:
    built = method(pair_loss=pair_loss)
    old = {name: value.detach().clone() for name, value in built.named_parameters()}
    for _ in range(2):
        built.training_step(batch())
    assert [name for name, value in built.named_parameters() if torch.equal(value, old[name])] == []


def test_training_parts_generated_people_and_keeps_their_pairs_together() -> None:
    built = method(pair_loss={**COSINES, "weight": 1.0}, descent={"kind": "adam", "learning_rate": 1e-3})
    first = built.training_step(batch())
    for _ in range(20):
        last = built.training_step(batch())
    assert float(last["push"]) < 0.96 * float(first["push"])
    assert float(last["pull"]) < 0.1
    assert float(last["total"]) < float(first["total"])


def test_half_of_a_batch_of_64_pairs_is_generated() -> None:
    table = small_recipe().model_dump(mode="json")
    data = {**table["data"], "identities": 40}
    wanted = recipe.resolve({**table, "data": data, "training": {**table["training"], "batch_size": 64}}, "a test")
    people = [DrawnFaces(wanted.data, crops.crop("light_cnn"), ["vis", "nir"]) for _ in range(2)]  # type: ignore[arg-type]
    sampler = sampler_of(wanted, JoinedFaces(*people))
    kinds = [sampler.sample(0, place).is_generated for place in range(64, 128)]
    assert (kinds.count(True), kinds.count(False)) == (32, 32)


def test_only_real_people_are_counted_where_generated_ones_are_no_classes(tmp_path: Path) -> None:
    options: dict[str, Any] = {"identities": 3, "shots": 1, "size": 64, "domains": ("vis", "nir")}
    listed = synthetic.render_to(tmp_path, first_identity=2, **options)  # two of them are named like real ones
    wanted = small_recipe(str(listed))
    assert training.settled(wanted).settings["num_identities"] == 4
    found = faces_of(wanted)
    given = Batches(found, 4, 0, sampler=sampler_of(wanted, found))(0)
    assert given["is_generated"].tolist() == [False, True, False, True]
    classifying = recipe.resolve({**wanted.model_dump(mode="json"), "method": "recogniser", "settings": {}}, "a test")
    assert training.settled(classifying).settings["num_identities"] == 5


@pytest.mark.parametrize("first_steps", [1, 2, 3])
def test_resumed_training_is_the_unbroken_one_bit_for_bit_and_embeds(tmp_path: Path, first_steps: int) -> None:
    cosine_rate = {"learning_rate": 0.01, "schedule": {"kind": "cosine", "warm_up_steps": 1}}
    wanted = small_recipe(classifier_first_steps=first_steps, descent=cosine_rate)
    training.train(wanted, tmp_path / "whole", progress=False, device="cpu", faces=faces())
    run = training.train(wanted, tmp_path / "broken", progress=False, device="cpu", faces=faces())
    assert run.recipe.settings["num_identities"] == 4
    run.weights.unlink()
    for late in (run.folder / "checkpoints").glob("step-00000004.*"):
        late.unlink()
    training.train(wanted, tmp_path / "broken", progress=False, device="cpu", faces=faces(), resume=True)
    tiny.assert_same_weights(tmp_path / "whole", tmp_path / "broken")
    loaded = runs.load(tmp_path / "broken")
    assert isinstance(loaded, LowShotRecogniser)
    shown = batch()["target"]
    recogniser = recognisers.load(str(tmp_path / "broken"))
    assert torch.equal(recogniser.embed(shown, loaded.crop), loaded.embed(shown))


@pytest.mark.parametrize(("name", "real", "generated"), [("dvg_recogniser", 32, 32), ("dvg_face_recogniser", 32, 64)])
def test_published_recipes_have_the_published_batches_and_epochs(name: str, real: int, generated: int) -> None:
    resolved = recipe.read(name)
    assert resolved.data.generated is not None
    share, config = resolved.data.generated.share, resolved.config()
    assert round(resolved.training.batch_size * share) == generated
    assert resolved.training.batch_size - generated == real
    assert resolved.training.steps == config.classifier_first_steps + 15 * (100_000 // 64)
    after = [config.rate(config.classifier_first_steps + epoch * (100_000 // 64)) for epoch in (0, 3, 4, 8, 9, 13, 14)]
    assert after == pytest.approx([0.457305**falls for falls in (0, 0, 1, 1, 2, 2, 3)])
