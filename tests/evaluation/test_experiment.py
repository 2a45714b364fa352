"""An evaluation from pictures to figures equals a plain loop over pairs, and says what it left out."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from facebridge import crops, images, report, runs
from facebridge.data import face_list
from facebridge.data.face_list import FaceList
from facebridge.degradation import Damage, Degradation
from facebridge.evaluation import examples, experiment, result, speed, ways
from facebridge.evaluation.comparison import Pairs, by_split
from facebridge.evaluation.differences import difference
from facebridge.evaluation.groups import Grouping, by_group, members
from facebridge.evaluation.lfw import lfw_accuracy
from facebridge.evaluation.protocol import PairProtocol
from facebridge.evaluation.result import Evaluation
from facebridge.evaluation.setting import FULL_SIZE, Setting, numbers
from facebridge.evaluation.ways import Judge, Way
from facebridge.hallucination import enlarge, hallucinate, reduce
from facebridge.method import Method
from tests import drawn

CROP = crops.crop("sphereface")
SIZES = ((14, 12), (28, 24))
METHOD = "tiny"


@dataclass(frozen=True)
class Material:
    """What the tests share: drawn people, an untrained method, and one evaluation of gallery and probes."""

    listed: Path
    method: Method[Any]
    folder: Path
    done: Evaluation

    @property
    def faces(self) -> FaceList:
        return face_list.read(self.listed)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    folder = tmp_path_factory.mktemp("experiment")
    listed = drawn.people(folder / "people")
    method = runs.load(drawn.untrained_run(folder / "run"))
    done = experiment.evaluate(
        by_split(face_list.read(listed), "drawn people"), all_ways(method), judge(), setting(), folder / "evaluation"
    )
    return Material(listed, method, folder / "evaluation", done)


def all_ways(method: Method[Any]) -> list[Way]:
    return [*ways.baselines(CROP), ways.of_method(METHOD, method)]


def judge(mirror: str = "sum") -> Judge:
    return Judge(drawn.thin_recogniser(), mirror)  # type: ignore[arg-type]


def setting(sizes: tuple[tuple[int, int], ...] = SIZES) -> Setting:
    return Setting(crop=CROP, sizes=sizes, provenance={"judge": "thin"})


def all_pairs(faces: FaceList) -> PairProtocol:
    """Every gallery picture with every probe."""
    pairs = [(first, second) for first in faces.where(split="gallery") for second in faces.where(split="probe")]
    return PairProtocol(
        first=tuple(first.path for first, _ in pairs),
        second=tuple(second.path for _, second in pairs),
        genuine=tuple(first.identity == second.identity for first, second in pairs),
        fold=(0,) * len(pairs),
        first_identities=tuple(first.identity for first, _ in pairs),
        second_identities=tuple(second.identity for _, second in pairs),
    )


def aligned(faces: FaceList, row: int) -> Tensor:
    landmarks = faces[row].landmarks
    assert landmarks is not None
    return images.to_faces(crops.align(images.read(faces.picture_path(row)), landmarks, CROP)[None])


def embedding(face: Tensor, mirrored: Tensor) -> NDArray[np.float64]:
    """The features of a face and of what was made of the mirrored source, added."""
    recogniser = drawn.thin_recogniser()
    with torch.no_grad():
        both = [recogniser.network(recogniser.normalise(each))[0].double().numpy() for each in (face, mirrored)]
    feature = both[0] + both[1]
    return np.asarray(feature / np.sqrt(feature @ feature))


def scores_of(folder: Path) -> dict[str, NDArray[Any]]:
    with np.load(folder / experiment.SCORES) as arrays:
        return dict(arrays)


def test_scores_equal_a_plain_loop_over_pairs(material: Material) -> None:
    def made(source: Tensor, name: str) -> Tensor:
        if name == METHOD:
            return hallucinate(material.method, source)
        return enlarge(source, CROP, name)  # type: ignore[arg-type]

    faces, found = material.faces, scores_of(material.folder)
    splits = faces.column("split").tolist()
    gallery = [row for row, split in enumerate(splits) if split == "gallery"]
    probes = [row for row, split in enumerate(splits) if split == "probe"]
    enrolled = [embedding(face, face.flip(-1)) for face in (aligned(faces, row) for row in gallery)]
    size = SIZES[0]
    for name, kind in (("bilinear", "original"), ("bicubic", "original"), (METHOD, "generated")):
        wanted = []
        for row in probes:
            source = reduce(aligned(faces, row), *size)
            of_probe = embedding(made(source, name), made(source.flip(-1), name))
            wanted.append([float(of_probe @ of_gallery) for of_gallery in enrolled])
        assert found[f"14x12/{name}/{kind}"] == pytest.approx(np.array(wanted), abs=1e-4), name
    rank1 = np.mean(
        [faces[probes[number]].identity == faces[gallery[place]].identity for number, place in enumerate(best(found))]
    )
    of_method = material.done.row(METHOD, "14x12", "generated")
    assert of_method is not None
    assert of_method.figures["rank1"].value == pytest.approx(rank1)


def best(found: dict[str, NDArray[Any]]) -> list[int]:
    return [int(np.argmax(row)) for row in found[f"14x12/{METHOD}/generated"]]


def test_full_size_row_is_the_recognisers_own_score_of_untouched_faces(material: Material) -> None:
    faces, found = material.faces, scores_of(material.folder)
    recogniser = drawn.thin_recogniser()
    with torch.no_grad():
        all_faces = torch.cat([aligned(faces, row) for row in range(len(faces))])
        embeddings = recogniser.embed(all_faces, CROP, mirror="sum").numpy()
    is_gallery = np.array(faces.column("split").tolist()) == "gallery"
    wanted = embeddings[~is_gallery] @ embeddings[is_gallery].T
    assert found[f"{FULL_SIZE}/none/original"] == pytest.approx(wanted, abs=1e-4)
    assert [row.method for row in material.done.rows if row.condition == FULL_SIZE] == ["none"]


def test_fused_scores_are_the_mean_of_bicubic_and_generated(material: Material) -> None:
    found = scores_of(material.folder)
    for condition in ("14x12", "28x24"):
        mean = (found[f"{condition}/bicubic/original"] + found[f"{condition}/{METHOD}/generated"]) / 2
        assert found[f"{condition}/{METHOD}/fused"] == pytest.approx(mean, abs=1e-6)
    assert not any(key.endswith("bilinear/fused") for key in found)


def test_written_figures_read_back_and_scores_have_every_row(material: Material) -> None:
    assert result.read(material.folder) == material.done
    found = scores_of(material.folder)
    expected = {f"{row.condition}/{row.method}/{row.score_kind}" for row in material.done.rows}
    assert set(found) == expected | {"probe_ids", "gallery_ids"}
    assert len(expected) == len(SIZES) * 4 + 1
    num_gallery, num_probes = drawn.PEOPLE, drawn.PEOPLE * (drawn.SHOTS - 1)
    assert all(found[key].shape == (num_probes, num_gallery) for key in expected)
    assert found["probe_ids"].tolist() == [row.identity for row in material.faces.where(split="probe")]
    assert material.done.conditions == ["14x12", "28x24", FULL_SIZE]
    assert material.done.provenance["pictures used"] == num_gallery + num_probes
    assert material.done.provenance["pictures refused"] == []


def test_reduced_rows_have_fidelity_against_the_sharp_face(material: Material) -> None:
    faces = material.faces.where(split="probe")
    row = material.done.row("bicubic", "14x12", "original")
    assert row is not None
    errors = []
    for number in range(len(faces)):
        sharp = aligned(faces, number)
        made = images.to_pictures(enlarge(reduce(sharp, 14, 12), CROP)).astype(np.float64)
        luma = (made - images.to_pictures(sharp)) @ np.array([65.481, 128.553, 24.966]) / 255
        errors.append(10 * np.log10(255**2 / np.mean(luma**2)))
    assert row.figures["psnr"].value == pytest.approx(np.mean(errors), abs=0.05)
    full = material.done.row("none", FULL_SIZE, "original")
    assert full is not None
    assert "psnr" not in full.figures


def test_report_of_the_evaluation_is_written(material: Material, tmp_path: Path) -> None:
    page = report.write_report([material.folder], tmp_path / "page" / "report.html")
    assert METHOD in page.read_text("utf-8")


def test_examples_are_pictures_of_the_folder_and_generated_ones_say_so(material: Material) -> None:
    assert {example.condition for example in material.done.examples} == {"14x12", "28x24"}
    for example in material.done.examples:
        assert set(example.generated) == {"bilinear", "bicubic", METHOD}
        assert set(example.scores) == set(example.generated)
        for name, picture in example.generated.items():
            assert images.generated_by(material.folder / picture) == (f"FaceBridge {name}" if name == METHOD else None)
        for picture in (example.source, example.target):
            assert images.generated_by(material.folder / picture) is None
            assert images.read(material.folder / picture).shape == (CROP.height, CROP.width, 3)


def test_examples_are_the_largest_gains_and_losses_and_no_probe_is_shown_twice(material: Material) -> None:
    found = scores_of(material.folder)
    mates = found["probe_ids"][:, None] == found["gallery_ids"][None]
    gain = (found[f"28x24/{METHOD}/generated"] - found["28x24/bicubic/original"])[mates]
    order = np.argsort(-gain)
    shown = [example for example in material.done.examples if example.condition == "28x24"]
    wanted = [*order[: examples.SHOWN], *order[::-1][: examples.SHOWN]]
    assert [example.target for example in shown] == [f"pictures/28x24-{place:05d}-target.png" for place in wanted]
    assert len({example.target for example in shown}) == len(shown)
    for example, place in zip(shown, wanted, strict=True):
        assert example.scores[METHOD] - example.scores["bicubic"] == pytest.approx(gain[place], abs=1e-6)


def test_probe_of_several_genuine_pairs_is_shown_once(material: Material, tmp_path: Path) -> None:
    faces = material.faces
    person = [row.path for row in faces if row.identity == faces[0].identity]
    other = next(row.path for row in faces if row.identity != faces[0].identity)
    pairs = PairProtocol(
        first=(person[0], person[1], other),
        second=(person[2], person[2], person[2]),
        genuine=(True, True, False),
        fold=(0, 1, 0),
        first_identities=("a", "a", "b"),
        second_identities=("a", "a", "a"),
    )
    compared = Pairs(pairs, faces, "one probe")
    way = ways.of_method(METHOD, material.method)
    scores = {
        ("28x24", "bicubic", "original"): np.array([0.5, 0.5, 0.0]),
        ("28x24", METHOD, "generated"): np.array([0.9, 0.1, 0.0]),
    }
    (tmp_path / "pictures").mkdir()
    plan = [("28x24", Degradation(28, 24), way)]
    shown = examples.choose(compared, scores, plan, setting(((28, 24),)), tmp_path)
    assert [example.caption.split(":")[0] for example in shown] == ["best"]


def test_damaged_probes_are_conditions_of_their_own_and_noise_is_of_the_picture(
    material: Material, tmp_path: Path
) -> None:
    noisy = Damage(noise=20, jpeg_quality=40)
    asked = replace(setting((SIZES[0],)), damages=(noisy,))
    done = experiment.evaluate(
        by_split(material.faces, "drawn"), all_ways(material.method), judge("none"), asked, tmp_path
    )
    assert done.conditions == ["14x12", "14x12 noise 20 jpeg 40", FULL_SIZE]
    assert {example.condition for example in done.examples} == {"14x12", "14x12 noise 20 jpeg 40"}
    found, plain = scores_of(tmp_path), judge("none")
    probes = material.faces.where(split="probe")
    wanted = []
    for row, number in enumerate(numbers(probes)):
        small = Degradation(14, 12, noisy).apply(aligned(probes, row), [number])
        wanted.append(plain.embed(ways.baselines(CROP)[0], small, CROP)[0])
    gallery = material.faces.where(split="gallery")
    enrolled = [plain.embed(ways.AS_IT_IS, aligned(gallery, row), CROP)[0] for row in range(len(gallery))]
    of_bilinear = found["14x12 noise 20 jpeg 40/bilinear/original"]
    assert of_bilinear == pytest.approx(np.stack(wanted) @ np.stack(enrolled).T, abs=1e-4)
    assert np.abs(of_bilinear - found["14x12/bilinear/original"]).max() > 1e-3
    assert numbers(probes.take([2, 1])) == [numbers(probes)[2], numbers(probes)[1]]


def test_published_preset_finds_the_threshold_on_a_grid(material: Material, tmp_path: Path) -> None:
    faces = material.faces
    compared = Pairs(all_pairs(faces), faces, "all pairs")
    asked = replace(setting((SIZES[0],)), preset="code")
    done = experiment.evaluate(compared, ways.baselines(CROP, preset="code"), judge("concatenate"), asked, tmp_path)
    found = scores_of(tmp_path)
    for row in done.rows:
        scores = found[f"{row.condition}/{row.method}/{row.score_kind}"]
        wanted = lfw_accuracy(scores, found["genuine"], 10, "sr_lrfr")
        assert row.figures["accuracy"].value == pytest.approx(wanted.accuracy)
        assert row.figures["accuracy_std"].value == pytest.approx(wanted.std)
        assert row.figures["accuracy"].low is not None
    gained = difference(found, found["14x12/bicubic/original"], found["14x12/bilinear/original"], "accuracy", 20)
    by_way = [lfw_accuracy(found[f"14x12/{name}/original"], found["genuine"], 10) for name in ways.BASELINES]
    assert gained.value == pytest.approx(by_way[1].accuracy - by_way[0].accuracy)


def test_shape_is_measured_on_what_was_made(material: Material, tmp_path: Path) -> None:
    class Brightest:
        """Finds every landmark at the mean brightness, and one part or the other."""

        def estimate(self, faces: Tensor) -> tuple[Tensor, Tensor]:
            points = torch.arange(68.0)[:, None] * torch.ones(2) + 100 * faces.mean(dim=(1, 2, 3)).view(-1, 1, 1)
            return points, (faces.mean(1) > 0.5).to(torch.uint8)

    asked = replace(setting((SIZES[0],)), shape=Brightest())
    done = experiment.evaluate(by_split(material.faces, "drawn"), ways.baselines(CROP), judge("none"), asked, tmp_path)
    probes = material.faces.where(split="probe")
    shifts, overlaps = [], []
    for row in range(len(probes)):
        sharp = aligned(probes, row)
        made = enlarge(reduce(sharp, 14, 12), CROP, "bilinear")
        apart = np.sqrt(2) * (45 - 36)
        shifts.append(np.sqrt(2) * 100 * abs(float(made.mean() - sharp.mean())) / apart)
        maps = [np.asarray(face.mean(1) > 0.5) for face in (made, sharp)]
        both = [((maps[0] == part) & (maps[1] == part)).sum() for part in (False, True)]
        either = [((maps[0] == part) | (maps[1] == part)).sum() for part in (False, True)]
        overlaps.append(np.mean([one / other for one, other in zip(both, either, strict=True) if other]))
    row_found = done.row("bilinear", "14x12", "original")
    assert row_found is not None
    assert row_found.figures["nrmse"].value == pytest.approx(np.mean(shifts), rel=1e-3)
    assert row_found.figures["part_iou"].value == pytest.approx(np.mean(overlaps), rel=1e-6)


def test_pairs_and_gallery_with_probes_give_the_same_scores(material: Material, tmp_path: Path) -> None:
    faces = material.faces
    compared = Pairs(all_pairs(faces), faces, "all pairs")
    sizes = (SIZES[0],)
    done = experiment.evaluate(compared, ways.baselines(CROP), judge(), setting(sizes), tmp_path)
    found, other = scores_of(tmp_path), scores_of(material.folder)
    pairs = [
        (first.identity, second.path) for first in faces.where(split="gallery") for second in faces.where(split="probe")
    ]
    rows = faces.where(split="probe").column("path").tolist()
    columns = other["gallery_ids"].tolist()
    wanted = [other["14x12/bicubic/original"][rows.index(path), columns.index(identity)] for identity, path in pairs]
    assert found["14x12/bicubic/original"] == pytest.approx(wanted, abs=1e-5)
    assert set(found) == {"14x12/bilinear/original", "14x12/bicubic/original", f"{FULL_SIZE}/none/original"} | {
        "genuine",
        "fold",
        "first",
        "second",
        "first_person",
        "second_person",
    }
    assert "accuracy" in done.rows[0].figures
    assert done.examples == []


def test_without_sizes_probes_are_matched_as_they_are_and_generated(material: Material, tmp_path: Path) -> None:
    same = Way("same", lambda faces: faces, generated=True)
    done = experiment.evaluate(by_split(material.faces, "drawn"), [same], judge(), setting(()), tmp_path)
    assert [(row.method, row.score_kind) for row in done.rows] == [
        ("none", "original"),
        ("same", "generated"),
        ("same", "fused"),
    ]
    found = scores_of(tmp_path)
    assert found[f"{FULL_SIZE}/same/fused"] == pytest.approx(found[f"{FULL_SIZE}/none/original"], abs=1e-6)


def broken(listed: Path, folder: Path, num_bad: int = 1) -> FaceList:
    """The people again, the first probe's file overwritten by garbage."""
    shutil.copytree(listed.parent, folder)
    faces = face_list.read(folder / listed.name)
    for row in faces.where(split="probe").take(range(num_bad)):
        (faces.root / row.path).write_bytes(b"\x89PNG\r\n\x1a\n and then nothing of a picture")
    return faces


