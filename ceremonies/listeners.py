"""Where the keyroom is asked, and that in production nobody asks as the keyroom's own user."""

import os
from collections.abc import Iterable
from pathlib import Path

import structlog

from ceremonies.desk import Desk
from ceremonies.errors import KeyroomError
from ceremonies.remotes import RemoteServer
from ceremonies.room import Room
from ceremonies.server import Server
from ceremonies.settings import KeyroomSettings, SettingsInvalid, load_settings

log = structlog.get_logger()


class UnsafeProduction(KeyroomError):
    """A setting or a token that production does not allow."""

    code = "unsafe-production"


def check_peers(settings: KeyroomSettings) -> None:
    """In production the API runs as another user, neither the keyroom's own nor root, or elsewhere. Raises
    UnsafeProduction.
    """
    if settings.mode != "production":
        return
    if os.getuid() in settings.peer_uids or not (settings.peer_uids or settings.remote):
        raise UnsafeProduction("the API has the keyroom's uid", hint="run it as another user, named in peer_uids")
    if 0 in settings.peer_uids:
        raise UnsafeProduction("the API runs as root (uid 0)", hint="run it as a user of its own, named in peer_uids")


def open_servers(desk: Desk, room: Room) -> list[Server | RemoteServer]:
    """Where the keyroom is asked: its socket, and with [remote] an address. Raises TlsMisconfigured."""
    settings = room.settings
    servers: list[Server | RemoteServer] = [Server(desk, settings.socket, settings.peer_uids)]
    if settings.remote is not None:
        apart = settings.mode == "production"
        servers.append(RemoteServer(desk, settings.remote, room.surroundings.now_us, apart=apart))
    return servers


def reread_peers(servers: Iterable[Server | RemoteServer], path: Path) -> None:
    """Let in over TLS whom the settings file lists by now, and nobody when [remote] is gone. Nothing else of the file
    comes into use; one that cannot be read changes nothing.
    """
    try:
        remote = load_settings(path).remote
    except SettingsInvalid as error:
        log.error("settings cannot be read again, the peers of before are let in", why=str(error))
        return
    peers = remote.peers if remote is not None else ()
    for server in servers:
        if isinstance(server, RemoteServer):
            server.admit(peers)
            log.warning("peers were read again", peers=peers)
