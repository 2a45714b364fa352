"""The faces that go into a method: from a list or shards, found and aligned where needed, with their origin."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from queue import SimpleQueue
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from facebridge import bit_depths, crops, images, tiny_faces
from facebridge.crops import Convention, Crop
from facebridge.data import face_list, finding, list_files, new_names, opening, reading
from facebridge.data.face_list import FaceList, FaceRow
from facebridge.data.new_names import stem_of
from facebridge.data.shards import ShardedFaces
from facebridge.hallucination import reduce
from facebridge.images import BadPicture
from facebridge.landmarks import Choose, Detector, DetectorSettings

ACCOUNT = ".generating"
"""The folder, beside generated faces, of what `facebridge.made_faces` notes of them."""
NOT_LOCATED = (
    "no landmarks, and nothing says how it was aligned: have its face found (--weights FILE of a detector), run "
    "'facebridge data landmarks' or 'facebridge data align' on the list first, or say how the pictures were aligned "
    "(--aligned CROP, or a column `crop`)"
)


@dataclass(frozen=True, eq=False)
class SourceFace:
    """A face as it goes into a method, and where it comes from.

    stem: path of what is made of it, without ending. face: (h, w, 3) uint8 RGB. matrix: the similarity (2, 3) from
    pixels of the whole picture to the method's crop; None: there is no whole picture. source: the file, relative to the
    list's folder. path: what errors call it. sha256: of that file. stamp: its size in bytes and when it was changed,
    ns. cells: what the list says of it, as JSON, where the list cannot be asked again. points: the five points (5, 2)
    in pixels of `face`; None: nothing is known beyond the crop.
    """

    stem: str
    face: NDArray[np.uint8]
    matrix: NDArray[np.float64] | None
    source: str
    path: str
    sha256: str
    stamp: tuple[int, int]
    cells: str = ""
    points: NDArray[np.float32] | None = None


@runtime_checkable
class TakesSizesBetween(Protocol):
    """A method that takes every size between the smallest and the largest of its `source_sizes`, not these alone."""

    takes_sizes_between: Literal[True]


class Sources(Protocol):
    """Faces by number; several threads may ask."""

    def __len__(self) -> int: ...

    def identity(self) -> dict[str, Any]:
        """What a job is told by, ready for JSON."""
        ...

    def read(self, row: int) -> SourceFace:
        """BadPicture: if the picture cannot be used."""
        ...

    def whole(self, row: int, sha256: str) -> NDArray[np.uint8]:
        """The picture that the face lies in: uint8 RGB. BadPicture: if it cannot be read, or has changed."""
        ...

    def row_of(self, line: dict[str, Any]) -> int | None:
        """The row whose face has the name that a line of the account is about."""
        ...

    def is_same(self, row: int, line: dict[str, Any]) -> bool:
        """Whether the source of a row is what it was when the line was written."""
        ...

    def facts(self, row: int) -> str:
        """A digest of what is said of a row, by which a change is noticed."""
        ...


@dataclass(frozen=True)
class Taking:
    """How faces are taken from pictures.

    crop: the method's. sizes: (height, width) in px that it takes. size: one to which aligned faces are reduced; None:
    the largest of `sizes` that the face has in its picture, or with `between` the size that it has there, where that is
    no larger than the largest of them. squeezed: faces that are aligned to `crop` may have other proportions, such as
    16x16 px of 112x96, and show the whole crop all the same. detector: finds the faces of rows of which nothing says
    where they lie; None: such rows cannot be used. bits: see `bit_depths.decode`.
    """

    crop: Crop
    sizes: Sequence[tuple[int, int]]
    size: tuple[int, int] | None = None
    between: bool = False
    squeezed: bool = False
    convention: Convention = "umeyama"
    detector: DetectorSettings | None = None
    choose: Choose = "largest"
    min_face_px: float = 0
    bits: int | None = None


_Taken = tuple[NDArray[np.uint8], NDArray[np.float64] | None, NDArray[np.float32] | None]


class ListedSources:
    """The pictures of a face list.

    Those of one new name (a.jpg and a.png, or two regions of one picture) become a_1 and a_2.
    ValueError: if two would get one name all the same, or one would be written outside the folder.
    """

    def __init__(self, faces: FaceList, taking: Taking, num_detectors: int = 1) -> None:
        self.faces = faces
        self.taking = taking
        renamed = new_names.new_stems(faces, numbered=False)
        self.stems = [renamed.get(row) or stem_of(path) for row, path in enumerate(faces.column("path").tolist())]
        self.free: SimpleQueue[Detector] = SimpleQueue()
        for _ in range(num_detectors if taking.detector else 0):
            assert taking.detector is not None
            self.free.put(taking.detector.build())
        self._rows: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.faces)

    def identity(self) -> dict[str, Any]:
        """The rows are told by themselves, so a longer list goes on where a shorter one ended."""
        return {"sources": "pictures"}

    def read(self, row: int) -> SourceFace:
        """The face of a row, aligned, at the size at which it goes in."""
        found, path = self.faces[row], self.faces.picture_path(row)
        data, stamp = _bytes_and_stamp(path)
        whole = bit_depths.decode(data, str(path), self.taking.bits)
        face, matrix, points = self._taken(whole, found, path)
        sha256 = hashlib.sha256(data).hexdigest()
        return SourceFace(self.stems[row], face, matrix, found.path, str(path), sha256, stamp, points=points)

    def whole(self, row: int, sha256: str) -> NDArray[np.uint8]:
        """The picture of a row, its region not cut out."""
        path = self.faces.picture_path(row)
        data = images.read_bytes(path)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise BadPicture(path, "was changed while its face was made")
        return bit_depths.decode(data, str(path), self.taking.bits)

    def row_of(self, line: dict[str, Any]) -> int | None:
        """By the name."""
        if not self._rows:
            self._rows = {stem: row for row, stem in enumerate(self.stems)}
        return self._rows.get(line["stem"])

    def is_same(self, row: int, line: dict[str, Any]) -> bool:
        """The facts of the row and the file must be those of then."""
        path = self.faces.picture_path(row)
        try:
            return bool(line["facts"] == self.facts(row)) and (
                _stamp(path) == tuple(line["stamp"])
                or hashlib.sha256(images.read_bytes(path)).hexdigest() == line["sha256"]
            )
        except (OSError, BadPicture):
            return False

    def facts(self, row: int) -> str:
        """A digest of what the list says of where the face lies."""
        found = self.faces[row]
        points = b"" if found.landmarks is None else found.landmarks.tobytes()
        texts = "\0".join([found.path, found.region or "", found.crop or ""])
        return hashlib.sha256(texts.encode("utf-8", "surrogatepass") + points).hexdigest()[:16]

    def _taken(self, whole: NDArray[np.uint8], found: FaceRow, path: Path) -> _Taken:
        """The face, the similarity from the whole picture to the crop, and the face's points."""
        taking, crop = self.taking, self.taking.crop
        picture, left, top = reading.cut_to_region(whole, found, path)
        is_aligned = found.crop == crop.name
        if is_aligned and taking.squeezed:
            return self._unmoved(picture), None, None
        points = self._points(picture, found, path, (left, top))
        try:
            matrix = crops.similarity(points, crop.points, taking.convention)
        except ValueError as error:
            raise BadPicture(path, f"its landmarks cannot be aligned: {error}") from error
        from_whole = matrix @ np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]])
        face = self._fitted(picture, matrix, is_aligned)
        known = points if found.crop is None else _beside(found, (left, top))
        return face, from_whole, None if known is None else _in_face(crops.moved(known, matrix), crop, face)

    def _fitted(self, picture: NDArray[np.uint8], matrix: NDArray[np.float64], is_aligned: bool) -> NDArray[np.uint8]:
        """The face in the crop, at the size at which it goes in."""
        taking, crop = self.taking, self.taking.crop
        if is_aligned and taking.size is None and picture.shape[0] <= crop.height:
            return picture
        own_size = _own_size(matrix, crop, taking)
        if own_size is not None:
            return _cut_reduced(picture, matrix, crop, own_size)
        if not (is_aligned and picture.shape[:2] == (crop.height, crop.width)):
            picture = crops.cut(picture, matrix, crop)
        return _reduced(picture, taking.size or _natural_size(matrix, crop, taking.sizes))

    def _unmoved(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A face that is aligned, whatever its proportions."""
        if self.taking.size is None and picture.shape[0] <= self.taking.crop.height:
            return picture
        return _reduced(picture, self.taking.size or max(self.taking.sizes))

    def _points(
        self, picture: NDArray[np.uint8], found: FaceRow, path: Path, corner: tuple[int, int]
    ) -> NDArray[np.float32]:
        """Five points in pixels of what was cut out of the picture."""
        if found.crop is not None:
            return np.array(_own_crop(picture, found.crop, path, self.taking.crop).points, np.float32)
        if found.landmarks is None:
            return self._detected(picture, path)
        points = crops.five_points(found.landmarks) if len(found.landmarks) == 68 else found.landmarks
        return np.asarray(points - np.array(corner, np.float32), np.float32)

    def _detected(self, picture: NDArray[np.uint8], path: Path) -> NDArray[np.float32]:
        if self.taking.detector is None:
            raise BadPicture(path, NOT_LOCATED)
        detector = self.free.get()
        try:
            found = tiny_faces.faces_in(picture, detector, self.taking.choose, self.taking.min_face_px)
        except ValueError as error:
            raise BadPicture(path, f"could not be searched: {error}") from error
        finally:
            self.free.put(detector)
        if not found:
            large = f" of {self.taking.min_face_px:g} px or more" if self.taking.min_face_px else ""
            raise BadPicture(path, f"{finding.NO_FACE}{large}")
        return found[0].points


class ShardedSources:
    """Aligned faces in a folder of shards, which is streamed; two shards are in memory at a time."""

    def __init__(self, folder: str, crop: Crop, size: tuple[int, int] | None) -> None:
        self.faces = ShardedFaces(folder, crop, mix=2)
        self.size = size

    def __len__(self) -> int:
        return len(self.faces)

    def identity(self) -> dict[str, Any]:
        """By what the shards hold."""
        all_of_them = "".join(shard.sha256 for shard in self.faces.index.shards)
        return {"sources": f"shards {hashlib.sha256(all_of_them.encode()).hexdigest()}"}

    def read(self, row: int) -> SourceFace:
        """The face of a row; its file is the shard."""
        found, face = self.faces.row(row), self.faces.picture(row)
        try:
            stem = stem_of(found.path)
        except ValueError as error:
            raise BadPicture(found.path, str(error)) from error
        shard = self.faces.index.shards[int(np.searchsorted(self.faces.starts, row, side="right")) - 1]
        cells = face_list.to_json(found).decode()
        face = face if self.size is None else _reduced(face, self.size)
        source = f"{shard.name}/{found.path}"
        return SourceFace(stem, face, None, source, self.faces.place.shown(source), shard.sha256, (0, 0), cells)

    def whole(self, row: int, sha256: str) -> NDArray[np.uint8]:
        """There is none."""
        raise AssertionError("shards hold no whole pictures")

    def row_of(self, line: dict[str, Any]) -> int | None:
        """By the number."""
        return int(line["row"])

    def is_same(self, row: int, line: dict[str, Any]) -> bool:
        """The shards are those of then, or the job would be another."""
        return True

    def facts(self, row: int) -> str:
        """Nothing that the shards do not say."""
        return ""


def open_pictures(
    path: Path,
    root: Path | None = None,
    known: Path | None = None,
    aligned: str | None = None,
    out: Path | None = None,
) -> FaceList:
    """As `opening.open_faces`; of a folder all pictures in it and below it count, and a single picture will do.

    What was generated is no source: folders of generated faces below the folder do not count.
    out: a folder of which the same is to be held, whatever it holds.

    Raises:
        ValueError: as `opening.open_faces`.
    """
    if path.is_dir():
        folder, names = path, sorted(list_files.picture_paths(path))
        if out is not None and out.resolve().is_relative_to(path.resolve()) and out.resolve() != path.resolve():
            inside = f"{out.resolve().relative_to(path.resolve()).as_posix()}/"
            names = [name for name in names if not name.startswith(inside)]
        names = _not_generated(path, names)
        if not names:
            endings = ", ".join(sorted(list_files.PICTURE_SUFFIXES))
            raise ValueError(f"{path}: no picture in this folder or below it; known endings: {endings}")
    elif path.is_file() and path.suffix.lower() in list_files.PICTURE_SUFFIXES:
        folder, names = path.parent, [path.name]
    else:
        return opening.open_faces(path, root, known, aligned)
    people = [name.split("/", 1)[0] for name in names]
    faces = FaceList(folder, {"path": names, "identity": people, "domain": ["vis"] * len(names)})
    if known is not None:
        faces = opening.with_known_landmarks(faces, known)
    return faces if aligned is None else opening.as_aligned(faces, aligned)


def sample(faces: FaceList) -> Iterator[Path]:
    """Pictures evenly spread over a list that may have 16 bits a channel, for `bit_depths.sampled_bits`."""
    rows = [
        row
        for row, path in enumerate(faces.column("path").tolist())
        if os.path.splitext(path)[1].lower() in _MAYBE_DEEP
    ]
    count = min(len(rows), bit_depths.SAMPLED)
    return (faces.picture_path(rows[number * len(rows) // count]) for number in range(count))


_MAYBE_DEEP = frozenset([".png", ".tif", ".tiff", ".pgm", ".ppm", ".pnm"])


def _not_generated(folder: Path, names: list[str]) -> list[str]:
    """The pictures that lie in no folder with an account of generating below this one."""
    parents = {parent for name in names for parent in PurePosixPath(name).parents[:-1]}
    made = {parent for parent in parents if (folder / parent / ACCOUNT).is_dir()}
    return [name for name in names if made.isdisjoint(PurePosixPath(name).parents)] if made else names


def _own_crop(picture: NDArray[np.uint8], name: str, path: Path, wanted: Crop) -> Crop:
    try:
        return reading.own_crop(picture, name, path)
    except BadPicture as bad:
        height, width = picture.shape[:2]
        known = [crops.crop(each) for each in crops.names()]
        fitting = [each.name for each in known if abs(height * each.width / each.height - width) <= 1]
        advice = f"; crops of its proportions: {', '.join(fitting)} (--aligned CROP)" if fitting else ""
        if name == wanted.name:
            advice += "; if it shows a whole face of this crop, squeezed: --squeezed"
        raise BadPicture(path, f"{bad.cause}{advice}") from bad


def _beside(found: FaceRow, corner: tuple[int, int]) -> NDArray[np.float64] | None:
    """The five points that the list has of an aligned face, in pixels of its region."""
    return None if found.landmarks is None else reading.five_of(found) - np.array(corner, np.float64)


def _in_face(points: NDArray[np.float32], crop: Crop, face: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Points of the crop in pixels of a face that shows all of it at its own size."""
    per_axis = np.array([face.shape[1] / crop.width, face.shape[0] / crop.height], np.float32)
    return (points + np.float32(0.5)) * per_axis - np.float32(0.5)


def _own_size(matrix: NDArray[np.float64], crop: Crop, taking: Taking) -> tuple[int, int] | None:
    """The size of a face in its picture, where the method takes it; None: it is brought to one of the known sizes."""
    height = max(1, round(_height_px(matrix, crop)))
    if taking.size is not None or not taking.between or height > max(taking.sizes)[0]:
        return None
    return height, max(1, round(height * crop.width / crop.height))


def _cut_reduced(
    picture: NDArray[np.uint8], matrix: NDArray[np.float64], crop: Crop, size: tuple[int, int]
) -> NDArray[np.uint8]:
    """The face in its crop, reduced to a size, in one step: the outer edges of the crop stay where they are."""
    small = reading.scaled(crop, *size)
    per_axis = np.array([size[1] / crop.width, size[0] / crop.height])
    shrink = np.column_stack([np.diag(per_axis), 0.5 * per_axis - 0.5])
    return crops.cut(picture, shrink @ np.vstack([matrix, [0, 0, 1]]), small)


def _height_px(matrix: NDArray[np.float64], crop: Crop) -> float:
    """Of the crop, in the picture that the matrix leads from."""
    return crop.height / float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))


def _natural_size(matrix: NDArray[np.float64], crop: Crop, sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The largest size that the method takes which is not more than the face has in its picture."""
    height_px = _height_px(matrix, crop)
    fitting = [size for size in sorted(sizes) if size[0] <= height_px]
    return fitting[-1] if fitting else min(sizes)


def _reduced(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    if picture.shape[:2] == size:
        return picture
    return np.asarray(images.to_pictures(reduce(images.to_faces(picture[None]), *size))[0])


def _bytes_and_stamp(path: Path) -> tuple[bytes, tuple[int, int]]:
    """The file, and its stamp from before it was read: a change in between is noticed next time."""
    try:
        stamp = _stamp(path)
    except (OSError, ValueError):
        stamp = (0, 0)  # reading it says why
    return images.read_bytes(path), stamp


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
