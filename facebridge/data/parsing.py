"""From a row of a face list to the parts of its face, in pixels of the aligned face."""

import cv2
import numpy as np
from numpy.typing import NDArray

from facebridge import crops, images, parts
from facebridge.crops import Convention, Crop, Outside
from facebridge.data import celeba_mask_hq, helen, helen_parts, reading
from facebridge.data.face_list import FaceList
from facebridge.images import BadPicture


def aligned_parsing(
    faces: FaceList, row: int, crop: Crop, convention: Convention = "umeyama", outside: Outside = "black"
) -> NDArray[np.uint8]:
    """Which part each pixel of the aligned face of a row shows: (crop.height, crop.width), a `facebridge.parts.Part`.

    The first of these that the row has counts:

        masks        maps that people drew (CelebAMask-HQ), aligned as the picture is
        points194    Helen's points, which outline the parts
        68 landmarks parts outlined by them, an approximation; see `parts.from_points68`

    Raises:
        BadPicture: if the row has none of them, or they cannot be read or aligned.
    """
    found, path = faces[row], faces.picture_path(row)
    try:
        if found.extra.get("masks"):
            return _of_masks(faces, row, crop, convention, outside)
        if found.extra.get(helen.COLUMN):
            return _of_points194(faces, row, crop, convention)
        if found.landmarks is None or len(found.landmarks) != parts.NUM_POINTS:
            raise BadPicture(
                path,
                "nothing says which parts of the face lie where: no `masks`, no `points194`, no 68 landmarks "
                "('facebridge data landmarks' with --points68 finds them)",
            )
        points = reading.aligned_points(faces, row, crop, convention)
        return parts.from_points68(points, crop.height, crop.width)
    except BadPicture:
        raise
    except ValueError as error:
        raise BadPicture(path, f"its parts are not known: {error}") from error


def _of_masks(faces: FaceList, row: int, crop: Crop, convention: Convention, outside: Outside) -> NDArray[np.uint8]:
    found, path = faces[row], faces.picture_path(row)
    height, width = images.read(path).shape[:2]
    drawn = celeba_mask_hq.parsing(faces.root, found.extra["masks"])
    whole = np.asarray(cv2.resize(drawn, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
    parsing, points = reading.located_in(whole, found, path)
    if found.crop == crop.name and parsing.shape == (crop.height, crop.width):
        return parsing
    return parts.cut(parsing, crops.similarity(points, crop.points, convention), crop, outside)


def _of_points194(faces: FaceList, row: int, crop: Crop, convention: Convention) -> NDArray[np.uint8]:
    found = faces[row]
    if found.crop is not None or found.landmarks is None:
        raise ValueError("its 194 points are those of the photograph: list that, with landmarks, not an aligned face")
    points = helen.annotated_points(faces.root, found.extra[helen.COLUMN])
    five = crops.five_points(found.landmarks) if len(found.landmarks) == 68 else found.landmarks
    matrix = crops.similarity(five, crop.points, convention)
    return helen_parts.parsing(crops.moved(points, matrix), crop.height, crop.width)
