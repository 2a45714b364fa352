"""Data sets in their own layouts -> face lists and protocols on disk, and what is known to be in them."""

import importlib
import inspect
import json
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from facebridge import data
from facebridge.data import face_list
from facebridge.data.data_set import NUM_NAMED, Count, DataSet, Imported, Protocol, counted
from facebridge.data.face_list import FaceList
from facebridge.evaluation import protocol as protocols
from facebridge.evaluation.protocol import PairProtocol

SIDE_FILE = ".json"
_LISTS = (".csv", ".parquet")


@dataclass(frozen=True)
class Written:
    """What an import wrote: the face list, a file for each protocol, and notes for people."""

    faces: Path
    num_pictures: int
    num_identities: int
    protocols: dict[str, Path]
    notes: list[str]
    counts: list[Count]


def names() -> list[str]:
    """Names of the data sets whose layout is known: the modules of `facebridge.data` with TITLE, read and counts."""
    found = [module.name for module in pkgutil.iter_modules(data.__path__) if not module.ispkg]
    return sorted(name for name in found if _is_data_set(importlib.import_module(f"facebridge.data.{name}")))


def load(name: str) -> DataSet:
    """The module of a data set.

    Raises:
        ValueError: if there is none of this name.
    """
    if name not in names():
        raise ValueError(f"no data set is called {name!r}; known data sets: {', '.join(names())}")
    return cast(DataSet, importlib.import_module(f"facebridge.data.{name}"))


def import_set(name: str, root: Path, out: Path, options: Mapping[str, Any] | None = None) -> Written:
    """Write a data set's face list, its protocols beside it, and a side file that remembers set and root.

    Args:
        name: one of `names()`.
        root: the folder (or list) that its owner gave out.
        out: the face list to write, .csv or .parquet. A protocol is written as STEM_PROTOCOL.csv: a face list with
            splits, or a list of pairs.
        options: settings of the set's `read`, such as seed.

    Raises:
        ValueError: if the set or an option is unknown, the root has another layout (`WrongRoot`), people of a
            protocol's training are among its gallery or probes and the protocol does not allow that, or the side file
            would replace another file.

    Protocols that an earlier import wrote for the same list, and this one does not have, are removed and noted.
    """
    if out.suffix.lower() not in _LISTS:
        raise ValueError(f"{out}: face lists are written as .csv or .parquet")
    _refuse_foreign(out.with_suffix(SIDE_FILE))
    module = load(name)
    read = module.read(root, **_checked_options(module, name, options or {}))
    for key, protocol in read.protocols.items():
        _refuse_overlap(f"{module.TITLE}, protocol {key}", protocol, key in read.may_overlap)
    out.parent.mkdir(parents=True, exist_ok=True)
    files = {key: out.with_name(f"{out.stem}_{key}.csv") for key in read.protocols}
    face_list.write(_in_folder(read.faces, out.parent), out)
    for key, protocol in read.protocols.items():
        if isinstance(protocol, FaceList):
            face_list.write(_in_folder(protocol, out.parent), files[key])
        else:
            protocols.write_pairs(protocol, files[key])
    removed = _remove_stale(out, files)
    _write_side_file(out, name, read, files)
    identities = len(set(read.faces.column("identity").tolist()))
    counts = module.counts(read.faces, read.protocols)
    return Written(out, len(read.faces), identities, files, [*read.notes, *removed], counts)


def remember_root(listed: Path, root: Path) -> None:
    """Write a side file that says where the pictures of a list lie, if not in its own folder."""
    own = listed.parent.resolve() == root.resolve()
    if not own:
        _write_json(listed, {"data_set": None, "list": listed.name, "root": str(root.resolve()), "protocols": {}})


def root_of(path: Path) -> Path | None:
    """The pictures' folder that the side file of a list, or of the list whose protocol it is, names; None without."""
    about = _about(path)
    return None if about is None else Path(about["root"])


def counts_of(path: Path) -> list[Count]:
    """The known counts of the data set that a face list was imported from, beside those found in the lists now.

    Raises:
        ValueError: if a list cannot be read.
    """
    about = _about(path)
    if about is None or about["data_set"] is None or about["list"] != path.name:
        return []
    root = Path(about["root"])
    read: dict[str, Protocol] = {}
    for key, file in about["protocols"].items():
        listed = path.with_name(file)
        read[key] = (
            face_list.read(listed, root=root) if protocols.is_face_list(listed) else protocols.read_pairs(listed)
        )
    return load(about["data_set"]).counts(face_list.read(path, root=root), read)


def notes_of(path: Path) -> list[str]:
    """What the import of a face list noted, such as lists that name pictures which are not there."""
    about = _about(path)
    notes = about.get("notes") if about is not None and about["list"] == path.name else None
    return [str(note) for note in notes] if isinstance(notes, list) else []


