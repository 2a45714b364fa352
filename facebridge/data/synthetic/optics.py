"""Reflectance of skin, hair and eyes from published optics.

Sources
    Melanin: mu_a = 6.6e11 lambda^-3.33 per cm inside a melanosome (S. L. Jacques, "Origins of tissue optical
        properties in the UVA, visible, and NIR regions", OSA TOPS 2, 1996; "Skin Optics", Oregon Medical Laser
        Center, 1998). Pheomelanin: 2.9e15 lambda^-4.75 per cm (C. Donner, H. W. Jensen, "A spectral BSSRDF for
        shading human skin", EGSR 2006).
    Blood: molar extinction of oxy- and deoxyhaemoglobin as compiled by S. Prahl ("Optical absorption of hemoglobin",
        Oregon Medical Laser Center, 1999), 150 g/l, 64,500 g/mol.
    Bloodless skin: 0.244 + 85.3 exp(-(lambda - 154) / 66.2) per cm (Jacques 1998).
    Scattering: reduced coefficient 46 (lambda / 500)^-1.421 per cm, the mean of skin in S. L. Jacques, "Optical
        properties of biological tissues: a review", Phys. Med. Biol. 58, 2013.
    Diffuse reflectance of a deep layer: P. Kubelka, F. Munk 1931, with K = 2 mu_a and S = 3/4 mu_s' as in
        W. E. Vargas, G. A. Niklasson, "Applicability conditions of the Kubelka-Munk theory", Appl. Opt. 36, 1997.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

BANDS_NM = {"vis": (600.0, 540.0, 450.0), "nir": (850.0,)}
OXYGENATION = 0.75
EPIDERMIS_CM = 0.006

# Molar extinction in 1 / (cm M): oxyhaemoglobin, deoxyhaemoglobin.
_HAEMOGLOBIN = {
    450.0: (62816.0, 103292.0),
    540.0: (53236.0, 46592.0),
    600.0: (3200.0, 14677.2),
    850.0: (1058.0, 691.32),
}
_GRAMS_PER_LITRE = 150.0
_GRAMS_PER_MOLE = 64500.0


class Pigments(NamedTuple):
    """What a patch of skin holds: volume fractions of melanosomes in the epidermis and of blood in the dermis."""

    melanin: Tensor
    blood: Tensor


def melanin_absorption(wavelength_nm: float) -> float:
    """Absorption of a melanosome, per cm."""
    return float(6.6e11 * wavelength_nm**-3.33)


def pheomelanin_absorption(wavelength_nm: float) -> float:
    """Absorption of red hair's pigment, per cm."""
    return float(2.9e15 * wavelength_nm**-4.75)


def blood_absorption(wavelength_nm: float, oxygenation: float = OXYGENATION) -> float:
    """Absorption of whole blood, per cm.

    ValueError: if the wavelength is not one of the tabulated bands.
    """
    if wavelength_nm not in _HAEMOGLOBIN:
        raise ValueError(f"haemoglobin is tabulated at {sorted(_HAEMOGLOBIN)} nm, got {wavelength_nm}")
    oxy, deoxy = _HAEMOGLOBIN[wavelength_nm]
    extinction = oxygenation * oxy + (1.0 - oxygenation) * deoxy
    return math.log(10.0) * extinction * _GRAMS_PER_LITRE / _GRAMS_PER_MOLE


def bloodless_absorption(wavelength_nm: float) -> float:
    """Absorption of skin without pigments, per cm."""
    return 0.244 + 85.3 * math.exp(-(wavelength_nm - 154.0) / 66.2)


def reduced_scattering(wavelength_nm: float) -> float:
    """Reduced scattering coefficient of skin, per cm."""
    return float(46.0 * (wavelength_nm / 500.0) ** -1.421)


def deep_layer_reflectance(absorption_over_scattering: Tensor) -> Tensor:
    """Kubelka and Munk's reflectance of an infinitely deep layer, from K / S."""
    ratio = absorption_over_scattering
    return 1.0 + ratio - torch.sqrt(ratio * ratio + 2.0 * ratio)


def skin_reflectance(pigments: Pigments, wavelength_nm: float) -> Tensor:
    """Diffuse reflectance of skin: the dermis seen twice through the epidermis."""
    epidermis = torch.exp(-2.0 * EPIDERMIS_CM * melanin_absorption(wavelength_nm) * pigments.melanin)
    per_scattering = 2.0 / (0.75 * reduced_scattering(wavelength_nm))
    ratio = (bloodless_absorption(wavelength_nm) * per_scattering) + (
        blood_absorption(wavelength_nm) * per_scattering
    ) * pigments.blood
    return epidermis * deep_layer_reflectance(ratio)


def hair_reflectance(eumelanin: Tensor, pheomelanin: Tensor, wavelength_nm: float) -> Tensor:
    """Diffuse reflectance of hair from relative pigment contents (1 = black hair)."""
    # A fibre holds a few per cent of pigment; scattering by its boundaries hardly depends on the wavelength.
    absorption = 0.055 * (
        eumelanin * melanin_absorption(wavelength_nm) + pheomelanin * pheomelanin_absorption(wavelength_nm)
    )
    return 0.75 * deep_layer_reflectance(0.02 + absorption / 2.2)


def iris_reflectance(melanin: Tensor, hue: Tensor, wavelength_nm: float) -> Tensor:
    """Diffuse reflectance of the iris: a scattering stroma, bluer when thin, over and among melanin."""
    # A pigment-free stroma scatters the short waves back (Tyndall) and lets the long ones into the dark layer behind.
    stroma = (
        0.34 * (wavelength_nm / 450.0) ** -(0.4 + 1.2 * hue) if wavelength_nm < 700.0 else torch.full_like(hue, 0.3)
    )
    covered = 1.0 - torch.exp(-6.0 * melanin)
    pigment = 0.6 * deep_layer_reflectance(0.05 + 0.0075 * melanin * melanin_absorption(wavelength_nm))
    return stroma * (1.0 - covered) + pigment * covered


def sclera_reflectance(wavelength_nm: float) -> float:
    """Diffuse reflectance of the white of the eye: nearly grey, a little less in the blue."""
    return {450.0: 0.40, 540.0: 0.43, 600.0: 0.48, 850.0: 0.45}[wavelength_nm]
