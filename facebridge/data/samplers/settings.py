"""What a recipe says about pairs: the section [data.pairing]. Each kind makes its sampler from labels and rows."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from facebridge.data.samplers.partners import ProfileToFrontal, SamePerson, SameShot
from facebridge.data.samplers.sampler import Labels, Rows, Sampler
from facebridge.data.samplers.several import Fewer, SeveralOfOnePerson
from facebridge.data.samplers.single import SingleFaces
from facebridge.data.samplers.unpaired import Unpaired
from facebridge.method import Frozen


class Side(Frozen):
    """Which rows a side is drawn from."""

    domain: str | None = None
    """Only rows of this domain; absent: data.domain."""
    split: str | None = None
    """Only rows of this split; absent: data.split."""


class NoPairs(Frozen):
    """Single faces: a target without a source."""

    kind: Literal["none"] = "none"

    def sampler(self, labels: Labels, sources: Rows, targets: Rows) -> Sampler:
        return SingleFaces(targets)


class UnpairedSettings(Frozen):
    """Source and target independent of each other."""

    kind: Literal["unpaired"]
    source: Side = Side()
    target: Side = Side()
    mirror_together: bool = False
    """Whether source and target are mirrored together."""

    @model_validator(mode="after")
    def _sides_differ(self) -> "UnpairedSettings":
        if self.source == self.target:
            raise ValueError("source and target are the same rows: give source.domain and target.domain")
        return self

    def sampler(self, labels: Labels, sources: Rows, targets: Rows) -> Sampler:
        return Unpaired(sources, targets, mirror_together=self.mirror_together)


class SamePersonSettings(Frozen):
    """Source and target of one person, any shots."""

    kind: Literal["same_person"]
    source: Side = Side()
    target: Side = Side()
    alike: tuple[str, ...] = ()
    """Columns in which source and target also agree, such as session."""
    mirror_together: bool = False
    """Whether source and target are mirrored together."""

    def sampler(self, labels: Labels, sources: Rows, targets: Rows) -> Sampler:
        alike = [labels.column(name) for name in self.alike]
        return SamePerson(labels.identities(), sources, targets, alike=alike, mirror_together=self.mirror_together)


class SameShotSettings(Frozen):
    """Source and target whose pixels correspond, by the column pair; always mirrored together."""

    kind: Literal["same_shot"]
    source: Side = Side()
    target: Side = Side()

    def sampler(self, labels: Labels, sources: Rows, targets: Rows) -> Sampler:
        return SameShot(labels.identities(), labels.column("pair"), sources, targets)


class ProfileToFrontalSettings(Frozen):
    """Source turned to a side, target of the same person from the front."""

    kind: Literal["profile_to_frontal"]
    source: Side = Side()
    target: Side = Side()
    source_at_least_deg: Annotated[float, Field(gt=0, le=180)] = 15.0
    """A source is turned by at least this much to either side, degrees."""
    target_at_most_deg: Annotated[float, Field(ge=0, le=180)] = 10.0
    """A target is turned by at most this much, degrees."""
    alike: tuple[str, ...] = ()
    """Columns in which source and target also agree, such as session."""
    mirror_together: bool = False
    """Whether source and target are mirrored together."""

    def sampler(self, labels: Labels, sources: Rows, targets: Rows) -> Sampler:
        return ProfileToFrontal(
            labels.identities(),
            labels.column("yaw_deg"),
            labels.column("domain"),
            sources,
            targets,
            source_at_least_deg=self.source_at_least_deg,
            target_at_most_deg=self.target_at_most_deg,
            alike=[labels.column(name) for name in self.alike],
            mirror_together=self.mirror_together,
        )


class SeveralSettings(Frozen):
    """Several pictures of one person as sources, a further one as the target."""

    kind: Literal["several"]
    source: Side = Side()
    target: Side = Side()
    pictures: Annotated[int, Field(ge=2)]
    """Sources of a person."""
    fewer: Fewer = "leave_out"
    """A person with fewer pictures: left out, or with some of them repeated."""

    def sampler(self, labels: Labels, sources: Rows, targets: Rows) -> Sampler:
        return SeveralOfOnePerson(labels.identities(), sources, targets, pictures=self.pictures, fewer=self.fewer)


def _table(value: Any) -> Any:
    """`pairing = "unpaired"` is short for a table that says no more."""
    return {"kind": value} if isinstance(value, str) else value


Pairing = Annotated[
    NoPairs | UnpairedSettings | SamePersonSettings | SameShotSettings | ProfileToFrontalSettings | SeveralSettings,
    Field(discriminator="kind"),
    BeforeValidator(_table),
]
"""How targets get their sources."""
