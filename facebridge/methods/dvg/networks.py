"""Networks of DVG (Fu, Wu, Hu, Huang and He, NeurIPS 2019), as its published code has them."""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from facebridge.subpixel import doubled_conv, folded
from facebridge.weights import Layout, dimension

SMALLEST = 4
"""Height and width of the smallest features, px."""
EPSILON = 1e-3
"""Of the normalisations."""
SLOPE = 0.2
"""Of the leaky ReLUs below 0."""

CODE_SIZE = 128
ENCODER_WIDTHS = (32, 64, 128, 256, 512, 512)
DECODER_WIDTHS = (512, 512, 512, 512, 256, 128, 64)
LAST_BLOCKS = 2


def side(num_changes: int) -> int:
    """Height and width of faces, px, that are halved or doubled so often between them and the smallest features."""
    return int(SMALLEST * 2**num_changes)


class Encoder(nn.Module):
    """Faces (B, 3, H, W) in [0, 1] -> mean and logarithm of the variance of their codes, each (B, code_size).

    Args:
        code_size: numbers of a code.
        widths: channels after the first convolution and after each block. All but the last are followed by a halving,
            so that their number decides the size of the faces: six for 128 px, five for 64 px.
    """

    def __init__(self, code_size: int = CODE_SIZE, widths: Sequence[int] = ENCODER_WIDTHS) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 5, padding=2, bias=False)
        self.blocks = nn.ModuleList(Block(*pair) for pair in itertools.pairwise(widths))
        self.to_code = nn.Linear(widths[-1] * SMALLEST**2, 2 * code_size)

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        features = _active(self.stem(faces))
        for block in self.blocks:
            features = block(functional.avg_pool2d(features, 2))
        mean, log_variance = self.to_code(features.flatten(1)).chunk(2, 1)
        return mean, log_variance


class Decoder(nn.Module):
    """Two codes side by side (B, 2 code_size) -> two faces (B, 6, H, W) in [0, 1], near-infrared first.

    Args:
        code_size: numbers of one code.
        widths: channels of the smallest features and after each stage. Between stages features are doubled, so that
            their number decides the size of the faces: seven for 128 px, six for 64 px.
        last_blocks: blocks of the last stage; the others have one.
    """

    def __init__(
        self, code_size: int = CODE_SIZE, widths: Sequence[int] = DECODER_WIDTHS, last_blocks: int = LAST_BLOCKS
    ) -> None:
        super().__init__()
        self.from_code = nn.Linear(2 * code_size, widths[0] * SMALLEST**2)
        stages = [[Block(*pair, doubles=number > 0)] for number, pair in enumerate(itertools.pairwise(widths))]
        stages[-1] += [Block(widths[-1], widths[-1]) for _ in range(last_blocks - 1)]
        self.stages = nn.ModuleList(nn.Sequential(*blocks) for blocks in stages)
        self.to_pair = nn.Conv2d(widths[-1], 6, 5, padding=2)

    def forward(self, codes: Tensor) -> Tensor:
        features = functional.relu(self.from_code(codes)).reshape(len(codes), -1, SMALLEST, SMALLEST)
        for stage in self.stages:
            features = stage(features)
        return torch.sigmoid(self.to_pair(features))


