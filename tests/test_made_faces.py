"""Killed and started again, a folder of generated faces ends as one that was never interrupted."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from facebridge import generating, images, making, runs, source_faces
from facebridge.data import aligning, face_list
from facebridge.data.face_list import FaceList
from facebridge.made_faces import ACCOUNT, MadeFaces
from facebridge.stopping import Stopped
from tests import drawn

COUNT, BATCH = 14, 4

SLOWLY = """
import sys, time
from pathlib import Path
import torch
from facebridge import generating, making, source_faces

torch.set_num_threads(1)
hallucinate = making.hallucinate
def slowly(method, faces):
    time.sleep(0.15)
    return hallucinate(method, faces)
making.hallucinate = slowly
run, folder, out = map(Path, sys.argv[1:])
faces = source_faces.open_pictures(folder, aligned="sphereface")
generating.generate(run, faces, out, batch_size=4, workers=2)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn.untrained_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def faces(tmp_path: Path) -> FaceList:
    """Aligned faces of two sizes in two folders; one file is no picture."""
    folder = tmp_path / "in"
    for number in range(COUNT):
        size = (7, 6, 3) if number % 3 else (14, 12, 3)
        path = folder / f"{number % 2}" / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        images.write(path, np.random.default_rng(number).integers(0, 256, size, np.uint8))
    (folder / "0" / "bad.png").write_bytes(b"no picture")
    return source_faces.open_pictures(folder, aligned="sphereface")


def make(run: Path, faces: FaceList, out: Path) -> generating.Done:
    return generating.generate(run, faces, out, batch_size=BATCH, workers=2)


def contents(out: Path) -> dict[str, bytes]:
    """All that users see in the folder."""
    files = (path for path in out.rglob("*") if path.is_file() and ACCOUNT not in path.parts)
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def changed_at(out: Path) -> dict[str, int]:
    return {str(path): path.stat().st_ino for path in out.rglob("*.png")}


