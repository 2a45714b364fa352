"""How hard the embedded faces are: the table of docs/data/synthetic.md.

    python scripts/measure_embedded_faces.py

Two hundred drawn people that the shipped judge never saw: one visible, sharp, near-frontal gallery picture each; probes
in visible light, in near-infrared, reduced, and in profile.
"""

import argparse
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from facebridge import crops, images, recognisers
from facebridge.data import synthetic
from facebridge.evaluating import percent
from facebridge.evaluation import bootstrap, genuine_pairs, identification, scores
from facebridge.evaluation.result import Figure
from facebridge.evaluation.ways import AS_IT_IS, Judge, Way
from facebridge.hallucination import enlarge, reduce

CROP = crops.crop("sphereface")
SEED, FIRST_IDENTITY, IDENTITIES = 21, 0, 200
PROBE_SHOTS = (1, 2, 3)
PROFILE_SHOTS = (4, 5)
SIZES = ((28, 24), (14, 12), (7, 6))
FALSE_ACCEPT_RATE = 0.001
ENLARGED = Way("bicubic", lambda faces: enlarge(faces, CROP))

Embeddings = dict[str, list[NDArray[np.float32]]]


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--identities", type=int, default=IDENTITIES)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--recogniser", default="embedded_judge")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    judge = Judge(recognisers.load(arguments.recogniser), "sum")
    found: Embeddings = {}
    for person in range(FIRST_IDENTITY, FIRST_IDENTITY + arguments.identities):
        for condition, way, faces in _pictures(person):
            found.setdefault(condition, []).append(judge.embed(way, faces, CROP))
    gallery = np.concatenate(found.pop("gallery"))
    gallery_ids = list(range(len(gallery)))
    print("| probe | probes | rank-1 | true accept rate at a false accept rate of 0.001 |\n|---|---|---|---|")
    for condition, embeddings in found.items():
        probe_ids = [person for person, block in enumerate(embeddings) for _ in block]
        print(_line(condition, np.concatenate(embeddings), gallery, probe_ids, gallery_ids))


def _pictures(person: int) -> Iterator[tuple[str, Way, torch.Tensor]]:
    """Condition, way of making, and faces of one person."""
    near = synthetic.render(SEED, [person] * 4, [0, *PROBE_SHOTS], domains=("vis", "nir"))
    vis, nir = _aligned(near, "vis"), _aligned(near, "nir")
    yield "gallery", AS_IT_IS, vis[:1]
    yield "vis, 112x96", AS_IT_IS, vis[1:]
    yield "nir, 112x96", AS_IT_IS, nir[1:]
    for size in SIZES:
        yield f"vis, {size[0]}x{size[1]}, bicubic enlarging", ENLARGED, reduce(vis[1:], *size)
    for name, yaw_range in (("yaw 30 to 60", (30.0, 60.0)), ("yaw 60 to 90", (60.0, 90.0))):
        turned = synthetic.render(SEED, [person] * len(PROFILE_SHOTS), PROFILE_SHOTS, yaw_range=yaw_range)
        yield f"vis, {name} degrees", AS_IT_IS, _aligned(turned, "vis")


def _aligned(drawn: synthetic.Shots, domain: str) -> torch.Tensor:
    pictures = images.to_pictures(drawn.faces[domain])
    points = drawn.landmarks5.numpy()
    return images.to_faces(np.stack([crops.align(*pair, CROP) for pair in zip(pictures, points, strict=True)]))


def _line(
    condition: str,
    probe: NDArray[np.float32],
    gallery: NDArray[np.float32],
    probe_ids: list[int],
    gallery_ids: list[int],
) -> str:
    matrix = scores(probe, gallery)
    ranked = identification(matrix, probe_ids, gallery_ids)
    rank1 = bootstrap.mean_interval(ranked.found, probe_ids)
    genuine = genuine_pairs(probe_ids, gallery_ids)
    rate = bootstrap.verification_intervals(matrix, genuine, probe_ids, gallery_ids, (FALSE_ACCEPT_RATE,))
    figures = [Figure(item.value, item.low, item.high) for item in (rank1, rate[FALSE_ACCEPT_RATE])]
    return f"| {condition} | {len(probe)} | {percent(figures[0])} | {percent(figures[1])} |"


if __name__ == "__main__":
    main()
