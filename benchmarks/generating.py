"""Faces a second of the whole verb `generate` beside its bare network on ready tensors, in turn.

python benchmarks/generating.py --threads 1 --rounds 1 --batch 8
python benchmarks/generating.py --device cuda --count 2000 --batch 64
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from facebridge import allocator, crops, generating, images, making, methods, recipe, runs, weights
from facebridge.data.face_list import FaceList
from facebridge.hallucination import hallucinate

CROP = crops.crop("ffe")


def main() -> None:
    """Print the median of both and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=32, help="photographs of 400x400 px")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the network")
    parser.add_argument("--workers", type=int, help="threads that read, and as many that write")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--blocks", type=int, default=32, help="residual blocks of the network (an EDSR)")
    parser.add_argument("--filters", type=int, default=128)
    parser.add_argument("--paste-back", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    allocator.keep_memory()
    with tempfile.TemporaryDirectory() as temporary:
        compare(Path(temporary), options)


def compare(folder: Path, options: argparse.Namespace) -> None:
    """Time the network, then the verb, and again."""
    run, faces = make_run(folder / "run", options.blocks, options.filters), draw(folder / "in", options.count)
    device = making.as_device(options.device)
    method = runs.load_hallucination(run).to(device)
    height, width = method.source_sizes()[0]
    batches = torch.rand(options.count, 3, height, width).to(device).split(options.batch)
    hallucinate(method, batches[0])
    ways = ("bare network", "facebridge generate")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(options.rounds):
        start, started = time.perf_counter(), time.process_time()
        for batch in batches:
            made = hallucinate(method, batch)
        made.sum().item()
        seconds[ways[0]].append(time.perf_counter() - start)
        processor[ways[0]].append(time.process_time() - started)
        start, started = time.perf_counter(), time.process_time()
        out = folder / f"out{number}"
        settings = {"device": options.device, "batch_size": options.batch, "paste_back": options.paste_back}
        done = generating.generate(run, faces, out, (height, width), workers=options.workers, **settings)
        seconds[ways[1]].append(time.perf_counter() - start)
        processor[ways[1]].append(time.process_time() - started)
        assert done.count == options.count
        shutil.rmtree(out)
    print(f"{options.count} faces, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {options.threads} threads")
    for name, values in seconds.items():
        processor_ms = 1000 * statistics.median(processor[name]) / options.count
        print(f"{options.count / statistics.median(values):8.2f} faces/s  {name}, {processor_ms:.1f} ms of CPU a face")
    ratios = [bare / whole for bare, whole in zip(*seconds.values(), strict=True)]
    shown = ", ".join(f"{ratio:.1%}" for ratio in ratios)
    print(f"{statistics.median(ratios):8.1%} of the bare network's speed (rounds: {shown})")


def make_run(folder: Path, num_blocks: int, num_filters: int) -> Path:
    """A run that was never trained, of a network of some weight: 64x64 to 256x256 px."""
    settings = {"num_blocks": num_blocks, "num_filters": num_filters, "identity_weight": 0, "reductions": [4]}
    table = {"method": "edsr_identity", "crop": CROP.name, "settings": settings, "data": {"kind": "synthetic"}}
    run = runs.create(folder, recipe.resolve({**table, "training": {"steps": 1, "batch_size": 1}}, "a benchmark"))
    method = methods.load("edsr_identity")(run.recipe.config(), CROP)
    weights.write(run.weights, method.state_dict(), {"method": "edsr_identity"})
    return folder


def draw(folder: Path, count: int) -> FaceList:
    """Smooth noise as JPEG, which compresses about as photographs do, with the points of a face."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    names = [f"{number:06}.jpg" for number in range(count)]
    for name in names:
        noise = generator.integers(0, 256, (400, 400, 3), np.uint8)
        images.write(folder / name, cv2.GaussianBlur(noise, (0, 0), 3))
    points = np.tile(np.array(CROP.points, np.float32) * 1.1 + 40, (count, 1, 1))
    return FaceList(folder, {"path": names, "identity": names, "domain": ["vis"] * count}, points)


if __name__ == "__main__":
    main()
