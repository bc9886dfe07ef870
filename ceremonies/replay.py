"""What follows from the entries: keys, states, uses, quotas, approvals, open intents. Rows are compared with it.

Read at start from the entries, each hashed on the way to the journal's root: all of them (40 s of CPU for a million),
or those since the last milestone (`ceremonies.milestones`); then it grows with the journal. So a row or an entry that
was changed behind the keyroom is found, and never believed.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import select

from ceremonies.elements import Elements
from ceremonies.generations import AUTHORITIES, SWITCH, Generations
from ceremonies.granted import CENTRE, IMPORT, Grants
from ceremonies.journal import RESTORE, EntryDraft, Journal, JournalForked, Placed
from ceremonies.keyring import KeyEntry
from ceremonies.ldevids import KIND as LDEVID
from ceremonies.ldevids import Ldevids
from ceremonies.paces import Paces
from ceremonies.revoked import Revoked
from ceremonies.stations import KIND as STATION_CERTIFICATE
from ceremonies.stations import Stations
from ceremonies.store import Row, Store, octets, table_of
from ceremonies.tables import (
    EntryRow,
)
from ceremonies.units import ISSUED, Units
from ceremonies.whereabouts import Register
from pki.log.merkle import Frontier, leaf_hash

PAGE = 1024
OPERATIONS = ("key.generate", "key.sign", "key.destroy")
GOVERNING = ("roster.change", "policy.change")


class Quota(msgspec.Struct, frozen=True):
    """A work order's units: approved, and used by intents. closed: nothing more is issued."""

    quantity: int
    issued: int = 0
    closed: bool = False


class Decision(msgspec.Struct, frozen=True):
    """Where an officer's decision is recorded, and the digests of its statement and signature."""

    seq: int
    hash: str
    statement: str
    signature: str


