"""The networks of TP-GAN: global encoder and decoder, four local paths, identity head, discriminator.

Pictures in them have values in [-1, 1]. Convolutions are padded as TensorFlow's SAME is, which puts the odd pixel at
the right and at the bottom. Numbers of parameters at the published widths: tests/methods/test_tp_gan_networks.py.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from facebridge.layers import SLOPE, Patch
from facebridge.methods.tp_gan.places import BLACK, PARTS, Size, centres, cut, fused

REDUCTION = 16
"""How many times smaller the global encoder's last features are than its pictures."""

PATCH_REDUCTION = 8
"""Likewise those of a local path, in the middle, than its patch."""

SCORES_REDUCTION = 32
"""Likewise the discriminator's scores than its pictures."""

KEPT = 0.3
"""Part of the code's values that the identity head's dropout keeps."""

SPREAD_OF_FIRST_WEIGHTS = 0.02
"""Standard deviation of the published first weights; those of convolutions are cut off at two of them."""

FIRST_BIAS_OF_LINEAR = 0.1
"""What the published biases of linear layers begin as; all others begin as 0."""

FirstWeights = Literal["published", "he"]
"""Normal of one deviation for all layers, or normal by the size of each layer (He et al. 2015)."""


class Local(NamedTuple):
    """What the local paths make of faces."""

    features: Tensor
    """(B, num_filters, H, W), the parts in their places; where several are, the largest value; 0 elsewhere."""
    picture: Tensor
    """(B, 3, H, W), likewise; black elsewhere."""
    parts: tuple[Tensor, ...]
    """The pictures (B, 3, h, w) of the parts, in the order of `PARTS`."""


class Frontal(NamedTuple):
    """What the networks make of faces, values in [-1, 1]."""

    pictures: tuple[Tensor, Tensor, Tensor]
    """The frontal faces (B, 3, h, w), as large as the crop, half and a quarter of it."""
    local: Local | None
    """What the local paths make; None without them."""
    code: Tensor
    """v (B, code_size): what the identity head sees."""


class GlobalPath(nn.Module):
    """Pictures (B, 3, H, W) that show their right cheek -> frontal pictures and v (B, code_size).

    The frontal pictures (B, 3, h, w) are as large as the crop, half and a quarter of it.

    Args:
        size: H and W, multiples of 16.
        num_filters: channels of the outermost convolutions, a multiple of 4.
        code_size: numbers of v.
        noise_size: numbers of noise (B, noise_size) that the decoder takes beside v.
        has_local: whether features and picture of the local paths are taken too.
    """

    def __init__(
        self,
        size: Size = (128, 128),
        num_filters: int = 64,
        code_size: int = 256,
        noise_size: int = 100,
        has_local: bool = True,
    ) -> None:
        super().__init__()
        self.encoder = GlobalEncoder(size, num_filters, code_size)
        self.decoder = GlobalDecoder(size, num_filters, code_size + noise_size, has_local)

    def forward(self, pictures: Tensor, noise: Tensor, *local: Tensor) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
        both = torch.cat([pictures, pictures.flip(-1)], 1)  # (B, 6, H, W)
        features, code = self.encoder(both)
        return self.decoder(both, features, code, noise, list(local)), code


