"""The yaw that five points let estimate, against the true yaw of drawn heads."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facebridge import pose
from facebridge.data import synthetic

MEAN_ERROR_DEG = 4.0
FRONTAL = np.array([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.2], [-0.8, 2.0], [0.8, 2.0]])


@functools.cache
def drawn_heads() -> tuple[np.ndarray, np.ndarray]:
    """Points of people whom no constant was fitted to, evenly over all yaws, and their yaw."""
    people, shots = 25, 4
    who = [1000 + person for person in range(people) for _ in range(shots)]
    drawn = synthetic.render(77, who, list(range(shots)) * people, size=32, yaw_range=(-90, 90))
    return drawn.landmarks5.numpy(), drawn.yaw_deg.numpy()


def head(yaw_deg: float, depth: float = pose.NOSE_DEPTH_PER_EYE_DISTANCE) -> np.ndarray:
    """A flat face with a nose that stands out of it by `depth` eye distances, turned and seen from far away."""
    turn = np.radians(yaw_deg)
    points = FRONTAL * [np.cos(turn), 1]
    points[2, 0] += 2 * depth * np.sin(turn)
    return points


def test_yaw_of_drawn_heads_is_found_to_a_few_degrees() -> None:
    points, yaw = drawn_heads()
    error = np.abs(pose.yaw_from_points(points) - yaw)
    assert error.mean() < MEAN_ERROR_DEG
    assert error[np.abs(yaw) > 60].mean() < MEAN_ERROR_DEG
    assert error.max() < 15


def test_side_of_drawn_heads_that_are_turned_is_always_right() -> None:
    points, yaw = drawn_heads()
    turned = np.abs(yaw) > 15
    assert (pose.looks_right(points) == (yaw > 0))[turned].all()


@pytest.mark.parametrize("yaw_deg", [-90, -60, -15, 0, 30, 75, 90])
def test_yaw_of_a_flat_face_with_a_nose_is_exact(yaw_deg: float) -> None:
    assert pose.yaw_from_points(head(yaw_deg)) == pytest.approx(yaw_deg, abs=1e-9)


@settings(max_examples=30)
@given(
    st.floats(-90, 90),
    st.floats(-180, 180),
    st.floats(0.1, 1000),
    st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
)
def test_roll_size_and_place_do_not_count(
    yaw_deg: float, roll_deg: float, scale: float, place: tuple[float, float]
) -> None:
    roll = np.radians(roll_deg)
    rotation = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    moved = scale * head(yaw_deg) @ rotation.T + place
    assert pose.yaw_from_points(moved) == pytest.approx(yaw_deg, abs=1e-6)


def test_the_mirror_image_has_exactly_the_other_sign() -> None:
    points, _ = drawn_heads()
    mirrored = (points * np.float32([-1, 1]))[:, list(pose.MIRRORED_FIVE)]
    np.testing.assert_array_equal(pose.yaw_from_points(mirrored), -pose.yaw_from_points(points))


def test_a_profile_seen_from_behind_is_a_profile() -> None:
    points = head(80)
    points[[0, 1]] = points[[1, 0]]  # as where a hidden eye is guessed beyond the visible one
    assert pose.yaw_from_points(points) == 90


def test_yaw_is_given_for_any_leading_shape_and_not_for_other_points() -> None:
    assert pose.yaw_from_points(np.tile(FRONTAL, (2, 3, 1, 1))).shape == (2, 3)
    with pytest.raises(ValueError, match=r"five points.*\(68, 2\)"):
        pose.yaw_from_points(np.zeros((68, 2)))


def test_points_without_a_height_have_no_yaw() -> None:
    assert np.isnan(pose.yaw_from_points(np.zeros((5, 2))))
