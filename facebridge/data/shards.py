"""Aligned faces in shards: a few large tar files (WebDataset's layout) in place of millions of small ones.

A folder of shards, on disk or in an object store:

    00000003.tar       two members a face: the picture `00000003_000017.png` (or .jpg), the 18th of shard 3, and its row
                       in the face list, `00000003_000017.json`
    00000003.parquet   the rows of the shard as a face list
    index.json         crop, columns, and for each shard the number of faces, bytes and SHA-256; written last
    identities.int32   little-endian, the number of the identity of every face, in the order of the names

Shards are read as they are: nothing is unpacked to disk, and a member is a picture, a row, or not looked at.
"""

import hashlib
import io
import json
import re
import tarfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from facebridge import crops, images
from facebridge.crops import Crop, Outside
from facebridge.data import face_list as face_lists
from facebridge.data import reading
from facebridge.data.face_list import FaceList, FaceRow
from facebridge.data.pieces import FaceListFile, FaceListWriter, Place, reach
from facebridge.images import BadPicture

INDEX = "index.json"
IDENTITIES = "identities.int32"

_LAYOUT = 1
_SHARD_NAME = re.compile(r"[0-9]{8}\.tar")
_MOST_FACES = 1_000_000
_LARGEST_SHARD_BYTES = 1 << 32
_LARGEST_PICTURE_BYTES = 1 << 25
_LARGEST_ROW_BYTES = 1 << 16
_LARGEST_INDEX_BYTES = 1 << 28
_SUFFIXES = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpg"}

Value = TypeVar("Value")


@dataclass(frozen=True)
class Shard:
    """name: of the tar file. faces: how many it holds. bytes, sha256: of the file."""

    name: str
    faces: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Index:
    """What a folder of shards holds. columns: of the rows. landmarks: 0, 5 or 68. identities: how many persons."""

    crop: str
    columns: tuple[str, ...]
    landmarks: int
    identities: int
    shards: tuple[Shard, ...]


def write_shard(
    folder: str | Path, number: int, crop: str, rows: FaceList, faces: Iterable[tuple[int, bytes]]
) -> Shard:
    """Write one shard; it appears whole or not at all, and the same faces give the same bytes on any machine.

    Shards may be written in any order and by any number of processes; `write_index` makes them one set.

    Args:
        folder: a path, or a URL that fsspec reaches; made if it is not there.
        number: of the shard, from 0. One that has this number is replaced.
        crop: that the faces were aligned to, one of `crops.names()`; becomes the column `crop`.
        rows: whose faces these may be; those that give none are left out. All shards of a set have the same columns.
        faces: (row, bytes of a PNG or JPEG file), stored as they are and in this order.

    Raises:
        ValueError: if the crop is unknown, a row names another, or a picture is neither PNG nor JPEG, or too large.
    """
    place, stem = reach(folder), f"{number:08}"
    if place.local is not None:
        place.local.mkdir(parents=True, exist_ok=True)
    crop = crops.crop(crop).name
    rows = _of_crop(rows, crop)
    with place.replacing(f"{stem}.tar") as temporary:
        with temporary.open("xb") as file:
            hashed = _Hashed(file)
            taken = _write_members(hashed, stem, rows, faces)
        shard = Shard(f"{stem}.tar", len(taken), hashed.num_bytes, hashed.sha256.hexdigest())
        # The rows are there before their tar: a tar that is there is complete.
        _write_rows(place, rows.take(np.array(taken, np.int64)), shard, crop)
    return shard