class GlobalEncoder(nn.Module):
    """A picture and its mirror image (B, 6, H, W) -> features of five sizes, largest first, and v (B, code_size)."""

    def __init__(self, size: Size = (128, 128), num_filters: int = 64, code_size: int = 256) -> None:
        super().__init__()
        check_width(num_filters)
        base = num_filters
        self.stem = SameConv(6, base, 7)
        self.stem_block = Residual(base, 7)
        self.stages = nn.ModuleList(
            nn.Sequential(Convolved(inside, outside, kernel, 2), *(Residual(outside, kernel) for _ in range(blocks)))
            for inside, outside, kernel, blocks in [
                (base, base, 5, 1),
                (base, 2 * base, 3, 1),
                (2 * base, 4 * base, 3, 1),
                (4 * base, 8 * base, 3, 4),
            ]
        )
        smallest = (size[0] // REDUCTION) * (size[1] // REDUCTION)
        self.to_code = nn.Linear(8 * base * smallest, 2 * code_size)

    def forward(self, both: Tensor) -> tuple[list[Tensor], Tensor]:
        features = [self.stem_block(functional.leaky_relu(self.stem(both), SLOPE))]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features, torch.maximum(*self.to_code(features[-1].flatten(1)).chunk(2, 1))


class GlobalDecoder(nn.Module):
    """Features, v and noise, with what the local paths found -> frontal pictures, whole, half and quarter size."""

    def __init__(
        self, size: Size = (128, 128), num_filters: int = 64, num_inputs: int = 356, has_local: bool = True
    ) -> None:
        super().__init__()
        check_width(num_filters)
        base = num_filters
        self.smallest = (base, size[0] // REDUCTION, size[1] // REDUCTION)
        self.start = nn.Linear(num_inputs, base * self.smallest[1] * self.smallest[2])
        narrow = [base, base // 2, base // 4, max(base // 8, 1)]
        self.seeds = nn.ModuleList(
            UpConv(inside, outside, stride)
            for inside, outside, stride in zip(narrow, narrow[1:], (4, 2, 2), strict=False)
        )
        self.deepest = nn.Sequential(*(Residual(9 * base, 2) for _ in range(3)))
        self.to_eighth = Level(9 * base, 8 * base, 4 * base, 3)
        self.eighth_blocks = nn.Sequential(*(Residual(12 * base, 3) for _ in range(2)))
        taken = 2 * base + 6 + narrow[1]
        self.to_quarter = Level(12 * base, 4 * base, taken, 3)
        wide = 4 * base + taken
        self.quarter_blocks = nn.Sequential(*(Residual(wide, 3) for _ in range(2)))
        self.quarter_picture = SameConv(wide, 3, 3)
        taken = base + 6 + narrow[2]
        self.to_half = Level(wide, 2 * base, taken, 5)
        wide = 2 * base + taken + 3
        self.half_blocks = nn.Sequential(*(Residual(wide, 3) for _ in range(2)))
        self.half_picture = SameConv(wide, 3, 3)
        taken = base + 6 + narrow[3]
        self.to_whole = Level(wide, base, taken, 7)
        wide = base + taken + (base + 3 if has_local else 0) + 3
        self.whole_blocks = nn.Sequential(
            Residual(wide, 5), Convolved(wide, base, 5), Residual(base, 3), Convolved(base, base // 2, 3)
        )
        self.whole_picture = SameConv(base // 2, 3, 3)

    def forward(
        self, both: Tensor, features: list[Tensor], code: Tensor, noise: Tensor, local: list[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        whole, half, quarter, eighth, deepest = features
        seed = functional.relu(self.start(torch.cat([code, noise.to(code)], 1))).view(-1, *self.smallest)
        seeds = [seed]
        for up in self.seeds:
            seeds.append(functional.relu(up(seeds[-1])))
        both_half = functional.avg_pool2d(both, 2)
        both_quarter = functional.avg_pool2d(both_half, 2)
        x = self.deepest(torch.cat([seed, deepest], 1))
        x = self.eighth_blocks(self.to_eighth(x, [eighth]))
        x = self.quarter_blocks(self.to_quarter(x, [quarter, both_quarter, seeds[1]]))
        quarter_picture = torch.tanh(self.quarter_picture(x))
        x = self.half_blocks(self.to_half(x, [half, both_half, seeds[2]], [_enlarged(quarter_picture)]))
        half_picture = torch.tanh(self.half_picture(x))
        x = self.to_whole(x, [whole, seeds[3], both], [*local, _enlarged(half_picture)])
        return torch.tanh(self.whole_picture(self.whole_blocks(x))), half_picture, quarter_picture


class Level(nn.Module):
    """Features of half the size are enlarged; of others those are selected that matter; the rest is taken as it is."""

    def __init__(self, below: int, above: int, taken: int, kernel: int) -> None:
        super().__init__()
        self.up = UpConv(below, above, 2)
        self.norm = nn.BatchNorm2d(above)
        self.select = Residual(taken, kernel)

    def forward(self, below: Tensor, taken: list[Tensor], more: list[Tensor] | None = None) -> Tensor:
        enlarged = functional.relu(self.norm(self.up(below)))
        return torch.cat([enlarged, self.select(torch.cat(taken, 1)), *(more or [])], 1)


class LocalPaths(nn.Module):
    """Pictures (B, 3, H, W) that show their right cheek, and their five points -> `Local`.

    The path of the eye that may be hidden sees the other eye too.

    Args:
        size: H and W.
        places: where the parts lie in a frontal face, in the order of `PARTS`.
        num_filters: channels of the outermost convolutions.
    """

    def __init__(self, size: Size, places: tuple[Patch, ...], num_filters: int = 64) -> None:
        super().__init__()
        self.size, self.places = size, places
        self.paths = nn.ModuleDict({name: PatchPath(6 if name == "hidden_eye" else 3, num_filters) for name in PARTS})

    def forward(self, pictures: Tensor, points: Tensor) -> Local:
        middles = centres(points)
        sizes = [(place.height, place.width) for place in self.places]
        seen_eye, hidden_eye, *others = (cut(pictures, middles[:, part], size) for part, size in enumerate(sizes))
        shown = [seen_eye, torch.cat([hidden_eye, seen_eye], 1), *others]
        made = [path(patch) for path, patch in zip(self.paths.values(), shown, strict=True)]
        features, parts = [each for each, _ in made], tuple(each for _, each in made)
        places, size = self.places, self.size
        return Local(fused(features, places, size), fused(list(parts), places, size, BLACK), parts)


class PatchPath(nn.Module):
    """A patch (B, in_channels, h, w) -> features (B, num_filters, h, w) and a frontal picture (B, 3, h, w)."""

    def __init__(self, in_channels: int = 3, num_filters: int = 64) -> None:
        super().__init__()
        widths = [num_filters, 2 * num_filters, 4 * num_filters, 8 * num_filters]
        self.stem = SameConv(in_channels, num_filters, 3)
        self.stem_block = Residual(num_filters, 3)
        self.downs = nn.ModuleList(
            nn.Sequential(Convolved(inside, outside, 3, 2), *(Residual(outside, 3) for _ in range(blocks)))
            for inside, outside, blocks in zip(widths, widths[1:], (1, 1, 2), strict=False)
        )
        self.ups = nn.ModuleList(PatchLevel(inside, inside // 2) for inside in reversed(widths[1:]))
        self.to_picture = SameConv(num_filters, 3, 3)

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        kept = [self.stem_block(functional.leaky_relu(self.stem(patches), SLOPE))]
        for down in self.downs:
            kept.append(down(kept[-1]))
        features = kept.pop()
        for up in self.ups:
            features = up(features, kept.pop())
        return features, torch.tanh(self.to_picture(features))


class PatchLevel(nn.Module):
    """Features (B, below, h, w) and those of twice their size (B, above, 2 h, 2 w) -> (B, above, 2 h, 2 w)."""

    def __init__(self, below: int, above: int) -> None:
        super().__init__()
        self.up = UpConv(below, above, 2)
        self.norm = nn.BatchNorm2d(above)
        self.select = Convolved(2 * above, above, 3)
        self.block = Residual(above, 3)

    def forward(self, below: Tensor, kept: Tensor) -> Tensor:
        enlarged = functional.relu(self.norm(self.up(below)))
        features: Tensor = self.block(self.select(torch.cat([enlarged, kept], 1)))
        return features


class IdentityHead(nn.Module):
    """v (B, code_size) -> logits of the training people (B, num_identities)."""

    def __init__(self, code_size: int = 256, num_identities: int = 340) -> None:
        super().__init__()
        self.dropout = nn.Dropout(1 - KEPT)
        self.classifier = nn.Linear(code_size, num_identities)

    def forward(self, code: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.dropout(code))
        return logits


class Discriminator(nn.Module):
    """Batches of pictures (B, 3, H, W) -> of each its scores (B, 1, ceil(H / 32), ceil(W / 32)), high for real ones.

    There is no sigmoid at the end. Each batch is normalised for itself. They come in one call: between two calls
    several processes share their running statistics, in place, and the first call would have no gradient any more.
    """

    def __init__(self, num_filters: int = 64) -> None:
        super().__init__()
        base = num_filters
        self.stem = SameConv(3, base, 3, 2)
        self.inner = nn.Sequential(
            Convolved(base, 2 * base, 3, 2),
            Convolved(2 * base, 4 * base, 3, 2),
            Convolved(4 * base, 8 * base, 3, 2),
            Residual(8 * base, 3),
            Convolved(8 * base, 8 * base, 3, 2),
            Residual(8 * base, 3),
        )
        self.to_scores = SameConv(8 * base, 1, 1)

    def forward(self, *batches: Tensor) -> tuple[Tensor, ...]:
        return tuple(
            self.to_scores(self.inner(functional.leaky_relu(self.stem(pictures), SLOPE))) for pictures in batches
        )


class Residual(nn.Module):
    """Two convolutions, each normalised by batch, added to what came in (B, C, H, W)."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.first, self.first_norm = SameConv(channels, channels, kernel), nn.BatchNorm2d(channels)
        self.second, self.second_norm = SameConv(channels, channels, kernel), nn.BatchNorm2d(channels)

    def forward(self, features: Tensor) -> Tensor:
        change = functional.leaky_relu(self.first_norm(self.first(features)), SLOPE)
        return functional.leaky_relu(features + self.second_norm(self.second(change)), SLOPE)


class Convolved(nn.Module):
    """A convolution, normalised by batch."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv, self.norm = SameConv(inside, outside, kernel, stride), nn.BatchNorm2d(outside)

    def forward(self, features: Tensor) -> Tensor:
        return functional.leaky_relu(self.norm(self.conv(features)), SLOPE)


class SameConv(nn.Conv2d):
    """A convolution (B, C, H, W) -> (B, D, ceil(H / stride), ceil(W / stride)), padded as TensorFlow's SAME is."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int = 1) -> None:
        super().__init__(inside, outside, kernel, stride)

    def forward(self, features: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1 and kernel % 2:
            return functional.conv2d(features, self.weight, self.bias, 1, kernel // 2)
        height, width = (_margins(length, kernel, stride) for length in features.shape[-2:])
        return super().forward(functional.pad(features, (*width, *height)))


class UpConv(nn.ConvTranspose2d):
    """The transpose of a `SameConv` of 3 x 3: (B, C, H, W) -> (B, D, stride H, stride W)."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__(inside, outside, 3, stride, output_padding=max(stride - 3, 0))

    def forward(self, features: Tensor, output_size: list[int] | None = None) -> Tensor:
        height, width = (self.stride[0] * length for length in features.shape[-2:])
        return super().forward(features, output_size)[..., :height, :width]


@torch.no_grad()
def draw_first_weights(network: nn.Module, first_weights: FirstWeights) -> None:
    """Draw the weights of convolutions and linear layers and set their biases; normalisations begin as they are.

    Layers that make pictures are small as published in either case: beyond them tanh would learn nothing.
    """
    for name, module in network.named_modules():
        if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            continue
        if first_weights == "he" and not name.endswith("picture"):
            nn.init.kaiming_normal_(module.weight, SLOPE)
        elif isinstance(module, nn.Conv2d):
            limit = 2 * SPREAD_OF_FIRST_WEIGHTS
            nn.init.trunc_normal_(module.weight, 0.0, SPREAD_OF_FIRST_WEIGHTS, -limit, limit)
        else:
            nn.init.normal_(module.weight, 0.0, SPREAD_OF_FIRST_WEIGHTS)
        if module.bias is not None:
            is_raised = first_weights == "published" and isinstance(module, nn.Linear)
            nn.init.constant_(module.bias, FIRST_BIAS_OF_LINEAR if is_raised else 0.0)


def check_width(num_filters: int) -> None:
    """ValueError: if the narrow layers would have no whole number of channels."""
    if num_filters % 4:
        raise ValueError(f"num_filters is {num_filters}; narrow layers have a half and a quarter: choose 4, 8, 12 ...")


def _margins(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after a row of this length, as TensorFlow's SAME has them."""
    num_out = -(-length // stride)
    total = max((num_out - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2


def _enlarged(pictures: Tensor) -> Tensor:
    return functional.interpolate(pictures, scale_factor=2, mode="bilinear", align_corners=False)
