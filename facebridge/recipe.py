"""TOML -> frozen settings: one recipe is one experiment."""

import json
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from facebridge import crops, methods
from facebridge.crops import Convention, Outside
from facebridge.data.samplers import settings as pairings
from facebridge.data.samplers.settings import NoPairs, Pairing, Side
from facebridge.method import Frozen, HallucinationMethod

Recipes = Path(__file__).with_name("recipes")


CropName = Annotated[str, AfterValidator(lambda name: crops.crop(name).name)]
"""One of `facebridge.crops.names()`."""


class ListedRows(Frozen):
    """Pictures on disk, named by a face list."""

    list: Path
    """CSV, Parquet, text list or folder; see docs/data/face_lists.md."""
    root: Path | None = None
    """Folder that the list's paths are relative to; absent: where an import found them, or the list's own folder."""
    split: str | None = None
    """Only rows of this split; absent: all."""
    domain: str | None = None
    """Only rows of this domain; absent: all."""
    aligned: CropName | None = None
    """How those pictures were aligned of which the list says neither crop nor landmarks; absent: they are refused."""
    convention: Convention = "umeyama"
    """How five points become a similarity."""
    outside: Outside = "black"
    """What a crop shows beyond its picture."""


class GeneratedData(ListedRows):
    """Generated faces that are mixed into the batches, named by a face list of their own."""

    share: Annotated[float, Field(gt=0, lt=1)]
    """Part of each batch that is generated; 0.5: half."""
    pairing: Pairing | None = None
    """How generated targets get their sources; absent: as the real ones."""


class SyntheticData(Frozen):
    """Embedded people, drawn as they are needed."""

    split: ClassVar[None] = None

    kind: Literal["synthetic"]
    seed: int = 0
    """Seed of the people."""
    first_identity: Annotated[int, Field(ge=0)] = 0
    """Number of the first person."""
    identities: Annotated[int, Field(ge=1)] = 200
    """How many people."""
    shots: Annotated[int, Field(ge=1)] = 40
    """Pictures of a person."""
    size: Annotated[int, Field(ge=16)] = 128
    """Height and width of a drawn picture before alignment, px."""
    yaw_range: tuple[float, float] | None = None
    """Degrees from -90 to 90, the lower one first; absent: the default spread, mostly near frontal."""
    frontal_partners: bool = False
    """Whether each shot is drawn a second time with the head turned to the front, at the same moment: the same `pair`,
    yaw 0."""
    domain: str = "vis"
    """Camera of the faces, where the pairing does not say."""
    pairing: Pairing = NoPairs()
    """How targets get their sources."""
    generated: GeneratedData | None = None
    """Generated faces mixed into the batches; absent: none."""

    @field_validator("yaw_range")
    @classmethod
    def _yaws_rise(cls, yaw_range: tuple[float, float] | None) -> tuple[float, float] | None:
        if yaw_range is not None and not -90 <= yaw_range[0] <= yaw_range[1] <= 90:
            raise ValueError(f"yaws go from a lower to a higher one within [-90, 90] degrees, not {list(yaw_range)}")
        return yaw_range

    @model_validator(mode="after")
    def _partners_are_no_same_shot(self) -> "SyntheticData":
        if self.frontal_partners and isinstance(self.pairing, pairings.SameShotSettings):
            raise ValueError(
                "with frontal_partners rows of one `pair` show the head turned differently, so that their pixels do "
                'not correspond: pair by profile_to_frontal with alike = ["pair"], or leave frontal_partners out'
            )
        return self

    @model_validator(mode="after")
    def _has_no_splits(self) -> "SyntheticData":
        for side in sides(self, self.pairing):
            if side.split is not None:
                raise ValueError(f"drawn people have no split {side.split!r}: choose them by first_identity")
        return self


class FaceListData(ListedRows):
    """Pictures on disk, named by a face list."""

    kind: Literal["face_list"]
    pairing: Pairing = NoPairs()
    """How targets get their sources."""
    generated: GeneratedData | None = None
    """Generated faces mixed into the batches; absent: none."""

    @model_validator(mode="after")
    def _has_two_sides(self) -> "FaceListData":
        sides(self, self.pairing)
        return self


class ShardData(Frozen):
    """Single aligned faces in shards; see docs/data/training_pairs.md. Which faces is chosen when shards are made."""

    pairing: ClassVar[NoPairs] = NoPairs()
    generated: ClassVar[None] = None
    domain: ClassVar[None] = None
    split: ClassVar[None] = None

    kind: Literal["shards"]
    shards: str
    """Folder of the shards: a path, or a URL that fsspec reaches."""
    mix: Annotated[int, Field(ge=1)] = 8
    """Shards that are held in memory and mixed with each other."""
    outside: Outside = "black"
    """What a crop shows beyond a face, where it is not the shards' own crop."""


AnyData = Annotated[SyntheticData | FaceListData | ShardData, Field(discriminator="kind")]
"""A section [data]."""


