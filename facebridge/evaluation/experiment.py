"""One evaluation, from pictures to figures: probes are degraded, made anew in several ways, matched and judged."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facebridge import images
from facebridge.data.face_list import FaceList
from facebridge.evaluation import differences, examples, matching
from facebridge.evaluation.accuracy import accuracy_figures
from facebridge.evaluation.comparison import Comparison, Scores
from facebridge.evaluation.groups import THRESHOLD_FALSE_ACCEPT_RATES, Grouping, Members, by_group, members
from facebridge.evaluation.probes import MadeProbes, Plan, planned
from facebridge.evaluation.result import Evaluation, Figure, Row
from facebridge.evaluation.setting import FULL_SIZE, Setting, face, points
from facebridge.evaluation.speed import Clock
from facebridge.evaluation.ways import AS_IT_IS, FACES_PER_BLOCK, Judge, Way
from facebridge.images import BadPicture

SCORES = "scores.npz"

Advance = Callable[[int, int], None]
"""Told of the faces done and of all faces."""


def evaluate(
    comparison: Comparison,
    ways: Sequence[Way],
    judge: Judge,
    setting: Setting,
    out: Path,
    advance: Advance = lambda done, of: None,
    by: Sequence[Grouping] = (),
    far: Sequence[float] = THRESHOLD_FALSE_ACCEPT_RATES,
    plain: Callable[[Comparison, Scores], None] = lambda comparison, scores: None,
) -> Evaluation:
    """Compare ways of making faces; writes metrics.json, scores.npz and example pictures into a folder.

    Args:
        comparison: which faces are compared with which.
        ways: ways of making a reduced probe full-sized again; at full size a probe is matched as it is, and by those
            ways too that hallucinate where no sizes are asked for.
        judge: the recogniser, never one that a method was trained through.
        setting: sizes, crop, title.
        out: the folder; made where missing.
        advance: told of the progress.
        by: columns of the faces by whose groups errors are given.
        far: their threshold is set at the first of these false accept rates that the impostor pairs can show.
        plain: told of the scores of the probes as they are, at full size, and of what was compared.

    Returns:
        The evaluation, as written. Pictures that cannot be used are named in its provenance, and what needs them is
        left out of every row alike.

    Raises:
        ValueError: if two ways have one name, no pair is left, a figure needs what the protocol does not have, or the
            faces cannot be divided as asked.
    """
    _check_names(ways)
    for grouping in by:
        members(grouping, comparison.probe, comparison.gallery)
    (out / "pictures").mkdir(parents=True, exist_ok=True)
    comparison, refused = _usable(comparison, setting)
    plan, clock = planned(ways, setting), Clock()
    num_gallery, total = len(comparison.gallery), len(comparison.gallery) + len(comparison.probe)
    galleries = _galleries(comparison, plan, judge, setting, clock, lambda done: advance(done, total))
    made = MadeProbes(comparison, plan, judge, setting)
    asks = any(way.make_at is not None for way in ways)
    for start, faces, where in _blocks(comparison.probe, setting, clock, asks):
        with clock.of("embedding", len(faces)):
            whole = judge.embed(AS_IT_IS, faces, setting.crop)
        made.add(start, faces, whole, where)
        advance(num_gallery + start + len(faces), total)
    divisions = [members(grouping, comparison.probe, comparison.gallery) for grouping in by]
    rows, scores = _rows(comparison, galleries, made, setting, divisions, far)
    plain(comparison, scores[FULL_SIZE, AS_IT_IS.name, "original"])
    clock.time_matching(comparison, made.embeddings(FULL_SIZE, AS_IT_IS), galleries[AS_IT_IS.name])
    evaluation = Evaluation(
        title=setting.title,
        protocol=comparison.describe(),
        conditions=list(setting.conditions()),
        rows=rows,
        examples=examples.choose(comparison, scores, plan, setting, out),
        provenance={
            **setting.provenance,
            "speed": clock.speed(judge),
            "pictures used": total,
            "pictures refused": refused,
        },
    )
    _write_scores(comparison, scores, out / SCORES)
    evaluation.write(out)
    return evaluation


def _rows(
    comparison: Comparison,
    galleries: Mapping[str, NDArray[np.float32]],
    made: MadeProbes,
    setting: Setting,
    divisions: Sequence[Members],
    far: Sequence[float],
) -> tuple[list[Row], dict[tuple[str, str, str], NDArray[np.floating]]]:
    rows: list[Row] = []
    scores: dict[tuple[str, str, str], NDArray[np.floating]] = {}
    for condition, _, way in made.plan:
        gallery = galleries.get(way.name, galleries[AS_IT_IS.name])
        found = _scores(comparison, made.embeddings(condition, way), gallery, setting)
        kind = "generated" if way.generated else "original"
        scores[(condition, way.name, kind)] = found
        near = made.figures(condition, way)
        rows.append(_row(comparison, found, condition, way.name, kind, near, setting, divisions, far))
        baseline = AS_IT_IS.name if condition == FULL_SIZE else setting.baseline
        original = scores.get((condition, baseline, "original"))
        if way.generated and original is not None:
            fused = matching.fuse(original, found)
            scores[(condition, way.name, "fused")] = fused
            rows.append(_row(comparison, fused, condition, way.name, "fused", {}, setting, divisions, far))
    return rows, scores


def _scores(
    comparison: Comparison, probe: NDArray[np.float32], gallery: NDArray[np.float32], setting: Setting
) -> Scores:
    found = comparison.scores(probe, gallery)
    if setting.normalisation is None:
        return found
    held = comparison.compared
    pairs = None if found.ndim == 2 else (held.probe, held.gallery)
    return setting.normalisation.apply(found, probe, gallery, pairs)


def _row(
    comparison: Comparison,
    scores: NDArray[np.floating],
    condition: str,
    name: str,
    kind: Any,
    near: dict[str, Figure],
    setting: Setting,
    divisions: Sequence[Members],
    far: Sequence[float],
) -> Row:
    judged = comparison.judge(scores)
    figures = judged.figures | _by_the_rule(comparison, scores, setting) | near
    found = comparison.found(scores) if divisions else None
    return Row(
        method=name,
        condition=condition,
        score_kind=kind,
        figures=figures,
        curve_roc=judged.curve_roc,
        curve_cmc=judged.curve_cmc,
        histogram=judged.histogram,
        thresholds=judged.thresholds,
        groups=[by_group(scores, comparison.compared, division, found, far) for division in divisions],
    )


def _by_the_rule(comparison: Comparison, scores: Scores, setting: Setting) -> dict[str, Figure]:
    """The accuracy over pairs where its threshold is found in another way than the comparison's."""
    fold = comparison.truth().get("fold")
    if fold is None or setting.threshold_rule == "exact":
        return {}
    held = comparison.compared
    people = held.gallery_person, held.probe_person
    return accuracy_figures(scores, held.genuine, fold, *people, setting.threshold_rule)


