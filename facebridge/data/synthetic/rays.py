"""Camera rays against the chart: which point of the head each sample of the picture sees."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from facebridge.data.synthetic import chart
from facebridge.data.synthetic.chart import Numbers

NEAR_MM = 138.0
FAR_MM = -122.0

_FACE_PLANE_MM = 60.0  # the depth at which the picture's scale holds
_PIVOT_MM = -30.0  # height of the point the head turns about
_CENTRE = (0.0, -13.0, 42.0)  # the point of the head that a loose detector box is centred on
_COARSE = 48
_COARSE_STEPS = 36
_FINE_STEPS = 7


class Surface(NamedTuple):
    """What each sample sees, each (B, F, F); lengths in millimetres of head space."""

    cover: Tensor  # share of the sample that the person covers: 1 inside, falling to 0 within a sample of the outline
    x: Tensor
    y: Tensor
    z: Tensor
    depth: Tensor  # towards the camera
    rays: "Rays"

    def take(self, index: Tensor) -> "Surface":
        """The surfaces of some of the pictures."""
        (start_x, start_y, start_z), (along_x, along_y, along_z) = self.rays
        rays = Rays((start_x[index], start_y[index], start_z[index]), (along_x[index], along_y[index], along_z[index]))
        return Surface(self.cover[index], self.x[index], self.y[index], self.z[index], self.depth[index], rays)


def view_numbers(numbers: dict[str, float]) -> dict[str, float]:
    """The camera of one picture: rotation entries r00 ... r22 (head to camera) and the picture's centre."""
    yaw, pitch, roll = (math.radians(numbers[name]) for name in ("yaw_deg", "pitch_deg", "roll_deg"))
    turn = np.array([[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]])
    nod = np.array([[1, 0, 0], [0, math.cos(pitch), math.sin(pitch)], [0, -math.sin(pitch), math.cos(pitch)]])
    tilt = np.array([[math.cos(roll), math.sin(roll), 0], [-math.sin(roll), math.cos(roll), 0], [0, 0, 1]])
    rotation = tilt @ nod @ turn
    centre = rotation @ (np.array(_CENTRE) - np.array([0.0, _PIVOT_MM, 0.0]))
    entries = {f"r{i}{j}": float(rotation[i, j]) for i in range(3) for j in range(3)}
    return entries | {
        "centre_x": float(centre[0]) + numbers["shift_x_mm"],
        "centre_y": float(centre[1]) + numbers["shift_y_mm"],
    }


