"""Exports of a started world, part by part, and what the verifier says of them."""

from collections.abc import Callable
from typing import Literal

from ceremonies.commands import AnyCommand, ExportJournal, ExportParty, JournalPart
from pki.log.checkpoints import Checkpoint, parse_checkpoint
from pki.log.exports import verify_export
from pki.log.files import Files
from pki.log.notes import parse_note
from pki.log.policy import parse_policy
from pki.log.reports import Report
from tests.world import World

Kind = Literal["key", "device", "work-order", "site", "change"]


async def fetch(world: World, ask: Callable[[int, str], AnyCommand]) -> dict[str, bytes]:
    """Every file of an export."""
    files: dict[str, bytes] = {}
    size, cursor = 0, ""
    while True:
        part = await world.ask(ask(size, cursor), "auditor", JournalPart)
        files.update(part.files)
        size, cursor = part.size, part.cursor
        if not cursor:
            return files


async def fetch_increment(world: World, note: bytes) -> dict[str, bytes]:
    """What is new since a checkpoint."""
    head = head_of(note)
    return await fetch(world, lambda size, cursor: ExportJournal(size, cursor, head.size, head.root.hex()))


async def fetch_party(world: World, kind: Kind, name: str) -> dict[str, bytes]:
    """One party's entries."""
    return await fetch(world, lambda size, cursor: ExportParty(kind, name, size, cursor))


def head_of(note: bytes) -> Checkpoint:
    return parse_checkpoint(parse_note(note).text)


def verify(world: World, files: dict[str, bytes], since: bytes | None = None) -> Report:
    """What the offline verifier says, with the log's own key as the only trust."""
    log_key = world.room.ledger.log_key
    assert log_key is not None
    policy = parse_policy(f"log {log_key.vkey.encode()}\nquorum none\n".encode())
    return verify_export(Files(files.__getitem__, frozenset(files), policy), since)
