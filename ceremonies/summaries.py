"""The journal in figures, with the entry that records the digest: its proof is the summary's signature."""

import asyncio

from ceremonies import entries
from ceremonies.commands import DocumentRead, Proven, SummarizeJournal
from ceremonies.desk import Caller
from ceremonies.export import cover_head
from ceremonies.holdings import walk_leaves
from ceremonies.proving import Prover
from ceremonies.room import Room
from ceremonies.store import digest
from pki.log.checkpoints import parse_checkpoint
from pki.log.notes import parse_note
from pki.log.summaries import summarize


class Summaries:
    """Summaries are made off the writer's thread; one takes some seconds for a million entries."""

    def __init__(self, room: Room) -> None:
        self._room = room

    async def summarize(self, command: SummarizeJournal, caller: Caller) -> DocumentRead:
        """The summary up to the newest checkpoint, and the entry behind it that names its digest, proven."""
        room = self._room
        note, size = await cover_head(room)
        head = parse_checkpoint(parse_note(note).text)
        data = await asyncio.to_thread(
            lambda: summarize((leaf for _, leaf in walk_leaves(room.store, 0, size)), head, digest(note))
        )
        name = digest(data)
        draft = entries.event("export", caller.actor, {"export": "summary", "size": size, "summary": name})
        (placed,) = await room.act(lambda: room.ledger.record([draft], (), [data]))
        await room.witnesses.demand(placed.seq + 1)
        later, covered = await cover_head(room)
        proof = await asyncio.to_thread(lambda: Prover(room.store, covered, later).prove(placed.seq))
        return DocumentRead("summary", "summary", data, Proven(placed.seq, placed.leaf, proof))
