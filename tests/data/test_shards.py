"""Shards: what goes in comes out, bit by bit and in order; a stranger's shard can do no harm."""

import contextlib
import gc
import hashlib
import io
import itertools
import json
import os
import pickle
import sys
import tarfile
import weakref
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from facebridge import crops, images
from facebridge.data import face_list, shards
from facebridge.data.batches import Batches
from facebridge.data.face_list import FaceList
from facebridge.data.pieces import FaceListFile
from facebridge.data.samplers import SingleFaces
from facebridge.data.shards import Order, ShardedFaces, write_index, write_shard
from facebridge.images import BadPicture
from tests.data.test_face_list import assert_equal

pytest.importorskip("pyarrow")
pytest.importorskip("webdataset")

HEIGHT, WIDTH = 112, 96
folders = itertools.count()


def encoded(face, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(face).save(file, kind)
    return file.getvalue()


def pictures(count, seed=0):
    """Faces that differ from each other, small when compressed."""
    faces = np.zeros((count, HEIGHT, WIDTH, 3), np.uint8)
    faces[:, 4:20, 4:20] = np.random.default_rng(seed).integers(0, 256, (count, 16, 16, 3))
    return faces


def rows(folder, count, first=0, crop="sphereface"):
    numbers = range(first, first + count)
    columns = {
        "path": [f"aligned/{number}.png" for number in numbers],
        "identity": [f"person {number * 7 % 5}" for number in numbers],
        "domain": ["nir" if number % 2 else "vis" for number in numbers],
        "crop": [crop] * count,
        "original": [f"Bilder/{number}.jpg" if number % 3 else "" for number in numbers],
        "yaw_deg": [np.nan if number % 3 else number / 7 for number in numbers],
        "Größe": ["groß"] * count,
    }
    points = np.random.default_rng(first).normal(50, 20, (count, 5, 2)).astype(np.float32)
    points[::4] = np.nan
    return FaceList(folder, columns, points)


def a_set(folder, counts=(5, 3, 0, 4), kind="PNG"):
    """Write a set of shards; its rows and its faces."""
    lists, faces, first = [], [], 0
    for number, count in enumerate(counts):
        lists.append(rows("/somewhere", count, first))
        faces.append(pictures(count, number))
        write_shard(
            folder, number, "sphereface", lists[-1], ((row, encoded(face, kind)) for row, face in enumerate(faces[-1]))
        )
        first += count
    write_index(folder)
    return lists, np.concatenate(faces)


def assert_same_row(found, expected):
    texts = {name: value for name, value in vars(expected).items() if name != "landmarks"}
    assert {name: value for name, value in vars(found).items() if name != "landmarks"} == texts
    assert (found.landmarks is None) == (expected.landmarks is None)
    if expected.landmarks is not None:
        np.testing.assert_array_equal(found.landmarks, expected.landmarks)


@pytest.fixture(params=["disk", "store"])
def folder(request, tmp_path):
    return tmp_path / "shards" if request.param == "disk" else f"memory://shards-{next(folders)}"


def test_faces_and_rows_come_back_as_they_were(folder):
    lists, faces = a_set(folder)
    expected = [row for each in lists for row in each]
    found = list(shards.iterate(folder))
    assert len(found) == len(expected) == 12
    sharded = ShardedFaces(folder, mix=2)
    assert len(sharded) == 12
    names = sorted({row.identity for row in expected})
    for index, (row, face) in enumerate(found):
        assert_same_row(row, expected[index])
        assert_same_row(sharded.row(index), expected[index])
        np.testing.assert_array_equal(face, faces[index])
        np.testing.assert_array_equal(sharded.picture(index), faces[index])
        assert sharded.identity(index) == names.index(expected[index].identity)
    assert sharded.index.identities == len(names)
    for index in (-1, 12):
        with pytest.raises(IndexError):
            sharded.picture(index)


def test_rows_lie_beside_each_shard_as_a_face_list(tmp_path):
    lists, _ = a_set(tmp_path)
    for number, expected in enumerate(lists):
        assert_equal(FaceListFile(tmp_path / f"{number:08}.parquet").read(0, 100), expected)


def test_rows_without_a_face_are_left_out(tmp_path):
    faces = pictures(5)
    shard = write_shard(tmp_path, 7, "sphereface", rows(tmp_path, 5), [(3, encoded(faces[3])), (1, encoded(faces[1]))])
    write_index(tmp_path)
    assert (shard.name, shard.faces) == ("00000007.tar", 2)
    assert [row.path for row, _ in shards.iterate(tmp_path)] == ["aligned/3.png", "aligned/1.png"]
    np.testing.assert_array_equal(ShardedFaces(tmp_path).picture(1), faces[1])


def test_bytes_of_pictures_are_stored_as_they_are(tmp_path):
    data = [encoded(pictures(1)[0], "JPEG"), encoded(pictures(1)[0])]
    write_shard(tmp_path, 0, "sphereface", rows(tmp_path, 2), enumerate(data))
    with tarfile.open(tmp_path / "00000000.tar") as tar:
        found = {member.name: tar.extractfile(member).read() for member in tar}
    assert (found["00000000_000000.jpg"], found["00000000_000001.png"]) == tuple(data)
    row = json.loads(found["00000000_000001.json"])
    assert (row["path"], row["crop"], row["original"]) == ("aligned/1.png", "sphereface", "Bilder/1.jpg")


def test_the_same_faces_give_the_same_bytes(tmp_path):
    one = write_shard(tmp_path / "one", 3, "sphereface", rows("/a", 4), enumerate(map(encoded, pictures(4))))
    other = write_shard(tmp_path / "other", 3, "sphereface", rows("/b", 4), enumerate(map(encoded, pictures(4))))
    data = (tmp_path / "one" / one.name).read_bytes()
    assert one == other
    assert data == (tmp_path / "other" / one.name).read_bytes()
    assert (one.bytes, one.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    with tarfile.open(tmp_path / "one" / one.name) as tar:
        assert {(member.mtime, member.uid, member.gid, member.uname, member.gname) for member in tar} == {
            (0, 0, 0, "", "")
        }


def test_webdataset_reads_the_shards(tmp_path):
    from webdataset import tariterators

    lists, faces = a_set(tmp_path)
    sources = [{"url": str(tmp_path / f"{number:08}.tar")} for number in range(4)]
    with contextlib.ExitStack() as stack:
        streams = ({**source, "stream": stack.enter_context(open(source["url"], "rb"))} for source in sources)
        samples = list(tariterators.group_by_keys(tariterators.tar_file_expander(streams)))
    assert len(samples) == 12
    for sample, row, face in zip(samples, (row for each in lists for row in each), faces, strict=True):
        assert json.loads(sample["json"])["path"] == row.path
        np.testing.assert_array_equal(images.decode(sample["png"], "png"), face)


def test_an_interrupted_shard_leaves_nothing_and_an_index_comes_last(folder):
    def faces():
        yield 0, encoded(pictures(1)[0])
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_shard(folder, 0, "sphereface", rows("/a", 2), faces())
    assert shards.reach(folder).sizes() == {}
    with pytest.raises(ValueError, match=r"index\.json: no such file; the folder holds no shards, or not all"):
        ShardedFaces(folder)
    with pytest.raises(ValueError, match="no shards in it"):
        write_index(folder)


def test_shards_of_different_kinds_are_refused(tmp_path):
    faces = [(0, encoded(pictures(1)[0]))]
    with pytest.raises(ValueError, match="of the crop 'sphereface' has no place for rows of the crop 'arcface'"):
        write_shard(tmp_path, 0, "sphereface", rows(tmp_path, 1, crop="arcface"), faces)
    with pytest.raises(ValueError, match="no crop is called 'square'"):
        write_shard(tmp_path, 0, "square", rows(tmp_path, 1), faces)
    with pytest.raises(ValueError, match="row 1: .*expected a PNG or JPEG"):
        write_shard(tmp_path, 0, "sphereface", rows(tmp_path, 1), [(0, b"GIF89a")])
    write_shard(tmp_path, 0, "sphereface", rows(tmp_path, 1), faces)
    write_shard(tmp_path, 1, "arcface_112", rows(tmp_path, 1, crop="arcface"), faces)
    with pytest.raises(ValueError, match=r"00000001.parquet: has another crop"):
        write_index(tmp_path)
    write_shard(tmp_path, 1, "sphereface", rows(tmp_path, 1).with_landmarks(None), faces)
    with pytest.raises(ValueError, match=r"00000001.parquet: has another crop, columns or landmarks"):
        write_index(tmp_path)
    write_shard(tmp_path, 1, "sphereface", rows(tmp_path, 1), faces)
    (tmp_path / "00000001.tar").write_bytes(b"short")
    with pytest.raises(ValueError, match=r"notes \d+ bytes for 00000001.tar, which has 5; write the shard again"):
        write_index(tmp_path)


def test_writing_without_webdataset_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "webdataset", None)
    with pytest.raises(ValueError, match=r"facebridge\[scale\]"):
        write_shard(tmp_path, 0, "sphereface", rows(tmp_path, 1), [(0, encoded(pictures(1)[0]))])
    assert list(tmp_path.iterdir()) == []


def test_another_crop_is_derived(tmp_path):
    _, faces = a_set(tmp_path)
    own, wanted = crops.crop("sphereface"), crops.crop("arcface")
    found = ShardedFaces(tmp_path, wanted).picture(2)
    np.testing.assert_array_equal(found, crops.align(faces[2], own.points, wanted))
    square = encoded(np.zeros((64, 64, 3), np.uint8))
    write_shard(tmp_path / "odd", 0, "sphereface", rows(tmp_path, 1), [(0, square)])
    write_index(tmp_path / "odd")
    with pytest.raises(BadPicture, match=r"64x64 px .* is not a face of the crop sphereface \(112x96\)"):
        ShardedFaces(tmp_path / "odd", wanted).picture(0)


# The order


counts = st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(sum)


@settings(max_examples=100, deadline=None)
@given(counts=counts, mix=st.integers(1, 5), seed=st.integers(0, 2**32))
def test_every_face_comes_once_and_a_stretch_needs_few_shards(counts, mix, seed):
    order = Order(counts, mix, np.random.default_rng(seed))
    places = [order[place] for place in range(len(order))]
    assert sorted(places) == list(range(sum(counts)))
    shard_of = np.repeat(np.arange(len(counts)), counts)[places]
    first, last = {}, {}
    for place, shard in enumerate(shard_of):
        first.setdefault(shard, place)
        last[shard] = place
    for place in range(len(places)):
        assert sum(first[shard] <= place <= last[shard] for shard in first) <= mix
    for place in (len(places), -1):
        with pytest.raises(IndexError):
            order[place]


@settings(max_examples=50, deadline=None)
@given(counts=counts, seed=st.integers(0, 2**32), data=st.data())
def test_a_place_is_known_without_those_before_it(counts, seed, data):
    whole = list(Order(counts, 3, np.random.default_rng(seed)))
    resumed = Order(counts, 3, np.random.default_rng(seed))
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=5)):
        assert resumed[place] == whole[place]


