"""Files to pictures and faces, and back: safe decoding, marked writing, resizing, sheets of faces.

A picture is (H, W, 3) uint8 RGB, upright, of any size. A face is (3, H, W) float32 RGB [0, 1], aligned.
"""

import os
import secrets
import stat
import struct
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor
from torch.nn import functional

from facebridge import decoding
from facebridge.decoding import MAX_PIXELS, BadPicture
from facebridge.provenance import LONGEST_MARK, MARK, PASTED_MARK, Provenance, checked_mark, from_xmp, to_xmp

__all__ = [
    "MAX_PIXELS",
    "BadPicture",
    "decode",
    "encode",
    "generated_by",
    "grid",
    "provenance",
    "read",
    "read_all",
    "read_bytes",
    "resize",
    "to_faces",
    "to_pictures",
    "write",
]

Kernel = Literal["bicubic", "bilinear", "lanczos"]


def read(path: str | Path, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Read a JPEG, PNG, BMP, TIFF, PGM/PPM or WebP file as an upright uint8 RGB (H, W, 3) picture; see `decode`.

    BadPicture: if the file is missing, not a regular file, or not a picture that `decode` takes.
    """
    return decode(read_bytes(path, max_pixels), str(path), max_pixels)


def read_bytes(path: str | Path, max_pixels: int = MAX_PIXELS) -> bytes:
    """The bytes of a picture file, still to be decoded.

    BadPicture: if the file is missing, not a regular file, or larger than any picture of so many pixels.
    """
    largest_bytes = max_pixels * _LARGEST_PIXEL_BYTES + _ALLOWANCE_BYTES
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise BadPicture(path, "not a regular file")
        if status.st_size > largest_bytes:
            raise BadPicture(path, f"{status.st_size:,} bytes, more than {max_pixels:,} pixels can take")
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise BadPicture(path, "no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        if isinstance(error, BadPicture):
            raise
        raise BadPicture(path, f"cannot be read ({error})") from error


def decode(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode the bytes of a picture file to uint8 RGB (H, W, 3); `name` is what errors call it.

    The format is told by the first bytes, not by the name, and the size by the header, before anything is decoded.
    16-bit values are brought to 8 bits over their whole range, grey becomes three equal channels, CMYK is converted
    without its profile, transparency is laid over black, and EXIF's orientation is applied.
    BadPicture (a ValueError): if the bytes are no such picture, are cut off or damaged, hold several frames or pages,
    more than `max_pixels` pixels, or pixels without a defined range (32-bit, floating point).
    """
    return decoding.decode(data, name, max_pixels)


def read_all(
    paths: Iterable[str | Path], workers: int = 2, max_pixels: int = MAX_PIXELS
) -> Iterator[NDArray[np.uint8] | BadPicture]:
    """Read many files with threads, in order; a bad file gives its error in place of a picture, and reading goes on.

    Holds at most 2 x workers pictures at a time.
    """
    remaining = iter(paths)
    with ThreadPoolExecutor(workers) as pool:
        waiting = deque(pool.submit(_read_or_error, path, max_pixels) for path in islice(remaining, 2 * workers))
        try:
            while waiting:
                result = waiting.popleft().result()
                for path in islice(remaining, 1):
                    waiting.append(pool.submit(_read_or_error, path, max_pixels))
                yield result
        finally:
            _cancel(waiting)


def write(path: str | Path, picture: Tensor | NDArray[np.uint8], generated_by: str | Provenance | None = None) -> None:
    """Write a face (3, H, W) [0, 1] or a picture (H, W, 3) uint8 as PNG or JPEG, told by the path's suffix.

    The file appears whole or not at all. With `generated_by` (the method and run that made the face) the file's
    metadata says that the face was generated and by what: a PNG text, or a JPEG comment and EXIF ImageDescription. A
    `Provenance` is also written as XMP (in PNG too) and, in PNG, as the text "Comment".
    JPEG is written at quality 95 without chroma subsampling.
    ValueError: if the suffix, the picture's shape or type, or the text is not one of these.
    """
    path = Path(path)
    pixels = to_pictures(picture[None])[0] if isinstance(picture, Tensor) else picture
    try:
        data = encode(pixels, path.suffix, generated_by)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def encode(picture: NDArray[np.uint8], suffix: str, generated_by: str | Provenance | None = None) -> bytes:
    """The bytes of the file that `write` writes: a picture (H, W, 3) uint8, `.png`, `.jpg` or `.jpeg`.

    ValueError: as `write`.
    """
    image_format = _WRITABLE.get(suffix.lower())
    if image_format is None:
        raise ValueError(f"pictures are written as {', '.join(_WRITABLE)}")
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"expected a uint8 (H, W, 3) picture, got {picture.dtype} {picture.shape}")
    if image_format == "PNG":
        return _png(picture, PngInfo() if generated_by is None else _png_mark(generated_by))
    file = BytesIO()
    Image.fromarray(picture).save(
        file, "JPEG", quality=95, subsampling=0, **({} if generated_by is None else _jpeg_mark(generated_by))
    )
    return file.getvalue()


