"""One face a place: for methods that make their sources from the targets, such as super-resolution."""

from collections.abc import Sequence

from facebridge.data.samplers.sampler import Rows, Sample, Sampler, Shuffle, Shuffled


class SingleFaces(Sampler):
    """Every row once an epoch, as a target without a source.

    Args:
        rows: the rows; a range costs no memory.
        shuffle: orders 0 ... len(rows) - 1 for an epoch; absent: any order is as likely as any other.
    """

    def __init__(self, rows: Sequence[int] | Rows, shuffle: Shuffle | None = None) -> None:
        self._rows = rows
        self._order = Shuffled(len(rows), shuffle)

    def __len__(self) -> int:
        return len(self._rows)

    def sample(self, seed: int, place: int) -> Sample:
        return Sample(int(self._rows[self._order.at(seed, place)]))
