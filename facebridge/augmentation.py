"""Augmentation: training faces are changed a little, each in its own way, so that the changes do not matter later.

    geometry (rotation, scale, window) -> colour -> degradation (blur, resolution, noise, JPEG) -> occlusion

Mirroring belongs to the batches (`training.mirror`).
"""

import math
from typing import Annotated

import cv2
import torch
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from facebridge.images import resize, to_faces, to_pictures
from facebridge.method import Frozen

Probability = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]

BLUR_REACH = 3
"""A blur's kernel ends at this many standard deviations."""

ERASE_RATIO = (0.5, 2.0)
"""Height over width of an erased rectangle."""


def _rising(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"a range goes from the smaller to the larger number, not {list(bounds)}")
    return bounds


class Augmentation(Frozen):
    """How training faces are changed. By default they are not; every face draws its own strengths, evenly spread."""

    shift_px: Annotated[int, Field(ge=0)] = 0
    """The window is moved by up to this many pixels each way, so faces must be this much larger on every side."""
    rotation_deg: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Turned by up to this many degrees either way, about the middle of the larger face."""
    scale: Fraction = 0.0
    """Enlarged or reduced by up to this fraction, about the same point."""
    brightness: Fraction = 0.0
    """Every value times 1 - brightness to 1 + brightness."""
    contrast: Fraction = 0.0
    """Distance from the face's mean gray times 1 - contrast to 1 + contrast."""
    saturation: Fraction = 0.0
    """Distance from the pixel's own gray times 1 - saturation to 1 + saturation."""
    gray: Probability = 0.0
    """Probability that a face loses its colour."""
    blur: Probability = 0.0
    """Probability of a Gaussian blur."""
    blur_sigma_px: Annotated[
        tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0, le=100)]], AfterValidator(_rising)
    ] = (0.5, 1.5)
    """Its standard deviation, from and to, in pixels."""
    low_resolution: Probability = 0.0
    """Probability that a face is reduced and enlarged again, both bicubic."""
    low_resolution_factor: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 4.0
    """It is reduced up to this many times."""
    noise: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Largest standard deviation of Gaussian noise, of the range [0, 1]; a face draws its own from 0 on."""
    jpeg: Probability = 0.0
    """Probability that a face goes through JPEG."""
    jpeg_quality: Annotated[
        tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(le=100)]], AfterValidator(_rising)
    ] = (40, 90)
    """Its quality, from and to."""
    erase: Probability = 0.0
    """Probability that a rectangle becomes black (Zhong et al. 2020, with black instead of noise)."""
    erase_area: Annotated[tuple[Fraction, Fraction], AfterValidator(_rising)] = (0.02, 0.2)
    """Its share of the face, from and to."""

    def build(self, height: int, width: int) -> nn.Module:
        """A module: faces (B, 3, height + 2 shift_px, width + 2 shift_px) -> (B, 3, height, width).

        Both are float32 RGB in [0, 1]; what comes out is contiguous. In training mode faces are changed, by torch's
        global generator alone; in evaluation mode the window in the middle is taken and nothing else happens. The
        module has no weights and no state. No gradient passes, except through the window alone.

        Raises:
            ValueError: if a blur is wider than the faces.
        """
        window = _Window(height, width, self.shift_px)
        before, after = self._geometry(), [*self._colour(), *self._degradation(height, width), *self._occlusion()]
        return _Changes(before, window, after) if before or after else window

    # kornia is imported where it is needed: its import takes a while, and most programs never augment.

    def _geometry(self) -> list[nn.Module]:
        if not self.rotation_deg and not self.scale:
            return []
        from kornia.augmentation import RandomAffine

        scale = (1 - self.scale, 1 + self.scale) if self.scale else None
        # Bilinear would cost half the time and twice the fine detail, which faces that are judged keep. Beyond the edge
        # its pixels go on: black wedges would tell how a face was turned.
        return [RandomAffine(self.rotation_deg, scale=scale, resample="bicubic", padding_mode="border", p=1.0)]

    def _colour(self) -> list[nn.Module]:
        if not self.brightness and not self.contrast and not self.saturation and not self.gray:
            return []
        from kornia.augmentation import ColorJitter, RandomGrayscale

        changes: list[nn.Module] = []
        if self.brightness or self.contrast or self.saturation:
            changes.append(ColorJitter(self.brightness, self.contrast, self.saturation, p=1.0))
        if self.gray:
            changes.append(_Some(self.gray, RandomGrayscale(p=1.0)))
        return changes

    def _degradation(self, height: int, width: int) -> list[nn.Module]:
        changes: list[nn.Module] = []
        if self.blur:
            changes.append(_Some(self.blur, self._gaussian_blur(height, width)))
        if self.low_resolution:
            changes.append(_Some(self.low_resolution, _LowResolution(self.low_resolution_factor)))
        if self.noise:
            changes.append(_Noise(self.noise))
        if self.jpeg:
            changes.append(_Some(self.jpeg, _Jpeg(*self.jpeg_quality)))
        return changes

    def _gaussian_blur(self, height: int, width: int) -> nn.Module:
        from kornia.augmentation import RandomGaussianBlur

        radius_px = math.ceil(BLUR_REACH * self.blur_sigma_px[1])
        if radius_px >= min(height, width):
            raise ValueError(
                f"a blur of {self.blur_sigma_px[1]} px is too wide for faces of {height}x{width}: lower blur_sigma_px"
            )
        blur: nn.Module = RandomGaussianBlur(2 * radius_px + 1, self.blur_sigma_px, p=1.0)
        return blur

    def _occlusion(self) -> list[nn.Module]:
        if not self.erase:
            return []
        from kornia.augmentation import RandomErasing

        return [_Some(self.erase, RandomErasing(self.erase_area, ERASE_RATIO, p=1.0))]


class _Changes(nn.Module):
    """What happens before the window, the window, and what happens after it."""

    def __init__(self, before: list[nn.Module], window: "_Window", after: list[nn.Module]) -> None:
        super().__init__()
        self.before = nn.Sequential(*before)
        self.window = window
        self.after = nn.Sequential(*after)

    def forward(self, faces: Tensor) -> Tensor:
        if not self.training:
            middle: Tensor = self.window(faces)
            return middle
        # In bfloat16 the matrices of a rotation would be off by pixels.
        with torch.no_grad(), torch.autocast(faces.device.type, enabled=False):
            changed: Tensor = self.after(self.window(self.before(faces)))
            return changed.clamp(0, 1).contiguous()


class _Window(nn.Module):
    """A part of each face: anywhere in training mode, in the middle otherwise."""

    def __init__(self, height: int, width: int, shift_px: int) -> None:
        super().__init__()
        self.height, self.width, self.shift_px = height, width, shift_px

    def forward(self, faces: Tensor) -> Tensor:
        margin = 2 * self.shift_px
        expected = (self.height + margin, self.width + margin)
        if faces.shape[2:] != expected:
            raise ValueError(f"expected faces of {expected[0]}x{expected[1]}, got {faces.shape[2]}x{faces.shape[3]}")
        if not self.training or not margin:
            return self._at(faces, self.shift_px, self.shift_px).contiguous()
        corners = torch.randint(margin + 1, (len(faces), 2)).tolist()
        return torch.stack([self._at(face, top, left) for face, (top, left) in zip(faces, corners, strict=True)])

    def _at(self, faces: Tensor, top: int, left: int) -> Tensor:
        return faces[..., top : top + self.height, left : left + self.width]


class _Some(nn.Module):
    """A change of some faces only. kornia's own probabilities would pay for all of them."""

    def __init__(self, probability: float, change: nn.Module) -> None:
        super().__init__()
        self.probability, self.change = probability, change

    def forward(self, faces: Tensor) -> Tensor:
        rows = (torch.rand(len(faces)) < self.probability).nonzero()[:, 0].to(faces.device)
        if not len(rows):
            return faces
        return faces.index_copy(0, rows, self.change(faces[rows]))


