"""dr_gan trains each network by its own losses, fuses what several pictures say, and turns heads as it is told."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from facebridge import checkpoints, crops
from facebridge.method import TrainsRecogniser, TurnsHeads
from facebridge.methods.dr_gan import DrGan
from facebridge.precision import set_precision
from tests.methods.translating import unchanged

CROP = crops.crop("tp_gan_32")
POSES_DEG = (-60.0, -30.0, 0.0, 45.0)
TINY: dict[str, Any] = {"num_filters": 2, "noise_size": 3, "num_identities": 4, "poses_deg": POSES_DEG}
STILL = {"kind": "sgd", "learning_rate": 1e-30, "momentum": 0.0, "weight_decay": 0.0}


def build(seed: int = 0, **settings: object) -> DrGan:
    torch.manual_seed(seed)
    return DrGan(DrGan.Config.model_validate({**TINY, **settings}), CROP)


def single(count: int = 4, seed: int = 1) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {
        "target": torch.rand(count, 3, 32, 32, generator=draw),
        "target_identity": torch.arange(count) % 4,
        "target_yaw_deg": torch.tensor([-70.0, -20.0, 10.0, 40.0]).repeat(count)[:count],
    }


def sets(count: int = 3, pictures: int = 2, seed: int = 2) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    yaw = 90 * torch.rand(count, pictures, generator=draw) - 45
    return single(count) | {
        "source": torch.rand(count, pictures, 3, 32, 32, generator=draw),
        "source_identity": torch.arange(count) % 4,
        "source_yaw_deg": yaw,
    }


def pairs(count: int = 4) -> dict[str, Tensor]:
    batch = sets(count, 1)
    return batch | {"source": batch["source"][:, 0], "source_yaw_deg": batch["source_yaw_deg"][:, 0]}


def nearest(yaw_deg: float) -> int:
    return min(range(len(POSES_DEG)), key=lambda number: abs(POSES_DEG[number] - yaw_deg))


class Teller(nn.Module):
    """A discriminator of known logits: those of a picture's three mean colours."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(outputs, 3, generator=torch.Generator().manual_seed(8)) - 0.5)

    def forward(self, *batches: Tensor) -> tuple[Tensor, ...]:
        return tuple(pictures.mean((2, 3)) @ self.weight.T for pictures in batches)


