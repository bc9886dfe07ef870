"""Static files: complete under their checkpoint, and nothing of an entry in them."""

import asyncio
from pathlib import Path

import pytest

from ceremonies.logkey import read_checkpoint
from ceremonies.public import Publisher, public_documents, write_file
from pki.log.checkpoints import parse_checkpoint
from pki.log.tiles import list_tiles
from tests.ceremonies.small import make_order, seal
from tests.world import World


def test_what_the_checkpoint_covers_is_there(genesis_world: World) -> None:
    world, publisher = genesis_world, Publisher(genesis_world.room)
    log_key = world.room.ledger.log_key
    assert log_key is not None
    for number in range(2):
        seal(world, make_order(world, bytes([number])))
        asyncio.run(publisher.publish())
        root = world.path / "public" / "journal"
        checkpoint = parse_checkpoint(read_checkpoint((root / "checkpoint").read_bytes(), log_key.vkey))
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
        list(public_documents(genesis_world.room.store))


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    write_file(path, b"one")
    first = path.stat().st_ino
    write_file(path, b"one")
    assert path.stat().st_ino == first
    with path.open("rb") as reader:
        write_file(path, b"two")
        assert (reader.read(), path.read_bytes()) == (b"one", b"two")
