import io
import random
import subprocess
import sys
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from scipy import ndimage, stats
from torch import Tensor, nn

from facebridge import images
from facebridge import recipe as recipes
from facebridge.augmentation import Augmentation
from facebridge.recogniser import LUMA
from tests import drawn, tiny

EVERYTHING: dict[str, Any] = {
    "shift_px": 3,
    "rotation_deg": 10,
    "scale": 0.1,
    "brightness": 0.3,
    "contrast": 0.3,
    "saturation": 0.3,
    "gray": 0.5,
    "blur": 0.5,
    "low_resolution": 0.5,
    "noise": 0.05,
    "jpeg": 0.5,
    "erase": 0.5,
}


def built(height: int, width: int, **values: Any) -> nn.Module:
    return Augmentation(**values).build(height, width)


def smooth_faces(count: int, side: int, lowest: float = 0.4, highest: float = 0.6) -> Tensor:
    """Faces whose values stay clear of black and white."""
    return lowest + (highest - lowest) * torch.rand(count, 3, side, side)


def positions(count: int, height: int, width: int) -> Tensor:
    """Faces that say in every pixel where it lies."""
    each = torch.arange(height * width, dtype=torch.float32).reshape(height, width) / (height * width)
    return each.expand(count, 3, height, width)


def luma(faces: Tensor) -> Tensor:
    return LUMA[0] * faces[:, :1] + LUMA[1] * faces[:, 1:2] + LUMA[2] * faces[:, 2:]


def assert_evenly_spread(values: np.ndarray, lowest: float, highest: float) -> None:
    assert lowest <= values.min()
    assert values.max() <= highest
    assert stats.kstest(values, stats.uniform(lowest, highest - lowest).cdf).pvalue > 1e-3


def factors(changed: Tensor, faces: Tensor, anchor: Tensor) -> np.ndarray:
    """The factor of each face in changed = anchor + factor (faces - anchor), which must hold for every pixel."""
    spread = faces - anchor
    found = ((changed - anchor) * spread).sum((1, 2, 3)) / spread.square().sum((1, 2, 3))
    torch.testing.assert_close(changed, anchor + found[:, None, None, None] * spread, rtol=0, atol=2e-6)
    return found.double().numpy()


def test_windows_are_exact_copies_from_places_that_are_evenly_spread() -> None:
    height, width, shift_px = 6, 4, 2
    faces = positions(5000, height + 2 * shift_px, width + 2 * shift_px)
    windows = built(height, width, shift_px=shift_px)(faces)
    assert windows.shape == (5000, 3, height, width)
    places = (windows[:, 0, 0, 0] * faces[0, 0].numel()).round().int().tolist()
    tops, lefts = np.divmod(places, faces.shape[-1])
    for window, face, top, left in zip(windows[:200], faces, tops, lefts, strict=False):
        assert torch.equal(window, face[:, top : top + height, left : left + width])
    counts = np.zeros((2 * shift_px + 1, 2 * shift_px + 1))
    np.add.at(counts, (tops, lefts), 1)
    assert stats.chisquare(counts.ravel()).pvalue > 1e-3


@pytest.mark.parametrize("values", [{}, {"shift_px": 2}, EVERYTHING])
def test_evaluation_takes_the_middle_and_draws_nothing(values: dict[str, Any]) -> None:
    shift_px = values.get("shift_px", 0)
    faces = torch.rand(3, 3, 32 + 2 * shift_px, 24 + 2 * shift_px)
    before = torch.get_rng_state()
    seen = built(32, 24, **values).eval()(faces)
    assert torch.equal(seen, faces[:, :, shift_px : shift_px + 32, shift_px : shift_px + 24])
    assert seen.is_contiguous()
    assert torch.equal(torch.get_rng_state(), before)


def test_by_default_training_changes_nothing() -> None:
    faces = torch.rand(3, 3, 16, 16)
    assert torch.equal(built(16, 16)(faces), faces)


def test_a_turned_spot_keeps_its_distance_from_the_middle() -> None:
    angles, distances = spots(rotation_deg=20)
    assert_evenly_spread(angles, -20.1, 20.1)
    assert angles.std() > 10
    np.testing.assert_allclose(distances, 1, atol=0.01)


