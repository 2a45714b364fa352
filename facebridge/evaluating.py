"""An evaluation from files: runs, a face list, a protocol and a recogniser -> a folder with figures and a report."""

import csv
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from facebridge import crops, recipe, runs
from facebridge.data import aligning, face_list, finding
from facebridge.data.face_list import FaceList
from facebridge.data.opening import open_faces
from facebridge.embedding import JudgeSettings
from facebridge.evaluation import comparison, experiment, over_protocols, protocol, ways
from facebridge.evaluation.comparison import Comparison
from facebridge.evaluation.over_protocols import OverProtocols
from facebridge.evaluation.result import METRICS, Evaluation, Figure
from facebridge.evaluation.setting import Setting
from facebridge.evaluation.ways import Judge, Way
from facebridge.progress import Progress
from facebridge.report import write_report

REPORT = "report.html"
HEADLINES = ("accuracy", "rank1")


@dataclass(frozen=True)
class Request:
    """What to evaluate; see `facebridge evaluate --help`."""

    runs: Sequence[str]
    """Run folders, or NAME=RUN."""
    faces: Path | None = None
    """Face list with the pictures; None: the protocol is one itself."""
    protocol: Path | None = None
    """Pairs, or a face list that gives rows of `faces` the splits gallery and probe; None: the splits of `faces`."""
    root: Path | None = None
    landmarks: Path | None = None
    aligned: str | None = None
    """The crop of pictures of which the list says neither crop nor landmarks."""
    sizes: tuple[tuple[int, int], ...] = ()
    crop: str = "sphereface"
    convention: str = "umeyama"
    title: str = "Evaluation"


def evaluate(request: Request, judge: Judge, out: Path) -> Evaluation:
    """Evaluate runs and baselines, and write metrics.json, scores.npz, pictures and report.html.

    Pictures of the protocol that gave no face when the list was aligned are refused as unreadable ones are: what needs
    them is left out, and the evaluation names them.

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
    compared, without_face = _comparison(request)
    with Progress("evaluating", len(compared.gallery) + len(compared.probe)) as bar:
        done = experiment.evaluate(
            compared,
            [*(ways.baselines(crop) if request.sizes else []), *methods],
            judge,
            setting,
            out,
            advance=lambda faces, of: bar.step(faces),
        )
    if without_face:
        done = _with_refused(done, without_face)
        done.write(out)
    write_report([out], out / REPORT)
    return done


def evaluate_folds(
    request: Request, protocols: Sequence[Path], judge: Judge, out: Path
) -> tuple[list[OverProtocols], list[Evaluation]]:
    """Evaluate each protocol into a folder of its own, then the mean and the standard deviation over them.

    Writes `out`/PROTOCOL/ for each, `out`/folds.csv and one page for all.

    Raises:
        ValueError: as `evaluate`, or if two protocols have one name.
    """
    names = [path.stem for path in protocols]
    if len(set(names)) < len(names):
        raise ValueError(f"two protocols are called {next(name for name in names if names.count(name) > 1)}")
    evaluations = [
        evaluate(replace(request, protocol=path, title=f"{request.title}: {name}"), judge, out / name)
        for path, name in zip(protocols, names, strict=True)
    ]
    figures = over_protocols.over_protocols(evaluations)
    over_protocols.write(figures, out)
    write_report([out / name for name in names], out / REPORT)
    return figures, evaluations


def refused(evaluations: Sequence[Evaluation]) -> list[tuple[str, str]]:
    """The pictures that could not be used, each once, with the cause."""
    named = [each for evaluation in evaluations for each in evaluation.provenance["pictures refused"]]
    return list(dict.fromkeys((each["picture"], each["cause"]) for each in named))


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
    return JudgeSettings(name, weights, tuple(settings), mirror).build()


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


def _comparison(request: Request) -> tuple[Comparison, dict[str, str]]:
    """What is compared, and the pictures left out since they gave no face, with the cause."""
    listed = request.faces or request.protocol
    if listed is None or (request.faces is None and not protocol.is_face_list(listed)):
        raise ValueError("name the face list with the pictures: --faces LIST")
    faces = open_faces(listed, request.root, request.landmarks, request.aligned)
    if request.protocol is None or request.faces is None:
        return comparison.by_split(faces, str(listed)), {}
    name = request.protocol.name
    if protocol.is_face_list(request.protocol):
        wanted = face_list.read(request.protocol)
        wanted = wanted.where(split=("gallery", "probe")) if "split" in wanted.column_names else wanted
        without_face = _without_face(request.faces, faces, wanted.keys())
        left = wanted.take([row for row, key in enumerate(wanted.keys()) if key not in without_face])
        compared = comparison.by_rows(left, faces, name)
        compared.left_out = len(wanted) - len(left)
        return compared, without_face
    pairs = protocol.read_pairs(request.protocol)
    without_face = _without_face(request.faces, faces, pairs.pictures())
    some = comparison.without_pairs(pairs, without_face) if without_face else pairs
    return comparison.Pairs(some, faces, name, left_out=len(pairs) - len(some)), without_face


def _without_face(listed: Path, faces: FaceList, wanted: Sequence[str]) -> dict[str, str]:
    """Of the pictures that a protocol needs, those in which no face was found or aligned for the list -> the cause."""
    refused: dict[str, str] = {}
    for beside in (finding.not_found_beside(listed), listed.with_name(aligning.NOT_ALIGNED)):
        if listed.is_file() and beside.is_file():
            with beside.open(encoding="utf-8", newline="") as file:
                refused |= {row["path"]: row["cause"] for row in csv.DictReader(file)}
    there = set(faces.originals())
    causes = {key: refused.get(key.partition("#xywh=")[0]) for key in wanted if key not in there}
    return {key: cause for key, cause in causes.items() if cause is not None}


def _with_refused(done: Evaluation, without_face: dict[str, str]) -> Evaluation:
    named = [{"picture": picture, "cause": cause} for picture, cause in without_face.items()]
    refused = [*done.provenance["pictures refused"], *named]
    return replace(done, provenance={**done.provenance, "pictures refused": refused})


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
