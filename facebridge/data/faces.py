"""Where faces to train on come from: a face list, drawn people, or two sources joined."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from facebridge import crops, images, methods, parts
from facebridge.crops import Convention, Crop, Outside
from facebridge.data import opening, parsing, reading
from facebridge.data.face_list import FaceList
from facebridge.data.list_files import NUMBERS, OPTIONAL_TEXT, STRINGS, strings
from facebridge.data.samplers import Labels, Rows
from facebridge.data.samplers.settings import Side
from facebridge.data.texts import numbered
from facebridge.recipe import ListedRows, Recipe, ShardData, SyntheticData, sides


class Faces(Protocol):
    """Aligned faces by number."""

    def __len__(self) -> int: ...

    def identity(self, index: int) -> int: ...

    def picture(self, index: int) -> NDArray[np.uint8]:
        """uint8 RGB (crop.height, crop.width, 3). BadPicture: if it cannot be used."""
        ...


@runtime_checkable
class PlacedFaces(Faces, Protocol):
    """Aligned faces that say where their landmarks lie."""

    def points(self, index: int) -> NDArray[np.float32]:
        """68 landmarks (68, 2) in pixels of `picture(index)`. BadPicture: if they are not known."""
        ...


@runtime_checkable
class FivePointFaces(Faces, Protocol):
    """Aligned faces that say where their five points lie."""

    def points5(self, index: int) -> NDArray[np.float32]:
        """Five points (5, 2) in pixels of `picture(index)`. BadPicture: if they are not known."""
        ...


@runtime_checkable
class PosedFaces(Faces, Protocol):
    """Aligned faces that say how far each head is turned to a side."""

    def yaw_deg(self, index: int) -> float:
        """Degrees, positive where the nose points to the right of the picture. BadPicture: if it is not known."""
        ...


@runtime_checkable
class ParsedFaces(Faces, Protocol):
    """Aligned faces that say which part of the face each pixel shows."""

    def parsing(self, index: int) -> NDArray[np.uint8]:
        """A `facebridge.parts.Part` for each pixel of `picture(index)`: (H, W). BadPicture: if they are not known."""
        ...


@runtime_checkable
class LabelledFaces(Faces, Labels, Protocol):
    """Aligned faces that can be paired."""

    def in_order_of_names(self) -> Rows:
        """All rows, in an order that does not depend on that of a list's lines."""
        ...


class LocalFaces(Faces, Protocol):
    """Aligned faces that are read much faster in some orders than in others, as those of `ShardedFaces`."""

    def shuffle(self, generator: np.random.Generator) -> Sequence[int]:
        """0 ... N - 1, each once, in an order that the generator alone decides and in which neighbours lie close by.

        Single faces are taken in this order, a new one for each epoch; pairs ask for any row at any time.
        """
        ...


class ListedFaces:
    """Faces of a face list, aligned when they are asked for. Identities are numbered by the order of their names."""

    def __init__(
        self, rows: FaceList, crop: Crop, convention: Convention = "umeyama", outside: Outside = "black"
    ) -> None:
        self.rows = rows
        self.outside = outside
        self.crop = crop
        self.convention = convention
        self._identities = numbered(rows.column("identity"))[1]

    def __len__(self) -> int:
        return len(self.rows)

    def identity(self, index: int) -> int:
        return int(self._identities[index])

    def picture(self, index: int) -> NDArray[np.uint8]:
        return reading.aligned(self.rows, index, self.crop, self.convention, self.outside)

    def points(self, index: int) -> NDArray[np.float32]:
        return reading.aligned_points(self.rows, index, self.crop, self.convention)

    def points5(self, index: int) -> NDArray[np.float32]:
        return reading.aligned_five_points(self.rows, index, self.crop, self.convention)

    def yaw_deg(self, index: int) -> float:
        return reading.yaw_deg(self.rows, index)

    def parsing(self, index: int) -> NDArray[np.uint8]:
        return parsing.aligned_parsing(self.rows, index, self.crop, self.convention, self.outside)

    def identities(self) -> NDArray[np.int64]:
        return self._identities

    def column(self, name: str) -> NDArray[Any]:
        if name in self.rows.column_names or name not in (*OPTIONAL_TEXT, *NUMBERS):
            return self.rows.column(name)
        return _unknown(name, len(self))

    def in_order_of_names(self) -> Rows:
        order = np.arange(len(self))
        for name in ("region", "domain", "path"):  # one picture may hold several faces
            order = order[np.argsort(self.column(name)[order], kind="stable")]
        return order


