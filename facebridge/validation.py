"""Held-out people judged while training goes on: is the person kept, and do the faces lie where real ones do?"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facebridge import recognisers
from facebridge.data.batches import Ahead, Batches, Report
from facebridge.data.faces import Faces, ListedFaces, faces_of
from facebridge.data.samplers.choosing import sampler_of
from facebridge.evaluation import fidelity
from facebridge.hallucination import reduce
from facebridge.method import Batch, HallucinationMethod
from facebridge.pose import resized_points
from facebridge.recipe import Recipe
from facebridge.streamline import streamline

TOGETHER = 16
"""Pairs that are held in memory and generated at a time."""

Generate = Callable[..., Tensor]
"""Source faces (B, 3, h, w) -> generated faces (B, 3, crop.height, crop.width), both float32 in [0, 1], on the CPU.

For a method that wants five points, those of the sources (B, 5, 2) px come second."""

Embeddings = NDArray[np.float32]


@dataclass(frozen=True)
class Figures:
    """What a recogniser says of generated faces."""

    identity_similarity: float
    """Mean cosine between a generated face and its target; 1: the person is kept."""
    other_similarity: float
    """Mean cosine between a generated face and the targets of other people; near the above: everybody looks alike."""
    frechet_distance: float
    """Between the embeddings of all generated faces and of all targets, each taken as a Gaussian."""

    @property
    def combined(self) -> float:
        """What the best weights have least of: (1 - identity_similarity) * frechet_distance.

        A product has no scale: to lose a tenth of either factor counts the same, whatever the recogniser's units.
        """
        return (1 - self.identity_similarity) * self.frechet_distance

    def as_dict(self) -> dict[str, float]:
        """The figures by their names, `combined` among them."""
        return {**asdict(self), "combined": self.combined}


def figures(generated: Embeddings, target: Embeddings, people: NDArray[np.int64]) -> Figures:
    """Judge generated faces by their embeddings.

    Args:
        generated, target: (N, D), of unit length, row by row of one pair.
        people: (N,) who the pair shows.

    Raises:
        ValueError: if there are fewer than two pairs, all show one person, or an embedding is zero or not finite.
    """
    others = people[:, None] != people[None, :]
    if not others.any():
        raise ValueError(f"{len(people)} pairs show one person only: validate on two people or more")
    cosines = np.asarray(generated, np.float64) @ np.asarray(target, np.float64).T
    return Figures(
        float(fidelity.identity_similarity(generated, target).mean()),
        float(cosines[others].mean()),
        fidelity.frechet_distance(generated, target),
    )


class HeldOut:
    """The pairs of a recipe's section [validation], the same at every validation, and the recogniser that judges them.

    Their order is decided by the recipe's seed; no face is mirrored. Targets are embedded once, here.

    Args:
        recipe: one that has the section.
        method: what will generate. Where the pairs have no sources, targets are reduced to the smallest size that it
            was trained to take.
        device: where the recogniser computes.
        report: told of each bad picture; the next pair of the order takes the place of its.
        faces: the held-out faces; absent: those that the section names.

    Raises:
        ValueError: if the faces cannot be found, make fewer pairs than asked for, have no sources, or show one person.
    """

    def __init__(
        self,
        recipe: Recipe,
        method: HallucinationMethod[Any],
        device: torch.device,
        *,
        report: Report = lambda bad: None,
        faces: Faces | None = None,
    ) -> None:
        settings = recipe.validation
        assert settings is not None, "only for recipes that ask for validation"
        self.num_pairs = settings.pairs
        self.crop = method.crop
        self.source_size = min(method.source_sizes())
        self.device = device
        self._batches = _pairs(recipe, faces, method, report)
        if not self._batches.sampler.num_sources and self.source_size == (self.crop.height, self.crop.width):
            raise ValueError(
                f"validation.data has no sources for {recipe.method}: give it a pairing, such as same_person from nir "
                "to vis"
            )
        wanted = settings.recogniser
        with torch.random.fork_rng(devices=[]):  # training must draw the same numbers with and without
            torch.manual_seed(recipe.seed)
            self.judge = recognisers.load(wanted.name, weights=wanted.weights, **wanted.sizes)
        streamline(self.judge)
        self.judge.to(device)
        self.targets, self.people = self._embedded_targets()

    def figures(self, generate: Generate) -> Figures:
        """Generate the sources of all pairs and judge the faces.

        Raises:
            ValueError: if the recogniser has no embedding for a generated face.
        """
        embedded = [self._embed(generate(*self._given(batch))) for batch in self._in_turn()]
        return figures(np.concatenate(embedded), self.targets, self.people)

    def first(self, count: int) -> Batch:
        """The first pairs, to look at."""
        return self._together(range(min(count, self.num_pairs)))

    @property
    def faces(self) -> Faces:
        """All held-out faces."""
        return self._batches.faces

    def _embedded_targets(self) -> tuple[Embeddings, NDArray[np.int64]]:
        targets, people = [], []
        for batch in self._in_turn():
            targets.append(self._embed(batch["target"]))
            people.append(batch["target_identity"].numpy())
        found = np.concatenate(people)
        if len(np.unique(found)) < 2:
            raise ValueError(f"the {self.num_pairs} pairs of validation.data show one person only: give two or more")
        return np.concatenate(targets), found

    def _in_turn(self) -> Iterator[Batch]:
        """All pairs, a few at a time; the next ones are read meanwhile."""
        starts = range(0, self.num_pairs, TOGETHER)
        groups = [range(start, min(start + TOGETHER, self.num_pairs)) for start in starts]
        for _, batch in Ahead(lambda number: self._together(groups[number]), 0, len(groups)):
            yield batch

    def _together(self, places: range) -> Batch:
        found = [self._batches(place) for place in places]
        return {name: torch.cat([batch[name] for batch in found]) for name in found[0]}

    def _given(self, batch: Batch) -> tuple[Tensor, ...]:
        """Sources, and where batches hold them their points."""
        if "source" in batch:
            return (batch["source"], *([batch["source_points5"]] if "source_points5" in batch else []))
        faces = batch["target"]
        small = reduce(faces, *self.source_size)
        if "target_points5" not in batch:
            return (small,)
        return small, resized_points(batch["target_points5"], (faces.shape[-2], faces.shape[-1]), self.source_size)

    @torch.no_grad()
    def _embed(self, faces: Tensor) -> Embeddings:
        embeddings: Embeddings = self.judge.embed(faces.to(self.device), self.crop).cpu().numpy()
        return embeddings


def people_in_both(held_out: Faces, training: Faces) -> list[str]:
    """Names of people whom two face lists share; none where faces come from elsewhere."""
    if not isinstance(held_out, ListedFaces) or not isinstance(training, ListedFaces):
        return []
    names: list[str] = np.intersect1d(held_out.column("identity"), training.column("identity")).tolist()
    return names


def _pairs(recipe: Recipe, faces: Faces | None, method: HallucinationMethod[Any], report: Report) -> Batches:
    """One pair a step, in the order that the recipe's seed decides."""
    settings = recipe.validation
    assert settings is not None
    held_out = recipe.model_copy(update={"data": settings.data})
    faces = faces_of(held_out) if faces is None else faces
    sampler = sampler_of(held_out, faces)
    if len(sampler) < settings.pairs:
        raise ValueError(
            f"validation.data makes {len(sampler)} pairs, fewer than validation.pairs={settings.pairs}: lower it, or "
            "give more faces"
        )
    return Batches(
        faces,
        1,
        recipe.seed,
        sampler=sampler,
        mirror=False,
        points=method.wants_points,
        five_points=method.wants_five_points,
        yaw=method.wants_yaw,
        parsing=method.wants_parsing,
        report=report,
    )