def test_a_scaled_spot_keeps_its_direction_from_the_middle() -> None:
    angles, distances = spots(scale=0.2)
    assert_evenly_spread(distances, 0.795, 1.205)
    assert distances.std() > 0.1
    np.testing.assert_allclose(angles, 0, atol=0.5)


def spots(**values: Any) -> tuple[np.ndarray, np.ndarray]:
    """By how many degrees, and how many times as far from the middle, a spot comes out that went in off the middle."""
    y, x = np.mgrid[:65, :65].astype(np.float32) - 32
    spot = np.exp(-((x - 12) ** 2 + (y - 9) ** 2) / (2 * 2.5**2))
    changed = built(65, 65, **values)(torch.from_numpy(spot).expand(300, 3, 65, 65))[:, 0].numpy()
    weight = changed.sum((1, 2))
    found_x, found_y = (changed * x).sum((1, 2)) / weight, (changed * y).sum((1, 2)) / weight
    angles = np.rad2deg(np.arctan2(found_y, found_x) - np.arctan2(9, 12))
    return angles, np.hypot(found_x, found_y) / 15


def test_brightness_multiplies_each_face_by_a_factor_of_its_own() -> None:
    faces = smooth_faces(300, 8)
    found = factors(built(8, 8, brightness=0.3)(faces), faces, torch.zeros(1, 1, 1, 1))
    assert_evenly_spread(found, 0.7 - 1e-5, 1.3 + 1e-5)


def test_contrast_moves_values_from_the_mean_gray_of_the_face() -> None:
    faces = smooth_faces(300, 8)
    mean_gray = luma(faces).mean((1, 2, 3), keepdim=True)
    found = factors(built(8, 8, contrast=0.4)(faces), faces, mean_gray)
    assert_evenly_spread(found, 0.6 - 1e-4, 1.4 + 1e-4)


def test_saturation_moves_values_from_the_gray_of_the_pixel() -> None:
    faces = smooth_faces(300, 8)
    found = factors(built(8, 8, saturation=0.5)(faces), faces, luma(faces))
    assert_evenly_spread(found, 0.5 - 1e-4, 1.5 + 1e-4)


def test_gray_is_the_luma_of_the_recognisers() -> None:
    faces = torch.rand(4, 3, 8, 8)
    torch.testing.assert_close(built(8, 8, gray=1.0)(faces), luma(faces).expand(-1, 3, -1, -1))


def test_blur_equals_scipys() -> None:
    faces = drawn.aligned_faces(2)
    blurred = built(112, 96, blur=1.0, blur_sigma_px=(1.5, 1.5))(faces)
    expected = ndimage.gaussian_filter(faces.numpy(), (0, 0, 1.5, 1.5), mode="mirror", radius=(0, 0, 5, 5))
    np.testing.assert_allclose(blurred.numpy(), expected, atol=1e-5)


def test_low_resolution_equals_pillows_reduction_and_opencvs_enlargement() -> None:
    faces = smooth_faces(20, 24)
    changed = built(24, 24, low_resolution=1.0, low_resolution_factor=3.0)(faces).numpy()
    sizes = set()
    for before, after in zip(faces.numpy(), changed, strict=True):
        errors = {size: np.abs(reduced(before, size) - after).max() for size in range(4, 25)}
        best = min(errors, key=lambda size: errors[size])
        assert errors[best] < 1e-4
        sizes.add(best)
    assert min(sizes) >= 8
    assert len(sizes) > 5


def reduced(face: np.ndarray, size: int) -> np.ndarray:
    """A face (3, H, W) reduced to size x size and enlarged again."""
    small = [Image.fromarray(plane).resize((size, size), Image.Resampling.BICUBIC) for plane in face]
    return np.stack(
        [cv2.resize(np.asarray(plane), face.shape[:0:-1], interpolation=cv2.INTER_CUBIC) for plane in small]
    )


