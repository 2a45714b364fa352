"""facebridge match: two pictures, folders or lists, and the card that says what a score means."""

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facebridge.cli.options import Aligned, Detector, Landmarks, Turned, Weights, name_bad, one_of

if TYPE_CHECKING:
    from facebridge.evaluation.calibration import Bounded, Calibration
    from facebridge.face_match import MatchedPair

PRINTED = 50
"""More comparisons than this are not shown."""


def match(
    first: Annotated[Path, typer.Argument(help="A picture, a folder of pictures, or a face list.")],
    second: Annotated[Path, typer.Argument(help="What it is compared with, the same.")],
    card: Annotated[Path, typer.Option(help="What `facebridge evaluate --calibrate` wrote.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the comparisons, .csv or .json.")] = None,
    pairs: Annotated[
        str, typer.Option(help="all: each with each; names: those of the same name in both folders.")
    ] = "all",
    recogniser: Annotated[
        str | None, typer.Option(help="Where the card's recogniser is here, if not under the card's own name.")
    ] = None,
    weights: Weights = None,
    aligned: Aligned = None,
    landmarks: Landmarks = None,
    detector: Detector = "yunet",
    detector_weights: Annotated[
        list[Path] | None,
        typer.Option(help="yunet: its ONNX file; mtcnn: its three files, or the folder that holds them."),
    ] = None,
    face: Annotated[str, typer.Option(help="Which face of a picture counts: largest or central.")] = "largest",
    turned: Turned = False,
) -> None:
    """Are they one person? Score, decision, and the false accept rates of the threshold and of the score."""
    from facebridge import face_match
    from facebridge.landmarks import DetectorSettings

    found_by = None
    if detector_weights:
        files = tuple(path.absolute() for path in detector_weights)
        found_by = DetectorSettings(detector, files, {"turned": True} if turned else {})
    elif turned:
        raise ValueError("--turned says how a detector searches: add --detector-weights FILE")
    finding = face_match.FindingFaces(aligned, landmarks, found_by, one_of("--face", face, face_match.Choose))
    found = face_match.match(
        first,
        second,
        card,
        recogniser=recogniser,
        weights=weights,
        finding_faces=finding,
        pairs=one_of("--pairs", pairs, face_match.Pairing),
    )
    if out is not None:
        face_match.write(found, out)
    for line in _told(found.card.calibration, found.card.protocol):
        typer.echo(line)
    for pair in islice(found, PRINTED):
        typer.echo(_line(pair))
    if len(found) > PRINTED:
        typer.echo(f"... {len(found) - PRINTED:,} more" + ("" if out else ": add --out FILE.csv"))
    for name in found.alone:
        typer.echo(f"  {name}: no picture of this name on the other side", err=True)
    if out is not None:
        typer.echo(f"{out}: {len(found):,} comparisons")
    name_bad([(bad.path, bad.cause) for bad in found.refused])


def _told(found: "Calibration", protocol: Mapping[str, str | int | float]) -> Iterator[str]:
    """What the card says of its threshold."""
    yield (
        f"threshold {_figure(found.threshold, '.4f')} for a false accept rate of {found.far:g}; "
        f"measured there: {_figure(found.false_accept_rate)}, true accept rate {_figure(found.true_accept_rate)}"
    )
    yield (
        f"calibrated on {protocol.get('protocol', '?')}: {found.num_genuine:,} genuine and {found.num_impostors:,} "
        f"impostor pairs of {found.num_people:,} people"
    )
    if found.low_confidence:
        yield f"uncertain: {found.num_false_accepts} false accepts decide this threshold"


def _line(pair: "MatchedPair") -> str:
    decision = "same person" if pair.same else "different"
    rate = f"{'below' if pair.is_beyond else 'at most'} {pair.far:.2g} [{pair.far_low:.2g}, {pair.far_high:.2g}]"
    note = f"  ({pair.note})" if pair.note else ""
    return f"{pair.first}  {pair.second}  score {pair.score:.4f}  {decision}  false accept rate at it {rate}{note}"


def _figure(found: "Bounded", form: str = ".2g") -> str:
    return f"{found.value:{form}} [{found.low:{form}}, {found.high:{form}}]"
