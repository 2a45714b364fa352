"""The store of weights: what goes in comes out bit for bit, with a card that is true and a file that is checked."""

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from facebridge import cli, crops, embedding, recipe, recognisers, runs, weight_card, weight_store, weights
from facebridge.data import face_list
from facebridge.embedding import JudgeSettings
from facebridge.recogniser import Recogniser
from facebridge.weight_card import Card
from tests import drawn, tiny
from tests.recognisers.test_onnx import exported

EDSR = {"num_blocks": 1, "num_filters": 4}
PAGE = Path(__file__).parents[1] / "docs" / "recognisers" / "weights.md"


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "store"
    monkeypatch.setenv(weight_store.FOLDER, str(folder))
    return folder


def published(path: Path, seed: int = 3) -> Recogniser:
    """A thin MobileFaceNet in a file as its authors write one, and the recogniser that is in it."""
    recogniser = drawn.thin_recogniser(seed)
    layout = weights.find("mobile_facenet")
    state = {
        f"module.{layout.published([name])[name]}": value for name, value in recogniser.network.state_dict().items()
    }
    torch.save({"net_state_dict": state, "epoch": 3}, path)
    return recogniser


def written(path: Path, seed: int = 3, **options: Any) -> Recogniser:
    recogniser = drawn.thin_recogniser(seed)
    recognisers.write_recogniser(path, recogniser, "mobile_facenet", **options, **drawn.THIN)
    return recogniser


def trained_run(folder: Path) -> Path:
    """The run folder of a recogniser with first weights."""
    table = {
        **tiny.table(),
        "method": "recogniser",
        "settings": {"network": "mobile_facenet", "sizes": drawn.THIN, "num_identities": 4},
    }
    run = runs.create(folder, recipe.resolve(table, "a test"))
    from facebridge import methods

    method = methods.load("recogniser")(run.recipe.config(), crops.crop(run.recipe.crop))
    drawn.shaken(method.network)  # type: ignore[arg-type]
    weights.write(run.weights, method.state_dict())
    runs.add_line(folder / "run.jsonl", {"event": "start", "command": "facebridge train mine", "time": "2026-11-22"})
    return folder


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def same_embeddings(one: Recogniser, other: Recogniser) -> bool:
    faces = torch.rand(3, 3, one.crop.height, one.crop.width)
    return torch.equal(one.embed(faces), other.embed(faces))


def facebridge(*words: object) -> tuple[int, str, str]:
    """Status, standard output, standard error of the command line."""
    done = CliRunner().invoke(cli.app, list(map(str, words)), standalone_mode=False)
    problem = "" if done.exception is None else str(done.exception)
    return done.exit_code, done.stdout, done.stderr + problem


def test_published_checkpoint_embeds_bit_for_bit_as_it_did(tmp_path: Path, store: Path) -> None:
    source = tmp_path / "Their Net (v1).pth.tar"
    wanted = published(source)
    card = weight_store.add(source, layout="mobile_facenet", licence="mit", origin="https://example.org/net")
    assert card.name == "their_net_v1"
    found = recognisers.load(card.name)
    assert found.name == card.name
    assert same_embeddings(found, wanted)
    assert card.licence == "MIT"
    assert card.origin == "https://example.org/net"
    assert (card.source, card.source_sha256) == (source.name, sha256(source))
    stored = store / "their_net_v1.safetensors"
    assert (card.sha256, card.bytes) == (sha256(stored), stored.stat().st_size)
    assert card.parameters == sum(parameter.numel() for parameter in wanted.parameters())
    assert {**card.sizes} == {**drawn.THIN}
    assert (card.crop, card.normalisation, card.embedding_size) == ("sphereface", wanted.normalisation, 16)
    assert {path.name for path in store.iterdir()} == {stored.name, "their_net_v1.json", runs.LOCK}
    assert weight_store.cards() == [card] == [weight_store.verify(card.name)]


def test_crop_and_normalisation_of_a_checkpoint_can_be_others_than_the_layouts(tmp_path: Path) -> None:
    published(tmp_path / "net.pth")
    settings = {"crop": "sphereface", "colours": "bgr", "mean": [1.0, 2.0, 3.0], "scale": 64}
    weight_store.add(tmp_path / "net.pth", layout="mobile_facenet", licence="MIT", settings=settings)
    normalisation = recognisers.load("net").normalisation
    assert (normalisation.colours, normalisation.mean, normalisation.scale) == ("bgr", (1.0, 2.0, 3.0), (64.0,))


