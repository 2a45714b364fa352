"""The networks of DR-GAN have the published sizes, and halve and double pictures as TensorFlow does."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from facebridge.methods.dr_gan.networks import (
    Decoder,
    Discriminator,
    Encoder,
    Generator,
    Layer,
    Trunk,
    WayBack,
    fused,
    shares,
)
from tests.methods.translating import num_parameters


def test_parameters_are_as_many_as_published() -> None:
    with torch.device("meta"):
        generator = Generator((96, 96), num_poses=9, noise_size=50)
        assert num_parameters(generator) == 10_100_928
        assert num_parameters(generator.encoder) == 2_861_984
        assert num_parameters(generator.decoder.spread) == 4_377_600
        assert num_parameters(generator.decoder) - num_parameters(generator.decoder.spread) == 2_861_344
        assert num_parameters(Generator((96, 96), 9, 50, weighs=True)) == 10_102_370
        assert num_parameters(Discriminator(200, 9)) == 2_929_394


def test_thin_networks_keep_the_structure() -> None:
    with torch.device("meta"):
        assert num_parameters(Generator((48, 48), num_poses=5, noise_size=10, num_filters=8)) == 428_592
        assert num_parameters(Discriminator(20, 5, num_filters=8)) == 181_922


def convolved(picture: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Stride 2, one pixel at a time, zeros beyond the right and the bottom edge."""
    height, width = picture.shape
    made = np.zeros((height // 2, width // 2))
    for y in range(height // 2):
        for x in range(width // 2):
            for down in range(3):
                for across in range(3):
                    if 2 * y + down < height and 2 * x + across < width:
                        made[y, x] += kernel[down, across] * picture[2 * y + down, 2 * x + across]
    return made


def spread(picture: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Every pixel paints the kernel at twice its place; what falls over the right and the bottom edge is cut off."""
    height, width = picture.shape
    made = np.zeros((2 * height + 1, 2 * width + 1))
    for y in range(height):
        for x in range(width):
            made[2 * y : 2 * y + 3, 2 * x : 2 * x + 3] += picture[y, x] * kernel
    return made[:-1, :-1]


@pytest.mark.parametrize(("kind", "reference"), [(Layer, convolved), (WayBack, spread)])
def test_stride_two_pads_or_crops_at_the_bottom_and_on_the_right(kind: type[nn.Module], reference: object) -> None:
    torch.manual_seed(0)
    layer = kind(1, 1, 2).eval()
    picture = torch.rand(1, 1, 6, 8)
    found = layer(picture)[0, 0].detach().double().numpy()
    plain = reference(picture[0, 0].double().numpy(), layer.conv.weight[0, 0].detach().double().numpy())
    plain = plain / np.sqrt(1 + layer.norm.eps)
    assert found == pytest.approx(np.where(plain > 0, plain, np.expm1(plain)), abs=1e-5)


@pytest.mark.parametrize(("height", "width"), [(32, 48), (16, 16)])
def test_any_multiple_of_sixteen_comes_back(height: int, width: int) -> None:
    generator = Generator((height, width), num_poses=3, noise_size=2, num_filters=1, weighs=True).eval()
    sizes: list[tuple[int, ...]] = []
    for layer in generator.encoder.trunk.layers:
        layer.register_forward_hook(lambda module, given, made: sizes.append(tuple(made.shape[1:])))
    with torch.no_grad():
        made = generator(torch.rand(2, 3, 3, height, width), [0, 2], torch.rand(2, 2, 3), torch.rand(2, 2, 2))
    assert made.shape == (2, 2, 3, height, width)
    assert -1 <= float(made.min()) <= float(made.max()) <= 1
    halvings = [0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    widths = [1, 2, 2, 2, 4, 4, 3, 6, 6, 4, 8, 8, 5, 11]
    assert sizes == [(w, height >> n, width >> n) for w, n in zip(widths, halvings, strict=True)]


def test_an_encoders_feature_is_the_mean_of_its_last_maps() -> None:
    encoder = Encoder(num_filters=1, weighs=True).eval()
    pictures = torch.rand(2, 3, 32, 32)
    features, confidences = encoder(pictures)
    maps = encoder.trunk.layers(pictures).detach().double().numpy()
    assert features.detach().numpy() == pytest.approx(maps[:, :10].mean((2, 3)), abs=1e-6)
    assert confidences.detach().numpy() == pytest.approx(1 / (1 + np.exp(-maps[:, 10].mean((1, 2)))), abs=1e-6)
    assert torch.equal(Encoder(num_filters=1)(pictures)[1], torch.ones(2))


def test_feature_pose_and_noise_all_come_through() -> None:
    torch.manual_seed(0)
    decoder = Decoder((16, 16), num_poses=2, noise_size=3, num_filters=2).eval()
    given = [torch.rand(1, size, requires_grad=True) for size in (20, 2, 3)]
    decoder(*given).square().sum().backward()
    assert all(float(each.grad.abs().min()) > 0 for each in given)


def test_the_discriminator_has_the_encoders_trunk() -> None:
    discriminator = Discriminator(5, 3, num_filters=2).eval()
    trunk: Trunk = discriminator.trunk
    assert {name: tensor.shape for name, tensor in trunk.state_dict().items()} == {
        name: tensor.shape for name, tensor in Encoder(2).trunk.state_dict().items()
    }
    pictures = torch.rand(2, 3, 16, 16)
    (logits,) = discriminator(pictures)
    assert logits.shape == (2, 9)


def test_batches_of_one_call_are_normalised_each_for_itself() -> None:
    torch.manual_seed(0)
    discriminator = Discriminator(5, 3, num_filters=2)
    light, dark = torch.rand(3, 3, 16, 16), 0.1 * torch.rand(2, 3, 16, 16)
    together = discriminator(light, dark)
    for found, pictures in zip(together, (light, dark), strict=True):
        assert torch.allclose(found, discriminator(pictures)[0], atol=1e-6)


def test_shares_are_confidences_by_their_sum() -> None:
    features: Tensor = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]]])
    confidences = torch.tensor([[0.2, 0.2, 0.6]])
    assert torch.allclose(shares(confidences), confidences)
    assert torch.allclose(fused(features, confidences), torch.tensor([[1.4, 1.4]]))
    assert torch.allclose(fused(features, confidences / 2), torch.tensor([[1.4, 1.4]])), "only their ratios count"
