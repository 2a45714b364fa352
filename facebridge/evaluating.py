"""An evaluation from files: runs, a face list, a protocol and a recogniser -> a folder with figures and a report."""

import csv
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

from facebridge import crops, face_match, recipe, runs
from facebridge.data import aligning, face_list, finding
from facebridge.data.face_list import FaceList
from facebridge.data.opening import open_faces
from facebridge.degradation import Damage
from facebridge.embedding import JudgeSettings
from facebridge.evaluation import calibration, comparison, experiment, face_shape, over_protocols, protocol, ways
from facebridge.evaluation.comparison import Comparison, Scores
from facebridge.evaluation.groups import THRESHOLD_FALSE_ACCEPT_RATES, Grouping
from facebridge.evaluation.normalisation import Kind, ScoreNormalisation
from facebridge.evaluation.over_protocols import OverProtocols
from facebridge.evaluation.result import METRICS, Evaluation, Figure
from facebridge.evaluation.setting import Setting
from facebridge.evaluation.ways import Judge, Way
from facebridge.hallucination import Preset
from facebridge.images import Kernel
from facebridge.precision import Precision, set_precision
from facebridge.progress import Progress
from facebridge.report import write_report

REPORT = "report.html"
CARD = calibration.FILE_NAME
HEADLINES = ("accuracy", "rank1")


@dataclass(frozen=True)
class Request:
    """What to evaluate; see `facebridge evaluate --help`."""

    runs: Sequence[str]
    """Run folders or shipped runs, or NAME=RUN."""
    faces: Path | None = None
    """Face list with the pictures; None: the protocol is one itself."""
    protocol: Path | None = None
    """Pairs, or a face list that gives rows of `faces` the splits gallery and probe; None: the splits of `faces`."""
    root: Path | None = None
    landmarks: Path | None = None
    aligned: str | None = None
    """The crop of pictures of which the list says neither crop nor landmarks."""
    sizes: tuple[tuple[int, int], ...] = ()
    """(height, width) to which probes are reduced, px."""
    scales: tuple[int, ...] = ()
    """More sizes: the crop's through each of these; 1 is the full size, which is always there."""
    degrade: tuple[str, ...] = ()
    """What is done to the probes of every size beside: blur=1,noise=5,jpeg=30 or antialias; each a condition more."""
    baselines: tuple[str, ...] = ways.BASELINES
    """Plain enlarging that the runs are compared with: bilinear, bicubic, lanczos."""
    preset: str = "clean"
    """code: the published test of SR_LRFR; see `hallucination.Preset` and `Setting`."""
    shape_by: Path | None = None
    """What finds landmarks and parts, see `face_shape.load`; None: no figure of shape."""
    crop: str = "sphereface"
    convention: str = "umeyama"
    title: str = "Evaluation"
    by: tuple[str, ...] = ()
    """COLUMN or COLUMN:EDGES: columns of the face list by whose groups errors are given."""
    normalise: str | None = None
    """Score normalisation: z, t or s; None: scores are cosines."""
    cohort: Path | None = None
    """Face list of people who are not tested, for the normalisation."""
    top: int | None = None
    """The normalisation takes each face's most alike people of the cohort alone, so many; None: all."""
    precision: Precision = "float32"
    """Arithmetic that the runs generate in."""
    translate: str = "probe"
    """Whose faces the runs make: probe or gallery."""
    calibrate: float | None = None
    """False accept rate of whose threshold a card is written, and at which errors by group are given; None: no card."""


