"""From landmarks to an aligned face: the crops of the field, and the similarities between them.

Coordinates are (x, y) in pixels and the centre of the top-left pixel is (0, 0), as in cv2.warpAffine.
Five points come in the order: person's right eye (left in the picture), left eye, nose, right mouth corner,
left mouth corner.
"""

import re
from dataclasses import asdict, dataclass
from typing import Literal, cast, get_args

import cv2
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional

Convention = Literal["umeyama", "cp2tform"]
Interpolation = Literal["cubic", "linear"]
Outside = Literal["black", "mirror"]
"""What a crop shows beyond the picture; training faces that fill their pictures are better mirrored: a generator that
saw black bands in training paints them onto faces that have none."""
_CV2_FLAGS = {"cubic": cv2.INTER_CUBIC, "linear": cv2.INTER_LINEAR}
_CV2_BORDERS = {"black": cv2.BORDER_CONSTANT, "mirror": cv2.BORDER_REFLECT_101}


@dataclass(frozen=True)
class Crop:
    """How a face was aligned: the size of the picture and where five points of the face lie in it, in pixels."""

    name: str
    height: int
    width: int
    points: tuple[tuple[float, float], ...]


def crop(name: str) -> Crop:
    """Return the crop of this name; `names()` lists them. The height may follow: arcface_112 is arcface.

    Another height gives the same part of the face with other pixels: arcface_64 is arcface on 64x64. A plus adds
    pixels on every side: sphereface+2 is sphereface on 116x100.

    ValueError: if the name is unknown, or the width would be no whole number.
    """
    if found := re.fullmatch(r"(.+)\+(\d{1,3})", name):
        return widened(crop(found[1]), int(found[2]))
    for known in _CROPS.values():
        if name in (known.name, f"{known.name}_{known.height}"):
            return known
    found = re.fullmatch(r"(.+)_(\d{1,4})", name)
    if found and found[1] in _CROPS and int(found[2]):
        return _of_height(_CROPS[found[1]], int(found[2]))
    raise ValueError(f"no crop is called {name!r}; known crops: {', '.join(names())}")


def names() -> list[str]:
    """Names of all crops, sorted."""
    return sorted(_CROPS)


def widened(crop: Crop, by_px: int) -> Crop:
    """The crop with so many pixels more on every side."""
    if by_px == 0:
        return crop
    points = tuple((x + by_px, y + by_px) for x, y in crop.points)
    return Crop(f"{crop.name}+{by_px}", crop.height + 2 * by_px, crop.width + 2 * by_px, points)


def _of_height(crop: Crop, height: int) -> Crop:
    width, rest = divmod(height * crop.width, crop.height)
    if rest:
        raise ValueError(
            f"crop {crop.name} is {crop.height}x{crop.width}, which has no whole width at {height} px of height"
        )
    points = _enlarged(np.array(crop.points), height / crop.height)
    return Crop(f"{crop.name}_{height}", height, width, _moved(points, 1.0, 0.0, 0.0))


def as_convention(name: str) -> Convention:
    """The convention of this name.

    ValueError: if the name is unknown.
    """
    if name not in get_args(Convention):
        raise ValueError(f"convention is {name!r}; expected one of {', '.join(get_args(Convention))}")
    return cast(Convention, name)


def align(
    picture: NDArray[np.uint8],
    points: ArrayLike,
    crop: Crop,
    convention: Convention = "umeyama",
    interpolation: Interpolation = "cubic",
    outside: Outside = "black",
) -> NDArray[np.uint8]:
    """Cut the face out of a picture so that its five points lie where the crop wants them.

    picture: (H, W, 3) uint8 RGB. points: (5, 2) pixels of the picture. Returns (crop.height, crop.width, 3) uint8
    RGB; `outside` says what it shows where it reaches beyond the picture.
    ValueError: if the points cannot be fitted (see `similarity`) or an option is unknown.
    """
    matrix = similarity(points, crop.points, convention)
    if matrix.shape != (2, 3):
        raise ValueError(f"align takes the (5, 2) points of one face, got shape {np.shape(points)}")
    return cut(picture, matrix, crop, interpolation, outside)


