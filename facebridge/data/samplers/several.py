"""Several pictures of one person at once."""

from typing import Literal

import numpy as np

from facebridge.data.samplers.partners import Column
from facebridge.data.samplers.sampler import Rows, Sample, Sampler, Shuffled, draws

Fewer = Literal["repeat", "leave_out"]
"""What becomes of a person with fewer pictures than are asked for."""


class SeveralOfOnePerson(Sampler):
    """Sources are several pictures of one person, drawn without repetition; the target is a further one.

    Every person comes once an epoch, whatever the number of pictures, so the people of a batch are different ones
    (but where an epoch ends inside a batch). Only where a person's target rows are all among the sources is the target
    one of these. Sources: multi-image DR-GAN (Tran, Yin and Liu, CVPR 2017), batches of P persons with K pictures
    (Hermans, Beyer and Leibe 2017).

    Args:
        identities: (N,) of all rows.
        sources, targets: the rows of each side.
        pictures: sources in a sample, two or more.
        fewer: a person with fewer source rows is left out, or each of the rows comes as often as any other, give or
            take one, until there are enough.

    Raises:
        ValueError: if fewer than two pictures are asked for, or nobody has them and a target.
    """

    def __init__(
        self, identities: Column, sources: Rows, targets: Rows, *, pictures: int, fewer: Fewer = "leave_out"
    ) -> None:
        if pictures < 2:
            raise ValueError(f"{pictures} pictures of one person: ask for two or more, or pair by `same_person`")
        self.num_sources = pictures
        self._sources = sources[np.argsort(identities[sources], kind="stable")]
        self._targets = targets[np.argsort(identities[targets], kind="stable")]
        people, first, count = np.unique(identities[self._sources], return_index=True, return_counts=True)
        target_first = np.searchsorted(identities[self._targets], people, "left")
        target_last = np.searchsorted(identities[self._targets], people, "right")
        kept = (count >= (pictures if fewer == "leave_out" else 1)) & (target_last > target_first)
        if not kept.any():
            raise ValueError(
                f"none of {len(people):,} persons has {pictures if fewer == 'leave_out' else 1} source pictures and a "
                'target: ask for fewer pictures, or set fewer = "repeat"'
            )
        self.left_out = int(count[~kept].sum())
        self._spans = np.stack([first, first + count, target_first, target_last], axis=1)[kept]
        self._order = Shuffled(len(self._spans))

    def __len__(self) -> int:
        return len(self._spans)

    def sample(self, seed: int, place: int) -> Sample:
        first, last, target_first, target_last = self._spans[self._order.at(seed, place)]
        own, targets = self._sources[first:last], self._targets[target_first:target_last]
        generator = draws(seed, place)
        if len(own) >= self.num_sources:
            chosen = generator.choice(own, self.num_sources, replace=False)
        else:
            chosen = np.resize(generator.permutation(own), self.num_sources)
        others = targets[~np.isin(targets, chosen)]
        target = generator.choice(others if len(others) else targets)
        return Sample(int(target), tuple(chosen.tolist()))
