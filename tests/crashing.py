"""A real keyroom process that kills itself at a named point.

`python -m tests.crashing PATH ROSTER SOFTWARE POINT REQUEST DATABASE`; DATABASE is empty for SQLite.
It stands on SoftHSM tokens that exist, answers the one request in the file REQUEST (MessagePack, as on the socket), and
prints `answered` when it lives that long, until its standard input ends.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from ceremonies import door, keywork, ledger
from ceremonies.commands import Problem, Request
from ceremonies.desk import Desk
from ceremonies.process import build_room, handlers, surroundings
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


def within(number: int) -> None:
    """Die inside the `number`th transaction from now, with everything written and nothing committed."""
    name, calls = "put_blobs", [0]
    real: Callable[..., None] = getattr(ledger, name)

    def wrapped(*args: Any) -> None:
        real(*args)
        calls[0] += 1
        if calls[0] == number:
            die()

    setattr(ledger, name, wrapped)


POINTS: dict[str, Callable[[], None]] = {
    "before T1": lambda: before(door.Door, "_record_intents"),
    "inside T1": lambda: within(1),
    "after T1": lambda: after(door.Door, "_record_intents"),
    "after sign": lambda: before(door.Door, "_record_outcomes"),
    "inside T2": lambda: within(2),
    "after T2": lambda: after(door.Door, "_record_outcomes"),
    "before generate": lambda: before(Strongbox, "generate"),
    "key generated": lambda: after(Strongbox, "generate"),
    "key registered": lambda: after(keywork, "_register"),
    "before destroy": lambda: before(Strongbox, "destroy"),
    "object gone": lambda: after(Strongbox, "destroy"),
    "nowhere": lambda: None,
}


def main(path: Path, roster: str, software: str, point: str, request: Path, database: str) -> None:
    """Start, set the trap, answer."""
    settings = KeyroomSettings(
        origin="kedge.example/journal", node="keyroom-1", data=path / "data", public=path / "public",
        socket=path / "keyroom.sock", module=find_module(), tokens=place_tokens(path), roster_sha256=roster,
        database=database,
    )  # fmt: skip
    around = msgspec.structs.replace(surroundings(), software=software)  # officers approved steps under this one
    room = build_room(settings, around, lambda: open_tokens(path / "hsm", tuple(TOKENS)))
    POINTS[point]()
    asked = msgspec.msgpack.decode(request.read_bytes(), type=Request)
    answer = asyncio.run(Desk(room, handlers(room)).answer(asked, local=not asked.token))
    print(answer.code if isinstance(answer, Problem) else "answered", flush=True)
    sys.stdin.read()  # until the test has looked at the living process


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4], Path(sys.argv[5]), sys.argv[6])
