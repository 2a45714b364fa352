"""Figures as tables: rows are methods, columns are conditions, and every cell says how sure it is."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from string import ascii_lowercase

from facebridge.evaluation.result import METRICS, Evaluation, Figure, Metric, Row
from facebridge.report.verdict import (
    headline_metrics,
    interval_text,
    is_baseline,
    label,
    ordered,
    value_text,
    winner,
)

_LOW_CONFIDENCE = "low confidence: the figure rests on few cases"


@dataclass(frozen=True)
class Cell:
    """One figure as text; `note` is the mark of the note that explains it, or empty; `count` says of how many it is."""

    value: str
    interval: str = ""
    note: str = ""
    is_measured: bool = True
    is_emphasised: bool = False
    count: str = ""


@dataclass(frozen=True)
class Line:
    """One row of a table."""

    method: str
    score_kind: str
    is_baseline: bool
    cells: list[Cell]
    evaluation: str = ""


@dataclass(frozen=True)
class Table:
    """`groups` are the columns, as (metric, conditions); `notes` maps a mark to what it means."""

    name: str
    caption: str
    groups: list[tuple[Metric, list[str]]]
    lines: list[Line]
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def has_emphasis(self) -> bool:
        return any(cell.is_emphasised for line in self.lines for cell in line.cells)


def figure_table(evaluation: Evaluation, metric_names: Sequence[str], name: str) -> Table:
    """Every method and kind of score at every condition of one evaluation that has one of the metrics."""
    metrics = [METRICS[metric] for metric in metric_names]
    rows = [row for row in ordered(evaluation.rows) if any(metric in row.figures for metric in metric_names)]
    groups = [(metric, _conditions(evaluation, metric)) for metric in metrics]
    notes = Notes()
    lines = _lines(evaluation, rows, groups, notes)
    return Table(name, " and ".join(metric.label for metric in metrics), groups, lines, notes.texts)


def common_tables(evaluations: Sequence[Evaluation]) -> list[Table]:
    """One table for each headline metric that several evaluations share, with the conditions that they share."""
    names = [name for name in METRICS if sum(name in headline_metrics(one.rows) for one in evaluations) > 1]
    tables = [_common(evaluations, METRICS[name], f"common-{number}") for number, name in enumerate(names, 1)]
    return [table for table in tables if table.groups[0][1]]


def _common(evaluations: Sequence[Evaluation], metric: Metric, name: str) -> Table:
    counted = [condition for one in evaluations for condition in _conditions(one, metric)]
    shared = [condition for condition in dict.fromkeys(counted) if counted.count(condition) > 1]
    groups, notes, lines = [(metric, shared)], Notes(), []
    for evaluation in evaluations:
        rows = [row for row in ordered(evaluation.rows) if row.condition in shared and metric.name in row.figures]
        lines += _lines(evaluation, rows, groups, notes)
    return Table(name, f"{metric.label}, all evaluations", groups, lines, notes.texts)


def _conditions(evaluation: Evaluation, metric: Metric) -> list[str]:
    return [
        condition
        for condition in evaluation.conditions
        if any(row.condition == condition and metric.name in row.figures for row in evaluation.rows)
    ]


def _lines(
    evaluation: Evaluation, rows: Sequence[Row], groups: Sequence[tuple[Metric, list[str]]], notes: "Notes"
) -> list[Line]:
    columns = [(metric, condition) for metric, conditions in groups for condition in conditions]
    winners = [winner([row for row in evaluation.rows if row.condition == c], metric) for metric, c in columns]
    first = {(row.method, row.score_kind): row for row in reversed(rows)}
    lines = []
    for method, kind in dict.fromkeys((row.method, row.score_kind) for row in rows):
        cells = []
        for (metric, condition), best in zip(columns, winners, strict=True):
            row = evaluation.row(method, condition, kind)
            figure = row.figures.get(metric.name) if row else None
            cells.append(_cell(figure, metric, notes, is_emphasised=row is not None and row is best))
        lines.append(Line(label(method), kind, is_baseline(first[method, kind]), cells, evaluation.title))
    return lines


def _cell(figure: Figure | None, metric: Metric, notes: "Notes", is_emphasised: bool) -> Cell:
    if figure is None:
        return Cell("not run", is_measured=False)
    if figure.value is None:
        return Cell("not measurable", note=notes.mark(figure.reason), is_measured=False)
    return Cell(value_text(figure, metric), interval_text(figure, metric), notes.doubt(figure), True, is_emphasised)


class Notes:
    """Marks a, b, c ... for the different texts of one table."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def doubt(self, figure: Figure) -> str:
        """The mark of what has to be said of a measured figure; empty if nothing has."""
        if figure.low_confidence:
            return self.mark(f"{_LOW_CONFIDENCE} ({figure.reason})" if figure.reason else _LOW_CONFIDENCE)
        return self.mark(figure.reason) if figure.reason else ""

    def mark(self, text: str) -> str:
        """The mark of a text."""
        for mark, known in self.texts.items():
            if known == text:
                return mark
        place = len(self.texts)
        mark = ascii_lowercase[place % 26] * (place // 26 + 1)
        self.texts[mark] = text
        return mark
