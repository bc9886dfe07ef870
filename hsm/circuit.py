"""A circuit: after repeated failures nothing is asked of a token for a while, and a probe finds out when it is back."""

from collections.abc import Callable
from typing import Final

import msgspec

from hsm.errors import HsmError, KeyNotFound
from hsm.faults import Fault

FAILURES: Final = 5
"""In a row, until the circuit opens."""
PAUSE: Final = 10.0
"""Seconds from one probe of an open circuit to the next."""

_PASSING: Final = (Fault.RETRY, Fault.RELOAD, Fault.OTHER)


def may_move(error: HsmError) -> bool:
    """Whether another place of the token may do what failed here. What a person must look at stays where it is."""
    return error.fault in _PASSING


def is_outage(error: HsmError) -> bool:
    """Whether the failure says that the token is away or ill, and not only that it lacks a key."""
    return may_move(error) and not isinstance(error, KeyNotFound)


class PlaceReport(msgspec.Struct, frozen=True):
    """How a place is. `probes` and `failed_probes` are counted since the start; `why` is the last failure."""

    token: str
    place: str
    is_open: bool
    failures: int
    probes: int
    failed_probes: int
    why: str


class Circuit:
    """Closed until FAILURES outages came in a row; then open until a probe succeeds, at most one every PAUSE seconds.

    `calm`: closed, and the last answer was good. Serves any thread: a race costs a failure more or less.
    """

    __slots__ = ("_clock", "_until", "calm", "failures", "last")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: float | None = None
        self.calm = True
        self.failures = 0
        self.last: HsmError | None = None

    @property
    def is_open(self) -> bool:
        """Whether requests are refused."""
        return self._until is not None

    @property
    def wait(self) -> float:
        """Seconds until the next probe is due; 0 when it is, or when the circuit is closed."""
        return 0.0 if self._until is None else max(0.0, self._until - self._clock())

    @property
    def is_due(self) -> bool:
        """Half-open: a probe may be made."""
        return self._until is not None and self._clock() >= self._until

    def fail(self, error: HsmError) -> None:
        """One more outage. An open circuit stays open for another pause."""
        self.calm = False
        self.failures += 1
        self.last = error
        if self._until is not None or self.failures >= FAILURES:
            self._until = self._clock() + PAUSE

    def open(self, error: HsmError) -> None:
        """Open at once: the token was not there when it was looked for."""
        self.failures = max(self.failures, FAILURES - 1)
        self.fail(error)

    def succeed(self) -> None:
        """An answer: closed, and nothing counted."""
        self._until = None
        self.failures = 0
        self.last = None
        self.calm = True
