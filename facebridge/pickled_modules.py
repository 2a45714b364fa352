"""Checkpoints that hold whole pickled networks, read without running anything that is in the file.

`torch.save(network)` writes a program for Python's pickle machine that imports classes and calls them. Here that
program is followed by a machine that has nothing to import or to call: a class is its name, on a list of known ones, a
call is a note of its arguments, and only notes that describe a tensor are understood. What remains are the tensors of
the networks under the names that their `state_dict()` would give them.
"""

import math
import pickletools
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

MAX_PICKLE_BYTES = 8 * 2**20
"""The pickled part of a file, without the numbers of its tensors; the largest published ones have some 100 KB."""
MAX_NAMES = 100_000
"""Modules that are walked through, and tensors that they hold."""
MAX_DEPTH = 64
"""Modules within modules, and axes of a tensor."""

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
"""What a file of PyTorch before 1.6 begins with."""
_SHOWN = 100
"""Characters of a name that a message repeats."""
_ZIP = b"PK\x03\x04"
_PLAIN = (str, int, float, bool, type(None))

_LAYERS = {
    "activation": "CELU ELU GELU GLU Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid LogSoftmax Mish PReLU RReLU "
    "ReLU ReLU6 SELU SiLU Sigmoid Softmax Softmax2d Softplus Softsign Tanh Threshold",
    "batchnorm": "BatchNorm1d BatchNorm2d BatchNorm3d SyncBatchNorm",
    "container": "ModuleDict ModuleList ParameterDict ParameterList Sequential",
    "conv": "Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d",
    "dropout": "AlphaDropout Dropout Dropout2d Dropout3d",
    "flatten": "Flatten Unflatten",
    "instancenorm": "InstanceNorm1d InstanceNorm2d InstanceNorm3d",
    "linear": "Bilinear Identity Linear",
    "normalization": "CrossMapLRN2d GroupNorm LayerNorm LocalResponseNorm",
    "padding": "ConstantPad2d ReflectionPad1d ReflectionPad2d ReplicationPad2d ZeroPad2d",
    "pixelshuffle": "PixelShuffle PixelUnshuffle",
    "pooling": "AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveMaxPool2d AvgPool1d AvgPool2d LPPool2d MaxPool1d MaxPool2d",
    "upsampling": "Upsample UpsamplingBilinear2d UpsamplingNearest2d",
}
_LIGHT_CNN = "group mfm network_29layers_v2 resblock"
_PUBLISHED = {
    "networks.generator": "Decoder Encoder _Residual_Block",
    "networks.light_cnn": _LIGHT_CNN,
    "models.light_cnn": _LIGHT_CNN,
}
"""Classes of DVG's released code, and of its first version."""

MODULES = frozenset(
    [f"torch.nn.modules.{file}.{name}" for file, names in _LAYERS.items() for name in names.split()]
    + [f"{file}.{name}" for file, names in _PUBLISHED.items() for name in names.split()]
    + ["torch.nn.parallel.data_parallel.DataParallel"]
)
"""Classes of which a pickled network may be made."""

_DTYPES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "ShortStorage": torch.int16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "BoolStorage": torch.bool,
}
_STORAGES = {f"{package}.{name}": dtype for package in ("torch", "torch.cuda") for name, dtype in _DTYPES.items()}
_TENSORS = {"torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"}
_PARAMETERS = {
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch.nn.parameter.Parameter",
}
_DICTS = {"collections.OrderedDict"}
_OTHERS = {
    "__builtin__.set",
    "builtins.set",
    "torch.Size",
    "torch.device",
    "torch.nn.backends.thnn._get_thnn_function_backend",
}
_KNOWN = MODULES | _STORAGES.keys() | _TENSORS | _PARAMETERS | _DICTS | _OTHERS


