"""How a person is photographed: named numbers decided by (seed, identity, shot) alone."""

from dataclasses import dataclass, replace

import numpy as np

EXPRESSIONS = ("smile", "mouth_open", "brow_raise", "frown", "eye_closure", "gaze_right", "gaze_up")
NUM_BOXES = 4

_SHOT_SALT = 2
_YAW_SPREAD_DEG = 15.0

_NORMAL = (
    "yaw", "pitch", "roll", "shift_x", "shift_y", "smile", "mouth_open", "brow_raise", "frown", "gaze_right",
    "gaze_up", "key_side", "key_height", "fill_side", "warmth", "fill_warmth", "tint", "exposure", "nir_exposure",
    "lamp_x", "lamp_y", "contrast",
)  # fmt: skip
_UNIFORM = (
    "yaw", "distance", "scale", "neutral", "blink", "closure", "ambient", "fill", "key_softness", "blur", "noise",
    "nir_noise", "nir_blur", "nir_ambient", "pattern", "pattern_u", "pattern_v", "pattern_scale", "noise_u", "noise_v",
    "near_red", "near_green", "near_blue", "far_red", "far_green", "far_blue", "background_level", "background_nir",
    "hair_lift",
)  # fmt: skip
_BOX = ("x", "y", "half_width", "half_height", "red", "green", "blue", "nir")


@dataclass(frozen=True)
class Shot:
    """One photograph's circumstances.

    `numbers` holds every number of the shot by name; angles in degrees, yaw positive when the nose points to the
    right of the picture, pitch positive upwards, roll positive clockwise in the picture.
    """

    seed: int
    identity: int
    shot: int
    numbers: dict[str, float]

    def frontal(self) -> "Shot":
        """The same moment with the head turned to yaw 0."""
        return replace(self, numbers={**self.numbers, "yaw_deg": 0.0})


def shot_parameters(seed: int, identity: int, shot: int, yaw_range: tuple[float, float] | None = None) -> Shot:
    """Return the circumstances that (seed, identity, shot) names.

    `yaw_range` draws the yaw evenly between two angles in degrees; None draws it near frontal. Every other number is
    the same either way.

    ValueError: if a number is negative, or the yaw range is not within [-90, 90] and rising.
    """
    if min(seed, identity, shot) < 0:
        raise ValueError(f"seed, identity and shot must be 0 or more, got {seed}, {identity} and {shot}")
    if yaw_range is not None and not -90.0 <= yaw_range[0] <= yaw_range[1] <= 90.0:
        raise ValueError(f"yaw_range must rise within [-90, 90] degrees, got {yaw_range}")
    generator = np.random.default_rng([seed, identity, shot, _SHOT_SALT])
    normal = dict(zip(_NORMAL, np.clip(generator.standard_normal(len(_NORMAL)), -2.6, 2.6).tolist(), strict=True))
    uniform = dict(zip(_UNIFORM, generator.random(len(_UNIFORM)).tolist(), strict=True))
    boxes = generator.random((NUM_BOXES, len(_BOX))).tolist()
    numbers = _pose(normal, uniform, yaw_range)
    numbers |= _expression(normal, uniform)
    numbers |= _light(normal, uniform)
    numbers |= _camera(normal, uniform)
    numbers |= {f"box_{name}_{i}": value for i, box in enumerate(boxes) for name, value in zip(_BOX, box, strict=True)}
    return Shot(seed, identity, shot, numbers)


def _pose(
    normal: dict[str, float], uniform: dict[str, float], yaw_range: tuple[float, float] | None
) -> dict[str, float]:
    if yaw_range is None:
        yaw_deg = _YAW_SPREAD_DEG * normal["yaw"]
    else:
        yaw_deg = yaw_range[0] + (yaw_range[1] - yaw_range[0]) * uniform["yaw"]
    return {
        "yaw_deg": yaw_deg,
        "pitch_deg": 5.5 * normal["pitch"],
        "roll_deg": 4.0 * normal["roll"],
        "distance_mm": 600.0 + 1400.0 * uniform["distance"],
        "picture_mm": 188.0 + 24.0 * uniform["scale"],
        "shift_x_mm": 3.5 * normal["shift_x"],
        "shift_y_mm": 3.5 * normal["shift_y"],
    }


def _expression(normal: dict[str, float], uniform: dict[str, float]) -> dict[str, float]:
    """Strengths about 0 to 1; four pictures in ten are nearly neutral."""
    strength = 0.25 if uniform["neutral"] < 0.4 else 1.0
    blink = uniform["blink"] < 0.04
    return {
        "smile": strength * float(np.clip(0.25 + 0.45 * normal["smile"], -0.3, 1.1)),
        "mouth_open": strength * max(0.0, 0.55 * normal["mouth_open"] - 0.25),
        "brow_raise": strength * 0.4 * normal["brow_raise"],
        "frown": strength * max(0.0, 0.5 * normal["frown"] - 0.1),
        "eye_closure": 0.95 if blink else 0.3 * strength * uniform["closure"] ** 2,
        "gaze_right": 0.35 * normal["gaze_right"],
        "gaze_up": 0.2 * normal["gaze_up"],
    }


def _light(normal: dict[str, float], uniform: dict[str, float]) -> dict[str, float]:
    return {
        "key_side_deg": 38.0 * normal["key_side"],
        "key_height_deg": 28.0 + 17.0 * normal["key_height"],
        "key_softness": 0.15 + 0.6 * uniform["key_softness"],
        "ambient": 0.16 + 0.32 * uniform["ambient"],
        "fill": 0.3 * uniform["fill"],
        "fill_side_deg": 60.0 * normal["fill_side"],
        "warmth": 0.09 * normal["warmth"],
        "fill_warmth": 0.12 * normal["fill_warmth"],
        "tint": 0.02 * normal["tint"],
        "lamp_x_mm": 70.0 * (1.0 if normal["lamp_x"] >= 0 else -1.0) + 25.0 * normal["lamp_x"],
        "lamp_y_mm": 25.0 + 25.0 * normal["lamp_y"],
        "nir_ambient": 0.05 + 0.12 * uniform["nir_ambient"],
    }


def _camera(normal: dict[str, float], uniform: dict[str, float]) -> dict[str, float]:
    return {
        "exposure": 1.0 + 0.13 * normal["exposure"],
        "nir_exposure": 1.0 + 0.13 * normal["nir_exposure"],
        "contrast": 1.0 + 0.06 * normal["contrast"],
        "blur": 0.35 + 0.55 * uniform["blur"] ** 2,
        "nir_blur": 0.4 + 0.6 * uniform["nir_blur"] ** 2,
        "noise": 0.004 + 0.018 * uniform["noise"] ** 2,
        "nir_noise": 0.005 + 0.017 * uniform["nir_noise"] ** 2,
        "hair_lift": uniform["hair_lift"],
        **{
            name: uniform[name]
            for name in (
                "pattern", "pattern_u", "pattern_v", "pattern_scale", "noise_u", "noise_v", "near_red", "near_green",
                "near_blue", "far_red", "far_green", "far_blue", "background_level", "background_nir",
            )
        },
    }  # fmt: skip
