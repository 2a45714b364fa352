"""A long job over the rows of a list, cut into blocks that are each done once: here, in processes, or on Ray.

FOLDER/job.json          what the job is; a folder of another job is refused
       blocks/00000012.json  the record of a finished block, written when everything that the block made is written

How the rows are cut is part of the job and never depends on the number of workers, so neither does what is made.
"""

import contextlib
import errno
import functools
import json
import logging
import multiprocessing
import os
import pickle
import shutil
import signal
import tempfile
import threading
import traceback
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, Protocol, cast, get_args

import cv2
import torch

from facebridge import runs
from facebridge.progress import Progress
from facebridge.stopping import Stopped, stop_signals

Engine = Literal["local", "ray"]
Record = dict[str, Any]
"""What a block leaves for the end of the job; small, and ready for JSON."""
Step = Callable[[int, int], Record]
"""Does the rows from start up to stop."""

BLOCK_SIZE = 512
MAX_TRIES = 3
"""How often a block is begun whose worker is killed from outside."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
BLOCKS_AHEAD = 2
"""Blocks that Ray is given at a time, for each worker."""


class Work(Protocol):
    """What a job does to its rows: a description that can be pickled, from which each worker prepares itself."""

    def prepare(self) -> Step:
        """Load what the work needs, once in each worker.

        A block may be done again, by another worker, after one was killed in the middle of it. So the step writes
        files whose names follow from the row numbers alone, each whole or not at all, and the same bytes every time.
        """
        ...


@dataclass(frozen=True)
class Block:
    """Rows from start up to stop, and their place in the job."""

    number: int
    start: int
    stop: int


def run(
    work: Work,
    num_rows: int,
    folder: Path,
    *,
    job: dict[str, Any],
    title: str,
    engine: Engine = "local",
    workers: int | None = None,
    block_size: int = BLOCK_SIZE,
) -> Iterator[Record]:
    """Do the blocks that are not done yet; then the records of all blocks, in order.

    Args:
        work: what to do; under Ray its paths must be absolute and lie on a file system that all machines share.
        num_rows: how many rows there are.
        folder: where the job keeps its account; the caller holds it by `runs.locked`.
        job: what identifies the job, ready for JSON.
        title: what the progress bar says.
        engine: "local": this process if there is one worker or one block, else processes of this machine. "ray": the
            cluster that RAY_ADDRESS names, or a small one on this machine for the time of the job.
        workers: how many at a time; None: one a core.
        block_size: rows of a block; part of what the job is.

    Raises:
        ValueError: if an option is wrong, the folder holds another job, the disk is full, or a block's worker was
            killed several times. Also whatever the work raises.
        Stopped: if SIGTERM or Ctrl-C asked to stop; the present blocks are finished first.
    """
    if engine not in get_args(Engine):
        raise ValueError(f"engine is {engine!r}; expected one of {', '.join(get_args(Engine))}")
    if block_size < 1 or (workers is not None and workers < 1):
        raise ValueError(f"blocks of {block_size} rows for {workers} workers: both must be at least 1")
    with contextlib.ExitStack() as stack:
        stack.enter_context(full_disk_told(folder))
        _open(folder, {**job, "num_rows": num_rows, "block_size": block_size})
        blocks = _partition(num_rows, block_size)
        known = set(os.listdir(folder / "blocks"))
        waiting = [block for block in blocks if _record_path(folder, block).name not in known]
        num_done = num_rows - sum(block.stop - block.start for block in waiting)
        if engine == "ray" and waiting:
            stack.enter_context(_cluster(workers))
        stop = stack.enter_context(stop_signals())
        bar = stack.enter_context(Progress(title, num_rows, done=num_done))
        team = _team(engine, workers, len(waiting))
        for block in stack.enter_context(contextlib.closing(team(work, folder.absolute(), waiting, stop))):
            num_done += block.stop - block.start
            bar.step(num_done)
    if num_done < num_rows:
        raise Stopped(
            f"{title} stopped: {num_done:,} of {num_rows:,} rows are done; the same command goes on from there"
        )
    return (json.loads(_record_path(folder, block).read_text("utf-8")) for block in blocks)


@contextlib.contextmanager
def full_disk_told(folder: Path) -> Iterator[None]:
    """A full disk becomes a ValueError in words, which names the folder; every other error stays as it is."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ValueError(
            f"{error.filename or folder}: the disk is full. What is written stays good: make room, and the same "
            "command goes on from there"
        ) from error


Team = Callable[[Work, Path, Sequence[Block], threading.Event], Generator[Block, None, None]]
"""Does blocks until all are done or the event asks to stop; tells of each when it is done, in any order."""


