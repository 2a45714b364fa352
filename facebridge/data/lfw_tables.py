"""LFW's pair and people lists as the CSV tables of a widely copied archive.

Genuine pairs are lines `name,imagenum1,imagenum2`, impostor pairs `name,imagenum1,name,imagenum2`, below a header line.
View 1 comes as two files a part (matchpairsDevTest.csv, mismatchpairsDevTest.csv), view 2 as one (pairs.csv) whose
header has three names and whose genuine lines may end in an empty fourth cell. Nothing in pairs.csv says where a fold
ends: as in pairs.txt, each fold lists its genuine pairs and then its impostor pairs.
"""

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from facebridge.data import own_protocols
from facebridge.data.data_set import lines
from facebridge.data.own_protocols import Pair
from facebridge.evaluation.protocol import PairProtocol

MATCHED, MISMATCHED = "matchpairs", "mismatchpairs"


def read_pairs(paths: Sequence[Path]) -> PairProtocol | None:
    """Pairs of one table, or of several put together; None if they lack genuine or impostor ones.

    A fold begins wherever a genuine pair follows an impostor one, if all folds then have the same numbers of both; else
    every pair is in fold 0.
    ValueError: if a line is not such a line; it names file and line.
    """
    rows: list[Pair] = []
    fold = 0
    for path in paths:
        for place, cells in _cells(path):
            first, second, one, other = _pair(place, cells)
            fold += bool(rows) and one == other and not rows[-1][2]
            rows.append((first, second, one == other, fold, one, other))
    sizes = Counter((row[3], row[2]) for row in rows)
    even = all(len({sizes[number, genuine] for number in range(fold + 1)}) == 1 for genuine in (True, False))
    return own_protocols.pairs(rows if even else [(*row[:3], 0, *row[4:]) for row in rows])


def read_people(path: Path) -> dict[str, int]:
    """People and their numbers of pictures: `name<tab>count` or `name,count`; headers and counts of people are skipped.

    ValueError: if the file cannot be read.
    """
    people = {}
    for _, line in lines(path):
        words = line.replace(",", "\t").split("\t")
        if len(words) == 2 and words[0].strip() and words[1].strip().isdecimal() and not words[0].strip().isdecimal():
            people[words[0].strip()] = int(words[1])
    return people


def _cells(path: Path) -> Iterator[tuple[str, list[str]]]:
    for number, line in lines(path):
        cells = [cell.strip() for cell in next(csv.reader([line]))]
        if number > 1:
            yield f"{path}:{number}", [cell for cell in cells if cell]


def _pair(place: str, cells: list[str]) -> tuple[str, str, str, str]:
    """Two pictures and their people."""
    if len(cells) == 3:
        cells = [cells[0], cells[1], cells[0], cells[2]]
    if len(cells) != 4 or not (cells[1].isdecimal() and cells[3].isdecimal()):
        raise ValueError(f"{place}: expected name,number,number or name,number,name,number; got {','.join(cells)!r}")
    one, i, other, j = cells
    for name in (one, other):
        if "/" in name or name in (".", ".."):
            raise ValueError(f"{place}: {name!r} cannot be the name of a person's folder")
    return f"{one}/{one}_{int(i):04d}.jpg", f"{other}/{other}_{int(j):04d}.jpg", one, other
