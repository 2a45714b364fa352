"""Protocols of our own: what they promise, on lists that hypothesis draws."""

from collections import Counter
from itertools import combinations
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from facebridge.data import own_protocols
from facebridge.data.data_set import ByStem
from facebridge.data.face_list import FaceList

shots = st.lists(st.integers(1, 6), max_size=30)


def listed(numbers):
    rows = [(f"p{person}/{shot}.jpg", f"p{person}") for person, count in enumerate(numbers) for shot in range(count)]
    paths, identities = [path for path, _ in rows], [identity for _, identity in rows]
    return FaceList(Path(), {"path": paths, "identity": identities, "domain": ["vis"] * len(rows)})


@settings(max_examples=25)
@given(numbers=shots, seed=st.integers(0, 3))
def test_drawn_folds_share_nobody_and_hold_equally_many_pairs_of_both_kinds(numbers, seed):
    pairs = own_protocols.folds_of_people(listed(numbers), seed)
    several = sum(count > 1 for count in numbers)
    assert (pairs is None) == (several == 0 or len(numbers) < 2)
    if pairs is None:
        return
    assert pairs.num_folds == min(10, several, len(numbers) // 2)
    rows = list(zip(pairs.first, pairs.second, pairs.genuine, pairs.fold, strict=True))
    assert len({frozenset(row[:2]) for row in rows}) == len(rows)
    fold_of = {}
    for first, second, genuine, fold in rows:
        assert first != second
        assert (first.split("/")[0] == second.split("/")[0]) == genuine
        assert all(fold_of.setdefault(path.split("/")[0], fold) == fold for path in (first, second))
    sizes = Counter((row[3], row[2]) for row in rows)
    assert all(sizes[fold, True] == sizes[fold, False] <= 300 for fold in range(pairs.num_folds))


def test_one_fold_takes_every_pair_that_can_be_had():
    pairs = own_protocols.folds_of_people(listed([4, 1, 1, 1]), seed=0)
    rows = zip(pairs.first, pairs.second, pairs.genuine, strict=True)
    genuine = {frozenset((first, second)) for first, second, same in rows if same}
    assert genuine == {frozenset(pair) for pair in combinations([f"p0/{shot}.jpg" for shot in range(4)], 2)}
    assert sum(pairs.genuine) == 6


def test_people_with_many_pictures_do_not_fill_a_fold():
    pairs = own_protocols.folds_of_people(listed([200] + [2] * 100), seed=0)
    by_person = Counter(name for name, same in zip(pairs.first_identities, pairs.genuine, strict=True) if same)
    assert sum(by_person.values()) > 100
    assert by_person["p0"] <= 300 - 9


@given(numbers=shots)
def test_fidelity_compares_each_picture_with_itself_and_with_another_identity(numbers):
    faces = listed(numbers)
    pairs = own_protocols.fidelity(faces)
    assert (pairs is None) == (len(numbers) < 2)
    if pairs is None:
        return
    paths, identities = faces.column("path").tolist(), faces.column("identity").tolist()
    assert list(pairs.first[::2]) == list(pairs.second[::2]) == list(pairs.first[1::2]) == paths
    for row, other in enumerate(pairs.second[1::2]):
        following = [(row + step) % len(paths) for step in range(1, len(paths))]
        assert other == paths[next(each for each in following if identities[each] != identities[row])]
    assert pairs.num_folds == min(10, len(paths))


@given(numbers=shots)
def test_first_as_gallery_enrols_everybody_once(numbers):
    protocol = own_protocols.first_as_gallery(listed(numbers))
    assert (protocol is None) == (len(numbers) < 2 or max(numbers) < 2)
    if protocol is not None:
        assert protocol.where(split="gallery").column("path").tolist() == [f"p{p}/0.jpg" for p in range(len(numbers))]
        assert len(protocol.where(split="probe")) == sum(numbers) - len(numbers)


def test_a_protocol_of_which_one_kind_is_missing_is_left_out_with_a_note():
    pairs = own_protocols.fidelity(listed([1, 1, 1]))
    kept, notes = own_protocols.present(pairs, ByStem(["p1/0.png"]), "the list")
    assert kept is None
    assert "names 2 pictures that are not there" in notes[0]
    assert "left out" in notes[1]
