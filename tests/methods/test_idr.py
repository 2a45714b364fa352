"""idr classifies by W f + P f, keeps W and P apart, and recognises by W f alone."""

import copy
import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from facebridge import crops, recipe, recognisers, runs, training
from facebridge import weights as weight_files
from facebridge.data.faces import DrawnFaces
from facebridge.methods.idr import Idr, Projections
from facebridge.recipe import Recipe
from tests import drawn, tiny

THIN: dict[str, Any] = {"height": 64, "width": 64, "width_multiplier": 0.125}
PLAIN = {"learning_rate": 0.01, "momentum": 0.0, "weight_decay": 0.0}
PEOPLE = [0, 1, 1, 2, 0]
PAIRING = {"kind": "same_person", "source": {"domain": "nir"}, "target": {"domain": "vis"}}


def method(**settings: Any) -> Idr:
    torch.manual_seed(0)
    given = {"network": "light_cnn_9", "sizes": THIN, "num_identities": 5, "shared_size": 6, "descent": PLAIN}
    built = Idr(Idr.Config.model_validate(given | settings), crops.crop("light_cnn"))
    drawn.shaken(built.network)
    return built


def batch() -> dict[str, torch.Tensor]:
    faces = functional.interpolate(torch.rand(10, 3, 5, 5, generator=torch.Generator().manual_seed(5)), (128, 128))
    people = torch.tensor(PEOPLE)
    return {"target": faces[:5], "source": faces[5:], "target_identity": people, "source_identity": people}


def small_recipe(alternate: bool, **training_settings: Any) -> Recipe:
    settings = {"sizes": THIN, "shared_size": 6, "alternate": alternate, "descent": {"learning_rate": 0.01}}
    table = {
        "method": "idr",
        "crop": "light_cnn",
        "settings": settings,
        "data": {"kind": "synthetic", "identities": 4, "shots": 2, "size": 64, "pairing": PAIRING},
        "training": {"steps": 4, "batch_size": 4, "threads": 1, "checkpoint_every_steps": 2} | training_settings,
    }
    return recipe.resolve(table, "a test")


@functools.cache
def faces() -> DrawnFaces:
    return DrawnFaces(small_recipe(True).data, crops.crop("light_cnn"), ["vis", "nir"])  # type: ignore[arg-type]


def matrices(built: Idr) -> list[np.ndarray]:
    """W, P of the source camera and P of the target camera."""
    layers = built.projections.shared, built.projections.source, built.projections.target
    return [layer.weight.detach().double().numpy() for layer in layers]


@pytest.mark.parametrize("alternate", [True, False])
def test_losses_are_those_of_plain_loops(alternate: bool) -> None:
    built, given = method(alternate=alternate, orthogonality_weight=0.3), batch()
    before = copy.deepcopy(built)
    wanted = looped(before, given)
    found = {name: float(value) for name, value in built.training_step(given).items()}
    if alternate:  # what is told is of the network's turn, which comes after the last layer's
        looked_at = copy.deepcopy(built)
        looked_at.network = before.network
        wanted = looped(looked_at, given)
    assert found == pytest.approx(wanted, rel=1e-4)


def looped(built: Idr, given: dict[str, torch.Tensor]) -> dict[str, float]:
    shared, source, target = matrices(built)
    rows = [(given["target"], target), (given["source"], source)]
    losses = []
    for pictures, private in rows:
        with torch.no_grad():
            features = built.network(built.seen(pictures)).double().numpy()
        for feature, person in zip(features, PEOPLE, strict=True):
            whole = shared @ feature + private @ feature
            logits = built.head.weight.detach().numpy() @ whole + built.head.bias.detach().numpy()
            losses.append(np.log(np.exp(logits).sum()) - logits[person])
    apart = sum((one @ other) ** 2 for one in shared for private in (source, target) for other in private)
    cross_entropy = float(np.mean(losses))
    total = cross_entropy + built.config.orthogonality_weight * apart
    return {"cross_entropy": cross_entropy, "orthogonality": apart, "total": total}


def autograd_step(built: Idr, given: dict[str, torch.Tensor], turn: list[torch.nn.Parameter], rate: float) -> None:
    """One step of gradient descent of some tensors, written out."""
    pictures = torch.cat([given["target"], given["source"]])
    people = torch.cat([given["target_identity"], given["source_identity"]])
    features = built.network(built.seen(pictures))
    layers = built.projections
    shared, source, target = layers.shared.weight, layers.source.weight, layers.target.weight
    whole = features @ shared.T + torch.cat([features[:5] @ target.T, features[5:] @ source.T])
    loss = functional.cross_entropy(whole @ built.head.weight.T + built.head.bias, people)
    loss = loss + (shared @ source.T).pow(2).sum() + (shared @ target.T).pow(2).sum()
    for tensor, slope in zip(turn, torch.autograd.grad(loss, turn), strict=True):
        tensor.data -= rate * slope