def test_killed_run_goes_on_and_ends_as_one_that_was_not(run: Path, faces: FaceList, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    command = [sys.executable, "-c", SLOWLY, str(run), str(faces.root), str(out)]
    job = subprocess.Popen(command, cwd=Path(__file__).parents[1], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(out.rglob("*.png"))) < 3 and time.monotonic() < deadline:
        assert job.poll() is None, "it ended before it was killed"
        time.sleep(0.01)
    os.kill(job.pid, signal.SIGKILL)
    assert job.wait() == -signal.SIGKILL
    there = changed_at(out)
    assert 3 <= len(there) < COUNT
    assert not (out / generating.LIST).exists()
    accounted = (out / ACCOUNT / "made.jsonl").read_bytes().count(b"\n")
    done = make(run, faces, out)
    assert (done.count, len(done.refused)) == (COUNT, 1)
    kept = sum(changed_at(out).get(path) == inode for path, inode in there.items())
    assert kept >= accounted
    make(run, faces, tmp_path / "whole")
    assert contents(out) == contents(tmp_path / "whole")
    assert not list(out.rglob("*.part"))


def test_finished_folder_is_left_as_it_is(run: Path, faces: FaceList, tmp_path: Path) -> None:
    make(run, faces, tmp_path / "out")
    before, inodes = contents(tmp_path / "out"), changed_at(tmp_path / "out")
    assert make(run, faces, tmp_path / "out").count == COUNT
    assert contents(tmp_path / "out") == before
    assert changed_at(tmp_path / "out") == inodes


def test_changed_source_is_made_again_and_touched_one_is_not(run: Path, faces: FaceList, tmp_path: Path) -> None:
    make(run, faces, tmp_path / "out")
    inodes = changed_at(tmp_path / "out")
    images.write(faces.root / "1" / "01.png", np.full((7, 6, 3), 90, np.uint8))
    os.utime(faces.root / "1" / "03.png")
    assert make(run, faces, tmp_path / "out").count == COUNT
    again = [path for path, inode in changed_at(tmp_path / "out").items() if inodes[path] != inode]
    assert [Path(path).name for path in again] == ["01.png"]
    make(run, faces, tmp_path / "new")
    assert contents(tmp_path / "out") == contents(tmp_path / "new")


def test_lost_and_added_pictures_are_made_and_mended_ones_too(run: Path, faces: FaceList, tmp_path: Path) -> None:
    make(run, faces, tmp_path / "out")
    (tmp_path / "out" / "0" / "02.png").unlink()
    for name in ("0/bad.png", "1/new.png"):
        images.write(faces.root / name, np.full((7, 6, 3), 30, np.uint8))
    more = source_faces.open_pictures(faces.root, aligned="sphereface")
    done = make(run, more, tmp_path / "out")
    assert (done.count, done.refused) == (COUNT + 2, [])
    make(run, more, tmp_path / "new")
    assert contents(tmp_path / "out").keys() == contents(tmp_path / "new").keys()
    listed = (tmp_path / "out" / generating.LIST).read_bytes()
    assert listed == (tmp_path / "new" / generating.LIST).read_bytes()


def test_row_with_other_landmarks_is_made_again(run: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    images.write(tmp_path / "in" / "a.png", drawn.shots().vis[0][0])
    columns = {"path": ["a.png"], "identity": ["a"], "domain": ["vis"]}
    points = drawn.shots().five[0, 0][None]
    make(run, FaceList(tmp_path / "in", columns, points), tmp_path / "out")
    before = images.read(tmp_path / "out" / "a.png")
    make(run, FaceList(tmp_path / "in", columns, points + 6), tmp_path / "out")
    assert not np.array_equal(images.read(tmp_path / "out" / "a.png"), before)


def test_picture_that_changes_and_changes_back_is_made_each_time(run: Path, tmp_path: Path) -> None:
    one, other = (np.random.default_rng(seed).integers(0, 256, (7, 6, 3), np.uint8) for seed in (0, 1))
    (tmp_path / "in").mkdir()
    made = []
    for picture in (one, other, one):
        images.write(tmp_path / "in" / "a.png", picture)
        faces = source_faces.open_pictures(tmp_path / "in", aligned="sphereface")
        make(run, faces, tmp_path / "out")
        made.append((tmp_path / "out" / "a.png").read_bytes())
    assert made[0] == made[2] != made[1]


def test_other_settings_other_weights_and_strange_folders_are_refused(
    run: Path, faces: FaceList, tmp_path: Path
) -> None:
    make(run, faces, tmp_path / "out")
    before = contents(tmp_path / "out")
    other = tmp_path / "other"
    shutil.copytree(run, other)
    tensors = (other / "weights.safetensors").read_bytes()
    (other / "weights.safetensors").write_bytes(tensors[:-1] + bytes([tensors[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"generated with weights .*choose another folder"):
        make(other, faces, tmp_path / "out")
    for options in ({"size": (7, 6)}, {"ending": "jpg"}, {"paste_back": True}, {"levels": 12}):
        with pytest.raises(ValueError, match=f"generated with {next(iter(options))} .*choose another folder"):
            generating.generate(run, faces, tmp_path / "out", batch_size=BATCH, **options)  # type: ignore[arg-type]
    assert contents(tmp_path / "out") == before
    with pytest.raises(ValueError, match="holds no generated faces"):
        make(run, faces, run)


def test_two_processes_do_not_write_one_folder(run: Path, faces: FaceList, tmp_path: Path) -> None:
    with runs.locked(tmp_path / "out" / ACCOUNT), pytest.raises(ValueError, match="is being written by process"):
        make(run, faces, tmp_path / "out")


def test_asked_to_stop_it_leaves_what_is_done_and_says_so(
    run: Path, faces: FaceList, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hallucinate = making.hallucinate

    def asked(*arguments):  # type: ignore[no-untyped-def]
        os.kill(os.getpid(), signal.SIGTERM)
        return hallucinate(*arguments)

    monkeypatch.setattr(making, "hallucinate", asked)
    with pytest.raises(Stopped, match=f"of {COUNT + 1} "):
        make(run, faces, tmp_path / "out")
    monkeypatch.undo()
    assert 0 < len(changed_at(tmp_path / "out")) < COUNT
    assert make(run, faces, tmp_path / "out").count == COUNT


def test_torn_last_line_is_taken_away(tmp_path: Path) -> None:
    with MadeFaces(tmp_path, {"a": 1}):
        pass
    path, whole = tmp_path / ACCOUNT / "made.jsonl", b'{"row": 3}\n'
    for torn in (b"", b'{"row": 4', b"x" * 200_000):
        path.write_bytes(whole + torn)
        with MadeFaces(tmp_path, {"a": 1}):
            pass
        assert path.read_bytes() == whole
    path.write_bytes(b"x" * 10)
    with MadeFaces(tmp_path, {"a": 1}):
        pass
    assert path.read_bytes() == b""


def test_shards_go_on_too_and_their_list_is_whole(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = face_list.read(drawn.people(tmp_path / "people", num_people=3, shots=2))
    aligning.align(sources, "sphereface", tmp_path / "packed", workers=1, layout="shards", block_size=5)
    whole = generating.generate_from_shards(run, str(tmp_path / "packed"), tmp_path / "whole", batch_size=2)
    hallucinate, calls = making.hallucinate, []

    def fails(*arguments):  # type: ignore[no-untyped-def]
        calls.append(1)
        if len(calls) > 2:
            raise OSError("the power failed")
        return hallucinate(*arguments)

    monkeypatch.setattr(making, "hallucinate", fails)
    with pytest.raises(OSError, match="power"):
        generating.generate_from_shards(run, str(tmp_path / "packed"), tmp_path / "out", batch_size=2)
    monkeypatch.undo()
    done = generating.generate_from_shards(run, str(tmp_path / "packed"), tmp_path / "out", batch_size=2)
    assert (done.count, done.refused) == (whole.count, [])
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
