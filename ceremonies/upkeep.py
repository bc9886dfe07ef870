"""Upkeep while the keyroom runs: new milestones, entries before the one at the start read again, the token's anchor."""

import asyncio
from collections.abc import Callable
from functools import partial

import structlog

from ceremonies.journal import JournalForked
from ceremonies.milestones import EVERY, Milestone, Scrub, milestone_path, write_milestone
from ceremonies.public import write_file
from ceremonies.room import Room

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
        """Read a page of the entries that the start did not read. One that was changed ends the keyroom."""
        if self._scrub is None or self._scrub.done:
            return
        try:
            await asyncio.to_thread(self._scrub.turn)
        except JournalForked as error:
            log.critical("an entry was changed; the keyroom ends, and the next start reads everything", why=str(error))
            self._path.unlink(missing_ok=True)
            self._end(FORKED)

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
