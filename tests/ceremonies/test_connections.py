"""Connections: what is dropped, what a peer may have under way, what happens at the end."""

import asyncio
import struct
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from ceremonies import commands
from ceremonies import connections as module
from ceremonies.client import KeyroomClient
from ceremonies.commands import AnyResult, HealthShown, Request
from ceremonies.connections import CONNECTIONS, OPEN_REQUESTS
from ceremonies.desk import Caller, Desk
from ceremonies.frames import REQUEST_LIMIT, encode_frame
from ceremonies.handlers import handlers
from ceremonies.server import Server
from tests.ceremonies.sockets import HEALTH, receive, send, serve
from tests.world import World


@pytest.mark.req("T19")
@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">I", REQUEST_LIMIT + 1),
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack(">I", 7) + b"garbage",
        struct.pack(">I", 200_007) + b"\x82\xa2id\x01\xa1x" + b"\x91" * 200_000,
    ],
    ids=["oversized", "http", "garbage", "nested"],
)
def test_what_is_no_frame_drops_its_connection_and_no_other(genesis_world: World, data: bytes) -> None:
    async def use(path: Path) -> None:
        with capture_logs() as logged:
            good, kept = await send(path, encode_frame(HEALTH))
            await receive(good)
            bad, dropped = await send(path, data)
            assert await receive(bad) is None
            kept.write(encode_frame(HEALTH))
            assert (await receive(good)).id == 1
        assert [entry["event"] for entry in logged] == ["connection dropped"]
        kept.close()
        dropped.close()

    serve(genesis_world, use)


def test_a_bad_request_is_told_so(genesis_world: World) -> None:
    async def use(path: Path) -> None:
        body = msgspec.msgpack.encode({"id": 5, "command": {"do": "sign-anything"}})
        reader, writer = await send(path, struct.pack(">I", len(body)) + body)
        answer = await receive(reader)
        assert (answer.id, answer.result.code) == (5, "frame-invalid")
        writer.close()

    serve(genesis_world, use)


def slow_desk(world: World, gate: asyncio.Event, started: list[int]) -> Desk:
    """A desk whose `show-health` waits for the gate."""

    async def wait(_command: Any, _caller: Caller) -> AnyResult:
        started.append(1)
        await gate.wait()
        return commands.KeysListed(())

    return Desk(world.room, {**handlers(world.room), commands.ShowHealth: wait})


@pytest.mark.req("T19")
def test_many_requests_are_under_way_and_more_wait(genesis_world: World) -> None:
    async def run() -> None:
        gate, started = asyncio.Event(), list[int]()
        path = genesis_world.path / "keyroom.sock"
        server = Server(slow_desk(genesis_world, gate, started), path, ())
        await server.start()
        count = OPEN_REQUESTS + 40
        frames = b"".join(encode_frame(Request(number, commands.ShowHealth())) for number in range(count))
        reader, writer = await send(path, frames)
        await asyncio.sleep(0.3)
        assert len(started) == OPEN_REQUESTS
        gate.set()
        assert sorted([(await receive(reader)).id for _ in range(count)]) == list(range(count))
        writer.close()
        await server.stop()

    asyncio.run(run())


def test_a_stop_answers_what_is_under_way(genesis_world: World) -> None:
    async def run() -> None:
        gate, started = asyncio.Event(), list[int]()
        path = genesis_world.path / "keyroom.sock"
        server = Server(slow_desk(genesis_world, gate, started), path, ())
        await server.start()
        reader, writer = await send(path, encode_frame(HEALTH))
        await asyncio.sleep(0.2)
        assert started
        stopping = asyncio.create_task(server.stop())
        await asyncio.sleep(0.05)
        gate.set()
        assert (await receive(reader)).id == 1
        assert await receive(reader) is None
        await stopping
        writer.close()

    asyncio.run(run())


