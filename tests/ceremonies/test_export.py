"""A complete export in parts, at one size."""

import asyncio

import pytest

from ceremonies import export as module
from ceremonies.commands import ExportJournal, JournalPart, Problem
from pki.log.audit import audit_journal
from tests.ceremonies.small import make_order
from tests.world import RefusedError, World, audit_files, audit_world, export_journal


@pytest.mark.req("AU-10", "AU-2")
def test_an_export_in_many_parts_is_complete_at_one_size(genesis_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PART_BYTES", 20_000)
    world = genesis_world

    async def read() -> dict[str, bytes]:
        files: dict[str, bytes] = {}
        part = await world.ask(ExportJournal(0, ""), "auditor", JournalPart)
        parts = 1
        while part.cursor:
            files.update(part.files)
            await world.room.seal(make_order(world, bytes([parts % 256])))  # the journal grows meanwhile
            part = await world.ask(ExportJournal(part.size, part.cursor), "auditor", JournalPart)
            parts += 1
        assert parts >= 4
        return {**files, **dict(part.files)}

    files = asyncio.run(read())
    report = audit_files(world, files)
    assert report.verdict == "authenticated"
    assert report.size < world.room.ledger.journal.size


@pytest.mark.req("AU-2", "AU-5")
def test_a_changed_byte_of_an_entry_is_named(genesis_world: World) -> None:
    files = asyncio.run(export_journal(genesis_world))
    path = next(name for name in files if name.startswith("tile/entries/"))
    files[path] = files[path].replace(b"oem-root-2", b"oem-root-9", 1)
    with pytest.raises(Exception, match=r"entry \d+: leaf hash differs"):
        audit_journal(files.__getitem__, list(files), None)


@pytest.mark.parametrize("cursor", ["tile/x", "tile/-1", "blob/..", "blob/zz", "other/1", "tile", "x" * 200])
def test_a_cursor_that_was_not_given_out_is_refused(genesis_world: World, cursor: str) -> None:
    first = asyncio.run(genesis_world.ask(ExportJournal(0, ""), "auditor", JournalPart))
    answer = asyncio.run(genesis_world.try_ask(ExportJournal(first.size, cursor[:128]), "auditor"))
    assert isinstance(answer, Problem)
    assert answer.code == "export-refused"


def test_a_size_that_is_not_under_way_is_refused(genesis_world: World) -> None:
    with pytest.raises(RefusedError, match="export-refused"):
        asyncio.run(genesis_world.ask(ExportJournal(3, "tile/0"), "auditor", JournalPart))


@pytest.mark.req("AU-4", "AU-5")
def test_reading_the_journal_is_an_entry_and_needs_the_role(genesis_world: World) -> None:
    answer = asyncio.run(genesis_world.try_ask(ExportJournal(0, ""), "station"))
    assert isinstance(answer, Problem)
    assert answer.code == "role-refused"
    first = asyncio.run(audit_world(genesis_world))
    second = asyncio.run(audit_world(genesis_world))
    assert second.types["export"] > first.types["export"] >= 1
    assert second.types["auth.fail"] == 1
