"""What the process runs: every command of revocation has a handler, and the chores come soon enough."""

import asyncio

import pytest

from ceremonies import commands
from ceremonies.desk import ANYONE, Caller
from ceremonies.revocation import ANSWERS_EVERY_S, Revocation
from tests.ceremonies.examples import read_leaves
from tests.ceremonies.revoking import authority, issue, list_lists, make_responder, question
from tests.world import World


def test_handlers_and_chores(genesis_world: World) -> None:
    revocation = Revocation(genesis_world.room)
    assert commands.AskStatus in revocation.handlers
    (lists, often), (answers, seldom) = revocation.chores
    assert (often <= 10, seldom) == (True, ANSWERS_EVERY_S)

    async def run() -> None:
        await lists()
        await answers()

    asyncio.run(run())
    assert list_lists(genesis_world)


@pytest.mark.req("HS-4", "AU-1")
def test_what_was_signed_since_the_last_hour_is_told_at_the_end(factory_world: World) -> None:
    world = factory_world
    asyncio.run(make_responder(world))
    (certificate,) = issue(world, 1)
    revocation, size = Revocation(world.room), world.room.ledger.journal.size
    asked = commands.AskStatus(question(certificate, authority(world, "device-ca")))

    async def run() -> None:
        await revocation.handlers[commands.AskStatus](asked, Caller(ANYONE))
        await revocation.last()

    asyncio.run(run())
    assert [leaf["type"] for leaf in read_leaves(world, size)] == ["certificate.status"]
