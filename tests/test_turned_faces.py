"""facebridge generate with methods that turn heads: a pose in place of the front, and a strip of all poses."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from facebridge import cli, crops, generating, images, making, methods, runs
from facebridge.data import aligning, face_list
from facebridge.data.face_list import FaceList
from facebridge.made_faces import ACCOUNT
from facebridge.method import Batch, Frozen, HallucinationMethod, TurnsHeads
from tests import drawn

CROP = crops.crop("sphereface")
POSES = (-90.0, -30.0, 0.0, 45.0, 90.0)


class Turner(HallucinationMethod[Any]):
    """A face turned by a yaw is as bright as the yaw says, but for its left half, which is the source's."""

    class Config(Frozen):
        """No settings."""

    def __init__(self) -> None:
        super().__init__(self.Config(), CROP)
        self.unused = torch.nn.Linear(1, 1)

    def generate(self, faces: Tensor) -> Tensor:
        return self.turned(faces, [0.0])[:, 0]

    def turned(self, faces: Tensor, yaw_deg: Sequence[float]) -> Tensor:
        made = torch.stack([turned(face, yaw) for face in faces for yaw in yaw_deg])
        return made.reshape(len(faces), len(yaw_deg), *faces.shape[1:])

    def poses_deg(self) -> tuple[float, ...]:
        return POSES

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        return {}

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        return {}


def turned(face: Tensor, yaw_deg: float) -> Tensor:
    made = face.clone()
    made[..., CROP.width // 2 :] = (yaw_deg + 90) / 180
    return made


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    method = Turner()
    assert isinstance(method, TurnsHeads)
    monkeypatch.setattr(runs, "load_hallucination", lambda run: method)
    return drawn.untrained_run(tmp_path / "run")


def people(folder: Path) -> FaceList:
    """Faces of the crop, which go in as they are."""
    folder.mkdir(parents=True)
    names = [f"{row}.png" for row in range(4)]
    for name, face in zip(names, images.to_pictures(drawn.aligned_faces()), strict=True):
        images.write(folder / name, face)
    columns = {"path": names, "identity": names, "domain": ["vis"] * 4, "crop": [CROP.name] * 4}
    return FaceList(folder, {**columns, "yaw_deg": [30.0] * 4})


def make(run: Path, faces: FaceList, out: Path, **options: Any) -> generating.Done:
    return generating.generate(run, faces, out, batch_size=2, workers=1, **options)


def wanted(faces: FaceList, yaw_deg: float) -> list[np.ndarray]:
    sources = images.to_faces(np.stack([images.read(faces.picture_path(row)) for row in range(len(faces))]))
    return list(images.to_pictures(turned(sources, yaw_deg)))


def test_faces_are_turned_to_the_yaw_that_is_asked_for(run: Path, tmp_path: Path) -> None:
    faces = people(tmp_path / "in")
    make(run, faces, tmp_path / "out", yaw_deg=-45.0)
    for row, face in zip(faces, wanted(faces, -45), strict=True):
        assert np.array_equal(images.read(tmp_path / "out" / row.path), face)
    assert face_list.read(tmp_path / "out" / "faces.csv").column("yaw_deg").tolist() == [-45] * 4
    make(run, faces, tmp_path / "front")
    assert np.array_equal(images.read(tmp_path / "front" / "0.png"), wanted(faces, 0)[0])
    assert face_list.read(tmp_path / "front" / "faces.csv").column("yaw_deg").tolist() == [0] * 4


def test_a_strip_shows_all_poses_from_left_to_right_and_says_what_it_is(run: Path, tmp_path: Path) -> None:
    faces = people(tmp_path / "in")
    assert make(run, faces, tmp_path / "out", strip=True).count == 4
    listed = face_list.read(tmp_path / "out" / "faces.csv")
    for row in range(4):
        path = tmp_path / "out" / "strip" / f"{row}.png"
        expected = np.concatenate([wanted(faces, yaw)[row] for yaw in POSES], 1)
        assert np.array_equal(images.read(path), expected)
        assert listed.column("strip")[row] == f"strip/{row}.png"
        assert np.array_equal(images.read(tmp_path / "out" / f"{row}.png"), wanted(faces, 0)[row])
        assert images.provenance(path) == images.provenance(tmp_path / "out" / f"{row}.png")
        assert images.provenance(path) is not None
        assert images.generated_by(path) == "FaceBridge edsr_identity"


def test_strips_stand_beside_faces_put_back(run: Path, tmp_path: Path) -> None:
    faces = people(tmp_path / "in")
    make(run, faces, tmp_path / "out", strip=True, paste_back=True)
    assert images.read(tmp_path / "out" / "strip" / "1.png").shape == (112, 5 * 96, 3)
    assert images.read(tmp_path / "out" / "full" / "1.png").shape == (112, 96, 3)
    listed = face_list.read(tmp_path / "out" / "faces.csv")
    assert (listed.column("full")[1], listed.column("strip")[1]) == ("full/1.png", "strip/1.png")


def test_a_lost_strip_is_made_again_with_nothing_else(run: Path, tmp_path: Path) -> None:
    faces = people(tmp_path / "in")
    make(run, faces, tmp_path / "out", strip=True)
    strip, other = (tmp_path / "out" / "strip" / f"{row}.png" for row in (2, 3))
    before, stamp = strip.read_bytes(), other.stat().st_mtime_ns
    strip.unlink()
    assert make(run, faces, tmp_path / "out", strip=True).count == 4
    assert strip.read_bytes() == before
    assert other.stat().st_mtime_ns == stamp


@pytest.mark.parametrize("options", [{"yaw_deg": 30.0}, {"strip": True}])
def test_another_pose_is_another_job(run: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    faces = people(tmp_path / "in")
    make(run, faces, tmp_path / "out")
    with pytest.raises(ValueError, match=f"{next(iter(options))} None, not .*choose another folder"):
        make(run, faces, tmp_path / "out", **options)


def test_a_folder_that_knows_no_poses_is_gone_on_with(run: Path, tmp_path: Path) -> None:
    faces = people(tmp_path / "in")
    make(run, faces, tmp_path / "out")
    path = tmp_path / "out" / ACCOUNT / "job.json"
    job = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in job.items() if key not in ("yaw_deg", "strip")}))
    stamp = (tmp_path / "out" / "0.png").stat().st_mtime_ns
    assert make(run, faces, tmp_path / "out").count == 4
    assert (tmp_path / "out" / "0.png").stat().st_mtime_ns == stamp


