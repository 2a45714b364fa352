"""Train the recognisers that are shipped: thin MobileFaceNets with ArcFace, on drawn people only.

    python scripts/train_embedded_recognisers.py judge
    python scripts/train_embedded_recognisers.py guide

The guide is what the demo trains through, the judge is what measures; they share no person, no seed and no shape.
"""

import argparse
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from facebridge import allocator, crops, recognisers, runs, weight_card, weights
from facebridge.data.batches import Ahead, Batches
from facebridge.data.faces import DrawnFaces
from facebridge.heads import ArcFaceHead
from facebridge.progress import Progress
from facebridge.recipe import SyntheticData
from facebridge.recogniser import fit
from facebridge.streamline import channels_last


@dataclass(frozen=True)
class Plan:
    """One shipped recogniser."""

    sizes: dict[str, float]
    seed: int
    first_identity: int
    identities: int
    shots: int


PLANS = {
    "judge": Plan({"width_multiplier": 0.5, "embedding_size": 128}, 11, 100_000, identities=500, shots=16),
    "guide": Plan({"width_multiplier": 0.375, "embedding_size": 96}, 12, 200_000, identities=400, shots=12),
}
USES = {
    "judge": "Judging in the demo, in tests and in trials on drawn people; never to train through.",
    "guide": "The identity loss of methods that are trained on drawn people; never to judge.",
}
LIMITS = (
    "Has seen drawn people only. No decision about anybody may rest on it: on photographs it is far below any "
    "recogniser trained on them, and near-infrared, turned and tiny faces are hard for it on purpose."
)
DRAWN_CROP = crops.crop("sphereface")
CROP_NAME, SIDE = "arcface", 64
BATCH_SIZE, EPOCHS = 64, 12
LEARNING_RATE, WEIGHT_DECAY, WARM_UP_STEPS = 0.1, 5e-4, 100
SCALE, MARGIN = 32.0, 0.3


def main() -> None:
    """Train one recogniser and write it to facebridge/recognisers/shipped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=PLANS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--out", type=Path, default=recognisers.SHIPPED)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    allocator.keep_memory()
    plan = PLANS[arguments.which]
    started = time.perf_counter()
    network, log = train(plan, arguments.epochs)
    name = f"embedded_{arguments.which}"
    recognisers.write(
        arguments.out / f"{name}.safetensors",
        "mobile_facenet",
        network.state_dict(),
        crop=CROP_NAME,
        half=True,
        **sizes(plan),
    )
    log |= {"seconds": round(time.perf_counter() - started), "threads": arguments.threads, **runs.provenance()}
    write_card(arguments.out / f"{name}.safetensors", arguments.which, log)


def write_card(
    weights_file: Path, which: str, log: Mapping[str, Any], results: Mapping[str, str] | None = None
) -> None:
    """The card beside shipped weights; `results` are measured afterwards, by scripts/measure_embedded_faces.py."""
    weight_card.write(
        weights_file,
        licence="Apache-2.0",
        data=(
            f"{log['identities']} drawn people from number {log['first_identity']:,} on, {log['shots']} pictures each, "
            "visible light (facebridge.data.synthetic); no protocol, test or demo shows any of them. "
            f"{log['steps']:,} steps of {log['batch_size']} faces; torch {log['versions']['torch']}, "
            f"{log['machine']['threads']} thread of {log['machine']['processor']}"
        ),
        seed=log["seed"],
        command=f"python scripts/train_embedded_recognisers.py {which}",
        time=log["time"],
        seconds=log["seconds"],
        commit=log["commit"],
        intended_use=USES[which],
        limits=LIMITS,
        results=dict(results or {}),
    )


def train(plan: Plan, epochs: int) -> tuple[nn.Module, dict[str, object]]:
    """A network trained from its seed, and what was logged."""
    people = SyntheticData(
        kind="synthetic",
        seed=plan.seed,
        first_identity=plan.first_identity,
        identities=plan.identities,
        shots=plan.shots,
    )
    faces = DrawnFaces(people, DRAWN_CROP)
    crop = fit(crops.crop(CROP_NAME), SIDE, SIDE)
    batches = Batches(faces, BATCH_SIZE, plan.seed)
    torch.manual_seed(plan.seed)
    network = channels_last(weights.network("mobile_facenet", **sizes(plan))).train()
    head = ArcFaceHead(int(plan.sizes["embedding_size"]), plan.identities, SCALE, MARGIN)
    parameters = [*network.parameters(), *head.parameters()]
    optimiser = torch.optim.SGD(parameters, LEARNING_RATE, momentum=0.9, weight_decay=WEIGHT_DECAY, nesterov=True)
    steps = epochs * len(faces) // BATCH_SIZE
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, steps))
    losses = []
    with Progress("training", steps) as bar:
        for step, batch in Ahead(batches, 0, steps):
            faces_in_crop = crops.recrop(batch["target"], DRAWN_CROP, crop)
            with torch.autocast("cpu", torch.bfloat16):
                embeddings = network((faces_in_crop * 255 - 127.5) / 128)
            loss = functional.cross_entropy(
                head(embeddings.float(), batch["target_identity"]), batch["target_identity"]
            )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()))
            bar.step(step + 1, {"loss": losses[-1]})
    last = losses[-50:]
    return network.eval(), {
        "identities": plan.identities,
        "shots": plan.shots,
        "steps": steps,
        "batch_size": BATCH_SIZE,
        "seed": plan.seed,
        "first_identity": plan.first_identity,
        "mean_loss_of_last_50_steps": sum(last) / len(last),
    }


def sizes(plan: Plan) -> dict[str, Any]:
    """The sizes of the network."""
    return {"height": SIDE, "width": SIDE, **plan.sizes}


def _rate(step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine down to zero."""
    if step < WARM_UP_STEPS:
        return (step + 1) / WARM_UP_STEPS
    return 0.5 * (1 + math.cos(math.pi * (step - WARM_UP_STEPS) / max(steps - WARM_UP_STEPS, 1)))


if __name__ == "__main__":
    main()
