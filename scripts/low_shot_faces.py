"""People of the low-shot benchmark: whom recognisers and generators learn from, and others, drawn in the same way."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from facebridge import crops, images, recipe
from facebridge.data import synthetic
from facebridge.data.list_files import strings
from facebridge.data.samplers import Rows
from facebridge.recipe import SyntheticData

SIZE = 64
MARGIN_PX = 4
CROP = crops.crop(f"light_cnn_{SIZE}")
"""What generators make and recognisers take."""
WIDE_CROP = crops.crop(f"light_cnn_{SIZE}+{MARGIN_PX}")
"""What recognisers are trained on: faces are shifted in it."""
TRAINING_SEED, TRAINING_PEOPLE, TRAINING_SHOTS = 61, 200, 20
OTHER_SEED, OTHER_PEOPLE = 62, 2000
PEOPLE_APART = 10_000
"""First identities of two seeds lie so far apart, that they share nobody."""
PEOPLE_AT_ONCE = 32
DOMAINS = ("nir", "vis")

Pictures = NDArray[np.uint8]


class HeldFaces:
    """Aligned faces that are held in memory.

    Args:
        faces: by domain (N, H, W, 3), row by row of one shot.
        people: (N,) who they show.
        name: what the names of the people begin with.
    """

    def __init__(self, faces: dict[str, Pictures], people: NDArray[np.int64], name: str = "") -> None:
        self.pictures = np.concatenate(list(faces.values()))
        self.people = np.tile(np.unique(people, return_inverse=True)[1], len(faces))
        self._columns = {
            "domain": strings([domain for domain in faces for _ in people]),
            "identity": strings([f"{name}{person:06d}" for person in people.tolist()] * len(faces)),
            "pair": strings([f"{name}{row:06d}" for row in range(len(people))] * len(faces)),
        }

    def __len__(self) -> int:
        return len(self.pictures)

    def identity(self, index: int) -> int:
        return int(self.people[index])

    def picture(self, index: int) -> Pictures:
        return np.asarray(self.pictures[index])

    def identities(self) -> NDArray[np.int64]:
        return np.asarray(self.people)

    def column(self, name: str) -> NDArray[Any]:
        return self._columns.get(name, strings([""] * len(self)))

    def in_order_of_names(self) -> Rows:
        return np.arange(len(self))


def training_people(seed: int, cache: Path) -> dict[str, NDArray[Any]]:
    """`nir`, `vis` (people * shots, 72, 72, 3) in WIDE_CROP, shot by shot of each person, and `people`: who that is."""
    first = seed * PEOPLE_APART
    return _drawn(cache, TRAINING_SEED, range(first, first + TRAINING_PEOPLE), TRAINING_SHOTS)


def other_people(cache: Path) -> dict[str, NDArray[Any]]:
    """One shot each of yet other people in both cameras: the ceiling's pairs, and what new people are compared with."""
    return _drawn(cache, OTHER_SEED, range(OTHER_PEOPLE), 1)


def first_shots(found: dict[str, NDArray[Any]], shots: int, size: int) -> HeldFaces:
    """The first shots of each person, cut to the middle `size` px."""
    chosen = np.arange(len(found["people"])) % TRAINING_SHOTS < shots
    return HeldFaces({domain: middle(found[domain][chosen], size) for domain in DOMAINS}, found["people"][chosen])


def visible_people(work: Path, seed: int) -> HeldFaces:
    """Those that scripts/measure_recognisers.py has trained its recogniser on, in CROP; `work`: where it keeps them."""
    wanted = recipe.read("light_cnn_9_small")
    assert isinstance(wanted.data, SyntheticData)
    pictures = np.load(work / f"visible_{wanted.crop}_{seed}.npz")["faces"]
    own = middle(pictures, crops.crop("light_cnn").height)
    reduced = np.stack([cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_AREA) for picture in own])
    return HeldFaces({"vis": reduced}, np.arange(len(pictures)) // wanted.data.shots)


def middle(pictures: Pictures, size: int) -> Pictures:
    """Pictures (N, H, H, 3) cut to their middle (N, size, size, 3)."""
    edge = (pictures.shape[1] - size) // 2
    return pictures[:, edge : edge + size, edge : edge + size]


def widened(pictures: Pictures) -> Pictures:
    """Faces in CROP (N, 64, 64, 3) -> in WIDE_CROP, mirrored at the border."""
    edge = (MARGIN_PX, MARGIN_PX)
    return np.pad(pictures, ((0, 0), edge, edge, (0, 0)), mode="symmetric")


def blurred(pictures: Pictures, deviation_px: float) -> Pictures:
    """Pictures (N, H, W, 3), each with a Gaussian."""
    return np.stack([cv2.GaussianBlur(picture, (0, 0), deviation_px) for picture in pictures])


def _drawn(cache: Path, seed: int, people: Sequence[int], shots: int) -> dict[str, NDArray[Any]]:
    if cache.is_file():
        return dict(np.load(cache))
    who = [person for person in people for _ in range(shots)]
    which = list(range(shots)) * len(people)
    made: dict[str, list[Pictures]] = {domain: [] for domain in DOMAINS}
    for start in range(0, len(who), PEOPLE_AT_ONCE):
        part = slice(start, start + PEOPLE_AT_ONCE)
        drawn = synthetic.render(seed, who[part], which[part], domains=DOMAINS, truth=True)
        for domain, aligned in made.items():
            pictures = images.to_pictures(drawn.faces[domain])
            points = drawn.landmarks5.numpy()
            aligned += [crops.align(*both, WIDE_CROP) for both in zip(pictures, points, strict=True)]
    found = {domain: np.stack(aligned) for domain, aligned in made.items()} | {"people": np.array(who)}
    np.savez(cache, **found)
    return found
