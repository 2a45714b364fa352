"""The demo goes the whole way, and removes nothing that it did not make."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from facebridge import demo, evaluating, recipe, recognisers, runs
from facebridge.data import face_list
from facebridge.evaluation import result
from facebridge.evaluation.ways import Judge
from tests import drawn

PEOPLE, SHOTS = 6, 2


@pytest.fixture
def miniature(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The demo with few people, few steps and one size; thin recognisers where none are shipped."""
    for name, value in {
        "TRAINING_PEOPLE": 3,
        "TRAINING_SHOTS": SHOTS,
        "TEST_PEOPLE": PEOPLE,
        "TEST_SHOTS": SHOTS,
        "SIZES": ((14, 12),),
    }.items():
        monkeypatch.setattr(demo, name, value)
    table = recipe.read(demo.RECIPE).model_dump(mode="json", exclude_none=True)
    table["training"] |= {"steps": 2, "batch_size": 2, "precision": "32-true"}
    table["settings"] |= drawn.TINY
    if table["recogniser"]["name"] not in recognisers.shipped():
        table["recogniser"] = {"name": "mobile_facenet", "sizes": drawn.THIN}
    path = tmp_path / "miniature.toml"
    path.write_text(recipe.to_toml(recipe.resolve(table, "miniature")), "utf-8")
    monkeypatch.setattr(demo, "RECIPE", str(path))
    if demo.JUDGE not in recognisers.shipped():
        monkeypatch.setattr(evaluating, "judge", lambda *_: Judge(drawn.thin_recogniser(), "sum"))


@pytest.mark.usefixtures("miniature")
def test_demo_goes_from_drawn_people_to_a_report_with_headlines(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    told = list(demo.run(out, seed=1))
    assert (out / "report.html").is_file()
    assert str(out / "report.html") in told[-1]
    done = result.read(out / "evaluation")
    headlines = [line for line in told if "Rank-1" in line and line.lstrip().startswith(("14x12", "full size"))]
    assert len(headlines) == len(done.rows)
    assert {row.method for row in done.rows} == {"none", "bilinear", "bicubic", "edsr_identity"}
    assert told[-2].startswith("at 14x12: Rank-1")
    faces = face_list.read(out / "people" / "faces.csv")
    of_split = {name: set(faces.where(split=name).column("identity")) for name in ("train", "gallery", "probe")}
    assert of_split["gallery"] == of_split["probe"]
    assert of_split["train"].isdisjoint(of_split["probe"])
    assert len(faces.where(split="gallery")) == PEOPLE
    assert len(faces.where(split="probe")) == PEOPLE * (SHOTS - 1)
    assert runs.Run(out / "run").recipe.seed == 1


def test_training_takes_the_people_of_the_split_train_alone() -> None:
    data = recipe.read(demo.RECIPE).data
    assert isinstance(data, recipe.FaceListData)
    assert data.split == "train"


def test_judge_is_not_the_recogniser_that_was_trained_through() -> None:
    trained_through = recipe.read(demo.RECIPE).recogniser
    assert trained_through is not None
    assert trained_through.name != demo.JUDGE


def started(out: Path) -> Iterator[str]:
    """A demo up to its first line, when the folder has been cleared and nothing drawn."""
    lines = demo.run(out)
    next(lines)
    return lines


def test_demo_takes_a_new_folder_and_clears_its_own(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    started(out)
    for part in demo.PARTS:
        (out / part).mkdir()
        (out / part / "left_over").touch()
    (out / "report.html").touch()
    started(out)
    assert not any((out / part).exists() for part in demo.PARTS)


@pytest.mark.parametrize("name", ["photos", "run", "report.html"])
def test_folder_that_no_demo_made_is_refused_and_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine").touch()
    with pytest.raises(ValueError, match=f"'{name}'.*--out"):
        started(tmp_path)
    assert (tmp_path / name / "mine").is_file()


def test_strange_file_in_a_demos_folder_is_refused(tmp_path: Path) -> None:
    started(tmp_path)
    (tmp_path / "people").mkdir()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"notes\.txt"):
        started(tmp_path)
    assert (tmp_path / "people").is_dir()