def write_index(folder: str | Path) -> Index:
    """Make the shards of a folder one set: number the identities, and write the index.

    Raises:
        ValueError: if there is no shard, one is damaged, or two do not go together.
    """
    place = reach(folder)
    sizes = place.sizes()
    names = sorted(name for name in sizes if _SHARD_NAME.fullmatch(name))
    if not names:
        raise ValueError(f"{folder}: no shards in it; expected 00000000.tar, 00000001.tar, ...")
    first = _rows_of(place, names[0])
    shards, persons = [], set()
    for name in names:
        rows = _rows_of(place, name)
        if _kind(rows) != _kind(first):
            raise ValueError(f"{rows.path}: has another crop, columns or landmarks than {first.path}")
        shards.append(_noted(rows, name, sizes[name]))
        for piece in rows.pieces():
            persons.update(piece.column("identity").tolist())
    _write_identities(place, names, sorted(persons))
    index = Index(*_kind(first), len(persons), tuple(shards))
    with place.replacing(INDEX) as temporary:
        temporary.write_text(json.dumps({"layout": _LAYOUT, **asdict(index)}, indent=1), encoding="utf-8")
    return index


def read_index(folder: str | Path) -> Index:
    """What a folder of shards holds.

    Raises:
        ValueError: if it has no index, or one that is not as `write_index` writes it.
    """
    place = reach(folder)
    name = place.shown(INDEX)
    try:
        with place.open(INDEX) as file:
            found = json.loads(_at_most(file, _LARGEST_INDEX_BYTES))
        if found.pop("layout") != _LAYOUT:
            raise ValueError(f"has another layout than {_LAYOUT}")
        shards = tuple(Shard(**shard) for shard in found.pop("shards"))
        index = Index(columns=tuple(found.pop("columns")), shards=shards, **found)
        _refuse_odd(index)
    except FileNotFoundError as error:
        raise ValueError(f"{name}: no such file; the folder holds no shards, or not all of them yet") from error
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{name}: is not an index of shards ({error})") from error
    return index


class ShardedFaces:
    """Aligned faces by number, in the order of the shards; a few shards are held in memory, whatever their number.

    Args:
        folder: a path, or a URL that fsspec reaches.
        crop: that the faces are wanted in; absent: their own. Another one is derived by the similarity of the two.
        mix: how many shards are held in memory, and mixed by `shuffle`.
        outside: what a crop shows beyond a face.

    Raises:
        ValueError: if the folder has no index, or `mix` is below 1.
    """

    def __init__(
        self, folder: str | Path, crop: Crop | None = None, *, mix: int = 8, outside: Outside = "black"
    ) -> None:
        if mix < 1:
            raise ValueError(f"mix is {mix}; expected at least 1 shard")
        self.place = reach(folder)
        self.index = read_index(folder)
        self.crop = crops.crop(self.index.crop) if crop is None else crop
        self.mix = mix
        self.outside = outside
        self.starts = np.concatenate([[0], np.cumsum([shard.faces for shard in self.index.shards], dtype=np.int64)])
        self._open = _Kept(mix, lambda number: _Members(self.place, self.index.shards[number]))
        self._numbers = _Kept(mix, self._read_identities)

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def num_identities(self) -> int:
        """How many people the faces show."""
        return self.index.identities

    def identity(self, index: int) -> int:
        """The number of the person, by the order of the names."""
        shard, offset = self._where(index)
        return int(self._numbers.at(shard)[offset])

    def picture(self, index: int) -> NDArray[np.uint8]:
        """uint8 RGB (crop.height, crop.width, 3).

        Raises:
            BadPicture: with shard and member, if the shard or the picture is missing or damaged.
        """
        shard, offset = self._where(index)
        own, crop, outside = self.index.crop, self.crop, self.outside
        return _raised_anew(lambda: _fitted(*self._open.at(shard).picture(offset), own, crop, outside))

    def row(self, index: int) -> FaceRow:
        """The row of the face list that lies beside the picture. BadPicture: as `picture`."""
        shard, offset = self._where(index)
        return _raised_anew(lambda: self._open.at(shard).row(offset))

    def shuffle(self, generator: np.random.Generator) -> "Order":
        """An order of all faces, decided by the generator alone, in which `mix` shards at a time are read and mixed."""
        return Order([shard.faces for shard in self.index.shards], self.mix, generator)

    def _where(self, index: int) -> tuple[int, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"face {index} of {len(self)}")
        shard = int(np.searchsorted(self.starts, index, side="right")) - 1
        return shard, index - int(self.starts[shard])

    def _read_identities(self, shard: int) -> NDArray[np.int32]:
        try:
            with self.place.open(IDENTITIES) as file:
                file.seek(4 * int(self.starts[shard]))
                data = file.read(4 * self.index.shards[shard].faces)
        except FileNotFoundError as error:
            raise ValueError(f"{self.place.shown(IDENTITIES)}: no such file; write the index again") from error
        if len(data) != 4 * self.index.shards[shard].faces:
            raise ValueError(f"{self.place.shown(IDENTITIES)}: is cut off; write the index again")
        return np.frombuffer(data, "<i4").astype(np.int32)


