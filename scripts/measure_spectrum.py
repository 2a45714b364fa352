"""Near-infrared against visible light on drawn people: the tables and pictures of docs/benchmarks/spectrum.md.

    python scripts/measure_spectrum.py --seeds 0 1 2
    python scripts/measure_spectrum.py --seeds 0 1 2 --table
    python scripts/measure_spectrum.py --seeds 0 --sheet docs/images/spectrum.jpg

For each seed every method is trained on the same drawn people, with about the same processor time, through one
recogniser; all are judged on the same people, whom nobody has seen, with another recogniser, which knows drawn people
in visible light only. Finished cells are kept, so it can run in pieces, and in several processes with different seeds
or rows. Recognisers that were trained across cameras are judged too where `--recognisers` names the work folder of
scripts/measure_recognisers.py.
"""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from spectrum_faces import (
    CROP,
    FACES_PER_BATCH,
    PEOPLE_APART,
    PROBES,
    TEST_PEOPLE,
    WIDE_CROP,
    landmark_error,
    test_faces,
    trained_regressor,
    training_faces,
)

from facebridge import allocator, images, recipe, recognisers, runs, training
from facebridge.evaluation import bootstrap, matching
from facebridge.evaluation.fidelity import frechet_distance, identity_similarity
from facebridge.method import RecognitionMethod
from facebridge.recogniser import LUMA, Recogniser

JUDGE = "embedded_judge"
FALSE_ACCEPT_RATES = (1e-2, 1e-3, 1e-4)
NUM_RESAMPLES = 300
SHEET_PEOPLE = (3, 17, 42, 58, 101, 133)
MATCHED_LEVELS = 256


@dataclass(frozen=True)
class Row:
    """One trained row of the table."""

    recipe: str
    settings: tuple[str, ...] = ()
    translates_gallery: bool = False


ROWS = {
    "Pix2Pix": Row("pix2pix_small"),
    "Pix2Pix, warped target": Row("pix2pix_small", ("settings.warp_target=true",)),
    "Pix2Pix, pairs of one shot": Row("pix2pix_small", ('data.pairing.kind="same_shot"',)),
    "CycleGAN": Row("cyclegan_small"),
    "FFE-CycleGAN without pixel loss": Row("ffe_cyclegan_small", ("settings.pixel_weight=0.0",), True),
    "FFE-CycleGAN": Row("ffe_cyclegan_small", (), True),
    "ADFL": Row("adfl_small"),
    "PCFH without AWM": Row("pcfh_small", ("settings.use_awm=false",)),
    "PCFH without MIC": Row("pcfh_small", ("settings.use_mic=false",)),
    "PCFH": Row("pcfh_small"),
}
UNTRAINED = ("no hallucination", "grey gallery", "histogram-matched grey", "visible light (ceiling)")
RECOGNISERS = {
    "Light CNN, visible light": "light_cnn_9_small",
    "Light CNN, fine-tuned": "plain_fine_tuning",
    "TRIVET": "trivet",
    "IDR": "idr",
}
Pictures = NDArray[np.uint8]
Floats = NDArray[np.float64]


