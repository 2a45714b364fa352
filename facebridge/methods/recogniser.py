"""A recogniser trained to tell people apart: softmax, A-Softmax (2017), CosFace (2018) or ArcFace (2019) on faces.

Light CNN, SphereFace and MobileFaceNet are all trained so; what differs is the network, the head, the rates and the
recipe. docs/methods/recogniser.md lists what is each paper's, what is the authors' code and what is ours.
"""

from torch import Tensor
from torch.nn import functional

from facebridge.crops import Crop
from facebridge.heads import HeadSettings, SoftmaxSettings
from facebridge.method import Batch
from facebridge.recogniser import Recogniser
from facebridge.recognition import RecognitionConfig, TrainedRecogniser, both, descend


class RecogniserTraining(TrainedRecogniser["RecogniserTraining.Config"]):
    """A network and a classifier of the people in the training faces; the network is kept."""

    class Config(RecognitionConfig):
        """Defaults: Light CNN-9 with softmax."""

        head: HeadSettings = SoftmaxSettings()
        """The classifier, with or without a margin."""

    def __init__(self, config: Config, crop: Crop, recogniser: Recogniser | None = None) -> None:
        super().__init__(config, crop, recogniser)
        self.head = config.head.build(self.embedding_size, self.num_identities)
        descent = config.descent
        self.optimisers = {"recogniser": descent.optimiser({"network": self.network, "head": self.head})}
        self.schedules = {"recogniser": descent.schedule_of(self.optimisers["recogniser"])}

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """One step of cross entropy.

        Args:
            batch: `target`: faces (B, 3, crop.height, crop.width), with `target_identity`; where the data is paired
                also `source`, with `source_identity`: both are learned from alike (plain fine-tuning on two cameras).

        Returns:
            `cross_entropy` (and `total`, the same).
        """
        faces, identities = both(batch)
        features = functional.dropout(self.features(faces), self.config.dropout, self.training)
        loss = functional.cross_entropy(self.head(features, identities), identities)
        return descend(self, loss, {"cross_entropy": loss})
