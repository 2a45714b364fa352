"""What the head is made of at each sample: pigments, lips, eyes, brows, hair, beard, moles, clothes."""

from typing import NamedTuple

import torch
from torch import Tensor

from facebridge.data.synthetic import head
from facebridge.data.synthetic.chart import Numbers, bump, lopsided_bump, radians, step
from facebridge.data.synthetic.people import NUM_MOLES
from facebridge.data.synthetic.texture import Textures

CLOTHES_MM = -141.0


class Paint(NamedTuple):
    """Material of each sample, each (B, F, F); covers lie in [0, 1] and are laid over each other in this order."""

    melanin: Tensor
    blood: Tensor
    shade: Tensor  # darkening of fine folds, multiplies the light
    lip: Tensor
    brow: Tensor
    beard: Tensor
    hair: Tensor
    strand: Tensor  # brightness of hair strands about 1
    mouth: Tensor  # open mouth
    teeth: Tensor
    eye: Tensor
    iris: Tensor
    iris_rings: Tensor
    pupil: Tensor
    cornea_x: Tensor  # millimetres from the middle of the iris, to the person's left
    cornea_y: Tensor
    lash: Tensor
    clothes: Tensor
    upper_lip: Tensor
    lower_lip: Tensor


def paint(p: Numbers, textures: Textures, angle: Tensor, height: Tensor, distance: Tensor, hair: Tensor) -> Paint:
    """Decide the material of every sample.

    angle: radians round the head; height, distance from the axis: millimetres; hair: cover of scalp
    hair.
    """
    eyes = _eyes(p, angle, height)
    mouth = _mouth(p, angle, height)
    coarse, fine = textures.skin(p, angle, height)
    hairs = textures.short_hairs(p, angle, height)
    brow = _brows(p, hairs, angle, height)
    beard, stubble = _beard(p, hairs, angle, height, mouth["lips"], mouth["mouth"])
    melanin, blood = _pigments(p, angle, height, coarse, fine, mouth["lips"])
    melanin = melanin + 0.16 * stubble * p.hair_eumelanin.clamp(0.05, 1.0)
    shade = eyes["crease"] * (1.0 - 0.02 * fine) * mouth["line"] * _folds(p, angle, height)
    bare = 1.0 - hair
    return Paint(
        melanin=melanin,
        blood=blood,
        shade=shade,
        lip=mouth["lips"],
        brow=brow * bare,
        beard=beard * bare,
        hair=hair,
        strand=textures.strands(p, angle, height, distance),
        mouth=mouth["mouth"],
        teeth=mouth["teeth"],
        eye=eyes["eye"] * bare,
        iris=eyes["iris"],
        iris_rings=eyes["rings"],
        pupil=eyes["pupil"],
        cornea_x=eyes["cornea_x"],
        cornea_y=eyes["cornea_y"],
        lash=eyes["lash"] * bare,
        clothes=step(-height, -CLOTHES_MM + 8.0 * p.collar - 4.0 * torch.cos(angle), 4.0),
        upper_lip=mouth["upper"],
        lower_lip=mouth["lower"],
    )


def eye_frame(p: Numbers, angle: Tensor, height: Tensor) -> tuple[Tensor, Tensor]:
    """Millimetres from the centre of the nearer eye: x away from the nose, y up."""
    side = torch.sign(angle)
    x = (angle.abs() - head.eye_angle(p)) * head.EYE_RADIUS_MM
    y = height - 0.5 * side * p.eye_height_difference_mm - p.eye_tilt * x
    return x, y


def lids(p: Numbers, x: Tensor) -> tuple[Tensor, Tensor]:
    """Heights of the upper and the lower lid's edge in the eye's frame."""
    t = (x / p.eye_half_width_mm).clamp(-1.0, 1.0)
    arch = (1.0 - t * t).clamp_min(0.0)
    opening = 1.0 - p.eye_closure
    upper = p.upper_lid_mm * arch * (1.45 - 0.45 * arch) * (1.0 + p.lid_peak * t) * opening
    upper = upper * (1.0 - 0.12 * p.smile.clamp_min(0) + 0.18 * p.brow_raise - 0.15 * p.frown) - p.lower_lid_mm * (
        0.6 * arch * p.eye_closure
    )
    lower = -p.lower_lid_mm * arch * (1.0 - 0.28 * p.smile.clamp_min(0) - 0.3 * p.eye_closure)
    return upper, torch.minimum(lower, upper)


