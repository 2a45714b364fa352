"""Pairs a second of `facebridge sample` beside the procedure that DVG's authors released, in turn, on the same cores.

python benchmarks/sampling.py
python benchmarks/sampling.py --size 16 --released 20 --ours 40 --rounds 1

The released procedure, restated: the published decoder as it is written down, in float32 with the graph of gradients
built (nothing turns it off), 100 people at a time, the same noise for both cameras, then each picture through numpy,
cut off to uint8, and saved by Pillow as JPEG of its default quality, one folder a camera. It runs in a process of its
own, ready before the clock starts, and uses all cores by torch's threads; `facebridge sample` by a worker process a
core, whose start and loading of weights are part of its time: take many pairs.
"""

import argparse
import multiprocessing
import os
import resource
import shutil
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from facebridge import crops, methods, recipe, runs, sampling, weights
from facebridge.methods.dvg.networks import CODE_SIZE, DECODER_WIDTHS, ENCODER_WIDTHS, SMALLEST


def main() -> None:
    """Print pairs a second of both, and the ratio of each round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--released", type=int, default=100, help="pairs a round of the released procedure")
    parser.add_argument("--ours", type=int, default=600, help="pairs a round of facebridge sample")
    parser.add_argument("--batch", type=int, default=100, help="people at a time of the released procedure")
    parser.add_argument("--block", type=int, default=sampling.BATCH_SIZE, help="pairs of a block of facebridge sample")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=128, choices=(16, 32, 64, 128), help="of the faces, px")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--format", default="files", choices=("files", "shards"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        compare(Path(temporary), options)


def compare(folder: Path, options: argparse.Namespace) -> None:
    """Time the released procedure, then ours, and again."""
    run = make_run(folder / "run", options.size)
    print(f"{options.size} px, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {check(run)}", flush=True)
    ratios, peak_bytes = [], 0
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        for number in range(options.rounds):
            in_its_process = pool.submit(time_released, run, folder / "released", options.released, options.batch)
            seconds, peak_bytes = in_its_process.result()
            released = options.released / seconds
            ours = options.ours / time_ours(run, folder / "ours", options)
            ratios.append(ours / released)
            told = f"released {released:.2f} pairs/s, facebridge sample {ours:.2f}: {ratios[-1]:.2f} times as fast"
            print(f"round {number + 1}: {told}", flush=True)
            for name in ("released", "ours"):
                shutil.rmtree(folder / name)
    print(f"median of {options.rounds}: {statistics.median(ratios):.2f} times as fast as the released procedure")
    print(f"most memory of the released procedure: {peak_bytes / 2**30:.2f} GiB")


def time_released(run: Path, out: Path, count: int, batch: int) -> tuple[float, int]:
    """Seconds that the released procedure takes, and the most memory of this process so far, bytes."""
    decoder = as_published(run)
    torch.set_num_threads(os.cpu_count() or 1)
    decoder(torch.zeros(1, 2 * CODE_SIZE))
    begun = time.perf_counter()
    sample_as_released(decoder, out, count, batch)
    return time.perf_counter() - begun, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def sample_as_released(decoder: nn.Module, out: Path, count: int, batch: int) -> None:
    """Pairs as the released code makes them."""
    folders = [out / "nir_noise", out / "vis_noise"]
    for folder in folders:
        folder.mkdir(parents=True)
    number = 0
    for first in range(0, count, batch):
        noise = torch.randn(min(batch, count - first), CODE_SIZE)
        made = decoder(torch.cat([noise, noise], 1)).detach().numpy()
        for pair in made:
            number += 1
            for folder, face in zip(folders, (pair[:3], pair[3:]), strict=True):
                pixels = (face.transpose(1, 2, 0) * 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.jpg")


def time_ours(run: Path, out: Path, options: argparse.Namespace) -> float:
    """Seconds that `facebridge sample` takes."""
    begun = time.perf_counter()
    done = sampling.sample(
        run,
        out,
        options.ours,
        precision=options.precision,
        layout=options.format,
        workers=options.workers,
        block_size=options.block,
        device="cpu",
    )
    assert done.count == options.ours
    return time.perf_counter() - begun


class PublishedBlock(nn.Module):
    """Two 3 x 3 convolutions and a way past them; the sum of both is normalised."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(in_channels, out_channels, 1, bias=False) if in_channels != out_channels else None
        self.first = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.first_norm = nn.InstanceNorm2d(out_channels, eps=1e-3)
        self.second = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.second_norm = nn.InstanceNorm2d(out_channels, eps=1e-3)
        self.active = nn.LeakyReLU(0.2)

    def forward(self, features: Tensor) -> Tensor:
        past = features if self.expand is None else self.expand(features)
        features = self.active(self.first_norm(self.first(features)))
        return self.active(self.second_norm(self.second(features) + past))


