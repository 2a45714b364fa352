"""300-W: which folder is which set, and points that count from 0."""

import numpy as np
import pytest

from facebridge.data import three_hundred_w
from facebridge.data.data_set import WrongRoot
from tests import drawn
from tests.data import visible_trees


@pytest.fixture
def tree(tmp_path):
    return visible_trees.three_hundred_w(tmp_path / "300w").root


def test_sets_and_points_are_those_of_the_folders(tree):
    found = three_hundred_w.read(tree)
    split = {row.path: (row.split, row.extra["subset"]) for row in found.faces}
    assert split["afw/image_01.jpg"] == ("train", "afw")
    assert split["helen/trainset/image_11.jpg"] == ("train", "helen")
    assert split["helen/testset/image_21.jpg"] == ("test", "helen")
    assert split["ibug/image_20.jpg"] == ("test", "ibug")
    row = next(row for row in found.faces if row.path == "lfpw/testset/image_32.jpg")
    np.testing.assert_allclose(row.landmarks, drawn.shots().sixty_eight[3, 2], atol=1e-4)
    pictures = {name: protocol.pictures() for name, protocol in found.protocols.items()}
    assert pictures["challenging"] == [f"ibug/image_{person}0.jpg" for person in range(4)]
    assert {path.split("/")[0] for path in pictures["common"]} == {"helen", "lfpw"}
    assert sorted(pictures["full"]) == sorted(pictures["common"] + pictures["challenging"])
    numbers = {count.what: (count.expected, count.found) for count in three_hundred_w.counts(found.faces, {})}
    assert numbers == {
        "training pictures": (3_148, 6),
        "common pictures": (554, 6),
        "challenging pictures": (135, 4),
        "full pictures": (689, 10),
    }


def test_folders_may_lie_deeper_in_capitals(tree, tmp_path):
    (tree / "afw").rename(tree / "AFW")
    (tmp_path / "300w").rename(tmp_path / "data")
    assert three_hundred_w.read(tmp_path).faces[0].extra["subset"] == "afw"


def test_pictures_without_points_are_left_out_and_noted(tree):
    (tree / "afw/image_01.pts").unlink()
    found = three_hundred_w.read(tree)
    assert len(found.faces) == 15
    assert "left out without a .pts file: 1 picture" in found.notes[-1]
    (tree / "afw/image_02.pts").write_text("version: 1\n")
    with pytest.raises(ValueError, match=r"image_02\.pts"):
        three_hundred_w.read(tree)


def test_a_wrong_root_says_what_was_expected_and_found(tree):
    with pytest.raises(WrongRoot, match=r"expected folders afw.*found image_01\.jpg"):
        three_hundred_w.read(tree / "afw")
    for path in tree.rglob("*.pts"):
        path.unlink()
    with pytest.raises(WrongRoot, match=r"expected a \.pts file beside each picture, such as .*image_01\.pts"):
        three_hundred_w.read(tree)


def test_endings_may_be_capitals(tree):
    expected = three_hundred_w.read(tree).faces
    for path in [*tree.rglob("*.pts"), *tree.rglob("*.jpg")]:
        path.rename(path.with_suffix(path.suffix.upper()))
    np.testing.assert_array_equal(three_hundred_w.read(tree).faces.landmarks, expected.landmarks)
