"""Tiny faces: taken at the size that they have, whole squares, and found where a detector sees too little."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from facebridge import crops, generating, images, making, tiny_faces
from facebridge.data import face_list, opening
from facebridge.data.face_list import FaceList
from facebridge.landmarks import Detection, DetectorSettings, YuNet
from facebridge.method import HallucinationMethod
from facebridge.source_faces import TakesSizesBetween, open_pictures
from tests import drawn

CROP = crops.crop("sphereface")


class AnySize(torch.nn.Module):
    """Takes every size from 6 to 36 px, keeps what it was given, and gives the crop's."""

    takes_sizes_between = True
    crop = CROP

    def __init__(self) -> None:
        super().__init__()
        self.given: list[NDArray[np.uint8]] = []

    def source_sizes(self) -> list[tuple[int, int]]:
        return [(36, 31), (14, 12), (6, 5)]

    def generate(self, faces: torch.Tensor) -> torch.Tensor:
        self.given += list(images.to_pictures(faces))
        return torch.nn.functional.interpolate(faces, (CROP.height, CROP.width))


@pytest.fixture
def method(monkeypatch: pytest.MonkeyPatch) -> AnySize:
    """Stands in for the method of every run."""
    made = AnySize()
    monkeypatch.setattr(making.runs, "load_hallucination", lambda run: made)
    return made


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn.untrained_run(tmp_path_factory.mktemp("runs") / "run")


