"""What passes between the keyroom and the process of its tokens: u32 big-endian length, then one MessagePack message.

No PIN passes: the process reads PIN files itself.
"""

import socket
import struct
from pathlib import Path
from typing import Final

import msgspec

from hsm import errors
from hsm.errors import CallFailed, HsmError, RequestInvalid
from hsm.keys import KeyName

HUNG: Final = 70
"""Exit status when a PKCS#11 call hung: the supervisor starts the keyroom again, recovery closes the intent."""

LENGTH: Final = struct.Struct(">I")
FRAME_LIMIT: Final = 64 << 20


class Place(msgspec.Struct, frozen=True):
    """A token: its label, the file with its PIN, and the roles that the settings place there."""

    label: str
    pin_file: Path
    roles: tuple[str, ...] = ()


class Opening(msgspec.Struct, frozen=True):
    """The first message: which library and tokens to open. deadline_s: the longest PKCS#11 call."""

    module: Path
    places: tuple[Place, ...]
    deadline_s: float


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


class Done(msgspec.Struct, frozen=True, tag="done", array_like=True):
    """What a method returned, encoded."""

    value: msgspec.Raw
    number: int = 0


class Result(msgspec.Struct, frozen=True, array_like=True):
    """One of many signatures, or why there is none; see `hsm.keys.Signed`."""

    raw: bytes
    us: int
    failed: Failed | None = None


Items = list[tuple[KeyName, bytes]]


def describe_error(error: HsmError, number: int = 0) -> Failed:
    """An error as it travels, as the reply to an ask."""
    return Failed(type(error).__name__, error.message, error.hint, error.rv, number)


def read_error(failed: Failed) -> HsmError:
    """The error again, of its own class."""
    kind = getattr(errors, failed.kind, CallFailed)
    error: HsmError = kind(failed.message, hint=failed.hint, rv=failed.rv)
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
    body = msgspec.msgpack.encode(message, enc_hook=write_name)
    if len(body) > FRAME_LIMIT:
        raise RequestInvalid(f"a message of {len(body)} bytes", hint=f"at most {FRAME_LIMIT} travel")
    connection.sendall(LENGTH.pack(len(body)) + body)


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
