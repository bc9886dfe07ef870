"""A protocol peer in the keyroom's place: speaks frames on a Unix socket and gives canned answers.

It shows what the API sends and how it maps answers. Tests of decisions use the real keyroom.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ceremonies.commands import Answer, AnyResult, Problem, Request
from ceremonies.frames import REQUEST_LIMIT, decode_request, encode_frame, read_frame

Reply = AnyResult | Problem | Callable[[Any], AnyResult | Problem]
UNPREPARED = Problem("frame-invalid", "the peer has no answer for this")


class Peer:
    """Answers each command by its type from `replies`, and keeps what it was asked in `asked`."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.replies: dict[type, Reply] = {}
        self.asked: list[Request] = []

    def answer(self, request: Request) -> Answer:
        """The canned answer."""
        self.asked.append(request)
        reply = self.replies.get(type(request.command), UNPREPARED)
        return Answer(request.id, reply(request.command) if callable(reply) else reply)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while (body := await read_frame(reader, REQUEST_LIMIT)) is not None:
                writer.write(encode_frame(self.answer(decode_request(body))))
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


@contextlib.contextmanager
def listening(peer: Peer) -> Iterator[Peer]:
    """The peer on its socket, in a thread of its own."""
    started, loop = threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def run() -> None:
        server = await asyncio.start_unix_server(peer.serve, peer.socket)
        started.set()
        await stop.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0)  # lets closed transports go

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    started.wait(10)
    try:
        yield peer
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
