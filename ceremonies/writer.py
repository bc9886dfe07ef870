"""The writer: the one thread that owns every PKCS#11 call and every database write.

Orders queue while others are under way and are then sealed together (group commit without a timer), at most `BATCH`
at once. Tasks are done one at a time, by turns with batches of orders. Urgent work (stop, decide) overtakes: before
each task and each batch the urgent queue is emptied, so that it waits for the one task or batch that is under way.
What results still lack once they are durable is made by the finisher, on a thread of its own.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import structlog

from ceremonies.errors import KeyroomError
from ceremonies.finisher import Finisher
from ceremonies.jobs import Job, Unfinished, answer

log = structlog.get_logger()

T = TypeVar("T")

BATCH = 256
QUEUE_LIMIT = 4096
URGENT_LIMIT = 256


class KeyroomBusy(KeyroomError):
    """The queue is full. Nothing was done."""

    code = "keyroom-busy"


class KeyroomStopping(KeyroomError):
    """The keyroom is ending. Nothing was done."""

    code = "keyroom-stopping"


class Sealing(Protocol):
    """Where batches of orders go."""

    def seal(self, jobs: Sequence[Job[Any]], /) -> Sequence[Job[Any]]:
        """Take orders in; without new ones, finish what is under way.

        Returns the jobs, of now or before, that have their `result` (a value or an exception).
        """


Work = Callable[[Sequence[Job[Any]]], None]


class Writer:
    """Gives batches of orders to `sealing`, and does tasks when no order is under way.

    `died`: the thread ended by something that is no mere exception. Nothing is done any more, and everyone is told so.
    """

    def __init__(self, sealing: Callable[[], Sealing]) -> None:
        self._sealing = sealing
        self._orders: deque[Job[Any]] = deque()
        self._tasks: deque[Job[Callable[[], object]]] = deque()
        self._urgent: deque[Job[Callable[[], object]]] = deque()
        self._wake = threading.Condition()
        self._turn = False
        self._working: Sequence[Job[Any]] = ()
        self._flying: list[Job[Any]] = []
        self._stopping = False
        self.died = False
        self._finisher = Finisher(self._die)
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._finisher.start()
        self._thread.start()

    def stop(self) -> None:
        """Finish what is queued, then end."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()
        self._finisher.stop()

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
            waiting, limit = (len(queue), URGENT_LIMIT) if queue is self._urgent else (self.waiting, QUEUE_LIMIT)
            if waiting >= limit:
                raise KeyroomBusy(f"{limit} requests wait already", hint="retry after a second")
            queue.append(job)
            self._wake.notify()
        return await job.future

    def _run(self) -> None:
        try:
            while (work := self._take()) is not None:
                work(self._working)
        except BaseException as error:  # noqa: BLE001  # the thread ends here: nobody may wait for ever
            self._die(error)

    def _take(self) -> Work | None:
        """Wait for work and take it into `_working`: urgent work first, then tasks and orders by turns. None: end."""
        with self._wake:
            while not (self.waiting or self._stopping or self._flying):
                self._wake.wait()
            self._turn = not self._turn
            for queue in (self._urgent, self._tasks) if self._turn or not self._orders else (self._urgent,):
                if queue:
                    self._working = [queue.popleft()]
                    return self._do
            self._working = [self._orders.popleft() for _ in range(min(BATCH, len(self._orders)))]
            return self._seal_orders if self._working or self._flying else None

    def _die(self, error: BaseException) -> None:
        log.critical("the writer's thread has ended", error=repr(error))
        with self._wake:
            self._stopping = self.died = True
            left = [*self._flying, *self._working, *self._finisher.left]
            self._wake.notify()
            for queue in (self._urgent, self._tasks, self._orders):
                left += queue
                queue.clear()
        for job in left:
            if job.result is None or isinstance(job.result, Unfinished):
                job.result = KeyroomStopping("the keyroom's writer has ended", hint="restart it, then ask again")
        answer(left)

    def _do(self, jobs: Sequence[Job[Any]]) -> None:
        while self._flying:
            self._seal_orders(())
        self._finisher.wait()
        (job,) = jobs
        try:
            job.result = job.work()
        except Exception as error:  # noqa: BLE001  # whoever waits for it judges it
            job.result = error
        answer(jobs)

    def _seal_orders(self, orders: Sequence[Job[Any]]) -> None:
        self._flying += orders
        try:
            done = self._sealing().seal(orders)
        except Exception as error:  # noqa: BLE001  # nobody may wait for ever
            for job in self._flying:
                job.result = job.result or error
            done = self._flying
        self._flying = [job for job in self._flying if job.result is None]
        self._finisher.give(done)
