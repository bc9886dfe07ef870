"""A complete export of the journal, in parts, at one tree size: checkpoints, tiles, blobs, schema."""

import asyncio
import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from types import MappingProxyType

from sqlalchemy import select

from ceremonies import entries
from ceremonies.commands import ExportJournal, JournalPart
from ceremonies.cosigned import list_cosigned
from ceremonies.desk import Caller
from ceremonies.errors import KeyroomError
from ceremonies.room import Room
from ceremonies.store import digest, octets, table_of
from ceremonies.tables import BlobRow, EvidenceRow
from ceremonies.tiling import read_tile
from ceremonies.witnesses import WitnessesBehind
from pki.log.schema import leaf_schema
from pki.log.tiles import list_tiles

PART_BYTES = 8 << 20
NAMES_AT_ONCE = 1024
EXPORTS = 8
"""Exports that may be under way; the one that was read longest ago ends when another begins."""

_NUMBER = re.compile("[0-9]{1,18}", re.ASCII)
_DIGEST = re.compile("([0-9a-f]{64})?")


class ExportRefused(KeyroomError):
    """An export cannot begin, or its cursor is not one that was given out."""

    code = "export-refused"


class Export:
    """Exports are told apart by their tree size; the checkpoints of the last `EXPORTS` sizes are kept."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._notes: dict[int, bytes] = {}

    async def export(self, command: ExportJournal, caller: Caller) -> JournalPart:
        """The files from `cursor` on. The first call fixes the size; reading the journal is itself an entry."""
        if not command.cursor:
            draft = entries.event("export", caller.actor, {"export": "journal"})
            await self._room.act(lambda: self._room.ledger.record([draft]))
            note, size = await self._cover(await self._room.act(self._begin))
            if not note:
                raise ExportRefused("the journal has no key yet", hint="finish genesis first")
            self._keep(size, note)
            return JournalPart(size, (("checkpoint", note), *_documents()), "tile/0")
        if command.size not in self._notes:
            raise ExportRefused("this export is over", hint="begin again, without a cursor")
        self._keep(command.size, self._notes[command.size])
        return await asyncio.to_thread(self._part, command.size, *_parse_cursor(command.cursor))

    def _keep(self, size: int, note: bytes) -> None:
        """The newest stand last."""
        self._notes.pop(size, None)
        self._notes[size] = note
        while len(self._notes) > EXPORTS:
            del self._notes[next(iter(self._notes))]

    async def _cover(self, head: tuple[bytes, int]) -> tuple[bytes, int]:
        """The newest cosigned checkpoint, over this head unless witnesses are away; the head itself without any."""
        witnesses = self._room.witnesses
        with contextlib.suppress(WitnessesBehind):  # what they covered before can be exported all the same
            await witnesses.demand(head[1])
        return (witnesses.latest.note, witnesses.latest.size) if witnesses.asked and witnesses.latest.size else head

    def _begin(self) -> tuple[bytes, int]:
        return self._room.ledger.sign_checkpoint(), self._room.ledger.journal.size

    def _part(self, size: int, kind: str, start: str) -> JournalPart:
        source, after = _SOURCES[kind]
        files: list[tuple[str, bytes]] = []
        total = 0
        for path, data, following in source(self, size, start):
            files.append((path, data))
            total += len(data)
            if total > PART_BYTES:
                return JournalPart(size, tuple(files), following)
        return JournalPart(size, tuple(files), after)

    def _tiles(self, size: int, start: str) -> Iterator[tuple[str, bytes, str]]:
        for number, tile in enumerate(list_tiles(size)):
            if number >= int(start):
                yield tile.path, read_tile(self._room.store, tile), f"tile/{number + 1}"

    def _blobs(self, size: int, after: str) -> Iterator[tuple[str, bytes, str]]:
        blob = table_of(BlobRow).c
        query = select(blob.sha256).where(blob.seq < size).order_by(blob.sha256).limit(NAMES_AT_ONCE)
        while names := self._room.store.rows(query.where(blob.sha256 > after)):
            for row in names:
                after = row["sha256"]
                yield f"blob/{after[:2]}/{after}", self._room.store.blob(after) or b"", f"blob/{after}"

    def _evidence(self, size: int, start: str) -> Iterator[tuple[str, bytes, str]]:
        at, row = int(start), table_of(EvidenceRow).c
        query = select(row.seq, row.data).where(row.seq < size).order_by(row.seq, row.part).limit(NAMES_AT_ONCE)
        while rows := self._room.store.rows(query.where(row.seq >= at)):
            # A full page may end inside an entry, which then begins the next page; no entry has a hundred parts.
            at = rows[-1]["seq"] + (len(rows) < NAMES_AT_ONCE)
            for item in rows:
                if item["seq"] < at:
                    data = octets(item["data"])
                    name = digest(data)
                    yield f"blob/{name[:2]}/{name}", data, f"evidence/{item['seq']}"

    def _checkpoints(self, size: int, start: str) -> Iterator[tuple[str, bytes, str]]:
        after = int(start)
        while found := list_cosigned(self._room.store, after, size):
            for earlier in found:
                after = earlier.size
                if self._room.witnesses.suffices(earlier.note):  # those of an earlier quorum would fail under today's
                    yield f"checkpoints/{after}", earlier.note, f"checkpoint/{after}"


_Source = Callable[[Export, int, str], Iterator[tuple[str, bytes, str]]]
# Where a cursor of each kind reads, and the cursor after its last file.
_SOURCES: Mapping[str, tuple[_Source, str]] = MappingProxyType(
    {
        "tile": (Export._tiles, "blob/"),
        "blob": (Export._blobs, "evidence/0"),
        "evidence": (Export._evidence, "checkpoint/0"),
        "checkpoint": (Export._checkpoints, ""),
    }
)


def _parse_cursor(cursor: str) -> tuple[str, str]:
    """Kind and start of a cursor that `JournalPart` gave out. Raises ExportRefused."""
    kind, _, start = cursor.partition("/")
    pattern = _DIGEST if kind == "blob" else _NUMBER
    if kind not in _SOURCES or not pattern.fullmatch(start):
        raise ExportRefused(f"no export has the cursor {cursor[:80]!r}", hint="send the cursor of the last part")
    return kind, start


def _documents() -> tuple[tuple[str, bytes], ...]:
    """The schema and the payload definitions, so that an export explains itself."""
    payloads = files("pki.trust").joinpath("trust.cddl").read_bytes()
    return (("leaf.schema.json", leaf_schema()), ("trust.cddl", payloads))
