"""facebridge sample: pairs of pictures of people who do not exist."""

from pathlib import Path
from typing import Annotated

import typer

from facebridge.cli.options import Device, Engine, Workers, one_of

FORMATS = ("jpg", "png", "shards-jpg", "shards-png")


def sample(
    run: Annotated[Path, typer.Argument(help="Run folder of a method that makes people from noise.")],
    count: Annotated[int, typer.Option(min=1, help="How many pairs.")],
    folder: Annotated[Path | None, typer.Argument(metavar="[OUT]", help="Folder to write to; or --out.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder to write to.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides the noise of every pair.")] = 0,
    form: Annotated[
        str, typer.Option("--format", help="jpg (quality 95), png, or shards-jpg, shards-png: large tar files.")
    ] = "jpg",
    precision: Annotated[
        str, typer.Option(help="float32, bfloat16, or auto: bfloat16 where the processor computes in it.")
    ] = "auto",
    device: Device = "auto",
    batch: Annotated[int | None, typer.Option(min=1, help="Pairs that come out of the network together.")] = None,
    engine: Engine = "local",
    workers: Workers = None,
) -> None:
    """Make pairs of pictures of new people; each one says in its metadata that it was generated, and from what.

    The same run, seed and count give the same files whatever the number of workers. Killed and started again it goes
    on where it was.
    """
    from facebridge import blocks, sampling

    if folder is not None and out is not None:
        raise ValueError(f"two folders to write to, {folder} and {out}: give one of them")
    out = folder or out
    if out is None:
        raise ValueError("say where to write: a folder after the run, or --out FOLDER")
    if form not in FORMATS:
        raise ValueError(f"--format is {form!r}; expected one of {', '.join(FORMATS)}")
    done = sampling.sample(
        run,
        out,
        count,
        seed=seed,
        ending="png" if form.endswith("png") else "jpg",
        layout="shards" if form.startswith("shards") else "files",
        precision=one_of("--precision", precision, sampling.Precision),
        device=device,
        engine=one_of("--engine", engine, blocks.Engine),
        workers=workers,
        batch_size=batch or sampling.BATCH_SIZE,
    )
    typer.echo(f"{done.count:,} pairs in {out}, listed in {done.faces}")
    typer.echo(f"the first of them: {done.sheet}")
