"""Methods that look where the five points lie are told it: when faces are generated, evaluated and validated."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from facebridge import crops, generating, images, methods, runs, training, validation
from facebridge import recipe as recipes
from facebridge.data import face_list, synthetic
from facebridge.data.batches import Batches
from facebridge.data.face_list import FaceList
from facebridge.evaluation import experiment, ways
from facebridge.evaluation.comparison import by_split
from facebridge.evaluation.setting import Setting
from facebridge.evaluation.ways import Judge
from facebridge.hallucination import hallucinate
from facebridge.method import Batch, Frozen, HallucinationMethod, TakesPoints
from tests import drawn, tiny

CROP = crops.crop("sphereface")
LEVELS = (60, 100, 140, 180, 220)


class Painter(HallucinationMethod[Any]):
    """Paints a square of its own grey at each of the five points, on black of the crop's size."""

    class Config(Frozen):
        """No settings."""

    def __init__(self, sizes: list[tuple[int, int]] | None = None) -> None:
        super().__init__(self.Config(), CROP)
        self.sizes = sizes or [(CROP.height, CROP.width)]
        self.unused = torch.nn.Linear(1, 1)
        self.asked: list[Tensor] = []

    @property
    def wants_five_points(self) -> bool:
        return True

    def source_sizes(self) -> list[tuple[int, int]]:
        return self.sizes

    def generate(self, faces: Tensor) -> Tensor:
        height, width = faces.shape[-2:]
        points = (torch.tensor(CROP.points) + 0.5) * torch.tensor([width / CROP.width, height / CROP.height]) - 0.5
        return self.generate_at(faces, points.expand(len(faces), 5, 2))

    def generate_at(self, faces: Tensor, points: Tensor) -> Tensor:
        self.asked.append(points)
        height, width = faces.shape[-2:]
        per_axis = torch.tensor([CROP.width / width, CROP.height / height])
        return painted((points + 0.5) * per_axis - 0.5)

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        return {}

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        return {}


