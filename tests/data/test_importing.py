"""Importing: lists, protocols and a side file that later commands find; what is wrong is said before it is written."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from facebridge import images
from facebridge.data import importing
from facebridge.data.data_set import ByStem, Count, Imported, WrongRoot, absent_note, lines, pictures, require
from facebridge.data.face_list import FaceList
from facebridge.data.opening import open_faces
from facebridge.evaluation import protocol
from facebridge.evaluation.protocol import PairProtocol
from tests import drawn


class ToySet:
    """A data set that is nothing but what its test says."""

    TITLE = "Toy"

    def __init__(self, imported: Imported) -> None:
        self.imported = imported
        self.seen: dict[str, object] = {}

    def read(self, root: Path, *, seed: int = 0, lists: Path = Path(), side: str = "left") -> Imported:
        self.seen = {"root": root, "seed": seed, "lists": lists, "side": side}
        return self.imported

    def counts(self, faces: FaceList, protocols: Mapping[str, object]) -> list[Count]:
        return [Count("pictures", 3, len(faces)), Count("protocols", 1, len(protocols))]


def faces(root: Path, *rows: tuple[str, str, str]) -> FaceList:
    """Rows of path, identity, split."""
    paths, identities, splits = zip(*rows, strict=True)
    columns = {"path": paths, "identity": identities, "domain": ["vis"] * len(rows), "split": splits}
    return FaceList(root, columns)


def toy(monkeypatch: pytest.MonkeyPatch, imported: Imported) -> ToySet:
    module = ToySet(imported)
    monkeypatch.setattr(importing, "names", lambda: ["toy"])
    monkeypatch.setattr(importing, "load", lambda name: module)
    return module


PLAIN = (("a/1.png", "a", "gallery"), ("a/2.png", "a", "probe"), ("b/1.png", "b", "train"))


def test_list_and_protocols_are_written_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = faces(tmp_path / "theirs", *PLAIN)
    pairs = PairProtocol(("a/1.png",), ("b/1.png",), (False,), (0,), ("a",), ("b",))
    toy(monkeypatch, Imported(rows, {"one": rows, "two": pairs}, notes=["a note"]))
    (tmp_path / "theirs").mkdir()
    written = importing.import_set("toy", tmp_path / "theirs", tmp_path / "lists" / "toy.csv")
    assert written.protocols == {"one": tmp_path / "lists/toy_one.csv", "two": tmp_path / "lists/toy_two.csv"}
    assert (written.num_pictures, written.num_identities, written.notes) == (3, 2, ["a note"])
    assert protocol.read_pairs(written.protocols["two"]) == pairs
    for listed in (written.faces, written.protocols["one"]):
        again = open_faces(listed)
        assert again.root == tmp_path / "theirs"
        assert [again.column(name).tolist() for name in ("path", "identity", "split")] == [
            list(column) for column in zip(*PLAIN, strict=True)
        ]


def test_counts_are_taken_from_the_lists_as_they_are_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = faces(tmp_path, *PLAIN)
    toy(monkeypatch, Imported(rows, {"one": rows}))
    written = importing.import_set("toy", tmp_path, tmp_path / "toy.csv")
    assert [str(count) for count in importing.counts_of(written.faces)] == [
        "pictures: 3, as published",
        "protocols: 1, as published",
    ]
    text = written.faces.read_text("utf-8").splitlines(keepends=True)
    written.faces.write_text("".join(text[:-1]), "utf-8")
    assert str(importing.counts_of(written.faces)[0]) == "pictures: 2 found, 3 published: 1 fewer"


def test_list_of_no_import_has_no_counts_and_its_own_root(tmp_path: Path) -> None:
    listed = drawn.people(tmp_path, num_people=2, shots=1)
    assert importing.counts_of(listed) == []
    assert importing.root_of(listed) is None


def test_list_may_remember_where_its_pictures_lie(tmp_path: Path) -> None:
    listed = drawn.people(tmp_path / "people", num_people=1, shots=1)
    shutil.copy(listed, tmp_path / "faces.csv")
    importing.remember_root(tmp_path / "faces.csv", listed.parent)
    assert open_faces(tmp_path / "faces.csv").root == listed.parent
    assert importing.counts_of(tmp_path / "faces.csv") == []
    assert not importing.allows_overlap(tmp_path / "faces.csv")
    importing.remember_root(listed, listed.parent)
    assert not listed.with_suffix(".json").exists()


def test_other_json_beside_a_list_is_no_side_file(tmp_path: Path) -> None:
    listed = drawn.people(tmp_path, num_people=1, shots=1)
    for text in ("{", "[]", '{"root": 1}', '{"root": "/etc", "protocols": {}, "list": "faces.csv", "data_set": "no"}'):
        listed.with_suffix(".json").write_text(text, "utf-8")
        assert importing.root_of(listed) is None


def test_person_of_the_training_among_the_probes_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = faces(tmp_path, ("a/1.png", "a", "train"), ("a/2.png", "a", "probe"), ("b/1.png", "b", "gallery"))
    toy(monkeypatch, Imported(rows, {"one": rows}))
    with pytest.raises(ValueError, match="Toy, protocol one: 1 person of the training among gallery or probes: a;"):
        importing.import_set("toy", tmp_path, tmp_path / "toy.csv")
    assert not (tmp_path / "toy.csv").exists()


def test_protocol_that_allows_the_overlap_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = faces(tmp_path, ("a/1.png", "a", "train"), ("a/2.png", "a", "probe"), ("b/1.png", "b", "gallery"))
    toy(monkeypatch, Imported(rows, {"one": rows}, may_overlap=frozenset(["one"])))
    written = importing.import_set("toy", tmp_path, tmp_path / "toy.csv")
    assert importing.allows_overlap(written.protocols["one"])
    assert not importing.allows_overlap(written.faces)


def test_picture_that_is_gallery_and_probe_at_once_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = faces(tmp_path, ("a/1.png", "a", "gallery"), ("a/1.png", "a", "probe"))
    toy(monkeypatch, Imported(rows, {"one": rows}))
    with pytest.raises(ValueError, match=r"gallery and probe at once \(or listed twice\), the first: a/1\.png"):
        importing.import_set("toy", tmp_path, tmp_path / "toy.csv")


def test_options_arrive_as_what_the_set_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = toy(monkeypatch, Imported(faces(tmp_path, *PLAIN)))
    options = {"seed": 3, "lists": "elsewhere", "side": 7}
    importing.import_set("toy", tmp_path, tmp_path / "toy.csv", options)
    assert module.seen == {"root": tmp_path, "seed": 3, "lists": Path("elsewhere"), "side": "7"}


@pytest.mark.parametrize(
    ("options", "named"),
    [({"sead": 3}, "no option 'sead'; known options: seed, lists, side"), ({"seed": "x"}, "seed is 'x'")],
)
def test_wrong_option_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, object], named: str
) -> None:
    toy(monkeypatch, Imported(faces(tmp_path, *PLAIN)))
    with pytest.raises(ValueError, match=named):
        importing.import_set("toy", tmp_path, tmp_path / "toy.csv", options)


def test_unknown_set_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="lfw"):
        importing.load("lwf")


def test_list_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.csv or \.parquet"):
        importing.import_set("lfw", tmp_path, tmp_path / "list.txt")


def test_wrong_root_says_what_was_expected_and_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "notes.txt").write_text("", "utf-8")
    with pytest.raises(WrongRoot, match=r"is not Toy; expected a/1\.jpg; found notes\.txt, photos/$"):
        require(tmp_path, "Toy", "a/1.jpg", True, False)
    with pytest.raises(WrongRoot, match="no such folder; expected Toy"):
        require(tmp_path / "nowhere", "Toy", "a/1.jpg", True)
    require(tmp_path, "Toy", "a/1.jpg", True, True)


@pytest.mark.parametrize(("found", "words"), [(3, "as published"), (1, "2 fewer"), (1003, "1,000 more")])
def test_count_says_in_words_what_differs(found: int, words: str) -> None:
    assert str(Count("pictures", 3, found)).endswith(words)


def test_lines_of_any_system_read_alike(tmp_path: Path) -> None:
    texts = [b"a\\b.bmp 1\r\n\r\nc 2\r\n", b"\xef\xbb\xbfa/b.bmp 1\n\nc 2", b"  a/b.bmp 1 \r\rc 2\r"]
    for text in texts:
        (tmp_path / "list.txt").write_bytes(text)
        assert list(lines(tmp_path / "list.txt")) == [(1, "a/b.bmp 1"), (3, "c 2")]


def test_pictures_are_found_whatever_their_ending_and_case() -> None:
    known = ByStem(["s1/NIR/001.JPG", "s1/NIR/002.png"])
    assert known.find("s1\\nir\\001.bmp") == "s1/NIR/001.JPG"
    assert known.find("s1/NIR/003.bmp") is None


def test_pictures_below_a_folder_are_sorted_and_hidden_ones_left_out(tmp_path: Path) -> None:
    for name in ("b/2.PNG", "a/1.jpg", ".cache/3.jpg", "b/.4.jpg", "b/list.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert pictures(tmp_path) == ["a/1.jpg", "b/2.PNG"]
    assert pictures(tmp_path, "b") == ["b/2.PNG"]


def test_pictures_in_a_linked_folder_are_found_and_a_loop_ends(tmp_path: Path) -> None:
    elsewhere, root = tmp_path / "elsewhere", tmp_path / "root"
    (elsewhere / "deep").mkdir(parents=True)
    (elsewhere / "deep" / "1.png").write_bytes(b"")
    root.mkdir()
    (root / "linked").symlink_to(elsewhere)
    (elsewhere / "again").symlink_to(root)
    assert pictures(root) == ["linked/deep/1.png"]
    assert pictures(root, "linked/deep") == ["linked/deep/1.png"]
    assert pictures(root, "nowhere") == []


def test_note_of_absent_pictures_counts_all_and_names_some() -> None:
    assert absent_note("list.txt", []) == []
    (note,) = absent_note("list.txt", [f"{number}.jpg" for number in range(7)])
    assert note == "list.txt names 7 pictures that are not there: 0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg and 2 more"


def test_lists_may_be_moved_together_with_their_side_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "theirs"
    (root / "a").mkdir(parents=True)
    images.write(root / "a" / "1.png", drawn.shots().vis[0][0])
    rows = faces(root, ("a/1.png", "a", ""))
    toy(monkeypatch, Imported(rows))
    importing.import_set("toy", root, tmp_path / "one" / "toy.csv")
    shutil.move(tmp_path / "one", tmp_path / "two")
    assert open_faces(tmp_path / "two" / "toy.csv").picture_path(0) == root / "a" / "1.png"
    assert json.loads((tmp_path / "two" / "toy.json").read_text("utf-8"))["data_set"] == "toy"


def test_file_of_the_very_name_wins_over_one_of_another_ending_or_case() -> None:
    known = ByStem(["De_Niro/1.jpg", "de_Niro/1.jpg", "a/1.bmp", "a/1.jpg"])
    assert known.find("de_Niro/1.jpg") == "de_Niro/1.jpg"
    assert known.find("de_Niro/1.png") == "de_Niro/1.jpg"
    assert known.find("a/1.jpg") == "a/1.jpg"
    assert absent_note("list.txt", ["1.jpg"]) == ["list.txt names 1 picture that is not there: 1.jpg"]


def test_folder_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ann").mkdir()
    scandir = os.scandir

    def closed(path: str) -> object:
        if str(path).endswith("ann"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(ValueError, match=r"ann: folder cannot be read \(Permission denied\)"):
        pictures(tmp_path)


def test_list_in_both_formats_has_one_side_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy(monkeypatch, Imported(faces(tmp_path / "theirs", *PLAIN)))
    for suffix in (".csv", ".parquet"):
        importing.import_set("toy", tmp_path, tmp_path / f"toy{suffix}")
    assert importing.root_of(tmp_path / "toy.csv") == importing.root_of(tmp_path / "toy.parquet") == tmp_path / "theirs"


def test_file_that_is_no_side_file_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy(monkeypatch, Imported(faces(tmp_path, *PLAIN)))
    (tmp_path / "toy.json").write_text('{"annotations": []}', "utf-8")
    with pytest.raises(ValueError, match=r"toy\.json: is there, and not from an import"):
        importing.import_set("toy", tmp_path, tmp_path / "toy.csv")
    assert (tmp_path / "toy.json").read_text("utf-8") == '{"annotations": []}'
    assert not (tmp_path / "toy.csv").exists()


def test_protocol_of_an_earlier_import_goes_and_other_files_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = faces(tmp_path / "theirs", *PLAIN)
    toy(monkeypatch, Imported(rows, {"drawn": rows, "one": rows}))
    importing.import_set("toy", tmp_path, tmp_path / "toy.csv")
    (tmp_path / "toy_mine.csv").touch()
    toy(monkeypatch, Imported(rows, {"one": rows}))
    written = importing.import_set("toy", tmp_path, tmp_path / "toy.csv")
    assert sorted(path.name for path in tmp_path.glob("toy*.csv")) == ["toy.csv", "toy_mine.csv", "toy_one.csv"]
    assert written.notes == [f"removed {tmp_path / 'toy_drawn.csv'}, which an earlier import wrote"]


def test_number_below_zero_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy(monkeypatch, Imported(faces(tmp_path, *PLAIN)))
    with pytest.raises(ValueError, match="toy: option seed is -1; expected a whole number from 0"):
        importing.import_set("toy", tmp_path, tmp_path / "toy.csv", {"seed": -1})
