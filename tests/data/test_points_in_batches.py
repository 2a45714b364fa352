"""Landmarks go with the faces of a batch: through aligning, mirroring and every kind of faces."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facebridge import crops, recipe
from facebridge.data import aligning, face_list, synthetic
from facebridge.data.batches import Batches
from facebridge.data.face_list import FaceList
from facebridge.data.faces import DrawnFaces, JoinedFaces, ListedFaces
from facebridge.data.samplers.choosing import sampler_of
from facebridge.images import BadPicture
from facebridge.landmarks.points68 import MIRRORED
from facebridge.recipe import SyntheticData
from tests import tiny

CROP = crops.crop("arcface_64")
PEOPLE = SyntheticData(kind="synthetic", seed=3, identities=2, shots=2, size=96)
PAIRS = {"kind": "same_person", "source": {"domain": "nir"}, "target": {"domain": "vis"}}

# iBUG's picture of the points, read off again: middle of the jaw, nose bridge and tip, middle of the lips.
ON_THE_MIDDLE = [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]
SIDES = [(0, 16), (17, 26), (36, 45), (39, 42), (37, 44), (41, 46), (31, 35), (48, 54), (60, 64), (50, 52)]


class MarkedFaces:
    """White dots on black where the 68 points lie, each at a whole pixel."""

    def __init__(self, count: int, width: int = 40) -> None:
        self.count, self.width = count, width

    def __len__(self) -> int:
        return self.count

    def identity(self, index: int) -> int:
        return index

    def points(self, index: int) -> np.ndarray:
        places = np.random.default_rng(index).permutation(30 * self.width)[:68]
        return np.stack([places % self.width, places // self.width], -1).astype(np.float32)

    def picture(self, index: int) -> np.ndarray:
        picture = np.zeros((30, self.width, 3), np.uint8)
        for number, (x, y) in enumerate(self.points(index).astype(int)):
            picture[y, x] = 100 + number
        return picture


@given(st.integers(0, 50), st.integers(1, 41))
def test_points_of_mirrored_faces_lie_on_the_same_features(step: int, width: int) -> None:
    """Each dot has a brightness of its own; in a mirrored face point i is the dot of its counterpart."""
    batch = Batches(MarkedFaces(4, max(width, 3)), 4, seed=1, points=True)(step)
    plain = Batches(MarkedFaces(4, max(width, 3)), 4, seed=1, points=True, mirror=False)(step)
    for face, points, unmirrored in zip(batch["target"], batch["target_points"], plain["target"], strict=True):
        x, y = points.long().T
        values = (face[0, y, x] * 255).round().int().tolist()
        expected = list(range(100, 168)) if bool((face == unmirrored).all()) else [100 + place for place in MIRRORED]
        assert values == expected


def test_mirroring_twice_is_nothing_and_keeps_the_middle_and_swaps_the_sides() -> None:
    assert [MIRRORED[place] for place in MIRRORED] == list(range(68))
    assert all(MIRRORED[place] == place for place in ON_THE_MIDDLE)
    assert all(MIRRORED[left] == right for left, right in SIDES)


def test_points_of_drawn_faces_are_the_true_ones_in_the_crop() -> None:
    faces = DrawnFaces(PEOPLE, CROP, ("vis", "nir"))
    shots = synthetic.render(3, [0, 0, 1, 1], [0, 1, 0, 1], size=96, truth=True)
    for index in range(8):
        five, true = shots.landmarks5[index % 4].numpy(), shots.landmarks68[index % 4].numpy()
        matrix = crops.similarity(five, CROP.points)
        expected = [matrix @ [x, y, 1] for x, y in true.tolist()]
        np.testing.assert_allclose(faces.points(index), expected, atol=1e-3)
    assert faces.points(2).dtype == np.float32


def listed(folder: Path) -> FaceList:
    return face_list.read(synthetic.render_to(folder, identities=2, shots=2, size=96, seed=3, points=68))


def test_points_of_listed_pictures_are_those_of_the_drawn_faces(tmp_path: Path) -> None:
    rows = listed(tmp_path / "drawn").where(domain="vis")
    found, drawn = ListedFaces(rows, CROP), DrawnFaces(PEOPLE, CROP)
    by_five = crops.five_points(np.asarray(rows.landmarks))  # a list of 68 points is aligned by the five in them
    for row in range(len(rows)):
        matrix = crops.similarity(by_five[row], CROP.points)
        np.testing.assert_allclose(found.points(row), crops.moved(rows.landmarks[row], matrix), atol=1e-3)
        assert np.abs(found.points(row) - drawn.points(row)).mean() < 1.5


@pytest.mark.parametrize("crop", ["arcface_64", "sphereface"])
def test_points_found_in_aligned_pictures_come_into_any_crop(crop: str, tmp_path: Path) -> None:
    rows = listed(tmp_path / "drawn").where(domain="vis")
    made = face_list.read(aligning.align(rows, crop, tmp_path / "aligned", workers=1).faces)
    found = [ListedFaces(rows, crops.crop(crop)).points(row) for row in range(len(rows))]
    first, second = ListedFaces(rows, CROP), ListedFaces(made.with_landmarks(np.stack(found)), CROP)
    for row in range(len(rows)):
        np.testing.assert_allclose(first.points(row), second.points(row), atol=0.05)


def test_a_row_without_68_points_is_a_bad_picture_that_says_what_to_do(tmp_path: Path) -> None:
    rows = face_list.read(tiny.face_list(tmp_path, 2))
    with pytest.raises(BadPicture, match="--points68"):
        ListedFaces(rows, CROP).points(0)


def test_pairs_have_points_of_both_sides() -> None:
    table = {
        "method": "cyclegan",
        "crop": "arcface_64",
        "data": {**PEOPLE.model_dump(exclude={"pairing", "generated", "yaw_range"}), "pairing": PAIRS},
        "training": {"steps": 1, "batch_size": 2},
    }
    resolved = recipe.resolve(table, "a test")
    faces = DrawnFaces(PEOPLE, CROP, ("vis", "nir"))
    sampler = sampler_of(resolved, faces)
    batch = Batches(faces, 2, 0, sampler=sampler, mirror=False, points=True)(0)
    assert batch["source_points"].shape == batch["target_points"].shape == (2, 68, 2)
    samples = [sampler.sample(0, place) for place in range(2)]
    np.testing.assert_array_equal(batch["target_points"], [faces.points(sample.target) for sample in samples])
    np.testing.assert_array_equal(batch["source_points"], [faces.points(sample.sources[0]) for sample in samples])


def test_batches_hold_points_only_where_they_are_asked_for() -> None:
    assert "target_points" not in Batches(MarkedFaces(4), 2, 0)(0)


def test_faces_that_know_no_landmarks_are_refused() -> None:
    with pytest.raises(ValueError, match="RandomFaces do not say where"):
        Batches(tiny.RandomFaces(), 2, 0, points=True)


def test_joined_faces_have_the_points_of_both() -> None:
    real, generated = DrawnFaces(PEOPLE, CROP), DrawnFaces(PEOPLE.model_copy(update={"first_identity": 7}), CROP)
    joined = JoinedFaces(real, generated)
    np.testing.assert_array_equal(joined.points(1), real.points(1))
    np.testing.assert_array_equal(joined.points(5), generated.points(1))
