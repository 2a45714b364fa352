"""Errors by group against plain loops over pairs, copies laid out, and scikit-learn."""

from functools import cache
from math import inf, nan, prod
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import recall_score

from facebridge.data.face_list import FaceList
from facebridge.evaluation import bootstrap, groups, verification
from facebridge.evaluation.comparison import GalleryAndProbes, Pairs, by_rows, by_split
from facebridge.evaluation.groups import Grouping, by_group, members
from facebridge.evaluation.protocol import PairProtocol
from facebridge.evaluation.result import Groups

PEOPLE, PROBES_EACH = 24, 4
TONES = ("light", "medium", "dark")
YAWS = (-50.0, 5.0, 20.0, -20.0)
RESAMPLES = 40


def faces(people: int = PEOPLE) -> FaceList:
    """One gallery picture and some probes of each; the tone is the person's, the yaw the picture's."""
    each = 1 + PROBES_EACH
    names = [f"p{number:03}" for number in range(people) for _ in range(each)]
    return FaceList(
        Path("nowhere"),
        {
            "path": [f"{name}/{place % each}.png" for place, name in enumerate(names)],
            "identity": names,
            "domain": ["vis"] * len(names),
            "split": ["gallery" if place % each == 0 else "probe" for place in range(len(names))],
            "yaw_deg": [0.0 if place % each == 0 else YAWS[place % each - 1] for place in range(len(names))],
            "skin_tone": [TONES[int(name[1:]) % len(TONES)] for name in names],
        },
    )


def scored(compared: GalleryAndProbes | Pairs, seed: int = 0) -> NDArray[np.float64]:
    """Scores with few levels (ties), higher for genuine pairs, and higher among some people than among others."""
    random = np.random.default_rng(seed)
    shape = compared.compared.genuine.shape
    alike = 0.35 * (compared.compared.probe_person % 3 == 2) * (compared.compared.gallery_person % 3 == 2)
    raw = random.normal(size=shape) + 2.2 * compared.compared.genuine + alike
    scores = np.asarray(np.round(raw, 1))
    return scores if isinstance(compared, Pairs) else scores.reshape(len(compared.probe), len(compared.gallery))


def comparison() -> GalleryAndProbes:
    return by_split(faces(), "drawn")


def pairs() -> Pairs:
    """Some pairs of probes, either one first."""
    listed = faces()
    rows = list(listed.where(split="probe"))
    random = np.random.default_rng(5)
    chosen = [(int(a), int(b)) for a, b in random.integers(0, len(rows), (4000, 2)) if a != b]
    return Pairs(
        PairProtocol(
            first=tuple(rows[a].path for a, _ in chosen),
            second=tuple(rows[b].path for _, b in chosen),
            genuine=tuple(rows[a].identity == rows[b].identity for a, b in chosen),
            fold=(0,) * len(chosen),
            first_identities=tuple(rows[a].identity for a, _ in chosen),
            second_identities=tuple(rows[b].identity for _, b in chosen),
        ),
        listed,
        "pairs",
    )


@cache
def plain(compared: GalleryAndProbes | Pairs) -> list[tuple[str, str, str, str, float, float]]:
    """Of each pair, as the scores lie: both people, both tones, both yaws."""
    if isinstance(compared, GalleryAndProbes):
        both = [(probe, gallery) for probe in compared.probe for gallery in compared.gallery]
    else:
        both = [
            (compared.probe[int(second)], compared.gallery[int(first)])
            for first, second in zip(compared.first, compared.second, strict=True)
        ]
    return [
        (p.identity, g.identity, p.extra["skin_tone"], g.extra["skin_tone"], p.yaw_deg or 0.0, g.yaw_deg or 0.0)
        for p, g in both
    ]


