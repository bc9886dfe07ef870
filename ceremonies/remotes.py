"""API processes on other machines: the same frames over mutual TLS, off unless the settings have [remote].

Who connects is known by the certificate, and must be on the settings' list. Nothing local is answered here: those
commands are for the keyroom's own user on its own machine. What is refused is gathered by the desk for the journal.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Final

import structlog

from ceremonies.connections import Connections
from ceremonies.desk import Desk
from ceremonies.settings import RemotePlace
from ceremonies.tls import (
    HANDSHAKE_S,
    PeerRefused,
    Renewed,
    TlsFiles,
    TlsMisconfigured,
    keep_alive,
    last_second,
    name_peer,
    read_address,
)

log = structlog.get_logger()

HANDSHAKES: Final = 64
"""Handshakes under way at once; more connections are closed unheard."""

HANDSHAKES_EACH: Final = 16
"""The same for one address, so that one stranger leaves room for others."""

LIFE_S: Final = 3600.0
"""How long a connection lasts: then the certificate, the list and the authorities are looked at anew."""

SHUTDOWN_S: Final = 2.0
TOLD_S: Final = 60.0
TOLD_LIMIT: Final = 256


class RemoteServer:
    """Serves the desk over mutual TLS. `apart`: peers on this machine are refused, for there the uid rule counts."""

    def __init__(self, desk: Desk, place: RemotePlace, now_us: Callable[[], int], *, apart: bool) -> None:
        """Raises TlsMisconfigured."""
        self._desk = desk
        self._place = place
        self._now_us = now_us
        self._apart = apart
        self._peers = place.peers
        self._address = read_address(place.listen)
        self._renewed = Renewed(TlsFiles(place.certificate, place.key, place.ca), server=True)
        self._connections = Connections(desk)
        self._handshakes: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._socket: socket.socket | None = None
        self._told: dict[str, float] = {}

    @property
    def port(self) -> int:
        """The port it listens on, once it does."""
        return int(self._socket.getsockname()[1]) if self._socket else 0

    async def start(self) -> None:
        """Listen. Raises TlsMisconfigured."""
        host, port = self._address
        try:
            infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
            self._socket = socket.create_server(infos[0][4][:2], family=infos[0][0], backlog=HANDSHAKES)
        except OSError as error:
            raise TlsMisconfigured(f"cannot listen on {self._place.listen}: {error}") from error
        self._socket.setblocking(False)
        self._keep(self._accept(self._socket))

    async def stop(self) -> None:
        """Stop listening, give handshakes up, answer what is under way, drop connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._socket is not None:
            self._socket.close()
        await self._connections.stop()

    def admit(self, peers: Sequence[str]) -> None:
        """Let in these from now on. Connections of others end; what is under way on them is answered."""
        self._peers = tuple(peers)
        self._connections.end_others(self._peers)

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(listening)
            except OSError as error:  # no descriptor left, or a peer that was gone already
                log.warning("no connection accepted", why=str(error))
                await asyncio.sleep(0.1)
                continue
            source = str(address[0])
            if self._handshakes.total() >= HANDSHAKES or self._handshakes[source] >= HANDSHAKES_EACH:
                connection.close()
                self._refuse(source, PeerRefused("too many handshakes at once"))
                continue
            self._handshakes[source] += 1
            self._keep(self._welcome(connection, source))

    async def _welcome(self, connection: socket.socket, source: str) -> None:
        """The handshake, and who it was with."""
        try:
            opened = await self._shake_hands(connection, source)
        except (OSError, PeerRefused) as error:
            connection.close()
            self._refuse(source, error if isinstance(error, PeerRefused) else PeerRefused(tell(error)))
            return
        finally:
            self._handshakes[source] -= 1
            self._handshakes += Counter()  # forgets who has none
        name, lasting, reader, writer = opened
        task = self._connections.begin(name, reader, writer, local=False)
        if task is None:
            self._refuse(source, PeerRefused(f"{name} has too many connections"))
            return
        ending = asyncio.get_running_loop().call_later(lasting, task.cancel)
        task.add_done_callback(lambda _: ending.cancel())

    async def _shake_hands(
        self, connection: socket.socket, source: str
    ) -> tuple[str, float, asyncio.StreamReader, asyncio.StreamWriter]:
        """The peer's name, how long it may stay, and the streams. Raises OSError, PeerRefused."""
        if self._apart and is_here(source, str(connection.getsockname()[0])):
            raise PeerRefused("a peer on this machine", hint="on one machine the API uses the socket, as another user")
        keep_alive(connection)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol,
            connection,
            ssl=self._renewed.context(),
            ssl_handshake_timeout=HANDSHAKE_S,
            ssl_shutdown_timeout=SHUTDOWN_S,
        )
        certificate = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        try:
            name = name_peer(certificate, self._peers)
        except PeerRefused:
            transport.abort()
            raise
        left = last_second(certificate) - self._now_us() / 1_000_000
        return name, min(LIFE_S, max(left, 0.0)), reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    def _refuse(self, source: str, error: PeerRefused) -> None:
        """Gathered for the journal; in the log once a minute for each address: a stranger cannot fill it."""
        self._desk.gather(source[:64], error)
        now = asyncio.get_running_loop().time()
        if now - self._told.get(source, -TOLD_S) < TOLD_S:
            return
        if len(self._told) >= TOLD_LIMIT:
            self._told.clear()
        self._told[source] = now
        log.warning("peer refused", source=source, why=str(error))


def is_here(source: str, ours: str) -> bool:
    """Whether a connection came from this machine."""
    return source == ours or ipaddress.ip_address(source.partition("%")[0]).is_loopback


def tell(error: OSError) -> str:
    """Why a handshake failed, without the library's file and line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"no handshake: {error.reason or 'ended'}"
    return f"no handshake: {error}"
