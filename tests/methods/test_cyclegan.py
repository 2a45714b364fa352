"""cyclegan computes CycleGAN's losses, trains every network in its turn, and has the published sizes."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from facebridge import crops, recipe, training, weights
from facebridge.methods.cyclegan import CycleGan
from tests.methods.translating import CROP, Scored, Tinted, l1, pairs, unchanged

TINY = {"num_blocks": 1, "num_filters": 4, "discriminator_filters": 4, "discriminator_layers": 1, "jitter": 1.0}
TINY |= {"descent": {"kind": "adam", "learning_rate": 1e-3}, "discriminator_descent": {"kind": "adam"}}


def build(**settings: object) -> CycleGan:
    torch.manual_seed(0)
    return CycleGan(CycleGan.Config.model_validate({**TINY, **settings}), CROP)


def with_known_networks(**settings: object) -> CycleGan:
    method = build(pool_size=0, **settings)
    for name, network in (
        ("to_target", Tinted(0.5)),
        ("to_source", Tinted(-0.75)),
        ("target_discriminator", Scored(2.0)),
        ("source_discriminator", Scored(-3.0)),
    ):
        method.add_module(name, network)
    return method


def squares(scores: Tensor, wanted: float) -> float:
    return sum((float(score) - wanted) ** 2 for score in scores.ravel()) / scores.numel()


def expected_losses(forth: float = 0.5, back: float = -0.75) -> dict[str, float]:
    """For generators that multiply by these numbers."""
    batch = pairs()
    source, target = 2 * batch["source"] - 1, 2 * batch["target"] - 1
    made_target, made_source = forth * source, back * target
    expected = {
        "adversarial_target": squares(2 * made_target.mean((1, 2, 3)), 1),
        "adversarial_source": squares(-3 * made_source.mean((1, 2, 3)), 1),
        "cycle_source": l1(back * made_target, source),
        "cycle_target": l1(forth * made_source, target),
        "same_target": l1(forth * target, target),
        "same_source": l1(back * source, source),
        "discriminator_target": (squares(2 * target.mean((1, 2, 3)), 1) + squares(2 * made_target.mean((1, 2, 3)), 0))
        / 2,
        "discriminator_source": (squares(-3 * source.mean((1, 2, 3)), 1) + squares(-3 * made_source.mean((1, 2, 3)), 0))
        / 2,
    }
    expected["total"] = (
        expected["adversarial_target"]
        + expected["adversarial_source"]
        + 10 * (expected["cycle_source"] + expected["cycle_target"])
        + 5 * (expected["same_target"] + expected["same_source"])
    )
    return expected


def test_losses_are_those_of_the_paper() -> None:
    found = with_known_networks().training_step(pairs())
    assert {name: float(loss) for name, loss in found.items()} == pytest.approx(expected_losses(), abs=1e-4)


def test_generators_get_the_gradient_of_the_whole_total() -> None:
    method = with_known_networks()
    method.training_step(pairs())
    step = 1e-2
    for network, forth, back in (("to_target", step, 0.0), ("to_source", 0.0, step)):
        up, down = (expected_losses(0.5 + sign * forth, -0.75 + sign * back)["total"] for sign in (1, -1))
        found = method.get_submodule(network).factor.grad
        assert float(found) == pytest.approx((up - down) / (2 * step), rel=0.02)


def test_a_loss_of_no_weight_is_not_worked_out() -> None:
    found = with_known_networks(same_weight=0, cycle_weight=0).training_step(pairs())
    assert {name for name in found if name.startswith(("cycle", "same"))} == set()


def test_two_steps_change_every_tensor_of_every_network() -> None:
    method = build()
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    for _ in range(2):
        method.training_step(pairs())
    # What a bias adds, normalising by instance takes away: its gradient is rounding, if not nothing.
    still = [name for name in unchanged(before, method.state_dict()) if not name.endswith("bias")]
    assert still == []
    assert {name.partition(".")[0] for name in before} == {
        "to_target",
        "to_source",
        "target_discriminator",
        "source_discriminator",
    }


def test_discriminators_do_not_follow_the_generators_step() -> None:
    method = build(descent={"kind": "adam", "learning_rate": 1e-3}, discriminator_descent={"learning_rate": 1e-30})
    before = {name: tensor.clone() for name, tensor in method.target_discriminator.state_dict().items()}
    method.training_step(pairs())
    after = method.target_discriminator.state_dict()
    assert all(torch.allclose(tensor, before[name], rtol=0, atol=1e-20) for name, tensor in after.items())


def test_generate_translates_by_the_generator_of_targets() -> None:
    method = with_known_networks()
    faces = pairs()["source"]
    assert torch.allclose(method.generate(faces), 0.5 * faces + 0.25, atol=1e-6)


def test_crop_that_cannot_be_halved_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 4"):
        CycleGan(CycleGan.Config.model_validate(TINY), crops.crop("lfw_deepfunneled"))


def test_single_faces_are_refused() -> None:
    batch = {name: value for name, value in pairs().items() if not name.startswith("source")}
    with pytest.raises(ValueError, match="pairing"):
        build().training_step(batch)


@pytest.mark.parametrize(
    ("layout", "sizes", "parameters"),
    [
        ("cyclegan_resnet", {}, 11_378_179),
        ("cyclegan_resnet", {"num_blocks": 6}, 7_837_699),
        ("cyclegan_resnet", {"num_blocks": 3, "num_filters": 16}, 272_515),
        ("patchgan", {}, 2_764_737),
        ("patchgan", {"in_channels": 6, "norm": "batch"}, 2_768_705),
    ],
)
def test_networks_have_the_published_numbers_of_parameters(layout: str, sizes: dict, parameters: int) -> None:
    network = weights.network(layout, **sizes)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_discriminator_scores_256_px_on_30_by_30_patches() -> None:
    assert weights.network("patchgan")(torch.zeros(1, 3, 256, 256)).shape == (1, 1, 30, 30)


def test_old_checkpoints_with_statistics_that_nobody_uses_are_read() -> None:
    network = weights.network("cyclegan_resnet", num_blocks=2, num_filters=4)
    names = weights.find("cyclegan_resnet").published(network.state_dict())
    published = {names[name]: tensor for name, tensor in network.state_dict().items()}
    published |= {"model.2.running_mean": torch.zeros(4), "model.10.conv_block.2.num_batches_tracked": torch.tensor(3)}
    read = weights.convert("cyclegan_resnet", published)
    assert all(torch.equal(tensor, read[name]) for name, tensor in network.state_dict().items())


def small_recipe(steps: int) -> recipe.Recipe:
    overrides = ["data.identities=2", "data.shots=2", f"training.steps={steps}", "training.batch_size=2"]
    overrides += ["settings.pool_size=3", "training.checkpoint_every_steps=3", "training.preview_every_steps=100"]
    overrides += ["settings.num_filters=4", "settings.num_blocks=1", "settings.discriminator_filters=4"]
    return recipe.read("cyclegan_small", [*overrides, "training.threads=1", "training.precision=32-true"])


@pytest.mark.slow
def test_training_that_went_on_from_a_checkpoint_is_the_unbroken_one_pools_too(tmp_path: Path) -> None:
    """The pools hold fakes of before the checkpoint: without them the weights would differ."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    training.train(small_recipe(6), whole, progress=False)
    training.train(small_recipe(6), broken, progress=False)
    (broken / "weights.safetensors").unlink()
    for path in (broken / "checkpoints").glob("step-00000006.*"):
        path.unlink()
    training.train(small_recipe(6), broken, resume=True, progress=False)
    first, second = weights.read(whole / "weights.safetensors"), weights.read(broken / "weights.safetensors")
    assert unchanged(first, second) == list(first)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cyclegan_small", "pix2pix_small", "pcfh_small", "ffe_cyclegan_small", "adfl_small"])
def test_two_processes_train_every_method_that_translates(name: str, tmp_path: Path) -> None:
    overrides = ["data.identities=2", "data.shots=2", "training.steps=2", "training.batch_size=4"]
    wanted = recipe.read(name, [*overrides, "training.threads=1"])
    run = training.train(wanted, tmp_path / "run", processes=2, progress=False, device="cpu")
    assert run.weights.is_file()
