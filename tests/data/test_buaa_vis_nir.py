"""BUAA-VisNir: cameras by picture number, one hundred people tested."""

from pathlib import Path

import pytest

from facebridge.data import buaa_vis_nir
from facebridge.data.face_list import FaceList
from tests.data.spectrum_trees import buaa_vis_nir as draw


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return draw(tmp_path).root


def rows(root: Path, split: str) -> list[str]:
    protocol = buaa_vis_nir.read(root).protocols["test_100"]
    assert isinstance(protocol, FaceList)
    return protocol.where(split=split).column("path").tolist()  # type: ignore[no-any-return]


def whole(folder: Path) -> Path:
    """Empty files under the names of the whole set: 150 people, 40 pictures each, less 11 to 18 of six people."""
    for person in range(1, 151):
        (folder / str(person)).mkdir()
        for number in range(1, 41):
            if person not in (1, 2, 4, 5, 6, 10) or number not in range(11, 19):
                (folder / f"{person}/{number}.bmp").touch()
    return folder


def test_gallery_probes_and_training_of_a_small_copy(root: Path) -> None:
    assert rows(root, "gallery") == ["2/1.bmp", "3/1.bmp", "7/1.bmp"]
    assert rows(root, "probe") == [f"{name}.bmp" for name in ("2/2", "2/4", "3/12", "3/2", "3/4", "7/12", "7/2", "7/4")]
    assert rows(root, "train") == [f"{person}/{number}.bmp" for person in (1, 6) for number in (1, 12, 2, 20, 3, 4)]


def test_near_infrared_are_the_thirteen_numbers_and_not_all_even_ones(root: Path) -> None:
    faces = buaa_vis_nir.read(root).faces
    numbers = {path.split("/")[1] for path in faces.where(domain="nir").column("path").tolist()}
    assert numbers == {"2.bmp", "4.bmp", "12.bmp"}
    assert "20.bmp" in {path.split("/")[1] for path in faces.where(domain="vis").column("path").tolist()}


def test_names_of_the_whole_set_give_the_published_counts(tmp_path: Path) -> None:
    found = buaa_vis_nir.read(whole(tmp_path))
    assert len(found.faces) == 5952
    counts = buaa_vis_nir.counts(found.faces, found.protocols)
    assert {count.what: count.found for count in counts} == {
        "people": 150,
        "test_100: gallery pictures": 100,
        "test_100: probe pictures": 1284,
        "test_100: gallery people": 100,
        "test_100: training people": 50,
    }
    assert all(count.found == count.expected for count in counts)
    assert [note for note in found.notes if "not there" in note] == [
        "protocol test_100 names 16 pictures that are not there: 2/12.bmp, 2/14.bmp, 2/16.bmp, 2/18.bmp, 4/12.bmp "
        "and 11 more"
    ]


def test_person_is_a_number_however_its_folder_writes_it(root: Path) -> None:
    (root / "7").rename(root / "007")
    assert rows(root, "gallery") == ["007/1.bmp", "2/1.bmp", "3/1.bmp"]
    assert set(buaa_vis_nir.read(root).faces.column("identity").tolist()) == {"1", "2", "3", "6", "7"}


def test_other_files_are_left_out_and_named(root: Path) -> None:
    (root / "7/face.bmp").touch()
    notes = buaa_vis_nir.read(root).notes
    assert "not PERSON/NUMBER, and left out: 1 picture: 7/face.bmp" in notes