def _write_scores(comparison: Comparison, scores: dict[tuple[str, str, str], NDArray[np.floating]], path: Path) -> None:
    arrays: dict[str, Any] = {"/".join(key): value for key, value in scores.items()} | differences.truth(comparison)
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def _check_names(ways: Sequence[Way]) -> None:
    names = [AS_IT_IS.name, *(way.name for way in ways)]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"two rows would be called {twice[0]!r}: tell the runs apart with NAME=RUN")


def _galleries(
    comparison: Comparison,
    plan: Plan,
    judge: Judge,
    setting: Setting,
    clock: Clock,
    advance: Callable[[int], None],
) -> dict[str, NDArray[np.float32]]:
    """Embeddings of the gallery's faces, as they are and by each way that makes them."""
    ways = [AS_IT_IS, *(way for _, _, way in plan if way.side == "gallery")]
    return {way.name: _embed_gallery(comparison.gallery, way, judge, setting, clock, advance) for way in ways}


def _embed_gallery(
    faces: FaceList, way: Way, judge: Judge, setting: Setting, clock: Clock, advance: Callable[[int], None]
) -> NDArray[np.float32]:
    found = []
    for start, block, where in _blocks(faces, setting, clock, way.make_at is not None):
        with clock.of("embedding", len(block)):
            found.append(judge.embed(way, block, setting.crop, where))
        advance(start + len(block))
    return np.concatenate(found)


def _blocks(
    faces: FaceList, setting: Setting, clock: Clock, with_points: bool
) -> Iterator[tuple[int, Tensor, Tensor | None]]:
    """Where each block begins, its faces, and where they are asked for their five points."""
    for start in range(0, len(faces), FACES_PER_BLOCK):
        rows = range(start, min(start + FACES_PER_BLOCK, len(faces)))
        with clock.of("reading", len(rows)):
            block = images.to_faces(np.stack([face(faces, row, setting) for row in rows]))
            where = np.stack([points(faces, row, setting) for row in rows]) if with_points else None
        yield start, block, None if where is None else torch.from_numpy(where)


def _usable(comparison: Comparison, setting: Setting) -> tuple[Comparison, list[dict[str, str]]]:
    """What is left of a comparison with the pictures that can be used, and the others with the cause, each once."""
    usable_gallery, bad_gallery = _readable(comparison.gallery, setting)
    usable_probe, bad_probe = _readable(comparison.probe, setting)
    refused = {str(bad.path): bad.cause for bad in bad_gallery + bad_probe}
    named = [{"picture": name, "cause": cause} for name, cause in refused.items()]
    return comparison.only(usable_gallery, usable_probe), named


def _readable(faces: FaceList, setting: Setting) -> tuple[NDArray[np.bool_], list[BadPicture]]:
    usable = np.ones(len(faces), bool)
    refused = []
    for row in range(len(faces)):
        try:
            face(faces, row, setting)
        except BadPicture as bad:
            usable[row] = False
            refused.append(BadPicture(bad.path, bad.cause))  # without the traceback, which holds pixels
    return usable, refused
