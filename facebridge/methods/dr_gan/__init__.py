"""DR-GAN (Tran, Yin and Liu, CVPR 2017; TPAMI 2018): faces at any pose, and features that do not change with it.

An encoder and a decoder that is told a pose make the face of the same person at that pose; the discriminator says who a
picture shows, at which pose, and whether it is real. The encoder's feature recognises; those of several pictures are
fused by confidences. docs/methods/dr_gan.md lists what is published, what is the programs' and what is ours.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated

import torch
from pydantic import AfterValidator, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from facebridge.adversarial import held
from facebridge.crops import Crop
from facebridge.descent import Constant, Descent, descend
from facebridge.layers import scatter_weights, signed
from facebridge.method import Batch, Frozen, HallucinationMethod
from facebridge.methods.dr_gan import losses, poses
from facebridge.methods.dr_gan.losses import Verdicts, Version
from facebridge.methods.dr_gan.networks import REDUCTION, Discriminator, FeatureAlone, Generator, flat, fused, shares
from facebridge.methods.dr_gan.shown import Shown
from facebridge.methods.dr_gan.turns import AdaptiveTurns, Turns
from facebridge.methods.dr_gan.views import equal_parts, evaluating, rows
from facebridge.recogniser import Normalisation, Recogniser
from facebridge.streamline import channels_last
from facebridge.translation import check_sides, weighted

PUBLISHED_POSES_DEG = tuple(15.0 * number for number in range(-4, 5))
"""Those of Multi-PIE's cameras from -60 to 60 degrees."""

NORMALISATION = Normalisation("rgb", (127.5,), (127.5,))
"""What the encoder takes: values in [-1, 1]."""

PREVIEWED_POSES = 5
"""Poses of a preview, from one side to the other."""

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Size = Annotated[int, Field(ge=1)]


