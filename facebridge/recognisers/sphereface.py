"""SphereFace-20 (Liu et al. 2017) for 112x96 faces: 20 convolutions without batch normalisation.

Names and sizes of the published network: the conversion of the authors' caffe model that SR_LRFR uses.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from facebridge import crops
from facebridge.crops import Crop
from facebridge.recogniser import Normalisation, RecogniserLayout, fit
from facebridge.weights import dimension, each

STRIDE = 16
"""Input pixels for each pixel of the last feature map."""

CHANNELS = (64, 128, 256, 512)
NUM_RESIDUAL = (1, 2, 4, 1)
"""Residual blocks after each strided convolution (Table 2 of the paper, 20 layers)."""

EMBEDDING_SIZE = 512
_RESIDUAL_DEVIATION = 0.01


class SphereFace20(nn.Module):
    """Faces (B, 3, height, width) BGR, (p - 127.5) / 128 -> features (B, embedding_size) of any length.

    ValueError: if height or width is not a multiple of 16, or the width multiplier leaves no channels.
    """

    def __init__(
        self,
        *,
        height: int = 112,
        width: int = 96,
        width_multiplier: float = 1.0,
        embedding_size: int = EMBEDDING_SIZE,
    ) -> None:
        super().__init__()
        if height < STRIDE or width < STRIDE or height % STRIDE or width % STRIDE:
            raise ValueError(f"sphereface_20 takes faces of a multiple of {STRIDE} pixels, not {height}x{width}")
        if width_multiplier * CHANNELS[0] < 1 or embedding_size < 1:
            raise ValueError(f"no network has width multiplier {width_multiplier} and embedding size {embedding_size}")
        self.height, self.width, self.embedding_size = height, width, embedding_size
        self.stages = nn.ModuleList()
        before = 3
        for published, num_residual in zip(CHANNELS, NUM_RESIDUAL, strict=True):
            after = round(width_multiplier * published)
            self.stages.append(Stage(before, after, num_residual))
            before = after
        self.embedding = nn.Linear(before * (height // STRIDE) * (width // STRIDE), embedding_size)
        _initialise(self)

    def forward(self, faces: Tensor) -> Tensor:
        x = faces
        for stage in self.stages:
            x = stage(x)  # height and width are halved
        embedding: Tensor = self.embedding(x.flatten(1))
        return embedding


class Residual(nn.Module):
    """Two convolutions with PReLU, and a skip that is added after the activation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.first_activation = nn.PReLU(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.second_activation = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.first_activation(self.first(x))
        y: Tensor = self.second_activation(self.second(inner))
        return x + y


class Stage(nn.Module):
    """A strided convolution with PReLU, then residual blocks."""

    def __init__(self, in_channels: int, out_channels: int, num_residual: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.activation = nn.PReLU(out_channels)
        self.blocks = nn.Sequential(*(Residual(out_channels) for _ in range(num_residual)))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.blocks(self.activation(self.conv(x)))
        return y


def _initialise(network: SphereFace20) -> None:
    """As the authors: xavier, but residual convolutions normal with deviation 0.01; biases 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            assert module.bias is not None
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, Residual):
            for convolution in (module.first, module.second):
                nn.init.normal_(convolution.weight, 0.0, _RESIDUAL_DEVIATION)


def _crop(network: nn.Module) -> Crop:
    assert isinstance(network, SphereFace20)
    return fit(crops.crop("sphereface"), network.height, network.width)


# There, the layers of all stages are numbered through as one sequence: 3 a stage, a flattening (12), the embedding.
_PUBLISHED_LAYER = {"conv": 0, "activation": 1, "blocks": 2}
_PUBLISHED_RESIDUAL_LAYER = {"first": 0, "first_activation": 1, "second": 2, "second_activation": 3}
_PUBLISHED_EMBEDDING = 13


def _published(name: str) -> str:
    part, *path, tensor = name.split(".")
    if part == "embedding":
        return f"{_PUBLISHED_EMBEDDING}.{tensor}"
    stage, layer, *inner = path
    number = 3 * int(stage) + _PUBLISHED_LAYER[layer]
    if layer != "blocks":
        return f"{number}.{tensor}"
    block, residual_layer = inner
    return f"{number}.{block}.resblock.{_PUBLISHED_RESIDUAL_LAYER[residual_layer]}.{tensor}"


def _sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    return {
        "width_multiplier": dimension(state, "0.weight", 0, CHANNELS[0]) / CHANNELS[0],
        "embedding_size": dimension(state, f"{_PUBLISHED_EMBEDDING}.weight", 0, EMBEDDING_SIZE),
    }


LAYOUTS = (
    RecogniserLayout(
        name="sphereface_20",
        build=SphereFace20,
        published=each(_published),
        sizes=_sizes,
        crop=_crop,
        normalisation=Normalisation("bgr", (127.5,), (128.0,)),
    ),
)
