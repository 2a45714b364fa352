"""Simulated near-infrared: what an 850 nm camera with a lamp of its own might have taken of a visible-light face.

    sRGB -> linear -> white balance on skin -> pigments -> 850 nm reflectance -> flatter light -> exposure, blur, noise

A guess from three colours, made with the optics of the embedded people; never a measurement, and always labelled so.
docs/data/simulated_nir.md says what it rests on, how near it comes and what it cannot know.
"""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Field, ValidationError
from torch import Tensor
from torch.nn import functional

from facebridge.data.synthetic import light, optics
from facebridge.data.synthetic.optics import Pigments
from facebridge.method import Frozen

LABEL = "simulated_nir"
"""How such pictures are called, in the column `made` of their list and in their metadata."""


class NirCamera(Frozen):
    """The camera, its lamp, and how far the light of the visible picture is taken out."""

    level: Annotated[float, Field(gt=0, lt=1)] = 0.67
    """What skin is exposed to, in [0, 1] of the written picture; that of 113 real pictures (see the page)."""
    auto_exposure: Annotated[float, Field(ge=0, le=1)] = 0.8
    """How far exposure makes up for dark skin and dark pictures: 0 not at all, 1 all faces come out equally bright."""
    balance: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the face's distance from the colours of bloodless to flushed skin that is put down to the light."""
    flatten: Annotated[float, Field(ge=0, le=1)] = 0.5
    """How far slow changes of brightness over the skin are divided out: 0 not at all, 1 wholly."""
    relief: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Exponent of what is left of shading and shine on skin: below 1 a lamp at the lens leaves less of both."""
    blur_px: Annotated[float, Field(ge=0)] = 0.6
    """Spread of the lens's and the skin's blur, px of a picture 128 px high."""
    noise: Annotated[float, Field(ge=0)] = 0.006
    """Spread of the sensor's noise, of the range [0, 1]."""

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> "NirCamera":
        """The camera of these settings.

        Raises:
            ValueError: in one line, if one is unknown or out of range.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"]))
            known = ", ".join(cls.model_fields)
            raise ValueError(f"setting {name!r}: {first['msg'].lower()}; settings are {known}") from error


def simulated_nir(faces: Tensor, generator: torch.Generator | None = None, camera: NirCamera | None = None) -> Tensor:
    """SIMULATED near-infrared pictures of visible-light faces: label what is made of them as `LABEL`.

    Each face's exposure and white balance are found around the middle of its picture: faces are best aligned. Pixels
    that look neither like skin nor like hair get a mixture in which red counts most; what cloth, leaves and walls are
    like at 850 nm cannot be told from their colours.

    Args:
        faces: (B, 3, H, W) float RGB [0, 1], sRGB.
        generator: draws the sensor noise, on the faces' device; absent: no noise, and a picture that does not depend
            on its neighbours in the batch.
        camera: see `NirCamera`; absent: the defaults.

    Returns:
        (B, 3, H, W) in [0, 1], three equal channels, the same pixels.

    Raises:
        ValueError: if the faces have another shape or type.
    """
    if faces.ndim != 4 or faces.shape[1] != 3 or not faces.is_floating_point():
        raise ValueError(f"expected float faces (B, 3, H, W) in [0, 1], got {faces.dtype} {tuple(faces.shape)}")
    camera = NirCamera() if camera is None else camera
    linear, skin = _balanced(linearised(faces), camera.balance)
    nir, is_skin = _radiance(linear, skin)
    nir = _frontal(nir, is_skin, camera)
    exposure = _to_linear(camera.level) / _mean(nir, is_skin * _middle(nir)).clamp_min(_DARKEST)
    usual = _to_linear(camera.level) / _USUAL_RADIANCE
    nir = nir * exposure**camera.auto_exposure * usual ** (1.0 - camera.auto_exposure)
    picture = _blurred(_tone(nir), camera.blur_px * faces.shape[2] / 128.0)
    if generator is not None:
        noise = torch.randn(picture.shape, generator=generator, dtype=picture.dtype, device=picture.device)
        picture = picture + camera.noise * noise
    return picture.clamp(0.0, 1.0).expand(-1, 3, -1, -1).contiguous()


def linearised(faces: Tensor) -> Tensor:
    """sRGB in [0, 1] -> linear light (IEC 61966-2-1), any shape."""
    return torch.where(faces <= 0.04045, faces / 12.92, ((faces.clamp_min(0.0) + 0.055) / 1.055) ** 2.4)


def visible_colour(pigments: Pigments) -> Tensor:
    """Linear red, green and blue of skin in white light, as the embedded people's camera sees it: (3, ...)."""
    bands = [optics.skin_reflectance(pigments, band) for band in optics.BANDS_NM["vis"]]
    return light.through_filters([band[None] for band in bands])[0]


