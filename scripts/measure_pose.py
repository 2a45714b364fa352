"""From profile to frontal on drawn people: the tables and pictures of docs/benchmarks/pose.md.

    python scripts/measure_pose.py
    python scripts/measure_pose.py --table
    python scripts/measure_pose.py --sheet docs/images/pose.jpg --strip docs/images/pose_strip.jpg
    python scripts/measure_pose.py --between docs/images/dr_gan_between.jpg

Every row is trained by the small recipe of its method; all are judged on the same drawn people, whom nobody has seen,
with a recogniser that trained none of them. Finished cells are kept, so it can run in pieces, and in several processes
with different rows.
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
from pose_faces import ANGLES_DEG, CROP, PROBES, SMALL_CROP, TEST_PEOPLE, test_faces, training_faces

from facebridge import allocator, images, recipe, recognisers, runs, training
from facebridge.crops import Crop
from facebridge.evaluation import bootstrap, fidelity, matching
from facebridge.hallucination import hallucinate
from facebridge.recogniser import Recogniser

JUDGE = "embedded_judge"
FALSE_ACCEPT_RATES = (1e-2, 1e-3)
NUM_RESAMPLES = 300
FACES_PER_BATCH = 50
NUM_PROBES = TEST_PEOPLE * len(ANGLES_DEG) * PROBES
SHEET_PEOPLE = (3, 17, 42, 58, 101, 133)
STRIP_PEOPLE = (3, 42, 101)
STRIP_DEG = (-90, -75, -60, -45, -30, -15, 0, 15, 30, 45, 60, 75, 90)
STEPS_BETWEEN = 7
NUMBERS_OF_PICTURES = (1, 2, 4, 6)


@dataclass(frozen=True)
class Row:
    """One trained row of the tables."""

    recipe: str
    settings: tuple[str, ...] = ()


TP_GAN = {
    "TP-GAN": Row("tp_gan_small"),
    "TP-GAN without pixel loss": Row("tp_gan_small", ("settings.pixel_weight=0.0",)),
    "TP-GAN without symmetry loss": Row("tp_gan_small", ("settings.symmetry_weight=0.0",)),
    "TP-GAN without adversarial loss": Row("tp_gan_small", ("settings.adversarial_weight=0.0",)),
    "TP-GAN without identity loss": Row("tp_gan_small", ("settings.identity_weight=0.0",)),
    "TP-GAN without cross entropy": Row("tp_gan_small", ("settings.cross_entropy_weight=0.0",)),
    "TP-GAN without total variation": Row("tp_gan_small", ("settings.variation_weight=0.0",)),
    "TP-GAN without local paths": Row("tp_gan_small", ("settings.local_paths=false",)),
}
BY_OWN_STATISTICS = {"TP-GAN, statistics of 50 faces": 50, "TP-GAN, statistics of each face": 1}
"""The run TP-GAN once more, normalising by so many faces that are given together."""
TOWARDS_PEOPLE = (
    "settings.classification_weight=5.0",
    "settings.pose_weight=1.0",
    "settings.pixel_weight=10.0",
    "training.steps=2400",
)
"""DR-GAN (b): the generator is taught by the discriminator's people above all, and less by pixels."""
DR_GAN = {
    "DR-GAN": Row("dr_gan_small"),
    "DR-GAN, several pictures": Row("dr_gan_several_small"),
    "DR-GAN (b)": Row("dr_gan_small", TOWARDS_PEOPLE),
    "DR-GAN (b), several pictures": Row("dr_gan_several_small", TOWARDS_PEOPLE),
}
UNTRAINED = ("no hallucination", "mirrored half", "true front (ceiling)")
NUMBERS = [f"feature of {count} picture{'s' if count > 1 else ''}" for count in NUMBERS_OF_PICTURES]
PLAIN_MEAN = f"{NUMBERS[-1]}, plain mean"
"""The same pictures, each counting alike, whatever its confidence."""
PICTURE_ROWS = (*UNTRAINED, *TP_GAN, *BY_OWN_STATISTICS, "DR-GAN picture", "DR-GAN (b) picture")
FEATURE_ROWS = [f"{name} {kind}" for name in ("DR-GAN", "DR-GAN (b)") for kind in ("feature", *NUMBERS, PLAIN_MEAN)]

