"""Warp a face to the geometry of another: displacements of landmarks, weighted by inverse distance.

D. Ruprecht and H. Mueller, "Image Warping with Scattered Data Interpolation", IEEE Computer Graphics and Applications
15(2), 1995, with Shepard's weights: landmark i lies at n_i in the target geometry and at v_i in the source picture;

    d(p) = sum_i w_i(p) (v_i - n_i) / sum_i w_i(p),    w_i(p) = 1 / (|p - n_i|^2 + softening^2)^(exponent / 2)

and pixel p of the warped face is the source picture at p + d(p). So d(n_i) = v_i - n_i, no displacement is longer than
the longest given one, and d is flat around every landmark. Distances are split by axis, |p - n|^2 = x^2 + y^2, summed
into a block that stays in the processor's cache, turned into weights in place, and both sums are one product of
matrices.

Points are (x, y) in pixels; the centre of the top-left pixel is (0, 0).
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypedDict, Unpack

import torch
from torch import Tensor
from torch.nn import functional


class Options(TypedDict, total=False):
    """The options of `Warper`, which explains them, for a single call."""

    exponent: float
    border_points: int
    reach_px: float


def warp(
    faces: Tensor,
    source_points: Tensor,
    target_points: Tensor,
    seen: Tensor | None = None,
    **options: Unpack[Options],
) -> Tensor:
    """Move faces so that their landmarks come to lie where the target's do; see `Warper.warp`."""
    height, width = _size(faces)
    return Warper(height, width, cache_megabytes=0, **options).warp(faces, source_points, target_points, seen)


def displacement(
    source_points: Tensor,
    target_points: Tensor,
    height: int,
    width: int,
    seen: Tensor | None = None,
    **options: Unpack[Options],
) -> Tensor:
    """Where each pixel of the target geometry comes from, (B, 2, height, width); see `Warper.displacement`."""
    return Warper(height, width, cache_megabytes=0, **options).displacement(source_points, target_points, seen)


def sample(faces: Tensor, displacements: Tensor) -> Tensor:
    """Faces (B, 3, H, W) looked up at p + d(p): bilinear, the border repeated outside; differentiable.

    displacements: (B, 2, H, W) px of the faces' dtype, x before y.
    """
    height, width = _size(faces)
    x = torch.arange(1, 2 * width, 2, dtype=faces.dtype, device=faces.device) / width - 1
    y = torch.arange(1, 2 * height, 2, dtype=faces.dtype, device=faces.device) / height - 1
    at_rest = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)  # -1 and 1 are the outer edges of the pixels
    per_px = faces.new_tensor([2 / width, 2 / height])
    grid = torch.addcmul(at_rest, displacements.movedim(1, -1), per_px)  # (B, H, W, 2)
    return functional.grid_sample(faces, grid, mode="bilinear", padding_mode="border", align_corners=False)


