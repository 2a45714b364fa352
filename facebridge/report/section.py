"""What the page shows of one evaluation, in the order in which it shows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from facebridge.evaluation.result import GROUP_METRICS, METRICS, Evaluation, Example, Groups, Row
from facebridge.report.error_tables import ErrorTable, group_table, ratio_table, threshold_table
from facebridge.report.group_plots import group_plot
from facebridge.report.pictures import Picture, picture
from facebridge.report.plots import cmc_plot, det_plot, histogram_plot, roc_plot, score_range
from facebridge.report.svg import Plot, line_style
from facebridge.report.tables import Table, figure_table
from facebridge.report.verdict import ENLARGING, headline_metrics, label, ordered, verdict


@dataclass(frozen=True)
class LegendEntry:
    """One line of the curves' legend: colour and dash are values of SVG attributes."""

    label: str
    score_kind: str
    colour: str
    dash: str


@dataclass(frozen=True)
class Face:
    """One picture of an example, with what it is (source, enlarged, generated, target) and by whom it was made."""

    picture: Picture
    role: str
    maker: str
    score: str
    alt: str


@dataclass(frozen=True)
class Case:
    """One example: the faces from source to target."""

    condition: str
    identity: str
    caption: str
    faces: list[Face]


@dataclass(frozen=True)
class Division:
    """The errors by the groups of one column."""

    groups: Groups
    """Of the first row: its column and rules are those of all."""
    plots: list[list[Plot]]
    """By rate, then by condition; of a single condition all in one."""
    ratios: ErrorTable
    figures: ErrorTable


class Section:
    """One evaluation, ready for the template; `name` is unique on the page and starts every id of the section.

    ValueError: if a picture of an example cannot be shown.
    """

    def __init__(self, evaluation: Evaluation, folder: Path, name: str) -> None:
        self.evaluation = evaluation
        self.name = name
        self.rows = ordered(evaluation.rows)
        self.cases = _cases(evaluation.examples, folder)

    @cached_property
    def metric_names(self) -> list[str]:
        """The metrics that any row has, in the order of METRICS."""
        present = {name for row in self.rows for name in row.figures}
        return [name for name in METRICS if name in present]

    @cached_property
    def verdict(self) -> list[str]:
        """Sentences, one per condition, computed from the figures."""
        return verdict(self.evaluation)

    @cached_property
    def headline(self) -> Table:
        return figure_table(self.evaluation, headline_metrics(self.evaluation.rows), f"{self.name}-headline")

    @cached_property
    def tables(self) -> list[Table]:
        """One table for each metric that is not in the headline table."""
        shown = headline_metrics(self.evaluation.rows)
        rest = [name for name in self.metric_names if name not in shown]
        return [figure_table(self.evaluation, [name], f"{self.name}-{number}") for number, name in enumerate(rest, 1)]

    @cached_property
    def legend(self) -> list[LegendEntry]:
        """An entry for each method and kind of score that has a curve."""
        entries = {}
        for row in self.rows:
            if row.curve_roc or row.curve_cmc:
                colour, dash = line_style(row, self._methods)
                entries[row.method, row.score_kind] = LegendEntry(label(row.method), row.score_kind, colour, dash)
        return list(entries.values())

    @cached_property
    def roc(self) -> list[Plot]:
        return [roc_plot(c, self._at(c), self._methods, f"{self.name}-roc-{i}") for i, c in self._with("curve_roc")]

    @cached_property
    def det(self) -> list[Plot]:
        return [det_plot(c, self._at(c), self._methods, f"{self.name}-det-{i}") for i, c in self._with("curve_roc")]

    @cached_property
    def thresholds(self) -> ErrorTable:
        return threshold_table(self.evaluation, f"{self.name}-thresholds")

    @cached_property
    def divisions(self) -> list[Division]:
        """The columns by whose groups errors are given."""
        num_columns = max((len(row.groups) for row in self.rows), default=0)
        return [self._division(column) for column in range(num_columns)]

    @cached_property
    def speed(self) -> str:
        """How fast the judge was, in a sentence; empty if it was not measured."""
        speed = self.evaluation.provenance.get("speed")
        return _speed_text(speed) if isinstance(speed, dict) else ""

    @cached_property
    def diagnoses(self) -> list[tuple[str, str]]:
        """(method, what was found to be stuck when it was trained)."""
        found = self.evaluation.provenance.get("diagnoses")
        return [(name, text) for name, texts in found.items() for text in texts] if isinstance(found, dict) else []

    @cached_property
    def cmc(self) -> list[Plot]:
        return [cmc_plot(c, self._at(c), self._methods, f"{self.name}-cmc-{i}") for i, c in self._with("curve_cmc")]

    @cached_property
    def histograms(self) -> list[tuple[str, list[Plot]]]:
        """(condition, one plot per method and kind of score)."""
        scores = score_range(self.rows)
        return [
            (
                condition,
                [
                    histogram_plot(row, scores, f"{self.name}-histogram-{number}-{place}")
                    for place, row in enumerate(self._at(condition))
                    if row.histogram
                ],
            )
            for number, condition in self._with("histogram")
        ]

    def _division(self, column: int) -> Division:
        rows = [row for row in self.rows if len(row.groups) > column]
        name = f"{self.name}-groups-{column + 1}"
        rates = [GROUP_METRICS[kind] for kind in rows[0].groups[column].largest_ratio]
        conditions = [c for c in self.evaluation.conditions if any(row.condition == c for row in rows)]
        plots = [
            [
                group_plot(rate, condition, self._at(condition), column, self._methods, f"{name}-{number}-{place}")
                for place, condition in enumerate(conditions)
            ]
            for number, rate in enumerate(rates)
        ]
        return Division(
            groups=rows[0].groups[column],
            plots=[sum(plots, [])] if len(conditions) == 1 else plots,
            ratios=ratio_table(rows, column, f"{name}-ratios"),
            figures=group_table(rows, column, f"{name}-figures"),
        )

    @cached_property
    def _methods(self) -> list[str]:
        return list(dict.fromkeys(row.method for row in self.rows))

    def _at(self, condition: str) -> list[Row]:
        return [row for row in self.rows if row.condition == condition]

    def _with(self, curve: str) -> Sequence[tuple[int, str]]:
        conditions = enumerate(self.evaluation.conditions, 1)
        return [(number, name) for number, name in conditions if any(getattr(row, curve) for row in self._at(name))]


