"""Drawn people as a folder of pictures with a face list."""

import csv
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from facebridge.data.list_files import LANDMARKS_5, LANDMARKS_68
from facebridge.data.synthetic.people import identity_parameters
from facebridge.data.synthetic.rendering import Shots, render

LIST_NAME = "faces.csv"
POINT_COLUMNS = {5: LANDMARKS_5, 68: LANDMARKS_68}
"""Columns of the landmarks by how many there are."""
COLUMNS = (
    "path", "identity", "domain", "session", "split", "yaw_deg", "expression", "pair", "skin_tone", "age_0_to_1",
)  # fmt: skip
LIGHT_MELANIN, DARK_MELANIN = 0.04, 0.12
"""Melanosome fractions of the skin below which it is called light, and from which on it is called dark."""

_NOTICE = "A drawn (synthetic) person; nobody was photographed. FaceBridge embedded faces"


def render_to(
    folder: Path,
    *,
    identities: int,
    shots: int,
    size: int = 128,
    domains: Sequence[str] = ("vis",),
    seed: int = 0,
    first_identity: int = 0,
    yaw_range: tuple[float, float] | None = None,
    frontal_partners: bool = False,
    points: Literal[5, 68] = 5,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Draw `identities` people in `shots` shots each into folder/<identity>/<shot>_<domain>.png; return the face list.

    yaw_range: as of `render`. frontal_partners: each shot is drawn a second time, into <shot>_<domain>_front.png, with
    the head turned to yaw 0; that picture has the same `pair`.

    The list folder/faces.csv is written last and in one step, so a folder that has one is whole. `progress` is called
    with the numbers of pictures done and to do. `points`: how many landmarks of each face the list holds.

    ValueError: if identities or shots is less than 1, or `render` refuses a number.
    """
    if identities < 1 or shots < 1:
        raise ValueError(f"identities and shots must be 1 or more, got {identities} and {shots}")
    folder = Path(folder)
    rows: list[dict[str, str]] = []
    views = {"": yaw_range, **({"_front": (0.0, 0.0)} if frontal_partners else {})}
    people_at_once = max(1, _PICTURES_AT_ONCE // shots)
    last = first_identity + identities
    for first in range(first_identity, last, people_at_once):
        people = range(first, min(first + people_at_once, last))
        who, which = [person for person in people for _ in range(shots)], list(range(shots)) * len(people)
        for suffix, yaw in views.items():
            drawn = render(seed, who, which, size=size, domains=domains, yaw_range=yaw)
            for domain in domains:
                rows += _write_pictures(folder, drawn, domain, suffix, seed, points)
        if progress is not None:
            progress(len(rows), identities * shots * len(domains) * len(views))
    return _write_list(folder, rows, (*COLUMNS, *POINT_COLUMNS[points]))


_PICTURES_AT_ONCE = 32


def _write_pictures(
    folder: Path, drawn: Shots, domain: str, suffix: str, seed: int, num_points: Literal[5, 68]
) -> list[dict[str, str]]:
    pictures = (drawn.faces[domain] * 255.0).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    rows = []
    of_person = {identity: _person_cells(seed, identity) for identity in set(drawn.identity.tolist())}
    for i, picture in enumerate(pictures):
        identity, shot = int(drawn.identity[i]), int(drawn.shot[i])
        path = f"{identity:06d}/{shot:04d}_{domain}{suffix}.png"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        _write_picture(folder / path, picture, f"{_NOTICE}, seed {seed}, identity {identity}, shot {shot}, {domain}")
        places = drawn.landmarks5[i] if num_points == 5 else drawn.landmarks68[i]
        points = [f"{value:.2f}" for value in places.flatten().tolist()]
        rows.append(
            {
                "path": path,
                "identity": f"{identity:06d}",
                "domain": domain,
                "session": "",
                "split": "",
                "yaw_deg": f"{float(drawn.yaw_deg[i]):.2f}",
                "expression": _expression(drawn, i),
                "pair": f"{identity:06d}_{shot:04d}",
                **of_person[identity],
                **dict(zip(POINT_COLUMNS[num_points], points, strict=True)),
            }
        )
    return rows


def _person_cells(seed: int, identity: int) -> dict[str, str]:
    """What is known of a drawn person: skin tone in three steps, and age from 0 (smooth) to 1 (lined), not in years."""
    numbers = identity_parameters(seed, identity).numbers
    melanin = numbers["melanin"]
    tone = "light" if melanin < LIGHT_MELANIN else "medium" if melanin < DARK_MELANIN else "dark"
    return {"skin_tone": tone, "age_0_to_1": f"{numbers['age']:.3f}"}


def _expression(drawn: Shots, i: int) -> str:
    """The strongest expression's name, or neutral."""
    smile, mouth_open, brow_raise, frown, closure = drawn.expression[i, :5].tolist()
    strengths = {
        "smile": smile,
        "mouth_open": mouth_open,
        "brow_raise": brow_raise,
        "frown": frown,
        "eyes_closed": closure,
    }
    name = max(strengths, key=lambda key: strengths[key])
    return name if strengths[name] > 0.35 else "neutral"


def _write_picture(path: Path, picture: np.ndarray, notice: str) -> None:
    info = PngInfo()
    info.add_text("Source", notice)
    Image.fromarray(picture).save(path, pnginfo=info)


def _write_list(folder: Path, rows: list[dict[str, str]], columns: Sequence[str]) -> Path:
    path = folder / LIST_NAME
    unfinished = folder / f".{LIST_NAME}.{os.getpid()}"
    with unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    return path
