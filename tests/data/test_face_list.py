"""Face lists: what is written is what is read, and every error says where and what."""

import os
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facebridge.data import face_list
from facebridge.data.face_list import FaceList, read, write

FIVE = (
    "right_eye_x,right_eye_y,left_eye_x,left_eye_y,nose_x,nose_y,mouth_right_x,mouth_right_y,mouth_left_x,mouth_left_y"
)


def assert_equal(one, other):
    assert one.column_names == other.column_names
    for name in one.column_names:
        np.testing.assert_array_equal(one.column(name), other.column(name))
    assert (one.landmarks is None) == (other.landmarks is None)
    if one.landmarks is not None:
        np.testing.assert_array_equal(one.landmarks, other.landmarks)


def csv_file(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "faces.csv"
    path.write_bytes(text.encode(encoding))
    return path


def error_of(tmp_path, text, **options):
    path = csv_file(tmp_path, text)
    with pytest.raises(ValueError, match="faces.csv") as caught:
        read(path, **options)
    return str(caught.value).removeprefix(str(path) + ": ")


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
some_text = text.filter(bool)
paths = (
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/\\:"), min_size=1, max_size=8),
        min_size=1,
        max_size=3,
    )
    .map("/".join)
    .filter(lambda path: ".." not in path.split("/"))
)
coordinates = st.floats(-1e6, 1e6, width=32)


@st.composite
def face_lists(draw, root):
    count = draw(st.integers(0, 5))

    def column(values):
        return draw(st.lists(values, min_size=count, max_size=count))

    columns = {"path": column(paths), "identity": column(some_text), "domain": column(some_text)}
    for name in draw(st.sets(st.sampled_from(["session", "split", "expression", "pair", "camera", "Größe, cm"]))):
        columns[name] = column(text)
    if draw(st.booleans()):
        columns["yaw_deg"] = column(st.one_of(st.just(np.nan), st.floats(-180, 180, width=32)))
    num_points = draw(st.sampled_from([None, 5, 68]))
    if num_points is None:
        return FaceList(root, columns)
    rows = column(st.one_of(st.none(), st.tuples(coordinates, coordinates)))
    points = [np.full((num_points, 2), np.nan if row is None else row) for row in rows]
    return FaceList(root, columns, np.array(points).reshape(count, num_points, 2))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@given(data=st.data())
def test_what_is_written_is_read(suffix, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("list")
    faces = data.draw(face_lists(folder))
    write(faces, folder / f"faces{suffix}")
    again = read(folder / f"faces{suffix}")
    assert_equal(faces, again)
    assert again.root == folder
    assert os.listdir(folder) == [f"faces{suffix}"]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_list_or_an_error_that_names_the_file(tmp_path_factory, noise):
    for suffix, start in ((".csv", b""), (".csv", b"path,identity,domain\n"), (".txt", b""), (".parquet", b"PAR1")):
        path = tmp_path_factory.mktemp("noise") / f"faces{suffix}"
        path.write_bytes(start + noise)
        try:
            read(path)
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017


def test_rows_say_none_where_the_list_does_not_say(tmp_path):
    path = csv_file(
        tmp_path,
        f"path,identity,domain,split,yaw_deg,glasses,{FIVE}\n"
        "a/1.jpg,a,nir,train,-12.5,yes,1,2,3,4,5,6,7,8,9,10.25\n"
        "b/1.jpg,b,vis,,,,,,,,,,,,,\n",
    )
    faces = read(path)
    first, second = faces
    assert (first.path, first.identity, first.domain, first.split, first.yaw_deg) == (
        "a/1.jpg",
        "a",
        "nir",
        "train",
        -12.5,
    )
    assert first.extra == {"glasses": "yes"}
    assert first.landmarks.tolist() == [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10.25]]
    assert (second.split, second.yaw_deg, second.session, second.landmarks) == (None, None, None, None)
    assert faces.extra_names == ["glasses"]
    assert faces.picture_path(1) == tmp_path / "b/1.jpg"


