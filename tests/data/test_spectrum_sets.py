"""What holds for every near-infrared and thermal data set, in the layout of each."""

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from facebridge.data.check import check
from facebridge.data.data_set import Count, Imported, WrongRoot
from facebridge.data.face_list import FaceList
from tests.data.spectrum_trees import TREES
from tests.data.tree import Tree

LISTED = ("casia_nir_vis", "lamp_hq", "dvg_list", "dvg_face_list")


def module(name: str) -> ModuleType:
    return importlib.import_module(f"facebridge.data.{name}")


@pytest.fixture(params=TREES)
def named_tree(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Tree]:
    return request.param, TREES[request.param](tmp_path)


def read(name: str, tree: Tree) -> Imported:
    found: Imported = module(name).read(tree.root, **tree.options)
    return found


def of(protocol: FaceList, split: str, column: str = "identity") -> set[str]:
    return set(protocol.where(split=split).column(column).tolist())


def contents(found: Imported) -> tuple[list[object], dict[str, list[object]]]:
    """Everything that the lists say, without what notes say."""

    def rows(faces: FaceList) -> list[object]:
        return [tuple(faces.column(name).tolist()) for name in faces.column_names]

    return rows(found.faces), {name: rows(protocol) for name, protocol in found.protocols.items()}


def test_every_picture_is_a_row_once_and_lies_where_it_says(named_tree: tuple[str, Tree]) -> None:
    name, tree = named_tree
    faces = read(name, tree).faces
    paths = faces.column("path").tolist()
    assert sorted(paths) == sorted(tree.landmarks)
    assert all(faces.picture_path(row).is_file() for row in range(len(faces)))
    assert faces.root.resolve().is_relative_to(tree.root.resolve())
    points = np.stack([tree.landmarks[path] for path in paths])
    assert check(faces.with_landmarks(points)).ok


def test_both_cameras_are_told_apart(named_tree: tuple[str, Tree]) -> None:
    name, tree = named_tree
    domains = set(read(name, tree).faces.column("domain").tolist())
    assert domains == ({"thermal", "vis"} if name == "tufts" else {"nir", "vis"})


def test_gallery_is_visible_and_probes_are_not_and_nobody_tested_was_trained_on(named_tree: tuple[str, Tree]) -> None:
    name, tree = named_tree
    protocols = read(name, tree).protocols
    assert protocols
    for protocol in protocols.values():
        assert isinstance(protocol, FaceList)
        assert of(protocol, "gallery", "domain") == {"vis"}
        assert "vis" not in of(protocol, "probe", "domain")
        assert len(of(protocol, "gallery")) >= 3
        assert of(protocol, "probe") <= of(protocol, "gallery")
        assert not of(protocol, "train") & (of(protocol, "gallery") | of(protocol, "probe"))


def test_training_has_two_people_in_both_cameras(named_tree: tuple[str, Tree]) -> None:
    name, tree = named_tree
    trained = [protocol.where(split="train") for protocol in read(name, tree).protocols.values()]
    if name.startswith("dvg"):
        assert all(len(faces) == 0 for faces in trained)
    else:
        faces = trained[0]
        assert all(len(set(part.column("identity").tolist())) == 2 for part in (faces.where(domain="vis"), faces))


def test_paths_of_protocols_are_those_of_the_list(named_tree: tuple[str, Tree]) -> None:
    name, tree = named_tree
    found = read(name, tree)
    paths = set(found.faces.column("path").tolist())
    assert all(set(protocol.column("path").tolist()) <= paths for protocol in found.protocols.values())


def test_reading_twice_gives_the_same(named_tree: tuple[str, Tree]) -> None:
    name, tree = named_tree
    assert contents(read(name, tree)) == contents(read(name, tree))


def test_counts_say_that_a_small_copy_is_small(named_tree: tuple[str, Tree]) -> None:
    name, tree = named_tree
    found = read(name, tree)
    counts: list[Count] = module(name).counts(found.faces, found.protocols)
    assert bool(counts) == (name not in ("whu", "dvg_list", "dvg_face_list"))
    assert all(count.found < count.expected and "fewer" in str(count) for count in counts)
    without = module(name).counts(found.faces, {})
    assert {count.what for count in without} <= {count.what for count in counts}
    assert all(":" not in count.what for count in without)