def test_noise_is_gaussian_with_a_strength_of_each_faces_own() -> None:
    faces = torch.full((400, 3, 16, 16), 0.5)
    noise = (built(16, 16, noise=0.05)(faces) - faces).numpy()
    strengths = noise.std((1, 2, 3))
    assert_evenly_spread(strengths, 0, 0.053)
    normal = (noise / strengths[:, None, None, None]).ravel()
    assert stats.kstest(normal[::7], "norm").pvalue > 1e-3


def test_jpeg_equals_pillows() -> None:
    faces = drawn.aligned_faces(3)
    changed = images.to_pictures(built(112, 96, jpeg=1.0, jpeg_quality=(30, 30))(faces))
    for before, after in zip(images.to_pictures(faces), changed, strict=True):
        written = io.BytesIO()
        Image.fromarray(before).save(written, "JPEG", quality=30, subsampling="4:2:0")
        expected = np.asarray(Image.open(written)).astype(int)
        assert np.abs(expected - after).max() <= 2, "two versions of one codec"
        assert np.abs(expected - before).mean() > 2


def test_erasing_blackens_one_rectangle_and_leaves_the_rest_bit_for_bit() -> None:
    faces = smooth_faces(200, 40)
    changed = built(40, 40, erase=1.0, erase_area=(0.05, 0.2))(faces)
    shares = []
    for before, after in zip(faces, changed, strict=True):
        black = (after == 0).all(0)
        rows, columns = black.any(1).nonzero()[:, 0], black.any(0).nonzero()[:, 0]
        inside = torch.zeros_like(black)
        inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
        assert torch.equal(black, inside)
        assert torch.equal(after[:, ~inside], before[:, ~inside])
        shares.append(float(black.float().mean()))
    assert 0.04 < min(shares) < max(shares) < 0.22
    assert max(shares) - min(shares) > 0.1


@pytest.mark.parametrize("name", ["gray", "blur", "low_resolution", "jpeg", "erase"])
def test_a_probability_is_the_share_of_faces_that_change_and_the_others_stay_bit_for_bit(name: str) -> None:
    faces = torch.rand(500, 3, 16, 16)
    changed = built(16, 16, **{name: 0.3})(faces)
    share = float((changed != faces).flatten(1).any(1).float().mean())
    assert abs(share - 0.3) < 4 * (0.3 * 0.7 / 500) ** 0.5


def test_noise_falls_on_gray_faces_in_colour_and_nothing_on_what_is_erased() -> None:
    faces = smooth_faces(50, 20)
    changed = built(20, 20, gray=1.0, noise=0.1, erase=1.0)(faces)
    assert (changed[:, 0] != changed[:, 1]).flatten(1).any(1).all()
    assert (changed == 0).all(1).flatten(1).any(1).all()


def test_a_turned_face_is_filled_from_around_the_window() -> None:
    # A slope stays even when it is turned, but not where an edge goes on beyond itself.
    slope = torch.arange(32.0).expand(200, 3, 32, 32) / 32
    windows = built(20, 20, shift_px=6, rotation_deg=4)(slope)[:, 0].reshape(200, -1).double().numpy() * 32
    y, x = np.mgrid[:20, :20].reshape(2, -1)
    plane = np.stack([np.ones_like(x), x, y], 1)
    fitted, *_ = np.linalg.lstsq(plane, windows.T)
    unevenness_px = np.abs(plane @ fitted - windows.T).max(0)
    # A window at the very edge of the larger face may meet the edge: 48 of 169 lie there.
    assert (unevenness_px < 0.08).mean() > 0.65


VALUES = {name: st.just(0.0) | st.floats(0, 1) for name in ("gray", "blur", "low_resolution", "jpeg", "erase", "noise")}
VALUES |= {name: st.just(0.0) | st.floats(0, 0.9) for name in ("scale", "brightness", "contrast", "saturation")}
VALUES |= {"rotation_deg": st.just(0.0) | st.floats(0, 180), "shift_px": st.integers(0, 3)}


