"""Confirmation: a unit shows that it has its certificate and its key, and counts as built from then on.

The nonce is the leaf hash of the certificate's outcome entry: nobody knows it before the certificate is there, and
nothing has to be kept for it. All of a batch is written in one commit; each item has its own answer and its own entry.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ceremonies import entries
from ceremonies.certified import Issued, load_chain, read_outcome
from ceremonies.claims import WorkOrderClosed
from ceremonies.commands import ConfirmDevice, ConfirmDevices, DeviceConfirmed, DevicesConfirmed
from ceremonies.desk import Caller, problem_of, tag_of
from ceremonies.errors import DeviceUnknown, KeyroomError
from ceremonies.issuance import Line
from ceremonies.journal import RESTORE, EntryDraft, JournalForked, Placed
from ceremonies.register import read_documents, read_entries
from ceremonies.room import Room
from ceremonies.standing import CertificateReplaced, UnitScrapped, check_withdrawn, find_excused
from ceremonies.statements import select_in
from ceremonies.store import Change, Insert, Row
from ceremonies.tables import DeviceRow
from ceremonies.unit_tables import ConfirmationRow
from pki.errors import PkiError, SignatureInvalid
from pki.log.leaves import Leaf
from pki.x509.confirmations import hash_chain, verify_confirmation
from pki.x509.issuers import read_certificate

KIND: Final = "device.confirm"
AT_ONCE: Final = 50
"""Units whose certificates are looked up in one task of the writer: urgent work waits for at most so many."""
ROWS_AT_ONCE: Final = 500

Admit = Callable[[ConfirmDevice, Caller], Awaitable[Line]]


class ChainMismatch(KeyroomError):
    """What the unit holds is not the certificate and the chain that were handed out."""

    code = "chain-mismatch"


class ConfirmationInvalid(KeyroomError):
    """The unit's signature is not by the key of its certificate, or not over its nonce and its chain."""

    code = "confirmation-invalid"


class Evidence(msgspec.Struct, frozen=True):
    """What a confirmation is judged by, as the journal has it: what was issued, the certificate (PEM) and its digest,
    the nonce, and the chain of the CA that issued it, whichever issues now; the station that had it issued.
    """

    issued: Issued
    sha256: str
    certificate: bytes
    nonce: bytes
    chain: bytes
    station: str


class Archive(msgspec.Struct, frozen=True):
    """Rows of devices by serial; of their certificates, by digest, the outcome entries and the PEM."""

    devices: Mapping[str, Row]
    entries: Mapping[str, tuple[Placed, Leaf]]
    certificates: Mapping[str, bytes]


class Judged(msgspec.Struct, frozen=True):
    """One item: the line it belongs to, the evidence, or why it is refused."""

    command: ConfirmDevice
    line: Line | None = None
    evidence: Evidence | None = None
    refusal: KeyroomError | PkiError | None = None

    @property
    def what(self) -> dict[str, Any]:
        """The facts for the journal."""
        made = {"certificate": self.evidence.sha256, "station": self.evidence.station} if self.evidence else {}
        named = {"serial": self.command.serial, "work_order": self.command.work_order}
        return {"chain": self.command.chain_sha256, **named, **made}


class Books(msgspec.Struct, frozen=True):
    """Rows of devices by serial; entries of confirmations by serial and certificate."""

    devices: Mapping[str, Row]
    confirmed: Mapping[tuple[str, str], int]


Verdict = int | None | KeyroomError | PkiError
Answer = DeviceConfirmed | KeyroomError | PkiError


