"""Landmarks' NRMSE and the parts' overlap by closed forms and plain loops, and what looks for them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from facebridge import crops, methods, recipe, runs, weights
from facebridge.data import face_list
from facebridge.evaluation import face_shape
from facebridge.evaluation.face_shape import errors, nrmse, part_iou, pooled_part_iou
from facebridge.landmarks import Points68
from tests import drawn
from tests.landmarks.test_points68 import bright_spot


def points(count: int = 3) -> np.ndarray:
    return drawn.shots().sixty_eight.reshape(-1, 68, 2)[:count].astype(np.float64)


def test_nrmse_of_moved_landmarks_is_the_way_over_the_distance_of_the_outer_corners() -> None:
    true = points()
    apart = np.hypot(*(true[:, 45] - true[:, 36]).T)
    np.testing.assert_allclose(nrmse(true + [3, -4], true), 5 / apart, rtol=1e-6)
    one = true.copy()
    one[:, 7, 0] += 6.8
    np.testing.assert_allclose(nrmse(one, true), 6.8 / 68 / apart, rtol=1e-6)


@given(st.floats(0.1, 10), st.floats(-3, 3), st.integers(0, 9))
def test_nrmse_does_not_change_with_size_and_turn(scale: float, turn: float, seed: int) -> None:
    true = points()
    found = true + np.random.default_rng(seed).normal(0, 2, true.shape)
    matrix = scale * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    np.testing.assert_allclose(nrmse(found @ matrix + 5, true @ matrix + 5), nrmse(found, true), rtol=1e-6)


def test_nrmse_refuses_faces_without_eyes_and_other_points() -> None:
    true = points()
    true[1, 36] = true[1, 45]
    with pytest.raises(ValueError, match="face 1: the outer corners"):
        nrmse(true, true)
    with pytest.raises(ValueError, match=r"expected landmarks \(B, 68, 2\)"):
        nrmse(points(2), points(3))


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(2, 6))
def test_overlaps_are_those_of_plain_loops(seed: int, num_parts: int) -> None:
    draw = np.random.default_rng(seed)
    found, true = (draw.integers(0, draw.integers(1, num_parts + 1), (3, 4, 5)) for _ in range(2))
    each = []
    totals = {part: [0, 0] for part in range(num_parts)}
    for ours, theirs in zip(found, true, strict=True):
        shares = []
        for part in range(num_parts):
            hit = missed = wrong = 0
            for a, b in zip(ours.ravel().tolist(), theirs.ravel().tolist(), strict=True):
                hit += a == part and b == part
                missed += a != part and b == part
                wrong += a == part and b != part
            totals[part][0] += hit
            totals[part][1] += hit + missed + wrong
            if hit + missed + wrong:
                shares.append(hit / (hit + missed + wrong))
        each.append(sum(shares) / len(shares))
    np.testing.assert_allclose(part_iou(found, true, num_parts), each)
    pooled = [hit / seen for hit, seen in totals.values() if seen]
    assert pooled_part_iou(found, true, num_parts) == pytest.approx(sum(pooled) / len(pooled))


def test_overlap_of_a_map_with_itself_is_one_though_parts_are_absent() -> None:
    maps = np.array([[[0, 1], [1, 9]], [[0, 0], [0, 0]]], np.uint8)
    assert part_iou(maps, maps).tolist() == [1, 1]
    assert pooled_part_iou(maps, maps) == 1


def test_maps_that_do_not_belong_together_are_refused() -> None:
    maps = np.zeros((2, 3, 3), np.uint8)
    with pytest.raises(ValueError, match=r"expected maps \(B, H, W\)"):
        part_iou(maps, maps[:1])
    with pytest.raises(ValueError, match="none of 0 to 10"):
        part_iou(maps + 11, maps)


class Brightness:
    """Landmarks that move, and parts that change, with a face's mean."""

    def __init__(self, knows_parts: bool = True) -> None:
        self.knows_parts = knows_parts

    def estimate(self, faces: Tensor) -> tuple[Tensor, Tensor | None]:
        means = faces.mean((1, 2, 3))
        found = torch.from_numpy(points(1).astype(np.float32)) + means[:, None, None]
        parsing = (faces.mean(1) > 0.5).to(torch.uint8)
        return found, parsing if self.knows_parts else None


