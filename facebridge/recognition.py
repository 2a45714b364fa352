"""What the methods share that train a recogniser: its network, its first weights, and faces as the network takes them.

    faces in the recipe's crop -> the network's own crop, with a margin -> augmented -> normalised -> features

The bare network is trained, of a published layout (`facebridge.recognisers`); what comes out is a `Recogniser`.
"""

import copy
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor, nn

from facebridge import crops, descent, recognisers, weights
from facebridge.augmentation import Augmentation
from facebridge.crops import Crop
from facebridge.descent import Descent
from facebridge.method import Batch, Frozen, RecognitionMethod
from facebridge.recogniser import Recogniser, RecogniserLayout
from facebridge.streamline import channels_last

BORDER_TOLERANCE_PX = 0.5
"""So far faces may end before what the network takes: half a pixel is rounding between crops."""


class RecognitionConfig(Frozen):
    """Settings of every method that trains a recogniser."""

    network: str = "light_cnn_9"
    """Published layout of the network; see docs/recognisers."""
    sizes: dict[str, Any] = {}
    """Sizes of the network, such as height and width_multiplier; absent: the published ones."""
    num_identities: Annotated[int, Field(ge=2)] | None = None
    """People that the classifier tells apart; absent: as many as the training faces show."""
    first_weights: Literal["published", "unit_variance"] = "published"
    """How fresh weights are drawn: as the network's authors do, or from there brought layer by layer to channels of
    mean 0 and variance 1 on the first batch (Mishkin and Matas 2016). Without it a thin Light CNN stands still for
    hundreds of steps."""
    classifier_first_steps: Annotated[int, Field(ge=0)] = 0
    """Steps at the beginning in which the network stays as it is and only what lies above it learns: where training
    starts from a recogniser, a fresh classifier would otherwise undo much of it (DVG trains so, in two stages)."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the features that are put to 0 before the classifier in training."""
    augmentation: Augmentation = Augmentation()
    """How training faces are changed."""
    descent: Descent = Descent()
    """How the weights descend."""

    @field_validator("network")
    @classmethod
    def _is_a_recogniser(cls, network: str) -> str:
        if not isinstance(weights.find(network), RecogniserLayout):
            raise ValueError(f"{network} is no recogniser's network: see facebridge methods --recognisers")
        return network

    @field_validator("sizes")
    @classmethod
    def _fit_the_network(cls, sizes: dict[str, Any], found: ValidationInfo) -> dict[str, Any]:
        if sizes.get("num_classes") is not None:
            raise ValueError("num_classes is the classifier of a published checkpoint; the one that is trained is head")
        if "network" in found.data:
            with torch.device("meta"):
                weights.build(weights.find(found.data["network"]), **sizes)
        return sizes


Settings = TypeVar("Settings", bound=RecognitionConfig)


