"""Device certificates inside approved work orders.

Order of the checks, so that a refusal is the same everywhere: size, DER, proof of possession (400); station and order
(403); profile (422); replay (200); serial with another key (409); key known elsewhere (409); quota and window (409).
The last five are decided inside the intent's transaction (`ceremonies.claims`), where nothing can come between.
"""

import datetime
import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from ceremonies import entries
from ceremonies.claims import RequestOpen
from ceremonies.commands import DeviceIssued, IssueDevice, Proven
from ceremonies.desk import Caller
from ceremonies.errors import KeyroomError
from ceremonies.genesis import draw_number
from ceremonies.journal import RESTORE, JournalForked
from ceremonies.orders import Order, RequestKey, Reservation, Sealed
from ceremonies.plans import PlanMalformed, WorkOrder, read_plan, read_shown, write_plan
from ceremonies.procedures import Action, Closing, LastWords
from ceremonies.room import Room
from ceremonies.store import Change, Insert
from ceremonies.tables import CertificateRow, DeviceRow, DocumentRow, WorkOrderRow
from ceremonies.trustsets import newest_set
from pki.errors import PkiError
from pki.jcs import jcs
from pki.names import DeviceSubject, read_serial_number, ueid_of
from pki.x509.certificates import Terms, draft_certificate
from pki.x509.issuers import Issuer, read_issuer
from pki.x509.profiles import IDEVID, find_profile
from pki.x509.requests import CertificateRequest, check_request, read_request

KIND = "certificate.idevid"
QUOTA_OPEN = "quota.open"
NUMBERS_AT_ONCE = 32


class WorkOrderUnknown(KeyroomError):
    """There is no such work order, or it does not name this serial."""

    code = "work-order-unknown"


class SerialNotInOrder(KeyroomError):
    """The work order does not name this serial."""

    code = "serial-not-in-order"


class SerialTaken(KeyroomError):
    """The serial has a certificate for another key."""

    code = "serial-taken"


class KeyKnown(KeyroomError):
    """The public key belongs to another serial: a cloned key, bad random numbers, or a copied image."""

    code = "key-known"


class WorkOrderClosed(KeyroomError):
    """The work order is not valid now."""

    code = "work-order-closed"


class Line(msgspec.Struct, frozen=True):
    """What issuing under one work order needs, read and verified once."""

    order: WorkOrder
    issuer: Issuer
    chain: bytes
    birth_package: str | None
    trust_set: str


class Issuance:
    """Issues device certificates."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._numbers: list[int] = []

    async def issue(self, command: IssueDevice, caller: Caller) -> DeviceIssued:
        """Answer a station. The same serial with the same key gets the same bytes, and uses no quota."""
        try:
            request = read_request(command.csr)
            line = await self._admit(command, caller)
            check_request(request, find_profile(line.order.profile))
        except (PkiError, KeyroomError) as error:
            what = {
                "serial": command.serial,
                "work_order": command.work_order,
                "csr": hashlib.sha256(command.csr).hexdigest(),
            }
            refused = entries.refused(KIND, caller.actor, what, error)
            await self._room.act(lambda: self._room.ledger.record([refused]))
            raise
        recipe = {
            "not_before": self._room.surroundings.now_us() // 1_000_000,
            "number": f"{await self._draw_number():x}",
        }
        try:
            sealed = await self._room.seal(self._order(command, caller, line, request, recipe))
        except RequestOpen as opened:
            # A crash left this request's intent open: the same bytes are sealed again, and nothing else may be.
            again = read_shown(opened.recipe)
            sealed = await self._room.seal(self._order(command, caller, line, request, again))
        return self._answer(command, request, line, sealed)

    async def _admit(self, command: IssueDevice, caller: Caller) -> Line:
        """The station may work on this order, and the order names the serial."""
        room, key = self._room, ("line", command.work_order)
        line: Line
        if key in room.cache:
            line = room.cache[key]
        else:
            line = await room.act(lambda: room.cached(key, lambda: load_line(room, command.work_order)))
        caller.require("plant", line.order.plant)
        caller.require("class", line.order.class_name)
        if not line.order.covers(command.serial):
            raise SerialNotInOrder(
                f"serial {command.serial} is not in work order {command.work_order}",
                hint="check the order on the station",
            )
        return line

    async def _draw_number(self) -> int:
        """A certificate number of 159 random bits from the token's generator, drawn in stock."""
        if not self._numbers:
            stock = await self._room.act(lambda: self._room.door.strongbox.random(20 * NUMBERS_AT_ONCE))
            self._numbers += [draw_number(stock[at : at + 20]) for at in range(0, len(stock), 20)]
        return self._numbers.pop()

    def _order(
        self, command: IssueDevice, caller: Caller, line: Line, request: CertificateRequest, recipe: Mapping[str, Any]
    ) -> Order:
        start = datetime.datetime.fromtimestamp(recipe["not_before"], datetime.UTC)
        subject = DeviceSubject(line.order.organization, line.order.class_name, read_serial_number(command.serial))
        terms = Terms(int(recipe["number"], 16), start)
        drafted = draft_certificate(IDEVID, subject, request.public_key, line.issuer, terms)
        csr = hashlib.sha256(request.der).hexdigest()
        what = {**drafted.what, "csr": csr, "class": line.order.class_name, "work_order": line.order.id}
        spki = request.spki
        taken = SerialTaken(
            f"serial {command.serial} has a certificate for another key",
            hint="call the supervisor: a serial is certified once, for one key",
        )
        known = KeyKnown(
            "this public key belongs to another serial", hint="quarantine the unit: cloned key or copied image"
        )
        return Order(
            draft=msgspec.structs.replace(drafted, what=what),
            by=caller.actor,
            name=command.serial,
            request=RequestKey(f"order/{line.order.id}:{command.serial}:{spki[:32]}", spki, jcs(dict(recipe))),
            reserve=(Reservation(f"serial:{command.serial}", taken), Reservation(f"device-key:{spki}", known)),
            work_order=line.order.id,
            closed=self._find_closed(line.order),
            blobs=(request.der,),
            changes=lambda sealed: device_changes(command, line.order, request, sealed),
        )  # fmt: skip

    def _find_closed(self, order: WorkOrder) -> KeyroomError | None:
        now = self._room.surroundings.now_us() // 1_000_000
        if order.valid_from <= now < order.valid_to:
            return None
        return WorkOrderClosed(f"work order {order.id} is not valid now", hint="call the supervisor")

    def _answer(self, command: IssueDevice, request: CertificateRequest, line: Line, sealed: Sealed) -> DeviceIssued:
        return DeviceIssued(
            serial=command.serial,
            certificate=sealed.document,
            chain=line.chain,
            ueid=ueid_of(request.public_key).hex(),
            replayed=sealed.replayed,
            proven=Proven(sealed.seq, sealed.entry, sealed.proof),
            trust_set=line.trust_set,
            birth_package=line.birth_package,
        )


