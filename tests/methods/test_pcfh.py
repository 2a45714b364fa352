"""pcfh computes the equations of PCFH, trains each network by its own, and sees the patches it should."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from facebridge import crops
from facebridge.layers import LocalPath, Patch
from facebridge.methods.pcfh import Pcfh, information, nuclear_norm
from facebridge.methods.pcfh.networks import MultiPath, PairCritic, patches
from facebridge.recogniser import Recogniser
from facebridge.translation import luminance
from facebridge.warp import warp
from tests.drawn import thin_recogniser
from tests.methods.translating import CROP, Scored, Tinted, l1, pairs, unchanged

TINY = {"eye_size": (16, 16), "nose_size": (20, 16), "mouth_size": (12, 24), "num_blocks": 1, "num_filters": 4}
TINY |= {"local_blocks": 1, "back_blocks": 1, "discriminator_filters": 4, "discriminator_layers": 1}
TINY |= {"attention_filters": 4, "critic_filters": 4, "critic_layers": 2}


def build(recogniser: bool = True, **settings: object) -> Pcfh:
    frozen = thin_recogniser() if recogniser else None
    torch.manual_seed(0)
    return Pcfh(Pcfh.Config.model_validate({**TINY, **settings}), CROP, frozen)


class Masked(nn.Module):
    """An attention of one known mask."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.mask = nn.Parameter(mask)

    def forward(self, warped: Tensor, generated: Tensor) -> Tensor:
        return self.mask.expand(len(warped), 1, -1, -1)


class Alike(nn.Module):
    """A critic that scores two pictures by the product of their means, each less that of its batch."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        one, other = first.mean((1, 2, 3)), second.mean((1, 2, 3))
        return self.factor * (one - one.mean()) * (other - other.mean())


VISIBLE, SOURCE = 300.0, 200.0
"""Factors of the known critics, such that both find something."""
MASK = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(4))


def with_known_networks(**settings: object) -> Pcfh:
    still = {"descent": {"kind": "sgd", "learning_rate": 1e-30}}
    method = build(**{**still, **settings})
    method.add_module("generator", Tinted(0.5))
    method.add_module("back", Tinted(-1.5))
    method.add_module("discriminator", Scored(2.0))
    method.add_module("attention", Masked(MASK))
    method.add_module("visible_critic", Alike(VISIBLE))
    method.add_module("source_critic", Alike(SOURCE))
    return method


def summed(first: Tensor, second: Tensor) -> float:
    """Absolute differences, summed in each face; the mean over the faces."""
    return float(np.abs(first.double().numpy() - second.double().numpy()).sum()) / len(first)


def estimate(factor: float, made: Tensor, other: Tensor) -> float:
    """log 2 less half of: -log of the probability of belonging together, of pairs, and of strangers' not doing so."""
    means = [pictures.double().mean((1, 2, 3)) for pictures in (made, other)]
    first, second = ((mean - mean.mean()).tolist() for mean in means)

    def cost(score: float, together: bool) -> float:
        probability = 1 / (1 + math.exp(-score))
        return -math.log(probability if together else 1 - probability)

    count = len(first)
    joint = [cost(factor * first[row] * second[row], True) for row in range(count)]
    apart = [cost(factor * first[row] * second[row - 1], False) for row in range(count)]
    return math.log(2) - (sum(joint) / count + sum(apart) / count) / 2


def features(recogniser: Recogniser, faces: Tensor) -> Tensor:
    own = crops.recrop(faces, CROP, recogniser.crop)
    with torch.no_grad():
        return recogniser.network((own * 255 - 127.5) / 128)


