"""The shape of a head: the radius of its surface as a function on the chart, from a person and an expression."""

from typing import NamedTuple

import torch
from torch import Tensor

from facebridge.data.synthetic import chart
from facebridge.data.synthetic.chart import Numbers, bump, curve, lopsided_bump, radians, step

# Typical distances from the axis, which turn millimetres on the face into angles.
EYE_RADIUS_MM = 85.0
MOUTH_RADIUS_MM = 95.0
NOSE_RADIUS_MM = 100.0


class Head(NamedTuple):
    """Shape of B heads on the chart, each (B, NUM_ROWS, NUM_COLUMNS)."""

    radius: Tensor  # millimetres from the axis
    hair: Tensor  # cover of scalp hair, 0 to 1
    jaw_line: Tensor  # (B, 1, NUM_COLUMNS) height of the lower edge of the jaw, millimetres


def build(p: Numbers) -> Head:
    """Draw the surface of every head."""
    angle, height = chart.angles(p.device), chart.heights(p.device)
    jaw_line = _jaw_line(p, angle)
    face = _skull(p, angle, height) + _features(p, angle, height) + _mouth(p, angle, height)
    below = step(height, jaw_line, 9.0 + 5.0 * angle.abs())
    neck = _neck(p, angle, height)
    radius = neck + (face - neck) * below
    ears, bare = _ears(p, angle, height)
    radius = radius + ears * (1.0 - 0.9 * p.long_hair)
    above = _above_hairline(angle, height, hairline(p, angle))
    hair = _hair_cover(p, angle, above) * bare
    radius = _hair_volume(p, angle, height, above, radius, hair, bare)
    return Head(radius.clamp_min(0.0), hair, jaw_line)


def mouth_drop(p: Numbers) -> Tensor:
    """How far the lower jaw hangs open, millimetres."""
    return 17.0 * p.mouth_open


def smile_lift(p: Numbers) -> Tensor:
    """How far the mouth's corners stand above its middle, millimetres."""
    return p.mouth_corner_lift_mm + 4.5 * p.smile - 3.0 * p.frown


def mouth_half_width(p: Numbers) -> Tensor:
    """Half the width of the mouth, millimetres on the face."""
    return p.mouth_half_width_mm * (1.0 + 0.16 * p.smile - 0.1 * p.mouth_open)


def eye_angle(p: Numbers) -> Tensor:
    """Angle of the eye's centre, radians."""
    return torch.asin(p.eye_offset_mm / EYE_RADIUS_MM)


def _ellipse(angle: Tensor, across: Tensor, along: Tensor) -> Tensor:
    sine, cosine = torch.sin(angle), torch.cos(angle)
    return torch.rsqrt((sine / across) ** 2 + (cosine / along) ** 2)


def _skull(p: Numbers, angle: Tensor, height: Tensor) -> Tensor:
    chin = p.chin_height_mm - mouth_drop(p)
    # Heights of the lower face move with the chin.
    lower = -20.0 + (height + 20.0) * (-92.0 / (chin + 20.0)).clamp(0.75, 1.25)
    lower = torch.where(height < -20.0, lower, height)
    knots = (-130.0, -110.0, -90.0, -70.0, -50.0, -30.0, -10.0, 10.0, 30.0, 50.0)
    across = _at_rows(lower, knots, (
        p.chin_width_mm - 6, p.chin_width_mm, p.chin_width_mm * 0.35 + p.jaw_width_mm * 0.62, p.jaw_width_mm,
        0.5 * (p.jaw_width_mm + p.cheek_width_mm) + 1, p.cheek_width_mm - 1.5, p.cheek_width_mm + 0.5,
        0.5 * (p.cheek_width_mm + p.head_width_mm), p.head_width_mm, p.head_width_mm,
    ))  # fmt: skip
    deep = p.midface_depth_mm
    front = _at_rows(lower, knots, (
        p.forehead_depth_mm - 6, p.forehead_depth_mm - 3, p.forehead_depth_mm - 2, 98.0 + deep, 98.5 + deep,
        93.0 + deep, 89.5 + 0.5 * deep, 0.5 * (89.0 + p.forehead_depth_mm) + 2, p.forehead_depth_mm,
        p.forehead_depth_mm,
    ))  # fmt: skip
    back = _at_rows(lower, knots, (
        55.0, 55.0, 58.0, 62.0, 66.0, 74.0, 84.0, p.back_depth_mm - 3, p.back_depth_mm, p.back_depth_mm,
    ))  # fmt: skip
    up = ((height - 30.0) / (p.head_top_mm - 30.0)).clamp(0.0, 1.0)
    closing = torch.sqrt((1.0 - up**2.3).clamp_min(0.0))
    front = front - p.forehead_slope_mm * up * 2.0 * closing
    along = torch.where(angle.abs() < radians(90), front, back)
    return _ellipse(angle, across, along) * closing


