"""What every method and every recipe must keep, present and future ones; and that the README's commands exist."""

import ast
import importlib
import inspect
import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

from facebridge import cli, crops, methods, recipe, recognisers
from facebridge.method import Frozen, HallucinationMethod, Method, RecognitionMethod, SamplingMethod
from tests import drawn

ROOT = Path(__file__).parents[1]
NAMES = methods.names()
SMALL = {
    **drawn.TINY,
    "identity_weight": 0,
    "network": "light_cnn_9",
    "sizes": {"height": 64, "width": 64, "width_multiplier": 0.125},
    "num_identities": 3,
    "discriminator_filters": 8,
    "identity_size": 16,
    "encoder_widths": (4, 4, 4, 4, 4, 4),
    "decoder_widths": (8, 8, 4, 4, 4, 4, 4),
}
"""Settings that make a network small or free of a recogniser; a method takes those that it knows."""

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def tiny(name: str, crop: crops.Crop) -> Method[Any]:
    kind = methods.load(name)
    settings = {key: value for key, value in SMALL.items() if key in kind.Config.model_fields}
    torch.manual_seed(0)
    recogniser = drawn.thin_recogniser() if "identity_weight" in kind.Config.model_fields else None
    return kind(kind.Config.model_validate(settings), crop, recogniser)


def source_of(name: str) -> ast.Module:
    return ast.parse(inspect.getsource(importlib.import_module(f"facebridge.methods.{name}")))


def crop_of(name: str) -> crops.Crop:
    found = [resolved for resolved in map(recipe.read, recipe.names()) if resolved.method == name]
    fitting = [one for one in found if one.settings.get("network", SMALL["network"]) == SMALL["network"]]
    return crops.crop(fitting[0].crop)


@pytest.mark.parametrize("name", NAMES)
def test_name_leads_to_one_method_with_a_frozen_config(name: str) -> None:
    kind = methods.load(name)
    assert issubclass(kind, Method)
    assert issubclass(kind.Config, Frozen)
    assert kind.Config.model_config["frozen"]
    assert kind.Config.model_config["extra"] == "forbid"
    assert kind.Config.__qualname__ == f"{kind.__name__}.Config"
    assert kind.__doc__


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_of_a_method_has_a_default_and_an_explanation(name: str) -> None:
    config = methods.load(name).Config
    assert config() == config.model_validate(config().model_dump())
    explained = {name for kind in config.__mro__ if issubclass(kind, Frozen) for name in explained_in(kind)}
    assert explained == set(config.model_fields)


def explained_in(config: type[Frozen]) -> set[str]:
    """The settings of a class that are followed by a text."""
    body = ast.parse(textwrap.dedent(inspect.getsource(config))).body[0].body
    return {
        field.target.id
        for field, text in zip(body, body[1:], strict=False)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


@pytest.mark.parametrize("name", NAMES)
def test_method_names_its_paper_and_has_a_page_a_recipe_and_a_test(name: str) -> None:
    text = ast.get_docstring(source_of(name))
    assert text
    assert re.search(r"\b(19|20)\d\d\b", text), "the module says which paper, with its year"
    page = ROOT / "docs" / "methods" / f"{name}.md"
    assert page.is_file()
    assert page.read_text("utf-8").startswith("# ")
    assert name in {recipe.read(found).method for found in recipe.names()}
    assert (ROOT / "tests" / "methods" / f"test_{name}.py").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_method_takes_a_batch_and_gives_losses_previews_and_faces(name: str) -> None:
    crop = crop_of(name)
    method = tiny(name, crop)
    faces = torch.rand(2, 3, crop.height, crop.width)
    points = torch.rand(2, 68, 2) * min(crop.height, crop.width)
    batch = {
        "source": faces.flip(-1),
        "target": faces,
        "source_identity": torch.tensor([0, 1]),
        "target_identity": torch.tensor([0, 1]),
        "source_points": points,
        "target_points": points.flip(-1),
        "source_points5": points[:, :5],
        "target_points5": points[:, 5:10],
        "source_yaw_deg": torch.tensor([-30.0, 30.0]),
        "target_yaw_deg": torch.tensor([0.0, 5.0]),
        "target_parsing": torch.randint(11, (2, crop.height, crop.width), dtype=torch.uint8),
        "shared_seed": torch.tensor(3),
    }
    losses = method.training_step(batch)
    assert losses
    assert all(loss.ndim == 0 and not loss.requires_grad and torch.isfinite(loss) for loss in losses.values())
    for title, shown in method.preview(batch).items():
        assert shown.ndim == 4, title
        assert shown.shape[1] == 3, title
        assert 0 <= float(shown.min()) <= float(shown.max()) <= 1, title
    if isinstance(method, HallucinationMethod):
        check_generates(method)
    elif isinstance(method, SamplingMethod):
        check_samples(method)
    elif isinstance(method, RecognitionMethod):
        check_embeds(method, faces)


def check_generates(method: HallucinationMethod[Any]) -> None:
    for height, width in method.source_sizes():
        assert 0 < height <= method.crop.height
        assert 0 < width <= method.crop.width
        generated = method.generate(torch.rand(1, 3, height, width))
        assert generated.shape[:2] == (1, 3)
        assert 0 <= float(generated.min()) <= float(generated.max()) <= 1


def check_samples(method: SamplingMethod[Any]) -> None:
    sampled, again = (method.sample(3, torch.Generator().manual_seed(1)) for _ in range(2))
    assert len(sampled) >= 2
    for domain, faces in sampled.items():
        assert faces.shape == (3, 3, method.crop.height, method.crop.width)
        assert faces.dtype == torch.float32
        assert 0 <= float(faces.min()) <= float(faces.max()) <= 1
        assert torch.equal(faces, again[domain])


def check_embeds(method: RecognitionMethod[Any], faces: torch.Tensor) -> None:
    training = method.training
    embeddings = method.embed(faces)
    assert embeddings.shape[0] == len(faces)
    assert torch.allclose(embeddings.norm(dim=1), torch.ones(len(faces)), atol=1e-5)
    assert method.training == training
    recogniser = method.as_recogniser()
    assert embeddings.shape[1] == recogniser.embedding_size
    assert not any(tensor.requires_grad for tensor in recogniser.parameters())
    before = recogniser.embed(faces, method.crop)
    with torch.no_grad():
        for tensor in method.parameters():
            tensor.zero_()
    assert torch.equal(recogniser.embed(faces, method.crop), before), "the recogniser is a copy"


@pytest.mark.parametrize("name", NAMES)
def test_optimisers_hold_every_trainable_tensor_once(name: str) -> None:
    method = tiny(name, crop_of(name))
    held = [
        id(tensor)
        for optimiser in method.optimisers.values()
        for group in optimiser.param_groups
        for tensor in group["params"]
    ]
    assert sorted(held) == sorted(id(tensor) for tensor in method.parameters() if tensor.requires_grad)
    assert set(method.schedules) <= set(method.optimisers)


def test_unknown_method_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=f"no_such.*{NAMES[0]}"):
        methods.load("no_such")


