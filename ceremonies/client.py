"""How the API and the command line talk to the keyroom: one connection, many requests under way."""

import asyncio
import contextlib
from pathlib import Path
from typing import Final

import msgspec

from ceremonies.commands import AnyCommand, AnyResult, Problem, Request
from ceremonies.errors import KeyroomError
from ceremonies.frames import ANSWER_LIMIT, REQUEST_LIMIT, FrameInvalid, decode_answer, encode_frame, read_frame
from ceremonies.tls import HANDSHAKE_S, Renewed, TlsFiles, TlsMisconfigured, keep_alive, read_address

CONNECT_S: Final = 10.0
RENEW_S: Final = 1800.0
"""After how long a connection to another machine is replaced; the keyroom ends it after an hour."""


class KeyroomDown(KeyroomError):
    """The keyroom does not answer on its socket. The same request may be sent again: it has an idempotency key."""

    code = "keyroom-down"


class Refused(KeyroomError):
    """The keyroom refused, or failed; `problem` says which rule and what to do."""

    code = "refused"

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message, hint=problem.hint)
        self.problem = problem


class KeyroomAddress(msgspec.Struct, frozen=True):
    """A keyroom on another machine: HOST:PORT, the name that its certificate must have, and our own TLS files."""

    address: str
    name: str
    files: TlsFiles


class Line:
    """One connection, and the requests that wait on it."""

    def __init__(self, writer: asyncio.StreamWriter, opened: float) -> None:
        self.writer = writer
        self.opened = opened
        self.waiting: dict[int, asyncio.Future[AnyResult | Problem]] = {}
        self.retired = False
        self.pump: asyncio.Task[None] | None = None

    def retire(self) -> None:
        """No further request; the connection ends with the last answer."""
        self.retired = True
        if not self.waiting:
            self.writer.close()


class KeyroomClient:
    """A connection to the keyroom that is opened when first needed and again after it broke.

    `place`: its socket, or its address on another machine. Such a connection is replaced after a while, before the
    keyroom ends it, so that certificates that were renewed come into use.
    """

    def __init__(self, place: Path | KeyroomAddress, *, timeout: float = 30.0) -> None:
        self._place = place
        self._timeout = timeout
        self._line: Line | None = None
        self._lines: set[Line] = set()
        self._next = 0
        self._opening = asyncio.Lock()
        self._renewed: Renewed | None = None

    async def ask(
        self, command: AnyCommand, *, token: str = "", source: str = "", certificate: bytes = b""
    ) -> AnyResult:
        """Send one command and wait for its result.

        Raises Refused, KeyroomDown when no answer comes in time, FrameInvalid when the command is too large to be sent.
        """
        self._next += 1
        number = self._next
        frame = encode_frame(Request(number, command, token, source, certificate))
        if len(frame) > REQUEST_LIMIT:  # the keyroom would drop the connection, and everyone's requests with it
            raise FrameInvalid(f"request of {len(frame)} bytes, {REQUEST_LIMIT} are allowed", hint="send less at once")
        line = await self._open()
        answer: asyncio.Future[AnyResult | Problem] = asyncio.get_running_loop().create_future()
        line.waiting[number] = answer
        try:
            line.writer.write(frame)
            await line.writer.drain()
            result = await asyncio.wait_for(answer, self._timeout)
        except (OSError, TimeoutError) as error:
            raise self._down(str(error) or "no answer in time") from error
        finally:
            line.waiting.pop(number, None)
            if line.retired:
                line.retire()
        if isinstance(result, Problem):
            raise Refused(result)
        return result

    async def _open(self) -> Line:
        line = self._line
        if line is not None and not self._is_over(line):
            return line
        async with self._opening:
            line = self._line
            return await self._replace_line() if line is None or self._is_over(line) else line

    async def _replace_line(self) -> Line:
        try:
            async with asyncio.timeout(CONNECT_S):
                reader, writer = await self._connect()
        except (OSError, TimeoutError, TlsMisconfigured) as error:
            raise self._down(str(error) or "no connection in time") from error
        if self._line is not None:
            self._line.retire()
        line = self._line = Line(writer, asyncio.get_running_loop().time())
        line.pump = asyncio.create_task(self._receive(line, reader))
        self._lines.add(line)
        return line

    def _is_over(self, line: Line) -> bool:
        if line.writer.is_closing():
            return True
        remote = isinstance(self._place, KeyroomAddress)
        return remote and asyncio.get_running_loop().time() - line.opened > RENEW_S

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        place = self._place
        if isinstance(place, Path):
            return await asyncio.open_unix_connection(place)
        self._renewed = self._renewed or Renewed(place.files, server=False)
        host, port = read_address(place.address)
        reader, writer = await asyncio.open_connection(
            host, port, ssl=self._renewed.context(), server_hostname=place.name, ssl_handshake_timeout=HANDSHAKE_S
        )
        keep_alive(writer.get_extra_info("socket"))
        return reader, writer

    async def _receive(self, line: Line, reader: asyncio.StreamReader) -> None:
        try:
            while (body := await read_frame(reader, ANSWER_LIMIT)) is not None:
                answer = decode_answer(body)
                waiter = line.waiting.get(answer.id)
                if waiter is not None and not waiter.done():
                    waiter.set_result(answer.result)
        except (KeyroomError, OSError):
            pass  # whoever waits is told below that the keyroom is away
        finally:
            line.writer.close()
            self._lines.discard(line)
            for waiter in line.waiting.values():
                if not waiter.done():
                    waiter.set_exception(self._down("connection closed"))

    def _down(self, why: str) -> KeyroomDown:
        place = self._place.address if isinstance(self._place, KeyroomAddress) else self._place
        return KeyroomDown(
            f"keyroom at {place}: {why}", hint="start it (`kedge keyroom`), then send the same request again"
        )

    async def close(self) -> None:
        """Close the connections."""
        for line in tuple(self._lines):
            line.writer.close()
            if line.pump is not None:
                with contextlib.suppress(asyncio.CancelledError):
                    await line.pump


def ask_once(place: Path | KeyroomAddress, command: AnyCommand, *, token: str = "", timeout: float = 60.0) -> AnyResult:
    """Ask one thing from outside an event loop (command line). Raises as `KeyroomClient.ask` does."""

    async def run() -> AnyResult:
        client = KeyroomClient(place, timeout=timeout)
        try:
            return await client.ask(command, token=token, source="local")
        finally:
            await client.close()

    return asyncio.run(run())


__all__ = [
    "KeyroomAddress", "KeyroomClient", "KeyroomDown", "Line", "Refused", "TlsFiles", "TlsMisconfigured", "ask_once",
]  # fmt: skip
