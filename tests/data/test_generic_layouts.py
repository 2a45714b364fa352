"""The layouts that belong to nobody's data set: folders A and B, pictures side by side, identity folders, lists."""

import numpy as np
import pytest

from facebridge import crops, images
from facebridge.data import csv_list, face_list, identity_folder, importing, reading, side_by_side, unpaired_folders
from facebridge.data.data_set import WrongRoot
from tests import drawn
from tests.data import visible_trees


def test_folders_a_and_b_are_source_and_target(tmp_path):
    tree = visible_trees.unpaired_folders(tmp_path)
    faces = unpaired_folders.read(tree.root, source="low_res", target="high_res", crop="arcface").faces
    assert len(faces) == 32
    for row in faces:
        folder = row.path.split("/")[0]
        assert (row.split, row.domain) == (folder[:-1], {"A": "low_res", "B": "high_res"}[folder[-1]])
        assert (row.crop, row.identity) == ("arcface", row.path)
    pairs = unpaired_folders.read(tree.root).protocols["fidelity"]
    assert {path.split("/")[0] for path in pairs.pictures()} == {"testA", "testB"}


def test_folders_without_tests_have_no_protocol(tmp_path):
    tree = visible_trees.unpaired_folders(tmp_path)
    for name in ("testA", "testB"):
        (tree.root / name).rename(tree.root / f"away{name}")
    found = unpaired_folders.read(tree.root)
    assert not found.protocols
    assert "no protocol fidelity" in found.notes[0]
    with pytest.raises(WrongRoot, match="expected folders trainA and trainB; found"):
        unpaired_folders.read(tree.root / "trainA")
    (tree.root / "trainB").rename(tree.root / "other")
    (tree.root / "trainB").mkdir()
    with pytest.raises(WrongRoot, match="expected pictures in trainA and in trainB"):
        unpaired_folders.read(tree.root)


def test_halves_are_the_pictures_that_were_put_together(tmp_path):
    tree = visible_trees.side_by_side(tmp_path)
    faces = side_by_side.read(tree.root, **tree.options).faces
    assert len(faces) == 32
    rows = {(row.pair, row.domain): index for index, row in enumerate(faces)}
    shots, crop = drawn.shots(), crops.crop("arcface")
    for domain, pictures in (("vis", shots.vis), ("nir", shots.nir)):
        expected = crops.align(pictures[1][2], shots.five[1, 2], crop)
        found = reading.aligned(faces, rows["train/Bob_Drawn_2", domain], crop)
        np.testing.assert_array_equal(found, expected)


def test_paired_looks_for_the_right_half_among_the_left_ones(tmp_path):
    tree = visible_trees.side_by_side(tmp_path)
    found = side_by_side.read(tree.root, left="high_res", right="low_res", person="^([A-Z])")
    paired = found.protocols["paired"]
    assert set(paired.where(split="gallery").column("domain").tolist()) == {"high_res"}
    assert paired.where(split="probe").column("identity").tolist() == ["A", "B", "C", "D"]
    assert {row.path.split("/")[0] for row in paired} == {"test"}
    assert "the high_res half is gallery and the low_res half is probe" in found.notes[-1]
    (tree.root / "test").rename(tree.root / "val")
    assert len(side_by_side.read(tree.root).protocols["paired"]) == 8


def test_bad_pictures_and_odd_widths_are_left_out_and_noted(tmp_path):
    tree = visible_trees.side_by_side(tmp_path)
    images.write(tree.root / "train" / "odd.png", np.zeros((4, 7, 3), np.uint8))
    (tree.root / "train" / "bad.png").write_bytes(b"no picture")
    found = side_by_side.read(tree.root)
    assert len(found.faces) == 32
    assert "left out, since an even width is needed: 2 pictures: train/bad.png (" in found.notes[0]
    assert "train/odd.png (7 px wide)" in found.notes[0]
    for path in (tree.root / "train").glob("*Drawn*"):
        path.unlink()
    (tree.root / "test").rename(tree.root / "away")
    with pytest.raises(WrongRoot, match=r"odd\.png \(7 px wide\)"):
        side_by_side.read(tree.root)


@pytest.mark.parametrize("person", ["[", "^Ann", "^([0-9]+)"])
def test_a_bad_expression_for_people_is_refused(tmp_path, person):
    with pytest.raises(ValueError, match="person"):
        side_by_side.read(visible_trees.side_by_side(tmp_path).root, person=person)


