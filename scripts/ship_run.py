"""Put a trained run into the package, so that `facebridge generate NAME PICTURES OUT` works from a fresh clone.

    python scripts/ship_run.py runs/mine facebridge_sr --card card.toml
    python scripts/ship_run.py runs/mine facebridge_sr --card card.toml --replace

Writes facebridge/shipped/NAME/{recipe.toml, weights.safetensors, card.json}. Of float16 and bfloat16 the type is taken
in which the faces differ less from those of the run. No folder of this machine stays in the recipe: of every path the
last part is kept. CARD is a TOML file with what cannot be measured: licence, data, intended_use, limits, and what else
facebridge.weight_card.Card knows, such as a table [results]; seed, command, time and commit are the run's where it does
not say them. It may be left out with --replace: then the card that is there goes on to say what it said.
"""

import argparse
import math
import re
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facebridge import crops, images, recipe, runs, shipped, weight_card, weights
from facebridge.data import synthetic
from facebridge.hallucination import hallucinate, reduce
from facebridge.method import HallucinationMethod
from facebridge.recipe import Recipe

NEEDED = ("licence", "data", "intended_use", "limits")
TYPES = (torch.float16, torch.bfloat16)
NUM_FACES = 8
FIRST_PERSON = 900_000


def main() -> None:
    """Ship one run and print what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("name", help="of a-z, 0-9 and _")
    parser.add_argument("--card", type=Path, help="TOML file with what cannot be measured")
    parser.add_argument("--replace", action="store_true", help="a shipped run of this name gives way")
    arguments = parser.parse_args()
    told = None if arguments.card is None else tomllib.loads(arguments.card.read_text("utf-8"))
    for line in ship(arguments.run, arguments.name, told, replace=arguments.replace):
        print(line)


def ship(run: Path, name: str, told: Mapping[str, Any] | None, *, replace: bool = False) -> list[str]:
    """Write the shipped run, whole or not at all; what there is to say about it.

    told: fields of the card; None: those that the card of this name says now.

    Raises:
        ValueError: if the name is taken or no name, the run generates no faces, a field is missing or unknown, or the
            shipped runs would be larger than `shipped.MAX_BYTES`.
    """
    folder = shipped.FOLDER / name
    if not name.isascii() or not name.isidentifier() or name != name.lower():
        raise ValueError(f"{name!r} cannot be a name: give one of a-z, 0-9 and '_' that begins with a letter")
    if folder.exists() and not replace:
        raise ValueError(f"{name} is shipped already: add --replace, or choose another name")
    fields = _fields(run, folder, told)
    made, gone = (folder.with_name(f".{name}.{ending}") for ending in ("part", "gone"))
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    try:
        dtype, differences = write(run, made)
        card = _card(made, name, fields)
        runs.write_bytes(made / shipped.CARD, weight_card.as_json(card))
        _check_size(name, card.bytes)
        if folder.exists():
            shutil.rmtree(gone, ignore_errors=True)
            folder.replace(gone)
        made.replace(folder)
    finally:
        for each in (made, gone):
            shutil.rmtree(each, ignore_errors=True)
    told_differences = ", ".join(f"{_short(each)} {value:.2e}" for each, value in differences.items())
    return [
        f"{folder}: {card.parameters:,} parameters, {card.bytes:,} bytes in {_short(dtype)}, sha256 {card.sha256}",
        f"largest difference of a pixel, of 1, on {NUM_FACES} drawn faces a size: {told_differences}",
    ]


def write(run: Path, out: Path) -> tuple[torch.dtype, dict[torch.dtype, float]]:
    """Recipe and weights of a run into a folder; the type of the weights, and how far each type changes faces.

    ValueError: if the run generates no faces.
    """
    method = runs.load_hallucination(run)
    faces = drawn_faces(method)
    exact = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    wanted = [_generated(method, each) for each in faces]
    differences = {}
    for dtype in TYPES:
        stored = _stored(exact, dtype)
        method.load_state_dict(stored)
        found = [_generated(method, each) for each in faces]
        off = max(float((one - other).abs().max()) for one, other in zip(found, wanted, strict=True))
        differences[dtype] = off if all(each.isfinite().all() for each in stored.values()) else math.inf
    best = min(TYPES, key=lambda dtype: differences[dtype])
    resolved = without_places(runs.Run(run).recipe)
    runs.write_bytes(out / shipped.RECIPE, recipe.to_toml(resolved).encode())
    weights.write(out / shipped.WEIGHTS, _stored(exact, best), {"method": resolved.method})
    return best, differences


def without_places(resolved: Recipe) -> Recipe:
    """The recipe with the last part of every path, and without roots: it says what was used, not where it lay."""
    return recipe.resolve(_without_places(resolved.model_dump(mode="json", exclude_none=True)), "the shipped recipe")


def drawn_faces(method: HallucinationMethod[Any]) -> list[Tensor]:
    """Faces of drawn people at the method's source sizes: (NUM_FACES, 3, h, w) in [0, 1] each."""
    people = list(range(FIRST_PERSON, FIRST_PERSON + NUM_FACES))
    shots = synthetic.render(0, people, [0] * NUM_FACES, size=128, truth=True)
    pictures, points = images.to_pictures(shots.faces["vis"]), shots.landmarks5.numpy()
    aligned = [crops.align(picture, five, method.crop) for picture, five in zip(pictures, points, strict=True)]
    faces = images.to_faces(np.stack(aligned))
    return [reduce(faces, *size) for size in method.source_sizes()]


