"""TP-GAN's networks are as large as published, pad as TensorFlow does, and look where the points are."""

import numpy as np
import pytest
import torch
from torch import nn

from facebridge import crops
from facebridge.layers import Patch
from facebridge.methods.tp_gan.networks import (
    Discriminator,
    GlobalDecoder,
    GlobalEncoder,
    GlobalPath,
    IdentityHead,
    LocalPaths,
    PatchPath,
    SameConv,
    UpConv,
    draw_first_weights,
)
from facebridge.methods.tp_gan.places import centres, cut, frontal_places, fused, mirrored_where, turned
from tests.methods.translating import num_parameters

TP_GAN = crops.crop("tp_gan")
PUBLISHED = ((40, 40), (32, 40), (32, 48))
THIN = ((24, 24), (16, 24), (16, 24))
POINTS = torch.tensor([[[20.0, 30.0], [50.0, 31.0], [40.4, 40.0], [25.0, 50.5], [48.0, 51.0]]])


def generating(crop: crops.Crop, sizes: tuple[tuple[int, int], ...], *widths: int) -> nn.ModuleList:
    """Global and local paths of these numbers of filters, numbers of code and of noise."""
    size = crop.height, crop.width
    return nn.ModuleList([GlobalPath(size, *widths), LocalPaths(size, frontal_places(crop, *sizes), *widths[:1])])


@pytest.mark.parametrize(
    ("build", "parameters"),
    [
        (GlobalEncoder, 39_420_672),
        (GlobalDecoder, 49_197_818),
        (PatchPath, 17_199_043),
        (lambda: PatchPath(6), 17_200_771),
        (Discriminator, 13_357_441),
        (lambda: nn.ModuleList([generating(TP_GAN, PUBLISHED), IdentityHead()]), 157_503_770),
        (lambda: generating(crops.crop("tp_gan_64"), THIN, 8, 32, 16), 2_365_733),
        (lambda: generating(TP_GAN, PUBLISHED, 8, 32, 16), 2_581_157),
        (lambda: Discriminator(8), 210_097),
    ],
)
def test_networks_have_the_published_numbers_of_parameters(build, parameters: int) -> None:
    with torch.device("meta"):
        assert num_parameters(build()) == parameters


