"""Light CNN 9, 29 and 29v2 (Wu et al. 2018) for gray 128x128 faces: max-feature-map instead of an activation.

Names and sizes of the published networks: AlfredXiangWu/LightCNN.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from facebridge import crops
from facebridge.crops import Crop
from facebridge.recogniser import Normalisation, RecogniserLayout, fit
from facebridge.weights import dimension, each

STRIDE = 16
"""Input pixels for each pixel of the last feature map."""

PUBLISHED_SIZE = 128
"""Height and width of the published input, in pixels."""

CHANNELS = (48, 96, 192, 128)
EMBEDDING_SIZE = 256
DROPOUT = 0.5
"""Before the classifier."""


@dataclass(frozen=True, kw_only=True)
class Depth:
    """What the published networks differ in."""

    num_residual: tuple[int, int, int, int]
    """Residual blocks before each of the four groups."""
    pooling: Literal["max", "max_and_average"]
    """The sum of both pools in 29v2."""
    has_maximum_embedding: bool
    """Whether the embedding is a max-feature-map of two linear halves, or one linear layer (29v2)."""
    has_classifier_bias: bool


LIGHT_CNN_9 = Depth(num_residual=(0, 0, 0, 0), pooling="max", has_maximum_embedding=True, has_classifier_bias=True)
LIGHT_CNN_29 = Depth(num_residual=(1, 2, 3, 4), pooling="max", has_maximum_embedding=True, has_classifier_bias=True)
LIGHT_CNN_29V2 = Depth(
    num_residual=(1, 2, 3, 4), pooling="max_and_average", has_maximum_embedding=False, has_classifier_bias=False
)


class LightCNN(nn.Module):
    """Gray faces (B, 1, height, width) in [0, 1] -> embeddings (B, 256), or logits and embeddings with a classifier.

    num_classes: identities of the classifier; None: no classifier.

    ValueError: if height or width is not a multiple of 16, or the width multiplier leaves no channels.
    """

    def __init__(
        self,
        depth: Depth,
        *,
        num_classes: int | None = None,
        height: int = PUBLISHED_SIZE,
        width: int = PUBLISHED_SIZE,
        width_multiplier: float = 1.0,
    ) -> None:
        super().__init__()
        if height < STRIDE or width < STRIDE or height % STRIDE or width % STRIDE:
            raise ValueError(f"Light CNN takes faces of a multiple of {STRIDE} pixels, not {height}x{width}")
        if width_multiplier * min(CHANNELS) < 1:
            raise ValueError(f"width multiplier {width_multiplier} leaves no channels")
        self.height, self.width = height, width
        first, *channels = (round(width_multiplier * published) for published in CHANNELS)
        self.embedding_size = round(width_multiplier * EMBEDDING_SIZE)
        self.has_average_pooling = depth.pooling == "max_and_average"
        self.stem = MaxFeatureMap(1, first, 5)
        self.stages = nn.ModuleList()
        before = first
        for after, num_residual in zip((*channels, channels[-1]), depth.num_residual, strict=True):
            self.stages.append(Stage(before, after, num_residual))
            before = after
        in_features = before * (height // STRIDE) * (width // STRIDE)
        self.embedding: nn.Module = (
            MaximumLinear(in_features, self.embedding_size)
            if depth.has_maximum_embedding
            else nn.Linear(in_features, self.embedding_size)
        )
        if num_classes is not None:
            self.classifier = nn.Linear(self.embedding_size, num_classes, bias=depth.has_classifier_bias)

    def forward(self, faces: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self._pool(self.stem(faces))
        first, second, third, fourth = self.stages
        x = self._pool(first(x))
        x = self._pool(second(x))
        x = self._pool(fourth(third(x)))  # (B, 128, height / 16, width / 16)
        embedding: Tensor = self.embedding(x.flatten(1))
        if not hasattr(self, "classifier"):
            return embedding
        return self.classifier(functional.dropout(embedding, DROPOUT, self.training)), embedding

    def _pool(self, x: Tensor) -> Tensor:
        largest = functional.max_pool2d(x, 2, ceil_mode=True)
        return largest + functional.avg_pool2d(x, 2) if self.has_average_pooling else largest


class MaxFeatureMap(nn.Module):
    """Convolution to twice the channels; of each pair, one from either half, the larger stays."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 2 * out_channels, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        return _larger_half(self.conv(x))


