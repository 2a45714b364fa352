"""A list in memory or on disk, walked in the same pieces either way."""

import hashlib
import json
from collections.abc import Iterator

import numpy as np

from facebridge.data.face_list import FaceList
from facebridge.data.pieces import ROWS_PER_PIECE, FaceListFile

Source = FaceList | FaceListFile
"""A list in memory, or one that is read in pieces."""


def rows_of(source: Source, start: int, stop: int) -> FaceList:
    """Rows of a list from start up to stop, as of a slice."""
    if isinstance(source, FaceList):
        return source.take(np.arange(start, min(stop, len(source))))
    return source.read(start, stop)


def blocks_of(source: Source, block_size: int = ROWS_PER_PIECE) -> Iterator[tuple[int, FaceList]]:
    """First row and rows of each block; a list on disk is read in larger pieces."""
    per_piece = max(1, ROWS_PER_PIECE // block_size) * block_size
    for first in range(0, len(source), per_piece):
        piece = rows_of(source, first, first + per_piece)
        for start in range(0, len(piece), block_size):
            yield first + start, rows_of(piece, start, start + block_size)


def digest(source: Source) -> str:
    """A SHA-256 of all that a list says, to know it again."""
    hashed = hashlib.sha256(json.dumps(list(source.column_names)).encode())
    for _, rows in blocks_of(source):
        for name in rows.column_names:
            hashed.update(json.dumps([str(cell) for cell in rows.column(name).tolist()]).encode())
        hashed.update(b"" if rows.landmarks is None else rows.landmarks.tobytes())
    return hashed.hexdigest()
