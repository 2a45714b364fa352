"""Landmarks and parts of faces, for judging hallucinated ones: a small encoder-decoder trained on sharp faces.

It follows U-Net (Ronneberger, Fischer and Brox, MICCAI 2015) with connections that are added, as in LinkNet
(Chaurasia and Culurciello, VCIP 2017), and reads coordinates off heat maps as their expected place (Sun et al.,
"Integral Human Pose Regression", ECCV 2018). docs/methods/face_priors.md lists what is whose.
"""

from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from facebridge.augmentation import Augmentation
from facebridge.crops import Crop
from facebridge.descent import Descent, Linear, NotNegative, descend
from facebridge.method import Batch, Frozen, Method
from facebridge.parts import NUM_PARTS
from facebridge.recogniser import Recogniser
from facebridge.streamline import channels_last

NUM_POINTS = 68
CELL_PX = 4
"""A cell of a heat map covers so many pixels each way."""
MULTIPLE_PX = 16
"""Sides of the crop and the margin must be multiples of this: features are halved four times."""

Width = Annotated[int, Field(ge=1)]


class FacePriors(Method["FacePriors.Config"]):
    """Say where a face's 68 landmarks lie, and which part of the face each pixel shows."""

    class Config(Frozen):
        """Defaults: a network of 0.3 million parameters; all are ours."""

        widths: tuple[Width, Width, Width, Width] = (24, 40, 64, 96)
        """Channels at a half, a quarter, an eighth and a sixteenth of the crop's height."""
        margin_px: Annotated[int, Field(ge=0, multiple_of=MULTIPLE_PX)] = 16
        """How far beyond the crop heat maps reach; a landmark further out is put on their edge."""
        heat_sigma_px: Annotated[float, Field(gt=0)] = 4.0
        """Spread of the Gaussian that a heat map should be."""
        heat_weight: NotNegative = 0.1
        """Weight of the heat maps' loss."""
        points_weight: NotNegative = 0.1
        """Weight of the landmarks' distance, for each pixel of it."""
        parsing_weight: NotNegative = 1.0
        """Weight of the parts' cross entropy."""
        augmentation: Augmentation = Augmentation(
            brightness=0.3,
            contrast=0.3,
            gray=0.2,
            blur=0.2,
            low_resolution=0.4,
            low_resolution_factor=6.0,
            noise=0.03,
        )
        """How training faces are changed; what would move their landmarks is refused."""
        descent: Descent = Descent(
            kind="adam", learning_rate=2e-3, weight_decay=0.0, schedule=Linear(constant_part=0.3)
        )
        """How the weights descend."""

    def __init__(self, config: Config, crop: Crop, recogniser: Recogniser | None = None) -> None:
        super().__init__(config, crop, recogniser)
        if crop.height % MULTIPLE_PX or crop.width % MULTIPLE_PX:
            raise ValueError(
                f"crop {crop.name} is {crop.height}x{crop.width}: face_priors halves it four times, so both sides must "
                f"be multiples of {MULTIPLE_PX}"
            )
        changes = config.augmentation
        if changes.shift_px or changes.rotation_deg or changes.scale:
            raise ValueError(
                "augmentation.shift_px, rotation_deg and scale would move the faces and leave their landmarks: set 0"
            )
        self.augment = changes.build(crop.height, crop.width)
        self.network = channels_last(Priors(config.widths, config.margin_px))
        self.optimisers = {"network": config.descent.optimiser({"network": self.network})}
        self.schedules = {"network": config.descent.schedule_of(self.optimisers["network"])}

    @property
    def wants_points(self) -> bool:
        return True

    @property
    def wants_parsing(self) -> bool:
        return True

    @classmethod
    def settled(cls, config: Config, *, steps: int, num_identities: Callable[[], int]) -> Config:
        return config.model_copy(update={"descent": config.descent.settled(steps)})

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """One step.

        Args:
            batch: `target`: faces (B, 3, crop.height, crop.width), with `target_points` and `target_parsing`.

        Returns:
            `heat` (cross entropy of the heat maps with Gaussians), `points` (mean distance along x and y, px),
            `parsing` (cross entropy) and `total`.
        """
        heat, classes = self.network(self.augment(batch["target"]))
        places = self._centres(heat)
        wanted = self._within(batch["target_points"], *places)
        losses = {
            "heat": self._heat_loss(heat, wanted, *places),
            "points": functional.l1_loss(expected_places(heat, *places), wanted),
            "parsing": functional.cross_entropy(classes.float(), batch["target_parsing"].long()),
        }
        config = self.config
        weights = {"heat": config.heat_weight, "points": config.points_weight, "parsing": config.parsing_weight}
        total = torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()
        descend(self, total, "network")
        return {name: loss.detach() for name, loss in {**losses, "total": total}.items()}

    @torch.no_grad()
    def estimate(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        """Where landmarks and parts of faces lie.

        Args:
            faces: (B, 3, crop.height, crop.width) float32 RGB in [0, 1], aligned to the crop.

        Returns:
            68 landmarks (B, 68, 2) float32 (x, y) px in iBUG's order, and (B, crop.height, crop.width) uint8, a
            `facebridge.parts.Part` for each pixel.

        Raises:
            ValueError: if the faces have another size.
        """
        if faces.shape[1:] != (3, self.crop.height, self.crop.width):
            raise ValueError(
                f"expected faces (B, 3, {self.crop.height}, {self.crop.width}) of the crop {self.crop.name}, got "
                f"{tuple(faces.shape)}"
            )
        training = self.network.training
        self.network.eval()
        heat, classes = self.network(faces)
        self.network.train(training)
        return expected_places(heat, *self._centres(heat)), classes.argmax(1).to(torch.uint8)

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        """Faces, their landmarks as found, their parts as found and as they are."""
        faces = batch["target"]
        points, parsing = self.estimate(faces)
        colours = torch.tensor(COLOURS, device=faces.device) / 255
        shown = {"found": parsing, "true": batch["target_parsing"]}
        return {
            "faces": faces,
            "landmarks found": dotted(faces, points),
            **{f"parts {name}": colours[each.long()].permute(0, 3, 1, 2) for name, each in shown.items()},
        }

    def _centres(self, heat: Tensor) -> tuple[Tensor, Tensor]:
        """Where the columns and rows of heat maps (B, 68, h, w) have their middles, px of the crop: (w,) and (h,)."""
        first = (CELL_PX - 1) / 2 - self.config.margin_px
        down, across = (first + CELL_PX * torch.arange(size, device=heat.device) for size in heat.shape[2:])
        return across, down

    @staticmethod
    def _within(points: Tensor, across: Tensor, down: Tensor) -> Tensor:
        """Landmarks (B, 68, 2), those beyond the heat maps moved to their edge."""
        return torch.stack([points[..., 0].clamp(across[0], across[-1]), points[..., 1].clamp(down[0], down[-1])], -1)

    def _heat_loss(self, heat: Tensor, points: Tensor, across: Tensor, down: Tensor) -> Tensor:
        """Cross entropy between Gaussians about points (B, 68, 2), each of sum 1, and heat maps (B, 68, h, w)."""
        spread = 2 * self.config.heat_sigma_px**2
        columns = (-((points[..., 0, None] - across) ** 2) / spread).softmax(-1)  # (B, 68, w)
        rows = (-((points[..., 1, None] - down) ** 2) / spread).softmax(-1)
        scores = heat.float()
        expected = (scores * (rows[..., None] * columns[..., None, :])).sum((2, 3))
        return (scores.flatten(2).logsumexp(-1) - expected).mean()


class Priors(nn.Module):
    """Faces (B, 3, H, W) in [0, 1] -> heat maps and scores of the parts, both before the softmax.

    Heat maps are (B, 68, (H + 2 margin_px) / 4, (W + 2 margin_px) / 4), scores (B, 11, H, W). H and W are multiples of
    `MULTIPLE_PX`.
    """

    def __init__(self, widths: tuple[int, int, int, int], margin_px: int) -> None:
        super().__init__()
        half, quarter, eighth, sixteenth = widths
        self.margin = margin_px // CELL_PX
        self.at_half = nn.Sequential(nn.PixelUnshuffle(2), block(12, half), block(half, half))
        self.to_quarter = block(half, quarter, stride=2)
        self.at_quarter = block(quarter, quarter)
        self.at_eighth = nn.Sequential(block(quarter, eighth, stride=2), block(eighth, eighth))
        self.at_sixteenth = nn.Sequential(block(eighth, sixteenth, stride=2), block(sixteenth, sixteenth))
        self.up_to_eighth = Up(sixteenth, eighth)
        self.up_to_quarter = Up(eighth, quarter)
        self.up_to_half = Up(quarter, half)
        self.heat = nn.Conv2d(quarter, NUM_POINTS, 1)
        self.parts = nn.Sequential(nn.Conv2d(half, 4 * NUM_PARTS, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        half = self.at_half(faces * 2 - 1)
        margin = self.margin
        # Zeros around the features give landmarks beyond the crop a place; what lies near by tells where.
        quarter = self.at_quarter(functional.pad(self.to_quarter(half), [margin] * 4))
        eighth = self.at_eighth(quarter)
        eighth = self.up_to_eighth(self.at_sixteenth(eighth), eighth)
        quarter = self.up_to_quarter(eighth, quarter)
        height, width = quarter.shape[2:]
        within = quarter[:, :, margin : height - margin, margin : width - margin]
        return self.heat(quarter), self.parts(self.up_to_half(within, half))


class Up(nn.Module):
    """Coarse features at twice their size, added to the fine ones of the way down."""

    def __init__(self, coarse: int, fine: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(coarse, fine, 1)
        self.join = block(fine, fine)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        joined: Tensor = self.join(functional.interpolate(self.narrow(coarse), scale_factor=2.0) + fine)
        return joined


def block(inside: int, outside: int, stride: int = 1) -> nn.Sequential:
    """A 3 x 3 convolution, batch normalisation and ReLU."""
    conv = nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outside), nn.ReLU(inplace=True))


def expected_places(heat: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """The expected place (B, 68, 2) of each heat map (B, 68, h, w), once a softmax makes it a distribution.

    Args:
        across, down: where columns (w,) and rows (h,) have their middles.
    """
    share = heat.float().flatten(2).softmax(-1).reshape(heat.shape)
    # No product of matrices: bf16 would be off by pixels.
    return torch.stack([(share.sum(2) * across).sum(-1), (share.sum(3) * down).sum(-1)], -1)


def dotted(faces: Tensor, points: Tensor) -> Tensor:
    """Faces (B, 3, H, W) with a green pixel at each point (B, N, 2) that lies within them."""
    shown = faces.clone()
    height, width = faces.shape[2:]
    green = torch.tensor([0.0, 1.0, 0.0], device=faces.device)
    for face, (across, down) in zip(shown, points.round().long().transpose(1, 2), strict=True):
        within = (across >= 0) & (across < width) & (down >= 0) & (down < height)
        face[:, down[within], across[within]] = green[:, None]
    return shown


COLOURS = (
    (0, 0, 0),
    (225, 190, 160),
    (90, 60, 30),
    (140, 100, 50),
    (40, 90, 200),
    (70, 160, 240),
    (240, 150, 60),
    (200, 40, 60),
    (250, 250, 250),
    (240, 90, 130),
    (80, 80, 80),
)
"""Of the parts in previews, RGB."""
