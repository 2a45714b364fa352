"""The faces that a report shows: where hallucination helped most, and where it hurt most."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from facebridge import images
from facebridge.degradation import Degradation
from facebridge.evaluation.comparison import Comparison
from facebridge.evaluation.probes import in_source
from facebridge.evaluation.result import Example
from facebridge.evaluation.setting import FULL_SIZE, Setting, face, numbers, points
from facebridge.evaluation.ways import AS_IT_IS, Way

SHOWN = 3
"""Best cases of a condition, and as many worst ones."""

Plan = Sequence[tuple[str, Degradation, Way]]
Scores = Mapping[tuple[str, str, str], NDArray[np.floating]]


def choose(comparison: Comparison, scores: Scores, plan: Plan, setting: Setting, out: Path) -> list[Example]:
    """Best and worst genuine pairs of each condition, by how much the last method changed the baseline's score.

    Args:
        comparison: who is compared with whom.
        scores: by condition, way and kind.
        plan: condition, what it does to a face, and way, of every row.
        setting: crop, sizes, baseline.
        out: the evaluation folder; pictures go to its `pictures/`.
    """
    shown = []
    for condition in setting.conditions():
        ways = [way for name, _, way in plan if name == condition]
        generated = [way for way in ways if way.generated]
        if not generated:
            continue
        degradation = next(each for name, each, _ in plan if name == condition)
        baseline = AS_IT_IS.name if condition == FULL_SIZE else setting.baseline
        probes, gallery, before = comparison.genuine_scores(scores[condition, baseline, "original"])
        after = comparison.genuine_scores(scores[condition, generated[-1].name, "generated"])[2]
        for title, places in _extremes(after - before, probes):
            for place in places:
                of_ways = {
                    way.name: float(comparison.genuine_scores(scores[_key(condition, way)])[2][place]) for way in ways
                }
                pair = int(probes[place]), int(gallery[place])
                shown.append(_example(comparison, pair, condition, degradation, ways, of_ways, title, setting, out))
    return shown


def _extremes(gain: NDArray[np.floating], probes: NDArray[np.int64]) -> list[tuple[str, list[int]]]:
    """Places of the largest gains and of the largest losses, no probe twice."""
    order = np.argsort(-gain, kind="stable")
    best = _distinct(order, probes)
    rest = order[~np.isin(probes[order], probes[best])]
    return [("best", best), ("worst", _distinct(rest[::-1], probes))]


def _distinct(order: NDArray[np.int64], probes: NDArray[np.int64]) -> list[int]:
    """The first places of an order whose probes differ."""
    found: dict[int, int] = {}
    for place in order:
        found.setdefault(int(probes[place]), int(place))
        if len(found) == SHOWN:
            break
    return list(found.values())


def _example(
    comparison: Comparison,
    pair: tuple[int, int],
    condition: str,
    degradation: Degradation,
    ways: Sequence[Way],
    of_ways: dict[str, float],
    title: str,
    setting: Setting,
    out: Path,
) -> Example:
    """A probe and what is made of it; where the gallery's face is made, that one, with the probe as the target."""
    probe, gallery = pair
    target = images.to_faces(face(comparison.probe, probe, setting)[None])
    faces, row_of_source = comparison.probe, probe
    source = degradation.apply(target, numbers(comparison.probe.take([probe])))
    if any(way.side == "gallery" for way in ways):
        faces, row_of_source = comparison.gallery, gallery
        source = images.to_faces(face(faces, row_of_source, setting)[None])
    where = None
    if any(way.make_at is not None for way in ways):
        where = in_source(torch.from_numpy(points(faces, row_of_source, setting)[None]), target, source)
    stem = f"{condition.replace(' ', '_')}-{probe:05d}"
    row = comparison.probe[probe]
    generated = {}
    for way in ways:
        if way is not AS_IT_IS:
            name = f"{stem}-{_plain(way.name)}.png"
            _write(out, name, way.made(source, where), f"FaceBridge {way.name}" if way.generated else None)
            generated[way.name] = f"pictures/{name}"
    as_seen = interpolate(source, (setting.crop.height, setting.crop.width), mode="nearest-exact")
    _write(out, f"{stem}-source.png", as_seen, None)
    _write(out, f"{stem}-target.png", target, None)
    return Example(
        identity=row.identity,
        condition=condition,
        source=f"pictures/{stem}-source.png",
        generated=generated,
        target=f"pictures/{stem}-target.png",
        scores=of_ways,
        caption=title,
    )


def _write(out: Path, name: str, faces: Tensor, generated_by: str | None) -> None:
    images.write(out / "pictures" / name, faces[0], generated_by=generated_by)


def _key(condition: str, way: Way) -> tuple[str, str, str]:
    return condition, way.name, "generated" if way.generated else "original"


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)
