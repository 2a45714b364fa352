"""How sampled people lie beside real ones: lengths, nearest neighbours, diversity. Pure functions of embeddings.

What a sampler of identities should share with real people: embeddings of length 1; the nearest other person as far away
as among real people (nearer: everybody looks alike; further: nobody looks like a person); a nearest real person who is
no copy; and many distinct people.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facebridge.evaluation.matching import unit_rows

Embeddings = NDArray[np.floating]

QUANTILES = (0.05, 0.5, 0.95)
"""Of the distributions that `identity_spread` tells."""

BLOCK = 1024
"""Rows that are compared at a time: 1024 x 10,000 cosines are 40 MB."""


@dataclass(frozen=True)
class IdentitySpread:
    """Sampled people beside real ones; distributions as their `QUANTILES`."""

    num_samples: int
    num_real: int
    lengths: tuple[float, float]
    """The shortest and the longest sampled embedding."""
    nearest_real: tuple[float, ...]
    """Cosine of a sample with the nearest real person."""
    nearest_sample: tuple[float, ...]
    """Cosine of a sample with the nearest other one."""
    nearest_among_real: tuple[float, ...]
    """Cosine of a real person with the nearest other one; of as many as there are samples, where there are more."""
    mean_cosine: float
    """Of all pairs of samples."""
    mean_cosine_real: float
    """Of all pairs of real people."""
    threshold: float
    num_distinct: int
    """How many different people the samples show at the threshold; see `num_distinct`."""
    num_distinct_real: int
    """The same of the real people."""


def identity_spread(samples: Embeddings, real: Embeddings, threshold: float) -> IdentitySpread:
    """Compare sampled with real embeddings.

    The nearest of many is nearer than the nearest of few: the larger of the two sets is cut to the size of the smaller
    one where neighbours within each are compared, so give rows in no special order.

    Args:
        samples: (N, D), N >= 2.
        real: (M, D), M >= 2: one embedding of each person.
        threshold: cosine from which two faces count as one person, such as the recogniser's at FAR 0.1 %.

    Raises:
        ValueError: if a set has fewer than two rows, sizes differ, or an embedding is zero or not finite.
    """
    if np.ndim(samples) != 2 or np.ndim(real) != 2 or min(len(samples), len(real)) < 2:
        raise ValueError(f"need two sets (N >= 2, D); got {np.shape(samples)} and {np.shape(real)}")
    lengths = np.linalg.norm(np.asarray(samples, np.float64), axis=1)
    alike = min(len(samples), len(real))
    return IdentitySpread(
        num_samples=len(samples),
        num_real=len(real),
        lengths=(float(lengths.min()), float(lengths.max())),
        nearest_real=_quantiles(nearest(samples, real)),
        nearest_sample=_quantiles(nearest_other(samples[:alike])),
        nearest_among_real=_quantiles(nearest_other(real[:alike])),
        mean_cosine=mean_cosine(samples),
        mean_cosine_real=mean_cosine(real),
        threshold=threshold,
        num_distinct=num_distinct(samples, threshold),
        num_distinct_real=num_distinct(real, threshold),
    )


def nearest(embeddings: Embeddings, others: Embeddings) -> NDArray[np.float32]:
    """Cosine of each row with the nearest of the others: (N, D), (M, D) -> (N,).

    ValueError: if sizes differ, there are no others, or an embedding is zero or not finite; it names the row.
    """
    if np.ndim(embeddings) != 2 or np.ndim(others) != 2 or np.shape(embeddings)[1] != np.shape(others)[1]:
        raise ValueError(f"need two sets (N, D) of one D; got {np.shape(embeddings)} and {np.shape(others)}")
    if not len(others):
        raise ValueError("there are no others to be near to")
    units = unit_rows(others, "other")
    found = np.empty(len(embeddings), np.float32)
    for rows in _blocks(len(embeddings)):
        found[rows] = (unit_rows(embeddings, "probe", rows) @ units.T).max(1)
    return found


def nearest_other(embeddings: Embeddings) -> NDArray[np.float32]:
    """Cosine of each row with the nearest other row: (N, D), N >= 2 -> (N,).

    ValueError: if there are fewer than two, or one is zero or not finite; it names the row.
    """
    if np.ndim(embeddings) != 2 or len(embeddings) < 2:
        raise ValueError(f"need embeddings (N >= 2, D); got {np.shape(embeddings)}")
    units = unit_rows(embeddings, "sampled")
    found = np.empty(len(units), np.float32)
    for rows in _blocks(len(units)):
        cosines = units[rows] @ units.T
        cosines[np.arange(len(cosines)), np.arange(rows.start, rows.start + len(cosines))] = -np.inf
        found[rows] = cosines.max(1)
    return found


def mean_cosine(embeddings: Embeddings) -> float:
    """Mean cosine of all pairs of different rows: (N, D), N >= 2.

    From the length of the sum, in which every pair occurs twice and every row once with itself.
    ValueError: if there are fewer than two, or one is zero or not finite; it names the row.
    """
    if np.ndim(embeddings) != 2 or len(embeddings) < 2:
        raise ValueError(f"need embeddings (N >= 2, D); got {np.shape(embeddings)}")
    units = unit_rows(embeddings, "sampled").astype(np.float64)
    count = len(units)
    return float((np.square(units.sum(0)).sum() - np.square(units).sum()) / (count * (count - 1)))


def num_distinct(embeddings: Embeddings, threshold: float) -> int:
    """How many different people rows (N, D) show.

    In their order, a row counts as a new person if its cosine with every row that counted before is below the
    threshold.

    ValueError: if an embedding is zero or not finite; it names the row.
    """
    if np.ndim(embeddings) != 2:
        raise ValueError(f"need embeddings (N, D); got {np.shape(embeddings)}")
    kept = np.empty((len(embeddings), np.shape(embeddings)[1]), np.float32)
    count = 0
    for rows in _blocks(len(embeddings)):
        units = unit_rows(embeddings, "sampled", rows)
        if count:
            units = units[(units @ kept[:count].T).max(1) < threshold]
        new = _new_rows(units @ units.T < threshold)
        kept[count : count + len(new)] = units[new]
        count += len(new)
    return count


def _new_rows(apart: NDArray[np.bool_]) -> list[int]:
    """Rows that are apart from every earlier row of the found ones; (n, n), which rows are apart."""
    possible = np.ones(len(apart), np.bool_)
    found = []
    for row in range(len(apart)):
        if possible[row]:
            found.append(row)
            possible &= apart[row]
    return found


def _blocks(count: int) -> list[slice]:
    return [slice(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)]


def _quantiles(values: NDArray[np.float32]) -> tuple[float, ...]:
    return tuple(float(value) for value in np.quantile(values.astype(np.float64), QUANTILES))
