"""A real keyroom with soft keys in a thread, and the API in front of it as a real server."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx

from api.settings import ApiSettings
from ceremonies.public import Publisher
from ceremonies.server import Server
from tests.api.conftest import Served, serving
from tests.world import World


class House(NamedTuple):
    """A started world, and the API in front of it."""

    world: World
    served: Served

    def send(self, method: str, url: str, role: str = "", **arguments: Any) -> httpx.Response:
        """One request with a fresh token of a role."""
        token = {"Authorization": f"Bearer {self.world.role_token(role)}"} if role else {}
        headers = {**arguments.pop("headers", {}), **token}
        return self.served.http.request(method, url, headers=headers, **arguments)


@contextlib.contextmanager
def open_house(world: World) -> Iterator[House]:
    """Serve a started world until the block ends; then it is stopped."""
    settings = ApiSettings(socket=world.path / "keyroom.sock", public_dir=world.path / "public")
    loop, started, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def run() -> None:
        server = Server(world.desk, settings.socket, ())
        await server.start()
        await Publisher(world.room).publish()
        started.set()
        await stop.wait()
        await server.stop()
        await asyncio.sleep(0.05)

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    assert started.wait(60)
    try:
        with serving(settings) as served:
            yield House(world, served)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        loop.close()
        world.stop()
