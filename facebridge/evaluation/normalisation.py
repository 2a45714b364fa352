"""Score normalisation: a score measured by how each of the two faces scores against other people, the cohort.

With mean m and standard deviation d of a face's scores against the cohort, a score s of a probe and a gallery face is

    z:  (s - m_gallery) / d_gallery        (Li and Porter 1988)
    t:  (s - m_probe) / d_probe            (Auckenthaler, Carey and Lloyd-Thomas 2000)
    s:  (z + t) / 2                        (Kenny 2010)

With `top` the mean and the deviation are those of the highest scores against the cohort alone: of s this is the
adaptive s-norm (Cumani et al. 2011; each side has its own most alike cohort). Normalised scores are no cosines: about 0
for two strangers, in standard deviations.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from facebridge.evaluation import matching
from facebridge.evaluation.matching import Embeddings

Kind = Literal["z", "t", "s"]

ROWS_PER_BLOCK = 1024


@dataclass(frozen=True)
class FaceStatistics:
    """How faces score against the cohort: mean and standard deviation, (num_faces,) each."""

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]

    def take(self, rows: NDArray[np.int64] | slice) -> "FaceStatistics":
        """Those of some faces."""
        return FaceStatistics(self.mean[rows], self.deviation[rows])


@dataclass(frozen=True, eq=False)
class ScoreNormalisation:
    """A kind of normalisation with its cohort.

    kind: z, t or s. cohort: (num_cohort, D) embeddings of people who are neither in the test nor among those to be
    recognised, best one face of each (`refuse_shared`). top: how many of the highest cohort scores of a face count;
    None: all.

    ValueError: if the kind is unknown, an embedding is zero or not finite, or fewer than two cohort scores count.
    """

    kind: Kind
    cohort: Embeddings = field(repr=False)
    top: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"normalisation is {self.kind!r}; expected one of {', '.join(get_args(Kind))}")
        if np.ndim(self.cohort) != 2 or len(self.cohort) < 2:
            raise ValueError(f"a cohort is (num_cohort, D) with two faces or more; got {np.shape(self.cohort)}")
        if self.top is not None and not 2 <= self.top <= len(self.cohort):
            raise ValueError(
                f"top is {self.top}; of a cohort of {len(self.cohort)} faces 2 to {len(self.cohort)} count"
            )
        matching.unit_rows(self.cohort, "cohort")  # a bad embedding is named now
        object.__setattr__(self, "cohort", np.array(self.cohort, np.float32))

    def apply(
        self,
        scores: NDArray[np.floating],
        probe: Embeddings,
        gallery: Embeddings,
        pairs: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
    ) -> NDArray[np.float32]:
        """Normalise scores of probes with gallery faces.

        Args:
            scores: (num_probes, num_gallery), or with `pairs` (num_pairs,).
            probe, gallery: embeddings (num, D), each face once.
            pairs: rows of `probe` and rows of `gallery` that each score is of.

        Raises:
            ValueError: if shapes do not fit, or a face scores alike with the whole cohort.
        """
        of_probe, of_gallery = self.statistics(probe, "probe"), self.statistics(gallery, "gallery")
        if pairs is not None:
            return normalised(self.kind, scores, of_probe.take(pairs[0]), of_gallery.take(pairs[1]))
        if np.shape(scores) != (len(probe), len(gallery)):
            raise ValueError(f"scores are {np.shape(scores)}; the faces need {(len(probe), len(gallery))}")
        return normalised(self.kind, scores, *grid(of_probe, of_gallery))

    def statistics(self, embeddings: Embeddings, name: str = "face") -> FaceStatistics:
        """How faces (num, D) score against the cohort; holds one block of scores.

        ValueError: if D differs from the cohort's, or a face scores alike with everyone who counts; it names the row.
        """
        if np.ndim(embeddings) != 2 or np.shape(embeddings)[1] != self.cohort.shape[1]:
            raise ValueError(f"{name} embeddings are {np.shape(embeddings)}; the cohort has D = {self.cohort.shape[1]}")
        found = [np.empty((2, 0), np.float32)]
        for start in range(0, len(embeddings), ROWS_PER_BLOCK):
            scores = matching.scores(embeddings[start : start + ROWS_PER_BLOCK], self.cohort)
            if self.top is not None and self.top < len(self.cohort):
                scores = np.partition(scores, -self.top, axis=1)[:, -self.top :]
            found.append(np.stack([scores.mean(1), scores.std(1)]))
        mean, deviation = np.concatenate(found, axis=1)
        if (deviation < SMALLEST_DEVIATION).any():
            row = int((deviation < SMALLEST_DEVIATION).argmax())
            raise ValueError(f"{name} {row} scores alike with all of the cohort; expected faces of different people")
        return FaceStatistics(mean, deviation)


def normalised(
    kind: Kind, scores: NDArray[np.floating], probe: FaceStatistics, gallery: FaceStatistics
) -> NDArray[np.float32]:
    """Scores by statistics of their two faces; those broadcast against the scores (see `grid`)."""
    z = (scores - gallery.mean) / gallery.deviation if kind != "t" else None
    t = (scores - probe.mean) / probe.deviation if kind != "z" else None
    if z is None or t is None:
        return np.asarray(t if z is None else z, np.float32)
    return np.asarray((z + t) / 2, np.float32)


def grid(rows: FaceStatistics, columns: FaceStatistics) -> tuple[FaceStatistics, FaceStatistics]:
    """Statistics of faces that broadcast against a matrix of scores: those of its rows, and those of its columns."""
    of_rows = FaceStatistics(rows.mean[:, None], rows.deviation[:, None])
    return of_rows, FaceStatistics(columns.mean[None], columns.deviation[None])


def refuse_shared(cohort_identities: Sequence[str], tested_identities: Sequence[str]) -> None:
    """Check that nobody of the cohort is tested: a genuine pair would be normalised by scores with itself.

    ValueError: if some are; names the first and counts all.
    """
    shared = sorted(set(cohort_identities) & set(tested_identities))
    if shared:
        people = "identity is" if len(shared) == 1 else "identities are"
        raise ValueError(
            f"{len(shared):,} {people} in the cohort and in the test, the first: {shared[0]}; "
            "a cohort is of other people"
        )


SMALLEST_DEVIATION = 1e-6
"""Below this the spread of cosines is rounding."""