def test_faces_of_mixed_shards_stand_in_any_order():
    """The first place holds each face of a group equally often; the first group each shard."""
    found = [Order([4, 4, 4, 4], 2, np.random.default_rng(seed))[0] for seed in range(3200)]
    assert np.bincount(found, minlength=16).min() > 140  # expected 200, deviation 14
    assert len({tuple(Order([4] * 4, 2, np.random.default_rng([3, epoch, 0]))) for epoch in range(20)}) == 20


def test_memory_of_an_order_does_not_grow_with_the_faces():
    order = Order([4096] * 24415, 8, np.random.default_rng(0))
    assert len(order) == 4096 * 24415  # a hundred million
    held = sum(array.nbytes for array in vars(order).values() if isinstance(array, np.ndarray))
    assert order[99_999_999] != order[5]
    assert held < 1_000_000
    assert order._known[1].nbytes == 8 * 8 * 4096


def test_at_most_the_mixed_shards_are_held_and_each_is_read_once(tmp_path, monkeypatch):
    a_set(tmp_path, counts=(3, 4, 2, 5, 3, 1))
    opened = []
    original = shards._whole
    monkeypatch.setattr(shards, "_whole", lambda place, shard: opened.append(shard.name) or original(place, shard))
    faces = ShardedFaces(tmp_path, mix=2)
    for place in faces.shuffle(np.random.default_rng(4)):
        faces.picture(place)
        assert len(faces._open._values) <= 2
    assert sorted(opened) == [f"{number:08}.tar" for number in range(6)]


