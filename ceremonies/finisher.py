"""The finisher: a thread that adds what answers lack once they are durable, while the writer goes on with the next.

An answer waits for the signature of a checkpoint over its entry: a journey to the token and back, in which the writer
would stand still.
"""

import contextlib
import threading
from collections.abc import Callable, Sequence
from queue import Empty, Queue
from typing import Any

from ceremonies.jobs import Job, Unfinished, answer

Jobs = Sequence[Job[Any]]


class Finisher:
    """Finishes and answers jobs, first come, first served.

    died: told when the thread ends by what is no mere exception; `left` are the jobs that nobody finishes then.
    """

    def __init__(self, died: Callable[[BaseException], None]) -> None:
        self._died = died
        self._given: Queue[Jobs | None] = Queue()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="finisher", daemon=True)
        self.left: list[Job[Any]] = []

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what was given, then end."""
        self._given.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def give(self, jobs: Jobs) -> None:
        """Have jobs answered: at once those that lack nothing."""
        answer([job for job in jobs if not isinstance(job.result, Unfinished)])
        if lacking := [job for job in jobs if isinstance(job.result, Unfinished)]:
            self._given.put(lacking)
            if self._error is not None:
                self._give_up(self._error)

    def wait(self) -> None:
        """Until everything that was given is answered."""
        self._given.join()

    def _run(self) -> None:
        while (jobs := self._given.get()) is not None:
            try:
                finish(jobs)
            except BaseException as error:  # noqa: BLE001  # the thread ends here: nobody may wait for ever
                self._error = error
                self.left += jobs
                self._give_up(error)
                return
            finally:
                self._given.task_done()

    def _give_up(self, error: BaseException) -> None:
        with contextlib.suppress(Empty):
            while True:
                self.left += self._given.get_nowait() or ()
                self._given.task_done()
        self._died(error)


def finish(jobs: Jobs) -> None:
    """Make the results whole and answer."""
    for job in jobs:
        if isinstance(job.result, Unfinished):
            try:
                job.result = job.result.finish()
            except Exception as error:  # noqa: BLE001  # whoever waits for it judges it
                job.result = error
    answer(jobs)
