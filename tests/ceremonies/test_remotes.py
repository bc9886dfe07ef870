"""Mutual TLS to the keyroom: who is let in, what is refused and recorded, and that strangers cannot fill it."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtensionOID
from structlog.testing import capture_logs

from ceremonies import commands
from ceremonies import remotes as module
from ceremonies.client import KeyroomAddress, KeyroomClient, KeyroomDown, Refused
from ceremonies.commands import HealthShown, Request
from ceremonies.connections import CONNECTIONS
from ceremonies.frames import decode_answer, encode_frame, read_frame
from ceremonies.remotes import RemoteServer, is_here
from ceremonies.settings import RemotePlace
from ceremonies.tls import TlsFiles, TlsMisconfigured, make_context
from tests.ceremonies.authorities import CLIENT, SERVER, Authority, spki_of
from tests.ceremonies.examples import read_leaves
from tests.world import World

HEALTH = encode_frame(Request(1, commands.ShowHealth()))
KEYROOM, API = "keyroom.example", "api-1.example"


class Wires:
    """A keyroom that listens on loopback, and the certificates of it and of its peers."""

    def __init__(self, world: World, path: Path) -> None:
        self.world = world
        self.authority = Authority(path / "ca")
        self.files = self.authority.issue(KEYROOM, SERVER)
        self.api = self.authority.issue(API, CLIENT)
        self.peers: tuple[str, ...] = (f"dns:{API}",)
        self.apart = False
        self.listen = "127.0.0.1:0"
        self.port = 0

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[RemoteServer]:
        place = RemotePlace(self.listen, self.files.certificate, self.files.key, self.files.ca, self.peers)
        server = RemoteServer(self.world.desk, place, self.world.around.now_us, apart=self.apart)
        await server.start()
        self.port = server.port
        try:
            yield server
        finally:
            await server.stop()

    def client(self, files: TlsFiles | None = None, name: str = KEYROOM) -> KeyroomClient:
        return KeyroomClient(KeyroomAddress(f"127.0.0.1:{self.port}", name, files or self.api), timeout=5)

    async def connect(self, files: TlsFiles | None = None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = make_context(files or self.api, server=False)
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=context, server_hostname=KEYROOM)

    def recorded(self, before: int) -> list[dict[str, Any]]:
        """Entries since an index, with what the desk has gathered."""
        asyncio.run(self.world.desk.record_suppressed())
        return read_leaves(self.world, before)

    def run(self, use: Callable[[RemoteServer], Awaitable[None]]) -> None:
        async def run() -> None:
            async with self.serving() as server:
                await use(server)

        asyncio.run(run())


@pytest.fixture
def wires(genesis_world: World, tmp_path: Path) -> Wires:
    return Wires(genesis_world, tmp_path)


@pytest.mark.req("AZ-5")
@pytest.mark.parametrize("by", ["name", "key"])
def test_a_listed_peer_is_answered(wires: Wires, by: str) -> None:
    wires.peers = (f"spki:{spki_of(wires.api)}",) if by == "key" else wires.peers

    async def use(_: RemoteServer) -> None:
        client = wires.client()
        answers = await asyncio.gather(*(client.ask(commands.ShowHealth()) for _ in range(20)))
        assert all(isinstance(answer, HealthShown) for answer in answers)
        await client.close()

    wires.run(use)


@pytest.mark.req("AZ-3")
def test_nothing_local_is_answered(wires: Wires) -> None:
    """Also not to the keyroom's own user: what counts is the way it came."""

    async def use(_: RemoteServer) -> None:
        client = wires.client()
        for command in (commands.OpenGenesis("genesis-2", b"{}"), commands.ListKeys(), commands.ExportJournal()):
            with pytest.raises(Refused) as caught:
                await client.ask(command)
            assert caught.value.problem.code == "token-missing"
        with pytest.raises(Refused) as caught:
            await client.ask(commands.OpenGenesis("genesis-2", b"{}"), token=wires.world.role_token("officer"))
        assert caught.value.problem.code == "role-refused"
        await client.close()

    wires.run(use)


def strangers(wires: Wires, path: Path) -> dict[str, tuple[TlsFiles, str]]:
    """Files of who must not be let in, and what is recorded of them."""
    other = Authority(path / "other", "Mallory TLS")
    return {
        "wrong CA": (other.issue(API, CLIENT, ca=wires.authority.ca), "certificate refused"),
        "same CA name, other key": (
            Authority(path / "twin").issue(API, CLIENT, ca=wires.authority.ca),
            "certificate refused",
        ),
        "not on the list": (wires.authority.issue("api-2.example", CLIENT), "is not on the list"),
        "expired": (wires.authority.issue("old.example", CLIENT, days=-0.01), "certificate has expired"),
        "not yet valid": (wires.authority.issue("new.example", CLIENT, age=-0.01), "certificate is not yet valid"),
        "a server's": (wires.authority.issue("server.example", SERVER), "certificate refused"),
    }


