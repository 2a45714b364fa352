"""SR_LRFR: identity-preserved face hallucination (Lai, He and Lam, ICIP 2019), an EDSR trained with an identity loss.

One fully convolutional generator enlarges aligned faces four times at three scales at once; a frozen recogniser
pulls the enlarged face towards the embedding of the sharp one. docs/methods/edsr_identity.md lists what is the paper's,
what is the authors' code and what is ours.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from facebridge.crops import Crop
from facebridge.images import resize
from facebridge.method import Batch, Frozen, HallucinationMethod
from facebridge.recogniser import Recogniser
from facebridge.streamline import channels_last
from facebridge.weights import Layout, dimension, each

RESIDUAL_SCALE = 0.1
"""Factor of every residual branch; EDSR (Lim et al. 2017), section 3.3, and the released SR_LRFR code."""

ENLARGEMENT = 4
"""How many times the generator enlarges."""


class EdsrIdentity(HallucinationMethod["EdsrIdentity.Config"]):
    """Enlarge low-resolution faces four times and keep who they are."""

    class Config(Frozen):
        """Defaults: the released code of SR_LRFR."""

        num_blocks: Annotated[int, Field(ge=1)] = 32
        """Residual blocks of the generator."""
        num_filters: Annotated[int, Field(ge=1)] = 256
        """Channels of every inner convolution."""
        identity_weight: Annotated[float, Field(ge=0)] = 0.5
        """lambda: weight of the identity loss against the pixel loss; 0 trains without a recogniser."""
        reductions: Annotated[tuple[Annotated[int, Field(ge=ENLARGEMENT)], ...], Field(min_length=1)] = (4, 8, 16)
        """How many times the source is smaller than the crop, multiples of four; one is drawn for every batch."""
        learning_rate: Annotated[float, Field(gt=0)] = 1e-4
        """Step size of Adam at the start."""
        halve_every_steps: Annotated[int, Field(ge=1)] = 25_000
        """Steps after which the step size is halved, again and again."""

    def __init__(self, config: Config, crop: Crop, recogniser: Recogniser | None = None) -> None:
        super().__init__(config, crop, recogniser)
        for reduction in config.reductions:
            if reduction % ENLARGEMENT or crop.height % reduction or crop.width % reduction:
                raise ValueError(
                    f"a crop of {crop.height}x{crop.width} px cannot be reduced {reduction} times: choose "
                    f"'reductions' that divide both sides and are multiples of {ENLARGEMENT}"
                )
        self.generator = channels_last(Edsr(num_blocks=config.num_blocks, num_filters=config.num_filters))
        adam = torch.optim.Adam(self.generator.parameters(), lr=config.learning_rate, fused=True)
        self.optimisers = {"generator": adam}
        self.schedules = {"generator": torch.optim.lr_scheduler.StepLR(adam, config.halve_every_steps, gamma=0.5)}

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """One step of L1 + lambda (1 - cos), at one scale drawn for the whole batch.

        Args:
            batch: `target`: sharp faces (B, 3, crop.height, crop.width); `shared_seed`: decides the scale.

        Returns:
            `pixel`, `identity` (where lambda is not 0) and `total`.
        """
        sharp = batch["target"]
        draw = torch.Generator().manual_seed(int(batch["shared_seed"]))
        reduction = self.config.reductions[int(torch.randint(len(self.config.reductions), (), generator=draw))]
        source, target = self._reduced(sharp, reduction), self._reduced(sharp, reduction // ENLARGEMENT)
        generated = self.generator(_signed(source))
        losses = {"pixel": functional.l1_loss(generated, _signed(target))}
        total = losses["pixel"]
        if self.config.identity_weight > 0:
            losses["identity"] = self._identity_loss(_unsigned(generated), sharp)
            total = total + self.config.identity_weight * losses["identity"]
        self.optimisers["generator"].zero_grad(set_to_none=True)
        self.backward(total)
        self.optimisers["generator"].step()
        self.schedules["generator"].step()
        return {name: loss.detach() for name, loss in {**losses, "total": total}.items()}

    @torch.no_grad()
    def generate(self, faces: Tensor) -> Tensor:
        """Enlarge four times: (B, 3, h, w) -> (B, 3, 4 h, 4 w), both in [0, 1], any h and w."""
        return _unsigned(self.generator(_signed(faces))).clamp(0, 1)

    def source_sizes(self) -> list[tuple[int, int]]:
        """The crop, reduced as in training."""
        return [(self.crop.height // reduction, self.crop.width // reduction) for reduction in self.config.reductions]

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        """For every scale the source, its bicubic enlargement and the generated face; then the sharp face."""
        sharp = batch["target"]
        columns = {}
        for reduction in sorted(self.config.reductions, reverse=True):
            source = self._reduced(sharp, reduction).clamp(0, 1)
            size = f"{source.shape[-2]}x{source.shape[-1]}"
            columns[f"{size} source"] = source
            enlarged = resize(source, source.shape[-2] * ENLARGEMENT, source.shape[-1] * ENLARGEMENT)
            columns[f"{size} bicubic"] = enlarged.clamp(0, 1)
            columns[f"{size} generated"] = self.generate(source)
        return {**columns, "target": sharp}

    def _identity_loss(self, generated: Tensor, sharp: Tensor) -> Tensor:
        """Mean of 1 - cos between the embeddings of the enlarged generated face and of the sharp face."""
        assert self.recogniser is not None, "built without a recogniser: generation only"
        enlarged = resize(generated, self.crop.height, self.crop.width, kernel="bilinear")
        with torch.no_grad():
            wanted = self.recogniser.embed(sharp, self.crop)
        return (1 - functional.cosine_similarity(self.recogniser.embed(enlarged, self.crop), wanted)).mean()

    def _reduced(self, faces: Tensor, reduction: int) -> Tensor:
        """Bicubic without anti-aliasing, as the released code does by OpenCV: it aliases, and the tests do too."""
        return resize(faces, self.crop.height // reduction, self.crop.width // reduction) if reduction > 1 else faces


class Edsr(nn.Module):
    """EDSR (Lim et al. 2017) as SR_LRFR has it: no mean shift, a tanh at the end.

    Takes pictures (B, 3, h, w) in [-1, 1], gives (B, 3, scale h, scale w) in [-1, 1].

    Args:
        scale: enlargement, a power of two.
        num_blocks: residual blocks.
        num_filters: channels of every inner convolution.

    Raises:
        ValueError: if `scale` is not a power of two.
    """

    def __init__(self, scale: int = ENLARGEMENT, num_blocks: int = 32, num_filters: int = 256) -> None:
        super().__init__()
        if scale < 1 or scale & (scale - 1):
            raise ValueError(f"an EDSR enlarges by a power of two, not by {scale}")
        self.head = nn.Conv2d(3, num_filters, 3, padding=1)
        self.blocks = nn.Sequential(*(ResidualBlock(num_filters) for _ in range(num_blocks)))
        self.body_end = nn.Conv2d(num_filters, num_filters, 3, padding=1)
        self.enlarge = nn.Sequential(*(Doubling(num_filters) for _ in range(scale.bit_length() - 1)))
        self.tail = nn.Conv2d(num_filters, 3, 3, padding=1)

    def forward(self, pictures: Tensor) -> Tensor:
        head = self.head(pictures)
        features = head + self.body_end(self.blocks(head))
        enlarged: Tensor = self.tail(self.enlarge(features))
        return torch.tanh(enlarged)


class ResidualBlock(nn.Module):
    """Two convolutions with a ReLU between them, scaled and added; no normalisation."""

    def __init__(self, num_filters: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(num_filters, num_filters, 3, padding=1)
        self.second = nn.Conv2d(num_filters, num_filters, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        change: Tensor = self.second(functional.relu(self.first(features)))
        return features + RESIDUAL_SCALE * change


class Doubling(nn.Module):
    """Sub-pixel convolution (Shi et al. 2016): twice the height and the width."""

    def __init__(self, num_filters: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(num_filters, 4 * num_filters, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        return functional.pixel_shuffle(self.conv(features), 2)


def _signed(faces: Tensor) -> Tensor:
    return faces * 2 - 1


def _unsigned(pictures: Tensor) -> Tensor:
    return (pictures + 1) / 2


def _published(name: str) -> str:
    for ours, theirs in _PUBLISHED:
        name = re.sub(ours, theirs, name)
    return name


_PUBLISHED = (
    (r"^head\.", "conv1."),
    (r"^blocks\.(\d+)\.first\.", r"res_blocks.\1.residual.0."),
    (r"^blocks\.(\d+)\.second\.", r"res_blocks.\1.residual.2."),
    (r"^body_end\.", "conv2."),
    (r"^enlarge\.", "upsampler."),
    (r"^tail\.", "conv3."),
)


def _sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    doublings = {name.split(".")[1] for name in state if re.match(r"upsampler\.\d+\.conv\.", name)}
    blocks = {name.split(".")[1] for name in state if re.match(r"res_blocks\.\d+\.residual\.", name)}
    num_filters = dimension(state, "conv1.weight", 0, dimension(state, "conv1.bias", 0, 256))
    return {"scale": 2 ** len(doublings), "num_blocks": len(blocks), "num_filters": num_filters}


LAYOUTS = (Layout(name="edsr", build=Edsr, published=each(_published), sizes=_sizes),)
