"""Weights: published layouts, strict conversion of published checkpoints, and safe reading and writing of files."""

import importlib
import inspect
import json
import os
import pkgutil
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from facebridge import pickled_modules

MAX_HEADER_BYTES = 16 * 2**20
"""A safetensors header over this size is refused before it is parsed."""

_PACKAGES = ("facebridge.recognisers", "facebridge.methods")
_WRAPPERS = ("state_dict", "net_state_dict", "model")
_PREFIX = "module."
_LISTED = 8
_GLOBAL = re.compile(r"GLOBAL (\S+)")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A published network: how to build it, and what its authors called its tensors.

    A module of facebridge.recognisers or facebridge.methods declares its layouts as `LAYOUTS: tuple[Layout, ...]`.
    """

    name: str
    build: Callable[..., nn.Module]
    """Builds the bare network; its keyword arguments are the layout's sizes, the defaults are the published ones."""
    published: Callable[[Iterable[str]], dict[str, str]]
    """Our names of all tensors -> their published names; see `each`."""
    sizes: Callable[[Mapping[str, Tensor]], dict[str, Any]]
    """Tensors under their published names -> the sizes of the network that they were taken from."""
    classifier: tuple[str, ...] = ()
    """Published names that a checkpoint may hold and a network without a classifier does not: left out by `convert`."""
    unused: str | None = None
    """Pattern of published names that old checkpoints hold and no network uses: left out by `convert`."""


def each(published: Callable[[str], str]) -> Callable[[Iterable[str]], dict[str, str]]:
    """`Layout.published` where the published name of a tensor depends on our name of it alone."""
    return lambda names: {name: published(name) for name in names}


def network(layout: str, **sizes: Any) -> nn.Module:
    """The bare network of a published layout, taking what the published network took, with fresh weights.

    ValueError: if the layout or the name of a size is unknown, or no such network exists.
    """
    return build(find(layout), **sizes)


def convert(layout: str, state: Mapping[str, Any], **sizes: Any) -> dict[str, Tensor]:
    """A published state dict -> the state dict of `network(layout, ...)`, on the CPU.

    Sizes that are not given are read off the tensors. A `module.` prefix and a `state_dict`, `net_state_dict` or
    `model` wrapper are understood. Every tensor must have its place; only a classifier (the layout's `classifier`)
    is left out where `sizes` ask for a network without one (`num_classes=None`).

    ValueError: if a tensor is missing, left over or of another shape (it is named), or the state holds no tensors.
    """
    found = find(layout)
    tensors = tensors_of(state, f"the state dict for {layout}")
    with torch.device("meta"):
        expected = build(found, **{**found.sizes(tensors), **sizes}).state_dict()
    ours = {published: name for name, published in found.published(expected).items()}
    shapes = {published: tuple(expected[name].shape) for published, name in ours.items()}
    kept = {name: tensor for name, tensor in tensors.items() if name in ours or not _is_left_out(name, found)}
    _check(layout, kept, shapes)
    return {name: kept[published].detach().cpu() for published, name in ours.items()}


