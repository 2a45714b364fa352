"""The verbs of the command line; each calls one function of the library."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from facebridge import allocator
from facebridge.cli import data, weights
from facebridge.cli.match import match
from facebridge.cli.options import (
    EXIT_STOPPED,
    EXIT_USER_ERROR,
    Aligned,
    Detector,
    DetectorWeights,
    Device,
    Engine,
    Landmarks,
    MinFace,
    Named,
    Root,
    Settings,
    Turned,
    Weights,
    Workers,
    expanded,
    name_bad,
    one_of,
    parsed_size,
    probe_sizes,
    whole_numbers,
    words,
)
from facebridge.cli.sample import sample
from facebridge.stopping import Stopped

app = typer.Typer(
    help="Hallucinate the face a matcher knows from the face a camera gave; measure whether recognition got better.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(data.app, name="data")
app.add_typer(weights.app, name="weights")
app.command()(match)
app.command()(sample)


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
    if run.best.is_file():
        typer.echo(f"best: {run.best} (step {run.best_figure('step'):.0f})")
    name_bad([(bad["path"], bad["cause"]) for bad in run.bad_pictures()])


@app.command()
def generate(
    run: Annotated[str, typer.Argument(help="Run folder, or one of `facebridge methods --shipped`.")],
    faces: Annotated[str, typer.Argument(help="Face list, folder of pictures, a picture, or folder or URL of shards.")],
    folder: Annotated[Path | None, typer.Argument(metavar="[OUT]", help="Folder to write to; or --out.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder to write to.")] = None,
    size: Annotated[
        str, typer.Option(help="HEIGHTxWIDTH to which aligned faces are reduced first; auto: by the face's own size.")
    ] = "auto",
    root: Root = None,
    landmarks: Landmarks = None,
    aligned: Aligned = None,
    weights: DetectorWeights = None,
    detector: Detector = "yunet",
    face: Annotated[str, typer.Option(help="Which face of a picture counts: largest or central.")] = "largest",
    min_face_px: MinFace = 0,
    turned: Turned = False,
    levels: Annotated[
        str,
        typer.Option(
            help="Bits that 16-bit pictures fill: 8 to 16, full (16), or auto: one number for all, by a sample of them."
        ),
    ] = "auto",
    form: Annotated[str, typer.Option("--format", help="png, or jpg (quality 95).")] = "png",
    paste_back: Annotated[
        bool, typer.Option("--paste-back", help="Also write the whole pictures with the faces put back, in OUT/full.")
    ] = False,
    squeezed: Annotated[
        bool,
        typer.Option(
            "--squeezed", help="Aligned faces may have other proportions than their crop and show all of it, as 16x16."
        ),
    ] = False,
    yaw: Annotated[
        float | None,
        typer.Option(
            help="Degrees, positive to the right: this pose in place of the front, of methods that turn heads."
        ),
    ] = None,
    strip: Annotated[
        bool,
        typer.Option("--strip", help="Also write each face at every pose from left to right, side by side, OUT/strip."),
    ] = False,
    precision: Annotated[
        str, typer.Option(help="float32, or bfloat16: about twice as fast where the processor computes in it.")
    ] = "float32",
    device: Device = "auto",
    batch: Annotated[int, typer.Option(min=1, help="Rows of the list that go through the network together.")] = 16,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads that read, and as many that write; default one a core.")
    ] = None,
) -> None:
    """Hallucinate the faces of pictures; each one says in its metadata that it was generated, and from what.

    Known landmarks win; with --weights the faces of other pictures are found first. Killed and started again it goes
    on where it was.
    """
    from facebridge import bit_depths, generating, source_faces
    from facebridge.data.opening import is_shards
    from facebridge.landmarks import Choose
    from facebridge.precision import Precision

    if folder is not None and out is not None:
        raise ValueError(f"two folders to write to, {folder} and {out}: give one of them")
    out = folder or out
    if out is None:
        raise ValueError("say where to write: a folder after the pictures, or --out FOLDER")
    ending = one_of("--format", form, generating.Ending)
    arithmetic = one_of("--precision", precision, Precision)
    if not weights and (turned or min_face_px):
        raise ValueError("--turned and --min-face-px say how faces are found: add --weights FILE")
    if is_shards(faces):
        if weights or paste_back or landmarks or aligned or squeezed or levels != "auto":
            raise ValueError(
                f"{faces} holds aligned faces in shards: --weights, --landmarks, --aligned, --squeezed, --levels and "
                "--paste-back are for pictures"
            )
        done = generating.generate_from_shards(
            run,
            faces,
            out,
            parsed_size(size),
            ending=ending,
            yaw_deg=yaw,
            strip=strip,
            precision=arithmetic,
            device=device,
            batch_size=batch,
            workers=workers,
        )
    else:
        done = generating.generate(
            run,
            source_faces.open_pictures(Path(faces), root, landmarks, aligned, out),
            out,
            parsed_size(size),
            detector=data.detector_settings(detector, weights, turned) if weights else None,
            choose=one_of("--face", face, Choose),
            min_face_px=min_face_px,
            levels=bit_depths.parsed(levels),
            ending=ending,
            paste_back=paste_back,
            squeezed=squeezed,
            yaw_deg=yaw,
            strip=strip,
            precision=arithmetic,
            device=device,
            batch_size=batch,
            workers=workers,
        )
    typer.echo(f"{done.count} faces in {out}" + (f", listed in {out / generating.LIST}" if done.count else ""))
    name_bad([(bad.path, bad.cause) for bad in done.refused])


@app.command()
def embed(
    faces: Annotated[Path, typer.Argument(help="Face list, or folder of pictures.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .npz, .safetensors or .parquet to write.")],
    recogniser: Named,
    weights: Weights = None,
    settings: Settings = None,
    mirror: Annotated[str, typer.Option(help="none, sum or concatenate.")] = "none",
    crop: Annotated[str, typer.Option(help="How the faces are aligned.")] = "sphereface",
    convention: Annotated[str, typer.Option(help="umeyama or cp2tform.")] = "umeyama",
    root: Root = None,
    landmarks: Landmarks = None,
    aligned: Aligned = None,
    engine: Engine = "local",
    workers: Workers = None,
    resume: Annotated[bool, typer.Option(help="Go on with what an unfinished run left.")] = True,
) -> None:
    """Embeddings of the faces of a list; killed and started again it goes on where it was."""
    from facebridge import blocks, crops, embedding
    from facebridge.data.opening import open_source

    done = embedding.embed(
        embedding.JudgeSettings(recogniser, weights, tuple(settings or []), mirror),
        open_source(faces, root, landmarks, aligned),
        crop,
        out,
        crops.as_convention(convention),
        engine=one_of("--engine", engine, blocks.Engine),
        workers=workers,
        resume=resume,
    )
    typer.echo(f"{done.count} embeddings in {out}")
    name_bad([(bad.path, bad.cause) for bad in done.refused])


@app.command()
def evaluate(
    recogniser: Named,
    runs: Annotated[list[str] | None, typer.Argument(help="Run folders, or NAME=RUN to name the row.")] = None,
    faces: Annotated[
        Path | None, typer.Option(help="Face list with the pictures, or with faces cut from them.")
    ] = None,
    protocol: Annotated[
        list[Path] | None,
        typer.Option(
            help="Pairs, or a face list with splits; default: the splits gallery and probe of --faces. May be repeated "
            "or a quoted pattern such as 'lists/casia_view2_*.csv': then the mean over these folds follows."
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path("evaluation"),
    weights: Weights = None,
    settings: Settings = None,
    mirror: Annotated[
        str | None, typer.Option(help="none, sum or concatenate; default sum, of the preset code concatenate.")
    ] = None,
    sizes: Annotated[
        str, typer.Option(help="Sizes of the probes, HEIGHTxWIDTH, comma-separated; without any: as they are.")
    ] = "",
    scales: Annotated[
        str, typer.Option(help="More sizes: the crop's through 16, 8, 4 ..., comma-separated (1: the full size).")
    ] = "",
    squares: Annotated[str, typer.Option("--size", help="More sizes: sides of squares, px, comma-separated.")] = "",
    degrade: Annotated[
        list[str] | None,
        typer.Option(
            help="blur=1,noise=5,jpeg=30 (px of the small picture, levels, quality; any of them) or antialias: one "
            "condition more at every size. May be repeated."
        ),
    ] = None,
    baselines: Annotated[
        str, typer.Option(help="Plain enlarging to compare with: bilinear, bicubic, lanczos, comma-separated.")
    ] = "bilinear,bicubic",
    preset: Annotated[
        str, typer.Option(help="clean, or code: as SR_LRFR's test script has it (8 bits, cv2, grid of thresholds).")
    ] = "clean",
    shape_by: Annotated[
        Path | None,
        typer.Option(help="Run of face_priors, or ONNX file of 68 landmarks: also measure landmarks and parts."),
    ] = None,
    crop: Annotated[str, typer.Option(help="How the faces are aligned.")] = "sphereface",
    convention: Annotated[str, typer.Option(help="umeyama or cp2tform.")] = "umeyama",
    root: Root = None,
    landmarks: Landmarks = None,
    aligned: Aligned = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="COLUMN or COLUMN:EDGES of the face list (yaw_deg, skin_tone, age:0,18,30,60,inf): errors by group, "
            "at one threshold for all. May be repeated."
        ),
    ] = None,
    normalise: Annotated[str | None, typer.Option(help="Score normalisation: z, t or s; needs --cohort.")] = None,
    cohort: Annotated[Path | None, typer.Option(help="Face list of people who are not tested.")] = None,
    top: Annotated[
        int | None, typer.Option(min=2, help="Adaptive: only so many most alike faces of the cohort count.")
    ] = None,
    calibrate: Annotated[
        float | None,
        typer.Option(
            help="False accept rate: write its threshold into calibration.json, for match; errors by group are "
            "given there too."
        ),
    ] = None,
    translate: Annotated[
        str, typer.Option(help="Whose faces the runs make: probe, or gallery (visible light to near-infrared).")
    ] = "probe",
    precision: Annotated[
        str, typer.Option(help="Arithmetic that the runs generate in: float32 or bfloat16.")
    ] = "float32",
    title: Annotated[str, typer.Option(help="Title of the report.")] = "Evaluation",
) -> None:
    """Match hallucinated and plain probes against a gallery; writes figures, scores and the report."""
    from facebridge import evaluating
    from facebridge.embedding import JudgeSettings
    from facebridge.precision import Precision

    protocols = expanded(protocol or [])
    request = evaluating.Request(
        runs=runs or [],
        faces=faces,
        protocol=protocols[0] if len(protocols) == 1 else None,
        root=root,
        landmarks=landmarks,
        aligned=aligned,
        sizes=probe_sizes(sizes, squares),
        scales=tuple(whole_numbers("--scales", scales)),
        degrade=tuple(degrade or ()),
        baselines=tuple(words(baselines)),
        preset=preset,
        shape_by=shape_by,
        crop=crop,
        convention=convention,
        title=title,
        by=tuple(by or ()),
        normalise=normalise,
        cohort=cohort,
        top=top,
        calibrate=calibrate,
        precision=one_of("--precision", precision, Precision),
        translate=translate,
    )
    mirror = mirror or ("concatenate" if preset == "code" else "sum")
    judge = JudgeSettings(recogniser, weights, tuple(settings or ()), mirror)
    if len(protocols) > 1:
        figures, evaluations = evaluating.evaluate_folds(request, protocols, judge, out)
        for figure in figures:
            typer.echo(f"{figure}")
        typer.echo(f"report: {out / evaluating.REPORT}")
        name_bad(evaluating.refused(evaluations))
        return
    done = evaluating.evaluate(request, judge, out)
    for line in evaluating.headline(done):
        typer.echo(line)
    typer.echo(f"report: {out / evaluating.REPORT}")
    if calibrate is not None:
        typer.echo(f"card: {out / evaluating.CARD}")
    name_bad(evaluating.refused([done]))


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
    shipped: Annotated[bool, typer.Option("--shipped", help="List the shipped trained runs instead.")] = False,
) -> None:
    """What there is: methods, recognisers, recipes, trained runs."""
    if recipes:
        from facebridge import recipe

        names = recipe.names()
    elif shipped:
        from facebridge import shipped as shipped_runs

        names = shipped_runs.names()
    elif recognisers:
        from facebridge import recognisers as found

        names = found.names()
    else:
        from facebridge import methods as published

        names = published.names()
    for name in names:
        typer.echo(name)
