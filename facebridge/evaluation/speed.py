"""How fast an evaluation went."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from facebridge.evaluation.comparison import Comparison
from facebridge.evaluation.ways import Judge

MATCHING_RUNS = 6
"""How often the probes are matched once more, to tell how fast."""


@dataclass
class Clock:
    """Seconds that parts of the work took, and what was done in them; the first of each part warms up."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    counts: dict[str, list[int]] = field(default_factory=dict)

    @contextmanager
    def of(self, part: str, count: int) -> Iterator[None]:
        """Time what is done inside; count: faces or pairs."""
        start = perf_counter()
        yield
        self.seconds.setdefault(part, []).append(perf_counter() - start)
        self.counts.setdefault(part, []).append(count)

    def time_matching(self, comparison: Comparison, probe: NDArray[np.float32], gallery: NDArray[np.float32]) -> None:
        """Match the probes some times more."""
        for _ in range(MATCHING_RUNS):
            with self.of("matching", len(comparison.compared.genuine)):
                comparison.scores(probe, gallery)

    def speed(self, judge: Judge) -> dict[str, str | int | float]:
        """What an evaluation keeps of it: rates a second, of the judge."""
        reading, embedding, matched = (self._seconds_each(part) for part in ("reading", "embedding", "matching"))
        return {
            "recogniser": judge.recogniser.name,
            "mirror": judge.mirror,
            "threads": judge.threads,
            "faces_embedded_per_sec": _rounded(1 / embedding),
            "faces_read_aligned_and_embedded_per_sec": _rounded(1 / (reading + embedding)),
            "pairs_matched_per_sec": _rounded(1 / matched),
        }

    def _seconds_each(self, part: str) -> float:
        first = 1 if len(self.counts[part]) > 1 else 0
        return sum(self.seconds[part][first:]) / sum(self.counts[part][first:])


def _rounded(rate: float) -> float:
    """To three digits: more would be noise."""
    return float(f"{rate:.3g}")
