"""How weights descend: the optimiser, rates and decays by the role of a tensor, and the rate over time.

The papers of the recognisers do not train all tensors alike: Light CNN's classifier moves ten times as fast as its
other weights, and MobileFaceNet's embedding layer decays ten times as much. `Role` names what they tell apart.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from facebridge.method import Frozen, Method

Role = Literal["weight", "bias", "norm", "prelu", "embedding", "classifier", "classifier_bias"]
"""What a tensor does in its network:

    classifier, classifier_bias   of the head, or of a network's own `classifier`
    prelu                         slopes of a PReLU
    embedding                     of the layer called `embedding`: its weights, and all of a normalisation in it
    norm                          weights and biases of the other normalisations
    bias                          the other biases
    weight                        the rest
"""

HEAD = "head"
"""The name under which a classifier is handed to `Descent.optimiser`."""

ADAM_SQUARE_MEMORY = 0.999
"""beta_2 of Adam (Kingma and Ba 2015): part of the mean squared gradient that each step keeps."""

_NORMS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.SyncBatchNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.GroupNorm,
    nn.LayerNorm,
)

Factor = Annotated[float, Field(gt=0, le=1)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
NumSteps = Annotated[int, Field(ge=1)]


class Constant(Frozen):
    """The first rate throughout."""

    kind: Literal["constant"] = "constant"

    def rate(self, step: int) -> float:
        """The rate after this many steps, as a part of the first rate."""
        return 1.0


class Steps(Frozen):
    """The rate falls by a factor at each of the given steps."""

    kind: Literal["steps"]
    milestones: Annotated[tuple[NumSteps, ...], Field(min_length=1)]
    """Steps done when the rate falls, rising."""
    factor: Factor = 0.1
    """What the rate is multiplied by."""

    @model_validator(mode="after")
    def _rising(self) -> "Steps":
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones must rise, not {list(self.milestones)}")
        return self

    def rate(self, step: int) -> float:
        """The rate after this many steps, as a part of the first rate."""
        passed: int = sum(milestone <= step for milestone in self.milestones)
        return float(self.factor**passed)


class Every(Frozen):
    """The rate falls by a factor again and again."""

    kind: Literal["every"]
    every_steps: NumSteps
    """Steps between two falls."""
    factor: Factor
    """What the rate is multiplied by."""

    def rate(self, step: int) -> float:
        """The rate after this many steps, as a part of the first rate."""
        return float(self.factor ** (step // self.every_steps))


class Cosine(Frozen):
    """A linear warm-up, then half a cosine down to zero (Loshchilov and Hutter 2017, without restarts)."""

    kind: Literal["cosine"]
    warm_up_steps: Annotated[int, Field(ge=0)] = 0
    """Steps in which the rate rises to the first rate; a training that is shorter only rises."""
    steps: NumSteps | None = None
    """Steps after which the rate is zero, warm-up included; absent: all of the training."""

    def rate(self, step: int) -> float:
        """The rate after this many steps, as a part of the first rate."""
        assert self.steps is not None
        if step < self.warm_up_steps:
            return (step + 1) / self.warm_up_steps
        passed = (step - self.warm_up_steps) / max(self.steps - self.warm_up_steps, 1)
        return 0.5 * (1 + math.cos(math.pi * min(passed, 1.0)))


class Linear(Frozen):
    """The first rate for a part of the training, then a straight line down to zero, as CycleGAN's code has it."""

    kind: Literal["linear"] = "linear"
    constant_part: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Part of the steps that keep the first rate."""
    steps: NumSteps | None = None
    """Steps after which the rate is zero; absent: all of the training, or never where that has no known length."""

    def rate(self, step: int) -> float:
        """The rate after this many steps, as a part of the first rate."""
        if self.steps is None:
            return 1.0
        left = 1 - step / self.steps
        return min(1.0, max(0.0, left / (1 - self.constant_part)))


Schedule = Annotated[Constant | Steps | Every | Cosine | Linear, Field(discriminator="kind")]


class Descent(Frozen):
    """How weights descend. Defaults: stochastic gradient descent at Light CNN's rate, the same for all tensors."""

    kind: Literal["sgd", "adam"] = "sgd"
    """Stochastic gradient descent, or Adam (Kingma and Ba 2015; a decay is added to the gradient there too)."""
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.01
    """Step size at the start."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Part of the last direction that each step keeps; beta_1 of Adam."""
    nesterov: bool = False
    """Whether the gradient is looked ahead for (Nesterov); of sgd alone."""
    weight_decay: NotNegative = 1e-4
    """Pull towards zero: this times the weight is added to its gradient."""
    rates: dict[Role, NotNegative] = {}
    """Factors on the learning rate by role; absent: 1. A factor 0 keeps tensors as they are."""
    decays: dict[Role, NotNegative] = {}
    """Weight decays by role; absent: weight_decay."""
    schedule: Schedule = Constant()
    """The learning rate over the training."""

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> "Descent":
        if self.nesterov and (self.kind != "sgd" or self.momentum == 0):
            raise ValueError("nesterov goes with kind='sgd' and a momentum above 0")
        return self

    def settled(self, steps: int) -> "Descent":
        """This descent with what the length of the training decides filled in; `steps`: training steps in all."""
        if not isinstance(self.schedule, Cosine | Linear) or self.schedule.steps is not None:
            return self
        return self.model_copy(update={"schedule": self.schedule.model_copy(update={"steps": steps})})

    def optimiser(self, modules: Mapping[str, nn.Module]) -> torch.optim.Optimizer:
        """An optimiser of all trainable tensors, with one group for each pair of rate and decay.

        A tensor that several modules share is in one group, by its role in the first of them. The order of groups and
        tensors depends on the names of the modules alone, not on the order in which they are given: checkpoints count
        on it.

        Args:
            modules: the classifier as "head", if there is one, and networks under any other names.

        Raises:
            ValueError: if there is no trainable tensor.
        """
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for role, parameter in roles(modules):
            rate = self.learning_rate * self.rates.get(role, 1.0)
            groups.setdefault((rate, self.decays.get(role, self.weight_decay)), []).append(parameter)
        if not groups:
            raise ValueError(f"nothing to train in {', '.join(modules) or 'no modules'}: every tensor is frozen")
        descending = [
            {"params": parameters, "lr": rate, "weight_decay": decay} for (rate, decay), parameters in groups.items()
        ]
        if self.kind == "adam":
            betas = (self.momentum, ADAM_SQUARE_MEMORY)
            return torch.optim.Adam(descending, lr=self.learning_rate, betas=betas, fused=True)
        return torch.optim.SGD(
            descending, lr=self.learning_rate, momentum=self.momentum, nesterov=self.nesterov, fused=True
        )

    def schedule_of(self, optimiser: torch.optim.Optimizer) -> LRScheduler:
        """The schedule of an optimiser, stepped once after each of its steps; its state can be written as JSON.

        Raises:
            ValueError: if a cosine does not know the length of the training.
        """
        if isinstance(self.schedule, Cosine) and self.schedule.steps is None:
            raise ValueError("a cosine needs the length of the training: take Descent.settled(steps), or set steps")
        # A bound method, not a callable object: torch would keep the object's settings in the schedule's state.
        return LambdaLR(optimiser, self.schedule.rate)


