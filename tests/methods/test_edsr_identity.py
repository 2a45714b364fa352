"""edsr_identity computes the losses of SR_LRFR, and keeps the contract of a method."""

import cv2
import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional

from facebridge import crops
from facebridge.methods.edsr_identity import Edsr, EdsrIdentity, ResidualBlock
from tests.drawn import TINY, aligned_faces, thin_recogniser

CROP = crops.crop("sphereface")
ENLARGEMENT = 4


def build(seed: int = 0, recogniser: bool = True, **settings: object) -> EdsrIdentity:
    frozen = thin_recogniser() if recogniser else None
    torch.manual_seed(seed)
    return EdsrIdentity(EdsrIdentity.Config.model_validate({**TINY, **settings}), CROP, frozen)


def batch(shared_seed: int = 0) -> dict[str, Tensor]:
    return {"target": aligned_faces(2), "shared_seed": torch.tensor(shared_seed)}


class Given(nn.Module):
    """A generator that gives one picture whatever it takes, and remembers the sizes that it took."""

    def __init__(self, picture: Tensor | None = None) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(()))
        self.picture = picture
        self.took: list[tuple[int, ...]] = []

    def forward(self, pictures: Tensor) -> Tensor:
        self.took.append(tuple(pictures.shape[-2:]))
        height, width = pictures.shape[-2:]
        blank = pictures.new_zeros(len(pictures), 3, ENLARGEMENT * height, ENLARGEMENT * width)
        return (blank if self.picture is None else self.picture) + 0 * self.nothing


def put_in(method: EdsrIdentity, generator: nn.Module) -> None:
    method.add_module("generator", generator)


def resized(faces: Tensor, height: int, width: int, kernel: int) -> Tensor:
    """cv2.resize, picture by picture."""
    pictures = [cv2.resize(face.permute(1, 2, 0).numpy(), (width, height), interpolation=kernel) for face in faces]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("reduction", [4, 8, 16])
