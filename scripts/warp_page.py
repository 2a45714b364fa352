"""The pictures and tables of docs/data/warp.md: drawn people, warped to a pose whose true picture is known.

    python scripts/warp_page.py --out docs/images          # about two minutes of processor time

The same person, light and expression is drawn at two yaws in both spectra, so the warp of one visible picture to the
landmarks of the other pose can be held against the visible picture of that pose.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from facebridge import crops, images, recognisers, warp
from facebridge.data import synthetic
from facebridge.evaluation import bootstrap, fidelity
from facebridge.recogniser import Recogniser

SEED, PEOPLE, DRAWN_PX = 31, 60, 160
CROP = crops.crop("light_cnn")
YAWS_DEG = (5, 10, 20, 30, 45, 60)
OPTIONS_YAW_DEG = 20
OPTIONS: dict[str, warp.Options] = {
    "exponent 1.5": {"exponent": 1.5},
    "exponent 2": {},
    "exponent 3": {"exponent": 3.0},
    "reach 60 px": {"reach_px": 60.0},
    "no border points": {"border_points": 0},
    "exponent 3, no border points": {"exponent": 3.0, "border_points": 0},
}
SHOWN = ((13, 10), (8, -20), (11, 30), (5, -45))
"""Person and yaw of the rows of the sheet."""
GRID_OVER = 11
GRID_EVERY_PX = 8
LANDMARK_COLOUR = (1.0, 0.85, 0.0)
MEASURED = "PSNR of the person, dB | PSNR of the picture, dB | similarity of identity"
MOST_BYTES = 200_000
COMMENT = b"Drawn (synthetic) people, some of them warped; nobody was photographed"


@dataclass(frozen=True)
class Shots:
    """Aligned pictures (B, 3, 128, 128), one of each person, and what is known of them."""

    vis: Tensor
    nir: Tensor
    points: Tensor
    """(B, 68, 2) px, float32"""
    seen: Tensor
    """(B, 68): not hidden behind the head"""
    person: Tensor
    """(B, 128, 128): not background"""


def main() -> None:
    """Write the two sheets and print the two tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--people", type=int, default=PEOPLE)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    save(sheet_of_poses(), arguments.out / "warp_pose.jpg")
    save(sheet_of_options(), arguments.out / "warp_options.jpg")
    sides = [list(range(first, arguments.people, 2)) for first in (0, 1)]  # turned to the left, and to the right
    people = [*sides[0], *sides[1]]
    judge = recognisers.load("embedded_judge")
    frontal = shots(people, yaw_deg=0)
    print(f"| target | | {MEASURED} |\n|---|---|---|---|---|")
    for yaw_deg in YAWS_DEG:
        target = together(shots(sides[0], -yaw_deg), shots(sides[1], yaw_deg))
        print_ways(f"{yaw_deg}°", frontal, target, people, judge)
    print_ways("another shot, any pose", frontal, shots(people, shot=1), people, judge)
    target = together(shots(sides[0], -OPTIONS_YAW_DEG), shots(sides[1], OPTIONS_YAW_DEG))
    print_options(frontal, target, people, judge)


def sheet_of_poses() -> NDArray[np.uint8]:
    """Source, target geometry, warped, the same with seen points only, truth, and what is wrong with each."""
    rows = []
    for person, yaw_deg in SHOWN:
        source, target = shots([person], yaw_deg=0), shots([person], yaw_deg=yaw_deg)
        warped, of_seen = warped_both_ways(source, target)
        errors = [3 * (faces - target.vis).abs() for faces in (source.vis, warped, of_seen)]
        row = [source.vis, dotted(target.nir, target.points), warped, of_seen, target.vis, *errors]
        rows.append([face[0].clamp(0, 1) for face in row])
    return images.grid(rows)


def sheet_of_options() -> NDArray[np.uint8]:
    """A frontal face with a grid over it, and its warps: what each option does to straight lines."""
    source, target = (shots([GRID_OVER], yaw_deg=yaw_deg) for yaw_deg in (0, OPTIONS_YAW_DEG))
    lined = source.vis.clone()
    lined[..., ::GRID_EVERY_PX, :] *= 0.35
    lined[..., ::GRID_EVERY_PX] *= 0.35
    # Drawn at three times the size, as the warp looks when it is enlarged.
    large, by = (3 * CROP.height, 3 * CROP.width), 3.0
    lined = torch.nn.functional.interpolate(lined, large, mode="bicubic", align_corners=False).clamp(0, 1)

    def enlarged(points: Tensor) -> Tensor:
        return (points + 0.5) * by - 0.5

    faces = [lined]
    for options in OPTIONS.values():
        scaled = options | {"reach_px": by * options["reach_px"]} if "reach_px" in options else options
        faces.append(warp.warp(lined, enlarged(source.points), enlarged(target.points), **scaled))
    faces.append(torch.nn.functional.interpolate(target.vis, large, mode="bicubic").clamp(0, 1))
    smaller = [torch.nn.functional.interpolate(face, scale_factor=0.5, mode="area")[0] for face in faces]
    return images.grid([smaller[:4], smaller[4:]])


