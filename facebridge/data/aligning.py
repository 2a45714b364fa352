"""A face list of pictures -> a folder of aligned faces with their own list; over many processes, going on after a kill.

OUT/PATH.png           an aligned face, under the path of its picture; of several faces in one picture PATH_1.png, ...
    faces.csv          the list of them (.parquet for a list from Parquet); `original` is the picture each was cut from
    not_aligned.csv    the pictures that gave no face, and why
    aligned.json       how it was done, written last
    .aligning/         the account of an unfinished job, see `facebridge.blocks`

As shards, OUT holds `facebridge.data.shards` in place of the pictures and their list; a block is a shard.
"""

import csv
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from facebridge import blocks, crops, images, landmarks, runs
from facebridge.block_files import BlockFiles
from facebridge.blocks import Engine
from facebridge.crops import Convention, Outside
from facebridge.data import finding, list_files, new_names, reading, shards
from facebridge.data.face_list import FaceList, FaceRow
from facebridge.data.pieces import FaceListFile, FaceListWriter
from facebridge.data.source import Source, blocks_of, digest, rows_of
from facebridge.images import BadPicture
from facebridge.landmarks import Choose, DetectorSettings
from facebridge.provenance import Provenance

Ending = Literal["png", "jpg"]
Layout = Literal["files", "shards"]

NOT_ALIGNED = "not_aligned.csv"
DONE = "aligned.json"
UNFINISHED = ".aligning"
PARTS = "parts"
FACES_PER_SHARD = 4096


@dataclass(frozen=True)
class Aligned:
    """What there is at the end: the list of the faces, how many they are, and how many pictures gave none."""

    faces: Path
    num_faces: int
    not_aligned: Path
    num_not_aligned: int


@dataclass(frozen=True)
class Settings:
    """How faces are found, aligned and written; see `align`."""

    crop: str
    convention: Convention
    outside: Outside
    detector: DetectorSettings | None
    choose: Choose
    min_face_px: float
    ending: Ending
    layout: Layout


def align(
    faces: Source,
    crop: str,
    out: Path,
    *,
    detector: DetectorSettings | None = None,
    choose: Choose = "largest",
    min_face_px: float = 0,
    convention: Convention = "umeyama",
    outside: Outside = "black",
    ending: Ending = "png",
    layout: Layout = "files",
    engine: Engine = "local",
    workers: int | None = None,
    block_size: int | None = None,
) -> Aligned:
    """Align every face of a list, each once, whatever is killed in between; called again, it goes on.

    Args:
        faces: pictures. Landmarks of a row win; a row that names its crop is brought over from that.
        crop: the crop to align to.
        out: a new folder, or the one of an unfinished or finished run of the same job.
        detector: finds the faces of the other rows; None: those cannot be used.
        choose: which of the faces it finds.
        min_face_px: smaller side of the boxes from which it counts.
        convention: how the similarity is fitted.
        outside: what a crop shows beyond the picture.
        ending: "png" keeps every pixel, "jpg" is a fifth to a third of the size (quality 95, full chroma).
        layout: "files", or "shards": a few large tar files (needs webdataset), with one shard for each block.
        engine, workers: see `facebridge.blocks.run`; what is written does not depend on them. Under Ray the pictures
            and `out` lie on a file system that all machines share.
        block_size: rows of a block; None: 512, of shards 4096.

    Raises:
        ValueError: if no row can be used, a path leaves its folder, names would clash, or `out` holds something else.
        Stopped: if SIGTERM or Ctrl-C asked to stop; the same call goes on.
    """
    if detector is not None:
        detector.build()  # what is wrong with it is said now, not by a worker
        detector = replace(detector, weights=tuple(path.absolute() for path in detector.weights))
    settings = Settings(
        crops.crop(crop).name, crops.as_convention(convention), outside, detector, choose, min_face_px, ending, layout
    )
    _refuse_unknown(settings)
    if block_size is None:
        block_size = blocks.BLOCK_SIZE if layout == "files" else FACES_PER_SHARD
    job = _job(faces, settings, digest(faces))
    finished = _open(faces.root, out, job)
    if finished is not None:
        return finished
    stems = _checked_stems(faces, settings)
    with blocks.full_disk_told(out), runs.locked(out / UNFINISHED):
        shutil.rmtree(out / UNFINISHED / PARTS, ignore_errors=True)
        work = Aligning(faces, faces.root.absolute(), out.absolute(), settings, stems, block_size)
        records = blocks.run(
            work,
            len(faces),
            out / UNFINISHED,
            job=job,
            title="aligning",
            engine=engine,
            workers=workers,
            block_size=block_size,
        )
        return _finish(work, records, job)


