"""Pairs that a label makes: two pictures of one person, of one moment, or from the side and from the front."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from facebridge.data.samplers.sampler import Rows, Sample, Sampler, Shuffled, codes, draws

Column = NDArray[np.generic]
"""One value a row."""


class SamePerson(Sampler):
    """Source and target of one person, any shots.

    Every source row that has a target comes once an epoch, so persons count by their source rows; the target is drawn
    evenly among the person's target rows, and is never the source itself.

    Args:
        identities: (N,) of all rows.
        sources, targets: the rows of each side.
        alike: columns (N,) in which source and target also agree, such as the session or the light.
        mirror_together: whether source and target are mirrored together.

    Raises:
        ValueError: if no source has a target.
    """

    num_sources = 1

    def __init__(
        self,
        identities: Column,
        sources: Rows,
        targets: Rows,
        *,
        alike: Sequence[Column] = (),
        mirror_together: bool = False,
    ) -> None:
        self._partners = Partners(codes(identities, *alike), sources, targets)
        if not len(self._partners):
            raise ValueError(
                f"none of {len(sources):,} source rows has another row of the same person"
                f"{' that is alike' if alike else ''} among {len(targets):,} target rows: look at the column identity, "
                "or pair by `unpaired`"
            )
        self.left_out = len(sources) - len(self._partners)
        self._mirror_together = mirror_together

    def __len__(self) -> int:
        return len(self._partners)

    def sample(self, seed: int, place: int) -> Sample:
        source, target = self._partners.at(seed, place)
        return Sample(target, (source,), mirrored_together=self._mirror_together)


class SameShot(Sampler):
    """Source and target of one moment, whose pixels correspond: rows of one person with the same name in `pair`.

    Every source row that has a target comes once an epoch. Both are mirrored or none.

    Args:
        identities: (N,) of all rows.
        pairs: (N,) texts, the column `pair`; an empty one belongs to no pair.
        sources, targets: the rows of each side.

    Raises:
        ValueError: if no source has a target.
    """

    num_sources = 1

    def __init__(self, identities: Column, pairs: Column, sources: Rows, targets: Rows) -> None:
        moments = codes(identities, pairs)
        moments[pairs == ""] = NO_GROUP
        self._partners = Partners(moments, sources, targets)
        if not len(self._partners):
            named = int((pairs[sources] != "").sum())
            raise ValueError(
                f"none of {len(sources):,} source rows ({named:,} of them with a `pair`) shares its identity and `pair`"
                f" with another row among {len(targets):,} target rows: fill the column `pair` of the list with a name "
                "for each moment that both cameras took (`facebridge data import` does where a set has them, "
                "`facebridge data render --domains vis,nir` always), or pair by `same_person`"
            )
        self.left_out = len(sources) - len(self._partners)

    def __len__(self) -> int:
        return len(self._partners)

    def sample(self, seed: int, place: int) -> Sample:
        source, target = self._partners.at(seed, place)
        return Sample(target, (source,), mirrored_together=True)


class ProfileToFrontal(Sampler):
    """Source turned to a side, target of the same person seen from the front.

    A row whose yaw is not known counts as turned in the domain `profile` and as frontal in `vis`, as in the set CFP.
    Every source row that has a target comes once an epoch; the target is drawn evenly among the person's.

    Args:
        identities: (N,) of all rows.
        yaw_deg: (N,) degrees, NaN where not known.
        domains: (N,) texts.
        sources, targets: the rows of each side, of which only turned and frontal ones are taken.
        source_at_least_deg: a source is turned by at least this much to either side.
        target_at_most_deg: a target is turned by at most this much.
        alike: columns (N,) in which source and target also agree.
        mirror_together: whether source and target are mirrored together.

    Raises:
        ValueError: if the limits overlap, or no source has a target.
    """

    num_sources = 1

    def __init__(
        self,
        identities: Column,
        yaw_deg: NDArray[np.floating],
        domains: Column,
        sources: Rows,
        targets: Rows,
        *,
        source_at_least_deg: float,
        target_at_most_deg: float,
        alike: Sequence[Column] = (),
        mirror_together: bool = False,
    ) -> None:
        if not 0 <= target_at_most_deg < source_at_least_deg:
            raise ValueError(
                f"a source turned by at least {source_at_least_deg:g} and a target by at most {target_at_most_deg:g} "
                "degrees: expected 0 or more for the target and more than that for the source"
            )
        unknown, turned = np.isnan(yaw_deg), np.abs(yaw_deg)
        is_profile = np.where(unknown, domains == "profile", turned >= source_at_least_deg)
        is_frontal = np.where(unknown, domains == "vis", turned <= target_at_most_deg)
        profiles, frontals = sources[is_profile[sources]], targets[is_frontal[targets]]
        self._partners = Partners(codes(identities, *alike), profiles, frontals)
        if not len(self._partners):
            raise ValueError(
                f"{len(profiles):,} rows are turned by {source_at_least_deg:g} degrees or more and {len(frontals):,} "
                f"by {target_at_most_deg:g} or less, and no person is among both: fill the column yaw_deg, or the "
                "domains `profile` and `vis` where it is not known, or change the limits"
            )
        self.left_out = len(profiles) - len(self._partners)
        self._mirror_together = mirror_together

    def __len__(self) -> int:
        return len(self._partners)

    def sample(self, seed: int, place: int) -> Sample:
        source, target = self._partners.at(seed, place)
        return Sample(target, (source,), mirrored_together=self._mirror_together)


NO_GROUP = -1


class Partners:
    """Each source of a group, in turn, with a target of the same group that is another row.

    groups: (N,) of all rows; NO_GROUP: goes with nobody. A source without a partner is left out.
    """

    def __init__(self, groups: NDArray[np.int64], sources: Rows, targets: Rows) -> None:
        targets = targets[groups[targets] != NO_GROUP]
        sources = sources[groups[sources] != NO_GROUP]
        self._targets = targets[np.argsort(groups[targets], kind="stable")]
        found = groups[self._targets]
        first = np.searchsorted(found, groups[sources], "left")
        count = np.searchsorted(found, groups[sources], "right") - first
        places = np.full(len(groups), -1)
        places[self._targets] = np.arange(len(self._targets))
        is_target = places[sources] >= 0
        kept = count > is_target
        self._sources = sources[kept]
        self._first = first[kept]
        self._num_others = (count - is_target)[kept]
        self._own = np.where(is_target, places[sources] - first, len(targets))[kept]
        self._order = Shuffled(len(self._sources))

    def __len__(self) -> int:
        return len(self._sources)

    def at(self, seed: int, place: int) -> tuple[int, int]:
        """Source and target rows of a place."""
        index = self._order.at(seed, place)
        drawn = int(draws(seed, place).integers(self._num_others[index]))
        skipping_itself = drawn + int(drawn >= self._own[index])
        return int(self._sources[index]), int(self._targets[self._first[index] + skipping_itself])
