"""One transaction for the outcomes of a signed batch and the intents of the next: both, or nothing of either."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from ceremonies import ledger as ledger_module
from ceremonies.door import take_series
from ceremonies.entries import event, out_failed
from ceremonies.jobs import Job
from ceremonies.journal import JournalForked, Placed
from ceremonies.orders import EnrolmentUnderWay, Order, Rider
from ceremonies.passages import Batch, Passage
from ceremonies.recording import Recording
from ceremonies.store import Change, StoreUnavailable
from ceremonies.tables import DocumentRow, HeadRow, KeyRow, RequestRow, ReservationRow
from tests.ceremonies.examples import read_leaves, write_sql
from tests.ceremonies.small import BY, act, make_order, reserve
from tests.world import World, audit_world


def begin(world: World, *orders: Order) -> Batch:
    """A batch whose intents are durable and whose signatures are there."""

    async def run() -> Batch:
        jobs = [Job(order) for order in orders]
        return await world.room.act(lambda: world.room.door.begin(jobs))

    return asyncio.run(run())


def make_passages(world: World, *orders: Order) -> list[Passage]:
    """New orders that the door has authorised."""

    async def run() -> list[Passage]:
        return [Passage(Job(order)) for order in orders]

    passages = asyncio.run(run())
    for passage in passages:
        passage.keys = [world.room.door.keyring.get(item.spki) for item in passage.order.draft.to_sign]
    return passages


def write(world: World, closing: Sequence[Passage], opening: Sequence[Passage]) -> dict[int, Any]:
    """One recording, on the writer's thread."""
    door = world.room.door
    made = Recording((door.ledger, door.keyring), "0" * 64, closing, opening)
    sealed: dict[int, Any] = act(world, made.write)
    return sealed


def uses(world: World) -> tuple[int, int]:
    """The count of the director's key in memory and on disk."""
    key = world.room.door.keyring.labelled("director")
    return key.uses, (world.room.store.find(KeyRow, spki=key.spki) or {})["uses"]


@pytest.mark.req("AU-1")
def test_outcomes_come_first_and_then_the_intents(genesis_world: World) -> None:
    world = genesis_world
    ready = begin(world, make_order(world, b"1", "1"), make_order(world, b"2", "2"))
    take_series(ready)
    opening = make_passages(world, make_order(world, b"3", "3", reserve=reserve("x")))
    start, before = world.room.ledger.journal.size, uses(world)[0]
    world.room.ledger.under_way = start
    sealed = write(world, ready.going, opening)
    leaves = read_leaves(world, start)
    assert [leaf["type"] for leaf in leaves] == ["key.sign.outcome", "key.sign.outcome", "key.sign.intent"]
    assert [leaf["ref"]["i"] for leaf in leaves[:2]] == list(sealed) == [p.intent.seq for p in ready.going if p.intent]
    assert opening[0].intent is not None
    assert opening[0].intent.seq == start + 2
    assert uses(world) == (before + 1, before + 1)
    assert (world.room.store.find(HeadRow, id=1) or {})["settled"] == start
    assert (world.room.store.find(ReservationRow, name="x") or {})["seq"] == start + 2


def test_riders_stand_between_outcomes_and_intents_with_their_rows(genesis_world: World) -> None:
    world, places = genesis_world, list[list[int]]()

    def note(placed: Sequence[Placed]) -> list[Change]:
        places.append([item.seq for item in placed])
        return []

    def ride(word: str, count: int) -> Callable[[], Rider]:
        drafts = [event("ceremony.revoke", BY, {"why": f"{word}{at}"}) for at in range(count)]
        return lambda: Rider(drafts, note)

    ready = begin(
        world,
        make_order(world, b"1", "1", rider=ride("a", 2)),
        make_order(world, b"2", "2", rider=ride("b", 1)),
        make_order(world, b"3", "3"),
    )
    take_series(ready)
    failed = ready.going[1]  # its rider does not go either
    failed.error = StoreUnavailable("its signature failed")
    failed.out = out_failed(failed.error, 1)
    start = world.room.ledger.journal.size
    world.room.ledger.under_way = start
    write(world, ready.going, make_passages(world, make_order(world, b"4", "4")))
    leaves = read_leaves(world, start)
    assert [leaf["type"].split(".")[-1] for leaf in leaves] == ["outcome"] * 3 + ["revoke"] * 2 + ["intent"]
    assert [leaf["op"]["what"]["why"] for leaf in leaves[3:5]] == ["a0", "a1"]
    assert places == [[start + 3, start + 4]]


