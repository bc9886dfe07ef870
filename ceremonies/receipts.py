"""Receipts: what devices say of themselves, taken when it is fresh, signed by the pinned key, and follows the last."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import func, select

from ceremonies import entries
from ceremonies.arrivals import read_owner
from ceremonies.claims import RequestOpen, name_device_key
from ceremonies.commands import DocumentRead, OpenChallenge, Proven, ReceiptsTaken, SubmitReceipts
from ceremonies.desk import Caller
from ceremonies.errors import KeyroomError
from ceremonies.orders import Order, RequestKey
from ceremonies.plans import read_shown
from ceremonies.room import Room
from ceremonies.store import Change, Insert, Row, Store, Update, table_of
from ceremonies.tables import (
    ChallengeRow,
    DeviceRow,
    DocumentRow,
    ReceiptRow,
    ReleaseRow,
    RequestRow,
    ReservationRow,
    TrustSetRow,
)
from ceremonies.trustsets import cose_key, load_sets, newest_set, signing_keys
from pki.errors import PkiError
from pki.jcs import jcs
from pki.signatures import spki_sha256
from pki.trust.challenges import Challenge, draft_challenge
from pki.trust.cose import parse_sign1
from pki.trust.device_memory import GOLDEN
from pki.trust.device_report import SlotState
from pki.trust.receipts import ReceiptClaims, verify_receipt
from pki.trust.sets import RoleId

VALID_FOR_US = 600_000_000


class ReceiptRefused(KeyroomError):
    """A receipt is not the fresh, chained word of a device of the register. `details["rule"]` names why."""

    code = "receipt-refused"


class SlotFacts(msgspec.Struct, frozen=True):
    """Slot A or B: security version, the kids (hex) that verify its image, whether it was confirmed, its version."""

    security_version: int
    keys: tuple[str, ...]
    confirmed: bool
    version: tuple[int, ...] = ()


class Facts(msgspec.Struct, frozen=True):
    """What gates need of a device's newest receipt.

    canary: SHA-256 (hex) of the manifest payload that it rejected, "" for none. alarm: the rule by which a later, true
    receipt of the device was refused.
    """

    set_index: int
    set_hash: str
    state: int
    boots: int
    floors: dict[str, int]
    slots: tuple[SlotFacts, ...]
    canary: str
    alarm: str = ""


class Receipts:
    """Gives challenges and takes receipts."""

    def __init__(self, room: Room) -> None:
        self._room = room

    async def open_challenge(self, command: OpenChallenge, caller: Caller) -> DocumentRead:
        """A challenge by the director key, with the newest manifest under an older set as canary."""
        try:
            sealed = await self._room.seal(self._order(command, caller, self._recipe(command)))
        except RequestOpen as opened:
            # A crash left this request's intent open: the same bytes are sealed again, and nothing else may be.
            sealed = await self._room.seal(self._order(command, caller, read_shown(opened.recipe)))
        proven = Proven(sealed.seq, sealed.entry, sealed.proof)
        return DocumentRead("challenge", command.id, sealed.document, proven)

    def _recipe(self, command: OpenChallenge) -> dict[str, Any]:
        """What the challenge's bytes follow from."""
        store, newest = self._room.store, newest_set(self._room.store)
        (signer,) = signing_keys(store, self._room.door.keyring, newest.group(RoleId.DIRECTOR), 1)
        canary = find_canary(store, newest.index)
        return {
            "campaign": command.campaign.hex(),
            "canary": str(canary["manifest"]) if canary else "",
            "nonce": self._room.surroundings.entropy(32).hex(),
            "set": newest.index,
            "signer": spki_sha256(signer.to_spki()),
        }

    def _order(self, command: OpenChallenge, caller: Caller, recipe: Mapping[str, Any]) -> Order:
        store = self._room.store
        trust_set = {item.index: item for item, _ in load_sets(store)}[recipe["set"]]
        canary = store.blob(recipe["canary"]) if recipe["canary"] else None
        nonce = bytes.fromhex(recipe["nonce"])
        challenge = Challenge(trust_set.fleet, nonce, command.campaign, canary)
        expires = self._room.surroundings.now_us() + VALID_FOR_US
        row = {"nonce": recipe["nonce"], "campaign": command.campaign.hex(), "expires_us": expires}
        return Order(
            draft=draft_challenge(trust_set, challenge, cose_key(store, recipe["signer"])),
            by=caller.actor,
            name=command.id,
            request=RequestKey(request_id(command), command.campaign.hex(), jcs(dict(recipe))),
            changes=lambda _: [Insert(ChallengeRow, row)],
        )

    async def submit(self, command: SubmitReceipts, caller: Caller) -> ReceiptsTaken:
        """Judge each receipt alone; one entry for the batch names what was taken and what was refused by which rule."""
        placed, verdicts = await self._room.act(lambda: self._take(command.receipts, caller))
        return ReceiptsTaken(verdicts, placed)

    def _take(self, receipts: Sequence[bytes], caller: Caller) -> tuple[int, tuple[str, ...]]:
        """Judge and record, on the writer's thread. A crash before the one commit leaves nothing."""
        store = self._room.store
        book = Book(store, {row["index"]: row["payload_sha256"] for row in store.list(TrustSetRow, "index")})
        now = self._room.surroundings.now_us()
        verdicts = [book.judge(receipt, now) for receipt in receipts]
        taken = [one for one, why in zip(receipts, verdicts, strict=True) if not why]
        refused = [[sha256(one), why] for one, why in zip(receipts, verdicts, strict=True) if why]
        what = {"accepted": [sha256(receipt) for receipt in taken], "refused": refused}
        draft = entries.event("receipt.batch", caller.actor, what)
        (placed,) = self._room.ledger.record([draft], book.changes, taken)
        return placed.seq, tuple(verdicts)


