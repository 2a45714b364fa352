"""The report: what it says, what it refuses, and that it needs nothing but itself."""

import re
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image
from scipy.stats import norm

from facebridge.evaluation.result import (
    GROUP_METRICS,
    METRICS,
    Evaluation,
    Example,
    Figure,
    GroupFigures,
    Groups,
    Row,
    Threshold,
)
from facebridge.report import write_report
from facebridge.report.error_tables import group_table, rate_text, ratio_table, threshold_table
from facebridge.report.group_plots import group_plot
from facebridge.report.plots import det_plot, roc_plot
from facebridge.report.tables import common_tables, figure_table
from facebridge.report.verdict import beats, interval_text, value_text, verdict

CONDITIONS = ["7x6", "14x12", "28x24", "full size"]
VOID = {"meta", "link", "img", "br", "hr", "input", "col"}
HOSTILE = '<script>alert("x")</script>'
NOT_MEASURABLE = "800 impostor pairs cannot hold a false accept rate of 0.0001"
NO_RATIO = "no false accepts in dark: the ratio has no upper limit"
SPEED = {
    "recogniser": "embedded_judge",
    "mirror": "sum",
    "threads": 2,
    "faces_embedded_per_sec": 123.0,
    "faces_read_aligned_and_embedded_per_sec": 98.7,
    "pairs_matched_per_sec": 8790000.0,
}


