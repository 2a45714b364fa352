"""Calibration against copies that are laid out, scikit-learn's ROC, plain counting, and a truth that is known."""

import json
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from facebridge.embedding import JudgeSettings
from facebridge.evaluation import bootstrap, calibration, verification
from facebridge.evaluation.bootstrap import accept_rate_intervals, draws, threshold_intervals
from facebridge.evaluation.calibration import Calibration, Scoring, calibrate
from facebridge.evaluation.normalisation import ScoreNormalisation


def small_pairs(seed: int = 0, num_identities: int = 12, num_pairs: int = 120):
    random = np.random.default_rng(seed)
    first = random.integers(0, num_identities, num_pairs)
    second = np.where(random.random(num_pairs) < 0.4, first, random.integers(0, num_identities, num_pairs))
    genuine = first == second
    scores = random.integers(0, 25, num_pairs) / 25 + 0.4 * genuine
    return scores, genuine, first, second


def matrix(random: np.random.Generator, num_people: int, of_person: float = 0.1):
    """Scores (people, people), standard normal for impostors; each person scores alike with everybody."""
    person = random.normal(size=num_people) * of_person**0.5
    noise = random.normal(size=(num_people, num_people)) * (1 - 2 * of_person) ** 0.5
    genuine = np.eye(num_people, dtype=bool)
    return (person[:, None] + person + noise + 4 * genuine), genuine


def laid_out(multiplicity, first, second):
    """Indices of the pairs of one resample, each as often as its people were drawn."""
    indices = []
    for index, (one, other) in enumerate(zip(first, second, strict=True)):
        indices += [index] * (multiplicity[one] if one == other else multiplicity[one] * multiplicity[other])
    return indices


@pytest.mark.parametrize("far", [0.04, 0.1, 1.0])
def test_threshold_interval_equals_that_of_copies_laid_out(far: float) -> None:
    scores, genuine, first, second = small_pairs(num_pairs=400)
    thresholds = []
    for multiplicity in draws(12, 80, seed=4):
        chosen = laid_out(multiplicity, first, second)
        point = verification(scores[chosen], genuine[chosen], (far,)).points[0]
        if point.measurable and np.isfinite(point.threshold):
            thresholds.append(point.threshold)
    assert len(thresholds) > 70
    (found,) = threshold_intervals(scores, genuine, first, second, (far,), num_resamples=80, seed=4)
    assert found.value == verification(scores, genuine, (far,)).points[0].threshold
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(thresholds, [0.025, 0.975])))


def test_only_the_highest_scores_are_looked_at_and_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, genuine = matrix(np.random.default_rng(2), 40)
    ids = np.arange(40)
    whole = threshold_intervals(scores, genuine, ids, ids, (0.01, 0.002), 60)
    sizes = []
    inner = bootstrap.lowest_accepted
    monkeypatch.setattr(
        bootstrap, "lowest_accepted", lambda scores, *rest: sizes.append(len(scores)) or inner(scores, *rest)
    )
    monkeypatch.setattr(bootstrap, "WEIGHTS_PER_BLOCK", 700)
    assert threshold_intervals(scores, genuine, ids, ids, (0.01, 0.002), 60) == whole
    assert threshold_intervals(scores, genuine, ids, ids, (0.002,), 60) == whole[1:]
    assert max(sizes) < 0.2 * scores.size
    assert len(sizes) > 1


def test_accept_rates_equal_those_of_copies_laid_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "WEIGHTS_PER_BLOCK", 400)  # a few pairs at a time
    scores, genuine, first, second = small_pairs(seed=3)
    thresholds = [0.5, 0.81, 0.0, 7.0]
    for kind in (genuine, ~genuine):
        shares = []
        for multiplicity in draws(12, 50, seed=1):
            copies = scores[kind][laid_out(multiplicity, first[kind], second[kind])]
            shares.append([np.mean(copies >= threshold) for threshold in thresholds])
        found = accept_rate_intervals(scores[kind], first[kind], second[kind], thresholds, 50, seed=1)
        low, high = np.quantile(shares, [0.025, 0.975], axis=0)
        assert [each.value for each in found] == [np.mean(scores[kind] >= threshold) for threshold in thresholds]
        assert [each.low for each in found] == pytest.approx(low)
        assert [each.high for each in found] == pytest.approx(high)


