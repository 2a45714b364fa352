"""Matching: embeddings in, scores or the figures made of them out.

`scores` gives every score and suits thousands of faces; `match` never holds more than one tile of scores and suits
hundreds of thousands. Both are exact: float32 products, no approximate search.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from facebridge.evaluation.identify import CMC_LENGTH, Identification, Identities, codes, from_ranks, ranks
from facebridge.evaluation.verify import FALSE_ACCEPT_RATES, Verification, num_allowed, operating_points

Embeddings = NDArray[np.floating]

TILE = (1024, 8192)
"""Probes and gallery pictures per product: 32 MB of scores."""
SAMPLE_SIDE = 1500
SAMPLE_MARGIN = 1.25
SCORES_PER_RANKING = 2**23
ALL_ROWS = slice(None)


@dataclass(frozen=True)
class Match:
    """What `match` found. The verification's `eer` and `auc` are None: they need all scores, only the top is kept."""

    identification: Identification
    verification: Verification


def match(
    probe: Embeddings,
    gallery: Embeddings,
    probe_ids: Identities,
    gallery_ids: Identities,
    far: Sequence[float] = FALSE_ACCEPT_RATES,
    cmc_length: int = CMC_LENGTH,
    tile: tuple[int, int] = TILE,
) -> Match:
    """Compare every probe with every gallery picture by cosine: the figures of `identification` and `verification`.

    probe: (num_probes, D), gallery: (num_gallery, D), any length of rows. Beyond the embeddings it takes one tile, 4
    bytes per genuine pair and about 8 bytes x the largest rate x impostor pairs; ranking probes that are not found at
    rank 1 takes one float32 copy of the gallery.

    ValueError: if an embedding is zero or not finite (it names the row), sizes do not fit, no probe has a mate, or
    there is no impostor pair.
    """
    pairs = _Pairs.of(probe, gallery, probe_ids, gallery_ids, far)
    scan = _Scan(pairs, tile, bound=_sampled_bound(pairs)).run()
    if scan.tail.size < pairs.tail_size:  # the sample's bound was too high for the whole
        scan = _Scan(pairs, tile, bound=-inf).run()
    points = operating_points(scan.genuine, scan.tail.values, pairs.num_impostors, far)
    found = Verification(points, pairs.num_genuine, pairs.num_impostors)
    return Match(_identification(pairs, scan, cmc_length), found)


def scores(probe: Embeddings, gallery: Embeddings) -> NDArray[np.float32]:
    """Cosine of every probe with every gallery picture: (num_probes, D), (num_gallery, D) -> (num_probes, num_gallery).

    ValueError: if D differs, or an embedding is zero or not finite; it names the row.
    """
    _check_sizes(probe, gallery)
    units = torch.from_numpy(unit_rows(gallery, "gallery")).T
    return torch.mm(torch.from_numpy(unit_rows(probe, "probe")), units).numpy()


def pair_scores(first: Embeddings, second: Embeddings) -> NDArray[np.float32]:
    """Cosine of each row of `first` with the same row of `second`: (num_pairs, D) twice -> (num_pairs,).

    ValueError: if the shapes differ, or an embedding is zero or not finite; it names the row.
    """
    if np.shape(first) != np.shape(second):
        raise ValueError(f"both sides need as many embeddings; got {np.shape(first)} and {np.shape(second)}")
    return np.asarray(np.einsum("nd,nd->n", unit_rows(first, "first"), unit_rows(second, "second")))


def fuse(original: ArrayLike, generated: ArrayLike) -> NDArray[np.floating]:
    """Fused scores: the mean of the scores of the original and of the generated face (Yin et al. 2017; PCFH does so).

    ValueError: if the shapes differ.
    """
    first, second = np.asarray(original), np.asarray(generated)
    if first.shape != second.shape:
        raise ValueError(f"original and generated scores must have one shape; got {first.shape} and {second.shape}")
    return np.asarray((first + second) / 2)


def genuine_pairs(probe_ids: Identities, gallery_ids: Identities) -> NDArray[np.bool_]:
    """Which scores are of one person: (num_probes, num_gallery), for `verification`."""
    probe, gallery = codes(probe_ids, gallery_ids)
    return np.asarray(probe[:, None] == gallery)


