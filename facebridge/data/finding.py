"""Faces in pictures: from a folder or a list without landmarks to a face list with them."""

import csv
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facebridge.data import face_list, list_files, reading
from facebridge.data.face_list import FaceList, FaceRow
from facebridge.images import BadPicture
from facebridge.landmarks import Choose, Detector, DetectorSettings
from facebridge.landmarks.detection import check_choice, chosen, searched, smaller_side_px
from facebridge.landmarks.points68 import Points68

NO_FACE = "no face was found"


@dataclass(frozen=True)
class Found:
    """A list of the faces with landmarks, and the pictures that are not in it."""

    faces: FaceList
    refused: list[BadPicture] = field(default_factory=list)


def open_faces(path: Path, root: Path | None = None) -> FaceList:
    """A face list, a folder identity/picture, or a folder of pictures in which every picture is its own identity.

    Raises:
        ValueError: if there is no such list or folder, or no picture in it.
    """
    if not path.is_dir() or any(entry.is_dir() and not entry.name.startswith(".") for entry in path.iterdir()):
        return face_list.read(path, root=root)
    endings = list_files.PICTURE_SUFFIXES
    names = sorted(entry.name for entry in path.iterdir() if entry.suffix.lower() in endings)
    if not names:
        raise ValueError(f"{path}: no picture in this folder; known endings: {', '.join(sorted(endings))}")
    return FaceList(path, {"path": names, "identity": names, "domain": ["vis"] * len(names)})


def with_landmarks(
    faces: FaceList,
    detector: Detector | DetectorSettings,
    workers: int = 2,
    *,
    choose: Choose = "largest",
    min_face_px: float = 0,
    points68: Points68 | None = None,
    known: Mapping[str, NDArray[np.float32]] | None = None,
    on_done: Callable[[int], None] | None = None,
) -> Found:
    """The rows with their landmarks; pictures without a face, or that cannot be read, are left out and named.

    Landmarks that are there already stay, and their pictures are not opened; so do rows that name their crop, with or
    without landmarks. A row with a region is searched in it alone; its points are still pixels of the whole picture.

    Args:
        faces: pictures, some of them perhaps with landmarks.
        detector: finds faces. Settings are built once for each worker, and only if there is something to search; a
            detector that is built serves one thread at a time.
        workers: threads that decode and search.
        choose: which faces of a picture count. "all" gives a row for each, the largest first, and a column `face`
            that counts them from 0.
        min_face_px: faces whose box is narrower or lower do not count.
        points68: finds the 68 points of a face; without it there are five.
        known: path -> (5 or 68, 2) pixels, as `face_list.read_landmarks` gives them; they replace a row's own. For a
            row with a region only if their middle lies in it.
        on_done: told how many rows are done, after each.

    Raises:
        ValueError: if `choose` or the detector's settings are wrong, or some landmarks would be 5 points, others 68.
    """
    check_choice(choose)
    there = [_known(row, known or {}) for row in faces]
    missing = [index for index, (row, points) in enumerate(zip(faces, there, strict=True)) if _is_open(row, points)]
    num_points = _num_points(there, missing, 68 if points68 else 5)
    search = _Search(faces, detector, min(workers, len(missing)), choose, min_face_px, points68)
    results = _in_order(search.row, missing, workers)
    refused: list[BadPicture] = []
    lines: list[_Line] = []
    for index, (row, points) in enumerate(zip(faces, there, strict=True)):
        result = next(results) if _is_open(row, points) else [points]
        if isinstance(result, BadPicture):
            refused.append(result)
        else:
            lines.extend(_Line(index, each, number) for number, each in enumerate(result))
        if on_done is not None:
            on_done(index + 1)
    return Found(_table(faces, lines, num_points, numbered=choose == "all"), refused)


def not_found_beside(listed: Path) -> Path:
    """Where the pictures stand that a list of found faces does not hold: a CSV beside it."""
    return listed.with_name(f"{listed.stem}_not_found.csv")


def write_refused(found: Found, path: Path) -> Path:
    """Write a CSV of the pictures that could not be used: path as in the list, cause."""
    root = os.path.abspath(found.faces.root)
    with list_files.replacing(path) as part, part.open("x", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "cause"])
        for bad in found.refused:
            writer.writerow([os.path.relpath(os.path.abspath(bad.path), root), bad.cause])
    return path


