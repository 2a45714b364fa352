"""CycleGAN (Zhu, Park, Isola and Efros, ICCV 2017): translation between two kinds of faces without pairs.

Two generators, each judged by a discriminator of its own; who goes there and back must arrive where he came from.
docs/methods/cyclegan.md lists what is the paper's, what is the authors' code and what is ours.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from facebridge.crops import Crop
from facebridge.cycle import CycleConfig, CycleMethod
from facebridge.layers import PatchGan, ResnetGenerator, scatter_weights
from facebridge.recogniser import Recogniser
from facebridge.weights import Layout, dimension, each


class CycleGan(CycleMethod["CycleGan.Config"]):
    """Translate faces without pairs: there and back again."""

    class Config(CycleConfig):
        """Defaults: the authors' code for 256 px."""

        num_blocks: Annotated[int, Field(ge=1)] = 9
        """Residual blocks of each generator; 9 for 256 px, 6 for 128 px."""
        num_filters: Annotated[int, Field(ge=1)] = 64
        """Channels of the generators' first convolution."""

    def __init__(self, config: Config, crop: Crop, recogniser: Recogniser | None = None) -> None:
        def generator() -> ResnetGenerator:
            network = ResnetGenerator(config.num_blocks, config.num_filters)
            scatter_weights(network)
            return network

        super().__init__(config, crop, recogniser, generator)


def _published_generator(names: Iterable[str]) -> dict[str, str]:
    """The published sequence counts paddings, normalisations and activations too."""
    ours = list(names)
    end = 10 + len({name.split(".")[1] for name in ours if name.startswith("blocks.")})
    places = {"encoder.stem": 1, "encoder.first": 4, "encoder.second": 7}
    places |= {"decoder.first": end, "decoder.second": end + 3, "to_picture.conv": end + 7}
    return {name: _published(name, places) for name in ours}


def _published(name: str, places: Mapping[str, int]) -> str:
    layer, _, leaf = name.rpartition(".")
    if layer in places:
        return f"model.{places[layer]}.{leaf}"
    _, block, conv = layer.split(".")
    return f"model.{10 + int(block)}.conv_block.{1 if conv == 'first' else 5}.{leaf}"


def _published_discriminator(name: str) -> str:
    kind, place, leaf = name.split(".")
    number = int(place)
    if kind == "convs":
        return f"model.{max(3 * number - 1, 0)}.{leaf}"
    return f"model.{3 * number + 3}.{leaf}"


def _generator_sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    blocks = {name.split(".")[1] for name in state if ".conv_block." in name}
    return {"num_blocks": len(blocks), "num_filters": dimension(state, "model.1.weight", 0, 64)}


def _discriminator_sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    convs = [name for name, tensor in state.items() if tensor.ndim == 4]
    return {
        "in_channels": dimension(state, "model.0.weight", 1, 3),
        "num_filters": dimension(state, "model.0.weight", 0, 64),
        "num_layers": max(len(convs) - 2, 1),
        "norm": "batch" if "model.3.weight" in state else "instance",
    }


_STATISTICS = r".*\.(running_mean|running_var|num_batches_tracked)"
"""Old checkpoints hold them for normalisations by instance too."""

LAYOUTS = (
    Layout(
        name="cyclegan_resnet",
        build=ResnetGenerator,
        published=_published_generator,
        sizes=_generator_sizes,
        unused=_STATISTICS,
    ),
    Layout(
        name="patchgan",
        build=PatchGan,
        published=each(_published_discriminator),
        sizes=_discriminator_sizes,
        unused=_STATISTICS,
    ),
)
