"""What score normalisation does, and where a threshold stops to hold: drawn people and the shipped judge.

    python benchmarks/score_normalisation.py FOLDER
    FACEBRIDGE_REAL_DATA=REAL python benchmarks/score_normalisation.py FOLDER

FOLDER takes the drawn pictures, about 50 MB. Differences and their intervals are over the same people. With REAL (its
data/lfw and weights/) also: drawn people with points found by YuNet, and a threshold from LFW's development training
people used on its development test people.
"""

import os
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from facebridge import crops, face_match, images
from facebridge.data import face_list, finding, reading, synthetic
from facebridge.data.face_list import FaceList
from facebridge.embedding import JudgeSettings
from facebridge.evaluation import bootstrap, matching, protocol
from facebridge.evaluation.calibration import Calibration, calibrate
from facebridge.evaluation.normalisation import ScoreNormalisation
from facebridge.evaluation.verify import verification
from facebridge.evaluation.ways import AS_IT_IS, Judge
from facebridge.hallucination import enlarge, reduce
from facebridge.landmarks import DetectorSettings

TEST_PEOPLE, COHORT_PEOPLE, SHOTS = 200, 400, 4
NUM_RESAMPLES = 200
RATES = (1e-2, 1e-3)
CROP = crops.crop("sphereface")
CONDITIONS = {"vis": ("vis", None), "nir": ("nir", None), "14x12": ("vis", (14, 12)), "7x6": ("vis", (7, 6))}


def main(folder: Path) -> None:
    """Print the tables of docs/recognisers/matching.md."""
    torch.set_num_threads(1)
    judge = JudgeSettings("embedded_judge", mirror="sum").build()
    test = drawn(folder / "test", TEST_PEOPLE, SHOTS, 5000)
    cohort = drawn(folder / "cohort", COHORT_PEOPLE, 1, 9000)
    cohorts = {camera: embedded(judge, ending(cohort, f"_{camera}.png")) for camera in ("vis", "nir")}
    print("| probes | cohort | kind | top | TAR @ 1 % | change | TAR @ 0.1 % | change |\n" + "|---" * 8 + "|")
    found: Calibration | None = None
    rows = ["| probes | false accept rate at the threshold of vis | true accept rate |", "|---|---|---|"]
    for name, (camera, size) in CONDITIONS.items():
        tested = Tested(judge, ending(test, "/0000_vis.png"), probes_of(test, camera), size)
        print(row(name, "", "cosine", "", accepted(tested.scores, tested.genuine), []), flush=True)
        for cohort_camera in dict.fromkeys(("vis", camera)):
            for kind, top in (("z", None), ("z", 50), ("t", None), ("s", None), ("s", 50)):
                made = ScoreNormalisation(kind, cohorts[cohort_camera], top).apply(*tested.normalisable)
                told = (name, f"{COHORT_PEOPLE} {cohort_camera}", kind, str(top or "all"))
                print(row(*told, accepted(made, tested.genuine), changes(tested, made)), flush=True)
        found = found or calibrate(tested.scores, tested.genuine, tested.ids, tested.gallery_ids, RATES[1])
        rows.append(carried(name, tested, found))
    if real := os.environ.get("FACEBRIDGE_REAL_DATA"):
        detector = DetectorSettings("yunet", (Path(real) / "weights" / "yunet_n_320.onnx",))
        sides = (ending(test, "/0000_vis.png"), probes_of(test, "vis"))
        searched = [finding.with_landmarks(side.with_landmarks(None), detector).faces for side in sides]
        assert found is not None
        rows.append(carried("vis, points by YuNet", Tested(judge, *searched, None), found))
    print("", *rows, sep="\n", flush=True)
    if real:
        on_photographs(Path(real))


class Tested:
    """Probes against a gallery: scores, and who is who."""

    def __init__(self, judge: Judge, gallery: FaceList, probe: FaceList, size: tuple[int, int] | None) -> None:
        made = embedded(judge, probe, size), embedded(judge, gallery)
        self.scores = matching.scores(*made)
        self.normalisable = (self.scores, *made)
        self.ids, self.gallery_ids = probe.column("identity").tolist(), gallery.column("identity").tolist()
        self.genuine = matching.genuine_pairs(self.ids, self.gallery_ids)
        self.first, self.second = bootstrap.of_pairs(self.scores.shape, self.ids, self.gallery_ids)


def carried(name: str, tested: Tested, found: Calibration) -> str:
    """A row: what a threshold lets through on these probes."""
    cells = []
    for kind in (~tested.genuine.ravel(), tested.genuine.ravel()):
        pairs = tested.scores.ravel()[kind], tested.first[kind], tested.second[kind]
        cells += bootstrap.accept_rate_intervals(*pairs, [found.threshold.value])
    return "| " + " | ".join([name, *(f"{cell.value:.6f} [{cell.low:.6f}, {cell.high:.6f}]" for cell in cells)]) + " |"


