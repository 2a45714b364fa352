"""Importing any module of the project does nothing but define things, and needs no torchvision."""

import ast
import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import facebridge

PACKAGE = Path(facebridge.__file__).parent
MODULES = sorted(module.name for module in pkgutil.walk_packages(facebridge.__path__, "facebridge."))

IMPORT_ALL = """
import importlib, json, os, sys, warnings
warnings.simplefilter("error")
import numpy, torch

def settings():
    draws = torch.get_rng_state().tolist(), numpy.random.get_state()[1].tolist()
    return draws, torch.get_num_threads(), torch.is_grad_enabled(), str(torch.get_default_dtype()), os.getcwd()

before = settings()
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
with open(sys.argv[2], "w") as told:
    json.dump({"modules": sorted(sys.modules), "same": before == settings()}, told)
"""


def test_every_module_is_imported_in_silence_without_torchvision_or_a_side_effect(tmp_path: Path) -> None:
    told = tmp_path / "modules.json"
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, json.dumps(MODULES), str(told)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    found = json.loads(told.read_text("utf-8"))
    assert set(MODULES) <= set(found["modules"])
    assert "torchvision" not in found["modules"]
    assert found["same"], "an import changed random states, threads, gradients, types or folder"
    assert [path.name for path in tmp_path.iterdir()] == [told.name]


def _imported(path: Path) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    plain = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    named = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in plain | named}


@pytest.mark.parametrize("package", ["torchvision", "numba", "scipy", "pandas", "sklearn", "skimage"])
def test_source_does_not_import_what_is_no_dependency(package: str) -> None:
    assert [str(path) for path in PACKAGE.rglob("*.py") if package in _imported(path)] == []


@pytest.mark.parametrize("name", ["facebridge", *MODULES])
def test_exported_names_are_sorted_and_exist(name: str) -> None:
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", [])
    assert exported == sorted(exported, key=_constants_classes_functions)
    assert [each for each in exported if not hasattr(module, each)] == []


def _constants_classes_functions(name: str) -> tuple[bool, bool, str]:
    return not name.isupper(), not name[0].isupper(), name


def test_public_names_are_those_that_scripts_rely_on() -> None:
    import facebridge.data.synthetic
    import facebridge.evaluation
    import facebridge.methods
    import facebridge.recognisers
    import facebridge.weights

    for found in (
        facebridge.load,
        facebridge.methods.names,
        facebridge.methods.load,
        facebridge.recognisers.names,
        facebridge.recognisers.load,
        facebridge.evaluation.identification,
        facebridge.evaluation.verification,
        facebridge.weights.network,
        facebridge.weights.convert,
        facebridge.data.synthetic.render,
    ):
        assert callable(found)


def test_modules_have_a_docstring_and_no_word_of_a_helpers_drawer() -> None:
    for name in MODULES:
        last = name.rpartition(".")[2]
        assert last not in {"utils", "misc", "common", "helpers"}, name
        assert importlib.import_module(name).__doc__, name
