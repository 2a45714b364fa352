"""The two recognisers at hand tell people apart on real photographs."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from facebridge import crops, images, recognisers
from facebridge.recogniser import Recogniser

pytestmark = pytest.mark.real

NUM_PAIRS = 12


def casia(real_data: Path) -> Recogniser:
    return recognisers.load("mobile_facenet", real_data / "weights" / "mobilefacenet_casia_112x96.ckpt")


def y1(real_data: Path) -> Recogniser:
    path = real_data / "weights" / "mobilefacenet_y1_112.onnx"
    return recognisers.load("onnx", path, crop="arcface", mean=0.0, scale=1.0, threads=1)


def pairs(real_data: Path) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Genuine and impostor pairs of LFW view 1, the first of each."""
    lines = (real_data / "data" / "lfw" / "pairsDevTest.txt").read_text(encoding="utf-8").splitlines()
    count = int(lines[0])
    rows = [line.split("\t") for line in lines[1:]]
    genuine = [(picture(name, a), picture(name, b)) for name, a, b in rows[:NUM_PAIRS]]
    impostor = [(picture(one, a), picture(two, b)) for one, a, two, b in rows[count : count + NUM_PAIRS]]
    return genuine, impostor


def picture(name: str, number: str) -> str:
    return f"{name}/{name}_{int(number):04d}.jpg"


def aligned(real_data: Path, names: list[str], crop: crops.Crop) -> torch.Tensor:
    with (real_data / "data" / "lfw" / "landmarks5.csv").open(encoding="utf-8", newline="") as file:
        points = {row[0]: np.array(row[1:], float).reshape(5, 2) for row in list(csv.reader(file))[1:]}
    folder = real_data / "data" / "lfw" / "lfw-deepfunneled"
    faces = np.stack([crops.align(images.read(folder / name), points[name], crop) for name in names])
    return images.to_faces(faces)


@pytest.mark.parametrize(("load", "mirror"), [(casia, "concatenate"), (y1, "sum")])
def test_genuine_pairs_score_above_impostor_pairs(real_data: Path, load: object, mirror: str) -> None:
    recogniser = load(real_data)  # type: ignore[operator]
    # Both are given the wider crop, so that the one re-crops.
    crop = crops.crop("arcface")
    scores = []
    for chosen in pairs(real_data):
        first, second = (aligned(real_data, list(names), crop) for names in zip(*chosen, strict=True))
        embedded = [recogniser.embed(faces, crop, mirror=mirror).detach() for faces in (first, second)]
        scores.append((embedded[0] * embedded[1]).sum(1))
    genuine, impostor = scores
    assert genuine.min() > impostor.max()
    assert genuine.mean() - impostor.mean() > 0.4
