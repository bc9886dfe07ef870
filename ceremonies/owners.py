"""Owner enrolment: an installed device gets an LDevID from a CA of its site, on the strength of its IDevID.

A device has one LDevID that counts: the one before is revoked in the commit that releases the next. While nobody has
said where the device is installed, its request waits: the operator's statement is the approval (RFC 7030, 4.2.3).

Where the class demands that keys live in hardware, the key of the IDevID may be certified again: a secure element often
has no other that its maker vouches for.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from functools import partial
from typing import Final
from weakref import WeakValueDictionary

from ceremonies import entries
from ceremonies.applicants import Applicant, EnrolmentPending, find_applicant
from ceremonies.certified import load_chain, read_signer, reserve_number
from ceremonies.claims import RequestOpen, name_device_key
from ceremonies.commands import DeviceIssued, EnrolDevice, Proven
from ceremonies.desk import Caller
from ceremonies.devices import Allowance, DeviceRevoked
from ceremonies.errors import KeyroomError
from ceremonies.generations import AuthorityNotIssuing
from ceremonies.genesis import draw_number
from ceremonies.issuance import KeyKnown
from ceremonies.journal import RESTORE, JournalForked
from ceremonies.ldevid_tables import LdevidRow
from ceremonies.ldevids import KIND
from ceremonies.orders import Actor, EnrolmentUnderWay, Order, RequestKey, Reservation, Rider, Sealed
from ceremonies.plans import read_shown
from ceremonies.protection import Protection
from ceremonies.revocations import Grounds, find_revoked, is_revoked, revoke_changes
from ceremonies.room import TRACE, Room
from ceremonies.standing import CertificateWithdrawn
from ceremonies.store import Change, Insert, Update
from ceremonies.tables import RequestRow, ReservationRow
from pki.errors import PkiError
from pki.x509.certificates import draft_prepared
from pki.x509.intake import Intake, TakenIn
from pki.x509.profiles import LDEVID

RENEWED: Final = (6, 86_400_000_000)
"""New LDevIDs of one device within so many microseconds: each one before it stays on a list. A restart forgets them."""
ATTEMPTS: Final = 1000
DAY_US: Final = 86_400_000_000
"""How often the journal is told of a device that waits: its requests come every ten minutes while it does."""
UNHARMED: Final = frozenset({"affiliationChanged", "cACompromise", "cessationOfOperation", "superseded"})
"""Reasons to revoke a certificate that say nothing against its key."""


class KeyUsed(KeyroomError):
    """The device has used this key before, for its IDevID or an earlier LDevID."""

    code = "key-used"


class Owners:
    """Issues LDevIDs. Requests of one device are answered one after the other."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._protection = Protection(room)
        self._renewed = Allowance(*RENEWED)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._waiting: tuple[int, set[str]] = (0, set())

    async def enrol(self, command: EnrolDevice, caller: Caller) -> DeviceIssued:
        """Answer a device. The same key gets the same certificate until a third of its life is left.

        Raises EnrolmentPending, BindingMismatch, AuthorityUnknown, SiteMismatch, UnitUnconfirmed, UnitScrapped,
        DeviceOutOfService, DeviceRevoked, KeyUnprotected, ElementTaken, KeyUsed, KeyKnown, CertificateWithdrawn,
        DeviceTooFast, and what the request itself is refused with.
        """
        try:
            caller.require("serial", command.serial)
            if caller.identity is not None and "authority" in caller.identity.bindings:  # it shows an LDevID
                caller.require("authority", command.authority)
            async with self._turns.setdefault(command.serial, asyncio.Lock()):
                return await self._enrol(command, caller)
        except EnrolmentPending:
            if self._is_new(command.serial):
                waiting = entries.event("device.pending", caller.actor, describe(command))
                await self._room.act(lambda: self._room.ledger.record([waiting]))
            elif trace := TRACE.get():
                trace.recorded = True
            raise

    def _is_new(self, serial: str) -> bool:
        """Whether this device waits for the first time today. In memory: a restart forgets it."""
        today, told = self._room.surroundings.now_us() // DAY_US, self._waiting[1]
        if self._waiting[0] != today:
            told = set()
            self._waiting = (today, told)
        new = serial not in told
        told.add(serial)
        return new

    async def _enrol(self, command: EnrolDevice, caller: Caller) -> DeviceIssued:
        room, by = self._room, caller.actor
        try:
            applicant = await room.act(lambda: find_applicant(room, command.authority, command.serial))
            number = await room.act(lambda: f"{draw_number(room.door.strongbox.random(20)):x}")
            now = room.surroundings.now_us() // 1_000_000
            intake = Intake(command.csr, command.serial, number, now, command.form)
            taken = await room.readers.take_in(intake, applicant.place)
            await self._protection.check(applicant.device["class_name"], command.serial, taken.spki)
            kept = await room.act(lambda: self._find_kept(applicant, taken.spki, caller))
        except (PkiError, KeyroomError) as error:
            if not isinstance(error, EnrolmentPending):
                refused = entries.refused(KIND, by, describe(command), error)
                await room.act(lambda: room.ledger.record([refused]))
            raise
        try:
            sealed = kept or await self._seal(applicant, by, (intake, taken))
        except AuthorityNotIssuing:
            # The CA's next generation took over while this waited: whoever asks sees nothing of it.
            return await self._enrol(command, caller)
        return answer(applicant, sealed, await room.act(lambda: load_chain(room, read_signer(sealed.entry))))

    def _find_kept(self, applicant: Applicant, spki: str, caller: Caller) -> Sealed | None:
        """The certificate that this key has. Raises KeyUsed, CertificateWithdrawn, DeviceRevoked, EnrolmentUnderWay."""
        room, held, own = self._room, applicant.held, applicant.device["spki"] == spki
        if own and not applicant.protected:
            raise KeyUsed("this is the key of the IDevID", hint="the device makes another key for its LDevID")
        if held is None or held.spki != spki:
            check_shown(room, applicant, caller.actor)
            check_intended(room, applicant, caller)
            return None
        if is_revoked(room, held):
            revoked = find_revoked(room, held) if own else None
            if revoked is not None and revoked.reason in UNHARMED:
                return None
            raise CertificateWithdrawn(
                f"the LDevID of {held.serial} for this key was revoked", hint="the device makes another key"
            )
        generations = room.ledger.replay.generations
        same = generations.is_same(held.ca, applicant.authority.issuer.spki)
        if same and held.is_fresh(room.door.now()) and not is_revoked(room, generations.known[held.ca]):
            return room.ledger.recall(held.certificate, held.seq)
        if not same:
            check_intended(room, applicant, caller)
        return None

    async def _seal(self, applicant: Applicant, by: Actor, read: tuple[Intake, TakenIn]) -> Sealed:
        room, serial, (intake, taken) = self._room, applicant.device["serial"], read
        request, pending = applicant.name_request(taken.spki), room.ledger.replay.pending
        begun = request in pending
        if not begun:
            self._renewed.spend(serial, room.surroundings.mono_us())
        compose = partial(make_order, room, applicant, by)
        try:
            return await room.seal(await room.act(lambda: compose((intake, taken))))
        except RequestOpen as opened:
            # A crash left this request's intent open: the same bytes are sealed again, and nothing else may be.
            intake = Intake(intake.csr, intake.serial, **read_shown(opened.recipe), form=intake.form)
            taken = await room.readers.take_in(intake, applicant.place)
            return await room.seal(await room.act(lambda: compose((intake, taken))))
        except Exception:
            if not begun and request not in pending:  # nothing was begun: a token that rests locks no device out
                self._renewed.give_back(serial)
            raise


