"""Pair lists and gallery lists: what is written is what is read, and mistakes are named by file and line."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facebridge.evaluation.protocol import is_face_list, read_gallery_and_probe, read_pairs, under_either_name

NAMES = st.text(st.characters(categories=["L", "Nd"], include_characters="_-."), min_size=1, max_size=12).filter(
    lambda name: name not in (".", "..")
)
NUMBERS = st.integers(1, 99_999)


@st.composite
def lfw_lists(draw):
    num_folds, num_pairs = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    different = st.tuples(NAMES, NUMBERS, NAMES, NUMBERS).filter(lambda pair: pair[0] != pair[2])
    folds = []
    for _ in range(num_folds):
        same = draw(st.lists(st.tuples(NAMES, NUMBERS, NUMBERS), min_size=num_pairs, max_size=num_pairs))
        folds.append((same, draw(st.lists(different, min_size=num_pairs, max_size=num_pairs))))
    return num_folds, num_pairs, folds


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lfw_lists(), st.sampled_from(["\n", "\r\n"]))
def test_lfw_lists_are_read_as_written(tmp_path, written, line_end):
    num_folds, num_pairs, folds = written
    header = f"{num_pairs}" if num_folds == 1 else f"{num_folds}\t{num_pairs}"
    rows = [row for same, different in folds for row in same + different]
    lines = [header, *("\t".join(str(word) for word in row) for row in rows)]
    path = tmp_path / "pairs.txt"
    path.write_text(line_end.join([*lines, ""]), encoding="utf-8", newline="")
    pairs = read_pairs(path)
    assert len(pairs) == 2 * num_folds * num_pairs
    assert pairs.num_folds == num_folds
    for index, row in enumerate(rows):
        one, i, other, j = row if len(row) == 4 else (row[0], row[1], row[0], row[2])
        assert pairs.first[index] == f"{one}/{one}_{i:04d}.jpg"
        assert pairs.second[index] == f"{other}/{other}_{j:04d}.jpg"
        assert (pairs.first_identities[index], pairs.second_identities[index]) == (one, other)
        assert pairs.genuine[index] == (len(row) == 3)
        assert pairs.fold[index] == index // (2 * num_pairs)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60) | st.text("01 2\tab\n", max_size=60).map(str.encode), st.sampled_from(["txt", "csv"]))
def test_any_file_is_read_or_refused_by_name(tmp_path, content, kind):
    path = tmp_path / f"pairs.{kind}"
    path.write_bytes(content)
    try:
        assert len(read_pairs(path)) > 0
    except ValueError as error:
        assert str(error).startswith(str(path))  # noqa: PT017


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "pairs.txt:1: expected"),
        ("ten 300\n", "pairs.txt:1: expected"),
        ("1\nA\t1\t2\n", "pairs.txt: 2 lines; the first line announces 3"),
        ("1\nA\t1\nA\t1\tB\t1\n", 'pairs.txt:2: expected "name i j"'),
        ("1\nA\t1\t2\nA\t1\t2\n", 'pairs.txt:3: expected "name i name j"'),
        ("1\nA\t1\t0\nA\t1\tB\t1\n", "pairs.txt:2: expected a picture number from 1, got '0'"),
        ("1\nA\t1\t2\nA\t1\tA\t2\n", "pairs.txt:3: expected two different people"),
        ("1\n..\t1\t2\nA\t1\tB\t2\n", "pairs.txt:2: '..' cannot be"),
        ("1\na/b\t1\t2\nA\t1\tB\t2\n", "pairs.txt:2: 'a/b' cannot be"),
    ],
)
def test_mistakes_in_an_lfw_list_are_named_by_line(tmp_path, text, message):
    path = tmp_path / "pairs.txt"
    path.write_text(text)
    with pytest.raises(ValueError) as error:  # noqa: PT011
        read_pairs(path)
    assert message in str(error.value)


def test_a_pair_table_is_read_as_written(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text('path_a,path_b,genuine,fold\nx/1.png,x/2.png,1,0\n"y, z/1.png",x/2.png,false,3\n')
    pairs = read_pairs(path)
    assert (pairs.first, pairs.second) == (("x/1.png", "y, z/1.png"), ("x/2.png", "x/2.png"))
    assert (pairs.genuine, pairs.fold) == ((True, False), (0, 3))
    assert (pairs.first_identities, pairs.second_identities) == (("x", "y, z"), ("x", "x"))
    assert pairs.pictures() == ["x/1.png", "x/2.png", "y, z/1.png"]


@pytest.mark.parametrize(
    ("text", "identities"),
    [
        ("path_a,path_b,genuine,identity_a,identity_b\nx/1.png,x/2.png,0,Ann,Bob\n", ("Ann", "Bob")),
        ("path_a,path_b,genuine\nx/1.png,y/2.png,0\n", ("x", "y")),
        ("path_a,path_b,genuine\nprobe/1.png,probe/2.png,0\n", ("probe/1.png", "probe/2.png")),
        ("path_a,path_b,genuine\n1.png,2.png,1\n", ("1.png", "2.png")),
    ],
)
def test_identities_are_given_or_folders_or_single_pictures(tmp_path, text, identities):
    path = tmp_path / "pairs.csv"
    path.write_text(text)
    pairs = read_pairs(path)
    assert (pairs.first_identities[0], pairs.second_identities[0]) == identities


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "pairs.csv:1: no column 'path_a'"),
        ("path_a,path_b\n", "pairs.csv:1: no column 'genuine'"),
        ("path_a,path_b,genuine,colour\n", "pairs.csv:1: unknown column 'colour'"),
        ("path_a,path_b,genuine,genuine\n", "pairs.csv:1: column 'genuine' stands twice"),
        ("path_a,path_b,genuine\n", "pairs.csv: no pairs"),
        ("path_a,path_b,genuine\na,b\n", "pairs.csv:2: expected as many values"),
        ("path_a,path_b,genuine\na,b,1,2\n", "pairs.csv:2: expected as many values"),
        ("path_a,path_b,genuine\na,b,yes\n", "pairs.csv:2: genuine must be"),
        ("path_a,path_b,genuine\na,,1\n", "pairs.csv:2: path_a and path_b"),
        ("path_a,path_b,genuine,fold\na,b,1,-1\n", "pairs.csv:2: fold must be"),
        ("path_a,path_b,genuine,identity_a\na,b,1,A\n", "pairs.csv:1: identity_a and identity_b"),
        ("path_a,path_b,genuine,identity_a,identity_b\na,b,1,A,B\n", "pairs.csv:2: genuine is 1, but"),
        ('path_a,path_b,genuine\n"a,b,1\n', "pairs.csv:2: not a CSV line"),
    ],
)
def test_mistakes_in_a_pair_table_are_named_by_line(tmp_path, text, message):
    path = tmp_path / "pairs.csv"
    path.write_text(text)
    with pytest.raises(ValueError) as error:  # noqa: PT011
        read_pairs(path)
    assert message in str(error.value)


def test_one_face_list_is_divided_by_its_split(tmp_path):
    path = tmp_path / "faces.csv"
    path.write_text("path,identity,domain,split\na.png,A,vis,gallery\nb.png,A,nir,probe\nc.png,B,nir,train\n")
    protocol = read_gallery_and_probe(path)
    assert [row.path for row in protocol.gallery] == ["a.png"]
    assert [row.path for row in protocol.probe] == ["b.png"]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("faces.csv", "path,identity,domain\n", True),
        ("pairs.csv", '"path_a",path_b,genuine\n', False),
        ("faces.txt", "a.png 0 vis\n", True),
        ("pairs.txt", "10\t300\r\n", False),
        ("pairs.txt", "500\n", False),
        ("faces.parquet", "", True),
    ],
)
def test_face_lists_and_pair_lists_are_told_apart(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text)
    assert is_face_list(tmp_path / name) == expected


def test_two_face_lists_are_gallery_and_probe(tmp_path):
    gallery, probe = tmp_path / "gallery.csv", tmp_path / "probe.csv"
    gallery.write_text("path,identity,domain\na.png,A,vis\n")
    probe.write_text("path,identity,domain\nb.png,A,nir\nc.png,B,nir\n")
    protocol = read_gallery_and_probe(gallery, probe)
    assert (len(protocol.gallery), len(protocol.probe)) == (1, 2)


def test_a_face_list_without_probes_is_named(tmp_path):
    path = tmp_path / "faces.csv"
    path.write_text("path,identity,domain,split\na.png,A,vis,gallery\n")
    with pytest.raises(ValueError, match=r"faces\.csv: no row whose split is probe"):
        read_gallery_and_probe(path)


@pytest.mark.parametrize("header", ["2\t3", "2 3"])
def test_lists_of_view_2_are_found_under_either_name(tmp_path, header):
    pairs = [f"p{pair}\t1\t2" for pair in range(3)] + [f"p{pair}\t1\tq{pair}\t1" for pair in range(3)]
    (tmp_path / "lfw_pairs.txt").write_text("\n".join([header, *pairs, *pairs, ""]))
    found = under_either_name(tmp_path / "pairs.txt")
    assert found == tmp_path / "lfw_pairs.txt"
    assert read_pairs(found).fold == (0,) * 6 + (1,) * 6
    assert under_either_name(found) == found
    for other in (tmp_path / "else.txt", tmp_path / "none" / "pairs.txt"):
        assert under_either_name(other) == other
    (tmp_path / "pairs.txt").write_text("1")
    assert under_either_name(tmp_path / "pairs.txt") == tmp_path / "pairs.txt"


@pytest.mark.real
def test_view_1_of_lfw_has_500_pairs_of_each_kind_and_its_pictures(real_data: Path):
    pairs = read_pairs(real_data / "data" / "lfw" / "pairsDevTest.txt")
    assert (len(pairs), sum(pairs.genuine), pairs.num_folds) == (1000, 500, 1)
    folder = real_data / "data" / "lfw" / "lfw-deepfunneled"
    assert all(os.path.exists(folder / picture) for picture in pairs.pictures())
