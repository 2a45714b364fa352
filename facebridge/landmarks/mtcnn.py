"""MTCNN (Zhang et al. 2016, "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks").

A pyramid of the picture goes through P-Net, which proposes boxes; R-Net sorts them out and O-Net does so again and
gives five points. Each network moves the corners of its boxes by offsets, fractions of their width and height.
docs/data/finding_faces.md says where this departs from the published code.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facebridge import weights as weight_files
from facebridge.landmarks.detection import Detection, checked
from facebridge.landmarks.mtcnn_boxes import Boxes, joined, moved, sizes, squared, suppress
from facebridge.landmarks.mtcnn_networks import Network, OutputNetwork, ProposalNetwork, RefinementNetwork, fill
from facebridge.landmarks.squares import cut, resized

FILES = ("mtcnn_pnet.pt", "mtcnn_rnet.pt", "mtcnn_onet.pt")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How MTCNN searches; the defaults are those of the published code.

    ValueError: if a value is impossible.
    """

    min_face_px: float = 20
    """Side of the smallest face that is looked for."""
    scale_step: float = 0.707
    """Size of each picture of the pyramid, relative to the one before."""
    min_scores: tuple[float, float, float] = (0.6, 0.7, 0.8)
    """Probability of a face above which P-, R- and O-Net keep a box."""

    def __post_init__(self) -> None:
        if not self.min_face_px > 0:
            raise ValueError(f"min_face_px is {self.min_face_px}; expected a number above 0")
        if not 0 < self.scale_step < 1:
            raise ValueError(f"scale_step is {self.scale_step}; expected a number between 0 and 1")
        if len(self.min_scores) != 3:
            raise ValueError(f"min_scores is {self.min_scores}; expected three probabilities")


SETTINGS = tuple(field.name for field in fields(Settings))


def load(weights: Sequence[Path], **settings: Any) -> "MTCNN":
    """MTCNN from the published state dicts of P-, R- and O-Net, in this order, or from the folder that holds FILES.

    ValueError: if a file is missing or holds other tensors, or a setting is impossible.
    """
    files = [weights[0] / name for name in FILES] if len(weights) == 1 and weights[0].is_dir() else list(weights)
    if len(files) != len(FILES):
        raise ValueError(f"mtcnn takes a folder with {', '.join(FILES)}, or these three files; got {len(files)}")
    proposal, refinement, output = ProposalNetwork(), RefinementNetwork(), OutputNetwork()
    networks: tuple[Network, ...] = (proposal, refinement, output)
    for file, network in zip(files, networks, strict=True):
        if not file.is_file():
            raise ValueError(f"{file}: no such file; expected the tensors of MTCNN's {type(network).__name__}")
        fill(network, weight_files.read(file), str(file))
    return MTCNN(proposal, refinement, output, Settings(**settings))


