"""Upkeep while the keyroom runs: new milestones; rows counted and entries before the milestone read again, which the
start left out; the token's anchor.
"""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import structlog
from sqlalchemy import Connection, select

from ceremonies.fleet_tables import RegisterRow
from ceremonies.journal import JournalForked
from ceremonies.ldevid_tables import LdevidRow
from ceremonies.ldevids import check_ldevids
from ceremonies.milestones import EVERY, Milestone, Scrub, milestone_path, write_milestone
from ceremonies.public import write_file
from ceremonies.reckoning import check_count, list_counts
from ceremonies.registered import check_register
from ceremonies.room import Room
from ceremonies.store import table_of
from ceremonies.sums import Tally
from ceremonies.tables import HeadRow

log = structlog.get_logger()

FORKED = 72
"""Exit status when an entry was changed behind the keyroom, or another journal goes on under its token."""

WORTH = 1_000
"""Fewer entries than these are read quicker than a milestone."""


class Upkeep:
    """`end` ends the process with a status; it is called when an entry was changed."""

    def __init__(self, room: Room, end: Callable[[int], object]) -> None:
        start = room.ledger.began
        self._room = room
        self._path = milestone_path(room.settings.data)
        self._kept = start.frontier.size if start else 0
        self._scrub = Scrub(room.store, start.frontier) if start else None
        self._uncounted = list(list_counts(room.ledger.replay)) if start else []
        self._end = end

    async def turn(self) -> None:
        """Write a milestone when there is enough for one."""
        if self._room.ledger.journal.size >= self._kept + EVERY:
            await self.keep()

    async def keep(self) -> None:
        """Write a milestone of all that is committed, when it is worth one."""
        size, data = await self._room.act(self._take)
        if size >= self._kept + WORTH:
            await asyncio.to_thread(partial(write_file, self._path), data)
            self._kept = size

    async def scrub(self) -> None:
        """Count the rows of a table, or read a page of the entries, that the start did not. What was changed ends the
        keyroom.
        """
        try:
            if self._uncounted:
                await self._count(self._uncounted[-1])
                self._uncounted.pop()
            elif self._scrub is not None and not self._scrub.done:
                await asyncio.to_thread(self._scrub.turn)
        except JournalForked as error:
            log.critical("the database was changed; the keyroom ends, the next start reads everything", why=str(error))
            self._path.unlink(missing_ok=True)
            self._end(FORKED)

    async def _count(self, model: Any) -> None:
        """The rows that a reader sees who begins while nothing is under way are those of the journal at that moment."""
        with ExitStack() as reading:

            def begin() -> tuple[Connection, int, Tally, Tally]:
                connection = reading.enter_context(self._room.store.read())
                connection.execute(select(table_of(HeadRow).c.size)).scalar()
                replay = self._room.ledger.replay
                return connection, list_counts(replay)[model], replay.register.tally, replay.ldevids.tally

            connection, expected, register, ldevids = await self._room.act(begin)
            await asyncio.to_thread(check_count, connection, model, expected)
            if model is RegisterRow:
                await asyncio.to_thread(check_register, connection, register)
            if model is LdevidRow:
                await asyncio.to_thread(check_ldevids, connection, ldevids)

    async def pin(self) -> None:
        """Bring the anchor in the token up to the journal's head. One that contradicts the journal ends the keyroom."""
        try:
            await self._room.act(self._room.anchor.keep)
        except JournalForked as error:
            log.critical("the token's anchor is of another journal; the keyroom ends", why=str(error))
            self._end(FORKED)

    def _take(self) -> tuple[int, bytes]:
        ledger, around = self._room.ledger, self._room.surroundings
        milestone = Milestone(ledger.journal.frontier, ledger.replay)
        return ledger.journal.size, write_milestone(milestone, ledger.journal.origin, around.software)
