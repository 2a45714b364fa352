"""CelebAMask-HQ: 30,000 faces of 1024x1024 pixels with the outlines of their parts.

    ROOT/
      CelebA-HQ-img/0.jpg ... 29999.jpg
      CelebAMask-HQ-mask-anno/0/00000_skin.png      fifteen folders of 2,000 faces; or all in one folder, merged/
      CelebA-HQ-to-CelebA-mapping.txt               header, then `0 119613 119614.jpg`
      train_fileList.txt test_fileList.txt          of ports of FSRNet: `0.jpg` on each line; they decide the split
      identity_CelebA.txt list_eval_partition.txt   CelebA's, if put here

Published: layout, parts and mapping (Lee et al. 2020), and that CelebA's partition is to be used. The column `masks`
is the path of a face's maps without their parts: CelebAMask-HQ-mask-anno/0/00000 -> ..._skin.png; `parsing_maps` reads
them, `parsing` makes one map of exclusive parts of them. Without CelebA's lists there are no identities. Ours: the
protocols (see celeba).
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facebridge import images
from facebridge.data import celeba, data_set, list_files, own_protocols, point_lists
from facebridge.data.data_set import Count, Imported, Protocol, require
from facebridge.data.face_list import FaceList
from facebridge.parts import Part

TITLE = "CelebAMask-HQ"
PARTS = ("skin", "l_brow", "r_brow", "l_eye", "r_eye", "l_ear", "r_ear", "nose", "mouth", "u_lip", "l_lip")
"""The parts that FSRNet's ports use, in their order; the set has eight more (hair, neck, cloth ...)."""
PICTURES, MASKS, MAPPING = "CelebA-HQ-img", "CelebAMask-HQ-mask-anno", "CelebA-HQ-to-CelebA-mapping.txt"
FILE_LISTS = {"train": "train_fileList.txt", "test": "test_fileList.txt"}
_PER_FOLDER = 2_000


def read(root: Path) -> Imported:
    """CelebAMask-HQ's pictures, with split and identities as far as the lists are there.

    Raises:
        WrongRoot: if there is no folder CelebA-HQ-img with numbered pictures.
        ValueError: if a list cannot be read.
    """
    layout = f"a folder {PICTURES} with 0.jpg, 1.jpg ..."
    require(root, TITLE, layout, (root / PICTURES).is_dir())
    direct = [path for path in data_set.pictures(root, PICTURES) if path.count("/") == 1]
    numbers = {path: stem for path in direct if (stem := Path(path).stem).isdecimal()}
    require(root, TITLE, layout, bool(numbers))
    paths = sorted(numbers, key=lambda path: int(numbers[path]))
    files = [path.rpartition("/")[2] for path in paths]
    original = _mapping(root / MAPPING)
    identity_of, partition_of = (_celeba(root, stem) for stem in (celeba.IDENTITIES, celeba.PARTITIONS))
    split_of, notes = _splits(root, files, original, partition_of)
    known = all(original.get(numbers[path], "") in identity_of for path in paths)
    columns = {
        "path": paths,
        "identity": [identity_of[original[numbers[path]]] if known else numbers[path] for path in paths],
        "domain": ["vis"] * len(paths),
        "split": [split_of.get(file, "") for file in files],
        "masks": [_masks(root, int(numbers[path])) for path in paths],
    }
    faces = FaceList(root, columns)
    protocols, found = celeba.recognition_protocols(faces, known)
    if known:
        tested = faces.where(split="test")
        pairs, more = own_protocols.fidelity_of(fidelity=tested if len(tested) else faces)
        protocols, found = protocols | pairs, [*found, *more]
    return Imported(faces, protocols, notes=[*notes, *found])


def counts(faces: FaceList, protocols: Mapping[str, Protocol]) -> list[Count]:
    """The published number of pictures."""
    return [Count("pictures", 30_000, len(faces))]


def parsing_maps(root: Path, masks: str) -> NDArray[np.bool_]:
    """Where each of `PARTS` is: (11, H, W); a part without a file is nowhere.

    masks: a cell of the column of this name.
    ValueError: if the face has no map at all, or the cell leads out of root. BadPicture: if one cannot be read.
    """
    masks = list_files.relative_path(masks, allow_outside=False) if masks else ""
    files = [root / f"{masks}_{part}.png" for part in PARTS]
    maps = {row: images.read(file)[..., 0] > 127 for row, file in enumerate(files) if masks and file.is_file()}
    if not maps:
        raise ValueError(f"{root}: no parsing maps {masks or MASKS}_PART.png")
    shape = next(iter(maps.values())).shape
    return np.stack([maps.get(row, np.zeros(shape, bool)) for row in range(len(PARTS))])


