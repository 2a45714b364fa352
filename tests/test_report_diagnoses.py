"""What was found while a method was trained stands in the report."""

from pathlib import Path

import pytest

from facebridge.evaluation.result import Evaluation, Figure, Row
from facebridge.report import write_report


@pytest.mark.parametrize("found", [{"mine=runs/<mine>": ["the loss 'identity' has been zero", "another"]}, {}, None])
def test_stuck_losses_of_a_training_are_on_the_page(tmp_path: Path, found: dict[str, list[str]] | None) -> None:
    rows = [Row("mine", "7x6", "generated", {"rank1": Figure(0.5, 0.4, 0.6)})]
    provenance = {} if found is None else {"diagnoses": found}
    Evaluation("A test", {}, ["7x6"], rows, provenance=provenance).write(tmp_path)
    page = write_report([tmp_path], tmp_path / "report.html").read_text("utf-8")
    assert ("Found while training" in page) == bool(found)
    assert ("<li>mine=runs/&lt;mine&gt;: the loss &#39;identity&#39; has been zero</li>" in page) == bool(found)
