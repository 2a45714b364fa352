"""The noise of sampled people: as its definition says, word by word, and decided by seed and number alone."""

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facebridge import noise

MASK = (1 << 64) - 1
MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)


def philox(counter: int, seed: int) -> list[int]:
    """Four words of Philox4x64-10 as Salmon et al. 2011 define it, with the key (seed, 0)."""
    words, key = [counter & MASK, counter >> 64, 0, 0], [seed, 0]
    for number in range(10):
        if number:
            key = [(part + weyl) & MASK for part, weyl in zip(key, WEYL, strict=True)]
        first, second = MULTIPLIERS[0] * words[0], MULTIPLIERS[1] * words[2]
        words = [
            (second >> 64) ^ words[1] ^ key[0],
            second & MASK,
            (first >> 64) ^ words[3] ^ key[1],
            first & MASK,
        ]
    return words


def plainly(seed: int, pair: int, size: int) -> list[float]:
    """The noise of one pair, a number at a time."""
    counters = math.ceil(size / 4)
    words = [word for place in range(counters) for word in philox(pair * counters + place + 1, seed)]
    uniform = [((word >> 12) + 0.5) / 2**52 for word in words]
    found = []
    for one, other in zip(uniform[::2], uniform[1::2], strict=True):
        radius = math.sqrt(-2 * math.log(one))
        found += [radius * math.cos(2 * math.pi * other), radius * math.sin(2 * math.pi * other)]
    return found[:size]


@given(
    seed=st.one_of(st.integers(0, 9), st.integers(0, noise.SEEDS - 1)),
    pair=st.integers(0, 10**9),
    size=st.integers(1, 21),
)
def test_noise_is_as_its_definition_says(seed: int, pair: int, size: int) -> None:
    found = noise.standard_normal(seed, pair, 1, size)
    assert found.dtype == np.float32
    assert found[0] == pytest.approx(plainly(seed, pair, size), rel=1e-6, abs=1e-7)


@given(first=st.integers(0, 1000), count=st.integers(1, 9), size=st.integers(1, 13))
def test_noise_of_a_pair_does_not_depend_on_those_drawn_with_it(first: int, count: int, size: int) -> None:
    together = noise.standard_normal(5, first, count, size)
    alone = [noise.standard_normal(5, first + place, 1, size)[0] for place in range(count)]
    assert np.array_equal(together, np.stack(alone))


def test_noise_is_normal_and_pairs_and_seeds_have_nothing_in_common() -> None:
    drawn = noise.standard_normal(0, 0, 4000, 50)
    assert abs(drawn.mean()) < 4 / math.sqrt(drawn.size)
    assert abs(drawn.var() - 1) < 4 * math.sqrt(2 / drawn.size)
    beyond = [float((np.abs(drawn) > limit).mean()) for limit in (1, 2, 3)]
    assert beyond == pytest.approx([0.3173, 0.0455, 0.0027], rel=0.1)
    for other in (noise.standard_normal(1, 0, 4000, 50), drawn[::-1], np.roll(drawn, 1, 1)):
        assert abs(float((drawn * other).mean())) < 5 / math.sqrt(drawn.size)


def test_noise_of_a_hundred_thousand_pairs_takes_seconds() -> None:
    begun = time.process_time()
    for first in range(0, 100_000, 20):
        noise.standard_normal(0, first, 20, 128)
    assert time.process_time() - begun < 10


@pytest.mark.parametrize("seed", [-1, noise.SEEDS])
def test_a_seed_that_is_none_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match=r"expected 0 to 2\^64 - 1"):
        noise.standard_normal(seed, 0, 1, 4)
