"""MTCNN written out plainly: one picture, one crop at a time, resizing by matrices, suppression by loops.

Written from the description of the procedure, on published tensors under their published names, to compare with.
"""

import math

import numpy as np
import torch
from torch.nn import functional

State = dict[str, torch.Tensor]


def detect(
    picture: np.ndarray,
    states: tuple[State, State, State],
    min_scores: tuple[float, float, float] = (0.6, 0.7, 0.8),
    min_face_px: float = 20,
    scale_step: float = 0.707,
) -> list[tuple[np.ndarray, float, np.ndarray]]:
    """Corners (left, top, right, bottom), log odds and five points (5, 2) of each face, the most certain first."""
    min_odds = [math.log(score / (1 - score)) for score in min_scores]
    height, width = picture.shape[:2]
    values = picture.astype(np.float64) / 255
    candidates = []
    scale = 12 / min_face_px
    while min(height, width) * scale >= 12:
        level = resized(values, math.ceil(height * scale), math.ceil(width * scale))
        scores, offsets = proposal(level, states[0])
        at_level = []
        for row, column in zip(*np.nonzero(scores > min_odds[0]), strict=True):
            left, top = 2 * column + 1, 2 * row + 1
            corners = np.round(np.array([left, top, left + 12, top + 12]) / scale)
            at_level.append((corners, scores[row, column], offsets[:, row, column]))
        candidates += suppressed(at_level, 0.5)
        scale *= scale_step
    candidates = suppressed(candidates, 0.7)

    refined = []
    for corners, _, offsets in candidates:
        box = square(shift(corners, offsets))
        score, moves, _ = crop_network(piece(values, box, 24), states[1], ("dense5_1", "dense5_2", None), pools=(3, 3))
        if score > min_odds[1]:
            refined.append((box, score, moves))
    refined = suppressed(refined, 0.7)

    final = []
    for corners, _, offsets in refined:
        box = square(shift(corners, offsets))
        heads = ("dense6_1", "dense6_2", "dense6_3")
        score, moves, marks = crop_network(piece(values, box, 48), states[2], heads, pools=(3, 3, 2))
        if score > min_odds[2]:
            width, height = box[2] - box[0] + 1, box[3] - box[1] + 1
            points = np.stack([box[0] + width * marks[:5], box[1] + height * marks[5:]], 1)
            final.append((shift(box, moves), score, points))
    return suppressed(final, 0.7, of_smaller=True)


def suppressed(faces: list, largest: float, of_smaller: bool = False) -> list:
    """Take the most certain again and again, each time striking out what overlaps it too much."""
    remaining = sorted(faces, key=lambda face: -face[1])
    kept = []
    while remaining:
        best = remaining.pop(0)
        kept.append(best)
        remaining = [face for face in remaining if overlap(best[0], face[0], of_smaller) <= largest]
    return kept


def overlap(a: np.ndarray, b: np.ndarray, of_smaller: bool) -> float:
    """Of two boxes whose last pixels are inclusive."""
    across = min(a[2], b[2]) - max(a[0], b[0]) + 1
    down = min(a[3], b[3]) - max(a[1], b[1]) + 1
    common = max(across, 0) * max(down, 0)
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return common / (min(areas) if of_smaller else sum(areas) - common)


def shift(corners: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    width, height = corners[2] - corners[0] + 1, corners[3] - corners[1] + 1
    return corners + np.array([width, height, width, height]) * offsets


def square(corners: np.ndarray) -> np.ndarray:
    width, height = corners[2] - corners[0] + 1, corners[3] - corners[1] + 1
    side = max(width, height)
    left, top = corners[0] + 0.5 * width - 0.5 * side, corners[1] + 0.5 * height - 0.5 * side
    return np.round([left, top, left + side - 1, top + side - 1])  # rounding can leave it a pixel off square


def piece(values: np.ndarray, box: np.ndarray, side_px: int) -> np.ndarray:
    left, top, right, bottom = (int(edge) for edge in box)
    frame = max(0, -left, -top, right + 1 - values.shape[1], bottom + 1 - values.shape[0])
    framed = np.pad(values, ((frame, frame), (frame, frame), (0, 0)))
    return resized(framed[top + frame : bottom + 1 + frame, left + frame : right + 1 + frame], side_px, side_px)


def resized(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Means over areas where it shrinks, linear interpolation where it grows."""
    weights = areas if height < values.shape[0] else neighbours
    rows, columns = weights(values.shape[0], height), weights(values.shape[1], width)
    return np.einsum("abd,eb->aed", np.einsum("ab,bcd->acd", rows, values), columns)


def areas(before: int, after: int) -> np.ndarray:
    step = before / after
    row, column = np.arange(after)[:, None], np.arange(before)[None]
    return np.clip(np.minimum((row + 1) * step, column + 1) - np.maximum(row * step, column), 0, None) / step


def neighbours(before: int, after: int) -> np.ndarray:
    share = np.zeros((after, before))
    for row in range(after):
        place = min(max((row + 0.5) * before / after - 0.5, 0), before - 1)
        first = min(int(place), max(before - 2, 0))
        share[row, first] += 1 - (place - first)
        share[row, min(first + 1, before - 1)] += place - first
    return share


def proposal(level: np.ndarray, state: State) -> tuple[np.ndarray, np.ndarray]:
    x = functional.max_pool2d(layer(as_input(level), state, 1), 2, 2, ceil_mode=True)
    x = layer(layer(x, state, 2), state, 3)
    face = functional.conv2d(x, state["conv4_1.weight"], state["conv4_1.bias"])[0].numpy()
    offsets = functional.conv2d(x, state["conv4_2.weight"], state["conv4_2.bias"])
    return face[1] - face[0], offsets[0].numpy()


def crop_network(
    crop: np.ndarray, state: State, heads: tuple[str, str, str | None], pools: tuple[int, ...]
) -> tuple[float, np.ndarray, np.ndarray | None]:
    x = as_input(crop)
    for number, size in enumerate(pools, start=1):
        x = functional.max_pool2d(layer(x, state, number), size, 2, ceil_mode=True)
    x = layer(x, state, len(pools) + 1)
    x = x[0].numpy()
    numbers = [x[c, h, w] for w in range(x.shape[2]) for h in range(x.shape[1]) for c in range(x.shape[0])]
    dense = len(pools) + 2
    x = state[f"dense{dense}.weight"].double() @ torch.tensor(np.array(numbers)).double() + state[f"dense{dense}.bias"]
    x = torch.where(x > 0, x, x * state[f"prelu{dense}.weight"])
    face, offsets, marks = (
        None if head is None else (state[f"{head}.weight"].double() @ x + state[f"{head}.bias"]) for head in heads
    )
    return float(face[1] - face[0]), offsets.numpy(), None if marks is None else marks.numpy()


def layer(x: torch.Tensor, state: State, number: int) -> torch.Tensor:
    x = functional.conv2d(x, state[f"conv{number}.weight"], state[f"conv{number}.bias"])
    return torch.where(x > 0, x, x * state[f"prelu{number}.weight"][:, None, None])


def as_input(values: np.ndarray) -> torch.Tensor:
    return torch.tensor((values.transpose(2, 0, 1)[None] * 255 - 127.5) / 128, dtype=torch.float32)
