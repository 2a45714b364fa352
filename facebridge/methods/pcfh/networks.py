"""Networks of PCFH (IJCAI 2019). The paper gives the patches' sizes and that paths are joined by max-out; the layers
are recommended ones, TP-GAN's fusion with CycleGAN's blocks; docs/methods/pcfh.md says which is which."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from facebridge.crops import Crop
from facebridge.layers import REDUCTION, SLOPE, Decoder, Encoder, LocalPath, Patch, ResidualBlock, ToPicture, normalised

_MOUTH = (3, 4)  # of the five points


def patches(
    crop: Crop, eye: tuple[int, int], nose: tuple[int, int], mouth: tuple[int, int]
) -> tuple[Patch, Patch, Patch, Patch]:
    """The right eye's, the left eye's, the nose's and the mouth's patch, centred on the crop's points.

    Sizes are (height, width) in px. Where a patch would leave the crop it is moved inwards.

    Raises:
        ValueError: if a side is no multiple of 4, or larger than the crop's.
    """
    points = np.array(crop.points)
    centres = [points[0], points[1], points[2], points[list(_MOUTH)].mean(0)]
    right_eye, left_eye, nose_patch, mouth_patch = (
        _patch(crop, name, float(x), float(y), size)
        for name, (x, y), size in zip(
            ("eye_size", "eye_size", "nose_size", "mouth_size"), centres, (eye, eye, nose, mouth), strict=True
        )
    )
    return right_eye, left_eye, nose_patch, mouth_patch


class MultiPath(nn.Module):
    """PCFH's generator: pictures (B, 3, H, W) in [-1, 1] -> the same.

    A global path sees the whole face, local paths see eyes, nose and mouth; their features are joined by max-out.

    Args:
        size: height and width of the pictures, px.
        places: patches of the right eye, the left eye, the nose and the mouth.
        num_blocks: residual blocks of the global path.
        num_filters: channels of every path's outermost convolutions.
        local_blocks: residual blocks of each local path.
        eyes_share: whether one path serves both eyes, the left one mirrored.
    """

    def __init__(
        self,
        size: tuple[int, int],
        places: Sequence[Patch],
        num_blocks: int,
        num_filters: int,
        local_blocks: int,
        eyes_share: bool,
    ) -> None:
        super().__init__()
        self.size = size
        self.places = tuple(places)
        self.eyes_share = eyes_share
        self.encoder = Encoder(num_filters)
        self.blocks = nn.Sequential(*(ResidualBlock(4 * num_filters) for _ in range(num_blocks)))
        self.decoder = Decoder(num_filters)
        self.right_eye = LocalPath(num_filters, local_blocks)
        self.left_eye = nn.Identity() if eyes_share else LocalPath(num_filters, local_blocks)
        self.nose = LocalPath(num_filters, local_blocks)
        self.mouth = LocalPath(num_filters, local_blocks)
        self.smooth = nn.Conv2d(num_filters, num_filters // 2, 3, padding=1, padding_mode="reflect")
        self.to_picture = ToPicture(num_filters // 2)

    def forward(self, pictures: Tensor) -> Tensor:
        if tuple(pictures.shape[-2:]) != self.size:
            found, wanted = ("x".join(map(str, size)) for size in (pictures.shape[-2:], self.size))
            raise ValueError(
                f"faces are {found} px, and the patches lie in faces of {wanted} px: align them to the crop"
            )
        features = self.decoder(self.blocks(self.encoder(pictures)))
        for place, local in zip(self.places, self._local(pictures), strict=True):
            features = torch.maximum(features, place.among_zeros(local, self.size))  # none of them is below 0
        made: Tensor = self.to_picture(functional.relu(functional.instance_norm(self.smooth(features))))
        return made

    def _local(self, pictures: Tensor) -> list[Tensor]:
        right, left, nose, mouth = (place.of(pictures) for place in self.places)
        if self.eyes_share:
            eyes = self.right_eye(torch.cat([right, left.flip(-1)]))
            right_features, left_features = eyes[: len(right)], eyes[len(right) :].flip(-1)
        else:
            right_features, left_features = self.right_eye(right), self.left_eye(left)
        return [right_features, left_features, self.nose(nose), self.mouth(mouth)]


class Attention(nn.Module):
    """Warped and generated pictures (B, 3, H, W) -> a mask (B, 1, H, W) in (0, 1): where the warp can be trusted."""

    def __init__(self, num_filters: int = 32, num_blocks: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(6, num_filters, 7, padding=3, padding_mode="reflect")
        self.down = nn.Conv2d(num_filters, 2 * num_filters, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(*(ResidualBlock(2 * num_filters) for _ in range(num_blocks)))
        self.up = nn.Conv2d(2 * num_filters, num_filters, 3, padding=1, padding_mode="reflect")
        self.mask = nn.Conv2d(num_filters, 1, 7, padding=3, padding_mode="reflect")

    def forward(self, warped: Tensor, generated: Tensor) -> Tensor:
        features = normalised(self.stem(torch.cat([warped, generated], 1)))
        features = self.blocks(normalised(self.down(features)))
        enlarged = functional.interpolate(features, scale_factor=2.0, mode="bilinear", align_corners=False)
        return torch.sigmoid(self.mask(normalised(self.up(enlarged))))


class PairCritic(nn.Module):
    """Two pictures (B, 3, H, W) -> a score (B,): high if they belong together. Spectrally normalised."""

    def __init__(self, num_filters: int = 32, num_layers: int = 4) -> None:
        super().__init__()
        widths = [6, *(num_filters * 2**depth for depth in range(num_layers))]
        self.convs = nn.ModuleList(
            spectral_norm(nn.Conv2d(inside, outside, 4, stride=2, padding=1))
            for inside, outside in zip(widths, widths[1:], strict=False)
        )
        self.score = spectral_norm(nn.Linear(widths[-1], 1))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        features = torch.cat([first, second], 1)
        for conv in self.convs:
            features = functional.leaky_relu(conv(features), SLOPE)
        scores: Tensor = self.score(features.mean((2, 3)))
        return scores.flatten()


def _patch(crop: Crop, name: str, x: float, y: float, size: tuple[int, int]) -> Patch:
    height, width = size
    if height % REDUCTION or width % REDUCTION or height > crop.height or width > crop.width:
        raise ValueError(
            f"settings.{name} is {height}x{width} px; expected multiples of {REDUCTION} that fit into crop {crop.name} "
            f"({crop.height}x{crop.width})"
        )
    return Patch.centred(x, y, height, width, crop)
