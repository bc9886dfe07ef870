"""The room: what a request leaves in the journal is noted, wherever it was written."""

import asyncio
from functools import partial
from typing import Any

import pytest

from ceremonies import entries
from ceremonies.desk import LOCAL_ACTOR
from ceremonies.room import TRACE, Room, Trace
from tests.world import World


def traced(action: Any) -> bool:
    """Whether the trace of a request says that something was recorded."""

    async def run() -> bool:
        trace = Trace()
        TRACE.set(trace)
        await action()
        return trace.recorded

    return asyncio.run(run())


def test_a_request_that_writes_is_traced(genesis_world: World) -> None:
    room: Room = genesis_world.room

    async def write() -> None:
        await room.act(lambda: room.ledger.record([entries.event("export", LOCAL_ACTOR, {})]))

    async def read() -> None:
        assert await room.act(lambda: room.ledger.journal.size) > 0

    async def fail() -> None:
        def write_and_fail() -> None:
            room.ledger.record([entries.event("export", LOCAL_ACTOR, {})])
            raise LookupError

        with pytest.raises(LookupError):
            await room.act(write_and_fail)

    assert (traced(write), traced(read), traced(fail)) == (True, False, True)


def test_traces_of_requests_at_once_are_apart(genesis_world: World) -> None:
    room = genesis_world.room

    async def request(writes: bool) -> bool:
        trace = Trace()
        TRACE.set(trace)
        for _ in range(5):
            drafts = [entries.event("export", LOCAL_ACTOR, {})] if writes else []
            await room.act(partial(room.ledger.record, drafts))
        return trace.recorded

    async def run() -> list[bool]:
        return await asyncio.gather(*(request(number % 2 == 0) for number in range(20)))

    assert asyncio.run(run()) == [True, False] * 10


def test_a_value_is_made_once(genesis_world: World) -> None:
    made = []

    def make() -> int:
        made.append(1)
        return len(made)

    assert [genesis_world.room.cached("x", make) for _ in range(3)] == [1, 1, 1]
    genesis_world.room.cache.clear()
    assert genesis_world.room.cached("x", make) == 2


def test_requests_are_counted(genesis_world: World) -> None:
    genesis_world.room.count("x")
    genesis_world.room.count("x")
    assert genesis_world.room.counters["x"] == 2
