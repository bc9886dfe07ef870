"""The keyroom's Unix socket: frames in, frames out, peers known by uid (SO_PEERCRED). Limits are per uid: whoever opens
more connections gets no more of the keyroom.
"""

import asyncio
import os
import socket
import struct
from collections.abc import Iterable
from pathlib import Path

import structlog

from ceremonies.commands import Answer, AnyResult, Problem
from ceremonies.desk import Desk, problem_of
from ceremonies.frames import REQUEST_LIMIT, FrameInvalid, decode_request, encode_frame, peek_number, read_length

log = structlog.get_logger()

OPEN_REQUESTS = 512
"""Requests that one uid may have under way, on all its connections; no further body is read before one is answered."""

CONNECTIONS = 64
"""Connections of one uid. A connection may be idle; it costs nothing else."""

BODY_S = 30.0
"""How long the body of a frame may take after its header, and a peer to take an answer. Then the connection ends."""

GRACE_S = 5.0
"""How long the end of a connection waits for the answers that are under way."""

_CREDENTIALS = struct.Struct("3i")


class Peer:
    """What one uid has in use, on all its connections."""

    __slots__ = ("connections", "slots", "uid")

    def __init__(self, uid: int) -> None:
        self.uid = uid
        self.connections = 0
        self.slots = asyncio.Semaphore(OPEN_REQUESTS)


class Server:
    """Serves the desk on a socket of mode 0660. Peers are the keyroom's own uid and those of `peer_uids`."""

    def __init__(self, desk: Desk, path: Path, peer_uids: Iterable[int]) -> None:
        self._desk = desk
        self._path = path
        self._uids = {os.getuid(), *peer_uids}
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._peers: dict[int, Peer] = {}
        self._inode = 0

    async def start(self) -> None:
        """Listen. The socket file of a keyroom that crashed, or lost its database, is taken over: the active one is who
        has the database's lock.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self._path)
        self._path.chmod(0o660)
        self._inode = self._path.stat().st_ino

    async def stop(self) -> None:
        """Stop listening, read no further request, answer those under way, drop connections."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections, timeout=GRACE_S)
        if self._path.exists() and self._path.stat().st_ino == self._inode:
            self._path.unlink(missing_ok=True)  # not the socket of a keyroom that took over meanwhile

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        uid = peer_uid(writer)
        if uid not in self._uids:
            log.warning("peer refused", uid=uid)
            writer.close()
            return
        peer = self._peers.setdefault(uid, Peer(uid))
        if peer.connections >= CONNECTIONS:
            log.warning("connection refused", uid=uid, open=peer.connections)
            writer.close()
            return
        peer.connections += 1
        task = asyncio.create_task(self._read(peer, reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        task.add_done_callback(lambda _: leave(peer))

    async def _read(self, peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the frames of one connection until it ends, or breaks the protocol."""
        working: set[asyncio.Task[None]] = set()
        try:
            while (request := await read_request(reader, peer)) is not None:
                work = asyncio.create_task(self._answer(peer, request, writer))
                working.add(work)
                work.add_done_callback(working.discard)
                work.add_done_callback(lambda _: peer.slots.release())
        except (FrameInvalid, OSError) as error:
            log.warning("connection dropped", why=str(error) or "too slow")
        finally:
            if working:
                await asyncio.wait(working, timeout=GRACE_S)
            writer.close()

    async def _answer(self, peer: Peer, request: tuple[int, bytes], writer: asyncio.StreamWriter) -> None:
        """A request is its number and its body."""
        result: AnyResult | Problem
        number, body = request
        try:
            result = await self._desk.answer(decode_request(body), local=peer.uid == os.getuid())
        except FrameInvalid as error:
            result = problem_of(error, "frame")
        try:
            writer.write(encode_frame(Answer(number, result)))
            async with asyncio.timeout(BODY_S):
                await writer.drain()
        except TimeoutError:  # a peer that reads no answers would keep the slots of its uid for ever
            writer.transport.abort()
        except OSError:  # the peer left; what was done stands in the journal
            return


def leave(peer: Peer) -> None:
    """A connection has ended."""
    peer.connections -= 1


async def read_request(reader: asyncio.StreamReader, peer: Peer) -> tuple[int, bytes] | None:
    """Number and body of the next frame, with one of the peer's slots taken; None, and no slot, at the end.

    The slot comes before the body, so that a uid holds no more bodies in memory than requests. Raises FrameInvalid.
    """
    length = await read_length(reader, REQUEST_LIMIT)
    if length is None:
        return None
    await peer.slots.acquire()
    try:
        async with asyncio.timeout(BODY_S):
            body = await reader.readexactly(length)
        return peek_number(body), body
    except BaseException as error:
        peer.slots.release()
        if isinstance(error, asyncio.IncompleteReadError | TimeoutError):
            raise FrameInvalid("connection ended, or stood still, inside a frame") from error
        raise


def peer_uid(writer: asyncio.StreamWriter) -> int:
    """The uid of the process on the other end of a Unix socket."""
    raw = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _pid, uid, _gid = _CREDENTIALS.unpack(raw)
    return int(uid)
