"""Similarities between faces and crops, against points worked out by hand, plain loops, scikit-image and OpenCV."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.transform import SimilarityTransform

from facebridge import crops
from facebridge.data import face_list

SPHEREFACE = np.array(crops.crop("sphereface").points)
TURNED_90 = [[0, -2, 10], [2, 0, 20]]  # by hand: x' = 10 - 2y, y' = 20 + 2x
CONVENTIONS = ["umeyama", "cp2tform"]


def moved(matrix, points):
    return np.asarray(points) @ np.asarray(matrix)[:, :2].T + np.asarray(matrix)[:, 2]


def noisy_faces(noise_px, count=2000):
    """Faces of about LFW's size with noise on each point."""
    generator = np.random.default_rng(0)
    return moved([[1.25, 0, 65], [0, 1.25, 50]], SPHEREFACE) + generator.normal(0, noise_px, (count, 5, 2))


def fitted_by_least_squares(points, reference):
    """Source to destination without reflection, by a plain linear system per face."""
    rows, values = [], []
    for (x, y), (u, v) in zip(points, reference, strict=True):
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
        values += [u, v]
    (a, b, c, d), *_ = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)
    return np.array([[a, -b, c], [b, a, d]])


def inverted(matrix):
    return np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]


def corner_distances(noise_px):
    points = noisy_faces(noise_px)
    corners = np.array([[0, 0], [95, 0], [0, 111], [95, 111]])
    ours, theirs = (crops.similarity(points, SPHEREFACE, convention) for convention in CONVENTIONS)
    distances = [
        np.linalg.norm(moved(a, corners) - moved(b, corners), axis=-1) for a, b in zip(ours, theirs, strict=True)
    ]
    return np.array(distances)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize(
    "matrix",
    [
        [[1, 0, 0], [0, 1, 0]],
        [[1, 0, -7.5], [0, 1, 12]],
        [[3, 0, 0], [0, 3, 0]],
        [[0, -1, 0], [1, 0, 0]],
        TURNED_90,
        [[-1, 0, 4], [0, -1, 5]],
    ],
)
def test_exact_similarity_is_recovered(matrix, convention):
    source = [[0, 0], [4, 0], [2, 2], [1, 5], [3, 5]]
    np.testing.assert_allclose(crops.similarity(source, moved(matrix, source), convention), matrix, atol=1e-12)


def test_turn_by_90_degrees_takes_hand_computed_points_to_hand_computed_points():
    source = [[0, 0], [1, 0], [0, 1]]
    reference = [[10, 20], [10, 22], [8, 20]]
    np.testing.assert_allclose(crops.similarity(source, reference), TURNED_90, atol=1e-12)


def test_mirrored_face_is_turned_back_by_cp2tform():
    # A picture 200 wide, mirrored: x' = 199 - x. The crop of the mirrored face is that of the face.
    face = moved([[1.5, 0, 30], [0, 1.5, 20]], SPHEREFACE)
    mirrored = face * [-1, 1] + [199, 0]
    matrix = crops.similarity(mirrored, SPHEREFACE, "cp2tform")
    np.testing.assert_allclose(moved(matrix, mirrored), SPHEREFACE, atol=1e-9)
    assert np.linalg.det(matrix[:, :2]) == pytest.approx(-1 / 1.5**2)


def test_umeyama_never_mirrors():
    matrix = crops.similarity(SPHEREFACE * [-1, 1], SPHEREFACE, "umeyama")
    assert np.linalg.det(matrix[:, :2]) > 0


def test_faces_with_noise_are_not_mirrored():
    points = noisy_faces(6)
    for convention in CONVENTIONS:
        assert (np.linalg.det(crops.similarity(points, SPHEREFACE, convention)[:, :, :2]) > 0).all()


def test_umeyama_equals_scikit_image_and_plain_least_squares():
    points = noisy_faces(5, count=20)
    ours = crops.similarity(points, SPHEREFACE, "umeyama")
    for face, matrix in zip(points, ours, strict=True):
        theirs = SimilarityTransform.from_estimate(face, SPHEREFACE).params[:2]
        np.testing.assert_allclose(matrix, theirs, atol=1e-9)
        np.testing.assert_allclose(matrix, fitted_by_least_squares(face, SPHEREFACE), atol=1e-9)