@dataclass(frozen=True)
class Aligning:
    """The work of `align` on its rows; paths are absolute.

    stems: new names, without ending, of rows whose own would clash.
    """

    source: Source
    root: Path
    out: Path
    settings: Settings
    stems: dict[int, str]
    block_size: int

    def prepare(self) -> blocks.Step:
        """Load the detector, once in each worker."""
        return _Aligner(self).block

    def rows(self, start: int, stop: int) -> FaceList:
        """Rows of the list."""
        return finding.moved(rows_of(self.source, start, stop), self.root)

    def names(self, row: int, path: str, num_faces: int) -> list[str]:
        """The files that the faces of a row are written to, relative to `out`."""
        stem = self.stems.get(row) or new_names.stem_of(path)
        ending = self.settings.ending
        if num_faces == 1:
            return [f"{stem}.{ending}"]
        return [f"{stem}_{number}.{ending}" for number in range(1, num_faces + 1)]


class _Aligner:
    """A worker, with the detector."""

    def __init__(self, work: Aligning) -> None:
        self.work = work
        self.settings = work.settings
        self.crop = crops.crop(work.settings.crop)
        self.detector = None if self.settings.detector is None else self.settings.detector.build()
        self.sink: _Files | _Shard = _Files(work) if self.settings.layout == "files" else _Shard(work)

    def block(self, start: int, stop: int) -> blocks.Record:
        """Align rows; the record names those that did not give one face: offset from start, and faces or cause."""
        rows = self.work.rows(start, stop)
        similarities = self._similarities(rows)
        several, refused = [], []
        for offset, row in enumerate(rows):
            try:
                found = self._faces(rows, offset, row, similarities[offset])
                path = rows.picture_path(offset)
                made_by = images.provenance(path) or images.generated_by(path)
            except BadPicture as bad:
                refused.append([offset, bad.cause])
                continue
            if len(found) > 1:
                several.append([offset, len(found)])
            for name, face in zip(self.work.names(start + offset, row.path, len(found)), found, strict=True):
                self.sink.add(name, encoded(face, self.settings.ending, made_by))
        record = {"several": several, "refused": refused}
        self.sink.end_block(start, rows, record)
        return record

    def _similarities(self, rows: FaceList) -> NDArray[np.float64]:
        """Those that known landmarks give, (N, 2, 3), all at once: a tenth of the time of one after the other.

        NaN in rows that are fitted, or refused, for themselves.
        """
        matrices = np.full((len(rows), 2, 3), np.nan)
        points = rows.landmarks
        if points is not None and not {"crop", "region"} & set(rows.column_names):
            there = np.isfinite(points).all((1, 2))
            five = points[there] if points.shape[1] == 5 else crops.five_points(points[there])
            try:
                matrices[there] = crops.similarity(five, self.crop.points, self.settings.convention)
            except ValueError:  # of one of them; it will be named
                matrices[:] = np.nan
        return matrices

    def _faces(
        self, rows: FaceList, place: int, row: FaceRow, similarity: NDArray[np.float64]
    ) -> list[NDArray[np.uint8]]:
        """The aligned faces of a row, at least one."""
        settings = self.settings
        if not np.isnan(similarity[0, 0]):
            return [crops.cut(images.read(rows.picture_path(place)), similarity, self.crop, outside=settings.outside)]
        if self.detector is None or row.landmarks is not None or row.crop is not None:
            return [reading.aligned(rows, place, self.crop, settings.convention, settings.outside)]
        picture = reading.picture(rows, place)
        try:
            detected = landmarks.faces_in(picture, self.detector, settings.choose, settings.min_face_px)
        except ValueError as error:
            raise BadPicture(row.path, f"could not be searched: {error}") from error
        if not detected:
            raise BadPicture(row.path, finding.NO_FACE)
        try:
            return [
                crops.align(picture, face.points, self.crop, settings.convention, outside=settings.outside)
                for face in detected
            ]
        except ValueError as error:
            raise BadPicture(row.path, f"the points found cannot be aligned: {error}") from error