def moved(faces: FaceList, root: Path) -> FaceList:
    """The same rows under another folder, their paths unchanged: for a list kept apart from its pictures."""
    return FaceList(root, {name: faces.column(name) for name in faces.column_names}, faces.landmarks)


_AHEAD = 2  # rows begun for each worker
_Result = Sequence[NDArray[np.float32] | None] | BadPicture


class _Line(NamedTuple):
    """A row of the new list: the row that it comes from, its points, and which of the picture's faces it is."""

    row: int
    points: NDArray[np.float32] | None
    number: int


class _Search:
    """Finds the faces of a row. For several threads: each takes a detector that is free, and gives it back."""

    def __init__(
        self,
        faces: FaceList,
        detector: Detector | DetectorSettings,
        num_detectors: int,
        choose: Choose,
        min_face_px: float,
        points68: Points68 | None,
    ) -> None:
        self.faces = faces
        self.choose = choose
        self.min_face_px = min_face_px
        self.points68 = points68
        self.free: SimpleQueue[Detector] = SimpleQueue()
        for _ in range(num_detectors if isinstance(detector, DetectorSettings) else 1):
            self.free.put(detector.build() if isinstance(detector, DetectorSettings) else detector)

    def row(self, index: int) -> _Result:
        """The points of each face of a row in pixels of the whole picture, or why there are none."""
        row, path = self.faces[index], self.faces.picture_path(index)
        try:
            picture = reading.picture(self.faces, index)
            corner = reading.parse_region(row.region)[:2] if row.region else (0, 0)
            return [points + np.array(corner, np.float32) for points in self._points(picture, path)]
        except BadPicture as bad:
            return BadPicture(bad.path, bad.cause)  # not `bad` itself: its traceback would hold the picture
        except ValueError as error:
            return BadPicture(path, f"could not be searched: {error}")

    def _points(self, picture: NDArray[np.uint8], path: Path) -> Iterable[NDArray[np.float32]]:
        detector = self.free.get()
        try:
            found = searched(picture, detector)
        finally:
            self.free.put(detector)
        detections = chosen(found, picture.shape, self.choose, self.min_face_px)
        if not found:
            raise BadPicture(path, NO_FACE)
        if not detections:
            largest_px = max(map(smaller_side_px, found))
            raise BadPicture(path, f"too small: the largest face has {largest_px:.0f} of {self.min_face_px:g} px")
        if self.points68 is None:
            return [detection.points for detection in detections]
        return self.points68.find([picture] * len(detections), detections)


def _known(row: FaceRow, known: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32] | None:
    points = known.get(row.path)
    if points is None or (row.region is not None and not _lies_in(points, row.region)):
        return row.landmarks
    return points


def _is_open(row: FaceRow, points: NDArray[np.float32] | None) -> bool:
    """Whether the face of a row is still to be found."""
    return points is None and row.crop is None


def _lies_in(points: NDArray[np.float32], region: str) -> bool:
    try:
        left, top, width, height = reading.parse_region(region)
    except ValueError:  # the search names it
        return False
    x, y = points.mean(0)
    return bool(left <= x < left + width and top <= y < top + height)


def _num_points(there: Iterable[NDArray[np.float32] | None], missing: list[int], searched: int) -> int:
    sizes = {len(points) for points in there if points is not None} | ({searched} if missing else set())
    if len(sizes) > 1:
        raise ValueError(
            f"{len(missing)} pictures would get {searched} points, and others have {min(sizes - {searched})} already: "
            "give a 68-point model for 68, or reduce the known ones (facebridge.crops.five_points) for five"
        )
    return sizes.pop() if sizes else searched


def _in_order(search: Callable[[int], _Result], rows: list[int], workers: int) -> Iterator[_Result]:
    """The results of many rows in their order; only a few rows are begun before they are asked for."""
    remaining = iter(rows)
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[_Result]] = deque()
        try:
            waiting.extend(pool.submit(search, row) for row in islice(remaining, _AHEAD * workers))
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(search, row) for row in islice(remaining, 1))
                yield result
        finally:
            for future in waiting:
                future.cancel()


def _table(faces: FaceList, lines: list[_Line], num_points: int, numbered: bool) -> FaceList:
    absent = np.full((num_points, 2), np.nan, np.float32)
    points = np.array([absent if line.points is None else line.points for line in lines], np.float32)
    found = faces.take([line.row for line in lines]).with_landmarks(points.reshape(-1, num_points, 2))
    return found.with_column("face", [str(line.number) for line in lines]) if numbered else found
