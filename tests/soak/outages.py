"""What the machine does to a keyroom under load. By hand, with `make soak`; as root, for the small file systems."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from ceremonies.milestones import milestone_path
from tests.engines import Engine
from tests.postgres import POSTGRESQL, Cluster, Database, running_cluster
from tests.scenarios.conftest import prepare
from tests.soak.audit import Audit, check_whole, reader
from tests.soak.crowd import Crowd
from tests.soak.keeper import FEW, Outage, enlarge, fill, outage, small_disk, wait
from tests.soak.plant import Plant
from tests.soak.storms import judge, open_storm
from tests.soak.trapped import shift_clock
from tests.world import World, copy_world, hsm_world

TURNS = int(os.environ.get("KEDGE_TURNS", "10"))
ENOUGH = 600
"""Certificates that are worth a milestone."""
FULL = "store-unavailable"


@pytest.fixture
def storm_world(hsm_template: World, tmp_path: Path) -> World:
    """A stopped world with the work order of a storm."""
    return open_storm(copy_world(hsm_template, tmp_path / "world"))


def test_the_database_reaches_its_pages(storm_world: World, verifier: Path) -> None:
    pages = (storm_world.path / "data" / "kedge.db").stat().st_size // 4096 + 150
    with outage(storm_world, f"max_database_pages = {pages}") as at:
        at.wait_for(FULL, 50)
        at.plant._more = ()
        at.plant.kill()
    check_whole(storm_world, at.audit, verifier)


def test_the_disk_is_full(storm_world: World, verifier: Path) -> None:
    """Full, larger, full, killed, started on a full disk, larger: what is answered is on it."""
    with small_disk(storm_world.path / "data", 12) as data:
        with outage(storm_world) as at:
            for megabytes in (20, 28):
                at.wait_for(FULL, 50)
                assert at.plant.process.poll() is None, at.plant.log.read_text()
                enlarge(data, megabytes)
                at.crowd.wait_more(FEW)
                at.judge()
            at.wait_for(FULL, 50)
            fill(data)
            starts = at.plant.starts
            at.plant.kill()
            wait(lambda: at.plant.starts > starts + 2, time.monotonic() + 60, lambda: "it starts on a full disk")
            (data / "ballast").unlink()
            enlarge(data, 200)
        check_whole(storm_world, at.audit, verifier)


def test_the_public_directory_is_full(storm_world: World, verifier: Path) -> None:
    """Answers have proofs of their own: stations are served, and what could not be published is published later."""
    published = storm_world.path / "public" / "journal" / "checkpoint"
    with small_disk(storm_world.path / "public", 4) as public, outage(storm_world) as at:
        for _ in range(TURNS):
            failed = count_failures(at)
            ballast = fill(public)
            wait(lambda: count_failures(at) > failed, time.monotonic() + 60, at.plant.log.read_text)  # noqa: B023
            before = published.read_bytes()
            at.crowd.wait_more(FEW)
            ballast.unlink()
            wait(lambda: published.read_bytes() != before, time.monotonic() + 30, lambda: "nothing is published")  # noqa: B023
    check_whole(storm_world, at.audit, verifier)


def count_failures(at: Outage) -> int:
    """How often this keyroom could not do a chore, such as publishing."""
    return at.plant.log.read_text().count("chore failed")


def test_sqlite_is_read_only_now_and_then(storm_world: World, verifier: Path) -> None:
    with outage(storm_world) as at:
        for _ in range(TURNS):
            (at.plant.seams / "read-only").touch()
            at.wait_for(FULL)
            (at.plant.seams / "read-only").unlink()
            at.crowd.wait_more(FEW)
            at.judge()
        assert at.keeper.statuses == [], at.plant.log.read_text()
    check_whole(storm_world, at.audit, verifier)


def test_the_clock_is_set_back_and_forth(storm_world: World, verifier: Path) -> None:
    """Forth is noted, back by 5 s is borne, back further refuses; also at a start."""
    with outage(storm_world, patient=("clock-went-back", "token-not-yet-valid")) as at:
        clock = at.plant.seams / "clock"
        for turn in range(TURNS):
            base = 20 * turn
            clock.write_text(str(base + 3))
            at.crowd.wait_more(FEW)
            clock.write_text(str(base))
            at.crowd.wait_more(FEW)
            clock.write_text(str(base - 30))
            at.wait_for("clock-went-back")
            at.plant.kill()
            wait(lambda: at.plant.says("ClockWentBack"), time.monotonic() + 60, lambda: "it starts with that clock")
            clock.write_text(str(base + 8))
            at.crowd.wait_more(FEW)
            at.judge()
    assert at.audit.types["probe"] >= TURNS - 1  # forth by 15 s, from the second turn on
    storm_world.around = shift_clock(storm_world.around, at.plant.seams)  # its last entry is a minute ahead
    check_whole(storm_world, at.audit, verifier)


def test_the_milestone_is_damaged(storm_world: World, verifier: Path) -> None:
    plant, audit = Plant(storm_world), Audit(reader(storm_world))
    path = milestone_path(storm_world.path / "data")
    crowd = Crowd(storm_world, 16, officers=False)
    try:
        for turn in range(TURNS):
            assert plant.start().wait_up(), plant.log.read_text()
            crowd.wait_more(FEW if turn else ENOUGH)
            judge(audit, crowd)
            assert plant.end() == 0
            data = path.read_bytes()
            at = len(data) * turn // TURNS
            path.write_bytes(data[:at] if turn % 2 else data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    finally:
        plant.kill()
        crowd.stop()
    check_whole(storm_world, audit, verifier)


@pytest.fixture
def storm_on_postgresql(cluster: Cluster, tmp_path: Path) -> World:
    """The same on PostgreSQL."""
    return make_world(cluster, tmp_path)


def make_world(cluster: Cluster, path: Path) -> World:
    """A world of its own on a cluster."""
    world = hsm_world(path / "world", Engine(POSTGRESQL, lambda: cluster).database()).start()
    asyncio.run(prepare(world))
    world.stop()
    return open_storm(world)


def database_of(world: World) -> Database:
    """The database of a world on PostgreSQL."""
    assert world.database is not None
    return world.database


def test_the_server_crashes_again_and_again(storm_on_postgresql: World, cluster: Cluster, verifier: Path) -> None:
    world = storm_on_postgresql
    with outage(world) as at:
        for _ in range(TURNS):
            cluster.crash()
            cluster.start()
            at.crowd.wait_more(FEW)
            at.judge()
        assert len(at.keeper.statuses) >= TURNS
    check_whole(world, at.audit, verifier)


def test_two_keyrooms_take_turns(storm_on_postgresql: World, verifier: Path) -> None:
    """The active one is killed, the other serves, the killed one comes back as standby; the journal stays one."""
    world = storm_on_postgresql
    active, other = Plant(world, "keyroom-1"), Plant(world, "keyroom-2")
    assert active.start().wait_up()
    crowd, audit, gaps = Crowd(world, 16, officers=False), Audit(reader(world)), list[float]()
    try:
        for _ in range(TURNS):
            other.start()
            wait(lambda: other.says("standby"), time.monotonic() + 120, other.log.read_text)  # noqa: B023
            crowd.wait_more(FEW)
            killed = time.monotonic()
            active.kill()
            assert other.wait_up()
            crowd.wait_more(FEW)
            gaps.append(round(crowd.gap_after(killed), 2))
            print(f"took over after {gaps[-1]} s", flush=True)
            received = list(crowd.issued.values())
            audit.catch_up().check_released(received)
            active.wait_end()
            active.check_nothing_left()
            active, other = other, active
    finally:
        crowd.stop()
        active.kill()
        other.kill()
    active.wait_end()
    audit.check_names(crowd.issued)
    print(check_whole(world, audit, verifier))
    print(f"{TURNS} take-overs: {sorted(gaps)[TURNS // 2]} s in the middle, {max(gaps)} s at most: {gaps}")


def test_the_server_takes_nothing_but_reads(storm_on_postgresql: World, verifier: Path) -> None:
    world = storm_on_postgresql
    database = database_of(world)
    with outage(world) as at:
        for _ in range(TURNS // 2):
            database.cluster.execute(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
            database.end_sessions()
            at.wait_for("keyroom-down", 50)
            database.cluster.execute(f"ALTER DATABASE {database.name} RESET default_transaction_read_only")
            database.end_sessions()
            at.crowd.wait_more(FEW)
            at.judge()
    check_whole(world, at.audit, verifier)


def test_the_disk_of_the_server_is_full(tmp_path: Path, verifier: Path) -> None:
    with running_cluster(on_disk=True) as cluster:
        cluster.crash()
        with small_disk(cluster.path / "data", 300) as data:
            cluster.start()
            try:
                fill_server(cluster, data, tmp_path, verifier)
            finally:
                with_server(cluster)
                cluster.crash()
        cluster.start()


def fill_server(cluster: Cluster, data: Path, path: Path, verifier: Path) -> None:
    """No room is left to a server, then there is room again; in turns."""
    world = make_world(cluster, path)
    with outage(world) as at:
        for _ in range(TURNS // 2):
            ballast = fill(data, leave=100_000)
            wait_refused(at)
            ballast.unlink()
            with_server(cluster)
            at.crowd.wait_more(FEW)
            at.judge()
    check_whole(world, at.audit, verifier)


def wait_refused(at: Outage) -> None:
    """Until nobody is served."""
    count, since = len(at.crowd.times), time.monotonic()
    until = since + 120
    while time.monotonic() < since + 2:
        if len(at.crowd.times) > count:
            count, since = len(at.crowd.times), time.monotonic()
        assert time.monotonic() < until, "the disk is full, and stations are served"
        time.sleep(0.05)


def with_server(cluster: Cluster) -> None:
    """Start the server, where it has ended because it could not write."""
    try:
        cluster.execute("SELECT 1")
    except Exception:  # noqa: BLE001  # it is away, or recovers
        cluster.start()