def test_a_peer_that_left_harms_nobody(genesis_world: World) -> None:
    async def use(path: Path) -> None:
        for _ in range(5):
            _, writer = await send(path, encode_frame(HEALTH) * 20)
            writer.transport.abort()
        client = KeyroomClient(path)
        assert isinstance(await client.ask(commands.ShowHealth()), HealthShown)
        await client.close()

    serve(genesis_world, use)


@pytest.mark.req("T19")
def test_many_connections_of_one_uid_share_one_limit(genesis_world: World) -> None:
    """Requests under way are counted for the uid; a slot that is given back serves another connection."""

    async def run() -> None:
        gate, started = asyncio.Event(), list[int]()
        path = genesis_world.path / "keyroom.sock"
        server = Server(slow_desk(genesis_world, gate, started), path, ())
        await server.start()
        each = OPEN_REQUESTS // 8
        frames = b"".join(encode_frame(Request(number, commands.ShowHealth())) for number in range(each))
        peers = [await send(path, frames) for _ in range(10)]
        await asyncio.sleep(0.3)
        assert len(started) == OPEN_REQUESTS
        gate.set()
        for reader, writer in peers:
            assert sorted([(await receive(reader)).id for _ in range(each)]) == list(range(each))
            writer.close()
        assert len(started) == 10 * each
        await server.stop()

    asyncio.run(run())


@pytest.mark.req("T19")
def test_a_uid_has_so_many_connections_and_no_more(genesis_world: World) -> None:
    async def use(path: Path) -> None:
        with capture_logs() as logged:
            kept = [await send(path, b"") for _ in range(CONNECTIONS)]
            surplus, refused = await send(path, b"")
            assert await receive(surplus) is None
        assert [entry["event"] for entry in logged] == ["connection refused"]
        refused.close()
        reader, writer = kept[0]
        writer.write(encode_frame(HEALTH))
        assert (await receive(reader)).id == 1
        writer.close()
        await asyncio.sleep(0.1)
        again, fresh = await send(path, encode_frame(HEALTH))
        assert (await receive(again)).id == 1
        for _, left in [*kept[1:], (again, fresh)]:
            left.close()

    serve(genesis_world, use)


@pytest.mark.req("T19")
def test_bodies_that_do_not_come_give_their_slots_back(genesis_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slot is taken before the body is read, and is not held for ever by who sends a header and no more."""
    monkeypatch.setattr(module, "OPEN_REQUESTS", 2)
    monkeypatch.setattr(module, "BODY_S", 0.4)

    async def use(path: Path) -> None:
        with capture_logs() as logged:
            slow = [await send(path, struct.pack(">I", 1000) + b"part") for _ in range(2)]
            await asyncio.sleep(0.1)
            reader, writer = await send(path, encode_frame(HEALTH))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(waiting := asyncio.create_task(receive(reader))), 0.1)
            assert (await waiting).id == 1
            assert [await receive(stalled) for stalled, _ in slow] == [None, None]
        assert [entry["event"] for entry in logged] == ["connection dropped"] * 2
        for _, left in [*slow, (reader, writer)]:
            left.close()

    serve(genesis_world, use)


@pytest.mark.req("T19")
def test_who_takes_no_answers_loses_its_connection(genesis_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OPEN_REQUESTS", 2)
    monkeypatch.setattr(module, "BODY_S", 0.3)

    async def answer(_command: Any, _caller: Caller) -> AnyResult:
        return commands.TileRead(bytes(4 << 20))

    large = Desk(genesis_world.room, {**handlers(genesis_world.room), commands.ShowHealth: answer})

    async def use(path: Path) -> None:
        deaf = [await send(path, encode_frame(HEALTH)) for _ in range(2)]
        await asyncio.sleep(0.1)
        reader, writer = await send(path, encode_frame(HEALTH))
        assert (await receive(reader)).id == 1
        for _, left in [*deaf, (reader, writer)]:
            left.close()

    serve(genesis_world, use, large)