def test_threshold_and_rates_are_those_of_scikit_learn() -> None:
    scores, genuine = matrix(np.random.default_rng(0), 50)
    found = calibrate(scores, genuine, np.arange(50), np.arange(50), 0.02, num_resamples=20)
    rates, accepts, thresholds = roc_curve(genuine.ravel(), scores.ravel(), drop_intermediate=False)
    last = np.flatnonzero(rates <= 0.02)[-1]
    assert found.threshold.value == thresholds[last]
    assert found.false_accept_rate.value == pytest.approx(rates[last])
    assert found.true_accept_rate.value == pytest.approx(accepts[last])
    assert found.num_false_accepts == round(rates[last] * 50 * 49)
    assert (found.num_genuine, found.num_impostors, found.num_people) == (50, 50 * 49, 50)
    for bounded in (found.threshold, found.false_accept_rate, found.true_accept_rate):
        assert bounded.low <= bounded.value <= bounded.high


def test_pairs_and_their_matrix_give_one_calibration() -> None:
    scores, genuine = matrix(np.random.default_rng(1), 30)
    ids = [f"person {number}" for number in range(30)]
    whole = calibrate(scores, genuine, ids, ids, 0.02, num_resamples=20)
    flat = calibrate(scores.ravel(), genuine.ravel(), np.repeat(ids, 30).tolist(), ids * 30, 0.02, num_resamples=20)
    assert whole == flat


def test_rate_at_a_score_is_the_share_of_impostors_that_score_as_high_and_never_too_low() -> None:
    scores, genuine = matrix(np.random.default_rng(3), 60)
    scores = np.round(scores, 2).astype(np.float32)  # ties
    found = calibrate(scores, genuine, np.arange(60), np.arange(60), 0.01, num_resamples=20)
    impostors = scores[~genuine]
    asked = np.concatenate([impostors, np.linspace(-6, 8, 400, dtype=np.float32)])
    shares = np.array([np.mean(impostors >= score) for score in asked])
    rates = found.rates_at(asked)
    beyond = asked > impostors.max()
    assert found.is_beyond(asked).tolist() == beyond.tolist()
    assert (rates[~beyond, 0] >= shares[~beyond] - 1e-12).all()
    assert (rates[~beyond, 0] <= shares[~beyond] * 1.08).all()
    few = ~beyond & (shares * len(impostors) <= 20)
    assert few.any()
    assert rates[few, 0] == pytest.approx(shares[few])
    assert (rates[:, 1] <= rates[:, 0]).all()
    assert (rates[:, 0] <= rates[:, 2]).all()


def test_rate_beyond_all_impostors_is_below_one_in_their_number() -> None:
    scores, genuine = matrix(np.random.default_rng(3), 20)
    found = calibrate(scores, genuine, np.arange(20), np.arange(20), 0.01, num_resamples=20)
    highest = scores[~genuine].max()
    assert found.rates_at([highest + 1]).tolist() == [[1 / 380, 0, 3 / 380]]
    assert not found.is_beyond([highest])[0]
    assert found.rates_at([highest])[0, 0] == 1 / 380
    assert found.rates_at([scores[~genuine].min() - 1]).tolist() == [[1, found.levels[-1].low, 1]]


@given(st.lists(st.integers(0, 30), min_size=3, max_size=60), st.integers(-2, 32))
def test_rates_of_any_impostor_scores_are_exact_while_they_are_few(impostors: list[int], score: int) -> None:
    scores = np.array([*map(float, impostors), 40.0])
    genuine = np.arange(len(scores)) == len(impostors)
    first, second = np.arange(len(scores)), np.arange(len(scores)) + 1
    found = calibrate(scores, genuine, first, np.where(genuine, first, second), 0.5, num_resamples=5)
    count = sum(value >= score for value in impostors)
    rate = found.rates_at([score])[0, 0]
    assert rate >= max(count, 1) / len(impostors) - 1e-12
    if count <= 20:
        assert rate == pytest.approx(max(count, 1) / len(impostors))


@pytest.mark.slow
@pytest.mark.parametrize("of_person", [0.1, 0.2])
def test_intervals_hold_the_truth_about_as_often_as_they_say(of_person: float) -> None:
    random, far, num_trials = np.random.default_rng(1), 0.01, 100
    truth = NormalDist().inv_cdf(1 - far)
    held_threshold = held_rate = 0
    for trial in range(num_trials):
        scores, genuine = matrix(random, 60, of_person)
        ids = np.arange(60)
        (threshold,) = threshold_intervals(scores, genuine, ids, ids, (far,), 200, seed=trial)
        held_threshold += threshold.low <= truth <= threshold.high
        ends = np.nonzero(~genuine)
        rate = accept_rate_intervals(scores[~genuine], *ends, [threshold.value], 200, seed=trial)[0]
        held_rate += rate.low <= 1 - NormalDist().cdf(threshold.value) <= rate.high
    assert 0.88 <= held_threshold / num_trials <= 1
    assert 0.85 <= held_rate / num_trials <= 1


