"""MobileFaceNet (Chen et al. 2018) for 112x112 and 112x96 faces.

Names and sizes of the published network: Xiaoccer/MobileFaceNet_Pytorch.
"""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from facebridge import crops
from facebridge.crops import Crop
from facebridge.recogniser import Normalisation, RecogniserLayout, fit
from facebridge.weights import dimension, each

STRIDE = 16
"""Input pixels for each pixel of the last feature map."""

BOTTLENECKS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
"""Table 1 of the paper: expansion, channels, repetitions, stride of the first."""

_STEM, _LAST = 64, 512


class MobileFaceNet(nn.Module):
    """Faces (B, 3, height, width) RGB, (p - 127.5) / 128 -> features (B, embedding_size) of any length.

    ValueError: if height or width is not a multiple of 16, or the width multiplier leaves no channels.
    """

    def __init__(
        self, *, height: int = 112, width: int = 112, width_multiplier: float = 1.0, embedding_size: int = 128
    ) -> None:
        super().__init__()
        if height < STRIDE or width < STRIDE or height % STRIDE or width % STRIDE:
            raise ValueError(f"mobile_facenet takes faces of a multiple of {STRIDE} pixels, not {height}x{width}")
        if width_multiplier * _STEM < 1 or embedding_size < 1:
            raise ValueError(f"no network has width multiplier {width_multiplier} and embedding size {embedding_size}")
        self.height, self.width, self.embedding_size = height, width, embedding_size
        channels = round(_STEM * width_multiplier)
        last = round(_LAST * width_multiplier)
        self.stem = ConvNorm(3, channels, 3, stride=2, padding=1, active=True)
        self.stem_depthwise = ConvNorm(channels, channels, 3, padding=1, groups=channels, active=True)
        self.blocks = nn.Sequential()
        for expansion, published_channels, repetitions, first_stride in BOTTLENECKS:
            out_channels = round(published_channels * width_multiplier)
            for repetition in range(repetitions):
                stride = first_stride if repetition == 0 else 1
                self.blocks.append(Bottleneck(channels, out_channels, stride, expansion))
                channels = out_channels
        self.expand = ConvNorm(channels, last, 1, active=True)
        self.global_depthwise = ConvNorm(last, last, (height // STRIDE, width // STRIDE), groups=last)
        self.embedding = ConvNorm(last, embedding_size, 1)
        _initialise(self)

    def forward(self, faces: Tensor) -> Tensor:
        x = self.blocks(self.stem_depthwise(self.stem(faces)))  # (B, 128, height / 16, width / 16)
        x = self.global_depthwise(self.expand(x))  # (B, 512, 1, 1)
        embedding: Tensor = self.embedding(x).flatten(1)
        return embedding


class ConvNorm(nn.Sequential):
    """Convolution without bias, batch normalisation, and PReLU where active."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | tuple[int, int],
        *,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        active: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        if active:
            self.activation = nn.PReLU(out_channels)


class Bottleneck(nn.Module):
    """Inverted residual: expand, depthwise, project; with a skip where the shape stays."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = in_channels * expansion
        self.has_skip = stride == 1 and in_channels == out_channels
        self.expand = ConvNorm(in_channels, inner, 1, active=True)
        self.depthwise = ConvNorm(inner, inner, 3, stride=stride, padding=1, groups=inner, active=True)
        self.project = ConvNorm(inner, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.has_skip else y


def _initialise(network: nn.Module) -> None:
    """As the published network: normal with the deviation sqrt(2 / (kernel area * output channels)) (He, fan out)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = math.prod(module.kernel_size) * module.out_channels
            nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))


def _crop(network: nn.Module) -> Crop:
    assert isinstance(network, MobileFaceNet)
    base = "arcface" if network.height == network.width else "sphereface"
    return fit(crops.crop(base), network.height, network.width)


_PUBLISHED_STAGES = {
    "stem": "conv1",
    "stem_depthwise": "dw_conv1",
    "expand": "conv2",
    "global_depthwise": "linear7",
    "embedding": "linear1",
}
_PUBLISHED_LEAVES = {"conv": "conv", "norm": "bn", "activation": "prelu"}
# A published bottleneck numbers its layers through: conv, norm and activation of expand, depthwise, project.
_PUBLISHED_FIRST_LAYER = {"expand": 0, "depthwise": 3, "project": 6}
_PUBLISHED_LAYER = {"conv": 0, "norm": 1, "activation": 2}


def _published(name: str) -> str:
    stage, *path, tensor = name.split(".")
    if stage == "blocks":
        block, part, leaf = path
        return f"blocks.{block}.conv.{_PUBLISHED_FIRST_LAYER[part] + _PUBLISHED_LAYER[leaf]}.{tensor}"
    return f"{_PUBLISHED_STAGES[stage]}.{_PUBLISHED_LEAVES[path[0]]}.{tensor}"


def _sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    return {
        "height": STRIDE * dimension(state, "linear7.conv.weight", 2, 7),
        "width": STRIDE * dimension(state, "linear7.conv.weight", 3, 7),
        "width_multiplier": dimension(state, "conv1.conv.weight", 0, _STEM) / _STEM,
        "embedding_size": dimension(state, "linear1.conv.weight", 0, 128),
    }


LAYOUTS = (
    RecogniserLayout(
        name="mobile_facenet",
        build=MobileFaceNet,
        published=each(_published),
        sizes=_sizes,
        crop=_crop,
        normalisation=Normalisation("rgb", (127.5,), (128.0,)),
    ),
)
