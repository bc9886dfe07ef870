"""The socket: who is let in, what is dropped, what happens at the end."""

import asyncio
import os
import socket
import stat
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from ceremonies import commands
from ceremonies import connections as module
from ceremonies.client import KeyroomClient
from ceremonies.commands import AnyResult, HealthShown, Problem, Request
from ceremonies.connections import CONNECTIONS, OPEN_REQUESTS
from ceremonies.desk import Caller, Desk
from ceremonies.frames import REQUEST_LIMIT, decode_answer, encode_frame, read_frame
from ceremonies.process import handlers
from ceremonies.server import Server, peer_uid
from tests.world import World

Use = Callable[[Path], Awaitable[None]]


def serve(world: World, use: Use, desk: Desk | None = None) -> None:
    """Serve a world's desk while `use` runs."""

    async def run() -> None:
        server = Server(desk or world.desk, world.path / "keyroom.sock", ())
        await server.start()
        try:
            await use(world.path / "keyroom.sock")
        finally:
            await server.stop()

    asyncio.run(run())


async def send(path: Path, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(data)
    return reader, writer


async def receive(reader: asyncio.StreamReader) -> Any:
    """The next answer, or None when the connection ended."""
    body = await asyncio.wait_for(read_frame(reader, 1 << 24), 5)
    return None if body is None else decode_answer(body)


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


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


HEALTH = Request(1, commands.ShowHealth())


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
