"""Bytes of a picture file to upright RGB pixels, or one error that says why not."""

import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

MAX_PIXELS = 50_000_000


class BadPicture(ValueError):
    """A file that is no picture we can read. path: the file. cause: why, in words."""

    def __init__(self, path: str | Path, cause: str) -> None:
        super().__init__(f"{path}: {cause}")
        self.path = str(path)
        self.cause = cause

    def __reduce__(self) -> tuple[type["BadPicture"], tuple[str, str]]:
        return type(self), (self.path, self.cause)


def decode(data: bytes, name: str, max_pixels: int) -> NDArray[np.uint8]:
    """Decode a picture; the contract is that of `facebridge.images.decode`."""
    with opened(data, name, max_pixels) as image:
        # Pillow turns TIFF upright while it loads, and no other format.
        turned = isinstance(image, TiffImageFile)
        orientation = 1 if turned else exif_orientation(image.info.get("exif", b""))
        mode_16 = image.mode in _GREY_16_MODES or (image.mode == "I" and isinstance(image, PpmImageFile))
        if not mode_16 and image.mode not in _PLAIN_MODES and image.mode not in _ALPHA_MODES:
            raise BadPicture(name, f"pixels of kind {image.mode!r} have no defined range; use 8 or 16 bits a channel")
        image.load()
        if isinstance(image, PngImageFile):
            _refuse_short_png(data, name)
        if mode_16:
            pixels = _grey_16_to_rgb(image)
        elif image.mode in _ALPHA_MODES or "transparency" in image.info:
            pixels = _over_black(image)
        else:
            pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    return np.ascontiguousarray(upright(pixels, orientation))


@contextmanager
def opened(data: bytes, name: str, max_pixels: int) -> Iterator[ImageFile]:
    """Open a picture whose header has been checked; whatever Pillow says of its content becomes a BadPicture."""
    reader = _reader(data, name)
    quiet = _tiff_warnings_hidden() if reader is TiffImageFile else nullcontext()
    try:
        # Not Image.open: that would guess among all of Pillow's formats, and warn of sizes that are refused below.
        with quiet, reader(BytesIO(data), name) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise BadPicture(name, f"{width} x {height} pixels, more than the limit of {max_pixels:,}")
            if width * height == 0:
                raise BadPicture(name, f"{width} x {height} pixels: empty")
            if getattr(image, "is_animated", False):
                raise BadPicture(name, "several frames or pages; expected a single picture")
            yield image
    except BadPicture:
        raise
    except Exception as error:  # a damaged file can raise nearly anything from inside Pillow
        raise BadPicture(name, f"damaged or cut off ({str(error) or type(error).__name__})") from error


_READERS: dict[bytes, type[ImageFile]] = {
    b"\xff\xd8\xff": JpegImageFile,
    b"\x89PNG\r\n\x1a\n": PngImageFile,
    b"BM": BmpImageFile,
    b"II*\0": TiffImageFile,
    b"MM\0*": TiffImageFile,
    **{b"P%d" % kind: PpmImageFile for kind in range(1, 7)},
}
_READABLE = "JPEG, PNG, BMP, TIFF, PGM, PPM and WebP"
_PLAIN_MODES = {"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr"}
_ALPHA_MODES = {"LA", "La", "PA", "RGBA", "RGBa"}
_GREY_16_MODES = {"I;16", "I;16L", "I;16B", "I;16N"}
_WHITE_OF_16_BITS, _WHITE_OF_12_BITS = 65535, 4095
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # tags of TIFF 6.0


def _reader(data: bytes, name: str) -> type[ImageFile]:
    """Pillow's reader for these bytes, told by their beginning."""
    if not data:
        raise BadPicture(name, "empty file")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WebPImageFile
    reader = next((reader for magic, reader in _READERS.items() if data.startswith(magic)), None)
    if reader is None:
        kind = "a GIF file" if data.startswith(b"GIF8") else "not a picture"
        raise BadPicture(name, f"{kind}; {_READABLE} can be read")
    if reader is JpegImageFile:
        _refuse_odd_jpeg(data, name)
    return reader


