"""Files of blocks appear whole, under their names alone."""

from pathlib import Path

import pytest

from facebridge.block_files import BlockFiles


def test_files_lie_under_their_names_and_nothing_is_left_over(tmp_path: Path) -> None:
    files = BlockFiles(tmp_path / "out", tmp_path / "parts")
    files.write("a/b/one.png", b"1")
    files.write("a/two.png", b"2")
    files.write("a/two.png", b"22")
    files.keep()
    found = {path.relative_to(tmp_path / "out").as_posix(): path.read_bytes() for path in tmp_path.rglob("*.png")}
    assert found == {"a/b/one.png": b"1", "a/two.png": b"22"}
    assert not any((tmp_path / "parts").iterdir())


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = BlockFiles(tmp_path, tmp_path / "parts")
    files.write("one.png", b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("facebridge.block_files.os.replace", full)
    with pytest.raises(OSError, match="No space"):
        files.write("one.png", b"new")
    assert (tmp_path / "one.png").read_bytes() == b"old"
