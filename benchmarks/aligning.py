"""Pictures a second from a face list to a folder of aligned faces, as `facebridge data align` does it.

python benchmarks/aligning.py                                     # 250x250 JPEG files, drawn; landmarks are known
FACEBRIDGE_REAL_DATA=FOLDER python benchmarks/aligning.py         # LFW's photographs, and YuNet too

Each figure is the best of several rounds, taken in turns so that all see the same other work; it includes starting the
processes and writing the list, so give it many pictures. With one worker, all is done in this process: the processor
time for each picture then stands beside it, which says more than the rate on a machine that others use too.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facebridge import crops, images
from facebridge.data import aligning, face_list
from facebridge.data.face_list import FaceList
from facebridge.landmarks import DetectorSettings

CROP = "arcface_112"
DRAWN = 400


def main() -> None:
    """Time every way in turns and print the best of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="rows with known landmarks; files are used again")
    parser.add_argument("--detect", type=int, default=2_000, help="rows whose face YuNet finds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        real = os.environ.get("FACEBRIDGE_REAL_DATA")
        faces = photographs(Path(real)) if real else drawn(Path(temporary) / "drawn")
        known = repeated(faces, options.count)
        ways: dict[str, Callable[[Path], float]] = {}
        for workers in options.workers:
            for ending in ("png", "jpg"):
                name = f"{ending}, workers {workers}"
                ways[f"landmarks known, {name}"] = way(known, ending=ending, workers=workers)
                if real:
                    detector = DetectorSettings("yunet", (Path(real) / "weights" / "yunet_n_320.onnx",))
                    searched = repeated(faces.with_landmarks(None), options.detect)
                    ways[f"YuNet, {name}"] = way(searched, ending=ending, workers=workers, detector=detector)
        compare(ways, options.rounds, Path(temporary) / "out")


def compare(ways: dict[str, Callable[[Path], float]], rounds: int, out: Path) -> None:
    """Print pictures a second, and of one worker the milliseconds of processor time for each picture."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    processor_ms: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, run in ways.items():
            shutil.rmtree(out, ignore_errors=True)
            start, used = time.perf_counter(), time.process_time()
            count = run(out)
            rates[name].append(count / (time.perf_counter() - start))
            processor_ms[name].append((time.process_time() - used) / count * 1000)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, best of {rounds} rounds")
    for name in ways:
        processor = f"  ({min(processor_ms[name]):.2f} ms of processor time)" if name.endswith(" 1") else ""
        print(f"{max(rates[name]):8,.0f} pictures/s  {name}{processor}")


def way(faces: FaceList, **options: Any) -> Callable[[Path], float]:
    """A run of `align` with these options."""

    def run(out: Path) -> float:
        aligning.align(faces, CROP, out, **options)
        return len(faces)

    return run


def photographs(real: Path) -> FaceList:
    """LFW's pictures, with their landmarks."""
    folder = real / "data" / "lfw"
    points = face_list.read_landmarks(folder / "landmarks5.csv")
    paths = sorted(points)
    columns = {"path": paths, "identity": [path.split("/")[0] for path in paths], "domain": ["vis"] * len(paths)}
    return FaceList(folder / "lfw-deepfunneled", columns, np.stack([points[path] for path in paths]))


def drawn(folder: Path) -> FaceList:
    """Smooth noise, which compresses about as photographs do, with points in the middle of the picture."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    paths = [f"{index:05}.jpg" for index in range(DRAWN)]
    for path in paths:
        noise = generator.integers(0, 256, (250, 250, 3), dtype=np.uint8)
        images.write(folder / path, cv2.GaussianBlur(noise, (0, 0), 3))
    points = np.asarray(crops.crop(CROP).points) * 1.01 + 69
    columns = {"path": paths, "identity": paths, "domain": ["vis"] * DRAWN}
    return FaceList(folder, columns, np.tile(points, (DRAWN, 1, 1)))


def repeated(faces: FaceList, count: int) -> FaceList:
    """So many rows, from the beginning again where the list ends."""
    return faces.take(np.arange(count) % len(faces))


if __name__ == "__main__":
    main()
