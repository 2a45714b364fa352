"""The recognisers: one module a network; the folder is the list.

A module either declares its published layouts (`LAYOUTS`) or has its own `load(weights, **settings)` and goes by its
own name. `shipped/` holds recognisers of this project's own making, each a safetensors file that describes itself; the
user's own lie in a store (`facebridge.weight_store`), or anywhere, as a run folder or as such a file.
"""

import importlib
import json
import pkgutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

import facebridge.weights
from facebridge import crops
from facebridge.recogniser import Normalisation, Recogniser, RecogniserLayout, fit

SHIPPED = Path(__file__).parent / "shipped"

PROJECTION = "projection.weight"
"""Name of the tensor (D, features) that follows the network in a file whose embeddings are projected."""


def names() -> list[str]:
    """The names that `load` knows."""
    from facebridge import weight_store

    held = (card.name for card in weight_store.cards() if card.kind == "recogniser")
    return sorted({*_layouts(), *_loaders(), *shipped(), *held})


def builtin() -> list[str]:
    """The names that no file of weights may take: of the modules and of the layouts that they declare."""
    return sorted({*_layouts(), *_modules()})


def shipped() -> list[str]:
    """The recognisers that come with the project, weights included."""
    return sorted(path.stem for path in SHIPPED.glob("*.safetensors"))


def has_weights(name: str) -> bool:
    """Whether `load(name)` alone gives a trained recogniser: it is shipped, in the user's store, or a path."""
    from facebridge import weight_store

    return name in shipped() or weight_store.holds(name) or is_path(name)


def is_onnx(name: str) -> bool:
    """Whether `load` gives an exported network for this name."""
    from facebridge import weight_store

    return name == "onnx" or (
        name not in shipped() and weight_store.holds(name) and weight_store.card(name).layout == "onnx"
    )


def is_path(name: str) -> bool:
    """Whether `load` takes this for a path: it has a separator, or is no known name and there is such a file."""
    return Path(name).name != name or (Path(name).exists() and name not in names())


def load(name: str | Path, weights: Path | str | None = None, **sizes: Any) -> Recogniser:
    """A recogniser in evaluation mode, its parameters frozen.

    name: a shipped recogniser, one of the user's store, a published layout, a module; or a path: of the run folder of
    a trained recogniser, or of a file written by `write`. Where two have one name, the first of this order counts.
    weights: a published checkpoint (converted strictly), a file written by `write`, or for "onnx" the exported
    network; None gives a shipped or stored recogniser or a path its own weights, and a published one fresh, untrained
    weights. sizes: the layout's (read off the weights where not given); for "onnx" its settings.

    ValueError: if the name or a size is unknown, the weights do not fit, or a stored file has changed.
    """
    from facebridge import weight_store

    name = str(name)
    if has_weights(name) and weights is not None:
        raise ValueError(f"{name} comes with its own weights and sizes: give no others")
    if name in shipped():
        return _load_written(SHIPPED / f"{name}.safetensors", name, **_no(sizes, name))
    if weight_store.holds(name):
        return weight_store.load(name, **sizes)
    if is_path(name):
        return _load_path(Path(name), **_no(sizes, name))
    if (module := _loaders().get(name)) is not None:
        recogniser: Recogniser = module.load(weights, **sizes)
        return recogniser
    layout = _layouts().get(name)
    if layout is None:
        raise ValueError(f"no recogniser is called {name!r}; known: {', '.join(names())}; or give a path")
    if weights is None:
        network = facebridge.weights.build(layout, **sizes)
        return _assemble(name, network, layout.crop(network), layout.normalisation)
    if is_written(weights):
        return _load_written(Path(weights), name, **sizes)
    return _load_published(Path(weights), layout, **sizes)


def files(name: str, weights: Path | str | None = None) -> list[Path]:
    """The files that decide what `load` gives: two recognisers are the same if the contents of these are."""
    from facebridge import weight_store

    if weights is not None:
        beside = Path(weights).with_suffix(".toml")
        return [Path(weights), *([beside] if name == "onnx" and beside.is_file() else [])]
    if name in shipped():
        return [SHIPPED / f"{name}.safetensors"]
    if weight_store.holds(name):
        return weight_store.files(name)
    if is_path(name):
        return _files_of_run(Path(name)) if Path(name).is_dir() else [Path(name)]
    return []


