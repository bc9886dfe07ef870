"""The database is full or read-only: fail closed, release nothing, and go on when it is not any more."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from ceremonies.commands import IssueDevice, Problem
from ceremonies.store import StoreUnavailable
from ceremonies.tables import EntryRow
from tests.ceremonies.small import make_draft, make_order, seal
from tests.ceremonies.templates import Templates
from tests.engines import Engine
from tests.postgres import POSTGRESQL, Cluster
from tests.world import World, audit_world, copy_world, make_request, soft_keys


def set_pragma(world: World, pragma: str) -> int:
    """Set a pragma on the one connection that writes, and read a value."""
    with world.room.store.write() as connection:
        result = connection.execute(text(f"PRAGMA {pragma}"))
        return int(result.scalar() or 0) if result.returns_rows else 0


def fill(world: World) -> None:
    """No page may be added any more, and none is free."""
    pages = set_pragma(world, "page_count")
    set_pragma(world, f"max_page_count={pages}")


@pytest.mark.req("AU-1", "AU-6")
def test_a_full_database_stops_before_the_token_is_asked(factory_template: World, tmp_path: Path) -> None:
    """`max_database_pages` of the settings; every answer is a refusal, every issued one is in the journal."""
    world = copy_world(factory_template, tmp_path)
    settings = msgspec.structs.replace(world.settings(), max_database_pages=106)
    world.start(settings)
    box, issued = soft_keys(world), 0
    for number in range(1, 21):
        before = box.signed_by["device-ca"]
        answer = asyncio.run(world.try_ask(IssueDevice("wo-1", f"BMS-{number:06}", make_request()), "station"))
        if isinstance(answer, Problem):
            assert answer.code == "store-unavailable"
            if world.room.ledger.settled:
                assert box.signed_by["device-ca"] == before, "T1 failed and the token was asked"
        else:
            issued += 1
    world.stop()
    assert issued < 20, "the database was not full"
    world.start()
    report = asyncio.run(audit_world(world))
    assert (report.open, report.types["key.sign.outcome"] >= issued) == (0, True)
    world.stop()


@pytest.mark.req("AU-1")
@pytest.mark.parametrize("pragma", ["query_only=ON", "max_page_count"])
def test_when_the_intent_cannot_be_written_no_key_is_used(factory_world: World, pragma: str) -> None:
    world = factory_world
    if pragma == "max_page_count":
        fill(world)
    else:
        set_pragma(world, pragma)
    size, signed = world.room.ledger.journal.size, soft_keys(world).signed
    draft = make_draft(world, "director", "challenge", bytes(200_000))
    with pytest.raises(StoreUnavailable):
        seal(world, make_order(world, b"", draft=draft, blobs=(bytes(100_000),)))
    assert (world.room.ledger.journal.size, soft_keys(world).signed) == (size, signed)


@pytest.mark.req("AU-1", "T27")
@pytest.mark.parametrize("restart", [False, True])
def test_when_the_outcome_cannot_be_written_nothing_is_released(
    factory_template: World, tmp_path: Path, *, restart: bool
) -> None:
    world = copy_world(factory_template, tmp_path).start()
    draft = make_draft(world, "director", "challenge", b"data")

    def assemble(raws: Any) -> bytes:
        fill(world)
        return bytes(500_000) + b"".join(raws.values())

    large = msgspec.structs.replace(draft, assemble=assemble)
    with pytest.raises(StoreUnavailable):
        seal(world, make_order(world, b"", "id", draft=large))
    assert soft_keys(world).signed_by["director"] == 1
    with pytest.raises(StoreUnavailable):  # still full: an open intent cannot be closed, so nothing else goes on
        seal(world, make_order(world, bytes(500_000), blobs=(bytes(500_000),)))
    if restart:
        world.stop()
        world.start()
    else:
        set_pragma(world, "max_page_count=100000")
    sealed = seal(world, make_order(world, b"", "id", draft=draft))
    types = [row["type"] for row in world.room.store.list(EntryRow, "seq")]
    mine = [kind for kind in types if kind.startswith("key.sign")][-4:]
    assert mine == ["key.sign.intent", "key.sign.unknown", "key.sign.intent", "key.sign.outcome"]
    assert not sealed.replayed
    asyncio.run(audit_world(world))
    world.stop()


@pytest.fixture
def read_only(cluster: Cluster) -> Iterator[Callable[[bool], None]]:
    """Switch every session of the server to read-only transactions, and back."""

    def switch(on: bool) -> None:
        word = "on" if on else "off"
        cluster.execute(f"ALTER SYSTEM SET default_transaction_read_only = {word}", "SELECT pg_reload_conf()")
        until = time.monotonic() + 30
        while cluster.execute("SHOW default_transaction_read_only") != [(word,)]:
            assert time.monotonic() < until
        time.sleep(0.2)  # the keyroom's session is told at its next command

    yield switch
    switch(False)


@pytest.mark.req("AU-1", "AU-6", "T27")
def test_a_postgresql_that_takes_no_writes_stops_the_keys(
    templates: Templates, cluster: Cluster, tmp_path: Path, read_only: Callable[[bool], None]
) -> None:
    """Before the intent: no key is used. Before the outcome: nothing is released, and the intent is closed later."""
    world = copy_world(templates.factory(Engine(POSTGRESQL, lambda: cluster)), tmp_path).start()
    draft = make_draft(world, "director", "challenge", b"data")
    size, signed = world.room.ledger.journal.size, soft_keys(world).signed
    read_only(True)
    with pytest.raises(StoreUnavailable, match="read-only transaction"):
        seal(world, make_order(world, b"", "id", draft=draft))
    assert (world.room.ledger.journal.size, soft_keys(world).signed) == (size, signed)
    read_only(False)

    def assemble(raws: Any) -> bytes:
        read_only(True)
        return b"".join(raws.values())

    with pytest.raises(StoreUnavailable, match="read-only transaction"):
        seal(world, make_order(world, b"", "id", draft=msgspec.structs.replace(draft, assemble=assemble)))
    assert (soft_keys(world).signed_by["director"], world.room.ledger.settled) == (1, False)
    read_only(False)
    assert not seal(world, make_order(world, b"", "id", draft=draft)).replayed
    types = [row["type"] for row in world.room.store.list(EntryRow, "seq")]
    assert [kind for kind in types if kind.startswith("key.sign")][-4:] == [
        "key.sign.intent", "key.sign.unknown", "key.sign.intent", "key.sign.outcome",
    ]  # fmt: skip
    assert not world.room.store.lost.is_set()
    asyncio.run(audit_world(world))
    world.stop()
