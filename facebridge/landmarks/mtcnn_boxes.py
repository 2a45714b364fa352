"""Boxes of MTCNN: (N, 4) float64 corners (left, top, right, bottom), first and last pixel inclusive."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Relative = Literal["union", "smaller"]
_BLOCK = 1024  # boxes compared with each other at a time: bounds the memory


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes in several pictures and what a network says of them.

    corners: (N, 4) pixels. scores: (N) log odds of a face. offsets: (N, 4), see `moved`. owners: (N) index of
    the picture.
    """

    corners: Tensor
    scores: Tensor
    offsets: Tensor
    owners: Tensor

    def take(self, rows: Tensor) -> "Boxes":
        """Those of these indices, or those where a mask is true."""
        return Boxes(self.corners[rows], self.scores[rows], self.offsets[rows], self.owners[rows])

    def suppressed(self, largest_overlap: float) -> "Boxes":
        """Without those that overlap a more certain one of their picture too much; see `suppress`."""
        return self.take(suppress(self.corners, self.scores, self.owners, largest_overlap, "union"))


def joined(parts: Sequence[Boxes]) -> Boxes:
    """All boxes of all parts."""
    return Boxes(
        torch.cat([torch.empty(0, 4, dtype=torch.float64), *(part.corners for part in parts)]),
        torch.cat([torch.empty(0), *(part.scores for part in parts)]),
        torch.cat([torch.empty(0, 4), *(part.offsets for part in parts)]),
        torch.cat([torch.empty(0, dtype=torch.int64), *(part.owners for part in parts)]),
    )


def suppress(boxes: Tensor, scores: Tensor, groups: Tensor, largest_overlap: float, relative: Relative) -> Tensor:
    """Which boxes stay when each, from the most certain on, removes those that it overlaps too much.

    boxes: (N, 4). scores: (N). groups: (N) whole numbers; boxes of different groups leave each other alone.
    largest_overlap: of the intersection to the union, or to the smaller of the two boxes.
    Returns the indices that stay, by group, then the most certain first, equal scores in their first order.
    """
    by_score = scores.argsort(descending=True, stable=True)
    order = by_score[groups[by_score].argsort(stable=True)]
    kept = order[:0]
    for start in range(0, len(order), _BLOCK):
        block = order[start : start + _BLOCK]
        earlier = kept[groups[kept] == groups[block[0]]]
        block = block[~_overlapping(boxes, groups, earlier, block, largest_overlap, relative).any(0)]
        removes = _overlapping(boxes, groups, block, block, largest_overlap, relative).triu(1)
        kept = torch.cat([kept, block[_standing(removes)]])
    return kept


def moved(boxes: Tensor, offsets: Tensor) -> Tensor:
    """Each corner moved by its offset, a fraction of the box's width (left, right) or height (top, bottom)."""
    return boxes + sizes(boxes).repeat(1, 2) * offsets


def squared(boxes: Tensor) -> Tensor:
    """The square about the same middle with the longer side, each edge then rounded to a whole pixel."""
    size = sizes(boxes)
    side = size.amax(1, keepdim=True)
    corner = boxes[:, :2] + size / 2 - side / 2
    return torch.cat([corner, corner + side - 1], 1).round()


def sizes(boxes: Tensor) -> Tensor:
    """Width and height in pixels: (N, 2)."""
    return boxes[:, 2:] - boxes[:, :2] + 1


def _standing(removes: Tensor) -> Tensor:
    """Which stay, if i removes the later j where removes[i, j] and i stays: (N, N) -> (N) bools.

    Each pass settles at least the next of the boxes, and nearly always all in three or four passes.
    """
    stands = torch.ones(len(removes), dtype=torch.bool)
    while True:
        again = ~(removes & stands[:, None]).any(0)
        if torch.equal(again, stands):
            return stands
        stands = again


def _overlapping(
    boxes: Tensor, groups: Tensor, first: Tensor, second: Tensor, largest_overlap: float, relative: Relative
) -> Tensor:
    """Whether boxes `first` overlap boxes `second` of their group too much: (len(first), len(second)) bools."""
    a, b = boxes[first][:, None], boxes[second][None]
    corner = torch.maximum(a[..., :2], b[..., :2])
    common = (torch.minimum(a[..., 2:], b[..., 2:]) - corner + 1).clamp(min=0).prod(-1)
    area_a, area_b = sizes(boxes[first]).prod(1)[:, None], sizes(boxes[second]).prod(1)[None]
    whole = area_a + area_b - common if relative == "union" else torch.minimum(area_a, area_b)
    return (common > largest_overlap * whole) & (groups[first][:, None] == groups[second][None])
