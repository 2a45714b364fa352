"""The networks of DR-GAN: an encoder whose feature recognises, a decoder that is told the pose, and a discriminator.

Encoder and discriminator have the same trunk of 3 x 3 convolutions; the decoder is its mirror image. Convolutions with
stride 2 are padded at the bottom and on the right alone, as TensorFlow's "SAME" does it. Widths are multiples of
`num_filters`: 32 as published, 8 for a quarter of each.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

BLOCKS = ((1, 2), (2, 2, 4), (4, 3, 6), (6, 4, 8), (8, 5, 10))
"""Widths of the trunk's convolutions, in `num_filters`; each block but the first begins with stride 2."""

FEATURE_WIDTH = BLOCKS[-1][-1]
"""Numbers of a feature, in `num_filters`: 320 as published."""

REDUCTION = 2 ** (len(BLOCKS) - 1)
"""How many times smaller the trunk's last features are than its pictures."""


class Generator(nn.Module):
    """Sets of pictures of one person each -> that person at the poses asked for.

    Args:
        size: height and width of the pictures, px, multiples of 16.
        num_poses: Np, numbers of a pose code.
        noise_size: Nz, numbers that vary the pictures.
        num_filters: channels of the first convolution; 32 as published.
        weighs: whether the encoder says how much each picture of a set counts.
    """

    def __init__(
        self, size: tuple[int, int], num_poses: int, noise_size: int, num_filters: int = 32, weighs: bool = False
    ) -> None:
        super().__init__()
        self.encoder = Encoder(num_filters, weighs)
        self.decoder = Decoder(size, num_poses, noise_size, num_filters)

    def forward(self, sets: Tensor, of: Sequence[int], codes: Tensor, noise: Tensor) -> Tensor:
        """Pictures (B, n, 3, H, W) in [-1, 1].

        Args:
            sets: (B, k, 3, H, W) in [-1, 1].
            of: of which feature each of the n pictures is made: 0 the fused one, j the set's j-th picture, from 1.
            codes: (B, n, Np), the poses.
            noise: (B, n, Nz).
        """
        features, confidences = (each.reshape(*sets.shape[:2], *each.shape[1:]) for each in self.encoder(flat(sets)))
        every = torch.cat([fused(features, confidences)[:, None], features], 1)  # (B, 1 + k, D)
        made: Tensor = self.decoder(*(flat(each) for each in (every[:, list(of)], codes, noise)))
        return made.reshape(*codes.shape[:2], *made.shape[1:])


class Encoder(nn.Module):
    """Pictures (N, 3, H, W) in [-1, 1] -> features (N, D) and confidences (N,) in (0, 1), float32.

    D is 10 num_filters. Without `weighs` every confidence is 1. H and W: multiples of 16.
    """

    def __init__(self, num_filters: int = 32, weighs: bool = False) -> None:
        super().__init__()
        self.weighs = weighs
        self.feature_size = FEATURE_WIDTH * num_filters
        self.trunk = Trunk(num_filters, extra=int(weighs))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        pooled = self.trunk(pictures).float()
        features = pooled[:, : self.feature_size]
        if not self.weighs:
            return features, pooled.new_ones(len(pooled))
        return features, torch.sigmoid(pooled[:, self.feature_size])


