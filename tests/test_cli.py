"""The command line: every verb once, and a user's error is one line and exit status 2, never a traceback."""

import csv
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import typer

from facebridge import cli, images, recipe, recognisers, weights
from facebridge.data import face_list
from facebridge.data.face_list import FaceList
from facebridge.evaluation import result
from tests import drawn
from tests.data import spectrum_trees, visible_trees
from tests.parity.fill import published_state

EXIT_BAD_PICTURES, EXIT_USER_ERROR = 1, 2


@dataclass(frozen=True)
class Answer:
    """What a command printed and how it ended."""

    status: int
    out: str
    err: str


Facebridge = Callable[..., Answer]


@pytest.fixture
def facebridge(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Facebridge:
    """Run the command line as its script does."""

    def run(*words: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["facebridge", *map(str, words)])
        status = 0
        try:
            cli.main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        return Answer(status, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn.people(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn.untrained_run(tmp_path_factory.mktemp("runs") / "mine")


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options that name a thin recogniser in a file."""
    path = tmp_path_factory.mktemp("judge") / "thin.safetensors"
    network = drawn.thin_recogniser().network
    recognisers.write(path, "mobile_facenet", network.state_dict(), crop="sphereface", **drawn.THIN)
    return ["--recogniser", "mobile_facenet", "--weights", str(path)]


def broken(listed: Path, folder: Path) -> Path:
    """The people again, the first probe's file overwritten by garbage."""
    shutil.copytree(listed.parent, folder)
    faces = face_list.read(folder / listed.name)
    faces.where(split="probe").picture_path(0).write_bytes(b"garbage")
    return folder / listed.name


def is_a_users_error(answer: Answer) -> bool:
    """One line on standard error that begins with the program's name, nothing else, status 2."""
    lines = answer.err.splitlines()
    return answer.status == EXIT_USER_ERROR and len(lines) == 1 and lines[0].startswith("facebridge: ")


def verbs(command: object) -> set[str]:
    return set(command.commands)  # type: ignore[attr-defined]


def test_verbs_are_exactly_these() -> None:
    root = typer.main.get_command(cli.app)
    assert verbs(root) == {
        *("demo", "data", "train", "generate", "sample", "embed", "evaluate", "match", "report", "weights", "methods")
    }
    assert verbs(root.commands["data"]) == {
        "sets",
        "import",
        "check",
        "landmarks",
        "align",
        "relabel",
        "render",
        "simulate-nir",
    }  # type: ignore[attr-defined]
    assert verbs(root.commands["weights"]) == {"add", "convert", "list", "remove", "show"}  # type: ignore[attr-defined]


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["data", "render", "--help"]])
def test_help_explains_the_verbs(facebridge: Facebridge, words: list[str]) -> None:
    answer = facebridge(*words)
    assert answer.status == 0
    assert "Usage" in answer.out


def test_dry_run_prints_a_recipe_that_reads_back(facebridge: Facebridge, tmp_path: Path) -> None:
    answer = facebridge(
        "train", "edsr_identity_small", "--dry-run", "--set", "training.steps=7", "--set", "data.list=mine/faces.csv"
    )
    (tmp_path / "again.toml").write_text(answer.out, "utf-8")
    again = recipe.read(tmp_path / "again.toml")
    assert again == recipe.read("edsr_identity_small", ["training.steps=7", "data.list=mine/faces.csv"])
    assert again.training.steps == 7
    assert (answer.status, answer.err) == (0, "")


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("training.stops=7", "steps"),
        ("settings.num_block=7", "num_blocks"),
        ("data.lists=x", "list"),
        ("recogniser.nom=x", "weights"),
        ("speed=7", "training"),
        ("training.steps=0", "greater"),
        ("crop=no_crop", "sphereface"),
        ("nonsense", "key=value"),
    ],
)
def test_wrong_setting_names_what_there_is(facebridge: Facebridge, setting: str, named: str) -> None:
    answer = facebridge("train", "edsr_identity_small", "--dry-run", "--set", setting)
    assert is_a_users_error(answer), answer
    assert named in answer.err


