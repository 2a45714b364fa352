"""Faces and their landmarks in pictures: one interface, and the detectors behind it.

Each module of this package that has `load(weights, **settings)` and names its SETTINGS is a detector of its own name.
"""

import importlib
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facebridge import images
from facebridge.landmarks.detection import FIVE_POINT_NAMES, Choose, Detection, Detector, detect_largest, faces_in
from facebridge.landmarks.mtcnn import MTCNN
from facebridge.landmarks.points68 import Points68
from facebridge.landmarks.turned import Turned
from facebridge.landmarks.yunet import YuNet

__all__ = [
    "FIVE_POINT_NAMES",
    "MTCNN",
    "Choose",
    "Detection",
    "Detector",
    "DetectorSettings",
    "Located",
    "Points68",
    "Turned",
    "YuNet",
    "detect_largest",
    "faces_in",
    "load",
    "locate",
    "names",
]


def names() -> list[str]:
    """The names that `load` knows."""
    return sorted(_detectors())


def load(name: str, weights: Path | Sequence[Path], *, turned: bool = False, **settings: Any) -> Detector:
    """The detector of this name.

    weights: its files: one ONNX file for "yunet"; P-, R- and O-Net for "mtcnn", or the folder that holds mtcnn_pnet.pt,
    mtcnn_rnet.pt and mtcnn_onet.pt. turned: search for faces on their side and upside down too, at four times the
    cost. settings: of the detector; its module in this package names its SETTINGS.

    ValueError: if the name or a setting is unknown, or the files are not its weights.
    """
    detectors = _detectors()
    if name not in detectors:
        raise ValueError(f"no detector is called {name!r}; known: {', '.join(sorted(detectors))}")
    known = detectors[name].SETTINGS
    if unknown := sorted(set(settings) - set(known)):
        raise ValueError(f"{name} has no setting {', '.join(unknown)}; known: {', '.join(known)}")
    files = [weights] if isinstance(weights, Path) else list(weights)
    detector: Detector = detectors[name].load(files, **settings)
    return Turned(detector) if turned else detector


@dataclass(frozen=True)
class DetectorSettings:
    """A detector to be built where it is used: in each thread or worker process. Can be pickled.

    name, weights, settings: as `load` takes them; settings may hold `turned`.
    """

    name: str
    weights: tuple[Path, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def build(self) -> Detector:
        """A new detector. ValueError: as `load`."""
        return load(self.name, self.weights, **self.settings)


@dataclass(frozen=True)
class Located:
    """Five points for each of many pictures.

    points: (N, 5, 2) float32 pixels, NaN where nothing was found. without_face: paths of readable pictures in which
    no face was found. unreadable: one error for each picture that could not be decoded.
    """

    points: NDArray[np.float32]
    without_face: list[str] = field(default_factory=list)
    unreadable: list[images.BadPicture] = field(default_factory=list)


def locate(paths: Iterable[str | Path], detector: Detector, workers: int = 2) -> Located:
    """Find the largest face of each picture; go on past bad pictures, and name every one without a result."""
    points: list[NDArray[np.float32]] = []
    without_face: list[str] = []
    unreadable: list[images.BadPicture] = []
    names = [str(path) for path in paths]
    for path, picture in zip(names, images.read_all(names, workers), strict=True):
        found = None
        if isinstance(picture, images.BadPicture):
            unreadable.append(picture)
        elif (found := detect_largest(detector, picture)) is None:
            without_face.append(path)
        points.append(np.full((5, 2), np.nan, np.float32) if found is None else found.points)
    return Located(np.array(points, np.float32).reshape(-1, 5, 2), without_face, unreadable)


def _detectors() -> dict[str, ModuleType]:
    found = (module.name for module in pkgutil.iter_modules(__path__))
    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in found}
    return {name: module for name, module in modules.items() if hasattr(module, "SETTINGS")}
