"""The writer's thread: batches, priorities, limits, and that nobody waits for ever."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from ceremonies import writer as module
from ceremonies.jobs import Job
from ceremonies.writer import KeyroomBusy, KeyroomStopping, Writer


class Door:
    """Where batches go in these tests."""

    def __init__(self, seal: Callable[[Sequence[Job[Any]]], Sequence[Job[Any]]]) -> None:
        self.seal = seal


def echo(batches: list[list[Any]]) -> Writer:
    """A writer that answers each order with itself; an order that is an exception is raised."""

    def seal(jobs: Sequence[Job[Any]]) -> Sequence[Job[Any]]:
        batches.append([job.work for job in jobs])
        for job in jobs:
            if isinstance(job.work, Exception):
                raise job.work
            job.result = job.work
        return jobs

    return Writer(lambda: Door(seal))


def test_what_waits_is_taken_together_and_urgent_work_goes_first() -> None:
    batches: list[list[Any]] = []
    writer = echo(batches)
    order: list[str] = []

    async def run() -> list[Any]:
        waiting = [asyncio.create_task(writer.order(number)) for number in range(module.BATCH + 10)]
        task = asyncio.create_task(writer.run(lambda: order.append("task")))
        urgent = asyncio.create_task(writer.run(lambda: order.append("urgent"), urgent=True))
        await asyncio.sleep(0)
        assert writer.waiting == module.BATCH + 12
        writer.start()
        await asyncio.gather(task, urgent)
        return list(await asyncio.gather(*waiting))

    assert asyncio.run(run()) == list(range(module.BATCH + 10))
    assert [len(batch) for batch in batches] == [module.BATCH, 10]
    assert order == ["urgent", "task"]
    writer.stop()


def test_an_error_of_the_whole_batch_reaches_everyone_that_has_no_answer() -> None:
    writer = echo([])

    async def run() -> list[Any]:
        waiting = [asyncio.create_task(writer.order(work)) for work in (1, RuntimeError("door"), 3)]
        await asyncio.sleep(0)
        writer.start()
        return list(await asyncio.gather(*waiting, return_exceptions=True))

    answers = asyncio.run(run())
    assert answers[0] == 1
    assert [str(answer) for answer in answers[1:]] == ["door", "door"]
    writer.stop()


@pytest.mark.req("HS-9")
def test_a_full_queue_refuses_but_not_what_is_urgent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUE_LIMIT", 2)
    writer = echo([])

    async def run() -> None:
        waiting = [asyncio.create_task(writer.order(number)) for number in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(KeyroomBusy):
            await writer.order(3)
        with pytest.raises(KeyroomBusy):
            await writer.run(lambda: None)
        stop = asyncio.create_task(writer.run(threading.get_ident, urgent=True))
        await asyncio.sleep(0)
        writer.start()
        assert await stop != threading.get_ident()
        await asyncio.gather(*waiting)

    asyncio.run(run())
    writer.stop()


def test_stop_finishes_what_is_queued_and_then_refuses() -> None:
    writer = echo([])

    async def run() -> None:
        waiting = asyncio.create_task(writer.order(1))
        await asyncio.sleep(0)
        writer.start()
        await asyncio.to_thread(writer.stop)
        assert await waiting == 1
        with pytest.raises(KeyroomStopping):
            await writer.order(2)

    asyncio.run(run())


def test_a_caller_that_went_away_does_not_stop_the_writer() -> None:
    """Cancelled, or its loop closed: the next one is answered all the same."""
    writer = echo([])
    started, go = threading.Event(), threading.Event()

    def hold() -> None:
        started.set()
        go.wait(5)

    async def leave() -> None:
        held = asyncio.create_task(writer.run(hold))
        left = asyncio.create_task(writer.order(1))
        await asyncio.to_thread(started.wait, 5)
        held.cancel()
        left.cancel()

    writer.start()
    asyncio.run(leave())
    go.set()
    assert writer.run_now(lambda: "alive") == "alive"
    writer.stop()


def test_a_task_that_raises_tells_its_caller_alone() -> None:
    writer = echo([])
    writer.start()

    def fail() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        writer.run_now(fail)
    assert writer.run_now(lambda: 1) == 1
    writer.stop()


class Held:
    """A piece of work that holds the writer until it is let go."""

    def __init__(self) -> None:
        self.started, self.go = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.started.set()
        assert self.go.wait(10)


@pytest.mark.req("HS-9")
def test_urgent_work_waits_for_one_task_and_not_for_those_that_wait() -> None:
    done: list[str] = []
    writer, held = echo([]), Held()

    async def run() -> None:
        first = asyncio.create_task(writer.run(held))
        await asyncio.to_thread(held.started.wait, 5)
        slow = [asyncio.create_task(writer.run(lambda: done.append("slow"))) for _ in range(1000)]
        await asyncio.sleep(0)
        stop = asyncio.create_task(writer.run(lambda: done.append("stop"), urgent=True))
        await asyncio.sleep(0)
        held.go.set()
        await asyncio.gather(first, stop, *slow)

    writer.start()
    asyncio.run(run())
    assert done.index("stop") <= 1
    assert done.count("slow") == 1000
    writer.stop()


@pytest.mark.req("HS-9")
def test_urgent_work_that_comes_during_a_task_is_next() -> None:
    """The tasks behind it were there before it; orders wait too."""
    done: list[object] = []
    held = Held()

    def seal(jobs: Sequence[Job[Any]]) -> Sequence[Job[Any]]:
        done.append(len(jobs))
        for job in jobs:
            job.result = job.work
        return jobs

    writer = Writer(lambda: Door(seal))

    async def run() -> None:
        work = [asyncio.create_task(writer.run(lambda: done.append("before")))]
        work += [asyncio.create_task(writer.run(held))]
        work += [asyncio.create_task(writer.run(lambda: done.append("after"))) for _ in range(3)]
        orders = [asyncio.create_task(writer.order(number)) for number in range(3 * module.BATCH)]
        await asyncio.sleep(0)
        writer.start()
        await asyncio.to_thread(held.started.wait, 5)
        seen = len(done)
        stop = asyncio.create_task(writer.run(lambda: done.append("stop"), urgent=True))
        await asyncio.sleep(0)
        held.go.set()
        await asyncio.gather(stop, *work, *orders)
        assert done[seen] == "stop"

    asyncio.run(run())
    assert done.count(module.BATCH) == 3
    assert done.index("after") < len(done) - 1 - done[::-1].index(module.BATCH), "tasks and orders take turns"
    writer.stop()


def test_the_urgent_queue_has_a_limit_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "URGENT_LIMIT", 2)
    writer = echo([])

    async def run() -> None:
        waiting = [asyncio.create_task(writer.run(lambda: 1, urgent=True)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(KeyroomBusy):
            await writer.run(lambda: 1, urgent=True)
        later = asyncio.create_task(writer.run(lambda: 2))
        await asyncio.sleep(0)
        writer.start()
        assert [*await asyncio.gather(*waiting), await later] == [1, 1, 2]

    asyncio.run(run())
    writer.stop()


@pytest.mark.parametrize("where", ["task", "order"])
def test_when_the_thread_dies_nobody_waits_for_ever(where: str) -> None:
    def leave(*_: object) -> Any:
        raise SystemExit

    writer = Writer(lambda: Door(leave))

    async def run() -> list[Any]:
        waiting = [asyncio.create_task(writer.run(leave) if where == "task" else writer.order(1))]
        waiting += [asyncio.create_task(writer.run(lambda: None)) for _ in range(3 if where == "task" else 0)]
        waiting += [asyncio.create_task(writer.order(number)) for number in range(3)]
        await asyncio.sleep(0)
        writer.start()
        answers = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)
        for urgent in (True, False):
            with pytest.raises(KeyroomStopping):
                await writer.run(lambda: None, urgent=urgent)
        return answers

    with capture_logs() as logged:
        answers = asyncio.run(run())
    assert {type(answer) for answer in answers} <= {KeyroomStopping, type(None)}
    assert isinstance(answers[0], KeyroomStopping)
    assert writer.died
    assert [entry["log_level"] for entry in logged] == ["critical"]
    writer.stop()


def test_orders_under_way_are_finished_without_new_ones_and_before_a_task() -> None:
    """What `seal` does not answer at once it is asked to finish: when nothing else waits, and before any task."""
    under_way: list[Job[Any]] = []
    told: list[str] = []

    def seal(jobs: Sequence[Job[Any]]) -> Sequence[Job[Any]]:
        told.append(f"take {len(jobs)}" if jobs else f"finish {len(under_way)}")
        done = list(under_way)
        under_way[:] = jobs
        for job in done:
            job.result = job.work
        return done

    writer = Writer(lambda: Door(seal))

    async def run() -> list[Any]:
        orders = [asyncio.create_task(writer.order(number)) for number in (1, 2)]
        await asyncio.sleep(0)
        writer.start()
        assert await asyncio.gather(*orders) == [1, 2]
        held = Held()
        holding = asyncio.create_task(writer.run(held))
        await asyncio.to_thread(held.started.wait, 5)
        later = [asyncio.create_task(writer.order(number)) for number in (3, 4)]
        tasks = [asyncio.create_task(writer.run(lambda: told.append("task"))) for _ in range(2)]
        await asyncio.sleep(0)
        held.go.set()
        await asyncio.gather(holding, *later, *tasks)
        return list(await asyncio.gather(*later))

    assert asyncio.run(run()) == [3, 4]
    assert told[:2] == ["take 2", "finish 2"]
    assert all(told[at - 1] != "take 2" for at, what in enumerate(told) if what == "task"), told
    writer.stop()
