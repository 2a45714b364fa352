"""Light CNN and SphereFace: what parity with one input cannot show."""

import pytest
import torch

from facebridge import recognisers, weights
from facebridge.recognisers.light_cnn import MaxFeatureMap, _larger_half

THIN_LIGHT_CNN = {"height": 32, "width": 32, "width_multiplier": 0.125}


def test_max_feature_map_keeps_the_larger_of_each_pair() -> None:
    block = MaxFeatureMap(1, 3, 3)
    x = torch.randn(2, 1, 5, 5)
    doubled = block.conv(x)
    expected = torch.where(doubled[:, :3] > doubled[:, 3:], doubled[:, :3], doubled[:, 3:])
    assert torch.equal(block(x), expected)


@pytest.mark.parametrize("layout", ["light_cnn_9", "light_cnn_29", "light_cnn_29v2"])
def test_classifier_adds_logits_before_the_embedding(layout: str) -> None:
    faces = torch.rand(2, 1, 32, 32)
    network = weights.network(layout, num_classes=7, **THIN_LIGHT_CNN).eval()
    logits, embedding = network(faces)
    assert torch.equal(logits, network.classifier(embedding))
    assert weights.network(layout, **THIN_LIGHT_CNN)(faces).shape == embedding.shape == (2, 32)


def test_light_cnn_sees_gray_alone() -> None:
    recogniser = recognisers.load("light_cnn_9", width_multiplier=0.125)
    faces = torch.rand(2, 3, 128, 128)
    gray = (0.299 * faces[:, 0] + 0.587 * faces[:, 1] + 0.114 * faces[:, 2])[:, None].expand_as(faces)
    assert torch.allclose(recogniser.embed(faces), recogniser.embed(gray), atol=1e-5)
    assert torch.allclose(recogniser.normalise(faces), gray[:, :1], atol=1e-6)


def test_sphereface_takes_blue_first() -> None:
    recogniser = recognisers.load("sphereface_20", width_multiplier=0.125)
    faces = torch.rand(1, 3, 112, 96)
    taken = recogniser.normalise(faces)
    assert torch.allclose(taken[:, 0], (faces[:, 2] * 255 - 127.5) / 128, atol=1e-6)
    assert torch.allclose(taken[:, 2], (faces[:, 0] * 255 - 127.5) / 128, atol=1e-6)


def test_published_names_of_light_cnn_29_are_those_of_29v2_but_for_the_embedding() -> None:
    names = {}
    for layout in ("light_cnn_29", "light_cnn_29v2"):
        with torch.device("meta"):
            state = weights.network(layout, num_classes=3).state_dict()
        names[layout] = set(weights.find(layout).published(state).values())
    differing = names["light_cnn_29"] ^ names["light_cnn_29v2"]
    assert differing == {"fc.weight", "fc.bias", "fc.filter.weight", "fc.filter.bias", "fc2.bias"}


@pytest.mark.parametrize("shape", [(3, 8), (2, 6, 4, 5)])
def test_larger_half_and_its_gradient_are_those_of_the_maximum(shape: tuple[int, ...]) -> None:
    draw = torch.Generator().manual_seed(3)
    x = torch.randn(shape, generator=draw, dtype=torch.float64)
    weights = torch.randn((shape[0], shape[1] // 2, *shape[2:]), generator=draw, dtype=torch.float64)
    one, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    ours, wanted = _larger_half(one), torch.maximum(*other.chunk(2, dim=1))
    assert torch.equal(ours, wanted)
    (ours * weights).sum().backward()
    (wanted * weights).sum().backward()
    assert torch.equal(one.grad, other.grad)
    assert torch.autograd.gradgradcheck(_larger_half, (x[:1, :4].clone().requires_grad_(),))
