"""Embedded faces: decided by their numbers alone, aligned across cameras, true to their truth and to the optics."""

import csv
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from facebridge.data import synthetic
from facebridge.data.synthetic import optics, people
from facebridge.data.synthetic.folder import COLUMNS, POINT_COLUMNS, _person_cells
from facebridge.data.synthetic.optics import Pigments
from facebridge.data.synthetic.shots import shot_parameters
from facebridge.data.synthetic.truth import Part

BOTH = ("vis", "nir")


@cache
def faces_at(yaw_deg: float) -> synthetic.Shots:
    """Twelve people at one yaw, drawn by both cameras."""
    count = 12
    return synthetic.render(11, range(count), [0] * count, domains=BOTH, yaw_range=(yaw_deg, yaw_deg))


def centres(drawn: synthetic.Shots, part: Part) -> Tensor:
    """(B, 2) mean (x, y) of the pixels of a class; NaN where the picture has none."""
    chosen = (drawn.parsing == int(part)).float()
    rows, columns = torch.arange(chosen.shape[1]).float(), torch.arange(chosen.shape[2]).float()
    total = chosen.sum((1, 2))
    return torch.stack(((chosen.sum(1) * columns).sum(1) / total, (chosen.sum(2) * rows).sum(1) / total), dim=1)


def mean_over(faces: Tensor, mask: Tensor) -> Tensor:
    """(B,) mean of all channels over a mask."""
    return (faces.mean(1) * mask).sum((1, 2)) / mask.sum((1, 2))


