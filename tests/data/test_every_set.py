"""Every data set from its own folder to a figure: imported, checked, aligned, and one protocol evaluated."""

from pathlib import Path

import numpy as np
import pytest

from facebridge import crops, evaluating
from facebridge.data import aligning, face_list, importing
from facebridge.data.check import check
from facebridge.data.face_list import FaceList
from facebridge.data.opening import open_faces
from facebridge.evaluation import protocol
from facebridge.evaluation.protocol import PairProtocol
from facebridge.evaluation.ways import Judge
from tests import drawn
from tests.data import spectrum_trees, visible_trees
from tests.data.tree import Tree

TREES = {**spectrum_trees.TREES, **visible_trees.TREES}


def write_landmarks(tree: Tree, path: Path) -> Path:
    """Where the faces were drawn, as a user would bring it: a CSV with `path` and five points."""
    columns = {
        "path": list(tree.landmarks),
        "identity": ["any"] * len(tree.landmarks),
        "domain": ["any"] * len(tree.landmarks),
    }
    points = np.stack(list(tree.landmarks.values())).astype(np.float32)
    face_list.write(FaceList(path.parent, columns, points), path)
    return path


def one_protocol(written: importing.Written) -> Path:
    """The first protocol in which something is compared."""
    for path in written.protocols.values():
        if not protocol.is_face_list(path):
            return path
        splits = set(face_list.read(path, allow_outside=True).column("split").tolist())
        if {"gallery", "probe"} <= splits:
            return path
    raise AssertionError(f"no protocol of {written.faces} compares anything")


def test_every_set_is_drawn_here() -> None:
    assert sorted(TREES) == importing.names()


def test_every_set_has_a_row_in_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "data" / "README.md").read_text("utf-8")
    for name in importing.names():
        assert f"| `{name}` |" in page
        assert f"facebridge data import {name} " in page


@pytest.mark.parametrize("name", sorted(TREES))
def test_set_goes_from_its_own_folder_to_a_figure(name: str, tmp_path: Path) -> None:
    tree = TREES[name](tmp_path / "theirs")
    written = importing.import_set(name, tree.root, tmp_path / "lists" / f"{name}.csv", tree.options)
    landmarks = write_landmarks(tree, tmp_path / "landmarks.csv") if tree.landmarks else None
    faces = open_faces(written.faces, landmarks=landmarks)

    found = check(faces)
    assert found.ok, str(found)
    assert found.num_rows == written.num_pictures > 0

    aligned = aligning.align(faces, "sphereface", tmp_path / "aligned", workers=1)
    assert (aligned.num_faces, aligned.num_not_aligned) == (len(faces), 0)
    listed = face_list.read(aligned.faces)
    assert set(listed.column("crop")) == {"sphereface"}
    assert listed.column("original").tolist() == faces.keys()
    assert listed.landmarks == pytest.approx(np.tile(crops.crop("sphereface").points, (len(faces), 1, 1)), abs=0.01)

    request = evaluating.Request(runs=[], faces=aligned.faces, protocol=one_protocol(written), sizes=((28, 24),))
    done = evaluating.evaluate(request, Judge(drawn.thin_recogniser(), "none"), tmp_path / "evaluation")
    for condition in ("28x24", "full size"):
        row = done.row("bicubic" if condition == "28x24" else "none", condition, "original")
        assert row is not None
        main = row.figures.get("rank1") or row.figures["accuracy"]
        assert main.value is not None
        assert 0 <= main.value <= 1
    assert done.provenance["pictures refused"] == []


@pytest.mark.parametrize("name", sorted(TREES))
def test_counts_of_a_part_say_what_is_missing(name: str, tmp_path: Path) -> None:
    tree = TREES[name](tmp_path / "theirs")
    written = importing.import_set(name, tree.root, tmp_path / f"{name}.csv", tree.options)
    assert [str(count) for count in importing.counts_of(written.faces)] == [str(count) for count in written.counts]
    for count in written.counts:
        assert (count.found == count.expected) == ("as published" in str(count))


@pytest.mark.parametrize("name", sorted(TREES))
def test_train_gallery_and_probe_people_are_disjoint(name: str, tmp_path: Path) -> None:
    tree = TREES[name](tmp_path)
    read = importing.load(name).read(tree.root, **tree.options)
    for key, each in read.protocols.items():
        if not isinstance(each, PairProtocol) and key not in read.may_overlap:
            assert importing.overlap(each) == []
