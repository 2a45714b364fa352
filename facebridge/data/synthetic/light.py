"""Light on the head: lamps, shadows, and the radiance that each camera's bands receive."""

from typing import NamedTuple

import torch
from torch import Tensor

from facebridge.data.synthetic import chart, optics, rays
from facebridge.data.synthetic.chart import Numbers, bump, radians
from facebridge.data.synthetic.glasses import Glasses
from facebridge.data.synthetic.paint import Paint

_SHADOW_STEPS_MM = (2.5, 4.5, 7.5, 11.0, 16.0, 23.0, 32.0, 44.0, 60.0)
# Light scatters sideways inside skin, farther the longer its wave: how far it wraps past the shadow's edge.
_WRAP = {600.0: 0.28, 540.0: 0.14, 450.0: 0.08, 850.0: 0.16}


class Scene(NamedTuple):
    """The visible surface, each (B, F, F): unit normal towards the camera's axes, and openness to the sky in [0, 1]."""

    normal: tuple[Tensor, Tensor, Tensor]
    occlusion: Tensor
    surface: rays.Surface


class Lamp(NamedTuple):
    """One lamp: unit direction towards it in camera space (B, 1, 1) each, and the light it gives, by sample or band."""

    x: Tensor
    y: Tensor
    z: Tensor


def key_lamp(p: Numbers) -> Lamp:
    """The main light of the visible picture."""
    side, up = p.key_side_deg * radians(1.0), p.key_height_deg * radians(1.0)
    return Lamp(torch.sin(side) * torch.cos(up), torch.sin(up), torch.cos(side) * torch.cos(up))


def nir_lamp(p: Numbers) -> Lamp:
    """The near-infrared camera's own lamp, a hand's breadth beside its lens."""
    length = torch.sqrt(p.lamp_x_mm**2 + p.lamp_y_mm**2 + p.distance_mm**2)
    return Lamp(p.lamp_x_mm / length, p.lamp_y_mm / length, p.distance_mm / length)


def shadow(p: Numbers, squared_radius: Tensor, scene: Scene, lamp: Lamp) -> Tensor:
    """Share of the lamp's light that the head itself keeps off each sample, (B, F, F), found at every other sample."""
    surface = scene.surface
    pick = (slice(None), slice(None, None, 2), slice(None, None, 2))
    x, y, z = surface.x[pick], surface.y[pick], surface.z[pick]
    to_x, to_y, to_z = rays.to_head(p, lamp.x, lamp.y, lamp.z)
    blocked = torch.zeros_like(x)
    for distance in _SHADOW_STEPS_MM:
        at_x, at_y, at_z = x + distance * to_x, y + distance * to_y, z + distance * to_z
        limit = chart.sample(squared_radius, chart.positions(at_x, at_y, at_z))[:, 0]
        # Depth under the surface, from the difference of squares, against the width of the half-shadow there.
        depth = (limit - at_x * at_x - at_z * at_z) / 170.0
        blocked = torch.maximum(blocked, (depth - 0.4) / (0.6 + 0.16 * distance))
    size = (surface.x.shape[1], surface.x.shape[2])
    blocked = blocked.clamp(0.0, 1.0)[:, None]
    return torch.nn.functional.interpolate(blocked, size=size, mode="bilinear", align_corners=False)[:, 0]


def vis_radiance(p: Numbers, squared_radius: Tensor, scene: Scene, paint: Paint) -> Tensor:
    """Radiance in the red, green and blue bands, (B, 3, F, F), linear."""
    key = key_lamp(p)
    fill_side = p.fill_side_deg * radians(1.0)
    fill = Lamp(torch.sin(fill_side), torch.zeros_like(fill_side), torch.cos(fill_side))
    lit = 1.0 - shadow(p, squared_radius, scene, key) * (1.0 - 0.35 * p.key_softness)
    nx, ny, nz = scene.normal
    sky = (0.78 + 0.22 * ny) * scene.occlusion
    facing_key, facing_fill = _facing(scene, key), _facing(scene, fill)
    shine, hair_shine, glint = _highlights(p, scene, paint, key)
    bands = []
    for index, band in enumerate(optics.BANDS_NM["vis"]):
        warm = 1.0 + p.warmth * (1.0, 0.0, -1.35)[index]
        fill_warm = 1.0 + p.fill_warmth * (1.0, 0.0, -1.35)[index]
        light = (
            p.ambient * sky * (1.0 - 0.25 * p.warmth * (1.0, 0.0, -1.3)[index])
            + 0.95 * warm * _wrapped(facing_key, band, p.key_softness) * lit * (0.45 + 0.55 * scene.occlusion)
            + p.fill * fill_warm * _wrapped(facing_fill, band, p.key_softness) * scene.occlusion
        )
        body = _body(p, paint, band) * light * paint.shade
        bands.append(body + warm * lit * (shine + hair_shine) + warm * glint)
    return through_filters(bands)


def through_filters(bands: list[Tensor]) -> Tensor:
    """What the three colour filters pass: each also lets some of its neighbours' light through."""
    red, green, blue = bands
    return torch.stack(
        (0.86 * red + 0.14 * green, 0.12 * red + 0.76 * green + 0.12 * blue, 0.03 * red + 0.20 * green + 0.77 * blue), 1
    )


