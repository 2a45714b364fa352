"""Curves and histograms as inline SVG; colours are the page's CSS variables, so that they follow light and dark."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO
from math import ceil, floor, log10
from xml.etree import ElementTree

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from facebridge.evaluation.result import Row
from facebridge.report.verdict import label

NUM_COLOURS = 6
"""Colours --series-1 ... of the style; further methods start over."""

_CURVE_SIZE_IN, _HISTOGRAM_SIZE_IN = (2.9, 2.35), (2.6, 1.3)
_LINE_WIDTH = 1.5
_CURVE_MARGINS_IN, _HISTOGRAM_MARGINS_IN = (0.42, 0.14, 0.42, 0.26), (0.06, 0.06, 0.42, 0.08)
"""Left, right, bottom, top."""
_MAX_RANK = 50
_MIN_FALSE_ACCEPT_RATE = 1e-9
_MAX_DECADES = 4
_ROOM = 0.6
"""The end of the axis and the tick before it are at least this share of a step apart."""
_DASHES = {"generated": (), "original": (5.0, 2.2), "fused": (1.6, 1.4)}
"""In line widths."""
# Stand-ins for matplotlib, which knows no CSS variables: each is replaced by its variable in the finished SVG.
_RULE, _MUTED, _GENUINE, _IMPOSTOR = "#000102", "#000103", "#000104", "#000105"
_VARIABLES = {
    _RULE: "var(--rule)",
    _MUTED: "var(--muted)",
    _GENUINE: "var(--genuine)",
    _IMPOSTOR: "var(--impostor)",
} | {f"#0002{number:02x}": f"var(--series-{number})" for number in range(NUM_COLOURS + 1)}


@dataclass(frozen=True)
class Plot:
    """An SVG element, with its heading (and kind of score, if it shows only one) and what it shows in words."""

    title: str
    score_kind: str
    detail: str
    svg: Markup


def line_style(row: Row, methods: Sequence[str]) -> tuple[str, str]:
    """(stroke, stroke-dasharray) of a row's curves as SVG attributes: colour by method, dash by kind of score."""
    dash = " ".join(f"{_LINE_WIDTH * part:g}" for part in _DASHES[row.score_kind])
    return _VARIABLES[_stand_in(row.method, methods)], dash


def roc_plot(condition: str, rows: Sequence[Row], methods: Sequence[str], name: str) -> Plot:
    """True accept rate over false accept rate; the logarithmic axis ends at the smallest rate that was measured."""
    rows = [row for row in rows if row.curve_roc]
    smallest = min((far for row in rows for far, _ in row.curve_roc if far > _MIN_FALSE_ACCEPT_RATE), default=0.1)
    smallest = min(smallest, 0.1)

    def draw(axes: Axes) -> None:
        axes.set_xscale("log")
        chance = np.geomspace(smallest, 1, 60)
        axes.plot(chance, chance, color=_RULE, linewidth=1)
        for row in rows:
            far, tar = np.array(row.curve_roc, dtype=float).T
            inside = far >= smallest
            start = tar[far <= smallest].max(initial=0)
            _curve(axes, row, methods, [smallest, *far[inside]], [start, *tar[inside]], drawstyle="steps-post")
        axes.set_xlim(smallest, 1)
        axes.set_xticks(_decades(smallest))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _percent(x)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        _share_axis(axes, "true accept rate", "false accept rate")

    return Plot(condition, "", _detail("ROC", condition, rows), _svg(draw, name, _CURVE_SIZE_IN, _CURVE_MARGINS_IN))


def cmc_plot(condition: str, rows: Sequence[Row], methods: Sequence[str], name: str) -> Plot:
    """Share of probes found within the first ranks."""
    rows = [row for row in rows if row.curve_cmc]
    ranks = min(_MAX_RANK, max(len(row.curve_cmc) for row in rows))

    def draw(axes: Axes) -> None:
        for row in rows:
            found = row.curve_cmc[:ranks]
            _curve(axes, row, methods, list(range(1, len(found) + 1)), found, drawstyle="default")
        axes.set_xlim(1, max(ranks, 2))
        axes.set_xticks([rank for rank in (1, 5, 10, 20, 30, 40, 50) if rank <= ranks])
        _share_axis(axes, "probes found", "rank")

    return Plot(condition, "", _detail("CMC", condition, rows), _svg(draw, name, _CURVE_SIZE_IN, _CURVE_MARGINS_IN))


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
        for kind, colour in (("impostor", _IMPOSTOR), ("genuine", _GENUINE)):
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
        axes.set_xlabel("score", color=_MUTED, labelpad=2)

    title = label(row.method)
    detail = (
        f"Histogram of the scores of genuine and impostor pairs at {row.condition}: {title}, {row.score_kind} scores"
    )
    return Plot(title, row.score_kind, detail, _svg(draw, name, _HISTOGRAM_SIZE_IN, _HISTOGRAM_MARGINS_IN))


