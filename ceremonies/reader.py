"""A reader: the process that reads what strangers send (certification requests) and prepares their certificates.

It has no key, no token and no database, and answers on the one socket that it is given. Frames are those of
`ceremonies.frames`: a list of asks in, the list of their answers out, in order. It ends when the socket does.
"""

import socket
import struct
from collections.abc import Sequence
from typing import BinaryIO

import msgspec

from pki.errors import PkiError
from pki.x509.intake import Intake, Place, TakenIn, take_in_all

LENGTH = struct.Struct(">I")
FRAME_LIMIT = 64 << 20


class Refused(msgspec.Struct, frozen=True, tag="refused", array_like=True):
    """A request that the rule book refuses: its code, message and hint."""

    code: str
    message: str
    hint: str


class Taken(msgspec.Struct, frozen=True, tag="taken", array_like=True):
    """A request that may have its certificate."""

    value: TakenIn


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """One request. place: the number of its place, -1 to have it only read; given: the place, where it is new."""

    intake: Intake
    place: int = -1
    given: Place | None = None


Answer = Taken | Refused

_asks = msgspec.msgpack.Decoder(list[Ask])
_encoder = msgspec.msgpack.Encoder()


def answer(asks: Sequence[Ask], places: dict[int, Place]) -> list[Answer]:
    """Take in requests. `places` holds those that were given, by number."""
    return [describe(taken) for taken in take_in_all([(ask.intake, find_place(ask, places)) for ask in asks])]


def find_place(ask: Ask, places: dict[int, Place]) -> Place | None:
    """The place of a request, which is remembered when it is new."""
    if ask.given is not None:
        places[ask.place] = ask.given
    return places.get(ask.place)


def describe(taken: TakenIn | PkiError) -> Answer:
    """A request that was taken in, or its refusal, as it travels."""
    return Refused(taken.code, taken.message, taken.hint) if isinstance(taken, PkiError) else Taken(taken)


def read_asks(stream: BinaryIO) -> list[Ask] | None:
    """The next frame; None when the keyroom has closed its end."""
    header = stream.read(LENGTH.size)
    if len(header) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(header)
    return _asks.decode(stream.read(length))


def serve(connection: socket.socket) -> None:
    """Answer frame after frame until the keyroom closes its end."""
    places: dict[int, Place] = {}
    with connection, connection.makefile("rb") as stream:
        while (asks := read_asks(stream)) is not None:
            body = _encoder.encode(answer(asks, places))
            connection.sendall(LENGTH.pack(len(body)) + body)


if __name__ == "__main__":
    serve(socket.socket(fileno=0))