def _eyes(p: Numbers, angle: Tensor, height: Tensor) -> dict[str, Tensor]:
    x, y = eye_frame(p, angle, height)
    upper, lower = lids(p, x)
    near = (x.abs() < p.eye_half_width_mm + 8.0) & (y.abs() < 18.0)
    within = step(p.eye_half_width_mm - x.abs(), 0.0, 1.2)
    eye = step(upper - y, 0.0, 1.0) * step(y - lower, 0.0, 1.0) * within * near
    side = torch.sign(angle)
    gaze_x, gaze_y = side * p.gaze_right * 6.0, 6.0 * p.gaze_up + 0.4
    from_iris = torch.sqrt((x - gaze_x) ** 2 + (y - gaze_y) ** 2 + 1e-4)
    iris = step(p.iris_radius_mm - from_iris, 0.0, 0.9)
    rings = 1.0 - 0.5 * bump(from_iris, p.iris_radius_mm, 0.9) + 0.22 * bump(from_iris, p.pupil_mm + 1.1, 0.9)
    pupil = step(p.pupil_mm - from_iris, 0.0, 0.7)
    above = y - upper
    beyond = step(p.eye_half_width_mm + 2.5 - x.abs(), 0.0, 3.0) * near
    lash = (
        p.lash * lopsided_bump(above, 0.3, 0.8, 0.55 + 0.5 * p.lash) * beyond * (0.75 + 0.25 * (x / 14.0).clamp(-1, 1))
    )
    lash = lash + 0.35 * p.lash * bump(y, lower - 0.3, 0.5) * beyond
    fold = p.lid_crease_mm + 0.8 * p.brow_raise
    crease = 1.0 - 0.42 * bump(above, fold.clamp_min(1.0), 0.75) * beyond
    inner = 1.0 - 0.35 * bump(x, -p.eye_half_width_mm - 1.0, 2.2) * bump(y, 0.0, 2.0)
    lid_shadow = 1.0 - 0.38 * eye * lopsided_bump(above, 0.0, 2.2, 1.0)
    under = (
        1.0
        - 0.16
        * p.under_eye
        * lopsided_bump(y, lower - 3.5, 3.0, 2.0)
        * step(p.eye_half_width_mm - x.abs(), 0, 8.0)
        * near
    )
    return {
        "eye": eye,
        "iris": iris,
        "rings": rings,
        "pupil": pupil,
        "lash": lash.clamp(0.0, 1.0),
        "crease": crease * inner * lid_shadow * under,
        "cornea_x": side * (x - gaze_x),
        "cornea_y": y - gaze_y,
    }


def brow_frame(p: Numbers, angle: Tensor, height: Tensor) -> tuple[Tensor, Tensor]:
    """Place along the brow (-1 at its inner end, 1 outside) and millimetres above its middle line."""
    x = angle.abs() * head.EYE_RADIUS_MM - (p.eye_offset_mm + 2.0 + p.brow_shift_mm)
    along = x / p.brow_half_length_mm
    middle = (
        p.brow_height_mm
        + 0.5 * torch.sign(angle) * p.brow_height_difference_mm
        + p.brow_arch_mm * (1.0 - ((along - 0.25) / 1.1) ** 2)
        + p.brow_tilt * x
        + 3.5 * p.brow_raise
        - p.frown * (3.2 - 2.5 * along)
    )
    return along, height - middle


def _brows(p: Numbers, hairs: Tensor, angle: Tensor, height: Tensor) -> Tensor:
    along, above = brow_frame(p, angle, height)
    thick = p.brow_thickness_mm * (1.0 - 0.45 * along.clamp(0.0, 1.0)) * (1.0 - 0.2 * (-along).clamp(0.0, 1.0))
    cover = step(thick - above.abs(), 0.1, 2.6) * step(1.0 - along, 0.05, 0.4) * step(along + 1.0, 0.0, 0.45)
    return (cover * p.brow_density * (1.0 + 0.3 * hairs) * (0.9 - 0.12 * along)).clamp(0.0, 1.0)


