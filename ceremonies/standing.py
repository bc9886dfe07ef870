"""How a unit stands that asks for its certificate: scrapped, replaced, its order closed; and permits for rework."""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from ceremonies import entries
from ceremonies.certified import Issued, find_by_serial, read_issued
from ceremonies.claims import WorkOrderClosed
from ceremonies.errors import KeyroomError
from ceremonies.journal import RESTORE, JournalForked, Placed
from ceremonies.orders import Actor, Reservation, Rider, Sealed
from ceremonies.owned import find_ldevids
from ceremonies.plans import ClosePlan, WorkOrder, read_plan
from ceremonies.revocations import Grounds, is_revoked, revoke_changes
from ceremonies.room import Room
from ceremonies.store import Change, Insert, Row, Update
from ceremonies.tables import DeviceRow, ReservationRow
from ceremonies.unit_tables import ConfirmationRow, ReplacedDeviceRow
from ceremonies.units import Permit


class UnitScrapped(KeyroomError):
    """The unit was scrapped: nothing is issued or confirmed for its serial."""

    code = "unit-scrapped"


class CertificateReplaced(KeyroomError):
    """The unit was reworked, and has another key since."""

    code = "certificate-replaced"


class CertificateWithdrawn(KeyroomError):
    """The certificate for this key was revoked. It is not handed out again."""

    code = "certificate-withdrawn"


class Replacement(msgspec.Struct, frozen=True):
    """What comes with a certificate under a permit: the name that it spends, and what becomes of the one before."""

    permit: Permit
    old: Row
    rider: Callable[[], Rider]

    def reserve(self, refusal: KeyroomError) -> Reservation:
        """A permit is used once."""
        return Reservation(name_permit(self.permit), refusal)

    def follow_with(self, changes: Callable[[Sealed], Sequence[Change]]) -> Callable[[Sealed], Sequence[Change]]:
        """The rows of a device, where the serial has one already."""

        def follow(sealed: Sealed) -> Sequence[Change]:
            (new,) = (change for change in changes(sealed) if change.table is DeviceRow)
            values = {name: value for name, value in new.values.items() if name != "serial"}
            old = {**self.old, "successor": sealed.sha256, "seq": sealed.seq}
            return [Update(DeviceRow, {"serial": self.old["serial"]}, values), Insert(ReplacedDeviceRow, old)]

        return follow


def name_permit(permit: Permit) -> str:
    """The name that is spent with a permit, by its request or by what ends it."""
    return f"rework:{permit.seq}"


def check_standing(room: Room, order: WorkOrder, serial: str, spki: str) -> None:
    """The unit may have a certificate for this key, or have its own again. Writer's thread when the order is closed.

    Raises UnitScrapped, CertificateReplaced, WorkOrderClosed.
    """
    units = room.ledger.replay.units
    if serial in units.scrapped:
        raise UnitScrapped(f"unit {serial} was scrapped", hint="quarantine the unit")
    if units.replaced.get(spki) == serial:
        raise CertificateReplaced(f"unit {serial} was reworked and has another key now", hint="quarantine the unit")
    if units.orders[order.id].closed is None:
        return
    device = room.store.find(DeviceRow, serial=serial)
    if device is None or device["spki"] != spki or not is_kept(room, order.id, device):
        raise WorkOrderClosed(f"work order {order.id} was closed", hint="call the supervisor")


def check_withdrawn(room: Room, issued: Issued) -> None:
    """A certificate that was given before still counts. Writer's thread. Raises CertificateWithdrawn, JournalForked."""
    if is_revoked(room, issued):
        raise CertificateWithdrawn(
            f"the certificate of {issued.serial} was revoked",
            hint="call the supervisor: under a permit for rework the unit gets another key and certificate",
        )


def refuse_withdrawn(room: Room, by: Actor, order: str, sealed: Sealed) -> None:
    """A certificate is not handed out again once it was revoked; the refusal is an entry. Writer's thread.

    Raises CertificateWithdrawn, JournalForked.
    """
    issued = read_issued(room, sealed.seq)
    try:
        check_withdrawn(room, issued)
    except CertificateWithdrawn as error:
        what = {"certificate": issued.document, "serial": issued.serial, "work_order": order}
        room.ledger.record([entries.refused(issued.kind, by, what, error)])
        raise


def is_kept(room: Room, order: str, device: Row) -> bool:
    """Whether the closing of its order left a device's certificate as it was: confirmed before, or excused."""
    confirmed = room.store.find(ConfirmationRow, serial=device["serial"], certificate=device["certificate"])
    return confirmed is not None or device["serial"] in find_excused(room, order)


def find_excused(room: Room, order: str) -> frozenset[str]:
    """The serials that the closing of an order excused; none while it is open. Writer's thread."""
    seq = room.ledger.replay.units.orders[order].closed
    if seq is None:
        return frozenset()
    key = ("excused", order)
    if key not in room.cache:
        _, leaf = room.ledger.read_entry(seq)
        document = str(leaf.op.what["document"]) if leaf.op and leaf.op.what else ""
        plan: ClosePlan = read_plan(room.store.blob(document) or b"", ClosePlan)
        room.cache[key] = frozenset(plan.excused)
    found: frozenset[str] = room.cache[key]
    return found


def find_replacement(room: Room, by: Actor, order: WorkOrder, serial: str, spki: str) -> Replacement | None:
    """What a permit for this serial allows; None when there is none, or the key is the one that shall be replaced.
    Writer's thread.

    Raises JournalForked.
    """
    permit = room.ledger.replay.units.permits.get(serial)
    if permit is None or permit.spki == spki or permit.work_order != order.id:
        return None
    old = room.store.find(DeviceRow, serial=serial)
    if old is None or (old["certificate"], old["spki"]) != (permit.certificate, permit.spki):
        raise JournalForked(f"device {serial}: its row is not what the journal says", hint=RESTORE)
    issued = find_by_serial(room, serial)
    if issued.document != permit.certificate:
        raise JournalForked(f"device {serial}: its rows lead to another certificate", hint=RESTORE)
    grounds = Grounds("superseded", f"rework, permit {permit.seq}", {"work_order": order.id})

    def ride() -> Rider:
        words = revoke_changes(room, [issued, *find_ldevids(room, [serial])], grounds, by)
        return Rider(words.drafts, words.changes)

    return Replacement(permit, old, ride)


def is_begun(room: Room, permit: Permit) -> bool:
    """Whether a request has spent the permit and has no certificate yet: a crash came between."""
    return room.store.find(ReservationRow, name=name_permit(permit)) is not None


def end_permits(room: Room, permits: Iterable[Permit]) -> Callable[[Placed], list[Change]]:
    """The rows that take permits away, also from a request that a crash interrupted; the entry's place is given.

    Writer's thread: no request is between its intent and its outcome then.
    """
    ended = [(name_permit(permit), is_begun(room, permit)) for permit in permits]

    def follow(placed: Placed) -> list[Change]:
        values = {"owner": "", "seq": placed.seq}
        return [
            Update(ReservationRow, {"name": name}, values)
            if begun
            else Insert(ReservationRow, {"name": name, **values})
            for name, begun in ended
        ]

    return follow
