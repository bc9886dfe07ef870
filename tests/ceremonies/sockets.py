"""The keyroom's socket for tests: served by a world's desk, and spoken to frame by frame."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from ceremonies import commands
from ceremonies.commands import Request
from ceremonies.desk import Desk
from ceremonies.frames import decode_answer, read_frame
from ceremonies.server import Server
from tests.world import World

Use = Callable[[Path], Awaitable[None]]
HEALTH = Request(1, commands.ShowHealth())


def serve(world: World, use: Use, desk: Desk | None = None) -> None:
    """Serve a world's desk while `use` runs."""

    async def run() -> None:
        server = Server(desk or world.desk, world.path / "keyroom.sock", ())
        await server.start()
        try:
            await use(world.path / "keyroom.sock")
        finally:
            await server.stop()

    asyncio.run(run())


async def send(path: Path, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(data)
    return reader, writer


async def receive(reader: asyncio.StreamReader) -> Any:
    """The next answer, or None when the connection ended."""
    body = await asyncio.wait_for(read_frame(reader, 1 << 24), 5)
    return None if body is None else decode_answer(body)