def test_cp2tform_equals_inverted_least_squares_from_reference_to_picture():
    points = noisy_faces(5, count=20)
    ours = crops.similarity(points, SPHEREFACE, "cp2tform")
    for face, matrix in zip(points, ours, strict=True):
        np.testing.assert_allclose(matrix, inverted(fitted_by_least_squares(SPHEREFACE, face)), atol=1e-9)


def test_cp2tform_takes_the_fit_with_the_smaller_error_in_the_crop():
    points = np.random.default_rng(1).uniform(0, 100, (200, 5, 2))  # no faces: either fit may win
    ours = crops.similarity(points, SPHEREFACE, "cp2tform")
    flip = np.array([[-1, 0, 0], [0, 1, 0]])
    num_mirrored = 0
    for face, matrix in zip(points, ours, strict=True):
        plain = inverted(fitted_by_least_squares(SPHEREFACE, face))
        mirrored = flip[:, :2] @ inverted(fitted_by_least_squares(SPHEREFACE * [-1, 1], face))
        errors = [np.linalg.norm(moved(fit, face) - SPHEREFACE) for fit in (plain, mirrored)]
        np.testing.assert_allclose(matrix, plain if errors[0] <= errors[1] else mirrored, rtol=1e-6, atol=1e-6)
        num_mirrored += errors[0] > errors[1]
    assert 0 < num_mirrored < 200


@pytest.mark.parametrize(("noise_px", "expected_px"), [(1, 0.14), (3, 1.24), (6, 4.8)])
def test_conventions_differ_by_the_known_amount_at_the_corners(noise_px, expected_px):
    assert corner_distances(noise_px).mean() == pytest.approx(expected_px, rel=0.5)


def test_conventions_agree_without_noise():
    assert corner_distances(0).max() < 1e-9


def test_batch_equals_one_at_a_time():
    points = noisy_faces(3, count=6).reshape(2, 3, 5, 2)
    for convention in CONVENTIONS:
        batch = crops.similarity(points, SPHEREFACE, convention)
        assert batch.shape == (2, 3, 2, 3)
        np.testing.assert_allclose(batch[1, 2], crops.similarity(points[1, 2], SPHEREFACE, convention), atol=1e-12)


@given(
    scale=st.floats(0.05, 20),
    angle=st.floats(-np.pi, np.pi),
    shift=st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
    convention=st.sampled_from(CONVENTIONS),
)
def test_any_similarity_is_recovered(scale, angle, shift, convention):
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    matrix = np.array([[cos, -sin, shift[0]], [sin, cos, shift[1]]])
    np.testing.assert_allclose(crops.similarity(SPHEREFACE, moved(matrix, SPHEREFACE), convention), matrix, atol=1e-6)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_points_without_a_similarity_are_refused_by_index(convention):
    faces = np.stack([SPHEREFACE, np.full((5, 2), 3.0)])
    with pytest.raises(ValueError, match=r"coincide \(at index \(1,\)\)"):
        crops.similarity(faces, SPHEREFACE, convention)
    faces[1] = np.nan
    with pytest.raises(ValueError, match=r"not finite.*index \(1,\)"):
        crops.similarity(faces, SPHEREFACE, convention)


def test_points_without_orientation_are_refused():
    square = np.array([[0, 0], [2, 0], [2, 2], [0, 2]], float)
    with pytest.raises(ValueError, match="no similarity fits"):
        crops.similarity(square, square[[0, 3, 2, 1]], "umeyama")


def test_wrong_shapes_and_options_are_refused():
    with pytest.raises(ValueError, match="shape"):
        crops.similarity(np.zeros(10), SPHEREFACE)
    with pytest.raises(ValueError, match="68 points cannot be fitted to 5"):
        crops.similarity(np.random.default_rng(0).normal(size=(68, 2)), SPHEREFACE)
    with pytest.raises(ValueError, match="umeyama, cp2tform"):
        crops.similarity(SPHEREFACE, SPHEREFACE, "matlab")
    with pytest.raises(ValueError, match="cubic, linear"):
        crops.align(np.zeros((9, 9, 3), np.uint8), SPHEREFACE, crops.crop("arcface"), interpolation="best")
    with pytest.raises(ValueError, match="one face"):
        crops.align(np.zeros((9, 9, 3), np.uint8), SPHEREFACE[None], crops.crop("arcface"))


def test_unknown_crop_names_the_known_ones():
    with pytest.raises(ValueError, match="known crops: arcface, ffe, lfw_deepfunneled, light_cnn"):
        crops.crop("sphere")


