"""A face list -> the face list that semantic bootstrapping leaves of it; goes on after a kill.

OUT.csv or .parquet   the faces that stay: identity, identity_before, confidence, and all that the list said
OUT.parts/            the account of an unfinished job, see `facebridge.blocks`
"""

import hashlib
import shutil
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facebridge import blocks, runs
from facebridge.bootstrapping import THRESHOLD, UNKNOWN, Keep, Predictions, Relabelling, predict, relabel, threshold_of
from facebridge.data import face_list, finding, importing, list_files
from facebridge.data.face_list import FaceList
from facebridge.data.faces import ListedFaces, faces_of
from facebridge.data.source import digest
from facebridge.data.texts import numbered
from facebridge.images import BadPicture
from facebridge.methods.recogniser import RecogniserTraining
from facebridge.recipe import FaceListData
from facebridge.runs import Run


@dataclass(frozen=True)
class RelabelledList:
    """A face list that was written, and what became of the faces."""

    faces: FaceList
    relabelling: Relabelling
    threshold: float
    num_people_before: int
    num_people: int
    refused: list[BadPicture]


def relabel_list(
    run: Path,
    listed: Path,
    out: Path,
    *,
    keep: Keep = "either",
    threshold: float = THRESHOLD,
    share: float | None = None,
    top: int = 1,
    mirror: bool = False,
    root: Path | None = None,
    trained_on: Path | None = None,
    workers: int | None = None,
    block_size: int = blocks.BLOCK_SIZE,
) -> RelabelledList:
    """Relabel a face list by a recogniser that was trained on it; called again after a kill, it goes on.

    Args:
        run: a run of the method `recogniser` on a face list.
        listed: the list; of its rows those of the split and domain that the run's recipe asks for.
        out: the face list to write, .csv or .parquet: the faces that stay, with `confidence` and `identity_before`.
        keep, threshold, top, mirror: see `relabel` and `predict`.
        share: the share of the predictions that are confident, in place of the threshold.
        root: folder that the paths of `listed` are relative to; absent: that of the run's recipe.
        trained_on: where the list lies that the run was trained on; absent: where the recipe says. It may have other
            rows than `listed`: identities are matched by their names.
        workers, block_size: see `facebridge.blocks.run`; what is written does not depend on them.

    Raises:
        ValueError: if the run is of another method or of other data, its list has changed, nothing stays, or an option
            is wrong.
        Stopped: if SIGTERM or Ctrl-C asked to stop; the same call goes on.
    """
    if out.suffix.lower() not in (".csv", ".parquet"):
        raise ValueError(f"{out}: face lists are written as .csv or .parquet")
    names, faces = _names(run, trained_on), _listed(run, listed, root)
    number = {name: place for place, name in enumerate(names)}
    before = faces.rows.column("identity").tolist()
    labels = np.array([number.get(name, UNKNOWN) for name in before], np.int64)
    predictions = _predict_list(Predicting(run.absolute(), faces, labels, mirror), out, workers, block_size)
    if share is not None:
        threshold = threshold_of(predictions, share)
    found = relabel(predictions, keep, threshold=threshold, top=top)
    if len(found.rows) == 0:
        highest = predictions.confidence.max(initial=0)
        raise ValueError(f"{out}: no face stays, the highest probability is {highest:.4f}: lower the threshold")
    written = _written(faces.rows, names, found, out)
    num_people = len(np.unique(found.identities))
    return RelabelledList(written, found, threshold, len(set(before)), num_people, predictions.refused)


@dataclass(frozen=True)
class Predicting:
    """The work of `relabel_list` on its rows; paths are absolute."""

    run: Path
    faces: ListedFaces
    labels: NDArray[np.int64]
    mirror: bool

    def prepare(self) -> blocks.Step:
        """Load the recogniser, once in each worker."""
        method = _trained(self.run)
        return lambda start, stop: self._block(method, start, stop)

    def _block(self, method: RecogniserTraining, start: int, stop: int) -> blocks.Record:
        found = predict(method, self.faces, self.labels, range(start, stop), mirror=self.mirror)
        return {
            "rows": found.rows.tolist(),
            "identity": found.identity.tolist(),
            "confidence": found.confidence.tolist(),
            "place": found.place.tolist(),
            "refused": [(str(bad.path), bad.cause) for bad in found.refused],
        }


