"""Tiny near-infrared and thermal data sets, drawn, in the layouts, names and list formats of the real ones."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from tests import drawn
from tests.data.tree import Tree

NUM_PEOPLE, NUM_SHOTS = 5, 4
BOM = b"\xef\xbb\xbf"


class Album:
    """Writes drawn pictures under any names, no two of the same bytes, and remembers where the faces are in them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.landmarks: dict[str, np.ndarray] = {}

    def add(self, path: str, person: int, shot: int, domain: str) -> None:
        shots = drawn.shots(NUM_PEOPLE, NUM_SHOTS)
        picture = (shots.vis if domain == "vis" else shots.nir)[person][shot % NUM_SHOTS].copy()
        picture[:6, :6] = 8 * len(self.landmarks) % 256  # a corner that tells copies of one shot apart
        picture[:6, 6:12] = len(self.landmarks)
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(file, "BMP" if path.endswith(".bmp") else "JPEG")
        self.landmarks[path] = shots.five[person, shot % NUM_SHOTS]


def write_lines(path: Path, lines: Iterable[str], end: str = "\n", start: bytes = b"") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(start + "".join(line + end for line in lines).encode())


def casia_nir_vis(root: Path) -> Tree:
    """Folds 1 and 10 of view 2, and view 1; lines with backslashes and CRLF, one file with a byte order mark.

    Person 00003 is in two sessions. The picture that a line calls 002.bmp is 002.jpg, and the other way round.
    """
    home = root / "NIR-VIS-2.0"
    album = Album(home)
    people = {"10001": "s2", "20001": "s3", "00003": "s1", "10002": "s2", "30001": "s4"}
    for person, (name, session) in enumerate(people.items()):
        for shot, picture in enumerate(("001.bmp", "002.jpg")):
            album.add(f"{session}/NIR/{name}/{picture}", person, shot, "nir")
        for shot, picture in enumerate(("001.jpg", "002.bmp")):
            album.add(f"{session}/VIS/{name}/{picture}", person, shot + 1, "vis")
    album.add("s2/NIR/00003/001.bmp", 2, 3, "nir")
    for path, points in album.landmarks.items():
        eyes = " ".join(f"{value:.0f}" for value in points[:2].ravel())
        write_lines((home / path).with_suffix(".pos"), [eyes, "further numbers"], "\r\n")
    nir = {
        name: [rf"{session}\NIR\{name}\001.bmp", rf"{session}\NIR\{name}\002.bmp"] for name, session in people.items()
    }
    vis = {
        name: [rf"{session}\VIS\{name}\001.jpg", rf"{session}\VIS\{name}\002.jpg"] for name, session in people.items()
    }
    nir["00003"].append(r"s2\NIR\00003\001.bmp")
    for suffix, train in (("1", ("10001", "20001")), ("10", ("30001", "10002")), ("dev", ("10001", "30001"))):
        tested = [name for name in people if name not in train]
        lists = {
            "nir_train": [line for name in train for line in nir[name]],
            "vis_train": [line for name in train for line in vis[name]],
            "vis_gallery": [vis[name][0] for name in tested],
            "nir_probe": [line for name in reversed(tested) for line in nir[name]],
        }
        for kind, lines in lists.items():
            write_lines(home / f"protocols/{kind}_{suffix}.txt", lines, "\r\n", BOM if kind == "nir_probe" else b"")
    return Tree(root, {}, album.landmarks)


def oulu_casia(root: Path) -> Tree:
    """Two people of the training, three of the test; two expressions, one of them with more frames than are taken."""
    album = Album(root)
    for person, name in enumerate(("P005", "P007", "P009", "P014", "P017")):
        for camera, domain in (("NI", "nir"), ("VL", "vis")):
            for frame in range(10 if name == "P009" else 2):
                album.add(f"{camera}/Strong/{name}/Anger/{frame:03}.jpeg", person, frame, domain)
            album.add(f"{camera}/Strong/{name}/Happiness/000.jpeg", person, 2, domain)
            album.add(f"{camera}/Dark/{name}/Anger/000.jpeg", person, 3, domain)
    return Tree(root, {"seed": 3}, album.landmarks)


def buaa_vis_nir(root: Path) -> Tree:
    """People 1 and 6 train, 2, 3 and 7 are tested; person 2 has no picture 12. Picture 20 is a visible one."""
    album = Album(root)
    for person, name in enumerate((1, 6, 2, 3, 7)):
        for shot, number in enumerate((1, 3, 20)):
            album.add(f"{name}/{number}.bmp", person, shot, "vis")
        for shot, number in enumerate((2, 4, 12)):
            if (name, number) != (2, 12):
                album.add(f"{name}/{number}.bmp", person, shot, "nir")
    return Tree(root, {}, album.landmarks)


