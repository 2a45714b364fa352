"""Pictures as part of the page."""

from base64 import b64encode
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image, UnidentifiedImageError

_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
_MAX_BYTES = 2_000_000


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI, with its size in pixels."""

    uri: str
    width: int
    height: int


def picture(folder: Path, name: str) -> Picture:
    """The picture `name` of an evaluation folder, ready to stand in a page.

    ValueError: if the name leads out of the folder, or the file is missing, over 2 MB, or not PNG, JPEG or WebP.
    """
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ValueError(f"{folder}: example picture {name!r} lies outside the evaluation folder; refused")
    if not path.is_file():
        raise ValueError(f"{path}: no such picture; an example of {folder} names it")
    if path.stat().st_size > _MAX_BYTES:
        raise ValueError(f"{path}: {path.stat().st_size} bytes; an example picture has at most {_MAX_BYTES}")
    data = path.read_bytes()
    try:
        with Image.open(BytesIO(data), formats=list(_TYPES)) as image:
            media_type, (width, height) = _TYPES[str(image.format)], image.size
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a PNG, JPEG or WebP picture; examples are written as PNG") from error
    return Picture(f"data:{media_type};base64,{b64encode(data).decode()}", width, height)
