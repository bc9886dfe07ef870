"""The standby: it waits for the lock, and what the active keyroom lost ends it. (Whole processes: tests/scenarios.)"""

import asyncio
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from ceremonies.postgresql import StoreLost, StoreUnsafe
from ceremonies.settings import KeyroomSettings
from ceremonies.standby import LOST, open_store
from ceremonies.store import StoreLocked, StoreUnavailable
from ceremonies.tables import EntryRow
from tests.ceremonies.small import act, make_draft, make_order, seal, seal_batch
from tests.ceremonies.templates import Templates
from tests.engines import Engine
from tests.postgres import POSTGRESQL, Cluster
from tests.world import World, audit_world, copy_world, soft_keys, soft_world

ROOT = Path(__file__).parents[2]


def settings_for(path: Path, cluster: Cluster | None) -> KeyroomSettings:
    """Settings of a keyroom on an empty database."""
    database = cluster.create() if cluster else None
    settings = soft_world(path, database).settings()
    settings.data.mkdir()
    return settings


def test_on_sqlite_a_second_keyroom_does_not_wait(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, None)
    store = open_store(settings)
    with pytest.raises(StoreLocked):
        open_store(settings)
    store.close()


@pytest.mark.req("T12")
def test_on_postgresql_it_waits_until_the_lock_is_free(tmp_path: Path, cluster: Cluster) -> None:
    settings = settings_for(tmp_path, cluster)
    first = open_store(settings)
    with capture_logs() as logged, ThreadPoolExecutor(1) as pool:
        second = pool.submit(open_store, settings)
        time.sleep(1.2)
        assert not second.done()
        first.close()
        second.result(timeout=20).close()
    assert [entry["event"] for entry in logged] == ["standby: another keyroom is active"]


def test_a_standby_outlives_a_restart_of_the_server(tmp_path: Path, cluster: Cluster) -> None:
    settings = settings_for(tmp_path, cluster)
    first = open_store(settings)
    with capture_logs() as logged, ThreadPoolExecutor(1) as pool:
        second = pool.submit(open_store, settings)
        while not logged:
            time.sleep(0.05)
        cluster.crash()
        time.sleep(1.2)
        assert not second.done()
        cluster.start()
        second.result(timeout=30).close()
    with pytest.raises(StoreLost):
        first.confirm()
    first.close()
    with pytest.raises(StoreUnavailable):
        open_store(msgspec.structs.replace(settings, database=f"{settings.database}0"))


def test_it_does_not_wait_for_what_will_not_change(tmp_path: Path, cluster: Cluster) -> None:
    settings = settings_for(tmp_path, cluster)
    with pytest.raises(StoreUnsafe):
        open_store(msgspec.structs.replace(settings, database="postgresql://u:secret@h/d"))


WATCHED = """
import sys, time, threading
from types import SimpleNamespace
from ceremonies.logs import configure_log
from ceremonies.standby import end_when_lost
configure_log()
store = SimpleNamespace(lost=threading.Event())
end_when_lost(store)
if sys.argv[1] == "lost":
    store.lost.set()
time.sleep(1)
"""


@pytest.mark.req("T12", "T27")
@pytest.mark.parametrize(("state", "status"), [("lost", LOST), ("held", 0)])
def test_a_lost_session_ends_the_process(state: str, status: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, state], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == status, done.stderr
    assert ("was lost" in done.stderr) == (state == "lost")


@pytest.fixture
def active(templates: Templates, cluster: Cluster, tmp_path: Path) -> World:
    """A started world on PostgreSQL, after genesis."""
    return copy_world(templates.genesis(Engine(POSTGRESQL, lambda: cluster)), tmp_path).start()


def twin(world: World) -> World:
    """Another keyroom on the same database, tokens and files; not started."""
    other = World(world.path, world.strongbox, world.around, world.database)
    other.issuer, other.officers = world.issuer, world.officers
    other.roster, other.policy = world.roster, world.policy
    return other


def end_sessions(world: World) -> None:
    """The network, or an administrator, takes the session from the active keyroom."""
    assert world.database is not None
    assert world.database.end_sessions() >= 1


@pytest.mark.req("T12", "AU-1")
def test_a_keyroom_that_lost_its_session_signs_and_writes_nothing(active: World) -> None:
    """The other one has taken over meanwhile, and goes on undisturbed."""
    seal(active, make_order(active, b"1", "one"))
    orders = [make_order(active, data, data.decode()) for data in (b"2", b"3")]
    end_sessions(active)
    other = twin(active).start()
    signed = soft_keys(active).signed
    for order in orders:
        with pytest.raises(StoreLost):
            seal_batch(active, order)
    assert soft_keys(active).signed == signed
    seal(other, make_order(other, b"4", "four"))
    assert seal(other, make_order(other, b"1", "one")).replayed
    audit(other, open_intents=0)
    active.stop()
    other.stop()


def audit(world: World, *, open_intents: int) -> None:
    """The offline verifier finds the journal whole."""
    assert asyncio.run(audit_world(world)).open == open_intents


@pytest.mark.req("T12", "T27", "AU-1")
def test_what_was_signed_before_the_loss_is_not_released_after_it(active: World) -> None:
    """The intent is durable, the signature made, then the session goes to another keyroom: it writes `unknown`."""
    others: list[World] = []
    draft = make_draft(active, "director", "challenge", b"data")

    def assemble(raws: dict[str, bytes]) -> bytes:
        end_sessions(active)
        others.append(twin(active))
        thread = threading.Thread(target=others[0].start)
        thread.start()
        thread.join(60)
        return b"".join(raws.values())

    order = make_order(active, b"", "id", draft=msgspec.structs.replace(draft, assemble=assemble))
    with pytest.raises(StoreLost):
        seal_batch(active, order)
    (other,) = others
    types = [row["type"] for row in other.room.store.list(EntryRow, "seq")]
    assert [kind for kind in types if kind.startswith("key.sign")][-2:] == ["key.sign.intent", "key.sign.unknown"]
    again = seal(other, make_order(other, b"", "id", draft=draft))
    assert not again.replayed
    with pytest.raises(StoreLost):
        act(active, active.room.store.confirm)
    audit(other, open_intents=0)
    active.stop()
    other.stop()
