"""What wrong labels cost, and what semantic bootstrapping wins back: the tables of docs/recognisers/label_noise.md.

    python scripts/measure_label_noise.py runs/label_noise

Recognisers are trained on drawn people under several kinds of labels, and judged on drawn people that none of them saw.
Finished cells stay in the folder (one JSON each, with the embeddings of the test beside it): stopped and started again,
it goes on with the next one.
"""

import argparse
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from facebridge import bootstrapping, crops, images, recipe, recognisers, runs, training, weights
from facebridge.bootstrapping import Relabelled
from facebridge.data.faces import DrawnFaces
from facebridge.evaluation import bootstrap, genuine_pairs, identification, scores, verification
from facebridge.methods.recogniser import RecogniserTraining
from facebridge.recipe import SyntheticData

CROP = "light_cnn"
HEADS: dict[str, dict[str, Any]] = {
    "softmax": {"kind": "softmax"},
    "cosface": {"kind": "cosface", "scale": 16, "margin": 0.2},
}
LABELS = ("clean", "noisy", "longer", "oracle", "published", "once", "twice")
"""All labels right; some wrong; some wrong, and twice as many steps; the wrong ones left out by one who knows;
bootstrapped once by the rule of the paper; once and twice by the rule of the plan."""
AFTER = {"published": "noisy", "once": "noisy", "twice": "once"}
"""Bootstrapped labels -> those of the training before, which predicts."""
TRAIN_SALT, TEST_SALT, NOISE_SALT = 100, 200, 300
FALSE_ACCEPT_RATE = 0.01
NUM_RESAMPLES, RESAMPLES_PER_BLOCK = 500, 20
FACES_PER_BATCH = 64


@dataclass(frozen=True)
class Plan:
    """Sizes and settings; docs/recognisers/label_noise.md lists others that were tried."""

    identities: int = 150
    shots: int = 12
    test_identities: int = 150
    test_shots: int = 6
    noise: float = 0.2
    steps: int = 1200
    batch_size: int = 32
    side: int = 48
    learning_rate: float = 0.001
    warm_up_steps: int = 20
    dropout: float = 0.0
    keep: bootstrapping.Keep = "either"
    threshold: float = bootstrapping.THRESHOLD
    top: int = 5
    mirror: bool = True
    from_weights: bool = False
    """Whether a bootstrapped training goes on from the one before; else from the same first weights as all."""


@dataclass(frozen=True)
class Cell:
    """One training."""

    head: str
    seed: int
    labels: str

    @property
    def name(self) -> str:
        return f"{self.head}-{self.seed}-{self.labels}"


def main() -> None:
    """Do the cells that are not done, then print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="Folder of the finished cells.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--labels", nargs="+", choices=LABELS, default=list(LABELS))
    parser.add_argument(
        "--top", type=int, default=Plan.top, help="a label among so many predictions counts as agreeing"
    )
    parser.add_argument("--heads", nargs="+", choices=HEADS, default=["softmax"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)
    plan, kinds = Plan(top=arguments.top), [kind for kind in LABELS if kind in arguments.labels]
    for cell in [Cell(head, seed, kind) for head in arguments.heads for seed in arguments.seeds for kind in kinds]:
        print(json.dumps(measured(plan, cell, arguments.work)), flush=True)
    for head in arguments.heads:
        print(tables(plan, arguments.work, head, arguments.seeds, kinds))


def measured(plan: Plan, cell: Cell, work: Path) -> dict[str, Any]:
    """The cell's figures, from its file or from a training."""
    path = work / f"{cell.name}.json"
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return found
    people = drawn(work, plan.identities, plan.shots, cell.seed, TRAIN_SALT)
    labels = noisy_labels(people.identities(), plan.noise, cell.seed)
    faces, found = _labelled(plan, cell, people, labels, work)
    run = work / f"{cell.name}.run"
    shutil.rmtree(run, ignore_errors=True)
    training.train(recipe.resolve(_recipe(plan, cell, work), cell.name), run, faces=faces, progress=False)
    embeddings = _embeddings(plan, cell, run, work)
    np.save(work / f"{cell.name}.npy", embeddings)
    figures = {"cell": cell.name, "faces": len(faces), **found, **judged(embeddings, plan), "loss": _loss(run)}
    runs.write_bytes(path, json.dumps(figures, indent=1).encode())
    return figures


