"""Tiny faces made large: the tables and pictures of docs/benchmarks/resolution.md.

    python scripts/measure_resolution.py drawn --seeds 0 1
    python scripts/measure_resolution.py ideas --seeds 0
    python scripts/measure_resolution.py sizes --seeds 0
    python scripts/measure_resolution.py photographs --data DATA --weights WEIGHTS
    python scripts/resolution_table.py

Each row is trained on the same faces through one recogniser and judged with another that no training saw. What is done
is kept under --work, so it can run in pieces: trainings go on where they stopped, evaluations that are there are not
made again. `photographs` expects DATA/utkface, DATA/lfw and the recognisers and detectors in WEIGHTS, as
docs/benchmarks/resolution.md lists them; runs named by --run NAME=RUN take the place of a row's training there.
"""

import argparse
import csv
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from resolution_rows import (
    DAMAGES,
    EDSR_SIZES,
    IDEAS,
    IN_SHORT,
    LOOKED_AT_CLOSELY,
    PHOTOGRAPHS,
    ROWS,
    SIZES,
    SQUARES,
    TOGETHER,
    Row,
    folder,
    started_from,
    test_people,
    train_on_drawn_people,
)

from facebridge import allocator, crops, evaluating, images, recipe, runs, training
from facebridge.data import face_list, opening, reading
from facebridge.embedding import JudgeSettings
from facebridge.evaluation import protocol
from facebridge.evaluation.face_shape import LandmarksAlone
from facebridge.evaluation.result import FILE_NAME
from facebridge.hallucination import hallucinate
from facebridge.landmarks import Points68

