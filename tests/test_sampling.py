"""Sampling pairs: the right pictures under the right names, marked and listed, and nothing that is not the job's."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facebridge import cli, images, new_pairs, noise, runs, sampling
from facebridge.data import face_list, opening
from facebridge.method import SamplingMethod
from facebridge.provenance import GENERATED
from tests import drawn, sampled
from tests.sampled import BATCH, CODE_SIZE, contents, sample

COUNT = 20


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sampled.dvg_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def whole(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty pairs in PNG files."""
    out = tmp_path_factory.mktemp("whole") / "out"
    sample(run, out, ending="png")
    return out


def test_pictures_are_those_of_the_method_on_the_noise_of_their_number(run: Path, whole: Path) -> None:
    method = new_pairs.load(run)
    for pair in range(COUNT):
        drawn_for = torch.from_numpy(noise.standard_normal(0, pair, 1, CODE_SIZE))
        for domain, faces in method.pairs(drawn_for).items():
            found = images.read(whole / domain / "0000" / f"{pair:08}.png")
            wanted = (faces[0].permute(1, 2, 0) * 255).numpy()
            assert np.abs(found - wanted).max() <= 0.501  # rounded, not cut off


def test_no_two_pairs_are_alike_and_a_pair_is_no_picture_twice(whole: Path) -> None:
    pictures = [data for name, data in contents(whole).items() if name.startswith(("nir/", "vis/"))]
    assert len(set(pictures)) == len(pictures) == 2 * COUNT


def test_list_names_every_picture_once_pair_by_pair(run: Path, whole: Path) -> None:
    listed = opening.open_faces(whole / sampling.LIST)
    assert len(listed) == 2 * COUNT
    assert listed.column("path").tolist() == [
        f"{domain}/0000/{pair:08}.png" for pair in range(COUNT) for domain in ("nir", "vis")
    ]
    assert listed.column("domain").tolist() == ["nir", "vis"] * COUNT
    identities, pairs = listed.column("identity").tolist(), listed.column("pair").tolist()
    assert identities[::2] == identities[1::2] == pairs[::2]
    assert len(set(identities)) == COUNT
    assert all(name.startswith("generated-") and name.endswith(f"-0-{pair:08}") for pair, name in enumerate(pairs[::2]))
    crop = runs.load(run).crop
    assert set(listed.column("crop")) == {crop.name}
    assert listed.landmarks == pytest.approx(np.tile(crop.points, (2 * COUNT, 1, 1)), abs=1e-4)
    for row in range(len(listed)):
        assert images.read(listed.picture_path(row)).shape == (crop.height, crop.width, 3)


def test_identities_of_other_seeds_and_weights_are_others(run: Path, tmp_path: Path) -> None:
    other = sampled.dvg_run(tmp_path / "other", seed=2)
    lists = [sample(run, tmp_path / "a", 3), sample(run, tmp_path / "b", 3, seed=1), sample(other, tmp_path / "c", 3)]
    names = {name for done in lists for name in face_list.read(done.faces).column("identity").tolist()}
    assert len(names) == 9


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_every_picture_says_that_it_was_generated_and_by_what(run: Path, tmp_path: Path, ending: Any) -> None:
    sample(run, tmp_path / "out", 5, ending=ending, seed=7)
    pictures = sorted((tmp_path / "out").rglob(f"*.{ending}"))
    assert len(pictures) == 10 + (ending == "png")
    for path in (found for found in pictures if found.stem != "sheet"):
        assert images.generated_by(path) == "FaceBridge dvg"
        told = images.provenance(path)
        assert told is not None
        assert told.weights_sha256 == sampling.weights_sha256(run)
        assert told.source == f"noise of seed 7, pair {int(path.stem)}"
        assert GENERATED.encode() in path.read_bytes()
    sheet = images.generated_by(tmp_path / "out" / sampling.SHEET)
    assert sheet is not None
    assert "dvg" in sheet
    assert "seed 7, pairs 0 to 4" in sheet