@settings(max_examples=25)
@given(st.fixed_dictionaries(VALUES), st.integers(0, 2**31), st.sampled_from([(16, 16), (21, 17), (32, 24)]))
def test_any_setting_keeps_shape_range_and_input(values: dict[str, Any], seed: int, size: tuple[int, int]) -> None:
    margin = 2 * values["shift_px"]
    torch.manual_seed(seed)
    faces = torch.rand(5, 3, size[0] + margin, size[1] + margin).round(decimals=1)
    before = faces.clone()
    changed = built(*size, **values)(faces)
    assert changed.shape == (5, 3, *size)
    assert changed.dtype == torch.float32
    assert changed.is_contiguous()
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert not changed.requires_grad
    assert torch.equal(faces, before)


def test_the_seed_of_torch_alone_decides_every_bit() -> None:
    faces = torch.rand(16, 3, 38, 38)
    augment = built(32, 32, **EVERYTHING)

    def seen(seed: int, other_seed: int) -> Tensor:
        torch.manual_seed(seed)
        np.random.seed(other_seed)
        random.seed(other_seed)
        return augment(faces)

    assert torch.equal(seen(5, 1), seen(5, 2))
    assert torch.equal(seen(5, 1), seen(5, 1))
    assert not torch.equal(seen(5, 1), seen(6, 1))


@pytest.mark.parametrize("name", [name for name in EVERYTHING if name != "gray"])
def test_every_face_of_a_batch_draws_its_own(name: str) -> None:
    margin = 3 if name == "shift_px" else 0
    face = torch.rand(1, 3, 24 + 2 * margin, 24 + 2 * margin)
    value = 1.0 if name in ("blur", "low_resolution", "jpeg", "erase") else EVERYTHING[name]
    changed = built(24, 24, **{name: value})(face.expand(8, -1, -1, -1))
    assert len({each.numpy().tobytes() for each in changed}) > 4


def test_mixed_precision_changes_nothing() -> None:
    faces = torch.rand(4, 3, 38, 38)
    augment = built(32, 32, **EVERYTHING)
    torch.manual_seed(1)
    plain = augment(faces)
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(augment(faces), plain)


def test_there_is_nothing_to_learn_or_to_keep() -> None:
    augment = built(32, 32, **EVERYTHING)
    augment(torch.rand(2, 3, 38, 38))
    assert not augment.state_dict()
    assert not list(augment.parameters())


def test_kornia_is_imported_only_where_it_is_needed_and_brings_no_torchvision() -> None:
    program = f"""
import sys
from facebridge.augmentation import Augmentation
Augmentation().build(32, 32)
Augmentation(shift_px=2, noise=0.1, low_resolution=0.5, jpeg=0.5).build(32, 32)
assert "kornia" not in sys.modules
Augmentation(**{EVERYTHING}).build(32, 32)
assert "kornia" in sys.modules and "torchvision" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_faces_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="expected faces of 36x28, got 32x24"):
        built(32, 24, shift_px=2)(torch.rand(1, 3, 32, 24))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"shift_px": -1}, "greater than or equal to 0"),
        ({"gray": 1.5}, "less than or equal to 1"),
        ({"scale": 1.0}, "less than 1"),
        ({"blur_sigma_px": [2.0, 1.0]}, "from the smaller to the larger"),
        ({"jpeg_quality": [90, 40]}, "from the smaller to the larger"),
        ({"erase_area": [0.5, 1.5]}, "less than 1"),
        ({"sepia": 0.5}, "not permitted"),
    ],
)
def test_impossible_settings_are_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Augmentation(**values)


def test_a_blur_wider_than_the_face_is_refused() -> None:
    with pytest.raises(ValueError, match="too wide for faces of 16x12: lower blur_sigma_px"):
        built(16, 12, blur=0.5, blur_sigma_px=(1.0, 4.0))


def test_an_augmentation_survives_the_toml_of_a_recipe() -> None:
    wanted = Augmentation(**EVERYTHING)
    written = tiny.recipe().model_copy(update={"settings": {"augmentation": wanted.model_dump(mode="json")}})
    read = recipes.tomllib.loads(recipes.to_toml(written))["settings"]["augmentation"]
    assert Augmentation.model_validate(read) == wanted