@pytest.mark.parametrize("half", [False, True])
def test_file_that_describes_itself_is_kept_byte_for_byte(tmp_path: Path, store: Path, half: bool) -> None:
    written(tmp_path / "own.safetensors", half=half)
    card = weight_store.add(tmp_path / "own.safetensors", licence="my own")
    assert (store / "own.safetensors").read_bytes() == (tmp_path / "own.safetensors").read_bytes()
    assert card.sha256 == card.source_sha256 == sha256(tmp_path / "own.safetensors")
    assert same_embeddings(recognisers.load("own"), recognisers.load(tmp_path / "own.safetensors"))
    with pytest.raises(ValueError, match="describes itself, as a mobile_facenet"):
        weight_store.add(tmp_path / "own.safetensors", licence="MIT", layout="sphereface_20", name="other")


@pytest.mark.parametrize("has_toml", [False, True])
def test_exported_network_needs_its_settings_once(tmp_path: Path, store: Path, has_toml: bool) -> None:
    source = exported(tmp_path / "mine.onnx")
    settings: dict[str, Any] = {"crop": "arcface", "mean": (100.0, 110.0, 120.0), "scale": 64.0}
    wanted = recognisers.load("onnx", source, threads=1, **settings)
    if has_toml:
        (tmp_path / "mine.toml").write_text('crop = "arcface"\nmean = [100.0, 110.0, 120.0]\nscale = 1.0\n')
        settings = {"scale": 64.0}
    card = weight_store.add(source, layout="onnx", licence="unknown", settings=settings)
    assert (store / "mine.onnx").read_bytes() == source.read_bytes()
    assert (card.sha256, card.crop, card.embedding_size, card.parameters) == (sha256(source), "arcface", 12, 0)
    found = recognisers.load("mine", threads=1, batch_size=2)
    assert same_embeddings(found, wanted)
    assert found.normalisation == wanted.normalisation
    with pytest.raises(ValueError, match="crop cannot be given"):
        recognisers.load("mine", crop="sphereface")
    assert same_embeddings(JudgeSettings("mine").build().recogniser, wanted)


def test_exported_network_with_weights_in_another_file_is_refused(tmp_path: Path, store: Path) -> None:
    import numpy as np
    import onnx
    from onnx import numpy_helper

    source = exported(tmp_path / "mine.onnx")
    model = onnx.load(source)
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(2000, np.float32), "unused"))
    onnx.save(model, source, save_as_external_data=True, location="apart.bin", size_threshold=0)
    with pytest.raises(ValueError, match=r"mine\.onnx: .*unused in another file|mine\.onnx: not an ONNX network"):
        weight_store.add(source, layout="onnx", licence="MIT", settings={"crop": "arcface"})
    assert not store.exists()


def test_network_that_is_no_recogniser_is_kept_and_judges_nothing(tmp_path: Path, store: Path) -> None:
    network, layout = weights.network("edsr", **EDSR), weights.find("edsr")
    torch.save(
        {layout.published([name])[name]: value for name, value in network.state_dict().items()}, tmp_path / "x.pth"
    )
    card = weight_store.add(tmp_path / "x.pth", layout="edsr", licence="MIT")
    assert card.kind == "network"
    assert card.parameters == sum(parameter.numel() for parameter in network.parameters())
    stored = weights.read(weight_store.path("x"))
    assert stored.keys() == network.state_dict().keys()
    assert all(torch.equal(stored[name], value) for name, value in network.state_dict().items())
    assert "x" not in recognisers.names()
    with pytest.raises(ValueError, match="x is a network of layout edsr and no recogniser"):
        recognisers.load("x")


def test_run_of_a_recogniser_is_loaded_by_its_folder_and_can_be_added(tmp_path: Path) -> None:
    folder = trained_run(tmp_path / "My Run")
    wanted = recognisers.load(str(folder))
    assert wanted.name == "My Run"
    card = weight_store.add(folder, licence="Apache-2.0")
    found = recognisers.load("my_run")
    faces = torch.rand(3, 3, wanted.crop.height, wanted.crop.width)
    # Channels last in memory there, not here: the sums are taken in another order.
    assert torch.allclose(found.embed(faces), wanted.embed(faces), atol=1e-6)
    ours, theirs = found.network.state_dict(), wanted.network.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    assert (card.seed, card.command, card.source) == (3, "facebridge train mine", "My Run")
    assert card.source_sha256 == sha256(folder / "weights.safetensors")


