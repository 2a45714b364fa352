import gc
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from facebridge import crops, images, recipe
from facebridge.data import batches as subject
from facebridge.data import face_list
from facebridge.data.batches import Ahead, Batches, DrawnFaces, ListedFaces
from facebridge.images import BadPicture
from facebridge.recipe import SyntheticData
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


def test_listed_faces_are_the_pictures_on_disk_with_identities_numbered_by_name(tmp_path: Path) -> None:
    rows = face_list.read(tiny.face_list(tmp_path, 5))
    listed, wanted = ListedFaces(rows, crops.crop("sphereface")), tiny.RandomFaces(5)
    assert len(listed) == 5
    for index in range(5):
        np.testing.assert_array_equal(listed.picture(index), wanted.picture(index))
        assert listed.identity(index) == wanted.identity(index)


def test_a_picture_of_another_size_without_landmarks_is_a_bad_picture(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    images.write(path, np.zeros((128, 128, 3), np.uint8))
    with pytest.raises(BadPicture, match="no landmarks, and 128x128 px is not the sphereface crop's 112x96"):
        subject.aligned(path, None, crops.crop("sphereface"))


def test_a_picture_with_landmarks_is_aligned_by_them(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    picture = np.random.default_rng(0).integers(0, 256, (140, 150, 3), np.uint8)
    images.write(path, picture)
    crop = crops.crop("sphereface")
    points = np.array(crop.points, np.float32) + np.array([20, 10], np.float32)
    found = subject.aligned(path, points, crop)
    difference = np.abs(found.astype(int) - picture[10:122, 20:116].astype(int))
    assert difference.max() <= 1  # the same picture, 20 px further left and 10 px higher


@pytest.mark.parametrize("wanted", [{"split": "test"}, {"domain": "nir"}])
def test_a_list_without_the_wanted_rows_is_refused(tmp_path: Path, wanted: dict[str, str]) -> None:
    table = tiny.table()
    table["data"] |= {"list": str(with_splits(tmp_path)), **wanted}
    with pytest.raises(ValueError, match=r"faces\.csv: none of its 2 rows has"):
        subject.faces_of(recipe.resolve(table, "a test"))


def test_only_the_wanted_rows_of_a_list_are_trained_on(tmp_path: Path) -> None:
    table = tiny.table()
    table["data"] |= {"list": str(with_splits(tmp_path)), "split": "train"}
    assert len(subject.faces_of(recipe.resolve(table, "a test"))) == 1


def test_drawn_faces_are_aligned_people_the_same_every_time() -> None:
    data = SyntheticData(kind="synthetic", identities=2, shots=2, size=64, first_identity=5)
    crop = crops.crop("sphereface")
    drawn = DrawnFaces(data, crop)
    assert len(drawn) == 4
    assert Counter(drawn.identity(index) for index in range(4)) == {0: 2, 1: 2}
    picture = drawn.picture(3)
    assert picture.shape == (crop.height, crop.width, 3)
    assert picture.dtype == np.uint8
    assert picture.std() > 5
    np.testing.assert_array_equal(picture, DrawnFaces(data, crop).picture(3))


def with_splits(folder: Path) -> Path:
    path = folder / "faces.csv"
    path.write_text("path,identity,domain,split\na.png,one,vis,train\nb.png,two,vis,validation\n", "utf-8")
    return path
