"""FSRNet and FSRGAN (Chen, Tai, Liu, Shen and Yang, CVPR 2018): tiny faces enlarged with the help of the face's shape.

A coarse network makes a first picture; of that picture a prior network guesses the landmarks and the parts of the
face, an encoder takes features, and a decoder makes the fine picture of both. With a discriminator and a perceptual
loss it is FSRGAN. docs/methods/fsrnet.md lists what is the paper's, what is the released codes' and what is ours.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from facebridge import vgg
from facebridge.adversarial import discriminator_loss, generator_loss, held
from facebridge.crops import Crop
from facebridge.descent import Descent, descend
from facebridge.identity_guide import IdentityGuide
from facebridge.images import resize
from facebridge.layers import scatter_weights, signed, unsigned
from facebridge.method import Batch, Frozen, HallucinationMethod
from facebridge.methods.fsrnet.networks import (
    PRIOR_REDUCTION,
    Coarse,
    Discriminator,
    FineDecoder,
    FineEncoder,
    Norm,
    PriorHeads,
    PriorNetwork,
)
from facebridge.methods.fsrnet.rmsprop import RmsProp
from facebridge.parts import NUM_PARTS, NUM_POINTS, Part
from facebridge.priors import heat_maps, parsing_of, part_maps, points_of
from facebridge.recogniser import Recogniser
from facebridge.streamline import channels_last
from facebridge.translation import Terms, check_sides, weighted

LAYOUTS = (vgg.LAYOUT,)

NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Steps = Annotated[int, Field(ge=0)]
Descending = Annotated[RmsProp | Descent, Field(discriminator="kind")]
Error = Literal["mean", "half_sum"]
Stage = Literal["coarse", "prior", "all"]
"""What is trained: the coarse network; that and the priors; everything."""

DOT_PX = 0.7
"""Size of a landmark in previews: the deviation of a Gaussian."""


class FsrNet(HallucinationMethod["FsrNet.Config"]):
    """Enlarge faces with the help of landmarks and parts that are estimated along the way."""

    class Config(Frozen):
        """Defaults: the published FSRNet, as far as it is known; 68 landmarks and 11 parts are ours."""

        num_filters: Count = 64
        """Channels of the convolutions; twice as many in the prior network."""
        coarse_blocks: Count = 3
        """Residual blocks of the coarse network."""
        encoder_blocks: Count = 12
        """Residual blocks of the fine encoder."""
        decoder_blocks: Count = 3
        """Residual blocks of the fine decoder."""
        prior_blocks: Count = 2
        """Residual blocks of the prior network before its hourglasses."""
        num_hourglasses: Count = 2
        """Hourglasses of the prior network."""
        hourglass_depth: Count = 3
        """How often an hourglass halves its features."""
        norm: Norm = "batch"
        """How convolutions are normalised: by batch, as published, or by groups of channels of each face. Running
        means suit one reduction; with several, or tiny batches, take "group"."""
        adds_to_source: bool = False
        """Whether the networks make changes to the enlarged source, at first none; else pictures, as published."""
        normalises_features: bool = False
        """Whether the features of the face's shape are normalised for heads and decoder; not so as published."""
        num_landmarks: Annotated[int, Field(ge=0)] = NUM_POINTS
        """Landmarks whose heat maps are learned; 0: none."""
        num_parts: Annotated[int, Field(ge=0)] = NUM_PARTS
        """Parts of the face whose maps are learned, in the order of `parts.Part`; further ones count as background."""
        heat_map_sigma_px: Annotated[float, Field(gt=0)] = 3.0
        """Size of a landmark in its heat map, px of the map, which is half as large as the crop."""
        reductions: Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(min_length=1)] = (8,)
        """How many times the source is smaller than the crop; one is drawn for every batch."""
        antialias: bool = True
        """Whether faces are reduced and enlarged by Pillow's bicubic kernel, as in the ports; else by OpenCV's."""
        error: Error = "mean"
        """How squared errors are put together: their mean, as in the ports, or half their sum over a face, then the
        mean over the batch, as in the paper."""
        coarse_weight: NotNegative = 1.0
        """Weight of the coarse picture's error."""
        fine_weight: NotNegative = 1.0
        """alpha: weight of the fine picture's error."""
        prior_weight: NotNegative = 1.0
        """beta: weight of the maps' error; maps have values in [-1, 1]."""
        warmup_coarse_steps: Steps = 0
        """Steps at the beginning in which the coarse network alone is trained."""
        warmup_prior_steps: Steps = 0
        """Steps after those in which coarse and prior network are trained."""
        adversarial_weight: NotNegative = 0.0
        """gamma_C: weight of passing a discriminator; 1e-3 in FSRGAN; 0: there is none."""
        discriminator_filters: Count = 64
        """Channels of the discriminator's first convolution."""
        discriminator_sees_source: bool = False
        """Whether the discriminator judges the enlarged source along, as a conditional one."""
        perceptual_weight: NotNegative = 0.0
        """gamma_P: weight of the likeness in a frozen network's features; 1e-1 in FSRGAN; 0: none."""
        perceptual: Literal["vgg16", "recogniser"] = "vgg16"
        """Whose features: relu5_3 of VGG16, or the frozen recogniser's."""
        perceptual_weights: Path | None = None
        """File with the weights of VGG16 under torchvision's names."""
        perceptual_normalised: bool = True
        """Whether VGG16 sees pictures as it was trained on them; else in [-1, 1], as in a port."""
        perceptual_layers: tuple[str, ...] = ()
        """Modules of the recogniser's network whose outputs are compared; none: its embeddings are."""
        descent: Descending = RmsProp()
        """How the weights of the generating networks descend."""
        discriminator_descent: Descending = RmsProp()
        """How the weights of the discriminator descend."""

        @model_validator(mode="after")
        def _is_possible(self) -> "FsrNet.Config":
            if not self.num_landmarks and not self.num_parts:
                raise ValueError("FSRNet learns landmarks or parts: set num_landmarks or num_parts above 0")
            if self.perceptual_weight and self.perceptual == "vgg16" and self.perceptual_weights is None:
                raise ValueError(
                    "the perceptual loss of VGG16 needs its weights: set perceptual_weights to a file with "
                    'torchvision\'s names, or perceptual = "recogniser"'
                )
            return self

    def __init__(self, config: Config, crop: Crop, recogniser: Recogniser | None = None) -> None:
        super().__init__(config, crop, recogniser)
        check_sides(crop, PRIOR_REDUCTION * 2**config.hourglass_depth)
        _check_reductions(config.reductions, crop)
        width, norm, adds = config.num_filters, config.norm, config.adds_to_source
        self.coarse = Coarse(width, config.coarse_blocks, norm, adds)
        self.encoder = FineEncoder(width, config.encoder_blocks, norm)
        self.prior = PriorNetwork(
            width,
            config.prior_blocks,
            config.num_hourglasses,
            config.hourglass_depth,
            norm,
            config.normalises_features,
        )
        self.heads = PriorHeads(2 * width, config.num_landmarks, config.num_parts)
        self.decoder = FineDecoder(width, config.decoder_blocks, norm, ends_in_tanh=not adds)
        generating: dict[str, nn.Module] = dict(self.named_children())
        trained = {"generator": (config.descent, generating)}
        if config.adversarial_weight:
            channels = 6 if config.discriminator_sees_source else 3
            self.discriminator = Discriminator(channels, config.discriminator_filters, norm)
            trained["discriminator"] = config.discriminator_descent, {"discriminator": self.discriminator}
        for network in self.children():
            scatter_weights(network)
            if norm == "batch":  # by groups it is several times slower so
                channels_last(network)
        if adds:
            for ending in (self.coarse.to_picture, self.decoder.to_picture):
                nn.init.zeros_(ending.weight)
        self.optimisers = {name: descent.optimiser(networks) for name, (descent, networks) in trained.items()}
        self.schedules = {name: trained[name][0].schedule_of(found) for name, found in self.optimisers.items()}
        object.__setattr__(self, "_vgg", None)

    _vgg: vgg.Vgg16 | None  # outside the module tree, as the recogniser is

    @classmethod
    def settled(cls, config: Config, *, steps: int, num_identities: Callable[[], int]) -> Config:
        return config.model_copy(
            update={
                "descent": config.descent.settled(steps),
                "discriminator_descent": config.discriminator_descent.settled(steps),
            }
        )

    @property
    def wants_points(self) -> bool:
        return self.config.num_landmarks > 0

    @property
    def wants_parsing(self) -> bool:
        return self.config.num_parts > 0

    def begin(self, first_batch: Callable[[], Batch]) -> str | None:
        """Miss what the perceptual loss needs before anything is trained.

        Raises:
            ValueError: if the recogniser is not there, or the file is not the weights of VGG16.
        """
        if self.config.perceptual_weight and self.config.perceptual == "vgg16":
            self._vgg_on(next(self.parameters()).device)
        elif self.config.perceptual_weight:
            self._guide()
        return None

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """One step of the generating networks of the present stage, after one of the discriminator where there is one.

        Args:
            batch: `target`: sharp faces (B, 3, crop.height, crop.width); `shared_seed`: decides the reduction; where
                landmarks are learned `target_points`, where parts are `target_parsing`.

        Returns:
            `coarse`; where the stage has them `prior`, `fine`, `adversarial`, `perceptual`, `discriminator`; `total`.

        Raises:
            ValueError: if the batch has not the landmarks or parts that are learned.
        """
        config, stage = self.config, self._stage()
        draw = torch.Generator().manual_seed(int(batch["shared_seed"]))
        reduction = config.reductions[int(torch.randint(len(config.reductions), (), generator=draw))]
        sharp = signed(batch["target"])
        source = signed(self._enlarged(self._reduced(batch["target"], reduction)))
        coarse = self.coarse(source)
        terms: Terms = {"coarse": (config.coarse_weight, self._error(coarse, sharp))}
        losses: dict[str, Tensor] = {}
        if stage != "coarse":
            features = self.prior(coarse)
            terms["prior"] = config.prior_weight, self._error(self.heads(features), self._maps(batch))
        if stage == "all":
            fine = self._fine(coarse, features)
            terms["fine"] = config.fine_weight, self._error(fine, sharp)
            if config.perceptual_weight:
                terms["perceptual"] = config.perceptual_weight, self._perceptual(fine.float(), sharp)
            if config.adversarial_weight:
                losses = self._train_discriminator(source, fine.detach(), sharp)
                with held(self.discriminator):
                    scores = self.discriminator(self._judged(source, fine)).float()
                    terms["adversarial"] = config.adversarial_weight, generator_loss(scores, "cross_entropy")
                    return losses | self._train(terms)
        return losses | self._train(terms)

    @torch.no_grad()
    def generate(self, faces: Tensor) -> Tensor:
        """Enlarge faces (B, 3, h, w) of any size to (B, 3, crop.height, crop.width), both in [0, 1]."""
        return self.estimate(faces)["generated"]

    @torch.no_grad()
    def estimate(self, faces: Tensor) -> dict[str, Tensor]:
        """What is made of faces (B, 3, h, w) in [0, 1] of any size.

        Returns:
            `coarse` and `generated`: faces (B, 3, crop.height, crop.width) in [0, 1]; where landmarks are learned
            `points`: (B, num_landmarks, 2) (x, y) in px of the crop; where parts are learned `parsing`: (B,
            crop.height / 2, crop.width / 2) uint8, which part each pixel is of.
        """
        with _in_use(self):
            coarse = self.coarse(signed(self._enlarged(faces)))
            features = self.prior(coarse)
            maps = self.heads(features).float()
            fine = self._fine(coarse, features)
        found = {name: unsigned(made.float()).clamp(0, 1) for name, made in (("coarse", coarse), ("generated", fine))}
        landmarks, parts = maps.split([self.config.num_landmarks, self.config.num_parts], 1)
        if self.config.num_landmarks:
            found["points"] = points_of(unsigned(landmarks), PRIOR_REDUCTION)
        if self.config.num_parts:
            found["parsing"] = parsing_of(parts)
        return found

    def source_sizes(self) -> list[tuple[int, int]]:
        """The crop, reduced as in training."""
        return [(self.crop.height // reduction, self.crop.width // reduction) for reduction in self.config.reductions]

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        """For every size the enlarged source, the coarse and the fine picture, and the priors; then the sharp face."""
        columns = {}
        for reduction in sorted(self.config.reductions, reverse=True):
            source = self._reduced(batch["target"], reduction)
            size = f"{source.shape[-2]}x{source.shape[-1]}"
            found = self.estimate(source)
            columns[f"{size} source"] = self._enlarged(source)
            columns |= {f"{size} {name}": found[name] for name in ("coarse", "generated")}
            columns[f"{size} priors"] = self._drawn(found)
        return {**columns, "target": batch["target"]}

    def _stage(self) -> Stage:
        done = self.schedules["generator"].last_epoch
        if done < self.config.warmup_coarse_steps:
            return "coarse"
        return "prior" if done < self.config.warmup_coarse_steps + self.config.warmup_prior_steps else "all"

    def _fine(self, coarse: Tensor, features: Tensor) -> Tensor:
        made: Tensor = self.decoder(torch.cat([self.encoder(coarse), features], 1))
        return coarse + made if self.config.adds_to_source else made

    def _error(self, made: Tensor, wanted: Tensor) -> Tensor:
        return squared_error(made.float(), wanted.float(), self.config.error)

    def _maps(self, batch: Batch) -> Tensor:
        """What the heads should give: (B, maps, H / 2, W / 2) in [-1, 1]."""
        config = self.config
        wanted = []
        if config.num_landmarks:
            points = batch.get("target_points")
            if points is None or points.shape[1] != config.num_landmarks:
                found = "none" if points is None else points.shape[1]
                raise ValueError(
                    f"{config.num_landmarks} landmarks of each face are learned and the faces have {found}: give a "
                    "face list with 68 landmarks, or set settings.num_landmarks=0"
                )
            sides = self.crop.height, self.crop.width
            wanted.append(heat_maps(points, *sides, PRIOR_REDUCTION, config.heat_map_sigma_px))
        if config.num_parts:
            if "target_parsing" not in batch:
                raise ValueError(
                    "the parts of each face are learned and the faces are not parsed: give a face list with part "
                    "maps, or set settings.num_parts=0"
                )
            parsing = batch["target_parsing"]
            known = torch.where(parsing < config.num_parts, parsing, int(Part.BACKGROUND))
            wanted.append(part_maps(known, config.num_parts, PRIOR_REDUCTION))
        return signed(torch.cat(wanted, 1))

    def _perceptual(self, fine: Tensor, sharp: Tensor) -> Tensor:
        """Mean squared difference of features; of a recogniser's embeddings 1 - cos, of its layers the relative one."""
        fine_face, sharp_face = unsigned(fine).clamp(0, 1), unsigned(sharp)
        if self.config.perceptual == "recogniser":
            compared = self._guide().compare(fine_face, sharp_face)
            return compared["layers" if self.config.perceptual_layers else "identity"]
        network = self._vgg_on(fine.device)
        if self.config.perceptual_normalised:
            fine, sharp = vgg.normalised(fine_face), vgg.normalised(sharp_face)
        with torch.no_grad():
            wanted = network(sharp)
        return functional.mse_loss(network(fine).float(), wanted.float())

    def _guide(self) -> IdentityGuide:
        if self.recogniser is None:
            raise ValueError(
                "the perceptual loss needs a recogniser: add [recogniser] with a name, or set "
                "settings.perceptual_weight=0"
            )
        return IdentityGuide(self.recogniser, self.crop, self.config.perceptual_layers)

    def _vgg_on(self, device: torch.device) -> vgg.Vgg16:
        """Read when it is first needed: a trained run generates without the file."""
        if self._vgg is None:
            assert self.config.perceptual_weights is not None, "a setting that is refused without it"
            object.__setattr__(self, "_vgg", channels_last(vgg.read(self.config.perceptual_weights)).to(device))
        assert self._vgg is not None
        return self._vgg

    def _judged(self, source: Tensor, pictures: Tensor) -> Tensor:
        return torch.cat([source, pictures], 1) if self.config.discriminator_sees_source else pictures

    def _train_discriminator(self, source: Tensor, fine: Tensor, sharp: Tensor) -> dict[str, Tensor]:
        real, fake = (self.discriminator(self._judged(source, shown)).float() for shown in (sharp, fine))
        told = discriminator_loss(real, fake, "cross_entropy")
        descend(self, told, "discriminator")
        return {"discriminator": told.detach()}

    def _train(self, terms: Terms) -> dict[str, Tensor]:
        """One step of every generating network that the terms reach; the others keep their weights."""
        total = weighted(terms)
        descend(self, total, "generator")
        return {name: loss.detach() for name, (_, loss) in terms.items()} | {"total": total.detach()}

    def _reduced(self, faces: Tensor, reduction: int) -> Tensor:
        """Clipped, as any picture is that comes from a file."""
        small = self.crop.height // reduction, self.crop.width // reduction
        return resize(faces, *small, antialias=self.config.antialias).clamp(0, 1)

    def _enlarged(self, faces: Tensor) -> Tensor:
        return resize(faces, self.crop.height, self.crop.width, antialias=self.config.antialias).clamp(0, 1)

    def _drawn(self, found: dict[str, Tensor]) -> Tensor:
        """Estimated parts in colours of their own, landmarks as white dots: (B, 3, crop.height, crop.width)."""
        drawn = torch.zeros_like(found["generated"])
        if "parsing" in found:
            hues = torch.linspace(0, 2 * torch.pi, self.config.num_parts + 1, device=drawn.device)[:-1]
            thirds = 2 * torch.pi / 3 * torch.arange(3, device=drawn.device)
            colours = 0.4 + 0.3 * torch.cos(hues[:, None] + thirds)
            painted = colours[found["parsing"].long()].permute(0, 3, 1, 2)
            drawn = functional.interpolate(painted, scale_factor=PRIOR_REDUCTION, mode="nearest")
        if "points" in found:
            dots = heat_maps(found["points"], self.crop.height, self.crop.width, 1, DOT_PX).amax(1, keepdim=True)
            drawn = drawn + (1 - drawn) * dots
        return drawn


def squared_error(made: Tensor, wanted: Tensor, error: Error) -> Tensor:
    """The mean of squared differences; or half their sum over a face (as in the paper), the mean over faces."""
    difference = (made - wanted).square()
    return difference.mean() if error == "mean" else difference.sum() / (2 * len(made))


@contextmanager
def _in_use(method: nn.Module) -> Iterator[None]:
    """Running means as they are, and kept so; afterwards training or not, as before."""
    was_training = method.training
    method.eval()
    try:
        yield
    finally:
        method.train(was_training)


def _check_reductions(reductions: tuple[int, ...], crop: Crop) -> None:
    for reduction in reductions:
        if crop.height % reduction or crop.width % reduction:
            raise ValueError(
                f"a crop of {crop.height}x{crop.width} px cannot be reduced {reduction} times: choose 'reductions' "
                "that divide both sides"
            )
