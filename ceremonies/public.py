"""Static files for the world: checkpoint, hash tiles, trust sets, CA certificates. They outlive the keyroom.

The last checkpoint (where the settings ask for witnesses: the last that their quorum cosigned) lies here and, as the
anchor, the last signed one beside the database: at start the journal must extend both.
"""

import asyncio
import os
import threading
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from ceremonies.anchors import TOKENS_ONE
from ceremonies.cosigned import late_documents
from ceremonies.journal import JournalForked
from ceremonies.ledger import Ledger
from ceremonies.logkey import CheckpointRejected, LogKey, read_kept
from ceremonies.room import Room
from ceremonies.settings import KeyroomSettings
from ceremonies.store import Store
from ceremonies.tables import CertificateRow, CounterUpdateRow, TrustSetRow
from ceremonies.tiling import read_tile
from pki.log.checkpoints import Checkpoint
from pki.log.notes import parse_note
from pki.log.tiles import ENTRIES, changed_tiles

_REPLACING = threading.Lock()
"""Two threads that replace one file, such as the anchor, would write over each other's new bytes."""


class Publisher:
    """Writes what is new since the last time, also the last time of an earlier process.

    The checkpoint comes last, so that what it covers is there; before it the anchor, so that it is never behind.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self._root = room.settings.public
        self._writing = threading.Lock()
        self._published = find_written(room.settings, room.ledger)
        self._anchored = 0

    async def publish(self) -> None:
        """Bring the public directory up to the committed head, or to as much of it as witnesses have cosigned."""
        note, size = await self._room.act(lambda: (self._room.ledger.sign_checkpoint(), self._room.ledger.journal.size))
        if note and size > self._anchored:
            await asyncio.to_thread(self._keep, note, size)
        if self._room.witnesses.asked:
            note, size = self._room.witnesses.latest.note, self._room.witnesses.latest.size
        if note and size > self._published:
            await asyncio.to_thread(self._write, note, size)

    def _keep(self, note: bytes, size: int) -> None:
        """As `_write`: an older anchor never replaces a newer one of this publisher."""
        with self._writing:
            if size > self._anchored:
                self._room.ledger.keep(note)
                self._anchored = size

    def _write(self, note: bytes, size: int) -> None:
        """In a thread of its own. A turn that was cancelled may still be writing: the next one waits for it."""
        with self._writing:
            if size <= self._published:
                return
            for tile in changed_tiles(self._published, size):
                if tile.level != ENTRIES:
                    write_file(self._root / "journal" / tile.path, read_tile(self._room.store, tile))
            for path, data in public_documents(self._room.store, size):
                write_file(self._root / path, data)
            write_file(published_path(self._room.settings), note)
            self._published = size


def published_path(settings: KeyroomSettings) -> Path:
    """Where the world finds the last checkpoint."""
    return settings.public / "journal" / "checkpoint"


def anchor_path(settings: KeyroomSettings) -> Path:
    """Where the keyroom keeps the last checkpoint for itself, beside the database."""
    return settings.data / "anchor"


def find_checkpoint(path: Path, log_key: LogKey | None) -> Checkpoint | None:
    """The checkpoint that was kept there. Raises JournalForked when the journal has no key that could have signed it,
    CheckpointRejected when its key did not, and the LogError of what does not parse.
    """
    return read_kept(path.read_bytes(), str(path), log_key) if path.exists() else None


def find_written(settings: KeyroomSettings, ledger: Ledger) -> int:
    """How many entries' tiles lie in the public directory; 0 when they are of a journal that was not this one."""
    try:
        published = find_checkpoint(published_path(settings), ledger.log_key)
        if published:
            ledger.journal.check_extends(published.size, published.root)
    except (JournalForked, CheckpointRejected):  # officers recovered the journal; else it had not started
        return 0
    return published.size if published else 0


def check_published(
    settings: KeyroomSettings, ledger: Ledger, kept: Sequence[Checkpoint] = (), excused: Collection[bytes] = ()
) -> None:
    """The journal must extend the checkpoint that the world has seen, and the anchor; after genesis there is one.
    And those that are `kept` elsewhere: in the journal's token.

    excused: texts of checkpoints that officers gave up when they recovered the journal (`ceremonies.salvage`).
    Raises JournalForked, CheckpointRejected.
    """
    paths = [path(settings) for path in (published_path, anchor_path)]
    given_up = [path for path in paths if path.exists() and parse_note(path.read_bytes()).text in excused]
    found = [find_checkpoint(path, ledger.log_key) for path in paths if path not in given_up]
    checkpoints = [checkpoint for checkpoint in found if checkpoint is not None]
    if ledger.governed and not checkpoints and not given_up:
        raise JournalForked(
            "genesis is over, and neither anchor nor published checkpoint is there to compare the journal with",
            hint=f"put the newest checkpoint back as {anchor_path(settings)}; auditors and mirrors have copies",
        )
    for checkpoint in checkpoints:
        ledger.journal.check_extends(checkpoint.size, checkpoint.root)
    for checkpoint in kept:
        ledger.journal.check_extends(checkpoint.size, checkpoint.root, TOKENS_ONE)


def public_documents(store: Store, size: int) -> Iterable[tuple[str, bytes]]:
    """Trust sets, counter updates and CA certificates that the first `size` entries released: (path, bytes)."""
    listed = [
        *(
            (row, f"trust/set-{row['index'] // 64}-{row['index'] % 64}.cose")
            for row in store.list(TrustSetRow, "index")
        ),
        *((row, f"trust/counter-update-{row['sequence']}.cose") for row in store.list(CounterUpdateRow, "sequence")),
        *((row, f"ca/{row['label']}.pem") for row in store.list(CertificateRow, "label")),
    ]
    late = late_documents(store, size, (row["document"] for row, _ in listed))
    for row, path in listed:
        if row["document"] not in late:
            yield path, store.blob(row["document"]) or b""


def write_file(path: Path, data: bytes) -> None:
    """Replace a file in one step, durably: a reader sees the old bytes or the new ones, also after a power cut. From
    any thread.
    """
    with _REPLACING:
        _replace_file(path, data)


def _replace_file(path: Path, data: bytes) -> None:
    if path.exists() and path.stat().st_size == len(data) and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    with fresh.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
