"""The export of one party's entries, in parts: each with its proof under one checkpoint, and the blobs they name."""

import asyncio
import re
from collections.abc import Sequence

import msgspec

from ceremonies import entries
from ceremonies.commands import ExportParty, JournalPart
from ceremonies.desk import Caller
from ceremonies.export import EXPORTS, ExportRefused, cover_head, documents, fill_part
from ceremonies.holdings import find_blobs, read_entries, walk_leaves
from ceremonies.increments import Files
from ceremonies.proving import Prover
from ceremonies.room import Room
from pki.log.parties import PARTY, Party, choose_entries, encode_party
from pki.log.proven import proven_paths

AT_ONCE = 64

_CURSOR = re.compile("entry/([0-9]{1,18})", re.ASCII)
_SPKI = re.compile("[0-9a-f]{64}", re.ASCII)


class Chosen(msgspec.Struct, frozen=True):
    """An export that is under way: its checkpoint, and the entries that were chosen."""

    note: bytes
    indexes: Sequence[int]


class PartyExport:
    """The last `EXPORTS` choices are kept; one that is asked for after that begins again."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._chosen: dict[tuple[Party, int], Chosen] = {}

    async def export(self, command: ExportParty, caller: Caller) -> JournalPart:
        """The files from `cursor` on. The first call fixes the size and chooses; it is itself an entry."""
        party = self._find_party(command)
        if not command.cursor:
            return await self._begin(party, caller)
        match, chosen = _CURSOR.fullmatch(command.cursor), self._chosen.get((party, command.size))
        if match is None or chosen is None:
            raise ExportRefused("this export is over, or has no such cursor", hint="begin again, without a cursor")
        return await asyncio.to_thread(self._part, command.size, chosen, int(match[1]))

    def _find_party(self, command: ExportParty) -> Party:
        """Keys are named by label, too."""
        if command.kind != "key" or _SPKI.fullmatch(command.name):
            return Party(command.kind, command.name)
        found = [key.spki for key in self._room.door.keyring if key.label == command.name]
        if not found:
            raise ExportRefused(f"no key has the label {command.name}", hint="kedge key list")
        return Party("key", found[0])

    async def _begin(self, party: Party, caller: Caller) -> JournalPart:
        room = self._room
        draft = entries.event("export", caller.actor, {"export": "party", "kind": party.kind, "name": party.name})
        await room.act(lambda: room.ledger.record([draft]))
        note, size = await cover_head(room)
        indexes = await asyncio.to_thread(
            choose_entries, party, lambda: walk_leaves(room.store, 0, size), room.store.blob
        )
        if not indexes:
            raise ExportRefused(f"no entry belongs to the {party}", hint="check the name")
        self._chosen[party, size] = Chosen(note, sorted(indexes))
        while len(self._chosen) > EXPORTS:
            del self._chosen[next(iter(self._chosen))]
        paper = (PARTY, encode_party(party, room.ledger.journal.origin, size))
        return JournalPart(size, (("checkpoint", note), paper, *documents()), "entry/0")

    def _part(self, size: int, chosen: Chosen, start: int) -> JournalPart:
        return fill_part(size, self._files(size, chosen, start), "")

    def _files(self, size: int, chosen: Chosen, start: int) -> Files:
        prover, sent = Prover(self._room.store, size, chosen.note), set[str]()
        for at in range(start, len(chosen.indexes), AT_ONCE):
            page = read_entries(self._room.store, chosen.indexes[at : at + AT_ONCE])
            for index, data in page:
                entry_path, proof_path = proven_paths(index)
                yield entry_path, data, ""
                yield proof_path, prover.prove(index), ""
            for path, data in find_blobs(self._room.store, page, policies=False).items():
                if path not in sent:
                    sent.add(path)
                    yield path, data, ""
            yield "", b"", f"entry/{at + AT_ONCE}"
