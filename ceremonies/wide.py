"""A door for tokens that take many calls at a time: a network HSM answers in milliseconds, so its sessions overlap.

Everything but the signatures stays on the writer's thread. Each thread of the pool has sessions of its own.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from ceremonies.door import Door, Passage


class WideDoor(Door):
    """Signs the orders of a batch by several threads. The strongbox must have been opened with OS locking."""

    _pool: ThreadPoolExecutor
    _under_way: Mapping[int, Future[None]]

    def widen(self, sessions: int) -> Self:
        """Sign by so many threads from now on."""
        self._pool = ThreadPoolExecutor(sessions, thread_name_prefix="token")
        self._under_way = {}
        return self

    def _finish(self, passages: Sequence[Passage]) -> None:
        """Steps 4 to 7; the signatures of all orders begin at once."""
        going = [passage for passage in passages if passage.intent is not None]
        if len(going) > 1:
            sign = super()._sign
            self._under_way = {id(passage): self._pool.submit(sign, passage) for passage in going}
        try:
            super()._finish(passages)
        finally:
            self._under_way = {}

    def _sign(self, passage: Passage) -> None:
        """Wait for the signature that is under way, or make it here. Raises what the strongbox raises."""
        future = self._under_way.get(id(passage))
        if future is None:
            super()._sign(passage)
        else:
            future.result()
