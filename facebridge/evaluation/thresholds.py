"""Operating points of scored pairs: each threshold with its interval, and what it lets through."""

from collections.abc import Sequence
from math import isinf

import numpy as np
from numpy.typing import NDArray

from facebridge.evaluation import bootstrap
from facebridge.evaluation.bootstrap import Interval
from facebridge.evaluation.groups import Compared
from facebridge.evaluation.result import Figure, Threshold
from facebridge.evaluation.verify import FALSE_ACCEPT_RATES, NONE_ACCEPTED, OperatingPoint, verification


def thresholds(
    scores: NDArray[np.floating], compared: Compared, far: Sequence[float] = FALSE_ACCEPT_RATES
) -> list[Threshold]:
    """The threshold at each false accept rate, with a 95 % interval over people.

    scores: as many as `compared` has pairs, in any shape. ValueError: as `verification`.
    """
    values, genuine = scores.ravel(), compared.genuine
    points = verification(values, genuine, far).points
    found = bootstrap.threshold_intervals(values, genuine, compared.probe_person, compared.gallery_person, far)
    return [_threshold(*each, int((~genuine).sum())) for each in zip(points, found, strict=True)]


def _threshold(point: OperatingPoint, found: Interval, num_impostors: int) -> Threshold:
    rate, score, num_accepted = point.false_accept_rate, point.threshold, point.num_false_accepts
    if score is None or num_accepted is None or isinf(score):
        none = Figure(None, reason=point.reason if score is None else NONE_ACCEPTED)
        return Threshold(rate, none, None, None, num_impostors)
    figure = Figure(score, found.low, found.high, point.reason, point.low_confidence)
    return Threshold(rate, figure, num_accepted / num_impostors, num_accepted, num_impostors)
