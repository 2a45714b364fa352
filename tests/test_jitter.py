"""Jittered faces are parts of the enlarged ones, rows of several sets cut alike."""

import cv2
import numpy as np
import torch

from facebridge.jitter import jittered
from tests.drawn import aligned_faces


def test_no_enlargement_changes_nothing() -> None:
    faces = aligned_faces(2)
    assert jittered(1, faces)[0] is faces


def test_a_jittered_face_is_a_part_of_the_enlarged_one() -> None:
    faces = aligned_faces(2)
    torch.manual_seed(0)
    (found,) = jittered(1.25, faces)
    assert found.shape == faces.shape
    for face, cut in zip(faces, found, strict=True):
        large = cv2.resize(face.permute(1, 2, 0).numpy(), (120, 140), interpolation=cv2.INTER_CUBIC).clip(0, 1)
        part = cut.permute(1, 2, 0).numpy()
        distance = cv2.matchTemplate(large, part, cv2.TM_SQDIFF)
        left, top = cv2.minMaxLoc(distance)[2]
        assert np.abs(large[top : top + 112, left : left + 96] - part).max() < 1e-5


def test_rows_of_all_sets_are_cut_alike_and_different_rows_are_not() -> None:
    faces = aligned_faces(1).expand(8, -1, -1, -1)
    torch.manual_seed(1)
    first, second = jittered(1.25, faces, faces)
    assert torch.equal(first, second)
    assert len({tuple(face.ravel()[:50].tolist()) for face in first}) > 4
