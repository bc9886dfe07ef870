"""Readers: certification requests are read in processes of their own, so that the keyroom's time is for keys.

All requests that wait go to a reader in one frame. A reader that ends, or does not answer in time, is replaced; what it
had is refused with `reader-ended`, and may be sent again: nothing was recorded or signed.
"""

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from functools import cache

import msgspec
import structlog

from ceremonies.errors import KeyroomError
from ceremonies.reader import FRAME_LIMIT, LENGTH, Answer, Ask, Refused, Taken
from pki.errors import PkiError
from pki.x509.intake import Intake, Place, TakenIn, take_in

log = structlog.get_logger()

_encoder = msgspec.msgpack.Encoder()
_answers = msgspec.msgpack.Decoder(list[Taken | Refused])

FRAME = 16
"""Requests in one frame: few, so that the first are on their way to the door while the next are read."""

ANSWER_S = 30.0
"""How long a reader may say nothing while it is asked; then it is ended. It reads thousands of requests in a second,
but a new one must start first, on a busy machine.
"""

PLACES = 256
"""How many work orders a reader is told before it is told anew."""

Waiting = tuple[Intake, Place | None, "asyncio.Future[TakenIn]"]


class ReaderEnded(KeyroomError):
    """The process that read a request has ended. Nothing was recorded or signed."""

    code = "reader-ended"


class Reader:
    """One process and the requests that it has."""

    def __init__(self) -> None:
        # Isolated, and without our environment: the process needs nothing but the code.
        command = [sys.executable, "-I", "-m", "ceremonies.reader"]
        self.ours, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as undo:
            undo.callback(self.ours.close)
            self.process = subprocess.Popen(command, stdin=theirs.fileno(), env={}, start_new_session=True)
            undo.pop_all()
        self.asked: deque[list[Waiting]] = deque()
        self.places: dict[Place, int] = {}
        self.turn = asyncio.Lock()
        self.stream: asyncio.StreamWriter | None = None
        self.since = 0.0
        """Loop time since when it owes an answer, if it has requests."""

    @property
    def load(self) -> int:
        """How many requests it has."""
        return sum(map(len, self.asked))

    def ask(self, intake: Intake, place: Place | None) -> Ask:
        """The ask for one request, with the place itself the first time that this reader hears of it."""
        if place is None:
            return Ask(intake)
        if place in self.places:
            return Ask(intake, self.places[place])
        if len(self.places) >= PLACES:
            self.places.clear()
        number = self.places[place] = len(self.places)
        return Ask(intake, number, place)

    def end(self) -> None:
        """Let the process end, and wait for it."""
        self.process.kill()
        if self.stream is not None:
            with contextlib.suppress(RuntimeError):  # its loop is closed: nothing is left to tell it
                self.stream.close()
        self.ours.close()
        self.process.wait()


