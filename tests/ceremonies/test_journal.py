"""The journal: entries in their places, clocks that go wrong, a head that somebody else wrote."""

import json
from typing import Any

import pytest
from sqlmodel import SQLModel

from ceremonies.journal import TILE_WIDTH, ClockWentBack, Journal, JournalForked, format_time
from ceremonies.store import Row, Store
from ceremonies.tables import EntryRow, HeadRow, TileRow
from pki.log.merkle import Frontier, leaf_hash, verify_inclusion
from tests.ceremonies.small import START_US, Clock, open_journal
from tests.ceremonies.test_store import open_store

pytestmark = pytest.mark.engines
PROBE = {"type": "probe"}


def grow(store: Store, journal: Journal, count: int, *, settles: bool = True) -> None:
    """Append entries in one transaction."""
    growth = journal.compose([PROBE] * count)
    settled = growth.staged.size if settles else journal.settled
    with store.write() as connection:
        journal.write(connection, growth, settled)
    journal.accept(growth, settled)


def test_entries_follow_each_other(url: str) -> None:
    store = open_store(url)
    journal = open_journal(store, Clock())
    grow(store, journal, 1)
    grow(store, journal, 2)
    rows = store.list(EntryRow, "seq")
    leaves = [json.loads(row["leaf"]) for row in rows]
    assert [leaf["seq"] for leaf in leaves] == [0, 1, 2]
    assert [leaf["prev"] for leaf in leaves] == ["0" * 64, rows[0]["hash"].hex(), rows[1]["hash"].hex()]
    assert [leaf_hash(row["leaf"]) for row in rows] == [row["hash"] for row in rows]
    assert {leaf["log"] for leaf in leaves} == {"kedge.example/journal"}
    assert journal.root == Frontier().extend([row["hash"] for row in rows]).root
    store.close()


