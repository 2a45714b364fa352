"""identity_spread says of sampled people what plain loops say."""

import numpy as np
import pytest

from facebridge.evaluation import identity_spread as spreads
from facebridge.evaluation.identity_spread import (
    identity_spread,
    mean_cosine,
    nearest,
    nearest_other,
    num_distinct,
)


def rows(count: int, size: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32)


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one.astype(np.float64), other.astype(np.float64)
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spreads, "BLOCK", 7)


@pytest.mark.parametrize("threshold", [-0.2, 0.3, 0.6, 0.9, 1.5])
@pytest.mark.parametrize("count", [1, 7, 45])
def test_distinct_people_are_those_that_a_loop_finds(count: int, threshold: float) -> None:
    embeddings = rows(count)
    kept: list[np.ndarray] = []
    for row in embeddings:
        if all(cosine(row, earlier) < threshold for earlier in kept):
            kept.append(row)
    assert num_distinct(embeddings, threshold) == len(kept)


def test_copies_of_people_are_one_person_each() -> None:
    people = np.eye(9, dtype=np.float32)
    assert num_distinct(np.concatenate([people * 3, people, people[::-1] * 0.1]), 0.5) == 9
    assert num_distinct(np.empty((0, 4), np.float32), 0.5) == 0


def test_nearest_rows_are_those_that_a_loop_finds() -> None:
    some, others = rows(20), rows(11, seed=1)
    assert nearest(some, others) == pytest.approx([max(cosine(row, each) for each in others) for row in some], abs=1e-6)
    among = [max(cosine(row, each) for place, each in enumerate(some) if place != own) for own, row in enumerate(some)]
    assert nearest_other(some) == pytest.approx(among, abs=1e-6)


def test_mean_cosine_is_that_of_all_pairs() -> None:
    some = rows(9)
    found = [cosine(some[one], some[other]) for one in range(9) for other in range(one)]
    assert mean_cosine(some) == pytest.approx(sum(found) / len(found), abs=1e-6)


def test_spread_compares_sets_of_one_size_and_keeps_lengths() -> None:
    samples, real = rows(30, seed=2) * 2, rows(12, seed=3)
    found = identity_spread(samples, real, 0.5)
    lengths = np.linalg.norm(samples, axis=1)
    assert found.lengths == pytest.approx((lengths.min(), lengths.max()))
    assert (found.num_samples, found.num_real) == (30, 12)
    assert found.nearest_real == pytest.approx(np.quantile(nearest(samples, real), [0.05, 0.5, 0.95]))
    assert found.nearest_sample == pytest.approx(np.quantile(nearest_other(samples[:12]), [0.05, 0.5, 0.95]))
    assert found.nearest_among_real == pytest.approx(np.quantile(nearest_other(real), [0.05, 0.5, 0.95]))
    assert found.num_distinct == num_distinct(samples, 0.5)
    assert found.num_distinct_real == num_distinct(real, 0.5)
    assert found.mean_cosine == mean_cosine(samples)
    assert found.mean_cosine_real == mean_cosine(real)


def test_people_of_one_distribution_lie_as_real_ones_do_and_copies_do_not() -> None:
    real, others = rows(200, 16, 4), rows(200, 16, 5)
    alike, copied = identity_spread(others, real, 0.5), identity_spread(real + 0.01 * others, real, 0.5)
    assert alike.nearest_sample[1] == pytest.approx(alike.nearest_among_real[1], abs=0.05)
    assert alike.nearest_real[1] == pytest.approx(alike.nearest_among_real[1], abs=0.05)
    assert copied.nearest_real[0] > 0.99


@pytest.mark.parametrize(
    ("samples", "real", "message"),
    [
        (rows(1), rows(3), "two sets"),
        (rows(3), rows(3, 5), "of one D"),
        (rows(3) * [[1], [0], [1]], rows(3), "embedding 1 is zero"),
        (rows(3), rows(3) * [[1], [1], [np.nan]], "embedding 2 is zero or not finite"),
    ],
)
def test_sets_that_cannot_be_compared_are_refused(samples: np.ndarray, real: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        identity_spread(samples, real, 0.5)