class Replay(msgspec.Struct):
    """The facts as of the last entry taken. Serves the writer thread.

    orders: the entry that opened each work order. suspended: of each suspended key (spki) the entry that suspended it.
    makers: the ceremony that made each key. sealed: how many documents of each kind. pending: requests whose first
    intent has no document yet. token_anchor: whether the last start kept an anchor in the journal's token. recovered:
    the entries by which officers let the journal go on after a loss. units: of work orders. revoked: certificates, and
    lists of them. register: of devices after the factory. births: the newest birth package of each class (hex id).
    elements: keys that live in hardware. generations: of CAs. paces: how stations get on. ldevids: the newest of each
    device. grants: of site boxes.
    """

    keys: dict[str, KeyEntry] = msgspec.field(default_factory=dict)
    opened: dict[int, tuple[Placed, dict[str, Any]]] = msgspec.field(default_factory=dict)
    quotas: dict[str, Quota] = msgspec.field(default_factory=dict)
    orders: dict[str, int] = msgspec.field(default_factory=dict)
    approvals: dict[tuple[str, str], dict[str, Decision]] = msgspec.field(default_factory=dict)
    governing: dict[str, int] = msgspec.field(default_factory=dict)
    suspended: dict[str, int] = msgspec.field(default_factory=dict)
    makers: dict[str, str] = msgspec.field(default_factory=dict)
    closed: set[str] = msgspec.field(default_factory=set)
    sealed: dict[str, int] = msgspec.field(default_factory=dict)
    requests: int = 0
    documents: int = 0
    pending: set[str] = msgspec.field(default_factory=set)
    stations: Stations = msgspec.field(default_factory=Stations)
    token_anchor: bool = False
    units: Units = msgspec.field(default_factory=Units)
    recovered: list[int] = msgspec.field(default_factory=list)
    revoked: Revoked = msgspec.field(default_factory=Revoked)
    register: Register = msgspec.field(default_factory=Register)
    births: dict[str, str] = msgspec.field(default_factory=dict)
    elements: Elements = msgspec.field(default_factory=Elements)
    generations: Generations = msgspec.field(default_factory=Generations)
    paces: Paces = msgspec.field(default_factory=Paces)
    ldevids: Ldevids = msgspec.field(default_factory=Ldevids)
    grants: Grants = msgspec.field(default_factory=Grants)

    def take(self, placed: Placed, entry: EntryDraft) -> None:
        """Follow one entry."""
        kind: str = entry["type"]
        operation, _, step = kind.rpartition(".")
        if operation in OPERATIONS:
            self._take_operation(operation, step, placed, entry)
        elif kind == "key.state" and "out" not in entry:
            self._set_state(placed.seq, entry, entry["op"]["what"]["to"])
        elif kind == "approval":
            self._take_approval(placed, entry["op"]["what"])
        elif kind == "quota.open":
            what = entry["op"]["what"]
            self.quotas[what["work_order"]] = Quota(what["quantity"])
            self.orders[what["work_order"]] = placed.seq
        elif kind == "quota.close":
            name = entry["op"]["what"]["work_order"]
            self.quotas[name] = msgspec.structs.replace(self.quotas[name], closed=True)
        elif kind.startswith("device."):
            self.register.take(kind, placed.seq, entry["op"]["what"])
        elif kind == "ceremony.close":
            self.closed.add(entry["op"]["what"]["ceremony"])
        elif kind.startswith("station."):
            self.stations.take(kind, placed.seq, entry["op"]["what"])
        elif kind in GOVERNING:
            self.governing[kind] = placed.seq
        elif kind.startswith("certificate."):
            self._follow_authority(kind, placed.seq, entry["op"]["what"])
        elif kind == "log.start":
            self.token_anchor = bool(entry["op"]["what"].get("token_anchor"))
        elif kind == "log.recover":
            self._recover(placed.seq, entry)
        self.units.take(placed, entry)
        self.elements.take(entry)
        self.paces.take(placed, entry)
        self._take_grant(kind, placed.seq, entry)

    def _take_grant(self, kind: str, seq: int, entry: EntryDraft) -> None:
        if kind.startswith("grant.") and "out" not in entry:
            what = entry["op"]["what"]
            self.grants.take(kind, seq, what)
            if kind in (CENTRE, IMPORT):
                self.generations.take_imported(what["authority"])
            if "root" in what and kind == IMPORT:
                self.generations.take_imported(what["root"]["authority"])
            if kind == IMPORT:
                self.births.update({name: birth for name, birth in what["births"].items() if birth})

    def _follow_authority(self, kind: str, seq: int, what: Mapping[str, Any]) -> None:
        """What is said of certificates, and of which CA issues them."""
        if kind == "certificate.revoke":
            self.revoked.take(seq, what)
            self.stations.take_revocation(seq, what["numbers"])
        elif kind == SWITCH:
            self.generations.take_switch(what)

    def _recover(self, seq: int, entry: EntryDraft) -> None:
        """What the lost entries may have used is spent: uses of keys, and every approval given so far."""
        if "database" in entry["op"]["what"]:
            self.recovered.append(seq)
            lost = entry["op"]["what"]["lost"]
            self.revoked.skipped += lost["to"] - lost["from"]
        self.closed |= {ceremony for ceremony, _ in self.approvals}
        for key in entry.get("keys", ()):
            self.keys[key["spki"]] = msgspec.structs.replace(self.keys[key["spki"]], uses=key["kctr"])

    def _take_operation(self, operation: str, step: str, placed: Placed, entry: EntryDraft) -> None:
        if step == "intent":
            self.opened[placed.seq] = (placed, dict(entry))
            if operation == "key.sign":
                self._count(entry)
        elif step in ("outcome", "unknown"):
            _, intent = self.opened.pop(entry["ref"]["i"], (None, entry))
            if entry["out"]["status"] == "ok":
                self._succeed(operation, placed.seq, entry, intent)

    def _count(self, entry: EntryDraft) -> None:
        """An intent spends uses of keys; the first one of a request also a unit of its work order, and of its grant."""
        for key in entry["keys"]:
            self.keys[key["spki"]] = msgspec.structs.replace(self.keys[key["spki"]], uses=key["kctr"])
        request = entry.get("req")
        if request in self.pending:
            return
        if request is not None:
            self.pending.add(request)
            self.requests += 1
        what = entry["op"]["what"]
        order = what.get("work_order")
        if order is not None and "rework" not in what:
            quota = self.quotas[order]
            self.quotas[order] = msgspec.structs.replace(quota, issued=quota.issued + 1)
        if "grant" in what and entry["op"]["kind"] in ISSUED:
            self.grants.count(what["grant"])

    def _succeed(self, operation: str, seq: int, entry: EntryDraft, intent: EntryDraft) -> None:
        self.documents += "doc" in entry["out"]
        if operation == "key.generate":
            made = generated_key(entry)
            self.keys[made.spki] = made
            self.makers[made.spki] = intent.get("cer", "")
        elif operation == "key.destroy":
            self._set_state(seq, entry, "destroyed")
        else:
            self.pending.discard(entry.get("req", ""))
            self.sealed[entry["op"]["kind"]] = self.sealed.get(entry["op"]["kind"], 0) + 1
            if entry["op"]["kind"] == STATION_CERTIFICATE:
                self.stations.take_certificate(entry["out"]["doc"], seq, entry["op"]["what"])
            if entry["op"]["kind"] in AUTHORITIES:
                self.generations.take_certificate(entry)
            if entry["op"]["kind"] == LDEVID:
                self.ldevids.take(seq, entry)
            if entry["op"]["kind"] == "crl":
                self.revoked.take_list(seq, entry)
            if entry["op"]["kind"] == "birth-package":
                self.births[entry["op"]["what"]["class"]] = entry["out"]["doc"]

    def _set_state(self, seq: int, entry: EntryDraft, state: str) -> None:
        for key in entry["keys"]:
            self.keys[key["spki"]] = msgspec.structs.replace(self.keys[key["spki"]], state=state)
            self.suspended.pop(key["spki"], None)
            if state == "suspended":
                self.suspended[key["spki"]] = seq

    def _take_approval(self, placed: Placed, what: Mapping[str, Any]) -> None:
        decision = Decision(placed.seq, placed.hash.hex(), what["statement"], what["signature"])
        self.approvals.setdefault((what["ceremony"], what["step"]), {})[what["officer"]] = decision


