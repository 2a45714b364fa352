"""Protocols of our own, for data sets that come with none: none of them is published, and each says so in its notes."""

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np

from facebridge.data.data_set import ByStem, Protocol, absent_note
from facebridge.data.face_list import FaceList
from facebridge.evaluation.protocol import PairProtocol

Pair = tuple[str, str, bool, int, str, str]
"""path_a, path_b, whether genuine, fold, identity_a, identity_b"""

FOLDS, PAIRS_PER_FOLD = 10, 300
"""As in LFW's view 2: folds, and genuine (and as many impostor) pairs a fold."""


def pairs(rows: Iterable[Pair]) -> PairProtocol | None:
    """Rows as a protocol; None if there are no genuine or no impostor ones, so that nothing could be measured."""
    listed = list(rows)
    if {genuine for _, _, genuine, *_ in listed} != {True, False}:
        return None
    first, second, genuine, fold, identity_a, identity_b = zip(*listed, strict=True)
    return PairProtocol(first, second, genuine, fold, identity_a, identity_b)


def present(protocol: PairProtocol, known: ByStem, source: str) -> tuple[PairProtocol | None, list[str]]:
    """The pairs whose two pictures are there, under the pictures' own names, and notes of the pictures that are not.

    known: the pictures. source: what to call the pair list. The protocol is None if nothing is left to measure.
    """
    found = {path: known.find(path) for path in protocol.pictures()}
    absent = [path for path, own in found.items() if own is None]
    columns = (protocol.genuine, protocol.fold, protocol.first_identities, protocol.second_identities)
    ends = zip(protocol.first, protocol.second, *columns, strict=True)
    rows = [
        (first, second, *rest)
        for path_a, path_b, *rest in ends
        if (first := found[path_a]) is not None and (second := found[path_b]) is not None
    ]
    kept = pairs(rows)
    notes = absent_note(source, absent)
    if kept is None:
        notes.append(
            f"{source}: not one genuine and one impostor pair whose pictures are there; the protocol is left out"
        )
    elif len(kept) < len(protocol):
        lost = len(protocol) - len(kept)
        notes.append(f"{source}: {lost:,} of {len(protocol):,} pairs {'is' if lost == 1 else 'are'} left out")
    return kept, notes


def fidelity(faces: FaceList) -> PairProtocol | None:
    """Each picture with itself, and with the next one of another identity (the last with the first), in ten folds.

    With fewer pictures there are as many folds as pictures. None: fewer than two identities.
    """
    paths, identities = faces.column("path").tolist(), faces.column("identity").tolist()
    if len(set(identities)) < 2:
        return None
    following = _next_other(identities)
    rows: list[Pair] = []
    for row, (path, identity) in enumerate(zip(paths, identities, strict=True)):
        other = following[row]
        fold = row % FOLDS
        rows.append((path, path, True, fold, identity, identity))
        rows.append((path, paths[other], False, fold, identity, identities[other]))
    return pairs(rows)


def first_as_gallery(faces: FaceList) -> FaceList | None:
    """The first picture of every person, in the order of the list, is gallery; the others are probes.

    None: nobody has two pictures, or everybody is one person.
    """
    seen: set[str] = set()
    splits = []
    for identity in faces.column("identity").tolist():
        splits.append("probe" if identity in seen else "gallery")
        seen.add(identity)
    return faces.with_column("split", splits) if "probe" in splits and len(seen) > 1 else None


def fidelity_of(**faces: FaceList) -> tuple[dict[str, Protocol], list[str]]:
    """`fidelity` by the protocol's name, and what to say of it; nothing where there are fewer than two pictures."""
    made = {name: fidelity(rows) for name, rows in faces.items()}
    protocols: dict[str, Protocol] = {name: protocol for name, protocol in made.items() if protocol is not None}
    notes = [f"no protocol {name}: it needs two pictures" for name in made if name not in protocols]
    if protocols:
        notes.append(
            f"protocol {', '.join(protocols)}: FaceBridge's own, for pictures without identities: each is compared "
            "with itself (genuine) and with the next one (impostor), to judge reduced and generated pictures"
        )
    return protocols, notes


def drawn_of(faces: FaceList) -> tuple[dict[str, Protocol], list[str]]:
    """`first_as_gallery` as the protocol "drawn", and what to say of it; nothing where nobody has two pictures."""
    protocol = first_as_gallery(faces)
    if protocol is None:
        return {}, ["no protocol drawn: it needs two people, one of them with two pictures"]
    note = (
        "protocol drawn is FaceBridge's own, not a published one: the first picture of every person is gallery, "
        "the person's others are probes"
    )
    return {"drawn": protocol}, [note]


def folds_of_people(faces: FaceList, seed: int) -> PairProtocol | None:
    """Up to ten folds, no person in two of them, each with equally many genuine and impostor pairs, 300 at most.

    People come before pictures in the drawing, so that those with many pictures do not fill a fold; no pair comes
    twice. There are fewer folds where fewer than ten people have two pictures. None: not one fold can be made.
    """
    shots: dict[str, list[str]] = {}
    for path, identity in zip(faces.column("path").tolist(), faces.column("identity").tolist(), strict=True):
        shots.setdefault(identity, []).append(path)
    draw = np.random.default_rng(seed)
    several = [person for person in sorted(shots) if len(shots[person]) > 1]
    single = [person for person in sorted(shots) if len(shots[person]) == 1]
    num_folds = min(FOLDS, len(several), len(shots) // 2)
    order = [several[at] for at in draw.permutation(len(several))] + [
        single[at] for at in draw.permutation(len(single))
    ]
    rows: list[Pair] = []
    for fold in range(num_folds):
        rows.extend(_fold({person: shots[person] for person in order[fold::num_folds]}, fold, draw))
    return pairs(rows)


def _fold(shots: dict[str, list[str]], fold: int, draw: np.random.Generator) -> list[Pair]:
    people = list(shots)
    genuine = _dealt([list(combinations(shots[person], 2)) for person in people], draw)
    couples = list(combinations(people, 2))
    chosen = draw.permutation(len(couples))[:PAIRS_PER_FOLD]
    across = ([(one, other) for one in shots[a] for other in shots[b]] for a, b in (couples[at] for at in chosen))
    impostor = _dealt(list(across), draw)
    owner = {path: person for person in people for path in shots[person]}
    count = min(len(genuine), len(impostor))
    return [
        (one, other, same, fold, owner[one], owner[other])
        for same, found in ((True, genuine), (False, impostor))
        for one, other in found[:count]
    ]


def _dealt(piles: Sequence[list[tuple[str, str]]], draw: np.random.Generator) -> list[tuple[str, str]]:
    """One from each pile in turn, each pile shuffled, until the fold is full or nothing is left."""
    shuffled = [
        [pile[at] for at in draw.choice(len(pile), min(len(pile), PAIRS_PER_FOLD), replace=False)]
        for pile in (piles[at] for at in draw.permutation(len(piles)))
        if pile
    ]
    longest = max((len(pile) for pile in shuffled), default=0)
    dealt = [pile[turn] for turn in range(longest) for pile in shuffled if turn < len(pile)]
    return dealt[:PAIRS_PER_FOLD]


def _next_other(identities: Sequence[str]) -> list[int]:
    """For each row, the next row of another identity, going round; at least two identities."""
    count = len(identities)
    following = [0] * count
    other = next(row for row in range(count) if identities[row] != identities[-1])
    for row in range(count - 1, -1, -1):
        if row < count - 1 and identities[row + 1] != identities[row]:
            other = row + 1
        following[row] = other
    return following
