"""How well faces are recognised: scores, identification, verification, fidelity and their intervals."""

from facebridge.evaluation.identify import Identification, identification
from facebridge.evaluation.lfw import LfwAccuracy, lfw_accuracy
from facebridge.evaluation.matching import Match, fuse, genuine_pairs, match, pair_scores, scores
from facebridge.evaluation.verify import OperatingPoint, Verification, roc, verification

__all__ = [
    "Identification",
    "LfwAccuracy",
    "Match",
    "OperatingPoint",
    "Verification",
    "fuse",
    "genuine_pairs",
    "identification",
    "lfw_accuracy",
    "match",
    "pair_scores",
    "roc",
    "scores",
    "verification",
]