def main() -> None:
    """Run the missing cells, print the tables of the finished ones, or write a sheet of pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=ROWS)
    parser.add_argument("--work", type=Path, default=Path("work/spectrum"))
    parser.add_argument("--recognisers", type=Path, help="work folder of scripts/measure_recognisers.py")
    parser.add_argument("--set", action="append", default=[], dest="settings", help="key=value over every recipe")
    parser.add_argument("--tag", default="", help="goes into the cells' names, with --set")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--sheet", type=Path, help="write source, generated and true faces of the first seed here")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    allocator.keep_memory()
    if arguments.sheet:
        write_sheet(arguments)
        return
    if not arguments.table:
        for seed in arguments.seeds:
            for name in arguments.rows:
                run_cell(name, seed, arguments)
        for name in UNTRAINED:
            judge_untrained(name, arguments)
        if arguments.recognisers:
            for name in RECOGNISERS:
                for seed in arguments.seeds:
                    judge_recogniser(name, seed, arguments)
    print(table(arguments))


def run_cell(name: str, seed: int, arguments: argparse.Namespace) -> None:
    """Train and judge one row of one seed, unless that is done."""
    found, row = cell(name, seed, arguments), ROWS[name]
    if found.is_file():
        judge_in_grey(name, seed, arguments)
        return
    overrides = [f"seed={seed}", f"data.first_identity={seed * PEOPLE_APART}", "training.threads=1"]
    wanted = recipe.read(row.recipe, [*overrides, *row.settings, *arguments.settings])
    faces = training_faces(wanted, arguments.work / f"people_{seed}.npz")
    run, spent = found.with_suffix(""), found.with_suffix(".seconds")
    if not runs.Run(run).weights.is_file():
        start = time.process_time()
        training.train(wanted, run, faces=faces, resume=True, progress=False)
        spent.write_text(f"{time.process_time() - start:.1f}")
    made, per_second = translated(run, test(arguments)["gallery_vis" if row.translates_gallery else "probe_nir"])
    facts = {
        "parameters": used_parameters(run),
        "training_seconds": float(spent.read_text()) if spent.is_file() else None,
        "per_second": per_second,
        "steps": wanted.training.steps,
    }
    judged = judge_made(made, "gallery" if row.translates_gallery else "probe", arguments)
    np.savez(found, facts=json.dumps(facts), **judged)
    best = judged["fused"][0]
    print(f"{name}, seed {seed}: generated {100 * judged['generated'][0, 0]:.1f}, fused {100 * best[0]:.1f}", facts)
    judge_in_grey(name, seed, arguments)


def test(arguments: argparse.Namespace) -> dict[str, NDArray]:
    """See `spectrum_faces.test_faces`."""
    return test_faces(arguments.work / "test_faces.npz")


@torch.no_grad()
def translated(run: Path, faces: Pictures) -> tuple[Pictures, float]:
    """Faces that a run makes of others, and how many a second on one thread, reading and writing not counted."""
    method = runs.load_hallucination(run)
    start = time.perf_counter()
    blocks = [faces[first : first + FACES_PER_BATCH] for first in range(0, len(faces), FACES_PER_BATCH)]
    made = np.concatenate([images.to_pictures(method.generate(images.to_faces(block))) for block in blocks])
    return made, len(faces) / (time.perf_counter() - start)


def used_parameters(run: Path) -> int:
    """Parameters of the network that `generate` uses."""
    method = runs.load_hallucination(run)
    network = getattr(method, "generator", None) or method.to_target
    assert isinstance(network, torch.nn.Module)
    return sum(parameter.numel() for parameter in network.parameters())


def judge_made(made: Pictures, side: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Figures of generated faces: visible probes against the gallery, or probes against a near-infrared gallery."""
    faces, judge = test(arguments), recognisers.load(JUDGE)
    gallery, source = embedded(judge, faces["gallery_vis"]), embedded(judge, faces["probe_nir"])
    generated = embedded(judge, made)
    truth = embedded(judge, faces["probe_vis" if side == "probe" else "gallery_nir"])
    new = matching.scores(generated, gallery) if side == "probe" else matching.scores(source, generated)
    points = faces[f"{side}_points"]
    return judged(matching.scores(source, gallery), new) | qualities(generated, truth, made, points, arguments)


def judge_in_grey(name: str, seed: int | None, arguments: argparse.Namespace) -> None:
    """The same faces once more, every one of them in grey: what a recogniser sees that takes no colour."""
    found = cell(name, seed, arguments, "_grey")
    if found.is_file():
        return
    faces, judge = test(arguments), recognisers.load(JUDGE)
    gallery, probes = grey(faces["gallery_vis"]), faces["probe_nir"]
    if name in UNTRAINED:
        made_gallery, made = gallery, grey(made_untrained(name, faces, arguments))
    elif ROWS[name].translates_gallery:
        run = cell(name, seed, arguments).with_suffix("")
        made_gallery, made = grey(translated(run, faces["gallery_vis"])[0]), probes
    else:
        made_gallery = gallery
        made = grey(translated(cell(name, seed, arguments).with_suffix(""), probes)[0])
    original = matching.scores(embedded(judge, probes), embedded(judge, gallery))
    np.savez(found, **judged(original, matching.scores(embedded(judge, made), embedded(judge, made_gallery))))


def made_untrained(name: str, faces: dict[str, NDArray[Any]], arguments: argparse.Namespace) -> Pictures:
    """The probes of a row that nothing is trained for."""
    if name == "histogram-matched grey":
        return matched(faces["probe_nir"], grey(visible_training_faces(arguments)))
    return np.asarray(faces["probe_vis" if name == "visible light (ceiling)" else "probe_nir"])