class MTCNN:
    """MTCNN, as a detector. One instance may serve several threads.

    ValueError: if a picture is not (H, W, 3) uint8.
    """

    def __init__(
        self,
        proposal: ProposalNetwork,
        refinement: RefinementNetwork,
        output: OutputNetwork,
        settings: Settings | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self._proposal = proposal.eval()
        self._refinement = refinement.eval()
        self._output = output.eval()

    def detect(self, picture: NDArray[np.uint8]) -> list[Detection]:
        """All faces of the picture, the most certain first."""
        return self.detect_all([picture])[0]

    @torch.inference_mode()
    def detect_all(self, pictures: Sequence[NDArray[np.uint8]]) -> list[list[Detection]]:
        """All faces of each of several pictures; each network sees the crops of all pictures together."""
        values = [checked(picture).astype(np.float32) / np.float32(255) for picture in pictures]
        proposed = self._proposed(values)
        refined = self._refined(values, squared(moved(proposed.corners, proposed.offsets)), proposed.owners)
        return self._finished(values, squared(moved(refined.corners, refined.offsets)), refined.owners)

    def _proposed(self, pictures: list[NDArray[np.float32]]) -> Boxes:
        """P-Net's boxes, over the pyramids of all pictures."""
        found = []
        for members in _same_sized(pictures):
            height, width = pictures[members[0]].shape[:2]
            for scale in self._scales(min(height, width)):
                size = math.ceil(height * scale), math.ceil(width * scale)
                level = np.stack([resized(pictures[member], *size) for member in members])
                scores, offsets = _run(self._proposal, level)
                boxes = _windows(scores, offsets, scale, self.settings.min_scores[0])
                found.append(replace(boxes, owners=torch.tensor(members)[boxes.owners]).suppressed(_WITHIN_SCALE))
        return joined(found).suppressed(_ACROSS_SCALES)

    def _refined(self, pictures: list[NDArray[np.float32]], corners: Tensor, owners: Tensor) -> Boxes:
        """R-Net's boxes, out of square ones."""
        corners, owners, crops = _cut(pictures, corners, owners, RefinementNetwork.SIDE_PX)
        scores, offsets = _run(self._refinement, crops)
        boxes = Boxes(corners, scores, offsets, owners)
        return boxes.take(scores.sigmoid() > self.settings.min_scores[1]).suppressed(_AFTER_REFINEMENT)

    def _finished(self, pictures: list[NDArray[np.float32]], corners: Tensor, owners: Tensor) -> list[list[Detection]]:
        """O-Net's faces by picture, out of square boxes."""
        corners, owners, crops = _cut(pictures, corners, owners, OutputNetwork.SIDE_PX)
        scores, offsets, fractions = _run(self._output, crops)
        points = corners[:, None, :2] + sizes(corners)[:, None] * fractions
        final = moved(corners, offsets)
        sure = (scores.sigmoid() > self.settings.min_scores[2]).nonzero()[:, 0]
        kept = sure[suppress(final[sure], scores[sure], owners[sure], _AFTER_OUTPUT, "smaller")]
        boxes = torch.cat([final[:, :2], sizes(final)], 1)
        found: list[list[Detection]] = [[] for _ in pictures]
        for row in kept.tolist():
            face = Detection(boxes[row].float().numpy(), float(scores[row].sigmoid()), points[row].float().numpy())
            found[int(owners[row])].append(face)
        return found

    def _scales(self, shorter_side_px: int) -> Iterator[float]:
        """Of the pyramid: from the smallest faces to those that fill the picture."""
        scale = ProposalNetwork.WINDOW_PX / self.settings.min_face_px
        while shorter_side_px * scale >= ProposalNetwork.WINDOW_PX:
            yield scale
            scale *= self.settings.scale_step


# The largest overlaps of boxes that are left beside each other.
_WITHIN_SCALE = 0.5
_ACROSS_SCALES = 0.7
_AFTER_REFINEMENT = 0.7
_AFTER_OUTPUT = 0.7  # of the smaller box
_AT_ONCE = 256  # crops of a block that a network sees together
_LARGEST_BOX = 2.0  # of the picture's longer side


def _run(network: nn.Module, pictures: NDArray[np.float32]) -> tuple[Tensor, ...]:
    """A network's outputs for pictures (N, H, W, 3), N possibly 0."""
    channels_first = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    blocks = [channels_first[start : start + _AT_ONCE] for start in range(0, max(len(pictures), 1), _AT_ONCE)]
    outputs = [network(block) for block in blocks]
    return tuple(torch.cat(parts) for parts in zip(*outputs, strict=True))


def _windows(scores: Tensor, offsets: Tensor, scale: float, min_score: float) -> Boxes:
    """The windows that P-Net takes for faces, from the pyramid's pixels to the picture's; their offsets stay as is."""
    owners, rows, columns = (scores.sigmoid() > min_score).nonzero(as_tuple=True)
    first = ProposalNetwork.STEP_PX * torch.stack([columns, rows], 1).double() + 1
    corners = torch.cat([first / scale, (first + ProposalNetwork.WINDOW_PX) / scale], 1).round()
    return Boxes(corners, scores[owners, rows, columns], offsets[owners, :, rows, columns], owners)


def _cut(
    pictures: list[NDArray[np.float32]], corners: Tensor, owners: Tensor, side_px: int
) -> tuple[Tensor, Tensor, NDArray[np.float32]]:
    """Boxes -> crops (N, side_px, side_px, 3), black outside the picture; and the boxes that they are of.

    A box that misses its picture, or is far larger than it, can be no face and is left out.
    """
    longest = torch.tensor([max(picture.shape[:2]) for picture in pictures])[owners]
    limits = torch.tensor([picture.shape[1::-1] for picture in pictures]).view(-1, 2)[owners]
    inside = (corners[:, 2:] >= 0).all(1) & (corners[:, :2] < limits).all(1)
    size = sizes(corners)
    usable = inside & (size >= 1).all(1) & (size[:, 0] <= _LARGEST_BOX * longest)
    corners, owners = corners[usable], owners[usable]
    crops = np.zeros((len(corners), side_px, side_px, 3), np.float32)
    for crop, box, owner in zip(crops, corners.long().tolist(), owners.tolist(), strict=True):
        left, top, right, bottom = box
        crop[:] = cut(pictures[owner], left, top, right + 1, bottom + 1, side_px)
    return corners, owners, crops


def _same_sized(pictures: Sequence[NDArray[np.float32]]) -> Iterable[list[int]]:
    """Indices of pictures, those of one size together."""
    members: dict[tuple[int, ...], list[int]] = {}
    for index, picture in enumerate(pictures):
        members.setdefault(picture.shape, []).append(index)
    return members.values()