def test_sizes_and_points_are_the_published_ones():
    sizes = {name: (crops.crop(name).height, crops.crop(name).width) for name in crops.names()}
    assert sizes == {
        "sphereface": (112, 96),
        "arcface": (112, 112),
        "lfw_deepfunneled": (250, 250),
        "light_cnn": (128, 128),
        "tp_gan": (128, 128),
        "ffe": (256, 256),
        "pcfh": (144, 144),
        "pcfh_256": (256, 256),
    }
    assert crops.crop("sphereface").points[2] == (48.0252, 71.7366)
    light_cnn = np.array(crops.crop("light_cnn").points)
    np.testing.assert_allclose(light_cnn[:2, 1], 40, atol=1e-5)  # level eyes on row 40
    np.testing.assert_allclose(light_cnn[3:, 1].mean(), 88, atol=1e-9)  # mouth 48 rows below
    np.testing.assert_allclose(light_cnn[:2, 0].mean(), 63.5, atol=1e-9)
    tp_gan = np.array(crops.crop("tp_gan").points)
    assert tp_gan[:3].tolist() == [[44, 41], [86, 41], [64, 65]]
    np.testing.assert_allclose(tp_gan[3:].mean(0), [65, 89], atol=1e-9)


def test_height_may_follow_a_crops_name():
    assert crops.crop("arcface_112") is crops.crop("arcface")
    assert crops.crop("pcfh_256").height == 256  # a crop of that name, not pcfh (144) at another height
    with pytest.raises(ValueError, match="arcface_0"):
        crops.crop("arcface_0")


@pytest.mark.parametrize(("name", "height", "width"), [("arcface_64", 64, 64), ("sphereface_56", 56, 48)])
def test_another_height_shows_the_same_part_of_the_face(name: str, height: int, width: int):
    small, whole = crops.crop(name), crops.crop(name.rpartition("_")[0])
    assert (small.name, small.height, small.width) == (name, height, width)
    factor = height / whole.height
    for (x, y), (large_x, large_y) in zip(small.points, whole.points, strict=True):
        assert (x + 0.5, y + 0.5) == pytest.approx((factor * (large_x + 0.5), factor * (large_y + 0.5)))


def test_a_height_without_a_whole_width_is_refused():
    with pytest.raises(ValueError, match="no whole width at 57 px"):
        crops.crop("sphereface_57")


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 60), (60, 1), (2, 2)])
@pytest.mark.timeout(20)
def test_mirroring_a_line_of_pixels_comes_to_an_end(height: int, width: int):
    picture = np.full((height, width, 3), 200, np.uint8)
    face = crops.align(picture, SPHEREFACE, crops.crop("sphereface"), outside="mirror")
    assert face.shape == (112, 96, 3)


@pytest.mark.real
def test_deep_funneled_crop_is_where_the_faces_of_lfw_are(real_data: Path):
    points = np.stack(list(face_list.read_landmarks(real_data / "data/lfw/landmarks5.csv").values()))
    assert np.abs(np.median(points, 0) - crops.crop("lfw_deepfunneled").points).max() < 0.01


def test_between_sphereface_and_arcface_is_a_shift_by_8_px():
    matrix = crops.between(crops.crop("sphereface"), crops.crop("arcface"))
    np.testing.assert_allclose(matrix, [[1, 0, 8], [0, 1, 0]], atol=1e-12)


def test_every_crop_holds_its_points_and_is_not_mirrored():
    for name in crops.names():
        crop = crops.crop(name)
        points = np.array(crop.points)
        assert (points > 0).all()
        assert (points < [crop.width - 1, crop.height - 1]).all()
        assert not crops.is_mirrored(points)


def test_mirrored_points_are_noticed_at_any_roll():
    quarter_turn = SPHEREFACE @ np.array([[0, 1], [-1, 0]])
    swapped = SPHEREFACE[[1, 0, 2, 4, 3]]
    faces = np.stack([SPHEREFACE, quarter_turn, -SPHEREFACE, swapped, SPHEREFACE * [-1, 1], SPHEREFACE * np.nan])
    assert crops.is_mirrored(faces).tolist() == [False, False, False, True, True, False]


