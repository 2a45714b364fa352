"""Processor time of a step through a frozen MobileFaceNet, as loaded and streamlined, in turn.

python benchmarks/training_step.py --threads 1 --rounds 5
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from facebridge import allocator, recognisers
from facebridge.recogniser import Recogniser
from facebridge.streamline import channels_last, streamline


def main() -> None:
    """Print the median of each variant and its ratio to the first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    allocator.keep_memory()
    torch.manual_seed(0)
    faces = torch.rand(arguments.batch_size, 3, 112, 96)
    variants: dict[str, Callable[[], Recogniser]] = {
        "as loaded": _load,
        "channels last": lambda: channels_last(_load()),
        "streamlined": lambda: _streamlined(_load()),
    }
    loaded = {name: make() for name, make in variants.items()}
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for round_number in range(arguments.rounds + 1):
        for name, recogniser in loaded.items():
            taken = _step(recogniser, faces)
            if round_number:
                seconds[name].append(taken)
    first = statistics.median(seconds["as loaded"])
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"{name:<15} {median:.3f} s of processor time, {first / median:.2f} times as fast as loaded")


def _load() -> Recogniser:
    return recognisers.load("mobile_facenet", height=112, width=96)


def _streamlined(recogniser: Recogniser) -> Recogniser:
    streamline(recogniser)
    return recogniser


def _step(recogniser: Recogniser, faces: torch.Tensor) -> float:
    """Forward in bf16, and backward to the faces."""
    source = faces.clone().requires_grad_()
    started = time.process_time()
    with torch.autocast("cpu", torch.bfloat16):
        loss = recogniser.embed(source)[:, 0].sum()
    loss.backward()
    return time.process_time() - started


if __name__ == "__main__":
    main()
