"""Rows that say something else than the entries are found."""

import pytest

from ceremonies.journal import JournalForked
from ceremonies.reckoning import check_approvals, check_counts, check_rows
from tests.engines import tamper
from tests.world import World

pytestmark = pytest.mark.engines


@pytest.mark.req("T5", "AU-5")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE governing SET seq = seq - 1 WHERE name = 'policy.change'",
        "DELETE FROM governing",
        "DELETE FROM certificate WHERE label = 'site-ca'",
        "INSERT INTO document VALUES ('00', 1, 'k', 'n')",
        "INSERT INTO request VALUES ('x', 'b', 'd', :b, 1, 2, 'e')",
        "INSERT INTO approval VALUES ('genesis', 'plan', 'mallory', :b, :b, 3, 'ff')",
        "UPDATE approval SET hash = 'ff' WHERE officer = 'bob'",
        "UPDATE work_order SET quantity = quantity + 1",
        "DELETE FROM trust_set",
    ],
)
def test_a_row_that_the_journal_does_not_bear_out_is_found(factory_world: World, statement: str) -> None:
    world = factory_world
    tamper(world.room.store, statement, b=bytes(1))
    with pytest.raises(JournalForked, match="not what the journal says"):
        check_rows(world.room.store, world.room.ledger.replay, world.room.door.keyring)
        check_counts(world.room.store, world.room.ledger.replay)


@pytest.mark.req("T5")
def test_approvals_are_those_of_the_journal(genesis_world: World) -> None:
    store, replay = genesis_world.room.store, genesis_world.room.ledger.replay
    check_approvals(store, replay, "genesis", "plan")
    check_approvals(store, replay, "none", "plan")
    tamper(store, "UPDATE approval SET ceremony = 'none' WHERE officer = 'alice'")
    for ceremony in ("genesis", "none"):
        with pytest.raises(JournalForked):
            check_approvals(store, replay, ceremony, "plan")
