"""Aligning a list: the right pixels and rows, names that never clash, and the same folder after any kill."""

import contextlib
import csv
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from facebridge import crops, images
from facebridge.data import aligning, face_list, new_names, reading
from facebridge.data.face_list import FaceList
from facebridge.landmarks import Detection, DetectorSettings
from facebridge.provenance import Provenance
from tests import drawn

CROP = crops.crop("arcface")
PEOPLE, SHOTS = 3, 4
GARBAGE = b"no picture at all"


@dataclass(frozen=True)
class FixedDetector:
    """Finds `count` faces in every picture, at the crop's points moved by whole pixels; in black ones none."""

    count: int = 1
    slow_sec: float = 0
    dies_once: Path | None = None
    """A worker that does not find this file makes it and kills itself."""
    name: str = "fixed"
    weights: tuple[Path, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)

    def build(self) -> "FixedDetector":
        return self

    def detect(self, picture: NDArray[np.uint8]) -> list[Detection]:
        time.sleep(self.slow_sec)
        if self.dies_once is not None:
            with contextlib.suppress(FileExistsError):
                self.dies_once.touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)
        if not picture.any():
            return []
        return [self.face(number) for number in range(self.count)]

    def face(self, number: int) -> Detection:
        side = 60 - number
        box = np.array([10 + number, 10, side, side], np.float32)
        return Detection(box, 0.9, np.asarray(CROP.points, np.float32) - 10 + number)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> FaceList:
    """Twelve drawn pictures with five points each."""
    folder = tmp_path_factory.mktemp("people")
    return draw(folder)