BASELINES = ("bilinear", "bicubic", "lanczos")
JUDGE = "embedded_judge"
PRIORS = "face_priors"
DEGRADED_AT = (14, 12)
FOLDS = 10
TIMED_FACES, TIMED_ROUNDS = 16, 5
LABELLED = 3000
"""Faces of UTKFace whose 68 landmarks FSRNet learns from: the regressor takes 50 ms for each."""
CROP = crops.crop("sphereface")


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["drawn", "ideas", "sizes", "photographs"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--work", type=Path, default=Path("work/resolution"))
    parser.add_argument("--rows", nargs="*", help="train these alone, and judge nothing")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--run", action="append", default=[], help="NAME=RUN: a run that is there already")
    parser.add_argument("--together", type=int, nargs="+", help="judge these of the photographs' groups of rows alone")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    allocator.keep_memory()
    if arguments.part == "photographs":
        photographs(arguments)
    else:
        rows = {"drawn": ROWS, "ideas": IDEAS, "sizes": EDSR_SIZES}[arguments.part]
        for seed in arguments.seeds:
            drawn_people(arguments, rows, seed)


def drawn_people(arguments: argparse.Namespace, rows: dict[str, Row], seed: int) -> None:
    """Train the rows of one seed on drawn people and judge them on others."""
    work = arguments.work
    for name, row in rows.items():
        if not arguments.rows or name in arguments.rows:
            shorter = IN_SHORT if arguments.part == "ideas" else []
            train_on_drawn_people(name, row, seed, work, shorter)
    if arguments.rows:
        return
    listed = test_people(work / "tested")
    trained = [f"{name}={folder(work, name, seed)}" for name in rows]
    request = evaluating.Request(trained, listed, sizes=SIZES, baselines=BASELINES[1:2])
    parts = {"sizes": request}
    if arguments.part == "ideas":
        parts = {"sizes": replace(request, sizes=SIZES[:2], degrade=DAMAGES[-1:])}
    if arguments.part == "drawn":
        parts = {
            "sizes": replace(request, baselines=BASELINES, shape_by=priors(work)),
            "squares": replace(request, sizes=SQUARES),
            "degraded": replace(request, sizes=(DEGRADED_AT,), degrade=DAMAGES),
        }
    judge = JudgeSettings(JUDGE, None, (), "sum")
    for part, request in parts.items():
        evaluate(request, judge, work / f"{arguments.part}_{part}_{seed}")
    measure_speed(trained, work / f"{arguments.part}_speed_{seed}.json")


def priors(work: Path) -> Path:
    """The run that finds landmarks and parts; trained where it is not there."""
    run = folder(work, PRIORS, 0)
    if not runs.Run(run).weights.is_file():
        training.train(recipe.read("face_priors_small", ["training.threads=1"]), run, resume=True, progress=False)
    return run


def photographs(arguments: argparse.Namespace) -> None:
    """Train the rows on UTKFace and judge them on LFW's view 1."""
    work, data, weights = arguments.work, arguments.data, arguments.weights
    given = dict(text.split("=", 1) for text in arguments.run)
    groups = arguments.together or range(len(TOGETHER))
    for name in arguments.rows or [name for number in groups for name in TOGETHER[number]]:
        if name not in given:
            train_on_photographs(name, PHOTOGRAPHS[name], arguments, given)
    if arguments.rows:
        return
    judge = JudgeSettings(
        "onnx", weights / "mobilefacenet_y1_112.onnx", ("crop=arcface", "mean=0.0", "scale=1.0"), "none"
    )
    request = evaluating.Request(
        [],
        data / "lfw" / "lfw-deepfunneled",
        protocol=data / "lfw" / "pairsDevTest.txt",
        landmarks=data / "lfw" / "landmarks5.csv",
        convention="cp2tform",
        sizes=SIZES,
        baselines=BASELINES[1:2],
    )
    more_pairs = both_halves(data, work / "view1.csv")
    for number in groups:
        names = TOGETHER[number]
        trained = [f"{name}={given.get(name, on_photographs(work, name))}" for name in names]
        own, first = replace(request, runs=trained), number == 0
        parts = {"sizes": replace(own, baselines=BASELINES if first else BASELINES[1:2])}
        if number in LOOKED_AT_CLOSELY:
            parts["halves"] = replace(
                own, protocol=more_pairs, sizes=SIZES[:2], baselines=BASELINES[:1] if first else BASELINES[1:2]
            )
            parts["degraded"] = replace(own, sizes=(DEGRADED_AT,), degrade=DAMAGES[-2:])
            parts["squares"] = replace(own, sizes=SQUARES[1:2])
        for part, wanted in parts.items():
            evaluate(wanted, judge, work / f"photographs_{part}_{number}")
        measure_speed(trained, work / f"photographs_speed_{number}.json")


def train_on_photographs(name: str, row: Row, arguments: argparse.Namespace, given: Mapping[str, str]) -> None:
    """Train a row on UTKFace, unless that is done."""
    run = on_photographs(arguments.work, name)
    if runs.Run(run).weights.is_file():
        return
    begun = []
    if row.begins_with is not None:
        begun = started_from(Path(given.get(row.begins_with, on_photographs(arguments.work, row.begins_with))))
    listed = utkface(arguments, with_points=row.recipe.startswith("fsr"))
    wanted = recipe.read(row.recipe, ["training.threads=1", *begun, *row.settings])
    wanted = wanted.model_copy(update={"data": recipe.FaceListData(kind="face_list", list=listed)})
    if wanted.recogniser is not None:
        guide = arguments.weights / "mobilefacenet_casia_112x96.ckpt"
        sizes = {"height": 112, "width": 96}
        mobile = recipe.RecogniserSettings(name="mobile_facenet", weights=guide, sizes=sizes)
        wanted = wanted.model_copy(update={"recogniser": mobile})
    training.train(wanted, run, resume=True, progress=False)


def on_photographs(work: Path, name: str) -> Path:
    """The run of a row that is trained on photographs."""
    return folder(work / "photographs", name, 0)


def utkface(arguments: argparse.Namespace, with_points: bool) -> Path:
    """UTKFace's faces, aligned by YuNet's five points; `with_points`: some of them, with PFLD's 68 points."""
    aligned = arguments.work / "utkface"
    plain, full = aligned / "faces.csv", aligned / "faces68.csv"
    assert plain.is_file(), f"align UTKFace into {aligned} first: docs/benchmarks/resolution.md has the commands"
    if not with_points or full.is_file():
        return full if with_points else plain
    every = opening.open_faces(plain)
    faces = every.take(np.sort(np.random.default_rng(0).permutation(len(every))[:LABELLED]))
    finder = LandmarksAlone(Points68(arguments.weights / "pfld_68.onnx", margin=0, mirrored=False))
    found = []
    for first in range(0, len(faces), 64):
        rows = range(first, min(first + 64, len(faces)))
        block = images.to_faces(np.stack([reading.aligned(faces, row, CROP) for row in rows]))
        found.append(finder.estimate(block)[0].numpy())
    face_list.write(faces.with_landmarks(np.concatenate(found)), full)
    return full


def both_halves(data: Path, listed: Path) -> Path:
    """Both halves of view 1 as one list of pairs, since no training here used LFW's pictures; ten folds, in order."""
    halves = [protocol.read_pairs(data / "lfw" / f"pairsDev{half}.txt") for half in ("Train", "Test")]
    rows = [
        row
        for half in halves
        for row in zip(
            half.first, half.second, half.genuine, half.first_identities, half.second_identities, strict=True
        )
    ]
    total = {kind: sum(row[2] is kind for row in rows) for kind in (True, False)}
    counts = dict.fromkeys(total, 0)
    with listed.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path_a", "path_b", "genuine", "fold", "identity_a", "identity_b"])
        for first, second, genuine, person, other in rows:
            fold = FOLDS * counts[genuine] // total[genuine]
            counts[genuine] += 1
            writer.writerow([first, second, int(genuine), fold, person, other])
    return listed


def evaluate(request: evaluating.Request, judge: JudgeSettings, out: Path) -> None:
    """Judge, unless that is done."""
    if not (out / FILE_NAME).is_file():
        start = time.perf_counter()
        evaluating.evaluate(request, judge, out)
        print(f"{out.name}: {time.perf_counter() - start:.0f} s", flush=True)


def measure_speed(trained: Sequence[str], out: Path) -> None:
    """Parameters, and milliseconds a face on one thread at each size, the best of some rounds, unless that is done."""
    if out.is_file():
        return
    found: dict[str, dict[str, float]] = {}
    for text in trained:
        row, _, run = text.rpartition("=")
        method = runs.load_hallucination(run)
        used = sum(
            parameter.numel() for name, parameter in method.named_parameters() if not name.startswith("discriminator")
        )
        found[row] = {"parameters": used}
        for size in SIZES:
            faces = torch.rand(TIMED_FACES, 3, *size)
            spent = []
            for _ in range(TIMED_ROUNDS):
                start = time.perf_counter()
                hallucinate(method, faces)
                spent.append(time.perf_counter() - start)
            found[row][f"{size[0]}x{size[1]}"] = 1e3 * min(spent) / TIMED_FACES
    out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
