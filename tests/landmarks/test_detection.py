"""Which faces count, building detectors by name, turned pictures, many pictures."""

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from facebridge import landmarks
from facebridge.landmarks import Detection, DetectorSettings, Turned
from facebridge.landmarks.detection import chosen
from tests import drawn
from tests.landmarks.test_mtcnn import written

SIZE = (60, 80)


def face(left: float, top: float, width: float, height: float, score: float = 0.9) -> Detection:
    return Detection(np.array([left, top, width, height], np.float32), score, np.full((5, 2), left, np.float32))


class Scripted:
    """Finds a face of half the picture's width, and one of a third, in pictures that are not black."""

    def detect(self, picture: np.ndarray) -> list[Detection]:
        width = picture.shape[1]
        return [face(1, 0, width / 3, 9, 0.99), face(2, 0, width / 2, 9, 0.7)] if picture.any() else []


class Marks:
    """Finds the "face" whose five points are the pixels of levels 50 to 90; the more upright, the more certain."""

    def detect(self, picture: np.ndarray) -> list[Detection]:
        levels = picture[..., 0]
        points = np.array([np.argwhere(levels == level)[0][::-1] for level in (50, 60, 70, 80, 90)], np.float32)
        across, down = points[1] - points[0], points[3] - points[0]
        score = 0.9 if across[0] > 0 and down[1] > 0 and across[0] > abs(across[1]) else 0.5
        corner, end = points.min(0), points.max(0)
        return [Detection(np.concatenate([corner, end - corner + 1]), score, points)]


FACES = [face(0, 0, 10, 12, 0.95), face(30, 20, 16, 18, 0.8), face(50, 10, 30, 28, 0.7)]


def test_largest_is_the_one_with_the_largest_box_whatever_its_score() -> None:
    assert chosen(FACES, SIZE) == [FACES[2]]


def test_central_is_the_one_nearest_to_the_middle() -> None:
    assert chosen(FACES, SIZE, "central") == [FACES[1]]


def test_all_come_the_largest_first() -> None:
    assert chosen(FACES, SIZE, "all") == [FACES[2], FACES[1], FACES[0]]


@pytest.mark.parametrize("choose", ["largest", "central", "all"])
def test_small_faces_do_not_count(choose: landmarks.Choose) -> None:
    assert chosen(FACES, SIZE, choose, min_face_px=20) == [FACES[2]]
    assert chosen(FACES, SIZE, choose, min_face_px=29) == []  # the box is 30 wide and 28 high
    assert chosen([], SIZE, choose) == []


def test_unknown_choice_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'best'; expected one of largest, central, all"):
        landmarks.faces_in(np.zeros((9, 9, 3), np.uint8), Scripted(), "best")  # type: ignore[arg-type]


def test_detect_largest_gives_one_face_or_none() -> None:
    found = landmarks.detect_largest(Scripted(), np.ones((60, 60, 3), np.uint8))
    assert found is not None
    assert found.box[2] == 30
    assert landmarks.detect_largest(Scripted(), np.zeros((60, 60, 3), np.uint8)) is None


@pytest.mark.parametrize("quarters", range(4))
def test_turned_faces_come_back_to_their_pixels(quarters: int) -> None:
    upright = np.zeros((37, 50, 3), np.uint8)
    for level, x, y in ((50, 10, 8), (60, 30, 9), (70, 21, 17), (80, 12, 29), (90, 28, 30)):
        upright[y, x] = level
    picture = np.ascontiguousarray(np.rot90(upright, quarters))
    (found, *more) = Turned(Marks()).detect(picture)
    assert found.score == 0.9
    assert more == []  # the same face in the other turns
    levels = [int(picture[int(y), int(x), 0]) for x, y in found.points]
    assert levels == [50, 60, 70, 80, 90]
    ys, xs = np.nonzero(picture[..., 0])
    np.testing.assert_allclose(found.box[:2], [xs.min(), ys.min()], atol=1)
    np.testing.assert_allclose(found.box[2:], [np.ptp(xs) + 1, np.ptp(ys) + 1], atol=1)


def test_turned_finds_nothing_where_there_is_nothing() -> None:
    assert Turned(Scripted()).detect(np.zeros((20, 30, 3), np.uint8)) == []


def test_names_are_the_detectors_of_the_folder() -> None:
    assert landmarks.names() == ["mtcnn", "yunet"]


def test_unknown_detectors_and_settings_are_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'dlib'; known: mtcnn, yunet"):
        landmarks.load("dlib", tmp_path)
    with pytest.raises(ValueError, match=r"yunet has no setting speed; known: min_score, largest_side_px"):
        landmarks.load("yunet", tmp_path, speed=3)
    with pytest.raises(ValueError, match=r"mtcnn has no setting min_score; known: min_face_px"):
        landmarks.load("mtcnn", tmp_path, min_score=0.5)


def test_settings_travel_to_other_processes_and_build_the_same_detector(tmp_path: Path) -> None:
    settings = DetectorSettings("mtcnn", (written(tmp_path),), {"min_scores": (0.45, 0.45, 0.45), "turned": True})
    here, there = settings.build(), pickle.loads(pickle.dumps(settings)).build()
    picture = drawn.shots().vis[0][0]
    found, again = here.detect(picture), there.detect(picture)
    assert found
    assert [face.points.tolist() for face in found] == [face.points.tolist() for face in again]


@pytest.mark.parametrize("shape", [(40, 60), (60, 40)])
def test_a_box_that_is_the_whole_picture_is_so_in_every_turn(shape: tuple[int, int]) -> None:
    class Whole:
        def __init__(self, best: int) -> None:
            self.best = best

        def detect(self, picture: np.ndarray) -> list[Detection]:
            height, width = picture.shape[:2]
            turn = np.argmax(picture[[0, 0, -1, -1], [0, -1, -1, 0], 0])
            return [face(0, 0, width, height, 0.9 if turn == self.best else 0.5)]

    picture = np.zeros((*shape, 3), np.uint8)
    picture[0, 0] = 255
    for best in range(4):
        (found,) = Turned(Whole(best)).detect(picture)
        assert found.score == 0.9
        assert found.box.tolist() == [0, 0, shape[1], shape[0]]


def test_a_detector_that_fails_refuses_the_picture() -> None:
    class Fails:
        def detect(self, picture: np.ndarray) -> list[Detection]:
            raise cv2.error("made for this test")

    with pytest.raises(ValueError, match=r"the detector failed \(made for this test\)"):
        landmarks.faces_in(np.zeros((9, 9, 3), np.uint8), Fails())
