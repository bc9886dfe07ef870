"""The gate: a leaving key is destroyed only when every device of the register has moved."""

import asyncio
import json
from typing import Any

import msgspec
import pytest

from ceremonies.commands import CeremonyShown, Problem, Return
from ceremonies.receipts import Facts, SlotFacts
from ceremonies.retirement import find_blocker
from ceremonies.trustsets import newest_set
from pki.trust.receipts import Canary, ReceiptClaims, SlotReport, State
from pki.trust.rehearsal import Bundle, Release, follow
from pki.trust.sets import TrustSet
from tests.ceremonies.field import Controller, execute, list_sets, make_controllers, problem, propose, submit
from tests.ceremonies.fielded import decommission, install, say_all
from tests.ceremonies.rotated import Fleet, report_all
from tests.ceremonies.templates import on_both_keys
from tests.world import audit_world

replace = msgspec.structs.replace
DESTROY = {"labels": ["image-app-1", "oem-root-1"], "reason": "rotated"}


def ask_gate(fleet: Fleet, labels: tuple[str, ...] = ("image-app-1", "oem-root-1")) -> Problem:
    """The gate's refusal when the destruction of keys is proposed."""
    refused = problem(asyncio.run(propose(fleet.world, "destroy", "destroy", {**DESTROY, "labels": list(labels)})))
    assert refused.code == "gate-closed"
    return refused


@pytest.mark.req("RO-5")
@on_both_keys
def test_never_heard_devices_block(rotated: Fleet) -> None:
    refused = ask_gate(rotated)
    assert refused.details == {
        "blockers": 2,
        "devices": {"BMS-000001": "never heard", "BMS-000002": "never heard"},
    }


def test_devices_at_the_old_set_and_on_the_way_block(rotated: Fleet) -> None:
    async def play() -> None:
        bridge = Release(rotated.releases["2.4.0"].manifest, rotated.releases["2.4.0"].image)
        sets = await list_sets(rotated.world, 1)
        one, two = (controller.device for controller in rotated.controllers)
        one.receive_sets(sets)
        one.install(bridge.manifest, bridge.image)
        one.boot()
        follow(two, Bundle(sets, bridge, bridge))
        assert await report_all(rotated) == ("", "")

    asyncio.run(play())
    assert ask_gate(rotated).details["devices"] == {"BMS-000001": "at set index 0"}


def test_keys_that_the_newest_set_or_the_journal_needs_stay(moved: Fleet) -> None:
    for label in ("image-app-2", "oem-root-2", "recovery-1", "director", "journal"):
        refused = ask_gate(moved, (label,))
        assert label in refused.message


def test_keys_that_no_set_names_have_no_gate(rotated: Fleet) -> None:
    shown = asyncio.run(propose(rotated.world, "drop", "destroy", {"labels": ["site-ca"], "reason": "never used"}))
    assert isinstance(shown, CeremonyShown)


@pytest.mark.req("RO-5")
@on_both_keys
def test_when_all_have_moved_the_keys_go_and_only_then(moved: Fleet) -> None:
    shown = asyncio.run(moved.world.ceremony("destroy", "destroy", DESTROY))
    assert shown.state == "closed"
    states = {key.label: key.state for key in moved.world.room.door.keyring}
    assert (states["image-app-1"], states["oem-root-1"], states["image-app-2"]) == ("destroyed", "destroyed", "active")
    assert asyncio.run(audit_world(moved.world)).verdict == "authenticated"


async def issue_another(fleet: Fleet) -> str:
    (fresh,) = await make_controllers(fleet.world, (9,), fleet.releases["2.3.0"])
    return f"{fresh.serial}: never heard"


async def bring_back(fleet: Fleet) -> str:
    """A device is restored from a backup of the time before the move, and reports under its true key."""
    one = fleet.controllers[0]
    old = Controller(one.serial, one.key, type(one.device).birth(
        one.device.hardware.profile, one.device.hardware.identity, (await list_sets(fleet.world))[0],
        image=fleet.releases["2.3.0"].image, manifest=fleet.releases["2.3.0"].manifest,
    ))  # fmt: skip
    old.device.hardware.write(receipts=7)
    assert (await submit(fleet.world, await old.report(fleet.world))) == ("device-rollback",)
    return f"{one.serial}: alarm: device-rollback"


async def leave_canary(fleet: Fleet) -> str:
    """A device takes the canary for good."""
    one = fleet.controllers[0]
    claims = await one.claim(fleet.world)
    assert claims.canary is not None
    accepted = replace(claims, canary=Canary(claims.canary.digest, rejected=False))
    assert (await submit(fleet.world, one.sign(accepted))) == ("",)
    return f"{one.serial}: no canary was rejected"


@pytest.mark.req("RO-5", "T35")
@pytest.mark.parametrize("happening", [issue_another, bring_back, leave_canary])
@on_both_keys
def test_the_gate_is_asked_again_at_execution(moved: Fleet, happening: Any) -> None:
    async def play() -> tuple[Problem, str]:
        await moved.world.propose("destroy", "destroy", DESTROY)
        await moved.world.approve("destroy", "plan", "bob", "carol")
        why = await happening(moved)
        return problem(await execute(moved.world, "destroy", "plan")), why

    refused, why = asyncio.run(play())
    assert refused.code == "gate-closed"
    assert why in refused.message
    assert {key.state for key in moved.world.room.door.keyring if key.label in DESTROY["labels"]} == {"active"}


