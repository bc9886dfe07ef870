"""Answers that use no key: documents, keys, certificates, proofs, tiles, health."""

import asyncio
from collections.abc import Sequence

from sqlmodel import SQLModel

from ceremonies import entries
from ceremonies.alarms import list_alarms, list_obstacles
from ceremonies.commands import (
    DocumentRead,
    DocumentsListed,
    EventsListed,
    HealthShown,
    KeyShown,
    KeysListed,
    ListCertificates,
    ListCounterUpdates,
    ListEvents,
    ListKeys,
    ListTrustSets,
    ProofShown,
    Proven,
    ReadDocument,
    ReadTile,
    ShowHealth,
    ShowProof,
    TileRead,
)
from ceremonies.cosigned import late_documents
from ceremonies.desk import Caller
from ceremonies.errors import KeyroomError
from ceremonies.events import READING, Events, is_reading
from ceremonies.issuers import find_withheld
from ceremonies.orders import Sealed
from ceremonies.room import TRACE, Room
from ceremonies.store import Row
from ceremonies.tables import CertificateRow, CounterUpdateRow, DocumentRow, TrustSetRow
from ceremonies.tiling import read_tile
from ceremonies.witnesses import WitnessesBehind
from pki.log.tiles import parse_tile_path

TENANTS = frozenset({"station", "pipeline", "gateway"})
"""Roles that several firms may hold: each caller reads its own documents, and those that are for everybody."""

FOR_EVERYBODY = frozenset(
    {"trust-set", "counter-update", "transition-index", "birth-package", "public-key"}
    | {f"certificate.{profile}" for profile in ("identity-root", "root-link", "device-ca", "site-ca")}
)


class DocumentUnknown(KeyroomError):
    """No document with this digest was ever sealed here."""

    code = "document-unknown"


