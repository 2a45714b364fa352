"""Reducing, enlarging and hallucinating do to a face what SR_LRFR's test does to a picture file."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from facebridge import crops, images, methods, runs
from facebridge.hallucination import enlarge, hallucinate, reduce
from facebridge.images import Kernel
from facebridge.method import Method
from tests.drawn import TINY, aligned_faces, untrained_run

CROP = crops.crop("sphereface")
SIZES = [(7, 6), (14, 12), (28, 24), (20, 20)]


def method(gain: float = 1.0) -> Method[Any]:
    kind = methods.load("edsr_identity")
    torch.manual_seed(2)
    built = kind(kind.Config.model_validate(TINY), CROP)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.mul_(gain)
    return built


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_reduced_face_is_cv2_cubic_of_the_picture_within_one_level(height: int, width: int) -> None:
    pictures = images.to_pictures(aligned_faces())
    wanted = np.stack([cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC) for picture in pictures])
    levels = reduce(aligned_faces(), height, width).permute(0, 2, 3, 1).numpy() * 255
    assert np.abs(levels - np.round(levels)).max() < 1e-3
    assert np.abs(np.round(levels) - wanted).max() <= 1


FLAGS = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC, "lanczos": cv2.INTER_LANCZOS4}


@pytest.mark.parametrize("kernel", ["bilinear", "bicubic", "lanczos"])
def test_published_path_enlarges_as_cv2_enlarges_the_picture(kernel: Kernel) -> None:
    source = reduce(aligned_faces(), 7, 6)
    made = enlarge(source, CROP, kernel, "code")
    size = (CROP.width, CROP.height)
    wanted = [cv2.resize(picture, size, interpolation=FLAGS[kernel]) for picture in images.to_pictures(source)]
    assert torch.equal(made, images.to_faces(np.stack(wanted)))


@pytest.mark.parametrize("kernel", ["bilinear", "bicubic", "lanczos"])
def test_enlarged_face_is_cv2_of_the_picture_within_one_level(kernel: Kernel) -> None:
    flag = FLAGS[kernel]
    source = reduce(aligned_faces(), 7, 6)
    pictures = images.to_pictures(source)
    wanted = np.stack([cv2.resize(picture, (CROP.width, CROP.height), interpolation=flag) for picture in pictures])
    made = enlarge(source, CROP, kernel)
    assert made.shape == (len(source), 3, CROP.height, CROP.width)
    assert np.abs(images.to_pictures(made).astype(int) - wanted).max() <= 1
    assert float(made.min()) >= 0
    assert float(made.max()) <= 1


def test_faces_of_the_wanted_size_come_back_as_they_are() -> None:
    faces = aligned_faces()
    assert reduce(faces, CROP.height, CROP.width) is faces
    assert enlarge(faces, CROP) is faces


@pytest.mark.parametrize("size", [(7, 6), (14, 12)])
@pytest.mark.parametrize("gain", [1.0, 8.0])
def test_small_face_is_generated_truncated_to_eight_bits_and_enlarged_by_cubic(
    size: tuple[int, int], gain: float
) -> None:
    built = method(gain)
    source = reduce(aligned_faces(), *size)
    generated = built.generate(source).permute(0, 2, 3, 1).numpy()
    truncated = np.clip(generated * np.float32(255), 0, 255).astype(np.uint8)
    wanted = np.stack(
        [cv2.resize(picture, (CROP.width, CROP.height), interpolation=cv2.INTER_CUBIC) for picture in truncated]
    )
    made = hallucinate(built, source, "code")
    assert np.array_equal(np.round(made.permute(0, 2, 3, 1).numpy() * 255), wanted)


@pytest.mark.parametrize("size", [(7, 6), (14, 12)])
def test_clean_path_enlarges_what_was_generated_without_rounding(size: tuple[int, int]) -> None:
    built = method(8.0)
    source = reduce(aligned_faces(), *size)
    generated = built.generate(source).permute(0, 2, 3, 1).contiguous().numpy()
    shape = (CROP.width, CROP.height)
    wanted = [cv2.resize(face, shape, interpolation=cv2.INTER_CUBIC).clip(0, 1) for face in generated]
    made = hallucinate(built, source)
    assert np.abs(made.permute(0, 2, 3, 1).numpy() - np.stack(wanted)).max() < 1e-5


def test_face_generated_at_the_crops_size_is_not_touched() -> None:
    built = method()
    source = reduce(aligned_faces(), 28, 24)
    assert torch.equal(hallucinate(built, source), built.generate(source))
    assert torch.equal(hallucinate(built, source, "code"), built.generate(source))


def test_untrained_run_generates_the_same_before_and_after_loading(tmp_path: Path) -> None:
    loaded = runs.load(untrained_run(tmp_path / "run"))
    source: Tensor = reduce(aligned_faces(), 14, 12)
    assert torch.equal(hallucinate(loaded, source), hallucinate(runs.load(tmp_path / "run"), source))
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
