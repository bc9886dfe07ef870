"""Batches of device certificates: each item is done by the single request's own handler, as if it had come alone.

The items of a slice wait together, so that readers and door take them together; there is no second road. An item has
its own refusal, its own entry and its own idempotency (order, serial, key); a repeated batch gets the same bytes.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence

from ceremonies.commands import DeviceIssued, DevicesIssued, IssueDevice, IssueDevices, Problem
from ceremonies.desk import Caller, answer_any, carry_out
from ceremonies.journal import EntryDraft
from ceremonies.room import TRACE, Room
from ceremonies.writer import KeyroomBusy

SLICE = 100
"""Items of a batch that are under way together. A batch takes a turn for each slice, so that a large one lets others in
between."""

TURNS = 4
"""Slices under way at once; more wait. Their items then fill the door's batches, and single requests wait for at most
so many."""

OPEN_EACH = 8
"""Batches of one caller, under way or waiting, so that others' turns come soon. Further ones are refused."""

OPEN = 32
"""The same for all callers together: each may hold two megabytes, and one of its API's requests under way."""

OPEN_ITEMS = 8000
"""Items of all open batches: what the door does in the time that an API waits for an answer (`keyroom_timeout`)."""


class Batches:
    """Issues certificates in batches, with the handler of a single request."""

    def __init__(self, room: Room, issue: Callable[[IssueDevice, Caller], Awaitable[DeviceIssued]]) -> None:
        self._room = room
        self._issue = issue
        self._turns = asyncio.Semaphore(TURNS)
        self._open: Counter[str] = Counter()
        self._items = 0

    async def issue(self, command: IssueDevices, caller: Caller) -> DevicesIssued:
        """Answer a station. No item's refusal touches another. Raises KeyroomBusy: then nothing was done."""
        singles = [IssueDevice(command.work_order, item.serial, item.csr) for item in command.items]
        answers: list[DeviceIssued | Problem] = []
        with self._opening(caller.actor.sub, len(singles)):
            for start in range(0, len(singles), SLICE):
                async with self._turns:
                    answers += await self._answer_all(singles[start : start + SLICE], caller)
        if (trace := TRACE.get()) is not None:
            trace.recorded = True  # by its items
        return DevicesIssued(tuple(answers))

    @contextlib.contextmanager
    def _opening(self, caller: str, items: int) -> Iterator[None]:
        """A place for one more batch of a caller. Raises KeyroomBusy."""
        full = self._items and self._items + items > OPEN_ITEMS
        if full or self._open[caller] >= OPEN_EACH or self._open.total() >= OPEN:
            raise KeyroomBusy("too many batches wait already", hint="send the next batch when one was answered")
        self._open[caller] += 1
        self._items += items
        try:
            yield
        finally:
            self._open[caller] -= 1
            self._items -= items
            self._open += Counter()  # forgets who has none

    async def _answer_all(self, singles: Sequence[IssueDevice], caller: Caller) -> list[DeviceIssued | Problem]:
        """What single requests would be answered. Each is a task of its own, with its own trace; replays leave
        their entries together.
        """
        replays: list[EntryDraft] = []
        answers = await asyncio.gather(*(self._answer(single, caller, replays) for single in singles))
        if replays:
            await self._room.act(lambda: self._room.ledger.record(replays))
        return answers

    async def _answer(self, command: IssueDevice, caller: Caller, replays: list[EntryDraft]) -> DeviceIssued | Problem:
        room = self._room
        return await answer_any(room, command, lambda: carry_out(room, self._issue, command, caller, replays))