def test_where_and_take_keep_columns_and_landmarks_together(tmp_path):
    points = np.arange(40).reshape(4, 5, 2)
    columns = {
        "path": "abcd",
        "identity": "1122",
        "domain": ["nir", "vis", "nir", "vis"],
        "split": ["x", "y", "z", "x"],
    }
    faces = FaceList(tmp_path, columns, points)
    assert faces.where(domain="vis", split=["x", "y"]).column("path").tolist() == ["b", "d"]
    np.testing.assert_array_equal(faces.where(domain="vis").landmarks, points[[1, 3]])
    assert faces.take([3, 0, 0]).column("path").tolist() == ["d", "a", "a"]
    assert len(faces.where(domain="sketch")) == 0
    assert len(faces.take([])) == 0
    with pytest.raises(ValueError, match="no column 'camera'; it has path, identity, domain, split"):
        faces.where(camera="1")


def test_columns_and_landmarks_can_be_replaced(tmp_path):
    faces = FaceList(tmp_path, {"path": ["a"], "identity": ["1"], "domain": ["vis"]})
    assert faces.with_column("split", ["train"])[0].split == "train"
    assert faces.with_landmarks(np.ones((1, 68, 2)))[0].landmarks.shape == (68, 2)
    assert faces[0].landmarks is None
    with pytest.raises(IndexError):
        faces[1]


@pytest.mark.parametrize(
    ("columns", "landmarks", "message"),
    [
        ({"path": ["a"], "identity": ["1"]}, None, "needs the column 'domain'"),
        ({"path": ["a"], "identity": ["1", "2"], "domain": ["vis"]}, None, "different lengths"),
        ({"path": ["a"], "identity": [""], "domain": ["vis"]}, None, "'identity': row 1 is empty"),
        (
            {"path": ["a"], "identity": ["1"], "domain": ["vis"], "nose_x": ["1"]},
            None,
            "no column can be called 'nose_x'",
        ),
        ({"path": ["a"], "identity": ["1"], "domain": ["vis"], "yaw_deg": [np.inf]}, None, "row 1 is infinite"),
        ({"path": ["a"], "identity": ["1"], "domain": ["vis"]}, np.ones((1, 6, 2)), "expected .1, 5 or 68, 2."),
        ({"path": ["a"], "identity": ["1"], "domain": ["vis"]}, [[[1, 2]] * 4 + [[np.nan, 1]]], "there in part"),
        ({"path": ["a\udcff"], "identity": ["1"], "domain": ["vis"]}, None, "not valid Unicode"),
    ],
)
def test_lists_that_cannot_be_are_refused(tmp_path, columns, landmarks, message):
    with pytest.raises(ValueError, match=message):
        FaceList(tmp_path, columns, landmarks)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "column 'path' is missing; the header has nothing"),
        ("path;identity;domain\n", "column 'path' is missing; the header has 'path;identity;domain'"),
        ("path,identity\n", "column 'domain' is missing"),
        ("path,identity,domain,split,split\n", "line 1: column 'split' appears twice"),
        ("path,identity,domain,\n", "a column has no name"),
        ("path,identity,domain\na,1\n", "line 2: 2 cells; expected 3"),
        ("path,identity,domain\n\na,1,vis\nb,,vis\n", "line 4: column 'identity' is empty"),
        ("path,identity,domain,yaw_deg\na,1,vis,left\n", "line 2: column 'yaw_deg': 'left' is not a number"),
        ("path,identity,domain,yaw_deg\na,1,vis,inf\n", "line 2: column 'yaw_deg': 'inf' is too large"),
        ("path,identity,domain,nose_x\na,1,vis,3\n", "landmark column 'right_eye_x' is missing"),
        (f"path,identity,domain,p00_x,{FIVE}\n", "five and 68 landmarks"),
        (
            f"path,identity,domain,{FIVE}\na,1,vis,1,2,3,4,5,x,7,8,9,10\n",
            "line 2: column 'nose_y': 'x' is not a number",
        ),
        (f"path,identity,domain,{FIVE}\na,1,vis,1,2,3,4,5,,7,8,9,10\n", "line 2: 1 of 10 landmark cells are empty"),
        ("path,identity,domain\n/etc/passwd,1,vis\n", "line 2: column 'path': path '/etc/passwd' is absolute"),
        ("path,identity,domain\nC:\\a.jpg,1,vis\n", "is absolute"),
        ("path,identity,domain\n\\\\server\\a.jpg,1,vis\n", "is absolute"),
        ("path,identity,domain\nfile://a.jpg,1,vis\n", "is absolute"),
        ("path,identity,domain\na/../../b.jpg,1,vis\n", "leaves the list's folder"),
        ("path,identity,domain\na\\..\\..\\b.jpg,1,vis\n", "leaves the list's folder"),
        ('path,identity,domain\n"a,1,vis\n', "unexpected end of data"),
    ],
)
def test_errors_of_csv_lists_name_file_line_and_column(tmp_path, content, message):
    assert message in error_of(tmp_path, content)


