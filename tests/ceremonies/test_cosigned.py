"""Cosigned checkpoints in the database."""

from pathlib import Path

import pytest
from sqlalchemy import text

from ceremonies.cosigned import (
    Cosigned,
    check_cosigned,
    keep_cosigned,
    late_documents,
    list_cosigned,
    newest_cosigned,
)
from ceremonies.journal import JournalForked
from ceremonies.logkey import CheckpointRejected
from ceremonies.tables import TrustSetRow
from pki.log.errors import LogError
from tests.ceremonies.small import Clock, make_order, open_ledger, seal
from tests.engines import SQLITE_ONLY
from tests.world import World


def test_the_newest_note_of_a_size_is_kept(tmp_path: Path) -> None:
    store = open_ledger(SQLITE_ONLY.url(tmp_path), Clock()).store
    assert newest_cosigned(store, 5) == []
    for size, note in ((7, b"a"), (9, b"b"), (7, b"c"), (12, b"d")):
        keep_cosigned(store, Cosigned(size, note))
    assert newest_cosigned(store, 2) == [Cosigned(12, b"d"), Cosigned(9, b"b")]
    assert list_cosigned(store, 0, 12) == [Cosigned(7, b"c"), Cosigned(9, b"b")]
    assert list_cosigned(store, 7, 10) == [Cosigned(9, b"b")]
    store.close()


@pytest.mark.req("T26")
def test_the_journal_extends_what_is_stored_or_does_not_start(genesis_world: World) -> None:
    room = genesis_world.room
    assert room.ledger.log_key is not None
    key, store, journal = room.ledger.log_key, room.store, room.ledger.journal
    keep_cosigned(store, Cosigned(journal.size, key.sign_head(journal.size, journal.root)))
    check_cosigned(store, journal, [key.vkey])
    keep_cosigned(store, Cosigned(5, key.sign_head(5, bytes(32))))
    with pytest.raises(JournalForked):
        check_cosigned(store, journal, [key.vkey])
    with store.write() as connection:
        connection.execute(text("UPDATE cosigned SET note = x'00' WHERE size = 5"))
    with pytest.raises((CheckpointRejected, LogError)):
        check_cosigned(store, journal, [key.vkey])


def test_late_documents(genesis_world: World) -> None:
    store, size = genesis_world.room.store, genesis_world.room.ledger.journal.size
    early = [row["document"] for row in store.list(TrustSetRow, "index")]
    assert late_documents(store, size, early) == frozenset()
    sealed = seal(genesis_world, make_order(genesis_world, b"late"))
    assert late_documents(store, size, [*early, sealed.sha256]) == {sealed.sha256}
    assert late_documents(store, size, early) == late_documents(store, size, []) == frozenset()
    assert late_documents(store, 0, early) == set(early)
