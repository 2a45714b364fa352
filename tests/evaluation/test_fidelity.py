"""Fidelity figures against scikit-image, scipy and closed forms."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from facebridge.evaluation.fidelity import (
    frechet_distance,
    identity_similarity,
    luma,
    psnr,
    ssim,
    ssim_uniform,
)


@pytest.fixture(scope="module")
def faces():
    random = np.random.default_rng(0)
    target = random.integers(0, 256, (3, 3, 7, 6)).repeat(6, axis=2).repeat(6, axis=3)  # flat patches, 42 x 36
    generated = np.clip(target + random.integers(-30, 31, target.shape), 0, 255)
    return torch.tensor(generated / 255, dtype=torch.float32), torch.tensor(target / 255, dtype=torch.float32)


def as_pictures(tensor):
    return (tensor.numpy() * 255).round().astype(np.uint8).transpose(0, 2, 3, 1)


def as_luma(tensor):
    return 16 + as_pictures(tensor) / 255.0 @ np.array([65.481, 128.553, 24.966])


def test_psnr_equals_scikit_image(faces):
    for channels, convert in (("rgb", as_pictures), ("y", as_luma)):
        pairs = zip(convert(faces[0]), convert(faces[1]), strict=True)
        expected = [peak_signal_noise_ratio(target, generated, data_range=255) for generated, target in pairs]
        np.testing.assert_allclose(psnr(*faces, channels=channels), expected, atol=1e-6)


def test_ssim_equals_scikit_image(faces):
    for channels, convert in (("rgb", as_pictures), ("y", as_luma)):
        expected = [
            structural_similarity(
                generated, target, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
                channel_axis=-1 if channels == "rgb" else None,
            )
            for generated, target in zip(convert(faces[0]), convert(faces[1]), strict=True)
        ]  # fmt: skip
        np.testing.assert_allclose(ssim(*faces, channels=channels), expected, atol=1e-5)


def cut_down(tensor):
    return (tensor.numpy() * 255 + 1e-3).astype(np.uint8).transpose(0, 2, 3, 1)


def uneven(faces):
    """Faces between the levels of 8 bits."""
    return faces[0] * 0.9 + 0.0013, faces[1]


def test_figures_of_the_ports_equal_scikit_image_on_truncated_pictures(faces):
    generated, target = uneven(faces)
    pairs = list(zip(cut_down(generated), as_pictures(target), strict=True))
    expected = [structural_similarity(target, made, channel_axis=-1) for made, target in pairs]
    np.testing.assert_allclose(ssim_uniform(generated, target), expected, atol=1e-9)
    expected = [peak_signal_noise_ratio(target, made) for made, target in pairs]
    np.testing.assert_allclose(psnr(generated, target, "rgb", "down"), expected, atol=1e-6)


def test_uniform_ssim_equals_a_plain_loop_over_windows(faces):
    generated, target = (face[:1, :, :12, :10] for face in uneven(faces))
    made, sharp = cut_down(generated)[0].astype(float), as_pictures(target)[0].astype(float)
    found = []
    for channel in range(3):
        for top in range(12 - 6):
            for left in range(10 - 6):
                one, other = (each[top : top + 7, left : left + 7, channel].ravel() for each in (made, sharp))
                covariance = np.cov(one, other)
                means = one.mean(), other.mean()
                above = (2 * means[0] * means[1] + 6.5025) * (2 * covariance[0, 1] + 58.5225)
                below = (means[0] ** 2 + means[1] ** 2 + 6.5025) * (np.trace(covariance) + 58.5225)
                found.append(above / below)
    assert ssim_uniform(generated, target).tolist() == pytest.approx([np.mean(found)], abs=1e-9)


def test_pictures_of_eight_bits_are_not_cut_down_further():
    levels = (torch.arange(256, dtype=torch.uint8).float() / 255).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert psnr(levels, levels + 1e-9, "rgb", "down").tolist() == pytest.approx([48.1308], abs=1e-4)
    assert psnr(levels, (levels * 255).round() / 255, "rgb", "down").tolist() == pytest.approx([48.1308], abs=1e-4)


def test_unknown_rounding_and_small_faces_are_refused(faces):
    with pytest.raises(ValueError, match="rounding"):
        psnr(*faces, rounding="up")
    with pytest.raises(ValueError, match="at least 7"):
        ssim_uniform(torch.rand(1, 3, 6, 9), torch.rand(1, 3, 6, 9))


def test_equal_faces_are_as_near_as_can_be(faces):
    assert psnr(faces[0], faces[0]).tolist() == pytest.approx([48.1308] * 3, abs=1e-4)
    assert ssim(faces[0], faces[0]).tolist() == pytest.approx([1.0] * 3)


def test_luma_of_black_and_white_is_that_of_matlab():
    ends = torch.stack([torch.zeros(3, 1, 1), torch.ones(3, 1, 1)])
    assert luma(ends).flatten().tolist() == pytest.approx([16, 235])


def test_frechet_distance_equals_the_matrix_root():
    random = np.random.default_rng(1)
    one = random.normal(size=(200, 8)) @ random.normal(size=(8, 8))
    other = random.normal(size=(150, 8)) @ random.normal(size=(8, 8)) + 0.5
    covariances = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    root = sqrtm(covariances[0] @ covariances[1]).real
    expected = np.sum((one.mean(0) - other.mean(0)) ** 2) + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(one, other) == pytest.approx(expected)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(one, one + [3, 0, 0, 0, 0, 0, 0, 0]) == pytest.approx(9)


def test_frechet_distance_of_few_rows_needs_no_full_covariance():
    random = np.random.default_rng(1)
    few = random.normal(size=(5, 64))
    assert frechet_distance(few, few[::-1]) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(few, 2 * few) == pytest.approx(
        np.sum(few.mean(0) ** 2) + np.trace(np.cov(few, rowvar=False))
    )


def test_identity_similarity_is_the_cosine_of_each_face_with_its_target():
    assert identity_similarity(np.array([[2.0, 0], [0, 1]]), np.array([[1.0, 0], [1, 1]])).tolist() == pytest.approx(
        [1, 2**-0.5]
    )


@pytest.mark.parametrize(
    ("compare", "message"),
    [
        (lambda: psnr(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 9)), "equal in shape"),
        (lambda: psnr(torch.zeros(3, 8, 8), torch.zeros(3, 8, 8)), "equal in shape"),
        (lambda: psnr(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8), channels="x"), "'y' or 'rgb'"),
        (lambda: ssim(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)), "at least 11 pixels"),
        (lambda: frechet_distance(np.zeros((1, 4)), np.zeros((5, 4))), "N >= 2"),
        (lambda: frechet_distance(np.zeros((5, 3)), np.zeros((5, 4))), "of one D"),
        (lambda: frechet_distance(np.full((5, 4), np.nan), np.zeros((5, 4))), "not finite"),
    ],
)
def test_what_cannot_be_compared_is_refused(compare, message):
    with pytest.raises(ValueError, match=message):
        compare()