_tiff_lock = threading.Lock()


@contextmanager
def _tiff_warnings_hidden() -> Iterator[None]:
    """Pillow warns of odd TIFF tags that do not touch the pixels. The filters belong to the process: one at a time."""
    with _tiff_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _grey_16_to_rgb(image: ImageFile) -> NDArray[np.uint8]:
    """Pillow's own conversion would clip at 255, and heeds neither packed 12 bits nor a TIFF in which 0 is white."""
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    white = _WHITE_OF_12_BITS if tuple(tags.get(_BITS_PER_SAMPLE, ())) == (12,) else _WHITE_OF_16_BITS
    values = np.asarray(image).astype(np.uint32)
    if tags.get(_PHOTOMETRIC) == 0:
        values = white - values
    grey = ((values * 255 + white // 2) // white).astype(np.uint8)
    return np.stack([grey] * 3, -1)


def _over_black(image: Image.Image) -> NDArray[np.uint8]:
    rgba = np.asarray(image.convert("RGBA")).astype(np.uint16)
    return ((rgba[..., :3] * rgba[..., 3:] + 127) // 255).astype(np.uint8)


_ORIENTATION_TAG = 0x0112
_SHORT = 3
_UPRIGHT = {
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored),
}


def upright(stored: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Pixels (H, W, ...) turned and mirrored as this orientation of EXIF asks; a view. Unknown ones ask for nothing."""
    return np.asarray(_UPRIGHT.get(orientation, lambda pixels: pixels)(stored))


def exif_orientation(exif: bytes) -> int:
    """The orientation in a block of EXIF, 1 (upright) if it has none or is damaged. Pillow's parser would warn."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, start)
        for entry in range(count):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, start + 2 + 12 * entry)
            if tag == _ORIENTATION_TAG and kind == _SHORT:
                return int(value)
    except struct.error:  # the block ends early; the pixels are whole
        return 1
    return 1


_JPEG_START_OF_SCAN = 0xDA
_JPEG_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xDA)}
_JPEG_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_HUFFMAN_FRAMES = {0xC0, 0xC1, 0xC2}


def _refuse_odd_jpeg(data: bytes, name: str) -> None:
    """Refuse arithmetic, lossless and hierarchical coding, which libjpeg may turn into even grey without a word."""
    position = 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            position += 1
            continue
        marker = data[position + 1]
        if marker == 0xFF or marker in _JPEG_WITHOUT_LENGTH or marker == 0:
            position += 1 if marker == 0xFF else 2
            continue
        if marker in _JPEG_FRAMES and marker not in _JPEG_HUFFMAN_FRAMES:
            raise BadPicture(name, f"JPEG coding 0x{marker:X} (arithmetic, lossless or hierarchical) cannot be read")
        if marker in _JPEG_HUFFMAN_FRAMES or marker == _JPEG_START_OF_SCAN:
            return
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")


_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def _refuse_short_png(data: bytes, name: str) -> None:
    """Refuse a PNG whose compressed stream ends well but early, which Pillow fills up with black."""
    width, height, bits, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    expected = 0
    for left, top, step_x, step_y in passes:
        columns, rows = -((left - width) // step_x), -((top - height) // step_y)
        if columns > 0:
            expected += max(rows, 0) * (1 + -(-columns * bits * _PNG_CHANNELS[colour] // 8))
    stream, found, position = zlib.decompressobj(), 0, 8
    while position + 8 <= len(data) and found < expected:
        (length,) = struct.unpack_from(">I", data, position)
        if data[position + 4 : position + 8] == b"IDAT":
            found += len(stream.decompress(data[position + 8 : position + 8 + length]))
        position += 12 + length
    if found < expected:
        raise BadPicture(name, f"damaged or cut off (PNG data for {found} of {expected} bytes)")
