"""Sampling that is killed, stopped or out of disk goes on, and ends byte for byte as if nothing had happened."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facebridge import block_files, cli, new_pairs, noise, sampling
from facebridge.cli.options import EXIT_STOPPED
from facebridge.data import shards
from facebridge.data.pieces import FaceListWriter
from facebridge.new_pairs import UNFINISHED
from facebridge.stopping import Stopped
from tests import sampled
from tests.sampled import BLOCK, contents, sample

MANY = 30 * BLOCK
"""Pairs that take so long that a process can be killed in the middle of them."""

KILLED = """
import sys
from pathlib import Path
from tests.sampled import sample

def main():
    run, out, count, workers, layout = sys.argv[1:]
    sample(Path(run), Path(out), int(count), workers=int(workers), layout=layout)

if __name__ == "__main__":
    main()
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sampled.dvg_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def wanted(run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """What unbroken runs of one worker make, by layout."""
    folder, found = tmp_path_factory.mktemp("wanted"), {}
    for layout in ("files", "shards"):
        sample(run, folder / layout, MANY, layout=layout)
        found[layout] = contents(folder / layout)
    return found


@pytest.mark.parametrize("layout", ["files", "shards"])
def test_what_is_written_does_not_depend_on_the_workers(
    run: Path, wanted: dict[str, dict[str, bytes]], tmp_path: Path, layout: str
) -> None:
    sample(run, tmp_path / "out", MANY, workers=2, layout=layout)
    assert contents(tmp_path / "out") == wanted[layout]
    assert not (tmp_path / "out" / UNFINISHED).exists()


@pytest.mark.parametrize(("layout", "workers"), [("files", 1), ("files", 2), ("shards", 2)])
def test_a_killed_process_goes_on_and_ends_as_one_that_was_not(
    run: Path, wanted: dict[str, dict[str, bytes]], tmp_path: Path, layout: str, workers: int
) -> None:
    out = tmp_path / "out"
    _kill_in_the_middle(run, out, workers, layout)
    assert not (out / sampling.DONE).exists()
    assert not (out / sampling.LIST).exists()
    done_blocks = _done_blocks(out)
    assert 1 <= len(done_blocks) < MANY // BLOCK
    kept = [out / name for name in wanted[layout] if _block_of(name) in done_blocks]
    before = {path: path.stat().st_ino for path in kept}
    assert before
    done = sample(run, out, MANY, workers=3 - workers, layout=layout)
    assert done.count == MANY
    assert contents(out) == wanted[layout]
    assert before == {path: path.stat().st_ino for path in kept}, "finished blocks were done again"


def _kill_in_the_middle(run: Path, out: Path, workers: int, layout: str) -> None:
    """SIGKILL to the process, and to the workers that it began."""
    command = [sys.executable, "-c", KILLED, str(run), str(out), str(MANY), str(workers), layout]
    job = subprocess.Popen(command, cwd=Path(__file__).parents[1], stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 100
    while len(_done_blocks(out)) < 3 and time.monotonic() < deadline:
        assert job.poll() is None, "it ended before it was killed"
        time.sleep(0.002)
    os.killpg(job.pid, signal.SIGKILL)
    assert job.wait() == -signal.SIGKILL


def _done_blocks(out: Path) -> set[int]:
    return {int(record.stem) for record in out.glob(f"{UNFINISHED}/blocks/*.json")}


def _block_of(name: str) -> int | None:
    """The block that a file of the folder belongs to."""
    path = Path(name)
    if path.suffix == ".tar":
        return int(path.stem)
    return int(path.stem) // BLOCK if path.suffix == ".jpg" else None


def test_sigterm_ends_the_job_after_the_present_block_and_it_goes_on(
    run: Path, wanted: dict[str, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, drawn = tmp_path / "out", Counter[int]()
    draw = noise.standard_normal

    def counted(seed: int, first: int, count: int, size: int) -> np.ndarray:
        drawn[first] += 1
        if len(drawn) == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return draw(seed, first, count, size)

    monkeypatch.setattr(new_pairs.noise, "standard_normal", counted)
    with pytest.raises(Stopped, match=r"sampling stopped: 24 of 240 .*goes on from there"):
        sample(run, out, MANY)
    assert not (out / sampling.DONE).exists()
    sample(run, out, MANY)
    assert contents(out) == wanted["files"]
    assert set(drawn.values()) == {1}


def test_the_command_that_was_stopped_ends_with_its_own_status(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object) -> np.ndarray:
        os.kill(os.getpid(), signal.SIGTERM)
        return np.zeros((sampling.BATCH_SIZE, sampled.CODE_SIZE), np.float32)

    monkeypatch.setattr(new_pairs.noise, "standard_normal", stopped)
    words = ["sample", str(run), str(tmp_path / "out"), "--count", "300", "--workers", "1"]
    monkeypatch.setattr(sys, "argv", ["facebridge", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == EXIT_STOPPED
    assert "200 of 300 rows are done; the same command goes on from there" in capsys.readouterr().err


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("layout", ["files", "shards"])
def test_a_full_disk_is_told_and_what_is_written_stays(
    run: Path, wanted: dict[str, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    out, calls = tmp_path / "out", 0
    owner, name = (block_files, "open") if layout == "files" else (shards, "write_shard")
    write = open if layout == "files" else shards.write_shard

    def full(path: Any, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > (7 * BLOCK if layout == "files" else 4):
            if layout == "files":
                Path(path).write_bytes(b"half of it")
            raise FULL
        return write(path, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, full, raising=False)
        with pytest.raises(ValueError, match=r"the disk is full.*make room, and the same command goes on"):
            sample(run, out, MANY, layout=layout)
    written = contents(out)
    assert {path: data for path, data in written.items() if path.endswith((".jpg", ".tar"))}.items() <= wanted[
        layout
    ].items()
    assert len(_done_blocks(out)) >= 3
    sample(run, out, MANY, layout=layout)
    assert contents(out) == wanted[layout]


def test_a_disk_that_is_full_when_the_list_is_written_leaves_none(
    run: Path, wanted: dict[str, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, write = tmp_path / "out", FaceListWriter.write

    def full(writer: FaceListWriter, faces: Any) -> None:
        if writer.num_rows > 100:
            raise FULL
        write(writer, faces)

    with monkeypatch.context() as patched:
        patched.setattr(FaceListWriter, "write", full)
        with pytest.raises(ValueError, match="the disk is full"):
            sample(run, out, MANY)
    assert not (out / sampling.LIST).exists()
    assert not (out / sampling.DONE).exists()
    monkeypatch.setattr(new_pairs.noise, "standard_normal", lambda *_: pytest.fail("a pair was made twice"))
    sample(run, out, MANY)
    assert contents(out) == wanted["files"]


@pytest.mark.parametrize(("options", "key"), [({"count": 8}, "count"), ({"seed": 4}, "seed"), ({"run": 2}, "weights")])
def test_an_unfinished_folder_of_another_job_is_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], key: str
) -> None:
    _left_unfinished(run, tmp_path / "out", monkeypatch)
    before = contents(tmp_path / "out")
    other = sampled.dvg_run(tmp_path / "other", seed=2) if "run" in options else run
    settings = {"count": MANY} | {name: value for name, value in options.items() if name != "run"}
    with pytest.raises(ValueError, match=f"unfinished job with {key} "):
        sample(other, tmp_path / "out", **settings)
    assert contents(tmp_path / "out") == before


def test_precision_that_was_chosen_at_the_beginning_stays(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(sampling, "computes_in_bfloat16", lambda device: True)
    _left_unfinished(run, out, monkeypatch, precision="auto")
    monkeypatch.setattr(sampling, "computes_in_bfloat16", lambda device: False)
    sample(run, out, MANY, precision="auto")
    sample(run, tmp_path / "whole", MANY, precision="bfloat16")
    assert contents(out) == contents(tmp_path / "whole")


def _left_unfinished(run: Path, out: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    """A job that fails in its fourth block."""
    draw = noise.standard_normal

    def failing(seed: int, first: int, count: int, size: int) -> np.ndarray:
        if first >= 3 * BLOCK:
            raise ZeroDivisionError
        return draw(seed, first, count, size)

    with monkeypatch.context() as patched:
        patched.setattr(new_pairs.noise, "standard_normal", failing)
        with pytest.raises(ZeroDivisionError):
            sample(run, out, MANY, **options)


def test_weights_that_change_under_a_job_are_told(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sums = iter(["ab" * 32])
    monkeypatch.setattr(sampling, "weights_sha256", lambda run: next(sums))
    with pytest.raises(ValueError, match=r"the weights of .* changed while"):
        sample(run, tmp_path / "out")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two Ray workers on this machine."""
    ray = pytest.importorskip("ray", reason="ray is not installed (pip install 'facebridge[scale]')")
    ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("layout", ["files", "shards"])
def test_on_ray_the_same_is_written_and_what_is_done_is_not_done_again(
    run: Path, wanted: dict[str, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    out = tmp_path / "out"
    _left_unfinished(run, out, monkeypatch, layout=layout)
    kept = [path for path in sorted(out.rglob("*")) if _block_of(path.name) in _done_blocks(out)]
    before = {path: path.stat().st_ino for path in kept}
    assert before
    sample(run, out, MANY, layout=layout, engine="ray", workers=2)
    assert contents(out) == wanted[layout]
    assert before == {path: path.stat().st_ino for path in kept}