def test_scores_below_the_levels_are_let_through_too_often_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, genuine = matrix(np.random.default_rng(3), 60)
    ids = np.arange(60)
    whole = calibrate(scores, genuine, ids, ids, 0.01, num_resamples=20)
    monkeypatch.setattr(calibration, "DEEPEST", 200)
    found = calibrate(scores, genuine, ids, ids, 0.01, num_resamples=20)
    falling = np.sort(scores[~genuine])[::-1]
    assert found.levels[-1].score == falling[199]
    assert found.rates_at(falling[:20]).tolist() == whole.rates_at(falling[:20]).tolist()
    assert found.rates_at([falling[300]]).tolist() == [[1, found.levels[-1].low, 1]]


def test_a_rate_that_the_impostors_cannot_show_is_refused() -> None:
    scores, genuine = matrix(np.random.default_rng(0), 20)
    with pytest.raises(ValueError, match=r"380 impostor pairs cannot show .* 0\.001: it takes at least 1,000; add"):
        calibrate(scores, genuine, np.arange(20), np.arange(20), 1e-3)
    with pytest.raises(ValueError, match="too many impostor pairs share one score"):
        calibrate(np.zeros((20, 20)), genuine, np.arange(20), np.arange(20), 0.1)


def test_few_false_accepts_are_marked() -> None:
    scores, genuine = matrix(np.random.default_rng(0), 20)
    found = [calibrate(scores, genuine, np.arange(20), np.arange(20), far, 10).low_confidence for far in (0.01, 0.1)]
    assert found == [True, False]


def made() -> tuple[Calibration, Scoring, ScoreNormalisation]:
    scores, genuine = matrix(np.random.default_rng(0), 30)
    normalisation = ScoreNormalisation("s", np.random.default_rng(0).normal(size=(9, 4)), 5)
    scoring = calibration.scoring(JudgeSettings("embedded_judge", mirror="sum"), "sphereface", "umeyama", normalisation)
    return calibrate(scores, genuine, np.arange(30), np.arange(30), 0.01, 20), scoring, normalisation


def test_card_reads_back_as_it_was_written_with_its_cohort(tmp_path: Path) -> None:
    found, scoring, normalisation = made()
    path = tmp_path / "new" / "card.json"
    card = calibration.write(path, found, scoring, {"protocol": "drawn", "genuine pairs": 30}, normalisation)
    again = calibration.read(path)
    assert again == card
    assert again.calibration == found
    assert again.scoring.weights[0].name == "embedded_judge.safetensors"
    assert again.provenance["versions"]["facebridge"]
    assert again.provenance["time"]
    read = calibration.read_normalisation(path, again)
    assert read is not None
    assert (read.kind, read.top, read.cohort.tolist()) == ("s", 5, normalisation.cohort.tolist())
    assert sorted(file.name for file in path.parent.iterdir()) == ["card.cohort.safetensors", "card.json"]


def test_another_cohort_or_none_is_refused(tmp_path: Path) -> None:
    found, scoring, normalisation = made()
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    card = calibration.write(one, found, scoring, {}, normalisation)
    with pytest.raises(ValueError, match="another normalisation than the one given"):
        calibration.write(one, found, scoring, {})
    different = ScoreNormalisation("s", np.random.default_rng(1).normal(size=(9, 4)), 5)
    of_other = calibration.scoring(JudgeSettings("embedded_judge", mirror="sum"), "sphereface", "umeyama", different)
    calibration.write(other, found, of_other, {}, different)
    calibration.cohort_beside(other).replace(calibration.cohort_beside(one))
    with pytest.raises(ValueError, match=r"is not the cohort that one\.json was made with"):
        calibration.read_normalisation(one, card)
    calibration.cohort_beside(one).unlink()
    with pytest.raises(ValueError, match=r"one\.cohort\.safetensors: no such file; .* move the two together"):
        calibration.read_normalisation(one, card)


def test_what_is_no_card_is_refused_with_the_key(tmp_path: Path) -> None:
    found, scoring, normalisation = made()
    path = tmp_path / "card.json"
    with pytest.raises(ValueError, match="no such card; `facebridge evaluate --calibrate RATE` writes one"):
        calibration.read(path)
    calibration.write(path, found, scoring, {}, normalisation)
    entry = json.loads(path.read_text("utf-8"))
    entry["scoring"]["mirror"] = "twice"
    path.write_text(json.dumps(entry), "utf-8")
    with pytest.raises(ValueError, match=r"card\.json: is not a calibration card: scoring\.mirror"):
        calibration.read(path)
    path.write_bytes(b"\x00not JSON")
    with pytest.raises(ValueError, match="is not a calibration card: the file"):
        calibration.read(path)
