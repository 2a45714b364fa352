"""FFE-CycleGAN (Wang, Wang, Yang, Yu and Zhang, 2019): CycleGAN whose encoders come from a face recogniser.

A re-strided MobileFaceNet takes the place of both generators' encoders, and generated faces are held to the picture
that the other camera took at the same moment (pixel consistency). Published from visible light to near-infrared: the
gallery is translated. docs/methods/ffe_cyclegan.md lists what is the paper's, what is the authors' code, what is ours.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from facebridge.crops import Crop
from facebridge.cycle import CycleConfig, CycleMethod
from facebridge.descent import Descent, Linear
from facebridge.jitter import jittered
from facebridge.layers import Decoder, ResidualBlock, ToPicture, scatter_weights
from facebridge.method import Batch
from facebridge.recogniser import Recogniser
from facebridge.recognisers.mobile_facenet import Bottleneck, ConvNorm, MobileFaceNet
from facebridge.translation import PUBLISHED_DESCENT, Terms

PUBLISHED_FILTERS = 64
"""Channels of MobileFaceNet's first convolution at width 1."""

SHARED_BOTTLENECKS = ((2, 1, 5, 2), (4, 2, 1, 1), (2, 2, 6, 1))
"""Those that the encoder has in common with MobileFaceNet but for their strides: expansion, channels as a multiple of
the first convolution's, repetitions, stride of the first."""

OWN_BOTTLENECKS = ((2, 4, 1, 1), (1, 4, 2, 1))
"""Those that only the encoder has; read off the released code's tensors."""

HUBER_DELTA = 0.01
"""Where the Huber loss goes from square to straight; the released code."""

DESCENT = PUBLISHED_DESCENT.model_copy(update={"schedule": Linear(constant_part=100 / 180)})
"""CycleGAN's, for 100 epochs at the first rate and 80 down to zero; the released code."""