def test_unreadable_probe_is_named_and_missing_from_every_row_alike(material: Material, tmp_path: Path) -> None:
    faces = broken(material.listed, tmp_path / "people")
    bad = faces.where(split="probe")[0].path
    keep = np.array([path != bad for path in faces.column("path").tolist()])
    some = [*ways.baselines(CROP), ways.of_method(METHOD, material.method)]
    sizes = (SIZES[0],)
    done = experiment.evaluate(by_split(faces, "broken"), some, judge(), setting(sizes), tmp_path / "with")
    other = experiment.evaluate(
        by_split(faces.take(keep), "broken"), some, judge(), setting(sizes), tmp_path / "without"
    )
    assert [refused["picture"] for refused in done.provenance["pictures refused"]] == [str(faces.root / bad)]
    assert done.provenance["pictures refused"][0]["cause"]
    assert done.protocol["pictures left out"] == 1
    assert done.rows == other.rows
    for name, values in scores_of(tmp_path / "with").items():
        assert np.array_equal(values, scores_of(tmp_path / "without")[name]), name


def test_unreadable_picture_on_both_sides_of_pairs_is_named_once(material: Material, tmp_path: Path) -> None:
    faces = broken(material.listed, tmp_path / "people")
    paths = faces.column("path").tolist()
    bad = faces.where(split="probe")[0].path
    pairs = all_pairs(faces)
    swapped = PairProtocol(
        first=(*pairs.first, *pairs.second),
        second=(*pairs.second, *pairs.first),
        genuine=pairs.genuine * 2,
        fold=pairs.fold * 2,
        first_identities=(*pairs.first_identities, *pairs.second_identities),
        second_identities=(*pairs.second_identities, *pairs.first_identities),
    )
    compared = Pairs(swapped, faces, "both ways")
    done = experiment.evaluate(compared, [], judge("none"), setting(()), tmp_path / "out")
    assert bad in paths
    assert [refused["picture"] for refused in done.provenance["pictures refused"]] == [str(faces.root / bad)]
    assert done.protocol["pairs left out"] == 2 * drawn.PEOPLE


