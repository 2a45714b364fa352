"""The contract of a method: one published system, its networks, its losses, its training step.

A method is plain PyTorch. It knows no file, no device flag, no logger and no command line; the loop
(`facebridge.training`) knows no method. What the two share is the class `Method`. Most are of one of three kinds: a
`HallucinationMethod` makes faces from faces, a `SamplingMethod` makes faces of new people from noise, a
`RecognitionMethod` makes embeddings of faces.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Generic, Literal, Protocol, TypeVar, runtime_checkable

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from facebridge.crops import Crop
from facebridge.recogniser import Mirror, Recogniser

Batch = dict[str, Tensor]
"""`target`: faces (B, 3, H, W); where identities are known also `target_identity` (and `source_identity`): int64 (B,).
Where the data is paired also `source`: faces (B, 3, H, W), or (B, k, 3, H, W) where k pictures of one person are asked
for (`several`; `target` is then a further one); where generated faces are mixed in also `is_generated`: bool (B,).
Where the method wants points also `target_points` and, where paired, `source_points`: 68 landmarks (B, 68, 2) float32
(x, y) in pixels of the faces, those of mirrored faces mirrored and in iBUG order again ((B, k, 68, 2) for k sources).
Where it wants the five points also `target_points5` and `source_points5`: (B, 5, 2), or (B, k, 5, 2), likewise.
Where it wants the faces' yaw also `target_yaw_deg` and `source_yaw_deg`: float32 (B,), or (B, k), in degrees, positive
where the nose points to the right of the picture, of the other sign in mirrored faces.
Where the method wants the faces parsed also `target_parsing`: uint8 (B, H, W), a `facebridge.parts.Part` for each
pixel, right and left changed places in mirrored faces.
In training `shared_seed`: one int64, the same in every process of a step, for draws that concern the whole batch; other
draws come from torch's own generator, seeded for each step."""


class Frozen(BaseModel):
    """Settings: read-only, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Settings = TypeVar("Settings", bound=Frozen)


class Memory(Protocol):
    """What a method remembers from step to step that is neither weight nor optimiser; checkpoints hold it."""

    def state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None: ...


class Method(nn.Module, ABC, Generic[Settings]):
    """One published method: its networks, its losses, its training step.

    Trainable networks are plain module attributes: they are what weights and checkpoints hold. A frozen recogniser
    is kept outside the module tree, so that no optimiser, checkpoint or gradient exchange ever sees it.

    Args:
        config: the method's settings; the defaults are the paper's.
        crop: how the faces are aligned, in both directions.
        recogniser: the frozen recogniser of the identity losses, or the one that training starts from; not needed
            where a trained method is used.
    """

    Config: type[Settings]
    """A nested frozen model: the settings, each with its meaning, unit and source."""

    def __init__(self, config: Settings, crop: Crop, recogniser: Recogniser | None = None) -> None:
        super().__init__()
        self.config = config
        self.crop = crop
        self.optimisers: dict[str, torch.optim.Optimizer] = {}
        self.schedules: dict[str, LRScheduler] = {}
        self.memories: dict[str, Memory] = {}
        object.__setattr__(self, "recogniser", recogniser)

    recogniser: Recogniser | None

    @property
    def wants_points(self) -> bool:
        """Whether batches must hold the faces' 68 landmarks."""
        return False

    @property
    def wants_five_points(self) -> bool:
        """Whether batches must hold the faces' five points."""
        return False

    @property
    def wants_yaw(self) -> bool:
        """Whether batches must say how far each head is turned to a side."""
        return False

    @property
    def wants_parsing(self) -> bool:
        """Whether batches must say of each pixel which part of the face it shows."""
        return False

    def begin(self, first_batch: Callable[[], Batch]) -> str | None:
        """Called once before the first step of a training, but not where it goes on from a checkpoint.

        Args:
            first_batch: makes the first batch, where a method wants to see it; what is changed in the networks, every
                process gets.

        Returns:
            What there is to say about how the training begins, for the run's journal.
        """
        return None

    @abstractmethod
    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """Update every network once.

        Args:
            batch: see `Batch`.

        Returns:
            The losses by their names in the paper: detached scalars, kept on the device.
        """

    @classmethod
    def settled(cls, config: Settings, *, steps: int, num_identities: Callable[[], int]) -> Settings:
        """The settings with what the training at hand decides filled in, before the method is built.

        Args:
            config: the settings of the recipe.
            steps: training steps in all.
            num_identities: how many people the training faces show; counted when asked.
        """
        return config

    @classmethod
    def starts_from_recogniser(cls, config: Settings) -> bool:
        """Whether layers of the recogniser are trained on: it then comes as it was trained, not reworked for speed."""
        return False

    @classmethod
    def wants_mirrored_together(cls, config: Settings) -> bool:
        """Whether a source and its target must be mirrored together or not at all, as where sides are compared."""
        return False

    @classmethod
    def given_networks(cls, config: Settings) -> tuple[str, ...]:
        """Names of the networks that must come trained from another run."""
        return ()

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        """Faces to look at during training, by column title: each (B, 3, h, w) in [0, 1]; none: no sheet is written."""
        return {}

    def backward(self, loss: Tensor) -> None:
        """Accumulate gradients. The loop replaces this where precision or several processes ask for it."""
        loss.backward()  # type: ignore[no-untyped-call]

    def _apply(self, fn, recurse: bool = True):  # type: ignore[no-untyped-def]
        """Move the recogniser along with the networks."""
        if self.recogniser is not None:
            self.recogniser._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]