class DrawnFaces:
    """Embedded people, drawn and aligned when they are asked for, and kept as bytes from then on.

    Rows go by domain, person and shot, with frontal partners by domain, view (as shot, then frontal), person and shot;
    what makes pairs is known without drawing.

    Args:
        data: the people.
        crop: how their faces are aligned.
        domains: the cameras; absent: the data's own.

    Raises:
        ValueError: if a domain is none of `synthetic.DOMAINS`.
    """

    def __init__(self, data: SyntheticData, crop: Crop, domains: Sequence[str] = ()) -> None:
        from facebridge.data import synthetic

        self.data = data
        self.crop = crop
        self.domains = tuple(domains) or (data.domain,)
        for domain in self.domains:
            if domain not in synthetic.DOMAINS:
                raise ValueError(f"people are not drawn in the domain {domain!r}: {', '.join(synthetic.DOMAINS)}")
        self.drawn: dict[int, NDArray[np.uint8]] = {}
        self.placed: dict[int, NDArray[np.float32]] = {}
        self.placed5: dict[int, NDArray[np.float32]] = {}
        self.parsed: dict[int, NDArray[np.uint8]] = {}
        self._keeps_parsing = False

    def __len__(self) -> int:
        return self._num_views * self._num_shots

    def identity(self, index: int) -> int:
        return index % self._num_shots // self.data.shots

    def picture(self, index: int) -> NDArray[np.uint8]:
        if index not in self.drawn:
            self._draw(index)
        return self.drawn[index]

    def points(self, index: int) -> NDArray[np.float32]:
        if index not in self.placed:
            self._draw(index)
        return self.placed[index]

    def points5(self, index: int) -> NDArray[np.float32]:
        if index not in self.placed5:
            self._draw(index)
        return self.placed5[index]

    def yaw_deg(self, index: int) -> float:
        from facebridge.data import synthetic

        view, shot = divmod(index, self._num_shots)
        person, own = divmod(shot, self.data.shots)
        person += self.data.first_identity
        taken = synthetic.shot_parameters(self.data.seed, person, own, self._yaw_ranges[view % len(self._yaw_ranges)])
        return taken.numbers["yaw_deg"]

    def parsing(self, index: int) -> NDArray[np.uint8]:
        if index not in self.parsed:
            self._keeps_parsing = True  # from now on; who never asks is spared a third more memory
            self._draw(index)
        return self.parsed[index]

    def identities(self) -> NDArray[np.int64]:
        return np.arange(len(self)) % self._num_shots // self.data.shots

    def column(self, name: str) -> NDArray[Any]:
        if name == "domain":
            return np.repeat(strings(self.domains), self._num_shots * len(self._yaw_ranges))
        if name == "identity":
            return np.tile(strings(f"{person:06d}" for person, _ in self._shots()), self._num_views)
        if name == "pair":
            return np.tile(strings(f"{person:06d}_{shot:04d}" for person, shot in self._shots()), self._num_views)
        if name == "yaw_deg":
            of_a_domain = range(len(self._yaw_ranges) * self._num_shots)
            return np.tile(np.array([self.yaw_deg(index) for index in of_a_domain], np.float32), len(self.domains))
        return _unknown(name, len(self))

    def in_order_of_names(self) -> Rows:
        return np.arange(len(self))

    @property
    def _num_shots(self) -> int:
        return self.data.identities * self.data.shots

    @property
    def _yaw_ranges(self) -> list[tuple[float, float] | None]:
        """Of each view of a shot: as it is taken, and from the front where that is drawn too."""
        return [self.data.yaw_range, *([_FRONT] if self.data.frontal_partners else [])]

    @property
    def _num_views(self) -> int:
        """How often each shot is drawn: by each camera, as it is taken and from the front."""
        return len(self.domains) * len(self._yaw_ranges)

    def _shots(self) -> list[tuple[int, int]]:
        first = self.data.first_identity
        people = range(first, first + self.data.identities)
        return [(person, shot) for person in people for shot in range(self.data.shots)]

    def _draw(self, index: int) -> None:
        """All shots of the person in the row's view, by all cameras: one call draws them far faster than single ones.

        A yaw range is all that tells a frontal partner from its shot: every other number of it stays.
        """
        from facebridge.data import synthetic

        person, ranges = self.identity(index), self._yaw_ranges
        view = index // self._num_shots % len(ranges)
        shots = synthetic.render(
            self.data.seed,
            [self.data.first_identity + person] * self.data.shots,
            list(range(self.data.shots)),
            size=self.data.size,
            domains=self.domains,
            yaw_range=ranges[view],
            truth=True,
        )
        points = shots.landmarks5.cpu().numpy()
        for number, domain in enumerate(self.domains):
            first = (number * len(ranges) + view) * self._num_shots + person * self.data.shots
            for shot, picture in enumerate(images.to_pictures(shots.faces[domain])):
                matrix = crops.similarity(points[shot], self.crop.points)
                self.drawn[first + shot] = crops.cut(picture, matrix, self.crop)
                self.placed5[first + shot] = crops.moved(points[shot], matrix)
                self.placed[first + shot] = crops.moved(shots.landmarks68[shot].cpu().numpy(), matrix)
                if self._keeps_parsing:
                    self.parsed[first + shot] = parts.cut(shots.parsing[shot].cpu().numpy(), matrix, self.crop)


