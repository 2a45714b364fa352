"""Pix2Pix (Isola, Zhu, Zhou and Efros, CVPR 2017): translation learned from pairs, by a U-Net and a discriminator.

The discriminator judges source and target together; an L1 loss pulls the made face to the target. Faces of one person
that were not taken at the same moment are no such pairs: the target can be warped to the source's geometry first.
docs/methods/pix2pix.md lists what is the paper's, what is the authors' code and what is ours.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from facebridge.adversarial import Objective, discriminator_loss, generator_loss, held
from facebridge.crops import Crop
from facebridge.descent import Descent, descend
from facebridge.jitter import jittered
from facebridge.layers import SLOPE, PatchGan, in_use, scatter_weights, signed, unsigned
from facebridge.method import Batch, Frozen, HallucinationMethod
from facebridge.recogniser import Recogniser
from facebridge.translation import PUBLISHED_DESCENT, both_sides, check_sides, warped_targets
from facebridge.weights import Layout, dimension

DROPOUT = 0.5
"""Part of the values that the inner blocks of the U-Net drop: the published generator's only noise."""

WIDEST = 8
"""How many times the U-Net's inner layers are wider than its first one."""


class Pix2Pix(HallucinationMethod["Pix2Pix.Config"]):
    """Translate faces, learned from pairs."""

    class Config(Frozen):
        """Defaults: the authors' code for 256 px."""

        num_downs: Annotated[int, Field(ge=5)] = 8
        """How many times the U-Net halves a picture; 8 for 256 px, 7 for 128 px, down to 1 px."""
        num_filters: Annotated[int, Field(ge=1)] = 64
        """Channels of the U-Net's first convolution."""
        pixel_weight: Annotated[float, Field(ge=0)] = 100.0
        """lambda: weight of the L1 loss."""
        objective: Objective = "cross_entropy"
        """How the discriminator's scores are judged."""
        warp_target: bool = False
        """Whether the target is warped so that its 68 landmarks lie where the source's do."""
        exposure_spread: Annotated[float, Field(ge=0)] = 0.0
        """Spread of the logarithm of an exponent that each source's values are raised to in training; 0: none. With
        it the camera's exposure does not decide how light a skin is made."""
        noise_in_use: bool = False
        """Whether `generate` drops values too, as published: another face each time."""
        statistics_in_use: Literal["running", "own"] = "running"
        """What `generate` normalises by: the means of the training, or each face's own values, as published."""
        jitter: Annotated[float, Field(ge=1)] = 286 / 256
        """How much faces are enlarged before a part of the crop's size is cut out at random; 1: not at all."""
        discriminator_filters: Annotated[int, Field(ge=1)] = 64
        """Channels of the discriminator's first convolution."""
        discriminator_layers: Annotated[int, Field(ge=1)] = 3
        """Convolutions of the discriminator with stride 2; 3: a score sees 70 x 70 px."""
        descent: Descent = PUBLISHED_DESCENT
        """How the weights of the generator descend."""
        discriminator_descent: Descent = PUBLISHED_DESCENT
        """How the weights of the discriminator descend."""

    def __init__(self, config: Config, crop: Crop, recogniser: Recogniser | None = None) -> None:
        super().__init__(config, crop, recogniser)
        check_sides(crop, 2**config.num_downs)
        generator = UNet(config.num_downs, config.num_filters)
        discriminator = PatchGan(6, config.discriminator_filters, config.discriminator_layers, "batch")
        for network in (generator, discriminator):
            scatter_weights(network)
        self.generator, self.discriminator = generator, discriminator
        descents = {"generator": config.descent, "discriminator": config.discriminator_descent}
        networks: dict[str, nn.Module] = {"generator": self.generator, "discriminator": self.discriminator}
        self.optimisers = {name: descent.optimiser({name: networks[name]}) for name, descent in descents.items()}
        self.schedules = {name: descent.schedule_of(self.optimisers[name]) for name, descent in descents.items()}

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
        return self.config.warp_target

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """One step of the discriminator, then one of the generator.

        Args:
            batch: `source` and `target`: faces (B, 3, crop.height, crop.width); where the target is warped also their
                68 points.

        Returns:
            `discriminator`; `adversarial`, `pixel` and their `total`.

        Raises:
            ValueError: if the batch has no sources.
        """
        config = self.config
        source, target = jittered(config.jitter, both_sides(batch)[0], self._target(batch))
        source, target = signed(exposed(source, config.exposure_spread)), signed(target)
        made = self.generator(source)
        told = discriminator_loss(
            self.discriminator(torch.cat([source, target], 1)),
            self.discriminator(torch.cat([source, made.detach()], 1)),
            config.objective,
        )
        descend(self, told, "discriminator")
        with held(self.discriminator):
            scores = self.discriminator(torch.cat([source, made], 1))
            losses = {"adversarial": generator_loss(scores, config.objective)}
            losses["pixel"] = functional.l1_loss(made, target)
            total = losses["adversarial"] + config.pixel_weight * losses["pixel"]
            descend(self, total, "generator")
        losses |= {"total": total, "discriminator": told}
        return {name: loss.detach() for name, loss in losses.items()}

    @torch.no_grad()
    def generate(self, faces: Tensor) -> Tensor:
        """Translate source faces (B, 3, H, W) to target faces, both in [0, 1], at the crop's size."""
        config = self.config
        with in_use(self.generator, config.noise_in_use, config.statistics_in_use == "own"):
            groups = torch.split(faces, 1) if config.statistics_in_use == "own" else [faces]
            made = torch.cat([self.generator(signed(some)) for some in groups])
        return unsigned(made).float().clamp(0, 1)

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        """Source, generated face, target, and the target as it was warped."""
        source, target = both_sides(batch)
        columns = {"source": source, "generated": self.generate(source), "target": target}
        return columns | ({"warped target": self._target(batch)} if self.config.warp_target else {})

    def _target(self, batch: Batch) -> Tensor:
        target = both_sides(batch)[1]
        return warped_targets(batch) if self.config.warp_target else target


