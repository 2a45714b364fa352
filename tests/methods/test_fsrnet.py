"""fsrnet computes the losses of FSRNet and FSRGAN, stage by stage, and generates from any size."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional

from facebridge import checkpoints, crops, recipe, runs, training, vgg, weights
from facebridge.descent import Descent
from facebridge.methods.fsrnet import FsrNet
from facebridge.methods.fsrnet.rmsprop import RmsProp
from tests.drawn import aligned_faces, thin_recogniser
from tests.methods.translating import Scored, Tinted, unchanged
from tests.test_vgg import published

CROP = crops.crop("arcface_32")
TINY = {
    "num_filters": 4,
    "coarse_blocks": 1,
    "encoder_blocks": 1,
    "decoder_blocks": 1,
    "prior_blocks": 1,
    "num_hourglasses": 1,
    "hourglass_depth": 1,
    "discriminator_filters": 2,
    "reductions": (4,),
}
GENERATING = ("coarse", "encoder", "prior", "heads", "decoder")


def build(crop: crops.Crop = CROP, recogniser: bool = False, **settings: object) -> FsrNet:
    frozen = thin_recogniser() if recogniser else None
    torch.manual_seed(0)
    return FsrNet(FsrNet.Config.model_validate({**TINY, **settings}), crop, frozen)


def batch(shared_seed: int = 0, count: int = 2, crop: crops.Crop = CROP) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(4)
    rough = torch.rand(count, 3, 8, 8, generator=draw)
    faces = functional.interpolate(rough, (crop.height, crop.width), mode="bilinear")
    points = 30 * torch.rand(count, 68, 2, generator=draw)
    parsing = torch.randint(0, 11, (count, crop.height, crop.width), dtype=torch.uint8, generator=draw)
    return {
        "target": faces,
        "target_points": points,
        "target_parsing": parsing,
        "shared_seed": torch.tensor(shared_seed),
    }


def enlarged_by_pillow(faces: Tensor, reduction: int) -> Tensor:
    """Reduced and enlarged again, channel by channel; clipped as pictures of eight bits are."""
    made = []
    for channel in faces.flatten(0, 1).numpy():
        height, width = channel.shape
        small = Image.fromarray(channel).resize((width // reduction, height // reduction), Image.Resampling.BICUBIC)
        clipped = Image.fromarray(np.asarray(small).clip(0, 1))
        made.append(np.asarray(clipped.resize((width, height), Image.Resampling.BICUBIC)).clip(0, 1))
    return torch.from_numpy(np.stack(made)).unflatten(0, faces.shape[:2])


def enlarged_by_opencv(faces: Tensor, reduction: int) -> Tensor:
    made = []
    for face in faces.permute(0, 2, 3, 1).numpy():
        height, width = face.shape[:2]
        small = cv2.resize(face, (width // reduction, height // reduction), interpolation=cv2.INTER_CUBIC).clip(0, 1)
        made.append(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1))
    return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2)


class Known(nn.Module):
    """What it was given, whatever it takes."""

    def __init__(self, given: Tensor) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(()))
        self.given = given

    def forward(self, taken: Tensor) -> Tensor:
        return self.given + 0 * self.nothing


def with_known_networks(method: FsrNet, fine: Tensor, maps: Tensor) -> FsrNet:
    """The coarse picture is half the source; the fine picture and the maps are these."""
    features = torch.zeros(len(fine), 8, 16, 16)
    known = {"coarse": Tinted(0.5), "encoder": Known(features), "prior": Known(features)}
    for name, network in {**known, "heads": Known(maps), "decoder": Known(fine)}.items():
        method.add_module(name, network)
    return method


def squared(first: Tensor, second: Tensor) -> list[float]:
    return [(float(a) - float(b)) ** 2 for a, b in zip(first.flatten(), second.flatten(), strict=True)]


def wanted_maps(given: dict[str, Tensor]) -> Tensor:
    """By plain loops, of one landmark and of all parts; values in [-1, 1]."""
    maps = torch.zeros(len(given["target"]), 79, 16, 16)
    for face in range(len(maps)):
        for landmark, (x, y) in enumerate(given["target_points"][face].tolist()):
            for row in range(16):
                for column in range(16):
                    away = (column - ((x + 0.5) / 2 - 0.5)) ** 2 + (row - ((y + 0.5) / 2 - 0.5)) ** 2
                    maps[face, landmark, row, column] = math.exp(-away / (2 * 3.0**2))
        for part in range(11):
            shares = (given["target_parsing"][face] == part).float().reshape(16, 2, 16, 2).mean((1, 3))
            maps[face, 68 + part] = shares
    return 2 * maps - 1


@pytest.mark.parametrize("error", ["mean", "half_sum"])
@pytest.mark.parametrize("antialias", [True, False])
def test_losses_are_those_of_the_paper(error: str, antialias: bool) -> None:
    given = batch()
    draw = torch.Generator().manual_seed(9)
    fine, maps = torch.rand(2, 3, 32, 32, generator=draw), torch.rand(2, 79, 16, 16, generator=draw)
    weights_of = {"coarse_weight": 0.5, "fine_weight": 2.0, "prior_weight": 3.0}
    method = with_known_networks(build(error=error, antialias=antialias, **weights_of), fine, maps)
    source = (enlarged_by_pillow if antialias else enlarged_by_opencv)(given["target"], 4)
    sharp = 2 * given["target"] - 1
    errors = {
        "coarse": squared(0.5 * (2 * source - 1), sharp),
        "prior": squared(maps, wanted_maps(given)),
        "fine": squared(fine, sharp),
    }
    expected = {
        name: sum(each) / len(each) if error == "mean" else sum(each) / (2 * 2) for name, each in errors.items()
    }
    expected["total"] = 0.5 * expected["coarse"] + 3 * expected["prior"] + 2 * expected["fine"]
    found = method.training_step(given)
    assert {name: float(loss) for name, loss in found.items()} == pytest.approx(expected, rel=2e-4)


@pytest.mark.parametrize("sees_source", [False, True])
def test_adversarial_terms_are_cross_entropies(sees_source: bool) -> None:
    given = batch()
    fine = torch.rand(2, 3, 32, 32)
    settings = {"adversarial_weight": 0.25, "discriminator_sees_source": sees_source}
    method = build(**settings, discriminator_descent={"kind": "rmsprop", "learning_rate": 1e-30})
    with_known_networks(method, fine, torch.zeros(2, 79, 16, 16)).add_module("discriminator", Scored(2.0))
    found = method.training_step(given)
    source, sharp = 2 * enlarged_by_pillow(given["target"], 4) - 1, 2 * given["target"] - 1
    real, fake = (
        [
            2 * float(torch.cat([source, shown], 1)[face].mean() if sees_source else shown[face].mean())
            for face in (0, 1)
        ]
        for shown in (sharp, fine)
    )
    crossed = [-math.log(1 / (1 + math.exp(-score))) for score in real]
    crossed += [-math.log(1 - 1 / (1 + math.exp(-score))) for score in fake]
    assert float(found["discriminator"]) == pytest.approx(sum(crossed) / 4, rel=1e-4)
    passed = sum(-math.log(1 / (1 + math.exp(-score))) for score in fake) / 2
    assert float(found["adversarial"]) == pytest.approx(passed, rel=1e-4)
    parts = sum(float(found[name]) for name in ("coarse", "prior", "fine")) + 0.25 * passed
    assert float(found["total"]) == pytest.approx(parts, rel=1e-4)


@pytest.mark.parametrize("normalised", [True, False])
def test_perceptual_loss_is_the_squared_difference_of_relu5_3(tmp_path: Path, normalised: bool) -> None:
    torch.save(published(), tmp_path / "vgg16.pth")
    given = batch()
    fine = torch.rand(2, 3, 32, 32)
    method = build(perceptual_weight=0.1, perceptual_weights=tmp_path / "vgg16.pth", perceptual_normalised=normalised)
    found = with_known_networks(method, fine, torch.zeros(2, 79, 16, 16)).training_step(given)
    network = vgg.read(tmp_path / "vgg16.pth")
    mean, spread = (torch.tensor(values)[:, None, None] for values in (vgg.IMAGENET_MEAN, vgg.IMAGENET_SPREAD))
    faces = ((fine + 1) / 2, given["target"])
    seen = [(face - mean) / spread if normalised else 2 * face - 1 for face in faces]
    each = squared(network(seen[0]), network(seen[1]))
    assert float(found["perceptual"]) == pytest.approx(sum(each) / len(each), rel=1e-3)
    assert not any("vgg" in name for name in method.state_dict())


def test_perceptual_loss_through_a_recogniser_is_one_minus_the_cosine() -> None:
    crop = crops.crop("sphereface")
    method = build(crop, True, perceptual_weight=0.1, perceptual="recogniser", num_parts=0)
    given = batch(crop=crop) | {"target": aligned_faces(2)}
    fine = (2 * aligned_faces(4)[2:] - 1) * 0.9
    method.add_module("decoder", Known(fine))
    found = method.training_step(given)
    assert method.recogniser is not None
    one, other = (method.recogniser.embed(faces, crop) for faces in ((fine + 1) / 2, given["target"]))
    assert float(found["perceptual"]) == pytest.approx(1 - float((one * other).sum(1).mean()), rel=1e-3)


def test_staged_training_changes_the_parts_of_each_stage_alone() -> None:
    method = build(warmup_coarse_steps=1, warmup_prior_steps=2, adversarial_weight=1e-3)
    trained = [{"coarse"}, {"coarse", "prior", "heads"}, {"coarse", "prior", "heads"}, {*GENERATING, "discriminator"}]
    named = [{"coarse"}, *[{"coarse", "prior"}] * 2, {"coarse", "prior", "fine", "adversarial", "discriminator"}]
    for expected, losses in zip(trained, named, strict=True):
        before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
        found = method.training_step(batch())
        still = unchanged(before, method.state_dict())
        assert {name.split(".")[0] for name in before if name not in still} == expected
        assert set(found) == losses | {"total"}


def test_stage_goes_on_from_a_checkpoint() -> None:
    first, second = (build(warmup_coarse_steps=2) for _ in range(2))
    for _ in range(2):
        first.training_step(batch())
    checkpoints.restore(second, checkpoints.of_method(first, 2))
    one, other = first.training_step(batch()), second.training_step(batch())
    assert "fine" in one
    assert {name: float(loss) for name, loss in one.items()} == {name: float(loss) for name, loss in other.items()}


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_two_steps_change_every_tensor(norm: str) -> None:
    method = build(adversarial_weight=1e-3, norm=norm, normalises_features=True)
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    for _ in range(2):
        method.training_step(batch())
    assert unchanged(before, method.state_dict()) == []


def test_same_seed_gives_the_same_bits() -> None:
    one, other = build(), build()
    for method in (one, other):
        method.training_step(batch(shared_seed=3))
    assert unchanged(one.state_dict(), other.state_dict()) == list(one.state_dict())


def test_shared_seed_alone_decides_the_reduction() -> None:
    method = build(reductions=(2, 4), descent={"kind": "rmsprop", "learning_rate": 1e-30})
    losses = [float(method.training_step(batch(seed))["coarse"]) for seed in range(12)]
    again = [float(method.training_step(batch(seed))["coarse"]) for seed in range(12)]
    assert losses == again
    assert len({round(loss, 4) for loss in losses}) == 2


@pytest.mark.parametrize("size", [(8, 8), (5, 9), (32, 32), (64, 48)])
def test_any_size_is_enlarged_to_the_crop(size: tuple[int, int]) -> None:
    method = build().eval()
    faces = torch.rand(3, 3, *size)
    generated = method.generate(faces)
    assert generated.shape == (3, 3, 32, 32)
    assert 0 <= float(generated.min()) <= float(generated.max()) <= 1
    assert torch.allclose(generated, torch.cat([method.generate(face[None]) for face in faces]), atol=1e-5)


def test_generating_in_training_changes_nothing() -> None:
    method = build()
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    method.generate(batch()["target"])
    assert unchanged(before, method.state_dict()) == list(before)
    assert all(module.training for module in method.modules())


def test_estimates_are_the_points_and_parts_of_the_maps() -> None:
    given = batch()
    method = with_known_networks(build(), torch.zeros(2, 3, 32, 32), wanted_maps(given))
    found = method.estimate(given["target"])
    assert torch.allclose(found["points"], given["target_points"], atol=0.05)
    parts = torch.stack([(given["target_parsing"] == part).float() for part in range(11)], 1)
    shares = functional.avg_pool2d(parts, 2)
    chosen = shares.gather(1, found["parsing"].long()[:, None])[:, 0]
    assert torch.equal(chosen, shares.amax(1))


def test_preview_shows_the_stages_and_the_priors_of_every_size() -> None:
    columns = build(reductions=(2, 4)).preview(batch())
    per_size = ("source", "coarse", "generated", "priors")
    assert list(columns) == [*(f"{size} {name}" for size in ("8x8", "16x16") for name in per_size), "target"]
    assert all(shown.shape == (2, 3, 32, 32) for shown in columns.values())
    assert build().source_sizes() == [(8, 8)]


def test_changes_to_the_source_begin_with_none() -> None:
    method = build(adds_to_source=True).eval()
    faces = batch()["target"][:, :, ::4, ::4]
    expected = functional.interpolate(faces, (32, 32), mode="bicubic", antialias=True).clamp(0, 1)
    assert torch.allclose(method.generate(faces), expected, atol=1e-6)
    method.train()
    for _ in range(3):
        method.training_step(batch())
    assert not torch.allclose(method.generate(faces), expected, atol=1e-3)


def test_priors_are_wanted_as_they_are_learned() -> None:
    assert build().wants_points
    assert build().wants_parsing
    landmarks, parts = build(num_parts=0), build(num_landmarks=0)
    assert not landmarks.wants_parsing
    assert not parts.wants_points
    given = batch()
    landmarks.training_step({name: given[name] for name in given if name != "target_parsing"})
    parts.training_step({name: given[name] for name in given if name != "target_points"})
    assert set(landmarks.estimate(given["target"])) == {"coarse", "generated", "points"}
    assert set(parts.estimate(given["target"])) == {"coarse", "generated", "parsing"}


def test_missing_priors_are_named() -> None:
    given = batch()
    with pytest.raises(ValueError, match="68 landmarks of each face are learned and the faces have none"):
        build().training_step({name: given[name] for name in given if name != "target_points"})
    with pytest.raises(ValueError, match="faces are not parsed"):
        build().training_step({name: given[name] for name in given if name != "target_parsing"})
    with pytest.raises(ValueError, match="81 landmarks of each face are learned and the faces have 68"):
        build(num_landmarks=81).training_step(given)


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValidationError, match="landmarks or parts"):
        build(num_landmarks=0, num_parts=0)
    with pytest.raises(ValidationError, match="perceptual_weights"):
        build(perceptual_weight=0.1)
    with pytest.raises(ValueError, match="multiples of 16"):
        build(crops.crop("arcface_40"), hourglass_depth=3)
    with pytest.raises(ValueError, match="cannot be reduced 5 times"):
        build(reductions=(4, 5))
    with pytest.raises(ValueError, match="needs a recogniser"):
        build(perceptual_weight=0.1, perceptual="recogniser").begin(batch)


def test_missing_weights_are_missed_before_training_but_not_in_use(tmp_path: Path) -> None:
    method = build(perceptual_weight=0.1, perceptual_weights=tmp_path / "vgg16.pth")
    with pytest.raises(FileNotFoundError, match=r"vgg16\.pth"):
        method.begin(batch)
    method.generate(batch()["target"])


def test_rmsprop_divides_by_the_mean_size_of_gradients() -> None:
    network = nn.Linear(2, 1, bias=False)
    start = network.weight.detach().clone()
    descent = RmsProp(learning_rate=0.1, square_memory=0.9)
    optimiser = descent.optimiser({"one": network})
    expected, mean = start.clone(), torch.zeros_like(start)
    for step in range(3):
        gradient = torch.tensor([[1.0 + step, -2.0]])
        network.weight.grad = gradient.clone()
        optimiser.step()
        mean = 0.9 * mean + 0.1 * gradient**2
        expected -= 0.1 * gradient / (mean.sqrt() + 1e-8)
    assert torch.allclose(network.weight, expected, atol=1e-6)


def test_optimiser_is_as_published_or_chosen() -> None:
    published_one = build().optimisers["generator"]
    assert isinstance(published_one, torch.optim.RMSprop)
    assert published_one.param_groups[0]["lr"] == 2.5e-4
    chosen = build(
        descent={"kind": "adam", "learning_rate": 1e-3, "momentum": 0.9, "schedule": {"kind": "cosine", "steps": 4}}
    )
    assert isinstance(chosen.optimisers["generator"], torch.optim.Adam)
    config = FsrNet.Config(descent=RmsProp.model_validate({"schedule": {"kind": "cosine"}}))
    settled = FsrNet.settled(config, steps=7, num_identities=lambda: 3)
    assert settled.descent.schedule.steps == 7
    assert isinstance(FsrNet.Config().discriminator_descent, RmsProp)
    assert not isinstance(chosen.config.descent, RmsProp)
    assert isinstance(chosen.config.descent, Descent)


def test_fsrgan_starts_from_the_networks_of_a_trained_fsrnet(tmp_path: Path) -> None:
    table = {
        "method": "fsrnet",
        "crop": CROP.name,
        "settings": TINY,
        "data": {"kind": "synthetic"},
        "training": {"steps": 1, "batch_size": 1},
    }
    run = runs.create(tmp_path / "fsrnet", recipe.resolve(table, "a test"))
    first = build()
    with torch.no_grad():
        for tensor in first.parameters():
            tensor += 1
    weights.write(run.weights, first.state_dict(), {"method": "fsrnet"})
    more = {
        "settings": {**TINY, "adversarial_weight": 1e-3},
        "trained": dict.fromkeys(GENERATING, str(run.folder)),
    }
    second = training.build(recipe.resolve(table | more, "a test"))
    for name, tensor in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], tensor), name