class FeatureAlone(nn.Module):
    """An encoder as a recogniser's network: pictures (N, 3, H, W) in [-1, 1] -> features (N, D)."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pictures: Tensor) -> Tensor:
        features: Tensor = self.encoder(pictures)[0]
        return features


class Decoder(nn.Module):
    """Features (N, D), pose codes (N, Np) and noise (N, Nz) -> pictures (N, 3, H, W) in [-1, 1]."""

    def __init__(self, size: tuple[int, int], num_poses: int, noise_size: int, num_filters: int = 32) -> None:
        super().__init__()
        feature_size = FEATURE_WIDTH * num_filters
        self.smallest = (feature_size, size[0] // REDUCTION, size[1] // REDUCTION)
        self.spread = nn.Linear(
            feature_size + num_poses + noise_size, feature_size * self.smallest[1] * self.smallest[2]
        )
        *inner, (last, _, _) = [(wide, narrow, stride) for narrow, wide, stride in reversed(list(_plan(num_filters)))]
        self.layers = nn.Sequential(*(WayBack(*sizes) for sizes in inner))
        self.to_picture = nn.ConvTranspose2d(last, 3, 3, padding=1, bias=False)

    def forward(self, features: Tensor, codes: Tensor, noise: Tensor) -> Tensor:
        spread = self.spread(torch.cat([features, codes, noise], 1)).unflatten(1, self.smallest)
        return torch.tanh(self.to_picture(self.layers(spread))).float()


class Discriminator(nn.Module):
    """Batches of pictures (N, 3, H, W) in [-1, 1] -> of each its logits (N, num_identities + 1 + num_poses) float32.

    What the number between identities and poses means, `facebridge.methods.dr_gan.losses` says. Each batch is
    normalised for itself. They come in one call: between two calls several processes share their running statistics,
    in place, and the first call would have no gradient any more.
    """

    def __init__(self, num_identities: int, num_poses: int, num_filters: int = 32) -> None:
        super().__init__()
        self.trunk = Trunk(num_filters)
        self.tell = nn.Linear(FEATURE_WIDTH * num_filters, num_identities + 1 + num_poses)

    def forward(self, *batches: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.tell(self.trunk(pictures)).float() for pictures in batches)


class Trunk(nn.Module):
    """Pictures (N, 3, H, W) -> the means of 10 num_filters + extra maps of H / 16 x W / 16."""

    def __init__(self, num_filters: int = 32, extra: int = 0) -> None:
        super().__init__()
        *inner, (narrow, wide, stride) = _plan(num_filters)
        self.layers = nn.Sequential(*(Layer(*sizes) for sizes in [*inner, (narrow, wide + extra, stride)]))

    def forward(self, pictures: Tensor) -> Tensor:
        means: Tensor = self.layers(pictures).mean((2, 3))
        return means


class Layer(nn.Module):
    """Convolution, normalisation, ELU: (N, in, h, w) -> (N, out, h / stride, w / stride); h and w even for stride 2."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.halves = stride == 2
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride, padding=0 if self.halves else 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, features: Tensor) -> Tensor:
        if self.halves:
            features = functional.pad(features, (0, 1, 0, 1))  # right and bottom
        return functional.elu(self.norm(self.conv(features)))


class WayBack(nn.Module):
    """Transposed convolution, normalisation, ELU: (N, in, h, w) -> (N, out, h stride, w stride)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.doubles = stride == 2
        self.conv = nn.ConvTranspose2d(
            in_channels, out_channels, 3, stride, padding=0 if self.doubles else 1, bias=False
        )
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, features: Tensor) -> Tensor:
        made = self.conv(features)
        if self.doubles:
            made = made[..., :-1, :-1]  # of 2 h + 1 rows and 2 w + 1 columns
        return functional.elu(self.norm(made))


def fused(features: Tensor, confidences: Tensor) -> Tensor:
    """sum_i w_i f_i / sum_i w_i: one feature (B, D) of the features (B, k, D) of a set, with confidences (B, k)."""
    return (shares(confidences)[..., None] * features).sum(1)


def shares(confidences: Tensor) -> Tensor:
    """How much each picture of a set counts: positive confidences (B, k), divided by their sum."""
    return confidences / confidences.sum(1, keepdim=True)


def flat(sets: Tensor) -> Tensor:
    """(B, n, ...) -> (B n, ...)."""
    return sets.flatten(0, 1)


def _plan(num_filters: int) -> Iterator[tuple[int, int, int]]:
    """Of each convolution of the trunk: channels in, channels out, stride."""
    before = 3
    for number, block in enumerate(BLOCKS):
        for place, width in enumerate(block):
            yield before, width * num_filters, 2 if number and not place else 1
            before = width * num_filters
