"""Faces and their landmarks in pictures: one interface, and the detectors behind it.

Each module of this package that has `load(weights, **settings)` and names its SETTINGS is a detector of its own name.
"""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

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
    "Points68",
    "Turned",
    "YuNet",
    "detect_largest",
    "faces_in",
    "load",
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


def _detectors() -> dict[str, ModuleType]:
    found = (module.name for module in pkgutil.iter_modules(__path__))
    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in found}
    return {name: module for name, module in modules.items() if hasattr(module, "SETTINGS")}
