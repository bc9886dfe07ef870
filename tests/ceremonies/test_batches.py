"""Batches: every item as if it had come alone, and all of them together at the door."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from ceremonies import batches as module
from ceremonies.batches import Batches
from ceremonies.commands import (
    DeviceIssued,
    DeviceRequest,
    DevicesIssued,
    IssueDevice,
    IssueDevices,
    KeysListed,
    Problem,
    SuspendKey,
)
from ceremonies.desk import ANYONE, Caller
from ceremonies.jobs import Job
from ceremonies.orders import Order
from ceremonies.writer import KeyroomBusy
from tests.ceremonies.examples import read_leaves
from tests.crashing import gather_orders
from tests.world import PLANT, World, make_request


def serial(number: int) -> str:
    return f"BMS-{number:06}"


def batch_of(*items: tuple[str, bytes], order: str = "wo-1") -> IssueDevices:
    return IssueDevices(order, tuple(DeviceRequest(name, csr) for name, csr in items))


def ask(world: World, command: IssueDevices, token: str = "") -> Sequence[DeviceIssued | Problem]:
    return asyncio.run(world.ask(command, "station", DevicesIssued, token)).answers


def codes(answers: Sequence[DeviceIssued | Problem]) -> list[str]:
    return [answer.code if isinstance(answer, Problem) else "" for answer in answers]


@pytest.mark.req("CA-2", "T2", "T15", "T16")
def test_each_item_has_its_own_answer_in_order_and_its_own_entry(factory_world: World) -> None:
    twin = make_request()
    command = batch_of(
        (serial(1), make_request()),
        (serial(2), b"hello"),
        (serial(3), twin),
        (serial(4), twin),
        (serial(999), make_request()),
        (serial(6), make_request()),
    )
    before = factory_world.room.ledger.journal.size
    answers = ask(factory_world, command)
    assert codes(answers) == ["", "request-malformed", "", "key-known", "serial-not-in-order", ""]
    assert [answer.serial for answer in answers if isinstance(answer, DeviceIssued)] == [serial(n) for n in (1, 3, 6)]
    leaves = read_leaves(factory_world, before)
    assert sum(map(is_refusal, leaves)) == 3
    assert sum(leaf["type"] == "key.sign.outcome" for leaf in leaves) == 3
    counters = factory_world.room.counters
    assert (counters["requests_issue-device"], counters["refusals_issue-device"]) == (6, 3)


def is_refusal(leaf: dict[str, Any]) -> bool:
    return bool(leaf.get("out", {}).get("status") == "denied" or leaf["type"] == "denied")


@pytest.mark.engines
def test_a_repeated_batch_gives_the_same_bytes_and_every_replay_is_an_entry(factory_world: World) -> None:
    command = batch_of(*((serial(number), make_request()) for number in range(1, 6)))
    first = ask(factory_world, command)
    before = factory_world.room.ledger.journal.size
    again = ask(factory_world, command)
    assert [(a.certificate, a.proven.entry, a.replayed) for a in first if isinstance(a, DeviceIssued)] == [
        (a.certificate, a.proven.entry, not a.replayed) for a in again if isinstance(a, DeviceIssued)
    ]
    assert codes(again) == [""] * 5
    leaves = read_leaves(factory_world, before)
    assert sorted(leaf["op"]["what"]["serial"] for leaf in leaves) == [serial(number) for number in range(1, 6)]
    assert {leaf["op"]["what"]["command"] for leaf in leaves} == {"issue-device"}


def test_a_single_request_and_an_item_are_the_same_request(factory_world: World) -> None:
    csr = make_request()
    alone = asyncio.run(factory_world.ask(IssueDevice("wo-1", serial(1), csr), "station", DeviceIssued))
    (answer,) = ask(factory_world, batch_of((serial(1), csr)))
    assert isinstance(answer, DeviceIssued)
    assert (answer.certificate, answer.replayed) == (alone.certificate, True)


@pytest.mark.engines
def test_the_same_item_twice_is_issued_once(factory_world: World) -> None:
    csr = make_request()
    answers = ask(factory_world, batch_of((serial(1), csr), (serial(1), csr)))
    assert len({answer.certificate for answer in answers if isinstance(answer, DeviceIssued)}) == 1
    assert codes(answers) == ["", ""]
    (_, refused) = codes(ask(factory_world, batch_of((serial(2), csr), (serial(1), make_request()))))
    assert refused == "serial-taken"


@pytest.mark.engines
@pytest.mark.req("CA-14", "T16")
def test_the_quota_is_counted_item_by_item(factory_world: World) -> None:
    """The order covers 25 serials and has a quantity of 20."""
    answers = ask(factory_world, batch_of(*((serial(number), make_request()) for number in range(1, 26))))
    assert sorted(codes(answers)) == [""] * 20 + ["quota-exhausted"] * 5


@pytest.mark.req("AZ-2", "T24")
def test_bindings_are_compared_for_every_item(factory_world: World) -> None:
    token = factory_world.token("station", plant="elsewhere", **{"class": "bms-stm32h7"})
    command = batch_of((serial(1), make_request()), (serial(2), make_request()))
    assert codes(ask(factory_world, command, token)) == ["binding-mismatch"] * 2
    token = factory_world.token("station", plant=PLANT, **{"class": "another"})
    assert codes(ask(factory_world, command, token)) == ["binding-mismatch"] * 2


def test_an_unknown_order_is_unknown_to_every_item(factory_world: World) -> None:
    command = batch_of((serial(1), make_request()), (serial(2), make_request()), order="wo-9")
    assert codes(ask(factory_world, command)) == ["work-order-unknown"] * 2


def test_items_reach_the_door_together(factory_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch goes the way of single requests: not one by one, and not as one piece."""
    taken: list[int] = []
    pipeline = factory_world.room.pipeline
    seal = pipeline.seal

    def watch(jobs: Sequence[Job[Order]]) -> Sequence[Job[Order]]:
        taken.append(len(jobs))
        return seal(jobs)

    monkeypatch.setattr(pipeline, "seal", watch)
    gather_orders(factory_world.room, 20)
    ask(factory_world, batch_of(*((serial(number), make_request()) for number in range(1, 21))))
    assert sum(taken) == 20
    assert max(taken) > 5


