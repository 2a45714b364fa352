"""Generating a list: sizes, names, marks, and bad pictures that are counted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facebridge import bit_depths, crops, generating, images, making, runs, source_faces
from facebridge.data import aligning, face_list, opening
from facebridge.data.face_list import FaceList
from facebridge.hallucination import hallucinate, reduce
from tests import drawn

CROP = crops.crop("sphereface")
GARBAGE = b"no picture at all"


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn.people(tmp_path_factory.mktemp("people"), num_people=3, shots=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn.untrained_run(tmp_path_factory.mktemp("runs") / "run")


def folder_of(sizes: dict[str, tuple[int, int]], folder: Path) -> Path:
    """A folder of plain pictures: name -> (height, width)."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    for name, (height, width) in sizes.items():
        images.write(folder / name, draw.integers(0, 256, (height, width, 3), np.uint8))
    return folder


def one_face(folder: Path, scale: float) -> FaceList:
    """A picture whose five points are the crop's, `scale` times as far apart."""
    side = 200
    folder_of({"face.png": (side, side)}, folder)
    points = np.array(CROP.points, np.float32) * scale + 20
    return FaceList(folder, {"path": ["face.png"], "identity": ["ann"], "domain": ["vis"]}, points[None])


@pytest.mark.parametrize(
    ("scale", "size"),
    [(1.0, (28, 24)), (0.26, (28, 24)), (0.24, (14, 12)), (0.13, (14, 12)), (0.12, (7, 6)), (0.05, (7, 6))],
)
def test_face_goes_in_at_the_largest_size_that_its_picture_holds(
    run: Path, tmp_path: Path, scale: float, size: tuple[int, int]
) -> None:
    faces = one_face(tmp_path / "in", scale)
    assert generating.generate(run, faces, tmp_path / "out").count == 1
    assert faces[0].landmarks is not None
    picture = images.to_faces(crops.align(images.read(faces.picture_path(0)), faces[0].landmarks, CROP)[None])
    wanted = hallucinate(runs.load(run), reduce(picture, *size))
    assert np.array_equal(images.read(tmp_path / "out" / "face.png"), images.to_pictures(wanted)[0])


def test_asked_size_wins_over_the_natural_one(run: Path, tmp_path: Path) -> None:
    faces = one_face(tmp_path / "in", 1.0)
    generating.generate(run, faces, tmp_path / "natural")
    generating.generate(run, faces, tmp_path / "asked", (7, 6))
    assert not np.array_equal(
        images.read(tmp_path / "natural" / "face.png"), images.read(tmp_path / "asked" / "face.png")
    )


def test_every_generated_picture_says_so_and_is_listed_with_the_template(
    run: Path, listed: Path, tmp_path: Path
) -> None:
    faces = face_list.read(listed)
    done = generating.generate(run, faces, tmp_path / "out")
    assert (done.count, done.refused) == (len(faces), [])
    made = face_list.read(tmp_path / "out" / generating.LIST)
    for column in ("path", "identity", "domain", "split"):
        assert made.column(column).tolist() == faces.column(column).tolist()
    assert set(made.column("crop")) == {"sphereface"}
    assert made.column("original").tolist() == faces.column("path").tolist()
    assert made.landmarks is not None
    assert made.landmarks == pytest.approx(np.tile(CROP.points, (len(faces), 1, 1)), abs=0.01)
    for row in range(len(made)):
        assert images.generated_by(made.picture_path(row)) == "FaceBridge edsr_identity"
        assert images.read(made.picture_path(row)).shape == (CROP.height, CROP.width, 3)


def test_faces_that_are_aligned_already_go_in_at_their_own_size(run: Path, tmp_path: Path) -> None:
    source = folder_of({"a.png": (7, 6), "b.png": (28, 24), "c.bmp.png": (11, 9)}, tmp_path / "in")
    done = generating.generate(run, opening.open_faces(source, aligned="sphereface"), tmp_path / "out")
    assert done.count == 3
    method = runs.load(run)
    for name in ("a.png", "b.png", "c.bmp.png"):
        wanted = hallucinate(method, images.to_faces(images.read(source / name)[None]))
        assert np.array_equal(images.read(tmp_path / "out" / name), images.to_pictures(wanted)[0])


def test_bad_picture_is_named_and_the_rest_goes_on(run: Path, tmp_path: Path) -> None:
    source = folder_of({"a.png": (7, 6), "c.png": (7, 6)}, tmp_path / "in")
    (source / "b.png").write_bytes(GARBAGE)
    done = generating.generate(run, opening.open_faces(source, aligned="sphereface"), tmp_path / "out")
    assert done.count == 2
    assert [Path(bad.path).name for bad in done.refused] == ["b.png"]
    made = face_list.read(tmp_path / "out" / generating.LIST)
    assert made.column("path").tolist() == ["a.png", "c.png"]
    assert not (tmp_path / "out" / "b.png").exists()


