"""The story of one rotation: set, bridge, devices with power cuts, gate, floor, destruction, and thieves after it.

The service is a keyroom on SoftHSM with its officers; the devices are the model of the device rules. The story is
played once, in the order of the acts; the tests read it like the specification.
"""

import asyncio
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ceremonies.commands import Problem, ReleaseSigned
from ceremonies.trustsets import newest_set
from pki.errors import PkiError
from pki.log.reports import Report
from pki.trust.device import Device
from pki.trust.device_memory import GOLDEN, Memory, Slot
from pki.trust.rehearsal import Bundle, Release, follow
from pki.trust.sets import Domain
from tests.ceremonies.field import (
    Controller,
    count_rules,
    execute,
    list_sets,
    make_controllers,
    problem,
    propose,
    read_leaves,
    refuse_release,
    rotation_plan,
    sign_release,
    submit,
)
from tests.world import CLASS, World, audit_world, hsm_world

FLEET_SIZE = 5
CUTS = 6
LEAVING = {"labels": ["image-app-1", "oem-root-1"], "reason": "rotated"}
FLOOR = {"class_name": CLASS, "domain": 2, "floor_from": 2, "floor_to": 3, "confirmed": 2, "soak": 600}


class PowerCutError(Exception):
    """The power goes off at a write."""


