"""FSRNet's networks have the published sizes, blocks of their own, and compute what they say."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from facebridge.methods.fsrnet.networks import (
    Bottleneck,
    Coarse,
    Discriminator,
    FineDecoder,
    FineEncoder,
    Hourglass,
    PriorHeads,
    PriorNetwork,
    ResidualBlock,
)
from tests.drawn import shaken
from tests.methods.translating import num_parameters


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize(
    ("network", "parameters"),
    [
        (Coarse, 225_536),
        (FineEncoder, 926_528),
        (PriorNetwork, 1_738_816),
        (FineDecoder, 371_392),
        (Discriminator, 4_693_697),
    ],
)
def test_networks_have_the_published_numbers_of_parameters(
    network: type[nn.Module], parameters: int, norm: str
) -> None:
    assert num_parameters(network(norm=norm)) == parameters


@pytest.mark.parametrize(
    ("landmarks", "parts", "parameters"), [(194, 0, 25_026), (0, 9, 1_161), (0, 11, 1_419), (68, 11, 10_191)]
)
def test_heads_have_the_published_numbers_of_parameters(landmarks: int, parts: int, parameters: int) -> None:
    heads = PriorHeads(128, landmarks, parts)
    assert num_parameters(heads) == parameters
    assert heads(torch.rand(1, 128, 4, 4)).shape == (1, landmarks + parts, 4, 4)


@pytest.mark.parametrize(
    ("width", "blocks", "hourglasses", "maps", "parameters"),
    [(16, (3, 4, 3), 2, 79, 155_263), (8, (3, 3, 3), 1, 11, 32_675)],
)
def test_thin_networks_have_the_numbers_of_parameters_of_the_design(
    width: int, blocks: tuple[int, int, int], hourglasses: int, maps: int, parameters: int
) -> None:
    parts = [
        Coarse(width, blocks[0]),
        FineEncoder(width, blocks[1]),
        PriorNetwork(width, 2, hourglasses, 2),
        PriorHeads(2 * width, 0, maps),
        FineDecoder(width, blocks[2]),
    ]
    assert sum(map(num_parameters, parts)) == parameters


@pytest.mark.parametrize("network", [Coarse(4), FineEncoder(4), FineDecoder(4), PriorNetwork(4)])
def test_every_block_has_weights_of_its_own(network: nn.Module) -> None:
    blocks = [module for module in network.modules() if isinstance(module, ResidualBlock | Bottleneck)]
    assert len(blocks) == len({id(block) for block in blocks})
    before = [{name: tensor.clone() for name, tensor in block.state_dict().items()} for block in blocks]
    with torch.no_grad():
        for tensor in blocks[0].parameters():
            tensor += 1
    for block, kept in zip(blocks[1:], before[1:], strict=True):
        assert all(torch.equal(tensor, kept[name]) for name, tensor in block.state_dict().items())


def test_residual_block_is_what_the_paper_draws() -> None:
    torch.manual_seed(0)
    block = ResidualBlock(3).eval()
    shaken(block)
    x = torch.rand(2, 3, 5, 6)
    state = block.state_dict()

    def layer(features: Tensor, name: str) -> Tensor:
        padded = functional.pad(features, (1, 1, 1, 1), mode="reflect")
        made = functional.conv2d(padded, state[f"{name}.weight"])
        mean, variance, weight, bias = (
            state[f"{name}_norm.{leaf}"][:, None, None] for leaf in ("running_mean", "running_var", "weight", "bias")
        )
        return (made - mean) / (variance + 1e-5).sqrt() * weight + bias

    expected = x + layer(layer(x, "first").clamp(min=0), "second")
    found = block(x).detach()
    assert torch.allclose(found, expected, atol=1e-5)
    assert float(found.min()) < 0, "nothing cuts the sum off"


def test_hourglass_sees_the_features_at_every_size() -> None:
    network = Hourglass(4, 2).eval()
    for module in network.modules():
        if isinstance(module, Bottleneck):
            nn.init.zeros_(module.convs[-1].weight)
            nn.init.zeros_(module.convs[-1].bias)
    x = torch.rand(1, 4, 8, 12)
    half = x.unfold(2, 2, 2).unfold(3, 2, 2).amax((-1, -2))
    quarter = half.unfold(2, 2, 2).unfold(3, 2, 2).amax((-1, -2))
    inner = half + quarter.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.allclose(network(x), x + inner.repeat_interleave(2, 2).repeat_interleave(2, 3), atol=1e-6)


def test_sizes_of_pictures_features_and_scores() -> None:
    pictures = torch.rand(2, 3, 112, 96)
    coarse = Coarse(4, 1)(pictures)
    features, shape = FineEncoder(4, 1)(coarse), PriorNetwork(4, 1, 1, 3)(coarse)
    assert coarse.shape == pictures.shape
    assert features.shape == (2, 4, 56, 48)
    assert shape.shape == (2, 8, 56, 48)
    fine = FineDecoder(4, 1)(torch.cat([features, shape], 1))
    assert fine.shape == pictures.shape
    assert Discriminator(3, 2)(torch.rand(2, 3, 128, 128)).shape == (2, 1, 8, 8)
    for made in (coarse, features, fine):
        assert float(made.detach().abs().max()) <= 1


def test_normalised_features_stay_small_and_others_grow_with_every_hourglass() -> None:
    torch.manual_seed(0)
    pictures = torch.rand(2, 3, 32, 32)
    small, large = (float(PriorNetwork(8, 1, 2, 2, "batch", ends)(pictures).detach().std()) for ends in (True, False))
    assert small == pytest.approx(1, rel=0.01)
    assert large > 1.5 * small
