"""Real profiles made frontal: the table of docs/benchmarks/cfp.md.

    facebridge data import cfp CFP --out lists/cfp.csv
    facebridge data landmarks lists/cfp.csv --weights yunet_n_dynamic.onnx -o lists/cfp_points.csv
    python scripts/cfp_halves.py lists
    facebridge train tp_gan_small --out work/front
    facebridge data render drawn --identities 300 --shots 6 --domains vis --seed 61 --yaw -90 90 --frontal-partners
    facebridge train tp_gan_photographs --set data.root=CFP --set recogniser.name=casia \\
        --set trained.global_path=work/front --set trained.local_paths=work/front --out work/tp_gan
    facebridge train dr_gan_photographs --set data.root=CFP --out work/dr_gan
    python scripts/measure_cfp.py --root CFP --tp-gan TP-GAN=work/tp_gan --dr-gan work/dr_gan

Pairs of CFP's protocols whose two people are in the half that no training has seen (or, to see what was learned by
heart, in the other: --half train). Of each pair the second picture (in frontal-profile pairs the profile) is made
frontal; scores are cosines, fused ones their mean.
"""

import argparse
from pathlib import Path
from typing import Any

import cfp_halves
import numpy as np
import torch
from numpy.typing import NDArray

from facebridge import allocator, crops, images, recognisers, runs
from facebridge.crops import Crop
from facebridge.data import opening, reading
from facebridge.data.face_list import FaceList
from facebridge.evaluation.accuracy import accuracy_figures
from facebridge.evaluation.differences import difference
from facebridge.evaluation.lfw import lfw_accuracy
from facebridge.evaluation.verify import verification
from facebridge.hallucination import hallucinate
from facebridge.method import HallucinationMethod
from facebridge.recogniser import Recogniser

FACES_PER_BATCH = 32
PROTOCOLS = {"fp": "frontal-profile", "ff": "frontal-frontal"}
SHOWN = 12
WEIGHTS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
"""Of a row's scores beside those of `none`."""
GENERATED_CROP = crops.crop("tp_gan_64")
"""That of tp_gan_photographs."""

Embeddings = NDArray[np.float32]
Scores = dict[str, NDArray[np.float32]]


