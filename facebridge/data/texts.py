"""Texts of a column, numbered."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def numbered(column: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The values of a column, each once and sorted, and which of them each row has.

    As `numpy.unique` with `return_inverse`, whose unstable sort of variable-length strings ends the process where a
    long column rises twice (numpy 2.4: a segmentation fault); a list of two cameras, each sorted by person, does.
    """
    order = np.argsort(column, kind="stable")
    ordered = column[order]
    is_first = np.ones(len(column), np.bool_)
    is_first[1:] = ordered[1:] != ordered[:-1]
    numbers = np.empty(len(column), np.int64)
    numbers[order] = np.cumsum(is_first) - 1
    return ordered[is_first], numbers
