"""What methods share that translate faces from one camera to another: pairs, their warp, and how losses are summed."""

import torch
from torch import Tensor

from facebridge.crops import Crop
from facebridge.descent import Descent, Linear
from facebridge.method import Batch
from facebridge.recogniser import LUMA
from facebridge.warp import warp

PUBLISHED_DESCENT = Descent(
    kind="adam", learning_rate=2e-4, momentum=0.5, weight_decay=0, schedule=Linear(constant_part=0.5)
)
"""Adam as CycleGAN, Pix2Pix and their descendants train: the first rate for half of the steps, then down to zero."""

Terms = dict[str, tuple[float, Tensor]]
"""Losses by name, each with its weight in the total."""


def weighted(terms: Terms) -> Tensor:
    """The sum of the losses, each times its weight."""
    return torch.stack([weight * loss.float() for weight, loss in terms.values()]).sum()


def both_sides(batch: Batch) -> tuple[Tensor, Tensor]:
    """Sources and targets (B, 3, H, W).

    Raises:
        ValueError: if the batch has no sources, or a source is more than one picture.
    """
    if "source" not in batch or batch["source"].ndim != batch["target"].ndim:
        raise ValueError(
            "translation needs a source for each target: set data.pairing to one of unpaired, same_person and "
            'same_shot, with source = { domain = "nir" } and target = { domain = "vis" }'
        )
    return batch["source"], batch["target"]


def check_sides(crop: Crop, multiple: int = 4) -> None:
    """ValueError: if a side of the crop is no multiple."""
    if crop.height % multiple or crop.width % multiple:
        raise ValueError(
            f"crop {crop.name} is {crop.height}x{crop.width} px; the generator halves pictures and doubles them again: "
            f"choose a crop whose sides are multiples of {multiple}"
        )


@torch.no_grad()
def warped_targets(batch: Batch) -> Tensor:
    """The targets, their 68 landmarks brought to where the sources' lie: (B, 3, H, W) in [0, 1].

    Raises:
        ValueError: if the batch has no points.
    """
    source, target = both_sides(batch)
    if "target_points" not in batch or "source_points" not in batch:
        raise ValueError("warping needs 68 landmarks of source and target: give a face list that has them")
    return warp(target.float(), batch["target_points"], batch["source_points"]).to(source).clamp(0, 1)


def luminance(pictures: Tensor) -> Tensor:
    """Y of YCbCr: (B, 3, H, W) -> (B, 1, H, W), of the same range."""
    return (pictures * pictures.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
