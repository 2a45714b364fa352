"""Multi-PIE: 337 people in up to four sessions, seen by 15 cameras in 20 lights; file names say all of it.

    ROOT/.../001_01_01_051_07.png           subject, session, recording, camera, light; any folders
    ROOT/.../001_01_01_051_07_cropped.png   as TP-GAN's code names aligned pictures
    ROOT/.../001_01_01_051_trans.5pt        its points: five lines `x y`, for all lights; or a file a picture

Published: names and cameras (Gross et al. 2010); the points' layout is that of TP-GAN's code, whose alignment counts
from 1 (inferred; converted here). Both settings are told in words by their papers (train on the first 150 of the people
of session 1, or the first 200 of all; a frontal picture as gallery). Recalled, not verified: the words for expressions.
Ours: that "first" means by number among the people who are there; light 7 for the gallery (option gallery_light:
papers say only "neutral light", and TP-GAN's code takes 6 for the frontal camera); that every light and every camera of
known yaw is a probe.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facebridge import crops
from facebridge.data import data_set, point_lists
from facebridge.data.data_set import Count, Imported, Protocol, require
from facebridge.data.face_list import FaceList
from facebridge.data.point_lists import Points

TITLE = "Multi-PIE"
FRONTAL_CAMERA, NEUTRAL_RECORDING = "051", "01"
YAW_DEG = {
    "240": 90, "010": 75, "200": 60, "190": 45, "041": 30, "050": 15, "051": 0,
    "140": -15, "130": -30, "080": -45, "090": -60, "120": -75, "110": -90,
}  # fmt: skip
"""Camera -> yaw; positive turns the nose to the right of the picture. 081 and 191 look down from above: unknown."""
EXPRESSIONS = {
    ("01", "01"): "neutral", ("01", "02"): "smile",
    ("02", "01"): "neutral", ("02", "02"): "surprise", ("02", "03"): "squint",
    ("03", "01"): "neutral", ("03", "02"): "smile", ("03", "03"): "disgust",
    ("04", "01"): "neutral", ("04", "02"): "scream", ("04", "03"): "neutral",
}  # fmt: skip
"""(session, recording) -> expression"""
_NAME = re.compile(r"(\d{3})_(\d{2})_(\d{2})_(\d{3})_(\d{2})(?:_.+)?", re.ASCII)
_LAYOUT = "pictures called SUBJECT_SESSION_RECORDING_CAMERA_LIGHT.png, such as 001_01_01_051_07.png"


@dataclass(frozen=True)
class Name:
    """What a file name says, as it stands there ("051")."""

    subject: str
    session: str
    recording: str
    camera: str
    light: str


def read(
    root: Path, *, gallery_light: int = 7, setting1_train: int = 150, setting2_train: int = 200, crop: str = ""
) -> Imported:
    """Multi-PIE's pictures and the protocols setting1 and setting2, both with neutral faces only.

    Setting 1 is session 1, setting 2 all sessions; in both the gallery holds one frontal picture of each person who is
    not trained on, from the first session of theirs. Group the probes by the column yaw_deg.

    Args:
        root: a folder with the pictures, in whatever folders.
        gallery_light: number of the light of the gallery.
        setting1_train: how many people, by number, train in setting 1.
        setting2_train: the same in setting 2.
        crop: how the pictures are aligned, if they are: one of `facebridge.crops.names()`.

    Raises:
        WrongRoot: if there is no picture with such a name.
        ValueError: if a file of points cannot be read, or the crop is unknown.
    """
    require(root, TITLE, _LAYOUT)
    named = {path: name for path in data_set.pictures(root) if (name := parse_name(Path(path).stem)) is not None}
    require(root, TITLE, _LAYOUT, bool(named))
    points = _points(root)
    columns = {
        "path": list(named),
        "identity": [name.subject for name in named.values()],
        "domain": ["vis"] * len(named),
        "session": [name.session for name in named.values()],
        "yaw_deg": [YAW_DEG.get(name.camera, np.nan) for name in named.values()],
        "expression": [EXPRESSIONS.get((name.session, name.recording), "") for name in named.values()],
        "recording": [name.recording for name in named.values()],
        "camera": [name.camera for name in named.values()],
        "light": [name.light for name in named.values()],
    }
    columns |= {"crop": [crops.crop(crop).name] * len(named)} if crop else {}
    found = {path: found for path, name in named.items() if (found := _points_of(path, name, points)) is not None}
    faces = FaceList(root, columns, point_lists.in_order(named, found))
    protocols: dict[str, Protocol] = {}
    notes: list[str] = []
    for setting, sessions, num_train in (("setting1", ["01"], setting1_train), ("setting2", None, setting2_train)):
        protocol = _setting(faces, sessions, num_train, f"{gallery_light:02}")
        protocols |= {} if protocol is None else {setting: protocol}
        if protocol is None:
            notes.append(f"no protocol {setting}: nobody beyond the first {num_train} people has gallery and probes")
    return Imported(faces, protocols, notes=notes)


def counts(faces: FaceList, protocols: Mapping[str, Protocol]) -> list[Count]:
    """The published numbers of people, in all and in the gallery of each setting."""
    known = [Count("people", 337, len(set(faces.column("identity").tolist())))]
    for name, expected in (("setting1", 100), ("setting2", 137)):
        protocol = protocols.get(name)
        if isinstance(protocol, FaceList):
            known.append(Count(f"gallery pictures of {name}", expected, len(protocol.where(split="gallery"))))
    return known


def parse_name(stem: str) -> Name | None:
    """The parts of a file's name without its ending; None if it is no such name."""
    found = _NAME.fullmatch(stem)
    return None if found is None else Name(*found.groups())


