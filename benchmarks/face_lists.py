"""Rows a second and memory of long face lists: written and read in pieces, and read whole.

python benchmarks/face_lists.py                                  # a million rows with five landmarks, Parquet
python benchmarks/face_lists.py --rows 100000000 --plain         # path, identity, domain and split only
python benchmarks/face_lists.py --rows 200000 --suffix .csv
"""

import argparse
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from facebridge.data import face_list
from facebridge.data.face_list import FaceList
from facebridge.data.pieces import FaceListFile, FaceListWriter

ROWS_PER_PIECE = 65536
PICTURES_PER_IDENTITY = 20
LARGEST_WHOLE = 10_000_000


def main() -> None:
    """Write a list, then read it in each way, every way in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--plain", action="store_true", help="no landmarks")
    parser.add_argument("--suffix", choices=[".parquet", ".csv"], default=".parquet")
    parser.add_argument("--repeats", type=int, default=1, help="readings; the fastest counts")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        free = shutil.disk_usage(folder).free
        print(f"{options.rows:,} rows; {free / 1e9:.0f} GB free; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        path = Path(folder) / f"faces{options.suffix}"
        show("write in pieces", *measured(write, path, options.rows, not options.plain))
        print(f"{path.stat().st_size / 1e6:12,.1f} MB   {path.stat().st_size / options.rows:.1f} bytes a row")
        ways: dict[str, Callable[[Path], int]] = {"read in pieces": read_pieces, "read 100 ranges": read_ranges}
        if options.rows <= LARGEST_WHOLE:
            ways["face_list.read"] = read_whole
        for name, way in ways.items():
            found = [measured(way, path) for _ in range(options.repeats)]
            show(name, *min(found, key=lambda result: result[1]))


def show(name: str, rows: int, seconds: float, processor_seconds: float, peak_mib: float) -> None:
    """One line of the table."""
    print(
        f"{rows / seconds:12,.0f} rows/s {rows / processor_seconds:12,.0f} rows/s of one core {seconds:9.1f} s "
        f"{peak_mib:6,.0f} MiB at most   {name}",
        flush=True,
    )


def measured(task: Callable[..., int], *arguments: object) -> tuple[int, float, float, float]:
    """Rows, seconds, seconds of all threads together, and peak memory in MiB, in a new process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(timed, task, *arguments).result()


def timed(task: Callable[..., int], *arguments: object) -> tuple[int, float, float, float]:
    start, processor_start = time.perf_counter(), time.process_time()
    rows = task(*arguments)
    seconds, processor_seconds = time.perf_counter() - start, time.process_time() - processor_start
    return rows, seconds, processor_seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write(path: Path, num_rows: int, with_landmarks: bool) -> int:
    columns = ["path", "identity", "domain", "split"]
    with FaceListWriter(path, columns, 5 if with_landmarks else 0) as writer:
        for piece in pieces(path.parent, num_rows, with_landmarks):
            writer.write(piece)
        return writer.num_rows


def pieces(root: Path, num_rows: int, with_landmarks: bool) -> Iterator[FaceList]:
    """Names as data sets have them, in the order of identities."""
    generator = np.random.default_rng(0)
    for start in range(0, num_rows, ROWS_PER_PIECE):
        rows = range(start, min(start + ROWS_PER_PIECE, num_rows))
        people = [f"m.{row // PICTURES_PER_IDENTITY * 2654435761 % 2**32:08x}" for row in rows]
        columns = {
            "path": [
                f"{person}/{row % PICTURES_PER_IDENTITY:04d}.jpg" for person, row in zip(people, rows, strict=True)
            ],
            "identity": people,
            "domain": ["nir" if row % 3 else "vis" for row in rows],
            "split": ["train" if row % 10 else "probe" for row in rows],
        }
        points = generator.normal(100, 20, (len(rows), 5, 2)).round(2) if with_landmarks else None
        yield FaceList(root, columns, points)


def read_pieces(path: Path) -> int:
    return sum(len(piece) for piece in FaceListFile(path).pieces())


def read_ranges(path: Path) -> int:
    """Blocks of 4,096 rows anywhere, as workers of an alignment ask for them."""
    rows = FaceListFile(path)
    starts = np.random.default_rng(0).integers(0, max(1, len(rows) - 4096), 100)
    return sum(len(rows.read(int(start), int(start) + 4096)) for start in starts)


def read_whole(path: Path) -> int:
    return len(face_list.read(path))


if __name__ == "__main__":
    main()