@pytest.mark.parametrize("threads", [1, 2])
def test_pictures_are_the_same_alone_in_a_batch_and_in_any_order(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        identities, shots = [4, 9, 2, 30, 7], [0, 3, 1, 2, 5]
        batch = synthetic.render(7, identities, shots, size=96, domains=BOTH)
        turned = synthetic.render(7, identities[::-1], shots[::-1], size=96, domains=BOTH)
        alone = synthetic.render(7, [30], [2], size=96, domains=BOTH)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for domain in BOTH:
        assert torch.equal(batch.faces[domain], turned.faces[domain].flip(0))
        assert torch.equal(batch.faces[domain][3:4], alone.faces[domain])
    assert torch.equal(batch.landmarks68[3:4], alone.landmarks68)
    assert torch.equal(batch.parsing[3:4], alone.parsing)


def test_every_number_of_person_and_shot_is_decided_by_seed_identity_and_shot() -> None:
    assert synthetic.identity_parameters(3, 5) == synthetic.identity_parameters(3, 5)
    assert synthetic.identity_parameters(3, 5).numbers != synthetic.identity_parameters(4, 5).numbers
    assert shot_parameters(3, 5, 1) == shot_parameters(3, 5, 1)
    turned = shot_parameters(3, 5, 1, (-90.0, -60.0)).numbers
    assert -90.0 <= turned.pop("yaw_deg") <= -60.0
    assert {name: value for name, value in shot_parameters(3, 5, 1).numbers.items() if name != "yaw_deg"} == turned


def test_at_least_sixty_numbers_of_an_identity_vary_independently() -> None:
    table = np.array([list(synthetic.identity_parameters(0, i).numbers.values()) for i in range(400)])
    varying = table[:, table.std(axis=0) > 0]
    correlation = np.corrcoef(varying.T)
    assert np.sum(np.linalg.eigvalsh(correlation) > 0.05) >= 60
    assert len(people.SHAPE) >= 60


def test_near_infrared_and_visible_pictures_of_a_shot_are_pixel_aligned() -> None:
    identities, shots = list(range(6)), [1] * 6
    both = synthetic.render(2, identities, shots, domains=BOTH)
    vis, nir = (synthetic.render(2, identities, shots, domains=(domain,)) for domain in BOTH)
    for alone in (vis, nir):
        assert torch.equal(alone.mask, both.mask)
        assert torch.equal(alone.parsing, both.parsing)
        assert torch.equal(alone.landmarks68, both.landmarks68)
    assert torch.equal(nir.faces["nir"], both.faces["nir"])
    assert torch.equal(nir.faces["nir"][:, 0], nir.faces["nir"][:, 2])


def test_faces_follow_the_face_convention() -> None:
    drawn = faces_at(0.0)
    for domain in BOTH:
        face = drawn.faces[domain]
        assert face.shape == (12, 3, 128, 128)
        assert face.dtype == torch.float32
        assert 0.0 <= face.min() <= face.max() <= 1.0
        assert face.std() > 0.1
    assert drawn.parsing.dtype == torch.uint8
    assert drawn.mask.dtype == torch.bool
    assert not drawn.faces["vis"].requires_grad
    (drawn.faces["vis"] * torch.ones(1, requires_grad=True)).sum().backward()


def test_landmarks_lie_where_the_parsing_map_says() -> None:
    drawn = faces_at(0.0)
    points = drawn.landmarks5
    for index, part in ((0, Part.RIGHT_EYE), (1, Part.LEFT_EYE)):
        distance = (centres(drawn, part) - points[:, index]).norm(dim=1)
        assert distance[~distance.isnan()].max() < 3.0
    nose = points[:, 2].round().long()
    assert (drawn.parsing[torch.arange(12), nose[:, 1], nose[:, 0]] == int(Part.NOSE)).all()
    upper, lower = centres(drawn, Part.UPPER_LIP), centres(drawn, Part.LOWER_LIP)
    assert (upper[:, 1] < lower[:, 1]).all()
    mouth = points[:, 3:].mean(1)
    assert ((upper + lower) / 2 - mouth).norm(dim=1).max() < 4.5
    assert (points[:, 0, 0] < points[:, 1, 0]).all()
    assert (points[:, 3, 0] < points[:, 4, 0]).all()
    assert torch.equal(drawn.landmarks68[:, [30, 48, 54]], points[:, 2:])
    assert drawn.visible5.all()


def test_eyes_are_far_enough_apart_for_an_aligned_crop_without_enlarging() -> None:
    drawn = synthetic.render(1, range(40), [0] * 40, yaw_range=(-5.0, 5.0))
    distance = (drawn.landmarks5[:, 0] - drawn.landmarks5[:, 1]).norm(dim=1)
    assert 38.0 < distance.mean() < 46.0
    assert distance.min() > 33.0


def test_the_nose_points_to_the_side_of_the_yaw_and_hides_the_far_side() -> None:
    right, left = faces_at(60.0), faces_at(-60.0)
    for drawn, sign in ((right, 1.0), (left, -1.0)):
        eyes = drawn.landmarks68[:, 36:48, 0].mean(1)
        assert ((drawn.landmarks68[:, 30, 0] - eyes) * sign > 5.0).all()
    # Points 0-4 outline the person's right cheek, in the left of a frontal picture.
    assert right.visible68[:, 1:5].float().mean() > 0.8 > 0.2 > right.visible68[:, 12:16].float().mean()
    assert left.visible68[:, 12:16].float().mean() > 0.8 > 0.2 > left.visible68[:, 1:5].float().mean()


def test_lips_stand_out_less_in_the_near_infrared() -> None:
    drawn = faces_at(0.0)
    lips = (drawn.parsing == int(Part.UPPER_LIP)) | (drawn.parsing == int(Part.LOWER_LIP))
    around = torch.nn.functional.max_pool2d(lips[:, None].float(), 9, 1, 4)[:, 0] > 0
    skin = around & (drawn.parsing == int(Part.SKIN))
    green = drawn.faces["vis"][:, 1:2]
    vis = mean_over(green, lips) / mean_over(green, skin)
    nir = mean_over(drawn.faces["nir"], lips) / mean_over(drawn.faces["nir"], skin)
    assert ((1.0 - nir).abs() < (1.0 - vis).abs()).float().mean() > 0.8
    assert vis.mean() < nir.mean()


def test_dark_irises_moles_and_lips_fade_at_850_nm() -> None:
    dark, hue = torch.tensor([0.9]), torch.tensor([0.5])
    visible = [optics.iris_reflectance(dark, hue, band) for band in optics.BANDS_NM["vis"]]
    assert optics.iris_reflectance(dark, hue, 850.0) > 2.0 * torch.stack(visible).mean()
    pale, mole = (Pigments(torch.tensor([melanin]), torch.tensor([0.013])) for melanin in (0.03, 0.2))

    def contrast(one: Pigments, other: Pigments, band: float) -> float:
        return float(optics.skin_reflectance(one, band) / optics.skin_reflectance(other, band))

    lip = Pigments(pale.melanin, torch.tensor([0.08]))
    for other in (mole, lip):
        assert contrast(other, pale, 850.0) > 0.75 > contrast(other, pale, 540.0)


def test_skin_is_brighter_and_more_even_among_people_in_the_near_infrared() -> None:
    melanin = torch.linspace(0.01, 0.33, 20)
    vis, nir = (optics.skin_reflectance(Pigments(melanin, torch.tensor(0.013)), band) for band in (540.0, 850.0))
    assert (nir > vis).all()
    assert nir.std() / nir.mean() < 0.5 * vis.std() / vis.mean()


def test_absorption_follows_the_cited_formulas() -> None:
    # 6.6e11 * 500^-3.33 = 6.6e11 / (1.25e8 * 500^0.33) = 5280 / exp(0.33 ln 500) = 5280 / 7.7744
    assert optics.melanin_absorption(500.0) == pytest.approx(679.15, rel=1e-3)
    assert optics.melanin_absorption(1000.0) / optics.melanin_absorption(500.0) == pytest.approx(2.0**-3.33)
    # 2.303 * 3200 * 150 / 64500 and 2.303 * 14677.2 * 150 / 64500
    assert optics.blood_absorption(600.0, oxygenation=1.0) == pytest.approx(17.136, rel=1e-3)
    assert optics.blood_absorption(600.0, oxygenation=0.0) == pytest.approx(78.595, rel=1e-3)
    assert optics.reduced_scattering(500.0) == 46.0
    assert optics.bloodless_absorption(154.0) == pytest.approx(85.544)
    with pytest.raises(ValueError, match="850"):
        optics.blood_absorption(700.0)


def test_deep_layer_reflectance_satisfies_kubelka_and_munk() -> None:
    ratio = torch.tensor([0.01, 0.2, 1.0, 5.0], dtype=torch.float64)
    reflectance = optics.deep_layer_reflectance(ratio)
    assert torch.allclose((1 - reflectance) ** 2 / (2 * reflectance), ratio)


def test_frontal_partner_is_the_same_person_and_moment_at_yaw_zero() -> None:
    seen = synthetic.render(3, range(4), [2] * 4, domains=BOTH, yaw_range=(50.0, 70.0), frontal=True)
    straight = synthetic.render(3, range(4), [2] * 4, domains=BOTH, yaw_range=(0.0, 0.0))
    for domain in BOTH:
        assert torch.equal(seen.frontal[domain], straight.faces[domain])
        assert not torch.equal(seen.frontal[domain], seen.faces[domain])
    assert (straight.yaw_deg == 0).all()
    assert torch.equal(seen.expression, straight.expression)


def test_shots_of_one_person_differ_less_in_shape_than_people_do() -> None:
    def shape(identities: range, shots: range) -> np.ndarray:
        drawn = synthetic.render(
            5, [i for i in identities for _ in shots], [s for _ in identities for s in shots], yaw_range=(0.0, 0.0)
        )
        steady = drawn.landmarks68[:, [27, 28, 29, 30, 31, 33, 35, 36, 39, 42, 45]].numpy()  # nose and eye corners
        steady = steady - steady.mean(1, keepdims=True)
        steady /= np.linalg.norm(steady, axis=(1, 2), keepdims=True)
        turn = steady[:, -1] - steady[:, 7]
        angle = np.arctan2(turn[:, 1], turn[:, 0])
        cosine, sine = np.cos(angle), np.sin(angle)
        rotation = np.stack([np.stack([cosine, sine], 1), np.stack([-sine, cosine], 1)], 1)
        return np.einsum("bij,bkj->bki", rotation, steady).reshape(len(identities), len(shots), -1)

    shapes = shape(range(12), range(4))
    within = shapes.std(axis=1).mean()
    between = shapes.mean(axis=1).std(axis=0).mean()
    assert within < 0.75 * between


def test_low_resolution_versions_are_area_means() -> None:
    drawn = synthetic.render(0, [1, 2], [0, 0], domains=("nir",), low_res=[(16, 16), (7, 6)])
    small = drawn.low_res["nir", 16, 16]
    plain = drawn.faces["nir"].reshape(2, 3, 16, 8, 16, 8).mean(dim=(3, 5))
    assert torch.allclose(small, plain, atol=1e-6)
    assert drawn.low_res["nir", 7, 6].shape == (2, 3, 7, 6)


def test_without_truth_there_is_none() -> None:
    drawn = synthetic.render(0, [1], [0], truth=False)
    assert len(drawn.landmarks68) == len(drawn.parsing) == len(drawn.mask) == 0


def test_drawn_people_are_about_evenly_light_medium_and_dark() -> None:
    tones = [_person_cells(0, identity)["skin_tone"] for identity in range(600)]
    assert {tone: 150 < tones.count(tone) < 250 for tone in ("light", "medium", "dark")} == {
        "light": True,
        "medium": True,
        "dark": True,
    }


@pytest.mark.parametrize("yaw_deg", [-90.0, 90.0])
def test_profiles_show_the_nose_on_the_outline(yaw_deg: float) -> None:
    drawn = faces_at(yaw_deg)
    for points, mask in zip(drawn.landmarks5, drawn.mask, strict=True):
        x, y = points[2].round().int().tolist()
        columns = torch.nonzero(mask[y]).flatten()
        edge = columns.max() if yaw_deg > 0 else columns.min()
        assert abs(int(edge) - x) <= 3


def test_bad_requests_are_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match="vis, nir"):
        synthetic.render(0, [1], [0], domains=("thermal",))
    with pytest.raises(ValueError, match="one shot for each identity"):
        synthetic.render(0, [1, 2], [0])
    with pytest.raises(ValueError, match="90"):
        synthetic.render(0, [1], [0], yaw_range=(-120.0, 0.0))
    with pytest.raises(ValueError, match="0 or more"):
        synthetic.render(-1, [1], [0])
    with pytest.raises(ValueError, match="same_shot"):
        synthetic.SyntheticFaces(0, identities=range(3), shots=range(2), pairing="none")  # type: ignore[arg-type]


