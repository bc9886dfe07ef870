"""Frames: a length, a message, and nothing that a peer could make of them besides."""

import asyncio
import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ceremonies import commands
from ceremonies.commands import Answer, Problem, Request
from ceremonies.frames import (
    REQUEST_LIMIT,
    FrameInvalid,
    decode_answer,
    decode_request,
    encode_frame,
    peek_number,
    read_frame,
)
from tests.ceremonies.examples import COMMANDS, example


def read(data: bytes, limit: int = REQUEST_LIMIT) -> list[bytes | None]:
    """What a reader makes of a stream, up to its end."""

    async def run() -> list[bytes | None]:
        reader = asyncio.StreamReader(limit=1 << 22)
        reader.feed_data(data)
        reader.feed_eof()
        found: list[bytes | None] = []
        while (body := await read_frame(reader, limit)) is not None:
            found.append(body)
        return found

    return asyncio.run(run())


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_frames_come_out_as_they_went_in(bodies: list[bytes]) -> None:
    assert read(b"".join(struct.pack(">I", len(body)) + body for body in bodies)) == bodies


@given(st.binary(min_size=1, max_size=64), st.integers(min_value=1))
def test_a_stream_that_ends_inside_a_frame_is_invalid(body: bytes, cut: int) -> None:
    frame = struct.pack(">I", len(body)) + body
    with pytest.raises(FrameInvalid, match="inside a frame"):
        read(frame[: -(cut % (len(frame) - 1) + 1) or -1])


def test_a_frame_has_a_limit() -> None:
    assert read(struct.pack(">I", 8) + bytes(8), limit=8) == [bytes(8)]
    with pytest.raises(FrameInvalid, match="9 bytes, 8 are allowed"):
        read(struct.pack(">I", 9), limit=8)
    with pytest.raises(FrameInvalid, match="4294967295 bytes"):
        read(b"\xff" * 8)


@pytest.mark.parametrize("kind", COMMANDS, ids=lambda kind: kind.__name__)
def test_every_command_travels(kind: type[commands.Command]) -> None:
    command = example(kind)
    assert isinstance(command, COMMANDS)
    request = Request(7, command, "token", "192.0.2.1")  # type: ignore[arg-type] # the line above says which it is
    (body,) = read(encode_frame(request))
    assert body is not None
    assert decode_request(body) == request
    assert peek_number(body) == 7


def test_an_answer_travels() -> None:
    answer = Answer(9, Problem("code", "what", "hint", {"have": 1}))
    (body,) = read(encode_frame(answer))
    assert body is not None
    assert decode_answer(body) == answer


REQUEST = {"id": 1, "command": {"do": "show-health"}, "token": "", "source": ""}
NESTED = b"\x91" * 200_000 + b"\xc0"
BAD = {
    "nothing": b"",
    "garbage": b"\xc1garbage",
    "text": b"GET / HTTP/1.1\r\n\r\n",
    "a number": msgspec.msgpack.encode(1),
    "trailing bytes": msgspec.msgpack.encode(REQUEST) + b"\x00",
    "an unknown field": msgspec.msgpack.encode({**REQUEST, "uid": 0}),
    "an unknown command": msgspec.msgpack.encode({**REQUEST, "command": {"do": "sign-anything"}}),
    "an unknown field of a command": msgspec.msgpack.encode({**REQUEST, "command": {"do": "show-health", "x": 1}}),
    "no command": msgspec.msgpack.encode({"id": 1}),
    "a long token": msgspec.msgpack.encode({**REQUEST, "token": "x" * 8193}),
    "a bad name": msgspec.msgpack.encode({**REQUEST, "command": {"do": "show-ceremony", "id": "../x"}}),
    "a name with a line end": msgspec.msgpack.encode({**REQUEST, "command": {"do": "show-ceremony", "id": "x\n"}}),
    "no UTF-8": msgspec.msgpack.encode({**REQUEST, "token": "xyz"}).replace(b"xyz", b"x\xc4z"),
    "a deep nest": NESTED,
    "a deep nest in a field": b"\x82\xa2id\x01\xa1x" + NESTED,
    "a huge array": b"\xdd\xff\xff\xff\xff",
}


@pytest.mark.req("T19")
@pytest.mark.parametrize("name", BAD)
def test_what_is_no_request_is_refused(name: str) -> None:
    with pytest.raises(FrameInvalid):
        decode_request(BAD[name])
    with pytest.raises(FrameInvalid):
        decode_answer(BAD[name])


def test_the_number_is_found_where_the_rest_is_bad() -> None:
    for name in ("an unknown field", "an unknown command", "no command", "a long token", "no UTF-8"):
        assert peek_number(BAD[name]) == 1
    for name in ("nothing", "garbage", "text", "a number", "a deep nest", "a deep nest in a field", "a huge array"):
        with pytest.raises(FrameInvalid, match="without a request number"):
            peek_number(BAD[name])
    with pytest.raises(FrameInvalid):
        peek_number(msgspec.msgpack.encode({"id": -1}))