def test_missing_option_and_unknown_verb_end_with_status_two(facebridge: Facebridge) -> None:
    for words in (["fly"], ["generate"], ["train", "edsr_identity", "--speed"]):
        answer = facebridge(*words)
        assert answer.status == EXIT_USER_ERROR
        assert "Traceback" not in answer.err


def test_methods_lists_methods_recognisers_and_recipes(facebridge: Facebridge) -> None:
    assert "edsr_identity" in facebridge("methods").out.split()
    assert facebridge("methods", "--recipes").out.split() == recipe.names()
    assert facebridge("methods", "--recognisers").out.split() == recognisers.names()


def test_train_makes_a_run_that_generates(facebridge: Facebridge, listed: Path, tmp_path: Path) -> None:
    settings = {
        "data.list": listed,
        "training.steps": 2,
        "training.batch_size": 2,
        "training.precision": "32-true",
        "settings.num_blocks": 1,
        "settings.num_filters": 4,
        "settings.identity_weight": 0,
    }
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    answer = facebridge("train", "edsr_identity_small", "--device", "cpu", "--out", tmp_path / "run", *words)
    assert answer.status == 0, answer.err
    assert f"weights: {tmp_path / 'run' / 'weights.safetensors'}" in answer.out
    answer = facebridge("generate", tmp_path / "run", listed, "--out", tmp_path / "made", "--size", "14x12")
    assert answer.status == 0, answer.err
    made = face_list.read(tmp_path / "made" / "faces.csv")
    assert len(made) == drawn.PEOPLE * drawn.SHOTS
    assert images.generated_by(made.picture_path(0)) == "FaceBridge edsr_identity"
    again = facebridge("train", "edsr_identity_small", "--device", "cpu", "--out", tmp_path / "run", *words)
    assert is_a_users_error(again), again


def test_generate_counts_bad_pictures_and_does_the_rest(
    facebridge: Facebridge, run: Path, listed: Path, tmp_path: Path
) -> None:
    bad = broken(listed, tmp_path / "people")
    answer = facebridge("generate", run, bad, tmp_path / "made")
    assert answer.status == EXIT_BAD_PICTURES
    num_good = drawn.PEOPLE * drawn.SHOTS - 1
    assert f"{num_good} faces" in answer.out
    assert "1 picture could not be used" in answer.err
    assert len(list((tmp_path / "made").rglob("*.png"))) == num_good


def test_data_set_goes_from_its_folder_to_a_figure_in_three_commands(
    facebridge: Facebridge, judge: list[str], tmp_path: Path
) -> None:
    tree = spectrum_trees.TREES["casia_nir_vis"](tmp_path / "theirs")
    lists, aligned = tmp_path / "lists", tmp_path / "aligned"
    columns = {name: list(tree.landmarks) for name in ("path", "identity", "domain")}
    points = FaceList(tmp_path, columns, np.stack(list(tree.landmarks.values())))
    face_list.write(points, tmp_path / "points.csv")

    answer = facebridge("data", "import", "casia_nir_vis", tree.root, "-o", lists / "casia.csv")
    assert answer.status == 0, answer.err
    assert "view2_01: probe pictures: 7 found, 6,208 published: 6,201 fewer" in answer.out
    words = ["--crop", "sphereface", "--landmarks", tmp_path / "points.csv", "-o", aligned, "--workers", 1]
    answer = facebridge("data", "align", lists / "casia.csv", *words)
    assert answer.status == 0, answer.err
    assert f"{aligned / 'faces.csv'}: {len(tree.landmarks)} aligned faces" in answer.out

    words = ["--faces", aligned / "faces.csv", *judge, "-o"]
    fold = lists / "casia_view2_01.csv"
    answer = facebridge("evaluate", "--protocol", fold, *words, tmp_path / "one")
    assert answer.status == 0, answer.err
    assert "Rank-1" in answer.out
    answer = facebridge(
        "evaluate", "--protocol", lists / "casia_view*_*.csv", "--protocol", fold, *words, tmp_path / "two"
    )
    assert is_a_users_error(answer), answer
    assert "two protocols are called casia_view2_01" in answer.err
    answer = facebridge("evaluate", "--protocol", lists / "casia_view2_[01]?.csv", *words, tmp_path / "folds")
    assert answer.status == 0, answer.err
    assert "over 2 folds" in answer.out
    assert (tmp_path / "folds" / "folds.csv").is_file()
    assert (tmp_path / "folds" / "casia_view2_01" / "metrics.json").is_file()

    (aligned / "s4" / "NIR" / "30001" / "001.png").write_bytes(b"garbage")
    answer = facebridge("evaluate", "--protocol", lists / "casia_view2_*.csv", *words, tmp_path / "bad")
    assert answer.status == EXIT_BAD_PICTURES
    assert "001.png" in answer.err
    assert "1 picture could not be used" in answer.err


