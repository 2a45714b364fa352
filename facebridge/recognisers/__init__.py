"""The recognisers: one module a network; the folder is the list.

A module either declares its published layouts (`LAYOUTS`) or has its own `load(weights, **settings)` and goes by its
own name. `shipped/` holds recognisers of this project's own making, each a safetensors file that describes itself.
"""

import importlib
import json
import pkgutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

import facebridge.weights
from facebridge import crops
from facebridge.recogniser import Normalisation, Recogniser, RecogniserLayout, fit

SHIPPED = Path(__file__).parent / "shipped"


def names() -> list[str]:
    """The names that `load` knows."""
    found = {*_layouts(), *shipped()}
    found |= {name for name, module in _modules().items() if hasattr(module, "load")}
    return sorted(found)


def shipped() -> list[str]:
    """The recognisers that come with the project, weights included."""
    return sorted(path.stem for path in SHIPPED.glob("*.safetensors"))


def load(name: str, weights: Path | str | None = None, **sizes: Any) -> Recogniser:
    """A recogniser in evaluation mode, its parameters frozen.

    weights: a published checkpoint (converted strictly), a file written by `write`, or for "onnx" the exported
    network; None gives a shipped recogniser its own weights, and a published one fresh, untrained weights.
    sizes: the layout's (read off the weights where not given); for "onnx" its settings.

    ValueError: if the name or a size is unknown, or the weights do not fit.
    """
    if name in shipped():
        if weights is not None or sizes:
            raise ValueError(f"{name} comes with its own weights and sizes: give no others")
        return _load_written(SHIPPED / f"{name}.safetensors", name)
    module = _modules().get(name)
    if module is not None and hasattr(module, "load"):
        recogniser: Recogniser = module.load(weights, **sizes)
        return recogniser
    layout = _layouts().get(name)
    if layout is None:
        raise ValueError(f"no recogniser is called {name!r}; known: {', '.join(names())}")
    if weights is None:
        network = facebridge.weights.build(layout, **sizes)
        return _assemble(name, network, layout.crop(network), layout.normalisation)
    if _is_written(Path(weights)):
        return _load_written(Path(weights), name, **sizes)
    return _load_published(Path(weights), layout, **sizes)


def write(
    path: Path | str,
    layout: str,
    state: Mapping[str, Tensor],
    *,
    crop: str,
    normalisation: Normalisation | None = None,
    half: bool = False,
    **sizes: Any,
) -> None:
    """Write the state dict of a bare network as a file that `load` reads without being told anything else.

    crop: name of the crop that its training faces were aligned to; scaled where the network takes another size of
    the same proportions. normalisation: what it was trained with (None: the layout's). half: store float16.

    ValueError: if the tensors are not those of the layout of these sizes.
    """
    found = _layout(layout)
    network = facebridge.weights.build(found, **sizes)
    _fill(network, state, path)
    own = found.crop(network)
    fit(crops.crop(crop), own.height, own.width)
    description = {
        "layout": layout,
        "sizes": json.dumps(sizes),
        "crop": crop,
        "normalisation": json.dumps(asdict(normalisation or found.normalisation)),
    }
    tensors = {name: tensor.half() if half and tensor.is_floating_point() else tensor for name, tensor in state.items()}
    facebridge.weights.write(path, tensors, description)


def _load_published(path: Path, layout: RecogniserLayout, **sizes: Any) -> Recogniser:
    state = facebridge.weights.read(path)
    # A recogniser has no use for the classifier that a checkpoint may hold.
    own_sizes = {**layout.sizes(state), **({"num_classes": None} if layout.classifier else {}), **sizes}
    try:
        tensors = facebridge.weights.convert(layout.name, state, **own_sizes)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    network = facebridge.weights.build(layout, **own_sizes)
    network.load_state_dict(tensors)
    return _assemble(layout.name, network, layout.crop(network), layout.normalisation)


def _load_written(path: Path, name: str, **sizes: Any) -> Recogniser:
    description = facebridge.weights.metadata(path)
    try:
        layout = _layout(description["layout"])
        own_sizes = dict(json.loads(description["sizes"]))
        crop = crops.crop(description["crop"])
        normalisation = Normalisation(**json.loads(description["normalisation"]))
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: its metadata does not describe a recogniser ({error!r})") from error
    if name not in (layout.name, path.stem):
        raise ValueError(f"{path}: holds a {layout.name}, not a {name}")
    if differing := [size for size in sizes if sizes[size] != own_sizes.get(size, sizes[size])]:
        raise ValueError(f"{path}: its sizes are {own_sizes}; other {', '.join(differing)} cannot be had")
    network = facebridge.weights.build(layout, **{**sizes, **own_sizes})
    _fill(network, facebridge.weights.read(path), path)
    own = layout.crop(network)
    return _assemble(name, network, fit(crop, own.height, own.width), normalisation)


def _assemble(name: str, network: nn.Module, crop: crops.Crop, normalisation: Normalisation) -> Recogniser:
    channels = 1 if normalisation.colours == "gray" else 3
    with torch.no_grad():
        features = network.eval()(torch.zeros(1, channels, crop.height, crop.width))
    recogniser = Recogniser(name, network, crop, normalisation, features.shape[1])
    recogniser.requires_grad_(False)
    return recogniser


def _fill(network: nn.Module, state: Mapping[str, Tensor], path: Path | str) -> None:
    try:
        network.load_state_dict(dict(state))
    except RuntimeError as error:
        raise ValueError(f"{path}: the tensors do not fit the network ({error})") from error


def _is_written(path: Path) -> bool:
    return path.suffix == ".safetensors" and "layout" in facebridge.weights.metadata(path)


def _layout(name: str) -> RecogniserLayout:
    layouts = _layouts()
    if name not in layouts:
        raise ValueError(f"no layout of a recogniser is called {name!r}; known: {', '.join(layouts)}")
    return layouts[name]


def _layouts() -> dict[str, RecogniserLayout]:
    return {layout.name: layout for module in _modules().values() for layout in getattr(module, "LAYOUTS", ())}


def _modules() -> dict[str, ModuleType]:
    found = pkgutil.iter_modules(__path__)
    return {module.name: importlib.import_module(f"{__name__}.{module.name}") for module in found}
