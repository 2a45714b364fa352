"""facebridge_sr: tiny aligned faces of any size to the crop's size, by one small network. Ours.

It keeps the aim of SR_LRFR (Lai, He and Lam, ICIP 2019), to enlarge a face so that a recogniser still knows it, and
changes what docs/methods/facebridge_sr.md lists: the network is a U-Net on the enlarged face (Ronneberger et al. 2015)
that knows where it is in the face, every face of a batch is degraded in its own way, and the recogniser that guides it
is asked about its inner layers as well.
"""

import math
from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from facebridge.crops import Crop
from facebridge.degradation import DegradationRange
from facebridge.descent import Descent, Linear, descend
from facebridge.hallucination import enlarge
from facebridge.identity_guide import IdentityGuide
from facebridge.images import resize
from facebridge.layers import signed, unsigned
from facebridge.method import Batch, Frozen, HallucinationMethod
from facebridge.methods.facebridge_sr.networks import FaceUNet
from facebridge.recogniser import Recogniser
from facebridge.streamline import channels_last

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
DESCENT = Descent(kind="adam", learning_rate=1e-3, weight_decay=0.0, schedule=Linear(constant_part=0.3))
SHOWN_PARTS = (16, 8, 4)
"""Previews show faces reduced so many times."""


class FacebridgeSr(HallucinationMethod["FacebridgeSr.Config"]):
    """Enlarge tiny faces of any size to the crop's size, keep who they are."""

    class Config(Frozen):
        """Defaults: for any recogniser. The recipes name the layers of theirs, and when it begins to look."""

        widths: tuple[Count, Count, Count, Count] = (24, 48, 96, 160)
        """Channels at a half, a quarter, an eighth and a sixteenth of the crop's sides."""
        depths: tuple[Count, Count, Count, Count] = (2, 2, 2, 3)
        """Residual blocks at each of them; all but the deepest have as many again on the way up."""
        knows_position: bool = True
        """Whether each level adds a learned map to its features."""
        attends: bool = False
        """Whether the two deepest levels weigh their channels by transposed attention."""
        identity_weight: Weight = 0.5
        """lambda: weight of the identity loss against the pixel loss; 0 with layer_weight 0 needs no recogniser."""
        layer_weight: Weight = 0.0
        """mu: weight of the differences in the recogniser's inner layers."""
        layers: tuple[str, ...] = ()
        """The layers that are compared, as the recogniser's network names its modules."""
        guided_after_steps: Annotated[int, Field(ge=0)] = 0
        """Steps with the pixel loss alone, before the recogniser looks: they cost a third of the others."""
        guided_share: Annotated[float, Field(gt=0, le=1)] = 0.5
        """Part of each batch that the recogniser looks at; it takes most of the time of a step."""
        guide_shift_px: Weight = 2.0
        """How far both faces may be moved before the recogniser sees them, px of the crop."""
        guide_stretch: Annotated[float, Field(ge=0, lt=1)] = 0.05
        """By what part both may be enlarged or reduced for the recogniser."""
        guide_blur_px: Weight = 1.5
        """Standard deviation of the blur that both go through before it, px of the crop."""
        smallest_height: Annotated[int, Field(ge=2)] = 6
        """Height of the smallest faces that are trained on, px."""
        largest_height: Annotated[int, Field(ge=2)] = 36
        """Height of the largest; in between each height is drawn as often, in proportion to itself."""
        squeeze: Annotated[float, Field(ge=0, lt=1)] = 0.2
        """By what part a source face may be wider than the crop's proportions, as square pictures of it are."""
        degraded_share: Annotated[float, Field(ge=0, le=1)] = 0.3
        """Part of the faces that are also blurred, noisy or compressed; the others are reduced alone."""
        degradations: DegradationRange = DegradationRange()
        """How those are degraded."""
        descent: Descent = DESCENT
        """How the weights descend."""

        @model_validator(mode="after")
        def _is_possible(self) -> "FacebridgeSr.Config":
            if self.smallest_height > self.largest_height:
                raise ValueError(
                    f"smallest_height is {self.smallest_height}, more than largest_height {self.largest_height}"
                )
            if self.layer_weight and not self.layers:
                raise ValueError("layer_weight weighs nothing: name the recogniser's layers in 'layers'")
            return self

    takes_sizes_between: Literal[True] = True
    """Any height between the smallest and the largest of `source_sizes` is as good as these."""

    def __init__(self, config: Config, crop: Crop, recogniser: Recogniser | None = None) -> None:
        super().__init__(config, crop, recogniser)
        if config.largest_height > crop.height:
            raise ValueError(f"faces of {config.largest_height} px are no smaller than a crop of {crop.height} px")
        unet = FaceUNet(crop, config.widths, config.depths, config.knows_position, config.attends)
        self.generator = channels_last(unet)
        self.optimisers = {"generator": config.descent.optimiser({"generator": self.generator})}
        self.schedules = {"generator": config.descent.schedule_of(self.optimisers["generator"])}
        self.guide: IdentityGuide | None = None
        if recogniser is not None and self._is_guided:
            layers = config.layers if config.layer_weight else ()
            moves = config.guide_shift_px, config.guide_stretch, config.guide_blur_px
            self.guide = IdentityGuide(recogniser, crop, layers, *moves)

    def begin(self, first_batch: Callable[[], Batch]) -> None:
        """Miss the recogniser before anything is trained.

        Raises:
            ValueError: if there is none, and losses ask for it.
        """
        if self._is_guided and self.guide is None:
            raise ValueError("identity_weight and layer_weight need a recogniser: add [recogniser] to the recipe")

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """One step of L1 + identity + layers, every face at a size of its own.

        Args:
            batch: `target`: sharp faces (B, 3, crop.height, crop.width).

        Returns:
            `pixel`; `identity` and `layers` where they have a weight and the guide looks already; `total`.
        """
        sharp = batch["target"]
        with torch.autocast(sharp.device.type, enabled=False):
            sources = self._sources(sharp)
        generated = self._sharpened(sources)
        losses = {"pixel": functional.l1_loss(generated, signed(sharp))}
        total = losses["pixel"]
        if self._is_guided and self._steps_done >= self.config.guided_after_steps:
            assert self.guide is not None, "built without a recogniser: generation only"
            looked_at = math.ceil(self.config.guided_share * len(sharp))
            seen = self.guide.compare(unsigned(generated[:looked_at]), sharp[:looked_at])
            weights = {"identity": self.config.identity_weight, "layers": self.config.layer_weight}
            for name, loss in seen.items():
                losses[name] = loss
                total = total + weights[name] * loss
        descend(self, total, "generator")
        return {name: loss.detach() for name, loss in {**losses, "total": total}.items()}

    @torch.no_grad()
    def generate(self, faces: Tensor) -> Tensor:
        """Faces (B, 3, h, w) of any size up to the crop's -> (B, 3, crop.height, crop.width), both in [0, 1]."""
        return unsigned(self._sharpened(enlarge(faces, self.crop))).float().clamp(0, 1)

    def source_sizes(self) -> list[tuple[int, int]]:
        """Three of the sizes that it takes; it takes all between the smallest and the largest trained on."""
        heights = sorted({self.config.smallest_height, *self._shown_heights(), self.config.largest_height})
        return [(height, self._width(height)) for height in reversed(heights)]

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        """For three sizes the source, its bicubic enlargement and the generated face; then the sharp face."""
        sharp = batch["target"]
        columns = {}
        for height in self._shown_heights():
            source = resize(sharp, height, self._width(height)).clamp(0, 1)
            size = f"{height}x{self._width(height)}"
            columns[f"{size} source"] = source
            columns[f"{size} bicubic"] = enlarge(source, self.crop)
            columns[f"{size} generated"] = self.generate(source)
        return {**columns, "target": sharp}

    @classmethod
    def settled(cls, config: Config, *, steps: int, num_identities: Callable[[], int]) -> Config:
        return config.model_copy(update={"descent": config.descent.settled(steps)})

    @property
    def _is_guided(self) -> bool:
        return self.config.identity_weight > 0 or self.config.layer_weight > 0

    @property
    def _steps_done(self) -> int:
        return int(self.schedules["generator"].last_epoch)

    def _sharpened(self, enlarged: Tensor) -> Tensor:
        """Blurred faces in [0, 1] at the crop's size -> generated ones in [-1, 1], which may overshoot."""
        pictures = signed(enlarged)
        change: Tensor = self.generator(pictures)
        return pictures + change

    @torch.no_grad()
    def _sources(self, sharp: Tensor) -> Tensor:
        """Each face degraded to a size of its own and enlarged again; torch's own generator draws."""
        config = self.config
        made = []
        for face in torch.split(sharp, 1):
            drawn = torch.rand(3).tolist()
            low, high = math.log(config.smallest_height), math.log(config.largest_height)
            height = round(math.exp(low + drawn[0] * (high - low)))
            width = round(self._width(height) * (1 + config.squeeze * drawn[1]))
            if drawn[2] < config.degraded_share:
                seed = int(torch.randint(2**31, ()))
                small = config.degradations.degrade(face, height, width, seed)
            else:
                small = resize(face, height, width).clamp(0, 1)
            made.append(enlarge(small, self.crop))
        return torch.cat(made)

    def _width(self, height: int) -> int:
        return max(1, round(height * self.crop.width / self.crop.height))

    def _shown_heights(self) -> list[int]:
        return [max(2, self.crop.height // part) for part in SHOWN_PARTS]
