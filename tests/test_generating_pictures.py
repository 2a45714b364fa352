"""People's pictures: found faces, deep pixels, pasting back, and what every written picture says of itself."""

import hashlib
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from facebridge import cli, crops, generating, images, landmarks, making, pasting, runs, source_faces
from facebridge.data import aligning, face_list
from facebridge.data.face_list import FaceList
from facebridge.hallucination import hallucinate, reduce
from facebridge.landmarks import Detection, DetectorSettings
from facebridge.provenance import Provenance
from tests import drawn

CROP = crops.crop("sphereface")
SIZE = (14, 12)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn.untrained_run(tmp_path_factory.mktemp("runs") / "run")


@dataclass
class Placed:
    """A detector that knows where the drawn faces lie; an all-black picture has none."""

    points: np.ndarray

    def detect(self, picture: np.ndarray) -> list[Detection]:
        if not picture.any():
            return []
        corner, size = self.points.min(0), np.ptp(self.points, 0)
        return [Detection(np.array([*corner, *size], np.float32), 0.9, self.points.astype(np.float32))]


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> DetectorSettings:
    points = drawn.shots().five[0, 0]
    monkeypatch.setattr(landmarks.DetectorSettings, "build", lambda self: Placed(points))
    return DetectorSettings("yunet", ())


def photographs(folder: Path, names: list[str], grey: bool = False) -> Path:
    """One drawn photograph under several names."""
    shots = drawn.shots()
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        images.write(folder / name, (shots.nir if grey else shots.vis)[0][0])
    return folder


def known(folder: Path, names: list[str], grey: bool = False) -> FaceList:
    photographs(folder, names, grey)
    points = np.tile(drawn.shots().five[0, 0], (len(names), 1, 1))
    return FaceList(folder, {"path": names, "identity": names, "domain": ["vis"] * len(names)}, points)


def wanted(run: Path, picture: np.ndarray, size: tuple[int, int] = SIZE) -> np.ndarray:
    """The plain way: one face, aligned, reduced, through the method."""
    aligned = crops.align(picture, drawn.shots().five[0, 0], CROP)
    return images.to_pictures(hallucinate(runs.load_hallucination(run), reduce(images.to_faces(aligned[None]), *size)))[
        0
    ]


def test_faces_of_photographs_are_found_first_and_folders_are_kept(
    run: Path, tmp_path: Path, detector: DetectorSettings
) -> None:
    names = ["a.png", "deep/er/b.jpg", "deep/c d.bmp.png"]
    faces = source_faces.open_pictures(photographs(tmp_path / "in", names))
    images.write(tmp_path / "in" / "deep" / "nobody.png", np.zeros((50, 40, 3), np.uint8))
    faces = source_faces.open_pictures(tmp_path / "in")
    done = generating.generate(run, faces, tmp_path / "out", SIZE, detector=detector, workers=2)
    assert done.count == 3
    assert [(Path(bad.path).name, bad.cause) for bad in done.refused] == [("nobody.png", "no face was found")]
    assert (tmp_path / "out" / generating.NOT_GENERATED).read_text("utf-8").splitlines() == [
        "path,cause",
        "deep/nobody.png,no face was found",
    ]
    made = face_list.read(tmp_path / "out" / generating.LIST)
    assert made.column("path").tolist() == ["a.png", "deep/c d.bmp.png", "deep/er/b.png"]
    for row in (0, 1):
        source = images.read(tmp_path / "in" / made.column("original")[row])
        assert np.abs(images.read(made.picture_path(row)).astype(int) - wanted(run, source)).max() <= 1


def test_small_faces_do_not_count_where_a_size_is_asked(run: Path, tmp_path: Path, detector: DetectorSettings) -> None:
    faces = source_faces.open_pictures(photographs(tmp_path / "in", ["a.png"]))
    done = generating.generate(run, faces, tmp_path / "out", detector=detector, min_face_px=500)
    assert [bad.cause for bad in done.refused] == ["no face was found of 500 px or more"]
    assert not (tmp_path / "out" / generating.LIST).exists()


