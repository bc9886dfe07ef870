"""The writer: the one thread that owns every PKCS#11 call and every database write.

Work queues while a batch is under way and is then taken together (group commit without a timer). Urgent work (stop,
decide) goes first; at most `BATCH` orders make one batch, so that urgent work never waits longer than that.
"""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from ceremonies.errors import KeyroomError

T = TypeVar("T")

BATCH = 256
QUEUE_LIMIT = 4096


class KeyroomBusy(KeyroomError):
    """The queue is full. Nothing was done."""

    code = "keyroom-busy"


class KeyroomStopping(KeyroomError):
    """The keyroom is ending. Nothing was done."""

    code = "keyroom-stopping"


class Job(Generic[T]):
    """One piece of work and the future of the coroutine that waits for it."""

    __slots__ = ("future", "loop", "result", "work")

    def __init__(self, work: T) -> None:
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.work = work
        self.result: object = None


Batch = Callable[[Sequence[Job[Any]]], None]


class Writer:
    """`seal` is called with batches of orders, each of whose jobs it gives a `result` (a value or an exception)."""

    def __init__(self, seal: Batch) -> None:
        self._seal = seal
        self._orders: deque[Job[Any]] = deque()
        self._tasks: deque[Job[Callable[[], object]]] = deque()
        self._urgent: deque[Job[Callable[[], object]]] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what is queued, then end."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def waiting(self) -> int:
        """How much work is queued."""
        return len(self._orders) + len(self._tasks) + len(self._urgent)

    async def order(self, work: object) -> Any:
        """Have one order sealed with others that wait. Raises KeyroomBusy, KeyroomStopping, what the door raises."""
        return await self._put(self._orders, Job(work))

    async def run(self, task: Callable[[], T], *, urgent: bool = False) -> T:
        """Have something done alone on the writer's thread."""
        result: T = await self._put(self._urgent if urgent else self._tasks, Job(task))
        return result

    def run_now(self, task: Callable[[], T]) -> T:
        """Have something done on the writer's thread from outside any event loop: how the keyroom is built."""

        async def run() -> T:
            return await self.run(task)

        return asyncio.run(run())

    async def _put(self, queue: deque[Job[Any]], job: Job[Any]) -> Any:
        with self._wake:
            if self._stopping:
                raise KeyroomStopping("the keyroom is ending", hint="send the same request again when it is back")
            if queue is not self._urgent and self.waiting >= QUEUE_LIMIT:
                raise KeyroomBusy(f"{QUEUE_LIMIT} requests wait already", hint="retry after a second")
            queue.append(job)
            self._wake.notify()
        return await job.future

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (self._urgent or self._tasks or self._orders or self._stopping):
                    self._wake.wait()
                if self._stopping and not self.waiting:
                    return
                urgent, tasks = list(self._urgent), list(self._tasks)
                self._urgent.clear()
                self._tasks.clear()
                orders = [self._orders.popleft() for _ in range(min(BATCH, len(self._orders)))] if not urgent else []
            for job in urgent + tasks:
                self._do(job)
                answer([job])
            if orders:
                self._seal_orders(orders)

    def _do(self, job: Job[Callable[[], object]]) -> None:
        try:
            job.result = job.work()
        except Exception as error:  # noqa: BLE001  # whoever waits for it judges it
            job.result = error

    def _seal_orders(self, orders: list[Job[Any]]) -> None:
        try:
            self._seal(orders)
        except Exception as error:  # noqa: BLE001  # nobody may wait for ever
            for job in orders:
                job.result = job.result or error
        answer(orders)


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
        if isinstance(job.result, BaseException):
            job.future.set_exception(job.result)
        else:
            job.future.set_result(job.result)