def write(
    path: Path | str,
    layout: str,
    state: Mapping[str, Tensor],
    *,
    crop: str | None = None,
    normalisation: Normalisation | None = None,
    projection: Tensor | None = None,
    half: bool = False,
    **sizes: Any,
) -> None:
    """Write the state dict of a bare network as a file that `load` reads without being told anything else.

    crop: name of the crop that its training faces were aligned to; scaled where the network takes another size of
    the same proportions (None: the layout's). normalisation: what it was trained with (None: the layout's).
    projection: (D, features), a linear map without bias on top of the network's features. half: store float16.

    ValueError: if the tensors are not those of the layout of these sizes, or the projection does not follow them.
    """
    found = _layout(layout)
    network = facebridge.weights.build(found, **sizes)
    _fill(network, state, path)
    own = found.crop(network)
    crop = _name_of(own) if crop is None else crop
    fit(crops.crop(crop), own.height, own.width)
    stated = normalisation or found.normalisation
    description = {
        "layout": layout,
        "sizes": json.dumps(sizes),
        "crop": crop,
        "normalisation": json.dumps(asdict(stated)),
    }
    tensors = dict(state)
    if projection is not None:
        _check_projection(projection, _num_features(network, own, stated), path)
        assert PROJECTION not in tensors
        tensors[PROJECTION] = projection
        description["projection"] = json.dumps(list(projection.shape))
    stored = {
        name: tensor.half() if half and tensor.is_floating_point() else tensor for name, tensor in tensors.items()
    }
    facebridge.weights.write(path, stored, description)


def write_recogniser(
    path: Path | str, recogniser: Recogniser, layout: str, *, half: bool = False, **sizes: Any
) -> None:
    """Write a recogniser, projected or not, as a file that `load` reads; its network is the layout's of these sizes.

    ValueError: as `write`, or if its crop is no scaled one of facebridge.crops.names().
    """
    network, projection = recogniser.network, None
    if isinstance(network, nn.Sequential):
        network, linear = network
        assert isinstance(linear, nn.Linear)
        projection = linear.weight
    write(
        path,
        layout,
        network.state_dict(),
        crop=_name_of(recogniser.crop),
        normalisation=recogniser.normalisation,
        projection=projection,
        half=half,
        **sizes,
    )


def projected(network: nn.Module, projection: Tensor) -> nn.Sequential:
    """The network followed by a linear map without bias; projection: (D, features)."""
    linear = nn.Linear(projection.shape[1], projection.shape[0], bias=False)
    linear.weight = nn.Parameter(projection.detach().clone())
    return nn.Sequential(network, linear)


