"""The inverse-distance-weighted warp against its own mathematics and a plain loop in float64."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from facebridge import warp

HEIGHT, WIDTH = 21, 26
FREE = {"border_points": 0}
WEIGHTINGS = [{}, FREE, {"exponent": 1.5}, {"exponent": 3.0, **FREE}, {"reach_px": 9.0}, {"reach_px": 6.0, **FREE}]


def points(seed: int, faces: int = 2, count: int = 68, dtype: torch.dtype = torch.float64) -> Tensor:
    """Points within the picture, none of them coinciding."""
    draw = torch.Generator().manual_seed(seed)
    inside = torch.rand(faces, count, 2, generator=draw, dtype=torch.float64)
    return (inside * torch.tensor([WIDTH - 1.0, HEIGHT - 1.0])).to(dtype)


def moved(target: Tensor, seed: int = 1, spread_px: float = 3.0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return target + spread_px * torch.randn(target.shape, generator=draw, dtype=torch.float64).to(target.dtype)


def field(source: Tensor, target: Tensor, **options: float) -> Tensor:
    return warp.displacement(source, target, HEIGHT, WIDTH, **options)


def at(displacements: Tensor, x: int, y: int) -> Tensor:
    return displacements[..., y, x]


def plain_loop(
    source: Tensor,
    target: Tensor,
    exponent: float = 2.0,
    border_points: int = 8,
    reach_px: float = math.inf,
) -> np.ndarray:
    """One face's field, (2, H, W), from the definition: a loop over pixels and points."""
    pairs = [(np.array(n), np.array(v) - np.array(n)) for n, v in zip(target.tolist(), source.tolist(), strict=True)]
    sides = {0: [], 8: [(x, y) for x in (0, 0.5, 1) for y in (0, 0.5, 1) if (x, y) != (0.5, 0.5)]}[border_points]
    pairs += [(np.array([x * (WIDTH - 1), y * (HEIGHT - 1)]), np.zeros(2)) for x, y in sides]
    found = np.zeros((2, HEIGHT, WIDTH))
    for y in range(HEIGHT):
        for x in range(WIDTH):
            distances = [math.sqrt(((n - [x, y]) ** 2).sum() + warp.SOFTENING_PX**2) for n, _ in pairs]
            reach = max(reach_px, 2 * min(distances))
            weights = [max(0.0, 1 / distance - 1 / reach) ** exponent for distance in distances]
            found[:, y, x] = sum(w * shift for w, (_, shift) in zip(weights, pairs, strict=True)) / sum(weights)
    return found


@pytest.mark.parametrize("options", WEIGHTINGS)
def test_field_equals_a_plain_loop(options: dict[str, float]) -> None:
    target = points(0, count=12)
    source = moved(target)
    expected = np.stack([plain_loop(s, t, **options) for s, t in zip(source, target, strict=True)])
    np.testing.assert_allclose(field(source, target, **options), expected, atol=1e-9)
    single = field(source.float(), target.float(), **options)
    assert single.dtype == torch.float32
    assert np.abs(single.numpy() - expected).max() < 1e-3


@pytest.mark.parametrize("options", WEIGHTINGS)
def test_float32_is_within_a_thousandth_of_a_pixel_at_the_published_size(options: dict[str, float]) -> None:
    target = (points(3, faces=2, dtype=torch.float32) - 2) * 6
    source = moved(target, spread_px=10)
    exact = warp.displacement(source.double(), target.double(), 144, 144, **options)
    found = warp.displacement(source, target, 144, 144, **options)
    assert (found - exact).abs().max() < 1e-3


@pytest.mark.parametrize("options", WEIGHTINGS)
def test_equal_points_leave_the_picture_as_it_is(options: dict[str, float]) -> None:
    faces = torch.rand(2, 3, HEIGHT, WIDTH)
    target = points(0)
    assert not field(target, target, **options).any()
    torch.testing.assert_close(warp.warp(faces, target, target, **options), faces, atol=1e-5, rtol=0)


