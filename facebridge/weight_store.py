"""The user's store of weights: published and own ones under a name, each with a card that says what it is.

STORE/NAME.safetensors   the tensors, describing themselves; NAME.onnx for an exported recogniser
      NAME.json          the card, written last: no card, no entry

The store is the folder that FACEBRIDGE_WEIGHTS names. Nothing is ever fetched: what lies in it was added by its user.
"""

import json
import os
import re
import shutil
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import facebridge.shipped
import facebridge.weights
from facebridge import crops, recognisers, runs, weight_card
from facebridge.recogniser import Normalisation, Recogniser, RecogniserLayout
from facebridge.recognisers import onnx
from facebridge.weight_card import ONNX, Card

FOLDER = "FACEBRIDGE_WEIGHTS"
"""The environment variable that names the store."""
MAX_WEIGHT_BYTES = 2 * 2**30
"""A larger file is not added."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,99}")
_SUFFIXES = (".safetensors", ".onnx")
_ENDINGS = (*_SUFFIXES, ".json", ".toml", ".pth", ".pt", ".ckpt", ".tar", ".bin")
_BUILDING = ".adding-"


@dataclass(frozen=True)
class Entries:
    """What lies in a folder of weights."""

    cards: list[Card]
    problems: list[str]
    """Of each entry that cannot be used, the file and the cause."""


def folder() -> Path:
    """The store: $FACEBRIDGE_WEIGHTS, else facebridge/weights in $XDG_DATA_HOME or in ~/.local/share."""
    if named := os.environ.get(FOLDER):
        return Path(named)
    data = Path(os.environ.get("XDG_DATA_HOME", ""))
    return (data if data.is_absolute() else Path(os.path.expanduser("~/.local/share"))) / "facebridge" / "weights"


def add(
    source: Path | str,
    *,
    licence: str,
    layout: str | None = None,
    name: str | None = None,
    origin: str = "",
    settings: Mapping[str, Any] | None = None,
    replace: bool = False,
) -> Card:
    """Add weights to the store, whole or not at all.

    Args:
        source: a published checkpoint, which is converted strictly; a file that `facebridge.recognisers.write` made
            or an ONNX file, which are kept as they are; or the run folder of a trained recogniser.
        licence: an SPDX identifier or other words; "unknown" if nobody said.
        layout: a published layout or "onnx"; None where the source says it itself.
        name: what it is called from now on, of a-z, 0-9, `_`, `.` and `-`; None: as the source, made so.
        origin: where it comes from, such as an address; only noted.
        settings: sizes of the layout (read off the weights where not given), and of a recogniser its crop, colours,
            mean and scale where they are not the layout's; of an ONNX file what it takes, over the TOML beside it.
        replace: whether an entry of this name gives way.

    Raises:
        ValueError: if the name is taken or no such name, the licence is empty, or the source is over
            MAX_WEIGHT_BYTES, not what the layout says, damaged, or holds more than tensors.
    """
    source = Path(source)
    chosen = _safe_name(source) if name is None else name
    _check_name(chosen, replace)
    if not licence.strip():
        raise ValueError(f"{source}: say under which licence it comes, or {weight_card.UNKNOWN_LICENCE!r}")
    incoming = _incoming(source, layout, dict(settings or {}))
    noted = {**incoming.noted, "licence": weight_card.spdx(licence), "origin": origin.strip(), "added": _now()}
    store = folder()
    if not store.parts or store.parts[0] == "~":
        raise ValueError(f"this user has no home folder: name a folder for the store in {FOLDER}")
    with runs.locked(store):
        _check_name(chosen, replace)
        _sweep(store)
        with tempfile.TemporaryDirectory(prefix=_BUILDING, dir=store) as building:
            made = Path(building) / f"{chosen}{incoming.suffix}"
            incoming.write(made)
            card = weight_card.checked({**weight_card.measured(made, incoming.settings), **noted}, source)
            _unlink(store, chosen)
            made.replace(store / made.name)
        runs.write_bytes(store / f"{chosen}.json", weight_card.as_json(card))
    return card


def remove(name: str) -> None:
    """Take an entry out of the store, a damaged one too.

    ValueError: if there is no such entry.
    """
    if not holds(name):
        raise ValueError(_no_such(name))
    with runs.locked(folder()):
        _unlink(folder(), name)


def entries() -> Entries:
    """The store's entries, and what is wrong with those that cannot be used. What is in the files is not checked."""
    found = Entries([], [])
    for path in sorted(folder().glob("*.json")):
        try:
            read = _read(path)
            if (size := _file(read).stat().st_size) != read.bytes:
                raise ValueError(f"{_file(read)}: has {size:,} bytes, but its card says {read.bytes:,}")
        except (ValueError, OSError) as error:
            found.problems.append(str(error))
        else:
            found.cards.append(read)
    return found