def generated_by(path: str | Path) -> str | None:
    """What generated the face in this PNG or JPEG file, as `write` noted it; None if the file does not say.

    Whatever the file says, the text is one that `write` takes and that a terminal shows: without control characters,
    cut off where it is too long, "unknown" if nothing is left.
    BadPicture: if the file is not a picture.
    """
    with decoding.opened(read_bytes(path, MAX_PIXELS), str(path), MAX_PIXELS) as image:
        text = image.info.get("comment" if image.format == "JPEG" else _PNG_KEY)
    if isinstance(text, bytes):
        text = text.decode("utf-8", errors="replace")
    if not isinstance(text, str) or not text.startswith((MARK, PASTED_MARK)):
        return None
    return (
        "".join(filter(str.isprintable, text.removeprefix(MARK).removeprefix(PASTED_MARK)))[:LONGEST_MARK] or "unknown"
    )


def provenance(path: str | Path) -> Provenance | None:
    """By what a generated picture says it was made, and from which file; None if it says nothing of it.

    BadPicture: if the file is not a picture.
    """
    with decoding.opened(read_bytes(path), str(path), MAX_PIXELS) as image:
        packet = image.info.get("xmp")
    if isinstance(packet, str):
        packet = packet.encode("utf-8", errors="replace")
    return from_xmp(packet) if isinstance(packet, bytes) else None


def to_faces(pictures: NDArray[np.uint8]) -> Tensor:
    """(B, H, W, 3) uint8 RGB -> (B, 3, H, W) float32 RGB [0, 1]."""
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[-1] != 3:
        raise ValueError(f"expected uint8 (B, H, W, 3), got {pictures.dtype} {pictures.shape}")
    channels_first = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))
    return torch.from_numpy(channels_first).float() / 255


def to_pictures(faces: Tensor) -> NDArray[np.uint8]:
    """(B, 3, H, W) float RGB -> (B, H, W, 3) uint8 RGB: clipped to [0, 1], rounded to the nearest level.

    ValueError: if the shape is another, or a value is NaN.
    """
    if faces.ndim != 4 or faces.shape[1] != 3:
        raise ValueError(f"expected faces of shape (B, 3, H, W), got {tuple(faces.shape)}")
    if faces.isnan().any():
        raise ValueError("the faces hold NaN")
    levels = (faces.detach().clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(levels.permute(0, 2, 3, 1).cpu().numpy())


def resize(faces: Tensor, height: int, width: int, kernel: Kernel = "bicubic", antialias: bool = False) -> Tensor:
    """Resize faces (B, 3, H, W), differentiably; half-pixel centres.

    Plain kernels are OpenCV's, which keep their width when a picture shrinks (and so alias): "bicubic" is
    cv2.INTER_CUBIC (a = -0.75; it may leave [0, 1] a little), "bilinear" is cv2.INTER_LINEAR, "lanczos" is
    cv2.INTER_LANCZOS4 (it may leave [0, 1] too). With `antialias` the kernel widens with the reduction, as Pillow's
    does (bicubic then has a = -0.5).
    ValueError: if "lanczos" is to widen.
    """
    if kernel == "lanczos":
        if antialias:
            raise ValueError("the lanczos kernel does not widen: take bicubic or bilinear with antialias")
        sides = ((faces.shape[-2], height), (faces.shape[-1], width))
        down, across = (torch.from_numpy(_lanczos(before, after)).to(faces) for before, after in sides)
        return down @ faces @ across.mT
    return functional.interpolate(faces, (height, width), mode=kernel, align_corners=False, antialias=antialias)


def grid(rows: Sequence[Sequence[Tensor]], gap_px: int = 2, background: int = 255) -> NDArray[np.uint8]:
    """A sheet of faces, uint8 RGB: rows of (3, h, w) faces [0, 1] in equal cells with a gap around each.

    A face smaller than the largest is enlarged by nearest neighbour as far as its cell allows, and centred. Rows may
    have different lengths.
    ValueError: if there is no face.
    """
    faces = [face for row in rows for face in row]
    if not faces:
        raise ValueError("a grid needs at least one face")
    height, width = max(face.shape[-2] for face in faces), max(face.shape[-1] for face in faces)
    columns = max(len(row) for row in rows)
    step_y, step_x = height + gap_px, width + gap_px
    sheet = np.full((len(rows) * step_y + gap_px, columns * step_x + gap_px, 3), background, np.uint8)
    for y, row in enumerate(rows):
        for x, face in enumerate(row):
            picture = _enlarged_to_fit(face, height, width)
            top = gap_px + y * step_y + (height - picture.shape[0]) // 2
            left = gap_px + x * step_x + (width - picture.shape[1]) // 2
            sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return sheet


_LANCZOS_LOBES = 4
_WRITABLE = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
_PNG_OPTIONS = [  # twice as fast as Pillow's fastest, 6 % larger (docs/data/aligning.md)
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG),
]
_PNG_HEADER_BYTES = 33  # signature and IHDR
_PNG_KEY = "Description"
_LARGEST_PIXEL_BYTES = 8  # four channels of 16 bits
_ALLOWANCE_BYTES = 1 << 24  # for headers, profiles and metadata