def descend(method: Method[Any], total: Tensor, name: str) -> None:
    """One step down the total with the optimiser of this name, and one of its schedule."""
    optimiser = method.optimisers[name]
    optimiser.zero_grad(set_to_none=True)
    method.backward(total)
    optimiser.step()
    method.schedules[name].step()
    torch.clear_autocast_cache()  # it holds the weights as they were, in bf16


def roles(modules: Mapping[str, nn.Module]) -> Iterator[tuple[Role, nn.Parameter]]:
    """Every trainable tensor once, with its role; see `Descent.optimiser`."""
    seen: set[nn.Parameter] = set()
    for key in sorted(modules):
        for path, module in modules[key].named_modules():
            for name, parameter in module.named_parameters(recurse=False):
                if parameter.requires_grad and parameter not in seen:
                    seen.add(parameter)
                    yield _role([key, *path.split(".")], module, name), parameter


def _role(path: list[str], module: nn.Module, name: str) -> Role:
    is_bias = name == "bias"
    if path[0] == HEAD or "classifier" in path:
        return "classifier_bias" if is_bias else "classifier"
    if isinstance(module, nn.PReLU):
        return "prelu"
    is_norm = isinstance(module, _NORMS)
    # The published MobileFaceNet counts the normalisation of the embedding layer, its bias too, as the embedding.
    if "embedding" in path and (is_norm or not is_bias):
        return "embedding"
    if is_norm:
        return "norm"
    return "bias" if is_bias else "weight"
