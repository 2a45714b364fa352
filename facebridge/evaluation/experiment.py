"""One evaluation, from pictures to figures: probes are degraded, made anew in several ways, matched and judged."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from facebridge import images
from facebridge.data.face_list import FaceList
from facebridge.evaluation import examples, fidelity, matching
from facebridge.evaluation.comparison import Comparison, Scores
from facebridge.evaluation.groups import THRESHOLD_FALSE_ACCEPT_RATES, Grouping, Members, by_group, members
from facebridge.evaluation.result import Evaluation, Figure, Row
from facebridge.evaluation.setting import FULL_SIZE, Setting, face
from facebridge.evaluation.ways import AS_IT_IS, FACES_PER_BLOCK, Judge, Way
from facebridge.hallucination import reduce
from facebridge.images import BadPicture

SCORES = "scores.npz"
MATCHING_RUNS = 6
"""How often the probes are matched once more, to tell how fast."""

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
    plan = [(name, size, way) for name, size in setting.conditions().items() for way in _ways_at(name, ways, setting)]
    usable_gallery, bad_gallery = _readable(comparison.gallery, setting)
    usable_probe, bad_probe = _readable(comparison.probe, setting)
    comparison = comparison.only(usable_gallery, usable_probe)
    refused = {str(bad.path): bad.cause for bad in bad_gallery + bad_probe}
    total = len(comparison.gallery) + len(comparison.probe)
    clock = _Clock()
    galleries = {}
    for way in [AS_IT_IS, *(way for _, _, way in plan if way.side == "gallery")]:
        galleries[way.name] = _embed_gallery(
            comparison.gallery, way, judge, setting, clock, lambda done: advance(done, total)
        )
    gallery = galleries[AS_IT_IS.name]
    made = _Made([(condition, way.name) for condition, _, way in plan])
    for start, faces in _blocks(comparison.probe, setting, clock):
        with clock.of("embedding", len(faces)):
            whole = judge.embed(AS_IT_IS, faces, setting.crop)
        for condition, size, way in plan:
            made.add(condition, way, reduce(faces, *size), faces, whole, judge, setting)
        advance(len(comparison.gallery) + start + len(faces), total)
    divisions = [members(grouping, comparison.probe, comparison.gallery) for grouping in by]
    rows, scores = _rows(comparison, galleries, made, plan, setting, divisions, far)
    plain(comparison, scores[FULL_SIZE, AS_IT_IS.name, "original"])
    clock.time_matching(comparison, np.concatenate(made.embeddings[FULL_SIZE, AS_IT_IS.name]), gallery)
    shown = examples.choose(comparison, scores, plan, setting, out)
    evaluation = Evaluation(
        title=setting.title,
        protocol=comparison.describe(),
        conditions=list(setting.conditions()),
        rows=rows,
        examples=shown,
        provenance={
            **setting.provenance,
            "speed": clock.speed(judge),
            "pictures used": total,
            "pictures refused": [{"picture": name, "cause": cause} for name, cause in refused.items()],
        },
    )
    _write_scores(comparison, scores, out / SCORES)
    evaluation.write(out)
    return evaluation


@dataclass
class _Clock:
    """Seconds that parts of the work took, and what was done in them; the first of each part warms up."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    counts: dict[str, list[int]] = field(default_factory=dict)

    @contextmanager
    def of(self, part: str, count: int) -> Iterator[None]:
        """Time what is done inside; count: faces or pairs."""
        start = perf_counter()
        yield
        self.seconds.setdefault(part, []).append(perf_counter() - start)
        self.counts.setdefault(part, []).append(count)

    def time_matching(self, comparison: Comparison, probe: NDArray[np.float32], gallery: NDArray[np.float32]) -> None:
        """Match the probes some times more."""
        for _ in range(MATCHING_RUNS):
            with self.of("matching", len(comparison.compared.genuine)):
                comparison.scores(probe, gallery)

    def speed(self, judge: Judge) -> dict[str, str | int | float]:
        """What an evaluation keeps of it: rates a second, of the judge."""
        reading, embedding, matched = (self._seconds_each(part) for part in ("reading", "embedding", "matching"))
        return {
            "recogniser": judge.recogniser.name,
            "mirror": judge.mirror,
            "threads": judge.threads,
            "faces_embedded_per_sec": _rounded(1 / embedding),
            "faces_read_aligned_and_embedded_per_sec": _rounded(1 / (reading + embedding)),
            "pairs_matched_per_sec": _rounded(1 / matched),
        }

    def _seconds_each(self, part: str) -> float:
        first = 1 if len(self.counts[part]) > 1 else 0
        return sum(self.seconds[part][first:]) / sum(self.counts[part][first:])


def _rounded(rate: float) -> float:
    """To three digits: more would be noise."""
    return float(f"{rate:.3g}")


