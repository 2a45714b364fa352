"""Finding faces: bookkeeping with a detector of ours, YuNet on real photographs."""

import csv

import numpy as np
import pytest

from facebridge import images, landmarks
from facebridge.landmarks import Detection


def detection(left, width, score=0.9):
    return Detection(np.array([left, 0, width, width], np.float32), score, np.full((5, 2), left, np.float32))


class Scripted:
    """Finds a face of half the picture's width, and one of a third, in pictures that are not black."""

    def detect(self, picture):
        width = picture.shape[1]
        return [detection(1, width / 3, 0.99), detection(2, width / 2, 0.7)] if picture.any() else []


def test_largest_face_is_chosen_whatever_its_score():
    found = landmarks.detect_largest(Scripted(), np.ones((60, 60, 3), np.uint8))
    assert found.box[2] == 30
    assert landmarks.detect_largest(Scripted(), np.zeros((60, 60, 3), np.uint8)) is None


def test_locate_names_pictures_without_a_face_and_unreadable_ones(tmp_path):
    paths = [tmp_path / name for name in ("a.png", "b.png", "c.png", "d.png")]
    images.write(paths[0], np.full((30, 30, 3), 9, np.uint8))
    images.write(paths[1], np.zeros((30, 30, 3), np.uint8))
    paths[2].write_bytes(b"text")
    images.write(paths[3], np.full((30, 30, 3), 9, np.uint8))
    found = landmarks.locate(paths, Scripted())
    assert found.points.shape == (4, 5, 2)
    assert np.isnan(found.points).all((1, 2)).tolist() == [False, True, True, False]
    assert found.without_face == [str(paths[1])]
    assert [error.path for error in found.unreadable] == [str(paths[2])]


def test_locate_of_nothing_is_empty():
    found = landmarks.locate([], Scripted())
    assert found.points.shape == (0, 5, 2)
    assert not found.without_face


def test_missing_or_wrong_weights_are_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"none\.onnx: no such file"):
        landmarks.YuNet(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(ValueError, match=r"text\.onnx: OpenCV cannot load this"):
        landmarks.YuNet(tmp_path / "text.onnx")


@pytest.fixture(scope="module")
def yunet(real_data):
    return landmarks.YuNet(real_data / "weights" / "yunet_n_dynamic.onnx")


@pytest.fixture(scope="module")
def lfw(real_data):
    """20 pictures of LFW and their five points."""
    with (real_data / "data" / "lfw" / "landmarks5.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1::250][:20]
    folder = real_data / "data" / "lfw" / "lfw-deepfunneled"
    return [(images.read(folder / row[0]), np.array(row[1:], float).reshape(5, 2)) for row in rows]


@pytest.mark.real
def test_yunet_finds_the_known_points_of_lfw(yunet, lfw):
    for picture, points in lfw:
        np.testing.assert_allclose(landmarks.detect_largest(yunet, picture).points, points, atol=0.01)


@pytest.mark.real
def test_yunet_finds_faces_that_fill_the_picture(yunet, lfw):
    for picture, points in lfw:
        found = landmarks.detect_largest(yunet, np.ascontiguousarray(picture[80:180, 80:170]))
        assert np.abs(found.points + [80, 80] - points).mean() < 8


@pytest.mark.real
def test_yunet_gives_points_in_pixels_of_a_large_picture(yunet, lfw):
    picture, points = lfw[0]
    enlarged = picture.repeat(4, axis=0).repeat(4, axis=1)  # the pixel at x covers 4x - 0.5 to 4x + 3.5
    found = landmarks.detect_largest(yunet, enlarged)
    assert np.abs((found.points + 0.5) / 4 - 0.5 - points).mean() < 2


@pytest.mark.real
def test_yunet_finds_no_face_in_an_empty_picture(yunet):
    assert yunet.detect(np.full((200, 200, 3), 90, np.uint8)) == []
    with pytest.raises(ValueError, match="uint8"):
        yunet.detect(np.zeros((9, 9), np.uint8))
