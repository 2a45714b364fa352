"""What logged losses say of a training that has gone wrong: pure functions, printing and files live elsewhere."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

LINES = 20
"""Logged steps that a judgement rests on."""
ZERO = 1e-8
"""Losses below it in absolute value are zero."""
CONSTANT = 1e-6
"""Losses whose range is below this share of the largest are constant."""
WON = 0.01
"""Losses of a discriminator below it in absolute value: it is no longer wrong about anything."""

Kind = Literal["zero", "constant", "discriminator_won"]

_MEANING: dict[Kind, tuple[str, str, str]] = {
    "zero": (
        "has been zero",
        "nothing reaches it (its weight is 0, its mask is empty, or what it compares is one and the same), or a margin "
        "is met by every face",
        "look at the last preview and at what the data pairs; leave the loss out if it is not wanted",
    ),
    "constant": (
        "has not changed",
        "what it measures gets no gradient: a network is frozen, its rate has decayed to 0, its output is saturated "
        "(all black, all white), or a discriminator calls every face the same",
        "look at the last preview and at the learning rates; start again with a lower rate or another seed",
    ),
    "discriminator_won": (
        "is next to nothing",
        "the discriminator tells every generated face from a real one, so that the generator learns little from it: it "
        "learns too fast, or it has learned a few real faces by heart",
        "lower its learning rate, use more data, or give the adversarial loss less weight beside the others",
    ),
}
"""What was seen, what usually causes it, what to try."""


class Diverged(ValueError):
    """A loss or a network is no longer finite."""


@dataclass(frozen=True)
class Finding:
    """A loss that no longer says anything."""

    loss: str
    kind: Kind
    first_step: int
    """The first logged step that was looked at."""
    step: int
    """The last one."""
    value: float
    """The loss at that step."""

    @property
    def text(self) -> str:
        """What was seen, what usually causes it and what to try, in one paragraph."""
        seen, cause, remedy = _MEANING[self.kind]
        return (
            f"the loss {self.loss!r} {seen} from step {self.first_step} to step {self.step} (now {self.value:.3g}); "
            f"usual cause: {cause}; to try: {remedy}"
        )


def stuck(lines: Sequence[Mapping[str, Any]], num_lines: int = LINES) -> list[Finding]:
    """Losses that have stayed at zero or constant, and discriminators that have won, over the last logged steps.

    Args:
        lines: of a log, oldest first: `step` and the losses by name. A loss that is missing in one of the last
            `num_lines`, or not finite in one of them, is not judged; nor is any where there are fewer lines.
        num_lines: how many of the last lines are looked at, 2 or more.

    Raises:
        ValueError: if `num_lines` is below 2.
    """
    if num_lines < 2:
        raise ValueError(f"one line says nothing of a change: look at 2 or more, not at {num_lines}")
    last = lines[-num_lines:]
    if len(last) < num_lines:
        return []
    found = []
    for name in last[-1]:
        if name == "step" or any(name not in line for line in last):
            continue
        values = [float(line[name]) for line in last]
        kind = _kind(name, values)
        if kind is not None:
            found.append(Finding(name, kind, int(last[0]["step"]), int(last[-1]["step"]), values[-1]))
    return found


def finite(losses: Mapping[str, Tensor], step: int) -> dict[str, float]:
    """The losses as numbers.

    Raises:
        Diverged: if one is not finite; names the step and the loss.
    """
    found = {name: float(value) for name, value in losses.items()}
    for name, value in found.items():
        if not math.isfinite(value):
            raise Diverged(
                f"step {step}: the loss {name!r} is {value}; lower the step size, or look at the last preview"
            )
    return found


def _kind(name: str, values: Sequence[float]) -> Kind | None:
    largest = max(map(abs, values))
    if not all(map(math.isfinite, values)):
        return None
    if "discriminator" in name and largest < WON:
        return "discriminator_won"
    if largest < ZERO:
        return "zero"
    return "constant" if max(values) - min(values) < CONSTANT * largest else None