def draw(folder: Path) -> FaceList:
    shots = drawn.shots()
    paths = [f"{person}/{shot}.png" for person in range(PEOPLE) for shot in range(SHOTS)]
    for number, path in enumerate(paths):
        (folder / path).parent.mkdir(exist_ok=True)
        images.write(folder / path, shots.vis[number // SHOTS][number % SHOTS])
    columns = {
        "path": paths,
        "identity": [path[0] for path in paths],
        "domain": ["vis"] * len(paths),
        "yaw_deg": shots.yaw_deg[:PEOPLE].reshape(-1),
        "camera": [f"camera {number}" for number in range(len(paths))],
    }
    return FaceList(folder, columns, shots.five[:PEOPLE].reshape(-1, 5, 2))


def align(faces: aligning.Source, out: Path, crop: str = "arcface_112", **options: Any) -> aligning.Aligned:
    return aligning.align(faces, crop, out, **({"workers": 1, "block_size": 5} | options))


def contents(folder: Path) -> dict[str, str]:
    """Every file of a folder, by its bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def refused(out: Path) -> list[tuple[str, str]]:
    with (out / aligning.NOT_ALIGNED).open(encoding="utf-8", newline="") as file:
        return [(row["path"], row["cause"]) for row in csv.DictReader(file)]


def test_faces_are_those_of_their_landmarks_and_listed_with_the_crop(people: FaceList, tmp_path: Path) -> None:
    done = align(people, tmp_path / "out")
    assert (done.num_faces, done.num_not_aligned, refused(tmp_path / "out")) == (len(people), 0, [])
    made = face_list.read(done.faces)
    for row in range(len(people)):
        wanted = crops.align(images.read(people.picture_path(row)), people[row].landmarks, CROP)  # type: ignore[arg-type]
        assert np.array_equal(images.read(made.picture_path(row)), wanted)
    assert made.column("path").tolist() == people.column("path").tolist()
    assert made.column("original").tolist() == people.column("path").tolist()
    assert set(made.column("crop").tolist()) == {"arcface"}
    for name in ("identity", "domain", "yaw_deg", "camera"):
        assert made.column(name).tolist() == people.column(name).tolist()
    assert made.landmarks == pytest.approx(np.tile(CROP.points, (len(people), 1, 1)), abs=1e-4)
    assert np.array_equal(reading.aligned(made, 0, CROP), images.read(made.picture_path(0)))


def test_jpeg_keeps_the_face_and_its_colours(people: FaceList, tmp_path: Path) -> None:
    made = face_list.read(align(people, tmp_path / "out", ending="jpg").faces)
    assert {Path(path).suffix for path in made.column("path")} == {".jpg"}
    wanted = reading.aligned(people, 0, CROP).astype(float)
    assert np.abs(images.read(made.picture_path(0)) - wanted).mean() < 2


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_generated_faces_stay_marked_as_such(people: FaceList, tmp_path: Path, ending: aligning.Ending) -> None:
    (tmp_path / "in").mkdir()
    for number, by in enumerate(["edsr_identity, run Müller", None]):
        picture = images.read(people.picture_path(number))
        images.write(tmp_path / "in" / f"{number}.png", picture, generated_by=by)
    made = FaceList(
        tmp_path / "in",
        {"path": ["0.png", "1.png"], "identity": ["a", "b"], "domain": ["vis", "vis"]},
        people.take([0, 1]).landmarks,
    )
    align(made, tmp_path / "out", ending=ending)
    align(people.take([0, 1]), tmp_path / "plain", ending=ending)
    assert images.generated_by(tmp_path / "out" / f"0.{ending}") == "edsr_identity, run Müller"
    assert images.generated_by(tmp_path / "out" / f"1.{ending}") is None
    plain = face_list.read(tmp_path / "plain" / "faces.csv")
    marked, unmarked = images.read(tmp_path / "out" / f"0.{ending}"), images.read(plain.picture_path(0))
    assert np.abs(marked.astype(int) - unmarked).max() <= (0 if ending == "png" else 4)


@pytest.mark.parametrize("ending", ["png", "jpg"])
@pytest.mark.parametrize("pasted", [False, True])
def test_all_that_generated_faces_say_of_their_origin_is_carried_on(
    people: FaceList, tmp_path: Path, ending: aligning.Ending, pasted: bool
) -> None:
    told = Provenance("FaceBridge pcfh", "ab" * 32, "0.1.0", "ann/ä.jpg", "cd" * 32, pasted)
    (tmp_path / "in").mkdir()
    images.write(tmp_path / "in" / f"0.{ending}", images.read(people.picture_path(0)), told)
    columns = {"path": [f"0.{ending}"], "identity": ["a"], "domain": ["vis"]}
    align(FaceList(tmp_path / "in", columns, people.take([0]).landmarks), tmp_path / "out", ending=ending)
    assert images.provenance(tmp_path / "out" / f"0.{ending}") == told
    assert images.generated_by(tmp_path / "out" / f"0.{ending}") == "FaceBridge pcfh"


def test_what_is_written_does_not_depend_on_the_workers(people: FaceList, tmp_path: Path) -> None:
    for workers in (1, 2):
        align(people, tmp_path / f"out{workers}", workers=workers)
    assert contents(tmp_path / "out1") == contents(tmp_path / "out2")
    assert len(contents(tmp_path / "out1")) == len(people) + 3


KILLED = """
import sys
from pathlib import Path
from tests.data.test_aligning import FixedDetector, align, without_landmarks

def main():
    faces, detector = without_landmarks(Path(sys.argv[1])), FixedDetector(slow_sec=0.1)
    align(faces, Path(sys.argv[2]), detector=detector, workers=int(sys.argv[3]), block_size=2)

if __name__ == "__main__":
    main()
"""


def without_landmarks(folder: Path) -> FaceList:
    """The pictures of a folder as a list that says nothing of their faces."""
    return face_list.read(folder)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_run_goes_on_and_ends_as_one_that_was_not(people: FaceList, tmp_path: Path, workers: int) -> None:
    wanted, out, faces = tmp_path / "wanted", tmp_path / "out", without_landmarks(people.root)
    align(faces, wanted, detector=FixedDetector(slow_sec=0.01), block_size=2)
    _kill_in_the_middle(people.root, out, workers)
    assert not (out / aligning.DONE).exists()
    numbers = [int(record.stem) for record in out.glob(".aligning/blocks/*.json")]
    assert 1 <= len(numbers) < len(faces) / 2
    kept = [out / path for number in numbers for path in faces.column("path")[2 * number : 2 * number + 2]]
    before = {path: path.stat().st_ino for path in kept}
    done = align(faces, out, detector=FixedDetector(slow_sec=0.1), block_size=2, workers=3 - workers)
    assert done.num_faces == len(faces)
    assert contents(out) == contents(wanted)
    assert before == {path: path.stat().st_ino for path in kept}, "finished blocks were done again"


def _kill_in_the_middle(root: Path, out: Path, workers: int) -> None:
    command = [sys.executable, "-c", KILLED, str(root), str(out), str(workers)]
    job = subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL)
    while not list(out.glob(".aligning/blocks/*.json")) and job.poll() is None:
        time.sleep(0.01)
    assert job.poll() is None
    job.kill()
    job.wait()


def test_a_finished_folder_is_left_as_it_is(people: FaceList, tmp_path: Path) -> None:
    first = align(people, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert align(people, tmp_path / "out") == first
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}


@pytest.mark.parametrize(
    ("options", "key"), [({"ending": "jpg"}, "ending"), ({"crop": "sphereface"}, "crop"), ({"block_size": 4}, "list|")]
)
def test_a_folder_of_another_alignment_is_refused(
    people: FaceList, tmp_path: Path, options: dict[str, Any], key: str
) -> None:
    align(people, tmp_path / "out")
    with pytest.raises(ValueError, match=f"aligned with ({key}).*another folder"):
        align(people.take([0, 1]) if key == "list|" else people, tmp_path / "out", **options)


def test_a_folder_that_holds_something_else_is_refused(people: FaceList, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    with pytest.raises(ValueError, match="not empty and holds no alignment"):
        align(people, tmp_path / "out")
    for above in (people.root, people.root.parent, people.root / "0" / ".."):
        with pytest.raises(ValueError, match="holds the sources"):
            align(people, above)


def test_bad_pictures_and_those_without_a_face_are_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    faces = without_landmarks(draw(_made(tmp_path / "in")).root)
    faces.picture_path(1).write_bytes(GARBAGE)
    faces.picture_path(6).unlink()
    images.write(faces.picture_path(11), np.zeros((96, 96, 3), np.uint8))
    done = align(faces, tmp_path / "out", detector=FixedDetector())
    assert (done.num_faces, done.num_not_aligned) == (9, 3)
    paths, causes = zip(*refused(tmp_path / "out"), strict=True)
    assert paths == tuple(str(faces.column("path")[row]) for row in (1, 6, 11))
    for cause, expected in zip(causes, ("not a picture", "no such file", "no face was found"), strict=True):
        assert expected in cause
    made = face_list.read(done.faces)
    assert made.column("original").tolist() == [row.path for n, row in enumerate(faces) if n not in (1, 6, 11)]
    assert all(made.picture_path(row).is_file() for row in range(len(made)))


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_landmarks_of_the_list_win_and_only_the_other_rows_are_searched(people: FaceList, tmp_path: Path) -> None:
    assert people.landmarks is not None
    points = people.landmarks.copy()
    points[3] = np.nan
    detector = FixedDetector()
    made = face_list.read(align(people.with_landmarks(points), tmp_path / "out", detector=detector).faces)
    for row in (2, 3):
        used = detector.face(0).points if row == 3 else points[row]
        wanted = crops.align(images.read(people.picture_path(row)), used, CROP)
        assert np.array_equal(images.read(made.picture_path(row)), wanted)


def test_every_picture_is_decoded_once(people: FaceList, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, original = [], images.read
    monkeypatch.setattr(images, "read", lambda path, *rest: read.append(Path(path)) or original(path, *rest))
    align(without_landmarks(people.root), tmp_path / "out", detector=FixedDetector())
    assert sorted(read) == [people.picture_path(row) for row in range(len(people))]


def test_all_faces_of_a_picture_are_numbered_and_each_is_its_own(people: FaceList, tmp_path: Path) -> None:
    detector, faces = FixedDetector(count=3), without_landmarks(people.root).take([0, 1])
    done = align(faces, tmp_path / "out", detector=detector, choose="all")
    made = face_list.read(done.faces)
    assert made.column("path").tolist() == [f"0/{shot}_{number}.png" for shot in range(2) for number in (1, 2, 3)]
    assert made.column("original").tolist() == ["0/0.png"] * 3 + ["0/1.png"] * 3
    for row in range(6):
        source = images.read(faces.picture_path(row // 3))
        wanted = crops.align(source, detector.face(row % 3).points, CROP)
        assert np.array_equal(images.read(made.picture_path(row)), wanted)


def test_largest_and_central_give_one_face_under_the_plain_name(people: FaceList, tmp_path: Path) -> None:
    faces = without_landmarks(people.root).take([0])
    for choose in ("largest", "central"):
        made = face_list.read(align(faces, tmp_path / choose, detector=FixedDetector(count=3), choose=choose).faces)
        assert made.column("path").tolist() == ["0/0.png"]


def test_pictures_that_would_get_one_name_are_numbered_in_the_order_of_the_list(
    people: FaceList, tmp_path: Path
) -> None:
    root = _made(tmp_path / "in")
    for row, name in enumerate(("a.png", "b.png", "a.bmp", "c.png", "a.bmp")):
        shutil.copy(people.picture_path(row), root / name)
    columns = {"path": ["a.png", "b.png", "a.bmp", "c.png", "a.bmp"], "identity": list("12345"), "domain": ["vis"] * 5}
    assert people.landmarks is not None
    faces = FaceList(root, columns, people.landmarks[:5])
    made = face_list.read(align(faces, tmp_path / "out", block_size=2).faces)
    assert made.column("path").tolist() == ["a_1.png", "b.png", "a_2.png", "c.png", "a_3.png"]
    wanted = crops.align(images.read(root / "a.bmp"), people.landmarks[4], CROP)
    assert np.array_equal(images.read(made.picture_path(4)), wanted)


@pytest.mark.parametrize(
    ("paths", "choose", "problem"),
    [
        (["a.png", "a.jpg", "a_1.png"], "largest", "clash with another"),
        (["a.png", "a_2.jpg"], "all", "named like a second face of 'a'"),
        (["a.png", "b/../../c.png"], "largest", "row 2.*leaves"),
        (["/tmp/a.png"], "largest", "row 1.*absolute"),
        ([".aligning/a.png"], "largest", "none that a picture can be written to"),
    ],
)
def test_names_that_clash_or_lead_outside_are_refused_before_anything_is_written(
    tmp_path: Path, paths: list[str], choose: str, problem: str
) -> None:
    columns = {"path": paths, "identity": ["ann"] * len(paths), "domain": ["vis"] * len(paths)}
    with pytest.raises(ValueError, match=problem):
        align(FaceList(tmp_path / "in", columns), tmp_path / "out", detector=FixedDetector(), choose=choose)
    assert not (tmp_path / "out").exists()


@given(
    names=st.lists(
        st.tuples(st.sampled_from(["a", "a_1", "b/a", "b/a_2", "c.d"]), st.sampled_from([".png", ".jpg", ".bmp"])),
        min_size=1,
        max_size=8,
    )
)
@settings(max_examples=60)
def test_no_two_rows_ever_get_one_name(names: list[tuple[str, str]]) -> None:
    paths = [stem + ending for stem, ending in names]
    faces = FaceList(Path("in"), {"path": paths, "identity": paths, "domain": paths}, np.ones((len(paths), 5, 2)))
    stems = [stem for stem, _ in names]
    try:
        renamed = new_names.new_stems(faces, numbered=False)
    except ValueError:
        assert len(set(stems)) < len(stems)
        return
    given_names = [renamed.get(row, stem) for row, stem in enumerate(stems)]
    assert len(set(given_names)) == len(stems)
    assert all(renamed.get(row, stem) == stem for row, stem in enumerate(stems) if stems.count(stem) == 1)


def test_a_list_that_says_nothing_of_faces_needs_a_detector(people: FaceList, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give a detector"):
        align(without_landmarks(people.root), tmp_path / "out")


def test_aligned_faces_are_brought_to_another_crop_and_a_region_is_used_up(people: FaceList, tmp_path: Path) -> None:
    first = face_list.read(align(people, tmp_path / "first").faces)
    second = face_list.read(align(first, tmp_path / "second", "sphereface").faces)
    assert set(second.column("crop").tolist()) == {"sphereface"}
    assert second.column("original").tolist() == first.column("path").tolist()
    wanted = reading.aligned(first, 5, crops.crop("sphereface"))
    assert np.array_equal(images.read(second.picture_path(5)), wanted)
    cut = people.with_column("region", ["8 8 80 80"] * len(people))
    third = face_list.read(align(cut, tmp_path / "third").faces)
    assert "region" not in third.column_names
    assert np.array_equal(images.read(third.picture_path(0)), reading.aligned(cut, 0, CROP))


def test_a_parquet_list_is_read_in_pieces_and_gives_one(people: FaceList, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    from facebridge.data.pieces import FaceListFile

    listed = people.root / "listed.parquet"
    face_list.write(people, listed)
    made = align(FaceListFile(listed), tmp_path / "pieces", workers=2)
    plain = align(people, tmp_path / "plain")
    assert made.faces.name == "faces.parquet"
    found, wanted = face_list.read(made.faces), face_list.read(plain.faces)
    assert found.column_names == wanted.column_names
    for name in found.column_names:
        assert found.column(name).tolist() == wanted.column(name).tolist()
    assert np.array_equal(found.landmarks, wanted.landmarks)  # type: ignore[arg-type]
    pictures = {name: bits for name, bits in contents(tmp_path / "plain").items() if name.endswith(".png")}
    assert len(pictures) == len(people)
    assert pictures.items() <= contents(tmp_path / "pieces").items()


def test_shards_hold_the_same_faces_and_rows_as_files(people: FaceList, tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    from facebridge.data import shards

    faces = people.with_column("path", [*people.column("path")[:-1], "absent.png"])
    done = align(faces, tmp_path / "out", layout="shards")
    assert (done.num_faces, done.num_not_aligned) == (11, 1)
    plain = face_list.read(align(faces, tmp_path / "plain").faces)
    found = list(shards.iterate(tmp_path / "out"))
    assert len(found) == len(plain)
    for number, (row, picture) in enumerate(found):
        assert (row.path, row.original, row.identity) == (
            plain[number].path,
            plain[number].original,
            plain[number].identity,
        )
        assert np.array_equal(picture, images.read(plain.picture_path(number)))


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two Ray workers on this machine."""
    ray = pytest.importorskip("ray", reason="ray is not installed (pip install 'facebridge[scale]')")
    ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("layout", ["files", "shards"])
def test_on_ray_with_a_worker_killed_nothing_is_lost_and_nothing_twice(
    people: FaceList, tmp_path: Path, layout: str
) -> None:
    faces = without_landmarks(people.root)
    align(faces, tmp_path / "wanted", detector=FixedDetector(), block_size=2, layout=layout)
    dies_once = tmp_path / "died"
    on_ray = FixedDetector(dies_once=dies_once)
    done = align(faces, tmp_path / "out", detector=on_ray, block_size=2, layout=layout, engine="ray", workers=2)
    assert dies_once.exists()
    assert done.num_faces == len(faces)
    assert contents(tmp_path / "out") == contents(tmp_path / "wanted")


@pytest.mark.real
def test_photographs_are_aligned_by_yunet_as_by_their_landmarks(real_data: Path, tmp_path: Path) -> None:
    root = real_data / "data" / "lfw"
    points = face_list.read_landmarks(root / "landmarks5.csv")
    paths = sorted(points)[:60]
    columns = {"path": paths, "identity": [Path(path).parent.name for path in paths], "domain": ["vis"] * len(paths)}
    known = FaceList(root / "lfw-deepfunneled", columns, np.stack([points[path] for path in paths]))
    detector = DetectorSettings("yunet", (real_data / "weights" / "yunet_n_320.onnx",))
    by_list = face_list.read(align(known, tmp_path / "list").faces)
    by_yunet = face_list.read(align(known.with_landmarks(None), tmp_path / "yunet", detector=detector).faces)
    assert by_list.column("path").tolist() == by_yunet.column("path").tolist()
    far = [
        float(np.abs(images.read(one).astype(int) - images.read(other)).mean())
        for one, other in zip(map(by_list.picture_path, range(60)), map(by_yunet.picture_path, range(60)), strict=True)
    ]
    assert np.median(far) < 8
