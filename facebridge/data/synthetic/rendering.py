"""Pictures of drawn people, with everything that is known of them."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from facebridge.data.synthetic import camera, chart, head, light, optics, rays, truth
from facebridge.data.synthetic.chart import Numbers
from facebridge.data.synthetic.glasses import glasses
from facebridge.data.synthetic.paint import Paint, paint
from facebridge.data.synthetic.people import identity_parameters
from facebridge.data.synthetic.shots import EXPRESSIONS, Shot, shot_parameters
from facebridge.data.synthetic.texture import Textures

DOMAINS = ("vis", "nir")

# Pictures drawn together: few enough to stay in a processor's cache, many enough to fill a GPU.
_TOGETHER = {"cpu": 8}
_TOGETHER_ELSEWHERE = 64

_Rows = list[dict[str, float]]  # every number of each picture of a group
_Drawn = tuple[dict[str, Tensor], dict[str, Tensor]]  # pictures by domain, truth by name


@dataclass(frozen=True)
class Shots:
    """Pictures and their truth; B pictures of S x S pixels.

    faces: by domain, (B, 3, S, S) float32 RGB in [0, 1]; domains of one shot are pixel-aligned.
    frontal: the same person, light and expression at yaw 0, by domain; empty unless asked for.
    low_res: area-averaged pictures by (domain, height, width); empty unless asked for.
    landmarks68, landmarks5: (B, 68, 2) and (B, 5, 2) float32 (x, y) pixels; visible68, visible5: bool.
    parsing: (B, S, S) uint8, see `Part`; mask: (B, S, S) bool, the person as against the background.
    identity, shot: (B,) int64; yaw_deg, pitch_deg, roll_deg: (B,) float32.
    expression: (B, K) float32 in the order of `EXPRESSIONS`.
    Without truth, landmarks68 ... mask have no rows.
    """

    faces: dict[str, Tensor]
    frontal: dict[str, Tensor]
    low_res: dict[tuple[str, int, int], Tensor]
    landmarks68: Tensor
    visible68: Tensor
    landmarks5: Tensor
    visible5: Tensor
    parsing: Tensor
    mask: Tensor
    identity: Tensor
    shot: Tensor
    yaw_deg: Tensor
    pitch_deg: Tensor
    roll_deg: Tensor
    expression: Tensor


def render(
    seed: int,
    identities: Sequence[int],
    shots: Sequence[int],
    *,
    size: int = 128,
    domains: Sequence[str] = ("vis",),
    yaw_range: tuple[float, float] | None = None,
    frontal: bool = False,
    low_res: Sequence[tuple[int, int]] = (),
    truth: bool = True,
    device: str | torch.device = "cpu",
) -> Shots:
    """Draw picture i of person identities[i] in shot shots[i]; each is decided by (seed, identity, shot) alone.

    low_res: (height, width) sizes to which the pictures are also averaged down. yaw_range: degrees, drawn evenly;
    None draws mostly near frontal.

    ValueError: if the sequences differ in length or are empty, a domain is unknown, or a number is out of range.
    """
    _check(identities, shots, size, domains)
    device = torch.device(device)
    people = {identity: identity_parameters(seed, identity).numbers for identity in set(identities)}
    taken = [shot_parameters(seed, i, s, yaw_range) for i, s in zip(identities, shots, strict=True)]
    faces, known = _draw_all(people, taken, size, domains, truth, device)
    front = _draw_all(people, [t.frontal() for t in taken], size, domains, False, device)[0] if frontal else {}
    small = {
        (domain, *to): torch.nn.functional.interpolate(face, size=to, mode="area")
        for domain, face in faces.items()
        for to in low_res
    }

    def column(name: str) -> Tensor:
        return torch.tensor([t.numbers[name] for t in taken], dtype=torch.float32, device=device)

    return Shots(
        faces=faces,
        frontal=front,
        low_res=small,
        landmarks68=known["landmarks68"],
        visible68=known["visible68"],
        landmarks5=known["landmarks5"],
        visible5=known["visible5"],
        parsing=known["parsing"],
        mask=known["mask"],
        identity=torch.tensor(list(identities), device=device),
        shot=torch.tensor(list(shots), device=device),
        yaw_deg=column("yaw_deg"),
        pitch_deg=column("pitch_deg"),
        roll_deg=column("roll_deg"),
        expression=torch.stack([column(name) for name in EXPRESSIONS], dim=1),
    )


def _check(identities: Sequence[int], shots: Sequence[int], size: int, domains: Sequence[str]) -> None:
    if len(identities) != len(shots) or not identities:
        raise ValueError(f"give one shot for each identity, got {len(identities)} identities and {len(shots)} shots")
    unknown = [domain for domain in domains if domain not in DOMAINS]
    if unknown or not domains:
        raise ValueError(f"domains must be some of {', '.join(DOMAINS)}, got {', '.join(domains) or 'none'}")
    if not 16 <= size <= 1024:
        raise ValueError(f"size must be within 16 and 1024 pixels, got {size}")


def _draw_all(
    people: dict[int, dict[str, float]],
    taken: list[Shot],
    size: int,
    domains: Sequence[str],
    with_truth: bool,
    device: torch.device,
) -> _Drawn:
    together = _TOGETHER.get(device.type, _TOGETHER_ELSEWHERE)
    groups = []
    for start in range(0, len(taken), together):
        rows = [people[shot.identity] | shot.numbers for shot in taken[start : start + together]]
        groups.append([numbers | rays.view_numbers(numbers) for numbers in rows])

    def draw(rows: _Rows) -> _Drawn:
        with torch.no_grad():
            return _draw(Numbers(rows, device), Textures(device), size, domains, with_truth)

    drawn = _side_by_side(draw, groups) if device.type == "cpu" else [draw(rows) for rows in groups]
    faces = {domain: torch.cat([pictures[domain] for pictures, _ in drawn]) for domain in domains}
    known = {name: torch.cat([facts[name] for _, facts in drawn]) for name in drawn[0][1]}
    return faces, known


def _side_by_side(draw: Callable[[_Rows], _Drawn], groups: list[_Rows]) -> list[_Drawn]:
    """Draw groups in as many threads as torch may use, each operation in one thread.

    The operations are too small to be split: sharing them out costs more than it gains on a busy machine.
    """
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(min(threads, len(groups)), initializer=_settle) as pool:
            return list(pool.map(draw, groups))
    finally:
        torch.set_num_threads(threads)


def _settle() -> None:
    """Let this thread alone work alone, and let the far tails of bumps be zero instead of slow denormal numbers."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


