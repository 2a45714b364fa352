"""Which rows stand together: that pairs come from labels alone, and come as often as is said."""

import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from facebridge import crops
from facebridge import recipe as recipes
from facebridge.data.face_list import FaceList
from facebridge.data.faces import JoinedFaces, ListedFaces
from facebridge.data.samplers import (
    ProfileToFrontal,
    RealAndGenerated,
    SamePerson,
    SameShot,
    Sample,
    Sampler,
    SeveralOfOnePerson,
    SingleFaces,
    Unpaired,
)
from facebridge.data.samplers.choosing import sampler_of
from tests import tiny

CHANCE = 1e-4
"""A test of chances fails for one seed in ten thousand; the seeds are fixed."""

people = st.lists(st.integers(0, 4), min_size=1, max_size=20)
seeds = st.integers(0, 2**63 - 1)


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def every(count: int) -> np.ndarray:
    return np.arange(count)


def epoch(sampler: Sampler, seed: int = 0, number: int = 0) -> list[Sample]:
    return [sampler.sample(seed, number * len(sampler) + offset) for offset in range(len(sampler))]


def pairs_of(samples: Sequence[Sample]) -> list[tuple[int, int]]:
    return [(sample.sources[0], sample.target) for sample in samples]


def is_even(counts: Counter[Any], of: int) -> bool:
    """Whether each of so many outcomes is as frequent as any other."""
    seen = [*counts.values(), *[0] * (of - len(counts))]
    return of == 1 or stats.chisquare(seen).pvalue > CHANCE