def _at_rows(lower: Tensor, knots: tuple[float, ...], values: tuple[Tensor | float, ...]) -> Tensor:
    """A curve of height, with heights that differ by picture: read off a fine table of the curve."""
    fine = torch.linspace(knots[0], knots[-1], 161, device=lower.device)
    tables = curve(fine[None, :, None], knots, values)[:, :, 0]
    where = ((lower[:, :, 0].clamp(knots[0], knots[-1]) - knots[0]) / (knots[-1] - knots[0])) * 160.0
    index = where.floor().clamp(0, 159)
    part = where - index
    index = index.long()
    return (tables.gather(1, index) * (1 - part) + tables.gather(1, index + 1) * part)[:, :, None]


def _features(p: Numbers, angle: Tensor, height: Tensor) -> Tensor:
    """Brow, sockets, eyes, nose, cheeks and chin: products of a function of height and one of angle, summed."""
    degree = radians(1.0)
    pairs: list[tuple[Tensor, Tensor]] = []

    def add(amount: Tensor | float, rows: Tensor, at_deg: Tensor | float, spread_deg: Tensor | float) -> None:
        columns = bump(angle, at_deg * degree, spread_deg * degree)
        if not (isinstance(at_deg, float) and at_deg == 0.0):
            columns = columns + bump(angle, -at_deg * degree, spread_deg * degree)
        pairs.append((amount * rows, columns))

    eye_deg = eye_angle(p) / degree
    drop = mouth_drop(p)
    chin = p.chin_height_mm - drop
    brow = p.brow_height_mm - 1.0
    add(p.brow_ridge_mm - p.frown, lopsided_bump(height, brow, 6.0, 9.0), 16.0, 10.0)
    add(0.5 * p.brow_ridge_mm, bump(height, brow, 9.0), 0.0, 7.0)
    add(-p.socket_depth_mm, lopsided_bump(height, 3.0, 12.0, 8.0), eye_deg - 1.0, 9.5)
    add(-4.5 + 0.0 * drop, lopsided_bump(height, 1.0, 9.0, 8.0), 11.0, 4.0)
    add(p.eye_bulge_mm, bump(height, 0.0, 6.5), eye_deg, 6.6)
    add(p.eye_bag_mm + 0.9 * p.smile.clamp_min(0), bump(height, -p.lower_lid_mm - 6.0, 3.2), eye_deg, 8.0)
    add(
        p.cheekbone_mm + 1.5 * p.smile.clamp_min(0), lopsided_bump(height, p.cheekbone_height_mm, 10.0, 9.0), 40.0, 13.0
    )
    add(p.cheek_fat_mm + 1.6 * p.smile.clamp_min(0), bump(height, -48.0 + 5.0 * p.smile, 15.0), 33.0, 13.0)
    add(-p.cheek_hollow_mm, bump(height, -60.0, 14.0), 50.0, 12.0)
    add(-p.temple_hollow_mm, bump(height, 22.0, 16.0), 58.0, 11.0)
    add(2.0 + 0.0 * drop, bump(height, 55.0, 22.0), 26.0, 12.0)
    add(p.jaw_corner_mm, bump(height, p.jaw_corner_height_mm, 14.0), 70.0, 12.0)
    add(p.chin_bump_mm, lopsided_bump(height, chin + 12.0, 8.0, 9.0), 0.0, p.chin_bump_width_deg)
    add(-p.chin_cleft_mm.clamp_min(0), bump(height, chin + 12.0, 6.0), 0.0, 1.8)
    add(-3.6 + 0.0 * drop, bump(height, 0.5 * (p.mouth_height_mm + chin) + 3.0, 4.5), 0.0, 13.0)
    for amount, rows, columns in _nose(p, angle, height):
        pairs.append((amount * rows, columns))
    count = p.count
    rows = torch.stack([pair[0].expand(count, -1, 1)[:, :, 0] for pair in pairs], dim=2)
    columns = torch.stack([pair[1].expand(count, 1, -1)[:, 0] for pair in pairs], dim=1)
    # One product a picture: the same sum in the same order whatever else is in the batch.
    return torch.stack([row @ column for row, column in zip(rows, columns, strict=True)])


