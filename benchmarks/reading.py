"""Pictures a second from file to aligned face: our safe reading beside OpenCV's and Pillow's bare decoding.

python benchmarks/reading.py                    # 250x250 JPEG files, drawn for the purpose
python benchmarks/reading.py FOLDER --count 500 # the pictures of a folder
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from facebridge import crops, images

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp"}


def main() -> None:
    """Time every way in turns, so that all see the same load, and print the median of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="folder of pictures (default: drawn ones)")
    parser.add_argument("--count", type=int, default=400, help="pictures a run")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or draw(Path(temporary), options.count)
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)[: options.count]
        if not paths:
            parser.error(f"no pictures in {folder}")
        compare(paths, options.repeats)


def compare(paths: list[Path], repeats: int) -> None:
    """Print pictures a second of each way of reading, alignment included."""
    ways: dict[str, Callable[[Iterable[Path]], Iterator[np.ndarray]]] = {
        "facebridge.images.read, 1 thread": lambda some: (images.read(path) for path in some),
        "facebridge.images.read_all, 2 threads": lambda some: images.read_all(some, workers=2),
        "Pillow open + convert, 1 thread": lambda some: map(with_pillow, some),
        "OpenCV imread + RGB, 1 thread": lambda some: map(with_opencv, some),
        "OpenCV imread + RGB, 2 threads": with_opencv_threads,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            for picture in way(paths):
                align(picture)
            seconds[name].append(time.perf_counter() - start)
    size = sum(path.stat().st_size for path in paths) / len(paths) / 1024
    print(f"{len(paths)} pictures of {size:.1f} KiB on average, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for name, values in seconds.items():
        print(f"{len(paths) / statistics.median(values):8,.0f} pictures/s  {name}, and cubic alignment to 112x96")


def align(picture: np.ndarray) -> np.ndarray:
    """Align with points in the middle of the picture."""
    crop = crops.crop("sphereface")
    middle = [(picture.shape[1] - crop.width) / 2, (picture.shape[0] - crop.height) / 2]
    return crops.align(picture, np.asarray(crop.points) * 1.01 + middle, crop)


def with_pillow(path: Path) -> np.ndarray:
    with Image.open(path) as file:
        return np.asarray(file.convert("RGB"))


def with_opencv(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)


def with_opencv_threads(paths: Iterable[Path]) -> Iterator[np.ndarray]:
    with ThreadPoolExecutor(2) as pool:
        yield from pool.map(with_opencv, paths)


def draw(folder: Path, count: int) -> Path:
    """Write smooth noise, which compresses about as photographs do."""
    generator = np.random.default_rng(0)
    for index in range(count):
        noise = generator.integers(0, 256, (250, 250, 3), dtype=np.uint8)
        images.write(folder / f"{index:05}.jpg", cv2.GaussianBlur(noise, (0, 0), 3))
    return folder


if __name__ == "__main__":
    main()