def test_asked_size_of_an_aligned_face_is_that_of_its_crop(run: Path, tmp_path: Path) -> None:
    source = folder_of({"b.png": (112, 96)}, tmp_path / "in")
    done = generating.generate(run, opening.open_faces(source, aligned="sphereface"), tmp_path / "out", (14, 12))
    assert done.count == 1
    wanted = hallucinate(runs.load(run), reduce(images.to_faces(images.read(source / "b.png")[None]), 14, 12))
    assert np.array_equal(images.read(tmp_path / "out" / "b.png"), images.to_pictures(wanted)[0])


@pytest.mark.parametrize("size", [None, (14, 12)])
def test_picture_of_which_nothing_says_where_the_face_is_is_refused(
    run: Path, tmp_path: Path, size: tuple[int, int] | None
) -> None:
    source = folder_of({"unknown.png": (112, 96)}, tmp_path / "in")
    done = generating.generate(run, opening.open_faces(source), tmp_path / "out", size)
    assert done.count == 0
    assert "facebridge data landmarks" in done.refused[0].cause
    assert "--aligned" in done.refused[0].cause


def test_photograph_is_not_taken_for_an_aligned_face(run: Path, tmp_path: Path) -> None:
    source = folder_of({"aligned.png": (112, 96), "photo.png": (250, 250)}, tmp_path / "in")
    done = generating.generate(run, opening.open_faces(source, aligned="sphereface"), tmp_path / "out")
    assert done.count == 1
    assert [Path(bad.path).name for bad in done.refused] == ["photo.png"]
    assert "112x96" in done.refused[0].cause


def test_pictures_of_one_new_name_are_numbered(run: Path, tmp_path: Path) -> None:
    source = folder_of({"a.jpg": (7, 6), "a.png": (7, 6), "b.png": (7, 6)}, tmp_path / "in")
    done = generating.generate(run, opening.open_faces(source, aligned="sphereface"), tmp_path / "out")
    assert done.count == 3
    made = face_list.read(tmp_path / "out" / generating.LIST)
    pairs = list(zip(made.column("original").tolist(), made.column("path").tolist(), strict=True))
    assert pairs == [("a.jpg", "a_1.png"), ("a.png", "a_2.png"), ("b.png", "b.png")]
    for original, path in pairs:
        told = images.provenance(tmp_path / "out" / path)
        assert told is not None
        assert told.source == original


