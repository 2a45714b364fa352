"""Semantic bootstrapping: the head's probabilities, the rules of what stays, and the face list that comes out of it."""

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from typer.testing import CliRunner

from facebridge import bootstrapping, images, recipe, relabelling, runs, training, weights
from facebridge.bootstrapping import Predictions, Relabelled, predict, relabel, threshold_of
from facebridge.cli.relabel import relabel as relabel_verb
from facebridge.data import face_list
from facebridge.data.faces import DrawnFaces, LabelledFaces, ListedFaces, faces_of
from facebridge.images import BadPicture
from facebridge.methods.recogniser import RecogniserTraining
from facebridge.recipe import Recipe, SyntheticData
from tests import drawn

PEOPLE, SHOTS = 4, 3
GARBAGE = b"no picture at all"


def recogniser_recipe(data: dict[str, Any], num_identities: int = PEOPLE) -> Recipe:
    table = {
        "method": "recogniser",
        "crop": "light_cnn",
        "settings": {
            "sizes": {"height": 32, "width": 32, "width_multiplier": 0.125},
            "num_identities": num_identities,
            "head": {"kind": "softmax"},
        },
        "data": data,
        "training": {"steps": 2, "batch_size": 4, "threads": 1},
    }
    return recipe.resolve(table, "a test")


def untrained(recipe: Recipe) -> RecogniserTraining:
    """A recogniser whose probabilities differ from face to face, and from 1."""
    method = training.build(recipe)
    assert isinstance(method, RecogniserTraining)
    drawn.shaken(method)
    with torch.no_grad():
        method.head.weight.mul_(8)
    return method.eval()


def untrained_run(folder: Path, data: dict[str, Any], num_identities: int = PEOPLE) -> Path:
    wanted = recogniser_recipe(data, num_identities)
    run = runs.create(folder, wanted)
    weights.write(run.weights, untrained(wanted).state_dict(), {"method": "recogniser"})
    return folder


