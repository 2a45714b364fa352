"""Heat maps and part maps lie where the face has them, and lead back to it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from facebridge.priors import heat_maps, parsing_of, part_maps, points_of


def test_heat_map_of_one_point_is_the_gaussian() -> None:
    found = heat_maps(torch.tensor([[[5.0, 9.0]]]), 24, 16, reduction=2, sigma_px=1.5)
    assert found.shape == (1, 1, 12, 8)
    x, y = (5 + 0.5) / 2 - 0.5, (9 + 0.5) / 2 - 0.5
    for row in range(12):
        for column in range(8):
            expected = math.exp(-((column - x) ** 2 + (row - y) ** 2) / (2 * 1.5**2))
            assert float(found[0, 0, row, column]) == pytest.approx(expected, abs=1e-6)


def test_point_in_the_middle_of_a_block_lies_on_a_pixel_of_the_map() -> None:
    found = heat_maps(torch.tensor([[[9.5, 13.5]]]), 32, 32, reduction=4, sigma_px=1.0)
    assert float(found[0, 0, 3, 2]) == 1.0


@settings(max_examples=40, deadline=None)
@given(
    x=st.floats(0, 47),
    y=st.floats(0, 63),
    reduction=st.sampled_from([1, 2, 4]),
    sigma_px=st.sampled_from([1.0, 1.5, 3.0]),
)
def test_points_come_back_finer_than_a_pixel(x: float, y: float, reduction: int, sigma_px: float) -> None:
    points = torch.tensor([[[x, y], [47 - x, 63 - y]]])
    found = points_of(heat_maps(points, 64, 48, reduction, sigma_px), reduction)
    assert torch.allclose(found, points, atol=0.02 * reduction)


def test_points_of_noisy_maps_are_closer_than_their_highest_pixels() -> None:
    draw = torch.Generator().manual_seed(0)
    points = 10 + 40 * torch.rand(4, 60, 2, generator=draw)
    maps = heat_maps(points, 64, 64, 1, 3.0)
    maps = maps + 0.02 * torch.randn(maps.shape, generator=draw)
    places = maps.flatten(2).argmax(2)
    coarse = torch.stack([places % 64, places // 64], -1).float()
    fine, rough = ((found - points).square().mean().sqrt() for found in (points_of(maps), coarse))
    assert float(fine) < 0.25 < float(rough)


@pytest.mark.parametrize("value", [0.0, -1.0, 1.0])
def test_flat_map_gives_a_pixel_and_no_nan(value: float) -> None:
    assert torch.equal(points_of(torch.full((1, 1, 8, 8), value)), torch.zeros(1, 1, 2))


def test_single_pixel_is_its_own_point() -> None:
    maps = torch.zeros(1, 2, 8, 6)
    maps[0, 0, 3, 2] = 0.7
    maps[0, 1, 7, 5] = 2.0
    assert torch.allclose(points_of(maps, 2), torch.tensor([[[4.5, 6.5], [10.5, 14.5]]]), atol=1e-3)


def test_part_maps_are_shares_of_blocks() -> None:
    parsing = torch.randint(0, 4, (2, 8, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    found = part_maps(parsing, 5, reduction=4)
    assert found.shape == (2, 5, 2, 3)
    for face in range(2):
        for part in range(5):
            for row in range(2):
                for column in range(3):
                    block = parsing[face, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].flatten().tolist()
                    assert float(found[face, part, row, column]) == pytest.approx(block.count(part) / 16)


def test_parsing_comes_back_at_full_size() -> None:
    parsing = torch.randint(0, 11, (2, 6, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    assert torch.equal(parsing_of(part_maps(parsing, 11)), parsing)


def test_unknown_part_and_uneven_reduction_are_refused() -> None:
    with pytest.raises(ValueError, match="part 11; expected parts 0 to 10"):
        part_maps(torch.full((1, 4, 4), 11, dtype=torch.uint8), 11)
    with pytest.raises(ValueError, match="10x12"):
        part_maps(torch.zeros(1, 10, 12, dtype=torch.uint8), 11, 4)
    with pytest.raises(ValueError, match="10x12"):
        heat_maps(torch.zeros(1, 1, 2), 10, 12, 4)
