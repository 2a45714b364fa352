"""A face list of visible-light pictures -> a folder with simulated near-infrared counterparts and one list of both.

OUT/vis/PATH           the visible-light pictures as they were, byte by byte
    nir/PATH.png       the same pixels as `facebridge.data.simulated_nir` makes them; their metadata says so
    faces.csv          rows of both; `pair` joins the two of a shot, `made` says which are simulated; written last
"""

import hashlib
import posixpath
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facebridge import images, runs
from facebridge.data import face_list, new_names
from facebridge.data.face_list import FaceList
from facebridge.data.simulated_nir import LABEL, NirCamera, simulated_nir
from facebridge.images import BadPicture

LIST = "faces.csv"


@dataclass(frozen=True)
class Simulated:
    """The list, how many shots it holds (two rows each), and the pictures that could not be used."""

    faces: Path
    count: int
    refused: list[BadPicture] = field(default_factory=list)


def simulate_nir(
    faces: FaceList,
    out: Path,
    *,
    seed: int = 0,
    camera: NirCamera | None = None,
    on_done: Callable[[int], None] | None = None,
) -> Simulated:
    """Make a simulated near-infrared picture of every row of the domain vis; called again, it goes on where it was.

    Identities, landmarks, crops, splits and further columns are kept, for both rows of a shot; rows of other domains
    are left out. A picture's noise depends on the seed and its path alone.

    Args:
        faces: pictures with the face in the middle, as aligned ones have it.
        out: the folder to write to.
        seed: of the sensor noise.
        camera: see `NirCamera`; absent: the defaults.
        on_done: told how many rows are done, after each.

    Raises:
        ValueError: if no row is vis, rows are regions of pictures, no picture can be used, or `out` is the folder of
            the list.
    """
    _check(faces, out)
    faces = faces.where(domain="vis")
    camera = NirCamera() if camera is None else camera
    stems = new_names.new_stems(faces, numbered=False)
    names: dict[int, tuple[str, str]] = {}
    refused: list[BadPicture] = []
    for row, path in enumerate(faces.column("path").tolist()):
        vis, nir = f"vis/{posixpath.normpath(path)}", f"nir/{stems.get(row) or new_names.stem_of(path)}.png"
        try:
            _make(faces.picture_path(row), out / vis, out / nir, path, seed, camera)
            names[row] = vis, nir
        except BadPicture as bad:
            refused.append(BadPicture(bad.path, bad.cause))  # without the traceback, which holds pixels
        if on_done is not None:
            on_done(row + 1)
    if not names:
        raise ValueError(f"none of {len(faces):,} pictures could be used; the first: {refused[0]}")
    face_list.write(_listed(faces, names, out), out / LIST)
    return Simulated(out / LIST, len(names), refused)


def described(path: str, seed: int, camera: NirCamera) -> str:
    """What the metadata of a simulated picture say made it, and from what."""
    settings = ", ".join(f"{name} {value:g}" for name, value in camera.model_dump().items())
    source = "".join(filter(str.isprintable, path))[:500]
    return f"{LABEL} (FaceBridge: visible light to 850 nm by skin optics; {settings}; seed {seed}) from {source}"


def _check(faces: FaceList, out: Path) -> None:
    if out.resolve() == faces.root.resolve():
        raise ValueError(f"{out} is the folder of the pictures, whose list would be overwritten: choose another folder")
    if not (faces.column("domain") == "vis").any():
        known = ", ".join(sorted(set(faces.column("domain").tolist())))
        raise ValueError(f"the list has no picture of the domain vis (it has {known}): simulation starts from those")
    if "region" in faces.column_names and (faces.column("region") != "").any():
        raise ValueError("rows of the list are regions of pictures: run 'facebridge data align' on the list first")


def _make(source: Path, vis: Path, nir: Path, path: str, seed: int, camera: NirCamera) -> None:
    """Copy a picture and write its counterpart, if that was not done before. BadPicture: if it cannot be read."""
    label = described(path, seed, camera)
    if vis.is_file() and _made_by(nir) == label:
        return
    picture = images.read(source)
    for target in (vis, nir):
        target.parent.mkdir(parents=True, exist_ok=True)
    runs.write_bytes(vis, source.read_bytes())
    digest = hashlib.sha256(f"{seed}:{path}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    images.write(nir, simulated_nir(images.to_faces(picture[None]), generator, camera)[0], generated_by=label)


def _made_by(path: Path) -> str | None:
    try:
        return images.generated_by(path)
    except BadPicture:
        return None


def _listed(faces: FaceList, names: dict[int, tuple[str, str]], out: Path) -> FaceList:
    kept = faces.take(list(names))
    landmarks = kept.landmarks
    columns: dict[str, Any] = {name: kept.column(name) for name in kept.column_names}
    made = columns.get("made", np.array([""] * len(kept)))
    columns |= {"pair": kept.keys(), "original": kept.originals()}
    sides = [
        FaceList(out, columns | {"path": paths, "domain": [domain] * len(kept), "made": label}, landmarks)
        for domain, paths, label in zip(
            ("vis", "nir"), zip(*names.values(), strict=True), (made, [LABEL] * len(kept)), strict=True
        )
    ]
    return face_list.joined(*sides)