@lru_cache(maxsize=64)
def _lanczos(before: int, after: int) -> NDArray[np.float32]:
    """The matrix (after, before) that resizes a line of pixels; beyond its ends the last pixel goes on."""
    centres = (np.arange(after) + 0.5) * before / after - 0.5
    taps = np.floor(centres)[:, None] + np.arange(1 - _LANCZOS_LOBES, _LANCZOS_LOBES + 1)
    distances = centres[:, None] - taps
    weights = np.sinc(distances) * np.sinc(distances / _LANCZOS_LOBES)
    matrix = np.zeros((after, before))
    places = np.clip(taps, 0, before - 1).astype(np.int64)
    np.add.at(matrix, (np.arange(after)[:, None], places), weights / weights.sum(1, keepdims=True))
    return matrix.astype(np.float32)


def _read_or_error(path: str | Path, max_pixels: int) -> NDArray[np.uint8] | BadPicture:
    try:
        return read(path, max_pixels)
    except BadPicture as error:
        return BadPicture(error.path, error.cause)  # without the traceback, which holds pixels


def _cancel(waiting: Iterable[Future[NDArray[np.uint8] | BadPicture]]) -> None:
    for future in waiting:
        future.cancel()


def _png(picture: NDArray[np.uint8], texts: PngInfo) -> bytes:
    """OpenCV writes the pixels, and the texts are put behind the header."""
    done, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), _PNG_OPTIONS)
    assert done, "OpenCV writes PNG"
    whole = data.tobytes()
    chunks = [(bytes(chunk[0]), bytes(chunk[1])) for chunk in texts.chunks]
    written = (
        struct.pack(">I", len(text)) + kind + text + struct.pack(">I", zlib.crc32(kind + text)) for kind, text in chunks
    )
    return whole[:_PNG_HEADER_BYTES] + b"".join(written) + whole[_PNG_HEADER_BYTES:]


def _png_mark(generated_by: str | Provenance) -> PngInfo:
    metadata = PngInfo()
    metadata.add_text(_PNG_KEY, _mark(generated_by))
    if isinstance(generated_by, Provenance):
        metadata.add_text("Comment", generated_by.sentence)
        metadata.add_itxt("XML:com.adobe.xmp", to_xmp(generated_by))
    return metadata


def _jpeg_mark(generated_by: str | Provenance) -> dict[str, Any]:
    text = _mark(generated_by)
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = text.encode("ascii", "replace").decode("ascii")
    xmp = {"xmp": to_xmp(generated_by).encode("utf-8")} if isinstance(generated_by, Provenance) else {}
    return {"comment": text.encode("utf-8"), "exif": exif, **xmp}


def _mark(generated_by: str | Provenance) -> str:
    if isinstance(generated_by, str):
        return MARK + checked_mark(generated_by)
    return (PASTED_MARK if generated_by.pasted else MARK) + checked_mark(generated_by.made_by)


def _enlarged_to_fit(face: Tensor, height: int, width: int) -> NDArray[np.uint8]:
    scale = min(height / face.shape[-2], width / face.shape[-1])
    size = (max(1, round(face.shape[-2] * scale)), max(1, round(face.shape[-1] * scale)))
    enlarged = functional.interpolate(face.detach()[None].float(), size, mode="nearest-exact")
    return np.asarray(to_pictures(enlarged)[0])
