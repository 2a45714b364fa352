"""adfl computes CycleGAN's losses with intensity and identity, through generators with a path for the eyes."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from facebridge import crops, recipe, recognisers, runs, training
from facebridge.data import synthetic
from facebridge.layers import Patch
from facebridge.methods.adfl import Adfl, TwoPathGenerator, eye_patch, intensity_loss
from facebridge.recogniser import Recogniser
from facebridge.streamline import streamline
from tests import drawn
from tests.methods.translating import batch, num_parameters

CROP = crops.crop("arcface_64")
TINY: dict[str, Any] = {"num_blocks": 1, "num_filters": 4, "discriminator_filters": 4, "discriminator_layers": 1}


def build(recogniser: bool = True, **settings: Any) -> Adfl:
    config = Adfl.settled(Adfl.Config.model_validate({**TINY, **settings}), steps=10, num_identities=lambda: 2)
    judge = mobile_facenet() if recogniser else None
    torch.manual_seed(0)
    return Adfl(config, CROP, judge)


def mobile_facenet() -> Recogniser:
    """Of the crop itself, so that an oracle needs no resampling."""
    found = recognisers.load("mobile_facenet", height=64, width=64, width_multiplier=0.125, embedding_size=16)
    drawn.shaken(found.network)
    return found


def num_weights(*convolutions: tuple[int, int, int]) -> int:
    """Of convolutions (channels in, channels out, side of the kernel), with biases."""
    return sum(inside * outside * side**2 + outside for inside, outside, side in convolutions)


@pytest.mark.parametrize(("num_blocks", "num_filters", "published_cyclegan"), [(6, 64, 7_837_699), (3, 16, 272_515)])
def test_generator_is_cyclegans_with_six_more_convolutions(
    num_blocks: int, num_filters: int, published_cyclegan: int
) -> None:
    with torch.device("meta"):
        generator = TwoPathGenerator((64, 64), eye_patch(CROP), num_blocks, num_filters)
    one, two, four = num_filters, 2 * num_filters, 4 * num_filters
    down = num_weights((3, one, 3), (one, two, 3), (two, four, 3))
    up = num_weights((four, two, 3), (four, one, 3), (two, one, 3))
    assert num_parameters(generator.eyes) == down + up
    assert num_parameters(generator) == published_cyclegan + down + up


@pytest.mark.parametrize("name", [*crops.names(), "arcface_64", "light_cnn_64"])
def test_eye_patch_lies_in_the_crop_around_both_eyes_in_multiples_of_four(name: str) -> None:
    crop = crops.crop(name)
    place = eye_patch(crop)
    assert place.height % 4 == place.width % 4 == 0
    assert 0 <= place.top < place.top + place.height <= crop.height
    assert 0 <= place.left < place.left + place.width <= crop.width
    distance_px = math.dist(*crop.points[:2])
    for x, y in crop.points[:2]:
        assert place.left + distance_px / 4 < x < place.left + place.width - distance_px / 4
        assert place.top + distance_px / 4 < y < place.top + place.height - distance_px / 4
    nose_y, mouth_y = crop.points[2][1], crop.points[3][1]
    assert place.top + place.height < max(nose_y, mouth_y), "the lower half of the face is not in it"
    assert abs(place.width - 2 * distance_px) <= 2
    assert abs(place.height - distance_px) <= 2


def test_eye_patch_is_centred_between_the_eyes() -> None:
    for name in crops.names():
        crop = crops.crop(name)
        place = eye_patch(crop)
        (x, y), (other_x, other_y) = crop.points[:2]
        assert abs(place.left + (place.width - 1) / 2 - (x + other_x) / 2) <= 0.5 + 1e-6
        assert abs(place.top + (place.height - 1) / 2 - (y + other_y) / 2) <= 0.5 + 1e-6


def test_patch_features_are_pasted_into_zeros() -> None:
    place = Patch(top=3, left=5, height=4, width=8)
    features = torch.rand(2, 6, 4, 8)
    wanted = torch.zeros(2, 6, 16, 20)
    wanted[:, :, 3:7, 5:13] = features
    assert torch.equal(place.among_zeros(features, (16, 20)), wanted)


@pytest.mark.parametrize("fusion", ["max", "add"])
def test_paths_are_joined_in_the_patch_and_nowhere_else(fusion: Any) -> None:
    place = eye_patch(CROP)
    generator = TwoPathGenerator((64, 64), place, 1, 4, fusion)
    seen: list[Tensor] = []
    generator.to_picture.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    pictures = 2 * batch()["source"] - 1
    with torch.no_grad():
        generator(pictures)
        whole = generator.decoder(generator.blocks(generator.encoder(pictures))).numpy()
        rows, columns = slice(place.top, place.top + place.height), slice(place.left, place.left + place.width)
        local = generator.eyes(pictures[:, :, rows, columns]).numpy()
    wanted = whole.copy()
    joined = np.maximum(whole[:, :, rows, columns], local) if fusion == "max" else whole[:, :, rows, columns] + local
    wanted[:, :, rows, columns] = joined
    np.testing.assert_allclose(seen[0].numpy(), wanted, rtol=1e-5, atol=1e-6)
    assert np.abs(wanted - whole).max() > 0.01


def test_local_path_sees_nothing_but_the_eyes() -> None:
    place = eye_patch(CROP)
    generator = TwoPathGenerator((64, 64), place, 1, 4)
    first = 2 * batch()["source"] - 1
    second = -first
    second[:, :, place.top : place.top + place.height, place.left : place.left + place.width] = place.of(first)
    with torch.no_grad():
        assert torch.equal(generator.eyes(place.of(first)), generator.eyes(place.of(second)))


def test_faces_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="48x64.*64x64"):
        build(recogniser=False).generate(torch.rand(1, 3, 48, 64))


def test_intensity_loss_is_the_mean_difference_of_the_luminances() -> None:
    made, given = (2 * batch(seed)["source"] - 1 for seed in (1, 2))
    total = 0.0
    for row in range(2):
        for y in range(64):
            for x in range(64):
                red, green, blue = (float(made[row, channel, y, x] - given[row, channel, y, x]) for channel in range(3))
                total += abs(0.299 * red + 0.587 * green + 0.114 * blue)
    assert float(intensity_loss(made, given)) == pytest.approx(total / (2 * 64 * 64), rel=1e-4)
    assert float(intensity_loss(given, given)) == 0


@pytest.mark.parametrize("identity_of", ["target", "source"])
def test_losses_are_those_of_a_plain_restatement(identity_of: str) -> None:
    method = build(identity_of=identity_of, identity_weight=0.3, intensity_weight=2.0, same_weight=0.5)
    given = batch()
    source, target = (2 * given[side] - 1 for side in ("source", "target"))
    with torch.no_grad():
        made_target, made_source = method.to_target(source), method.to_source(target)
        wanted = {
            "adversarial_target": np.mean((method.target_discriminator(made_target).numpy() - 1.0) ** 2),
            "adversarial_source": np.mean((method.source_discriminator(made_source).numpy() - 1.0) ** 2),
            "cycle_source": np.abs((method.to_source(made_target) - source).numpy()).mean(),
            "cycle_target": np.abs((method.to_target(made_source) - target).numpy()).mean(),
            "same_target": np.abs((method.to_target(target) - target).numpy()).mean(),
            "same_source": np.abs((method.to_source(source) - source).numpy()).mean(),
            "intensity_target": float(intensity_loss(made_target, source)),
            "intensity_source": float(intensity_loss(made_source, target)),
            "identity": np.mean(distances(method, (made_target + 1) / 2, given[identity_of])),
        }
    found = method.training_step(given)
    for name, value in wanted.items():
        assert float(found[name]) == pytest.approx(value, rel=1e-4, abs=1e-6), name
    weights = {"cycle": 10.0, "same": 5.0, "intensity": 2.0, "identity": 0.3}
    total = sum(weights.get(name.split("_")[0], 1.0) * value for name, value in wanted.items())
    assert float(found["total"]) == pytest.approx(total, rel=1e-4)


def distances(method: Adfl, made: Tensor, given: Tensor) -> list[float]:
    """1 - cos of the bare network's features."""
    assert method.recogniser is not None
    network = method.recogniser.network
    first, second = (network((faces * 255 - 127.5) / 128).double().numpy() for faces in (made, given))
    return [1 - one @ other / np.sqrt((one @ one) * (other @ other)) for one, other in zip(first, second, strict=True)]


