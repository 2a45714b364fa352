"""Runs of a tiny DVG that was never trained, and folders of what is sampled from them."""

from pathlib import Path
from typing import Any

import torch

from facebridge import crops, methods, recipe, runs, sampling, weights
from facebridge.new_pairs import UNFINISHED

CROP = "light_cnn_16"
CODE_SIZE = 6
BATCH, BLOCK = 4, 8


def dvg_run(folder: Path, seed: int = 1) -> Path:
    """A run folder of DVG for faces of 16x16 px, with its first weights."""
    sizes = {"code_size": CODE_SIZE, "encoder_widths": [4, 4, 4], "decoder_widths": [8, 8, 8, 4]}
    table = {
        "method": "dvg",
        "crop": CROP,
        "settings": {**sizes, "identity_weight": 0, "pair_weight": 0},
        "data": {"kind": "synthetic"},
        "training": {"steps": 1, "batch_size": 1},
    }
    run = runs.create(folder, recipe.resolve(table, "a test"))
    torch.manual_seed(seed)
    method = methods.load("dvg")(run.recipe.config(), crops.crop(CROP))
    weights.write(run.weights, method.state_dict(), {"method": "dvg"})
    return folder


def sample(run: Path, out: Path, count: int = 20, **options: Any) -> sampling.Sampled:
    """In small batches and blocks, by one worker, in float32."""
    small: dict[str, Any] = {"workers": 1, "batch_size": BATCH, "block_size": BLOCK, "precision": "float32"}
    return sampling.sample(run, out, count, **(small | options))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder but those of an unfinished job's account."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and UNFINISHED not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
