"""Folders and lists become face lists; every picture without a face is named."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from facebridge import images
from facebridge.data import face_list, finding
from facebridge.data.face_list import FaceList
from facebridge.landmarks import Detection

POINTS = np.arange(10, dtype=np.float32).reshape(5, 2)


class BrightFaces:
    """A detector that finds faces in bright pictures, the larger one second."""

    def detect(self, picture: NDArray[np.uint8]) -> list[Detection]:
        if picture.mean() < 128:
            return []
        small, large = np.array([0, 0, 4, 4], np.float32), np.array([0, 0, 9, 9], np.float32)
        return [Detection(small, 0.9, POINTS + 100), Detection(large, 0.8, POINTS)]


def write(path: Path, level: int = 255) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    images.write(path, np.full((12, 10, 3), level, np.uint8))


def test_folder_of_pictures_makes_every_picture_its_own_identity(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg"):
        write(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    faces = finding.open_faces(tmp_path)
    assert faces.column("path").tolist() == ["a.jpg", "b.PNG"]
    assert faces.column("identity").tolist() == ["a.jpg", "b.PNG"]
    assert faces.root == tmp_path


def test_folder_of_folders_names_the_identities(tmp_path: Path) -> None:
    for name in ("ann/1.png", "ann/2.png", "bob/1.png"):
        write(tmp_path / name)
    faces = finding.open_faces(tmp_path)
    assert faces.column("identity").tolist() == ["ann", "ann", "bob"]


def test_hidden_folder_does_not_turn_pictures_into_identities(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    (tmp_path / ".thumbnails").mkdir()
    assert finding.open_faces(tmp_path).column("path").tolist() == ["a.png"]


def test_list_is_read_with_its_root(tmp_path: Path) -> None:
    write(tmp_path / "pictures" / "a.png")
    (tmp_path / "faces.csv").write_text("path,identity,domain\na.png,ann,vis\n")
    faces = finding.open_faces(tmp_path / "faces.csv", tmp_path / "pictures")
    assert faces.picture_path(0).is_file()


def test_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(ValueError, match=r"no picture in this folder.*\.jpg"):
        finding.open_faces(tmp_path)


def test_missing_list_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere\.csv"):
        finding.open_faces(tmp_path / "nowhere.csv")


def test_largest_face_gives_the_landmarks_and_pictures_without_one_are_named(tmp_path: Path) -> None:
    write(tmp_path / "bright.png")
    write(tmp_path / "dark.png", level=0)
    (tmp_path / "damaged.png").write_bytes(b"damaged")
    found = finding.with_landmarks(finding.open_faces(tmp_path), BrightFaces())
    assert found.faces.column("path").tolist() == ["bright.png"]
    assert found.faces.landmarks is not None
    assert np.array_equal(found.faces.landmarks, POINTS[None])
    causes = {Path(bad.path).name: bad.cause for bad in found.refused}
    assert set(causes) == {"dark.png", "damaged.png"}
    assert causes["dark.png"] == finding.NO_FACE


def test_moved_list_keeps_its_paths_and_columns(tmp_path: Path) -> None:
    columns = {"path": ["a/1.png"], "identity": ["a"], "domain": ["nir"], "camera": ["left"]}
    faces = FaceList(tmp_path / "here", columns, POINTS[None])
    moved = finding.moved(faces, tmp_path / "there")
    (tmp_path / "there").mkdir()
    face_list.write(moved, tmp_path / "there" / "faces.csv")
    again = face_list.read(tmp_path / "there" / "faces.csv", root=tmp_path / "here")
    assert again.picture_path(0) == tmp_path / "here" / "a" / "1.png"
    assert again.column("camera").tolist() == ["left"]
    assert again.landmarks is not None
    assert np.array_equal(again.landmarks, POINTS[None])
