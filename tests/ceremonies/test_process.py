"""The keyroom as a process: what it refuses to start with, how it runs, how it ends."""

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import msgspec
import pytest

from ceremonies import commands, process
from ceremonies.client import KeyroomDown, Refused, ask_once
from ceremonies.commands import AnyCommand, HealthShown
from ceremonies.journal import JournalForked
from ceremonies.jwks import JwksCache
from ceremonies.listeners import UnsafeProduction
from ceremonies.process import (
    build_room,
    make_tokens,
    open_strongbox,
    surroundings,
)
from ceremonies.public import Publisher
from ceremonies.settings import KeyroomSettings, load_settings
from ceremonies.store import Store, StoreLocked
from ceremonies.tables import EntryRow
from hsm.wire import HUNG
from tests.ceremonies.examples import write_sql
from tests.pki.log.building import WITNESSES
from tests.softhsm import find_module, make_token_dir
from tests.world import TOKENS, World, copy_world, soft_world

ROOT = Path(__file__).parents[2]
KEDGE = [sys.executable, "-c", "from api.cli.main import run; run()"]


def write_settings(path: Path) -> Path:
    """A settings file with PIN files for tokens that do not exist yet."""
    lines = [
        'origin = "kedge.example/journal"', 'node = "keyroom-1"', 'data = "data"', 'public = "public"',
        'socket = "keyroom.sock"', f'module = "{find_module()}"', 'roster_sha256 = ""', r'witnesses = "quorum none\n"',
    ]  # fmt: skip
    roles = {"kedge-main": ("oem-root", "device-ca"), "kedge-journal": ("journal",), "kedge-recovery": ("recovery",)}
    assert roles.keys() == TOKENS.keys()
    for label, held in roles.items():
        for kind in ("pin", "so-pin"):
            file = path / f"{label}.{kind}"
            file.touch(mode=0o600)
            file.write_text(secrets.token_hex(8))
        lines += [
            "[[tokens]]", f'label = "{label}"', f'pin_file = "{label}.pin"', f'so_pin_file = "{label}.so-pin"',
            f"roles = {list(held)}",
        ]  # fmt: skip
    file = path / "keyroom.toml"
    file.write_text("\n".join(lines) + "\n")
    return file


