import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from typer.testing import CliRunner

from facebridge import images
from facebridge.cli.simulate_nir import simulate_nir as verb
from facebridge.data import face_list, synthetic
from facebridge.data.face_list import FaceList
from facebridge.data.samplers import SamePerson, SameShot, Unpaired
from facebridge.data.simulated_folder import described, simulate_nir
from facebridge.data.simulated_nir import (
    LABEL,
    NirCamera,
    linearised,
    simulated_nir,
    skin_at_850nm,
    visible_colour,
)
from facebridge.data.synthetic import optics
from facebridge.data.synthetic.optics import Pigments
from tests import drawn

PLAIN = NirCamera(auto_exposure=0.0, balance=0.0, flatten=0.0, relief=1.0, blur_px=0.0)
FILTERS = np.array([[0.86, 0.14, 0.0], [0.12, 0.76, 0.12], [0.03, 0.20, 0.77]])


def skin_by_hand(melanin: float, blood: float, wavelength_nm: float, oxy: float, deoxy: float) -> float:
    """Kubelka and Munk's dermis seen twice through an epidermis of 60 um, in plain numbers."""
    epidermis = math.exp(-2 * 0.006 * 6.6e11 * wavelength_nm**-3.33 * melanin)
    blood_per_cm = math.log(10) * (0.75 * oxy + 0.25 * deoxy) * 150 / 64500
    absorption = 0.244 + 85.3 * math.exp(-(wavelength_nm - 154) / 66.2) + blood_per_cm * blood
    ratio = 2 * absorption / (0.75 * 46 * (wavelength_nm / 500) ** -1.421)
    return epidermis * (1 + ratio - math.sqrt(ratio**2 + 2 * ratio))


def patch(melanin: float, blood: float, brightness: float = 1.0) -> Tensor:
    """Linear RGB of known skin, (1, 3, 4, 4), and through the same filters by hand."""
    bands = [(600.0, 3200.0, 14677.2), (540.0, 53236.0, 46592.0), (450.0, 62816.0, 103292.0)]
    colour = FILTERS @ [skin_by_hand(melanin, blood, *band) for band in bands]
    return torch.tensor(brightness * colour, dtype=torch.float32).view(1, 3, 1, 1).expand(1, 3, 4, 4)


def as_srgb(linear: Tensor) -> Tensor:
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp_min(1e-8) ** (1 / 2.4) - 0.055)


def grey(faces: Tensor) -> Tensor:
    return (faces * faces.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1)


@pytest.mark.parametrize("melanin", [0.012, 0.03, 0.1, 0.3])
@pytest.mark.parametrize("blood", [0.004, 0.013, 0.085])
@pytest.mark.parametrize("brightness", [0.15, 1.0])
def test_skin_of_known_pigments_gives_its_known_reflectance(melanin: float, blood: float, brightness: float) -> None:
    known = brightness * skin_by_hand(melanin, blood, 850.0, 1058.0, 691.32)
    found = skin_at_850nm(patch(melanin, blood, brightness))
    assert found.numpy() == pytest.approx(known, rel=0.01)


def test_visible_colour_is_that_of_the_formula() -> None:
    found = visible_colour(Pigments(torch.tensor([0.05]), torch.tensor([0.02])))
    assert found[:, 0].numpy() == pytest.approx(patch(0.05, 0.02)[0, :, 0, 0].numpy(), rel=1e-4)


def test_lips_lose_contrast() -> None:
    """Skin with a patch of lips: the ratio of both is that of the optics, and nearer to 1 than in any colour."""
    linear = patch(0.03, 0.013)[:, :, :1, :1].repeat(1, 1, 64, 64)
    linear[:, :, 44:52, 20:44] = patch(0.03, 0.085)[:, :, :1, :1]
    made = linearised(simulated_nir(as_srgb(0.4 * linear), camera=PLAIN))
    ratio = float(made[0, 0, 48, 32] / made[0, 0, 20, 32])
    known = [skin_by_hand(0.03, blood, 850.0, 1058.0, 691.32) for blood in (0.085, 0.013)]
    assert ratio == pytest.approx(known[0] / known[1], rel=0.03)
    assert ratio > float((linear[0, :, 48, 32] / linear[0, :, 20, 32]).max())


