"""One file a paper; the folder is the list."""

import importlib
import pkgutil
from typing import Any

from facebridge.method import Method


def names() -> list[str]:
    """The names of the methods: the modules of this folder, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> type[Method[Any]]:
    """The class of the method called `name`.

    Raises:
        ValueError: if there is no such method; the message names the known ones.
    """
    if name not in names():
        raise ValueError(f"there is no method {name!r}; known: {', '.join(names())}")
    module = importlib.import_module(f"{__name__}.{name}")
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Method) and value.__module__ == module.__name__
    ]
    assert len(classes) == 1, f"{module.__name__} must define exactly one Method, not {len(classes)}"
    return classes[0]