def _setting(faces: FaceList, sessions: list[str] | None, num_train: int, gallery_light: str) -> FaceList | None:
    """Rows with splits; None without gallery or probes. People without a gallery picture give no probes."""
    neutral = faces.where(recording=NEUTRAL_RECORDING, camera=tuple(YAW_DEG))
    rows = neutral if sessions is None else neutral.where(session=sessions)
    identities = rows.column("identity").tolist()
    trained = set(sorted(set(identities))[:num_train])
    keys = list(zip(rows.column("session").tolist(), rows.column("path").tolist(), strict=True))
    cameras, lights = rows.column("camera").tolist(), rows.column("light").tolist()
    gallery: dict[str, int] = {}
    for row in sorted(range(len(keys)), key=keys.__getitem__):
        if cameras[row] == FRONTAL_CAMERA and lights[row] == gallery_light and identities[row] not in trained:
            gallery.setdefault(identities[row], row)
    enrolled = set(gallery.values())
    splits = [
        "train" if name in trained else "gallery" if row in enrolled else "probe" if name in gallery else ""
        for row, name in enumerate(identities)
    ]
    protocol = rows.with_column("split", splits).where(split=("train", "gallery", "probe"))
    return protocol if {"gallery", "probe"} <= set(splits) else None


def _points(root: Path) -> dict[str, Points]:
    """Points by the name of their file, without what tells that the picture was aligned."""
    found = {}
    for path in sorted(root.rglob("*.5pt")):
        found[_bare(path.stem)] = _read_5pt(path)
    return found


def _read_5pt(path: Path) -> Points:
    words = [line.split() for _, line in data_set.lines(path)]
    try:
        points = np.array(words, np.float32)
    except ValueError as error:
        raise ValueError(f"{path}: expected five lines `x y` ({error})") from error
    if points.shape != (5, 2) or not np.isfinite(points).all():
        raise ValueError(f"{path}: expected five lines `x y` of finite numbers, got {len(words)} lines")
    return points - 1


def _points_of(path: str, name: Name, points: Mapping[str, Points]) -> Points | None:
    shot = f"{name.subject}_{name.session}_{name.recording}_{name.camera}"
    return next((points[key] for key in (_bare(Path(path).stem), shot) if key in points), None)


def _bare(stem: str) -> str:
    return stem.removesuffix("_trans").removesuffix("_cropped")
