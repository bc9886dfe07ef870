"""Parties: of whom an entry speaks. The keyroom chooses by it, and the verifier refuses what it would not have chosen.

An entry belongs to a party when it says so itself (a key by its spki, a device by `op.what.serial`, a work order by
`op.what.work_order`, a site by the orders whose document names it as plant and by statements that put a device there, a
change by `chg`), when it is of a ceremony that opened such an order or carried such a change, when it closes an intent
that belongs to it, or when an entry that belongs to it refers to it (intent, counted approval).

An entry that concerns two parties is in the exports of both. Entries that name many devices at once (batches of
receipts, exports, quotas of others) are in none. A refusal belongs to an order only when it names no serial, or one
for which the order began a certificate: strangers ask for serials of others.
"""

from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args

import msgspec
from msgspec import UNSET

from pki.log.errors import AuditFailed
from pki.log.leaves import Leaf

PARTY = "party.json"
QUOTA_OPEN = "quota.open"
REVOKE = "certificate.revoke"

PartyKind = Literal["key", "device", "work-order", "site", "change"]
KINDS: tuple[str, ...] = get_args(PartyKind)

Walk = Callable[[], Iterable[tuple[int, Leaf]]]
Document = Callable[[str], bytes | None]


class Party(msgspec.Struct, frozen=True):
    """A key (name: its spki, hex), a device (serial), a work order, a site (plant), or a change request."""

    kind: PartyKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class PartyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`party.json` (JCS): whose entries these are, of which journal, at which size."""

    kind: PartyKind
    log: str
    name: str
    size: int
    v: Literal[1] = 1


class _Order(msgspec.Struct, frozen=True):
    plant: str


_ENCODER = msgspec.json.Encoder(order="sorted")
_FILE = msgspec.json.Decoder(PartyFile)
_ORDER = msgspec.json.Decoder(_Order)


def encode_party(party: Party, origin: str, size: int) -> bytes:
    """The bytes of `party.json`."""
    return _ENCODER.encode(PartyFile(party.kind, origin, party.name, size))


def parse_party(data: bytes, origin: str, size: int) -> Party:
    """Read `party.json`, which must be of this journal at this size. Raises AuditFailed."""
    try:
        found = _FILE.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise AuditFailed(f"{PARTY}: {error}", path=PARTY) from error
    party = Party(found.kind, found.name)
    if encode_party(party, origin, size) != data:
        raise AuditFailed(f"{PARTY}: not canonical, or of another journal or size", path=PARTY)
    return party


def choose_entries(party: Party, walk: Walk, document: Document) -> frozenset[int]:
    """The indexes of a party's entries. `walk` gives all entries in order, each time; `document` gives a blob."""
    chooser = _Chooser(party, document)
    for _, leaf in walk():
        chooser.learn(leaf)
    members: set[int] = set()
    named: set[int] = set()
    for index, leaf in walk():
        if chooser.owns(leaf) or (leaf.ref is not UNSET and leaf.ref.i in members):
            members.add(index)
            named |= named_entries(leaf)
    if intents := named - members:  # of keys that had no spki yet; they count approvals of their own
        named |= {other for index, leaf in walk() if index in intents for other in named_entries(leaf)}
    return frozenset(members | named)


def named_entries(leaf: Leaf) -> set[int]:
    """The entries that an entry refers to: its intent, and the approvals that it counts."""
    return {item.i for item in leaf.apr or ()} | ({leaf.ref.i} if leaf.ref is not UNSET else set())


class _Chooser:
    """Learns in one pass which orders, serials and ceremonies are the party's, and decides in the next."""

    def __init__(self, party: Party, document: Document) -> None:
        self._party, self._document = party, document
        self._orders = {party.name} if party.kind == "work-order" else set[str]()
        self._serials: set[str] = set()
        self._numbers: set[str] = set()
        self._ceremonies: set[str] = set()

    def learn(self, leaf: Leaf) -> None:
        facts = _facts(leaf)
        if self._party.kind == "site" and leaf.type == QUOTA_OPEN and self._plant(facts) == self._party.name:
            self._orders.add(str(facts.get("work_order")))
        if facts.get("work_order") in self._orders and leaf.type == "key.sign.intent":
            self._serials.add(str(facts.get("serial")))
        if "certificate_number" in facts and self._owns_certificate(facts):
            self._numbers.add(str(facts["certificate_number"]).rjust(40, "0"))
        opens = leaf.type == QUOTA_OPEN and facts.get("work_order") in self._orders
        if leaf.cer and (opens or (self._party.kind == "change" and leaf.chg == self._party.name)):
            self._ceremonies.add(leaf.cer)

    def _owns_certificate(self, facts: dict[str, Any]) -> bool:
        if self._party.kind == "device":
            return facts.get("serial") == self._party.name
        return facts.get("work_order") in self._orders

    def owns(self, leaf: Leaf) -> bool:
        facts = _facts(leaf)
        if leaf.cer and leaf.cer in self._ceremonies:
            return True
        if leaf.type == REVOKE and self._party.kind != "change":
            return facts.get("ca") == self._party.name or not self._numbers.isdisjoint(facts.get("numbers", ()))
        match self._party.kind:
            case "key":
                return any(key.spki == self._party.name for key in leaf.keys or ())
            case "device":
                return facts.get("serial") == self._party.name
            case "change":
                return leaf.chg == self._party.name
        if self._party.kind == "site" and leaf.type.startswith("device.") and facts.get("site") == self._party.name:
            return True
        if facts.get("work_order") not in self._orders:
            return False
        serial = facts.get("serial")
        return not leaf.type.endswith(".denied") or serial is None or serial in self._serials

    def _plant(self, facts: dict[str, Any]) -> str | None:
        data = self._document(str(facts.get("document")))
        try:
            return _ORDER.decode(data).plant if data is not None else None
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None


def _facts(leaf: Leaf) -> dict[str, Any]:
    return leaf.op.what or {} if leaf.op else {}
