"""Degradations: what a small picture of a face lost beside pixels - sharpness, clean values, what JPEG throws away.

Enlarging methods are mostly judged on faces reduced by bicubic alone. Pictures taken or kept small are also blurred by
lens and motion, noisy and compressed; here that is done to sharp faces, in this order: blur, reduction, noise, rounding
to 8 bits, JPEG.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from math import ceil, isfinite

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facebridge import noise
from facebridge.hallucination import LEVELS
from facebridge.images import resize, to_faces, to_pictures

NOISE_SEED = 0
"""Of a degradation's noise, which the number of the face decides beside it."""
BLUR_REACH = 4.0
"""Standard deviations to which a blur reaches, as OpenCV's does."""


@dataclass(frozen=True)
class Damage:
    """What is done to a face beside the reduction; nothing as it stands.

    ValueError: if a number is outside its range.
    """

    antialias: bool = False
    """Whether the reduction takes all pixels in (as Pillow's bicubic), or samples a few (as cv2's does)."""
    blur_px: float = 0.0
    """Standard deviation of a Gaussian, in pixels of the small picture; it comes before the reduction."""
    noise: float = 0.0
    """Standard deviation of normal noise in each colour of each pixel of the small picture, in levels of 0 to 255."""
    jpeg_quality: int | None = None
    """1 to 100, with OpenCV's chroma subsampling; None: not compressed."""

    def __post_init__(self) -> None:
        for word, value in (("blur", self.blur_px), ("noise", self.noise)):
            if not (isfinite(value) and value >= 0):
                raise ValueError(f"{word} is {value}; expected 0 or more")
        if self.jpeg_quality is not None and not 1 <= self.jpeg_quality <= 100:
            raise ValueError(f"jpeg is {self.jpeg_quality}; expected a quality of 1 to 100")

    @classmethod
    def parse(cls, text: str) -> "Damage":
        """Read "blur=1,noise=5,jpeg=30", any of the three, and "antialias"; the spelling of `name` will do too.

        ValueError: if there is another word, one stands twice, or a number cannot be read.
        """
        words = text.replace(",", " ").replace("=", " ").split()
        found: dict[str, str] = {}
        while words:
            word = words.pop(0)
            if word not in ("antialias", *_WITH_NUMBER) or word in found:
                known = ", ".join([*(f"{name}=NUMBER" for name in _WITH_NUMBER), "antialias"])
                raise ValueError(f"cannot read the degradation {text!r} at {word!r}: expected {known}, each once")
            found[word] = "" if word == "antialias" else words.pop(0) if words else ""
        try:
            return cls(
                antialias="antialias" in found,
                blur_px=float(found.get("blur", "0")),
                noise=float(found.get("noise", "0")),
                jpeg_quality=int(found["jpeg"]) if "jpeg" in found else None,
            )
        except ValueError as error:
            raise ValueError(f"cannot read the degradation {text!r}: {error}") from error

    @property
    def name(self) -> str:
        """Such as "blur 1 noise 5 jpeg 30"; empty for none."""
        words = ["antialias"] if self.antialias else []
        words += [f"blur {_plain(self.blur_px)}"] if self.blur_px else []
        words += [f"noise {_plain(self.noise)}"] if self.noise else []
        words += [f"jpeg {self.jpeg_quality}"] if self.jpeg_quality is not None else []
        return " ".join(words)


NONE = Damage()
"""Reduced as SR_LRFR's probes are, and nothing else."""


@dataclass(frozen=True)
class Degradation:
    """To what a sharp face is reduced, and its damage. ValueError: if a side is no pixel."""

    height: int
    width: int
    damage: Damage = NONE

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"a face of {self.height}x{self.width} has no pixel")

    @classmethod
    def parse(cls, text: str) -> "Degradation":
        """Read "7x6", "16" (16x16), "14x12:blur=1,noise=5,jpeg=30", "14x12:antialias", or a `name`.

        ValueError: if the size cannot be read, or as `Damage.parse`.
        """
        size, _, rest = text.strip().replace(":", " ", 1).partition(" ")
        height, cross, width = size.partition("x")
        if not (_is_count(height) and (_is_count(width) or not cross)):
            raise ValueError(f"cannot read the size {size!r}: write HEIGHTxWIDTH, such as 14x12, or 16 for 16x16")
        return cls(int(height), int(width or height), Damage.parse(rest))

    @property
    def name(self) -> str:
        """Such as "14x12" or "14x12 blur 1 noise 5 jpeg 30"."""
        return f"{self.height}x{self.width} {self.damage.name}".rstrip()

    def apply(self, faces: Tensor, numbers: Sequence[int]) -> Tensor:
        """What small picture files would hold: (B, 3, H, W) -> (B, 3, height, width), both in [0, 1], in 8-bit steps.

        Without damage it is `hallucination.reduce`; a face of that size without damage comes back as it is.
        numbers: one for each face, which decides its noise: 0 to 2^32.
        """
        if self.damage == NONE and faces.shape[-2:] == (self.height, self.width):
            return faces
        size = (len(faces), 3, self.height, self.width)
        grain = np.zeros(size, np.float32)
        if self.damage.noise:
            each = 3 * self.height * self.width
            drawn = [noise.standard_normal(NOISE_SEED, number, 1, each) for number in numbers]
            grain = np.concatenate(drawn).reshape(size)
        return _degraded(faces, self.height, self.width, [self.damage] * len(faces), torch.from_numpy(grain))