def test_black_hair_beside_skin_gets_brighter() -> None:
    black = torch.ones(())
    bands = [float(optics.hair_reflectance(black, 0 * black, band)) for band in optics.BANDS_NM["vis"]]
    linear = patch(0.03, 0.013)[:, :, :1, :1].repeat(1, 1, 64, 64)
    linear[:, :, :12] = torch.tensor(FILTERS @ bands, dtype=torch.float32).view(3, 1, 1)
    made = linearised(simulated_nir(as_srgb(0.4 * linear), camera=PLAIN))
    before = float(linear[0, 0, 4, 32] / linear[0, 0, 32, 32])
    after = float(made[0, 0, 4, 32] / made[0, 0, 32, 32])
    known = float(optics.hair_reflectance(black, 0 * black, 850.0)) / skin_by_hand(0.03, 0.013, 850.0, 1058.0, 691.32)
    assert after == pytest.approx(known, rel=0.15)
    assert after > 1.5 * before


def test_is_nearer_to_the_true_near_infrared_than_grey_and_than_red() -> None:
    """The same shot drawn in both cameras, inside the outline of the 68 points."""
    shots = drawn.shots()
    flat = [(person, shot) for person in range(4) for shot in range(4)]
    vis, nir = (images.to_faces(np.stack([side[p][s] for p, s in flat])) for side in (shots.vis, shots.nir))
    made = {"grey": grey(vis), "red": vis[:, 0], "simulated": simulated_nir(vis)[:, 0]}
    errors: dict[str, list[float]] = {name: [] for name in made}
    correlations: dict[str, list[float]] = {name: [] for name in made}
    for index, (person, shot) in enumerate(flat):
        mask = np.zeros((96, 96), np.uint8)
        outline = cv2.convexHull(shots.sixty_eight[person, shot].astype(np.float32)).astype(np.int32)
        inside = torch.from_numpy(cv2.fillConvexPoly(mask, outline, 1).astype(bool))
        true = nir[index, 0][inside]
        for name, faces in made.items():
            errors[name].append(float((faces[index][inside] - true).abs().mean()))
            correlations[name].append(float(np.corrcoef(faces[index][inside], true)[0, 1]))
    for other in ("grey", "red"):
        assert np.mean(errors["simulated"]) < 0.85 * np.mean(errors[other])
        assert np.mean(correlations["simulated"]) > np.mean(correlations[other]) + 0.02


def test_slow_changes_of_light_are_divided_out_as_far_as_asked() -> None:
    """Even skin lit from the side: the brighter half over the darker, in linear light."""
    side = torch.linspace(0.4, 1.0, 64).view(1, 1, 1, 64)
    lit = as_srgb(patch(0.03, 0.013)[:, :, :1, :1] * side.expand(1, 1, 64, 64))
    ratios = []
    for flatten in (0.0, 0.5, 1.0):
        made = linearised(simulated_nir(lit, camera=NirCamera(flatten=flatten, relief=1.0, level=0.5)))[0, 0]
        ratios.append(float(made[:, 48].mean() / made[:, 16].mean()))
    assert ratios[0] == pytest.approx(float(side[..., 48] / side[..., 16]), rel=0.02)
    assert ratios[0] > ratios[1] > ratios[2]
    assert ratios[2] == pytest.approx(1.0, abs=0.12)


def test_level_is_what_the_skin_is_exposed_to() -> None:
    for level in (0.4, 0.6):
        made = simulated_nir(as_srgb(patch(0.03, 0.013, 0.5)), camera=NirCamera(level=level, auto_exposure=1.0))
        assert float(made.mean()) == pytest.approx(level, abs=0.01)


def test_colour_of_the_light_hardly_matters() -> None:
    linear = patch(0.05, 0.013)[:, :, :1, :1].repeat(1, 1, 64, 64)
    linear[:, :, 44:52, 20:44] = patch(0.05, 0.06)[:, :, :1, :1]
    warm = linear * torch.tensor([1.25, 1.0, 0.8]).view(3, 1, 1)
    plain, warmed = (simulated_nir(as_srgb(0.7 * each)) for each in (linear, warm))
    assert float((plain - warmed).abs().max()) < 0.03


faces_of_any_kind = st.builds(
    lambda seed, size, low, high: (
        torch.rand((2, 3, *size), generator=torch.Generator().manual_seed(seed)) * (high - low) + low
    ),
    st.integers(0, 10_000),
    st.tuples(st.integers(3, 40), st.integers(3, 40)),
    st.sampled_from([0.0, 0.2]),
    st.sampled_from([0.0, 0.5, 1.0]),
)