@pytest.mark.parametrize("name", ["oulu_casia", "buaa_vis_nir", "lamp_hq", "whu"])
def test_folder_that_holds_the_set_will_do(name: str, tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "beside").mkdir()
    tree = TREES[name](tmp_path / "inside")
    outer = module(name).read(tmp_path, **tree.options)
    assert outer.faces.root == tmp_path / "inside"
    assert contents(outer) == contents(read(name, tree))


@pytest.mark.parametrize("name", TREES)
def test_wrong_root_says_what_was_expected_and_what_is_there(name: str, tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday/beach.jpg").write_bytes(b"no picture")
    with pytest.raises(WrongRoot) as raised:
        module(name).read(tmp_path)
    assert module(name).TITLE in str(raised.value)
    assert str(tmp_path) in str(raised.value)
    assert name.startswith("dvg") or "holiday/" in str(raised.value)
    with pytest.raises(WrongRoot, match="no such folder"):
        module(name).read(tmp_path / "nowhere")
    (tmp_path / "archive.zip").touch()
    if not name.startswith("dvg"):
        with pytest.raises(WrongRoot, match=r"is a file, no folder \(unpack it first"):
            module(name).read(tmp_path / "archive.zip")


@pytest.fixture(params=LISTED)
def listed_tree(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Tree]:
    return request.param, TREES[request.param](tmp_path)


def lists_of(tree: Tree) -> list[Path]:
    return sorted(tree.root.rglob("*.txt"))


def test_order_of_lines_line_ends_slashes_and_byte_order_marks_do_not_matter(listed_tree: tuple[str, Tree]) -> None:
    name, tree = listed_tree
    before = contents(read(name, tree))
    for number, file in enumerate(lists_of(tree)):
        lines = [line for line in file.read_text(encoding="utf-8-sig").splitlines() if line]
        headers = [line for line in lines if "." not in line]
        others = [line for line in lines if "." in line]
        order = np.random.default_rng(number).permutation(len(others))
        shuffled = headers + [others[index] for index in order]
        slash = [line.replace("\\", "/") if number % 2 else line.replace("/", "\\") for line in shuffled]
        ends = ("\n", "\r\n", "\r")[number % 3]
        file.write_bytes((b"\xef\xbb\xbf" if number % 2 else b"") + ends.join(slash).encode())
    assert contents(read(name, tree)) == before


def test_picture_that_is_not_there_becomes_a_note_and_nothing_else_changes(listed_tree: tuple[str, Tree]) -> None:
    name, tree = listed_tree
    before = read(name, tree)
    key, protocol = next(iter(before.protocols.items()))
    assert isinstance(protocol, FaceList)
    victim = protocol.where(split="probe").column("path").tolist()[0]
    (before.faces.root / victim).unlink()
    after = read(name, tree)
    assert len(after.faces) == len(before.faces) - 1
    assert len(after.protocols[key]) == len(protocol) - 1
    stem = victim.rsplit(".", 1)[0]
    notes = [note for note in after.notes if "not there" in note]
    assert notes
    assert all(stem in note.replace("\\", "/") for note in notes)


def test_picture_is_found_whatever_its_ending_and_case(listed_tree: tuple[str, Tree]) -> None:
    name, tree = listed_tree
    before = read(name, tree)
    for path in before.faces.column("path").tolist():
        file = before.faces.root / path
        file.rename(file.with_name(file.stem.upper() + {".jpg": ".PNG", ".bmp": ".Jpeg"}[file.suffix]))
    after = read(name, tree)
    assert len(after.faces) == len(before.faces)
    assert {key: len(protocol) for key, protocol in after.protocols.items()} == {
        key: len(protocol) for key, protocol in before.protocols.items()
    }
    assert [note for note in after.notes if "not there" in note] == []


def test_picture_named_twice_counts_once_and_becomes_a_note(listed_tree: tuple[str, Tree]) -> None:
    name, tree = listed_tree
    before = contents(read(name, tree))
    file = next(file for file in lists_of(tree) if "probe" in file.name or "list" in file.name)
    last = file.read_bytes().strip().splitlines()[-1]
    file.write_bytes(file.read_bytes().rstrip() + b"\n" + last + b"\n")
    after = read(name, tree)
    assert contents(after) == before
    assert any(f"{file.name} names twice 1 picture" in note for note in after.notes)