def sides(data: SyntheticData | ListedRows | ShardData, pairing: Pairing) -> tuple[Side, Side]:
    """Which rows are sources and which are targets; what the pairing does not say of a side, the data says.

    Raises:
        ValueError: if both are the same rows, and the pairing is of rows that have nothing to do with each other.
    """
    if isinstance(pairing, NoPairs):
        whole = Side(domain=data.domain, split=data.split)
        return whole, whole
    source, target = (
        Side(domain=side.domain or data.domain, split=side.split or data.split)
        for side in (pairing.source, pairing.target)
    )
    if isinstance(pairing, pairings.UnpairedSettings) and source == target:
        raise ValueError("source and target are the same rows: give data.pairing.source.domain and .target.domain")
    return source, target


class RecogniserSettings(Frozen):
    """The frozen recogniser of the identity losses; for a method that trains one, what training starts from."""

    name: str
    """One of `facebridge.recognisers.names()`, or the folder of a run that trained one."""
    weights: Path | None = None
    """Its weights; absent: random for a bare network, the shipped ones for a shipped one."""
    sizes: dict[str, Any] = {}
    """Sizes of the network, such as height and width; for onnx its settings."""


class TrainingSettings(Frozen):
    """What the loop needs to know."""

    steps: Annotated[int, Field(ge=1)]
    """Training steps in all."""
    batch_size: Annotated[int, Field(ge=1)]
    """Faces in a step, over all processes."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Arithmetic; bf16-mixed is about twice as fast where the processor has it."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """Threads of one process; absent: as many as torch takes."""
    mirror: bool = True
    """Whether a face is mirrored with probability one half."""
    log_every_steps: Annotated[int, Field(ge=1)] = 10
    preview_every_steps: Annotated[int, Field(ge=1)] = 500
    checkpoint_every_steps: Annotated[int, Field(ge=1)] = 500


class ValidationSettings(Frozen):
    """Held-out pairs that are generated and judged while training goes on; see docs/training.md."""

    every_steps: Annotated[int, Field(ge=1)]
    """Steps from one validation to the next; the last step has one too."""
    pairs: Annotated[int, Field(ge=2)] = 128
    """Source-target pairs, the same at every validation."""
    data: AnyData
    """People that training does not see, with a pairing of their own; nothing is taken over from [data]."""
    recogniser: RecogniserSettings
    """Who judges: not the recogniser that is trained through."""

    @model_validator(mode="after")
    def _pairs_show_one_person(self) -> "ValidationSettings":
        pairing = self.data.pairing
        if isinstance(pairing, pairings.UnpairedSettings | pairings.SeveralSettings):
            raise ValueError(
                f"validation compares generated faces with their targets, which pairs of kind {pairing.kind!r} do not "
                "allow: set validation.data.pairing.kind to same_person or same_shot (drawn people have both)"
            )
        if self.data.generated is not None:
            raise ValueError("held-out pairs are not mixed with generated faces: leave validation.data.generated out")
        return self


class Recipe(Frozen):
    """One experiment: method, data, recogniser, training."""

    method: str
    """One of `facebridge.methods.names()`."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Decides the first weights, the order of the data and every draw in training."""
    crop: str = "sphereface"
    """How the faces are aligned: one of `facebridge.crops.names()`."""
    settings: dict[str, Any] = {}
    """Settings of the method: its Config."""
    trained: dict[str, Path] = {}
    """Networks of the method that come trained: name of the network -> folder of the run that trained it."""
    data: AnyData
    recogniser: RecogniserSettings | None = None
    training: TrainingSettings
    validation: ValidationSettings | None = None

    def config(self, origin: str = "recipe") -> Any:
        """The method's settings, checked.

        Raises:
            ValueError: if a setting is unknown or out of range; the message names the known ones.
        """
        return _checked(methods.load(self.method).Config, self.settings, origin, "settings.")


def names() -> list[str]:
    """The recipes that are shipped."""
    return sorted(path.stem for path in Recipes.glob("*.toml"))


