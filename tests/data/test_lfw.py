"""LFW: the lists in every form people have them in, what is missing, and the drawn folds."""

import shutil
from collections import Counter

import pytest

from facebridge.data import lfw
from facebridge.data.data_set import WrongRoot
from tests.data import visible_trees

ANN, BOB, CID, DEE = visible_trees.NAMES


@pytest.fixture
def tree(tmp_path):
    return visible_trees.lfw(tmp_path / "lfw").root


def test_views_and_splits_are_those_of_the_lists(tree):
    found = lfw.read(tree)
    assert found.faces.root == tree / "lfw-deepfunneled"
    assert found.faces[0].path == f"{ANN}/{ANN}_0001.jpg"
    assert found.faces[0].identity == ANN
    assert found.faces.column("split").tolist() == ["train"] * 8 + ["test"] * 8
    view2 = found.protocols["view2"]
    assert (len(view2), view2.num_folds) == (8, 2)
    assert view2.first[:2] == (f"{ANN}/{ANN}_0001.jpg", f"{BOB}/{BOB}_0003.jpg")
    assert view2.second[2] == f"{BOB}/{BOB}_0002.jpg"
    assert view2.genuine == (True, True, False, False) * 2
    assert view2.fold == (0,) * 4 + (1,) * 4
    assert view2.first_identities[4:] == (CID, DEE, CID, CID)
    assert [len(found.protocols[name]) for name in ("view1_train", "view1_test")] == [20, 20]
    assert not found.notes


def test_the_people_may_be_the_root_and_the_lists_elsewhere(tree, tmp_path):
    people = tree / "lfw-deepfunneled"
    assert "view2" not in lfw.read(people).protocols
    assert lfw.read(people, lists=str(tree)).protocols == lfw.read(tree).protocols
    with pytest.raises(ValueError, match="lists is .*: no such folder"):
        lfw.read(people, lists=str(tree / "absent"))
    nested = tmp_path / "archive" / "lfw-deepfunneled"
    shutil.copytree(people, nested / "lfw-deepfunneled")
    assert lfw.read(nested.parent).faces.root == nested / "lfw-deepfunneled"


def test_tables_say_what_the_texts_say(tree, tmp_path):
    folder = tmp_path / "tables"
    folder.mkdir()
    for stem in ("pairsDevTrain", "pairsDevTest"):
        rows = [line.split("\t") for line in (tree / f"{stem}.txt").read_text().splitlines()[1:]]
        for kind, width, header in (
            ("match", 3, "name,imagenum1,imagenum2"),
            ("mismatch", 4, "name,imagenum1,name,imagenum2"),
        ):
            text = "\n".join([header, *(",".join(row) for row in rows if len(row) == width)])
            (folder / f"{kind}{stem}.csv").write_text(text + "\n")
    rows = [line.split("\t") for line in (tree / "pairs.txt").read_text().splitlines()[1:]]
    cells = ["name,imagenum1,imagenum2,", *(",".join(row) + "," * (4 - len(row)) for row in rows)]
    (folder / "pairs.csv").write_text("\r\n".join(cells) + "\r\n")
    (folder / "peopleDevTrain.csv").write_text(f"name,images\n{ANN},4\n{BOB},4\n")
    found = lfw.read(tree / "lfw-deepfunneled", lists=str(folder))
    assert found.protocols == lfw.read(tree).protocols
    assert found.faces.column("split").tolist() == ["train"] * 8 + [""] * 8


def test_interleaved_tables_have_no_folds(tree):
    (tree / "pairs.txt").unlink()
    rows = [f"{ANN},1,2,", f"{ANN},1,{BOB},1", f"{BOB},1,2,", f"{CID},1,2,", f"{CID},1,{DEE},1"]
    (tree / "pairs.csv").write_text("\n".join(["name,imagenum1,imagenum2,", *rows]))
    view2 = lfw.read(tree).protocols["view2"]
    assert view2.fold == (0,) * 5
    assert view2.genuine == (True, False, True, True, False)