def noisy_labels(identities: NDArray[np.int64], share: float, seed: int) -> NDArray[np.int64]:
    """The identities with this share of them replaced by other people's, each other person being as likely."""
    draw = np.random.default_rng([seed, NOISE_SALT])
    count = int(identities.max()) + 1
    wrong = draw.choice(len(identities), round(share * len(identities)), replace=False)
    labels = identities.copy()
    labels[wrong] = (labels[wrong] + draw.integers(1, count, len(wrong))) % count
    return labels


def _labelled(
    plan: Plan, cell: Cell, people: DrawnFaces, labels: NDArray[np.int64], work: Path
) -> tuple[Relabelled, dict[str, Any]]:
    """The faces of a cell, and how well wrong labels were found."""
    true, every = people.identities(), np.arange(len(people))
    if cell.labels == "clean":
        return Relabelled(people, every, true), {}
    if cell.labels in ("noisy", "longer"):
        return Relabelled(people, every, labels), {}
    if cell.labels == "oracle":
        rows = np.flatnonzero(labels == true)
        return Relabelled(people, rows, true[rows]), {}
    predictions = bootstrapping.predict(_trained(_run_before(cell, work)), people, labels, mirror=plan.mirror)
    top = 1 if cell.labels == "published" else plan.top
    found = bootstrapping.relabel(predictions, plan.keep, threshold=plan.threshold, top=top)
    return Relabelled(people, found.rows, found.identities), finding(found, labels, true)


def finding(
    found: bootstrapping.Relabelling, labels: NDArray[np.int64], true: NDArray[np.int64]
) -> dict[str, float | int]:
    """How well wrong labels were found; a label counts as called wrong if it was replaced, or its face dropped."""
    kept = np.full(len(labels), -1)
    kept[found.rows] = found.identities
    called, wrong = kept != labels, labels != true
    return {
        "stayed": found.num_stayed,
        "moved": found.num_moved,
        "dropped": found.num_dropped,
        "precision": float(wrong[called].mean()) if called.any() else float("nan"),
        "recall": float(called[wrong].mean()),
        "corrected": float((kept == true)[wrong].mean()),
        "still_wrong": float((found.identities != true[found.rows]).mean()),
    }


def judged(embeddings: NDArray[np.float32], plan: Plan) -> dict[str, float | None]:
    """Rank-1 and true accept rate; the first shot of each person is the gallery."""
    matrix, probe_ids, gallery_ids = _compared(embeddings, plan)
    point = verification(matrix, genuine_pairs(probe_ids, gallery_ids), (FALSE_ACCEPT_RATE,)).points[0]
    return {
        "rank1": identification(matrix, probe_ids, gallery_ids).rank1,
        "true_accept_rate": point.true_accept_rate,
    }


def drawn(work: Path, identities: int, shots: int, seed: int, salt: int) -> DrawnFaces:
    """Drawn people, in visible light, kept in the folder once they are drawn."""
    people = SyntheticData(kind="synthetic", seed=salt + seed, identities=identities, shots=shots, size=96)
    faces = DrawnFaces(people, crops.crop(CROP))
    path = work / f"people-{salt + seed}-{identities}x{shots}.npy"
    if path.is_file():
        pictures = np.load(path)
    else:
        pictures = np.stack([faces.picture(row) for row in range(len(faces))])
        np.save(path, pictures)
    faces.drawn = dict(enumerate(pictures))
    return faces


