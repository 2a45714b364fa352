"""WHU VIS-NIR or any folder of pairs."""

from pathlib import Path

import pytest

from facebridge.data import whu
from facebridge.data.face_list import FaceList
from tests.data.spectrum_trees import whu as draw


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return draw(tmp_path).root


def half(root: Path, seed: int = 0) -> FaceList:
    protocol = whu.read(root, seed=seed).protocols["half"]
    assert isinstance(protocol, FaceList)
    return protocol


def touched(root: Path, people: int, pictures: int) -> Path:
    for camera in ("vis", "nir"):
        for person in range(people):
            (root / camera / f"{person:03}").mkdir(parents=True)
            for number in range(1, pictures + 1):
                (root / camera / f"{person:03}/{number}.png").touch()
    return root


def test_pair_joins_the_same_picture_of_both_cameras(root: Path) -> None:
    faces = whu.read(root).faces
    pairs: dict[str, list[tuple[str, str]]] = {}
    for row in faces:
        if row.pair:
            pairs.setdefault(row.pair, []).append((row.domain, row.path))
    assert len(pairs) == 15
    assert sorted(pairs["ann/2"]) == [("nir", "NIR/ann/2.bmp"), ("vis", "VIS/ann/2.jpg")]
    assert all(sorted(domain for domain, _ in members) == ["nir", "vis"] for members in pairs.values())
    assert [row.path for row in faces if row.pair is None] == ["VIS/eve/10.jpg"]
    assert whu.read(root).notes == ["without one partner in the other camera, so in no pair: 1 picture: VIS/eve/10.jpg"]


def test_two_candidates_for_one_partner_make_no_pair(root: Path) -> None:
    (root / "VIS/ann/2.png").write_bytes((root / "VIS/ann/1.jpg").read_bytes())
    assert {row.path for row in whu.read(root).faces if row.pair is None} == {
        "NIR/ann/2.bmp",
        "VIS/ann/2.jpg",
        "VIS/ann/2.png",
        "VIS/eve/10.jpg",
    }


def test_half_of_the_people_train_and_the_seed_says_who(root: Path) -> None:
    trained = [frozenset(half(root, seed).where(split="train").column("identity").tolist()) for seed in range(8)]
    assert all(len(people) == 2 for people in trained)
    assert len(set(trained)) > 1
    tested = half(root).where(split="gallery")
    assert all(path.endswith("/1.jpg") for path in tested.column("path").tolist())
    assert len(half(root).where(split="probe")) == 9


def test_first_picture_is_the_first_by_number(tmp_path: Path) -> None:
    root = touched(tmp_path, people=2, pictures=12)
    for person in ("000", "001"):
        (root / f"vis/{person}/1.png").unlink()
    assert [path.split("/")[2] for path in half(root).where(split="gallery").column("path").tolist()] == ["2.png"]


def test_person_of_one_camera_is_training(root: Path) -> None:
    (root / "NIR/fay").mkdir()
    (root / "NIR/fay/1.bmp").touch()
    assert "fay" in half(root).where(split="train").column("identity").tolist()
    assert set(half(root).where(split="gallery").column("identity").tolist()) == set(
        half(root).where(split="probe").column("identity").tolist()
    )


def test_set_of_the_published_size_has_the_published_counts(tmp_path: Path) -> None:
    found = whu.read(touched(tmp_path, people=80, pictures=20))
    counts = whu.counts(found.faces, found.protocols)
    assert [(count.expected, count.found) for count in counts] == [(2800, 2800), (200, 200), (200, 200)]
    assert whu.counts(found.faces, {}) == []
