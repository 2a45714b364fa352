"""TP-GAN (Huang, Zhang, Li and He, ICCV 2017): the front of a face that is seen from the side.

A global path sees the whole face, four local paths see the eyes, the nose and the mouth where they lie; their features
are fused by the maximum. Half of a profile is hidden: a face that shows its left cheek is mirrored first, and what is
hidden is asked to be like the mirrored other half. docs/methods/tp_gan.md lists what is the paper's, what is the
authors' code and what is ours.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from facebridge.adversarial import held
from facebridge.crops import Crop
from facebridge.descent import Descent
from facebridge.layers import in_use, signed, unsigned
from facebridge.method import Batch, Frozen, HallucinationMethod
from facebridge.methods.tp_gan.losses import (
    FAKE,
    REAL,
    IdentityLoss,
    judged,
    local_loss,
    pixel_loss,
    scales_of,
    symmetry_loss,
    total_variation,
)
from facebridge.methods.tp_gan.networks import (
    PATCH_REDUCTION,
    REDUCTION,
    SCORES_REDUCTION,
    Discriminator,
    FirstWeights,
    Frontal,
    GlobalPath,
    IdentityHead,
    Local,
    LocalPaths,
    draw_first_weights,
)
from facebridge.methods.tp_gan.places import frontal_places, mirrored_where, turned
from facebridge.recogniser import Recogniser
from facebridge.translation import Terms, check_sides, weighted

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Side = Annotated[int, Field(ge=8)]

PUBLISHED_DESCENT = Descent(kind="adam", learning_rate=1e-4, momentum=0.9, weight_decay=0)
"""Adam as the authors' code trains every network."""


