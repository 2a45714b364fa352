"""Identification figures against a plain loop over probes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facebridge.evaluation import identification


def naive_ranks(scores, probe_ids, gallery_ids):
    found = []
    for row, identity in zip(scores, probe_ids, strict=True):
        if identity not in gallery_ids:
            continue
        seen = []
        for column in sorted(range(len(gallery_ids)), key=lambda column: (-row[column], column)):
            if gallery_ids[column] not in seen:
                seen.append(gallery_ids[column])
        found.append(seen.index(identity))
    return np.array(found)


@st.composite
def protocols(draw):
    num_identities = draw(st.integers(1, 6))
    probe_ids = draw(st.lists(st.integers(0, num_identities), min_size=1, max_size=8))
    gallery_ids = draw(st.lists(st.integers(0, num_identities - 1), min_size=1, max_size=10))
    probe_ids[0] = gallery_ids[0]
    num_levels = draw(st.sampled_from([1, 3, 1000]))
    seed = draw(st.integers(0, 10_000))
    scores = np.random.default_rng(seed).integers(0, num_levels, (len(probe_ids), len(gallery_ids))) / 8
    return scores, probe_ids, gallery_ids


@settings(max_examples=200, deadline=None)
@given(protocols())
def test_rank1_and_cmc_equal_a_plain_loop_with_ties_and_strangers(protocol):
    scores, probe_ids, gallery_ids = protocol
    expected = naive_ranks(scores, probe_ids, gallery_ids)
    result = identification(scores, probe_ids, gallery_ids, cmc_length=3)
    num_identities = len(set(gallery_ids))
    assert result.rank1 == np.mean(expected == 0)
    assert result.cmc == pytest.approx([np.mean(expected <= rank) for rank in range(min(3, num_identities))])
    assert (result.num_mated, result.num_unmated) == (len(expected), len(probe_ids) - len(expected))
    assert result.num_identities == num_identities
    np.testing.assert_array_equal(result.found, expected == 0)
    np.testing.assert_array_equal(result.mated, np.isin(probe_ids, gallery_ids))


def test_more_probes_than_one_block_are_all_counted():
    random = np.random.default_rng(0)
    gallery_ids = [f"person {number}" for number in range(40)] * 2
    probe_ids = [f"person {number}" for number in random.integers(0, 50, 700)]
    scores = random.random((700, 80)).astype(np.float32)
    expected = naive_ranks(scores, probe_ids, gallery_ids)
    result = identification(scores, probe_ids, gallery_ids, cmc_length=40)
    assert result.cmc == pytest.approx([np.mean(expected <= rank) for rank in range(40)])


def test_constant_scores_find_only_the_first_identity():
    result = identification(np.zeros((4, 4)), ["a", "b", "c", "d"], ["c", "a", "b", "d"])
    assert (result.rank1, result.cmc) == (0.25, (0.25, 0.5, 0.75, 1.0))


@pytest.mark.parametrize(
    ("scores", "probe_ids", "gallery_ids", "message"),
    [
        (np.zeros((2, 2)), ["a"], ["a", "b"], "1 probes"),
        (np.zeros((1, 2)), ["z"], ["a", "b"], "no probe has a mate"),
        (np.zeros((1, 0)), ["z"], [], "no probe has a mate"),
        (np.array([[0.0, np.nan]]), ["a"], ["a", "b"], "probe 0 and gallery picture 1 is nan"),
        (np.zeros((1, 2)), [1], ["1", "2"], "probe identities are numbers but gallery identities are names"),
        (np.zeros((2, 2)), [1, "a"], ["1", "2"], "probe_ids mixes"),
        (np.zeros((1, 2)), [0.5], [1, 2], "whole numbers"),
    ],
)
def test_what_cannot_be_ranked_is_refused(scores, probe_ids, gallery_ids, message):
    with pytest.raises(ValueError, match=message):
        identification(scores, probe_ids, gallery_ids)