class Confirmations:
    """Takes confirmations, one or many. `admit`: as a station is admitted that asks for a certificate."""

    def __init__(self, room: Room, admit: Admit) -> None:
        self._room = room
        self._admit = admit

    async def confirm(self, command: ConfirmDevice, caller: Caller) -> DeviceConfirmed:
        """Answer a station. The same confirmation again gets the same answer. Raises what refuses it."""
        (answer,) = await self._settle([command], caller)
        if isinstance(answer, DeviceConfirmed):
            return answer
        raise answer

    async def confirm_all(self, command: ConfirmDevices, caller: Caller) -> DevicesConfirmed:
        """Answer a station, item by item."""
        order = command.work_order
        singles = [ConfirmDevice(order, item.serial, item.chain_sha256, item.signature) for item in command.items]
        tag = tag_of(command)
        answers = await self._settle(singles, caller)
        for item in answers:
            await self._room.vigilance.note(caller.identity, item if isinstance(item, Exception) else None)
        return DevicesConfirmed(
            tuple(item if isinstance(item, DeviceConfirmed) else problem_of(item, tag) for item in answers)
        )

    async def _settle(self, singles: Sequence[ConfirmDevice], caller: Caller) -> Sequence[Answer]:
        judged: list[Judged] = []
        for start in range(0, len(singles), AT_ONCE):
            part = [await self._judge(single, caller) for single in singles[start : start + AT_ONCE]]
            judged += await self._room.act(partial(self._look_up, part))
        verified = await asyncio.to_thread(lambda: [verify(item) for item in judged])
        return await self._room.act(lambda: self._record(verified, caller))

    async def _judge(self, command: ConfirmDevice, caller: Caller) -> Judged:
        try:
            return Judged(command, await self._admit(command, caller))
        except (KeyroomError, PkiError) as error:
            return Judged(command, refusal=error)

    def _look_up(self, items: Sequence[Judged]) -> list[Judged]:
        """The evidence of each item. Writer's thread."""
        archive = read_archive(self._room, [item.command.serial for item in items if item.refusal is None])
        return [item if item.refusal else look_up(item, archive, partial(load_chain, self._room)) for item in items]

    def _record(self, judged: Sequence[Judged], caller: Caller) -> Sequence[Answer]:
        """Decide and write, on the writer's thread. A crash before the one commit leaves nothing."""
        books = read_books(self._room, [item.command.serial for item in judged])
        verdicts = [decide(self._room, item, books) for item in judged]
        drafts: list[EntryDraft] = []
        fresh: dict[str, int] = {}
        for item, verdict in zip(judged, verdicts, strict=True):
            if isinstance(verdict, Exception):
                drafts.append(entries.event_refused(KIND, caller.actor, item.what, verdict))
            elif verdict is None and item.command.serial not in fresh:
                fresh[item.command.serial] = len(drafts)
                drafts.append(entries.event(KIND, caller.actor, item.what))
        placed = self._room.ledger.commit(
            lambda _: drafts, lambda at: (list_rows(drafts, at), ()), settles=self._room.ledger.settled
        )
        return list(list_answers(judged, verdicts, {serial: placed[at].seq for serial, at in fresh.items()}))


def read_archive(room: Room, serials: Sequence[str]) -> Archive:
    """What there is of these serials. Writer's thread. Raises JournalForked when an entry is not in the tree."""
    with room.store.read() as connection:
        devices = {row["serial"]: row for row in select_in(connection, DeviceRow, "serial", serials)}
    digests = [row["certificate"] for row in devices.values()]
    seqs = read_entries(room.store, digests)
    entered = room.ledger.read_entries(list(seqs.values()))
    return Archive(devices, {sha256: entered[seq] for sha256, seq in seqs.items()}, read_documents(room.store, digests))


def look_up(item: Judged, archive: Archive, find_chain: Callable[[str], bytes]) -> Judged:
    """An item with its evidence, or with its refusal: DeviceUnknown, JournalForked. find_chain: by the CA's key."""
    command, device = item.command, archive.devices.get(item.command.serial)
    if device is None or device["work_order"] != command.work_order:
        unknown = DeviceUnknown(
            f"{command.serial} has no certificate under {command.work_order}", hint="ask for its certificate first"
        )
        return msgspec.structs.replace(item, refusal=unknown)
    sha256: str = device["certificate"]
    placed, leaf = archive.entries.get(sha256, (None, None))
    certificate = archive.certificates.get(sha256)
    issued = read_outcome(placed.seq, placed.leaf) if placed else None
    named = issued and (issued.serial, issued.document) == (command.serial, sha256)
    if not named or certificate is None or placed is None or issued is None:
        forked = JournalForked(f"device {command.serial}: its row is not what the journal says", hint=RESTORE)
        return msgspec.structs.replace(item, refusal=forked)
    station = (leaf and leaf.actor and leaf.actor.sub) or ""
    evidence = Evidence(issued, sha256, certificate, placed.hash, find_chain(issued.ca), station)
    return msgspec.structs.replace(item, evidence=evidence)


