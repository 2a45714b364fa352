"""People of the spectrum benchmark: who is trained on, who is judged, and a regressor that says where landmarks lie."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from facebridge import crops, images, recipe
from facebridge.data import synthetic
from facebridge.data.faces import DrawnFaces
from facebridge.recipe import SyntheticData

CROP = crops.crop("arcface_64")
WIDE_CROP = crops.crop("arcface+16")
"""What recognisers of another crop are shown."""
TEST_SEED, TEST_PEOPLE, TEST_SHOTS, PROBES = 77, 200, 12, 10
PEOPLE_APART = 10_000
"""First identities of two seeds lie so far apart, that they share nobody."""
REGRESSOR_SEED, REGRESSOR_PEOPLE, REGRESSOR_SHOTS = 78, 400, 6
REGRESSOR_STEPS, REGRESSOR_BATCH, REGRESSOR_RATE = 1500, 64, 2e-3
FACES_PER_BATCH = 64

Arrays = dict[str, NDArray]


def training_faces(wanted: recipe.Recipe, cache: Path) -> DrawnFaces:
    """The faces of a recipe in both cameras with their landmarks, drawn once for all methods of a seed."""
    assert isinstance(wanted.data, SyntheticData)
    faces = DrawnFaces(wanted.data, crops.crop(wanted.crop), ("vis", "nir"))
    if not cache.is_file():
        pictures = np.stack([faces.picture(index) for index in range(len(faces))])
        points = np.stack([faces.points(index) for index in range(len(faces))])
        np.savez(cache, faces=pictures, points=points, data=wanted.data.model_dump_json(exclude={"pairing", "domain"}))
    stored = np.load(cache)
    assert str(stored["data"]) == wanted.data.model_dump_json(exclude={"pairing", "domain"}), f"remove {cache}"
    faces.drawn = dict(enumerate(stored["faces"]))
    faces.placed = dict(enumerate(stored["points"]))
    return faces


def test_faces(cache: Path) -> Arrays:
    """Aligned faces of people whom nobody has seen, person by person.

    `gallery_vis`, `gallery_nir` (200, 64, 64, 3): the shot that is turned least; `probe_nir`, `probe_vis`
    (2000, 64, 64, 3): ten others, both cameras of one shot pixel by pixel the same; `gallery_points`, `probe_points`;
    `gallery_wide`, `probe_wide`: visible and near-infrared ones in WIDE_CROP.
    """
    if cache.is_file():
        return dict(np.load(cache))
    made: dict[str, list[NDArray]] = {}
    for person in range(TEST_PEOPLE):
        shots = synthetic.render(
            TEST_SEED, [person] * TEST_SHOTS, list(range(TEST_SHOTS)), domains=("vis", "nir"), truth=True
        )
        turned = shots.yaw_deg.abs().numpy()
        frontal, *others = np.argsort(turned, kind="stable")
        five, all68 = shots.landmarks5.numpy(), shots.landmarks68.numpy()
        pictures = {domain: images.to_pictures(shots.faces[domain]) for domain in ("vis", "nir")}
        for kind, chosen in (("gallery", [frontal]), ("probe", sorted(others)[:PROBES])):
            for shot in chosen:
                for domain in ("vis", "nir"):
                    face = crops.align(pictures[domain][shot], five[shot], CROP)
                    made.setdefault(f"{kind}_{domain}", []).append(face)
                matrix = crops.similarity(five[shot], CROP.points)
                made.setdefault(f"{kind}_points", []).append(crops.moved(all68[shot], matrix))
                wide = pictures["vis" if kind == "gallery" else "nir"][shot]
                made.setdefault(f"{kind}_wide", []).append(crops.align(wide, five[shot], WIDE_CROP))
    found = {name: np.stack(rows) for name, rows in made.items()}
    np.savez(cache, **found)
    return found


class Regressor(nn.Module):
    """Faces (B, 3, 64, 64) in [0, 1], their luma alone -> 68 landmarks (B, 68, 2) in pixels."""

    def __init__(self) -> None:
        super().__init__()
        widths = [1, 16, 32, 64, 96]
        layers: list[nn.Module] = []
        for inside, outside in zip(widths, widths[1:], strict=False):
            layers += [nn.Conv2d(inside, outside, 3, stride=2, padding=1), nn.BatchNorm2d(outside), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.points = nn.Linear(96 * 16, 136)

    def forward(self, faces: Tensor) -> Tensor:
        grey = faces.mean(1, keepdim=True) - 0.5
        offsets: Tensor = self.points(self.features(grey).flatten(1))
        return (offsets.reshape(-1, 68, 2) + 0.5) * CROP.width


def trained_regressor(cache: Path) -> Regressor:
    """Trained on people of its own in both cameras, seed 0, with mirrored brightness and contrast changed at random."""
    torch.manual_seed(0)
    regressor = Regressor()
    if cache.is_file():
        regressor.load_state_dict(torch.load(cache, weights_only=True))
        return regressor.eval()
    people = SyntheticData(kind="synthetic", seed=REGRESSOR_SEED, identities=REGRESSOR_PEOPLE, shots=REGRESSOR_SHOTS)
    drawn = DrawnFaces(people, CROP, ("vis", "nir"))
    faces = images.to_faces(np.stack([drawn.picture(index) for index in range(len(drawn))]))
    points = torch.from_numpy(np.stack([drawn.points(index) for index in range(len(drawn))]))
    adam = torch.optim.AdamW(regressor.parameters(), lr=REGRESSOR_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, REGRESSOR_STEPS)
    for _ in range(REGRESSOR_STEPS):
        chosen = torch.randint(len(faces), (REGRESSOR_BATCH,))
        gain = 0.6 + 0.8 * torch.rand(REGRESSOR_BATCH, 1, 1, 1)
        shade = 0.3 * (torch.rand(REGRESSOR_BATCH, 1, 1, 1) - 0.5)
        loss = functional.l1_loss(regressor((faces[chosen] - 0.5) * gain + 0.5 + shade), points[chosen])
        adam.zero_grad()
        loss.backward()
        adam.step()
        schedule.step()
    torch.save(regressor.state_dict(), cache)
    return regressor.eval()


@torch.no_grad()
def landmark_error(regressor: Regressor, faces: NDArray[np.uint8], truth: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean distance of the 68 landmarks from the truth in each face (N,), in percent of the distance of the eyes."""
    blocks = [faces[start : start + FACES_PER_BATCH] for start in range(0, len(faces), FACES_PER_BATCH)]
    found = torch.cat([regressor(images.to_faces(block)) for block in blocks]).numpy()
    eyes = np.linalg.norm(truth[:, 36:42].mean(1) - truth[:, 42:48].mean(1), axis=-1)
    return np.asarray(100 * np.linalg.norm(found - truth, axis=-1).mean(1) / np.median(eyes), np.float64)
