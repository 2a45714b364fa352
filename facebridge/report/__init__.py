"""Evaluations -> one page that explains itself: `write_report([folder], Path("report.html"))`.

The page is a single HTML file: no script, no network, pictures and plots inside. What it says of a method is computed
from the figures and their intervals; a figure that could not be measured is said to be so, with the reason.
"""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from os import fsync
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from facebridge.evaluation.result import GROUP_METRICS, METRICS, Evaluation, read
from facebridge.report.section import Section
from facebridge.report.tables import common_tables

__all__ = ["write_report"]

_HERE = Path(__file__).parent


def write_report(evaluations: Sequence[Path], out: Path) -> Path:
    """Write one page about the evaluations to `out` (to a temporary name, flushed, then renamed) and return its path.

    `evaluations` are folders that hold a metrics.json and the pictures it names. The same folders give the same bytes.

    ValueError: if `evaluations` is empty, a folder holds no evaluation, a row is there twice or has a condition that is
    not listed, or an example names a picture that is missing, is not PNG, JPEG or WebP, or lies outside its folder.
    """
    if not evaluations:
        raise ValueError("a report needs at least one evaluation; give folders that `facebridge evaluate` wrote")
    folders = [path if path.is_dir() else path.parent for path in evaluations]
    told_apart = _told_apart([_read(path) for path in evaluations])
    sections = [
        Section(evaluation, folder, f"part-{number}")
        for number, (evaluation, folder) in enumerate(zip(told_apart, folders, strict=True), 1)
    ]
    _write(_page(sections), out)
    return out


def _read(path: Path) -> Evaluation:
    evaluation = read(path)
    seen = set()
    for row in evaluation.rows:
        key = (row.method, row.condition, row.score_kind)
        if row.condition not in evaluation.conditions:
            known = ", ".join(evaluation.conditions)
            raise ValueError(f"{path}: a row of {row.method} has the condition {row.condition!r}; listed: {known}")
        if key in seen:
            raise ValueError(f"{path}: two rows of {', '.join(key)}; keep one of them")
        seen.add(key)
    return evaluation


def _told_apart(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Evaluations of the same title get their place on the page added to it."""
    titles = [evaluation.title for evaluation in evaluations]
    return [
        replace(evaluation, title=f"{evaluation.title} ({place})") if titles.count(evaluation.title) > 1 else evaluation
        for place, evaluation in enumerate(evaluations, 1)
    ]


def _page(sections: Sequence[Section]) -> str:
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    style = (_HERE / "style.css").read_text(encoding="utf-8")
    used = {name for section in sections for name in section.metric_names}
    has_groups = any(section.divisions for section in sections)
    of_groups = [metric for name, metric in GROUP_METRICS.items() if has_groups and name not in used]
    return environment.get_template("page.html.j2").render(
        sections=sections,
        common=common_tables([section.evaluation for section in sections]),
        metrics=[*(metric for name, metric in METRICS.items() if name in used), *of_groups],
        has_groups=has_groups,
        style=style,
        style_hash=b64encode(sha256(style.encode()).digest()).decode(),
    )


def _write(page: str, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(out.name + ".unfinished")
    with unfinished.open("w", encoding="utf-8", newline="\n") as file:
        file.write(page)
        file.flush()
        fsync(file.fileno())
    unfinished.replace(out)
