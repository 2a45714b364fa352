"""What is known of a drawn picture: 68 and five landmarks with visibility, and the parsing map."""

import torch
from torch import Tensor

from facebridge.data.synthetic import chart, head, rays
from facebridge.data.synthetic import paint as painting
from facebridge.data.synthetic.chart import Numbers, radians, step
from facebridge.data.synthetic.head import Head
from facebridge.data.synthetic.paint import Paint
from facebridge.parts import Part as Part

# How far behind the visible surface a landmark may lie and still count as seen, millimetres.
_SEEN_WITHIN_MM = 5.0


def parsing(p: Numbers, paint: Paint, hit: Tensor, angle: Tensor, height: Tensor) -> Tensor:
    """Class of each sample, (B, F, F) uint8; ears and neck are skin, clothes are background."""
    right = angle < 0
    parts = hit.to(torch.uint8) * int(Part.SKIN)

    def put(where: Tensor, part: Tensor | int) -> None:
        nonlocal parts
        parts = torch.where(where & hit, torch.as_tensor(part, dtype=torch.uint8, device=p.device), parts)

    put(_nose_cover(p, angle, height) > 0.5, int(Part.NOSE))
    side = torch.where(right, int(Part.RIGHT_BROW), int(Part.LEFT_BROW)).to(torch.uint8)
    along, above = painting.brow_frame(p, angle, height)
    thick = p.brow_thickness_mm * (1.0 - 0.45 * along.clamp(0.0, 1.0))
    put((above.abs() < thick) & (along.abs() < 1.0) & (angle.abs() < 1.2), side)
    put(paint.upper_lip > 0.5, int(Part.UPPER_LIP))
    put(paint.lower_lip > 0.5, int(Part.LOWER_LIP))
    put(paint.mouth > 0.5, int(Part.INNER_MOUTH))
    put(paint.eye > 0.5, torch.where(right, int(Part.RIGHT_EYE), int(Part.LEFT_EYE)).to(torch.uint8))
    put(paint.hair > 0.5, int(Part.HAIR))
    put(paint.clothes > 0.5, int(Part.BACKGROUND))
    return parts


def landmarks(
    p: Numbers, shape: Head, seen_depth: Tensor, seen_hit: Tensor, size: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """68 points (iBUG order) in pixels, their visibility, the five points and theirs.

    seen_depth, seen_hit: (B, F, F) depth of the visible surface and whether there is one.
    """
    angle, height = _points68(p, shape)
    angle = torch.cat((angle, *_eye_middles(p)[0]), dim=2)
    height = torch.cat((height, *_eye_middles(p)[1]), dim=2)
    unit_x, unit_z = torch.sin(angle), torch.cos(angle)
    radius = chart.sample(shape.radius[:, None], chart.positions(unit_x, height, unit_z))[:, 0]
    x, y, depth = rays.project(p, radius * unit_x, height, radius * unit_z, size)
    points = torch.stack((x, y), dim=-1)[:, 0]
    place = ((points + 0.5) * (2.0 / size) - 1.0)[:, None]
    front = torch.where(seen_hit, seen_depth, torch.full_like(seen_depth, rays.FAR_MM - 50.0))
    # A landmark on the outline sits beside samples of the background: compare with the nearest surface around it.
    surface = torch.nn.functional.max_pool2d(-front[:, None], 3, 1, 1)
    in_front = -torch.nn.functional.grid_sample(surface, place, "nearest", "border", align_corners=False)[:, 0, 0]
    inside = (place[:, 0].abs() <= 1.0).all(dim=-1)
    visible = (in_front - depth[:, 0] < _SEEN_WITHIN_MM) & inside
    five = torch.tensor([68, 69, 30, 48, 54], device=p.device)
    return points[:, :68].contiguous(), visible[:, :68].contiguous(), points[:, five], visible[:, five]


def _nose_cover(p: Numbers, angle: Tensor, height: Tensor) -> Tensor:
    base = p.nose_tip_height_mm - 12.0 + 0.5 * p.nose_tip_lift_mm
    along = ((6.0 - height) / (6.0 - base)).clamp(0.0, 1.0)
    half_deg = 4.5 + (p.nose_wing_deg + 3.6 - 4.5) * along**1.4
    within = step(half_deg * radians(1.0) - angle.abs(), 0.0, 0.02)
    return within * step(height, base, 1.5) * step(6.0 - height, 0.0, 2.0)


def _eye_middles(p: Numbers) -> tuple[list[Tensor], list[Tensor]]:
    middle = head.eye_angle(p)
    zero = torch.zeros_like(middle)
    upper, lower = painting.lids(p, zero)
    half = 0.5 * (upper + lower)
    differ = 0.5 * p.eye_height_difference_mm
    return [-middle, middle], [half - differ, half + differ]


def _points68(p: Numbers, shape: Head) -> tuple[Tensor, Tensor]:
    """Chart coordinates of the 68 points, (B, 1, 68) each."""
    groups = [_jaw(p, shape), *_brow_points(p), *_nose_points(p), *_eye_points(p), *_mouth_points(p)]
    angle = torch.cat([group[0].expand(p.count, 1, -1) for group in groups], dim=2)
    height = torch.cat([group[1].expand(p.count, 1, -1) for group in groups], dim=2)
    return angle, height


def _row(values: list[float], p: Numbers) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=p.device)[None, None, :]