Pictures = NDArray[np.uint8]
Embeddings = NDArray[np.float32]
Floats = NDArray[np.float64]


def main() -> None:
    """Run the missing cells, print the tables of the finished ones, or write pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of the trainings")
    parser.add_argument("--rows", nargs="*", default=[*TP_GAN, *DR_GAN], choices=[*TP_GAN, *DR_GAN])
    parser.add_argument("--work", type=Path, default=Path("work/pose"))
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--sheet", type=Path, help="write probes, what each row makes of them, and the true front here")
    parser.add_argument("--strip", type=Path, help="write heads that DR-GAN turned here")
    parser.add_argument("--between", type=Path, help="write faces between people and between noises by DR-GAN here")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    allocator.keep_memory()
    if arguments.sheet or arguments.strip or arguments.between:
        if arguments.sheet:
            write_sheet(arguments)
        if arguments.strip:
            write_strip(arguments)
        if arguments.between:
            write_between(arguments)
        return
    if not arguments.table:
        for name in UNTRAINED:
            judge_pictures(name, made_untrained(name, test(arguments)), {}, arguments)
        for name in arguments.rows:
            run_row(name, arguments)
    print(table(arguments))


def run_row(name: str, arguments: argparse.Namespace) -> None:
    """Train and judge one row, unless that is done."""
    run, spent = trained(name, arguments)
    facts = {"training_seconds": spent, "steps": runs.find(run).recipe.training.steps}
    faces = test(arguments)
    if name in TP_GAN and not cell(name, arguments).is_file():
        start = time.perf_counter()
        made = translated(run, faces["probe"], faces["probe_points"], CROP)
        facts |= {
            "parameters": used_parameters(run),
            "per_second": made[..., 0, 0, 0].size / (time.perf_counter() - start),
        }
        judge_pictures(name, made, facts, arguments)
    if name == "TP-GAN":
        for variant, together in BY_OWN_STATISTICS.items():
            if not cell(variant, arguments).is_file():
                made = translated(run, faces["probe"], faces["probe_points"], CROP, together)
                judge_pictures(variant, made, {}, arguments)
    if name in DR_GAN:
        judge = judge_several_dr_gan if name.endswith("several pictures") else judge_single_dr_gan
        judge(name.split(",")[0], run, facts, arguments)


def trained(name: str, arguments: argparse.Namespace) -> tuple[Path, float | None]:
    """The run of a row, trained where it is not yet, and the processor seconds of that."""
    row = (TP_GAN | DR_GAN)[name]
    run = cell(name, arguments).with_suffix("")
    spent = run.with_suffix(".seconds")
    if not runs.Run(run).weights.is_file():
        wanted = recipe.read(row.recipe, [f"seed={arguments.seed}", "training.threads=1", *row.settings])
        faces = training_faces(wanted, arguments.work / f"people_{wanted.crop}_{wanted.method}.npz")
        start = time.process_time()
        training.train(wanted, run, faces=faces, resume=True, progress=False)
        spent.write_text(f"{time.process_time() - start:.1f}")
    return run, float(spent.read_text()) if spent.is_file() else None


def test(arguments: argparse.Namespace) -> dict[str, NDArray]:
    """See `pose_faces.test_faces`."""
    return test_faces(arguments.work / "test_faces.npz")


@torch.no_grad()
def translated(
    run: Path, faces: Pictures, points: NDArray[np.float32] | None, crop: Crop, own_statistics_of: int = 0
) -> Pictures:
    """What a run makes of faces (..., H, W, 3); with TP-GAN's `own` statistics where a number of faces is given."""
    method = runs.load_hallucination(run)
    assert method.crop.name == crop.name
    if own_statistics_of:
        method.config = method.config.model_copy(update={"statistics_in_use": "own"})
    together = own_statistics_of or FACES_PER_BATCH
    flat = faces.reshape(-1, *faces.shape[-3:])
    placed = None if points is None else torch.from_numpy(points.reshape(-1, 5, 2).astype(np.float32))
    made = []
    for first in range(0, len(flat), together):
        some = slice(first, first + together)
        made.append(hallucinate(method, images.to_faces(flat[some]), points=None if placed is None else placed[some]))
    return images.to_pictures(torch.cat(made)).reshape(faces.shape)


