"""Where the keyroom listens, and who may not be the API in production."""

import os
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from ceremonies.listeners import UnsafeProduction, check_peers, open_servers, reread_peers
from ceremonies.remotes import RemoteServer
from ceremonies.server import Server
from ceremonies.settings import KeyroomSettings, RemotePlace
from ceremonies.tls import TlsMisconfigured
from tests.ceremonies.authorities import Authority
from tests.ceremonies.test_settings import GOOD
from tests.world import World


def production(settings: KeyroomSettings, *uids: int) -> KeyroomSettings:
    return msgspec.structs.replace(settings, mode="production", peer_uids=uids)


@pytest.mark.req("HS-6")
def test_production_serves_no_root(genesis_template: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    settings = genesis_template.settings()
    for uids in ((0,), (0, 1001)):
        with pytest.raises(UnsafeProduction, match="root"):
            check_peers(production(settings, *uids))
    check_peers(production(settings, 1001, 1002))
    check_peers(settings)


def place(path: Path) -> RemotePlace:
    files = Authority(path / "ca").issue("keyroom.example")
    return RemotePlace("127.0.0.1:0", files.certificate, files.key, files.ca, ("dns:api.example",))


@pytest.mark.req("HS-6")
def test_production_without_an_api_on_this_machine(genesis_template: World, tmp_path: Path) -> None:
    """The API is elsewhere: no uid needs to be named, and what is named is still no root and not the keyroom."""
    settings = msgspec.structs.replace(genesis_template.settings(), remote=place(tmp_path))
    check_peers(production(settings))
    for uid in (0, os.getuid()):
        with pytest.raises(UnsafeProduction):
            check_peers(production(settings, uid))


def test_the_keyroom_listens_elsewhere_only_when_told(genesis_world: World, tmp_path: Path) -> None:
    room = genesis_world.room
    assert [type(server) for server in open_servers(genesis_world.desk, room)] == [Server]
    room.settings = msgspec.structs.replace(room.settings, remote=place(tmp_path))
    assert [type(server) for server in open_servers(genesis_world.desk, room)] == [Server, RemoteServer]
    (tmp_path / "ca" / "keyroom.example.key").chmod(0o644)
    with pytest.raises(TlsMisconfigured):
        open_servers(genesis_world.desk, room)


def test_the_list_of_peers_is_read_again_and_nothing_else(
    genesis_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room, file = genesis_world.room, tmp_path / "keyroom.toml"
    room.settings = msgspec.structs.replace(room.settings, remote=place(tmp_path))
    servers, admitted = open_servers(genesis_world.desk, room), list[tuple[str, ...]]()
    monkeypatch.setattr(RemoteServer, "admit", lambda _, peers: admitted.append(tuple(peers)))
    remote = '[remote]\nlisten = "x:1"\ncertificate = "c"\nkey = "k"\nca = "a"\npeers = ["dns:new.example"]\n'
    for text in (GOOD + remote, GOOD + remote.replace("dns:", ""), GOOD):
        file.write_text(text)
        with capture_logs() as logged:
            reread_peers(servers, file)
        assert len(logged) == 1
    assert admitted == [("dns:new.example",), ()], "a file that is wrong changes nothing, no list lets nobody in"
