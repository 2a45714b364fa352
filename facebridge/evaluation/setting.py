"""How an evaluation makes its probes: crop, sizes, title."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facebridge.crops import Convention, Crop
from facebridge.data.face_list import FaceList
from facebridge.data.reading import aligned
from facebridge.evaluation.normalisation import ScoreNormalisation

FULL_SIZE = "full size"


@dataclass(frozen=True)
class Setting:
    """How probes are made and faces aligned."""

    crop: Crop
    sizes: tuple[tuple[int, int], ...] = ()
    """(height, width) in px to which aligned probes are reduced; none: probes as they are."""
    convention: Convention = "umeyama"
    baseline: str = "bicubic"
    """The way whose score is the original one in a fused score; at full size it is the face as it is."""
    title: str = "Evaluation"
    normalisation: ScoreNormalisation | None = None
    """What is done to scores before anything is read off them; None: they are cosines."""
    provenance: dict[str, Any] = field(default_factory=dict)

    def conditions(self) -> dict[str, tuple[int, int]]:
        """Names of the conditions and their sizes, smallest first, full size last."""
        small = {f"{height}x{width}": (height, width) for height, width in sorted(self.sizes)}
        return {**small, FULL_SIZE: (self.crop.height, self.crop.width)}


def face(faces: FaceList, row: int, setting: Setting) -> NDArray[np.uint8]:
    """One aligned picture, uint8 RGB (crop.height, crop.width, 3). BadPicture: if it cannot be used."""
    return aligned(faces, row, setting.crop, setting.convention)
