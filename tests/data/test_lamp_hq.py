"""LAMP-HQ: ten folds of lists that may begin with a header line."""

from pathlib import Path

import pytest

from facebridge.data import lamp_hq
from facebridge.data.data_set import WrongRoot
from facebridge.data.face_list import FaceList
from tests.data.spectrum_trees import lamp_hq as draw
from tests.data.spectrum_trees import write_lines


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return draw(tmp_path).root


def fold(root: Path, name: str = "fold_01") -> FaceList:
    protocol = lamp_hq.read(root).protocols[name]
    assert isinstance(protocol, FaceList)
    return protocol


def test_fold_one_is_what_its_lists_say(root: Path) -> None:
    protocol = fold(root)
    assert protocol.where(split="gallery").column("path").tolist() == [
        "VIS/VIS_FP0001_1_a.jpg",
        "VIS/VIS_FP0003_1_a.jpg",
        "VIS/VIS_P0001_1_a.jpg",
    ]
    assert protocol.where(split="probe").column("identity").tolist() == ["FP0001"] * 2 + ["FP0003"] * 2 + ["P0001"] * 2
    assert set(protocol.where(split="train").column("identity").tolist()) == {"FP0002", "P0010"}
    assert set(protocol.where(split="train").column("domain").tolist()) == {"nir", "vis"}
    assert lamp_hq.read(root).notes == [
        f"no lists in {root}/Protocols for 9 protocols: fold_02, fold_03, fold_04, fold_05, fold_06 and 4 more"
    ]


def test_header_line_takes_nothing_away_and_its_absence_neither(root: Path) -> None:
    before = fold(root).column("path").tolist()
    for file in (root / "Protocols").rglob("*.txt"):
        lines = [line for line in file.read_text().splitlines() if ".jpg" in line]
        write_lines(file, lines if "probe" in file.name else ["image_path identity", *lines])
    assert fold(root).column("path").tolist() == before


def test_only_the_first_line_may_be_a_header(root: Path) -> None:
    file = root / "Protocols/test/gallery_vis1.txt"
    write_lines(file, ["3", "path label", *file.read_text().splitlines()])
    with pytest.raises(ValueError, match=r"gallery_vis1\.txt: line 2: expected a line like `VIS/VIS_FP0001"):
        lamp_hq.read(root)


def test_folder_may_be_called_protocol_and_hold_any_of_the_folds(root: Path) -> None:
    before = fold(root).column("path").tolist()
    (root / "Protocols").rename(root / "Protocol")
    for file in (root / "Protocol").rglob("*.txt"):
        file.rename(file.with_name(file.name.replace("1.txt", "10.txt")))
    assert fold(root, "fold_10").column("path").tolist() == before
    assert list(lamp_hq.read(root).protocols) == ["fold_10"]


def test_lists_without_labels_and_with_numbers_as_labels_are_read(root: Path) -> None:
    before = fold(root).column("identity").tolist()
    for number, file in enumerate(sorted((root / "Protocols").rglob("*.txt"))):
        lines = [line.split()[0] for line in file.read_text().splitlines() if ".jpg" in line]
        write_lines(file, lines if number % 2 else [f"{line} 17" for line in lines])
    assert fold(root).column("identity").tolist() == before


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("VIS/VIS_FP0001_1_a.jpg FP0001", "expected a line like `NIR/NIR_FP0001_1_..._a.jpg FP0001`"),
        ("27263", "expected a line like"),
        ("NIR/NIR_FP0001_1_DOWN_a.jpg FP0003", "the picture is of FP0001, the label says 'FP0003'"),
        ("NIR/NIR_FP0001_1_DOWN_a.jpg FP0001 0", "expected a line like"),
    ],
)
def test_bad_line_names_file_and_line(root: Path, line: str, words: str) -> None:
    file = root / "Protocols/test/probe_nir1.txt"
    write_lines(file, [*file.read_text().splitlines(), line])
    with pytest.raises(ValueError, match=r"probe_nir1\.txt: line 8: ") as raised:
        lamp_hq.read(root)
    assert words in str(raised.value)


def test_lists_without_pictures_are_not_the_set(root: Path) -> None:
    for file in root.rglob("*.jpg"):
        file.unlink()
    with pytest.raises(WrongRoot, match=r"NIR/NIR_FP0001_1_DOWN_a\.jpg .* found NIR/, Protocols/, VIS/"):
        lamp_hq.read(root)


def test_counts_are_right_for_a_list_of_the_whole_set() -> None:
    """Of the published size: 573 people with all pictures; 273 of them in the gallery, 300 in the training."""
    people = [f"P{index:04}" for index in range(573)]
    domains = ["nir"] * 56788 + ["vis"] * 16828
    names = [people[row % 573] for row in range(len(domains))]
    columns = {"path": [f"{row}.jpg" for row in range(len(names))], "identity": names, "domain": domains}
    faces = FaceList(Path("."), columns)
    parts = {"gallery": people[:273], "probe": [people[row % 273] for row in range(27263)], "train": people[273:]}
    splits = [split for split, names in parts.items() for _ in names]
    listed = [name for names in parts.values() for name in names]
    columns = {"path": [f"{row}.jpg" for row in range(len(listed))], "identity": listed, "split": splits}
    protocol = FaceList(Path("."), columns | {"domain": ["nir"] * len(listed)})
    counts = lamp_hq.counts(faces, {"fold_01": protocol})
    assert len(counts) == 7
    assert all(count.found == count.expected for count in counts)
    wrong = lamp_hq.counts(faces, {"fold_01": protocol.where(split=("gallery", "train"))})
    assert "fold_01: probe pictures: 0 found, 27,263 published: 27,263 fewer" in map(str, wrong)
