"""The pipeline before the door: one batch is written while another is signed.

At most two batches are under way; a third brings the first one's outcomes into its own transaction. A request that
comes again while its first is under way waits for the first. Serves the writer's thread.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ceremonies.door import Door
from ceremonies.jobs import Job
from ceremonies.orders import Order
from ceremonies.passages import Batch

Jobs = Sequence[Job[Order]]

DEPTH = 2


class Pipeline:
    """`seal` takes orders in and answers those that are done."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._batches: deque[Batch] = deque()

    def seal(self, jobs: Jobs) -> list[Job[Order]]:
        """Begin with these orders and finish what is signed. The jobs that have their results now."""
        done: list[Job[Order]] = []
        if not jobs:
            return self._finish()
        # What a failed transaction left open is closed only when nothing is under way.
        while self._batches and (not self._door.ledger.settled or self._repeats(jobs)):
            done += self._finish()
        ready = self._batches.popleft() if len(self._batches) >= DEPTH else None
        waiting = [*jobs, *(unanswered(ready) if ready is not None else ())]
        with failing(waiting):
            begun = self._door.begin(jobs, ready, self._oldest())
            if begun.going:
                self._batches.append(begun)
        return done + [job for job in waiting if job.result is not None]

    def _oldest(self) -> int | None:
        return self._batches[0].base if self._batches else None

    def _finish(self) -> list[Job[Order]]:
        """Finish the oldest batch, if there is one."""
        if not self._batches:
            return []
        batch = self._batches.popleft()
        waiting = unanswered(batch)
        with failing(waiting):
            self._door.finish(batch, self._oldest())
        return waiting

    def _repeats(self, jobs: Jobs) -> bool:
        """Whether one of the orders is a request that is under way."""
        under_way = set().union(*(batch.requests for batch in self._batches))
        return any(job.work.request is not None and job.work.request.id in under_way for job in jobs)


def unanswered(batch: Batch) -> list[Job[Order]]:
    """The jobs of a batch that have no result yet."""
    return [passage.job for passage in batch.passages if passage.job.result is None]


@contextmanager
def failing(jobs: Jobs) -> Iterator[None]:
    """Whatever goes wrong inside is the answer of each of these jobs that has none yet."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  # whoever waits for it judges it
        for job in jobs:
            job.result = job.result or error
