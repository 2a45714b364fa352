"""One figure from the folds of a protocol: the mean and the standard deviation, as the papers give them."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from facebridge.evaluation.folds import over_folds
from facebridge.evaluation.result import METRICS, Evaluation

FILE_NAME = "folds.csv"
HEADER = ("method", "condition", "score_kind", "metric", "mean", "std", "folds", "folds_not_measurable")


@dataclass(frozen=True)
class OverProtocols:
    """A figure over folds. std: population standard deviation. not_measurable: folds that have no such figure."""

    method: str
    condition: str
    score_kind: str
    metric: str
    mean: float
    std: float
    folds: int
    not_measurable: int

    def __str__(self) -> str:
        metric = METRICS[self.metric]
        scale, unit = (100, " %") if metric.as_percent else (1, f" {metric.unit}" if metric.unit else "")
        kind = "" if self.score_kind != "fused" else " (fused)"
        value = f"{scale * self.mean:.2f} +- {scale * self.std:.2f}{unit}"
        left_out = f", {self.not_measurable} not measurable" if self.not_measurable else ""
        return (
            f"{self.condition:>10}  {self.method + kind:<32}  {metric.label} {value} over {self.folds} folds{left_out}"
        )


def over_protocols(evaluations: Sequence[Evaluation]) -> list[OverProtocols]:
    """Every figure that at least one fold has, in the order of the first evaluation's rows.

    Raises:
        ValueError: if there are fewer than two evaluations, or they have different rows.
    """
    if len(evaluations) < 2:
        raise ValueError(f"a figure over folds needs at least two of them; there are {len(evaluations)}")
    keys = [[(row.method, row.condition, row.score_kind) for row in each.rows] for each in evaluations]
    for evaluation, found in zip(evaluations, keys, strict=True):
        if found != keys[0]:
            raise ValueError(f"{evaluation.title}: has other rows than {evaluations[0].title}")
    gathered = []
    for place, key in enumerate(keys[0]):
        rows = [each.rows[place] for each in evaluations]
        for metric in dict.fromkeys(name for row in rows for name in row.figures):
            figures = [row.figures.get(metric) for row in rows]
            values = [figure.value for figure in figures if figure is not None and figure.value is not None]
            if values:
                absent = len(figures) - len(values)
                gathered.append(OverProtocols(*key, metric, *over_folds(values), len(values), absent))
    return gathered


def write(figures: Sequence[OverProtocols], folder: Path) -> Path:
    """Write `folder`/folds.csv and return its path."""
    path, unfinished = folder / FILE_NAME, folder / (FILE_NAME + ".unfinished")
    with unfinished.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for each in figures:
            key = (each.method, each.condition, each.score_kind, each.metric)
            writer.writerow([*key, repr(each.mean), repr(each.std), each.folds, each.not_measurable])
    unfinished.replace(path)
    return path
