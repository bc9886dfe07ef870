"""HTTP/1.1 for `kedge serve` that waits only so long for the head of a request, and only for so large a head; bodies
are limited and timed by api.limits.
"""

import asyncio
from typing import Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES: Final = 64 << 10


class HeadTooLarge(ValueError):
    """The head of a request is over HEAD_BYTES. The parser turns it into its own error, and the answer is 400."""


class TimedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, but a head must be complete within the time that an idle connection may last."""

    _timer: asyncio.TimerHandle | None = None
    _head = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The first head is awaited from here on."""
        super().connection_made(cast(asyncio.Transport, transport))
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """While only part of a head is there, its time runs on; more bytes do not prolong it."""
        self._head += len(data)
        super().data_received(data)
        if self._timer is not None and self._head > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("Head too large.")

    def on_headers_complete(self) -> None:
        """A head is complete. Raises HeadTooLarge."""
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES:
            raise HeadTooLarge
        self._forget_head()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """The next head is awaited from here on, unless it came already."""
        super().on_response_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is awaited any more."""
        self._forget_head()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        if self._timer is None:
            self._head = 0
            self._timer = self.loop.call_later(self.timeout_keep_alive, self.transport.close)

    def _forget_head(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
