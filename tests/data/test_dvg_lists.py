"""The text lists of DVG and DVG-Face."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facebridge.data import dvg_face_list, dvg_list
from facebridge.data.data_set import WrongRoot
from facebridge.data.face_list import FaceList
from tests.data.spectrum_trees import write_lines


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Pictures are not opened here, so that empty files will do."""
    for path in ("NIR/s2_NIR_10166_013.jpg", "NIR/s1_NIR_00009_003.jpg", "VIS/s2_VIS_10166_002.jpg", "VIS/a b.jpg"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    return tmp_path


def rows(faces: FaceList) -> list[tuple[str, str, str]]:
    return list(zip(*(faces.column(name).tolist() for name in ("path", "identity", "domain")), strict=True))


def test_dvg_lines_say_path_label_and_domain(root: Path) -> None:
    write_lines(
        root / "train.txt", ["NIR/s2_NIR_10166_013.jpg 351 0", "VIS/s2_VIS_10166_002.bmp 351 1", "VIS/a b.jpg 8 1"]
    )
    found = dvg_list.read(root)
    assert rows(found.faces) == [
        ("NIR/s2_NIR_10166_013.jpg", "351", "nir"),
        ("VIS/a b.jpg", "8", "vis"),
        ("VIS/s2_VIS_10166_002.jpg", "351", "vis"),
    ]
    protocol = found.protocols["nir_to_vis"]
    assert isinstance(protocol, FaceList)
    assert protocol.column("split").tolist() == ["gallery", "gallery", "probe"]
    assert found.notes == []


def test_dvg_face_lines_say_path_and_label_and_the_path_says_the_camera(root: Path) -> None:
    write_lines(root / "list.txt", ["NIR/s1_NIR_00009_003.jpg 8", r"VIS\s2_VIS_10166_002.jpg FP0001"])
    assert rows(dvg_face_list.read(root).faces) == [
        ("NIR/s1_NIR_00009_003.jpg", "8", "nir"),
        ("VIS/s2_VIS_10166_002.jpg", "FP0001", "vis"),
    ]


@pytest.mark.parametrize(
    ("path", "domain"),
    [
        ("NIR/1.jpg", "nir"),
        ("gen_images/nir/1.jpg", "nir"),
        ("NIR-VIS-2.0/s1/VIS/1/1.jpg", "vis"),
        ("NIR-VIS-2.0/s1_NIR_00001.jpg", "nir"),
        ("vis/NIR/1.jpg", "nir"),
        ("NIR/nir_vis_pair.jpg", "nir"),
    ],
)
def test_last_part_of_the_path_that_names_one_camera_decides(path: str, domain: str) -> None:
    assert dvg_face_list._domain(path) == domain


@pytest.mark.parametrize("path", ["faces/1.jpg", "television/1.jpg", "NIR-VIS-2.0/1.jpg"])
def test_path_that_names_no_camera_is_an_error_of_its_line(root: Path, path: str) -> None:
    write_lines(root / "list.txt", ["NIR/s1_NIR_00009_003.jpg 8", f"{path} 8"])
    with pytest.raises(ValueError, match=r"list\.txt: line 2: expected NIR or VIS in the path"):
        dvg_face_list.read(root)


@pytest.mark.parametrize(
    "line",
    ["NIR/1.jpg", "NIR/1.jpg 3", "NIR/1.jpg three 0", "NIR/1.jpg 3 2", "NIR/1.jpg 3 nir", "NIR/1.jpg -1 0", "3 0"],
)
def test_line_that_is_not_path_label_domain_names_file_and_line(root: Path, line: str) -> None:
    write_lines(root / "list.txt", ["NIR/s1_NIR_00009_003.jpg 8 0", "", line])
    with pytest.raises(ValueError, match=r"list\.txt: line 3: expected `path label domain`"):
        dvg_list.read(root)


def test_line_of_one_word_is_no_line_of_dvg_face(root: Path) -> None:
    write_lines(root / "list.txt", ["NIR/s1_NIR_00009_003.jpg"])
    with pytest.raises(ValueError, match=r"list\.txt: line 1: expected `path label`"):
        dvg_face_list.read(root)


def test_picture_with_two_labels_is_an_error_of_the_second_line(root: Path) -> None:
    write_lines(root / "list.txt", ["NIR/s1_NIR_00009_003.jpg 8 0", "NIR/s1_NIR_00009_003.bmp 9 0"])
    with pytest.raises(ValueError, match=r"line 2: .* is 9 in nir, but line 1 says 8 in nir"):
        dvg_list.read(root)


def test_list_itself_may_be_given_and_an_option_names_one_of_several(root: Path, tmp_path: Path) -> None:
    for name in ("train.txt", "test.lst"):
        write_lines(root / name, ["NIR/s1_NIR_00009_003.jpg 8 0", "VIS/a b.jpg 8 1"])
    by_name = dvg_list.read(root, list="test.lst")
    by_path = dvg_list.read(root, list=str(tmp_path / "test.lst"))
    by_root = dvg_list.read(root / "test.lst")
    assert rows(by_name.faces) == rows(by_path.faces) == rows(by_root.faces)
    assert by_root.faces.root == root
    write_lines(root / "second.txt", [])
    with pytest.raises(WrongRoot, match=r"one file \*\.txt in it, found second\.txt, train\.txt; say which with list="):
        dvg_list.read(root)
    for name in ("nothing.txt", "/nowhere/nothing.txt"):
        with pytest.raises(WrongRoot, match="found none"):
            dvg_list.read(root, list=name)


def test_list_of_which_no_picture_is_there_is_a_wrong_root(root: Path) -> None:
    write_lines(root / "list.txt", ["NIR/other.jpg 8 0"])
    with pytest.raises(WrongRoot, match=r"NIR/other\.jpg; found NIR/, VIS/, list\.txt"):
        dvg_list.read(root)


def test_path_that_leaves_the_folder_is_not_followed(root: Path) -> None:
    (root.parent / "outside_NIR.jpg").touch()
    write_lines(root / "list.txt", ["NIR/s1_NIR_00009_003.jpg 8", "../outside_NIR.jpg 9"])
    found = dvg_face_list.read(root)
    assert len(found.faces) == 1
    assert found.notes[0] == "list.txt names 1 picture that is not there: ../outside_NIR.jpg"


LETTERS = st.characters(min_codepoint=33, max_codepoint=0x2FF).filter(lambda letter: not letter.isspace())
WORDS = st.text(LETTERS, min_size=1, max_size=12)


@given(WORDS, st.integers(0, 99999), st.sampled_from("01"))
def test_any_path_without_spaces_is_read_as_it_stands(path: str, label: int, domain: str) -> None:
    said = dvg_list._parsed(f"{path} {label} {domain}")
    assert (said.path, said.identity) == (path, str(label))
    assert said.domain == ("nir", "vis")[int(domain)]


@given(st.text(max_size=40))
def test_no_line_gives_anything_but_a_picture_or_an_error(text: str) -> None:
    for parsed in (dvg_list._parsed, dvg_face_list._parsed):
        with contextlib.suppress(ValueError):
            said = parsed(text)
            assert said.domain in ("nir", "vis")
            assert said.path
            assert said.identity


def test_empty_list_is_called_empty(root: Path) -> None:
    write_lines(root / "list.txt", [""])
    with pytest.raises(WrongRoot, match=r"list\.txt: is empty; expected DVG list"):
        dvg_list.read(root)
