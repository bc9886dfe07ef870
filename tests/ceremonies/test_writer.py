"""The writer's thread: batches, priorities, limits, and that nobody waits for ever."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from ceremonies import writer as module
from ceremonies.writer import Job, KeyroomBusy, KeyroomStopping, Writer


def echo(batches: list[list[Any]]) -> Writer:
    """A writer that answers each order with itself; an order that is an exception is raised."""

    def seal(jobs: Sequence[Job[Any]]) -> None:
        batches.append([job.work for job in jobs])
        for job in jobs:
            if isinstance(job.work, Exception):
                raise job.work
            job.result = job.work

    return Writer(seal)


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
