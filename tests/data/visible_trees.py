"""Small drawn copies of the visible-light data sets and of the generic layouts, names and list formats included."""

from collections.abc import Callable, Iterable
from itertools import combinations
from pathlib import Path

import numpy as np

from facebridge import crops, images
from facebridge.data import face_list, helen_parts
from facebridge.data.face_list import FaceList
from tests import drawn
from tests.data.tree import Tree

NAMES = ("Ann_Drawn", "Bob_Drawn", "Cid_Drawn", "Dee_Drawn")
PEOPLE, SHOTS = 4, 4
Placed = dict[str, tuple[int, int]]
"""picture's path -> person and shot"""


def lfw(folder: Path) -> Tree:
    placed = {f"{name}/{name}_{shot + 1:04}.jpg": (person, shot) for person, name, shot in _each(NAMES)}
    landmarks = _draw(folder / "lfw-deepfunneled", placed)
    ann, bob, cid, dee = NAMES
    _write(folder / "pairs.txt", ["2\t2", *_view2_fold(ann, bob), *_view2_fold(cid, dee)])
    for name, one, other in (("Train", ann, bob), ("Test", cid, dee)):
        _write(folder / f"pairsDev{name}.txt", ["10", *_view1(one, other)])
        _write(folder / f"peopleDev{name}.txt", ["2", f"{one}\t4", f"{other}\t4"])
    return Tree(folder, landmarks=landmarks)


def cfp(folder: Path) -> Tree:
    placed = {}
    for person, number, shot in _each(("001", "002", "003", "004")):
        part = f"frontal/{shot + 1:02}" if shot < 3 else "profile/01"
        placed[f"Data/Images/{number}/{part}.jpg"] = (person, shot)
        points = drawn.shots().sixty_eight[person, shot, :30]
        _write(folder / f"Data/Fiducials/{number}/{part}.txt", [f"{x:.3f},{y:.3f}" for x, y in points])
    for kind, part in (("F", "frontal"), ("P", "profile")):
        paths = [path for path in placed if part in path]
        _write(folder / f"Protocol/Pair_list_{kind}.txt", [f"{row} ../{path}" for row, path in enumerate(paths, 1)])
    splits = {
        "FF/01/same": "1,2 4,5", "FF/01/diff": "1,4 5,2", "FF/02/same": "7,9 10,11", "FF/02/diff": "7,10 8,11",
        "FP/01/same": "1,1 5,2", "FP/01/diff": "1,2 4,1", "FP/02/same": "8,3 12,4", "FP/02/diff": "9,4 10,3",
    }  # fmt: skip
    for name, pairs in splits.items():
        _write(folder / f"Protocol/Split/{name}.txt", pairs.split())
    return Tree(folder, landmarks=_draw(folder, placed))


def celeba(folder: Path) -> Tree:
    placed = {f"img_align_celeba/{4 * person + shot + 1:06}.jpg": (person, shot) for person, _, shot in _each(NAMES)}
    landmarks = _draw(folder, placed)
    files = {path.rpartition("/")[2]: path for path in placed}
    header = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"
    points = [f"{file}  {'  '.join(f'{value:.0f}' for value in landmarks[files[file]].ravel())}" for file in files]
    _write(folder / "list_landmarks_align_celeba.txt", [str(len(files)), header, *points])
    _write(folder / "identity_CelebA.txt", [f"{file} {2880 + placed[path][0]}" for file, path in files.items()])
    _write(
        folder / "list_eval_partition.txt", [f"{file} {(0, 1, 2, 2)[placed[path][0]]}" for file, path in files.items()]
    )
    return Tree(folder, landmarks=landmarks)


def celeba_mask_hq(folder: Path) -> Tree:
    placed = {f"CelebA-HQ-img/{4 * person + shot}.jpg": (person, shot) for person, _, shot in _each(NAMES)}
    maps = np.zeros((48, 48, 3), np.uint8)
    maps[10:30, 12:36] = 255
    for part in ("skin", "nose"):
        path = folder / "CelebAMask-HQ-mask-anno" / "0" / f"00003_{part}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        images.write(path, maps)
    _write(folder / "train_fileList.txt", [f"{number}.jpg" for number in range(12)])
    _write(folder / "test_fileList.txt", [f"{number}.jpg" for number in range(12, 16)])
    return Tree(folder, landmarks=_draw(folder, placed))


def helen(folder: Path) -> Tree:
    placed = {}
    for person, name, shot in _each(NAMES):
        placed[f"{'test' if person == 3 else f'train_{person + 1}'}/{name}_{shot}.jpg"] = (person, shot)
    landmarks = _draw(folder, placed)
    header = "name\tannotations(194-landmarks)"
    for list_name, is_test in (("list_annos_trn.txt", False), ("list_annos_tst.txt", True)):
        listed = [path for path in placed if path.startswith("test/") == is_test]
        rows = [path + "\t" + "".join(f"{v:.0f}\t" for v in helen_points(landmarks[path]).ravel()) for path in listed]
        _write(folder / list_name, [header, *rows])
    return Tree(folder, landmarks=landmarks)


def multi_pie(folder: Path) -> Tree:
    shots = ("01_01_051_07", "01_01_041_06", "02_01_051_07", "02_01_190_06")
    placed = {
        f"session{shots[shot][:2]}/{number}/{number}_{shots[shot]}_cropped.png": (person, shot)
        for person, number, shot in _each(("001", "002", "003", "004"))
    }
    landmarks = _draw(folder, placed)
    for path, points in landmarks.items():
        name = path.rpartition("/")[2].removesuffix("_cropped.png")[:-3]
        _write((folder / path).with_name(f"{name}_trans.5pt"), [f"{x + 1:.2f} {y + 1:.2f}" for x, y in points])
    return Tree(folder, {"setting1_train": 2, "setting2_train": 2}, landmarks)


