"""facebridge data: lists, landmarks, aligned faces, drawn people."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from facebridge.cli.options import (
    EXIT_BAD_PICTURES,
    Aligned,
    Detector,
    DetectorWeights,
    Engine,
    Face,
    Landmarks,
    MinFace,
    Root,
    Turned,
    Workers,
    name_bad,
    one_of,
)
from facebridge.cli.relabel import relabel
from facebridge.cli.simulate_nir import simulate_nir
from facebridge.key_values import key_and_value

app = typer.Typer(help="Import data sets, check lists, find and align faces, draw people.", no_args_is_help=True)


app.command("relabel")(relabel)
app.command("simulate-nir")(simulate_nir)


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
    from facebridge.data.data_set import counted

    written = importing.import_set(name, root, out, dict(map(key_and_value, settings or [])))
    people = counted(written.num_identities, "identity", "identities")
    typer.echo(f"{written.faces}: {counted(written.num_pictures, 'picture')} of {people}")
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
    points: Annotated[str, typer.Option(help="Landmarks of each face in the list: 5 or 68.")] = "5",
    yaw: Annotated[
        tuple[float, float] | None,
        typer.Option(
            metavar="MIN MAX", help="Heads turned evenly between two angles, degrees within -90 90; default near 0."
        ),
    ] = None,
    frontal_partners: Annotated[
        bool, typer.Option("--frontal-partners", help="Draw each shot a second time from the front, as its partner.")
    ] = False,
) -> None:
    """Draw embedded people: pictures and a face list with landmarks."""
    from facebridge.data import synthetic
    from facebridge.progress import Progress

    cameras = tuple(domains.split(","))
    with Progress("drawing", identities * shots * len(cameras) * (2 if frontal_partners else 1)) as bar:
        written = synthetic.render_to(
            out,
            identities=identities,
            shots=shots,
            size=size,
            domains=cameras,
            seed=seed,
            first_identity=first,
            yaw_range=yaw,
            frontal_partners=frontal_partners,
            points=68 if one_of("--points", points, Literal["5", "68"]) == "68" else 5,
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

    listed = open_faces(faces, root)
    typer.echo(f"pictures in {listed.root}")
    found = check(
        listed,
        counts=importing.counts_of(faces),
        may_overlap=importing.allows_overlap(faces),
    )
    for note in importing.notes_of(faces):
        typer.echo(f"note of the import: {note}")
    typer.echo(str(found))
    if not found.ok:
        raise typer.Exit(EXIT_BAD_PICTURES)


@app.command("landmarks")
def data_landmarks(
    faces: Annotated[Path, typer.Argument(help="Face list, or folder of pictures.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The face list to write (.csv or .parquet).")],
    weights: DetectorWeights = None,
    detector: Detector = "yunet",
    face: Face = "largest",
    min_face_px: MinFace = 0,
    turned: Turned = False,
    points68: Annotated[
        Path | None, typer.Option(help="ONNX file of a 68-point regressor; without it there are five points.")
    ] = None,
    known: Annotated[
        Path | None, typer.Option("--landmarks", help="CSV or Parquet with known landmarks; they win.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Threads that decode and search.")] = 2,
    root: Root = None,
) -> None:
    """Find the landmarks in every picture; those without a face are named, counted and left out."""
    from facebridge.data import face_list, finding, importing
    from facebridge.data.opening import open_faces
    from facebridge.landmarks import Choose
    from facebridge.landmarks.points68 import Points68
    from facebridge.progress import Progress

    if out.suffix.lower() not in (".csv", ".parquet"):
        raise ValueError(f"{out}: face lists are written as .csv or .parquet")
    settings = detector_settings(detector, weights or [], turned)
    listed = open_faces(faces, root)
    with Progress("finding faces", len(listed)) as bar:
        found = finding.with_landmarks(
            listed,
            settings,
            workers,
            choose=one_of("--face", face, Choose),
            min_face_px=min_face_px,
            points68=None if points68 is None else Points68(points68),
            known=None if known is None else face_list.read_landmarks(known),
            on_done=bar.step,
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    face_list.write(finding.moved(found.faces, out.parent), out)
    importing.remember_root(out, found.faces.root)
    typer.echo(f"{out}: {len(found.faces)} faces; their paths are relative to {found.faces.root}")
    finding.not_found_beside(out).unlink(missing_ok=True)
    if found.refused:
        missed = finding.write_refused(found, finding.not_found_beside(out))
        typer.echo(f"{missed}: {len(found.refused)} pictures without a face, or that could not be read")
    name_bad([(bad.path, bad.cause) for bad in found.refused])


@app.command("align")
def data_align(
    faces: Annotated[Path, typer.Argument(help="Face list, or folder of pictures.")],
    crop: Annotated[str, typer.Option(help="The crop, such as arcface_112 or sphereface.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")],
    weights: DetectorWeights = None,
    detector: Detector = "yunet",
    face: Face = "largest",
    min_face_px: MinFace = 0,
    turned: Turned = False,
    landmarks: Landmarks = None,
    aligned: Aligned = None,
    root: Root = None,
    convention: Annotated[str, typer.Option(help="umeyama or cp2tform.")] = "umeyama",
    outside: Annotated[str, typer.Option(help="What a crop shows beyond the picture: black or mirror.")] = "black",
    form: Annotated[
        str, typer.Option("--format", help="png, jpg (quality 95), or shards of either: shards-png, shards-jpg.")
    ] = "png",
    engine: Engine = "local",
    workers: Workers = None,
) -> None:
    """Aligned faces and a face list of them; killed and started again it goes on where it was.

    Known landmarks win; with --weights the faces of other pictures are found first.
    """
    from facebridge import blocks, crops
    from facebridge.data import aligning
    from facebridge.data.opening import open_source
    from facebridge.landmarks import Choose

    if form not in ("png", "jpg", "shards-png", "shards-jpg"):
        raise ValueError(f"--format is {form!r}; expected one of png, jpg, shards-png, shards-jpg")
    done = aligning.align(
        open_source(faces, root, landmarks, aligned),
        crop,
        out,
        detector=detector_settings(detector, weights, turned) if weights else None,
        choose=one_of("--face", face, Choose),
        min_face_px=min_face_px,
        convention=crops.as_convention(convention),
        outside=one_of("--outside", outside, crops.Outside),
        ending="jpg" if form.endswith("jpg") else "png",
        layout="shards" if form.startswith("shards") else "files",
        engine=one_of("--engine", engine, blocks.Engine),
        workers=workers,
    )
    typer.echo(f"{done.faces}: {done.num_faces} aligned faces")
    if done.num_not_aligned:
        what = "picture" if done.num_not_aligned == 1 else "pictures"
        typer.echo(f"{done.num_not_aligned:,} {what} could not be aligned: see {done.not_aligned}", err=True)
        raise typer.Exit(EXIT_BAD_PICTURES)


def detector_settings(name: str, weights: Sequence[Path], turned: bool):  # type: ignore[no-untyped-def]
    """What finds faces. ValueError: if there are no weights, or a file is missing."""
    from facebridge.landmarks import DetectorSettings

    if not weights:
        raise ValueError(f"{name} needs its weights: add --weights FILE")
    for path in weights:
        if not path.exists():
            raise ValueError(f"{path}: no such file; expected weights of {name}")
    return DetectorSettings(name, tuple(path.absolute() for path in weights), {"turned": True} if turned else {})
