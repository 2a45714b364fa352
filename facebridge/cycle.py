"""What methods share that translate there and back: CycleGAN's two generators, two discriminators and training step."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from facebridge.adversarial import Objective, Pool, discriminator_loss, generator_loss, held
from facebridge.crops import Crop
from facebridge.descent import Descent, descend
from facebridge.jitter import jittered
from facebridge.layers import PatchGan, scatter_weights, signed, unsigned
from facebridge.method import Batch, Frozen, HallucinationMethod
from facebridge.recogniser import Recogniser
from facebridge.translation import PUBLISHED_DESCENT, Terms, both_sides, check_sides, weighted


class CycleConfig(Frozen):
    """Defaults: CycleGAN's code."""

    cycle_weight: Annotated[float, Field(ge=0)] = 10.0
    """lambda: weight of coming back to where a face came from, each way."""
    same_weight: Annotated[float, Field(ge=0)] = 0.5
    """Weight of leaving a face alone that is of the wanted kind already ("identity loss" in the code), as a part of
    cycle_weight; 0: no such loss."""
    objective: Objective = "least_squares"
    """How the discriminators' scores are judged."""
    pool_size: Annotated[int, Field(ge=0)] = 50
    """Earlier fakes that each discriminator may be shown again."""
    jitter: Annotated[float, Field(ge=1)] = 286 / 256
    """How much faces are enlarged before a part of the crop's size is cut out at random; 1: not at all."""
    discriminator_filters: Annotated[int, Field(ge=1)] = 64
    """Channels of the discriminators' first convolution."""
    discriminator_layers: Annotated[int, Field(ge=1)] = 3
    """Convolutions of the discriminators with stride 2; 3: a score sees 70 x 70 px."""
    descent: Descent = PUBLISHED_DESCENT
    """How the weights of the generators descend."""
    discriminator_descent: Descent = PUBLISHED_DESCENT
    """How the weights of the discriminators descend."""


Settings = TypeVar("Settings", bound=CycleConfig)


