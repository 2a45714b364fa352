"""Points that data sets write as text: what is written is what is read, and every error says where."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from facebridge.data import point_lists

coordinates = st.floats(-1e4, 1e4, width=32)


@given(points=st_numpy.arrays(np.float32, (68, 2), elements=coordinates))
def test_pts_round_trip_counts_from_zero(points, tmp_path_factory):
    path = tmp_path_factory.mktemp("pts") / "a.pts"
    rows = "\n".join(f"{x!r} {y!r}" for x, y in (points.astype(np.float64) + 1).tolist())
    path.write_text(f"version: 1\r\nn_points:  68\r\n{{\r\n{rows}\n}}\n")
    np.testing.assert_allclose(point_lists.read_pts(path), points, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "version: 1\nn_points: 68\n{\n1 2\n}\n",
        "version: 1\nn_points: 1\n1 2\n",
        "version: 1\nn_points: 1\n{\n1 2 3\n}\n",
        "version: 1\nn_points: 1\n{\none two\n}\n",
        "version: 1\nn_points: 1\n{\n1 nan\n}\n",
        "version: 1\nn_points: 2\n{\n1 2\n}\n",
    ],
)
def test_a_bad_pts_file_is_named(tmp_path, text):
    (tmp_path / "a.pts").write_text(text)
    with pytest.raises(ValueError, match=r"a\.pts"):
        point_lists.read_pts(tmp_path / "a.pts", num_points=1)


def test_tables_skip_headers_and_take_spaces_tabs_and_commas(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("2\nlefteye_x lefteye_y\n000001.jpg  1 2  3 4\n000002.jpg,5,6,7,8\r\n")
    found = point_lists.read_table(path, 2)
    np.testing.assert_array_equal(found["000001.jpg"], [[1, 2], [3, 4]])
    np.testing.assert_array_equal(found["000002.jpg"], [[5, 6], [7, 8]])
    (tmp_path / "words.txt").write_text("image_id,partition\n000001.jpg,0\n000002.jpg 2\n")
    assert point_lists.read_words(tmp_path / "words.txt") == {"000001.jpg": "0", "000002.jpg": "2"}


@pytest.mark.parametrize(
    "line", ["a.jpg 1 2 3", "a.jpg 1 2 3 x", "a.jpg 1 2 3 nan", "a.jpg 1 2 inf 4", "b.jpg 1 2 3 5"]
)
def test_a_bad_line_of_a_table_is_named(tmp_path, line):
    (tmp_path / "list.txt").write_text(f"b.jpg 1 2 3 4\n{line}\n")
    with pytest.raises(ValueError, match=r"list\.txt:2"):
        point_lists.read_table(tmp_path / "list.txt", 2)
    (tmp_path / "words.txt").write_text("a.jpg 1 2\n")
    with pytest.raises(ValueError, match=r"words\.txt:1"):
        point_lists.read_words(tmp_path / "words.txt")
    (tmp_path / "words.txt").write_text("a.jpg 1\na.jpg 1\na.jpg 2\n")
    with pytest.raises(ValueError, match=r"words\.txt:3: a\.jpg is '2' here, and '1' further up"):
        point_lists.read_words(tmp_path / "words.txt")


def test_pictures_without_points_have_nan():
    found = point_lists.in_order(["a", "b"], {"b": np.ones((5, 2))})
    assert np.isnan(found[0]).all()
    assert (found[1] == 1).all()
    assert point_lists.in_order(["a"], {}) is None
