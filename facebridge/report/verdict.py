"""What may be said of a method, from its figures and their intervals alone."""

from collections.abc import Sequence

from facebridge.evaluation.result import METRICS, Evaluation, Figure, Metric, Row

ENLARGING = ("nearest", "bilinear", "bicubic", "lanczos")
"""Methods that only interpolate; with rows of original scores they are the baselines."""

_NOTHING_DONE = ("none", "full size")
_HEADLINE = ("accuracy", "rank1", "true_accept_rate@0.001", "true_accept_rate@0.01", "auc")
_MAX_HEADLINE = 2


def verdict(evaluation: Evaluation) -> list[str]:
    """One sentence per condition about the first headline metric: the best method against the best baseline."""
    names = headline_metrics(evaluation.rows)
    if not names:
        return ["No figure of recognition was measured, so nothing can be said about recognition."]
    return [_sentence(evaluation.rows, condition, METRICS[names[0]]) for condition in evaluation.conditions]


def headline_metrics(rows: Sequence[Row]) -> list[str]:
    """The names of at most two metrics of recognition, the most telling one first; those measured nowhere come last."""
    present = [name for name in _HEADLINE if any(name in row.figures for row in rows)]
    measured = [n for n in present if any(n in row.figures and row.figures[n].value is not None for row in rows)]
    return (measured + [name for name in present if name not in measured])[:_MAX_HEADLINE]


def is_baseline(row: Row) -> bool:
    """Whether the row says what is reached without hallucination."""
    return row.score_kind == "original" or row.method in ENLARGING + _NOTHING_DONE


def ordered(rows: Sequence[Row]) -> list[Row]:
    """Nothing done first, then enlarging, then the methods; otherwise in the order given."""
    return sorted(rows, key=lambda row: (not is_baseline(row), row.method not in _NOTHING_DONE))


def best(rows: Sequence[Row], metric: Metric) -> Row | None:
    """The row with the best measured value; the first of them on a tie, None if nothing was measured."""
    measured = [(value, row) for row in rows if (value := _value(row, metric)) is not None]
    sign = 1 if metric.better == "higher" else -1
    return max(measured, key=lambda entry: sign * entry[0])[1] if measured else None


def beats(figure: Figure, other: Figure, metric: Metric) -> bool:
    """Whether `figure` is better than `other` by more than their intervals: the intervals do not touch."""
    if figure.low is None or figure.high is None or other.low is None or other.high is None:
        return False
    return figure.low > other.high if metric.better == "higher" else figure.high < other.low


def winner(rows: Sequence[Row], metric: Metric) -> Row | None:
    """The best method of one condition, if it beats the best baseline by more than their intervals; else None."""
    method, baseline = _sides(rows, metric)
    if method is None or baseline is None:
        return None
    return method if beats(method.figures[metric.name], baseline.figures[metric.name], metric) else None


def label(method: str) -> str:
    """How the page calls a method."""
    if method == "none":
        return "no hallucination"
    return f"{method} enlarging" if method in ENLARGING else method


def number_text(value: float, metric: Metric) -> str:
    """A value as the page prints it, without its unit: 0.585 -> "58.5" for a rate."""
    text = f"{100 * value:.1f}" if metric.as_percent else f"{value:.2f}" if metric.unit else f"{value:.3f}"
    return text.replace("-", "\N{MINUS SIGN}")


def value_text(figure: Figure, metric: Metric) -> str:
    """The value with its unit: "58.5 %", "24.31 dB"; "not measurable" where there is none."""
    if figure.value is None:
        return "not measurable"
    unit = "%" if metric.as_percent else metric.unit
    return number_text(figure.value, metric) + (f"\N{NO-BREAK SPACE}{unit}" if unit else "")


def interval_text(figure: Figure, metric: Metric) -> str:
    """The 95 % interval as "[53.0, 64.0]", or nothing where there is none."""
    if figure.value is None or figure.low is None or figure.high is None:
        return ""
    return f"[{number_text(figure.low, metric)},\N{NO-BREAK SPACE}{number_text(figure.high, metric)}]"


def _sentence(rows: Sequence[Row], condition: str, metric: Metric) -> str:
    here = [row for row in rows if row.condition == condition]
    method, baseline = _sides(here, metric)
    name = _inside_sentence(metric.label)
    if method is not None and baseline is not None:
        return f"At {condition}, {_comparison(method, baseline, metric)}"
    if method is not None:
        return f"At {condition}, {name} is {_text(method, metric)} with {_name(method)}; no baseline was measured."
    if baseline is not None:
        return f"At {condition}, {name} is {_text(baseline, metric)} with {_name(baseline)}."
    return f"At {condition}, {name} is not measurable."


def _comparison(method: Row, baseline: Row, metric: Metric) -> str:
    ours, theirs = method.figures[metric.name], baseline.figures[metric.name]
    name = _inside_sentence(metric.label)
    change = f"{name} from {_text(baseline, metric)} ({_name(baseline)}) to {_text(method, metric)}"
    if beats(ours, theirs, metric):
        return f"{_name(method)} {'raises' if metric.better == 'higher' else 'lowers'} {change}."
    if beats(theirs, ours, metric):
        return f"{_name(method)} makes recognition worse: {change}."
    both = (
        f"{name} is {_text(method, metric)} with {_name(method)} and {_text(baseline, metric)} with {_name(baseline)}"
    )
    if not interval_text(ours, metric) or not interval_text(theirs, metric):
        return f"{both}; without intervals for both, a difference is not shown."
    return f"{both}: the intervals overlap, so a difference is not shown."


def _sides(rows: Sequence[Row], metric: Metric) -> tuple[Row | None, Row | None]:
    methods = [row for row in rows if not is_baseline(row)]
    return best(methods, metric), best([row for row in rows if is_baseline(row)], metric)


def _value(row: Row, metric: Metric) -> float | None:
    return row.figures[metric.name].value if metric.name in row.figures else None


def _name(row: Row) -> str:
    fused = " (fused scores)" if row.score_kind == "fused" else ""
    original = " (original scores)" if row.score_kind == "original" and row.method not in (*ENLARGING, "none") else ""
    return label(row.method) + fused + original


def _text(row: Row, metric: Metric) -> str:
    figure = row.figures[metric.name]
    doubt = "(low confidence)" if figure.low_confidence else ""
    return " ".join(filter(None, (value_text(figure, metric), interval_text(figure, metric), doubt)))


def _inside_sentence(name: str) -> str:
    return name if name[:2].isupper() else name[:1].lower() + name[1:]
