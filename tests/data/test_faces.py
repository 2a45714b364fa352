"""Where faces come from: lists, drawn people, two sources joined; and that labels are known without pictures."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facebridge import crops, images, recipe
from facebridge.data import face_list, opening, shards, synthetic
from facebridge.data.batches import Batches
from facebridge.data.face_list import FaceList
from facebridge.data.faces import DrawnFaces, JoinedFaces, LabelledFaces, ListedFaces, faces_of
from facebridge.data.samplers.choosing import sampler_of
from facebridge.recipe import SyntheticData
from tests import tiny

CROP = crops.crop("sphereface")
PEOPLE: dict[str, Any] = {"kind": "synthetic", "identities": 2, "shots": 2, "size": 64, "first_identity": 5}


def test_listed_faces_are_the_pictures_on_disk_with_identities_numbered_by_name(tmp_path: Path) -> None:
    rows = opening.as_aligned(face_list.read(tiny.face_list(tmp_path, 5)), "sphereface")
    listed, wanted = ListedFaces(rows, CROP), tiny.RandomFaces(5)
    assert len(listed) == 5
    for index in range(5):
        np.testing.assert_array_equal(listed.picture(index), wanted.picture(index))
        assert listed.identity(index) == wanted.identity(index)
    assert listed.identities().tolist() == [listed.identity(index) for index in range(5)]


def test_columns_that_a_list_does_not_have_are_unknown_and_others_refused() -> None:
    listed = ListedFaces(FaceList(Path(), {"path": ["a", "b"], "identity": ["x", "y"], "domain": ["vis"] * 2}), CROP)
    assert listed.column("pair").tolist() == ["", ""]
    assert np.isnan(listed.column("yaw_deg")).all()
    with pytest.raises(ValueError, match="no column 'light'"):
        listed.column("light")


def test_the_order_of_names_is_that_of_paths_then_domains_then_regions() -> None:
    rows = [("b.png", "vis", ""), ("a.png", "vis", "9 0 9 9"), ("a.png", "vis", "0 0 9 9"), ("a.png", "nir", "")]
    path, domain, region = zip(*rows, strict=True)
    columns = {"path": path, "identity": ["x"] * 4, "domain": domain, "region": region}
    assert ListedFaces(FaceList(Path(), columns), CROP).in_order_of_names().tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize("wanted", [{"split": "test"}, {"domain": "nir"}])
def test_a_list_without_the_wanted_rows_is_refused(tmp_path: Path, wanted: dict[str, str]) -> None:
    table = tiny.table()
    table["data"] |= {"list": str(with_splits(tmp_path)), **wanted}
    with pytest.raises(ValueError, match=r"faces\.csv: none of its 2 rows has"):
        faces_of(recipe.resolve(table, "a test"))


def test_only_the_wanted_rows_of_a_list_are_trained_on(tmp_path: Path) -> None:
    table = tiny.table()
    table["data"] |= {"list": str(with_splits(tmp_path)), "split": "train"}
    assert len(faces_of(recipe.resolve(table, "a test"))) == 1


def test_the_rows_of_both_sides_of_a_pairing_are_trained_on(tmp_path: Path) -> None:
    table = tiny.table()
    sides = {"source": {"domain": "nir"}, "target": {"domain": "vis", "split": "validation"}}
    table["data"] |= {"list": str(with_splits(tmp_path)), "pairing": {"kind": "unpaired", **sides}}
    with pytest.raises(ValueError, match=r"none of its 2 rows has \{'domain': 'nir'\}, as asked for the source"):
        faces_of(recipe.resolve(table, "a test"))
    table["data"]["pairing"]["source"] = {"split": "train"}
    faces = faces_of(recipe.resolve(table, "a test"))
    assert len(faces) == 2


def test_a_recipe_can_say_how_pictures_were_aligned(tmp_path: Path) -> None:
    table = tiny.table(batch_size=2)
    listed = tiny.face_list(tmp_path, 3)
    listed.write_text("path,identity,domain\n0.png,a,vis\n1.png,b,vis\n2.png,c,vis\n", "utf-8")
    table["data"] |= {"list": str(listed), "aligned": "sphereface"}
    resolved = recipe.resolve(table, "a test")
    faces = faces_of(resolved)
    np.testing.assert_array_equal(faces.picture(2), tiny.RandomFaces(3).picture(2))
    del table["data"]["aligned"]
    with pytest.raises(ValueError, match=r"none of the 3 pictures .*no landmarks, and nothing says how it was aligned"):
        Batches(faces_of(recipe.resolve(table, "a test")), 2, 0)(0)


def test_drawn_faces_are_aligned_people_the_same_every_time() -> None:
    data = SyntheticData(**PEOPLE)
    faces = DrawnFaces(data, CROP)
    assert len(faces) == 4
    assert Counter(faces.identity(index) for index in range(4)) == {0: 2, 1: 2}
    picture = faces.picture(3)
    assert picture.shape == (CROP.height, CROP.width, 3)
    assert picture.dtype == np.uint8
    assert picture.std() > 5
    np.testing.assert_array_equal(picture, DrawnFaces(data, CROP).picture(3))


def test_labels_of_drawn_people_are_known_without_drawing_and_true() -> None:
    data = SyntheticData(**PEOPLE, yaw_range=(-60, 60))
    faces = DrawnFaces(data, CROP, ("vis", "nir"))
    identity, domain, pair = (faces.column(name).tolist() for name in ("identity", "domain", "pair"))
    yaw_deg = faces.column("yaw_deg")
    assert not faces.drawn
    assert domain == ["vis"] * 4 + ["nir"] * 4
    assert identity == ["000005", "000005", "000006", "000006"] * 2
    assert pair[:4] == pair[4:] == [f"{name}_{shot:04d}" for name, shot in zip(identity, [0, 1] * 2, strict=False)]
    truth = synthetic.render(0, [5, 5, 6, 6], [0, 1, 0, 1], size=16, yaw_range=(-60, 60))
    np.testing.assert_allclose(yaw_deg, np.tile(truth.yaw_deg.numpy(), 2))
    assert faces.identities().tolist() == [faces.identity(index) for index in range(8)] == [0, 0, 1, 1] * 2


def test_drawn_labels_are_those_of_the_folder_that_is_drawn(tmp_path: Path) -> None:
    listed = synthetic.render_to(tmp_path, identities=2, shots=2, size=16, first_identity=5, domains=("vis", "nir"))
    rows = face_list.read(listed)
    faces = DrawnFaces(SyntheticData(**PEOPLE), CROP, ("vis", "nir"))
    for name in ("identity", "domain", "pair"):
        assert rows.column(name).tolist() == faces.column(name).tolist()
    np.testing.assert_allclose(rows.column("yaw_deg"), faces.column("yaw_deg"), atol=0.006)  # two places in the file


def test_both_cameras_draw_each_what_one_alone_draws() -> None:
    data = SyntheticData(**PEOPLE)
    both = DrawnFaces(data, CROP, ("nir", "vis"))
    for index in range(4):
        np.testing.assert_array_equal(both.picture(4 + index), DrawnFaces(data, CROP).picture(index))
    assert (both.picture(0) != both.picture(4)).any()


def test_people_are_drawn_in_known_domains_only() -> None:
    with pytest.raises(ValueError, match="not drawn in the domain 'thermal': vis, nir"):
        DrawnFaces(SyntheticData(**PEOPLE), CROP, ("vis", "thermal"))


def test_generated_people_are_numbered_after_the_real_ones_but_for_those_of_the_same_name() -> None:
    real, generated = aligned_rows("real", ["zoe", "adam", "zoe"]), aligned_rows("made", ["new", "adam", "also_new"])
    joined = JoinedFaces(real, generated)
    assert joined.identities().tolist() == [1, 0, 1, 3, 0, 2]
    assert [joined.identity(row) for row in range(6)] == joined.identities().tolist()
    assert joined.is_generated().tolist() == [False] * 3 + [True] * 3
    assert joined.column("identity").tolist() == ["zoe", "adam", "zoe", "new", "adam", "also_new"]


def test_joined_faces_show_the_pictures_of_both() -> None:
    one, other = DrawnFaces(SyntheticData(**PEOPLE), CROP), DrawnFaces(SyntheticData(**PEOPLE | {"seed": 1}), CROP)
    joined = JoinedFaces(one, other)
    np.testing.assert_array_equal(joined.picture(3), one.picture(3))
    np.testing.assert_array_equal(joined.picture(4), other.picture(0))
    assert joined.in_order_of_names().tolist() == list(range(8))


PAIRINGS: dict[str, dict[str, Any]] = {
    "unpaired": {"source": {"domain": "nir"}},
    "same_person": {"source": {"domain": "nir"}, "target": {"domain": "vis"}},
    "same_shot": {"source": {"domain": "nir"}},
    "profile_to_frontal": {"source_at_least_deg": 20, "target_at_most_deg": 15},
    "several": {"pictures": 2, "source": {"domain": "nir"}, "fewer": "repeat"},
}


@pytest.mark.parametrize("where", ["drawn", "on disk"])
@pytest.mark.parametrize("kind", PAIRINGS)
def test_every_pairing_makes_batches_of_drawn_people_and_of_a_list(where: str, kind: str, tmp_path: Path) -> None:
    people = PEOPLE | {"identities": 3, "shots": 3, "size": 32, "yaw_range": [-60.0, 60.0]}
    data: dict[str, Any] = people
    if where == "on disk":
        options: dict[str, Any] = {name: people[name] for name in ("identities", "shots", "size", "first_identity")}
        listed = synthetic.render_to(tmp_path, **options, yaw_range=(-60, 60), domains=("vis", "nir"))
        data = {"kind": "face_list", "list": str(listed), "domain": "vis"}
    resolved = recipe.resolve(tiny.table() | {"data": {**data, "pairing": {"kind": kind, **PAIRINGS[kind]}}}, "a test")
    faces = faces_of(resolved)
    assert isinstance(faces, LabelledFaces)
    batch = Batches(faces, 2, 3, sampler=sampler_of(resolved, faces), mirror=False)(1)
    assert batch["target"].shape == (2, 3, 112, 96)
    assert batch["source"].shape == ((2, 2, 3, 112, 96) if kind == "several" else (2, 3, 112, 96))
    if kind != "unpaired":
        assert batch["source_identity"].tolist() == batch["target_identity"].tolist()
    grey = batch["source"].float().std(dim=-3).amax() < 0.02
    assert bool(grey) == (kind != "profile_to_frontal"), "near-infrared faces have no colour"


def test_a_recipe_mixes_drawn_people_with_a_list_of_generated_ones(tmp_path: Path) -> None:
    generated = {"list": str(tiny.face_list(tmp_path, 5)), "aligned": "sphereface", "share": 0.5}
    resolved = recipe.resolve(tiny.table() | {"data": {**PEOPLE, "size": 32, "generated": generated}}, "a test")
    faces = faces_of(resolved)
    batch = Batches(faces, 4, 0, sampler=sampler_of(resolved, faces))(0)
    assert batch["is_generated"].tolist() == [False, True, False, True]
    assert (batch["target_identity"] >= 2).tolist() == [False, True, False, True]


def test_a_recipe_reads_single_faces_from_shards_a_few_shards_at_a_time(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    listed = face_list.read(tiny.face_list(tmp_path, 12))
    for number in range(4):
        rows = range(3 * number, 3 * number + 3)
        pictures = [(place, listed.picture_path(row).read_bytes()) for place, row in enumerate(rows)]
        shards.write_shard(tmp_path / "shards", number, "sphereface", listed.take(list(rows)), pictures)
    shards.write_index(tmp_path / "shards")
    data = {"kind": "shards", "shards": str(tmp_path / "shards"), "mix": 2}
    resolved = recipe.resolve(tiny.table() | {"data": data}, "a test")
    faces = faces_of(resolved)
    sampler = sampler_of(resolved, faces)
    order = [sampler.sample(3, place).target for place in range(12)]
    assert sorted(order) == list(range(12))
    assert len({row // 3 for row in order[:6]}) == 2
    batch = Batches(faces, 4, 3, sampler=sampler, mirror=False)(2)
    wanted = [tiny.RandomFaces(12).picture(row) for row in order[8:]]
    np.testing.assert_array_equal(images.to_pictures(batch["target"]), wanted)
    assert batch["target_identity"].tolist() == [row // 2 for row in order[8:]]


def aligned_rows(folder: str, identities: list[str]) -> ListedFaces:
    columns = {"path": [f"{row}.png" for row in range(len(identities))], "identity": identities}
    return ListedFaces(FaceList(Path(folder), columns | {"domain": ["vis"] * len(identities)}), CROP)


def with_splits(folder: Path) -> Path:
    path = folder / "faces.csv"
    path.write_text("path,identity,domain,split\na.png,one,vis,train\nb.png,two,vis,validation\n", "utf-8")
    return path