def cut(
    picture: NDArray[np.uint8],
    matrix: NDArray[np.float64],
    crop: Crop,
    interpolation: Interpolation = "cubic",
    outside: Outside = "black",
) -> NDArray[np.uint8]:
    """As `align`, with the similarity (2, 3) from the picture to the crop that `similarity` found.

    ValueError: if an option is unknown.
    """
    for name, value, known in (("interpolation", interpolation, _CV2_FLAGS), ("outside", outside, _CV2_BORDERS)):
        if value not in known:
            raise ValueError(f"{name} is {value!r}; expected one of {', '.join(known)}")
    if outside == "mirror" and min(picture.shape[:2]) < 2:
        outside = "black"  # OpenCV never returns from mirroring a single line of pixels, and there is nothing in it
    size, flags, border = (crop.width, crop.height), _CV2_FLAGS[interpolation], _CV2_BORDERS[outside]
    face = cv2.warpAffine(picture, matrix, size, flags=flags, borderMode=border)
    return np.asarray(face, dtype=np.uint8)


def recrop(faces: Tensor, source: Crop, target: Crop) -> Tensor:
    """Move faces from one crop to another, differentiably.

    faces: (B, 3, source.height, source.width) float [0, 1]. Returns (B, 3, target.height, target.width): the same
    tensor when the crops are equal, an exact shift when the crops differ by whole pixels, else linear interpolation
    (not anti-aliased). Zeros where the source does not reach.
    ValueError: if the faces do not have the size of the source crop.
    """
    if faces.shape[-2:] != (source.height, source.width):
        found = f"{faces.shape[-2]}x{faces.shape[-1]}"
        raise ValueError(
            f"faces are {found}, but the crop {source.name!r} is {source.height}x{source.width} (height x width)"
        )
    if (source.height, source.width, source.points) == (target.height, target.width, target.points):
        return faces
    matrix = between(source, target)
    shift = matrix[:, 2].round()
    if np.abs(matrix - np.column_stack([np.eye(2), shift])).max() < _WHOLE_PIXEL_TOLERANCE_PX:
        left, top = int(shift[0]), int(shift[1])
        right, bottom = target.width - source.width - left, target.height - source.height - top
        return functional.pad(faces, (left, right, top, bottom))
    grid = functional.affine_grid(
        _sampling_theta(matrix, source, target).to(faces).expand(len(faces), 2, 3),
        [len(faces), faces.shape[1], target.height, target.width],
        align_corners=False,
    )
    return functional.grid_sample(faces, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def moved(points: ArrayLike, matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """Points (..., 2) where a similarity (2, 3) takes them."""
    return np.asarray(np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2], np.float32)


def between(source: Crop, target: Crop) -> NDArray[np.float64]:
    """The (2, 3) similarity that maps pixels of one crop to pixels of another (least squares over the five points)."""
    return similarity(source.points, target.points)


def similarity(points: ArrayLike, reference: ArrayLike, convention: Convention = "umeyama") -> NDArray[np.float64]:
    """The similarity (rotation, one scale, translation) that takes points of pictures to the reference points.

    points: (..., N, 2) pixels, N >= 2. reference: (N, 2), or one set for each set of points. Returns (..., 2, 3).

    "umeyama" (ArcFace, scikit-image) measures the error in the crop and never mirrors. "cp2tform" (MATLAB's
    'similarity', as SphereFace and SR_LRFR use it) measures it in the picture, inverts the result, and also tries a
    mirrored fit, which it returns where that leaves the smaller error in the crop. So a mirrored face, with its points
    still in the person's own order, is turned back by "cp2tform" (the matrix has a negative determinant); "umeyama"
    gives it a shrunken and useless crop: find such rows with `is_mirrored` first.

    ValueError: if the shapes do not fit, a coordinate is not finite, all points of a set coincide, or no similarity
    of positive scale fits.
    """
    as_convention(convention)
    source, destination = _as_complex(points, "points"), _as_complex(reference, "reference")
    if source.shape[-1] != destination.shape[-1]:
        raise ValueError(f"{source.shape[-1]} points cannot be fitted to {destination.shape[-1]} reference points")
    source_mean, destination_mean = source.mean(-1, keepdims=True), destination.mean(-1, keepdims=True)
    source, destination = source - source_mean, destination - destination_mean
    if convention == "umeyama":
        linear = _matrix(_ratio(source, destination, "points"))
    else:
        linear = _cp2tform(source, destination)
    _refuse_rows(
        ~np.isfinite(linear).all((-2, -1)) | (np.abs(np.linalg.det(linear)) < _SMALLEST_AREA_RATIO),
        "no similarity fits the points; are they in the right order?",
    )
    means = np.stack([source_mean.real, source_mean.imag], -2)  # (..., 2, 1)
    shift = np.stack([destination_mean.real, destination_mean.imag], -2) - linear @ means
    return np.concatenate([linear, shift], -1)


def is_mirrored(points: ArrayLike) -> NDArray[np.bool_]:
    """Whether five points run the wrong way round, as in a mirrored picture or a list that swaps left and right.

    points: (..., 5, 2) pixels. Returns (...) bool. Holds for a face at any roll; in a full profile, where the eyes
    almost coincide, it says little. False where a coordinate is NaN.
    """
    right_eye, left_eye, _, mouth_right, mouth_left = np.moveaxis(np.asarray(points, np.float64), -2, 0)
    across = left_eye - right_eye
    down = (mouth_right + mouth_left - right_eye - left_eye) / 2
    return np.asarray(across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0] < 0)


