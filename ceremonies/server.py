"""The keyroom's Unix socket: peers known by uid (SO_PEERCRED)."""

import asyncio
import os
import socket
import struct
from collections.abc import Iterable
from pathlib import Path

import structlog

from ceremonies.connections import Connections
from ceremonies.desk import Desk

log = structlog.get_logger()

_CREDENTIALS = struct.Struct("3i")


class Server:
    """Serves the desk on a socket of mode 0660. Peers are the keyroom's own uid and those of `peer_uids`."""

    def __init__(self, desk: Desk, path: Path, peer_uids: Iterable[int]) -> None:
        self._connections = Connections(desk)
        self._path = path
        self._uids = {os.getuid(), *peer_uids}
        self._server: asyncio.Server | None = None
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
        await self._connections.stop()
        if self._path.exists() and self._path.stat().st_ino == self._inode:
            self._path.unlink(missing_ok=True)  # not the socket of a keyroom that took over meanwhile

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        uid = peer_uid(writer)
        if uid not in self._uids:
            log.warning("peer refused", uid=uid)
            writer.close()
            return
        self._connections.begin(f"uid {uid}", reader, writer, local=uid == os.getuid())


def peer_uid(writer: asyncio.StreamWriter) -> int:
    """The uid of the process on the other end of a Unix socket."""
    raw = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _pid, uid, _gid = _CREDENTIALS.unpack(raw)
    return int(uid)
