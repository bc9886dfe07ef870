"""Rows of the register that a gate may believe."""

import asyncio
import threading

import msgspec
import pytest

from ceremonies.journal import JournalForked
from ceremonies.registered import find_gone, list_decommissioned
from tests.ceremonies.field import submit
from tests.ceremonies.fielded import decommission, install, issue_some
from tests.ceremonies.rotated import Fleet
from tests.engines import tamper
from tests.world import World


@pytest.mark.engines
def test_a_device_that_was_heard_since_is_not_gone(moved: Fleet) -> None:
    world, (one, two) = moved.world, moved.controllers

    async def play() -> None:
        await install(world, [one.serial, two.serial])
        await decommission(world, one.serial, two.serial)
        assert await submit(world, await two.report(world)) == ("",)

    asyncio.run(play())
    register = world.room.ledger.replay.register
    since = list_decommissioned(world.room.store, register)
    assert set(since) == {one.serial, two.serial}
    assert find_gone(world.room.store, register, world.around.now_us()) == {one.serial}
    assert find_gone(world.room.store, register, since[one.serial]) == frozenset()


@pytest.mark.req("RO-5", "T35")
def test_a_device_whose_true_receipt_was_refused_since_is_not_gone(moved: Fleet) -> None:
    world, (one, _) = moved.world, moved.controllers

    async def play() -> None:
        await install(world, [one.serial])
        await decommission(world, one.serial)
        claims = await one.claim(world)
        went_back = msgspec.structs.replace(claims, bootcount=0)
        assert await submit(world, one.sign(went_back)) == ("device-rollback",)

    asyncio.run(play())
    register = world.room.ledger.replay.register
    assert set(list_decommissioned(world.room.store, register)) == {one.serial}
    assert find_gone(world.room.store, register, world.around.now_us()) == frozenset()


@pytest.mark.req("T5")
def test_a_row_that_nobody_wrote_down_takes_no_device_away(factory_world: World) -> None:
    world = factory_world

    async def play() -> None:
        await install(world, await issue_some(world, 1))

    asyncio.run(play())
    tamper(world.room.store, "UPDATE register SET state = 'decommissioned'")
    with pytest.raises(JournalForked):
        find_gone(world.room.store, world.room.ledger.replay.register, world.around.now_us())


def test_what_is_being_written_is_no_forgery(factory_world: World) -> None:
    """Rows are committed a moment before the figures follow: whoever looks in between looks again."""
    world, stop = factory_world, threading.Event()
    seen: list[int] = []

    def watch() -> None:
        while not stop.is_set():
            seen.append(len(list_decommissioned(world.room.store, world.room.ledger.replay.register)))

    async def play() -> None:
        for serial in await issue_some(world, 12):
            await decommission(world, serial)

    watcher = threading.Thread(target=watch)
    watcher.start()
    asyncio.run(play())
    stop.set()
    watcher.join()
    assert seen == sorted(seen)
    assert list_decommissioned(world.room.store, world.room.ledger.replay.register).keys() >= {"BMS-000012"}
