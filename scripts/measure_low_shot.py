"""Few near-infrared pictures, and people from noise: the tables and pictures of docs/benchmarks/low_shot.md.

    python scripts/measure_recognisers.py --ways --seeds 0 1 2
    python scripts/measure_low_shot.py --seeds 0 1 2 --recognisers work/recognisers
    python scripts/measure_low_shot.py --seeds 0 1 2 --recognisers work/recognisers --table
    python scripts/measure_low_shot.py --seeds 0 --recognisers work/recognisers --sheet docs/images/low_shot.jpg

A recogniser that knows drawn people in visible light (the first command trains it) is trained further on k pairs of
pictures of each of 200 people, near-infrared and visible: on these alone, or with generated pairs added to each batch.
What generates them has seen the same k pairs, through the recogniser that was trained further on them alone; DVG-Face's
identity sampler also the visible pictures that the recogniser began with. All are judged on the same people that nobody
has seen. Finished cells are kept, so it can run in pieces, and in several processes with different shots or seeds once
the people of a seed and the other people are drawn.
"""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from low_shot_faces import (
    CROP,
    OTHER_PEOPLE,
    SIZE,
    TRAINING_SHOTS,
    WIDE_CROP,
    HeldFaces,
    blurred,
    first_shots,
    middle,
    other_people,
    training_people,
    visible_people,
    widened,
)
from measure_recognisers import FACES_PER_BATCH, TEST_CROP, VISIBLE, test_faces
from measure_spectrum import FALSE_ACCEPT_RATES, curves, interval
from numpy.typing import NDArray

from facebridge import allocator, images, recipe, recognisers, runs, training
from facebridge.data.faces import JoinedFaces
from facebridge.evaluation import identity_spread, matching
from facebridge.evaluation.fidelity import frechet_distance
from facebridge.method import RecognitionMethod, SamplingMethod
from facebridge.methods.identity_sampler import IdentitySampler
from facebridge.recogniser import Mirror, Recogniser

SHOTS = (1, 2, 5, 10, TRAINING_SHOTS)
"""k: pictures of a person in each camera that are trained on."""
ROWS = ("no adaptation", "fine-tuning", "DVG", "DVG-Face", "rendered pairs (ceiling)")
GENERATORS = {"DVG": "dvg_small", "DVG-Face": "dvg_face_small"}
MEANS = 'settings.pair_loss={kind="mean_matching", weight=10.0, unit_length=true}'
COSINES = 'settings.pair_loss={kind="pull_and_push", weight=1.0, push_weight=1.0, margin=0.2}'
"""What is learned from generated pairs: DVG's loss, and DVG-Face's, which rendered ones get too."""
CONTROLS = ("means of real pairs matched", "rendered pairs, DVG's loss", "rendered pairs, blurred")
"""What DVG's loss does without generated people, and with rendered ones; what rendered ones are worth as blurred as
generated ones look."""
BLUR_PX = 2.0
"""Deviation of the Gaussian."""
VARIANTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "DVG, independent noise in sampling": ("DVG", ()),
    "DVG, shared noise in training": ("DVG", ('settings.noise_in_training="shared"',)),
}
FINE_TUNING = "low_shot_small"
SAMPLER = "identity_sampler_small"
EMBEDDING = ("settings.identity_size=64", "settings.identity_noise_size=64")
"""Of DVG-Face and its identity sampler: as many numbers as the recogniser gives."""
JUDGE = "embedded_judge"
"""Judges the generated people: no generator was trained through it."""
GENERATED_PAIRS = OTHER_PEOPLE
JUDGED_PEOPLE = 10_000
SAMPLING_SEED = 7
SHEET_PEOPLE = 8


