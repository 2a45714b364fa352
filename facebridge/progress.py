"""A progress bar with losses and the time left."""

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress


class Progress:
    """A bar on standard error; where that is no terminal, a line every tenth of the way.

    Args:
        title: what is going on.
        total: steps in all.
        done: steps done before.
        shown: False: silent.
    """

    def __init__(self, title: str, total: int, done: int = 0, shown: bool = True) -> None:
        self.title = title
        self.total = total
        self.done = done
        self.console = Console(stderr=True)
        self.bar: RichProgress | None = None
        self.task: Any = None
        self.shown = shown
        self.next_line = done

    def __enter__(self) -> "Progress":
        if self.shown and self.console.is_terminal:
            self.bar = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[losses]}"),
                console=self.console,
            )
            self.bar.start()
            self.task = self.bar.add_task(self.title, total=self.total, completed=self.done, losses="")
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def step(self, done: int, losses: dict[str, float] | None = None) -> None:
        """Say that `done` steps are done, with the losses of the last one."""
        text = "  ".join(f"{name} {value:.4f}" for name, value in (losses or {}).items())
        if self.bar is not None:
            self.bar.update(self.task, completed=done, losses=text)
        elif self.shown and (done >= self.next_line or done == self.total):
            self.console.print(f"{self.title}: {done} of {self.total}  {text}", highlight=False)
            self.next_line = done + max(self.total // 10, 1)
