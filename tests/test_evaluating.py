"""An evaluation from files: what is asked for is read, refused or reported rightly."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facebridge import crops, evaluating, face_match, recognisers
from facebridge.data import face_list, synthetic
from facebridge.data.face_list import FaceList
from facebridge.embedding import JudgeSettings
from facebridge.evaluation import calibration, result
from facebridge.evaluation.result import Evaluation, Figure, Row
from facebridge.evaluation.setting import FULL_SIZE
from facebridge.evaluation.ways import Judge
from tests import drawn


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn.people(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn.untrained_run(tmp_path_factory.mktemp("runs") / "mine")


def judge() -> Judge:
    return Judge(drawn.thin_recogniser(), "none")


def test_rows_are_called_by_the_run_folder_or_the_given_name(run: Path, listed: Path, tmp_path: Path) -> None:
    request = evaluating.Request(runs=[str(run), f"other={run}"], faces=listed, sizes=((28, 24),), title="Two names")
    done = evaluating.evaluate(request, judge(), tmp_path)
    assert {row.method for row in done.rows} == {"none", "bilinear", "bicubic", "mine", "other"}
    assert done.title == "Two names"
    assert result.read(tmp_path) == done
    assert "Two names" in (tmp_path / evaluating.REPORT).read_text("utf-8")
    of_run = [done.row(name, "28x24", "generated") for name in ("mine", "other")]
    assert of_run[0] is not None
    assert of_run[1] is not None
    assert of_run[0].figures == of_run[1].figures


def test_every_size_of_the_published_comparison_is_a_condition(run: Path, listed: Path, tmp_path: Path) -> None:
    request = evaluating.Request(
        runs=[f"tiny={run}"],
        faces=listed,
        sizes=((16, 16),),
        scales=(16, 1),
        degrade=("jpeg=30",),
        baselines=("bilinear", "lanczos"),
        preset="code",
    )
    done = evaluating.evaluate(request, judge(), tmp_path)
    assert done.conditions == ["7x6", "7x6 jpeg 30", "16x16", "16x16 jpeg 30", FULL_SIZE]
    assert [(row.method, row.score_kind) for row in done.rows if row.condition == "16x16 jpeg 30"] == [
        ("bilinear", "original"),
        ("lanczos", "original"),
        ("tiny", "generated"),
        ("tiny", "fused"),
    ]
    assert done.provenance["preset"] == "code"
    assert "lanczos enlarging" in (tmp_path / evaluating.REPORT).read_text("utf-8")


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"preset": "published"}, "--preset is 'published'"),
        ({"baselines": ("bilinear", "nearest")}, "--baselines is 'nearest'"),
        ({"baselines": ()}, "--baselines"),
        ({"baselines": ("bilinear", "bilinear")}, "--baselines"),
        ({"scales": (16, 200)}, "--scales"),
        ({"degrade": ("jpeg=30",)}, "--sizes"),
        ({"degrade": ("fog=1",), "scales": (8,)}, "fog"),
        ({"preset": "code", "normalise": "z", "cohort": Path("cohort.csv")}, "--preset code"),
        ({"scales": (8,), "translate": "gallery"}, "--translate gallery"),
        ({"shape_by": Path("no_run")}, "no_run"),
    ],
    ids=lambda each: str(each)[:40],
)
def test_what_cannot_be_asked_is_named(wrong: dict[str, Any], named: str, listed: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=named):
        evaluating.evaluate(evaluating.Request(runs=[], faces=listed, **wrong), judge(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_run_that_finds_shapes_of_another_crop_is_refused(listed: Path, tmp_path: Path) -> None:
    other = drawn.untrained_run(tmp_path / "other", crop="arcface")
    request = evaluating.Request(runs=[], faces=listed, shape_by=other)
    with pytest.raises(ValueError, match="--crop arcface"):
        evaluating.evaluate(request, judge(), tmp_path / "out")


def test_provenance_says_what_was_run(run: Path, listed: Path, tmp_path: Path) -> None:
    request = evaluating.Request(runs=[str(run)], faces=listed, convention="cp2tform")
    told = evaluating.evaluate(request, judge(), tmp_path).provenance
    assert told["judge"] == {"recogniser": "mobile_facenet", "crop": "sphereface", "mirror": "none"}
    assert told["alignment"] == {"crop": "sphereface", "convention": "cp2tform", "interpolation": "cubic"}
    assert told["recipes"][str(run)]["settings"]["num_blocks"] == drawn.TINY["num_blocks"]
    assert {"python", "torch", "facebridge"} <= set(told["versions"])
    assert told["time"]


def test_protocol_that_is_a_face_list_needs_no_other_list(listed: Path, tmp_path: Path) -> None:
    done = evaluating.evaluate(evaluating.Request(runs=[], protocol=listed), judge(), tmp_path / "out")
    assert done.protocol["gallery pictures"] == drawn.PEOPLE
    assert [row.method for row in done.rows] == ["none"]


def test_protocol_gives_the_splits_and_the_list_the_faces(listed: Path, tmp_path: Path) -> None:
    """The list's own paths are those of faces cut from the pictures that the protocol names."""
    faces = face_list.read(listed)
    chosen = faces.take([row for row, path in enumerate(faces.column("path").tolist()) if "_vis" in path])
    bare = FaceList(chosen.root, {name: chosen.column(name) for name in ("path", "identity", "domain", "split")})
    plan = tmp_path / "protocol.csv"
    face_list.write(FaceList(tmp_path, {name: bare.column(name) for name in bare.column_names}), plan)
    cut = chosen.with_column("original", chosen.column("path")).with_column("split", ["other"] * len(chosen))
    face_list.write(cut, listed.with_name("cut.csv"))
    found = evaluating.evaluate(
        evaluating.Request(runs=[], faces=listed.with_name("cut.csv"), protocol=plan), judge(), tmp_path / "a"
    )
    face_list.write(chosen, listed.with_name("chosen.csv"))
    wanted = evaluating.evaluate(
        evaluating.Request(runs=[], faces=listed.with_name("chosen.csv")), judge(), tmp_path / "b"
    )
    assert [row.figures for row in found.rows] == [row.figures for row in wanted.rows]


