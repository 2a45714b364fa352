"""TRIVET: transferring a deep representation across cameras (Liu, Song, Wu and Tan, ICB 2016), by triplets.

A Light CNN that knows visible faces is trained on with triplets whose anchor is of one camera and whose positive and
negative are of the other, in both directions. docs/methods/trivet.md lists what is published, what is recalled and what
is ours.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from facebridge.crops import Crop
from facebridge.descent import Descent
from facebridge.heads import HeadSettings, SoftmaxSettings
from facebridge.losses import both_cameras
from facebridge.method import Batch
from facebridge.recogniser import Recogniser
from facebridge.recognition import RecognitionConfig, TrainedRecogniser, descend

Mining = Literal["all", "hard"]
"""Every triplet of the batch, or for every anchor its furthest positive and its nearest negative."""


class Trivet(TrainedRecogniser["Trivet.Config"]):
    """A recogniser whose faces of one person lie close together, whichever camera took them."""

    class Config(RecognitionConfig):
        """Defaults: the network is the paper's, the rest is recalled or ours."""

        margin: Annotated[float, Field(gt=0, le=4)] = 0.3
        """m: by how much a negative must be further away than a positive; squared distance of unit-length features."""
        mining: Mining = "all"
        """Which triplets of a batch count."""
        triplet_weight: Annotated[float, Field(gt=0)] = 1.0
        """Weight of each of the two directions."""
        softmax_weight: Annotated[float, Field(ge=0)] = 1.0
        """Weight of the cross entropy that is kept beside the triplets."""
        head: HeadSettings = SoftmaxSettings()
        """The classifier of the cross entropy."""
        descent: Descent = Descent(learning_rate=1e-4)
        """How the weights descend."""

    def __init__(self, config: Config, crop: Crop, recogniser: Recogniser | None = None) -> None:
        super().__init__(config, crop, recogniser)
        self.head = config.head.build(self.embedding_size, self.num_identities)
        descent = config.descent
        self.optimisers = {"recogniser": descent.optimiser({"network": self.network, "head": self.head})}
        self.schedules = {"recogniser": descent.schedule_of(self.optimisers["recogniser"])}

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """One step of the triplets in both directions and the cross entropy.

        Args:
            batch: `target` and `source`: faces (B, 3, crop.height, crop.width) of the two cameras, with
                `target_identity` and `source_identity`.

        Returns:
            `target_to_source` (anchors are targets), `source_to_target`, `cross_entropy` and `total`.

        Raises:
            ValueError: if the batch has no sources.
        """
        faces, identities, _ = both_cameras(batch)
        features = self.features(faces)
        target, source = functional.normalize(features).chunk(2)
        same = batch["target_identity"][:, None] == batch["source_identity"]  # (target, source)
        margin, mining = self.config.margin, self.config.mining
        kept = functional.dropout(features, self.config.dropout, self.training)
        losses = {
            "target_to_source": triplets(target, source, same, margin, mining),
            "source_to_target": triplets(source, target, same.T, margin, mining),
            "cross_entropy": functional.cross_entropy(self.head(kept, identities), identities),
        }
        both_ways = losses["target_to_source"] + losses["source_to_target"]
        total = self.config.triplet_weight * both_ways + self.config.softmax_weight * losses["cross_entropy"]
        return descend(self, total, losses)


def triplets(anchors: Tensor, others: Tensor, same: Tensor, margin: float, mining: Mining = "all") -> Tensor:
    """mean of relu(m + |a - p|^2 - |a - n|^2) over triplets of an anchor a, a positive p and a negative n.

    Recalled of TRIVET (Liu et al. 2016), where a is of one camera, p and n are of the other. 0 where there is no
    triplet.

    Args:
        anchors: (A, D) unit-length features.
        others: (N, D) unit-length features: the positives and negatives of all anchors.
        same: (A, N) bool: whether both are of one person.
        margin: m.
        mining: all triplets, or one for each anchor: its furthest positive and its nearest negative.
    """
    with torch.autocast(anchors.device.type, enabled=False):
        distances = 2 - 2 * anchors @ others.T  # |a - b|^2 of unit lengths
    if mining == "hard":
        furthest = distances.masked_fill(~same, -torch.inf).amax(1)
        nearest = distances.masked_fill(same, torch.inf).amin(1)
        losses = functional.relu(margin + furthest - nearest)[same.any(1) & ~same.all(1)]
    else:
        anchor, positive = same.nonzero(as_tuple=True)
        differences = distances[anchor, positive][:, None] - distances[anchor]  # (positive pairs, N)
        losses = functional.relu(margin + differences)[~same[anchor]]
    return losses.sum() / max(losses.numel(), 1)
