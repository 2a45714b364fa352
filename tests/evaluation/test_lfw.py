"""LFW accuracy against plain loops over folds and thresholds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facebridge.evaluation.folds import folds_in_order, over_folds
from facebridge.evaluation.lfw import lfw_accuracy, lfw_accuracy_of_embeddings


def view_2(num_per_kind=20, num_folds=10, separation=0.15, digits=None, seed=0):
    random = np.random.default_rng(seed)
    genuine = np.tile(np.repeat([True, False], num_per_kind), num_folds)
    scores = np.clip(random.normal(0.2 + separation * genuine, 0.15), -1, 1)
    return (scores if digits is None else scores.round(digits)), genuine


def plain_loop(scores, genuine, fold, rule):
    accuracies = []
    for judged in sorted(set(fold)):
        train, test = fold != judged, fold == judged
        if rule == "exact":
            levels = sorted(set(scores[train]))
            candidates = [-9.0] + [(a + b) / 2 for a, b in zip(levels, levels[1:], strict=False)] + [9.0]
        else:
            candidates = np.linspace(-1, 1, {"sr_lrfr": 10_001, "sphereface": 20_001}[rule])

        def right(part, threshold):
            different = scores[part] < threshold if rule == "sphereface" else scores[part] <= threshold
            return np.sum(np.where(genuine[part], scores[part] > threshold, different))

        hits = np.array([right(train, candidate) for candidate in candidates])
        best = np.array(candidates)[hits == hits.max()]
        threshold = {"exact": best[len(best) // 2], "sr_lrfr": best[-1], "sphereface": best.mean()}[rule]
        accuracies.append(right(test, threshold) / test.sum())
    return accuracies


@pytest.mark.parametrize("rule", ["sr_lrfr", "sphereface"])
def test_published_grids_equal_a_plain_loop(rule):
    scores, genuine = view_2(num_folds=3, digits=3)
    fold = folds_in_order(genuine, 3)
    result = lfw_accuracy(scores, genuine, folds=3, rule=rule)
    assert result.fold_accuracies == pytest.approx(plain_loop(scores, genuine, fold, rule))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([1, 2, None]))
def test_exact_rule_equals_a_plain_loop_over_midpoints(seed, digits):
    scores, genuine = view_2(num_per_kind=6, num_folds=4, digits=digits, seed=seed)
    result = lfw_accuracy(scores, genuine, folds=4)
    assert result.fold_accuracies == pytest.approx(plain_loop(scores, genuine, folds_in_order(genuine, 4), "exact"))
    assert result.accuracy == pytest.approx(np.mean(result.fold_accuracies))
    assert result.std == pytest.approx(np.std(result.fold_accuracies))
    assert result.right.mean() == pytest.approx(result.accuracy)


def test_folds_of_view_2_are_those_of_the_file():
    genuine = np.tile(np.repeat([True, False], 300), 10)
    assert np.array_equal(folds_in_order(genuine), np.repeat(np.arange(10), 600))


def test_folds_of_view_1_hold_as_many_pairs_of_each_kind():
    genuine = np.repeat([True, False], 500)
    fold = folds_in_order(genuine)
    assert all(np.sum((fold == k) & genuine) == np.sum((fold == k) & ~genuine) == 50 for k in range(10))
    assert np.all(np.diff(fold[:500]) >= 0)


def test_right_pairs_stand_in_the_order_of_the_scores():
    scores, genuine = view_2(num_per_kind=6, num_folds=4, seed=3)
    mixed = np.random.default_rng(0).permutation(len(scores))
    fold = folds_in_order(genuine, 4)
    one, other = lfw_accuracy(scores, genuine, fold), lfw_accuracy(scores[mixed], genuine[mixed], fold[mixed])
    assert one == other
    np.testing.assert_array_equal(one.right[mixed], other.right)
    np.testing.assert_array_equal(one.right, (scores > np.array(one.thresholds)[fold]) == genuine)


def test_perfectly_separated_scores_are_all_right_under_every_rule():
    genuine = np.tile(np.repeat([True, False], 10), 10)
    scores = np.where(genuine, 0.7, 0.1)
    for rule in ("exact", "sr_lrfr", "sphereface"):
        result = lfw_accuracy(scores, genuine, rule=rule)
        assert (result.accuracy, result.std) == (1.0, 0.0)
        assert all(0.1 <= threshold < 0.7 for threshold in result.thresholds)


def test_mean_subtraction_uses_the_other_folds_only():
    random = np.random.default_rng(5)
    _, genuine = view_2(num_per_kind=8, num_folds=4)
    first = random.normal(size=(64, 6)) + 3.0
    second = np.where(genuine[:, None], first + random.normal(size=first.shape), random.normal(size=first.shape) + 3.0)
    fold = folds_in_order(genuine, 4)
    expected = []
    for judged in range(4):
        train = fold != judged
        mean = np.vstack([first[train], second[train]]).mean(0)
        a, b = first - mean, second - mean
        scores = np.array([x @ y / np.sqrt((x @ x) * (y @ y)) for x, y in zip(a, b, strict=True)])
        expected.append(plain_loop(scores, genuine, fold, "sphereface")[judged])
    result = lfw_accuracy_of_embeddings(first, second, genuine, folds=4)
    assert result.fold_accuracies == pytest.approx(expected)


def test_without_mean_subtraction_embeddings_and_scores_agree():
    random = np.random.default_rng(5)
    genuine = np.repeat([True, False], 20)
    first, second = random.normal(size=(2, 40, 5))
    scores = (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    of_embeddings = lfw_accuracy_of_embeddings(first, second, genuine, rule="exact", mean_subtract=False)
    assert of_embeddings.fold_accuracies == lfw_accuracy(scores, genuine).fold_accuracies


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scores": [0.1] * 4, "genuine": [True, True, False, False]}, "10 folds need at least 10 genuine"),
        ({"scores": [0.1] * 4, "genuine": [True, True, False, False], "folds": 1}, "at least 2 folds"),
        ({"scores": [0.1] * 4, "genuine": [True, True, False, False], "folds": np.zeros(4, int)}, "the list has one"),
        ({"scores": [0.1] * 4, "genuine": [True, True, False, False], "folds": np.zeros(3, int)}, "each of the 4"),
        ({"scores": [2.0] * 4, "genuine": [True, True, False, False], "folds": 2, "rule": "sr_lrfr"}, "cosine"),
        ({"scores": [0.1] * 4, "genuine": [True, True, False, False], "folds": 2, "rule": "x"}, "known: exact"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        lfw_accuracy(**arguments)


def test_mean_over_no_folds_is_refused():
    assert over_folds([1.0, 0.0]) == (0.5, 0.5)
    with pytest.raises(ValueError, match="no folds"):
        over_folds([])
