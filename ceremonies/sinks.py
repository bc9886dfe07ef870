"""Where a feed's events go: a file, syslog, or a web hook. A sink takes a batch or raises SinkFailed; it keeps nothing.

A web hook is told over https only, at the one URL of the settings, without redirects and proxies. Each delivery is
authenticated with HMAC-SHA256 (RFC 2104) under a key that the settings name by its file: TLS shows the receiver to the
keyroom, the header `Kedge-Signature: t=SECONDS,v1=HEX` shows the keyroom to the receiver. It covers `SECONDS.` and the
body.
"""

import asyncio
import hashlib
import hmac
import os
import socket
import ssl
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

import httpx
import msgspec

from ceremonies.errors import KeyroomError
from ceremonies.results import EventShown
from ceremonies.settings import FeedPlace, SettingsInvalid

POST_S: Final = 10.0
MIN_SECRET: Final = 32
MAX_SECRET: Final = 4096
_FACILITY: Final = 10  # authpriv (RFC 5424 section 6.2.1)
_PRIORITY: Final = {"info": 6, "notice": 5, "warning": 4, "critical": 2}


class SinkFailed(KeyroomError):
    """Events were not taken. They are sent again."""

    code = "sink-failed"


class Sink(Protocol):
    """Takes events, in order."""

    async def deliver(self, events: Sequence[EventShown]) -> None:
        """All of them, or SinkFailed; then some may have arrived."""


def encode_lines(events: Sequence[EventShown]) -> bytes:
    """JSON Lines: one object and one LF for each event."""
    return b"".join(msgspec.json.encode(event) + b"\n" for event in events)


class FileSink:
    """Appends to a file, durably. The file may be moved away at any time: it is opened for each batch."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def deliver(self, events: Sequence[EventShown]) -> None:
        """Append. A crash may leave half a line; the batch is then appended again, on a new line."""
        await asyncio.to_thread(self._append, encode_lines(events))

    def _append(self, data: bytes) -> None:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
            with os.fdopen(descriptor, "a+b", buffering=0) as file:
                size = file.seek(0, os.SEEK_END)
                torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
                rest = memoryview(b"\n" * torn + data)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
                os.fsync(descriptor)
        except OSError as error:
            raise SinkFailed(f"{self._path}: {error.strerror}", hint="make room, or correct the path") from error


class SyslogSink:
    """Sends each event as a datagram, over a Unix socket or UDP (RFC 5426). What the network drops is not noticed."""

    def __init__(self, address: str | tuple[str, int], node: str) -> None:
        self._address = address
        self._node = node

    async def deliver(self, events: Sequence[EventShown]) -> None:
        """One datagram for each."""
        await asyncio.to_thread(self._send, events)

    def _send(self, events: Sequence[EventShown]) -> None:
        try:
            with self._open() as opened:
                for event in events:
                    opened.send(self.format(event))
        except OSError as error:
            raise SinkFailed(f"syslog {self._address}: {error.strerror or error}", hint="is it running?") from error

    def _open(self) -> socket.socket:
        if isinstance(self._address, str):
            opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        else:
            family = socket.getaddrinfo(*self._address, type=socket.SOCK_DGRAM)[0][0]
            opened = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        opened.settimeout(POST_S)
        try:
            opened.connect(self._address)
        except OSError:
            opened.close()
            raise
        return opened

    def format(self, event: EventShown) -> bytes:
        """RFC 5424 section 6; to a local daemon the short form that every one of them reads."""
        priority = 8 * _FACILITY + _PRIORITY[event.severity]
        body = msgspec.json.encode(event)
        if isinstance(self._address, str):
            return f"<{priority}>kedge: ".encode() + body
        kind = event.type[:32]
        return f"<{priority}>1 {event.time} {self._node} kedge {os.getpid()} {kind} - ".encode() + body


class WebhookSink:
    """POSTs batches as JSON Lines. Any 2xx takes the batch; anything else, a redirect too, does not.

    seconds: the wall clock, for the header that authenticates.
    """

    def __init__(self, url: str, secret: bytes, context: ssl.SSLContext, seconds: Callable[[], int]) -> None:
        self._url, self._secret, self._context, self._seconds = url, secret, context, seconds

    async def deliver(self, events: Sequence[EventShown]) -> None:
        """One request."""
        body = encode_lines(events)
        headers = {
            "Content-Type": "application/x-ndjson",
            "Kedge-Signature": authenticate(self._secret, self._seconds(), body),
        }
        try:
            async with (
                httpx.AsyncClient(
                    verify=self._context, trust_env=False, follow_redirects=False, timeout=POST_S
                ) as client,
                client.stream("POST", self._url, content=body, headers=headers) as response,
            ):
                status = response.status_code
        except (httpx.HTTPError, OSError) as error:
            why = str(error) or type(error).__name__
            raise SinkFailed(f"web hook is away: {why}", hint="is it running, and its URL right?") from error
        if not 200 <= status < 300:
            raise SinkFailed(f"web hook answered {status}", hint="it must answer 2xx; redirects are not followed")


def authenticate(secret: bytes, seconds: int, body: bytes) -> str:
    """The value of Kedge-Signature. A receiver computes it anew, compares in constant time, and checks the age."""
    tag = hmac.new(secret, f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={tag}"


def open_sink(feed: FeedPlace, node: str, seconds: Callable[[], int]) -> Sink:
    """The sink of a feed. Raises SettingsInvalid."""
    kind, _, rest = feed.to.partition(":")
    if kind == "file" and rest:
        return FileSink(Path(rest))
    if kind == "syslog" and rest:
        return SyslogSink(rest, node)
    parts = urlsplit(feed.to)
    try:
        port = parts.port
    except ValueError:
        port = None
    if kind == "syslog+udp" and parts.hostname and port:
        return SyslogSink((parts.hostname, port), node)
    plain = parts.hostname and not (parts.username or parts.password or parts.fragment)
    if kind == "https" and plain:
        return WebhookSink(feed.to, read_secret(feed), trust(feed), seconds)
    raise SettingsInvalid(f"feed {feed.name}: it goes to no file, syslog or https URL", hint="see docs/events.md")


def trust(feed: FeedPlace) -> ssl.SSLContext:
    """Whom https is believed: `ca` alone if given, else the system's authorities. Raises SettingsInvalid."""
    try:
        return ssl.create_default_context(cafile=feed.ca)
    except (OSError, ssl.SSLError) as error:
        raise SettingsInvalid(f"feed {feed.name}: ca {feed.ca}: {error}") from error


def read_secret(feed: FeedPlace) -> bytes:
    """The key of a web hook, from a file that only this user can read. Raises SettingsInvalid."""
    path = feed.secret_file
    if path is None:
        raise SettingsInvalid(f"feed {feed.name}: no secret_file", hint=f"{MIN_SECRET} random bytes or more, mode 0400")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            secret = file.read(MAX_SECRET + 1).rstrip(b"\n")
    except OSError as error:
        raise SettingsInvalid(f"feed {feed.name}: {path}: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise SettingsInvalid(f"feed {feed.name}: {path} can be read by others", hint="own it, chmod 0400, renew it")
    if not MIN_SECRET <= len(secret) <= MAX_SECRET:
        raise SettingsInvalid(f"feed {feed.name}: {path} holds no key of {MIN_SECRET} to {MAX_SECRET} bytes")
    return secret