def cards() -> list[Card]:
    """The cards of the store's entries, by name; those that cannot be used are left out (`entries` tells them)."""
    return entries().cards


def shipped() -> Entries:
    """The recognisers that come with the project, and what is wrong with those that cannot be used."""
    found = Entries([], [])
    for name in recognisers.shipped():
        try:
            found.cards.append(weight_card.shipped(name))
        except (ValueError, OSError) as error:
            found.problems.append(str(error))
    return found


def holds(name: str) -> bool:
    """Whether the store has an entry of this name, whole or damaged."""
    return _NAME.fullmatch(name) is not None and (folder() / f"{name}.json").is_file()


def card(name: str) -> Card:
    """The card of an entry, as it stands there: `verify` compares the file with it.

    ValueError: if there is no such entry, or its card is damaged.
    """
    if not holds(name):
        raise ValueError(_no_such(name))
    return _read(folder() / f"{name}.json")


def verify(name: str) -> Card:
    """The card of an entry whose file is the one that was added.

    The whole file is read and hashed, see docs/recognisers/weights.md for what that costs. It tells damage and
    mix-ups; who may write to the store can write the card too.

    ValueError: if there is no such entry, its card is damaged, or its file is missing or another.
    """
    read = card(name)
    weight_card.compare(read, _file(read))
    return read


def load(name: str, **settings: Any) -> Recogniser:
    """The recogniser of an entry, after `verify`.

    settings: of an ONNX file batch_size and threads, else none.

    ValueError: as `verify`, or if the entry is no recogniser or takes no such setting.
    """
    found = verify(name)
    if found.kind != "recogniser":
        raise ValueError(f"{name} is a network of layout {found.layout} and no recogniser")
    known = ("batch_size", "threads") if found.layout == ONNX else ()
    if unknown := sorted(set(settings) - set(known)):
        raise ValueError(f"{name} comes with its own weights and sizes: {', '.join(unknown)} cannot be given")
    if found.layout == ONNX:
        stated: dict[str, Any] = {**found.settings, **settings}
        return onnx.load(_file(found), **stated)
    return recognisers.load(_file(found).absolute())


def path(name: str) -> Path:
    """The file of an entry, after `verify`."""
    return _file(verify(name))


def files(name: str) -> list[Path]:
    """The files that decide what `load` gives: the weights and, where it holds settings, the card."""
    found = card(name)
    return [_file(found), *([folder() / f"{name}.json"] if found.settings else [])]


@dataclass(frozen=True)
class _Incoming:
    """A source that was found good: how it is written into the store, and what its card says of it."""

    suffix: str
    write: Callable[[Path], object]
    noted: dict[str, Any]
    settings: dict[str, Any]


def _incoming(source: Path, layout: str | None, settings: dict[str, Any]) -> _Incoming:
    if source.is_dir():
        return _of_run(source, layout, settings)
    if not source.is_file():
        raise ValueError(f"{source}: no such file or run folder")
    if (size := source.stat().st_size) > MAX_WEIGHT_BYTES:
        raise ValueError(f"{source}: {size:,} bytes; files of up to {MAX_WEIGHT_BYTES:,} are added")
    noted = {"source": source.name, "source_sha256": weight_card.digest(source)}
    if layout == ONNX or (layout is None and source.suffix == ".onnx"):
        stated = _onnx_settings(source, settings)
        weight_card.measured(source, stated)
        return _Incoming(".onnx", lambda made: _copy(source, made), noted, stated)
    if recognisers.is_written(source):
        held = recognisers.describe(source).layout.name
        if settings or layout not in (None, held):
            raise ValueError(f"{source}: describes itself, as a {held}; give no other layout, and no settings")
        weight_card.measured(source)
        return _Incoming(".safetensors", lambda made: _copy(source, made), noted, {})
    if layout is None:
        known = ", ".join(each.name for each in facebridge.weights.layouts())
        raise ValueError(f"{source}: does not say what it holds: name its layout, one of {known}, {ONNX}")
    try:
        return _Incoming(".safetensors", _converted(source, layout, settings), noted, {})
    except TypeError as error:
        raise ValueError(f"{source}: the settings {settings} do not fit {layout} ({error})") from error


