"""Fixed noise tiles, the same on every machine, that give skin, hair, backgrounds and sensors their grain."""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from facebridge.data.synthetic.chart import Numbers

_TILE = 256
_TILE_SEED = 20260


class Textures:
    """Noise lookups on one device."""

    def __init__(self, device: torch.device) -> None:
        self._smooth, self._hairs, self.grain = (torch.from_numpy(tile).to(device) for tile in _tiles())

    def skin(self, p: Numbers, angle: Tensor, height: Tensor) -> tuple[Tensor, Tensor]:
        """Blotches some 12 mm wide and spots some 2 mm wide, about mean 0 and spread 1."""
        u, v = angle * (88.0 / 150.0), height / 150.0
        both = self._lookup(self._smooth, u + p.texture_u * 7.0, v + p.texture_v * 5.0)
        return both[:, 0], both[:, 1]

    def strands(self, p: Numbers, angle: Tensor, height: Tensor, distance: Tensor) -> Tensor:
        """Brightness of hair about 1: streaks along the height."""
        wave = p.hair_wave * 0.02 * torch.sin(height * 0.12 + angle * 3.0)
        streak = self._lookup(
            self._hairs, angle * 0.55 + distance / 130.0 + wave + p.texture_u, height / 260.0 + p.texture_v
        )[:, 0]
        return 1.0 + 0.26 * streak

    def short_hairs(self, p: Numbers, angle: Tensor, height: Tensor) -> Tensor:
        """Short slanted hairs, about mean 0 and spread 1."""
        u = angle.abs() * 0.8 - height / 140.0 + p.texture_v
        return self._lookup(self._hairs, u, height / 190.0 + p.texture_u)[:, 0]

    def clouds(self, u: Tensor, v: Tensor) -> Tensor:
        """Smooth noise at tile coordinates, about mean 0 and spread 1."""
        return self._lookup(self._smooth, u, v)[:, 0]

    @staticmethod
    def _lookup(tile: Tensor, u: Tensor, v: Tensor) -> Tensor:
        u, v = u - torch.floor(u), v - torch.floor(v)
        position = torch.stack((2.0 * u - 1.0, 2.0 * v - 1.0), dim=-1)
        tiles = tile[None].expand(u.shape[0], -1, -1, -1)
        return torch.nn.functional.grid_sample(tiles, position, "bilinear", "border", align_corners=True)


@cache
def _tiles() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Smooth pair (2, T + 1, T + 1), hair streaks (1, T + 1, T + 1) and white grain (T, T), each periodic."""
    generator = np.random.default_rng(_TILE_SEED)
    white = generator.standard_normal((3, _TILE, _TILE))
    frequency = np.fft.fftfreq(_TILE) * _TILE
    fx, fy = frequency[None, :], frequency[:, None]
    blotches = np.exp(-((fx**2 + fy**2) / 2) / 9.0**2)
    spots = np.exp(-((fx**2 + fy**2) / 2) / 42.0**2) * (1 - np.exp(-((fx**2 + fy**2) / 2) / 14.0**2))
    streaks = np.exp(-0.5 * (fx / 38.0) ** 2) * np.exp(-0.5 * (fy / 7.0) ** 2)
    made = []
    for noise, band in zip(white, (blotches, spots, streaks), strict=True):
        tile = np.fft.ifft2(np.fft.fft2(noise) * band).real
        tile = (tile - tile.mean()) / tile.std()
        made.append(np.pad(tile, ((0, 1), (0, 1)), mode="wrap"))
    grain = generator.standard_normal((_TILE, _TILE))
    return np.stack(made[:2]).astype(np.float32), made[2][None].astype(np.float32), grain.astype(np.float32)
