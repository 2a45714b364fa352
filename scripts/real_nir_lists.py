"""The face lists of scripts/measure_real_nir.py: real near-infrared, UTKFace, LFW and drawn people, in one crop.

Everything is aligned once into the folder of the measurement, and found again there.
"""

from pathlib import Path

import numpy as np

from facebridge.data import aligning, face_list, synthetic
from facebridge.data.face_list import FaceList
from facebridge.data.simulated_folder import simulate_nir
from facebridge.landmarks import DetectorSettings

FOLDS = {"odd": ("1", "3", "5", "7", "9"), "even": ("2", "4", "6", "8", "10")}
"""Who is judged in each fold; the others train."""
REFERENCE = 113
"""Pictures of LFW, each of another person, that stand for visible light: as many as there are near-infrared ones."""
DRAWN_SHOTS, DRAWN_PX, SEED = 4, 256, 0


def training_list(data: Path, work: Path, crop: str, fold: str, num_visible: int, num_drawn: int) -> Path:
    """One list of two splits.

    train: real nir of the people whom the fold does not judge, and UTKFace in vis, for unpaired batches.
    paired: UTKFace once more with its simulated nir, and drawn people in both cameras, pixel by pixel.
    """
    path = work / f"train_{fold}_{crop}_{num_visible}_{num_drawn}.csv"
    if path.is_file():
        return path
    real, visible = face_list.read(near_infrared(data, work, crop)), utkface(data, work, crop, num_visible)
    both = face_list.read(simulate_nir(face_list.read(visible), work / f"simulated_{crop}_{num_visible}").faces)
    real = real.take([row.identity not in FOLDS[fold] for row in real])
    parts = [(real, "train"), (both.where(domain="vis"), "train"), (both, "paired")]
    if num_drawn:
        parts.append((face_list.read(drawn(work, crop, num_drawn)), "paired"))
    whole, *others = [uniform(faces, split, work) for faces, split in parts]
    for other in others:
        whole = face_list.joined(whole, other)
    face_list.write(whole, path)
    return path


def uniform(faces: FaceList, split: str, work: Path) -> FaceList:
    """The columns that all parts of a training list have, under one root."""
    empty = np.array([""] * len(faces))
    columns = {name: faces.column(name) for name in ("identity", "domain", "crop", "original")}
    columns |= {name: faces.column(name) if name in faces.column_names else empty for name in ("pair", "made")}
    paths = face_list.relocated(faces, work)
    return FaceList(work, {"path": paths, **columns, "split": [split] * len(faces)}, faces.landmarks)


def near_infrared(data: Path, work: Path, crop: str) -> Path:
    """The real near-infrared pictures, aligned; the number before the first dash of a name is the person."""
    folder = data / "data/nir_faces"
    points = face_list.read_landmarks(folder / "landmarks5.csv")
    names = sorted(points)
    columns = {"path": names, "identity": [name.split("-")[0] for name in names], "domain": ["nir"] * len(names)}
    faces = FaceList(folder, columns, np.stack([points[name] for name in names]))
    return aligning.align(faces, crop, work / f"nir_{crop}", workers=1).faces


def utkface(data: Path, work: Path, crop: str, number: int) -> Path:
    """Pictures of UTKFace, drawn at random and aligned by YuNet's points; each is a person of its own."""
    folder = data / "data/utkface"
    names = sorted(path.name for path in folder.glob("*.jpg"))
    drawn = np.random.default_rng(SEED).permutation(len(names))[:number]
    chosen = [names[index] for index in sorted(drawn)]
    faces = FaceList(folder, {"path": chosen, "identity": chosen, "domain": ["vis"] * len(chosen)})
    detector = DetectorSettings("yunet", (data / "weights/yunet_n_dynamic.onnx",))
    out = work / f"utkface_{crop}_{number}"
    return aligning.align(faces, crop, out, detector=detector, outside="mirror", workers=1).faces


def drawn(work: Path, crop: str, number: int) -> Path:
    """Drawn people in both cameras, aligned; no other page draws these."""
    folder = work / f"drawn_{number}"
    listed = folder / "faces.csv"
    if not listed.is_file():
        shots = {"shots": DRAWN_SHOTS, "size": DRAWN_PX, "domains": ("vis", "nir"), "seed": 91}
        synthetic.render_to(folder, identities=number, **shots)
    return aligning.align(face_list.read(listed), crop, work / f"drawn_{crop}_{number}", workers=1).faces


def lfw(data: Path, work: Path, crop: str) -> Path:
    """Visible light: the split reference, all different people, and as many of few people, others."""
    folder = data / "data/lfw/lfw-deepfunneled"
    points = face_list.read_landmarks(data / "data/lfw/landmarks5.csv")
    of_person: dict[str, list[str]] = {}
    for name in sorted(points):
        of_person.setdefault(name.split("/")[0], []).append(name)
    by_number = sorted(of_person, key=lambda person: (-len(of_person[person]), person))
    number = int(np.searchsorted(np.cumsum([len(of_person[person]) for person in by_number]), REFERENCE)) + 1
    often = by_number[:number]
    few = [name for person in often for name in of_person[person]][:REFERENCE]
    others = [person for person in sorted(of_person) if person not in often]
    people = np.random.default_rng(SEED).permutation(others)[:REFERENCE]
    names = [of_person[person][0] for person in people] + few
    columns = {"path": names, "identity": [name.split("/")[0] for name in names], "domain": ["vis"] * len(names)}
    splits = ["reference"] * REFERENCE + ["few people"] * REFERENCE
    faces = FaceList(folder, columns | {"split": splits}, np.stack([points[name] for name in names]))
    return aligning.align(faces, crop, work / f"lfw_{crop}", workers=1).faces