class PublishedDecoder(nn.Module):
    """Two codes (B, 256) -> two faces (B, 6, H, W) in [0, 1]; features are doubled, then go through a block."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.width = widths[0]
        self.from_code = nn.Sequential(nn.Linear(2 * CODE_SIZE, widths[0] * SMALLEST**2), nn.ReLU())
        stages: list[nn.Module] = []
        for one, other in zip(widths, widths[1:], strict=False):
            stages += [PublishedBlock(one, other), nn.Upsample(scale_factor=2, mode="nearest")]
        stages[-1] = PublishedBlock(widths[-1], widths[-1])
        self.stages = nn.Sequential(*stages, nn.Conv2d(widths[-1], 6, 5, padding=2), nn.Sigmoid())

    def forward(self, codes: Tensor) -> Tensor:
        features = self.from_code(codes).reshape(len(codes), self.width, SMALLEST, SMALLEST)
        return torch.as_tensor(self.stages(features))


@lru_cache
def as_published(run: Path) -> nn.Module:
    """The decoder of a run as it was published, with the same weights."""
    ours = methods.load("dvg")(runs.Run(run).recipe.config(), crops.crop(runs.Run(run).recipe.crop))
    ours.load_state_dict(weights.read(runs.Run(run).weights))
    decoder = PublishedDecoder(ours.config.decoder_widths)
    with torch.no_grad():
        for own, published in zip(ours.decoder.parameters(), decoder.parameters(), strict=True):
            assert own.shape == published.shape
            published.copy_(own)
    return decoder


def check(run: Path) -> str:
    """That both networks make the same faces of the same noise."""
    method, decoder = runs.load(run), as_published(run)
    noise = torch.randn(2, CODE_SIZE)
    with torch.no_grad():
        wanted = decoder(torch.cat([noise, noise], 1))
        found = torch.cat(list(method.pairs(noise).values()), 1)
    far = float((found - wanted).abs().max())
    assert far < 1e-3, far
    return (
        f"{sum(tensor.numel() for tensor in decoder.parameters()):,} weights, largest difference of a pixel {far:.1e}"
    )


def make_run(folder: Path, size: int) -> Path:
    """A run that was never trained, with the published widths as far as the size needs them."""
    doublings = (size // SMALLEST).bit_length() - 1
    widths = {
        "encoder_widths": ENCODER_WIDTHS[: doublings + 1],
        "decoder_widths": DECODER_WIDTHS[-(doublings + 2) :],
    }
    table = {
        "method": "dvg",
        "crop": f"light_cnn_{size}",
        "settings": {**widths, "identity_weight": 0, "pair_weight": 0},
        "data": {"kind": "synthetic"},
        "training": {"steps": 1, "batch_size": 1},
    }
    run = runs.create(folder, recipe.resolve(table, "a benchmark"))
    torch.manual_seed(0)
    method = methods.load("dvg")(run.recipe.config(), crops.crop(f"light_cnn_{size}"))
    weights.write(run.weights, method.state_dict(), {"method": "dvg"})
    return folder


if __name__ == "__main__":
    main()