def nir_radiance(p: Numbers, squared_radius: Tensor, scene: Scene, paint: Paint) -> Tensor:
    """Radiance in the 850 nm band, (B, 1, F, F), linear: one lamp near the lens, falling off with its distance."""
    lamp = nir_lamp(p)
    lit = 1.0 - 0.9 * shadow(p, squared_radius, scene, lamp)
    band = optics.BANDS_NM["nir"][0]
    away = p.distance_mm + 60.0 - scene.surface.depth
    fall_off = (p.distance_mm / away) ** 2
    shine, hair_shine, glint = _highlights(p, scene, paint, lamp)
    light = p.nir_ambient * scene.occlusion + 1.1 * fall_off * lit * _wrapped(_facing(scene, lamp), band, 0.2) * (
        0.6 + 0.4 * scene.occlusion
    )
    body = _body(p, paint, band) * light * (1.0 - 0.75 * (1.0 - paint.shade))
    return (body + fall_off * (lit * 0.6 * (shine + hair_shine) + glint))[:, None]


def through_glasses(p: Numbers, radiance: Tensor, worn: Glasses, domain: str) -> Tensor:
    """Radiance (B, C, F, F) after the lenses' tint and reflection and the frame in front of it."""
    lens, frame = worn.lens[:, None], worn.frame[:, None]
    reflected = 0.05 * worn.sky[:, None] * (1.0 if domain == "vis" else 0.3)
    tone = p.glasses_tone[:, None]
    colour = (
        tone * torch.stack([torch.ones_like(p.clothes_red), 0.6 + 0.4 * p.clothes_red, 0.5 + 0.5 * p.clothes_red], 1)
        if domain == "vis"
        else 0.5 * tone + 0.1
    )[..., 0]
    radiance = radiance * (1.0 - 0.12 * lens) + reflected * lens
    return radiance + (0.6 * colour.view(p.count, -1, 1, 1) * worn.relief[:, None] - radiance) * frame


def _facing(scene: Scene, lamp: Lamp) -> Tensor:
    nx, ny, nz = scene.normal
    return nx * lamp.x + ny * lamp.y + nz * lamp.z


def _wrapped(facing: Tensor, band: float, softness: Tensor | float) -> Tensor:
    wrap = _WRAP[band] + 0.25 * softness
    return ((facing + wrap) / (1.0 + wrap)).clamp_min(0.0)


def _highlights(p: Numbers, scene: Scene, paint: Paint, lamp: Lamp) -> tuple[Tensor, Tensor, Tensor]:
    """Mirror-like light of skin, of hair strands and of the cornea, before the lamp's colour."""
    nx, ny, nz = scene.normal
    half_z = lamp.z + 1.0
    length = torch.sqrt(lamp.x**2 + lamp.y**2 + half_z**2)
    hx, hy, hz = lamp.x / length, lamp.y / length, half_z / length
    facing = (nx * hx + ny * hy + nz * hz).clamp(0.0, 1.0)
    bare = (
        (1.0 - paint.hair) * (1.0 - paint.eye) * (1.0 - paint.clothes) * (1.0 - 0.8 * paint.beard) * (1.0 - paint.mouth)
    )
    oil = p.oiliness.clamp(0.05, 1.2)
    facing2 = facing * facing
    facing8 = facing2 * facing2 * facing2 * facing2
    facing24 = facing8 * facing8 * facing8
    shine = (0.10 * oil * facing24 + 0.02 * facing8) * bare * paint.shade * (1.0 + 0.3 * paint.lip)
    # Strands run down the surface: the highlight is brightest where the half vector stands across them.
    tangent = (hy - ny * facing) * torch.rsqrt((1.0 - ny * ny).clamp_min(0.05))
    across = (1.0 - tangent * tangent).clamp_min(0.0)
    across = across * across * across
    across = across * across
    hair_shine = 0.02 * across * across * facing * paint.strand.clamp_min(0.0) ** 2 * paint.hair * p.hair
    head_x, head_y, _ = rays.to_head(p, hx, hy, hz)
    glint = bump(paint.cornea_x, 6.5 * head_x, 0.85) * bump(paint.cornea_y, 6.5 * head_y, 0.85) * paint.eye
    wet = 0.06 * facing24 * facing8 * paint.eye
    return shine, hair_shine, 0.8 * glint + wet


def _body(p: Numbers, paint: Paint, band: float) -> Tensor:
    """Diffuse reflectance of each sample, its materials laid over each other."""
    skin = optics.skin_reflectance(optics.Pigments(paint.melanin, paint.blood), band)
    hair_colour = optics.hair_reflectance(p.hair_eumelanin, p.hair_pheomelanin, band)
    hair_colour = hair_colour + p.grey * (0.55 - hair_colour)
    brow_colour = optics.hair_reflectance(p.brow_eumelanin, p.hair_pheomelanin, band)
    brow_colour = brow_colour + 0.7 * p.grey * (0.45 - brow_colour)
    result = skin + (brow_colour - skin) * paint.brow
    result = result + (0.85 * hair_colour * paint.strand - result) * paint.beard
    inside = 0.03 + 0.06 * (band >= 600.0) + 0.06 * (band > 700.0)
    result = result + (inside - result) * paint.mouth
    tooth = {600.0: 0.36, 540.0: 0.33, 450.0: 0.27, 850.0: 0.32}[band]
    result = result + (tooth - result) * paint.teeth
    iris = optics.iris_reflectance(p.iris_melanin, p.iris_hue, band) * paint.iris_rings
    eye = optics.sclera_reflectance(band) * (0.72 + 0.28 * bump(paint.cornea_x, 0.0, 9.0))
    eye = eye + (iris - eye) * paint.iris
    eye = eye + (0.015 - eye) * paint.pupil
    result = result + (eye - result) * paint.eye
    result = result * (1.0 - 0.82 * paint.lash)
    result = result + (hair_colour * paint.strand - result) * paint.hair
    cloth = {600.0: p.clothes_red, 540.0: p.clothes_green, 450.0: p.clothes_blue, 850.0: 0.5 + 0.5 * p.clothes_nir}[
        band
    ]
    return result + (0.04 + 0.55 * cloth * cloth - result) * paint.clothes
