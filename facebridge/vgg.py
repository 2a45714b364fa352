"""VGG16 (Simonyan and Zisserman, ICLR 2015) up to relu5_3: features that compare how pictures look.

The weights are a file that the user brings, with torchvision's names (vgg16-397923af.pth, or its state dict).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from facebridge import weights
from facebridge.weights import Layout, dimension, each

WIDTHS = ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3))
"""Stages between two poolings: how many times wider than the first convolution, and how many convolutions."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_SPREAD = (0.229, 0.224, 0.225)
"""Of R, G and B in [0, 1]; what published networks took was shifted and divided by them."""


class Vgg16(nn.Module):
    """Normalised pictures (B, 3, H, W) -> relu5_3 (B, 8 num_filters, H / 16, W / 16); see `normalised`.

    Args:
        num_filters: channels of the first convolution.
    """

    def __init__(self, num_filters: int = 64) -> None:
        super().__init__()
        self.convs = nn.ModuleList()
        before = 3
        for factor, count in WIDTHS:
            for _ in range(count):
                self.convs.append(nn.Conv2d(before, factor * num_filters, 3, padding=1))
                before = factor * num_filters

    def forward(self, pictures: Tensor) -> Tensor:
        features = pictures
        for conv, place in zip(self.convs, PLACES, strict=True):
            if place - 1 in POOLINGS:
                features = functional.max_pool2d(features, 2)
            features = functional.relu(conv(features))
        return features


def read(path: Path | str) -> Vgg16:
    """The frozen network of a file with torchvision's names; the classifier in it is left out.

    Raises:
        ValueError: if the file is no weight file, or its tensors are not those of VGG16 (without normalisation).
    """
    state = weights.read(path)
    try:
        converted = weights.convert(LAYOUT.name, state)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    network = Vgg16(dimension(converted, "convs.0.weight", 0, 64))
    network.load_state_dict(converted)
    return network.eval().requires_grad_(False)


def normalised(faces: Tensor) -> Tensor:
    """Faces (B, 3, H, W) in [0, 1] -> what networks trained on ImageNet take."""
    mean, spread = (faces.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_SPREAD))
    return (faces - mean) / spread


def _places() -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Where convolutions and poolings stand among torchvision's `features`, each convolution with its ReLU after it."""
    convs: list[int] = []
    poolings: list[int] = []
    place = 0
    for _, count in WIDTHS:
        convs += [place + 2 * conv for conv in range(count)]
        place += 2 * count
        poolings.append(place)
        place += 1
    return tuple(convs), tuple(poolings)


PLACES, POOLINGS = _places()


def _published(name: str) -> str:
    return re.sub(r"^convs\.(\d+)", lambda found: f"features.{PLACES[int(found[1])]}", name)


def _sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    return {"num_filters": dimension(state, "features.0.weight", 0, 64)}


LAYOUT = Layout(
    name="vgg16_features",
    build=Vgg16,
    published=each(_published),
    sizes=_sizes,
    classifier=tuple(f"classifier.{layer}.{leaf}" for layer in (0, 3, 6) for leaf in ("weight", "bias")),
)