def unit_rows(embeddings: Embeddings, name: str, which: slice | NDArray[np.int64] = ALL_ROWS) -> NDArray[np.float32]:
    """A float32 copy of these rows, each of length 1. ValueError: if one is zero or not finite; it names the row."""
    rows = np.array(embeddings[which], dtype=np.float32)
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
    bad = ~np.isfinite(lengths) | (lengths == 0)
    if bad.any():
        raise ValueError(f"{name} embedding {np.arange(len(embeddings))[which][bad][0]} is zero or not finite")
    rows /= lengths[:, None]
    return rows


@dataclass(frozen=True)
class _Pairs:
    """What is compared; identities as numbers."""

    probe: Embeddings
    gallery: Embeddings
    probe_codes: NDArray[np.int64]
    gallery_codes: NDArray[np.int64]
    num_genuine: int
    num_impostors: int
    tail_size: int
    """How many of the highest impostor scores the operating points need."""

    @classmethod
    def of(
        cls,
        probe: Embeddings,
        gallery: Embeddings,
        probe_ids: Identities,
        gallery_ids: Identities,
        far: Sequence[float],
    ) -> "_Pairs":
        _check_sizes(probe, gallery)
        probe_codes, gallery_codes = codes(probe_ids, gallery_ids)
        if (len(probe_codes), len(gallery_codes)) != (len(probe), len(gallery)):
            raise ValueError(
                f"{len(probe)} probe and {len(gallery)} gallery embeddings have {len(probe_codes)} and "
                f"{len(gallery_codes)} identities"
            )
        size = 1 + max(probe_codes.max(initial=0), gallery_codes.max(initial=0))
        num_genuine = int(np.bincount(probe_codes, minlength=size) @ np.bincount(gallery_codes, minlength=size))
        num_impostors = len(probe) * len(gallery) - num_genuine
        if num_genuine == 0:
            raise ValueError("no probe has a mate: none of the probes' identities is in the gallery")
        if num_impostors == 0:
            raise ValueError("there are no impostor pairs: all faces are of one identity")
        tail_size = min(num_allowed(max(far), num_impostors) + 1, num_impostors)
        return cls(probe, gallery, probe_codes, gallery_codes, num_genuine, num_impostors, tail_size)


class _Tail:
    """The `capacity` highest values of a stream; after each overflow `bound` is the lowest that still counts."""

    def __init__(self, capacity: int, largest_batch: int, bound: float) -> None:
        self.capacity, self.bound, self.size = capacity, bound, 0
        self._buffer = np.empty(2 * capacity + largest_batch, np.float32)

    @property
    def values(self) -> NDArray[np.float32]:
        return self._buffer[: self.size]

    def add(self, values: NDArray[np.float32]) -> None:
        self._buffer[self.size : self.size + len(values)] = values
        self.size += len(values)
        if self.size > 2 * self.capacity:
            surplus = self.size - self.capacity
            self.values.partition(surplus)
            self._buffer[: self.capacity] = self._buffer[surplus : self.size]
            self.size = self.capacity
            self.bound = float(self.values.min())