def judge_untrained(name: str, arguments: argparse.Namespace) -> None:
    """Rows that nothing is trained for."""
    found = cell(name, None, arguments)
    judge_in_grey(name, None, arguments)
    if found.is_file():
        return
    faces, judge = test(arguments), recognisers.load(JUDGE)
    gallery, probes = faces["gallery_vis"], faces["probe_nir"]
    made = made_untrained(name, faces, arguments)
    if name in ("grey gallery", "histogram-matched grey"):
        gallery = grey(gallery)
    original = matching.scores(embedded(judge, probes), embedded(judge, faces["gallery_vis"]))
    generated = embedded(judge, made)
    new = matching.scores(generated, embedded(judge, gallery))
    truth = embedded(judge, faces["probe_vis"])
    facts = {"parameters": 0, "training_seconds": None, "per_second": None, "steps": 0}
    figures = judged(original, new) | qualities(generated, truth, made, faces["probe_points"], arguments)
    np.savez(found, facts=json.dumps(facts), **figures)


def judge_recogniser(name: str, seed: int, arguments: argparse.Namespace) -> None:
    """A recogniser that was trained across cameras, on the faces as they are."""
    found, run = cell(name, seed, arguments), arguments.recognisers / f"{RECOGNISERS[name]}_{seed}"
    if found.is_file() or not runs.Run(run).weights.is_file():
        return
    method = runs.load(run)
    assert isinstance(method, RecognitionMethod)
    faces, own = test(arguments), method.as_recogniser()
    probes, gallery = (embedded(own, faces[kind], WIDE_CROP) for kind in ("probe_wide", "gallery_wide"))
    curve = curves(matching.scores(probes, gallery))
    parameters = sum(parameter.numel() for parameter in own.network.parameters())
    facts = {"parameters": parameters, "training_seconds": None, "per_second": None, "steps": 0}
    np.savez(found, facts=json.dumps(facts), original=curve, generated=curve, fused=curve)


@torch.no_grad()
def embedded(judge: Recogniser, pictures: Pictures, crop: Any = CROP) -> NDArray[np.float32]:
    """Embeddings (N, D), those of the mirrored faces added."""
    blocks = [pictures[first : first + FACES_PER_BATCH] for first in range(0, len(pictures), FACES_PER_BATCH)]
    return torch.cat([judge.embed(images.to_faces(block), crop, "sum") for block in blocks]).numpy()


def judged(original: NDArray[np.float32], generated: NDArray[np.float32]) -> dict[str, Floats]:
    """Curves of the original scores, the generated ones and their mean."""
    return {
        "original": curves(original),
        "generated": curves(generated),
        "fused": curves((original + generated) / 2),
    }


def curves(scores: NDArray[np.float32]) -> Floats:
    """(1 + NUM_RESAMPLES, 1 + rates): rank-1 and true accept rates; the first row is of the people as they are."""
    probe_ids, people = np.repeat(np.arange(TEST_PEOPLE), PROBES), np.arange(TEST_PEOPLE)
    times = np.vstack([np.ones((1, TEST_PEOPLE), np.int64), bootstrap.draws(TEST_PEOPLE, NUM_RESAMPLES, 0)])
    right = (scores.argmax(1) == probe_ids).reshape(TEST_PEOPLE, PROBES).mean(1)
    genuine = probe_ids[:, None] == people[None]
    order = np.argsort(-scores.ravel(), kind="stable")
    is_genuine = genuine.ravel()[order]
    first = np.repeat(probe_ids, TEST_PEOPLE)[order]
    second = np.tile(people, len(probe_ids))[order]
    rates = np.empty((len(times), len(FALSE_ACCEPT_RATES)))
    for row, drawn in enumerate(times):
        counted = bootstrap.pair_weights(drawn[None], first, second)[:, 0]
        false = np.cumsum(np.where(is_genuine, 0, counted))
        true = np.cumsum(np.where(is_genuine, counted, 0))
        ends = np.searchsorted(false, np.array(FALSE_ACCEPT_RATES) * false[-1], side="right") - 1
        rates[row] = np.where(ends >= 0, true[ends], 0) / true[-1]
    return np.column_stack([times @ right / times.sum(1), rates])


