"""68 points from exported networks of ours whose answer is known, and from a real one."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from facebridge import crops, images, landmarks
from facebridge.data import face_list
from facebridge.landmarks import Detection, Points68
from tests import drawn

SIDE = 16


def bright_spot(
    path: Path, batch: int | str = "batch", outputs: int = 136, shape: tuple[int, ...] = (3, SIDE, SIDE)
) -> Path:
    """A network that gives, for each of 68 points alike, where the one white pixel of a black crop lies, in 0..1."""
    middle = (np.arange(SIDE) + 0.5) / SIDE
    places = np.stack([*np.meshgrid(middle, middle)], -1).reshape(-1, 2)  # (x, y) of each pixel
    weights = np.tile(places, (3, 1)) / 3  # a white pixel is 1 in three channels
    weights = np.tile(weights, (1, outputs // 2 + 1))[:, :outputs].astype(np.float32)
    weights = np.resize(weights, (int(np.prod(shape)), outputs))
    nodes = [helper.make_node("Flatten", ["faces"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["points"])]
    graph = helper.make_graph(
        nodes,
        "spot",
        [helper.make_tensor_value_info("faces", TensorProto.FLOAT, [batch, *shape])],
        [helper.make_tensor_value_info("points", TensorProto.FLOAT, [batch, outputs])],
        [numpy_helper.from_array(weights, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def face(left: float, top: float, side: float) -> Detection:
    return Detection(np.array([left, top, side, side], np.float32), 1, np.zeros((5, 2), np.float32))


def spotted(x: int, y: int, size: int = 1) -> np.ndarray:
    picture = np.zeros((60, 70, 3), np.uint8)
    picture[y : y + size, x : x + size] = 255
    return picture


@pytest.mark.parametrize("batch", ["batch", 1, 4])
@pytest.mark.parametrize("mirrored", [False, True])
def test_points_are_pixels_of_the_whole_picture(tmp_path: Path, batch: int | str, mirrored: bool) -> None:
    model = Points68(bright_spot(tmp_path / "spot.onnx", batch), margin=0, mirrored=mirrored)
    places = [(20, 30), (25, 33), (22, 31), (34, 44), (27, 38)]
    found = model.find([spotted(x, y) for x, y in places], [face(19, 29, SIDE)] * len(places))
    assert found.shape == (5, 68, 2)
    np.testing.assert_allclose(found, np.repeat(np.array(places, np.float32)[:, None], 68, 1), atol=1e-3)
    assert model.find([], []).shape == (0, 68, 2)


def test_margin_widens_the_square_on_each_hand(tmp_path: Path) -> None:
    model = Points68(bright_spot(tmp_path / "spot.onnx"), margin=0.5, mirrored=False)
    found = model.find([spotted(16, 24, size=2)], [face(20, 20, SIDE)])  # the square is 12 to 44, two pixels to one
    np.testing.assert_allclose(found[0, 0], [16.5, 24.5], atol=1e-3)


def test_faces_cut_by_the_border_are_filled_with_black(tmp_path: Path) -> None:
    model = Points68(bright_spot(tmp_path / "spot.onnx"), margin=0)
    found = model.find([spotted(2, 1), spotted(68, 58)], [face(-5, -6, SIDE), face(60, 50, SIDE)])
    np.testing.assert_allclose(found[:, 7], [[2, 1], [68, 58]], atol=1e-3)
    with pytest.raises(ValueError, match="lies outside a picture"):
        model.find([spotted(2, 1)], [face(300, 0, SIDE)])
    with pytest.raises(ValueError, match="1 pictures, but 2 faces"):
        model.find([spotted(2, 1)], [face(0, 0, SIDE)] * 2)


def test_mirrored_points_are_those_of_the_other_side() -> None:
    from facebridge.landmarks.points68 import MIRRORED

    assert sorted(MIRRORED) == list(range(68))
    assert [MIRRORED[MIRRORED[point]] for point in range(68)] == list(range(68))
    # Mean drawn faces are nearly symmetric, so mirrored they keep their shape only in the right order.
    mean = drawn.shots().sixty_eight[np.abs(drawn.shots().yaw_deg) < 10].mean(0)
    middle = mean[27:31, 0].mean()
    mirrored = np.stack([2 * middle - mean[MIRRORED, 0], mean[MIRRORED, 1]], 1)
    assert np.abs(mirrored - mean).mean() < 0.05 * np.ptp(mean[:, 0])


def test_networks_that_give_something_else_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gives 10 values for a face.*expected 136"):
        Points68(bright_spot(tmp_path / "ten.onnx", outputs=10))
    with pytest.raises(ValueError, match=r"wide\.onnx: takes faces .*expected one input \(batch, 3, side, side\)"):
        Points68(bright_spot(tmp_path / "wide.onnx", shape=(3, SIDE, 2 * SIDE)))
    with pytest.raises(ValueError, match=r"none\.onnx: no such file"):
        Points68(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("text")
    with pytest.raises(ValueError, match=r"text\.onnx: not an ONNX network"):
        Points68(tmp_path / "text.onnx")


def test_absent_onnxruntime_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"facebridge\[export\]"):
        Points68(bright_spot(tmp_path / "spot.onnx"))


@pytest.mark.real
def test_published_regressor_agrees_with_known_points_of_lfw(real_data: Path) -> None:
    model = Points68(real_data / "weights" / "pfld_68.onnx", threads=2)
    yunet = landmarks.load("yunet", real_data / "weights" / "yunet_n_dynamic.onnx")
    root = real_data / "data" / "lfw"
    known = face_list.read_landmarks(root / "landmarks5.csv")
    names = sorted(known)[:1000][::100]
    pictures = [images.read(root / "lfw-deepfunneled" / name) for name in names]
    found = model.find(pictures, [landmarks.faces_in(picture, yunet, "central")[0] for picture in pictures])
    away = crops.five_points(found) - np.stack([known[name] for name in names])
    assert np.linalg.norm(away, axis=-1).mean() < 5
