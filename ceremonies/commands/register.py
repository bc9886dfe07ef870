"""The register: what is said of devices after the factory, and what is asked of the fleet."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from ceremonies.commands.command import STAFF, Command, Hex32, Index, Name, RequestId

STATEMENTS_LIMIT = 1000
FLEET_LIMIT = 1000

Site = Annotated[str, Meta(max_length=64, pattern=r"^([a-z0-9]+(-[a-z0-9]+)*)?\Z")]
Place = Annotated[str, Meta(max_length=64, pattern=r"^([A-Za-z0-9][A-Za-z0-9 ._:/-]*)?\Z")]
Reason = Annotated[str, Meta(max_length=256, pattern=r"^[ -~]*\Z")]
Version = Annotated[str, Meta(max_length=64, pattern=r"^([0-9]{1,9}(\.[0-9]{1,9}){0,3})?\Z")]
After = Annotated[str, Meta(max_length=64, pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*)?\Z")]


class _Statement(Struct, frozen=True, forbid_unknown_fields=True, tag_field="act"):
    """Something said of one device."""

    serial: Name


class Ship(_Statement, frozen=True, tag="ship"):
    """It left the plant; `site` where it goes, if that is known: then it is installed there and nowhere else."""

    site: Site = ""


class Install(_Statement, frozen=True, tag="install"):
    """It is in service: `operator` runs the site; rack or cabinet; the operator's own asset id."""

    operator: Name
    site: Annotated[Site, Meta(min_length=1)]
    rack: Place = ""
    asset: Place = ""


class Move(_Statement, frozen=True, tag="move"):
    """It is in service elsewhere, with the same operator."""

    site: Annotated[Site, Meta(min_length=1)]
    rack: Place = ""
    asset: Place = ""


class Replace(_Statement, frozen=True, tag="replace"):
    """Another device of its class, `by`, took its place; both keep the link."""

    by: Name
    reason: Reason = ""


class Return(_Statement, frozen=True, tag="return"):
    """It goes back to the plant."""

    reason: Reason = ""


class Decommission(_Statement, frozen=True, tag="decommission"):
    """It is out of service for good. No statement follows, and no gate waits for it."""

    reason: Annotated[Reason, Meta(min_length=1)]


Statement = Ship | Install | Move | Replace | Return | Decommission


class RecordStatements(Command, frozen=True, tag="record-statements"):
    """Statements on devices, each judged alone, in order, all written in one commit. Idempotent by `id`.

    The token must be bound to the plant (ship, and devices without a site) or to the site; `move` asks for both sites.
    """

    roles = frozenset({"operator"})
    id: RequestId
    items: Annotated[tuple[Statement, ...], Meta(min_length=1, max_length=STATEMENTS_LIMIT)]


class CheckImport(Command, frozen=True, tag="check-import"):
    """What an import of the uploaded CSV file would do: nothing is done, every bad line is named."""

    roles = frozenset({"officer"})
    file: Hex32


class QueryFleet(Command, frozen=True, tag="query-fleet"):
    """Devices that fit every filter, by serial, those after `after`. An operator sees devices of the own sites only.

    set_below: a trust-set index; floor_below of floor_domain; firmware_below; off_baseline; silent_since (seconds since
    1970): what a device did not say in a verified receipt does not count in its favour, so that one that was never
    heard fits them all.
    """

    roles = STAFF
    serial: After = ""
    class_name: After = ""
    site: Site = ""
    rack: Place = ""
    state: Literal["", "issued", "shipped", "installed", "replaced", "returned", "decommissioned"] = ""
    set_below: Index = 0
    floor_domain: Annotated[int, Meta(ge=0, le=4)] = 2
    floor_below: Index = 0
    firmware_below: Version = ""
    off_baseline: bool = False
    silent_since: Index = 0
    after: After = ""
    limit: Annotated[int, Meta(ge=1, le=FLEET_LIMIT)] = FLEET_LIMIT


class ShowLabel(Command, frozen=True, tag="show-label"):
    """What stands on a device's label."""

    roles = STAFF | frozenset({"station"})
    serial: Name


class ReadBaseline(Command, frozen=True, tag="read-baseline"):
    """The newest baseline."""

    roles = STAFF | frozenset({"gateway"})
