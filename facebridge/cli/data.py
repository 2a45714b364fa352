"""facebridge data: lists, landmarks, aligned faces, drawn people."""

from pathlib import Path
from typing import Annotated

import typer

from facebridge.cli.options import EXIT_BAD_PICTURES, Root, name_bad
from facebridge.key_values import key_and_value

app = typer.Typer(help="Import data sets, check lists, find and align faces, draw people.", no_args_is_help=True)


@app.command("sets")
def data_sets() -> None:
    """The data sets whose own layout is known."""
    from facebridge.data import importing

    for name in importing.names():
        typer.echo(f"{name:<18}  {importing.load(name).TITLE}")


@app.command("import")
def data_import(
    name: Annotated[str, typer.Argument(help="One of `facebridge data sets`.")],
    root: Annotated[Path, typer.Argument(help="The folder as its owner gave it out; for lists the list.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The face list to write (.csv or .parquet).")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, an option of the data set; may be repeated.")
    ] = None,
) -> None:
    """Write the face list and the protocols of a data set that is in its own layout; downloads nothing."""
    from facebridge.data import importing

    written = importing.import_set(name, root, out, dict(map(key_and_value, settings or [])))
    typer.echo(f"{written.faces}: {written.num_pictures:,} pictures of {written.num_identities:,} identities")
    for key, path in written.protocols.items():
        typer.echo(f"{path}: protocol {key}")
    for count in written.counts:
        typer.echo(f"{count}")
    for note in written.notes:
        typer.echo(f"note: {note}")


@app.command("render")
def data_render(
    out: Annotated[Path, typer.Argument(help="Folder to write to.")],
    identities: Annotated[int, typer.Option(min=1, help="How many people.")] = 100,
    shots: Annotated[int, typer.Option(min=1, help="Shots of each person.")] = 10,
    size: Annotated[int, typer.Option(min=16, help="Height and width, px.")] = 128,
    domains: Annotated[str, typer.Option(help="vis, nir or both, comma-separated.")] = "vis,nir",
    seed: Annotated[int, typer.Option(help="Decides all people and shots.")] = 0,
    first: Annotated[int, typer.Option(min=0, help="Number of the first person.")] = 0,
) -> None:
    """Draw embedded people: pictures and a face list with landmarks."""
    from facebridge.data import synthetic
    from facebridge.progress import Progress

    with Progress("drawing", identities * shots) as bar:
        written = synthetic.render_to(
            out,
            identities=identities,
            shots=shots,
            size=size,
            domains=tuple(domains.split(",")),
            seed=seed,
            first_identity=first,
            progress=lambda done, of: bar.step(done),
        )
    typer.echo(f"{written}")


@app.command("check")
def data_check(
    faces: Annotated[Path, typer.Argument(help="Face list, or folder identity/picture.")], root: Root = None
) -> None:
    """Say what is in a face list, and what is wrong with it, before any long job."""
    from facebridge.data import importing
    from facebridge.data.check import check
    from facebridge.data.opening import open_faces

    found = check(
        open_faces(faces, root),
        counts=importing.counts_of(faces),
        may_overlap=importing.allows_overlap(faces),
    )
    typer.echo(str(found))
    if not found.ok:
        raise typer.Exit(EXIT_BAD_PICTURES)


@app.command("landmarks")
def data_landmarks(
    faces: Annotated[Path, typer.Argument(help="Face list, or folder of pictures.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The face list to write (.csv or .parquet).")],
    weights: Annotated[Path, typer.Option(help="YuNet's ONNX file.")],
    root: Root = None,
) -> None:
    """Find five landmarks in every picture; those without a face are named, counted and left out."""
    from facebridge.data import face_list, finding
    from facebridge.landmarks import YuNet

    if out.suffix.lower() not in (".csv", ".parquet"):
        raise ValueError(f"{out}: face lists are written as .csv or .parquet")
    out.parent.mkdir(parents=True, exist_ok=True)
    found = finding.with_landmarks(finding.open_faces(faces, root), YuNet(weights))
    face_list.write(finding.moved(found.faces, out.parent), out)
    typer.echo(f"{out}: {len(found.faces)} faces; their paths are relative to {found.faces.root}")
    name_bad([(bad.path, bad.cause) for bad in found.refused])
