"""The card beside a file of weights: what it is, where it comes from, what it may be used for, whether it is whole."""

import hashlib
import importlib.metadata
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

import facebridge.weights
from facebridge import recognisers, runs
from facebridge import shipped as shipped_runs
from facebridge.recogniser import Normalisation
from facebridge.recognisers import onnx

MAX_CARD_BYTES = 2**20
"""A larger card is not read."""
ONNX = "onnx"
LAYOUT_OF = "layout of"
"""In the metadata of a converted network that is no recogniser: its layout."""
UNKNOWN_LICENCE = "unknown"
LICENCES = (
    *("AGPL-3.0-only", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0"),
    *("CC-BY-NC-4.0", "CC-BY-NC-ND-4.0", "CC-BY-NC-SA-4.0", "GPL-2.0-only", "GPL-3.0-only", "GPL-3.0-or-later", "ISC"),
    *("LGPL-3.0-only", "MIT", "MPL-2.0", "Unlicense"),
)
"""SPDX identifiers that are known, however they are capitalised."""


def _printable(text: str) -> str:
    # A card comes from anywhere, and a terminal obeys what it is shown.
    if bad := next((letter for letter in text if not (letter.isprintable() or letter == "\n")), None):
        raise ValueError(f"holds {bad!r}, which cannot be printed")
    return text


Text = Annotated[str, Field(max_length=10_000), AfterValidator(_printable)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Value = bool | int | float | Text | list[float] | None
Values = Annotated[dict[Text, Value], Field(max_length=100)]


class Card(BaseModel):
    """What a file of weights is and where it comes from. Absent, empty or None: not said, or it has none."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    name: Text
    """The file's name without its ending."""
    kind: Literal["recogniser", "network", "method"]
    """A recogniser judges under its name, a method generates under it; another network is only kept."""
    layout: Text
    """Published layout of the network (`facebridge.weights.layouts()`), or onnx; of a method its name."""
    sizes: Values = {}
    """Sizes of the layout."""
    settings: Values = {}
    """What an exported recogniser takes (facebridge/recognisers/onnx.py)."""
    crop: Text = ""
    """How a recogniser's or a method's faces are aligned."""
    normalisation: Normalisation | None = None
    """What a recogniser's network takes."""
    embedding_size: Count | None = None
    """Length of a recogniser's embeddings."""
    parameters: Count
    """Trainable numbers of the network, of a method of all that is stored."""
    bytes: Count
    """Size of the file."""
    sha256: Sha256
    """Of the file."""
    licence: Text = ""
    """An SPDX identifier, other words, or `unknown`."""
    origin: Text = ""
    """Where the weights come from: an address or a paper. Noted, never opened."""
    source: Text = ""
    """Name of the file or run that was added."""
    source_sha256: Sha256 | None = None
    """Of the file that was added; of a run, of its trained weights."""
    added: Text = ""
    """When it was added, UTC."""
    facebridge: Text = ""
    """The version that wrote the file."""
    data: Text = ""
    """What it was trained on."""
    seed: int | None = None
    """Of the training."""
    command: Text = ""
    """What trained it."""
    time: Text = ""
    """When it was trained, UTC."""
    seconds: Annotated[float, Field(ge=0)] | None = None
    """How long it trained."""
    commit: Text = ""
    """Of the code that trained it."""
    intended_use: Text = ""
    """What it is for."""
    limits: Text = ""
    """What it is not for, and what is known to go wrong."""
    results: Values = {}
    """What was measured, and the figure with its interval."""


def checked(fields: Mapping[str, Any], where: Path) -> Card:
    """The card of these fields. ValueError: if one is missing or wrong; `where` is named."""
    try:
        return Card.model_validate(dict(fields))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise ValueError(f"{where}: not the card of a file of weights ({problems})") from error


def read(path: Path) -> dict[str, Any]:
    """The fields of a card's file, as they stand there.

    ValueError: if it is no JSON table, or over MAX_CARD_BYTES.
    """
    if (size := path.stat().st_size) > MAX_CARD_BYTES:
        raise ValueError(f"{path}: a card of {size:,} bytes is not read; at most {MAX_CARD_BYTES:,}")
    try:
        fields = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: a damaged card, it is not JSON ({error})") from error
    if not isinstance(fields, dict):
        raise ValueError(f"{path}: a damaged card, it is no table of fields")
    return fields


def as_json(card: Card) -> bytes:
    """The card as the content of its file."""
    return (
        json.dumps(card.model_dump(mode="json", exclude_defaults=True), indent=1, ensure_ascii=False).encode() + b"\n"
    )


def write(weights: Path | str, *, licence: str, **told: Any) -> Card:
    """Write the card NAME.json of NAME.safetensors beside it; what can be measured is measured.

    weights: made by `facebridge.recognisers.write`. told: further fields of `Card`, such as data, seed, command,
    seconds, time, intended_use, limits and results.

    ValueError: if a field is unknown or not what it must be.
    """
    weights = Path(weights)
    if unknown := sorted(set(told) - set(Card.model_fields)):
        raise ValueError(f"{weights}: a card has no {', '.join(unknown)}; known: {', '.join(Card.model_fields)}")
    card = checked({**told, **measured(weights), "licence": spdx(licence)}, weights)
    runs.write_bytes(weights.with_name(f"{weights.stem}.json"), as_json(card))
    return card


def shipped(name: str) -> Card:
    """The card of a recogniser that comes with the project; what it leaves out is measured.

    ValueError: if the card is damaged, or the file is not the card's.
    """
    weights = recognisers.SHIPPED / f"{name}.safetensors"
    beside = weights.with_name(f"{name}.json")
    card = checked({**measured(weights), **(read(beside) if beside.is_file() else {})}, beside)
    compare(card, weights)
    return card


def of_shipped_run(name: str) -> Card:
    """The card of a shipped run, its weights compared with it.

    ValueError: if there is no such run, or its card is missing, damaged or of other weights.
    """
    if name not in shipped_runs.names():
        raise ValueError(f"no shipped run is called {name!r}; known: {', '.join(shipped_runs.names()) or 'none'}")
    folder = shipped_runs.FOLDER / name
    if not (folder / shipped_runs.CARD).is_file():
        raise ValueError(f"{folder}: has no {shipped_runs.CARD}")
    card = checked(read(folder / shipped_runs.CARD), folder / shipped_runs.CARD)
    compare(card, folder / shipped_runs.WEIGHTS)
    return card


def measured_run(folder: Path) -> dict[str, Any]:
    """The fields of a run's card that follow from its recipe and weights.

    ValueError: as `runs.load`.
    """
    resolved, method = runs.Run(folder).recipe, runs.load(folder)
    weights = runs.Run(folder).trained()
    return {
        "name": folder.name,
        "kind": "method",
        "layout": resolved.method,
        "crop": resolved.crop,
        "parameters": sum(parameter.numel() for parameter in method.parameters()),
        "bytes": weights.stat().st_size,
        "sha256": digest(weights),
        "seed": resolved.seed,
        "facebridge": _version(),
    }


def compare(card: Card, weights: Path) -> None:
    """ValueError: if the file is missing, or not the one that the card was written for."""
    if not weights.is_file():
        raise ValueError(f"{weights}: is missing, though its card is there; add it again, or remove {card.name}")
    if (found := digest(weights)) != card.sha256:
        raise ValueError(
            f"{weights}: has changed since its card was written (sha256 {found[:12]}... instead of "
            f"{card.sha256[:12]}...); it is not used: add it again"
        )


def digest(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def spdx(licence: str) -> str:
    """The licence as SPDX writes it, where it is one of LICENCES; other words as they are."""
    known = {name.lower(): name for name in (*LICENCES, UNKNOWN_LICENCE)}
    return known.get(licence.strip().lower(), licence.strip())


def measured(weights: Path, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The fields of a card that follow from the file itself.

    settings: what an ONNX file takes.

    ValueError: if the file is damaged, or does not say what it holds.
    """
    fields = {"name": weights.stem, "bytes": weights.stat().st_size, "sha256": digest(weights)}
    fields["facebridge"] = _version()
    if weights.suffix == ".onnx":
        stated = dict(settings or {})
        recogniser, crop = onnx.load(weights, **stated, threads=1), stated["crop"]
        own = {"layout": ONNX, "settings": stated, "parameters": _num_onnx_parameters(weights)}
    elif recognisers.is_written(weights):
        held = recognisers.describe(weights)
        recogniser, crop = recognisers.load(weights.absolute()), held.crop.name
        parameters = sum(parameter.numel() for parameter in recogniser.parameters())
        own = {"layout": held.layout.name, "sizes": held.sizes, "parameters": parameters}
    else:
        return {**fields, **_measured_network(weights)}
    judges = {"kind": "recogniser", "crop": crop, "embedding_size": recogniser.embedding_size}
    return {**fields, **judges, **own, "normalisation": recogniser.normalisation}


def _measured_network(weights: Path) -> dict[str, Any]:
    held = facebridge.weights.metadata(weights)
    try:
        layout, sizes = facebridge.weights.find(held[LAYOUT_OF]), dict(json.loads(held["sizes"]))
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{weights}: its metadata does not say what it holds ({error!r})") from error
    with torch.device("meta"):
        network = facebridge.weights.build(layout, **sizes)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return {"kind": "network", "layout": layout.name, "sizes": sizes, "parameters": parameters}


def _num_onnx_parameters(path: Path) -> int:
    import onnx as exchange

    model = exchange.load(path, load_external_data=False)
    if apart := [
        each.name for each in model.graph.initializer if exchange.external_data_helper.uses_external_data(each)
    ]:
        raise ValueError(f"{path}: keeps {apart[0]} in another file: export the network as one file")
    return sum(math.prod(each.dims) for each in model.graph.initializer)


def _version() -> str:
    try:
        return importlib.metadata.version("facebridge")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
