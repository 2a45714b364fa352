"""Displacement fields of 68 landmarks a second: ours beside the formula written down as it stands, and the error.

    python benchmarks/warp.py                      # about two minutes
    python benchmarks/warp.py --sizes 144 --rounds 20

All ways run in turns, so that all see the same load; the fastest round of each counts. Processor time is that of the
fastest round too, all threads together: other work on the machine moves it less than it moves the clock.
"""

import argparse
import os
import time
from collections.abc import Callable

import torch
from torch import Tensor

from facebridge import warp

NUM_POINTS, FACES, NAIVE_FACES = 68, 32, 2
SIZES = (128, 144, 256)


def main() -> None:
    """Print one table for each size, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, nargs="+", default=(1, 2))
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {FACES} faces a call")
    for size in options.sizes:
        compare(size, options.rounds, options.threads)


def compare(size: int, rounds: int, threads: list[int]) -> None:
    source, target = landmarks(size)
    faces = torch.rand(FACES, 3, size, size)
    warper = warp.Warper(size, size, cache_megabytes=1000)
    same = target[:1].expand_as(target)
    ways: dict[str, tuple[int, Callable[[], Tensor]]] = {
        "the formula, broadcast": (NAIVE_FACES, lambda: broadcast(source[:NAIVE_FACES], target[:NAIVE_FACES], size)),
        "displacement": (FACES, lambda: warp.displacement(source, target, size, size)),
        "displacement, exponent 3": (FACES, lambda: warp.displacement(source, target, size, size, exponent=3.0)),
        "displacement, reach 60 px": (FACES, lambda: warp.displacement(source, target, size, size, reach_px=60.0)),
        "displacement and picture": (FACES, lambda: warp.warp(faces, source, target)),
        "kept weights, every target another": (FACES, lambda: warper.displacement(source, target)),
        "kept weights, one target": (FACES, lambda: warper.displacement(source, same)),
    }
    best: dict[tuple[str, int], tuple[float, float]] = {}
    for _ in range(rounds):
        for num_threads in threads:
            torch.set_num_threads(num_threads)
            for name, (count, way) in ways.items():
                found = seconds(way, count)
                best[name, num_threads] = min(found, best.get((name, num_threads), found))
    print(f"\n{size}x{size}\n| way | threads | a second | ms of processor time each |\n|---|---|---|---|")
    for (name, num_threads), (wall, processor) in best.items():
        print(f"| {name} | {num_threads} | {1 / wall:,.0f} | {1000 * processor:.2f} |", flush=True)
    exact = broadcast(source[:NAIVE_FACES].double(), target[:NAIVE_FACES].double(), size)
    error = (warp.displacement(source[:NAIVE_FACES], target[:NAIVE_FACES], size, size) - exact).abs().max()
    print(f"largest error of float32 against float64: {error:.1e} px")


def seconds(way: Callable[[], Tensor], count: int) -> tuple[float, float]:
    """Seconds by the clock and of processor time for each face."""
    wall, processor = time.perf_counter(), time.process_time()
    way()
    return (time.perf_counter() - wall) / count, (time.process_time() - processor) / count


def landmarks(size: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    target = size * (0.15 + 0.7 * torch.rand(FACES, NUM_POINTS, 2, generator=draw))
    return target + 0.05 * size * torch.randn(target.shape, generator=draw), target


def broadcast(source: Tensor, target: Tensor, size: int) -> Tensor:
    """The formula as it stands, on (B, H, W, N, 2), with the eight points of the border."""
    ends = torch.tensor([0, (size - 1) / 2, size - 1], dtype=target.dtype)
    border = torch.cartesian_prod(ends, ends)[[0, 1, 2, 3, 5, 6, 7, 8]].expand(len(target), -1, -1)
    source, target = torch.cat([source, border], dim=1), torch.cat([target, border], dim=1)
    steps = torch.arange(size, dtype=target.dtype)
    pixels = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1)
    squares = (pixels[:, :, None] - target[:, None, None]).square().sum(dim=-1)
    weights = 1 / (squares + warp.SOFTENING_PX**2)
    sums = (weights[..., None] * (source - target)[:, None, None]).sum(dim=3)
    return (sums / weights.sum(dim=3, keepdim=True)).movedim(-1, 1)


if __name__ == "__main__":
    main()
