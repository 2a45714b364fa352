"""The whole way once, in minutes, with nothing downloaded: people are drawn, a method is trained, faces are matched."""

import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from facebridge import evaluating, training
from facebridge import recipe as recipes
from facebridge.data import face_list, synthetic
from facebridge.data.face_list import FaceList
from facebridge.evaluation.result import METRICS, Evaluation
from facebridge.progress import Progress

RECIPE = "edsr_identity_demo"
JUDGE = "embedded_judge"
SIZES = ((7, 6), (14, 12), (28, 24))
TRAINING_PEOPLE, TRAINING_SHOTS = 150, 10
TEST_PEOPLE, TEST_SHOTS = 180, 4
"""The first shot of a test person is the gallery picture, the others are probes."""

PARTS = ("people", "run", "evaluation")
REPORT = "report.html"
MARK = ".facebridge_demo"
"""The file that says that a folder is a demo's, whose parts the next demo may remove."""

HEADLINE = "rank1"


def run(out: Path, seed: int = 0) -> Iterator[str]:
    """Run the demo into a folder.

    Args:
        out: the folder: people/ (pictures and face list), run/ (the training), evaluation/ and report.html.
        seed: decides the people, the training and every draw.

    Yields:
        What is being done, and at the end the headline numbers and where the report is.

    Raises:
        ValueError: if the folder holds something that no demo made.
    """
    started = time.perf_counter()
    _clear(out)
    yield f"drawing {TRAINING_PEOPLE} people to train on and {TEST_PEOPLE} other people to recognise"
    faces = _draw_people(out / "people", seed)
    yield f"training {RECIPE}"
    recipe = recipes.read(RECIPE, [f"data.list={faces}", f"seed={seed}"])
    training.train(recipe, out / "run")
    probes = TEST_PEOPLE * (TEST_SHOTS - 1)
    yield f"matching {probes} low-resolution probes against {TEST_PEOPLE} sharp gallery pictures"
    request = evaluating.Request(
        runs=[f"{recipe.method}={out / 'run'}"],
        faces=faces,
        sizes=SIZES,
        title="Low-resolution probes of drawn people",
    )
    done = evaluating.evaluate(request, evaluating.judge(JUDGE, None, (), "sum"), out / "evaluation")
    report = shutil.copyfile(out / "evaluation" / evaluating.REPORT, out / REPORT)
    yield from evaluating.headline(done)
    yield _verdict(done, recipe.method)
    yield f"{time.perf_counter() - started:.0f} seconds; the report: {report.resolve()}"


def _draw_people(folder: Path, seed: int) -> Path:
    """People to train on, then other people as gallery and probes; one face list with the column split."""
    parts: list[FaceList] = []
    listed = folder
    with Progress("drawing", TRAINING_PEOPLE * TRAINING_SHOTS + TEST_PEOPLE * TEST_SHOTS) as bar:
        for first, people, shots in ((0, TRAINING_PEOPLE, TRAINING_SHOTS), (TRAINING_PEOPLE, TEST_PEOPLE, TEST_SHOTS)):
            advance = partial(_advance, bar, sum(map(len, parts)))
            listed = synthetic.render_to(
                folder, identities=people, shots=shots, seed=seed, first_identity=first, progress=advance
            )
            parts.append(face_list.read(listed))
    training_faces, test_faces = parts
    is_first = np.array([path.endswith("/0000_vis.png") for path in test_faces.column("path").tolist()])
    training_faces = training_faces.with_column("split", ["train"] * len(training_faces))
    test_faces = test_faces.with_column("split", np.where(is_first, "gallery", "probe").tolist())
    together = face_list.joined(training_faces, test_faces)
    face_list.write(together, listed)
    return listed


def _advance(bar: Progress, before: int, done: int, of: int) -> None:
    bar.step(before + done)


def _verdict(done: Evaluation, method: str) -> str:
    """Whether the method beat the better enlarging at the smallest size by more than the intervals."""
    condition = done.conditions[0]
    plain = [row for row in done.rows if row.condition == condition and row.score_kind == "original"]
    best = max(plain, key=lambda row: row.figures[HEADLINE].value or 0.0)
    ours = done.row(method, condition, "generated")
    assert ours is not None
    figure, other = ours.figures[HEADLINE], best.figures[HEADLINE]
    assert figure.low is not None
    assert other.high is not None
    clear = figure.low > other.high
    label = METRICS[HEADLINE].label
    told = f"{label} {evaluating.percent(figure)} by {method}, {evaluating.percent(other)} by {best.method} enlarging"
    return f"at {condition}: {told}: " + ("recognition got better" if clear else "a gain is not shown")


def _clear(out: Path) -> None:
    """Remove what an earlier demo left; nothing else."""
    found = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    strange = [name for name in found if name not in (*PARTS, REPORT, MARK)] if MARK in found else found
    if strange:
        raise ValueError(f"{out} holds {strange[0]!r}, which no demo made: choose another folder with --out")
    for part in PARTS:
        shutil.rmtree(out / part, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).touch()
