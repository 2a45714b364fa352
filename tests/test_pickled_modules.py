"""Pickled networks: their tensors come out as state_dict() gives them, and nothing in the file is ever run."""

import importlib
import os
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from facebridge import pickled_modules, weights

ZIP, LEGACY = True, False
FORMATS = pytest.mark.parametrize("as_zip", [ZIP, LEGACY], ids=["zip", "legacy"])


CODE = """
import torch
from torch import nn


class _Residual_Block(nn.Module):
    def __init__(self, before, after):
        super().__init__()
        self.conv_expand = nn.Conv2d(before, after, 1, bias=False) if before != after else None
        self.conv1 = nn.Conv2d(before, after, 3, bias=False)
        self.bn1 = nn.InstanceNorm2d(after)
        self.bn2 = nn.BatchNorm2d(after)
        self.register_buffer("unused", None)
        self.register_buffer("passing", torch.ones(3), persistent=False)
        self.register_buffer("whole", torch.arange(4).reshape(2, 2).T)


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(3, 8), nn.ReLU(True))
        blocks = _Residual_Block(2, 2), nn.Upsample(scale_factor=2), _Residual_Block(2, 4), nn.PReLU(4)
        self.main = nn.Sequential(*blocks)
        self.tied = self.fc[0]
"""
"""Classes that are called as those of DVG's code; one block has a part that is None."""


def forget_code() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "networks"]:
        del sys.modules[name]


@pytest.fixture
def published(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[nn.Module]:
    """A network whose code can be imported until it is saved."""
    folder = tmp_path_factory.mktemp("code")
    (folder / "networks").mkdir()
    (folder / "networks" / "generator.py").write_text(CODE, "utf-8")
    monkeypatch.syspath_prepend(folder)
    torch.manual_seed(0)
    network: nn.Module = importlib.import_module("networks.generator").Decoder()
    yield network
    forget_code()


def saved(path: Path, content: Any, as_zip: bool) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=as_zip)
    forget_code()
    return path


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert list(found) == list(wanted)
    for name, tensor in wanted.items():
        assert torch.equal(found[name], tensor), name
        assert found[name].dtype == tensor.dtype
        assert not found[name].requires_grad


@FORMATS
def test_pickled_network_gives_its_state_dict(tmp_path: Path, published: nn.Module, as_zip: bool) -> None:
    path = saved(tmp_path / "net.pth", {"epoch": 3, "model": published}, as_zip)
    assert "networks.generator" not in sys.modules
    assert_same(weights.read(path), published.state_dict())
    assert pickled_modules.read(path)["epoch"] == 3
    assert list(tmp_path.iterdir()) == [path]  # no patch of changed sources is written


@FORMATS
def test_network_in_data_parallel_is_the_network(tmp_path: Path, published: nn.Module, as_zip: bool) -> None:
    path = saved(tmp_path / "net.pth", nn.DataParallel(published), as_zip)
    assert_same(weights.read(path), published.state_dict())


def test_legacy_file_says_which_sources_its_classes_had_and_that_is_passed_over(tmp_path: Path) -> None:
    path = saved(tmp_path / "net.pth", nn.Linear(2, 3), LEGACY)
    assert b"def forward" in path.read_bytes()
    assert set(weights.read(path)) == {"weight", "bias"}


@FORMATS
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_numbers_keep_their_type(tmp_path: Path, as_zip: bool, kind: torch.dtype) -> None:
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)).to(kind).to(memory_format=torch.channels_last)
    assert_same(weights.read(saved(tmp_path / "net.pth", network, as_zip)), network.state_dict())


CUDA_NUMBERS = b"(U\x07storagectorch.cuda\nFloatStorage\nU\x019U\x06cuda:0K\x06NtQ"
OLD_PARAMETERS = {
    "0.4": b"(ctorch._utils\n_rebuild_tensor_v2\n(%bK\x00(K\x02K\x03t(K\x03K\x01t\x89ccollections\nOrderedDict\n)Rt"
    b"R\x88tR" % CUDA_NUMBERS,
    "before": b")\x81(%bK\x00(K\x02K\x03t(K\x03K\x01ttb" % CUDA_NUMBERS,
}