def five_points(points68: ArrayLike) -> NDArray[np.float64]:
    """68 points in the iBUG order -> the five points: (..., 68, 2) -> (..., 5, 2).

    The eyes are the means of their six points, the nose is its tip, the mouth its outer corners.
    """
    points = np.asarray(points68, np.float64)
    if points.shape[-2:] != (68, 2):
        raise ValueError(f"expected (..., 68, 2) landmarks, got shape {points.shape}")
    eyes = [points[..., 36:42, :].mean(-2), points[..., 42:48, :].mean(-2)]
    return np.stack([*eyes, points[..., 30, :], points[..., 48, :], points[..., 54, :]], -2)


def record(
    crop: Crop, convention: Convention = "umeyama", interpolation: Interpolation = "cubic"
) -> dict[str, str | int | list[list[float]]]:
    """How faces were aligned, ready for JSON, to be kept beside them."""
    entry = asdict(crop) | {"points": [list(point) for point in crop.points]}
    return entry | {"convention": convention, "interpolation": interpolation}


_WHOLE_PIXEL_TOLERANCE_PX = 1e-6
_SMALLEST_AREA_RATIO = 1e-12


def _as_complex(points: ArrayLike, what: str) -> NDArray[np.complex128]:
    """(..., N, 2) -> (..., N) complex x + iy, in which a similarity is one multiplication."""
    array = np.asarray(points, np.float64)
    if array.ndim < 2 or array.shape[-1] != 2 or array.shape[-2] < 2:
        raise ValueError(f"{what} have shape {array.shape}; expected (..., number of points, 2)")
    _refuse_rows(~np.isfinite(array).all((-2, -1)), f"{what} are not finite: the face has no landmarks")
    return np.asarray(array[..., 0] + 1j * array[..., 1])


def _refuse_rows(bad: NDArray[np.bool_] | np.bool_, message: str) -> None:
    if bad.any():
        where = "" if bad.ndim == 0 else f" (at index {tuple(int(i) for i in np.argwhere(bad)[0])})"
        raise ValueError(message + where)


def _ratio(source: NDArray[np.complex128], destination: NDArray[np.complex128], what: str) -> NDArray[np.complex128]:
    """The complex z that makes |z source - destination|^2 smallest, for centred sets of points."""
    spread = (np.abs(source) ** 2).sum(-1)
    _refuse_rows(spread == 0, f"all {what} of a face coincide")
    return np.asarray((np.conj(source) * destination).sum(-1) / spread)


def _cp2tform(source: NDArray[np.complex128], destination: NDArray[np.complex128]) -> NDArray[np.float64]:
    """The better of the plain and the mirrored fit, each from the reference to the picture and inverted."""
    _refuse_rows((np.abs(source) ** 2).sum(-1) == 0, "all points of a face coincide")
    mirrored_destination = -np.conj(destination)
    with np.errstate(divide="ignore", invalid="ignore"):  # a fit of scale zero loses below: its error is not finite
        plain = 1 / _ratio(destination, source, "reference points")
        mirrored = 1 / _ratio(mirrored_destination, source, "reference points")
        plain_error = _squared_error(plain, source, destination)
        mirrored_error = _squared_error(mirrored, source, mirrored_destination)
    use_mirrored = np.isfinite(mirrored_error) & ~(plain_error <= mirrored_error)
    flip = np.where(use_mirrored, -1.0, 1.0)
    matrix = _matrix(np.where(use_mirrored, mirrored, plain))
    matrix[..., 0, :] *= flip[..., None]
    return matrix


def _squared_error(
    ratio: NDArray[np.complex128], source: NDArray[np.complex128], destination: NDArray[np.complex128]
) -> NDArray[np.float64]:
    return np.asarray((np.abs(ratio[..., None] * source - destination) ** 2).sum(-1))