def _converted(source: Path, layout: str, settings: dict[str, Any]) -> Callable[[Path], object]:
    found = facebridge.weights.find(layout)
    if not isinstance(found, RecogniserLayout):
        state = facebridge.weights.read(source)
        sizes = {**found.sizes(state), **settings}
        tensors = facebridge.weights.convert(layout, state, **sizes)
        described = {weight_card.LAYOUT_OF: layout, "sizes": json.dumps(sizes)}
        return lambda made: facebridge.weights.write(made, tensors, described)
    own = found.normalisation
    normalisation = Normalisation(
        settings.pop("colours", own.colours),
        _numbers(settings.pop("mean", own.mean)),
        _numbers(settings.pop("scale", own.scale)),
    )
    crop = settings.pop("crop", None)
    if crop is not None:
        crops.crop(crop)
    tensors, sizes = recognisers.convert(source, layout, **settings)
    return lambda made: recognisers.write(made, layout, tensors, crop=crop, normalisation=normalisation, **sizes)


def _of_run(source: Path, layout: str | None, settings: dict[str, Any]) -> _Incoming:
    from facebridge.recognition import TrainedRecogniser

    run, method = runs.find(source), runs.load(source)
    if not isinstance(method, TrainedRecogniser):
        raise ValueError(f"{source}: its method, {run.recipe.method}, trains no recogniser")
    network, sizes = method.config.network, method.config.sizes
    if settings or layout not in (None, network):
        raise ValueError(f"{source}: says itself that it holds a {network}; give no other layout, and no settings")
    recogniser = method.as_recogniser()
    starts = [line for line in runs.lines(source / "run.jsonl") if line.get("event") == "start"]
    told: dict[str, Any] = {
        key: starts[-1][key] for key in ("command", "time", "commit") if starts and key in starts[-1]
    }
    noted: dict[str, Any] = {
        **told,
        "source": source.resolve().name,
        "source_sha256": weight_card.digest(recognisers.files(str(source.absolute()))[-1]),
        "seed": run.recipe.seed,
    }
    return _Incoming(
        ".safetensors", lambda made: recognisers.write_recogniser(made, recogniser, network, **sizes), noted, {}
    )


def _onnx_settings(source: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """All settings, those that the TOML beside the file says included; `onnx.load` checks them."""
    toml = Path(settings.pop("settings", source.with_suffix(".toml")))
    onnx.load(source, settings=toml if toml.is_file() else None, threads=1, **settings)
    beside = tomllib.loads(toml.read_text("utf-8")) if toml.is_file() else {}
    return onnx.Settings(**{**beside, **settings}).model_dump(mode="json")


def _numbers(value: Any) -> tuple[float, ...]:
    return tuple(float(each) for each in (value if isinstance(value, list | tuple) else [value]))


def _safe_name(source: Path) -> str:
    name = source.resolve().name.lower()
    while (ending := Path(name).suffix) in _ENDINGS:
        name = name.removesuffix(ending)
    return re.sub(r"[^a-z0-9_.-]+", "_", name).strip("_.-")[:100]


def _check_name(name: str, replace: bool) -> None:
    if not _NAME.fullmatch(name) or Path(name).suffix in _ENDINGS:
        raise ValueError(
            f"{name!r} cannot be a name: give one of a-z, 0-9, '_', '.' and '-', at most 100 of them, that begins with "
            "a letter or digit and does not end as a file of weights does"
        )
    taken = {
        *facebridge.shipped.names(),
        *recognisers.shipped(),
        *recognisers.builtin(),
        *(each.name for each in facebridge.weights.layouts()),
    }
    if name in taken:
        raise ValueError(f"{name!r} is the name of a layout, a module or a shipped recogniser: choose another name")
    if holds(name) and not replace:
        raise ValueError(f"{name!r} is in the store already, in {folder()}: choose another name, or replace it")


def _copy(source: Path, made: Path) -> None:
    with source.open("rb") as content, made.open("xb") as file:
        shutil.copyfileobj(content, file, 2**20)
        file.flush()
        os.fsync(file.fileno())


def _unlink(store: Path, name: str) -> None:
    for suffix in (".json", *_SUFFIXES):
        (store / f"{name}{suffix}").unlink(missing_ok=True)


def _sweep(store: Path) -> None:
    """Remove what a killed `add` left; the lock says that no other is at work."""
    for left in store.glob(f"{_BUILDING}*"):
        shutil.rmtree(left)
    for left in store.glob("*.json.*.part"):
        left.unlink()


def _read(path: Path) -> Card:
    read = weight_card.checked(weight_card.read(path), path)
    if read.name != path.stem or not _NAME.fullmatch(path.stem):
        raise ValueError(
            f"{path}: is a card of {read.name!r} and cannot stand here under this name; add the file again"
        )
    return read


def _file(card: Card) -> Path:
    return folder() / f"{card.name}{'.onnx' if card.layout == ONNX else '.safetensors'}"


def _no_such(name: str) -> str:
    known = ", ".join(each.name for each in cards()) or "nothing"
    return f"no weights are called {name!r} in the store, {folder()}; it has {known}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
