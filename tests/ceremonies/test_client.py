"""The client: one connection, many requests, clear words when the keyroom is away."""

import asyncio
import struct
from pathlib import Path

import pytest

from ceremonies import client as module
from ceremonies import commands
from ceremonies.client import KeyroomAddress, KeyroomClient, KeyroomDown, Refused, ask_once
from ceremonies.commands import Answer, HealthShown, Problem
from ceremonies.frames import FrameInvalid, encode_frame
from ceremonies.remotes import RemoteServer
from ceremonies.server import Server
from ceremonies.settings import RemotePlace
from tests.ceremonies.authorities import CLIENT, SERVER, Authority
from tests.world import World


async def start_server(world: World) -> Server:
    server = Server(world.desk, world.path / "keyroom.sock", ())
    await server.start()
    return server


def test_many_requests_share_one_connection(genesis_world: World) -> None:
    async def run() -> None:
        server = await start_server(genesis_world)
        client = KeyroomClient(genesis_world.path / "keyroom.sock")
        asked = [client.ask(commands.ShowHealth()) for _ in range(100)]
        asked += [client.ask(commands.ListCertificates()) for _ in range(100)]
        answers = await asyncio.gather(*asked)
        assert [type(answer) for answer in answers] == [HealthShown] * 100 + [commands.DocumentsListed] * 100
        await client.close()
        await server.stop()

    asyncio.run(run())


def test_a_refusal_is_raised_with_its_problem(genesis_world: World) -> None:
    async def run() -> None:
        server = await start_server(genesis_world)
        client = KeyroomClient(genesis_world.path / "keyroom.sock")
        with pytest.raises(Refused, match="no ceremony nowhere") as caught:
            await client.ask(commands.ShowCeremony("nowhere"), token=genesis_world.role_token("officer"), source="x")
        assert caught.value.problem.code == "ceremony-unknown"
        await client.close()
        await server.stop()

    asyncio.run(run())


def test_a_keyroom_that_is_down_is_down(tmp_path: Path) -> None:
    async def run() -> None:
        client = KeyroomClient(tmp_path / "nobody.sock")
        for _ in range(2):
            with pytest.raises(KeyroomDown, match="No such file") as caught:
                await client.ask(commands.ShowHealth())
            assert "start it" in caught.value.hint
        await client.close()

    asyncio.run(run())


def test_the_client_comes_back_after_a_restart(genesis_world: World) -> None:
    async def run() -> None:
        server = await start_server(genesis_world)
        client = KeyroomClient(genesis_world.path / "keyroom.sock")
        assert isinstance(await client.ask(commands.ShowHealth()), HealthShown)
        await server.stop()
        with pytest.raises(KeyroomDown):
            await client.ask(commands.ShowHealth())
        server = await start_server(genesis_world)
        assert isinstance(await client.ask(commands.ShowHealth()), HealthShown)
        await client.close()
        await server.stop()

    asyncio.run(run())


async def serve_bytes(path: Path, data: bytes) -> asyncio.Server:
    """A peer that answers anything with these bytes and hangs up, or not when there are none."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        if data:
            writer.write(data)
            writer.close()
        else:
            await reader.read()
            writer.close()

    return await asyncio.start_unix_server(serve, path)


@pytest.mark.parametrize(
    "data",
    [struct.pack(">I", 1 << 31), struct.pack(">I", 3) + b"\xc1\xc1\xc1", struct.pack(">I", 9) + b"x"],
    ids=["oversized", "garbage", "cut"],
)
def test_a_broken_answer_is_no_answer(tmp_path: Path, data: bytes) -> None:
    async def run() -> None:
        server = await serve_bytes(tmp_path / "s", data)
        client = KeyroomClient(tmp_path / "s")
        with pytest.raises(KeyroomDown, match="connection closed"):
            await client.ask(commands.ShowHealth())
        await client.close()
        server.close()

    asyncio.run(run())


def test_an_answer_to_nobody_is_ignored(tmp_path: Path) -> None:
    async def run() -> None:
        answers = encode_frame(Answer(99, Problem("x", "x"))) + encode_frame(Answer(1, Problem("mine", "y")))
        server = await serve_bytes(tmp_path / "s", answers)
        client = KeyroomClient(tmp_path / "s")
        with pytest.raises(Refused) as caught:
            await client.ask(commands.ShowHealth())
        assert caught.value.problem.code == "mine"
        await client.close()
        server.close()

    asyncio.run(run())


def test_nobody_waits_for_ever(tmp_path: Path) -> None:
    async def run() -> None:
        server = await serve_bytes(tmp_path / "s", b"")
        client = KeyroomClient(tmp_path / "s", timeout=0.1)
        with pytest.raises(KeyroomDown, match="no answer in time"):
            await client.ask(commands.ShowHealth())
        await client.close()
        server.close()

    asyncio.run(run())


@pytest.mark.req("T19")
def test_a_request_that_is_too_large_is_not_sent(genesis_world: World) -> None:
    """The keyroom would drop the connection, and with it the requests of everybody else."""

    async def run() -> None:
        server = await start_server(genesis_world)
        client = KeyroomClient(genesis_world.path / "keyroom.sock")
        with pytest.raises(FrameInvalid, match="are allowed"):
            await client.ask(commands.SubmitReceipts((bytes(1 << 14),) * 256))
        assert isinstance(await client.ask(commands.ShowHealth()), HealthShown)
        await client.close()
        await server.stop()

    asyncio.run(run())


def test_ask_once_works_from_outside_a_loop(genesis_world: World) -> None:
    async def run() -> object:
        server = await start_server(genesis_world)
        try:
            return await asyncio.to_thread(ask_once, genesis_world.path / "keyroom.sock", commands.ShowHealth())
        finally:
            await server.stop()

    assert isinstance(asyncio.run(run()), HealthShown)
    with pytest.raises(KeyroomDown):
        ask_once(genesis_world.path / "keyroom.sock", commands.ShowHealth())


def test_a_connection_to_another_machine_is_replaced_in_time(
    genesis_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits on the old one is answered there; the new one shows a certificate that was renewed meanwhile."""
    authority = Authority(tmp_path / "ca")
    keyroom, api = authority.issue("keyroom.example", SERVER), authority.issue("api.example", CLIENT)
    peers = ("dns:api.example",)
    place = RemotePlace("127.0.0.1:0", keyroom.certificate, keyroom.key, keyroom.ca, peers)

    async def run() -> None:
        server = RemoteServer(genesis_world.desk, place, genesis_world.around.now_us, apart=False)
        await server.start()
        client = KeyroomClient(KeyroomAddress(f"127.0.0.1:{server.port}", "keyroom.example", api))
        await client.ask(commands.ShowHealth())
        first = client._line
        await client.ask(commands.ShowHealth())
        assert client._line is first
        monkeypatch.setattr(module, "RENEW_S", 0.0)
        answers = await asyncio.gather(*(client.ask(commands.ShowHealth()) for _ in range(30)))
        assert [type(answer) for answer in answers] == [HealthShown] * 30
        assert client._line is not first
        await asyncio.sleep(0.1)
        assert len(client._lines) == 1
        await client.close()
        await server.stop()

    asyncio.run(run())