def main() -> None:
    """Run the missing cells, print the tables of the finished ones, or write a sheet of pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=[*ROWS, *CONTROLS, *VARIANTS])
    parser.add_argument("--shots", type=int, nargs="*", default=list(SHOTS), choices=SHOTS)
    parser.add_argument("--work", type=Path, default=Path("work/low_shot"))
    parser.add_argument("--recognisers", type=Path, required=True, help="work folder of scripts/measure_recognisers.py")
    parser.add_argument("--set", action="append", default=[], dest="settings", help="key=value over the fine-tuning")
    parser.add_argument("--tag", default="", help="goes into the cells' names, with --set")
    parser.add_argument("--recognition-alone", action="store_true", help="leave the generated people unjudged")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--sheet", type=Path, help="write generated people of the first seed here")
    arguments = parser.parse_args()
    if arguments.settings and not arguments.tag:
        parser.error("--set makes other cells than those of the tables: give them a name with --tag")
    arguments.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    allocator.keep_memory()
    if arguments.sheet:
        write_sheet(arguments)
        return
    if not arguments.table:
        for shots in arguments.shots:
            for seed in arguments.seeds:
                for name in arguments.rows:
                    run_cell(name, shots, seed, arguments)
                    if name in (*GENERATORS, *VARIANTS, ROWS[-1]) and not arguments.recognition_alone:
                        judge_generated(name, shots, seed, arguments)
                if not arguments.recognition_alone:
                    judge_sampler(shots, seed, arguments)
    print(table(arguments))


def run_cell(name: str, shots: int, seed: int, arguments: argparse.Namespace) -> None:
    """Train and judge one row for a number of pictures and a seed, unless that is done."""
    found, start = cell(name, shots, seed, arguments), visible(seed, arguments)
    if found.is_file():
        return
    if name == "no adaptation":
        np.savez(found, **judged(start, arguments))
        return
    run = found.with_suffix("")
    overrides = [f"seed={seed}", "training.threads=1", f'recogniser.name="{start}"', f'crop="{WIDE_CROP.name}"']
    learned = MEANS if name in CONTROLS[:2] or VARIANTS.get(name, (name,))[0] == "DVG" else COSINES
    wanted = recipe.read(FINE_TUNING, [*overrides, learned, *arguments.settings])
    real = first_shots(training_people(seed, arguments.work / f"people_{seed}.npz"), shots, WIDE_CROP.height)
    if name in ("fine-tuning", CONTROLS[0]):
        training.train(alone(wanted), run, faces=real, resume=True, progress=False)
    else:
        faces = JoinedFaces(real, generated_faces(name, shots, seed, arguments), counts_generated=False)
        training.train(wanted, run, faces=faces, resume=True, progress=False)
    figures = judged(run, arguments)
    np.savez(found, **figures)
    print(f"{name}, {shots} pictures, seed {seed}: rank-1 {100 * figures['curves'][0, 0]:.1f}", flush=True)


def alone(wanted: recipe.Recipe) -> recipe.Recipe:
    """The recipe without generated faces, and with as many real ones in a batch; pull and push then say nothing."""
    assert wanted.data.generated is not None
    real = round(wanted.training.batch_size * (1 - wanted.data.generated.share))
    data = wanted.data.model_copy(update={"generated": None})
    smaller = wanted.training.model_copy(update={"batch_size": real})
    return wanted.model_copy(update={"data": data, "training": smaller})


def fine_tuned(shots: int, seed: int, arguments: argparse.Namespace) -> Path:
    """The run of the recogniser that was trained further on the real pictures alone."""
    as_it_is = argparse.Namespace(**{**vars(arguments), "settings": [], "tag": ""})
    run_cell("fine-tuning", shots, seed, as_it_is)
    return cell("fine-tuning", shots, seed, as_it_is).with_suffix("").absolute()


def visible(seed: int, arguments: argparse.Namespace) -> Path:
    """The run of the recogniser that knows visible light."""
    run = arguments.recognisers / f"{VISIBLE}_{seed}"
    if not runs.Run(run).weights.is_file():
        raise SystemExit(f"{run} is missing: python scripts/measure_recognisers.py --ways --seeds {seed}")
    return Path(run).absolute()


def generated_faces(name: str, shots: int, seed: int, arguments: argparse.Namespace) -> HeldFaces:
    """As many pairs as there are people to render, in the crop that recognisers are trained on."""
    if name in (ROWS[-1], *CONTROLS):
        others = other_people(arguments.work / "others.npz")
        made = {domain: middle(others[domain], SIZE) for domain in ("nir", "vis")}
        if name == CONTROLS[2]:
            made = {domain: blurred(faces, BLUR_PX) for domain, faces in made.items()}
    else:
        made = sampled(generator(name, shots, seed, arguments), name, GENERATED_PAIRS)
    return HeldFaces({domain: widened(faces) for domain, faces in made.items()}, np.arange(GENERATED_PAIRS), "new")


def generator(name: str, shots: int, seed: int, arguments: argparse.Namespace) -> Path:
    """The run of a generator, trained if that is not done, on the first shots of each person."""
    of, settings = VARIANTS.get(name, (name, ()))
    if not settings:
        name = of
    run = arguments.work / f"generator_{plain(name)}_{shots}_{seed}"
    guide = fine_tuned(shots, seed, arguments)
    overrides = [f"seed={seed}", "training.threads=1", f'recogniser.name="{guide}"', *settings]
    if of == "DVG-Face":
        learned = identity_sampler(shots, seed, arguments).absolute()
        overrides += ["settings.identity_sampler_learns=false", f'trained.identity_sampler="{learned}"', *EMBEDDING]
    wanted = recipe.read(GENERATORS[of], overrides)
    if is_trained(run, wanted):
        return run
    people = training_people(seed, arguments.work / f"people_{seed}.npz")
    start = time.process_time()
    training.train(wanted, run, faces=first_shots(people, shots, SIZE), resume=True, progress=False)
    (run / "seconds").write_text(f"{time.process_time() - start:.1f}")
    return run


def is_trained(run: Path, wanted: recipe.Recipe) -> bool:
    """Whether the run has ended. Stops where it is one of another recipe."""
    if not runs.Run(run).weights.is_file():
        return False
    if runs.Run(run).recipe != training.settled(wanted):
        raise SystemExit(f"{run} was trained with another recipe: remove it and the cells that follow from it")
    return True


def identity_sampler(shots: int, seed: int, arguments: argparse.Namespace) -> Path:
    """The run of a sampler of identities, trained on the visible pictures that the recogniser began with."""
    run = Path(arguments.work / f"identity_sampler_{shots}_{seed}")
    guide = fine_tuned(shots, seed, arguments)
    wanted = recipe.read(SAMPLER, [f"seed={seed}", "training.threads=1", f'recogniser.name="{guide}"', *EMBEDDING])
    if not is_trained(run, wanted):
        faces = visible_people(arguments.recognisers, seed)
        training.train(wanted, run, faces=faces, resume=True, progress=False)
    return run


@torch.no_grad()
def sampled(run: Path, name: str, count: int) -> dict[str, NDArray[np.uint8]]:
    """New people by domain (count, 64, 64, 3)."""
    method = runs.load(run)
    assert isinstance(method, SamplingMethod)
    draws = torch.Generator().manual_seed(SAMPLING_SEED)
    made: dict[str, list[NDArray[np.uint8]]] = {"nir": [], "vis": []}
    for first in range(0, count, FACES_PER_BATCH):
        num_people = min(FACES_PER_BATCH, count - first)
        if "independent noise in sampling" in name:
            codes = torch.randn(num_people, 2 * method.noise_size, generator=draws)
            pair = method.get_submodule("decoder")(codes)
            pairs = {"nir": pair[:, :3], "vis": pair[:, 3:]}
        else:
            pairs = method.sample(num_people, draws)
        for domain, faces in pairs.items():
            made[domain].append(images.to_pictures(faces))
    return {domain: np.concatenate(pictures) for domain, pictures in made.items()}


def judged(run: Path, arguments: argparse.Namespace) -> dict[str, NDArray[Any]]:
    """Curves of the near-infrared and of the visible probes of unseen people against visible galleries."""
    method = runs.load(run)
    assert isinstance(method, RecognitionMethod)
    recogniser, faces = method.as_recogniser(), test_faces(arguments.recognisers)
    gallery, nir, vis = (embedded(recogniser, faces[kind], TEST_CROP) for kind in ("gallery", "nir", "vis"))
    return {"curves": curves(matching.scores(nir, gallery)), "visible": curves(matching.scores(vis, gallery))}


@torch.no_grad()
def embedded(
    recogniser: Recogniser, pictures: NDArray[np.uint8], crop: Any = CROP, mirror: Mirror = "sum"
) -> NDArray[np.float32]:
    """Embeddings (N, D), those of the mirrored faces added or not."""
    blocks = [pictures[first : first + FACES_PER_BATCH] for first in range(0, len(pictures), FACES_PER_BATCH)]
    return torch.cat([recogniser.embed(images.to_faces(block), crop, mirror) for block in blocks]).numpy()


def cell(name: str, shots: int, seed: int, arguments: argparse.Namespace) -> Path:
    """The file of one row, number of pictures and seed; the first row needs no pictures."""
    number = "" if name == "no adaptation" else f"_{shots}"
    return Path(arguments.work / f"{plain(name)}{arguments.tag and '_' + arguments.tag}{number}_{seed}.npz")


def plain(name: str) -> str:
    """A name for files."""
    return "".join(letter if letter.isalnum() else "_" for letter in name.lower())


def table(arguments: argparse.Namespace) -> str:
    """Means over the seeds with intervals over people, as Markdown."""
    rates = [f"VR@FAR {100 * rate:g} %" for rate in FALSE_ACCEPT_RATES]
    heads = ["k", "", "rank-1", *rates, "rank-1 by seed", "rank-1 less fine-tuning", "visible probes, rank-1"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for shots in arguments.shots:
        plain_curves = stacked("fine-tuning", shots, arguments)
        for name in (*ROWS, *CONTROLS, *VARIANTS):
            found = stacked(name, shots, arguments)
            if found is None or (name == "no adaptation" and shots != arguments.shots[0]):
                continue
            mean = found["curves"].mean(0)
            shown = [interval(mean[:, column]) for column in range(mean.shape[1])]
            by_seed = ", ".join(f"{100 * value:.1f}" for value in found["curves"][:, 0, 0])
            less = "" if plain_curves is None or name == "fine-tuning" else interval(
                (mean - plain_curves["curves"].mean(0))[:, 0], "+"
            )  # fmt: skip
            seen = interval(found["visible"].mean(0)[:, 0])
            number = "0" if name == "no adaptation" else "all" if shots == TRAINING_SHOTS else str(shots)
            lines.append(f"| {number} | {name} | {' | '.join(shown)} | {by_seed} | {less} | {seen} |")
    return "\n".join([*lines, "", *quality_table(arguments), "", *sampler_table(arguments)])


def stacked(name: str, shots: int, arguments: argparse.Namespace) -> dict[str, NDArray[np.float64]] | None:
    """Curves of all seeds, if they are there."""
    paths = [cell(name, shots, seed, arguments) for seed in arguments.seeds]
    if not all(path.is_file() for path in paths):
        return None
    cells = [dict(np.load(path)) for path in paths]
    return {kind: np.stack([found[kind] for found in cells]) for kind in ("curves", "visible")}


def judge_generated(name: str, shots: int, seed: int, arguments: argparse.Namespace) -> None:
    """Figures of people from a generator, or of the rendered ones, unless that is done; see the page for each."""
    found = arguments.work / f"quality_{plain(name)}_{shots}_{seed}.npz"
    if found.is_file():
        return
    judge, real = recognisers.load(JUDGE), judged_others(arguments)
    facts: dict[str, Any] = {}
    if name == ROWS[-1]:
        made = real
    else:
        run = generator(name, shots, seed, arguments)
        people = sampled(run, name, JUDGED_PEOPLE)
        made = {
            "vis": embedded(judge, people["vis"], mirror="none"),
            "nir": embedded(judge, people["nir"][:GENERATED_PAIRS], mirror="none"),
        }
        facts["seconds"] = float((run / "seconds").read_text()) if (run / "seconds").is_file() else None
    known = training_people(seed, arguments.work / f"people_{seed}.npz")
    chosen = np.arange(len(known["people"])) % TRAINING_SHOTS < shots
    trained, whose = embedded(judge, middle(known["vis"][chosen], SIZE), mirror="none"), known["people"][chosen]
    threshold = threshold_of(real["vis"])
    num_pairs = len(made["nir"])
    strangers = (made["nir"] * np.roll(made["vis"][:num_pairs], 1, 0)).sum(1)
    among = trained @ trained.T
    among[whose[:, None] == whose[None]] = -1
    to_training = identity_spread.nearest(made["vis"], trained)
    frechet = {domain: frechet_distance(made[domain][:num_pairs], real[domain]) for domain in real}
    np.savez(
        found,
        facts=json.dumps(facts),
        pair=(made["nir"] * made["vis"][:num_pairs]).sum(1),
        strangers=strangers,
        distinct=[identity_spread.num_distinct(made["vis"][:num], threshold) for num in (num_pairs, len(made["vis"]))],
        to_training=np.quantile(to_training, [0.5, 0.95]),
        copies=np.mean(to_training >= threshold),
        among_training=np.quantile(among.max(1), [0.5, 0.95]),
        copies_among=np.mean(among.max(1) >= threshold),
        mean_cosine=identity_spread.mean_cosine(made["vis"]),
        frechet=[frechet["nir"], frechet["vis"]],
        threshold=threshold,
    )  # fmt: skip


def judged_others(arguments: argparse.Namespace) -> dict[str, NDArray[np.float32]]:
    """Embeddings of the rendered people by domain, computed once."""
    found = arguments.work / "others_judged.npz"
    if not found.is_file():
        judge, others = recognisers.load(JUDGE), other_people(arguments.work / "others.npz")
        np.savez(found, **{name: embedded(judge, middle(others[name], SIZE), mirror="none") for name in ("nir", "vis")})
    return dict(np.load(found))


def judge_sampler(shots: int, seed: int, arguments: argparse.Namespace) -> None:
    """How the identity sampler's embeddings lie beside those of people whom it has not seen, unless that is done."""
    found = arguments.work / f"sampler_{shots}_{seed}.npz"
    run = arguments.work / f"identity_sampler_{shots}_{seed}"
    if found.is_file() or not runs.Run(run).weights.is_file():
        return
    method, guide = runs.load(run), runs.load(fine_tuned(shots, seed, arguments))
    assert isinstance(method, IdentitySampler)
    assert isinstance(guide, RecognitionMethod)
    visible_faces = middle(other_people(arguments.work / "others.npz")["vis"], SIZE)
    real = embedded(guide.as_recogniser(), visible_faces, mirror="none")
    with torch.no_grad():
        samples = method.sample(OTHER_PEOPLE, torch.Generator().manual_seed(SAMPLING_SEED)).numpy()
    spread = identity_spread.identity_spread(samples, real, threshold_of(real))
    np.savez(found, spread=json.dumps(asdict(spread)))


