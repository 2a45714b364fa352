"""Many files written by the blocks of a job: each whole or not at all, and on the disk before its block counts.

PARTS/HOST-PID-...   the file that a process is writing; then it gets its name
"""

import os
import posixpath
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

AT_A_TIME = 8
"""Files that the disk is asked to keep at once: thirty times as fast as one after the other."""


class BlockFiles:
    """Files below a folder; one for each process.

    Args:
        out: the folder.
        parts: where unfinished files lie, on the same file system; made if it is not there.
    """

    def __init__(self, out: Path, parts: Path) -> None:
        parts.mkdir(parents=True, exist_ok=True)
        self._out = out
        self._part = f"{parts}/{os.uname().nodename}-{os.getpid()}-{os.urandom(4).hex()}"
        self._folders: set[str] = set()
        self._written: list[str] = []

    def write(self, name: str, data: bytes) -> None:
        """Write a file, its name relative to the folder; one of that name is replaced."""
        path = f"{self._out}/{name}"
        folder = posixpath.dirname(path)
        if folder not in self._folders:
            os.makedirs(folder, exist_ok=True)
            self._folders.add(folder)
        with open(self._part, "wb") as file:
            file.write(data)
        os.replace(self._part, path)
        self._written.append(path)

    def keep(self) -> None:
        """Have the disk keep all that was written since, so that a block's record does not outlive its files."""
        shares = [self._written[first::AT_A_TIME] for first in range(AT_A_TIME)]
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            for _ in pool.map(_have_kept, shares):
                pass
        self._written = []


def _have_kept(paths: Sequence[str]) -> None:
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
