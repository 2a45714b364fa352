"""Pictures -> hallucinated faces that say so; what is killed goes on, and bad pictures are named and counted.

OUT/PATH.png        the face made of the picture PATH (or .jpg)
    full/PATH.png   with `paste_back`: the picture with that face in it
    strip/PATH.png  with `strip`: the face at every pose that the method knows, side by side
    faces.csv       the list of the faces, written last
    not_generated.csv  the pictures that gave no face, and why
    .generating/    the account of what is made, see `facebridge.made_faces`

`facebridge.source_faces` reads, `facebridge.making` makes and writes.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facebridge import bit_depths, runs, source_faces
from facebridge.bit_depths import Levels
from facebridge.data import face_list, finding
from facebridge.data.face_list import FaceList, FaceRow
from facebridge.data.pieces import FaceListWriter
from facebridge.landmarks import Choose, DetectorSettings
from facebridge.made_faces import MadeFaces, known_job
from facebridge.making import FULL, LIST, STRIP, Done, Ending, Maker
from facebridge.method import MakesFronts, TurnsHeads
from facebridge.precision import Precision
from facebridge.recipe import FaceListData
from facebridge.source_faces import ListedSources, ShardedSources, TakesSizesBetween, Taking

__all__ = [
    "FULL",
    "LIST",
    "NOT_GENERATED",
    "STRIP",
    "Done",
    "Ending",
    "generate",
    "generate_from_shards",
]

NOT_GENERATED = "not_generated.csv"
BATCH_SIZE = 16
"""Rows of a batch: rows 0 to 15 of the list, 16 to 31, and so on."""


def generate(
    run: str | Path,
    faces: FaceList,
    out: Path,
    size: tuple[int, int] | None = None,
    *,
    detector: DetectorSettings | None = None,
    choose: Choose = "largest",
    min_face_px: float = 0,
    levels: Levels = "auto",
    ending: Ending = "png",
    paste_back: bool = False,
    squeezed: bool = False,
    yaw_deg: float | None = None,
    strip: bool = False,
    precision: Precision = "float32",
    device: str = "auto",
    batch_size: int = BATCH_SIZE,
    workers: int | None = None,
) -> Done:
    """Hallucinate every face of a list into a folder of pictures and a face list; called again, it goes on.

    Args:
        run: a run folder, or the name of a shipped run.
        faces: pictures; with landmarks they are aligned first; those that name the method's crop, of any size up to
            it, go in as they are.
        out: a new folder, or the one of the same job, finished or not: faces whose picture and row are still the same
            are not made again. Pictures keep their relative path, with the new ending.
        size: (height, width) in px to which aligned faces are reduced before they go in, at most the crop's; None: by
            each face's own size in its picture, so that no detail is made up that the camera gave.
        detector: finds the faces of pictures of which nothing says where they lie; None: those cannot be used.
        choose, min_face_px: which of the faces it finds: "largest" or "central", and the smallest side of their boxes.
        levels: how 16-bit pictures are brought to 8 bits, see `facebridge.bit_depths`.
        ending: "png" keeps every pixel, "jpg" is written at quality 95.
        paste_back: also write the whole pictures with the faces put back, see `facebridge.pasting`.
        squeezed: faces that name the method's crop may have other proportions and show the whole of it all the same.
        yaw_deg: the pose of the faces, degrees, positive where the nose points to the right of the picture; None: what
            the method makes, from the front. For methods that turn heads.
        strip: also write of each face a picture of it at every pose that the method knows, from left to right.
        precision: see `facebridge.precision`.
        device: auto, cpu or cuda.
        batch_size: rows of the list that go through the network together; what comes of a face depends on it by the
            rounding of float numbers alone.
        workers: threads that read, and as many that write; None: one a core, 2 to 16.

    Raises:
        ValueError: if the run has no weights, `size` is larger than the crop, a pose is asked for that the method does
            not know, `out` cannot be written to or holds the sources or something else, or two pictures would get one
            name.
        Stopped: if SIGTERM or Ctrl-C asked to stop; the same call goes on.
    """
    if choose == "all":
        raise ValueError("one face of each picture is generated: choose the largest or the central one")
    if out.resolve() == faces.root.resolve():
        raise ValueError(f"{out} holds the sources, which would be overwritten: choose another folder")
    if squeezed and paste_back:
        raise ValueError(
            "faces of other proportions than their crop are whole pictures: there is nothing to put back in"
        )
    maker = Maker(run, out, ending, paste_back, precision, device, batch_size, workers, yaw_deg, strip)
    _check_size(size, maker)
    data = runs.find(run).recipe.data
    taking = Taking(
        maker.method.crop,
        maker.method.source_sizes(),
        size,
        isinstance(maker.method, TakesSizesBetween),
        squeezed,
        data.convention if isinstance(data, FaceListData) else "umeyama",
        detector,
        choose,
        min_face_px,
        _bits(levels, faces, out),
    )
    sources = ListedSources(faces, taking, maker.workers)
    _check_folders(sources.stems, [LIST, NOT_GENERATED, *maker.folders])
    asked = {"size": size, "levels": levels, "squeezed": squeezed or None}
    job = {**maker.job, **asked, **_finding_job(taking), **sources.identity()}
    done = maker.make(sources, job, lambda made, account: _list_of(sources, made, maker), {"bits": taking.bits})
    finding.write_refused(finding.Found(faces, done.refused), out / NOT_GENERATED)
    return done


def generate_from_shards(
    run: str | Path,
    folder: str,
    out: Path,
    size: tuple[int, int] | None = None,
    *,
    ending: Ending = "png",
    yaw_deg: float | None = None,
    strip: bool = False,
    precision: Precision = "float32",
    device: str = "auto",
    batch_size: int = BATCH_SIZE,
    workers: int | None = None,
) -> Done:
    """Hallucinate every face of a folder of shards, which is streamed; two shards are in memory at a time.

    Args:
        run: a run folder, or the name of a shipped run.
        folder: of `facebridge data align --format shards-png`: a path, or a URL that fsspec reaches.
        out: as of `generate`; pictures are called as the rows of the shards are.
        size: as of `generate`; None: the faces go in as they are.
        ending, yaw_deg, strip, precision, device, batch_size, workers: as of `generate`.

    Raises:
        ValueError: if the run has no weights, the folder no index, `size` is larger than the crop, a pose is asked for
            that the method does not know, or `out` cannot be written to or holds something else.
        Stopped: as `generate`.
    """
    maker = Maker(run, out, ending, False, precision, device, batch_size, workers, yaw_deg, strip)
    _check_size(size, maker)
    sources = ShardedSources(folder, maker.method.crop, size)
    job = {**maker.job, "size": size, **sources.identity()}
    return maker.make(sources, job, lambda made, account: _list_of_shards(sources, made, account, maker), {})


def _check_size(size: tuple[int, int] | None, maker: Maker) -> None:
    crop = maker.method.crop
    if size is not None and (size[0] > crop.height or size[1] > crop.width):
        trained = ", ".join(f"{height}x{width}" for height, width in maker.method.source_sizes())
        raise ValueError(
            f"faces are reduced to a size, and {size[0]}x{size[1]} is larger than the crop {crop.name} of "
            f"{crop.height}x{crop.width}; the method was trained on {trained}"
        )


def _check_folders(stems: Sequence[str], taken: Sequence[str]) -> None:
    """ValueError: if pictures lie in a folder whose name is needed for what is written."""
    for name in taken:
        if any(stem.startswith(f"{name}/") for stem in stems):
            raise ValueError(f"pictures lie in a folder {name}, the name of something that is written: rename it")


def _bits(levels: Levels, faces: FaceList, out: Path) -> int | None:
    """Of 16-bit pictures; what was found when the job began stays for the whole of it."""
    if levels != "auto":
        return levels
    known = known_job(out)
    if known is not None and known.get("levels") == "auto":
        bits = known.get("bits")
        return None if bits is None else int(bits)
    return bit_depths.sampled_bits(source_faces.sample(faces))


def _finding_job(taking: Taking) -> dict[str, Any]:
    """What identifies how faces are found and aligned; a detector's weights by what is in them."""
    if taking.detector is None:
        return {"convention": taking.convention, "detector": None}
    files = [file for path in taking.detector.weights for file in ([path] if path.is_file() else path.iterdir())]
    weights = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(files)}
    found_by = [taking.detector.name, weights, dict(taking.detector.settings), taking.choose, taking.min_face_px]
    return {"convention": taking.convention, "detector": found_by}


