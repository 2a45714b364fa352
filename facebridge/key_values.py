"""`key=value` on the command line."""

import tomllib
from typing import Any


def key_and_value(text: str) -> tuple[str, Any]:
    """`key=value`; a value that is not TOML is text.

    Raises:
        ValueError: if there is no `=`.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"cannot read the setting {text!r}: write key=value, such as seed=1")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value