class TrainedRecogniser(RecognitionMethod[Settings]):
    """The base of the methods that train a recogniser.

    Args:
        config: the method's settings.
        crop: how the training faces are aligned; wider than the network's own crop where faces are shifted.
        recogniser: what training starts from, a network of the same layout and sizes; absent: fresh weights.

    Raises:
        ValueError: if the crop does not show all that the network takes, or training starts from another network, or
            from one that takes other faces.
    """

    def __init__(self, config: Settings, crop: Crop, recogniser: Recogniser | None = None) -> None:
        super().__init__(config, crop)
        layout = weights.find(config.network)
        assert isinstance(layout, RecogniserLayout)  # the settings were checked
        self.layout = layout
        self.network = channels_last(weights.build(layout, **config.sizes))
        self.is_fresh = recogniser is None
        self.own_crop = layout.crop(self.network)
        self.wide_crop = crops.widened(self.own_crop, config.augmentation.shift_px)
        self.normalisation = layout.normalisation
        _check_reach(crop, self.wide_crop, config.augmentation.shift_px)
        if recogniser is not None:
            _start_from(self.network, recogniser, config.network)
            self._check_same_faces(recogniser)
        object.__setattr__(self, "augment", config.augmentation.build(self.own_crop.height, self.own_crop.width))

    augment: nn.Module
    """Outside the module tree: it has nothing to learn or to keep."""

    @classmethod
    def settled(cls, config: Settings, *, steps: int, num_identities: Callable[[], int]) -> Settings:
        shown = num_identities()
        known = config.num_identities or shown
        if known < shown:
            raise ValueError(
                f"the training faces show {shown:,} people and settings.num_identities is {known:,}: leave it out"
            )
        return config.model_copy(update={"num_identities": known, "descent": config.descent.settled(steps)})

    @property
    def num_identities(self) -> int:
        """People of the classifier."""
        return self.config.num_identities or 2

    @property
    def embedding_size(self) -> int:
        """Length of the network's features."""
        return int(getattr(self.network, "embedding_size"))  # noqa: B009

    @torch.no_grad()
    def begin(self, first_batch: Callable[[], Batch]) -> None:
        if self.is_fresh and self.config.first_weights == "unit_variance":
            unit_variance(self.network, self.seen(both(first_batch())[0]))

    def seen(self, faces: Tensor) -> Tensor:
        """What the network takes, of faces (B, 3, crop.height, crop.width): augmented in training, normalised."""
        return self.normalisation.apply(self._augmented(faces))

    def features(self, faces: Tensor) -> Tensor:
        """Features (B, D) of faces as they come in a batch, of any length; without a gradient in the first steps."""
        seen = self.seen(faces)
        steps_done = next(iter(self.schedules.values())).last_epoch
        if not self.training or steps_done >= self.config.classifier_first_steps:
            if self.training and 0 < steps_done == self.config.classifier_first_steps:
                self._begin_network()
            features: Tensor = self.network(seen)
            return features
        self.network.eval()  # batch normalisation stays as it is, too
        with torch.no_grad():
            features = self.network(seen)
        self.network.train()
        return features

    def _begin_network(self) -> None:
        """Fused SGD cannot have directions of some tensors of a group alone: it begins anew where the network joins."""
        network = set(self.network.parameters())
        for optimiser in self.optimisers.values():
            held = {tensor for group in optimiser.param_groups for tensor in group["params"]}
            if isinstance(optimiser, torch.optim.SGD) and not network.isdisjoint(held):
                optimiser.state.clear()

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        """The faces as they are, and twice as the network sees them in training."""
        columns: dict[str, Tensor] = {}
        self.augment.train()
        for name in (name for name in ("source", "target") if name in batch):
            columns[name] = crops.recrop(batch[name], self.crop, self.own_crop).clamp(0, 1)
            for time in ("once", "again"):
                columns[f"{name}, seen {time}"] = self._augmented(batch[name]).clamp(0, 1)
        self.augment.train(self.training)
        return columns

    def projection(self) -> Tensor | None:
        """The linear map (D, features) that ends the recogniser; None: the features are the embedding."""
        return None

    def as_recogniser(self) -> Recogniser:
        network: nn.Module = copy.deepcopy(self.network)
        size, projection = self.embedding_size, self.projection()
        if projection is not None:
            network, size = recognisers.projected(network, projection), len(projection)
        recogniser = Recogniser(self.config.network, network, self.own_crop, self.normalisation, size)
        recogniser.requires_grad_(False)
        return recogniser

    def train(self, mode: bool = True) -> "TrainedRecogniser[Settings]":
        """Training augments, evaluation does not."""
        super().train(mode)
        self.augment.train(mode)
        return self

    def _check_same_faces(self, start: Recogniser) -> None:
        """A run is loaded without what it started from, so what its network takes has to be the layout's."""
        of_start = (start.crop.height, start.crop.width, start.crop.points, start.normalisation)
        own = (self.own_crop.height, self.own_crop.width, self.own_crop.points, self.normalisation)
        if of_start != own:
            raise ValueError(
                f"training cannot start from {start.name}: it takes faces of crop {start.crop.name} as "
                f"{start.normalisation}, but {self.config.network} is trained on {self.own_crop.name} as "
                f"{self.normalisation}"
            )

    def _augmented(self, faces: Tensor) -> Tensor:
        with torch.autocast(faces.device.type, enabled=False):
            seen: Tensor = self.augment(crops.recrop(faces, self.crop, self.wide_crop))
        return seen