def verify(item: Judged) -> Judged:
    """Hash and signature, by the evidence. Any thread."""
    if item.refusal is not None or item.evidence is None or item.line is None:
        return item
    command, evidence = item.command, item.evidence
    if hash_chain(evidence.certificate, evidence.chain) != command.chain_sha256:
        refusal: KeyroomError = ChainMismatch(
            f"{command.serial} does not hold the certificate and the chain that were handed out",
            hint="write them again and read them back; quarantine the unit when it happens twice",
        )
        return msgspec.structs.replace(item, refusal=refusal)
    key = read_certificate(evidence.certificate).public_key()
    try:
        verify_confirmation(
            key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            evidence.nonce, command.chain_sha256, command.signature,
        )  # fmt: skip
    except SignatureInvalid:
        refusal = ConfirmationInvalid(
            f"the confirmation of {command.serial} is not signed by its key", hint="quarantine the unit"
        )
        return msgspec.structs.replace(item, refusal=refusal)
    return item


def read_books(room: Room, serials: Sequence[str]) -> Books:
    """The rows of these serials: of the devices, and the entries of confirmations by serial and certificate."""
    devices: dict[str, Row] = {}
    confirmed: dict[tuple[str, str], int] = {}
    with room.store.read() as connection:
        for start in range(0, len(serials), ROWS_AT_ONCE):
            part = serials[start : start + ROWS_AT_ONCE]
            devices |= {row["serial"]: row for row in select_in(connection, DeviceRow, "serial", part)}
            rows = select_in(connection, ConfirmationRow, "serial", part)
            confirmed |= {(row["serial"], row["certificate"]): row["seq"] for row in rows}
    return Books(devices, confirmed)


def decide(room: Room, item: Judged, books: Books) -> Verdict:
    """The entry of an earlier confirmation, why there is none, or None: it is one now. Writer's thread."""
    serial, order = item.command.serial, item.command.work_order
    if item.refusal is not None or item.evidence is None:
        return item.refusal
    units = room.ledger.replay.units
    if serial in units.scrapped:
        return UnitScrapped(f"unit {serial} was scrapped", hint="quarantine the unit")
    if books.devices[serial]["certificate"] != item.evidence.sha256:
        return CertificateReplaced(f"unit {serial} was reworked meanwhile", hint="confirm its new certificate")
    earlier = books.confirmed.get((serial, item.evidence.sha256))
    if earlier is None and units.orders[order].closed is not None and serial not in find_excused(room, order):
        hint = "scrap the unit, or have it reworked under another order"
        return WorkOrderClosed(f"work order {order} was closed before {serial} was confirmed", hint=hint)
    try:
        check_withdrawn(room, item.evidence.issued)
    except KeyroomError as refusal:
        return refusal
    return earlier


def list_rows(drafts: Sequence[EntryDraft], placed: Sequence[Placed]) -> list[Change]:
    """The rows of the units that are confirmed now."""
    facts = ((draft["op"]["what"], at.seq) for draft, at in zip(drafts, placed, strict=True) if "out" not in draft)
    rows = ({"serial": what["serial"], "certificate": what["certificate"], "seq": seq} for what, seq in facts)
    return [Insert(ConfirmationRow, row) for row in rows]


def list_answers(judged: Sequence[Judged], verdicts: Sequence[Verdict], fresh: Mapping[str, int]) -> Iterator[Answer]:
    """One answer for each item; the second of two for one unit repeats the first."""
    told: set[str] = set()
    for item, verdict in zip(judged, verdicts, strict=True):
        serial = item.command.serial
        if isinstance(verdict, Exception):
            yield verdict
        else:
            yield DeviceConfirmed(
                serial, fresh[serial] if verdict is None else verdict, verdict is not None or serial in told
            )
            told.add(serial)
