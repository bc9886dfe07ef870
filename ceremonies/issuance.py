"""Device certificates inside approved work orders.

Order of the checks, so that a refusal is the same everywhere: size, DER, proof of possession (400); station and order
(403); profile, key protection (422); replay (200); serial with another key, key known elsewhere, quota and window
(409). All behind the protection is decided inside the intent's transaction (`ceremonies.claims`): nothing comes in.
"""

import hashlib
from functools import partial

import msgspec

from ceremonies import entries
from ceremonies.boxes import check_granted, find_grant, refuse_grant
from ceremonies.certified import load_authority, load_chain, place_issuer, read_signer, reserve_number
from ceremonies.claims import RequestOpen, WorkOrderClosed, name_device_key
from ceremonies.commands import ConfirmDevice, DeviceIssued, IssueDevice, Proven
from ceremonies.desk import Caller
from ceremonies.errors import KeyroomError
from ceremonies.generations import AuthorityNotIssuing
from ceremonies.issuers import load_issuer
from ceremonies.journal import RESTORE, JournalForked
from ceremonies.numbers import Numbers
from ceremonies.orders import Order, RequestKey, Reservation, Sealed
from ceremonies.plans import WorkOrder, read_plan, read_shown
from ceremonies.protection import Protection
from ceremonies.room import Room
from ceremonies.standing import Replacement, check_standing, find_replacement, refuse_withdrawn
from ceremonies.store import Change, Insert
from ceremonies.tables import DeviceRow
from ceremonies.trustsets import newest_set
from pki.errors import PkiError
from pki.log.merkle import leaf_hash
from pki.names import ueid_of
from pki.x509.certificates import draft_prepared
from pki.x509.intake import Intake, Place, TakenIn
from pki.x509.lfdi import lfdi_of, sfdi_of
from pki.x509.profiles import IEEE2030_5_DEVICE, find_profile

KIND = "certificate.idevid"  # of a refusal as long as no order says what is asked for


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


class Line(msgspec.Struct, frozen=True):
    """What issuing under one work order needs, read and verified once. authority: its CA's label; grant: of a box."""

    order: WorkOrder
    authority: str
    place: Place
    chain: bytes
    birth_package: str | None
    trust_set: str
    grant: str | None = None


