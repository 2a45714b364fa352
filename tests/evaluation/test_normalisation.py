"""Score normalisation against plain loops, and what it is for: faces that score alike with everybody."""

import numpy as np
import pytest

from facebridge.evaluation import matching
from facebridge.evaluation.normalisation import ScoreNormalisation, refuse_shared


def embeddings(num: int, seed: int, size: int = 6) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=(num, size))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


PROBE, GALLERY, COHORT = embeddings(5, 0), embeddings(4, 1), embeddings(30, 2)


def by_loop(kind: str, probe: np.ndarray, gallery: np.ndarray, cohort: np.ndarray, top: int) -> list[list[float]]:
    def statistics(face: np.ndarray) -> tuple[float, float]:
        scores = sorted((float(face @ other) for other in cohort), reverse=True)[:top]
        mean = sum(scores) / len(scores)
        return mean, (sum((score - mean) ** 2 for score in scores) / len(scores)) ** 0.5

    rows = []
    for one in probe:
        row = []
        for other in gallery:
            score = float(one @ other)
            of_probe, of_gallery = statistics(one), statistics(other)
            z = (score - of_gallery[0]) / of_gallery[1]
            t = (score - of_probe[0]) / of_probe[1]
            row.append({"z": z, "t": t, "s": (z + t) / 2}[kind])
        rows.append(row)
    return rows


@pytest.mark.parametrize("kind", ["z", "t", "s"])
@pytest.mark.parametrize("top", [None, 7])
def test_normalised_scores_equal_a_plain_loop(kind: str, top: int | None) -> None:
    scores = matching.scores(PROBE, GALLERY)
    found = ScoreNormalisation(kind, COHORT, top).apply(scores, PROBE, GALLERY)
    wanted = np.array(by_loop(kind, PROBE, GALLERY, COHORT, top or len(COHORT)))
    assert found == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("kind", ["z", "t", "s"])
def test_a_list_of_pairs_is_normalised_as_the_matrix_is(kind: str) -> None:
    normalisation = ScoreNormalisation(kind, COHORT)
    rows, columns = np.array([4, 0, 0, 2]), np.array([1, 3, 0, 1])
    scores = matching.scores(PROBE, GALLERY)
    whole = normalisation.apply(scores, PROBE, GALLERY)
    pairs = normalisation.apply(scores[rows, columns], PROBE, GALLERY, (rows, columns))
    assert pairs.tolist() == whole[rows, columns].tolist()


def test_s_norm_treats_both_sides_alike() -> None:
    one = ScoreNormalisation("s", COHORT, 9).apply(matching.scores(PROBE, GALLERY), PROBE, GALLERY)
    other = ScoreNormalisation("s", COHORT, 9).apply(matching.scores(GALLERY, PROBE), GALLERY, PROBE)
    assert one == pytest.approx(other.T, abs=1e-5)


def test_statistics_do_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ScoreNormalisation("t", COHORT).statistics(PROBE)
    monkeypatch.setattr("facebridge.evaluation.normalisation.ROWS_PER_BLOCK", 2)
    blocks = ScoreNormalisation("t", COHORT).statistics(PROBE)
    assert blocks.mean == pytest.approx(whole.mean, abs=1e-6)
    assert blocks.deviation == pytest.approx(whole.deviation, abs=1e-6)


@pytest.mark.parametrize(("kind", "helps"), [("z", False), ("t", True), ("s", True)])
def test_a_shift_of_a_probe_against_everybody_is_taken_out(kind: str, helps: bool) -> None:
    """One coordinate, shared by all people, is stronger in some probes: all their scores rise together."""
    random = np.random.default_rng(5)
    people = random.normal(size=(60, 24))
    shared = 4 * np.ones((1, 1))
    gallery = np.hstack([people, np.repeat(shared, 60, 0)])
    probe = np.hstack([people + 1.2 * random.normal(size=people.shape), random.uniform(0, 8, (60, 1))])
    cohort = np.hstack([random.normal(size=(80, 24)), np.repeat(shared, 80, 0)])
    scores = matching.scores(probe, gallery)
    genuine = np.eye(60, dtype=bool)

    def accepted(values: np.ndarray) -> float:
        return float((values[genuine] > np.quantile(values[~genuine], 0.99)).mean())

    better = accepted(ScoreNormalisation(kind, cohort).apply(scores, probe, gallery)) - accepted(scores)
    assert better > 0.1 if helps else better < 0.1


def test_people_of_the_test_are_refused_in_the_cohort() -> None:
    refuse_shared(["a", "b"], ["c", "d", "c"])
    with pytest.raises(ValueError, match="2 identities are in the cohort and in the test, the first: b"):
        refuse_shared(["d", "b", "b"], ["a", "b", "d"])


def test_a_cohort_that_cannot_normalise_is_refused() -> None:
    with pytest.raises(ValueError, match="'zt'; expected one of z, t, s"):
        ScoreNormalisation("zt", COHORT)
    with pytest.raises(ValueError, match="two faces or more"):
        ScoreNormalisation("s", COHORT[:1])
    with pytest.raises(ValueError, match="top is 31; of a cohort of 30 faces"):
        ScoreNormalisation("s", COHORT, 31)
    with pytest.raises(ValueError, match="cohort embedding 2 is zero"):
        ScoreNormalisation("s", np.vstack([COHORT[:2], np.zeros((1, 6))]))
    with pytest.raises(ValueError, match="probe 0 scores alike with all of the cohort"):
        ScoreNormalisation("t", np.repeat(COHORT[:1], 3, 0)).apply(np.zeros((5, 4)), PROBE, GALLERY)
    with pytest.raises(ValueError, match="the cohort has D = 6"):
        ScoreNormalisation("t", COHORT).statistics(PROBE[:, :3])
    with pytest.raises(ValueError, match=r"scores are \(4, 5\); the faces need \(5, 4\)"):
        ScoreNormalisation("t", COHORT).apply(np.zeros((4, 5)), PROBE, GALLERY)