def test_five_points_of_68_are_eye_centres_nose_tip_and_mouth_corners():
    points = np.random.default_rng(0).uniform(0, 100, (3, 68, 2))
    five = crops.five_points(points)
    np.testing.assert_allclose(five[1, 0], sum(points[1, index] for index in range(36, 42)) / 6)
    np.testing.assert_allclose(five[1, 1], sum(points[1, index] for index in range(42, 48)) / 6)
    np.testing.assert_array_equal(five[:, 2:], points[:, [30, 48, 54]])
    with pytest.raises(ValueError, match="68"):
        crops.five_points(points[:, :5])


def test_align_cuts_a_face_out_without_interpolation_where_pixels_meet():
    picture = np.random.default_rng(0).integers(0, 256, (150, 140, 3), dtype=np.uint8)
    crop = crops.crop("arcface")
    face = crops.align(picture, np.array(crop.points) + [20, 30], crop)
    assert face.dtype == np.uint8
    np.testing.assert_array_equal(face, picture[30:142, 20:132])


def test_align_is_black_outside_of_the_picture():
    crop = crops.crop("sphereface")
    face = crops.align(np.full((60, 60, 3), 255, np.uint8), np.array(crop.points) - [30, 40], crop)
    assert (face[:38, :28] == 0).all()
    assert (face[42:98, 32:88] == 255).all()


def test_recrop_between_shifted_crops_copies_pixels_exactly():
    sphereface, arcface = crops.crop("sphereface"), crops.crop("arcface")
    faces = torch.rand(2, 3, 112, 96)
    wide = crops.recrop(faces, sphereface, arcface)
    assert torch.equal(wide[..., 8:104], faces)
    assert not wide[..., :8].any()
    assert not wide[..., 104:].any()
    assert torch.equal(crops.recrop(wide, arcface, sphereface), faces)
    assert crops.recrop(faces, sphereface, sphereface) is faces


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("arcface", "light_cnn"),
        ("light_cnn", "sphereface"),
        ("ffe", "arcface"),
        ("tp_gan", "pcfh"),
        ("sphereface", "ffe"),
    ],
)
def test_recrop_equals_linear_warp_of_opencv(source, target):
    source, target = crops.crop(source), crops.crop(target)
    faces = torch.rand(2, 3, source.height, source.width)
    ours = crops.recrop(faces, source, target)[1].permute(1, 2, 0).numpy()
    picture = faces[1].permute(1, 2, 0).contiguous().numpy()
    size = (target.width, target.height)
    theirs = cv2.warpAffine(picture, crops.between(source, target), size, flags=cv2.INTER_LINEAR)
    # OpenCV 4 rounds source positions to 1/32 px; on noise that moves a pixel by up to 1/32 of the range per axis.
    assert np.abs(ours - theirs).max() < 2 / 32
    assert np.abs(ours - theirs).mean() < 0.01


def test_recrop_puts_the_points_where_the_target_wants_them():
    source, target = crops.crop("light_cnn"), crops.crop("sphereface")
    y, x = np.mgrid[: source.height, : source.width].astype(np.float32)
    faces = torch.from_numpy(np.stack([x, y, x * 0]))[None]  # a picture of its own coordinates
    seen = crops.recrop(faces, source, target)[0]
    for (source_x, source_y), (target_x, target_y) in zip(source.points, target.points, strict=True):
        around = seen[:, int(target_y), int(target_x)].numpy()
        scale = 1 / np.sqrt(np.linalg.det(crops.between(source, target)[:, :2]))
        assert abs(around[0] + scale * (target_x - int(target_x)) - source_x) < 0.1
        assert abs(around[1] + scale * (target_y - int(target_y)) - source_y) < 0.1


def test_recrop_passes_gradients():
    faces = torch.rand(1, 3, 112, 96, requires_grad=True)
    for target in ("arcface", "light_cnn"):
        (gradient,) = torch.autograd.grad(
            crops.recrop(faces, crops.crop("sphereface"), crops.crop(target)).sum(), faces
        )
        assert gradient[..., 20:90, 20:76].min() > 0


def test_recrop_refuses_faces_of_another_size():
    with pytest.raises(ValueError, match="faces are 112x112, but the crop 'sphereface' is 112x96"):
        crops.recrop(torch.rand(1, 3, 112, 112), crops.crop("sphereface"), crops.crop("arcface"))


def test_record_of_a_crop_survives_json():
    record = crops.record(crops.crop("sphereface"), "cp2tform")
    assert json.loads(json.dumps(record)) == record
    assert record["name"] == "sphereface"
    assert record["convention"] == "cp2tform"
    assert record["points"][0] == [30.2946, 51.6963]