class Order(Sequence[int]):
    """0 ... N - 1, each once, so that a stretch of places needs few shards; any place is known without the others.

    The shards are shuffled and taken `mix` at a time; the faces of such a group are shuffled together. What is held in
    memory is a number a shard, and the faces' order of one group.

    Args:
        counts: faces of each shard.
        mix: shards in a group.
        generator: decides the order.
    """

    def __init__(self, counts: Sequence[int], mix: int, generator: np.random.Generator) -> None:
        self._starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        self._shards = generator.permutation(len(counts))
        sizes = np.add.reduceat(np.asarray(counts, np.int64)[self._shards], np.arange(0, len(counts), mix))
        self._ends = np.cumsum(sizes)
        self._mix = mix
        self._seed = int(generator.integers(2**63))
        self._known: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, place: int) -> int:  # type: ignore[override]
        if not 0 <= place < len(self):
            raise IndexError(f"place {place} of {len(self)}")
        group = int(np.searchsorted(self._ends, place, side="right"))
        known = self._known
        if known[0] != group:
            known = (group, self._shuffled(group))
            self._known = known
        return int(known[1][place - int(self._ends[group])])  # counted from the end of the group

    def _shuffled(self, group: int) -> NDArray[np.int64]:
        shards = self._shards[group * self._mix : (group + 1) * self._mix]
        faces = np.concatenate([np.arange(self._starts[shard], self._starts[shard + 1]) for shard in shards])
        return np.random.default_rng([self._seed, group]).permutation(faces)


def iterate(
    folder: str | Path, report: Callable[[BadPicture], None] = lambda bad: None
) -> Iterator[tuple[FaceRow, NDArray[np.uint8]]]:
    """Rows and faces, uint8 RGB in the crop of the set, in the order of the shards; one shard is in memory at a time.

    report: told of each face that cannot be used; it is left out.
    ValueError: if the folder has no index.
    """
    faces = ShardedFaces(folder, mix=1)
    for index in range(len(faces)):
        try:
            found = faces.row(index), faces.picture(index)
        except BadPicture as bad:
            report(bad)
            continue
        yield found


def _raised_anew(read: Callable[[], Value]) -> Value:
    """What is read. Who keeps a BadPicture would with its first traceback keep the whole shard."""
    try:
        return read()
    except BadPicture as bad:
        anew = BadPicture(bad.path, bad.cause)
    raise anew


