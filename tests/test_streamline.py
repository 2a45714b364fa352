"""A streamlined recogniser computes what it computed before."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from facebridge import recognisers
from facebridge.recogniser import Recogniser
from facebridge.streamline import channels_last, streamline
from tests.drawn import THIN, aligned_faces, shaken


def embeddings_and_gradients(recogniser: Recogniser) -> tuple[Tensor, Tensor]:
    """Embeddings of faces, and the gradient of a fixed mixture of them with respect to the faces."""
    faces = aligned_faces()[:2]
    faces = nn.functional.interpolate(faces, (recogniser.crop.height, recogniser.crop.width), mode="bilinear")
    faces.requires_grad_(True)
    embeddings = recogniser.embed(faces)
    mixture = torch.rand(embeddings.shape, generator=torch.Generator().manual_seed(0)) - 0.5
    (gradient,) = torch.autograd.grad((embeddings * mixture).sum(), faces)
    return embeddings.detach(), gradient


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("mobile_facenet", THIN),
        ("sphereface_20", {"width_multiplier": 0.125}),
        ("light_cnn_9", {"width_multiplier": 0.25}),
    ],
)
def test_streamlined_recogniser_gives_the_same_embeddings_and_gradients(name: str, sizes: dict[str, Any]) -> None:
    recogniser = recognisers.load(name, **sizes)
    shaken(recogniser)
    embeddings, gradient = embeddings_and_gradients(recogniser)
    assert float(gradient.abs().max()) > 0
    assert streamline(recogniser) is recogniser
    again, gradient_again = embeddings_and_gradients(recogniser)
    assert torch.allclose(again, embeddings, atol=1e-5)
    assert float((gradient_again - gradient).abs().max() / gradient.abs().max()) < 1e-4


def test_streamlined_recogniser_is_frozen_and_has_neither_norm_nor_learning_slopes() -> None:
    recogniser = streamline(recognisers.load("mobile_facenet", **THIN))
    assert not any(parameter.requires_grad for parameter in recogniser.parameters())
    assert not any(isinstance(module, nn.BatchNorm2d | nn.PReLU) for module in recogniser.modules())
    assert not any(module.training for module in recogniser.modules() if isinstance(module, nn.Conv2d))


def test_network_in_training_mode_is_not_streamlined() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    with pytest.raises(AssertionError, match="evaluation mode"):
        streamline(network.train())


@pytest.mark.parametrize("shape", [(2, 4), (2, 4, 5, 3)])
@pytest.mark.parametrize("num_slopes", [1, 4])
def test_fixed_slopes_give_what_prelu_gives(shape: tuple[int, ...], num_slopes: int) -> None:
    slopes = nn.PReLU(num_slopes)
    with torch.no_grad():
        slopes.weight.copy_(torch.linspace(-0.5, 1.5, num_slopes))
    network = nn.Sequential(slopes).eval()
    x = torch.randn(shape)
    wanted = network(x).detach()
    streamline(network)
    assert torch.allclose(network(x), wanted, atol=1e-6)


def test_channels_last_changes_the_layout_and_no_number() -> None:
    conv = nn.Conv2d(3, 4, 3)
    before = conv.weight.detach().clone()
    assert channels_last(conv) is conv
    assert conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(conv.weight, before)