@pytest.mark.req("AZ-5", "SD-4")
@pytest.mark.parametrize(
    "kind", ["wrong CA", "same CA name, other key", "not on the list", "expired", "not yet valid", "a server's"]
)
def test_a_stranger_is_refused_and_recorded(wires: Wires, tmp_path: Path, kind: str) -> None:
    files, why = strangers(wires, tmp_path)[kind]
    before = wires.world.room.ledger.journal.size

    async def use(_: RemoteServer) -> None:
        client = wires.client(files)
        with pytest.raises(KeyroomDown):
            await client.ask(commands.ShowHealth())
        await client.close()

    with capture_logs() as logged:
        wires.run(use)
    assert [why in entry["why"] for entry in logged if entry["event"] == "peer refused"] == [True], logged
    (entry,) = wires.recorded(before)
    assert (entry["type"], entry["op"]["what"]["count"], entry["actor"]["src"]) == ("suppressed", 1, "127.0.0.1")


@pytest.mark.req("T19")
def test_a_certificate_that_the_parser_does_not_know_is_refused_and_its_connection_ends(wires: Wires) -> None:
    """A subject alternative name of the kind x400Address, which TLS takes and the library does not read."""
    unread = bytes.fromhex("3002a300")
    wires.authority.alternative = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, unread)
    files, before = wires.authority.issue("odd.example", CLIENT), wires.world.room.ledger.journal.size

    async def use(_: RemoteServer) -> None:
        reader, writer = await wires.connect(files)
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()

    wires.run(use)
    (entry,) = wires.recorded(before)
    assert entry["type"] == "suppressed"


@pytest.mark.req("AZ-5")
def test_a_peer_that_is_taken_off_the_list_is_out_at_once_and_others_stay(wires: Wires) -> None:
    other = wires.authority.issue("api-2.example", CLIENT)
    wires.peers = (f"dns:{API}", "dns:api-2.example")

    async def use(server: RemoteServer) -> None:
        (gone, its), (kept, writer) = await wires.connect(), await wires.connect(other)
        for one in (its, writer):
            one.write(HEALTH)
        assert [await receive(gone), await receive(kept)] == [1, 1]
        server.admit(("dns:api-2.example",))
        assert await receive(gone) is None
        client = wires.client()
        with pytest.raises(KeyroomDown):
            await client.ask(commands.ShowHealth())
        await client.close()
        writer.write(HEALTH)
        assert await receive(kept) == 1
        for one in (its, writer):
            one.close()

    wires.run(use)


async def knock(wires: Wires, kind: str) -> bytes:
    """What comes back for something that is no mutual TLS 1.3."""
    if kind == "plaintext":
        reader, writer = await asyncio.open_connection("127.0.0.1", wires.port)
        writer.write(HEALTH)
    else:
        context = make_context(wires.api, server=False)
        if kind == "TLS 1.2":
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
        else:
            context = ssl.create_default_context(cafile=wires.authority.ca)
        try:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", wires.port, ssl=context, server_hostname=KEYROOM
            )
        except (ssl.SSLError, ConnectionError):
            return b""
        writer.write(HEALTH)
    try:
        return await asyncio.wait_for(reader.read(), 5)
    except (ssl.SSLError, ConnectionError):
        return b""
    finally:
        writer.close()


@pytest.mark.req("AZ-5", "SD-4")
@pytest.mark.parametrize("kind", ["plaintext", "TLS 1.2", "no client certificate"])
def test_what_is_no_mutual_tls_gets_no_answer(wires: Wires, kind: str) -> None:
    before = wires.world.room.ledger.journal.size

    async def use(_: RemoteServer) -> None:
        back = await knock(wires, kind)
        assert back in (b"", back[:7])  # nothing, or an alert of TLS

    wires.run(use)
    (entry,) = wires.recorded(before)
    assert entry["type"] == "suppressed"


