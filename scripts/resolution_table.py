"""The tables and the sheet of docs/benchmarks/resolution.md, from what scripts/measure_resolution.py left.

python scripts/resolution_table.py --work work/resolution --seeds 0 1
python scripts/resolution_table.py --work work/resolution --sheet docs/images/resolution.jpg
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure as Sheet
from numpy.typing import NDArray
from resolution_rows import EDSR_SIZES, IDEAS, ROWS, folder, test_people

from facebridge import crops, images, runs
from facebridge.data import opening, reading
from facebridge.evaluation.differences import difference
from facebridge.evaluation.result import Figure, Row, read
from facebridge.hallucination import enlarge, hallucinate, reduce

COLUMNS = {
    "accuracy": "accuracy",
    "rank1": "rank-1",
    "true_accept_rate@0.01": "TAR at 1 %",
    "true_accept_rate@0.001": "TAR at 0.1 %",
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "psnr_rgb": "PSNR (RGB)",
    "ssim_rgb": "SSIM (RGB)",
    "nrmse": "NRMSE, %",
    "part_iou": "IoU, %",
    "identity_similarity": "identity similarity",
}
IN_PERCENT = ("accuracy", "rank1", "true_accept_rate@0.01", "true_accept_rate@0.001", "nrmse", "part_iou")
PLAIN = ("none", "bilinear", "bicubic", "lanczos")
COMPARED = (
    ("EDSR, lambda 0", "bilinear"),
    ("EDSR, lambda 0.5", "EDSR, lambda 0"),
    ("FSRNet", "bicubic"),
    ("FSRGAN", "FSRNet"),
    ("facebridge_sr", "EDSR, lambda 0.5"),
    ("facebridge_sr", "bicubic"),
    ("facebridge_sr", "facebridge_sr, pixels alone"),
    *(("all", name) for name in IDEAS if name != "all"),
)
SHOWN_PEOPLE = (3, 17, 42, 58, 101, 133)
SHOWN_SIZE = (14, 12)
CROP = crops.crop("sphereface")


def main() -> None:
    """Print what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("work/resolution"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--sheet", type=Path, help="write drawn people at 14x12 px as every row makes them")
    parser.add_argument("--curve", type=Path, help="plot recognition against the parameters of EDSR")
    arguments = parser.parse_args()
    if arguments.sheet:
        write_sheet(arguments.work, arguments.sheet)
    if arguments.curve:
        write_curve(arguments.work, arguments.curve)
    if arguments.sheet or arguments.curve:
        return
    for part in ("sizes", "halves", "squares", "degraded"):
        print("\n".join(tables(f"photographs, {part}", [judged(arguments.work, f"photographs_{part}_?")])))
    for part in ("drawn_sizes", "drawn_squares", "drawn_degraded", "ideas_sizes", "ideas_degraded", "sizes_sizes"):
        found = [judged(arguments.work, f"{part}_{seed}") for seed in arguments.seeds]
        print("\n".join(tables(part.replace("_", ", "), found)))


@dataclass(frozen=True)
class Judged:
    """Rows that were judged on the same faces, in one folder or in several."""

    conditions: list[str]
    rows: list[Row]
    scores: dict[str, NDArray[Any]]
    speed: dict[str, dict[str, float]]

    def figure(self, like: Row, name: str) -> Figure | None:
        """The figure of the row of this method and condition."""
        wanted = (like.method, like.condition, like.score_kind)
        found = [each for each in self.rows if (each.method, each.condition, each.score_kind) == wanted]
        return found[0].figures.get(name) if found else None


def judged(work: Path, pattern: str) -> Judged | None:
    """What lies in the folders of this pattern; None: nothing."""
    folders = [each for each in sorted(work.glob(pattern)) if (each / "metrics.json").is_file()]
    if not folders:
        return None
    found = [read(each) for each in folders]
    rows = {(row.method, row.condition, row.score_kind): row for each in reversed(found) for row in each.rows}
    ordered = sorted(rows, key=lambda key: key[0] not in PLAIN)
    speed: dict[str, dict[str, float]] = {}
    scores: dict[str, NDArray[Any]] = {}
    for each in folders:
        part, number = each.name.partition("_")[0], each.name.rpartition("_")[2]
        told = work / f"{part}_speed_{number}.json"
        speed |= json.loads(told.read_text()) if told.is_file() else {}
        scores |= dict(np.load(each / "scores.npz"))
    return Judged(found[0].conditions, [rows[key] for key in ordered], scores, speed)


def tables(title: str, given: Sequence[Judged | None]) -> Iterator[str]:
    """One table for each figure, and one of differences; with several seeds the mean of all."""
    found = [each for each in given if each is not None]
    if not found:
        return
    yield f"\n# {title}, {len(found)} seed(s)"
    first = found[0]
    rows = [row for row in first.rows if row.score_kind != "fused" and row.method != "none"]
    methods, conditions = list(dict.fromkeys(row.method for row in rows)), first.conditions
    for name in COLUMNS:
        told = [each for each in conditions if any(name in row.figures for row in rows if row.condition == each)]
        if not told:
            continue
        yield f"\n{COLUMNS[name]}\n"
        yield f"| | {' | '.join(told)} |"
        yield "|---" * (len(told) + 1) + "|"
        for method in methods:
            own = {row.condition: row for row in rows if row.method == method}
            cells = [shown(name, [each.figure(own[condition], name) for each in found]) for condition in told]
            yield f"| {method} | {' | '.join(cells)} |"
    sharp = [row for row in first.rows if row.method == "none" and row.score_kind == "original"]
    for row in sharp:
        known = [name for name in COLUMNS if name in row.figures]
        yield "\nfull size: " + ", ".join(f"{COLUMNS[name]} {shown(name, [row.figures[name]])}" for name in known)
    if first.speed:
        sizes = [each for each in conditions if any(each in told for told in first.speed.values())]
        yield f"\n| | parameters | {' | '.join(f'ms at {each}' for each in sizes)} |"
        yield "|---" * (len(sizes) + 2) + "|"
        for method, told in first.speed.items():
            yield f"| {method} | {told['parameters']:,} | {' | '.join(f'{told[each]:.1f}' for each in sizes)} |"
    yield "\n## by how much, points\n"
    yield from differences(found)


def differences(found: Sequence[Judged]) -> Iterator[str]:
    """Paired differences with their intervals, for each seed."""
    metrics = ("accuracy", "true_accept_rate@0.01") if "fold" in found[0].scores else ("rank1",)
    conditions = [each for each in found[0].conditions if each != "full size"]
    for metric in metrics:
        yield f"\n| {COLUMNS[metric]} | {' | '.join(conditions)} |"
        yield "|---" * (len(conditions) + 1) + "|"
        for held in (each.scores for each in found):
            for first, second in COMPARED:
                keys = [[key_of(held, condition, name) for name in (first, second)] for condition in conditions]
                known = [(held[ours], held[theirs]) for ours, theirs in keys if ours and theirs]
                if len(known) == len(conditions):
                    cells = [signed(difference(held, *pair, metric)) for pair in known]
                    yield f"| {first} less {second} | {' | '.join(cells)} |"


def key_of(held: Mapping[str, NDArray[Any]], condition: str, name: str) -> str | None:
    """Where the scores of a row lie."""
    keys = [f"{condition}/{name}/{kind}" for kind in ("generated", "original")]
    return next((key for key in keys if key in held), None)


def shown(name: str, figures: Sequence[Figure | None]) -> str:
    """A figure with its interval; of several seeds the means of the figures and of the ends."""
    known = [each for each in figures if each is not None and each.value is not None]
    if not known:
        return "-"
    factor, digits = (100, 1) if name in IN_PERCENT else (1, 2 if name.startswith("psnr") else 3)
    value = factor * np.mean([each.value for each in known])
    if any(each.low is None or each.high is None for each in known):
        return f"{value:.{digits}f}"
    low, high = (factor * np.mean([getattr(each, end) for each in known]) for end in ("low", "high"))
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def signed(figure: Figure) -> str:
    """A difference in points."""
    if figure.value is None or figure.low is None or figure.high is None:
        return "-"
    return f"{100 * figure.value:+.1f} [{100 * figure.low:+.1f}, {100 * figure.high:+.1f}]"


@torch.no_grad()
def write_sheet(work: Path, out: Path) -> None:
    """Source, every row's face and the sharp one, of drawn people that nobody was trained on."""
    faces = opening.open_faces(test_people(work / "tested"))
    probes = [row for row, split in enumerate(faces.column("split").tolist()) if split == "probe"]
    chosen = [probes[3 * person] for person in SHOWN_PEOPLE]
    sharp = images.to_faces(np.stack([reading.aligned(faces, row, CROP) for row in chosen]))
    source = reduce(sharp, *SHOWN_SIZE)
    columns = {f"{SHOWN_SIZE[0]}x{SHOWN_SIZE[1]} source": source, "bicubic": enlarge(source, CROP)}
    for name in ROWS:
        columns[name] = hallucinate(runs.load_hallucination(folder(work, name, 0)), source)
    columns["sharp"] = sharp
    images.write(out, images.grid([list(row) for row in zip(*columns.values(), strict=True)]))


def write_curve(work: Path, out: Path) -> None:
    """Rank-1 of EDSR with lambda 0.5 by its size, with intervals, and of bicubic enlarging beside it."""
    parts = {part: read(work / f"{part}_sizes_0") for part in ("sizes", "drawn")}
    known = {part: json.loads((work / f"{part}_speed_0.json").read_text()) for part in parts}
    points = sorted(
        (known[part][row]["parameters"], part, row)
        for part, row in [*(("sizes", each) for each in EDSR_SIZES), ("drawn", "EDSR, lambda 0.5")]
    )
    figure = Sheet(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    for colour, condition in zip(("C0", "C1", "C2"), parts["drawn"].conditions, strict=False):
        found = [parts[part].row(row, condition, "generated").figures["rank1"] for _, part, row in points]
        values = 100 * np.array([[each.value, each.low, each.high] for each in found])
        spread = np.abs(values[:, 1:] - values[:, :1]).T
        axes.errorbar([each[0] for each in points], values[:, 0], spread, marker="o", capsize=3, label=condition)
        plain = parts["drawn"].row("bicubic", condition, "original").figures["rank1"].value
        axes.axhline(100 * plain, color=colour, linestyle=":", linewidth=1)
    axes.set(xscale="log", xlabel="parameters of EDSR", ylabel="rank-1, %", ylim=(0, 100))
    axes.set_title("dotted: bicubic enlarging; bars: 95 % over people", fontsize=9)
    axes.legend(title="probes", loc=(0.02, 0.66))
    figure.savefig(out, dpi=120)


if __name__ == "__main__":
    main()