def convert(path: Path | str, layout: str, **sizes: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a published checkpoint as those of our network, without a classifier; and the network's sizes.

    sizes: read off the tensors where not given.

    ValueError: if the layout is unknown, or a tensor is missing, left over or of another shape.
    """
    found = _layout(layout)
    state = facebridge.weights.read(path)
    # A recogniser has no use for the classifier that a checkpoint may hold.
    own_sizes = {**found.sizes(state), **({"num_classes": None} if found.classifier else {}), **sizes}
    try:
        return facebridge.weights.convert(layout, state, **own_sizes), own_sizes
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


@dataclass(frozen=True)
class Description:
    """What a file written by `write` says of itself."""

    layout: RecogniserLayout
    sizes: dict[str, Any]
    crop: crops.Crop
    normalisation: Normalisation
    is_projected: bool


def is_written(path: Path | str) -> bool:
    """Whether a file was made by `write`."""
    return Path(path).suffix == ".safetensors" and "layout" in facebridge.weights.metadata(path)


def describe(path: Path | str) -> Description:
    """The description that a file written by `write` holds.

    ValueError: if it holds none, or a damaged one.
    """
    held = facebridge.weights.metadata(path)
    try:
        return Description(
            _layout(held["layout"]),
            dict(json.loads(held["sizes"])),
            crops.crop(held["crop"]),
            Normalisation(**json.loads(held["normalisation"])),
            "projection" in held,
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"{path}: its metadata does not describe a recogniser ({error!r})") from error


def _load_path(path: Path) -> Recogniser:
    if path.is_dir():
        return _load_run(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such run folder or file; names of recognisers: {', '.join(names())}")
    if not is_written(path):
        raise ValueError(
            f"{path}: does not say what it holds; name its layout and give the file as its weights, or add it to the "
            "store (facebridge weights add)"
        )
    return _load_written(path, path.stem)


def _load_run(folder: Path) -> Recogniser:
    from facebridge import runs
    from facebridge.method import TrainsRecogniser

    method = runs.load(folder)
    if not isinstance(method, TrainsRecogniser):
        raise ValueError(f"{folder}: its method, {runs.find(folder).recipe.method}, hallucinates and is no recogniser")
    recogniser = method.as_recogniser()
    recogniser.name = folder.resolve().name
    return recogniser


def _files_of_run(folder: Path) -> list[Path]:
    from facebridge.runs import Run

    trained = Run(folder).weights
    if not trained.is_file():
        last = Run(folder).last()
        if last is None:
            raise ValueError(f"{folder} is no run, or has neither weights.safetensors nor a checkpoint: train it first")
        trained = folder / "checkpoints" / f"step-{last.step:08d}.safetensors"
    return [folder / "recipe.toml", trained]


def _load_published(path: Path, layout: RecogniserLayout, **sizes: Any) -> Recogniser:
    tensors, own_sizes = convert(path, layout.name, **sizes)
    network = facebridge.weights.build(layout, **own_sizes)
    network.load_state_dict(tensors)
    return _assemble(layout.name, network, layout.crop(network), layout.normalisation)


def _load_written(path: Path, name: str, **sizes: Any) -> Recogniser:
    held = describe(path)
    if name not in (held.layout.name, path.stem):
        raise ValueError(f"{path}: holds a {held.layout.name}, not a {name}")
    if differing := [size for size in sizes if sizes[size] != held.sizes.get(size, sizes[size])]:
        raise ValueError(f"{path}: its sizes are {held.sizes}; other {', '.join(differing)} cannot be had")
    state = facebridge.weights.read(path)
    projection = state.pop(PROJECTION, None) if held.is_projected else None
    network = _built(held.layout, {**sizes, **held.sizes}, state, path)
    own = held.layout.crop(network)
    if held.is_projected:
        _check_projection(projection, _num_features(network, own, held.normalisation), path)
        assert projection is not None
        network = projected(network, projection.float())
    return _assemble(name, network, fit(held.crop, own.height, own.width), held.normalisation)


def _assemble(name: str, network: nn.Module, crop: crops.Crop, normalisation: Normalisation) -> Recogniser:
    recogniser = Recogniser(name, network, crop, normalisation, _num_features(network, crop, normalisation))
    recogniser.requires_grad_(False)
    return recogniser


def _num_features(network: nn.Module, crop: crops.Crop, normalisation: Normalisation) -> int:
    channels = 1 if normalisation.colours == "gray" else 3
    with torch.no_grad():
        features: Tensor = network.eval()(torch.zeros(1, channels, crop.height, crop.width))
    return features.shape[1]


def _check_projection(projection: Tensor | None, num_features: int, path: Path | str) -> None:
    if projection is None or projection.ndim != 2 or projection.shape[1] != num_features or not len(projection):
        found = "none" if projection is None else tuple(projection.shape)
        raise ValueError(f"{path}: the projection must be (D, {num_features}), as many as the features; found {found}")


def _name_of(crop: crops.Crop) -> str:
    """The crop of facebridge.crops that this one is, or is a scaled one of."""
    for name in crops.names():
        known = crops.crop(name)
        is_alike = crop.height * known.width == crop.width * known.height
        if is_alike and fit(known, crop.height, crop.width).points == crop.points:
            return name
    raise ValueError(f"crop {crop.name} is none of {', '.join(crops.names())}, nor a scaled one")


def _no(sizes: dict[str, Any], name: str) -> dict[str, Any]:
    if sizes:
        raise ValueError(f"{name} comes with its own weights and sizes: give no others")
    return sizes


def _built(layout: RecogniserLayout, sizes: dict[str, Any], state: Mapping[str, Tensor], path: Path) -> nn.Module:
    """The filled network. Its size is compared before there is memory for it: a damaged file may ask for any."""
    try:
        with torch.device("meta"):
            expected = facebridge.weights.build(layout, **sizes).state_dict()
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:
        raise ValueError(f"{path}: no {layout.name} has the sizes {sizes} ({error})") from error
    wanted, found = ({name: each.shape for name, each in held.items()} for held in (expected, state))
    differing = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
    if differing:
        raise ValueError(f"{path}: the tensors do not fit a {layout.name} of the sizes {sizes}: {differing[0]}")
    network = facebridge.weights.build(layout, **sizes)
    _fill(network, state, path)
    return network


def _fill(network: nn.Module, state: Mapping[str, Tensor], path: Path | str) -> None:
    try:
        network.load_state_dict(dict(state))
    except RuntimeError as error:
        raise ValueError(f"{path}: the tensors do not fit the network ({error})") from error


def _layout(name: str) -> RecogniserLayout:
    layouts = _layouts()
    if name not in layouts:
        raise ValueError(f"no layout of a recogniser is called {name!r}; known: {', '.join(layouts)}")
    return layouts[name]


def _layouts() -> dict[str, RecogniserLayout]:
    return {layout.name: layout for module in _modules().values() for layout in getattr(module, "LAYOUTS", ())}


def _loaders() -> dict[str, ModuleType]:
    return {name: module for name, module in _modules().items() if hasattr(module, "load")}


def _modules() -> dict[str, ModuleType]:
    found = pkgutil.iter_modules(__path__)
    return {module.name: importlib.import_module(f"{__name__}.{module.name}") for module in found}
