"""How the API and the command line talk to the keyroom: one connection, many requests under way."""

import asyncio
import contextlib
from pathlib import Path

from ceremonies.commands import AnyCommand, AnyResult, Problem, Request
from ceremonies.errors import KeyroomError
from ceremonies.frames import ANSWER_LIMIT, REQUEST_LIMIT, FrameInvalid, decode_answer, encode_frame, read_frame


class KeyroomDown(KeyroomError):
    """The keyroom does not answer on its socket. The same request may be sent again: it has an idempotency key."""

    code = "keyroom-down"


class Refused(KeyroomError):
    """The keyroom refused, or failed; `problem` says which rule and what to do."""

    code = "refused"

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message, hint=problem.hint)
        self.problem = problem


class KeyroomClient:
    """A connection to the keyroom that is opened when first needed and again after it broke."""

    def __init__(self, socket: Path, *, timeout: float = 30.0) -> None:
        self._socket = socket
        self._timeout = timeout
        self._writer: asyncio.StreamWriter | None = None
        self._pump: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Future[AnyResult | Problem]] = {}
        self._next = 0
        self._opening = asyncio.Lock()

    async def ask(self, command: AnyCommand, *, token: str = "", source: str = "") -> AnyResult:
        """Send one command and wait for its result.

        Raises Refused, KeyroomDown when no answer comes in time, FrameInvalid when the command is too large to be sent.
        """
        self._next += 1
        number = self._next
        frame = encode_frame(Request(number, command, token, source))
        if len(frame) > REQUEST_LIMIT:  # the keyroom would drop the connection, and everyone's requests with it
            raise FrameInvalid(f"request of {len(frame)} bytes, {REQUEST_LIMIT} are allowed", hint="send less at once")
        writer = await self._open()
        answer: asyncio.Future[AnyResult | Problem] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            writer.write(frame)
            await writer.drain()
            result = await asyncio.wait_for(answer, self._timeout)
        except (OSError, TimeoutError) as error:
            raise self._down(str(error) or "no answer in time") from error
        finally:
            self._waiting.pop(number, None)
        if isinstance(result, Problem):
            raise Refused(result)
        return result

    async def _open(self) -> asyncio.StreamWriter:
        async with self._opening:
            if self._writer is None or self._writer.is_closing():
                try:
                    reader, self._writer = await asyncio.open_unix_connection(self._socket)
                except OSError as error:
                    raise self._down(str(error)) from error
                self._pump = asyncio.create_task(self._receive(reader, self._writer))
            return self._writer

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (body := await read_frame(reader, ANSWER_LIMIT)) is not None:
                answer = decode_answer(body)
                waiter = self._waiting.get(answer.id)
                if waiter is not None and not waiter.done():
                    waiter.set_result(answer.result)
        except (KeyroomError, OSError):
            pass  # whoever waits is told below that the keyroom is away
        finally:
            writer.close()
            for waiter in self._waiting.values():
                if not waiter.done():
                    waiter.set_exception(self._down("connection closed"))

    def _down(self, why: str) -> KeyroomDown:
        return KeyroomDown(
            f"keyroom at {self._socket}: {why}", hint="start it (`kedge keyroom`), then send the same request again"
        )

    async def close(self) -> None:
        """Close the connection."""
        if self._writer is not None:
            self._writer.close()
        if self._pump is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._pump


def ask_once(socket: Path, command: AnyCommand, *, token: str = "", timeout: float = 60.0) -> AnyResult:
    """Ask one thing from outside an event loop (command line). Raises as `KeyroomClient.ask` does."""

    async def run() -> AnyResult:
        client = KeyroomClient(socket, timeout=timeout)
        try:
            return await client.ask(command, token=token, source="local")
        finally:
            await client.close()

    return asyncio.run(run())
