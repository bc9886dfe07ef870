"""What a step does to keys: it makes its own, and starts those that its officers saw stopped, once."""

import asyncio

import msgspec
import pytest

from ceremonies.commands import CeremonyShown, ExecuteStep, KeysListed, SuspendKey
from ceremonies.keyring import KeyEntry, KeyTransitionRefused
from ceremonies.keysteps import check_start, is_made, key_plan
from ceremonies.orders import KeyPlan
from ceremonies.quorums import StepOutdated
from tests.ceremonies.examples import read_leaves
from tests.ceremonies.field import execute, problem
from tests.ceremonies.test_quorums import ROTATION
from tests.world import World, plan_keys

RESUME = {"labels": ["oem-root-1"], "reason": "found again"}


def state_of(world: World, label: str) -> str:
    return world.room.door.keyring.labelled(label).state


async def suspend(world: World, label: str) -> None:
    await world.ask(SuspendKey(label, "lost"), "officer", KeysListed)


@pytest.mark.req("MP-11")
def test_an_old_approval_undoes_no_new_suspension(genesis_world: World) -> None:
    world = genesis_world

    async def run() -> None:
        await suspend(world, "oem-root-1")
        for name in ("first", "second"):
            await world.propose(name, "resume", RESUME)
            await world.approve(name, "plan", "bob", "carol")
        await world.ask(ExecuteStep("first", "plan"), "officer", CeremonyShown)
        assert state_of(world, "oem-root-1") == "active"
        await suspend(world, "oem-root-1")

    asyncio.run(run())
    world.stop()
    world.start()  # what is compared comes from the journal
    assert problem(asyncio.run(execute(world, "second", "plan"))).code == "step-outdated"
    assert state_of(world, "oem-root-1") == "suspended"
    asyncio.run(world.ceremony("third", "resume", RESUME))
    assert state_of(world, "oem-root-1") == "active"


@pytest.mark.req("MP-11")
def test_results_start_no_key_that_was_suspended_meanwhile(genesis_world: World) -> None:
    async def run() -> str:
        world = genesis_world
        await world.propose("rotate", "trust-set", ROTATION)
        for step in ("plan", "results"):
            await world.approve("rotate", step, "bob", "carol")
            if step == "plan":
                await world.ask(ExecuteStep("rotate", step), "officer", CeremonyShown)
        await suspend(world, "oem-root-4")
        return problem(await execute(world, "rotate", "results")).code

    assert asyncio.run(run()) == "key-transition-refused"
    assert state_of(genesis_world, "oem-root-4") == "suspended"
    asyncio.run(genesis_world.ceremony("resume", "resume", {**RESUME, "labels": ["oem-root-4"]}))
    asyncio.run(genesis_world.ask(ExecuteStep("rotate", "results"), "officer", CeremonyShown))
    assert state_of(genesis_world, "oem-root-4") == "active"


@pytest.mark.req("MP-2")
def test_a_key_of_another_ceremony_is_not_taken_for_ones_own(genesis_world: World) -> None:
    async def run() -> str:
        world = genesis_world
        for name in ("first", "second"):
            await world.propose(name, "trust-set", ROTATION)
            await world.approve(name, "plan", "bob", "carol")
        await world.ask(ExecuteStep("first", "plan"), "officer", CeremonyShown)
        return problem(await execute(world, "second", "plan")).code

    assert asyncio.run(run()) == "label-taken"
    denied = [leaf for leaf in read_leaves(genesis_world) if leaf["type"] == "key.generate.denied"]
    assert [leaf["op"]["what"]["label"] for leaf in denied] == ["oem-root-4"]


def test_a_key_is_the_one_of_the_plan_in_every_field(genesis_world: World) -> None:
    room = genesis_world.room
    key = room.door.keyring.labelled("counter-1")
    plan = KeyPlan(**next(fields for fields in plan_keys() if fields["label"] == "counter-1"))
    assert key_plan(key) == plan
    assert is_made(room, key, plan, "genesis")
    assert not is_made(room, key, plan, "another")
    for field in KeyPlan.__struct_fields__:
        assert not is_made(room, key, msgspec.structs.replace(plan, **{field: "another"}), "genesis"), field


def test_how_a_key_may_start(genesis_world: World) -> None:
    room = genesis_world.room
    asyncio.run(suspend(genesis_world, "director"))
    seq = room.ledger.replay.suspended[room.door.keyring.labelled("director").spki]

    def key(state: str) -> KeyEntry:
        return msgspec.structs.replace(room.door.keyring.labelled("director"), state=state)

    check_start(room, key("pre-activation"), {})
    check_start(room, key("suspended"), {"director": seq})
    with pytest.raises(StepOutdated):
        check_start(room, key("suspended"), {"director": seq - 1})
    for state, shown in (("suspended", {}), ("suspended", {"oem-root-1": seq}), ("compromised", {"director": seq})):
        with pytest.raises(KeyTransitionRefused):
            check_start(room, key(state), shown)
