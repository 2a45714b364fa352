"""Ways of making the face that is matched - nothing, plain enlarging, a method - and the recogniser that judges."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facebridge import crops
from facebridge.crops import Crop
from facebridge.hallucination import Preset, enlarge, hallucinate
from facebridge.images import Kernel
from facebridge.method import HallucinationMethod, TakesPoints
from facebridge.pose import mirrored_points
from facebridge.recogniser import Mirror, Recogniser

FACES_PER_BLOCK = 32
BASELINES: tuple[Kernel, ...] = ("bilinear", "bicubic")
"""Plain enlarging that methods are compared with; the published "Bicubic" row of SR_LRFR is the bilinear one."""

Side = Literal["probe", "gallery"]
"""Whose faces a way makes; the others stay as they are."""


@dataclass(frozen=True)
class Way:
    """One way of making the face that is matched."""

    name: str
    make: Callable[[Tensor], Tensor]
    """Source faces (B, 3, h, w) -> faces at the crop's size (B, 3, H, W), both in [0, 1]."""
    generated: bool = False
    """Whether it hallucinates: then its faces are labelled so, and its scores are also fused with the original's."""
    side: Side = "probe"
    """Whose faces it makes: methods that translate visible light to near-infrared make the gallery's."""
    make_at: Callable[[Tensor, Tensor], Tensor] | None = None
    """As `make`, with the five points (B, 5, 2) px of the source faces; None: it does not ask where they lie."""

    def made(self, source: Tensor, points: Tensor | None = None) -> Tensor:
        """The faces that it makes, by the points where it asks for them and they are given."""
        return self.make(source) if points is None or self.make_at is None else self.make_at(source, points)


AS_IT_IS = Way("none", lambda faces: faces)
"""No hallucination: the face is matched as it is."""


def baselines(crop: Crop, kernels: Sequence[Kernel] = BASELINES, preset: Preset = "clean") -> list[Way]:
    """Plain enlarging, a way for each kernel, under its name."""
    return [Way(kernel, partial(enlarge, crop=crop, kernel=kernel, preset=preset)) for kernel in kernels]


def of_method(name: str, method: HallucinationMethod[Any], side: Side = "probe", preset: Preset = "clean") -> Way:
    """The faces that a trained method generates."""

    def make_at(source: Tensor, points: Tensor) -> Tensor:
        return hallucinate(method, source, preset, points)

    make = partial(hallucinate, method, preset=preset)
    return Way(name, make, True, side, make_at if isinstance(method, TakesPoints) else None)


@dataclass(frozen=True)
class Judge:
    """A recogniser, and how it joins a face with its mirror image."""

    recogniser: Recogniser
    mirror: Mirror = "none"

    @property
    def threads(self) -> int:
        """Threads that the recogniser works with: its own, where it has some beside torch's."""
        return int(getattr(self.recogniser.network, "threads", torch.get_num_threads()))

    @torch.no_grad()
    def embed(self, way: Way, source: Tensor, crop: Crop, points: Tensor | None = None) -> NDArray[np.float32]:
        """Embeddings (B, D) of unit length of the faces that `way` makes.

        Of the mirror image it is the *source* that is mirrored, and then made anew (SR_LRFR's test does so).

        points: (B, 5, 2) px of the source, for ways that ask for them; absent: where the crop has them.
        """
        return self.embed_made(way.made(source, points), way, source, crop, points)

    @torch.no_grad()
    def embed_made(
        self, made: Tensor, way: Way, source: Tensor, crop: Crop, points: Tensor | None = None
    ) -> NDArray[np.float32]:
        """As `embed`, of faces that are already made of the source."""
        features = self._features(made, crop)
        if self.mirror != "none":
            flipped = None if points is None else mirrored_points(points, source.shape[-1])
            mirrored = self._features(way.made(source.flip(-1), flipped), crop)
            features = features + mirrored if self.mirror == "sum" else torch.cat([features, mirrored], 1)
        return torch.nn.functional.normalize(features).numpy()

    def _features(self, faces: Tensor, crop: Crop) -> Tensor:
        return self.recogniser.features(crops.recrop(faces, crop, self.recogniser.crop))
