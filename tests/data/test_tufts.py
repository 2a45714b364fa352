"""Tufts Face Database: thermal against visible light, in the folders of its archives."""

import shutil
from pathlib import Path

import pytest

from facebridge.data import tufts
from facebridge.data.data_set import WrongRoot
from facebridge.data.face_list import FaceList
from tests.data.spectrum_trees import tufts as draw


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return draw(tmp_path).root


def protocol(root: Path, num_train: int = 2, seed: int = 0) -> FaceList:
    found = tufts.read(root, num_train=num_train, seed=seed).protocols["thermal_vis"]
    assert isinstance(found, FaceList)
    return found


def test_camera_person_and_expression_come_from_the_name(root: Path) -> None:
    faces = tufts.read(root).faces
    rows = {row.path: (row.identity, row.domain, row.expression) for row in faces}
    assert len(rows) == 30
    assert rows["TD_IR_E_Set2/4/TD_IR_E_2.jpg"] == ("4", "thermal", "smile")
    assert rows["TD_RGB_E_Set1/1/TD_RGB_E_1.jpg"] == ("1", "vis", "neutral")
    assert rows["TD_RGB_A_Set1/5/TD_RGB_A_1_0.jpg"] == ("5", "vis", None)
    assert faces.extra_names == []


def test_near_infrared_is_a_domain_of_its_own_and_no_probe(root: Path) -> None:
    folder = root / "TD_NIR_A_Set1/1"
    folder.mkdir(parents=True)
    shutil.copy(root / "TD_IR_A_Set1/1/TD_IR_A_4.jpg", folder / "TD_NIR_A_3_1.jpg")
    assert tufts.read(root).faces.where(domain="nir").column("path").tolist() == ["TD_NIR_A_Set1/1/TD_NIR_A_3_1.jpg"]
    assert set(protocol(root).where(split="probe").column("domain").tolist()) == {"thermal"}


def test_protocol_trains_on_as_many_people_as_asked(root: Path) -> None:
    for num_train in (0, 1, 3, 4):
        found = protocol(root, num_train)
        assert len(set(found.where(split="train").column("identity").tolist())) == num_train
        gallery = found.where(split="gallery")
        assert [path.rsplit("/", 1)[1] for path in gallery.column("path").tolist()] == ["TD_RGB_E_1.jpg"] * (
            5 - num_train
        )
        assert len(found.where(split="probe")) == 3 * (5 - num_train)
    people = {tuple(sorted(set(protocol(root, 2, seed).where(split="train").column("identity")))) for seed in range(8)}
    assert len(people) > 1


def test_protocol_of_too_few_people_is_left_out_and_said(root: Path) -> None:
    found = tufts.read(root)
    assert found.protocols == {}
    assert found.notes[-1] == (
        "protocol thermal_vis is left out: only 5 people have thermal and visible pictures, and num_train is 90"
    )


def test_number_of_people_below_zero_is_refused(root: Path) -> None:
    with pytest.raises(ValueError, match="num_train is -1"):
        tufts.read(root, num_train=-1)


def test_folders_may_be_nested_and_sketches_are_left_out(root: Path) -> None:
    nested = root / "TD_RGB_E/TD_RGB_E_Set1"
    nested.parent.mkdir()
    (root / "TD_RGB_E_Set1").rename(nested)
    shutil.copy(nested / "1/TD_RGB_E_1.jpg", root / "TD_CS_Set1/1/TD_RGB_E_1.jpg")
    found = tufts.read(root)
    assert len(found.faces) == 30
    assert (
        "of another kind, and left out: 2 pictures: TD_CS_Set1/1/TD_CS_1.jpg, TD_CS_Set1/1/TD_RGB_E_1.jpg"
        in found.notes
    )


def test_second_copy_of_a_picture_is_left_out_and_named(root: Path) -> None:
    copy = root / "again/1"
    copy.mkdir(parents=True)
    shutil.copy(root / "TD_RGB_E_Set1/1/TD_RGB_E_1.jpg", copy)
    found = tufts.read(root)
    assert len(found.faces) == 30
    assert any("the same person and name" in note and "again/1/TD_RGB_E_1.jpg" in note for note in found.notes)


def test_thermal_pictures_alone_are_not_enough(root: Path) -> None:
    for folder in root.glob("TD_RGB*"):
        shutil.rmtree(folder)
    with pytest.raises(WrongRoot, match=r"TD_RGB_E_Set1/PERSON/TD_RGB_E_1\.jpg"):
        tufts.read(root)


def test_counts_of_112_people_are_as_published() -> None:
    people = [str(number) for number in range(1, 113)] * 2
    columns = {"path": [f"{row}.jpg" for row in range(224)], "identity": people}
    faces = FaceList(Path("."), columns | {"domain": ["thermal"] * 112 + ["vis"] * 112})
    assert [str(count) for count in tufts.counts(faces, {})] == [
        "people with thermal and visible pictures: 112, as published"
    ]
    assert tufts.counts(faces.take(range(113)), {})[0].found == 1