def _list_of(sources: ListedSources, made: NDArray[np.int64], maker: Maker) -> None:
    stems = [sources.stems[row] for row in made.tolist()]
    face_list.write(_listed(sources.faces.take(made), stems, maker), maker.out / LIST)


def _list_of_shards(sources: ShardedSources, made: NDArray[np.int64], account: MadeFaces, maker: Maker) -> None:
    names = sources.faces.index.columns
    columns = list(dict.fromkeys([*names, "crop", "original", *maker.folders, *_poses(maker)]))
    with FaceListWriter(maker.out / LIST, columns, 5) as writer:
        for number in made.tolist():
            line = account.line(number)
            row = face_list.from_json(line["cells"].encode())
            listed = FaceList(maker.out, {column: [_cell(row, column)] for column in names})
            writer.write(_listed(listed, [line["stem"]], maker))


def _listed(sources: FaceList, stems: Sequence[str], maker: Maker) -> FaceList:
    """The list of the generated faces: the rows of their sources, now lying in a crop."""
    crop, names = maker.method.crop, [maker.name(stem) for stem in stems]
    columns: dict[str, Any] = {name: sources.column(name) for name in sources.column_names if name != "region"}
    columns |= {"path": names, "crop": [crop.name] * len(names), "original": sources.originals()}
    for name, file in zip(maker.folders, maker.files[1:], strict=True):
        columns[name] = [file.format(stem=stem) for stem in stems]
    columns |= {name: [yaw] * len(names) for name, yaw in _poses(maker).items()}
    return FaceList(maker.out, columns, np.tile(np.array(crop.points, np.float32), (len(names), 1, 1)))


def _poses(maker: Maker) -> dict[str, float]:
    """What becomes of the column of the yaw, where the method decides how a face is turned."""
    decides = isinstance(maker.method, TurnsHeads | MakesFronts)
    return {"yaw_deg": maker.yaw_deg or 0.0} if decides else {}


def _cell(row: FaceRow, column: str) -> Any:
    if column == "yaw_deg":
        return np.nan if row.yaw_deg is None else row.yaw_deg
    return row.extra[column] if column in row.extra else getattr(row, column, None) or ""
