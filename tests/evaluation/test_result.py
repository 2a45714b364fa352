"""Evaluations survive the way through JSON, and say what is wrong with a file."""

import json

import pytest

from facebridge.evaluation.result import (
    METRICS,
    Evaluation,
    Example,
    Figure,
    GroupFigures,
    Groups,
    Row,
    Threshold,
    read,
    true_accept_rate_name,
)

FIGURES = {"rank1": Figure(0.5, 0.4, 0.6), "true_accept_rate@0.0001": Figure(None, reason="too few impostor pairs")}
THRESHOLDS = [
    Threshold(0.01, Figure(0.31, 0.29, 0.33), 0.0098, 49, 5000),
    Threshold(0.0001, Figure(None, reason="too few impostor pairs"), None, None, 5000),
]
RATES = {"false_reject_rate": Figure(0.2, 0.1, 0.3), "false_accept_rate": Figure(0.0, reason="none")}
GROUPS = Groups(
    "skin_tone",
    "within",
    0.001,
    Figure(0.4),
    [GroupFigures("dark", 20, 100, 1000, {**RATES, "rank1": Figure(0.9)}), GroupFigures("unknown", 1, 2, 0, RATES)],
    {"false_reject_rate": Figure(1.5, 1.2), "false_accept_rate": Figure(None, reason="no false accepts")},
    {"false_reject_rate": Figure(1.2), "false_accept_rate": Figure(None, reason="no false accepts")},
)
CURVES = [(0.0, 0.1), (1.0, 1.0)], [0.5, 1.0], {"edges": [0.0, 1.0]}
ROW = Row("bicubic", "7x6", "fused", FIGURES, *CURVES, THRESHOLDS, [GROUPS])
EXAMPLE = Example("Zoë", "7x6", "source.png", {"bicubic": "b.png"}, "target.png", {"bicubic": 0.3}, "worst")
EVALUATION = Evaluation(
    "LFW", {"pairs": 1000}, ["7x6"], [ROW], [EXAMPLE], {"seeds": [0], "refused": {"a.jpg": "empty"}}
)


def test_write_and_read_give_the_same_evaluation(tmp_path):
    path = EVALUATION.write(tmp_path / "out")
    assert [entry.name for entry in path.parent.iterdir()] == ["metrics.json"]
    assert read(tmp_path / "out") == read(path) == EVALUATION


def test_an_evaluation_written_without_thresholds_and_groups_is_read():
    entry = json.loads(EVALUATION.to_json())
    for row in entry["rows"]:
        del row["thresholds"], row["groups"]
    (row,) = Evaluation.from_json(json.dumps(entry)).rows
    assert (row.thresholds, row.groups) == ([], [])
    assert row.figures == ROW.figures


def test_a_row_is_found_by_method_condition_and_kind():
    assert EVALUATION.row("bicubic", "7x6", "fused") is ROW
    assert EVALUATION.row("bicubic", "7x6", "original") is None


def test_every_metric_is_named_by_its_key_and_explained():
    assert all(name == metric.name and metric.label and metric.definition for name, metric in METRICS.items())
    assert true_accept_rate_name(1e-4) == "true_accept_rate@0.0001" in METRICS


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Figure(None), "needs a reason"),
        (lambda: Figure(float("nan")), "value is nan"),
        (lambda: Figure(0.5, low=float("inf")), "low is inf"),
        (lambda: Row("m", "c", "original", {"rank": Figure(0.5)}), "known: accuracy"),
        (lambda: Row("m", "c", "average", {}), "known: original, generated, fused"),
    ],
)
def test_meaningless_entries_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "not an evaluation of format 1"),
        ({"colour": 1}, "Evaluation: unknown key 'colour'; known: title"),
        ({"rows": [{"method": "m"}]}, "Row: .*missing"),
        ({"rows": [{"thresholds": [{"far": 1}]}]}, "Figure: .*missing"),
        ({"rows": [{"groups": [{"threshold": {"value": 1}, "groups": [{"people": 1}]}]}]}, "GroupFigures: unknown"),
        ({"rows": [{"groups": [{"threshold": {"value": 1}, "share": 2}]}]}, "Groups: unknown key 'share'"),
    ],
)
def test_a_file_that_is_no_evaluation_is_named(tmp_path, change, message):
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(json.loads(EVALUATION.to_json()) | change), encoding="utf-8")
    with pytest.raises(ValueError, match=f"metrics.json: {message}"):
        read(tmp_path)


def test_a_folder_without_evaluation_is_named(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        read(tmp_path)
    (tmp_path / "metrics.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"metrics\.json: "):
        read(tmp_path)
