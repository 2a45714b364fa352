"""The noise of sampled people: decided by seed and number of the person alone, and defined for any program.

The numbers of person n, of which a method wants S, are made of K random words of 64 bits, K being S rounded up to a
multiple of 4:

- Words come from Philox4x64-10 (Salmon et al., Parallel random numbers: as easy as 1, 2, 3; SC 2011) with the key
  (seed, 0). Person n has those of the counters n K/4 + 1 to (n + 1) K/4, four each. In numpy:
  `numpy.random.Philox(key=seed).advance(n * K // 4).random_raw(K)`.
- A word w stands for the number u = (floor(w / 2^12) + 1/2) / 2^52, which lies strictly between 0 and 1.
- Two words in a row give two normal numbers (Box and Muller 1958): sqrt(-2 ln u1) cos(2 pi u2), then the same with the
  sine; in double precision, rounded to single. Of the K numbers the first S count.
"""

import numpy as np
from numpy.typing import NDArray

SEEDS = 1 << 64
"""Seeds lie below this."""

_WORDS_PER_COUNTER = 4


def standard_normal(seed: int, first: int, count: int, size: int) -> NDArray[np.float32]:
    """The noise of the people first ... first + count - 1, (count, size) float32 from N(0, 1).

    Args:
        seed: 0 to 2^64 - 1.
        first: number of the first person, from 0.
        count: how many people.
        size: numbers of a person.

    Raises:
        ValueError: if the seed is none.
    """
    if not 0 <= seed < SEEDS:
        raise ValueError(f"the seed is {seed}; expected 0 to 2^64 - 1")
    counters = -(-size // _WORDS_PER_COUNTER)
    words = counters * _WORDS_PER_COUNTER
    philox = np.random.Philox(key=seed).advance(first * counters)
    uniform = ((philox.random_raw(count * words) >> np.uint64(12)) + 0.5) * 2.0**-52
    pairs = uniform.reshape(count, words // 2, 2)
    radius, angle = np.sqrt(-2 * np.log(pairs[..., 0])), 2 * np.pi * pairs[..., 1]
    normal = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    return normal.reshape(count, words)[:, :size].astype(np.float32)
