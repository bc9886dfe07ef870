"""A body within its limit, and one beyond it."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from ceremonies.answers import CHUNK, read_body


class Endless(httpx.AsyncByteStream):
    """A body that never ends. `given`: how much of it was asked for."""

    def __init__(self) -> None:
        self.given = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            self.given += CHUNK
            yield bytes(CHUNK)


@pytest.mark.parametrize(
    ("size", "limit", "whole"), [(0, 0, True), (10, 10, True), (11, 10, False), (9000, 9000, True)]
)
def test_a_body_is_read_up_to_its_limit(size: int, limit: int, whole: bool) -> None:
    class Sent(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield bytes(size)

    found = asyncio.run(read_body(httpx.Response(200, stream=Sent()), limit))
    assert found == (bytes(size) if whole else None)


def test_no_more_is_asked_for_than_shows_that_it_is_too_much() -> None:
    body = Endless()
    assert asyncio.run(read_body(httpx.Response(200, stream=body), 3 * CHUNK)) is None
    assert body.given == 4 * CHUNK