_FRONT = (0.0, 0.0)


class JoinedFaces:
    """Real faces, then generated ones, under one numbering.

    A generated identity that is named like a real one has its number; the others follow the real ones.

    Args:
        real, generated: the faces.
        counts_generated: whether generated people count among the people shown, as for a method that classifies them.
    """

    def __init__(self, real: LabelledFaces, generated: LabelledFaces, counts_generated: bool = True) -> None:
        self.real = real
        self.generated = generated
        self.counts_generated = counts_generated
        numbers = dict(zip(real.column("identity").tolist(), real.identities().tolist(), strict=True))
        others, inverse = numbered(generated.column("identity"))
        known = [numbers.setdefault(name, len(numbers)) for name in others.tolist()]
        self._identities = np.concatenate([real.identities(), np.array(known, np.int64)[inverse]])

    def __len__(self) -> int:
        return len(self.real) + len(self.generated)

    def identity(self, index: int) -> int:
        return int(self._identities[index])

    def picture(self, index: int) -> NDArray[np.uint8]:
        faces, own = self._of(index)
        return faces.picture(own)

    def points(self, index: int) -> NDArray[np.float32]:
        faces, own = self._of(index)
        if not isinstance(faces, PlacedFaces):
            raise ValueError(f"{type(faces).__name__} do not say where their landmarks lie")
        return faces.points(own)

    def points5(self, index: int) -> NDArray[np.float32]:
        faces, own = self._of(index)
        if not isinstance(faces, FivePointFaces):
            raise ValueError(f"{type(faces).__name__} do not say where their five points lie")
        return faces.points5(own)

    def yaw_deg(self, index: int) -> float:
        faces, own = self._of(index)
        if not isinstance(faces, PosedFaces):
            raise ValueError(f"{type(faces).__name__} do not say how far heads are turned")
        return faces.yaw_deg(own)

    def parsing(self, index: int) -> NDArray[np.uint8]:
        faces, own = self._of(index)
        if not isinstance(faces, ParsedFaces):
            raise ValueError(f"{type(faces).__name__} do not say which parts they show where")
        return faces.parsing(own)

    def identities(self) -> NDArray[np.int64]:
        return self._identities

    def _of(self, index: int) -> tuple[LabelledFaces, int]:
        num_real = len(self.real)
        return (self.real, index) if index < num_real else (self.generated, index - num_real)

    @property
    def num_identities(self) -> int:
        """How many people are shown: the real ones alone, or with the generated ones."""
        counted = self._identities if self.counts_generated else self.real.identities()
        return int(counted.max()) + 1

    def is_generated(self) -> NDArray[np.bool_]:
        """(N,): whether a row is a generated face."""
        return np.arange(len(self)) >= len(self.real)

    def column(self, name: str) -> NDArray[Any]:
        return np.concatenate([self.real.column(name), self.generated.column(name)])

    def in_order_of_names(self) -> Rows:
        return np.concatenate([self.real.in_order_of_names(), len(self.real) + self.generated.in_order_of_names()])