def sampler_table(arguments: argparse.Namespace) -> list[str]:
    """The identity samplers, means over the seeds, as Markdown; nearest ones as median, 5th and 95th percentile."""
    lines = ["| k | | nearest other | nearest real person | mean cosine | distinct of 2,000 |", "|---" * 6 + "|"]
    for shots in arguments.shots:
        paths = [arguments.work / f"sampler_{shots}_{seed}.npz" for seed in arguments.seeds]
        if not all(path.is_file() for path in paths):
            continue
        found = [json.loads(str(np.load(path)["spread"])) for path in paths]

        def mean(kind: str, found: list[dict[str, Any]] = found) -> NDArray[np.float64]:
            return np.asarray(np.mean([spread[kind] for spread in found], 0), np.float64)

        def quantiles(kind: str) -> str:
            low, middle_one, high = mean(kind)
            return f"{middle_one:.3f} ({low:.3f}, {high:.3f})"

        number = "all" if shots == TRAINING_SHOTS else str(shots)
        sampled_cells = [quantiles("nearest_sample"), quantiles("nearest_real"), f"{mean('mean_cosine'):.3f}"]
        real_cells = [quantiles("nearest_among_real"), "", f"{mean('mean_cosine_real'):.3f}"]
        lines.append(f"| {number} | sampled | {' | '.join(sampled_cells)} | {mean('num_distinct'):,.0f} |")
        lines.append(f"| {number} | real | {' | '.join(real_cells)} | {mean('num_distinct_real'):,.0f} |")
    return lines


