"""Semantic bootstrapping (Wu, He, Sun and Tan 2018): a recogniser trained on wrong labels says anew who is who.

    train on the labels as they are -> predict -> relabel, keep the confident -> train on what is left -> ...

docs/recognisers/label_noise.md says what is published, what is recalled and what is ours, and what it wins. Whole face
lists: `facebridge.relabelling`.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from facebridge import images
from facebridge.data.faces import Faces, LabelledFaces
from facebridge.data.samplers import Rows
from facebridge.images import BadPicture
from facebridge.methods.recogniser import RecogniserTraining

Keep = Literal["confident", "agreeing", "either"]
"""Which faces stay. confident: those with a confident prediction, which becomes their identity. agreeing: those whose
label is among the most probable identities, which they keep. either: the confident, under the predicted identity, and
of the others the agreeing, under their label."""

THRESHOLD = 0.7
"""Of the paper as it is recalled (unverified)."""
FACES_PER_BATCH = 64
UNKNOWN = -1
"""Label of a person that the recogniser was not trained on."""


@dataclass(frozen=True)
class Predictions:
    """Who a recogniser takes some faces for; N faces, those left out that could not be read.

    rows: (N,) rows of the faces. label: (N,) who they are said to show. identity: (N,) the most probable one.
    confidence: (N,) float64, its probability: near 1 those of a margin head crowd, which float32 would not tell apart.
    place: (N,) how many identities are more probable than the label. refused: the pictures that could not be read.
    """

    rows: Rows
    label: NDArray[np.int64]
    identity: NDArray[np.int64]
    confidence: NDArray[np.float64]
    place: NDArray[np.int64]
    refused: list[BadPicture] = field(default_factory=list)


@dataclass(frozen=True)
class Relabelling:
    """The faces that stay. rows, identities, confidence: (N,); the counts with num_dropped make all that was predicted.

    num_stayed: faces that keep their label. num_moved: faces with another one than before.
    """

    rows: Rows
    identities: NDArray[np.int64]
    confidence: NDArray[np.float64]
    num_stayed: int
    num_moved: int
    num_dropped: int


def predict(
    method: RecogniserTraining,
    faces: Faces,
    labels: ArrayLike,
    rows: Sequence[int] | None = None,
    *,
    mirror: bool = False,
) -> Predictions:
    """What a recogniser's head, without its margin, says of each face; memory for one batch.

    Args:
        method: a trained recogniser with its head; it is put into evaluation mode.
        faces: aligned to the method's crop.
        labels: of all faces, (number of faces,), numbered as the method's identities; `UNKNOWN` for others.
        rows: which faces, ascending; absent: all.
        mirror: whether to average the probabilities of the face and of its mirror image.
    """
    method.eval()
    rows, labels = range(len(faces)) if rows is None else rows, np.asarray(labels, np.int64)
    usable: list[int] = []
    refused: list[BadPicture] = []
    identity, confidence, place = array("q"), array("d"), array("q")
    for start in range(0, len(rows), FACES_PER_BATCH):
        pictures = []
        for row in rows[start : start + FACES_PER_BATCH]:
            try:
                pictures.append(faces.picture(row))
            except BadPicture as bad:
                refused.append(bad)
            else:
                usable.append(row)
        if pictures:
            probabilities = _probabilities(method, images.to_faces(np.stack(pictures)), mirror)
            highest = probabilities.max(dim=1)
            identity.extend(highest.indices.tolist())
            confidence.extend(highest.values.tolist())
            place.extend(_places(probabilities, labels[usable[-len(pictures) :]]))
    found = np.array(usable, np.int64)
    return Predictions(found, labels[found], np.array(identity), np.array(confidence), np.array(place), refused)


def relabel(
    predictions: Predictions, keep: Keep = "either", *, threshold: float = THRESHOLD, top: int = 1
) -> Relabelling:
    """Which faces stay, and as whom.

    Args:
        predictions: what a recogniser said of the faces.
        keep: see `Keep`.
        threshold: the probability from which a prediction is confident; `threshold_of` gives one that does not depend
            on the scale of the head.
        top: a label agrees that is among this many most probable identities; 1: that is the predicted one.

    Raises:
        ValueError: if the threshold is no probability, `top` is under 1, or `keep` is unknown.
    """
    if not 0 <= threshold <= 1 or top < 1:
        raise ValueError(f"threshold {threshold} and top {top}: expected a probability from 0 to 1, and at least 1")
    if keep not in get_args(Keep):
        raise ValueError(f"keep is {keep!r}; expected one of {', '.join(get_args(Keep))}")
    confident = predictions.confidence >= threshold
    agrees = (predictions.place < top) & (predictions.label != UNKNOWN)
    if keep == "agreeing":
        confident = np.zeros_like(confident)
    stays = confident if keep == "confident" else confident | agrees
    identities = np.where(confident, predictions.identity, predictions.label)[stays]
    num_moved = int((identities != predictions.label[stays]).sum())
    return Relabelling(
        predictions.rows[stays],
        identities,
        predictions.confidence[stays],
        len(identities) - num_moved,
        num_moved,
        len(stays) - len(identities),
    )


def threshold_of(predictions: Predictions, share: float) -> float:
    """The threshold that this share of the predictions reaches, and no more of them but for ties.

    Raises:
        ValueError: if the share is not above 0 and at most 1, or there are no predictions.
    """
    if not 0 < share <= 1:
        raise ValueError(f"the share of confident predictions is {share}; expected a number above 0, at most 1")
    if len(predictions.confidence) == 0:
        raise ValueError("there are no predictions to find a threshold for: no picture could be used")
    falling = np.sort(predictions.confidence)[::-1]
    return float(falling[max(round(share * len(falling)), 1) - 1])


class Relabelled:
    """Some of the faces, under other identities; `LabelledFaces`, to train on without a file.

    Args:
        faces: the faces as they were labelled.
        rows: which of them stay.
        identities: their new identities, (len(rows),): numbers that some of `faces` have.

    Raises:
        ValueError: if rows and identities are not as many, or an identity is none of the faces'.
    """

    def __init__(self, faces: LabelledFaces, rows: ArrayLike, identities: ArrayLike) -> None:
        self.faces = faces
        self.rows = np.asarray(rows, np.int64)
        self._identities = np.asarray(identities, np.int64)
        if len(self.rows) != len(self._identities):
            raise ValueError(f"{len(self.rows)} rows cannot have {len(self._identities)} identities")
        self._numbers, self._first = np.unique(faces.identities(), return_index=True)
        strange = np.setdiff1d(self._identities, self._numbers)
        if len(strange):
            raise ValueError(f"none of the faces has the identity {strange[0]}: give them identities that they know")

    def __len__(self) -> int:
        return len(self.rows)

    def identity(self, index: int) -> int:
        return int(self._identities[index])

    def picture(self, index: int) -> NDArray[np.uint8]:
        return self.faces.picture(int(self.rows[index]))

    def identities(self) -> NDArray[np.int64]:
        return self._identities

    def column(self, name: str) -> NDArray[Any]:
        """As of the faces, but for the identity: that is named as the faces name the number."""
        values = self.faces.column(name)
        if name == "identity":
            return values[self._first[np.searchsorted(self._numbers, self._identities)]]
        return values[self.rows]

    def in_order_of_names(self) -> Rows:
        rank = np.empty(len(self.faces), np.int64)
        rank[self.faces.in_order_of_names()] = np.arange(len(self.faces))
        return np.argsort(rank[self.rows], kind="stable")


def _probabilities(method: RecogniserTraining, faces: Tensor, mirror: bool) -> Tensor:
    """(B, num_identities) float64 on the method's device, for faces (B, 3, H, W)."""
    with torch.no_grad():
        faces = faces.to(next(method.parameters()).device)
        views = [faces, faces.flip(-1)] if mirror else [faces]
        logits = [method.head.logits(method.network(method.seen(view))) for view in views]
        return torch.stack([view.double().softmax(dim=1) for view in logits]).mean(dim=0)


def _places(probabilities: Tensor, labels: NDArray[np.int64]) -> list[int]:
    """How many identities are more probable than the label of each face; all of them than one that is unknown."""
    known = torch.from_numpy(labels).to(probabilities.device)[:, None]
    own = probabilities.gather(1, known.clamp(min=0)).masked_fill(known == UNKNOWN, -1)
    return [int(place) for place in (probabilities > own).sum(dim=1)]