def test_picture_without_a_place_of_its_face_is_refused_with_what_to_do(run: Path, tmp_path: Path) -> None:
    picture = photographs(tmp_path / "in", ["a.png"]) / "a.png"
    done = generating.generate(run, source_faces.open_pictures(picture), tmp_path / "out")
    assert [bad.path for bad in done.refused] == [str(picture)]
    for advice in ("--weights", "facebridge data landmarks", "--aligned"):
        assert advice in done.refused[0].cause


@pytest.mark.parametrize("ending", [".png", ".tiff", ".pgm"])
@pytest.mark.parametrize("levels", ["auto", 12])
def test_12_bit_pictures_give_what_their_8_bit_ones_give(run: Path, tmp_path: Path, ending: str, levels: Any) -> None:
    grey = drawn.shots().nir[0][0][..., 0]
    deep = ((grey.astype(np.uint32) * 4095 + 127) // 255).astype(np.uint16)
    assert deep.max() >= 1024  # needs more than 10 bits
    (tmp_path / "in").mkdir()
    assert cv2.imwrite(str(tmp_path / "in" / f"a{ending}"), deep)
    points = drawn.shots().five[0, 0]
    faces = FaceList(tmp_path / "in", {"path": [f"a{ending}"], "identity": ["a"], "domain": ["nir"]}, points[None])
    done = generating.generate(run, faces, tmp_path / "out", SIZE, levels=levels, paste_back=True)
    assert done.count == 1
    assert (images.read(tmp_path / "out" / "a.png") == wanted(run, np.stack([grey] * 3, -1))).all()
    assert (
        images.read(tmp_path / "out" / "full" / "a.png").mean() > 3 * images.read(tmp_path / "in" / f"a{ending}").mean()
    )


def test_picture_that_needs_more_bits_than_asked_is_named(run: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "a.png"), np.full((112, 96), 5000, np.uint16))
    faces = source_faces.open_pictures(tmp_path / "in", aligned="sphereface")
    done = generating.generate(run, faces, tmp_path / "out", levels=12)
    assert "a value of 5,000, where white is 4,095" in done.refused[0].cause


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_pasted_picture_is_the_source_with_the_generated_face_in_it(
    run: Path, tmp_path: Path, grey: bool, ending: Any
) -> None:
    faces = known(tmp_path / "in", ["ann/a.png"], grey)
    done = generating.generate(run, faces, tmp_path / "out", SIZE, ending=ending, paste_back=True)
    assert done.count == 1
    source = images.read(tmp_path / "in" / "ann" / "a.png")
    face = images.read(tmp_path / "out" / "ann" / f"a.{ending}")
    whole = images.read(tmp_path / "out" / "full" / "ann" / f"a.{ending}")
    matrix = crops.similarity(drawn.shots().five[0, 0], CROP.points)
    difference = np.abs(whole.astype(int) - pasting.paste(source, face, matrix))
    assert difference.max() <= 1 if ending == "png" else difference.mean() < 4
    outside = (
        crops.cut(np.full_like(face, 255), np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2], _canvas(source)) == 0
    )
    if ending == "png":
        assert (whole[outside] == source[outside]).all()
        assert (whole != source).any()
    made = face_list.read(tmp_path / "out" / generating.LIST)
    assert made[0].extra[generating.FULL] == f"full/ann/a.{ending}"
    told = images.provenance(tmp_path / "out" / made[0].extra[generating.FULL])
    assert told is not None
    assert told.pasted


def _canvas(picture: np.ndarray) -> crops.Crop:
    return crops.Crop("picture", picture.shape[0], picture.shape[1], ())


