"""After a crash, row by row, without a crash: an intent stands open, then recovery comes. (Real crashes: scenarios.)"""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ceremonies import entries
from ceremonies.journal import JournalForked
from ceremonies.keyring import KeyEntry
from ceremonies.recovery import (
    MAX_DIFFERENCES,
    InventoryDiffers,
    KeyMissing,
    KeyResurrected,
    check_differences,
    check_keys,
    close_open_intents,
    inventory_facts,
    settle_intents,
)
from ceremonies.tables import EntryRow
from hsm.inventory import Difference
from pki.log.leaves import MAX_LEAF
from tests.ceremonies.small import BY, act
from tests.world import World, audit_world, soft_keys

pytestmark = pytest.mark.engines


def open_intent(world: World, operation: str, key: dict[str, object], what: dict[str, Any]) -> int:
    """An intent that nobody closes; its index."""
    op = {"kind": operation, "summary": "s", "what": what}
    draft = entries.key_intent(operation, BY, [key], op, {})
    ledger = world.room.ledger
    placed = act(world, lambda: ledger.commit(lambda _: [draft], lambda _: ((), ()), settles=False))
    return int(placed[0].seq)


def recover(world: World) -> int:
    """Settle; how many intents were closed."""
    door = world.room.door
    return int(act(world, lambda: settle_intents(door.ledger, door.keyring, door.strongbox)))


def last_leaf(world: World) -> dict[str, Any]:
    """The newest entry."""
    leaf: dict[str, Any] = msgspec.json.decode(world.room.store.list(EntryRow, "seq")[-1]["leaf"])
    return leaf


def test_nothing_open_is_nothing_written(genesis_world: World) -> None:
    size = genesis_world.room.ledger.journal.size
    assert (recover(genesis_world), genesis_world.room.ledger.journal.size) == (0, size)


@pytest.mark.req("T27")
@pytest.mark.parametrize("made", [True, False])
def test_a_key_without_outcome_is_destroyed_by_the_id_of_its_intent(genesis_world: World, *, made: bool) -> None:
    world, box, cka_id = genesis_world, soft_keys(genesis_world), bytes(16)
    planned: dict[str, object] = {"id": cka_id.hex(), "label": "new", "token": box.token_serial("kedge-main")}
    seq = open_intent(world, "key.generate", planned, {"label": "new", "token": "kedge-main"})
    others = dict(box.keys)
    if made:
        box.generate("kedge-main", cka_id, "new", "p256")
    assert recover(world) == 1
    assert box.keys == others
    leaf = last_leaf(world)
    assert (leaf["type"], leaf["ref"]["i"], leaf["out"]["status"]) == ("key.generate.unknown", seq, "unknown")
    assert world.room.ledger.settled
    assert recover(world) == 0
    asyncio.run(audit_world(world))


@pytest.mark.req("T27", "KL-11")
@pytest.mark.parametrize("gone", [True, False])
def test_a_destruction_that_happened_gets_its_outcome(genesis_world: World, *, gone: bool) -> None:
    world, key = genesis_world, genesis_world.room.door.keyring.labelled("site-ca")
    open_intent(world, "key.destroy", key.fields, {"label": "site-ca", "token": key.token})
    if gone:
        soft_keys(world).destroy(key.token, bytes.fromhex(key.cka_id))
    assert recover(world) == 1
    expected = ("key.destroy.outcome", "destroyed") if gone else ("key.destroy.unknown", "active")
    assert (last_leaf(world)["type"], world.room.door.keyring.labelled("site-ca").state) == expected
    assert world.room.ledger.replay.keys[key.spki].state == expected[1]
    act(world, lambda: check_keys(world.room.door.keyring, world.room.door.strongbox))
    asyncio.run(audit_world(world))


def test_a_token_that_is_away_leaves_the_intent_open(genesis_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is signed, and nothing is guessed, until the token can be asked."""
    world, key = genesis_world, genesis_world.room.door.keyring.labelled("site-ca")
    open_intent(world, "key.destroy", key.fields, {"label": "site-ca", "token": key.token})

    def fail(*_: object) -> bool:
        raise ConnectionError("away")

    with monkeypatch.context() as patched:
        patched.setattr(type(world.room.door.strongbox), "exists", fail, raising=False)
        patched.setattr("tests.softbox.Softbox.exists", fail)
        with pytest.raises(ConnectionError):
            recover(world)
    assert not world.room.ledger.settled
    assert recover(world) == 1


@pytest.mark.req("KL-12", "T30")
def test_tokens_and_journal_must_agree(genesis_world: World) -> None:
    door = genesis_world.room.door
    key = door.keyring.labelled("site-ca")

    def check(change: Callable[[KeyEntry], KeyEntry]) -> None:
        door.keyring.put(change(key))
        act(genesis_world, lambda: check_keys(door.keyring, door.strongbox))

    check(lambda entry: entry)
    with pytest.raises(KeyResurrected, match="site-ca"):
        check(lambda entry: msgspec.structs.replace(entry, state="destroyed"))
    with pytest.raises(KeyMissing, match="site-ca"):
        check(lambda entry: msgspec.structs.replace(entry, cka_id="ff" * 16))


@pytest.mark.req("T5")
def test_recovery_starts_with_rows_that_the_journal_bears_out(genesis_world: World) -> None:
    door = genesis_world.room.door
    door.keyring.put(msgspec.structs.replace(door.keyring.labelled("director"), state="destroyed"))
    with pytest.raises(JournalForked, match="keys"):
        act(genesis_world, lambda: close_open_intents(door.ledger, door.keyring, door.strongbox))


def test_what_a_token_calls_its_objects_fits_into_an_entry(genesis_world: World) -> None:
    """Whoever can write to a token must not be able to stop the journal with a name."""
    names = ["\x00" * 10_000, "\ud800\n\u202e" * 999, '"\\' * 10_000]
    differences = [
        Difference("unknown", "kedge-main", bytes(300), names[number % 3], names[number % 3]) for number in range(1000)
    ]
    facts = inventory_facts(soft_keys(genesis_world).inventory(), differences)
    assert (facts["different"], len(facts["differences"])) == (1000, MAX_DIFFERENCES)
    (placed,) = act(
        genesis_world, lambda: genesis_world.room.ledger.record([entries.event("hsm.inventory", BY, facts)])
    )
    assert len(placed.leaf) < MAX_LEAF
    assert "differences" not in inventory_facts(soft_keys(genesis_world).inventory(), [])


def test_a_foreign_object_is_an_alarm_and_one_with_our_id_an_end() -> None:
    foreign = Difference("unknown", "kedge-main", b"\x01", "not ours", "private-key is not registered")
    check_differences([foreign], {b"\x02"})
    with pytest.raises(InventoryDiffers, match="not ours"):
        check_differences([foreign], {b"\x01"})
