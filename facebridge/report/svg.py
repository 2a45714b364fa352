"""Plots as inline SVG; colours are the page's CSS variables, so that they follow light and dark."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO
from xml.etree import ElementTree

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from facebridge.evaluation.result import Row
from facebridge.report.verdict import label

NUM_COLOURS = 6
"""Colours --series-1 ... of the style; further methods start over."""
LINE_WIDTH = 1.5
DASHES = {"generated": (), "original": (5.0, 2.2), "fused": (1.6, 1.4)}
"""In line widths."""
# Stand-ins for matplotlib, which knows no CSS variables: each is replaced by its variable in the finished SVG.
RULE, MUTED, GENUINE, IMPOSTOR = "#000102", "#000103", "#000104", "#000105"
_VARIABLES = {
    RULE: "var(--rule)",
    MUTED: "var(--muted)",
    GENUINE: "var(--genuine)",
    IMPOSTOR: "var(--impostor)",
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
    dash = " ".join(f"{LINE_WIDTH * part:g}" for part in DASHES[row.score_kind])
    return _VARIABLES[stand_in(row.method, methods)], dash


def svg(
    draw: Callable[[Axes], None], name: str, size_in: tuple[float, float], margins_in: tuple[float, float, float, float]
) -> Markup:
    """An SVG element of one pair of axes, left, right, bottom and top margins in inches; same name, same bytes."""
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 8}):
        figure = Figure(figsize=size_in)
        width, height = size_in
        left, right, bottom, top = margins_in
        axes = figure.add_axes(
            (left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height), facecolor="none"
        )
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(MUTED)
        axes.tick_params(colors=MUTED, which="both", width=0.6, length=3)
        axes.tick_params(which="minor", length=1.5)
        axes.set_axisbelow(True)
        draw(axes)
        text = StringIO()
        figure.patch.set_visible(False)
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return Markup(_embedded(text.getvalue()))


def curve(axes: Axes, row: Row, methods: Sequence[str], x: ArrayLike, y: ArrayLike, drawstyle: str = "default") -> None:
    """Draw a line in the colour of the row's method and the dash of its kind of score."""
    colour = stand_in(row.method, methods)
    (line,) = axes.plot(x, y, color=colour, linewidth=LINE_WIDTH, drawstyle=drawstyle, clip_on=False)
    if DASHES[row.score_kind]:
        line.set_dashes(DASHES[row.score_kind])


def stand_in(method: str, methods: Sequence[str]) -> str:
    """The stand-in of a method's colour: nothing done is grey (0); the others take the colours in turn."""
    coloured = [name for name in methods if name != "none"]
    return f"#0002{0 if method == 'none' else coloured.index(method) % NUM_COLOURS + 1:02x}"


def percent(share: float) -> str:
    """A tick's label: 0.001 -> "0.1 %"."""
    return np.format_float_positional(100 * share, precision=2, fractional=False, trim="-") + " %"


def detail(kind: str, condition: str, rows: Sequence[Row]) -> str:
    """What a plot shows, for those who do not see it."""
    names = dict.fromkeys(f"{label(row.method)} ({row.score_kind} scores)" for row in rows)
    return f"{kind} at {condition} of " + ", ".join(names)


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
