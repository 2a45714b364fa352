"""Parts go with the faces of a batch: from drawn people, masks, Helen's points and 68 landmarks, through mirroring."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from facebridge import crops, images, parts, recipe
from facebridge.data import aligning, celeba_mask_hq, face_list, helen, helen_parts, synthetic
from facebridge.data.batches import Batches
from facebridge.data.face_list import FaceList
from facebridge.data.faces import DrawnFaces, JoinedFaces, ListedFaces
from facebridge.data.samplers.choosing import sampler_of
from facebridge.images import BadPicture
from facebridge.parts import Part
from facebridge.recipe import SyntheticData
from tests import drawn, tiny
from tests.data import visible_trees

CROP = crops.crop("arcface_64")
PEOPLE = SyntheticData(kind="synthetic", seed=3, identities=2, shots=2, size=96)


def test_parts_of_drawn_faces_are_the_true_ones_of_the_nearest_pixels() -> None:
    faces = DrawnFaces(PEOPLE, CROP, ("vis", "nir"))
    shots = synthetic.render(3, [0, 0, 1, 1], [0, 1, 0, 1], size=96, truth=True)
    compared = 0
    for index in range(8):
        found, true = faces.parsing(index), shots.parsing[index % 4].numpy()
        assert found.shape == (64, 64)
        assert found.dtype == np.uint8
        matrix = crops.similarity(shots.landmarks5[index % 4].numpy(), CROP.points)
        back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
        for row in range(2, 64, 5):
            for column in range(2, 64, 5):
                x, y, _ = back @ [column, row, 1]
                if min(abs(x % 1 - 0.5), abs(y % 1 - 0.5)) > 0.02 and 0 <= round(x) < 96 and 0 <= round(y) < 96:
                    compared += 1
                    assert found[row, column] == true[round(y), round(x)]
    assert compared > 1000


def test_drawn_faces_keep_parts_only_where_they_are_asked_for() -> None:
    faces = DrawnFaces(PEOPLE, CROP)
    faces.picture(0)
    assert not faces.parsed
    faces.parsing(0)
    faces.picture(2)
    assert sorted(faces.parsed) == [0, 1, 2, 3]
    faces.parsed[0] = np.full((64, 64), 7, np.uint8)
    assert (faces.parsing(0) == 7).all()


def test_parts_of_mirrored_faces_are_mirrored_with_sides_changed() -> None:
    faces = DrawnFaces(PEOPLE, CROP)
    kinds = set()
    for step in range(3):
        batch = Batches(faces, 4, seed=1, parsing=True)(step)
        plain = Batches(faces, 4, seed=1, parsing=True, mirror=False)(step)
        assert batch["target_parsing"].shape == (4, 64, 64)
        assert batch["target_parsing"].dtype == torch.uint8
        for face, found, unmirrored, true in zip(
            batch["target"], batch["target_parsing"], plain["target"], plain["target_parsing"], strict=True
        ):
            is_mirrored = not torch.equal(face, unmirrored)
            kinds.add(is_mirrored)
            changed = {2: 3, 3: 2, 4: 5, 5: 4}
            for row in range(0, 64, 3):
                for column in range(0, 64, 3):
                    was = int(true[row, 63 - column if is_mirrored else column])
                    assert int(found[row, column]) == (changed.get(was, was) if is_mirrored else was)
    assert kinds == {True, False}


def test_pairs_have_the_parts_of_their_targets() -> None:
    pairing = {"kind": "same_person", "source": {"domain": "nir"}, "target": {"domain": "vis"}}
    table = {
        "method": "cyclegan",
        "crop": "arcface_64",
        "data": {**PEOPLE.model_dump(exclude={"pairing", "generated", "yaw_range"}), "pairing": pairing},
        "training": {"steps": 1, "batch_size": 2},
    }
    faces = DrawnFaces(PEOPLE, CROP, ("vis", "nir"))
    sampler = sampler_of(recipe.resolve(table, "a test"), faces)
    batch = Batches(faces, 2, 0, sampler=sampler, mirror=False, parsing=True)(0)
    samples = [sampler.sample(0, place) for place in range(2)]
    np.testing.assert_array_equal(batch["target_parsing"], [faces.parsing(sample.target) for sample in samples])
    assert "target_parsing" not in Batches(faces, 2, 0, sampler=sampler)(0)


def test_faces_that_know_no_parts_are_refused() -> None:
    with pytest.raises(ValueError, match="RandomFaces do not say which parts"):
        Batches(tiny.RandomFaces(), 2, 0, parsing=True)


def test_joined_faces_have_the_parts_of_both() -> None:
    real, generated = DrawnFaces(PEOPLE, CROP), DrawnFaces(PEOPLE.model_copy(update={"first_identity": 7}), CROP)
    joined = JoinedFaces(real, generated)
    np.testing.assert_array_equal(joined.parsing(1), real.parsing(1))
    np.testing.assert_array_equal(joined.parsing(5), generated.parsing(1))


def test_parts_of_listed_landmarks_are_drawn_in_the_crop(tmp_path: Path) -> None:
    listed = face_list.read(synthetic.render_to(tmp_path, identities=2, shots=1, size=96, seed=3, points=68))
    faces = ListedFaces(listed.where(domain="vis"), CROP)
    for index in range(2):
        expected = parts.from_points68(faces.points(index), 64, 64)
        np.testing.assert_array_equal(faces.parsing(index), expected)
        x, y = np.round(faces.points(index)[36:42].mean(0)).astype(int)
        assert faces.parsing(index)[y, x] == Part.RIGHT_EYE


def test_a_row_that_says_nothing_of_its_parts_is_a_bad_picture(tmp_path: Path) -> None:
    faces = ListedFaces(face_list.read(tiny.face_list(tmp_path, 2)), CROP)
    with pytest.raises(BadPicture, match="no `masks`, no `points194`, no 68 landmarks"):
        faces.parsing(0)
    told: list[BadPicture] = []
    with pytest.raises(ValueError, match="none of the 2 pictures can be used"):
        Batches(faces, 2, 0, parsing=True, report=told.append)(0)
    assert len(told) == 2


@pytest.fixture
def helen_tree(tmp_path: Path) -> visible_trees.Tree:
    return visible_trees.helen(tmp_path / "helen")


def test_helens_points_give_parts_in_the_crop(helen_tree: visible_trees.Tree) -> None:
    rows = helen.read(helen_tree.root).faces
    faces = ListedFaces(rows, CROP)
    annotated = helen.points(helen_tree.root)
    for index in (0, 15):
        row = rows[index]
        points = crops.moved(annotated[row.path], crops.similarity(row.landmarks, CROP.points))
        found = faces.parsing(index)
        assert found.shape == (64, 64)
        for name, part in (("right_eye", Part.RIGHT_EYE), ("left_eye", Part.LEFT_EYE), ("right_brow", Part.RIGHT_BROW)):
            x, y = np.round(points[helen_parts.PARTS[name]].mean(0)).astype(int)
            assert found[y, x] == part
        x, y = np.round(points[helen_parts.NOSE_BASE] - [0, 3]).astype(int)
        assert found[y, x] == Part.NOSE


def test_helens_parts_are_the_union_of_its_single_maps_inside_the_face() -> None:
    points = visible_trees.helen_points(drawn.shots().five[0, 0])
    found = helen_parts.parsing(points * 4, 384, 384)
    single = helen_parts.parsing_maps(points * 4, 384, 384).astype(bool)
    for name in ("left_eye", "right_eye", "left_brow", "right_brow", "inner_mouth"):
        expected = single[list(helen_parts.PARTS).index(name)]
        part = found == Part[name.upper()]
        assert not (part & ~expected).any()
        assert part.sum() > 0.75 * expected.sum()


def test_helens_points_are_found_in_both_layouts_and_not_beside_aligned_faces(
    helen_tree: visible_trees.Tree, tmp_path: Path
) -> None:
    root = helen_tree.root
    rows = helen.read(root).faces
    places = rows.column("points194").tolist()
    assert places[0] == "list_annos_trn.txt#train_1/Ann_Drawn_0.jpg"
    expected = helen.points(root)
    for row, place in zip(rows, places, strict=True):
        np.testing.assert_array_equal(helen.annotated_points(root, place), expected[row.path])
    (root / "annotation").mkdir()
    numbers = "\n".join(f"{x} , {y}" for x, y in expected[rows[0].path])
    (root / "annotation" / "1.txt").write_text(f"Ann_Drawn_0\n{numbers}\n")
    np.testing.assert_array_equal(helen.annotated_points(root, "annotation/1.txt"), expected[rows[0].path])
    for bad in ("../1.txt", "annotation/2.txt", "list_annos_trn.txt#none.jpg"):
        with pytest.raises(ValueError, match=r"leaves|no such file|no points of none\.jpg"):
            helen.annotated_points(root, bad)
    made = face_list.read(aligning.align(rows, "arcface_64", tmp_path / "aligned", workers=1).faces)
    with pytest.raises(BadPicture, match="photograph"):
        ListedFaces(made, CROP).parsing(0)


def masked(folder: Path, **maps: np.ndarray) -> FaceList:
    """A face of 48 x 48 px with maps of half that size."""
    picture = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    images.write(folder / "0.png", picture)
    for name, where in maps.items():
        images.write(folder / f"00000_{name}.png", np.repeat(where[..., None] * np.uint8(255), 3, 2))
    columns = {"path": ["0.png"], "identity": ["0"], "domain": ["vis"], "masks": ["00000"]}
    return FaceList(folder, columns, np.array([[[16, 18], [32, 18], [24, 27], [18, 34], [30, 34]]], np.float32))


def square(left: int, top: int, side: int = 4) -> np.ndarray:
    where = np.zeros((24, 24), np.uint8)
    where[top : top + side, left : left + side] = 1
    return where


def test_masks_become_one_map_whose_sides_are_told_by_their_places(tmp_path: Path) -> None:
    """`l_` at the left of the picture and at its right: the person's right is at the left either way."""
    for folder, (first, second) in ((tmp_path / "a", (5, 15)), (tmp_path / "b", (15, 5))):
        folder.mkdir()
        masked(
            folder,
            skin=square(2, 2, 20),
            hair=square(0, 0, 4),
            l_eye=square(first, 8),
            r_eye=square(second, 8),
            l_brow=square(first, 4, 3),
            r_ear=square(20, 20),
            nose=square(10, 11),
            mouth=square(10, 17),
            u_lip=square(10, 17, 2),
        )
        found = celeba_mask_hq.parsing(folder, "00000")
        at = {(6, 9): 4, (16, 9): 5, (first + 1, 5): 2 if first == 5 else 3, (11, 12): 6, (11, 17): 7, (13, 19): 8}
        at |= {(22, 22): 1, (1, 1): 10, (3, 3): 10, (12, 5): 1, (23, 0): 0}
        assert {place: int(found[place[1], place[0]]) for place in at} == at


def test_masks_are_aligned_as_their_picture_is(tmp_path: Path) -> None:
    rows = masked(tmp_path, skin=square(1, 1, 22), nose=square(10, 11), l_eye=square(6, 7), r_eye=square(14, 7))
    found = ListedFaces(rows, CROP).parsing(0)
    whole = celeba_mask_hq.parsing(tmp_path, "00000").repeat(2, 0).repeat(2, 1)
    matrix = crops.similarity(rows.landmarks[0], CROP.points)
    linear = cv2.warpAffine((whole == Part.NOSE).astype(np.float32), matrix, (64, 64))
    assert ((found == Part.NOSE) == (linear > 0.5)).mean() > 0.99
    as_it_is = ListedFaces(rows.with_landmarks(None).with_column("crop", ["arcface_64"]), CROP).parsing(0)
    assert as_it_is.shape == (64, 64)
    assert abs(int((as_it_is == Part.NOSE).sum()) - 64 * (64 / 48) ** 2) < 12


def test_masks_that_are_not_there_are_a_bad_picture(tmp_path: Path) -> None:
    with pytest.raises(BadPicture, match="no parsing maps"):
        ListedFaces(masked(tmp_path), CROP).parsing(0)