def batches_of(folder, rank=0, processes=1):
    faces = ShardedFaces(folder, mix=2)
    sampler = SingleFaces(range(len(faces)), faces.shuffle)
    return Batches(faces, 4, seed=9, sampler=sampler, rank=rank, processes=processes)


def test_two_processes_make_the_batches_of_one(tmp_path):
    a_set(tmp_path, counts=(5, 3, 4))
    alone, first, second = batches_of(tmp_path), batches_of(tmp_path, 0, 2), batches_of(tmp_path, 1, 2)
    for step in (0, 1, 2, 3, 100):
        whole, one, other = alone(step), first(step), second(step)
        for name in whole:
            assert np.array_equal(whole[name].numpy(), np.concatenate([one[name].numpy(), other[name].numpy()]))


def test_batches_go_on_from_any_step(tmp_path):
    a_set(tmp_path, counts=(5, 3, 4))
    walked = [batches for step in range(8) for batches in [batches_of(tmp_path)(step)]]
    straight = batches_of(tmp_path)
    for step, expected in enumerate(walked):
        assert np.array_equal(straight(step)["target"].numpy(), expected["target"].numpy())
    epoch = np.concatenate([batch["target_identity"].numpy() for batch in walked[:3]])
    faces = ShardedFaces(tmp_path)
    assert sorted(epoch) == sorted(faces.identity(index) for index in range(12))