def _nose(p: Numbers, angle: Tensor, height: Tensor) -> list[tuple[Tensor | float, Tensor, Tensor]]:
    degree = radians(1.0)
    tip = p.nose_tip_height_mm
    base = tip - 10.0 + 0.5 * p.nose_tip_lift_mm  # where nose and lip meet
    centre = p.nose_skew_deg * degree
    along = ((8.0 - height) / (8.0 - tip)).clamp(0.0, 1.0)  # 0 at the root, 1 at the tip
    under = step(height, base + 2.5, 7.0)
    root = bump(height, 2.0, 9.0) * p.nose_root_mm
    ridge = (root + p.nose_projection_mm * 0.92 * along**1.25 + p.nose_hump_mm * bump(along, 0.42, 0.2)) * under
    side = bump(angle, p.nose_wing_deg * degree, 3.2 * degree) + bump(angle, -p.nose_wing_deg * degree, 3.2 * degree)
    nostril = bump(angle, 4.4 * degree, 1.9 * degree) + bump(angle, -4.4 * degree, 1.9 * degree)
    crease = bump(angle, (p.nose_wing_deg + 4.6) * degree, 1.7 * degree)
    crease = crease + bump(angle, -(p.nose_wing_deg + 4.6) * degree, 1.7 * degree)
    flare = 1.0 + 0.12 * p.smile.clamp_min(0.0)
    return [
        (1.0, ridge, bump(angle, centre, p.nose_bridge_width_deg * degree)),
        (0.34 * p.nose_projection_mm, along**1.1 * under, bump(angle, centre, 9.0 * degree)),
        (p.nose_tip_mm, lopsided_bump(height, tip + 1.0 + p.nose_tip_lift_mm, 6.0, 7.0) * under,
         bump(angle, centre, p.nose_tip_width_deg * degree)),
        (p.nose_wing_mm * flare, lopsided_bump(height, tip - 2.5, 5.0, 6.0) * step(height, base + 4.5, 5.0), side),
        (-3.5, bump(height, base + 2.2, 2.4), nostril),
        (-1.6, bump(height, tip - 3.0, 6.0), crease),
    ]  # fmt: skip


