"""pix2pix computes Pix2Pix's losses on the pairs it should, and generates as it is told."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from facebridge import crops, weights
from facebridge.methods.pix2pix import Pix2Pix, exposed
from facebridge.warp import warp
from tests.methods.translating import CROP, Tinted, l1, pairs, unchanged

TINY = {"num_downs": 6, "num_filters": 4, "discriminator_filters": 4, "discriminator_layers": 1, "jitter": 1.0}


def build(**settings: object) -> Pix2Pix:
    torch.manual_seed(0)
    return Pix2Pix(Pix2Pix.Config.model_validate({**TINY, **settings}), CROP)


class Judge(nn.Module):
    """Scores (B, 1) that tell the six channels apart."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(1.0))

    def forward(self, pictures: Tensor) -> Tensor:
        assert pictures.shape[1] == 6
        return self.factor * (pictures[:, :3].mean((1, 2, 3)) - 2 * pictures[:, 3:].mean((1, 2, 3)))[:, None]


def crossed(scores: Tensor, real: bool) -> float:
    values = [1 / (1 + np.exp(-float(score))) for score in scores.ravel()]
    return float(np.mean([-np.log(value if real else 1 - value) for value in values]))


@pytest.mark.parametrize("warped", [False, True])
def test_losses_are_those_of_the_paper(warped: bool) -> None:
    batch = pairs()
    method = build(warp_target=warped, discriminator_descent={"learning_rate": 1e-30})
    method.add_module("generator", Tinted(0.5))
    method.add_module("discriminator", Judge())
    target = batch["target"]
    if warped:
        target = warp(target, batch["target_points"], batch["source_points"]).clamp(0, 1)
    source, target = 2 * batch["source"] - 1, 2 * target - 1
    found = method.training_step(batch)
    judge = Judge()
    real, fake = (judge(torch.cat([source, shown], 1)).detach() for shown in (target, 0.5 * source))
    expected = {
        "discriminator": (crossed(real, True) + crossed(fake, False)) / 2,
        "adversarial": crossed(fake, True),
        "pixel": l1(0.5 * source, target),
    }
    expected["total"] = expected["adversarial"] + 100 * expected["pixel"]
    assert {name: float(loss) for name, loss in found.items()} == pytest.approx(expected, abs=1e-4)


def test_the_discriminator_learns_before_the_generator_is_judged() -> None:
    first = build(discriminator_descent={"learning_rate": 1e-30}).training_step(pairs())
    second = build(discriminator_descent={"learning_rate": 0.5, "momentum": 0.0}).training_step(pairs())
    assert float(first["discriminator"]) == float(second["discriminator"])
    assert float(first["adversarial"]) != float(second["adversarial"])


def test_each_source_is_exposed_by_a_power_of_its_own_about_one() -> None:
    torch.manual_seed(0)
    faces = torch.full((4000, 3, 1, 1), 0.5)
    exponents = torch.log(exposed(faces, 0.35)) / np.log(0.5)
    assert torch.equal(exponents[:, 0], exponents[:, 2])
    logs = torch.log(exponents[:, 0].flatten())
    assert abs(float(logs.mean())) < 4 * 0.35 / np.sqrt(4000)
    assert float(logs.std()) == pytest.approx(0.35, rel=0.05)
    assert exposed(faces, 0) is faces


def test_points_are_wanted_where_the_target_is_warped_alone() -> None:
    assert not build().wants_points
    assert build(warp_target=True).wants_points
    batch = {name: value for name, value in pairs().items() if not name.endswith("points")}
    with pytest.raises(ValueError, match="68 landmarks"):
        build(warp_target=True).training_step(batch)


def test_two_steps_change_every_tensor() -> None:
    method = build()
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    for _ in range(2):
        method.training_step(pairs())
    still = [name for name in unchanged(before, method.state_dict()) if not name.endswith("bias")]
    assert still == []


def test_generating_is_the_same_each_time_unless_noise_is_wanted() -> None:
    faces = pairs()["source"]
    quiet, noisy = build(num_downs=6).eval(), build(num_downs=6, noise_in_use=True).eval()
    assert torch.equal(quiet.generate(faces), quiet.generate(faces))
    assert not torch.equal(noisy.generate(faces), noisy.generate(faces))


def test_own_statistics_are_each_faces_own_and_change_no_running_ones() -> None:
    method = build(statistics_in_use="own").eval()
    faces = pairs()["source"]
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    together = method.generate(faces)
    assert torch.allclose(together, torch.cat([method.generate(face[None]) for face in faces]), atol=1e-6)
    assert unchanged(before, method.state_dict()) == list(before)
    assert not torch.allclose(together, build().eval().generate(faces), atol=1e-3)


def test_generating_leaves_a_training_network_in_training() -> None:
    method = build()
    method.generate(pairs()["source"])
    assert all(module.training for module in method.modules())


@pytest.mark.parametrize(
    ("sizes", "parameters"),
    [({}, 54_413_955), ({"num_downs": 7}, 41_828_995), ({"num_downs": 6, "num_filters": 16}, 1_830_563)],
)
def test_networks_have_the_published_numbers_of_parameters(sizes: dict, parameters: int) -> None:
    network = weights.network("pix2pix_unet", **sizes)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_inner_blocks_drop_values_as_published() -> None:
    network = weights.network("pix2pix_unet", num_filters=4)
    dropping = [name for name, module in network.named_modules() if isinstance(module, nn.Dropout) and module.p]
    assert [name.count("inner") for name in dropping] == [6, 5, 4]


def test_crop_that_the_u_net_cannot_halve_is_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 64"):
        Pix2Pix(Pix2Pix.Config.model_validate(TINY), crops.crop("sphereface"))
