"""Protocols from lists and from rules, and where a set lies in a folder."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facebridge.data import splits
from facebridge.data.face_list import FaceList
from facebridge.data.splits import Finder, PictureList, Protocols

PATHS = ["a/1.jpg", "a/2.bmp", "b/1.jpg", "b/2.bmp", "c/1.jpg"]


def faces() -> FaceList:
    return FaceList(Path("."), {"path": PATHS, "identity": list("aabbc"), "domain": ["vis", "nir"] * 2 + ["vis"]})


def rows(protocol: FaceList) -> list[tuple[str, str]]:
    return list(zip(protocol.column("path").tolist(), protocol.column("split").tolist(), strict=True))


def test_protocol_has_train_before_gallery_before_probe_each_in_the_order_of_the_faces() -> None:
    protocols = Protocols(faces())
    lists = [
        PictureList("probe", "probes", ["b/2.bmp"]),
        PictureList("train", "training", ["a/2.bmp", "a/1.jpg"]),
        PictureList("gallery", "gallery", ["c/1.jpg", "b/1.jpg"]),
    ]
    protocols.add_lists("one", lists)
    assert rows(protocols.found["one"]) == [
        ("a/1.jpg", "train"),
        ("a/2.bmp", "train"),
        ("b/1.jpg", "gallery"),
        ("c/1.jpg", "gallery"),
        ("b/2.bmp", "probe"),
    ]
    assert protocols.notes == []


def test_rule_leaves_out_the_pictures_without_a_split() -> None:
    protocols = Protocols(faces())
    protocols.add_rule("one", ["train", "", "gallery", "probe", ""])
    assert rows(protocols.found["one"]) == [("a/1.jpg", "train"), ("b/1.jpg", "gallery"), ("b/2.bmp", "probe")]


def test_protocol_without_gallery_or_probes_is_left_out_and_said() -> None:
    protocols = Protocols(faces())
    protocols.add_lists("one", [PictureList("gallery", "gallery.txt", ["a/1.jpg", "d/1.jpg"])])
    assert protocols.found == {}
    assert protocols.notes == [
        "gallery.txt names 1 picture that is not there: d/1.jpg",
        "protocol one is left out: none of its probe pictures is there",
    ]


def test_picture_in_two_splits_is_in_both_so_that_it_can_be_refused() -> None:
    protocols = Protocols(faces())
    lists = [PictureList("gallery", "gallery", ["a/1.jpg"]), PictureList("probe", "probes", ["a/1.jpg"])]
    protocols.add_lists("one", lists)
    assert rows(protocols.found["one"]) == [("a/1.jpg", "gallery"), ("a/1.jpg", "probe")]


def test_file_of_the_very_name_wins_over_one_of_another_ending() -> None:
    finder = Finder(["a/1.bmp", "a/1.jpg", "a/1.JPG", "b/2.png"])
    assert finder.find("a/1.jpg") == "a/1.jpg"
    assert finder.find(r".\a\1.JPG") == "a/1.JPG"
    assert finder.find("A/1.tif") in ("a/1.bmp", "a/1.jpg", "a/1.JPG")
    assert finder.find("B/2.BMP") == "b/2.png"
    assert finder.find("../b/2.png") is None
    assert finder.find("2.png") is None


@given(st.lists(st.sampled_from(["train", "gallery", "probe", ""]), min_size=5, max_size=5))
def test_rule_and_lists_that_say_the_same_give_the_same(own: list[str]) -> None:
    by_rule, by_lists = Protocols(faces()), Protocols(faces())
    by_rule.add_rule("one", own)
    parts = [
        PictureList(split, split, [path for path, each in zip(PATHS, own, strict=True) if each == split])
        for split in splits.SPLITS
    ]
    by_lists.add_lists("one", parts[::-1])
    assert by_rule.notes == by_lists.notes
    assert {name: rows(protocol) for name, protocol in by_rule.found.items()} == {
        name: rows(protocol) for name, protocol in by_lists.found.items()
    }


def test_home_is_the_folder_itself_or_the_only_one_inside_that_holds_the_set(tmp_path: Path) -> None:
    def holds(folder: Path) -> bool:
        return (folder / "mark").exists()

    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    assert splits.home(tmp_path, holds) == tmp_path
    (tmp_path / "one/mark").touch()
    assert splits.home(tmp_path, holds) == tmp_path / "one"
    (tmp_path / "two/mark").touch()
    assert splits.home(tmp_path, holds) == tmp_path
    (tmp_path / "mark").touch()
    assert splits.home(tmp_path, holds) == tmp_path
    assert splits.home(tmp_path / "nowhere", holds) == tmp_path / "nowhere"


def test_subfolder_is_found_in_any_case(tmp_path: Path) -> None:
    (tmp_path / "PROTOCOLS").mkdir()
    assert splits.subfolder(tmp_path, "protocols") == tmp_path / "PROTOCOLS"
    assert splits.subfolder(tmp_path, "lists") == tmp_path / "lists"


@pytest.mark.parametrize(("num", "words"), [(0, []), (1, ["lost: 1 picture: 0"]), (6, None)])
def test_note_names_the_first_and_counts_all(num: int, words: list[str] | None) -> None:
    note = splits.named_note("lost:", [str(index) for index in range(num)])
    assert note == (["lost: 6 pictures: 0, 1, 2, 3, 4 and 1 more"] if words is None else words)
