"""VGG16's layout takes torchvision's names, and computes relu5_3."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from facebridge import vgg, weights

# torchvision's vgg16().features, from its printed form: "M" a pooling, a number a convolution and its ReLU.
FEATURES = [1, 1, "M", 2, 2, "M", 4, 4, 4, "M", 8, 8, 8, "M", 8, 8, 8]


def published(num_filters: int = 2) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    state, place, before = {}, 0, 3
    for layer in FEATURES:
        if layer == "M":
            place += 1
            continue
        width = int(layer) * num_filters
        state[f"features.{place}.weight"] = torch.randn(width, before, 3, 3, generator=draw) / (before * 4.5) ** 0.5
        state[f"features.{place}.bias"] = torch.randn(width, generator=draw) / 10
        place, before = place + 2, width
    for layer in (0, 3, 6):
        state[f"classifier.{layer}.weight"] = torch.zeros(2, 2)
        state[f"classifier.{layer}.bias"] = torch.zeros(2)
    return state


def test_published_width_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        network = vgg.Vgg16()
    assert sum(tensor.numel() for tensor in network.parameters()) == 14_714_688
    assert vgg.PLACES == (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_features_of_a_file_are_relu5_3(tmp_path: Path, suffix: str) -> None:
    state, path = published(), tmp_path / f"vgg16.{suffix}"
    if suffix == "pth":
        torch.save(state, path)
    else:
        weights.write(path, state)
    network = vgg.read(path)
    pictures = torch.randn(2, 3, 48, 32)
    expected, place = pictures, 0
    for layer in FEATURES:
        if layer == "M":
            expected, place = functional.max_pool2d(expected, 2), place + 1
            continue
        kernel, bias = state[f"features.{place}.weight"], state[f"features.{place}.bias"]
        expected, place = functional.conv2d(expected, kernel, bias, padding=1).clamp(min=0), place + 2
    found = network(pictures)
    assert found.shape == (2, 16, 3, 2)
    assert torch.allclose(found, expected, atol=1e-5)
    assert float(found.std()) > 0
    assert not any(tensor.requires_grad for tensor in network.parameters())


def test_other_weights_are_refused_with_the_file_and_the_tensor(tmp_path: Path) -> None:
    state = published()
    del state["features.28.bias"]
    torch.save(state, tmp_path / "vgg16.pth")
    with pytest.raises(ValueError, match=r"vgg16\.pth.*missing: features\.28\.bias"):
        vgg.read(tmp_path / "vgg16.pth")


def test_normalised_faces_are_imagenets() -> None:
    faces = torch.rand(1, 3, 2, 2)
    for channel, (mean, spread) in enumerate([(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]):
        expected = (faces[:, channel] - mean) / spread
        assert torch.allclose(vgg.normalised(faces)[:, channel], expected, atol=1e-6)