class TpGan(HallucinationMethod["TpGan.Config"]):
    """Turn faces to the front, learned from pairs of a turned and a frontal picture."""

    makes_fronts: Literal[True] = True

    class Config(Frozen):
        """Defaults: the authors' code for 128 px, its sums over pixels as means, but for the symmetry loss.

        docs/methods/tp_gan.md lists what departs.
        """

        num_filters: Annotated[int, Field(ge=4, multiple_of=4)] = 64
        """Channels of the outermost convolutions of all paths."""
        feature_size: Annotated[int, Field(ge=1)] = 256
        """Numbers of v, the code between global encoder and decoder."""
        noise_size: Annotated[int, Field(ge=1)] = 100
        """Numbers of noise beside v; from N(0, noise_spread) in training, 0 when faces are made."""
        noise_spread: Weight = 0.02
        """Standard deviation of the noise in training."""
        local_paths: bool = True
        """Whether there are local paths."""
        eye_size: tuple[Side, Side] = (40, 40)
        """Height and width of an eye's patch, px."""
        nose_size: tuple[Side, Side] = (32, 40)
        """Height and width of the nose's patch, px."""
        mouth_size: tuple[Side, Side] = (32, 48)
        """Height and width of the mouth's patch, px."""
        discriminator_filters: Annotated[int, Field(ge=1)] = 64
        """Channels of the discriminator's first convolution."""
        first_weights: FirstWeights = "published"
        """How weights are drawn: normal of deviation 0.02, or by the size of each layer (He et al. 2015)."""
        scale_weights: tuple[Weight, Weight, Weight] = (1.0, 0.25, 0.094)
        """Weights of the pictures of the crop's size, half and a quarter of it, in the pixel and symmetry losses."""
        pixel_weight: Weight = 1.0
        """Weight of the pixel loss."""
        symmetry_weight: Weight = 0.3
        """lambda 1: weight of the symmetry loss, a mean; 8, 2 and 2 times the code's for the three pictures."""
        adversarial_weight: Weight = 1.22e-3
        """lambda 2: weight of the adversarial loss; 0: no discriminator is trained. The paper's is 1e-3."""
        identity_weight: Weight = 2.44e-3
        """lambda 3: weight of the identity-preserving loss. The paper's is 3e-3."""
        identity_layers: tuple[str, ...] = ("embedding",)
        """Modules of the recogniser before which it is compared, beside its embedding; Light CNN's last pool."""
        variation_weight: Weight = 3e-3
        """lambda 4: weight of the total variation. The paper's is 1e-4."""
        cross_entropy_weight: Weight = 6.1e-4
        """alpha: weight of the cross entropy between v and the person. The paper's is 1e-3."""
        local_weights: tuple[Weight, Weight, Weight] = (0.293, 0.234, 0.281)
        """Weights of the local losses of an eye, the nose and the mouth."""
        local_update: Literal["separate", "joint"] = "separate"
        """Whether the local loss has updates of its own, before the generator's, or is one of the generator's."""
        generator_updates: Annotated[int, Field(ge=1)] = 2
        """Updates of the local paths and the generator on each batch, for one of the discriminator."""
        statistics_in_use: Literal["running", "own"] = "running"
        """What faces are made by: the means of the training, or those of the faces given together, as published."""
        num_identities: Annotated[int, Field(ge=2)] | None = None
        """People of the cross entropy; absent: as many as the training faces show."""
        descent: Descent = PUBLISHED_DESCENT
        """How the weights of the global path and the identity head descend."""
        local_descent: Descent = PUBLISHED_DESCENT
        """How the weights of the local paths descend."""
        discriminator_descent: Descent = PUBLISHED_DESCENT
        """How the weights of the discriminator descend."""

        @model_validator(mode="after")
        def _teaches_something(self) -> "TpGan.Config":
            names = ("pixel", "symmetry", "adversarial", "identity", "variation", "cross_entropy")
            weights = {f"{name}_weight": getattr(self, f"{name}_weight") for name in names}
            if not any(weights.values()):
                raise ValueError(f"the generator has nothing to learn from: set one of {', '.join(weights)} above 0")
            if (self.pixel_weight or self.symmetry_weight) and not any(self.scale_weights):
                raise ValueError(
                    "pixel_weight and symmetry_weight weigh nothing where all scale_weights are 0: set one of these "
                    "above 0, or pixel_weight and symmetry_weight to 0"
                )
            return self

    def __init__(self, config: Config, crop: Crop, recogniser: Recogniser | None = None) -> None:
        super().__init__(config, crop, recogniser)
        check_sides(crop, REDUCTION)
        sizes = config.eye_size, config.nose_size, config.mouth_size
        self.places = frontal_places(crop, *sizes) if config.local_paths else ()
        size, width = (crop.height, crop.width), config.num_filters
        self.global_path = GlobalPath(size, width, config.feature_size, config.noise_size, config.local_paths)
        trained: dict[str, dict[str, nn.Module]] = {"generator": {"global_path": self.global_path}}
        descents = {"generator": config.descent}
        if config.cross_entropy_weight:
            self.identity_head = IdentityHead(config.feature_size, config.num_identities or 2)
            trained["generator"]["identity_head"] = self.identity_head
        if config.local_paths:
            self.local_paths = LocalPaths(size, self.places, width)
            trained["local"], descents["local"] = {"local_paths": self.local_paths}, config.local_descent
        if config.adversarial_weight:
            self.discriminator = Discriminator(config.discriminator_filters)
            trained["discriminator"] = {"discriminator": self.discriminator}
            descents["discriminator"] = config.discriminator_descent
        draw_first_weights(self, config.first_weights)
        self.optimisers = {name: descents[name].optimiser(networks) for name, networks in trained.items()}
        self.schedules = {name: descents[name].schedule_of(each) for name, each in self.optimisers.items()}
        self.identity_loss: IdentityLoss | None = None
        if recogniser is not None and config.identity_weight:
            self.identity_loss = IdentityLoss(recogniser, crop, config.identity_layers)

    @classmethod
    def settled(cls, config: Config, *, steps: int, num_identities: Callable[[], int]) -> Config:
        updates = steps * config.generator_updates
        local_updates = 2 if config.local_update == "separate" and any(config.local_weights) else 1
        known = {
            "descent": config.descent.settled(updates),
            "local_descent": config.local_descent.settled(updates * local_updates),
            "discriminator_descent": config.discriminator_descent.settled(steps),
        }
        if not config.cross_entropy_weight:
            return config.model_copy(update=known)
        shown = num_identities()
        people = config.num_identities or shown
        if people < shown:
            raise ValueError(
                f"the training faces show {shown:,} people and settings.num_identities is {people:,}: leave it out"
            )
        return config.model_copy(update={**known, "num_identities": max(people, 2)})

    @classmethod
    def wants_mirrored_together(cls, config: Config) -> bool:
        return True

    @property
    def wants_five_points(self) -> bool:
        return True

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """One update of the discriminator; of the local paths and of the generator as many as the settings say.

        Args:
            batch: `source` and `target`: turned and frontal faces (B, 3, crop.height, crop.width); `source_points5`;
                with cross entropy `target_identity`.

        Returns:
            Those of `discriminator`, `local`, `pixel`, `symmetry`, `adversarial`, `identity`, `variation` and
            `cross_entropy` that have a weight; `total`. Those of the last update.

        Raises:
            ValueError: if the batch has no sources, or those of other people, does not say where their points lie, or
                is of one face where a network has nothing else to normalise by.
        """
        source, target = _pairs_of(batch)
        self._check_count(len(source))
        left, source, points = turned(source, _points_of(batch))
        source, target = signed(source), signed(mirrored_where(left, target))
        parts = [place.of(target) for place in self.places]
        losses: dict[str, Tensor] = {}
        for update in range(self.config.generator_updates):
            if self._trains_local_alone:
                losses["local"] = self._train_local(source, points, parts)
            is_last = update == self.config.generator_updates - 1
            with nullcontext() if is_last else statistics_kept(self):
                made = self._front(source, points, self._noise(len(source)).to(source))
            if update == 0 and self.config.adversarial_weight:
                losses["discriminator"] = self._train_discriminator(made.pictures[0].detach(), target)
            losses |= self._train_generator(made, target, parts, batch.get("target_identity"))
        return {name: loss.detach() for name, loss in losses.items()}

    def generate(self, faces: Tensor) -> Tensor:
        """As `generate_at`, of faces whose points lie where the crop has them: all count as turned to the same side.

        Both (B, 3, crop.height, crop.width) float32 RGB in [0, 1].
        """
        return self.generate_at(faces, torch.tensor(self.crop.points).expand(len(faces), -1, -1))

    def generate_at(self, faces: Tensor, points: Tensor) -> Tensor:
        """The fronts of faces whose five points are known; those that look to the left are mirrored on the way.

        Args:
            faces: (B, 3, crop.height, crop.width) float32 RGB in [0, 1].
            points: (B, 5, 2) (x, y) in pixels of the faces.
        """
        left, faces, points = turned(faces, points)
        return mirrored_where(left, _shown(self._frontal(faces, points).pictures[0]))

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        """Source, generated face, what the local paths make of its parts, and target."""
        source, target = _pairs_of(batch)
        left, faces, points = turned(source, _points_of(batch))
        made = self._frontal(faces, points)
        columns = {"source": source, "generated": mirrored_where(left, _shown(made.pictures[0]))}
        if made.local is not None:
            columns["local paths"] = mirrored_where(left, _shown(made.local.picture))
        return columns | {"target": target}

    @property
    def _trains_local_alone(self) -> bool:
        config = self.config
        return config.local_paths and config.local_update == "separate" and any(config.local_weights)

    @property
    def _weights_of_parts(self) -> tuple[float, float, float, float]:
        eye, nose, mouth = self.config.local_weights
        return eye, eye, nose, mouth

    def _check_count(self, count: int) -> None:
        """ValueError: if there is one face, and features of a single place would be normalised by that place alone."""
        side = max(self.crop.height, self.crop.width)
        is_single = side <= (SCORES_REDUCTION if self.config.adversarial_weight else REDUCTION)
        if count == 1 and (is_single or any(max(part.height, part.width) <= PATCH_REDUCTION for part in self.places)):
            raise ValueError(
                "one face at a time cannot be normalised where features shrink to a single place (a discriminator's do "
                f"up to {SCORES_REDUCTION} px): give every process two faces or more (training.batch_size), or choose "
                "a larger crop and larger patches"
            )

    def _noise(self, count: int) -> Tensor:
        return self.config.noise_spread * torch.randn(count, self.config.noise_size)

    @torch.no_grad()
    def _frontal(self, faces: Tensor, points: Tensor) -> Frontal:
        """What is made, without noise, of faces in [0, 1] that show their right cheek."""
        noise = faces.new_zeros(len(faces), self.config.noise_size)
        with in_use(self, False, self.config.statistics_in_use == "own"):
            return self._front(signed(faces), points, noise)

    def _front(self, pictures: Tensor, points: Tensor, noise: Tensor) -> Frontal:
        """What all paths make of pictures in [-1, 1] that show their right cheek."""
        local: Local | None = self.local_paths(pictures, points) if self.config.local_paths else None
        seen = () if local is None else (local.features, local.picture)
        made, code = self.global_path(pictures, noise, *seen)
        return Frontal(made, local, code)

    def _train_local(self, source: Tensor, points: Tensor, parts: list[Tensor]) -> Tensor:
        with statistics_kept(self):
            made: Local = self.local_paths(source, points)
        lost = local_loss(made.parts, parts, self._weights_of_parts)
        self._descend(lost, "local")
        return lost

    def _train_discriminator(self, made: Tensor, target: Tensor) -> Tensor:
        real, fake = self.discriminator(target, made)
        told = judged(real, REAL) + judged(fake, FAKE)
        self._descend(told, "discriminator")
        return told

    def _train_generator(
        self, made: Frontal, target: Tensor, parts: list[Tensor], people: Tensor | None
    ) -> dict[str, Tensor]:
        with held(*([self.discriminator] if self.config.adversarial_weight else [])):
            terms = self._picture_terms(made.pictures, target) | self._terms_through_networks(made, target, people)
            if made.local and self.config.local_update == "joint" and any(self.config.local_weights):
                terms["local"] = 1.0, local_loss(made.local.parts, parts, self._weights_of_parts)
            total = weighted(terms)
            self._descend(total, *(name for name in ("generator", "local") if name in self.optimisers))
        return {name: loss for name, (_, loss) in terms.items()} | {"total": total}

    def _picture_terms(self, made: tuple[Tensor, ...], target: Tensor) -> Terms:
        config, terms = self.config, Terms()
        if config.pixel_weight:
            terms["pixel"] = config.pixel_weight, pixel_loss(made, scales_of(target), config.scale_weights)
        if config.symmetry_weight:
            terms["symmetry"] = config.symmetry_weight, symmetry_loss(made, config.scale_weights)
        if config.variation_weight:
            terms["variation"] = config.variation_weight, total_variation(made[0])
        return terms

    def _terms_through_networks(self, made: Frontal, target: Tensor, people: Tensor | None) -> Terms:
        config, terms = self.config, Terms()
        if config.adversarial_weight:
            (scores,) = self.discriminator(made.pictures[0])
            terms["adversarial"] = config.adversarial_weight, judged(scores, REAL)
        if config.identity_weight:
            assert self.identity_loss is not None, "built without a recogniser: generation only"
            faces = unsigned(made.pictures[0].float()), unsigned(target)
            terms["identity"] = config.identity_weight, self.identity_loss(*faces)
        if config.cross_entropy_weight:
            assert people is not None, "training faces have identities"
            logits = self.identity_head(made.code).float()
            terms["cross_entropy"] = config.cross_entropy_weight, functional.cross_entropy(logits, people)
        return terms

    def _descend(self, total: Tensor, *names: str) -> None:
        """One step down the total with the optimisers of these names together, and one of their schedules."""
        for name in names:
            self.optimisers[name].zero_grad(set_to_none=True)
        self.backward(total)
        for name in names:
            self.optimisers[name].step()
            self.schedules[name].step()
        torch.clear_autocast_cache()  # it holds the weights as they were, in bf16


