"""The socket: who is let in, and whose it is."""

import asyncio
import os
import socket
import stat
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ceremonies import commands
from ceremonies.commands import HealthShown, Problem, Request
from ceremonies.frames import encode_frame
from ceremonies.server import Server, peer_uid
from tests.ceremonies.sockets import HEALTH, receive, send, serve
from tests.world import World


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_socket_of_a_keyroom_that_took_over_stays(genesis_world: World) -> None:
    """A keyroom that lost its database may still be ending while the next one listens in its place."""

    async def run() -> None:
        path = genesis_world.path / "keyroom.sock"
        old, new = (Server(genesis_world.desk, path, ()) for _ in range(2))
        await old.start()
        await new.start()
        await old.stop()
        reader, writer = await send(path, encode_frame(HEALTH))
        assert (await receive(reader)).id == 1
        writer.close()
        await new.stop()
        assert not path.exists()

    asyncio.run(run())


def test_a_request_is_answered_and_the_socket_is_private(genesis_world: World) -> None:
    async def use(path: Path) -> None:
        assert mode_of(path) == 0o660
        reader, writer = await send(path, encode_frame(HEALTH))
        answer = await receive(reader)
        assert answer.id == 1
        assert isinstance(answer.result, HealthShown)
        writer.close()

    (genesis_world.path / "keyroom.sock").touch()  # what a crash left behind
    serve(genesis_world, use)
    assert not (genesis_world.path / "keyroom.sock").exists()


@pytest.mark.req("AZ-5")
def test_a_stranger_is_not_served(genesis_world: World) -> None:
    async def run() -> None:
        path = genesis_world.path / "keyroom.sock"
        server = Server(genesis_world.desk, path, ())
        server._uids = {os.getuid() + 1}  # another user's socket: tests have one user only
        await server.start()
        with capture_logs() as logged:
            reader, writer = await send(path, b"")
            assert await receive(reader) is None
        assert [(entry["event"], entry["uid"]) for entry in logged] == [("peer refused", os.getuid())]
        writer.close()
        await server.stop()

    asyncio.run(run())


def test_the_kernel_names_the_peer() -> None:
    async def run() -> None:
        left, right = socket.socketpair(socket.AF_UNIX)
        _, writer = await asyncio.open_unix_connection(sock=left)
        assert peer_uid(writer) == os.getuid()
        writer.close()
        await writer.wait_closed()
        right.close()

    asyncio.run(run())


@pytest.mark.req("AZ-3")
def test_the_api_user_is_not_local(genesis_world: World) -> None:
    """Only the keyroom's own uid may ask local commands; `_answer` hands on what `_serve` found."""

    async def use(path: Path) -> None:
        reader, writer = await send(path, encode_frame(Request(3, commands.ShowCeremony("genesis"))))
        assert isinstance((await receive(reader)).result, commands.CeremonyShown)
        writer.close()

    serve(genesis_world, use)
    request = Request(3, commands.ShowCeremony("genesis"))
    answer = asyncio.run(genesis_world.desk.answer(request, local=False))
    assert isinstance(answer, Problem)
    assert answer.code == "token-missing"
