"""facebridge data simulate-nir: near-infrared counterparts of visible-light pictures, by optics."""

from pathlib import Path
from typing import Annotated

import typer

from facebridge.cli.options import Aligned, Landmarks, Root, name_bad


def simulate_nir(
    faces: Annotated[Path, typer.Argument(help="Face list, or folder of pictures; best aligned.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to: vis/, nir/ and faces.csv.")],
    seed: Annotated[int, typer.Option(help="Decides the sensor noise.")] = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value of the camera, such as flatten=0.5 or noise=0.01; may be repeated."),
    ] = None,
    root: Root = None,
    landmarks: Landmarks = None,
    aligned: Aligned = None,
) -> None:
    """Simulate near-infrared pictures from visible ones; one list of both, to train on pairs.

    They are guesses and say so in their metadata and in the column `made`. Started again it goes on where it was.
    """
    from facebridge.data.data_set import counted
    from facebridge.data.opening import open_faces
    from facebridge.data.simulated_folder import simulate_nir as simulate
    from facebridge.data.simulated_nir import NirCamera
    from facebridge.key_values import key_and_value
    from facebridge.progress import Progress

    camera = NirCamera.read(dict(map(key_and_value, settings or [])))
    listed = open_faces(faces, root, landmarks, aligned)
    total = int((listed.column("domain") == "vis").sum())
    with Progress("simulating", total) as bar:
        done = simulate(listed, out, seed=seed, camera=camera, on_done=bar.step)
    typer.echo(f"{done.faces}: {counted(done.count, 'shot')} in vis and simulated nir")
    name_bad([(bad.path, bad.cause) for bad in done.refused])
