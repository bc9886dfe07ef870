"""A partition's rows are those of the journal, or nothing is read."""

import pytest

from ceremonies.books import read_partition
from ceremonies.journal import JournalForked
from ceremonies.revoked import COMPLETE
from ceremonies.sums import Tally
from tests.ceremonies.revoking import issue, revoke
from tests.world import World

pytestmark = pytest.mark.engines


@pytest.mark.req("CA-9", "T5")
def test_rows_are_compared_with_the_journal(factory_world: World) -> None:
    room = factory_world.room
    issued = issue(factory_world, 1, 2)
    shown = [revoke(factory_world, f"BMS-00000{number}") for number in (1, 2)]
    (ca,) = room.ledger.replay.revoked.tallies
    expected = room.ledger.replay.revoked.tally(ca, COMPLETE)
    with room.store.read() as connection:
        rows = read_partition(connection, (ca, COMPLETE), expected)
        assert [int(row.number, 16) for row in rows] == sorted(item.serial_number for item in issued)
        assert {row.seq for row in rows} == {item.revoked_index for item in shown}
        partition = issued[0].serial_number >> 153
        assert read_partition(connection, (ca, partition), room.ledger.replay.revoked.tally(ca, partition))
        for wrong in (Tally(), Tally(expected.count, "0" * 64), Tally(expected.count + 1, expected.total)):
            with pytest.raises(JournalForked, match="revocation"):
                read_partition(connection, (ca, COMPLETE), wrong)