def counted(
    compared: GalleryAndProbes | Pairs, scores: NDArray[np.float64], threshold: float, drawn: list[int]
) -> dict[str, list[int]]:
    """Per tone: false rejects, genuine pairs, false accepts, impostor pairs; each as often as its people were drawn."""
    counts = {tone: [0, 0, 0, 0] for tone in TONES}
    for pair, score in zip(plain(compared), scores.ravel().tolist(), strict=True):
        one, other, tone, other_tone, _, _ = pair
        if one == other:
            counts[tone][0] += drawn[int(one[1:])] * (score < threshold)
            counts[tone][1] += drawn[int(one[1:])]
        elif tone == other_tone:
            times = drawn[int(one[1:])] * drawn[int(other[1:])]
            counts[tone][2] += times * (score >= threshold)
            counts[tone][3] += times
    return counts


def by_tone(
    compared: GalleryAndProbes | Pairs, scores: NDArray[np.float64], far: tuple[float, ...] = (0.05,)
) -> Groups:
    division = members(Grouping("skin_tone"), compared.probe, compared.gallery)
    return by_group(scores, compared.compared, division, compared.found(scores), far, RESAMPLES)


@pytest.mark.parametrize("make", [comparison, pairs])
def test_rates_of_people_are_those_of_a_plain_loop_over_pairs(make) -> None:  # type: ignore[no-untyped-def]
    compared = make()
    scores = scored(compared)
    found = by_tone(compared, scores)
    threshold = verification(scores.ravel(), compared.compared.genuine, (0.05,)).at(0.05).threshold
    assert threshold is not None
    assert found.threshold.value == threshold
    assert found.impostors == "within"
    wanted = counted(compared, scores, threshold, [1] * PEOPLE)
    assert [group.name for group in found.groups] == sorted(TONES)
    for group in found.groups:
        rejected, genuine, accepted, impostors = wanted[group.name]
        assert (group.num_genuine, group.num_impostors) == (genuine, impostors)
        assert group.num_people == PEOPLE // len(TONES)
        assert group.figures["false_reject_rate"].value == pytest.approx(rejected / genuine)
        assert group.figures["false_accept_rate"].value == pytest.approx(accepted / impostors)


def test_rates_of_pictures_are_those_of_scikit_learn_over_the_probes_of_a_group() -> None:
    compared = comparison()
    scores = scored(compared)
    found = by_group(
        scores,
        compared.compared,
        members(Grouping.parse("yaw_deg:0,10,30,90"), compared.probe, compared.gallery),
        num_resamples=RESAMPLES,
    )
    assert found.impostors == "probe"
    assert found.column == "absolute yaw_deg"
    assert [group.name for group in found.groups] == ["0 to 10", "10 to 30", "30 to 90"]
    yaws = np.abs([pair[4] for pair in plain(compared)])
    genuine, accepted = compared.compared.genuine, scores.ravel() >= (found.threshold.value or inf)
    for group, inside in zip(found.groups, (yaws < 10, (yaws >= 10) & (yaws < 30), yaws >= 30), strict=True):
        recall = recall_score(genuine[inside], accepted[inside])
        specificity = recall_score(genuine[inside], accepted[inside], pos_label=False)
        assert group.figures["false_reject_rate"].value == pytest.approx(1 - recall)
        assert group.figures["false_accept_rate"].value == pytest.approx(1 - specificity)
        assert "rank1" not in group.figures


def test_rank1_of_a_group_searches_the_whole_gallery() -> None:
    compared = comparison()
    scores = scored(compared)
    found = by_tone(compared, scores)
    for group in found.groups:
        hits = [
            compared.gallery[int(np.argmax(row))].identity == probe.identity
            for row, probe in zip(scores, compared.probe, strict=True)
            if probe.extra["skin_tone"] == group.name
        ]
        assert group.figures["rank1"].value == pytest.approx(np.mean(hits))


def share(errors: int, pairs: int) -> float:
    return errors / pairs if pairs else nan