def evaluate(request: Request, judge: Judge | JudgeSettings, out: Path) -> Evaluation:
    """Evaluate runs and baselines, and write metrics.json, scores.npz, pictures and report.html.

    Pictures of the protocol that gave no face when the list was aligned are refused as unreadable ones are: what needs
    them is left out, and the evaluation names them.

    Raises:
        ValueError: if a run, list or protocol cannot be read, a run was trained for another crop, or the faces cannot
            be divided as asked.
    """
    crop = crops.crop(request.crop)
    settings, judge = (judge, judge.build()) if isinstance(judge, JudgeSettings) else (None, judge)
    _check_scores_as_asked(request, settings)
    groupings = [Grouping.parse(text) for text in request.by]
    setting = _setting(request, judge, crop)
    methods = [_way(text, setting, request) for text in request.runs]
    baselines = _baselines(request, setting)
    compared, without_face = _comparison(request)
    _check_rate(request, compared)
    normalisation, bad_cohort = _normalisation(request, judge, setting, compared)
    setting = replace(setting, normalisation=normalisation)

    def calibrate(tested: Comparison, scores: Scores) -> None:
        if request.calibrate is not None and settings is not None:
            _write_card(request.calibrate, tested, scores, settings, setting, out)

    with Progress("evaluating", len(compared.gallery) + len(compared.probe)) as bar:
        done = experiment.evaluate(
            compared,
            [*baselines, *methods],
            judge,
            setting,
            out,
            advance=lambda faces, of: bar.step(faces),
            by=groupings,
            far=THRESHOLD_FALSE_ACCEPT_RATES if request.calibrate is None else (request.calibrate,),
            plain=calibrate,
        )
    if refused_before := without_face | bad_cohort:
        done = _with_refused(done, refused_before)
        done.write(out)
    write_report([out], out / REPORT)
    return done


def evaluate_folds(
    request: Request, protocols: Sequence[Path], judge: Judge | JudgeSettings, out: Path
) -> tuple[list[OverProtocols], list[Evaluation]]:
    """Evaluate each protocol into a folder of its own, then the mean and the standard deviation over them.

    Writes `out`/PROTOCOL/ for each, `out`/folds.csv and one page for all.

    Raises:
        ValueError: as `evaluate`, if two protocols have one name, or a card is asked for: it is of one protocol.
    """
    if request.calibrate is not None:
        raise ValueError("a threshold is calibrated on one protocol: give one --protocol with --calibrate")
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
    if request.protocol is not None:
        request = replace(request, protocol=protocol.under_either_name(request.protocol))
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


def _check_scores_as_asked(request: Request, settings: JudgeSettings | None) -> None:
    if (request.normalise is None) != (request.cohort is None):
        raise ValueError(
            "score normalisation takes both: --normalise z, t or s, and --cohort LIST of people not tested"
        )
    if request.top is not None and request.normalise is None:
        raise ValueError("--top is of a score normalisation: add --normalise and --cohort")
    if request.normalise is not None and request.normalise not in get_args(Kind):
        raise ValueError(f"--normalise is {request.normalise!r}; expected one of {', '.join(get_args(Kind))}")
    if request.calibrate is not None and settings is None:
        raise ValueError("a card names the recogniser's files: give JudgeSettings where a threshold is calibrated")


def _check_rate(request: Request, compared: Comparison) -> None:
    """Refuse what cannot be calibrated before the work, not after it."""
    if request.calibrate is not None:
        calibration.check_rate(request.calibrate, int((~compared.compared.genuine).sum()))


def _normalisation(
    request: Request, judge: Judge, setting: Setting, compared: Comparison
) -> tuple[ScoreNormalisation | None, dict[str, str]]:
    """The normalisation that is asked for, and the pictures of its cohort that could not be used, with the cause."""
    if request.normalise is None or request.cohort is None:
        return None, {}
    people = compared.people()
    cohort = open_faces(request.cohort, None, None, request.aligned)
    kind = cast(Kind, request.normalise)
    found, bad = face_match.with_cohort(kind, cohort, judge, setting.crop, setting.convention, people, request.top)
    return found, {str(each.path): each.cause for each in bad}


def _write_card(
    far: float, tested: Comparison, scores: Scores, judge: JudgeSettings, setting: Setting, out: Path
) -> None:
    held, crop = tested.compared, setting.crop.name
    found = calibration.calibrate(scores.ravel(), held.genuine, held.probe_person, held.gallery_person, far)
    how = calibration.scoring(judge, crop, setting.convention, setting.normalisation)
    calibration.write(out / calibration.FILE_NAME, found, how, tested.describe(), setting.normalisation)