@pytest.mark.parametrize("joint", [False, True])
def test_losses_are_the_equations_of_the_paper(joint: bool) -> None:
    batch = pairs()
    method = with_known_networks(joint=joint)
    source, target = 2 * batch["source"] - 1, 2 * batch["target"] - 1
    warped = 2 * warp(batch["target"], batch["target_points"], batch["source_points"]).clamp(0, 1) - 1
    made = 0.5 * source
    weights = np.array([0.299, 0.587, 0.114])
    luma = [np.tensordot(pictures.double().numpy(), weights, (1, 0)) for pictures in (made, source)]
    singular = np.linalg.svd(MASK[0, 0].double().numpy(), compute_uv=False).sum()
    scores = {"real": 2 * target.mean((1, 2, 3)), "fake": 2 * made.mean((1, 2, 3))}
    hinge = [np.maximum(0, 1 - scores["real"].numpy()).mean(), np.maximum(0, 1 + scores["fake"].numpy()).mean()]
    assert method.recogniser is not None
    expected = {
        "discriminator": sum(hinge) / 2,
        "critics": -estimate(VISIBLE, made, target) - estimate(SOURCE, made, source),
        "mask": 3 * l1(MASK * made, warped) + 0.003 * singular + 1e-6 * float(MASK.sum()),
        "adversarial": -float(scores["fake"].mean()),
        "reconstruction": summed(-1.5 * made, source),
        "identity": summed(features(method.recogniser, (made + 1) / 2), features(method.recogniser, batch["target"])),
        "luminance": float(np.abs(luma[0] - luma[1]).mean()),
        "warp": summed(MASK * made, MASK * warped),
        "information_visible": estimate(VISIBLE, made, target),
        "information_source": estimate(SOURCE, made, source),
    }
    assert min(expected["information_visible"], expected["information_source"]) > 0.01
    expected["total"] = (
        expected["adversarial"]
        + 2.5e-5 * expected["reconstruction"]
        + 0.002 * expected["identity"]
        + 0.1 * expected["luminance"]
        + 2.5e-5 * expected["warp"]
        - 0.1 * (expected["information_visible"] - expected["information_source"])
        + (expected["mask"] if joint else 0)
    )
    found = {name: float(loss) for name, loss in method.training_step(batch).items()}
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)


def expected_total(forth: float, back: float) -> float:
    """What the generators descend with joint=False, but for identity, when they multiply by these numbers."""
    batch = pairs()
    source, target = (2 * batch[side].double() - 1 for side in ("source", "target"))
    warped = 2 * warp(batch["target"], batch["target_points"], batch["source_points"]).clamp(0, 1).double() - 1
    made = forth * source
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)[:, None, None]
    luma = [(pictures * weights).sum(1) for pictures in (made, source)]
    return (
        -float(2 * made.mean())
        + 2.5e-5 * summed(back * made, source)
        + 0.1 * float((luma[0] - luma[1]).abs().mean())
        + 2.5e-5 * summed(MASK * made, MASK * warped)
        - 0.1 * (estimate(VISIBLE, made, target) - max(0.0, estimate(SOURCE, made, source)))
    )


def test_generators_get_the_gradient_of_their_equations_and_of_no_other() -> None:
    """By differences of the total: eq. 7, which the mask descends, is no part of it."""
    method = with_known_networks(identity_weight=0)
    method.training_step(pairs())
    step = 1e-4
    for network, forth, back in (("generator", step, 0.0), ("back", 0.0, step)):
        up, down = (expected_total(0.5 + sign * forth, -1.5 + sign * back) for sign in (1, -1))
        found = method.get_submodule(network).factor.grad
        assert float(found) == pytest.approx((up - down) / (2 * step), rel=1e-3)


def test_identity_reaches_the_generator() -> None:
    with_it, without = with_known_networks(), with_known_networks(identity_weight=0)
    for method in (with_it, without):
        method.training_step(pairs())
    batch, recogniser = pairs(), with_it.recogniser
    assert recogniser is not None
    factor = torch.tensor(0.5, requires_grad=True)
    made = crops.recrop((factor * (2 * batch["source"] - 1) + 1) / 2, CROP, recogniser.crop)
    difference = recogniser.network((made * 255 - 127.5) / 128) - features(recogniser, batch["target"])
    (0.002 * difference.abs().sum() / 2).backward()
    found = float(with_it.generator.factor.grad) - float(without.generator.factor.grad)
    assert found == pytest.approx(float(factor.grad), rel=1e-3)


def test_mask_gets_the_gradient_of_eq_7_alone() -> None:
    method = with_known_networks()
    method.training_step(pairs())
    batch = pairs()
    made = 0.5 * (2 * batch["source"] - 1)
    warped = 2 * warp(batch["target"], batch["target_points"], batch["source_points"]).clamp(0, 1) - 1
    mask = MASK.clone().requires_grad_()
    loss = 3 * (mask * made - warped).abs().mean() + 1e-6 * mask.abs().sum()
    (loss + 0.003 * torch.linalg.matrix_norm(mask[0, 0], ord="nuc")).backward()
    assert torch.allclose(method.attention.mask.grad, mask.grad, atol=1e-6)