def _speed_text(speed: dict[str, Any]) -> str:
    mirrored = "" if speed["mirror"] == "none" else f", each with its mirror image ({speed['mirror']})"
    threads = "1 thread" if speed["threads"] == 1 else f"{speed['threads']} threads"
    return (
        f"{speed['recogniser']} embedded {_count_text(speed['faces_embedded_per_sec'])} faces a second on {threads}"
        f"{mirrored}, and {_count_text(speed['faces_read_aligned_and_embedded_per_sec'])} with reading and aligning; "
        f"{_count_text(speed['pairs_matched_per_sec'])} pairs were matched a second. Other work on the machine makes "
        "these figures smaller."
    )


def _count_text(number: float) -> str:
    """Three digits: 53.3, 1,230, 8.79 million."""
    for size, word in ((1e9, " billion"), (1e6, " million")):
        if number >= size:
            return f"{number / size:.3g}{word}"
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _cases(examples: Sequence[Example], folder: Path) -> list[tuple[str, list[Case]]]:
    """(condition, its examples), in the order given."""
    grouped: dict[str, list[Case]] = {}
    for example in examples:
        grouped.setdefault(example.condition, []).append(_case(example, folder))
    return list(grouped.items())


def _case(example: Example, folder: Path) -> Case:
    faces = [Face(picture(folder, example.source), "source", example.condition, "", _alt("Source face", example))]
    for method, name in example.generated.items():
        role = "enlarged" if method in ENLARGING else "generated"
        score = f"{example.scores[method]:.3f}".replace("-", "\N{MINUS SIGN}") if method in example.scores else ""
        alt = _alt(f"{role.capitalize()} face ({method}), not a photograph,", example)
        faces.append(Face(picture(folder, name), role, method, score, alt))
    faces.append(Face(picture(folder, example.target), "target", "", "", _alt("Target face", example)))
    return Case(example.condition, example.identity, example.caption, faces)


def _alt(what: str, example: Example) -> str:
    return f"{what} of identity {example.identity} at {example.condition}"