def test_run_that_generates_is_no_recogniser(tmp_path: Path, store: Path) -> None:
    folder = drawn.untrained_run(tmp_path / "run")
    with pytest.raises(ValueError, match="edsr_identity, hallucinates and is no recogniser"):
        recognisers.load(folder)
    with pytest.raises(ValueError, match="edsr_identity, trains no recogniser"):
        weight_store.add(folder, licence="MIT")
    assert not store.exists()


def test_changed_file_is_refused_and_named(tmp_path: Path, store: Path) -> None:
    written(tmp_path / "own.safetensors")
    weight_store.add(tmp_path / "own.safetensors", licence="MIT")
    stored = store / "own.safetensors"
    data = bytearray(stored.read_bytes())
    data[-5] ^= 1
    stored.write_bytes(data)
    for use in (recognisers.load, weight_store.verify, weight_store.path):
        with pytest.raises(ValueError, match=r"own\.safetensors: has changed"):
            use("own")
    stored.unlink()
    with pytest.raises(ValueError, match=r"own\.safetensors: is missing"):
        recognisers.load("own")
    weight_store.add(tmp_path / "own.safetensors", licence="MIT", replace=True)
    assert recognisers.load("own").embedding_size == 16


def test_name_that_exists_is_replaced_only_when_asked_for(tmp_path: Path, store: Path) -> None:
    written(tmp_path / "a.safetensors", seed=1)
    wanted = written(tmp_path / "b.safetensors", seed=2)
    first = weight_store.add(tmp_path / "a.safetensors", licence="MIT", name="own")
    with pytest.raises(ValueError, match="'own' is in the store already"):
        weight_store.add(tmp_path / "b.safetensors", licence="MIT", name="own")
    assert weight_store.verify("own") == first
    weight_store.add(tmp_path / "b.safetensors", licence="ISC", name="own", replace=True)
    assert same_embeddings(recognisers.load("own"), wanted)
    weight_store.add(
        exported(tmp_path / "c.onnx"), licence="MIT", name="own", settings={"crop": "arcface"}, replace=True
    )
    assert {path.name for path in store.iterdir()} == {"own.onnx", "own.json", runs.LOCK}
    weight_store.remove("own")
    assert {path.name for path in store.iterdir()} == {runs.LOCK}
    with pytest.raises(ValueError, match="no weights are called 'own'"):
        weight_store.remove("own")


