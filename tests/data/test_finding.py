"""Folders and lists become face lists; every picture without a face is named."""

import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from facebridge import crops, images
from facebridge.data import face_list, finding, list_files
from facebridge.data.face_list import FaceList
from facebridge.landmarks import Detection, DetectorSettings, Points68
from tests import drawn
from tests.landmarks.test_mtcnn import LOW, written

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


def faces_of(root: Path, **columns: list[str]) -> FaceList:
    rows = len(columns["path"])
    return FaceList(root, {"identity": ["ann"] * rows, "domain": ["vis"] * rows, **columns})


def test_all_faces_give_a_row_each_and_are_numbered_the_largest_first(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write(tmp_path / name)
    found = finding.with_landmarks(finding.open_faces(tmp_path), BrightFaces(), choose="all").faces
    assert found.column("path").tolist() == ["a.png", "a.png", "b.png", "b.png"]
    assert found.column("face").tolist() == ["0", "1", "0", "1"]
    assert found.landmarks is not None
    np.testing.assert_array_equal(found.landmarks, [POINTS, POINTS + 100] * 2)
    face_list.write(found, tmp_path / "faces.csv")
    assert face_list.read(tmp_path / "faces.csv").column("face").tolist() == ["0", "1", "0", "1"]


def test_small_faces_are_left_out_and_the_cause_says_how_small(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    faces = finding.open_faces(tmp_path)
    assert len(finding.with_landmarks(faces, BrightFaces(), min_face_px=9).faces) == 1
    found = finding.with_landmarks(faces, BrightFaces(), min_face_px=20)
    assert [bad.cause for bad in found.refused] == ["too small: the largest face has 9 of 20 px"]
    assert len(found.faces) == 0


class Never:
    """A detector that must not be asked."""

    def detect(self, picture: NDArray[np.uint8]) -> list[Detection]:
        raise AssertionError("the picture was searched")


def test_known_landmarks_win_and_their_pictures_are_not_opened(tmp_path: Path) -> None:
    faces = faces_of(tmp_path, path=["absent/a.png", "absent/b.png"])
    listed = faces.with_landmarks(np.stack([POINTS, POINTS + 1]))
    for detector in (Never(), DetectorSettings("yunet", (tmp_path / "absent.onnx",))):
        found = finding.with_landmarks(listed, detector, known={"absent/b.png": POINTS + 7})
        assert not found.refused
        np.testing.assert_array_equal(found.faces.landmarks, [POINTS, POINTS + 7])
    with pytest.raises(ValueError, match=r"absent\.onnx: no such file"):
        finding.with_landmarks(faces, DetectorSettings("yunet", (tmp_path / "absent.onnx",)))


def test_rows_that_name_their_crop_stay_as_they_are(tmp_path: Path) -> None:
    write(tmp_path / "b.png")
    faces = faces_of(tmp_path, path=["absent.png", "b.png"], crop=["arcface", ""])
    found = finding.with_landmarks(faces, BrightFaces())
    assert found.faces.column("path").tolist() == ["absent.png", "b.png"]
    assert found.faces[0].landmarks is None
    np.testing.assert_array_equal(found.faces[1].landmarks, POINTS)


def test_region_is_searched_alone_and_points_are_those_of_the_whole_picture(tmp_path: Path) -> None:
    picture = np.zeros((20, 40, 3), np.uint8)
    picture[4:, 30:] = 255
    images.write(tmp_path / "a.png", picture)
    faces = faces_of(tmp_path, path=["a.png"] * 3, region=["30 4 10 16", "0 0 20 20", "35 0 10 10"])
    found = finding.with_landmarks(faces, BrightFaces())
    np.testing.assert_array_equal(found.faces.landmarks, [POINTS + [30, 4]])
    assert [bad.cause.split(" (")[0] for bad in found.refused] == [finding.NO_FACE, "its region '35 0 10 10'"]


def test_known_landmarks_of_a_picture_with_regions_go_to_the_region_that_they_lie_in(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    faces = faces_of(tmp_path, path=["a.png"] * 2, region=["0 0 5 12", "5 0 5 12"])
    known = {"a.png": np.tile(np.array([7, 6], np.float32), (5, 1))}
    found = finding.with_landmarks(faces, BrightFaces(), known=known)
    np.testing.assert_array_equal(found.faces.landmarks, [POINTS, known["a.png"]])


def test_five_points_and_68_are_not_mixed(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    known = {"b.png": np.ones((68, 2), np.float32)}
    with pytest.raises(ValueError, match=r"1 pictures would get 5 points, and others have 68"):
        finding.with_landmarks(faces_of(tmp_path, path=["a.png", "b.png"]), Never(), known=known)
    found = finding.with_landmarks(faces_of(tmp_path, path=["b.png"]), Never(), known=known)
    assert found.faces[0].landmarks is not None
    assert found.faces[0].landmarks.shape == (68, 2)


class Refusing(BrightFaces):
    """A detector that refuses the picture of one level."""

    def detect(self, picture: NDArray[np.uint8]) -> list[Detection]:
        if picture[0, 0, 0] == 200:
            raise ValueError("cannot take this one")
        return super().detect(picture)


def test_a_picture_that_the_detector_refuses_is_named_and_the_job_goes_on(tmp_path: Path) -> None:
    for name, level in (("a.png", 255), ("b.png", 200), ("c.png", 255)):
        write(tmp_path / name, level)
    found = finding.with_landmarks(finding.open_faces(tmp_path), Refusing())
    assert found.faces.column("path").tolist() == ["a.png", "c.png"]
    assert [(Path(bad.path).name, bad.cause) for bad in found.refused] == [
        ("b.png", "could not be searched: cannot take this one")
    ]


def test_unknown_choice_is_refused_before_any_work(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    with pytest.raises(ValueError, match="largest, central, all"):
        finding.with_landmarks(finding.open_faces(tmp_path), Never(), choose="first")  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [1, 3])
def test_rows_keep_their_order_and_few_pictures_are_held(
    tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{index:02}.png" for index in range(40)]
    for index, name in enumerate(names):
        write(tmp_path / name, level=255 if index % 4 else 0)
    begun, done, ahead = [], [], []
    read = images.read

    def counted(path: Path, *rest: int) -> NDArray[np.uint8]:
        begun.append(path)
        ahead.append(len(begun) - len(done))
        return read(path, *rest)

    monkeypatch.setattr(images, "read", counted)
    found = finding.with_landmarks(finding.open_faces(tmp_path), BrightFaces(), workers, on_done=done.append)
    assert found.faces.column("path").tolist() == [name for index, name in enumerate(names) if index % 4]
    assert [Path(bad.path).name for bad in found.refused] == names[::4]
    assert done == list(range(1, 41))
    assert max(ahead) <= 2 * workers + 2


def test_each_thread_has_a_detector_of_its_own(tmp_path: Path) -> None:
    for index in range(6):
        images.write(tmp_path / f"{index}.png", drawn.shots().vis[index % 4][0])
    (tmp_path / "weights").mkdir()
    settings = DetectorSettings("mtcnn", (written(tmp_path / "weights"),), {"min_scores": LOW})
    faces = FaceList(tmp_path, {name: [f"{i}.png" for i in range(6)] for name in ("path", "identity", "domain")})
    alone = finding.with_landmarks(faces, settings.build(), workers=1)
    threads = finding.with_landmarks(faces, settings, workers=3)
    assert len(alone.faces) > 0
    np.testing.assert_array_equal(threads.faces.landmarks, alone.faces.landmarks)


@pytest.mark.real
def test_real_pictures_get_68_points_about_their_five(real_data: Path) -> None:
    root = real_data / "data" / "lfw" / "lfw-deepfunneled"
    names = [path.relative_to(root).as_posix() for path in sorted(root.glob("*/*.jpg"))[:1000:200]]
    faces = faces_of(root, path=names)
    yunet = DetectorSettings("yunet", (real_data / "weights" / "yunet_n_dynamic.onnx",))
    model = Points68(real_data / "weights" / "pfld_68.onnx")
    five = finding.with_landmarks(faces, yunet, choose="central").faces.landmarks
    found = finding.with_landmarks(faces, yunet, choose="central", points68=model).faces.landmarks
    assert found is not None
    assert found.shape == (5, 68, 2)
    assert np.linalg.norm(crops.five_points(found) - five, axis=-1).mean() < 6


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


class Failing(BrightFaces):
    """A detector that fails in one of several ways, by the level of the picture."""

    ERRORS = {190: cv2.error("made for this test"), 200: RuntimeError("made for this test"), 210: MemoryError()}

    def detect(self, picture: NDArray[np.uint8]) -> list[Detection]:
        level = int(picture[0, 0, 0])
        if level in self.ERRORS:
            raise self.ERRORS[level]
        if level == 220:
            return [Detection(np.array([0, 0, 9, 9], np.float32), 0.9, POINTS * [1, np.nan])]
        return super().detect(picture)


def test_a_picture_on_which_the_detector_fails_is_named_and_the_job_goes_on(tmp_path: Path) -> None:
    for level in (190, 200, 210, 220, 255):
        write(tmp_path / f"{level}.png", level)
    found = finding.with_landmarks(finding.open_faces(tmp_path), Failing())
    assert found.faces.column("path").tolist() == ["255.png"]
    causes = [bad.cause for bad in found.refused]
    assert causes[:3] == [
        f"could not be searched: the detector failed ({cause})"
        for cause in ("made for this test", "made for this test", "MemoryError")
    ]
    assert "no numbers" in causes[3]


def test_pictures_that_are_refused_are_not_held(tmp_path: Path) -> None:
    for name in range(4):
        images.write(tmp_path / f"{name}.png", np.zeros((500, 500, 3), np.uint8))
    faces = finding.open_faces(tmp_path)
    tracemalloc.start()
    try:
        found = finding.with_landmarks(faces, BrightFaces(), workers=1)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(found.refused) == 4
    assert held < 500 * 500 * 3


def test_a_folder_has_the_pictures_of_every_format_that_folders_of_identities_have(tmp_path: Path) -> None:
    for suffix in list_files.PICTURE_SUFFIXES:
        (tmp_path / f"a{suffix}").touch()
    assert len(finding.open_faces(tmp_path)) == len(list_files.PICTURE_SUFFIXES)
