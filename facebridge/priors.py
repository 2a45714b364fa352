"""What is known of a face's shape, as pictures: a heat map for each landmark, a map for each part, and the way back.

A map may be smaller than the face. Pixel centres are whole numbers, so that pixel x of the face lies at
(x + 1/2) / reduction - 1/2 of the map.
"""

import torch
from torch import Tensor
from torch.nn import functional

FIT_RADIUS = 3
"""How far around the highest value of a heat map, px of the map, a Gaussian is fitted to find its centre."""

_LEAST = 1e-3  # of the peak: what is lower says nothing of where the peak lies
_FLATTEST = -1e-3  # second derivative of a logarithm, over FIT_RADIUS: what is flatter has no peak
_RIDGE = 1e-6  # keeps the fit solvable where a peak is one pixel


def heat_maps(points: Tensor, height: int, width: int, reduction: int = 1, sigma_px: float = 3.0) -> Tensor:
    """Gaussians of height 1 about points of faces.

    Args:
        points: (B, N, 2) (x, y) in px of the face; they may lie outside.
        height, width: of the face, px.
        reduction: how many times smaller the maps are than the face.
        sigma_px: of the Gaussians, in px of the maps.

    Returns:
        (B, N, height / reduction, width / reduction) float32 in [0, 1].

    Raises:
        ValueError: if the sides are no multiples of the reduction.
    """
    _check(height, width, reduction)
    centres = (points.float() + 0.5) / reduction - 0.5
    rows, columns = (torch.arange(side // reduction, device=points.device) for side in (height, width))
    down = torch.exp(-(rows - centres[..., 1:]).square() / (2 * sigma_px**2))
    across = torch.exp(-(columns - centres[..., :1]).square() / (2 * sigma_px**2))
    return down[..., :, None] * across[..., None, :]


def points_of(heat_maps: Tensor, reduction: int = 1) -> Tensor:
    """Where heat maps (B, N, h, w) are highest: (B, N, 2) float32 (x, y) in px of the face, finer than a pixel.

    A Gaussian is fitted to the values around the highest one, by least squares of their logarithms with the squared
    values as weights: exact for the maps of `heat_maps`, wherever in a pixel their centre lies. Where that finds no
    peak within the values it was fitted to, the highest value's own place is given.
    """
    heights = heat_maps.detach().float()
    width = heights.shape[-1]
    highest = heights.flatten(2).argmax(2)
    peaks = torch.stack([highest % width, highest // width], -1)
    with torch.autocast(heights.device.type, enabled=False):  # bf16 cannot be solved
        beside = _beside_peak(_around(heights, peaks))
    return (peaks + beside + 0.5) * reduction - 0.5


def part_maps(parsing: Tensor, num_parts: int, reduction: int = 1) -> Tensor:
    """How much of each pixel of a map is which part of the face.

    Args:
        parsing: (B, H, W) uint8, the number of a part for each pixel.
        num_parts: how many parts there are.
        reduction: how many times smaller the maps are than the face.

    Returns:
        (B, num_parts, H / reduction, W / reduction) float32 in [0, 1]; the maps of a face sum to 1.

    Raises:
        ValueError: if the sides are no multiples of the reduction, or a pixel is of no known part.
    """
    _check(parsing.shape[-2], parsing.shape[-1], reduction)
    if int(parsing.max()) >= num_parts:
        raise ValueError(f"a face has part {int(parsing.max())}; expected parts 0 to {num_parts - 1}")
    parts = torch.arange(num_parts, device=parsing.device)[:, None, None]
    return functional.avg_pool2d((parsing[:, None] == parts).float(), reduction)


def parsing_of(part_maps: Tensor) -> Tensor:
    """The part that each pixel shows most of: maps (B, num_parts, h, w) -> (B, h, w) uint8."""
    return part_maps.argmax(1).to(torch.uint8)


def _around(heights: Tensor, peaks: Tensor) -> Tensor:
    """The values about peaks, in parts of the highest, 0 outside of the map: (B, N, k, k), k = 2 FIT_RADIUS + 1."""
    padded = functional.pad(heights, (FIT_RADIUS,) * 4)
    steps = torch.arange(2 * FIT_RADIUS + 1, device=heights.device)
    rows = peaks[..., 1, None] + steps
    columns = peaks[..., 0, None] + steps
    places = rows[..., :, None] * padded.shape[-1] + columns[..., None, :]
    values = padded.flatten(2).gather(2, places.flatten(2)).reshape(places.shape)
    top = values[..., FIT_RADIUS, FIT_RADIUS, None, None]
    return torch.where(top > 0, values / top, 0.0)


def _beside_peak(values: Tensor) -> Tensor:
    """From the highest value to the centre of the Gaussian about it: (B, N, k, k) -> (B, N, 2), px of the map."""
    # log h = a + b x + c y + d (x^2 + y^2) has its peak at -(b, c) / 2 d.
    steps = torch.linspace(-1, 1, values.shape[-1], device=values.device)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    terms = torch.stack([torch.ones_like(x), x, y, x.square() + y.square()], -1).flatten(0, 1)
    seen = values.flatten(2)
    weights = torch.where(seen > _LEAST, seen.square(), 0.0)
    weighted = terms * weights[..., None]
    ridge = _RIDGE * torch.eye(terms.shape[1], device=values.device)
    wanted = torch.einsum("bnpt,bnp->bnt", weighted, seen.clamp(min=_LEAST).log())
    fitted = torch.linalg.solve(torch.einsum("bnpt,ps->bnts", weighted, terms) + ridge, wanted)
    curved = fitted[..., 3:]
    beside = -fitted[..., 1:3] / (2 * curved.clamp(max=_FLATTEST))
    is_peak = (curved < _FLATTEST) & (beside.abs() <= 1).all(-1, keepdim=True)
    return torch.where(is_peak, beside * FIT_RADIUS, 0.0)


def _check(height: int, width: int, reduction: int) -> None:
    if height % reduction or width % reduction:
        raise ValueError(f"maps of faces of {height}x{width} px cannot be {reduction} times smaller")
