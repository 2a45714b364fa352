"""From a row of a face list to pixels: the picture itself, or the face aligned to a crop."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facebridge import crops, images, pose
from facebridge.crops import Convention, Crop, Outside
from facebridge.data.face_list import FaceList, FaceRow
from facebridge.images import BadPicture

_ADVICE = (
    "run 'facebridge data landmarks' or 'facebridge data align' on the list first, or say how the pictures were "
    "aligned (--aligned CROP, or a column `crop`)"
)
_ASPECT_TOLERANCE_PX = 1.0
_NUM_POINTS = 68
_SAME_POINTS_PX = 0.1


def picture(faces: FaceList, row: int) -> NDArray[np.uint8]:
    """The picture of a row, cut to its region where it has one: uint8 RGB (H, W, 3).

    Raises:
        BadPicture: if it cannot be read, or the region lies outside it.
    """
    return cut_to_region(images.read(faces.picture_path(row)), faces[row], faces.picture_path(row))[0]


def located(faces: FaceList, row: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The picture of a row, as `picture`, and where the face lies in it: five points (5, 2) in its pixels.

    A row that names its crop is an aligned face already, at that crop's size or reduced or enlarged as a whole; of any
    other row the landmarks are taken.

    Raises:
        BadPicture: if the picture cannot be read, or nothing says where the face lies in it.
    """
    path = faces.picture_path(row)
    return located_in(images.read(path), faces[row], path)


def aligned(
    faces: FaceList, row: int, crop: Crop, convention: Convention = "umeyama", outside: Outside = "black"
) -> NDArray[np.uint8]:
    """The face of a row, aligned: uint8 RGB (crop.height, crop.width, 3).

    A row that names this crop and has its size is returned as it is; one that names another is brought over by the
    similarity between the two (`located` says where its points are).

    Raises:
        BadPicture: if the picture cannot be read, or nothing says where the face lies in it.
    """
    found, path = faces[row], faces.picture_path(row)
    face, points = located_in(images.read(path), found, path)
    if found.crop == crop.name and face.shape[:2] == (crop.height, crop.width):
        return face
    try:
        return crops.align(face, points, crop, convention, outside=outside)
    except ValueError as error:
        raise BadPicture(path, f"its landmarks cannot be aligned: {error}") from error


def aligned_points(faces: FaceList, row: int, crop: Crop, convention: Convention = "umeyama") -> NDArray[np.float32]:
    """The 68 landmarks (68, 2) of a row, in pixels of its aligned face.

    A row that names its crop has them in pixels of its picture, which is read to see how large it is.

    Raises:
        BadPicture: if the list holds no 68 landmarks of the row, or they cannot be aligned.
    """
    found, path = faces[row], faces.picture_path(row)
    if found.landmarks is None or len(found.landmarks) != _NUM_POINTS:
        raise BadPicture(path, "no 68 landmarks: 'facebridge data landmarks' with --points68 finds them")
    points = np.asarray(found.landmarks, np.float64)
    try:
        if found.crop is None:
            return crops.moved(points, crops.similarity(crops.five_points(points), crop.points, convention))
        face, left, top = cut_to_region(images.read(path), found, path)
        return crops.moved(points - [left, top], crops.between(own_crop(face, found.crop, path), crop))
    except BadPicture:
        raise
    except ValueError as error:
        raise BadPicture(path, f"its landmarks cannot be aligned: {error}") from error


def aligned_five_points(
    faces: FaceList, row: int, crop: Crop, convention: Convention = "umeyama"
) -> NDArray[np.float32]:
    """The five points (5, 2) of a row, in pixels of its aligned face; of 68 landmarks they are made.

    A face that was aligned already and has no landmarks has the crop's own points.

    Raises:
        BadPicture: if the list says neither where the face lies nor how it was aligned, or its landmarks cannot be
            aligned.
    """
    found, path = faces[row], faces.picture_path(row)
    if found.landmarks is None and found.crop == crop.name:
        return np.array(crop.points, np.float32)  # whatever its size, so it need not be read
    if found.landmarks is None and found.crop is None:
        raise BadPicture(path, f"no landmarks, and nothing says how it was aligned: {_ADVICE}")
    try:
        if found.crop is None:
            points = five_of(found)
            return crops.moved(points, crops.similarity(points, crop.points, convention))
        face, left, top = cut_to_region(images.read(path), found, path)
        own = own_crop(face, found.crop, path)
        return crops.moved(points_in_crop(found, own, (left, top)), crops.between(own, crop))
    except BadPicture:
        raise
    except ValueError as error:
        raise BadPicture(path, f"its landmarks cannot be aligned: {error}") from error