def on_photographs(real: Path) -> None:
    """A threshold of LFW's development training people, on its development test people."""
    judge = JudgeSettings("mobile_facenet", real / "weights" / "mobilefacenet_casia_112x96.ckpt", (), "concatenate")
    known = face_list.read_landmarks(real / "data" / "lfw" / "landmarks5.csv")
    pairs = []
    for listed in ("pairsDevTrain.txt", "pairsDevTest.txt"):
        names = protocol.read_pairs(real / "data" / "lfw" / listed).pictures()
        people = np.array([name.split("/")[0] for name in names])
        columns = {"path": names, "identity": people.tolist(), "domain": ["vis"] * len(names)}
        faces = FaceList(real / "data" / "lfw" / "lfw-deepfunneled", columns, [known[name] for name in names])
        made = embedded(judge.build(), faces)
        one, other = np.triu_indices(len(made), 1)
        scores = matching.scores(made, made)[one, other]
        pairs.append((scores, people[one] == people[other], people[one], people[other]))
    print("\n| asked for | FAR, training people | FAR, test people | TAR, training people | TAR, test people |")
    print("|---|---|---|---|---|")
    for far in (*RATES, 1e-4):
        found = calibrate(*pairs[0], far)
        scores, genuine, first, second = pairs[1]
        cells = []
        for own, kind in ((found.false_accept_rate, ~genuine), (found.true_accept_rate, genuine)):
            chosen = scores[kind], first[kind], second[kind]
            cells += [own, *bootstrap.accept_rate_intervals(*chosen, [found.threshold.value])]
        told = (f"{cell.value:.6f} [{cell.low:.6f}, {cell.high:.6f}]" for cell in cells)
        print(f"| {far:g} | {' | '.join(told)} |", flush=True)


def drawn(folder: Path, people: int, shots: int, first: int) -> FaceList:
    listed = folder / "faces.csv"
    if not listed.is_file():
        synthetic.render_to(folder, identities=people, shots=shots, domains=("vis", "nir"), first_identity=first)
    return face_list.read(listed)


def ending(faces: FaceList, end: str) -> FaceList:
    return faces.take([path.endswith(end) for path in faces.column("path").tolist()])


def probes_of(faces: FaceList, camera: str) -> FaceList:
    """All but the first shot of each person."""
    found = ending(faces, f"_{camera}.png")
    return found.take(["/0000_" not in path for path in found.column("path").tolist()])


def embedded(judge: Judge, faces: FaceList, size: tuple[int, int] | None = None) -> NDArray[np.float32]:
    if size is None:
        return face_match.embed(judge, faces, CROP, "umeyama").embeddings
    found = []
    for start in range(0, len(faces), 32):
        rows = range(start, min(start + 32, len(faces)))
        whole = images.to_faces(np.stack([reading.aligned(faces, row, CROP) for row in rows]))
        found.append(judge.embed(AS_IT_IS, enlarge(reduce(whole, *size), CROP, "bicubic"), CROP))
    return np.concatenate(found)


def accepted(scores: NDArray[np.float32], genuine: NDArray[np.bool_]) -> list[float]:
    return [point.true_accept_rate or 0.0 for point in verification(scores, genuine, RATES).points]


def changes(tested: Tested, made: NDArray[np.float32]) -> list[bootstrap.Interval]:
    """How the true accept rates change, over the same resamples of people."""
    flat = tested.genuine.ravel()
    orders = [np.argsort(-scores.ravel(), kind="stable") for scores in (tested.scores, made)]

    def rates(weights: bootstrap.Weights, order: NDArray[np.int64]) -> NDArray[np.float64]:
        impostors = np.cumsum(np.where(flat[order, None], 0, weights[order]), axis=0, dtype=np.float64)
        mates = np.cumsum(np.where(flat[order, None], weights[order], 0), axis=0, dtype=np.float64)
        found = []
        for rate in RATES:
            last = (impostors <= rate * impostors[-1]).sum(0, keepdims=True) - 1
            found.append((np.take_along_axis(mates, last, 0) / mates[-1])[0])
        return np.stack(found)

    def statistic(weights: bootstrap.Weights) -> NDArray[np.float64]:
        return rates(weights, orders[1]) - rates(weights, orders[0])

    return bootstrap.interval(statistic, tested.first, tested.second, NUM_RESAMPLES)


def row(name: str, cohort: str, kind: str, top: str, rates: list[float], changed: list[bootstrap.Interval]) -> str:
    told = [f"{100 * each.value:+.1f} [{100 * each.low:+.1f}, {100 * each.high:+.1f}]" for each in changed]
    cells = [f"{100 * rate:.1f} | {change}" for rate, change in zip(rates, told or [""] * len(rates), strict=True)]
    return f"| {name} | {cohort} | {kind} | {top} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
