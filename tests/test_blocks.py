"""Jobs in blocks: every row once, whatever is killed, stopped or full; the same on Ray."""

import errno
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from facebridge import blocks
from facebridge.stopping import Stopped

NUM_ROWS, BLOCK_SIZE = 23, 4
NUM_BLOCKS = 6


@dataclass(frozen=True)
class Noting:
    """Notes each block that was begun or done under a name of its own, and each row in a file of its own."""

    out: Path
    block_to_die: int = -1
    deaths: int = 0
    """How often the worker of that block kills itself."""
    block_to_fail: int = -1
    error: Exception | None = None
    pid_to_stop: int = 0
    """The process that every block sends SIGTERM to."""

    def prepare(self) -> blocks.Step:
        self._note("prepared")
        return self._step

    def _step(self, start: int, stop: int) -> blocks.Record:
        number = start // BLOCK_SIZE
        self._note(f"begun-{number}")
        for row in range(start, stop):
            (self.out / f"row-{row}").write_text(str(row * row))
            if number == self.block_to_die and len(list(self.out.glob(f"begun-{number}-*"))) <= self.deaths:
                os.kill(os.getpid(), signal.SIGKILL)
        if number == self.block_to_fail and self.error is not None:
            raise self.error
        if self.pid_to_stop:
            os.kill(self.pid_to_stop, signal.SIGTERM)
        self._note(f"done-{number}")
        return {"rows": list(range(start, stop)), "threads": [torch.get_num_threads(), cv2.getNumThreads()]}

    def _note(self, what: str) -> None:
        (self.out / f"{what}-{os.getpid()}-{os.urandom(4).hex()}").touch()


class UnpicklableError(Exception):
    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def run(work: blocks.Work, folder: Path, **options: Any) -> list[blocks.Record]:
    settings: dict[str, Any] = {
        "job": {"what": "a test"},
        "title": "testing",
        "block_size": BLOCK_SIZE,
        "workers": 1,
    } | options
    return list(blocks.run(work, NUM_ROWS, folder, **settings))


def count(out: Path, what: str) -> list[int]:
    """How often each block was begun or done."""
    return [len(list(out.glob(f"{what}-{number}-*"))) for number in range(NUM_BLOCKS)]


def assert_complete(records: list[blocks.Record], out: Path) -> None:
    assert [row for record in records for row in record["rows"]] == list(range(NUM_ROWS))
    found = {path.name: path.read_text() for path in out.glob("row-*")}
    assert found == {f"row-{row}": str(row * row) for row in range(NUM_ROWS)}


@pytest.mark.parametrize("workers", [1, 2])
def test_every_row_is_done_once_by_one_thread_each(out: Path, tmp_path: Path, workers: int) -> None:
    records = run(Noting(out), tmp_path / "job", workers=workers)
    assert_complete(records, out)
    assert count(out, "begun") == [1] * NUM_BLOCKS
    assert len(list(out.glob("prepared-*"))) <= workers
    assert {tuple(record["threads"]) for record in records} == {(1, 1)}


def test_the_threads_are_afterwards_as_before(out: Path, tmp_path: Path) -> None:
    torch.set_num_threads(2)
    run(Noting(out), tmp_path / "job", workers=1)
    assert torch.get_num_threads() == 2


@dataclass(frozen=True)
class Listing:
    def prepare(self) -> blocks.Step:
        return lambda start, stop: {"rows": list(range(start, stop))}


@given(num_rows=st.integers(0, 40), block_size=st.integers(1, 45))
@settings(max_examples=25)
def test_blocks_are_a_partition_of_the_rows(
    tmp_path_factory: pytest.TempPathFactory, num_rows: int, block_size: int
) -> None:
    folder = tmp_path_factory.mktemp("job")
    records = list(blocks.run(Listing(), num_rows, folder, job={}, title="testing", block_size=block_size, workers=1))
    assert [row for record in records for row in record["rows"]] == list(range(num_rows))
    assert all(len(record["rows"]) == block_size for record in records[:-1])


