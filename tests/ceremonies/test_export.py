"""A complete export in parts, at one size."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from ceremonies import export as module
from ceremonies.commands import ExportJournal, JournalPart, Problem
from ceremonies.store import Store, digest, read_parts
from ceremonies.tables import BlobRow, EvidenceRow
from pki.log.audit import audit_journal
from tests.ceremonies.examples import read_leaves
from tests.ceremonies.small import make_order
from tests.world import RefusedError, World, audit_files, audit_world, export_journal, issue_device, make_request

CSR = make_request()


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


@pytest.mark.req("AU-10")
def test_exports_do_not_end_each_other(genesis_world: World) -> None:
    """Each begins at a size of its own, for its own entry came before; the one that rested longest ends."""

    async def run() -> None:
        parts = [await genesis_world.ask(ExportJournal(), "auditor", JournalPart) for _ in range(module.EXPORTS)]
        assert len({part.size for part in parts}) == module.EXPORTS
        for part in parts:
            await genesis_world.ask(ExportJournal(part.size, part.cursor), "auditor", JournalPart)
        await genesis_world.ask(ExportJournal(parts[0].size, parts[0].cursor), "auditor", JournalPart)
        await genesis_world.ask(ExportJournal(), "auditor", JournalPart)
        await genesis_world.ask(ExportJournal(parts[0].size, parts[0].cursor), "auditor", JournalPart)
        answer = await genesis_world.try_ask(ExportJournal(parts[1].size, parts[1].cursor), "auditor")
        assert isinstance(answer, Problem)
        assert answer.code == "export-refused"

    asyncio.run(run())


def test_a_part_asks_for_no_more_names_than_it_may_need(genesis_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NAMES_AT_ONCE", 7)
    monkeypatch.setattr(module, "PART_BYTES", 20_000)
    read, counts = Store.rows, []

    def rows(store: Store, query: Any) -> Any:
        found = read(store, query)
        if "SELECT blob.sha256 \n" in str(query):
            counts.append(len(found))
        return found

    monkeypatch.setattr(Store, "rows", rows)
    assert asyncio.run(audit_world(genesis_world)).verdict == "authenticated"
    assert max(counts) == 7
    assert sum(counts) < 3 * len(genesis_world.room.store.list(BlobRow, "sha256"))


@pytest.mark.req("AU-4")
def test_each_reading_is_one_entry(genesis_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PART_BYTES", 20_000)

    async def run() -> None:
        size, cursor = 0, ""
        while True:
            before = genesis_world.room.ledger.journal.size
            part = await genesis_world.ask(ExportJournal(size, cursor), "auditor", JournalPart)
            assert [leaf["type"] for leaf in read_leaves(genesis_world, before)] == ["export"]
            size, cursor = part.size, part.cursor
            if not cursor:
                return

    asyncio.run(run())


@pytest.mark.req("AU-10", "AU-2")
@pytest.mark.parametrize(("names", "part_bytes"), [(1, 1 << 20), (2, 4000), (3, 9000), (1024, 1 << 20)])
def test_evidence_is_complete_wherever_a_page_or_a_part_ends(
    factory_world: World, monkeypatch: pytest.MonkeyPatch, names: int, part_bytes: int
) -> None:
    """A part ends behind an entry, and each entry is given once."""
    world = factory_world
    for number in range(1, 9):
        asyncio.run(issue_device(world, number, make_request()))
    monkeypatch.setattr(module, "NAMES_AT_ONCE", names)
    monkeypatch.setattr(module, "PART_BYTES", part_bytes)
    rows = world.room.store.list(EvidenceRow, "seq")
    stored = [data for row in rows for data in read_parts(row["parts"])]
    assert (len(rows), len(stored)) == (8 * 2, 8 * 4)

    async def read() -> tuple[dict[str, bytes], Counter[str], int]:
        files: dict[str, bytes] = {}
        given, parts = Counter[str](), 0
        part = await world.ask(ExportJournal(0, ""), "auditor", JournalPart)
        while True:
            files.update(part.files)
            given.update(path for path, _ in part.files)
            parts += part.cursor.startswith("evidence/")
            if not part.cursor:
                return files, given, parts
            await issue_device(world, 9, CSR)  # the journal grows meanwhile; that is not of this export
            part = await world.ask(ExportJournal(part.size, part.cursor), "auditor", JournalPart)

    files, given, parts = asyncio.run(read())
    blobs = [path for path in given if path.startswith("blob/")]
    assert {f"blob/{name[:2]}/{name}" for name in map(digest, stored)} <= set(blobs)
    assert max(given[path] for path in blobs) == 1
    assert (parts > 1) == (part_bytes < 1 << 20)
    report = audit_files(world, files)
    assert (report.verdict, report.open) == ("authenticated", 0)