def test_pictures_of_the_protocol_that_the_list_lacks_are_counted(listed: Path, tmp_path: Path) -> None:
    faces = face_list.read(listed)
    face_list.write(faces.take(range(2)), listed.with_name("few.csv"))
    request = evaluating.Request(runs=[], faces=listed.with_name("few.csv"), protocol=listed)
    with pytest.raises(ValueError, match=f"{len(faces) - 2} pictures of the protocol .* are not in the face list"):
        evaluating.evaluate(request, judge(), tmp_path / "out")


def aligned_without(faces: FaceList, names: list[str], folder: Path) -> Path:
    """The list as if those pictures had given no face when it was aligned."""
    kept = faces.take([row for row, name in enumerate(faces.column("path").tolist()) if name not in names])
    folder.mkdir()
    listed = folder / "faces.csv"
    columns = {name: kept.column(name) for name in kept.column_names}
    face_list.write(FaceList(folder, columns, kept.landmarks), listed)
    rows = "".join(f"{name},no face was found\n" for name in names)
    (folder / "not_aligned.csv").write_text(f"path,cause\n{rows}", "utf-8")
    return listed


def test_pictures_that_gave_no_face_are_refused_and_named(listed: Path, tmp_path: Path) -> None:
    faces = face_list.read(listed)
    bad = faces.where(split="probe").column("path").tolist()[1]
    found = evaluating.evaluate(
        evaluating.Request(
            runs=[], faces=aligned_without(faces, [bad], tmp_path / "a"), root=listed.parent, protocol=listed
        ),
        judge(),
        tmp_path / "out",
    )
    assert found.provenance["pictures refused"] == [{"picture": bad, "cause": "no face was found"}]
    assert found.protocol["pictures left out"] == 1
    assert result.read(tmp_path / "out") == found
    left = faces.take([row for row, name in enumerate(faces.column("path").tolist()) if name != bad])
    face_list.write(left, listed.with_name("left.csv"))
    wanted = evaluating.evaluate(
        evaluating.Request(runs=[], faces=listed.with_name("left.csv")), judge(), tmp_path / "wanted"
    )
    assert [row.figures for row in found.rows] == [row.figures for row in wanted.rows]


def test_pairs_of_pictures_that_gave_no_face_are_left_out(listed: Path, tmp_path: Path) -> None:
    faces = face_list.read(listed)
    paths = faces.column("path").tolist()
    person = dict(zip(paths, faces.column("identity").tolist(), strict=True))
    ends = [(one, other, int(person[one] == person[other])) for one, other in combinations(paths, 2)]
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("path_a,path_b,genuine\n" + "".join(f"{a},{b},{same}\n" for a, b, same in ends), "utf-8")
    request = evaluating.Request(
        runs=[], faces=aligned_without(faces, [paths[-1]], tmp_path / "a"), root=listed.parent, protocol=pairs
    )
    assert request.faces is not None
    done = evaluating.evaluate(request, judge(), tmp_path / "out")
    assert done.protocol["pairs left out"] == len(paths) - 1
    assert done.protocol["genuine pairs"] + done.protocol["impostor pairs"] == len(ends) - len(paths) + 1
    assert evaluating.refused([done, done]) == [(paths[-1], "no face was found")]
    (tmp_path / "a" / "not_aligned.csv").rename(request.faces.with_name(f"{request.faces.stem}_not_found.csv"))
    assert evaluating.evaluate(request, judge(), tmp_path / "found").protocol["pairs left out"] == len(paths) - 1
    request.faces.with_name(f"{request.faces.stem}_not_found.csv").unlink()
    with pytest.raises(ValueError, match="1 picture of the protocol pairs.csv is not in the face list"):
        evaluating.evaluate(request, judge(), tmp_path / "again")


