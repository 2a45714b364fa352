import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from facebridge.diagnostics import LINES, Diverged, finite, stuck

sizes = st.floats(1e-3, 1e6)
numbers = st.floats(-1e6, 1e6)


def log(**losses: list[float]) -> list[dict[str, Any]]:
    length = len(next(iter(losses.values())))
    return [{"step": 10 * (i + 1), **{name: values[i] for name, values in losses.items()}} for i in range(length)]


def kinds(lines: list[dict[str, Any]]) -> dict[str, str]:
    return {finding.loss: finding.kind for finding in stuck(lines)}


@given(
    value=sizes, sign=st.sampled_from([-1, 1]), wobble=st.lists(st.floats(0, 0.4e-6), min_size=LINES, max_size=LINES)
)
def test_a_loss_that_moves_by_less_than_a_millionth_is_constant(value: float, sign: int, wobble: list[float]) -> None:
    assert kinds(log(pixel=[sign * value * (1 + part) for part in wobble])) == {"pixel": "constant"}


@given(value=sizes, place=st.integers(0, LINES - 1), part=st.floats(1e-5, 1))
def test_a_loss_that_moved_once_is_not_stuck(value: float, place: int, part: float) -> None:
    values = [value] * LINES
    values[place] = value * (1 + part)
    assert kinds(log(pixel=values)) == {}


@given(values=st.lists(st.floats(-0.9e-8, 0.9e-8), min_size=LINES, max_size=LINES))
def test_a_loss_next_to_nothing_is_zero_not_constant(values: list[float]) -> None:
    assert kinds(log(identity=values)) == {"identity": "zero"}


@given(values=st.lists(st.floats(-0.0099, 0.0099), min_size=LINES, max_size=LINES))
def test_a_discriminator_below_a_hundredth_has_won(values: list[float]) -> None:
    assert kinds(log(nir_discriminator=values)) == {"nir_discriminator": "discriminator_won"}


@given(value=st.floats(1.0, 1e3), factor=st.floats(1.01, 2))
def test_a_discriminator_or_critic_far_below_zero_has_not_won(value: float, factor: float) -> None:
    assert kinds(log(discriminator=[-value * factor**i for i in range(LINES)])) == {}


@given(earlier=st.lists(numbers, max_size=30), value=sizes)
def test_only_the_last_lines_count(earlier: list[float], value: float) -> None:
    assert kinds(log(pixel=[*earlier, *[value] * LINES])) == {"pixel": "constant"}
    assert kinds(log(pixel=[*[value] * LINES, 2 * value, *[value] * (LINES - 1)])) == {}


@given(values=st.lists(numbers, max_size=LINES - 1))
def test_fewer_lines_say_nothing(values: list[float]) -> None:
    assert stuck(log(pixel=values)) == []


@given(value=sizes, missing=st.integers(0, LINES - 1), other=sizes)
def test_a_loss_that_is_not_in_every_line_is_not_judged(value: float, missing: int, other: float) -> None:
    lines = log(pixel=[value] * LINES, identity=[other] * LINES)
    del lines[missing]["pixel"]
    assert kinds(lines) == {"identity": "constant"}


@given(value=st.sampled_from([math.nan, math.inf, -math.inf]), place=st.integers(0, LINES - 1), other=sizes)
def test_a_loss_that_is_not_finite_is_not_judged(value: float, place: int, other: float) -> None:
    values = [other] * LINES
    values[place] = value
    assert stuck(log(pixel=values)) == []


@given(values=st.dictionaries(st.text(min_size=1), st.lists(numbers, min_size=LINES, max_size=LINES), min_size=1))
def test_each_loss_is_judged_by_itself(values: dict[str, list[float]]) -> None:
    values.pop("step", None)
    apart = {name: kind for name in values for name, kind in kinds(log_of({name: values[name]})).items()}
    assert kinds(log_of(values)) == apart


def log_of(losses: dict[str, list[float]]) -> list[dict[str, Any]]:
    return [{"step": i + 1, **{name: values[i] for name, values in losses.items()}} for i in range(LINES)]


@pytest.mark.parametrize("name", ["zero", "constant", "discriminator"])
def test_a_finding_says_what_was_seen_where_and_what_to_try(name: str) -> None:
    value = {"zero": 0.0, "constant": 0.693, "discriminator": 0.002}[name]
    (finding,) = stuck(log(**{name: [value] * LINES}))
    assert (finding.loss, finding.first_step, finding.step, finding.value) == (name, 10, 10 * LINES, value)
    for part in (repr(name), "from step 10 to step 200", f"now {value:.3g}", "usual cause", "to try"):
        assert part in finding.text


def test_a_log_of_no_lines_says_nothing() -> None:
    assert stuck([]) == []


@pytest.mark.parametrize("num_lines", [-1, 0, 1])
def test_one_line_cannot_be_looked_at(num_lines: int) -> None:
    with pytest.raises(ValueError, match="look at 2 or more"):
        stuck([], num_lines)


def test_losses_become_numbers_and_one_that_is_not_finite_is_named_with_its_step() -> None:
    assert finite({"pixel": torch.tensor(0.5)}, 3) == {"pixel": 0.5}
    with pytest.raises(Diverged, match="step 3: the loss 'pixel' is nan"):
        finite({"pixel": torch.tensor(math.nan)}, 3)