def _generated(method: HallucinationMethod[Any], faces: Tensor) -> Tensor:
    torch.manual_seed(0)  # for methods that draw numbers when they generate
    return hallucinate(method, faces)


def _without_places(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_places(each) for key, each in value.items() if key != "root"}
    if isinstance(value, list):
        return [_without_places(each) for each in value]
    if isinstance(value, str) and ("/" in value or "\\" in value):
        return PurePath(value.replace("\\", "/")).name
    return value


def _placeless(text: str) -> str:
    """The text with the last part of every absolute path."""
    return re.sub(r"(?<![\w.:/])/(?:[^\s/=]+/)*", "", text)


def _stored(tensors: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: each.to(dtype) if each.is_floating_point() else each for name, each in tensors.items()}


def _fields(run: Path, folder: Path, told: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the card says that is not measured; where an old card stays, the run's command, time and commit are new."""
    if told is None and not (folder / shipped.CARD).is_file():
        raise ValueError(f"there is no card of {folder.name} yet: give --card FILE with {', '.join(NEEDED)}")
    fields = dict(weight_card.read(folder / shipped.CARD) if told is None else told)
    if missing := [key for key in NEEDED if not fields.get(key)]:
        raise ValueError(f"the card does not say {', '.join(missing)}")
    if unknown := sorted(set(fields) - set(weight_card.Card.model_fields)):
        raise ValueError(f"a card has no {', '.join(unknown)}; known: {', '.join(weight_card.Card.model_fields)}")
    starts = [line for line in runs.lines(run / "run.jsonl") if line.get("event") == "start"]
    own = {key: _placeless(starts[-1][key]) for key in ("command", "time", "commit") if starts and key in starts[-1]}
    source = {"source": run.resolve().name, "source_sha256": weight_card.digest(runs.Run(run).trained())}
    if told is None and fields.get("source_sha256") != source["source_sha256"]:
        fields["results"] = {}  # they are of other weights
    of_run = {**own, **fields} if told is not None else {**fields, **own}
    return {**of_run, **source, "licence": weight_card.spdx(fields["licence"])}


def _card(made: Path, name: str, fields: Mapping[str, Any]) -> weight_card.Card:
    return weight_card.checked({**fields, **weight_card.measured_run(made), "name": name}, made)


def _check_size(name: str, num_bytes: int) -> None:
    others = [each for each in shipped.names() if each != name]
    total = num_bytes + sum((shipped.FOLDER / each / shipped.WEIGHTS).stat().st_size for each in others)
    if total > shipped.MAX_BYTES:
        raise ValueError(f"all shipped weights would take {total:,} bytes; at most {shipped.MAX_BYTES:,} are shipped")


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


if __name__ == "__main__":
    main()