def test_failed_write_leaves_the_store_as_it_was(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = written(tmp_path / "own.safetensors")
    weight_store.add(tmp_path / "own.safetensors", licence="MIT")
    before = {path.name: path.read_bytes() for path in store.iterdir()}

    def full(source: Path, made: Path) -> None:
        made.write_bytes(source.read_bytes()[:100])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(weight_store, "_copy", full)
        with pytest.raises(OSError, match="No space"):
            weight_store.add(tmp_path / "own.safetensors", licence="ISC", replace=True)
    assert {path.name: path.read_bytes() for path in store.iterdir()} == before
    assert same_embeddings(recognisers.load("own"), wanted)


def test_what_a_killed_process_left_is_no_entry_and_goes_with_the_next(tmp_path: Path, store: Path) -> None:
    written(tmp_path / "own.safetensors")
    (store / ".adding-abc").mkdir(parents=True)
    (store / ".adding-abc" / "own.safetensors").write_bytes(b"half")
    (store / "own.safetensors").write_bytes(b"file without a card")
    (store / "own.json.77.part").write_bytes(b"{")
    assert weight_store.entries() == weight_store.Entries([], [])
    assert not weight_store.holds("own")
    weight_store.add(tmp_path / "own.safetensors", licence="MIT")
    assert {path.name for path in store.iterdir()} == {"own.safetensors", "own.json", runs.LOCK}


def test_nothing_is_made_before_something_is_added(tmp_path: Path, store: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")
    for options in (
        {"layout": "mobile_facenet"},
        {"layout": "no_layout"},
        {},
        {"layout": "mobile_facenet", "settings": {"hight": 3}},
        {"layout": "mobile_facenet", "settings": {"height": "tall"}},
        {"layout": "onnx", "settings": {"crop": "arcface"}},
    ):
        with pytest.raises(ValueError, match=r"other\.pth|no_layout"):
            weight_store.add(tmp_path / "other.pth", licence="MIT", **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no such file or run folder"):
        weight_store.add(tmp_path / "none.pth", licence="MIT", layout="edsr")
    weight_store.entries()
    recognisers.names()
    assert not store.exists()


def test_pickle_that_holds_more_than_tensors_is_refused(tmp_path: Path, store: Path) -> None:
    torch.save({"state_dict": {"a": torch.zeros(1)}, "code": Path}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match=r"bad\.pth: refused, it holds more than tensors"):
        weight_store.add(tmp_path / "bad.pth", licence="MIT", layout="mobile_facenet")
    assert not store.exists()


def test_file_over_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "own.safetensors")
    size = (tmp_path / "own.safetensors").stat().st_size
    monkeypatch.setattr(weight_store, "MAX_WEIGHT_BYTES", size - 1)
    with pytest.raises(ValueError, match=f"{size:,} bytes; files of up to {size - 1:,}"):
        weight_store.add(tmp_path / "own.safetensors", licence="MIT")


@pytest.mark.parametrize("licence", ["", "  \n"])
def test_licence_must_be_said(tmp_path: Path, licence: str) -> None:
    written(tmp_path / "own.safetensors")
    with pytest.raises(ValueError, match="under which licence"):
        weight_store.add(tmp_path / "own.safetensors", licence=licence)


@pytest.mark.parametrize(
    "name",
    ["mobile_facenet", "edsr", "onnx", "light_cnn", "embedded_judge", "../own", "a/b", "Own", ".own", "", "a b", "a\n"]
    + ["own.json", "own.safetensors", "a" * 101, "ö", "-own", "..", "own\0"],
)
def test_names_that_mean_something_else_are_refused(tmp_path: Path, store: Path, name: str) -> None:
    written(tmp_path / "own.safetensors")
    with pytest.raises(ValueError, match="cannot be a name|is the name of a layout"):
        weight_store.add(tmp_path / "own.safetensors", licence="MIT", name=name)
    assert not store.exists()


@given(st.text(max_size=120) | st.text(st.sampled_from("ab09_.-/\\A\n"), max_size=12))
def test_every_name_is_a_plain_file_of_the_store_or_refused(name: str) -> None:
    try:
        weight_store._check_name(name, replace=True)
    except ValueError:
        return
    assert re.fullmatch("[a-z0-9_.-]+", name)
    assert Path(f"{name}.json").name == f"{name}.json"
    assert (weight_store.folder() / f"{name}.json").resolve().parent == weight_store.folder().resolve()
    assert not name.startswith(".")


@given(st.text(st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1, max_size=60))
def test_name_made_of_a_files_name_is_safe_or_refused(stem: str) -> None:
    name = weight_store._safe_name(Path("folder") / f"x{stem}.pth")
    assert re.fullmatch("[a-z0-9_.-]+", name)
    weight_store._check_name(name, replace=True)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"name": "bad"}',
        b'{"name": "own", "kind": "recogniser", "layout": "x", "parameters": 1, "bytes": 1, "sha256": "'
        + b"0" * 64
        + b'"}',
        b'{"name": "bad", "kind": "recogniser", "layout": "\\u001b[2J", "parameters": 1, "bytes": 1, "sha256": "'
        + b"0" * 64
        + b'"}',
        b'{"name": "bad", "kind": "recogniser", "layout": "x", "parameters": -1, "bytes": 1, "sha256": "../../x"}',
        b" " * (weight_card.MAX_CARD_BYTES + 1),
    ],
    ids=range(11),
)
def test_broken_card_is_named_and_the_others_are_listed(tmp_path: Path, store: Path, content: bytes) -> None:
    written(tmp_path / "own.safetensors")
    weight_store.add(tmp_path / "own.safetensors", licence="MIT")
    (store / "bad.json").write_bytes(content)
    (store / "Not a name.json").write_bytes(b"{}")
    found = weight_store.entries()
    assert [card.name for card in found.cards] == ["own"]
    assert len(found.problems) == 2
    assert any(str(store / "bad.json") in problem for problem in found.problems)
    assert "own" in recognisers.names()
    assert "bad" not in recognisers.names()
    with pytest.raises(ValueError, match=r"bad\.json"):
        recognisers.load("bad")
    status, out, err = facebridge("weights", "list")
    assert status == 0
    assert "own" in out
    assert "bad.json" in err
    assert "\x1b" not in out + err
    weight_store.remove("bad")
    assert len(weight_store.entries().problems) == 1


