"""Increments of a keyroom's journal: only what is new, and verified alone."""

import asyncio

import pytest

from ceremonies import export as module
from ceremonies.commands import ExportJournal, JournalPart
from tests.ceremonies.examples import read_leaves
from tests.ceremonies.fetching import fetch_increment, head_of, verify
from tests.ceremonies.small import make_order
from tests.world import RefusedError, World, export_journal, issue_device, make_request


async def grow(world: World, count: int) -> None:
    for number in range(count):
        await world.room.seal(make_order(world, number.to_bytes(2, "big")))


@pytest.mark.req("AU-10", "AU-2")
def test_increments_are_authentic_wherever_they_begin(factory_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over bundles' edges, with parts as small as they get."""
    monkeypatch.setattr(module, "PART_BYTES", 5_000)
    world = factory_world

    async def read() -> None:
        seen = (await export_journal(world))["checkpoint"]
        await issue_device(world, 1, make_request())
        files = await fetch_increment(world, seen)
        report = verify(world, files, seen)
        assert report.size - report.since == report.entries
        await grow(world, 90)
        second = files["checkpoint"]
        files = await fetch_increment(world, second)
        assert {path for path in files if path.startswith("blob/")} < (await export_journal(world)).keys()
        assert verify(world, files, second).signatures == 90
        third = files["checkpoint"]
        assert head_of(third).size > 256
        await issue_device(world, 2, make_request())
        files = await fetch_increment(world, third)
        assert any(path.startswith("proven/") for path in files) or head_of(third).size < 300
        assert verify(world, files, third).verdict == "authenticated"
        for note in (seen, second):
            assert verify(world, await fetch_increment(world, note), note).since == head_of(note).size
        assert verify(world, await export_journal(world), seen).scope == "complete"

    asyncio.run(read())


@pytest.mark.req("AU-5", "T26")
def test_a_checkpoint_that_the_journal_does_not_extend_is_refused(genesis_world: World) -> None:
    world = genesis_world
    for since, root, what in [(5, "ab" * 32, "does not extend"), (5000, "ab" * 32, "has .* entries to show")]:
        with pytest.raises(RefusedError, match=f"export-refused: .*{what}"):
            asyncio.run(world.ask(ExportJournal(0, "", since, root), "auditor", JournalPart))
    last = read_leaves(world)[-1]
    assert (last["type"], last["op"]["what"]) == ("export", {"export": "journal", "root": "ab" * 32, "since": 5000})