@settings(max_examples=25)
@given(faces=faces_of_any_kind)
def test_any_picture_gives_three_equal_channels_in_range_whatever_its_neighbours(faces: Tensor) -> None:
    made = simulated_nir(faces, torch.Generator().manual_seed(0))
    assert made.shape == faces.shape
    assert made.dtype == faces.dtype
    assert float(made.min()) >= 0
    assert float(made.max()) <= 1
    assert torch.equal(made[:, 0], made[:, 1])
    assert torch.equal(made[:, 0], made[:, 2])
    together = simulated_nir(faces)
    alone = torch.cat([simulated_nir(face[None]) for face in faces])
    assert torch.allclose(together, alone, atol=1e-5)


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), gain=st.floats(1.0, 3.0))
def test_a_brighter_exposure_gives_a_brighter_picture(seed: int, gain: float) -> None:
    """The same scene exposed for longer, in linear light: no pixel gets darker."""
    linear = 0.3 * torch.rand((1, 3, 16, 16), generator=torch.Generator().manual_seed(seed)) + 0.02
    darker, brighter = simulated_nir(as_srgb(linear)), simulated_nir(as_srgb(linear * gain))
    assert bool((brighter >= darker - 1e-3).all())


def test_noise_is_that_of_the_generator_and_has_the_spread_asked_for() -> None:
    face = as_srgb(patch(0.03, 0.013)[:, :, :1, :1].repeat(1, 1, 128, 128))
    camera = NirCamera(noise=0.02)
    first, again, other = (simulated_nir(face, torch.Generator().manual_seed(seed), camera) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert float((first - simulated_nir(face, camera=camera)).std()) == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("faces", [torch.zeros(3, 8, 8), torch.zeros(1, 1, 8, 8), torch.zeros(1, 3, 8, 8).byte()])
def test_what_is_no_face_is_refused(faces: Tensor) -> None:
    with pytest.raises(ValueError, match=r"expected float faces \(B, 3, H, W\)"):
        simulated_nir(faces)


def test_a_wrong_setting_is_named_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"setting 'flaten': .*settings are level, .*flatten"):
        NirCamera.read({"flaten": 1})
    with pytest.raises(ValueError, match="setting 'flatten': input should be less than or equal to 1"):
        NirCamera.read({"flatten": 2})


@pytest.fixture
def vis_list(tmp_path: Path) -> FaceList:
    """Two people, two shots each, both cameras; one visible picture is cut off."""
    folder = tmp_path / "people"
    faces = face_list.read(synthetic.render_to(folder, identities=2, shots=2, size=64, domains=("vis", "nir")))
    broken = folder / faces.where(domain="vis").column("path").tolist()[0]
    broken.write_bytes(broken.read_bytes()[:100])
    return faces


def test_the_list_holds_both_cameras_and_all_samplers_take_it(vis_list: FaceList, tmp_path: Path) -> None:
    done = simulate_nir(vis_list, tmp_path / "out")
    vis_rows = vis_list.where(domain="vis")
    assert [bad.path for bad in done.refused] == [str(vis_rows.picture_path(0))]
    assert done.count == len(vis_rows) - 1
    found = face_list.read(done.faces)
    vis, nir = found.where(domain="vis"), found.where(domain="nir")
    assert len(vis) == len(nir) == done.count
    for name in ("identity", "pair", "split", "yaw_deg", "skin_tone", "original"):
        assert vis.column(name).tolist() == nir.column(name).tolist()
    assert vis.column("original").tolist() == vis_rows.column("path").tolist()[1:]
    assert found.landmarks is not None
    assert vis_rows.landmarks is not None
    for side in (vis, nir):
        assert side.landmarks is not None
        assert np.array_equal(side.landmarks, vis_rows.landmarks[1:])
    assert set(nir.column("made").tolist()) == {LABEL}
    assert set(vis.column("made").tolist()) == {""}
    rows = np.arange(len(found))
    sources, targets = (rows[found.column("domain") == domain] for domain in ("nir", "vis"))
    identities, pairs = found.column("identity"), found.column("pair")
    paths = found.column("path")
    for place in range(len(sources)):
        shot = SameShot(identities, pairs, sources, targets).sample(0, place)
        source, target = str(paths[shot.sources[0]]), str(paths[shot.target])
        assert source.removeprefix("nir/") == target.removeprefix("vis/")
        person = SamePerson(identities, sources, targets).sample(0, place)
        assert identities[person.sources[0]] == identities[person.target]
        Unpaired(sources, targets).sample(0, place)