@pytest.mark.parametrize("make", [comparison, pairs])
def test_intervals_and_ratios_equal_those_of_copies_laid_out(make) -> None:  # type: ignore[no-untyped-def]
    compared = make()
    scores = scored(compared, seed=3)
    found = by_tone(compared, scores)
    resampled = []
    for drawn in bootstrap.draws(PEOPLE, RESAMPLES, seed=0):
        counts = counted(compared, scores, found.threshold.value or inf, drawn.tolist())
        in_order = [counts[tone] for tone in sorted(TONES)]
        resampled.append(np.array([[of[0] / of[1] for of in in_order], [share(of[2], of[3]) for of in in_order]]))
    low, high = np.nanquantile(resampled, [0.025, 0.975], axis=0)
    exact = np.array([[group.figures[kind].value for group in found.groups] for kind in groups.KINDS], float)
    for row, kind in enumerate(groups.KINDS):
        for place, group in enumerate(found.groups):
            figure = group.figures[kind]
            assert (figure.low, figure.high) == pytest.approx((low[row, place], high[row, place]), abs=1e-6)
        apart = np.array([rates[row].min() / rates[row].max() for rates in resampled])
        to_mean = np.array([prod(rates[row]) ** (1 / 3) / rates[row].max() for rates in resampled])
        for figure, inverse, value in (
            (found.largest_ratio[kind], apart, exact[row].max() / exact[row].min()),
            (found.ratio_to_mean[kind], to_mean, exact[row].max() / prod(exact[row]) ** (1 / 3)),
        ):
            ends = np.nanquantile(inverse, [0.975, 0.025])
            assert figure.value == pytest.approx(value, rel=1e-5)
            assert figure.low == pytest.approx(1 / ends[0], rel=1e-5)
            assert figure.high == (None if ends[1] == 0 else pytest.approx(1 / ends[1], rel=1e-5))
            assert (figure.high is None) == ("no upper limit" in figure.reason)


def with_column(name: str, values: list[str], people: int = PEOPLE) -> GalleryAndProbes:
    return by_split(faces(people).with_column(name, values), "drawn")


def test_group_without_errors_has_no_ratio_and_says_which() -> None:
    compared = comparison()
    scores = scored(compared)
    light = [pair[2] == pair[3] == "light" and pair[0] != pair[1] for pair in plain(compared)]
    scores[np.reshape(light, scores.shape)] = -5
    found = by_tone(compared, scores)
    rate = next(group for group in found.groups if group.name == "light").figures["false_accept_rate"]
    assert (rate.value, rate.high, rate.low_confidence) == (0, None, True)
    ratio = found.largest_ratio["false_accept_rate"]
    assert ratio.value is None
    assert ratio.reason == "no false accepts in light: the ratio has no upper limit"
    assert found.largest_ratio["false_reject_rate"].value is not None


def test_unknown_values_are_a_group_of_their_own_and_in_no_ratio() -> None:
    listed = faces()
    tones = [("", "nan", tone)[min(row % 40, 2)] for row, tone in enumerate(listed.column("skin_tone").tolist())]
    compared = with_column("skin_tone", tones)
    division = members(Grouping("skin_tone"), compared.probe, compared.gallery)
    assert division.names == [*sorted(TONES), "unknown"]
    assert division.num_known == len(TONES)
    found = by_tone(compared, scored(compared))
    rates = [group.figures["false_reject_rate"].value or nan for group in found.groups]
    assert found.groups[-1].num_people < groups.FEW_PEOPLE
    assert found.groups[-1].figures["false_reject_rate"].low_confidence
    ratio = found.largest_ratio["false_reject_rate"]
    assert ratio.value == pytest.approx(max(rates[:3]) / min(rates[:3]), rel=1e-5)


def test_group_without_pairs_is_not_measurable_and_left_out_of_the_ratio() -> None:
    tones = faces().column("skin_tone").tolist()
    tones[:5] = ["alone"] * 5  # nobody else: no impostor within the group
    compared = with_column("skin_tone", tones)
    found = by_tone(compared, scored(compared))
    alone = found.groups[0]
    assert alone.name == "alone"
    assert alone.figures["false_accept_rate"].reason == "the group has no impostor pairs"
    ratio = found.largest_ratio["false_accept_rate"]
    assert ratio.value is not None
    assert "without alone" in ratio.reason


def test_threshold_is_set_where_the_pairs_can_show_it() -> None:
    rates = []
    for people in (24, 8, 3):
        compared = by_split(faces(people), "few")
        found = by_tone(compared, scored(compared), groups.THRESHOLD_FALSE_ACCEPT_RATES)
        rates.append((found.false_accept_rate, found.threshold.value is not None))
    assert rates == [(1e-3, True), (1e-2, True), (1e-2, False)]
    assert "24 impostor pairs" in found.threshold.reason
    assert found.groups[0].figures["false_reject_rate"].reason == found.threshold.reason
    assert found.largest_ratio["false_accept_rate"].value is None
    assert found.groups[0].figures["rank1"].value is not None