class _Made:
    """Embeddings and fidelity of the probes, by condition and way."""

    def __init__(self, keys: Sequence[tuple[str, str]]) -> None:
        self.embeddings: dict[tuple[str, str], list[NDArray[np.float32]]] = {key: [] for key in keys}
        self.fidelity: dict[tuple[str, str], dict[str, list[NDArray[np.floating]]]] = {
            key: {"psnr": [], "ssim": [], "identity_similarity": []} for key in keys
        }

    def add(
        self,
        condition: str,
        way: Way,
        source: Tensor,
        faces: Tensor,
        whole: NDArray[np.float32],
        judge: Judge,
        setting: Setting,
    ) -> None:
        """One block of probes at one condition, made one way, against the same faces at full size (`whole`: theirs)."""
        key = (condition, way.name)
        embeddings = whole if way is AS_IT_IS or way.side == "gallery" else judge.embed(way, source, setting.crop)
        self.embeddings[key].append(embeddings)
        if condition == FULL_SIZE:
            return
        made = way.make(source)
        found = self.fidelity[key]
        found["psnr"].append(np.asarray(fidelity.psnr(made, faces)))
        found["ssim"].append(np.asarray(fidelity.ssim(made, faces)))
        found["identity_similarity"].append(np.asarray(fidelity.identity_similarity(embeddings, whole)))


def _rows(
    comparison: Comparison,
    galleries: Mapping[str, NDArray[np.float32]],
    made: _Made,
    plan: Sequence[tuple[str, tuple[int, int], Way]],
    setting: Setting,
    divisions: Sequence[Members],
    far: Sequence[float],
) -> tuple[list[Row], dict[tuple[str, str, str], NDArray[np.floating]]]:
    rows: list[Row] = []
    scores: dict[tuple[str, str, str], NDArray[np.floating]] = {}
    whole = np.concatenate(made.embeddings[FULL_SIZE, AS_IT_IS.name])
    for condition, _, way in plan:
        key = (condition, way.name)
        embeddings = np.concatenate(made.embeddings[key])
        found = _scores(comparison, embeddings, galleries.get(way.name, galleries[AS_IT_IS.name]), setting)
        extra = {
            name: comparison.mean_over_probes(np.concatenate(values))
            for name, values in made.fidelity[key].items()
            if values
        }
        if condition != FULL_SIZE and len(whole) > 1:
            extra["frechet"] = Figure(fidelity.frechet_distance(embeddings, whole))
        kind = "generated" if way.generated else "original"
        scores[(condition, way.name, kind)] = found
        rows.append(_row(comparison, found, condition, way.name, kind, extra, divisions, far))
        baseline = AS_IT_IS.name if condition == FULL_SIZE else setting.baseline
        original = scores.get((condition, baseline, "original"))
        if way.generated and original is not None:
            fused = matching.fuse(original, found)
            scores[(condition, way.name, "fused")] = fused
            rows.append(_row(comparison, fused, condition, way.name, "fused", {}, divisions, far))
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
    extra: dict[str, Figure],
    divisions: Sequence[Members],
    far: Sequence[float],
) -> Row:
    judged = comparison.judge(scores)
    found = comparison.found(scores) if divisions else None
    return Row(
        method=name,
        condition=condition,
        score_kind=kind,
        figures={**judged.figures, **extra},
        curve_roc=judged.curve_roc,
        curve_cmc=judged.curve_cmc,
        histogram=judged.histogram,
        thresholds=judged.thresholds,
        groups=[by_group(scores, comparison.compared, division, found, far) for division in divisions],
    )


def _write_scores(comparison: Comparison, scores: dict[tuple[str, str, str], NDArray[np.floating]], path: Path) -> None:
    arrays: dict[str, Any] = {"/".join(key): value for key, value in scores.items()} | comparison.truth()
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def _check_names(ways: Sequence[Way]) -> None:
    names = [AS_IT_IS.name, *(way.name for way in ways)]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"two rows would be called {twice[0]!r}: tell the runs apart with NAME=RUN")


def _ways_at(condition: str, ways: Sequence[Way], setting: Setting) -> list[Way]:
    """At full size nothing has to be enlarged; methods come in there only where nothing is reduced.

    Probes alone are reduced: whoever makes the gallery's faces has nothing to do with sizes.
    """
    if condition != FULL_SIZE:
        return [way for way in ways if way.side == "probe"]
    return [AS_IT_IS, *(way for way in ways if way.generated and not setting.sizes)]


def _embed_gallery(
    faces: FaceList, way: Way, judge: Judge, setting: Setting, clock: _Clock, advance: Callable[[int], None]
) -> NDArray[np.float32]:
    found = []
    for start, block in _blocks(faces, setting, clock):
        with clock.of("embedding", len(block)):
            found.append(judge.embed(way, block, setting.crop))
        advance(start + len(block))
    return np.concatenate(found)


def _blocks(faces: FaceList, setting: Setting, clock: _Clock) -> Iterator[tuple[int, Tensor]]:
    for start in range(0, len(faces), FACES_PER_BLOCK):
        rows = range(start, min(start + FACES_PER_BLOCK, len(faces)))
        with clock.of("reading", len(rows)):
            block = images.to_faces(np.stack([face(faces, row, setting) for row in rows]))
        yield start, block


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