class _Scan:
    """One walk over all tiles of the score matrix; every large buffer is made once."""

    def __init__(self, pairs: _Pairs, tile: tuple[int, int], bound: float) -> None:
        self.pairs = pairs
        self.tile_rows, self.tile_columns = min(tile[0], len(pairs.probe)), min(tile[1], len(pairs.gallery))
        # New tiles for every step fragment the heap without end; these two are used again and again.
        self._scores = torch.empty(self.tile_rows * self.tile_columns)
        self._above = np.empty(self.tile_rows * self.tile_columns, np.bool_)
        self.tail = _Tail(pairs.tail_size, len(self._above), bound)
        self.genuine = np.empty(pairs.num_genuine, np.float32)
        self._num_genuine_seen = 0
        self.best_genuine = np.full(len(pairs.probe), -inf, np.float32)
        self.best_impostor = np.full(len(pairs.probe), -inf, np.float32)

    def run(self) -> "_Scan":
        pairs = self.pairs
        for column in range(0, len(pairs.gallery), self.tile_columns):
            columns = slice(column, column + self.tile_columns)
            gallery = torch.from_numpy(unit_rows(pairs.gallery, "gallery", columns))
            order = np.argsort(pairs.gallery_codes[columns], kind="stable")
            for row in range(0, len(pairs.probe), self.tile_rows):
                rows = slice(row, row + self.tile_rows)
                probe = torch.from_numpy(unit_rows(pairs.probe, "probe", rows))
                tile = self._scores[: len(probe) * len(gallery)].view(len(probe), len(gallery))
                torch.mm(probe, gallery.T, out=tile)
                self._take_genuine(tile, rows, _mates(pairs.probe_codes[rows], pairs.gallery_codes[columns], order))
                self._take_impostors(tile, rows)
        return self

    def _take_genuine(
        self, tile: torch.Tensor, rows: slice, mates: tuple[NDArray[np.int64], NDArray[np.int64]]
    ) -> None:
        """Keep the genuine scores and blot them out, so that what is left are impostor scores."""
        values = tile.numpy()
        found = values[mates]
        values[mates] = -inf
        np.maximum.at(self.best_genuine[rows], mates[0], found)
        self.genuine[self._num_genuine_seen : self._num_genuine_seen + len(found)] = found
        self._num_genuine_seen += len(found)

    def _take_impostors(self, tile: torch.Tensor, rows: slice) -> None:
        best = self.best_impostor[rows]
        np.maximum(best, tile.amax(dim=1).numpy(), out=best)
        values = tile.numpy().ravel()
        above = np.greater(values, self.tail.bound, out=self._above[: len(values)])
        self.tail.add(values[above])


def _mates(
    probe_codes: NDArray[np.int64], gallery_codes: NDArray[np.int64], order: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of a tile's genuine pairs; `order` sorts gallery_codes."""
    in_order = gallery_codes[order]
    first = np.searchsorted(in_order, probe_codes, "left")
    counts = np.searchsorted(in_order, probe_codes, "right") - first
    rows = np.repeat(np.arange(len(probe_codes)), counts)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rows, order[np.repeat(first, counts) + within]


def _sampled_bound(pairs: _Pairs) -> float:
    """A score that somewhat more than tail_size impostor scores are expected to exceed; -inf if a sample cannot say."""
    random = np.random.default_rng(0)
    rows = random.permutation(len(pairs.probe))[:SAMPLE_SIDE]
    columns = random.permutation(len(pairs.gallery))[:SAMPLE_SIDE]
    sample = unit_rows(pairs.probe, "probe", rows) @ unit_rows(pairs.gallery, "gallery", columns).T
    impostors = sample[pairs.probe_codes[rows, None] != pairs.gallery_codes[columns]]
    rank = int(pairs.tail_size / pairs.num_impostors * len(impostors) * SAMPLE_MARGIN) + 25
    if rank >= len(impostors):
        return -inf
    return float(np.partition(impostors, len(impostors) - rank)[len(impostors) - rank])


def _identification(pairs: _Pairs, scan: _Scan, cmc_length: int) -> Identification:
    mated = np.isin(pairs.probe_codes, pairs.gallery_codes)
    places = np.zeros(len(pairs.probe), np.int64)
    # Everyone else is found at rank 1. Equal best scores are decided here too: they need the gallery's order.
    undecided = np.flatnonzero(mated & (scan.best_impostor >= scan.best_genuine))
    if len(undecided):
        gallery = torch.from_numpy(unit_rows(pairs.gallery, "gallery")).T
        step = max(1, SCORES_PER_RANKING // len(pairs.gallery))
        block = torch.empty(step * len(pairs.gallery))
        for start in range(0, len(undecided), step):
            rows = undecided[start : start + step]
            tile = block[: len(rows) * len(pairs.gallery)].view(len(rows), len(pairs.gallery))
            torch.mm(torch.from_numpy(unit_rows(pairs.probe, "probe", rows)), gallery, out=tile)
            places[rows] = ranks(tile.numpy(), pairs.probe_codes[rows], pairs.gallery_codes)
    num_identities = len(np.unique(pairs.gallery_codes))
    return from_ranks(places[mated], mated, num_identities, cmc_length)


def _check_sizes(probe: Embeddings, gallery: Embeddings) -> None:
    if np.ndim(probe) != 2 or np.ndim(gallery) != 2 or np.shape(probe)[1] != np.shape(gallery)[1]:
        raise ValueError(
            f"probe and gallery embeddings must be (num, D) of one D; got {np.shape(probe)} and {np.shape(gallery)}"
        )