@contextmanager
def statistics_kept(network: nn.Module) -> Iterator[None]:
    """Normalise by the batch, as in training, and leave the running means as they are: one batch counts once."""
    norms = {module: module.momentum for module in network.modules() if isinstance(module, nn.BatchNorm2d)}
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in norms.items():
            norm.momentum = momentum


def _pairs_of(batch: Batch) -> tuple[Tensor, Tensor]:
    """Sources and targets (B, 3, H, W). ValueError: if sources are missing, or show other people than the targets."""
    if "source" not in batch or batch["source"].ndim != batch["target"].ndim:
        raise ValueError(
            "TP-GAN learns from a turned face and the front of the same person: set data.pairing.kind to "
            "profile_to_frontal"
        )
    if "source_identity" in batch and not torch.equal(batch["source_identity"], batch["target_identity"]):
        raise ValueError(
            "a face and its front must show one person: set data.pairing.kind to profile_to_frontal or same_person"
        )
    return batch["source"], batch["target"]


def _points_of(batch: Batch) -> Tensor:
    if "source_points5" not in batch:
        raise ValueError(
            "the five points of every source say to which side it looks, with and without local paths: give a face "
            "list that has them"
        )
    return batch["source_points5"]


def _shown(pictures: Tensor) -> Tensor:
    return unsigned(pictures.float()).clamp(0, 1)