def test_stream_pairs_domains_by_shot_or_by_identity() -> None:
    settings = {"identities": range(10, 20), "shots": range(1000), "batch_size": 6, "size": 48}
    aligned = synthetic.SyntheticFaces(1, **settings, pairing="same_shot").batch(3)  # type: ignore[arg-type]
    loose = synthetic.SyntheticFaces(1, **settings, pairing="same_identity").batch(3)  # type: ignore[arg-type]
    assert torch.equal(aligned["vis_shot"], aligned["nir_shot"])
    assert not torch.equal(loose["vis_shot"], loose["nir_shot"])
    assert torch.equal(aligned["identity"], loose["identity"])
    assert set(aligned["identity"].tolist()) <= set(range(10, 20))
    redrawn = synthetic.render(1, loose["identity"].tolist(), loose["nir_shot"].tolist(), size=48, domains=("nir",))
    assert torch.equal(redrawn.faces["nir"], loose["nir"])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_two_workers_stream_what_one_process_streams() -> None:
    faces = synthetic.SyntheticFaces(1, identities=range(5), shots=range(5), batch_size=2, size=32, domains=("vis",))
    alone = [batch["vis"] for batch, _ in zip(faces, range(4), strict=False)]
    shared = [
        batch["vis"] for batch, _ in zip(DataLoader(faces, batch_size=None, num_workers=2), range(4), strict=False)
    ]
    assert all(torch.equal(one, other) for one, other in zip(alone, shared, strict=True))


