"""From a row to an aligned face: by landmarks, by a recorded crop, inside a region - or not at all."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from facebridge import crops, images
from facebridge.data import reading
from facebridge.data.face_list import FaceList
from facebridge.images import BadPicture
from tests import drawn

SPHEREFACE, ARCFACE = crops.crop("sphereface"), crops.crop("arcface")


def one(folder: Path, picture: np.ndarray, points: np.ndarray | None = None, **columns: str) -> FaceList:
    images.write(folder / "a.png", picture)
    cells = {"path": ["a.png"], "identity": ["ann"], "domain": ["vis"]} | {key: [text] for key, text in columns.items()}
    return FaceList(folder, cells, None if points is None else points[None])


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_face_that_names_the_wanted_crop_is_returned_bit_for_bit(tmp_path: Path) -> None:
    face = noise(112, 96)
    assert np.array_equal(reading.aligned(one(tmp_path, face, crop="sphereface"), 0, SPHEREFACE), face)


def test_another_crop_is_derived_from_the_recorded_one(tmp_path: Path) -> None:
    face = noise(112, 96)
    found = reading.aligned(one(tmp_path, face, crop="sphereface"), 0, ARCFACE)
    wanted = np.zeros((112, 112, 3), np.uint8)
    wanted[:, 8:104] = face  # the two templates differ by eight columns
    assert np.array_equal(found, wanted)


def test_recorded_crop_wins_over_the_landmarks_of_the_row(tmp_path: Path) -> None:
    face = noise(112, 96)
    faces = one(tmp_path, face, np.array(SPHEREFACE.points, np.float32) + 20, crop="sphereface")
    assert np.array_equal(reading.aligned(faces, 0, SPHEREFACE), face)


def test_reduced_face_of_a_crop_keeps_its_points_in_place(tmp_path: Path) -> None:
    shot = drawn.shots()
    face = crops.align(shot.vis[0][0], shot.five[0, 0], SPHEREFACE)
    small = cv2.resize(face, (48, 56), interpolation=cv2.INTER_AREA)
    found = reading.aligned(one(tmp_path, small, crop="sphereface"), 0, SPHEREFACE)
    again = cv2.resize(small, (96, 112), interpolation=cv2.INTER_CUBIC)
    inside = (slice(4, -4), slice(4, -4))
    assert np.abs(found[inside].astype(int) - again[inside]).max() <= 2
    assert reading.located(one(tmp_path, small, crop="sphereface"), 0)[1] == pytest.approx(
        (np.array(SPHEREFACE.points) + 0.5) / 2 - 0.5, abs=1e-4
    )


def test_landmarks_count_in_the_whole_picture_though_only_a_region_is_read(tmp_path: Path) -> None:
    shot = drawn.shots()
    left, right = shot.vis[0][0], shot.vis[1][1]
    both = np.concatenate([left, right], 1)
    points = shot.five[1, 1] + [left.shape[1], 0]
    region = f"{left.shape[1]} 0 {right.shape[1]} {right.shape[0]}"
    faces = one(tmp_path, both, points.astype(np.float32), region=region)
    assert np.array_equal(reading.picture(faces, 0), right)
    assert np.array_equal(reading.aligned(faces, 0, SPHEREFACE), crops.align(right, shot.five[1, 1], SPHEREFACE))


def test_68_landmarks_are_reduced_to_five(tmp_path: Path) -> None:
    shot = drawn.shots()
    faces = one(tmp_path, shot.vis[0][0], shot.sixty_eight[0, 0].astype(np.float32))
    wanted = crops.align(shot.vis[0][0], crops.five_points(shot.sixty_eight[0, 0]), SPHEREFACE)
    assert np.array_equal(reading.aligned(faces, 0, SPHEREFACE), wanted)


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({}, "no landmarks"),
        ({"crop": "round"}, "no crop is called 'round'"),
        ({"crop": "arcface"}, "112x96 px .* is not a face of the crop arcface"),
        ({"crop": "sphereface", "region": "0 0 97 5"}, "leaves the picture of 96 x 112 px"),
        ({"crop": "sphereface", "region": "a b c d"}, "left top width height"),
        ({"crop": "sphereface", "region": "0 0 0 5"}, "empty"),
    ],
)
def test_face_whose_place_nothing_says_is_refused(tmp_path: Path, columns: dict[str, str], named: str) -> None:
    faces = one(tmp_path, noise(112, 96), **columns)
    with pytest.raises(BadPicture, match=named) as refused:
        reading.aligned(faces, 0, SPHEREFACE)
    assert refused.value.path == str(tmp_path / "a.png")


def test_scaled_crop_of_its_own_size_is_itself() -> None:
    for name in crops.names():
        crop = crops.crop(name)
        same = reading.scaled(crop, crop.height, crop.width)
        assert np.asarray(same.points) == pytest.approx(np.asarray(crop.points), abs=1e-9)
