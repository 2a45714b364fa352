"""MTCNN: the batched cascade against a plain one, suppression against a loop, published weights on real faces."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from facebridge import images, landmarks
from facebridge.data import face_list
from facebridge.landmarks import MTCNN, mtcnn_boxes
from facebridge.landmarks.mtcnn import FILES, Settings
from facebridge.landmarks.mtcnn_networks import OutputNetwork, ProposalNetwork, RefinementNetwork
from tests import drawn
from tests.landmarks import plain_mtcnn

LOW = (0.45, 0.45, 0.45)  # what untrained networks pass now and then


def published_states(seed: int = 2) -> tuple[dict[str, torch.Tensor], ...]:
    """Random weights under their published names, as three state dicts."""
    torch.manual_seed(seed)
    states = []
    for network in (ProposalNetwork(), RefinementNetwork(), OutputNetwork()):
        state = {}
        for name, value in network.state_dict().items():
            layer, _, kind = name.rpartition(".")
            state[f"{network.PUBLISHED[layer]}.{kind}"] = value + 0.05 * torch.randn(value.shape)
        states.append(state)
    return tuple(states)


def written(folder: Path, seed: int = 2) -> Path:
    for name, state in zip(FILES, published_states(seed), strict=True):
        torch.save(state, folder / name)
    return folder


def assert_same(found: list[landmarks.Detection], plain: list, atol_px: float) -> None:
    assert len(found) == len(plain)
    for face, (corners, odds, points) in zip(found, plain, strict=True):
        left, top, right, bottom = corners
        np.testing.assert_allclose(face.box, [left, top, right - left + 1, bottom - top + 1], atol=atol_px)
        np.testing.assert_allclose(face.points, points, atol=atol_px)
        assert face.score == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-4)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_batched_cascade_gives_the_boxes_and_points_of_a_plain_one(tmp_path: Path, seed: int) -> None:
    detector = landmarks.load("mtcnn", written(tmp_path, seed), min_scores=LOW)
    pictures = [drawn.shots().vis[0][0][:70], drawn.shots().nir[1][0][:, :60]]
    for picture in map(np.ascontiguousarray, pictures):
        plain = plain_mtcnn.detect(picture, published_states(seed), LOW)
        assert plain
        assert_same(detector.detect(picture), plain, atol_px=0.01)


def test_several_pictures_together_give_what_each_gives_alone(tmp_path: Path) -> None:
    detector = landmarks.load("mtcnn", written(tmp_path), min_scores=LOW)
    assert isinstance(detector, MTCNN)
    pictures = [
        drawn.shots().vis[0][0],
        drawn.shots().vis[1][0][:64],
        drawn.shots().vis[2][0],
        np.zeros((1, 1, 3), np.uint8),
    ]
    together = detector.detect_all(pictures)
    assert len(together) == len(pictures)
    for faces, picture in zip(together, pictures, strict=True):
        alone = detector.detect(picture)
        assert len(faces) == len(alone)
        assert faces or min(picture.shape[:2]) == 1
        for one, other in zip(faces, alone, strict=True):
            np.testing.assert_allclose(one.points, other.points, atol=0.01)
    assert detector.detect_all([]) == []


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (11, 200), (12, 12), (19, 20), (24, 21)])
def test_tiny_and_grey_pictures_do_no_harm(tmp_path: Path, shape: tuple[int, int]) -> None:
    detector = landmarks.load("mtcnn", written(tmp_path), min_scores=(0.3, 0.3, 0.3), min_face_px=12)
    grey = np.random.default_rng(0).integers(0, 256, (*shape, 1), np.uint8).repeat(3, 2)
    for face in detector.detect(grey):
        assert face.box.shape == (4,)
        assert face.points.shape == (5, 2)
        assert 0 <= face.score <= 1


def test_nothing_found_at_any_stage_is_an_empty_list(tmp_path: Path) -> None:
    picture = drawn.shots().vis[0][0]
    for min_scores in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)):
        assert landmarks.load("mtcnn", written(tmp_path), min_scores=min_scores).detect(picture) == []


def test_wrong_pictures_are_refused(tmp_path: Path) -> None:
    detector = landmarks.load("mtcnn", written(tmp_path))
    for picture in (np.zeros((30, 30), np.uint8), np.zeros((30, 30, 3), np.float32), np.zeros((0, 30, 3), np.uint8)):
        with pytest.raises(ValueError, match="expected a uint8"):
            detector.detect(picture)


def test_weights_are_read_strictly(tmp_path: Path) -> None:
    files = [written(tmp_path) / name for name in FILES]
    assert isinstance(landmarks.load("mtcnn", files), MTCNN)
    with pytest.raises(ValueError, match=r"rnet\.pt: not the weights of MTCNN's ProposalNetwork"):
        landmarks.load("mtcnn", [files[1], files[0], files[2]])
    with pytest.raises(ValueError, match=r"these three files; got 2"):
        landmarks.load("mtcnn", files[:2])
    state = torch.load(files[2], weights_only=True)
    torch.save({name: value for name, value in state.items() if name != "dense6_3.bias"}, files[2])
    with pytest.raises(ValueError, match=r"(?s)onet\.pt.*points\.bias"):
        landmarks.load("mtcnn", tmp_path)
    files[0].unlink()
    with pytest.raises(ValueError, match=r"pnet\.pt: no such file"):
        landmarks.load("mtcnn", tmp_path)


@pytest.mark.parametrize(
    "settings", [{"min_face_px": 0}, {"scale_step": 1.0}, {"min_scores": (0.5, 0.5)}], ids=lambda each: next(iter(each))
)
def test_impossible_settings_are_refused(settings: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        Settings(**settings)


corner = st.integers(0, 12)
side = st.integers(1, 8)
boxes = st.lists(st.tuples(corner, corner, side, side, st.sampled_from([0.1, 0.5, 0.5, 0.7, 0.9]), st.integers(0, 2)))


@given(boxes, st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]), st.booleans(), st.sampled_from([1, 3, 1024]))
def test_suppression_keeps_what_a_plain_loop_keeps(
    drawn_boxes: list, largest: float, of_smaller: bool, block: int
) -> None:
    corners = np.array([(x, y, x + w - 1, y + h - 1) for x, y, w, h, _, _ in drawn_boxes], float).reshape(-1, 4)
    scores = [score for *_, score, _ in drawn_boxes]
    groups = [group for *_, group in drawn_boxes]
    expected = []
    for group in sorted(set(groups)):
        members = [(corners[i], scores[i], i) for i in range(len(scores)) if groups[i] == group]
        expected += [index for *_, index in plain_mtcnn.suppressed(members, largest, of_smaller)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mtcnn_boxes, "_BLOCK", block)
        kept = mtcnn_boxes.suppress(
            torch.from_numpy(corners),
            torch.tensor(scores),
            torch.tensor(groups, dtype=torch.int64),
            largest,
            "smaller" if of_smaller else "union",
        )
    assert kept.tolist() == expected


@pytest.fixture(scope="module")
def mtcnn(real_data: Path) -> landmarks.Detector:
    return landmarks.load("mtcnn", real_data / "weights")


@pytest.mark.real
def test_published_weights_give_the_faces_of_the_plain_procedure(mtcnn: MTCNN, real_data: Path) -> None:
    states = tuple(torch.load(real_data / "weights" / name, weights_only=True) for name in FILES)
    paths = sorted((real_data / "data" / "lfw" / "lfw-deepfunneled").glob("*/*.jpg"))[:1000:170]
    pictures = [images.read(path) for path in paths]
    pictures.append(np.hstack(pictures[:2])[::2, ::2].copy())  # two smaller faces
    for picture in pictures:
        assert_same(mtcnn.detect(picture), plain_mtcnn.detect(picture, states), atol_px=0.05)


@pytest.mark.real
@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_faces_of_lfw_are_found_near_their_known_points(mtcnn: MTCNN, real_data: Path, count: int) -> None:
    root = real_data / "data" / "lfw"
    known = face_list.read_landmarks(root / "landmarks5.csv")
    away = []
    for name in sorted(known)[:1000][:: 1000 // count]:
        found = landmarks.faces_in(images.read(root / "lfw-deepfunneled" / name), mtcnn, "central")
        away += [face.points - known[name] for face in found]
    assert len(away) >= 0.995 * count
    assert np.abs(away).mean() < 3
    assert np.linalg.norm(away, axis=-1).mean() < 4


@pytest.mark.real
def test_near_infrared_faces_are_found(mtcnn: MTCNN, real_data: Path) -> None:
    known = face_list.read_landmarks(real_data / "data" / "nir_faces" / "landmarks5.csv")
    names = sorted(known)[::6]
    for name in names:
        found = landmarks.detect_largest(mtcnn, images.read(real_data / "data" / "nir_faces" / name))
        assert found is not None
        assert np.linalg.norm(found.points - known[name], axis=-1).mean() < 20