def qualities(
    generated: NDArray[np.float32],
    truth: NDArray[np.float32],
    made: Pictures,
    points: NDArray[np.float32],
    arguments: argparse.Namespace,
) -> dict[str, Floats]:
    """Likeness to the true picture of the same shot by the judge's embeddings, and how far landmarks have moved."""
    regressor = trained_regressor(arguments.work / "landmarks.pt")
    return {
        "similarity": np.asarray(identity_similarity(generated, truth), np.float64),
        "frechet": np.asarray(frechet_distance(generated, truth), np.float64),
        "moved": landmark_error(regressor, made, points),
    }


def grey(pictures: Pictures) -> Pictures:
    """Luma in three equal channels."""
    luma = np.rint(pictures @ np.array(LUMA))
    return np.repeat(luma[..., None], 3, -1).astype(np.uint8)


def matched(pictures: Pictures, like: Pictures) -> Pictures:
    """Each grey picture with the histogram of all the others together: equal parts below equal levels."""
    wanted = np.quantile(like[..., 0], np.linspace(0, 1, MATCHED_LEVELS))
    made = np.empty_like(pictures)
    for row, picture in enumerate(pictures):
        counts = np.bincount(picture[..., 0].ravel(), minlength=MATCHED_LEVELS)
        middle = (np.cumsum(counts) - counts / 2) / counts.sum()
        made[row] = np.rint(np.interp(middle, np.linspace(0, 1, MATCHED_LEVELS), wanted))[picture[..., :1]]
    return made