class Issuance:
    """Issues device certificates."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._numbers = Numbers(room)
        self._protection = Protection(room)

    async def issue(self, command: IssueDevice, caller: Caller) -> DeviceIssued:
        """Answer a station. The same serial with the same key gets the same bytes, and uses no quota."""
        now = self._room.surroundings.now_us() // 1_000_000
        intake = Intake(command.csr, command.serial, await self._numbers.draw(), now, command.form)
        kind = KIND
        try:
            line = await self._find_line(command, caller)
            kind = f"certificate.{line.place.profile}" if isinstance(line, Line) else KIND
            taken = await self._room.readers.take_in(intake, line.place if isinstance(line, Line) else None)
            if not isinstance(line, Line):
                raise line  # only now: what is wrong with the request itself is said first
            await self._check_standing(line.order, command.serial, taken.spki)
        except (PkiError, KeyroomError) as error:
            csr = hashlib.sha256(command.csr).hexdigest()
            what = {"csr": csr, "serial": command.serial, "work_order": command.work_order}
            refused = entries.refused(kind, caller.actor, what, error)
            await self._room.act(lambda: self._room.ledger.record([refused]))
            raise
        try:
            sealed = await self._seal(command, caller, line, (intake, taken))
        except AuthorityNotIssuing:
            # The CA's next generation took over while this waited: whoever asks sees nothing of it.
            self._room.cache.pop(("line", command.work_order), None)
            return await self.issue(command, caller)
        except RequestOpen as opened:
            # A crash left this request's intent open: the same bytes are sealed again, and nothing else may be.
            line = await self._room.act(partial(move_line, self._room, line, opened.seq))
            intake = Intake(command.csr, command.serial, **read_shown(opened.recipe), form=command.form)
            taken = await self._room.readers.take_in(intake, line.place)
            sealed = await self._seal(command, caller, line, (intake, taken))
        if sealed.replayed:
            await self._room.act(partial(refuse_withdrawn, self._room, caller.actor, line.order.id, sealed))
        return await self._answer(command, taken, line, sealed)

    async def _check_standing(self, order: WorkOrder, serial: str, spki: str) -> None:
        await self._protection.check(order.class_name, serial, spki)
        check = partial(check_standing, self._room, order, serial, spki)
        if self._room.ledger.replay.units.orders[order.id].closed is None:
            check()
        else:  # whom the closing excused is read from the journal
            await self._room.act(check)

    async def _find_line(self, command: IssueDevice, caller: Caller) -> Line | KeyroomError:
        """The line of a request, or why this station gets none."""
        try:
            return await self.admit(command, caller)
        except KeyroomError as error:
            return error

    async def admit(self, command: IssueDevice | ConfirmDevice, caller: Caller) -> Line:
        """The station still works, may work on this order, and the order names the serial."""
        room, key = self._room, ("line", command.work_order)
        room.ledger.replay.stations.check_working(caller.actor.sub)  # a batch may be long under way
        load = partial(room.cached, key, partial(load_line, room, command.work_order))
        line: Line = room.cache[key] if key in room.cache else await room.act(load)
        check_business(line.order, caller)
        if not line.order.covers(command.serial):
            raise SerialNotInOrder(
                f"serial {command.serial} is not in work order {command.work_order}",
                hint="check the order on the station",
            )
        return line

    async def _seal(self, command: IssueDevice, caller: Caller, line: Line, read: tuple[Intake, TakenIn]) -> Sealed:
        replacement, spki = None, read[1].spki
        if command.serial in self._room.ledger.replay.units.permits:
            find = partial(find_replacement, self._room, caller.actor, line.order, command.serial, spki)
            replacement = await self._room.act(find)
        return await self._room.seal(self._order(command, caller, line, read, replacement))

    def _order(
        self, command: IssueDevice, caller: Caller, line: Line, read: tuple[Intake, TakenIn],
        replacement: Replacement | None = None,
    ) -> Order:  # fmt: skip
        intake, taken = read
        if taken.prepared is None:
            raise JournalForked("a request was read for no work order", hint="send it again")
        order, spki = line.order, taken.spki
        about = {"csr": taken.csr_sha256, "class": order.class_name, "work_order": order.id}
        used = SerialTaken(
            f"serial {command.serial} has a certificate for another key",
            hint="call the supervisor: another key needs a permit for rework",
        )
        known = KeyKnown(
            "this public key belongs to another serial", hint="quarantine the unit: cloned key or copied image"
        )
        first = replacement.reserve(used) if replacement else Reservation(f"serial:{command.serial}", used)
        about |= {"grant": line.grant} if line.grant else {}
        if replacement:
            about["rework"] = str(replacement.permit.seq)
        changes = partial(device_changes, command, order, taken)
        recipe = b'{"not_before":%d,"number":"%s"}' % (intake.not_before, intake.number.encode())  # in JCS
        return Order(
            draft=draft_prepared(
                find_profile(line.place.profile), line.place.issuer.public_key, taken.prepared, **about
            ),
            by=caller.actor,
            name=command.serial,
            request=RequestKey(f"order/{order.id}:{command.serial}:{spki[:32]}", spki, recipe),
            reserve=(first, Reservation(name_device_key(spki), known), reserve_number(int(intake.number, 16))),
            work_order=order.id,
            rework=replacement is not None,
            grant=line.grant,
            rider=replacement.rider if replacement else None,
            closed=self._find_closed(order, line.place.issuer.spki),
            blobs=(taken.der,),
            changes=replacement.follow_with(changes) if replacement else changes,
        )

    def _find_closed(self, order: WorkOrder, ca: str) -> KeyroomError | None:
        now = self._room.surroundings.now_us() // 1_000_000
        replay = self._room.ledger.replay
        if replay.recovered and replay.orders.get(order.id, -1) < replay.recovered[-1]:
            # Serials of this order may have certificates whose entries are lost.
            return WorkOrderClosed(
                f"work order {order.id} is from before the journal's recovery", hint="open a new order for the rest"
            )
        if order.valid_from <= now < order.valid_to:
            return refuse_grant(self._room, ca, order, now)
        return WorkOrderClosed(f"work order {order.id} is not valid now", hint="call the supervisor")

    async def _answer(self, command: IssueDevice, request: TakenIn, line: Line, sealed: Sealed) -> DeviceIssued:
        signer = read_signer(sealed.entry) if sealed.replayed else line.place.issuer.spki
        chain = line.chain
        if signer != line.place.issuer.spki:  # issued by an earlier generation: with the chain of then
            chain = await self._room.act(lambda: load_chain(self._room, signer))
        lfdi = lfdi_of(sealed.document) if line.place.profile == IEEE2030_5_DEVICE.name else ""
        return DeviceIssued(
            serial=command.serial,
            certificate=sealed.document,
            chain=chain,
            ueid=ueid_of(request.public_key).hex(),
            replayed=sealed.replayed,
            proven=Proven(sealed.seq, sealed.entry, sealed.proof),
            trust_set=line.trust_set,
            birth_package=line.birth_package,
            nonce=leaf_hash(sealed.entry).hex(),
            lfdi=lfdi,
            sfdi=lfdi and sfdi_of(lfdi),
        )


def check_business(order: WorkOrder, caller: Caller) -> None:
    """The order is for the station's plant, class and line, and for the station. Raises BindingMismatch."""
    caller.require("plant", order.plant)
    caller.require("class", order.class_name)
    for binding, names in (("line", order.lines), ("station", order.stations)):
        if names:
            caller.require_one_of(binding, names)


