"""The arithmetic that a method generates in: float32 as it was trained, or bfloat16, about twice as fast."""

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from facebridge.method import HallucinationMethod
from facebridge.streamline import channels_last

Precision = Literal["float32", "bfloat16"]

_MULTIPLYING = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def set_precision(method: HallucinationMethod[Any], precision: Precision) -> None:
    """Rework a trained method for generating in this precision, for good; "float32" leaves it as it is.

    In bfloat16 its convolutions and linear layers hold their weights so, channels last, and round what they take,
    whoever calls them; `generate`, `generate_at` and `turned` run under autocast: what is sensitive stays in float32,
    and so do the sums of residual networks. Faces go in and come out in float32 as before, and differ by the rounding.
    A processor without bfloat16 arithmetic (`facebridge.sampling.computes_in_bfloat16`) is slower in it.

    ValueError: if it is another precision.
    """
    if precision not in get_args(Precision):
        raise ValueError(f"precision is {precision!r}; expected one of {', '.join(get_args(Precision))}")
    if precision == "float32":
        return
    dtype: torch.dtype = getattr(torch, precision)
    for module in method.modules():
        if isinstance(module, _MULTIPLYING):
            module.to(dtype)
            module.register_forward_pre_hook(_rounded)  # for what else a method can do than what is wrapped below
    for network in method.children():
        first = next((module for module in network.modules() if isinstance(module, _MULTIPLYING)), None)
        if first is not None:
            # What blocks add to it is rounded, the sum is not: a third less off in an EDSR of 32 blocks, at no cost.
            first.register_forward_hook(lambda module, taken, given: given.float())
    channels_last(method)
    for name in ("generate", "generate_at", "turned"):
        if hasattr(method, name):
            setattr(method, name, _autocast(getattr(method, name), dtype))


def _rounded(layer: nn.Module, taken: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a layer takes, in the type of its weights."""
    dtype = next(layer.parameters()).dtype
    return tuple(each.to(dtype) if isinstance(each, Tensor) else each for each in taken)


def _autocast(make: Callable[..., Tensor], dtype: torch.dtype) -> Callable[..., Tensor]:
    def lowered(faces: Tensor, *how: Any, **named: Any) -> Tensor:
        # The weights are of this type already: there is nothing to cast that could be kept.
        with torch.autocast(faces.device.type, dtype, cache_enabled=False):
            return make(faces, *how, **named).float()

    return lowered
