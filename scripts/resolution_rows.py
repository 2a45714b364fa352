"""The rows of the resolution benchmark: what is trained for each, on what, and how it is named."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facebridge import crops, recipe, runs, training
from facebridge.data import face_list, synthetic
from facebridge.data.faces import DrawnFaces, Faces
from facebridge.recipe import Recipe, SyntheticData

SIZES = ((7, 6), (14, 12), (28, 24))
SQUARES = ((8, 8), (16, 16), (32, 32))
DAMAGES = ("blur=1", "noise=10", "jpeg=30", "blur=0.7,noise=5,jpeg=50")
TRAINING_SEED, TRAINING_PEOPLE, TRAINING_SHOTS = 91, 300, 6
PEOPLE_APART = 10_000
"""First identities of two seeds lie so far apart, that they share nobody."""
TEST_SEED, TEST_PEOPLE, TEST_SHOTS = 92, 200, 4
"""The first shot of a test person is the gallery picture, the others are probes."""
PARTS_OF_FSRNET = ("coarse", "encoder", "prior", "heads", "decoder")
PARTS_OF_FACEBRIDGE_SR = ("generator",)


@dataclass(frozen=True)
class Row:
    """One trained row of a table."""

    recipe: str
    settings: tuple[str, ...] = ()
    begins_with: str | None = None
    """The row whose networks its training begins with."""


IN_SHORT = ["training.steps=400", "settings.guided_after_steps=150"]
"""The trainings that compare ideas."""


ROWS = {
    "EDSR, lambda 0": Row("edsr_identity_demo", ("settings.identity_weight=0.0",)),
    "EDSR, lambda 0.5": Row("edsr_identity_demo"),
    "FSRNet": Row("fsrnet_small"),
    "FSRGAN": Row("fsrgan_small", begins_with="FSRNet"),
    "facebridge_sr": Row("facebridge_sr_small"),
}
"""On drawn people."""
IDEAS = {
    "all": Row("facebridge_sr_small"),
    "no learned positions": Row("facebridge_sr_small", ("settings.knows_position=false",)),
    "no inner layers": Row("facebridge_sr_small", ("settings.layer_weight=0.0",)),
    "no identity loss, no layers": Row(
        "facebridge_sr_small", ("settings.layer_weight=0.0", "settings.identity_weight=0.0")
    ),
    "guide sees faces sharp": Row("facebridge_sr_small", ("settings.guide_blur_px=0.0",)),
    "reduced alone in training": Row("facebridge_sr_small", ("settings.degraded_share=0.0",)),
    "transposed attention": Row("facebridge_sr_small", ("settings.attends=true",)),
}
"""facebridge_sr with one of its ideas taken away, or another put in."""
EDSR_SIZES = {
    "EDSR 2x8": Row("edsr_identity_demo", ("settings.num_blocks=2", "settings.num_filters=8")),
    "EDSR 4x16": Row("edsr_identity_demo", ("settings.num_blocks=4", "settings.num_filters=16")),
}
"""Besides 8x32, which is the row lambda 0.5."""
PHOTOGRAPHS = {
    "EDSR, lambda 0": Row("edsr_identity_small", ("settings.identity_weight=0.0",)),
    "EDSR, lambda 0.5": Row("edsr_identity_small"),
    "FSRNet": Row("fsrnet_small", ("settings.num_parts=10",)),
    "FSRGAN": Row("fsrgan_small", ("settings.num_parts=10",), begins_with="FSRNet"),
    "facebridge_sr, pixels alone": Row("facebridge_sr_pixels"),
    "facebridge_sr": Row("facebridge_sr", begins_with="facebridge_sr, pixels alone"),
}
"""On photographs; see docs/benchmarks/resolution.md for the lists."""

TOGETHER = (
    ("EDSR, lambda 0", "EDSR, lambda 0.5"),
    ("facebridge_sr, pixels alone", "facebridge_sr"),
    ("FSRNet", "FSRGAN"),
)
"""Rows of PHOTOGRAPHS that are judged in one go."""
LOOKED_AT_CLOSELY = (0, 1)
"""Of these, those that are also judged on both halves of view 1, for narrower intervals, damaged, and as squares."""


def folder(work: Path, name: str, seed: int) -> Path:
    """The run of a row and seed."""
    return work / f"{''.join(letter if letter.isalnum() else '_' for letter in name.lower())}_{seed}"


def train_on_drawn_people(name: str, row: Row, seed: int, work: Path, overrides: Sequence[str] = ()) -> None:
    """Train a row, unless that is done."""
    run = folder(work, name, seed)
    if runs.Run(run).weights.is_file():
        return
    begun = [] if row.begins_with is None else started_from(folder(work, row.begins_with, seed))
    wanted = recipe.read(row.recipe, [f"seed={seed}", "training.threads=1", *begun, *row.settings, *overrides])
    wanted = wanted.model_copy(update={"data": training_people(seed)})
    faces = training_faces(wanted, work / f"people_{seed}.npz")
    training.train(wanted, run, faces=faces, resume=True, progress=False)


def started_from(run: Path) -> list[str]:
    """Overrides that let a training begin with the networks of another."""
    parts = PARTS_OF_FSRNET if runs.Run(run).recipe.method == "fsrnet" else PARTS_OF_FACEBRIDGE_SR
    return [f"trained.{part}={run}" for part in parts]


def training_people(seed: int) -> SyntheticData:
    """Whom all rows of a seed are trained on."""
    return SyntheticData(
        kind="synthetic",
        seed=TRAINING_SEED,
        first_identity=seed * PEOPLE_APART,
        identities=TRAINING_PEOPLE,
        shots=TRAINING_SHOTS,
    )


def training_faces(wanted: Recipe, cache: Path) -> Faces:
    """Their faces with landmarks and parts, drawn once for all rows of a seed."""
    assert isinstance(wanted.data, SyntheticData)
    faces = DrawnFaces(wanted.data, crops.crop(wanted.crop))
    told = wanted.data.model_dump_json()
    if not cache.is_file():
        rows = range(len(faces))
        np.savez(
            cache,
            faces=np.stack([faces.picture(row) for row in rows]),
            points=np.stack([faces.points(row) for row in rows]),
            parsing=np.stack([faces.parsing(row) for row in rows]),
            told=told,
        )
    stored = np.load(cache)
    assert str(stored["told"]) == told, f"remove {cache}"
    faces.drawn, faces.placed, faces.parsed = (dict(enumerate(stored[key])) for key in ("faces", "points", "parsing"))
    return faces


def test_people(folder: Path) -> Path:
    """A face list of people whom nobody has seen, one gallery picture and three probes each, with 68 landmarks."""
    listed = folder / "tested.csv"
    if not listed.is_file():
        drawn = synthetic.render_to(
            folder, identities=TEST_PEOPLE, shots=TEST_SHOTS, seed=TEST_SEED, first_identity=0, points=68
        )
        faces = face_list.read(drawn)
        is_first = np.array([path.endswith("/0000_vis.png") for path in faces.column("path").tolist()])
        face_list.write(faces.with_column("split", np.where(is_first, "gallery", "probe").tolist()), listed)
    return listed
