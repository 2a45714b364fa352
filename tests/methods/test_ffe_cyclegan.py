"""ffe_cyclegan computes FFE-CycleGAN's losses, with a MobileFaceNet's own layers in both encoders."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from facebridge import crops, recipe, recognisers, training
from facebridge.data import synthetic
from facebridge.methods.ffe_cyclegan import HUBER_DELTA, FacialFeatureExtractor, FfeCycleGan, FfeGenerator
from facebridge.recogniser import Recogniser
from facebridge.streamline import streamline
from tests import drawn
from tests.methods.translating import batch, num_parameters

CROP = crops.crop("arcface_64")
TINY: dict[str, Any] = {"num_blocks": 1, "num_filters": 8, "discriminator_filters": 4, "discriminator_layers": 1}
SHARED = ("stem", "stem_depthwise", *(f"blocks.{number}" for number in range(12)))
"""The layers that a MobileFaceNet and the encoders have in common."""


def build(recogniser: Recogniser | None = None, **settings: Any) -> FfeCycleGan:
    config = FfeCycleGan.settled(
        FfeCycleGan.Config.model_validate({**TINY, **settings}), steps=10, num_identities=lambda: 2
    )
    torch.manual_seed(0)
    return FfeCycleGan(config, CROP, recogniser)


def mobile_facenet(**sizes: Any) -> Recogniser:
    found = recognisers.load("mobile_facenet", **{"height": 64, "width": 64, "width_multiplier": 0.125, **sizes})
    drawn.shaken(found.network)
    return found


def test_generator_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        published, thin = FfeGenerator(), FfeGenerator(num_blocks=2, num_filters=16)
    assert (num_parameters(published.encoder), num_parameters(published)) == (939_392, 8_398_595)
    assert (num_parameters(thin.encoder), num_parameters(thin)) == (68_960, 242_115)


def test_encoder_gives_four_times_its_filters_at_a_quarter_of_the_size() -> None:
    encoder = FacialFeatureExtractor(num_filters=8)
    with torch.no_grad():
        assert encoder(torch.zeros(1, 3, 64, 48)).shape == (1, 32, 16, 12)
        assert FfeGenerator(1, 8)(torch.zeros(1, 3, 64, 48)).shape == (1, 3, 64, 48)


def test_encoder_strides_in_its_first_convolution_and_its_first_bottleneck_alone() -> None:
    encoder = FacialFeatureExtractor(num_filters=8)
    strided = [name for name, each in encoder.named_modules() if isinstance(each, nn.Conv2d) and each.stride != (1, 1)]
    assert strided == ["stem.conv", "blocks.0.depthwise.conv"]


@pytest.mark.parametrize(("pixel_loss", "weight"), [("l1", 10.0), ("huber", 3.0)])
def test_losses_are_those_of_a_plain_restatement(pixel_loss: str, weight: float) -> None:
    method = build(pixel_loss=pixel_loss, pixel_weight=weight, same_weight=0.5, jitter=1.0)
    given = batch()
    source, target = (2 * given[side] - 1 for side in ("source", "target"))
    method.train()
    with torch.no_grad():  # batch normalisation by the batch itself: what was seen before changes nothing
        made_target, made_source = method.to_target(source), method.to_source(target)
        wanted = {
            "adversarial_target": np.mean((method.target_discriminator(made_target).numpy() - 1.0) ** 2),
            "adversarial_source": np.mean((method.source_discriminator(made_source).numpy() - 1.0) ** 2),
            "cycle_source": absolute(method.to_source(made_target), source),
            "cycle_target": absolute(method.to_target(made_source), target),
            "same_target": absolute(method.to_target(target), target),
            "same_source": absolute(method.to_source(source), source),
        }
    compare = absolute if pixel_loss == "l1" else huber
    wanted |= {"pixel_target": compare(made_target, target), "pixel_source": compare(made_source, source)}
    found = method.training_step(given)
    for name, value in wanted.items():
        assert float(found[name]) == pytest.approx(value, rel=1e-4), name
    total = wanted["adversarial_target"] + wanted["adversarial_source"] + wanted["cycle_source"]
    total += wanted["cycle_target"] + 0.5 * (wanted["same_target"] + wanted["same_source"])
    total += weight * (wanted["pixel_target"] + wanted["pixel_source"])
    assert float(found["total"]) == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("kept", [{"pixel_weight": 1.0}, {"cycle_weight": 1.0}])
def test_each_loss_alone_reaches_both_generators(kept: dict[str, float]) -> None:
    """The adversarial one cannot be switched off: discriminators that score everything 0 leave no gradient of it."""
    method = build(**{"pixel_weight": 0.0, "cycle_weight": 0.0, **kept})
    for judge in (method.target_discriminator, method.source_discriminator):
        for parameter in judge.parameters():
            parameter.data.zero_()
    method.training_step(batch())
    for name in ("to_target", "to_source"):
        gradients = [parameter.grad for parameter in method.get_submodule(name).parameters()]
        assert sum(float(gradient.abs().sum()) for gradient in gradients if gradient is not None) > 1e-6, name


def test_running_statistics_are_those_of_the_faces_that_are_translated() -> None:
    """On the way back and in leaving targets alone a generator meets faces that it is never asked to translate."""
    still = {"learning_rate": 1e-30, "kind": "sgd", "weight_decay": 0.0}
    method = build(same_weight=0.5, cycle_weight=1.0, pixel_weight=0.0, jitter=1.0, descent=still)
    dark, light = torch.full((2, 3, 64, 64), 0.1), torch.full((2, 3, 64, 64), 0.9)
    people = {"source_identity": torch.tensor([0, 1]), "target_identity": torch.tensor([0, 1])}
    for _ in range(60):
        method.training_step({"source": dark, "target": light, **people})
    stem = method.to_target.encoder.stem
    with torch.no_grad():
        wanted = stem.conv(2 * dark - 1).mean((0, 2, 3))
        other = stem.conv(2 * light - 1).mean((0, 2, 3))
    part = (stem.norm.running_mean - wanted).norm() / (other - wanted).norm()
    assert float(part) < 0.05


def absolute(made: Tensor, real: Tensor) -> float:
    pairs = zip(made.flatten().tolist(), real.flatten().tolist(), strict=True)
    return float(np.mean([abs(one - other) for one, other in pairs]))


def huber(made: Tensor, real: Tensor) -> float:
    values = []
    for one, other in zip(made.flatten().tolist(), real.flatten().tolist(), strict=True):
        distance = abs(one - other)
        is_near = distance < HUBER_DELTA
        values.append(distance**2 / 2 if is_near else HUBER_DELTA * (distance - HUBER_DELTA / 2))
    return float(np.mean(values))


def test_defaults_are_the_papers_weights_and_schedule() -> None:
    config = FfeCycleGan.Config()
    assert (config.cycle_weight, config.pixel_weight, config.same_weight) == (1.0, 10.0, 0.0)
    settled = FfeCycleGan.settled(config, steps=180, num_identities=lambda: 2)
    for descent in (settled.descent, settled.discriminator_descent):
        rates = [descent.schedule.rate(epoch) for epoch in (0, 99, 100, 140, 180)]
        assert rates == pytest.approx([1, 1, 1, 0.5, 0])


def test_losses_that_weigh_nothing_are_left_out() -> None:
    found = build(pixel_weight=0).training_step(batch())
    assert not any(name.startswith(("pixel", "same")) for name in found)


def test_source_and_target_are_cut_alike_where_their_pixels_are_compared() -> None:
    faces = batch()["source"]
    source, target = build().jittered(faces, faces)
    assert torch.equal(source, target)
    assert not torch.equal(source, faces)
    source, target = build(pixel_weight=0).jittered(faces, faces)
    assert not torch.equal(source, target)


def test_pixels_of_different_people_are_not_compared() -> None:
    given = {**batch(), "source_identity": torch.tensor([0, 2])}
    with pytest.raises(ValueError, match=r"same_shot.*pixel_weight=0"):
        build().training_step(given)
    build(pixel_weight=0).training_step(given)


def test_two_steps_change_every_trainable_tensor_and_never_the_recogniser() -> None:
    recogniser = mobile_facenet()
    method = build(recogniser)
    before = {name: tensor.detach().clone() for name, tensor in method.named_parameters()}
    theirs = {name: tensor.clone() for name, tensor in recogniser.state_dict().items()}
    for seed in range(2):
        method.training_step(batch(seed))
    unmoved = [name for name, tensor in method.named_parameters() if torch.equal(tensor, before[name])]
    assert unmoved == []
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in recogniser.state_dict().items())


@pytest.mark.parametrize("is_projected", [False, True])
def test_loaded_layers_equal_the_recognisers_in_both_encoders(is_projected: bool) -> None:
    recogniser = mobile_facenet()
    theirs = recogniser.network.state_dict()
    if is_projected:
        recogniser.network = recognisers.projected(recogniser.network, torch.rand(16, 128))
    method = build(recogniser)
    assert method.loaded == SHARED
    for network in (method.to_target, method.to_source):
        ours = network.encoder.state_dict()
        for name, tensor in ours.items():
            is_loaded = not name.startswith("last.")
            assert is_loaded == (name in theirs and torch.equal(tensor, theirs[name])), name
        assert not any(tensor.data_ptr() == theirs[name].data_ptr() for name, tensor in ours.items() if name in theirs)


def test_first_layers_compute_what_the_recogniser_computes() -> None:
    """On the recogniser's own strides: what differs between the two is those of the later bottlenecks alone."""
    recogniser = mobile_facenet()
    encoder = build(recogniser).to_target.encoder.eval()
    pictures = 2 * batch()["source"] - 1
    with torch.no_grad():
        ours = encoder.blocks[:5](encoder.stem_depthwise(encoder.stem(pictures)))
        network = recogniser.network
        theirs = network.blocks[:5](network.stem_depthwise(network.stem(pictures)))
    assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_recogniser_is_not_held_and_a_trained_method_does_without() -> None:
    trained = build(mobile_facenet())
    assert trained.recogniser is None
    again = build(None)
    assert again.loaded == ()
    again.load_state_dict(trained.state_dict())
    faces = batch()["source"]
    assert torch.equal(again.eval().generate(faces), trained.eval().generate(faces))