def read(path: Path) -> Any:
    """What `torch.save` wrote, with a state dict (names and tensors, on the CPU) in place of every network.

    Args:
        path: a file of `torch.save`, of today's form (zip) or of that before PyTorch 1.6.

    Raises:
        ValueError: if the file names anything that is not on the list ("GLOBAL its.name ..."), or is damaged or too
            large.
        OSError: if the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            begins_as_zip = file.read(len(_ZIP)) == _ZIP
            file.seek(0)
            found, numbers = _of_zip(file) if begins_as_zip else _of_legacy(file)
        return _Tensors(numbers).state(found)
    except (zipfile.BadZipFile, AttributeError, EOFError, LookupError, RuntimeError, TypeError) as error:
        raise ValueError(f"it breaks off or contradicts itself: {error}") from error


@dataclass(frozen=True)
class _Named:
    """A class or function of the file: its name, and nothing else."""

    name: str


@dataclass(eq=False)
class _Made:
    """A call of the file, that nobody made."""

    maker: str
    arguments: tuple[Any, ...]
    state: Any = field(default=None, repr=False)


@dataclass(frozen=True)
class _Storage:
    """Numbers that lie elsewhere in the file."""

    key: str
    first: int
    """Where they begin among those of the same key."""
    length: int


_Roots = dict[str, tuple[torch.dtype, int]]
"""By key: type and count of the numbers that a pickle refers to."""

_MARK = object()


class _Machine:
    """Follows one pickle; see Python's pickletools for what the words mean."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memory: dict[int, Any] = {}
        self.roots: _Roots = {}

    def run(self, stream: BinaryIO) -> Any:
        """The value of the pickle that begins here; the stream then stands behind it."""
        for word, argument, _ in pickletools.genops(stream):
            if word.name == "STOP":
                return self.stack.pop()
            if word.name in _CONSTANTS:
                self.stack.append(_CONSTANTS[word.name]())
            elif word.name in _LITERALS:
                self.stack.append(argument)
            elif word.name in _ACTIONS:
                _ACTIONS[word.name](self, argument)
            else:
                raise ValueError(f"torch.save does not write {word.name}")
        raise ValueError("the pickle has no end")

    def name(self, argument: str) -> None:
        name = ".".join(argument.split(" ", 1))
        if name not in _KNOWN:
            shown = name[:_SHOWN] if name.isprintable() else ascii(name[:_SHOWN])  # nothing that a terminal would obey
            raise ValueError(f"GLOBAL {shown} is unknown")
        self.stack.append(_Named(name))

    def call(self, _: None) -> None:
        arguments, called = self.stack.pop(), self.stack.pop()
        if not isinstance(called, _Named) or not isinstance(arguments, tuple):
            raise ValueError("it calls what is no name")
        self.stack.append(_pairs(arguments) if called.name in _DICTS else _Made(called.name, arguments))

    def build(self, _: None) -> None:
        """An object's attributes. Those of a dict say nothing about its items."""
        state = self.stack.pop()
        if isinstance(self.stack[-1], _Made):
            self.stack[-1].state = state
        elif not isinstance(self.stack[-1], dict):
            raise ValueError("it gives attributes to what has none")

    def storage(self, _: None) -> None:
        """What the file calls by a number of its own: a storage, or a class with its source text."""
        kind, *told = self.stack.pop()
        if kind == "module" and isinstance(told[0], _Named):
            self.stack.append(told[0])
            return
        if kind != "storage" or not isinstance(told[0], _Named) or not isinstance(told[1], str):
            raise ValueError("it refers to what is no storage")
        key, length = told[1], _count(told[3])
        if self.roots.setdefault(key, (_STORAGES[told[0].name], length)) != (_STORAGES[told[0].name], length):
            raise ValueError(f"the numbers {key!r} are told in two ways")
        view = told[4] if len(told) > 4 and told[4] is not None else (key, 0, length)
        _own_key, first, part = view
        if _count(first) + _count(part) > length:
            raise ValueError(f"a part of the numbers {key!r} lies outside of them")
        self.stack.append(_Storage(key, first, part))

    def items(self) -> list[Any]:
        """All since the last mark."""
        items: list[Any] = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def put(self, items: list[Any]) -> None:
        """Keys and values into a dict."""
        target = self.stack[-1]
        # A key of any depth would be hashed by recursion.
        if not isinstance(target, dict) or not all(isinstance(key, _PLAIN) for key in items[::2]):
            raise ValueError("items of what is no dict, or keys that are no names")
        target.update(zip(items[::2], items[1::2], strict=True))

    def extend(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise ValueError("it appends to what is no list")
        self.stack[-1].extend(items)

    def tuple_of(self, count: int) -> None:
        if len(self.stack) < count:
            raise ValueError("a tuple of more than there is")
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def remember(self, place: int) -> None:
        self.memory[place] = self.stack[-1]


_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "MARK": lambda: _MARK,
}
_LITERALS = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING", "BINSTRING"}
"""What stands in the file as it is; text of Python 2 is bytes."""
_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda machine, version: None,
    "GLOBAL": _Machine.name,
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.call,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.storage,
    "BINPUT": _Machine.remember,
    "LONG_BINPUT": _Machine.remember,
    "BINGET": lambda machine, place: machine.stack.append(machine.memory[place]),
    "LONG_BINGET": lambda machine, place: machine.stack.append(machine.memory[place]),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.items())),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "SETITEM": lambda machine, _: machine.put([machine.stack.pop(), machine.stack.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.put(machine.items()),
    "APPEND": lambda machine, _: machine.extend([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine.extend(machine.items()),
}


def _of_zip(file: BinaryIO) -> tuple[Any, dict[str, Tensor]]:
    """What is pickled, and the numbers that it refers to."""
    size = file.seek(0, 2)
    with zipfile.ZipFile(file) as archive:
        stored = {info.filename: info for info in archive.infolist()}
        (pickled,) = [name for name in stored if name.endswith("/data.pkl") and name.count("/") == 1]
        folder = pickled.removesuffix("data.pkl")
        machine = _Machine()
        _check_stored(stored[pickled], MAX_PICKLE_BYTES)
        found = machine.run(BytesIO(archive.read(pickled)))
        if f"{folder}byteorder" in stored:
            _check_stored(stored[f"{folder}byteorder"], MAX_PICKLE_BYTES)
            _check_little_endian(archive.read(f"{folder}byteorder") == b"little")
        numbers = {}
        for key, (dtype, length) in machine.roots.items():
            info = stored[f"{folder}data/{key}"]
            _check_stored(info, size)
            size -= info.file_size  # entries that overlap would add up to more than the file
            if info.file_size != length * dtype.itemsize:
                raise ValueError(f"the numbers {key!r} take {info.file_size} bytes")
            numbers[key] = _of_bytes(archive.read(info), dtype)
    return found, numbers


def _of_legacy(file: BinaryIO) -> tuple[Any, dict[str, Tensor]]:
    """As `_of_zip`; here pickles stand one after the other, then the numbers."""
    size = file.seek(0, 2)
    file.seek(0)
    pickles = BytesIO(file.read(MAX_PICKLE_BYTES))
    if _Machine().run(pickles) != _MAGIC or _Machine().run(pickles) != _PROTOCOL:
        raise ValueError("it does not begin as torch.save begins")
    system = _Machine().run(pickles)
    _check_little_endian(isinstance(system, dict) and system.get("little_endian") is True)
    machine = _Machine()
    found, keys = machine.run(pickles), _Machine().run(pickles)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError("it does not say which numbers follow")
    file.seek(pickles.tell())
    numbers: dict[str, Tensor] = {}
    for key in keys:
        dtype, length = machine.roots[key]
        told = int.from_bytes(file.read(8), "little")
        if told != length or length * dtype.itemsize > size - file.tell():
            raise ValueError(f"of {length:,} numbers {key!r} the file holds fewer")
        numbers[key] = _of_bytes(file.read(length * dtype.itemsize), dtype)
    return found, numbers


def _check_stored(info: zipfile.ZipInfo, at_most: int) -> None:
    if info.compress_type != zipfile.ZIP_STORED or not info.file_size == info.compress_size <= at_most:
        raise ValueError(f"{info.filename} is packed, or larger than {at_most:,} bytes")


def _check_little_endian(is_little: bool) -> None:
    if not is_little:
        raise ValueError("its numbers are not in the order of this machine's")


def _of_bytes(content: bytes, dtype: torch.dtype) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=dtype) if content else torch.empty(0, dtype=dtype)


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("a size is no whole number")
    return value


def _pairs(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    """The dict that is made of nothing, or of a list of pairs as Python 2 writes an OrderedDict."""
    pairs = [tuple(pair) for pair in arguments[0]] if arguments else []
    if not all(len(pair) == 2 and isinstance(pair[0], _PLAIN) for pair in pairs):
        raise ValueError("a dict of what are no pairs")
    return dict(pairs)


class _Tensors:
    """From notes to tensors; `numbers` by their keys."""

    def __init__(self, numbers: Mapping[str, Tensor]) -> None:
        self.numbers = numbers
        self.left = MAX_NAMES

    def state(self, found: Any, depth: int = 0) -> Any:
        """A network's state dict, a tensor, or a dict of such; anything else as it is."""
        self._count_down(depth)
        if isinstance(found, dict):
            return {key: self.state(value, depth + 1) for key, value in found.items()}
        if not isinstance(found, _Made):
            return found
        if found.maker in MODULES:
            return dict(self._named(found, "", depth))
        return self._tensor(found) if found.maker in _TENSORS | _PARAMETERS else found

    def _named(self, module: Any, prefix: str, depth: int) -> Iterator[tuple[str, Tensor]]:
        """Names and tensors in the order of `state_dict()`."""
        self._count_down(depth)
        if not isinstance(module, _Made) or module.maker not in MODULES or not isinstance(module.state, dict):
            raise ValueError("a module that has no parameters, buffers and modules")
        hidden = module.state.get("_non_persistent_buffers_set")
        unnamed = list(hidden.arguments[0]) if isinstance(hidden, _Made) and hidden.arguments else []
        for kind in ("_parameters", "_buffers"):
            for name, value in module.state[kind].items():
                if value is not None and not (kind == "_buffers" and name in unnamed):
                    self._count_down(depth)
                    yield f"{prefix}{name}", self._tensor(value)
        for name, child in module.state["_modules"].items():
            if child is not None:
                yield from self._named(child, f"{prefix}{name}.", depth + 1)

    def _tensor(self, note: Any) -> Tensor:
        for _ in range(MAX_DEPTH):
            if isinstance(note, _Made) and note.maker in _TENSORS:
                return self._view(*note.arguments[:4])
            if not isinstance(note, _Made) or note.maker not in _PARAMETERS:
                break
            if not note.arguments and len(note.state) == 4:  # PyTorch before 0.4
                return self._view(*note.state)
            note = (note.arguments or note.state)[0]
        raise ValueError("a parameter or buffer that is no tensor")

    def _view(self, storage: Any, offset: Any, size: Any, stride: Any) -> Tensor:
        """Numbers as a tensor, all of them within the storage."""
        if not isinstance(storage, _Storage) or not len(size) == len(stride) <= MAX_DEPTH:
            raise ValueError("a tensor without numbers or sizes")
        steps = [(_count(many), _count(step)) for many, step in zip(size, stride, strict=True)]
        count = math.prod(many for many, _ in steps)
        last = _count(offset) + sum((many - 1) * step for many, step in steps)
        if count > storage.length or (count and last >= storage.length):
            raise ValueError("a tensor lies outside of its numbers")
        return self.numbers[storage.key].as_strided(tuple(size), tuple(stride), storage.first + offset)

    def _count_down(self, depth: int) -> None:
        self.left -= 1
        if self.left < 0 or depth > MAX_DEPTH:
            raise ValueError(f"more than {MAX_NAMES:,} modules and tensors, or {MAX_DEPTH} within each other")