class _Files:
    """Writes each face to a file of its own."""

    def __init__(self, work: Aligning) -> None:
        self.files = BlockFiles(work.out, work.out / UNFINISHED / PARTS)

    def add(self, name: str, data: bytes) -> None:
        self.files.write(name, data)

    def end_block(self, start: int, rows: FaceList, record: blocks.Record) -> None:
        """Have the disk keep the files."""
        self.files.keep()


class _Shard:
    """Writes the faces of a block as one shard."""

    def __init__(self, work: Aligning) -> None:
        self.work = work
        self.faces: list[bytes] = []

    def add(self, name: str, data: bytes) -> None:
        self.faces.append(data)

    def end_block(self, start: int, rows: FaceList, record: blocks.Record) -> None:
        work, made = self.work, _made(self.work, start, rows, record)
        shards.write_shard(work.out, start // work.block_size, work.settings.crop, made, enumerate(self.faces))
        self.faces = []


def encoded(face: NDArray[np.uint8], ending: Ending, generated_by: str | Provenance | None = None) -> bytes:
    """The bytes of a PNG or JPEG file of a face, uint8 RGB (H, W, 3); one that was generated says so, and by what."""
    if ending == "png" or generated_by is not None:
        return images.encode(face, f".{ending}", generated_by)
    done, data = cv2.imencode(".jpg", cv2.cvtColor(face, cv2.COLOR_RGB2BGR), _JPEG_OPTIONS)
    assert done, "OpenCV writes JPEG"
    return data.tobytes()


_JPEG_OPTIONS = [
    *(cv2.IMWRITE_JPEG_QUALITY, 95),
    *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
]


def _finish(work: Aligning, records: Iterator[blocks.Record], job: dict[str, Any]) -> Aligned:
    """Write the lists, then the note that all is done; take the account away."""
    with ExitStack() as stack:
        made: FaceListWriter | None = None
        if work.settings.layout == "files":
            in_parquet = isinstance(work.source, FaceListFile) and work.source.path.endswith(".parquet")
            listed = work.out / ("faces.parquet" if in_parquet else "faces.csv")
            made = stack.enter_context(FaceListWriter(listed, _columns(work.source), 5))
        part = stack.enter_context(list_files.replacing(work.out / NOT_ALIGNED))
        refused = csv.writer(stack.enter_context(part.open("w", encoding="utf-8", newline="")), lineterminator="\n")
        refused.writerow(["path", "cause"])
        num_faces, num_refused = 0, 0
        for (start, rows), record in zip(blocks_of(work.source, work.block_size), records, strict=True):
            if made is not None:
                made.write(_made(work, start, rows, record))
            refused.writerows([rows.column("path")[offset], cause] for offset, cause in record["refused"])
            num_faces += len(rows) - len(record["refused"]) + sum(found - 1 for _, found in record["several"])
            num_refused += len(record["refused"])
    if work.settings.layout == "shards":
        shards.write_index(work.out)
        listed = work.out / shards.INDEX
    note = {
        "faces": num_faces,
        "not_aligned": num_refused,
        "list": listed.name,
        "alignment": crops.record(crops.crop(work.settings.crop), work.settings.convention),
        "job": job,
    }
    runs.write_bytes(work.out / DONE, json.dumps(note, indent=1).encode())
    shutil.rmtree(work.out / UNFINISHED, ignore_errors=True)
    return Aligned(listed, num_faces, work.out / NOT_ALIGNED, num_refused)


def _columns(source: Source) -> list[str]:
    """Of the list of aligned faces: a region of the picture means nothing in them."""
    return [*(name for name in source.column_names if name not in ("region", "crop", "original")), "crop", "original"]


def _made(work: Aligning, start: int, rows: FaceList, record: blocks.Record) -> FaceList:
    """The rows of the faces that a block made."""
    counts = np.ones(len(rows), np.int64)
    for offset, num_faces in record["several"]:
        counts[offset] = num_faces
    counts[[offset for offset, _ in record["refused"]]] = 0
    paths = rows.column("path").tolist()
    names = [
        name
        for offset, num_faces in enumerate(counts.tolist())
        for name in work.names(start + offset, paths[offset], num_faces)
    ]
    crop = crops.crop(work.settings.crop)
    taken = rows.take(np.repeat(np.arange(len(rows)), counts))
    new = {"path": names, "crop": [crop.name] * len(taken), "original": taken.originals()}
    columns = {name: new[name] if name in new else taken.column(name) for name in _columns(rows)}
    points = np.array(crop.points, np.float32)
    return FaceList(work.out, columns, np.tile(points, (len(taken), 1, 1)))


def _refuse_unknown(settings: Settings) -> None:
    known = {"outside": Outside, "choose": Choose, "ending": Ending, "layout": Layout}
    for name, values in known.items():
        if getattr(settings, name) not in get_args(values):
            raise ValueError(f"{name} is {getattr(settings, name)!r}; expected one of {', '.join(get_args(values))}")


def _checked_stems(source: Source, settings: Settings) -> dict[int, str]:
    """Look at all rows before anything is written: that some can be used, and that no two faces get one name."""
    usable = settings.detector is not None or any(
        rows.landmarks is not None or "crop" in rows.column_names for _, rows in blocks_of(source)
    )
    if not usable:
        raise ValueError(
            "the list has neither landmarks nor a column `crop`, so that nothing says where the faces are: give a "
            "detector and its weights, or landmarks"
        )
    return new_names.new_stems(source, numbered=settings.choose == "all" and settings.detector is not None)


def _job(faces: Source, settings: Settings, digest: str) -> dict[str, Any]:
    """What identifies the job; a detector's weights by what is in them."""
    job = {"list": digest, "root": str(faces.root.absolute()), **asdict(settings)}
    if settings.detector is not None:
        files = [file for path in settings.detector.weights for file in ([path] if path.is_file() else path.iterdir())]
        weights = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(files)}
        job["detector"] = [settings.detector.name, weights, dict(settings.detector.settings)]
    return job


def _open(root: Path, out: Path, job: dict[str, Any]) -> Aligned | None:
    """Make the folder, or see what is in it: what it holds if the same job has ended there."""
    if root.resolve().is_relative_to(out.resolve()):
        raise ValueError(f"{out} holds the sources, which could be overwritten: choose another folder")
    if not (out / DONE).is_file():
        if out.is_dir() and any(out.iterdir()) and not (out / UNFINISHED).is_dir():
            raise ValueError(f"{out} is not empty and holds no alignment: choose another folder")
        return None
    note = json.loads((out / DONE).read_text("utf-8"))
    for key, value in json.loads(json.dumps(job)).items():
        if note["job"].get(key) != value:
            raise ValueError(
                f"{out} holds faces aligned with {key} {note['job'].get(key)!r}, not {value!r}: choose another folder"
            )
    shutil.rmtree(out / UNFINISHED, ignore_errors=True)
    return Aligned(out / note["list"], note["faces"], out / NOT_ALIGNED, note["not_aligned"])