def test_sheet_shows_the_first_pairs_one_camera_under_the_other(whole: Path) -> None:
    sheet = images.read(whole / sampling.SHEET)
    side, step = 16, 18
    assert sheet.shape == (6 * step + 2, 8 * step + 2, 3)
    for pair in (0, 7, 8, 19):
        for row, domain in enumerate(("nir", "vis")):
            top, left = 2 + step * (2 * (pair // 8) + row), 2 + step * (pair % 8)
            found = images.read(whole / domain / "0000" / f"{pair:08}.png")
            assert np.array_equal(sheet[top : top + side, left : left + side], found)


def test_a_pair_does_not_depend_on_how_many_there_are_or_on_the_blocks(run: Path, whole: Path, tmp_path: Path) -> None:
    wanted = contents(whole)
    for count, block_size in ((3, 4), (17, 20), (20, 4)):
        out = tmp_path / f"{count}-{block_size}"
        sample(run, out, count, ending="png", block_size=block_size)
        made = {name: data for name, data in contents(out).items() if name.startswith(("nir/", "vis/"))}
        assert len(made) == 2 * count
        assert made.items() <= wanted.items()


def test_a_thousand_pairs_are_in_each_folder() -> None:
    settings = new_pairs.Settings(0, "jpg", "files", "float32", "cpu", BATCH)
    work = new_pairs.NewPairs(Path("run"), Path("out"), 10**6, settings, BATCH, "ab" * 32, "FaceBridge dvg")
    assert [work.name(pair, "vis") for pair in (0, 999, 1000, 123456)] == [
        "vis/0000/00000000.jpg",
        "vis/0000/00000999.jpg",
        "vis/0001/00001000.jpg",
        "vis/0123/00123456.jpg",
    ]


def test_shards_hold_the_same_pictures_and_rows_as_files(run: Path, whole: Path, tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    from facebridge.data import shards

    done = sample(run, tmp_path / "out", ending="png", layout="shards")
    assert done.faces == tmp_path / "out" / shards.INDEX
    assert [shard.faces for shard in shards.read_index(tmp_path / "out").shards] == [16, 16, 8]
    plain = face_list.read(whole / sampling.LIST)
    found = list(shards.iterate(tmp_path / "out"))
    assert len(found) == len(plain)
    for number, (row, picture) in enumerate(found):
        assert (row.path, row.identity, row.domain, row.pair) == (
            plain[number].path,
            plain[number].identity,
            plain[number].domain,
            plain[number].pair,
        )
        assert np.array_equal(picture, images.read(plain.picture_path(number)))
    assert (tmp_path / "out" / sampling.SHEET).read_bytes() == (whole / sampling.SHEET).read_bytes()


def test_bfloat16_differs_from_float32_by_its_rounding_alone(run: Path, whole: Path, tmp_path: Path) -> None:
    sample(run, tmp_path / "out", ending="png", precision="bfloat16")
    far = [
        np.abs(images.read(path).astype(int) - images.read(whole / path.relative_to(tmp_path / "out"))).max()
        for path in sorted((tmp_path / "out").glob("*/0000/*.png"))
    ]
    assert len(far) == 2 * COUNT
    assert 0 < max(far) <= 12


def test_automatic_precision_is_what_the_processor_computes_in_and_stays(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for is_native, wanted in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(sampling, "computes_in_bfloat16", lambda device, found=is_native: found)
        out = tmp_path / wanted
        done = sample(run, out, 3, precision="auto")
        explicit = sample(run, tmp_path / f"{wanted}-asked", 3, precision=wanted)
        assert contents(out) == contents(explicit.faces.parent)
        monkeypatch.setattr(sampling, "computes_in_bfloat16", lambda device, found=is_native: not found)
        assert sample(run, out, 3, precision="auto") == done  # as on another machine


@pytest.mark.parametrize(("flag", "is_native"), [("avx512_bf16", True), ("bf16", True), ("avx512_f", False)])
def test_a_processor_computes_in_bfloat16_if_it_says_so(
    monkeypatch: pytest.MonkeyPatch, flag: str, is_native: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {flag: True, "avx2": True})
    assert sampling.computes_in_bfloat16("cpu") == is_native
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {flag: False})
    assert not sampling.computes_in_bfloat16("cpu")


def test_a_finished_folder_is_left_as_it_is(run: Path, tmp_path: Path) -> None:
    first = sample(run, tmp_path / "out", 9)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert sample(run, tmp_path / "out", 9, workers=2) == first
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"count": 8}, "count"),
        ({"seed": 1}, "seed"),
        ({"ending": "png"}, "ending"),
        ({"layout": "shards"}, "layout"),
        ({"precision": "bfloat16"}, "precision"),
        ({"batch_size": 2}, "batch_size"),
        ({"run": "other"}, "weights"),
    ],
)
def test_a_folder_of_another_job_is_refused_by_what_differs(
    run: Path, tmp_path: Path, options: dict[str, Any], key: str
) -> None:
    sample(run, tmp_path / "out", 9)
    before = contents(tmp_path / "out")
    others = {"run": run, "count": 9} | options
    if others["run"] == "other":
        others["run"] = sampled.dvg_run(tmp_path / "other", seed=2)
    with pytest.raises(ValueError, match=f"sampled with {key} .*choose another folder"):
        sample(others.pop("run"), tmp_path / "out", **others)
    assert contents(tmp_path / "out") == before


