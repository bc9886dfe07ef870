"""The units of an order, page by page, on both engines."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import Select

from ceremonies import register as module
from ceremonies.issuance import load_order
from ceremonies.journal import JournalForked
from ceremonies.register import list_units, read_certificates, read_documents, read_entries
from ceremonies.store import Row
from ceremonies.unit_tables import ConfirmationRow
from tests.ceremonies.lines import Unit, make_units
from tests.engines import tamper
from tests.world import World


@pytest.mark.engines
def test_pages_of_a_range_and_of_a_list(genesis_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    world, store = genesis_world, genesis_world.room.store
    listed = ["BMS-000003", "A-1", "ZZ.9", "BMS-000004"]

    async def run() -> None:
        await world.open_order("wo-1")
        await world.open_order("wo-2", serials=listed)
        for number in (1, 2, 5, 9, 12):
            await (unit := Unit(number)).issue(world)
            await unit.confirm(world)
        for serial in listed:
            unit = Unit(0, "wo-2")
            unit.serial = serial
            await unit.issue(world)

    asyncio.run(run())
    first, second = load_order(world.room, "wo-1"), load_order(world.room, "wo-2")
    names = [f"BMS-{number:06}" for number in (1, 2, 5, 9, 12)]
    assert [row["serial"] for row in list_units(store, first)] == names
    assert [row["serial"] for row in list_units(store, first, after="BMS-000002")] == names[2:]
    assert [row["serial"] for row in list_units(store, first, ConfirmationRow)] == names
    assert [row["serial"] for row in list_units(store, second)] == sorted(listed)
    assert [row["serial"] for row in list_units(store, second, after="BMS-000003")] == ["BMS-000004", "ZZ.9"]
    assert list(list_units(store, first, after=names[-1])) == []


def test_certificates_and_their_entries(factory_world: World) -> None:
    store = factory_world.room.store
    units = asyncio.run(make_units(factory_world, range(1, 4)))
    rows = list(list_units(store, load_order(factory_world.room, "wo-1")))
    pairs = [(row["serial"], row["certificate"]) for row in rows]
    assert list(read_certificates(store, pairs)) == [(unit.serial, unit.held.certificate) for unit in units]
    digests = [row["certificate"] for row in rows]
    assert read_entries(store, digests) == {
        digest: unit.held.proven.index for digest, unit in zip(digests, units, strict=True)
    }
    assert read_documents(store, ["0" * 64]) == {}
    tamper(store, "DELETE FROM evidence WHERE seq = :seq", seq=units[1].held.proven.index)
    with pytest.raises(JournalForked, match="BMS-000002"):
        list(read_certificates(store, pairs))


def test_a_page_begins_where_the_one_before_ended(genesis_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the order's first serial on, the last page of a large order would read all before it."""
    monkeypatch.setattr(module, "PAGE", 1)
    asked = list[set[object]]()

    class Told:
        def rows(self, query: Select[Any], /) -> Sequence[Row]:
            asked.append(set(query.compile().params.values()))
            return [{"serial": f"BMS-00000{len(asked)}", "work_order": "wo-1"}] if len(asked) < 3 else []

    asyncio.run(genesis_world.open_order("wo-1"))
    order = load_order(genesis_world.room, "wo-1")
    assert len(list(list_units(Told(), order))) == 2
    assert ["BMS-000001" in bounds for bounds in asked] == [True, True, False]
    assert "BMS-000002" in asked[2]