def _jaw(p: Numbers, shape: Head) -> tuple[Tensor, Tensor]:
    half = [86.0, 85.0, 83.0, 79.0, 71.0, 57.0, 39.0, 19.0]
    angle = _row([-d for d in half] + [0.0] + half[::-1], p) * radians(1.0)
    where = chart.positions(torch.sin(angle), torch.zeros_like(angle), torch.cos(angle)).expand(p.count, -1, -1, -1)
    edge = chart.sample(shape.jaw_line[:, None], where)[:, 0]
    corner = p.jaw_corner_height_mm
    t = _row([0.0, 0.3, 0.62, 0.9], p)
    upper = 2.0 + (corner - 4.0) * t
    return angle, torch.cat((upper, edge[:, :, 4:13] + 3.0, upper.flip(2)), dim=2)


def _brow_points(p: Numbers) -> list[tuple[Tensor, Tensor]]:
    along = _row([1.0, 0.55, 0.1, -0.4, -0.95], p)
    groups = []
    for side in (-1.0, 1.0):
        x = along * p.brow_half_length_mm + p.eye_offset_mm + 2.0 + p.brow_shift_mm
        angle = side * x / head.EYE_RADIUS_MM
        _, above = painting.brow_frame(p, angle, torch.zeros_like(angle))
        height = -above + 0.6 * p.brow_thickness_mm
        groups.append((angle, height) if side < 0 else (angle.flip(2), height.flip(2)))
    return groups


def _nose_points(p: Numbers) -> list[tuple[Tensor, Tensor]]:
    skew = p.nose_skew_deg * radians(1.0)
    tip = p.nose_tip_height_mm + 0.5 * p.nose_tip_lift_mm
    base = p.nose_tip_height_mm - 10.5 + 0.5 * p.nose_tip_lift_mm
    bridge = tip * _row([0.02, 0.35, 0.68, 1.0], p)
    under = torch.cat([s * p.nose_wing_deg * radians(1.0) for s in (-0.95, -0.5, 0.0, 0.5, 0.95)], dim=2)
    lift = _row([1.2, 0.2, -0.4, 0.2, 1.2], p)
    return [(skew.expand(-1, -1, 4), bridge), (under, base + lift)]


def _eye_points(p: Numbers) -> list[tuple[Tensor, Tensor]]:
    groups = []
    for side in (-1.0, 1.0):
        # Outer corner, upper lid outwards-in, inner corner, lower lid: the person's right eye's order.
        along = _row([1.0, 0.36, -0.36, -1.0, -0.36, 0.36], p)
        x = along * p.eye_half_width_mm
        upper, lower = painting.lids(p, x)
        y = torch.cat((upper[:, :, :4], lower[:, :, 4:]), dim=2)
        y = torch.where(_row([1, 0, 0, 1, 0, 0], p) > 0, torch.zeros_like(y), y)
        height = y + p.eye_tilt * x + 0.5 * side * p.eye_height_difference_mm
        angle = side * (head.eye_angle(p) + x / head.EYE_RADIUS_MM)
        order = torch.tensor([0, 1, 2, 3, 4, 5] if side < 0 else [3, 2, 1, 0, 5, 4], device=p.device)
        groups.append((angle[:, :, order], height[:, :, order]))
    return groups


def _mouth_points(p: Numbers) -> list[tuple[Tensor, Tensor]]:
    def place(across: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
        angle = (across * head.mouth_half_width(p) + p.mouth_skew_mm) / head.MOUTH_RADIUS_MM
        return angle, p.mouth_height_mm + head.smile_lift(p) * across * across + up

    across = _row([-1.0, -0.62, -0.22, 0.0, 0.22, 0.62, 1.0, 0.62, 0.25, 0.0, -0.25, -0.62], p)
    inside = 1.0 - across * across
    top, _, _, bottom = painting.lip_edges(p, across, inside)
    outer = torch.cat((top[:, :, :7], bottom[:, :, 7:]), dim=2) * (inside > 0)
    across_in = _row([-0.88, -0.3, 0.0, 0.3, 0.88, 0.3, 0.0, -0.3], p)
    inside_in = 1.0 - across_in * across_in
    _, gap, low, _ = painting.lip_edges(p, across_in, inside_in)
    inner = torch.cat((gap[:, :, :5], low[:, :, 5:]), dim=2)
    return [place(across, outer), place(across_in, inner)]
