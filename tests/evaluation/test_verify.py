"""Verification figures against scikit-learn and against their definitions."""

from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from sklearn.metrics import roc_auc_score, roc_curve

from facebridge.evaluation import roc, verification
from facebridge.evaluation.verify import lowest_accepted


@st.composite
def tied_pairs(draw):
    num_levels = draw(st.integers(1, 12))
    pairs = draw(st.lists(st.tuples(st.integers(0, num_levels), st.booleans()), min_size=2, max_size=120))
    scores = np.array([pair[0] for pair in pairs]) / 8 - 0.5
    genuine = np.array([pair[1] for pair in pairs])
    genuine[:2] = True, False
    return scores, genuine


def by_definition(scores, genuine, far):
    false_accept_rate, true_accept_rate, thresholds = roc_curve(genuine, scores, drop_intermediate=False)
    last = np.flatnonzero(false_accept_rate <= far)[-1]
    return true_accept_rate[last], thresholds[last]


@settings(max_examples=200, deadline=None)
@given(tied_pairs(), st.sampled_from([0.01, 0.1, 0.25, 1 / 3, 0.5, 0.9, 1.0]))
def test_true_accept_rate_and_threshold_equal_those_of_the_whole_roc(pairs, far):
    scores, genuine = pairs
    point = verification(scores, genuine, far=[far]).at(far)
    num_impostors = int((~genuine).sum())
    assert point.measurable == (1 / num_impostors <= far)
    if point.measurable:
        assert (point.true_accept_rate, point.threshold) == by_definition(scores, genuine, far)
        assert point.num_false_accepts == np.sum(scores[~genuine] >= point.threshold)


