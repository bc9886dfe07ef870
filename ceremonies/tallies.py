"""What the keyroom answers about the units of a work order. Exported by `ceremonies.commands`."""

from msgspec import Struct


class DeviceConfirmed(Struct, frozen=True, tag="device-confirmed"):
    """The unit counts as built; `index` is the entry that says so. replayed: it did before."""

    serial: str
    index: int
    replayed: bool


class ReworkPermitted(Struct, frozen=True, tag="rework-permitted"):
    """`index` is the permit's entry; `left`: how many more the order has. replayed: the permit was open already."""

    work_order: str
    serial: str
    index: int
    left: int
    replayed: bool


class DeviceScrapped(Struct, frozen=True, tag="device-scrapped"):
    """`index` is the entry. replayed: the unit was scrapped before."""

    work_order: str
    serial: str
    index: int
    replayed: bool


class WorkOrderShown(Struct, frozen=True, tag="work-order-shown"):
    """A work order in figures, by the journal. state: open, waiting (before its window), over (after it), closed.

    used: units of the quota that requests have used; issued: units that have a certificate: confirmed, unconfirmed or
    scrapped. replaced: certificates that rework has replaced; reworked of rework_quantity: permits that were opened.
    refused: requests that got no certificate, among them the duplicates (a serial or a key for the second time).
    withdrawing: certificates at most that its closing is still revoking. Times are seconds since 1970.
    """

    work_order: str
    profile: str
    class_name: str
    plant: str
    lines: tuple[str, ...]
    stations: tuple[str, ...]
    state: str
    valid_from: int
    valid_to: int
    quantity: int
    used: int
    remaining: int
    issued: int
    confirmed: int
    unconfirmed: int
    scrapped: int
    replaced: int
    refused: int
    duplicates: int
    rework_quantity: int
    reworked: int
    withdrawing: int = 0


class WorkOrdersListed(Struct, frozen=True, tag="work-orders-listed"):
    """Work orders by id."""

    work_orders: tuple[WorkOrderShown, ...]


class UnitShown(Struct, frozen=True):
    """A unit. state: confirmed, unconfirmed, scrapped; after the order was closed also excused, revoked.

    certificate: its digest; issued: its entry. confirmed, scrapped: their entries, None where there are none.
    replaced: digests of the certificates that it had before, oldest first.
    """

    serial: str
    state: str
    certificate: str
    ueid: str
    issued: int
    confirmed: int | None
    scrapped: int | None
    replaced: tuple[str, ...]


class UnitsReported(Struct, frozen=True, tag="units-reported"):
    """Units by serial; ask again with `following` as `after` until it is empty."""

    work_order: str
    units: tuple[UnitShown, ...]
    following: str
