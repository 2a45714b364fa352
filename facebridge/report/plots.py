"""Curves and histograms; see `facebridge.report.svg` for how they become part of the page."""

from collections.abc import Sequence
from math import ceil, floor, log10
from statistics import NormalDist

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from facebridge.evaluation.result import Row
from facebridge.report.svg import GENUINE, IMPOSTOR, MUTED, RULE, Plot, curve, detail, percent, svg
from facebridge.report.verdict import label

_CURVE_SIZE_IN, _HISTOGRAM_SIZE_IN = (2.9, 2.35), (2.6, 1.3)
_CURVE_MARGINS_IN, _HISTOGRAM_MARGINS_IN = (0.42, 0.14, 0.42, 0.26), (0.06, 0.06, 0.42, 0.08)
"""Left, right, bottom, top."""
_MAX_RANK = 50
_MIN_FALSE_ACCEPT_RATE = 1e-9
_MAX_DECADES = 4
_ROOM = 0.6
"""The end of the axis and the tick before it are at least this share of a step apart."""
_DET_END = 0.5
_DET_TICKS = (0.1, 0.01, 0.001, 0.0001, 0.5, 0.9, 0.00001, 0.99, 0.000001, 0.3, 0.03, 0.7, 0.97)
"""From the most to the least wanted: one that would stand too near to another is left out."""


def roc_plot(condition: str, rows: Sequence[Row], methods: Sequence[str], name: str) -> Plot:
    """True accept rate over false accept rate; the logarithmic axis ends at the smallest rate that was measured."""
    rows = [row for row in rows if row.curve_roc]
    smallest = min((far for row in rows for far, _ in row.curve_roc if far > _MIN_FALSE_ACCEPT_RATE), default=0.1)
    smallest = min(smallest, 0.1)

    def draw(axes: Axes) -> None:
        axes.set_xscale("log")
        chance = np.geomspace(smallest, 1, 60)
        axes.plot(chance, chance, color=RULE, linewidth=1)
        for row in rows:
            far, tar = np.array(row.curve_roc, dtype=float).T
            inside = far >= smallest
            start = tar[far <= smallest].max(initial=0)
            curve(axes, row, methods, [smallest, *far[inside]], [start, *tar[inside]], drawstyle="steps-post")
        axes.set_xlim(smallest, 1)
        axes.set_xticks(_decades(smallest))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: percent(x)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        _share_axis(axes, "true accept rate", "false accept rate")

    return Plot(condition, "", detail("ROC", condition, rows), svg(draw, name, _CURVE_SIZE_IN, _CURVE_MARGINS_IN))


def det_plot(condition: str, rows: Sequence[Row], methods: Sequence[str], name: str) -> Plot:
    """False reject rate over false accept rate, as normal deviates: normally distributed scores give straight lines.

    The axes end at the smallest rates above zero that were measured.
    """
    rows = [row for row in rows if row.curve_roc]
    measured = np.array([point for row in rows for point in row.curve_roc], dtype=float)
    accepts, rejects = measured[:, 0], 1 - measured[:, 1]
    smallest = min([0.1, *accepts[accepts > _MIN_FALSE_ACCEPT_RATE].tolist()])
    shown = rejects[(accepts >= smallest) & (accepts <= _DET_END) & (rejects > 0) & (rejects < 1)]
    low, high = min([0.1, *shown.tolist()]), max([_DET_END, *shown.tolist()])

    def draw(axes: Axes) -> None:
        equal = [_deviate(max(smallest, low)), _deviate(_DET_END)]
        axes.plot(equal, equal, color=RULE, linewidth=1)
        for row in rows:
            x, y = _det_curve(row, smallest)
            inside = [min(max(reject, low), high) for reject in y]
            curve(axes, row, methods, [*map(_deviate, x)], [*map(_deviate, inside)], drawstyle="steps-post")
        for axis, ticks in (
            (axes.xaxis, _det_ticks(smallest, _DET_END, 0.2)),
            (axes.yaxis, _det_ticks(low, high, 0.12)),
        ):
            axis.set_ticks([_deviate(tick) for tick in ticks], [percent(tick) for tick in ticks])
        axes.set_xlim(_deviate(smallest), _deviate(_DET_END))
        axes.set_ylim(_deviate(low), _deviate(high))
        axes.grid(color=RULE, linewidth=0.5)
        axes.text(0, 1.06, "false reject rate", transform=axes.transAxes, color=MUTED)
        axes.set_xlabel("false accept rate", color=MUTED, labelpad=2)

    return Plot(condition, "", detail("DET", condition, rows), svg(draw, name, _CURVE_SIZE_IN, _CURVE_MARGINS_IN))


