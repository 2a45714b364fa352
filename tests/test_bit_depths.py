"""16-bit pictures: whatever the container, white is what the camera gives, and nothing is stretched by itself."""

import io
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from facebridge import bit_depths, images
from facebridge.images import BadPicture

GREY12 = np.random.default_rng(0).integers(0, 4096, (9, 7), np.uint16)
ENDINGS = [".png", ".tiff", ".pgm"]


def encoded(values: np.ndarray, ending: str) -> bytes:
    done, data = cv2.imencode(ending, values[..., ::-1] if values.ndim == 3 else values)
    assert done
    return data.tobytes()


@pytest.mark.parametrize("ending", ENDINGS)
def test_grey_of_12_bits_is_brought_to_8_bits_over_its_range(ending: str) -> None:
    found = bit_depths.decode(encoded(GREY12, ending), "x", 12)
    wanted = np.floor(GREY12 * 255.0 / 4095 + 0.5)
    for channel in range(3):
        assert (found[..., channel] == wanted).all()
    assert images.decode(encoded(GREY12, ending), "x").max() < 17  # nearly black over the whole range


@pytest.mark.parametrize("ending", [".png", ".tiff", ".ppm"])
def test_three_channels_of_10_bits_keep_all_their_levels(ending: str) -> None:
    values = np.arange(1023 - 5 * 60, 1023, 5, dtype=np.uint16).reshape(4, 5, 3)
    found = bit_depths.decode(encoded(values, ending), "x", 10)
    assert (found == np.floor(values * 255.0 / 1023 + 0.5)).all()


def test_alpha_of_16_bits_is_laid_over_black() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (5, 4, 4), dtype=np.uint16)
    done, data = cv2.imencode(".png", values[..., [2, 1, 0, 3]])
    assert done
    found = bit_depths.decode(data.tobytes(), "x", 16)
    wanted = values[..., :3].astype(float) * values[..., 3:] / 65535 / 257
    assert np.abs(found - wanted).max() < 0.52


@given(st.sampled_from(bit_depths.USUAL_BITS), st.integers(0, 65535))
def test_levels_rise_from_black_to_white_and_are_the_nearest(bits: int, seed: int) -> None:
    full = (1 << bits) - 1
    values = np.sort(np.random.default_rng(seed).integers(0, full + 1, (1, 30), np.uint16))
    values[0, [0, -1]] = 0, full
    found = bit_depths.decode(encoded(values, ".png"), "x", bits)[0, :, 0].astype(int)
    assert (found[0], found[-1]) == (0, 255)
    assert (np.diff(found) >= 0).all()
    assert np.abs(found - values[0] * 255.0 / full).max() <= 0.5


def test_what_the_file_says_of_white_wins() -> None:
    buffer = io.BytesIO()
    Image.fromarray(GREY12).save(buffer, "TIFF", tiffinfo={281: 4095})
    assert (
        bit_depths.decode(buffer.getvalue(), "x", None) == bit_depths.decode(encoded(GREY12, ".png"), "x", 12)
    ).all()
    pgm = b"P5 3 1 1023\n" + np.array([0, 512, 1023], ">u2").tobytes()
    assert bit_depths.decode(pgm, "x", None)[0, :, 0].tolist() == [0, 128, 255]


def test_12_bits_that_a_tiff_packs_are_over_their_own_range() -> None:
    values = np.random.default_rng(0).integers(0, 4096, (5, 8), np.uint16)
    bits = "".join(f"{value:012b}" for value in values.ravel())
    packed = int(bits, 2).to_bytes(len(bits) // 8, "big")
    wanted = np.floor(values * 255.0 / 4095 + 0.5)
    for levels in (None, 10, 16):  # the file says it
        assert (bit_depths.decode(_grey_tiff(packed, 5, 8, 12, 1), "x", levels) == wanted[..., None]).all()
    assert (images.decode(_grey_tiff(packed, 5, 8, 12, 1), "x") == wanted[..., None]).all()
    with pytest.raises(BadPicture):
        bit_depths.decode(_grey_tiff(packed, 5, 8, 12, 1)[:-9], "x", 12)


def test_tiff_whose_0_is_white_is_refused_with_what_to_do() -> None:
    plain = _grey_tiff(GREY12.tobytes(), 9, 7, 16, 1)
    assert (bit_depths.decode(plain, "x", 12) == bit_depths.decode(encoded(GREY12, ".png"), "x", 12)).all()
    with pytest.raises(BadPicture, match="0 is white.*invert"):
        bit_depths.decode(_grey_tiff(GREY12.tobytes(), 9, 7, 16, 0), "x", 12)


def _grey_tiff(data: bytes, height: int, width: int, bits: int, black: int) -> bytes:
    """black: PhotometricInterpretation, 1 where 0 is black."""
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: black, 273: 0, 277: 1, 278: height, 279: len(data)}
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data