def device_changes(command: IssueDevice, order: WorkOrder, request: TakenIn, sealed: Sealed) -> list[Change]:
    """The device's row: from here on this serial has this key."""
    ueid = ueid_of(request.public_key).hex()
    row = {"serial": command.serial, "spki": request.spki, "ueid": ueid, "work_order": order.id}
    facts = {"class_name": order.class_name, "certificate": sealed.sha256, "public_key": request.public_key}
    return [Insert(DeviceRow, row | facts)]


def load_line(room: Room, name: str) -> Line:
    """A work order with the CA that serves it. Writer's thread. Raises WorkOrderUnknown, GrantMissing."""
    check_granted(room)
    order = load_order(room, name)
    issuer, chain = load_issuer(room, "device-ca")
    newest = newest_set(room.store).payload_sha256.hex()
    hw_type = room.door.require_governing().policy.fleet.device_class(order.class_name).hw_type
    place = Place(order.profile, order.organization, order.class_name, issuer, hw_type)
    authority = room.door.keyring.get(issuer.spki).label
    birth, grant = find_birth(room, order.class_name), find_grant(room, issuer.spki)
    return Line(order, authority, place, chain, birth, newest, grant)


def find_birth(room: Room, class_name: str) -> str | None:
    """The digest of the newest birth package of a class, by the journal."""
    class_id = room.door.require_governing().policy.fleet.class_id(class_name)
    return room.ledger.replay.births.get(class_id.hex())


def load_order(room: Room, name: str) -> WorkOrder:
    """A work order as the journal opened it; no row is asked. Raises WorkOrderUnknown, JournalForked."""
    seq = room.ledger.replay.orders.get(name)
    if seq is None:
        raise WorkOrderUnknown(f"no work order {name}", hint="check the order on the station; call the supervisor")
    entry = msgspec.json.decode(room.ledger.read_entry(seq)[0].leaf)
    order: WorkOrder = read_plan(room.store.blob(entry["op"]["what"]["document"]) or b"", WorkOrder)
    return order


def move_line(room: Room, line: Line, intent: int) -> Line:
    """A line as it was when a request began (the index of its intent): with the CA that issued then. Writer's thread.

    Raises JournalForked.
    """
    issuer = load_authority(room, read_signer(room.ledger.read_entry(intent)[0].leaf))
    if issuer is None:
        raise JournalForked(f"entry {intent} names no CA", hint=RESTORE)
    place = msgspec.structs.replace(line.place, issuer=place_issuer(room, issuer))
    return msgspec.structs.replace(line, place=place, chain=load_chain(room, issuer.spki))
