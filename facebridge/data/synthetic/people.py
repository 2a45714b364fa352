"""Who a drawn person is: named numbers decided by (seed, identity) alone."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

NUM_MOLES = 6

_PERSON_SALT = 1


class Normal(NamedTuple):
    """A number drawn from a normal distribution, kept within 2.5 spreads of its mean."""

    name: str
    mean: float
    spread: float


# Lengths are head millimetres, heights are above the eye line, angles go round the head from the nose.
SHAPE = (
    Normal("head_width_mm", 75.0, 3.2),  # half width above the ears
    Normal("head_top_mm", 116.0, 4.0),
    Normal("forehead_depth_mm", 96.0, 2.8),
    Normal("forehead_slope_mm", 0.0, 3.0),
    Normal("back_depth_mm", 94.0, 4.0),
    Normal("cheek_width_mm", 68.5, 3.2),
    Normal("jaw_width_mm", 55.0, 3.8),
    Normal("chin_width_mm", 40.0, 4.2),
    Normal("chin_height_mm", -112.0, 5.0),
    Normal("midface_depth_mm", 0.0, 2.6),
    Normal("jaw_corner_mm", 3.5, 2.6),
    Normal("jaw_corner_height_mm", -70.0, 6.0),
    Normal("chin_bump_mm", 5.0, 3.0),
    Normal("chin_bump_width_deg", 9.5, 1.8),
    Normal("chin_cleft_mm", 0.3, 0.8),
    Normal("brow_ridge_mm", 3.2, 2.0),
    Normal("socket_depth_mm", 8.0, 1.8),
    Normal("cheekbone_mm", 3.2, 2.2),
    Normal("cheekbone_height_mm", -21.0, 3.5),
    Normal("cheek_fat_mm", 2.2, 2.8),
    Normal("cheek_hollow_mm", 2.4, 1.8),
    Normal("temple_hollow_mm", 2.5, 1.6),
    Normal("neck_width_mm", 54.0, 4.0),
    Normal("nose_tip_height_mm", -37.0, 3.4),
    Normal("nose_root_mm", 4.0, 1.8),
    Normal("nose_projection_mm", 15.5, 2.6),
    Normal("nose_hump_mm", 0.0, 1.5),
    Normal("nose_bridge_width_deg", 4.2, 0.7),
    Normal("nose_tip_mm", 4.6, 1.5),
    Normal("nose_tip_width_deg", 5.0, 0.8),
    Normal("nose_wing_deg", 8.3, 1.1),
    Normal("nose_wing_mm", 6.2, 1.6),
    Normal("nose_tip_lift_mm", 0.0, 1.8),
    Normal("nose_skew_deg", 0.0, 0.6),
    Normal("eye_offset_mm", 31.5, 1.8),
    Normal("eye_half_width_mm", 14.2, 1.1),
    Normal("upper_lid_mm", 6.1, 1.1),
    Normal("lower_lid_mm", 4.0, 0.7),
    Normal("eye_tilt", 0.06, 0.07),
    Normal("lid_peak", -0.1, 0.2),
    Normal("lid_crease_mm", 3.2, 1.2),
    Normal("eye_bulge_mm", 5.2, 1.0),
    Normal("eye_bag_mm", 0.8, 0.7),
    Normal("iris_radius_mm", 5.9, 0.3),
    Normal("brow_height_mm", 16.5, 2.5),
    Normal("brow_arch_mm", 3.0, 1.7),
    Normal("brow_tilt", 0.03, 0.08),
    Normal("brow_thickness_mm", 3.3, 0.9),
    Normal("brow_half_length_mm", 18.5, 2.0),
    Normal("brow_density", 0.8, 0.2),
    Normal("brow_shift_mm", 0.0, 1.5),
    Normal("mouth_height_mm", -69.0, 3.0),
    Normal("mouth_half_width_mm", 24.5, 2.3),
    Normal("upper_lip_mm", 6.0, 1.8),
    Normal("lower_lip_mm", 8.3, 1.9),
    Normal("cupid_bow_mm", 1.3, 0.7),
    Normal("lip_protrusion_mm", 4.5, 1.5),
    Normal("mouth_corner_lift_mm", 0.0, 1.2),
    Normal("philtrum_mm", 1.4, 0.7),
    Normal("ear_half_height_mm", 31.0, 3.0),
    Normal("ear_protrusion_mm", 12.0, 4.0),
    Normal("ear_height_mm", -18.0, 3.5),
    Normal("ear_angle_deg", 97.0, 2.5),
    Normal("eye_height_difference_mm", 0.0, 0.6),
    Normal("brow_height_difference_mm", 0.0, 0.9),
    Normal("mouth_skew_mm", 0.0, 0.9),
)
COLOUR = (
    Normal("blood", 0.013, 0.0035),  # volume fraction in the dermis
    Normal("cheek_flush", 0.5, 0.45),
    Normal("lip_blood", 0.085, 0.022),
    Normal("mottling", 0.45, 0.2),
    Normal("oiliness", 0.5, 0.25),
    Normal("under_eye", 0.4, 0.25),
    Normal("lash", 0.75, 0.2),
    Normal("pupil_mm", 2.1, 0.4),
    Normal("hair_wave", 0.5, 0.3),
    Normal("hairline_mm", 63.0, 8.0),
    Normal("hairline_peak_mm", -2.0, 3.0),
    Normal("hair_thickness_mm", 7.5, 2.8),
    Normal("side_burn_mm", -12.0, 8.0),
)
# Drawn evenly from [0, 1); `person` turns them into quantities.
UNIFORM = (
    "tone", "tone_detail", "build", "age", "hair_style", "hair_tone", "hair_red", "grey", "iris_tone", "iris_hue",
    "freckles", "beard", "beard_length", "moustache", "glasses", "glasses_shape", "glasses_rim", "glasses_tone",
    "fringe", "parting", "recession", "lip_colour", "brow_tone", "side_length", "clothes_red", "clothes_green",
    "clothes_blue", "clothes_nir", "collar", "texture_u", "texture_v",
)  # fmt: skip
MOLE = ("mole_angle_deg", "mole_height_mm", "mole_radius_mm", "mole_strength")

_SHIFT_BY_BUILD = {
    "jaw_width_mm": 2.5, "chin_width_mm": 2.5, "chin_height_mm": -3.0, "brow_ridge_mm": 1.8, "jaw_corner_mm": 1.6,
    "nose_projection_mm": 0.9, "nose_wing_mm": 0.6, "upper_lip_mm": -0.8, "lower_lip_mm": -0.8, "neck_width_mm": 4.5,
    "brow_thickness_mm": 0.7, "brow_height_mm": -1.2, "upper_lid_mm": -0.4, "brow_arch_mm": -0.9,
    "cheek_fat_mm": -0.6, "head_width_mm": 1.0, "head_top_mm": 2.0, "lash": -0.2, "hairline_mm": 1.0,
}  # fmt: skip


@dataclass(frozen=True)
class Person:
    """One drawn person.

    `numbers` holds every identity number by name; lengths in millimetres, angles in degrees from the nose.
    """

    seed: int
    identity: int
    numbers: dict[str, float]


def identity_parameters(seed: int, identity: int) -> Person:
    """Return the person that (seed, identity) names: the same on any machine and in any order.

    ValueError: if seed or identity is negative.
    """
    if seed < 0 or identity < 0:
        raise ValueError(f"seed and identity must be 0 or more, got seed {seed} and identity {identity}")
    generator = np.random.default_rng([seed, identity, _PERSON_SALT])
    numbers = {
        field.name: field.mean + field.spread * float(np.clip(draw, -2.5, 2.5))
        for field, draw in zip(SHAPE + COLOUR, generator.standard_normal(len(SHAPE) + len(COLOUR)), strict=True)
    }
    uniform = dict(zip(UNIFORM, generator.random(len(UNIFORM)).tolist(), strict=True))
    moles = generator.random((NUM_MOLES, len(MOLE)))
    _add_build(numbers, uniform)
    _add_colours(numbers, uniform)
    _add_hair(numbers, uniform)
    _add_moles(numbers, moles)
    return Person(seed, identity, numbers)


def _add_build(numbers: dict[str, float], uniform: dict[str, float]) -> None:
    """Move the bones along one axis from slight to heavy, and let age deepen folds and thin lips."""
    build = float(np.clip((uniform["build"] - 0.5) * 3.2, -1.0, 1.0))
    for name, shift in _SHIFT_BY_BUILD.items():
        numbers[name] += shift * build
    age = uniform["age"]
    numbers["build"], numbers["age"] = build, age
    numbers["eye_bag_mm"] += 1.2 * (age - 0.4)
    numbers["upper_lip_mm"] = max(numbers["upper_lip_mm"] - 1.2 * (age - 0.4), 2.2)
    numbers["lower_lip_mm"] = max(numbers["lower_lip_mm"], 3.5)
    numbers["upper_lid_mm"] = float(np.clip(numbers["upper_lid_mm"] - 0.8 * (age - 0.5), 3.2, 8.0))
    numbers["brow_thickness_mm"] = max(numbers["brow_thickness_mm"], 1.4)
    numbers["cheek_hollow_mm"] += 1.5 * (age - 0.5)


def _add_colours(numbers: dict[str, float], uniform: dict[str, float]) -> None:
    """Pigments: melanosome fractions of the skin, hair and iris move together, as they do among people."""
    tone = uniform["tone"] ** 1.6
    melanin = 0.012 + 0.30 * tone**1.7 + 0.02 * uniform["tone_detail"]
    pale = max(0.0, 1.0 - tone / 0.45)
    numbers["melanin"] = melanin
    numbers["freckles"] = max(0.0, uniform["freckles"] - 0.55) * 2.0 * min(1.0, 0.25 + pale)
    hair_dark = float(np.clip(0.85 * uniform["hair_tone"] + 0.6 * (1.0 - pale), 0.0, 1.0))
    numbers["hair_eumelanin"] = 0.02 + 1.1 * hair_dark**2.2
    numbers["hair_pheomelanin"] = 0.35 * uniform["hair_red"] ** 3 * (0.25 + pale)
    grey = max(0.0, numbers["age"] * 1.5 + 0.6 * uniform["grey"] - 1.45)
    numbers["grey"] = min(1.0, grey * 1.3)
    iris_dark = float(np.clip(uniform["iris_tone"] * 0.9 + 0.75 * (1.0 - pale), 0.0, 1.0))
    numbers["iris_melanin"] = 0.01 + 0.9 * iris_dark**2.5
    numbers["iris_hue"] = uniform["iris_hue"]
    numbers["lip_blood"] += 0.03 * (uniform["lip_colour"] - 0.5) * (1.0 - numbers["build"])
    numbers["brow_eumelanin"] = numbers["hair_eumelanin"] * (0.8 + 1.2 * uniform["brow_tone"]) + 0.05
    for name in ("clothes_red", "clothes_green", "clothes_blue", "clothes_nir", "collar", "texture_u", "texture_v"):
        numbers[name] = uniform[name]


def _add_hair(numbers: dict[str, float], uniform: dict[str, float]) -> None:
    """Hair style, beard and glasses."""
    heavy = (numbers["build"] + 1.0) / 2.0
    age = numbers["age"]
    style = 0.55 * (1.0 - heavy) + 0.45 * uniform["hair_style"]
    numbers["long_hair"] = float(np.clip((style - 0.53) * 14.0, 0.0, 1.0))
    numbers["hair_bottom_mm"] = -75.0 - 190.0 * uniform["side_length"]
    bald = heavy > 0.6 and uniform["recession"] + 0.6 * age > 1.15
    numbers["recession_mm"] = 22.0 * max(0.0, uniform["recession"] - 0.4) * heavy * (0.4 + age)
    numbers["hair"] = 0.12 if bald else 1.0
    numbers["hair_thickness_mm"] += 4.0 * numbers["long_hair"]
    numbers["hairline_mm"] += 4.0 * numbers["long_hair"]
    numbers["fringe_mm"] = 30.0 * max(0.0, uniform["fringe"] - 0.62) / 0.38 * (0.4 + 0.6 * numbers["long_hair"])
    numbers["parting_deg"] = 60.0 * (uniform["parting"] - 0.5)
    bearded = max(0.0, uniform["beard"] - 0.45) / 0.55 if heavy > 0.55 else 0.0
    numbers["beard"] = bearded
    numbers["beard_mm"] = 7.0 * bearded * uniform["beard_length"] ** 2
    numbers["moustache"] = max(bearded, 0.7 * float(uniform["moustache"] > 0.85)) if heavy > 0.55 else 0.0
    numbers["stubble"] = 0.35 * heavy**2 * (1.0 - bearded)
    numbers["glasses"] = float(uniform["glasses"] < 0.16)
    numbers["glasses_half_width_mm"] = 23.0 + 5.0 * uniform["glasses_shape"]
    numbers["glasses_half_height_mm"] = 15.0 + 7.0 * (uniform["glasses_shape"] * 7.0 % 1.0)
    numbers["glasses_rim_mm"] = 1.2 + 2.0 * uniform["glasses_rim"]
    numbers["glasses_tone"] = 0.02 + 0.3 * uniform["glasses_tone"] ** 3


def _add_moles(numbers: dict[str, float], moles: np.ndarray) -> None:
    for index, (angle, height, radius, strength) in enumerate(moles.tolist()):
        drawn = dict(zip(MOLE, (130.0 * angle - 65.0, 75.0 - 180.0 * height, 0.8 + 1.3 * radius**2, 0.0), strict=True))
        drawn["mole_strength"] = max(0.0, strength - 0.35) * 0.28
        numbers.update({f"{name}_{index}": value for name, value in drawn.items()})