def skin_at_850nm(linear: Tensor) -> Tensor:
    """The 850 nm radiance of skin under the light that makes it look like this: (B, 3, H, W) -> (B, 1, H, W), linear.

    The pigments are those whose colour, whatever its brightness, is nearest; the brightness is the light's.
    """
    return linear[:, :1] * _looked_up(linear)[:, :1].exp()


_DARKEST = 1e-6
_USUAL_RADIANCE = 0.3  # 850 nm radiance of skin in a well-exposed photograph
_RED_MIXTURE = (0.6, 0.3, 0.1)  # ours: for what is neither skin nor hair
_PALER, _DARKER = -0.3, 0.5  # how far the gain of one person's skin goes from its mean, in logarithms
_NEAR_SKIN = 0.6  # distance from the nearest skin, in logarithms of ratios, over which a colour stops being skin's
_DARK, _LIGHT = 0.12, 0.5  # brightness, of the face's own skin, below which it is hair, and above which it is none
_EDGES = ((-0.6, 1.8), (-0.8, 2.2))  # of the table: ln(red / green), ln(green / blue)
_CELLS = 101
_FACE_BLOOD = 0.013  # mean of the embedded people
_COLOUR_BLUR = 0.01  # spread of the picture's height: JPEG files hold colours at half their size
_OUT_OF_FOCUS = 0.12  # spread of what counts as slow change, of the picture's height
_SLOW_ROWS = 48
_FLATTEN_AT_MOST = 2.5


class _Skin(NamedTuple):
    """What is taken for a face's own skin, (B, 1, 1, 1) each: red radiance, red reflectance, ln(850 nm / red)."""

    red: Tensor
    reflectance: Tensor
    gain: Tensor


def _balanced(linear: Tensor, strength: float) -> tuple[Tensor, _Skin]:
    """The faces as in white light, in which their middle has the colour of some skin; and what that skin is."""
    middle = _middle(linear)
    bright = linear.mean(dim=1, keepdim=True)
    typical = _mean(bright, middle)
    weight = middle * _rise(bright / typical.clamp_min(_DARKEST), 0.4, 0.9)
    lifted = linear + 0.01 * typical + _DARKEST  # so that the colour of what is black stays finite
    mean = (lifted.log() * weight).sum(dim=(2, 3)) / weight.sum(dim=(2, 3)).clamp_min(_DARKEST)
    ratios = mean[:, :2] - mean[:, 1:]
    known = _face_colours().to(ratios)
    nearest = known[torch.cdist(ratios, known[:, :2]).argmin(dim=1)]
    away = strength * (ratios - nearest[:, :2])
    gains = torch.stack([(-away[:, 0]).exp(), torch.ones_like(away[:, 0]), away[:, 1].exp()], dim=1)[..., None, None]
    lifted = lifted * gains
    reflectance, gain = (nearest[:, column].view(-1, 1, 1, 1) for column in (2, 3))
    return lifted, _Skin(_mean(lifted[:, :1], weight), reflectance, gain)


