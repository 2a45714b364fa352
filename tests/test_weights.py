"""Weights: strict conversion, safe reading, whole-or-nothing writing."""

import argparse
import json
import os
from collections import OrderedDict
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from facebridge import weights
from tests.parity.fill import fill

LAYOUT = "mobile_facenet"
THIN = {"height": 64, "width": 64, "width_multiplier": 0.25, "embedding_size": 64}


@pytest.fixture
def published() -> dict[str, Tensor]:
    """A thin MobileFaceNet's filled tensors, under their published names."""
    layout = weights.find(LAYOUT)
    state = weights.network(LAYOUT, **THIN).state_dict()
    names = layout.published(state)
    return fill({names[name]: tuple(tensor.shape) for name, tensor in state.items()})


@pytest.mark.parametrize(
    ("layout", "sizes", "num_parameters"),
    [
        ("light_cnn_9", {}, 5_480_864),
        ("light_cnn_29", {}, 12_573_280),
        ("light_cnn_29v2", {}, 10_475_872),
        ("sphereface_20", {}, 22_670_656),
        ("mobile_facenet", {}, 1_003_136),
        ("mobile_facenet", {"width": 96}, 999_552),
        ("mobile_facenet", THIN, 78_688),
        ("light_cnn_9", {"height": 64, "width": 64, "width_multiplier": 0.25}, 146_888),
        ("light_cnn_29v2", {"height": 64, "width": 64, "width_multiplier": 0.25}, 558_328),
        ("sphereface_20", {"width_multiplier": 0.125, "embedding_size": 64}, 355_496),
    ],
)
def test_network_has_the_published_number_of_parameters(
    layout: str, sizes: dict[str, float], num_parameters: int
) -> None:
    with torch.device("meta"):
        network = weights.network(layout, **sizes)
    assert sum(parameter.numel() for parameter in network.parameters()) == num_parameters


def test_unknown_layout_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'lightcnn'.*light_cnn_29v2.*sphereface_20"):
        weights.network("lightcnn")


def test_unknown_size_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no size depth; known: height, width"):
        weights.network(LAYOUT, depth=3)


def test_impossible_size_is_refused() -> None:
    with pytest.raises(ValueError, match="100x112"):
        weights.network(LAYOUT, height=100)


def test_published_names_and_ours_are_one_to_one() -> None:
    for layout in weights.layouts():
        with torch.device("meta"):
            names = list(weights.build(layout).state_dict())
        assert len(set(layout.published(names).values())) == len(names)


def test_conversion_keeps_every_value(published: dict[str, Tensor]) -> None:
    ours = weights.convert(LAYOUT, published)
    layout = weights.find(LAYOUT)
    names = layout.published(ours)
    assert set(names.values()) == set(published)
    assert all(torch.equal(tensor, published[names[name]]) for name, tensor in ours.items())
    weights.network(LAYOUT, **THIN).load_state_dict(ours, strict=True)


@pytest.mark.parametrize("wrapper", ["state_dict", "net_state_dict", "model"])
def test_wrappers_and_parallel_prefixes_are_understood(published: dict[str, Tensor], wrapper: str) -> None:
    wrapped = {"epoch": 70, wrapper: OrderedDict((f"module.{name}", tensor) for name, tensor in published.items())}
    plain = weights.convert(LAYOUT, published)
    assert all(torch.equal(tensor, plain[name]) for name, tensor in weights.convert(LAYOUT, wrapped).items())


@pytest.mark.parametrize("name", ["blocks.14.conv.6.weight", "conv2.bn.num_batches_tracked", "linear1.bn.running_mean"])
def test_missing_tensor_is_named(published: dict[str, Tensor], name: str) -> None:
    del published[name]
    with pytest.raises(ValueError, match=rf"mobile_facenet; missing: {name}$"):
        weights.convert(LAYOUT, published)


@pytest.mark.parametrize("name", ["conv1.conv.weight", "linear7.conv.weight", "linear1.conv.weight"])
def test_missing_tensor_that_tells_a_size_is_named(published: dict[str, Tensor], name: str) -> None:
    del published[name]
    with pytest.raises(ValueError, match=f"missing: {name}"):
        weights.convert(LAYOUT, published)


def test_left_over_tensor_is_named(published: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match=r"left over: fc\.weight"):
        weights.convert(LAYOUT, {**published, "fc.weight": torch.zeros(2)})


def test_tensor_of_another_shape_is_named(published: dict[str, Tensor]) -> None:
    published["conv2.bn.bias"] = torch.zeros(3)
    with pytest.raises(ValueError, match=r"conv2\.bn\.bias \(3,\) instead of \(128,\)"):
        weights.convert(LAYOUT, published)