def _draw(p: Numbers, textures: Textures, size: int, domains: Sequence[str], with_truth: bool) -> _Drawn:
    """One batch: geometry once, then each domain's light and camera over it."""
    shape = head.build(p)
    squared = (shape.radius * shape.radius)[:, None]
    surface = rays.cast(p, squared, size)
    angle, height = torch.atan2(surface.x, surface.z), surface.y
    distance = torch.sqrt(surface.x**2 + surface.z**2)
    where = chart.positions(surface.x, surface.y, surface.z)
    slope_round, slope_up, occlusion, hair = chart.sample(_details(p, shape), where).unbind(1)
    scene = light.Scene(_normal(p, surface, distance, slope_round, slope_up), occlusion, surface)
    painted = paint(p, textures, angle, height, distance, hair)
    worn = glasses(p, surface)
    cover = torch.maximum(surface.cover, worn.frame)[:, None]
    faces = {}
    for domain in domains:
        shade = light.vis_radiance if domain == "vis" else light.nir_radiance
        behind = camera.background(p, textures, size, domain)
        radiance = behind + (shade(p, squared, scene, painted) - behind) * surface.cover[:, None]
        radiance = light.through_glasses(p, radiance, worn, domain)
        faces[domain] = camera.develop(p, textures, radiance, domain, _mean_skin(p, domain))
    if not with_truth:
        empty = torch.zeros(0, device=p.device)
        return faces, dict.fromkeys(("landmarks68", "visible68", "landmarks5", "visible5", "parsing", "mask"), empty)
    return faces, _known(p, shape, surface, painted, angle, cover)


