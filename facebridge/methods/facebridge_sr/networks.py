"""The network of facebridge_sr: a U-Net that knows where in an aligned face it is."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from facebridge.crops import Crop

NUM_LEVELS = 4
"""The crop at a half, a quarter, an eighth and a sixteenth of its sides."""
SMALLEST_PART = 2**NUM_LEVELS


class FaceUNet(nn.Module):
    """Blurred faces (B, 3, H, W) in [-1, 1] at the crop's size -> what must be added to sharpen them, the same shape.

    Args:
        crop: sides must be multiples of 16.
        widths: channels of the four levels, from half the crop's sides to a sixteenth.
        depths: residual blocks of each level, the middle ones once on the way down and once on the way up.
        knows_position: whether each level adds a learned map to its features: in aligned faces an eye lies where eyes
            lie (Liu et al. 2018 give convolutions their coordinates; here every channel learns its own map).
        attends: whether the two deepest levels weigh their channels by each other's likeness, which costs no more at
            larger pictures (transposed attention, Zamir et al. 2022).

    Raises:
        ValueError: if a side is no multiple of 16.
    """

    def __init__(
        self,
        crop: Crop,
        widths: tuple[int, int, int, int],
        depths: tuple[int, int, int, int],
        knows_position: bool,
        attends: bool,
    ) -> None:
        super().__init__()
        if crop.height % SMALLEST_PART or crop.width % SMALLEST_PART:
            raise ValueError(
                f"a crop of {crop.height}x{crop.width} px cannot be halved {NUM_LEVELS} times: choose one whose sides "
                f"are multiples of {SMALLEST_PART}"
            )
        sizes = [(crop.height >> level, crop.width >> level) for level in range(1, NUM_LEVELS + 1)]
        self.stem = nn.Conv2d(12, widths[0], 3, padding=1)
        self.positions = (
            nn.ParameterList(
                nn.Parameter(torch.zeros(1, width, *size)) for width, size in zip(widths, sizes, strict=True)
            )
            if knows_position
            else None
        )
        deepest = NUM_LEVELS - 1
        self.down = nn.ModuleList(_level(widths[level], depths[level], False) for level in range(deepest))
        self.sink = nn.ModuleList(nn.Conv2d(widths[i], widths[i + 1], 2, stride=2) for i in range(deepest))
        self.middle = _level(widths[deepest], depths[deepest], attends)
        self.rise = nn.ModuleList(nn.Conv2d(widths[i + 1], 4 * widths[i], 1) for i in range(deepest))
        self.up = nn.ModuleList(
            _level(widths[level], depths[level], attends and level == deepest - 1) for level in range(deepest)
        )
        self.tail = nn.Conv2d(widths[0], 12, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        assert self.tail.bias is not None
        nn.init.zeros_(self.tail.bias)

    def forward(self, pictures: Tensor) -> Tensor:
        features = self._placed(self.stem(functional.pixel_unshuffle(pictures, 2)), 0)
        left = []
        for level, (blocks, halve) in enumerate(zip(self.down, self.sink, strict=True)):
            features = blocks(features)
            left.append(features)
            features = self._placed(halve(features), level + 1)
        features = self.middle(features)
        for level in reversed(range(NUM_LEVELS - 1)):
            features = functional.pixel_shuffle(self.rise[level](features), 2) + left[level]
            features = self.up[level](features)
        change: Tensor = functional.pixel_shuffle(self.tail(features), 2)
        return change

    def _placed(self, features: Tensor, level: int) -> Tensor:
        return features if self.positions is None else features + self.positions[level]


class Block(nn.Module):
    """Two convolutions with a ReLU between them, added to what came in."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(num_channels, num_channels, 3, padding=1)
        self.second = nn.Conv2d(num_channels, num_channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        change: Tensor = self.second(functional.relu(self.first(features)))
        return features + change


class ChannelAttention(nn.Module):
    """Channels weighed by their likeness over the whole picture, added to what came in (B, C, H, W); one head."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.asked = nn.Conv2d(num_channels, 3 * num_channels, 1, bias=False)
        self.given = nn.Conv2d(num_channels, num_channels, 1, bias=False)
        self.temperature = nn.Parameter(torch.ones(()))
        nn.init.zeros_(self.given.weight)

    def forward(self, features: Tensor) -> Tensor:
        query, key, value = self.asked(features).flatten(2).chunk(3, 1)
        likeness = functional.normalize(query, dim=2) @ functional.normalize(key, dim=2).transpose(1, 2)
        weighed = (likeness * self.temperature).softmax(2).to(value.dtype) @ value
        change: Tensor = self.given(weighed.unflatten(2, features.shape[-2:]))
        return features + change


def _level(num_channels: int, depth: int, attends: bool) -> nn.Sequential:
    blocks: list[nn.Module] = [Block(num_channels) for _ in range(depth)]
    return nn.Sequential(*blocks, *([ChannelAttention(num_channels)] if attends else []))
