"""People of the pose benchmark: drawn ones at exact angles, with the picture that the camera would have had from the
front at the same moment."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facebridge import crops, images
from facebridge.data import synthetic
from facebridge.data.faces import DrawnFaces
from facebridge.recipe import Recipe, SyntheticData

CROP = crops.crop("tp_gan_64")
SMALL_CROP = crops.crop("tp_gan_48")
"""What DR-GAN is shown."""
ANGLES_DEG = (15, 30, 45, 60, 75, 90)
TEST_SEED, TEST_PEOPLE = 77, 200
PICTURES = 6
"""Pictures of a person at an angle, the head turned to either side in turn; fused by DR-GAN."""
PROBES = 2
"""The first of them, which are matched each by itself."""

Arrays = dict[str, NDArray]


def test_faces(cache: Path) -> Arrays:
    """Aligned faces of people whom nobody has seen.

    `gallery` (200, 64, 64, 3): the person from the front, in a shot of its own; `probe` (200, 6, 2, 64, 64, 3) by
    person, angle and side; `probe_points` (200, 6, 2, 5, 2); `front` like `probe`: the same moments from the front;
    `small_gallery` (200, 48, 48, 3) and `small` (200, 6, 6, 48, 48, 3): by person, angle and picture in SMALL_CROP.
    """
    if cache.is_file():
        return dict(np.load(cache))
    made: dict[str, list[NDArray]] = {}
    for person in range(TEST_PEOPLE):
        for name, rows in _of_person(person).items():
            made.setdefault(name, []).append(rows)
    found = {name: np.stack(rows) for name, rows in made.items()}
    np.savez(cache, **found)
    return found


def training_faces(wanted: Recipe, cache: Path) -> DrawnFaces:
    """The faces of a recipe with their points, drawn once for all rows that share them."""
    assert isinstance(wanted.data, SyntheticData)
    faces = DrawnFaces(wanted.data, crops.crop(wanted.crop))
    told = wanted.data.model_dump_json(exclude={"pairing"})
    if not cache.is_file():
        pictures = np.stack([faces.picture(index) for index in range(len(faces))])
        points = np.stack([faces.points5(index) for index in range(len(faces))])
        np.savez(cache, faces=pictures, points=points, data=told)
    stored = np.load(cache)
    assert str(stored["data"]) == told, f"remove {cache}"
    faces.drawn = dict(enumerate(stored["faces"]))
    faces.placed5 = dict(enumerate(stored["points"]))
    return faces


def _of_person(person: int) -> Arrays:
    gallery, gallery_points = _drawn(person, [0], 0)
    found: dict[str, list[NDArray]] = {}
    for number, angle in enumerate(ANGLES_DEG):
        shots = [1 + number * PICTURES + picture for picture in range(PICTURES)]
        taken = [_drawn(person, [shot], angle if place % 2 == 0 else -angle) for place, shot in enumerate(shots)]
        pictures, points = (np.concatenate([one[part] for one in taken]) for part in (0, 1))
        front, front_points = _drawn(person, shots[:PROBES], 0)
        moved = [crops.moved(five, crops.similarity(five, CROP.points)) for five in points[:PROBES]]
        for name, rows in (
            ("probe", _aligned(pictures[:PROBES], points[:PROBES], CROP)),
            ("probe_points", np.stack(moved)),
            ("front", _aligned(front, front_points, CROP)),
            ("small", _aligned(pictures, points, SMALL_CROP)),
        ):
            found.setdefault(name, []).append(rows)
    return {
        "gallery": _aligned(gallery, gallery_points, CROP)[0],
        "small_gallery": _aligned(gallery, gallery_points, SMALL_CROP)[0],
        **{name: np.stack(rows) for name, rows in found.items()},
    }


def _drawn(person: int, shots: list[int], yaw_deg: float) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Pictures and their five points."""
    yaws = (float(yaw_deg), float(yaw_deg))
    drawn = synthetic.render(TEST_SEED, [person] * len(shots), shots, yaw_range=yaws, truth=True)
    return images.to_pictures(drawn.faces["vis"]), drawn.landmarks5.numpy()


def _aligned(pictures: NDArray[np.uint8], points: NDArray[np.float32], crop: crops.Crop) -> NDArray[np.uint8]:
    return np.stack([crops.align(picture, five, crop) for picture, five in zip(pictures, points, strict=True)])
