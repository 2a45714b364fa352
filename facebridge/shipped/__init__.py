"""Trained methods that come with the package: `facebridge generate NAME PICTURES OUT` needs no weights brought.

shipped/NAME/recipe.toml          the recipe, without a path of the machine that trained it
             weights.safetensors  the networks, stored in half precision; what loads them makes float32 of it
             card.json            what it was trained on, under which terms, what was measured, where it fails

`scripts/ship_run.py` puts a run here.
"""

from pathlib import Path

FOLDER = Path(__file__).parent
RECIPE, WEIGHTS, CARD = "recipe.toml", "weights.safetensors", "card.json"
MAX_BYTES = 6_000_000
"""Of the weights of all shipped runs together."""


def names() -> list[str]:
    """The names of the shipped runs, sorted."""
    found = (path.parent.name for path in FOLDER.glob(f"*/{RECIPE}"))
    return sorted(name for name in found if not name.startswith("."))


def find(run: str | Path) -> Path:
    """The folder of a run that a user names: the run folder of this name if there is one, else a shipped run.

    Raises:
        ValueError: if there is neither folder nor file of this name, and no such shipped run; these are named.
    """
    if str(run) in names() and not (Path(run) / RECIPE).is_file():
        return FOLDER / str(run)
    if Path(run).exists():
        return Path(run)
    known = ", ".join(names()) or "none"
    raise ValueError(
        f"{run} is not a run: there is no such folder, and none of this name is shipped (shipped: {known})"
    )


def name_of(run: str | Path) -> str | None:
    """The name of a shipped run, given by its name or its folder; None: the run is the user's own."""
    folder = find(run).resolve()
    return folder.name if folder.parent == FOLDER.resolve() and folder.name in names() else None
