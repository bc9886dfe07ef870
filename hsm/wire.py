"""What passes between the keyroom and the process of its tokens: u32 big-endian length, then one MessagePack message.

No PIN passes: the process reads PIN files itself.
"""

import select
import socket
import struct
from pathlib import Path
from typing import Final

import msgspec

from hsm import errors
from hsm.circuit import PlaceReport
from hsm.errors import CallFailed, HsmError, RequestInvalid
from hsm.keys import KeyName

HUNG: Final = 70
"""Exit status when a PKCS#11 call hung: the supervisor starts the keyroom again, recovery closes the intent."""

OPENING_DEADLINES: Final = 3
"""How many deadlines the opening of a module may take: a load, logins, waits for a token that comes late."""

LENGTH: Final = struct.Struct(">I")
FRAME_LIMIT: Final = 64 << 20


class Place(msgspec.Struct, frozen=True):
    """Where a token is: the keyroom's name for it, the library, its label and serial there, the file with its PIN, and
    the roles that the settings place there.
    """

    token: str
    module: Path
    label: str
    pin_file: Path
    roles: tuple[str, ...] = ()
    serial: str = ""


class Opening(msgspec.Struct, frozen=True):
    """The first message: which tokens to open, those of one name in order of preference. deadline_s: the longest
    PKCS#11 call. sessions: how many calls run at a time. hardware_only: open no SoftHSM that comes later. vital: tokens
    that nothing can do without.
    """

    places: tuple[Place, ...]
    deadline_s: float
    sessions: int = 1
    hardware_only: bool = False
    vital: tuple[str, ...] = ()


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """A method of the strongbox and its arguments, encoded. The reply bears the same number."""

    number: int
    method: str
    arguments: msgspec.Raw


class Failed(msgspec.Struct, frozen=True, tag="failed", array_like=True):
    """An error of the strongbox: the name of its class, and what it says."""

    kind: str
    message: str
    hint: str
    rv: str
    number: int = 0
    details: dict[str, int] = {}  # msgspec copies it


class Done(msgspec.Struct, frozen=True, tag="done", array_like=True):
    """What a method returned, encoded."""

    value: msgspec.Raw
    number: int = 0


class State(msgspec.Struct, frozen=True, tag="state", array_like=True):
    """How the tokens are, ahead of the reply to what changed it. `resting`: why nothing is asked of a token."""

    reports: tuple[PlaceReport, ...] = ()
    stopped: tuple[tuple[bytes, str], ...] = ()
    resting: dict[str, Failed] = {}  # msgspec copies it


class Result(msgspec.Struct, frozen=True, array_like=True):
    """One of many signatures, or why there is none; see `hsm.keys.Signed`."""

    raw: bytes
    us: int
    failed: Failed | None = None


Items = list[tuple[KeyName, bytes]]


def describe_error(error: HsmError, number: int = 0) -> Failed:
    """An error as it travels, as the reply to an ask."""
    return Failed(type(error).__name__, error.message, error.hint, error.rv, number, dict(error.details))


def read_error(failed: Failed) -> HsmError:
    """The error again, of its own class."""
    kind = getattr(errors, failed.kind, CallFailed)
    error: HsmError = kind(failed.message, hint=failed.hint, rv=failed.rv, details=failed.details)
    return error


def write_name(value: object) -> object:
    """A path as text, which MessagePack has no type for."""
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} does not travel")


def read_name(kind: type, value: object) -> object:
    """A path from its text."""
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(f"{kind.__name__} does not travel")


def send(connection: socket.socket, message: object) -> None:
    """Send one message. Raises RequestInvalid when it is longer than a frame may be."""
    connection.sendall(_frame(message))


def send_and_receive(connection: socket.socket, message: object) -> list[bytes | None]:
    """Send one message, and receive what comes as long as it cannot be sent: two ends that both only send would wait
    for each other for ever. After a None, as of `receive`, nothing is sent any more. Raises RequestInvalid.
    """
    rest, received = memoryview(_frame(message)), list[bytes | None]()
    while rest and None not in received:
        try:
            rest = rest[connection.send(rest, socket.MSG_DONTWAIT) :]
        except BlockingIOError:
            if select.select([connection], [connection], [])[0]:
                received.append(receive(connection))
    return received


def _frame(message: object) -> bytes:
    body = msgspec.msgpack.encode(message, enc_hook=write_name)
    if len(body) > FRAME_LIMIT:
        raise RequestInvalid(f"a message of {len(body)} bytes", hint=f"at most {FRAME_LIMIT} travel")
    return LENGTH.pack(len(body)) + body


def receive(connection: socket.socket) -> bytes | None:
    """The body of the next message; None when the other end is closed, or sends what is no message."""
    header = _read(connection, LENGTH.size)
    if header is None:
        return None
    (length,) = LENGTH.unpack(header)
    return _read(connection, length) if length <= FRAME_LIMIT else None


def _read(connection: socket.socket, count: int) -> bytes | None:
    data = bytearray()
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            return None
        data += part
    return bytes(data)
