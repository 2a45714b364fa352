"""ADFL, feature half (Song, Zhang, Wu and He, AAAI 2018): features that do not tell which camera took a face.

A discriminator learns to tell the cameras apart by the features, the network learns to mislead it and to spread both
cameras' features alike. The other half of ADFL, which hallucinates faces, is `adfl`.
docs/methods/adfl_features.md lists what is published, what is recalled and what is ours.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from facebridge.crops import Crop
from facebridge.descent import Descent
from facebridge.heads import HeadSettings, SoftmaxSettings
from facebridge.losses import both_cameras
from facebridge.method import Batch
from facebridge.recogniser import Recogniser
from facebridge.recognition import RecognitionConfig, TrainedRecogniser, descend

Objective = Literal["least_squares", "cross_entropy"]
"""How a score and what it should be are compared: (s - wanted)^2 / 2, or binary cross entropy of sigmoid(s)."""

SLOPE = 0.2
"""Of the discriminator's leaky ReLU below 0."""


class AdflFeatures(TrainedRecogniser["AdflFeatures.Config"]):
    """A recogniser whose features of both cameras look alike to a discriminator, and vary alike."""

    class Config(RecognitionConfig):
        """Defaults: recalled or ours."""

        adversarial_weight: Annotated[float, Field(ge=0)] = 0.1
        """Weight of misleading the discriminator."""
        variance_weight: Annotated[float, Field(ge=0)] = 0.1
        """Weight of the variance discrepancy."""
        objective: Objective = "least_squares"
        """How the discriminator's scores are judged."""
        hidden_size: Annotated[int, Field(ge=1)] = 128
        """Hidden units of the discriminator."""
        head: HeadSettings = SoftmaxSettings()
        """The classifier."""
        descent: Descent = Descent(learning_rate=1e-4)
        """How the weights of network and classifier descend."""
        discriminator_descent: Descent = Descent(kind="adam", learning_rate=1e-4, momentum=0.5, weight_decay=0)
        """How the weights of the discriminator descend."""

    def __init__(self, config: Config, crop: Crop, recogniser: Recogniser | None = None) -> None:
        super().__init__(config, crop, recogniser)
        self.head = config.head.build(self.embedding_size, self.num_identities)
        self.discriminator = CameraDiscriminator(self.embedding_size, config.hidden_size)
        descents = {"recogniser": config.descent, "discriminator": config.discriminator_descent}
        modules: dict[str, dict[str, nn.Module]] = {
            "recogniser": {"network": self.network, "head": self.head},
            "discriminator": {"discriminator": self.discriminator},
        }
        self.optimisers = {name: descent.optimiser(modules[name]) for name, descent in descents.items()}
        self.schedules = {name: descent.schedule_of(self.optimisers[name]) for name, descent in descents.items()}

    @classmethod
    def settled(cls, config: Config, *, steps: int, num_identities: Callable[[], int]) -> Config:
        known = super().settled(config, steps=steps, num_identities=num_identities)
        return known.model_copy(update={"discriminator_descent": config.discriminator_descent.settled(steps)})

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """One step of the discriminator, then one of network and classifier.

        Variances are those of the part of the batch that this process holds; see the method's page.

        Args:
            batch: `target` and `source`: faces (B, 3, crop.height, crop.width) of the two cameras, with
                `target_identity` and `source_identity`.

        Returns:
            `discriminator`; `cross_entropy`, `adversarial`, `variance` and their `total`.

        Raises:
            ValueError: if the batch has no sources.
        """
        faces, identities, is_source = both_cameras(batch)
        features = self.features(faces)
        told = camera_loss(self.discriminator(even(features.detach())), ~is_source, self.config.objective)
        descend(self, told, {}, "discriminator")
        losses = self._losses(features, identities, is_source)
        total = (
            losses["cross_entropy"]
            + self.config.adversarial_weight * losses["adversarial"]
            + self.config.variance_weight * losses["variance"]
        )
        return {"discriminator": told.detach(), **descend(self, total, losses)}

    def _losses(self, features: Tensor, identities: Tensor, is_source: Tensor) -> dict[str, Tensor]:
        kept = functional.dropout(features, self.config.dropout, self.training)
        target, source = even(features).chunk(2)
        scores = self.discriminator(source)
        return {
            "cross_entropy": functional.cross_entropy(self.head(kept, identities), identities),
            "adversarial": camera_loss(scores, torch.ones_like(scores, dtype=torch.bool), self.config.objective),
            "variance": variance_discrepancy(source, target),
        }


class CameraDiscriminator(nn.Module):
    """Features (B, D) -> scores (B,): high for the target camera, low for the source camera."""

    def __init__(self, embedding_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(embedding_size, hidden_size)
        self.score = nn.Linear(hidden_size, 1)

    def forward(self, features: Tensor) -> Tensor:
        scores: Tensor = self.score(functional.leaky_relu(self.hidden(features), SLOPE))
        return scores.flatten()


def camera_loss(scores: Tensor, is_target: Tensor, objective: Objective) -> Tensor:
    """How far scores (B,) are from telling targets (1) and sources (0) apart, as is_target (B,) bool has them.

    least_squares: mean of (s - c)^2 / 2 (Mao et al. 2017); cross_entropy: mean of -log of the probability that
    sigmoid(s) gives to c. The discriminator descends it with the true cameras, the network with "target" for sources.
    """
    wanted = is_target.to(scores.dtype)
    if objective == "least_squares":
        return (scores - wanted).square().mean() / 2
    return functional.binary_cross_entropy_with_logits(scores, wanted)


def even(features: Tensor) -> Tensor:
    """Features (B, D) of length D^(1/2): recognition compares directions alone, and a component is then about 1."""
    size: float = features.shape[1] ** 0.5
    return functional.normalize(features) * size


def variance_discrepancy(source: Tensor, target: Tensor) -> Tensor:
    """|var(F_N) - var(F_V)|^2 of features (B, D) and (C, D): variances over the B and C rows, squares summed over D.

    Recalled of ADFL (Song et al. 2018).
    """
    difference = source.var(0, correction=0) - target.var(0, correction=0)
    return difference.square().sum()