@pytest.mark.parametrize(
    ("kept", "reached"),
    [
        ({"intensity_weight": 1.0}, {"to_target", "to_source"}),
        ({"identity_weight": 1.0}, {"to_target"}),
        ({"cycle_weight": 1.0}, {"to_target", "to_source"}),
    ],
)
def test_each_loss_alone_reaches_the_generators_that_it_is_of(kept: dict[str, float], reached: set[str]) -> None:
    """The adversarial one cannot be switched off: discriminators that score everything 0 leave no gradient of it."""
    weights = {"intensity_weight": 0.0, "identity_weight": 0.0, "cycle_weight": 0.0} | kept
    method = build(**weights)
    for judge in (method.target_discriminator, method.source_discriminator):
        for parameter in judge.parameters():
            parameter.data.zero_()
    method.training_step(batch())
    for name in ("to_target", "to_source"):
        gradients = [parameter.grad for parameter in method.get_submodule(name).parameters()]
        size = sum(float(gradient.abs().sum()) for gradient in gradients if gradient is not None)
        assert (size > 1e-6) == (name in reached), name


def test_losses_that_weigh_nothing_are_left_out_and_need_no_recogniser() -> None:
    found = build(recogniser=False, identity_weight=0, intensity_weight=0).training_step(batch())
    assert not any(name.startswith(("identity", "intensity", "same")) for name in found)