def make_order(room: Room, applicant: Applicant, by: Actor, read: tuple[Intake, TakenIn]) -> Order:
    """What the door is asked. Writer's thread."""
    (intake, taken), held, authority = read, applicant.held, applicant.authority
    if taken.prepared is None:
        raise JournalForked("a request was read for no CA", hint="send it again")
    about = {"csr": taken.csr_sha256, "class": applicant.device["class_name"], "site": authority.site}
    if held is not None:
        about["was"] = held.digest
    owner = applicant.name_request(taken.spki)
    reserve = [reserve_number(int(intake.number, 16)), reserve_succession(room, applicant, owner)]
    if held is None or held.spki != taken.spki:
        reserve.append(reserve_key(room, applicant, taken.spki, owner))
    recipe = b'{"not_before":%d,"number":"%s"}' % (intake.not_before, intake.number.encode())  # in JCS
    return Order(
        draft=draft_prepared(LDEVID, authority.issuer.public_key, taken.prepared, **about),
        by=by,
        name=applicant.device["serial"],
        request=RequestKey(owner, taken.spki, recipe),
        reserve=tuple(reserve),
        blobs=(taken.der,),
        changes=partial(list_changes, taken, applicant),
        rider=partial(ride, room, applicant, by),
    )


def reserve_succession(room: Room, applicant: Applicant, owner: str) -> Reservation:
    """One LDevID follows another. The name of an attempt that a crash, or a token, left without a certificate is
    passed over: no two requests of a device are under way at once. Raises JournalForked.
    """
    serial, after = applicant.device["serial"], applicant.held.seq if applicant.held else 0
    refusal = EnrolmentUnderWay(f"another request of {serial} is under way", hint="send the request again")
    for attempt in range(ATTEMPTS):
        name = f"ldevid:{serial}:{after}:{attempt}"
        spent = room.store.find(ReservationRow, name=name)
        if spent is None or spent["owner"] == owner:
            return Reservation(name, refusal)
        request = room.store.find(RequestRow, id=spent["owner"])
        if request is None or request["outcome"] is not None:
            raise JournalForked(f"LDevID of {serial}: its row is not what the journal says", hint=RESTORE)
    raise refusal


