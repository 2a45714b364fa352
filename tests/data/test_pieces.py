"""Face lists in pieces: the same rows as read whole, the same errors, and memory that does not grow with the list."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facebridge.data import face_list, list_files, pieces
from facebridge.data.face_list import FaceList
from facebridge.data.pieces import FaceListFile, FaceListWriter
from tests.data.test_face_list import FIVE, assert_equal, face_lists

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

SUFFIXES = pytest.mark.parametrize("suffix", [".csv", ".parquet"])


def faces(folder, count, landmarks=True):
    rows = range(count)
    columns = {
        "path": [f"{row // 10}/{row}.jpg" for row in rows],
        "identity": [f"id {row // 10}" for row in rows],
        "domain": ["nir" if row % 3 else "vis" for row in rows],
        "session": ["" if row % 4 else "1\n2" for row in rows],
        "yaw_deg": [np.nan if row % 5 else row / 7 for row in rows],
    }
    points = np.arange(count * 10, dtype=np.float32).reshape(count, 5, 2) / 3
    points[::6] = np.nan
    return FaceList(folder, columns, points if landmarks else None)


def small_groups(monkeypatch):
    """Row groups and marks of a few rows, so that a small list has many."""
    monkeypatch.setattr(pieces, "_ROWS_PER_GROUP", 7)
    monkeypatch.setattr(pieces, "_ROWS_PER_MARK", 5)
    monkeypatch.setattr(pieces, "ROWS_PER_PIECE", 4)


@SUFFIXES
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_pieces_that_are_written_are_read_whole_and_in_ranges(suffix, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("list")
    whole = data.draw(face_lists(folder))
    cut = data.draw(st.integers(0, len(whole)))
    num_landmarks = 0 if whole.landmarks is None else whole.landmarks.shape[1]
    path = folder / f"faces{suffix}"
    with FaceListWriter(path, whole.column_names, num_landmarks) as writer:
        writer.write(whole.take(range(cut)))
        assert not path.exists()
        writer.write(whole.take(range(cut, len(whole))))
    assert os.listdir(folder) == [path.name]
    assert_equal(face_list.read(path), whole)
    rows = FaceListFile(path)
    assert (len(rows), rows.column_names, rows.num_landmarks) == (len(whole), whole.column_names, num_landmarks)
    start, stop = data.draw(st.integers(-6, 6)), data.draw(st.integers(-6, 6))
    assert_equal(rows.read(start, stop), whole.take(np.arange(len(whole))[start:stop]))


@SUFFIXES
def test_any_range_of_many_groups_is_the_slice_of_the_list(suffix, tmp_path, monkeypatch):
    small_groups(monkeypatch)
    whole = faces(tmp_path, 40)
    with FaceListWriter(tmp_path / f"faces{suffix}", whole.column_names, 5) as writer:
        for start in range(0, 40, 3):
            writer.write(whole.take(range(start, min(start + 3, 40))))
    rows = FaceListFile(tmp_path / f"faces{suffix}")
    for start in range(0, 41, 3):
        for stop in range(start, 41, 4):
            assert_equal(rows.read(start, stop), whole.take(range(start, stop)))
    for size in (1, 5, 7, 100):
        for start in (0, 3, 7, 39, 40, 50):
            found = list(rows.pieces(size, start))
            assert all(0 < len(piece) <= size for piece in found)
            assert sum(map(len, found)) == max(0, 40 - start)
            row = start
            for piece in found:
                assert_equal(piece, whole.take(range(row, row + len(piece))))
                row += len(piece)


def test_only_the_row_groups_of_a_range_are_read(tmp_path):
    path = tmp_path / "faces.parquet"
    face_list.write(faces(tmp_path, 60), path)
    table = parquet.read_table(path)
    parquet.write_table(table, path, row_group_size=20, compression="none")
    data = bytearray(path.read_bytes())
    last = parquet.ParquetFile(path).metadata.row_group(2).column(0)
    start = last.dictionary_page_offset or last.data_page_offset
    data[start : start + last.total_compressed_size] = b"\xff" * last.total_compressed_size
    path.write_bytes(data)
    rows = FaceListFile(path)
    assert_equal(rows.read(15, 40), faces(tmp_path, 60).take(range(15, 40)))
    with pytest.raises(ValueError, match=r"faces\.parquet"):
        rows.read(40, 41)


@SUFFIXES
def test_lists_are_written_to_and_read_from_object_stores(suffix, tmp_path):
    url = f"memory://lists-{suffix[1:]}/faces{suffix}"
    whole = faces(tmp_path, 30)
    with FaceListWriter(url, whole.column_names, 5) as writer:
        writer.write(whole)
    rows = FaceListFile(url, root=tmp_path)
    assert_equal(rows.read(10, 20), whole.take(range(10, 20)))
    assert next(rows.pieces()).root == tmp_path
    with pytest.raises(ValueError, match=r"memory:.*none\.csv"):
        FaceListFile("memory://lists/none.csv")
    with pytest.raises(ValueError, match="nowhere.*cannot be reached"):
        FaceListFile("nowhere://lists/faces.csv")


def test_lists_of_the_present_folder_are_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with FaceListWriter("faces.parquet", ["path", "identity", "domain"]) as writer:
        writer.write(FaceList(tmp_path, {"path": "a", "identity": "1", "domain": "v"}))
    assert FaceListFile("faces.parquet").read(0, 1).picture_path(0) == tmp_path / "a"


def test_a_list_too_long_for_memory_says_how_to_read_it(tmp_path, monkeypatch):
    def no_memory(*_):
        raise MemoryError

    face_list.write(faces(tmp_path, 3), tmp_path / "faces.parquet")
    monkeypatch.setattr(list_files, "_empty", no_memory)
    with pytest.raises(ValueError, match=r"faces\.parquet: is more than memory holds; read it in pieces"):
        face_list.read(tmp_path / "faces.parquet")


def test_pieces_of_parquet_without_pyarrow_name_the_extra(tmp_path, monkeypatch):
    face_list.write(faces(tmp_path, 3), tmp_path / "faces.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ValueError, match=r"facebridge\[scale\]"):
        FaceListFile(tmp_path / "faces.parquet")


def test_file_urls_are_paths(tmp_path):
    face_list.write(faces(tmp_path, 3), tmp_path / "faces.csv")
    rows = FaceListFile(f"file://{tmp_path}/faces.csv")
    assert rows.root == tmp_path
    assert rows.path == str(tmp_path / "faces.csv")


@SUFFIXES
def test_a_writer_that_is_interrupted_leaves_nothing(suffix, tmp_path):
    def interrupted():
        with FaceListWriter(tmp_path / f"faces{suffix}", ["path", "identity", "domain"]) as writer:
            writer.write(FaceList(tmp_path, {"path": ["a"], "identity": ["1"], "domain": ["vis"]}))
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        interrupted()
    assert os.listdir(tmp_path) == []


@SUFFIXES
def test_pieces_must_have_the_columns_of_the_file_and_safe_paths(suffix, tmp_path):
    with FaceListWriter(tmp_path / f"faces{suffix}", ["path", "identity", "domain"]) as writer:
        with pytest.raises(ValueError, match=r"expected the columns .* and 0 landmarks; got .*session"):
            writer.write(faces(tmp_path, 3, landmarks=False))
        plain = FaceList(tmp_path, {"path": ["a", "b"], "identity": "12", "domain": "vv"})
        with pytest.raises(ValueError, match="and 5 landmarks"):
            writer.write(plain.with_landmarks(np.zeros((2, 5, 2))))
        writer.write(plain)
        with pytest.raises(ValueError, match=r"row 4: path '\.\./b' leaves"):
            writer.write(plain.with_column("path", ["a", "../b"]))
    with pytest.raises(ValueError, match="needs the column 'domain'"):
        FaceListWriter(tmp_path / f"faces{suffix}", ["path", "identity"])
    assert len(FaceListFile(tmp_path / f"faces{suffix}")) == 2


def test_paths_of_another_folder_are_rewritten(tmp_path):
    with FaceListWriter(tmp_path / "faces.csv", ["path", "identity", "domain"]) as writer:
        writer.write(FaceList(tmp_path / "set", {"path": ["a.png"], "identity": "1", "domain": "v"}))
    assert FaceListFile(tmp_path / "faces.csv").read(0, 1)[0].path == "set/a.png"


def test_parquet_files_keep_notes(tmp_path):
    with FaceListWriter(tmp_path / "a.parquet", ["path", "identity", "domain"], metadata={"crop": "arcface"}) as writer:
        writer.write(FaceList(tmp_path, {"path": "a", "identity": "1", "domain": "v"}))
    assert FaceListFile(tmp_path / "a.parquet").metadata == {"crop": "arcface"}
    with (
        pytest.raises(ValueError, match="no place for notes"),
        FaceListWriter(tmp_path / "a.csv", ["path", "identity", "domain"], metadata={"crop": "arcface"}),
    ):
        pass


@SUFFIXES
def test_a_list_in_pieces_can_be_sent_to_another_process(suffix, tmp_path):
    face_list.write(faces(tmp_path, 12), tmp_path / f"faces{suffix}")
    rows = pickle.loads(pickle.dumps(FaceListFile(tmp_path / f"faces{suffix}")))
    assert_equal(rows.read(2, 9), faces(tmp_path, 12).take(range(2, 9)))


cells = st.one_of(st.none(), st.sampled_from(["", "a", "a/../b", "..", "a..b", "/a", "c:\\a", "a\\b", "a\0", "s3://a"]))
numbers = st.one_of(st.none(), st.sampled_from([0.0, -1e9, 1.0000001e9, np.inf, np.nan, 3.5]))


@settings(max_examples=150, deadline=None)
@given(data=st.data(), allow_outside=st.booleans())
def test_batches_are_read_as_row_by_row(data, allow_outside):
    """The quick way by columns takes what the slow way takes, and gives the same."""

    def column(values):
        return data.draw(st.lists(values, min_size=2, max_size=2))

    columns = {"path": column(cells), "identity": column(st.sampled_from(["", "a", None])), "domain": ["vis", "nir"]}
    if data.draw(st.booleans()):
        columns["identity"] = column(st.integers(-(2**63), 2**63 - 1))
    if data.draw(st.booleans()):
        columns["yaw_deg"] = column(numbers)
    if data.draw(st.booleans()):
        columns |= {name: [1.0, 2.0] for name in list_files.LANDMARKS_5}
        columns["nose_x"] = column(numbers)
    batch = pyarrow.RecordBatch.from_pydict(columns)
    rows = zip(*columns.values(), strict=True)
    try:
        slow = list_files.collect(list(columns), rows, allow_outside, list_files.REQUIRED)
    except ValueError as error:
        with pytest.raises(ValueError, match="row [12]: ") as caught:
            list_files.from_arrow(batch, allow_outside)
        assert str(error) in str(caught.value)  # noqa: PT017
        return
    quick = list_files.from_arrow(batch, allow_outside)
    assert list(quick.columns) == list(slow.columns)
    for name in slow.columns:
        np.testing.assert_array_equal(quick.columns[name], slow.columns[name])
        assert quick.columns[name].dtype == slow.columns[name].dtype
    assert (quick.landmarks is None) == (slow.landmarks is None)
    if quick.landmarks is not None:
        np.testing.assert_array_equal(quick.landmarks, slow.landmarks)
        assert quick.landmarks.dtype == np.float32


def test_errors_name_row_or_line_and_column(tmp_path, monkeypatch):
    small_groups(monkeypatch)
    good = faces(tmp_path, 20)
    face_list.write(good, tmp_path / "faces.parquet")
    table = parquet.read_table(tmp_path / "faces.parquet")
    paths = table["path"].to_pylist()
    paths[17] = "/etc/passwd"
    table = table.set_column(0, "path", pyarrow.array(paths))
    parquet.write_table(table, tmp_path / "faces.parquet", row_group_size=6)
    rows = FaceListFile(tmp_path / "faces.parquet")
    assert len(rows.read(0, 17)) == 17
    with pytest.raises(ValueError, match=r"faces\.parquet: row 18: column 'path': path '/etc/passwd' is absolute"):
        rows.read(10, 20)
    assert rows.read(0, 17).take([16])[0].path == good[16].path
    assert FaceListFile(tmp_path / "faces.parquet", allow_outside=True).read(17, 18)[0].path == "/etc/passwd"
    lines = ["path,identity,domain"] + [f'"a\n{row}",1,vis' for row in range(12)] + ["b,,vis"]
    (tmp_path / "faces.csv").write_text("\n".join(lines))
    rows = FaceListFile(tmp_path / "faces.csv")
    assert len(rows) == 13
    for start in (0, 11, 12):
        with pytest.raises(ValueError, match=r"faces\.csv: line 26: column 'identity' is empty"):
            rows.read(start, 13)
    with pytest.raises(ValueError, match="line 26"):
        list(rows.pieces(4))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"path,identity\n", "column 'domain' is missing"),
        (b"", "column 'path' is missing"),
        (f"path,identity,domain,p00_x,{FIVE}\n".encode(), "five and 68 landmarks"),
        (b"path,identity,domain\n\xff,1,v\n", "is not UTF-8"),
    ],
)
def test_files_that_are_no_lists_are_refused(tmp_path, content, message):
    (tmp_path / "faces.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"faces\.csv: " + message):
        len(FaceListFile(tmp_path / "faces.csv"))


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_list_or_an_error_that_names_the_file(tmp_path_factory, noise):
    for suffix, start in ((".csv", b""), (".csv", b"path,identity,domain\n"), (".parquet", b"PAR1")):
        path = tmp_path_factory.mktemp("noise") / f"faces{suffix}"
        path.write_bytes(start + noise)
        try:
            list(FaceListFile(path).pieces())
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017


def test_byte_order_mark_and_crlf_are_understood_in_any_range(tmp_path, monkeypatch):
    small_groups(monkeypatch)
    lines = "".join(f"s\\{row}.bmp,Müller {row},nir\r\n\r\n" for row in range(20))
    (tmp_path / "faces.csv").write_bytes(b"\xef\xbb\xbfpath,identity,domain\r\n" + lines.encode())
    rows = FaceListFile(tmp_path / "faces.csv")
    assert len(rows) == 20
    assert [(row.path, row.identity) for row in rows.read(13, 15)] == [(f"s/{n}.bmp", f"Müller {n}") for n in (13, 14)]


@pytest.mark.parametrize("path", ["faces.txt", "faces", "folder/"])
def test_other_files_are_refused(tmp_path, path):
    with pytest.raises(ValueError, match="expected a file|in pieces is .parquet or .csv"):
        FaceListFile(f"{tmp_path}/{path}")
    with pytest.raises(ValueError, match="expected a file|written as .parquet or .csv"):
        FaceListWriter(f"{tmp_path}/{path}", ["path", "identity", "domain"])


_PEAK = """
import resource, sys
from facebridge.data.pieces import FaceListFile
rows = sum(len(piece) for piece in FaceListFile(sys.argv[1]).pieces())
print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@SUFFIXES
def test_memory_does_not_grow_with_the_number_of_rows(suffix, tmp_path):
    peaks_kib = []
    for count in (20_000, 200_000) if suffix == ".csv" else (100_000, 1_000_000):
        path = tmp_path / f"{count}{suffix}"
        piece = FaceList(
            tmp_path,
            {"path": [f"{row:012}.jpg" for row in range(20_000)], "identity": ["1"] * 20_000, "domain": ["v"] * 20_000},
            np.ones((20_000, 5, 2)),
        )
        with FaceListWriter(path, piece.column_names, 5) as writer:
            for _ in range(count // 20_000):
                writer.write(piece)
        found = subprocess.run([sys.executable, "-c", _PEAK, path], capture_output=True, text=True, check=True)
        rows, peak_kib = map(int, found.stdout.split())
        assert rows == count
        peaks_kib.append(peak_kib)
    assert peaks_kib[1] < peaks_kib[0] + 40_000, f"peak memory in KiB for ten times the rows: {peaks_kib}"


@pytest.mark.parametrize("column", ["path", "identity", "yaw_deg", "other"])
def test_values_that_pyarrow_cannot_convert_are_an_error_that_names_the_file(tmp_path, column):
    columns = {"path": ["a"], "identity": ["1"], "domain": ["vis"]}
    table = {name: pyarrow.array(values) for name, values in columns.items()}
    broken_text = pyarrow.Array.from_buffers(pyarrow.string(), 1, pyarrow.array([b"\xff"]).buffers())
    for values in (pyarrow.array([2**30], pyarrow.date32()), broken_text):
        parquet.write_table(pyarrow.table({**table, column: values}), tmp_path / "faces.parquet")
        for read in (face_list.read, lambda path: FaceListFile(path).read(0, 1)):
            with pytest.raises(ValueError, match=r"faces\.parquet: "):
                read(tmp_path / "faces.parquet")