@pytest.mark.parametrize("name", recipe.names())
def test_recipe_resolves_and_reads_back_as_it_was(name: str, tmp_path: Path) -> None:
    resolved = recipe.read(name)
    (tmp_path / "again.toml").write_text(recipe.to_toml(resolved), "utf-8")
    assert recipe.read(tmp_path / "again.toml") == resolved
    assert resolved.method in NAMES
    if resolved.recogniser is not None:
        assert resolved.recogniser.name in recognisers.names()


@pytest.mark.parametrize("name", recipe.names())
def test_recipe_fits_its_method_and_crop(name: str) -> None:
    resolved = recipe.read(name)
    with torch.device("meta"):
        kind = methods.load(resolved.method)
        config = kind.settled(resolved.config(), steps=resolved.training.steps, num_identities=lambda: 3)
        method = kind(config, crops.crop(resolved.crop))
    assert not isinstance(method, HallucinationMethod) or method.source_sizes()


@pytest.mark.parametrize("name", recipe.names())
def test_recipe_begins_with_what_it_is_and_the_command_that_runs_it(name: str) -> None:
    text = (recipe.Recipes / f"{name}.toml").read_text("utf-8")
    header = text.split("\nmethod")[0].splitlines()
    assert len(header) > 1
    assert all(line.startswith("#") for line in header)
    commands = list(commands_in(text.replace("\n#", "\n")))
    assert commands
    for words in commands:
        understood(words)


def commands_in(text: str) -> Iterator[list[str]]:
    """The words of every `facebridge ...` line that stands as a command: indented, fenced or after a prompt."""
    joined = re.sub(r"\\\n\s*", " ", text)
    indented = re.findall(r"^(?: {2,}|\$ )(?:\S*/)?facebridge (.*)$", joined, re.MULTILINE)
    fenced = re.findall(r"^```(?:sh|bash|console|shell)?\n(.*?)^```", joined, re.MULTILINE | re.DOTALL)
    inside = [
        line for block in fenced for line in re.findall(r"^(?:\$ )?(?:\S*/)?facebridge (.*)$", block, re.MULTILINE)
    ]
    for line in [*indented, *inside]:
        yield shlex.split(re.sub(r"\[[^\]]*\]", "", line), comments=True)


def understood(words: list[str]) -> None:
    """Let the command line read the words, down to the last option, without doing anything."""
    command = typer.main.get_command(cli.app)
    context = command.make_context("facebridge", list(words), resilient_parsing=True)
    while hasattr(command, "get_command"):
        assert words, "a group of verbs is no command"
        found = command.get_command(context, words[0])
        assert found is not None, f"there is no verb {words[0]!r}"
        command, words = found, words[1:]
    if "--help" not in words:
        command.make_context(command.name, list(words))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_a_page_have_existing_verbs_and_options(page: Path) -> None:
    commands = list(commands_in(page.read_text("utf-8")))
    assert commands or page.name != "README.md"
    for words in commands:
        understood(words)


@pytest.mark.parametrize("words", [["fly"], ["train", "edsr_identity", "--speed", "9"], ["generate", "runs/mine"]])
def test_commands_that_do_not_exist_are_not_understood(words: list[str]) -> None:
    with pytest.raises(Exception, match=r"(?i)no verb|no such option|missing"):
        understood(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8"))
    own = [link for link in links if "://" not in link]
    assert [link for link in own if not (page.parent / link).exists()] == []


def test_make_targets_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"^ +make ([a-z]+)", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


def test_scripts_that_pages_name_exist() -> None:
    for page in PAGES:
        for script in re.findall(r"(?<![./])\b(?:scripts|benchmarks)/[a-z_]+(?:\.py)?\b", page.read_text("utf-8")):
            assert (ROOT / script).exists(), f"{page.name}: {script}"


def test_recipes_that_pages_name_exist() -> None:
    for page in PAGES:
        for words in commands_in(page.read_text("utf-8")):
            if words[:1] == ["train"] and not words[1].endswith(".toml") and words[1].islower():
                assert words[1] in recipe.names(), f"{page.name}: {words[1]}"
