"""The accuracy over pairs, with its interval, under any of the rules by which a threshold is found."""

import numpy as np
from numpy.typing import NDArray

from facebridge.evaluation import bootstrap
from facebridge.evaluation.comparison import FOLDS
from facebridge.evaluation.folds import folds_in_order
from facebridge.evaluation.identify import Identities
from facebridge.evaluation.lfw import ThresholdRule, lfw_accuracy
from facebridge.evaluation.result import Figure


def accuracy_figures(
    scores: NDArray[np.floating],
    genuine: NDArray[np.bool_],
    fold: NDArray[np.int64],
    first_ids: Identities,
    second_ids: Identities,
    rule: ThresholdRule,
) -> dict[str, Figure]:
    """The figures "accuracy", with a 95 % interval over people, and "accuracy_std".

    scores, genuine, fold: (num_pairs,); see `folds_of`. ValueError: as `lfw_accuracy`.
    """
    found = lfw_accuracy(scores, genuine, folds_of(genuine, fold), rule)
    held = bootstrap.accuracy_interval(found.right, genuine, first_ids, second_ids)
    return {"accuracy": Figure(found.accuracy, held.low, held.high), "accuracy_std": Figure(found.std)}


def folds_of(genuine: NDArray[np.bool_], fold: NDArray[np.int64]) -> NDArray[np.int64]:
    """The folds of the protocol itself; where it has one alone, FOLDS in the order of the pairs."""
    return fold if len(np.unique(fold)) > 1 else folds_in_order(genuine, FOLDS)
