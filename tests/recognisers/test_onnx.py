"""Exported recognisers: ONNX files with a TOML beside them."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from facebridge import crops, recognisers

ARCFACE = crops.crop("arcface")
TOML = 'crop = "arcface"\nmean = [100.0, 110.0, 120.0]\nscale = 64.0\n'


def exported(path: Path, *, channels_last: bool = False, batch: int | str = "batch", outputs: int = 1) -> Path:
    """A network that gives the means of each channel over the four quarters of a face: (batch, 12)."""
    shape = [batch, 112, 112, 3] if channels_last else [batch, 3, 112, 112]
    nodes, start = [], "faces"
    if channels_last:
        nodes.append(helper.make_node("Transpose", ["faces"], ["first"], perm=[0, 3, 1, 2]))
        start = "first"
    nodes.append(helper.make_node("AveragePool", [start], ["pooled"], kernel_shape=[56, 56], strides=[56, 56]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["embedding"]))
    names = ["embedding", "pooled"][:outputs]
    shapes = {"embedding": [batch, 12], "pooled": [batch, 3, 2, 2]}
    graph = helper.make_graph(
        nodes,
        "quarters",
        [helper.make_tensor_value_info("faces", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name]) for name in names],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return path


def quarters(faces: torch.Tensor) -> np.ndarray:
    """What the exported network should give after the settings of TOML, by plain sums."""
    pixels = (faces.numpy() * 255 - np.array([100.0, 110.0, 120.0])[:, None, None]) / 64
    features = np.stack(
        [pixels[:, c, y : y + 56, x : x + 56].mean((1, 2)) for c in range(3) for y in (0, 56) for x in (0, 56)], 1
    )
    return features / np.linalg.norm(features, axis=1, keepdims=True)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("batch", ["batch", 1, 4])
def test_embeddings_are_those_of_a_plain_loop(tmp_path: Path, layout: str, batch: int | str) -> None:
    path = exported(tmp_path / "mine.onnx", channels_last=layout == "NHWC", batch=batch)
    (tmp_path / "mine.toml").write_text(TOML + f'layout = "{layout}"\n')
    recogniser = recognisers.load("onnx", path, batch_size=3, threads=1)
    faces = torch.rand(7, 3, 112, 112)
    assert recogniser.name == "mine"
    assert recogniser.embedding_size == 12
    np.testing.assert_allclose(recogniser.embed(faces).numpy(), quarters(faces), atol=1e-5)
    assert recogniser.embed(faces[:0]).shape == (0, 12)


def test_settings_can_lie_elsewhere_or_be_given_singly(tmp_path: Path) -> None:
    path = exported(tmp_path / "mine.onnx")
    (tmp_path / "elsewhere.toml").write_text(TOML)
    faces = torch.rand(2, 3, 112, 112)
    apart = recognisers.load("onnx", path, settings=tmp_path / "elsewhere.toml")
    single = recognisers.load("onnx", path, crop="arcface", mean=(100.0, 110.0, 120.0), scale=64.0)
    assert torch.equal(apart.embed(faces), single.embed(faces))


def test_missing_toml_is_an_error_that_shows_one(tmp_path: Path) -> None:
    path = exported(tmp_path / "mine.onnx")
    with pytest.raises(ValueError, match=r'(?s)mine\.toml is missing.*crop = "arcface"'):
        recognisers.load("onnx", path)


def test_shown_toml_is_valid(tmp_path: Path) -> None:
    from facebridge.recognisers.onnx import EXAMPLE

    path = exported(tmp_path / "mine.onnx")
    (tmp_path / "mine.toml").write_text(EXAMPLE)
    assert recognisers.load("onnx", path).normalisation.mean == (127.5,)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ('crop = "arcface"\nrange = 1\n', "range"),
        ("mean = 0.0\n", "crop"),
        ('crop = "arcface"\nlayout = "CHWN"\n', "layout"),
        ('crop = "arcface"\ncolours = "gray"\n', r"takes faces \[3, 112, 112\]"),
        ('crop = "sphereface"\n', r"\[3, 112, 96\]"),
        ('crop = "nowhere"\n', "nowhere"),
        ('crop = "arcface"\nscale = 0\n', "scale must not be 0"),
        ('crop = "arcface"\ninput = "image"\n', r"no input 'image'; it has faces"),
        ("crop = arcface", "not valid TOML"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path: Path, toml: str, message: str) -> None:
    path = exported(tmp_path / "mine.onnx")
    (tmp_path / "mine.toml").write_text(toml)
    with pytest.raises(ValueError, match=message):
        recognisers.load("onnx", path)


def test_one_of_several_outputs_must_be_named(tmp_path: Path) -> None:
    path = exported(tmp_path / "mine.onnx", outputs=2)
    with pytest.raises(ValueError, match="several outputs.*embedding, pooled"):
        recognisers.load("onnx", path, crop="arcface")
    assert recognisers.load("onnx", path, crop="arcface", output="embedding").embedding_size == 12
    with pytest.raises(ValueError, match=r"output is \[1, 3, 2, 2\]"):
        recognisers.load("onnx", path, crop="arcface", output="pooled")


def test_gradients_are_refused_and_not_silently_lost(tmp_path: Path) -> None:
    recogniser = recognisers.load("onnx", exported(tmp_path / "mine.onnx"), crop="arcface")
    faces = torch.rand(1, 3, 112, 112, requires_grad=True)
    with pytest.raises(ValueError, match="no gradients"):
        recogniser.embed(faces)
    with torch.no_grad():
        assert recogniser.embed(faces).shape == (1, 12)


def test_damaged_and_missing_files_are_errors_that_name_them(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(ValueError, match=r"bad\.onnx: not an ONNX network"):
        recognisers.load("onnx", tmp_path / "bad.onnx", crop="arcface")
    with pytest.raises(ValueError, match=r"none\.onnx: no such file"):
        recognisers.load("onnx", tmp_path / "none.onnx", crop="arcface")
    with pytest.raises(ValueError, match="give its path"):
        recognisers.load("onnx")


def test_absent_onnxruntime_is_an_error_that_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = exported(tmp_path / "mine.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"pip install facebridge\[export\]"):
        recognisers.load("onnx", path, crop="arcface")
