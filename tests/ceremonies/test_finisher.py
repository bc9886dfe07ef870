"""What answers lack is added on a thread of its own, and nobody waits for ever."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ceremonies.finisher import Finisher
from ceremonies.jobs import Job, Unfinished
from ceremonies.writer import KeyroomStopping, Writer


class Later(Unfinished):
    """A result that a function makes whole."""

    def __init__(self, make: Callable[[], object]) -> None:
        self.make = make

    def finish(self) -> object:
        """What the function gives."""
        return self.make()


class Sealing:
    """Takes each order as its own result."""

    def seal(self, jobs: Sequence[Job[Any]]) -> Sequence[Job[Any]]:
        """The order is the result."""
        for job in jobs:
            job.result = job.work
        return jobs


def fail(error: BaseException) -> object:
    raise error


def test_the_writer_goes_on_while_an_answer_is_finished_and_tasks_wait_for_it() -> None:
    writer, go = Writer(Sealing), threading.Event()
    done: list[str] = []

    def finish() -> str:
        go.wait(10)
        done.append("finished")
        return "whole"

    async def run() -> list[Any]:
        slow = asyncio.create_task(writer.order(Later(finish)))
        await asyncio.sleep(0)
        writer.start()
        assert await writer.order("at once") == "at once"
        assert not slow.done()
        task = asyncio.create_task(writer.run(lambda: done.append("task")))
        await asyncio.sleep(0.05)
        assert done == []
        go.set()
        return list(await asyncio.gather(slow, task))

    assert asyncio.run(run())[0] == "whole"
    assert done == ["finished", "task"]
    writer.stop()


def test_what_cannot_be_finished_is_the_answer_of_its_own_job_alone() -> None:
    writer = Writer(Sealing)

    async def run() -> list[Any]:
        works = [Later(lambda: fail(RuntimeError("no token"))), Later(lambda: 2), 3]
        waiting = [asyncio.create_task(writer.order(work)) for work in works]
        await asyncio.sleep(0)
        writer.start()
        return list(await asyncio.gather(*waiting, return_exceptions=True))

    first, *others = asyncio.run(run())
    assert str(first) == "no token"
    assert others == [2, 3]
    writer.stop()


def test_stop_finishes_what_was_given() -> None:
    writer = Writer(Sealing)

    async def run() -> object:
        waiting = asyncio.create_task(writer.order(Later(lambda: "whole")))
        await asyncio.sleep(0)
        writer.start()
        await asyncio.to_thread(writer.stop)
        return await waiting

    assert asyncio.run(run()) == "whole"


@pytest.mark.parametrize("count", [1, 3])
def test_when_the_thread_dies_nobody_waits_for_ever(count: int) -> None:
    """Those whose answer is under way, those that wait for theirs, and those that come when the thread has ended."""
    writer = Writer(Sealing)

    async def run() -> list[Any]:
        waiting = [asyncio.create_task(writer.order(Later(lambda: fail(SystemExit("power")))))]
        await asyncio.sleep(0)
        writer.start()
        first = await asyncio.gather(*waiting, return_exceptions=True)
        late = [asyncio.create_task(writer.order(Later(lambda: 1))) for _ in range(count)]
        late.append(asyncio.create_task(writer.run(lambda: 1)))
        return [*first, *await asyncio.gather(*late, return_exceptions=True)]

    answers = asyncio.run(asyncio.wait_for(run(), 10))
    assert [type(answer) for answer in answers] == [KeyroomStopping] * (count + 2)
    assert writer.died
    writer.stop()


def test_jobs_that_are_given_to_a_finisher_that_has_ended_are_left_and_told() -> None:
    told: list[BaseException] = []
    finisher = Finisher(told.append)

    async def run() -> tuple[Job[Any], Job[Any]]:
        jobs = Job[Any](1), Job[Any](2)
        for job in jobs:
            job.result = Later(lambda: fail(SystemExit("power")))
        finisher.start()
        finisher.give([jobs[0]])
        await asyncio.to_thread(finisher.wait)
        finisher.give([jobs[1]])
        return jobs

    jobs = asyncio.run(run())
    finisher.wait()
    assert finisher.left == list(jobs)
    assert len(told) == 2
    finisher.stop()
