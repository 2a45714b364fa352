"""The probes of an evaluation: degraded, made anew in several ways, embedded, and compared with the sharp faces."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from facebridge.degradation import Degradation
from facebridge.evaluation import face_shape, fidelity
from facebridge.evaluation.comparison import Comparison
from facebridge.evaluation.result import Figure
from facebridge.evaluation.setting import FULL_SIZE, Setting, numbers
from facebridge.evaluation.ways import AS_IT_IS, Judge, Way
from facebridge.pose import resized_points

Plan = Sequence[tuple[str, Degradation, Way]]
"""Condition, what it does to a face, and way, of every row."""


def planned(ways: Sequence[Way], setting: Setting) -> Plan:
    """The rows of an evaluation."""
    conditions = setting.conditions().items()
    return [(name, degradation, way) for name, degradation in conditions for way in _ways_at(name, ways, setting)]


class MadeProbes:
    """Embeddings and fidelity of the probes, by condition and way."""

    def __init__(self, comparison: Comparison, plan: Plan, judge: Judge, setting: Setting) -> None:
        self.comparison, self.plan, self.judge, self.setting = comparison, plan, judge, setting
        self._numbers = numbers(comparison.probe)
        self._embeddings: dict[tuple[str, str], list[NDArray[np.float32]]] = {}
        self._fidelity: dict[tuple[str, str], dict[str, list[NDArray[np.floating]]]] = {}

    def add(self, first: int, faces: Tensor, whole: NDArray[np.float32], points: Tensor | None = None) -> None:
        """One block of probes, of which `first` is the first, at full size, and their embeddings.

        points: (B, 5, 2) px of the faces, where a way asks for them.
        """
        of_block = self._numbers[first : first + len(faces)]
        shape = self.setting.shape
        sharp = _Sharp(faces, whole, None if shape is None else shape.estimate(faces))
        sources: dict[str, tuple[Tensor, Tensor | None]] = {}
        for condition, degradation, way in self.plan:
            if condition not in sources:
                source = degradation.apply(faces, of_block)
                sources = {condition: (source, in_source(points, faces, source))}  # of one condition at a time
            self._add(condition, way, *sources[condition], sharp)

    def embeddings(self, condition: str, way: Way) -> NDArray[np.float32]:
        """Of all probes: (num_probes, D)."""
        return np.concatenate(self._embeddings[condition, way.name])

    def figures(self, condition: str, way: Way) -> dict[str, Figure]:
        """How near what was made is to the sharp faces; none at full size."""
        if condition == FULL_SIZE:
            return {}
        found = {
            name: self.comparison.mean_over_probes(np.concatenate(values))
            for name, values in self._fidelity[condition, way.name].items()
        }
        whole = self.embeddings(FULL_SIZE, AS_IT_IS)
        if len(whole) > 1:
            distance = fidelity.frechet_distance(self.embeddings(condition, way), whole)
            found["frechet"] = Figure(distance)
        return found

    def _add(self, condition: str, way: Way, source: Tensor, points: Tensor | None, sharp: "_Sharp") -> None:
        key = (condition, way.name)
        if way is AS_IT_IS or way.side == "gallery":
            self._embeddings.setdefault(key, []).append(sharp.embeddings)
            return
        made = way.made(source, points)
        embeddings = self.judge.embed_made(made, way, source, self.setting.crop, points)
        self._embeddings.setdefault(key, []).append(embeddings)
        if condition == FULL_SIZE:
            return
        for name, values in self._nearness(made, embeddings, sharp).items():
            self._fidelity.setdefault(key, {}).setdefault(name, []).append(values)

    def _nearness(
        self, made: Tensor, embeddings: NDArray[np.float32], sharp: "_Sharp"
    ) -> dict[str, NDArray[np.floating]]:
        """Figures of each face, by the names that METRICS gives them."""
        shape = self.setting.shape
        of_shape = {}
        if shape is not None and sharp.shape is not None:
            of_shape = face_shape.errors(shape, made, sharp.faces, *sharp.shape)
        return {
            "psnr": np.asarray(fidelity.psnr(made, sharp.faces)),
            "ssim": np.asarray(fidelity.ssim(made, sharp.faces)),
            "psnr_rgb": np.asarray(fidelity.psnr(made, sharp.faces, "rgb", "down")),
            "ssim_rgb": np.asarray(fidelity.ssim_uniform(made, sharp.faces)),
            **of_shape,
            "identity_similarity": np.asarray(fidelity.identity_similarity(embeddings, sharp.embeddings)),
        }


def in_source(points: Tensor | None, sharp: Tensor, source: Tensor) -> Tensor | None:
    """Points of sharp faces in what they were reduced to."""
    if points is None or sharp.shape == source.shape:
        return points
    return resized_points(points, (sharp.shape[-2], sharp.shape[-1]), (source.shape[-2], source.shape[-1]))


@dataclass(frozen=True)
class _Sharp:
    """A block of probes before they were degraded, and what is known of it."""

    faces: Tensor
    embeddings: NDArray[np.float32]
    shape: tuple[Tensor, Tensor | None] | None


def _ways_at(condition: str, ways: Sequence[Way], setting: Setting) -> list[Way]:
    """At full size nothing has to be enlarged; methods come in there only where nothing is reduced.

    Probes alone are reduced: whoever makes the gallery's faces has nothing to do with sizes.
    """
    if condition != FULL_SIZE:
        return [way for way in ways if way.side == "probe"]
    return [AS_IT_IS, *(way for way in ways if way.generated and not setting.sizes)]