def _predict_list(work: Predicting, out: Path, workers: int | None, block_size: int) -> Predictions:
    parts = out.absolute().with_name(f"{out.name}.parts")
    job = {"list": digest(work.faces.rows), "root": str(work.faces.rows.root), "mirror": work.mirror}
    with blocks.full_disk_told(out), runs.locked(parts):
        records = blocks.run(
            work,
            len(work.faces),
            parts,
            job={**job, "recogniser": _digest(_trained(work.run))},
            title="predicting",
            workers=workers,
            block_size=block_size,
        )
        predictions = _joined(records, work.labels)
        shutil.rmtree(parts, ignore_errors=True)
    return predictions


def _digest(method: RecogniserTraining) -> str:
    """A SHA-256 of the recipe's settings and of the weights."""
    hashed = hashlib.sha256(method.config.model_dump_json().encode())
    for tensor in method.state_dict().values():
        hashed.update(tensor.numpy().tobytes())
    return hashed.hexdigest()


def _joined(records: Iterable[blocks.Record], labels: NDArray[np.int64]) -> Predictions:
    rows, identity, confidence, place = array("q"), array("q"), array("d"), array("q")
    refused: list[BadPicture] = []
    for record in records:
        rows.extend(record["rows"])
        identity.extend(record["identity"])
        confidence.extend(record["confidence"])
        place.extend(record["place"])
        refused += [BadPicture(Path(path), cause) for path, cause in record["refused"]]
    found = np.array(rows)
    return Predictions(found, labels[found], np.array(identity), np.array(confidence), np.array(place), refused)


def _written(rows: FaceList, names: Sequence[str], found: Relabelling, out: Path) -> FaceList:
    """The list of the faces that stay. Relabelled again, a face keeps as `identity_before` what it was called first."""
    kept = rows.take(found.rows)
    if "identity_before" not in kept.column_names:
        kept = kept.with_column("identity_before", kept.column("identity"))
    kept = kept.with_column("identity", list_files.strings(names[number] for number in found.identities))
    kept = kept.with_column("confidence", list_files.strings(f"{value:.4f}" for value in found.confidence))
    out.parent.mkdir(parents=True, exist_ok=True)
    face_list.write(finding.moved(kept, out.parent), out)
    importing.remember_root(out, rows.root)
    return kept


def _trained(run: Path) -> RecogniserTraining:
    method = runs.load(run)
    if not isinstance(method, RecogniserTraining):
        raise ValueError(f"{run} is a run of {Run(run).recipe.method}: only the method recogniser keeps its classifier")
    return method


def _names(run: Path, trained_on: Path | None) -> list[str]:
    """What the identities of the run's classifier are called."""
    method, trained = _trained(run), _listed(run, trained_on, None)
    names: list[str] = numbered(trained.rows.column("identity"))[0].tolist()
    if len(names) != method.num_identities:
        raise ValueError(
            f"{run} tells {method.num_identities:,} people apart, and the list that it was trained on shows "
            f"{len(names):,}: give that list as it was then (--trained-on)"
        )
    return names


def _listed(run: Path, listed: Path | None, root: Path | None) -> ListedFaces:
    """The faces of a list that the run's recipe asks for; listed: None for its own list."""
    recipe = Run(run).recipe
    data = recipe.data
    if not isinstance(data, FaceListData) or data.generated is not None:
        raise ValueError(
            f"{run} was not trained on one face list alone, so that its identities have no names of a list: relabel "
            "its faces in Python, see facebridge.bootstrapping.Relabelled"
        )
    wanted = data.model_copy(update={"list": listed or data.list, "root": root or data.root})
    if not wanted.list.exists():
        raise ValueError(
            f"{wanted.list}: no such list; say where the list lies that {run} was trained on (--trained-on)"
        )
    faces = faces_of(recipe.model_copy(update={"data": wanted}))
    assert isinstance(faces, ListedFaces)
    rows = finding.moved(faces.rows, faces.rows.root.absolute())
    return ListedFaces(rows, faces.crop, faces.convention, faces.outside)
