"""The keyroom's Unix socket: frames in, frames out, peers known by uid (SO_PEERCRED)."""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Iterable
from pathlib import Path

import structlog

from ceremonies.commands import Answer, AnyResult, Problem
from ceremonies.desk import Desk, problem_of
from ceremonies.frames import REQUEST_LIMIT, FrameInvalid, decode_request, encode_frame, peek_number, read_frame

log = structlog.get_logger()

OPEN_REQUESTS = 512
"""Requests that one peer may have under way; the next frame is not read before one is answered."""

GRACE_S = 5.0
"""How long the end of a connection waits for the answers that are under way."""

_CREDENTIALS = struct.Struct("3i")


class Server:
    """Serves the desk on a socket of mode 0660. Peers are the keyroom's own uid and those of `peer_uids`."""

    def __init__(self, desk: Desk, path: Path, peer_uids: Iterable[int]) -> None:
        self._desk = desk
        self._path = path
        self._uids = {os.getuid(), *peer_uids}
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. A socket file that a crash left behind is replaced: the database lock keeps a second keyroom away."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self._path)
        self._path.chmod(0o660)

    async def stop(self) -> None:
        """Stop listening, read no further request, answer those under way, drop connections."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections, timeout=GRACE_S)
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        uid = peer_uid(writer)
        if uid not in self._uids:
            log.warning("peer refused", uid=uid)
            writer.close()
            return
        task = asyncio.create_task(self._read(reader, writer, local=uid == os.getuid()))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, local: bool) -> None:
        """Answer the frames of one connection until it ends, or breaks the protocol."""
        slots = asyncio.Semaphore(OPEN_REQUESTS)
        working: set[asyncio.Task[None]] = set()
        try:
            while (body := await read_frame(reader, REQUEST_LIMIT)) is not None:
                number = peek_number(body)
                await slots.acquire()
                work = asyncio.create_task(self._answer(number, body, writer, local=local))
                working.add(work)
                work.add_done_callback(working.discard)
                work.add_done_callback(lambda _: slots.release())
        except (FrameInvalid, OSError) as error:
            log.warning("connection dropped", why=str(error))
        finally:
            if working:
                await asyncio.wait(working, timeout=GRACE_S)
            writer.close()

    async def _answer(self, number: int, body: bytes, writer: asyncio.StreamWriter, *, local: bool) -> None:
        result: AnyResult | Problem
        try:
            result = await self._desk.answer(decode_request(body), local=local)
        except FrameInvalid as error:
            result = problem_of(error, "frame")
        with contextlib.suppress(OSError):  # the peer left; what was done stands in the journal
            writer.write(encode_frame(Answer(number, result)))
            await writer.drain()  # a peer that reads no answers keeps its slots


def peer_uid(writer: asyncio.StreamWriter) -> int:
    """The uid of the process on the other end of a Unix socket."""
    raw = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _pid, uid, _gid = _CREDENTIALS.unpack(raw)
    return int(uid)
