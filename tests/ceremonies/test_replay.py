"""What follows from the entries, and that a bad entry is named."""

import asyncio

import msgspec
import pytest

from ceremonies.commands import KeysListed, SuspendKey
from ceremonies.entries import state_denied
from ceremonies.journal import JournalForked
from ceremonies.reckoning import check_counts, check_rows
from ceremonies.recovery import RECOVERY
from ceremonies.replay import Quota, replay_journal
from tests.ceremonies.examples import read_leaves
from tests.ceremonies.small import act, make_order, seal
from tests.engines import tamper
from tests.world import World, issue_device, make_request

pytestmark = pytest.mark.engines


def test_what_is_kept_in_memory_is_what_a_restart_reads(factory_world: World) -> None:
    world = factory_world
    csr = make_request()
    for number, request in ((1, csr), (1, csr), (2, make_request())):
        asyncio.run(issue_device(world, number, request))
    seal(world, make_order(world, b"x", "id"))
    kept, read = world.room.ledger.replay, replay_journal(world.room.store, world.room.ledger.journal)
    assert kept == read
    assert kept.quotas == {"wo-1": Quota(20, 2)}
    assert kept.keys == {key.spki: key for key in world.room.door.keyring}
    assert kept.opened == {}
    check_rows(world.room.store, read, world.room.door.keyring)
    check_counts(world.room.store, read)


@pytest.mark.req("AU-2", "AU-5")
@pytest.mark.parametrize(
    ("statement", "bad"),
    [
        ("UPDATE entry SET leaf = (SELECT leaf FROM entry WHERE seq = 5) WHERE seq >= 3", "entry 3"),
        ("UPDATE entry SET hash = (SELECT hash FROM entry WHERE seq = 5) WHERE seq = 17", "entry 17"),
        ("UPDATE entry SET type = 'probe' WHERE seq = 17", "entry 17"),
        ("DELETE FROM entry WHERE seq = 17", "entry 17"),
        ("INSERT INTO entry SELECT seq + 1, type, leaf, hash FROM entry ORDER BY seq DESC LIMIT 1", "entr"),
    ],
)
def test_the_first_bad_entry_is_named(genesis_world: World, statement: str, bad: str) -> None:
    store = genesis_world.room.store
    tamper(store, statement)
    with pytest.raises(JournalForked, match=bad):
        replay_journal(store, genesis_world.room.ledger.journal)


def test_an_entry_of_a_denied_state_changes_nothing(genesis_world: World) -> None:
    world, before = genesis_world, dict(genesis_world.room.ledger.replay.keys)
    draft = state_denied(["director"], "destroyed", RECOVERY, JournalForked("no"))
    act(world, lambda: world.room.ledger.record([draft]))
    assert world.room.ledger.replay.keys == before


def test_who_made_a_key_and_which_entry_suspended_it(factory_world: World) -> None:
    world, spki = factory_world, factory_world.room.door.keyring.labelled("director").spki
    replay = world.room.ledger.replay
    assert set(replay.makers) == {key.spki for key in world.room.door.keyring}
    assert set(replay.makers.values()) == {"genesis"}
    (opened,) = [leaf for leaf in read_leaves(world) if leaf["type"] == "quota.open"]
    assert replay.orders == {"wo-1": opened["seq"]}
    assert replay.suspended == {}
    asyncio.run(world.ask(SuspendKey("director", "lost"), "officer", KeysListed))
    assert replay.suspended == {spki: world.room.ledger.journal.size - 1}
    assert msgspec.structs.asdict(
        replay_journal(world.room.store, world.room.ledger.journal)
    ) == msgspec.structs.asdict(replay)
    asyncio.run(world.ceremony("resume", "resume", {"labels": ["director"], "reason": "found"}))
    assert replay.suspended == {}
