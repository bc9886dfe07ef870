"""Settlements: the centre reads what its site boxes did, and takes their devices into its register.

A medium is verified as any auditor verifies an export, with the policy that officers pinned for the box's journal and
the last checkpoint that was settled: a journal that was cut, forked or set back is named, and nothing is taken from it.
What `ceremonies.settling` finds is recorded with the settlement; clones are found against everything known here.
"""

import asyncio
import hashlib
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from typing import IO, Any, Final

import msgspec

from ceremonies import entries
from ceremonies.arrivals import Arrivals
from ceremonies.certified import place_under
from ceremonies.commands import BoxSettled, FindingShown, SettleBox
from ceremonies.desk import Caller
from ceremonies.errors import KeyroomError
from ceremonies.fleet import Fleet
from ceremonies.granted import SETTLE, Box, Grant
from ceremonies.grants import find_box, load_plant_ca
from ceremonies.journal import RESTORE, JournalForked, Placed
from ceremonies.replicas import Facts
from ceremonies.room import Room
from ceremonies.settling import NOTICES, Held, Settling, State
from ceremonies.store import Change
from ceremonies.uploads import read_artefact
from ceremonies.withdrawals import withdraw_settled
from pki.log.audit import SINCE
from pki.log.checkpoints import Checkpoint
from pki.log.digests import Digests
from pki.log.errors import AuditFailed, ConsistencyInvalid, TrustPolicyInvalid
from pki.log.evidence import blob_path, read_blob_path
from pki.log.exports import verify_export, walk_export
from pki.log.files import CHECKPOINT, Files
from pki.log.leaves import parse_leaf
from pki.log.media import list_files
from pki.log.parties import PARTY
from pki.log.pins import KeyChange, KeyStop, advance_policy, check_pins, follow_head, read_change, write_pins
from pki.log.policy import TrustPolicy, parse_policy

SHOWN: Final = 1_000
KEPT: Final = 10_000
"""Findings that a report keeps; the entry says how many there are."""
WHY_LIMIT: Final = 300


class SettlementRefused(KeyroomError):
    """The medium holds no journal of this box that verifies, or not the part that comes next. Nothing was taken."""

    code = "settlement-refused"


class BoxForked(KeyroomError):
    """The journal of a box contradicts what was settled before: it was set back, or there are two of it."""

    code = "box-forked"


class Reading(msgspec.Struct, frozen=True):
    """A medium that was read: its SHA-256, the checkpoint (and its note), what was known before, what follows.

    policy: by which the journal is read from now on; empty when its keys are those of before.
    """

    medium: str
    checkpoint: Checkpoint
    note: bytes
    box: Box
    settling: Settling
    policy: bytes