class Block(nn.Module):
    """Two convolutions of 3 x 3 and a way past them; the sum of both is normalised: (B, C, H, W) -> (B, D, H, W).

    Args:
        in_channels, out_channels: C and D.
        doubles: whether the features are first doubled by repeating each pixel, so that (B, D, 2H, 2W) comes out. What
            would be repeated is computed once, see `facebridge.subpixel`.
    """

    quarters: Tensor | None

    def __init__(self, in_channels: int, out_channels: int, doubles: bool = False) -> None:
        super().__init__()
        self.doubles = doubles
        self.expand = (
            nn.Conv2d(in_channels, out_channels, 1, bias=False) if in_channels != out_channels else nn.Identity()
        )
        self.first = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.second = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.register_buffer("quarters", None, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        past = self.expand(features)
        if self.doubles:
            past = functional.interpolate(past, scale_factor=2.0, mode="nearest")
            change = doubled_conv(features, folded(self.first.weight) if self.quarters is None else self.quarters)
        else:
            change = self.first(features)
        return _active(self.second(_active(change)) + past)

    def keep_folded(self) -> None:
        """Fold the first weights for good; the block must not be trained afterwards."""
        if self.doubles:
            self.quarters = folded(self.first.weight.detach())


def _active(features: Tensor) -> Tensor:
    """Normalised by instance (groups of one channel: quicker than `instance_norm` where memory is channels last)."""
    return functional.leaky_relu(functional.group_norm(features, features.shape[1], eps=EPSILON), SLOPE)


_OF_BLOCK = {"expand": "conv_expand", "first": "conv1", "second": "conv2"}


def _published_encoder(name: str) -> str:
    """There the first convolution, its normalisation, ReLU and pool are 0 to 3; then blocks and pools follow."""
    if found := re.fullmatch(r"blocks\.(\d+)\.(\w+)\.weight", name):
        return f"main.{4 + 2 * int(found[1])}.0.{_OF_BLOCK[found[2]]}.weight"
    return name.replace("stem", "main.0").replace("to_code", "fc")


def _published_decoder(names: Iterable[str]) -> dict[str, str]:
    """There stages and doublings alternate, and the last convolution comes after the last stage."""
    names = list(names)
    last = max(int(found[1]) for name in names if (found := re.match(r"stages\.(\d+)\.", name)))

    def published(name: str) -> str:
        if found := re.fullmatch(r"stages\.(\d+)\.(\d+)\.(\w+)\.weight", name):
            return f"main.{2 * int(found[1])}.{found[2]}.{_OF_BLOCK[found[3]]}.weight"
        return name.replace("from_code", "fc.0").replace("to_pair", f"main.{2 * last + 1}")

    return {name: published(name) for name in names}


def _sizes_of_encoder(state: Mapping[str, Tensor]) -> dict[str, Any]:
    blocks = _widths(state, r"main\.\d*[02468]\.0\.conv2\.weight")
    widths = [dimension(state, "main.0.weight", 0, ENCODER_WIDTHS[0]), *blocks]
    return {
        "code_size": max(1, dimension(state, "fc.bias", 0, 2 * CODE_SIZE) // 2),
        "widths": tuple(widths) if blocks else ENCODER_WIDTHS,
    }


def _sizes_of_decoder(state: Mapping[str, Tensor]) -> dict[str, Any]:
    stages = _widths(state, r"main\.\d*[02468]\.0\.conv2\.weight")
    first = dimension(state, "fc.0.bias", 0, DECODER_WIDTHS[0] * SMALLEST**2) // SMALLEST**2
    last = f"main.{2 * len(stages) - 2}"
    last_blocks = len([name for name in state if re.fullmatch(rf"{re.escape(last)}\.\d+\.conv2\.weight", name)])
    return {
        "code_size": max(1, dimension(state, "fc.0.weight", 1, 2 * CODE_SIZE) // 2),
        "widths": (first, *stages) if stages else DECODER_WIDTHS,
        "last_blocks": max(1, last_blocks) if stages else LAST_BLOCKS,
    }


def _widths(state: Mapping[str, Tensor], pattern: str) -> list[int]:
    """First axes of the tensors whose names match, in the order of the number in them."""
    found = [(int(name.split(".")[1]), tensor) for name, tensor in state.items() if re.fullmatch(pattern, name)]
    return [tensor.shape[0] for _, tensor in sorted(found, key=lambda pair: pair[0]) if tensor.ndim]


LAYOUTS = (
    Layout(
        name="dvg_encoder",
        build=Encoder,
        published=lambda names: {name: _published_encoder(name) for name in names},
        sizes=_sizes_of_encoder,
    ),
    Layout(name="dvg_decoder", build=Decoder, published=_published_decoder, sizes=_sizes_of_decoder),
)