def _mouth(p: Numbers, angle: Tensor, height: Tensor) -> Tensor:
    """Lips, philtrum, folds and the mouth's line, evaluated over the part of the chart that holds them."""
    rows = slice(int((chart.TOP_MM + 38.0) / 1.2156), int((chart.TOP_MM + 122.0) / 1.2156))
    columns = slice(92, 196)
    a, h = angle[:, :, columns], height[:, rows]
    x = a * MOUTH_RADIUS_MM - p.mouth_skew_mm
    across = x / mouth_half_width(p)
    inside = (1.0 - across * across).clamp_min(0.0)
    middle = p.mouth_height_mm + smile_lift(p) * across * across
    drop = mouth_drop(p) * inside
    within = inside * (1.45 - 0.45 * inside)
    up = h - middle
    upper = bump(up, 0.45 * p.upper_lip_mm * within, 0.42 * p.upper_lip_mm + 0.9) * p.lip_protrusion_mm
    lower = bump(up + drop, -0.45 * p.lower_lip_mm * within, 0.40 * p.lower_lip_mm + 1.0) * (p.lip_protrusion_mm + 0.8)
    line = -2.6 * bump(up + 0.5 * drop, 0.0, 1.2 + 0.42 * drop) * (1.0 + 0.14 * drop)
    lips = (upper + lower + line) * within
    corner = -0.7 * bump(across.abs(), 1.05, 0.22) * bump(up, 0.0, 5.0)
    groove = (
        p.philtrum_mm
        * (0.6 * bump(x.abs(), 4.4, 1.8) - bump(x, 0.0, 2.2))
        * lopsided_bump(h, p.mouth_height_mm + p.upper_lip_mm + 5.0, 4.0, 5.0)
    )
    # The fold runs from beside the nose's wing to outside the mouth's corner.
    t = ((h - p.nose_tip_height_mm) / (p.mouth_height_mm - 8.0 - p.nose_tip_height_mm)).clamp(0.0, 1.25)
    fold_x = 16.0 + (mouth_half_width(p) + 11.0 - 16.0) * t
    depth = (0.05 + 0.75 * p.age + 1.3 * p.smile.clamp_min(0.0)) * bump(t, 0.5, 0.36)
    beside = x.abs() - fold_x
    fold = depth * (0.7 * bump(beside, 8.0, 5.5) - bump(beside, -1.0, 4.2))
    result = torch.zeros(p.count, height.shape[1], angle.shape[2], device=p.device)
    result[:, rows, columns] = lips + corner + groove + fold
    return result


def _jaw_line(p: Numbers, angle: Tensor) -> Tensor:
    chin = p.chin_height_mm - mouth_drop(p)
    corner = p.jaw_corner_height_mm - 0.35 * mouth_drop(p)
    degrees = tuple(radians(d) for d in (0, 14, 30, 50, 72, 88, 102, 125, 180))
    return curve(angle.abs(), degrees, (
        chin, chin + 1.0, chin + 5.0, 0.62 * chin + 0.38 * corner, corner - 6.0, corner + 12.0, -48.0, -62.0, -66.0,
    ))  # fmt: skip


def _neck(p: Numbers, angle: Tensor, height: Tensor) -> Tensor:
    spread = ((-128.0 - height).clamp_min(0.0) / 40.0) ** 2
    across = p.neck_width_mm + 42.0 * spread
    front = 48.0 + 0.09 * (-110.0 - height).clamp(-40.0, 60.0) + 16.0 * spread
    back = 68.0 + 20.0 * spread
    along = torch.where(angle.abs() < radians(90), front, back)
    muscle = 2.0 * bump(angle.abs(), radians(38), radians(9)) - 1.5 * bump(angle, 0.0, radians(9))
    return _ellipse(angle, across, along) + muscle


def _ears(p: Numbers, angle: Tensor, height: Tensor) -> tuple[Tensor, Tensor]:
    """Height of the ears above the head, millimetres, and what short hair may cover: 0 on an ear, else 1."""
    rows = slice(82, 184)
    up = (height[:, rows] - p.ear_height_mm) / p.ear_half_height_mm
    turn = (angle.abs() - p.ear_angle_deg * radians(1.0)) / radians(15.5) - 0.28 * up  # ears lean back
    narrow = 1.0 - 0.22 * (0.4 - up).clamp(0.0, 1.4)
    distance = torch.sqrt((turn / narrow) ** 2 + up * up + 1e-6)
    cover = step(1.0 - distance, 0.0, 0.22)
    rise = 0.25 + 0.75 * ((turn + 1.0) / 1.9).clamp(0.0, 1.0)
    bowl = bump(turn, -0.1, 0.38) * bump(up, -0.12, 0.4)
    rim = bump(distance, 0.8, 0.13) * step(turn + 0.9 * up.clamp_min(0), -0.45, 0.5)
    inner = bump(distance, 0.52, 0.1) * step(turn, -0.15, 0.5)
    ears = torch.zeros(p.count, height.shape[1], angle.shape[2], device=p.device)
    bare = torch.ones_like(ears)
    ears[:, rows] = cover * (p.ear_protrusion_mm * (rise - 0.42 * bowl) + 2.4 * rim + 1.3 * inner)
    bare[:, rows] -= step(1.12 - distance, 0.0, 0.2) * (1.0 - p.long_hair)
    return ears, bare