def test_two_faces_from_one_picture_of_the_protocol_are_refused(listed: Path, tmp_path: Path) -> None:
    faces = face_list.read(listed)
    twice = faces.take([0, *range(len(faces))])
    originals = twice.column("path").tolist()
    face_list.write(twice.with_column("original", originals), listed.with_name("twice.csv"))
    request = evaluating.Request(runs=[], faces=listed.with_name("twice.csv"), protocol=listed)
    with pytest.raises(ValueError, match="several faces"):
        evaluating.evaluate(request, judge(), tmp_path / "out")


def test_pairs_alone_name_no_faces(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("path_a,path_b,genuine\n", "utf-8")
    with pytest.raises(ValueError, match="--faces"):
        evaluating.evaluate(evaluating.Request(runs=[], protocol=tmp_path / "pairs.csv"), judge(), tmp_path / "out")


def test_run_of_another_crop_is_refused_before_anything_is_done(listed: Path, tmp_path: Path) -> None:
    other = drawn.untrained_run(tmp_path / "other", crop="arcface")
    with pytest.raises(ValueError, match="add --crop arcface"):
        evaluating.evaluate(evaluating.Request(runs=[str(other)], faces=listed), judge(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_columns_to_divide_by_are_read_and_shown_in_the_report(listed: Path, tmp_path: Path) -> None:
    request = evaluating.Request(runs=[], faces=listed, by=("skin_tone", "yaw_deg:0,10,90"))
    (row,) = evaluating.evaluate(request, judge(), tmp_path).rows
    assert [groups.column for groups in row.groups] == ["skin_tone", "absolute yaw_deg"]
    page = (tmp_path / evaluating.REPORT).read_text("utf-8")
    assert "By skin_tone" in page
    assert "By absolute yaw_deg" in page


def test_column_that_the_list_does_not_have_is_refused(listed: Path, tmp_path: Path) -> None:
    for by, message in (("sex", "no column 'sex'"), ("yaw_deg:3", "rising numbers")):
        with pytest.raises(ValueError, match=message):
            evaluating.evaluate(evaluating.Request(runs=[], faces=listed, by=(by,)), judge(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_untrained_recogniser_is_no_judge() -> None:
    with pytest.raises(ValueError, match="needs weights"):
        evaluating.judge("mobile_facenet", None, (), "none")


@pytest.mark.parametrize(
    ("settings", "named"),
    [(["nonsense"], "key=value"), (["colour=red"], "width_multiplier"), (["height=tall"], "height")],
)
def test_wrong_settings_of_the_judge_are_named(tmp_path: Path, settings: list[str], named: str) -> None:
    path = tmp_path / "thin.safetensors"
    recognisers.write(
        path, "mobile_facenet", drawn.thin_recogniser().network.state_dict(), crop="sphereface", **drawn.THIN
    )
    with pytest.raises(ValueError, match=named):
        evaluating.judge("mobile_facenet", path, settings, "none")


def test_settings_of_the_judge_are_toml_values_or_text(tmp_path: Path) -> None:
    path = tmp_path / "thin.safetensors"
    recognisers.write(
        path, "mobile_facenet", drawn.thin_recogniser().network.state_dict(), crop="sphereface", **drawn.THIN
    )
    found = evaluating.judge("mobile_facenet", path, ["height=112", "width_multiplier=0.125"], "sum")
    assert found.mirror == "sum"
    assert found.recogniser.embedding_size == drawn.THIN["embedding_size"]


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (Figure(0.9876, 0.98, 0.991), "98.8 % [98.0, 99.1]"),
        (Figure(0.5), "50.0 %"),
        (Figure(None, reason="too few pairs"), "not measurable: too few pairs"),
    ],
)
def test_rates_are_printed_in_percent_with_their_interval(figure: Figure, text: str) -> None:
    assert evaluating.percent(figure) == text


def test_headline_tells_fused_rows_apart() -> None:
    rows = [Row("tiny", "7x6", kind, {"accuracy": Figure(0.75)}) for kind in ("generated", "fused")]
    lines = evaluating.headline(Evaluation("t", {}, ["7x6"], rows))
    assert [("(fused)" in line, line.split()[0], line.endswith("75.0 %")) for line in lines] == [
        (False, "7x6", True),
        (True, "7x6", True),
    ]


@pytest.mark.real
def test_lfw_is_recognised_at_full_size_and_hardly_at_7x6(real_data: Path, tmp_path: Path) -> None:
    lfw, num_pairs = real_data / "data" / "lfw", 20
    header, *lines = (lfw / "pairsDevTest.txt").read_text("utf-8").splitlines()
    half = int(header)
    kept = [str(num_pairs), *lines[:num_pairs], *lines[half : half + num_pairs]]
    (tmp_path / "pairs.txt").write_text("\n".join(kept) + "\n", "utf-8")
    request = evaluating.Request(
        runs=[],
        faces=lfw / "lfw-deepfunneled",
        protocol=tmp_path / "pairs.txt",
        landmarks=lfw / "landmarks5.csv",
        sizes=((7, 6),),
    )
    settings = ("crop=arcface", "mean=0.0", "scale=1.0")
    y1 = evaluating.judge("onnx", real_data / "weights" / "mobilefacenet_y1_112.onnx", settings, "sum")
    done = evaluating.evaluate(request, y1, tmp_path / "evaluation")
    accuracies = {(row.method, row.condition): row.figures["accuracy"].value for row in done.rows}
    full, smallest = accuracies["none", FULL_SIZE], accuracies["bilinear", "7x6"]
    assert full is not None
    assert smallest is not None
    assert full >= 0.95
    assert smallest < 0.75
    assert done.provenance["pictures refused"] == []


def test_card_of_an_evaluation_holds_the_threshold_of_its_plain_row(listed: Path, tmp_path: Path) -> None:
    request = evaluating.Request(runs=[], faces=listed, calibrate=0.1)
    (row,) = evaluating.evaluate(request, JudgeSettings("embedded_judge", mirror="sum"), tmp_path).rows
    card = calibration.read(tmp_path / evaluating.CARD)
    scores = np.load(tmp_path / "scores.npz")
    matrix = scores["full size/none/original"]
    genuine = scores["probe_ids"][:, None] == scores["gallery_ids"]
    impostors = np.sort(matrix[~genuine])[::-1]
    allowed = int(0.1 * len(impostors))
    assert (impostors >= card.calibration.threshold.value).sum() <= allowed < len(impostors)
    assert impostors[allowed] < card.calibration.threshold.value
    assert row.figures["rank1"].value is not None


def test_rate_that_the_pairs_cannot_show_is_refused_before_a_face_is_embedded(listed: Path, tmp_path: Path) -> None:
    request = evaluating.Request(runs=[], faces=listed, calibrate=1e-6)
    with pytest.raises(ValueError, match="cannot calibrate: .* it takes at least 1,000,000; add impostor pairs"):
        evaluating.evaluate(request, JudgeSettings("embedded_judge", mirror="none"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_errors_by_group_are_those_at_the_threshold_of_the_card(listed: Path, tmp_path: Path) -> None:
    request = evaluating.Request(runs=[], faces=listed, by=("domain",), calibrate=0.1)
    done = evaluating.evaluate(request, JudgeSettings("embedded_judge", mirror="none"), tmp_path)
    (groups,) = done.rows[0].groups
    assert groups.false_accept_rate == 0.1
    assert groups.threshold.value == calibration.read(tmp_path / evaluating.CARD).calibration.threshold.value


def others(folder: Path) -> Path:
    """People who are not tested, one picture each camera."""
    return synthetic.render_to(folder, identities=4, shots=1, size=96, seed=6, first_identity=500)


def pairs_of(listed: Path, out: Path) -> list[tuple[str, str, bool]]:
    """All pairs of the list's pictures in one camera; the table has names for the people of its own."""
    faces = face_list.read(listed).where(domain="vis")
    people = faces.column("identity").tolist()
    rows = [(one, other) for one, other in combinations(range(len(faces)), 2)]
    keys = faces.keys()
    text = "".join(f"{keys[a]},{keys[b]},{int(people[a] == people[b])},p{people[a]},p{people[b]}\n" for a, b in rows)
    out.write_text(f"path_a,path_b,genuine,identity_a,identity_b\n{text}", "utf-8")
    return [(keys[a], keys[b], people[a] == people[b]) for a, b in rows]


def test_card_of_normalised_pairs_decides_as_the_pairs_were_decided(listed: Path, tmp_path: Path) -> None:
    wanted = pairs_of(listed, tmp_path / "pairs.csv")
    cohort = others(tmp_path / "cohort")
    asked = {"normalise": "t", "cohort": cohort, "top": 3, "calibrate": 0.1}
    request = evaluating.Request(runs=[], faces=listed, protocol=tmp_path / "pairs.csv", **asked)  # type: ignore[arg-type]
    evaluating.evaluate(request, JudgeSettings("embedded_judge", mirror="none"), tmp_path / "out")
    scores = np.load(tmp_path / "out" / "scores.npz")[f"{FULL_SIZE}/none/original"]
    card = tmp_path / "out" / evaluating.CARD
    names = {str(listed.parent / key): key for pair in wanted for key in pair[:2]}
    matched = {
        (names[pair.first], names[pair.second]): pair.score
        for pair in face_match.match(listed, listed, card)
        if {pair.first, pair.second} <= names.keys()
    }
    found = [matched[first, second] for first, second, _ in wanted]
    np.testing.assert_allclose(found, scores, atol=1e-3)
    held = calibration.read(card).calibration
    assert held.num_genuine == sum(genuine for *_, genuine in wanted)
    assert held.num_people == drawn.PEOPLE


def test_cohort_of_people_whom_only_the_pairs_name_is_refused(listed: Path, tmp_path: Path) -> None:
    pairs_of(listed, tmp_path / "pairs.csv")
    cohort = face_list.read(others(tmp_path / "cohort"))
    tested = face_list.read(listed).column("identity").tolist()[0]
    people = [f"p{tested}", *cohort.column("identity").tolist()[1:]]
    face_list.write(cohort.with_column("identity", people), tmp_path / "cohort" / "shared.csv")
    request = evaluating.Request(
        runs=[], faces=listed, protocol=tmp_path / "pairs.csv", normalise="z", cohort=tmp_path / "cohort" / "shared.csv"
    )
    with pytest.raises(ValueError, match=f"1 identity is in the cohort and in the test, the first: p{tested}"):
        evaluating.evaluate(request, judge(), tmp_path / "out")


def test_card_needs_the_settings_of_the_judge_and_one_protocol(listed: Path, tmp_path: Path) -> None:
    request = evaluating.Request(runs=[], faces=listed, calibrate=0.1)
    with pytest.raises(ValueError, match="give JudgeSettings"):
        evaluating.evaluate(request, judge(), tmp_path / "one")
    with pytest.raises(ValueError, match="one --protocol"):
        evaluating.evaluate_folds(request, [Path("a.csv"), Path("b.csv")], judge(), tmp_path / "two")


def test_normalised_scores_are_those_of_the_cohort_by_hand(listed: Path, tmp_path: Path) -> None:
    cohort_list = others(tmp_path / "others")
    plain = evaluating.Request(runs=[], faces=listed)
    evaluating.evaluate(plain, judge(), tmp_path / "plain")
    evaluating.evaluate(replace(plain, normalise="z", cohort=cohort_list), judge(), tmp_path / "z")
    before, after = (np.load(tmp_path / name / "scores.npz")["full size/none/original"] for name in ("plain", "z"))
    crop, faces = crops.crop("sphereface"), face_list.read(cohort_list)
    cohort = face_match.embed(judge(), faces, crop, "umeyama").embeddings
    gallery = face_match.embed(judge(), face_list.read(listed).where(split="gallery"), crop, "umeyama").embeddings
    against = gallery @ cohort.T
    wanted = (before - against.mean(1)) / against.std(1)
    np.testing.assert_allclose(after, wanted, atol=2e-3)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"normalise": "z"}, "--cohort"),
        ({"cohort": Path("others.csv")}, "--normalise"),
        ({"top": 5}, "--top"),
        ({"normalise": "q", "cohort": Path("others.csv")}, "expected one of z, t, s"),
    ],
)
def test_halves_of_a_score_normalisation_are_refused(asked: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        evaluating.evaluate(evaluating.Request(runs=[], faces=tmp_path / "faces.csv", **asked), judge(), tmp_path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"translate": "both"}, "expected one of probe, gallery"),
        ({"translate": "gallery", "sizes": ((14, 12),)}, "--sizes"),
    ],
)
def test_impossible_translations_are_refused(change: dict[str, Any], told: str, tmp_path: Path) -> None:
    request = evaluating.Request(
        runs=[str(drawn.untrained_run(tmp_path / "run"))], faces=tmp_path / "faces.csv", **change
    )
    with pytest.raises(ValueError, match=told):
        evaluating.evaluate(request, Judge(drawn.thin_recogniser()), tmp_path / "out")
