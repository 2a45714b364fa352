"""facebridge data relabel: what semantic bootstrapping leaves of a face list."""

from pathlib import Path
from typing import Annotated

import typer

from facebridge.cli.options import Root, Workers, name_bad, one_of


def relabel(
    run: Annotated[Path, typer.Argument(help="Run folder of the method recogniser, trained on a face list.")],
    faces: Annotated[Path, typer.Argument(help="The face list to relabel: as a rule the one that RUN was trained on.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The face list to write (.csv or .parquet).")],
    keep: Annotated[
        str,
        typer.Option(
            help="Which faces stay: confident (as the predicted person), agreeing (as they are), or either of the two."
        ),
    ] = "either",
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Probability from which a prediction is confident; default 0.7.")
    ] = None,
    share: Annotated[
        float | None, typer.Option(help="In place of --threshold: the share of the faces that are confident.")
    ] = None,
    top: Annotated[
        int | None, typer.Option(min=1, help="A label agrees that is among so many most probable people; default 1.")
    ] = None,
    mirror: Annotated[bool, typer.Option("--mirror", help="Look at each face and at its mirror image.")] = False,
    trained_on: Annotated[
        Path | None, typer.Option(help="The list that RUN was trained on, if it is not where the recipe says.")
    ] = None,
    root: Root = None,
    workers: Workers = None,
) -> None:
    """Say anew who is on each picture, by a recogniser trained on the labels as they are; keep the confident.

    Then train with data.list=OUT, from scratch or on from the weights (recogniser.name=RUN). Killed and started
    again it goes on where it was.
    """
    from facebridge import bootstrapping, relabelling
    from facebridge.data.data_set import counted

    if threshold is not None and share is not None:
        raise ValueError("give --threshold or --share, not both")
    if keep == "agreeing" and (threshold is not None or share is not None):
        raise ValueError("--keep agreeing asks for no confidence: leave out --threshold and --share")
    if keep == "confident" and top is not None:
        raise ValueError("--keep confident does not look at the labels: leave out --top")
    done = relabelling.relabel_list(
        run,
        faces,
        out,
        keep=one_of("--keep", keep, bootstrapping.Keep),
        threshold=bootstrapping.THRESHOLD if threshold is None else threshold,
        share=share,
        top=top or 1,
        mirror=mirror,
        root=root,
        trained_on=trained_on,
        workers=workers,
    )
    found = done.relabelling
    people = counted(done.num_people, "person", "people")
    typer.echo(f"{out}: {counted(len(done.faces), 'face')} of {people} ({done.num_people_before:,} before)")
    typer.echo(
        f"{found.num_stayed:,} kept their identity, {found.num_moved:,} got another, {found.num_dropped:,} dropped"
    )
    if share is not None:
        typer.echo(f"confident from a probability of {done.threshold:.4g} on")
    name_bad([(bad.path, bad.cause) for bad in done.refused])
