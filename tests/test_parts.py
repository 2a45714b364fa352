"""Parts of faces: painted by an oracle's rule, aligned like pictures, mirrored with right and left changed."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Outline

from facebridge import crops, parts
from facebridge.data import synthetic
from facebridge.landmarks.points68 import MIRRORED
from facebridge.parts import NUM_PARTS, Part
from tests import drawn


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    """Of the drawn face that is turned least."""
    shots = drawn.shots()
    return shots.sixty_eight.reshape(-1, 68, 2)[np.abs(shots.yaw_deg).argmin()]


def test_classes_are_those_that_drawn_pictures_have() -> None:
    assert synthetic.Part is Part
    assert [part.value for part in Part] == list(range(NUM_PARTS))


def test_sides_of_mirrored_faces_have_each_others_names() -> None:
    for part, other in zip(Part, parts.MIRRORED, strict=True):
        swapped = {"RIGHT": "LEFT", "LEFT": "RIGHT"}
        assert other.name == "_".join(swapped.get(word, word) for word in part.name.split("_"))


def test_mirroring_reverses_columns_and_changes_sides() -> None:
    row = torch.tensor([[[0, 2, 4, 6, 5, 3, 10]]], dtype=torch.uint8)
    expected = [10, 2, 4, 6, 5, 3, 0]
    assert parts.mirrored(row).flatten().tolist() == expected
    assert torch.equal(parts.mirrored(parts.mirrored(row)), row)


def test_each_part_lies_where_its_landmarks_are(points: np.ndarray) -> None:
    found = parts.from_points68(points, drawn.SIZE, drawn.SIZE)

    def at(*rows: int) -> int:
        x, y = np.round(points[list(rows)].mean(0)).astype(int)
        return int(found[y, x])

    assert at(36, 37, 38, 39, 40, 41) == Part.RIGHT_EYE
    assert at(42, 43, 44, 45, 46, 47) == Part.LEFT_EYE
    assert at(30) == Part.NOSE
    assert at(51, 62) == Part.UPPER_LIP
    assert at(57, 66) == Part.LOWER_LIP
    assert at(8, 57) == Part.SKIN
    assert at(2, 31) == Part.SKIN
    below = [0, parts.BROW_THICKNESS * np.ptp(points[[39, 42], 0])]
    for middle, part in ((19, Part.RIGHT_BROW), (24, Part.LEFT_BROW)):
        x, y = np.round(points[middle] + below).astype(int)
        assert found[y, x] == part
    assert found[0, 0] == Part.BACKGROUND
    assert not (found == Part.HAIR).any()


def test_an_open_mouth_shows_its_inside(points: np.ndarray) -> None:
    opened = points.copy()
    opened[55:60, 1] += 8
    opened[65:68, 1] += 8
    found = parts.from_points68(opened, drawn.SIZE, drawn.SIZE)
    x, y = np.round(opened[60:68].mean(0)).astype(int)
    assert found[y, x] == Part.INNER_MOUTH


def test_parts_drawn_of_landmarks_are_mostly_the_true_ones() -> None:
    shots = synthetic.render(11, [0, 1, 2], [0, 1, 2], size=128, truth=True)
    for true, points in zip(shots.parsing.numpy(), shots.landmarks68.numpy(), strict=True):
        found = parts.from_points68(points, 128, 128)
        for part, least in (
            (Part.RIGHT_EYE, 0.7),
            (Part.LEFT_EYE, 0.7),
            (Part.NOSE, 0.6),
            (Part.UPPER_LIP, 0.7),
            (Part.LOWER_LIP, 0.7),
        ):
            both, either = (found == part) & (true == part), (found == part) | (true == part)
            assert both.sum() > least * either.sum()


def test_parts_of_mirrored_landmarks_are_the_mirrored_parts(points: np.ndarray) -> None:
    width = drawn.SIZE
    mirrored = points[MIRRORED] * [-1, 1] + [width - 1, 0]
    found = parts.from_points68(mirrored, drawn.SIZE, width)
    expected = parts.mirrored(torch.from_numpy(parts.from_points68(points, drawn.SIZE, width))).numpy()
    assert (found != expected).mean() < 0.002


@settings(max_examples=10)
@example([(0.0, -0.0), (0.0, 0.0), (0.0, 0.0)])
@example([(0.0, 34.5), (8.0, 0.0), (8.125, -1.0)])  # a sliver, of which OpenCV paints the outline
@given(st.lists(st.tuples(st.floats(-10, 40), st.floats(-10, 40)), min_size=3, max_size=6))
def test_painted_is_what_lies_inside_but_for_a_fifth_of_a_pixel(corners: list[tuple[float, float]]) -> None:
    outline = parts.hull(np.array(corners))
    found = parts.painted([(Part.NOSE, outline)], 30, 30) == Part.NOSE
    rows, columns = np.mgrid[:30, :30]
    pixels = np.column_stack([columns.ravel(), rows.ravel()])
    closed = np.vstack([outline, outline[:1]])
    inside = Outline(closed).contains_points(pixels).reshape(30, 30)
    along = np.concatenate([np.linspace(a, b, 400) for a, b in zip(closed[:-1], closed[1:], strict=True)])
    away = np.linalg.norm(pixels[:, None] - along, axis=-1).min(1).reshape(30, 30)
    assert np.array_equal(found[away > 0.2], inside[away > 0.2])


def test_the_last_outline_lies_on_top_and_far_points_do_no_harm() -> None:
    square = np.array([[1.0, 1], [8, 1], [8, 8], [1, 8]])
    found = parts.painted([(Part.SKIN, square * 1e9 - 1e9), (Part.NOSE, square), (Part.HAIR, square / 2)], 10, 10)
    assert found[6, 6] == Part.NOSE
    assert found[2, 2] == Part.HAIR


@given(st.floats(-20, 20), st.floats(-20, 20), st.floats(-0.5, 0.5), st.floats(0.5, 2))
@settings(max_examples=10)
def test_each_aligned_pixel_is_of_the_part_of_the_nearest_pixel(x: float, y: float, turn: float, scale: float) -> None:
    crop = crops.crop("arcface_64")
    parsing = np.random.default_rng(0).integers(0, NUM_PARTS, (50, 60), np.uint8)
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    matrix = np.array([[cos, -sin, x], [sin, cos, y]])
    found = parts.cut(parsing, matrix, crop)
    back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    for row in range(0, 64, 7):
        for column in range(0, 64, 7):
            left, top, _ = back @ [column, row, 1]
            if min(abs(left % 1 - 0.5), abs(top % 1 - 0.5)) < 0.02:
                continue  # between two pixels
            inside = 0 <= round(left) < 60 and 0 <= round(top) < 50
            assert found[row, column] == (parsing[round(top), round(left)] if inside else Part.BACKGROUND)


def test_beyond_a_mirrored_picture_lies_what_lies_within() -> None:
    parsing = np.arange(10, dtype=np.uint8).reshape(1, 10).repeat(10, 0)
    crop = crops.Crop("small", 10, 10, ())
    found = parts.cut(parsing, np.array([[1.0, 0, 3], [0, 1, 0]]), crop, "mirror")
    assert found[0].tolist() == [3, 2, 1, 0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("points", [np.zeros((67, 2)), np.full((68, 2), np.nan)])
def test_other_points_are_refused(points: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected 68 finite points"):
        parts.from_points68(points, 10, 10)
