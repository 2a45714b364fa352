"""What is done to small faces: nothing more than asked, in order, and the same for every run."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from facebridge import images
from facebridge.degradation import NONE, Damage, Degradation, DegradationRange
from facebridge.hallucination import reduce
from tests.drawn import aligned_faces

numbers = st.floats(0, 100, allow_nan=False)
damages = st.builds(Damage, st.booleans(), numbers, numbers, st.none() | st.integers(1, 100))
degradations = st.builds(Degradation, st.integers(1, 300), st.integers(1, 300), damages)


def levels(faces: torch.Tensor) -> np.ndarray:
    return np.round(faces.permute(0, 2, 3, 1).numpy() * 255)


@given(degradations)
@settings(max_examples=60)
def test_name_reads_back_as_the_degradation(degradation: Degradation) -> None:
    assert Degradation.parse(degradation.name) == degradation
    assert Degradation.parse(degradation.name.replace(" ", ":", 1)) == degradation
    assert Damage.parse(degradation.damage.name) == degradation.damage


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("7x6", Degradation(7, 6)),
        ("16", Degradation(16, 16)),
        ("14x12:blur=1,noise=5,jpeg=30", Degradation(14, 12, Damage(False, 1, 5, 30))),
        ("14x12:antialias", Degradation(14, 12, Damage(antialias=True))),
        ("14x12 jpeg 30", Degradation(14, 12, Damage(jpeg_quality=30))),
    ],
)
def test_degradation_is_read_as_it_is_written_on_the_command_line(text: str, wanted: Degradation) -> None:
    assert Degradation.parse(text) == wanted


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "size"),
        ("x", "size"),
        ("0x6", "size"),
        ("7x", "size"),
        ("7x6:fog=2", "fog"),
        ("7x6:blur=1,blur=2", "blur"),
        ("7x6:blur", "blur"),
        ("7x6:noise=-1", "noise is -1"),
        ("7x6:noise=nan", "noise is nan"),
        ("7x6:jpeg=0", "jpeg is 0"),
        ("7x6:jpeg=30.5", "30.5"),
    ],
)
def test_what_is_no_degradation_is_named(text: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Degradation.parse(text)


@pytest.mark.parametrize("size", [(7, 6), (14, 12), (16, 16), (112, 96)])
def test_undamaged_face_is_the_reduced_one_bit_by_bit(size: tuple[int, int]) -> None:
    faces = aligned_faces()
    assert torch.equal(Degradation(*size).apply(faces, range(len(faces))), reduce(faces, *size))


def test_blur_is_opencvs_before_the_reduction() -> None:
    faces = aligned_faces()
    wanted = []
    for face in faces.permute(0, 2, 3, 1).numpy():
        blurred = cv2.GaussianBlur(face, (0, 0), 1.5 * 8, sigmaY=1.5 * 8, borderType=cv2.BORDER_REPLICATE)
        wanted.append(cv2.resize(blurred, (12, 14), interpolation=cv2.INTER_CUBIC))
    found = Degradation(14, 12, Damage(blur_px=1.5)).apply(faces, range(len(faces)))
    assert np.abs(levels(found) - np.stack(wanted) * 255).max() < 0.51


def test_antialiased_reduction_is_pillows() -> None:
    faces = aligned_faces()
    pictures = images.to_pictures(faces)
    wanted = [np.asarray(Image.fromarray(picture).resize((12, 14), Image.Resampling.BICUBIC)) for picture in pictures]
    found = Degradation(14, 12, Damage(antialias=True)).apply(images.to_faces(pictures), range(len(faces)))
    assert np.abs(levels(found) - np.stack(wanted)).max() <= 1


def test_noise_has_the_deviation_asked_for_and_is_of_the_faces_number() -> None:
    grey = torch.full((4, 3, 112, 96), 0.5)
    degradation = Degradation(56, 48, Damage(noise=5))
    found = degradation.apply(grey, [3, 4, 3, 2**32 - 1])
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[1])
    assert torch.equal(degradation.apply(grey[:1], [4])[0], found[1])
    assert np.std(levels(found)) == pytest.approx(5, rel=0.05)
    assert np.mean(levels(found)) == pytest.approx(127.5, abs=0.3)


def test_compressed_face_is_the_jpeg_of_the_reduced_one() -> None:
    faces = aligned_faces()
    wanted = []
    for picture in images.to_pictures(reduce(faces, 28, 24)):
        data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 30])[1]
        wanted.append(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])
    found = Degradation(28, 24, Damage(jpeg_quality=30)).apply(faces, range(len(faces)))
    assert np.array_equal(levels(found), np.stack(wanted))


@pytest.mark.parametrize("text", ["14x12:blur=1,noise=5,jpeg=30", "7x6:noise=90", "14x12:antialias"])
def test_degraded_face_holds_what_a_picture_file_can_hold(text: str) -> None:
    found = Degradation.parse(text).apply(aligned_faces(), range(len(aligned_faces())))
    assert torch.equal(images.to_faces(images.to_pictures(found)), found)


def test_full_size_can_be_damaged_too() -> None:
    faces = aligned_faces()
    found = Degradation(112, 96, Damage(jpeg_quality=20)).apply(faces, range(len(faces)))
    assert found.shape == faces.shape
    assert not torch.equal(found, faces)


def test_drawn_damage_keeps_its_ranges_and_probabilities() -> None:
    settings = DegradationRange(blur_probability=0.25, noise_probability=1, jpeg_probability=0, blur_px=(0.5, 0.7))
    random = np.random.default_rng(0)
    drawn = [settings.draw(random) for _ in range(2000)]
    blurred = [each.blur_px for each in drawn if each.blur_px]
    assert len(blurred) / 2000 == pytest.approx(0.25, abs=0.03)
    assert 0.5 <= min(blurred) < 0.51 < 0.69 < max(blurred) <= 0.7
    assert all(1 <= each.noise <= 10 and each.jpeg_quality is None for each in drawn)
    assert np.mean([each.antialias for each in drawn]) == pytest.approx(0.5, abs=0.04)


def test_faces_of_a_batch_are_damaged_each_in_its_own_way_and_the_same_by_seed() -> None:
    face = aligned_faces()[:1].expand(6, -1, -1, -1)
    found = DegradationRange().degrade(face, 14, 12, seed=3)
    assert found.shape == (6, 3, 14, 12)
    assert torch.equal(found, DegradationRange().degrade(face, 14, 12, seed=3))
    assert not torch.equal(found, DegradationRange().degrade(face, 14, 12, seed=4))
    assert len({each.numpy().tobytes() for each in found}) == 6


def test_range_without_any_probability_reduces_plainly() -> None:
    faces = aligned_faces()
    none = DegradationRange(blur_probability=0, noise_probability=0, jpeg_probability=0, antialias_probability=0)
    assert none.draw(np.random.default_rng(0)) == NONE
    assert torch.equal(none.degrade(faces, 14, 12, seed=0), reduce(faces, 14, 12))


def test_faces_of_a_mixed_batch_are_those_of_the_single_degradations() -> None:
    faces = aligned_faces()
    settings = DegradationRange(noise_probability=0)
    random = np.random.default_rng(9)
    damages = [settings.draw(random) for _ in faces]
    wanted = [
        Degradation(14, 12, damage).apply(face[None], [0])[0] for damage, face in zip(damages, faces, strict=True)
    ]
    assert np.abs(levels(settings.degrade(faces, 14, 12, seed=9)) - levels(torch.stack(wanted))).max() <= 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("blur_px", (2.0, 1.0)), ("noise_probability", 1.5), ("jpeg_quality", (0, 50)), ("noise", (-1.0, 2.0))],
)
def test_range_that_is_none_is_named(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name.split("_")[0]):
        DegradationRange(**{name: value})  # type: ignore[arg-type]
