"""The cylindrical chart a head is drawn on: an angle round the head and a height, sampled as a table.

Head space is in millimetres: x to the person's left (right in a frontal picture), y up from the eye line, z out of the
nose; the chart's axis is the y axis. Columns are even in a pseudo-angle, which needs no arc tangent per ray step:
x / (|x| + |z|) over the front half, half as dense behind.
"""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

NUM_COLUMNS = 288
NUM_ROWS = 256
TOP_MM = 140.0
BOTTOM_MM = -170.0

_LAST_COLUMN = 1.5


class Numbers:
    """Named numbers of several pictures, each as a (B, 1, 1) float32 tensor: `numbers.nose_tip_mm`."""

    def __init__(self, pictures: Sequence[dict[str, float]], device: torch.device) -> None:
        names = list(pictures[0])
        table = np.array([[picture[name] for name in names] for picture in pictures], dtype=np.float32)
        self._set(dict(zip(names, torch.from_numpy(table).to(device).t().contiguous()[:, :, None, None], strict=True)))

    def _set(self, columns: dict[str, Tensor]) -> None:
        self._columns = columns
        any_column = next(iter(columns.values()))
        self.count, self.device = len(any_column), any_column.device

    def take(self, index: Tensor) -> "Numbers":
        """The numbers of some of the pictures."""
        taken = Numbers.__new__(Numbers)
        taken._set({name: column[index] for name, column in self._columns.items()})
        return taken

    def __getattr__(self, name: str) -> Tensor:
        try:
            columns: dict[str, Tensor] = self.__dict__["_columns"]
            return columns[name]
        except KeyError:
            raise AttributeError(name) from None


@cache
def angles(device: torch.device) -> Tensor:
    """Angle of each chart column in radians, (1, 1, NUM_COLUMNS); 0 is the nose, positive the person's left."""
    column = np.linspace(-_LAST_COLUMN, _LAST_COLUMN, NUM_COLUMNS)
    front = np.arctan2(column, 1.0 - np.abs(column))
    part = 2.0 - 2.0 * np.minimum(np.abs(column), _LAST_COLUMN) + 1.0  # |x| share behind the ears: 1 down to 0
    behind = np.sign(column) * np.arctan2(part, -(1.0 - part))
    angle = np.where(np.abs(column) <= 1.0, front, behind)
    return torch.from_numpy(angle.astype(np.float32)).to(device)[None, None, :]


@cache
def heights(device: torch.device) -> Tensor:
    """Height of each chart row in millimetres, (1, NUM_ROWS, 1), from the top down."""
    return torch.from_numpy(np.linspace(TOP_MM, BOTTOM_MM, NUM_ROWS).astype(np.float32)).to(device)[None, :, None]


def positions(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Where points of head space lie on the chart, as `torch.nn.functional.grid_sample` wants it, (..., 2)."""
    side = x.abs()
    share = side / (side + z.abs() + 1e-3)
    column = torch.where(z >= 0, share, 1.5 - 0.5 * share)
    column = torch.copysign(column, x) / _LAST_COLUMN
    row = (TOP_MM + BOTTOM_MM - 2.0 * y) / (TOP_MM - BOTTOM_MM)
    return torch.stack((column, row), dim=-1)


def sample(table: Tensor, position: Tensor) -> Tensor:
    """Values of a table (B, C, NUM_ROWS, NUM_COLUMNS) at chart positions (B, H, W, 2), as (B, C, H, W)."""
    return torch.nn.functional.grid_sample(table, position, "bilinear", "border", align_corners=True)


def bump(at: Tensor, centre: Tensor | float, spread: Tensor | float) -> Tensor:
    """A Gaussian bump of height 1."""
    distance = (at - centre) / spread
    return torch.exp(-0.5 * distance * distance)


def lopsided_bump(at: Tensor, centre: Tensor | float, below: Tensor | float, above: Tensor | float) -> Tensor:
    """A bump of height 1 with one spread below its centre and another above."""
    distance = at - centre
    distance = torch.where(distance < 0, distance / below, distance / above)
    return torch.exp(-0.5 * distance * distance)


def step(at: Tensor, edge: Tensor | float, width: Tensor | float) -> Tensor:
    """A soft step from 0 below the edge to 1 above it."""
    return torch.sigmoid((at - edge) * (4.0 / width))


def curve(at: Tensor, knots: Sequence[float], values: Sequence[Tensor | float]) -> Tensor:
    """A smooth curve through (knot, value) pairs, evaluated at fixed points; values may differ by picture.

    Catmull and Rom's cubic, which is linear in its values, so its weights depend on the knots alone.
    """
    weights = _curve_weights(at.cpu().numpy().tobytes(), tuple(knots))
    result = torch.zeros_like(at)
    for weight, value in zip(weights, values, strict=True):
        result = result + torch.from_numpy(weight).to(at.device).view(at.shape) * value
    return result


@cache
def _curve_weights(points: bytes, knot_values: tuple[float, ...]) -> np.ndarray:
    """(K, N) float32 weights of the K values at each of N points, which come as the bytes of a float32 array."""
    knots = np.asarray(knot_values, dtype=np.float64)
    at = np.clip(np.frombuffer(points, dtype=np.float32).astype(np.float64), knots[0], knots[-1])
    slopes = np.zeros((len(knots), len(knots)))
    for i in range(len(knots)):
        low, high = max(i - 1, 0), min(i + 1, len(knots) - 1)
        slopes[i, high] += 1.0 / (knots[high] - knots[low])
        slopes[i, low] -= 1.0 / (knots[high] - knots[low])
    left = np.clip(np.searchsorted(knots, at, side="right") - 1, 0, len(knots) - 2)
    span = knots[left + 1] - knots[left]
    t = ((at - knots[left]) / span)[:, None]
    unit = np.eye(len(knots))
    value = (2 * t**3 - 3 * t**2 + 1) * unit[left] + (3 * t**2 - 2 * t**3) * unit[left + 1]
    tangent = (t**3 - 2 * t**2 + t) * slopes[left] + (t**3 - t**2) * slopes[left + 1]
    weights: np.ndarray = (value + tangent * span[:, None]).T.astype(np.float32, order="C")
    return weights


def radians(degrees: float) -> float:
    """Degrees to radians."""
    return math.radians(degrees)
