"""Rows of LDevIDs count when the journal says the same."""

import asyncio

import pytest

from ceremonies.journal import JournalForked
from ceremonies.owned import PAGE, find_ldevid, find_ldevids
from tests.ceremonies.owning import Owner
from tests.ceremonies.small import act
from tests.ceremonies.test_rework import number_of
from tests.engines import tamper


def test_who_has_one_and_who_has_none(owner: Owner) -> None:
    room = owner.world.room
    assert act(owner.world, lambda: find_ldevid(room, owner.unit.serial)) is None
    issued = asyncio.run(owner.enrol())
    serials = [*(f"X-{number}" for number in range(PAGE)), owner.unit.serial]
    (found,) = act(owner.world, lambda: list(find_ldevids(room, serials)))
    assert (found.serial, found.number) == (owner.unit.serial, number_of(issued))
    assert found == act(owner.world, lambda: find_ldevid(room, owner.unit.serial))


@pytest.mark.req("T5")
@pytest.mark.parametrize(
    "change", ["seq = 3", "ca = spki", "serial = 'BMS-000009'", "not_after = '9999-01-01T00:00:00Z'"]
)
def test_a_row_that_its_entry_does_not_say(owner: Owner, change: str) -> None:
    asyncio.run(owner.enrol())
    tamper(owner.world.room.store, f"UPDATE ldevid SET {change}")  # the parameters above
    with pytest.raises(JournalForked):
        act(owner.world, lambda: list(find_ldevids(owner.world.room, [owner.unit.serial, "BMS-000009"])))
