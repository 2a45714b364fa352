"""Recognisers trained on drawn people: the tables of docs/recognisers/training.md and across_cameras.md.

    python scripts/measure_recognisers.py --visible light_cnn_9_small mobile_facenet_small sphereface_20_small --seeds 0
    python scripts/measure_recognisers.py --seeds 0 1 2
    python scripts/measure_recognisers.py --seeds 0 1 2 --table

For each seed a recogniser is trained on drawn people in visible light; it is then trained further on other people of
whom there are a few pictures in visible light and a few in near-infrared, in each of the ways below; all are judged on
the same people that nobody has seen. Finished cells are kept, so it can run in pieces, and in several processes with
different seeds.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from facebridge import allocator, crops, images, recipe, runs, training
from facebridge.data.faces import DrawnFaces
from facebridge.data.synthetic import shot_parameters
from facebridge.evaluation import bootstrap, matching
from facebridge.evaluation.identify import identification
from facebridge.method import RecognitionMethod
from facebridge.recipe import SyntheticData

VISIBLE = "light_cnn_9_small"
WAYS = {
    "plain fine-tuning": "fine_tuning_small",
    "TRIVET": "trivet_small",
    "IDR": "idr_small",
    "Wasserstein CNN": "wasserstein_cnn_small",
    "ADFL, feature half": "adfl_features_small",
}
TEST_CROP = crops.crop("arcface+16")
TEST_SEED, TEST_PEOPLE, TEST_SHOTS, PROBES = 77, 200, 12, 10
PEOPLE_APART = 10_000
"""First identities of two seeds lie so far apart, that they share nobody."""
FACES_PER_BATCH = 64
FALSE_ACCEPT_RATES = (1e-2, 1e-3)
NUM_RESAMPLES = 300


def main() -> None:
    """Run the missing cells, or print the tables of the finished ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=WAYS)
    parser.add_argument(
        "--visible", nargs="*", default=[VISIBLE], help="recipes of visible light; ways start from the first"
    )
    parser.add_argument("--work", type=Path, default=Path("work/recognisers"))
    parser.add_argument("--set", action="append", default=[], dest="settings", help="key=value over every recipe")
    parser.add_argument("--tag", default="", help="goes into the cells' names, with --set")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if not arguments.table:
        torch.set_num_threads(1)
        allocator.keep_memory()
        for seed in arguments.seeds:
            run_seed(seed, arguments)
    print(table(arguments.work, arguments.seeds, [*arguments.visible, *arguments.ways], arguments.tag))


def run_seed(seed: int, arguments: argparse.Namespace) -> None:
    """Train and judge what is missing of one seed."""
    work, starts = arguments.work, []
    overrides = [f"seed={seed}", f"data.first_identity={seed * PEOPLE_APART}", "training.threads=1"]
    for name in arguments.visible:
        wanted = recipe.read(name, overrides)
        starts.append(cell(work, name, seed, "").with_suffix(""))
        if not runs.Run(starts[-1]).weights.is_file():
            faces = drawn(wanted, work / f"visible_{wanted.crop}_{seed}.npz")
            training.train(wanted, starts[-1], faces=faces, resume=True, progress=False)
        judge_run(starts[-1], cell(work, name, seed, ""), work)
    for way in arguments.ways:
        found = cell(work, way, seed, arguments.tag)
        if found.is_file():
            continue
        wanted = recipe.read(WAYS[way], [*overrides, f'recogniser.name="{starts[0]}"', *arguments.settings])
        run = found.with_suffix("")
        training.train(wanted, run, faces=drawn(wanted, work / f"both_{seed}.npz"), resume=True, progress=False)
        judge_run(run, found, work)


def drawn(wanted: recipe.Recipe, cache: Path) -> DrawnFaces:
    """The faces of a recipe, drawn once for all ways."""
    assert isinstance(wanted.data, SyntheticData)
    two = wanted.data.pairing.kind != "none"
    faces = DrawnFaces(wanted.data, crops.crop(wanted.crop), ("vis", "nir") if two else ("vis",))
    if cache.is_file():
        stored = np.load(cache)["faces"]
        assert len(stored) == len(faces), f"{cache} is of other people: remove it"
    else:
        stored = np.stack([faces.picture(index) for index in range(len(faces))])
        np.savez(cache, faces=stored)
    faces.drawn = dict(enumerate(stored))
    return faces


def judge_run(run: Path, found: Path, work: Path) -> None:
    """Embeddings of the test people, written as a cell."""
    if found.is_file():
        return
    method = runs.load(run)
    assert isinstance(method, RecognitionMethod)
    recogniser = method.as_recogniser()
    embeddings = {}
    faces = test_faces(work)
    for name, pictures in faces.items():
        blocks = [pictures[start : start + FACES_PER_BATCH] for start in range(0, len(pictures), FACES_PER_BATCH)]
        with torch.no_grad():
            made = [recogniser.embed(images.to_faces(block), TEST_CROP, "sum") for block in blocks]
        embeddings[name] = torch.cat(made).numpy()
    np.savez(found, **embeddings)


