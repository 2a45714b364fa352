"""68 points of a face, by any regressor exported to ONNX that gives 136 values in 0..1 of a square crop."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facebridge.landmarks.detection import Detection, checked
from facebridge.landmarks.squares import cut

NUM_POINTS = 68
MARGIN = 0.1
"""Of the box's longer side, on each hand; see docs/data/finding_faces.md for how it was found."""


class Points68:
    """A 68-point regressor: (batch, 3, side, side) float32 RGB [0, 1] -> (batch, 136), x1, y1, x2, y2 ... of the crop.

    It sees the square about the middle of a face's box, with a margin round the box's longer side, black outside the
    picture; 0 is the left or upper edge of the square, 1 the right or lower one. Points come in the iBUG order. One
    instance may serve several threads.

    weights: the ONNX file. margin: on each hand, of the box's longer side. mirrored: look at the mirrored crop too and
    give the mean. threads: of one call.

    ValueError: if the file is missing, is no ONNX network, or takes or gives something else.
    ImportError: if onnxruntime is not installed.
    """

    def __init__(self, weights: Path, margin: float = MARGIN, mirrored: bool = True, threads: int = 1) -> None:
        self.margin = margin
        self.mirrored = mirrored
        self._network = _Network(weights, threads)

    def find(self, pictures: Sequence[NDArray[np.uint8]], faces: Sequence[Detection]) -> NDArray[np.float32]:
        """The points of one face in each of N pictures, all at once: (N, 68, 2) pixels of each picture.

        pictures: uint8 RGB (H, W, 3); the same one several times for several faces in it.
        ValueError: if there are not as many faces as pictures, a picture is of another shape or type, or a box lies
        outside its picture.
        """
        if len(pictures) != len(faces):
            raise ValueError(f"{len(pictures)} pictures, but {len(faces)} faces; expected one face for each")
        squares = [_square(face, checked(picture), self.margin) for picture, face in zip(pictures, faces, strict=True)]
        crops = np.zeros((len(faces), self._network.side_px, self._network.side_px, 3), np.float32)
        for crop, picture, (left, top, side) in zip(crops, pictures, squares, strict=True):
            crop[:] = cut(picture, left, top, left + side, top + side, self._network.side_px)
        fractions = self._fractions(crops.transpose(0, 3, 1, 2) / np.float32(255))
        corners = np.array([square[:2] for square in squares], np.float32).reshape(-1, 1, 2)
        sides = np.array([square[2] for square in squares], np.float32).reshape(-1, 1, 1)
        return np.asarray(corners - 0.5 + fractions * sides, np.float32)

    def _fractions(self, crops: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, 3, side, side) -> (N, 68, 2) in 0..1 of the crops."""
        points = self._network.run(crops)
        if self.mirrored:
            mirrored = self._network.run(crops[..., ::-1])[:, MIRRORED]
            mirrored[..., 0] = 1 - mirrored[..., 0]
            return (points + mirrored) / np.float32(2)
        return points


MIRRORED = [
    *range(16, -1, -1),
    *range(26, 16, -1),
    *range(27, 31),
    *range(35, 30, -1),
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
    *range(54, 47, -1),
    *range(59, 54, -1),
    *range(64, 59, -1),
    *(67, 66, 65),
]
"""Which point of the mirrored face is which of the face: jaw, brows, nose, eyes, mouth."""
_AT_ONCE = 64


class _Network:
    """The ONNX file: (N, 3, side, side) -> (N, 68, 2)."""

    def __init__(self, weights: Path, threads: int) -> None:
        self._session = _session(weights, threads)
        (taken, *others) = self._session.get_inputs()
        batch, *face = taken.shape
        if others or len(face) != 3 or face[0] != 3 or face[1] != face[2] or not isinstance(face[1], int):
            raise ValueError(f"{weights}: takes {taken.name} {taken.shape}; expected one input (batch, 3, side, side)")
        self.side_px = face[1]
        self._input = taken.name
        self._fixed_batch = batch if isinstance(batch, int) else None
        self._output = self._session.get_outputs()[0].name
        trial = np.zeros((self._fixed_batch or 1, 3, self.side_px, self.side_px), np.float32)
        given = self._session.run([self._output], {self._input: trial})[0]
        if given.size != len(trial) * 2 * NUM_POINTS:
            raise ValueError(
                f"{weights}: gives {given.size // len(trial)} values for a face ({self._output} {list(given.shape)}); "
                f"expected {2 * NUM_POINTS}, the x and y of {NUM_POINTS} points"
            )

    def run(self, crops: NDArray[np.float32]) -> NDArray[np.float32]:
        """The points of each crop, in 0..1."""
        step = self._fixed_batch or _AT_ONCE
        found = [np.zeros((0, NUM_POINTS, 2), np.float32)]
        for start in range(0, len(crops), step):
            some = np.ascontiguousarray(crops[start : start + step])
            missing = (self._fixed_batch or len(some)) - len(some)
            batch = np.pad(some, ((0, missing), (0, 0), (0, 0), (0, 0)))
            given = self._session.run([self._output], {self._input: batch})[0]
            found.append(given.reshape(-1, NUM_POINTS, 2)[: len(some)])
        return np.concatenate(found)


def _square(face: Detection, picture: NDArray[np.uint8], margin: float) -> tuple[int, int, int]:
    """Left, top and side in whole pixels. ValueError: if it misses the picture."""
    left, top, width, height = face.box.astype(np.float64)
    side = max(1, round(max(width, height) * (1 + 2 * margin)))
    corner_x, corner_y = round(left + (width - side) / 2), round(top + (height - side) / 2)
    if corner_x >= picture.shape[1] or corner_y >= picture.shape[0] or corner_x + side <= 0 or corner_y + side <= 0:
        raise ValueError(f"the box {face.box.tolist()} lies outside a picture of {picture.shape[1::-1]}")
    return corner_x, corner_y, side


def _session(weights: Path, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError("68-point models need onnxruntime: pip install 'facebridge[export]'") from error
    if not weights.is_file():
        raise ValueError(f"{weights}: no such file; expected a 68-point regressor in ONNX format")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(weights), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class but this one
        raise ValueError(f"{weights}: not an ONNX network that onnxruntime can run ({error})") from error
