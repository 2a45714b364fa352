"""A recogniser that learns from real people and from generated pairs: DVG (NeurIPS 2019) and DVG-Face (TPAMI 2021).

Few people are known in both cameras, so pairs of people who do not exist are generated. Real pictures are classified;
of a generated pair no more is known than that both faces are one person's, and that alone is learned from it.
docs/methods/low_shot_recogniser.md lists what is published and what is ours.
"""

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from facebridge.crops import Crop
from facebridge.descent import Descent
from facebridge.heads import HeadSettings, SoftmaxSettings
from facebridge.losses import both_cameras
from facebridge.method import Batch, Frozen
from facebridge.recogniser import Recogniser
from facebridge.recognition import RecognitionConfig, TrainedRecogniser, descend

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class MeanMatching(Frozen):
    """DVG: both cameras have the same mean feature, over the real and over the generated pairs of a batch."""

    kind: Literal["mean_matching"] = "mean_matching"
    weight: Weight = 0.001
    """Weight of each of the two terms."""
    real: bool = True
    """Whether the means of the real pairs are matched."""
    generated: bool = True
    """Whether the means of the generated pairs are matched."""
    unit_length: bool = False
    """Whether features are brought to length 1 before the means are taken; DVG's code takes them as they are."""

    def losses(self, source: Tensor, target: Tensor, identities: Tensor, made: Tensor | None) -> dict[str, Tensor]:
        """`real_means` and `generated_means`; see `PairLoss`."""
        losses, is_real = {}, slice(None) if made is None else ~made
        if self.real:
            losses["real_means"] = mean_difference(source[is_real], target[is_real], self.unit_length)
        if self.generated and made is not None:
            losses["generated_means"] = mean_difference(source[made], target[made], self.unit_length)
        return losses

    def weights(self) -> dict[str, float]:
        """By the names of the losses."""
        return {"real_means": self.weight, "generated_means": self.weight}


class PullAndPush(Frozen):
    """DVG-Face: the two faces of a generated pair come together, those of different generated people part."""

    kind: Literal["pull_and_push"] = "pull_and_push"
    weight: Weight = 0.001
    """Weight of both terms."""
    push_weight: Weight = 0.1
    """Weight of the push beside the pull."""
    margin: Annotated[float, Field(ge=-1, lt=1)] = 0.5
    """Cosine up to which different people cost nothing."""

    def losses(self, source: Tensor, target: Tensor, identities: Tensor, made: Tensor | None) -> dict[str, Tensor]:
        """`pull` and `push`; see `PairLoss`."""
        if made is None:
            return {}
        pairs = source[made], target[made]
        return {"pull": pull(*pairs), "push": push(*pairs, identities[made], self.margin)}

    def weights(self) -> dict[str, float]:
        """By the names of the losses."""
        return {"pull": self.weight, "push": self.weight * self.push_weight}


PairLoss = Annotated[MeanMatching | PullAndPush, Field(discriminator="kind")]
"""What is learned from pairs, of raw features (B, D) of both cameras, their identities (B,), and which pairs are
generated (B,) bool; None: the data has no generated faces, and the terms on them are absent."""


