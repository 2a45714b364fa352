"""EDSR of the published size, as SR_LRFR's authors run it and as this project does, in turn, on the same cores.

python benchmarks/edsr.py --threads 2 --rounds 5
python benchmarks/edsr.py --rounds 1 --only inference
python benchmarks/edsr.py --run runs/edsr_identity        # with trained weights, of whatever size

The published way, restated: float32, the default memory layout, Adam without fusing, SphereFace-20 as loaded, and the
graph of gradients also built for the embedding of the sharp face. Ours: what `facebridge train` does with
training.precision=bf16-mixed (channels last, fused Adam, the recogniser streamlined, no graph for the sharp face) and
what `facebridge generate --precision bfloat16` does. Inference is without the graph in both. Both start from the same
weights, those of --run, or fresh ones whose last layer is scaled until the faces have as much contrast as drawn ones;
their faces are compared.
"""

import argparse
import os
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from facebridge import allocator, crops, images, recognisers, runs
from facebridge.data import synthetic
from facebridge.hallucination import reduce
from facebridge.images import resize
from facebridge.method import Batch
from facebridge.methods.edsr_identity import Edsr, EdsrIdentity
from facebridge.precision import set_precision
from facebridge.recogniser import Recogniser
from facebridge.streamline import streamline

CROP = crops.crop("sphereface")
REDUCTION = 4
IDENTITY_WEIGHT = 0.5
LEARNING_RATE = 1e-4
INFERENCES = (((28, 24), 4), ((14, 12), 8))
TRAINING_BATCH = 4
Work = Callable[[], object]


