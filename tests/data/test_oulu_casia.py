"""Oulu-CASIA NIR-VIS: frames by camera, light, person and expression; drawn frames and published lists."""

from pathlib import Path

import pytest

from facebridge.data import oulu_casia
from facebridge.data.face_list import FaceList
from facebridge.data.splits import Protocols
from tests.data.spectrum_trees import oulu_casia as draw
from tests.data.spectrum_trees import write_lines


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return draw(tmp_path).root


def paths(root: Path, name: str, split: str, seed: int = 0, **options: Path) -> list[str]:
    protocol = oulu_casia.read(root, seed=seed, **options).protocols[name]
    assert isinstance(protocol, FaceList)
    return protocol.where(split=split).column("path").tolist()  # type: ignore[no-any-return]


def test_columns_come_from_the_path(root: Path) -> None:
    faces = oulu_casia.read(root).faces
    row = faces[faces.column("path").tolist().index("VL/Dark/P005/Anger/000.jpeg")]
    assert (row.identity, row.domain, row.expression) == ("P005", "vis", "anger")
    assert row.extra == {"light": "dark"}
    assert len(faces) == 56


def test_published_people_are_twenty_and_twenty() -> None:
    assert len(oulu_casia.TEST_PEOPLE) == len(oulu_casia.TRAIN_PEOPLE) == 20
    assert not oulu_casia.TEST_PEOPLE & oulu_casia.TRAIN_PEOPLE


def test_only_normal_light_is_used_and_at_most_eight_frames_of_an_expression(root: Path) -> None:
    for split in ("train", "gallery", "probe"):
        chosen = paths(root, "normal_20", split)
        assert all(path.split("/")[1] == "Strong" for path in chosen)
    anger = [path for path in paths(root, "normal_20", "probe") if "P009/Anger" in path]
    assert len(anger) == len(set(anger)) == 8
    people = {path.split("/")[2] for path in paths(root, "normal_20", "train")}
    assert people == {"P005", "P007"}
    assert {path.split("/")[2] for path in paths(root, "all_40", "gallery")} == {"P005", "P007", "P009", "P014", "P017"}
    assert paths(root, "all_40", "train") == []


def test_frames_depend_on_the_seed_and_on_nothing_else(root: Path) -> None:
    first = paths(root, "normal_20", "probe", seed=1)
    assert first == paths(root, "normal_20", "probe", seed=1)
    assert {tuple(paths(root, "normal_20", "probe", seed=seed)) for seed in range(5)} != {tuple(first)}
    assert set(first) <= set(paths(root, "all_40", "probe", seed=1))
    for file in (root / "NI/Strong/P014").rglob("*.jpeg"):
        file.unlink()
    assert paths(root, "normal_20", "probe", seed=1) == [path for path in first if "P014" not in path]


def test_all_frames_of_an_expression_are_drawn_alike() -> None:
    """Over many seeds, each of ten frames is taken about 8 times in 10."""
    names = [f"NI/Strong/P009/Anger/{frame:03}.jpeg" for frame in range(10)]
    columns = {"path": names, "identity": ["P009"] * 10, "domain": ["nir"] * 10, "expression": ["anger"] * 10}
    faces = FaceList(Path("."), columns | {"light": ["strong"] * 10})
    taken = dict.fromkeys(names, 0)
    for seed in range(500):
        for path in oulu_casia._drawn(faces, seed)[0]["P009", "nir"]:
            taken[path] += 1
    assert sum(taken.values()) == 500 * 8
    assert all(400 - 45 < count < 400 + 45 for count in taken.values())  # five standard deviations of a binomial


