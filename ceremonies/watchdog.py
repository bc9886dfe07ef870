"""Ends the process when a PKCS#11 call hangs: such a call cannot be interrupted (crash-only).

The supervisor starts the keyroom again, and recovery closes what was open as unknown.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

import structlog

log = structlog.get_logger()

HUNG: Final = 70
"""Exit status when a PKCS#11 call hung."""
OPENING_DEADLINES: Final = 3
"""How many deadlines the opening of all tokens may take: a load, logins, waits for a token that comes late."""


class Watched(Protocol):
    """What a watchdog reads of a strongbox, from its own thread."""

    @property
    def in_call_since(self) -> float | None:
        """The monotonic second when the oldest call under way began."""

    @property
    def calls(self) -> tuple[str, ...]:
        """The calls under way, in words."""


class Watchdog:
    """Looks at a strongbox from a thread of its own. `watched` is set once the tokens are open."""

    def __init__(self, deadline_s: float) -> None:
        self.watched: Watched | None = None
        self._deadline = deadline_s
        self._opening: float | None = None

    def start(self) -> None:
        """Begin to look, several times a deadline."""
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    @contextmanager
    def opening(self) -> Iterator[None]:
        """The tokens are being opened inside this block: its calls cannot be seen yet."""
        self._opening = time.monotonic()
        try:
            yield
        finally:
            self._opening = None

    def find_overdue(self, now: float) -> float | None:
        """For how many seconds something hangs; None when nothing does."""
        opening, box = self._opening, self.watched
        if opening is not None and now - opening > OPENING_DEADLINES * self._deadline:
            return now - opening
        since = box.in_call_since if box is not None else None
        return now - since if since is not None and now - since > self._deadline else None

    def _watch(self) -> None:
        while True:
            time.sleep(min(1.0, self._deadline / 4))
            seconds = self.find_overdue(time.monotonic())
            if seconds is not None:
                calls = self.watched.calls if self.watched is not None else ("opening the tokens",)
                log.critical("a PKCS#11 call hangs; the keyroom ends", calls=list(calls), seconds=round(seconds, 1))
                os._exit(HUNG)