@pytest.mark.unmeasured
def test_so_many_batches_are_under_way_and_more_wait(factory_world: World) -> None:
    async def run() -> None:
        gate, started = asyncio.Event(), list[str]()

        async def issue(command: IssueDevice, _caller: Caller) -> DeviceIssued:
            started.append(command.serial)
            await gate.wait()
            raise ZeroDivisionError  # an item's failure, of whatever kind, is that item's answer

        waiting = Batches(factory_world.room, issue)
        command = batch_of(("A", b""), ("B", b""))
        asked = [asyncio.create_task(waiting.issue(command, Caller(ANYONE))) for _ in range(module.TURNS + 2)]
        await asyncio.sleep(0.05)
        assert len(started) == 2 * module.TURNS
        gate.set()
        for task in asked:
            assert codes((await task).answers) == ["internal-error"] * 2

    asyncio.run(run())


@pytest.mark.unmeasured
@pytest.mark.req("T19", "SD-4")
def test_one_caller_s_batches_leave_room_for_others_and_all_are_bounded(factory_world: World) -> None:
    """Else one station fills the keyroom's memory and all places of its API, and another's batch waits for all."""

    async def run() -> None:
        gate, begun = asyncio.Event(), list[str]()

        async def issue(command: IssueDevice, _caller: Caller) -> DeviceIssued:
            begun.append(command.serial)
            await gate.wait()
            raise ZeroDivisionError

        waiting = Batches(factory_world.room, issue)

        def ask_as(name: str, count: int) -> list[asyncio.Task[DevicesIssued]]:
            caller = Caller(msgspec.structs.replace(ANYONE, sub=name))
            return [asyncio.create_task(waiting.issue(batch_of((name, b"")), caller)) for _ in range(count)]

        greedy, modest = ask_as("greedy", 100), ask_as("modest", 1)
        crowd = [task for number in range(10) for task in ask_as(f"crowd-{number}", 4)]
        await asyncio.sleep(0.05)
        gate.set()
        for tasks, answered in ((greedy, module.OPEN_EACH), (modest, 1), (crowd, module.OPEN - module.OPEN_EACH - 1)):
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert sum(isinstance(end, DevicesIssued) for end in ended) == answered
            assert {type(end) for end in ended} <= {DevicesIssued, KeyroomBusy}
        assert len(await asyncio.gather(*ask_as("greedy", 1))) == 1, "places are given back"

    asyncio.run(run())


