"""Bootstrap intervals against copies that are really laid out, and against a case whose truth is known."""

import numpy as np
import pytest

from facebridge.evaluation import verification
from facebridge.evaluation.bootstrap import (
    accuracy_interval,
    draws,
    interval,
    mean_interval,
    pair_weights,
    verification_intervals,
)


def small_pairs(seed=0, num_identities=12, num_pairs=90):
    random = np.random.default_rng(seed)
    first = random.integers(0, num_identities, num_pairs)
    second = np.where(random.random(num_pairs) < 0.4, first, random.integers(0, num_identities, num_pairs))
    genuine = first == second
    scores = random.integers(0, 12, num_pairs) / 12 + 0.4 * genuine
    return scores, genuine, first, second


def laid_out(multiplicity, first, second):
    """Indices of the pairs of one resample, each as often as its people were drawn."""
    indices = []
    for index, (one, other) in enumerate(zip(first, second, strict=True)):
        copies = multiplicity[one] if one == other else multiplicity[one] * multiplicity[other]
        indices += [index] * copies
    return indices


def test_verification_intervals_equal_those_of_copies_laid_out():
    scores, genuine, first, second = small_pairs()
    far = (0.1, 0.05)
    figures = []
    for multiplicity in draws(12, 60, seed=4):
        chosen = laid_out(multiplicity, first, second)
        result = verification(scores[chosen], genuine[chosen], far)
        none_accepted = np.mean(scores[chosen][genuine[chosen]] > scores[chosen][~genuine[chosen]].max())
        rates = [point.true_accept_rate if point.measurable else none_accepted for point in result.points]
        figures.append([result.eer, result.auc, *rates])
    low, high = np.quantile(figures, [0.025, 0.975], axis=0)
    found = verification_intervals(scores, genuine, first, second, far, num_resamples=60, seed=4)
    whole = verification(scores, genuine, far)
    assert list(found) == ["eer", "auc", 0.1, 0.05]
    assert [item.low for item in found.values()] == pytest.approx(low)
    assert [item.high for item in found.values()] == pytest.approx(high)
    assert found["eer"].value == whole.eer
    assert found[0.1].value == whole.at(0.1).true_accept_rate


def test_a_matrix_of_scores_is_resampled_as_its_pairs_are():
    random = np.random.default_rng(3)
    probe, gallery = random.integers(0, 10, 14), np.arange(10)
    scores, genuine = random.random((14, 10)), probe[:, None] == gallery
    whole = verification_intervals(scores, genuine, probe, gallery, (0.1,), 30)
    flat = np.repeat(probe, 10), np.tile(gallery, 14)
    assert verification_intervals(scores.ravel(), genuine.ravel(), *flat, (0.1,), 30) == whole
    with pytest.raises(ValueError, match=r"\(14, 10\) do not fit 10 and 14"):
        verification_intervals(scores, genuine, gallery, probe)


def test_accuracy_interval_equals_that_of_copies_laid_out():
    scores, genuine, first, second = small_pairs(seed=1)
    right = (scores > 0.7) == genuine
    figures = []
    for multiplicity in draws(12, 50, seed=2):
        chosen = np.array(laid_out(multiplicity, first, second))
        same, different = chosen[genuine[chosen]], chosen[~genuine[chosen]]
        figures.append(genuine.mean() * right[same].mean() + (~genuine).mean() * right[different].mean())
    found = accuracy_interval(right, genuine, first, second, num_resamples=50, seed=2)
    assert found.value == pytest.approx(right.mean())
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(figures, [0.025, 0.975])))


def test_interval_of_a_mean_holds_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(0)
    num_trials, held, held_if_pictures_were_drawn = 200, 0, 0
    identities = np.repeat(np.arange(60), 5)
    for trial in range(num_trials):
        chance = random.beta(4, 2, 60)  # mean 2/3; the pictures of one person succeed or fail together
        found = (random.random(300) < chance[identities]).astype(float)
        by_person = mean_interval(found, identities, num_resamples=200, seed=trial)
        by_picture = mean_interval(found, np.arange(300), num_resamples=200, seed=trial)
        held += by_person.low <= 2 / 3 <= by_person.high
        held_if_pictures_were_drawn += by_picture.low <= 2 / 3 <= by_picture.high
    assert 0.89 <= held / num_trials <= 0.99
    assert held > held_if_pictures_were_drawn


def test_interval_shrinks_with_the_root_of_the_number_of_people():
    random = np.random.default_rng(0)
    widths = []
    for num_identities in (100, 1600):
        found = mean_interval(random.normal(size=num_identities), np.arange(num_identities))
        widths.append(found.high - found.low)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.2)


def test_same_seed_same_interval():
    scores, genuine, first, second = small_pairs()
    one, same, other = (
        verification_intervals(scores, genuine, first, second, (0.1,), 40, seed=seed) for seed in (0, 0, 1)
    )
    assert one == same != other


def test_blocks_of_resamples_change_nothing(monkeypatch):
    scores, genuine, first, second = small_pairs()
    whole = verification_intervals(scores, genuine, first, second, (0.1,), 40)
    monkeypatch.setattr("facebridge.evaluation.bootstrap.WEIGHTS_PER_BLOCK", 270)
    monkeypatch.setattr("facebridge.evaluation.bootstrap.SMALLEST_BLOCK", 1)
    assert verification_intervals(scores, genuine, first, second, (0.1,), 40) == whole


def test_a_rate_that_is_not_measurable_has_no_interval():
    scores, genuine, first, second = small_pairs()
    found = verification_intervals(scores, genuine, first, second, (1e-3,), 20)[1e-3]
    assert (found.value, found.low, found.high) == (None, None, None)


def test_weights_of_a_pair_are_how_often_its_people_were_drawn():
    weights = pair_weights(np.array([[2, 3, 0]]), np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]))
    assert weights.T.tolist() == [[2, 6, 3, 0]]


def test_a_thousand_resamples_of_six_thousand_pairs_take_seconds():
    random = np.random.default_rng(0)
    first, second = random.integers(0, 4000, (2, 6000))
    second[:3000] = first[:3000]
    genuine = first == second
    scores = random.normal(size=6000) + 2 * genuine
    found = verification_intervals(scores, genuine, first, second, (0.01,))
    assert found[0.01].low < found[0.01].value < found[0.01].high
    assert found["auc"].high - found["auc"].low < 0.05


def test_nothing_to_resample_is_refused():
    with pytest.raises(ValueError, match="at least one value"):
        mean_interval([], [])
    with pytest.raises(ValueError, match="at least one value"):
        mean_interval([np.nan], ["a"])
    with pytest.raises(ValueError, match="got 2 and 1"):
        interval(lambda weights: weights.sum(0), ["a", "b"], ["a"])
