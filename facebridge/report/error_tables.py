"""Tables of the errors at a threshold: of every row, and of the groups of people or pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import floor, log10

from facebridge.evaluation.result import (
    GROUP_METRICS,
    Evaluation,
    Figure,
    GroupFigures,
    Row,
    Threshold,
    true_accept_rate_name,
)
from facebridge.report.tables import Cell, Notes
from facebridge.report.verdict import label, ordered

_NO_UPPER_LIMIT = "no upper limit"


@dataclass(frozen=True)
class Block:
    """The lines of one row of an evaluation; the first cell of a line is its heading."""

    method: str
    score_kind: str
    condition: str
    lines: list[list[Cell]]


@dataclass(frozen=True)
class ErrorTable:
    """Blocks under the same columns; `notes` maps a mark to what it means."""

    name: str
    caption: str
    columns: list[str]
    blocks: list[Block]
    notes: dict[str, str] = field(default_factory=dict)


def threshold_table(evaluation: Evaluation, name: str) -> ErrorTable:
    """The thresholds of every row, with what they let through."""
    notes = Notes()
    blocks = [
        _block(row, [_threshold_line(row, each, notes) for each in row.thresholds])
        for row in ordered(evaluation.rows)
        if row.thresholds
    ]
    columns = ["FAR asked for", "FAR reached", "threshold", "true accept rate", "false accepts"]
    return ErrorTable(name, "Operating points", columns, blocks, notes.texts)


def ratio_table(rows: Sequence[Row], column: int, name: str) -> ErrorTable:
    """How far the groups of a column are apart, for each row. column: which of the rows' `groups`."""
    notes = Notes()
    blocks = []
    for row in rows:
        groups = row.groups[column]
        ratios = (groups.largest_ratio, groups.ratio_to_mean)
        cells = [_ratio_cell(ratio[kind], notes) for kind in groups.largest_ratio for ratio in ratios]
        blocks.append(_block(row, [cells]))
    kinds = [GROUP_METRICS[kind].label.lower() for kind in rows[0].groups[column].largest_ratio]
    columns = [f"{kind}, {ratio}" for kind in kinds for ratio in ("largest : smallest", "largest : mean")]
    return ErrorTable(name, "How far the groups are apart", columns, blocks, notes.texts)


def group_table(rows: Sequence[Row], column: int, name: str) -> ErrorTable:
    """The figures of every group of a column, for each row. column: which of the rows' `groups`."""
    notes = Notes()
    metrics = [
        metric
        for metric in GROUP_METRICS.values()
        if any(metric.name in group.figures for row in rows for group in row.groups[column].groups)
    ]
    blocks = [
        _block(
            row,
            [
                [Cell(group.name), Cell(f"{group.num_people:,}")]
                + [_rate_cell(group, metric.name, notes) for metric in metrics]
                for group in row.groups[column].groups
            ],
        )
        for row in rows
    ]
    columns = ["group", "people", *(metric.label.lower() for metric in metrics)]
    return ErrorTable(name, "Figures of each group", columns, blocks, notes.texts)


def rate_text(share: float) -> str:
    """A share in percent: one decimal, and for small ones two digits that count."""
    if share == 0:
        return "0"
    decimals = max(1, 1 - floor(log10(100 * share)))
    return f"{100 * share:.{decimals}f}"


def _block(row: Row, lines: list[list[Cell]]) -> Block:
    return Block(label(row.method), row.score_kind, row.condition, lines)


def _threshold_line(row: Row, at: Threshold, notes: Notes) -> list[Cell]:
    asked = Cell(f"{100 * at.false_accept_rate:g}\N{NO-BREAK SPACE}%")
    if at.score.value is None or at.reached is None:
        return [asked, *[_absent(at.score, notes)] * 4]
    rate = row.figures.get(true_accept_rate_name(at.false_accept_rate))
    accepted = Cell("not given", is_measured=False) if rate is None else _share_cell(rate, notes)
    score = Cell(_score_text(at.score.value), _interval(at.score, _score_text), notes.doubt(at.score))
    count = Cell(f"{at.num_false_accepts:,}", count=f"of {at.num_impostors:,}")
    return [asked, Cell(_percent(at.reached)), score, accepted, count]


def _rate_cell(group: GroupFigures, name: str, notes: Notes) -> Cell:
    if name not in group.figures:
        return Cell("not run", is_measured=False)
    totals = {"false_reject_rate": group.num_genuine, "false_accept_rate": group.num_impostors}
    figure = group.figures[name]
    if name not in totals or figure.value is None:
        return _share_cell(figure, notes)
    return _share_cell(figure, notes, f"{round(figure.value * totals[name]):,} of {totals[name]:,}")


def _share_cell(figure: Figure, notes: Notes, count: str = "") -> Cell:
    if figure.value is None:
        return _absent(figure, notes)
    return Cell(_percent(figure.value), _interval(figure, rate_text), notes.doubt(figure), count=count)


def _ratio_cell(figure: Figure, notes: Notes) -> Cell:
    if figure.value is None:
        return _absent(figure, notes)
    high = _NO_UPPER_LIMIT if figure.high is None else f"{figure.high:.2f}"
    interval = "" if figure.low is None else f"[{figure.low:.2f},\N{NO-BREAK SPACE}{high}]"
    return Cell(f"{figure.value:.2f}", interval, notes.doubt(figure))


def _absent(figure: Figure, notes: Notes) -> Cell:
    return Cell("not measurable", note=notes.mark(figure.reason), is_measured=False)


def _interval(figure: Figure, text: Callable[[float], str]) -> str:
    if figure.low is None or figure.high is None:
        return ""
    return f"[{text(figure.low)},\N{NO-BREAK SPACE}{text(figure.high)}]"


def _percent(share: float) -> str:
    return f"{rate_text(share)}\N{NO-BREAK SPACE}%"


def _score_text(score: float) -> str:
    return f"{score:.3f}".replace("-", "\N{MINUS SIGN}")
