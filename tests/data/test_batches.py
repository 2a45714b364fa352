import gc
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from facebridge import recipe as recipes
from facebridge import training
from facebridge.data.batches import Ahead, Batches
from facebridge.data.samplers import (
    RealAndGenerated,
    SamePerson,
    SameShot,
    Sampler,
    SeveralOfOnePerson,
    SingleFaces,
    Unpaired,
)
from facebridge.images import BadPicture
from tests import tiny


class NumberedFaces:
    """Pictures of 2x3 px whose left column holds their own number; some cannot be used."""

    def __init__(self, count: int, bad: frozenset[int] = frozenset()) -> None:
        self.count = count
        self.bad = bad

    def __len__(self) -> int:
        return self.count

    def identity(self, index: int) -> int:
        return 1000 + index

    def picture(self, index: int) -> np.ndarray:
        if index in self.bad:
            raise BadPicture(Path(f"{index}.png"), "made for this test")
        picture = np.zeros((2, 3, 3), np.uint8)
        picture[:, 0] = index + 1
        return picture


def numbers(batch: dict[str, Tensor]) -> list[int]:
    """Which faces are in a batch, mirrored or not."""
    return [round(float(face.max()) * 255) - 1 for face in batch["target"]]


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@given(
    count=st.integers(3, 12),
    bad=st.sets(st.integers(0, 2), max_size=2),
    seed=st.integers(0, 2**63 - 1),
    asked=st.lists(st.integers(0, 20), min_size=1, max_size=8),
)
def test_a_step_has_the_same_batch_whatever_was_asked_before(
    count: int, bad: set[int], seed: int, asked: list[int]
) -> None:
    faces = NumberedFaces(count, frozenset(bad))
    used = Batches(faces, 3, seed)
    for step in asked:
        assert same(used(step), Batches(faces, 3, seed)(step))


