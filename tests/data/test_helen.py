"""Helen: points of the lists, five of them for alignment, and the maps drawn from all."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Outline
from skimage import draw

from facebridge.data import helen, helen_parts
from facebridge.data.data_set import WrongRoot
from tests import drawn
from tests.data import visible_trees

SIZE = 96


@pytest.fixture
def tree(tmp_path):
    return visible_trees.helen(tmp_path / "helen")


@pytest.fixture(scope="module")
def points():
    return visible_trees.helen_points(drawn.shots().five[0, 0])


def test_pictures_splits_and_points_are_those_of_the_lists(tree):
    found = helen.read(tree.root)
    assert found.faces.column("split").tolist() == ["train"] * 12 + ["test"] * 4
    for row in found.faces:
        np.testing.assert_allclose(row.landmarks, tree.landmarks[row.path], atol=0.8)
    assert [str(count) for count in helen.counts(found.faces, {})][1].startswith("test pictures: 4 found, 330")
    pairs = found.protocols["fidelity"]
    assert len(pairs) == 8
    assert all(path.startswith("test/") for path in pairs.pictures())
    annotated = helen.points(tree.root)["test/Dee_Drawn_0.jpg"]
    expected = visible_trees.helen_points(tree.landmarks["test/Dee_Drawn_0.jpg"])
    np.testing.assert_array_equal(annotated, np.round(expected))


def test_the_original_archives_annotations_are_read_alike(tree):
    expected = helen.points(tree.root)
    for name in helen.LISTS.values():
        (tree.root / name).unlink()
    (tree.root / "annotation").mkdir()
    for number, (path, rows) in enumerate(expected.items()):
        text = "\r\n".join([path.rpartition("/")[2].removesuffix(".jpg"), *(f"{x} , {y}" for x, y in rows)])
        (tree.root / "annotation" / f"{number}.txt").write_text(text)
    found = helen.points(tree.root)
    assert found.keys() == expected.keys()
    assert all((found[path] == expected[path]).all() for path in expected)
    assert len(helen.read(tree.root).faces) == 16
    (tree.root / "annotation" / "3.txt").write_text("name\n1 , 2\n")
    with pytest.raises(ValueError, match=r"3\.txt: expected 194 points"):
        helen.points(tree.root)


def test_missing_pictures_are_noted_and_bad_lines_named(tree):
    (tree.root / "train_1/Ann_Drawn_0.jpg").unlink()
    assert "names 1 picture that is not there: train_1/Ann_Drawn_0.jpg" in helen.read(tree.root).notes[0]
    path = tree.root / "list_annos_tst.txt"
    path.write_text(path.read_text().replace("\t", "\t7\t", 2))
    with pytest.raises(ValueError, match=r"list_annos_tst\.txt:2: expected test/Dee_Drawn_0\.jpg and 388 numbers"):
        helen.read(tree.root)


def test_a_wrong_root_says_what_was_expected(tmp_path):
    with pytest.raises(WrongRoot, match=r"expected list_annos_trn\.txt and list_annos_tst\.txt.*found nothing"):
        helen.read(tmp_path)
    (tmp_path / "list_annos_trn.txt").write_text("a.jpg" + " 1" * 388)
    with pytest.raises(WrongRoot, match=r"such as a\.jpg"):
        helen.read(tmp_path)


def test_the_parts_cover_all_points_once():
    rows = [row for part in helen_parts.PARTS.values() for row in range(part.start, part.stop)]
    assert rows == list(range(194))


def test_polygons_are_those_of_an_oracle_but_for_the_outline(points):
    """Every pixel inside by matplotlib's path, and others only within a pixel of the outline by its corners."""
    maps = helen_parts.parsing_maps(points * 4, SIZE * 4, SIZE * 4)
    rows, columns = np.mgrid[: SIZE * 4, : SIZE * 4]
    pixels = np.column_stack([columns.ravel(), rows.ravel()])
    eyes = points[114:154].mean(0, keepdims=True)
    for place, (name, part) in enumerate(helen_parts.PARTS.items()):
        if name == "jaw":
            continue
        outline = (np.vstack([points[part], eyes]) if name == "nose" else points[part]) * 4
        closed = np.vstack([outline, outline[:1]])
        inside = Outline(closed).contains_points(pixels)
        found = maps[place].astype(bool)
        assert inside.sum() > 200
        assert found.ravel()[inside].all()
        extra = pixels[found.ravel() & ~inside]
        corners = np.concatenate([np.linspace(a, b, 200) for a, b in pairwise(closed)])
        assert np.linalg.norm(extra[:, None] - corners, axis=-1).min(1).max() < 1
        assert not (draw.polygon2mask(found.shape, outline[:, ::-1]) & ~found).any()