def _matrix(ratio: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Complex factors (...) -> rotation times scale (..., 2, 2)."""
    cos, sin = ratio.real, ratio.imag
    return np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)


def _sampling_theta(matrix: NDArray[np.float64], source: Crop, target: Crop) -> Tensor:
    """affine_grid's theta (2, 3): target to source in coordinates where -1 and 1 are the outer edges of the pixels."""
    to_target = np.vstack([matrix, [0, 0, 1]])
    theta = _to_unit(source) @ np.linalg.inv(to_target) @ np.linalg.inv(_to_unit(target))
    return torch.from_numpy(theta[:2])


def _to_unit(crop: Crop) -> NDArray[np.float64]:
    width, height = crop.width, crop.height
    return np.array([[2 / width, 0, 1 / width - 1], [0, 2 / height, 1 / height - 1], [0, 0, 1]])


def _moved(points: NDArray[np.float64], scale: float, x_px: float, y_px: float) -> tuple[tuple[float, float], ...]:
    return tuple((float(scale * x + x_px), float(scale * y + y_px)) for x, y in points)


# SphereFace, MobileFaceNet, SR_LRFR.
_SPHEREFACE = np.array(
    [[30.2946, 51.6963], [65.5318, 51.5014], [48.0252, 71.7366], [33.5493, 92.3655], [62.7299, 92.2041]]
)
_SPHEREFACE_TO_ARCFACE_PX = 8.0
_ARCFACE = _SPHEREFACE + [_SPHEREFACE_TO_ARCFACE_PX, 0.0]


def _upright_unit() -> NDArray[np.float64]:
    """The SphereFace points with level eyes, their centre at (0, 0) and the mouth's centre one unit below."""
    eyes = _SPHEREFACE[:2].mean(0)
    across = complex(*(_SPHEREFACE[1] - _SPHEREFACE[0]))
    turned = ((_SPHEREFACE - eyes) @ [1, 1j]) * np.conj(across) / abs(across)
    turned = turned / turned[3:].imag.mean()
    return np.stack([turned.real, turned.imag], -1)


# Light CNN fixes two numbers: the row of the eyes' centre and the rows from there to the mouth's centre. The rest
# (middle column, proportions of SphereFace's points turned until the eyes are level) is ours.
_LIGHT_CNN_EYES_Y, _LIGHT_CNN_EYES_TO_MOUTH_Y = 40.0, 48.0
_LIGHT_CNN = np.array(_moved(_upright_unit(), _LIGHT_CNN_EYES_TO_MOUTH_Y, 63.5, _LIGHT_CNN_EYES_Y))

# TP-GAN's mean landmarks give the eyes, the nose and the mouth's centre; the mouth's width is ours: it has the same
# ratio to the distance of the eyes as in SphereFace's points.
_TP_GAN_MOUTH_HALF_WIDTH = (86 - 44) / 2 * float(np.ptp(_SPHEREFACE[3:, 0]) / np.ptp(_SPHEREFACE[:2, 0]))
_TP_GAN = np.array(
    [[44, 41], [86, 41], [64, 65], [65 - _TP_GAN_MOUTH_HALF_WIDTH, 89], [65 + _TP_GAN_MOUTH_HALF_WIDTH, 89]]
)


def _enlarged(points: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """The points after the whole picture was resized by this factor (pixel centres at whole numbers)."""
    return (points + 0.5) * scale - 0.5


# FFE-CycleGAN and PCFH publish a size but no coordinates. ffe: ArcFace's picture enlarged to 256. pcfh: the 144x144
# picture that Light CNN, its recogniser, is trained from (8 pixels more on each side); pcfh_256: that, enlarged.
_PCFH = _LIGHT_CNN + 8.0

# LFW's deep-funneled pictures as they are given out: the median of the points that YuNet found in 4,992 of them. Single
# faces lie 3 to 7 px (standard deviation) beside it.
_LFW_DEEPFUNNELED = np.array([[103.77, 113.06], [146.63, 112.5], [125.63, 137.5], [107.42, 157.43], [144.88, 156.82]])

_CROPS = {
    name: Crop(name, height, width, _moved(np.asarray(points), 1.0, 0.0, 0.0))
    for name, height, width, points in [
        ("sphereface", 112, 96, _SPHEREFACE),
        ("arcface", 112, 112, _ARCFACE),
        ("lfw_deepfunneled", 250, 250, _LFW_DEEPFUNNELED),
        ("light_cnn", 128, 128, _LIGHT_CNN),
        ("tp_gan", 128, 128, _TP_GAN),
        ("ffe", 256, 256, _enlarged(_ARCFACE, 256 / 112)),
        ("pcfh", 144, 144, _PCFH),
        ("pcfh_256", 256, 256, _enlarged(_PCFH, 256 / 144)),
    ]
}