def allows_overlap(path: Path) -> bool:
    """Whether a list is that of a protocol in which people of the training may be among gallery and probes."""
    about = _about(path)
    return about is not None and any(about["protocols"].get(key) == path.name for key in about.get("may_overlap", []))


def overlap(protocol: FaceList) -> list[str]:
    """Identities that are in the split train and in gallery or probe too, sorted."""
    if "split" not in protocol.column_names:
        return []
    trained = set(protocol.where(split="train").column("identity").tolist())
    return sorted(trained & set(protocol.where(split=("gallery", "probe")).column("identity").tolist()))


def _is_data_set(module: Any) -> bool:
    return all(hasattr(module, name) for name in ("TITLE", "read", "counts"))


def _checked_options(module: DataSet, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(module.read).parameters
    known = [key for key, parameter in parameters.items() if parameter.kind is parameter.KEYWORD_ONLY]
    checked: dict[str, Any] = {}
    for key, value in options.items():
        if key not in known:
            raise ValueError(f"{name} has no option {key!r}; known options: {', '.join(known) or 'none'}")
        expected = type(parameters[key].default)
        if expected is not type(None) and issubclass(expected, Path):
            value = Path(value)
        elif expected is str:
            value = str(value)
        elif expected in (bool, int, float) and type(value) is not expected:
            raise ValueError(f"{name}: option {key} is {value!r}; expected a value like {parameters[key].default!r}")
        if expected is int and value < 0:
            raise ValueError(f"{name}: option {key} is {value}; expected a whole number from 0")
        checked[key] = value
    return checked


def _refuse_overlap(title: str, protocol: Protocol, allowed: bool) -> None:
    if isinstance(protocol, PairProtocol):
        return
    shared = [] if allowed else overlap(protocol)
    if shared:
        raise ValueError(
            f"{title}: {counted(len(shared), 'person', 'people')} of the training among gallery or probes: "
            f"{', '.join(shared[:NUM_NAMED])}; the protocol does not allow that: look for a wrong list"
        )
    if "split" not in protocol.column_names:
        return
    twice = sorted(set(protocol.where(split="gallery").keys()) & set(protocol.where(split="probe").keys()))
    if twice:
        what = counted(len(twice), "picture is", "pictures are")
        raise ValueError(f"{title}: {what} gallery and probe at once (or listed twice), the first: {twice[0]}")


def _in_folder(faces: FaceList, folder: Path) -> FaceList:
    """The rows under the list's folder with paths as they are: the side file says where they are relative to."""
    return FaceList(folder, {name: faces.column(name) for name in faces.column_names}, faces.landmarks)


def _write_side_file(out: Path, name: str, read: Imported, files: Mapping[str, Path]) -> None:
    about = {
        "data_set": name,
        "list": out.name,
        "root": str(read.faces.root.resolve()),
        "protocols": {key: file.name for key, file in files.items()},
        "may_overlap": sorted(read.may_overlap),
        "notes": list(read.notes),
    }
    _write_json(out, about)


def _remove_stale(out: Path, files: Mapping[str, Path]) -> list[str]:
    """Remove protocols of an earlier import of this list: a pattern such as STEM_*.csv must not mean them any more."""
    earlier = _read_side_file(out.with_suffix(SIDE_FILE))
    written = {
        f"{out.stem}_{key}.csv" for key in (earlier["protocols"] if earlier and earlier["list"] == out.name else ())
    }
    stale = [
        out.with_name(name) for name in sorted(written - {file.name for file in files.values()}) if "/" not in name
    ]
    there = [path for path in stale if path.is_file()]
    for path in there:
        path.unlink()
    return [f"removed {path}, which an earlier import wrote" for path in there]


def _refuse_foreign(side_file: Path) -> None:
    if side_file.exists() and _read_side_file(side_file) is None:
        raise ValueError(f"{side_file}: is there, and not from an import; choose another name than {side_file.stem}")


def _write_json(listed: Path, about: Mapping[str, Any]) -> None:
    _refuse_foreign(listed.with_suffix(SIDE_FILE))
    listed.with_suffix(SIDE_FILE).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def _about(path: Path) -> dict[str, Any] | None:
    """The side file that knows a list: its own, or that of the list whose protocol it is."""
    if not path.is_file() or path.suffix.lower() not in _LISTS:
        return None
    for side_file in sorted(path.parent.glob(f"*{SIDE_FILE}")):
        found = _read_side_file(side_file) if path.stem.startswith(side_file.stem) else None
        if found is None:
            continue
        if path.stem == Path(found["list"]).stem or path.name in found["protocols"].values():
            return found
    return None


def _read_side_file(path: Path) -> dict[str, Any] | None:
    """What a side file says; None for a .json that is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("protocols"), dict):
        return None
    texts = [found.get("root"), found.get("list"), *found["protocols"].values()]
    ours = all(isinstance(text, str) for text in texts) and found.get("data_set") in (None, *names())
    return found if ours else None
