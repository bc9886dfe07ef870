"""Static files: complete under their checkpoint, and nothing of an entry in them."""

import asyncio
import os
import shutil
import stat
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ceremonies import public
from ceremonies.commands import CeremonyShown, ExecuteStep
from ceremonies.journal import JournalForked
from ceremonies.ledger import Ledger
from ceremonies.logkey import read_checkpoint
from ceremonies.public import Publisher, anchor_path, check_published, public_documents, published_path, write_file
from pki.log.checkpoints import parse_checkpoint
from pki.log.tiles import Tile, changed_tiles, list_tiles
from tests.ceremonies.small import act, make_order, seal
from tests.world import RefusedError, World, copy_world, soft_world


def test_what_the_checkpoint_covers_is_there(genesis_world: World) -> None:
    world, publisher = genesis_world, Publisher(genesis_world.room)
    log_key = world.room.ledger.log_key
    assert log_key is not None
    for number in range(2):
        seal(world, make_order(world, bytes([number])))
        asyncio.run(publisher.publish())
        root = world.path / "public" / "journal"
        checkpoint = parse_checkpoint(read_checkpoint((root / "checkpoint").read_bytes(), [log_key.vkey]))
        assert (checkpoint.size, checkpoint.root) == (world.room.ledger.journal.size, world.room.ledger.journal.root)
        for tile in list_tiles(checkpoint.size):
            assert (root / tile.path).exists() == (tile.level >= 0)
    names = {path.relative_to(world.path / "public").as_posix() for path in (world.path / "public").rglob("*.*e*")}
    assert {"trust/set-0-0.cose", "ca/identity-root.pem", "ca/device-ca.pem", "ca/site-ca.pem"} <= names
    assert not list((world.path / "public").rglob(".*.new"))


def test_an_unchanged_journal_writes_nothing(genesis_world: World) -> None:
    publisher = Publisher(genesis_world.room)
    asyncio.run(publisher.publish())
    path = genesis_world.path / "public" / "journal" / "checkpoint"
    path.unlink()
    asyncio.run(publisher.publish())
    assert not path.exists()


@pytest.mark.req("T5")
def test_an_altered_document_is_not_published(genesis_world: World) -> None:
    with genesis_world.room.store.write() as connection:
        connection.exec_driver_sql("UPDATE blob SET data = x'00'")
    with pytest.raises(Exception, match="altered"):
        list(public_documents(genesis_world.room.store, genesis_world.room.ledger.journal.size))


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    write_file(path, b"one")
    first = path.stat().st_ino
    write_file(path, b"one")
    assert path.stat().st_ino == first
    with path.open("rb") as reader:
        write_file(path, b"two")
        assert (reader.read(), path.read_bytes()) == (b"one", b"two")


def test_a_file_that_two_threads_replace_holds_what_one_of_them_wrote(tmp_path: Path) -> None:
    path, said = tmp_path / "anchor", [bytes([number]) * 1000 for number in range(64)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda data: write_file(path, data), said))
    assert path.read_bytes() in said
    assert list(tmp_path.iterdir()) == [path]


def test_an_older_anchor_that_comes_late_replaces_no_newer_one(genesis_world: World) -> None:
    """A turn that was cancelled at the stop may still be writing when the last one comes."""
    room, publisher = genesis_world.room, Publisher(genesis_world.room)

    def sign() -> tuple[bytes, int]:
        return room.ledger.sign_checkpoint(), room.ledger.journal.size

    older = act(genesis_world, sign)
    seal(genesis_world, make_order(genesis_world, b"data"))
    newer = act(genesis_world, sign)
    for late in (newer, older):
        publisher._keep(*late)
    assert anchor_path(room.settings).read_bytes() == newer[0]


def test_a_directory_is_synced_after_the_replacement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a power cut brings the old name back, and with it the old checkpoint."""
    synced: list[tuple[bool, bytes]] = []
    path, real = tmp_path / "a", os.fsync

    def fsync(descriptor: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), path.read_bytes() if path.exists() else b""))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_file(path, b"one")
    assert synced == [(False, b""), (True, b"one")]


def test_a_publisher_goes_on_where_the_last_one_ended(genesis_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world, starts = genesis_world, list[int]()
    asyncio.run(Publisher(world.room).publish())
    size = world.room.ledger.journal.size
    seal(world, make_order(world, b"data"))

    def watch(old: int, new: int) -> Iterable[Tile]:
        starts.append(old)
        return changed_tiles(old, new)

    monkeypatch.setattr(public, "changed_tiles", watch)
    asyncio.run(Publisher(world.room).publish())
    assert starts == [size]


def test_files_are_written_off_the_event_loop(genesis_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: set[int] = set()

    def watch(path: Path, data: bytes) -> None:
        threads.add(threading.get_ident())
        write_file(path, data)

    monkeypatch.setattr(public, "write_file", watch)
    asyncio.run(Publisher(genesis_world.room).publish())
    assert threads
    assert threading.get_ident() not in threads


@pytest.mark.req("AU-2")
def test_each_publication_leaves_an_anchor_beside_the_database(genesis_world: World) -> None:
    world, settings = genesis_world, genesis_world.room.settings
    seal(world, make_order(world, b"data"))
    asyncio.run(Publisher(world.room).publish())
    assert anchor_path(settings).read_bytes() == published_path(settings).read_bytes()
    check_published(settings, world.room.ledger)
    published_path(settings).unlink()
    check_published(settings, world.room.ledger)
    anchor_path(settings).unlink()
    with pytest.raises(JournalForked, match="neither anchor nor published"):
        check_published(settings, world.room.ledger)


@pytest.mark.req("T27")
def test_genesis_goes_on_after_a_crash_before_the_first_anchor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal key is active and nothing was ever published; the start asks for no anchor yet."""

    def crash(_ledger: Ledger) -> None:
        raise OSError(5, "the power is gone")

    world = soft_world(tmp_path).start()
    with monkeypatch.context() as patched, pytest.raises(RefusedError):
        patched.setattr(Ledger, "anchor", crash)
        asyncio.run(world.genesis())
    assert world.room.ledger.log_key is not None
    assert not anchor_path(world.room.settings).exists()
    world.stop()
    world.start()
    assert anchor_path(world.room.settings).exists()
    asyncio.run(world.ask(ExecuteStep("genesis", "results"), "local", CeremonyShown))
    assert world.room.ledger.governed
    world.stop()
    world.start().stop()


def test_the_first_start_after_genesis_needs_no_publication(genesis_template: World, tmp_path: Path) -> None:
    world = copy_world(genesis_template, tmp_path / "world")
    shutil.rmtree(world.path / "public")
    world.start().stop()