def test_names_that_clash_though_numbered_are_refused_before_anything_is_written(run: Path, tmp_path: Path) -> None:
    source = folder_of({"a.png": (7, 6), "a.jpg": (7, 6), "a_1.png": (7, 6)}, tmp_path / "in")
    with pytest.raises(ValueError, match=r"as a_1 .*different names"):
        generating.generate(run, opening.open_faces(source, aligned="sphereface"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", [(113, 96), (112, 97)])
def test_size_over_that_of_the_crop_is_refused_with_those_of_training(
    run: Path, tmp_path: Path, size: tuple[int, int]
) -> None:
    with pytest.raises(ValueError, match="larger than the crop sphereface of 112x96.* 28x24"):
        generating.generate(run, one_face(tmp_path / "in", 1.0), tmp_path / "out", size)
    assert not (tmp_path / "out").exists()


def test_face_too_small_for_the_network_is_named_and_the_rest_goes_on(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = folder_of({"a.png": (7, 6), "b.png": (14, 12)}, tmp_path / "in")
    tiny = folder_of({"tiny.png": (3, 3)}, tmp_path / "in") / "tiny.png"
    one = making.hallucinate

    def padded(method: Any, faces: torch.Tensor) -> torch.Tensor:
        torch.nn.functional.pad(faces, (3, 3, 3, 3), mode="reflect")  # as the first layer of cyclegan
        return one(method, faces)

    monkeypatch.setattr(making, "hallucinate", padded)
    done = generating.generate(run, opening.open_faces(source, aligned="sphereface"), tmp_path / "out")
    assert done.count == 2
    assert [bad.path for bad in done.refused] == [str(tiny)]
    assert "3x3 px" in done.refused[0].cause
    assert "trained on 28x24" in done.refused[0].cause


def test_error_that_is_not_of_the_size_is_not_taken_for_one(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(method: Any, faces: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("the network is broken")

    monkeypatch.setattr(making, "hallucinate", broken)
    with pytest.raises(RuntimeError, match="is broken"):
        generating.generate(run, one_face(tmp_path / "in", 1.0), tmp_path / "out")


def test_name_that_is_a_folder_already_is_named_and_the_rest_goes_on(run: Path, tmp_path: Path) -> None:
    (tmp_path / "in" / "x.png").mkdir(parents=True)
    source = folder_of({"x.jpg": (7, 6), "x.png/y.png": (7, 6), "z.png": (7, 6)}, tmp_path / "in")
    faces = source_faces.open_pictures(source, aligned="sphereface")
    done = generating.generate(run, faces, tmp_path / "out", workers=1)
    assert done.count == 2
    assert len(done.refused) == 1
    assert "rename it" in done.refused[0].cause


@pytest.mark.parametrize("name", [generating.LIST, generating.NOT_GENERATED])
def test_folder_called_as_a_list_that_is_written_is_refused(run: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "in" / name).mkdir(parents=True)
    source = folder_of({f"{name}/a.png": (7, 6)}, tmp_path / "in")
    with pytest.raises(ValueError, match=f"folder {name}.*rename"):
        generating.generate(run, source_faces.open_pictures(source, aligned="sphereface"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_an_earlier_job_generated_is_no_source(run: Path, tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    source = folder_of({"a.png": (7, 6), "deep/b.png": (7, 6)}, tmp_path / "in")
    first = source_faces.open_pictures(source, aligned="sphereface")
    generating.generate(run, first, source / "deep" / "made", paste_back=True)
    assert (source / "deep" / "made" / "full" / "a.png").is_file()
    again = source_faces.open_pictures(source, aligned="sphereface", out=tmp_path / "out")
    assert again.column("path").tolist() == ["a.png", "deep/b.png"]
    of_generated = source_faces.open_pictures(source / "deep" / "made")  # named by itself it counts
    assert "a.png" in of_generated.column("path").tolist()


def test_folder_without_pictures_is_refused_with_the_endings_that_count(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(ValueError, match=r"known endings: .*\.jpg.*\.png"):
        source_faces.open_pictures(tmp_path)


def test_folder_that_cannot_be_written_to_is_told_with_what_to_do(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ValueError, match=r"file.*: cannot be written to \(Not a directory\): choose another folder"):
        generating.generate(run, one_face(tmp_path / "in", 1.0), tmp_path / "file" / "out")


@pytest.mark.parametrize("count", [1, 63, 64, 65, 127, 191, 1000])
def test_sample_is_spread_over_the_whole_list(tmp_path: Path, count: int) -> None:
    names = [f"{row:04}.tif" for row in range(count)]
    faces = FaceList(tmp_path, {"path": names, "identity": names, "domain": ["nir"] * count})
    rows = [int(path.stem) for path in source_faces.sample(faces)]
    assert len(rows) == min(count, bit_depths.SAMPLED)
    gaps = np.diff([*rows, count])
    assert gaps.max() <= -(-count // bit_depths.SAMPLED)
    assert gaps.min() >= 1


@pytest.mark.parametrize("out", ["in", "in/../in"])
def test_sources_are_never_overwritten(run: Path, tmp_path: Path, out: str) -> None:
    source = folder_of({"a.png": (7, 6)}, tmp_path / "in")
    before = (source / "a.png").read_bytes()
    with pytest.raises(ValueError, match="another folder"):
        generating.generate(run, opening.open_faces(source, aligned="sphereface"), tmp_path / out)
    assert (source / "a.png").read_bytes() == before


def test_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    source = folder_of({"a.png": (7, 6)}, tmp_path / "in")
    with pytest.raises(ValueError, match="not a run"):
        generating.generate(source, opening.open_faces(source, aligned="sphereface"), tmp_path / "out")


def test_shards_give_the_same_faces_as_the_files_they_were_made_of(run: Path, listed: Path, tmp_path: Path) -> None:
    sources = face_list.read(listed)
    files = aligning.align(sources, "sphereface", tmp_path / "files", workers=1)
    packed = aligning.align(sources, "sphereface", tmp_path / "packed", workers=1, layout="shards", block_size=5)
    from_files = generating.generate(run, face_list.read(files.faces), tmp_path / "a")
    from_shards = generating.generate_from_shards(run, str(packed.faces.parent), tmp_path / "b")
    assert (from_shards.count, from_shards.refused) == (from_files.count, []) == (len(sources), [])
    one, other = (face_list.read(tmp_path / name / generating.LIST) for name in "ab")
    for name in ("path", "identity", "domain", "split", "crop", "original"):
        assert one.column(name).tolist() == other.column(name).tolist()
    assert one.column("yaw_deg") == pytest.approx(other.column("yaw_deg"))
    for row in range(len(one)):
        assert np.array_equal(images.read(one.picture_path(row)), images.read(other.picture_path(row)))


def test_damaged_shard_is_named_and_the_others_go_on(run: Path, listed: Path, tmp_path: Path) -> None:
    sources = face_list.read(listed)
    aligning.align(sources, "sphereface", tmp_path / "packed", workers=1, layout="shards", block_size=5)
    first = tmp_path / "packed" / "00000000.tar"
    first.write_bytes(first.read_bytes()[:-5000])
    done = generating.generate_from_shards(run, str(tmp_path / "packed"), tmp_path / "made")
    assert done.count == len(sources) - 5
    assert len(done.refused) == 5
    assert all("00000000" in bad.path for bad in done.refused)