def test_pixel_loss_is_the_mean_difference_to_the_face_reduced_by_cv2_cubic(reduction: int) -> None:
    method = build(reductions=[reduction], identity_weight=0)
    sharp = aligned_faces(2)
    source = resized(sharp, CROP.height // reduction, CROP.width // reduction, cv2.INTER_CUBIC)
    factor = reduction // ENLARGEMENT
    target = resized(sharp, CROP.height // factor, CROP.width // factor, cv2.INTER_CUBIC)
    with torch.no_grad():
        generated = method.generator(2 * source - 1)
    differences = [abs(float(a) - (2 * float(b) - 1)) for a, b in zip(generated.ravel(), target.ravel(), strict=True)]
    found = method.training_step(batch())
    assert float(found["pixel"]) == pytest.approx(sum(differences) / len(differences), abs=1e-5)
    assert set(found) == {"pixel", "total"}
    assert float(found["total"]) == float(found["pixel"])


@pytest.mark.parametrize("reduction", [4, 16])
def test_identity_loss_is_one_minus_the_cosine_of_the_embeddings(reduction: int) -> None:
    method = build(reductions=[reduction])
    sharp = aligned_faces(2)
    source = resized(sharp, CROP.height // reduction, CROP.width // reduction, cv2.INTER_CUBIC)
    with torch.no_grad():
        generated = (method.generator(2 * source - 1) + 1) / 2
    enlarged = resized(generated, CROP.height, CROP.width, cv2.INTER_LINEAR)
    assert method.recogniser is not None
    network = method.recogniser.network
    with torch.no_grad():
        first, second = (network((faces * 255 - 127.5) / 128).double().numpy() for faces in (enlarged, sharp))
    losses = [1 - a @ b / np.sqrt((a @ a) * (b @ b)) for a, b in zip(first, second, strict=True)]
    found = method.training_step(batch())
    assert float(found["identity"]) == pytest.approx(np.mean(losses), abs=1e-5)
    assert float(found["total"]) == pytest.approx(float(found["pixel"]) + 0.5 * np.mean(losses), abs=1e-5)


def test_losses_are_zero_for_the_same_face() -> None:
    method = build(reductions=[ENLARGEMENT])
    put_in(method, Given(2 * aligned_faces(2) - 1))
    found = method.training_step(batch())
    assert float(found["pixel"]) == 0
    assert float(found["identity"]) == pytest.approx(0, abs=1e-6)


def test_scale_is_drawn_evenly_and_decided_by_the_shared_seed() -> None:
    method = build(recogniser=False, identity_weight=0)
    generator = Given()
    put_in(method, generator)
    num_draws = 300
    for shared_seed in [*range(num_draws), *range(num_draws)]:
        method.training_step({"target": aligned_faces(2)[:1], "shared_seed": torch.tensor(shared_seed)})
    took = generator.took
    assert took[:num_draws] == took[num_draws:]
    shares = {size: took[:num_draws].count(size) / num_draws for size in method.source_sizes()}
    assert set(took) == {(28, 24), (14, 12), (7, 6)}
    deviation = np.sqrt(1 / 3 * 2 / 3 / num_draws)
    assert all(abs(share - 1 / 3) < 4 * deviation for share in shares.values()), shares


def test_two_steps_change_every_trainable_tensor_and_never_the_recogniser() -> None:
    method = build()
    assert method.recogniser is not None
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    judge_before = {name: tensor.clone() for name, tensor in method.recogniser.state_dict().items()}
    for shared_seed in range(2):
        method.training_step(batch(shared_seed))
    assert before.keys() == {name for name, _ in method.named_parameters()}
    assert [name for name, tensor in method.state_dict().items() if torch.equal(tensor, before[name])] == []
    for name, tensor in method.recogniser.state_dict().items():
        assert torch.equal(tensor, judge_before[name]), name
    assert all(parameter.grad is None for parameter in method.recogniser.parameters())


def test_recogniser_is_no_part_of_the_weights() -> None:
    method = build()
    assert method.recogniser is not None
    own = {id(tensor) for tensor in method.recogniser.state_dict(keep_vars=True).values()}
    assert own.isdisjoint(id(tensor) for tensor in method.state_dict(keep_vars=True).values())
    assert own.isdisjoint(id(parameter) for parameter in method.parameters())
    assert all(name.startswith("generator.") for name in method.state_dict())


def test_recogniser_moves_with_the_method() -> None:
    method = build().double()
    assert method.recogniser is not None
    assert {tensor.dtype for tensor in method.recogniser.parameters()} == {torch.float64}


def test_identity_loss_reaches_the_generator() -> None:
    def after_one_step(identity_weight: float) -> Tensor:
        method = build(identity_weight=identity_weight, reductions=[8])
        method.training_step(batch())
        return method.generator.tail.weight.detach()

    assert not torch.equal(after_one_step(0.0), after_one_step(0.5))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 6), (5, 9), (28, 24)])
def test_generate_enlarges_four_times_and_stays_in_range(height: int, width: int) -> None:
    method = build(recogniser=False)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.mul_(20)
    faces = torch.rand(2, 3, height, width)
    generated = method.generate(faces)
    assert generated.shape == (2, 3, ENLARGEMENT * height, ENLARGEMENT * width)
    assert generated.dtype == torch.float32
    assert float(generated.min()) >= 0
    assert float(generated.max()) <= 1
    assert not generated.requires_grad


def test_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    def trained(seed: int) -> dict[str, Tensor]:
        method = build(seed)
        for shared_seed in range(2):
            method.training_step(batch(shared_seed))
        return method.state_dict()

    first, again, other = trained(4), trained(4), trained(5)
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
    assert not all(torch.equal(tensor, other[name]) for name, tensor in first.items())