@dataclass(frozen=True)
class DegradationRange:
    """How damage is drawn for each face of a batch, for training. ValueError: if a range or probability is none."""

    blur_probability: float = 0.5
    blur_px: tuple[float, float] = (0.2, 1.2)
    """Standard deviation, in pixels of the small picture; uniform."""
    noise_probability: float = 0.5
    noise: tuple[float, float] = (1.0, 10.0)
    """Standard deviation, in levels of 0 to 255; uniform."""
    jpeg_probability: float = 0.5
    jpeg_quality: tuple[int, int] = (25, 95)
    """Uniform, both ends included."""
    antialias_probability: float = 0.5

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)):
            value = getattr(self, name)
            if isinstance(value, tuple) and not value[0] <= value[1]:
                raise ValueError(f"{name} is {value}; expected the lower end first")
            if not isinstance(value, tuple) and not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}; expected 0 to 1")
        for low_or_high in (0, 1):
            Damage(False, self.blur_px[low_or_high], self.noise[low_or_high], self.jpeg_quality[low_or_high])

    def draw(self, random: np.random.Generator) -> Damage:
        """The damage of one face; always as many draws."""
        blurred, noisy, compressed, antialias = random.random(4) < (
            self.blur_probability,
            self.noise_probability,
            self.jpeg_probability,
            self.antialias_probability,
        )
        blur_px, deviation = random.uniform(*self.blur_px), random.uniform(*self.noise)
        quality = int(random.integers(self.jpeg_quality[0], self.jpeg_quality[1] + 1))
        return Damage(
            antialias=bool(antialias),
            blur_px=blur_px if blurred else 0.0,
            noise=deviation if noisy else 0.0,
            jpeg_quality=quality if compressed else None,
        )

    def degrade(self, faces: Tensor, height: int, width: int, seed: int) -> Tensor:
        """Faces (B, 3, H, W) reduced, each damaged in its own way: (B, 3, height, width), both in [0, 1], 8-bit steps.

        The same seed gives the same faces.
        """
        random = np.random.default_rng(seed)
        damages = [self.draw(random) for _ in range(len(faces))]
        grain = random.standard_normal((len(faces), 3, height, width), np.float32)
        return _degraded(faces, height, width, damages, torch.from_numpy(grain))


_WITH_NUMBER = ("blur", "noise", "jpeg")


def _plain(number: float) -> str:
    """As short as it can be read back."""
    return repr(number).removesuffix(".0")


def _is_count(word: str) -> bool:
    return word.isascii() and word.isdecimal() and 0 < len(word) < 6 and int(word) > 0


def _degraded(faces: Tensor, height: int, width: int, damages: Sequence[Damage], grain: Tensor) -> Tensor:
    """grain: (B, 3, height, width), noise of standard deviation 1."""
    small = _reduced(faces, height, width, damages)
    if any(damage.noise for damage in damages):
        deviations = faces.new_tensor([damage.noise / LEVELS for damage in damages])
        small = small + deviations.view(-1, 1, 1, 1) * grain.to(small)
    small = (small.clamp(0, 1) * LEVELS).round() / LEVELS
    compressed = [row for row, damage in enumerate(damages) if damage.jpeg_quality is not None]
    if compressed:
        pictures = to_pictures(small[compressed])
        qualities = [damages[row].jpeg_quality or 0 for row in compressed]
        files = [_through_jpeg(picture, quality) for picture, quality in zip(pictures, qualities, strict=True)]
        small[compressed] = to_faces(np.stack(files)).to(small)
    return small


def _reduced(faces: Tensor, height: int, width: int, damages: Sequence[Damage]) -> Tensor:
    """Blurred and reduced, neither clamped nor rounded; faces that are treated alike go together."""
    small = faces.new_empty(len(faces), 3, height, width)
    kinds = [(damage.antialias, damage.blur_px > 0) for damage in damages]
    for antialias, blurred in dict.fromkeys(kinds):
        rows = [row for row, kind in enumerate(kinds) if kind == (antialias, blurred)]
        if not blurred:
            small[rows] = resize(faces[rows], height, width, antialias=antialias)
            continue
        blur_px = faces.new_tensor([damages[row].blur_px for row in rows])
        down, across = (
            torch.from_numpy(_reduction(large, some, antialias)).to(faces) @ _blur(blur_px * (large / some), large)
            for large, some in ((faces.shape[-2], height), (faces.shape[-1], width))
        )  # (b, height, H), (b, width, W): both steps are linear, and go down and across apart
        small[rows] = down[:, None] @ faces[rows] @ across[:, None].mT
    return small


def _blur(sigmas: Tensor, length: int) -> Tensor:
    """(b,) standard deviations in px -> (b, length, length): rows that blur a line whose ends go on for ever."""
    reach = ceil(BLUR_REACH * float(sigmas.max()))
    offsets = torch.arange(-reach, reach + 1, device=sigmas.device)
    weights = torch.exp(-((offsets / sigmas[:, None]) ** 2) / 2) * (offsets.abs() <= BLUR_REACH * sigmas[:, None])
    weights = weights / weights.sum(1, keepdim=True)
    places = torch.arange(length, device=sigmas.device)
    columns = (places[:, None] + offsets).clamp(0, length - 1).expand(len(sigmas), -1, -1)
    rows = sigmas.new_zeros(len(sigmas), length, length)
    return rows.scatter_add(2, columns, weights[:, None].expand_as(columns))


@lru_cache(maxsize=64)
def _reduction(large: int, small: int, antialias: bool) -> NDArray[np.float32]:
    """The (small, large) matrix that `resize` multiplies a line of pixels with."""
    return np.asarray(resize(torch.eye(large)[None, None], small, large, antialias=antialias)[0, 0].numpy())


def _through_jpeg(picture: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    done, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done, "OpenCV writes JPEG"
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None, "OpenCV reads what it wrote"
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)
