"""Who is trained in a step: both networks, or the one whose turn it is."""

from typing import Literal

import torch
from torch import Tensor

Turns = Literal["both", "adaptive"]
"""both: the discriminator, then the generator, in every step. adaptive: one of them; see `AdaptiveTurns`."""

STRONG = 0.9
"""Accuracy from which on the discriminator waits longer."""

EVERY, EVERY_WHEN_STRONG = 2, 5
"""Of so many steps one is the discriminator's."""


class AdaptiveTurns:
    """A discriminator that is too good teaches nothing: the better it was, the rarer it learns.

    The discriminator learns in steps 0, 2, 4, ..., the generator in the others; while the discriminator was right in
    90 % or more when it learned last, it learns in steps 0, 5, 10, ... alone. As the program of kayamin/DR-GAN does it;
    steps are counted through the training, not anew in each epoch.
    """

    def __init__(self) -> None:
        self.step = 0
        self.is_strong = False

    def is_discriminators(self) -> bool:
        """Whether the present step is the discriminator's."""
        return self.step % (EVERY_WHEN_STRONG if self.is_strong else EVERY) == 0

    def judge(self, accuracy: Tensor) -> None:
        """Remember how often the discriminator was right in this step, a scalar in [0, 1]; over all processes."""
        accuracy = accuracy.detach().clone()
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(accuracy)
            accuracy /= torch.distributed.get_world_size()
        self.is_strong = bool(accuracy >= STRONG)

    def advance(self) -> None:
        """The step is done."""
        self.step += 1

    def state_dict(self) -> dict[str, Tensor]:
        return {"step": torch.tensor(self.step), "is_strong": torch.tensor(self.is_strong)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.step, self.is_strong = int(state["step"]), bool(state["is_strong"])
