"""What the page shows of one evaluation, in the order in which it shows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from facebridge.evaluation.result import METRICS, Evaluation, Example, Row
from facebridge.report.pictures import Picture, picture
from facebridge.report.plots import Plot, cmc_plot, histogram_plot, line_style, roc_plot, score_range
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

    @cached_property
    def _methods(self) -> list[str]:
        return list(dict.fromkeys(row.method for row in self.rows))

    def _at(self, condition: str) -> list[Row]:
        return [row for row in self.rows if row.condition == condition]

    def _with(self, curve: str) -> Sequence[tuple[int, str]]:
        conditions = enumerate(self.evaluation.conditions, 1)
        return [(number, name) for number, name in conditions if any(getattr(row, curve) for row in self._at(name))]


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
