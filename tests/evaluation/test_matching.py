"""Streamed matching against dense scores, sorted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facebridge.evaluation import fuse, genuine_pairs, identification, match, pair_scores, scores, verification
from facebridge.evaluation.matching import _Tail


def signs(random, count, size=16, num_used=4):
    """Embeddings of num_used entries of -1 or 1: every cosine is a multiple of 1/4, so no product rounds."""
    embeddings = np.zeros((count, size), np.float32)
    for row in embeddings:
        row[random.choice(size, num_used, replace=False)] = random.choice([-1.0, 1.0], num_used)
    return embeddings


def assert_same_as_dense(probe, gallery, probe_ids, gallery_ids, far, tile):
    result = match(probe, gallery, probe_ids, gallery_ids, far=far, cmc_length=5, tile=tile)
    dense = scores(probe, gallery)
    assert result.identification == identification(dense, probe_ids, gallery_ids, cmc_length=5)
    assert result.verification == verification(dense, genuine_pairs(probe_ids, gallery_ids), far=far)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.tuples(st.integers(1, 70), st.integers(1, 90)))
def test_any_tile_size_gives_the_counts_of_all_scores_sorted(seed, tile):
    random = np.random.default_rng(seed)
    num_probes, num_gallery = random.integers(2, 60, 2)
    num_identities = random.integers(2, 20)
    probe_ids = random.integers(0, num_identities, num_probes)
    gallery_ids = random.integers(0, num_identities, num_gallery)
    gallery_ids[0], gallery_ids[1] = probe_ids[0], probe_ids[0] + 1
    embeddings = signs(random, num_probes), signs(random, num_gallery)
    assert_same_as_dense(*embeddings, probe_ids, gallery_ids, (0.3, 0.05, 0.01), tile)


@pytest.mark.parametrize("far", [(0.01, 0.001), (1.0,)])
def test_large_protocols_with_a_sampled_bound_give_the_counts_of_all_scores_sorted(far):
    random = np.random.default_rng(7)
    centres = signs(random, 300, size=64)
    probe_ids, gallery_ids = random.integers(0, 300, 1600), random.integers(0, 250, 1700)
    probe, gallery = (2 * centres[ids] + signs(random, len(ids), size=64) for ids in (probe_ids, gallery_ids))
    assert_same_as_dense(probe, gallery, probe_ids, gallery_ids, far, (256, 512))


def test_a_bound_that_the_sample_puts_too_high_is_corrected(monkeypatch):
    monkeypatch.setattr("facebridge.evaluation.matching._sampled_bound", lambda pairs: 0.99)
    random = np.random.default_rng(7)
    ids = random.integers(0, 10, 80)
    assert_same_as_dense(signs(random, 80), signs(random, 80), ids, ids, (0.1,), (16, 16))


def test_random_embeddings_of_any_length_agree_with_dense_scores():
    random = np.random.default_rng(2)
    centres = random.normal(size=(50, 24))
    probe_ids, gallery_ids = random.integers(0, 50, 400), np.arange(50)
    probe = (centres[probe_ids] + random.normal(size=(400, 24))) * random.uniform(0.1, 9, (400, 1))
    assert_same_as_dense(probe, centres.astype(np.float32), probe_ids, gallery_ids, (0.1, 0.01), (64, 16))


def test_scores_are_cosines():
    random = np.random.default_rng(4)
    probe, gallery = random.normal(size=(3, 8)), random.normal(size=(4, 8))
    expected = [[p @ g / np.sqrt((p @ p) * (g @ g)) for g in gallery] for p in probe]
    np.testing.assert_allclose(scores(probe, gallery), expected, atol=1e-6)
    np.testing.assert_allclose(pair_scores(probe, gallery[:3]), np.diag(expected), atol=1e-6)


def test_fused_scores_are_the_mean_of_both():
    np.testing.assert_array_equal(fuse([[0.0, 1.0]], [[1.0, 0.5]]), [[0.5, 0.75]])
    with pytest.raises(ValueError, match="one shape"):
        fuse([0.0], [0.0, 1.0])


def test_tail_keeps_the_highest_values_of_a_stream():
    values = np.random.default_rng(0).normal(size=5000).astype(np.float32)
    tail = _Tail(capacity=100, largest_batch=500, bound=-np.inf)
    for batch in np.split(values, 10):
        tail.add(batch[batch > tail.bound])
    np.testing.assert_array_equal(np.sort(tail.values)[-100:], np.sort(values)[-100:])
    assert tail.size <= 200


def test_a_gallery_that_holds_one_picture_under_two_names_is_decided_by_its_order():
    face = np.ones((1, 4), np.float32)
    result = match(face, np.repeat(face, 2, axis=0), ["b"], ["a", "b"], far=(1.0,))
    assert (result.identification.rank1, result.identification.cmc) == (0.0, (0.0, 1.0))


FACES = np.eye(4, dtype=np.float32)


@pytest.mark.parametrize(
    ("probe", "gallery", "probe_ids", "gallery_ids", "message"),
    [
        (FACES * [[1], [0], [1], [1]], FACES, "abcd", "abcd", "probe embedding 1 is zero"),
        (FACES, FACES * [[1], [1], [1], [np.nan]], "abcd", "abcd", "gallery embedding 3 is zero or not finite"),
        (FACES, FACES[:, :3], "abcd", "abcd", "of one D"),
        (FACES, FACES, "abc", "abcd", "4 probe and 4 gallery embeddings have 3 and 4 identities"),
        (FACES, FACES, "abcd", "efgh", "no probe has a mate"),
        (FACES, FACES, "aaaa", "aaaa", "no impostor pairs"),
    ],
)
def test_what_cannot_be_matched_is_refused(probe, gallery, probe_ids, gallery_ids, message):
    with pytest.raises(ValueError, match=message):
        match(probe, gallery, list(probe_ids), list(gallery_ids))