def test_the_area_of_an_eye_is_that_of_its_ellipse(points):
    """Twenty corners on an ellipse, drawn large so that the outline's half pixel counts little."""
    scale = 4
    found = helen_parts.parsing_maps(points * scale, SIZE * scale, SIZE * scale)
    for name in ("left_eye", "right_eye"):
        eye = points[helen_parts.PARTS[name]] * scale
        following = np.roll(eye, -1, 0)
        area = abs(np.sum(eye[:, 0] * following[:, 1] - eye[:, 1] * following[:, 0])) / 2
        around = np.linalg.norm(following - eye, axis=1).sum()
        assert area <= found[list(helen_parts.PARTS).index(name)].sum() <= area + around


def test_the_jaw_is_an_open_line_of_three_pixels():
    points = np.zeros((194, 2))
    points[:41] = np.column_stack([np.linspace(10, 50, 41), np.full(41, 20)])
    jaw = helen_parts.parsing_maps(points, 64, 64)[0]
    np.testing.assert_array_equal(np.flatnonzero(jaw[:, 30]), [19, 20, 21])
    np.testing.assert_array_equal(np.flatnonzero(jaw[20]), np.arange(9, 52))
    assert jaw.sum() == 3 * 43


@settings(max_examples=8)
@given(st.lists(st.tuples(st.floats(0, 39), st.floats(0, 39)), min_size=41, max_size=41))
def test_the_jaw_is_as_wide_everywhere(corners):
    points = np.zeros((194, 2))
    points[:41] = corners
    jaw = helen_parts.parsing_maps(points, 40, 40)[0].astype(bool)
    along = np.concatenate([np.linspace(a, b, 120) for a, b in pairwise(points[:41])])
    rows, columns = np.mgrid[:40, :40]
    distance = np.full((40, 40), np.inf)
    for x, y in along:
        distance = np.minimum(distance, np.hypot(columns - x, rows - y))
    assert jaw[distance <= 1.5 - 1e-9].all()
    assert not jaw[distance > 1.5 + 0.3].any()


def test_maps_move_with_their_points(points):
    maps = helen_parts.parsing_maps(points, SIZE, SIZE)
    moved = helen_parts.parsing_maps(points + (3, 5), SIZE + 5, SIZE + 3)
    np.testing.assert_array_equal(moved[:, 5:, 3:], maps)


def test_maps_are_zero_or_one_and_clipped_at_the_edge(points):
    maps = helen_parts.parsing_maps(points - 60, 30, 40)
    assert maps.shape == (9, 30, 40)
    assert set(np.unique(maps)) <= {0, 1}


@given(x=st.floats(-5, 70), y=st.floats(-5, 70), sigma=st.floats(0.5, 6))
def test_heat_maps_are_gaussians_of_the_distance(x, y, sigma):
    found = helen_parts.heat_maps([[x, y]], 48, 64, sigma)
    rows, columns = np.mgrid[:48, :64]
    expected = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    np.testing.assert_allclose(found[0], expected, atol=1e-4)


def test_heat_maps_peak_at_their_points(points):
    maps = helen_parts.heat_maps(np.round(points), SIZE, SIZE)
    assert maps.shape == (194, SIZE, SIZE)
    for place, (x, y) in zip(maps, np.round(points).astype(int), strict=True):
        assert place[y, x] == place.max() == 1


def test_five_points_follow_from_the_outlines(points):
    np.testing.assert_allclose(helen_parts.five_points(points), drawn.shots().five[0, 0], atol=1e-3)
    turned = (points @ [[0, 1], [-1, 0]]) * 2 + (5, 7)
    expected = (drawn.shots().five[0, 0] @ np.array([[0, 1], [-1, 0]])) * 2 + (5, 7)
    np.testing.assert_allclose(helen_parts.five_points(turned), expected, atol=1e-3)


def test_other_numbers_of_points_are_refused(points):
    for bad in (points[:68], np.full((194, 2), np.nan)):
        with pytest.raises(ValueError, match="expected 194 finite points"):
            helen_parts.parsing_maps(bad, 64, 64)


def test_endings_may_be_capitals_and_points_are_finite(tree):
    expected = helen.read(tree.root)
    for path in tree.root.rglob("*.jpg"):
        path.rename(path.with_suffix(".JPG"))
    found = helen.read(tree.root)
    assert [row.path for row in found.faces] == [row.path.replace(".jpg", ".JPG") for row in expected.faces]
    np.testing.assert_array_equal(found.faces.landmarks, expected.faces.landmarks)
    path = tree.root / "list_annos_trn.txt"
    path.write_text("train_1/Ann_Drawn_0.jpg" + "\tnan" * 388 + "\n")
    with pytest.raises(ValueError, match=r"list_annos_trn\.txt:1: expected train_1/Ann_Drawn_0\.jpg and 388 numbers"):
        helen.read(tree.root)