@given(count=st.integers(2, 30), batch_size=st.integers(1, 7), seed=st.integers(0, 99))
def test_every_picture_comes_once_an_epoch(count: int, batch_size: int, seed: int) -> None:
    batch_size = min(batch_size, count)
    batches = Batches(NumberedFaces(count), batch_size, seed)
    order = [number for step in range(3 * count // batch_size + 1) for number in numbers(batches(step))]
    for epoch in range(3):
        assert sorted(order[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    faces = NumberedFaces(50)
    batches = Batches(faces, 50, 0)
    assert numbers(batches(0)) != numbers(batches(1))
    assert numbers(batches(0)) != numbers(Batches(faces, 50, 1)(0))


def test_identities_go_with_their_pictures() -> None:
    batch = Batches(NumberedFaces(9), 4, 0)(1)
    assert [1000 + number for number in numbers(batch)] == batch["target_identity"].tolist()
    assert batch["target_identity"].dtype == torch.int64


@given(processes=st.sampled_from([1, 2, 3, 6]), step=st.integers(0, 9), seed=st.integers(0, 9))
def test_the_processes_share_the_batch_of_one_process(processes: int, step: int, seed: int) -> None:
    faces = NumberedFaces(8)
    whole = Batches(faces, 6, seed)(step)
    parts = [Batches(faces, 6, seed, rank=rank, processes=processes)(step) for rank in range(processes)]
    for name, tensor in whole.items():
        assert torch.equal(torch.cat([part[name] for part in parts]), tensor)


def test_a_bad_picture_is_reported_once_and_the_next_one_takes_its_place() -> None:
    reported: list[BadPicture] = []
    batches = Batches(NumberedFaces(6, frozenset({4})), 6, 0, mirror=False, report=reported.append)
    good = numbers(Batches(NumberedFaces(6), 6, 0, mirror=False)(0))
    following = [*good, *numbers(Batches(NumberedFaces(6), 6, 0, mirror=False)(1))]
    place = good.index(4)
    found = [numbers(batches(step)) for step in (0, 1, 0)]
    assert [str(bad.path) for bad in reported] == ["4.png"]
    replaced = next(number for number in following[place + 1 :] if number != 4)
    assert found[0] == [*good[:place], replaced, *good[place + 1 :]]
    assert found[0] == found[2]


def test_one_good_picture_is_found_among_bad_ones_wherever_the_order_has_it() -> None:
    batches = Batches(NumberedFaces(12, frozenset(range(11))), 12, 0)
    for step in range(10):
        assert numbers(batches(step)) == [11] * 12


def test_when_no_picture_can_be_used_the_error_names_one_and_its_cause() -> None:
    reported: list[BadPicture] = []
    batches = Batches(NumberedFaces(3, frozenset({0, 1, 2})), 2, 0, report=reported.append)
    with pytest.raises(ValueError, match=r"none of the 3 pictures can be used.*\.png.*made for this test"):
        batches(0)
    assert len(reported) == 3


@pytest.mark.parametrize(
    ("count", "processes", "message"),
    [(3, 1, "3 faces are fewer than one batch of 4"), (9, 3, "cannot be shared evenly by 3 processes")],
)
def test_a_batch_that_cannot_be_made_is_refused(count: int, processes: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Batches(NumberedFaces(count), 4, 0, processes=processes)


def test_half_of_the_faces_are_mirrored_and_the_seed_decides_which() -> None:
    faces = NumberedFaces(40)

    def mirrored(seed: int) -> list[bool]:
        batches = Batches(faces, 40, seed)
        return [bool(face[0, 0, -1] > 0) for step in range(50) for face in batches(step)["target"]]

    found = mirrored(0)
    assert abs(np.mean(found) - 0.5) < 5 * 0.5 / len(found) ** 0.5  # five standard deviations
    assert mirrored(0) == found
    assert mirrored(1) != found


def test_without_mirroring_every_face_is_as_it_was() -> None:
    batch = Batches(NumberedFaces(20), 20, 0, mirror=False)(0)
    assert all(face[0, 0, 0] > 0 and face[0, 0, -1] == 0 for face in batch["target"])


def test_ahead_gives_the_batches_of_direct_calls() -> None:
    batches = Batches(NumberedFaces(7), 3, 0)
    ahead = list(Ahead(batches, 2, 9))
    assert [step for step, _ in ahead] == list(range(2, 9))
    assert all(same(batch, batches(step)) for step, batch in ahead)


def test_ahead_of_nothing_makes_nothing() -> None:
    asked: list[int] = []

    def make(step: int) -> dict[str, Tensor]:
        asked.append(step)
        return {}

    assert list(Ahead(make, 4, 4)) == []
    assert asked == []


def test_ahead_makes_one_batch_more_than_is_used_and_stops_its_thread() -> None:
    before = threading.active_count()
    asked: list[int] = []

    def make(step: int) -> dict[str, Tensor]:
        asked.append(step)
        return {}

    for step, _ in Ahead(make, 0, 100):
        if step == 3:
            break
    gc.collect()
    assert asked[-1] <= 4
    assert threading.active_count() == before


def test_ahead_makes_the_next_batch_while_one_is_used() -> None:
    made = threading.Event()

    def make(step: int) -> dict[str, Tensor]:
        if step == 1:
            made.set()
        return {}

    for step, _ in Ahead(make, 0, 2):
        if step == 0:
            assert made.wait(10)


def test_an_error_in_the_thread_arrives_at_its_step() -> None:
    def make(step: int) -> dict[str, Tensor]:
        time.sleep(0.001)
        if step == 2:
            raise ValueError("the third batch")
        return {}

    ahead = iter(Ahead(make, 0, 5))
    assert [next(ahead)[0], next(ahead)[0]] == [0, 1]
    with pytest.raises(ValueError, match="the third batch"):
        next(ahead)


PEOPLE = np.arange(12) // 3
NIR, VIS = np.arange(12)[::2], np.arange(12)[1::2]


def samplers() -> dict[str, Sampler]:
    """Pairs among twelve faces, three of each person."""
    same_person, single = SamePerson(PEOPLE, NIR, VIS), SingleFaces(np.arange(6))
    return {
        "unpaired": Unpaired(NIR, VIS),
        "same_person": same_person,
        "same_person, mirrored together": SamePerson(PEOPLE, NIR, VIS, mirror_together=True),
        "same_shot": SameShot(np.arange(12) // 2, np.array(["one"] * 12), NIR, VIS),
        "several": SeveralOfOnePerson(PEOPLE, np.arange(12), np.arange(12), pictures=2),
        "mixed": RealAndGenerated(same_person, Unpaired(NIR, VIS), 0.5),
        "mixed single faces": RealAndGenerated(single, SingleFaces(np.arange(6, 12)), 0.5),
    }


def rows_in(batch: dict[str, Tensor], name: str) -> list[int]:
    """Which faces stand under a name of a batch, mirrored or not."""
    return [round(float(face.max()) * 255) - 1 for face in batch[name].flatten(0, -4)]


def is_mirrored(batch: dict[str, Tensor], name: str) -> np.ndarray:
    return (batch[name].flatten(0, -4)[:, 0, 0, -1] > 0).numpy()


@pytest.mark.parametrize("kind", samplers())
@given(step=st.integers(0, 30), seed=st.integers(0, 2**63 - 1), processes=st.sampled_from([1, 2, 4]))
def test_processes_share_a_batch_of_pairs_without_overlap(kind: str, step: int, seed: int, processes: int) -> None:
    faces = NumberedFaces(12)
    whole = Batches(faces, 4, seed, sampler=samplers()[kind])(step)
    parts = [
        Batches(faces, 4, seed, sampler=samplers()[kind], rank=rank, processes=processes)(step)
        for rank in range(processes)
    ]
    assert all(len(tensor) == 4 for tensor in whole.values())
    assert same({name: torch.cat([part[name] for part in parts]) for name in whole}, whole)


@pytest.mark.parametrize("kind", samplers())
@given(bad=st.sets(st.integers(0, 11), max_size=2), asked=st.lists(st.integers(0, 9), min_size=1, max_size=5))
def test_a_step_has_the_same_pairs_whatever_was_asked_before(kind: str, bad: set[int], asked: list[int]) -> None:
    faces = NumberedFaces(12, frozenset(bad))
    used = Batches(faces, 4, 0, sampler=samplers()[kind])
    for step in asked:
        assert same(used(step), Batches(faces, 4, 0, sampler=samplers()[kind])(step))


def test_a_batch_of_pairs_is_what_the_sampler_says() -> None:
    for kind, sampler in samplers().items():
        batch = Batches(NumberedFaces(12), 4, 0, sampler=sampler)(3)
        samples = [sampler.sample(0, 12 + slot) for slot in range(4)]
        assert rows_in(batch, "target") == [sample.target for sample in samples]
        assert batch["target"].shape == (4, 3, 2, 3)
        assert batch["target_identity"].tolist() == [1000 + sample.target for sample in samples]
        assert ("is_generated" in batch) == kind.startswith("mixed")
        if "is_generated" in batch:
            assert batch["is_generated"].tolist() == [sample.is_generated for sample in samples]
            assert batch["is_generated"].dtype == torch.bool
        if "single" in kind:
            assert "source" not in batch
            continue
        assert rows_in(batch, "source") == [row for sample in samples for row in sample.sources]
        assert batch["source"].shape == ((4, 2, 3, 2, 3) if kind == "several" else (4, 3, 2, 3))
        assert batch["source_identity"].tolist() == [1000 + sample.sources[0] for sample in samples]
        assert all(tensor.is_contiguous() for tensor in batch.values())


@pytest.mark.parametrize("kind", samplers().keys() - {"mixed single faces"})
def test_half_of_all_pictures_are_mirrored_together_or_each_for_itself(kind: str) -> None:
    found = [Batches(NumberedFaces(12), 4, 0, sampler=samplers()[kind])(step) for step in range(500)]
    target = np.concatenate([is_mirrored(batch, "target") for batch in found])
    source = np.concatenate([is_mirrored(batch, "source").reshape(4, -1)[:, -1] for batch in found])
    bound = 5 * 0.5 / len(target) ** 0.5  # five standard deviations
    assert abs(target.mean() - 0.5) < bound
    assert abs(source.mean() - 0.5) < bound
    if kind in ("same_shot", "same_person, mirrored together"):
        assert (target == source).all()
    else:
        assert abs((target == source).mean() - 0.5) < bound


def test_pictures_of_one_person_are_mirrored_each_for_itself() -> None:
    batches = Batches(NumberedFaces(12), 4, 0, sampler=samplers()["several"])
    first, second = np.concatenate([is_mirrored(batches(step), "source").reshape(4, 2) for step in range(500)]).T
    assert abs((first == second).mean() - 0.5) < 5 * 0.5 / len(first) ** 0.5


def test_targets_are_mirrored_alike_with_and_without_sources() -> None:
    single = Batches(NumberedFaces(12), 4, 0)
    paired = Batches(NumberedFaces(12), 4, 0, sampler=samplers()["same_person"])
    for step in range(20):
        assert (is_mirrored(single(step), "target") == is_mirrored(paired(step), "target")).all()


@pytest.mark.parametrize("kind", samplers())
def test_a_pair_with_a_bad_picture_is_replaced_as_a_whole(kind: str) -> None:
    bad = frozenset({0, 1, 7})
    sampler, reported = samplers()[kind], list[BadPicture]()
    batches = Batches(NumberedFaces(12, bad), 4, 0, sampler=sampler, mirror=False, report=reported.append)
    for step in range(12):
        batch = batches(step)
        for slot in range(4):
            place = 4 * step + slot
            while bad & {(sample := sampler.sample(0, place)).target, *sample.sources}:
                place = sampler.following(place)
            assert rows_in(batch, "target")[slot] == sample.target
            if sampler.num_sources:
                width = sampler.num_sources
                assert rows_in(batch, "source")[slot * width : (slot + 1) * width] == list(sample.sources)
        if "is_generated" in batch:
            assert batch["is_generated"].sum() == 2
    names = [str(one.path) for one in reported]
    assert len(names) == len(set(names))
    assert set(names) <= {f"{row}.png" for row in bad}


def test_pairs_of_which_none_can_be_used_are_refused_with_a_name() -> None:
    batches = Batches(NumberedFaces(12, frozenset(VIS.tolist())), 4, 0, sampler=samplers()["same_person"])
    with pytest.raises(ValueError, match=r"no pair was found .* of 12 cannot, the last: .*\.png.*made for this test"):
        batches(0)


def test_fewer_pairs_than_a_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="6 pairs are fewer than one batch of 8"):
        Batches(NumberedFaces(12), 8, 0, sampler=samplers()["same_person"])


def test_a_training_on_pairs_of_drawn_people_goes_on_bit_for_bit(tmp_path: Path) -> None:
    people = {"kind": "synthetic", "identities": 4, "shots": 2, "size": 32}
    pairing = {"kind": "same_shot", "source": {"domain": "nir"}}
    table = tiny.table(steps=4) | {"data": {**people, "pairing": pairing}}
    unbroken = recipes.resolve(table, "a test")
    training.train(unbroken, tmp_path / "unbroken", device="cpu", progress=False)
    run = training.train(unbroken, tmp_path / "broken", device="cpu", progress=False)
    run.weights.unlink()
    for path in (run.folder / "checkpoints").iterdir():
        if "00000004" in path.name:
            path.unlink()
    training.train(unbroken, tmp_path / "broken", resume=True, device="cpu", progress=False)
    tiny.assert_same_weights(tmp_path / "unbroken", tmp_path / "broken")


def test_a_bad_picture_that_is_remembered_holds_nothing() -> None:
    class Heavy(NumberedFaces):
        def picture(self, index: int) -> np.ndarray:
            shard = np.zeros(1_000_000, np.uint8)
            held.append(weakref.ref(shard))
            return super().picture(index)

    held: list[weakref.ref[np.ndarray]] = []
    batches = Batches(Heavy(6, frozenset({1, 2, 4})), 6, 0)
    batches(0)
    gc.collect()
    assert len(batches.bad) == 3
    assert not [reference for reference in held if reference() is not None]
