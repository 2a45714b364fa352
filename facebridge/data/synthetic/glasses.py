"""Spectacles: a curved front and two arms, met by the camera's rays before they reach the head."""

from typing import NamedTuple

import torch
from torch import Tensor

from facebridge.data.synthetic.chart import Numbers, bump, step
from facebridge.data.synthetic.rays import Surface

_LENS_MIDDLE_MM = 33.0  # from the nose
_LENS_HEIGHT_MM = -4.0
_LEAST_SLOPE = 0.06  # rays nearly along a plane miss it


class Glasses(NamedTuple):
    """Covers of lens and frame in [0, 1], the frame's relief and the lens's reflection, each (B, F, F)."""

    lens: Tensor
    frame: Tensor
    relief: Tensor
    sky: Tensor


def glasses(p: Numbers, surface: Surface) -> Glasses:
    """Where the rays meet the glasses, nothing for people without."""
    wearers = p.glasses.flatten().nonzero().flatten()
    none = torch.zeros_like(surface.x)
    if len(wearers) == 0:
        return Glasses(none, none, none, none)
    found = _worn(p.take(wearers), surface.take(wearers))
    return Glasses(*(none.index_copy(0, wearers, part) for part in found))


def _worn(p: Numbers, surface: Surface) -> Glasses:
    (sx, sy, sz), (ax, ay, az) = surface.rays
    front_mm = 95.0 + p.nose_root_mm + 0.25 * p.brow_ridge_mm
    forward = torch.where(az.abs() < _LEAST_SLOPE, torch.full_like(az, _LEAST_SLOPE), az)
    depth = (front_mm - sz) / forward
    for _ in range(2):  # the front curves back towards the temples
        x = sx + depth * ax
        depth = (front_mm - 0.0042 * x * x - sz) / forward
    x, y = sx + depth * ax, sy + depth * ay
    before = ((depth > surface.depth) | (surface.cover < 0.5)) & (az.abs() >= _LEAST_SLOPE)
    seen = before.float()
    edge = _from_rim(p, x, y)
    rim = 0.5 * p.glasses_rim_mm
    bridge = step(1.2 + 0.5 * rim - (y - 3.0).abs(), 0.0, 0.8) * step(
        _LENS_MIDDLE_MM - p.glasses_half_width_mm - x.abs(), 0.0, 1.0
    )
    frame = torch.maximum(step(rim - edge.abs(), 0.0, 0.8), bridge) * seen
    lens = step(-edge, 0.0, 0.8) * seen * (1.0 - frame)
    arms = _arms(p, surface, front_mm)
    sky = 0.4 + 0.6 * bump(x.abs() - _LENS_MIDDLE_MM - 0.6 * y, 4.0, 5.0)
    return Glasses(lens, torch.maximum(frame, arms), 0.8 + 0.5 * bump(edge, rim * 0.4, 0.8), sky)


def _from_rim(p: Numbers, x: Tensor, y: Tensor) -> Tensor:
    """Signed distance from the rim of the nearer lens, a rounded rectangle, millimetres."""
    corner = 0.55 * p.glasses_half_height_mm
    across = (x.abs() - _LENS_MIDDLE_MM).abs() - p.glasses_half_width_mm + corner
    up = (y - _LENS_HEIGHT_MM).abs() - p.glasses_half_height_mm + corner
    outside = torch.sqrt(across.clamp_min(0.0) ** 2 + up.clamp_min(0.0) ** 2 + 1e-6)
    return outside + torch.maximum(across, up).clamp_max(0.0) - corner


def _arms(p: Numbers, surface: Surface, front_mm: Tensor) -> Tensor:
    """Cover of the two arms, straight strips from the front to the ears."""
    (sx, sy, sz), (ax, ay, az) = surface.rays
    side = torch.sign(ax)  # the arm on the camera's side
    hinge_x = _LENS_MIDDLE_MM + p.glasses_half_width_mm + 1.5
    hinge_z = front_mm - 0.0042 * hinge_x * hinge_x
    spread = (p.head_width_mm + 1.0 - hinge_x) / (hinge_z + 8.0)
    sideways = ax * side + spread * az
    sideways = torch.where(sideways.abs() < _LEAST_SLOPE, torch.full_like(ax, _LEAST_SLOPE), sideways)
    depth = (hinge_x + spread * (hinge_z - sz) - sx * side) / sideways
    y, z = sy + depth * ay, sz + depth * az
    cover = (
        step(1.2 + 0.4 * p.glasses_rim_mm - (y - 4.0).abs(), 0.0, 0.8)
        * step(hinge_z - z, -1.5, 1.0)
        * step(z, -8.0, 1.0)
    )
    before = (depth > surface.depth) & (ax.abs() >= _LEAST_SLOPE) & (sideways > _LEAST_SLOPE)
    return cover * before.float()
