"""The three networks of MTCNN (Zhang et al. 2016), and the names of their published tensors.

They give the log odds of a face, whose logistic function is the published probability: the most certain faces all have
probabilities of 1 in float32, and suppression needs their order.
They take RGB in [0, 1]: the published order is BGR, but the weights in circulation for PyTorch were turned round.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class ProposalNetwork(nn.Module):
    """P-Net: every 12x12 window of a picture, 2 px apart, as a face or not.

    pictures: (B, 3, H, W) float32 RGB [0, 1], H and W at least 12. Returns the log odds of a face (B, h, w) and
    the offsets of its box (B, 4, h, w), with h = ceil((H - 2) / 2) - 4 and w alike.
    """

    WINDOW_PX = 12
    STEP_PX = 2
    PUBLISHED = {
        "features.0": "conv1",
        "features.1": "prelu1",
        "features.3": "conv2",
        "features.4": "prelu2",
        "features.5": "conv3",
        "features.6": "prelu3",
        "face": "conv4_1",
        "box": "conv4_2",
    }

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 10, 3),
            nn.PReLU(10),
            nn.MaxPool2d(2, 2, ceil_mode=True),
            nn.Conv2d(10, 16, 3),
            nn.PReLU(16),
            nn.Conv2d(16, 32, 3),
            nn.PReLU(32),
        )
        self.face = nn.Conv2d(32, 2, 1)
        self.box = nn.Conv2d(32, 4, 1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(_centred(pictures))
        return _odds(self.face(features)), self.box(features)


class RefinementNetwork(nn.Module):
    """R-Net: crops (B, 3, 24, 24) float32 RGB [0, 1] -> log odds of a face (B), offsets of its box (B, 4)."""

    SIDE_PX = 24
    PUBLISHED = {
        "features.0": "conv1",
        "features.1": "prelu1",
        "features.3": "conv2",
        "features.4": "prelu2",
        "features.6": "conv3",
        "features.7": "prelu3",
        "joined.1": "dense4",
        "joined.2": "prelu4",
        "face": "dense5_1",
        "box": "dense5_2",
    }

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 28, 3),
            nn.PReLU(28),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Conv2d(28, 48, 3),
            nn.PReLU(48),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Conv2d(48, 64, 2),
            nn.PReLU(64),
        )
        self.joined = nn.Sequential(ColumnsFirst(), nn.Linear(576, 128), nn.PReLU(128))
        self.face = nn.Linear(128, 2)
        self.box = nn.Linear(128, 4)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        joined = self.joined(self.features(_centred(crops)))
        return _odds(self.face(joined)), self.box(joined)


class OutputNetwork(nn.Module):
    """O-Net: crops (B, 3, 48, 48) float32 RGB [0, 1].

    Returns the log odds of a face (B), offsets of its box (B, 4), and five points (B, 5, 2), fractions of the crop.
    """

    SIDE_PX = 48
    PUBLISHED = {
        "features.0": "conv1",
        "features.1": "prelu1",
        "features.3": "conv2",
        "features.4": "prelu2",
        "features.6": "conv3",
        "features.7": "prelu3",
        "features.9": "conv4",
        "features.10": "prelu4",
        "joined.1": "dense5",
        "joined.3": "prelu5",
        "face": "dense6_1",
        "box": "dense6_2",
        "points": "dense6_3",
    }

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 32, 3),
            nn.PReLU(32),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Conv2d(32, 64, 3),
            nn.PReLU(64),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Conv2d(64, 64, 3),
            nn.PReLU(64),
            nn.MaxPool2d(2, 2, ceil_mode=True),
            nn.Conv2d(64, 128, 2),
            nn.PReLU(128),
        )
        self.joined = nn.Sequential(ColumnsFirst(), nn.Linear(1152, 256), nn.Dropout(0.25), nn.PReLU(256))
        self.face = nn.Linear(256, 2)
        self.box = nn.Linear(256, 4)
        self.points = nn.Linear(256, 10)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        joined = self.joined(self.features(_centred(crops)))
        points = self.points(joined).view(-1, 2, 5).transpose(1, 2)  # it gives x1..x5, then y1..y5
        return _odds(self.face(joined)), self.box(joined), points


class ColumnsFirst(nn.Module):
    """Features (B, C, H, W) -> (B, W H C) in the order of axes of the Caffe networks that the weights come from."""

    def forward(self, features: Tensor) -> Tensor:
        return features.permute(0, 3, 2, 1).flatten(1)


Network = ProposalNetwork | RefinementNetwork | OutputNetwork


def fill(network: Network, state: Mapping[str, Tensor], where: str) -> None:
    """Load a published state dict into a network.

    ValueError: if a tensor is missing, left over or of another shape.
    """
    published = {f"{layer}.": f"{ours}." for ours, layer in network.PUBLISHED.items()}
    renamed = {}
    for name, tensor in state.items():
        layer, dot, kind = name.rpartition(".")
        renamed[published.get(layer + dot, layer + dot) + kind] = tensor
    try:
        with torch.no_grad():
            network.load_state_dict(renamed)
    except RuntimeError as error:
        raise ValueError(f"{where}: not the weights of MTCNN's {type(network).__name__} ({error})") from error


def _odds(outputs: Tensor) -> Tensor:
    """Outputs (B, 2, ...) for "no face" and "face" -> log odds of a face (B, ...)."""
    return outputs[:, 1] - outputs[:, 0]


def _centred(pictures: Tensor) -> Tensor:
    """[0, 1] -> [-0.996, 0.996]: levels of 0..255, less 127.5, over 128."""
    return (pictures * 255 - 127.5) / 128
