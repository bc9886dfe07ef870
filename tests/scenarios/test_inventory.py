"""Somebody writes to a token while the keyroom runs: each kind of difference, its alarm, and the key that may not sign.

Real SoftHSM tokens, held by a warden; the intruder is another process with their PINs.
"""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pkcs11
import pytest
from pkcs11 import Attribute, KeyType, ObjectClass
from structlog.testing import capture_logs

from ceremonies import commands
from ceremonies.commands import DeviceIssued, ExecuteStep, HealthShown, IssueDevice, Problem
from ceremonies.door import key_name
from ceremonies.keyring import KeyEntry
from ceremonies.stocktaking import Stocktaking
from hsm.algorithms import ALGORITHMS
from hsm.errors import SignatureMismatch
from hsm.inventory import compare_inventory
from hsm.templates import public_template
from tests.hsm.intruders import destroy_half, generate_pair, import_key, swap_private_key
from tests.scenarios.test_crashes import check_journal, read_leaves
from tests.softhsm import enter_token, open_remote
from tests.world import TOKENS, World, copy_world, make_request

Intrusion = Callable[[pkcs11.Session, KeyEntry], None]


@pytest.fixture
def world(hsm_template: World, tmp_path: Path) -> Iterator[World]:
    """A started keyroom on SoftHSM, with work order `wo-1`."""
    made = copy_world(hsm_template, tmp_path)
    made.strongbox = lambda: open_remote(tmp_path / "hsm", tuple(TOKENS))
    made.start()
    yield made
    made.stop()


def key_id(key: KeyEntry) -> bytes:
    return bytes.fromhex(key.cka_id)


def add_data(session: pkcs11.Session, _key: KeyEntry) -> None:
    session.create_object({Attribute.CLASS: ObjectClass.DATA, Attribute.TOKEN: True, Attribute.LABEL: "note"})


def add_key(session: pkcs11.Session, _key: KeyEntry) -> None:
    generate_pair(session, b"\x07" * 16, "foreign")


def import_foreign(session: pkcs11.Session, _key: KeyEntry) -> None:
    import_key(session, b"\x08" * 16, "imported")


def destroy_private(session: pkcs11.Session, key: KeyEntry) -> None:
    destroy_half(session, key_id(key), ObjectClass.PRIVATE_KEY)


def destroy_both(session: pkcs11.Session, key: KeyEntry) -> None:
    for half in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY):
        destroy_half(session, key_id(key), half)


def rename(session: pkcs11.Session, key: KeyEntry) -> None:
    """MODIFIABLE=false keeps a label from being changed, not an object from being replaced."""
    (old,) = session.get_objects({Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.ID: key_id(key)})
    point = old[Attribute.EC_POINT]
    old.destroy()
    template: dict[Attribute, Any] = {**public_template(ALGORITHMS["p256"]), Attribute.CLASS: ObjectClass.PUBLIC_KEY}
    names = {Attribute.KEY_TYPE: KeyType.EC, Attribute.ID: key_id(key), Attribute.LABEL: "another name"}
    session.create_object({**template, **names, Attribute.EC_POINT: point})


def swap_both(session: pkcs11.Session, key: KeyEntry) -> None:
    destroy_both(session, key)
    generate_pair(session, key_id(key), key.label)


def import_in_place(session: pkcs11.Session, key: KeyEntry) -> None:
    destroy_both(session, key)
    import_key(session, key_id(key), key.label)


def add_second(session: pkcs11.Session, key: KeyEntry) -> None:
    generate_pair(session, key_id(key), key.label)


INTRUSIONS: dict[str, tuple[Intrusion, str, str, bool]] = {
    "unknown data": (add_data, "unknown", "data is not registered", False),
    "unknown key": (add_key, "unknown", "private-key is not registered", False),
    "imported key": (import_foreign, "unknown", "private-key is not registered, and was not made in the token", False),
    "missing private half": (destroy_private, "missing", "private-key not in the token", True),
    "missing key": (destroy_both, "missing", "private-key and public-key not in the token", True),
    "renamed": (rename, "altered", "public-key has label 'another name'", True),
    "swapped": (swap_both, "altered", "public key is", True),
    "imported in its place": (import_in_place, "altered", "private-key has CKA_LOCAL=false", True),
    "a second one": (add_second, "altered", "4 objects have this id", True),
}


@pytest.mark.req("HS-7", "HS-1", "HS-2", "T13", "T14")
@pytest.mark.parametrize("name", INTRUSIONS)
def test_a_difference_is_an_alarm_and_suspends_what_it_touches(world: World, name: str) -> None:
    intrude, kind, reason, touches = INTRUSIONS[name]
    asyncio.run(check_intrusion(world, intrude, (kind, reason), touches=touches))