@pytest.mark.parametrize("alternate", [True, False])
def test_alternating_trains_the_last_layer_first_and_the_network_by_its_new_weights(alternate: bool) -> None:
    built, given = method(alternate=alternate), batch()
    by_hand = copy.deepcopy(built)
    last = [*by_hand.projections.parameters(), *by_hand.head.parameters()]
    network = list(by_hand.network.parameters())
    for _ in range(2):
        built.training_step(given)
        for turn in [last, network] if alternate else [last + network]:
            autograd_step(by_hand, given, turn, PLAIN["learning_rate"])
    for (name, found), wanted in zip(built.named_parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")


def test_networks_turn_sees_the_new_last_layer_under_autocast_too() -> None:
    """Autocast keeps bf16 copies of the weights that it has once seen."""
    built, given = method(descent=PLAIN | {"learning_rate": 0.5}), batch()
    network = copy.deepcopy(built.network)
    with torch.autocast("cpu", torch.bfloat16):
        found = built.training_step(given)["cross_entropy"]
    built.network = network
    people = torch.cat([given["target_identity"], given["source_identity"]])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        features = network(built.seen(torch.cat([given["target"], given["source"]])))
        _, whole = built.projections(features, torch.arange(10) >= 5)
        torch.testing.assert_close(found, functional.cross_entropy(built.head(whole, people), people))


def test_embedding_is_the_shared_part_alone() -> None:
    built, shown = method(), batch()["source"]
    built.eval()
    with torch.no_grad():
        features = built.network(built.seen(shown)).double().numpy()
    shared = features @ matrices(built)[0].T
    embedded = built.embed(shown)
    np.testing.assert_allclose(embedded, shared / np.linalg.norm(shared, axis=1, keepdims=True), atol=1e-5)
    with torch.no_grad():
        built.projections.source.weight.normal_()
        built.projections.target.weight.normal_()
    assert torch.equal(built.embed(shown), embedded)
    with torch.no_grad():
        built.projections.shared.weight.normal_()
    assert not torch.allclose(built.embed(shown), embedded, atol=0.1)


def test_each_camera_has_its_own_private_part() -> None:
    projections = Projections(4, 3)
    features, is_source = torch.randn(2, 4), torch.tensor([True, False])
    shared, whole = projections(features, is_source)
    torch.testing.assert_close(shared, features @ projections.shared.weight.T)
    torch.testing.assert_close(whole[0] - shared[0], projections.source.weight @ features[0])
    torch.testing.assert_close(whole[1] - shared[1], projections.target.weight @ features[1])


@pytest.mark.parametrize("alternate", [True, False])
def test_shared_and_private_parts_turn_away_from_each_other_in_training(alternate: bool) -> None:
    built, given = method(alternate=alternate), batch()
    for private in (built.projections.source, built.projections.target):
        torch.nn.init.orthogonal_(private.weight)

    def largest_cosine() -> float:
        """Of two directions, one of each subspace; it does not fall where rows only grow shorter."""
        shared, *privates = [np.linalg.qr(matrix.T)[0] for matrix in matrices(built)]
        return max(np.linalg.norm(shared.T @ private, 2) for private in privates)

    first, cosine = built.training_step(given), largest_cosine()
    for _ in range(100):
        last = built.training_step(given)
    assert float(last["orthogonality"]) < 0.2 * float(first["orthogonality"])
    assert largest_cosine() < 0.6 * cosine
    assert float(last["cross_entropy"]) < float(first["cross_entropy"])


def test_step_changes_every_tensor_and_leaves_the_recogniser_it_began_with() -> None:
    start = recognisers.load("light_cnn_9", **THIN)
    before = {name: value.clone() for name, value in start.state_dict().items()}
    config = Idr.Config.model_validate({"sizes": THIN, "num_identities": 5, "descent": PLAIN | {"learning_rate": 0.1}})
    built = Idr(config, crops.crop("light_cnn"), start)
    assert all(torch.equal(value, before[f"network.{name}"]) for name, value in built.network.state_dict().items())
    old = {name: value.detach().clone() for name, value in built.named_parameters()}
    built.training_step(batch())
    assert [name for name, value in built.named_parameters() if torch.equal(value, old[name])] == []
    assert all(torch.equal(value, before[name]) for name, value in start.state_dict().items())


def test_low_layers_stay_as_they_were_where_their_rates_are_zero() -> None:
    built = method(descent=PLAIN | {"rates": {"weight": 0.0, "bias": 0.0}})
    old = {name: value.detach().clone() for name, value in built.named_parameters()}
    built.training_step(batch())
    changed = {name for name, value in built.named_parameters() if not torch.equal(value, old[name])}
    projections = {f"projections.{name}.weight" for name in ("shared", "source", "target")}
    assert changed == projections | {"network.embedding.linear.weight", "head.weight", "head.bias"}


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
    assert isinstance(loaded, Idr)
    shown = batch()["target"]
    recogniser = recognisers.load(str(tmp_path / "broken"))
    assert recogniser.embedding_size == 6
    assert torch.equal(recogniser.embed(shown, loaded.crop), loaded.embed(shown))


@pytest.mark.slow
@pytest.mark.parametrize("alternate", [True, False])
def test_two_processes_learn_what_one_learns(tmp_path: Path, alternate: bool) -> None:
    """The penalty of W and P, which no forward sees, counts once, not twice."""
    wanted = small_recipe(alternate)
    training.train(wanted, tmp_path / "one", progress=False, device="cpu", faces=faces())
    training.train(wanted, tmp_path / "two", progress=False, device="cpu", faces=faces(), processes=2)
    left, right = (weight_files.read(tmp_path / name / "weights.safetensors") for name in ("one", "two"))
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        torch.testing.assert_close(tensor, right[name], atol=2e-6, rtol=1e-4)