def test_card_of_a_later_version_is_read(tmp_path: Path, store: Path) -> None:
    written(tmp_path / "own.safetensors")
    card = weight_store.add(tmp_path / "own.safetensors", licence="MIT")
    fields = json.loads((store / "own.json").read_bytes())
    (store / "own.json").write_text(json.dumps({**fields, "mood": "good"}))
    assert weight_store.card("own") == card


def test_store_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert weight_store.folder() == tmp_path / "store"
    monkeypatch.delenv(weight_store.FOLDER)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert weight_store.folder() == tmp_path / "data" / "facebridge" / "weights"
    monkeypatch.setenv("XDG_DATA_HOME", "relative/is/not/valid")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert weight_store.folder() == tmp_path / "home" / ".local" / "share" / "facebridge" / "weights"


def test_commands_add_list_show_and_remove(tmp_path: Path, store: Path) -> None:
    published(tmp_path / "net.pth")
    words = ("weights", "add", tmp_path / "net.pth", "--layout", "mobile_facenet")
    status, out, err = facebridge(*words, "--licence", "unknown", "--name", "mine", "--origin", "https://example.org")
    assert (status, err) == (0, "")
    assert str(store / "mine.safetensors") in out
    status, out, err = facebridge("weights", "list")
    (line,) = [line for line in out.splitlines() if line.startswith("mine")]
    parameters = sum(parameter.numel() for parameter in drawn.thin_recogniser().parameters())
    assert line.split()[:4] == ["mine", "recogniser", "mobile_facenet", f"{parameters:,}"]
    assert line.split()[-2:] == ["unknown", "store"]
    assert re.search(r"^embedded_judge .*shipped$", out, re.MULTILINE)
    assert f"store: {store}" in out
    assert "licence unknown, ask before you use or pass on: mine" in out
    status, out, err = facebridge("weights", "show", "mine")
    assert re.search(rf"^sha256 +{sha256(store / 'mine.safetensors')}$", out, re.MULTILINE)
    assert re.search(r"^origin +https://example\.org$", out, re.MULTILINE)
    assert "embedding.conv.weight  16x64x1x1  float32" in out
    assert facebridge(*words, "--licence", "MIT", "--name", "mine")[0] != 0
    assert facebridge(*words, "--licence", "MIT", "--name", "mine", "--replace")[0] == 0
    assert facebridge("weights", "remove", "mine")[0] == 0
    assert weight_store.cards() == []
    status, out, err = facebridge("weights", "show", tmp_path / "net.pth")
    assert status == 0
    assert "conv1.conv.weight" in out
    assert "no such name" in facebridge("weights", "show", "mine")[2]


def test_licence_is_asked_for(tmp_path: Path) -> None:
    words = ["weights", "add", str(tmp_path / "net.pth"), "--layout", "mobile_facenet"]
    assert CliRunner().invoke(cli.app, words).exit_code == 2


def test_shipped_cards_hold_for_their_files() -> None:
    found = weight_store.shipped()
    assert [card.name for card in found.cards] == recognisers.shipped()
    assert found.problems == []
    for card in found.cards:
        assert card.sha256 == sha256(recognisers.SHIPPED / f"{card.name}.safetensors")
        assert facebridge("weights", "show", card.name)[0] == 0


def test_written_card_is_shown_with_all_that_was_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognisers, "SHIPPED", tmp_path)
    written(tmp_path / "small.safetensors")
    told: dict[str, Any] = {
        "data": "500 drawn people",
        "seed": 11,
        "command": "python train.py",
        "seconds": 12.5,
        "time": "2026-11-22T12:00:00+00:00",
        "intended_use": "judging drawn faces\nand no others",
        "limits": "knows no photographs",
        "results": {"rank-1 of 100 people": "98 % (95 to 99)", "accuracy": 0.5},
    }
    card = weight_card.write(tmp_path / "small.safetensors", licence="apache-2.0", **told)
    assert weight_card.shipped("small") == card
    assert {key: getattr(card, key) for key in told} == told
    out = facebridge("weights", "show", "small")[1]
    for text in (
        "500 drawn people",
        "rank-1 of 100 people: 98 % (95 to 99)",
        "and no others",
        "Apache-2.0",
        card.sha256,
    ):
        assert text in out
    with pytest.raises(ValueError, match="a card has no mood"):
        weight_card.write(tmp_path / "small.safetensors", licence="MIT", mood="good")
    written(tmp_path / "small.safetensors", seed=4)
    with pytest.raises(ValueError, match=r"small\.safetensors: has changed"):
        weight_card.shipped("small")


