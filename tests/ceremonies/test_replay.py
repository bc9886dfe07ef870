"""What follows from the entries, and that rows which say something else are found."""

import asyncio

import msgspec
import pytest

from ceremonies.commands import KeysListed, SuspendKey
from ceremonies.entries import state_denied
from ceremonies.journal import JournalForked
from ceremonies.recovery import RECOVERY
from ceremonies.replay import Quota, check_approvals, check_counts, check_rows, replay_journal
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
