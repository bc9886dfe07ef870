"""Entries and rows in one transaction; entries read back only when the tree bears them out."""

from collections.abc import Sequence
from functools import partial

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.exc import OperationalError

from ceremonies.journal import EntryDraft, JournalForked, Placed
from ceremonies.ledger import Ledger
from ceremonies.logkey import LogKeyMissing
from ceremonies.store import Insert, StoreUnavailable
from ceremonies.tables import ReservationRow
from tests.ceremonies.small import Clock, act, make_order, open_journal, open_ledger, seal
from tests.engines import tamper
from tests.world import World

pytestmark = pytest.mark.engines
PROBE = {"type": "probe"}


def spend(name: str) -> list[Insert]:
    """A row to go with an entry."""
    return [Insert(ReservationRow, {"name": name, "owner": "", "seq": 0})]


def test_entries_and_rows_are_written_together_or_not_at_all(url: str) -> None:
    ledger = open_ledger(url, Clock())
    ledger.record([PROBE], spend("a"), [b"blob"])
    with pytest.raises(StoreUnavailable):
        ledger.record([PROBE], spend("a"), [b"other"])
    assert ledger.journal.size == 1
    assert ledger.store.list(ReservationRow, "name", name="a") != []
    ledger.record([PROBE], spend("b"))
    assert ledger.journal.size == 2
    ledger.store.close()


def test_nothing_to_write_is_no_entry(url: str) -> None:
    ledger = open_ledger(url, Clock())
    assert ledger.commit(lambda _: [], lambda _: ((), ()), settles=True) == ()
    assert ledger.journal.size == 0
    ledger.store.close()


def test_follow_gets_the_places_that_were_asked_for(url: str) -> None:
    clock = Clock()
    ledger = open_ledger(url, clock)
    ledger.record([PROBE])
    clock.wall += 2_000_000  # a jump: the journal puts a note of its own before what was asked
    seen: list[int] = []

    def follow(placed: Sequence[Placed]) -> tuple[list[Insert], list[bytes]]:
        seen.extend(item.seq for item in placed)
        return [], []

    def decide(_: Connection) -> list[EntryDraft]:
        return [PROBE, PROBE]

    assert [item.seq for item in ledger.commit(decide, follow, settles=True)] == seen == [2, 3]
    ledger.store.close()


def test_it_is_unsettled_from_an_intent_to_its_outcome(url: str) -> None:
    ledger = open_ledger(url, Clock())
    ledger.commit(lambda _: [PROBE], lambda _: ((), ()), settles=False)
    assert (ledger.settled, ledger.journal.settled) == (False, 0)
    ledger.record([PROBE])  # opens nothing, closes nothing
    assert (ledger.settled, ledger.journal.settled) == (False, 0)
    with pytest.raises(StoreUnavailable):
        ledger.commit(lambda _: [PROBE], lambda _: (spend("a") * 2, ()), settles=True)
    assert not ledger.settled
    ledger.commit(lambda _: [PROBE], lambda _: ((), ()), settles=True)
    assert (ledger.settled, ledger.journal.settled) == (True, 3)
    ledger.store.close()


@pytest.mark.req("T27")
def test_a_commit_that_failed_but_persisted_stops_every_later_write(url: str) -> None:
    """Memory and disk differ: nothing is built on either until a restart has read the disk."""
    ledger = open_ledger(url, Clock())
    ledger.record([PROBE])
    lost = ledger.journal.compose([PROBE])
    with ledger.store.write() as connection:
        ledger.journal.write(connection, lost, lost.staged.size)
    with pytest.raises(JournalForked):
        ledger.record([PROBE])
    again = Ledger(ledger.store, open_journal(ledger.store, Clock()))
    again.record([PROBE])
    assert again.journal.size == 3
    ledger.store.close()


@pytest.mark.req("T5", "AU-5")
@pytest.mark.parametrize("change", ["leaf = :new", "leaf = 'text'", "seq = 9999"])
def test_an_entry_that_the_tree_does_not_hold_is_not_read(genesis_world: World, change: str) -> None:
    sealed = seal(genesis_world, make_order(genesis_world, b"data"))
    ledger = genesis_world.room.ledger
    placed, leaf = act(genesis_world, lambda: ledger.read_entry(sealed.seq))
    assert (placed.leaf, leaf.seq) == (sealed.entry, sealed.seq)
    tamper(ledger.store, f"UPDATE entry SET {change} WHERE seq = {sealed.seq}", new=b"{}")
    with pytest.raises((JournalForked, StoreUnavailable)):
        act(genesis_world, lambda: ledger.read_entry(sealed.seq))


@pytest.mark.req("T5")
def test_a_document_is_recalled_only_from_the_entry_that_released_it(genesis_world: World) -> None:
    world, ledger = genesis_world, genesis_world.room.ledger
    first, second = (seal(world, make_order(world, data, data.decode())) for data in (b"1", b"2"))
    again = act(world, lambda: ledger.recall(first.sha256, first.seq, "1"))
    assert (again.document, again.entry, again.replayed) == (first.document, first.entry, True)
    for document, seq, request in (
        (first.sha256, second.seq, None),
        (first.sha256, first.seq - 1, None),
        (first.sha256, first.seq, "2"),
        ("00" * 32, first.seq, None),
        (first.sha256, 10**6, None),
    ):
        with pytest.raises(JournalForked):
            act(world, partial(ledger.recall, document, seq, request))


def test_without_a_key_there_is_no_checkpoint_and_no_proof(url: str) -> None:
    ledger = open_ledger(url, Clock())
    ledger.record([PROBE])
    assert (ledger.sign_checkpoint(), ledger.prove(0)) == (b"", b"")
    ledger.store.close()


def test_a_first_commit_that_fails_leaves_it_unsettled_until_somebody_looked(url: str) -> None:
    """Whether it persisted is not known: recovery looks before anything else is signed."""
    ledger = open_ledger(url, Clock())

    def fail(_: Connection) -> None:
        raise OperationalError("COMMIT", {}, OSError("disk I/O error"))

    event.listen(ledger.store._writer, "commit", fail)
    with pytest.raises(StoreUnavailable, match="I/O"):
        ledger.commit(lambda _: [PROBE], lambda _: ((), ()), settles=False)
    event.remove(ledger.store._writer, "commit", fail)
    assert (ledger.settled, ledger.journal.size) == (False, 0)
    ledger.record([PROBE])
    assert ledger.journal.settled == 0
    ledger.store.close()


@pytest.mark.req("AU-2")
def test_after_genesis_no_proof_is_empty(genesis_world: World) -> None:
    world, ledger = genesis_world, genesis_world.room.ledger
    assert ledger.governed
    sealed = seal(world, make_order(world, b"data"))
    ledger.log_key = None
    with pytest.raises(LogKeyMissing):
        act(world, lambda: ledger.prove(sealed.seq))
    with pytest.raises(LogKeyMissing):
        act(world, lambda: ledger.recall(sealed.sha256, sealed.seq))


def test_the_anchor_is_the_checkpoint_of_the_committed_head(genesis_world: World, url: str) -> None:
    kept: list[bytes] = []
    ledger = genesis_world.room.ledger
    ledger.keep = kept.append
    act(genesis_world, lambda: ledger.record([PROBE]))
    act(genesis_world, ledger.anchor)
    assert kept == [act(genesis_world, ledger.sign_checkpoint)]
    young = open_ledger(url, Clock())
    young.keep = kept.append
    young.record([PROBE])
    young.anchor()
    assert (len(kept), young.governed) == (1, False)
    young.store.close()