def test_discriminator_is_spectrally_normalised() -> None:
    assert all(torch.nn.utils.parametrize.is_parametrized(conv, "weight") for conv in build().discriminator.convs)


def test_faces_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="faces are 128x128 px, and the patches lie in faces of 64x64 px"):
        build().generate(torch.rand(1, 3, 128, 128))


def test_a_loss_of_no_weight_is_not_returned() -> None:
    found = build(information_weight=0, reconstruction_weight=0).training_step(pairs())
    assert {"reconstruction", "information_visible", "information_source"}.isdisjoint(found)


def test_reductions_are_sum_or_mean_of_each_term() -> None:
    summing = with_known_networks().training_step(pairs())
    means = with_known_networks(
        reconstruction_reduction="mean", identity_reduction="mean", warp_reduction="mean", luminance_reduction="sum"
    ).training_step(pairs())
    pixels = 64 * 64
    for name, size in (("reconstruction", 3 * pixels), ("warp", 3 * pixels), ("identity", 16)):
        assert float(summing[name]) == pytest.approx(size * float(means[name]), rel=1e-4)
    assert float(means["luminance"]) == pytest.approx(pixels * float(summing["luminance"]), rel=1e-4)


def test_ablations_leave_out_their_networks_losses_and_points() -> None:
    without_awm = build(use_awm=False)
    batch = {name: value for name, value in pairs().items() if not name.endswith("points")}
    assert {"warp", "mask"}.isdisjoint(without_awm.training_step(batch))
    assert not without_awm.wants_points
    assert not any(name.startswith("attention") for name in without_awm.state_dict())
    without_mic = build(use_mic=False)
    assert not any("information" in name or "critic" in name for name in without_mic.training_step(pairs()))
    assert not any("critic" in name for name in without_mic.state_dict())
    with pytest.raises(ValueError, match="68 landmarks"):
        build().training_step(batch)


def test_two_steps_change_every_network_and_never_the_recogniser() -> None:
    method = build(descent={"kind": "adam", "learning_rate": 1e-3})
    assert method.recogniser is not None
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    judge_before = {name: tensor.clone() for name, tensor in method.recogniser.state_dict().items()}
    for _ in range(2):
        method.training_step(pairs())
    # Normalising by instance takes away what a bias adds; _u and _v estimate spectral norms.
    still = [name for name in unchanged(before, method.state_dict()) if not name.endswith(("bias", "_u", "_v"))]
    assert still == []
    assert unchanged(judge_before, method.recogniser.state_dict()) == list(judge_before)


@pytest.mark.parametrize("joint", [False, True])
def test_attention_learns_from_its_own_equation_or_from_both(joint: bool) -> None:
    method = build(joint=joint, mask_fit_weight=0, mask_rank_weight=0, mask_size_weight=0)
    before = method.attention.mask.weight.clone()
    method.training_step(pairs())
    # With eq. 7 of no weight, eq. 8 alone is left: it moves the mask where both are descended together, and else not.
    assert torch.equal(method.attention.mask.weight, before) != joint


def test_information_is_nothing_for_a_critic_that_knows_nothing_and_log_2_for_one_that_knows_all() -> None:
    class Knows(nn.Module):
        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            return torch.where((first == second).flatten(1).all(1), 50.0, -50.0)

    class Guesses(nn.Module):
        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            return torch.zeros(len(first))

    faces = torch.rand(5, 3, 8, 8)
    assert float(information(Knows(), faces, faces)) == pytest.approx(math.log(2), abs=1e-6)
    assert float(information(Guesses(), faces, faces)) == pytest.approx(0, abs=1e-6)


def test_one_pair_is_too_few_for_the_critics() -> None:
    with pytest.raises(ValueError, match="batch_size"):
        build().training_step({name: value[:1] for name, value in pairs().items()})


@pytest.mark.parametrize("size", [1, 5, 16])
def test_nuclear_norm_of_ones_is_their_side(size: int) -> None:
    assert float(nuclear_norm(torch.ones(2, 1, size, size))) == pytest.approx(size, rel=1e-5)