def test_check_says_what_differs_from_the_published_counts(facebridge: Facebridge, tmp_path: Path) -> None:
    tree = visible_trees.TREES["lfw"](tmp_path / "theirs")
    (tree.root / "pairs.txt").unlink()
    assert facebridge("data", "import", "lfw", tree.root, "-o", tmp_path / "lfw.csv").status == 0
    answer = facebridge("data", "check", tmp_path / "lfw.csv")
    assert answer.status == EXIT_BAD_PICTURES
    assert "PROBLEM: pictures: " in answer.out
    assert "13,233 published" in answer.out
    assert "note of the import: no protocol view2: no pairs.txt was found" in answer.out


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("data", "import", "lwf", ".", "-o", "x.csv"), "lfw"),
        (("data", "import", "lfw", "nowhere", "-o", "x.csv"), "no such folder; expected LFW"),
        (("data", "import", "lfw", ".", "-o", "x.csv", "--set", "sead=1"), "seed"),
        (("data", "landmarks", ".", "-o", "x.csv"), "--weights"),
        (("data", "align", ".", "--crop", "square", "-o", "out"), "sphereface"),
        (("data", "align", ".", "--crop", "ffe", "-o", "out", "--format", "gif"), "png, jpg"),
        (("data", "align", ".", "--crop", "ffe", "-o", "out", "--format", "tar-png"), "shards-png"),
        (("data", "align", ".", "--crop", "ffe", "-o", "out", "--engine", "spark"), "local, ray"),
        (("data", "align", ".", "--crop", "ffe", "-o", "out", "--face", "best"), "largest, central, all"),
        (("evaluate", "--recogniser", "embedded_judge", "--protocol", "no_*.csv"), "no_*.csv"),
    ],
)
def test_wrong_word_of_a_data_command_names_the_right_ones(
    facebridge: Facebridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], named: str
) -> None:
    drawn.people(tmp_path, num_people=1, shots=1)
    monkeypatch.chdir(tmp_path)
    answer = facebridge(*words)
    assert is_a_users_error(answer), answer
    assert named in answer.err