# Damage, and strangers


def damage_of(folder):
    """What is reported, and the rows that come."""
    bad = []
    good = [row.path for row, _ in shards.iterate(folder, bad.append)]
    return bad, good


def test_a_truncated_shard_is_named_and_the_others_go_on(folder):
    a_set(folder)
    place = shards.reach(folder)
    with place.open("00000001.tar") as file:
        data = file.read()
    for cause, found in (
        ("bytes were written, 5,000 are there", data[:5000]),
        ("bytes were written, more are there", data + b"\0"),
        ("SHA-256 is not that of the index", data[:600] + b"?" + data[601:]),
    ):
        place.system.pipe_file(place.inside("00000001.tar"), found)
        bad, good = damage_of(folder)
        assert [each.path for each in bad] == [
            place.shown(f"00000001.tar/00000001_{offset:06}.json") for offset in range(3)
        ]
        assert all(cause in each.cause for each in bad)
        assert good == [f"aligned/{number}.png" for number in (*range(5), *range(8, 12))]
    place.system.rm_file(place.inside("00000001.tar"))
    assert len(damage_of(folder)[0]) == 3


def stored(folder, members, counts=(2,)):
    """A set whose first shard, of two faces, has these members, and whose index says that all is well."""
    a_set(folder, counts)
    with tarfile.open(folder / "00000000.tar", "w") as tar:
        for member, data in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    data = (folder / "00000000.tar").read_bytes()
    index = json.loads((folder / "index.json").read_text())
    index["shards"][0] |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "index.json").write_text(json.dumps(index))
    return folder


GOOD = [
    ("00000000_000000.png", encoded(pictures(1)[0])),
    ("00000000_000000.json", b'{"path": "a.png", "identity": "1", "domain": "vis"}'),
]


class Armed:
    """Says so when it is unpickled."""

    def __reduce__(self):
        return pytest.fail, ("a member was unpickled",)


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/etc/cron.d/x",
        "00000001_000000.png",
        "00000000_000000.png/x",
        "00000000_000000.pickle",
        "00000000_000000.pyd",
        "00000000_000000.pth",
        "00000000_000000.cls",
        "00000000_1000000.png",
        "__index__.json",
        "00000000_00000٣.png",
    ],
)
def test_members_of_other_names_are_not_looked_at(name, tmp_path):
    before = set(tmp_path.rglob("*"))
    folder = stored(tmp_path / "set", [(name, pickle.dumps(Armed())), *GOOD])
    bad, good = damage_of(folder)
    assert good == ["a.png"]
    assert [each.cause for each in bad] == ["is not in the shard"]
    assert len(set(tmp_path.rglob("*")) - before) == 5