def _curve(
    axes: Axes, row: Row, methods: Sequence[str], x: Sequence[float], y: Sequence[float], drawstyle: str
) -> None:
    colour = _stand_in(row.method, methods)
    (line,) = axes.plot(x, y, color=colour, linewidth=_LINE_WIDTH, drawstyle=drawstyle, clip_on=False)
    if _DASHES[row.score_kind]:
        line.set_dashes(_DASHES[row.score_kind])


def _stand_in(method: str, methods: Sequence[str]) -> str:
    """Nothing done is grey (0); the others take the colours in turn."""
    coloured = [name for name in methods if name != "none"]
    return f"#0002{0 if method == 'none' else coloured.index(method) % NUM_COLOURS + 1:02x}"


def _decades(smallest: float) -> list[float]:
    """1, 0.1, 0.01 ... as far as the axis goes (every second or third if they are many), and the axis' end."""
    num_decades = floor(-log10(smallest) + 1e-9)
    step = ceil((num_decades + 1) / _MAX_DECADES)
    decades = [10.0**-place for place in range(0, num_decades + 1, step)]
    has_room = decades[-1] > 10 ** (_ROOM * step) * smallest or len(decades) == 1
    return [*(decades if has_room else decades[:-1]), smallest]


def _percent(share: float) -> str:
    return np.format_float_positional(100 * share, precision=2, fractional=False, trim="-") + " %"


def _share_axis(axes: Axes, y_label: str, x_label: str) -> None:
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:.0f} %"))
    axes.grid(axis="y", color=_RULE, linewidth=0.5)
    axes.text(0, 1.06, y_label, transform=axes.transAxes, color=_MUTED)
    axes.set_xlabel(x_label, color=_MUTED, labelpad=2)


def _detail(kind: str, condition: str, rows: Sequence[Row]) -> str:
    names = dict.fromkeys(f"{label(row.method)} ({row.score_kind} scores)" for row in rows)
    return f"{kind} at {condition} of " + ", ".join(names)


def _svg(
    draw: Callable[[Axes], None], name: str, size_in: tuple[float, float], margins_in: tuple[float, float, float, float]
) -> Markup:
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 8}):
        figure = Figure(figsize=size_in)
        width, height = size_in
        left, right, bottom, top = margins_in
        axes = figure.add_axes(
            (left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height), facecolor="none"
        )
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(_MUTED)
        axes.tick_params(colors=_MUTED, which="both", width=0.6, length=3)
        axes.tick_params(which="minor", length=1.5)
        axes.set_axisbelow(True)
        draw(axes)
        text = StringIO()
        figure.patch.set_visible(False)
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return Markup(_embedded(text.getvalue()))


def _embedded(svg: str) -> str:
    """matplotlib's SVG for the page: attributes instead of inline styles, variables for colours, short numbers."""
    root = ElementTree.fromstring(svg)
    used = set(re.findall(r"#(\w+)", " ".join(value for e in root.iter() for value in e.attrib.values())))
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = _attributes(element.attrib, used)
        element.tail = None
        if element.tag != "text":
            element.text = None
    root.attrib = {"viewBox": root.attrib["viewBox"], "aria-hidden": "true", "focusable": "false"}
    return ElementTree.tostring(root, encoding="unicode")


def _attributes(attributes: dict[str, str], used: set[str]) -> dict[str, str]:
    """Inline styles become attributes, because the page allows no inline style; fonts are left to its style sheet."""
    plain = {key.rpartition("}")[2]: value for key, value in attributes.items() if key not in ("style", "id")}
    if attributes.get("id") in used:
        plain["id"] = attributes["id"]
    for declaration in filter(str.strip, attributes.get("style", "").split(";")):
        key, _, value = declaration.partition(":")
        if not key.strip().startswith("font"):
            plain[key.strip()] = value.strip()
    plain = {key: _VARIABLES.get(value, value) for key, value in plain.items()}
    return {key: re.sub(r"-?\d+\.\d+", _short, value) for key, value in plain.items()}


def _short(number: re.Match[str]) -> str:
    return f"{float(number.group()):.2f}".rstrip("0").rstrip(".")
