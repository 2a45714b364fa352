"""Rates by group as dots with their intervals."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from facebridge.evaluation.result import Figure, Metric, Row
from facebridge.report.svg import MUTED, RULE, Plot, curve, detail, percent, stand_in, svg

_WIDTH_IN, _MARGINS_IN = 2.9, (0.95, 0.14, 0.42, 0.06)
_STEP_IN, _GAP_IN = 0.15, 0.1
"""Between the dots of a group, and between two groups."""
_MAX_NAME = 18
"""Letters of a group's name that fit beside a plot."""


def group_plot(
    metric: Metric, condition: str, rows: Sequence[Row], column: int, methods: Sequence[str], name: str
) -> Plot:
    """A rate of each group with its interval, group by group from top to bottom, a dot for each row.

    column: which of the rows' `groups`. The line is the false accept rate at which the threshold was set.
    """
    rows = [row for row in rows if len(row.groups) > column]
    names = [group.name for group in rows[0].groups[column].groups]
    band_in = _STEP_IN * len(rows) + _GAP_IN
    size_in = (_WIDTH_IN, band_in * len(names) + _MARGINS_IN[2] + _MARGINS_IN[3])

    def draw(axes: Axes) -> None:
        if metric.name == "false_accept_rate":
            axes.axvline(rows[0].groups[column].false_accept_rate, color=MUTED, linewidth=0.8, clip_on=False)
        for number, row in enumerate(rows):
            for place, group in enumerate(row.groups[column].groups):
                aside = (number - (len(rows) - 1) / 2) * _STEP_IN / band_in
                _dot(axes, row, methods, group.figures[metric.name], place + aside)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_yticks(range(len(names)), [_shortened(name) for name in names])
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlim(0)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: percent(x) if x else "0 %"))
        axes.grid(axis="x", color=RULE, linewidth=0.5)
        axes.set_xlabel(metric.label.lower(), color=MUTED, labelpad=2)

    words = detail(f"{metric.label} by {rows[0].groups[column].column}", condition, rows)
    return Plot(condition, "", words, svg(draw, name, size_in, _MARGINS_IN))


def _dot(axes: Axes, row: Row, methods: Sequence[str], figure: Figure, y: float) -> None:
    """One figure and its interval; nothing where it is not measurable."""
    if figure.value is None:
        return
    colour = stand_in(row.method, methods)
    if figure.low is not None and figure.high is not None:
        curve(axes, row, methods, [figure.low, figure.high], [y, y])
        axes.plot([figure.low, figure.high], [y, y], "|", color=colour, markersize=5, clip_on=False)
    axes.plot([figure.value], [y], "o", color=colour, markersize=3.6, markeredgewidth=0, clip_on=False)


def _shortened(name: str) -> str:
    return name if len(name) <= _MAX_NAME else name[: _MAX_NAME - 1] + "\N{HORIZONTAL ELLIPSIS}"