def read(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a PyTorch file that holds nothing but tensors and plain values.

    A wrapper (`state_dict`, `net_state_dict`, `model`) and a `module.` prefix are taken off. Tensors are on the CPU.
    Of a whole pickled network whose classes are known (`facebridge.pickled_modules`) the tensors are read, under the
    names of its `state_dict()`; nothing in the file is run.

    ValueError: if the file is neither, is damaged, or is a pickle that holds more than that.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        _header(path)
        try:
            return safetensors.torch.load_file(path)
        except safetensors.SafetensorError as error:
            raise ValueError(f"{path}: not a valid safetensors file ({error})") from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # A damaged or hostile pickle can raise anything.
        cause = str(error) or type(error).__name__
    else:
        return tensors_of(state, str(path))
    # Without torch's own error: its text advises to load the file unsafely.
    if not _GLOBAL.search(cause):
        raise ValueError(_refusal(path, cause))
    try:
        state = pickled_modules.read(path)
    except ValueError as error:
        raise ValueError(_refusal(path, str(error))) from None
    return tensors_of(state, str(path))


def metadata(path: Path | str) -> dict[str, str]:
    """The metadata of a safetensors file (empty if it has none).

    ValueError: if the file is not a safetensors file or its header is damaged or over MAX_HEADER_BYTES.
    """
    held = _header(Path(path)).get("__metadata__", {})
    if not isinstance(held, dict) or not all(isinstance(value, str) for value in held.values()):
        raise ValueError(f"{path}: the metadata of the safetensors header must map names to text")
    return held


def write(path: Path | str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file; a reader sees the old file or the whole new one, never a part of it."""
    path = Path(path)
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    content = safetensors.torch.save(own, dict(metadata or {}))
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def layouts() -> list[Layout]:
    """All published layouts, in the order of their names."""
    return sorted(_scan(), key=lambda layout: layout.name)


def find(name: str) -> Layout:
    """The layout of this name. ValueError: if there is none (the known ones are named)."""
    for layout in _scan():
        if layout.name == name:
            return layout
    known = ", ".join(layout.name for layout in layouts())
    raise ValueError(f"no published layout is called {name!r}; known: {known}")


def is_layout(name: str) -> bool:
    """Whether a published layout is called so."""
    return any(layout.name == name for layout in _scan())


def build(layout: Layout, **sizes: Any) -> nn.Module:
    """The bare network of a layout. ValueError: if a size is unknown (the known ones are named) or impossible."""
    known = list(inspect.signature(layout.build).parameters)
    unknown = sorted(set(sizes) - set(known))
    if unknown:
        raise ValueError(f"{layout.name} has no size {', '.join(unknown)}; known: {', '.join(known)}")
    return layout.build(**sizes)


def tensors_of(state: Any, where: str) -> dict[str, Tensor]:
    """The named tensors of a state dict, out of its wrapper and without the `module.` prefix of DataParallel.

    ValueError: if there are none, if they lie in two wrappers, or if something beside them is not a tensor.
    """
    if not isinstance(state, Mapping):
        raise ValueError(f"{where}: expected named tensors (a state dict), found {type(state).__name__}")
    wrappers = [key for key in _WRAPPERS if isinstance(state.get(key), Mapping)]
    if len(wrappers) > 1:
        raise ValueError(f"{where}: holds several state dicts ({', '.join(wrappers)}); keep the one that is meant")
    if wrappers:
        return tensors_of(state[wrappers[0]], where)
    others = {
        str(name): type(value).__name__
        for name, value in state.items()
        if not (isinstance(name, str) and isinstance(value, Tensor))
    }
    if others or not state:
        held = _some(f"{name} ({kind})" for name, kind in others.items()) or "nothing"
        raise ValueError(f"{where}: expected tensors alone, found {held}; give the network's state_dict()")
    # DataParallel puts this before every name.
    if all(name.startswith(_PREFIX) for name in state):
        return {name.removeprefix(_PREFIX): tensor for name, tensor in state.items()}
    return dict(state)


def dimension(state: Mapping[str, Tensor], name: str, axis: int, default: int) -> int:
    """The length of one axis of a named tensor; the default where the tensor or the axis is not there."""
    tensor = state.get(name)
    return default if tensor is None or tensor.ndim <= axis else tensor.shape[axis]


def _scan() -> Iterator[Layout]:
    for package_name in _PACKAGES:
        package = importlib.import_module(package_name)
        for module in pkgutil.iter_modules(package.__path__, f"{package_name}."):
            yield from getattr(importlib.import_module(module.name), "LAYOUTS", ())


def _check(layout: str, tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    problems = []
    if missing := [name for name in shapes if name not in tensors]:
        problems.append(f"missing: {_some(missing)}")
    if left_over := [name for name in tensors if name not in shapes]:
        problems.append(f"left over: {_some(left_over)}")
    wrong = [name for name, shape in shapes.items() if name in tensors and tuple(tensors[name].shape) != shape]
    if wrong:
        told = (f"{name} {tuple(tensors[name].shape)} instead of {shapes[name]}" for name in wrong)
        problems.append(f"of another shape: {_some(told)}")
    if problems:
        raise ValueError(f"these are not the weights of {layout}; {'; '.join(problems)}")


def _is_left_out(published: str, layout: Layout) -> bool:
    outgrown = layout.unused is not None and re.fullmatch(layout.unused, published) is not None
    return outgrown or published in layout.classifier


def _header(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        room = path.stat().st_size - 8
        if not 2 <= length <= min(room, MAX_HEADER_BYTES):
            raise ValueError(
                f"{path}: not a valid safetensors file (its header claims {length} bytes; at most "
                f"{MAX_HEADER_BYTES} are read, and {max(room, 0)} are there)"
            )
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: not a valid safetensors file (its header is not JSON)") from error
    if not isinstance(header, dict):
        raise ValueError(f"{path}: not a valid safetensors file (its header is not a table)")
    return header


def _refusal(path: Path, cause: str) -> str:
    if held := _GLOBAL.search(cause):
        return (
            f"{path}: refused, it holds more than tensors ({held[1]}), and a pickle that does can run any code. "
            "Where you trust its origin, write the tensors alone with torch.save(network.state_dict(), NEW_FILE) "
            "and give that file"
        )
    if "TorchScript" in cause:
        return f"{path}: refused, it is a TorchScript program; write its state_dict() and give that file"
    told = cause.rpartition("WeightsUnpickler error:")[2].strip().splitlines()[0]
    return f"{path}: not a PyTorch weight file, or a damaged one ({told})"


def _some(names: Iterator[str] | list[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
