"""A list of DVG: lines `path label domain`, where domain 0 is near-infrared and 1 visible.

    NIR/s2_NIR_10166_013.jpg 351 0
    VIS/s2_VIS_10166_002.jpg 351 1

Published: the README and the loaders of BradyFU/DVG; the lists themselves were not.
Ours: the protocol nir_to_vis, for a list of the test: every visible picture is gallery, every near-infrared one a
probe, none is training. Paths may hold spaces. The picture may have another ending than its line says.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from facebridge.data.data_set import (
    NUM_NAMED,
    Count,
    Imported,
    Protocol,
    WrongRoot,
    absent_note,
    lines,
    pictures,
    require,
)
from facebridge.data.face_list import FaceList
from facebridge.data.splits import Finder, Protocols, as_face_list, named_note

TITLE = "DVG list (path label domain)"

PROTOCOL = "nir_to_vis"

_DOMAINS = {"0": "nir", "1": "vis"}


def read(root: Path, *, list: str = "*.txt") -> Imported:
    """Read the pictures of the list, and the protocol nir_to_vis.

    Args:
        root: the folder that the paths are relative to, or the list in it.
        list: name of the list in root, or its path.

    Raises:
        WrongRoot: if there is no list, several, or none of its pictures.
        ValueError: if a line is not `path label domain`, the label not a whole number, or a path has two labels.
    """
    return from_lines(root, list, TITLE, _parsed)


def counts(faces: FaceList, protocols: Mapping[str, Protocol]) -> list[Count]:
    """None: any list may have this form."""
    return []


@dataclass(frozen=True)
class Labelled:
    """What a line says of a picture."""

    path: str
    identity: str
    domain: str


def from_lines(root: Path, name: str, title: str, parsed: Callable[[str], Labelled]) -> Imported:
    """The pictures of a list, and the protocol nir_to_vis.

    Args:
        root: the folder that the paths are relative to, or the list in it.
        name: of the list in root, with * for any letters, or its path; without use where root is the list.
        title: of the data set.
        parsed: of a line; its ValueError is completed by file and line.

    Raises:
        WrongRoot, ValueError: as `read`.
    """
    file, folder = (root, root.parent) if root.is_file() else (_only_list(root, name, title), root)
    finder = Finder(pictures(folder))
    said: dict[str, tuple[int, Labelled]] = {}
    absent, repeated = [], []
    for number, text in lines(file):
        line = _with_place(parsed, text, f"{file}: line {number}")
        path = finder.find(line.path)
        if path is None:
            absent.append(line.path)
        elif path not in said:
            said[path] = number, line
        else:
            _check_same(line, said[path], f"{file}: line {number}")
            repeated.append(path)
    if not said and not absent:
        raise WrongRoot(f"{file}: is empty; expected {title}")
    require(folder, title, f"the pictures that {file} names, such as {'; '.join(absent[:1])}", bool(said))
    rows = [{"path": path, "identity": line.identity, "domain": line.domain} for path, (_, line) in said.items()]
    protocols = Protocols(as_face_list(folder, rows))
    domains = protocols.faces.column("domain").tolist()
    protocols.add_rule(PROTOCOL, ["gallery" if domain == "vis" else "probe" for domain in domains])
    notes = absent_note(file.name, absent) + named_note(f"{file.name} names twice", repeated)
    return Imported(protocols.faces, protocols.found, notes=[*notes, *protocols.notes])


def _only_list(root: Path, name: str, title: str) -> Path:
    require(root, title, f"the list {name} and the pictures that it names")
    for path in (root / name, Path(name)):
        if path.is_file():
            return path
    found = [path for path in sorted(root.glob(name)) if path.is_file()] if not Path(name).is_absolute() else []
    if len(found) != 1:
        there = ", ".join(path.name for path in found[:NUM_NAMED]) or "none"
        raise WrongRoot(f"{root}: expected {title}: one file {name} in it, found {there}; say which with list=NAME")
    return found[0]


def _with_place(parsed: Callable[[str], Labelled], text: str, place: str) -> Labelled:
    try:
        return parsed(text)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


def _check_same(line: Labelled, earlier: tuple[int, Labelled], place: str) -> None:
    number, first = earlier
    if (line.identity, line.domain) != (first.identity, first.domain):
        raise ValueError(
            f"{place}: {line.path} is {line.identity} in {line.domain}, but line {number} says {first.identity} in "
            f"{first.domain}"
        )


def _parsed(text: str) -> Labelled:
    words = text.rsplit(maxsplit=2)
    if len(words) != 3 or not words[1].isdecimal() or words[2] not in _DOMAINS:
        raise ValueError(f"expected `path label domain` with a whole number and 0 (nir) or 1 (vis), got {text!r}")
    return Labelled(words[0], words[1], _DOMAINS[words[2]])
