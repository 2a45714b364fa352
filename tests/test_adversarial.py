"""Scores are judged as the papers' formulas say, held networks stay as they are, and the pool is a fair one."""

import math

import pytest
import torch
from torch import Tensor, nn

from facebridge.adversarial import Pool, discriminator_loss, generator_loss, held

REAL, FAKE = torch.tensor([[1.5, -0.25], [0.5, 3.0]]), torch.tensor([[-0.5, 0.75], [0.0, -2.0]])


def mean(function, scores: Tensor) -> float:
    values = [function(float(score)) for score in scores.ravel()]
    return sum(values) / len(values)


def sigmoid(score: float) -> float:
    return 1 / (1 + math.exp(-score))


@pytest.mark.parametrize(
    ("objective", "real", "fake", "fooled"),
    [
        ("least_squares", lambda s: (s - 1) ** 2, lambda s: s**2, lambda s: (s - 1) ** 2),
        (
            "cross_entropy",
            lambda s: -math.log(sigmoid(s)),
            lambda s: -math.log(1 - sigmoid(s)),
            lambda s: -math.log(sigmoid(s)),
        ),
        ("hinge", lambda s: max(0, 1 - s), lambda s: max(0, 1 + s), lambda s: -s),
    ],
)
def test_losses_are_the_published_formulas(objective, real, fake, fooled) -> None:  # type: ignore[no-untyped-def]
    told = float(discriminator_loss(REAL, FAKE, objective))
    assert told == pytest.approx((mean(real, REAL) + mean(fake, FAKE)) / 2, abs=1e-6)
    assert float(generator_loss(FAKE, objective)) == pytest.approx(mean(fooled, FAKE), abs=1e-6)


def test_held_network_passes_gradients_on_and_gets_none() -> None:
    judge, made = nn.Linear(3, 1), torch.ones(2, 3, requires_grad=True)
    with held(judge):
        judge(made).sum().backward()
    assert made.grad is not None
    assert all(parameter.grad is None and parameter.requires_grad for parameter in judge.parameters())


def test_held_network_learns_again_after_an_error() -> None:
    judge = nn.Linear(3, 1)
    with pytest.raises(RuntimeError), held(judge):
        raise RuntimeError
    assert all(parameter.requires_grad for parameter in judge.parameters())


def numbered(*numbers: int) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float32).view(-1, 1, 1, 1)


def test_pool_gives_back_what_comes_until_it_is_full() -> None:
    pool = Pool(4)
    assert torch.equal(pool.mixed(numbered(0, 1, 2)), numbered(0, 1, 2))
    assert torch.equal(pool.mixed(numbered(3)), numbered(3))
    assert len(pool.kept) == 4


def test_full_pool_gives_each_fake_or_an_earlier_one_evenly_and_loses_none() -> None:
    torch.manual_seed(0)
    pool, count = Pool(4), 4000
    pool.mixed(numbered(0, 1, 2, 3))
    given = [int(pool.mixed(numbered(number))) for number in range(4, 4 + count)]
    own = sum(number == 4 + place for place, number in enumerate(given))
    assert abs(own - count / 2) < 4 * math.sqrt(count / 4)
    assert sorted([*given, *(int(kept) for kept in pool.kept)]) == list(range(4 + count))


def test_pool_of_none_gives_what_comes() -> None:
    pool = Pool(0)
    assert torch.equal(pool.mixed(numbered(7, 8)), numbered(7, 8))
    assert not pool.kept


def test_pool_carries_no_gradient() -> None:
    made = torch.ones(1, 3, 2, 2, requires_grad=True) * 2
    assert not Pool().mixed(made).requires_grad


@pytest.mark.parametrize("count", [0, 2, 4])
def test_restored_pool_goes_on_as_the_first_one(count: int) -> None:
    first, second = Pool(4), Pool(4)
    if count:
        first.mixed(numbered(*range(count)))
    second.load_state_dict(first.state_dict())
    outcomes = []
    for pool in (first, second):
        torch.manual_seed(5)
        outcomes.append(torch.cat([pool.mixed(numbered(number)) for number in range(10, 30)]))
    assert torch.equal(*outcomes)
