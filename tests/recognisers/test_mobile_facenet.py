"""MobileFaceNet and its ArcFace head."""

import math

import pytest
import torch
from torch.nn import functional

from facebridge import recognisers
from facebridge.recognisers.mobile_facenet import ArcFaceHead, MobileFaceNet


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


@pytest.mark.parametrize("margin", [0.0, 0.5, 1.2])
def test_arcface_logits_are_those_of_a_plain_loop(margin: float) -> None:
    head = ArcFaceHead(4, 6, scale=30.0, margin=margin)
    embeddings, identities = torch.randn(50, 4), torch.randint(6, (50,))
    embeddings[0] = -3 * head.weight[identities[0]].detach()  # angle pi
    embeddings[1] = 2 * head.weight[identities[1]].detach()  # angle 0
    logits, weight = head(embeddings, identities).detach(), head.weight.detach().double()
    for row in range(50):
        for identity in range(6):
            a, b = embeddings[row].double(), weight[identity]
            cosine = max(-1.0, min(1.0, float(a @ b / (a.norm() * b.norm()))))
            angle = math.acos(cosine)
            if identity == identities[row]:
                beyond = cosine - margin * math.sin(math.pi - margin)
                cosine = math.cos(angle + margin) if angle + margin < math.pi else beyond
            assert float(logits[row, identity]) == pytest.approx(30.0 * cosine, abs=0.02)


def test_arcface_has_finite_slopes_where_the_angle_is_0_or_pi() -> None:
    head = ArcFaceHead(3, 2)
    embeddings = torch.stack([head.weight[0].detach(), -head.weight[1].detach()]).requires_grad_()
    functional.cross_entropy(head(embeddings, torch.tensor([0, 1])), torch.tensor([0, 1])).backward()
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()


def test_margin_over_pi_is_refused() -> None:
    with pytest.raises(ValueError, match="radians"):
        ArcFaceHead(4, 2, margin=28.6)
