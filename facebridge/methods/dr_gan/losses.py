"""The losses of DR-GAN, of what its discriminator says: who a picture shows, at which pose, and whether it is real.

extended  Nd identities, one number for real (over 0) or generated (under 0), Np poses   (Tran et al., TPAMI 2018)
cvpr      Nd + 1 identities, of which the last stands for generated pictures, Np poses   (Tran et al., CVPR 2017)
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

Version = Literal["extended", "cvpr"]


class Verdicts(NamedTuple):
    """Logits about N pictures, float32."""

    identity: Tensor
    """(N, Nd), or (N, Nd + 1) in the version cvpr."""
    reality: Tensor
    """(N, 1), or (N, 0) in the version cvpr."""
    pose: Tensor
    """(N, Np)."""

    @classmethod
    def of(cls, logits: Tensor, num_identities: int, version: Version) -> "Verdicts":
        """The parts of what the discriminator gives, (N, num_identities + 1 + Np)."""
        real = int(version == "extended")
        sizes = [num_identities + 1 - real, real, logits.shape[1] - num_identities - 1]
        return cls(*torch.split(logits.float(), sizes, 1))

    @property
    def has_reality(self) -> bool:
        """Whether a number of its own says what is real."""
        return self.reality.shape[1] > 0

    @property
    def is_generated(self) -> Tensor:
        """(N,): the class that stands for generated pictures, where it is one of the identities."""
        return torch.full((len(self.identity),), self.identity.shape[1] - 1, device=self.identity.device)


def discriminator_losses(real: Verdicts, fake: Verdicts, identities: Tensor, poses: Tensor) -> dict[str, Tensor]:
    """What the discriminator learns: who and at which pose real pictures show, and which pictures are generated.

    extended: -log D_r(x) - log(1 - D_r(G)), -log D_id=y(x), -log D_pose(x).
    cvpr: -log D_id=Nd+1(G), -log D_id=y(x), -log D_pose(x).

    Args:
        real, fake: of real pictures (N) and generated ones (M).
        identities, poses: (N,) int64, of the real pictures.
    """
    if real.has_reality:
        adversarial = functional.softplus(-real.reality).mean() + functional.softplus(fake.reality).mean()
    else:
        adversarial = functional.cross_entropy(fake.identity, fake.is_generated)
    return {
        "adversarial": adversarial,
        "identity": functional.cross_entropy(real.identity, identities),
        "pose": functional.cross_entropy(real.pose, poses),
    }


def generator_losses(fake: Verdicts, identities: Tensor, poses: Tensor) -> dict[str, Tensor]:
    """What the generator learns: to pass for the person and the pose that were asked for.

    extended: -log D_r(G), -log D_id=y(G), -log D_pose=c(G). cvpr: the last two, which have to beat the class of
    generated pictures.

    Args:
        fake: of generated pictures (M).
        identities, poses: (M,) int64, those that were asked for.
    """
    losses = {
        "identity": functional.cross_entropy(fake.identity, identities),
        "pose": functional.cross_entropy(fake.pose, poses),
    }
    if fake.has_reality:
        losses["adversarial"] = functional.softplus(-fake.reality).mean()
    return losses


def accuracy(real: Verdicts, fake: Verdicts, identities: Tensor, poses: Tensor) -> Tensor:
    """How often the discriminator is right: the mean of its shares of right answers, a scalar in [0, 1].

    Shares: the identities and the poses of real pictures, and the generated pictures told; extended: also the real
    ones told.
    """
    right = [real.identity.argmax(1) == identities, real.pose.argmax(1) == poses]
    if real.has_reality:
        right += [real.reality[:, 0] > 0, fake.reality[:, 0] <= 0]
    else:
        right += [fake.identity.argmax(1) == fake.is_generated]
    return torch.stack([each.float().mean() for each in right]).mean()