async def check_intrusion(world: World, intrude: Intrusion, expected: tuple[str, str], *, touches: bool) -> None:
    """The alarm in all its forms, once; the key refuses; a request for another key is served."""
    stocktaking, key = Stocktaking(world.room, compare_inventory), world.room.door.keyring.labelled("device-ca")
    await stocktaking.turn()
    assert (await health(world)).ready
    size = world.room.ledger.journal.size
    await act_on_token(world, intrude, key)
    with capture_logs() as logged:
        await stocktaking.turn()
        await stocktaking.turn()
    alarms = [(item["kind"], item["why"]) for item in logged if item["event"] == "a token differs from the journal"]
    assert any(kind == expected[0] and why.startswith(expected[1]) for kind, why in alarms)
    assert len(alarms) == len(set(alarms)), "an alarm was told twice"
    new = read_leaves(world)[size:]
    told = [leaf["op"]["what"] for leaf in new if leaf["type"] == "hsm.inventory"]
    assert len(told) == 1
    assert any(item["reason"].startswith(expected[1][:60]) for item in told[0]["differences"])
    shown = await health(world)
    assert not shown.ready
    assert "tokens differ" in shown.problems[0]
    assert shown.metrics["inventory_differences"] == shown.metrics["inventory_alarms"] == len(alarms)
    answer = await world.try_ask(IssueDevice("wo-1", "BMS-000001", make_request()), "station")
    if touches:
        assert isinstance(answer, Problem), "a suspended key has signed"
        assert world.room.door.keyring.get(key.spki).uses == key.uses
        assert world.room.door.keyring.get(key.spki).state == "suspended"
        assert [leaf["op"]["what"]["to"] for leaf in new if leaf["type"] == "key.state"] == ["suspended"]
    else:
        assert isinstance(answer, DeviceIssued)
    await check_journal(world)


async def act_on_token(world: World, intrude: Intrusion, key: KeyEntry) -> None:
    """Beside the keyroom, which goes on."""
    with enter_token(world.path / "hsm", key.token) as session:
        intrude(session, key)


async def health(world: World) -> HealthShown:
    return await world.ask(commands.ShowHealth(), "", HealthShown)


@pytest.mark.req("HS-2", "HS-3", "HS-7", "T13")
def test_a_swapped_private_key_signs_nothing_and_is_suspended(world: World) -> None:
    """Its attributes and its public half are right, so no inventory shows it: its first signature does."""
    asyncio.run(check_swap(world))


async def check_swap(world: World) -> None:
    key = world.room.door.keyring.labelled("device-ca")
    stocktaking = Stocktaking(world.room, compare_inventory)
    await act_on_token(world, lambda session, entry: swap_private_key(session, key_name(entry)), key)
    answer = await world.try_ask(IssueDevice("wo-1", "BMS-000001", make_request()), "station")
    assert isinstance(answer, Problem)
    assert answer.code == SignatureMismatch.code
    await stocktaking.turn()
    assert not (await health(world)).ready
    assert world.room.door.keyring.get(key.spki).state == "suspended"
    state = next(leaf for leaf in read_leaves(world) if leaf["type"] == "key.state" and "inventory" in str(leaf))
    assert "does not verify" in state["op"]["what"]["reason"]


@pytest.mark.req("HS-7", "KL-12", "T30")
def test_a_destroyed_key_that_comes_back_while_we_run_is_named(world: World) -> None:
    asyncio.run(check_resurrection(world))


async def check_resurrection(world: World) -> None:
    key = world.room.door.keyring.labelled("site-ca")
    stocktaking = Stocktaking(world.room, compare_inventory)
    await world.ask(ExecuteStep("drop", "plan"), "officer", commands.CeremonyShown)
    await stocktaking.turn()
    assert (await health(world)).ready
    await act_on_token(world, lambda session, entry: generate_pair(session, key_id(entry), entry.label), key)
    await stocktaking.turn()
    assert not (await health(world)).ready
    told = [leaf["op"]["what"] for leaf in read_leaves(world) if leaf["type"] == "hsm.inventory"]
    assert told[-1]["resurrected"] == ["site-ca"]


@pytest.mark.req("HS-7")
def test_what_is_put_right_ends_the_alarm_and_a_restart_keeps_the_suspension(world: World) -> None:
    asyncio.run(check_end(world))
    world.stop()
    world.start()
    assert world.room.door.keyring.labelled("device-ca").state == "suspended"


async def check_end(world: World) -> None:
    stocktaking, key = Stocktaking(world.room, compare_inventory), world.room.door.keyring.labelled("device-ca")
    await act_on_token(world, add_data, key)
    await act_on_token(world, rename, key)
    await stocktaking.turn()
    await act_on_token(world, remove_data, key)
    await stocktaking.turn()
    told = [leaf["op"]["what"].get("different", 0) for leaf in read_leaves(world) if leaf["type"] == "hsm.inventory"]
    assert told[-2:] == [2, 1]


def remove_data(session: pkcs11.Session, _key: KeyEntry) -> None:
    for item in list(session.get_objects({Attribute.CLASS: ObjectClass.DATA})):
        item.destroy()
