"""Pix2Pix's pictures: two pixel-aligned ones side by side in one file (also FFE-CycleGAN's: visible left, NIR right).

    ROOT/
      train/  test/  val/       any of them; each file is one pair, its width even

Published: the folders (Isola et al. 2017). Each file becomes two rows, its halves, told apart by the column `region`
and joined by the column `pair`; points, where anybody adds them, refer to the whole picture. Ours: who is who (option
person), and the protocol "paired".
"""

import re
from collections.abc import Mapping
from pathlib import Path

from facebridge import crops, images
from facebridge.data import data_set
from facebridge.data.data_set import Count, Imported, Protocol, require
from facebridge.data.face_list import FaceList
from facebridge.images import BadPicture

TITLE = "pictures side by side (Pix2Pix's A|B)"
SPLITS = ("train", "val", "test")
PAIRED_NOTE = (
    "protocol paired is FaceBridge's own: of the test pairs (or else those of val), the {gallery} half is gallery and "
    "the {probe} half is probe"
)


def read(root: Path, *, left: str = "vis", right: str = "nir", crop: str = "", person: str = "") -> Imported:
    """Both halves of every picture; a picture of odd width or that cannot be read is left out and noted.

    Args:
        root: the folder that holds train, test or val.
        left: the domain of the left halves, which are the gallery of "paired".
        right: the domain of the right halves.
        crop: how the halves are aligned, if they are: one of `facebridge.crops.names()`.
        person: a regular expression that is searched in the file's name without its ending; its first group is the
            person, such as `^([0-9]+)_`. By default each pair is a person of its own.

    Raises:
        WrongRoot: if there is none of the folders, or no picture that can be used.
        ValueError: if `person` is no expression with a group, or does not match a name; or the crop is unknown.
    """
    expected = "folders train, test or val with pictures of two halves"
    require(root, TITLE, expected)
    paths = [path for split in SPLITS for path in data_set.pictures(root, split)]
    require(root, TITLE, expected, bool(paths))
    sizes, notes = _sizes(root, paths)
    require(root, TITLE, f"{expected} of even width; {'; '.join(notes)}", bool(sizes))
    rows = [(path, half, size) for path, size in sizes.items() for half in (0, 1)]
    columns = {
        "path": [path for path, _, _ in rows],
        "identity": [_person(path, person) for path, _, _ in rows],
        "domain": [(left, right)[half] for _, half, _ in rows],
        "split": [path.split("/", 1)[0] for path, _, _ in rows],
        "pair": [Path(path).with_suffix("").as_posix() for path, _, _ in rows],
        "region": [f"{half * width // 2} 0 {width // 2} {height}" for _, half, (height, width) in rows],
    }
    columns |= {"crop": [crops.crop(crop).name] * len(rows)} if crop else {}
    faces = FaceList(root, columns)
    tested = faces.where(split="test")
    tested = tested if len(tested) else faces.where(split="val")
    protocols: dict[str, Protocol] = {}
    if len(set(tested.column("identity").tolist())) > 1:
        protocols["paired"] = tested.with_column("split", ["gallery", "probe"] * (len(tested) // 2))
        notes.append(PAIRED_NOTE.format(gallery=left, probe=right))
    return Imported(faces, protocols, notes=notes)


def counts(faces: FaceList, protocols: Mapping[str, Protocol]) -> list[Count]:
    """Nothing is known of anybody's own pictures."""
    return []


def _sizes(root: Path, paths: list[str]) -> tuple[dict[str, tuple[int, int]], list[str]]:
    """Height and width of each picture of two halves, and notes of the others."""
    sizes, bad = {}, []
    for path, picture in zip(paths, images.read_all([root / path for path in paths]), strict=True):
        if isinstance(picture, BadPicture):
            bad.append(f"{path} ({picture.cause})")
        elif picture.shape[1] % 2:
            bad.append(f"{path} ({picture.shape[1]} px wide)")
        else:
            sizes[path] = picture.shape[:2]
    more = ", ..." if len(bad) > data_set.NUM_NAMED else ""
    shown = ", ".join(bad[: data_set.NUM_NAMED]) + more
    return sizes, [
        f"left out, since an even width is needed: {data_set.counted(len(bad), 'picture')}: {shown}"
    ] if bad else []


def _person(path: str, pattern: str) -> str:
    if not pattern:
        return Path(path).with_suffix("").as_posix()
    try:
        found = re.search(pattern, Path(path).stem)
        name = found.group(1) if found else ""
    except (re.error, IndexError) as error:
        raise ValueError(f"person is {pattern!r}; expected a regular expression with a group ({error})") from error
    if not name:
        raise ValueError(f"{path}: person {pattern!r} does not match {Path(path).stem!r}")
    return name
