"""The identity guide: its losses by hand, what moves with what, and where gradients go."""

import pytest
import torch
from torch.nn import functional

from facebridge import crops
from facebridge.identity_guide import IdentityGuide, moved_together
from tests.drawn import thin_recogniser

CROP = crops.crop("sphereface")


@pytest.fixture(scope="module")
def faces() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, 112, 96, generator=generator), torch.rand(2, 3, 112, 96, generator=generator)


def layer_of(recogniser) -> str:
    return next(name for name, module in recogniser.network.named_modules() if isinstance(module, torch.nn.Conv2d))


def test_identity_loss_is_one_less_the_cosine_of_the_embeddings(faces) -> None:
    recogniser = thin_recogniser()
    found = IdentityGuide(recogniser, CROP).compare(*faces)
    first, second = (recogniser.embed(each, CROP) for each in faces)
    assert list(found) == ["identity"]
    assert found["identity"].item() == pytest.approx(1 - (first * second).sum(1).mean().item(), abs=1e-6)


def test_layer_loss_is_the_squared_difference_over_the_mean_square_of_the_sharp_face(faces) -> None:
    recogniser = thin_recogniser()
    name = layer_of(recogniser)
    conv = dict(recogniser.network.named_modules())[name]
    assert conv is next(module for module in recogniser.network.modules() if isinstance(module, torch.nn.Conv2d))
    own = [recogniser.normalise(crops.recrop(each, CROP, recogniser.crop)) for each in faces]
    first, second = conv(own[0]), conv(own[1])
    found = IdentityGuide(recogniser, CROP, [name]).compare(*faces)["layers"]
    wanted = ((first - second) ** 2).mean() / (second**2).mean()
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_equal_faces_are_at_no_distance_even_when_they_are_moved(faces) -> None:
    recogniser = thin_recogniser()
    guide = IdentityGuide(recogniser, CROP, [layer_of(recogniser)], shift_px=3, stretch=0.1)
    found = guide.compare(faces[0], faces[0])
    assert found["identity"].item() == pytest.approx(0, abs=1e-6)
    assert found["layers"].item() == 0


def test_gradients_reach_the_generated_face_alone_and_no_hook_stays(faces) -> None:
    recogniser = thin_recogniser()
    generated, sharp = (each.clone().requires_grad_() for each in faces)
    losses = IdentityGuide(recogniser, CROP, [layer_of(recogniser)], shift_px=1).compare(generated, sharp)
    sum(losses.values()).backward()
    assert float(generated.grad.abs().sum()) > 0
    assert sharp.grad is None
    assert not any(module._forward_hooks for module in recogniser.network.modules())


def test_what_is_finer_than_the_blur_guides_nothing(faces) -> None:
    recogniser = thin_recogniser()
    sharp = faces[1]
    rows, columns = torch.meshgrid(torch.arange(112), torch.arange(96), indexing="ij")
    checkered = sharp + 0.2 * (1 - 2 * ((rows + columns) % 2))
    plain, blurred = (
        IdentityGuide(recogniser, CROP, [layer_of(recogniser)], blur_px=px).compare(checkered, sharp) for px in (0, 2)
    )
    assert float(plain["layers"]) > 1e-3
    assert float(blurred["layers"]) < 1e-2 * float(plain["layers"])


def test_blur_is_a_gaussian_as_a_plain_convolution_makes_it(faces) -> None:
    seen = []
    recogniser = thin_recogniser()
    recogniser.embed = lambda given, crop: seen.append(given) or torch.ones(len(given), 2)
    IdentityGuide(recogniser, CROP, blur_px=1.5).compare(*faces)
    offsets = torch.arange(-5.0, 6.0)
    weights = torch.exp(-offsets.square() / (2 * 1.5**2))
    weights = weights / weights.sum()
    down = sum(weight * faces[1][..., 50 + shift, :] for shift, weight in enumerate(weights))
    wanted = sum(weight * down[..., 40 + shift] for shift, weight in enumerate(weights))
    assert torch.allclose(seen[0][..., 55, 45], wanted, atol=1e-5)


def test_a_layer_that_the_network_does_not_have_is_named() -> None:
    with pytest.raises(ValueError, match="no_such"):
        IdentityGuide(thin_recogniser(), CROP, ["no_such"])


def test_faces_that_move_move_together_and_by_no_more_than_asked() -> None:
    rows = torch.arange(32.0)[:, None].expand(32, 32) / 32
    face = torch.stack([rows, rows.T, rows])[None].repeat(8, 1, 1, 1)
    torch.manual_seed(3)
    first, second = moved_together(face, face + 0.25, 2.0, 0.0)
    assert torch.allclose(second - first, torch.full_like(first, 0.25), atol=1e-5)
    inner = (first - face)[..., 4:-4, 4:-4] * 32  # px by which the ramp has moved
    assert float(inner.abs().max()) <= 2.0 + 1e-3
    shifts = inner[:, 0].mean((1, 2))
    assert float(shifts.std()) > 0.3, "each pair has a draw of its own"


def test_faces_are_not_moved_where_nothing_is_asked(faces) -> None:
    still = moved_together(*faces, 0.0, 0.0)
    for moved, given in zip(still, faces, strict=True):
        assert functional.l1_loss(moved, given).item() < 1e-6
