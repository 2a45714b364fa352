"""face_priors computes its losses as its page says, learns, and says where landmarks and parts lie."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from facebridge import crops, recipe, runs, training
from facebridge.data.batches import Batches
from facebridge.data.faces import DrawnFaces
from facebridge.methods.face_priors import FacePriors, dotted, expected_places
from facebridge.parts import NUM_PARTS
from facebridge.recipe import SyntheticData
from tests.methods.translating import num_parameters, unchanged

CROP = crops.crop("arcface_64")
TINY = {"widths": (4, 4, 4, 8), "augmentation": {}}


def build(**settings: object) -> FacePriors:
    torch.manual_seed(0)
    return FacePriors(FacePriors.Config.model_validate({**TINY, **settings}), CROP)


@functools.cache
def batch() -> dict[str, Tensor]:
    people = SyntheticData(kind="synthetic", seed=3, identities=2, shots=2, size=96)
    return Batches(DrawnFaces(people, CROP), 4, 0, points=True, parsing=True)(0)


class Known(nn.Module):
    """Gives heat maps and scores that are known."""

    def __init__(self, heat: Tensor, classes: Tensor) -> None:
        super().__init__()
        self.heat, self.classes = nn.Parameter(heat), nn.Parameter(classes)

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        return self.heat * 1, self.classes * 1


def test_losses_are_those_of_plain_loops() -> None:
    method = build()
    draw = torch.Generator().manual_seed(0)
    heat, classes = (
        torch.randn(4, 68, 24, 24, generator=draw),
        torch.randn(4, NUM_PARTS, 64, 64, generator=draw),
    )
    method.add_module("network", Known(heat, classes))
    method.optimisers = {"network": torch.optim.SGD(method.network.parameters(), lr=1e-9)}
    method.schedules["network"] = torch.optim.lr_scheduler.ConstantLR(method.optimisers["network"], 1)
    found = {name: float(loss) for name, loss in method.training_step(batch()).items()}
    middles = np.arange(24) * 4 + 1.5 - 16  # cells of four pixels, four cells beyond the crop
    heat_loss, distance = [], []
    for face in range(4):
        for point in range(68):
            x, y = np.clip(batch()["target_points"][face, point].numpy(), middles[0], middles[-1])
            share = np.exp(heat[face, point].double().numpy())
            share /= share.sum()
            wanted = np.exp(-((middles[None] - x) ** 2 + (middles[:, None] - y) ** 2) / (2 * 4.0**2))
            wanted /= wanted.sum()
            heat_loss.append(-(wanted * np.log(share)).sum())
            distance += [abs((share.sum(0) * middles).sum() - x), abs((share.sum(1) * middles).sum() - y)]
    scores = classes.double().log_softmax(1).numpy()
    true = batch()["target_parsing"].numpy()
    crossed = [-scores[f, true[f, y, x], y, x] for f in range(4) for y in range(64) for x in range(64)]
    expected = {"heat": np.mean(heat_loss), "points": np.mean(distance), "parsing": np.mean(crossed)}
    expected["total"] = 0.1 * expected["heat"] + 0.1 * expected["points"] + expected["parsing"]
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_sharp_heat_map_gives_the_middle_of_its_cell() -> None:
    heat = torch.full((1, 1, 5, 7), -100.0)
    heat[0, 0, 3, 2] = 100
    across, down = torch.arange(7) * 4 - 2.5, torch.arange(5) * 4 + 1.5
    assert expected_places(heat, across, down).flatten().tolist() == [2 * 4 - 2.5, 3 * 4 + 1.5]
    heat[0, 0, 3, 3] = 100
    assert float(expected_places(heat, across, down)[0, 0, 0]) == pytest.approx(2.5 * 4 - 2.5)


def test_maps_correspond_to_pixels_of_the_crop() -> None:
    """The cell of an untrained heat map that a pixel changes most lies about the pixel."""
    method = build(widths=(8, 8, 8, 8))
    method.network.eval()
    faces = torch.zeros(1, 3, 64, 64)
    with torch.no_grad():
        for x, y in ((9, 41), (30, 22), (50, 50)):
            changed = faces.clone()
            changed[:, :, y - 1 : y + 2, x - 1 : x + 2] = 1
            heat, classes = (
                (one - two).abs().sum(1)[0]
                for one, two in zip(method.network(changed), method.network(faces), strict=True)
            )
            row, column = divmod(int(heat.argmax()), heat.shape[1])
            assert abs(column * 4 + 1.5 - 16 - x) <= 6
            assert abs(row * 4 + 1.5 - 16 - y) <= 6
            row, column = divmod(int(classes.argmax()), 64)
            assert max(abs(column - x), abs(row - y)) <= 6


def test_two_steps_change_every_tensor() -> None:
    method = build()
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    for _ in range(2):
        method.training_step(batch())
    assert unchanged(before, method.state_dict()) == []


def test_same_seed_gives_the_same_bits() -> None:
    first, second = (build().training_step(batch()) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_few_steps_on_four_faces_learn_them() -> None:
    method = build(widths=(8, 12, 16, 24), descent={"kind": "adam", "learning_rate": 5e-3})
    losses = [method.training_step(batch()) for _ in range(60)]
    assert float(losses[-1]["points"]) < 0.35 * float(losses[0]["points"])
    assert float(losses[-1]["parsing"]) < 0.5 * float(losses[0]["parsing"])


def test_estimates_are_landmarks_in_pixels_and_parts_and_leave_training_as_it_was() -> None:
    method = build()
    faces = batch()["target"]
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    points, parsing = method.estimate(faces)
    assert points.shape == (4, 68, 2)
    assert points.dtype == torch.float32
    assert parsing.shape == (4, 64, 64)
    assert parsing.dtype == torch.uint8
    assert int(parsing.max()) < NUM_PARTS
    again = torch.cat([method.estimate(face[None])[0] for face in faces])
    assert torch.allclose(points, again, atol=1e-3), "each face for itself"
    assert unchanged(before, method.state_dict()) == list(before)
    assert all(module.training for module in method.modules())
    with pytest.raises(ValueError, match=r"expected faces \(B, 3, 64, 64\) of the crop arcface"):
        method.estimate(faces[..., :32])


def test_it_asks_for_landmarks_and_parts() -> None:
    assert build().wants_points
    assert build().wants_parsing


def test_what_moves_faces_and_odd_crops_are_refused() -> None:
    for moved in ({"shift_px": 2}, {"rotation_deg": 5}, {"scale": 0.1}):
        with pytest.raises(ValueError, match="leave their landmarks"):
            build(augmentation=moved)
    with pytest.raises(ValueError, match="multiples of 16"):
        FacePriors(FacePriors.Config(), crops.crop("arcface_70"))


def test_the_default_network_is_small() -> None:
    assert 200_000 < num_parameters(FacePriors(FacePriors.Config(), crops.crop("sphereface"))) < 400_000


def test_dots_lie_at_the_points_that_are_seen() -> None:
    shown = dotted(torch.zeros(1, 3, 8, 9), torch.tensor([[[2.4, 5.0], [-1.0, 3.0], [8.0, 7.0], [9.0, 7.0]]]))
    assert shown[0, 1].nonzero().tolist() == [[5, 2], [7, 8]]
    assert float(shown[0, 0].max()) == 0


def test_a_recipe_trains_into_a_run_that_estimates_again(tmp_path: Path) -> None:
    table = {
        "method": "face_priors",
        "crop": "arcface_64",
        "settings": TINY,
        "data": {"kind": "synthetic", "seed": 3, "identities": 2, "shots": 2, "size": 96},
        "training": {"steps": 2, "batch_size": 4, "threads": 1},
    }
    run = training.train(recipe.resolve(table, "a test"), tmp_path / "run", device="cpu", progress=False)
    loaded = runs.load(run.folder)
    assert isinstance(loaded, FacePriors)
    assert loaded.estimate(batch()["target"])[1].shape == (4, 64, 64)
    assert any((run.folder / "previews").iterdir())
