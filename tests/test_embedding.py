"""Embedding a list: the recogniser's numbers in the list's order, the same file whatever the workers and kills."""

import json
import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from facebridge import crops, embedding, images, recognisers, weights
from facebridge.data import face_list
from facebridge.data.face_list import FaceList
from facebridge.embedding import JudgeSettings
from facebridge.evaluation.ways import Judge
from tests import drawn

CROP = crops.crop("sphereface")
GARBAGE = b"no picture at all"


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn.people(tmp_path_factory.mktemp("people"), num_people=3, shots=4)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> JudgeSettings:
    """A thin recogniser in a file."""
    path = tmp_path_factory.mktemp("weights") / "thin.safetensors"
    recognisers.write(
        path, "mobile_facenet", drawn.thin_recogniser().network.state_dict(), crop="sphereface", **drawn.THIN
    )
    return JudgeSettings("mobile_facenet", path, mirror="concatenate")


@dataclass(frozen=True)
class DyingJudge(JudgeSettings):
    """The first worker process that builds it kills itself."""

    died: Path = Path()
    parent: int = 0

    def build(self) -> Judge:
        if os.getpid() != self.parent and not self.died.exists():
            self.died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().build()


def embed(judge: JudgeSettings, faces: Any, out: Path, **options: Any) -> embedding.Embedded:
    settings: dict[str, Any] = {"crop": "sphereface", "workers": 1, "block_size": 5} | options
    return embedding.embed(judge, faces, settings.pop("crop"), out, **settings)


def embeddings_of(out: Path) -> NDArray[np.float32]:
    with np.load(out, allow_pickle=False) as found:
        return np.asarray(found["embeddings"])


def test_embeddings_are_those_of_the_recogniser_in_the_order_of_the_list(
    listed: Path, judge: JudgeSettings, tmp_path: Path
) -> None:
    faces = face_list.read(listed)
    out = tmp_path / "new" / "out.npz"
    assert embed(judge, faces, out) == embedding.Embedded(len(faces), [])
    aligned = [
        crops.align(images.read(faces.picture_path(row)), faces[row].landmarks, CROP)  # type: ignore[arg-type]
        for row in range(len(faces))
    ]
    with torch.no_grad():
        wanted = drawn.thin_recogniser().embed(images.to_faces(np.stack(aligned)), CROP, mirror="concatenate")
    with np.load(out, allow_pickle=False) as found:
        assert found["embeddings"] == pytest.approx(wanted.numpy(), abs=1e-5)
        for name in ("path", "identity", "domain"):
            assert found[name].tolist() == faces.column(name).tolist()
        noted = [str(found[name]) for name in ("recogniser", "mirror", "crop")]
    assert noted == ["mobile_facenet", "concatenate", "sphereface"]
    assert [path.name for path in out.parent.iterdir()] == [out.name]


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".parquet"])
def test_embedding_twice_gives_the_same_file(listed: Path, judge: JudgeSettings, tmp_path: Path, suffix: str) -> None:
    faces = face_list.read(listed)
    for name in ("one", "other"):
        embed(judge, faces, tmp_path / f"{name}{suffix}")
    assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"other{suffix}").read_bytes()