def test_region_is_pasted_where_it_lies_in_the_whole_picture(run: Path, tmp_path: Path) -> None:
    plain = known(tmp_path / "in", ["a.png"])
    region = plain.with_column("region", ["5 9 85 80"])
    generating.generate(run, plain, tmp_path / "plain", SIZE, paste_back=True)
    generating.generate(run, region, tmp_path / "region", SIZE, paste_back=True)
    one, other = (images.read(tmp_path / name / "full" / "a.png").astype(int) for name in ("plain", "region"))
    assert one.shape == other.shape
    assert np.abs(one - other)[30:60, 35:60].max() <= 3  # the crop is black outside the region, the middle is the same


def test_every_picture_says_what_made_it_and_from_which_file(run: Path, tmp_path: Path) -> None:
    names = ["a & <b>.png", "ünï/c'\"d.png"]
    faces = known(tmp_path / "in", names)
    generating.generate(run, faces, tmp_path / "out", SIZE, ending="jpg")
    digest = hashlib.sha256((run / "weights.safetensors").read_bytes()).hexdigest()
    from facebridge import __version__

    for name in names:
        path = (tmp_path / "out" / name).with_suffix(".jpg")
        source = hashlib.sha256((tmp_path / "in" / name).read_bytes()).hexdigest()
        assert images.provenance(path) == Provenance("FaceBridge edsr_identity", digest, __version__, name, source)
        assert str(tmp_path).encode() not in path.read_bytes()


def test_picture_in_another_crop_goes_in_by_the_similarity_of_the_two(run: Path, tmp_path: Path) -> None:
    faces = known(tmp_path / "in", ["a.png"])
    done = aligning.align(faces, "arcface", tmp_path / "aligned", workers=1)
    made = generating.generate(run, face_list.read(done.faces), tmp_path / "out", SIZE)
    assert made.count == 1
    picture = images.read(tmp_path / "aligned" / "a.png")
    source = crops.align(picture, crops.crop("arcface").points, CROP)
    face = hallucinate(runs.load_hallucination(run), reduce(images.to_faces(source[None]), *SIZE))
    assert (images.read(tmp_path / "out" / "a.png") == images.to_pictures(face)[0]).all()


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_what_comes_of_a_face_does_not_depend_on_its_batch(run: Path, tmp_path: Path, batch_size: int) -> None:
    faces = _different(tmp_path / "in", 7)
    generating.generate(run, faces, tmp_path / "out", batch_size=batch_size)
    for row in range(len(faces)):
        aligned = images.to_faces(images.read(faces.picture_path(row))[None])
        face = images.to_pictures(hallucinate(runs.load_hallucination(run), aligned))[0]
        assert np.abs(images.read(tmp_path / "out" / f"{row}.png").astype(int) - face).max() <= 1


def _different(folder: Path, num: int) -> FaceList:
    """Aligned faces of several sizes, in turn."""
    sizes = [(7, 6), (14, 12), (28, 24)]
    folder.mkdir()
    for row in range(num):
        height, width = sizes[row % 3]
        images.write(folder / f"{row}.png", np.random.default_rng(row).integers(0, 256, (height, width, 3), np.uint8))
    return source_faces.open_pictures(folder, aligned="sphereface")