def test_blocks_that_are_done_are_not_done_again(out: Path, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        run(Noting(out, block_to_fail=3, error=ZeroDivisionError()), tmp_path / "job", workers=1)
    assert count(out, "done") == [1, 1, 1, 0, 0, 0]
    assert_complete(run(Noting(out), tmp_path / "job", workers=1), out)
    assert count(out, "done") == [1] * NUM_BLOCKS
    assert count(out, "begun") == [1, 1, 1, 2, 1, 1]


@pytest.mark.parametrize(
    ("options", "key"),
    [({"job": {"what": "other"}}, "what"), ({"block_size": 5}, "block_size"), ({"job": {"more": 1}}, "what|more")],
)
def test_a_folder_of_another_job_is_refused_by_what_differs(
    out: Path, tmp_path: Path, options: dict[str, Any], key: str
) -> None:
    run(Noting(out), tmp_path / "job")
    with pytest.raises(ValueError, match=f"job with ({key}) "):
        run(Noting(out), tmp_path / "job", **options)


@pytest.mark.parametrize("options", [{"engine": "spark"}, {"workers": 0}, {"block_size": 0}])
def test_wrong_options_are_refused_before_anything_is_made(out: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected one of local, ray|at least 1"):
        run(Noting(out), tmp_path / "job", **options)
    assert not (tmp_path / "job").exists()


def test_the_block_of_a_killed_worker_is_done_by_another(out: Path, tmp_path: Path) -> None:
    records = run(Noting(out, block_to_die=2, deaths=2), tmp_path / "job", workers=2)
    assert_complete(records, out)
    assert count(out, "begun") == [1, 1, 3, 1, 1, 1]
    assert count(out, "done") == [1] * NUM_BLOCKS


def test_a_block_that_kills_every_worker_is_named_and_the_others_are_kept(out: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"block 1 \(rows 5 to 8\).*killed 3 times.*signal 9"):
        run(Noting(out, block_to_die=1, deaths=99), tmp_path / "job", workers=2)
    kept = count(out, "done")
    assert kept[1] == 0
    assert_complete(run(Noting(out), tmp_path / "job"), out)
    assert count(out, "begun")[0] == 1


def test_an_error_that_cannot_be_pickled_comes_out_as_text(out: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="UnpicklableError: 1 and 2"):
        run(Raising(), tmp_path / "job", workers=2)


@dataclass(frozen=True)
class Raising:
    def prepare(self) -> blocks.Step:
        raise UnpicklableError(1, 2)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_told_and_what_is_written_stays(out: Path, tmp_path: Path, workers: int) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "faces/a.png")
    with pytest.raises(ValueError, match=r"faces/a\.png: the disk is full.*make room"):
        run(Noting(out, block_to_fail=5, error=full), tmp_path / "job", workers=workers)
    assert_complete(run(Noting(out), tmp_path / "job"), out)
    assert count(out, "done") == [1] * NUM_BLOCKS


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_ends_the_job_after_the_present_blocks(out: Path, tmp_path: Path, workers: int) -> None:
    work = Noting(out, pid_to_stop=os.getpid())
    with pytest.raises(Stopped, match=r"of 23 rows are done; the same command goes on"):
        run(work, tmp_path / "job", workers=workers)
    done = count(out, "done")
    assert done == count(out, "begun")
    assert 1 <= sum(done) < NUM_BLOCKS
    assert_complete(run(Noting(out), tmp_path / "job"), out)
    assert count(out, "done") == [1] * NUM_BLOCKS


def test_a_second_ctrl_c_ends_the_workers_at_once(out: Path, tmp_path: Path) -> None:
    def twice() -> None:
        while len(list(out.glob("begun-*"))) < 2:
            pass
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(0.2)

    pressing = threading.Thread(target=twice)
    pressing.start()
    with pytest.raises(KeyboardInterrupt):
        run(Sleeping(out), tmp_path / "job", workers=2)
    pressing.join()


@dataclass(frozen=True)
class Sleeping:
    out: Path

    def prepare(self) -> blocks.Step:
        return self._step

    def _step(self, start: int, stop: int) -> blocks.Record:
        (self.out / f"begun-{start}").touch()
        threading.Event().wait(60)
        return {}


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two Ray workers on this machine."""
    ray = pytest.importorskip("ray", reason="ray is not installed (pip install 'facebridge[scale]')")
    ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_on_ray_the_block_of_a_killed_worker_is_done_by_another(out: Path, tmp_path: Path) -> None:
    records = run(Noting(out, block_to_die=2, deaths=1), tmp_path / "job", engine="ray", workers=2)
    assert_complete(records, out)
    assert count(out, "begun") == [1, 1, 2, 1, 1, 1]
    assert count(out, "done") == [1] * NUM_BLOCKS
    assert {tuple(record["threads"]) for record in records} == {(1, 1)}
    assert len(list(out.glob("prepared-*"))) <= 3


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_on_ray_a_block_that_kills_every_worker_is_named(out: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"block 1 \(rows 5 to 8\).*killed 3 times"):
        run(Noting(out, block_to_die=1, deaths=99), tmp_path / "job", engine="ray", workers=2)
    assert_complete(run(Noting(out), tmp_path / "job", engine="ray"), out)
    assert count(out, "done") == [1] * NUM_BLOCKS


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_on_ray_a_full_disk_is_told_and_an_error_comes_out_as_it_is(out: Path, tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "faces/a.png")
    with pytest.raises(ValueError, match=r"faces/a\.png: the disk is full"):
        run(Noting(out, block_to_fail=5, error=full), tmp_path / "job", engine="ray")
    with pytest.raises(LookupError, match="no such thing"):
        run(Noting(out, block_to_fail=5, error=LookupError("no such thing")), tmp_path / "job", engine="ray")


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_on_ray_sigterm_ends_the_job_after_the_present_blocks(out: Path, tmp_path: Path) -> None:
    with pytest.raises(Stopped, match="rows are done"):
        run(Noting(out, pid_to_stop=os.getpid()), tmp_path / "job", engine="ray", workers=1)
    assert count(out, "done") == count(out, "begun")
    assert sum(count(out, "done")) < NUM_BLOCKS
    assert_complete(run(Noting(out), tmp_path / "job", engine="local", workers=1), out)