def main() -> None:
    """Print milliseconds, ratios, memory and the difference of the faces."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=32)
    parser.add_argument("--filters", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--run", type=Path, help="run folder of an edsr_identity whose weights are taken")
    parser.add_argument("--only", choices=("training", "inference"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    allocator.keep_memory()
    if options.run is None:
        weights = fresh_weights(options.blocks, options.filters)
    else:
        trained = runs.load(options.run)
        assert isinstance(trained, EdsrIdentity), f"{options.run} is no run of edsr_identity"
        options.blocks, options.filters = trained.config.num_blocks, trained.config.num_filters
        weights = trained.generator.state_dict()
    count = sum(each.numel() for each in weights.values())
    print(f"EDSR of {options.blocks} x {options.filters}, {count:,} parameters, {options.threads} threads, ", end="")
    print(f"load {os.getloadavg()[0]:.1f}, {arithmetic()}", flush=True)
    if options.only != "training":
        compare_inference(weights, options)
    if options.only != "inference":
        compare_training(weights, options)


def compare_inference(weights: dict[str, Tensor], options: argparse.Namespace) -> None:
    """Time and compare the faces that both make."""
    theirs, ours = published(weights, options), method(weights, options)
    ours.requires_grad_(False)
    set_precision(ours, "bfloat16")
    sharp = drawn_faces(max(batch for _, batch in INFERENCES))
    for size, batch in INFERENCES:
        faces = reduce(sharp[:batch], *size)
        wanted, found = generate_as_published(theirs, faces), ours.generate(faces)
        off = float((found - wanted).abs().max() / wanted.abs().max())
        told = "{}x{} -> {}x{}, batch {}".format(*size, *wanted.shape[-2:], batch)
        in_turn(
            f"inference {told}",
            lambda faces=faces: generate_as_published(theirs, faces),
            lambda faces=faces: ours.generate(faces),
            options.rounds,
        )
        print(f"    largest difference {off:.2e} of the largest value (contrast {float(wanted.std()):.2f})", flush=True)


def compare_training(weights: dict[str, Tensor], options: argparse.Namespace) -> None:
    """Time a step of both; the published one first, so that its memory is measured before ours is taken."""
    sharp = drawn_faces(TRAINING_BATCH)
    theirs, recogniser = published(weights, options), recognisers.load("sphereface_20")
    adam = torch.optim.Adam(theirs.parameters(), lr=LEARNING_RATE)
    step_as_published(theirs, adam, recogniser, sharp)
    print(f"memory so far, the published step alone: {peak_gib():.2f} GiB", flush=True)
    guide = recognisers.load("sphereface_20")
    streamline(guide)
    ours = method(weights, options, guide)
    batch = {"target": sharp, "shared_seed": torch.tensor(0)}
    step(ours, batch)
    height, width = CROP.height // REDUCTION, CROP.width // REDUCTION
    in_turn(
        f"training step {height}x{width} -> {CROP.height}x{CROP.width}, batch {TRAINING_BATCH}",
        lambda: step_as_published(theirs, adam, recogniser, sharp),
        lambda: step(ours, batch),
        options.rounds,
    )
    print(f"    memory with both: {peak_gib():.2f} GiB", flush=True)


def in_turn(title: str, published: Work, ours: Work, rounds: int) -> None:
    """Both in turn, and who begins changes from round to round; ratios of the two that stand beside each other."""
    seconds: dict[str, list[float]] = {"published": [], "ours": []}
    works = {"published": published, "ours": ours}
    for number in range(rounds):
        for name in sorted(works, reverse=number % 2 == 0):
            begun = time.perf_counter()
            works[name]()
            seconds[name].append(time.perf_counter() - begun)
    ratios = [one / other for one, other in zip(seconds["published"], seconds["ours"], strict=True)]
    medians = {name: 1000 * statistics.median(values) for name, values in seconds.items()}
    print(f"{title}: published {medians['published']:.0f} ms, ours {medians['ours']:.0f} ms")
    spread = f"{min(ratios):.2f} to {max(ratios):.2f} in {rounds} rounds"
    print(f"    {statistics.median(ratios):.2f} times as fast ({spread})", flush=True)


@torch.no_grad()
def generate_as_published(network: Edsr, faces: Tensor) -> Tensor:
    """Faces (B, 3, h, w) in [0, 1] -> four times as large."""
    generated: Tensor = network(faces * 2 - 1)
    return ((generated + 1) / 2).clamp(0, 1)


def step_as_published(network: Edsr, adam: torch.optim.Adam, recogniser: Recogniser, sharp: Tensor) -> None:
    """L1 + lambda (1 - cos); gradients of the sharp face's embedding are cut off after its graph was built."""
    source = resize(sharp, CROP.height // REDUCTION, CROP.width // REDUCTION)
    generated = network(source * 2 - 1)
    wanted = recogniser.embed(sharp.clone().requires_grad_(), CROP).detach()
    found = recogniser.embed((generated + 1) / 2, CROP)
    identity = (1 - functional.cosine_similarity(found, wanted)).mean()
    loss = functional.l1_loss(generated, sharp * 2 - 1) + IDENTITY_WEIGHT * identity
    adam.zero_grad()
    loss.backward()
    adam.step()


def step(ours: EdsrIdentity, batch: Batch) -> None:
    """As the training loop does it with training.precision=bf16-mixed."""
    with torch.autocast("cpu", torch.bfloat16):
        ours.training_step(batch)


def method(weights: dict[str, Tensor], options: argparse.Namespace, guide: Recogniser | None = None) -> EdsrIdentity:
    """Our method with these weights."""
    config = EdsrIdentity.Config(
        num_blocks=options.blocks,
        num_filters=options.filters,
        identity_weight=IDENTITY_WEIGHT,
        reductions=(REDUCTION,),
        learning_rate=LEARNING_RATE,
    )
    made = EdsrIdentity(config, CROP, guide)
    made.generator.load_state_dict(weights)
    return made


def published(weights: dict[str, Tensor], options: argparse.Namespace) -> Edsr:
    """The network in the default memory layout."""
    network = Edsr(num_blocks=options.blocks, num_filters=options.filters)
    network.load_state_dict(weights)
    return network


@torch.no_grad()
def fresh_weights(num_blocks: int, num_filters: int) -> dict[str, Tensor]:
    """Of an EDSR that was never trained, from one seed; the last layer gives faces of the contrast of drawn ones."""
    torch.manual_seed(0)
    network = Edsr(num_blocks=num_blocks, num_filters=num_filters)
    faces = reduce(drawn_faces(2), 14, 12) * 2 - 1
    before_tanh = torch.atanh(network(faces))
    wanted = torch.atanh(faces.clamp(-0.99, 0.99))
    factor = wanted.std() / before_tanh.std()
    network.tail.weight.mul_(factor)
    assert network.tail.bias is not None
    network.tail.bias.sub_(before_tanh.mean()).mul_(factor).add_(wanted.mean())
    return network.state_dict()


def arithmetic() -> str:
    """What this processor does bfloat16 with."""
    found = torch.cpu.get_capabilities()
    names = [name for name in ("amx_bf16", "avx512_bf16", "bf16") if found.get(name)]
    return ", ".join(names) or "no bfloat16 arithmetic"


def drawn_faces(count: int) -> Tensor:
    """Sharp faces of drawn people in the crop."""
    shots = synthetic.render(1, list(range(count)), [0] * count, size=128, truth=True)
    pictures, points = images.to_pictures(shots.faces["vis"]), shots.landmarks5.numpy()
    aligned = [crops.align(picture, five, CROP) for picture, five in zip(pictures, points, strict=True)]
    return torch.cat([images.to_faces(face[None]) for face in aligned])


def peak_gib() -> float:
    """The most memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