def _details(p: Numbers, shape: head.Head) -> Tensor:
    """Slopes of the radius, openness and hair on the chart, (B, 4, NUM_ROWS, NUM_COLUMNS)."""
    radius = shape.radius
    angle, height = chart.angles(p.device), chart.heights(p.device)
    pad = torch.nn.functional.pad
    span = pad(angle[:, None], (1, 1, 0, 0), mode="replicate")[:, 0]
    rise = height[:, 0:1] - height[:, 1:2]
    details = torch.empty(p.count, 4, chart.NUM_ROWS, chart.NUM_COLUMNS, device=p.device)
    wide = pad(radius[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    torch.mul(wide[:, 1:-1, 2:] - wide[:, 1:-1, :-2], 1.0 / (span[:, :, 2:] - span[:, :, :-2]), out=details[:, 0])
    torch.mul(wide[:, :-2, 1:-1] - wide[:, 2:, 1:-1], 1.0 / (2.0 * rise), out=details[:, 1])
    around = 0.10 * _mean_around(radius, 2, 2) + 0.045 * _mean_around(radius, 4, 4)
    torch.clamp(1.0 + 0.145 * radius - around, 0.42, 1.15, out=details[:, 2])
    details[:, 3] = shape.hair
    return details


def _mean_around(table: Tensor, every: int, reach: int) -> Tensor:
    """Mean over a square of about every * (2 reach + 1) entries, taken on a table made coarser by `every`."""
    pool, pad = torch.nn.functional.avg_pool2d, torch.nn.functional.pad
    coarse = pad(pool(table[:, None], every), (reach, reach, reach, reach), mode="replicate")
    mean = pool(pool(coarse, (2 * reach + 1, 1), 1), (1, 2 * reach + 1), 1)
    return torch.nn.functional.interpolate(mean, scale_factor=every, mode="bilinear", align_corners=False)[:, 0]


def _normal(
    p: Numbers, surface: rays.Surface, distance: Tensor, slope_round: Tensor, slope_up: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Unit normals in camera space, from the radius's slopes."""
    distance = distance.clamp_min(4.0)
    out_x, out_z = surface.x / distance, surface.z / distance
    turn = slope_round / distance
    x, y, z = out_x - turn * out_z, -slope_up, out_z + turn * out_x
    length = torch.rsqrt(x * x + y * y + z * z)
    x, y, z = x * length, y * length, z * length
    return (
        p.r00 * x + p.r01 * y + p.r02 * z,
        p.r10 * x + p.r11 * y + p.r12 * z,
        p.r20 * x + p.r21 * y + p.r22 * z,
    )


def _mean_skin(p: Numbers, domain: str) -> Tensor:
    band = 540.0 if domain == "vis" else 850.0
    return optics.skin_reflectance(optics.Pigments(p.melanin, p.blood), band)


def _known(
    p: Numbers, shape: head.Head, surface: rays.Surface, painted: Paint, angle: Tensor, cover: Tensor
) -> dict[str, Tensor]:
    hit = surface.cover >= 0.5
    points, visible, five, visible_five = truth.landmarks(p, shape, surface.depth, hit, cover.shape[2])
    return {
        "landmarks68": points,
        "visible68": visible,
        "landmarks5": five,
        "visible5": visible_five,
        "parsing": truth.parsing(p, painted, hit, angle, surface.y),
        "mask": cover[:, 0] >= 0.5,
    }
