"""Jitter: faces enlarged, and a part of their first size cut out at a random place, as CycleGAN and Pix2Pix train."""

import torch
from torch import Tensor

from facebridge.images import resize


def jittered(enlargement: float, *faces: Tensor) -> list[Tensor]:
    """Each of several sets of faces (B, C, H, W), enlarged and cut back to H x W; row b of all sets is cut alike.

    Draws come from torch's own generator. Bicubic; faces in [0, 1] stay there.

    Args:
        enlargement: 286 / 256 as published; 1 gives the faces as they are.
    """
    if enlargement == 1:
        return list(faces)
    count, _, height, width = faces[0].shape
    tall, wide = round(height * enlargement), round(width * enlargement)
    tops = torch.randint(tall - height + 1, (count,)).tolist()
    lefts = torch.randint(wide - width + 1, (count,)).tolist()
    cut = []
    for some in faces:
        large = resize(some, tall, wide).clamp(0, 1)
        rows = zip(large, tops, lefts, strict=True)
        cut.append(torch.stack([face[:, top : top + height, left : left + width] for face, top, left in rows]))
    return cut
