"""An export of the journal in parts, at one tree size: checkpoints, tiles, blobs, schema. Complete, or an increment."""

import asyncio
import contextlib
import re
from collections.abc import Callable, Mapping
from importlib.resources import files
from types import MappingProxyType

import msgspec
from sqlalchemy import select

from ceremonies import entries
from ceremonies.commands import ExportJournal, JournalPart
from ceremonies.cosigned import list_cosigned, list_stamps
from ceremonies.desk import Caller
from ceremonies.errors import KeyroomError
from ceremonies.increments import Files, list_carried, list_fresh
from ceremonies.journal import JournalForked
from ceremonies.room import Room
from ceremonies.store import digest, read_parts, table_of
from ceremonies.tables import BlobRow, EvidenceRow
from ceremonies.tiling import read_tile
from ceremonies.witnesses import WitnessesBehind
from pki.log.increments import CONSISTENCY
from pki.log.schema import leaf_schema
from pki.log.tiles import increment_tiles
from pki.log.witnesses import Submission, encode_submission

PART_BYTES = 8 << 20
NAMES_AT_ONCE = 1024
EXPORTS = 8
"""Exports that may be under way; the one that was read longest ago ends when another begins."""

_NUMBER = re.compile("[0-9]{1,18}", re.ASCII)
_DIGEST = re.compile("([0-9a-f]{64})?")


class ExportRefused(KeyroomError):
    """An export cannot begin, or its cursor is not one that was given out."""

    code = "export-refused"


class Ask(msgspec.Struct, frozen=True):
    """What is asked for, and the checkpoint that stands above it."""

    command: ExportJournal
    note: bytes


class Export:
    """Exports are told apart by their tree size; the checkpoints of the last `EXPORTS` sizes are kept."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._notes: dict[int, bytes] = {}

    async def export(self, command: ExportJournal, caller: Caller) -> JournalPart:
        """The files from `cursor` on. The first call fixes the size; reading the journal is itself an entry."""
        if not command.cursor:
            return await self._begin(command, caller)
        if command.size not in self._notes or command.since > command.size:
            raise ExportRefused("this export is over", hint="begin again, without a cursor")
        note = self._notes[command.size]
        self._keep(command.size, note)
        return await asyncio.to_thread(self._part, command, note)

    async def _begin(self, command: ExportJournal, caller: Caller) -> JournalPart:
        since = {"root": command.root, "since": command.since} if command.since else {}
        draft = entries.event("export", caller.actor, {"export": "journal", **since})
        await self._room.act(lambda: self._room.ledger.record([draft]))
        note, size = await cover_head(self._room)
        files = [("checkpoint", note), *documents()]
        if command.since:
            proof = await self._room.act(lambda: self._extend(command, size))
            files.append((CONSISTENCY, encode_submission(Submission(command.since, proof, note))))
        self._keep(size, note)
        return JournalPart(size, tuple(files), "tile/0")

    def _extend(self, command: ExportJournal, size: int) -> tuple[bytes, ...]:
        """The proof that the journal of `size` entries extends the auditor's checkpoint. Raises ExportRefused."""
        journal = self._room.ledger.journal
        if command.since > size:
            raise ExportRefused(f"the journal has {size} entries to show, that checkpoint {command.since}",
                                hint="is it of another journal? else somebody restored an old database")  # fmt: skip
        try:
            journal.check_extends(command.since, bytes.fromhex(command.root))
        except JournalForked as error:
            raise ExportRefused("the journal does not extend that checkpoint",
                                hint="keep it: if its signature is true, it proves a fork") from error  # fmt: skip
        return journal.consistency_proof(command.since, size)

    def _keep(self, size: int, note: bytes) -> None:
        """The newest stand last."""
        self._notes.pop(size, None)
        self._notes[size] = note
        while len(self._notes) > EXPORTS:
            del self._notes[next(iter(self._notes))]

    def _part(self, command: ExportJournal, note: bytes) -> JournalPart:
        kind, start = _parse_cursor(command.cursor)
        source, after = _SOURCES[kind]
        return fill_part(command.size, source(self, Ask(command, note), start), after(command.since))

    def _tiles(self, ask: Ask, start: str) -> Files:
        for number, tile in enumerate(increment_tiles(ask.command.since, ask.command.size)):
            if number >= int(start):
                yield tile.path, read_tile(self._room.store, tile), f"tile/{number + 1}"

    def _blobs(self, ask: Ask, after: str) -> Files:
        blob = table_of(BlobRow).c
        query = select(blob.sha256).where(blob.seq < ask.command.size).order_by(blob.sha256).limit(NAMES_AT_ONCE)
        while names := self._room.store.rows(query.where(blob.sha256 > after)):
            for row in names:
                after = row["sha256"]
                yield f"blob/{after[:2]}/{after}", self._room.store.blob(after) or b"", f"blob/{after}"

    def _evidence(self, ask: Ask, start: str) -> Files:
        at, row = int(start), table_of(EvidenceRow).c
        query = select(row.seq, row.parts).where(row.seq < ask.command.size).order_by(row.seq).limit(NAMES_AT_ONCE)
        while rows := self._room.store.rows(query.where(row.seq >= at)):
            for item in rows:
                at = item["seq"] + 1
                parts = read_parts(item["parts"])
                for left, data in zip(range(len(parts) - 1, -1, -1), parts, strict=True):
                    name = digest(data)
                    yield f"blob/{name[:2]}/{name}", data, "" if left else f"evidence/{at}"

    def _fresh(self, ask: Ask, start: str) -> Files:
        return list_fresh(self._room.store, ask.command, int(start))

    def _carried(self, ask: Ask, start: str) -> Files:
        return list_carried(self._room.store, ask.command, ask.note, int(start))

    def _checkpoints(self, ask: Ask, start: str) -> Files:
        after = int(start)
        while found := list_cosigned(self._room.store, after, ask.command.size):
            for earlier in found:
                after = earlier.size
                stamped = [
                    item for item in list_stamps(self._room.store, after - 1, after) if self._suffices(item.note)
                ]
                if self._suffices(earlier.note) and not stamped:  # the path is that of the note that was stamped
                    yield f"checkpoints/{after}", earlier.note, f"checkpoint/{after}"

    def _stamps(self, ask: Ask, start: str) -> Files:
        after = int(start)
        while found := list_stamps(self._room.store, after, ask.command.size):
            for stamped in found:
                after = stamped.size
                if self._suffices(stamped.note):
                    yield f"checkpoints/{after}", stamped.note, f"stamp/{after - 1}"
                    yield f"checkpoints/{after}.tsr", stamped.response, f"stamp/{after}"

    def _suffices(self, note: bytes) -> bool:
        """Whether it may be exported: a checkpoint of an earlier quorum would fail under today's."""
        return self._room.witnesses.suffices(note)


