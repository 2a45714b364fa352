"""What several verbs share: options, and how sizes, settings and bad pictures are read and told."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

EXIT_BAD_PICTURES = 1
EXIT_USER_ERROR = 2
EXIT_STOPPED = 75  # EX_TEMPFAIL of sysexits.h: go on later

Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Root = Annotated[
    Path | None,
    typer.Option(
        help="Folder that the list's paths are relative to; default where an import found them, or the list's own."
    ),
]
Landmarks = Annotated[
    Path | None, typer.Option(help="CSV or Parquet with `path` and landmark columns; they win over the list's own.")
]
Aligned = Annotated[
    str | None, typer.Option(help="Crop that pictures without landmarks were aligned to, such as sphereface.")
]
Named = Annotated[
    str,
    typer.Option(
        "--recogniser", help="One of `facebridge methods --recognisers`, or the folder of a run that trained one."
    ),
]
Weights = Annotated[Path | None, typer.Option(help="Weights of the recogniser.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="key=value, such as crop=arcface for onnx; may be repeated.")
]
Workers = Annotated[int | None, typer.Option(min=1, help="How many processes; default one a core.")]
Engine = Annotated[str, typer.Option(help="local, or ray: the cluster that RAY_ADDRESS names, else a small one here.")]
Detector = Annotated[str, typer.Option(help="yunet or mtcnn.")]
DetectorWeights = Annotated[
    list[Path] | None,
    typer.Option("--weights", help="yunet: its ONNX file; mtcnn: its three files, or the folder that holds them."),
]
Face = Annotated[str, typer.Option(help="Which faces of a picture count: largest, central or all.")]
Turned = Annotated[
    bool,
    typer.Option(
        "--turned", help="Search the picture in four turns, for faces that lie on their side (4 times the work)."
    ),
]
MinFace = Annotated[float, typer.Option(min=0, help="Smaller side of a face's box from which it counts, px.")]


def parsed_size(text: str) -> tuple[int, int] | None:
    """HEIGHTxWIDTH, or None for auto.

    Raises:
        ValueError: if it is neither.
    """
    if text == "auto":
        return None
    height, cross, width = text.partition("x")
    if not (cross and height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise ValueError(f"cannot read the size {text!r}: write HEIGHTxWIDTH, such as 14x12")
    return int(height), int(width)


def probe_sizes(sizes: str, squares: str) -> tuple[tuple[int, int], ...]:
    """The sizes of two comma-separated lists: HEIGHTxWIDTH, and sides of squares.

    Raises:
        ValueError: if one cannot be read.
    """
    listed = [parsed_size(text) for text in words(sizes)]
    if None in listed:
        raise ValueError(f"cannot read the sizes {sizes!r}: write HEIGHTxWIDTH, such as 14x12,28x24")
    sides = whole_numbers("--size", squares)
    return (*(size for size in listed if size is not None), *((side, side) for side in sides))


def whole_numbers(option: str, text: str) -> list[int]:
    """The numbers, 1 or more, of a comma-separated list.

    Raises:
        ValueError: if one cannot be read.
    """
    listed = words(text)
    if not all(word.isascii() and word.isdecimal() and len(word) < 6 and int(word) for word in listed):
        raise ValueError(f"{option} is {text!r}; expected whole numbers from 1, comma-separated, such as 16,8,4")
    return [int(word) for word in listed]


def words(text: str) -> list[str]:
    """What stands between the commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def expanded(paths: Sequence[Path]) -> list[Path]:
    """The paths, patterns replaced by the files that they mean, sorted.

    Raises:
        ValueError: if a pattern means no file.
    """
    found: list[Path] = []
    for path in paths:
        meant = sorted(path.parent.glob(path.name)) if set("*?[") & set(path.name) and not path.exists() else [path]
        if not meant:
            raise ValueError(f"{path}: no file has such a name")
        found += meant
    return found


def one_of(option: str, value: str, choices: Any) -> Any:
    """The value, if it is one of the choices of a Literal.

    Raises:
        ValueError: if it is none of them.
    """
    if value not in get_args(choices):
        raise ValueError(f"{option} is {value!r}; expected one of {', '.join(get_args(choices))}")
    return value


def name_bad(bad: Sequence[tuple[object, str]]) -> None:
    """Name and count what could not be used; then the command ends with status 1."""
    for path, cause in bad:
        typer.echo(f"  {path}: {cause}", err=True)
    if bad:
        what = "picture" if len(bad) == 1 else "pictures"
        typer.echo(f"{len(bad):,} {what} could not be used (listed above)", err=True)
        raise typer.Exit(EXIT_BAD_PICTURES)