@pytest.mark.real
def test_faces_of_photographs_are_found_and_remembered(facebridge: Facebridge, real_data: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("AJ_Cook", "AJ_Lamas", "Aaron_Guiel"):
        shutil.copy(real_data / "data/lfw/lfw-deepfunneled" / name / f"{name}_0001.jpg", photos)
    (photos / "broken.jpg").write_bytes(b"garbage")
    yunet = real_data / "weights" / "yunet_n_dynamic.onnx"
    answer = facebridge("data", "landmarks", photos, "--weights", yunet, "-o", tmp_path / "lists" / "faces.csv")
    assert answer.status == EXIT_BAD_PICTURES
    assert "broken.jpg" in answer.err
    with (tmp_path / "lists" / "faces_not_found.csv").open(encoding="utf-8", newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == ["broken.jpg"]
    answer = facebridge(
        "data", "align", tmp_path / "lists" / "faces.csv", "--crop", "arcface_112", "-o", tmp_path / "faces"
    )
    assert answer.status == 0, answer.err
    assert len(face_list.read(tmp_path / "faces" / "faces.csv")) == 3


def test_embed_writes_one_row_a_picture(facebridge: Facebridge, listed: Path, judge: list[str], tmp_path: Path) -> None:
    answer = facebridge("embed", listed, "-o", tmp_path / "out.npz", *judge, "--mirror", "concatenate")
    assert answer.status == 0, answer.err
    with np.load(tmp_path / "out.npz") as found:
        assert found["embeddings"].shape == (drawn.PEOPLE * drawn.SHOTS, 2 * drawn.THIN["embedding_size"])
        assert np.linalg.norm(found["embeddings"], axis=1) == pytest.approx(1, abs=1e-5)


def test_evaluate_and_report_write_pages(
    facebridge: Facebridge, run: Path, listed: Path, judge: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "evaluation"
    answer = facebridge("evaluate", f"tiny={run}", "--faces", listed, "--sizes", "14x12, 28x24", "-o", out, *judge)
    assert answer.status == 0, answer.err
    done = result.read(out)
    assert {row.method for row in done.rows} == {"none", "bilinear", "bicubic", "tiny"}
    headlines = [line for line in answer.out.splitlines() if "Rank-1" in line]
    assert len(headlines) == len(done.rows)
    assert f"report: {out / 'report.html'}" in answer.out
    assert (out / "report.html").is_file()
    assert done.provenance["recipes"][f"tiny={run}"]["method"] == "edsr_identity"
    assert done.provenance["judge"] == {"recogniser": "mobile_facenet", "crop": "sphereface", "mirror": "sum"}
    answer = facebridge("report", out, "-o", tmp_path / "pages" / "page.html")
    assert answer.status == 0, answer.err
    assert (tmp_path / "pages" / "page.html").is_file()


def test_published_comparison_is_one_command(
    facebridge: Facebridge, run: Path, listed: Path, judge: list[str], tmp_path: Path
) -> None:
    words = ["--scales", "16,1", "--size", "16", "--degrade", "blur=1,jpeg=30", "--degrade", "antialias"]
    words += ["--baselines", "bilinear", "--preset", "code", "--convention", "cp2tform"]
    answer = facebridge("evaluate", f"l0={run}", "--faces", listed, *words, "-o", tmp_path / "out", *judge)
    assert answer.status == 0, answer.err
    done = result.read(tmp_path / "out")
    assert len(done.conditions) == 2 * 3 + 1
    assert {"16x16 blur 1 jpeg 30", "7x6 antialias"} <= set(done.conditions)
    assert {row.method for row in done.rows} == {"none", "bilinear", "l0"}
    assert done.provenance["judge"]["mirror"] == "concatenate"


def test_evaluate_names_bad_pictures_and_ends_with_status_one(
    facebridge: Facebridge, listed: Path, judge: list[str], tmp_path: Path
) -> None:
    bad = broken(listed, tmp_path / "people")
    answer = facebridge("evaluate", "--faces", bad, "-o", tmp_path / "evaluation", *judge, "--mirror", "none")
    assert answer.status == EXIT_BAD_PICTURES
    assert "1 picture could not be used" in answer.err
    assert (tmp_path / "evaluation" / "report.html").is_file()


def test_evaluate_reads_pairs(facebridge: Facebridge, listed: Path, judge: list[str], tmp_path: Path) -> None:
    paths = face_list.read(listed).column("path").tolist()
    pairs = [(a, b) for number, a in enumerate(paths) for b in paths[number + 1 :]]
    lines = [f"{a},{b},{int(a.split('/')[0] == b.split('/')[0])}" for a, b in pairs]
    (tmp_path / "pairs.csv").write_text("\n".join(["path_a,path_b,genuine", *lines, ""]))
    words = ["evaluate", "--faces", listed, "--protocol", tmp_path / "pairs.csv", "-o", tmp_path / "out", *judge]
    answer = facebridge(*words)
    assert answer.status == 0, answer.err
    assert "Accuracy" in answer.out
    (tmp_path / "pairs.csv").write_text("path_a,path_b,genuine\nnobody/1.png,nobody/2.png,1\n")
    answer = facebridge(*words)
    assert is_a_users_error(answer), answer
    assert "nobody/1.png" in answer.err


def test_data_render_draws_a_list_that_data_check_finds_whole(facebridge: Facebridge, tmp_path: Path) -> None:
    out = tmp_path / "drawn"
    answer = facebridge("data", "render", out, "--identities", 2, "--shots", 2, "--size", 64, "--seed", 3)
    assert answer.status == 0, answer.err
    assert answer.out.strip() == str(out / "faces.csv")
    faces = face_list.read(out / "faces.csv")
    assert sorted(set(faces.column("domain").tolist())) == ["nir", "vis"]
    assert len(faces) == 2 * 2 * 2
    answer = facebridge("data", "check", out / "faces.csv")
    assert "8 rows, 2 identities" in answer.out
    faces.picture_path(3).write_bytes(b"garbage")
    answer = facebridge("data", "check", out / "faces.csv")
    assert answer.status == EXIT_BAD_PICTURES
    assert faces[3].path in answer.out


@pytest.mark.real
def test_data_landmarks_finds_faces_and_names_pictures_without_one(
    facebridge: Facebridge, real_data: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    pictures = sorted((real_data / "data" / "lfw" / "lfw-deepfunneled").glob("*/*_0001.jpg"))[:3]
    for picture in pictures:
        shutil.copy(picture, photos)
    images.write(photos / "wall.png", np.full((80, 80, 3), 90, np.uint8))
    yunet = real_data / "weights" / "yunet_n_dynamic.onnx"
    answer = facebridge("data", "landmarks", photos, "-o", tmp_path / "new" / "faces.csv", "--weights", yunet)
    assert answer.status == EXIT_BAD_PICTURES
    assert "wall.png: no face was found" in answer.err
    faces = face_list.read(tmp_path / "new" / "faces.csv", root=photos)
    assert faces.column("path").tolist() == [picture.name for picture in pictures]
    assert faces.landmarks is not None
    assert np.isfinite(faces.landmarks).all()


def test_weights_convert_renames_a_published_checkpoint_that_show_lists(facebridge: Facebridge, tmp_path: Path) -> None:
    weights.write(tmp_path / "published.safetensors", published_state("edsr_tiny_x4"))
    converted = tmp_path / "new" / "ours.safetensors"
    answer = facebridge("weights", "convert", "edsr", tmp_path / "published.safetensors", "-o", converted)
    assert answer.status == 0, answer.err
    ours = weights.network("edsr", scale=4, num_blocks=2, num_filters=16).state_dict()
    assert {name: value.shape for name, value in weights.read(converted).items()} == {
        name: value.shape for name, value in ours.items()
    }
    answer = facebridge("weights", "show", converted)
    assert answer.status == 0, answer.err
    assert "head.weight  16x3x3x3  float32" in answer.out.splitlines()
    count = sum(value.numel() for value in ours.values())
    assert answer.out.splitlines()[-1] == f"{len(ours)} tensors, {count:,} numbers"


def test_weights_of_another_layout_are_refused(facebridge: Facebridge, tmp_path: Path) -> None:
    weights.write(tmp_path / "published.safetensors", published_state("edsr_tiny_x4"))
    answer = facebridge("weights", "convert", "light_cnn_9", tmp_path / "published.safetensors", "-o", tmp_path / "x")
    assert is_a_users_error(answer), answer


@pytest.mark.parametrize(
    "words",
    [
        ["train", "no_such_recipe"],
        ["train", "edsr_identity", "--out", "{tmp}/run"],
        ["train", "edsr_identity_small", "--set", "data.list={list}", "--set", "recogniser.weights={tmp}/no.ckpt"],
        ["generate", "{tmp}", "{list}", "-o", "{tmp}/made"],
        ["generate", "{run}", "{tmp}/nowhere", "-o", "{tmp}/made"],
        ["generate", "{run}", "{list}"],
        ["generate", "{run}", "{list}", "{tmp}/made", "-o", "{tmp}/other"],
        ["generate", "{run}", "{list}", "-o", "{tmp}/made", "--size", "big"],
        ["generate", "{run}", "{list}", "-o", "{tmp}/made", "--size", "0x9"],
        ["generate", "{run}", "{list}", "-o", "{tmp}/made", "--landmarks", "{tmp}/no.csv"],
        ["embed", "{list}", "-o", "{tmp}/out.npz", "--recogniser", "nobody"],
        ["embed", "{list}", "-o", "{tmp}/out.npz", "--recogniser", "mobile_facenet"],
        ["embed", "{list}", "-o", "{tmp}/out.npz", "--recogniser", "mobile_facenet", "--weights", "{tmp}/no.ckpt"],
        ["embed", "{list}", "-o", "{tmp}/out.npz", "{judge}", "--mirror", "twice"],
        ["embed", "{list}", "-o", "{tmp}/out.npz", "{judge}", "--crop", "no_crop"],
        ["embed", "{list}", "-o", "{tmp}/out.npz", "{judge}", "--set", "colour=red"],
        ["embed", "{list}", "-o", "{tmp}/out.npz", "{judge}", "--set", "nonsense"],
        ["embed", "{list}", "-o", "{tmp}/out.npz", "{judge}", "--set", "height=tall"],
        ["evaluate", "--faces", "{tmp}/no.csv", "{judge}", "-o", "{tmp}/evaluation"],
        ["evaluate", "--faces", "{list}", "{judge}", "-o", "{tmp}/evaluation", "--protocol", "{tmp}/no_pairs.txt"],
        ["evaluate", "{run}", "--faces", "{list}", "{judge}", "-o", "{tmp}/evaluation", "--crop", "arcface"],
        ["evaluate", "{run}", "{run}", "--faces", "{list}", "{judge}", "-o", "{tmp}/evaluation"],
        ["evaluate", "{run}", "--faces", "{list}", "{judge}", "-o", "{tmp}/evaluation", "--convention", "mine"],
        ["evaluate", "{run}", "--faces", "{list}", "{judge}", "-o", "{tmp}/evaluation", "--sizes", "7"],
        ["evaluate", "{run}", "--faces", "{list}", "{judge}", "-o", "{tmp}/evaluation", "--sizes", "auto"],
        ["evaluate", "{run}", "--faces", "{list}", "{judge}", "-o", "{tmp}/evaluation", "--scales", "0"],
        ["evaluate", "{run}", "--faces", "{list}", "{judge}", "-o", "{tmp}/evaluation", "--size", "16x16"],
        ["evaluate", "{run}", "--faces", "{list}", "{judge}", "-o", "{tmp}/evaluation", "--preset", "paper"],
        ["report", "{tmp}"],
        ["data", "render", "{tmp}/drawn", "--domains", "xray"],
        ["data", "check", "{tmp}/no.csv"],
        ["data", "landmarks", "{list}", "-o", "{tmp}/faces.csv", "--weights", "{tmp}/no.onnx"],
        ["data", "landmarks", "{list}", "-o", "{tmp}/faces.json", "--weights", "{tmp}/no.onnx"],
        ["weights", "show", "{tmp}/no.safetensors"],
        ["weights", "show", "{list}"],
        ["weights", "convert", "no_layout", "{list}", "-o", "{tmp}/x.safetensors"],
    ],
    ids=lambda words: " ".join(words)[:60],
)
def test_users_error_is_one_line(
    facebridge: Facebridge, run: Path, listed: Path, judge: list[str], tmp_path: Path, words: list[str]
) -> None:
    places = {"{tmp}": str(tmp_path), "{run}": str(run), "{list}": str(listed)}
    filled: list[str] = []
    for word in words:
        for place, value in places.items():
            word = word.replace(place, value)
        filled += judge if word == "{judge}" else [word]
    answer = facebridge(*filled)
    assert is_a_users_error(answer), answer


def test_onnx_without_its_settings_shows_an_example_and_no_traceback(
    facebridge: Facebridge, listed: Path, tmp_path: Path
) -> None:
    onnx = ["--recogniser", "onnx", "--weights", listed]
    answer = facebridge("embed", listed, "-o", tmp_path / "out.npz", *onnx, "--set", "speed=9")
    assert answer.status == EXIT_USER_ERROR
    assert answer.err.startswith("facebridge: settings of")
    assert 'crop = "arcface"' in answer.err
    assert "Traceback" not in answer.err