def test_text_that_is_not_utf8_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not UTF-8"):
        read(csv_file(tmp_path, "path,identity,domain\nMüller/1.jpg,m,vis\n", encoding="latin-1"))


def test_paths_outside_are_read_where_allowed(tmp_path):
    path = csv_file(tmp_path, "path,identity,domain\n/data/a.jpg,1,vis\n../b.jpg,2,vis\n")
    faces = read(path, allow_outside=True)
    assert faces.column("path").tolist() == ["/data/a.jpg", "../b.jpg"]
    assert str(faces.picture_path(0)) == "/data/a.jpg"


def test_byte_order_mark_crlf_and_backslashes_are_understood(tmp_path):
    path = tmp_path / "faces.csv"
    path.write_bytes(b"\xef\xbb\xbfpath,identity,domain\r\ns1\\NIR\\001.bmp,1,nir\r\n")
    assert read(path).column("path").tolist() == ["s1/NIR/001.bmp"]
    path = tmp_path / "probe.txt"
    path.write_bytes(b"\xef\xbb\xbfs2\\NIR\\10153\\001.bmp 10153 0\r\ns2\\VIS\\10153\\003.jpg 10153 1\r\n\r\n")
    faces = read(path)
    assert faces.column("path").tolist() == ["s2/NIR/10153/001.bmp", "s2/VIS/10153/003.jpg"]
    assert faces.column("domain").tolist() == ["nir", "vis"]


def test_text_lists_without_a_domain_take_the_given_one(tmp_path):
    (tmp_path / "list.txt").write_text("a.jpg P005\nb.jpg 7\n")
    faces = read(tmp_path / "list.txt", domain="nir")
    assert [(row.path, row.identity, row.domain) for row in faces] == [("a.jpg", "P005", "nir"), ("b.jpg", "7", "nir")]
    (tmp_path / "list.txt").write_text("a.jpg P005 sketch\n")
    assert read(tmp_path / "list.txt")[0].domain == "sketch"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a.jpg\n", "line 1: 1 words"),
        ("a.jpg 1\n\nb.jpg 1 0\n", "line 3: 3 words"),
        ("my holiday a.jpg 1\n", "4 words"),
        ("a.jpg 1 2\n", "line 1: domain '2'"),
        ("a.jpg 1\n/b.jpg 1\n", "line 2: column 'path': path '/b.jpg' is absolute"),
    ],
)
def test_errors_of_text_lists_name_file_and_line(tmp_path, content, message):
    (tmp_path / "list.txt").write_text(content)
    with pytest.raises(ValueError, match="list.txt") as caught:
        read(tmp_path / "list.txt")
    assert message in str(caught.value)


