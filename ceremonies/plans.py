"""Plans: what a ceremony will do, as officers approve it. JSON, strict, frozen when the ceremony is opened."""

from functools import cached_property
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ceremonies.errors import KeyroomError
from ceremonies.orders import KeyPlan
from pki.jcs import JsonMalformed, jcs, parse_json, parse_object

PLAN_LIMIT = 1 << 20
SHOWN_LIMIT = 8 << 20
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")]
ReleaseId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{7,79}\Z")]
Count = Annotated[int, Meta(ge=0, lt=1 << 53)]
Positive = Annotated[int, Meta(ge=1, lt=1 << 31)]
Serial = Annotated[str, Meta(pattern=r"^[A-Z0-9]([A-Z0-9.-]{0,62}[A-Z0-9])?\Z")]
SERIALS_LIMIT = 10_000


class PlanMalformed(KeyroomError):
    """A plan is not one that this kind of ceremony can carry out."""

    code = "plan-malformed"


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Unknown fields are refused."""


class Authority(_Strict, frozen=True, kw_only=True):
    """A CA certificate of the plan: the key's label, profile, common name, generation, site, validity in days."""

    label: Name
    profile: Name
    name: Annotated[str, Meta(min_length=1, max_length=64)]
    generation: Positive = 1
    site: str = ""
    days: Positive


class Threshold(_Strict, frozen=True, kw_only=True):
    """A group of a trust set's role: `threshold` of the keys with these labels, for one class or for all."""

    threshold: Positive
    labels: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=64)]
    class_name: str = ""


class FloorLimits(_Strict, frozen=True, kw_only=True):
    """What a counter update may do for a class and domain."""

    class_name: Name
    domain: Count
    max_step: Positive
    maximum: Positive


class SetPlan(_Strict, frozen=True, kw_only=True):
    """A trust set in terms of key labels: role name (`oem-root`, ...) -> groups; recovery keys by label."""

    roles: dict[str, tuple[Threshold, ...]]
    recovery: Threshold
    limits: tuple[FloorLimits, ...] = ()
    both_slots: bool = True
    max_trial_boots: Positive = 3
    refresh_days: Positive = 365


class Birth(_Strict, frozen=True, kw_only=True):
    """A birth package of a class: fuse words (name, hex), initial counters by domain, SHA-256 of the golden image."""

    class_name: Name
    fuses: tuple[tuple[str, str], ...] = ()
    counters: dict[str, Count] = {}
    golden: Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?\Z")] = ""


class CentrePlan(_Strict, frozen=True, kw_only=True):
    """The centre of a site box: its name for the plant, its identity root (PEM), a trust set of it (base64)."""

    plant: Name
    identity_root: Annotated[str, Meta(max_length=1 << 15)]
    trust_set: Annotated[str, Meta(max_length=1 << 17)]


class GenesisPlan(_Strict, frozen=True, kw_only=True, omit_defaults=True):
    """Everything that exists after genesis. `roster` and `policy` are their documents' JSON. A site box has a `centre`,
    and neither authorities nor trust set nor birth packages of its own.
    """

    roster: dict[str, Any]
    policy: dict[str, Any]
    organization: Annotated[str, Meta(min_length=1, max_length=64)]
    keys: Annotated[tuple[KeyPlan, ...], Meta(min_length=1, max_length=64)]
    authorities: tuple[Authority, ...] = ()
    trust_set: SetPlan | None = None
    births: tuple[Birth, ...] = ()
    centre: CentrePlan | None = None


class RotationPlan(_Strict, frozen=True, kw_only=True):
    """The next planned set: new keys, and the whole set as it shall be; `signers` are the old roots that sign."""

    keys: tuple[KeyPlan, ...]
    trust_set: SetPlan
    signers: Annotated[tuple[Name, ...], Meta(min_length=1)]


