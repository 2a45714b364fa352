"""Training a recogniser: the first step by hand, what is kept, and that it learns."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facebridge import crops, recipe, recognisers, runs, training
from facebridge import weights as weight_files
from facebridge.data.faces import DrawnFaces, num_identities
from facebridge.methods.recogniser import RecogniserTraining
from facebridge.recipe import Recipe
from facebridge.recogniser import Normalisation
from tests import drawn, tiny
from tests.tiny import RandomFaces

THIN: dict[str, Any] = {"height": 64, "width": 64, "width_multiplier": 0.125}


def method(crop: str = "light_cnn", start: Any = None, **settings: Any) -> RecogniserTraining:
    torch.manual_seed(0)
    given = {"network": "light_cnn_9", "sizes": THIN, "num_identities": 5, **settings}
    return RecogniserTraining(RecogniserTraining.Config.model_validate(given), crops.crop(crop), start)


def batch(crop: str = "light_cnn", count: int = 4) -> dict[str, torch.Tensor]:
    size = crops.crop(crop)
    faces = torch.rand(count, 3, size.height, size.width, generator=torch.Generator().manual_seed(5))
    return {"target": faces, "target_identity": torch.arange(count) % 5, "shared_seed": torch.tensor(1)}


def small_recipe(head: dict[str, Any], network: str = "light_cnn_9", **more: Any) -> Recipe:
    table = {
        "method": "recogniser",
        "crop": "light_cnn",
        "settings": {"network": network, "sizes": THIN, "head": head, **more},
        "data": {"kind": "synthetic", "identities": 6, "shots": 4, "size": 96},
        "training": {"steps": 4, "batch_size": 8, "threads": 1, "checkpoint_every_steps": 2},
    }
    return recipe.resolve(table, "a test")


def test_first_step_is_gradient_descent_on_the_cross_entropy_of_a_plain_softmax() -> None:
    built, given = method(descent={"learning_rate": 0.1, "momentum": 0.0, "weight_decay": 0.0}), batch()
    gray = (given["target"] * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    own = crops.recrop(gray.expand(-1, 3, -1, -1), crops.crop("light_cnn"), built.own_crop)[:, :1]
    before = built.head.weight.detach().numpy().astype(np.float64)
    features = built.network(own).detach().numpy().astype(np.float64)
    bias = built.head.bias.detach().numpy().astype(np.float64)
    logits = features @ before.T + bias
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    true = np.eye(5)[given["target_identity"].numpy()]
    loss = built.training_step(given)
    assert float(loss["cross_entropy"]) == pytest.approx(-np.log(shares[true == 1]).mean(), rel=1e-5)
    wanted = before - 0.1 * (shares - true).T @ features / len(true)
    np.testing.assert_allclose(built.head.weight.detach().numpy(), wanted, atol=1e-6)


def test_sources_count_as_further_faces() -> None:
    single, paired = batch(count=4), batch(count=2)
    paired |= {"source": single["target"][2:], "source_identity": single["target_identity"][2:]}
    one, other = method(), method()
    assert float(one.training_step(single)["total"]) == pytest.approx(float(other.training_step(paired)["total"]))
    for left, right in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(left, right)


def test_several_sources_a_person_are_refused() -> None:
    given = batch()
    given |= {"source": given["target"][:, None].expand(-1, 2, -1, -1, -1), "source_identity": given["target_identity"]}
    with pytest.raises(ValueError, match="same_person"):
        method().training_step(given)


def test_training_sees_a_random_window_and_evaluation_the_middle_one() -> None:
    built = method("light_cnn+8", augmentation={"shift_px": 4})
    faces = batch("light_cnn+8")["target"]
    middle = crops.recrop(faces, crops.crop("light_cnn+8"), built.own_crop)
    built.eval()
    torch.testing.assert_close(built.seen(faces), built.normalisation.apply(middle), atol=1e-5, rtol=0)
    built.train()
    torch.manual_seed(1)
    one, other = built.seen(faces), built.seen(faces)
    assert one.shape == other.shape
    assert not torch.equal(one, other)
    columns = built.preview({"target": faces})
    assert list(columns) == ["target", "target, seen once", "target, seen again"]
    assert not torch.equal(columns["target, seen once"], columns["target, seen again"])


def test_network_that_is_no_recogniser_is_refused() -> None:
    with pytest.raises(ValueError, match="edsr is no recogniser"):
        method(network="edsr", sizes={})


@pytest.mark.parametrize(("crop", "shift_px"), [("light_cnn", 1), ("light_cnn+8", 5), ("sphereface", 0)])
def test_faces_that_would_end_in_black_borders_are_refused(crop: str, shift_px: int) -> None:
    with pytest.raises(ValueError, match="black borders"):
        method(crop, augmentation={"shift_px": shift_px})


def test_crop_that_the_refusal_suggests_is_taken() -> None:
    with pytest.raises(ValueError, match=r"such as light_cnn\+8\)"):
        method("light_cnn", augmentation={"shift_px": 4})
    method("light_cnn+8", augmentation={"shift_px": 4})


@pytest.mark.parametrize(("size", "named"), [("hight", "no size hight"), ("num_classes", "is head")])
def test_size_that_the_network_has_not_is_refused_with_the_settings(size: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        RecogniserTraining.Config.model_validate({"sizes": {**THIN, size: 3}})


def test_checking_the_settings_draws_no_numbers() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    RecogniserTraining.Config.model_validate({"sizes": THIN})
    assert torch.equal(torch.get_rng_state(), before)


def test_fewer_identities_than_the_faces_show_are_refused() -> None:
    config = RecogniserTraining.Config(num_identities=5)
    with pytest.raises(ValueError, match="show 6 people"):
        RecogniserTraining.settled(config, steps=1, num_identities=lambda: 6)
    assert RecogniserTraining.settled(config, steps=1, num_identities=lambda: 4).num_identities == 5


def test_start_that_takes_other_faces_than_the_layout_is_refused() -> None:
    """A run is loaded without it: the network would get faces that it was not trained on."""
    other = recognisers.load("light_cnn_9", **THIN)
    other.normalisation = Normalisation("gray", (127.5,), (128.0,))
    with pytest.raises(ValueError, match=r"cannot start from light_cnn_9: it takes"):
        method(start=other)


def test_unit_variance_of_a_single_face_is_refused() -> None:
    built = method(first_weights="unit_variance")
    with pytest.raises(ValueError, match="two faces or more"):
        built.begin(lambda: batch(count=1))


def test_training_starts_from_the_recogniser_given_and_leaves_it_alone() -> None:
    start = recognisers.load("light_cnn_9", **THIN)
    drawn.shaken(start)
    before = {name: value.clone() for name, value in start.state_dict().items()}
    built = method(start=start)
    for name, value in built.network.state_dict().items():
        assert torch.equal(value, start.network.state_dict()[name])
    built.training_step(batch())
    assert all(torch.equal(value, before[name]) for name, value in start.state_dict().items())
    with pytest.raises(ValueError, match=r"no light_cnn_9 of the sizes in settings\.sizes"):
        method(start=start, sizes={**THIN, "width_multiplier": 0.25})


def test_weights_that_training_starts_from_have_to_be_named() -> None:
    table = small_recipe({"kind": "softmax"}).model_dump()
    table["recogniser"] = {"name": "light_cnn_9", "sizes": THIN}
    with pytest.raises(ValueError, match=r"untrained.*recogniser\.weights"):
        training.build(recipe.resolve(table, "a test"))


@pytest.mark.parametrize("kind", ["softmax", "a_softmax", "cosface", "arcface"])
def test_run_of_each_head_becomes_a_recogniser_of_its_people(kind: str, tmp_path: Path) -> None:
    run = training.train(small_recipe({"kind": kind}), tmp_path / "run", progress=False)
    assert run.recipe.settings["num_identities"] == 6
    loaded = runs.load(run.folder)
    assert isinstance(loaded, RecogniserTraining)
    faces = batch()["target"]
    recogniser = recognisers.load(str(run.folder))
    assert torch.equal(recogniser.embed(faces, loaded.crop), loaded.embed(faces))
    recognisers.write(
        tmp_path / "kept.safetensors", "light_cnn_9", loaded.network.state_dict(), crop="light_cnn", **THIN
    )
    kept = recognisers.load("light_cnn_9", tmp_path / "kept.safetensors")
    torch.testing.assert_close(kept.embed(faces, loaded.crop), loaded.embed(faces))  # laid out differently in memory


def test_resumed_training_is_the_unbroken_one_bit_for_bit(tmp_path: Path) -> None:
    settings = {"kind": "a_softmax"}, {"dropout": 0.3, "descent": {"schedule": {"kind": "cosine", "warm_up_steps": 2}}}
    wanted = small_recipe(settings[0], **settings[1])
    training.train(wanted, tmp_path / "whole", progress=False)
    run = training.train(wanted, tmp_path / "broken", progress=False)
    run.weights.unlink()
    for late in (run.folder / "checkpoints").glob("step-00000004.*"):
        late.unlink()
    training.train(wanted, tmp_path / "broken", progress=False, resume=True)
    tiny.assert_same_weights(tmp_path / "whole", tmp_path / "broken")


def test_run_that_embeds_generates_nothing(tmp_path: Path) -> None:
    run = training.train(small_recipe({"kind": "softmax"}), tmp_path / "run", progress=False)
    with pytest.raises(ValueError, match="recogniser, which embeds faces and generates none"):
        runs.load_hallucination(run.folder)


def test_identities_are_counted_in_the_faces() -> None:
    assert num_identities(RandomFaces(7)) == 4
    people = DrawnFaces(small_recipe({"kind": "softmax"}).data, crops.crop("light_cnn"))  # type: ignore[arg-type]
    assert num_identities(people) == 6


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    """Light CNN-9 has no batch statistics, so the mean of the gradients is the gradient of the whole batch."""
    wanted = small_recipe({"kind": "softmax"})
    faces = DrawnFaces(wanted.data, crops.crop("light_cnn"))  # type: ignore[arg-type]
    training.train(wanted, tmp_path / "one", progress=False, device="cpu", faces=faces)
    training.train(wanted, tmp_path / "two", progress=False, device="cpu", faces=faces, processes=2)
    left = weight_files.read(tmp_path / "one" / "weights.safetensors")
    right = weight_files.read(tmp_path / "two" / "weights.safetensors")
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        torch.testing.assert_close(tensor, right[name], atol=2e-6, rtol=1e-4)


@pytest.mark.slow
def test_training_tells_drawn_people_apart_better_than_before(tmp_path: Path) -> None:
    """The cross entropy over the training people falls from that of a guess among six to a fraction of it."""
    table = small_recipe({"kind": "softmax"}).model_dump()
    table["training"] |= {"steps": 60, "batch_size": 12}
    table["settings"] |= {"first_weights": "unit_variance", "descent": {"kind": "adam", "learning_rate": 2e-3}}
    wanted = recipe.resolve(table, "a test")
    faces = DrawnFaces(wanted.data, crops.crop("light_cnn"))  # type: ignore[arg-type]
    run = training.train(wanted, tmp_path / "run", progress=False, faces=faces)
    losses = [line["cross_entropy"] for line in run.log()]
    assert losses[-1] < 0.1 * np.log(6)


def test_unit_variance_leaves_every_layer_with_channels_of_mean_0_and_variance_1() -> None:
    built = method(first_weights="unit_variance")
    given = batch(count=16)
    built.begin(lambda: given)
    inputs, made = built.seen(given["target"]), []
    for layer in built.network.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            layer.register_forward_hook(lambda module, taken, out: made.append(out.detach()))
    built.network(inputs)
    assert len(made) == 10
    for out in made:
        channels = out.transpose(0, 1).flatten(1)
        torch.testing.assert_close(channels.mean(1), torch.zeros(len(channels)), atol=2e-3, rtol=0)
        torch.testing.assert_close(channels.std(1), torch.ones(len(channels)), atol=2e-3, rtol=0)


def test_unit_variance_is_for_fresh_weights_alone() -> None:
    start = recognisers.load("light_cnn_9", **THIN)
    built = method(start=start, first_weights="unit_variance")
    built.begin(batch)
    for name, value in built.network.state_dict().items():
        assert torch.equal(value, start.network.state_dict()[name])


def test_network_is_held_while_the_classifier_learns_first_and_then_moves_with_momentum() -> None:
    descent = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 1e-4}
    built = method(classifier_first_steps=2, descent=descent)
    network = [tensor.clone() for tensor in built.network.parameters()]
    head = built.head.weight.detach().clone()
    for _ in range(2):
        built.training_step(batch())
    assert all(torch.equal(*both) for both in zip(network, built.network.parameters(), strict=True))
    assert not torch.equal(head, built.head.weight)
    built.training_step(batch())
    assert not any(torch.equal(*both) for both in zip(network, built.network.parameters(), strict=True))
