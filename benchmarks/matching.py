"""Time and memory of matching: from scores, from embeddings, and at 1e10 pairs.

    python benchmarks/matching.py                        # a few minutes; needs scikit-learn
    python benchmarks/matching.py --faces 100000         # one run of `match` at 100,000 x 100,000

Each line is measured in a process of its own, so that its peak memory is its own; "above" is what it took beyond its
inputs. Nothing else should run on the machine.
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from threading import Event, Thread

import numpy as np

from facebridge.evaluation import genuine_pairs, lfw_accuracy, match, scores, verification

FAR = (1e-3, 1e-4)
PICTURES_PER_IDENTITY = 5
EMBEDDING_SIZE = 256


def embeddings(num_probes: int, num_gallery: int) -> tuple[np.ndarray, ...]:
    """Probe and gallery embeddings around shared centres, and the identities of both."""
    random = np.random.default_rng(0)
    num_identities = max(1, num_gallery // PICTURES_PER_IDENTITY)
    ids = random.integers(0, num_identities, num_probes), np.arange(num_gallery) % num_identities
    centres = random.standard_normal((num_identities, EMBEDDING_SIZE), dtype=np.float32)
    sides = []
    for side in ids:
        faces = random.standard_normal((len(side), EMBEDDING_SIZE), dtype=np.float32)
        faces *= 1.4
        for start in range(0, len(side), 4096):
            faces[start : start + 4096] += centres[side[start : start + 4096]]
        sides.append(faces)
    return (*sides, *ids)


def scored_pairs(count: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    genuine = random.random(count) < 1 / 400
    values = random.standard_normal(count, dtype=np.float32)
    values += 4 * genuine
    return values, genuine


def with_scikit_learn(values: np.ndarray, genuine: np.ndarray) -> list[float]:
    from sklearn.metrics import roc_curve

    false_accept_rate, true_accept_rate, _ = roc_curve(genuine.ravel(), values.ravel(), drop_intermediate=False)
    return [float(true_accept_rate[np.flatnonzero(false_accept_rate <= far)[-1]]) for far in FAR]


def rates(values: np.ndarray, genuine: np.ndarray) -> list[float | None]:
    return [point.true_accept_rate for point in verification(values, genuine, FAR).points]


def streamed(probe: np.ndarray, gallery: np.ndarray, probe_ids: np.ndarray, gallery_ids: np.ndarray) -> list[object]:
    result = match(probe, gallery, probe_ids, gallery_ids, FAR)
    return [*(point.true_accept_rate for point in result.verification.points), result.identification.rank1]


def dense(probe: np.ndarray, gallery: np.ndarray, probe_ids: np.ndarray, gallery_ids: np.ndarray) -> list[float | None]:
    return rates(scores(probe, gallery), genuine_pairs(probe_ids, gallery_ids))


def dense_scikit_learn(
    probe: np.ndarray, gallery: np.ndarray, probe_ids: np.ndarray, gallery_ids: np.ndarray
) -> list[float]:
    return with_scikit_learn(scores(probe, gallery), genuine_pairs(probe_ids, gallery_ids))


def lfw(values: np.ndarray, genuine: np.ndarray) -> list[float]:
    return [lfw_accuracy(values, genuine).accuracy]


CASES: dict[str, tuple[Callable[..., object], Callable[..., tuple[np.ndarray, ...]], tuple[int, ...], int]] = {
    # name: what is timed, what makes its inputs, with which sizes, how often (the fastest counts)
    "scores 1.5e7, scikit-learn": (with_scikit_learn, scored_pairs, (15_000_000,), 1),
    "scores 1.5e7, verification": (rates, scored_pairs, (15_000_000,), 5),
    "LFW 6,000 pairs, lfw_accuracy": (lfw, scored_pairs, (6_000,), 5),
    "6,000 x 2,500, scikit-learn": (dense_scikit_learn, embeddings, (6_000, 2_500), 1),
    "6,000 x 2,500, dense": (dense, embeddings, (6_000, 2_500), 3),
    "6,000 x 2,500, match": (streamed, embeddings, (6_000, 2_500), 3),
    "20,000 x 20,000, match": (streamed, embeddings, (20_000, 20_000), 1),
    "100,000 x 100,000, match": (streamed, embeddings, (100_000, 100_000), 1),
}


class PeakMemory:
    """Highest resident memory while the block runs, above what there was before, in MB; sampled every 5 ms."""

    def __enter__(self) -> "PeakMemory":
        self._stop, self._before, self.megabytes = Event(), resident_megabytes(), 0.0
        self._thread = Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self.megabytes = max(self.megabytes, resident_megabytes() - self._before)


def resident_megabytes() -> float:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


def measure(name: str) -> None:
    task, make_inputs, sizes, repeats = CASES[name]
    inputs = make_inputs(*sizes)
    seconds = []
    with PeakMemory() as peak:
        for _ in range(repeats):
            start = time.perf_counter()
            answer = task(*inputs)
            seconds.append(time.perf_counter() - start)
    num_pairs = len(inputs[0]) * (len(inputs[1]) if inputs[0].ndim == 2 else 1)
    best = min(seconds)
    print(f"| {name} | {best:.4f} | {num_pairs / best:.3g} | {peak.megabytes:.0f} | {answer} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, choices=[20_000, 100_000], help="only `match` of so many faces a side")
    parser.add_argument("--case", choices=list(CASES), help="only this line, in this process")
    arguments = parser.parse_args()
    if arguments.case:
        measure(arguments.case)
        return
    if arguments.faces:
        wanted = [name for name in CASES if name.startswith(f"{arguments.faces:,} x")]
    else:
        wanted = [name for name in CASES if not name.startswith("100,000")]
    print(f"| case | s | pairs/s | MB above | true accept rates at {FAR}, rank-1 |\n|---|---|---|---|---|", flush=True)
    for name in wanted:
        subprocess.run([sys.executable, __file__, "--case", name], check=True)


if __name__ == "__main__":
    main()