def test_rendered_folder_holds_every_picture_of_its_face_list(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = synthetic.render_to(
        tmp_path / "people", identities=2, shots=2, size=64, domains=BOTH, seed=9, first_identity=5,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert path == tmp_path / "people" / "faces.csv"
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    assert tuple(rows[0]) == (*COLUMNS, *POINT_COLUMNS[5])
    assert seen[-1] == (8, 8)
    assert {row["identity"] for row in rows} == {"000005", "000006"}
    drawn = synthetic.render(9, [5], [1], size=64, domains=BOTH)
    for row in rows:
        numbers = synthetic.identity_parameters(9, int(row["identity"])).numbers
        assert float(row["age_0_to_1"]) == pytest.approx(numbers["age"], abs=5e-4)
        assert row["skin_tone"] == ("light", "medium", "dark")[np.digitize(numbers["melanin"], [0.04, 0.12])]
        with Image.open(path.parent / row["path"]) as picture:
            assert picture.size == (64, 64)
            assert "drawn (synthetic) person" in picture.info["Source"]
            pixels = np.asarray(picture)
        if row["path"] == "000005/0001_nir.png":
            assert np.array_equal(pixels, (drawn.faces["nir"][0] * 255).round().byte().permute(1, 2, 0).numpy())
            assert math.isclose(float(row["nose_y"]), float(drawn.landmarks5[0, 2, 1]), abs_tol=0.01)
    assert len(list((tmp_path / "people").rglob("*"))) == 8 + 2 + 1