@pytest.fixture(scope="module")
def people() -> DrawnFaces:
    data = SyntheticData(kind="synthetic", seed=4, identities=PEOPLE, shots=SHOTS, size=64)
    wanted = recogniser_recipe(data.model_dump())
    faces = faces_of(wanted)
    assert isinstance(faces, DrawnFaces)
    return faces


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of four people in both cameras; the run below takes those in visible light."""
    return drawn.people(tmp_path_factory.mktemp("people"), num_people=PEOPLE, shots=SHOTS)


@pytest.fixture(scope="module")
def run(listed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = {"kind": "face_list", "list": str(listed), "domain": "vis"}
    return untrained_run(tmp_path_factory.mktemp("runs") / "run", data)


def plain_softmax(method: RecogniserTraining, faces: LabelledFaces, mirror: bool) -> NDArray[np.float64]:
    """Probabilities (N, num_identities): one face at a time, the classifier in numpy."""
    weight = method.head.weight.detach().numpy().astype(np.float64)
    bias = method.head.bias.detach().numpy().astype(np.float64)  # type: ignore[union-attr, operator]
    rows = []
    for index in range(len(faces)):
        picture, views = faces.picture(index), []
        for view in [picture, picture[:, ::-1].copy()] if mirror else [picture]:
            with torch.no_grad():
                feature = method.network(method.seen(images.to_faces(view[None])))[0].numpy()
            powers = np.exp(weight @ feature + bias)
            views.append(powers / powers.sum())
        rows.append(np.mean(views, axis=0))
    return np.array(rows)


@pytest.mark.parametrize("mirror", [False, True])
def test_predictions_are_the_softmax_of_the_head(
    people: DrawnFaces, mirror: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrapping, "FACES_PER_BATCH", 5)
    method = untrained(recogniser_recipe(people.data.model_dump()))
    wanted = plain_softmax(method, people, mirror)
    labels = np.array([bootstrapping.UNKNOWN, *range(PEOPLE)] * SHOTS)[: len(people)]
    found = predict(method.train(), people, labels, mirror=mirror)
    assert found.rows.tolist() == list(range(len(people)))
    assert found.confidence == pytest.approx(wanted.max(axis=1), rel=1e-4)
    assert found.identity.tolist() == wanted.argmax(axis=1).tolist()
    assert found.label.tolist() == labels.tolist()
    for row, label, place in zip(wanted, labels.tolist(), found.place.tolist(), strict=True):
        assert place == sum(label == bootstrapping.UNKNOWN or value > row[label] for value in row.tolist())
    assert len(set(found.identity.tolist())) > 1, "the test would see nothing"


def test_predictions_of_some_rows_are_those_of_all(people: DrawnFaces) -> None:
    method = untrained(recogniser_recipe(people.data.model_dump()))
    every, some = (predict(method, people, people.identities(), rows) for rows in (None, [1, 4, 7]))
    assert some.rows.tolist() == [1, 4, 7]
    assert some.identity.tolist() == every.identity[[1, 4, 7]].tolist()
    assert some.label.tolist() == people.identities()[[1, 4, 7]].tolist()
    assert some.place.tolist() == every.place[[1, 4, 7]].tolist()
    assert some.confidence == pytest.approx(every.confidence[[1, 4, 7]], rel=1e-5)


class FlawedFaces(DrawnFaces):
    """Drawn people, two of whose pictures cannot be read."""

    def picture(self, index: int) -> NDArray[np.uint8]:
        if index in (0, 5):
            raise BadPicture(Path(f"{index}.png"), "torn")
        return super().picture(index)


def test_bad_pictures_are_named_and_have_no_prediction(people: DrawnFaces) -> None:
    flawed = FlawedFaces(people.data, people.crop)
    flawed.drawn = people.drawn
    found = predict(untrained(recogniser_recipe(people.data.model_dump())), flawed, np.arange(len(people)) % 5 - 1)
    assert found.rows.tolist() == [row for row in range(len(people)) if row not in (0, 5)]
    assert len(found.identity) == len(found.confidence) == len(people) - 2
    assert [(str(bad.path), bad.cause) for bad in found.refused] == [("0.png", "torn"), ("5.png", "torn")]
    assert found.label.tolist() == [row % 5 - 1 for row in found.rows.tolist()]
    stays = relabel(found, "confident", threshold=0)
    assert 0 not in stays.rows
    assert len(stays.rows) == len(people) - 2


PROBABILITIES = [0.0, 0.2, 0.5, 0.7, 0.9, 1.0]
predicted = st.lists(
    st.tuples(st.integers(-1, 3), st.integers(0, 3), st.sampled_from(PROBABILITIES), st.integers(0, 4)), max_size=12
)


@given(
    predicted,
    st.sampled_from(["confident", "agreeing", "either"]),
    st.sampled_from([0.0, 0.5, 0.7, 1.0]),
    st.integers(1, 6),
)
def test_relabelling_equals_a_plain_loop_and_its_counts_add_up(
    cells: list[tuple[int, int, float, int]], keep: bootstrapping.Keep, threshold: float, top: int
) -> None:
    rows = np.arange(len(cells)) * 2  # every other face could not be read
    wanted, stayed = [], 0
    for row, (label, identity, confidence, place) in zip(rows.tolist(), cells, strict=True):
        if keep != "agreeing" and confidence >= threshold:
            new = identity
        elif keep != "confident" and place < top and label != bootstrapping.UNKNOWN:
            new = label
        else:
            continue
        wanted.append((row, new, confidence))
        stayed += new == label
    label, identity, confidence, place = (np.array([cell[part] for cell in cells]) for part in range(4))
    found = relabel(Predictions(rows, label, identity, confidence, place), keep, threshold=threshold, top=top)
    got = zip(found.rows.tolist(), found.identities.tolist(), found.confidence.tolist(), strict=True)
    assert list(got) == wanted
    assert found.num_stayed == stayed
    assert found.num_stayed + found.num_moved == len(wanted)
    assert found.num_stayed + found.num_moved + found.num_dropped == len(cells)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40, unique=True), st.floats(0.01, 1))
def test_a_share_of_the_predictions_reaches_its_threshold(confidence: list[float], share: float) -> None:
    count = len(confidence)
    zeros = np.zeros(count, np.int64)
    predictions = Predictions(zeros, zeros, zeros, np.array(confidence), zeros)
    reached = sum(value >= threshold_of(predictions, share) for value in confidence)
    assert reached == max(round(share * count), 1)


def test_thresholds_shares_and_rules_out_of_range_are_refused() -> None:
    zero, nobody = np.zeros(1, np.int64), np.empty(0, np.int64)
    predictions = Predictions(zero, zero, zero, np.ones(1), zero)
    with pytest.raises(ValueError, match="expected a probability from 0 to 1"):
        relabel(predictions, threshold=1.5)
    with pytest.raises(ValueError, match="at least 1"):
        relabel(predictions, top=0)
    with pytest.raises(ValueError, match="expected one of confident, agreeing, either"):
        relabel(predictions, "all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="above 0, at most 1"):
        threshold_of(predictions, 0)
    with pytest.raises(ValueError, match="no picture could be used"):
        threshold_of(Predictions(nobody, nobody, nobody, np.empty(0), nobody), 0.5)


def test_relabelled_faces_keep_picture_and_identity_together(people: DrawnFaces) -> None:
    rows, identities = [7, 2, 9, 0], [3, 0, 2, 1]
    found = Relabelled(people, rows, identities)
    assert isinstance(found, LabelledFaces)
    assert len(found) == 4
    assert found.identities().tolist() == identities
    for index, (row, identity) in enumerate(zip(rows, identities, strict=True)):
        assert np.array_equal(found.picture(index), people.picture(row))
        assert found.identity(index) == identity
        assert found.column("pair")[index] == people.column("pair")[row]
        assert found.column("identity")[index] == f"{identity:06d}"
    assert found.in_order_of_names().tolist() == [3, 1, 0, 2]


def test_relabelled_faces_refuse_people_that_are_not_there(people: DrawnFaces) -> None:
    with pytest.raises(ValueError, match="none of the faces has the identity 4"):
        Relabelled(people, [0, 1], [0, PEOPLE])
    with pytest.raises(ValueError, match="2 rows cannot have 1 identities"):
        Relabelled(people, [0, 1], [0])


def test_a_recogniser_trains_on_relabelled_faces(people: DrawnFaces, tmp_path: Path) -> None:
    faces = Relabelled(people, [0, 1, 3, 6, 9], [1, 1, 0, 2, 3])
    done = training.train(recogniser_recipe(people.data.model_dump()), tmp_path / "run", faces=faces, progress=False)
    assert done.weights.is_file()


def verb(*arguments: object) -> Any:
    """The verb, as the command line calls it."""
    app = typer.Typer()
    app.command()(relabel_verb)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_list_is_relabelled_as_the_predictions_say(run: Path, listed: Path, tmp_path: Path) -> None:
    faces = faces_of(runs.Run(run).recipe)
    assert isinstance(faces, ListedFaces)
    names = sorted(set(faces.rows.column("identity").tolist()))
    predictions = predict(runs.load(run), faces, faces.identities())  # type: ignore[arg-type]
    threshold = threshold_of(predictions, 0.6)
    wanted = [
        (faces.rows[row].path, names[identity], faces.rows[row].identity, f"{confidence:.4f}")
        for row, identity, confidence in zip(
            predictions.rows.tolist(), predictions.identity.tolist(), predictions.confidence, strict=True
        )
        if confidence >= threshold
    ]
    out = tmp_path / "new" / "clean.csv"
    done = verb(run, listed, "--threshold", threshold, "--keep", "confident", "-o", out, "--workers", 1)
    assert done.exit_code == 0, done.output
    clean = face_list.read(out, root=listed.parent)
    columns = [clean.column(name).tolist() for name in ("path", "identity", "identity_before", "confidence")]
    assert list(zip(*columns, strict=True)) == wanted
    assert np.array_equal(clean.landmarks, faces.rows.take(predictions.confidence >= threshold).landmarks)  # type: ignore[arg-type]
    moved = sum(identity != before for _, identity, before, _ in wanted)
    assert 0 < moved < len(wanted) < len(faces), "the test would see nothing"
    counts = f"{len(wanted) - moved} kept their identity, {moved} got another, {len(faces) - len(wanted)} dropped"
    assert counts in done.output
    assert f"{len(wanted)} faces of {len({name for _, name, _, _ in wanted})} people (4 before)" in done.output
    assert list(tmp_path.rglob("*.parts")) == []


def test_a_relabelled_list_can_be_trained_on_and_relabelled_again(run: Path, listed: Path, tmp_path: Path) -> None:
    first = relabelling.relabel_list(run, listed, tmp_path / "clean.csv", share=0.7, keep="confident", workers=1)
    data = {"kind": "face_list", "list": str(tmp_path / "clean.csv"), "domain": "vis"}
    faces = faces_of(recogniser_recipe(data))
    assert len(faces) == len(first.faces)
    assert faces.picture(0).shape == (128, 128, 3)
    second = untrained_run(tmp_path / "second", data, first.num_people)
    again = relabelling.relabel_list(second, listed, tmp_path / "again.csv", threshold=0, keep="confident", workers=1)
    assert len(again.faces) == PEOPLE * SHOTS, "all faces of the first list, also those that were dropped from it"
    once_more = relabelling.relabel_list(second, tmp_path / "clean.csv", tmp_path / "third.csv", threshold=0, workers=1)
    before = dict(zip(*(first.faces.column(name).tolist() for name in ("path", "identity_before")), strict=True))
    assert [before[row.path] for row in once_more.faces] == once_more.faces.column("identity_before").tolist()


def test_pictures_that_cannot_be_read_are_named_and_dropped(run: Path, listed: Path, tmp_path: Path) -> None:
    shutil.copytree(listed.parent, tmp_path / "people")
    spoilt = tmp_path / "people" / listed.name
    torn = face_list.read(spoilt).where(domain="vis").picture_path(1)
    torn.write_bytes(GARBAGE)
    done = verb(run, spoilt, "--threshold", 0, "-o", tmp_path / "clean.csv", "--workers", 1)
    assert done.exit_code == 1
    assert str(torn) in done.output
    assert "1 picture could not be used" in done.output
    assert len(face_list.read(tmp_path / "clean.csv", root=spoilt.parent)) == PEOPLE * SHOTS - 1


def test_an_unfinished_relabelling_is_gone_on_with(
    run: Path, listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"threshold": 0, "workers": 1, "block_size": 5}
    relabelling.relabel_list(run, listed, tmp_path / "wanted.csv", **options)
    calls, original = [], relabelling.predict

    def failing(*arguments: Any, **options: Any) -> Predictions:
        calls.append(1)
        if len(calls) == 2:
            raise MemoryError
        return original(*arguments, **options)

    monkeypatch.setattr(relabelling, "predict", failing)
    with pytest.raises(MemoryError):
        relabelling.relabel_list(run, listed, tmp_path / "clean.csv", **options)
    with pytest.raises(ValueError, match="unfinished job with mirror False, not True"):
        relabelling.relabel_list(run, listed, tmp_path / "clean.csv", mirror=True, **options)
    relabelling.relabel_list(run, listed, tmp_path / "clean.csv", **options)
    assert len(calls) == 4, "three blocks, the second of them twice"
    assert (tmp_path / "clean.csv").read_bytes() == (tmp_path / "wanted.csv").read_bytes()


def test_the_work_can_be_sent_to_another_process(run: Path, listed: Path) -> None:
    faces = faces_of(runs.Run(run).recipe)
    assert isinstance(faces, ListedFaces)
    work = relabelling.Predicting(run, faces, faces.identities(), mirror=False)
    assert pickle.loads(pickle.dumps(work)).prepare()(0, 3) == work.prepare()(0, 3)


def test_lists_that_do_not_fit_the_run_are_refused(run: Path, listed: Path, tmp_path: Path) -> None:
    fewer = face_list.read(listed)
    fewer = fewer.where(identity=fewer.column("identity").tolist()[0])
    face_list.write(fewer, listed.parent / "fewer.csv")
    options: dict[str, Any] = {"threshold": 0, "workers": 1}
    with pytest.raises(ValueError, match="4 people apart, and the list that it was trained on shows 1"):
        relabelling.relabel_list(run, listed, tmp_path / "c.csv", trained_on=listed.parent / "fewer.csv", **options)
    some = relabelling.relabel_list(run, listed.parent / "fewer.csv", tmp_path / "some.csv", **options)
    assert len(some.faces) == SHOTS
    assert some.num_people_before == 1
    with pytest.raises(ValueError, match="gone.csv: no such list"):
        relabelling.relabel_list(run, listed, tmp_path / "c.csv", trained_on=tmp_path / "gone.csv", **options)
    with pytest.raises(ValueError, match=r"written as \.csv or \.parquet"):
        relabelling.relabel_list(run, listed, tmp_path / "clean.txt", **options)
    with pytest.raises(ValueError, match="no face stays, the highest probability is 0"):
        relabelling.relabel_list(run, listed, tmp_path / "c.csv", threshold=1, keep="confident", workers=1)
    assert not (tmp_path / "c.csv").exists()


def test_runs_without_a_classifier_of_a_list_are_refused(people: DrawnFaces, listed: Path, tmp_path: Path) -> None:
    drawn_run = untrained_run(tmp_path / "drawn", people.data.model_dump())
    with pytest.raises(ValueError, match="not trained on one face list alone"):
        relabelling.relabel_list(drawn_run, listed, tmp_path / "clean.csv")
    other = drawn.untrained_run(tmp_path / "other")
    with pytest.raises(ValueError, match="a run of edsr_identity: only the method recogniser"):
        relabelling.relabel_list(other, listed, tmp_path / "clean.csv")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--threshold", 0.5, "--share", 0.5), "not both"),
        (("--keep", "agreeing", "--threshold", 0.5), "asks for no confidence"),
        (("--keep", "agreeing", "--share", 0.5), "asks for no confidence"),
        (("--keep", "confident", "--top", 2), "does not look at the labels"),
        (("--keep", "all"), "expected one of confident, agreeing, either"),
    ],
)
def test_options_that_would_be_ignored_are_refused(
    run: Path, listed: Path, tmp_path: Path, options: tuple[object, ...], told: str
) -> None:
    done = verb(run, listed, *options, "-o", tmp_path / "clean.csv")
    assert isinstance(done.exception, ValueError)
    assert told in str(done.exception)


def test_people_that_the_run_never_saw_never_agree(run: Path, listed: Path, tmp_path: Path) -> None:
    faces = face_list.read(listed).where(domain="vis")
    names = faces.column("identity").tolist()
    renamed = faces.with_column("identity", ["a stranger", *names[1:]])
    face_list.write(renamed, listed.parent / "renamed.csv")
    done = relabelling.relabel_list(
        run, listed.parent / "renamed.csv", tmp_path / "clean.csv", keep="agreeing", top=99, workers=1
    )
    assert done.faces.column("path").tolist() == faces.column("path").tolist()[1:]
    assert done.faces.column("identity").tolist() == names[1:]
