"""A real keyroom process that kills itself at a named point.

`python -m tests.crashing PATH ROSTER SOFTWARE POINT REQUEST DATABASE`; DATABASE is empty for SQLite.
It stands on SoftHSM tokens that exist, answers the requests in the file REQUEST (a MessagePack list, each as on the
socket) together, and prints `answered` for each when it lives that long, until its standard input ends.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec

from ceremonies import keywork, ledger, writer
from ceremonies.commands import AnyResult, Problem, Request
from ceremonies.crls import Crls
from ceremonies.desk import Desk
from ceremonies.handlers import handlers
from ceremonies.logkey import LogKey
from ceremonies.process import build_room, surroundings
from ceremonies.recording import Recording
from ceremonies.room import Room
from ceremonies.settings import KeyroomSettings
from hsm.strongbox import Strongbox
from tests.softhsm import find_module, open_tokens
from tests.world import TOKENS, place_tokens


def die(*_args: Any) -> None:
    """What a power cut looks like from inside."""
    os.kill(os.getpid(), signal.SIGKILL)


def before(owner: Any, name: str) -> None:
    """Die when this is called."""
    setattr(owner, name, die)


def after(owner: Any, name: str) -> None:
    """Die when this has been done."""
    real: Callable[..., Any] = getattr(owner, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        real(*args, **kwargs)
        die()

    setattr(owner, name, wrapped)


def at_call(owner: Any, name: str, number: int, *, done: bool) -> None:
    """Die at the `number`th call from now: when it begins, or when it is done."""
    real: Callable[..., Any] = getattr(owner, name)
    calls = [0]

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] < number:
            return real(*args, **kwargs)
        if done:
            real(*args, **kwargs)
        return die()

    setattr(owner, name, wrapped)


def within(number: int) -> None:
    """Die inside the `number`th transaction from now, with everything written and nothing committed."""
    at_call(ledger, "put_blobs", number, done=True)


def recording(number: int, *, done: bool) -> None:
    """Die before or after the `number`th transaction of the door from now."""
    at_call(Recording, "write", number, done=done)


# One order: its first transaction is T1, its second T2. Three batches, one order each (`PIPELINED`): T1 of the first,
# T1 of the second, then T2 of the first with T1 of the third.
POINTS: dict[str, Callable[[], None]] = {
    "before T1": lambda: recording(1, done=False),
    "inside T1": lambda: within(1),
    "after T1": lambda: recording(1, done=True),
    "after sign": lambda: recording(2, done=False),
    "inside T2": lambda: within(2),
    "after T2": lambda: recording(2, done=True),
    "before checkpoint": lambda: before(LogKey, "sign_head"),
    "after checkpoint": lambda: after(LogKey, "sign_head"),
    "second T1": lambda: recording(2, done=True),
    "before T2 and T1": lambda: recording(3, done=False),
    "inside T2 and T1": lambda: within(3),
    "after T2 and T1": lambda: recording(3, done=True),
    "last T2": lambda: recording(5, done=True),
    "list after T1": lambda: recording(1, done=True),
    "list after sign": lambda: recording(2, done=False),
    "list after T2": lambda: recording(2, done=True),
    "before generate": lambda: before(Strongbox, "generate"),
    "key generated": lambda: after(Strongbox, "generate"),
    "key registered": lambda: after(keywork, "_register"),
    "before destroy": lambda: before(Strongbox, "destroy"),
    "object gone": lambda: after(Strongbox, "destroy"),
    "nowhere": lambda: None,
}
PIPELINED = ("second T1", "before T2 and T1", "inside T2 and T1", "after T2 and T1", "last T2")


def gather_orders(room: Room, count: int) -> None:
    """Let orders wait for each other, so that the second is there while the first is written."""
    waiting: list[object] = []
    all_there = asyncio.Event()
    real = room.writer.order

    async def order(work: object) -> Any:
        waiting.append(work)
        if len(waiting) == count:
            all_there.set()
        await all_there.wait()
        return await real(work)

    room.writer.order = order  # type: ignore[method-assign]


async def answer_all(desk: Desk, asked: Sequence[Request]) -> list[AnyResult | Problem]:
    """Answer requests that came together, each in a batch of its own."""
    return list(await asyncio.gather(*(desk.answer(request, local=not request.token) for request in asked)))


def run(tells: Connection, path: str, roster: str, software: str, point: str, request: str, database: str) -> None:
    """Start, set the trap, answer on a pipe."""
    tells.send(answer(Path(path), roster, software, point, Path(request), database))


def answer(path: Path, roster: str, software: str, point: str, request: Path, database: str) -> list[str]:
    """Start, set the trap; what becomes of each request."""
    settings = KeyroomSettings(
        origin="kedge.example/journal", node="keyroom-1", data=path / "data", public=path / "public",
        socket=path / "keyroom.sock", module=find_module(), tokens=place_tokens(path), roster_sha256=roster,
        witnesses="quorum none\n", database=database,
    )  # fmt: skip
    around = msgspec.structs.replace(surroundings(), software=software)  # officers approved steps under this one
    room = build_room(settings, around, lambda: open_tokens(path / "hsm", tuple(TOKENS)))
    asked = msgspec.msgpack.decode(request.read_bytes(), type=list[Request])
    desk = Desk(room, handlers(room))
    if point in PIPELINED:
        writer.BATCH = 1
        gather_orders(room, len(asked))
    POINTS[point]()
    if point.startswith("list "):
        asyncio.run(Crls(room).turn())
    answers = asyncio.run(answer_all(desk, asked))
    return [item.code if isinstance(item, Problem) else "answered" for item in answers]


if __name__ == "__main__":
    print(*answer(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4], Path(sys.argv[5]), sys.argv[6]), flush=True)
    sys.stdin.read()  # until the test has looked at the living process
