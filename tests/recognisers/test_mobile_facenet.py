"""MobileFaceNet: its crops, and that training reaches all of it."""

import pytest
import torch
from torch.nn import functional

from facebridge import recognisers
from facebridge.heads import ArcFaceHead
from facebridge.recognisers.mobile_facenet import MobileFaceNet


@pytest.mark.parametrize(("height", "width", "crop"), [(112, 112, "arcface"), (112, 96, "sphereface")])
def test_its_crop_is_the_one_of_its_shape(height: int, width: int, crop: str) -> None:
    recogniser = recognisers.load("mobile_facenet", height=height, width=width, width_multiplier=0.25)
    assert recogniser.crop.name == crop
    assert recogniser.embed(torch.rand(2, 3, height, width)).shape == (2, 128)


def test_training_reaches_every_parameter() -> None:
    network = MobileFaceNet(height=32, width=32, width_multiplier=0.25, embedding_size=8)
    head = ArcFaceHead(8, 5)
    loss = functional.cross_entropy(head(network(torch.rand(4, 3, 32, 32)), torch.arange(4)), torch.arange(4))
    loss.backward()
    for module in (network, head):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())
