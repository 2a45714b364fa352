"""Texts are numbered as numpy would number them, whatever their order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facebridge.data.list_files import strings
from facebridge.data.samplers.sampler import codes
from facebridge.data.texts import numbered


@given(st.lists(st.text(max_size=5), max_size=30))
def test_numbers_are_places_among_the_sorted_values(values: list[str]) -> None:
    found, numbers = numbered(strings(values))
    assert found.tolist() == sorted(set(values), key=lambda value: value.encode())
    assert [found.tolist()[number] for number in numbers] == values


@pytest.mark.parametrize("count", [2, 1000, 5000])
def test_a_column_that_rises_twice_is_numbered(count: int) -> None:
    """numpy's own sort of such a column crashes; the process would be gone."""
    names = sorted(f"{number * 7919 % 99991}_of_a_long_name_{number}.jpg" for number in range(count))
    found, numbers = numbered(strings(names + names))
    assert found.tolist() == names
    np.testing.assert_array_equal(numbers, [*range(count), *range(count)])
    np.testing.assert_array_equal(codes(strings(names + names)), numbers)