def test_the_keyroom_must_have_its_name_and_authority(wires: Wires, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other", "Mallory TLS")
    believing = TlsFiles(wires.api.certificate, wires.api.key, other.ca)

    async def use(_: RemoteServer) -> None:
        for client in (wires.client(name="keyroom.evil.example"), wires.client(believing)):
            with pytest.raises(KeyroomDown, match="certificate verify failed"):
                await client.ask(commands.ShowHealth())
            await client.close()

    wires.run(use)


@pytest.mark.req("T19", "SD-4")
def test_half_open_connections_are_bounded_and_end(wires: Wires, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood from one address leaves room for others, ends by itself, and is one entry."""
    monkeypatch.setattr(module, "HANDSHAKE_S", 0.5)
    before = wires.world.room.ledger.journal.size
    each = module.HANDSHAKES_EACH

    async def use(server: RemoteServer) -> None:
        flood = [await asyncio.open_connection("127.0.0.1", wires.port) for _ in range(3 * each)]
        await asyncio.sleep(0.1)
        assert server._handshakes.total() == each
        reader, writer = await from_address("127.0.0.2", wires)
        writer.write(HEALTH)
        assert await receive(reader) == 1
        assert await asyncio.wait_for(asyncio.gather(*(half.read() for half, _ in flood)), 5) == [b""] * (3 * each)
        assert server._handshakes.total() == 0
        assert not server._handshakes
        for _, half in [*flood, (reader, writer)]:
            half.close()

    wires.run(use)
    entries = wires.recorded(before)
    assert [(entry["actor"]["src"], entry["op"]["what"]["count"]) for entry in entries] == [("127.0.0.1", 3 * each)]


async def from_address(address: str, wires: Wires) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context = make_context(wires.api, server=False)
    return await asyncio.open_connection(
        "127.0.0.1", wires.port, ssl=context, server_hostname=KEYROOM, local_addr=(address, 0)
    )


async def receive(reader: asyncio.StreamReader) -> int | None:
    body = await asyncio.wait_for(read_frame(reader, 1 << 24), 5)
    return None if body is None else decode_answer(body).id


@pytest.mark.req("T19")
def test_all_handshakes_together_are_bounded(wires: Wires, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HANDSHAKES", 4)

    async def use(server: RemoteServer) -> None:
        flood = [
            await asyncio.open_connection("127.0.0.1", wires.port, local_addr=(f"127.0.0.{number}", 0))
            for number in range(2, 9)
        ]
        await asyncio.sleep(0.1)
        assert server._handshakes.total() == 4
        for _, half in flood:
            half.close()

    wires.run(use)


@pytest.mark.req("T19")
def test_a_peer_has_so_many_connections_and_no_more(wires: Wires) -> None:
    async def use(_: RemoteServer) -> None:
        kept = []
        for _number in range(CONNECTIONS):
            reader, writer = await wires.connect()
            writer.write(HEALTH)
            assert await receive(reader) == 1
            kept.append(writer)
        surplus, refused = await wires.connect()
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            assert await receive(surplus) is None
        for writer in [*kept, refused]:
            writer.close()

    wires.run(use)


def test_a_connection_lasts_so_long_and_no_longer(wires: Wires, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no longer than the certificate."""
    monkeypatch.setattr(module, "LIFE_S", 0.3)

    async def use(_: RemoteServer) -> None:
        reader, writer = await wires.connect()
        writer.write(HEALTH)
        assert await receive(reader) == 1
        assert await receive(reader) is None
        writer.close()

    wires.run(use)
    monkeypatch.undo()
    wires.api = wires.authority.issue(API, CLIENT, days=2 / 86400)
    wires.run(use)


def test_certificates_are_renewed_without_a_restart(wires: Wires) -> None:
    async def use(_: RemoteServer) -> None:
        seen = []
        for _turn in range(2):
            reader, writer = await wires.connect()
            seen.append(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
            writer.write(HEALTH)
            assert await receive(reader) == 1
            writer.close()
            wires.authority.issue(KEYROOM, SERVER)
        assert seen[0] != seen[1]

    wires.run(use)


@pytest.mark.req("AZ-3")
def test_in_production_a_peer_of_this_machine_is_refused(wires: Wires) -> None:
    """There the uid rule counts: else a process of the keyroom's own user could be the API."""
    wires.apart = True

    async def use(_: RemoteServer) -> None:
        client = wires.client()
        with pytest.raises(KeyroomDown):
            await client.ask(commands.ShowHealth())
        await client.close()

    with capture_logs() as logged:
        wires.run(use)
    assert "a peer on this machine" in [entry["why"] for entry in logged if entry["event"] == "peer refused"]


@pytest.mark.parametrize(
    ("source", "ours", "here"),
    [
        ("10.0.0.7", "10.0.0.5", False),
        ("10.0.0.5", "10.0.0.5", True),
        ("127.0.0.9", "127.0.0.1", True),
        ("::1", "::1", True),
        ("fe80::1%eth0", "fe80::2%eth0", False),
    ],
)
def test_which_peer_is_of_this_machine(source: str, ours: str, here: bool) -> None:
    assert is_here(source, ours) is here


def test_an_address_that_is_taken_is_told(wires: Wires) -> None:
    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            wires.listen = f"127.0.0.1:{taken.getsockname()[1]}"
            with pytest.raises(TlsMisconfigured, match="cannot listen"):
                async with wires.serving():
                    pass

    asyncio.run(run())


def test_a_stop_answers_what_is_under_way_and_gives_handshakes_up(wires: Wires) -> None:
    async def run() -> None:
        async with wires.serving():
            half, waiting = await asyncio.open_connection("127.0.0.1", wires.port)
            reader, writer = await wires.connect()
            writer.write(HEALTH)
            assert await receive(reader) == 1
        assert await asyncio.wait_for(half.read(), 5) == b""
        assert await receive(reader) is None
        waiting.close()
        writer.close()

    asyncio.run(run())
