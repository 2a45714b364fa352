"""Sources and targets that have nothing to do with each other."""

from facebridge.data.samplers.sampler import Rows, Sample, Sampler, Shuffled, draws


class Unpaired(Sampler):
    """Source and target independent of each other.

    Every row of the larger side comes once an epoch; of the other side one is drawn evenly for each place.
    Source: Zhu et al., "Unpaired image-to-image translation using cycle-consistent adversarial networks", ICCV 2017.

    Args:
        sources, targets: the rows of each side.
        mirror_together: whether source and target are mirrored together.

    Raises:
        ValueError: if a side has no rows.
    """

    num_sources = 1

    def __init__(self, sources: Rows, targets: Rows, *, mirror_together: bool = False) -> None:
        for name, rows in (("source", sources), ("target", targets)):
            if not len(rows):
                raise ValueError(f"there are no {name} rows to draw from")
        self._sources = sources
        self._targets = targets
        self._mirror_together = mirror_together
        self._order = Shuffled(max(len(sources), len(targets)))

    def __len__(self) -> int:
        return self._order.count

    def sample(self, seed: int, place: int) -> Sample:
        in_turn = self._order.at(seed, place)
        drawn = int(draws(seed, place).integers(min(len(self._sources), len(self._targets))))
        of_source, of_target = (in_turn, drawn) if len(self._sources) >= len(self._targets) else (drawn, in_turn)
        return Sample(
            int(self._targets[of_target]), (int(self._sources[of_source]),), mirrored_together=self._mirror_together
        )