def mouth_frame(p: Numbers, angle: Tensor, height: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Place across the mouth (-1 to 1), 1 - place squared, and millimetres above the closed mouth's line."""
    across = (angle * head.MOUTH_RADIUS_MM - p.mouth_skew_mm) / head.mouth_half_width(p)
    inside = (1.0 - across * across).clamp_min(0.0)
    middle = p.mouth_height_mm + head.smile_lift(p) * across * across
    return across, inside, height - middle


def lip_edges(p: Numbers, across: Tensor, inside: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Heights above the closed line of: upper lip's top, its lower edge, lower lip's upper edge, its bottom."""
    bow = p.cupid_bow_mm * (bump(across.abs(), 0.2, 0.13) - 0.9 * bump(across, 0.0, 0.1))
    top = p.upper_lip_mm * inside * (1.3 - 0.3 * inside) * (1.0 - 0.18 * p.smile.clamp_min(0)) + bow
    drop = head.mouth_drop(p) * inside * (1.6 - 0.6 * inside)
    gap = 0.12 * drop + 1.8 * p.smile.clamp_min(0) * inside * (head.mouth_drop(p) > 0.5)
    bottom = -p.lower_lip_mm * inside * (1.6 - 0.6 * inside) * (1.0 - 0.12 * p.smile.clamp_min(0)) - drop
    return top, gap, gap - drop - gap * 0.6, bottom


def _mouth(p: Numbers, angle: Tensor, height: Tensor) -> dict[str, Tensor]:
    across, inside, up = mouth_frame(p, angle, height)
    top, gap, low, bottom = lip_edges(p, across, inside)
    within = step(1.0 - across.abs(), 0.0, 0.12) * (angle.abs() < 1.0)
    opened = step(gap - low, 1.6, 1.4)
    mouth = step(gap - up, 0.0, 0.9) * step(up - low, 0.0, 0.9) * opened * within
    upper = step(top - up, 0.0, 1.2) * step(up - 0.5 * (gap + low), 0.0, 0.5) * within
    lower = step(up - bottom, 0.0, 1.6) * step(0.5 * (gap + low) - up, 0.0, 0.5) * within
    teeth = mouth * step(up - (gap - 6.0), 0.0, 1.5) * step(0.62 - across.abs(), 0.0, 0.3) * step(gap - up, 0.4, 1.0)
    teeth = teeth * (1.0 - 0.12 * (torch.cos(angle * head.MOUTH_RADIUS_MM * 0.74) > 0.93))
    seam = 1.0 - 0.55 * bump(up, 0.5 * (gap + low), 0.85) * step(1.04 - across.abs(), 0.0, 0.1) * (1.0 - opened)
    corner = 1.0 - 0.2 * bump(across.abs(), 1.03, 0.09) * bump(up, 0.0, 1.6)
    below = 1.0 - 0.14 * bump(up, bottom - 2.5, 2.4) * step(0.75 - across.abs(), 0.0, 0.5)
    return {
        "mouth": mouth,
        "teeth": teeth,
        "upper": upper * (1.0 - mouth),
        "lower": lower * (1.0 - mouth),
        "lips": torch.maximum(upper, lower),
        "line": seam * corner * below,
    }


def _folds(p: Numbers, angle: Tensor, height: Tensor) -> Tensor:
    """Nostrils, and the lines age draws: forehead, crow's feet, the fold from nose to mouth."""
    degree = radians(1.0)
    base = p.nose_tip_height_mm - 9.0 + 0.5 * p.nose_tip_lift_mm
    nostril = bump(angle.abs(), 4.5 * degree, 1.75 * degree) * bump(height, base + 1.0, 1.7)
    old = (p.age - 0.35).clamp_min(0.0)
    lines = 0.5 + 0.5 * torch.cos((height + 2.0 * torch.cos(angle * 5.0) + 9.0 * p.texture_u) * 0.75)
    forehead = (
        lines**4 * bump(height, 42.0, 11.0) * bump(angle, 0.0, 0.34) * (0.35 * old + 0.15 * p.brow_raise.clamp_min(0))
    )
    x, y = eye_frame(p, angle, height)
    feet = (
        (0.5 + 0.5 * torch.cos((y - 0.25 * x) * 1.5)) ** 3 * bump(x, p.eye_half_width_mm + 7.0, 4.5) * bump(y, 0.0, 7.0)
    )
    feet = feet * (0.3 * old + 0.2 * p.smile.clamp_min(0.0) * p.age)
    t = ((height - p.nose_tip_height_mm) / (p.mouth_height_mm - 8.0 - p.nose_tip_height_mm)).clamp(-0.3, 1.3)
    beside = angle.abs() * head.MOUTH_RADIUS_MM - (16.5 + (head.mouth_half_width(p) - 8.0) * t)
    fold = bump(beside, 0.0, 1.7) * bump(t, 0.5, 0.38) * (0.02 + 0.12 * p.age + 0.10 * p.smile.clamp_min(0.0))
    frown = bump(angle.abs(), 3.8 * degree, 0.8 * degree) * bump(height, 17.0, 6.0) * (0.12 * old + 0.3 * p.frown)
    return (1.0 - 0.6 * nostril) * (1.0 - forehead) * (1.0 - feet) * (1.0 - fold) * (1.0 - frown)


def _beard(
    p: Numbers, hairs: Tensor, angle: Tensor, height: Tensor, lips: Tensor, mouth: Tensor
) -> tuple[Tensor, Tensor]:
    """Cover of the beard, and of the shaved or stubbly skin where one would grow."""
    side = angle.abs()
    upper_edge = p.mouth_height_mm + 8.0 + 62.0 * ((side - 0.3) / 0.95).clamp(0.0, 1.0) ** 1.5
    field = step(upper_edge - height, 0.0, 10.0) * step(1.42 - side, 0.0, 0.16)
    chin = p.chin_height_mm - head.mouth_drop(p)
    field = field * step(height - (chin - 16.0), 0.0, 10.0)
    mouth_top = p.mouth_height_mm + p.upper_lip_mm
    lip_hair = bump(side, 0.0, 0.2) * lopsided_bump(height, mouth_top + 4.0, 3.5, 3.6)
    open_skin = (1.0 - lips) * (1.0 - mouth)
    grain = 1.0 + 0.2 * hairs
    cover = torch.maximum(field * p.beard * step(p.beard, 0.1, 0.3), lip_hair * p.moustache) * open_skin
    stubble = torch.maximum(field, lip_hair) * (p.stubble + 0.5 * p.beard) * open_skin
    return (1.15 * cover * grain).clamp(0.0, 1.0), stubble


def _pigments(
    p: Numbers, angle: Tensor, height: Tensor, coarse: Tensor, fine: Tensor, lips: Tensor
) -> tuple[Tensor, Tensor]:
    side = angle.abs()
    flush = 0.7 * bump(side, 0.62, 0.24) * bump(height, -32.0, 14.0) + 0.5 * bump(angle, 0.0, 0.11) * bump(
        height, p.nose_tip_height_mm, 8.0
    )
    flush = flush + 0.35 * bump(height, p.chin_height_mm + 12.0, 10.0) * bump(angle, 0.0, 0.2)
    ear = bump(side, 1.72, 0.2) * bump(height, p.ear_height_mm, 26.0)
    blood = p.blood * (1.0 + 0.22 * p.mottling * coarse + 0.9 * p.cheek_flush.clamp_min(0) * flush + 0.5 * ear)
    blood = blood + (p.lip_blood - blood) * lips
    x, y = eye_frame(p, angle, height)
    around = bump(x, 2.0, 13.0) * bump(y, -2.0, 9.0)
    melanin = p.melanin * (1.0 + 0.05 * p.mottling * coarse + 0.22 * p.under_eye * around - 0.25 * lips)
    spots = (coarse * 0.2 + fine - 1.1).clamp_min(0.0) * bump(height, -14.0, 26.0) * bump(side, 0.35, 0.5)
    melanin = melanin + 0.05 * p.freckles * spots.clamp(0.0, 1.6) * (1.0 - lips)
    for i in range(NUM_MOLES):
        strength = getattr(p, f"mole_strength_{i}")
        across = (angle - getattr(p, f"mole_angle_deg_{i}") * radians(1.0)) * 88.0
        up = height - getattr(p, f"mole_height_mm_{i}")
        radius = getattr(p, f"mole_radius_mm_{i}")
        melanin = melanin + strength * step(radius - torch.sqrt(across * across + up * up + 1e-4), 0.0, 0.9)
    return melanin, blood.clamp_min(0.001)
