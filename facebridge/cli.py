"""The verbs of the command line; each calls one function of the library."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from facebridge import allocator
from facebridge.stopping import Stopped

app = typer.Typer(
    help="Hallucinate the face a matcher knows from the face a camera gave; measure whether recognition got better.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
data_app = typer.Typer(help="Draw people, check face lists, find landmarks.", no_args_is_help=True)
weights_app = typer.Typer(help="Look into weight files and convert published ones.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(weights_app, name="weights")

EXIT_BAD_PICTURES = 1
EXIT_USER_ERROR = 2
EXIT_STOPPED = 75  # EX_TEMPFAIL of sysexits.h: go on later

Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Root = Annotated[
    Path | None, typer.Option(help="Folder that the list's paths are relative to; default the list's own.")
]
Landmarks = Annotated[Path | None, typer.Option(help="CSV with `path` and landmark columns, for a list without them.")]
Named = Annotated[str, typer.Option("--recogniser", help="One of `facebridge methods --recognisers`.")]
Weights = Annotated[Path | None, typer.Option(help="Weights of the recogniser.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="key=value, such as crop=arcface for onnx; may be repeated.")
]


def main() -> None:
    """Run the command line; a user's error is one line on standard error and exit status 2."""
    allocator.keep_memory()
    try:
        app()
    except Stopped as stopped:
        typer.echo(str(stopped), err=True)
        sys.exit(EXIT_STOPPED)
    except (ValueError, OSError, ImportError) as error:
        typer.echo(f"facebridge: {error}", err=True)
        sys.exit(EXIT_USER_ERROR)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to; emptied of an earlier demo.")] = Path(
        "demo"
    ),
    seed: Annotated[int, typer.Option(help="Decides the people, the training and the draws.")] = 0,
) -> None:
    """Draw people, train, hallucinate, match and report; downloads nothing."""
    from facebridge import demo as the_demo

    for line in the_demo.run(out, seed):
        typer.echo(line)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe by name, or a .toml file.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run folder; default runs/RECIPE.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key=value over the recipe; may be repeated.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the newest checkpoint.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Print the resolved recipe and stop.")] = False,
    device: Device = "auto",
    processes: Annotated[int, typer.Option(min=1, help="Processes that share each batch.")] = 1,
) -> None:
    """Train a method into a run folder."""
    from facebridge import recipe as recipes

    resolved = recipes.read(recipe, settings or [])
    if dry_run:
        typer.echo(recipes.to_toml(resolved), nl=False)
        return
    from facebridge import training

    folder = out or Path("runs") / Path(recipe).stem
    run = training.train(resolved, folder, resume=resume, device=device, processes=processes)
    typer.echo(f"weights: {run.weights}")
    _name_bad([(bad["path"], bad["cause"]) for bad in run.bad_pictures()])


@app.command()
def generate(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    faces: Annotated[Path, typer.Argument(help="Face list, or folder of pictures.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")],
    size: Annotated[
        str, typer.Option(help="HEIGHTxWIDTH to which aligned faces are reduced first; auto: by the face's own size.")
    ] = "auto",
    root: Root = None,
    landmarks: Landmarks = None,
) -> None:
    """Hallucinate the faces of a list; each picture says in its metadata that it was generated."""
    from facebridge import generating

    done = generating.generate(run, generating.open_faces(faces, root, landmarks), out, _size(size))
    typer.echo(f"{done.count} faces in {out}" + (f", listed in {out / generating.LIST}" if done.count else ""))
    _name_bad([(bad.path, bad.cause) for bad in done.refused])


@app.command()
def embed(
    faces: Annotated[Path, typer.Argument(help="Face list, or folder of pictures.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .npz to write.")],
    recogniser: Named,
    weights: Weights = None,
    settings: Settings = None,
    mirror: Annotated[str, typer.Option(help="none, sum or concatenate.")] = "none",
    crop: Annotated[str, typer.Option(help="How the faces are aligned.")] = "sphereface",
    convention: Annotated[str, typer.Option(help="umeyama or cp2tform.")] = "umeyama",
    root: Root = None,
    landmarks: Landmarks = None,
) -> None:
    """Embeddings of the faces of a list: an .npz with embeddings, paths, identities and domains."""
    from facebridge import crops, generating

    judge = _judge(recogniser, weights, settings, mirror)
    done = generating.embed(
        judge, generating.open_faces(faces, root, landmarks), crop, out, crops.as_convention(convention)
    )
    typer.echo(f"{done.count} embeddings in {out}")
    _name_bad([(bad.path, bad.cause) for bad in done.refused])