def test_page_explains_every_field_of_a_card() -> None:
    explained = re.findall(
        r"`([a-z0-9_]+)`", "".join(re.findall(r"^\| (`.*?) \|", PAGE.read_text("utf-8"), re.MULTILINE))
    )
    assert set(Card.model_fields) <= set(explained)


def test_judge_needs_no_weights_where_the_name_brings_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = written(tmp_path / "own.safetensors")
    weight_store.add(tmp_path / "own.safetensors", licence="MIT", name="mine")
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "own.safetensors", "./own.safetensors", str(tmp_path / "own.safetensors")):
        judge = JudgeSettings(name)
        assert same_embeddings(judge.build().recogniser, wanted)
        assert judge.contents() == [sha256(tmp_path / "own.safetensors")]
        assert judge.absolute().contents() == judge.contents()
        with pytest.raises(ValueError, match="comes with its own weights"):
            JudgeSettings(name, tmp_path / "own.safetensors").build()
    assert JudgeSettings("own.safetensors").absolute().name == str(tmp_path / "own.safetensors")
    with pytest.raises(ValueError, match="needs weights"):
        JudgeSettings("mobile_facenet").build()
    with pytest.raises(ValueError, match="no recogniser is called 'nobody'; known: .*mine"):
        JudgeSettings("nobody").build()


def test_unfinished_job_is_not_gone_on_with_after_its_recogniser_was_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = drawn.people(tmp_path / "people", num_people=2, shots=2)
    faces = face_list.read(listed)
    for seed, name in ((1, "a"), (2, "b")):
        written(tmp_path / f"{name}.safetensors", seed=seed)
    weight_store.add(tmp_path / "a.safetensors", licence="MIT", name="mine")
    run = trained_run(tmp_path / "run")
    for name in ("mine", str(run)):
        out = tmp_path / "out.npz"
        with monkeypatch.context() as patch:
            patch.setattr(embedding.Judge, "embed", lambda *arguments: (_ for _ in ()).throw(MemoryError))
            with pytest.raises(MemoryError):
                embedding.embed(JudgeSettings(name), faces, "sphereface", out, workers=1)
        shutil.copytree(tmp_path / "out.npz.parts", tmp_path / "kept")
        if name == "mine":
            weight_store.add(tmp_path / "b.safetensors", licence="MIT", name="mine", replace=True)
        else:
            state = weights.read(run / "weights.safetensors")
            weights.write(run / "weights.safetensors", {key: value + 1 for key, value in state.items()})
        with pytest.raises(ValueError, match="unfinished job with weights"):
            embedding.embed(JudgeSettings(name), faces, "sphereface", out, workers=1)
        done = embedding.embed(JudgeSettings(name), faces, "sphereface", out, workers=1, resume=False)
        assert done.count == len(faces)
        shutil.rmtree(tmp_path / "kept")
        out.unlink()


@pytest.mark.real
@pytest.mark.parametrize(
    ("file", "layout", "settings"),
    [
        ("mobilefacenet_casia_112x96.ckpt", "mobile_facenet", {}),
        ("mobilefacenet_y1_112.onnx", "onnx", {"crop": "arcface", "mean": 0.0, "scale": 1.0}),
    ],
)
def test_published_recognisers_embed_the_same_from_the_store(
    real_data: Path, file: str, layout: str, settings: dict[str, Any]
) -> None:
    source = real_data / "weights" / file
    card = weight_store.add(source, layout=layout, licence="unknown", settings=settings)
    wanted = JudgeSettings(layout, source, tuple(f"{key}={value!r}" for key, value in settings.items())).build()
    assert same_embeddings(JudgeSettings(card.name).build().recogniser, wanted.recogniser)


def test_verbs_of_weights_are_these() -> None:
    group = typer.main.get_command(cli.app).commands["weights"]  # type: ignore[attr-defined]
    assert set(group.commands) == {"add", "convert", "list", "remove", "show"}