def test_numbers_that_are_none_are_named(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(method: Any, faces: torch.Tensor) -> torch.Tensor:
        made = hallucinate(method, faces)
        made[0] = torch.nan
        return made

    monkeypatch.setattr(making, "hallucinate", broken)
    done = generating.generate(run, known(tmp_path / "in", ["a.png", "b.png"]), tmp_path / "out", SIZE)
    assert done.count == 1
    assert "NaN" in done.refused[0].cause


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"ending": "gif"}, "png, jpg"),
        ({"device": "tpu"}, "auto, cpu or cuda"),
        ({"batch_size": 0}, "at least 1"),
        ({"choose": "all"}, "largest or the central"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    run: Path, tmp_path: Path, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        generating.generate(run, known(tmp_path / "in", ["a.png"]), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../a.png", "/a.png"])
def test_nothing_is_written_outside_the_folder(run: Path, tmp_path: Path, name: str) -> None:
    faces = FaceList(tmp_path / "in", {"path": [name], "identity": ["a"], "domain": ["vis"]})
    with pytest.raises(ValueError, match="row 1: path"):
        generating.generate(run, faces, tmp_path / "out")


def test_folder_called_as_that_of_the_pasted_ones_is_refused(run: Path, tmp_path: Path) -> None:
    faces = known(tmp_path / "in", ["full/a.png"])
    with pytest.raises(ValueError, match="rename"):
        generating.generate(run, faces, tmp_path / "out", paste_back=True)


def test_reading_and_writing_stay_a_few_batches_from_the_network(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces = _different(tmp_path / "in", 40)
    read, gaps, one = source_faces.ListedSources.read, [], making.Maker.network
    counts = {"read": 0, "made": 0}

    def counted(self: Any, row: int) -> source_faces.SourceFace:
        counts["read"] += 1
        return read(self, row)

    def network(self: Any, batch: np.ndarray, seed: int, points: np.ndarray | None = None) -> making.Made:
        time.sleep(0.01)
        gaps.append(counts["read"] - counts["made"])
        counts["made"] += len(batch)
        return one(self, batch, seed, points)

    monkeypatch.setattr(source_faces.ListedSources, "read", counted)
    monkeypatch.setattr(making.Maker, "network", network)
    assert generating.generate(run, faces, tmp_path / "out", batch_size=2).count == 40
    assert max(gaps) <= 2 * 4


def test_the_verb_takes_pictures_of_any_kind(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def facebridge(*words: object) -> int:
        monkeypatch.setattr(sys, "argv", ["facebridge", "generate", str(run), *map(str, words)])
        try:
            cli.main()
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    faces = known(tmp_path / "in", ["ann/a.png", "b.png"])
    face_list.write(faces, tmp_path / "in" / "faces.csv")
    points = tmp_path / "in" / "faces.csv"
    out = ["-o", tmp_path / "out", "--device", "cpu", "--batch", 3, "--workers", 1, "--levels", "full"]
    assert facebridge(points, *out, "--format", "jpg", "--paste-back") == 0
    assert "2 faces" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "out" / "full").rglob("*.jpg")} == {"a.jpg", "b.jpg"}
    assert facebridge(tmp_path / "in", "-o", tmp_path / "folder", "--landmarks", points) == 0
    inside = [tmp_path / "in", "-o", tmp_path / "in" / "made", "--landmarks", points]
    for _ in range(2):  # what was made the first time is no source of the second
        assert facebridge(*inside) == 0
        assert "2 faces" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "in" / "made")
    single = tmp_path / "in" / "b.png"
    assert facebridge(single, "-o", tmp_path / "single", "--landmarks", points) == 0
    assert (tmp_path / "single" / "b.png").read_bytes() == (tmp_path / "folder" / "b.png").read_bytes()
    assert facebridge(single, "-o", tmp_path / "unknown") == 1
    assert "--weights" in capsys.readouterr().err
    for wrong in (
        ["--format", "gif"],
        ["--levels", "9000"],
        ["--turned"],
        ["--face", "all"],
        ["--weights", tmp_path / "no.onnx"],
        ["--device", "tpu"],
    ):
        assert facebridge(single, "-o", tmp_path / "never", *wrong) == 2, wrong
        assert capsys.readouterr().err.startswith("facebridge: ")
    assert not (tmp_path / "never").exists()


@pytest.mark.real
def test_real_near_infrared_photographs_are_found_and_generated(run: Path, tmp_path: Path, real_data: Path) -> None:
    folder = real_data / "data" / "nir_faces"
    names = sorted(path.name for path in folder.glob("*.jpg"))[:6]
    faces = FaceList(folder, {"path": names, "identity": names, "domain": ["nir"] * len(names)})
    found_by = DetectorSettings("yunet", (real_data / "weights" / "yunet_n_dynamic.onnx",))
    done = generating.generate(run, faces, tmp_path / "out", detector=found_by, paste_back=True)
    assert (done.count, done.refused) == (6, [])