def test_links_and_devices_are_not_followed(tmp_path):
    members = []
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        info = tarfile.TarInfo("00000000_000001.png")
        info.type, info.linkname = kind, "/etc/passwd"
        members.append((info, b""))
    bad, good = damage_of(stored(tmp_path, [*GOOD, *members]))
    assert (good, len(bad)) == (["a.png"], 1)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (b"[" * 100_000, "65,536"),
        (b"[" * 60_000, "recursion"),
        (b'{"path": "a", "identity": "1", "domain": "' + b"x" * 70_000 + b'"}', "bytes; expected at most 65,536"),
        (b"\xff", "no row of a face list"),
        (b"[]", "'path' is missing"),
        (b'"text"', "no row of a face list"),
        (b'{"path": "../a", "identity": "1", "domain": "v"}', "leaves the list's folder"),
        (b'{"path": "/etc/passwd", "identity": "1", "domain": "v"}', "absolute"),
        (b'{"path": "a", "identity": "", "domain": "v"}', "'identity' is missing"),
        (b'{"path": "a", "identity": 1, "domain": "v"}', "'identity' is '1'; expected text"),
        (b'{"path": "a", "identity": "\\ud800", "domain": "v"}', "surrogates not allowed"),
        (b'{"path": "a", "identity": "1", "domain": "v", "odd": "x"}', "odd"),
        (b'{"path": "a", "identity": "1", "domain": "v", "extra": {"x": 1}}', "expected text"),
        (b'{"path": "a", "identity": "1", "domain": "v", "yaw_deg": NaN}', "number"),
        (b'{"path": "a", "identity": "1", "domain": "v", "yaw_deg": 1' + b"0" * 400 + b"}", "no row"),
        (b'{"path": "a", "identity": "1", "domain": "v", "landmarks": [[1, 2]]}', "shape"),
        (b'{"path": "a", "identity": "1", "domain": "v", "landmarks": "x"}', "no row"),
    ],
)
def test_rows_that_are_none_are_named(row, message, tmp_path):
    folder = stored(tmp_path, [*GOOD, ("00000000_000001.json", row), ("00000000_000001.png", GOOD[0][1])])
    bad, good = damage_of(folder)
    assert good == ["a.png"]
    assert bad[0].path == str(tmp_path / "00000000.tar/00000000_000001.json")
    assert message in bad[0].cause


def test_pictures_that_are_none_are_named(tmp_path):
    bomb = bytearray(GOOD[0][1])
    bomb[16:24] = (20_000).to_bytes(4, "big") * 2  # width and height
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    row = ("00000000_000001.json", GOOD[1][1])
    for data, message in (
        (b"GIF89a", "a GIF file"),
        (GOOD[0][1][:200], "damaged or cut off"),
        (bytes(bomb), "more than the limit"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * (1 << 25), "expected at most 33,554,432"),
    ):
        bad, good = damage_of(stored(tmp_path, [*GOOD, row, ("00000000_000001.png", data)]))
        assert good == ["a.png"]
        assert bad[0].path == str(tmp_path / "00000000.tar/00000000_000001.png")
        assert message in bad[0].cause


def test_archives_that_are_compressed_or_no_tar_are_refused(tmp_path):
    import gzip

    for make in (lambda data: gzip.compress(data), lambda data: b"no tar" * 1000):
        folder = stored(tmp_path, GOOD)
        data = make((folder / "00000000.tar").read_bytes())
        (folder / "00000000.tar").write_bytes(data)
        index = json.loads((folder / "index.json").read_text())
        index["shards"][0] |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        (folder / "index.json").write_text(json.dumps(index))
        bad, good = damage_of(folder)
        assert (good, len(bad)) == ([], 2)
        assert "the shard is damaged" in bad[0].cause