@pytest.mark.parametrize("line", ["Ann_Drawn,1", "Ann_Drawn,one,2", "../x,1,2", "a,1,b,2,c"])
def test_a_bad_table_names_its_line(tree, line):
    (tree / "pairs.txt").unlink()
    (tree / "pairs.csv").write_text(f"name,imagenum1,imagenum2,\n{ANN},1,2,\n{line}\n")
    with pytest.raises(ValueError, match=r"pairs\.csv:3"):
        lfw.read(tree)


def test_pairs_of_missing_pictures_are_left_out_and_noted(tree):
    (tree / "lfw-deepfunneled" / ANN / f"{ANN}_0001.jpg").unlink()
    (tree / "people.txt").write_text(f"1\n2\n{ANN}\t4\n{BOB}\t4\n")
    found = lfw.read(tree)
    assert len(found.protocols["view2"]) == 6
    notes = "\n".join(found.notes)
    assert f"pairs.txt names 1 picture that is not there: {ANN}/{ANN}_0001.jpg" in notes
    assert "pairs.txt: 2 of 8 pairs are left out" in notes
    assert "people.txt counts 1 picture that is not there, of 8" in notes
    assert [str(count) for count in lfw.counts(found.faces, found.protocols)][2].startswith("pairs of view2: 6 found")


def test_pictures_of_another_format_are_found(tree):
    for path in list((tree / "lfw-deepfunneled").rglob("*.jpg")):
        path.rename(path.with_suffix(".png"))
    found = lfw.read(tree)
    assert found.protocols["view2"].first[0] == f"{ANN}/{ANN}_0001.png"
    assert not found.notes


def test_without_lists_folds_are_drawn_and_said_to_be_ours(tree):
    people = tree / "lfw-deepfunneled"
    found = lfw.read(people)
    assert list(found.protocols) == ["drawn"]
    assert "cannot be compared with published ones" in found.notes[0]
    assert lfw.read(people, seed=0).protocols == found.protocols
    assert lfw.read(people, seed=1).protocols != found.protocols
    assert all("drawn" not in count.what for count in lfw.counts(found.faces, found.protocols))


def test_a_wrong_root_says_what_was_expected_and_found(tree, tmp_path):
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "a.jpg").touch()
    with pytest.raises(WrongRoot, match=r"expected .*Name/Name_0001\.jpg.*found a\.jpg"):
        lfw.read(tmp_path / "else")
    with pytest.raises(WrongRoot, match="no such folder"):
        lfw.read(tmp_path / "absent")
    shutil.copytree(tree / "lfw-deepfunneled", tree / "lfw_funneled")
    with pytest.raises(WrongRoot, match="several copies"):
        lfw.read(tree)


@pytest.mark.real
def test_the_real_pictures_have_the_numbers_of_view_1(real_data):
    found = lfw.read(real_data / "data" / "lfw")
    assert len(found.faces) == 4_992
    assert {name: len(pairs) for name, pairs in found.protocols.items()} == {"view1_train": 2_200, "view1_test": 1_000}
    paths = set(found.faces.column("path").tolist())
    assert all(paths.issuperset(pairs.pictures()) for pairs in found.protocols.values())
    splits = Counter(found.faces.column("split").tolist())
    assert set(splits) == {"train", "test"}
    tested = set(found.protocols["view1_test"].first_identities) | set(found.protocols["view1_test"].second_identities)
    assert tested <= set(found.faces.where(split="test").column("identity").tolist())


@pytest.mark.real
def test_real_folds_are_drawn_full(real_data):
    found = lfw.read(real_data / "data" / "lfw" / "lfw-deepfunneled")
    drawn = found.protocols["drawn"]
    assert drawn.num_folds == 10
    sizes = Counter(zip(drawn.fold, drawn.genuine, strict=True))
    assert max(sizes.values()) <= 300
    assert min(sizes.values()) > 200


def test_pictures_may_be_taken_for_aligned_ones(tree):
    assert set(lfw.read(tree, crop="lfw_deepfunneled").faces.column("crop")) == {"lfw_deepfunneled"}
    assert "crop" not in lfw.read(tree).faces.column_names
    with pytest.raises(ValueError, match="no crop is called 'funneled'"):
        lfw.read(tree, crop="funneled")


def test_view_without_a_list_is_noted(tree):
    assert lfw.read(tree).notes == []
    (tree / "pairs.txt").unlink()
    assert lfw.read(tree).notes == ["no protocol view2: no pairs.txt was found"]