def forge_canary(claims: ReceiptClaims) -> ReceiptClaims:
    return replace(claims, canary=Canary(b"c" * 32, rejected=True))


def drop_canary(claims: ReceiptClaims) -> ReceiptClaims:
    return replace(claims, canary=None)


def jump_ahead(claims: ReceiptClaims) -> ReceiptClaims:
    current = replace(claims.trust.current, epoch=2)
    return replace(claims, trust=replace(claims.trust, current=current))


def be_pending(claims: ReceiptClaims) -> ReceiptClaims:
    return replace(claims, trust=replace(claims.trust, state=State.PENDING))


def keep_leaving_slot(claims: ReceiptClaims) -> ReceiptClaims:
    first = claims.slots[0]
    slot: SlotReport = replace(first, keys=(b"k" * 32,), state=2)
    return replace(claims, slots=(slot, *claims.slots[1:]))


@pytest.mark.req("T35")
@pytest.mark.parametrize(
    ("change", "verdict", "why"),
    [
        (forge_canary, "", "no canary was rejected"),
        (drop_canary, "", "no canary was rejected"),
        (jump_ahead, "set-unknown", "alarm: set-unknown"),
        (be_pending, "", "in state pending"),
        (keep_leaving_slot, "", "a slot depends on leaving keys"),
    ],
)
def test_what_a_receipt_must_say(moved: Fleet, change: Any, verdict: str, why: str) -> None:
    async def play() -> None:
        one = moved.controllers[0]
        assert await submit(moved.world, one.sign(change(await one.claim(moved.world)))) == (verdict,)

    asyncio.run(play())
    assert ask_gate(moved).details["devices"] == {"BMS-000001": why}


def test_a_device_has_moved_at_exactly_the_newest_set(moved: Fleet) -> None:
    newest: TrustSet = newest_set(moved.world.room.store)
    kept = newest.keys[0].thumbprint.hex()
    facts = Facts(
        set_index=newest.index, set_hash=newest.payload_sha256.hex(), state=0, boots=1, floors={},
        slots=(SlotFacts(1, (kept, "aa"), True), SlotFacts(0, (), False)), canary="c1",
    )  # fmt: skip
    assert find_blocker(facts, newest, "c1") == ""
    assert find_blocker(facts, newest, "") == "no canary was rejected"
    assert find_blocker(replace(facts, set_index=newest.index + 1), newest, "c1") == "at set index 2"
    assert find_blocker(replace(facts, set_hash="00"), newest, "c1") == "at set index 1"


def test_only_suspended_keys_are_resumed(moved: Fleet) -> None:
    plan = {"labels": ["director"], "reason": "found"}
    assert problem(asyncio.run(propose(moved.world, "resume", "resume", plan))).code == "plan-malformed"


@pytest.mark.req("RO-5", "T35")
def test_decommissioned_devices_block_no_gate_and_returned_ones_do(rotated: Fleet) -> None:
    world, (one, two) = rotated.world, [controller.serial for controller in rotated.controllers]

    async def play() -> CeremonyShown:
        await install(world, [one, two])
        await decommission(world, one)
        await say_all(world, Return(two, "fan"))
        refused = problem(await propose(world, "destroy-1", "destroy", DESTROY))
        assert refused.details["devices"] == {two: "never heard"}
        await decommission(world, two)
        return await world.propose("destroy-2", "destroy", DESTROY)

    shown = json.loads(asyncio.run(play()).steps[0].shown)
    assert (shown["decommissioned"]["count"], shown["decommissioned"]["first"]) == (2, [one, two])
    assert asyncio.run(world.carry_out("destroy-2", "bob", "carol")).state == "closed"


@pytest.mark.req("RO-5")
def test_a_quorum_waives_devices_until_a_time(moved: Fleet) -> None:
    world = moved.world
    now = world.around.now_us() // 1_000_000

    async def play() -> CeremonyShown:
        await issue_another(moved)
        waiver = {"serial": "BMS-000009", "reason": "under water", "until": now - 1}
        for number, waived in enumerate(([], [waiver], [{**waiver, "serial": "BMS-000008", "until": now + 900}])):
            refused = problem(await propose(world, f"destroy-{number}", "destroy", {**DESTROY, "waived": waived}))
            assert refused.details["devices"] == {"BMS-000009": "never heard"}
        unreasoned = {**DESTROY, "waived": [{**waiver, "until": now + 900, "reason": ""}]}
        assert problem(await propose(world, "destroy-3", "destroy", unreasoned)).code == "plan-malformed"
        plan = {**DESTROY, "waived": [{**waiver, "until": now + 900}]}
        return await world.ceremony("destroy-4", "destroy", plan)

    assert asyncio.run(play()).state == "closed"


@pytest.mark.req("RO-5", "T35")
def test_what_is_decommissioned_after_officers_looked_does_not_count(moved: Fleet) -> None:
    world = moved.world

    async def play() -> Problem:
        await world.propose("destroy", "destroy", DESTROY)
        await world.approve("destroy", "plan", "bob", "carol")
        await issue_another(moved)
        await decommission(world, "BMS-000009")
        return problem(await execute(world, "destroy", "plan"))

    refused = asyncio.run(play())
    assert (refused.code, refused.details["devices"]) == ("gate-closed", {"BMS-000009": "never heard"})