def test_folders_of_people_are_people(tmp_path):
    tree = visible_trees.identity_folder(tmp_path)
    found = identity_folder.read(tree.root, domain="nir", crop="ffe")
    assert found.faces[5].identity == "Bob_Drawn"
    assert set(found.faces.column("domain").tolist()) == {"nir"}
    assert set(found.faces.column("crop").tolist()) == {"ffe"}
    drawn_protocol = found.protocols["drawn"]
    assert drawn_protocol.where(split="gallery").column("path").tolist() == [
        f"{name}/0.jpg" for name in visible_trees.NAMES
    ]
    assert "not a published one" in found.notes[0]
    with pytest.raises(WrongRoot, match="expected folders IDENTITY/"):
        identity_folder.read(tree.root / "Ann_Drawn")
    (tree.root / "Ann_Drawn" / "0.jpg").rename(tree.root / "0.jpg")
    with pytest.raises(WrongRoot, match=r"0\.jpg: lies in no identity's folder"):
        identity_folder.read(tree.root)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_list_is_itself_and_brings_its_own_splits(tmp_path, suffix):
    tree = visible_trees.csv_list(tmp_path)
    faces = face_list.read(tree.root).with_column("split", ["train"] * 8 + ["gallery", "probe", "", "probe"] * 2)
    face_list.write(faces, tmp_path / f"list{suffix}")
    found = csv_list.read(tmp_path / f"list{suffix}")
    assert found.faces.column("path").tolist() == faces.column("path").tolist()
    assert list(found.protocols) == ["listed"]
    assert len(found.protocols["listed"]) == 14
    with pytest.raises(ValueError, match="else: no such folder"):
        csv_list.read(tmp_path / f"list{suffix}", pictures=str(tmp_path / "else"))
    (tmp_path / "else").mkdir()
    elsewhere = csv_list.read(tmp_path / f"list{suffix}", pictures=str(tmp_path / "else"))
    assert elsewhere.faces.root == tmp_path / "else"


def test_a_list_without_splits_is_drawn_from(tmp_path):
    found = csv_list.read(visible_trees.csv_list(tmp_path).root)
    assert len(found.protocols["drawn"].where(split="probe")) == 12


def test_a_root_that_is_no_list_says_what_was_found(tmp_path):
    for path, found in ((tmp_path, "a folder"), (tmp_path / "list.csv", "nothing")):
        with pytest.raises(WrongRoot, match=f"ends in .csv or .parquet; found {found}"):
            csv_list.read(path)
    (tmp_path / "list.txt").touch()
    with pytest.raises(WrongRoot, match="found another file"):
        csv_list.read(tmp_path / "list.txt")


def test_every_tree_is_whole(tmp_path):
    """Different bytes in every file, points for every picture but where a crop says how it was aligned."""
    for name, draw in visible_trees.TREES.items():
        (tmp_path / name).mkdir()
        tree = draw(tmp_path / name)
        pictures = [path for path in (tmp_path / name).rglob("*") if path.suffix in (".png", ".jpg")]
        listed = [path for path in pictures if "mask-anno" not in str(path)]
        assert len({path.read_bytes() for path in listed}) == len(listed) >= 16
        assert len(tree.landmarks) == (0 if "crop" in tree.options else len(listed))


def test_both_sides_may_be_of_one_domain(tmp_path):
    tree = visible_trees.unpaired_folders(tmp_path)
    assert len(unpaired_folders.read(tree.root, source="vis", target="vis").faces) == 32


@pytest.mark.parametrize("module", [unpaired_folders, side_by_side, identity_folder])
def test_crop_of_a_layout_is_a_known_one(tmp_path, module):
    root = getattr(visible_trees, module.__name__.rpartition(".")[2])(tmp_path).root
    assert set(module.read(root, crop="arcface_112").faces.column("crop")) == {"arcface"}
    with pytest.raises(ValueError, match="no crop is called 'square'"):
        module.read(root, crop="square")


def test_list_whose_training_overlaps_is_refused_unless_it_may(tmp_path):
    tree = visible_trees.csv_list(tmp_path)
    faces = face_list.read(tree.root).with_column("split", ["train", "gallery", "probe", "probe"] * 4)
    face_list.write(faces, tmp_path / "list.csv")
    with pytest.raises(ValueError, match="4 people of the training among gallery or probes"):
        importing.import_set("csv_list", tmp_path / "list.csv", tmp_path / "lists/mine.csv")
    written = importing.import_set(
        "csv_list", tmp_path / "list.csv", tmp_path / "lists/mine.csv", {"may_overlap": True}
    )
    assert importing.allows_overlap(written.protocols["listed"])


def test_list_without_rows_is_refused(tmp_path):
    (tmp_path / "list.csv").write_text("path,identity,domain\n", "utf-8")
    with pytest.raises(ValueError, match=r"list\.csv: no pictures below the header line"):
        csv_list.read(tmp_path / "list.csv")
