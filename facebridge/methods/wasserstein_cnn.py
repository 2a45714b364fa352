"""Wasserstein CNN (He, Wu, Sun and Tan, TPAMI 2019): IDR whose shared features are alike in distribution too.

As in IDR the last layer has a shared part and a private one for each camera. The Gaussians of the shared features of
the two cameras are pulled together in the 2-Wasserstein distance, and the last layer is kept low in rank.
docs/methods/wasserstein_cnn.md lists what is published, what is recalled and what is ours.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from facebridge.crops import Crop
from facebridge.descent import Descent
from facebridge.heads import HeadSettings, SoftmaxSettings
from facebridge.losses import both_cameras
from facebridge.method import Batch
from facebridge.methods.idr import Projections, apart
from facebridge.recogniser import Recogniser
from facebridge.recognition import RecognitionConfig, TrainedRecogniser, descend

SMALLEST_VARIANCE = 1e-10
"""Added under the root, where the slope of a deviation would be infinite at 0."""


class WassersteinCnn(TrainedRecogniser["WassersteinCnn.Config"]):
    """A recogniser whose embeddings of both cameras are spread alike."""

    class Config(RecognitionConfig):
        """Defaults: the sizes are IDR's, the weights and rates are recalled or ours."""

        shared_size: Annotated[int, Field(ge=1)] = 128
        """Length of the embedding: rows of W and of each P."""
        orthogonality_weight: Annotated[float, Field(ge=0)] = 1.0
        """lambda_1: weight of |W P^T|_F^2 of each camera."""
        wasserstein_weight: Annotated[float, Field(ge=0)] = 0.01
        """lambda_2: weight of the distance between the cameras."""
        low_rank_weight: Annotated[float, Field(ge=0)] = 1e-3
        """lambda_3: weight of the nuclear norm of the last layer."""
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
        """One step of all four losses; with `alternate` the network sees the last layer's new weights.

        Means and deviations are those of the part of the batch that this process holds; see the method's page.

        Args:
            batch: `target` and `source`: faces (B, 3, crop.height, crop.width) of the two cameras, with
                `target_identity` and `source_identity`.

        Returns:
            `cross_entropy`, `orthogonality`, `wasserstein`, `low_rank` and `total`.

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
        shared, whole = self.projections(features, is_source)
        kept = functional.dropout(whole, self.config.dropout, self.training)
        target, source = shared.chunk(2)
        return {
            "cross_entropy": functional.cross_entropy(self.head(kept, identities), identities),
            "orthogonality": apart(self.projections),
            "wasserstein": wasserstein(source, target),
            "low_rank": nuclear_norm(torch.cat(list(self.projections.parameters()))),
        }

    def _total(self, losses: dict[str, Tensor]) -> Tensor:
        config = self.config
        return (
            losses["cross_entropy"]
            + config.orthogonality_weight * losses["orthogonality"]
            + config.wasserstein_weight * losses["wasserstein"]
            + config.low_rank_weight * losses["low_rank"]
        )


def wasserstein(source: Tensor, target: Tensor) -> Tensor:
    """1/2 (|mu_N - mu_V|^2 + |sigma_N - sigma_V|^2): half the squared 2-Wasserstein distance of two Gaussians.

    Recalled of Wasserstein CNN (He et al. 2019): the Gaussians have diagonal covariances, and the mean mu and the
    deviation sigma of features (B, K) and (C, K), over their B and C rows.
    """
    means = source.mean(0) - target.mean(0)
    deviations = _deviation(source) - _deviation(target)
    return (means.square().sum() + deviations.square().sum()) / 2


def nuclear_norm(matrix: Tensor) -> Tensor:
    """|M|_* = tr((M^T M)^(1/2)): the sum of the singular values of M, small where its rank is low."""
    total: Tensor = torch.linalg.svdvals(matrix).sum()
    return total


def _deviation(features: Tensor) -> Tensor:
    return (features.var(0, correction=0) + SMALLEST_VARIANCE).sqrt()