class CycleMethod(HallucinationMethod[Settings]):
    """Source -> target and target -> source, trained together.

    Args:
        config, crop, recogniser: as of every method.
        generator: makes one of the two generators, pictures (B, 3, H, W) in [-1, 1] -> the same.
    """

    def __init__(
        self, config: Settings, crop: Crop, recogniser: Recogniser | None, generator: Callable[[], nn.Module]
    ) -> None:
        super().__init__(config, crop, recogniser)
        check_sides(crop)
        self.to_target, self.to_source = generator(), generator()
        judges = [
            PatchGan(num_filters=config.discriminator_filters, num_layers=config.discriminator_layers) for _ in range(2)
        ]
        for judge in judges:
            scatter_weights(judge)
        self.target_discriminator, self.source_discriminator = judges
        self.optimisers = {
            "generators": self.generators_optimiser(),
            "discriminators": config.discriminator_descent.optimiser(
                {"source": self.source_discriminator, "target": self.target_discriminator}
            ),
        }
        descents = {"generators": config.descent, "discriminators": config.discriminator_descent}
        self.schedules = {name: descent.schedule_of(self.optimisers[name]) for name, descent in descents.items()}
        self.pools = {"source": Pool(config.pool_size), "target": Pool(config.pool_size)}
        self.memories = dict(self.pools)

    @classmethod
    def settled(cls, config: Settings, *, steps: int, num_identities: Callable[[], int]) -> Settings:
        return config.model_copy(
            update={
                "descent": config.descent.settled(steps),
                "discriminator_descent": config.discriminator_descent.settled(steps),
            }
        )

    def generators_optimiser(self) -> torch.optim.Optimizer:
        """What moves both generators."""
        return self.config.descent.optimiser({"to_source": self.to_source, "to_target": self.to_target})

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """One step of both generators, then one of both discriminators, with fakes of this step or an earlier one.

        Args:
            batch: `source` and `target`: faces (B, 3, crop.height, crop.width), paired or not.

        Returns:
            `adversarial_target`, `adversarial_source`, `cycle_source`, `cycle_target`, `same_target`, `same_source`
            (where weighted), those that a method adds, their `total`; `discriminator_target`, `discriminator_source`.

        Raises:
            ValueError: if the batch has no sources.
        """
        source, target = (signed(faces) for faces in self.jittered(*both_sides(batch)))
        with held(self.target_discriminator, self.source_discriminator):
            made_target, made_source = self.to_target(source), self.to_source(target)
            with unrecorded(self.to_target, self.to_source):
                terms = self._terms(source, target, made_source, made_target)
            terms |= self.added_terms(source, target, made_source, made_target)
            total = weighted(terms)
            descend(self, total, "generators")
        judged = {
            "discriminator_target": self._told(self.target_discriminator, target, made_target, self.pools["target"]),
            "discriminator_source": self._told(self.source_discriminator, source, made_source, self.pools["source"]),
        }
        descend(self, torch.stack(list(judged.values())).sum(), "discriminators")
        losses = {name: loss for name, (_, loss) in terms.items()} | {"total": total} | judged
        return {name: loss.detach() for name, loss in losses.items()}

    def jittered(self, source: Tensor, target: Tensor) -> list[Tensor]:
        """Faces of a batch as training sees them; source and target move independently of each other."""
        return [*jittered(self.config.jitter, source), *jittered(self.config.jitter, target)]

    def added_terms(self, source: Tensor, target: Tensor, made_source: Tensor, made_target: Tensor) -> Terms:
        """What a method adds to CycleGAN's losses; all pictures (B, 3, H, W) in [-1, 1]."""
        return {}

    @torch.no_grad()
    def generate(self, faces: Tensor) -> Tensor:
        """Translate source faces (B, 3, H, W) to target faces, both in [0, 1]; H and W multiples of 4."""
        return unsigned(self.to_target(signed(faces))).float().clamp(0, 1)

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        """Source, generated target and the way back; target, generated source and the way back."""
        source, target = both_sides(batch)
        columns = {"source": source, "generated target": self.generate(source)}
        columns["back to source"] = self._as_source(columns["generated target"])
        columns |= {"target": target, "generated source": self._as_source(target)}
        columns["back to target"] = self.generate(columns["generated source"])
        return columns

    @torch.no_grad()
    def _as_source(self, faces: Tensor) -> Tensor:
        return unsigned(self.to_source(signed(faces))).float().clamp(0, 1)

    def _terms(self, source: Tensor, target: Tensor, made_source: Tensor, made_target: Tensor) -> Terms:
        config = self.config
        terms: Terms = {
            "adversarial_target": (1.0, generator_loss(self.target_discriminator(made_target), config.objective)),
            "adversarial_source": (1.0, generator_loss(self.source_discriminator(made_source), config.objective)),
        }
        if config.cycle_weight:
            back_source, back_target = self.to_source(made_target), self.to_target(made_source)
            terms["cycle_source"] = config.cycle_weight, functional.l1_loss(back_source, source)
            terms["cycle_target"] = config.cycle_weight, functional.l1_loss(back_target, target)
        same = config.cycle_weight * config.same_weight
        if same:
            terms["same_target"] = same, functional.l1_loss(self.to_target(target), target)
            terms["same_source"] = same, functional.l1_loss(self.to_source(source), source)
        return terms

    def _told(self, judge: nn.Module, real: Tensor, made: Tensor, pool: Pool) -> Tensor:
        return discriminator_loss(judge(real), judge(pool.mixed(made)), self.config.objective)


@contextmanager
def unrecorded(*networks: nn.Module) -> Iterator[None]:
    """Normalisations by batch keep their running statistics as they are, so that these are of sources alone.

    On the way back and in leaving targets alone a generator sees other faces than `generate` will give it.
    """
    norms = [part for network in networks for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