def test_nothing_known_and_values_over_white_are_refused_with_advice() -> None:
    with pytest.raises(BadPicture, match=r"--levels 10, 12, 14 or full"):
        bit_depths.decode(encoded(GREY12, ".png"), "x", None)
    with pytest.raises(BadPicture, match=r"where white is 1,023.*--levels"):
        bit_depths.decode(encoded(GREY12, ".png"), "x", 10)


@pytest.mark.parametrize("ending", [".png", ".tiff", ".jpg", ".bmp", ".webp", ".pgm"])
def test_8_bits_stay_as_they_are(ending: str) -> None:
    data = encoded((GREY12 % 256).astype(np.uint8), ending)
    assert bit_depths.deep(data, "x") is None
    assert (bit_depths.decode(data, "x", None) == images.decode(data, "x")).all()


def test_sample_needs_the_fewest_usual_bits_and_passes_over_what_cannot_be_read(tmp_path: Path) -> None:
    for number, largest in enumerate((300, 900, 1023)):
        (tmp_path / f"{number}.png").write_bytes(encoded(np.full((4, 4), largest, np.uint16), ".png"))
    (tmp_path / "bad.png").write_bytes(b"text")
    images.write(tmp_path / "plain.png", np.full((4, 4, 3), 200, np.uint8))
    paths = sorted(tmp_path.iterdir())
    assert bit_depths.sampled_bits(paths) == 10
    assert bit_depths.sampled_bits(paths[:1]) == 10
    assert bit_depths.sampled_bits([tmp_path / "plain.png", tmp_path / "nowhere.png"]) is None
    (tmp_path / "3.png").write_bytes(encoded(np.full((4, 4), 1024, np.uint16), ".png"))
    assert bit_depths.sampled_bits(sorted(tmp_path.iterdir())) == 12


def test_levels_are_parsed() -> None:
    assert [bit_depths.parsed(text) for text in ("auto", "full", "12")] == ["auto", 16, 12]
    for text in ("7", "17", "-8", "all", "", "1.2"):
        with pytest.raises(ValueError, match="--levels"):
            bit_depths.parsed(text)


@given(st.binary(max_size=60), st.sampled_from(ENDINGS), st.integers(0, 200))
def test_damaged_16_bit_files_are_refused_or_read(noise: bytes, ending: str, place: int) -> None:
    whole = encoded(GREY12, ending)
    try:
        found = bit_depths.decode(whole[:place] + noise + whole[place + len(noise) :], "x", 16)
    except BadPicture:
        return
    assert found.dtype == np.uint8


@pytest.mark.parametrize("ending", ENDINGS)
def test_cut_off_16_bit_files_are_refused(ending: str) -> None:
    with pytest.raises(BadPicture):
        bit_depths.decode(encoded(GREY12, ending)[:-40], "x", 12)


@pytest.mark.parametrize(("photometric", "expected"), [(1, [0, 128, 255]), (0, [255, 127, 0])])
def test_16_bit_tiff_is_read_with_black_where_the_file_says(photometric: int, expected: list[int]) -> None:
    file = io.BytesIO()
    values = np.array([[0, 32896, 65535]], np.uint16)
    Image.fromarray(values).save(file, "TIFF", tiffinfo={262: photometric})
    assert images.decode(file.getvalue(), "x.tif")[0, :, 1].tolist() == expected
