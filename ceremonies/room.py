"""The keyroom's parts in one place, as the flows use them from the event loop."""

from collections.abc import Callable, Hashable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ceremonies.anchors import TokenAnchor
from ceremonies.door import Door
from ceremonies.errors import KeyroomError
from ceremonies.jwks import JwksCache
from ceremonies.ledger import Ledger
from ceremonies.orders import Order, Sealed
from ceremonies.pipeline import Pipeline
from ceremonies.readers import Readers
from ceremonies.settings import KeyroomSettings
from ceremonies.store import Store
from ceremonies.surroundings import Surroundings
from ceremonies.vigilance import Vigilance
from ceremonies.witnesses import Witnesses
from ceremonies.writer import Writer

T = TypeVar("T")


@dataclass(slots=True)
class Trace:
    """Whether a request has left an entry in the journal. The desk lays one out for each request."""

    recorded: bool = False


TRACE: ContextVar[Trace | None] = ContextVar("trace", default=None)


@dataclass(slots=True)
class Room:
    """What a flow needs. `door` and `ledger` are touched on the writer's thread only, through `seal` and `act`."""

    settings: KeyroomSettings
    surroundings: Surroundings
    store: Store
    ledger: Ledger
    door: Door
    pipeline: Pipeline
    writer: Writer
    readers: Readers
    witnesses: Witnesses = field(init=False)
    anchor: TokenAnchor = field(init=False)
    vigilance: Vigilance = field(init=False)
    jwks: JwksCache = field(default_factory=JwksCache)
    counters: dict[str, int] = field(default_factory=dict)
    alarms: dict[str, str] = field(default_factory=dict)
    cache: dict[Hashable, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.witnesses = Witnesses(self.settings, self.ledger, self.surroundings, self.writer.run)
        self.vigilance = Vigilance(self.settings, self.ledger, self.surroundings, self.writer)
        self.anchor = TokenAnchor(self.settings, self.ledger, self.door.strongbox, self.alarms)
        self.ledger.pin = self.anchor.write

    async def seal(self, order: Order) -> Sealed:
        """Send one order through the door, which records what it signs and what it refuses. Raises what refused it,
        and WitnessesBehind when the journal is too far ahead of its witnesses.
        """
        self.witnesses.check_order(self.writer.waiting)
        trace = TRACE.get() or Trace()
        try:
            sealed: Sealed = await self.writer.order(order)
        except KeyroomError:
            trace.recorded = True
            raise
        trace.recorded |= not sealed.replayed
        return sealed

    async def act(self, task: Callable[[], T], *, urgent: bool = False) -> T:
        """Do something on the writer's thread."""
        trace = TRACE.get() or Trace()

        def watched() -> T:
            before = self.ledger.journal.size
            try:
                return task()
            finally:
                trace.recorded |= self.ledger.journal.size > before

        return await self.writer.run(watched, urgent=urgent)

    def cached(self, key: Hashable, make: Callable[[], T]) -> T:
        """A value that only ceremonies change, made once. Every ceremony that closes empties the cache."""
        if key not in self.cache:
            self.cache[key] = make()
        value: T = self.cache[key]
        return value

    def count(self, name: str) -> None:
        """One more of something, for the metrics."""
        self.counters[name] = self.counters.get(name, 0) + 1
