"""An evaluation from files: runs, a face list, a protocol and a recogniser -> a folder with figures and a report."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from facebridge import crops, generating, recipe, recognisers, runs
from facebridge.evaluation import comparison, experiment, protocol, ways
from facebridge.evaluation.comparison import Comparison
from facebridge.evaluation.result import METRICS, Evaluation, Figure
from facebridge.evaluation.setting import Setting
from facebridge.evaluation.ways import Judge, Way
from facebridge.progress import Progress
from facebridge.recogniser import Mirror
from facebridge.report import write_report

REPORT = "report.html"
HEADLINES = ("accuracy", "rank1")


@dataclass(frozen=True)
class Request:
    """What to evaluate; see `facebridge evaluate --help`."""

    runs: Sequence[str]
    """Run folders, or NAME=RUN."""
    faces: Path
    protocol: Path | None = None
    root: Path | None = None
    landmarks: Path | None = None
    sizes: tuple[tuple[int, int], ...] = ()
    crop: str = "sphereface"
    convention: str = "umeyama"
    title: str = "Evaluation"


def evaluate(request: Request, judge: Judge, out: Path) -> Evaluation:
    """Evaluate runs and baselines, and write metrics.json, scores.npz, pictures and report.html.

    Raises:
        ValueError: if a run, list or protocol cannot be read, or a run was trained for another crop.
    """
    crop = crops.crop(request.crop)
    for height, width in request.sizes:
        if height > crop.height or width > crop.width:
            raise ValueError(
                f"probes of {height}x{width} are larger than the {crop.name} crop's {crop.height}x{crop.width}"
            )
    convention = crops.as_convention(request.convention)
    methods = [_way(text, crop) for text in request.runs]
    setting = Setting(
        crop=crop,
        sizes=request.sizes,
        convention=convention,
        title=request.title,
        provenance=_provenance(request, judge),
    )
    compared = _comparison(request)
    with Progress("evaluating", len(compared.gallery) + len(compared.probe)) as bar:
        done = experiment.evaluate(
            compared,
            [*(ways.baselines(crop) if request.sizes else []), *methods],
            judge,
            setting,
            out,
            advance=lambda faces, of: bar.step(faces),
        )
    write_report([out], out / REPORT)
    return done


def judge(name: str, weights: Path | None, settings: Sequence[str], mirror: str) -> Judge:
    """The recogniser that judges.

    Args:
        name: one of `facebridge.recognisers.names()`.
        weights: its weights; None for a shipped one.
        settings: `key=value` with TOML values, such as `crop=arcface`.
        mirror: none, sum or concatenate.

    Raises:
        ValueError: if a name or setting is unknown, or a published network comes without weights.
    """
    if mirror not in get_args(Mirror):
        raise ValueError(f"mirror is {mirror!r}; expected one of {', '.join(get_args(Mirror))}")
    if weights is None and name not in recognisers.shipped():
        raise ValueError(f"{name} needs weights: an untrained recogniser judges nothing; add --weights FILE")
    return Judge(recognisers.load(name, weights=weights, **dict(map(_key_and_value, settings))), mirror)  # type: ignore[arg-type]


def headline(done: Evaluation) -> list[str]:
    """The main figure of every row, one line each."""
    lines = []
    for row in done.rows:
        name = next(name for name in HEADLINES if name in row.figures)
        kind = "" if row.score_kind != "fused" else " (fused)"
        lines.append(
            f"{row.condition:>10}  {row.method + kind:<32}  {METRICS[name].label} {percent(row.figures[name])}"
        )
    return lines


def percent(figure: Figure) -> str:
    """A rate with its interval, in percent."""
    if figure.value is None:
        return f"not measurable: {figure.reason}"
    interval = (
        "" if figure.low is None or figure.high is None else f" [{100 * figure.low:.1f}, {100 * figure.high:.1f}]"
    )
    return f"{100 * figure.value:.1f} %{interval}"


def _comparison(request: Request) -> Comparison:
    if request.protocol is None or protocol.is_face_list(request.protocol):
        faces = generating.open_faces(request.protocol or request.faces, request.root, request.landmarks)
        return comparison.by_split(faces, str(request.protocol or request.faces))
    faces = generating.open_faces(request.faces, request.root, request.landmarks)
    return comparison.Pairs(protocol.read_pairs(request.protocol), faces, request.protocol.name)


def _way(text: str, crop: crops.Crop) -> Way:
    """NAME=RUN or RUN."""
    name, equals, folder = text.rpartition("=")
    run = runs.Run(Path(folder))
    trained = run.recipe.crop
    if trained != crop.name:
        raise ValueError(f"{folder} was trained on the crop {trained}, not {crop.name}: add --crop {trained}")
    return ways.of_method(name if equals else run.folder.name, runs.load(run.folder))


def _provenance(request: Request, judge: Judge) -> dict[str, Any]:
    recipes = {
        text: tomllib.loads(recipe.to_toml(runs.Run(Path(text.rpartition("=")[2])).recipe)) for text in request.runs
    }
    return {
        **runs.provenance(),
        "judge": {"recogniser": judge.recogniser.name, "crop": judge.recogniser.crop.name, "mirror": judge.mirror},
        "alignment": {"crop": request.crop, "convention": request.convention, "interpolation": "cubic"},
        "recipes": recipes,
    }


def _key_and_value(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"cannot read the setting {text!r}: write key=value, such as crop=arcface")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value
