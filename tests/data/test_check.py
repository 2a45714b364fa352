"""The check of a face list finds what was put wrong on purpose, and nothing else."""

import numpy as np
import pytest

from facebridge import crops, images
from facebridge.data.check import check
from facebridge.data.face_list import FaceList

POINTS = np.array(crops.crop("arcface").points) / 4  # of a 28 x 28 picture


@pytest.fixture
def good(tmp_path):
    """Six pictures of three people, all right."""
    for index in range(6):
        picture = np.random.default_rng(index).integers(0, 256, (28, 28, 3), dtype=np.uint8)
        images.write(tmp_path / f"{index}.png", picture)
    columns = {
        "path": [f"{index}.png" for index in range(6)],
        "identity": list("aabbcc"),
        "domain": ["vis", "nir"] * 3,
        "split": ["train", "train", "gallery", "probe", "gallery", "probe"],
    }
    return FaceList(tmp_path, columns, np.stack([POINTS] * 6))


def test_good_list_has_no_problems(good):
    report = check(good)
    assert report.ok
    assert (report.num_rows, report.num_identities) == (6, 3)
    assert report.rows_per_domain == {"nir": 3, "vis": 3}
    assert report.rows_per_split == {"gallery": 2, "probe": 2, "train": 2}
    assert str(report).endswith("no problems")
    assert "PROBLEM" not in str(report)


def assert_only(report, name, *first):
    """Nothing is found but this."""
    assert getattr(report, name).first == first
    assert not report.ok
    assert str(report).count("PROBLEM") == 1
    assert f"PROBLEM: {name.replace('_', ' ')}: {len(first)}: " in str(report)


def test_missing_file_is_named(good):
    (good.root / "3.png").unlink()
    assert_only(check(good), "missing_files", "3.png")


def test_unreadable_picture_is_named_with_its_cause(good):
    (good.root / "3.png").write_bytes(b"text")
    report = check(good)
    assert_only(report, "unreadable", *report.unreadable.first)
    assert report.unreadable.first[0].startswith("3.png (not a picture")
    report = check(good, max_pixels=27 * 28)
    assert report.unreadable.count == 6


def test_path_in_two_rows_is_named_once(good):
    paths = good.column("path").tolist()
    assert_only(check(good.with_column("path", [*paths[:5], "./0.png"])), "repeated_paths", "0.png")


def test_same_content_under_two_names_is_named(good):
    (good.root / "5.png").write_bytes((good.root / "2.png").read_bytes())
    assert_only(check(good), "same_content", "5.png = 2.png")


def test_landmarks_outside_of_the_picture_are_named(good):
    for value in (-0.6, 27.6):
        points = good.landmarks.copy()
        points[4, 1] = value
        points[1, 2] = np.clip(value, -0.5, 27.5)  # the very edge is inside
        report = check(good.with_landmarks(points))
        assert report.landmarks_outside.first == ("4.png",)
        assert not report.ok


def test_landmarks_with_left_and_right_swapped_are_named(good):
    points = good.landmarks.copy()
    points[2] = points[2][[1, 0, 2, 4, 3]]
    assert_only(check(good.with_landmarks(points)), "landmarks_mirrored", "2.png")


def test_identity_of_training_seen_again_is_named_but_not_gallery_and_probe(good):
    assert_only(check(good.with_column("identity", list("aabbca"))), "split_leaks", "a")


def test_rows_without_landmarks_and_unknown_columns_are_notes(good):
    points = good.landmarks.copy()
    points[1] = np.nan
    report = check(good.with_landmarks(points).with_column("yaw", ["1"] * 6))
    assert report.ok
    assert report.without_landmarks.first == ("1.png",)
    assert report.extra_columns.first == ("yaw",)
    assert str(report).count("note:") == 2
    assert check(good.with_landmarks(None)).without_landmarks.count == 0


def test_68_landmarks_are_checked_too(good):
    points = np.full((6, 68, 2), 14.0)
    five = [(range(36, 42), 0), (range(42, 48), 1), ([30], 2), ([48], 3), ([54], 4)]
    for indices, point in five:
        points[:, list(indices)] = POINTS[point]
    assert check(good.with_landmarks(points)).ok
    points[3, 0] = 99
    assert check(good.with_landmarks(points)).landmarks_outside.first == ("3.png",)


def test_only_the_first_are_named_and_all_are_counted(good):
    for index in range(6):
        (good.root / f"{index}.png").unlink()
    report = check(good, num_named=2)
    assert report.missing_files.count == 6
    assert report.missing_files.first == ("0.png", "1.png")
    assert "missing files: 6: 0.png, 1.png, ..." in str(report)


def test_empty_list_is_no_problem(good):
    assert check(good.take([])).ok