@settings(max_examples=100, deadline=None)
@given(tied_pairs())
def test_auc_equals_scikit_learn(pairs):
    scores, genuine = pairs
    assert verification(scores, genuine).auc == pytest.approx(roc_auc_score(genuine, scores), abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(tied_pairs())
def test_eer_is_where_the_roc_crosses_the_diagonal_of_equal_errors(pairs):
    scores, genuine = pairs
    false_accept_rate, true_accept_rate, _ = roc_curve(genuine, scores, drop_intermediate=False)
    steps = np.cumsum(np.r_[0, np.diff(false_accept_rate) + np.diff(true_accept_rate)])  # a strictly rising parameter

    def excess(at):
        return np.interp(at, steps, false_accept_rate) - 1 + np.interp(at, steps, true_accept_rate)

    expected = np.interp(brentq(excess, 0, 2), steps, false_accept_rate)
    assert verification(scores, genuine).eer == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("order", ["shuffled", "sorted", "constant", "genuine first"])
def test_large_inputs_take_the_short_way_and_give_the_same_counts(order):
    random = np.random.default_rng(3)
    genuine = random.random(600_000) < 0.01
    scores = (random.normal(size=genuine.size) + 2.0 * genuine).astype(np.float32)
    if order == "constant":
        scores[:] = 0.5
    elif order != "shuffled":
        sequence = np.argsort(scores if order == "sorted" else ~genuine)
        scores, genuine = scores[sequence], genuine[sequence]
    result = verification(scores, genuine)
    for point in result.points:
        assert (point.true_accept_rate, point.threshold) == by_definition(scores, genuine, point.false_accept_rate)


def test_one_false_accept_rate_too_small_for_the_impostors_gives_no_number():
    scores, genuine = np.linspace(-1, 1, 700), np.arange(700) >= 600
    result = verification(scores, genuine)
    states = [(point.measurable, point.low_confidence, point.true_accept_rate is None) for point in result.points]
    assert states == [(True, True, False), (False, True, True), (False, True, True)]
    assert "at least 1,000" in result.at(1e-3).reason


def test_ten_expected_false_accepts_are_enough_confidence():
    random = np.random.default_rng(0)
    genuine = np.arange(1100) < 100
    result = verification(random.random(1100), genuine, far=[0.01, 0.009])
    assert [point.low_confidence for point in result.points] == [False, True]


def test_constant_scores_accept_nobody():
    point = verification(np.zeros(200), np.arange(200) < 100, far=[0.1]).at(0.1)
    assert (point.true_accept_rate, point.threshold, point.num_false_accepts) == (0.0, inf, 0)


@pytest.mark.parametrize(
    ("scores", "genuine", "message"),
    [
        ([0.1, np.nan], [True, False], r"score \(1,\) is nan"),
        ([0.1, np.inf], [True, False], r"score \(1,\) is inf"),
        ([0.1, 0.2], [True, True], "no impostor pairs"),
        ([0.1, 0.2], [False, False], "no genuine pairs"),
        ([], [], "no genuine pairs"),
        ([0.1], [True, False], "one shape"),
        ([0.1, 0.2], [3, 0], "True and False"),
    ],
)
def test_what_cannot_be_measured_is_refused(scores, genuine, message):
    with pytest.raises(ValueError, match=message):
        verification(scores, genuine)


@pytest.mark.parametrize("far", [0.0, -0.1, 1.5])
def test_a_rate_outside_its_range_is_refused(far):
    with pytest.raises(ValueError, match="false accept rate"):
        verification([0.1, 0.2], [True, False], far=[far])


def test_an_operating_point_that_was_not_asked_for_is_refused():
    with pytest.raises(ValueError, match=r"known: 0\.5"):
        verification([0.1, 0.2], [True, False], far=[0.5]).at(0.1)


def test_thinned_roc_lies_on_the_exact_curve_and_spans_every_decade():
    random = np.random.default_rng(1)
    genuine = np.arange(200_000) < 20_000
    scores = random.normal(size=genuine.size) + 1.5 * genuine
    points = roc(scores, genuine)
    exact_x, exact_y, _ = roc_curve(genuine, scores, drop_intermediate=False)
    exact = set(zip(exact_x.tolist(), exact_y.tolist(), strict=True))
    assert len(points) < 800
    assert set(points) <= exact
    assert points == sorted(points)
    assert (points[0], points[-1]) == ((0.0, 0.0), (1.0, 1.0))
    at_zero = [y for x, y in points if x == 0]
    assert max(at_zero) == exact_y[exact_x == 0].max()
    x, y = np.array(points).T
    wanted = np.logspace(-4, 0, 50)
    on_thinned = y[np.searchsorted(x, wanted, "right") - 1]
    on_exact = exact_y[np.searchsorted(exact_x, wanted, "right") - 1]
    assert np.abs(on_thinned - on_exact).max() < 0.02


@settings(max_examples=50, deadline=None)
@given(tied_pairs(), st.integers(0, 100))
def test_thresholds_of_weighted_pairs_equal_those_of_copies(pairs, seed):
    scores, genuine = pairs
    weights = np.random.default_rng(seed).integers(0, 4, (len(scores), 8))
    order = np.argsort(-scores)
    found = lowest_accepted(
        scores[order], genuine[order], weights[order].astype(np.float32), weights[~genuine].sum(0), [0.3, 0.1]
    )
    for far, row in zip([0.3, 0.1], found, strict=True):
        for counts, threshold in zip(weights.T, row, strict=True):
            copies, kinds = np.repeat(scores, counts), np.repeat(genuine, counts)
            if kinds.all():  # no impostor pair: every genuine pair is accepted
                assert np.array_equal(threshold, copies.min() if len(copies) else np.nan, equal_nan=True)
                continue
            highest = max(copies[~kinds])
            levels = [level for level in sorted(set(copies)) if np.mean(copies[~kinds] >= level) <= far]
            assert np.array_equal(threshold, min(levels, default=np.nan), equal_nan=True)
            assert not levels or min(levels) > highest or (copies[~kinds] >= min(levels)).any()
