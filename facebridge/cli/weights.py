"""facebridge weights: look into weight files and convert published ones."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Look into weight files and convert published ones.", no_args_is_help=True)


@app.command("show")
def weights_show(path: Annotated[Path, typer.Argument(help="A weight file.")]) -> None:
    """The tensors of a weight file: names, shapes, types."""
    from facebridge import weights

    tensors = weights.read(path)
    for name, tensor in tensors.items():
        typer.echo(f"{name}  {'x'.join(map(str, tensor.shape)) or 'one'}  {str(tensor.dtype).removeprefix('torch.')}")
    typer.echo(f"{len(tensors)} tensors, {sum(tensor.numel() for tensor in tensors.values()):,} numbers")


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