@pytest.mark.parametrize("options", [FREE, {"exponent": 1.2, **FREE}, {"reach_px": 5.0, **FREE}])
def test_a_common_translation_is_exact_everywhere(options: dict[str, float]) -> None:
    faces = torch.rand(2, 3, HEIGHT, WIDTH, dtype=torch.float64)
    target = points(0)
    step = torch.tensor([3.0, -2.0], dtype=torch.float64)
    found = field(target + step, target, **options)
    torch.testing.assert_close(found, step[:, None, None].expand_as(found), atol=1e-12, rtol=0)
    rows = torch.arange(HEIGHT).sub(2).clamp(min=0)
    columns = torch.arange(WIDTH).add(3).clamp(max=WIDTH - 1)
    torch.testing.assert_close(
        warp.warp(faces, target + step, target, **options), faces[:, :, rows][..., columns], atol=1e-9, rtol=0
    )


@pytest.mark.parametrize("options", WEIGHTINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_landmark_on_a_pixel_gets_its_own_displacement(options: dict[str, float], dtype: torch.dtype) -> None:
    target = torch.tensor([[[3, 4], [11, 6], [12, 6], [20, 17], [8, 15]]], dtype=dtype)
    source = moved(target)
    found = field(source, target, **options)
    for index, (x, y) in enumerate(target[0].int().tolist()):
        torch.testing.assert_close(at(found[0], x, y), source[0, index] - target[0, index], atol=2e-6, rtol=0)


@pytest.mark.parametrize("options", WEIGHTINGS)
def test_a_landmark_between_pixels_gets_its_own_displacement_in_the_limit(options: dict[str, float]) -> None:
    target = torch.tensor([[[3.37, 4.81], [11.5, 6.5], [20.25, 15.125]]], dtype=torch.float64)
    source = moved(target)
    # Enlarged about the landmark, with all else enlarged too, the next pixel comes as near as we like.
    for index, near_px in ((0, 1e-3), (1, 1e-4), (2, 1e-4)):
        nudged = target + (target[0, index].round() - target[0, index]) + torch.tensor([near_px, 0.0])
        x, y = target[0, index].round().int().tolist()
        shift = source - target
        found = at(field(nudged + shift, nudged, **options)[0], x, y)
        torch.testing.assert_close(found, shift[0, index], atol=near_px, rtol=0)


def test_the_field_is_flat_at_a_landmark() -> None:
    target = torch.tensor([[[10.0, 10.0], [18.0, 10.0]]], dtype=torch.float64)
    source = target + torch.tensor([[[2.0, 0.0], [-2.0, 1.0]]])
    step_px = 1e-3
    around = [torch.tensor([x, y]) * step_px for x, y in ((1.0, 0.0), (0.0, 1.0))]
    shift = source - target
    for step in around:
        slope = (at(field(target - step + shift, target - step, **FREE)[0], 10, 10) - shift[0, 0]) / step_px
        assert slope.norm() < 1e-3


@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 9),
    exponent=st.floats(1.01, 3.0),
    border_points=st.sampled_from([0, 4, 12]),
    reach_px=st.sampled_from([math.inf, 4.0, 100.0]),
)
@settings(max_examples=40, deadline=None)
def test_no_displacement_is_longer_than_the_longest_given(
    seed: int, count: int, exponent: float, border_points: int, reach_px: float
) -> None:
    target = (points(seed, count=count) - 5) * 1.5
    source = moved(target, seed, spread_px=8)
    found = field(source, target, exponent=exponent, border_points=border_points, reach_px=reach_px)
    longest = (source - target).norm(dim=2).amax(dim=1)
    assert found.isfinite().all()
    assert (found.norm(dim=1).amax(dim=(1, 2)) <= longest * (1 + 1e-9)).all()


@given(seed=st.integers(0, 10_000), x_px=st.integers(-4, 4), y_px=st.integers(-4, 4))
@settings(max_examples=15, deadline=None)
def test_moving_everything_by_whole_pixels_moves_the_field(seed: int, x_px: int, y_px: int) -> None:
    target = points(seed, count=7)
    shift = moved(target, seed) - target
    there = target + torch.tensor([x_px, y_px])
    first, second = field(target + shift, target, **FREE), field(there + shift, there, **FREE)
    top, left = max(0, -y_px), max(0, -x_px)
    bottom, right = HEIGHT - max(0, y_px), WIDTH - max(0, x_px)
    torch.testing.assert_close(
        second[..., top + y_px : bottom + y_px, left + x_px : right + x_px],
        first[..., top:bottom, left:right],
        atol=1e-9,
        rtol=0,
    )


