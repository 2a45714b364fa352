"""What a batch shows DR-GAN: sets of pictures to make others of, and real pictures for the discriminator."""

from dataclasses import dataclass

import torch
from torch import Tensor

from facebridge.layers import signed
from facebridge.method import Batch
from facebridge.methods.dr_gan import poses


@dataclass(frozen=True)
class Shown:
    """Pictures in [-1, 1], of B people."""

    sets: Tensor
    """(B, k, 3, H, W): what the generator sees."""
    people: Tensor
    """(B,) int64: whom the sets show."""
    real: Tensor
    """(N, 3, H, W): all pictures of the batch."""
    identities: Tensor
    """(N,) int64: whom they show."""
    poses: Tensor
    """(N,) int64: their poses."""
    further: Tensor
    """(B, 3, H, W): a further picture of each person; where there is none, that of the set."""
    further_poses: Tensor
    """(B,) int64: their poses."""

    @classmethod
    def of(cls, batch: Batch, poses_deg: tuple[float, ...], several: bool, needs_pairs: bool) -> "Shown":
        """Sets of the sources; of the targets, one each, where there are none.

        Args:
            batch: see `facebridge.method.Batch`.
            poses_deg: the poses, degrees.
            several: whether there must be several sources of a target, else there may be one.
            needs_pairs: whether each target must have sources, of the same person.

        Raises:
            ValueError: if the yaws or the sources are missing, or are not those asked for.
        """
        _check(batch, several, needs_pairs)
        further, people = signed(batch["target"]), batch["target_identity"]
        further_poses = poses.classes(batch["target_yaw_deg"], poses_deg)
        if "source" not in batch:
            return cls(further[:, None], people, further, people, further_poses, further, further_poses)
        sets = signed(batch["source"] if several else batch["source"][:, None])
        of_sets = poses.classes(batch["source_yaw_deg"], poses_deg).reshape(sets.shape[:2])
        sources = batch["source_identity"]
        return cls(
            sets,
            sources,
            torch.cat([further, sets.flatten(0, 1)]),
            torch.cat([people, sources[:, None].expand(sets.shape[:2]).flatten()]),
            torch.cat([further_poses, of_sets.flatten()]),
            further,
            further_poses,
        )


def _check(batch: Batch, several: bool, needs_pairs: bool) -> None:
    for side in ("target", "source"):
        if side in batch and f"{side}_yaw_deg" not in batch:
            raise ValueError(
                f"the batch does not say how far the {side}s' heads are turned: give a face list with yaw_deg, or "
                "drawn people"
            )
    has_several = "source" in batch and batch["source"].ndim == 5
    if several and not has_several:
        raise ValueError(
            'fusing needs several pictures of a person: set data.pairing to { kind = "several", pictures = 6 }, or '
            "settings.several=false"
        )
    if has_several and not several:
        raise ValueError(
            "the batch holds several sources of each target: set settings.several=true, or data.pairing.kind to none"
        )
    if not needs_pairs:
        return
    if "source" not in batch or bool((batch["source_identity"] != batch["target_identity"]).any()):
        raise ValueError(
            "pixels are compared between pictures of one person: set data.pairing.kind to same_person or several, or "
            "settings.pixel_weight=0"
        )