class FfeCycleGan(CycleMethod["FfeCycleGan.Config"]):
    """Translate faces there and back with a recogniser's layers as encoders, held to the picture of the same moment."""

    class Config(CycleConfig):
        """Defaults: the paper. The released code has cycle_weight 10, pixel_weight 10, same_weight 0.5."""

        num_blocks: Annotated[int, Field(ge=1)] = 6
        """Residual blocks of each generator."""
        num_filters: Annotated[int, Field(ge=1)] = PUBLISHED_FILTERS
        """Channels of the encoders' first convolution: 64 times MobileFaceNet's width multiplier."""
        cycle_weight: Annotated[float, Field(ge=0)] = 1.0
        """lambda: weight of coming back to where a face came from, each way."""
        same_weight: Annotated[float, Field(ge=0)] = 0.0
        """Weight of leaving a face alone that is of the wanted kind already, as a part of cycle_weight."""
        pixel_weight: Annotated[float, Field(ge=0)] = 10.0
        """gamma: weight of pixel consistency, each way; 0: pairs need not correspond."""
        pixel_loss: Literal["l1", "huber"] = "l1"
        """How pixels are compared: |d|, or the code's option: d^2 / 2 up to 0.01, then 0.01 (|d| - 0.005)."""
        encoder_rate: Annotated[float, Field(ge=0)] = 1.0
        """Factor on the learning rate of the layers that were loaded from the recogniser; 0.1 is recommended."""
        descent: Descent = DESCENT
        """How the weights of the generators descend."""
        discriminator_descent: Descent = DESCENT
        """How the weights of the discriminators descend."""

    def __init__(self, config: Config, crop: Crop, recogniser: Recogniser | None = None) -> None:
        def generator() -> FfeGenerator:
            network = FfeGenerator(config.num_blocks, config.num_filters)
            scatter_weights(network)
            if recogniser is not None:
                network.encoder.load(recogniser)
            return network

        super().__init__(config, crop, None, generator)  # the recogniser's weights are all that is wanted of it
        self.started_from = "" if recogniser is None else recogniser.name

    @classmethod
    def starts_from_recogniser(cls, config: Config) -> bool:
        return True

    @property
    def loaded(self) -> tuple[str, ...]:
        """The layers of both encoders that began with a recogniser's weights; none: all were drawn."""
        return self._encoders()[0].loaded

    def begin(self, first_batch: Callable[[], Batch]) -> str | None:
        """Which layers were loaded.

        Raises:
            ValueError: if they are to have a rate of their own, and there are none.
        """
        if self.config.encoder_rate != 1 and not self.loaded:
            raise ValueError("settings.encoder_rate is for layers of a recogniser: add [recogniser], or leave it out")
        if not self.loaded:
            return None
        return f"both encoders begin with {', '.join(self.loaded)} of {self.started_from}; the rest is drawn"

    def generators_optimiser(self) -> torch.optim.Optimizer:
        """What moves both generators; loaded layers have groups of their own, after the others."""
        optimiser = super().generators_optimiser()
        slowed = {tensor for encoder in self._encoders() for tensor in encoder.loaded_tensors()}
        if self.config.encoder_rate == 1 or not slowed:
            return optimiser
        for group in list(optimiser.param_groups):
            apart = [tensor for tensor in group["params"] if tensor in slowed]
            group["params"] = [tensor for tensor in group["params"] if tensor not in slowed]
            if apart:
                optimiser.add_param_group({**group, "params": apart, "lr": group["lr"] * self.config.encoder_rate})
        return optimiser

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """As `CycleMethod.training_step`, and `pixel_target`, `pixel_source` (where weighted).

        Raises:
            ValueError: if the batch has no sources, or pixels are to be compared of different people.
        """
        ours, theirs = batch.get("target_identity"), batch.get("source_identity")
        if self.config.pixel_weight and ours is not None and theirs is not None and bool((ours != theirs).any()):
            raise ValueError(
                "pixel consistency compares pictures of one moment, and the data pairs different people: set "
                "data.pairing.kind to same_shot, or settings.pixel_weight=0"
            )
        return super().training_step(batch)

    def jittered(self, source: Tensor, target: Tensor) -> list[Tensor]:
        """Faces as training sees them; source and target are cut alike where their pixels are compared."""
        if self.config.pixel_weight:
            return jittered(self.config.jitter, source, target)
        return super().jittered(source, target)

    def added_terms(self, source: Tensor, target: Tensor, made_source: Tensor, made_target: Tensor) -> Terms:
        """Pixel consistency both ways: the paper's Eq. 3."""
        weight = self.config.pixel_weight
        if not weight:
            return {}
        return {
            "pixel_target": (weight, self._difference(made_target, target)),
            "pixel_source": (weight, self._difference(made_source, source)),
        }

    def _encoders(self) -> list["FacialFeatureExtractor"]:
        parts = [*self.to_source.modules(), *self.to_target.modules()]
        return [part for part in parts if isinstance(part, FacialFeatureExtractor)]

    def _difference(self, made: Tensor, real: Tensor) -> Tensor:
        if self.config.pixel_loss == "l1":
            return functional.l1_loss(made, real)
        return functional.huber_loss(made, real, delta=HUBER_DELTA)


class FfeGenerator(nn.Module):
    """Pictures (B, 3, H, W) in [-1, 1] -> the same; H and W multiples of 4.

    Args:
        num_blocks: residual blocks.
        num_filters: channels of the encoder's first convolution; the decoder ends with as many.
    """

    def __init__(self, num_blocks: int = 6, num_filters: int = PUBLISHED_FILTERS) -> None:
        super().__init__()
        self.encoder = FacialFeatureExtractor(num_filters)
        self.blocks = nn.Sequential(*(ResidualBlock(4 * num_filters) for _ in range(num_blocks)))
        self.decoder = Decoder(num_filters)
        self.to_picture = ToPicture(num_filters)

    def forward(self, pictures: Tensor) -> Tensor:
        made: Tensor = self.to_picture(self.decoder(self.blocks(self.encoder(pictures))))
        return made