def threshold_of(visible_faces: NDArray[np.float32]) -> float:
    """Cosine that one of a thousand pairs of different people reaches, of one face a person."""
    first, second = np.triu_indices(len(visible_faces), 1)
    return float(np.quantile((visible_faces @ visible_faces.T)[first, second], 1 - FALSE_ACCEPT_RATES[1]))


def quality_table(arguments: argparse.Namespace) -> list[str]:
    """What the generated people are like, means over the seeds, as Markdown."""
    heads = [
        "k", "", "cosine within a pair", "between people", "distinct of 2,000", "distinct of 10,000",
        "nearest training person", "over the threshold, %", "training people among themselves", "Frechet nir",
        "Frechet vis", "training s",
    ]  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for shots in arguments.shots:
        for name in (*GENERATORS, *VARIANTS, ROWS[-1]):
            paths = [arguments.work / f"quality_{plain(name)}_{shots}_{seed}.npz" for seed in arguments.seeds]
            if all(path.is_file() for path in paths):
                lines.append(quality_line(name, shots, [dict(np.load(path)) for path in paths]))
    return lines


def quality_line(name: str, shots: int, cells: list[dict[str, Any]]) -> str:
    """One line; nearest people are told as median and 95th percentile of the cosine."""

    def mean(kind: str, digits: int = 3) -> str:
        return f"{np.mean([found[kind] for found in cells]):.{digits}f}"

    def several(kind: str) -> NDArray[np.float64]:
        return np.asarray(np.mean([found[kind] for found in cells], 0), np.float64)

    nearest, among, frechet, distinct = (
        several(kind) for kind in ("to_training", "among_training", "frechet", "distinct")
    )
    spent = [json.loads(str(found["facts"])).get("seconds") for found in cells]
    shown = [
        "all" if shots == TRAINING_SHOTS else str(shots), name, mean("pair"), mean("strangers"), f"{distinct[0]:,.0f}",
        f"{distinct[1]:,.0f}" if name != ROWS[-1] else "", f"{nearest[0]:.3f}, {nearest[1]:.3f}",
        f"{100 * several('copies'):.1f}", f"{among[0]:.3f}, {among[1]:.3f} ({100 * several('copies_among'):.1f} %)",
        *((f"{frechet[0]:.3f}", f"{frechet[1]:.3f}") if name != ROWS[-1] else ("", "")),
        f"{np.mean(spent):.0f}" if all(spent) else "",
    ]  # fmt: skip
    return f"| {' | '.join(shown)} |"


def write_sheet(arguments: argparse.Namespace) -> None:
    """Two lines a generator and number of pictures, near-infrared above visible: new people; then rendered ones."""
    seed, blocks = arguments.seeds[0], []
    for shots in arguments.shots:
        for name in GENERATORS:
            run = arguments.work / f"generator_{plain(name)}_{shots}_{seed}"
            if runs.Run(run).weights.is_file():
                print(f"{name}, {shots} pictures")
                blocks.append(sampled(run, name, SHEET_PEOPLE))
    others = other_people(arguments.work / "others.npz")
    blocks.append({domain: middle(others[domain][:SHEET_PEOPLE], SIZE) for domain in ("nir", "vis")})
    rows = [list(images.to_faces(block[domain])) for block in blocks for domain in ("nir", "vis")]
    images.write(arguments.sheet, images.grid(rows), generated_by="scripts/measure_low_shot.py: people from noise")


if __name__ == "__main__":
    main()