def _recipe(plan: Plan, cell: Cell, work: Path) -> dict[str, Any]:
    steps = plan.steps * (2 if cell.labels == "longer" else 1)
    start: dict[str, Any] = {"name": "light_cnn_9", "weights": str(_first_weights(plan, cell.seed, work))}
    if plan.from_weights and cell.labels in AFTER:
        start = {"name": str(_run_before(cell, work))}
    schedule = {"kind": "cosine", "warm_up_steps": plan.warm_up_steps}
    return {
        "method": "recogniser",
        "seed": cell.seed,
        "crop": CROP,
        "settings": {
            "network": "light_cnn_9",
            "sizes": _sizes(plan),
            "num_identities": plan.identities,
            "dropout": plan.dropout,
            "head": HEADS[cell.head],
            "descent": {"kind": "adam", "learning_rate": plan.learning_rate, "weight_decay": 0, "schedule": schedule},
        },
        "data": {"kind": "synthetic"},
        "recogniser": start,
        "training": {"steps": steps, "batch_size": plan.batch_size, "threads": 1}
        | {"checkpoint_every_steps": steps, "preview_every_steps": steps},
    }


def _first_weights(plan: Plan, seed: int, work: Path) -> Path:
    """A file of weights that keep the size of what goes through them, as caffe's xavier filler draws them.

    PyTorch's own would shrink it by the square root of 3 a layer: hundreds of steps pass before such a network learns.
    """
    path, sizes = work / f"first-{seed}.safetensors", _sizes(plan)
    network = weights.network("light_cnn_9", **sizes)
    draw = torch.Generator().manual_seed(seed)
    for name, value in network.state_dict().items():
        bound = 0.0 if name.endswith("bias") else (3 / value[0].numel()) ** 0.5
        value.uniform_(-bound, bound, generator=draw)
    recognisers.write(path, "light_cnn_9", network.state_dict(), **sizes)
    return path


def _sizes(plan: Plan) -> dict[str, Any]:
    return {"height": plan.side, "width": plan.side, "width_multiplier": 0.25}


def _run_before(cell: Cell, work: Path) -> Path:
    return work / f"{replace(cell, labels=AFTER[cell.labels]).name}.run"


def _trained(run: Path) -> RecogniserTraining:
    method = runs.load(run)
    assert isinstance(method, RecogniserTraining)
    return method


def _loss(run: Path) -> float:
    """The mean of the last ten logged losses."""
    return float(np.mean([line["total"] for line in runs.Run(run).log()[-10:]]))


def _embeddings(plan: Plan, cell: Cell, run: Path, work: Path) -> NDArray[np.float32]:
    people = drawn(work, plan.test_identities, plan.test_shots, cell.seed, TEST_SALT)
    method, parts = _trained(run), []
    with torch.no_grad():
        for start in range(0, len(people), FACES_PER_BATCH):
            rows = range(start, min(start + FACES_PER_BATCH, len(people)))
            faces = images.to_faces(np.stack([people.picture(row) for row in rows]))
            parts.append(method.embed(faces, "sum").numpy())
    return np.concatenate(parts)


def _compared(embeddings: NDArray[np.float32], plan: Plan) -> tuple[NDArray[np.float32], list[int], list[int]]:
    """Scores of probes and gallery, and their people."""
    people = np.repeat(np.arange(plan.test_identities), plan.test_shots)
    first = np.arange(len(people)) % plan.test_shots == 0
    return scores(embeddings[~first], embeddings[first]), people[~first].tolist(), people[first].tolist()