def test_loaded_layers_are_told_before_training() -> None:
    told = build(mobile_facenet()).begin(batch)
    assert told is not None
    assert "mobile_facenet" in told
    assert all(layer in told for layer in SHARED)
    assert build(encoder_rate=1.0).begin(batch) is None
    with pytest.raises(ValueError, match=r"encoder_rate.*\[recogniser\]"):
        build(encoder_rate=0.1).begin(batch)


@pytest.mark.parametrize(
    ("recogniser", "message"),
    [
        (lambda: mobile_facenet(width_multiplier=0.25), r"settings\.num_filters=16.*width_multiplier 0\.125"),
        (
            lambda: recognisers.load("light_cnn_9", height=64, width=64, width_multiplier=0.125),
            "gray faces.*MobileFaceNet",
        ),
        (lambda: recognisers.load("sphereface_20", width_multiplier=0.125), "MobileFaceNet|bgr"),
    ],
)
def test_recogniser_that_does_not_fit_is_refused_with_what_would(recogniser: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(recogniser())


def test_recogniser_whose_normalisation_was_folded_away_is_refused() -> None:
    folded = mobile_facenet()
    streamline(folded)
    with pytest.raises(ValueError, match="folded"):
        build(folded)


def test_loaded_layers_have_their_own_rate_and_every_tensor_is_in_one_group() -> None:
    method = build(mobile_facenet(), encoder_rate=0.1)
    optimiser = method.optimisers["generators"]
    rate_of = {id(tensor): group["lr"] for group in optimiser.param_groups for tensor in group["params"]}
    generators = {"to_source": method.to_source, "to_target": method.to_target}
    named = {f"{key}.{name}": one for key, network in generators.items() for name, one in network.named_parameters()}
    assert len(rate_of) == len(named) == sum(len(group["params"]) for group in optimiser.param_groups)
    for name, tensor in named.items():
        is_loaded = ".encoder." in name and ".last." not in name
        assert rate_of[id(tensor)] == pytest.approx(2e-5 if is_loaded else 2e-4), name


def test_groups_of_the_optimiser_are_the_same_in_every_process() -> None:
    def shapes(method: FfeCycleGan) -> list[list[tuple[int, ...]]]:
        groups = method.optimisers["generators"].param_groups
        return [[tuple(tensor.shape) for tensor in group["params"]] for group in groups]

    recogniser = mobile_facenet()
    assert shapes(build(recogniser, encoder_rate=0.1)) == shapes(build(recogniser, encoder_rate=0.1))


def test_rate_of_zero_keeps_the_loaded_weights() -> None:
    method = build(mobile_facenet(), encoder_rate=0)
    before = {name: tensor.detach().clone() for name, tensor in method.to_target.encoder.named_parameters()}
    method.training_step(batch())
    for name, tensor in method.to_target.encoder.named_parameters():
        assert torch.equal(tensor, before[name]) != name.startswith("last."), name


def test_generation_uses_running_statistics_one_face_like_many() -> None:
    method = build()
    drawn.shaken(method.to_target)
    faces = batch(7)["source"]
    alone_in_training = torch.cat([method.generate(face[None]) for face in faces])
    assert not torch.allclose(method.generate(faces), alone_in_training, atol=1e-2)
    method.eval()
    alone = torch.cat([method.generate(face[None]) for face in faces])
    assert torch.allclose(method.generate(faces), alone, atol=1e-4)


def test_same_seed_gives_the_same_bits() -> None:
    first, second = build(mobile_facenet()), build(mobile_facenet())
    for method in (first, second):
        torch.manual_seed(4)
        method.training_step(batch())
    assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))


def test_small_recipe_is_as_wide_as_the_shipped_guide_and_begins_with_its_layers() -> None:
    resolved = recipe.read("ffe_cyclegan_small")
    assert resolved.recogniser is not None
    guide = recognisers.load(resolved.recogniser.name)
    method = training.build(training.settled(resolved))
    assert isinstance(method, FfeCycleGan)
    assert method.loaded == SHARED
    assert torch.equal(method.to_source.encoder.stem.conv.weight, guide.network.stem.conv.weight)


def test_drawn_pairs_of_one_shot_are_learned_from() -> None:
    shots = synthetic.render(3, [0, 1], [0, 0], size=64, domains=("vis", "nir"))
    given = {"source": shots.faces["vis"], "target": shots.faces["nir"]}
    method = build(recognisers.load("embedded_guide"), num_filters=24)
    found = method.training_step(given)
    assert all(np.isfinite(float(loss)) for loss in found.values())
    shown = method.eval().preview(given)
    assert all(faces.shape == (2, 3, 64, 64) for faces in shown.values())
