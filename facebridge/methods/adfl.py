"""ADFL (Song, Zhang, Wu and He, AAAI 2018): near-infrared to visible faces, and features of both that look alike.

CycleGAN with two paths in each generator, one of which sees the eyes alone, and with losses that keep intensity and
identity. The other half, `adfl_features`, learns features that do not tell real visible, real near-infrared and
generated faces apart; it is trained along where the mode says so. There is no code of the authors.
docs/methods/adfl.md lists what is published, what is recalled and what is ours.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from facebridge.crops import Crop
from facebridge.cycle import CycleConfig, CycleMethod
from facebridge.layers import (
    REDUCTION,
    Decoder,
    Encoder,
    LocalPath,
    Patch,
    ResidualBlock,
    ToPicture,
    scatter_weights,
    unsigned,
)
from facebridge.method import Batch
from facebridge.methods.adfl_features import AdflFeatures
from facebridge.recogniser import Recogniser
from facebridge.streamline import streamline
from facebridge.translation import Terms, both_sides, luminance

Fusion = Literal["max", "add"]
"""How the features of the two paths are joined: the larger of the two, or their sum."""

Mode = Literal["hallucination", "hallucination_and_features"]
"""What is trained: generators through a frozen recogniser, or a recogniser beside them too."""

EYES_WIDTH, EYES_HEIGHT = 2.0, 1.0
"""Of the periocular patch, in distances between the eyes."""


class Adfl(CycleMethod["Adfl.Config"]):
    """Translate near-infrared faces to visible light with a path of their own for the eyes; keep who they are."""

    class Config(CycleConfig):
        """Defaults: recalled or ours."""

        mode: Mode = "hallucination"
        """What is trained."""
        features: AdflFeatures.Config = AdflFeatures.Config()
        """Settings of the recogniser that is trained along: adfl_features; idle in mode hallucination."""
        num_blocks: Annotated[int, Field(ge=1)] = 6
        """Residual blocks of each generator's global path."""
        num_filters: Annotated[int, Field(ge=1)] = 64
        """Channels of the outermost convolutions of both paths."""
        fusion: Fusion = "max"
        """How the features of both paths are joined."""
        same_weight: Annotated[float, Field(ge=0)] = 0.0
        """Weight of leaving a face alone that is of the wanted kind already, as a part of cycle_weight."""
        intensity_weight: Annotated[float, Field(ge=0)] = 1.0
        """Weight of keeping the luminance of what came in, each way."""
        identity_weight: Annotated[float, Field(ge=0)] = 0.1
        """Weight of keeping the embedding; 0 trains without a recogniser."""
        identity_of: Literal["target", "source"] = "target"
        """Whose embedding a generated target should have: that of the real target, in pairs of one person; or that of
        the source it was made of, in any pairs, by a recogniser that knows the source's camera."""
        jitter: Annotated[float, Field(ge=1)] = 1.0
        """How much faces are enlarged before a part is cut out at random; over 1 the eyes leave their place."""

    def __init__(self, config: Config, crop: Crop, recogniser: Recogniser | None = None) -> None:
        eyes = eye_patch(crop)

        def generator() -> TwoPathGenerator:
            network = TwoPathGenerator(
                (crop.height, crop.width), eyes, config.num_blocks, config.num_filters, config.fusion
            )
            scatter_weights(network)
            return network

        super().__init__(config, crop, recogniser, generator)
        if config.mode == "hallucination_and_features":
            _check_one_process()
            half = AdflFeatures(config.features, crop, recogniser)
            self.feature_half = half
            self.optimisers |= {f"features_{name}": optimiser for name, optimiser in half.optimisers.items()}
            self.schedules |= {f"features_{name}": schedule for name, schedule in half.schedules.items()}
            if recogniser is not None:
                streamline(recogniser)  # not before the feature half has copied it

    @classmethod
    def starts_from_recogniser(cls, config: Config) -> bool:
        return config.mode == "hallucination_and_features"

    @classmethod
    def settled(cls, config: Config, *, steps: int, num_identities: Callable[[], int]) -> Config:
        settled = super().settled(config, steps=steps, num_identities=num_identities)
        if config.mode == "hallucination":
            return settled
        half = AdflFeatures.settled(config.features, steps=steps, num_identities=num_identities)
        return settled.model_copy(update={"features": half})

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """As `CycleMethod.training_step`; then, where the mode says so, one step of the feature half.

        Args:
            batch: `source` and `target`: faces (B, 3, crop.height, crop.width); for the feature half with
                `source_identity` and `target_identity`.

        Returns:
            As there, and `intensity_target`, `intensity_source`, `identity` (where weighted); those of
            `AdflFeatures.training_step`, named features_...

        Raises:
            ValueError: if the batch has no sources, or identity is to be kept between different people.
        """
        ours, theirs = batch.get("target_identity"), batch.get("source_identity")
        compared = self.config.identity_weight > 0 and self.config.identity_of == "target"
        if compared and ours is not None and theirs is not None and bool((ours != theirs).any()):
            raise ValueError(
                "a generated face is given its target's identity, and the data pairs different people: set "
                'data.pairing.kind to same_person, or settings.identity_of="source"'
            )
        losses = super().training_step(batch)
        if self.config.mode == "hallucination_and_features":
            learned = self.feature_half.training_step(self._three_kinds(batch))
            losses |= {f"features_{name}": loss for name, loss in learned.items()}
        return losses

    def as_recogniser(self) -> Recogniser:
        """The recogniser that was trained along, as it is now: a frozen copy.

        Raises:
            ValueError: if none was.
        """
        if self.config.mode == "hallucination":
            raise ValueError(
                'this adfl trained no recogniser: settings.mode="hallucination_and_features" does, or adfl_features'
            )
        return self.feature_half.as_recogniser()

    def added_terms(self, source: Tensor, target: Tensor, made_source: Tensor, made_target: Tensor) -> Terms:
        """Intensity both ways, and the identity of generated targets."""
        config = self.config
        terms: Terms = {}
        if config.intensity_weight:
            terms["intensity_target"] = config.intensity_weight, intensity_loss(made_target, source)
            terms["intensity_source"] = config.intensity_weight, intensity_loss(made_source, target)
        if config.identity_weight:
            whose = target if config.identity_of == "target" else source
            terms["identity"] = config.identity_weight, self._identity_loss(made_target, whose)
        return terms

    def _three_kinds(self, batch: Batch) -> Batch:
        """Real visible faces, twice, against real near-infrared ones and visible ones generated of these."""
        source, target = both_sides(batch)
        return {
            "source": torch.cat([source, self.generate(source)]),
            "target": target.repeat(2, 1, 1, 1),
            "source_identity": batch["source_identity"].repeat(2),
            "target_identity": batch["target_identity"].repeat(2),
        }

    def _identity_loss(self, made: Tensor, whose: Tensor) -> Tensor:
        """Mean of 1 - cos between the embeddings of pictures in [-1, 1]."""
        assert self.recogniser is not None, "built without a recogniser: generation only"
        with torch.no_grad():
            wanted = self.recogniser.embed(unsigned(whose), self.crop)
        found = self.recogniser.embed(unsigned(made), self.crop)
        return (1 - functional.cosine_similarity(found, wanted)).mean()