class _Members:
    """The members of one shard, which is in memory as it lies on the disk."""

    def __init__(self, place: Place, shard: Shard) -> None:
        self._shard = shard
        self._path = place.shown(shard.name)
        self._found: dict[str, tuple[int, int]] = {}
        self._damage = ""
        self._data = b""
        try:
            self._data = _whole(place, shard)
            self._list()
        except (FileNotFoundError, tarfile.TarError, RecursionError, ValueError) as error:
            self._damage = f"the shard is damaged: {error}"

    def picture(self, offset: int) -> tuple[NDArray[np.uint8], str]:
        """The picture, and the name that errors call it."""
        key = _key(self._shard.name, offset)
        suffix = "png" if f"{key}.png" in self._found else "jpg"
        name = f"{self._path}/{key}.{suffix}"
        return images.decode(self._bytes(f"{key}.{suffix}", _LARGEST_PICTURE_BYTES), name), name

    def row(self, offset: int) -> FaceRow:
        name = f"{_key(self._shard.name, offset)}.json"
        try:
            return face_lists.from_json(self._bytes(name, _LARGEST_ROW_BYTES))
        except BadPicture:
            raise
        except ValueError as error:
            raise BadPicture(f"{self._path}/{name}", f"is no row of a face list ({error})") from error

    def _bytes(self, name: str, largest: int) -> bytes:
        start, size = self._found.get(name, (0, 0))
        if self._damage or not size:
            raise BadPicture(f"{self._path}/{name}", self._damage or "is not in the shard")
        if size > largest:
            raise BadPicture(f"{self._path}/{name}", f"{size:,} bytes; expected at most {largest:,}")
        return self._data[start : start + size]

    def _list(self) -> None:
        """Where the members lie that have the name of a face; all others are passed over."""
        stem = re.escape(self._shard.name.removesuffix(".tar"))
        with tarfile.open(fileobj=io.BytesIO(self._data), mode="r:") as tar:
            for member in tar:
                if member.size < 0:  # tarfile would go back, and round in circles
                    raise ValueError(f"the member {member.name[:40]!r} has a negative size")
                if member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and re.fullmatch(
                    rf"{stem}_[0-9]{{6}}\.(png|jpg|json)", member.name
                ):
                    self._found[member.name] = (member.offset_data, member.size)


class _Kept(Generic[Value]):
    """The last few of what takes long to get, by number."""

    def __init__(self, most: int, get: Callable[[int], Value]) -> None:
        self._most = most
        self._get = get
        self._values: OrderedDict[int, Value] = OrderedDict()
        self._lock = threading.Lock()

    def at(self, number: int) -> Value:
        with self._lock:
            if number not in self._values:
                if len(self._values) == self._most:
                    self._values.popitem(last=False)
                self._values[number] = self._get(number)
            self._values.move_to_end(number)
            return self._values[number]