@pytest.mark.parametrize("version", OLD_PARAMETERS)
def test_checkpoint_is_read_as_old_versions_wrote_it(tmp_path: Path, version: str) -> None:
    """In Python 2: text is bytes, an OrderedDict is made of a list of pairs, a module knows a backend."""
    pickled = (
        b"\x80\x02ctorch.nn.modules.linear\nLinear\n)\x81}(U\x08_backendctorch.nn.backends.thnn\n"
        b"_get_thnn_function_backend\n)RU\x0b_parametersccollections\nOrderedDict\n]]("
        b"U\x06weightctorch.nn.parameter\nParameter\n"
        + OLD_PARAMETERS[version]
        + b"ea\x85RU\x08_buffersccollections\nOrderedDict\n]\x85R"
        b"U\x08_modulesccollections\nOrderedDict\n]\x85Rub."
    )
    (tmp_path / "old.pth").write_bytes(legacy(pickled, ["9"], struct.pack("<q6f", 6, *range(6))))
    assert_same(weights.read(tmp_path / "old.pth"), {"weight": torch.arange(6.0).reshape(2, 3)})


def legacy(pickled: bytes, keys: Any = (), values: bytes = b"") -> bytes:
    """A file of before PyTorch 1.6 around a pickle."""
    system = pickle.dumps({"little_endian": True}, 2)
    head = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + system
    return head + pickled + pickle.dumps(list(keys), 2) + values


class Hostile:
    """Pickles as a call; what stands before it in the file is harmless."""

    def __init__(self, called: Callable[..., Any], *arguments: Any) -> None:
        self.called, self.arguments = called, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.called, self.arguments