def test_a_rider_that_cannot_be_composed_fails_its_own_order_only(genesis_world: World) -> None:
    def ride() -> Rider:
        raise JournalForked("revocation: the rows are not those of the journal")

    world = genesis_world
    ready = begin(world, make_order(world, b"1", "1", rider=ride), make_order(world, b"2", "2"))
    take_series(ready)
    start = world.room.ledger.journal.size
    world.room.ledger.under_way = start
    held, other = ready.going
    assert other.intent
    assert list(write(world, ready.going, ())) == [other.intent.seq]
    assert [leaf["out"]["status"] for leaf in read_leaves(world, start)] == ["fail", "ok"]
    assert isinstance(held.error, JournalForked)
    assert world.room.store.find(DocumentRow, sha256=held.sha256) is None


def test_two_riders_about_one_device_do_not_go_together(genesis_world: World) -> None:
    world, composed = genesis_world, list[str]()

    def ride(word: str) -> Callable[[], Rider]:
        def compose() -> Rider:
            composed.append(word)
            return Rider()

        return compose

    orders = [
        msgspec.structs.replace(make_order(world, n, n.decode(), rider=ride(n.decode())), name="d")
        for n in (b"1", b"2")
    ]
    ready = begin(world, *orders)
    take_series(ready)
    world.room.ledger.under_way = world.room.ledger.journal.size
    first, second = ready.going
    assert first.intent
    assert list(write(world, ready.going, ())) == [first.intent.seq]
    assert (composed, first.error, second.out["status"]) == (["1"], None, "fail")
    assert isinstance(second.error, EnrolmentUnderWay)


@pytest.mark.req("AU-1", "T27")
def test_when_it_fails_nothing_of_either_is_there(genesis_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Head, counts, names, documents and memory are as before; the next try writes all of it."""
    world, ledger = genesis_world, genesis_world.room.ledger
    ready = begin(world, make_order(world, b"1", "1"))
    take_series(ready)
    opening = make_passages(world, make_order(world, b"2", "2", reserve=reserve("x")))
    before = (uses(world), ledger.journal.size, world.room.store.find(HeadRow, id=1))

    def fail(*_: object) -> None:
        raise StoreUnavailable("full")

    with monkeypatch.context() as patched:
        patched.setattr(ledger_module, "put_blobs", fail)
        with pytest.raises(StoreUnavailable):
            write(world, ready.going, opening)
    assert (uses(world), ledger.journal.size, world.room.store.find(HeadRow, id=1)) == before
    assert world.room.store.find(ReservationRow, name="x") is None
    assert world.room.store.find(DocumentRow, sha256=ready.going[0].sha256) is None
    assert opening[0].intent is None
    assert len(write(world, ready.going, opening)) == 1
    assert opening[0].intent is not None


def test_nothing_to_write_is_no_transaction(genesis_world: World) -> None:
    size = genesis_world.room.ledger.journal.size
    assert write(genesis_world, [], []) == {}
    assert genesis_world.room.ledger.journal.size == size


def test_a_refusal_is_an_entry_and_takes_no_count(genesis_world: World) -> None:
    world = genesis_world
    (passage,) = make_passages(world, make_order(world, b"1", "1", reserve=reserve("x")))
    passage.error = JournalForked("found before")
    start, before = world.room.ledger.journal.size, uses(world)
    assert write(world, [], [passage]) == {}
    assert [leaf["type"] for leaf in read_leaves(world, start)] == ["key.sign.denied"]
    assert (passage.intent, uses(world)) == (None, before)
    assert world.room.store.find(RequestRow, id="1") is None
    assert world.room.store.find(ReservationRow, name="x") is None


@pytest.mark.req("AU-1")
def test_a_failed_signature_is_an_outcome_without_a_document(genesis_world: World) -> None:
    world = genesis_world
    broken = make_order(world, b"1", "1")
    ready = begin(world, msgspec.structs.replace(broken, inspect=lambda _: 1 // 0))
    take_series(ready)
    assert write(world, ready.going, []) == {}
    leaf = read_leaves(world)[-1]
    assert (leaf["type"], leaf["out"]["status"]) == ("key.sign.outcome", "fail")
    assert (world.room.store.find(RequestRow, id="1") or {})["outcome"] is None
    assert asyncio.run(audit_world(world)).open == 0


@pytest.mark.req("T5")
def test_a_row_that_names_another_intent_is_not_sealed_again(genesis_world: World) -> None:
    world = genesis_world
    ready = begin(world, msgspec.structs.replace(make_order(world, b"1", "1"), inspect=lambda _: 1 // 0))
    take_series(ready)
    write(world, ready.going, [])
    write_sql(world, "UPDATE request SET seq = 3 WHERE id = '1'")
    (again,) = make_passages(world, make_order(world, b"1", "1"))
    assert write(world, [], [again]) == {}
    assert isinstance(again.error, JournalForked)
    assert again.intent is None