def test_sizes_that_the_tensors_do_not_have_are_refused(published: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match=r"linear7\.conv\.weight"):
        weights.convert(LAYOUT, published, height=112)


def test_state_dict_with_more_than_tensors_is_refused(published: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match=r"epoch \(int\)"):
        weights.convert(LAYOUT, {**published, "epoch": 3})


def test_two_wrappers_are_ambiguous(published: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match="state_dict, model"):
        weights.convert(LAYOUT, {"state_dict": published, "model": published})


def test_whole_module_is_no_state_dict() -> None:
    with pytest.raises(ValueError, match="found Linear"):
        weights.convert(LAYOUT, nn.Linear(2, 2))  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", ["light_cnn_9", "light_cnn_29", "light_cnn_29v2"])
def test_classifier_stays_unless_a_network_without_one_is_asked_for(layout: str) -> None:
    thin = {"width_multiplier": 0.125, "height": 32, "width": 32}
    found = weights.find(layout)
    state = weights.network(layout, num_classes=5, **thin).state_dict()
    published = {found.published([name])[name]: tensor for name, tensor in state.items()}
    assert set(weights.convert(layout, published)) == set(state)
    without = weights.convert(layout, published, num_classes=None)
    weights.network(layout, **thin).load_state_dict(without, strict=True)


def test_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(ran),)

    torch.save({"state_dict": {"weight": torch.zeros(1)}, "extra": Hostile()}, tmp_path / "hostile.pth")
    with pytest.raises(ValueError, match=r"hostile\.pth: refused, it holds more than tensors \(posix\.mkdir\)"):
        weights.read(tmp_path / "hostile.pth")
    assert not ran.exists()


def test_checkpoint_with_options_is_refused_by_name(tmp_path: Path) -> None:
    torch.save({"state_dict": {"weight": torch.zeros(1)}, "args": argparse.Namespace(lr=1)}, tmp_path / "old.pth")
    with pytest.raises(ValueError, match=r"argparse\.Namespace.*torch\.save"):
        weights.read(tmp_path / "old.pth")


def test_torch_file_is_read_out_of_its_wrapper(tmp_path: Path, published: dict[str, Tensor]) -> None:
    torch.save({"epoch": 3, "net_state_dict": published}, tmp_path / "net.ckpt")
    found = weights.read(tmp_path / "net.ckpt")
    assert list(found) == list(published)
    assert all(torch.equal(tensor, published[name]) for name, tensor in found.items())


def test_truncated_torch_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1000)}, tmp_path / "whole.pth")
    content = (tmp_path / "whole.pth").read_bytes()
    (tmp_path / "part.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"part\.pth: not a PyTorch weight file"):
        weights.read(tmp_path / "part.pth")


@given(content=st.binary(max_size=200), suffix=st.sampled_from([".pth", ".safetensors"]))
def test_any_bytes_give_tensors_or_a_value_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"any{suffix}"):
        weights.read(path)


def test_safetensors_header_over_the_limit_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.safetensors"
    with path.open("wb") as file:
        file.write((2**40).to_bytes(8, "little"))
        file.truncate(2**20)
    with pytest.raises(ValueError, match=r"huge\.safetensors.*1099511627776 bytes"):
        weights.read(path)


def test_safetensors_that_point_outside_the_file_are_refused(tmp_path: Path) -> None:
    header = json.dumps({"weight": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}).encode()
    (tmp_path / "short.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"1234")
    with pytest.raises(ValueError, match=r"short\.safetensors: not a valid"):
        weights.read(tmp_path / "short.safetensors")


def test_written_tensors_come_back_with_their_metadata(tmp_path: Path) -> None:
    shared = torch.arange(12.0).reshape(3, 4)
    tensors = {"rows": shared, "columns": shared.T, "half": shared.half(), "count": torch.tensor(7)}
    weights.write(tmp_path / "own.safetensors", tensors, {"layout": "none"})
    found = weights.read(tmp_path / "own.safetensors")
    assert all(
        torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype for name, tensor in tensors.items()
    )
    assert weights.metadata(tmp_path / "own.safetensors") == {"layout": "none"}
    assert weights.metadata(tmp_path / "own.safetensors") == weights.metadata(str(tmp_path / "own.safetensors"))


def test_file_without_metadata_has_empty_metadata(tmp_path: Path) -> None:
    safetensors.torch.save_file({"weight": torch.zeros(1)}, tmp_path / "plain.safetensors")
    assert weights.metadata(tmp_path / "plain.safetensors") == {}


def test_broken_write_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.safetensors"
    weights.write(path, {"weight": torch.zeros(2)})

    def full_disk(handle: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="no space"):
        weights.write(path, {"weight": torch.ones(2)})
    assert torch.equal(weights.read(path)["weight"], torch.zeros(2))
    assert list(tmp_path.iterdir()) == [path]