@torch.no_grad()
def unit_variance(network: nn.Module, inputs: Tensor) -> None:
    """Bring each layer, in the order of the network, to channels of mean 0 and variance 1 on these inputs.

    Layer-sequential unit-variance initialisation (Mishkin and Matas 2016, Algorithm 1, with one pass), with the means
    taken out too: faces are so alike that what they share would otherwise be all that comes through. A layer without a
    bias is scaled alone.

    ValueError: if there are fewer than two inputs, which have no variance.
    """
    if len(inputs) < 2:
        raise ValueError(
            'first_weights = "unit_variance" needs batches of two faces or more: raise training.batch_size'
        )
    for layer in [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]:
        found: list[Tensor] = []
        hook = layer.register_forward_hook(lambda module, given, made, found=found: found.append(made))
        network(inputs)
        hook.remove()
        channels = found[0].transpose(0, 1).flatten(1)
        deviation = channels.std(1).clamp(min=torch.finfo(channels.dtype).eps)
        layer.weight.div_(deviation.view(-1, *[1] * (layer.weight.ndim - 1)))
        if layer.bias is not None:
            layer.bias.copy_(-(channels.mean(1) - layer.bias) / deviation)


def descend(
    method: RecognitionMethod[Any], total: Tensor, losses: Mapping[str, Tensor], name: str = "recogniser"
) -> dict[str, Tensor]:
    """One step down the total, with the optimiser and the schedule of this name; the losses and the total, detached."""
    descent.descend(method, total, name)
    return {name: loss.detach() for name, loss in {**losses, "total": total}.items()}


def both(batch: Batch) -> tuple[Tensor, Tensor]:
    """All faces of a batch with their identities: the targets, then the sources where there are any.

    Raises:
        ValueError: if a source is more than one picture.
    """
    if "source" not in batch:
        return batch["target"], batch["target_identity"]
    if batch["source"].ndim != batch["target"].ndim:
        raise ValueError("a recogniser is trained on single faces or on pairs: set data.pairing.kind to same_person")
    return (
        torch.cat([batch["target"], batch["source"]]),
        torch.cat([batch["target_identity"], batch["source_identity"]]),
    )


def _check_reach(crop: Crop, wide: Crop, shift_px: int) -> None:
    """ValueError: if faces of the one crop do not fill the other; black borders would be learned."""
    edges = np.array([[-0.5, -0.5, 1], [wide.width - 0.5, -0.5, 1], [-0.5, wide.height - 0.5, 1]])
    edges = np.vstack([edges, [[wide.width - 0.5, wide.height - 0.5, 1]]])  # pixel centres are whole numbers
    reached = edges @ crops.between(wide, crop).T
    beyond_px = max(-0.5 - reached.min(), *(reached - [crop.width - 0.5, crop.height - 0.5]).max(0))
    if beyond_px > BORDER_TOLERANCE_PX:
        moved = f", moved by up to {shift_px} px" if shift_px else ""
        raise ValueError(
            f"faces of crop {crop.name} end {beyond_px:.1f} px before what the network takes, {wide.name}{moved}, and "
            f"black borders would be learned: set crop to one that shows more (such as {crop.name}+"
            f"{math.ceil(beyond_px - BORDER_TOLERANCE_PX)}), or lower settings.augmentation.shift_px"
        )


def _start_from(network: nn.Module, recogniser: Recogniser, layout: str) -> None:
    given = recogniser.network
    bare = given[0] if isinstance(given, nn.Sequential) else given  # without a projection
    try:
        network.load_state_dict(bare.state_dict())
    except RuntimeError as error:
        raise ValueError(
            f"training cannot start from {recogniser.name}: it is no {layout} of the sizes in settings.sizes ({error})"
        ) from error