class Warper:
    """Warps for pictures of one size, which keeps the weights of the targets it met last.

    exponent: mu of the paper, over 1 and at most 3. Up to 1 the field has a crease at every landmark; the larger it
    is, the more each landmark rules its own region, until the field jumps between regions.
    border_points: 0, 4, 8, 12 ... points around the picture's edge that stay where they are and hold the background.
    reach_px: landmarks farther away than this count nothing (Franke and Little's weights, (1 / distance - 1 / reach) to
    the power of the exponent); infinite: all count everywhere. Where the nearest is farther than half of it, the reach
    is twice the distance of the nearest, so that the field is defined, and continuous, everywhere.
    cache_megabytes: weights kept for targets that come again, 6 MB each for 68 points at 144x144; 0 keeps none.
    Those used least recently go first. One instance a thread.

    ValueError: if an option is out of range.
    """

    def __init__(
        self,
        height: int,
        width: int,
        *,
        exponent: float = 2.0,
        border_points: int = 8,
        reach_px: float = math.inf,
        cache_megabytes: float = 256.0,
    ) -> None:
        if height < 1 or width < 1:
            raise ValueError(f"expected a height and a width of at least 1 px, got {height}x{width}")
        if not 1 < exponent <= 3:
            raise ValueError(f"exponent is {exponent}; expected more than 1 (no creases) and at most 3 (no jumps)")
        if border_points < 0 or border_points % 4:
            raise ValueError(f"border_points is {border_points}; expected 0 or a multiple of 4")
        if not reach_px > 0:
            raise ValueError(f"reach_px is {reach_px}; expected more than 0, or infinity for no limit")
        if not cache_megabytes >= 0:
            raise ValueError(f"cache_megabytes is {cache_megabytes}; expected 0 or more")
        self.height, self.width = height, width
        self.exponent, self.reach_px = exponent, reach_px
        self._border = _border(height, width, border_points)
        self._kept = _Recent(cache_megabytes * 1e6)

    @property
    def kept_megabytes(self) -> float:
        """How much the kept weights take."""
        return self._kept.num_bytes / 1e6

    def warp(self, faces: Tensor, source_points: Tensor, target_points: Tensor, seen: Tensor | None = None) -> Tensor:
        """Move faces so that their landmarks come to lie where the target's do.

        faces: (B, 3, height, width) RGB in [0, 1], float32 or float64. Points and seen: as in `displacement`, on any
        device. Returns faces of the same shape, differentiable with respect to the faces.

        ValueError: as in `displacement`, or if the faces have another shape or type.
        """
        if _size(faces) != (self.height, self.width):
            raise ValueError(f"faces are {faces.shape[2]}x{faces.shape[3]}; expected {self.height}x{self.width}")
        pairs = self._pairs(source_points, target_points, seen).to(faces.device)
        if len(faces) != len(pairs.target):
            raise ValueError(f"expected points for each of {len(faces)} faces, got {len(pairs.target)} sets")
        return sample(faces, self._field(pairs, faces.dtype))

    def displacement(self, source_points: Tensor, target_points: Tensor, seen: Tensor | None = None) -> Tensor:
        """Where each pixel of the target geometry comes from, relative to itself.

        source_points, target_points: (B, N, 2) px, float32 or float64, any N from 1 on, in the same order; they may
        lie outside the picture. seen: (B, N) bool, the points that count (all, if not given); the others may be NaN.
        Where two target points coincide, the mean of their displacements holds.
        Returns (B, 2, height, width) px, x before y, in the points' type, without a gradient.

        ValueError: if a shape or type is wrong, a point that counts is not finite or absurdly far away, none counts,
        or the points ask for gradients.
        """
        pairs = self._pairs(source_points, target_points, seen)
        return self._field(pairs, torch.promote_types(source_points.dtype, target_points.dtype))

    def _pairs(self, source: Tensor, target: Tensor, seen: Tensor | None) -> "_Pairs":
        """Checked points in float64, with the border's."""
        _check_points(source, target, seen)
        seen = torch.ones(source.shape[:2], dtype=torch.bool, device=source.device) if seen is None else seen
        if not (seen.any(1).all() or len(self._border)):
            raise ValueError(f"no point of set {int(seen.any(1).int().argmin())} counts; expected at least one")
        source, target = (torch.where(seen[..., None], points.double(), 0.0) for points in (source, target))
        _check_range(source, "source_points")
        _check_range(target, "target_points")
        border = self._border.to(source.device).expand(len(source), -1, -1)
        shift = functional.pad(source - target, (0, 0, 0, border.shape[1]))
        seen = functional.pad(seen, (0, border.shape[1]), value=True)
        return _Pairs(torch.cat([target, border], dim=1), shift, seen)

    def _field(self, pairs: "_Pairs", dtype: torch.dtype) -> Tensor:
        num_weights = pairs.target.shape[1] * self.height * self.width
        device = pairs.target.device
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            if num_weights * dtype.itemsize > self._kept.most_bytes:
                return self._fresh(pairs, dtype)
            return self._from_kept(pairs, dtype)

    def _fresh(self, pairs: "_Pairs", dtype: torch.dtype) -> Tensor:
        """The field in blocks: rows of a few faces whose weights fit into the processor's cache."""
        num_faces, num_points = pairs.seen.shape
        columns, rows = self._axis_squares(pairs, dtype)
        sums_of = functional.pad(pairs.shift, (0, 1), value=1.0).mT.to(dtype)  # (B, 3, N): shift x, shift y, 1
        field = rows.new_empty(num_faces, 2, self.height, self.width)
        together, tall = _block(num_faces, num_points, self.height, self.width, rows.device)
        buffer = rows.new_empty(together * num_points * tall * self.width)
        for start in range(0, num_faces, together):
            some = slice(start, start + together)
            for top in range(0, self.height, tall):
                block = slice(top, top + tall)
                weights = self._weights(columns[some], rows[some, :, block], buffer)
                sums = (sums_of[some] @ weights.flatten(2)).view(-1, 3, *weights.shape[2:])
                torch.div(sums[:, :2], sums[:, 2:], out=field[some, :, block])
        return field

    def _from_kept(self, pairs: "_Pairs", dtype: torch.dtype) -> Tensor:
        """The field from kept weights: all sources of one target in one product."""
        field = pairs.shift.new_empty(len(pairs.shift), 2, self.height, self.width, dtype=dtype)
        of_target: dict[bytes, list[int]] = {}
        for index, key in enumerate(pairs.keys(dtype)):
            of_target.setdefault(key, []).append(index)
        for key, indices in of_target.items():
            share = self._kept.get(key, partial(self._shares, pairs.only(slice(indices[0], indices[0] + 1)), dtype))
            shifts = pairs.shift[indices].mT.to(dtype)  # (sources, 2, N)
            field[indices] = (shifts.flatten(0, 1) @ share).view(-1, 2, self.height, self.width)
        return field

    def _shares(self, pairs: "_Pairs", dtype: torch.dtype) -> Tensor:
        """Weights of one target that sum to 1 in every pixel, (N, H * W)."""
        columns, rows = self._axis_squares(pairs, dtype)
        buffer = rows.new_empty(rows.numel() * self.width)
        weights = self._weights(columns, rows, buffer)[0].flatten(1)
        return weights.div_(weights.sum(dim=0))

    def _axis_squares(self, pairs: "_Pairs", dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Squared distances in x, (B, N, W), and in y, (B, N, H), px^2; infinite for points that do not count."""
        x, y = pairs.target[..., None].unbind(2)
        columns = (torch.arange(self.width, dtype=x.dtype, device=x.device) - x).square_()
        rows = (torch.arange(self.height, dtype=y.dtype, device=y.device) - y).square_()
        columns = columns.masked_fill_(~pairs.seen[..., None], math.inf)
        return columns.to(dtype), (rows + SOFTENING_PX**2).to(dtype)

    def _weights(self, columns: Tensor, rows: Tensor, buffer: Tensor) -> Tensor:
        """Weights (B, N, rows, W) of a block, made in the buffer."""
        shape = (*rows.shape, columns.shape[-1])
        weights = buffer[: math.prod(shape)].view(shape)
        torch.add(columns[:, :, None], rows[..., None], out=weights)
        if self.reach_px < math.inf:
            nearness = weights.rsqrt_()
            nearness -= (nearness.amax(dim=1, keepdim=True) / 2).clamp_(max=1 / self.reach_px)
            return _power_(nearness.clamp_(min=0), self.exponent)
        return _power_(weights, -self.exponent / 2)


SOFTENING_PX = 1e-6
"""Keeps weights finite on a landmark: 1e12 there with exponent 2, against 1 from a pixel away."""

_FARTHEST_PX = 1e6
# Weights worked on at once: 1 MiB of float32 for each thread, which its second-level cache holds; 256 MiB on a GPU.
_BLOCK_PER_THREAD, _BLOCK_ELSEWHERE = 2**18, 2**26


@dataclass(frozen=True)
class _Pairs:
    """target (B, N, 2) and shift = source - target, float64; seen (B, N)."""

    target: Tensor
    shift: Tensor
    seen: Tensor

    def to(self, device: torch.device) -> "_Pairs":
        return _Pairs(self.target.to(device), self.shift.to(device), self.seen.to(device))

    def only(self, some: slice) -> "_Pairs":
        return _Pairs(self.target[some], self.shift[some], self.seen[some])

    def keys(self, dtype: torch.dtype) -> list[bytes]:
        """What the weights of each row depend on, beside size and options."""
        kind = f"{dtype} {self.target.device} ".encode()
        sides = zip(self.target.cpu().numpy(), self.seen.cpu().numpy(), strict=True)
        return [kind + target.tobytes() + seen.tobytes() for target, seen in sides]


class _Recent:
    """Tensors by key, the most recently used ones, within a number of bytes."""

    def __init__(self, most_bytes: float) -> None:
        self.most_bytes = most_bytes
        self.num_bytes = 0
        self._tensors: OrderedDict[bytes, Tensor] = OrderedDict()

    def get(self, key: bytes, make: Callable[[], Tensor]) -> Tensor:
        if key in self._tensors:
            self._tensors.move_to_end(key)
            return self._tensors[key]
        tensor = make()
        self.num_bytes += tensor.nbytes
        while self.num_bytes > self.most_bytes:
            self.num_bytes -= self._tensors.popitem(last=False)[1].nbytes
        self._tensors[key] = tensor
        return tensor


def _power_(numbers: Tensor, exponent: float) -> Tensor:
    """numbers ** exponent, in place."""
    if exponent == -1:
        return numbers.reciprocal_()
    if exponent == 2:
        return numbers.square_()
    return numbers.log_().mul_(exponent).exp_()  # a fifth of the time of pow_


def _border(height: int, width: int, count: int) -> Tensor:
    """Points evenly spaced along the centres of the outermost pixels, corners first on each side: (count, 2)."""
    right, bottom, steps = width - 1.0, height - 1.0, count // 4
    points = []
    for share in (step / steps for step in range(steps)):
        x, y = share * right, share * bottom
        points += [(x, 0.0), (right, y), (right - x, bottom), (0.0, bottom - y)]
    return torch.tensor(points, dtype=torch.float64).reshape(count, 2)


def _block(num_faces: int, num_points: int, height: int, width: int, device: torch.device) -> tuple[int, int]:
    """Faces, and rows of each, to work on at once. A face a thread: torch shares work out along the first axis."""
    threads = torch.get_num_threads()
    most = _BLOCK_PER_THREAD * threads if device.type == "cpu" else _BLOCK_ELSEWHERE
    together = threads if device.type == "cpu" else max(1, most // (num_points * height * width))
    together = max(1, min(num_faces, together))
    tall = max(1, min(height, most // (together * num_points * width)))
    return together, math.ceil(height / math.ceil(height / tall))


def _size(faces: Tensor) -> tuple[int, int]:
    if faces.ndim != 4 or faces.shape[1] != 3 or faces.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"expected faces (B, 3, H, W) of float32 or float64, got {faces.dtype} {tuple(faces.shape)}")
    return faces.shape[2], faces.shape[3]


def _check_points(source: Tensor, target: Tensor, seen: Tensor | None) -> None:
    shape = tuple(source.shape)
    if len(shape) != 3 or shape[1] < 1 or shape[2] != 2 or target.shape != source.shape:
        raise ValueError(
            f"expected source_points and target_points (B, N, 2) of one N, at least 1; got {shape} and "
            f"{tuple(target.shape)}"
        )
    if not {source.dtype, target.dtype} <= {torch.float32, torch.float64}:
        raise ValueError(f"expected points of float32 or float64, got {source.dtype} and {target.dtype}")
    if torch.is_grad_enabled() and (source.requires_grad or target.requires_grad):
        raise ValueError("the warp has no gradient with respect to points, only to faces; expected detached points")
    if seen is not None and (seen.dtype != torch.bool or tuple(seen.shape) != shape[:2]):
        raise ValueError(f"expected seen (B, N) = {shape[:2]} of bool, got {seen.dtype} {tuple(seen.shape)}")


def _check_range(points: Tensor, name: str) -> None:
    bad = ~(points.abs() <= _FARTHEST_PX).all(dim=2)
    if bad.any():
        row, point = (int(number) for number in bad.nonzero()[0])
        raise ValueError(
            f"{name}[{row}, {point}] is {points[row, point].tolist()}; expected finite pixels within {_FARTHEST_PX:g}"
        )
