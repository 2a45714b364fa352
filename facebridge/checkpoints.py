"""A method's whole state as a checkpoint, and back: networks, optimisers, schedules and memories."""

from typing import Any

import torch
from torch import Tensor

from facebridge.diagnostics import Diverged
from facebridge.method import Method
from facebridge.runs import Checkpoint


def of_method(method: Method[Any], step: int) -> Checkpoint:
    """The method as it is after a step.

    Raises:
        Diverged: if a tensor of a network is not finite; names the step and the tensor.
    """
    tensors = {f"networks/{name}": tensor for name, tensor in networks(method, step).items()}
    groups = {}
    for name, optimiser in method.optimisers.items():
        state = optimiser.state_dict()
        groups[name] = state["param_groups"]
        for index, values in state["state"].items():
            for key, value in values.items():
                tensors[f"optimisers/{name}/{index}/{key}"] = torch.as_tensor(value).detach().cpu().contiguous()
    for name, memory in method.memories.items():
        for key, value in memory.state_dict().items():
            tensors[f"memories/{name}/{key}"] = value.detach().cpu().contiguous().clone()  # may be part of a larger one
    schedules = {name: schedule.state_dict() for name, schedule in method.schedules.items()}
    return Checkpoint(step, tensors, {"threads": torch.get_num_threads(), "groups": groups, "schedules": schedules})


def restore(method: Method[Any], checkpoint: Checkpoint) -> None:
    """Put a checkpoint into a method of the same recipe."""
    method.load_state_dict(part(checkpoint.tensors, "networks/"))
    for name, optimiser in method.optimisers.items():
        tensors, groups = part(checkpoint.tensors, f"optimisers/{name}/"), checkpoint.state["groups"][name]
        optimiser.load_state_dict(_optimiser_state(optimiser, tensors, groups))
    for name, schedule in method.schedules.items():
        schedule.load_state_dict(checkpoint.state["schedules"][name])
    for name, memory in method.memories.items():
        memory.load_state_dict(part(checkpoint.tensors, f"memories/{name}/"))


def networks(method: Method[Any], step: int) -> dict[str, Tensor]:
    """The trained networks alone as they are after a step, on the CPU: what weights files hold.

    Raises:
        Diverged: if a tensor is not finite; names the step and the tensor.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in method.state_dict().items()}
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise Diverged(f"step {step}: the tensor {name!r} is not finite; lower the step size")
    return tensors


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin so, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _optimiser_state(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor], groups: Any) -> dict[str, Any]:
    """What `load_state_dict` takes; a tensor of a parameter's shape gets the parameter's layout in memory too.

    Fused optimisers walk through parameter and state as flat memory: a contiguous state beside a channels-last
    parameter would pair up the wrong numbers.
    """
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, key = name.split("/")
        like = parameters[int(number)]
        same = value.shape == like.shape
        state.setdefault(int(number), {})[key] = (
            torch.empty_like(like, dtype=value.dtype).copy_(value) if same else value
        )
    return {"state": state, "param_groups": groups}
