"""Any recogniser exported to ONNX, with a small TOML beside it (NETWORK.onnx, NETWORK.toml) that says what it takes."""

import os
import tomllib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from facebridge import crops
from facebridge.recogniser import Colours, Normalisation, Recogniser

EXAMPLE = """\
crop = "arcface"            # how its faces are aligned: one of facebridge.crops.names()
layout = "NCHW"             # or "NHWC"
colours = "rgb"             # or "bgr", "gray"
mean = 127.5                # it takes (p - mean) / scale with p in 0..255; one number, or one for each channel
scale = 128.0
# input = "faces"           # only where it has several inputs
# output = "embedding"      # only where it has several outputs
"""


class Settings(BaseModel):
    """What an exported recogniser takes and gives."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    crop: str
    """Name of the crop that its faces are aligned to."""
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    """Order of its input's axes: batch, channels, height, width."""
    colours: Colours = "rgb"
    """Order of its input's channels."""
    mean: float | tuple[float, ...] = 127.5
    """Taken from each value of 0..255; one number or one for each channel."""
    scale: float | tuple[float, ...] = 128.0
    """Then divided by this; one number or one for each channel."""
    input: str | None = None
    """Name of its input; absent: it has one."""
    output: str | None = None
    """Name of its embeddings; absent: it has one output."""


def load(
    weights: Path | str | None,
    *,
    settings: Path | str | None = None,
    batch_size: int = 64,
    threads: int | None = None,
    **values: Any,
) -> Recogniser:
    """The recogniser of an ONNX file.

    settings: its TOML (None: the file beside it, or `values` alone). values: single settings, over the TOML's.
    batch_size: most faces in one call. threads: of the CPU session (None: as many as the machine has cores).

    ValueError: if a file is missing or unreadable, a setting is unknown or does not fit the network.
    ImportError: if onnxruntime is not installed.
    """
    if weights is None:
        raise ValueError("onnx needs the exported network: give its path as weights")
    path = Path(weights)
    chosen = _settings(path, settings, values)
    crop = crops.crop(chosen.crop)
    normalisation = Normalisation(chosen.colours, _numbers(chosen.mean), _numbers(chosen.scale))
    network = OnnxNetwork(path, chosen, batch_size, threads)
    channels = 1 if chosen.colours == "gray" else 3
    expected = [channels, crop.height, crop.width]
    if any(isinstance(own, int) and own != asked for own, asked in zip(network.face_shape, expected, strict=True)):
        raise ValueError(
            f"{path}: takes faces {network.face_shape} (channels, height, width), but the settings say {expected}: "
            "correct crop, colours or layout in its TOML"
        )
    trial = network(torch.zeros(1, *expected))
    if trial.ndim != 2:
        raise ValueError(f"{path}: its output is {list(trial.shape)} for one face; an embedding is (batch, size)")
    return Recogniser(path.stem, network, crop, normalisation, trial.shape[1])


class OnnxNetwork(nn.Module):
    """An ONNX file as a network on the CPU; it gives no gradients.

    ValueError: if the file is not an ONNX network, or it lacks the named input or output.
    ImportError: if onnxruntime is not installed.
    """

    def __init__(self, path: Path, settings: Settings, batch_size: int = 64, threads: int | None = None) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        self.path = path
        self.is_channels_last = settings.layout == "NHWC"
        self.threads = threads or os.cpu_count() or 1
        self._session = _session(path, threads)
        self._input = _pick(path, "input", settings.input, self._session.get_inputs())
        self._output = _pick(path, "output", settings.output, self._session.get_outputs()).name
        if len(self._input.shape) != 4:
            raise ValueError(f"{path}: input {self._input.name} is {self._input.shape}; faces have four axes")
        fixed = self._input.shape[0]
        self._is_fixed = isinstance(fixed, int)
        self._batch_size = fixed if self._is_fixed else batch_size

    @property
    def face_shape(self) -> list[int | str]:
        """Channels, height and width of the input; a name or None where any number will do."""
        _, *shape = self._input.shape
        return [shape[2], shape[0], shape[1]] if self.is_channels_last else shape

    def forward(self, x: Tensor) -> Tensor:
        """Input (B, C, H, W) float32 -> features (B, D) float32, on the input's device.

        ValueError: if gradients are asked for.
        """
        if torch.is_grad_enabled() and x.requires_grad:
            raise ValueError(f"{self.path}: an ONNX recogniser gives no gradients: train through a torch recogniser")
        axes = (0, 2, 3, 1) if self.is_channels_last else (0, 1, 2, 3)
        array = x.detach().float().permute(axes).contiguous().cpu().numpy()
        starts = range(0, max(len(array), 1), self._batch_size)
        features = [self._run(array[start : start + self._batch_size]) for start in starts]
        return torch.from_numpy(np.concatenate(features)).to(x.device)

    def _run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        count = len(batch)
        if self._is_fixed and count < self._batch_size:
            batch = np.concatenate([batch, np.zeros((self._batch_size - count, *batch.shape[1:]), np.float32)])
        features: NDArray[np.float32] = self._session.run([self._output], {self._input.name: batch})[0]
        return features[:count].astype(np.float32)


def _settings(path: Path, toml: Path | str | None, values: dict[str, Any]) -> Settings:
    beside = path.with_suffix(".toml")
    source = Path(toml) if toml is not None else beside
    known = dict(values)
    if toml is not None or beside.is_file() or not values:
        known = {**_read_toml(source, path), **values}
    try:
        return Settings(**known)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise ValueError(f"settings of {path} ({problems}); a TOML such as\n{EXAMPLE}") from error


def _read_toml(source: Path, network: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(source.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(
            f"{source} is missing: it says what {network.name} takes. Write it (or give the same settings when you "
            f"load it), for example\n{EXAMPLE}"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{source}: not valid TOML ({error}); a valid one is\n{EXAMPLE}") from error


def _session(path: Path, threads: int | None) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError("ONNX recognisers need onnxruntime: pip install facebridge[export]") from error
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class but this one.
        raise ValueError(f"{path}: not an ONNX network that onnxruntime can run ({error})") from error


def _pick(path: Path, kind: str, name: str | None, offered: list[Any]) -> Any:
    chosen = [each for each in offered if name in (None, each.name)]
    if len(chosen) == 1:
        return chosen[0]
    names = ", ".join(each.name for each in offered)
    asked = f"has no {kind} {name!r}" if name is not None else f"has several {kind}s: name one as {kind}"
    raise ValueError(f"{path}: {asked}; it has {names}")


def _numbers(value: float | tuple[float, ...]) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,)