class WithState:
    """A class that does something when it is read."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __setstate__(self, state: dict[str, Any]) -> None:
        Path(state["folder"]).mkdir()


def explode(folder: str) -> None:
    Path(folder).mkdir()


@FORMATS
@pytest.mark.parametrize(
    ("hostile", "told"),
    [
        (lambda folder: Hostile(os.mkdir, folder), r"posix\.mkdir"),
        (lambda folder: Hostile(os.system, f"mkdir {folder}"), r"posix\.system"),
        (lambda folder: Hostile(eval, f"__import__('os').mkdir({folder!r})"), r"eval"),
        (lambda folder: Hostile(getattr, nn.Linear, "forward"), r"getattr"),
        (lambda folder: WithState(folder), r"tests\.test_pickled_modules\.WithState"),
        (lambda folder: Hostile(explode, folder), r"tests\.test_pickled_modules\.explode"),
        (lambda folder: Hostile(torch.load, folder), r"torch\.serialization\.load"),
    ],
)
def test_what_is_not_on_the_list_is_refused_by_name_and_nothing_runs(
    tmp_path: Path, published: nn.Module, as_zip: bool, hostile: Callable[[str], Any], told: str
) -> None:
    ran = tmp_path / "ran"
    path = saved(tmp_path / "hostile.pth", {"model": published, "extra": hostile(str(ran))}, as_zip)
    with pytest.raises(ValueError, match=rf"hostile\.pth: refused, it holds more than tensors \(\S*{told}\)"):
        weights.read(path)
    assert not ran.exists()


def test_name_in_a_refusal_cannot_speak_to_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(legacy(b"\x80\x02" + LINEAR + b"cmod\x1b[2J\nname\n."))
    with pytest.raises(ValueError, match="GLOBAL") as refused:
        pickled_modules.read(tmp_path / "net.pth")
    assert str(refused.value).isprintable()


@FORMATS
def test_known_class_that_is_called_makes_nothing(tmp_path: Path, published: nn.Module, as_zip: bool) -> None:
    path = saved(tmp_path / "called.pth", {"model": published, "net": Hostile(type(published), "rm", "-r")}, as_zip)
    with pytest.raises(ValueError, match=r"called\.pth: not a PyTorch weight file.*a module that has no parameters"):
        weights.read(path)


LINEAR = b"ctorch.nn.modules.linear\nLinear\n"


def linear(tensor: bytes) -> bytes:
    """A pickled layer with this weight."""
    return (
        b"\x80\x02" + LINEAR + b")\x81}(X\x0b\x00\x00\x00_parameters}X\x06\x00\x00\x00weight" + tensor + b"s"
        b"X\x08\x00\x00\x00_buffers}X\x08\x00\x00\x00_modules}ub."
    )


def tensor_of(length: int, offset: int, size: int, stride: int, key: bytes = b"0") -> bytes:
    number = lambda value: b"J" + struct.pack("<i", value)  # noqa: E731
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x00" + key + b"X\x03\x00\x00\x00cpu"
    storage += number(length) + b"NtQ"
    return (
        b"ctorch._utils\n_rebuild_tensor\n("
        + storage
        + number(offset)
        + (number(size) + b"\x85" + number(stride) + b"\x85tR")
    )


@pytest.mark.parametrize(
    ("tensor", "values", "told"),
    [
        (tensor_of(4, 0, 4, 1), struct.pack("<q4f", 4, 1, 2, 3, 4), None),
        (tensor_of(4, 0, 5, 1), struct.pack("<q4f", 4, 1, 2, 3, 4), "outside of its numbers"),
        (tensor_of(4, 1, 4, 1), struct.pack("<q4f", 4, 1, 2, 3, 4), "outside of its numbers"),
        (tensor_of(4, -1, 1, 1), struct.pack("<q4f", 4, 1, 2, 3, 4), "no whole number"),
        (tensor_of(4, 0, 2**31 - 1, 0), struct.pack("<q4f", 4, 1, 2, 3, 4), "outside of its numbers"),
        (tensor_of(2**31 - 1, 0, 4, 1), struct.pack("<q4f", 2**31 - 1, 1, 2, 3, 4), "the file holds fewer"),
        (tensor_of(4, 0, 4, 1), struct.pack("<q3f", 4, 1, 2, 3), "the file holds fewer"),
        (tensor_of(4, 0, 4, 1), struct.pack("<q4f", 5, 1, 2, 3, 4), "the file holds fewer"),
        (b"K\x01", b"", "no tensor"),
    ],
)
def test_tensors_lie_within_what_the_file_holds(tmp_path: Path, tensor: bytes, values: bytes, told: str | None) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(legacy(linear(tensor), ["0"] if values else [], values))
    if told is None:
        assert weights.read(path)["weight"].tolist() == [1, 2, 3, 4]
        return
    with pytest.raises(ValueError, match=rf"net\.pth: not a PyTorch weight file.*{told}"):
        weights.read(path)


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02" + LINEAR + b"(" * 100_000 + b"t" * 100_000 + b".",
        b"\x80\x02" + LINEAR + b"}(" + b")" + b"\x85" * 100_000 + b"K\x01u.",
        b"\x80\x02" + LINEAR + b"}K\x00" * 100_000 + b"K\x00" + b"s" * 100_000 + b".",
        b"\x80\x02" + LINEAR + b"}q\x01X\x01\x00\x00\x00ah\x01s.",
        b"\x80\x02" + LINEAR + b"(" + LINEAR + b"\x81.",
        b"\x80\x02" + LINEAR + b"}b.",
        b"\x80\x02" + LINEAR + b")\x81}X\x01\x00\x00\x00aK\x01sb.",
        b"\x80\x02" + LINEAR + b"X\x01\x00\x00\x00aQ.",
        b"\x80\x02" + LINEAR + b"h\x07.",
        b"\x80\x02" + LINEAR,
        b"\x80\x02" + LINEAR + b"\x93.",
    ],
)
def test_strange_pickle_is_refused_in_words_and_harms_nobody(tmp_path: Path, pickled: bytes) -> None:
    (tmp_path / "strange.pth").write_bytes(legacy(pickled))
    with pytest.raises(ValueError, match=r"strange\.pth: "):
        weights.read(tmp_path / "strange.pth")
    with pytest.raises(ValueError, match="."):
        weights.tensors_of(pickled_modules.read(tmp_path / "strange.pth"), "here")


def chain(count: int, times: int) -> nn.Module:
    """Modules within each other; each stands `times` times in the one around it."""
    network: nn.Module = nn.Linear(1, 1)
    for _ in range(count):
        network = nn.Sequential(*[network] * times)
    return network


@FORMATS
@pytest.mark.parametrize(("count", "times"), [(pickled_modules.MAX_DEPTH + 1, 1), (40, 2)])
def test_modules_within_modules_have_a_limit(tmp_path: Path, as_zip: bool, count: int, times: int) -> None:
    path = saved(tmp_path / "deep.pth", chain(count, times), as_zip)
    with pytest.raises(
        ValueError, match=r"deep\.pth: .*more than 100,000 modules and tensors, or 64 within each other"
    ):
        weights.read(path)


def test_pickle_over_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [saved(tmp_path / f"{as_zip}.pth", nn.Linear(2, 2), as_zip) for as_zip in (ZIP, LEGACY)]
    monkeypatch.setattr(pickled_modules, "MAX_PICKLE_BYTES", 300)
    for path in paths:
        with pytest.raises(ValueError, match="not a PyTorch weight file"):
            weights.read(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_zip_whose_entries_are_packed_or_wrong_in_size_is_refused(tmp_path: Path, compression: int) -> None:
    path = saved(tmp_path / "net.pth", nn.Linear(300, 2), ZIP)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(tmp_path / "again.pth", "w") as again:
        for info in archive.infolist():
            content = archive.read(info)
            is_numbers = info.filename.endswith("data/0")
            told = content[: len(content) // (2 if compression == zipfile.ZIP_STORED else 1)] if is_numbers else content
            again.writestr(info.filename, told, compression if is_numbers else zipfile.ZIP_STORED)
    with pytest.raises(ValueError, match=r"again\.pth: not a PyTorch weight file.*(packed|take 1200 bytes)"):
        weights.read(tmp_path / "again.pth")


@FORMATS
@given(share=st.floats(0, 1, exclude_max=True))
@settings(max_examples=20, deadline=None)
def test_file_that_breaks_off_is_refused(tmp_path_factory: pytest.TempPathFactory, as_zip: bool, share: float) -> None:
    folder = tmp_path_factory.getbasetemp()
    content = saved(folder / "whole.pth", {"model": nn.Conv2d(1, 2, 3)}, as_zip).read_bytes()
    (folder / "part.pth").write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"."):
        pickled_modules.read(folder / "part.pth")


@FORMATS
@given(place=st.integers(0, 10**6), value=st.integers(0, 255))
@settings(max_examples=40, deadline=None)
def test_changed_byte_gives_no_more_numbers_than_there_were_or_a_value_error(
    tmp_path_factory: pytest.TempPathFactory, as_zip: bool, place: int, value: int
) -> None:
    folder = tmp_path_factory.getbasetemp()
    content = bytearray(saved(folder / "whole.pth", {"model": nn.Conv2d(1, 2, 3)}, as_zip).read_bytes())
    content[place % len(content)] = value
    (folder / "changed.pth").write_bytes(content)
    try:
        found = pickled_modules.read(folder / "changed.pth")
    except ValueError:
        return
    tensors = [tensor for state in found.values() if isinstance(state, dict) for tensor in state.values()]
    assert sum(tensor.numel() for tensor in tensors) <= 2 * 9 + 2