def _team(engine: Engine, workers: int | None, num_blocks: int) -> Team:
    if engine == "ray":
        return functools.partial(_on_ray, workers)
    count = min(workers or os.cpu_count() or 1, num_blocks)
    return _here if count <= 1 else functools.partial(_in_processes, count)


def _here(work: Work, folder: Path, blocks: Sequence[Block], stop: threading.Event) -> Generator[Block, None, None]:
    threads = torch.get_num_threads(), cv2.getNumThreads()
    _use_threads(1, 1)
    try:
        step = work.prepare() if blocks else None
        for block in blocks:
            if stop.is_set():
                return
            assert step is not None
            _do(step, folder, block)
            yield block
    finally:
        _use_threads(*threads)


def _in_processes(
    count: int, work: Work, folder: Path, blocks: Sequence[Block], stop: threading.Event
) -> Generator[Block, None, None]:
    # The work goes through a file, private and our own: a line takes a long list only when the process at its end is
    # ready, and the next process would be begun only then.
    with tempfile.NamedTemporaryFile(prefix="facebridge-") as described, contextlib.ExitStack() as stack:
        pickle.dump(work, described)
        described.flush()

        def begun() -> _Process:
            return stack.enter_context(contextlib.closing(_Process(described.name, folder)))

        yield from _shared_out(blocks, [begun() for _ in range(count)], begun, stop)


def _shared_out(
    blocks: Sequence[Block], team: list["_Process"], begun: Callable[[], "_Process"], stop: threading.Event
) -> Generator[Block, None, None]:
    """Give each process a block when it has none; begin another process for one that was killed.

    After an error no block is begun; those that the other processes are doing are finished before it is raised.
    """
    waiting, tries = deque(blocks), Counter[Block]()
    failed: Exception | None = None
    while True:
        for process in team:
            if process.block is None and waiting and not stop.is_set() and failed is None:
                process.begin(waiting.popleft())
        busy = {process.line: process for process in team if process.block is not None}
        if not busy:
            break
        for line in connection.wait(list(busy)):
            process = busy[cast(Connection, line)]
            block = process.block
            assert block is not None
            try:
                if process.ended_well():
                    yield block
                    continue
            except Exception as error:  # whatever the work raised
                failed = failed or error
                continue
            tries[block] += 1
            if tries[block] == MAX_TRIES:
                failed = failed or _killed(block, process.how_it_ended())
            if failed is None:
                waiting.appendleft(block)
                team[team.index(process)] = begun()
            else:
                team.remove(process)
    if failed is not None:
        raise failed


class _Process:
    """A worker process, the line to it, and the block that it is doing."""

    def __init__(self, described: str, folder: Path) -> None:
        # Forked from a server that has no threads: a fork of this process would copy locks that nobody releases. What
        # the server has imported, torch above all, no worker has to import again.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        self.line, other_end = context.Pipe()
        self.block: Block | None = None
        self._process = context.Process(target=_serve, args=(described, folder, other_end), daemon=True)
        with _stop_signals_withheld():
            self._process.start()
        other_end.close()

    def begin(self, block: Block) -> None:
        self.block = block
        with contextlib.suppress(ConnectionError):  # killed while it was idle: `ended_well` will say so
            self.line.send(block)

    def ended_well(self) -> bool:
        """Whether the block is done; False: the process was killed. Raises what the work raised."""
        try:
            error = self.line.recv()
        except (EOFError, ConnectionError):
            return False
        self.block = None
        if error is not None:
            raise error
        return True

    def how_it_ended(self) -> str:
        self._process.join()
        code = self._process.exitcode or 0
        return f"by signal {-code}" if code < 0 else f"with exit status {code}"

    def close(self) -> None:
        """End it: at once if it is in the middle of a block."""
        self.line.close()
        if self.block is not None:
            self._process.kill()
        self._process.join()


