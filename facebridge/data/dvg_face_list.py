"""A list of DVG-Face: lines `path label`; the camera is in the path.

    NIR/s2_NIR_10039_001.jpg 232
    VIS/s2_VIS_10039_002.jpg 232

Published: the README and the loaders of BradyFU/DVG-Face, which look for NIR or VIS in the path.
Ours: NIR and VIS count as words, in any case, and the last part of the path that has just one of them decides, so that
a folder NIR-VIS-2.0 above does no harm. A label may be any word. The protocol nir_to_vis is that of `dvg_list`.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from facebridge.data.data_set import Count, Imported, Protocol
from facebridge.data.dvg_list import Labelled, from_lines
from facebridge.data.face_list import FaceList

TITLE = "DVG-Face list (path label)"

_CAMERA = re.compile(r"(?<![A-Za-z])(nir|vis)(?![A-Za-z])", re.IGNORECASE)


def read(root: Path, *, list: str = "*.txt") -> Imported:
    """Read the pictures of the list, and the protocol nir_to_vis.

    Args:
        root: the folder that the paths are relative to, or the list in it.
        list: name of the list in root, or its path.

    Raises:
        WrongRoot: if there is no list, several, or none of its pictures.
        ValueError: if a line is not `path label`, its path says neither NIR nor VIS, or a path has two labels.
    """
    return from_lines(root, list, TITLE, _parsed)


def counts(faces: FaceList, protocols: Mapping[str, Protocol]) -> list[Count]:
    """None: any list may have this form."""
    return []


def _parsed(text: str) -> Labelled:
    words = text.rsplit(maxsplit=1)
    if len(words) != 2:
        raise ValueError(f"expected `path label`, got {text!r}")
    return Labelled(words[0], words[1], _domain(words[0]))


def _domain(path: str) -> str:
    for part in reversed(path.split("/")):
        cameras = {str(word).lower() for word in _CAMERA.findall(part)}
        if len(cameras) == 1:
            return cameras.pop()
    raise ValueError(f"expected NIR or VIS in the path, got {path!r}")
