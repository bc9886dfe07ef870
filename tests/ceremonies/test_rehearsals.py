"""Rehearsals: the class profile of the policy, a device's way through what was published, what is refused."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ceremonies.hardware import release_rule
from ceremonies.rehearsals import (
    RehearsalFailed,
    read_release,
    rehearse_bundle,
    rehearse_release,
    rehearse_set,
    replay_device,
)
from ceremonies.store import Row, Store
from ceremonies.tables import ReleaseRow
from ceremonies.trustsets import load_sets
from pki.trust.rehearsal import Bundle, Release
from tests.ceremonies.field import sign_release
from tests.ceremonies.rotated import Fleet, rotate
from tests.ceremonies.templates import Keys, Templates
from tests.engines import Engine
from tests.world import CLASS, plan_set

replace = msgspec.structs.replace


@pytest.fixture
def rotated(templates: Templates, engine: Engine, keys: Keys, tmp_path: Path) -> Iterator[Fleet]:
    """A fleet without a device after the set (0, 1) and its transition release."""
    fleet = templates.fleet(rotate, 0, engine, keys).copy(tmp_path / "world")
    yield fleet
    fleet.world.stop()


def test_a_replayed_device_is_where_the_fleet_is(rotated: Fleet) -> None:
    room = rotated.world.room
    rule = release_rule(rotated.world.policy, CLASS)
    _, before = replay_device(room, rule, 0)
    assert (before.view.newest.index, before.memory.slots[before.memory.active].image) == (
        0,
        rotated.releases["2.3.0"].image,
    )
    _, after = replay_device(room, rule, 1)
    committed = after.view.committed
    assert committed is not None and committed.index == 1
    assert {slot.image for slot in after.memory.slots} == {rotated.releases["2.4.0"].image}


def test_a_set_without_a_release_is_taken_by_those_that_can(rotated: Fleet) -> None:
    async def play() -> None:
        plan = {"keys": [], "trust_set": plan_set((2, 3, 4), "image-app-2"), "signers": ["oem-root-2", "oem-root-3"]}
        await rotated.world.ceremony("again", "trust-set", plan)

    asyncio.run(play())
    _, device = replay_device(rotated.world.room, release_rule(rotated.world.policy, CLASS), 2)
    committed = device.view.committed
    assert committed is not None and committed.index == 2


def test_a_release_for_a_set_without_one_before(rotated: Fleet) -> None:
    """From the first set, over one that no release was made for, in one go."""
    room = rotated.world.room
    rule = release_rule(rotated.world.policy, CLASS)
    row = room.store.find(ReleaseRow, version="2.4.0") or {}
    assert rehearse_release(room, rule, read_release(room.store, row)) > 0
    sets = tuple(document for _, document in load_sets(room.store, 1))
    bridge = read_release(room.store, row)
    assert rehearse_bundle(room, rule, 0, Bundle(sets, bridge, bridge)) > 10


def test_what_a_device_refuses_fails_with_its_reason(rotated: Fleet) -> None:
    room = rotated.world.room
    rule = release_rule(rotated.world.policy, CLASS)
    old = rotated.releases["2.3.0"]
    with pytest.raises(RehearsalFailed, match="set-ref-mismatch"):
        rehearse_release(room, rule, Release(old.manifest, old.image))
    for message in (b"\xff", load_sets(room.store)[1][1]):  # no set, and one that is held already
        with pytest.raises(RehearsalFailed, match=CLASS):
            rehearse_set(room, message)


def test_the_history_of_a_class_stays_short(rotated: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many releases under one set only the last is replayed."""
    import ceremonies.rehearsals as module

    asyncio.run(sign_release(rotated.world, "2.5.0", 3))
    read: list[str] = []

    def note(store: Store, row: Row) -> Release:
        read.append(row["version"])
        return read_release(store, row)

    monkeypatch.setattr(module, "read_release", note)
    replay_device(rotated.world.room, release_rule(rotated.world.policy, CLASS), 1)
    assert read == ["2.3.0", "2.5.0"]
