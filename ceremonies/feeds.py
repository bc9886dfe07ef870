"""Feeds: events leave the keyroom, each at least once, and nothing waits for them.

The journal is the queue: a feed holds the index of the next entry to send, in a file beside the database, and moves it
only after its sink took what came before. A sink that is away costs nothing but its own delay; when it is back,
everything follows. Alarms of the moment wait in memory, the newest 256 of them; what stands is told again after a
start.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import structlog

from ceremonies import entries
from ceremonies.alarms import list_alarms
from ceremonies.errors import KeyroomError
from ceremonies.events import Events, describe_alarm, passes
from ceremonies.orders import Actor
from ceremonies.public import write_file
from ceremonies.results import EventShown
from ceremonies.room import Room
from ceremonies.settings import FeedPlace
from ceremonies.sinks import Sink, SinkFailed, open_sink

log = structlog.get_logger()

LOOK_EVERY_S: Final = 1.0
BATCH: Final = 200
MAX_ALARMS: Final = 256
LONGEST_PAUSE_US: Final = 60_000_000
RECORDED_EVERY_US: Final = 24 * 3600 * 1_000_000
"""That a feed takes entries out of the journal is an entry at its first delivery after a start, and once a day."""

FEEDER: Final = Actor(cred="", role="keyroom", src="", sub="feed")
Alarms = Callable[[], Mapping[str, str]]


class Feed:
    """One feed. `turn` is a chore of the event loop; it never raises for a sink that is away."""

    def __init__(self, room: Room, place: FeedPlace, sink: Sink, alarms: Alarms) -> None:
        self.name = place.name
        self.failures = 0
        self._room, self._place, self._sink, self._alarms = room, place, sink, alarms
        self._events = Events(room.store)
        self._path = room.settings.data / "feeds" / place.name
        self._next = read_cursor(self._path)
        self._standing: dict[str, str] = {}
        self._waiting: deque[EventShown] = deque(maxlen=MAX_ALARMS)
        self._not_before_us = 0
        self._recorded_us: int | None = None

    @property
    def lag(self) -> int:
        """How many entries were not sent yet."""
        return max(self._room.ledger.journal.size - self._next, 0)

    async def turn(self) -> None:
        """Send what is new, batch after batch, until nothing is left or the sink is away."""
        self.watch_alarms()
        if self._room.surroundings.mono_us() < self._not_before_us:
            return
        more = True
        while more:
            more = await self._send_batch()

    def watch_alarms(self) -> None:
        """Note what was raised or cleared since the last time."""
        now = dict(self._alarms())
        size, now_us = self._room.ledger.journal.size, self._room.surroundings.now_us()
        for name in now.keys() - self._standing.keys():
            self._waiting.append(describe_alarm(name, now[name], raised=True, size=size, now_us=now_us))
        for name in self._standing.keys() - now.keys():
            self._waiting.append(describe_alarm(name, "", raised=False, size=size, now_us=now_us))
        self._standing = now

    async def _send_batch(self) -> bool:
        """Whether there is more to send. A crash before the cursor is written sends the batch again."""
        size = self._room.ledger.journal.size
        listed = await asyncio.to_thread(self._events.read, self._next, BATCH, size)
        alarms = tuple(self._waiting)
        events = [event for event in (*listed.events, *alarms) if passes(event, self._place.severity)]
        if events and not await self._deliver(events):
            return False
        for _ in alarms:
            self._waiting.popleft()
        if listed.following > self._next:
            await asyncio.to_thread(write_file, self._path, b"%d\n" % listed.following)
            self._next = listed.following
        return bool(listed.events) and listed.following < size

    async def _deliver(self, events: Sequence[EventShown]) -> bool:
        now_us = self._room.surroundings.mono_us()
        try:
            if self._recorded_us is None or now_us - self._recorded_us >= RECORDED_EVERY_US:
                await self._record()
                self._recorded_us = now_us
            await self._sink.deliver(events)
        except SinkFailed as error:
            self.failures += 1
            pause = min(1_000_000 << min(self.failures - 1, 10), LONGEST_PAUSE_US)
            self._not_before_us = now_us + pause
            log.warning("a feed is away", feed=self.name, failures=self.failures, lag=self.lag, why=str(error))
            return False
        if self.failures:
            log.info("a feed is back", feed=self.name, lag=self.lag)
        self.failures = 0
        return True

    async def _record(self) -> None:
        what = {"feed": self.name, "first": self._next, "to": self._place.to.partition("?")[0]}
        draft = entries.event("export", FEEDER, what)
        await self._room.act(lambda: self._room.ledger.record([draft]))


class Feeds:
    """All feeds of the settings. Raises SettingsInvalid and CursorMalformed."""

    def __init__(self, room: Room) -> None:
        self._room = room
        around = room.surroundings
        self.feeds = tuple(
            Feed(
                room,
                place,
                open_sink(place, room.settings.node, lambda: around.now_us() // 1_000_000),
                lambda: list_alarms(room),
            )
            for place in room.settings.feeds
        )

    async def tell(self) -> None:
        """The figures of all feeds, for the metrics."""
        self._room.counters["feeds_failing"] = sum(1 for feed in self.feeds if feed.failures)
        self._room.counters["feed_lag"] = max((feed.lag for feed in self.feeds), default=0)


class CursorMalformed(KeyroomError):
    """A feed's cursor file holds no index."""

    code = "cursor-malformed"


def read_cursor(path: Path) -> int:
    """The index of the next entry to send; 0 before the first delivery. Raises CursorMalformed."""
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise CursorMalformed(f"{path} holds no index", hint="write the index of the next entry there, or remove it")
    return int(text)
