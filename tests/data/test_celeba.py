"""CelebA and CelebAMask-HQ: lists in text or CSV, people never on both sides, maps of the parts."""

import shutil

import numpy as np
import pytest

from facebridge.data import celeba, celeba_mask_hq
from facebridge.data.data_set import WrongRoot
from tests.data import visible_trees


@pytest.fixture
def tree(tmp_path):
    return visible_trees.celeba(tmp_path / "celeba")


@pytest.fixture
def mask_tree(tmp_path):
    return visible_trees.celeba_mask_hq(tmp_path / "hq").root


def test_points_identities_and_partition_are_those_of_the_lists(tree):
    found = celeba.read(tree.root)
    assert found.faces[0].path == "img_align_celeba/000001.jpg"
    assert found.faces.column("identity").tolist() == [str(2880 + row // 4) for row in range(16)]
    assert found.faces.column("split").tolist() == ["train"] * 4 + ["val"] * 4 + ["test"] * 8
    for row in found.faces:
        np.testing.assert_array_equal(row.landmarks, np.round(tree.landmarks[row.path]))
        assert row.landmarks[0, 0] < row.landmarks[1, 0]
    test = found.protocols["test"]
    assert test.where(split="gallery").column("path").tolist() == [
        "img_align_celeba/000009.jpg",
        "img_align_celeba/000013.jpg",
    ]
    assert len(test.where(split="probe")) == 6
    assert set(test.where(split="train").column("identity").tolist()) == {"2880"}


def test_people_of_the_test_do_not_train(tree):
    path = tree.root / "identity_CelebA.txt"
    path.write_text(path.read_text().replace("000001.jpg 2880", "000001.jpg 2883"))
    found = celeba.read(tree.root)
    assert found.protocols["test"].where(split="train").column("path").tolist() == [
        f"img_align_celeba/{number:06}.jpg" for number in (2, 3, 4)
    ]
    assert "left out of it: 1 training picture of these people" in found.notes[-1]


def test_the_folders_of_the_official_archive_and_csv_lists_are_read_alike(tree):
    expected = celeba.read(tree.root)
    root = tree.root
    (root / "Img").mkdir()
    (root / "img_align_celeba").rename(root / "Img" / "img_align_celeba")
    (root / "Anno").mkdir()
    for name in ("identity_CelebA", "list_landmarks_align_celeba"):
        (root / f"{name}.txt").rename(root / "Anno" / f"{name}.txt")
    rows = (root / "list_eval_partition.txt").read_text().splitlines()
    (root / "list_eval_partition.txt").unlink()
    (root / "list_eval_partition.csv").write_text(
        "\n".join(["image_id,partition", *(",".join(row.split()) for row in rows)])
    )
    found = celeba.read(root)
    assert found.faces[0].path == "Img/img_align_celeba/000001.jpg"
    for name in ("identity", "split"):
        assert found.faces.column(name).tolist() == expected.faces.column(name).tolist()
    np.testing.assert_array_equal(found.faces.landmarks, expected.faces.landmarks)


def test_pictures_as_found_take_sr_lrfrs_points(tree):
    (tree.root / "img_align_celeba").rename(tree.root / "img_celeba")
    (tree.root / "celeba_clean_landmarks.csv").write_text("name,x1,y1\n000002.jpg,1,2,3,4,5,6,7,8,9,10\n")
    found = celeba.read(tree.root, pictures="img_celeba")
    np.testing.assert_array_equal(found.faces[1].landmarks.ravel(), np.arange(1, 11))
    assert found.faces[0].landmarks is None
    with pytest.raises(ValueError, match="expected one of img_align_celeba, img_celeba"):
        celeba.read(tree.root, pictures="img")
    with pytest.raises(WrongRoot, match="expected a folder img_align_celeba; found celeba_clean_landmarks.csv"):
        celeba.read(tree.root, pictures="img_align_celeba")


def test_missing_lists_and_pictures_are_noted(tree):
    for name in ("identity_CelebA.txt", "list_eval_partition.txt"):
        (tree.root / name).unlink()
    (tree.root / "img_align_celeba" / "000003.jpg").unlink()
    found = celeba.read(tree.root)
    notes = "\n".join(found.notes)
    assert "no identity_CelebA.txt is there" in notes
    assert "no list_eval_partition.txt is there" in notes
    assert "list_landmarks_align_celeba.txt names 1 picture that is not there: 000003.jpg" in notes
    assert list(found.protocols) == ["fidelity"]
    assert len(set(found.faces.column("identity").tolist())) == len(found.faces) == 15


def test_masks_say_where_the_parts_are(mask_tree):
    found = celeba_mask_hq.read(mask_tree)
    assert [row.path for row in found.faces][:3] == [f"CelebA-HQ-img/{number}.jpg" for number in range(3)]
    assert found.faces.column("split").tolist() == ["train"] * 12 + ["test"] * 4
    masks = found.faces[3].extra["masks"]
    assert masks == "CelebAMask-HQ-mask-anno/0/00003"
    maps = celeba_mask_hq.parsing_maps(mask_tree, masks)
    assert maps.shape == (11, 48, 48)
    expected = np.zeros((48, 48), bool)
    expected[10:30, 12:36] = True
    for part, found_map in zip(celeba_mask_hq.PARTS, maps, strict=True):
        np.testing.assert_array_equal(found_map, expected & (part in ("skin", "nose")))
    with pytest.raises(ValueError, match="no parsing maps"):
        celeba_mask_hq.parsing_maps(mask_tree, "CelebAMask-HQ-mask-anno/0/00004")
    assert found.protocols["fidelity"].first[0] == "CelebA-HQ-img/12.jpg"


def test_celebas_lists_give_identities_and_the_published_split(mask_tree):
    for name in celeba_mask_hq.FILE_LISTS.values():
        (mask_tree / name).unlink()
    rows = [f"{number:<9}{1000 + number:<13}{1000 + number:06}.jpg" for number in range(16)]
    (mask_tree / celeba_mask_hq.MAPPING).write_text("\n".join(["idx      orig_idx     orig_file", *rows]))
    assert not celeba_mask_hq.read(mask_tree).faces.column("split")[0]
    files = [f"{1000 + number:06}.jpg" for number in range(16)]
    identities = [f"{file} {row // 4}" for row, file in enumerate(files)]
    partitions = [f"{file} {2 * (row > 7)}" for row, file in enumerate(files)]
    (mask_tree / "identity_CelebA.txt").write_text("\n".join(identities))
    (mask_tree / "list_eval_partition.txt").write_text("\n".join(partitions))
    found = celeba_mask_hq.read(mask_tree)
    assert found.faces.column("identity").tolist() == [str(row // 4) for row in range(16)]
    assert found.faces.column("split").tolist() == ["train"] * 8 + ["test"] * 8
    assert set(found.protocols) == {"test", "fidelity"}
    assert len(found.protocols["test"].where(split="probe")) == 6


def test_wrong_roots_say_what_was_expected(tmp_path):
    with pytest.raises(WrongRoot, match="CelebAMask-HQ; expected a folder CelebA-HQ-img.*found nothing"):
        celeba_mask_hq.read(tmp_path)
    with pytest.raises(WrongRoot, match="not CelebA; expected a folder img_align_celeba or img_celeba; found nothing"):
        celeba.read(tmp_path)


def test_lists_of_jpg_are_those_of_the_same_pictures_as_png(tree):
    expected = celeba.read(tree.root)
    for number, path in enumerate(sorted((tree.root / "img_align_celeba").iterdir())):
        path.rename(path.with_suffix(".png" if number % 2 else ".JPG"))
    found = celeba.read(tree.root)
    for name in ("identity", "split"):
        assert found.faces.column(name).tolist() == expected.faces.column(name).tolist()
    np.testing.assert_array_equal(found.faces.landmarks, expected.faces.landmarks)
    assert found.notes == expected.notes


def test_pictures_without_identity_are_noted_and_strange_partitions_named(tree):
    path = tree.root / "identity_CelebA.txt"
    path.write_text(path.read_text().replace("000002.jpg 2880\n", ""))
    assert "not in identity_CelebA.txt, and so a person each: 1 picture: 000002.jpg" in celeba.read(tree.root).notes
    path = tree.root / "list_eval_partition.txt"
    path.write_text(path.read_text().replace("000003.jpg 0", "000003.jpg 7"))
    with pytest.raises(
        ValueError, match=r"list_eval_partition\.txt: the partition of 000003\.jpg is '7'; expected one of 0"
    ):
        celeba.read(tree.root)


def test_copies_in_deeper_folders_are_no_further_faces(mask_tree):
    shutil.copytree(mask_tree / "CelebA-HQ-img", mask_tree / "CelebA-HQ-img" / "copy")
    assert len(celeba_mask_hq.read(mask_tree).faces) == 16


@pytest.mark.parametrize("masks", ["../hq/CelebAMask-HQ-mask-anno/0/00003", "/tmp/00003"])
def test_maps_outside_the_folder_are_not_opened(mask_tree, masks):
    with pytest.raises(ValueError, match="leaves the list's folder|absolute"):
        celeba_mask_hq.parsing_maps(mask_tree, masks)