@pytest.mark.parametrize("options", [{}, FREE, {"reach_px": 7.0}, {"exponent": 1.5}])
def test_turning_everything_by_a_quarter_turns_the_field(options: dict[str, float]) -> None:
    target = points(4, count=9)
    source = moved(target)

    def turned(positions: Tensor) -> Tensor:  # clockwise, about the middle of pictures of exchanged sides
        return torch.stack([HEIGHT - 1 - positions[..., 1], positions[..., 0]], dim=-1)

    found = warp.displacement(turned(source), turned(target), WIDTH, HEIGHT, **options)
    dx, dy = field(source, target, **options).unbind(1)
    expected = torch.stack([-dy, dx], dim=1).mT.flip(-1)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)


@given(seed=st.integers(0, 10_000), angle=st.floats(-math.pi, math.pi), scale=st.floats(0.3, 3.0))
@settings(max_examples=15, deadline=None)
def test_a_similarity_of_everything_carries_the_displacement_of_a_pixel_along(
    seed: int, angle: float, scale: float
) -> None:
    target = points(seed, faces=1, count=6)
    source = moved(target, seed)
    middle = torch.tensor([12.0, 9.0], dtype=torch.float64)
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    turn = torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64)
    carried = field((source - middle) @ turn.T + middle, (target - middle) @ turn.T + middle, **FREE)
    expected = turn @ at(field(source, target, **FREE)[0], 12, 9)
    torch.testing.assert_close(at(carried[0], 12, 9), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("options", WEIGHTINGS)
def test_order_of_the_points_and_company_of_other_faces_change_nothing(options: dict[str, float]) -> None:
    target = points(0, faces=5)
    source = moved(target)
    found = field(source, target, **options)
    order = torch.randperm(68, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(field(source[:, order], target[:, order], **options), found, atol=1e-10, rtol=0)
    for row in range(5):
        alone = field(source[row, None], target[row, None], **options)
        torch.testing.assert_close(alone[0], found[row], atol=1e-12, rtol=0)


@pytest.mark.parametrize("options", WEIGHTINGS)
def test_points_that_do_not_count_are_as_if_absent(options: dict[str, float]) -> None:
    target = points(0)
    source = moved(target)
    seen = torch.ones(2, 68, dtype=torch.bool)
    seen[:, 20:] = False
    hidden = target.masked_fill(~seen[..., None], math.nan)
    found = warp.displacement(source, hidden, HEIGHT, WIDTH, seen, **options)
    expected = field(source[:, :20], target[:, :20], **options)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("exponent", [2.0, 2.5])
def test_an_infinite_reach_is_the_limit_of_large_ones(exponent: float) -> None:
    target = points(0)
    source = moved(target)
    far = field(source, target, exponent=exponent, reach_px=1e7)
    torch.testing.assert_close(far, field(source, target, exponent=exponent), atol=1e-4, rtol=0)


def test_a_short_reach_leaves_only_the_landmarks_around() -> None:
    target = torch.tensor([[[3.0, 10.0], [22.0, 10.0]]])
    source = target + torch.tensor([[[1.0, 2.0], [-3.0, 0.0]]])
    found = field(source, target, reach_px=4.0, **FREE)
    torch.testing.assert_close(at(found[0], 5, 10), torch.tensor([1.0, 2.0]))
    torch.testing.assert_close(at(found[0], 23, 3), torch.tensor([-3.0, 0.0]))


def test_border_points_hold_the_corners_and_the_middles_of_the_sides() -> None:
    target = points(0)
    found = warp.displacement(target + 5, target, 21, 25)
    for x, y in ((0, 0), (24, 0), (0, 20), (24, 20), (12, 0), (0, 10), (24, 10), (12, 20)):
        assert at(found, x, y).abs().max() < 1e-9
    assert at(field(target + 5, target, **FREE), 0, 0).min() > 4.99


def test_coinciding_target_points_share_their_displacements() -> None:
    target = torch.tensor([[[8.0, 8.0], [8.0, 8.0]]], dtype=torch.float64)
    source = target + torch.tensor([[[2.0, 0.0], [0.0, 4.0]]])
    torch.testing.assert_close(
        at(field(source, target, **FREE)[0], 8, 8), torch.tensor([1.0, 2.0], dtype=torch.float64)
    )


def test_warp_looks_up_the_source_bilinearly_and_repeats_its_border() -> None:
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
    faces = torch.from_numpy(np.stack([x, y, x * 0]))[None] / 100  # a picture of its own coordinates
    target = points(2, faces=1)
    source = moved(target, spread_px=5)
    shift = field(source, target)[0].numpy()
    found = warp.warp(faces, source, target)[0].numpy() * 100
    np.testing.assert_allclose(found[0], np.clip(x + shift[0], 0, WIDTH - 1), atol=1e-9)
    np.testing.assert_allclose(found[1], np.clip(y + shift[1], 0, HEIGHT - 1), atol=1e-9)


def test_a_warp_and_the_one_back_nearly_cancel_inside_the_face() -> None:
    target = torch.cartesian_prod(torch.arange(2.0, 25, 4), torch.arange(2.0, 20, 4))[None].double()
    source = moved(target, spread_px=0.3)
    there, back = field(source, target), field(target, source)
    both = (there + warp.sample(torch.cat([back, back[:, :1]], 1), there)[:, :2])[..., 2:-2, 2:-2]
    assert both.abs().max() < 0.5 * there.abs().max()


def test_gradients_reach_the_faces() -> None:
    draw = torch.Generator().manual_seed(0)
    faces = torch.rand(1, 3, 5, 4, generator=draw, dtype=torch.float64, requires_grad=True)
    target = torch.rand(1, 5, 2, generator=draw, dtype=torch.float64) * 4
    assert torch.autograd.gradcheck(lambda x: warp.warp(x, moved(target, spread_px=1), target), (faces,))


def test_autocast_does_not_coarsen_the_field() -> None:
    target = points(0, dtype=torch.float32)
    source = moved(target)
    with torch.autocast("cpu", torch.bfloat16):
        found = field(source, target)
    assert torch.equal(found, field(source, target))


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_threads_change_nothing_and_stay_as_many_as_they_were() -> None:
    target = points(0, faces=5, dtype=torch.float32)
    source = moved(target)
    shared_out = warp.displacement(source, target, 70, 65)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    torch.testing.assert_close(warp.displacement(source, target, 70, 65), shared_out, atol=1e-5, rtol=0)


@pytest.mark.usefixtures("two_threads")
def test_weights_kept_without_gradients_serve_with_them() -> None:
    target = points(0, dtype=torch.float32)
    source = moved(target)
    warper = warp.Warper(HEIGHT, WIDTH)
    faces = torch.rand(2, 3, HEIGHT, WIDTH, requires_grad=True)
    with torch.inference_mode():
        expected = warp.warp(faces, source, target)
        torch.testing.assert_close(warper.warp(faces, source, target), expected)
    again = warper.warp(faces, source, target)
    torch.testing.assert_close(again, expected.clone())
    (gradient,) = torch.autograd.grad(again.sum(), faces)
    assert gradient.max() > 0


@pytest.mark.parametrize("options", WEIGHTINGS)
def test_kept_weights_give_the_same_warp(options: dict[str, float]) -> None:
    faces = torch.rand(4, 3, HEIGHT, WIDTH)
    target = points(0, faces=4, dtype=torch.float32)
    target[2] = target[0]
    source = moved(target)
    seen = torch.rand(4, 68, generator=torch.Generator().manual_seed(1)) < 0.8
    warper = warp.Warper(HEIGHT, WIDTH, **options)
    for chosen in (None, seen, None, seen):
        expected = warp.displacement(source, target, HEIGHT, WIDTH, chosen, **options)
        torch.testing.assert_close(warper.displacement(source, target, chosen), expected, atol=2e-5, rtol=0)
        torch.testing.assert_close(
            warper.warp(faces, source, target, chosen), warp.sample(faces, expected), atol=1e-4, rtol=0
        )


def test_weights_of_one_target_are_made_once_and_the_cache_stays_within_its_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = []
    original = warp.Warper._shares
    monkeypatch.setattr(warp.Warper, "_shares", lambda *given: made.append(1) or original(*given))
    one_target_bytes = (68 + 8) * HEIGHT * WIDTH * 4
    warper = warp.Warper(HEIGHT, WIDTH, cache_megabytes=2.5 * one_target_bytes / 1e6)
    targets = points(0, faces=3, dtype=torch.float32)
    for index, expected in ((0, 1), (0, 1), (1, 2), (0, 2), (2, 3), (0, 3), (1, 4)):  # the third drives 1 out, not 0
        target = targets[index, None].expand(3, -1, -1)
        warper.displacement(moved(target, seed=index + 5), target)
        assert len(made) == expected
        assert warper.kept_megabytes <= 2 * one_target_bytes / 1e6
    tiny = warp.Warper(HEIGHT, WIDTH, cache_megabytes=0.5 * one_target_bytes / 1e6)
    torch.testing.assert_close(tiny.displacement(moved(targets), targets), field(moved(targets), targets))
    assert tiny.kept_megabytes == 0


def test_no_faces_give_no_faces() -> None:
    none = torch.zeros(0, 68, 2)
    assert warp.warp(torch.zeros(0, 3, HEIGHT, WIDTH), none, none).shape == (0, 3, HEIGHT, WIDTH)
    assert warp.Warper(HEIGHT, WIDTH).displacement(none, none).shape == (0, 2, HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (torch.zeros(68, 2), torch.zeros(68, 2), r"expected source_points and target_points \(B, N, 2\).*\(68, 2\)"),
        (torch.zeros(1, 68, 2), torch.zeros(1, 5, 2), r"one N.*\(1, 68, 2\) and \(1, 5, 2\)"),
        (torch.zeros(1, 68, 3), torch.zeros(1, 68, 3), r"\(B, N, 2\)"),
        (torch.zeros(1, 0, 2), torch.zeros(1, 0, 2), "at least 1"),
        (torch.zeros(1, 5, 2).int(), torch.zeros(1, 5, 2), "float32 or float64, got torch.int32"),
        (torch.full((1, 5, 2), math.nan), torch.zeros(1, 5, 2), r"source_points\[0, 0\] is \[nan, nan\].*finite"),
        (torch.zeros(1, 5, 2), torch.full((1, 5, 2), math.inf), r"target_points\[0, 0\] is \[inf, inf\].*finite"),
        (torch.zeros(1, 5, 2), torch.full((1, 5, 2), -2e6), "within 1e"),
        (torch.zeros(1, 5, 2), torch.zeros(1, 5, 2, requires_grad=True), "expected detached points"),
    ],
)
def test_wrong_points_are_refused(source: Tensor, target: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        field(source, target)


def test_the_refused_point_is_named() -> None:
    target = points(0)
    target[1, 30, 1] = math.nan
    with pytest.raises(ValueError, match=r"target_points\[1, 30\]"):
        field(points(0), target)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"exponent": 1.0}, "exponent is 1.0; expected more than 1"),
        ({"exponent": 3.1}, "at most 3"),
        ({"exponent": math.nan}, "exponent is nan"),
        ({"border_points": 6}, "expected 0 or a multiple of 4"),
        ({"border_points": -4}, "border_points is -4"),
        ({"reach_px": 0.0}, "reach_px is 0.0; expected more than 0"),
        ({"reach_px": math.nan}, "reach_px is nan"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        field(points(0), points(0), **options)


def test_wrong_faces_sizes_and_masks_are_refused() -> None:
    target = points(0)
    with pytest.raises(ValueError, match=r"expected faces \(B, 3, H, W\).*\(2, 1, 21, 26\)"):
        warp.warp(torch.zeros(2, 1, HEIGHT, WIDTH), target, target)
    with pytest.raises(ValueError, match="got torch.uint8"):
        warp.warp(torch.zeros(2, 3, HEIGHT, WIDTH, dtype=torch.uint8), target, target)
    with pytest.raises(ValueError, match="each of 3 faces, got 2 sets"):
        warp.warp(torch.zeros(3, 3, HEIGHT, WIDTH), target, target)
    with pytest.raises(ValueError, match="faces are 9x9; expected 21x26"):
        warp.Warper(HEIGHT, WIDTH).warp(torch.zeros(2, 3, 9, 9), target, target)
    with pytest.raises(ValueError, match="at least 1 px, got 0x5"):
        warp.Warper(0, 5)
    with pytest.raises(ValueError, match="cache_megabytes is -1"):
        warp.Warper(5, 5, cache_megabytes=-1)
    with pytest.raises(ValueError, match=r"expected seen \(B, N\) = \(2, 68\) of bool"):
        warp.displacement(target, target, HEIGHT, WIDTH, torch.ones(2, 5, dtype=torch.bool))
    seen = torch.ones(2, 68, dtype=torch.bool)
    seen[1] = False
    with pytest.raises(ValueError, match="no point of set 1 counts"):
        warp.displacement(target, target, HEIGHT, WIDTH, seen, border_points=0)
