"""Comparisons say who is compared with whom, and nothing else."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from facebridge.data.face_list import FaceList
from facebridge.evaluation import bootstrap, comparison, verification
from facebridge.evaluation.comparison import GalleryAndProbes, Pairs, by_split
from facebridge.evaluation.protocol import PairProtocol
from facebridge.evaluation.verify import lowest_accepted

IDENTITIES = ["ann", "bob", "cat", "dan", "eve", "fay", "gus", "hal", "ida", "jon"]
PICTURES_EACH = 3


def faces() -> FaceList:
    paths = [f"{name}/{number}.png" for name in IDENTITIES for number in range(PICTURES_EACH)]
    return FaceList(
        Path("nowhere"),
        {
            "path": paths,
            "identity": [path.split("/")[0] for path in paths],
            "domain": ["vis"] * len(paths),
            "split": ["gallery" if path.endswith("0.png") else "probe" for path in paths],
        },
    )


def pairs() -> PairProtocol:
    """Every picture with every later one; not in the order of the face list."""
    paths = faces().column("path").tolist()
    both = [(b, a) for number, a in enumerate(paths) for b in paths[number + 1 :]][::-1]
    owners = [(a.split("/")[0], b.split("/")[0]) for a, b in both]
    return PairProtocol(
        first=tuple(a for a, _ in both),
        second=tuple(b for _, b in both),
        genuine=tuple(a == b for a, b in owners),
        fold=(0,) * len(both),
        first_identities=tuple(a for a, _ in owners),
        second_identities=tuple(b for _, b in owners),
    )


def embeddings(of: FaceList, seed: int = 0) -> NDArray[np.float32]:
    """One direction a picture, nearer to that of its identity than to others; decided by its path."""
    rows = []
    for row in of:
        person = np.random.default_rng([seed, IDENTITIES.index(row.identity)]).standard_normal(8)
        own = np.random.default_rng([seed, *row.path.encode()]).standard_normal(8)
        rows.append(person + 0.8 * own)
    found = np.array(rows, np.float32)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))


def of_path(path: str) -> NDArray[np.float32]:
    paths = faces().column("path").tolist()
    return np.asarray(embeddings(faces().take([paths.index(path)]))[0])


def test_scores_of_pairs_are_the_cosines_in_the_order_of_the_protocol() -> None:
    compared = Pairs(pairs(), faces(), "all")
    scores = compared.scores(embeddings(compared.probe), embeddings(compared.gallery))
    wanted = [float(of_path(a) @ of_path(b)) for a, b in zip(pairs().first, pairs().second, strict=True)]
    assert scores == pytest.approx(wanted, abs=1e-6)
    assert len(set(compared.gallery.column("path"))) == len(compared.gallery)
    assert len(set(compared.probe.column("path"))) == len(compared.probe)


def test_pairs_without_a_picture_are_left_out_and_the_others_keep_their_scores() -> None:
    compared = Pairs(pairs(), faces(), "all")
    bad = "bob/1.png"
    left = compared.only(compared.gallery.column("path") != bad, compared.probe.column("path") != bad)
    wanted = [
        (float(of_path(a) @ of_path(b)), genuine)
        for a, b, genuine in zip(pairs().first, pairs().second, pairs().genuine, strict=True)
        if bad not in (a, b)
    ]
    scores = left.scores(embeddings(left.probe), embeddings(left.gallery))
    assert scores == pytest.approx([score for score, _ in wanted], abs=1e-6)
    assert left.truth()["genuine"].tolist() == [genuine for _, genuine in wanted]
    assert left.describe()["pairs left out"] == len(pairs()) - len(wanted)
    assert bad not in [*left.gallery.column("path"), *left.probe.column("path")]


def test_picture_of_the_pairs_that_the_list_does_not_have_is_named() -> None:
    without = faces().take(np.array([path != "cat/2.png" for path in faces().column("path").tolist()]))
    with pytest.raises(ValueError, match=r"1 picture .* all .*cat/2\.png"):
        Pairs(pairs(), without, "all")


def test_pairs_of_one_kind_alone_are_refused() -> None:
    compared = Pairs(pairs(), faces(), "all")
    with pytest.raises(ValueError, match="of one kind"):
        compared.only(
            compared.gallery.column("identity") == "ann",
            compared.probe.column("identity") == "ann",
        )


def test_rank1_and_area_are_those_of_a_plain_loop() -> None:
    compared = by_split(faces(), "the list")
    probe, gallery = embeddings(compared.probe), embeddings(compared.gallery)
    scores = compared.scores(probe, gallery)
    found = []
    for row, of_probe in zip(compared.probe, probe, strict=True):
        cosines = [float(of_probe @ of_gallery) for of_gallery in gallery]
        best = cosines.index(max(cosines))
        found.append(compared.gallery[best].identity == row.identity)
    judged = compared.judge(scores)
    assert judged.figures["rank1"].value == pytest.approx(np.mean(found))
    assert judged.curve_cmc[0] == pytest.approx(np.mean(found))
    genuine = [p.identity == g.identity for p in compared.probe for g in compared.gallery]
    assert judged.figures["auc"].value == pytest.approx(roc_auc_score(genuine, scores.ravel()))


def test_figures_lie_in_their_intervals_and_histograms_sum_to_one() -> None:
    compared = by_split(faces(), "the list")
    judged = compared.judge(compared.scores(embeddings(compared.probe), embeddings(compared.gallery)))
    for name, figure in judged.figures.items():
        if figure.value is None:
            assert figure.reason, name
            continue
        assert figure.low is not None, name
        assert figure.high is not None, name
        assert figure.low <= figure.value <= figure.high, name
    assert sum(judged.histogram["genuine"]) == pytest.approx(1, abs=1e-3)
    assert sum(judged.histogram["impostor"]) == pytest.approx(1, abs=1e-3)
    assert judged.figures["true_accept_rate@0.0001"].value is None


def test_accuracy_of_separated_pairs_is_one() -> None:
    compared = Pairs(pairs(), faces(), "all")
    scores = np.where(compared.genuine, 0.9, 0.1) + np.linspace(0, 0.05, len(compared.genuine))
    assert compared.judge(scores).figures["accuracy"].value == 1


def test_genuine_scores_are_those_of_the_best_mate() -> None:
    compared = by_split(faces(), "the list")
    scores = compared.scores(embeddings(compared.probe), embeddings(compared.gallery))
    rows, mates, found = compared.genuine_scores(scores)
    assert rows.tolist() == list(range(len(compared.probe)))
    for row, mate, score in zip(rows, mates, found, strict=True):
        assert compared.gallery[mate].identity == compared.probe[row].identity
        assert score == scores[row, mate]


def test_probe_without_a_mate_has_no_genuine_score_and_is_counted() -> None:
    enrolled = faces().where(split="gallery", identity=IDENTITIES[:3])
    rest = faces().where(split="probe")
    together = FaceList(
        faces().root, {name: [*enrolled.column(name), *rest.column(name)] for name in faces().column_names}
    )
    compared = by_split(together, "the list")
    scores = compared.scores(embeddings(compared.probe), embeddings(compared.gallery))
    rows, _, _ = compared.genuine_scores(scores)
    assert {compared.probe[row].identity for row in rows} == set(IDENTITIES[:3])
    assert compared.describe()["probes without a mate"] == (PICTURES_EACH - 1) * len(IDENTITIES[3:])
    assert compared.judge(scores).figures["rank1"].value is not None


@pytest.mark.parametrize("part", ["gallery", "probe"])
def test_list_without_gallery_or_probe_is_refused(part: str) -> None:
    with pytest.raises(ValueError, match=f"the list.*{part}"):
        by_split(faces().where(split="probe" if part == "gallery" else "gallery"), "the list")


def test_list_without_splits_is_refused() -> None:
    columns = {name: faces().column(name) for name in ("path", "identity", "domain")}
    with pytest.raises(ValueError, match="split"):
        by_split(FaceList(faces().root, columns), "the list")


def test_nothing_left_to_compare_is_refused() -> None:
    compared = by_split(faces(), "the list")
    with pytest.raises(ValueError, match="no gallery picture or no probe"):
        compared.only(np.zeros(len(compared.gallery), bool), np.ones(len(compared.probe), bool))


def test_pictures_left_out_are_counted() -> None:
    compared = by_split(faces(), "the list")
    keep = np.ones(len(compared.probe), bool)
    keep[2] = False
    left = compared.only(np.ones(len(compared.gallery), bool), keep)
    assert isinstance(left, GalleryAndProbes)
    assert left.describe()["pictures left out"] == 1
    assert len(left.probe) == len(compared.probe) - 1


def people_of(compared: GalleryAndProbes | Pairs) -> tuple[list[int], list[int]]:
    """Both people of each score, as numbers."""
    if isinstance(compared, Pairs):
        ends = compared.second_ids.tolist(), compared.first_ids.tolist()
    else:
        both = [(probe.identity, gallery.identity) for probe in compared.probe for gallery in compared.gallery]
        ends = [one for one, _ in both], [other for _, other in both]
    return tuple([IDENTITIES.index(name) for name in end] for end in ends)  # type: ignore[return-value]


@pytest.mark.parametrize("kind", [Pairs, GalleryAndProbes])
def test_thresholds_and_their_intervals_are_those_of_copies_laid_out(kind: type) -> None:
    compared = Pairs(pairs(), faces(), "all") if kind is Pairs else by_split(faces(), "the list")
    scores = compared.scores(embeddings(compared.probe), embeddings(compared.gallery))
    first, second = people_of(compared)
    genuine = np.array(first) == np.array(second)
    point = verification(scores.ravel(), genuine, (0.01,)).at(0.01)
    found = compared.judge(scores).thresholds
    assert [each.false_accept_rate for each in found] == [1e-2, 1e-3, 1e-4]
    assert found[0].score.value == point.threshold
    assert (found[0].num_false_accepts, found[0].num_impostors) == (point.num_false_accepts, (~genuine).sum())
    assert found[0].reached == np.mean(scores.ravel()[~genuine] >= point.threshold)
    assert found[2].score.value is None
    assert "impostor pairs cannot show" in found[2].score.reason
    resampled = []
    for drawn in bootstrap.draws(len(IDENTITIES), bootstrap.NUM_RESAMPLES, seed=0):
        times = [drawn[a] if a == b else drawn[a] * drawn[b] for a, b in zip(first, second, strict=True)]
        copies, kinds = np.repeat(scores.ravel(), times), np.repeat(genuine, times)
        impostors = np.sort(copies[~kinds])[::-1]
        rejected = impostors[int(0.01 * len(impostors) + 1e-9)]
        if (copies > rejected).any():
            resampled.append(copies[copies > rejected].min())
    assert (found[0].score.low, found[0].score.high) == pytest.approx(tuple(np.quantile(resampled, [0.025, 0.975])))


def test_resamples_that_accept_far_more_find_their_thresholds_too() -> None:
    random = np.random.default_rng(2)
    people = random.integers(0, 30, (2, 6000))
    genuine = people[0] == people[1]
    # The impostor pairs of a few people score highest, so that resamples with many of them look far down.
    scores = random.normal(size=6000) + 3 * (people < 2).any(0) + 2 * genuine
    compared = comparison.Compared(people[0], people[1], people[0], people[1], genuine)
    order = np.argsort(-scores)
    weights = bootstrap.pair_weights(bootstrap.draws(30, bootstrap.NUM_RESAMPLES, 0), *people[:, order])
    totals = weights[~genuine[order]].sum(0)
    whole = lowest_accepted(scores[order], genuine[order], weights, totals, (1e-2, 1e-3))  # all pairs, all at once
    for each, row in zip(comparison.thresholds(scores, compared)[:2], whole, strict=True):
        assert (each.score.low, each.score.high) == pytest.approx(tuple(np.nanquantile(row, [0.025, 0.975])))


def test_scores_that_are_all_equal_have_no_threshold() -> None:
    compared = by_split(faces(), "the list")
    found = compared.judge(np.zeros((len(compared.probe), len(compared.gallery)))).thresholds
    assert found[0].score.value is None
    assert "no score can be accepted" in found[0].score.reason