def test_groups_of_every_row_are_those_of_its_scores(material: Material, tmp_path: Path) -> None:
    compared = by_split(material.faces, "drawn")
    same = Way("same", lambda faces: faces, generated=True)
    by = [Grouping("skin_tone"), Grouping("yaw_deg", (0, 10, 90))]
    done = experiment.evaluate(compared, [same], judge(), setting(()), tmp_path, by=by)
    found = scores_of(tmp_path)
    assert [each.column for each in done.rows[0].groups] == ["skin_tone", "absolute yaw_deg"]
    assert [group.name for group in done.rows[0].groups[1].groups] == ["0 to 10", "10 to 90"]
    for row in done.rows:
        scores = found[f"{row.condition}/{row.method}/{row.score_kind}"]
        for grouping, groups in zip(by, row.groups, strict=True):
            division = members(grouping, compared.probe, compared.gallery)
            assert by_group(scores, compared.compared, division, compared.found(scores)) == groups
    assert result.read(tmp_path) == done


def test_faces_that_cannot_be_divided_are_refused_before_anything_is_done(material: Material, tmp_path: Path) -> None:
    compared = by_split(material.faces, "drawn")
    with pytest.raises(ValueError, match="no column 'sex'"):
        experiment.evaluate(compared, [], judge(), setting(()), tmp_path / "out", by=[Grouping("sex")])
    assert not (tmp_path / "out").exists()


