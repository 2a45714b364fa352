"""How many faces each detector finds, how near its points come to known ones, and pictures a second.

python benchmarks/detection.py DATA WEIGHTS                # of LFW the first 1,000, of CFP 200 frontal and 200 profile
python benchmarks/detection.py DATA WEIGHTS --count 100
python benchmarks/detection.py DATA WEIGHTS --moved        # LFW turned in the plane, and cut at the left

DATA holds lfw/lfw-deepfunneled and lfw/landmarks5.csv, cfp/Data/Images, nir_faces; WEIGHTS holds
yunet_n_dynamic.onnx, mtcnn_pnet.pt, mtcnn_rnet.pt, mtcnn_onet.pt and pfld_68.onnx.
"""

import argparse
import os
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from facebridge import crops, images
from facebridge.data import face_list, finding
from facebridge.data.face_list import FaceList
from facebridge.landmarks import Choose, DetectorSettings, Points68, faces_in

MOVES = (0, 15, 30, 45, 60, 75, 90, 135, 180, 270)  # degrees
CUT_PX = 20
FAR_PX = 20  # a face whose points lie farther from the known ones is taken for another face


def main() -> None:
    """Print a table for each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--count", type=int, default=1000, help="pictures of LFW")
    parser.add_argument("--sample", type=int, default=200, help="pictures of CFP, of each pose")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--moved", action="store_true", help="turn and cut 100 pictures of LFW instead")
    options = parser.parse_args()
    torch.set_num_threads(1)
    detectors = {
        "yunet": DetectorSettings("yunet", (options.weights / "yunet_n_dynamic.onnx",)),
        "mtcnn": DetectorSettings("mtcnn", (options.weights,)),
    }
    lfw = options.data / "lfw" / "lfw-deepfunneled"
    lfw_points = options.data / "lfw" / "landmarks5.csv"
    if options.moved:
        move(detectors, lfw, face_list.read_landmarks(lfw_points))
        return
    near_infrared = options.data / "nir_faces"
    cfp = options.data / "cfp" / "Data" / "Images"
    sets = {
        "LFW": (listed(lfw, sorted(lfw.glob("*/*.jpg"))[: options.count]), lfw_points),
        "NIR": (listed(near_infrared, sorted(near_infrared.glob("*.jpg"))), near_infrared / "landmarks5.csv"),
        "CFP frontal": (listed(cfp, spread(cfp.glob("*/frontal/*.jpg"), options.sample)), None),
        "CFP profile": (listed(cfp, spread(cfp.glob("*/profile/*.jpg"), options.sample)), None),
    }
    print(
        "set          detector       choose    found        px apart  a coordinate  another  pictures/s  a CPU second"
    )
    for title, (faces, csv) in sets.items():
        known = face_list.read_landmarks(csv) if csv else {}
        for name, detector in detectors.items():
            ways: tuple[Choose, ...] = ("largest", "central") if known else ("largest",)
            for choose in ways:
                report(title, name, faces, known, detector, choose, options.workers)
        if known:
            model = Points68(options.weights / "pfld_68.onnx")
            report(title, "yunet + pfld", faces, known, detectors["yunet"], "central", options.workers, model)
    print(f"{options.workers} threads, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


def report(
    title: str,
    name: str,
    faces: FaceList,
    known: dict[str, np.ndarray],
    detector: DetectorSettings,
    choose: Choose,
    workers: int,
    points68: Points68 | None = None,
) -> None:
    """Search a set and print one line of the table."""
    start, start_cpu = time.perf_counter(), time.process_time()
    found = finding.with_landmarks(faces, detector, workers, choose=choose, points68=points68).faces
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    told = f"{title:12} {name:14} {choose:9} {len(found):4} of {len(faces):4}"
    if known:
        points = crops.five_points(found.landmarks) if points68 else found.landmarks
        away = points - np.array([known[path] for path in found.column("path").tolist()])
        apart = np.linalg.norm(away, axis=-1).mean(-1)
        other = (apart > FAR_PX).sum()
        told += f" {apart.mean():9.2f} {np.abs(away).mean():13.2f} {other:8}"
    else:
        told += 32 * " "
    print(f"{told} {len(faces) / seconds:11.0f} {len(faces) / cpu_seconds:13.0f}", flush=True)


def move(detectors: dict[str, DetectorSettings], root: Path, known: dict[str, np.ndarray]) -> None:
    """Print how many faces are found, and found rightly, in pictures that are turned, or cut at the left."""
    names = sorted(known)[:1000:10]
    print("moved by      detector       found  right  px apart")
    for name, settings in detectors.items():
        for turned in (False, True):
            detector = replace(settings, settings={"turned": turned}).build()
            for by in (*MOVES, f"cut {CUT_PX} px") if not turned else MOVES:
                apart = []
                for path in names:
                    picture, points = moved(images.read(root / path), known[path], by)
                    found = faces_in(picture, detector, "central")
                    apart += [np.linalg.norm(face.points - points, axis=-1).mean() for face in found]
                right = np.array([each for each in apart if each < FAR_PX])
                mean = right.mean() if len(right) else np.nan
                print(
                    f"{by!s:13} {name + ' turned' * turned:14} {len(apart):5}  {len(right):5} {mean:9.2f}",
                    flush=True,
                )


def moved(picture: np.ndarray, points: np.ndarray, by: int | str) -> tuple[np.ndarray, np.ndarray]:
    """A picture turned by so many degrees about its middle, or without its first columns; and its points."""
    if isinstance(by, str):
        return np.ascontiguousarray(picture[:, CUT_PX:]), points - [CUT_PX, 0]
    height, width = picture.shape[:2]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), by, 1.0)
    return cv2.warpAffine(picture, turn, (width, height)), points @ turn[:, :2].T + turn[:, 2]


def listed(root: Path, paths: list[Path]) -> FaceList:
    """Pictures as a face list."""
    names = [path.relative_to(root).as_posix() for path in paths]
    return FaceList(root, {"path": names, "identity": names, "domain": ["vis"] * len(names)})


def spread(paths: Iterable[Path], count: int) -> list[Path]:
    """About `count` pictures, evenly over all."""
    ordered = sorted(paths)
    return ordered[:: max(len(ordered) // count, 1)][:count]


if __name__ == "__main__":
    main()