class HallucinationMethod(Method[Settings]):
    """A method that makes target faces from source faces."""

    @abstractmethod
    def generate(self, faces: Tensor) -> Tensor:
        """Hallucinate target faces from source faces; both (B, 3, H, W) float32 RGB in [0, 1]."""

    @abstractmethod
    def preview(self, batch: Batch) -> dict[str, Tensor]:
        """As `Method.preview`: source, generated and target faces."""

    def source_sizes(self) -> list[tuple[int, int]]:
        """The sizes (height, width) in px of the aligned faces that the method was trained to take."""
        return [(self.crop.height, self.crop.width)]


@runtime_checkable
class TakesPoints(Protocol):
    """A hallucination method that looks for the parts of a face where its five points lie."""

    def generate_at(self, faces: Tensor, points: Tensor) -> Tensor:
        """As `generate`, which takes the points to lie where the crop has them.

        Args:
            faces: (B, 3, H, W) float32 RGB in [0, 1].
            points: (B, 5, 2) (x, y) in pixels of the faces.
        """
        ...


@runtime_checkable
class TurnsHeads(Protocol):
    """A hallucination method that shows a face as seen from any side it was trained for; `generate` gives the front."""

    def turned(self, faces: Tensor, yaw_deg: Sequence[float]) -> Tensor:
        """The faces turned to each of several yaws.

        Args:
            faces: (B, 3, H, W) float32 RGB in [0, 1].
            yaw_deg: degrees, positive where the nose points to the right of the picture.

        Returns:
            (B, len(yaw_deg), 3, crop.height, crop.width) in [0, 1].

        Raises:
            ValueError: if a yaw is out of the range of the training.
        """
        ...

    def poses_deg(self) -> tuple[float, ...]:
        """The yaws that it was trained for, rising."""
        ...


@runtime_checkable
class MakesFronts(Protocol):
    """A hallucination method that turns no heads at will, but makes every face look to the front."""

    makes_fronts: Literal[True]


class SamplingMethod(Method[Settings]):
    """A method that makes people who do not exist, each as two or more cameras see them."""

    @property
    @abstractmethod
    def noise_size(self) -> int:
        """How many numbers, drawn from N(0, 1), decide a person's faces."""

    @abstractmethod
    def pairs(self, noise: Tensor) -> dict[str, Tensor]:
        """Faces of people by domain, all of one person in the same place.

        Args:
            noise: (B, noise_size) float32 from N(0, 1).

        Returns:
            By domain (B, 3, crop.height, crop.width) float32 RGB in [0, 1], decided by the noise alone.
        """

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Faces of new people by domain, each (count, 3, crop.height, crop.width) in [0, 1].

        Args:
            count: how many people.
            generator: draws the noise, on the CPU; None: torch's own.
        """
        noise = torch.randn(count, self.noise_size, generator=generator)
        return self.pairs(noise.to(next(self.parameters()).device))

    def streamline(self, dtype: torch.dtype) -> None:
        """Rework the networks for sampling alone, for good: weights in this type, and whatever makes them quicker.

        `pairs` takes and gives float32 as before; in bfloat16 its faces differ by the rounding.
        """
        self.to(dtype)


@runtime_checkable
class TrainsRecogniser(Protocol):
    """A method of any kind that trains a recogniser."""

    def as_recogniser(self) -> Recogniser:
        """The recogniser as it is now. ValueError: if the method's settings let it train none."""
        ...


class RecognitionMethod(Method[Settings]):
    """A method that trains a recogniser."""

    @classmethod
    def starts_from_recogniser(cls, config: Settings) -> bool:
        return True

    @abstractmethod
    def as_recogniser(self) -> Recogniser:
        """The recogniser as it is now: a frozen copy, in evaluation mode."""

    def embed(self, faces: Tensor, mirror: Mirror = "none") -> Tensor:
        """Embeddings (B, D) of unit length of faces (B, 3, H, W) in [0, 1], aligned to `crop`."""
        return self.as_recogniser().embed(faces, self.crop, mirror)
