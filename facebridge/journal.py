"""What a training writes down while it runs: losses, validations, events."""

import json
from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import Any

from facebridge import diagnostics, runs
from facebridge.images import BadPicture
from facebridge.runs import LOG, VALIDATION, Run

EVENTS = "run.jsonl"


class Journal:
    """log.jsonl, validation.jsonl, run.jsonl and, where tensorboard is installed, its event file.

    Silent in all processes but the first, except for bad pictures: each process meets its own.
    """

    def __init__(self, run: Run, writing: bool) -> None:
        self.run = run
        self.writing = writing
        self.board: Any = None
        self.recent: deque[dict[str, Any]] = deque(maxlen=diagnostics.LINES)
        self.diagnosed: set[str] = set()

    def __enter__(self) -> "Journal":
        if self.writing:
            self.write({"event": "start", **runs.provenance()}, EVENTS)
            self.board = _tensorboard(self.run.folder)
        return self

    def __exit__(self, *_: object) -> None:
        if self.board is not None:
            self.board.close()

    def write(self, line: dict[str, Any], file: str = LOG) -> None:
        if self.writing:
            runs.add_line(self.run.folder / file, line)

    def losses(self, step: int, losses: dict[str, float]) -> None:
        """Write down a logged step; losses that are stuck are said and recorded, each once in a run."""
        line = {"step": step, **losses}
        self.write(line)
        self._draw(step, losses)
        self.recent.append(line)
        for finding in diagnostics.stuck(list(self.recent)) if self.writing else []:
            if finding.loss not in self.diagnosed:
                self.diagnosed.add(finding.loss)
                self.write({"event": "diagnosis", **asdict(finding), "text": finding.text}, EVENTS)
                print(finding.text)

    def validation(self, step: int, figures: dict[str, float]) -> None:
        """Write down the figures of a validation."""
        self.write({"step": step, **figures}, VALIDATION)
        self._draw(step, {f"validation/{name}": value for name, value in figures.items()})

    def bad_picture(self, bad: BadPicture) -> None:
        line = {"event": "bad picture", "path": str(bad.path), "cause": bad.cause}
        runs.add_line(self.run.folder / EVENTS, line)

    def back_to(self, step: int) -> None:
        """Forget the steps after a checkpoint: they will come again."""
        for path in (self.run.folder / LOG, self.run.folder / VALIDATION):
            if self.writing and path.is_file():
                kept = [line for line in runs.lines(path) if line["step"] <= step]
                runs.write_bytes(path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        if self.writing:
            self.recent.extend(self.run.log())
            self.diagnosed |= {line["loss"] for line in self.run.diagnoses()}

    def summary(self) -> None:
        """Say at the end what was found to be stuck, and whether it still is."""
        found = self.run.diagnoses() if self.writing else []
        now = {finding.loss for finding in diagnostics.stuck(list(self.recent))}
        for line in found:
            print(f"{'still at the end' if line['loss'] in now else 'not at the end any more'}: {line['text']}")

    def _draw(self, step: int, values: dict[str, float]) -> None:
        if self.board is not None:
            for name, value in values.items():
                self.board.add_scalar(name, value, step)


def _tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"))