def cmc_plot(condition: str, rows: Sequence[Row], methods: Sequence[str], name: str) -> Plot:
    """Share of probes found within the first ranks."""
    rows = [row for row in rows if row.curve_cmc]
    ranks = min(_MAX_RANK, max(len(row.curve_cmc) for row in rows))

    def draw(axes: Axes) -> None:
        for row in rows:
            found = row.curve_cmc[:ranks]
            curve(axes, row, methods, list(range(1, len(found) + 1)), found)
        axes.set_xlim(1, max(ranks, 2))
        axes.set_xticks([rank for rank in (1, 5, 10, 20, 30, 40, 50) if rank <= ranks])
        _share_axis(axes, "probes found", "rank")

    return Plot(condition, "", detail("CMC", condition, rows), svg(draw, name, _CURVE_SIZE_IN, _CURVE_MARGINS_IN))


def score_range(rows: Sequence[Row]) -> tuple[float, float]:
    """The scores between which every pair of these rows lies, for histograms that are to be compared."""
    ends: list[float] = []
    for row in rows:
        shares = np.add(row.histogram["genuine"], row.histogram["impostor"]) if row.histogram else np.zeros(0)
        for place in np.flatnonzero(shares > 0):
            ends += row.histogram["edges"][place : place + 2]
    return (min(ends), max(ends)) if ends else (-1.0, 1.0)


def histogram_plot(row: Row, scores: tuple[float, float], name: str) -> Plot:
    """Scores of genuine and impostor pairs, each as shares that sum to one, over the range `scores`."""

    def draw(axes: Axes) -> None:
        edges = np.array(row.histogram["edges"])
        for kind, colour in (("impostor", IMPOSTOR), ("genuine", GENUINE)):
            shares = np.array(row.histogram[kind])
            axes.stairs(shares, edges, fill=True, color=colour, alpha=0.3, linewidth=0)
            axes.stairs(
                shares, edges, color=colour, linewidth=1.3, linestyle="-" if kind == "genuine" else (0, (3, 1.5))
            )
        axes.set_xlim(*scores)
        axes.set_ylim(0)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}".replace("-", "\N{MINUS SIGN}")))
        axes.set_xlabel("score", color=MUTED, labelpad=2)

    title = label(row.method)
    words = (
        f"Histogram of the scores of genuine and impostor pairs at {row.condition}: {title}, {row.score_kind} scores"
    )
    return Plot(title, row.score_kind, words, svg(draw, name, _HISTOGRAM_SIZE_IN, _HISTOGRAM_MARGINS_IN))


def _decades(smallest: float) -> list[float]:
    """1, 0.1, 0.01 ... as far as the axis goes (every second or third if they are many), and the axis' end."""
    num_decades = floor(-log10(smallest) + 1e-9)
    step = ceil((num_decades + 1) / _MAX_DECADES)
    decades = [10.0**-place for place in range(0, num_decades + 1, step)]
    has_room = decades[-1] > 10 ** (_ROOM * step) * smallest or len(decades) == 1
    return [*(decades if has_room else decades[:-1]), smallest]


def _share_axis(axes: Axes, y_label: str, x_label: str) -> None:
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:.0f} %"))
    axes.grid(axis="y", color=RULE, linewidth=0.5)
    axes.text(0, 1.06, y_label, transform=axes.transAxes, color=MUTED)
    axes.set_xlabel(x_label, color=MUTED, labelpad=2)


def _det_curve(row: Row, smallest: float) -> tuple[list[float], list[float]]:
    """False accept and false reject rates of the part of the curve between the ends of the axis."""
    accepts, true_accepts = np.array(row.curve_roc, dtype=float).T
    inside = (accepts >= smallest) & (accepts <= _DET_END)
    start = true_accepts[accepts <= smallest].max(initial=0)
    return [smallest, *accepts[inside].tolist()], [1 - start, *(1 - true_accepts[inside]).tolist()]


def _deviate(rate: float) -> float:
    return NormalDist().inv_cdf(rate)


def _det_ticks(low: float, high: float, room: float) -> list[float]:
    """Rates within the axis, at least this share of it apart."""
    start, end = _deviate(low), _deviate(high)
    chosen: list[float] = []
    for tick in _DET_TICKS:
        place = (_deviate(tick) - start) / (end - start)
        others = [(_deviate(other) - start) / (end - start) for other in chosen]
        if 0 <= place <= 1 and all(abs(place - other) >= room for other in others):
            chosen.append(tick)
    return sorted(chosen)
