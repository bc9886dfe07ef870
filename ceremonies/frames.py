"""Frames on the keyroom's socket: u32 big-endian length, then one MessagePack message."""

import asyncio
import struct
from typing import Annotated

import msgspec

from ceremonies.commands import Answer, Request
from ceremonies.errors import KeyroomError

# An answer carries a signed image of up to 16 MiB and its manifest; a request carries a chunk of 1 MiB at most.
ANSWER_LIMIT = 40 << 20
REQUEST_LIMIT = 2 << 20

_LENGTH = struct.Struct(">I")
_encoder = msgspec.msgpack.Encoder()
_requests = msgspec.msgpack.Decoder(Request)
_answers = msgspec.msgpack.Decoder(Answer)


class FrameInvalid(KeyroomError):
    """A frame is too large, or not a message of the protocol."""

    code = "frame-invalid"


UNREADABLE = msgspec.MsgspecError, UnicodeDecodeError, RecursionError
"""What msgspec raises for bytes that are no such message."""


def encode_frame(message: Request | Answer) -> bytes:
    """One message with its length in front."""
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


def decode_request(body: bytes) -> Request:
    """Raises FrameInvalid unless `body` is exactly one Request that keeps every limit of its fields."""
    try:
        return _requests.decode(body)
    except UNREADABLE as error:
        raise FrameInvalid(f"request: {error}", hint="see the field's limits in the API description") from error


class _Numbered(msgspec.Struct):
    id: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


_numbers = msgspec.msgpack.Decoder(_Numbered)


def peek_number(body: bytes) -> int:
    """The number of a request that may not be acceptable, so that its sender learns why. Raises FrameInvalid."""
    try:
        return _numbers.decode(body).id
    except UNREADABLE as error:
        raise FrameInvalid("a frame without a request number") from error


def decode_answer(body: bytes) -> Answer:
    """Raises FrameInvalid unless `body` is exactly one Answer."""
    try:
        return _answers.decode(body)
    except UNREADABLE as error:
        raise FrameInvalid(f"answer: {error}", hint="API and keyroom must be of one release") from error


async def read_length(reader: asyncio.StreamReader, limit: int) -> int | None:
    """The length of the next frame; None when the peer closed between frames.

    Raises FrameInvalid when it is over `limit`, or the connection ends inside it.
    """
    try:
        header = await reader.readexactly(_LENGTH.size)
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise FrameInvalid("connection ended inside a frame") from error
        return None
    (length,) = _LENGTH.unpack(header)
    if length > limit:
        raise FrameInvalid(f"frame of {length} bytes, {limit} are allowed", hint="send artefacts in chunks of 1 MiB")
    return int(length)


async def read_frame(reader: asyncio.StreamReader, limit: int) -> bytes | None:
    """The next frame's body; None when the peer closed between frames. Raises FrameInvalid, as `read_length` does."""
    length = await read_length(reader, limit)
    if length is None:
        return None
    try:
        return await reader.readexactly(length)
    except asyncio.IncompleteReadError as error:
        raise FrameInvalid("connection ended inside a frame") from error
