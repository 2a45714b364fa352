"""Layers that methods share which translate faces: CycleGAN's generator in parts, paths that see a part of a face,
and the PatchGAN discriminator.

J.-Y. Zhu, T. Park, P. Isola and A. A. Efros, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial
Networks", ICCV 2017, and its code; the PatchGAN is that of P. Isola, J.-Y. Zhu, T. Zhou and A. A. Efros, CVPR 2017.
Pictures in networks have values in [-1, 1]: `signed` and `unsigned` are the way there and back.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from facebridge.crops import Crop

SLOPE = 0.2
"""Of the discriminators' leaky ReLU below 0."""

SPREAD_OF_FIRST_WEIGHTS = 0.02
"""Standard deviation of a convolution's first weights, in CycleGAN's and Pix2Pix's code."""

REDUCTION = 4
"""How many times smaller the features of `Encoder` are than its pictures."""

Norm = Literal["instance", "batch", "none"]


class Encoder(nn.Module):
    """Pictures (B, 3, H, W) -> features (B, 4 num_filters, H / 4, W / 4)."""

    def __init__(self, num_filters: int = 64, in_channels: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, num_filters, 7, padding=3, padding_mode="reflect")
        self.first = nn.Conv2d(num_filters, 2 * num_filters, 3, stride=2, padding=1)
        self.second = nn.Conv2d(2 * num_filters, 4 * num_filters, 3, stride=2, padding=1)

    def forward(self, pictures: Tensor) -> Tensor:
        features = functional.relu(functional.instance_norm(self.stem(pictures)))
        features = functional.relu(functional.instance_norm(self.first(features)))
        return functional.relu(functional.instance_norm(self.second(features)))