def test_a_large_batch_takes_a_turn_for_each_slice(factory_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two batches share one turn: neither waits for the whole of the other."""
    monkeypatch.setattr(module, "TURNS", 1)

    async def run() -> None:
        begun: list[str] = []
        most, under_way = 0, 0

        async def issue(command: IssueDevice, _caller: Caller) -> DeviceIssued:
            nonlocal most, under_way
            begun.append(command.serial)
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0)
            under_way -= 1
            raise KeyroomBusy("busy")

        waiting = Batches(factory_world.room, issue)
        large = batch_of(*[("LARGE", b"")] * (3 * module.SLICE + 1))
        small = batch_of(("SMALL", b""))
        first = asyncio.create_task(waiting.issue(large, Caller(ANYONE)))
        await asyncio.sleep(0)
        answers = await asyncio.gather(first, waiting.issue(small, Caller(ANYONE)))
        assert [len(answer.answers) for answer in answers] == [3 * module.SLICE + 1, 1]
        assert begun.index("SMALL") == module.SLICE
        assert most == module.SLICE

    asyncio.run(run())


@pytest.mark.req("T19", "SD-4")
def test_the_items_of_all_batches_are_bounded(factory_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OPEN_ITEMS", 3)

    async def run() -> None:
        async def issue(_command: IssueDevice, _caller: Caller) -> DeviceIssued:
            await asyncio.sleep(0)
            raise KeyroomBusy("busy")

        waiting = Batches(factory_world.room, issue)
        asked = (waiting.issue(batch_of(("A", b""), ("B", b"")), Caller(ANYONE)) for _ in range(2))
        ended = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(end) for end in ended] == [DevicesIssued, KeyroomBusy]
        alone = batch_of(*[("A", b"")] * 5)  # a batch that comes alone is taken, whatever its size
        assert len((await waiting.issue(alone, Caller(ANYONE))).answers) == 5

    asyncio.run(run())


@pytest.mark.req("HS-9")
def test_a_suspension_does_not_wait_behind_batches(factory_world: World) -> None:
    async def run() -> None:
        items = [(f"NO-{number}", b"no request") for number in range(module.SLICE)]
        done: list[str] = []

        async def flood() -> None:
            await factory_world.ask(batch_of(*items), "station", DevicesIssued)
            done.append("batch")

        async def suspend() -> None:
            await factory_world.ask(SuspendKey("site-ca", "a drill"), "officer", KeysListed)
            done.append("suspended")

        floods = [asyncio.create_task(flood()) for _ in range(4)]
        await asyncio.sleep(0.02)
        await suspend()
        await asyncio.gather(*floods)
        assert done[0] == "suspended", done

    asyncio.run(run())


@pytest.mark.req("AZ-4", "CA-13")
def test_a_station_that_is_suspended_meanwhile_gets_nothing_more(
    factory_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLICE", 3)
    strange = [(serial(number), make_request()) for number in (901, 902, 903)]
    good = [(serial(number), make_request()) for number in range(1, 6)]
    answers = codes(ask(factory_world, batch_of(*strange, *good)))
    assert answers == ["serial-not-in-order"] * 3 + ["station-suspended"] * 5


@pytest.mark.req("CA-13")
def test_strange_items_count_from_batch_to_batch(factory_world: World) -> None:
    async def run() -> None:
        for number in (901, 903):
            command = batch_of(*((serial(number + at), make_request()) for at in range(2)))
            await factory_world.ask(command, "station", DevicesIssued)
        assert len(factory_world.room.ledger.replay.stations.suspended) == 1

    asyncio.run(run())
