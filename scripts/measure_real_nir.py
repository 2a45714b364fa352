"""Near-infrared to visible light on real pictures: the tables of docs/benchmarks/real_nir.md.

    python scripts/measure_real_nir.py --work work/real_nir --simulation
    python scripts/measure_real_nir.py --work work/real_nir --recipe cyclegan --set training.steps=20000 --tag cyclegan
    python scripts/measure_real_nir.py --work work/real_nir --recipe cyclegan --stand-in --tag source

Ten people were photographed by an active near-infrared camera, and never in visible light. In each of two folds five
of them train without pairs, together with UTKFace in visible light and its simulated near-infrared pictures; the other
five are judged by a recogniser that no training has seen. What is finished stays in --work, so it can run in pieces.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import real_nir_lists
import torch
from numpy.typing import NDArray

from facebridge import allocator, crops, images, recipe, recognisers, runs, training
from facebridge.data import face_list, reading
from facebridge.data.face_list import FaceList
from facebridge.data.simulated_nir import simulated_nir
from facebridge.evaluation import bootstrap, matching
from facebridge.evaluation.fidelity import frechet_distance, identity_similarity
from facebridge.evaluation.identify import identification
from facebridge.hallucination import hallucinate
from facebridge.recogniser import Recogniser

BATCH, NUM_RESAMPLES = 8, 300
NORMAL_95 = 1.96
OWN_PICTURE = -2.0  # below every cosine: a picture is never found by itself
SHOWN = 4


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("FACEBRIDGE_REAL_DATA"))
    parser.add_argument("--work", type=Path, default=Path("work/real_nir"))
    parser.add_argument("--recipe", help="a shipped recipe, or a .toml file; its crop is the one of all pictures")
    parser.add_argument("--set", action="append", default=[], dest="settings", help="key=value over the recipe")
    parser.add_argument("--tag", default="run", help="names the runs and their cells")
    parser.add_argument("--folds", nargs="+", choices=real_nir_lists.FOLDS, default=list(real_nir_lists.FOLDS))
    parser.add_argument("--pairs", choices=("none", "half", "all"), default="half", help="of a batch")
    parser.add_argument("--utkface", type=int, default=2000, help="pictures in visible light that train")
    parser.add_argument("--drawn", type=int, default=0, help="drawn people among the pairs")
    parser.add_argument("--stand-in", action="store_true", help="train nothing: the pictures as they are")
    parser.add_argument("--simulation", action="store_true", help="judge the simulated near-infrared alone")
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("name the folder with data/ and weights/: --data, or FACEBRIDGE_REAL_DATA")
    if any(setting.startswith("data") for setting in arguments.settings):
        parser.error("the data are those of this page: choose among them by --pairs, --utkface, --drawn")
    torch.set_num_threads(1)
    allocator.keep_memory()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if arguments.simulation:
        print(simulation_table(arguments.data, arguments.work))
        return
    found = arguments.work / "judged" / f"{arguments.tag}.json"
    if not found.is_file():
        if arguments.recipe is None:
            parser.error("say what to train: --recipe")
        trained = {} if arguments.stand_in else {fold: train(fold, arguments) for fold in arguments.folds}
        crop = recipe.read(arguments.recipe, arguments.settings).crop
        figures = judge(trained, arguments.folds, crop, arguments.tag, arguments.data, arguments.work)
        found.parent.mkdir(exist_ok=True)
        runs.write_bytes(found, json.dumps(figures | runs.provenance(), indent=1).encode())
    print(table(json.loads(found.read_text("utf-8"))))


def train(fold: str, arguments: argparse.Namespace) -> Path:
    """The run of a fold, trained as far as it was not. Pairs alone show none of the ten people: both folds share it."""
    shared = arguments.pairs == "all"
    fold = next(iter(real_nir_lists.FOLDS)) if shared else fold
    plain = recipe.read(arguments.recipe, arguments.settings)
    number = (arguments.utkface, arguments.drawn)
    listed = real_nir_lists.training_list(arguments.data, arguments.work, plain.crop, fold, *number)
    sides = {"source": {"domain": "nir"}, "target": {"domain": "vis"}}
    unpaired = {"list": listed, "split": "train", "pairing": {"kind": "unpaired", **sides}}
    paired = {"list": listed, "split": "paired", "pairing": {"kind": "same_shot", **sides}}
    data = {"kind": "face_list", **(paired if arguments.pairs == "all" else unpaired)}
    if arguments.pairs == "half":
        data["generated"] = paired | {"share": 0.5}
    wanted = plain.model_copy(update={"data": recipe.FaceListData.model_validate(data)})
    run = arguments.work / "runs" / (arguments.tag if shared else f"{arguments.tag}_{fold}")
    training.train(wanted, run, resume=True)
    return run


def judge(
    trained: dict[str, Path], folds: list[str], crop: str, tag: str, data: Path, work: Path
) -> dict[str, list[float | None]]:
    """Figures of the people judged, each by the run that did not see them: name -> value, low, high."""
    recogniser, wanted = the_judge(data), crops.crop(crop)
    listed = face_list.read(real_nir_lists.near_infrared(data, work, crop))
    listed = listed.take([any(row.identity in real_nir_lists.FOLDS[fold] for fold in folds) for row in listed])
    source = pictures(listed, crop)
    made = source.clone()
    for fold, run in trained.items():
        method = runs.load_hallucination(run)
        for row in (row for row in range(len(listed)) if listed[row].identity in real_nir_lists.FOLDS[fold]):
            made[row] = hallucinate(method, source[row][None])[0]
    write_grids(listed, source, made, work / "grids" / tag, f"{tag} of {', '.join(map(str, trained.values()))}")
    visible = face_list.read(real_nir_lists.lfw(data, work, crop))
    reference, few = (
        embedded(recogniser, pictures(visible.where(split=split), crop), wanted)
        for split in ("reference", "few people")
    )
    people = listed.column("identity").tolist()
    before, after = embedded(recogniser, source, wanted), embedded(recogniser, made, wanted)
    figures = similarities(before, after, people) | ranks(before, after, people)
    return figures | distances(before, after, reference, people) | {
        "Frechet distance to LFW: few other people of LFW": [frechet_distance(few, reference), None, None]
    }  # fmt: skip


def similarities(before: NDArray[Any], after: NDArray[Any], people: list[str]) -> dict[str, list[float | None]]:
    """Mean cosines over the pictures: generated and source, the same person's others, other people's."""
    same = matching.genuine_pairs(people, people) & ~np.eye(len(people), dtype=bool)
    other = ~matching.genuine_pairs(people, people)
    values = {"similarity: generated to its source": identity_similarity(after, before)}
    for name, left, right in (
        ("source to source", before, before),
        ("generated to generated", after, after),
        ("generated to source", after, before),
    ):
        scores = matching.scores(left, right)
        values[f"similarity: {name}, the person's others"] = (scores * same).sum(1) / same.sum(1)
        values[f"similarity: {name}, other people"] = (scores * other).sum(1) / other.sum(1)
    return {name: interval(row, people) for name, row in values.items()}


def ranks(before: NDArray[Any], after: NDArray[Any], people: list[str]) -> dict[str, list[float | None]]:
    """Rank-1, each picture against all others; never against itself or what it was made from."""
    found = {}
    for name, probe, gallery in (
        ("source against source", before, before),
        ("generated against generated", after, after),
        ("generated against source", after, before),
    ):
        scores = matching.scores(probe, gallery)
        np.fill_diagonal(scores, OWN_PICTURE)
        hits = identification(scores, people, people).found
        found[f"rank-1: {name}"] = interval(hits, people)
    return found


def distances(
    before: NDArray[Any], after: NDArray[Any], reference: NDArray[Any], people: list[str]
) -> dict[str, list[float | None]]:
    """Frechet distances to the reference before and after, and their difference.

    The interval is a jackknife's, from leaving out one person at a time: drawn with replacement, people come twice, and
    a set that repeats itself is farther from any other.
    """

    def measured(kept: NDArray[np.bool_]) -> list[float]:
        found = [frechet_distance(side[kept], reference) for side in (before, after)]
        return [*found, found[1] - found[0]]

    owners = np.array(people)
    whole = np.array(measured(owners == owners))
    without = np.array([measured(owners != person) for person in np.unique(owners)])
    error = np.sqrt((len(without) - 1) * np.var(without, axis=0))
    rows = np.stack([whole, whole - NORMAL_95 * error, whole + NORMAL_95 * error], axis=1).tolist()
    names = ("source", "generated", "generated less source")
    return {f"Frechet distance to LFW: {name}": row for name, row in zip(names, rows, strict=True)}


def simulation_table(data: Path, work: Path, crop: str = "arcface") -> str:
    """How near simulated near-infrared comes to the real, on features of the judge: LFW as it is, grey, simulated."""
    recogniser, wanted = the_judge(data), crops.crop(crop)
    real = embedded(recogniser, pictures(face_list.read(real_nir_lists.near_infrared(data, work, crop)), crop), wanted)
    vis = pictures(face_list.read(real_nir_lists.lfw(data, work, crop)).where(split="few people"), crop)
    grey = (vis * vis.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True).expand_as(vis)
    original = embedded(recogniser, vis, wanted)
    lines = [
        "| LFW, as many pictures and people | Frechet distance to real nir | similarity to itself in vis |",
        "|---|---|---|",
    ]
    for name, faces in (("as it is", vis), ("grey", grey), ("simulated_nir", simulated_nir(vis))):
        found = embedded(recogniser, faces, wanted)
        similar = float(identity_similarity(found, original).mean())
        lines.append(f"| {name} | {frechet_distance(found, real):.3f} | {similar:.3f} |")
    return "\n".join(lines)


def the_judge(data: Path) -> Recogniser:
    """MobileFaceNet y1, which no recipe trains through."""
    weights = data / "weights/mobilefacenet_y1_112.onnx"
    return recognisers.load("onnx", weights, crop="arcface", mean=0.0, scale=1.0, threads=1)


def embedded(recogniser: Recogniser, faces: torch.Tensor, crop: crops.Crop) -> NDArray[np.float32]:
    """Embeddings of faces in a crop, those of their mirror images added."""
    with torch.no_grad():
        return torch.cat([recogniser.embed(part, crop, "sum") for part in faces.split(BATCH)]).numpy()


def pictures(faces: FaceList, crop: str) -> torch.Tensor:
    """All faces of a list in a crop."""
    return images.to_faces(np.stack([reading.aligned(faces, row, crops.crop(crop)) for row in range(len(faces))]))


def write_grids(listed: FaceList, source: torch.Tensor, made: torch.Tensor, folder: Path, label: str) -> None:
    """A sheet for each person: source above generated."""
    folder.mkdir(parents=True, exist_ok=True)
    for person in sorted(set(listed.column("identity").tolist())):
        rows = [index for index, row in enumerate(listed) if row.identity == person][:SHOWN]
        sheet = images.grid([list(source[rows]), list(made[rows])])
        images.write(folder / f"person_{person}.png", sheet, generated_by=label)


def interval(values: NDArray[Any], people: list[str]) -> list[float | None]:
    """The mean over the pictures, and where it lies for other people."""
    found = bootstrap.mean_interval(values, people, NUM_RESAMPLES)
    return [found.value, found.low, found.high]


def table(figures: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = ["| | value [95 % interval over people] |", "|---|---|"]
    for name, found in figures.items():
        if isinstance(found, list):
            value, low, high = found
            lines.append(f"| {name} | {value:.3f}" + ("" if low is None else f" [{low:.3f}, {high:.3f}]") + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
