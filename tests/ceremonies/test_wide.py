"""The wide door over soft keys; with sessions of real tokens: tests/scenarios/test_circuits.py."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ceremonies.commands import DeviceIssued, IssueDevice, Problem
from ceremonies.wide import WideDoor
from hsm.errors import CallFailed
from hsm.keys import KeyName
from tests.softbox import Softbox
from tests.world import World, copy_world, make_request


@pytest.fixture
def wide_world(factory_template: World, tmp_path: Path) -> Iterator[World]:
    """A started world with the open work order `wo-1`, whose door signs by four threads."""
    world = copy_world(factory_template, tmp_path / "world")
    world.start(msgspec.structs.replace(world.settings(), sessions=4))
    yield world
    world.stop()


@pytest.mark.req("HS-4")
def test_orders_of_a_batch_are_signed_side_by_side(wide_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(wide_world.room.door, WideDoor)
    inside, most, real, lock = 0, 0, Softbox.sign, threading.Lock()

    def watch(box: Softbox, key: KeyName, data: bytes) -> bytes:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.1)
        with lock:
            inside -= 1
        return real(box, key, data)

    monkeypatch.setattr(Softbox, "sign", watch)
    answers = asyncio.run(issue_together(wide_world, 6))
    assert all(isinstance(answer, DeviceIssued) for answer in answers), answers
    assert 2 <= most <= 4


async def issue_together(world: World, count: int) -> list[object]:
    """So many certificates at once. The first goes alone; those that wait meanwhile make the next batch."""
    orders = [IssueDevice("wo-1", f"BMS-{number:06}", make_request()) for number in range(1, count + 1)]
    return list(await asyncio.gather(*(world.try_ask(order, "station") for order in orders)))


def test_a_failure_stays_with_its_order(wide_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    real, counted = Softbox.sign, iter(range(1000))

    def fail(box: Softbox, key: KeyName, data: bytes) -> bytes:
        if key.label == "device-ca" and next(counted) == 2:
            raise CallFailed("token kedge-main, C_Sign: CKR_HOST_MEMORY", rv="CKR_HOST_MEMORY")
        return real(box, key, data)

    monkeypatch.setattr(Softbox, "sign", fail)
    answers = asyncio.run(issue_together(wide_world, 6))
    assert [answer.code for answer in answers if isinstance(answer, Problem)] == ["hsm-call-failed"]
    assert sum(isinstance(answer, DeviceIssued) for answer in answers) == 5
