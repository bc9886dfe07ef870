"""What the process runs: every command of revocation has a handler, and the chores come soon enough."""

import asyncio

from ceremonies import commands
from ceremonies.revocation import ANSWERS_EVERY_S, Revocation
from tests.ceremonies.revoking import list_lists
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