@app.command()
def evaluate(
    recogniser: Named,
    runs: Annotated[list[str] | None, typer.Argument(help="Run folders, or NAME=RUN to name the row.")] = None,
    faces: Annotated[Path, typer.Option(help="Face list with the pictures.")] = Path("faces.csv"),
    protocol: Annotated[
        Path | None, typer.Option(help="Pairs (LFW's layout or CSV); default: the list's splits gallery and probe.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path("evaluation"),
    weights: Weights = None,
    settings: Settings = None,
    mirror: Annotated[str, typer.Option(help="none, sum or concatenate.")] = "sum",
    sizes: Annotated[
        str, typer.Option(help="Sizes of the probes, HEIGHTxWIDTH, comma-separated; empty: as they are.")
    ] = "",
    crop: Annotated[str, typer.Option(help="How the faces are aligned.")] = "sphereface",
    convention: Annotated[str, typer.Option(help="umeyama or cp2tform.")] = "umeyama",
    root: Root = None,
    landmarks: Landmarks = None,
    title: Annotated[str, typer.Option(help="Title of the report.")] = "Evaluation",
) -> None:
    """Match hallucinated and plain probes against a gallery; writes figures, scores and the report."""
    from facebridge import evaluating

    request = evaluating.Request(
        runs=runs or [],
        faces=faces,
        protocol=protocol,
        root=root,
        landmarks=landmarks,
        sizes=tuple(found for text in sizes.split(",") if text.strip() and (found := _size(text.strip()))),
        crop=crop,
        convention=convention,
        title=title,
    )
    done = evaluating.evaluate(request, _judge(recogniser, weights, settings, mirror), out)
    for line in evaluating.headline(done):
        typer.echo(line)
    typer.echo(f"report: {out / evaluating.REPORT}")
    _name_bad([(bad["picture"], bad["cause"]) for bad in done.provenance["pictures refused"]])


@app.command()
def report(
    evaluations: Annotated[list[Path], typer.Argument(help="Evaluation folders.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write.")] = Path("report.html"),
) -> None:
    """One page for one or more evaluations."""
    from facebridge.report import write_report

    typer.echo(f"{write_report(evaluations, out)}")


@app.command()
def methods(
    recognisers: Annotated[bool, typer.Option("--recognisers", help="List the recognisers instead.")] = False,
    recipes: Annotated[bool, typer.Option("--recipes", help="List the recipes instead.")] = False,
) -> None:
    """What there is: methods, recognisers, recipes."""
    if recipes:
        from facebridge import recipe

        names = recipe.names()
    elif recognisers:
        from facebridge import recognisers as found

        names = found.names()
    else:
        from facebridge import methods as published

        names = published.names()
    for name in names:
        typer.echo(name)


@data_app.command("render")
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


@data_app.command("check")
def data_check(
    faces: Annotated[Path, typer.Argument(help="Face list, or folder identity/picture.")], root: Root = None
) -> None:
    """Say what is in a face list, and what is wrong with it, before any long job."""
    from facebridge.data.check import check
    from facebridge.generating import open_faces

    found = check(open_faces(faces, root, None))
    typer.echo(str(found))
    if not found.ok:
        raise typer.Exit(EXIT_BAD_PICTURES)


@data_app.command("landmarks")
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
    _name_bad([(bad.path, bad.cause) for bad in found.refused])


@weights_app.command("show")
def weights_show(path: Annotated[Path, typer.Argument(help="A weight file.")]) -> None:
    """The tensors of a weight file: names, shapes, types."""
    from facebridge import weights

    tensors = weights.read(path)
    for name, tensor in tensors.items():
        typer.echo(f"{name}  {'x'.join(map(str, tensor.shape)) or 'one'}  {str(tensor.dtype).removeprefix('torch.')}")
    typer.echo(f"{len(tensors)} tensors, {sum(tensor.numel() for tensor in tensors.values()):,} numbers")


@weights_app.command("convert")
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


def _judge(name: str, weights: Path | None, settings: list[str] | None, mirror: str):  # type: ignore[no-untyped-def]
    from facebridge import evaluating

    return evaluating.judge(name, weights, settings or [], mirror)


def _size(text: str) -> tuple[int, int] | None:
    """HEIGHTxWIDTH, or None for auto."""
    if text == "auto":
        return None
    height, cross, width = text.partition("x")
    if not (cross and height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise ValueError(f"cannot read the size {text!r}: write HEIGHTxWIDTH, such as 14x12")
    return int(height), int(width)


def _name_bad(bad: Sequence[tuple[object, str]]) -> None:
    """Name and count what could not be used; then the command ends with status 1."""
    for path, cause in bad:
        typer.echo(f"  {path}: {cause}", err=True)
    if bad:
        typer.echo(f"{len(bad)} pictures could not be used (listed above)", err=True)
        raise typer.Exit(EXIT_BAD_PICTURES)


if __name__ == "__main__":
    main()