def generated_key(entry: EntryDraft) -> KeyEntry:
    """The key that a `key.generate.outcome` records."""
    key, what = entry["keys"][0], entry["op"]["what"]
    return KeyEntry(
        spki=key["spki"], label=key["label"], role=what["role"], scope=what.get("scope", ""),
        algorithm=what["algorithm"], token=what["token"], token_serial=key["token"], cka_id=key["id"],
        thumbprint=what["thumbprint"], state="pre-activation", uses=0,
    )  # fmt: skip


def replay_journal(store: Store, journal: Journal, start: tuple[Frontier, Replay] | None = None) -> Replay:
    """Read every entry, or those after `start`: the tree and the facts of an earlier size.

    Raises JournalForked, naming the first bad entry, unless they lead to the journal's root.
    """
    frontier, replay = start or (Frontier(), Replay())
    for page in read_pages(store, frontier.size):
        taken = [take_row(replay, frontier.size + at, row) for at, row in enumerate(page)]
        frontier = frontier.extend(taken)
    if (frontier.size, frontier.root) != (journal.size, journal.root):
        raise JournalForked(
            f"the {frontier.size} entries do not lead to the journal's head of {journal.size}", hint=RESTORE
        )
    return replay


def take_row(replay: Replay, seq: int, row: Row) -> bytes:
    """Follow the row that should be entry `seq`; its leaf hash. Raises JournalForked."""
    leaf = octets(row["leaf"])
    digest = leaf_hash(leaf)
    if row["seq"] != seq or row["hash"] != digest:
        raise JournalForked(f"entry {seq} is missing, or is not the one that was written", hint=RESTORE)
    try:
        entry = msgspec.json.decode(leaf)
        same = entry["type"] == row["type"]
        replay.take(Placed(seq, digest, leaf), entry)
    except (msgspec.MsgspecError, LookupError, TypeError, ValueError) as error:
        raise JournalForked(f"entry {seq} does not follow from those before it", hint=RESTORE) from error
    if not same:
        raise JournalForked(f"entry {seq} stands under another type", hint=RESTORE)
    return digest


def read_pages(store: Store, start: int = 0) -> Iterator[Sequence[Row]]:
    """All entries from `start` on, in order, page by page."""
    table = table_of(EntryRow)
    while True:
        page = store.rows(select(table).where(table.c.seq >= start).order_by(table.c.seq).limit(PAGE))
        yield page
        if len(page) < PAGE:
            return
        start = page[-1]["seq"] + 1