def test_published_lists_are_followed_to_the_line(root: Path, tmp_path: Path) -> None:
    nir = ["NI/Strong/P009/Anger/004.jpeg 9", "NI/Strong/P014/Anger/001.jpeg 14"]
    vis = ["VL/Strong/P009/Anger/007.jpeg 9", "VL/Strong/P014/Anger/000.jpeg 14"]
    write_lines(tmp_path / "lists/test_nir_paths.txt", nir, "\r\n")
    write_lines(tmp_path / "lists/test_vis_paths.txt", vis)
    write_lines(tmp_path / "lists/nir_test_paths.csv", ["NI/Strong/P005/Anger/001.jpeg,P005"])
    for lists in (tmp_path / "lists", Path("lists")):
        assert paths(root, "normal_20", "probe", lists=lists) == [line.split()[0] for line in nir]
        assert paths(root, "normal_20", "gallery", lists=lists) == [line.split()[0] for line in vis]
        assert paths(root, "all_40", "probe", lists=lists) == ["NI/Strong/P005/Anger/001.jpeg"]
    notes = oulu_casia.read(root, lists=Path("lists")).notes
    assert "protocol normal_20: its probe pictures are those of test_nir_paths.txt" in notes
    assert any(note.startswith("protocol all_40: its gallery pictures are drawn with seed 0") for note in notes)


def test_named_folder_without_lists_is_an_error_and_not_a_draw(root: Path) -> None:
    with pytest.raises(ValueError, match=r"typo: expected one of the lists test_vis_paths\.txt, .*; none is there"):
        oulu_casia.read(root, lists=Path("typo"))


def test_person_that_a_list_tests_is_not_trained_on(root: Path) -> None:
    write_lines(root / "test_nir_paths.txt", ["NI/Strong/P005/Anger/001.jpeg 5"])
    assert {path.split("/")[2] for path in paths(root, "normal_20", "train")} == {"P007"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("NI/Strong/P009/Anger/004.jpeg", "expected `NI/Strong/P009/Anger/018.jpeg 9`"),
        ("VL/Strong/P009/Anger/004.jpeg 9", "expected `NI/"),
        ("NI/Bright/P009/Anger/004.jpeg 9", "expected `NI/"),
        ("NI/Strong/P009/Anger/004.jpeg 19", "the picture is of P009, the label says '19'"),
        ("NI/Strong/P009/Anger/004.jpeg 9 9", "expected `NI/"),
    ],
)
def test_bad_line_names_file_and_line(root: Path, line: str, words: str) -> None:
    write_lines(root / "test_nir_paths.txt", ["NI/Strong/P009/Anger/003.jpeg 9", "", line])
    with pytest.raises(ValueError, match=r"test_nir_paths\.txt: line 3: ") as raised:
        oulu_casia.read(root)
    assert words in str(raised.value)


def test_people_and_frames_that_are_not_there_are_said(root: Path) -> None:
    notes = oulu_casia.read(root).notes
    assert any(
        note.startswith("protocol normal_20: no frames in normal light of 35 people: P008, P015") for note in notes
    )
    assert any(note.startswith("fewer than 8 frames, and all taken, in 18 expressions") for note in notes)


def test_counts_are_right_for_the_whole_set() -> None:
    rows = [
        {"path": f"{camera}/{person}/{expression}/{frame}.jpeg", "identity": person, "domain": domain}
        for camera, domain in (("NI", "nir"), ("VL", "vis"))
        for person in (f"P{number:03}" for number in range(1, 81))
        for expression in oulu_casia.EXPRESSIONS
        for frame in range(8)
    ]
    faces = FaceList(Path("."), {name: [row[name] for row in rows] for name in rows[0]})
    protocols = Protocols(faces)
    splits = {"nir": "probe", "vis": "gallery"}
    halves = ["train" if row["identity"] in oulu_casia.TRAIN_PEOPLE else splits[row["domain"]] for row in rows]
    keep = [row["identity"] in oulu_casia.FORTY_PEOPLE for row in rows]
    protocols.add_rule("normal_20", [half if kept else "" for half, kept in zip(halves, keep, strict=True)])
    protocols.add_rule("all_40", [splits[row["domain"]] if kept else "" for row, kept in zip(rows, keep, strict=True)])
    counts = oulu_casia.counts(faces, protocols.found)
    assert [count.found for count in counts] == [80, 1920, 960, 960, 1920, 1920]
    assert all(count.found == count.expected for count in counts)
    assert oulu_casia.counts(faces.take(range(10)), {})[0].found == 1
