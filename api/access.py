"""The outermost layer, as pure ASGI: request numbers, security headers, the access log, and the last catch.

The log has methods, paths and results; never headers, queries or bodies, so no token can be in it.
"""

import itertools
import os
import time
from typing import Any, Final

import structlog
from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import InternalError, problem_response
from api.metrics import Metrics

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
HEADERS: Final = {
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"strict-transport-security": b"max-age=63072000",
}


class AccessLog:
    """One line and one count for each request, and no answer without the security headers."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self._log: Any = structlog.get_logger("kedge.api")
        self._series = f"{os.getpid():x}-{time.monotonic_ns():x}"
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["request_id"] = f"{self._series}-{next(self._numbers):08x}"
        status, begun = 0, time.monotonic()

        async def send_hardened(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = harden(message.get("headers", []), scope["request_id"])
            await send(message)

        try:
            await self._app(scope, receive, send_hardened)
        except Exception as error:  # noqa: BLE001  # whatever happens, the caller gets a problem, no traceback
            self._log.error("failed", request=scope["request_id"], error=type(error).__name__, exc_info=True)
            if not status:
                response = problem_response(Request(scope), InternalError.code, "the service failed")
                await response(scope, receive, send_hardened)
        finally:
            self._record(scope, status, time.monotonic() - begun)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else "OTHER"
        route = scope.get("route_path", "unknown")
        client = scope.get("client") or ("", 0)
        problem = scope.get("problem")
        self._metrics.count_request(method, route, status, seconds)
        if problem:
            self._metrics.count_problem(problem)
        self._log.info(
            "request",
            request=scope["request_id"],
            method=method,
            path=scope["path"][:256],
            route=route,
            status=status,
            ms=round(seconds * 1000, 1),
            source=client[0],
            **({"problem": problem} if problem else {}),
        )


def harden(headers: list[tuple[bytes, bytes]], number: str) -> list[tuple[bytes, bytes]]:
    """The answer's headers with the security headers, and no caching unless the route says otherwise."""
    names = {name.lower() for name, _ in headers}
    added = [(name, value) for name, value in HEADERS.items() if name not in names]
    if b"cache-control" not in names:
        added.append((b"cache-control", b"no-store"))
    return [*headers, *added, (b"x-request-id", number.encode())]


def configure_log() -> None:
    """JSON lines on standard output, with UTC times."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        cache_logger_on_first_use=True,
    )
