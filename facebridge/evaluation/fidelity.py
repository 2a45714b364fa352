"""Fidelity: how near generated faces are to their targets, as pictures and as people.

Pictures are compared as a file would hold them: brought to 8 bits, on a scale of 0 to 255. Two sets of figures are in
use, and both are here: luma with a Gaussian window, rounded (FSRNet's evaluation), and RGB with a uniform window, cut
down (its ports to Python, which call scikit-image).
"""

from math import log10, sqrt
from typing import Literal

import numpy as np
from kornia.metrics import ssim as structural_similarity
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d
from torchmetrics.functional.image import peak_signal_noise_ratio

from facebridge.evaluation.matching import pair_scores

Channels = Literal["y", "rgb"]
Rounding = Literal["nearest", "down"]
"""How values are brought to 8 bits: to the nearest level, or cut down."""
LUMA_WEIGHTS = (65.481, 128.553, 24.966)
"""Luma of MATLAB's rgb2ycbcr for colours in [0, 1] (ITU-R BT.601, studio range), above LUMA_BLACK."""
LUMA_BLACK = 16.0
LOWEST_SQUARED_ERROR = 1.0
"""Mean squared errors below it count as it, as in FSRNet's evaluation; the highest PSNR is therefore 48.13 dB."""
SSIM_WINDOW_PX = 11
UNIFORM_WINDOW_PX = 7
"""Of `ssim_uniform`, and of scikit-image where nothing else is asked for."""
SSIM_STABILISERS = ((0.01 * 255) ** 2, (0.03 * 255) ** 2)
"""C1 and C2 of Wang et al. 2004."""
WHOLE_LEVEL_TOLERANCE = 1e-3
"""Levels; a value so little below a whole level is that level: float32 has many of them a trifle too low."""


def psnr(generated: Tensor, target: Tensor, channels: Channels = "y", rounding: Rounding = "nearest") -> Tensor:
    """Peak signal-to-noise ratio of each face in dB: (B, 3, H, W) in [0, 1] twice -> (B,), at most 48.13.

    channels: "y" compares luma, "rgb" all three colours. ValueError: if the shapes are not (B, 3, H, W) and equal.
    """
    first, second = _as_eight_bit(generated, target, channels, rounding)
    found = peak_signal_noise_ratio(first, second, data_range=255.0, reduction="none", dim=(1, 2, 3))
    return found.clamp(max=10 * log10(255**2 / LOWEST_SQUARED_ERROR))


def ssim(generated: Tensor, target: Tensor, channels: Channels = "y") -> Tensor:
    """Structural similarity of each face: (B, 3, H, W) in [0, 1] twice -> (B,), at most 1 (Wang et al. 2004).

    Gaussian window of 11 x 11 pixels, sigma 1.5, where it lies wholly inside the picture; mean over channels.
    ValueError: if the shapes are not (B, 3, H, W) and equal, or the faces are smaller than the window.
    """
    first, second = _as_eight_bit(generated, target, channels)
    if min(first.shape[-2:]) < SSIM_WINDOW_PX:
        raise ValueError(f"SSIM needs faces of at least {SSIM_WINDOW_PX} pixels a side; got {tuple(first.shape[-2:])}")
    similarity = structural_similarity(first, second, SSIM_WINDOW_PX, max_val=255.0, padding="valid")
    return similarity.mean(dim=(1, 2, 3))


def ssim_uniform(generated: Tensor, target: Tensor, rounding: Rounding = "down") -> Tensor:
    """Structural similarity of each face over uniform windows of 7 x 7 pixels: (B, 3, H, W) in [0, 1] twice -> (B,).

    Variances are those of a sample (over N - 1), windows lie wholly inside the picture; mean over colours: what
    scikit-image's `structural_similarity` gives for 8-bit RGB pictures where nothing else is asked for.
    ValueError: if the shapes are not (B, 3, H, W) and equal, or the faces are smaller than the window.
    """
    first, second = _as_eight_bit(generated, target, "rgb", rounding)
    if min(first.shape[-2:]) < UNIFORM_WINDOW_PX:
        raise ValueError(
            f"SSIM needs faces of at least {UNIFORM_WINDOW_PX} pixels a side; got {tuple(first.shape[-2:])}"
        )
    means = [_window_mean(each) for each in (first, second, first**2, second**2, first * second)]
    mean_1, mean_2 = means[:2]
    of_sample = UNIFORM_WINDOW_PX**2 / (UNIFORM_WINDOW_PX**2 - 1)
    variances = of_sample * (means[2] - mean_1**2 + means[3] - mean_2**2)
    covariance = of_sample * (means[4] - mean_1 * mean_2)
    c1, c2 = SSIM_STABILISERS
    alike = (2 * mean_1 * mean_2 + c1) * (2 * covariance + c2)
    return (alike / ((mean_1**2 + mean_2**2 + c1) * (variances + c2))).mean(dim=(1, 2, 3))