def test_folder_of_identities_is_listed_in_order(tmp_path):
    for name in ("b/2.PNG", "b/1.jpg", "a/frontal/01.jpg", "a/notes.txt", ".cache/x.jpg", "a/.hidden.jpg", "faces.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "c").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    faces = read(tmp_path)
    assert [(row.path, row.identity, row.domain) for row in faces] == [
        ("a/frontal/01.jpg", "a", "vis"),
        ("b/1.jpg", "b", "vis"),
        ("b/2.PNG", "b", "vis"),
    ]
    assert faces.root == tmp_path


def test_folders_without_identities_or_pictures_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no pictures"):
        read(tmp_path)
    (tmp_path / "a.jpg").touch()
    with pytest.raises(ValueError, match=r"a\.jpg: lies in no identity's folder"):
        read(tmp_path)


def test_parquet_takes_numbers_as_identities_and_names_bad_rows(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "faces.parquet"
    columns = {"path": ["a", "b"], "identity": [1, 2], "domain": ["vis", "nir"], "split": [None, "train"]}
    parquet.write_table(pyarrow.table(columns), path)
    assert [(row.identity, row.split) for row in read(path)] == [("1", None), ("2", "train")]
    parquet.write_table(pyarrow.table(columns | {"identity": [1.0, None]}), path)
    with pytest.raises(ValueError, match=r"faces.parquet: row 1: column 'identity': 1.0 is a float; expected text"):
        read(path)
    parquet.write_table(pyarrow.table(columns | {"path": ["a", "../b"]}), path)
    with pytest.raises(ValueError, match="row 2: column 'path': .* leaves"):
        read(path)


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    path = tmp_path / "faces.parquet"
    path.touch()
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ValueError, match=r"facebridge\[scale\]"):
        read(path)


def test_list_written_to_another_folder_still_finds_its_pictures(tmp_path):
    (tmp_path / "lists").mkdir()
    faces = FaceList(tmp_path / "lists", {"path": ["a/1.jpg"], "identity": ["1"], "domain": ["vis"]})
    write(faces, tmp_path / "all.csv")
    assert read(tmp_path / "all.csv").column("path").tolist() == ["lists/a/1.jpg"]
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match=r"row 1: path '../lists/a/1.jpg' leaves"):
        write(faces, tmp_path / "other" / "all.csv")
    write(faces, tmp_path / "other" / "all.csv", allow_outside=True)
    again = read(tmp_path / "other" / "all.csv", allow_outside=True)
    assert os.path.realpath(again.picture_path(0)) == os.path.realpath(faces.picture_path(0))


def test_lists_elsewhere_can_be_given_their_folder(tmp_path):
    path = csv_file(tmp_path, "path,identity,domain\na.jpg,1,vis\n")
    assert read(path, root=tmp_path / "pictures").picture_path(0) == tmp_path / "pictures" / "a.jpg"


def test_wrong_layouts_and_suffixes_are_refused(tmp_path):
    path = csv_file(tmp_path, "path,identity,domain\n")
    for name, layout, message in (
        ("faces.csv", "folder", "is no folder"),
        (".", "csv", "is a folder"),
        ("none.csv", "auto", "no such file"),
        ("faces.csv", "excel", "auto, csv, parquet, folder, text"),
    ):
        with pytest.raises(ValueError, match=message):
            read(tmp_path / name, layout)
    path.rename(tmp_path / "faces.json")
    with pytest.raises(ValueError, match="cannot tell the layout"):
        read(tmp_path / "faces.json")
    assert len(read(tmp_path / "faces.json", "csv")) == 0
    with pytest.raises(ValueError, match=r"\.csv or \.parquet"):
        write(read(tmp_path / "faces.json", "csv"), tmp_path / "faces.xlsx")


def test_landmarks_alone_are_read_by_path(tmp_path):
    path = csv_file(tmp_path, f"path,{FIVE}\na.jpg,1,2,3,4,5,6,7,8,9,10\nb.jpg,,,,,,,,,,\n")
    found = face_list.read_landmarks(path)
    assert list(found) == ["a.jpg"]
    assert found["a.jpg"][4].tolist() == [9, 10]
    path = csv_file(tmp_path, f"path,{FIVE}\na,1,2,3,4,5,6,7,8,9,10\na,1,2,3,4,5,6,7,8,9,10\n")
    with pytest.raises(ValueError, match="lists 'a' twice"):
        face_list.read_landmarks(path)
    with pytest.raises(ValueError, match="no landmark columns"):
        face_list.read_landmarks(csv_file(tmp_path, "path\na\n"))


def test_a_path_twice_is_found_quickly_in_a_long_list(tmp_path):
    names = [f"{number}.jpg" for number in range(30_000)]
    header = f"path,{FIVE}"
    rows = [f"{name}{',1' * 10}" for name in [*names, names[-1]]]
    (tmp_path / "points.csv").write_text("\n".join([header, *rows]))
    began = time.process_time()
    with pytest.raises(ValueError, match=r"lists '29999\.jpg' twice"):
        face_list.read_landmarks(tmp_path / "points.csv")
    assert time.process_time() - began < 5  # a count for each path takes ten seconds