def find_device(store: Store, ueid: str) -> Row | None:
    """The device with this UEID: its key's reservation names the request, whose document names the serial; or, what a
    site box has issued, the serial itself.
    """
    spki = ueid[2:]
    taken = store.find(ReservationRow, name=name_device_key(spki))
    serial = read_owner(taken["owner"]) if taken else ""
    if taken is not None and not serial:
        request = store.find(RequestRow, id=taken["owner"])
        document = store.find(DocumentRow, sha256=request["document"]) if request and request["document"] else None
        serial = document["name"] if document else ""
    return store.find(DeviceRow, serial=serial, spki=spki, ueid=ueid) if serial else None


class Book:
    """The newest receipt of each device as a batch goes through, and the rows that follow. `sets`: hashes by index."""

    def __init__(self, store: Store, sets: Mapping[int, str]) -> None:
        self.changes: list[Change] = []
        self._store = store
        self._sets = sets
        self._latest: dict[str, Row | None] = {}
        self._spent: set[str] = set()

    def judge(self, receipt: bytes, now_us: int) -> str:
        """Take a receipt, or refuse it: returns "" or the rule.

        1. The device that it names is in the register, and its pinned key signed. 2. It answers a fresh challenge of
        its campaign. 3. It follows the device's last one. What fails at 3 is true and must not be: an alarm, which
        stands until the device sends a receipt that follows.
        """
        try:
            claims = self._authenticate(receipt)  # 1
            self._spend(claims, now_us)  # 2
        except (PkiError, KeyroomError) as error:
            return str(getattr(error, "details", {}).get("rule") or error.code)
        ueid, facts = claims.ueid.hex(), read_facts(claims)
        before = self._newest(ueid)
        try:
            check_follows(claims, facts, before, self._sets)  # 3
        except ReceiptRefused as error:
            self._raise_alarm(ueid, before, str(error.details["rule"]), now_us)
            return str(error.details["rule"])
        row = {
            "payload_sha256": claims.payload_sha256.hex(), "ueid": ueid, "nonce": claims.nonce.hex(),
            "sequence": claims.campaign.sequence, "set_index": facts.set_index, "set_hash": facts.set_hash,
            "state": facts.state, "facts": msgspec.json.encode(facts), "document": sha256(receipt),
            "received_us": now_us,
        }  # fmt: skip
        self._latest[ueid] = row
        self.changes.append(Insert(ReceiptRow, row))
        return ""

    def _authenticate(self, receipt: bytes) -> ReceiptClaims:
        """Who sent it is read from the receipt; whether that is so is checked against the key pinned at issuance."""
        claimed = ReceiptClaims.from_payload(parse_sign1(receipt).payload)
        device = find_device(self._store, claimed.ueid.hex())
        if device is None:
            raise _refuse("device-unknown", "this device is not in the register")
        return verify_receipt(device["public_key"], receipt)

    def _spend(self, claims: ReceiptClaims, now_us: int) -> None:
        nonce = claims.nonce.hex()
        challenge = self._store.find(ChallengeRow, nonce=nonce)
        if challenge is None or nonce in self._spent or challenge["expires_us"] < now_us:
            raise _refuse("nonce-not-fresh", "the challenge is unknown, used or too old")
        if challenge["campaign"] != claims.campaign.campaign.hex():
            raise _refuse("campaign-differs", "the receipt names another campaign than its challenge")
        self._spent.add(nonce)
        self.changes.append(Update(ChallengeRow, {"nonce": nonce}, {"expires_us": 0}))

    def _newest(self, ueid: str) -> Row | None:
        if ueid not in self._latest:
            table = table_of(ReceiptRow)
            query = select(table).where(table.c.ueid == ueid).order_by(table.c.sequence.desc())
            self._latest[ueid] = self._store.row(query)
        return self._latest[ueid]

    def _raise_alarm(self, ueid: str, before: Row | None, rule: str, now_us: int) -> None:
        """The device was heard all the same: it is not silent, and not gone."""
        if before is None:  # never heard, and still so
            return
        facts = msgspec.structs.replace(msgspec.json.decode(before["facts"], type=Facts), alarm=rule)
        alarmed = {"facts": msgspec.json.encode(facts), "received_us": now_us}
        self._latest[ueid] = {**before, **alarmed}
        self.changes.append(Update(ReceiptRow, {"payload_sha256": before["payload_sha256"]}, alarmed))