@pytest.mark.parametrize("batches", [[255, 1, 1], [256, 1], [300, 300], [513], [1] * 20])
def test_a_journal_opened_again_goes_on_as_if_it_had_not_been_closed(url: str, batches: list[int]) -> None:
    store = open_store(url)
    journal = open_journal(store, Clock())
    for count in batches:
        grow(store, journal, count)
        again = open_journal(store, Clock())
        assert (again.size, again.root, again._edges) == (journal.size, journal.root, journal._edges)
        for seq in {0, again.size // 2, again.size - 1}:
            row = store.find(EntryRow, seq=seq) or {}
            verify_inclusion(row["hash"], seq, again.size, again.root, again.inclusion_proof(seq))
    assert len(store.list(TileRow, "number")) == sum(batches) // TILE_WIDTH
    store.close()


def test_the_proof_of_an_old_entry_reads_each_tile_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(url)
    grow(store, open_journal(store, Clock()), 3 * TILE_WIDTH)
    reads: list[Any] = []
    find = store.find

    def record(model: type[SQLModel], **key: object) -> Row | None:
        if model is TileRow:
            reads.append(key["number"])
        return find(model, **key)

    monkeypatch.setattr(store, "find", record)
    journal = open_journal(store, Clock())
    for _ in range(2):
        journal.inclusion_proof(7, journal.size)
    assert sorted(reads) == [0, 1, 2]
    store.close()


def test_growth_that_was_not_committed_leaves_no_trace(url: str) -> None:
    store = open_store(url)
    journal = open_journal(store, Clock())
    grow(store, journal, 3)
    before = (journal.size, journal.root)
    with pytest.raises(RuntimeError), store.write() as connection:
        journal.write(connection, journal.compose([PROBE]), 1)
        raise RuntimeError
    assert (journal.size, journal.root) == before
    grow(store, journal, 1)
    assert journal.size == 4
    store.close()


@pytest.mark.req("T5", "AU-5")
@pytest.mark.parametrize(
    "values", [{"size": 5}, {"last": "00" * 32}, {"ts_us": 0}, {"settled": 0}, {"frontier": b"\0" * 8}]
)
def test_a_head_that_somebody_else_wrote_refuses_every_write(url: str, values: dict[str, object]) -> None:
    store = open_store(url)
    journal = open_journal(store, Clock())
    grow(store, journal, 3)
    with store.write() as connection:
        connection.execute(HeadRow.metadata.tables["head"].update().values(**values))
    with pytest.raises(JournalForked):
        grow(store, journal, 1)
    assert len(store.list(EntryRow, "seq")) == 3
    store.close()


def test_two_journals_on_one_database_do_not_fork_it(url: str) -> None:
    store = open_store(url)
    first, second = open_journal(store, Clock()), open_journal(store, Clock())
    grow(store, first, 1)
    with pytest.raises(Exception, match=r"UNIQUE|unique|changed behind"):
        grow(store, second, 1)
    third = open_journal(store, Clock())
    grow(store, first, 1)
    with pytest.raises(JournalForked):
        grow(store, third, 1)
    store.close()


def test_a_missing_head_or_tile_is_seen(url: str) -> None:
    store = open_store(url)
    journal = open_journal(store, Clock())
    grow(store, journal, 600)
    with store.write() as connection:
        connection.exec_driver_sql("DELETE FROM tile WHERE number = 0")
    with pytest.raises(JournalForked, match="tile 0/0"):
        open_journal(store, Clock())
    with store.write() as connection:
        connection.exec_driver_sql("DELETE FROM head")
    with pytest.raises(JournalForked):
        grow(store, journal, 1)
    store.close()


@pytest.mark.req("T11", "AU-7")
def test_a_clock_more_than_5_s_back_refuses(url: str) -> None:
    store, clock = open_store(url), Clock()
    journal = open_journal(store, clock)
    grow(store, journal, 1)
    clock.wall -= 4_000_000
    grow(store, journal, 1)  # recorded as a jump, and the journal's time does not go back with it
    clock.wall -= 2_000_000
    with pytest.raises(ClockWentBack):
        grow(store, journal, 1)
    again = open_journal(store, clock)
    with pytest.raises(ClockWentBack):
        grow(store, again, 1)
    clock.wall += 6_000_000
    grow(store, again, 1)
    store.close()


@pytest.mark.req("AU-7")
@pytest.mark.parametrize(("by", "jumps"), [(900_000, 0), (-900_000, 0), (1_100_000, 1), (-1_100_000, 1)])
def test_a_jump_of_over_a_second_is_an_entry(url: str, by: int, jumps: int) -> None:
    store, clock = open_store(url), Clock()
    journal = open_journal(store, clock)
    grow(store, journal, 1)
    clock.wall += by
    growth = journal.compose([PROBE])
    assert (growth.notes, len(growth.placed), len(growth.asked)) == (jumps, 1 + jumps, 1)
    if jumps:
        noted = json.loads(growth.placed[0].leaf)["op"]["what"]["clock_jump_us"]
        assert abs(noted - by) < 10
    store.close()


def test_settled_follows_only_growth_that_settles(url: str) -> None:
    store = open_store(url)
    journal = open_journal(store, Clock())
    seen = []
    for settles in (True, False, False, True):
        grow(store, journal, 2, settles=settles)
        seen.append(journal.settled)
    assert seen == [2, 2, 2, 8]
    assert open_journal(store, Clock()).settled == 8
    store.close()


@pytest.mark.req("AU-2")
def test_an_older_journal_does_not_extend_a_published_one(url: str) -> None:
    store = open_store(url)
    journal = open_journal(store, Clock())
    grow(store, journal, 5)
    size, root = journal.size, journal.root
    journal.check_extends(size, root)
    grow(store, journal, 7)
    journal.check_extends(size, root)
    journal.check_extends(0, Frontier().root)
    for wrong in ((size, bytes(32)), (size - 1, root), (journal.size + 1, root)):
        with pytest.raises(JournalForked):
            journal.check_extends(*wrong)
    store.close()


def test_times_have_six_digits() -> None:
    assert format_time(START_US + 7) == "2023-11-14T22:13:20.000007Z"
