"""Faces a second from shards and from plain files, in the order of training, decoding included.

python benchmarks/shards.py                       # 8,192 aligned faces of 112x112, PNG
python benchmarks/shards.py --ending jpg --faces 65536
"""

import argparse
import io
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from facebridge import crops
from facebridge.data import shards
from facebridge.data.face_list import FaceList
from facebridge.data.faces import Faces, ListedFaces

CROP = "arcface"


def main() -> None:
    """Write the same faces both ways, then read them in turns; the best of the repeats counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=8192)
    parser.add_argument("--shard", type=int, default=1024, help="faces a shard")
    parser.add_argument("--mix", type=int, default=4, help="shards mixed at a time")
    parser.add_argument("--ending", choices=["png", "jpg"], default="png")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        compare(Path(folder), options.faces, options.shard, options.mix, options.ending, options.repeats)


def compare(folder: Path, count: int, per_shard: int, mix: int, ending: str, repeats: int) -> None:
    """Print faces a second of writing and reading."""
    data = drawn(ending)
    rows = FaceList(
        folder / "plain",
        {
            "path": [f"{number // 100:06}/{number:08}.{ending}" for number in range(count)],
            "identity": [f"{number // 20:06}" for number in range(count)],
            "domain": ["vis"] * count,
            "crop": [CROP] * count,
        },
    )
    size = sum(map(len, data)) / len(data) / 1024
    print(f"{count:,} faces of {size:.1f} KiB, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    show("plain files written", count, lambda: write_plain(rows, data))
    show("shards written, index included", count, lambda: write_shards(folder / "shards", rows, data, per_shard))
    plain, sharded = ListedFaces(rows, crops.crop(CROP)), shards.ShardedFaces(folder / "shards", mix=mix)
    ways: dict[str, Callable[[], int]] = {
        "plain files, shuffled": lambda: read(plain, np.random.default_rng(0).permutation(count).tolist()),
        f"shards, shuffled, {mix} mixed": lambda: read(sharded, sharded.shuffle(np.random.default_rng(0))),
        "plain files, in order": lambda: read(plain, range(count)),
        "shards, in order, with rows": lambda: sum(1 for _ in shards.iterate(folder / "shards")),
    }
    for _ in range(repeats):
        for name, way in ways.items():
            show(name, count, way)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB")


def show(name: str, count: int, task: Callable[[], int]) -> None:
    """Time one way."""
    start, processor_start = time.perf_counter(), time.process_time()
    assert task() == count
    seconds, processor_seconds = time.perf_counter() - start, time.process_time() - processor_start
    print(
        f"{count / seconds:10,.0f} faces/s {count / processor_seconds:10,.0f} faces/s of one core   {name}", flush=True
    )


def read(faces: Faces, order: Sequence[int]) -> int:
    return sum(len(faces.picture(index)) > 0 for index in order)


def write_plain(rows: FaceList, data: list[bytes]) -> int:
    for number in range(len(rows)):
        path = rows.picture_path(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data[number % len(data)])
    return len(rows)


def write_shards(folder: Path, rows: FaceList, data: list[bytes], per_shard: int) -> int:
    for number, start in enumerate(range(0, len(rows), per_shard)):
        block = rows.take(range(start, min(start + per_shard, len(rows))))
        faces = ((row, data[(start + row) % len(data)]) for row in range(len(block)))
        shards.write_shard(folder, number, CROP, block, faces)
    return sum(shard.faces for shard in shards.write_index(folder).shards)


def drawn(ending: str) -> list[bytes]:
    """Smooth noise, which compresses about as photographs do."""
    return [_encoded(picture, ending) for picture in _noise(256)]


def _noise(count: int) -> Iterator[np.ndarray]:
    crop, generator = crops.crop(CROP), np.random.default_rng(0)
    for _ in range(count):
        noise = generator.integers(0, 256, (crop.height, crop.width, 3), dtype=np.uint8)
        yield cv2.GaussianBlur(noise, (0, 0), 3)


def _encoded(picture: np.ndarray, ending: str) -> bytes:
    file = io.BytesIO()
    if ending == "png":
        Image.fromarray(picture).save(file, "PNG", compress_level=1)
    else:
        Image.fromarray(picture).save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


if __name__ == "__main__":
    main()
