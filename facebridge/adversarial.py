"""What adversarial trainings share: how scores are judged, who is trained when, and the pool of earlier fakes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Objective = Literal["least_squares", "cross_entropy", "hinge"]
"""How scores of any size are judged:

    least_squares   (s - 1)^2 for real, s^2 for fake (Mao et al. 2017)
    cross_entropy   binary cross entropy of sigmoid(s) (Goodfellow et al. 2014, not saturating)
    hinge           relu(1 - s) for real, relu(1 + s) for fake, the generator -s (Lim and Ye 2017)
"""


def discriminator_loss(real: Tensor, fake: Tensor, objective: Objective) -> Tensor:
    """Half the sum of the mean losses of real and fake scores, of any shape; the generators come detached."""
    if objective == "least_squares":
        return ((real - 1).square().mean() + fake.square().mean()) / 2
    if objective == "cross_entropy":
        return (functional.softplus(-real).mean() + functional.softplus(fake).mean()) / 2
    return (functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()) / 2


def generator_loss(fake: Tensor, objective: Objective) -> Tensor:
    """How far fake scores are from passing as real ones."""
    if objective == "least_squares":
        return (fake - 1).square().mean()
    return functional.softplus(-fake).mean() if objective == "cross_entropy" else -fake.mean()


@contextmanager
def held(*networks: nn.Module) -> Iterator[None]:
    """Gradients pass through these networks and change nothing in them while this lasts."""
    for network in networks:
        network.requires_grad_(False)
    try:
        yield
    finally:
        for network in networks:
            network.requires_grad_(True)


class Pool:
    """Fakes of earlier steps, so that a discriminator does not forget them (Shrivastava et al. 2017).

    While it is not full every fake goes in and comes out; then each comes out itself with probability one half, or
    changes places with a random earlier one. Draws come from torch's own generator.

    Args:
        size: fakes that are kept; 0: none.
    """

    def __init__(self, size: int = 50) -> None:
        self.size = size
        self.kept: list[Tensor] = []

    def mixed(self, fakes: Tensor) -> Tensor:
        """Fakes (B, C, H, W), some of them replaced by earlier ones; without gradients."""
        fakes = fakes.detach()
        if not self.size:
            return fakes
        return torch.stack([self._exchanged(fake) for fake in fakes])

    def state_dict(self) -> dict[str, Tensor]:
        """The fakes, in order."""
        return {"kept": torch.stack(self.kept).cpu()} if self.kept else {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.kept = list(state["kept"]) if state else []

    def _exchanged(self, fake: Tensor) -> Tensor:
        if len(self.kept) < self.size:
            self.kept.append(fake.clone())
            return fake
        if float(torch.rand(())) < 0.5:
            return fake
        place = int(torch.randint(self.size, ()))
        earlier, self.kept[place] = self.kept[place], fake.clone()
        return earlier.to(fake)