def test_faces(work: Path) -> dict[str, NDArray[np.uint8]]:
    """Aligned test faces: `gallery`, `vis` and `nir` probes, person by person."""
    cache = work / "test_faces.npz"
    if cache.is_file():
        return dict(np.load(cache))
    people = SyntheticData(kind="synthetic", seed=TEST_SEED, identities=TEST_PEOPLE, shots=TEST_SHOTS)
    faces = DrawnFaces(people, TEST_CROP, ("vis", "nir"))
    made: dict[str, list[NDArray[np.uint8]]] = {"gallery": [], "vis": [], "nir": []}
    for person in range(TEST_PEOPLE):
        turned = [abs(shot_parameters(TEST_SEED, person, shot).numbers["yaw_deg"]) for shot in range(TEST_SHOTS)]
        frontal, *others = np.argsort(turned, kind="stable")
        first = person * TEST_SHOTS
        made["gallery"].append(faces.picture(first + int(frontal)))
        for shot in sorted(others)[:PROBES]:
            made["vis"].append(faces.picture(first + int(shot)))
            made["nir"].append(faces.picture(TEST_PEOPLE * TEST_SHOTS + first + int(shot)))
        faces.drawn.clear()
    found = {name: np.stack(pictures) for name, pictures in made.items()}
    np.savez(cache, **found)
    return found


def cell(work: Path, way: str, seed: int, tag: str) -> Path:
    """The file of one way and seed."""
    name = "".join(letter if letter.isalnum() else "_" for letter in way.lower())
    return work / f"{name}{tag and '_' + tag}_{seed}.npz"


Curves = NDArray[np.float64]
"""(1 + num_resamples, figures): rank-1 and true accept rates; the first row is the figure itself."""


def figures(embeddings: dict[str, NDArray[np.float32]], probes: str, times: NDArray[np.int64]) -> Curves:
    """Rank-1 and true accept rates of one cell, for each resample: how many times each of the people is drawn."""
    people = np.arange(TEST_PEOPLE)
    probe_ids = np.repeat(people, PROBES)
    scores = matching.scores(embeddings[probes], embeddings["gallery"])
    found = identification(scores, probe_ids.tolist(), people.tolist()).found.reshape(TEST_PEOPLE, PROBES).mean(1)
    rank1 = times @ found / times.sum(1)
    genuine = matching.genuine_pairs(probe_ids.tolist(), people.tolist())
    first, second = np.repeat(probe_ids, TEST_PEOPLE), np.tile(people, len(probe_ids))
    order = np.argsort(-scores.ravel(), kind="stable")
    is_genuine = genuine.ravel()[order]
    rates = np.empty((len(times), len(FALSE_ACCEPT_RATES)))
    for row, drawn_times in enumerate(times):
        counted = bootstrap.pair_weights(drawn_times[None], first[order], second[order])[:, 0]
        false = np.cumsum(np.where(is_genuine, 0, counted))
        true = np.cumsum(np.where(is_genuine, counted, 0))
        ends = np.searchsorted(false, np.array(FALSE_ACCEPT_RATES) * false[-1], side="right") - 1
        rates[row] = np.where(ends >= 0, true[ends], 0) / true[-1]
    return np.column_stack([rank1, rates])


def table(work: Path, seeds: list[int], ways: list[str], tag: str) -> str:
    """Means over the seeds with intervals over people, and differences from plain fine-tuning, as Markdown."""
    times = np.vstack([np.ones((1, TEST_PEOPLE), np.int64), bootstrap.draws(TEST_PEOPLE, NUM_RESAMPLES, 0)])
    lines = []
    for probes in ("nir", "vis"):
        curves = {}
        for way in ways:
            cells = [cell(work, way, seed, tag if way in WAYS else "") for seed in seeds]
            there = [figures(dict(np.load(path)), probes, times) for path in cells if path.is_file()]
            if len(there) == len(seeds):
                curves[way] = np.stack(there)
        header = ["rank-1", *(f"TAR @ FAR {100 * rate:g} %" for rate in FALSE_ACCEPT_RATES)]
        lines += [f"Probes: {probes}, {PROBES} each of {TEST_PEOPLE} people; seeds {', '.join(map(str, seeds))}.", ""]
        lines += [f"| | {' | '.join(header)} | rank-1 by seed | rank-1 less plain fine-tuning |", "|---" * 6 + "|"]
        plain = curves.get("plain fine-tuning")
        for way, values in curves.items():
            mean = values.mean(0)
            by_seed = ", ".join(f"{100 * value:.1f}" for value in values[:, 0, 0])
            shown = [interval(mean[:, column]) for column in range(mean.shape[1])]
            less = "" if plain is None or way == "plain fine-tuning" else interval((mean - plain.mean(0))[:, 0], "+")
            lines.append(f"| {way} | {' | '.join(shown)} | {by_seed} | {less} |")
        lines.append("")
    return "\n".join(lines)


def interval(values: NDArray[np.float64], sign: str = "") -> str:
    """Percent: the figure, and where 95 % of its resamples lie."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return f"{100 * values[0]:{sign}.1f} [{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"


if __name__ == "__main__":
    main()
