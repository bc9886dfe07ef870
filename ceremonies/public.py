"""Static files for the world: checkpoint, hash tiles, trust sets, CA certificates. They outlive the keyroom."""

import os
from collections.abc import Iterable
from pathlib import Path

from ceremonies.room import Room
from ceremonies.store import Store
from ceremonies.tables import CertificateRow, CounterUpdateRow, TrustSetRow
from ceremonies.tiling import read_tile
from pki.log.tiles import ENTRIES, changed_tiles


class Publisher:
    """Writes what is new since the last time. The checkpoint comes last, so that what it covers is there."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._root = room.settings.public
        self._published = 0

    async def publish(self) -> None:
        """Bring the public directory up to the committed head."""
        note, size = await self._room.act(lambda: (self._room.ledger.sign_checkpoint(), self._room.ledger.journal.size))
        if not note or size == self._published:
            return
        for tile in changed_tiles(self._published, size):
            if tile.level != ENTRIES:
                write_file(self._root / "journal" / tile.path, read_tile(self._room.store, tile))
        for path, data in public_documents(self._room.store):
            write_file(self._root / path, data)
        write_file(self._root / "journal" / "checkpoint", note)
        self._published = size


def public_documents(store: Store) -> Iterable[tuple[str, bytes]]:
    """Trust sets, counter updates and CA certificates: (path, bytes)."""
    for row in store.list(TrustSetRow, "index"):
        name = f"set-{row['index'] // 64}-{row['index'] % 64}.cose"
        yield f"trust/{name}", store.blob(row["document"]) or b""
    for row in store.list(CounterUpdateRow, "sequence"):
        yield f"trust/counter-update-{row['sequence']}.cose", store.blob(row["document"]) or b""
    for row in store.list(CertificateRow, "label"):
        yield f"ca/{row['label']}.pem", store.blob(row["document"]) or b""


def write_file(path: Path, data: bytes) -> None:
    """Replace a file in one step: a reader sees the old bytes or the new ones."""
    if path.exists() and path.stat().st_size == len(data) and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    with fresh.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