def test_step_size_is_halved_after_the_asked_steps_one_step_later_than_in_the_published_loop() -> None:
    # The published loop steps its schedule before the optimiser, so that step n of n already runs at half the size
    # (1e-4 for iterations 1 to 24,999). Here the schedule is stepped after the optimiser, as PyTorch asks since 1.1:
    # all n steps run at the full size, and the halving comes with step n + 1.
    every, start = 3, 1e-3
    method = build(recogniser=False, identity_weight=0, halve_every_steps=every, learning_rate=start)
    used = []
    for step in range(2 * every + 1):
        used.append(method.optimisers["generator"].param_groups[0]["lr"])
        method.training_step({"target": aligned_faces(2)[:1], "shared_seed": torch.tensor(step)})
    assert used == pytest.approx([start] * every + [start / 2] * every + [start / 4])


def test_defaults_are_the_published_settings() -> None:
    config = EdsrIdentity.Config()
    assert (config.num_blocks, config.num_filters) == (32, 256)
    assert (config.identity_weight, config.reductions) == (0.5, (4, 8, 16))
    assert (config.learning_rate, config.halve_every_steps) == (1e-4, 25_000)
    adam = build(recogniser=False).optimisers["generator"].param_groups[0]
    assert adam["betas"] == (0.9, 0.999)
    assert adam["weight_decay"] == 0


@pytest.mark.parametrize(
    ("num_blocks", "num_filters", "count"),
    [(32, 256, 43_089_923), (16, 64, 1_517_571), (8, 32, 232_963), (4, 16, 40_323), (2, 8, 8_035)],
)
def test_generator_has_as_many_parameters_as_the_published_one(num_blocks: int, num_filters: int, count: int) -> None:
    with torch.device("meta"):
        generator = Edsr(num_blocks=num_blocks, num_filters=num_filters)
    assert sum(parameter.numel() for parameter in generator.parameters()) == count


@pytest.mark.parametrize("scale", [0, 3, 6])
def test_generator_of_a_scale_that_is_no_power_of_two_is_refused(scale: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        Edsr(scale=scale, num_blocks=1, num_filters=2)


@pytest.mark.parametrize("reductions", [[5], [4, 32], [7, 4]])
def test_reductions_that_do_not_divide_the_crop_are_refused(reductions: list[int]) -> None:
    with pytest.raises(ValueError, match="reductions"):
        build(recogniser=False, reductions=reductions)


def test_reductions_that_the_enlargement_does_not_undo_are_refused() -> None:
    # 14 divides both sides of an arcface crop, but its source, enlarged four times, has the size of no reduced target.
    config = EdsrIdentity.Config.model_validate({**TINY, "reductions": [14]})
    with pytest.raises(ValueError, match="reductions"):
        EdsrIdentity(config, crops.crop("arcface"))


@pytest.mark.parametrize("settings", [{"reductions": []}, {"reductions": [2]}, {"num_blocks": 0}, {"lambda": 1}])
def test_impossible_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        EdsrIdentity.Config.model_validate(settings)


def test_source_sizes_are_the_reduced_crop() -> None:
    assert build(recogniser=False).source_sizes() == [(28, 24), (14, 12), (7, 6)]


def test_preview_shows_source_bicubic_and_generated_of_every_scale_and_the_target() -> None:
    method = build(recogniser=False)
    shown = method.preview(batch())
    assert len(shown) == 3 * len(method.config.reductions) + 1
    for title, faces in shown.items():
        assert faces.shape[:2] == (2, 3), title
        assert float(faces.min()) >= 0, title
        assert float(faces.max()) <= 1, title
    assert shown["7x6 source"].shape[-2:] == (7, 6)
    assert torch.equal(shown["14x12 generated"], method.generate(shown["14x12 source"]))
    assert torch.equal(shown["target"], aligned_faces(2))


def test_residual_branch_counts_a_tenth() -> None:
    block = ResidualBlock(2)
    features = torch.rand(1, 2, 5, 5)
    with torch.no_grad():
        change = functional.conv2d(
            functional.conv2d(features, block.first.weight, block.first.bias, padding=1).clamp(min=0),
            block.second.weight,
            block.second.bias,
            padding=1,
        )
        assert torch.allclose(block(features), features + change / 10, atol=1e-6)