def test_identity_of_another_person_is_not_asked_for() -> None:
    given = {**batch(), "source_identity": torch.tensor([0, 2])}
    with pytest.raises(ValueError, match=r"same_person.*identity_of"):
        build().training_step(given)
    build(identity_of="source").training_step(given)


def test_two_steps_change_every_trainable_tensor_and_never_the_recogniser() -> None:
    method = build()
    assert method.recogniser is not None
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    theirs = {name: tensor.clone() for name, tensor in method.recogniser.state_dict().items()}
    for seed in range(2):
        method.training_step(batch(seed))
    assert [name for name, tensor in method.state_dict().items() if torch.equal(tensor, before[name])] == []
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in method.recogniser.state_dict().items())
    assert not any("recogniser" in name for name in before)


def test_trained_method_generates_without_a_recogniser() -> None:
    trained = build()
    trained.training_step(batch())
    again = build(recogniser=False)
    again.load_state_dict(trained.state_dict())
    faces = batch()["source"]
    generated = again.generate(faces)
    assert torch.equal(generated, trained.generate(faces))
    assert generated.shape == faces.shape
    assert 0 <= float(generated.min()) <= float(generated.max()) <= 1


def test_same_seed_gives_the_same_bits() -> None:
    first, second = build(), build()
    for method in (first, second):
        torch.manual_seed(4)
        method.training_step(batch())
    assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))


def test_small_recipe_takes_a_step_on_drawn_people() -> None:
    resolved = recipe.read("adfl_small")
    assert resolved.recogniser is not None
    shots = synthetic.render(3, [0, 1], [0, 0], size=64, domains=("vis", "nir"))
    given = {"source": shots.faces["nir"], "target": shots.faces["vis"]}
    config = Adfl.settled(resolved.config(), steps=resolved.training.steps, num_identities=lambda: 2)
    method = Adfl(config, crops.crop(resolved.crop), recognisers.load(resolved.recogniser.name))
    assert all(math.isfinite(float(loss)) for loss in method.training_step(given).values())
    assert all(faces.shape == (2, 3, 64, 64) for faces in method.preview(given).values())


BOTH: dict[str, Any] = {
    "mode": "hallucination_and_features",
    "features": {
        "network": "mobile_facenet",
        "sizes": {"height": 64, "width": 64, "width_multiplier": 0.125, "embedding_size": 16},
        "num_identities": 2,
    },
}


def test_feature_half_learns_from_real_visible_real_near_infrared_and_generated_faces() -> None:
    """Against adfl_features itself, given the faces that the generator makes after its step."""
    method, halves = build(**BOTH), build(**BOTH)
    given = batch()
    found = method.training_step(given)
    alone = halves.feature_half
    generated = method.generate(given["source"])
    people = given["target_identity"]
    wanted = alone.training_step(
        {
            "target": torch.cat([given["target"], given["target"]]),
            "source": torch.cat([given["source"], generated]),
            "target_identity": torch.cat([people, people]),
            "source_identity": torch.cat([people, people]),
        }
    )
    assert {name: float(loss) for name, loss in wanted.items()} == {
        name.removeprefix("features_"): float(loss) for name, loss in found.items() if name.startswith("features_")
    }
    for name, tensor in alone.state_dict().items():
        assert torch.equal(method.feature_half.state_dict()[name], tensor), name