class _LowResolution(nn.Module):
    """Faces reduced, each by its own factor, and enlarged again."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, faces: Tensor) -> Tensor:
        height, width = faces.shape[2:]
        factors = _drawn(1, self.factor, len(faces))
        changed = []
        for face, factor in zip(torch.split(faces, 1), factors, strict=True):
            size = (max(1, round(height / factor)), max(1, round(width / factor)))
            changed.append(resize(resize(face, *size, antialias=True), height, width))
        return torch.cat(changed).clamp(0, 1)


class _Jpeg(nn.Module):
    """Faces written as JPEG, each at its own quality, and read again: the codec itself, with halved colour planes."""

    def __init__(self, lowest: int, highest: int) -> None:
        super().__init__()
        self.lowest, self.highest = lowest, highest

    def forward(self, faces: Tensor) -> Tensor:
        qualities = _drawn(self.lowest, self.highest, len(faces))
        pictures = to_pictures(faces)
        for picture, quality in zip(pictures, qualities, strict=True):
            _, written = cv2.imencode(".jpg", picture[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, round(quality)))
            read = cv2.imdecode(written, cv2.IMREAD_COLOR)
            assert read is not None
            picture[:] = read[..., ::-1]
        return to_faces(pictures).to(faces.device)


class _Noise(nn.Module):
    """Gaussian noise, in each face of its own strength."""

    def __init__(self, largest: float) -> None:
        super().__init__()
        self.largest = largest

    def forward(self, faces: Tensor) -> Tensor:
        strengths = self.largest * torch.rand(len(faces), 1, 1, 1).to(faces.device)
        return torch.addcmul(faces, torch.randn_like(faces), strengths)


def _drawn(lowest: float, highest: float, count: int) -> list[float]:
    """Numbers evenly spread from the lowest to the highest."""
    drawn: list[float] = (lowest + (highest - lowest) * torch.rand(count)).tolist()
    return drawn