def luma(faces: Tensor) -> Tensor:
    """The Y of MATLAB's rgb2ycbcr, not rounded: (B, 3, H, W) in [0, 1] -> (B, 1, H, W) in [16, 235]."""
    weights = faces.new_tensor(LUMA_WEIGHTS).view(3, 1, 1)
    return LUMA_BLACK + (faces * weights).sum(dim=1, keepdim=True)


def identity_similarity(generated: NDArray[np.floating], target: NDArray[np.floating]) -> NDArray[np.float32]:
    """Cosine between the embeddings of each generated face and its target: (B, D) twice -> (B,).

    ValueError: if the shapes differ, or an embedding is zero or not finite.
    """
    return pair_scores(generated, target)


def frechet_distance(generated: NDArray[np.floating], target: NDArray[np.floating]) -> float:
    """Frechet distance between two sets of embeddings, each taken as a Gaussian: (N, D), (M, D) -> one number.

    |m1 - m2|^2 + trace(S1 + S2 - 2 (S1 S2)^(1/2)), Dowson and Landau 1982, with covariances over N - 1 as FID has them.
    The trace of the root is the sum of the singular values of A1 A2', where S = A'A: no matrix root is taken, and sets
    smaller than D are no special case (but the figure depends on N: compare sets of one size only).

    ValueError: if a set has fewer than two rows, sizes differ, or a number is not finite.
    """
    sides = [np.asarray(side, np.float64) for side in (generated, target)]
    if any(side.ndim != 2 or len(side) < 2 for side in sides) or sides[0].shape[1] != sides[1].shape[1]:
        raise ValueError(f"need two sets (N >= 2, D) of one D; got {sides[0].shape} and {sides[1].shape}")
    if not all(np.isfinite(side).all() for side in sides):
        raise ValueError("an embedding is not finite")
    means = [side.mean(axis=0) for side in sides]
    roots = [_root_of_covariance(side) for side in sides]
    trace = sum(float(np.square(root).sum()) for root in roots)
    overlap = float(np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum())
    return max(0.0, float(np.square(means[0] - means[1]).sum()) + trace - 2 * overlap)


def _root_of_covariance(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """A with A'A the covariance of the rows, of at most D rows."""
    centred = (rows - rows.mean(axis=0)) / sqrt(len(rows) - 1)
    return np.asarray(np.linalg.qr(centred, mode="r"), np.float64)


def _window_mean(values: Tensor) -> Tensor:
    """Of each UNIFORM_WINDOW_PX square window."""
    down = avg_pool2d(values, (UNIFORM_WINDOW_PX, 1), stride=1)
    return avg_pool2d(down, (1, UNIFORM_WINDOW_PX), stride=1)


def _as_eight_bit(
    generated: Tensor, target: Tensor, channels: Channels, rounding: Rounding = "nearest"
) -> tuple[Tensor, Tensor]:
    if generated.shape != target.shape or generated.ndim != 4 or generated.shape[1] != 3:
        raise ValueError(
            f"generated and target faces must be (B, 3, H, W) and equal in shape; got {tuple(generated.shape)} and "
            f"{tuple(target.shape)}"
        )
    if channels not in ("y", "rgb"):
        raise ValueError(f"channels must be 'y' or 'rgb'; got {channels!r}")
    if rounding not in ("nearest", "down"):
        raise ValueError(f"rounding must be 'nearest' or 'down'; got {rounding!r}")
    levels = (faces.double().clamp(0, 1) * 255 for faces in (generated, target))
    first, second = (
        each.round() if rounding == "nearest" else (each + WHOLE_LEVEL_TOLERANCE).floor() for each in levels
    )
    return (luma(first / 255), luma(second / 255)) if channels == "y" else (first, second)