@pytest.mark.parametrize(
    "change",
    [
        {"layout": 2},
        {"crop": "square"},
        {"crop": 3},
        {"shards": []},
        {"shards": [{"name": "../a.tar", "faces": 1, "bytes": 1, "sha256": ""}]},
        {"shards": [{"name": "00000000.tar", "faces": -1, "bytes": 1, "sha256": ""}]},
        {"shards": [{"name": "00000000.tar", "faces": 1.5, "bytes": 1, "sha256": ""}]},
        {"shards": [{"name": "00000000.tar", "faces": True, "bytes": 1, "sha256": ""}]},
        {"shards": [{"name": "00000000.tar", "faces": 1, "bytes": 1 << 40, "sha256": ""}]},
        {"shards": [{"name": "00000000.tar", "faces": "1", "bytes": 1, "sha256": ""}]},
        {"shards": [{"name": "00000000.tar"}]},
        {"shards": 5},
        {"more": 1},
    ],
)
def test_an_index_that_is_none_is_refused(change, tmp_path):
    a_set(tmp_path, counts=(2,))
    index = json.loads((tmp_path / "index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps(index | change))
    with pytest.raises(ValueError, match=r"index\.json: is not an index of shards"):
        ShardedFaces(tmp_path)


@settings(max_examples=50, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=50),
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3)),
            lambda inner: st.one_of(
                st.lists(inner, max_size=3),
                st.dictionaries(
                    st.sampled_from(["path", "identity", "domain", "yaw_deg", "landmarks", "extra"]), inner
                ),
            ),
            max_leaves=6,
        ).map(lambda found: json.dumps(found).encode()),
    )
)
def test_any_json_is_a_row_or_an_error(data):
    try:
        row = face_list.from_json(data)
    except ValueError:
        return
    assert row.path
    assert row.identity
    assert row.domain
    assert ".." not in row.path.split("/")


def test_a_cut_off_file_of_identities_is_named(tmp_path):
    a_set(tmp_path)
    (tmp_path / "identities.int32").write_bytes(b"\0" * 8)
    with pytest.raises(ValueError, match=r"identities\.int32: is cut off"):
        ShardedFaces(tmp_path).identity(3)


def test_identities_that_are_missing_are_named(tmp_path):
    a_set(tmp_path)
    (tmp_path / "identities.int32").unlink()
    with pytest.raises(ValueError, match=r"identities\.int32: no such file; write the index again"):
        ShardedFaces(tmp_path).identity(3)


def header(name, size, kind=tarfile.REGTYPE):
    """512 bytes that announce a member; `size` may be negative, which tarfile would not write."""
    info = tarfile.TarInfo(name)
    info.type = kind
    block = bytearray(info.tobuf(tarfile.USTAR_FORMAT)[:512])
    block[124:136] = tarfile.itn(size, 12, tarfile.GNU_FORMAT)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (header("a", 0) + header("b", 0) + header("00000000_000000.png", -1024) + bytes(1024), "negative size"),
        ((header("x", 7, tarfile.XHDTYPE) + b"7 a=bc\n".ljust(512, b"\0")) * 5000, "recursion"),
        ((header("x", 3, tarfile.GNUTYPE_LONGNAME) + b"abc".ljust(512, b"\0")) * 5000, "recursion"),
    ],
)
def test_headers_that_lead_round_in_circles_or_without_end_damage_the_shard(data, cause, tmp_path):
    folder = stored(tmp_path, GOOD)
    (folder / "00000000.tar").write_bytes(data)
    index = json.loads((folder / "index.json").read_text())
    index["shards"][0] |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "index.json").write_text(json.dumps(index))
    bad, good = damage_of(folder)
    assert (good, len(bad)) == ([], 2)
    assert "the shard is damaged" in bad[0].cause
    assert cause in bad[0].cause


def test_all_files_of_a_shard_are_on_the_disk_before_they_have_their_names(tmp_path, monkeypatch):
    kept, fsync = set(), os.fsync

    def noted(handle):
        kept.add(os.fstat(handle).st_ino)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    a_set(tmp_path, counts=(2, 1))
    assert {path.name for path in tmp_path.iterdir() if path.stat().st_ino not in kept} == set()


def test_a_bad_picture_that_is_kept_does_not_keep_its_shard(tmp_path, monkeypatch):
    row = ("00000000_000001.json", GOOD[1][1])
    folder = stored(tmp_path, [*GOOD, row, ("00000000_000001.png", b"GIF89a")], counts=(2, 1))
    opened, members = [], shards._Members

    def noted(place, shard):
        found = members(place, shard)
        opened.append(weakref.ref(found))
        return found

    monkeypatch.setattr(shards, "_Members", noted)
    faces = ShardedFaces(folder, mix=1)
    with pytest.raises(BadPicture, match="a GIF file") as kept:
        faces.picture(1)
    faces.picture(2)
    gc.collect()
    assert [reference() is None for reference in opened] == [True, False]
    assert kept.value.path == str(tmp_path / "00000000.tar/00000000_000001.png")
