"""What many tests need: the folder of real data, and quick settings of hypothesis."""

import os
from pathlib import Path

import hypothesis
import pytest
import torch

REAL_DATA = "FACEBRIDGE_REAL_DATA"

hypothesis.settings.register_profile("quick", deadline=None, max_examples=40)
hypothesis.settings.load_profile("quick")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder that holds data/ and weights/; tests that use it are marked `real`."""
    folder = os.environ.get(REAL_DATA)
    if not folder:
        pytest.skip(f"{REAL_DATA} names no folder with real photographs and weights")
    path = Path(folder)
    for part in ("data", "weights"):
        if not (path / part).is_dir():
            pytest.skip(f"{REAL_DATA}={folder} has no folder {part}/")
    return path


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
