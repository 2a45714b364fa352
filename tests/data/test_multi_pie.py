"""Multi-PIE: what the names say, and who trains, is enrolled and is looked for in the two settings."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facebridge.data import multi_pie
from facebridge.data.data_set import WrongRoot
from facebridge.data.multi_pie import Name
from tests.data import visible_trees


def digits(count):
    return st.integers(0, 10**count - 1).map(lambda number: f"{number:0{count}}")


names = st.builds(Name, digits(3), digits(2), digits(2), digits(3), digits(2))


@pytest.fixture
def tree(tmp_path):
    return visible_trees.multi_pie(tmp_path / "multi_pie")


def files(root: Path, *stems: str) -> Path:
    for stem in stems:
        root.mkdir(parents=True, exist_ok=True)
        (root / f"{stem}.png").touch()
    return root


@given(name=names, suffix=st.sampled_from(["", "_cropped", "_trans"]))
def test_names_are_read_as_they_are_written(name, suffix):
    stem = f"{name.subject}_{name.session}_{name.recording}_{name.camera}_{name.light}{suffix}"
    assert multi_pie.parse_name(stem) == name


@given(stem=st.text(st.sampled_from("0123456789_a٣"), max_size=20))
def test_other_names_are_none(stem):
    parts = stem.split("_", 5)
    widths = [len(part) for part in parts[:5]]
    all_digits = all(part.isascii() and part.isdecimal() for part in parts[:5])
    is_name = widths == [3, 2, 2, 3, 2] and all_digits and (len(parts) == 5 or parts[5] != "")
    assert (multi_pie.parse_name(stem) is not None) == is_name


def test_columns_are_those_of_the_names(tree):
    found = multi_pie.read(tree.root, **tree.options)
    row = found.faces[3]
    assert row.path == "session01/002/002_01_01_051_07_cropped.png"
    rows = {row.path.rpartition("/")[2]: row for row in found.faces}
    profile = rows["003_02_01_190_06_cropped.png"]
    assert (profile.identity, profile.session, profile.yaw_deg, profile.expression) == ("003", "02", 45, "neutral")
    assert profile.extra == {"recording": "01", "camera": "190", "light": "06"}
    for row in found.faces:
        np.testing.assert_allclose(row.landmarks, tree.landmarks[row.path], atol=0.01)


def test_cameras_go_round_in_steps_of_15_degrees():
    around = ("110", "120", "090", "080", "130", "140", "051", "050", "041", "190", "200", "010", "240")
    assert {camera: yaw for camera, yaw in zip(around, range(-90, 91, 15), strict=True)} == multi_pie.YAW_DEG


def test_settings_take_the_first_people_for_training(tree):
    found = multi_pie.read(tree.root, **tree.options)
    for name, sessions in (("setting1", {"01"}), ("setting2", {"01", "02"})):
        protocol = found.protocols[name]
        assert set(protocol.column("session").tolist()) == sessions
        assert set(protocol.where(split="train").column("identity").tolist()) == {"001", "002"}
        gallery = protocol.where(split="gallery")
        assert gallery.column("path").tolist() == [
            f"session01/{number}/{number}_01_01_051_07_cropped.png" for number in ("003", "004")
        ]
    assert len(found.protocols["setting1"].where(split="probe")) == 2
    assert len(found.protocols["setting2"].where(split="probe")) == 6


def test_only_neutral_faces_of_cameras_with_a_yaw_take_part(tmp_path):
    root = files(
        tmp_path,
        *("001_01_01_051_07", "002_01_01_051_07", "002_01_01_081_07", "002_01_02_041_07", "002_01_01_041_00"),
        *("003_01_01_041_07", "003_02_01_051_07", "003_03_01_051_07", "003_02_02_051_07"),
    )
    found = multi_pie.read(root, setting1_train=1, setting2_train=1)
    rows = {
        name: dict(zip(protocol.column("path").tolist(), protocol.column("split").tolist(), strict=True))
        for name, protocol in found.protocols.items()
    }
    session1 = {"001_01_01_051_07.png": "train", "002_01_01_051_07.png": "gallery", "002_01_01_041_00.png": "probe"}
    assert rows["setting1"] == session1
    later = {"003_02_01_051_07.png": "gallery", "003_01_01_041_07.png": "probe", "003_03_01_051_07.png": "probe"}
    assert rows["setting2"] == session1 | later
    assert np.isnan(found.faces.column("yaw_deg")[found.faces.column("camera").tolist().index("081")])


def test_another_light_may_be_the_neutral_one(tmp_path):
    root = files(tmp_path, "001_01_01_051_00", "001_01_01_051_07", "002_01_01_051_00", "002_01_01_051_07")
    found = multi_pie.read(root, gallery_light=0, setting1_train=1, setting2_train=2)
    assert found.protocols["setting1"].where(split="gallery").column("light").tolist() == ["00"]
    assert "no protocol setting2: nobody beyond the first 2 people" in found.notes[0]


def test_points_may_lie_beside_each_picture_and_bad_ones_are_named(tmp_path):
    root = files(tmp_path, "001_01_01_051_00", "001_01_01_051_01")
    (root / "001_01_01_051_01.5pt").write_text("1 1\n2 1\n3 3\n1 4\n2 4\n")
    found = multi_pie.read(root, crop="tp_gan").faces
    assert found[0].landmarks is None
    np.testing.assert_array_equal(found[1].landmarks, [[0, 0], [1, 0], [2, 2], [0, 3], [1, 3]])
    assert found[1].crop == "tp_gan"
    (root / "001_01_01_051_00.5pt").write_text("1 1\n")
    with pytest.raises(ValueError, match=r"051_00\.5pt: expected five lines"):
        multi_pie.read(root)


def test_a_wrong_root_says_what_was_expected_and_found(tmp_path):
    with pytest.raises(WrongRoot, match=r"SUBJECT_SESSION_RECORDING_CAMERA_LIGHT.*found 001_01_01_051\.png"):
        multi_pie.read(files(tmp_path, "001_01_01_051"))


def test_points_that_are_no_numbers_are_named_and_the_crop_is_a_known_one(tree):
    assert set(multi_pie.read(tree.root, crop="arcface_112").faces.column("crop")) == {"arcface"}
    with pytest.raises(ValueError, match="no crop is called 'square'"):
        multi_pie.read(tree.root, crop="square")
    file = next(tree.root.rglob("*.5pt"))
    file.write_text("nan 1\n" * 5)
    with pytest.raises(ValueError, match=rf"{file.name}: expected five lines"):
        multi_pie.read(tree.root)
