"""CASIA NIR-VIS 2.0: two views, two cameras, lists as they were given out, eye files."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facebridge.data import casia_nir_vis, importing
from facebridge.data.data_set import Imported
from facebridge.data.face_list import FaceList
from tests.data.spectrum_trees import casia_nir_vis as draw
from tests.data.spectrum_trees import write_lines

TRAINED = {"10001", "20001"}
TESTED = {"00003", "10002", "30001"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return draw(tmp_path).root / "NIR-VIS-2.0"


def rows(faces: FaceList, split: str) -> list[tuple[str, str, str]]:
    part = faces.where(split=split)
    names = ("path", "identity", "domain")
    return list(zip(*(part.column(name).tolist() for name in names), strict=True))


def fold(found: Imported, name: str = "view2_01") -> FaceList:
    protocol = found.protocols[name]
    assert isinstance(protocol, FaceList)
    return protocol


def test_fold_one_is_what_its_lists_say(home: Path) -> None:
    found = casia_nir_vis.read(home)
    assert list(found.protocols) == ["view1", "view2_01", "view2_10"]
    protocol = fold(found)
    assert rows(protocol, "gallery") == [
        ("s1/VIS/00003/001.jpg", "00003", "vis"),
        ("s2/VIS/10002/001.jpg", "10002", "vis"),
        ("s4/VIS/30001/001.jpg", "30001", "vis"),
    ]
    assert rows(protocol, "probe") == [
        ("s1/NIR/00003/001.bmp", "00003", "nir"),
        ("s1/NIR/00003/002.jpg", "00003", "nir"),  # called .bmp by the list
        ("s2/NIR/00003/001.bmp", "00003", "nir"),
        ("s2/NIR/10002/001.bmp", "10002", "nir"),
        ("s2/NIR/10002/002.jpg", "10002", "nir"),
        ("s4/NIR/30001/001.bmp", "30001", "nir"),
        ("s4/NIR/30001/002.jpg", "30001", "nir"),
    ]
    assert {person for _, person, _ in rows(protocol, "train")} == TRAINED
    assert {path for path, _, _ in rows(protocol, "train") if "VIS/20001" in path} == {
        "s3/VIS/20001/001.jpg",
        "s3/VIS/20001/002.bmp",  # called .jpg by the list
    }


def test_root_may_be_the_folder_that_holds_it(home: Path) -> None:
    outer, inner = casia_nir_vis.read(home.parent), casia_nir_vis.read(home)
    assert outer.faces.root == inner.faces.root == home
    assert outer.faces.column("path").tolist() == inner.faces.column("path").tolist()


def test_person_of_two_sessions_is_one_identity(home: Path) -> None:
    faces = casia_nir_vis.read(home).faces.where(identity="00003")
    assert set(faces.column("session").tolist()) == {"s1", "s2"}


def test_eyes_are_columns_and_never_landmarks(home: Path) -> None:
    faces = casia_nir_vis.read(home).faces
    assert faces.landmarks is None
    file = home / "s2/NIR/10001/001.pos"
    row = faces[faces.column("path").tolist().index("s2/NIR/10001/001.bmp")]
    written = file.read_text().split("\n")[0].split()
    assert [row.extra[name] for name in casia_nir_vis.EYE_COLUMNS] == written
    assert float(written[0]) < float(written[2])


def test_eye_further_left_in_the_picture_is_the_right_one(home: Path) -> None:
    write_lines(home / "s2/NIR/10001/001.pos", ["60 31.5 33 30"])
    found = casia_nir_vis.read(home)
    row = found.faces[found.faces.column("path").tolist().index("s2/NIR/10001/001.bmp")]
    assert [row.extra[name] for name in casia_nir_vis.EYE_COLUMNS] == ["33", "30", "60", "31.5"]
    assert any("the other way round" in note and "s2/NIR/10001/001.bmp" in note for note in found.notes)


@pytest.mark.parametrize("text", ["", "1 2 3", "1 2 3 4 5", "1 2 nan 4", "left right up down"])
def test_bad_eye_file_is_named_and_the_picture_kept(home: Path, text: str) -> None:
    (home / "s2/NIR/10001/001.pos").write_text(text)
    found = casia_nir_vis.read(home)
    row = found.faces[found.faces.column("path").tolist().index("s2/NIR/10001/001.bmp")]
    assert [row.extra[name] for name in casia_nir_vis.EYE_COLUMNS] == [""] * 4
    assert any("eye files of 1 picture: s2/NIR/10001/001.bmp" in note for note in found.notes)
    assert any("20 of 21 pictures" in note for note in found.notes)


def test_eye_files_may_lie_in_a_folder_of_their_own_or_nowhere(home: Path, tmp_path: Path) -> None:
    for file in home.rglob("*.pos"):
        file.unlink()
    found = casia_nir_vis.read(home)
    assert found.faces.extra_names == []
    assert found.notes == [
        f"no lists in {home}/protocols for 8 protocols: view2_02, view2_03, view2_04, view2_05, view2_06 and 3 more"
    ]
    write_lines(tmp_path / "eyes/s2/NIR/10001/001.pos", ["33 30 60 31"])
    for eyes in (tmp_path / "eyes", Path("../eyes")):
        with_eyes = casia_nir_vis.read(home, eyes=eyes)
        assert sum(row.extra["right_eye_pos_x"] == "33" for row in with_eyes.faces) == 1
    with pytest.raises(ValueError, match=r"typo: no eye file such as s1/NIR/00003/001\.pos is there"):
        casia_nir_vis.read(home, eyes=Path("typo"))


def test_fold_without_training_lists_can_still_be_evaluated(home: Path) -> None:
    for kind in ("nir", "vis"):
        (home / f"protocols/{kind}_train_1.txt").unlink()
    found = casia_nir_vis.read(home)
    assert rows(fold(found), "train") == []
    assert len(rows(fold(found), "probe")) == 7
    assert "protocol view2_01: there is no nir_train_1.txt, vis_train_1.txt" in found.notes


@pytest.mark.parametrize(
    "line", [r"s2\VIS\10153\003.jpg", r"s5\NIR\10153\003.jpg", "10153/003.jpg", "s2/NIR/003.jpg", "s1/NIR/1/2/3.bmp"]
)
def test_line_that_is_no_path_of_the_camera_names_file_and_line(home: Path, line: str) -> None:
    file = home / "protocols/nir_probe_1.txt"
    file.write_bytes(file.read_bytes() + b"\r\n" + line.encode())
    with pytest.raises(ValueError, match=r"nir_probe_1\.txt: line 9: expected a path like s2\\NIR\\10153\\001\.bmp"):
        casia_nir_vis.read(home)


def test_picture_outside_the_layout_is_left_out_and_named(home: Path) -> None:
    (home / "s1/NIR/thumb.jpg").write_bytes(b"")
    found = casia_nir_vis.read(home)
    assert len(found.faces) == 21
    assert any(note.endswith("1 picture: s1/NIR/thumb.jpg") for note in found.notes)


def test_person_of_the_training_among_the_probes_is_refused_on_import(home: Path, tmp_path: Path) -> None:
    file = home / "protocols/nir_probe_1.txt"
    file.write_bytes(file.read_bytes() + b"s2\\NIR\\10001\\001.bmp\r\n")
    with pytest.raises(ValueError, match=r"view2_01: 1 person of the training among gallery or probes: 10001"):
        importing.import_set("casia_nir_vis", home, tmp_path / "list.csv")


def test_counts_are_right_for_the_whole_set() -> None:
    """A list of the published numbers of pictures, without pictures."""

    def protocol(num_gallery: int, num_probes: int) -> FaceList:
        people = [f"{index:05}" for index in range(num_gallery)]
        identities = people + [people[index % num_gallery] for index in range(num_probes)]
        columns = {"path": [f"{row}.jpg" for row in range(len(identities))], "identity": identities}
        splits = ["gallery"] * num_gallery + ["probe"] * num_probes
        return FaceList(Path("."), columns | {"domain": ["nir"] * len(identities), "split": splits})

    whole = {"view2_01": protocol(358, 6208), "view2_10": protocol(358, 6245)}
    counts = casia_nir_vis.counts(whole["view2_01"], whole)
    assert len(counts) == 6
    assert all(count.found == count.expected for count in counts)
    assert "view2_01: probe pictures: 6,208, as published" in map(str, counts)
    less = {"view2_01": protocol(357, 6208)}
    assert [str(count) for count in casia_nir_vis.counts(whole["view2_01"], less)] == [
        "view2_01: gallery pictures: 357 found, 358 published: 1 fewer",
        "view2_01: probe pictures: 6,208, as published",
        "view2_01: gallery people: 357 found, 358 published: 1 fewer",
    ]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["s1", "s2", "S3", "s4"]),
            st.sampled_from(["NIR", "nir"]),
            st.from_regex(r"[0-9]{5}", fullmatch=True),
            st.from_regex(r"[0-9]{3}\.(bmp|jpg|BMP)", fullmatch=True),
        ),
        max_size=5,
    ),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["\\", "/"]),
    st.sampled_from(["", "\ufeff"]),
)
def test_lines_are_read_whatever_their_slashes_and_ends(
    tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[str, ...]], end: str, slash: str, mark: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "nir_probe_1.txt"
    file.write_bytes((mark + "".join(slash.join(path) + end for path in parts)).encode())
    assert casia_nir_vis._listed(file) == ["/".join(path) for path in parts]


def test_eye_files_may_end_in_capitals(home: Path) -> None:
    for file in home.rglob("*.pos"):
        file.rename(file.with_suffix(".POS"))
    assert casia_nir_vis.read(home).faces.extra_names == list(casia_nir_vis.EYE_COLUMNS)


def test_list_that_names_nothing_is_noted(home: Path) -> None:
    (home / "protocols/nir_train_1.txt").write_bytes(b"\r\n")
    assert "nir_train_1.txt names no picture" in casia_nir_vis.read(home).notes