class LowShotRecogniser(TrainedRecogniser["LowShotRecogniser.Config"]):
    """A recogniser that classifies real people and brings generated pairs together."""

    classifies_generated: ClassVar[bool] = False
    """Generated people are no classes: `facebridge.data.faces.faces_of` does not count them."""

    class Config(RecognitionConfig):
        """Defaults: DVG's released code."""

        network: str = "light_cnn_29v2"
        """Published layout of the network; see docs/recognisers."""
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
        """Share of the features that are put to 0 before the classifier in training."""
        head: HeadSettings = SoftmaxSettings(bias=False)
        """The classifier of the real people."""
        pair_loss: PairLoss = MeanMatching()
        """What is learned from pairs beside the classes."""
        classifier_first_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
        """Factor on the learning rate in the steps in which the classifier learns alone (DVG: 10); the schedule of the
        descent begins when they are over."""
        descent: Descent = Descent(learning_rate=1e-3)
        """How the weights descend."""

        def rate(self, step: int) -> float:
            """The rate after this many steps, as a part of the first rate of the descent."""
            if step < self.classifier_first_steps:
                return self.classifier_first_rate
            return self.descent.schedule.rate(step - self.classifier_first_steps)

    def __init__(self, config: Config, crop: Crop, recogniser: Recogniser | None = None) -> None:
        super().__init__(config, crop, recogniser)
        self.head = config.head.build(self.embedding_size, self.num_identities)
        optimiser = config.descent.optimiser({"network": self.network, "head": self.head})
        self.optimisers = {"recogniser": optimiser}
        # A bound method, not a callable object: torch would keep the object's settings in the schedule's state.
        self.schedules = {"recogniser": LambdaLR(optimiser, config.rate)}

    @classmethod
    def settled(cls, config: Config, *, steps: int, num_identities: Callable[[], int]) -> Config:
        known = super().settled(config, steps=steps, num_identities=num_identities)
        left = max(steps - config.classifier_first_steps, 1)
        return known.model_copy(update={"descent": config.descent.settled(left)})

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """One step of cross entropy on the real faces and of the pair loss; in the first steps of cross entropy alone.

        Args:
            batch: `target` and `source`: faces (B, 3, crop.height, crop.width) of the two cameras, with
                `target_identity` and `source_identity`; `is_generated` (B,), absent: all are real.

        Returns:
            `cross_entropy`, the terms of the pair loss and `total`. In the first steps the terms are absent; so are
            those on generated pairs where the data has none.

        Raises:
            ValueError: if the batch has no sources, or no real faces.
        """
        if "is_generated" in batch and batch["is_generated"].all():
            raise ValueError(
                "a process has a batch without a real face, and nobody to classify: raise training.batch_size, or "
                "lower data.generated.share"
            )
        stage_left = self.config.classifier_first_steps - self.schedules["recogniser"].last_epoch
        if stage_left == 0:
            self.optimisers["recogniser"].state.clear()  # each stage of the released code has an optimiser of its own
        if stage_left > 0:
            batch = real_part(batch)
            faces, identities, _ = both_cameras(batch)
            loss = self._cross_entropy(self.features(faces), identities)
            return descend(self, loss, {"cross_entropy": loss})
        faces, identities, _ = both_cameras(batch)
        features = self.features(faces)
        made = batch.get("is_generated")
        is_real = slice(None) if made is None else ~made.repeat(2)
        losses = {"cross_entropy": self._cross_entropy(features[is_real], identities[is_real])}
        target, source = features.chunk(2)
        losses |= self.config.pair_loss.losses(source, target, batch["target_identity"], made)
        weights = {"cross_entropy": 1.0, **self.config.pair_loss.weights()}
        return descend(self, torch.stack([weights[name] * loss for name, loss in losses.items()]).sum(), losses)

    def _cross_entropy(self, features: Tensor, identities: Tensor) -> Tensor:
        kept = functional.dropout(features, self.config.dropout, self.training)
        return functional.cross_entropy(self.head(kept, identities), identities)


def real_part(batch: Batch) -> Batch:
    """The batch without its generated faces."""
    if "is_generated" not in batch:
        return batch
    is_real = ~batch["is_generated"]
    return {name: value[is_real] if value.ndim else value for name, value in batch.items()}


def mean_difference(source: Tensor, target: Tensor, unit_length: bool = False) -> Tensor:
    """mean over D of (mean over B of f_N - mean over B of f_V)^2 of features (B, D); 0 where there is no row.

    As in DVG's released code (Fu et al. 2019), where it is called MMD; computed in float32 under autocast too.
    """
    if not len(source):
        return source.float().sum()
    source, target = source.float(), target.float()
    if unit_length:
        source, target = functional.normalize(source), functional.normalize(target)
    return (source.mean(0) - target.mean(0)).square().mean()


def pull(source: Tensor, target: Tensor) -> Tensor:
    """mean of 1 - cos(f_N, f_V) over the rows of features (B, D); 0 where there is none. DVG-Face (Fu et al. 2021)."""
    if not len(source):
        return source.float().sum()
    return 1 - functional.cosine_similarity(source.float(), target.float()).mean()


def push(source: Tensor, target: Tensor, identities: Tensor, margin: float) -> Tensor:
    """mean of relu(cos(f_N, f_V of the row before) - margin) over the rows of features (B, D); 0 where there is none.

    DVG-Face (Fu et al. 2021), with a cyclic shift for its random derangement: no row ever meets itself. A row whose
    neighbour is of the same person costs nothing.

    Args:
        source, target: features (B, D) of the two cameras, of any length.
        identities: (B,) int64.
        margin: cosine up to which different people cost nothing.
    """
    if not len(source):
        return source.float().sum()
    cosines = functional.cosine_similarity(source.float(), target.float().roll(1, 0))
    return (functional.relu(cosines - margin) * (identities != identities.roll(1))).mean()