def painted(points: Tensor | np.ndarray) -> Tensor:
    """Squares at points (B, 5, 2) of the crop: (B, 3, 112, 96)."""
    faces = torch.zeros(len(points), 3, CROP.height, CROP.width)
    for face, five in zip(faces, np.asarray(points).round().astype(int).tolist(), strict=True):
        for level, (x, y) in zip(LEVELS, five, strict=True):
            face[:, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = level / 255
    return faces


def turned_people(folder: Path, points: Any = 5) -> FaceList:
    listed = synthetic.render_to(folder, identities=3, shots=3, size=96, seed=8, yaw_range=(-80, 80), points=points)
    faces = face_list.read(listed)
    is_first = [path.endswith("/0000_vis.png") for path in faces.column("path").tolist()]
    return faces.with_column("split", np.where(is_first, "gallery", "probe").tolist())


def in_crop(faces: FaceList) -> np.ndarray:
    """The oracle: where each row's five points lie in its aligned face."""
    assert faces.landmarks is not None
    five = faces.landmarks if faces.landmarks.shape[1] == 5 else crops.five_points(faces.landmarks)
    return np.stack([crops.moved(points, crops.similarity(points, CROP.points)) for points in five])


@pytest.fixture
def painter(monkeypatch: pytest.MonkeyPatch) -> Painter:
    method = Painter()
    monkeypatch.setattr(runs, "load_hallucination", lambda run: method)
    return method


def test_points_reach_a_method_that_takes_them_and_no_other() -> None:
    faces, points = torch.rand(2, 3, 112, 96), torch.rand(2, 5, 2) * 90
    assert isinstance(Painter(), TakesPoints)
    assert torch.equal(hallucinate(Painter(), faces, points=points), painted(points))
    assert torch.equal(hallucinate(Painter(), faces), painted(torch.tensor([CROP.points] * 2)))

    class Plain(HallucinationMethod[Any]):
        Config = Frozen
        generate = lambda self, faces: faces  # noqa: E731
        training_step = preview = lambda self, batch: {}

    assert torch.equal(hallucinate(Plain(Frozen(), CROP), faces, points=points), faces)


@pytest.mark.parametrize("points", [5, 68])
def test_generated_faces_are_made_at_the_landmarks_of_the_list(tmp_path: Path, painter: Painter, points: int) -> None:
    faces = turned_people(tmp_path / "in", points)
    run = drawn.untrained_run(tmp_path / "run")
    assert generating.generate(run, faces, tmp_path / "out", batch_size=4, workers=1).count == 9
    for row, wanted in zip(faces, images.to_pictures(painted(in_crop(faces))), strict=True):
        assert np.array_equal(images.read(tmp_path / "out" / row.path), wanted)


def test_points_of_reduced_faces_are_in_their_pixels(tmp_path: Path, painter: Painter) -> None:
    painter.sizes = [(28, 24)]
    faces = turned_people(tmp_path / "in")
    generating.generate(drawn.untrained_run(tmp_path / "run"), faces, tmp_path / "out", workers=1)
    found = torch.cat(painter.asked).numpy()
    np.testing.assert_allclose(found, (in_crop(faces) + 0.5) / 4 - 0.5, atol=1e-3)


def aligned_list(folder: Path, faces: FaceList) -> FaceList:
    """Faces cut to the crop by hand; the first half of them with the landmarks that they have there."""
    assert faces.landmarks is not None
    points = in_crop(faces)
    folder.mkdir()
    for row, found in enumerate(faces):
        picture = crops.align(images.read(faces.picture_path(row)), faces.landmarks[row], CROP)
        images.write(folder / f"{row}.png", picture)
        assert found.crop is None
    names = [f"{row}.png" for row in range(len(faces))]
    columns = {"path": names, "identity": names, "domain": ["vis"] * len(names), "crop": [CROP.name] * len(names)}
    points[len(points) // 2 :] = np.nan
    return FaceList(folder, columns, points)


def test_aligned_faces_with_landmarks_have_these_and_others_in_their_batch_the_crops(
    tmp_path: Path, painter: Painter
) -> None:
    faces = aligned_list(tmp_path / "in", turned_people(tmp_path / "drawn"))
    generating.generate(drawn.untrained_run(tmp_path / "run"), faces, tmp_path / "out", workers=1)
    assert faces.landmarks is not None
    wanted = np.where(np.isnan(faces.landmarks), np.array(CROP.points), faces.landmarks)
    for row, picture in enumerate(images.to_pictures(painted(wanted))):
        assert np.array_equal(images.read(tmp_path / "out" / f"{row}.png"), picture)


@pytest.mark.parametrize("size", [None, (28, 24)])
def test_a_face_without_landmarks_comes_out_the_same_alone_and_beside_one_that_has_some(
    tmp_path: Path, painter: Painter, size: tuple[int, int] | None
) -> None:
    faces = aligned_list(tmp_path / "in", turned_people(tmp_path / "drawn"))
    assert faces.landmarks is not None
    assert np.isnan(faces.landmarks).all((1, 2)).tolist() == [False] * 4 + [True] * 5
    run = drawn.untrained_run(tmp_path / "run")
    for out, rows in (("alone", [5]), ("beside", [0, 5])):
        generating.generate(run, faces.take(np.array(rows)), tmp_path / out, size, workers=1)
    alone, beside = (images.read(tmp_path / out / "5.png") for out in ("alone", "beside"))
    assert np.array_equal(alone, beside)
    assert not np.array_equal(beside, images.read(tmp_path / "beside" / "0.png"))
    np.testing.assert_allclose(painter.asked[0][0], painter.asked[1][1], atol=1e-5)


@pytest.mark.parametrize("side", ["probe", "gallery"])
def test_evaluated_faces_are_made_at_their_points_and_mirror_images_at_mirrored_ones(
    tmp_path: Path, side: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces = turned_people(tmp_path / "people")
    method, judge, seen = Painter(), Judge(drawn.thin_recogniser(), "sum"), []
    features = Judge._features

    def kept(self: Judge, shown: Tensor, crop: crops.Crop) -> Tensor:
        seen.append(shown)
        return features(self, shown, crop)

    monkeypatch.setattr(Judge, "_features", kept)
    way = ways.of_method("painter", method, side)
    experiment.evaluate(by_split(faces, "drawn"), [way], judge, Setting(CROP), tmp_path / "out")
    points = in_crop(faces.where(split=side))
    mirrored = points[:, [1, 0, 2, 4, 3]] * np.float32([-1, 1]) + np.float32([CROP.width - 1, 0])
    for wanted in (painted(points), painted(mirrored)):
        assert any(shown.shape == wanted.shape and torch.equal(shown, wanted) for shown in seen)


def test_reduced_probes_have_reduced_points(tmp_path: Path) -> None:
    faces = turned_people(tmp_path / "people")
    method, judge = Painter(), Judge(drawn.thin_recogniser())
    all_ways = [*ways.baselines(CROP), ways.of_method("painter", method)]
    experiment.evaluate(by_split(faces, "drawn"), all_ways, judge, Setting(CROP, ((28, 24),)), tmp_path / "out")
    probes = in_crop(faces.where(split="probe"))
    np.testing.assert_allclose(method.asked[0].numpy(), (probes + 0.5) / 4 - 0.5, atol=1e-3)
    shown = sorted((tmp_path / "out" / "pictures").glob("*-painter.png"))
    wanted = [picture.tobytes() for picture in images.to_pictures(painted(probes))]
    assert shown
    assert all(images.read(path).tobytes() in wanted for path in shown)


def test_validated_faces_are_made_at_the_points_of_their_sources() -> None:
    data = {"kind": "synthetic", "identities": 3, "shots": 2, "first_identity": 90, "size": 64, "yaw_range": [-60, 60]}
    held = {"every_steps": 1, "pairs": 4, "data": {**data, "pairing": {"kind": "same_person"}}}
    held["recogniser"] = {"name": "mobile_facenet", "sizes": drawn.THIN}
    recipe = recipes.resolve(tiny.table() | {"crop": CROP.name, "validation": held}, "a test")
    found = validation.HeldOut(recipe, Painter(), torch.device("cpu"))
    given: list[Tensor] = []

    def generate(sources: Tensor, points: Tensor) -> Tensor:
        given.append(points)
        return sources

    found.figures(generate)
    batches = found._batches
    assert isinstance(batches, Batches)
    samples = [batches.sampler.sample(recipe.seed, place) for place in range(4)]
    wanted = [found.faces.points5(sample.sources[0]) for sample in samples]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(torch.cat(given), wanted)


def test_training_hands_over_what_the_method_wants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five points and yaw of targets and sources, in the training steps and among the held-out pairs."""
    known, given = methods.load("edsr_identity"), []
    step = known.training_step

    def seen(self: Any, batch: Batch) -> dict[str, Tensor]:
        given.append(batch)
        return step(self, batch)

    for name in ("wants_five_points", "wants_yaw"):
        monkeypatch.setattr(known, name, property(lambda self: True))
    monkeypatch.setattr(known, "training_step", seen)
    people = {"kind": "synthetic", "identities": 3, "shots": 2, "size": 64, "yaw_range": [-60, 60]}
    data = {**people, "frontal_partners": True, "pairing": {"kind": "profile_to_frontal", "alike": ["pair"]}}
    table = tiny.table() | {"data": data, "training": {"steps": 1, "batch_size": 2}}
    training.train(recipes.resolve(table, "a test"), tmp_path / "run", device="cpu", progress=False)
    assert given[0]["target_points5"].shape == given[0]["source_points5"].shape == (2, 5, 2)
    assert (given[0]["target_yaw_deg"] == 0).all()
    assert (given[0]["source_yaw_deg"].abs() >= 15).all()
