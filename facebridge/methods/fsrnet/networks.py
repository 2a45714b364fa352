"""The networks of FSRNet: coarse network, fine encoder, prior network with its heads, fine decoder, discriminator.

Pictures in them have values in [-1, 1]. Numbers of parameters at the published widths: tests/methods/
test_fsrnet_networks.py. Every block is a module with weights of its own.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from facebridge.layers import SLOPE

Norm = Literal["batch", "group"]

NUM_GROUPS = 8
"""Groups of a normalisation by group, or as many of them as divide the channels."""

PRIOR_REDUCTION = 2
"""How many times smaller features and maps are than the pictures."""

STRIDE_OF_DISCRIMINATOR = 16
"""Pixels from one score to the next."""


class Coarse(nn.Module):
    """Enlarged pictures (B, 3, H, W) -> what a few convolutions make of them (B, 3, H, W).

    Args:
        num_filters: channels of the inner convolutions.
        num_blocks: residual blocks.
        norm: how inner convolutions are normalised.
        adds: whether the result is added to the pictures; else it goes through tanh alone, as published.
    """

    def __init__(self, num_filters: int = 64, num_blocks: int = 3, norm: Norm = "batch", adds: bool = False) -> None:
        super().__init__()
        self.adds = adds
        self.stem = nn.Sequential(_reflecting(3, num_filters), _norm(norm, num_filters), nn.ReLU())
        self.blocks = nn.Sequential(*(ResidualBlock(num_filters, norm) for _ in range(num_blocks)))
        self.to_picture = _reflecting(num_filters, 3)

    def forward(self, pictures: Tensor) -> Tensor:
        made: Tensor = self.to_picture(self.blocks(self.stem(pictures)))
        return pictures + made if self.adds else torch.tanh(made)


class FineEncoder(nn.Module):
    """Coarse pictures (B, 3, H, W) -> features (B, num_filters, H / 2, W / 2) in [-1, 1]."""

    def __init__(self, num_filters: int = 64, num_blocks: int = 12, norm: Norm = "batch") -> None:
        super().__init__()
        halving = nn.Conv2d(3, num_filters, 3, stride=2, padding=1, bias=False)
        self.stem = nn.Sequential(halving, _norm(norm, num_filters), nn.ReLU())
        self.blocks = nn.Sequential(*(ResidualBlock(num_filters, norm) for _ in range(num_blocks)))
        self.end = _reflecting(num_filters, num_filters)

    def forward(self, pictures: Tensor) -> Tensor:
        return torch.tanh(self.end(self.blocks(self.stem(pictures))))


class PriorNetwork(nn.Module):
    """Coarse pictures (B, 3, H, W) -> features of the face's shape (B, 2 num_filters, H / 2, W / 2).

    H and W are multiples of 2 ** (1 + depth).

    Args:
        num_filters: channels of the first convolution.
        num_blocks: residual blocks before the hourglasses.
        num_hourglasses: one after the other; none is looked at but the last.
        depth: how often an hourglass halves.
        norm: how convolutions are normalised.
        ends_in_norm: whether the features are normalised too. As published they are not, and at the start of a training
            every hourglass makes them several times larger.
    """

    def __init__(
        self,
        num_filters: int = 64,
        num_blocks: int = 2,
        num_hourglasses: int = 2,
        depth: int = 3,
        norm: Norm = "batch",
        ends_in_norm: bool = False,
    ) -> None:
        super().__init__()
        wide = 2 * num_filters
        halving = nn.Conv2d(3, num_filters, 7, stride=2, padding=3, bias=False)
        self.stem = nn.Sequential(halving, _norm(norm, num_filters), nn.ReLU())
        self.widen = Bottleneck(num_filters, wide, norm)
        self.blocks = nn.Sequential(*(ResidualBlock(wide, norm) for _ in range(num_blocks)))
        self.hourglasses = nn.Sequential(*(Hourglass(wide, depth, norm) for _ in range(num_hourglasses)))
        self.end = _norm(norm, wide) if ends_in_norm else nn.Identity()

    def forward(self, pictures: Tensor) -> Tensor:
        features: Tensor = self.end(self.hourglasses(self.blocks(self.widen(self.stem(pictures)))))
        return features


class PriorHeads(nn.Module):
    """Features (B, C, h, w) -> maps in [-1, 1], as learned: a heat map for each landmark, then a map for each part.

    Args:
        num_features: C.
        num_landmarks, num_parts: how many; 0: none of these.
    """

    def __init__(self, num_features: int = 128, num_landmarks: int = 68, num_parts: int = 11) -> None:
        super().__init__()
        wanted = {"landmarks": num_landmarks, "parts": num_parts}
        self.heads = nn.ModuleDict({name: nn.Conv2d(num_features, num, 1) for name, num in wanted.items() if num})

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat([head(features) for head in self.heads.values()], 1)


class FineDecoder(nn.Module):
    """Features of picture and shape (B, 3 num_filters, h, w) -> pictures (B, 3, 2 h, 2 w).

    Args:
        num_filters: channels of the inner convolutions.
        num_blocks: residual blocks.
        norm: how inner convolutions are normalised.
        ends_in_tanh: as published; else the result is meant to be added to a picture.
    """

    def __init__(
        self, num_filters: int = 64, num_blocks: int = 3, norm: Norm = "batch", ends_in_tanh: bool = True
    ) -> None:
        super().__init__()
        self.ends_in_tanh = ends_in_tanh
        join = nn.Conv2d(3 * num_filters, num_filters, 3, padding=1, bias=False)
        self.join = nn.Sequential(join, _norm(norm, num_filters), nn.ReLU())
        doubling = nn.ConvTranspose2d(num_filters, num_filters, 3, stride=2, padding=1, output_padding=1, bias=False)
        self.enlarge = nn.Sequential(doubling, _norm(norm, num_filters), nn.ReLU())
        self.blocks = nn.Sequential(*(ResidualBlock(num_filters, norm) for _ in range(num_blocks)))
        self.to_picture = _reflecting(num_filters, 3)

    def forward(self, features: Tensor) -> Tensor:
        made: Tensor = self.to_picture(self.blocks(self.enlarge(self.join(features))))
        return torch.tanh(made) if self.ends_in_tanh else made


class Discriminator(nn.Module):
    """Pictures (B, C, H, W) in [-1, 1] -> scores (B, 1, H / 16, W / 16), high for real ones, without a sigmoid.

    That of SRGAN without its dense layers, as FSRNet's ports have it.

    Args:
        in_channels: 3, or 6 where the enlarged source is seen too.
        num_filters: channels of the first convolution; they double with every halving.
        norm: how convolutions but the first are normalised.
    """

    def __init__(self, in_channels: int = 3, num_filters: int = 64, norm: Norm = "batch") -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = in_channels
        for level in range(int(math.log2(STRIDE_OF_DISCRIMINATOR))):
            width = num_filters * 2**level
            layers.append(nn.Conv2d(before, width, 3, padding=1))
            layers += [_norm(norm, width)] if level else []
            layers.append(nn.LeakyReLU(SLOPE))
            layers += [nn.Conv2d(width, width, 3, stride=2, padding=1), _norm(norm, width), nn.LeakyReLU(SLOPE)]
            before = width
        self.layers = nn.Sequential(*layers, nn.Conv2d(before, 1, 3, padding=1))

    def forward(self, pictures: Tensor) -> Tensor:
        scores: Tensor = self.layers(pictures)
        return scores


class ResidualBlock(nn.Module):
    """Two convolutions of 3 x 3, each normalised, added to what came in (B, C, H, W); nothing after the sum."""

    def __init__(self, num_channels: int, norm: Norm = "batch") -> None:
        super().__init__()
        self.first, self.second = (_reflecting(num_channels, num_channels) for _ in range(2))
        self.first_norm, self.second_norm = (_norm(norm, num_channels) for _ in range(2))

    def forward(self, features: Tensor) -> Tensor:
        change: Tensor = functional.relu(self.first_norm(self.first(features)))
        change = self.second_norm(self.second(change))
        return features + change


class Bottleneck(nn.Module):
    """Convolutions of 1 x 1, 3 x 3 and 1 x 1 at half the width, each after its normalisation, and a way around them.

    Features (B, inside, H, W) -> (B, outside, H, W).
    """

    def __init__(self, inside: int, outside: int, norm: Norm = "batch") -> None:
        super().__init__()
        narrow = outside // 2
        self.norms = nn.ModuleList(_norm(norm, width) for width in (inside, narrow, narrow))
        self.convs = nn.ModuleList(
            [nn.Conv2d(inside, narrow, 1), nn.Conv2d(narrow, narrow, 3, padding=1), nn.Conv2d(narrow, outside, 1)]
        )
        self.around = nn.Identity() if inside == outside else nn.Conv2d(inside, outside, 1)

    def forward(self, features: Tensor) -> Tensor:
        change = features
        for norm, conv in zip(self.norms, self.convs, strict=True):
            change = conv(functional.relu(norm(change)))
        around: Tensor = self.around(features)
        return around + change


class Hourglass(nn.Module):
    """Features (B, C, H, W) -> the same size, seen at 1 + depth sizes (Newell et al. 2016)."""

    def __init__(self, num_channels: int, depth: int, norm: Norm = "batch") -> None:
        super().__init__()
        self.around = Bottleneck(num_channels, num_channels, norm)
        self.down = Bottleneck(num_channels, num_channels, norm)
        is_last = depth == 1
        self.inner: nn.Module = (
            Bottleneck(num_channels, num_channels, norm) if is_last else Hourglass(num_channels, depth - 1, norm)
        )
        self.up = Bottleneck(num_channels, num_channels, norm)

    def forward(self, features: Tensor) -> Tensor:
        inner = self.up(self.inner(self.down(functional.max_pool2d(features, 2))))
        around: Tensor = self.around(features)
        return around + functional.interpolate(inner, scale_factor=2, mode="nearest")


def _reflecting(inside: int, outside: int) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, 3, padding=1, padding_mode="reflect", bias=False)


def _norm(norm: Norm, num_channels: int) -> nn.Module:
    if norm == "batch":
        return nn.BatchNorm2d(num_channels)
    return nn.GroupNorm(math.gcd(NUM_GROUPS, num_channels), num_channels)
