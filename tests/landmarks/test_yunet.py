"""YuNet: wrong weights, and real photographs."""

from pathlib import Path

import numpy as np
import pytest

from facebridge import images, landmarks
from facebridge.data import face_list
from facebridge.landmarks import YuNet


def test_missing_or_wrong_weights_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.onnx: no such file"):
        YuNet(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(ValueError, match=r"text\.onnx: OpenCV cannot load this"):
        YuNet(tmp_path / "text.onnx")
    with pytest.raises(ValueError, match="yunet takes one ONNX file, got 2"):
        landmarks.load("yunet", [tmp_path / "a.onnx", tmp_path / "b.onnx"])


@pytest.fixture(scope="module")
def yunet(real_data: Path) -> landmarks.Detector:
    return landmarks.load("yunet", real_data / "weights" / "yunet_n_dynamic.onnx")


@pytest.fixture(scope="module")
def lfw(real_data: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """60 pictures of LFW and their five points."""
    root = real_data / "data" / "lfw"
    known = face_list.read_landmarks(root / "landmarks5.csv")
    names = sorted(known)[:1000][::17]
    return [(images.read(root / "lfw-deepfunneled" / name), known[name]) for name in names]


@pytest.mark.real
def test_yunet_finds_the_known_points_of_lfw(yunet: YuNet, lfw: list) -> None:
    for picture, points in lfw:
        (found,) = landmarks.faces_in(picture, yunet, "central")
        np.testing.assert_allclose(found.points, points, atol=0.01)


@pytest.mark.real
def test_yunet_finds_faces_that_fill_the_picture(yunet: YuNet, lfw: list) -> None:
    for picture, points in lfw[:20]:
        found = landmarks.detect_largest(yunet, np.ascontiguousarray(picture[80:180, 80:170]))
        assert found is not None
        assert np.abs(found.points + [80, 80] - points).mean() < 8


@pytest.mark.real
def test_yunet_gives_points_in_pixels_of_a_large_picture(yunet: YuNet, lfw: list) -> None:
    picture, points = lfw[0]
    enlarged = picture.repeat(4, axis=0).repeat(4, axis=1)  # the pixel at x covers 4x - 0.5 to 4x + 3.5
    found = landmarks.detect_largest(yunet, enlarged)
    assert found is not None
    assert np.abs((found.points + 0.5) / 4 - 0.5 - points).mean() < 2


@pytest.mark.real
def test_yunet_finds_no_face_in_an_empty_or_tiny_picture(yunet: YuNet) -> None:
    for shape in ((200, 200), (1, 1), (3, 900), (900, 3)):
        assert yunet.detect(np.full((*shape, 3), 90, np.uint8)) == []
    with pytest.raises(ValueError, match="uint8"):
        yunet.detect(np.zeros((9, 9), np.uint8))


@pytest.mark.real
@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_turned_yunet_finds_turned_faces(real_data: Path, lfw: list, quarters: int) -> None:
    detector = landmarks.load("yunet", real_data / "weights" / "yunet_n_dynamic.onnx", turned=True)
    for picture, points in lfw[:5]:
        turned, expected = np.ascontiguousarray(np.rot90(picture, quarters)), points
        for _ in range(quarters):  # all pictures are square
            expected = np.stack([expected[:, 1], picture.shape[1] - 1 - expected[:, 0]], 1)
        (found,) = landmarks.faces_in(turned, detector, "central")
        np.testing.assert_allclose(found.points, expected, atol=0.01)


@pytest.mark.real
def test_near_infrared_faces_are_found(yunet: YuNet, real_data: Path) -> None:
    known = face_list.read_landmarks(real_data / "data" / "nir_faces" / "landmarks5.csv")
    for name in sorted(known)[::6]:
        found = landmarks.detect_largest(yunet, images.read(real_data / "data" / "nir_faces" / name))
        assert found is not None
        assert np.linalg.norm(found.points - known[name], axis=-1).mean() < 15


@pytest.mark.real
def test_strips_of_a_pixel_take_no_more_memory_than_others(yunet: YuNet) -> None:
    for shape in ((1, 5_000_000), (5_000_000, 1)):  # a frame about them would take 56 terabytes
        assert yunet.detect(np.zeros((*shape, 3), np.uint8)) == []


@pytest.mark.real
def test_another_network_is_refused_when_it_is_loaded(real_data: Path) -> None:
    with pytest.raises(ValueError, match=r"pfld_68\.onnx: OpenCV cannot load this as YuNet"):
        YuNet(real_data / "weights" / "pfld_68.onnx")


@pytest.mark.parametrize(("name", "value"), [("largest_side_px", 0), ("min_score", 1.5), ("min_score", -0.1)])
def test_impossible_settings_are_refused(name: str, value: float, tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(ValueError, match=f"{name} is {value}; expected"):
        landmarks.load("yunet", tmp_path / "text.onnx", **{name: value})