def visible_training_faces(arguments: argparse.Namespace) -> Pictures:
    """Visible faces of the first seed's training people."""
    stored = np.load(arguments.work / f"people_{arguments.seeds[0]}.npz")["faces"]
    return np.asarray(stored[: len(stored) // 2])


def cell(name: str, seed: int | None, arguments: argparse.Namespace, kind: str = "") -> Path:
    """The file of one row and seed; kind "_grey": judged in grey."""
    plain = "".join(letter if letter.isalnum() else "_" for letter in name.lower())
    tag = f"_{arguments.tag}" if arguments.tag and name in ROWS else ""
    return Path(arguments.work / f"{plain}{tag}{'' if seed is None else f'_{seed}'}{kind}.npz")


def table(arguments: argparse.Namespace) -> str:
    """Means over the seeds with intervals over people, as Markdown."""
    rates = [f"VR@FAR {100 * rate:g} %" for rate in FALSE_ACCEPT_RATES]
    first = [
        "| | score | rank-1 | " + " | ".join(rates) + " | rank-1 by seed | rank-1 less no hallucination |",
        "|---" * 8 + "|",
    ]
    second = [
        "| | identity similarity | Frechet (by seed) | landmarks moved, % | parameters | training s | faces/s |",
        "|---" * 7 + "|",
    ]
    for name in (*UNTRAINED, *RECOGNISERS, *ROWS):
        seeds = [None] if name in UNTRAINED else arguments.seeds
        paths = [cell(name, seed, arguments) for seed in seeds]
        if not all(path.is_file() for path in paths):
            continue
        cells = [dict(np.load(path)) for path in paths]
        ways = ("generated", "fused") if name in ROWS else ("generated",)
        for way in ways:
            values = np.stack([found[way] for found in cells])
            shown = [interval(values.mean(0)[:, column]) for column in range(values.shape[2])]
            by_seed = ", ".join(f"{100 * value:.1f}" for value in values[:, 0, 0])
            less = values.mean(0)[:, 0] - np.mean([found["original"] for found in cells], 0)[:, 0]
            gain = interval(less, "+") if name not in ("no hallucination", *RECOGNISERS) else ""
            first.append(f"| {name} | {way if name in ROWS else ''} | {' | '.join(shown)} | {by_seed} | {gain} |")
        if "similarity" in cells[0]:
            second.append(quality_line(name, cells))
    return "\n".join([*first, "", *second, "", *grey_table(arguments), "", *pcfh_less_others(arguments)])


def pcfh_less_others(arguments: argparse.Namespace) -> list[str]:
    """Points of rank-1 that PCFH is above the other translations of probes, as Markdown."""

    def rank1(name: str, way: str, kind: str) -> Floats | None:
        paths = [cell(name, seed, arguments, kind) for seed in arguments.seeds]
        there = all(path.is_file() for path in paths)
        return np.asarray(np.mean([np.load(path)[way][:, 0] for path in paths], 0)) if there else None

    lines = ["| PCFH less | generated | in grey, fused |", "|---" * 3 + "|"]
    for name in (name for name in ROWS if name != "PCFH" and not ROWS[name].translates_gallery):
        shown = []
        for way, kind in (("generated", ""), ("fused", "_grey")):
            pcfh, other = rank1("PCFH", way, kind), rank1(name, way, kind)
            if pcfh is not None and other is not None:
                shown.append(interval(pcfh - other, "+"))
        if len(shown) == 2:
            lines.append(f"| {name} | {' | '.join(shown)} |")
    return lines


def grey_table(arguments: argparse.Namespace) -> list[str]:
    """Rank-1 where the recogniser is shown everything in grey, as Markdown."""
    lines = [
        "| in grey | rank-1, generated | less no hallucination | rank-1, fused | less no hallucination |",
        "|---" * 5 + "|",
    ]
    for name in (*UNTRAINED, *ROWS):
        seeds = [None] if name in UNTRAINED else arguments.seeds
        paths = [cell(name, seed, arguments, "_grey") for seed in seeds]
        if name == "grey gallery" or not all(path.is_file() for path in paths):
            continue
        cells = [dict(np.load(path)) for path in paths]
        original, generated, fused = (
            np.mean([found[way][:, 0] for found in cells], 0) for way in ("original", "generated", "fused")
        )
        shown = [
            interval(generated),
            interval(generated - original, "+"),
            interval(fused),
            interval(fused - original, "+"),
        ]
        lines.append(f"| {name} | {' | '.join([shown[0], '', '', ''] if name == UNTRAINED[0] else shown)} |")
    return lines


def quality_line(name: str, cells: list[dict[str, Any]]) -> str:
    """One line of the second table."""
    facts = [json.loads(str(found["facts"])) for found in cells]
    people = bootstrap.draws(TEST_PEOPLE, NUM_RESAMPLES, 0)

    def shown(kind: str, digits: int) -> str:
        each = np.mean([found[kind].reshape(TEST_PEOPLE, -1).mean(1) for found in cells], 0)
        low, high = np.quantile(people @ each / TEST_PEOPLE, [0.025, 0.975])
        return f"{each.mean():.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"

    frechet = [float(found["frechet"]) for found in cells]
    by_seed = f" ({', '.join(f'{value:.3f}' for value in frechet)})" if len(frechet) > 1 else ""
    spent = [fact["training_seconds"] for fact in facts if fact["training_seconds"]]
    speed = [fact["per_second"] for fact in facts if fact["per_second"]]
    return (
        f"| {name} | {shown('similarity', 3)} | {np.mean(frechet):.3f}{by_seed} | {shown('moved', 2)} | "
        f"{facts[0]['parameters']:,} | {f'{np.mean(spent):.0f}' if spent else ''} | "
        f"{f'{np.mean(speed):.0f}' if speed else ''} |"
    )


def interval(values: Floats, sign: str = "") -> str:
    """Percent: the figure, and where 95 % of its resamples lie."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return f"{100 * values[0]:{sign}.1f} [{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"


def write_sheet(arguments: argparse.Namespace) -> None:
    """One line a person: near-infrared, what each finished row makes of it, visible light; for those that translate the
    gallery the visible picture's translation and the near-infrared one stand in a second block."""
    faces, seed = test(arguments), arguments.seeds[0]
    probes = [person * PROBES + 4 for person in SHEET_PEOPLE]
    there = [name for name in ROWS if runs.Run(cell(name, seed, arguments).with_suffix("")).weights.is_file()]
    blocks = []
    for gallery in (False, True):
        names = [name for name in there if ROWS[name].translates_gallery == gallery]
        chosen = list(SHEET_PEOPLE) if gallery else probes
        first, last = ("gallery_vis", "gallery_nir") if gallery else ("probe_nir", "probe_vis")
        columns = [faces[first][chosen]]
        for name in names:
            columns.append(translated(cell(name, seed, arguments).with_suffix(""), faces[first][chosen])[0])
        columns.append(faces[last][chosen])
        print(f"{first}, {', '.join(names)}, {last}")
        rows = [[images.to_faces(column[row][None])[0] for column in columns] for row in range(len(chosen))]
        blocks.append(images.grid(rows))
    width = max(block.shape[1] for block in blocks)
    padded = [np.pad(block, ((0, 8), (0, width - block.shape[1]), (0, 0)), constant_values=255) for block in blocks]
    images.write(arguments.sheet, np.concatenate(padded), generated_by="scripts/measure_spectrum.py: drawn people")


if __name__ == "__main__":
    main()