def test_luminance_is_the_y_of_ycbcr() -> None:
    faces = torch.rand(2, 3, 4, 4)
    for row in range(2):
        red, green, blue = faces[row]
        assert torch.allclose(luminance(faces)[row, 0], 0.299 * red + 0.587 * green + 0.114 * blue, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("pcfh", ((32, 32), (40, 32), (28, 52))),
        ("pcfh_256", ((52, 52), (60, 52), (36, 72))),
        ("arcface_64", ((16, 16), (20, 16), (12, 24))),
    ],
)
def test_patches_of_the_published_sizes_lie_about_the_features(name: str, sizes: tuple) -> None:
    crop = crops.crop(name)
    points = np.array(crop.points)
    wanted = [points[0], points[1], points[2], points[3:].mean(0)]
    for place, size, (x, y) in zip(patches(crop, *sizes), (sizes[0], *sizes), wanted, strict=True):
        assert (place.height, place.width) == size
        assert abs(place.left + (place.width - 1) / 2 - x) <= 0.5
        assert abs(place.top + (place.height - 1) / 2 - y) <= 0.5
        assert min(place.left, place.top, crop.width - place.left - place.width) >= 0


def test_patch_that_cannot_be_halved_twice_names_the_setting() -> None:
    with pytest.raises(ValueError, match=r"settings\.mouth_size is 30x52"):
        patches(crops.crop("pcfh"), (32, 32), (40, 32), (30, 52))


def test_local_features_join_where_they_lie_and_win_where_they_are_larger() -> None:
    """The fusion is the larger of the global features and of a canvas of zeros with the patch in its place."""
    places = [Patch(4, 8, 8, 8), Patch(4, 40, 8, 8), Patch(24, 24, 8, 8), Patch(40, 20, 8, 12)]
    torch.manual_seed(2)
    network = MultiPath((64, 64), places, 1, 4, 1, eyes_share=False)
    pictures = torch.rand(2, 3, 64, 64) * 2 - 1
    whole = network.decoder(network.blocks(network.encoder(pictures)))
    joined = whole.clone()
    paths = (network.right_eye, network.left_eye, network.nose, network.mouth)
    for path, (top, left, height, width) in zip(paths, places, strict=True):
        canvas = torch.zeros_like(whole)
        part = pictures[:, :, top : top + height, left : left + width]
        canvas[:, :, top : top + height, left : left + width] = path(part)
        joined = torch.maximum(joined, canvas)
    smooth = functional.relu(functional.instance_norm(network.smooth(joined)))
    assert torch.allclose(network(pictures), network.to_picture(smooth), atol=1e-6)


def test_eyes_that_share_a_path_are_each_others_mirror_image() -> None:
    places = patches(CROP, (16, 16), (20, 16), (12, 24))
    torch.manual_seed(0)
    network = MultiPath((64, 64), places, 1, 4, 1, eyes_share=True)
    pictures = torch.rand(1, 3, 64, 64)
    right, left = places[0].of(pictures), places[1].of(pictures)
    mirrored = pictures.clone()
    places[0].of(mirrored).copy_(left.flip(-1))
    places[1].of(mirrored).copy_(right.flip(-1))
    eyes, swapped = network._local(pictures)[:2], network._local(mirrored)[:2]
    assert torch.allclose(eyes[0], swapped[1].flip(-1), atol=1e-6)
    assert torch.allclose(eyes[1], swapped[0].flip(-1), atol=1e-6)


@pytest.mark.parametrize("sides", [(32, 32), (40, 32), (28, 52), (52, 52), (36, 72)])
def test_local_path_takes_every_published_patch(sides: tuple[int, int]) -> None:
    found = LocalPath(4, 1)(torch.rand(1, 3, *sides))
    assert found.shape == (1, 4, *sides)
    assert float(found.detach().min()) >= 0


def test_critic_is_spectrally_normalised() -> None:
    """The spectral norm of every layer's weights, as a matrix, is 1 after power iterations."""
    torch.manual_seed(0)
    critic = PairCritic(8, 3)
    with torch.no_grad():
        for _ in range(50):
            critic(torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32))
    critic.eval()
    for layer in [*critic.convs, critic.score]:
        found = np.linalg.svd(layer.weight.detach().flatten(1).numpy(), compute_uv=False)
        assert found.max() == pytest.approx(1, abs=0.02)


def test_preview_shows_source_generated_target_warp_and_mask() -> None:
    shown = build().eval().preview(pairs())
    assert list(shown) == ["source", "generated", "target", "warped target", "mask"]
    assert all(faces.shape == (2, 3, 64, 64) for faces in shown.values())