@contextmanager
def keyroom(path: Path, file: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A running `kedge keyroom`; it is killed when it does not end by itself."""
    environment = {**os.environ, **make_token_dir(path)}
    command = [*KEDGE, "keyroom", "--settings", str(file), *options]
    running = subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stderr=subprocess.PIPE)
    try:
        yield running
    finally:
        if running.poll() is None:
            running.kill()
        running.communicate()


def ask_when_up(socket: Path, command: AnyCommand, running: subprocess.Popen[str]) -> object:
    """The answer, as soon as the process listens."""
    for _ in range(300):
        try:
            return ask_once(socket, command)
        except KeyroomDown:
            assert running.poll() is None, running.communicate()[1]
            time.sleep(0.1)
    raise AssertionError("the keyroom does not come up")


def read_types(path: Path) -> list[str]:
    """The types of all entries of a keyroom that ended."""
    store = Store(f"sqlite:///{path / 'data' / 'kedge.db'}")
    types = [row["type"] for row in store.list(EntryRow, "seq")]
    store.close()
    return types


@pytest.mark.req("AU-4")
def test_a_keyroom_starts_answers_and_ends(tmp_path: Path) -> None:
    file = write_settings(tmp_path)
    with keyroom(tmp_path, file, "--make-tokens") as running:
        health = ask_when_up(tmp_path / "keyroom.sock", commands.ShowHealth(), running)
        assert isinstance(health, HealthShown)
        assert (health.ready, health.origin) == (False, "kedge.example/journal")
        with pytest.raises(Refused) as refused:
            ask_once(tmp_path / "keyroom.sock", commands.SuspendKey("journal", "a drill"))
        assert refused.value.problem.code == "token-missing"
        with keyroom(tmp_path, file) as second:
            _, said = second.communicate(timeout=60)
            assert second.returncode not in (0, HUNG)
            assert "another keyroom holds" in said
        running.send_signal(signal.SIGHUP)  # it reads peers again, and goes on
        assert isinstance(ask_once(tmp_path / "keyroom.sock", commands.ShowHealth()), HealthShown)
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=30) == 0
    types = read_types(tmp_path)
    assert types == ["log.start", "hsm.inventory", "suppressed", "log.stop"]
    assert not (tmp_path / "keyroom.sock").exists()
    with keyroom(tmp_path, file, "--make-tokens") as again:  # the tokens exist; nothing is made anew
        ask_when_up(tmp_path / "keyroom.sock", commands.ShowHealth(), again)
        again.kill()
        again.wait(timeout=30)
    assert read_types(tmp_path)[4:] == ["log.start", "hsm.inventory"]


def test_a_second_keyroom_on_one_database_does_not_start(genesis_world: World) -> None:
    other = World(genesis_world.path, genesis_world.strongbox, genesis_world.around)
    other.roster = genesis_world.roster
    with pytest.raises(StoreLocked, match="another keyroom"):
        other.start()
    genesis_world.stop()
    other.start().stop()


def test_a_failed_start_lets_everything_go(genesis_template: World, tmp_path: Path) -> None:
    world = copy_world(genesis_template, tmp_path / "world").start()
    write_sql(world, "UPDATE entry SET type = 'log.stop' WHERE seq = 5")
    world.stop()
    for _ in range(2):
        with pytest.raises(JournalForked):
            world.start()


@pytest.mark.req("T26")
def test_a_database_behind_the_published_checkpoint_does_not_start(genesis_world: World) -> None:
    """Somebody restored yesterday's backup; the world has seen today's checkpoint."""
    data = genesis_world.path / "data"
    genesis_world.stop()
    backup = {path.name: path.read_bytes() for path in data.iterdir() if path.is_file()}
    genesis_world.start()
    asyncio.run(genesis_world.open_order())
    asyncio.run(Publisher(genesis_world.room).publish())
    genesis_world.stop()
    for path in data.iterdir():
        if path.is_file():
            path.unlink()
    for name, content in backup.items():
        (data / name).write_bytes(content)
    with pytest.raises(JournalForked):
        genesis_world.start()


def production(settings: KeyroomSettings, *uids: int) -> KeyroomSettings:
    quorum = f"witness w1 {WITNESSES[0].public.encode()} http://127.0.0.1:9\nquorum w1\n"  # it is away
    return msgspec.structs.replace(settings, mode="production", peer_uids=uids, witnesses=quorum)


@pytest.mark.req("HS-6")
def test_production_needs_two_users(genesis_template: World, tmp_path: Path) -> None:
    world = copy_world(genesis_template, tmp_path / "world")
    for uids in ((), (os.getuid(),)):
        with pytest.raises(UnsafeProduction, match="the keyroom's uid"):
            world.start(production(world.settings(), *uids))
    other = os.getuid() + 1
    with pytest.raises(UnsafeProduction, match="the keyroom's uid"):
        world.start(production(world.settings(), os.getuid(), other))
    with pytest.raises(UnsafeProduction):
        world.start(production(world.settings(), 0, other))
    world.start(production(world.settings(), other)).stop()


@pytest.mark.req("HS-6")
def test_production_needs_hardware(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in make_token_dir(tmp_path).items():
        monkeypatch.setenv(name, value)
    settings = load_settings(write_settings(tmp_path))
    with pytest.raises(UnsafeProduction, match="not made in production"):
        make_tokens(production(settings))
    assert make_tokens(settings) == list(TOKENS)
    assert make_tokens(settings) == []
    uid = os.getuid() + 1
    safe = production(settings, uid)
    with pytest.raises(UnsafeProduction, match="SoftHSM"):
        build_room(safe, surroundings(), lambda: open_strongbox(safe))
    box = open_strongbox(settings)
    assert box.is_software
    box.close()


def test_the_start_is_recorded(tmp_path: Path) -> None:
    world = soft_world(tmp_path).start()
    rows = world.room.store.list(EntryRow, "seq")
    assert [row["type"] for row in rows] == ["log.start", "hsm.inventory"]
    assert all(process.SELF.role.encode() in row["leaf"] for row in rows)
    world.stop()


@pytest.mark.req("AZ-6", "T23")
def test_a_running_keyroom_has_issuers_keys_renewed(genesis_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the policy in force."""
    renewed: list[object] = []

    async def renew(_: JwksCache, issuers: object, now: datetime) -> None:
        renewed.append(issuers)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(JwksCache, "renew", renew)
    genesis_world.stopped = True
    asyncio.run(asyncio.wait_for(process.serve(genesis_world.room, genesis_world.path / "keyroom.toml"), 60))
    governing = genesis_world.room.door.governing
    assert governing is not None
    assert renewed == [governing.policy.issuers]


def test_threads_share_two_pools_of_memory() -> None:
    """A process of its own: what is set stays set."""
    program = (
        "import ctypes, threading; from ceremonies.process import limit_arenas; limit_arenas();"
        "libc = ctypes.CDLL(None); libc.malloc.restype = ctypes.c_void_p; gate = threading.Barrier(9);"
        "work = lambda: (libc.malloc(4096), gate.wait());"
        "threads = [threading.Thread(target=work) for _ in range(8)]; [t.start() for t in threads]; gate.wait();"
        "print(sum(1 for line in open('/proc/self/maps') if line.split()[1] == '---p' and len(line.split()) == 5))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    free = subprocess.run(
        [sys.executable, "-c", program.replace("limit_arenas();", "")], capture_output=True, text=True, check=True
    ).stdout
    assert int(found) < int(free)
