"""Draw the sheets of embedded faces that the documentation shows: 8 x 8 people in both spectra."""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from facebridge.data import synthetic

SIDE = 8
MOST_BYTES = 200_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("docs/images"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    people = range(SIDE * SIDE)
    drawn = synthetic.render(arguments.seed, people, [0] * len(people), domains=synthetic.DOMAINS, truth=False)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for domain, faces in drawn.faces.items():
        save(sheet(faces), arguments.folder / f"embedded_{domain}.jpg")


def sheet(faces: torch.Tensor) -> Image.Image:
    """Lay 64 faces (64, 3, S, S) out in eight rows."""
    pictures = (faces * 255.0).round().byte().permute(0, 2, 3, 1).numpy()
    rows = [np.concatenate(list(pictures[start : start + SIDE]), axis=1) for start in range(0, len(pictures), SIDE)]
    return Image.fromarray(np.concatenate(rows))


def save(picture: Image.Image, path: Path) -> None:
    """Write a JPEG at the best quality that keeps it small enough for the repository."""
    for quality in range(90, 20, -4):
        picture.save(path, quality=quality, optimize=True, comment=b"Drawn (synthetic) people; nobody was photographed")
        if path.stat().st_size <= MOST_BYTES:
            print(f"{path}: {path.stat().st_size} bytes, quality {quality}")
            return


if __name__ == "__main__":
    main()