def used_parameters(run: Path) -> int:
    """Parameters of the networks that `generate` uses."""
    networks = dict(runs.load_hallucination(run).named_children())
    used = [network for name, network in networks.items() if name not in ("discriminator", "identity_head")]
    return sum(parameter.numel() for network in used for parameter in network.parameters())


def made_untrained(name: str, faces: dict[str, NDArray[Any]]) -> Pictures:
    """The probes of a row that nothing is trained for."""
    if name == "true front (ceiling)":
        return np.asarray(faces["front"])
    if name == "no hallucination":
        return np.asarray(faces["probe"])
    made = faces["probe"].copy()  # the half that the camera sees is mirrored over the other one
    middle = made.shape[-2] // 2
    made[:, :, 0, :, middle:] = made[:, :, 0, :, :middle][..., ::-1, :]  # first picture: the nose points to the right
    made[:, :, 1, :, :middle] = made[:, :, 1, :, middle:][..., ::-1, :]
    return np.asarray(made)


def judge_pictures(name: str, made: Pictures, facts: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Figures of generated pictures (200, 6, 2, 64, 64, 3), unless there are some."""
    found = cell(name, arguments)
    if found.is_file():
        return
    faces, judge = test(arguments), recognisers.load(JUDGE)
    gallery, source = embedded(judge, faces["gallery"], CROP), embedded(judge, faces["probe"], CROP)
    generated, front = embedded(judge, made, CROP), embedded(judge, faces["front"], CROP)
    original, new = scores(source, gallery), scores(generated, gallery)
    np.savez(
        found,
        facts=json.dumps(facts),
        generated=curves(new),
        fused=curves((original + new) / 2),
        similarity=(generated * front).sum(-1).mean(-1),
        psnr=psnr(made, np.asarray(faces["front"])).mean(-1),
        symmetry=symmetry_error(made).mean(-1),
    )
    print(name, np.round(100 * curves(new)[0, :, 0], 1), facts, flush=True)


def judge_single_dr_gan(name: str, run: Path, facts: dict[str, Any], arguments: argparse.Namespace) -> None:
    """DR-GAN's feature of single pictures, and its pictures of the front, which the judge sees enlarged."""
    faces = test(arguments)
    if not cell(f"{name} feature", arguments).is_file():
        save_feature(f"{name} feature", run, 1, facts, arguments)
    if not cell(f"{name} picture", arguments).is_file():
        start = time.perf_counter()
        small = translated(run, faces["small"][:, :, :PROBES], None, SMALL_CROP)
        facts |= {"parameters": used_parameters(run), "per_second": NUM_PROBES / (time.perf_counter() - start)}
        large = images.resize(images.to_faces(small.reshape(-1, *small.shape[-3:])), CROP.height, CROP.width)
        made = images.to_pictures(large.clamp(0, 1)).reshape(faces["probe"].shape)
        judge_pictures(f"{name} picture", made, facts, arguments)


def judge_several_dr_gan(name: str, run: Path, facts: dict[str, Any], arguments: argparse.Namespace) -> None:
    """DR-GAN's features of one to six pictures of an angle, fused by its confidences."""
    for kind, count in zip(NUMBERS, NUMBERS_OF_PICTURES, strict=True):
        if not cell(f"{name} {kind}", arguments).is_file():
            save_feature(f"{name} {kind}", run, count, facts, arguments)
    if not cell(f"{name} {PLAIN_MEAN}", arguments).is_file():
        most = NUMBERS_OF_PICTURES[-1]
        save_feature(f"{name} {PLAIN_MEAN}", run, most, facts, arguments, uses_confidences=False)


@torch.no_grad()
def save_feature(
    name: str,
    run: Path,
    count: int,
    facts: dict[str, Any],
    arguments: argparse.Namespace,
    uses_confidences: bool = True,
) -> None:
    """Figures of a DR-GAN run's fused feature. Of one picture: each of the probes; else: the first `count` pictures."""
    faces, method = test(arguments), runs.load_hallucination(run)

    def fused(pictures: Pictures) -> Embeddings:
        """(N, k, h, w, 3) -> (N, 320) of unit length."""
        of_faces = images.to_faces(pictures.reshape(-1, *pictures.shape[-3:]))
        in_a_set = pictures.shape[1] if uses_confidences else 1
        sets = of_faces.reshape(-1, in_a_set, *of_faces.shape[-3:])
        features = torch.cat([method.fused(some)[0] for some in torch.split(sets, FACES_PER_BATCH)])
        features = features.reshape(len(pictures), -1, features.shape[-1]).mean(1)
        return torch.nn.functional.normalize(features).numpy()

    gallery = fused(faces["small_gallery"][:, None])
    sets = faces["small"][:, :, :PROBES, None] if count == 1 else faces["small"][:, :, None, :count]
    probes = fused(sets.reshape(-1, *sets.shape[-4:])).reshape(*sets.shape[:3], -1)
    curve = curves(scores(probes, gallery))
    np.savez(cell(name, arguments), facts=json.dumps(facts), generated=curve)
    print(name, np.round(100 * curve[0, :, 0], 1), facts, flush=True)


@torch.no_grad()
def embedded(judge: Recogniser, pictures: Pictures, crop: Crop) -> Embeddings:
    """Embeddings (..., D), those of the mirrored faces added."""
    flat = pictures.reshape(-1, *pictures.shape[-3:])
    blocks = [flat[first : first + FACES_PER_BATCH] for first in range(0, len(flat), FACES_PER_BATCH)]
    found = torch.cat([judge.embed(images.to_faces(block), crop, "sum") for block in blocks]).numpy()
    return np.asarray(found.reshape(*pictures.shape[:-3], -1))


def scores(probes: Embeddings, gallery: Embeddings) -> NDArray[np.float32]:
    """Of probes (people, angles, pictures, D): (people, angles, pictures, num_gallery)."""
    flat = matching.scores(probes.reshape(-1, probes.shape[-1]), gallery)
    return np.asarray(flat.reshape(*probes.shape[:-1], len(gallery)))


def curves(found: NDArray[np.float32]) -> Floats:
    """(1 + NUM_RESAMPLES, angles, 1 + rates): rank-1 and true accept rates; the first row is of the people as they
    are. Rates of an angle have the threshold of that angle's impostor pairs."""
    people, angles, pictures, _ = found.shape
    times = np.vstack([np.ones((1, people), np.int64), bootstrap.draws(people, NUM_RESAMPLES, 0)])
    values = np.empty((len(times), angles, 1 + len(FALSE_ACCEPT_RATES)))
    probe_ids = np.repeat(np.arange(people), pictures)
    for angle in range(angles):
        of_angle = found[:, angle].reshape(people * pictures, people)
        right = (of_angle.argmax(1) == probe_ids).reshape(people, pictures).mean(1)
        values[:, angle, 0] = times @ right / times.sum(1)
        values[:, angle, 1:] = accept_rates(of_angle, probe_ids, times)
    return values


def accept_rates(found: NDArray[np.float32], probe_ids: NDArray[np.int64], times: NDArray[np.int64]) -> Floats:
    """True accept rates (len(times), rates) of scores (num_probes, people), people drawn so many times."""
    people = found.shape[1]
    order = np.argsort(-found.ravel(), kind="stable")
    first, second = np.repeat(probe_ids, people)[order], np.tile(np.arange(people), len(probe_ids))[order]
    is_genuine = first == second
    rates = np.empty((len(times), len(FALSE_ACCEPT_RATES)))
    for row, drawn in enumerate(times):
        counted = bootstrap.pair_weights(drawn[None], first, second)[:, 0]
        false = np.cumsum(np.where(is_genuine, 0, counted))
        true = np.cumsum(np.where(is_genuine, counted, 0))
        ends = np.searchsorted(false, np.array(FALSE_ACCEPT_RATES) * false[-1], side="right") - 1
        rates[row] = np.where(ends >= 0, true[ends], 0) / true[-1]
    return rates


def psnr(made: Pictures, truth: Pictures) -> Floats:
    """dB, on luma, of pictures (..., H, W, 3)."""
    first, second = (images.to_faces(faces.reshape(-1, *faces.shape[-3:])) for faces in (made, truth))
    return np.asarray(fidelity.psnr(first, second), np.float64).reshape(made.shape[:-3])


def symmetry_error(pictures: Pictures) -> Floats:
    """Mean difference of pictures (..., H, W, 3) and their mirror images, levels of 255."""
    return np.asarray(np.abs(pictures - pictures[..., ::-1, :].astype(np.float32)).mean((-3, -2, -1)), np.float64)


def cell(name: str, arguments: argparse.Namespace) -> Path:
    """The file of one row."""
    plain = "".join(letter if letter.isalnum() else "_" for letter in name.lower())
    return Path(arguments.work / (plain if name in UNTRAINED else f"{plain}_{arguments.seed}")).with_suffix(".npz")


def table(arguments: argparse.Namespace) -> str:
    """Figures with intervals over people, as Markdown."""
    angles = " | ".join(f"{angle}°" for angle in ANGLES_DEG)
    tables = []
    for column, title in enumerate(["rank-1", *(f"VR@FAR {100 * rate:g} %" for rate in FALSE_ACCEPT_RATES)]):
        lines = [f"| {title} | score | {angles} |", "|---" * (2 + len(ANGLES_DEG)) + "|"]
        for name in (*PICTURE_ROWS, *FEATURE_ROWS):
            found = read(name, arguments)
            ways = ["generated", "fused"] if name in PICTURE_ROWS[len(UNTRAINED) :] else ["generated"]
            for way in ways if found else []:
                shown = [interval(found[way][:, angle, column]) for angle in range(len(ANGLES_DEG))]
                kind = "" if len(ways) == 1 else way
                lines.append(f"| {name} | {kind} | {' | '.join(shown)} |")
        tables.append("\n".join(lines))
    return "\n\n".join([*tables, gains(arguments), qualities(arguments)])


def gains(arguments: argparse.Namespace) -> str:
    """Points of rank-1 between two rows at each angle, on the same draws of people."""
    angles = " | ".join(f"{angle}°" for angle in ANGLES_DEG)
    lines = [f"| rank-1 | less | {angles} |", "|---" * (2 + len(ANGLES_DEG)) + "|"]
    less = [
        ("TP-GAN", "generated", other, "generated")
        for other in (*UNTRAINED[:2], *TP_GAN, *BY_OWN_STATISTICS)
        if other != "TP-GAN"
    ]
    less += [("TP-GAN", "fused", UNTRAINED[0], "generated"), ("DR-GAN picture", "fused", UNTRAINED[0], "generated")]
    for base in ("DR-GAN", "DR-GAN (b)"):
        first, last = (f"{base} {kind}" for kind in (NUMBERS[0], NUMBERS[-1]))
        less += [(f"{base} {kind}", "generated", first, "generated") for kind in NUMBERS[1:]]
        less += [(last, "generated", f"{base} {PLAIN_MEAN}", "generated")]
    for name, way, other, other_way in less:
        found, against = read(name, arguments), read(other, arguments)
        if found and against:
            differences = found[way][:, :, 0] - against[other_way][:, :, 0]
            shown = [interval(differences[:, angle], "+") for angle in range(len(ANGLES_DEG))]
            lines.append(f"| {name}{', fused' if way == 'fused' else ''} | {other} | {' | '.join(shown)} |")
    return "\n".join(lines)


def qualities(arguments: argparse.Namespace) -> str:
    """How near the pictures are to the true front, and what they cost."""
    lines = [
        "| | " + " | ".join(["PSNR, dB"] * 3 + ["identity similarity"] * 3 + ["symmetry error"]),
    ]
    spans = ("15-30°", "45-60°", "75-90°")
    head = [f"PSNR {span}" for span in spans] + [f"similarity {span}" for span in spans]
    lines = [
        "| | " + " | ".join([*head, "symmetry error", "parameters", "training s", "faces/s"]) + " |",
        "|---" * (5 + 2 * len(spans)) + "|",
    ]
    people = bootstrap.draws(TEST_PEOPLE, NUM_RESAMPLES, 0)
    for name in PICTURE_ROWS:
        found = read(name, arguments)
        if not found:
            continue
        facts = json.loads(str(found["facts"]))

        def shown(each: Floats, digits: int) -> str:
            low, high = np.quantile(people @ each / TEST_PEOPLE, [0.025, 0.975])
            return f"{each.mean():.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"

        pairs = [slice(first, first + 2) for first in (0, 2, 4)]
        is_truth = name == UNTRAINED[2]
        cells = ["" if is_truth else shown(found["psnr"][:, pair].mean(1), 2) for pair in pairs]
        cells += ["" if is_truth else shown(found["similarity"][:, pair].mean(1), 3) for pair in pairs]
        cells.append(shown(found["symmetry"].mean(1), 1))
        cells += [f"{facts['parameters']:,}" if "parameters" in facts else ""]
        cells += [f"{facts[key]:.0f}" if facts.get(key) else "" for key in ("training_seconds", "per_second")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def read(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """A finished cell, or nothing."""
    path = cell(name, arguments)
    return dict(np.load(path)) if path.is_file() else {}


def interval(values: Floats, sign: str = "") -> str:
    """Percent: the figure, and where 95 % of its resamples lie."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return f"{100 * values[0]:{sign}.1f} [{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"


def write_sheet(arguments: argparse.Namespace) -> None:
    """A block an angle (30, 60, 90): a line a person: probe, mirrored half, what each row makes of it, true front."""
    faces = test(arguments)
    names = [name for name in TP_GAN if runs.Run(cell(name, arguments).with_suffix("")).weights.is_file()]
    rows = []
    for angle in (1, 3, 5):
        for person in SHEET_PEOPLE[angle // 2 :: 3]:
            chosen = faces["probe"][person, angle, :1]
            columns = [chosen, made_untrained("mirrored half", faces)[person, angle, :1]]
            for name in names:
                run = cell(name, arguments).with_suffix("")
                columns.append(translated(run, chosen, faces["probe_points"][person, angle, :1], CROP))
            run = cell("DR-GAN", arguments).with_suffix("")
            if runs.Run(run).weights.is_file():
                small = translated(run, faces["small"][person, angle, :1], None, SMALL_CROP)
                columns.append(images.to_pictures(images.resize(images.to_faces(small), 64, 64).clamp(0, 1)))
            columns.append(faces["front"][person, angle, :1])
            rows.append([images.to_faces(column)[0] for column in columns])
    print("probe, mirrored half,", ", ".join(names), "DR-GAN, true front")
    images.write(arguments.sheet, images.grid(rows), generated_by="scripts/measure_pose.py: drawn people")


@torch.no_grad()
def write_strip(arguments: argparse.Namespace) -> None:
    """A line a person: a probe at 30 degrees, then the head that DR-GAN turned from -90 to 90."""
    faces = test(arguments)["small"]
    method = runs.load_hallucination(cell("DR-GAN", arguments).with_suffix(""))
    rows = []
    for person in STRIP_PEOPLE:
        face = images.to_faces(faces[person, 1, :1])
        rows.append([face[0], *method.turned(face, STRIP_DEG)[0]])
    images.write(arguments.strip, images.grid(rows), generated_by="scripts/measure_pose.py: drawn people")


@torch.no_grad()
def write_between(arguments: argparse.Namespace) -> None:
    """Two lines from one person to another, at the front and at 45 degrees; two lines from one noise to another."""
    faces = test(arguments)["small"]
    method = runs.load_hallucination(cell("DR-GAN", arguments).with_suffix(""))
    first, second = (images.to_faces(faces[person, 0, :1]) for person in STRIP_PEOPLE[:2])
    rows = [[first[0], *method.between_people(first, second, STEPS_BETWEEN, yaw)[0], second[0]] for yaw in (0.0, 45.0)]
    for face in (first, second):
        rows.append([face[0], *method.between_noises(face, STEPS_BETWEEN)[0], face[0]])
    images.write(arguments.between, images.grid(rows), generated_by="scripts/measure_pose.py: drawn people")


if __name__ == "__main__":
    main()