def request_id(command: OpenChallenge) -> str:
    """The idempotency key of a challenge, among which no release and no ceremony can find its own."""
    return f"challenge/{command.id}"


def check_follows(claims: ReceiptClaims, facts: Facts, before: Row | None, sets: Mapping[int, str]) -> None:
    """The set is one that was published, and a device never goes back: index, floors, boots and sequence only rise.

    Else it is a clone, a rollback, or a device under a set of somebody else. Raises ReceiptRefused.
    """
    if sets.get(facts.set_index) != facts.set_hash:
        raise _refuse("set-unknown", "the device holds a trust set that was never published here")
    if before is None:
        return
    last = msgspec.json.decode(before["facts"], type=Facts)
    sequence = claims.campaign.sequence
    if sequence <= before["sequence"]:
        raise _refuse("sequence-rollback", "the receipt's sequence is not above the last one")
    previous = claims.campaign.previous.hex() if claims.campaign.previous else ""
    if sequence == before["sequence"] + 1 and previous != before["payload_sha256"]:
        raise _refuse("chain-broken", "the receipt does not name the one before it")
    if facts.set_index < last.set_index or facts.boots < last.boots:
        raise _refuse("device-rollback", "set index or boot count went back: a clone, or a restored device")
    if any(facts.floors.get(domain, 0) < floor for domain, floor in last.floors.items()):
        raise _refuse("floor-rollback", "a floor went back: a clone, or a restored device")


def read_facts(claims: ReceiptClaims) -> Facts:
    """What gates need."""
    canary = claims.canary
    return Facts(
        set_index=claims.trust.current.index,
        set_hash=claims.trust.current.hash.hex(),
        state=int(claims.trust.state),
        boots=claims.bootcount,
        floors={str(int(domain)): reading.logical for domain, reading in claims.counters.items()},
        slots=tuple(
            SlotFacts(
                slot.security_version,
                tuple(kid.hex() for kid in slot.keys),
                slot.state == SlotState.CONFIRMED,
                tuple(slot.version or ()),
            )
            for slot in claims.slots
            if slot.slot < GOLDEN
        ),
        canary=canary.digest.hex() if canary is not None and canary.rejected else "",
    )


def _refuse(rule: str, message: str) -> ReceiptRefused:
    return ReceiptRefused(message, hint="investigate the device before it is served again", details={"rule": rule})


def newest_receipts(store: Store) -> Mapping[str, Facts]:
    """The newest receipt of each device, by ueid."""
    table = table_of(ReceiptRow)
    last = select(table.c.ueid, func.max(table.c.sequence).label("sequence")).group_by(table.c.ueid).subquery()
    newest = (table.c.ueid == last.c.ueid) & (table.c.sequence == last.c.sequence)
    rows = store.rows(select(table.c.ueid, table.c.facts).join(last, newest))
    return {row["ueid"]: msgspec.json.decode(row["facts"], type=Facts) for row in rows}


def find_canary(store: Store, index: int) -> Row | None:
    """The last release under a set before the one with this index; devices that moved reject its manifest."""
    table = table_of(ReleaseRow)
    order = (table.c.set_index.desc(), table.c.sequence.desc(), table.c.id)
    return store.row(select(table).where(table.c.set_index < index).order_by(*order))


def sha256(data: bytes) -> str:
    """Lowercase hex SHA-256."""
    return hashlib.sha256(data).hexdigest()