def read(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a shipped recipe by its name, or any recipe by its path.

    Args:
        name_or_path: `edsr_identity_small`, or a .toml file.
        overrides: `key=value` with a dotted key and a TOML value, such as `training.steps=100`; a value that is no
            TOML is taken as text.

    Raises:
        ValueError: if the file is missing or no TOML, or if a key is unknown, missing or out of range.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = Recipes / f"{name_or_path}.toml"
    if not path.is_file():
        raise ValueError(f"there is no recipe {str(name_or_path)!r}: give a .toml file or one of {', '.join(names())}")
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a TOML file: {error}") from error
    for override in overrides:
        _override(table, override)
    return resolve(table, str(path))


def resolve(table: Mapping[str, Any], origin: str) -> Recipe:
    """A checked recipe from a plain table, with every default written out.

    Raises:
        ValueError: naming the origin, the key, what was expected and the known keys.
    """
    if table.get("method") not in methods.names():
        raise ValueError(f"{origin}: there is no method {table.get('method')!r}; known: {', '.join(methods.names())}")
    recipe = _checked(Recipe, table, origin)
    assert isinstance(recipe, Recipe)
    crops.crop(recipe.crop)
    settings = recipe.config(origin).model_dump(mode="json")
    if settings.get("identity_weight") and recipe.recogniser is None:
        raise ValueError(
            f"{origin}: an identity loss needs a recogniser: add [recogniser] with a name, or set "
            f"settings.identity_weight=0"
        )
    _check_mirroring(recipe, origin)
    _check_validation(recipe, origin)
    return recipe.model_copy(update={"settings": settings})


def _check_mirroring(recipe: Recipe, origin: str) -> None:
    if not recipe.training.mirror or not methods.load(recipe.method).wants_mirrored_together(recipe.config(origin)):
        return
    sections = {"data.pairing": recipe.data.pairing}
    if recipe.data.generated is not None and recipe.data.generated.pairing is not None:
        sections["data.generated.pairing"] = recipe.data.generated.pairing
    for key, pairing in sections.items():
        if isinstance(pairing, NoPairs | pairings.SameShotSettings):
            continue
        if isinstance(pairing, pairings.SeveralSettings):
            or_together = ""  # of these no setting has them mirrored together
        elif pairing.mirror_together:
            continue
        else:
            or_together = f" or {key}.mirror_together=true"
        raise ValueError(
            f"{origin}: {recipe.method} learns from sources and targets that are mirrored alike, and here each is "
            f"mirrored by chance: set training.mirror=false{or_together}"
        )


def _check_validation(recipe: Recipe, origin: str) -> None:
    if recipe.validation is None:
        return
    if not issubclass(methods.load(recipe.method), HallucinationMethod):
        raise ValueError(
            f"{origin}: {recipe.method} generates no faces that could be validated: leave [validation] out"
        )
    trained, held_out = recipe.data, recipe.validation.data
    if isinstance(trained, SyntheticData) and isinstance(held_out, SyntheticData) and trained.seed == held_out.seed:
        first, second = (range(one.first_identity, one.first_identity + one.identities) for one in (trained, held_out))
        if first.start < second.stop and second.start < first.stop:
            raise ValueError(
                f"{origin}: validation.data draws people that training sees: set validation.data.first_identity="
                f"{first.stop}, or another seed"
            )


def to_toml(recipe: Recipe) -> str:
    """The recipe as TOML that `read` takes back."""
    table = recipe.model_dump(exclude_none=True)
    lines = _pairs({key: value for key, value in table.items() if not isinstance(value, dict)})
    for section, values in table.items():
        if isinstance(values, dict):
            lines += ["", f"[{section}]", *_pairs(values)]
    return "\n".join(lines) + "\n"


def _pairs(table: dict[str, Any]) -> list[str]:
    """TOML has no word for None: what is absent is left out."""
    return [f"{_key(key)} = {_toml(value)}" for key, value in table.items() if value is not None]


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml(key)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(_pairs(value)) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Path):
        value = str(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _override(table: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ValueError(f"cannot read the override {override!r}: write key=value, such as training.steps=100")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *sections, last = key.strip().split(".")
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise ValueError(f"cannot set {key!r}: {section!r} is a value, not a section")
    table[last] = value


def _checked(model: type[Frozen], table: Mapping[str, Any], origin: str, section: str = "") -> Any:
    try:
        return model.model_validate(table)
    except ValidationError as error:
        explained = "; ".join(_explain(model, found, section) for found in error.errors())
        raise ValueError(f"{origin}: {explained}") from error


def _explain(model: type[Frozen], found: Any, section: str) -> str:
    """One error of pydantic in a sentence; an unknown key names the known ones."""
    place, owner = _place(model, found["loc"])
    key = section + ".".join(place)
    if found["type"] == "value_error":
        return f"{key}: {found['ctx']['error']}"
    if found["type"] == "union_tag_not_found":
        return f"{key}: its kind is missing: add {key}.kind (found {found['input']!r})"
    if found["type"] != "extra_forbidden":
        return f"{key}: {found['msg'].lower()}" + (f" (found {found['input']!r})" if found["type"] != "missing" else "")
    return f"unknown key {key!r}; known here: {', '.join(owner.model_fields)}"


def _place(model: type[Frozen], where: Sequence[int | str]) -> tuple[list[str], type[Frozen]]:
    """Where an error is: the keys, without the kinds of sections that pydantic puts between them, and the section."""
    place: list[str] = []
    sections, owner = [model], model
    for part in where:
        owner = sections[0]
        of_kind = [section for section in sections if part in _kinds(section)]
        if len(sections) > 1 and of_kind:
            sections = of_kind
            continue
        place.append(str(part))
        fields = [section.model_fields[part] for section in sections if part in section.model_fields]
        sections = [inner for field in fields for inner in _sections(field.annotation)] or sections
    return place, owner


def _kinds(section: type[Frozen]) -> tuple[Any, ...]:
    kind = section.model_fields.get("kind")
    return get_args(kind.annotation) if kind else ()


def _sections(annotation: Any) -> list[type[Frozen]]:
    """The models in an annotation, however deep."""
    if isinstance(annotation, type) and issubclass(annotation, Frozen):
        return [annotation]
    return [section for part in get_args(annotation) for section in _sections(part)]