class Tinter(nn.Module):
    """A generator of known pictures: the first of each set, tinted by code and noise; which features is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(0.5))
        self.codes = self.noise = torch.zeros(0)
        self.of: list[int] = []

    def forward(self, sets: Tensor, of: list[int], codes: Tensor, noise: Tensor) -> Tensor:
        self.codes, self.noise, self.of = codes, noise, list(of)
        assert codes.shape[:2] == noise.shape[:2] == (len(sets), len(of))
        tint = (codes @ torch.arange(codes.shape[2]).float() + noise.mean(2))[..., None, None, None]
        return (self.factor * sets[:, :1] + 0.1 * tint).tanh()


def with_known_networks(**settings: object) -> tuple[DrGan, Tinter, Teller]:
    method = build(descent=STILL, discriminator_descent=STILL, **settings)
    tinter, teller = Tinter(), Teller(4 + 1 + len(POSES_DEG))
    method.add_module("generator", tinter)
    method.add_module("discriminator", teller)
    return method, tinter, teller


def cross_entropy(logits: Tensor, labels: list[int]) -> float:
    """One row at a time, from the probabilities."""
    costs = []
    for row, label in zip(logits.detach().double().numpy(), labels, strict=True):
        costs.append(-np.log(np.exp(row[label]) / np.exp(row).sum()))
    return float(np.mean(costs))


def binary(scores: Tensor, real: bool) -> float:
    probabilities = 1 / (1 + np.exp(-scores.detach().double().numpy()))
    return float(np.mean(-np.log(probabilities if real else 1 - probabilities)))


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("version", ["extended", "cvpr"])
def test_losses_are_those_of_the_paper(version: str, several: bool) -> None:
    weights = {"adversarial_weight": 0.5, "classification_weight": 2.0, "pose_weight": 3.0}
    method, tinter, teller = with_known_networks(version=version, several=several, **weights)
    batch = sets() if several else single()
    torch.manual_seed(5)
    found = method.training_step(batch)
    shown = batch["source"] if several else batch["target"][:, None]
    assert tinter.of == ([0, 1, 2] if several else [0])
    made = tinter(2 * shown - 1, tinter.of, tinter.codes, tinter.noise).detach().flatten(0, 1)
    people = [int(person) for person in batch["target_identity"] for _ in tinter.of]
    asked = tinter.codes.argmax(2).flatten().tolist()
    real, real_people = batch["target"], batch["target_identity"].tolist()
    real_poses = [nearest(float(yaw)) for yaw in batch["target_yaw_deg"]]
    if several:
        real = torch.cat([real, batch["source"].flatten(0, 1)])
        real_people += [int(person) for person in batch["source_identity"] for _ in range(2)]
        real_poses += [nearest(float(yaw)) for yaw in batch["source_yaw_deg"].flatten()]
    of_real, of_fake = (logits.detach() for logits in teller(2 * real - 1, made))
    who = slice(0, 4) if version == "extended" else slice(0, 5)
    expected = {
        "discriminator_identity": cross_entropy(of_real[:, who], real_people),
        "discriminator_pose": cross_entropy(of_real[:, 5:], real_poses),
        "identity": cross_entropy(of_fake[:, who], people),
        "pose": cross_entropy(of_fake[:, 5:], asked),
    }
    right = [
        of_real[:, who].argmax(1) == torch.tensor(real_people),
        of_real[:, 5:].argmax(1) == torch.tensor(real_poses),
    ]
    if version == "extended":
        expected["discriminator_adversarial"] = binary(of_real[:, 4], True) + binary(of_fake[:, 4], False)
        expected["adversarial"] = binary(of_fake[:, 4], True)
        right += [of_real[:, 4] > 0, of_fake[:, 4] < 0]
    else:
        expected["discriminator_adversarial"] = cross_entropy(of_fake[:, :5], [4] * len(of_fake))
        right += [of_fake[:, :5].argmax(1) == 4]
    expected["discriminator"] = (
        0.5 * expected["discriminator_adversarial"]
        + 2 * expected["discriminator_identity"]
        + 3 * expected["discriminator_pose"]
    )
    expected["total"] = 0.5 * expected.get("adversarial", 0) + 2 * expected["identity"] + 3 * expected["pose"]
    expected["discriminator_accuracy"] = float(np.mean([float(each.double().mean()) for each in right]))
    assert {name: float(loss) for name, loss in found.items()} == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("several", [False, True])
def test_pixels_are_compared_at_the_targets_own_pose(several: bool) -> None:
    method, tinter, teller = with_known_networks(several=several, pixel_weight=10.0)
    batch = sets() if several else pairs()
    found = method.training_step(batch)
    assert tinter.of == ([0, 1, 2, 0] if several else [0, 0])
    assert tinter.codes[:, -1].argmax(1).tolist() == [nearest(float(yaw)) for yaw in batch["target_yaw_deg"]]
    shown = 2 * (batch["source"] if several else batch["source"][:, None]) - 1
    made = tinter(shown, tinter.of, tinter.codes, tinter.noise).detach()
    expected = float((made[:, -1] - (2 * batch["target"] - 1)).abs().mean())
    assert float(found["pixel"]) == pytest.approx(expected, abs=1e-6)
    judged = teller(made[:, :-1].flatten(0, 1))[0].detach()  # the compared pictures are not judged
    assert float(found["adversarial"]) == pytest.approx(binary(judged[:, 4], True), abs=1e-6)
    parts = found["identity"] + found["pose"] + found["adversarial"] + 10 * found["pixel"]
    assert float(found["total"]) == pytest.approx(float(parts), abs=1e-5)


def test_poses_and_noise_are_drawn_evenly_and_anew() -> None:
    method, tinter, _ = with_known_networks()
    poses, noise = [], []
    for step in range(60):
        torch.manual_seed(step)
        method.training_step(single(16))
        poses.append(tinter.codes)
        noise.append(tinter.noise)
    counts = torch.cat(poses).flatten(0, 1).sum(0)
    assert torch.equal(torch.cat(poses).sum(2), torch.ones(960, 1))
    assert float(((counts - 240) ** 2 / 240).sum()) < 16.3  # chi-squared of 3 degrees of freedom, 0.999
    values = torch.cat(noise).flatten()
    assert float(values.min()) < -0.99
    assert float(values.max()) > 0.99
    assert abs(float(values.mean())) < 0.05
    assert float(values.var()) == pytest.approx(1 / 3, rel=0.05)


@pytest.mark.parametrize("several", [False, True])
def test_each_network_learns_from_its_own_losses_alone(several: bool) -> None:
    batch = sets() if several else single()
    for name, frozen in (("generator", "discriminator_descent"), ("discriminator", "descent")):
        method = build(several=several, **{frozen: STILL})
        before = copy.deepcopy(method.state_dict())
        method.training_step(batch)
        changed = [key for key, value in method.named_parameters() if not torch.allclose(value, before[key], atol=1e-9)]
        assert {key.split(".")[0] for key in changed} == {name}
        assert len(changed) == len(list(method.get_submodule(name).parameters()))


def test_two_steps_change_every_tensor_and_a_seed_decides_them() -> None:
    first, second = build(several=True), build(several=True)
    before = copy.deepcopy(first.state_dict())
    for method in (first, second):
        for step in range(2):
            torch.manual_seed(step)
            method.training_step(sets())
    assert unchanged(before, first.state_dict()) == []
    assert len(unchanged(first.state_dict(), second.state_dict())) == len(before)


@pytest.mark.parametrize("version", ["extended", "cvpr"])
def test_the_discriminator_learns_a_few_pictures(version: str) -> None:
    descent = {"kind": "adam", "learning_rate": 2e-3, "momentum": 0.5, "weight_decay": 0.0}
    method = build(version=version, num_filters=4, discriminator_descent=descent, descent=STILL)
    losses = []
    for step in range(16):
        torch.manual_seed(step)
        losses.append(float(method.training_step(single())["discriminator"]))
    assert np.mean(losses[-3:]) < 0.7 * losses[0]


def test_the_generator_learns_to_please_a_discriminator_that_stands_still() -> None:
    descent = {"kind": "adam", "learning_rate": 2e-3, "momentum": 0.5, "weight_decay": 0.0}
    method = build(num_filters=4, descent=descent)
    losses = []
    for step in range(24):
        if step == 8:
            for group in method.optimisers["discriminator"].param_groups:
                group["lr"] = 0.0
            method.schedules["discriminator"].base_lrs = [0.0]
        torch.manual_seed(step)
        losses.append(float(method.training_step(single(8))["total"]))
    assert np.mean(losses[-3:]) < np.mean(losses[8:11])


@pytest.mark.parametrize("turns", ["both", "adaptive"])
def test_a_step_bears_that_each_call_of_a_network_shares_its_statistics(turns: str) -> None:
    """As several processes do it: in place, before the call."""
    method = build(turns=turns)

    def share(network: nn.Module, given: object) -> None:
        for statistics in network.buffers():
            statistics.copy_(statistics.clone())

    method.generator.register_forward_pre_hook(share)
    method.discriminator.register_forward_pre_hook(share)
    before = copy.deepcopy(method.state_dict())
    for _ in range(2):
        losses = method.training_step(single())
    assert all(bool(loss.isfinite()) for loss in losses.values())
    for network in ("generator", "discriminator"):
        names = [name for name in before if name.startswith(network) and name.endswith("conv.weight")]
        assert any(not torch.equal(before[name], method.state_dict()[name]) for name in names), network


def test_bfloat16_trains_with_losses_in_float32() -> None:
    method = build(several=True)
    with torch.autocast("cpu", torch.bfloat16):
        found = method.training_step(sets())
        shown = method.preview(sets())
    assert all(loss.dtype == torch.float32 and bool(loss.isfinite()) for loss in found.values())
    assert all(faces.dtype == torch.float32 for faces in shown.values())


class Weighing(nn.Module):
    """An encoder of known features, the mean colours, and confidences, the mean of the first one in [0, 1]."""

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        colours = pictures.mean((2, 3))
        return colours, (colours[:, 0] + 1) / 2


def test_fusion_is_the_weighted_mean_whatever_the_order() -> None:
    method = build(several=True)
    method.generator.add_module("encoder", Weighing())
    faces = sets(3, 4)["source"]
    features, shares = method.fused(faces)
    for person in range(3):
        colours = (2 * faces[person] - 1).double().mean((2, 3)).numpy()
        weights = faces[person, :, 0].double().mean((1, 2)).numpy()
        expected = sum(weight * colour for weight, colour in zip(weights, colours, strict=True)) / weights.sum()
        assert features[person].numpy() == pytest.approx(expected, abs=1e-6)
        assert shares[person].numpy() == pytest.approx(weights / weights.sum(), abs=1e-6)
    order = [2, 0, 3, 1]
    again, reordered = method.fused(faces[:, order])
    assert torch.allclose(again, features, atol=1e-6)
    assert torch.allclose(reordered, shares[:, order], atol=1e-6)


@pytest.mark.parametrize("several", [False, True])
def test_one_picture_alone_gives_its_own_feature_which_is_the_recognisers(several: bool) -> None:
    method = build(several=several)
    method.training_step(sets() if several else single())
    faces = sets(3, 2)["source"]
    alone, share = method.fused(faces[:, :1])
    assert torch.equal(share, torch.ones(3, 1))
    assert isinstance(method, TrainsRecogniser)
    recogniser = method.as_recogniser()
    assert torch.allclose(recogniser.features(faces[:, 0]), alone, atol=1e-6)
    assert recogniser.embedding_size == alone.shape[1] == 20
    lengths = alone.norm(dim=1, keepdim=True)
    assert torch.allclose(recogniser.embed(faces[:, 0], CROP), alone / lengths, atol=1e-5)
    assert not any(parameter.requires_grad for parameter in recogniser.parameters())
    method.training_step(sets(seed=4) if several else single(seed=4))
    assert torch.allclose(recogniser.features(faces[:, 0]), alone, atol=1e-6), "the recogniser is a copy"


def test_without_confidences_all_pictures_count_alike() -> None:
    features, shares = build().fused(sets(3, 4)["source"])
    assert torch.equal(shares, torch.full((3, 4), 0.25))
    assert features.shape == (3, 20)


def test_confidences_of_the_encoder_are_positive_and_sum_to_one() -> None:
    shares = build(several=True).fused(sets(3, 5)["source"])[1]
    assert shares.shape == (3, 5)
    assert float(shares.min()) > 0
    assert torch.allclose(shares.sum(1), torch.ones(3))
    assert float(shares.std()) > 0


def test_training_fuses_by_the_same_rule_as_use() -> None:
    method = build(several=True)
    method.generator.eval()
    faces = sets()["source"]
    codes, noise = torch.eye(4)[[2]].expand(3, 1, 4), torch.zeros(3, 1, 3)
    in_training = method.generator(2 * faces - 1, [0], codes, noise)
    assert torch.allclose((in_training[:, 0] + 1) / 2, method.generate_fused(faces), atol=1e-5)
    second = method.generator(2 * faces - 1, [2], codes, noise)
    assert torch.allclose((second[:, 0] + 1) / 2, method.generate(faces[:, 1]), atol=1e-5)


class Coding(nn.Module):
    """A decoder whose picture is grey: the code's numbers times 1, 2, 3, 4, by 10, and the noise's sum by 10."""

    def forward(self, features: Tensor, codes: Tensor, noise: Tensor) -> Tensor:
        grey = (codes @ torch.arange(1.0, 5.0) + noise.sum(1) + features[:, 0]) / 10
        return (2 * grey - 1)[:, None, None, None].expand(-1, 3, 32, 32)


class Naming(nn.Module):
    """An encoder whose feature is ten times the first pixel."""

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        return 10 * (pictures[:, 0, 0, :1] + 1) / 2, torch.ones(len(pictures))


def decoding() -> DrGan:
    method = build()
    method.generator.add_module("encoder", Naming())
    method.generator.add_module("decoder", Coding())
    return method


@pytest.mark.parametrize(
    ("yaw_deg", "expected"),
    [(-60, 0.1), (-45, 0.15), (-37.5, 0.175), (-30, 0.2), (0, 0.3), (15, 0.3 + 0.1 / 3), (45, 0.4)],
)
def test_between_two_poses_the_code_is_interpolated(yaw_deg: float, expected: float) -> None:
    method = decoding()
    assert isinstance(method, TurnsHeads)
    assert method.poses_deg() == POSES_DEG
    faces = torch.zeros(2, 3, 32, 32)
    turned = method.turned(faces, [yaw_deg, 0.0])
    assert turned.shape == (2, 2, 3, 32, 32)
    assert torch.allclose(turned[:, 0], torch.tensor(expected), atol=1e-6)
    assert torch.equal(turned[:, 1], method.generate(faces))
    assert torch.equal(method.generate_fused(faces[:, None], yaw_deg), turned[:, 0])


@pytest.mark.parametrize("yaw_deg", [-61, 45.5, 90, float("nan")])
def test_a_yaw_out_of_range_is_refused_with_the_range(yaw_deg: float) -> None:
    with pytest.raises(ValueError, match=r"to .* degrees: .*from -60 to 45"):
        build().turned(torch.zeros(1, 3, 32, 32), [yaw_deg])


def test_grids_go_from_one_end_to_the_other_in_equal_steps() -> None:
    method = decoding()
    first, second = torch.zeros(2, 3, 32, 32), torch.full((2, 3, 32, 32), 0.4)
    people = method.between_people(first, second, 5, yaw_deg=-60.0)
    assert people.shape == (2, 5, 3, 32, 32)
    assert people[0, :, 0, 0, 0].numpy() == pytest.approx(np.linspace(0.1, 0.5, 5), abs=1e-6)
    noises = method.between_noises(first, 4, seed=3)
    draws = (2 * torch.rand(2, 3, generator=torch.Generator().manual_seed(3)) - 1).sum(1) / 10
    expected = np.linspace(*(0.3 + float(draw) for draw in draws), 4)
    assert noises[1, :, 0, 0, 0].numpy() == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ValueError, match="two faces or more, not 1"):
        method.between_people(first, second, 1)


def test_the_ends_of_a_grid_are_the_faces_themselves() -> None:
    method = build()
    method.training_step(single())
    first, second = sets(2, 2)["source"].unbind(1)
    row = method.between_people(first, second, 3)
    assert torch.allclose(row[:, 0], method.generate(first), atol=1e-5)
    assert torch.allclose(row[:, 2], method.generate(second), atol=1e-5)


def test_generating_uses_running_statistics_and_leaves_everything_as_it_was() -> None:
    method = build()
    method.training_step(single())
    before = copy.deepcopy(method.state_dict())
    faces = single()["target"]
    together = method.generate(faces)
    assert all(module.training for module in method.modules())
    assert unchanged(before, method.state_dict()) == list(before)
    assert torch.allclose(together[:1], method.generate(faces[:1]), atol=1e-5)
    assert together.shape == faces.shape
    assert 0 <= float(together.min()) <= float(together.max()) <= 1


def test_preview_shows_front_poses_and_the_fused_face() -> None:
    columns = build(several=True).preview(sets())
    poses = ["-60 deg", "-30 deg", "+0 deg", "+45 deg"]
    assert list(columns) == ["source", "front", *poses, "fused front", "target"]
    assert {tuple(faces.shape) for faces in columns.values()} == {(3, 3, 32, 32)}
    assert "fused front" not in build().preview(single())


def restated(accuracies: list[float]) -> list[str]:
    """The turns of as many steps, where the discriminator is as often right as said when it learns."""
    turns, strong = [], False
    for batch, accuracy in enumerate(accuracies):
        learns = batch % (5 if strong else 2) == 0
        turns.append("discriminator" if learns else "generator")
        if learns:
            strong = accuracy >= 0.9
    return turns


def taken(method: DrGan, accuracies: list[float], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    turns = []
    for accuracy in accuracies:
        monkeypatch.setattr(
            "facebridge.methods.dr_gan.losses.accuracy", lambda *told, accuracy=accuracy: torch.tensor(accuracy)
        )
        before = copy.deepcopy(dict(method.named_parameters()))
        found = method.training_step(single())
        changed = [name for name, value in method.named_parameters() if not torch.equal(value, before[name])]
        (network,) = {name.split(".")[0] for name in changed}
        assert ("discriminator" in found) == (network == "discriminator")
        assert ("total" in found) == (network == "generator")
        turns.append(network)
    return turns


ACCURACIES = np.random.default_rng(4).choice([0.5, 0.89, 0.9, 1.0], 40).tolist()


def test_adaptive_turns_let_a_strong_discriminator_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    method = build(turns="adaptive")
    assert taken(method, ACCURACIES, monkeypatch) == restated(ACCURACIES)
    assert {"discriminator", "generator"} == set(restated(ACCURACIES))


@pytest.mark.parametrize("after", [1, 3, 7])
def test_turns_go_on_from_a_checkpoint(after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    accuracies = [1.0] * 12
    first = build(turns="adaptive")
    before = taken(first, accuracies[:after], monkeypatch)
    again = build(seed=9, turns="adaptive")
    checkpoints.restore(again, checkpoints.of_method(first, after))
    assert before + taken(again, accuracies[after:], monkeypatch) == restated(accuracies)
    assert restated(accuracies[after:]) != restated(accuracies)[after:]


def test_both_turns_remember_nothing() -> None:
    assert build().memories == {}


@pytest.mark.parametrize(
    ("settings", "batch", "message"),
    [
        (
            {},
            {name: value for name, value in single().items() if name != "target_yaw_deg"},
            r"targets' heads are turned: give a face list with yaw_deg",
        ),
        ({}, single() | {"target_yaw_deg": torch.tensor([0.0, 0.0, float("nan"), 0.0])}, "yaw of a face is not known"),
        ({}, sets(), r"settings\.several=true"),
        ({"several": True}, single(), 'kind = "several"'),
        ({"several": True}, pairs(), 'kind = "several"'),
        ({"pixel_weight": 1.0}, single(), r"same_person or several, or settings\.pixel_weight=0"),
        ({"pixel_weight": 1.0}, pairs() | {"source_identity": torch.tensor([1, 0, 2, 3])}, "of one person"),
    ],
)
def test_a_batch_that_does_not_fit_says_what_to_set(settings: dict[str, Any], batch: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**settings).training_step(batch)


@pytest.mark.parametrize("name", ["adversarial_weight", "classification_weight", "pose_weight", "pixel_weight"])
@pytest.mark.parametrize("weight", [float("inf"), float("nan"), -1.0])
def test_weights_are_finite_and_not_negative(name: str, weight: float) -> None:
    with pytest.raises(ValidationError, match=name):
        build(**{name: weight})


NOTHING = {"adversarial_weight": 0.0, "classification_weight": 0.0, "pose_weight": 0.0}


@pytest.mark.parametrize("settings", [{}, {"version": "cvpr", "adversarial_weight": 1.0}])
def test_a_generator_that_nothing_teaches_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="no loss teaches the generator: set classification_weight"):
        build(**{**NOTHING, **settings})


@pytest.mark.parametrize("settings", [{"adversarial_weight": 1.0}, {"pixel_weight": 1.0}, {"pose_weight": 0.1}])
def test_one_loss_is_enough_for_the_generator(settings: dict[str, Any]) -> None:
    method = build(**{**NOTHING, **settings})
    before = copy.deepcopy(method.generator.state_dict())
    method.training_step(pairs() if "pixel_weight" in settings else single())
    assert not torch.equal(
        before["decoder.to_picture.weight"], method.generator.state_dict()["decoder.to_picture.weight"]
    )


def rounded(exact: Tensor, found: Tensor) -> bool:
    return found.dtype == torch.float32 and float((found - exact).abs().max()) < 0.03 * float(exact.abs().max())


def test_everything_that_it_can_do_it_does_in_bfloat16_too() -> None:
    method = build(several=True)
    method.training_step(sets())
    exact = copy.deepcopy(method.requires_grad_(False))
    set_precision(method, "bfloat16")
    assert method.generator.decoder.spread.weight.dtype == torch.bfloat16
    of_people, first, second = sets(3, 2)["source"], *sets(3, 2)["source"].unbind(1)
    for one, other in zip(exact.fused(of_people), method.fused(of_people), strict=True):
        assert rounded(one, other)
    for name, arguments, options in [
        ("generate", (), {"faces": first}),
        ("turned", (first,), {"yaw_deg": [-60.0, 20.0]}),
        ("turned_fused", (of_people,), {"yaw_deg": [-60.0, 20.0]}),
        ("generate_fused", (of_people,), {"yaw_deg": 20.0}),
        ("between_people", (first, second), {"count": 3, "yaw_deg": 45.0}),
        ("between_noises", (first,), {"count": 3, "seed": 4}),
    ]:
        assert rounded(*(getattr(each, name)(*arguments, **options) for each in (exact, method))), name
    assert rounded(exact.as_recogniser().embed(first, CROP), method.as_recogniser().embed(first, CROP))


@pytest.mark.parametrize("poses_deg", [[0.0], [0.0, 0.0], [30.0, -30.0], [10.0, 20.0], [0.0, float("inf")]])
def test_poses_rise_and_have_a_front(poses_deg: list[float]) -> None:
    with pytest.raises(ValidationError, match="poses"):
        build(poses_deg=poses_deg)


def test_sides_are_multiples_of_sixteen() -> None:
    with pytest.raises(ValueError, match="multiples of 16"):
        DrGan(DrGan.Config(), crops.crop("tp_gan_40"))


def test_people_are_counted_and_too_few_are_refused() -> None:
    config = DrGan.Config()
    assert DrGan.settled(config, steps=5, num_identities=lambda: 7).num_identities == 7
    few = config.model_copy(update={"num_identities": 3})
    with pytest.raises(ValueError, match="show 7 people and settings.num_identities is 3"):
        DrGan.settled(few, steps=5, num_identities=lambda: 7)


def test_yaws_are_wanted() -> None:
    assert build().wants_yaw


def test_the_discriminator_may_weigh_people_otherwise_than_the_generator() -> None:
    found = build(classification_weight=2.0, discriminator_classification_weight=7.0).training_step(single())
    parts = {name: float(loss) for name, loss in found.items()}
    told = parts["discriminator_adversarial"] + 7 * parts["discriminator_identity"] + parts["discriminator_pose"]
    assert parts["discriminator"] == pytest.approx(told, rel=1e-5)
    assert parts["total"] == pytest.approx(parts["adversarial"] + 2 * parts["identity"] + parts["pose"], rel=1e-5)