class TwoPathGenerator(nn.Module):
    """Pictures (B, 3, height, width) in [-1, 1] -> the same; a global path and one for the eyes.

    Args:
        size: height and width of the pictures, px, multiples of 4.
        eyes: where the local path looks.
        num_blocks: residual blocks of the global path.
        num_filters: channels of the outermost convolutions of both paths.
        fusion: how the features of both paths are joined.

    Raises:
        ValueError: if pictures of another size are given.
    """

    def __init__(
        self,
        size: tuple[int, int],
        eyes: Patch,
        num_blocks: int = 6,
        num_filters: int = 64,
        fusion: Fusion = "max",
    ) -> None:
        super().__init__()
        self.size, self.place, self.fusion = size, eyes, fusion
        self.encoder = Encoder(num_filters)
        self.blocks = nn.Sequential(*(ResidualBlock(4 * num_filters) for _ in range(num_blocks)))
        self.decoder = Decoder(num_filters)
        self.eyes = LocalPath(num_filters, num_blocks=0)
        self.to_picture = ToPicture(num_filters)

    def forward(self, pictures: Tensor) -> Tensor:
        if tuple(pictures.shape[-2:]) != self.size:
            found, wanted = "x".join(map(str, pictures.shape[-2:])), "x".join(map(str, self.size))
            raise ValueError(f"faces are {found} px; the eyes are looked for in faces of {wanted} px: align them")
        whole = self.decoder(self.blocks(self.encoder(pictures)))
        local = self.place.among_zeros(self.eyes(self.place.of(pictures)), self.size)
        made: Tensor = self.to_picture(torch.maximum(whole, local) if self.fusion == "max" else whole + local)
        return made


def eye_patch(crop: Crop) -> Patch:
    """The patch of both eyes and their brows: two distances of the eyes wide, one high, centred between the eyes.

    Sides are the nearest multiples of 4 px; where the patch would leave the crop it is moved inwards.
    """
    (right_x, right_y), (left_x, left_y) = crop.points[:2]
    distance_px = ((left_x - right_x) ** 2 + (left_y - right_y) ** 2) ** 0.5
    height, width = (
        min(max(round(share * distance_px / REDUCTION), 1), side // REDUCTION) * REDUCTION
        for share, side in ((EYES_HEIGHT, crop.height), (EYES_WIDTH, crop.width))
    )
    return Patch.centred((right_x + left_x) / 2, (right_y + left_y) / 2, height, width, crop)


def intensity_loss(made: Tensor, given: Tensor) -> Tensor:
    """Mean of |Y(G(x)) - Y(x)| with Y the luminance of YCbCr, of pictures (B, 3, H, W) in [-1, 1].

    Recalled of ADFL (Song et al. 2018).
    """
    return functional.l1_loss(luminance(made), luminance(given))


def _check_one_process() -> None:
    if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
        raise ValueError(
            "hallucination_and_features is trained in one process: take fewer, or train the halves one after the other "
            "(adfl, then adfl_features)"
        )
