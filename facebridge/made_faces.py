"""The account of what a job of generating has made, so that it can be killed and go on.

OUT/.generating/job.json    what the job is; a folder of another job is refused
                made.jsonl  one line a face that is written, added when its files are on the disk
                parts/      files that are being written
"""

import json
import os
import shutil
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facebridge import runs
from facebridge.source_faces import ACCOUNT, Sources

__all__ = ["ACCOUNT", "MadeFaces", "known_job", "refuse_other"]


class MadeFaces:
    """What is made of the faces of some sources; one process at a time, which holds the folder by `runs.locked`.

    out: the folder. job: what identifies the job, ready for JSON.
    ValueError: if the folder holds something else, or what another job made.
    """

    def __init__(self, out: Path, job: dict[str, Any]) -> None:
        self.out = out
        self.folder = out / ACCOUNT
        self.job = job
        refuse_other(out, job)
        shutil.rmtree(self.folder / "parts", ignore_errors=True)
        (self.folder / "parts").mkdir(parents=True)
        if not (self.folder / "job.json").is_file():
            runs.write_bytes(self.folder / "job.json", json.dumps(job, indent=1).encode())
        self.lines = self.folder / "made.jsonl"
        if self.lines.is_file():
            _cut_torn(self.lines)
        self.file = self.lines.open("ab")
        self.names: dict[str, int] = {}
        """Stem -> row, of rows whose list cannot be asked for it."""
        self._starts = array("q")

    def __enter__(self) -> "MadeFaces":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        shutil.rmtree(self.folder / "parts", ignore_errors=True)

    def read(self, sources: Sources, files: list[str]) -> NDArray[np.bool_]:
        """Which rows are made, their source unchanged and their files there.

        Of several lines about one name the last counts: its face is the one that the files hold.
        files: names of a face's files, with {stem} in them.
        """
        made = np.zeros(len(sources), bool)
        self._starts = array("q", [-1]) * len(sources)
        for start, line in self._all():
            row = sources.row_of(line)
            if row is not None:
                self._starts[row] = start
        for start, line in self._all():
            row = sources.row_of(line)
            if row is None or self._starts[row] != start or not sources.is_same(row, line):
                continue
            if all((self.out / name.format(stem=line["stem"])).is_file() for name in files):
                made[row] = True
                if "cells" in line:
                    self.names[line["stem"]] = row
        return made

    def add(self, row: int, line: dict[str, Any]) -> None:
        """A face is written."""
        self._starts[row] = self.file.tell()
        self.file.write(json.dumps(line).encode() + b"\n")

    def flush(self) -> None:
        """Let no kill take away what was added."""
        self.file.flush()

    def line(self, row: int) -> dict[str, Any]:
        """What was added of a row."""
        self.file.flush()
        with self.lines.open("rb") as file:
            file.seek(self._starts[row])
            return dict(json.loads(file.readline()))

    def part(self) -> str:
        """A new name for a file that is being written."""
        return f"{self.folder}/parts/{os.urandom(8).hex()}"

    def _all(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Byte at which a line begins, and the line."""
        with self.lines.open("rb") as file:
            start = 0
            for text in file:
                yield start, json.loads(text)
                start += len(text)


def known_job(out: Path) -> dict[str, Any] | None:
    """The job whose faces the folder holds, if there is one."""
    path = out / ACCOUNT / "job.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


def refuse_other(out: Path, job: dict[str, Any]) -> None:
    """ValueError: if the folder holds something else than what this job, or nothing yet, has made."""
    known = known_job(out)
    if known is None:
        if out.is_dir() and any(out.iterdir()) and not (out / ACCOUNT).is_dir():
            raise ValueError(f"{out} is not empty and holds no generated faces: choose another folder")
        return
    for key, value in json.loads(json.dumps(job)).items():
        if known.get(key) != value:
            raise ValueError(
                f"{out} holds faces generated with {key} {known.get(key)!r}, not {value!r}: choose another folder"
            )


def _cut_torn(path: Path) -> None:
    """Take away a last line that a kill has torn."""
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - 65536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                file.truncate(start + newline + 1)
                return
            end = start
        file.truncate(0)