def test_pictures_are_copied_as_they_are_and_simulated_ones_say_so(vis_list: FaceList, tmp_path: Path) -> None:
    camera = NirCamera(flatten=0.2)
    done = simulate_nir(vis_list, tmp_path / "out", seed=7, camera=camera)
    found = face_list.read(done.faces)
    for row in range(len(found)):
        path = found.picture_path(row)
        original = str(found.column("original")[row])
        if found[row].domain == "vis":
            assert path.read_bytes() == (vis_list.root / original).read_bytes()
            continue
        made_by = images.generated_by(path)
        assert made_by == described(original, 7, camera)
        assert made_by is not None
        assert made_by.startswith("simulated_nir")
        assert "flatten 0.2" in made_by
        assert "seed 7" in made_by
        assert original in made_by
        picture = images.read(path)
        assert (picture == picture[..., :1]).all()


def test_a_second_call_makes_only_what_is_missing_and_the_same_bytes(vis_list: FaceList, tmp_path: Path) -> None:
    done = simulate_nir(vis_list, tmp_path / "out", seed=1)
    pictures = sorted((tmp_path / "out" / "nir").rglob("*.png"))
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in pictures}
    pictures[0].unlink()
    done.faces.unlink()
    simulate_nir(vis_list.take(np.arange(len(vis_list))[::-1]), tmp_path / "out", seed=1)
    again = simulate_nir(vis_list, tmp_path / "out", seed=1)
    assert again.count == done.count
    assert {path: path.read_bytes() for path in pictures} == {path: data for path, (data, _) in before.items()}
    assert all(path.stat().st_mtime_ns == before[path][1] for path in pictures[1:])
    simulate_nir(vis_list, tmp_path / "out", seed=2)
    assert pictures[0].read_bytes() != before[pictures[0]][0]


def test_lists_that_cannot_be_simulated_are_refused(vis_list: FaceList, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no picture of the domain vis \(it has nir\)"):
        simulate_nir(vis_list.where(domain="nir"), tmp_path / "out")
    with pytest.raises(ValueError, match="would be overwritten"):
        simulate_nir(vis_list, vis_list.root)
    regions = vis_list.with_column("region", ["0 0 9 9"] * len(vis_list))
    with pytest.raises(ValueError, match="facebridge data align"):
        simulate_nir(regions, tmp_path / "out")
    with pytest.raises(ValueError, match="none of 1 pictures could be used"):
        simulate_nir(vis_list.where(domain="vis").take([0]), tmp_path / "out")


def test_the_verb_names_what_it_could_not_use(vis_list: FaceList, tmp_path: Path) -> None:
    import typer

    app = typer.Typer()
    app.command("simulate-nir")(verb)
    out = tmp_path / "out"
    result = CliRunner().invoke(app, [str(vis_list.root / "faces.csv"), "-o", str(out), "--set", "flatten=0.1"])
    assert result.exit_code == 1
    assert f"{out / 'faces.csv'}: 3 shots" in result.stdout
    assert "1 picture could not be used" in result.stderr
    assert str(vis_list.where(domain="vis").picture_path(0)) in result.stderr


@pytest.mark.real
def test_real_faces_get_the_tone_of_real_near_infrared(real_data: Path) -> None:
    """Mean and spread over the middle of the arcface crop, beside those of real active near-infrared pictures."""
    from facebridge import crops

    crop = crops.crop("arcface")

    def middles(points: Path, folder: Path, every: int) -> Tensor:
        known = face_list.read_landmarks(points)
        chosen = sorted(known)[::every]
        return images.to_faces(np.stack([crops.align(images.read(folder / n), known[n], crop) for n in chosen]))

    real = middles(real_data / "data/nir_faces/landmarks5.csv", real_data / "data/nir_faces", 4)
    lfw = middles(real_data / "data/lfw/landmarks5.csv", real_data / "data/lfw/lfw-deepfunneled", 150)

    def tone(faces: Tensor) -> tuple[float, float]:
        middle = faces[..., 28:100, 28:84]
        return float(middle.mean()), float(middle.std(dim=(-2, -1)).mean())

    real_tone, made, plain = tone(real[:, 0]), tone(simulated_nir(lfw)[:, 0]), tone(grey(lfw))
    assert made[0] == pytest.approx(real_tone[0], abs=0.06)
    assert abs(made[1] - real_tone[1]) < 0.6 * abs(plain[1] - real_tone[1])
