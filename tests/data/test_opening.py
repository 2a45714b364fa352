"""What a user names -> a face list: where its pictures are, and which landmarks and crops win."""

import os
from pathlib import Path

import numpy as np
import pytest

from facebridge import images
from facebridge.data import face_list, opening
from facebridge.data.face_list import FaceList

POINTS = np.arange(10, dtype=np.float32).reshape(5, 2)


def listed(folder: Path, num: int = 3, landmarks: np.ndarray | None = None) -> Path:
    names = [f"{number}.png" for number in range(num)]
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        images.write(folder / name, np.zeros((8, 8, 3), np.uint8))
    faces = FaceList(folder, {"path": names, "identity": names, "domain": ["vis"] * num}, landmarks)
    face_list.write(faces, folder / "faces.csv")
    return folder / "faces.csv"


def known(folder: Path, points: dict[str, np.ndarray]) -> Path:
    columns = {"path": list(points), "identity": list(points), "domain": ["vis"] * len(points)}
    face_list.write(FaceList(folder, columns, np.stack(list(points.values()))), folder / "known.csv")
    return folder / "known.csv"


def test_landmarks_of_a_file_beside_the_list_win_over_its_own(tmp_path: Path) -> None:
    own = np.stack([POINTS, POINTS + 1, POINTS + 2])
    faces = listed(tmp_path, landmarks=own)
    opened = opening.open_faces(faces, landmarks=known(tmp_path, {"1.png": POINTS + 50}))
    assert opened.landmarks == pytest.approx(np.stack([POINTS, POINTS + 50, POINTS + 2]))


def test_rows_that_no_file_knows_stay_without_landmarks(tmp_path: Path) -> None:
    opened = opening.open_faces(listed(tmp_path), landmarks=known(tmp_path, {"2.png": POINTS}))
    assert [row.landmarks is not None for row in opened] == [False, False, True]


def test_68_known_points_take_the_place_of_five_own_ones(tmp_path: Path) -> None:
    many = np.arange(136, dtype=np.float32).reshape(68, 2)
    faces = listed(tmp_path, landmarks=np.stack([POINTS] * 3))
    opened = opening.open_faces(faces, landmarks=known(tmp_path, {"0.png": many}))
    assert opened.landmarks is not None
    assert opened.landmarks.shape == (3, 68, 2)
    assert [row.landmarks is not None for row in opened] == [True, False, False]


def test_landmarks_of_other_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"landmarks of none of the 3 pictures; the first is 0\.png"):
        opening.open_faces(listed(tmp_path), landmarks=known(tmp_path, {"other.png": POINTS}))


def test_crop_is_taken_on_trust_only_where_nothing_else_says_where_the_face_is(tmp_path: Path) -> None:
    points = np.stack([POINTS, np.full((5, 2), np.nan), np.full((5, 2), np.nan)])
    faces = face_list.read(listed(tmp_path, landmarks=points)).with_column("crop", ["", "", "ffe"])
    assert opening.as_aligned(faces, "arcface_112").column("crop").tolist() == ["", "arcface", "ffe"]


def test_unknown_crop_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sphereface"):
        opening.open_faces(listed(tmp_path), aligned="round")


def test_root_that_is_given_wins(tmp_path: Path) -> None:
    faces = listed(tmp_path / "lists")
    assert opening.open_faces(faces, tmp_path).root == tmp_path
    assert os.path.samefile(opening.open_faces(faces).root, tmp_path / "lists")
