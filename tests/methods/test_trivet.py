"""trivet computes the triplets of TRIVET in both directions, by identity."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from facebridge import crops, recipe, recognisers, runs, training
from facebridge.data.faces import DrawnFaces
from facebridge.methods.trivet import Trivet, triplets
from facebridge.recipe import Recipe
from tests import drawn, tiny

THIN: dict[str, Any] = {"height": 64, "width": 64, "width_multiplier": 0.125}
PLAIN = {"learning_rate": 0.1, "momentum": 0.0, "weight_decay": 0.0}
PEOPLE = [0, 1, 1, 2, 0]
"""Of the rows of a batch: two of them come twice."""


def method(**settings: Any) -> Trivet:
    torch.manual_seed(0)
    given = {"network": "light_cnn_9", "sizes": THIN, "num_identities": 5, **settings}
    built = Trivet(Trivet.Config.model_validate(given), crops.crop("light_cnn"))
    drawn.shaken(built.network)
    return built


def batch() -> dict[str, torch.Tensor]:
    faces = functional.interpolate(torch.rand(10, 3, 5, 5, generator=torch.Generator().manual_seed(5)), (128, 128))
    people = torch.tensor(PEOPLE)
    return {"target": faces[:5], "source": faces[5:], "target_identity": people, "source_identity": people}


def small_recipe(**training_settings: Any) -> Recipe:
    table = {
        "method": "trivet",
        "crop": "light_cnn",
        "settings": {"sizes": THIN, "dropout": 0.3, "descent": {"learning_rate": 0.01}},
        "data": {"kind": "synthetic", "identities": 4, "shots": 2, "size": 64, "pairing": PAIRING},
        "training": {"steps": 4, "batch_size": 4, "threads": 1, "checkpoint_every_steps": 2} | training_settings,
    }
    return recipe.resolve(table, "a test")


PAIRING = {"kind": "same_person", "source": {"domain": "nir"}, "target": {"domain": "vis"}}


@functools.cache
def faces() -> DrawnFaces:
    return DrawnFaces(small_recipe().data, crops.crop("light_cnn"), ["vis", "nir"])  # type: ignore[arg-type]


def unit(count: int, seed: int = 0) -> torch.Tensor:
    drawn_features = torch.randn(count, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return functional.normalize(drawn_features)


def looped(anchors: Any, others: Any, anchor_ids: list[int], other_ids: list[int], margin: float, mining: str) -> float:
    """Every triplet by itself."""
    losses = []
    for anchor, person in zip(np.asarray(anchors), anchor_ids, strict=True):
        pairs = list(zip(np.asarray(others), other_ids, strict=True))
        positive = [((anchor - other) ** 2).sum() for other, known in pairs if known == person]
        negative = [((anchor - other) ** 2).sum() for other, known in pairs if known != person]
        if mining == "hard" and positive and negative:
            positive, negative = [max(positive)], [min(negative)]
        losses += [max(0.0, margin + near - far) for near in positive for far in negative]
    return float(np.mean(losses)) if losses else 0.0


@pytest.mark.parametrize("mining", ["all", "hard"])
@pytest.mark.parametrize("margin", [0.1, 0.5, 3.0])
def test_triplets_are_those_of_a_plain_loop(mining: Any, margin: float) -> None:
    anchor_ids, other_ids = [0, 1, 1, 2, 9], [1, 0, 2, 2, 0, 5, 1]
    anchors, others = unit(len(anchor_ids)), unit(len(other_ids), seed=1)
    same = torch.tensor(anchor_ids)[:, None] == torch.tensor(other_ids)
    wanted = looped(anchors, others, anchor_ids, other_ids, margin, mining)
    assert wanted > 0
    assert float(triplets(anchors, others, same, margin, mining)) == pytest.approx(wanted, rel=1e-10)


@pytest.mark.parametrize("mining", ["all", "hard"])
@pytest.mark.parametrize("same", [True, False])
def test_batch_without_a_triplet_costs_nothing_and_has_a_gradient(mining: Any, same: bool) -> None:
    anchors, others = unit(3).requires_grad_(), unit(4, seed=1)
    loss = triplets(anchors, others, torch.full((3, 4), same), 0.3, mining)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    assert anchors.grad is not None
    assert torch.equal(anchors.grad, torch.zeros_like(anchors))


@pytest.mark.parametrize("mining", ["all", "hard"])
def test_gradient_of_triplets_is_that_of_differences(mining: Any) -> None:
    anchors, others = unit(4).requires_grad_(), unit(4, seed=1).requires_grad_()
    same = torch.tensor([0, 1, 1, 2])[:, None] == torch.tensor([1, 0, 2, 1])
    assert torch.autograd.gradcheck(lambda a, b: triplets(a, b, same, 0.7, mining), [anchors, others])


def test_triplets_are_worked_out_in_float32_under_autocast() -> None:
    anchors, others = unit(4).float(), unit(4, seed=1).float()
    exact = triplets(anchors, others, torch.eye(4, dtype=torch.bool), 0.7)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(triplets(anchors, others, torch.eye(4, dtype=torch.bool), 0.7), exact)


@pytest.mark.parametrize("mining", ["all", "hard"])
def test_step_costs_both_directions_and_the_cross_entropy(mining: str) -> None:
    built, given = method(mining=mining, margin=0.4, triplet_weight=2.0, softmax_weight=0.5), batch()
    with torch.no_grad():
        target = built.network(built.seen(given["target"])).double()
        source = built.network(built.seen(given["source"])).double()
        logits = torch.cat([target, source]) @ built.head.weight.double().T + built.head.bias.double()
    vis, nir = functional.normalize(target), functional.normalize(source)
    shares = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(1, keepdims=True)
    wanted = {
        "target_to_source": looped(vis, nir, PEOPLE, PEOPLE, 0.4, mining),
        "source_to_target": looped(nir, vis, PEOPLE, PEOPLE, 0.4, mining),
        "cross_entropy": -np.mean([np.log(row[person]) for row, person in zip(shares, PEOPLE * 2, strict=True)]),
    }
    found = {name: float(value) for name, value in built.training_step(given).items()}
    both = wanted["target_to_source"] + wanted["source_to_target"]
    assert found == pytest.approx({**wanted, "total": 2 * both + 0.5 * wanted["cross_entropy"]}, rel=1e-4)
    assert wanted["target_to_source"] != pytest.approx(wanted["source_to_target"], rel=1e-3)


def test_cameras_exchanged_exchange_the_directions() -> None:
    given = batch()
    exchanged = given | {"source": given["target"], "target": given["source"]}
    one, other = method().training_step(given), method().training_step(exchanged)
    torch.testing.assert_close(one["target_to_source"], other["source_to_target"])
    torch.testing.assert_close(one["total"], other["total"])


def test_training_brings_the_pictures_of_one_person_together_across_cameras() -> None:
    built, given = method(descent={"kind": "adam", "learning_rate": 1e-3}, softmax_weight=0.0), batch()
    first = built.training_step(given)
    for _ in range(15):
        last = built.training_step(given)
    assert float(last["target_to_source"] + last["source_to_target"]) < 0.5 * float(
        first["target_to_source"] + first["source_to_target"]
    )


def test_step_changes_every_tensor_and_leaves_the_recogniser_it_began_with() -> None:
    start = recognisers.load("light_cnn_9", **THIN)
    before = {name: value.clone() for name, value in start.state_dict().items()}
    config = Trivet.Config.model_validate({"sizes": THIN, "num_identities": 5, "descent": PLAIN})
    built = Trivet(config, crops.crop("light_cnn"), start)
    old = {name: value.detach().clone() for name, value in built.named_parameters()}
    built.training_step(batch())
    assert [name for name, value in built.named_parameters() if torch.equal(value, old[name])] == []
    assert all(torch.equal(value, before[name]) for name, value in start.state_dict().items())


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
    assert isinstance(loaded, Trivet)
    shown = batch()["target"]
    recogniser = recognisers.load(str(tmp_path / "broken"))
    assert torch.equal(recogniser.embed(shown, loaded.crop), loaded.embed(shown))