def exposed(faces: Tensor, spread: float) -> Tensor:
    """Faces (B, 3, H, W) in [0, 1], each to a power of its own: e^(spread z), z normal, drawn by torch's generator."""
    if not spread:
        return faces
    exponents = torch.exp(spread * torch.randn(len(faces))).to(faces)
    return faces.clamp(min=0) ** exponents[:, None, None, None]


class UNet(nn.Module):
    """Pix2Pix's generator: pictures (B, 3, H, W) in [-1, 1] -> the same; H and W multiples of 2 ** num_downs.

    Args:
        num_downs: how many times a picture is halved, at least 5.
        num_filters: channels of the first convolution; the others have up to eight times as many.
    """

    def __init__(self, num_downs: int = 8, num_filters: int = 64) -> None:
        super().__init__()
        if num_downs < 5:
            raise ValueError(f"a U-Net halves pictures at least 5 times, not {num_downs}")
        widths = [num_filters * min(2**depth, WIDEST) for depth in range(num_downs)]
        block: Level | None = None
        for depth in reversed(range(1, num_downs)):
            drops = widths[depth - 1] == widths[depth] and block is not None
            block = Level(widths[depth - 1], widths[depth], block, drops)
        self.down = nn.Conv2d(3, widths[0], 4, stride=2, padding=1, bias=False)
        self.inner = block
        self.up = nn.ConvTranspose2d(2 * widths[0], 3, 4, stride=2, padding=1)

    def forward(self, pictures: Tensor) -> Tensor:
        assert self.inner is not None
        made: Tensor = self.up(functional.relu(self.inner(self.down(pictures))))
        return torch.tanh(made)


class Level(nn.Module):
    """One level: features (B, outside, h, w) -> themselves and what is made of them (B, 2 outside, h, w)."""

    def __init__(self, outside: int, inside: int, inner: "Level | None", drops: bool) -> None:
        super().__init__()
        innermost = inner is None
        self.down = nn.Conv2d(outside, inside, 4, stride=2, padding=1, bias=False)
        self.down_norm = nn.Identity() if innermost else nn.BatchNorm2d(inside)
        self.inner = nn.Identity() if inner is None else inner
        self.up = nn.ConvTranspose2d(inside if innermost else 2 * inside, outside, 4, stride=2, padding=1, bias=False)
        self.up_norm = nn.BatchNorm2d(outside)
        self.dropout = nn.Dropout(DROPOUT if drops else 0.0)

    def forward(self, features: Tensor) -> Tensor:
        inner = self.inner(self.down_norm(self.down(functional.leaky_relu(features, SLOPE))))
        made = self.dropout(self.up_norm(self.up(functional.relu(inner))))
        return torch.cat([features, made], 1)


def _published(names: Iterable[str]) -> dict[str, str]:
    """The published modules lie in each other: one more `model.1` or `model.3` for each level further in."""
    ours = list(names)
    innermost = max(name.count("inner.") for name in ours)
    return {name: _published_name(name, innermost) for name in ours}


def _published_name(name: str, innermost: int) -> str:
    depth = name.count("inner.")
    layer, _, leaf = name.removeprefix("inner." * depth).partition(".")
    if depth == 0:
        return f"model.model.{ {'down': 0, 'up': 3}[layer] }.{leaf}"
    places = {"down": 1, "up": 3, "up_norm": 4} if depth == innermost else _PLACES
    return f"model.model.1{'.model.3' * (depth - 1)}.model.{places[layer]}.{leaf}"


_PLACES = {"down": 1, "down_norm": 2, "up": 5, "up_norm": 6}


def _sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    depths = [name.count(".model.3") for name in state if re.search(r"model\.1\.weight$", name)]
    return {"num_downs": max(depths, default=3) + 2, "num_filters": dimension(state, "model.model.0.weight", 0, 64)}


LAYOUTS = (Layout(name="pix2pix_unet", build=UNet, published=_published, sizes=_sizes),)