async def cover_head(room: Room) -> tuple[bytes, int]:
    """The newest cosigned checkpoint, over this head unless witnesses are away; the head itself without any.

    Raises ExportRefused before the journal has a key.
    """
    head = await room.act(lambda: (room.ledger.sign_checkpoint(), room.ledger.journal.size))
    witnesses = room.witnesses
    with contextlib.suppress(WitnessesBehind):  # what they covered before can be exported all the same
        await witnesses.demand(head[1])
    note, size = (witnesses.latest.note, witnesses.latest.size) if witnesses.asked and witnesses.latest.size else head
    if not note:
        raise ExportRefused("the journal has no key yet", hint="finish genesis first")
    return note, size


def fill_part(size: int, source: Files, after: str) -> JournalPart:
    """Files until there are `PART_BYTES`, and the cursor behind them; `after` when the source has no more."""
    files: list[tuple[str, bytes]] = []
    total = 0
    for path, data, following in source:
        files += [(path, data)] if path else []
        total += len(data)
        if following and total > PART_BYTES:
            return JournalPart(size, tuple(files), following)
    return JournalPart(size, tuple(files), after)


_Source = Callable[[Export, Ask, str], Files]
# Where a cursor of each kind reads, and the cursor after its last file, by the size that is known already.
_SOURCES: Mapping[str, tuple[_Source, Callable[[int], str]]] = MappingProxyType(
    {
        "tile": (Export._tiles, lambda since: f"fresh/{since}" if since else "blob/"),
        "blob": (Export._blobs, lambda _: "evidence/0"),
        "evidence": (Export._evidence, lambda _: "checkpoint/0"),
        "fresh": (Export._fresh, lambda _: "carried/0"),
        "carried": (Export._carried, "checkpoint/{}".format),
        "checkpoint": (Export._checkpoints, "stamp/{}".format),
        "stamp": (Export._stamps, lambda _: ""),
    }
)


def _parse_cursor(cursor: str) -> tuple[str, str]:
    """Kind and start of a cursor that `JournalPart` gave out. Raises ExportRefused."""
    kind, _, start = cursor.partition("/")
    pattern = _DIGEST if kind == "blob" else _NUMBER
    if kind not in _SOURCES or not pattern.fullmatch(start):
        raise ExportRefused(f"no export has the cursor {cursor[:80]!r}", hint="send the cursor of the last part")
    return kind, start


def documents() -> tuple[tuple[str, bytes], ...]:
    """The schema and the payload definitions, so that an export explains itself."""
    payloads = files("pki.trust").joinpath("trust.cddl").read_bytes()
    return (("leaf.schema.json", leaf_schema()), ("trust.cddl", payloads))