def test_equal_scores_accept_nobody_and_say_so() -> None:
    compared = comparison()
    found = by_tone(compared, np.zeros((len(compared.probe), len(compared.gallery))))
    assert found.threshold.value is None
    assert "no score can be accepted" in found.threshold.reason


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("skin_tone", Grouping("skin_tone")),
        ("yaw_deg:0,15,30", Grouping("yaw_deg", (0, 15, 30))),
        ("age:0,18.5,inf", Grouping("age", (0, 18.5, inf))),
    ],
)
def test_column_and_borders_are_read(text: str, wanted: Grouping) -> None:
    assert Grouping.parse(text) == wanted


@pytest.mark.parametrize(
    "text", ["", ":0,1", "age:", "age:1", "age:1,0", "age:0,x", "age:nan,1", "age:-inf,0", "age:0,0"]
)
def test_borders_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"groups .*expected"):
        Grouping.parse(text)


@given(st.lists(st.one_of(st.none(), st.floats(-200, 200, width=32)), min_size=2, max_size=20))
def test_every_number_is_in_the_one_group_whose_borders_hold_it(values: list[float | None]) -> None:
    listed = FaceList(
        Path("nowhere"),
        {
            "path": [f"{row}" for row in range(len(values))],
            "identity": ["a"] * len(values),
            "domain": ["vis"] * len(values),
            "yaw_deg": [nan if value is None else value for value in values],
        },
    )
    division = members(Grouping("yaw_deg"), listed, listed.take([0]))
    for value, place in zip(values, division.probe, strict=True):
        name = division.names[place]
        if value is None:
            assert name == "unknown"
        elif abs(value) > 90:
            assert name == "outside the borders"
        else:
            low, high = map(float, name.split(" to "))
            assert low <= abs(value) < high or abs(value) == high == 90


def test_numbers_without_borders_are_sorted_as_numbers() -> None:
    compared = with_column("monk", [str(row % 11) for row in range(len(faces()))])
    assert members(Grouping("monk"), compared.probe, compared.gallery).names == [str(number) for number in range(11)]


def test_age_is_divided_by_borders_and_open_above() -> None:
    compared = with_column("age", [str(row) for row in range(len(faces()))])
    division = members(Grouping("age"), compared.probe, compared.gallery)
    assert division.names == ["0 to 18", "18 to 30", "30 to 45", "45 to 60", "60 and more"]
    assert division.impostors == "within"
    worded = with_column("age", ["young", "old"] * (len(faces()) // 2))
    assert members(Grouping("age"), worded.probe, worded.gallery).names == ["old", "young"]


def test_other_columns_tell_people_apart_if_nine_in_ten_have_one_value() -> None:
    people = faces().column("identity").tolist()
    for num_mixed, wanted in ((2, "within"), (3, "probe")):
        values = ["x" if row % 2 and int(name[1:]) < num_mixed else "y" for row, name in enumerate(people)]
        compared = with_column("glasses", values)
        assert members(Grouping("glasses"), compared.probe, compared.gallery).impostors == wanted


def test_columns_that_cannot_divide_are_named() -> None:
    compared = comparison()
    for text, message in (
        ("hair", r"no column 'hair'; it has .*skin_tone"),
        ("path", "'path' has 120 different values"),
        ("skin_tone:0,1,2", "'(light|medium|dark)' is no number"),
    ):
        with pytest.raises(ValueError, match=message):
            members(Grouping.parse(text), compared.probe, compared.gallery)


def test_columns_of_a_protocol_divide_the_faces_that_it_names() -> None:
    listed = faces()
    bare = FaceList(listed.root, {name: listed.column(name) for name in ("path", "identity", "domain")})
    compared = by_rows(listed, bare, "protocol")
    found = by_tone(compared, scored(compared))
    assert found == by_tone(comparison(), scored(comparison()))