def smooth(height: int, width: int) -> NDArray[np.uint8]:
    """A picture whose value at any place is known: x and y and their sum, linear."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    return np.round(255 * np.stack([x, y, (x + y) / 2], -1)).astype(np.uint8)


def folder_of(picture: NDArray[np.uint8], folder: Path) -> Path:
    folder.mkdir()
    images.write(folder / "face.png", picture)
    return folder


def test_method_says_that_it_takes_sizes_between(method: AnySize) -> None:
    assert isinstance(method, TakesSizesBetween)
    assert not isinstance(object(), TakesSizesBetween)
    assert not any("takes_sizes_between" in vars(kind) for kind in HallucinationMethod.__mro__)


@pytest.mark.parametrize(
    ("scale", "size"),
    [(1.0, (36, 31)), (0.4, (36, 31)), (0.3214, (36, 31)), (0.25, (28, 24)), (0.18, (20, 17)), (0.125, (14, 12))],
)
def test_face_goes_in_at_the_size_that_it_has_in_its_picture(
    run: Path, method: AnySize, tmp_path: Path, scale: float, size: tuple[int, int]
) -> None:
    source = folder_of(smooth(200, 200), tmp_path / "in")
    points = np.array(CROP.points, np.float32) * scale + 30
    faces = FaceList(source, {"path": ["face.png"], "identity": ["ann"], "domain": ["vis"]}, points[None])
    assert generating.generate(run, faces, tmp_path / "out").count == 1
    (given,) = method.given
    assert given.shape[:2] == size
    # Where the middle of each pixel lies in the picture, by the outer edges of the crop.
    y, x = (np.arange(side) + 0.5 for side in size)
    wanted_x = (x * CROP.width / size[1] - 0.5) * scale + 30
    wanted_y = (y * CROP.height / size[0] - 0.5) * scale + 30
    assert np.abs(given[..., 0] - 255 * wanted_x / 200).max() <= 1.5
    assert np.abs(given[..., 1] - 255 * wanted_y[:, None] / 200).max() <= 1.5


def test_face_smaller_than_those_of_training_goes_in_as_it_is(run: Path, method: AnySize, tmp_path: Path) -> None:
    source = folder_of(smooth(9, 9), tmp_path / "in")
    faces = open_pictures(source, aligned="arcface")
    generating.generate(run, faces, tmp_path / "out", (5, 4))
    generating.generate(run, face_list_of(source, 4 / 112), tmp_path / "own")
    assert [given.shape[:2] for given in method.given] == [(5, 4), (4, 3)]


def face_list_of(source: Path, scale: float) -> FaceList:
    points = np.array(CROP.points, np.float32) * scale
    return FaceList(source, {"path": ["face.png"], "identity": ["ann"], "domain": ["vis"]}, points[None])


def test_squares_of_arcface_are_cut_to_the_crop(run: Path, method: AnySize, tmp_path: Path) -> None:
    """arcface is sphereface with 8 of 112 px more on either side."""
    picture = smooth(16, 16)
    faces = open_pictures(folder_of(picture, tmp_path / "in"), aligned="arcface")
    assert generating.generate(run, faces, tmp_path / "out").count == 1
    (given,) = method.given
    assert given.shape == (16, 14, 3)
    x = (np.arange(14) + 0.5) * 96 / 14 + 8
    assert np.abs(given[1:-1, :, 0] - 255 * (x * 16 / 112 - 0.5) / 16).max() <= 2


def test_square_that_is_said_to_be_no_square_is_refused_with_what_it_may_be(
    run: Path, method: AnySize, tmp_path: Path
) -> None:
    faces = open_pictures(folder_of(smooth(16, 16), tmp_path / "in"), aligned="sphereface")
    done = generating.generate(run, faces, tmp_path / "out")
    assert done.count == 0
    for word in ("16x16", "112x96", "arcface", "--aligned", "--squeezed"):
        assert word in done.refused[0].cause


@pytest.mark.parametrize(("size", "given"), [(None, (16, 16)), ((8, 8), (8, 8))])
def test_squeezed_square_goes_in_whole(
    run: Path, method: AnySize, tmp_path: Path, size: tuple[int, int] | None, given: tuple[int, int]
) -> None:
    picture = smooth(16, 16)
    faces = open_pictures(folder_of(picture, tmp_path / "in"), aligned="sphereface")
    done = generating.generate(run, faces, tmp_path / "out", size, squeezed=True)
    assert done.count == 1
    assert method.given[0].shape[:2] == given
    if size is None:
        assert np.array_equal(method.given[0], picture)
    assert images.read(tmp_path / "out" / "face.png").shape == (112, 96, 3)
    with pytest.raises(ValueError, match="put back"):
        generating.generate(run, faces, tmp_path / "back", squeezed=True, paste_back=True)


class SeesLargeFaces:
    """Finds a white square of 30 px or more; points off by a twentieth of what a 64 px square is short of."""

    def detect(self, picture: NDArray[np.uint8]) -> list[Detection]:
        ys, xs = np.nonzero(picture[..., 0] > 127)
        if len(xs) == 0 or np.ptp(xs) < 29 or np.ptp(ys) < 29:
            return []
        left, top, side = xs.min() - 0.5, ys.min() - 0.5, float(np.ptp(xs) + 1)
        off = max(0.0, 64 - side) / 20
        unit = np.array(crops.crop("arcface").points) / 112
        box = np.array([left, top, side, side], np.float32)
        return [Detection(box, 0.9, (unit * side + [left, top] + off).astype(np.float32))]


def square(side: int, left: int, top: int, picture: tuple[int, int]) -> NDArray[np.uint8]:
    made = np.zeros((*picture, 3), np.uint8)
    made[top : top + side, left : left + side] = 255
    return made


@pytest.mark.parametrize(("side", "picture"), [(16, (40, 50)), (32, (300, 200)), (32, (500, 700)), (80, (200, 200))])
def test_tiny_face_is_found_with_points_as_good_as_those_of_large_ones(side: int, picture: tuple[int, int]) -> None:
    left, top = 13, 21
    (found,) = tiny_faces.faces_in(square(side, left, top, picture), SeesLargeFaces())
    assert found.box == pytest.approx([left - 0.5, top - 0.5, side, side], abs=0.6)
    wanted = np.array(crops.crop("arcface").points) / 112 * side + [left - 0.5, top - 0.5]
    assert found.points == pytest.approx(wanted, abs=0.6)
    assert found.points.dtype == found.box.dtype == np.float32


def test_face_of_a_large_picture_that_is_not_seen_is_not_made_up() -> None:
    assert tiny_faces.faces_in(square(16, 13, 21, (600, 600)), SeesLargeFaces()) == []
    assert tiny_faces.faces_in(np.zeros((1, 1, 3), np.uint8), SeesLargeFaces()) == []
    assert tiny_faces.faces_in(square(16, 13, 21, (40, 50)), SeesLargeFaces(), min_face_px=20) == []


def test_second_look_that_sees_another_face_is_not_believed() -> None:
    """The detector always sees a face in the corner of what it is shown."""

    class Corner:
        def detect(self, picture: NDArray[np.uint8]) -> list[Detection]:
            at = 30.0 if picture.shape[0] == 100 else 0.0
            return [Detection(np.array([at, at, 20, 20], np.float32), 0.9, np.full((5, 2), at, np.float32))]

    (found,) = tiny_faces.faces_in(np.zeros((100, 100, 3), np.uint8), Corner())
    assert found.box.tolist() == [30, 30, 20, 20]
    assert (found.points == 30).all()


@pytest.mark.real
@pytest.mark.parametrize("height", [28, 16, 10])
def test_tiny_faces_of_photographs_are_found_and_generated(
    real_data: Path, run: Path, tmp_path: Path, height: int
) -> None:
    """Photographs reduced until their face is so high; its eyes must be found within a quarter of their distance."""
    lfw = real_data / "data" / "lfw"
    listed = face_list.read_landmarks(lfw / "landmarks5.csv")
    weights = real_data / "weights" / "yunet_n_dynamic.onnx"
    detector, source = YuNet(weights), tmp_path / "in"
    source.mkdir()
    good = 0
    for number, (name, points) in enumerate(list(sorted(listed.items()))[::500]):
        path = next(each for each in (lfw / "lfw-deepfunneled" / name, lfw / name) if each.is_file())
        scale = height * np.sqrt(abs(np.linalg.det(crops.similarity(points, CROP.points)[:, :2]))) / CROP.height
        small = cv2.resize(images.read(path), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        images.write(source / f"{number}.png", small)
        wanted = (points + 0.5) * scale - 0.5
        off = [np.linalg.norm(each.points - wanted, axis=1).mean() for each in tiny_faces.faces_in(small, detector)]
        good += bool(off and off[0] < 0.25 * np.linalg.norm(wanted[0] - wanted[1]))
    assert good >= 9
    settings: dict[str, Any] = {"detector": DetectorSettings("yunet", (weights,)), "workers": 1}
    done = generating.generate(run, opening.open_faces(source), tmp_path / "out", **settings)
    assert done.count >= 9
