"""Limits at the edge, as pure ASGI: number of headers, bytes of a body, and the time in which it must arrive."""

import asyncio
from typing import Final

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import ApiError, BodyTooLarge, BodyTooSlow, HeadersTooLarge, RouteUnknown, answer_error

HEADER_COUNT: Final = 64
HEADER_BYTES: Final = 32 << 10


class BodyGuard:
    """Cuts a body that is too large or too slow while it arrives; routes set smaller limits for their own bodies.

    `limit` in bytes; `gap` seconds between two pieces, `total` seconds for the whole body.
    """

    def __init__(self, app: ASGIApp, *, limit: int, gap: float, total: float) -> None:
        self._app = app
        self._limit = limit
        self._gap = gap
        self._total = total

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check_head(scope)
        except ApiError as error:
            response = await answer_error(Request(scope), error)
            await response(scope, receive, send)
            return
        body = _Body(receive, self._limit, self._gap, self._total)

        async def send_closing(message: Message) -> None:
            # Who is answered before the body was read must not go on sending it: the connection ends here.
            if message["type"] == "http.response.start" and not body.complete and announces_body(scope):
                message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
            await send(message)

        await self._app(scope, body.receive, send_closing)

    def _check_head(self, scope: Scope) -> None:
        if not scope["path"].isprintable():  # the router would overlook a newline at the end
            raise RouteUnknown("the path has control characters")
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        if len(headers) > HEADER_COUNT:
            raise HeadersTooLarge(f"{len(headers)} headers, {HEADER_COUNT} are allowed")
        if sum(len(name) + len(value) for name, value in headers) > HEADER_BYTES:
            raise HeadersTooLarge(f"headers are over {HEADER_BYTES} bytes")
        lengths = [value for name, value in headers if name == b"content-length"]
        if any(value.isdigit() and int(value[:20]) > self._limit for value in lengths):
            raise BodyTooLarge(f"body is over {self._limit} bytes")


def announces_body(scope: Scope) -> bool:
    """Whether the headers say that a body follows (RFC 9112 section 6.3)."""
    return any(name in (b"content-length", b"transfer-encoding") and value != b"0" for name, value in scope["headers"])


class _Body:
    """One request's body: counts bytes and seconds until it is complete."""

    def __init__(self, receive: Receive, limit: int, gap: float, total: float) -> None:
        self.complete = False
        self._receive = receive
        self._left = limit
        self._limit = limit
        self._gap = gap
        self._total = total
        self._deadline = 0.0

    async def receive(self) -> Message:
        """The next message. Raises BodyTooSlow or BodyTooLarge."""
        if self.complete:  # what comes now is the disconnect, which may take its time
            return await self._receive()
        now = asyncio.get_running_loop().time()
        self._deadline = self._deadline or now + self._total
        try:
            message = await asyncio.wait_for(self._receive(), min(self._gap, max(self._deadline - now, 0)))
        except TimeoutError as error:
            raise BodyTooSlow("the body did not arrive in time", hint="send it in one go") from error
        self._left -= len(message.get("body", b""))
        self.complete = not message.get("more_body", False)
        if self._left < 0:
            raise BodyTooLarge(f"body is over {self._limit} bytes")
        return message
