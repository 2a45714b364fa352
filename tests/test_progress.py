import io
import re

import pytest
from rich.console import Console

from facebridge.progress import Progress


def test_without_a_terminal_a_line_comes_every_tenth_of_the_way_and_at_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Progress("training", 100) as bar:
        for done in range(1, 101):
            bar.step(done, {"pixel": 1 / done, "total": 2.0})
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    assert [int(line.split()[1]) for line in lines] == [1, 11, 21, 31, 41, 51, 61, 71, 81, 91, 100]
    assert lines[1] == "training: 11 of 100  pixel 0.0909  total 2.0000"


def test_a_resumed_job_speaks_from_where_it_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("training", 100, done=50) as bar:
        for done in range(51, 71):
            bar.step(done)
    assert [int(line.split()[1]) for line in capsys.readouterr().err.splitlines()] == [51, 61]


@pytest.mark.parametrize("total", [1, 3])
def test_a_short_job_speaks_at_every_step(capsys: pytest.CaptureFixture[str], total: int) -> None:
    with Progress("drawing", total) as bar:
        for done in range(1, total + 1):
            bar.step(done)
    assert len(capsys.readouterr().err.splitlines()) == total


def test_a_hidden_bar_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("training", 3, shown=False) as bar:
        for done in range(1, 4):
            bar.step(done, {"total": 1.0})
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_on_a_terminal_the_bar_shows_the_steps_the_time_left_and_the_losses() -> None:
    screen = io.StringIO()
    with Progress("training", 4, done=1) as bar:
        pass
    bar.console = Console(file=screen, force_terminal=True, width=120, color_system=None)
    with bar:
        bar.step(2, {"pixel": 0.25})
        bar.step(4, {"pixel": 0.125})
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    for part in ("training", "4/4", "left", "pixel 0.1250"):
        assert part in shown