class Settlements:
    """Reads media, one at a time."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._turn = asyncio.Lock()

    async def settle(self, command: SettleBox, caller: Caller) -> BoxSettled:
        """Settle a box. The medium that was settled last gets the same answer.

        Raises BoxUnknown, ArtefactMissing, SettlementRefused, BoxForked.
        """
        room = self._room
        async with self._turn:
            box = find_box(room, command.box)
            try:
                reading = await self._receive(box, command.parts)
            except KeyroomError as error:
                what = {"box": box.label, "parts": list(command.parts), "plant": box.plant}
                refused = entries.event_refused(SETTLE, caller.actor, what, error)
                await room.act(lambda: room.ledger.record([refused]))
                raise
            return await room.act(lambda: self._settle(reading, command, caller) if reading else recall(room, box))

    async def _receive(self, box: Box, parts: Sequence[str]) -> Reading | None:
        """What a medium says; None for the one that was settled last. In a thread of its own."""
        with tempfile.TemporaryFile(dir=self._room.settings.spool) as file:
            medium = await asyncio.to_thread(join_parts, self._room, parts, file)
            return None if medium == box.medium else await asyncio.to_thread(self._read, box, medium, file)

    def _read(self, box: Box, medium: str, file: IO[bytes]) -> Reading:
        """Verify the journal on a medium, and judge its new entries."""
        room = self._room
        facts = room.writer.run_now(lambda: load_facts(room, box))
        try:
            text = read_blob(room, box.policy)
            policy, changes = parse_policy(text), list[KeyChange | KeyStop]()
            files = follow_head(open_medium(file, policy), box.size)
            head, _ = files.head()
            state = load_state(room, box)
            self._verify(box, files, (head, state))
            settling = Settling(Held(list_made(room, box), facts, finder(files)), state)
            for seq, data in walk_export(files, box.size):
                settling.take(seq, leaf := parse_leaf(data))
                changes += [change] if (change := read_change(seq, leaf)) else []
            pinned = advance_policy(policy, changes)
            check_pins(files, pinned)
            pins = b"" if pinned == policy else write_pins(text, pinned)
        except (AuditFailed, TrustPolicyInvalid) as error:
            hint = error.hint or "export it again; when that does not help, look at the box"
            raise SettlementRefused(f"{box.label}: {error}", hint=hint) from error
        settling.finish()
        return Reading(medium, head, files.read(CHECKPOINT), box, settling, pins)

    def _verify(self, box: Box, files: Files, last: tuple[Checkpoint, State]) -> None:
        """The export is this box's, and extends what was settled. Raises AuditFailed, BoxForked."""
        head, state = last
        if PARTY in files.paths:
            raise AuditFailed(f"{PARTY}: a part of a journal settles nothing", hint="export the journal", path=PARTY)
        if head.size < box.size:
            verify_export(files, allow_open=True)
            if any(parse_leaf(data).ts > state.ts for _, data in deque(walk_export(files), maxlen=1)):
                raise self._forked(box, f"{head.size} entries, later than the {box.size} settled: it was set back")
            told = f"the medium has {head.size} entries, {box.size} were settled"
            raise AuditFailed(told, hint="bring a newer export")
        try:
            verify_export(files, read_blob(self._room, box.checkpoint) if box.size else None, allow_open=True)
        except AuditFailed as error:
            if error.path == SINCE or isinstance(error.__cause__, ConsistencyInvalid):
                raise self._forked(box, str(error)) from error
            raise

    def _forked(self, box: Box, why: str) -> BoxForked:
        hint = "stop the box, keep both journals; see the runbook site-box"
        return BoxForked(f"{box.label}: the journal contradicts what was settled: {why}", hint=hint)

    def _settle(self, reading: Reading, command: SettleBox, caller: Caller) -> BoxSettled:
        """Find clones, and record everything in one commit. Writer's thread."""
        room, box, settling = self._room, reading.box, reading.settling
        if room.ledger.replay.grants.boxes[box.label] != box:
            raise SettlementRefused(f"{box.label} was settled meanwhile", hint="send the request again")
        arrivals = Arrivals(room, box, settling.certificates, settling.confirmed)
        findings = [*settling.findings, *arrivals.findings]
        answer = BoxSettled(
            box=box.label, since=box.size, size=reading.checkpoint.size, certificates=len(arrivals.certificates),
            devices=len(arrivals.devices), counts=dict(settling.counts), used=settling.state.used,
            findings=tuple(FindingShown(item.code, item.seq, item.serial, item.said) for item in findings[:KEPT]),
            findings_count=len(findings), alarm=any(item.code not in NOTICES for item in findings), index=0,
        )  # fmt: skip
        if command.dry_run:
            return show(answer)
        blobs = [reading.note, msgspec.json.encode(settling.state), msgspec.json.encode(answer), arrivals.statements]
        draft = entries.event(SETTLE, caller.actor, describe(reading, answer, [digest_of(item) for item in blobs]))
        blobs += [reading.policy] if reading.policy else []
        words = withdraw_settled(room, box, settling.revoked, arrivals.accepted, caller.actor)

        def follow(placed: Sequence[Placed]) -> tuple[Sequence[Change], Sequence[bytes]]:
            return [*arrivals.changes(placed[0].seq), *words.changes(placed[1:])], blobs

        placed = room.ledger.commit(lambda _: [draft, *words.drafts], follow, settles=room.ledger.settled)
        return show(msgspec.structs.replace(answer, index=placed[0].seq))