def test_safetensors_and_parquet_hold_the_same_numbers_and_rows(
    listed: Path, judge: JudgeSettings, tmp_path: Path
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    faces = face_list.read(listed)
    for suffix in ("npz", "safetensors", "parquet"):
        embed(judge, faces, tmp_path / f"out.{suffix}")
    wanted = embeddings_of(tmp_path / "out.npz")
    assert np.array_equal(weights.read(tmp_path / "out.safetensors")["embeddings"].numpy(), wanted)
    beside = face_list.read(tmp_path / "out.safetensors.csv", root=faces.root)
    table = parquet.read_table(tmp_path / "out.parquet")
    assert table.column_names == ["path", "identity", "domain", "embedding"]
    assert str(table.schema.field("embedding").type) == f"fixed_size_list<element: float>[{wanted.shape[1]}]"
    assert np.array_equal(np.array(table["embedding"].to_pylist(), np.float32), wanted)
    for name in ("path", "identity", "domain"):
        assert beside.column(name).tolist() == faces.column(name).tolist() == table[name].to_pylist()
    noted = {"recogniser": "mobile_facenet", "mirror": "concatenate", "crop": "sphereface"}
    assert {key.decode(): value.decode() for key, value in table.schema.metadata.items()} == noted
    assert json.loads(weights.metadata(tmp_path / "out.safetensors")["embeddings"]) == noted


def test_a_list_in_pieces_gives_the_same_embeddings(listed: Path, judge: JudgeSettings, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    from facebridge.data.pieces import FaceListFile

    faces = face_list.read(listed)
    face_list.write(faces, listed.parent / "listed.parquet")
    embed(judge, FaceListFile(listed.parent / "listed.parquet"), tmp_path / "pieces.npz")
    embed(judge, faces, tmp_path / "plain.npz")
    assert (tmp_path / "pieces.npz").read_bytes() == (tmp_path / "plain.npz").read_bytes()


def test_rows_of_bad_pictures_are_missing_from_the_embeddings_and_named(
    listed: Path, judge: JudgeSettings, tmp_path: Path
) -> None:
    faces = spoilt(listed, tmp_path / "people", [0, 1, 2, 3, 4, 6])
    for suffix in ("npz", "parquet"):
        done = embed(judge, faces, tmp_path / f"out.{suffix}")
        assert done.count == len(faces) - 6
        assert [Path(bad.path) for bad in done.refused] == [faces.picture_path(row) for row in (0, 1, 2, 3, 4, 6)]
    with np.load(tmp_path / "out.npz") as found:
        assert found["path"].tolist() == [
            row.path for number, row in enumerate(faces) if number not in range(5) and number != 6
        ]
        assert len(found["embeddings"]) == len(faces) - 6


def spoilt(listed: Path, folder: Path, rows: list[int]) -> FaceList:
    """A copy of the list whose pictures of these rows are none."""
    shutil.copytree(listed.parent, folder)
    faces = face_list.read(folder / listed.name)
    for row in rows:
        faces.picture_path(row).write_bytes(GARBAGE)
    return faces


def test_embedding_nothing_is_an_error_that_names_a_picture(listed: Path, judge: JudgeSettings, tmp_path: Path) -> None:
    faces = spoilt(listed, tmp_path / "people", [0, 1]).take([0, 1])
    with pytest.raises(ValueError, match=r"none of the 2 .*not a picture"):
        embed(judge, faces, tmp_path / "out.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["people"]


def test_an_unfinished_run_is_gone_on_with_and_one_of_another_job_refused(
    listed: Path, judge: JudgeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces, out = face_list.read(listed), tmp_path / "out.npz"
    embed(judge, faces, tmp_path / "wanted.npz")
    calls, original = [], Judge.embed

    def failing(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise MemoryError
        return original(*arguments)

    monkeypatch.setattr(Judge, "embed", failing)
    with pytest.raises(MemoryError):
        embed(judge, faces, out)
    assert not out.exists()
    with pytest.raises(ValueError, match="unfinished job with crop 'sphereface', not 'arcface'"):
        embed(judge, faces, out, crop="arcface")
    embed(judge, faces, out)
    assert len(calls) == 4, "three blocks, the last of them twice"
    assert out.read_bytes() == (tmp_path / "wanted.npz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.npz", "wanted.npz"]


def test_without_resuming_an_unfinished_run_is_thrown_away(
    listed: Path, judge: JudgeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces, out = face_list.read(listed), tmp_path / "out.npz"
    with monkeypatch.context() as patch:
        patch.setattr(Judge, "embed", lambda *arguments: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError):
            embed(judge, faces, out, crop="arcface")
    assert embed(judge, faces, out, resume=False).count == len(faces)


def test_two_workers_one_of_them_killed_give_the_same_bits_as_one(
    listed: Path, judge: JudgeSettings, tmp_path: Path
) -> None:
    faces = face_list.read(listed)
    embed(judge, faces, tmp_path / "wanted.npz")
    dying = DyingJudge(judge.name, judge.weights, (), judge.mirror, tmp_path / "died", os.getpid())
    embed(dying, faces, tmp_path / "out.npz", workers=2)
    assert (tmp_path / "died").exists()
    assert (tmp_path / "out.npz").read_bytes() == (tmp_path / "wanted.npz").read_bytes()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"out": "out.txt"}, "written as .npz, .safetensors, .parquet"),
        ({"crop": "square"}, "no crop is called"),
        ({"judge": JudgeSettings("mobile_facenet")}, "needs weights"),
        ({"judge": JudgeSettings("embedded_judge", mirror="twice")}, "mirror is 'twice'"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    listed: Path, judge: JudgeSettings, tmp_path: Path, change: dict[str, Any], problem: str
) -> None:
    options = {"judge": judge, "out": "out.npz", "crop": "sphereface"} | change
    with pytest.raises(ValueError, match=problem):
        embed(options["judge"], face_list.read(listed), tmp_path / options["out"], crop=options["crop"])
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_on_ray_with_a_worker_killed_the_file_is_the_same(listed: Path, judge: JudgeSettings, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="ray is not installed (pip install 'facebridge[scale]')")
    faces = face_list.read(listed)
    embed(judge, faces, tmp_path / "wanted.npz", block_size=2)
    dying = DyingJudge(judge.name, judge.weights, (), judge.mirror, tmp_path / "died", os.getpid())
    embed(dying, faces, tmp_path / "out.npz", block_size=2, engine="ray", workers=2)
    assert (tmp_path / "died").exists()
    assert (tmp_path / "out.npz").read_bytes() == (tmp_path / "wanted.npz").read_bytes()