class FacialFeatureExtractor(nn.Module):
    """MobileFaceNet up to its twelfth bottleneck, with two strides of 2 in all, and three bottlenecks of its own.

    Pictures (B, 3, H, W) in [-1, 1] -> features (B, 4 num_filters, H / 4, W / 4).

    `stem`, `stem_depthwise` and `blocks` go by MobileFaceNet's names and have its shapes; `last` has no counterpart.
    """

    loaded: tuple[str, ...]
    """The layers that `load` filled."""

    def __init__(self, num_filters: int = PUBLISHED_FILTERS) -> None:
        super().__init__()
        self.num_filters = num_filters
        self.loaded = ()
        self.stem = ConvNorm(3, num_filters, 3, stride=2, padding=1, active=True)
        self.stem_depthwise = ConvNorm(num_filters, num_filters, 3, padding=1, groups=num_filters, active=True)
        self.blocks = _bottlenecks(num_filters, num_filters, SHARED_BOTTLENECKS)
        self.last = _bottlenecks(2 * num_filters, num_filters, OWN_BOTTLENECKS)

    def forward(self, pictures: Tensor) -> Tensor:
        features = self.stem_depthwise(self.stem(pictures))  # (B, num_filters, H / 2, W / 2)
        encoded: Tensor = self.last(self.blocks(features))
        return encoded

    @torch.no_grad()
    def load(self, recogniser: Recogniser) -> None:
        """Copy the layers of a MobileFaceNet whose names and shapes are those of layers here, statistics included.

        Raises:
            ValueError: if no layer fits, or the recogniser takes other colours.
        """
        given = recogniser.network
        bare = given[0] if isinstance(given, nn.Sequential) else given  # without a projection
        if recogniser.normalisation.colours != "rgb":
            raise ValueError(
                f"{recogniser.name} takes {recogniser.normalisation.colours} faces and the generators take rgb: start "
                "from a MobileFaceNet that takes rgb"
            )
        theirs = _by_layer(bare)
        self.loaded = tuple(name for name, layer in _by_layer(self).items() if _is_alike(layer, theirs.get(name, {})))
        if not self.loaded:
            raise ValueError(_nothing_fits(recogniser.name, bare, self.num_filters))
        for name in self.loaded:
            self.get_submodule(name).load_state_dict(dict(theirs[name]))

    def loaded_tensors(self) -> list[nn.Parameter]:
        """The trainable tensors that `load` filled."""
        return [tensor for name in self.loaded for tensor in self.get_submodule(name).parameters()]


def _bottlenecks(channels: int, num_filters: int, table: tuple[tuple[int, int, int, int], ...]) -> nn.Sequential:
    blocks = nn.Sequential()
    for expansion, multiple, repetitions, first_stride in table:
        for repetition in range(repetitions):
            stride = first_stride if repetition == 0 else 1
            blocks.append(Bottleneck(channels, multiple * num_filters, stride, expansion))
            channels = multiple * num_filters
    return blocks


def _by_layer(network: nn.Module) -> dict[str, Mapping[str, Tensor]]:
    """The tensors of each layer of an encoder or a MobileFaceNet: blocks.3 is one, stem another."""
    layers: dict[str, nn.Module] = {}
    for name, child in network.named_children():
        parts = child.named_children() if name == "blocks" else ()
        layers |= {f"{name}.{number}": part for number, part in parts} or {name: child}
    return {name: layer.state_dict() for name, layer in layers.items()}


def _is_alike(layer: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return {name: tensor.shape for name, tensor in layer.items()} == {name: one.shape for name, one in other.items()}


def _nothing_fits(name: str, network: nn.Module, num_filters: int) -> str:
    width = f"width_multiplier {num_filters / PUBLISHED_FILTERS:g}"
    if not isinstance(network, MobileFaceNet):
        return f"no layer of {name} fits the encoders: give a MobileFaceNet of {width} as the recogniser"
    theirs = network.stem.conv.out_channels
    if theirs != num_filters:
        return (
            f"no layer of {name} fits the encoders: it is a MobileFaceNet of width_multiplier "
            f"{theirs / PUBLISHED_FILTERS:g}; set settings.num_filters={theirs}, or give one of {width}"
        )
    return f"no layer of {name} fits the encoders: its batch normalisation was folded away; load it afresh"
