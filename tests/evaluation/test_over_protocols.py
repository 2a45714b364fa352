"""Figures over folds: the mean and spread of each, and what is missing is counted."""

import csv
import statistics
from pathlib import Path

import pytest

from facebridge.evaluation.over_protocols import over_protocols, write
from facebridge.evaluation.result import Evaluation, Figure, Row


def fold(title: str, *values: float | None) -> Evaluation:
    """One row a value, by rank-1."""
    rows = [
        Row(
            f"way {place}",
            "full size",
            "original",
            {"rank1": Figure(value, reason="" if value is not None else "none")},
        )
        for place, value in enumerate(values)
    ]
    return Evaluation(title, {}, ["full size"], rows)


def test_mean_and_population_deviation_are_those_of_the_statistics_module() -> None:
    values = [0.5, 0.75, 1.0, 0.25]
    (found,) = over_protocols([fold(f"{place}", value) for place, value in enumerate(values)])
    assert found.mean == pytest.approx(statistics.fmean(values))
    assert found.std == pytest.approx(statistics.pstdev(values))
    assert (found.folds, found.not_measurable) == (4, 0)
    assert str(found).endswith("Rank-1 62.50 +- 27.95 % over 4 folds")


def test_folds_without_the_figure_are_counted_and_not_taken_for_zero() -> None:
    (found,) = over_protocols([fold("a", 0.5), fold("b", None), fold("c", 0.7)])
    assert found.mean == pytest.approx(0.6)
    assert (found.folds, found.not_measurable) == (2, 1)
    assert "1 not measurable" in str(found)


def test_figure_that_no_fold_has_is_left_out() -> None:
    assert over_protocols([fold("a", None), fold("b", None)]) == []


def test_folds_with_other_rows_are_not_averaged() -> None:
    with pytest.raises(ValueError, match="b: has other rows than a"):
        over_protocols([fold("a", 0.5), fold("b", 0.5, 0.5)])


def test_one_fold_is_not_enough() -> None:
    with pytest.raises(ValueError, match="at least two"):
        over_protocols([fold("a", 0.5)])


def test_file_holds_every_digit(tmp_path: Path) -> None:
    figures = over_protocols([fold("a", 0.1, 0.4), fold("b", 0.2, 0.8)])
    with write(figures, tmp_path).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["mean"]) for row in rows] == [each.mean for each in figures]
    assert [row["method"] for row in rows] == ["way 0", "way 1"]