def hairline(p: Numbers, angle: Tensor) -> Tensor:
    """Height of the lower edge of the scalp hair at each angle, (B, 1, NUM_COLUMNS), millimetres."""
    top = p.hairline_mm - 0.45 * p.fringe_mm
    temple = top - 2.0 + p.recession_mm - 0.35 * p.fringe_mm
    short: tuple[Tensor | float, ...] = (
        top + p.hairline_peak_mm + 0.4 * p.recession_mm, temple, temple - 9.0, 34.0 + 0.5 * p.recession_mm, 8.0,
        p.side_burn_mm, 18.0, 6.0, -48.0, -78.0,
    )  # fmt: skip
    long: tuple[Tensor | float, ...] = (
        top + p.hairline_peak_mm, temple, temple - 8.0, 26.0 - 0.2 * p.fringe_mm, -20.0, p.hair_bottom_mm,
        p.hair_bottom_mm, p.hair_bottom_mm, p.hair_bottom_mm, p.hair_bottom_mm,
    )  # fmt: skip
    values = [a + (b - a) * p.long_hair for a, b in zip(short, long, strict=True)]
    degrees = tuple(radians(d) for d in (0, 24, 42, 58, 68, 77, 87, 106, 122, 180))
    line = curve(angle.abs(), degrees, values)
    sweep = p.parting_deg / 30.0 * (4.0 + 0.25 * p.fringe_mm)
    return line + sweep * torch.sin(2.0 * angle) * bump(angle, 0.0, 0.55)


def _hair_cover(p: Numbers, angle: Tensor, above: Tensor) -> Tensor:
    """Cover of scalp hair on the chart, 0 to 1."""
    ragged = 1.3 * torch.sin(angle * 23.0 + 6.0 * p.texture_u) * torch.sin(angle * 9.0 + 11.0 * p.texture_v)
    ragged = ragged + 0.6 * torch.sin(angle * 61.0 + 31.0 * p.texture_v)
    return step(above - ragged, -2.5, 5.0) * p.hair


def _above_hairline(angle: Tensor, height: Tensor, line: Tensor) -> Tensor:
    """Distance of chart points from the hairline, millimetres, positive in the hair."""
    pad = torch.nn.functional.pad
    wide, span = pad(line, (1, 1), mode="replicate"), pad(angle, (1, 1), mode="replicate")
    slope = (wide[:, :, 2:] - wide[:, :, :-2]) / ((span[:, :, 2:] - span[:, :, :-2]) * EYE_RADIUS_MM)
    return (height - line) * torch.rsqrt(1.0 + slope * slope)


def _hair_volume(
    p: Numbers, angle: Tensor, height: Tensor, above: Tensor, radius: Tensor, hair: Tensor, bare: Tensor
) -> Tensor:
    # Swept-back hair leaves the skin gently, a fringe stands off it.
    swept = (1.0 - p.fringe_mm / 14.0).clamp(0.0, 1.0)
    run = 12.0 + 34.0 * torch.maximum(swept * bump(angle, 0.0, 0.75), 0.8 * (1.0 - p.long_hair))
    rise = ((above + 1.0) / run).clamp(0.0, 1.0)
    full = p.hair_thickness_mm * (1.0 + 0.5 * ((height - 50.0) / 60.0).clamp(0.0, 1.0)) * p.hair
    full = full * bare
    wave = torch.sin(angle * 21.0 + height * 0.05 + 5.0 * p.texture_u) + torch.sin(angle * 13.0 - height * 0.11)
    parting = -2.5 * bump(angle, p.parting_deg * radians(1.0), 0.05) * step(height, 50.0, 20.0)
    thick = full * rise * (2.0 - rise) + hair * (0.8 * p.hair_wave * wave + parting)
    # Long hair hangs from the sides of the head instead of following the neck.
    curtain = _ellipse(angle, p.head_width_mm + 2.0, torch.where(angle.abs() < radians(90), 70.0, 84.0))
    hanging = p.long_hair * step(-height, 0.0, 30.0) * step(above, 2.0, 5.0)
    base = torch.maximum(radius, radius + (curtain - radius) * hanging)
    return base + thick
