"""The tables and the sheet of docs/benchmarks/resolution.md, from what scripts/measure_resolution.py left.

python scripts/resolution_table.py --work work/resolution --seeds 0 1
python scripts/resolution_table.py --work work/resolution --sheet docs/images/resolution.jpg
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure as Sheet
from resolution_rows import EDSR_SIZES, ROWS, folder, test_people

from facebridge import crops, images, runs
from facebridge.data import opening, reading
from facebridge.evaluation.differences import difference
from facebridge.evaluation.result import Evaluation, Figure
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
COMPARED = (
    ("EDSR, lambda 0", "bilinear"),
    ("EDSR, lambda 0.5", "EDSR, lambda 0"),
    ("FSRNet", "bicubic"),
    ("FSRGAN", "FSRNet"),
    ("facebridge_sr", "EDSR, lambda 0.5"),
    ("facebridge_sr", "bicubic"),
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
    for part in ("photographs_sizes", "photographs_squares", "photographs_degraded"):
        print("\n".join(tables(part, [arguments.work / part], arguments.work / "photographs_speed.json")))
    for part in ("drawn_sizes", "drawn_degraded", "ideas_sizes", "sizes_sizes"):
        folders = [arguments.work / f"{part}_{seed}" for seed in arguments.seeds]
        speed = arguments.work / f"{part.partition('_')[0]}_speed_{arguments.seeds[0]}.json"
        print("\n".join(tables(part, folders, speed)))


def tables(part: str, folders: Sequence[Path], speed: Path) -> Iterator[str]:
    """One table for each condition, and one of differences; with several seeds the mean of all."""
    there = [each for each in folders if (each / "metrics.json").is_file()]
    if not there:
        return
    found = [Evaluation.read(each) for each in there]
    known = json.loads(speed.read_text()) if speed.is_file() else {}
    yield f"\n# {part}, {len(there)} seed(s)"
    for condition in found[0].conditions:
        rows = [row for row in found[0].rows if row.condition == condition and row.score_kind != "fused"]
        names = [name for name in COLUMNS if any(name in row.figures for row in rows)]
        size = condition.partition(" ")[0]
        yield f"\n## {condition}\n"
        yield f"| | {' | '.join(COLUMNS[name] for name in names)} | parameters | ms |"
        yield "|---" * (len(names) + 3) + "|"
        for row in rows:
            cells = [
                shown(name, [each.row(row.method, condition, row.score_kind).figures.get(name) for each in found])
                for name in names
            ]
            told = known.get(row.method, {})
            parameters = f"{told['parameters']:,}" if told else "-"
            milliseconds = f"{told[size]:.1f}" if size in told else "-"
            yield f"| {row.method} | {' | '.join(cells)} | {parameters} | {milliseconds} |"
    yield "\n## by how much, points\n"
    yield from differences(there, found[0])


def differences(folders: Sequence[Path], evaluation: Evaluation) -> Iterator[str]:
    """Paired differences with their intervals; with several seeds for each of them."""
    metric = "accuracy" if any("accuracy" in row.figures for row in evaluation.rows) else "rank1"
    conditions = [each for each in evaluation.conditions if each != "full size"]
    yield f"| {COLUMNS[metric]} | {' | '.join(conditions)} |"
    yield "|---" * (len(conditions) + 1) + "|"
    for where in folders:
        held = np.load(where / "scores.npz")
        for first, second in COMPARED:
            cells = []
            for condition in conditions:
                ours, theirs = (key_of(held, condition, name) for name in (first, second))
                if ours and theirs:
                    cells.append(signed(difference(held, held[ours], held[theirs], metric)))
            if cells:
                yield f"| {first} less {second} | {' | '.join(cells)} |"


def key_of(held: np.lib.npyio.NpzFile, condition: str, name: str) -> str | None:
    """Where the scores of a row lie."""
    keys = [f"{condition}/{name}/{kind}" for kind in ("generated", "original")]
    return next((key for key in keys if key in held.files), None)


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
    parts = {part: Evaluation.read(work / f"{part}_sizes_0") for part in ("sizes", "drawn")}
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
    axes.legend(title="probes", loc="center left")
    figure.savefig(out, dpi=120)


if __name__ == "__main__":
    main()
