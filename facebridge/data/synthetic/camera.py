"""From radiance to a picture: background, exposure, tone curve, lens blur and sensor noise."""

import torch
from torch import Tensor

from facebridge.data.synthetic.chart import Numbers, step
from facebridge.data.synthetic.shots import NUM_BOXES
from facebridge.data.synthetic.texture import Textures

_LEVELS = 255.0


def background(p: Numbers, textures: Textures, size: int, domain: str) -> Tensor:
    """What stands behind the head, (B, C, size, size), linear: a shaded wall, blurred clutter, or a room's edges."""
    unit = (torch.arange(size, device=p.device, dtype=torch.float32) + 0.5) / size
    u, v = unit[None, None, :].expand(p.count, size, -1), unit[None, :, None].expand(p.count, -1, size)
    slant = ((u - 0.5) * torch.cos(6.28 * p.pattern_u) + (v - 0.5) * torch.sin(6.28 * p.pattern_u) + 0.5).clamp(0, 1)
    zoom = 0.05 + 0.16 * p.pattern_scale
    clouds = (0.5 + 0.35 * textures.clouds(u * zoom + p.pattern_u * 3, v * zoom + p.pattern_v * 3)).clamp(0, 1)
    cluttered = (p.pattern > 0.3).float()
    mix = slant + (clouds - slant) * cluttered * (0.4 + 0.6 * p.pattern_v)
    room = (p.pattern > 0.6).float()
    names = ("red", "green", "blue") if domain == "vis" else ("nir",)
    bands = []
    for name in names:
        near, far = (getattr(p, f"near_{name}"), getattr(p, f"far_{name}")) if name != "nir" else (
            0.3 + 0.5 * p.near_green, 0.3 + 0.5 * p.far_green)  # fmt: skip
        # Walls are mostly greyish: pull the colours towards their mean.
        near, far = 0.22 * near + 0.78 * p.near_green, 0.22 * far + 0.78 * p.far_green
        bands.append(near + (far - near) * mix)
    colour = torch.stack(bands, dim=1)
    for i in range(NUM_BOXES):
        soft = 0.02 + 0.1 * p.pattern_v
        x, y = getattr(p, f"box_x_{i}"), getattr(p, f"box_y_{i}")
        wide, tall = 0.05 + 0.3 * getattr(p, f"box_half_width_{i}"), 0.08 + 0.6 * getattr(p, f"box_half_height_{i}")
        cover = room * step(wide - (u - x).abs(), 0.0, soft) * step(tall - (v - y).abs(), 0.0, soft)
        paint = torch.cat([0.35 * getattr(p, f"box_{name}_{i}")[:, None] for name in names], dim=1)
        paint = paint + 0.65 * getattr(p, f"box_red_{i}")[:, None]
        colour = colour + (paint * 0.9 - colour) * cover[:, None]
    if domain == "vis":
        return colour**1.6 * (0.15 + 0.75 * p.background_level[:, None])
    return colour * (0.03 + 0.22 * p.background_nir**2)[:, None]


def develop(p: Numbers, textures: Textures, radiance: Tensor, domain: str, mean_skin: Tensor) -> Tensor:
    """Linear radiance (B, C, S, S) to a face (B, 3, S, S) in [0, 1] on an 8-bit camera's grid.

    mean_skin: (B, 1, 1) reflectance of the person's skin, which an automatic exposure half makes up for.
    """
    exposure = p.exposure if domain == "vis" else p.nir_exposure
    level = (0.40 if domain == "vis" else 0.62) / mean_skin
    gain = exposure * level**0.45 * (1.18 if domain == "vis" else 0.71)
    bright = (radiance * gain[:, None]).clamp_min(0.0)
    if domain == "vis":
        tint = torch.stack([1.0 + p.tint, torch.ones_like(p.tint), 1.0 - p.tint], dim=1)
        bright = bright * tint
    bright = _blur(bright, p.blur if domain == "vis" else p.nir_blur)
    shoulder = (1.0 - torch.exp(-1.35 * bright)).clamp(0.0, 1.0)
    tone = shoulder.clamp_min(1e-5).pow(1.0 / 2.2)
    tone = 0.5 + (tone - 0.5) * p.contrast[:, None]
    noise = _noise(p, textures, tone.shape[2], tone.shape[1], p.noise_u if domain == "vis" else p.noise_v)
    tone = tone + (p.noise if domain == "vis" else p.nir_noise)[:, None] * noise * (0.6 + 0.6 * tone)
    picture = (tone.clamp(0.0, 1.0) * _LEVELS).round() / _LEVELS
    return picture.expand(-1, 3, -1, -1).contiguous() if domain == "nir" else picture


def _blur(picture: Tensor, sigma: Tensor) -> Tensor:
    """A Gaussian of sigma pixels of a 128-pixel picture, (B, 1, 1), with five taps a direction."""
    sigma = sigma[:, None] * (picture.shape[2] / 128.0)
    taps = [torch.exp(-0.5 * (offset / sigma) ** 2) for offset in range(3)]
    total = taps[0] + 2.0 * taps[1] + 2.0 * taps[2]
    for dim in (2, 3):
        pad = (2, 2, 0, 0) if dim == 3 else (0, 0, 2, 2)
        wide = torch.nn.functional.pad(picture, pad, mode="replicate")
        length = picture.shape[dim]
        shifted = [wide.narrow(dim, start, length) for start in range(5)]
        picture = (
            taps[0] * shifted[2] + taps[1] * (shifted[1] + shifted[3]) + taps[2] * (shifted[0] + shifted[4])
        ) / total
    return picture


def _noise(p: Numbers, textures: Textures, size: int, channels: int, start: Tensor) -> Tensor:
    """Sensor grain (B, C, S, S) of spread 1, read from one white tile at a place of each picture's own."""
    tile = textures.grain
    side = tile.shape[0]
    at = torch.arange(size, device=p.device)
    planes = []
    for channel in range(channels):
        origin = (start[:, 0, 0] * 65536.0 * (channel + 1)).long() + 7919 * channel
        row = (at[None] + (origin // side)[:, None]) % side
        column = (at[None] + (origin % side)[:, None]) % side
        planes.append(tile[row[:, :, None], column[:, None, :]])
    return torch.stack(planes, dim=1)