def print_ways(name: str, frontal: Shots, target: Shots, people: Sequence[int], judge: Recogniser) -> None:
    """How far the frontal picture and its warps are from the picture of another pose."""
    warped, of_seen = warped_both_ways(frontal, target)
    for what, faces in (("not warped", frontal.vis), ("warped", warped), ("warped, seen points", of_seen)):
        print(f"| {name} | {what} | {' | '.join(figures(faces, target, people, judge))} |", flush=True)


def print_options(frontal: Shots, target: Shots, people: Sequence[int], judge: Recogniser) -> None:
    """The options, with all points."""
    print(f"\n| options | {MEASURED} |\n|---|---|---|---|")
    for name, options in OPTIONS.items():
        faces = warp.warp(frontal.vis, frontal.points, target.points, **options)
        print(f"| {name} | {' | '.join(figures(faces, target, people, judge))} |", flush=True)


def figures(faces: Tensor, target: Shots, people: Sequence[int], judge: Recogniser) -> list[str]:
    squared = (fidelity.luma(faces) - fidelity.luma(target.vis)).square()[:, 0]
    of_person = (squared * target.person).sum((1, 2)) / target.person.sum((1, 2))
    of_both = [judge.embed(some, CROP).numpy() for some in (faces, target.vis)]
    found = [
        (10 * torch.log10(255**2 / of_person), 2),
        (fidelity.psnr(faces, target.vis), 2),
        (fidelity.identity_similarity(*of_both), 3),
    ]
    intervals = [(bootstrap.mean_interval(np.asarray(values), people), digits) for values, digits in found]
    return [f"{each.value:.{d}f} [{each.low:.{d}f}, {each.high:.{d}f}]" for each, d in intervals]


def warped_both_ways(source: Shots, target: Shots) -> tuple[Tensor, Tensor]:
    """With all 68 points, and with those that both pictures show."""
    seen = source.seen & target.seen
    pairs = source.vis, source.points, target.points
    return warp.warp(*pairs), warp.warp(*pairs, seen)


def shots(people: list[int], yaw_deg: float | None = None, shot: int = 0) -> Shots:
    """A shot of each person at a yaw (None: the shot's own), aligned."""
    yaw_range = None if yaw_deg is None else (yaw_deg, yaw_deg)
    drawn = synthetic.render(
        SEED, people, [shot] * len(people), size=DRAWN_PX, domains=synthetic.DOMAINS, yaw_range=yaw_range
    )
    five = drawn.landmarks5.numpy()
    to_crop = torch.from_numpy(crops.similarity(five, CROP.points))
    points = drawn.landmarks68.double() @ to_crop[:, :, :2].mT + to_crop[:, None, :, 2]
    mask = aligned(drawn.mask[:, None].expand(-1, 3, -1, -1).float(), five)[:, 0] > 0.5
    pictures = {domain: aligned(faces, five) for domain, faces in drawn.faces.items()}
    return Shots(pictures["vis"], pictures["nir"], points.float(), drawn.visible68, mask)


def aligned(faces: Tensor, five_points: NDArray[np.float32]) -> Tensor:
    pictures = zip(images.to_pictures(faces), five_points, strict=True)
    return images.to_faces(
        np.stack([crops.align(picture, points, CROP, outside="mirror") for picture, points in pictures])
    )


def together(*some: Shots) -> Shots:
    parts = ("vis", "nir", "points", "seen", "person")
    return Shots(*(torch.cat([getattr(each, part) for each in some]) for part in parts))


def save(sheet: NDArray[np.uint8], path: Path) -> None:
    """Write a JPEG at the best quality that keeps it small enough for the repository."""
    for quality in range(90, 20, -4):
        Image.fromarray(sheet).save(path, quality=quality, optimize=True, comment=COMMENT)
        if path.stat().st_size <= MOST_BYTES:
            return


def dotted(faces: Tensor, points: Tensor) -> Tensor:
    """The faces with a dot on each landmark."""
    marked = faces.clone()
    for face, places in zip(marked, points.round().long(), strict=True):
        for x, y in places.clamp(0, CROP.width - 1).tolist():
            face[:, y, x] = torch.tensor(LANDMARK_COLOUR)
    return marked


if __name__ == "__main__":
    main()
