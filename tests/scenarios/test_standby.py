"""Two keyrooms on one PostgreSQL: one is killed, or its server is; the journal stays one, as others verify it."""

import asyncio
import os
import time
from collections import Counter
from pathlib import Path

import pytest

from ceremonies.standby import LOST
from pki.log.reports import Report
from tests.ceremonies.templates import Templates
from tests.engines import Engine
from tests.interop.test_journal_foreign import verifier
from tests.postgres import POSTGRESQL, Cluster
from tests.scenarios.conftest import prepare
from tests.scenarios.keyrooms import Running, Stations, Supervisor, ask_health, judge_export
from tests.world import World, copy_world, hsm_world

__all__ = ["verifier"]

CALLERS = 8
DEVICES = int(os.environ.get("KEDGE_ROUNDS", "1")) * 10
SIGKILLED = -9


@pytest.fixture
def plant(templates: Templates, cluster: Cluster, tmp_path: Path) -> World:
    """A stopped world on PostgreSQL and SoftHSM with the large work order `load`."""
    engine = Engine(POSTGRESQL, lambda: cluster)
    template = templates.find("hsm", engine, lambda path: hsm_world(path, engine.database()), prepare)
    world = copy_world(template, tmp_path).start()
    asyncio.run(world.open_order("load", quantity=CALLERS * DEVICES, last=CALLERS * DEVICES))
    world.stop()
    return world


def check_whole(world: World, stations: Stations, verifier: Path) -> Report:
    """Every certificate stands in the journal once; it is one for us, for `kedge verify`, and for Go's sumdb."""
    report = judge_export(world, verifier)
    quota = world.room.ledger.replay.quotas["load"]
    types = Counter(report.types)
    assert types["key.sign.intent"] == types["key.sign.outcome"] + types["key.sign.unknown"]
    count = CALLERS * DEVICES
    assert (len(stations.issued), len(set(stations.issued.values())), quota.issued) == (count, count, count)
    return report


@pytest.mark.req("AU-1", "T12", "T27")
def test_the_standby_serves_when_the_active_keyroom_is_killed(plant: World, verifier: Path) -> None:
    first = Running(plant, "keyroom-1")
    first.wait_for("keyroom is up")
    second = Running(plant, "keyroom-2")
    try:
        second.wait_for("standby")
        stations = Stations(plant, "load", CALLERS, DEVICES)
        stations.wait_for(CALLERS * DEVICES // 4)
        assert "keyroom is up" not in second.log.read_text()
        first.kill()
        killed = time.monotonic()
        stations.join()
        assert second.log.read_text().count("keyroom is up") == 1
        assert ask_health(plant).ready
        assert stations.gap_after(killed) < 15, "a standby serves within seconds"
    finally:
        first.kill()
        second.end()
    assert (first.process.returncode, second.process.returncode) == (SIGKILLED, 0)
    report = check_whole(plant, stations, verifier)
    assert report.types["log.start"] >= 4
    assert Counter(stations.waits)["keyroom-down"] > 0, "the kill met nobody"


@pytest.mark.req("AU-1", "AU-6", "T27")
def test_a_database_server_that_crashes_loses_nothing(plant: World, verifier: Path, cluster: Cluster) -> None:
    """The keyroom's session is gone with the server: it ends, is started again, and recovery closes what was open."""
    supervisor = Supervisor(plant, "keyroom-1")
    try:
        supervisor.running.wait_for("keyroom is up")
        stations = Stations(plant, "load", CALLERS, DEVICES)
        stations.wait_for(CALLERS * DEVICES // 4)
        cluster.crash()
        cluster.start()
        stations.join()
    finally:
        supervisor.stop()
    assert supervisor.statuses[0] == LOST
    check_whole(plant, stations, verifier)
    assert stations.waits, "the crash met nobody"


@pytest.mark.req("AU-1", "T12")
def test_a_frozen_keyroom_that_wakes_up_writes_nothing(plant: World, verifier: Path) -> None:
    """Its session was ended while it stood still, and the standby took over; then it goes on, and finds itself out."""
    first = Running(plant, "keyroom-1")
    first.wait_for("keyroom is up")
    second = Running(plant, "keyroom-2")
    try:
        second.wait_for("standby")
        stations = Stations(plant, "load", CALLERS, DEVICES)
        stations.wait_for(CALLERS * DEVICES // 4)
        first.process.send_signal(19)  # SIGSTOP
        assert plant.database is not None
        plant.database.end_sessions()
        second.wait_for("keyroom is up")
        first.process.send_signal(18)  # SIGCONT
        assert first.process.wait(30) == LOST
        stations.join()
        assert isinstance(ask_health(plant).size, int)
    finally:
        first.kill()
        second.end()
    check_whole(plant, stations, verifier)