def project(p: Numbers, x: Tensor, y: Tensor, z: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Head points to picture pixels (x right, y down, centre of the top-left pixel 0) and depth in millimetres."""
    y = y - _PIVOT_MM
    across = p.r00 * x + p.r01 * y + p.r02 * z
    up = p.r10 * x + p.r11 * y + p.r12 * z
    depth = p.r20 * x + p.r21 * y + p.r22 * z
    enlarge = 1.0 / (1.0 - (depth - _FACE_PLANE_MM) / p.distance_mm)
    px_per_mm = size / p.picture_mm
    return (
        (across * enlarge - p.centre_x) * px_per_mm + 0.5 * size - 0.5,
        -(up * enlarge - p.centre_y) * px_per_mm + 0.5 * size - 0.5,
        depth,
    )


def to_head(p: Numbers, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Turn a camera-space direction into head space."""
    return (
        p.r00 * x + p.r10 * y + p.r20 * z,
        p.r01 * x + p.r11 * y + p.r21 * z,
        p.r02 * x + p.r12 * y + p.r22 * z,
    )


class Rays(NamedTuple):
    """Head points `start + depth * along` of each sample."""

    start: tuple[Tensor, Tensor, Tensor]
    along: tuple[Tensor, Tensor, Tensor]

    def at(self, depth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, y, z = (s + depth * a for s, a in zip(self.start, self.along, strict=True))
        return x, y, z


class _Crossing(NamedTuple):
    """Where rays enter the head: the last depth in the open and the first inside, with their excess; (B, F, F) each."""

    hit: Tensor
    out_depth: Tensor
    out_excess: Tensor
    in_depth: Tensor
    in_excess: Tensor
    least_depth: Tensor  # where a ray in the open comes closest
    least_excess: Tensor


def cast(p: Numbers, squared_radius: Tensor, samples: int) -> Surface:
    """Find the nearest surface point of each of samples x samples rays.

    squared_radius: (B, 1, NUM_ROWS, NUM_COLUMNS). A coarse march brackets the depth, a fine one and secant steps find
    it.
    """
    near, far = _brackets(p, squared_radius)
    index = ((torch.arange(samples, device=p.device) + 0.5) * (_COARSE / samples)).long()
    near, far = near[:, index][:, :, index], far[:, index][:, :, index]
    rays = _rays(p, samples)

    def excess(depth: Tensor) -> Tensor:
        x, y, z = rays.at(depth)
        return x * x + z * z - chart.sample(squared_radius, chart.positions(x, y, z))[:, 0]

    crossing = _march(excess, near, far)
    # A ray that misses shows the surface it passes closest to, as far as it reaches into the sample.
    depth = torch.where(crossing.hit, _refine(excess, crossing), crossing.least_depth)
    x, y, z = rays.at(depth)
    gap_mm = 0.5 * crossing.least_excess * torch.rsqrt(x * x + z * z + 1.0)
    cover = (1.0 - gap_mm * (samples / p.picture_mm)).clamp(0.0, 1.0)
    cover = torch.where(crossing.hit, torch.ones_like(cover), cover) * (near > FAR_MM)
    return Surface(cover, x, y, z, depth, rays)


def _march(excess: Callable[[Tensor], Tensor], near: Tensor, far: Tensor) -> _Crossing:
    """Step from near to far and note where the excess of squared distance over squared radius turns negative."""
    stride = (near - far) / _FINE_STEPS
    out_depth, in_depth, least_depth = near, far, near
    out_excess, in_excess = torch.ones_like(near), -torch.ones_like(near)
    least_excess = torch.full_like(near, 1e6)
    hit = torch.zeros_like(near, dtype=torch.bool)
    for i in range(_FINE_STEPS + 1):
        depth = near - i * stride
        value = excess(depth)
        within = value < 0
        first, open_air = within & ~hit, ~(within | hit)
        in_depth, in_excess = torch.where(first, depth, in_depth), torch.where(first, value, in_excess)
        out_depth, out_excess = torch.where(open_air, depth, out_depth), torch.where(open_air, value, out_excess)
        closer = open_air & (value < least_excess)
        least_depth, least_excess = torch.where(closer, depth, least_depth), torch.where(closer, value, least_excess)
        hit = hit | within
    return _Crossing(hit, out_depth, out_excess, in_depth, in_excess, least_depth, least_excess)


def _refine(excess: Callable[[Tensor], Tensor], crossing: _Crossing) -> Tensor:
    """Depth of the surface between the bracket's ends, by two guarded secant steps and a last interpolation."""
    _, out_depth, out_excess, in_depth, in_excess, _, _ = crossing
    for _ in range(2):
        share = (out_excess / (out_excess - in_excess)).clamp(0.08, 0.92)
        depth = out_depth + (in_depth - out_depth) * share
        value = excess(depth)
        within = value < 0
        in_depth, in_excess = torch.where(within, depth, in_depth), torch.where(within, value, in_excess)
        out_depth, out_excess = torch.where(within, out_depth, depth), torch.where(within, out_excess, value)
    share = (out_excess / (out_excess - in_excess)).clamp(0.0, 1.0)
    return out_depth + (in_depth - out_depth) * share


def _rays(p: Numbers, samples: int) -> Rays:
    unit = (torch.arange(samples, device=p.device, dtype=torch.float32) + 0.5) / samples - 0.5
    px = (unit[None, None, :] * p.picture_mm + p.centre_x).expand(-1, samples, -1)
    py = (-unit[None, :, None] * p.picture_mm + p.centre_y).expand(-1, -1, samples)
    widen = 1.0 + _FACE_PLANE_MM / p.distance_mm
    start = to_head(p, px * widen, py * widen, torch.zeros_like(px))
    along = to_head(p, -px / p.distance_mm, -py / p.distance_mm, torch.ones_like(px))
    return Rays((start[0], start[1] + _PIVOT_MM, start[2]), along)


def _brackets(p: Numbers, squared_radius: Tensor) -> tuple[Tensor, Tensor]:
    """Depths between which each coarse cell's surface lies, (B, _COARSE, _COARSE); far = near where there is none."""
    rays = _rays(p, _COARSE)
    step = (NEAR_MM - FAR_MM) / _COARSE_STEPS
    depths = NEAR_MM - step * torch.arange(_COARSE_STEPS, device=p.device, dtype=torch.float32)[None, :, None, None]
    x, y, z = (s[:, None] + depths * a[:, None] for s, a in zip(rays.start, rays.along, strict=True))
    flat = (p.count, _COARSE_STEPS * _COARSE, _COARSE)
    x, y, z = x.reshape(flat), y.reshape(flat), z.reshape(flat)
    within = x * x + z * z < chart.sample(squared_radius, chart.positions(x, y, z))[:, 0]
    within = within.view(p.count, _COARSE_STEPS, _COARSE, _COARSE)
    first = torch.where(within, depths, torch.full_like(depths, FAR_MM - step)).amax(dim=1)
    pool = torch.nn.functional.max_pool2d
    near = pool(first[:, None], 3, 1, 1)[:, 0]
    far = -pool(-first[:, None], 3, 1, 1)[:, 0]
    seen = near > FAR_MM
    near = torch.where(seen, near + step, torch.full_like(near, FAR_MM - step))
    # Beside the outline a sample may graze the head well behind its neighbours' depth.
    far = torch.where(far < FAR_MM, torch.maximum(near - 75.0, torch.full_like(far, FAR_MM)), far - 0.5 * step)
    return near, torch.where(seen, far, near - step)
