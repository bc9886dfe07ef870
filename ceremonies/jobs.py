"""Jobs: pieces of work, each with the coroutine that waits for its result on its own event loop."""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Job(Generic[T]):
    """One piece of work and the future of the coroutine that waits for it."""

    __slots__ = ("future", "loop", "result", "work")

    def __init__(self, work: T) -> None:
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.work = work
        self.result: object = None


class Unfinished(ABC):
    """A result that is durable, and lacks what another thread than the writer's can add: see `ceremonies.finisher`."""

    __slots__ = ()

    @abstractmethod
    def finish(self) -> object:
        """The whole result. Raises what its answer is then."""


def answer(jobs: Sequence[Job[Any]]) -> None:
    """Wake the coroutines that wait for these jobs, once per loop."""
    loops: dict[asyncio.AbstractEventLoop, list[Job[Any]]] = {}
    for job in jobs:
        loops.setdefault(job.loop, []).append(job)
    for loop, waiting in loops.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits, and the next batch must come
            loop.call_soon_threadsafe(_resolve, waiting)


def _resolve(jobs: Sequence[Job[Any]]) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if isinstance(job.result, StopIteration):  # no future takes it, and whoever comes after it would wait for ever
            job.result = RuntimeError(f"ended by {job.result!r}")
        if isinstance(job.result, BaseException):
            job.future.set_exception(job.result)
        else:
            job.future.set_result(job.result)