@pytest.mark.parametrize(
    ("kernel", "stride", "length"), [(3, 2, 8), (3, 2, 7), (5, 2, 8), (2, 1, 6), (7, 1, 8), (1, 1, 5)]
)
def test_convolutions_are_padded_as_tensorflow_pads(kernel: int, stride: int, length: int) -> None:
    layer = SameConv(1, 1, kernel, stride)
    taken = torch.rand(1, 1, length, length)
    num_out = -(-length // stride)
    missing = max((num_out - 1) * stride + kernel - length, 0)
    padded = np.pad(taken[0, 0].numpy(), (missing // 2, missing - missing // 2))
    weight, bias = layer.weight[0, 0].detach().numpy(), layer.bias.item()
    expected = [
        [(padded[y : y + kernel, x : x + kernel] * weight).sum() + bias for x in range(0, num_out * stride, stride)]
        for y in range(0, num_out * stride, stride)
    ]
    assert np.allclose(layer(taken)[0, 0].detach().numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("stride", [2, 4])
def test_enlarging_convolutions_are_the_transpose_of_such_a_convolution(stride: int) -> None:
    """<conv(x), y> = <x, transposed(y)>, without biases."""
    down, up = SameConv(2, 3, 3, stride), UpConv(3, 2, stride)
    nn.init.zeros_(down.bias)
    nn.init.zeros_(up.bias)
    up.weight.data = down.weight.data
    large, small = torch.rand(1, 2, 8 * stride, 4 * stride), torch.rand(1, 3, 8, 4)
    assert up(small).shape == large.shape
    assert (down(large) * small).sum().item() == pytest.approx((large * up(small)).sum().item(), rel=1e-4)


def test_parts_lie_where_the_published_mean_face_has_them() -> None:
    found = frontal_places(TP_GAN, *PUBLISHED)
    published = [(44, 41), (86, 41), (64, 65), (65, 89)]
    for place, (x, y) in zip(found, published, strict=True):
        assert abs(place.left + place.width / 2 - x) <= 1
        assert abs(place.top + place.height / 2 - y) <= 1


def test_a_patch_is_cut_about_its_point_and_moved_inwards_at_the_border() -> None:
    picture = torch.arange(64.0 * 64).view(1, 1, 64, 64).repeat(2, 1, 1, 1)
    middles = centres(torch.cat([POINTS, POINTS]))
    assert middles[0].tolist() == [[20, 30], [50, 31], [40, 40], [37, 51]]
    found = cut(picture, torch.tensor([[20, 30], [62, 1]]), (8, 16))
    assert torch.equal(found[0, 0], picture[0, 0, 26:34, 12:28])
    assert torch.equal(found[1, 0], picture[1, 0, 0:8, 48:64])


def test_each_path_sees_its_part_and_that_of_the_hidden_eye_the_other_eye_too() -> None:
    seen: dict[str, torch.Tensor] = {}
    paths = LocalPaths((64, 64), frontal_places(crops.crop("tp_gan_64"), (16, 16), (8, 16), (8, 24)), 4)
    for name, path in paths.paths.items():
        path.register_forward_pre_hook(lambda module, taken, name=name: seen.__setitem__(name, taken[0]))
    faces = torch.rand(1, 3, 64, 64)
    paths(faces, POINTS)
    right_eye, left_eye = faces[..., 22:38, 12:28], faces[..., 23:39, 42:58]
    assert torch.equal(seen["seen_eye"], right_eye)
    assert torch.equal(seen["hidden_eye"], torch.cat([left_eye, right_eye], 1))
    assert torch.equal(seen["nose"], faces[..., 36:44, 32:48])
    assert torch.equal(seen["mouth"], faces[..., 47:55, 25:49])


def test_parts_are_fused_by_the_largest_value_in_their_places() -> None:
    places = (Patch(0, 0, 2, 2), Patch(1, 1, 2, 2))
    maps = [torch.full((1, 1, 2, 2), 3.0), torch.full((1, 1, 2, 2), -0.5)]
    assert fused(maps, places, (3, 4))[0, 0].tolist() == [[3, 3, 0, 0], [3, 3, 0, 0], [0, 0, 0, 0]]
    assert fused(maps, places, (3, 4), -1.0)[0, 0].tolist() == [[3, 3, -1, -1], [3, 3, -0.5, -1], [-1, -0.5, -0.5, -1]]


def test_faces_that_look_left_are_mirrored_with_their_points() -> None:
    left = POINTS.clone()
    left[:, 2, 0] = 30
    faces = torch.rand(2, 3, 64, 64)
    is_mirrored, shown, points = turned(faces, torch.cat([POINTS, left]))
    assert is_mirrored.tolist() == [False, True]
    assert torch.equal(shown[0], faces[0])
    assert torch.equal(shown[1], faces[1].flip(-1))
    assert torch.equal(points[0], POINTS[0])
    assert points[1].tolist() == [[13, 31], [43, 30], [33, 40], [15, 51], [38, 50.5]]
    assert torch.equal(mirrored_where(is_mirrored, shown), faces)


@pytest.mark.parametrize("size", [(20, 24), (72, 24)])
def test_a_patch_that_no_path_can_halve_or_no_crop_holds_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"nose_size is {size[0]}x24.*multiples of 8.*64x64"):
        frontal_places(crops.crop("tp_gan_64"), (24, 24), size, (16, 24))


def test_pictures_have_three_sizes_on_any_crop_of_multiples_of_sixteen() -> None:
    crop = crops.Crop("wide", 32, 48, ((14.0, 10.0), (34.0, 10.0), (24.0, 16.0), (17.0, 23.0), (31.0, 23.0)))
    paths, whole = LocalPaths((32, 48), frontal_places(crop, (8, 8), (8, 8), (8, 16)), 4), GlobalPath((32, 48), 4, 3, 2)
    faces = torch.rand(2, 3, 32, 48)
    local = paths(faces, torch.tensor([crop.points]).repeat(2, 1, 1))
    pictures, code = whole(faces, torch.zeros(2, 2), local.features, local.picture)
    assert [tuple(each.shape) for each in pictures] == [(2, 3, 32, 48), (2, 3, 16, 24), (2, 3, 8, 12)]
    assert [tuple(each.shape[2:]) for each in local.parts] == [(8, 8), (8, 8), (8, 8), (8, 16)]
    assert code.shape == (2, 3)
    assert [scores.shape for scores in Discriminator(4)(pictures[0])] == [(2, 1, 1, 2)]


def test_the_discriminator_normalises_each_batch_for_itself() -> None:
    """As in two calls, running statistics too; and two networks that are the same."""
    together, apart = Discriminator(2), Discriminator(2)
    apart.load_state_dict(together.state_dict())
    first, second = torch.rand(2, 3, 64, 64), torch.rand(3, 3, 64, 64) - 1
    found = together(first, second)
    for scores, batch in zip(found, (first, second), strict=True):
        assert torch.equal(scores, apart(batch)[0])
    assert all(torch.equal(tensor, apart.state_dict()[name]) for name, tensor in together.state_dict().items())


def test_first_weights_are_of_the_published_deviation_or_follow_the_size_of_their_layer() -> None:
    layers = nn.ModuleDict(
        {
            "inner": SameConv(32, 64, 3),
            "to_picture": SameConv(32, 64, 3),
            "up": UpConv(64, 32, 2),
            "linear": nn.Linear(128, 128),
        }
    )
    small = 0.02 * 0.8796  # the deviation of a normal distribution that is cut off at two of its own
    draw_first_weights(layers, "published")
    for name, deviation in {"inner": small, "to_picture": small, "up": 0.02, "linear": 0.02}.items():
        weight = layers[name].weight
        assert weight.std().item() == pytest.approx(deviation, rel=0.03)
        assert (weight.abs().max().item() <= 0.04) == (deviation == small)
        assert layers[name].bias.unique().tolist() == [pytest.approx(0.1 if name == "linear" else 0.0)]
    draw_first_weights(layers, "he")
    for name, fan_in in {"inner": 32 * 9, "up": 32 * 9, "linear": 128}.items():
        assert layers[name].weight.std().item() == pytest.approx((2 / 1.04 / fan_in) ** 0.5, rel=0.03)
    assert layers["to_picture"].weight.std().item() == pytest.approx(small, rel=0.03)
    assert not any(layer.bias.any() for layer in layers.values())


def test_a_width_without_whole_quarters_is_refused() -> None:
    with pytest.raises(ValueError, match="num_filters is 6"):
        GlobalEncoder((32, 32), 6)
