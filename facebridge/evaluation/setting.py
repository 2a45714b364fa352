"""How an evaluation makes its probes: crop, sizes, damage, title."""

from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from facebridge.crops import Convention, Crop
from facebridge.data.face_list import FaceList
from facebridge.data.reading import aligned, aligned_five_points
from facebridge.degradation import NONE, Damage, Degradation
from facebridge.evaluation.face_shape import ShapeEstimator
from facebridge.evaluation.lfw import ThresholdRule
from facebridge.evaluation.normalisation import ScoreNormalisation
from facebridge.hallucination import Preset

FULL_SIZE = "full size"


@dataclass(frozen=True)
class Setting:
    """How probes are made and faces aligned."""

    crop: Crop
    sizes: tuple[tuple[int, int], ...] = ()
    """(height, width) in px to which aligned probes are reduced; none: probes as they are."""
    damages: tuple[Damage, ...] = ()
    """Each gives one more condition at every size."""
    convention: Convention = "umeyama"
    baseline: str = "bicubic"
    """The way whose score is the original one in a fused score; at full size it is the face as it is."""
    title: str = "Evaluation"
    normalisation: ScoreNormalisation | None = None
    """What is done to scores before anything is read off them; None: they are cosines."""
    preset: Preset = "clean"
    """code: thresholds of pairs are those of a grid, as in the test script of SR_LRFR. The ways have a preset too."""
    shape: ShapeEstimator | None = None
    """Looks for landmarks and parts in what was made and in the sharp faces; None: neither is asked for."""
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def threshold_rule(self) -> ThresholdRule:
        """How the threshold is found that calls pairs same or different."""
        return "sr_lrfr" if self.preset == "code" else "exact"

    def conditions(self) -> dict[str, Degradation]:
        """Names of the conditions and what they do, smallest first, undamaged before damaged, full size last."""
        small = [Degradation(*size, damage) for size in sorted(set(self.sizes)) for damage in (NONE, *self.damages)]
        named = {degradation.name: degradation for degradation in small}
        return {**named, FULL_SIZE: Degradation(self.crop.height, self.crop.width)}


def face(faces: FaceList, row: int, setting: Setting) -> NDArray[np.uint8]:
    """One aligned picture, uint8 RGB (crop.height, crop.width, 3). BadPicture: if it cannot be used."""
    return aligned(faces, row, setting.crop, setting.convention)


def points(faces: FaceList, row: int, setting: Setting) -> NDArray[np.float32]:
    """The five points (5, 2) in pixels of `face`. BadPicture: as `face`."""
    return aligned_five_points(faces, row, setting.crop, setting.convention)


def numbers(faces: FaceList) -> list[int]:
    """What decides the noise of each face's degradations: its picture, whatever list it stands in."""
    return [crc32(key.encode("utf-8", "surrogatepass")) for key in faces.originals()]
