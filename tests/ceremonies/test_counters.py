"""Counter updates: a floor that a device could not boot above, or that the set or the hardware forbids, is refused."""

import asyncio
from typing import Any

import msgspec
import pytest

from ceremonies import commands, counters, hardware
from ceremonies.commands import CeremonyShown, Problem
from ceremonies.counters import check_device
from ceremonies.errors import KeyroomError
from ceremonies.plans import CounterPlan
from ceremonies.receipts import Facts, SlotFacts
from ceremonies.tables import CounterUpdateRow
from ceremonies.trustsets import newest_set
from pki.trust.cose import parse_sign
from pki.trust.counters import verify_counter_update
from pki.trust.device_profile import CounterModel
from tests.ceremonies.field import execute, make_controllers, problem, propose, submit
from tests.ceremonies.fielded import decommission
from tests.ceremonies.rotated import Fleet, report_all
from tests.ceremonies.templates import on_both_keys
from tests.world import CLASS, audit_world

replace = msgspec.structs.replace
PLAN = {"class_name": CLASS, "domain": 2, "floor_from": 2, "floor_to": 3, "confirmed": 2, "soak": 600}


def refuse(fleet: Fleet, **changes: Any) -> Problem:
    """The refusal of a plan, changed from one that is taken."""
    return problem(asyncio.run(propose(fleet.world, "raise", "counter-update", {**PLAN, **changes})))


@pytest.mark.req("RO-6", "T34")
@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("lowest-confirmed", {"floor_to": 4}),
        ("limits", {"floor_to": 11}),
        ("limits", {"floor_from": 995, "floor_to": 1001}),
        ("limits", {"floor_from": 3}),
        ("domain", {"domain": 1}),
        ("domain", {"domain": 0}),
        ("domain", {"domain": 99}),
        ("confirmed-slots", {"confirmed": 3}),
    ],
)
def test_a_rule_refuses_and_says_so(moved: Fleet, rule: str, changes: dict[str, Any]) -> None:
    refused = refuse(moved, **changes)
    assert (refused.code, refused.details["rule"]) == ("floor-refused", rule)
    assert refused.details["found"] and refused.details["expected"]
    if rule == "lowest-confirmed":
        assert refused.details["found"] == "BMS-000001 at 3"


