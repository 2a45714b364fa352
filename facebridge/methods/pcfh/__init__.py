"""PCFH (Yu, Cao, Li, Song and He, IJCAI 2019): near-infrared to visible faces that keep pose, expression and identity.

A multi-path generator translates; a second one brings its faces back. Pairs show one person at different moments, so
the visible face is warped to the geometry of the near-infrared one, and an attention mask learns where the warp can be
trusted; two critics estimate how much the generated face knows of each of the two. There is no code of the authors.
docs/methods/pcfh.md lists what is published and what is recommended. Equation numbers are the paper's.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from facebridge import crops
from facebridge.adversarial import Objective, discriminator_loss, generator_loss, held
from facebridge.crops import Crop
from facebridge.descent import Descent, descend
from facebridge.layers import PatchGan, ResnetGenerator, scatter_weights, signed, unsigned
from facebridge.method import Batch, Frozen, HallucinationMethod
from facebridge.methods.pcfh.networks import Attention, MultiPath, PairCritic, patches
from facebridge.recogniser import Recogniser
from facebridge.translation import (
    PUBLISHED_DESCENT,
    Terms,
    both_sides,
    check_sides,
    luminance,
    warped_targets,
    weighted,
)

Reduction = Literal["sum", "mean"]
"""How absolute differences become one number: their sum in each face, or their mean; then the mean over the faces."""

Side = Annotated[int, Field(ge=4)]
Weight = Annotated[float, Field(ge=0)]


class Pcfh(HallucinationMethod["Pcfh.Config"]):
    """Translate near-infrared faces to visible light, and keep pose, expression and identity."""

    class Config(Frozen):
        """Defaults: the paper's for 144 px where it says something, else recommended."""

        use_awm: bool = True
        """Whether the attention warping module is trained and its loss counts (eq. 7 and 8)."""
        use_mic: bool = True
        """Whether the mutual information constraint counts (eq. 9 and 10)."""
        eye_size: tuple[Side, Side] = (32, 32)
        """Height and width of an eye's patch, px; 52x52 at 256 px."""
        nose_size: tuple[Side, Side] = (40, 32)
        """Height and width of the nose's patch, px; 60x52 at 256 px."""
        mouth_size: tuple[Side, Side] = (28, 52)
        """Height and width of the mouth's patch, px; 36x72 at 256 px."""
        num_blocks: Annotated[int, Field(ge=1)] = 6
        """Residual blocks of the global path; 9 at 256 px."""
        num_filters: Annotated[int, Field(ge=2)] = 64
        """Channels of the outermost convolutions of all paths."""
        local_blocks: Annotated[int, Field(ge=1)] = 2
        """Residual blocks of each local path."""
        eyes_share: bool = False
        """Whether one path serves both eyes, the left one mirrored."""
        back_blocks: Annotated[int, Field(ge=1)] = 6
        """Residual blocks of the auxiliary generator."""
        discriminator_filters: Annotated[int, Field(ge=1)] = 64
        """Channels of the discriminator's first convolution."""
        discriminator_layers: Annotated[int, Field(ge=1)] = 3
        """Convolutions of the discriminator with stride 2; 3: a score sees 70 x 70 px."""
        attention_filters: Annotated[int, Field(ge=1)] = 32
        """Channels of the attention module's first convolution."""
        critic_filters: Annotated[int, Field(ge=1)] = 32
        """Channels of the critics' first convolution."""
        critic_layers: Annotated[int, Field(ge=1)] = 4
        """Convolutions of each critic."""
        objective: Objective = "hinge"
        """How the discriminator's scores are judged; eq. 1 is the generator's side of hinge."""
        adversarial_weight: Weight = 1.0
        """Weight of eq. 1."""
        reconstruction_weight: Weight = 2.5e-5
        """lambda 1, eq. 2: coming back to the near-infrared face."""
        reconstruction_reduction: Reduction = "sum"
        """How eq. 2 becomes one number."""
        identity_weight: Weight = 0.002
        """lambda 2, eq. 3: features of the recogniser, raw."""
        identity_reduction: Reduction = "sum"
        """How eq. 3 becomes one number."""
        luminance_weight: Weight = 0.1
        """lambda 3, eq. 4: luminance of source and generated face."""
        luminance_reduction: Reduction = "mean"
        """How eq. 4 becomes one number."""
        mask_fit_weight: Weight = 3.0
        """alpha 1, eq. 7: the masked generated face against the warped one."""
        mask_rank_weight: Weight = 0.003
        """alpha 2, eq. 7: nuclear norm of the mask, which stands for its rank."""
        mask_size_weight: Weight = 1e-6
        """alpha 3, eq. 7: sum of the mask."""
        warp_weight: Weight = 2.5e-5
        """lambda 4, eq. 8: generated against warped face, both masked."""
        warp_reduction: Reduction = "sum"
        """How eq. 8 becomes one number."""
        joint: bool = False
        """Whether generator and mask both descend the sum of eq. 7 and 8; else the mask eq. 7, the generator eq. 8."""
        information_weight: Weight = 0.1
        """lambda 5, eq. 9: mutual information with the visible face, less that with the near-infrared one."""
        descent: Descent = PUBLISHED_DESCENT
        """How the weights of the generators descend, and of every other network."""

    def __init__(self, config: Config, crop: Crop, recogniser: Recogniser | None = None) -> None:
        super().__init__(config, crop, recogniser)
        check_sides(crop)
        places = patches(crop, config.eye_size, config.nose_size, config.mouth_size)
        generator = MultiPath(
            (crop.height, crop.width),
            places,
            config.num_blocks,
            config.num_filters,
            config.local_blocks,
            config.eyes_share,
        )
        back = ResnetGenerator(config.back_blocks, config.num_filters)
        judge = PatchGan(3, config.discriminator_filters, config.discriminator_layers, "none")
        for network in (generator, back, judge):
            scatter_weights(network)
        for conv in judge.convs:
            spectral_norm(conv)
        self.generator, self.back = generator, back
        self.discriminator = judge
        trained: dict[str, dict[str, nn.Module]] = {
            "generators": {"back": self.back, "generator": self.generator},
            "discriminator": {"discriminator": self.discriminator},
        }
        if config.use_awm:
            self.attention = Attention(config.attention_filters)
            trained["generators" if config.joint else "attention"] = {
                **(trained["generators"] if config.joint else {}),
                "attention": self.attention,
            }
        if config.use_mic:
            self.visible_critic = PairCritic(config.critic_filters, config.critic_layers)
            self.source_critic = PairCritic(config.critic_filters, config.critic_layers)
            trained["critics"] = {"source": self.source_critic, "visible": self.visible_critic}
        self.optimisers = {name: config.descent.optimiser(networks) for name, networks in trained.items()}
        self.schedules = {name: config.descent.schedule_of(each) for name, each in self.optimisers.items()}

    @classmethod
    def settled(cls, config: Config, *, steps: int, num_identities: Callable[[], int]) -> Config:
        return config.model_copy(update={"descent": config.descent.settled(steps)})

    @property
    def wants_points(self) -> bool:
        return self.config.use_awm

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """One step each of the discriminator, the critics, the attention and the two generators, in this order.

        Args:
            batch: `source` (near-infrared) and `target` (visible): faces (B, 3, crop.height, crop.width) of the same
                people; with the attention warping module their 68 points; with the critics at least two pairs.

        Returns:
            `discriminator`; with critics `critics` and, of the estimate, `information_visible` and
            `information_source`; with attention `mask`, `warp`; `adversarial`, `reconstruction`, `identity`,
            `luminance`, `total`.

        Raises:
            ValueError: if the batch has no sources, no points that are needed, or a single pair for the critics.
        """
        source, target = (signed(faces) for faces in both_sides(batch))
        made = self.generator(source)
        losses = {"discriminator": self._train_discriminator(made.detach(), target)}
        if self.config.use_mic:
            losses["critics"] = self._train_critics(made.detach(), source, target)
        warped = signed(warped_targets(batch)) if self.config.use_awm else None
        if warped is not None and not self.config.joint:
            losses["mask"] = self._train_attention(made.detach(), warped)
        return losses | self._train_generators(made, source, target, warped)

    @torch.no_grad()
    def generate(self, faces: Tensor) -> Tensor:
        """Translate source faces to visible ones: (B, 3, crop.height, crop.width), both in [0, 1]."""
        return unsigned(self.generator(signed(faces))).float().clamp(0, 1)

    @torch.no_grad()
    def preview(self, batch: Batch) -> dict[str, Tensor]:
        """Source, generated face and target; with the attention warping module the warped target and the mask."""
        source, target = both_sides(batch)
        columns = {"source": source, "generated": self.generate(source), "target": target}
        if self.config.use_awm and "target_points" in batch:
            columns["warped target"] = warped_targets(batch)
            mask = self.attention(signed(columns["warped target"]), signed(columns["generated"]))
            columns["mask"] = mask.float().expand(-1, 3, -1, -1)
        return columns

    def _train_discriminator(self, made: Tensor, target: Tensor) -> Tensor:
        told = discriminator_loss(self.discriminator(target), self.discriminator(made), self.config.objective)
        descend(self, told, "discriminator")
        return told.detach()

    def _train_critics(self, made: Tensor, source: Tensor, target: Tensor) -> Tensor:
        """Eq. 10: both critics ascend their estimates."""
        if len(made) < 2:
            raise ValueError("the mutual information constraint needs two pairs or more: raise training.batch_size")
        known = information(self.visible_critic, made, target) + information(self.source_critic, made, source)
        descend(self, -known, "critics")
        return -known.detach()

    def _train_attention(self, made: Tensor, warped: Tensor) -> Tensor:
        found = self._mask_loss(self.attention(warped, made), made, warped)
        descend(self, found, "attention")
        return found.detach()

    def _train_generators(
        self, made: Tensor, source: Tensor, target: Tensor, warped: Tensor | None
    ) -> dict[str, Tensor]:
        config = self.config
        others: list[nn.Module] = [self.discriminator]
        others += [self.visible_critic, self.source_critic] if config.use_mic else []
        others += [self.attention] if config.use_awm and not config.joint else []
        with held(*others):
            terms = self._basic_terms(made, source, target)
            if warped is not None:
                mask = self.attention(warped, made.detach())
                terms["warp"] = config.warp_weight, _differences(mask * (made - warped), config.warp_reduction)
                if config.joint:
                    terms["mask"] = 1.0, self._mask_loss(mask, made, warped)
            if config.use_mic:
                terms |= self._information_terms(made, source, target)
            terms = {name: term for name, term in terms.items() if term[0]}
            total = weighted(terms)
            descend(self, total, "generators")
        losses = {name: loss for name, (_, loss) in terms.items()} | {"total": total}
        return {name: loss.detach() for name, loss in losses.items()}

    def _basic_terms(self, made: Tensor, source: Tensor, target: Tensor) -> Terms:
        """Eq. 1 to 4."""
        config = self.config
        terms: Terms = {
            "adversarial": (
                config.adversarial_weight,
                generator_loss(self.discriminator(made), config.objective),
            ),
            "reconstruction": (
                config.reconstruction_weight,
                _differences(self.back(made) - source, config.reconstruction_reduction),
            ),
            "luminance": (
                config.luminance_weight,
                _differences(luminance(made) - luminance(source), config.luminance_reduction),
            ),
        }
        if config.identity_weight > 0:
            with torch.no_grad():
                wanted = self._features(unsigned(target))
            found = self._features(unsigned(made))
            terms["identity"] = config.identity_weight, _differences(found - wanted, config.identity_reduction)
        return terms

    def _information_terms(self, made: Tensor, source: Tensor, target: Tensor) -> Terms:
        """Eq. 9; what is to shrink is clipped at 0, below which an estimate says nothing."""
        visible = information(self.visible_critic, made, target)
        near_infrared = information(self.source_critic, made, source)
        return {
            "information_visible": (-self.config.information_weight, visible),
            "information_source": (self.config.information_weight, functional.relu(near_infrared)),
        }

    def _mask_loss(self, mask: Tensor, made: Tensor, warped: Tensor) -> Tensor:
        """Eq. 7: the masked generated face comes near the whole warped one, by a mask of low rank that is small."""
        config = self.config
        return (
            config.mask_fit_weight * _differences(mask * made - warped, "mean")
            + config.mask_rank_weight * nuclear_norm(mask)
            + config.mask_size_weight * _differences(mask, "sum")
        )

    def _features(self, faces: Tensor) -> Tensor:
        assert self.recogniser is not None, "built without a recogniser: generation only"
        return self.recogniser.features(crops.recrop(faces, self.crop, self.recogniser.crop))


def information(critic: nn.Module, made: Tensor, other: Tensor) -> Tensor:
    """Eq. 10 in its Jensen-Shannon form (Nowozin et al. 2016): at most log 2, about 0 where nothing is known.

    Pairs that belong together are the rows of two batches (B, 3, H, W); strangers, the rows beside them.
    """
    together = functional.softplus(-critic(made, other)).mean()
    strangers = functional.softplus(critic(made, other.roll(1, 0))).mean()
    return LOG_2 - (together + strangers) / 2


LOG_2 = float(torch.log(torch.tensor(2.0)))


def nuclear_norm(mask: Tensor) -> Tensor:
    """Mean sum of the singular values of masks (B, 1, H, W), in float32: the convex stand-in for the rank."""
    with torch.autocast(mask.device.type, enabled=False):
        values: Tensor = torch.linalg.svdvals(mask.float().squeeze(1))
        return values.sum(1).mean()


def _differences(values: Tensor, reduction: Reduction) -> Tensor:
    """Absolute values (B, ...) as one number, in float32."""
    sizes = values.float().abs().flatten(1)
    return (sizes.sum(1) if reduction == "sum" else sizes.mean(1)).mean()