def samplers() -> dict[str, Sampler]:
    """One of each kind on twelve rows of four persons: even rows nir, odd ones vis, turned and frontal."""
    identities, pairs = every(12) // 3, np.array([f"m{row // 2}" for row in range(12)])
    nir, vis = every(12)[::2], every(12)[1::2]
    yaw_deg = np.tile([-60.0, 0.0, 30.0], 4)
    domains = np.array(["nir", "vis"] * 6)
    same_person = SamePerson(identities, nir, vis)
    return {
        "single": SingleFaces(every(12)),
        "unpaired": Unpaired(nir, vis),
        "same_person": same_person,
        "same_shot": SameShot(every(12) // 2, pairs, nir, vis),
        "profile_to_frontal": ProfileToFrontal(
            identities, yaw_deg, domains, every(12), every(12), source_at_least_deg=15, target_at_most_deg=10
        ),
        "several": SeveralOfOnePerson(identities, every(12), every(12), pictures=2),
        "mixed": RealAndGenerated(same_person, Unpaired(nir, vis), 0.25),
    }


@pytest.mark.parametrize("kind", samplers())
@given(seed=seeds, places=st.lists(st.integers(0, 500), min_size=1, max_size=10))
def test_a_place_holds_the_same_rows_whatever_was_asked_before(kind: str, seed: int, places: list[int]) -> None:
    used, fresh = samplers()[kind], samplers()[kind]
    for place in places:
        assert used.sample(seed, place) == samplers()[kind].sample(seed, place)
    assert [fresh.sample(seed, place) for place in reversed(places)] == [
        used.sample(seed, place) for place in reversed(places)
    ]


@pytest.mark.parametrize("kind", samplers())
def test_seeds_and_epochs_have_orders_of_their_own(kind: str) -> None:
    sampler = samplers()[kind]
    places = range(3 * len(sampler))
    orders = [[sampler.sample(seed, place) for place in places] for seed in (0, 1, 2**63 - 1)]
    assert orders[0] != orders[1] != orders[2]
    assert epoch(sampler, 0, 0) != epoch(sampler, 0, 1)


@given(count=st.integers(1, 12), seed=seeds)
def test_single_faces_come_once_an_epoch_without_a_source(count: int, seed: int) -> None:
    sampler = SingleFaces(every(count) + 100)
    for number in range(3):
        samples = epoch(sampler, seed, number)
        assert sorted(sample.target for sample in samples) == list(range(100, 100 + count))
        assert all(sample.sources == () for sample in samples)


def test_single_faces_follow_the_order_that_the_faces_shuffle_themselves() -> None:
    def by_shard(generator: np.random.Generator) -> np.ndarray:
        return np.concatenate([shard * 5 + generator.permutation(5) for shard in generator.permutation(4)])

    sampler = SingleFaces(every(20), by_shard)
    for number in range(3):
        order = [sample.target for sample in epoch(sampler, 3, number)]
        assert sorted(order) == list(range(20))
        assert sum(one // 5 != other // 5 for one, other in pairwise(order)) == 3


@given(num_sources=st.integers(1, 12), num_targets=st.integers(1, 12), seed=seeds)
def test_every_row_of_the_larger_side_comes_once_an_epoch_unpaired(
    num_sources: int, num_targets: int, seed: int
) -> None:
    sources, targets = every(num_sources), 100 + every(num_targets)
    pairs = pairs_of(epoch(Unpaired(sources, targets), seed, 1))
    assert len(pairs) == max(num_sources, num_targets)
    assert {source for source, _ in pairs} <= set(sources.tolist())
    assert {target for _, target in pairs} <= set(targets.tolist())
    if num_sources >= num_targets:
        assert sorted(source for source, _ in pairs) == sources.tolist()
    if num_targets > num_sources:
        assert sorted(target for _, target in pairs) == targets.tolist()


@pytest.mark.parametrize(("num_sources", "num_targets"), [(6, 4), (4, 6), (5, 5)])
def test_unpaired_source_says_nothing_about_the_target(num_sources: int, num_targets: int) -> None:
    sampler = Unpaired(every(num_sources), every(num_targets))
    table = np.zeros((num_sources, num_targets))
    for place in range(12000):
        sample = sampler.sample(7, place)
        table[sample.sources[0], sample.target] += 1
    assert stats.chi2_contingency(table).pvalue > CHANCE
    assert is_even(Counter(dict(enumerate(table.sum(0)))), num_targets)
    assert is_even(Counter(dict(enumerate(table.sum(1)))), num_sources)


def test_lists_in_which_line_n_of_both_sides_is_one_person_leak_no_pairs() -> None:
    sampler = Unpaired(every(20), every(20))
    together = sum(source == target for number in range(200) for source, target in pairs_of(epoch(sampler, 0, number)))
    assert stats.binomtest(together, 4000, 1 / 20).pvalue > CHANCE


@given(identities=people, is_source=st.integers(0, 2**20), is_target=st.integers(0, 2**20), seed=seeds)
def test_two_pictures_of_one_person_as_a_plain_loop_finds_them(
    identities: list[int], is_source: int, is_target: int, seed: int
) -> None:
    sources = [row for row in range(len(identities)) if is_source >> row & 1]
    targets = [row for row in range(len(identities)) if is_target >> row & 1]
    partners = {
        source: [row for row in targets if identities[row] == identities[source] and row != source]
        for source in sources
    }
    expected = sorted(source for source in sources if partners[source])

    def make() -> SamePerson:
        return SamePerson(np.array(identities), rows(*sources), rows(*targets))

    if not expected:
        with pytest.raises(ValueError, match="another row of the same person"):
            make()
        return
    sampler = make()
    assert sampler.left_out == len(sources) - len(expected)
    pairs = pairs_of(epoch(sampler, seed, 2))
    assert sorted(source for source, _ in pairs) == expected
    assert all(target in partners[source] for source, target in pairs)


def test_each_other_picture_of_a_person_is_the_target_as_often() -> None:
    identities = rows(0, 0, 0, 0, 1, 1, 2, 2, 2)
    sampler = SamePerson(identities, every(9), every(9))
    counts = Counter(pair for number in range(900) for pair in pairs_of(epoch(sampler, 5, number)))
    for source in range(9):
        others = Counter({target: count for (row, target), count in counts.items() if row == source})
        assert source not in others
        assert others.total() == 900
        assert is_even(others, int((identities == identities[source]).sum()) - 1)


def test_a_batch_sorted_by_person_and_camera_still_has_both_cameras() -> None:
    identities = np.repeat(every(5), 8)
    is_nir = np.tile([True] * 4 + [False] * 4, 5)
    sampler = SamePerson(identities, np.flatnonzero(is_nir), np.flatnonzero(~is_nir))
    for source, target in pairs_of(epoch(sampler)):
        assert is_nir[source] > is_nir[target]
        assert identities[source] == identities[target]


def test_pairs_that_must_be_alike_agree_in_all_columns() -> None:
    identities, session = rows(0, 0, 0, 0, 0, 1), np.array(["1", "1", "2", "2", "1", "1"])
    light = np.array(["a", "b", "a", "b", "a", "a"])
    sampler = SamePerson(identities, every(6), every(6), alike=[session, light])
    assert set(pairs_of(epoch(sampler))) == {(0, 4), (4, 0)}
    assert sampler.left_out == 4


def test_pairs_of_one_shot_share_person_and_name_of_the_pair() -> None:
    identities = rows(0, 0, 0, 0, 1, 1, 1, 1)
    pairs = np.array(["a", "a", "b", "", "a", "a", "c", ""])
    sampler = SameShot(identities, pairs, every(8), every(8))
    samples = epoch(sampler)
    assert set(pairs_of(samples)) == {(0, 1), (1, 0), (4, 5), (5, 4)}
    assert sampler.left_out == 4
    assert all(sample.mirrored_together for sample in samples)


def test_shots_without_a_partner_are_refused_with_advice() -> None:
    with pytest.raises(
        ValueError, match=r"2 source rows \(1 of them with a `pair`\).*fill the column `pair`.*same_per"
    ):
        SameShot(rows(0, 0, 0), np.array(["a", "", ""]), rows(0, 1), rows(2))


@given(
    identities=people,
    yaw_deg=st.lists(st.sampled_from([-90.0, -20.0, -5.0, 0.0, 12.0, 45.0, np.nan]), min_size=20, max_size=20),
    domains=st.lists(st.sampled_from(["vis", "profile", "nir"]), min_size=20, max_size=20),
    seed=seeds,
)
def test_profiles_go_with_frontal_faces_of_the_same_person(
    identities: list[int], yaw_deg: list[float], domains: list[str], seed: int
) -> None:
    count = len(identities)

    def turned(row: int) -> bool:
        return domains[row] == "profile" if np.isnan(yaw_deg[row]) else abs(yaw_deg[row]) >= 20

    def frontal(row: int) -> bool:
        return domains[row] == "vis" if np.isnan(yaw_deg[row]) else abs(yaw_deg[row]) <= 5

    wanted = {
        source
        for source in range(count)
        if turned(source) and any(frontal(row) and identities[row] == identities[source] for row in range(count))
    }
    known = (np.array(identities), np.array(yaw_deg[:count]), np.array(domains[:count]), every(count), every(count))
    if not wanted:
        with pytest.raises(ValueError, match="no person is among both"):
            ProfileToFrontal(*known, source_at_least_deg=20, target_at_most_deg=5)
        return
    pairs = pairs_of(epoch(ProfileToFrontal(*known, source_at_least_deg=20, target_at_most_deg=5), seed))
    assert sorted(source for source, _ in pairs) == sorted(wanted)
    assert all(frontal(target) and identities[source] == identities[target] for source, target in pairs)


@pytest.mark.parametrize(("at_least", "at_most"), [(10, 10), (5, 10), (10, -1)])
def test_limits_that_overlap_are_refused(at_least: float, at_most: float) -> None:
    with pytest.raises(ValueError, match="more than that for the source"):
        ProfileToFrontal(
            rows(0, 0),
            np.zeros(2),
            np.array(["vis"] * 2),
            every(2),
            every(2),
            source_at_least_deg=at_least,
            target_at_most_deg=at_most,
        )


@given(identities=people, pictures=st.integers(2, 4), repeat=st.booleans(), seed=seeds)
def test_several_pictures_are_of_one_person_and_the_target_is_another_one(
    identities: list[int], pictures: int, repeat: bool, seed: int
) -> None:
    counts = Counter(identities)
    kept = sorted(person for person, count in counts.items() if repeat or count >= pictures)
    known = (np.array(identities), every(len(identities)), every(len(identities)))
    if not kept:
        with pytest.raises(ValueError, match="ask for fewer pictures"):
            SeveralOfOnePerson(*known, pictures=pictures)
        return
    sampler = SeveralOfOnePerson(*known, pictures=pictures, fewer="repeat" if repeat else "leave_out")
    assert sampler.left_out == sum(count for person, count in counts.items() if person not in kept)
    samples = epoch(sampler, seed, 1)
    assert sorted(identities[sample.target] for sample in samples) == kept, "every person once an epoch"
    for sample in samples:
        person = identities[sample.target]
        assert len(sample.sources) == pictures
        assert {identities[row] for row in sample.sources} == {person}
        times = Counter(sample.sources)
        assert len(times) == min(pictures, counts[person])
        assert max(times.values()) - min(times.values()) <= 1
        assert (sample.target in sample.sources) == (counts[person] <= pictures)


def test_each_set_of_pictures_of_a_person_comes_as_often() -> None:
    sampler = SeveralOfOnePerson(np.zeros(4, np.int64), every(4), every(4), pictures=2)
    samples = [sampler.sample(1, place) for place in range(6000)]
    assert is_even(Counter(frozenset(sample.sources) for sample in samples), 6)
    assert is_even(Counter(sample.target for sample in samples), 4)


def test_one_picture_of_a_person_is_no_several() -> None:
    with pytest.raises(ValueError, match="ask for two or more"):
        SeveralOfOnePerson(rows(0, 0), every(2), every(2), pictures=1)


@given(
    share=st.fractions(0, 1, max_denominator=10).filter(lambda share: 0 < share < 1),
    batches=st.integers(1, 6),
    step=st.integers(0, 50),
)
def test_every_batch_holds_exactly_its_share_of_generated_faces(share: Any, batches: int, step: int) -> None:
    mixed = RealAndGenerated(SingleFaces(every(7)), SingleFaces(100 + every(5)), float(share))
    batch_size = share.denominator * batches
    samples = [mixed.sample(0, step * batch_size + slot) for slot in range(batch_size)]
    assert sum(sample.is_generated for sample in samples) == share * batch_size
    assert all(sample.is_generated == (sample.target >= 100) for sample in samples)
    for processes in (divisor for divisor in range(1, batch_size + 1) if batch_size % divisor == 0):
        part = batch_size // processes
        for rank in range(processes):
            found = sum(sample.is_generated for sample in samples[rank * part : (rank + 1) * part])
            assert abs(found - share * part) < 1


@given(share=st.sampled_from([0.1, 0.25, 1 / 3, 0.5, 0.9]), seed=seeds)
def test_real_and_generated_faces_keep_orders_and_epochs_of_their_own(share: float, seed: int) -> None:
    mixed = RealAndGenerated(SingleFaces(every(6)), SingleFaces(every(4)), share)
    samples = [mixed.sample(seed, place) for place in range(400)]
    real = [sample.target for sample in samples if not sample.is_generated]
    generated = [sample.target for sample in samples if sample.is_generated]
    assert real == [SingleFaces(every(6)).sample(seed, place).target for place in range(len(real))]
    for count, order in ((6, real), (4, generated)):
        for first in range(0, len(order) - count + 1, count):
            assert sorted(order[first : first + count]) == list(range(count))
    within = samples[: len(mixed)]
    assert {sample.target for sample in within if sample.is_generated} == set(range(4))
    assert {sample.target for sample in within if not sample.is_generated} == set(range(6))


def test_real_and_generated_faces_of_equal_number_are_shuffled_differently() -> None:
    mixed = RealAndGenerated(SingleFaces(every(50)), SingleFaces(every(50)), 0.5)
    samples = [mixed.sample(0, place) for place in range(100)]
    assert [one.target for one in samples[::2]] != [one.target for one in samples[1::2]]


@given(share=st.sampled_from([0.1, 0.5, 2 / 3, 0.9]), place=st.integers(0, 99))
def test_a_generated_place_is_followed_by_the_next_generated_one(share: float, place: int) -> None:
    mixed = RealAndGenerated(SingleFaces(every(6)), SingleFaces(every(4)), share)
    kinds = [mixed.sample(0, other).is_generated for other in range(150)]
    assert mixed.following(place) == place + 1 + kinds[place + 1 :].index(kinds[place])


def test_kinds_with_different_numbers_of_sources_cannot_be_mixed() -> None:
    single, pair = SingleFaces(every(3)), Unpaired(every(3), every(3))
    with pytest.raises(ValueError, match="real samples have 1 sources and generated ones 0"):
        RealAndGenerated(pair, single, 0.5)
    for share in (0.0, 1.0, -0.5, 1e-9):
        with pytest.raises(ValueError, match="above 0 and below 1"):
            RealAndGenerated(single, single, share)


def many(count: int) -> dict[str, Callable[[], Sampler]]:
    identities = np.random.default_rng(0).integers(0, count // 20, count)
    nir, vis = every(count)[::2], every(count)[1::2]
    return {
        "unpaired": lambda: Unpaired(nir, vis),
        "same_person": lambda: SamePerson(identities, nir, vis),
        "several": lambda: SeveralOfOnePerson(identities, nir, vis, pictures=3),
    }


@pytest.mark.parametrize("kind", many(100))
def test_a_large_list_costs_bytes_a_row_and_no_objects(kind: str) -> None:
    count = 200_000
    make = many(count)[kind]
    tracemalloc.start()
    sampler = make()
    for place in (0, 1, len(sampler) + 1):
        sampler.sample(0, place)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 40 * count
    assert peak < 150 * count


PAIRINGS: dict[str, dict[str, Any]] = {
    "unpaired": {"source": {"domain": "nir"}, "target": {"domain": "vis"}},
    "same_person": {"source": {"domain": "nir"}, "target": {"domain": "vis"}, "alike": ["session"]},
    "same_shot": {"source": {"domain": "nir"}, "target": {"domain": "vis"}},
    "profile_to_frontal": {},
    "several": {"pictures": 2, "target": {"domain": "vis"}},
}


def listed(order: Sequence[int], prefix: str = "") -> ListedFaces:
    """24 rows of four persons, by the numbers in `order`; some names stand for two faces in one picture."""
    numbers = np.array(order)
    columns = {
        "path": [f"{prefix}{number % 20}.png" for number in numbers],
        "region": ["" if number < 20 else "0 0 5 5" for number in numbers],
        "identity": [f"{prefix}person{number // 6}" for number in numbers],
        "domain": [["nir", "vis"][number % 2] for number in numbers],
        "session": [f"{number // 2 % 2}" for number in numbers],
        "pair": [f"moment{number // 2}" for number in numbers],
        "yaw_deg": [[0.0, 5.0, 60.0][number // 2 % 3] for number in numbers],
    }
    return ListedFaces(FaceList(Path("pictures"), columns), crops.crop("sphereface"))


def recipe_of(pairing: dict[str, Any], batch_size: int = 4, **data: Any) -> recipes.Recipe:
    table = tiny.table(batch_size=batch_size)
    return recipes.resolve(table | {"data": table["data"] | {"pairing": pairing} | data}, "a test")


def named(faces: ListedFaces, samples: Sequence[Sample]) -> list[tuple[tuple[str, str], ...]]:
    paths, regions = faces.column("path").tolist(), faces.column("region").tolist()
    return [tuple((paths[row], regions[row]) for row in (sample.target, *sample.sources)) for sample in samples]


@pytest.mark.parametrize("kind", PAIRINGS)
@given(order=st.permutations(range(24)), seed=seeds)
def test_the_order_of_a_lists_lines_changes_no_pair(kind: str, order: list[int], seed: int) -> None:
    recipe = recipe_of({"kind": kind, **PAIRINGS[kind]})
    found = []
    for faces in (listed(range(24)), listed(order)):
        sampler = sampler_of(recipe, faces)
        found.append(named(faces, [sampler.sample(seed, place) for place in range(2 * len(sampler))]))
    assert found[0] == found[1]


@pytest.mark.parametrize("kind", PAIRINGS)
def test_generated_faces_are_paired_as_the_recipe_says_of_real_ones(kind: str) -> None:
    faces = JoinedFaces(listed(range(24)), listed(range(24), "generated_"))
    recipe = recipe_of({"kind": kind, **PAIRINGS[kind]}, generated={"list": "generated.csv", "share": 0.25})
    sampler = sampler_of(recipe, faces)
    identities, domains = faces.column("identity").tolist(), faces.column("domain").tolist()
    for place in range(200):
        sample = sampler.sample(0, place)
        assert {row >= 24 for row in (sample.target, *sample.sources)} == {sample.is_generated}
        assert kind == "unpaired" or {identities[row] for row in sample.sources} == {identities[sample.target]}
        if kind in ("unpaired", "same_person", "same_shot"):
            assert {domains[row] for row in sample.sources} == {"nir"}
        if kind != "profile_to_frontal":
            assert domains[sample.target] == "vis"
    assert sum(sampler.sample(0, place).is_generated for place in range(8, 12)) == 1


def test_generated_faces_may_be_paired_in_a_way_of_their_own() -> None:
    faces = JoinedFaces(listed(range(24)), listed(range(24), "generated_"))
    sides = {"source": {"domain": "nir"}, "target": {"domain": "vis"}}
    generated = {"list": "generated.csv", "share": 0.5, "pairing": {"kind": "same_shot", **sides}}
    sampler = sampler_of(recipe_of({"kind": "same_person", **sides}, generated=generated), faces)
    pairs = faces.column("pair").tolist()
    samples = [sampler.sample(0, place) for place in range(100)]
    assert all(sample.mirrored_together == sample.is_generated for sample in samples)
    assert all(pairs[one.target] == pairs[one.sources[0]] for one in samples if one.is_generated)
    assert any(pairs[one.target] != pairs[one.sources[0]] for one in samples if not one.is_generated)


def test_single_faces_are_mixed_with_generated_ones() -> None:
    faces = JoinedFaces(listed(range(24)), listed(range(24), "generated_"))
    recipe = recipe_of({"kind": "none"}, domain="vis", generated={"list": "generated.csv", "share": 0.5})
    samples = epoch(sampler_of(recipe, faces))
    assert {sample.target for sample in samples if not sample.is_generated} == set(range(1, 24, 2))
    assert {sample.target for sample in samples if sample.is_generated} == set(range(24, 48))


def test_a_share_that_is_no_whole_number_of_a_batch_is_refused() -> None:
    faces = JoinedFaces(listed(range(24)), listed(range(24), "generated_"))
    recipe = recipe_of({"kind": "none"}, batch_size=6, generated={"list": "generated.csv", "share": 0.25})
    with pytest.raises(ValueError, match=r"share=0\.25 of 6 faces is no whole number"):
        sampler_of(recipe, faces)


def test_faces_without_labels_serve_only_as_single_ones() -> None:
    assert len(sampler_of(recipe_of({"kind": "none"}), tiny.RandomFaces(7))) == 7
    with pytest.raises(ValueError, match=r"RandomFaces do not say what makes pairs: set data\.pairing\.kind=none"):
        sampler_of(recipe_of({"kind": "same_person"}), tiny.RandomFaces(7))
    with pytest.raises(ValueError, match="give both as JoinedFaces"):
        sampler_of(recipe_of({"kind": "none"}, generated={"list": "a.csv", "share": 0.5}), tiny.RandomFaces(7))


def test_a_column_to_be_alike_in_that_is_not_there_is_named() -> None:
    recipe = recipe_of({"kind": "same_person", "alike": ["light"]})
    with pytest.raises(ValueError, match="no column 'light'; it has path, region"):
        sampler_of(recipe, listed(range(24)))