@pytest.mark.req("RO-6", "T34")
def test_the_reserve_of_the_hardware_is_kept(moved: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(hardware.HARDWARE, "stm32h7-atecc608b", CounterModel(capacity=3 * 8, stride=8))
    assert refuse(moved).details["rule"] == "capacity-reserve"


def test_an_unknown_class_is_refused(moved: Fleet) -> None:
    assert refuse(moved, class_name="pcs-lpc55").code == "class-unknown"


@pytest.mark.req("RO-6", "T34")
def test_a_silent_device_blocks_by_name(moved: Fleet) -> None:
    asyncio.run(make_controllers(moved.world, (7,), None))
    refused = refuse(moved)
    assert (refused.details["rule"], refused.details["found"]) == ("device-silent", "BMS-000007")


def test_a_decommissioned_device_blocks_no_floor(moved: Fleet) -> None:
    async def play() -> None:
        await make_controllers(moved.world, (7,), None)
        await decommission(moved.world, "BMS-000007")
        await moved.world.propose("raise", "counter-update", PLAN)

    asyncio.run(play())


def test_a_device_with_an_alarm_blocks_by_name(moved: Fleet) -> None:
    async def play() -> None:
        clone = moved.controllers[1].fork()
        await report_all(moved)
        assert await submit(moved.world, await clone.report(moved.world)) == ("sequence-rollback",)

    asyncio.run(play())
    refused = refuse(moved)
    assert (refused.details["rule"], refused.details["found"]) == ("device-alarm", "BMS-000002: sequence-rollback")


def test_the_lowest_confirmed_slot_counts() -> None:
    plan = msgspec.convert(PLAN, CounterPlan)
    slots = (SlotFacts(3, ("k",), True), SlotFacts(4, ("k",), True), SlotFacts(1, ("k",), False))
    facts = Facts(set_index=1, set_hash="", state=0, boots=1, floors={"2": 2}, slots=slots, canary="")
    check_device(plan, "one", facts)
    for changed, rule in (
        (replace(facts, slots=(SlotFacts(2, ("k",), True), *slots)), "lowest-confirmed"),
        (replace(facts, slots=()), "lowest-confirmed"),
        (replace(facts, floors={"2": 3}), "floor-from"),
    ):
        with pytest.raises(KeyroomError) as refused:
            check_device(plan, "one", changed)
        assert refused.value.details["rule"] == rule


@pytest.mark.req("RO-6")
@on_both_keys
def test_a_floor_is_raised_by_two_counter_keys_once(moved: Fleet) -> None:
    async def play() -> bytes:
        shown = await moved.world.ceremony("raise", "counter-update", PLAN)
        assert shown.state == "closed"
        listed = await moved.world.ask(commands.ListCounterUpdates(), "", commands.DocumentsListed)
        return listed.documents[0][2]

    document = asyncio.run(play())
    update = verify_counter_update(newest_set(moved.world.room.store), document)
    assert (update.sequence, update.raises[0].floor_to, len(parse_sign(document).signatures)) == (1, 3, 2)
    for controller in moved.controllers:
        controller.device.run(600)
        controller.device.counter_update(document)
    assert asyncio.run(report_all(moved)) == ("", "")
    again = refuse(moved)
    assert (again.details["rule"], again.details["expected"]) == ("floor-increases", "above 3")
    assert asyncio.run(audit_world(moved.world)).verdict == "authenticated"


@on_both_keys
def test_a_suspended_counter_key_stops_the_update(moved: Fleet) -> None:
    async def play() -> Problem:
        await moved.world.ask(commands.SuspendKey("counter-2", "lost"), "officer", commands.KeysListed)
        await moved.world.propose("raise", "counter-update", PLAN)
        await moved.world.approve("raise", "plan", "bob", "carol")
        return problem(await execute(moved.world, "raise", "plan"))

    assert asyncio.run(play()).code == "no-trust-set"


@pytest.mark.req("RO-6", "T34")
@pytest.mark.parametrize("step", ["plan", "results"])
def test_the_floor_is_judged_again_before_it_is_signed(moved: Fleet, step: str) -> None:
    async def play() -> Problem:
        await moved.world.propose("raise", "counter-update", PLAN)
        await moved.world.approve("raise", "plan", "bob", "carol")
        if step == "results":
            assert isinstance(await execute(moved.world, "raise", "plan"), CeremonyShown)
            await moved.world.approve("raise", "results", "bob", "carol")
        await make_controllers(moved.world, (7,), None)
        return problem(await execute(moved.world, "raise", step))

    refused = asyncio.run(play())
    assert refused.details["rule"] == "device-silent"
    assert not moved.world.room.store.list(CounterUpdateRow, "sequence")


@on_both_keys
def test_one_of_two_ceremonies_gets_the_number(moved: Fleet) -> None:
    async def play() -> Problem:
        for name, soak in (("raise", 600), ("other", 700)):
            await moved.world.propose(name, "counter-update", {**PLAN, "soak": soak})
            await moved.world.approve(name, "plan", "bob", "carol")
            assert isinstance(await execute(moved.world, name, "plan"), CeremonyShown)
            await moved.world.approve(name, "results", "bob", "carol")
        assert isinstance(await execute(moved.world, "raise", "results"), CeremonyShown)
        return problem(await execute(moved.world, "other", "results"))

    assert asyncio.run(play()).code == "step-outdated"
    assert len(moved.world.room.store.list(CounterUpdateRow, "sequence")) == 1


def test_an_update_that_devices_would_refuse_is_not_published(moved: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    build = counters.build_update

    def broken(*arguments: Any) -> Any:
        update = build(*arguments)
        raises = tuple(replace(item, floor_to=item.floor_to + 1) for item in update.raises)
        return replace(update, raises=raises)

    async def play() -> Problem:
        monkeypatch.setattr(counters, "build_update", broken)
        await moved.world.propose("raise", "counter-update", PLAN)
        await moved.world.approve("raise", "plan", "bob", "carol")
        await execute(moved.world, "raise", "plan")
        await moved.world.approve("raise", "results", "bob", "carol")
        return problem(await execute(moved.world, "raise", "results"))

    refused = asyncio.run(play())
    assert refused.code == "rehearsal-failed"
    assert "slots-unready" in refused.message
    assert not moved.world.room.store.list(CounterUpdateRow, "sequence")
