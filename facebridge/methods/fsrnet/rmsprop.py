"""RMSprop (Tieleman and Hinton 2012), by which FSRNet was trained, with the schedules of the other descents."""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from facebridge.descent import Constant, Descent, Schedule
from facebridge.method import Frozen


class RmsProp(Frozen):
    """Each gradient in parts of its mean size so far. Defaults: FSRNet's rate, the library's memory."""

    kind: Literal["rmsprop"] = "rmsprop"
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 2.5e-4
    """Step size at the start."""
    square_memory: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Part of the mean squared gradient that each step keeps."""
    schedule: Schedule = Constant()
    """The learning rate over the training."""

    def settled(self, steps: int) -> "RmsProp":
        """As `Descent.settled`."""
        return self.model_copy(update={"schedule": self._descent().settled(steps).schedule})

    def optimiser(self, modules: Mapping[str, nn.Module]) -> torch.optim.Optimizer:
        """An optimiser of all trainable tensors, in an order that depends on the names of the modules alone."""
        parameters = [tensor for name in sorted(modules) for tensor in modules[name].parameters()]
        return torch.optim.RMSprop(parameters, lr=self.learning_rate, alpha=self.square_memory)

    def schedule_of(self, optimiser: torch.optim.Optimizer) -> LRScheduler:
        """As `Descent.schedule_of`."""
        return self._descent().schedule_of(optimiser)

    def _descent(self) -> Descent:
        return Descent(schedule=self.schedule)