def _radiance(linear: Tensor, skin: _Skin) -> tuple[Tensor, Tensor]:
    """850 nm radiance (B, 1, H, W) under the picture's own light, and how much each pixel is skin, in [0, 1]."""
    found = _looked_up(linear)
    gain, distance = found[:, :1], found[:, 1:]
    red = linear[:, :1]
    # One person's skin differs by its blood and its moles; more than that is the camera's error in dark colours.
    gain = torch.minimum(torch.maximum(gain, skin.gain + _PALER), skin.gain + _DARKER)
    gain = _blurred(gain, _COLOUR_BLUR * linear.shape[2])
    near_skin = torch.exp(-((distance / _NEAR_SKIN) ** 2))
    mixture = (linear * linear.new_tensor(_RED_MIXTURE).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    lit = near_skin * red * gain.exp() + (1.0 - near_skin) * mixture * (0.5 * skin.gain).exp()
    relative = red / skin.red.clamp_min(_DARKEST)
    light_on_it = skin.red / skin.reflectance
    hair = _hair_at_850nm(relative * skin.reflectance) * light_on_it
    is_light = _rise(relative.clamp_min(_DARKEST).log(), _log(_DARK), _log(_LIGHT))
    return hair + (lit - hair) * is_light, near_skin * is_light


def _frontal(nir: Tensor, is_skin: Tensor, camera: NirCamera) -> Tensor:
    """The light of a lamp at the lens: slow changes over the skin divided out, less relief in what is left."""
    typical = _mean(nir, is_skin * _middle(nir)).clamp_min(_DARKEST)
    trust = 0.05
    slow = (_out_of_focus(nir * is_skin) + trust * typical) / (_out_of_focus(is_skin) + trust)
    most = _FLATTEN_AT_MOST
    flat = nir * (typical / slow.clamp_min(_DARKEST)).clamp(1.0 / most, most) ** camera.flatten
    softer = typical * (flat / typical).clamp_min(_DARKEST) ** camera.relief
    return flat + (softer - flat) * is_skin


@cache
def _skin_table() -> Tensor:
    """(1, 2, cells, cells) over both ratios: ln(850 nm / red) of the nearest skin, and how far that is."""
    melanin = torch.linspace(_log(0.003), _log(0.6), 160).exp()
    blood = torch.linspace(_log(0.001), _log(0.25), 120).exp()
    pigments = Pigments(*(grid.flatten() for grid in torch.meshgrid(melanin, blood, indexing="ij")))
    colour = visible_colour(pigments)
    known = torch.stack([(colour[0] / colour[1]).log(), (colour[1] / colour[2]).log()], dim=1)
    gain = (optics.skin_reflectance(pigments, optics.BANDS_NM["nir"][0]) / colour[0]).log()
    axes = [torch.linspace(low, high, _CELLS) for low, high in _EDGES]
    cells = torch.stack(torch.meshgrid(axes[1], axes[0], indexing="ij")[::-1], dim=-1).view(-1, 2)
    found = [torch.cdist(some, known).min(dim=1) for some in torch.tensor_split(cells, 16)]
    distance = torch.cat([each.values for each in found])
    gains = gain[torch.cat([each.indices for each in found])]
    return torch.stack([gains, distance]).view(1, 2, _CELLS, _CELLS)


def _looked_up(linear: Tensor) -> Tensor:
    """The two entries of the skin table for each pixel, (B, 2, H, W)."""
    red, green, blue = linear.clamp_min(_DARKEST).log().unbind(1)
    places = [
        2.0 * (ratio - low) / (high - low) - 1.0
        for ratio, (low, high) in zip((red - green, green - blue), _EDGES, strict=True)
    ]
    table = _skin_table().to(linear).expand(len(linear), -1, -1, -1)
    return functional.grid_sample(table, torch.stack(places, dim=-1), padding_mode="border", align_corners=True)


@cache
def _face_colours() -> Tensor:
    """What a face's own skin may be like in white light, (N, 4): both ratios, red reflectance, ln(850 nm / red)."""
    melanin = torch.linspace(_log(0.01), _log(0.4), 128).exp()
    pigments = Pigments(melanin, torch.full_like(melanin, _FACE_BLOOD))
    red, green, blue = visible_colour(pigments)
    gain = (optics.skin_reflectance(pigments, optics.BANDS_NM["nir"][0]) / red).log()
    return torch.stack([(red / green).log(), (green / blue).log(), red, gain], dim=1)


def _hair_at_850nm(red: Tensor) -> Tensor:
    """850 nm reflectance of hair from its red one, any shape; below black hair's it falls to 0 with it."""
    eumelanin = torch.linspace(3.0, 0.0, 64, device=red.device, dtype=red.dtype)
    none = torch.zeros_like(eumelanin)
    bands = [optics.hair_reflectance(eumelanin, none, band) for band in optics.BANDS_NM["vis"]]
    known = light.through_filters([band[None, None] for band in bands])[0, 0, 0]
    infrared = optics.hair_reflectance(eumelanin, none, optics.BANDS_NM["nir"][0])
    known, infrared = (torch.cat([row.new_zeros(1), row]) for row in (known, infrared))
    at = torch.searchsorted(known, red.contiguous()).clamp(1, len(known) - 1)
    share = (red - known[at - 1]) / (known[at] - known[at - 1])
    return infrared[at - 1] + share * (infrared[at] - infrared[at - 1])


def _middle(pictures: Tensor) -> Tensor:
    """How much each pixel counts for a face's own skin: a bump around the middle, (1, 1, H, W)."""
    rows, columns = (
        torch.linspace(-1.0, 1.0, size, device=pictures.device, dtype=pictures.dtype) for size in pictures.shape[2:]
    )
    return torch.exp(-2.0 * (rows[:, None] ** 2 + columns**2) / 0.45**2)[None, None]


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of each picture, (B, 1, 1, 1)."""
    total = (values * weight).sum(dim=(1, 2, 3), keepdim=True)
    return total / weight.expand_as(values).sum(dim=(1, 2, 3), keepdim=True).clamp_min(_DARKEST)


def _rise(values: Tensor, low: float, high: float) -> Tensor:
    """0 up to low, 1 from high on, smooth in between."""
    share = ((values - low) / (high - low)).clamp(0.0, 1.0)
    return share * share * (3.0 - 2.0 * share)


def _log(value: float) -> float:
    return float(torch.tensor(value, dtype=torch.float64).log())


def _to_linear(level: float) -> float:
    return float(linearised(torch.tensor(level, dtype=torch.float64)))


def _tone(linear: Tensor) -> Tensor:
    """Linear light -> sRGB; what is too bright is led to white without an edge."""
    knee = 0.6
    over = (linear - knee).clamp_min(0.0)
    rolled = linear.clamp(0.0, knee) + (1.0 - knee) * (1.0 - torch.exp(-over / (1.0 - knee)))
    return torch.where(rolled <= 0.0031308, 12.92 * rolled, 1.055 * rolled.clamp_min(_DARKEST) ** (1 / 2.4) - 0.055)


def _out_of_focus(pictures: Tensor) -> Tensor:
    """What varies slowly in (B, 1, H, W), found in a small copy."""
    height, width = pictures.shape[2:]
    small = (min(height, _SLOW_ROWS), max(1, round(width * min(height, _SLOW_ROWS) / height)))
    slow = _blurred(functional.interpolate(pictures, small, mode="area"), _OUT_OF_FOCUS * small[0])
    return functional.interpolate(slow, (height, width), mode="bilinear", align_corners=False)


def _blurred(pictures: Tensor, sigma_px: float) -> Tensor:
    """A Gaussian blur of (B, 1, H, W), the border repeated."""
    reach = int(3.0 * sigma_px + 0.5)
    if reach == 0:
        return pictures
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=pictures.device) / sigma_px) ** 2).to(pictures)
    taps = taps / taps.sum()
    wide = functional.pad(pictures, (reach, reach, reach, reach), mode="replicate")
    return functional.conv2d(functional.conv2d(wide, taps.view(1, 1, 1, -1)), taps.view(1, 1, -1, 1))
