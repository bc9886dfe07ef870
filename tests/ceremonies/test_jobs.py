"""Jobs are answered on their own event loops."""

import asyncio
import threading
import time

import pytest

from ceremonies.jobs import Job, Unfinished, answer


def test_values_and_errors_reach_their_coroutines_on_whatever_loop_they_wait() -> None:
    jobs: list[Job[int]] = []

    async def wait(number: int) -> object:
        job = Job(number)
        job.result = RuntimeError(str(number)) if number % 2 else number
        jobs.append(job)
        return await job.future

    results: list[object] = []

    def run(number: int) -> None:
        results.extend(asyncio.run(gather(number)))

    async def gather(number: int) -> list[object]:
        return list(await asyncio.gather(wait(number), wait(number + 1), return_exceptions=True))

    threads = [threading.Thread(target=run, args=(number,)) for number in (0, 2)]
    for thread in threads:
        thread.start()
    while len(jobs) < 4:
        time.sleep(0.01)
    answer(jobs)
    for thread in threads:
        thread.join(10)
    assert sorted(map(repr, results)) == ["0", "2", "RuntimeError('1')", "RuntimeError('3')"]


def test_who_has_gone_and_whose_loop_is_closed_disturbs_nobody() -> None:
    async def make() -> Job[int]:
        return Job(1)

    closed = asyncio.run(make())
    closed.result = 1

    async def run() -> object:
        gone, here = Job(1), Job(2)
        gone.future.cancel()
        gone.result, here.result = 1, 2
        answer([closed, gone, here])
        return await here.future

    assert asyncio.run(run()) == 2


def test_an_error_that_no_future_takes_reaches_its_own_caller_and_the_others_are_answered() -> None:
    async def run() -> list[object]:
        jobs = [Job(number) for number in range(3)]
        for job in jobs:
            job.result = StopIteration() if job.work == 1 else job.work
        answer(jobs)
        waiting = asyncio.gather(*(job.future for job in jobs), return_exceptions=True)
        return list(await asyncio.wait_for(waiting, 5))

    first, second, third = asyncio.run(run())
    assert (first, type(second), third) == (0, RuntimeError, 2)


def test_what_is_unfinished_says_how_it_is_finished() -> None:
    with pytest.raises(TypeError, match="abstract method"):
        Unfinished()  # type: ignore[abstract]  # that is the question