def lamp_hq(root: Path) -> Tree:
    """Fold 1 in the folder Protocols, two of its lists with a header line."""
    album = Album(root)
    people = ("FP0002", "P0010", "FP0001", "FP0003", "P0001")
    for person, name in enumerate(people):
        for shot, light in enumerate(("DOWN", "LEFT")):
            album.add(f"NIR/NIR_{name}_1_{light}_a.jpg", person, shot, "nir")
        for shot, letter in enumerate("ab"):
            album.add(f"VIS/VIS_{name}_1_{letter}.jpg", person, shot, "vis")
    lists: dict[str, list[str]] = {"train/train_nir1": ["path label"], "train/train_vis1": [], "test/gallery_vis1": []}
    lists["test/probe_nir1"] = ["6"]
    for name in people:
        train = name in people[:2]
        nir = [f"NIR/NIR_{name}_1_{light}_a.jpg {name}" for light in ("DOWN", "LEFT")]
        vis = [f"VIS/VIS_{name}_1_{letter}.jpg {name}" for letter in "ab"]
        lists["train/train_nir1" if train else "test/probe_nir1"] += nir
        lists["train/train_vis1" if train else "test/gallery_vis1"] += vis if train else vis[:1]
    for kind, lines in lists.items():
        write_lines(root / f"Protocols/{kind}.txt", lines)
    return Tree(root, {}, album.landmarks)


def whu(root: Path) -> Tree:
    """Five people, three pairs each, and a visible picture without a partner."""
    album = Album(root)
    for person, name in enumerate(("ann", "bob", "cyd", "dan", "eve")):
        for number in range(1, 4):
            album.add(f"VIS/{name}/{number}.jpg", person, number, "vis")
            album.add(f"NIR/{name}/{number}.bmp", person, number, "nir")
    album.add("VIS/eve/10.jpg", 4, 0, "vis")
    return Tree(root, {}, album.landmarks)


def tufts(root: Path) -> Tree:
    """Five people as the archives unpack, with expressions and places of the camera; a sketch beside them."""
    album = Album(root)
    for person in range(NUM_PEOPLE):
        for shot in range(2):
            for camera, domain in (("IR", "nir"), ("RGB", "vis")):
                path = f"TD_{camera}_E_Set{person // 3 + 1}/{person + 1}/TD_{camera}_E_{shot + 1}.jpg"
                album.add(path, person, shot, domain)
        album.add(f"TD_IR_A_Set1/{person + 1}/TD_IR_A_4.jpg", person, 2, "nir")
        album.add(f"TD_RGB_A_Set1/{person + 1}/TD_RGB_A_1_0.jpg", person, 3, "vis")
    sketch = root / "TD_CS_Set1/1/TD_CS_1.jpg"
    sketch.parent.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(sketch)
    return Tree(root, {"num_train": 2}, album.landmarks)


def dvg_list(root: Path) -> Tree:
    """One list, sorted by nothing, with CRLF; beside it a picture that it does not name."""
    album, lines = _flat_album(root)
    write_lines(
        root / "train_list.txt", [f"{path} {label} {int(domain == 'vis')}" for path, label, domain in lines], "\r\n"
    )
    return Tree(root, {}, album.landmarks)


def dvg_face_list(root: Path) -> Tree:
    """Two lists, of which an option names one."""
    album, lines = _flat_album(root)
    write_lines(root / "test_list.txt", [f"{path} {label}" for path, label, _ in lines])
    write_lines(root / "other.txt", [f"{path} {label}" for path, label, _ in lines[:1]])
    return Tree(root, {"list": "test_list.txt"}, album.landmarks)


def _flat_album(root: Path) -> tuple[Album, list[tuple[str, int, str]]]:
    album, lines = Album(root), []
    for person in range(NUM_PEOPLE):
        for shot in range(2):
            for domain in ("nir", "vis"):
                folder = domain.upper()
                path = f"{folder}/s2_{folder}_1000{person}_00{shot}.jpg"
                album.add(path, person, shot, domain)
                lines.append((path, 7 * person, domain))
    return album, sorted(lines, key=lambda line: line[0][::-1])


TREES: dict[str, Callable[[Path], Tree]] = {
    "casia_nir_vis": casia_nir_vis,
    "oulu_casia": oulu_casia,
    "buaa_vis_nir": buaa_vis_nir,
    "lamp_hq": lamp_hq,
    "whu": whu,
    "tufts": tufts,
    "dvg_list": dvg_list,
    "dvg_face_list": dvg_face_list,
}