def test_faces_of_shards_are_turned_too(run: Path, tmp_path: Path) -> None:
    faces = people(tmp_path / "in")
    aligning.align(faces, "sphereface", tmp_path / "packed", workers=1, layout="shards")
    done = generating.generate_from_shards(run, str(tmp_path / "packed"), tmp_path / "out", yaw_deg=90.0, strip=True)
    assert done.count == 4
    assert np.array_equal(images.read(tmp_path / "out" / "1.png"), wanted(faces, 90)[1])
    assert images.read(tmp_path / "out" / "strip" / "1.png").shape == (112, 5 * 96, 3)
    listed = face_list.read(tmp_path / "out" / "faces.csv")
    assert (listed.column("yaw_deg")[0], listed.column("strip")[0]) == (90, "strip/0.png")


@pytest.mark.parametrize(("folder", "strip"), [(making.STRIP, True), (making.LIST, False)])
def test_a_face_of_shards_that_lies_where_something_else_is_written_is_refused_by_name(
    run: Path, tmp_path: Path, folder: str, strip: bool
) -> None:
    faces = people(tmp_path / "in")
    (tmp_path / "in" / folder).mkdir()
    (tmp_path / "in" / "1.png").rename(tmp_path / "in" / folder / "0.png")
    columns = {name: faces.column(name) for name in faces.column_names}
    renamed = FaceList(faces.root, {**columns, "path": ["0.png", f"{folder}/0.png", "2.png", "3.png"]})
    aligning.align(renamed, "sphereface", tmp_path / "packed", workers=1, layout="shards")
    done = generating.generate_from_shards(run, str(tmp_path / "packed"), tmp_path / "out", strip=strip)
    assert done.count == 3
    (bad,) = done.refused
    assert f"{folder}/0.png" in bad.path
    assert bad.cause.endswith("rename it")
    assert face_list.read(tmp_path / "out" / "faces.csv").column("path").tolist() == ["0.png", "2.png", "3.png"]
    if strip:
        expected = np.concatenate([wanted(faces.take(np.array([0])), yaw)[0] for yaw in POSES], 1)
        assert np.array_equal(images.read(tmp_path / "out" / "strip" / "0.png"), expected)
    plain = generating.generate_from_shards(run, str(tmp_path / "packed"), tmp_path / "plain")
    assert plain.count == (4 if folder == making.STRIP else 3)


@pytest.mark.parametrize("makes_fronts", [False, True])
def test_the_list_says_that_a_made_front_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, makes_fronts: bool
) -> None:
    kind = methods.load("edsr_identity")
    if makes_fronts:
        monkeypatch.setattr(kind, "makes_fronts", True, raising=False)
    run, faces = drawn.untrained_run(tmp_path / "run"), people(tmp_path / "in")
    aligning.align(faces, "sphereface", tmp_path / "packed", workers=1, layout="shards")
    make(run, faces, tmp_path / "listed")
    generating.generate_from_shards(run, str(tmp_path / "packed"), tmp_path / "shards")
    for out in ("listed", "shards"):
        yaws = face_list.read(tmp_path / out / "faces.csv").column("yaw_deg")
        assert yaws.tolist() == [0 if makes_fronts else 30] * 4


@pytest.mark.parametrize(("options", "told"), [({"yaw_deg": 95.0}, "from -90 to 90"), ({"yaw_deg": -91.0}, "-91")])
def test_a_yaw_beyond_the_training_is_refused_before_anything_is_made(
    run: Path, tmp_path: Path, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=f"Turner.*{told}|{told}.*Turner"):
        make(run, people(tmp_path / "in"), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options", [{"yaw_deg": 0.0}, {"strip": True}])
def test_a_method_that_turns_no_heads_is_refused_by_name(tmp_path: Path, options: dict[str, Any]) -> None:
    run = drawn.untrained_run(tmp_path / "run")
    with pytest.raises(ValueError, match="EdsrIdentity turns no heads"):
        make(run, people(tmp_path / "in"), tmp_path / "out", **options)


def test_pictures_in_a_folder_called_strip_are_refused_where_strips_are_written(run: Path, tmp_path: Path) -> None:
    people(tmp_path / "in" / "strip")
    columns = {"path": ["strip/0.png"], "identity": ["a"], "domain": ["vis"], "crop": [CROP.name]}
    faces = FaceList(tmp_path / "in", columns)
    with pytest.raises(ValueError, match="folder strip"):
        make(run, faces, tmp_path / "out", strip=True)
    assert make(run, faces, tmp_path / "plain").count == 1


def test_verb_takes_yaw_and_strip(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faces = people(tmp_path / "in")
    arguments = ["generate", str(run), str(faces.root), "--aligned", "sphereface", "--yaw", "-30", "--strip"]
    monkeypatch.setattr("sys.argv", ["facebridge", *arguments, "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    assert np.array_equal(images.read(tmp_path / "out" / "0.png"), wanted(faces, -30)[0])
    assert (tmp_path / "out" / making.STRIP / "3.png").is_file()