def test_speed_of_judge_and_matching_is_kept(material: Material) -> None:
    told = material.done.provenance["speed"]
    assert (told["recogniser"], told["mirror"]) == ("mobile_facenet", "sum")
    assert told["threads"] >= 1
    assert 0 < told["faces_read_aligned_and_embedded_per_sec"] < told["faces_embedded_per_sec"]
    assert told["pairs_matched_per_sec"] > 0


def test_rates_are_counts_over_seconds_and_the_first_of_a_part_warms_up(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0, 5, 10, 12, 20, 21, 30, 31])
    monkeypatch.setattr(speed, "perf_counter", lambda: next(times))
    clock = speed.Clock()
    for part, count in (("embedding", 32), ("embedding", 20), ("reading", 4), ("matching", 1000)):
        with clock.of(part, count):
            pass
    told = clock.speed(judge())
    assert told["faces_embedded_per_sec"] == pytest.approx(20 / 2)
    assert told["faces_read_aligned_and_embedded_per_sec"] == pytest.approx(1 / (2 / 20 + 1 / 4), rel=0.01)
    assert told["pairs_matched_per_sec"] == 1000


def test_two_ways_of_one_name_are_refused(material: Material, tmp_path: Path) -> None:
    twins = [ways.of_method("run", material.method), ways.of_method("run", material.method)]
    with pytest.raises(ValueError, match="'run'.*NAME=RUN"):
        experiment.evaluate(by_split(material.faces, "drawn"), twins, judge(), setting(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_progress_ends_with_all_faces(material: Material, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    experiment.evaluate(
        by_split(material.faces, "drawn"),
        [],
        judge("none"),
        setting(()),
        tmp_path,
        advance=lambda done, of: told.append((done, of)),
    )
    num_faces = drawn.PEOPLE * drawn.SHOTS
    assert told[-1] == (num_faces, num_faces)
    assert told == sorted(told)


def darkened(faces: Tensor) -> Tensor:
    return faces * 0.5


@pytest.mark.parametrize("pairs", [False, True])
def test_a_translated_gallery_is_matched_with_probes_as_they_are(
    pairs: bool, material: Material, tmp_path: Path
) -> None:
    faces = material.faces
    compared = Pairs(all_pairs(faces), faces, "pairs") if pairs else by_split(faces, "drawn people")
    way = Way("darkened", darkened, generated=True, side="gallery")
    done = experiment.evaluate(compared, [way], judge("none"), setting(()), tmp_path)
    stored = dict(np.load(tmp_path / experiment.SCORES))
    plain = judge("none")
    gallery, probe = (
        np.concatenate([plain.embed(ways.AS_IT_IS, made(aligned(part, row)), CROP) for row in range(len(part))])
        for part, made in ((faces.where(split="gallery"), darkened), (faces.where(split="probe"), lambda face: face))
    )
    expected = gallery @ probe.T if pairs else (probe @ gallery.T).T
    found = stored[f"{FULL_SIZE}/darkened/generated"]
    np.testing.assert_allclose(found.ravel() if pairs else found.T.ravel(), expected.ravel(), atol=1e-5)
    original = stored[f"{FULL_SIZE}/none/original"]
    assert not np.allclose(found, original, atol=1e-3)
    np.testing.assert_allclose(stored[f"{FULL_SIZE}/darkened/fused"], (original + found) / 2, atol=1e-6)
    assert {row.score_kind for row in done.rows} == {"original", "generated", "fused"}
    shown = done.examples[0]
    source, made = (images.read(tmp_path / path).astype(int) for path in (shown.source, shown.generated["darkened"]))
    assert np.abs(source - 2 * made).max() <= 2
    assert any(
        np.array_equal(source, images.to_pictures(aligned(faces.where(split="gallery"), row))[0]) for row in range(6)
    )


def test_who_translates_the_gallery_has_no_part_where_probes_are_reduced(material: Material, tmp_path: Path) -> None:
    way = Way("darkened", darkened, generated=True, side="gallery")
    done = experiment.evaluate(
        by_split(material.faces, "drawn people"), [*ways.baselines(CROP), way], judge("none"), setting(), tmp_path
    )
    assert "darkened" not in {row.method for row in done.rows}