class Queries:
    """Reads. What is not public is recorded as an `export` entry: who read what."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._events = Events(room.store)

    async def read_document(self, command: ReadDocument, caller: Caller) -> DocumentRead:
        """A sealed document, with its entry and proof. What is another tenant's is not there for this one."""
        row = self._find(command.digest)
        if caller.actor.role in TENANTS and row["kind"] not in FOR_EVERYBODY:
            await self._room.act(lambda: self._check_own(row, caller))
        await self._record(caller, {"document": command.digest})
        await self._room.witnesses.demand(row["seq"] + 1)
        sealed = await self._room.act(lambda: self._room.ledger.recall(command.digest, row["seq"]))
        return DocumentRead(row["kind"], row["name"], sealed.document, await self._prove(sealed))

    async def show_proof(self, command: ShowProof, caller: Caller) -> ProofShown:
        """Entry and proof of a document. Anybody may ask, so that nobody is kept waiting for witnesses.

        Raises WitnessesBehind while no quorum covers it.
        """
        row = self._find(command.digest)
        if not self._room.witnesses.covers(row["seq"]):
            raise WitnessesBehind(
                "no quorum of witnesses has cosigned this entry yet", hint="ask again in some seconds"
            )
        sealed = await self._room.act(lambda: self._room.ledger.recall(command.digest, row["seq"]))
        return ProofShown(await self._prove(sealed))

    async def list_trust_sets(self, command: ListTrustSets, caller: Caller) -> DocumentsListed:
        """The chain from an index on."""
        rows = [row for row in self._covered(TrustSetRow, "index") if row["index"] >= command.start]
        return DocumentsListed(
            tuple(self._named(f"set-{r['index'] // 64}-{r['index'] % 64}", r["document"]) for r in rows)
        )

    async def list_counter_updates(self, command: ListCounterUpdates, caller: Caller) -> DocumentsListed:
        """Every counter update."""
        rows = self._covered(CounterUpdateRow, "sequence")
        return DocumentsListed(tuple(self._named(f"counter-update-{r['sequence']}", r["document"]) for r in rows))

    async def list_certificates(self, command: ListCertificates, caller: Caller) -> DocumentsListed:
        """Every CA certificate, or those that clients may be told to believe."""
        withheld = await find_withheld(self._room) if command.recommended else frozenset()
        rows = [row for row in self._covered(CertificateRow, "label") if row["document"] not in withheld]
        return DocumentsListed(tuple(self._named(row["label"], row["document"]) for row in rows))

    async def list_keys(self, command: ListKeys, caller: Caller) -> KeysListed:
        """Every key."""
        await self._record(caller, {"list": "keys"})
        return list_keys(self._room)

    async def read_tile(self, command: ReadTile, caller: Caller) -> TileRead:
        """A tile by its path."""
        tile = parse_tile_path(command.path)
        await self._record(caller, {"tile": command.path})
        return TileRead(read_tile(self._room.store, tile))

    async def list_events(self, command: ListEvents, caller: Caller) -> EventsListed:
        """Entries as events. Reading them is an entry, unless they tell of nothing but such readings: who follows the
        journal would follow its own steps for ever.
        """
        size = self._room.ledger.journal.size
        listed = await asyncio.to_thread(self._events.read, command.start, command.limit, size)
        if not all(is_reading(event) for event in listed.events):
            await self._record(caller, {"read": f"{READING}{command.start}"})
        elif trace := TRACE.get():
            trace.recorded = True  # nothing was told: nothing to record
        return listed

    async def show_health(self, command: ShowHealth, caller: Caller) -> HealthShown:
        """Whether keys can be used, and the figures behind it."""
        room = self._room
        log_key = room.ledger.log_key
        metrics = {
            "journal_entries": float(room.ledger.journal.size),
            "queue_length": float(room.writer.waiting),
            "witnessed_entries": float(room.witnesses.latest.size),
            "witnesses_failing": float(len(room.witnesses.failures)),
            "cloned_keys": 0.0,  # there before the first of them, so that a rise is seen
            "strange_requests": 0.0,
            **{name: float(value) for name, value in room.counters.items()},
        }
        return HealthShown(
            ready=not list_obstacles(room),
            problems=tuple(list_alarms(room).values()),
            origin=room.ledger.journal.origin,
            vkey=log_key.vkey.encode() if log_key else "",
            size=room.ledger.journal.size,
            software_sha256=room.surroundings.software,
            metrics=metrics,
        )

    async def _prove(self, sealed: Sealed) -> Proven:
        """Entry and proof of a document that is covered: under a cosigned checkpoint where witnesses are asked."""
        witnesses = self._room.witnesses
        proof = await witnesses.prove(sealed.seq) if witnesses.latest.size > sealed.seq else sealed.proof
        return Proven(sealed.seq, sealed.entry, proof)

    def _covered(self, table: type[SQLModel], order: str) -> Sequence[Row]:
        """The rows whose documents a quorum of witnesses covers; all of them when none is asked for."""
        rows, witnesses = self._room.store.list(table, order), self._room.witnesses
        documents = (row["document"] for row in rows)
        late = late_documents(self._room.store, witnesses.latest.size, documents) if witnesses.asked else ()
        return [row for row in rows if row["document"] not in late]

    def _find(self, digest: str) -> Row:
        row = self._room.store.find(DocumentRow, sha256=digest)
        if row is None:
            raise unknown_document(digest)
        return row

    def _check_own(self, row: Row, caller: Caller) -> None:
        """Sealed at this caller's request, by the journal. Not by `cred`, the issuer's key: its callers share it."""
        leaf = self._room.ledger.read_entry(row["seq"])[1]
        if not leaf.actor or leaf.actor.sub != caller.actor.sub:
            raise unknown_document(row["sha256"])

    def _named(self, name: str, digest: str) -> tuple[str, str, bytes]:
        return name, digest, self._room.store.blob(digest) or b""

    async def _record(self, caller: Caller, what: dict[str, str]) -> None:
        draft = entries.event("export", caller.actor, what)
        await self._room.act(lambda: self._room.ledger.record([draft]))


def unknown_document(digest: str) -> DocumentUnknown:
    """The same words whether a document does not exist or is another's."""
    return DocumentUnknown(f"no document {digest[:16]} was sealed here", hint="check the SHA-256 of the file")


def list_keys(room: Room) -> KeysListed:
    """All keys with the public halves that are published."""
    return KeysListed(
        tuple(
            KeyShown(
                key.label,
                key.role,
                key.scope,
                key.algorithm,
                key.state,
                key.spki,
                key.uses,
                room.store.blob(key.spki) or b"",
                room.ledger.replay.generations.standing(key.spki),
            )
            for key in sorted(room.door.keyring, key=lambda key: key.label)
        )
    )
