"""facebridge match: scores, decisions and false accept rates of two pictures or two folders, from a card."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from numpy.typing import NDArray
from typer.testing import CliRunner

from facebridge import crops, face_match, images, landmarks, recognisers
from facebridge.cli.match import match as match_verb
from facebridge.data import aligning, face_list
from facebridge.data.face_list import FaceList
from facebridge.embedding import JudgeSettings
from facebridge.evaluation import calibration
from facebridge.evaluation.normalisation import ScoreNormalisation
from facebridge.face_match import FindingFaces
from facebridge.landmarks import Detection, DetectorSettings
from tests import drawn

JUDGE, MIRROR, CROP = "embedded_judge", "sum", "sphereface"

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(match_verb)


@dataclass(frozen=True)
class Material:
    """Drawn people, their embeddings worked out by hand, and a card made of them."""

    listed: Path
    faces: FaceList
    embeddings: NDArray[np.float64]
    card: Path
    impostors: NDArray[np.float64]

    def picture(self, row: int) -> Path:
        return self.faces.picture_path(row)

    def score(self, one: int, other: int) -> float:
        return float(self.embeddings[one] @ self.embeddings[other])


def embedded_by_hand(faces: FaceList) -> NDArray[np.float64]:
    """Aligned with the library's similarity, mirrored, summed and made unit length here."""
    recogniser = recognisers.load(JUDGE)
    crop = crops.crop(CROP)
    found = []
    for row in range(len(faces)):
        aligned = crops.align(images.read(faces.picture_path(row)), faces[row].landmarks, crop)
        face = torch.from_numpy(aligned.transpose(2, 0, 1).copy())[None].float() / 255
        both = torch.cat([face, face.flip(-1)])
        with torch.no_grad():
            feature = recogniser.features(crops.recrop(both, crop, recogniser.crop)).sum(0).double().numpy()
        found.append(feature / np.linalg.norm(feature))
    return np.array(found)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("matched")
    listed = drawn.people(folder / "people")
    faces = face_list.read(listed)
    embeddings = embedded_by_hand(faces)
    people = faces.column("identity").tolist()
    scores = embeddings @ embeddings.T
    genuine = np.array([[one == other for other in people] for one in people])
    used = ~np.eye(len(faces), dtype=bool)
    one, other = np.nonzero(used)
    ends = [people[row] for row in one], [people[row] for row in other]
    found = calibration.calibrate(scores[used], genuine[used], *ends, far=0.1, num_resamples=50)
    scoring = calibration.scoring(JudgeSettings(JUDGE, mirror=MIRROR), CROP, "umeyama")
    calibration.write(folder / "card.json", found, scoring, {"protocol": "drawn people"})
    return Material(listed, faces, embeddings, folder / "card.json", scores[used & ~genuine])


def one_folder(folder: Path, material: Material, rows: list[int], names: list[str]) -> Path:
    """Some pictures in a folder of their own, with a table of their landmarks beside it."""
    folder.mkdir()
    for row, name in zip(rows, names, strict=True):
        (folder / name).write_bytes(material.picture(row).read_bytes())
    return folder


def landmarks_of(path: Path, material: Material, rows: list[int], names: list[str]) -> Path:
    chosen = material.faces.take(rows)
    columns = {"path": names, "identity": names, "domain": ["vis"] * len(names)}
    face_list.write(FaceList(path.parent, columns, chosen.landmarks), path)
    return path


def test_lists_are_compared_each_with_each_as_by_hand(material: Material) -> None:
    found = face_match.match(material.listed, material.listed, material.card)
    pairs, size = list(found), len(material.faces)
    assert len(found) == len(pairs) == size**2
    threshold = found.card.calibration.threshold.value
    for number, pair in enumerate(pairs):
        one, other = divmod(number, size)
        assert (pair.first, pair.second) == (str(material.picture(one)), str(material.picture(other)))
        assert pair.score == pytest.approx(material.score(one, other), abs=2e-4)
        assert pair.same == (pair.score >= threshold)
        share = np.mean(material.impostors >= pair.score)
        near = np.mean(np.abs(material.impostors - pair.score) < 2e-4)
        at_least = max(share, 1 / len(material.impostors))
        assert at_least - near - 1e-9 <= pair.far <= 1.08 * at_least + near + 1e-9
        assert pair.far_low <= pair.far <= pair.far_high
        assert pair.note == ("both are one picture" if one == other else "")


