"""CFP: numbers of the pair lists become pictures, whatever part of the people is there."""

import numpy as np
import pytest

from facebridge import images, landmarks
from facebridge.data import cfp
from facebridge.data.data_set import WrongRoot
from tests.data import visible_trees


@pytest.fixture
def tree(tmp_path):
    return visible_trees.cfp(tmp_path / "cfp").root


def test_pairs_are_the_pictures_that_their_numbers_mean(tree):
    found = cfp.read(tree)
    assert found.faces.column("domain").tolist() == ["vis", "vis", "vis", "profile"] * 4
    assert found.faces.column("identity").tolist()[::4] == ["001", "002", "003", "004"]
    assert found.faces.landmarks is None
    pairs = found.protocols["fp"]
    assert pairs.first[:2] == ("Data/Images/001/frontal/01.jpg", "Data/Images/002/frontal/02.jpg")
    assert pairs.second[:2] == ("Data/Images/001/profile/01.jpg", "Data/Images/002/profile/01.jpg")
    assert pairs.genuine == (True, True, False, False) * 2
    assert pairs.fold == (1,) * 4 + (2,) * 4
    assert pairs.first_identities[4:6] == ("003", "004")
    assert found.protocols["ff"].second[3] == "Data/Images/001/frontal/02.jpg"
    assert not found.notes


def test_people_who_are_not_there_become_notes(tree):
    for path in (tree / "Data/Images/004").rglob("*.jpg"):
        path.unlink()
    with (tree / "Protocol/Split/FF/01/diff.txt").open("a") as file:
        file.write("9999,1\n")
    found = cfp.read(tree)
    assert len(found.protocols["ff"]) == 5
    notes = "\n".join(found.notes)
    assert "Split/FF: 1 pair has a number that the pair lists do not have" in notes
    assert "Split/FF names 2 pictures that are not there: Data/Images/004/frontal/01.jpg" in notes
    assert "3 of 8 pairs are left out" in notes


def test_without_protocols_the_pictures_are_listed(tree):
    (tree / "Protocol").rename(tree / "protocol_away")
    found = cfp.read(tree)
    assert len(found.faces) == 16
    assert not found.protocols
    assert len(found.notes) == 2


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("Pair_list_F.txt", "one ../Data/Images/001/frontal/01.jpg", "Pair_list_F.txt:1"),
        ("Pair_list_F.txt", "1 ../../etc/passwd", "Pair_list_F.txt:1"),
        ("Split/FF/01/same.txt", "1,2\n1;2", "same.txt:2: expected `i,j`"),
        ("Split/FF/01/same.txt", "1,4", "not of one person"),
        ("Split/FF/01/diff.txt", "1,2", "are of one person"),
    ],
)
def test_a_bad_line_is_named(tree, name, text, message):
    (tree / "Protocol" / name).write_text(text + "\n")
    with pytest.raises(ValueError, match=message):
        cfp.read(tree)


def test_a_wrong_root_says_what_was_expected_and_found(tree):
    with pytest.raises(WrongRoot, match=r"expected Data/Images/001/frontal.*found .*frontal/"):
        cfp.read(tree / "Data/Images/001")


def test_fiducials_are_thirty_points(tree):
    path = tree / "Data/Fiducials/002/frontal/03.txt"
    assert cfp.fiducials(path).shape == (30, 2)
    path.write_text("1,2\n")
    with pytest.raises(ValueError, match="expected 30 lines"):
        cfp.fiducials(path)
    path.write_text("1;2\n" * 30)
    with pytest.raises(ValueError, match="expected lines `x,y`"):
        cfp.fiducials(path)


@pytest.mark.real
def test_the_real_pictures_have_the_numbers_of_300_people(real_data):
    found = cfp.read(real_data / "data" / "cfp")
    assert len(found.faces) == 300 * 14
    assert {name: sum(pairs.genuine) for name, pairs in found.protocols.items()} == {"ff": 2_100, "fp": 2_100}
    assert {name: len(pairs) for name, pairs in found.protocols.items()} == {"ff": 4_200, "fp": 4_200}
    paths = set(found.faces.column("path").tolist())
    assert all(paths.issuperset(pairs.pictures()) for pairs in found.protocols.values())
    assert not any("not there" in note for note in found.notes)


@pytest.mark.real
def test_fiducials_lie_where_their_order_says(real_data):
    """Of frontal pictures: eye, tip of the nose and corner of the mouth, against YuNet's, in distances of the eyes."""
    root = real_data / "data" / "cfp" / "Data"
    detector = landmarks.YuNet(real_data / "weights" / "yunet_n_dynamic.onnx")
    apart = []
    for person in range(1, 301, 10):
        picture = images.read(root / "Images" / f"{person:03}" / "frontal" / "01.jpg")
        points = cfp.fiducials(root / "Fiducials" / f"{person:03}" / "frontal" / "01.txt")
        detected = landmarks.detect_largest(detector, picture)
        assert detected is not None
        ours = np.stack([points[12:18].mean(0), points[21], points[25]])
        found = detected.points[[0, 2, 3]]
        apart.append(np.linalg.norm(ours - found, axis=1) / np.linalg.norm(detected.points[0] - detected.points[1]))
        assert points[0, 0] < points[12, 0] < points[15, 0] < points[21, 0]
        assert points[18, 1] < points[21, 1] < points[26, 1] < points[29, 1] < points[28, 1] < points[8, 1]
    assert np.median(apart, 0).max() < 0.12


def test_number_of_two_pictures_is_named_and_other_folders_are_no_folds(tree):
    (tree / "Protocol/Split/FF/02").rename(tree / "Protocol/Split/FF/2 old")
    assert cfp.read(tree).protocols["ff"].num_folds == 1
    with (tree / "Protocol/Pair_list_F.txt").open("a") as file:
        file.write("1 ../Data/Images/004/frontal/01.jpg\n")
    with pytest.raises(ValueError, match=r"Pair_list_F\.txt:13: 1 is Data/Images/004/frontal/01\.jpg, but was"):
        cfp.read(tree)