def three_hundred_w(folder: Path) -> Tree:
    parts = ("afw", "helen/trainset", "helen/testset", "lfpw/testset")
    placed = {
        f"{part if shot else 'ibug'}/image_{person}{shot}.jpg": (person, shot) for person, part, shot in _each(parts)
    }
    landmarks = _draw(folder, placed)
    for path, (person, shot) in placed.items():
        points = drawn.shots().sixty_eight[person, shot] + 1
        rows = [f"{x:.6f} {y:.6f}" for x, y in points]
        _write((folder / path).with_suffix(".pts"), ["version: 1", "n_points:  68", "{", *rows, "}"])
    return Tree(folder, landmarks=landmarks)


def unpaired_folders(folder: Path) -> Tree:
    split = ("train", "train", "train", "test")
    visible = {f"{split[shot]}B/{name}_{shot}.png": (person, shot) for person, name, shot in _each(NAMES)}
    infrared = {f"{split[shot]}A/{3 - person}{shot}.png": (person, shot) for person, _, shot in _each(NAMES)}
    landmarks = _draw(folder, visible) | _draw(folder, infrared, "nir")
    return Tree(folder, {"source": "nir", "target": "vis"}, landmarks)


def side_by_side(folder: Path) -> Tree:
    crop, shots = crops.crop("arcface"), drawn.shots()
    for person, name, shot in _each(NAMES):
        pictures = (shots.vis[person][shot], shots.nir[person][shot])
        halves = [crops.align(picture, shots.five[person, shot], crop) for picture in pictures]
        path = folder / ("test" if shot == 3 else "train") / f"{name}_{shot}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        images.write(path, np.hstack(halves))
    return Tree(folder, {"crop": "arcface"})


def identity_folder(folder: Path) -> Tree:
    return Tree(
        folder, landmarks=_draw(folder, {f"{name}/{shot}.jpg": (person, shot) for person, name, shot in _each(NAMES)})
    )


def csv_list(folder: Path) -> Tree:
    placed = {f"pictures/{name}{shot}.png": (person, shot) for person, name, shot in _each(NAMES)}
    landmarks = _draw(folder, placed)
    identities = [NAMES[person] for person, _ in placed.values()]
    columns = {"path": list(placed), "identity": identities, "domain": ["vis"] * len(placed)}
    face_list.write(FaceList(folder, columns), folder / "own.csv")
    return Tree(folder / "own.csv", landmarks=landmarks)


TREES: dict[str, Callable[[Path], Tree]] = {
    "lfw": lfw,
    "cfp": cfp,
    "celeba": celeba,
    "celeba_mask_hq": celeba_mask_hq,
    "helen": helen,
    "multi_pie": multi_pie,
    "three_hundred_w": three_hundred_w,
    "unpaired_folders": unpaired_folders,
    "side_by_side": side_by_side,
    "identity_folder": identity_folder,
    "csv_list": csv_list,
}


def helen_points(five: np.ndarray) -> np.ndarray:
    """194 points in Helen's order on simple outlines around five points: (194, 2)."""
    right, left, nose, mouth_right, mouth_left = np.asarray(five, np.float64)
    eyes, mouth = (right + left) / 2, (mouth_right + mouth_left) / 2
    across, half = (left - right) / 2, (mouth_left - mouth_right) / 2
    down = np.array([-across[1], across[0]])
    base = eyes + (nose - eyes) / helen_parts.NOSE_TIP

    def ellipse(center, wide, high, start_deg, stop_deg, count):
        turn = np.radians(np.linspace(start_deg, stop_deg, count))[:, None]
        return center + np.cos(turn) * wide + np.sin(turn) * high

    wing = across * 0.4
    nose_outline = np.vstack(
        [np.linspace(eyes - wing / 3, base - wing, 8), base[None], np.linspace(base + wing, eyes + wing / 3, 8)]
    )
    lips = [
        ellipse(mouth, half, down * 0.3, 180, 360, 14),
        ellipse(mouth, half, down * 0.35, 10, 170, 14),
        ellipse(mouth, half * 0.9, down * 0.05, 180, 528, 28),
    ]
    outlines = [ellipse(eye, across * 0.3, down * 0.15, 0, 342, 20) for eye in (left, right)]
    brows = [ellipse(eye - down * 0.6, across * 0.5, down * 0.12, 0, 342, 20) for eye in (left, right)]
    return np.vstack(
        [ellipse(mouth - down * 0.8, across * 2, down * 2, 180, 0, 41), nose_outline, *lips, *outlines, *brows]
    )


def _each(names: Iterable[str]) -> list[tuple[int, str, int]]:
    return [(person, name, shot) for person, name in enumerate(names) for shot in range(SHOTS)]


def _draw(root: Path, placed: Placed, domain: str = "vis") -> dict[str, np.ndarray]:
    """Write the pictures; where the five points are."""
    shots = drawn.shots()
    for path, (person, shot) in placed.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        images.write(root / path, getattr(shots, domain)[person][shot])
    return {path: shots.five[person, shot] for path, (person, shot) in placed.items()}


def _view2_fold(one: str, other: str) -> list[str]:
    return [f"{one}\t1\t2", f"{other}\t3\t4", f"{one}\t1\t{other}\t2", f"{one}\t3\t{other}\t4"]


def _view1(one: str, other: str) -> list[str]:
    """Ten genuine and ten impostor pairs."""
    genuine = [f"{name}\t{i}\t{j}" for name in (one, other) for i, j in combinations(range(1, 5), 2)]
    impostor = [f"{one}\t{i}\t{other}\t{j}" for i in range(1, 5) for j in range(1, 5)]
    return genuine[:10] + impostor[:10]


def _write(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