def parsing(root: Path, masks: str) -> NDArray[np.uint8]:
    """Which part each pixel shows: (H, W), a `Part`; ears and neck are skin, all else that is no part is background.

    Where maps overlap the later of these counts: skin, neck, ears, nose, eyes, brows, inner mouth, lips, hair. Hair and
    neck are left out if their maps are not there. Which side is meant is told by where a part lies: the person's right
    eye is left of the middle in these upright faces.

    masks, errors: as `parsing_maps`.
    """
    maps = dict(zip(PARTS, parsing_maps(root, masks), strict=True))
    for part in ("hair", "neck"):
        file = root / f"{masks}_{part}.png"
        maps[part] = images.read(file)[..., 0] > 127 if file.is_file() else np.zeros_like(maps["skin"])
    middle = _middle(maps)
    found = np.zeros(maps["skin"].shape, np.uint8)
    for part in _PAINTED:
        found[maps[part]] = _class_of(part, maps[part], middle)
    return found


_PAINTED = (
    *("skin", "neck", "l_ear", "r_ear", "nose", "l_eye", "r_eye", "l_brow", "r_brow", "mouth", "u_lip", "l_lip"),
    "hair",
)
_CLASSES = {"nose": Part.NOSE, "mouth": Part.INNER_MOUTH, "u_lip": Part.UPPER_LIP, "l_lip": Part.LOWER_LIP}
_PAIRS = {"eye": (Part.RIGHT_EYE, Part.LEFT_EYE), "brow": (Part.RIGHT_BROW, Part.LEFT_BROW)}


def _class_of(part: str, where: NDArray[np.bool_], middle_px: float) -> Part:
    pair = _PAIRS.get(part.partition("_")[2])
    if pair is not None:
        return pair[int(where.any() and _mean_column(where) > middle_px)]
    return Part.HAIR if part == "hair" else _CLASSES.get(part, Part.SKIN)


def _middle(maps: Mapping[str, NDArray[np.bool_]]) -> float:
    """The column between the eyes; where one of them is hidden that of the nose, or of the whole face."""
    eyes = [maps["l_eye"], maps["r_eye"]]
    if all(eye.any() for eye in eyes):
        return (_mean_column(eyes[0]) + _mean_column(eyes[1])) / 2
    there = [maps[part] for part in ("nose", "skin") if maps[part].any()]
    return _mean_column(there[0]) if there else maps["skin"].shape[1] / 2


def _mean_column(where: NDArray[np.bool_]) -> float:
    return float(np.nonzero(where)[1].mean())


def _masks(root: Path, number: int) -> str:
    """The face's maps without their parts; empty where there are none."""
    folders = (f"{MASKS}/merged", f"{MASKS}/{number // _PER_FOLDER}", MASKS)
    return next((f"{folder}/{number:05d}" for folder in folders if (root / folder).is_dir()), "")


def _mapping(path: Path) -> dict[str, str]:
    """Number of a face -> its picture in CelebA."""
    if not path.is_file():
        return {}
    rows = [line.split() for _, line in data_set.lines(path)]
    return {row[0]: row[2] for row in rows if len(row) == 3 and row[0].isdecimal()}


def _celeba(root: Path, stem: str) -> dict[str, str]:
    path = celeba.find_list(root, stem)
    return {} if path is None else point_lists.read_words(path)


def _splits(
    root: Path, files: list[str], original: Mapping[str, str], partition_of: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """File -> split by the file lists, or by CelebA's partition, and notes."""
    lists = {split: root / name for split, name in FILE_LISTS.items() if (root / name).is_file()}
    if lists:
        listed = {line.rpartition("/")[2]: split for split, path in lists.items() for _, line in data_set.lines(path)}
        names = " or ".join(path.name for path in lists.values())
        return listed, data_set.absent_note(names, sorted(listed.keys() - set(files)))
    if original and partition_of:
        partitions = {file: partition_of.get(original.get(Path(file).stem, ""), "") for file in files}
        return {file: celeba.PARTITION.get(word, "") for file, word in partitions.items()}, []
    names = ", ".join(FILE_LISTS.values())
    return {}, [f"no split: neither {names} nor {MAPPING} with CelebA's {celeba.PARTITIONS}.txt is there"]