def tables(plan: Plan, work: Path, head: str, seeds: Sequence[int], kinds: Sequence[str]) -> str:
    """Markdown: what was reached, what was won back, and how well wrong labels were found."""
    resampled = _resampled(plan, work, head, seeds, kinds)
    lines = [f"\n{head}\n", "| labels | faces | rank-1 | true accept rate |", "|---|---|---|---|"]
    cells = {
        kind: [json.loads((work / f"{Cell(head, seed, kind).name}.json").read_text("utf-8")) for seed in seeds]
        for kind in kinds
    }
    for kind, found in resampled.items():
        faces = np.mean([cell["faces"] for cell in cells[kind]])
        lines.append(f"| {kind} | {faces:,.0f} | " + " | ".join(map(_percent, found)) + " |")
    lines += [
        "",
        "| labels | of the rank-1 lost | each seed | of the true accepts lost | each seed |",
        "|---|---|---|---|---|",
    ]
    lost = [clean - noisy for clean, noisy in zip(resampled["clean"], resampled["noisy"], strict=True)]
    for kind in [kind for kind in ("longer", "oracle", *AFTER) if kind in kinds]:
        won = [got - noisy for got, noisy in zip(resampled[kind], resampled["noisy"], strict=True)]
        parts = [_share_won(*pair) for pair in zip(won, lost, strict=True)]
        lines.append(f"| {kind} | " + " | ".join(parts) + " |")
    names = ("stayed", "moved", "dropped", "precision", "recall", "corrected", "still_wrong")
    lines += ["", "| labels | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for kind in [kind for kind in AFTER if kind in kinds]:
        means = [np.mean([cell[name] for cell in cells[kind]]) for name in names]
        lines.append(f"| {kind} | " + " | ".join(f"{mean:.3g}" for mean in means) + " |")
    return "\n".join(lines)


Resampled = NDArray[np.float64]
"""(num_seeds, 1 + NUM_RESAMPLES): a figure with the people as they are, then with people drawn anew."""


def _resampled(
    plan: Plan, work: Path, head: str, seeds: Sequence[int], kinds: Sequence[str]
) -> dict[str, tuple[Resampled, Resampled]]:
    """Rank-1 and true accept rate of each kind of labels, all with the same people in each resample."""
    drawn_anew = bootstrap.draws(plan.test_identities * len(seeds), NUM_RESAMPLES, 0)
    times = np.concatenate([np.ones((1, drawn_anew.shape[1]), np.int64), drawn_anew])
    found = {}
    for kind in kinds:
        both = [
            _figures(np.load(work / f"{Cell(head, seed, kind).name}.npy"), plan, of_seed)
            for seed, of_seed in zip(seeds, np.split(times, len(seeds), axis=1), strict=True)
        ]
        found[kind] = (np.stack([rank1 for rank1, _ in both]), np.stack([rate for _, rate in both]))
    return found


def _figures(embeddings: NDArray[np.float32], plan: Plan, times: NDArray[np.int64]) -> tuple[Resampled, Resampled]:
    """Rank-1 and true accept rate, each (1 + NUM_RESAMPLES,); times: how often each person counts in each."""
    matrix, probe_ids, gallery_ids = _compared(embeddings, plan)
    ranked = identification(matrix, probe_ids, gallery_ids)
    of_probe = times[:, probe_ids]
    rank1 = of_probe @ ranked.found / of_probe.sum(axis=1)
    first, second = np.repeat(probe_ids, len(gallery_ids)), np.tile(gallery_ids, len(probe_ids))
    order = np.argsort(-matrix.ravel(), kind="stable")
    first, second = first[order], second[order]
    genuine = first == second
    rates = []
    for start in range(0, len(times), RESAMPLES_PER_BLOCK):
        counts = bootstrap.pair_weights(times[start : start + RESAMPLES_PER_BLOCK], first, second).astype(np.float64)
        impostors = np.cumsum(np.where(genuine[:, None], 0, counts), axis=0)
        accepted = impostors <= FALSE_ACCEPT_RATE * impostors[-1]
        mates = counts[genuine]
        rates.append((mates * accepted[genuine]).sum(axis=0) / mates.sum(axis=0))
    return rank1, np.concatenate(rates)


def _percent(figure: Resampled) -> str:
    """The mean over the seeds, the interval over people, and the spread of the seeds, in per cent."""
    mean = 100 * figure.mean(axis=0)
    low, high = np.quantile(mean[1:], [0.025, 0.975])
    return f"{mean[0]:.1f} ({low:.1f} to {high:.1f}), sd {100 * figure[:, 0].std(ddof=1):.1f}"


def _share_won(won: Resampled, lost: Resampled) -> str:
    """What was won back of all that was lost in all seeds, with the interval over people; and of each seed."""
    shares = won.mean(axis=0) / lost.mean(axis=0)
    low, high = np.quantile(shares[1:], [0.025, 0.975])
    each = ", ".join(f"{share:.2f}" for share in won[:, 0] / lost[:, 0])
    return f"{shares[0]:.2f} ({low:.2f} to {high:.2f}) | {each}"


if __name__ == "__main__":
    main()
