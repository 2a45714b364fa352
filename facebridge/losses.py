"""Losses that two or more methods use: pure functions of tensors."""

import torch
from torch import Tensor

from facebridge.method import Batch
from facebridge.recognition import both


def orthogonality(shared: Tensor, private: Tensor) -> Tensor:
    """|W P^T|_F^2: 0 where no row of W (K, D) has anything of a row of P (L, D).

    IDR (He et al. 2017) and Wasserstein CNN (He et al. 2019) ask for W P^T = 0; as a penalty, and not divided by the
    sizes or the lengths of the rows, it is as recalled. Computed in float32 under autocast too.
    """
    with torch.autocast(shared.device.type, enabled=False):
        return (shared @ private.T).square().sum()


def both_cameras(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """All faces of a batch, the targets before the sources, with their identities, and which of them are sources.

    Returns:
        Faces (2B, 3, H, W), identities (2B,) int64, is_source (2B,) bool.

    Raises:
        ValueError: if the batch has no sources, or a source is more than one picture.
    """
    if "source" not in batch:
        raise ValueError(
            'learning across cameras needs pairs: set data.pairing to { kind = "same_person", source = { domain = '
            '"nir" }, target = { domain = "vis" } }'
        )
    faces, identities = both(batch)
    return faces, identities, torch.arange(len(faces), device=faces.device) >= len(batch["target"])


def divergence(means: Tensor, log_variances: Tensor) -> Tensor:
    """Kullback-Leibler divergence of normal distributions (B, D) from N(0, 1): summed over D, the mean over B.

    Kingma and Welling, ICLR 2014, appendix B.
    """
    return (means.square() + log_variances.exp() - 1 - log_variances).sum(1).mean() / 2