def faces_of(recipe: Recipe) -> Faces:
    """The faces that a recipe trains on: all that a source, a target or a generated face is drawn from.

    Raises:
        ValueError: if a list is missing, or none of its rows is of the split and domain asked for.
    """
    crop = crops.crop(recipe.crop)
    data = recipe.data
    if isinstance(data, ShardData):
        from facebridge.data.shards import ShardedFaces

        return ShardedFaces(data.shards, crop, mix=data.mix, outside=data.outside)
    source, target = sides(data, data.pairing)
    if isinstance(data, SyntheticData):
        domains = [side.domain for side in (target, source) if side.domain is not None]
        real: LabelledFaces = DrawnFaces(data, crop, list(dict.fromkeys(domains)))
    else:
        real = _listed(data, source, target, crop)
    if data.generated is None:
        return real
    source, target = sides(data.generated, data.generated.pairing or data.pairing)
    counts_generated = getattr(methods.load(recipe.method), "classifies_generated", True)
    return JoinedFaces(real, _listed(data.generated, source, target, crop), counts_generated)


def num_identities(faces: Faces) -> int:
    """How many people the faces show: one more than the largest number of an identity.

    Joined faces count the generated people or not, as their method asks for.
    """
    known = getattr(faces, "num_identities", None)  # shards have counted theirs, joined faces know whom to count
    if known is not None:
        return int(known)
    if isinstance(faces, LabelledFaces):
        return int(faces.identities().max()) + 1
    return 1 + max(faces.identity(index) for index in range(len(faces)))


def on_side(faces: LabelledFaces, side: Side) -> NDArray[np.bool_]:
    """(N,): whether a row is of the side's domain and split."""
    chosen = np.ones(len(faces), bool)
    for name, wanted in (("domain", side.domain), ("split", side.split)):
        if wanted is not None:
            chosen &= faces.column(name) == wanted
    return chosen


def _listed(data: ListedRows, source: Side, target: Side, crop: Crop) -> ListedFaces:
    rows = opening.open_faces(data.list, data.root, aligned=data.aligned)
    every = ListedFaces(rows, crop, data.convention, data.outside)
    chosen = np.zeros(len(rows), bool)
    for name, side in (("target", target), ("source", source)):
        found = on_side(every, side)
        if not found.any():
            asked = side.model_dump(exclude_none=True)
            raise ValueError(f"{data.list}: none of its {len(rows):,} rows has {asked}, as asked for the {name}")
        chosen |= found
    return ListedFaces(rows.take(chosen), crop, data.convention, data.outside)


def _unknown(name: str, count: int) -> NDArray[Any]:
    """A column of a face list that says nothing."""
    if name in NUMBERS:
        return np.full(count, np.nan, np.float32)
    if name not in OPTIONAL_TEXT:
        raise ValueError(f"there is no column {name!r}; expected one of {', '.join((*OPTIONAL_TEXT, *NUMBERS))}")
    return np.full(count, "", STRINGS)