def device_changes(command: IssueDevice, order: WorkOrder, request: CertificateRequest, sealed: Sealed) -> list[Change]:
    """The device's row: from here on this serial has this key."""
    ueid = ueid_of(request.public_key).hex()
    row = {"serial": command.serial, "spki": request.spki, "ueid": ueid, "work_order": order.id}
    facts = {"class_name": order.class_name, "certificate": sealed.sha256, "public_key": request.public_key}
    return [Insert(DeviceRow, row | facts)]


def load_line(room: Room, name: str) -> Line:
    """A work order with the CA that serves it. Writer's thread. Raises WorkOrderUnknown, JournalForked."""
    store, order = room.store, load_order(room, name)
    root = read_issuer(find_profile("identity-root"), _read_authority(room, "identity-root"))
    issuer = read_issuer(find_profile("device-ca"), _read_authority(room, "device-ca"), root)
    birth = store.find(DocumentRow, kind="birth-package", name=f"birth-package-{order.class_name}")
    newest = newest_set(store).payload_sha256.hex()
    return Line(order, issuer, issuer.certificate + root.certificate, birth["sha256"] if birth else None, newest)


def load_order(room: Room, name: str) -> WorkOrder:
    """A work order as the journal opened it; no row is asked. Raises WorkOrderUnknown, JournalForked."""
    seq = room.ledger.replay.orders.get(name)
    if seq is None:
        raise WorkOrderUnknown(f"no work order {name}", hint="check the order on the station; call the supervisor")
    entry = msgspec.json.decode(room.ledger.read_entry(seq)[0].leaf)
    order: WorkOrder = read_plan(room.store.blob(entry["op"]["what"]["document"]) or b"", WorkOrder)
    return order


def _read_authority(room: Room, profile: str) -> bytes:
    """The certificate of the newest active key of a CA, as the door released it."""
    key = room.door.keyring.active(profile)
    for row in room.store.list(CertificateRow, "label"):
        if key and row["spki"] == key[-1].spki:
            return read_released(room, row["document"], f"certificate.{profile}")
    raise WorkOrderUnknown(f"no active {profile} with a certificate", hint="see `kedge key list`: was it suspended?")


def read_released(room: Room, digest: str, kind: str) -> bytes:
    """A document that the door released as one of this kind. Writer's thread. Raises JournalForked."""
    row = room.store.find(DocumentRow, sha256=digest)
    leaf = room.ledger.read_entry(row["seq"] if row else room.ledger.journal.size)[1]
    document = room.store.blob(digest)
    released = leaf.out and leaf.out.status == "ok" and leaf.out.doc == digest
    if document is None or not released or not leaf.op or leaf.op.kind != kind:
        raise JournalForked(f"document {digest[:16]} is missing, or is no {kind}", hint=RESTORE)
    return document


def prepare_order(room: Room, data: bytes) -> dict[str, Any]:
    """A work order for a class and profile that exist."""
    order: WorkOrder = read_plan(data, WorkOrder)
    room.door.require_governing().policy.fleet.device_class(order.class_name)
    if find_profile(order.profile) is not IDEVID:
        raise PlanMalformed(f"work order: profile {order.profile} is not for work orders")
    shown = {"content": write_plan(order)}
    guard_order(room, shown)
    return shown


def guard_order(room: Room, shown: Mapping[str, Any]) -> None:
    """No order of this id, at the opening and at the execution. Raises PlanMalformed."""
    if room.store.find(WorkOrderRow, id=shown["content"]["id"]) is not None:
        raise PlanMalformed(f"work order {shown['content']['id']} exists", hint="choose another id")


def close_order(room: Room, shown: Mapping[str, Any], closing: Closing) -> LastWords:
    """Open the order: from now on stations may use it up."""
    document = jcs(shown["content"])
    order: WorkOrder = read_plan(document, WorkOrder)
    digest = hashlib.sha256(document).hexdigest()
    what = {"document": digest, "quantity": order.quantity, "work_order": order.id}
    row = {"id": order.id, "document": digest, "quantity": order.quantity, "issued": 0}
    opened = entries.event(QUOTA_OPEN, closing.by, what, **closing.context)
    return LastWords([opened], lambda _: [Insert(WorkOrderRow, row)], [document])


WORK_ORDER_ACTION = Action(prepare=prepare_order, kinds=("work-order",), close=close_order, guard=guard_order)