def main() -> None:
    """Judge, print the tables, and write a sheet where one is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lists", type=Path, default=Path("lists"))
    parser.add_argument("--root", type=Path, required=True, help="folder of CFP")
    parser.add_argument("--judge", default="y1", help="a recogniser that no run was trained through")
    parser.add_argument("--tp-gan", nargs="+", required=True, metavar="NAME=RUN", help="runs of tp_gan")
    parser.add_argument("--dr-gan", type=Path, required=True, help="run of dr_gan_photographs")
    parser.add_argument("--half", choices=cfp_halves.HALVES, default="test", help="train: people of the trainings")
    parser.add_argument("--sheet", type=Path, help="write profiles and what is made of them here: real people")
    arguments = parser.parse_args()
    arguments.tp_gan = dict(each.split("=", 1) for each in arguments.tp_gan)
    allocator.keep_memory()
    faces = opening.open_faces(arguments.lists / f"cfp_{arguments.half}.csv", arguments.root)
    if arguments.sheet:
        write_sheet(faces, arguments)
        return
    found = embeddings_of_all(faces, arguments)
    for name, title in PROTOCOLS.items():
        print(f"\n{title}\n\n{table(faces, found, arguments.lists / f'cfp_{name}_{arguments.half}.csv')}")


def embeddings_of_all(faces: FaceList, arguments: argparse.Namespace) -> dict[str, Embeddings]:
    """Of every picture of the list, in each way."""
    judge = recognisers.load(arguments.judge)
    tp_gans = {name: runs.load_hallucination(run) for name, run in arguments.tp_gan.items()}
    dr_gan, own = runs.load_hallucination(arguments.dr_gan), recognisers.load(str(arguments.dr_gan))
    found: dict[str, list[Embeddings]] = {}
    for first in range(0, len(faces), FACES_PER_BATCH):
        rows = range(first, min(first + FACES_PER_BATCH, len(faces)))
        small = aligned(faces, rows, dr_gan.crop)
        of_rows = {
            "none": embed(judge, aligned(faces, rows, judge.crop)[0], judge.crop),
            "none, at 64x64 px": embed(judge, aligned(faces, rows, GENERATED_CROP)[0], GENERATED_CROP),
            "DR-GAN picture": embed(judge, translated(dr_gan, *small), dr_gan.crop),
            "DR-GAN feature": embed(own, small[0], dr_gan.crop),
        }
        for name, method in tp_gans.items():
            of_rows[name] = embed(judge, translated(method, *aligned(faces, rows, method.crop)), method.crop)
        for name, embeddings in of_rows.items():
            found.setdefault(name, []).append(embeddings)
        print(f"{rows.stop} of {len(faces)}", end="\r", flush=True)
    return {name: np.concatenate(each) for name, each in found.items()}


def aligned(faces: FaceList, rows: range, crop: Crop) -> tuple[torch.Tensor, torch.Tensor]:
    """Faces (B, 3, H, W) and their five points (B, 5, 2)."""
    pictures = np.stack([reading.aligned(faces, row, crop) for row in rows])
    points = np.stack([reading.aligned_five_points(faces, row, crop) for row in rows])
    return images.to_faces(pictures), torch.from_numpy(points)


@torch.no_grad()
def translated(method: HallucinationMethod[Any], faces: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """What the method makes of them."""
    return hallucinate(method, faces, points=points)


@torch.no_grad()
def embed(judge: Recogniser, faces: torch.Tensor, crop: Crop) -> Embeddings:
    """Embeddings (B, D), those of the mirrored faces added."""
    return judge.embed(faces, crop, "sum").numpy()


def table(faces: FaceList, found: dict[str, Embeddings], protocol: Path) -> str:
    """Figures of the rows, with intervals over people, as Markdown."""
    pairs = cfp_halves.read(protocol)
    row_of = {path: row for row, path in enumerate(faces.column("path").tolist())}
    first, second = ([row_of[pair[f"path_{side}"]] for pair in pairs] for side in "ab")
    truth = {
        "genuine": np.array([pair["genuine"] == "1" for pair in pairs]),
        "fold": np.unique([int(pair["fold"]) for pair in pairs], return_inverse=True)[1],
        "first_person": np.array([pair["identity_a"] for pair in pairs]),
        "second_person": np.array([pair["identity_b"] for pair in pairs]),
    }
    scores = scores_of(found, first, second)
    lines = [
        "| | accuracy, % | less none | best weight beside none | EER, % | AUC, % | VR@FAR 1 %, % |",
        "|---" * 7 + "|",
    ]
    people = truth["first_person"], truth["second_person"]
    for name, each in scores.items():
        figure = accuracy_figures(each, truth["genuine"], truth["fold"], *people, "exact")["accuracy"]
        less = difference(truth, each, scores["none"], "accuracy")
        rates = verification(each, truth["genuine"], (1e-2,))
        gained = "" if name == "none" else percent(less.value, less.low, less.high, "+")
        cells = [100 * (value or 0) for value in (rates.eer, rates.auc, rates.points[0].true_accept_rate)]
        best = "" if name == "none" or "fused" in name else best_weight(scores["none"], each, truth)
        shown = [percent(figure.value, figure.low, figure.high), gained, best, *(f"{cell:.1f}" for cell in cells)]
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return f"{len(pairs)} pairs\n\n" + "\n".join(lines)


def best_weight(none: NDArray[np.float32], each: NDArray[np.float32], truth: dict[str, NDArray[Any]]) -> str:
    """The weight of a row's scores beside `none` that these very pairs like best, and the accuracy: a bound from above
    of what any weight chosen elsewhere would give."""
    found = {
        weight: lfw_accuracy((1 - weight) * none + weight * each, truth["genuine"], truth["fold"]).accuracy
        for weight in WEIGHTS
    }
    weight = max(found, key=lambda one: found[one])
    return f"{weight:g}: {100 * found[weight]:.1f}"


def scores_of(found: dict[str, Embeddings], first: list[int], second: list[int]) -> Scores:
    """Scores of the pairs by row of the table; of what is generated the first picture is the source as it is."""

    def cosines(one: str, other: str) -> NDArray[np.float32]:
        return np.asarray((found[one][first] * found[other][second]).sum(1))

    scores = {name: cosines(name, name) for name in ("none", "none, at 64x64 px")}
    for name in (name for name in found if name not in scores):
        if name == "DR-GAN feature":
            scores[name] = cosines(name, name)
        else:
            scores[name] = cosines("none", name)
            scores[f"{name}, both generated"] = cosines(name, name)
        scores[f"{name}, fused"] = (scores["none"] + scores[name]) / 2
    return scores


def percent(value: float | None, low: float | None, high: float | None, sign: str = "") -> str:
    """A figure and its interval."""
    assert value is not None
    assert low is not None
    assert high is not None
    return f"{100 * value:{sign}.1f} [{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"


def write_sheet(faces: FaceList, arguments: argparse.Namespace) -> None:
    """A line a person: a profile, the front by each TP-GAN and by DR-GAN, a frontal picture."""
    tp_gans = [runs.load_hallucination(run) for run in arguments.tp_gan.values()]
    dr_gan = runs.load_hallucination(arguments.dr_gan)
    domains, people = faces.column("domain"), faces.column("identity")
    profiles = np.flatnonzero(domains == "profile")
    rows = []
    for row in profiles[:: max(1, len(profiles) // SHOWN)][:SHOWN].tolist():
        one, mate = range(row, row + 1), int(np.flatnonzero((people == people[row]) & (domains == "vis"))[0])
        made = [translated(method, *aligned(faces, one, method.crop)) for method in tp_gans]
        turned = images.resize(translated(dr_gan, *aligned(faces, one, dr_gan.crop)), *made[0].shape[-2:]).clamp(0, 1)
        source, front = (aligned(faces, range(each, each + 1), GENERATED_CROP)[0] for each in (row, mate))
        rows.append([face[0] for face in (source, *made, turned, front)])
    images.write(arguments.sheet, images.grid(rows), generated_by="scripts/measure_cfp.py")


if __name__ == "__main__":
    main()
