"""A complete export of the journal: checkpoint, every tile, every blob, the schema; in parts, at one tree size."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import select

from ceremonies import entries
from ceremonies.commands import ExportJournal, JournalPart
from ceremonies.desk import Caller
from ceremonies.errors import KeyroomError
from ceremonies.room import Room
from ceremonies.store import table_of
from ceremonies.tables import BlobRow
from ceremonies.tiling import read_tile
from pki.log.tiles import list_tiles

PART_BYTES = 8 << 20
_DIGEST = re.compile("([0-9a-f]{64})?")


class ExportRefused(KeyroomError):
    """An export cannot begin, or its cursor is not one that was given out."""

    code = "export-refused"


class Export:
    """One export at a time is under way per tree size; its checkpoint is kept until it ends."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._notes: dict[int, bytes] = {}

    async def export(self, command: ExportJournal, caller: Caller) -> JournalPart:
        """The files from `cursor` on. The first call fixes the size; reading the journal is itself an entry."""
        if not command.cursor:
            draft = entries.event("export", caller.actor, {"export": "journal"})
            await self._room.act(lambda: self._room.ledger.record([draft]))
            note, size = await self._room.act(self._begin)
            if not note:
                raise ExportRefused("the journal has no key yet", hint="finish genesis first")
            self._notes = {size: note}
            return JournalPart(size, (("checkpoint", note), *_documents()), "tile/0")
        if command.size not in self._notes:
            raise ExportRefused("this export is over", hint="begin again, without a cursor")
        return await asyncio.to_thread(self._part, command.size, *_parse_cursor(command.cursor))

    def _begin(self) -> tuple[bytes, int]:
        return self._room.ledger.sign_checkpoint(), self._room.ledger.journal.size

    def _part(self, size: int, kind: str, start: str) -> JournalPart:
        source = self._tiles(size, int(start or 0)) if kind == "tile" else self._blobs(size, start)
        files: list[tuple[str, bytes]] = []
        total = 0
        for path, data, following in source:
            files.append((path, data))
            total += len(data)
            if total > PART_BYTES:
                return JournalPart(size, tuple(files), following)
        return JournalPart(size, tuple(files), "blob/" if kind == "tile" else "")

    def _tiles(self, size: int, start: int) -> Iterator[tuple[str, bytes, str]]:
        for number, tile in enumerate(list_tiles(size)):
            if number >= start:
                yield tile.path, read_tile(self._room.store, tile), f"tile/{number + 1}"

    def _blobs(self, size: int, after: str) -> Iterator[tuple[str, bytes, str]]:
        blob = table_of(BlobRow)
        query = select(blob.c.sha256).where(blob.c.sha256 > after, blob.c.seq < size).order_by(blob.c.sha256)
        names = self._room.store.rows(query)
        for row in names:
            name = row["sha256"]
            yield f"blob/{name[:2]}/{name}", self._room.store.blob(name) or b"", f"blob/{name}"


def _parse_cursor(cursor: str) -> tuple[str, str]:
    """Kind and start of a cursor that `JournalPart` gave out. Raises ExportRefused."""
    kind, _, start = cursor.partition("/")
    if (kind, start.isdecimal()) != ("tile", True) and not (kind == "blob" and _DIGEST.fullmatch(start)):
        raise ExportRefused(f"no export has the cursor {cursor[:80]!r}", hint="send the cursor of the last part")
    return kind, start


def _documents() -> tuple[tuple[str, bytes], ...]:
    """The schema and the payload definitions, so that an export explains itself."""
    docs = Path(__file__).parent.parent / "docs"
    return tuple((name, (docs / name).read_bytes()) for name in ("leaf.schema.json", "trust.cddl"))