def points_in_crop(found: FaceRow, own: Crop, corner: tuple[int, int] = (0, 0)) -> NDArray[np.float64]:
    """The five points (5, 2) of an aligned face, in its pixels: its landmarks, or where its crop has them.

    corner: where its region begins in the picture that the landmarks lie in.
    """
    if found.landmarks is None:
        return np.array(own.points, np.float64)
    return five_of(found) - np.array(corner, np.float64)


def five_of(found: FaceRow) -> NDArray[np.float64]:
    """The five points (5, 2) of a row that has landmarks, 5 or 68, in pixels of its picture."""
    assert found.landmarks is not None, "asked of rows with landmarks"
    points = np.asarray(found.landmarks, np.float64)
    return crops.five_points(points) if len(points) == _NUM_POINTS else points


def yaw_deg(faces: FaceList, row: int) -> float:
    """The yaw of a row in degrees: what the list says, or what its landmarks let estimate.

    Landmarks that are just those of a row's crop say nothing of this face.

    Raises:
        BadPicture: if the list has neither.
    """
    found = faces[row]
    if found.yaw_deg is not None:
        return found.yaw_deg
    if found.landmarks is not None and not _are_the_crops(found):
        estimated = float(pose.yaw_from_points(five_of(found)))
        if np.isfinite(estimated):
            return estimated
    raise BadPicture(
        faces.picture_path(row),
        "nothing says how far the head is turned: fill the column yaw_deg, or run 'facebridge data landmarks' on the "
        "pictures before they are aligned, so that it can be estimated",
    )


def _are_the_crops(found: FaceRow) -> bool:
    """Whether the landmarks of an aligned face are the points that every face of its crop is given."""
    if found.crop is None or found.crop not in crops.names():
        return False
    crop, points = crops.crop(found.crop), five_of(found)
    own = crops.moved(points, crops.similarity(points, crop.points))
    return bool(np.abs(own - np.array(crop.points)).max() < _SAME_POINTS_PX)


def parse_region(text: str) -> tuple[int, int, int, int]:
    """`left top width height` in pixels.

    Raises:
        ValueError: if the text is not four whole numbers, the last two above 0.
    """
    words = text.split()
    if len(words) != 4 or not all(word.isascii() and word.isdecimal() and len(word) < 10 for word in words):
        raise ValueError(f"region {text!r}: expected `left top width height` in whole pixels")
    left, top, width, height = map(int, words)
    if not width or not height:
        raise ValueError(f"region {text!r} is empty")
    return left, top, width, height


def scaled(crop: Crop, height: int, width: int) -> Crop:
    """The same crop at another size: its points moved with the pixels, whose outer edges stay together."""
    per_axis = np.array([width / crop.width, height / crop.height])
    points = (np.asarray(crop.points) + 0.5) * per_axis - 0.5
    return Crop(crop.name, height, width, tuple((float(x), float(y)) for x, y in points))


def located_in(whole: NDArray[np.uint8], found: FaceRow, path: Path) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """As `located`, of a picture that was read; or of a map of it, (H, W)."""
    cut, left, top = cut_to_region(whole, found, path)
    if found.crop is not None:
        return cut, np.array(own_crop(cut, found.crop, path).points, np.float32)
    if found.landmarks is None:
        raise BadPicture(path, f"no landmarks, and nothing says how it was aligned: {_ADVICE}")
    points = crops.five_points(found.landmarks) if len(found.landmarks) == 68 else found.landmarks
    return cut, np.asarray(points - np.array([left, top], np.float32), np.float32)


def cut_to_region(whole: NDArray[np.uint8], row: FaceRow, path: Path) -> tuple[NDArray[np.uint8], int, int]:
    """The region of the picture, and where its corner lies in it."""
    if row.region is None:
        return whole, 0, 0
    try:
        left, top, width, height = parse_region(row.region)
    except ValueError as error:
        raise BadPicture(path, str(error)) from error
    if left + width > whole.shape[1] or top + height > whole.shape[0]:
        size = f"{whole.shape[1]} x {whole.shape[0]}"
        raise BadPicture(path, f"its region {row.region!r} (left top width height) leaves the picture of {size} px")
    return whole[top : top + height, left : left + width], left, top


def own_crop(face: NDArray[np.uint8], name: str, path: Path) -> Crop:
    """The crop that a face was aligned to, at the size that the face has."""
    try:
        own = crops.crop(name)
    except ValueError as error:
        raise BadPicture(path, str(error)) from error
    height, width = face.shape[:2]
    if abs(height * own.width / own.height - width) > _ASPECT_TOLERANCE_PX:
        size = f"{own.height}x{own.width}"
        raise BadPicture(path, f"{height}x{width} px (height x width) is not a face of the crop {name} ({size})")
    return scaled(own, height, width)