class WorkOrder(_Strict, frozen=True, kw_only=True, dict=True, omit_defaults=True):
    """Units that a plant may have certified. `serials` are listed, or `prefix` and a number of `digits` from `first` to
    `last`. Only these lines and stations may ask, where some are named. Times are seconds since 1970.
    """

    id: Name
    profile: Name
    class_name: Name
    plant: Name
    prefix: Annotated[str, Meta(pattern=r"^[A-Z0-9-]{0,24}\Z")] | UnsetType = UNSET
    digits: Annotated[int, Meta(ge=1, le=12)] | UnsetType = UNSET
    first: Count | UnsetType = UNSET
    last: Count | UnsetType = UNSET
    quantity: Positive
    valid_from: Count
    valid_to: Count
    organization: Annotated[str, Meta(min_length=1, max_length=64)]
    lines: Annotated[tuple[Name, ...], Meta(max_length=64)] = ()
    stations: Annotated[tuple[Name, ...], Meta(max_length=256)] = ()
    serials: Annotated[tuple[Serial, ...], Meta(max_length=SERIALS_LIMIT)] = ()
    rework_quantity: Annotated[int, Meta(ge=0, lt=1 << 31)] = 0

    def __post_init__(self) -> None:
        span = (self.prefix, self.digits, self.first, self.last)
        if bool(self.serials) is any(item is not UNSET for item in span):
            raise ValueError(f"work order {self.id}: name a list of serials, or a range, and not both")
        if self.valid_from >= self.valid_to or (not self.serials and not self._range):
            raise ValueError(f"work order {self.id}: an empty range of serials or of time")
        if any(len(set(names)) != len(names) for names in (self.serials, self.lines, self.stations)):
            raise ValueError(f"work order {self.id}: a serial, a line or a station is named twice")

    @cached_property
    def _range(self) -> tuple[str, int, range] | None:
        """Prefix, digits and numbers of the range; None when there is none, or it is empty or not told in full."""
        prefix, digits, first, last = self.prefix, self.digits, self.first, self.last
        if prefix is UNSET or digits is UNSET or first is UNSET or last is UNSET:
            return None
        return (prefix, digits, range(first, last + 1)) if first <= last < 10**digits else None

    @cached_property
    def _listed(self) -> frozenset[str]:
        return frozenset(self.serials)

    @property
    def ends(self) -> tuple[str, str]:
        """The first and the last serial; between them, in the order of their letters, lie all others."""
        if self._range is None:
            return min(self.serials), max(self.serials)
        prefix, digits, numbers = self._range
        return f"{prefix}{numbers[0]:0{digits}}", f"{prefix}{numbers[-1]:0{digits}}"

    def covers(self, serial: str) -> bool:
        """Whether the order names this serial."""
        if self._range is None:
            return serial in self._listed
        prefix, digits, numbers = self._range
        number = serial.removeprefix(prefix)
        fits = serial.startswith(prefix) and len(number) == digits and number.isascii() and number.isdigit()
        return fits and int(number) in numbers


class ClosePlan(_Strict, frozen=True, kw_only=True):
    """The end of a work order. What was never confirmed is revoked, but for the `excused` serials."""

    work_order: Name
    excused: Annotated[tuple[Serial, ...], Meta(max_length=SERIALS_LIMIT)] = ()
    reason: Annotated[str, Meta(min_length=1, max_length=256)]


class CounterPlan(_Strict, frozen=True, kw_only=True):
    """A floor raise: domain, from at most, to, confirmed slots that satisfy it, soak in seconds."""

    class_name: Name
    domain: Count
    floor_from: Count
    floor_to: Positive
    confirmed: Positive
    soak: Count


class TransitionPlan(_Strict, frozen=True, kw_only=True):
    """A transition release: the bridging image signed by old and new key, from one set to the newest."""

    release: Name
    start: Count


class Waiver(_Strict, frozen=True, kw_only=True):
    """A device that a gate need not wait for until a time (seconds since 1970), and why."""

    serial: Name
    reason: Annotated[str, Meta(min_length=1, max_length=256)]
    until: Count


class DestroyPlan(_Strict, frozen=True, kw_only=True):
    """Keys to destroy, by label. They are gone for good; their signatures stay. `waived`: devices left behind."""

    labels: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=64)]
    reason: Annotated[str, Meta(min_length=1, max_length=256)]
    waived: Annotated[tuple[Waiver, ...], Meta(max_length=1000)] = ()


class ResumePlan(_Strict, frozen=True, kw_only=True):
    """Suspended keys that become active again."""

    labels: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=64)]
    reason: Annotated[str, Meta(min_length=1, max_length=256)]


class BaselinePlan(_Strict, frozen=True, kw_only=True):
    """The releases, by id, that were tested together: one for each class."""

    releases: Annotated[tuple[ReleaseId, ...], Meta(min_length=1, max_length=256)]


class ImportPlan(_Strict, frozen=True, kw_only=True):
    """A CSV file of statements on devices, uploaded before, by its SHA-256."""

    file: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    reason: Annotated[str, Meta(min_length=1, max_length=256)]


class LogKeyPlan(_Strict, frozen=True, kw_only=True):
    """A new key of the journal on this token; from its activation on it signs beside the present one."""

    label: Name
    token: Name
    reason: Annotated[str, Meta(min_length=1, max_length=256)]


class LogKeyEndPlan(_Strict, frozen=True, kw_only=True):
    """The end of the overlap: this key of the journal signs no more."""

    label: Name
    reason: Annotated[str, Meta(min_length=1, max_length=256)]


def read_plan(data: bytes, kind: type[msgspec.Struct]) -> Any:
    """Parse the JSON of a plan. Raises PlanMalformed."""
    try:
        return msgspec.convert(parse_json(data, PLAN_LIMIT), kind)
    except (JsonMalformed, msgspec.ValidationError) as error:
        raise PlanMalformed(
            f"plan: {error}", hint="see docs/ceremonies.md for the fields of this kind of plan"
        ) from error


def write_plan(plan: msgspec.Struct) -> dict[str, Any]:
    """The JSON value of a plan."""
    value: dict[str, Any] = msgspec.to_builtins(plan)
    jcs(value)
    return value


def read_shown(data: bytes) -> dict[str, Any]:
    """Parse what a step shows, or a recipe: JSON objects that the keyroom wrote itself. Raises PlanMalformed."""
    try:
        return parse_object(data, SHOWN_LIMIT)
    except JsonMalformed as error:
        raise PlanMalformed(f"stored plan: {error}", hint="restore the database") from error