class MaximumLinear(nn.Module):
    """Linear layer to twice the features; of each pair, one from either half, the larger stays."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, 2 * out_features)

    def forward(self, x: Tensor) -> Tensor:
        return _larger_half(self.linear(x))


def _larger_half(x: Tensor) -> Tensor:
    """The maximum of the two halves of the channels: (B, 2 C, ...) -> (B, C, ...)."""
    if torch.is_grad_enabled() and x.requires_grad:
        larger: Tensor = _LargerHalf.apply(x)  # type: ignore[no-untyped-call]
        return larger
    return torch.maximum(*x.chunk(2, dim=1))


class _LargerHalf(torch.autograd.Function):
    """torch.maximum of the halves, with a gradient in two operations instead of six; of equal ones the second gets it.

    torch's own spends half of a thin Light CNN's training step.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=1)
        is_first = first > second
        ctx.save_for_backward(is_first)
        return torch.where(is_first, first, second)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (is_first,) = ctx.saved_tensors
        of_first = gradient * is_first
        return torch.cat([of_first, gradient - of_first], dim=1)


class Residual(nn.Module):
    """Two max-feature-maps and a skip."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = MaxFeatureMap(channels, channels, 3)
        self.second = MaxFeatureMap(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.first(x))
        return x + y


class Stage(nn.Module):
    """Residual blocks, then a group: a 1x1 max-feature-map and the 3x3 one that changes the channels."""

    def __init__(self, in_channels: int, out_channels: int, num_residual: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Residual(in_channels) for _ in range(num_residual)))
        self.reduce = MaxFeatureMap(in_channels, in_channels, 1)
        self.conv = MaxFeatureMap(in_channels, out_channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(self.reduce(self.blocks(x)))
        return y


def _published_9(name: str) -> str:
    return _renamed(name, _PUBLISHED_9)


def _published_29(name: str) -> str:
    return _renamed(name, _PUBLISHED_29)


def _renamed(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for ours, published in rules:
        name = re.sub(ours, published, name)
    return name


_PUBLISHED_9 = (
    # There, stem, groups and pools are numbered through as one sequence.
    (r"^stem\.conv\.", "features.0.filter."),
    (r"^stages\.0\.", "features.2."),
    (r"^stages\.1\.", "features.4."),
    (r"^stages\.2\.", "features.6."),
    (r"^stages\.3\.", "features.7."),
    (r"\.reduce\.conv\.", ".conv_a.filter."),
    (r"\.conv\.conv\.", ".conv.filter."),
    (r"^embedding\.linear\.", "fc1.filter."),
    (r"^classifier\.", "fc2."),
)
_PUBLISHED_29 = (
    (r"^stem\.conv\.", "conv1.filter."),
    *((rf"^stages\.{stage}\.blocks\.", f"block{stage + 1}.") for stage in range(len(CHANNELS))),
    *((rf"^stages\.{stage}\.", f"group{stage + 1}.") for stage in range(len(CHANNELS))),
    (r"\.first\.conv\.", ".conv1.filter."),
    (r"\.second\.conv\.", ".conv2.filter."),
    (r"\.reduce\.conv\.", ".conv_a.filter."),
    (r"\.conv\.conv\.", ".conv.filter."),
    (r"^embedding\.linear\.", "fc.filter."),
    (r"^embedding\.", "fc."),
    (r"^classifier\.", "fc2."),
)


def _sizes(state: Mapping[str, Tensor], stem: str, embedding: str) -> dict[str, Any]:
    multiplier = dimension(state, f"{stem}.filter.bias", 0, 2 * CHANNELS[0]) / (2 * CHANNELS[0])
    num_classes = dimension(state, "fc2.weight", 0, dimension(state, "fc2.bias", 0, 0))
    # The embedding tells the picture's area alone: it is square unless the caller says otherwise.
    last = max(1, round(CHANNELS[-1] * multiplier))
    published = last * (PUBLISHED_SIZE // STRIDE) ** 2
    side = STRIDE * max(1, math.isqrt(dimension(state, f"{embedding}.weight", 1, published) // last))
    return {"num_classes": num_classes or None, "height": side, "width": side, "width_multiplier": multiplier}


def _crop(network: nn.Module) -> Crop:
    assert isinstance(network, LightCNN)
    return fit(crops.crop("light_cnn"), network.height, network.width)


def _layout(name: str, depth: Depth, published: Callable[[str], str], stem: str, embedding: str) -> RecogniserLayout:
    return RecogniserLayout(
        name=name,
        build=partial(LightCNN, depth),
        published=each(published),
        sizes=partial(_sizes, stem=stem, embedding=embedding),
        classifier=("fc2.weight", "fc2.bias") if depth.has_classifier_bias else ("fc2.weight",),
        crop=_crop,
        normalisation=Normalisation("gray", (0.0,), (255.0,)),
    )


LAYOUTS = (
    _layout("light_cnn_9", LIGHT_CNN_9, _published_9, "features.0", "fc1.filter"),
    _layout("light_cnn_29", LIGHT_CNN_29, _published_29, "conv1", "fc.filter"),
    _layout("light_cnn_29v2", LIGHT_CNN_29V2, _published_29, "conv1", "fc"),
)
