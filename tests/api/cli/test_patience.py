import asyncio
from typing import Any

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from api.cli.patience import TimedProtocol


class Wire(asyncio.Transport):
    """A transport that only knows whether it was closed."""

    closed = False

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


async def wait(scope: Any, receive: Any, send: Any) -> None:
    """An application that answers nobody."""
    assert scope and receive and send
    await asyncio.sleep(0.3)


@pytest.mark.req("SD-4", "T19")
@pytest.mark.parametrize(
    ("data", "closed"),
    [
        (b"", True),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", False),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx", False),
    ],
)
def test_only_the_head_is_timed(data: bytes, closed: bool) -> None:
    async def run() -> bool:
        config = Config(wait, timeout_keep_alive=1, log_config=None, lifespan="off")
        config.load()
        wire, protocol = Wire(), TimedProtocol(config, ServerState(), {})
        vars(protocol)["timeout_keep_alive"] = 0.05  # a whole second would be long for a test
        protocol.connection_made(wire)
        for octet in data:
            protocol.data_received(bytes([octet]))
        await asyncio.sleep(0.2)
        found = wire.closed
        protocol.connection_lost(None)
        await asyncio.sleep(0.3)
        return found

    assert asyncio.run(run()) is closed
