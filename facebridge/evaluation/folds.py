"""Folds: how pairs are divided when a protocol does not say, and how figures of folds are gathered."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def folds_in_order(genuine: ArrayLike, count: int = 10) -> NDArray[np.int64]:
    """Fold of each pair: the genuine pairs, in their order, are cut into `count` equal runs; so are the impostor pairs.

    On LFW's pairs.txt (view 2) this is the division of the file itself; for lists without folds, such as
    pairsDevTest.txt (view 1), it is the project's rule. Runs differ by one pair at most.

    ValueError: if count is below 2, or there are fewer genuine or impostor pairs than folds.
    """
    is_genuine = np.asarray(genuine, dtype=np.bool_)
    if count < 2:
        raise ValueError(f"at least 2 folds are needed, one to choose the threshold and one to judge; got {count}")
    fold = np.empty(len(is_genuine), np.int64)
    for kind, name in ((is_genuine, "genuine"), (~is_genuine, "impostor")):
        total = int(kind.sum())
        if total < count:
            raise ValueError(f"{count} folds need at least {count} {name} pairs; there are {total}")
        fold[kind] = np.arange(total) * count // total
    return fold


def over_folds(figures: Sequence[float]) -> tuple[float, float]:
    """Mean and population standard deviation, as the papers give them. ValueError: if there is no figure."""
    if len(figures) == 0:
        raise ValueError("no folds to take the mean of")
    return float(np.mean(figures)), float(np.std(figures))
