"""What a sampler is: from a seed and a place in an endless order to the rows that stand there.

A sampler keeps no state that matters: any place can be asked for, in any order, in any process. So a training is
resumed by its step alone, and processes share a batch by taking different places of it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from facebridge.data.texts import numbered

Rows = NDArray[np.int64]
"""Numbers of rows. Their order decides the draws: rows ordered by their names give the same pairs however the lines of
a list are ordered."""

Shuffle = Callable[[np.random.Generator], Sequence[int] | Rows]
"""0 ... N - 1, each once, in an order that the generator alone decides."""

_DRAW_SALT = 3


class Labels(Protocol):
    """What makes pairs, known of all rows without a look at their pictures."""

    def identities(self) -> NDArray[np.int64]:
        """(N,) numbers from 0."""
        ...

    def column(self, name: str) -> NDArray[Any]:
        """A column of a face list, (N,): texts, or degrees for yaw_deg. Empty or NaN: unknown.

        ValueError: if no column is called so.
        """
        ...


@dataclass(frozen=True)
class Sample:
    """The rows of one place.

    sources: no row, one, or several pictures of one person. mirrored_together: whether all pictures of the sample are
    mirrored or none, as where their pixels correspond.
    """

    target: int
    sources: tuple[int, ...] = ()
    is_generated: bool = False
    mirrored_together: bool = False


class Sampler(ABC):
    """The rows of every place of an endless order.

    num_sources: sources in each sample. mixes_generated: whether `Sample.is_generated` says anything.
    left_out: rows that can never be drawn as a source, for want of a partner or of pictures.
    """

    num_sources: int = 0
    mixes_generated: bool = False
    left_out: int = 0

    @abstractmethod
    def __len__(self) -> int:
        """Places in an epoch."""

    @abstractmethod
    def sample(self, seed: int, place: int) -> Sample:
        """What stands at a place, counted from 0; the same for the same seed and place."""

    def following(self, place: int) -> int:
        """The place that stands in for this one where its pictures cannot be used."""
        return place + 1


class Shuffled:
    """0 ... count - 1 without end: each once an epoch, in an order that seed and epoch decide."""

    def __init__(self, count: int, shuffle: Shuffle | None = None) -> None:
        self.count = count
        self._shuffle: Shuffle = shuffle if shuffle is not None else lambda generator: generator.permutation(count)
        self._known: tuple[int, int, Sequence[int] | Rows] = (-1, -1, ())

    def at(self, seed: int, place: int) -> int:
        """The number at a place."""
        epoch, offset = divmod(place, self.count)
        known = self._known
        if known[:2] != (seed, epoch):
            known = (seed, epoch, self._shuffle(np.random.default_rng([seed, epoch, 0])))
            self._known = known
        return int(known[2][offset])


def draws(seed: int, place: int) -> np.random.Generator:
    """The random numbers of one place, apart from those of every other."""
    return np.random.default_rng([seed, place, 0, _DRAW_SALT])


def codes(*columns: NDArray[np.generic]) -> NDArray[np.int64]:
    """Rows with the same values in all columns get the same number, from 0, by the order of the values.

    A number that is NaN is a value like any other.
    """
    together = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        is_text = column.dtype.kind == "T"
        values, numbers = numbered(column) if is_text else np.unique(column, return_inverse=True)
        together = np.unique(together * len(values) + numbers, return_inverse=True)[1]
    return together
