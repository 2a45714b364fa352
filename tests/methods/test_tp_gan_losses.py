"""TP-GAN's losses are those of the paper, one number at a time, and reach what they should."""

import math

import pytest
import torch
from torch import Tensor

from facebridge import crops
from facebridge.methods.tp_gan.losses import (
    IdentityLoss,
    asymmetry,
    judged,
    laplacian,
    local_loss,
    pixel_loss,
    scales_of,
    symmetry_loss,
    total_variation,
)
from tests.drawn import aligned_faces, thin_recogniser
from tests.methods.translating import l1

WEIGHTS = (1.0, 0.25, 0.5)


def pictures(height: int = 8, width: int = 8, seed: int = 1) -> Tensor:
    return 2 * torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(seed)) - 1


def scales(seed: int = 1) -> list[Tensor]:
    return [pictures(16, 16, seed), pictures(8, 8, seed + 10), pictures(4, 4, seed + 20)]


def laplacian_by_loop(picture: Tensor) -> Tensor:
    """(H, W) -> (H, W)."""
    found = torch.zeros_like(picture)
    height, width = picture.shape
    for y in range(height):
        for x in range(width):
            around = [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
            inside = [picture[row, column] for row, column in around if 0 <= row < height and 0 <= column < width]
            found[y, x] = 8 * picture[y, x] - sum(inside)
    return found


def asymmetry_by_loop(shown: Tensor) -> float:
    """(B, C, H, W)."""
    width = shown.shape[-1]
    values = [
        abs(float(row[x]) - float(row[width - 1 - x])) for row in shown.reshape(-1, width) for x in range(width // 2)
    ]
    return sum(values) / len(values)


def test_scales_are_means_of_blocks() -> None:
    whole, half, quarter = scales_of(pictures())
    assert torch.equal(whole, pictures())
    assert float(half[1, 2, 3, 0]) == pytest.approx(float(whole[1, 2, 6:8, 0:2].mean()), abs=1e-6)
    assert float(quarter[0, 1, 1, 0]) == pytest.approx(float(whole[0, 1, 4:8, 0:4].mean()), abs=1e-6)


def test_pixel_loss_is_the_weighted_mean_absolute_difference_of_every_scale() -> None:
    made, target = scales(1), scales(2)
    expected = sum(weight * l1(one, other) for weight, one, other in zip(WEIGHTS, made, target, strict=True))
    assert float(pixel_loss(made, target, WEIGHTS)) == pytest.approx(expected, abs=1e-5)


def test_local_loss_weighs_each_part() -> None:
    made = [pictures(8, 8, seed) for seed in range(4)]
    zeros = [torch.zeros_like(each) for each in made]
    weights = (1.0, 2.0, 0.5, 3.0)
    expected = sum(weight * l1(one, other) for weight, one, other in zip(weights, made, zeros, strict=True))
    assert float(local_loss(made, zeros, weights)) == pytest.approx(expected, abs=1e-5)


def test_laplacian_is_eight_times_a_pixel_less_its_neighbours() -> None:
    shown = pictures(5, 6)
    assert torch.allclose(laplacian(shown)[1, 2], laplacian_by_loop(shown[1, 2]), atol=1e-5)


def test_symmetry_compares_pixels_at_the_largest_scale_and_laplacians_at_the_others() -> None:
    made = scales()
    expected = WEIGHTS[0] * asymmetry_by_loop(scales_of(made[0])[1])
    for weight, shown in zip(WEIGHTS[1:], made[1:], strict=True):
        filtered = torch.stack([torch.stack([laplacian_by_loop(channel) for channel in face]) for face in shown])
        expected += weight * asymmetry_by_loop(torch.cat([shown, filtered], 1))
    assert float(symmetry_loss(made, WEIGHTS)) == pytest.approx(expected, rel=1e-5)


def test_symmetry_is_zero_for_symmetric_faces() -> None:
    made = [each + each.flip(-1) for each in scales()]
    assert float(symmetry_loss(made, WEIGHTS)) == pytest.approx(0, abs=1e-6)
    assert float(asymmetry(pictures())) > 0.1


def test_only_the_hidden_half_learns_from_symmetry() -> None:
    made = [each.requires_grad_() for each in scales()]
    symmetry_loss(made, WEIGHTS).backward()
    for each in made:
        assert each.grad is not None
        seen, hidden = each.grad.chunk(2, -1)
        assert float(seen.abs().max()) == 0
        assert float(hidden.abs().sum()) > 0


def test_total_variation_is_the_mean_step_down_plus_the_mean_step_across() -> None:
    shown = pictures(4, 5)
    down = [
        abs(float(shown[b, c, y + 1, x] - shown[b, c, y, x]))
        for b in range(2)
        for c in range(3)
        for y in range(3)
        for x in range(5)
    ]
    across = [
        abs(float(shown[b, c, y, x + 1] - shown[b, c, y, x]))
        for b in range(2)
        for c in range(3)
        for y in range(4)
        for x in range(4)
    ]
    assert float(total_variation(shown)) == pytest.approx(sum(down) / len(down) + sum(across) / len(across), abs=1e-5)
    assert float(total_variation(torch.ones(1, 3, 4, 4))) == 0


@pytest.mark.parametrize("label", [0.0, 0.9])
def test_scores_are_judged_by_the_binary_cross_entropy_of_their_label(label: float) -> None:
    scores = torch.tensor([[-2.0, 0.3], [1.7, 4.0]])
    chances = [1 / (1 + math.exp(-score)) for score in scores.ravel().tolist()]
    values = [-label * math.log(chance) - (1 - label) * math.log(1 - chance) for chance in chances]
    assert float(judged(scores, label)) == pytest.approx(sum(values) / 4, abs=1e-5)


def test_a_score_is_best_where_its_chance_is_the_label() -> None:
    best = torch.tensor(math.log(0.9 / 0.1), requires_grad=True)
    judged(best, 0.9).backward()
    assert best.grad is not None
    assert float(best.grad) == pytest.approx(0, abs=1e-6)


def test_identity_loss_is_that_of_the_embedding_and_of_what_goes_into_the_layers() -> None:
    recogniser, crop = thin_recogniser(), crops.crop("sphereface")
    faces = aligned_faces(4)
    made, target = faces[:2], faces[2:]
    network = recogniser.network
    expected, inner = [], []
    for shown in (made, target):
        x = network.blocks(network.stem_depthwise(network.stem(recogniser.normalise(shown))))
        inner.append(network.global_depthwise(network.expand(x)))
        expected.append(network.embedding(inner[-1]).flatten(1))
    found = IdentityLoss(recogniser, crop, ("embedding",))(made, target)
    assert float(found) == pytest.approx(l1(*expected) + l1(*inner), rel=1e-4)
    assert float(IdentityLoss(recogniser, crop, ())(made, target)) == pytest.approx(l1(*expected), rel=1e-4)
    assert float(IdentityLoss(recogniser, crop, ("embedding",))(made, made)) == 0


def test_identity_loss_reaches_the_made_faces_alone() -> None:
    recogniser = thin_recogniser()
    recogniser.requires_grad_(False)
    faces = aligned_faces(4).clone()
    made, target = faces[:2].requires_grad_(), faces[2:].requires_grad_()
    IdentityLoss(recogniser, crops.crop("sphereface"), ("expand",))(made, target).backward()
    assert made.grad is not None
    assert float(made.grad.abs().sum()) > 0
    assert target.grad is None


def test_a_layer_that_the_recogniser_does_not_have_is_refused_with_its_parts() -> None:
    with pytest.raises(ValueError, match="no layer 'pool'.*embedding"):
        IdentityLoss(thin_recogniser(), crops.crop("sphereface"), ("pool",))
