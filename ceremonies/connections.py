"""Connections of peers, whatever they came by: frames in, frames out. Limits are per peer: whoever opens more
connections gets no more of the keyroom.
"""

import asyncio
from collections.abc import Collection

import structlog

from ceremonies.commands import Answer, AnyResult, Problem
from ceremonies.desk import Desk, problem_of
from ceremonies.frames import REQUEST_LIMIT, FrameInvalid, decode_request, encode_frame, peek_number, read_length

log = structlog.get_logger()

OPEN_REQUESTS = 512
"""Requests that one peer may have under way, on all its connections; no further body is read before one is answered."""

CONNECTIONS = 64
"""Connections of one peer. A connection may be idle; it costs nothing else."""

BODY_S = 30.0
"""How long the body of a frame may take after its header, and a peer to take an answer. Then the connection ends."""

GRACE_S = 5.0
"""How long the end of a connection waits for the answers that are under way."""


class Peer:
    """What one peer has in use, on all its connections. `local`: it is the keyroom's own user on this machine."""

    __slots__ = ("connections", "local", "name", "slots")

    def __init__(self, name: str, *, local: bool) -> None:
        self.name = name
        self.local = local
        self.connections = 0
        self.slots = asyncio.Semaphore(OPEN_REQUESTS)


class Connections:
    """Serves the desk on connections whose peers are known."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._open: dict[asyncio.Task[None], Peer] = {}
        self._peers: dict[str, Peer] = {}

    def begin(
        self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, local: bool
    ) -> asyncio.Task[None] | None:
        """Serve a connection of a peer until the task ends; None, and the connection is closed, when it has too many.

        A task that is cancelled reads no further request, and answers those under way.
        """
        peer = self._peers.setdefault(name, Peer(name, local=local))
        if peer.connections >= CONNECTIONS:
            log.warning("connection refused", peer=name, open=peer.connections)
            writer.close()
            return None
        peer.connections += 1
        task = asyncio.create_task(self._read(peer, reader, writer))
        self._open[task] = peer
        task.add_done_callback(self._open.pop)
        task.add_done_callback(lambda _: leave(peer))
        return task

    def end_others(self, names: Collection[str]) -> None:
        """End the connections of every peer but these, as `begin` says."""
        for task, peer in self._open.items():
            if peer.name not in names:
                task.cancel()

    async def stop(self) -> None:
        """Read no further request, answer those under way, drop connections."""
        for task in self._open:
            task.cancel()
        if self._open:
            await asyncio.wait(self._open, timeout=GRACE_S)

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
            result = await self._desk.answer(decode_request(body), local=peer.local)
        except FrameInvalid as error:
            result = problem_of(error, "frame")
        try:
            writer.write(encode_frame(Answer(number, result)))
            async with asyncio.timeout(BODY_S):
                await writer.drain()
        except TimeoutError:  # a peer that reads no answers would keep its slots for ever
            writer.transport.abort()
        except OSError:  # the peer left; what was done stands in the journal
            return


def leave(peer: Peer) -> None:
    """A connection has ended."""
    peer.connections -= 1


async def read_request(reader: asyncio.StreamReader, peer: Peer) -> tuple[int, bytes] | None:
    """Number and body of the next frame, with one of the peer's slots taken; None, and no slot, at the end.

    The slot comes before the body, so that a peer holds no more bodies in memory than requests. Raises FrameInvalid.
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