class Page(HTMLParser):
    """What the tests ask of a page: is it balanced, what does it refer to, what does it say."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.markup = path.read_text(encoding="utf-8")
        self.feed(self.markup)
        self.close()
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    def _note(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for key, value in attrs:
            self.attributes.append((tag, key, value or ""))
            if key == "id":
                self.ids.append(value or "")
            if key in ("src", "href", "srcset", "action", "data", "poster"):
                self.references.append(value or "")


def figure(value: float, spread: float = 0.05, low_confidence: bool = False) -> Figure:
    high = value + spread if value > 1 else min(value + spread, 1.0)
    return Figure(value, value - spread, high, low_confidence=low_confidence)


def random_row(method: str, condition: str, kind: str, rank1: float, rng: np.random.Generator) -> Row:
    gap = 4 * rank1
    impostor, genuine = rng.normal(0, 1, 800), rng.normal(gap, 1, 400)
    thresholds = np.sort(impostor)[::-1]
    roc = [(0.0, float((genuine > thresholds[0]).mean()))]
    roc += [((n + 1) / 800, float((genuine >= t).mean())) for n, t in enumerate(thresholds)]
    edges = np.linspace(-4, 8, 41)
    counts = {"genuine": np.histogram(genuine, edges)[0] / 400, "impostor": np.histogram(impostor, edges)[0] / 800}
    return Row(
        method,
        condition,
        kind,  # type: ignore[arg-type]
        {
            "rank1": figure(rank1),
            "true_accept_rate@0.001": figure(max(rank1 - 0.2, 0.06), low_confidence=condition == "7x6"),
            "true_accept_rate@0.0001": Figure(None, reason=NOT_MEASURABLE),
            "eer": figure(0.4 - 0.38 * rank1, 0.01),
            "auc": figure(0.55 + 0.44 * rank1, 0.008),
        }
        | (
            {}
            if method == "none"
            else {"psnr": figure(20 + 9 * rank1, 0.4), "identity_similarity": figure(-0.01, 0.02)}
        ),
        curve_roc=roc,
        curve_cmc=[float(1 - (1 - rank1) * 0.9**rank) for rank in range(40)],
        histogram={"edges": edges.tolist()} | {kind: count.tolist() for kind, count in counts.items()},
        thresholds=operating_points(),
        groups=[divided(), divided("absolute yaw_deg")] if condition == CONDITIONS[0] else [],
    )


def operating_points() -> list[Threshold]:
    return [
        Threshold(0.01, Figure(0.412, 0.398, 0.431), 0.00875, 7, 800),
        Threshold(0.0001, Figure(None, reason=NOT_MEASURABLE), None, None, 800),
    ]


def divided(column: str = "skin_tone") -> Groups:
    """Three groups: one as it should be, one without false accepts, one unknown."""
    few = "fewer than 10 people"

    def group(name: str, rejects: Figure, accepts: Figure, impostors: int) -> GroupFigures:
        figures = {"false_reject_rate": rejects, "false_accept_rate": accepts, "rank1": Figure(0.9, 0.85, 0.95)}
        return GroupFigures(name, 40, 200, impostors, figures)

    return Groups(
        column,
        "within" if column == "skin_tone" else "probe",
        0.001,
        Figure(0.5),
        [
            group("light", Figure(0.1, 0.06, 0.15), Figure(0.00085, 0.0004, 0.0013), 20000),
            group("dark", Figure(0.25, 0.2, 0.31), Figure(0.0, reason="no false accepts", low_confidence=True), 10000),
            group("unknown", Figure(0.5, 0.2, 0.8, few, True), Figure(None, reason="the group has no pairs"), 0),
        ],
        {
            "false_reject_rate": Figure(2.5, 1.4, None, "some resamples have none", True),
            "false_accept_rate": Figure(None, reason=NO_RATIO),
        },
        {"false_reject_rate": Figure(1.58, 1.18, 2.2), "false_accept_rate": Figure(None, reason=NO_RATIO)},
    )


def random_evaluation(
    folder: Path, title: str = "Made-up people, edsr_identity", identity: str = "p 017"
) -> Evaluation:
    """Random numbers and noise in the shape of an evaluation, with its pictures in `folder`."""
    rng = np.random.default_rng(5)
    rank1 = {
        ("none", "original"): (0.31, 0.62, 0.86, 0.97),
        ("bicubic", "generated"): (0.37, 0.66, 0.88, None),
        ("edsr_identity", "generated"): (0.585, 0.80, 0.91, None),
        ("edsr_identity", "fused"): (0.60, 0.82, 0.90, None),
    }
    rows = [
        random_row(method, condition, kind, value, rng)
        for (method, kind), values in rank1.items()
        for condition, value in zip(CONDITIONS, values, strict=True)
        if value is not None
    ]
    folder.mkdir(parents=True, exist_ok=True)
    for name, size in {"source": (6, 7), "bicubic": (96, 112), "edsr_identity": (96, 112), "target": (96, 112)}.items():
        noise = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(folder / f"{name}.png")
    examples = [
        Example(
            identity,
            condition,
            "source.png",
            {"bicubic": "bicubic.png", "edsr_identity": "edsr_identity.png"},
            "target.png",
            {"bicubic": 0.213, "edsr_identity": gain},
            caption,
        )
        for condition in CONDITIONS[:2]
        for caption, gain in (("best case: largest gain", 0.712), ("worst case: largest loss", -0.044))
    ]
    provenance = {
        "command": "facebridge evaluate RUN --protocol probes.csv",
        "recipe": {"method": "edsr_identity", "num_blocks": 16, "identity_weight": 0.5},
        "versions": {"facebridge": "0.1.0", "torch": "2.13.0"},
        "seed": 3,
        "machine": "2 cores, no GPU",
        "pictures_used": 1200,
        "speed": SPEED,
        "pictures_refused": [{"file": f"a/{number}.png", "cause": "truncated"} for number in range(11)],
    }
    protocol = {"gallery": "gallery.csv", "probes": "probes.csv", "recogniser": "mobile_facenet", "impostor_pairs": 800}
    evaluation = Evaluation(title, protocol, CONDITIONS, rows, examples, provenance)
    evaluation.write(folder)
    return evaluation


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluation, Page, Path]:
    folder = tmp_path_factory.mktemp("run")
    evaluation = random_evaluation(folder)
    path = write_report([folder], folder / "report.html")
    return evaluation, Page(path), path


def test_page_is_balanced_html_with_unique_ids(evaluated: tuple[Evaluation, Page, Path]) -> None:
    page = evaluated[1]
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    anchors = [reference[1:] for reference in page.references if reference.startswith("#")]
    assert anchors
    assert set(anchors) <= set(page.ids)


def test_page_refers_to_nothing_outside_itself(evaluated: tuple[Evaluation, Page, Path]) -> None:
    page = evaluated[1]
    assert all(reference.startswith(("#", "data:image/")) for reference in page.references)
    assert not re.search(r"url\((?!#)", page.markup)
    assert "@import" not in page.markup
    assert not {"script", "iframe", "object", "embed", "link", "form", "base"} & set(page.tags)
    assert not [entry for entry in page.attributes if entry[1].startswith("on") or entry[1] == "style"]


def test_policy_forbids_everything_but_the_page_style_and_inline_pictures(
    evaluated: tuple[Evaluation, Page, Path],
) -> None:
    page = evaluated[1]
    policy = next(value for tag, key, value in page.attributes if tag == "meta" and "default-src" in value)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "script-src" not in policy


def test_every_row_and_interval_is_on_the_page(evaluated: tuple[Evaluation, Page, Path]) -> None:
    evaluation, page, _ = evaluated
    text = page.text.replace("\N{NO-BREAK SPACE}", " ")
    for row in evaluation.rows:
        assert ("no hallucination" if row.method == "none" else row.method) in text
        assert f"{row.score_kind} scores" in text
        for name, number in row.figures.items():
            for part in (value_text(number, METRICS[name]), interval_text(number, METRICS[name])):
                assert part.replace("\N{NO-BREAK SPACE}", " ") in text, (row.method, row.condition, name)


def test_figure_that_is_not_measurable_is_a_reason_and_never_a_number(
    evaluated: tuple[Evaluation, Page, Path],
) -> None:
    evaluation, page, _ = evaluated
    assert NOT_MEASURABLE in page.text
    table = figure_table(evaluation, ["true_accept_rate@0.0001"], "t")
    cells = [cell for line in table.lines for cell in line.cells]
    assert {cell.value for cell in cells} == {"not measurable", "not run"}
    assert all(cell.interval == "" for cell in cells)
    assert table.notes == {"a": NOT_MEASURABLE}


def test_low_confidence_is_marked_with_a_note(evaluated: tuple[Evaluation, Page, Path]) -> None:
    table = figure_table(evaluated[0], ["true_accept_rate@0.001"], "t")
    assert all(line.cells[0].note == "a" for line in table.lines)
    assert not any(cell.note for line in table.lines for cell in line.cells[1:])
    assert "low confidence" in evaluated[1].text


def test_every_metric_that_appears_is_defined(evaluated: tuple[Evaluation, Page, Path]) -> None:
    evaluation, page, _ = evaluated
    for name in {name for row in evaluation.rows for name in row.figures}:
        assert METRICS[name].definition in page.text
    assert METRICS["accuracy"].definition not in page.text


def test_every_picture_has_words_and_generated_faces_say_so(evaluated: tuple[Evaluation, Page, Path]) -> None:
    page = evaluated[1]
    alternatives = [value for tag, key, value in page.attributes if (tag, key) == ("img", "alt")]
    assert len(alternatives) == page.tags.count("img") == 16
    assert all("identity p 017" in alternative for alternative in alternatives)
    assert sum(alternative.startswith("Generated face (edsr_identity)") for alternative in alternatives) == 4
    assert page.text.count(" generated edsr_identity ") >= 4
    assert page.text.count("score \N{MINUS SIGN}0.044") == 2


def test_everything_that_was_run_is_on_the_page(evaluated: tuple[Evaluation, Page, Path]) -> None:
    page = evaluated[1]
    for words in (
        "facebridge evaluate RUN",
        "num blocks",
        "2.13.0",
        "2 cores, no GPU",
        "a/10.png",
        "truncated",
        "1200",
    ):
        assert words in page.text


def test_same_folder_gives_the_same_bytes(evaluated: tuple[Evaluation, Page, Path], tmp_path: Path) -> None:
    path = evaluated[2]
    assert write_report([path.parent], tmp_path / "again.html").read_bytes() == path.read_bytes()
    assert list(tmp_path.iterdir()) == [tmp_path / "again.html"]


def test_page_is_small(evaluated: tuple[Evaluation, Page, Path]) -> None:
    assert evaluated[2].stat().st_size < 1_000_000


def test_settings_of_matplotlib_are_left_as_they_were(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    random_evaluation(tmp_path)
    write_report([tmp_path], tmp_path / "report.html")
    assert dict(matplotlib.rcParams) == before


def test_text_from_the_data_is_escaped(tmp_path: Path) -> None:
    evaluation = random_evaluation(tmp_path, title=HOSTILE, identity=HOSTILE)
    rows = [replace(row, method=HOSTILE) if row.score_kind == "fused" else row for row in evaluation.rows]
    examples = [replace(example, caption=HOSTILE) for example in evaluation.examples]
    replace(
        evaluation, rows=rows, examples=examples, provenance={HOSTILE: [HOSTILE, {HOSTILE: HOSTILE}, None, 1.5, True]}
    ).write(tmp_path)
    page = Page(write_report([tmp_path], tmp_path / "report.html"))
    assert page.open == []
    assert "script" not in page.tags
    assert "<script" not in page.markup
    assert page.markup.count(escape(HOSTILE)) + page.markup.count("&lt;script&gt;alert(&#34;x&#34;)") > 5


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "inside/../../secret.png", "link.png"])
def test_picture_outside_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "run"
    evaluation = random_evaluation(folder)
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    replace(evaluation, examples=[replace(evaluation.examples[0], source=name)]).write(folder)
    with pytest.raises(ValueError, match="outside the evaluation folder"):
        write_report([folder], folder / "report.html")
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize(("name", "cause"), [("gone.png", "no such picture"), ("metrics.json", "not a PNG")])
def test_picture_that_cannot_be_shown_is_named(tmp_path: Path, name: str, cause: str) -> None:
    evaluation = random_evaluation(tmp_path)
    replace(evaluation, examples=[replace(evaluation.examples[0], target=name)]).write(tmp_path)
    with pytest.raises(ValueError, match=f"{name}: {cause}"):
        write_report([tmp_path], tmp_path / "report.html")


def test_row_that_the_page_could_not_show_is_refused(tmp_path: Path) -> None:
    row = Row("m", "7x6", "generated", {"rank1": Figure(0.5, 0.4, 0.6)})
    Evaluation("t", {}, ["7x6"], [row, replace(row, condition="8x8")]).write(tmp_path)
    with pytest.raises(ValueError, match="m has the condition '8x8'; listed: 7x6"):
        write_report([tmp_path], tmp_path / "report.html")
    Evaluation("t", {}, ["7x6"], [row, row]).write(tmp_path)
    with pytest.raises(ValueError, match="two rows of m, 7x6, generated"):
        write_report([tmp_path], tmp_path / "report.html")


def test_no_evaluation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one"):
        write_report([], tmp_path / "report.html")


def test_verdict_is_computed_from_figures_and_intervals() -> None:
    def rows(condition: str, baseline: Figure, method: Figure) -> list[Row]:
        return [
            Row("bicubic", condition, "generated", {"rank1": baseline}),
            Row("m", condition, "generated", {"rank1": method}),
        ]

    wide = [
        *rows("better", Figure(0.41, 0.36, 0.46), Figure(0.585, 0.53, 0.64)),
        *rows("alike", Figure(0.41, 0.36, 0.46), Figure(0.45, 0.40, 0.50)),
        *rows("worse", Figure(0.8, 0.75, 0.85), Figure(0.6, 0.55, 0.65)),
        *rows("unsure", Figure(0.41), Figure(0.9, 0.8, 0.95)),
        *rows("none", Figure(None, reason="no mates"), Figure(None, reason="no mates")),
        Row("none", "full size", "original", {"rank1": Figure(0.99, 0.98, 1.0)}),
    ]
    conditions = ["better", "alike", "worse", "unsure", "none", "full size"]
    said = [text.replace("\N{NO-BREAK SPACE}", " ") for text in verdict(Evaluation("t", {}, conditions, wide))]
    expected = "m raises rank-1 from 41.0 % [36.0, 46.0] (bicubic enlarging) to 58.5 % [53.0, 64.0]."
    assert said[0] == f"At better, {expected}"
    assert "45.0 % [40.0, 50.0] with m and 41.0 % [36.0, 46.0] with bicubic enlarging: the intervals overlap" in said[1]
    assert "makes recognition worse: rank-1 from 80.0 %" in said[2]
    assert "not shown" in said[3]
    assert said[4] == "At none, rank-1 is not measurable."
    assert said[5] == "At full size, rank-1 is 99.0 % [98.0, 100.0] with no hallucination."


def test_verdict_says_where_it_is_unsure() -> None:
    rows = [Row("m", "7x6", "generated", {"rank1": Figure(0.5, 0.4, 0.6, low_confidence=True)})]
    assert "[40.0,\N{NO-BREAK SPACE}60.0] (low confidence)" in verdict(Evaluation("t", {}, ["7x6"], rows))[0]


def test_verdict_without_recognition_says_so() -> None:
    rows = [Row("m", "7x6", "generated", {"psnr": Figure(20.0)})]
    assert "nothing can be said" in verdict(Evaluation("t", {}, ["7x6"], rows))[0]


def test_intervals_that_touch_show_no_difference() -> None:
    rank1, eer = METRICS["rank1"], METRICS["eer"]
    low, high = Figure(0.4, 0.3, 0.5), Figure(0.6, 0.5, 0.7)
    assert not beats(high, low, rank1)
    assert beats(replace(high, low=0.51), low, rank1)
    assert not beats(low, replace(high, low=0.51), rank1)
    assert beats(low, replace(high, low=0.51), eer)


def test_only_a_method_beyond_the_interval_of_the_best_baseline_is_emphasised(
    evaluated: tuple[Evaluation, Page, Path],
) -> None:
    table = figure_table(evaluated[0], ["rank1"], "t")
    emphasised = [
        (line.method, line.score_kind, place)
        for line in table.lines
        for place, cell in enumerate(line.cells)
        if cell.is_emphasised
    ]
    assert emphasised == [("edsr_identity", "fused", 0), ("edsr_identity", "fused", 1)]


@pytest.mark.parametrize(
    ("smallest", "ticks"),
    [
        (1 / 800, ["100 %", "10 %", "1 %", "0.12 %"]),
        (1 / 1000, ["100 %", "10 %", "1 %", "0.1 %"]),
        (1e-7, ["100 %", "1 %", "0.01 %", "0.00001 %"]),
        (0.5, ["100 %", "10 %"]),
    ],
)
def test_roc_axis_ends_at_the_smallest_false_accept_rate(smallest: float, ticks: list[str]) -> None:
    row = Row("m", "7x6", "generated", {}, curve_roc=[(0.0, 0.2), (smallest, 0.5), (1.0, 1.0)])
    svg = roc_plot("7x6", [row], ["m"], "plot").svg
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert [text for text in texts if text.endswith(" %")][: len(ticks)] == ticks


def path_of(svg: str, colour: str) -> list[tuple[float, float]]:
    """The points of the longest path of this colour, in the units of the picture."""
    paths = re.findall(rf'<path d="([^"]*)"[^>]*stroke="{re.escape(colour)}"', svg)
    points = re.findall(r"[ML] (\S+) (\S+)", max(paths, key=len))
    return [(float(x), float(y)) for x, y in points]


def test_axes_of_det_are_normal_deviates() -> None:
    accepts = np.geomspace(1e-4, 0.5, 30)
    points = [(far, float(norm.sf(norm.isf(far) - 2.5))) for far in accepts.tolist()]
    svg = det_plot("7x6", [Row("m", "7x6", "generated", {}, curve_roc=[*points, (1.0, 1.0)])], ["m"], "det").svg
    x, y = np.array(path_of(svg, "var(--series-1)")).T
    for found, deviates in ((x, norm.ppf(accepts)), (-y, norm.ppf([1 - tar for _, tar in points]))):
        scale = np.ptp(found) / np.ptp(deviates)
        expected = found.min() + scale * (deviates - deviates.min())
        assert np.abs(expected[:, None] - found).min(1).max() < 0.1
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert {"0.1 %", "1 %", "10 %", "50 %", "false reject rate", "false accept rate"} <= set(texts)


@pytest.mark.parametrize("curve", [[(0.0, 1.0), (1.0, 1.0)], [(0.0, 0.0), (1.0, 1.0)], [(0.0, 0.3), (0.002, 0.3)]])
def test_det_of_extreme_curves_is_drawn(curve: list[tuple[float, float]]) -> None:
    svg = det_plot("7x6", [Row("m", "7x6", "generated", {}, curve_roc=curve)], ["m"], "det").svg
    assert "nan" not in svg
    assert "inf" not in svg


def test_operating_points_have_threshold_rates_and_counts(evaluated: tuple[Evaluation, Page, Path]) -> None:
    evaluation, page, _ = evaluated
    table = threshold_table(evaluation, "t")
    assert len(table.blocks) == len(evaluation.rows)
    first, last = table.blocks[0].lines
    texts = [(cell.value, cell.interval, cell.count) for cell in first]
    assert texts == [
        ("1\N{NO-BREAK SPACE}%", "", ""),
        ("0.88\N{NO-BREAK SPACE}%", "", ""),
        ("0.412", "[0.398,\N{NO-BREAK SPACE}0.431]", ""),
        ("not given", "", ""),
        ("7", "", "of 800"),
    ]
    assert [cell.value for cell in last[1:]] == ["not measurable"] * 4
    assert table.notes == {"a": NOT_MEASURABLE}
    assert "Operating points" in page.text
    assert "of 800" in page.text


def test_groups_have_rates_counts_and_reasons(evaluated: tuple[Evaluation, Page, Path]) -> None:
    evaluation, page, _ = evaluated
    rows = [row for row in evaluation.rows if row.groups]
    table = group_table(rows, 0, "t")
    light, dark, unknown = table.blocks[0].lines
    assert [cell.value for cell in light] == [
        "light",
        "40",
        "10.0\N{NO-BREAK SPACE}%",
        "0.085\N{NO-BREAK SPACE}%",
        "90.0\N{NO-BREAK SPACE}%",
    ]
    assert [cell.count for cell in light] == ["", "", "20 of 200", "17 of 20,000", ""]
    assert (dark[3].value, dark[3].interval, dark[3].count) == ("0\N{NO-BREAK SPACE}%", "", "0 of 10,000")
    assert table.notes[dark[3].note].endswith("(no false accepts)")
    assert unknown[3].value == "not measurable"
    ratios = ratio_table(rows, 0, "t")
    first = ratios.blocks[0].lines[0]
    assert (first[0].value, first[0].interval) == ("2.50", "[1.40,\N{NO-BREAK SPACE}no upper limit]")
    assert (first[1].value, first[1].interval) == ("1.58", "[1.18,\N{NO-BREAK SPACE}2.20]")
    assert [cell.value for cell in first[2:]] == ["not measurable"] * 2
    for words in (
        "By skin_tone",
        "By absolute yaw_deg",
        "whose faces are both in it",
        "whose probe is in it",
        NO_RATIO,
    ):
        assert words in page.text
    for metric in GROUP_METRICS.values():
        assert metric.definition in page.text


def test_every_measured_group_is_a_dot_with_its_interval() -> None:
    row = Row("m", "7x6", "generated", {}, groups=[divided()])
    for metric, dots, intervals in (("false_reject_rate", 3, 3), ("false_accept_rate", 2, 1)):
        svg = group_plot(GROUP_METRICS[metric], "7x6", [row, replace(row, score_kind="fused")], 0, ["m"], "g").svg
        texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
        assert [text for text in texts if text in ("light", "dark", "unknown")] == ["light", "dark", "unknown"]
        assert svg.count('fill="var(--series-1)"') == 2 * (dots + 2 * intervals)  # an interval has two ends


def test_speed_is_told_in_a_sentence(evaluated: tuple[Evaluation, Page, Path]) -> None:
    assert (
        "embedded_judge embedded 123 faces a second on 2 threads, each with its mirror image (sum), and 98.7 with "
        "reading and aligning; 8.79 million pairs were matched a second. Other work on the machine"
    ) in evaluated[1].text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0"), (1e-4, "0.010"), (0.00085, "0.085"), (0.0123, "1.2"), (0.1, "10.0"), (0.5, "50.0"), (1, "100.0")],
)
def test_small_rates_keep_two_digits_that_count(share: float, text: str) -> None:
    assert rate_text(share) == text


def test_several_evaluations_share_a_page_and_a_table_of_what_agrees(tmp_path: Path) -> None:
    first = random_evaluation(tmp_path / "a", title="First training")
    second = random_evaluation(tmp_path / "b", title="Second training")
    second = replace(second, conditions=["7x6", "other"], rows=[row for row in second.rows if row.condition == "7x6"])
    second.write(tmp_path / "b")
    page = Page(write_report([tmp_path / "a", tmp_path / "b"], tmp_path / "report.html"))
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    tables = common_tables([first, second])
    assert [table.groups[0][0].name for table in tables] == ["rank1", "true_accept_rate@0.001"]
    assert all(table.groups[0][1] == ["7x6"] for table in tables)
    assert [line.evaluation for line in tables[0].lines] == ["First training"] * 4 + ["Second training"] * 4
    assert page.text.count("Second training") == 4
    assert common_tables([first]) == []


def test_evaluations_of_the_same_title_are_told_apart(tmp_path: Path) -> None:
    random_evaluation(tmp_path, title="LFW")
    page = Page(write_report([tmp_path, tmp_path], tmp_path / "report.html"))
    assert "LFW (1)" in page.text
    assert "LFW (2)" in page.text


def test_evaluation_without_curves_and_examples_still_gives_a_page(tmp_path: Path) -> None:
    Evaluation("Bare", {}, ["7x6"], [Row("m", "7x6", "generated", {"accuracy": Figure(0.5, 0.4, 0.6)})]).write(tmp_path)
    page = Page(write_report([tmp_path / "metrics.json"], tmp_path / "report.html"))
    assert page.open == []
    assert "no baseline was measured" in page.text