class Story:
    """What happened: devices, releases, and what was refused, by the act that tried it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.controllers: list[Controller] = []
        self.releases: dict[str, Release] = {}
        self.refused: dict[str, Problem] = {}
        self.cuts = 0
        self.counter_update = b""
        self.report: Report

    @property
    def sleeper(self) -> Controller:
        """The controller that sleeps through the rotation."""
        return self.controllers[-1]

    async def publish(self, version: str, security_version: int, **changes: Any) -> Release:
        """A release of CI."""
        signed: ReleaseSigned = await sign_release(self.world, version, security_version, **changes)
        self.releases[version] = Release(signed.manifest, signed.image)
        return self.releases[version]

    async def hear(self, *controllers: Controller) -> None:
        """Controllers report, and are believed."""
        receipts = [await controller.report(self.world) for controller in controllers]
        assert set(await submit(self.world, *receipts)) == {""}


async def act_1_birth(story: Story) -> None:
    """Release 2.3.0, and devices that are born with it."""
    await story.world.genesis()
    await story.world.open_order()
    signed = await sign_release(story.world, "2.3.0", 2)
    story.releases["2.3.0"] = Release(signed.manifest, signed.image)
    story.controllers = await make_controllers(story.world, range(1, FLEET_SIZE + 1), signed)
    await story.hear(*story.controllers)
    story.refused["early bridge"] = await refuse_release(story.world, "2.4.0", 2, channel="transition")


async def act_2_set_and_bridge(story: Story) -> None:
    """Set (0, 1), the transition release 2.4.0 and its index."""
    await story.world.ceremony("rotate", "trust-set", rotation_plan())
    await story.publish("2.4.0", 2, channel="transition")
    await story.world.ceremony("bridge", "transition", {"release": "release-2.4.0", "start": 0})
    story.refused["early destruction"] = problem(await propose(story.world, "early", "destroy", LEAVING))


async def act_3_devices_move(story: Story) -> None:
    """All but the sleeper take set and bridge, with power cuts at random writes; then releases by the new key alone."""
    bridge, dice = story.releases["2.4.0"], random.Random(2026)
    bundle = Bundle(await list_sets(story.world, 1), bridge, bridge)
    for controller in story.controllers[:-1]:
        story.cuts += follow_with_cuts(controller.device, bundle, dice)
    await story.hear(*story.controllers[:-1])
    for version in ("2.5.0", "2.5.1"):
        after = await story.publish(version, 3)
        for controller in story.controllers[:-1]:
            story.cuts += follow_with_cuts(controller.device, Bundle(active=after, fallback=after), dice)
    await story.hear(*story.controllers[:-1])


async def act_4_one_sleeps(story: Story) -> None:
    """The sleeper holds up the destruction and the floor."""
    story.refused["destruction while one sleeps"] = problem(await propose(story.world, "asleep", "destroy", LEAVING))
    story.refused["floor while one sleeps"] = problem(await propose(story.world, "high", "counter-update", FLOOR))


async def act_5_the_sleeper_catches_up(story: Story) -> None:
    """From the first set to the newest in one go, without the bridge."""
    sets, dice = await list_sets(story.world, 1), random.Random(5)
    for version in ("2.5.0", "2.5.1"):
        release = story.releases[version]
        story.cuts += follow_with_cuts(story.sleeper.device, Bundle(sets, release, release), dice)
    await story.hear(story.sleeper)


async def act_6_floor(story: Story) -> None:
    """The floor rises to what every device runs in both slots; the devices take it and report."""
    shown = await story.world.ceremony("raise", "counter-update", FLOOR)
    story.counter_update = story.world.room.store.blob(shown.documents[0][2]) or b""
    bundle = Bundle(counter_updates=(story.counter_update,), soak=600)
    for controller in story.controllers:
        story.cuts += follow_with_cuts(controller.device, bundle, random.Random(6))
    await story.hear(*story.controllers)


async def act_7_destruction(story: Story) -> None:
    """The gate holds; the leaving keys are destroyed. A device of the line that is issued meanwhile holds it up."""
    await story.world.propose("destroy", "destroy", LEAVING)
    await story.world.approve("destroy", "plan", "bob", "carol")
    clone = story.controllers[0].fork()
    await story.hear(story.controllers[0])
    assert await submit(story.world, await clone.report(story.world)) == ("sequence-rollback",)
    story.refused["destruction with a clone about"] = problem(await execute(story.world, "destroy", "plan"))
    await story.hear(story.controllers[0])
    await execute(story.world, "destroy", "plan")
    story.refused["late bridge"] = await refuse_release(story.world, "2.6.0", 3, channel="transition")
    story.refused["below the floor"] = await refuse_release(story.world, "2.6.0", 2)


ACTS = (
    act_1_birth,
    act_2_set_and_bridge,
    act_3_devices_move,
    act_4_one_sleeps,
    act_5_the_sleeper_catches_up,
    act_6_floor,
    act_7_destruction,
)


def follow_with_cuts(device: Device, bundle: Bundle, dice: random.Random) -> int:
    """Take a bundle while the power is cut at random writes; how often. It boots after each cut (D1)."""
    for cut in range(CUTS):
        device.hardware.store = cut_after(dice.randrange(10))
        try:
            follow(device, bundle)
        except PowerCutError:
            device.hardware.store = keep
            assert device.boot() != GOLDEN
            device.run(bundle.soak)
        else:
            device.hardware.store = keep
            return cut
    follow(device, bundle)
    return CUTS


def keep(_before: Memory, after: Memory) -> Memory:
    """Power that does not fail."""
    return after


def cut_after(writes: int) -> Callable[[Memory, Memory], Memory]:
    """Power that fails instead of the write after so many."""
    left = [writes]

    def store(_before: Memory, after: Memory) -> Memory:
        left[0] -= 1
        if left[0] < 0:
            raise PowerCutError
        return after

    return store


pytestmark = pytest.mark.xdist_group("rotation")  # the story is told once


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    told = Story(hsm_world(tmp_path_factory.mktemp("story")).start())

    async def play() -> None:
        for act in ACTS:
            await act(told)
        told.report = await audit_world(told.world)

    asyncio.run(play())
    yield told
    told.world.stop()


@pytest.mark.req("RO-1", "RO-7")
def test_every_device_arrives_whatever_the_power_did(story: Story) -> None:
    newest = newest_set(story.world.room.store)
    images = {story.releases[version].image for version in ("2.5.0", "2.5.1")}
    assert story.cuts > FLEET_SIZE
    for controller in story.controllers:
        device = controller.device
        assert device.view.committed == newest
        assert device.memory.slots[device.memory.active].image == story.releases["2.5.1"].image
        assert {slot.image for slot in device.memory.slots} <= images
        assert device.view.floor(Domain.APP) == 3


@pytest.mark.req("RO-1", "RO-5", "RO-6")
@pytest.mark.parametrize(
    ("attempt", "code", "why"),
    [
        ("early bridge", "release-refused", "transition: found one trust set"),
        ("early destruction", "gate-closed", "5 devices may still depend"),
        ("destruction while one sleeps", "gate-closed", "1 devices may still depend on key image-app-1, BMS-000005"),
        ("floor while one sleeps", "floor-refused", "lowest-confirmed: found BMS-000005 at 2"),
        ("destruction with a clone about", "gate-closed", "BMS-000001: alarm: sequence-rollback"),
        ("late bridge", "no-trust-set", "0 of 1 keys"),
        ("below the floor", "release-refused", "security-version-holds: found 2, expected at least 3"),
    ],
)
def test_what_the_service_refused_and_why(story: Story, attempt: str, code: str, why: str) -> None:
    refused = story.refused[attempt]
    assert refused.code == code
    assert why in refused.message


def test_the_leaving_keys_are_gone_and_the_others_work(story: Story) -> None:
    states = {key.label: key.state for key in story.world.room.door.keyring}
    assert [states[label] for label in LEAVING["labels"]] == ["destroyed", "destroyed"]
    assert {state for label, state in states.items() if label not in LEAVING["labels"]} <= {"active", "pre-activation"}


@pytest.mark.req("RO-10")
@pytest.mark.parametrize("version", ["2.3.0", "2.4.0"])
def test_devices_refuse_what_was_left_behind(story: Story, version: str) -> None:
    device, left = story.controllers[1].fork().device, story.releases[version]
    before = device.memory
    with pytest.raises(PkiError) as refused:
        device.install(left.manifest, left.image)
    assert refused.value.code == {"2.3.0": "set-ref-mismatch", "2.4.0": "sequence-stale"}[version]
    assert device.memory == before


@pytest.mark.req("RO-10")
def test_the_old_set_changes_nothing(story: Story) -> None:
    device = story.controllers[1].fork().device
    before, genesis = device.memory, asyncio.run(list_sets(story.world))[0]
    try:
        device.receive_sets([genesis])
    except PkiError as refused:
        assert refused.code
    assert device.memory == before


@pytest.mark.parametrize("version", ["2.3.0", "2.4.0"])
def test_what_a_thief_writes_into_external_flash_does_not_boot(story: Story, version: str) -> None:
    """2.3.0 is signed by the leaving key alone, 2.4.0 is below the floor."""
    device, left = story.controllers[1].fork().device, story.releases[version]
    stolen = Slot(left.image, left.manifest, confirmed=True)
    good = device.memory.active
    device.hardware.write_slot(1 - good, stolen)
    device.hardware.write(active=1 - good)
    assert device.boot() == good
    device.hardware.write_slot(good, stolen)
    assert device.boot() == GOLDEN


def test_the_journal_tells_all_of_it(story: Story) -> None:
    assert story.report.verdict == "authenticated"
    leaves = read_leaves(story.world)
    for rule in ("transition", "security-version-holds"):
        assert count_rules(leaves, f"release-refused: {rule}:") == 1
    batches = [leaf for leaf in leaves if leaf.type == "receipt.batch" and leaf.op and leaf.op.what]
    refused = [why for leaf in batches if leaf.op and leaf.op.what for _, why in leaf.op.what["refused"]]
    assert refused == ["sequence-rollback"]
