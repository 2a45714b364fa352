"""IDR: invariant deep representation (He, Wu, Sun and Tan, AAAI 2017): what both cameras show, and that alone.

The last layer has a part that both cameras share and a private part for each, orthogonal to it; people are classified
by the sum, and recognised by the shared part alone. docs/methods/idr.md lists what is published, what is recalled and
what is ours.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from facebridge.crops import Crop
from facebridge.descent import Descent
from facebridge.heads import HeadSettings, SoftmaxSettings
from facebridge.losses import both_cameras, orthogonality
from facebridge.method import Batch
from facebridge.recogniser import Recogniser
from facebridge.recognition import RecognitionConfig, TrainedRecogniser, descend

PRIVATE_START = 0.1
"""Length of the rows of P before training; those of W have length 1, so that recognition begins with what is shared."""


class Idr(TrainedRecogniser["Idr.Config"]):
    """A recogniser whose embedding holds only what both cameras show of a person."""

    class Config(RecognitionConfig):
        """Defaults: the sizes are the paper's, the weights and rates are recalled or ours."""

        shared_size: Annotated[int, Field(ge=1)] = 128
        """Length of the embedding: rows of W and of each P."""
        orthogonality_weight: Annotated[float, Field(ge=0)] = 1.0
        """lambda_1: weight of |W P^T|_F^2 of each camera."""
        alternate: bool = True
        """Whether a step trains the last layer and the classifier first, then the network; else all at once."""
        head: HeadSettings = SoftmaxSettings()
        """The classifier of z."""
        descent: Descent = Descent(learning_rate=1e-4)
        """How the weights descend; W and P have the role `embedding`."""

    def __init__(self, config: Config, crop: Crop, recogniser: Recogniser | None = None) -> None:
        super().__init__(config, crop, recogniser)
        self.projections = Projections(self.embedding_size, config.shared_size)
        self.head = config.head.build(config.shared_size, self.num_identities)
        last: dict[str, nn.Module] = {"embedding": self.projections, "head": self.head}
        descent = config.descent
        if config.alternate:
            self.optimisers = {"last": descent.optimiser(last), "network": descent.optimiser({"network": self.network})}
        else:
            self.optimisers = {"recogniser": descent.optimiser({"network": self.network, **last})}
        self.schedules = {name: descent.schedule_of(optimiser) for name, optimiser in self.optimisers.items()}

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """One step of cross entropy and orthogonality; with `alternate` the network sees the last layer's new weights.

        Args:
            batch: `target` and `source`: faces (B, 3, crop.height, crop.width) of the two cameras, with
                `target_identity` and `source_identity`.

        Returns:
            `cross_entropy`, `orthogonality` and `total`.

        Raises:
            ValueError: if the batch has no sources.
        """
        faces, identities, is_source = both_cameras(batch)
        features = self.features(faces)
        if not self.config.alternate:
            losses = self._losses(features, identities, is_source)
            return descend(self, self._total(losses), losses)
        losses = self._losses(features.detach(), identities, is_source)
        descend(self, self._total(losses), losses, "last")
        losses = self._losses(features, identities, is_source)
        return descend(self, self._total(losses), losses, "network")

    def projection(self) -> Tensor:
        """W (K, D): what is private to a camera takes no part in recognition."""
        weight: Tensor = self.projections.shared.weight
        return weight

    def _losses(self, features: Tensor, identities: Tensor, is_source: Tensor) -> dict[str, Tensor]:
        _, whole = self.projections(features, is_source)
        kept = functional.dropout(whole, self.config.dropout, self.training)
        return {
            "cross_entropy": functional.cross_entropy(self.head(kept, identities), identities),
            "orthogonality": apart(self.projections),
        }

    def _total(self, losses: dict[str, Tensor]) -> Tensor:
        return losses["cross_entropy"] + self.config.orthogonality_weight * losses["orthogonality"]


class Projections(nn.Module):
    """The last layer: W f + P_m f of features f (B, D) of camera m, with W and each P (K, D).

    First weights: rows of length 1 that are orthogonal to each other within W and within each P, as far as K <= D.

    Args:
        embedding_size: D.
        shared_size: K.
    """

    def __init__(self, embedding_size: int, shared_size: int) -> None:
        super().__init__()
        self.shared = nn.Linear(embedding_size, shared_size, bias=False)
        self.source = nn.Linear(embedding_size, shared_size, bias=False)
        self.target = nn.Linear(embedding_size, shared_size, bias=False)
        nn.init.orthogonal_(self.shared.weight)
        for private in (self.source, self.target):
            nn.init.orthogonal_(private.weight, gain=PRIVATE_START)

    def forward(self, features: Tensor, is_source: Tensor) -> tuple[Tensor, Tensor]:
        """The shared part W f and the whole W f + P_m f, each (B, K); is_source (B,) bool says which camera m is."""
        shared = self.shared(features)
        private = torch.where(is_source[:, None], self.source(features), self.target(features))
        return shared, shared + private


def apart(projections: nn.Module) -> Tensor:
    """|W P_source^T|_F^2 + |W P_target^T|_F^2 of `Projections`."""
    shared, source, target = (getattr(projections, name).weight for name in ("shared", "source", "target"))
    return orthogonality(shared, source) + orthogonality(shared, target)
