"""Circuits as the keyroom tells them; with real tokens: tests/scenarios/test_circuits.py."""

import asyncio
from collections.abc import Sequence

import msgspec
import pytest
from structlog.testing import capture_logs

from ceremonies.tables import EntryRow
from ceremonies.tending import Tending
from hsm.circuit import PlaceReport
from hsm.keys import KeyName
from tests.world import World

WELL = PlaceReport("kedge-main", "kedge-main in a.so", False, 0, 0, 0, "")
AWAY = PlaceReport("kedge-main", "kedge-main in a.so", True, 5, 3, 3, "token kedge-main, C_Sign: CKR_DEVICE_REMOVED")
CLONE = PlaceReport("kedge-main", "kedge-main in b.so", False, 0, 0, 0, "")


class Circuits:
    """Places that are as the test says."""

    def __init__(self, *reports: PlaceReport) -> None:
        self.reports: tuple[PlaceReport, ...] = reports
        self.tended = 0
        self.probes: Sequence[KeyName] = ()

    def tend(self, probes: Sequence[KeyName]) -> None:
        self.tended += 1
        self.probes = probes


@pytest.mark.req("HS-9")
def test_nothing_is_probed_while_all_is_well(genesis_world: World) -> None:
    circuits = Circuits(WELL, CLONE)
    asyncio.run(Tending(genesis_world.room, circuits).tend())
    assert (circuits.tended, genesis_world.room.alarms, genesis_world.room.counters["circuits_open"]) == (0, {}, 0)


@pytest.mark.req("HS-9")
def test_a_token_without_a_place_is_a_problem_and_one_with_a_clone_is_not(genesis_world: World) -> None:
    circuits = Circuits(AWAY, CLONE)
    tending = Tending(genesis_world.room, circuits)
    with capture_logs() as logged:
        for _ in range(2):
            asyncio.run(tending.tend())
    assert [entry["log_level"] for entry in logged] == ["critical"], "an alarm was told twice"
    assert "CKR_DEVICE_REMOVED" in logged[0]["why"]
    assert (circuits.tended, genesis_world.room.alarms) == (2, {})
    assert [key.label for key in circuits.probes] == ["probe"]
    assert genesis_world.room.counters["circuits_open"] == 1
    circuits.reports = (AWAY, msgspec.structs.replace(AWAY, place="kedge-main in b.so"))
    asyncio.run(tending.tend())
    assert list(genesis_world.room.alarms) == ["token kedge-main"]
    circuits.reports = (WELL, CLONE)
    with capture_logs() as logged:
        asyncio.run(tending.tend())
    assert [entry["log_level"] for entry in logged] == ["warning"] * 2
    assert genesis_world.room.alarms == {}


def test_probes_are_recorded_in_one_entry_each_time(genesis_world: World) -> None:
    circuits = Circuits(WELL, CLONE)
    tending = Tending(genesis_world.room, circuits)

    def record() -> list[dict[str, object]]:
        asyncio.run(tending.record_probes())
        leaves = [msgspec.json.decode(row["leaf"]) for row in genesis_world.room.store.list(EntryRow, "seq")]
        return [place for leaf in leaves if leaf["type"] == "probe" for place in leaf["op"]["what"]["places"]]

    assert record() == []
    circuits.reports = (AWAY, CLONE)
    first = {"failed": 3, "place": "kedge-main in a.so", "probes": 3, "token": "kedge-main"}
    assert record() == [first]
    assert record() == [first]
    circuits.reports = (msgspec.structs.replace(AWAY, probes=5, failed_probes=4), CLONE)
    assert record() == [first, {**first, "failed": 1, "probes": 2}]