def reserve_key(room: Room, applicant: Applicant, spki: str, owner: str) -> Reservation:
    """A key is certified for one device, and never again once another took its place. One that the device has spent on
    a request without a certificate is no earlier LDevID's: another name stands for it. So it is with the key of the
    IDevID, whose first name the factory spent.
    """
    serial, own = applicant.device["serial"], applicant.device["spki"] == spki
    used = KeyUsed(f"{serial} has used this key before", hint="the device makes another key")
    known = KeyKnown(
        "this public key belongs to another serial", hint="quarantine the unit: cloned key or copied image"
    )
    for attempt in range(own, ATTEMPTS):
        name = name_device_key(spki) + (f":{attempt}" if attempt else "")
        spent = room.store.find(ReservationRow, name=name)
        if spent is None or not spent["owner"].startswith(f"ldevid/{serial}:"):
            return Reservation(name, known)
        if spent["owner"] == owner or spent["owner"] not in room.ledger.replay.pending:
            return Reservation(name, used)
    raise used


def ride(room: Room, applicant: Applicant, by: Actor) -> Rider:
    """The LDevID of before is revoked in the commit that releases this one; when the device may have it no more, or has
    another LDevID or IDevID by now, or has shown one that ended, it is not released. Raises what `find_applicant` and
    `check_shown` raise, EnrolmentUnderWay.
    """
    serial = applicant.device["serial"]
    now = find_applicant(room, applicant.authority.label, serial)
    if (now.held, now.device["certificate"]) != (applicant.held, applicant.device["certificate"]):
        raise EnrolmentUnderWay(f"{serial} has got another certificate", hint="send the request again")
    check_shown(room, applicant, by)
    if applicant.held is None:
        return Rider()
    grounds = Grounds("superseded", f"LDevID of {applicant.authority.label}", {"site": applicant.authority.site})
    words = revoke_changes(room, [applicant.held], grounds, by)
    return Rider(words.drafts, words.changes)


def check_shown(room: Room, applicant: Applicant, by: Actor) -> None:
    """What the device has shown counts still: its IDevID, which `find_applicant` has looked at, or the LDevID that it
    has. Its request may have waited meanwhile. Writer's thread. Raises DeviceRevoked, JournalForked.
    """
    held = applicant.held
    if by.cred != applicant.device["certificate"] and (
        held is None or by.cred != held.certificate or is_revoked(room, held)
    ):
        raise DeviceRevoked(f"the LDevID that {applicant.device['serial']} shows has ended", hint="show the IDevID")


def check_intended(room: Room, applicant: Applicant, caller: Caller) -> None:
    """What may be an earlier request of the device, said again by another and to another of its CAs, ends no LDevID:
    only what that LDevID signs does. Writer's thread. Raises EnrolmentUnderWay, JournalForked.
    """
    held = applicant.held
    if caller.repeated and held and caller.actor.cred != held.certificate and not is_revoked(room, held):
        raise EnrolmentUnderWay(
            f"{held.serial} has an LDevID, and the keyroom began just now: this may be an earlier request, said again",
            hint="sign with the LDevID, or ask again in ten minutes, in another transaction",
        )


def list_changes(taken: TakenIn, applicant: Applicant, sealed: Sealed) -> Sequence[Change]:
    """The device's row: from here on this is its LDevID."""
    what = taken.prepared.what if taken.prepared else {}
    values = {
        "ca": applicant.authority.issuer.spki, "number": what["certificate_number"].rjust(40, "0"),
        "certificate": sealed.sha256, "spki": taken.spki, "not_before": what["not_before"],
        "not_after": what["not_after"], "seq": sealed.seq,
    }  # fmt: skip
    serial = {"serial": applicant.device["serial"]}
    return [Update(LdevidRow, serial, values) if applicant.held else Insert(LdevidRow, serial | values)]


def describe(command: EnrolDevice) -> dict[str, str]:
    """A request for the journal."""
    csr = hashlib.sha256(command.csr).hexdigest()
    return {"authority": command.authority, "csr": csr, "serial": command.serial}


def answer(applicant: Applicant, sealed: Sealed, chain: bytes) -> DeviceIssued:
    """What the device gets, with the chain of the issue (PEM); nothing of the factory is in it."""
    return DeviceIssued(
        serial=applicant.device["serial"],
        certificate=sealed.document,
        chain=chain,
        ueid=applicant.device["ueid"],
        replayed=sealed.replayed,
        proven=Proven(sealed.seq, sealed.entry, sealed.proof),
        trust_set=None,
        birth_package=None,
        nonce="",
    )