def list_made(room: Room, box: Box) -> dict[str, Grant]:
    """The grants of a box, by id."""
    made = list(room.ledger.replay.grants.made.values())
    return {grant.id: grant for grant in made if grant.ca == box.ca}


def load_facts(room: Room, box: Box) -> dict[str, Facts]:
    """What the box's certificates are made by, for each of its grants, and today. Writer's thread.

    Raises JournalForked.
    """
    issuer = load_plant_ca(room, box)
    fleets = {"": room.door.require_governing().policy.fleet}
    for grant in list_made(room, box).values():
        if grant.facts:
            fleets[grant.id] = msgspec.json.decode(read_blob(room, grant.facts), type=Fleet)
    return {name: Facts(place_under(fleet, issuer, box.label), fleet) for name, fleet in fleets.items()}


def recall(room: Room, box: Box) -> BoxSettled:
    """The answer of the last settlement. Writer's thread. Raises JournalForked."""
    answer = msgspec.json.decode(read_blob(room, box.report), type=BoxSettled)
    return show(msgspec.structs.replace(answer, index=box.seq))


def show(answer: BoxSettled) -> BoxSettled:
    """As much of an answer as one message holds."""
    return msgspec.structs.replace(answer, findings=answer.findings[:SHOWN])


def read_blob(room: Room, digest: str) -> bytes:
    """A document that an entry names. Raises JournalForked."""
    data = room.store.blob(digest)
    if data is None:
        raise JournalForked(f"document {digest[:16]} is missing", hint=RESTORE)
    return data


def load_state(room: Room, box: Box) -> State:
    """What the settled part of a box's journal led to. Raises JournalForked."""
    return msgspec.json.decode(read_blob(room, box.state), type=State) if box.state else State()


def describe(reading: Reading, answer: BoxSettled, digests: Sequence[str]) -> dict[str, Any]:
    """`op.what` of a settlement; digests: of the box's checkpoint, of the state, of the report, of what is accepted."""
    names = ("box", "since", "size", "certificates", "devices", "alarm")
    what = {name: getattr(answer, name) for name in names} | {"findings": answer.findings_count}
    if answer.findings:
        what["why"] = f"{answer.findings[0].code}: {answer.findings[0].said}"[:WHY_LIMIT]
    if reading.policy:
        what["policy"] = digest_of(reading.policy)
    return {
        **what,
        "medium": reading.medium,
        "plant": reading.box.plant,
        "root": reading.checkpoint.root.hex(),
        **dict(zip(("checkpoint", "state", "report", "accepted"), digests, strict=True)),
    }


def join_parts(room: Room, parts: Sequence[str], file: IO[bytes]) -> str:
    """Write uploaded parts one after the other. Returns the SHA-256 of the whole. Raises ArtefactMissing."""
    whole = hashlib.sha256()
    for part in parts:
        data = read_artefact(room, part)
        whole.update(data)
        file.write(data)
    return whole.hexdigest()


def open_medium(file: IO[bytes], policy: TrustPolicy) -> Files:
    """The files of a medium, to be judged under a policy. Raises AuditFailed."""

    def read_at(offset: int, size: int) -> bytes:
        file.seek(offset)
        return file.read(size)

    places = list_files(read_at)
    blobs = [name for name in map(read_blob_path, places) if name]

    def read(path: str) -> bytes:
        if path not in places:
            raise AuditFailed(f"{path}: the file is missing", path=path)
        return read_at(*msgspec.structs.astuple(places[path]))

    return Files(read, frozenset(path for path in places if not read_blob_path(path)), policy, blobs=Digests(blobs))


def finder(files: Files) -> Callable[[str], bytes | None]:
    """How a document of an export is found by its SHA-256."""
    return lambda digest: files.read(blob_path(digest)) if digest in files.blobs else None


def digest_of(data: bytes) -> str:
    """Lowercase hex SHA-256."""
    return hashlib.sha256(data).hexdigest()
