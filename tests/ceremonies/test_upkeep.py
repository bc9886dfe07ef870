"""Milestones are written while the keyroom runs; a changed entry before one ends it, and the next start names it."""

import asyncio

import pytest

from ceremonies import upkeep as module
from ceremonies.journal import JournalForked
from ceremonies.milestones import milestone_path
from ceremonies.upkeep import FORKED, Upkeep
from tests.engines import tamper
from tests.world import World, issue_device, make_request


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small journals are worth a milestone too."""
    monkeypatch.setattr(module, "EVERY", 10)
    monkeypatch.setattr(module, "WORTH", 1)


def restart(world: World) -> None:
    """End and start again."""
    world.stop()
    world.start()


async def scrub_all(upkeep: Upkeep, turns: int = 40) -> None:
    """Read what a small journal has."""
    for _ in range(turns):
        await upkeep.scrub()


def test_milestones_are_written_as_the_journal_grows(factory_world: World) -> None:
    world = factory_world
    ended: list[int] = []
    upkeep = Upkeep(world.room, ended.append)
    asyncio.run(upkeep.turn())
    path = milestone_path(world.path / "data")
    first = path.read_bytes()
    asyncio.run(upkeep.turn())
    assert path.read_bytes() == first, "nothing new, nothing written"
    for number in range(1, 6):
        asyncio.run(issue_device(world, number, make_request()))
    asyncio.run(upkeep.turn())
    assert path.read_bytes() != first
    restart(world)
    assert world.room.ledger.began is not None
    again = Upkeep(world.room, ended.append)
    asyncio.run(scrub_all(again))
    assert ended == []


@pytest.mark.req("AU-3", "T5")
@pytest.mark.parametrize("table", ["request", "document", "device", "certificate", "trust_set"])
def test_a_row_taken_away_before_a_start_with_a_milestone_ends_the_keyroom(factory_world: World, table: str) -> None:
    """The start does not count; the upkeep does, and the next start, which has no milestone, refuses."""
    world = factory_world
    asyncio.run(issue_device(world, 1, make_request()))
    asyncio.run(Upkeep(world.room, lambda _: None).turn())
    tamper(world.room.store, f"DELETE FROM {table}")
    restart(world)
    ended: list[int] = []
    asyncio.run(scrub_all(Upkeep(world.room, ended.append)))
    assert set(ended) == {FORKED}
    world.stop()
    with pytest.raises(JournalForked, match=f"{table}: .* not what the journal says"):
        world.start()
    world.stopped = True


def test_rows_are_counted_as_they_were_at_one_moment_while_others_are_written(factory_world: World) -> None:
    world = factory_world
    asyncio.run(Upkeep(world.room, lambda _: None).turn())
    restart(world)
    ended: list[int] = []
    upkeep = Upkeep(world.room, ended.append)

    async def run() -> None:
        devices = [issue_device(world, number, make_request()) for number in range(1, 11)]
        await asyncio.gather(scrub_all(upkeep, 12), *devices)

    asyncio.run(run())
    assert ended == []


@pytest.mark.req("AU-3", "T26")
def test_a_changed_entry_ends_the_keyroom_and_stops_the_next_start(factory_world: World) -> None:
    world = factory_world
    asyncio.run(Upkeep(world.room, lambda _: None).turn())
    change = "UPDATE entry SET leaf = CAST(replace(CAST(leaf AS TEXT), 'mono', 'nomo') AS BLOB) WHERE seq = 30"
    tamper(world.room.store, change)
    restart(world)
    ended: list[int] = []
    asyncio.run(scrub_all(Upkeep(world.room, ended.append)))
    assert set(ended) == {FORKED}
    assert not milestone_path(world.path / "data").exists()
    world.stop()
    with pytest.raises(JournalForked, match="entry 30"):
        world.start()
    world.stopped = True
