"""16-bit pictures -> 8 bits, by how many of their bits the camera filled: 10 or 12 in most near-infrared ones.

Such a file says 65,535 is white, and its camera never gives more than 1,023 or 4,095: brought to 8 bits over the whole
range it is nearly black. One full scale for a whole job keeps the brightness of its pictures comparable; nothing here
stretches a picture by its own darkest and lightest pixel.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL.TiffImagePlugin import TiffImageFile

from facebridge import decoding, images
from facebridge.decoding import MAX_PIXELS, BadPicture

Levels = int | Literal["auto"]
"""Bits that hold the values of 16-bit pictures, 8 to 16, or "auto": what they say, else what a sample of them needs."""

USUAL_BITS = (8, 10, 12, 14, 16)
"""What cameras give."""
SAMPLED = 64
"""Pictures of a list that "auto" looks at, evenly spread over it."""


@dataclass(frozen=True, eq=False)
class Deep:
    """values: (H, W, 3) uint16 RGB, upright, transparency over black. full_scale: white, where the file says so."""

    values: NDArray[np.uint16]
    full_scale: int | None


def parsed(text: str) -> Levels:
    """`auto`, `full` (16) or a number of bits. ValueError: if it is none of these."""
    if text in ("auto", "full"):
        return "auto" if text == "auto" else 16
    if not text.isdecimal() or not USUAL_BITS[0] <= int(text) <= USUAL_BITS[-1]:
        raise ValueError(f"--levels is {text!r}; expected auto, full, or a number of bits from 8 to 16")
    return int(text)


def sampled_bits(paths: Iterable[Path]) -> int | None:
    """The fewest usual bits that hold the values of these pictures; None if none has 16 bits and leaves it open.

    Files that cannot be read are passed over: who uses them names them.
    """
    largest = 0
    for path in paths:
        try:
            found = deep(images.read_bytes(path), str(path))
        except BadPicture:
            continue
        if found is not None and found.full_scale is None:
            largest = max(largest, int(found.values.max()))
    return next(bits for bits in USUAL_BITS if largest < 1 << bits) if largest else None


def decode(data: bytes, name: str, bits: int | None) -> NDArray[np.uint8]:
    """As `images.decode`, but 16-bit values are brought to 8 bits over what the file says is white, or over `bits`.

    BadPicture: as `images.decode`, and if a value is over that, or nothing says how many bits the values have.
    """
    found = deep(data, name)
    if found is None:
        return images.decode(data, name)
    largest = int(found.values.max())
    if found.full_scale is None and bits is None:
        raise BadPicture(name, f"16 bits a channel of which the largest is {largest:,}, and nothing says {_ADVICE}")
    full_scale = found.full_scale or (1 << (bits or 16)) - 1
    if largest > full_scale:
        raise BadPicture(name, f"a value of {largest:,}, where white is {full_scale:,}; say {_ADVICE}")
    return ((found.values.astype(np.uint32) * 255 + full_scale // 2) // full_scale).astype(np.uint8)


def deep(data: bytes, name: str) -> Deep | None:
    """The values of a picture of 16 bits a channel (PNG, TIFF, or PGM and PPM whose maximum is 65,535); else None.

    So of a grey TIFF that packs its values into 12 bits, which are then what is white. PGM and PPM of another maximum
    say what is white, and `images.decode` heeds it.
    BadPicture: as `images.decode`.
    """
    if not _may_be_deep(data):
        return None
    with decoding.opened(data, name, MAX_PIXELS) as image:
        tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
        sample_bits = set(np.atleast_1d(tags.get(_BITS_PER_SAMPLE, 1)).tolist()) if tags else {16}
        if sample_bits not in ({12}, {16}):
            return None
        if tags.get(_PHOTOMETRIC) == _WHITE_IS_0:
            raise BadPicture(name, "a TIFF of more than 8 bits whose 0 is white cannot be read: invert its values")
        if sample_bits == {12}:
            values = np.asarray(image).astype(np.uint16)  # which Pillow turns upright
            return Deep(np.stack([values] * 3, -1), _WHITE_OF_12_BITS)
        stated = int(np.max(tags.get(_MAX_SAMPLE_VALUE, _WHITE)))
        orientation = int(tags.get(_ORIENTATION, 1)) if tags else decoding.exif_orientation(image.info.get("exif", b""))
    plain = images.decode(data, name)  # whatever is damaged or cut off ends here
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.dtype != np.uint16:
        raise BadPicture(name, "16 bits a channel of a kind that cannot be read")
    if tags and orientation != 1:
        raise BadPicture(name, "a turned TIFF of 16 bits a channel cannot be read: turn its pixels")
    values = decoding.upright(_rgb(np.asarray(stored, np.uint16)), orientation)
    assert values.shape == plain.shape, "two decoders see one picture"
    return Deep(np.ascontiguousarray(values), stated if 0 < stated < _WHITE else None)


_WHITE = 65535
_WHITE_OF_12_BITS = 4095
_BITS_PER_SAMPLE, _PHOTOMETRIC, _ORIENTATION, _MAX_SAMPLE_VALUE = 258, 262, 274, 281  # tags of TIFF 6.0
_WHITE_IS_0 = 0
_ADVICE = "how many bits its camera fills (--levels 10, 12, 14 or full)"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_BIT_DEPTH_AT = 24


def _may_be_deep(data: bytes) -> bool:
    if data.startswith(_PNG_SIGNATURE):
        return data[_PNG_BIT_DEPTH_AT : _PNG_BIT_DEPTH_AT + 1] == b"\x10"
    if data[:4] in (b"II*\0", b"MM\0*"):
        return True
    return data[:2] in (b"P2", b"P3", b"P5", b"P6") and _maximum(data) == _WHITE


def _maximum(data: bytes) -> int | None:
    """The third number of a PNM header."""
    header = b"\n".join(line.partition(b"#")[0] for line in data[:1000].split(b"\n"))
    words = header[2:].split(maxsplit=3)
    return int(words[2]) if len(words) > 2 and words[2].isdigit() and len(words[2]) < 8 else None


def _rgb(stored: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """OpenCV's grey, BGR or BGRA -> RGB over black."""
    if stored.ndim == 2:
        return np.stack([stored] * 3, -1)
    colour = stored[..., 2::-1]
    if stored.shape[2] == 3:
        return colour
    alpha = stored[..., 3:].astype(np.uint32)
    return np.asarray((colour * alpha + _WHITE // 2) // _WHITE, np.uint16)
