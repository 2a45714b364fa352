"""Reading every kind of picture a user has, refusing the bad ones by name, and sizes as OpenCV makes them."""

import io
import os
import pickle
import struct
import warnings
import zlib

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageFile
from PIL.PngImagePlugin import PngInfo

from facebridge import images
from facebridge.images import BadPicture

SIZES = [(112, 96), (56, 48)]


def smooth_picture(height=31, width=23, channels=3):
    noise = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2).reshape(height, width, channels)


PICTURE = smooth_picture()


def encoded(picture, image_format, **options):
    if not isinstance(picture, Image.Image):
        picture = Image.fromarray(np.squeeze(picture))
    buffer = io.BytesIO()
    picture.save(buffer, image_format, **options)
    return buffer.getvalue()


def png(header, chunks):
    """A PNG file from its IHDR fields and other chunks, checksums right."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", *header)), *chunks, (b"IEND", b"")]
    written = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(written)


def cause_of(data, **options):
    with pytest.raises(BadPicture) as caught:
        images.decode(data, "holiday.jpg", **options)
    assert str(caught.value) == f"holiday.jpg: {caught.value.cause}"
    return caught.value.cause


@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("PPM", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_deflate"}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_lossless_files_give_the_same_pixels(image_format, options, tmp_path):
    path = tmp_path / "picture.any"  # the name says nothing
    path.write_bytes(encoded(PICTURE, image_format, **options))
    picture = images.read(path)
    assert picture.dtype == np.uint8
    assert picture.flags.c_contiguous
    np.testing.assert_array_equal(picture, PICTURE)


@pytest.mark.parametrize("options", [{"quality": 98, "subsampling": 0}, {"quality": 98, "progressive": True}])
def test_jpeg_is_close_to_what_was_written(options):
    picture = images.decode(encoded(PICTURE, "JPEG", **options), "x")
    assert np.abs(picture.astype(int) - PICTURE).mean() < 3


def test_grey_becomes_three_equal_channels():
    grey = PICTURE[..., :1]
    for image_format in ("PNG", "BMP", "PPM", "TIFF"):
        np.testing.assert_array_equal(images.decode(encoded(grey, image_format), "x"), np.repeat(grey, 3, axis=2))


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_keeps_its_range(image_format):
    values = np.array([[0, 128, 129, 257 * 156, 65535, 257 * 7 + 100]], np.uint16)
    levels = images.decode(encoded(Image.fromarray(values), image_format), "x")[0, :, 0]
    assert levels.tolist() == [0, 0, 1, 156, 255, 7]


def test_16_bit_colour_keeps_its_range():
    values = np.random.default_rng(0).integers(0, 65536, (9, 7, 3), dtype=np.uint16)
    _, data = cv2.imencode(".png", values[..., ::-1])
    assert np.abs(images.decode(data.tobytes(), "x") - values / 257).max() <= 1


def test_pgm_of_10_bits_uses_its_own_maximum():
    data = b"P5 3 1 1023\n" + np.array([0, 512, 1023], ">u2").tobytes()
    assert images.decode(data, "x")[0, :, 0].tolist() == [0, 128, 255]


def test_transparency_is_laid_over_black():
    alpha = np.linspace(0, 255, PICTURE.shape[0] * PICTURE.shape[1]).astype(np.uint8).reshape(PICTURE.shape[:2])
    expected = PICTURE * (alpha[..., None] / 255)
    for image_format, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})):
        picture = images.decode(encoded(np.dstack([PICTURE, alpha]), image_format, **options), "x")
        assert np.abs(picture - expected).max() <= 0.51
    grey_with_alpha = images.decode(encoded(np.dstack([PICTURE[..., 0], alpha]), "PNG"), "x")
    assert np.abs(grey_with_alpha[..., 1] - expected[..., 0]).max() <= 0.51


def test_palette_pictures_with_and_without_transparency():
    indexed = Image.fromarray(PICTURE).quantize(16)
    expected = np.asarray(indexed.convert("RGB"))
    np.testing.assert_array_equal(images.decode(encoded(indexed, "PNG"), "x"), expected)
    one_clear = images.decode(encoded(indexed, "PNG", transparency=0), "x")
    clear = np.asarray(indexed) == 0
    assert not one_clear[clear].any()
    np.testing.assert_array_equal(one_clear[~clear], expected[~clear])
    many_clear = images.decode(encoded(indexed, "PNG", transparency=bytes([0, 255])), "x")
    np.testing.assert_array_equal(many_clear, one_clear)


def test_cmyk_is_converted():
    ink = np.zeros((16, 16, 4), np.uint8)
    ink[..., 0] = 255  # cyan: no red
    for image_format in ("JPEG", "TIFF"):
        picture = images.decode(encoded(Image.fromarray(ink, "CMYK"), image_format), "x")
        assert np.abs(picture.astype(int) - [0, 255, 255]).max() <= 3


def test_one_bit_pictures():
    bits = Image.fromarray(PICTURE[..., 0] > 127)
    np.testing.assert_array_equal(images.decode(encoded(bits, "PNG"), "x")[..., 2], (PICTURE[..., 0] > 127) * 255)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_exif_orientation_gives_the_same_picture(image_format):
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :16] = 255
    upright[:16, 32:] = 128
    stored_by_orientation = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }
    lossless = {"JPEG": {"quality": 100}, "WEBP": {"lossless": True}}.get(image_format, {})
    for orientation, stored in stored_by_orientation.items():
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        picture = images.decode(encoded(np.ascontiguousarray(stored), image_format, exif=exif, **lossless), "x")
        assert picture.shape == upright.shape
        assert np.abs(picture.astype(int) - upright).max() <= 2, orientation


def test_damaged_exif_does_not_stop_a_whole_picture():
    for exif in (
        b"Exif\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\x7f",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01",
        b"nonsense" * 9,
    ):
        picture = images.decode(encoded(PICTURE, "PNG", exif=exif), "x")
        np.testing.assert_array_equal(picture, PICTURE)


@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("BMP", {}),
        ("PPM", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {}),
    ],
)
def test_a_picture_cut_off_anywhere_is_whole_or_refused(image_format, options):
    data = encoded(PICTURE, image_format, **options)
    whole = images.decode(data, "x")
    for length in range(len(data)):
        try:
            picture = images.decode(data[:length], "x")
        except BadPicture:
            continue
        assert len(data) - length <= 21, length  # only what follows the last pixel may be missing
        np.testing.assert_array_equal(picture, whole)


def test_jpeg_without_its_last_bytes_is_refused():
    assert "cut off" in cause_of(encoded(PICTURE, "JPEG")[:-2])


@pytest.mark.parametrize("interlaced", [0, 1])
@pytest.mark.parametrize("kept", [0, 0.5, 0.99])
def test_png_whose_data_end_well_but_early_is_refused(kept, interlaced):
    header = (40, 30, 8, 2, 0, 0, interlaced)
    raw = bytes(2 * 30 * 121)[: int(30 * 121 * kept)]
    assert cause_of(png(header, [(b"IDAT", zlib.compress(raw))]))


def test_interlaced_and_packed_png_are_whole():
    for colour, bits in ((0, 1), (0, 2), (0, 4), (0, 8), (2, 8), (0, 16)):
        passes = [(5, 5)]
        channels = 3 if colour == 2 else 1
        raw = b"".join(bytes(rows * (1 + -(-columns * bits * channels // 8))) for columns, rows in passes)
        assert images.decode(png((5, 5, bits, colour, 0, 0, 0), [(b"IDAT", zlib.compress(raw))]), "x").shape == (
            5,
            5,
            3,
        )
    adam7 = [
        (1, 1),
        (1, 1),
        (2, 1),
        (1, 2),
        (3, 1),
        (2, 3),
        (5, 2),
    ]  # columns and rows of the passes of a 5 x 5 picture
    raw = b"".join(bytes(rows * (1 + 3 * columns)) for columns, rows in adam7)
    assert images.decode(png((5, 5, 8, 2, 0, 0, 1), [(b"IDAT", zlib.compress(raw))]), "x").shape == (5, 5, 3)
    assert "cut off" in cause_of(png((5, 5, 8, 2, 0, 0, 1), [(b"IDAT", zlib.compress(raw[:-1]))]))


def test_png_with_a_wrong_checksum_is_refused():
    data = bytearray(encoded(PICTURE, "PNG"))
    data[data.index(b"IDAT") + 40] ^= 1
    assert "damaged" in cause_of(bytes(data))


def test_picture_over_the_limit_is_refused_before_decoding():
    bomb = png((40_000, 40_000, 8, 2, 0, 0, 0), [(b"IDAT", zlib.compress(bytes(1000)))])
    assert cause_of(bomb) == "40000 x 40000 pixels, more than the limit of 50,000,000"
    header = encoded(np.zeros((8, 8, 3), np.uint8), "JPEG")
    start = header.index(b"\xff\xc0")
    huge = header[: start + 5] + struct.pack(">HH", 65500, 65500) + header[start + 9 :]
    assert "65500 x 65500" in cause_of(huge)
    assert "limit of 700" in cause_of(encoded(PICTURE, "PNG"), max_pixels=700)
    assert images.decode(encoded(PICTURE, "PNG"), "x", max_pixels=31 * 23).shape == PICTURE.shape


@pytest.mark.parametrize("image_format", ["WEBP", "PNG", "TIFF"])
def test_animations_and_many_pages_are_refused(image_format):
    frames = [Image.fromarray(np.full((8, 8, 3), level, np.uint8)) for level in (0, 255)]
    data = encoded(frames[0], image_format, save_all=True, append_images=frames[1:])
    assert cause_of(data) == "several frames or pages; expected a single picture"


def test_gif_is_refused_by_name():
    frames = [Image.fromarray(np.full((8, 8), level, np.uint8)) for level in (0, 255)]
    assert cause_of(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])).startswith("a GIF file")


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "empty file"),
        (b"a letter to a friend", "not a picture"),
        (b"<html><body>404</body></html>", "not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not a picture"),
        (b"\xff\xd8\xff", "damaged or cut off"),
        (b"BM", "damaged or cut off"),
        (b"P5", "damaged or cut off"),
        (b"P5 0 0 255\n", ""),
        (bytes(5000), "not a picture"),
    ],
)
def test_what_is_no_picture_is_refused_with_its_cause(data, cause):
    assert cause_of(data).startswith(cause)


def test_arithmetic_coded_jpeg_is_refused():
    data = encoded(PICTURE, "JPEG").replace(b"\xff\xc0", b"\xff\xc9", 1)
    assert "0xC9" in cause_of(data)


def test_pixels_without_a_defined_range_are_refused():
    assert "'F'" in cause_of(encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"))
    assert "'I'" in cause_of(encoded(Image.fromarray(np.ones((4, 4), np.int32)), "TIFF"))


def test_png_text_bomb_is_refused():
    text = b"Comment\0\0" + zlib.compress(bytes(80_000_000))
    header = (2, 2, 8, 0, 0, 0, 0)
    assert "damaged" in cause_of(png(header, [(b"zTXt", text), (b"IDAT", zlib.compress(bytes(6)))]))


@given(st.binary(max_size=300), st.sampled_from(["JPEG", "PNG", "BMP", "PPM", "TIFF", "WEBP"]), st.integers(0, 400))
def test_bytes_put_into_a_picture_never_cause_another_error(noise, image_format, position):
    data = encoded(PICTURE, image_format)
    damaged = data[:position] + noise + data[position + len(noise) :]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            assert images.decode(damaged, "x").dtype == np.uint8
        except BadPicture as error:
            assert error.cause  # noqa: PT017


def test_missing_and_odd_files_are_named(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(BadPicture, match=r"nowhere\.png: no such file"):
        images.read(tmp_path / "nowhere.png")
    for name in ("pipe.png", "."):
        with pytest.raises(BadPicture, match="not a regular file"):
            images.read(tmp_path / name)
    with pytest.raises(BadPicture, match="cannot be read"):
        images.read("a\0b")
    with (tmp_path / "sparse.jpg").open("wb") as file:
        file.truncate(10**9)
    with pytest.raises(BadPicture, match="1,000,000,000 bytes"):
        images.read(tmp_path / "sparse.jpg")


def test_bad_picture_survives_being_sent_between_processes():
    error = pickle.loads(pickle.dumps(BadPicture("a.jpg", "empty file")))
    assert (error.path, error.cause, str(error)) == ("a.jpg", "empty file", "a.jpg: empty file")


def test_read_all_keeps_the_order_and_goes_on_past_bad_files(tmp_path):
    paths = [tmp_path / f"{index:02}.png" for index in range(20)]
    for index, path in enumerate(paths):
        images.write(path, np.full((8, 8, 3), index, np.uint8))
    paths[7].write_bytes(b"text")
    results = list(images.read_all(iter(paths), workers=3))
    assert len(results) == 20
    assert isinstance(results.pop(7), BadPicture)
    assert [int(picture[0, 0, 0]) for picture in results] == [index for index in range(20) if index != 7]


def test_read_all_looks_only_a_little_ahead(tmp_path):
    path = tmp_path / "a.png"
    images.write(path, PICTURE)
    taken = []
    pictures = images.read_all((taken.append(None) or path for _ in range(1000)), workers=2)
    next(pictures)
    assert len(taken) <= 5
    pictures.close()


def test_truncated_images_stay_forbidden():
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG"])
def test_generated_faces_say_so_in_their_file(suffix, tmp_path):
    path = tmp_path / f"face{suffix}"
    images.write(path, torch.rand(3, 32, 24), generated_by="edsr_identity, run 2024-05-01 Müller")
    assert images.generated_by(path) == "edsr_identity, run 2024-05-01 Müller"
    with Image.open(path) as file:
        assert "Generated face, not a photograph" in str(file.info)
        if suffix != ".png":
            assert file.getexif()[ExifTags.Base.ImageDescription].startswith("Generated face")
    images.write(path, torch.rand(3, 32, 24))
    assert images.generated_by(path) is None


def test_what_a_file_says_of_its_generator_is_safe_to_print_and_to_write_again(tmp_path):
    for text, wanted in [("run\x1b[2J\n1", "run[2J1"), ("x" * 3000, "x" * 1000), ("", "unknown")]:
        metadata = PngInfo()
        metadata.add_text("Description", f"Generated face, not a photograph. Made by: {text}")
        Image.fromarray(PICTURE).save(tmp_path / "a.png", pnginfo=metadata)
        assert images.generated_by(tmp_path / "a.png") == wanted
        images.write(tmp_path / "b.png", PICTURE, generated_by=wanted)


def test_png_is_written_exactly_and_jpeg_closely(tmp_path):
    images.write(tmp_path / "a.png", PICTURE)
    np.testing.assert_array_equal(images.read(tmp_path / "a.png"), PICTURE)
    face = images.to_faces(PICTURE[None])[0]
    images.write(tmp_path / "b.png", face)
    np.testing.assert_array_equal(images.read(tmp_path / "b.png"), PICTURE)
    images.write(tmp_path / "c.jpg", PICTURE)
    assert np.abs(images.read(tmp_path / "c.jpg").astype(int) - PICTURE).mean() < 3


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    images.write(path, PICTURE)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        images.write(path, PICTURE * 0)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.png"]


def test_write_refuses_what_it_cannot_do(tmp_path):
    with pytest.raises(ValueError, match=r"\.png, \.jpg, \.jpeg"):
        images.write(tmp_path / "a.gif", PICTURE)
    with pytest.raises(ValueError, match="uint8"):
        images.write(tmp_path / "a.png", PICTURE / 255)
    for text in ("", "two\nlines", "x" * 1001):
        with pytest.raises(ValueError, match="generated_by"):
            images.write(tmp_path / "a.png", PICTURE, generated_by=text)


def test_pictures_to_faces_and_back_is_exact():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    faces = images.to_faces(levels)
    assert faces.shape == (1, 3, 16, 16)
    assert faces.dtype == torch.float32
    assert faces.max() == 1
    np.testing.assert_array_equal(images.to_pictures(faces), levels)


def test_to_pictures_rounds_and_clips():
    faces = torch.tensor([-0.5, 0.0019, 0.002, 1.5]).view(1, 1, 1, 4).expand(1, 3, 1, 4)
    assert images.to_pictures(faces)[0, 0, :, 0].tolist() == [0, 0, 1, 255]


def test_conversions_refuse_other_shapes_and_nan():
    with pytest.raises(ValueError, match="uint8"):
        images.to_faces(np.zeros((1, 4, 4, 3), np.float32))
    with pytest.raises(ValueError, match="shape"):
        images.to_pictures(torch.rand(3, 4, 4))
    with pytest.raises(ValueError, match="NaN"):
        images.to_pictures(torch.full((1, 3, 4, 4), torch.nan))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("factor", [1 / 16, 1 / 8, 1 / 4, 1 / 2, 2, 4])
@pytest.mark.parametrize(
    ("kernel", "flag"),
    [("bicubic", cv2.INTER_CUBIC), ("bilinear", cv2.INTER_LINEAR), ("lanczos", cv2.INTER_LANCZOS4)],
)
def test_resize_equals_opencv_on_floats(kernel, flag, factor, size):
    height, width = int(size[0] * factor), int(size[1] * factor)
    faces = torch.rand(2, 3, *size)
    theirs = cv2.resize(faces[1].permute(1, 2, 0).contiguous().numpy(), (width, height), interpolation=flag)
    ours = images.resize(faces, height, width, kernel)[1].permute(1, 2, 0).numpy()
    assert np.abs(ours - theirs).max() < 1e-5


@settings(max_examples=20)
@given(st.integers(4, 40), st.integers(4, 40), st.integers(2, 60), st.integers(2, 60))
@pytest.mark.parametrize(("kernel", "flag"), [("bicubic", cv2.INTER_CUBIC), ("lanczos", cv2.INTER_LANCZOS4)])
def test_resize_equals_opencv_between_any_sizes(kernel, flag, height, width, new_height, new_width):
    faces = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    picture = faces[0].permute(1, 2, 0).contiguous().numpy()
    theirs = cv2.resize(picture, (new_width, new_height), interpolation=flag)
    ours = images.resize(faces, new_height, new_width, kernel)[0].permute(1, 2, 0).numpy()
    assert np.abs(ours - theirs).max() < 1e-4  # positions of odd ratios are rounded differently in float32


def test_antialiased_resize_equals_pillow():
    picture = np.random.default_rng(0).random((64, 48)).astype(np.float32)
    faces = torch.from_numpy(picture).expand(1, 3, 64, 48)
    for kernel, theirs in (("bicubic", Image.Resampling.BICUBIC), ("bilinear", Image.Resampling.BILINEAR)):
        expected = np.asarray(Image.fromarray(picture).resize((12, 16), theirs))
        np.testing.assert_allclose(images.resize(faces, 16, 12, kernel, antialias=True)[0, 0], expected, atol=1e-5)


@pytest.mark.parametrize("kernel", ["bicubic", "lanczos"])
def test_resize_passes_gradients(kernel):
    faces = torch.rand(1, 3, 8, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(images.resize(faces, 32, 32, kernel).sum(), faces)
    assert (gradient > 0).all()


def test_lanczos_does_not_widen():
    with pytest.raises(ValueError, match="lanczos"):
        images.resize(torch.rand(1, 3, 8, 8), 4, 4, "lanczos", antialias=True)


def test_grid_places_faces_in_equal_cells_and_enlarges_small_ones_by_pixels():
    large, small = torch.full((3, 4, 4), 1.0), torch.zeros(3, 2, 2)
    small[:, 0, 0] = 0.2
    sheet = images.grid([[large, small], [large]], gap_px=1, background=77)
    assert sheet.shape == (11, 11, 3)
    assert (sheet[1:5, 1:5] == 255).all()
    assert (sheet[1:3, 6:8] == 51).all()
    assert (sheet[3:5, 6:10] == 0).all()
    assert (sheet[6:, 6:] == 77).all()
    assert (sheet[0] == 77).all()


def test_grid_keeps_the_shape_of_faces_of_another_aspect():
    sheet = images.grid([[torch.ones(3, 8, 8), torch.ones(3, 4, 2)]], gap_px=0, background=0)
    assert sheet.shape == (8, 16, 3)
    assert (sheet[:, 10:14] == 255).all()
    assert not sheet[:, 8:10].any()


def test_empty_grid_is_refused():
    with pytest.raises(ValueError, match="at least one face"):
        images.grid([])