def test_a_folder_that_holds_something_else_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    with pytest.raises(ValueError, match="not empty and holds no sampled pairs"):
        sample(run, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"count": 0}, "at least 1"),
        ({"workers": 0}, "at least 1"),
        ({"batch_size": 0}, "at least 1"),
        ({"block_size": 0}, "expected a multiple"),
        ({"block_size": 6}, "multiple of the batch size 4"),
        ({"seed": -1}, "the seed is -1"),
        ({"seed": 2**64}, "expected 0 to"),
        ({"ending": "bmp"}, "expected one of jpg, png"),
        ({"layout": "tar"}, "expected one of files, shards"),
        ({"precision": "float16"}, "expected one of float32, bfloat16"),
        ({"device": "tpu"}, "expected auto, cpu or cuda"),
        ({"engine": "spark"}, "expected one of local, ray"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_made(
    run: Path, tmp_path: Path, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        sample(run, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_method_that_makes_no_people_is_refused_by_what_it_does(tmp_path: Path) -> None:
    other = drawn.untrained_run(tmp_path / "run")
    with pytest.raises(ValueError, match=r"a run of edsr_identity, which makes no people.*facebridge generate"):
        sample(other, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_without_weights_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.toml").write_bytes((run / "recipe.toml").read_bytes())
    with pytest.raises(ValueError, match="train it first"):
        sample(tmp_path / "run", tmp_path / "out")


def test_numbers_that_are_none_are_told_with_the_pairs(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = type(new_pairs.load(run))
    assert issubclass(kind, SamplingMethod)
    faces = torch.full((BATCH, 3, 16, 16), torch.nan)
    monkeypatch.setattr(kind, "pairs", lambda self, noise: {"nir": faces, "vis": faces})
    with pytest.raises(ValueError, match="pairs 0 to 3 .*NaN"):
        sample(run, tmp_path / "out")


@pytest.mark.parametrize("options", [{"engine": "ray"}, {"workers": 2}])
def test_a_cuda_device_has_one_worker_in_this_process(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(ValueError, match="one worker, in this process"):
        sample(run, tmp_path / "out", device="cuda", **options)


@pytest.fixture
def facebridge(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Run the command line; its status and all that it printed."""

    def command(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["facebridge", *map(str, words)])
        try:
            cli.main()
        except SystemExit as ended:
            return int(ended.code or 0), "".join(capsys.readouterr())
        return 0, "".join(capsys.readouterr())

    return command


def test_the_command_samples_and_says_where(run: Path, tmp_path: Path, facebridge: Any) -> None:
    out = tmp_path / "out"
    status, told = facebridge("sample", run, out, "--count", 5, "--seed", 3, "--workers", 1, "--precision", "float32")
    assert status == 0, told
    assert f"5 pairs in {out}, listed in {out / 'faces.csv'}" in told
    assert str(out / "sheet.png") in told
    assert "sampling: 5 of 5" in told
    other = tmp_path / "shards"
    words = ("--format", "shards-png", "--out", other, "--count", 5, "--seed", 3, "--workers", 1)
    assert facebridge("sample", run, *words)[0] == 0
    assert (other / "00000000.tar").is_file()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--count", 5], "say where to write"),
        (["a", "--out", "b", "--count", 5], "two folders"),
        (["a", "--count", 5, "--format", "bmp"], "shards-jpg"),
        (["a", "--count", 5, "--precision", "half"], "bfloat16"),
        (["a", "--count", 5, "--engine", "spark"], "ray"),
        (["a"], "count"),
        (["a", "--count", 0], "count"),
    ],
)
def test_what_the_command_cannot_do_is_one_line(
    run: Path, facebridge: Any, words: list[object], problem: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    status, told = facebridge("sample", run, *words)
    assert status == 2
    assert problem in told
    assert not list(tmp_path.iterdir())
