"""A small copy of a data set's layout, drawn, with where the faces are in its pictures."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Tree:
    """root: what a user would give. options: of the set's `read`. landmarks: picture, as imported -> (5, 2) pixels."""

    root: Path
    options: dict[str, object] = field(default_factory=dict)
    landmarks: dict[str, np.ndarray] = field(default_factory=dict)