class Readers:
    """`count` processes, started at once; none: requests are read in this process. Serves one event loop."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._readers = [Reader() for _ in range(count)]
        self._waiting: list[Waiting] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def take_in(self, intake: Intake, place: Place | None) -> TakenIn:
        """See `pki.x509.intake.take_in`. Raises what that raises, by its code, or ReaderEnded."""
        if not self._count:
            return take_in(intake, place)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[TakenIn] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._send)
        self._waiting.append((intake, place, future))
        return await future

    def close(self) -> None:
        """End the processes. Who waits still is told that the reader has ended."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        for reader in self._readers:
            reader.end()
            for waiting in reader.asked:
                refuse(waiting)
        refuse(self._waiting)

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._fill()
        if not self._readers:
            refuse(waiting)
            return
        for start in range(0, len(waiting), FRAME):
            reader = min(self._readers, key=lambda item: item.load)
            part = waiting[start : start + FRAME]
            if not reader.asked:
                reader.since = asyncio.get_running_loop().time()
            reader.asked.append(part)  # in the order in which they will be written
            task = asyncio.get_running_loop().create_task(self._ask(reader, part))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _ask(self, reader: Reader, waiting: list[Waiting]) -> None:
        async with reader.turn:
            try:
                if reader.stream is None:
                    await self._connect(reader)
                body = _encoder.encode([reader.ask(intake, place) for intake, place, _ in waiting])
                if reader.stream is not None:
                    reader.stream.write(LENGTH.pack(len(body)) + body)
            except Exception as error:  # noqa: BLE001  # who waits would be given the answers to those who come after
                log.error("a reader cannot be asked", error=type(error).__name__)
                self._replace(reader)
        if reader not in self._readers:  # it ended meanwhile
            refuse(waiting)

    async def _connect(self, reader: Reader) -> None:
        stream, reader.stream = await asyncio.open_connection(sock=reader.ours)
        for work in (self._hear(reader, stream), self._watch(reader)):
            task = asyncio.get_running_loop().create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _watch(self, reader: Reader) -> None:
        """End a reader that hangs: whoever waits for it keeps a place that others need, also to stop a key."""
        while reader in self._readers:
            await asyncio.sleep(ANSWER_S / 4)
            if reader.asked and asyncio.get_running_loop().time() > reader.since + ANSWER_S:
                log.error("a reader does not answer", seconds=ANSWER_S)
                self._replace(reader)

    async def _hear(self, reader: Reader, stream: asyncio.StreamReader) -> None:
        """Hand out answers until the process ends."""
        try:
            while True:
                (length,) = LENGTH.unpack(await stream.readexactly(LENGTH.size))
                if length > FRAME_LIMIT:
                    break
                answers = _answers.decode(await stream.readexactly(length))
                hand_out(reader.asked[0], answers)
                reader.asked.popleft()
                reader.since = asyncio.get_running_loop().time()
        except (OSError, asyncio.IncompleteReadError, msgspec.MsgspecError, LookupError, ValueError) as error:
            log.error("a reader has ended", error=type(error).__name__)
        self._replace(reader)

    def _replace(self, reader: Reader) -> None:
        """Refuse what an ended reader had, and start another one."""
        if self._closed or reader not in self._readers:
            return
        self._readers.remove(reader)
        reader.end()
        for waiting in reader.asked:
            refuse(waiting)
        self._fill()

    def _fill(self) -> None:
        """Start the readers that lack. What keeps one from starting (files, processes, memory) is tried again later."""
        try:
            while len(self._readers) < self._count and not self._closed:
                self._readers.append(Reader())
        except OSError as error:
            log.error("no reader can be started", why=str(error))


def refuse(waiting: Sequence[Waiting]) -> None:
    """Tell those who wait still that their reader has ended."""
    for _, _, future in waiting:
        if not future.done() and not future.get_loop().is_closed():
            future.set_exception(ReaderEnded("the reader of this request has ended", hint="send it again"))


def hand_out(waiting: Sequence[Waiting], answers: Sequence[Answer]) -> None:
    """Give each request its answer.

    Raises ValueError when they are not as many, LookupError for a code of no rule: then none has its answer.
    """
    if len(waiting) != len(answers):
        raise ValueError(f"{len(answers)} answers to {len(waiting)} requests")
    results = [read_error(answer) if isinstance(answer, Refused) else answer.value for answer in answers]
    for (_, _, future), result in zip(waiting, results, strict=True):
        if future.done():
            continue
        if isinstance(result, PkiError):
            future.set_exception(result)
        else:
            future.set_result(result)


def read_error(refused: Refused) -> PkiError:
    """The error that a reader refused with, of its own class. Raises LookupError when no rule has this code."""
    return error_kinds()[refused.code](refused.message, hint=refused.hint)


@cache
def error_kinds() -> Mapping[str, type[PkiError]]:
    """Every error of the rule book by its code."""
    kinds, found = [PkiError], {}
    while kinds:
        kind = kinds.pop()
        found[kind.code] = kind
        kinds += kind.__subclasses__()
    return found
