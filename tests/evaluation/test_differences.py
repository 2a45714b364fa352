"""The difference of two ways and its interval equal those of resamples that are laid out pair by pair."""

from time import perf_counter
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from facebridge.evaluation import bootstrap, differences
from facebridge.evaluation.differences import difference
from facebridge.evaluation.folds import folds_in_order
from facebridge.evaluation.identify import identification
from facebridge.evaluation.lfw import lfw_accuracy
from facebridge.evaluation.verify import verification

RESAMPLES = 60


def pairs(count: int = 240, people: int = 40, seed: int = 0) -> tuple[dict[str, NDArray[Any]], list[NDArray[Any]]]:
    random = np.random.default_rng(seed)
    genuine = np.arange(count) % 2 == 0
    first = random.integers(0, people, count)
    second = np.where(genuine, first, (first + random.integers(1, people, count)) % people)
    noise = random.normal(size=count)
    scores = [np.round(0.3 * np.tanh(genuine * gain + noise), 2).astype(np.float32) for gain in (1.6, 0.8)]
    truth = {"genuine": genuine, "fold": np.zeros(count, int), "first_person": first, "second_person": second}
    return truth, scores


def resampled(truth: dict[str, NDArray[Any]]) -> list[NDArray[np.int64]]:
    """Rows of the pairs of each resample, as often as they count."""
    first, second = truth["first_person"], truth["second_person"]
    people = np.unique([first, second])
    drawn = bootstrap.draws(int(people.max()) + 1, RESAMPLES, 0)
    rows = np.arange(len(first))
    times = np.where(first == second, drawn[:, first], drawn[:, first] * drawn[:, second])
    return [np.repeat(rows, some) for some in times]


def test_difference_of_true_accept_rates_is_found_anew_in_each_resample() -> None:
    truth, (ours, theirs) = pairs()
    genuine = truth["genuine"]

    def rate(scores: NDArray[Any], rows: NDArray[np.int64]) -> float:
        values, is_genuine = scores[rows], genuine[rows]
        best = 0.0
        for threshold in np.unique(values):
            accepted = values >= threshold
            if accepted[~is_genuine].sum() <= 0.01 * (~is_genuine).sum():
                best = max(best, accepted[is_genuine].mean())
        return best

    everything = np.arange(len(genuine))
    gained = [rate(ours, rows) - rate(theirs, rows) for rows in resampled(truth)]
    found = difference(truth, ours, theirs, "true_accept_rate@0.01", RESAMPLES)
    assert found.value == pytest.approx(rate(ours, everything) - rate(theirs, everything))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(gained, [0.025, 0.975])))
    assert found.low_confidence


def test_difference_of_accuracies_keeps_the_thresholds_of_the_folds() -> None:
    truth, (ours, theirs) = pairs()
    genuine = truth["genuine"]
    judged = [lfw_accuracy(scores, genuine, folds_in_order(genuine)) for scores in (ours, theirs)]
    gained = []
    for rows in resampled(truth):
        kinds = [rows[genuine[rows]], rows[~genuine[rows]]]
        gained.append(np.mean([[judged[0].right[kind].mean() - judged[1].right[kind].mean()] for kind in kinds]))
    found = difference(truth, ours, theirs, "accuracy", RESAMPLES)
    assert found.value == pytest.approx(judged[0].accuracy - judged[1].accuracy)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(gained, [0.025, 0.975])))


def gallery_and_probes() -> tuple[dict[str, NDArray[Any]], list[NDArray[Any]]]:
    random = np.random.default_rng(3)
    probes, gallery = np.array([f"p{number % 30}" for number in range(90)]), np.array([f"p{n}" for n in range(30)])
    mates = probes[:, None] == gallery
    scores = [(mates * gain + random.normal(size=mates.shape)).astype(np.float32) for gain in (2.5, 1.5)]
    return {"probe_ids": probes, "gallery_ids": gallery}, scores


def test_difference_of_rank1_resamples_the_probes_people() -> None:
    truth, (ours, theirs) = gallery_and_probes()
    hits = [identification(scores, truth["probe_ids"], truth["gallery_ids"]).found for scores in (ours, theirs)]
    found = difference(truth, ours, theirs, "rank1")
    wanted = bootstrap.mean_interval(hits[0].astype(float) - hits[1], truth["probe_ids"])
    assert (found.value, found.low, found.high) == (wanted.value, wanted.low, wanted.high)
    assert found.value == pytest.approx(hits[0].mean() - hits[1].mean())
    assert found.low is not None
    assert found.low > 0


def test_gallery_and_probes_have_true_accept_rates_too() -> None:
    truth, (ours, theirs) = gallery_and_probes()
    genuine = truth["probe_ids"][:, None] == truth["gallery_ids"]
    rates = [verification(scores, genuine, (1e-2,)).points[0].true_accept_rate or 0 for scores in (ours, theirs)]
    found = difference(truth, ours, theirs, "true_accept_rate@0.01", RESAMPLES)
    assert found.value == pytest.approx(rates[0] - rates[1])


@pytest.mark.parametrize("metric", ["accuracy", "true_accept_rate@0.01"])
def test_a_way_does_not_differ_from_itself(metric: str) -> None:
    truth, (ours, _) = pairs()
    found = difference(truth, ours, ours, metric, RESAMPLES)
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_interval_of_the_difference_changes_sign_with_the_order() -> None:
    truth, (ours, theirs) = pairs()
    one, other = (difference(truth, *both, "accuracy", RESAMPLES) for both in ((ours, theirs), (theirs, ours)))
    mirrored = [-number for number in (one.value, one.high, one.low) if number is not None]
    assert [other.value, other.low, other.high] == pytest.approx(mirrored)


def test_what_cannot_be_shown_says_why() -> None:
    truth, (ours, theirs) = pairs()
    found = difference(truth, ours, theirs, "true_accept_rate@0.001", RESAMPLES)
    assert found.value is None
    assert "impostor pairs" in found.reason


@pytest.mark.parametrize(("metric", "known"), [("rank1", "accuracy"), ("eer", "true_accept_rate@0.01")])
def test_other_metrics_are_refused(metric: str, known: str) -> None:
    truth, (ours, theirs) = pairs()
    with pytest.raises(ValueError, match=known):
        difference(truth, ours, theirs, metric)


def test_scores_of_other_pairs_are_refused() -> None:
    truth, (ours, theirs) = pairs()
    with pytest.raises(ValueError, match="same pairs"):
        difference(truth, ours, theirs[:-1], "accuracy")


@pytest.mark.slow
def test_three_thousand_pairs_take_a_few_seconds_at_most() -> None:
    truth, (ours, theirs) = pairs(3200, 1000)
    started = perf_counter()
    difference(truth, ours, theirs, "true_accept_rate@0.01")
    assert perf_counter() - started < 5


def test_truth_of_a_comparison_names_both_people_of_each_pair() -> None:
    class Held:
        gallery_person, probe_person = np.array([0]), np.array([1])

    class Stub:
        compared = Held()

        def truth(self) -> dict[str, NDArray[Any]]:
            return {"fold": np.array([0])}

    found = differences.truth(Stub())  # type: ignore[arg-type]
    assert (found["first_person"], found["second_person"]) == (0, 1)