class DrGan(HallucinationMethod["DrGan.Config"]):
    """Turn heads, and recognise them at any pose; of one picture, or of several of one person."""

    class Config(Frozen):
        """Defaults: the paper's."""

        version: Version = "extended"
        """What the discriminator tells apart; see `facebridge.methods.dr_gan.losses`."""
        several: bool = False
        """Whether the pictures of a set are fused by learned confidences (the multi-image version); batches then hold
        several sources."""
        poses_deg: Annotated[tuple[float, ...], AfterValidator(poses.check)] = PUBLISHED_POSES_DEG
        """The yaws that faces are turned to, rising, degrees; a training face counts as the nearest one."""
        noise_size: Annotated[int, Field(ge=0)] = 50
        """Nz: numbers from U(-1, 1) that vary generated faces; in use they are 0."""
        num_filters: Size = 32
        """Channels of the first convolution of encoder and discriminator; a feature has ten times as many numbers."""
        num_identities: Annotated[int, Field(ge=2)] | None = None
        """Nd: people that the discriminator tells apart; absent: as many as the training faces show."""
        adversarial_weight: Weight = 1.0
        """Weight of telling generated faces, and of not being told; in the version cvpr of the former alone."""
        classification_weight: Weight = 1.0
        """Weight of who a face shows."""
        discriminator_classification_weight: Weight | None = None
        """Its weight where the discriminator learns, which must know people before it can teach them; absent: the
        same."""
        pose_weight: Weight = 1.0
        """Weight of the pose that a face shows."""
        pixel_weight: Weight = 0.0
        """Weight of the L1 distance of a target from its person's sources turned to the target's pose; not published,
        for pairs of one person alone."""
        turns: Turns = "both"
        """Who is trained in a step; see `facebridge.methods.dr_gan.turns`."""
        descent: Descent = Descent(kind="adam", learning_rate=2e-4, momentum=0.5, weight_decay=0, schedule=Constant())
        """How the weights of the generator descend."""
        discriminator_descent: Descent = Descent(
            kind="adam", learning_rate=2e-4, momentum=0.5, weight_decay=0, schedule=Constant()
        )
        """How the weights of the discriminator descend."""

        @model_validator(mode="after")
        def _teaches_the_generator(self) -> "DrGan.Config":
            weights = [self.classification_weight, self.pose_weight, self.pixel_weight]
            if not any([*weights, self.adversarial_weight * (self.version == "extended")]):
                raise ValueError(
                    "no loss teaches the generator: set classification_weight, pose_weight or pixel_weight above 0, or "
                    "in the version extended adversarial_weight"
                )
            return self

    def __init__(self, config: Config, crop: Crop, recogniser: Recogniser | None = None) -> None:
        super().__init__(config, crop)
        check_sides(crop, REDUCTION)
        num_poses, size = len(config.poses_deg), (crop.height, crop.width)
        generator = Generator(size, num_poses, config.noise_size, config.num_filters, config.several)
        discriminator = Discriminator(self.num_identities, num_poses, config.num_filters)
        for network in (generator, discriminator):
            scatter_weights(network)
        self.generator, self.discriminator = channels_last(generator), channels_last(discriminator)
        descents = {"generator": config.descent, "discriminator": config.discriminator_descent}
        networks: dict[str, nn.Module] = {"generator": self.generator, "discriminator": self.discriminator}
        self.optimisers = {name: descent.optimiser({name: networks[name]}) for name, descent in descents.items()}
        self.schedules = {name: descent.schedule_of(self.optimisers[name]) for name, descent in descents.items()}
        self.turns = AdaptiveTurns()
        if config.turns == "adaptive":
            self.memories = {"turns": self.turns}

    @classmethod
    def settled(cls, config: Config, *, steps: int, num_identities: Callable[[], int]) -> Config:
        shown = num_identities()
        known = config.num_identities or shown
        if known < shown:
            raise ValueError(
                f"the training faces show {shown:,} people and settings.num_identities is {known:,}: leave it out"
            )
        return config.model_copy(
            update={
                "num_identities": known,
                "descent": config.descent.settled(steps),
                "discriminator_descent": config.discriminator_descent.settled(steps),
            }
        )

    @property
    def num_identities(self) -> int:
        """People that the discriminator tells apart."""
        return self.config.num_identities or 2

    @property
    def wants_yaw(self) -> bool:
        return True

    def poses_deg(self) -> tuple[float, ...]:
        """As `TurnsHeads.poses_deg`."""
        return self.config.poses_deg

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """One step of the discriminator, then one of the generator; or of one of them, where they take turns.

        Args:
            batch: `target` (B, 3, crop.height, crop.width), `target_identity`, `target_yaw_deg`; where the data is
                paired also `source`, `source_identity`, `source_yaw_deg`. With `several` sources are (B, k, 3, H, W),
                of one person with the target.

        Returns:
            `discriminator_adversarial`, `discriminator_identity`, `discriminator_pose`, their sum `discriminator`, and
            how often it was right, `discriminator_accuracy`; `identity`, `pose`, `adversarial` (extended), `pixel`
            (where weighted), `total`. Where networks take turns, those of the one that was trained.

        Raises:
            ValueError: if the batch has no yaws, or not the sources that the settings ask for.
        """
        shown = Shown.of(batch, self.config.poses_deg, self.config.several, self.config.pixel_weight > 0)
        takes_turns = self.config.turns == "adaptive"
        is_discriminators = not takes_turns or self.turns.is_discriminators()
        is_generators = not takes_turns or not is_discriminators
        with torch.set_grad_enabled(is_generators):
            made, asked = self._made(shown)
        found: dict[str, Tensor] = {}
        if is_discriminators:
            found |= self._train_discriminator(shown, made.detach())
        if is_generators:
            found |= self._train_generator(shown, made, asked)
        self.turns.advance()
        return found

    @torch.no_grad()
    def generate(self, faces: Tensor) -> Tensor:
        """The faces (B, 3, H, W) from the front, without noise; both in [0, 1]."""
        return self.turned(faces, [0.0])[:, 0]

    @torch.no_grad()
    def turned(self, faces: Tensor, yaw_deg: Sequence[float]) -> Tensor:
        """As `TurnsHeads.turned`; between two poses of the training the code goes linearly from one to the other."""
        return self.turned_fused(faces[:, None], yaw_deg)

    @torch.no_grad()
    def turned_fused(self, faces: Tensor, yaw_deg: Sequence[float]) -> Tensor:
        """People, each known from k pictures, turned to each of several yaws.

        Args:
            faces: (B, k, 3, H, W) in [0, 1], any k.
            yaw_deg: degrees, positive where the nose points to the right of the picture.

        Returns:
            (B, len(yaw_deg), 3, H, W) in [0, 1].

        Raises:
            ValueError: if a yaw is out of the range of the training.
        """
        codes = poses.codes(yaw_deg, self.config.poses_deg)
        return rows(
            self.generator.decoder, self.fused(faces)[0][:, None], codes, torch.zeros(1, self.config.noise_size)
        )

    def generate_fused(self, faces: Tensor, yaw_deg: float = 0.0) -> Tensor:
        """As `turned_fused`, to one yaw: (B, k, 3, H, W) -> (B, 3, H, W)."""
        return self.turned_fused(faces, [yaw_deg])[:, 0]

    @torch.no_grad()
    def fused(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        """One feature of several pictures of a person: sum_i w_i f_i / sum_i w_i; compared by cosine.

        Args:
            faces: (B, k, 3, H, W) in [0, 1], any k.

        Returns:
            Features (B, 10 num_filters) float32 of any length, and how much each picture counts (B, k), summing to 1;
            equal parts where no confidences are learned.
        """
        encoder = self.generator.encoder
        with evaluating(encoder):
            features, confidences = encoder(signed(flat(faces)))
        confidences = confidences.reshape(faces.shape[:2])
        return fused(features.reshape(*faces.shape[:2], -1), confidences), shares(confidences)

    @torch.no_grad()
    def between_people(self, first: Tensor, second: Tensor, count: int, yaw_deg: float = 0.0) -> Tensor:
        """Faces whose features go from one person's to another's in equal steps, both ends included.

        Args:
            first, second: faces (B, 3, H, W) in [0, 1].
            count: how many, two or more.
            yaw_deg: how all of them are turned.

        Returns:
            (B, count, 3, H, W) in [0, 1].

        Raises:
            ValueError: if there are fewer than two, or the yaw is out of the range of the training.
        """
        ends = [self.fused(faces[:, None])[0][:, None] for faces in (first, second)]
        code = poses.codes([yaw_deg], self.config.poses_deg)
        along = equal_parts(count)[:, None].to(ends[0])
        return rows(
            self.generator.decoder, ends[0] + along * (ends[1] - ends[0]), code, torch.zeros(1, self.config.noise_size)
        )

    @torch.no_grad()
    def between_noises(self, faces: Tensor, count: int, yaw_deg: float = 0.0, seed: int = 0) -> Tensor:
        """Faces whose noise goes from one draw to another in equal steps, both ends included.

        Args:
            faces: (B, 3, H, W) in [0, 1].
            count: how many, two or more.
            yaw_deg: how all of them are turned.
            seed: decides the two draws, which are those of every face.

        Returns:
            (B, count, 3, H, W) in [0, 1].

        Raises:
            ValueError: if there are fewer than two, or the yaw is out of the range of the training.
        """
        first, second = 2 * torch.rand(2, self.config.noise_size, generator=torch.Generator().manual_seed(seed)) - 1
        code = poses.codes([yaw_deg], self.config.poses_deg)
        return rows(
            self.generator.decoder,
            self.fused(faces[:, None])[0][:, None],
            code,
            first + equal_parts(count)[:, None] * (second - first),
        )

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        """Source, the face from the front and at some poses, the target; with several sources also the fused front."""
        target = batch["target"]
        source = batch.get("source", target)
        first = source[:, 0] if source.ndim == 5 else source
        last = len(self.config.poses_deg) - 1
        some = sorted({round(part * last / (PREVIEWED_POSES - 1)) for part in range(PREVIEWED_POSES)})
        yaws = [self.config.poses_deg[number] for number in some]
        columns = {"source": first, "front": self.generate(first)}
        columns |= {f"{yaw:+g} deg": made for yaw, made in zip(yaws, self.turned(first, yaws).unbind(1), strict=True)}
        if source.ndim == 5:
            columns["fused front"] = self.generate_fused(source)
        return columns | {"target": target}

    def as_recogniser(self) -> Recogniser:
        """The encoder as it is now: a frozen copy whose embedding is the feature of a single picture."""
        encoder = copy.deepcopy(self.generator.encoder)
        recogniser = Recogniser("dr_gan", FeatureAlone(encoder), self.crop, NORMALISATION, encoder.feature_size)
        recogniser.requires_grad_(False)
        return recogniser

    def _made(self, shown: Shown) -> tuple[Tensor, Tensor]:
        """Pictures (B, n, 3, H, W) and their poses (B, n): of the fused feature, then of each single one.

        Where pixels are compared, a last one of the fused feature at the target's pose.
        """
        people, num_sources = shown.sets.shape[:2]
        of = [0, *range(1, num_sources + 1)] if self.config.several else [0]
        asked = torch.randint(len(self.config.poses_deg), (people, len(of))).to(shown.poses)
        if self.config.pixel_weight:
            of, asked = [*of, 0], torch.cat([asked, shown.further_poses[:, None]], 1)
        codes = functional.one_hot(asked, len(self.config.poses_deg)).float()
        noise = (2 * torch.rand(people, len(of), self.config.noise_size) - 1).to(codes)
        return self.generator(shown.sets, of, codes, noise), asked

    def _judged(self, *batches: Tensor) -> Iterator[Verdicts]:
        for logits in self.discriminator(*batches):
            yield Verdicts.of(logits, self.num_identities, self.config.version)

    def _train_discriminator(self, shown: Shown, made: Tensor) -> dict[str, Tensor]:
        real, fake = self._judged(shown.real, flat(self._judgeable(made)))
        found = losses.discriminator_losses(real, fake, shown.identities, shown.poses)
        told_apart = self.config.discriminator_classification_weight
        total = self._total(found, self.config.classification_weight if told_apart is None else told_apart)
        descend(self, total, "discriminator")
        accuracy = losses.accuracy(real, fake, shown.identities, shown.poses)
        if self.config.turns == "adaptive":
            self.turns.judge(accuracy)
        told = {f"discriminator_{name}": loss.detach() for name, loss in found.items()}
        return told | {"discriminator": total.detach(), "discriminator_accuracy": accuracy.detach()}

    def _train_generator(self, shown: Shown, made: Tensor, asked: Tensor) -> dict[str, Tensor]:
        with held(self.discriminator):
            (fake,) = self._judged(flat(self._judgeable(made)))
            wanted = self._judgeable(asked)
            people = shown.people[:, None].expand_as(wanted)
            found = losses.generator_losses(fake, people.flatten(), wanted.flatten())
            if self.config.pixel_weight:
                found["pixel"] = functional.l1_loss(made[:, -1], shown.further)
            total = self._total(found, self.config.classification_weight)
            descend(self, total, "generator")
        return {name: loss.detach() for name, loss in {**found, "total": total}.items()}

    def _judgeable(self, each: Tensor) -> Tensor:
        """Of something of all generated pictures (B, n, ...) that of those that are not compared by pixels."""
        return each[:, :-1] if self.config.pixel_weight else each

    def _total(self, found: dict[str, Tensor], classification_weight: float) -> Tensor:
        config = self.config
        weights = {"adversarial": config.adversarial_weight, "identity": classification_weight}
        weights |= {"pose": config.pose_weight, "pixel": config.pixel_weight}
        return weighted({name: (weights[name], loss) for name, loss in found.items()})
