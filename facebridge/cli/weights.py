"""facebridge weights: the store of weights, a look into weight files, and the conversion of published ones."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from facebridge.weight_card import Card
    from facebridge.weight_store import Entries

app = typer.Typer(help="Keep weights in a store, look into weight files, convert published ones.", no_args_is_help=True)


@app.command("list")
def weights_list() -> None:
    """The recognisers and trained methods that come with the project, and the weights of your store."""
    from facebridge import weight_card, weight_store

    shipped, runs, stored = weight_store.shipped(), _shipped_runs(), weight_store.entries()
    head = ("name", "kind", "layout", "parameters", "size", "licence", "where")
    rows = [_row(card, "shipped") for card in (*shipped.cards, *runs.cards)]
    rows += [_row(card, "store") for card in stored.cards]
    for line in _aligned([head, *rows]):
        typer.echo(line)
    where = weight_store.folder()
    typer.echo(f"store: {where}{'' if where.is_dir() else ', not there yet'} (${weight_store.FOLDER})")
    unclear = [card.name for card in stored.cards if card.licence == weight_card.UNKNOWN_LICENCE]
    if unclear:
        typer.echo(f"licence unknown, ask before you use or pass on: {', '.join(unclear)}")
    for problem in (*shipped.problems, *runs.problems, *stored.problems):
        typer.echo(f"left out: {problem}", err=True)


@app.command("show")
def weights_show(
    what: Annotated[str, typer.Argument(metavar="NAME_OR_FILE", help="A name of `weights list`, or a weight file.")],
) -> None:
    """The card of an entry, its file compared with it; then its tensors: names, shapes, types."""
    from facebridge import recognisers, weight_card, weight_store, weights
    from facebridge import shipped as shipped_runs

    path = Path(what)
    if what in recognisers.shipped():
        path = recognisers.SHIPPED / f"{what}.safetensors"
        _tell(weight_card.shipped(what), path)
    elif what in shipped_runs.names():
        path = shipped_runs.FOLDER / what / shipped_runs.WEIGHTS
        _tell(weight_card.of_shipped_run(what), path)
    elif weight_store.holds(what):
        path = weight_store.path(what)
        _tell(weight_store.card(what), path)
    elif not path.is_file():
        raise ValueError(f"{what}: no such file, and no such name in `facebridge weights list`")
    if path.suffix == ".onnx":
        return
    tensors = weights.read(path)
    for name, tensor in tensors.items():
        typer.echo(f"{name}  {'x'.join(map(str, tensor.shape)) or 'one'}  {str(tensor.dtype).removeprefix('torch.')}")
    typer.echo(f"{len(tensors)} tensors, {sum(tensor.numel() for tensor in tensors.values()):,} numbers")


@app.command("add")
def weights_add(
    source: Annotated[
        Path, typer.Argument(help="Published checkpoint, .onnx, .safetensors, or run folder of a recogniser.")
    ],
    licence: Annotated[str, typer.Option(help="SPDX identifier or other words; unknown if nobody said.")],
    layout: Annotated[
        str | None, typer.Option(help="Published layout such as mobile_facenet, or onnx; needed for checkpoints.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What to call it; default as the file.")] = None,
    origin: Annotated[str, typer.Option(help="Address or paper it comes from; only noted.")] = "",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value: sizes of the layout, crop, mean, scale, colours; may be repeated."),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="An entry of this name gives way.")] = False,
) -> None:
    """Add weights to the store, with hash and licence; published ones are converted strictly."""
    from facebridge import weight_store
    from facebridge.key_values import key_and_value

    card = weight_store.add(
        source,
        licence=licence,
        layout=layout,
        name=name,
        origin=origin,
        settings=dict(map(key_and_value, settings or [])),
        replace=replace,
    )
    typer.echo(f"{weight_store.path(card.name)}: {card.layout}, {card.parameters:,} parameters, licence {card.licence}")
    if card.kind == "recogniser":
        typer.echo(f"use it as --recogniser {card.name}")


@app.command("remove")
def weights_remove(name: Annotated[str, typer.Argument(help="A name of the store.")]) -> None:
    """Delete an entry of the store: its file and its card."""
    from facebridge import weight_store

    weight_store.remove(name)
    typer.echo(f"{name} is removed from {weight_store.folder()}")


@app.command("convert")
def weights_convert(
    layout: Annotated[str, typer.Argument(help="Published layout, such as mobile_facenet.")],
    source: Annotated[Path, typer.Argument(help="Published checkpoint.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .safetensors to write.")],
) -> None:
    """Rename a published checkpoint to this project's names, strictly, as safetensors."""
    from facebridge import weights

    tensors = weights.convert(layout, weights.read(source))
    out.parent.mkdir(parents=True, exist_ok=True)
    weights.write(out, tensors, {"converted from": source.name, "layout of": layout})
    typer.echo(f"{out}: {len(tensors)} tensors")


def _shipped_runs() -> "Entries":
    """The trained methods that come with the project, and what is wrong with those that cannot be used."""
    from facebridge import shipped, weight_card
    from facebridge.weight_store import Entries

    found = Entries([], [])
    for name in shipped.names():
        try:
            found.cards.append(weight_card.of_shipped_run(name))
        except (ValueError, OSError) as error:
            found.problems.append(str(error))
    return found


def _row(card: "Card", where: str) -> tuple[str, ...]:
    licence = " ".join(card.licence.split()) or "not said"
    shortened = licence if len(licence) <= 30 else f"{licence[:29]}…"
    return card.name, card.kind, card.layout, f"{card.parameters:,}", _size(card.bytes), shortened, where


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes >= 1e5 else f"{num_bytes / 1e3:.1f} kB"


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    numbers = {rows[0].index(name) for name in ("parameters", "size")}
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if place in numbers else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def _tell(card: "Card", path: Path) -> None:
    """Every field that is said; results line by line."""
    told = {key: value for key, value in card.model_dump(mode="json").items() if value not in ("", None, {})}
    width = max(map(len, told)) + 2
    for key, value in told.items():
        lines = (
            [f"{name}: {each}" for name, each in value.items() if each is not None]
            if isinstance(value, dict)
            else [_text(value)]
        )
        for number, line in enumerate(line for text in lines for line in text.splitlines()):
            typer.echo(f"{key if number == 0 else '':<{width}}{line}")
    typer.echo(f"{'file':<{width}}{path}, checked against sha256")


def _text(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