def _setting(request: Request, judge: Judge, crop: crops.Crop) -> Setting:
    _check_choices(request)
    sizes = _sizes(request, crop)
    if request.degrade and not sizes:
        raise ValueError("--degrade needs sizes of probes: add --sizes or --scales")
    if request.shape_by is not None and request.shape_by.suffix.lower() != ".onnx":
        _check_crop(runs.find(request.shape_by), crop)
    return Setting(
        crop=crop,
        sizes=sizes,
        damages=tuple(Damage.parse(text) for text in request.degrade),
        convention=crops.as_convention(request.convention),
        baseline="bicubic" if "bicubic" in request.baselines else request.baselines[0],
        title=request.title,
        preset=cast(Preset, request.preset),
        shape=None if request.shape_by is None else face_shape.load(request.shape_by),
        provenance=_provenance(request, judge),
    )


def _check_choices(request: Request) -> None:
    for option, given, choices in (
        ("--preset", (request.preset,), get_args(Preset)),
        ("--baselines", request.baselines, get_args(Kernel)),
        ("--translate", (request.translate,), get_args(ways.Side)),
    ):
        wrong = [each for each in given if each not in choices]
        if wrong or not given or len(set(given)) < len(given):
            told = repr(wrong[0]) if wrong else repr(",".join(given))
            raise ValueError(f"{option} is {told}; expected one of {', '.join(choices)}")
    if request.preset == "code" and request.normalise is not None:
        raise ValueError("--preset code tries thresholds of cosines: leave --normalise away")


def _sizes(request: Request, crop: crops.Crop) -> tuple[tuple[int, int], ...]:
    """All that are asked for, each once.

    Raises:
        ValueError: if one is larger than the crop, or a scale leaves no pixel.
    """
    if any(not 1 <= scale <= min(crop.height, crop.width) for scale in request.scales):
        raise ValueError(f"--scales is {request.scales}; expected 1 to {min(crop.height, crop.width)}")
    scaled = [(round(crop.height / scale), round(crop.width / scale)) for scale in request.scales if scale > 1]
    sizes = tuple(dict.fromkeys([*request.sizes, *scaled]))
    for height, width in sizes:
        if height > crop.height or width > crop.width:
            raise ValueError(
                f"probes of {height}x{width} are larger than the {crop.name} crop's {crop.height}x{crop.width}"
            )
    if request.translate == "gallery" and sizes:
        raise ValueError("--sizes reduces probes, and --translate gallery leaves them as they are: give one of the two")
    return sizes


def _check_crop(run: runs.Run, crop: crops.Crop) -> None:
    """A run sees faces of one crop."""
    trained = run.recipe.crop
    if trained != crop.name:
        raise ValueError(f"{run.folder} was trained on the crop {trained}, not {crop.name}: add --crop {trained}")


def _baselines(request: Request, setting: Setting) -> list[Way]:
    if not setting.sizes:
        return []
    return ways.baselines(setting.crop, cast(tuple[Kernel, ...], request.baselines), setting.preset)


def _way(text: str, setting: Setting, request: Request) -> Way:
    """NAME=RUN or RUN."""
    name, equals, folder = text.rpartition("=")
    run = runs.find(folder)
    _check_crop(run, setting.crop)
    method = runs.load_hallucination(folder)
    set_precision(method, request.precision)
    side = cast(ways.Side, request.translate)
    return ways.of_method(name if equals else run.folder.name, method, side, setting.preset)


def _provenance(request: Request, judge: Judge) -> dict[str, Any]:
    recipes = {text: tomllib.loads(recipe.to_toml(runs.find(text.rpartition("=")[2]).recipe)) for text in request.runs}
    return {
        **runs.provenance(),
        "judge": {"recogniser": judge.recogniser.name, "crop": judge.recogniser.crop.name, "mirror": judge.mirror},
        "alignment": {"crop": request.crop, "convention": request.convention, "interpolation": "cubic"},
        "score normalisation": _told_normalisation(request),
        "preset": request.preset,
        "precision": request.precision,
        "shape by": "" if request.shape_by is None else str(request.shape_by),
        "recipes": recipes,
        "weights": {text: runs.find(text.rpartition("=")[2]).trained().name for text in request.runs},
        "diagnoses": {
            text: [line["text"] for line in runs.find(text.rpartition("=")[2]).diagnoses()] for text in request.runs
        },
        "translated": request.translate,
    }


def _told_normalisation(request: Request) -> dict[str, str] | str:
    if request.normalise is None:
        return "none"
    return {"kind": request.normalise, "cohort": str(request.cohort), "top": str(request.top or "all")}