def test_errors_are_against_what_is_found_in_the_sharp_face_or_the_given_truth() -> None:
    made, sharp = torch.zeros(70, 3, 4, 4), torch.ones(70, 3, 4, 4)
    apart = float(np.hypot(*(points(1)[0, 45] - points(1)[0, 36])))
    found = errors(Brightness(), made, sharp)
    np.testing.assert_allclose(found["nrmse"], np.full(70, 2**0.5 / apart), rtol=1e-4)
    assert found["part_iou"].tolist() == [0] * 70
    truth = np.repeat(points(1), 70, 0) + [0, 3]
    found = errors(Brightness(), made, sharp, truth, np.zeros((70, 4, 4), np.uint8))
    np.testing.assert_allclose(found["nrmse"], np.full(70, 3 / apart), rtol=1e-4)
    assert found["part_iou"].tolist() == [1] * 70
    assert list(errors(Brightness(knows_parts=False), made, sharp)) == ["nrmse"]
    with pytest.raises(ValueError, match="of one size"):
        errors(Brightness(), made[:2], sharp)


def priors_run(folder: Path, method: str = "face_priors") -> Path:
    settings = {"widths": [4, 4, 4, 4]} if method == "face_priors" else drawn.TINY | {"identity_weight": 0}
    table = {
        "method": method,
        "crop": "sphereface",
        "settings": settings,
        "data": {"kind": "synthetic"},
        "training": {"steps": 1, "batch_size": 1},
    }
    run = runs.create(folder, recipe.resolve(table, "a test"))
    built = methods.load(method)(run.recipe.config(), crops.crop("sphereface"))
    weights.write(run.weights, built.state_dict(), {"method": method})
    return folder


def test_a_run_of_face_priors_and_an_onnx_file_of_landmarks_are_loaded(tmp_path: Path) -> None:
    faces = drawn.aligned_faces(2)
    found = errors(face_shape.load(priors_run(tmp_path / "run")), faces.flip(-1), faces)
    assert found["nrmse"].shape == found["part_iou"].shape == (2,)
    with pytest.raises(ValueError, match=r"edsr_identity, which judges no landmarks.*face_priors_small"):
        face_shape.load(priors_run(tmp_path / "other", "edsr_identity"))
    with pytest.raises(ValueError, match="is not a run"):
        face_shape.load(tmp_path)
    estimator = face_shape.load(bright_spot(tmp_path / "spot.onnx"))
    spot = torch.zeros(1, 3, 112, 96)
    spot[:, :, 56:63, 20:27] = 1
    landmarks, parsing = estimator.estimate(spot)
    assert parsing is None
    assert landmarks.shape == (1, 68, 2)


def test_landmarks_alone_are_found_in_the_square_about_the_crop(tmp_path: Path) -> None:
    seen = []

    class Regressor(Points68):
        def find(self, pictures, faces):  # type: ignore[no-untyped-def]
            seen.extend([face.box.tolist() for face in faces])
            return super().find(pictures, faces)

    face_shape.LandmarksAlone(Regressor(bright_spot(tmp_path / "spot.onnx"), margin=0)).estimate(
        torch.ones(2, 3, 112, 96)
    )
    assert seen == [[0, 0, 96, 112]] * 2


@pytest.mark.real
def test_published_regressor_finds_landmarks_in_aligned_faces(real_data: Path) -> None:
    from facebridge import images

    estimator = face_shape.load(real_data / "weights" / "pfld_68.onnx")
    root, crop = real_data / "data" / "lfw", crops.crop("sphereface")
    known = face_list.read_landmarks(root / "landmarks5.csv")
    names = sorted(known)[:1000:100]
    pictures = [crops.align(images.read(root / "lfw-deepfunneled" / name), known[name], crop) for name in names]
    found, _ = estimator.estimate(images.to_faces(np.stack(pictures)))
    away = np.linalg.norm(crops.five_points(found.numpy()) - np.array(crop.points), axis=-1)
    assert away.mean() < 5


def test_a_run_that_makes_faces_is_no_judge_of_shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = recipe.read("fsrnet_small", ["settings.num_filters=8", 'settings.descent={ kind = "rmsprop" }'])
    (tmp_path / "recipe.toml").write_text(recipe.to_toml(wanted), "utf-8")
    maker = methods.load("fsrnet")(wanted.config(), crops.crop(wanted.crop))
    monkeypatch.setattr(runs, "load", lambda source: maker)
    with pytest.raises(ValueError, match="a run of fsrnet"):
        face_shape.load(tmp_path)
