"""A recogniser: faces -> unit-length embeddings; it re-crops and normalises for its own network."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from facebridge import crops
from facebridge.crops import Crop
from facebridge.weights import Layout

Colours = Literal["rgb", "bgr", "gray"]
Mirror = Literal["none", "sum", "concatenate"]

LUMA = (0.299, 0.587, 0.114)
"""Weights of R, G and B in a gray picture (ITU-R BT.601)."""


_LARGEST = 2.0
"""Values beyond this are no overshoot of an enlarging kernel, but faces in 0..255."""


@dataclass(frozen=True)
class Normalisation:
    """What a network takes: channels in the order of `colours`, each (p - mean) / scale with p in 0..255.

    ValueError: if colours are unknown, or mean and scale are not one finite number or one per channel, scale not 0.
    """

    colours: Colours
    mean: tuple[float, ...]
    scale: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(self.mean))
        object.__setattr__(self, "scale", tuple(self.scale))
        if self.colours not in ("rgb", "bgr", "gray"):
            raise ValueError(f"colours must be rgb, bgr or gray, not {self.colours!r}")
        channels = 1 if self.colours == "gray" else 3
        for name, values in (("mean", self.mean), ("scale", self.scale)):
            if len(values) not in (1, channels) or not all(math.isfinite(value) for value in values):
                raise ValueError(f"{name} must be one finite number or one for each of {channels} channels: {values}")
        if 0 in self.scale:
            raise ValueError(f"scale must not be 0: {self.scale}")

    def apply(self, faces: Tensor) -> Tensor:
        """Faces (B, 3, H, W) RGB in [0, 1] -> the network's input (B, 1 or 3, H, W)."""
        if self.colours == "bgr":
            faces = faces.flip(1)
        if self.colours == "gray":
            faces = (faces * _per_channel(LUMA, faces)).sum(1, keepdim=True)
        return (faces * 255 - _per_channel(self.mean, faces)) / _per_channel(self.scale, faces)


@dataclass(frozen=True, kw_only=True)
class RecogniserLayout(Layout):
    """A published recogniser: its network, the crop that its faces are aligned to, and what its network takes."""

    crop: Callable[[nn.Module], Crop]
    """Bare network -> the crop of its input."""
    normalisation: Normalisation


class Recogniser(nn.Module):
    """A network that gives unit-length embeddings of faces, with its crop and its normalisation inside.

    It judges and never learns: `train()` leaves it in evaluation mode. To train one, train the bare network
    (`facebridge.weights.network`).
    """

    def __init__(
        self, name: str, network: nn.Module, crop: Crop, normalisation: Normalisation, embedding_size: int
    ) -> None:
        super().__init__()
        self.name = name
        self.network = network
        self.crop = crop
        self.normalisation = normalisation
        self.embedding_size = embedding_size
        self.eval()

    def embed(self, faces: Tensor, crop: Crop | None = None, mirror: Mirror = "none") -> Tensor:
        """Embeddings (B, D) float32 of unit length, differentiable with respect to the faces (torch networks).

        faces: (B, 3, H, W) float32 RGB in [0, 1], aligned to `crop` (None: the recogniser's own).
        mirror: "sum" adds the features of the face mirrored left to right, "concatenate" appends them (D is then
        twice `embedding_size`); both before the length is made one. The mirrored picture is that of the
        recogniser's own crop, about its middle column, as the published evaluations do it; templates whose points
        are not symmetric about that column (sphereface: by under half a pixel) are not re-aligned.

        ValueError: if the faces have another shape or type, mirror is unknown, or the feature of a face is zero
        or not finite (the row is named).
        """
        if mirror not in ("none", "sum", "concatenate"):
            raise ValueError(f"mirror must be none, sum or concatenate, not {mirror!r}")
        crop = self.crop if crop is None else crop
        _check_faces(faces, crop)
        own = crops.recrop(faces, crop, self.crop)
        features = self.features(own)
        if mirror == "sum":
            features = features + self.features(own.flip(-1))
        if mirror == "concatenate":
            features = torch.cat([features, self.features(own.flip(-1))], dim=1)
        return _unit_length(features, self.name)

    def features(self, faces: Tensor) -> Tensor:
        """What the network gives, of any length (B, embedding_size), for faces (B, 3, H, W) in its own crop."""
        features: Tensor = self.network(self.normalise(faces))
        return features

    def normalise(self, faces: Tensor) -> Tensor:
        """Faces (B, 3, H, W) RGB in [0, 1] -> the network's input (B, 1 or 3, H, W)."""
        return self.normalisation.apply(faces)

    def forward(self, faces: Tensor) -> Tensor:
        """Embeddings of faces in the recogniser's own crop."""
        return self.embed(faces)

    def train(self, mode: bool = True) -> "Recogniser":
        """Stays in evaluation mode, whatever the method that holds it does."""
        super().train(False)
        return self


def fit(crop: Crop, height: int, width: int) -> Crop:
    """The crop enlarged or reduced to height x width pixels.

    ValueError: if that is not of the crop's proportions.
    """
    if (height, width) == (crop.height, crop.width):
        return crop
    if height * crop.width != width * crop.height:
        raise ValueError(
            f"crop {crop.name} is {crop.height}x{crop.width}, which does not scale to {height}x{width}: "
            "choose a crop of the same proportions"
        )
    factor = height / crop.height
    # Pixel centres are whole numbers, so that the picture begins at -0.5.
    points = tuple(((x + 0.5) * factor - 0.5, (y + 0.5) * factor - 0.5) for x, y in crop.points)
    return replace(crop, name=f"{crop.name}_{height}x{width}", height=height, width=width, points=points)


def _check_faces(faces: Any, crop: Crop) -> None:
    if not isinstance(faces, Tensor) or faces.ndim != 4 or faces.shape[1] != 3:
        found = tuple(faces.shape) if isinstance(faces, Tensor) else type(faces).__name__
        raise ValueError(f"faces must be a tensor (B, 3, H, W), RGB in [0, 1]; found {found}")
    if not faces.is_floating_point():
        raise ValueError(f"faces must be float32 in [0, 1], not {faces.dtype}: images.to_faces makes them from uint8")
    if faces.numel() and float(faces.detach().abs().amax()) > _LARGEST:
        raise ValueError(f"faces reach {float(faces.detach().abs().amax()):.0f}; their values belong in [0, 1]")
    if tuple(faces.shape[2:]) != (crop.height, crop.width):
        raise ValueError(
            f"faces are {faces.shape[2]}x{faces.shape[3]}, but crop {crop.name} is {crop.height}x{crop.width}: "
            "say which crop they were aligned to"
        )


def _per_channel(values: tuple[float, ...], faces: Tensor) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=faces.device)[:, None, None]


def _unit_length(features: Tensor, name: str) -> Tensor:
    precision = torch.promote_types(features.dtype, torch.float32)
    lengths: Tensor = torch.linalg.vector_norm(features, dim=1, keepdim=True, dtype=precision)
    good = torch.isfinite(lengths) & (lengths > torch.finfo(torch.float32).tiny)
    if not good.all():
        row = int((~good).flatten().nonzero()[0])
        raise ValueError(f"{name} gave no direction for face {row}: its feature has length {float(lengths[row])}")
    return features / lengths
