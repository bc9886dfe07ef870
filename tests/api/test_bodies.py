import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Message

from api.bodies import check_media_type, read_body, read_chunks
from api.errors import BodyMissing, BodyTooLarge, MediaTypeUnsupported


def request(pieces: list[bytes], media_type: str = "") -> Request:
    waiting = [*pieces, b""]

    async def receive() -> Message:
        body = waiting.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(waiting)}

    headers = [(b"content-type", media_type.encode())]
    return Request({"type": "http", "method": "PUT", "path": "/", "headers": headers}, receive)


async def collect(chunks: AsyncIterator[tuple[int, bytes, bool]]) -> list[tuple[int, bytes, bool]]:
    return [chunk async for chunk in chunks]


@given(st.lists(st.binary(max_size=40), max_size=12), st.integers(1, 32))
def test_chunks_are_the_body_in_order_and_only_the_last_is_final(pieces: list[bytes], size: int) -> None:
    body = b"".join(pieces)
    if not body:
        with pytest.raises(BodyMissing):
            asyncio.run(collect(read_chunks(request(pieces), size, 1000)))
        return
    chunks = asyncio.run(collect(read_chunks(request(pieces), size, 1000)))
    assert b"".join(data for _, data, _ in chunks) == body
    assert [offset for offset, _, _ in chunks] == list(range(0, len(body), size))
    assert all(len(data) == size for _, data, _ in chunks[:-1])
    assert [final for _, _, final in chunks] == [False] * (len(chunks) - 1) + [True]


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=12), st.integers(0, 300))
def test_nothing_over_the_limit_is_handed_out(pieces: list[bytes], limit: int) -> None:
    size = sum(map(len, pieces))
    if size > limit:
        with pytest.raises(BodyTooLarge):
            asyncio.run(read_body(request(pieces), limit))
        with pytest.raises(BodyTooLarge):
            asyncio.run(collect(read_chunks(request(pieces), 16, limit)))
    else:
        assert asyncio.run(read_body(request(pieces), limit)) == b"".join(pieces)


@pytest.mark.parametrize("media_type", ["application/json", "Application/JSON; charset=utf-8", " application/json "])
def test_media_type_is_compared_without_parameters(media_type: str) -> None:
    check_media_type(request([], media_type), "application/json")


@pytest.mark.parametrize(
    "media_type", ["", "text/json", "application/json5", "x application/json", "a;application/json"]
)
def test_other_media_types_are_refused(media_type: str) -> None:
    with pytest.raises(MediaTypeUnsupported):
        check_media_type(request([], media_type), "application/json")
