"""A face put back: nothing else changes, and it lies where and as it was cut out."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facebridge import crops, pasting

CROP = crops.crop("sphereface")
GENERATOR = np.random.default_rng(0)
PICTURE = cv2.GaussianBlur(GENERATOR.integers(0, 256, (150, 170, 3), np.uint8), (0, 0), 2)
FACE = cv2.GaussianBlur(GENERATOR.integers(0, 256, (CROP.height, CROP.width, 3), np.uint8), (0, 0), 2)


def similarity(scale: float, degrees: float, x: float, y: float) -> np.ndarray:
    turn = scale * np.exp(1j * np.radians(degrees))
    return np.array([[turn.real, -turn.imag, x], [turn.imag, turn.real, y]])


def inside_px(matrix: np.ndarray, x: int, y: int) -> float:
    """How far, in pixels of the crop, a pixel lies from the crop's outer edge; negative outside."""
    u, v = matrix @ [x, y, 1]
    return float(min(u + 0.5, CROP.width - 0.5 - u, v + 0.5, CROP.height - 0.5 - v))


@settings(max_examples=12)
@given(st.floats(0.4, 3), st.floats(-60, 60), st.floats(-90, 40), st.floats(-90, 40))
def test_pixels_outside_are_untouched_and_inside_is_the_warped_face(
    scale: float, degrees: float, x: float, y: float
) -> None:
    matrix = similarity(scale, degrees, x, y)
    pasted = pasting.paste(PICTURE, FACE, matrix)
    warped = pasting.warped_back(FACE, matrix, PICTURE.shape[:2])
    margin = pasting.EDGE * CROP.width
    for row, column in np.random.default_rng(1).integers(0, PICTURE.shape[:2], (300, 2)):
        depth = inside_px(matrix, column, row)
        if depth <= 0:
            assert (pasted[row, column] == PICTURE[row, column]).all()
        elif depth >= margin:
            assert np.abs(pasted[row, column].astype(int) - warped[row, column]).max() <= 2  # OpenCV's 1/32 px
        else:
            share = depth / margin
            weight = 3 * share**2 - 2 * share**3
            wanted = weight * warped[row, column] + (1 - weight) * PICTURE[row, column].astype(float)
            assert np.abs(pasted[row, column] - wanted).max() <= 3


@pytest.mark.parametrize("whole", [1, 2])
def test_enlarged_and_shifted_face_equals_plain_sampling(whole: int) -> None:
    """Where crop pixels fall on whole pixels of the picture, the picture shows them."""
    matrix = similarity(1 / whole, 0, -20 / whole, -10 / whole)
    pasted = pasting.paste(PICTURE, FACE, matrix)
    for v in range(14, 60, 5):
        for u in range(14, 60, 5):
            assert (pasted[10 + whole * v, 20 + whole * u] == FACE[v, u]).all()


def test_reduced_face_is_the_mean_over_the_area() -> None:
    matrix = similarity(2, 0, 0.5, 0.5)  # each pixel of the picture lies amid four of the crop
    pasted = pasting.paste(PICTURE, FACE, matrix)
    for y in range(8, 40):
        for x in range(8, 36):
            mean = FACE[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean((0, 1))
            assert np.abs(pasted[y, x] - mean).max() <= 0.51


def test_face_pasted_where_it_was_cut_out_changes_almost_nothing() -> None:
    matrix = similarity(0.9, 12, -8, -26)
    cut = crops.cut(PICTURE, matrix, CROP)
    inside = crops.cut(np.full_like(PICTURE, 255), matrix, CROP) > 0
    assert inside.all()
    assert np.abs(pasting.paste(PICTURE, cut, matrix).astype(int) - PICTURE).mean() < 1.5


def test_crop_beside_the_picture_changes_nothing() -> None:
    assert (pasting.paste(PICTURE, FACE, similarity(1, 0, 500, 0)) == PICTURE).all()
