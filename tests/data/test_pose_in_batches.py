"""Five points and yaw go with the faces of a batch; drawn shots have frontal partners."""

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from facebridge import crops, images, pose, recipe
from facebridge.cli import app
from facebridge.data import aligning, face_list, synthetic
from facebridge.data.batches import Batches
from facebridge.data.face_list import FaceList
from facebridge.data.faces import DrawnFaces, JoinedFaces, ListedFaces
from facebridge.data.samplers.choosing import sampler_of
from facebridge.images import BadPicture
from facebridge.recipe import SyntheticData
from tests import tiny

CROP = crops.crop("arcface_64")
PEOPLE = SyntheticData(
    kind="synthetic", seed=3, identities=2, first_identity=4, shots=3, size=64, yaw_range=(-90, 90),
    frontal_partners=True,
)  # fmt: skip
PROFILES = {"kind": "profile_to_frontal", "alike": ["pair"]}


class MarkedFaces:
    """Dots of five brightnesses where the five points lie, each at a whole pixel; turned by a yaw of their own."""

    def __len__(self) -> int:
        return 6

    def identity(self, index: int) -> int:
        return index // 3

    def identities(self) -> np.ndarray:
        return np.arange(6) // 3

    def points5(self, index: int) -> np.ndarray:
        places = np.random.default_rng(index).permutation(30 * 20)[:5]
        return np.stack([places % 20, places // 20], -1).astype(np.float32)

    def yaw_deg(self, index: int) -> float:
        return 10.0 * (index + 1)

    def picture(self, index: int) -> np.ndarray:
        picture = np.zeros((30, 20, 3), np.uint8)
        for number, (x, y) in enumerate(self.points5(index).astype(int)):
            picture[y, x] = 100 + number
        picture[0, :, 2] = 10 * (index + 1)
        return picture


@pytest.mark.parametrize("step", range(4))
def test_five_points_of_mirrored_faces_lie_on_the_counterparts_and_yaw_changes_its_sign(step: int) -> None:
    mirrored = Batches(MarkedFaces(), 6, seed=1, five_points=True, yaw=True)(step)
    plain = Batches(MarkedFaces(), 6, seed=1, five_points=True, yaw=True, mirror=False)(step)
    assert mirrored["target_yaw_deg"].dtype == torch.float32
    counterparts = [100 + place for place in (1, 0, 2, 4, 3)]
    for row in range(6):
        same = torch.equal(mirrored["target"][row], plain["target"][row])
        x, y = mirrored["target_points5"][row].long().T
        found = (mirrored["target"][row][0, y, x] * 255).round().int().tolist()
        assert found == (list(range(100, 105)) if same else counterparts)
        assert mirrored["target_yaw_deg"][row] == plain["target_yaw_deg"][row] * (1 if same else -1)


def test_batches_hold_five_points_and_yaw_only_where_they_are_asked_for() -> None:
    assert not {"target_points5", "target_yaw_deg"} & Batches(MarkedFaces(), 2, 0)(0).keys()


@pytest.mark.parametrize(("asked", "missing"), [("five_points", "five points lie"), ("yaw", "heads are turned")])
def test_faces_that_know_neither_are_refused_with_what_to_do(asked: str, missing: str) -> None:
    with pytest.raises(ValueError, match=f"RandomFaces do not say .*{missing}.* train from the list of the pictures"):
        Batches(tiny.RandomFaces(), 2, 0, **{asked: True})


def of_recipe(pairing: dict, data: SyntheticData = PEOPLE) -> recipe.Recipe:
    return recipe.resolve(
        {
            "method": "edsr_identity",
            "crop": "arcface_64",
            "settings": {"identity_weight": 0},
            "data": {**data.model_dump(exclude={"pairing", "generated"}, exclude_none=True), "pairing": pairing},
            "training": {"steps": 1, "batch_size": 2},
        },
        "a test",
    )


def test_the_partner_is_the_same_shot_drawn_at_yaw_0_with_its_points() -> None:
    faces = DrawnFaces(PEOPLE, CROP, ("vis", "nir"))
    who, which = [4, 4, 4, 5, 5, 5], [0, 1, 2] * 2
    turned = synthetic.render(3, who, which, size=64, domains=("vis", "nir"), yaw_range=(-90, 90), frontal=True)
    front = synthetic.render(3, who, which, size=64, domains=("vis", "nir"), yaw_range=(0, 0))
    assert len(faces) == 24
    for number, domain in enumerate(("vis", "nir")):
        for shot in range(6):
            five = front.landmarks5[shot].numpy()
            matrix = crops.similarity(five, CROP.points)
            picture = (turned.frontal[domain][shot] * 255).round().byte().permute(1, 2, 0).numpy()
            row = number * 12 + 6 + shot
            np.testing.assert_array_equal(faces.picture(row), crops.cut(picture, matrix, CROP))
            np.testing.assert_allclose(faces.points5(row), crops.moved(five, matrix), atol=1e-4)
            assert faces.yaw_deg(row) == 0
            assert faces.yaw_deg(row - 6) == pytest.approx(float(turned.yaw_deg[shot]), abs=1e-3)
            assert faces.identity(row) == faces.identity(row - 6)
            for name in ("pair", "identity", "domain"):
                assert faces.column(name)[row] == faces.column(name)[row - 6]
    np.testing.assert_allclose(faces.column("yaw_deg"), [faces.yaw_deg(row) for row in range(24)], atol=1e-4)
    np.testing.assert_array_equal(faces.identities(), [faces.identity(row) for row in range(24)])


def test_rows_without_partners_stay_where_they_were() -> None:
    with_partners = DrawnFaces(PEOPLE, CROP, ("vis", "nir"))
    without = DrawnFaces(PEOPLE.model_copy(update={"frontal_partners": False}), CROP, ("vis", "nir"))
    assert len(without) == 12
    for row in range(12):
        other = row if row < 6 else row + 6
        np.testing.assert_array_equal(without.picture(row), with_partners.picture(other))
        assert without.column("pair")[row] == with_partners.column("pair")[other]
        assert without.yaw_deg(row) == with_partners.yaw_deg(other)


def test_each_turned_shot_is_paired_with_exactly_its_own_partner() -> None:
    asked = of_recipe(PROFILES)
    faces = DrawnFaces(PEOPLE, CROP)
    sampler = sampler_of(asked, faces)
    turned = [row for row in range(6) if abs(faces.yaw_deg(row)) >= 15]
    pairs = [sampler.sample(0, place) for place in range(len(sampler))]
    assert sorted(pair.sources[0] for pair in pairs) == turned
    assert all(pair.target == pair.sources[0] + 6 for pair in pairs)
    batch = Batches(faces, 2, 0, sampler=sampler, five_points=True, yaw=True, mirror=False)(0)
    assert batch["target_yaw_deg"].tolist() == [0, 0]
    assert batch["source_points5"].shape == (2, 5, 2)
    assert (batch["source_yaw_deg"].abs() >= 15).all()


def test_parsing_of_a_partner_is_its_own() -> None:
    faces = DrawnFaces(PEOPLE, CROP)
    alone = DrawnFaces(PEOPLE.model_copy(update={"frontal_partners": False, "yaw_range": (0.0, 0.0)}), CROP)
    np.testing.assert_array_equal(faces.parsing(7), alone.parsing(1))


def test_partners_are_no_pairs_whose_pixels_correspond() -> None:
    pairing = {"kind": "same_shot", "source": {"domain": "nir"}, "target": {"domain": "vis"}}
    with pytest.raises(ValueError, match="frontal_partners.*profile_to_frontal"):
        of_recipe(pairing)


def test_several_sources_have_their_points_and_yaw() -> None:
    faces = MarkedFaces()
    sampler = recipe.pairings.SeveralSettings(kind="several", pictures=2).sampler(faces, np.arange(6), np.arange(6))
    batch = Batches(faces, 2, 0, sampler=sampler, five_points=True, yaw=True, mirror=False)(0)
    assert batch["source_points5"].shape == (2, 2, 5, 2)
    samples = [sampler.sample(0, place) for place in range(2)]
    assert batch["source_yaw_deg"].tolist() == [[10.0 * (row + 1) for row in sample.sources] for sample in samples]


def listed(folder: Path, points: int) -> FaceList:
    return face_list.read(
        synthetic.render_to(folder, identities=2, shots=3, size=96, seed=3, yaw_range=(-90, 90), points=points)
    )


def without_yaw(rows: FaceList) -> FaceList:
    return FaceList(
        rows.root, {name: rows.column(name) for name in rows.column_names if name != "yaw_deg"}, rows.landmarks
    )


@pytest.mark.parametrize("points", [5, 68])
def test_five_points_of_a_list_are_its_landmarks_in_the_crop(tmp_path: Path, points: int) -> None:
    rows = listed(tmp_path / "drawn", points)
    faces = ListedFaces(rows, CROP)
    for row in range(len(rows)):
        five = rows.landmarks[row] if points == 5 else crops.five_points(rows.landmarks[row])
        matrix = crops.similarity(five, CROP.points)
        np.testing.assert_allclose(faces.points5(row), [matrix @ [x, y, 1] for x, y in five.tolist()], atol=1e-3)


def test_yaw_of_a_list_is_its_column_or_what_its_landmarks_say(tmp_path: Path) -> None:
    rows = listed(tmp_path / "drawn", 5)
    faces, unsaid = ListedFaces(rows, CROP), ListedFaces(without_yaw(rows), CROP)
    for row in range(len(rows)):
        assert faces.yaw_deg(row) == rows[row].yaw_deg
        assert unsaid.yaw_deg(row) == pose.yaw_from_points(rows.landmarks[row])
        assert unsaid.yaw_deg(row) == pytest.approx(rows[row].yaw_deg, abs=15)


def test_an_aligned_face_without_landmarks_has_the_crops_points_and_no_yaw(tmp_path: Path) -> None:
    rows = without_yaw(listed(tmp_path / "drawn", 5))
    done = aligning.align(rows, "arcface", tmp_path / "aligned", workers=1)
    aligned = face_list.read(done.faces)
    faces = ListedFaces(aligned, CROP)
    np.testing.assert_allclose(faces.points5(0), CROP.points, atol=0.02)
    with pytest.raises(BadPicture, match="fill the column yaw_deg"):
        faces.yaw_deg(0)
    bare = FaceList(aligned.root, {name: aligned.column(name) for name in aligned.column_names})
    np.testing.assert_allclose(ListedFaces(bare, CROP).points5(0), CROP.points, atol=1e-3)


def test_points_of_a_face_in_its_own_crop_are_the_crops_at_any_size(tmp_path: Path) -> None:
    """They are known without reading the picture."""
    columns = {"path": ["none.png"], "identity": ["ann"], "domain": ["vis"], "crop": [CROP.name]}
    assert ListedFaces(FaceList(tmp_path, columns), CROP).points5(0) == pytest.approx(np.array(CROP.points))


def test_landmarks_of_an_aligned_face_are_carried_into_another_crop(tmp_path: Path) -> None:
    """Twice aligned gives the points of once, wherever the crop did not need to fit anew."""
    rows = listed(tmp_path / "drawn", 5)
    large = crops.crop("arcface")
    five = np.stack([crops.moved(points, crops.similarity(points, large.points)) for points in rows.landmarks])
    done = aligning.align(rows, "arcface", tmp_path / "aligned", workers=1)
    aligned = face_list.read(done.faces)
    columns = {name: aligned.column(name) for name in aligned.column_names if name != "yaw_deg"}
    faces = ListedFaces(FaceList(aligned.root, columns, five), CROP)
    direct = ListedFaces(rows, CROP)
    for row in range(len(rows)):
        np.testing.assert_allclose(faces.points5(row), direct.points5(row), atol=0.01)
        assert faces.yaw_deg(row) == pytest.approx(float(pose.yaw_from_points(rows.landmarks[row])), abs=0.01)


def test_a_row_without_anything_is_bad_and_says_what_to_do(tmp_path: Path) -> None:
    rows = listed(tmp_path / "drawn", 5)
    bare = FaceList(rows.root, {name: rows.column(name) for name in ("path", "identity", "domain")})
    with pytest.raises(BadPicture, match="facebridge data landmarks"):
        ListedFaces(bare, CROP).points5(0)
    with pytest.raises(BadPicture, match="facebridge data landmarks"):
        ListedFaces(bare, CROP).yaw_deg(0)


def test_joined_faces_have_the_points_and_the_yaw_of_both() -> None:
    real, generated = DrawnFaces(PEOPLE, CROP), DrawnFaces(PEOPLE.model_copy(update={"first_identity": 7}), CROP)
    joined = JoinedFaces(real, generated)
    np.testing.assert_array_equal(joined.points5(1), real.points5(1))
    np.testing.assert_array_equal(joined.points5(13), generated.points5(1))
    assert (joined.yaw_deg(2), joined.yaw_deg(14)) == (real.yaw_deg(2), generated.yaw_deg(2))


def test_render_draws_partners_beside_their_shots(tmp_path: Path) -> None:
    out = tmp_path / "drawn"
    words = ["data", "render", str(out), "--identities", "2", "--shots", "2", "--size", "48", "--domains", "vis"]
    answer = CliRunner().invoke(app, [*words, "--yaw", "-90", "90", "--frontal-partners"])
    assert answer.exit_code == 0, answer.output
    rows = face_list.read(out / "faces.csv")
    turned = synthetic.render(0, [0, 0, 1, 1], [0, 1, 0, 1], size=48, yaw_range=(-90, 90), frontal=True)
    front = synthetic.render(0, [0, 0, 1, 1], [0, 1, 0, 1], size=48, yaw_range=(0, 0))
    found = {row.path: row for row in rows}
    assert len(found) == 8
    for number, (person, shot) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        name = f"{person:06d}/{shot:04d}_vis"
        own, partner = found[f"{name}.png"], found[f"{name}_front.png"]
        assert own.pair == partner.pair
        assert own.yaw_deg == pytest.approx(float(turned.yaw_deg[number]), abs=0.01)
        assert partner.yaw_deg == 0
        picture = images.to_pictures(turned.frontal["vis"][number : number + 1])[0]
        np.testing.assert_array_equal(images.read(out / partner.path), picture)
        np.testing.assert_allclose(partner.landmarks, front.landmarks5[number], atol=0.006)
    pairs = sampler_of(of_recipe(PROFILES, PEOPLE), ListedFaces(rows.with_column("domain", ["vis"] * 8), CROP))
    for place in range(len(pairs)):
        pair = pairs.sample(0, place)
        assert rows[pair.target].path == rows[pair.sources[0]].path.replace(".png", "_front.png")


def test_render_draws_near_frontal_heads_without_the_options(tmp_path: Path) -> None:
    one = synthetic.render_to(tmp_path / "one", identities=1, shots=2, size=48)
    answer = CliRunner().invoke(
        app, ["data", "render", str(tmp_path / "two"), "--identities", "1", "--shots", "2", "--size", "48",
              "--domains", "vis"]
    )  # fmt: skip
    assert answer.exit_code == 0, answer.output
    assert one.read_bytes() == (tmp_path / "two" / "faces.csv").read_bytes()
