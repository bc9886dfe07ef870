"""Stocktaking over soft keys; with real tokens and an intruder: tests/scenarios/test_inventory.py."""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ceremonies.recovery import Difference
from ceremonies.stocktaking import RECORDED_EVERY_US, Shelves, Stocktaking
from ceremonies.tables import EntryRow
from hsm.errors import PinIncorrect
from hsm.inventory import Difference as Found
from hsm.inventory import compare_inventory
from tests.softbox import Softbox
from tests.world import World, soft_keys


def count_inventories(world: World) -> int:
    """How many inventories the journal holds."""
    return sum(row["type"] == "hsm.inventory" for row in world.room.store.list(EntryRow, "seq"))


def test_shelves_hold_what_was_found(genesis_world: World) -> None:
    key = genesis_world.room.door.keyring.labelled("device-ca")
    shelves = Shelves(soft_keys(genesis_world).inventory())
    assert shelves.exists(key.token, bytes.fromhex(key.cka_id))
    assert not shelves.exists("kedge-journal", bytes.fromhex(key.cka_id))
    assert not shelves.exists(key.token, bytes(16))


@pytest.mark.req("HS-7")
def test_an_inventory_without_news_is_recorded_once_a_day(
    genesis_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocktaking = Stocktaking(genesis_world.room, compare_inventory)
    before = count_inventories(genesis_world)
    for _ in range(3):
        asyncio.run(stocktaking.turn())
    assert count_inventories(genesis_world) == before
    assert genesis_world.room.counters["inventory_turns"] == 3
    monkeypatch.setattr(stocktaking, "_recorded", stocktaking._recorded - RECORDED_EVERY_US)
    for _ in range(2):
        asyncio.run(stocktaking.turn())
    assert count_inventories(genesis_world) == before + 1


@pytest.mark.req("HS-7")
def test_what_is_missing_for_one_look_only_suspends_nothing(genesis_world: World) -> None:
    """A search that came back empty once must not stop a factory."""
    key = genesis_world.room.door.keyring.labelled("device-ca")
    looks: list[int] = []

    def compare(names: Iterable[Any], found: Sequence[Any], memos: Collection[Any]) -> Sequence[Difference]:
        looks.append(1)
        gone = Found("missing", key.token, bytes.fromhex(key.cka_id), key.label, "private-key not in the token")
        return [gone] if len(looks) == 1 else compare_inventory(names, found, memos)

    asyncio.run(Stocktaking(genesis_world.room, compare).turn())
    assert len(looks) == 2
    assert genesis_world.room.door.keyring.get(key.spki).state == "active"
    assert genesis_world.room.alarms == {}


@pytest.mark.req("HS-7")
def test_tokens_that_cannot_be_compared_are_a_problem(genesis_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    stocktaking = Stocktaking(genesis_world.room, compare_inventory)

    def refuse(_: Softbox) -> None:
        raise PinIncorrect("token kedge-main, C_Login: CKR_PIN_INCORRECT", rv="CKR_PIN_INCORRECT")

    with monkeypatch.context() as patched:
        patched.setattr(Softbox, "inventory", refuse)
        with pytest.raises(PinIncorrect):
            asyncio.run(stocktaking.turn())
    assert "CKR_PIN_INCORRECT" in genesis_world.room.alarms["inventory"]
    asyncio.run(stocktaking.turn())
    assert genesis_world.room.alarms == {}


@pytest.mark.req("HS-7")
def test_the_journal_key_is_told_and_cannot_be_suspended(genesis_world: World) -> None:
    key = genesis_world.room.door.keyring.labelled("journal")
    strange = Found("altered", key.token, bytes.fromhex(key.cka_id), key.label, "private-key has label 'x'")
    asyncio.run(Stocktaking(genesis_world.room, lambda *_: [strange]).turn())
    assert genesis_world.room.door.keyring.get(key.spki).state == "active"
    assert "inventory" in genesis_world.room.alarms


def test_a_key_that_a_clone_lacks_is_told_and_stays_in_use(genesis_world: World) -> None:
    key = genesis_world.room.door.keyring.labelled("device-ca")
    lacking = Found("not-cloned", key.token, bytes.fromhex(key.cka_id), key.label, "not in the clone with serial 1")
    before = count_inventories(genesis_world)
    asyncio.run(Stocktaking(genesis_world.room, lambda *_: [lacking]).turn())
    assert genesis_world.room.door.keyring.get(key.spki).state == "active"
    assert genesis_world.room.alarms == {}
    assert (count_inventories(genesis_world), genesis_world.room.counters["inventory_differences"]) == (before + 1, 1)


@pytest.mark.req("HS-7", "KL-12")
def test_a_suspended_key_may_differ_at_a_start(genesis_world: World) -> None:
    """A person knows of it, and it signs nothing; a supervisor must not stand before a closed door."""
    world, key = genesis_world, genesis_world.room.door.keyring.labelled("device-ca")
    soft_keys(world).keys[key.token, bytes.fromhex(key.cka_id)] = ec.generate_private_key(ec.SECP256R1())
    asyncio.run(Stocktaking(world.room, compare_inventory).turn())
    assert world.room.door.keyring.get(key.spki).state == "suspended"
    world.stop()
    world.start()
    assert world.room.door.keyring.get(key.spki).state == "suspended"