def _serve(described: str, folder: Path, line: Connection) -> None:
    """What a worker process does until the line is closed. described: the file of the work."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    _use_threads(1, 1)
    step: Step | None = None
    with line, contextlib.suppress(EOFError, ConnectionError):
        while True:
            block = line.recv()
            try:
                step = step or pickle.loads(Path(described).read_bytes()).prepare()
                _do(step, folder, block)
            except Exception as error:
                line.send(_portable(error))
            else:
                line.send(None)


@contextlib.contextmanager
def _stop_signals_withheld() -> Iterator[None]:
    """Processes begun inside never see SIGTERM or Ctrl-C, which may reach a whole group: they end with their line."""
    resource_tracker.ensure_running()  # else the first process starts it, which would let the signals through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _portable(error: Exception) -> Exception:
    """The error with its place in the code; as plain text where it cannot be pickled."""
    error.add_note(traceback.format_exc())
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # pickling runs the class's own code, which may raise anything
        return RuntimeError(traceback.format_exc())
    return error


@contextlib.contextmanager
def _cluster(workers: int | None) -> Iterator[None]:
    """Ray, connected; left as it was found."""
    ray = _ray()
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"address": address}
    if address in (None, "local"):
        options = {"address": "local", "num_cpus": workers, "include_dashboard": False}
    handler = signal.getsignal(signal.SIGTERM)
    ray.init(**options, logging_level=logging.ERROR, log_to_driver=False)
    try:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray puts its own there
        yield
    finally:
        ray.shutdown()


def _on_ray(
    workers: int | None, work: Work, folder: Path, blocks: Sequence[Block], stop: threading.Event
) -> Generator[Block, None, None]:
    ray = _ray()
    task = ray.remote(num_cpus=1, max_retries=MAX_TRIES - 1)(_do_on_ray)
    shared = [ray.put(work)]  # in a list: a bare reference would be loaded anew for each block
    limit = BLOCKS_AHEAD * (workers or max(1, int(ray.cluster_resources().get("CPU", 1))))
    waiting, running = deque(blocks), dict[Any, Block]()
    while running or (waiting and not stop.is_set()):
        while waiting and len(running) < limit and not stop.is_set():
            block = waiting.popleft()
            running[task.remote(shared, folder, block)] = block
        for reference in ray.wait(list(running), num_returns=1)[0]:
            block = running.pop(reference)
            try:
                ray.get(reference)
            except ray.exceptions.RayTaskError as error:
                raise error.cause or error from None
            except ray.exceptions.RayError as error:
                raise _killed(block, f"on Ray ({type(error).__name__})") from error
            yield block


def _do_on_ray(shared: Sequence[Any], folder: Path, block: Block) -> None:
    """A block in a Ray worker; done already if the worker was killed between the record and the answer."""
    if not _record_path(folder, block).exists():
        _do(_prepared(shared[0]), folder, block)


@functools.lru_cache(maxsize=1)
def _prepared(reference: Any) -> Step:
    """Once in each worker process and job."""
    _use_threads(1, 1)
    step: Step = _ray().get(reference).prepare()
    return step


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ValueError("the engine ray needs Ray: pip install 'facebridge[scale]'") from error
    return ray


def _do(step: Step, folder: Path, block: Block) -> None:
    record = step(block.start, block.stop)
    runs.write_bytes(_record_path(folder, block), json.dumps(record).encode())


def _use_threads(torch_threads: int, cv2_threads: int) -> None:
    """One for each library while blocks are done: sums over more threads differ in the last bits."""
    torch.set_num_threads(torch_threads)
    cv2.setNumThreads(cv2_threads)


def _open(folder: Path, job: dict[str, Any]) -> None:
    """Make the job's folder, or open the one that an unfinished run of the same job left."""
    told = folder / "job.json"
    job = json.loads(json.dumps(job))
    if told.is_file():
        begun = json.loads(told.read_text("utf-8"))
        for key in [*job, *begun]:
            if begun.get(key) != job.get(key):
                raise ValueError(
                    f"{folder} holds an unfinished job with {key} {begun.get(key)!r}, not {job.get(key)!r}: finish "
                    "that one, remove the folder, or choose another output"
                )
    else:
        shutil.rmtree(folder / "blocks", ignore_errors=True)  # records of nobody knows what
        folder.mkdir(parents=True, exist_ok=True)
        runs.write_bytes(told, json.dumps(job, indent=1).encode())
    (folder / "blocks").mkdir(exist_ok=True)
    for part in (folder / "blocks").glob("*.part"):
        part.unlink(missing_ok=True)


def _partition(num_rows: int, block_size: int) -> list[Block]:
    starts = range(0, num_rows, block_size)
    return [Block(number, start, min(start + block_size, num_rows)) for number, start in enumerate(starts)]


def _record_path(folder: Path, block: Block) -> Path:
    return folder / "blocks" / f"{block.number:08}.json"


def _killed(block: Block, how: str) -> ValueError:
    return ValueError(
        f"block {block.number} (rows {block.start + 1:,} to {block.stop:,}): its worker was killed {MAX_TRIES} times, "
        f"the last time {how}. Signal 9 mostly means too little memory: try fewer workers. The finished blocks are kept"
    )
