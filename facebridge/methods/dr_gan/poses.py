"""Poses as numbers: from degrees of yaw to classes and codes."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def check(poses_deg: tuple[float, ...]) -> tuple[float, ...]:
    """The poses as they came.

    Raises:
        ValueError: if they are fewer than two, not finite, do not rise, or have no front among or between them.
    """
    rising = all(first < second for first, second in zip(poses_deg, poses_deg[1:], strict=False))
    if len(poses_deg) < 2 or not all(map(math.isfinite, poses_deg)) or not rising:
        raise ValueError(f"poses are two yaws or more in degrees, rising, not {list(poses_deg)}")
    if not poses_deg[0] <= 0 <= poses_deg[-1]:
        raise ValueError(f"poses go from one side over the front, 0 degrees, to the other, not {list(poses_deg)}")
    return poses_deg


def classes(yaw_deg: Tensor, poses_deg: Sequence[float]) -> Tensor:
    """The number of the nearest pose, int64, of yaws of any shape; the lower one halfway between two.

    Raises:
        ValueError: if a yaw is not known (not finite).
    """
    if not bool(yaw_deg.isfinite().all()):
        raise ValueError("the yaw of a face is not known: give a face list whose column yaw_deg is filled")
    return (yaw_deg[..., None] - yaw_deg.new_tensor(poses_deg)).abs().argmin(-1)


def codes(yaw_deg: Sequence[float], poses_deg: Sequence[float]) -> Tensor:
    """Codes (n, Np) of n yaws: 1 at a pose of the training, between two poses linearly from one to the other.

    Raises:
        ValueError: if there is no yaw, or one is out of the range of the poses.
    """
    if not len(yaw_deg):
        raise ValueError("ask for one yaw or more")
    found = torch.zeros(len(yaw_deg), len(poses_deg))
    for row, yaw in enumerate(yaw_deg):
        if not poses_deg[0] <= yaw <= poses_deg[-1]:
            raise ValueError(
                f"a head cannot be turned to {yaw:g} degrees: this one was trained from {poses_deg[0]:g} to "
                f"{poses_deg[-1]:g}"
            )
        above = next(number for number in range(1, len(poses_deg)) if yaw <= poses_deg[number])
        share = (yaw - poses_deg[above - 1]) / (poses_deg[above] - poses_deg[above - 1])
        found[row, above - 1], found[row, above] = 1 - share, share
    return found