class _Hashed:
    """A file that is written from beginning to end, its length and its SHA-256."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.num_bytes = 0
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        self.num_bytes += len(data)
        return self._file.write(data)


def _write_members(file: _Hashed, stem: str, rows: FaceList, faces: Iterable[tuple[int, bytes]]) -> list[int]:
    """Write the members; return the rows whose faces they are."""
    taken: list[int] = []
    with _webdataset().TarWriter(file, user="", group="", mtime=0, encoder=False, compress=False) as tar:
        for row, data in faces:
            if len(taken) == _MOST_FACES:
                raise ValueError(f"more than {_MOST_FACES:,} faces are too many for one shard")
            suffix = next((suffix for magic, suffix in _SUFFIXES.items() if data.startswith(magic)), None)
            if suffix is None or len(data) > _LARGEST_PICTURE_BYTES:
                what = f"{len(data):,} bytes that begin with {data[:8]!r}"
                raise ValueError(f"row {row + 1}: {what}; expected a PNG or JPEG file of at most 32 MiB")
            tar.write({"__key__": f"{stem}_{len(taken):06}", suffix: data, "json": face_lists.to_json(rows[row])})
            taken.append(row)
    return taken


def _write_rows(place: Place, rows: FaceList, shard: Shard, crop: str) -> None:
    metadata = {"crop": crop, "bytes": str(shard.bytes), "sha256": shard.sha256}
    # The paths are those of the list, wherever the shards lie.
    stored = FaceList(place.local or Path(), {name: rows.column(name) for name in rows.column_names}, rows.landmarks)
    num_landmarks = 0 if rows.landmarks is None else rows.landmarks.shape[1]
    with FaceListWriter(
        place.shown(_rows_name(shard.name)), rows.column_names, num_landmarks, metadata=metadata
    ) as writer:
        writer.write(stored)


def _write_identities(place: Place, names: Sequence[str], persons: Sequence[str]) -> None:
    numbers = {person: number for number, person in enumerate(persons)}
    with place.replacing(IDENTITIES) as temporary, temporary.open("xb") as file:
        for name in names:
            for piece in _rows_of(place, name).pieces():
                found = [numbers[person] for person in piece.column("identity").tolist()]
                file.write(np.array(found, "<i4").tobytes())


def _rows_name(shard_name: str) -> str:
    return shard_name.removesuffix(".tar") + ".parquet"


def _rows_of(place: Place, shard_name: str) -> FaceListFile:
    return FaceListFile(place.shown(_rows_name(shard_name)), root=Path())


def _kind(rows: FaceListFile) -> tuple[str, tuple[str, ...], int]:
    """What all shards of a set have in common: crop, columns, number of landmarks."""
    return rows.metadata.get("crop", ""), tuple(rows.column_names), rows.num_landmarks


def _noted(rows: FaceListFile, name: str, num_bytes: int) -> Shard:
    """The shard, as its rows note it."""
    if rows.metadata.get("bytes") != str(num_bytes) or "sha256" not in rows.metadata:
        noted = rows.metadata.get("bytes", "nothing")
        raise ValueError(f"{rows.path}: notes {noted} bytes for {name}, which has {num_bytes}; write the shard again")
    return Shard(name, len(rows), num_bytes, rows.metadata["sha256"])


def _refuse_odd(index: Index) -> None:
    crops.crop(index.crop)
    names = [shard.name for shard in index.shards]
    if not names or names != sorted(set(names)) or not all(map(_SHARD_NAME.fullmatch, names)):
        raise ValueError("its shards are not 00000000.tar, 00000001.tar, ... in order")
    for shard in index.shards:
        whole = type(shard.faces) is type(shard.bytes) is int
        if not (whole and 0 <= shard.faces <= _MOST_FACES and 0 < shard.bytes <= _LARGEST_SHARD_BYTES):
            raise ValueError(f"{shard.name} cannot hold {shard.faces} faces in {shard.bytes} bytes")


def _whole(place: Place, shard: Shard) -> bytes:
    """The bytes of a shard. ValueError: if they are not those that were written."""
    with place.open(shard.name) as file:
        data = file.read(shard.bytes + 1)
    if len(data) != shard.bytes:
        more = "more" if len(data) > shard.bytes else f"{len(data):,}"
        raise ValueError(f"{shard.bytes:,} bytes were written, {more} are there; copy it again")
    if hashlib.sha256(data).hexdigest() != shard.sha256:
        raise ValueError("its SHA-256 is not that of the index; copy it again")
    return data


def _fitted(face: NDArray[np.uint8], name: str, own_name: str, wanted: Crop, outside: Outside) -> NDArray[np.uint8]:
    own, (height, width) = crops.crop(own_name), face.shape[:2]
    if own == wanted and (height, width) == (own.height, own.width):
        return face
    if abs(height * own.width / own.height - width) > 1:
        size = f"{own.height}x{own.width}"
        raise BadPicture(name, f"{height}x{width} px (height x width) is not a face of the crop {own_name} ({size})")
    return crops.align(face, reading.scaled(own, height, width).points, wanted, outside=outside)


def _of_crop(rows: FaceList, crop: str) -> FaceList:
    if "crop" in rows.column_names:
        others = sorted(set(rows.column("crop").tolist()) - {crop})
        if others:
            raise ValueError(f"a shard of the crop {crop!r} has no place for rows of the crop {others[0]!r}")
    return rows.with_column("crop", [crop] * len(rows))


def _key(shard_name: str, offset: int) -> str:
    return f"{shard_name.removesuffix('.tar')}_{offset:06}"


def _at_most(file: BinaryIO, largest: int) -> bytes:
    data = file.read(largest + 1)
    if len(data) > largest:
        raise ValueError(f"more than {largest:,} bytes")
    return data


def _webdataset() -> Any:
    try:
        import webdataset  # type: ignore[import-untyped]
    except ImportError as error:
        raise ValueError("shards are written with webdataset: pip install 'facebridge[scale]'") from error
    return webdataset