def test_feature_half_leaves_generators_and_frozen_recogniser_alone() -> None:
    both, plain = build(**BOTH), build()
    assert both.recogniser is not None
    assert plain.recogniser is not None
    streamline(plain.recogniser)  # equal to the bit only if reworked alike
    theirs = {name: tensor.clone() for name, tensor in both.recogniser.state_dict().items()}
    for network in ("to_target", "to_source", "target_discriminator", "source_discriminator"):
        plain.get_submodule(network).load_state_dict(both.get_submodule(network).state_dict())
    started, start = both.feature_half.network.state_dict(), mobile_facenet().network.state_dict()
    assert all(torch.equal(started[name], tensor) for name, tensor in start.items())
    before = {name: tensor.detach().clone() for name, tensor in both.feature_half.named_parameters()}
    for method in (both, plain):
        torch.manual_seed(4)
        method.training_step(batch())
    assert all(torch.equal(both.state_dict()[name], tensor) for name, tensor in plain.state_dict().items())
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in both.recogniser.state_dict().items())
    moved = {name for name, tensor in both.feature_half.named_parameters() if not torch.equal(tensor, before[name])}
    # what a normalisation by batch takes out again has no gradient
    assert moved >= {name for name in before if name.endswith("weight") or not name.startswith("network.")}


def test_recogniser_that_was_trained_along_is_a_frozen_copy() -> None:
    method = build(**BOTH)
    method.training_step(batch())
    recogniser = method.as_recogniser()
    faces = batch()["target"]
    method.eval()
    with torch.no_grad():
        features = method.feature_half.network((faces * 255 - 127.5) / 128)
    wanted = features / features.norm(dim=1, keepdim=True)
    assert torch.allclose(recogniser.embed(faces, CROP), wanted, atol=1e-5)
    assert not any(tensor.requires_grad for tensor in recogniser.parameters())
    with pytest.raises(ValueError, match="trained no recogniser"):
        build().as_recogniser()


def test_mode_says_whether_the_recogniser_is_trained_on_and_people_are_counted() -> None:
    both, plain = (Adfl.Config.model_validate({**TINY, **settings}) for settings in (BOTH, {}))
    assert Adfl.starts_from_recogniser(both)
    assert not Adfl.starts_from_recogniser(plain)
    left_out = both.model_copy(update={"features": both.features.model_copy(update={"num_identities": None})})
    assert Adfl.settled(left_out, steps=10, num_identities=lambda: 7).features.num_identities == 7

    def uncounted() -> int:
        raise AssertionError("people are counted where nobody is told apart")

    Adfl.settled(plain, steps=10, num_identities=uncounted)


def test_both_halves_go_through_weights_and_optimisers_hold_every_tensor_once() -> None:
    trained = build(**BOTH)
    trained.training_step(batch())
    again = build(recogniser=False, **BOTH)
    again.load_state_dict(trained.state_dict())
    faces = batch()["target"]
    assert torch.equal(again.as_recogniser().embed(faces, CROP), trained.as_recogniser().embed(faces, CROP))
    groups = [group for optimiser in trained.optimisers.values() for group in optimiser.param_groups]
    held = sorted(id(tensor) for group in groups for tensor in group["params"])
    assert held == sorted(id(tensor) for tensor in trained.parameters())
    assert trained.schedules.keys() == trained.optimisers.keys()


def test_training_builds_both_halves_of_a_recipe_and_the_run_holds_them(tmp_path: Path) -> None:
    sizes = "{ height = 64, width = 64, width_multiplier = 0.375, embedding_size = 96 }"
    overrides = [f"settings.{name}={value}" for name, value in TINY.items()]
    overrides += ["settings.mode=hallucination_and_features", "settings.features.network=mobile_facenet"]
    overrides += [f"settings.features.sizes={sizes}", "data.identities=4", "data.shots=1", "training.threads=1"]
    resolved = recipe.read("adfl_small", [*overrides, "training.steps=2", "training.checkpoint_every_steps=1"])
    run = training.train(resolved, tmp_path / "run", device="cpu", progress=False)
    trained = runs.load(run.folder)
    assert isinstance(trained, Adfl)
    assert trained.as_recogniser().embed(batch()["target"], CROP).shape == (2, 96)
    assert trained.generate(batch()["source"]).shape == (2, 3, 64, 64)
