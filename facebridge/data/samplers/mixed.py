"""Real and generated faces in one batch."""

import math
from fractions import Fraction

import numpy as np

from facebridge.data.samplers.sampler import Sample, Sampler

_FINEST_SHARE = 10_000
_GENERATED_SALT = 4


class RealAndGenerated(Sampler):
    """Real and generated samples in turn, in a stated proportion; each kind in an order and epochs of its own.

    The generated places are spread evenly, so that each process of a training gets its part. A batch of B holds exactly
    share x B generated samples where that is a whole number; otherwise the next whole number up or down.
    Source: Fu et al., "Dual variational generation for low shot heterogeneous face recognition", NeurIPS 2019, whose
    share is one half.

    Args:
        real, generated: what stands at the places of each kind.
        share: of the places that are generated, above 0 and below 1.

    Raises:
        ValueError: if the share is out of range, or the two give different numbers of sources.
    """

    mixes_generated = True

    def __init__(self, real: Sampler, generated: Sampler, share: float) -> None:
        self.share = Fraction(share).limit_denominator(_FINEST_SHARE)
        if not 0 < self.share < 1:
            raise ValueError(f"a share of {share:g} generated faces: expected a number above 0 and below 1")
        if real.num_sources != generated.num_sources:
            raise ValueError(
                f"real samples have {real.num_sources} sources and generated ones {generated.num_sources}: "
                "pair both with the same number"
            )
        self.real = real
        self.generated = generated
        self.num_sources = real.num_sources
        self.left_out = real.left_out + generated.left_out

    def __len__(self) -> int:
        """Places in which every row of both kinds comes at least once."""
        return max(math.ceil(len(self.real) / (1 - self.share)), math.ceil((len(self.generated) + 1) / self.share))

    def sample(self, seed: int, place: int) -> Sample:
        num_generated = math.floor(place * self.share)  # among the places before this one
        if not self._is_generated(place):
            return self.real.sample(seed, place - num_generated)
        other_seed = int(np.random.SeedSequence([seed, _GENERATED_SALT]).generate_state(1, np.uint64)[0])
        sample = self.generated.sample(other_seed, num_generated)
        return Sample(sample.target, sample.sources, True, sample.mirrored_together)

    def following(self, place: int) -> int:
        """The next place of the same kind."""
        kind = self._is_generated(place)
        place += 1
        while self._is_generated(place) != kind:
            place += 1
        return place

    def _is_generated(self, place: int) -> bool:
        return math.floor((place + 1) * self.share) > math.floor(place * self.share)
