"""facebridge_sr: any size in, the crop out; its losses by hand; what each idea changes."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from facebridge import crops
from facebridge.hallucination import enlarge
from facebridge.identity_guide import IdentityGuide
from facebridge.layers import signed, unsigned
from facebridge.methods.facebridge_sr import FacebridgeSr
from facebridge.methods.facebridge_sr.networks import ChannelAttention, FaceUNet
from tests.drawn import thin_recogniser

CROP = crops.crop("sphereface")
THIN = {"widths": (8, 8, 8, 8), "depths": (1, 1, 1, 1), "layers": ()}


def built(recogniser=None, **settings) -> FacebridgeSr:
    torch.manual_seed(0)
    method = FacebridgeSr(FacebridgeSr.Config(**{**THIN, "layer_weight": 0.0, **settings}), CROP, recogniser)
    with torch.no_grad():
        method.generator.tail.weight.normal_(0, 0.05)
    return method


def batch(count: int = 4) -> dict[str, torch.Tensor]:
    return {"target": torch.rand(count, 3, 112, 96, generator=torch.Generator().manual_seed(1))}


@pytest.mark.parametrize("size", [(7, 6), (16, 16), (28, 24), (31, 19), (112, 96)])
def test_faces_of_any_size_come_out_at_the_crops_size(size: tuple[int, int]) -> None:
    made = built().generate(torch.rand(2, 3, *size))
    assert made.shape == (2, 3, 112, 96)
    assert 0 <= float(made.min()) <= float(made.max()) <= 1


def test_untrained_network_enlarges_bicubically() -> None:
    method = FacebridgeSr(FacebridgeSr.Config(), CROP)
    small = torch.rand(1, 3, 14, 12)
    assert torch.allclose(method.generate(small), enlarge(small, CROP), atol=1e-6)


def test_default_network_is_small_enough_to_ship() -> None:
    parameters = sum(each.numel() for each in FacebridgeSr(FacebridgeSr.Config(), CROP).parameters())
    assert 2 * parameters < 6e6, "bytes at two a number"


def test_total_is_the_weighted_sum_of_the_losses_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    recogniser = thin_recogniser()
    layer = next(name for name, each in recogniser.network.named_modules() if isinstance(each, nn.Conv2d))
    method = built(
        recogniser,
        layers=(layer,),
        layer_weight=0.3,
        identity_weight=0.7,
        guided_share=0.5,
        guide_shift_px=0.0,
        guide_stretch=0.0,
        guide_blur_px=0.0,
    )
    sharp = batch()["target"]
    sources = enlarge(functional.avg_pool2d(sharp, 8), CROP)
    monkeypatch.setattr(method, "_sources", lambda faces: sources)
    with torch.no_grad():
        made = signed(sources) + method.generator(signed(sources))
        seen = IdentityGuide(recogniser, CROP, (layer,)).compare(unsigned(made)[:2], sharp[:2])
    losses = method.training_step(batch())
    pixel = (made - signed(sharp)).abs().mean()
    assert losses["pixel"].item() == pytest.approx(pixel.item(), rel=1e-5)
    assert losses["identity"].item() == pytest.approx(seen["identity"].item(), rel=1e-4)
    assert losses["layers"].item() == pytest.approx(seen["layers"].item(), rel=1e-4)
    total = pixel + 0.7 * seen["identity"] + 0.3 * seen["layers"]
    assert losses["total"].item() == pytest.approx(total.item(), rel=1e-4)


def test_without_weights_of_the_guide_no_recogniser_is_needed() -> None:
    losses = built(identity_weight=0.0).training_step(batch())
    assert set(losses) == {"pixel", "total"}
    assert losses["pixel"] == losses["total"]


def test_the_guide_looks_after_its_steps_alone() -> None:
    method = built(thin_recogniser(), guided_after_steps=2)
    seen = [set(method.training_step(batch())) for _ in range(3)]
    assert seen == [{"pixel", "total"}, {"pixel", "total"}, {"pixel", "identity", "total"}]


def test_training_brings_a_few_faces_nearer() -> None:
    method = built(identity_weight=0.0, degraded_share=0.0)
    smooth = {"target": enlarge(torch.rand(4, 3, 14, 12, generator=torch.Generator().manual_seed(2)), CROP)}
    torch.manual_seed(0)
    losses = [method.training_step(smooth)["pixel"].item() for _ in range(25)]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_sources_have_sizes_of_their_own_within_the_range(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(
        "facebridge.methods.facebridge_sr.resize",
        lambda face, height, width: seen.append((height, width)) or functional.interpolate(face, (height, width)),
    )
    method = built(degraded_share=0.0, smallest_height=7, largest_height=28, squeeze=0.2)
    torch.manual_seed(0)
    for _ in range(20):
        method._sources(batch()["target"])
    heights = [height for height, _ in seen]
    assert len(seen) == 80
    assert (min(heights), max(heights)) == (7, 28)
    for height, width in seen:
        assert round(height * 96 / 112) <= width <= round(1.2 * round(height * 96 / 112))
    # Log-uniform: as many between 7 and 14 as between 14 and 28.
    assert 0.3 < sum(height < 14 for height in heights) / len(heights) < 0.7


def test_every_second_face_is_damaged_and_draws_repeat() -> None:
    method = built(degraded_share=0.5)
    torch.manual_seed(5)
    first = method._sources(batch(8)["target"])
    torch.manual_seed(5)
    assert torch.equal(first, method._sources(batch(8)["target"]))
    torch.manual_seed(6)
    assert not torch.equal(first, method._sources(batch(8)["target"]))


def test_positions_let_equal_surroundings_come_out_differently() -> None:
    torch.manual_seed(0)
    network = FaceUNet(CROP, (8, 8, 8, 8), (1, 1, 1, 1), True, False)
    with torch.no_grad():
        network.tail.weight.normal_()
        plain = network(torch.zeros(1, 3, 112, 96))
        network.positions[1][..., 5, 5] = 3.0
        placed = network(torch.zeros(1, 3, 112, 96))
    changed = (plain - placed).abs().sum(1)[0] > 1e-6
    assert changed[21, 21]
    assert not changed.all(), "a map changes its surroundings, not the whole face at once"


def test_attention_weighs_channels_as_a_plain_loop_does() -> None:
    torch.manual_seed(0)
    layer = ChannelAttention(3)
    with torch.no_grad():
        layer.given.weight.normal_()
        features = torch.randn(1, 3, 2, 2)
        found = layer(features)
        query, key, value = layer.asked(features)[0].flatten(1).chunk(3)
        mixed = torch.zeros(3, 4)
        for row in range(3):
            likeness = [
                float(query[row] @ key[column] / (query[row].norm() * key[column].norm())) for column in range(3)
            ]
            weights = torch.tensor(likeness).exp() / torch.tensor(likeness).exp().sum()
            mixed[row] = sum(weights[column] * value[column] for column in range(3))
        wanted = features + layer.given(mixed.view(1, 3, 2, 2))
    assert torch.allclose(found, wanted, atol=1e-5)


def test_crops_that_cannot_be_halved_four_times_are_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 16"):
        FacebridgeSr(FacebridgeSr.Config(), crops.crop("lfw_deepfunneled"))


def test_heights_that_do_not_rise_are_refused() -> None:
    with pytest.raises(ValueError, match="smallest_height"):
        FacebridgeSr.Config(smallest_height=20, largest_height=10)


def test_faces_as_large_as_the_crop_are_no_sources() -> None:
    with pytest.raises(ValueError, match="200 px"):
        FacebridgeSr(FacebridgeSr.Config(largest_height=200), CROP)