def test_tiles_change_nothing(material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    found = face_match.match(material.listed, material.listed, material.card)
    whole = list(found)
    monkeypatch.setattr(face_match, "SCORES_PER_TILE", 40)
    for one, other in zip(found, whole, strict=True):
        assert one[:2] == other[:2]
        assert one.score == pytest.approx(other.score, abs=1e-6)


def test_pairs_by_name_leave_out_and_name_the_others(material: Material, tmp_path: Path) -> None:
    first = one_folder(tmp_path / "first", material, [0, 3, 6], ["a.png", "b.png", "alone.png"])
    second = one_folder(tmp_path / "second", material, [4, 1, 9], ["b.png", "a.png", "other.png"])
    table = landmarks_of(tmp_path / "points.csv", material, [0, 3, 6, 9], ["a.png", "b.png", "alone.png", "other.png"])
    found = face_match.match(first, second, material.card, finding_faces=FindingFaces(landmarks=table), pairs="names")
    names = [(Path(pair.first).name, Path(pair.second).name) for pair in found]
    assert names == [("a.png", "a.png"), ("b.png", "b.png")]
    assert len(found) == 2
    assert [Path(name).name for name in found.alone] == ["alone.png", "other.png"]
    everything = face_match.match(first, second, material.card, finding_faces=FindingFaces(landmarks=table))
    by_names = {(pair.first, pair.second): pair.score for pair in everything}
    assert all(by_names[pair.first, pair.second] == pytest.approx(pair.score, abs=1e-6) for pair in found)
    assert not everything.alone


def test_landmarks_of_a_picture_are_those_of_its_path_beside_the_table(material: Material, tmp_path: Path) -> None:
    """Not those of another picture of its name."""
    paths = [one_folder(tmp_path / who, material, [row], ["a.png"]) / "a.png" for who, row in (("one", 0), ("two", 3))]
    table = landmarks_of(tmp_path / "points.csv", material, [6, 0, 3], ["a.png", "one/a.png", "two/a.png"])
    (pair,) = face_match.match(*paths, material.card, finding_faces=FindingFaces(landmarks=table))
    assert pair.score == pytest.approx(material.score(0, 3), abs=2e-4)


def test_command_compares_two_pictures(material: Material, tmp_path: Path) -> None:
    names = [path.name for path in (material.picture(0), material.picture(1))]
    assert names[0] != names[1]
    table = landmarks_of(tmp_path / "points.csv", material, [0, 1], names)
    done = CliRunner().invoke(
        app,
        [
            *(str(material.picture(row)) for row in (0, 1)),
            *("--card", str(material.card), "--landmarks", str(table), "--out", str(tmp_path / "found.json")),
        ],
    )
    assert done.exit_code == 0, done.output
    assert f"score {material.score(0, 1):.4f}" in done.output
    assert "for a false accept rate of 0.1; measured there" in done.output
    told = json.loads((tmp_path / "found.json").read_text("utf-8"))
    (only,) = told["comparisons"]
    assert only["score"] == pytest.approx(material.score(0, 1), abs=2e-4)
    assert only["decision"] == ("same" if only["score"] >= only["threshold"] else "different")
    assert f"{'same person' if only['decision'] == 'same' else 'different'}" in done.output
    assert told["card"]["calibration"]["far"] == 0.1
    assert (told["refused"], told["alone"]) == ([], [])


def test_bad_pictures_are_named_and_the_others_compared(material: Material, tmp_path: Path) -> None:
    names = ["a.png", "b.png", "c.png"]
    folder = one_folder(tmp_path / "folder", material, [0, 4, 8], names)
    table = landmarks_of(tmp_path / "points.csv", material, [0, 4, 8], names)
    (folder / "b.png").write_bytes(b"damaged")
    (folder / "no_points.png").write_bytes((folder / "a.png").read_bytes())
    out = tmp_path / "new" / "found.csv"
    arguments = [str(folder), str(material.listed), "--card", str(material.card), "--landmarks", str(table)]
    done = CliRunner().invoke(app, [*arguments, "-o", str(out)])
    assert "has landmarks of none" in str(done.exception)  # the table must know both sides
    faces = face_list.read(material.listed)
    both = landmarks_of(
        tmp_path / "both.csv",
        material,
        [0, 4, 8, *range(len(faces))],
        [*names, *faces.column("path").tolist()],
    )
    done = CliRunner().invoke(app, [*arguments[:-1], str(both), "-o", str(out)])
    assert done.exit_code == 1
    assert "b.png" in done.output
    assert "no_points.png: no landmarks" in done.output
    assert "2 pictures could not be used" in done.output
    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * len(faces)
    assert tuple(rows[0]) == face_match.COLUMNS
    held = calibration.read(material.card).calibration
    for row in rows:
        assert row["decision"] == ("same" if float(row["score"]) >= held.threshold.value else "different")
        assert float(row["threshold_far"]) == pytest.approx(held.false_accept_rate.value, rel=1e-3)
        assert row["score_far_is"] in ("below", "at most")


def test_pair_with_a_bad_picture_gives_no_comparison(material: Material, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"damaged")
    for pairs in ("all", "names"):
        done = CliRunner().invoke(
            app,
            [str(tmp_path / "bad.png"), str(material.listed), "--card", str(material.card), "--pairs", pairs]
            + ["--aligned", CROP, "-o", str(tmp_path / "none.json")],
        )
        assert done.exit_code == 1
        assert "none.json: 0 comparisons" in done.output
        assert "1 picture could not be used" in done.output
        told = json.loads((tmp_path / "none.json").read_text("utf-8"))
        assert told["comparisons"] == []
        assert told["refused"][0]["picture"].endswith("bad.png")


def test_many_comparisons_are_counted_and_not_all_printed(material: Material) -> None:
    done = CliRunner().invoke(app, [str(material.listed)] * 2 + ["--card", str(material.card)])
    assert done.exit_code == 0, done.output
    assert f"... {len(material.faces) ** 2 - 50} more: add --out FILE.csv" in done.output


def test_generated_face_is_no_evidence_and_says_so(material: Material, tmp_path: Path) -> None:
    crop = crops.crop(CROP)
    for row, name, by in (
        (0, "photo.png", None),
        (1, "made.png", "FaceBridge edsr_identity"),
        (1, "made.jpg", "a run"),
    ):
        face = crops.align(images.read(material.picture(row)), material.faces[row].landmarks, crop)
        images.write(tmp_path / name, face, generated_by=by)
    aligned = FindingFaces(aligned=CROP)
    notes = {}
    for one, other in (("photo.png", "made.png"), ("made.jpg", "photo.png"), ("photo.png", "photo.png")):
        (pair,) = face_match.match(tmp_path / one, tmp_path / other, material.card, finding_faces=aligned)
        notes[one, other] = pair.note
    assert notes["photo.png", "made.png"] == ("the second face was generated by FaceBridge edsr_identity: no evidence")
    assert notes["made.jpg", "photo.png"] == "the first face was generated by a run: no evidence"
    assert notes["photo.png", "photo.png"] == "both are one picture"


def test_generated_face_says_so_after_it_was_aligned(material: Material, tmp_path: Path) -> None:
    one_folder(tmp_path / "in", material, [1], ["photo.png"])
    images.write(tmp_path / "in" / "made.png", images.read(material.picture(0)), generated_by="a run")
    listed = landmarks_of(tmp_path / "in" / "faces.csv", material, [0, 1], ["made.png", "photo.png"])
    done = aligning.align(face_list.read(listed), CROP, tmp_path / "out", workers=1)
    notes = {
        (Path(pair.first).name, Path(pair.second).name): pair.note
        for pair in face_match.match(done.faces, done.faces, material.card)
    }
    assert notes["made.png", "photo.png"] == "the first face was generated by a run: no evidence"


def test_aligned_pictures_need_only_the_name_of_their_crop(material: Material, tmp_path: Path) -> None:
    for row in (0, 1):
        face = crops.align(images.read(material.picture(row)), material.faces[row].landmarks, crops.crop(CROP))
        images.write(tmp_path / f"{row}.png", face)
    done = CliRunner().invoke(
        app, [str(tmp_path / "0.png"), str(tmp_path / "1.png"), "--card", str(material.card), "--aligned", CROP]
    )
    assert f"score {material.score(0, 1):.4f}" in done.output


class FoundByColour:
    """A detector that knows the pictures by their pixels."""

    def __init__(self, material: Material) -> None:
        rows = range(len(material.faces))
        self.points = {images.read(material.picture(row)).tobytes(): material.faces[row].landmarks for row in rows}

    def detect(self, picture: NDArray[np.uint8]) -> list[Detection]:
        points = self.points.get(picture.tobytes())
        return [] if points is None else [Detection(np.array([0, 0, 90, 90], np.float32), 1.0, points)]


def test_detector_finds_the_faces(material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(
        landmarks, "load", lambda name, files, **settings: asked.append((name, settings)) or FoundByColour(material)
    )
    folder = one_folder(tmp_path / "folder", material, [0, 4], ["a.png", "b.png"])
    images.write(folder / "empty.png", np.zeros((50, 40, 3), np.uint8))
    done = CliRunner().invoke(
        app,
        [
            *(str(folder), str(material.picture(1)), "--card", str(material.card)),
            *("--detector", "mtcnn", "--detector-weights", str(tmp_path), "--turned"),
        ],
    )
    assert done.exit_code == 1
    assert "empty.png: no face was found" in done.output
    for row in (0, 4):
        assert f"score {material.score(row, 1):.4f}" in done.output
    assert asked[0] == ("mtcnn", {"turned": True})


def test_normalised_scores_use_the_cohort_beside_the_card(material: Material, tmp_path: Path) -> None:
    """The first side is the gallery: z takes the statistics of that one."""
    cohort = np.random.default_rng(0).normal(size=(40, material.embeddings.shape[1]))
    units = cohort / np.linalg.norm(cohort, axis=1, keepdims=True)
    held = calibration.read(material.card).calibration
    against = {row: units @ material.embeddings[row] for row in (0, 1)}
    cosine = material.score(0, 1)
    wanted = {
        "z": (cosine - against[0].mean()) / against[0].std(),
        "t": (cosine - against[1].mean()) / against[1].std(),
    }
    wanted["s"] = (wanted["z"] + wanted["t"]) / 2
    table = landmarks_of(tmp_path / "p.csv", material, [0, 1], [material.picture(row).name for row in (0, 1)])
    for kind, score in wanted.items():
        normalisation = ScoreNormalisation(kind, cohort)
        scoring = calibration.scoring(JudgeSettings(JUDGE, mirror=MIRROR), CROP, "umeyama", normalisation)
        card = tmp_path / f"{kind}.json"
        calibration.write(card, held, scoring, {}, normalisation)
        found = face_match.match(
            material.picture(0), material.picture(1), card, finding_faces=FindingFaces(landmarks=table)
        )
        (pair,) = found
        assert pair.score == pytest.approx(score, abs=5e-3)


def test_normalised_pairs_by_name_equal_those_of_each_with_each(material: Material, tmp_path: Path) -> None:
    normalisation = ScoreNormalisation("s", np.random.default_rng(0).normal(size=(40, material.embeddings.shape[1])), 9)
    scoring = calibration.scoring(JudgeSettings(JUDGE, mirror=MIRROR), CROP, "umeyama", normalisation)
    card = tmp_path / "s.json"
    calibration.write(card, calibration.read(material.card).calibration, scoring, {}, normalisation)
    half = tmp_path / "people"
    faces = material.faces.take(range(0, len(material.faces), 2))
    for name in faces.column("path").tolist():
        (half / name).parent.mkdir(parents=True, exist_ok=True)
        (half / name).write_bytes((material.listed.parent / name).read_bytes())
    columns = {name: faces.column(name) for name in ("path", "identity", "domain")}
    face_list.write(FaceList(half, columns, faces.landmarks), half / "faces.csv")
    whole = {pair[:2]: pair.score for pair in face_match.match(half / "faces.csv", material.listed, card)}
    named = list(face_match.match(half / "faces.csv", material.listed, card, pairs="names"))
    assert len(named) == len(faces)
    assert all(pair.score == pytest.approx(whole[pair[:2]], abs=1e-4) for pair in named)


def test_cohort_of_a_list_is_embedded_as_the_tested_faces_are(material: Material) -> None:
    judge, crop = JudgeSettings(JUDGE, mirror=MIRROR).build(), crops.crop(CROP)
    people = material.faces.column("identity").tolist()
    cohort = material.faces.take(range(4))
    found, refused = face_match.with_cohort("s", cohort, judge, crop, "umeyama", ["somebody else"], 3)
    assert found.cohort == pytest.approx(material.embeddings[:4], abs=1e-4)
    assert (found.kind, found.top, refused) == ("s", 3, [])
    with pytest.raises(ValueError, match="in the cohort and in the test"):
        face_match.with_cohort("s", cohort, judge, crop, "umeyama", people)


def test_another_recogniser_than_the_cards_is_refused(material: Material, tmp_path: Path) -> None:
    arguments = (material.listed, material.listed)
    with pytest.raises(ValueError, match=r"was made with embedded_judge .* here is embedded_guide\.safetensors"):
        face_match.match(*arguments, material.card, recogniser="embedded_guide")
    entry = json.loads(material.card.read_text("utf-8"))
    entry["scoring"]["weights"][0]["sha256"] = "0" * 64
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(entry), "utf-8")
    with pytest.raises(ValueError, match="its threshold holds for no other; calibrate again"):
        face_match.match(*arguments, changed)
    entry["scoring"]["recogniser"] = "runs/not_here"
    changed.write_text(json.dumps(entry), "utf-8")
    with pytest.raises(ValueError, match="say where it is"):
        face_match.match(*arguments, changed)


def test_the_same_recogniser_under_another_name_is_taken(material: Material, tmp_path: Path) -> None:
    copy = tmp_path / "copied.safetensors"
    copy.write_bytes((recognisers.SHIPPED / f"{JUDGE}.safetensors").read_bytes())
    found = face_match.match(material.listed, material.listed, material.card, recogniser=str(copy))
    whole = face_match.match(material.listed, material.listed, material.card)
    assert [pair.score for pair in found] == [pair.score for pair in whole]


def test_what_cannot_be_is_refused(material: Material, tmp_path: Path) -> None:
    picture = material.picture(0)
    with pytest.raises(ValueError, match=r"nothing says where the faces lie: .*--aligned CROP.*--detector-weights"):
        face_match.match(picture, picture, material.card)
    with pytest.raises(ValueError, match="not both"):
        FindingFaces(aligned=CROP, detector=DetectorSettings("yunet", ()))
    with pytest.raises(ValueError, match="expected one of largest, central"):
        FindingFaces(choose="all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected one of all, names"):
        face_match.match(picture, picture, material.card, pairs="some")  # type: ignore[arg-type]
    table = landmarks_of(tmp_path / "points.csv", material, [0], ["another.png"])
    with pytest.raises(ValueError, match="has no landmarks of"):
        face_match.match(picture, picture, material.card, finding_faces=FindingFaces(landmarks=table))
    found = face_match.match(material.listed, material.listed, material.card)
    with pytest.raises(ValueError, match=r"written as \.csv or \.json"):
        face_match.write(found, tmp_path / "found.txt")
    turned = CliRunner().invoke(app, [str(picture), str(picture), "--card", str(material.card), "--turned"])
    assert "add --detector-weights FILE" in str(turned.exception)


@pytest.mark.real
def test_photographs_are_found_and_matched(real_data: Path, material: Material, tmp_path: Path) -> None:
    """A recogniser of drawn people says nothing of photographs; here only the way is tested."""
    pictures = sorted((real_data / "data" / "lfw").rglob("*_0001.jpg"))[:3]
    for number, path in enumerate(pictures):
        (tmp_path / f"{number}.jpg").write_bytes(path.read_bytes())
    detector = DetectorSettings("yunet", (real_data / "weights" / "yunet_n_320.onnx",))
    found = face_match.match(
        tmp_path, tmp_path, material.card, finding_faces=FindingFaces(detector=detector, choose="central")
    )
    scores = np.array([pair.score for pair in found]).reshape(3, 3)
    assert np.diag(scores) == pytest.approx(1, abs=1e-5)
    assert scores == pytest.approx(scores.T, abs=1e-5)
    assert not found.refused
