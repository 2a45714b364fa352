"""Identification: whether the best-scoring enrolled identity is the right one.

Identities are ranked by the best score among their gallery pictures. Of equal scores the one that stands first in the
gallery wins, as `numpy.argmax` has it; constant scores therefore find 1 in (number of identities), not all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

ROWS_PER_BLOCK = 256
CMC_LENGTH = 50

Identities = Sequence[str] | Sequence[int] | NDArray[Any]


@dataclass(frozen=True)
class Identification:
    """Figures of an identification."""

    rank1: float
    """Share of mated probes whose best gallery picture shows the right identity."""
    cmc: tuple[float, ...]
    """Share of mated probes whose identity is among the first 1, 2, 3 ... ranked identities."""
    num_mated: int
    """Probes whose identity is enrolled: the ones counted."""
    num_unmated: int
    """Probes whose identity is not enrolled (open set): not counted in any share."""
    num_identities: int
    """Identities in the gallery."""
    mated: NDArray[np.bool_] = field(repr=False, compare=False)
    """(num_probes,): which probes are counted."""
    found: NDArray[np.bool_] = field(repr=False, compare=False)
    """(num_mated,): which of those are found at rank 1."""


def identification(
    scores: ArrayLike, probe_ids: Identities, gallery_ids: Identities, cmc_length: int = CMC_LENGTH
) -> Identification:
    """Rank-1 rate and cumulative match characteristic.

    scores: (num_probes, num_gallery), higher is more alike. Several gallery pictures per identity are allowed.

    ValueError: if the shape does not fit the identities, a score is not finite, names and numbers are mixed as
    identities, or no probe has a mate in the gallery.
    """
    matrix = np.asarray(scores)
    probe, gallery = codes(probe_ids, gallery_ids)
    if matrix.shape != (len(probe), len(gallery)):
        raise ValueError(
            f"scores are {matrix.shape}; {len(probe)} probes and {len(gallery)} gallery pictures need "
            f"({len(probe)}, {len(gallery)})"
        )
    if not np.isfinite(matrix).all():
        row, column = np.argwhere(~np.isfinite(matrix))[0]
        raise ValueError(f"the score of probe {row} and gallery picture {column} is {matrix[row, column]}")
    mated = np.isin(probe, gallery)
    counted = np.flatnonzero(mated)
    places = np.empty(len(counted), np.int64)
    for start in range(0, len(counted), ROWS_PER_BLOCK):
        rows = counted[start : start + ROWS_PER_BLOCK]
        places[start : start + ROWS_PER_BLOCK] = ranks(matrix[rows], probe[rows], gallery)
    return from_ranks(places, mated, len(np.unique(gallery)), cmc_length)


def ranks(scores: NDArray[Any], probe: NDArray[np.int64], gallery: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many identities stand before the right one, for probes that all have a mate: (num_probes,), 0 is found."""
    own = np.where(probe[:, None] == gallery, scores, -np.inf)
    first = own.argmax(axis=1, keepdims=True)
    best = np.take_along_axis(scores, first, axis=1)
    before = (scores > best) | ((scores == best) & (np.arange(len(gallery)) < first))
    order = np.argsort(gallery, kind="stable")
    starts = np.flatnonzero(np.diff(gallery[order], prepend=-1))
    if len(starts) < len(gallery):  # an identity counts once, however many of its pictures stand before
        before = np.logical_or.reduceat(before[:, order], starts, axis=1)
    return np.asarray(before.sum(axis=1), np.int64)


def from_ranks(
    places: NDArray[np.int64], mated: NDArray[np.bool_], num_identities: int, cmc_length: int = CMC_LENGTH
) -> Identification:
    """Gather the ranks (0 is found) of all mated probes; mated: (num_probes,). ValueError: if there are none."""
    if len(places) == 0:
        raise ValueError("no probe has a mate: none of the probes' identities is in the gallery")
    if cmc_length < 1:
        raise ValueError(f"cmc_length must be at least 1; got {cmc_length}")
    counts = np.bincount(places, minlength=num_identities)
    cmc = np.cumsum(counts)[:cmc_length] / len(places)
    return Identification(
        rank1=float(cmc[0]),
        cmc=tuple(cmc.tolist()),
        num_mated=len(places),
        num_unmated=len(mated) - len(places),
        num_identities=num_identities,
        mated=mated,
        found=places == 0,
    )


def codes(probe_ids: Identities, gallery_ids: Identities) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number identities 0, 1, 2 ... in common for both sides. ValueError: if names and numbers are mixed."""
    sides = [_as_array(probe_ids, "probe_ids"), _as_array(gallery_ids, "gallery_ids")]
    kinds = ["names" if side.dtype.kind == "U" else "numbers" for side in sides if len(side)]
    if len(set(kinds)) > 1:
        raise ValueError(f"probe identities are {kinds[0]} but gallery identities are {kinds[1]}; use one of the two")
    filled = [side for side in sides if len(side)]
    numbers = np.unique(np.concatenate(filled), return_inverse=True)[1] if filled else np.empty(0)
    numbers = numbers.astype(np.int64)
    return numbers[: len(sides[0])], numbers[len(sides[0]) :]


def _as_array(identities: Identities, name: str) -> NDArray[Any]:
    if not isinstance(identities, np.ndarray) or identities.dtype.kind in "OT":  # objects, strings of any length
        if len({isinstance(identity, str) for identity in identities}) > 1:
            raise ValueError(f"{name} mixes names and numbers; use one of the two")
        identities = np.array(list(identities))
    if identities.ndim != 1 or (identities.dtype.kind not in "Uiu" and len(identities)):
        raise ValueError(f"{name} must be a list of names or of whole numbers")
    return identities