class ResidualBlock(nn.Module):
    """Two convolutions of 3 x 3, each normalised by instance, added to what came in (B, C, H, W)."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(num_channels, num_channels, 3, padding=1, padding_mode="reflect")
        self.second = nn.Conv2d(num_channels, num_channels, 3, padding=1, padding_mode="reflect")

    def forward(self, features: Tensor) -> Tensor:
        change = functional.relu(functional.instance_norm(self.first(features)))
        return features + functional.instance_norm(self.second(change))


class Decoder(nn.Module):
    """Features (B, 4 num_filters, h, w) -> features (B, num_filters, 4 h, 4 w)."""

    def __init__(self, num_filters: int = 64) -> None:
        super().__init__()
        self.first = nn.ConvTranspose2d(4 * num_filters, 2 * num_filters, 3, stride=2, padding=1, output_padding=1)
        self.second = nn.ConvTranspose2d(2 * num_filters, num_filters, 3, stride=2, padding=1, output_padding=1)

    def forward(self, features: Tensor) -> Tensor:
        features = functional.relu(functional.instance_norm(self.first(features)))
        return functional.relu(functional.instance_norm(self.second(features)))


class Patch(NamedTuple):
    """Where a local path looks: pixels of the crop."""

    top: int
    left: int
    height: int
    width: int

    @classmethod
    def centred(cls, x: float, y: float, height: int, width: int, crop: Crop) -> "Patch":
        """The patch of this size about a point of the crop; where it would leave the crop it is moved inwards."""
        # Pixel centres are whole numbers, so that the picture begins at -0.5.
        top, left = round(y + 0.5 - height / 2), round(x + 0.5 - width / 2)
        return cls(min(max(top, 0), crop.height - height), min(max(left, 0), crop.width - width), height, width)

    def of(self, pictures: Tensor) -> Tensor:
        """The patch of pictures (B, C, H, W): a view (B, C, height, width)."""
        return pictures[..., self.top : self.top + self.height, self.left : self.left + self.width]

    def among_zeros(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """Features (B, C, height, width) in their place among zeros: (B, C, *size)."""
        right, bottom = size[1] - self.left - self.width, size[0] - self.top - self.height
        return functional.pad(features, (self.left, right, self.top, bottom))


class LocalPath(nn.Module):
    """A patch (B, 3, h, w) in [-1, 1] -> features (B, num_filters, h, w), none below 0."""

    def __init__(self, num_filters: int = 64, num_blocks: int = 2) -> None:
        super().__init__()
        wide, wider = 2 * num_filters, 4 * num_filters
        self.stem = nn.Conv2d(3, num_filters, 3, padding=1)
        self.first = nn.Conv2d(num_filters, wide, 3, stride=2, padding=1)
        self.second = nn.Conv2d(wide, wider, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(*(ResidualBlock(wider) for _ in range(num_blocks)))
        self.up_first = nn.ConvTranspose2d(wider, wide, 3, stride=2, padding=1, output_padding=1)
        self.up_second = nn.ConvTranspose2d(2 * wide, num_filters, 3, stride=2, padding=1, output_padding=1)
        self.join = nn.Conv2d(2 * num_filters, num_filters, 3, padding=1)

    def forward(self, patches: Tensor) -> Tensor:
        whole = normalised(self.stem(patches))
        half = normalised(self.first(whole))
        inner = self.blocks(normalised(self.second(half)))
        back = normalised(self.up_second(torch.cat([normalised(self.up_first(inner)), half], 1)))
        return functional.relu(self.join(torch.cat([back, whole], 1)))


class ToPicture(nn.Module):
    """Features (B, num_filters, H, W) -> a picture (B, 3, H, W) in [-1, 1]."""

    def __init__(self, num_filters: int = 64) -> None:
        super().__init__()
        self.conv = nn.Conv2d(num_filters, 3, 7, padding=3, padding_mode="reflect")

    def forward(self, features: Tensor) -> Tensor:
        return torch.tanh(self.conv(features))


class ResnetGenerator(nn.Module):
    """CycleGAN's generator: pictures (B, 3, H, W) in [-1, 1] -> the same; H and W multiples of 4.

    Args:
        num_blocks: residual blocks; 9 as published for 256 px, 6 for 128 px.
        num_filters: channels of the first convolution.
    """

    def __init__(self, num_blocks: int = 9, num_filters: int = 64) -> None:
        super().__init__()
        self.encoder = Encoder(num_filters)
        self.blocks = nn.Sequential(*(ResidualBlock(4 * num_filters) for _ in range(num_blocks)))
        self.decoder = Decoder(num_filters)
        self.to_picture = ToPicture(num_filters)

    def forward(self, pictures: Tensor) -> Tensor:
        made: Tensor = self.to_picture(self.decoder(self.blocks(self.encoder(pictures))))
        return made


class PatchGan(nn.Module):
    """Pictures (B, C, H, W) in [-1, 1] -> scores of overlapping patches (B, 1, h, w), high for real ones.

    With three layers a score sees 70 x 70 px. No sigmoid at the end.

    Args:
        in_channels: 3, or 6 where source and target are judged together.
        num_filters: channels of the first convolution; they double, up to eight times.
        num_layers: convolutions with stride 2.
        norm: how the inner convolutions are normalised; they have a bias unless it is by batch, as published.
    """

    def __init__(
        self, in_channels: int = 3, num_filters: int = 64, num_layers: int = 3, norm: Norm = "instance"
    ) -> None:
        super().__init__()
        widths = [in_channels, *(num_filters * min(2**depth, 8) for depth in range(num_layers + 1)), 1]
        last = len(widths) - 2
        self.convs = nn.ModuleList()
        self.norms = nn.ModuleList()
        for depth in range(last + 1):
            is_inner = 0 < depth < last
            bias = not (is_inner and norm == "batch")
            stride = 2 if depth < num_layers else 1
            self.convs.append(nn.Conv2d(widths[depth], widths[depth + 1], 4, stride, padding=1, bias=bias))
            if is_inner:
                self.norms.append(_norm(norm, widths[depth + 1]))

    def forward(self, pictures: Tensor) -> Tensor:
        features = functional.leaky_relu(self.convs[0](pictures), SLOPE)
        for conv, norm in zip(self.convs[1:-1], self.norms, strict=True):
            features = functional.leaky_relu(norm(conv(features)), SLOPE)
        scores: Tensor = self.convs[-1](features)
        return scores


def normalised(features: Tensor) -> Tensor:
    """Features (B, C, H, W) normalised by instance, none below 0."""
    return functional.relu(functional.instance_norm(features))


def signed(faces: Tensor) -> Tensor:
    """Faces in [0, 1] -> what networks take, in [-1, 1]."""
    return faces * 2 - 1


def unsigned(pictures: Tensor) -> Tensor:
    """What networks give, in [-1, 1] -> faces in [0, 1]."""
    return (pictures + 1) / 2


@torch.no_grad()
def scatter_weights(network: nn.Module) -> None:
    """First weights as CycleGAN's and Pix2Pix's code draws them: N(0, 0.02), normalisations N(1, 0.02), biases 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, SPREAD_OF_FIRST_WEIGHTS)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, SPREAD_OF_FIRST_WEIGHTS)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)


@contextmanager
def in_use(networks: nn.Module, noise: bool, own_statistics: bool) -> Iterator[None]:
    """Dropout and batch normalisations as `generate` wants them; afterwards as they were, running means untouched.

    Args:
        networks: who generates.
        noise: whether dropout goes on dropping.
        own_statistics: whether faces are normalised by those given together, not by the means of the training.
    """
    modes = {module: module.training for module in networks.modules()}
    norms = [module for module in modes if isinstance(module, nn.BatchNorm2d)]
    networks.eval()
    for module in modes:
        if isinstance(module, nn.Dropout):
            module.train(noise)
    for norm in norms:
        norm.track_running_stats = not own_statistics
        norm.train(own_statistics)
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
        for module, mode in modes.items():
            module.training = mode


def _norm(norm: Norm, num_channels: int) -> nn.Module:
    if norm == "batch":
        return nn.BatchNorm2d(num_channels)
    return nn.InstanceNorm2d(num_channels) if norm == "instance" else nn.Identity()
