"""Two batches under way: what is durable when, what closes what, and what a fault of one does to the other."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from ceremonies.claims import QuotaExhausted
from ceremonies.commands import IssueDevice, Problem
from ceremonies.finisher import finish
from ceremonies.jobs import Job
from ceremonies.keywork import change_states
from ceremonies.orders import Order
from ceremonies.pipeline import DEPTH
from ceremonies.store import StoreUnavailable
from ceremonies.tables import EntryRow, HeadRow, KeyRow, RequestRow, WorkOrderRow
from ceremonies.writer import BATCH
from hsm.errors import KeyNotFound
from hsm.keys import KeyName
from hsm.signed import Signed
from pki.log.errors import LogError
from tests.ceremonies.examples import read_leaves
from tests.ceremonies.small import BY, act, make_draft, make_order, passages, reserve
from tests.softbox import Softbox
from tests.world import World, audit_world, copy_world, issue_device, make_request, soft_keys

Items = Sequence[tuple[KeyName, bytes]]


class HeldSeries:
    """Signatures that are made when they are waited for, and given once, as by another process."""

    def __init__(self, box: Softbox, items: Items, on_wait: Callable[[], object]) -> None:
        self._box, self._items, self._on_wait = box, items, on_wait
        self.waited = 0

    def wait(self) -> Sequence[Signed]:
        """What the test wants first, then the signatures."""
        self.waited += 1
        assert self.waited == 1, "a series gives its signatures once"
        self._on_wait()
        return [self._box._sign_one(*item) for item in self._items]


class Flow:
    """The pipeline of a world, batch by batch. `on_wait` is called before the signatures of a batch are there."""

    def __init__(self, world: World, patch: pytest.MonkeyPatch) -> None:
        self.world, self.box = world, soft_keys(world)
        self.held: list[HeldSeries] = []
        self.on_wait: Callable[[], object] = lambda: None
        patch.setattr(self.box, "start", self._start)

    def _start(self, items: Items) -> HeldSeries:
        self.held.append(HeldSeries(self.box, items, self._wait))
        return self.held[-1]

    def _wait(self) -> None:
        self.on_wait()

    def seal(self, *orders: Order) -> list[Any]:
        """Give the pipeline a batch (none: finish one); the jobs of the batch. Runs past the writer's own flushing."""
        room = self.world.room

        async def run() -> list[Job[Order]]:
            jobs = [Job(order) for order in orders]
            finish(await room.act(lambda: room.pipeline.seal(jobs)))
            return jobs

        return asyncio.run(run())

    def finish(self) -> None:
        """Finish all that is under way."""
        while self.world.room.pipeline._batches:
            self.seal()


@contextmanager
def flow_of(world: World) -> Iterator[Flow]:
    """The pipeline of a world with held signatures."""
    with pytest.MonkeyPatch.context() as patch:
        yield Flow(world, patch)


def crash(world: World, path: Path) -> World:
    """What the next start finds if the power goes now: the files as they are, and the tokens."""
    copied = copy_world(world, path)
    copied.start()
    return copied


def head(world: World) -> tuple[int, int]:
    """(size, settled) on disk."""
    row = world.room.store.find(HeadRow, id=1) or {}
    return row["size"], row["settled"]


def is_settled(world: World) -> bool:
    """Whether no intent is open but those that somebody works on."""
    return world.room.ledger.settled


def find_open(world: World) -> list[int]:
    """The intents on disk that nothing closes."""
    leaves = read_leaves(world)
    closed = {leaf["ref"]["i"] for leaf in leaves if "ref" in leaf}
    return [leaf["seq"] for leaf in leaves if leaf["type"].endswith(".intent") and leaf["seq"] not in closed]


def check_closed_once(world: World) -> None:
    """Every intent is closed exactly once; the offline verifier says so too, and that all is as the rows say."""
    refs = [leaf["ref"]["i"] for leaf in read_leaves(world) if "ref" in leaf]
    assert len(refs) == len(set(refs))
    assert asyncio.run(audit_world(world)).open == 0


def words(jobs: Sequence[Any]) -> list[str]:
    """Results in words; `open` for a job without one."""
    return ["open" if job.result is None else passages([job.result])[0] for job in jobs]


def types_from(world: World, start: int) -> list[str]:
    """The last words of the entries' types."""
    return [row["type"].split(".")[-1] for row in world.room.store.list(EntryRow, "seq") if row["seq"] >= start]


@pytest.mark.req("AU-1")
def test_the_next_intents_are_durable_while_the_first_signatures_are_awaited(genesis_world: World) -> None:
    """Intents and outcomes interleave; nothing is answered before its own outcome is durable."""
    world = genesis_world
    start = world.room.ledger.journal.size
    with flow_of(world) as flow:
        one = flow.seal(make_order(world, b"1", "1"))
        two = flow.seal(make_order(world, b"2", "2"))
        assert (types_from(world, start), flow.box.signed_by["director"]) == (["intent", "intent"], 0)
        assert (find_open(world), head(world)) == ([start, start + 1], (start + 2, start))
        three = flow.seal(make_order(world, b"3", "3"))  # T2 of the first and T1 of the third: one transaction
        assert types_from(world, start) == ["intent", "intent", "outcome", "intent"]
        assert (words(one + two + three), head(world)[1]) == (["sealed", "open", "open"], start + 1)
        flow.seal()
        assert (words(two + three), head(world)[1]) == (["sealed", "open"], start + 2)
        flow.seal()
        assert (words(three), head(world)) == (["sealed"], (start + 6, start + 6))
        assert flow.seal() == []
    assert len({job.result.document for job in (*one, *two, *three)}) == 3
    assert DEPTH == 2
    check_closed_once(world)


@pytest.mark.unmeasured
@pytest.mark.req("AU-1", "T27")
def test_settled_never_passes_an_open_intent_whenever_the_power_goes(genesis_world: World, tmp_path: Path) -> None:
    """After each step, and at each moment before a transaction: the next start closes what is open, and only that."""
    world, copies, open_found = genesis_world, iter(range(100)), 0

    def look() -> None:
        nonlocal open_found
        unclosed, (size, settled) = find_open(world), head(world)
        assert all(seq >= settled for seq in unclosed), (unclosed, settled)
        open_found += len(unclosed)
        copied = crash(world, tmp_path / f"crash-{next(copies)}")
        leaves = read_leaves(copied, size)
        unknown = [leaf["ref"]["i"] for leaf in leaves if leaf["type"] == "key.sign.unknown"]
        assert (unknown, find_open(copied)) == (unclosed, [])
        check_closed_once(copied)
        copied.stop()

    with flow_of(world) as flow:
        flow.on_wait = look
        for number in range(4):
            flow.seal(make_order(world, bytes([number])), make_order(world, bytes([number, 1]), f"{number}"))
            denied = make_draft(world, "director", "new.kind", b"")
            if number == 2:
                flow.seal(make_order(world, b"", draft=denied))
            look()
        flow.finish()
        look()
    assert open_found > 10
    check_closed_once(world)


@pytest.mark.req("AU-1", "T27")
def test_after_a_crash_a_retry_gets_the_bytes_or_the_same_intent(genesis_world: World, tmp_path: Path) -> None:
    """Of three batches the first was answered, two were open: the retry of each is the same bytes, and no others."""
    world = genesis_world
    orders = [make_order(world, bytes([number]), f"{number}") for number in range(3)]
    with flow_of(world) as flow:
        first = flow.seal(orders[0])
        flow.seal(orders[1])
        flow.seal(orders[2])
        copied = crash(world, tmp_path / "crash")
        flow.finish()
    with flow_of(copied) as flow:
        others = flow.seal(*(make_order(copied, b"other", f"{number}") for number in range(3)))
        assert words(others) == ["replayed", "request-open", "request-open"]
        again = flow.seal(*orders)
        flow.finish()
    assert words(again) == ["replayed", "sealed", "sealed"]
    assert again[0].result.document == first[0].result.document
    check_closed_once(copied)
    copied.stop()


@pytest.mark.req("CA-5")
@pytest.mark.parametrize("between", [0, 1])
def test_a_repeat_of_what_is_under_way_waits_and_gets_the_same_bytes(genesis_world: World, between: int) -> None:
    world = genesis_world
    order = make_order(world, b"1", "id")
    with flow_of(world) as flow:
        first = flow.seal(order)
        for number in range(between):
            flow.seal(make_order(world, bytes([7, number])))
        again = flow.seal(make_order(world, b"2", "other"), make_order(world, b"1", "id"))
        mismatch = flow.seal(make_order(world, b"1", "id", body="another"))
        flow.finish()
    assert words([*first, *again, *mismatch]) == ["sealed", "sealed", "replayed", "request-mismatch"]
    assert again[1].result.document == first[0].result.document
    assert flow.box.signed_by["director"] == 2 + between
    check_closed_once(world)


@pytest.mark.req("CA-5")
def test_a_name_that_is_under_way_is_spent(genesis_world: World) -> None:
    """The same serial with another key, while the first one's signature is not there yet."""
    world = genesis_world
    with flow_of(world) as flow:
        first = flow.seal(make_order(world, b"1", "serial:1", reserve=reserve("serial")))
        second = flow.seal(make_order(world, b"2", "serial:2", reserve=reserve("serial")))
        flow.finish()
    assert words(first + second) == ["sealed", "no-room"]
    assert flow.box.signed_by["director"] == 1
    check_closed_once(world)


@pytest.mark.req("CA-5")
def test_a_serial_with_another_key_is_refused_under_load(factory_world: World) -> None:
    """Through the whole keyroom: one certificate per serial, whatever is under way."""
    world, csrs = factory_world, [make_request() for _ in range(24)]

    async def run() -> list[Any]:
        asked = [IssueDevice("wo-1", f"BMS-{at % 8 + 1:06}", csr) for at, csr in enumerate(csrs)]
        return list(await asyncio.gather(*(world.try_ask(command, "station") for command in asked)))

    answers = asyncio.run(run())
    refused = [answer.code for answer in answers if isinstance(answer, Problem)]
    assert refused == ["serial-taken"] * 16
    assert soft_keys(world).signed_by["device-ca"] == 8
    check_closed_once(world)


@pytest.mark.req("CA-5")
def test_a_quota_cannot_be_overdrawn_across_batches_under_way(factory_world: World) -> None:
    """A unit is used by the intent: 20 units, batches of 9, none of them finished before the next begins."""
    world, at = factory_world, iter(range(100))

    def batch() -> list[Order]:
        orders = []
        for number in (next(at) for _ in range(9)):
            draft = make_draft(world, "director", "challenge", bytes([number]))
            counted = msgspec.structs.replace(draft, what={"work_order": "wo-1"})
            orders.append(make_order(world, b"", f"{number}", draft=counted, work_order="wo-1"))
        return orders

    with flow_of(world) as flow:
        found = [flow.seal(*batch()) for _ in range(3)]
        assert (world.room.store.find(WorkOrderRow, id="wo-1") or {})["issued"] == 20
        flow.finish()
    jobs = [job for part in found for job in part]
    assert sorted(words(jobs)) == [QuotaExhausted.code] * 7 + ["sealed"] * 20
    assert world.room.ledger.replay.quotas["wo-1"].issued == 20
    check_closed_once(world)


def set_pages(world: World, count: int | None = None) -> None:
    """How many pages the database may have; without a count: as many as it has."""
    with world.room.store.write() as connection:
        pages = count or connection.execute(text("PRAGMA page_count")).scalar()
        connection.execute(text(f"PRAGMA max_page_count={pages}"))


def grow(world: World, data: bytes, request: str, on_done: Callable[[], object]) -> Order:
    """An order whose document is large; `on_done` is called when its signature is there."""
    draft = make_draft(world, "director", "challenge", data)

    def assemble(raws: Any) -> bytes:
        on_done()
        return bytes(500_000) + b"".join(raws.values())

    return make_order(world, b"", request, draft=msgspec.structs.replace(draft, assemble=assemble))


@pytest.mark.req("AU-1", "AU-6", "T27")
@pytest.mark.parametrize("merged", [False, True])
def test_a_full_database_fails_one_batch_and_not_the_other(genesis_world: World, *, merged: bool) -> None:
    """T2 of the first fails, alone or with T1 of a third; the second is finished; then what is open is closed."""
    world = genesis_world
    start = world.room.ledger.journal.size
    with flow_of(world) as flow:
        first = flow.seal(grow(world, b"1", "1", partial(set_pages, world)))
        second = flow.seal(make_order(world, b"2", "2"))
        third = flow.seal(make_order(world, b"3", "3")) if merged else []
        if not merged:
            flow.seal()
        assert words(first + third) == [StoreUnavailable.code] * (1 + merged)
        assert not is_settled(world)
        assert head(world)[1] <= start
        set_pages(world, 100_000)
        fourth = flow.seal(make_order(world, b"4", "4"))  # it finishes the second, settles, and only then begins
        kinds = types_from(world, start)
        assert kinds == ["intent", "intent", "outcome", "unknown", "intent"]
        assert words(second + fourth) == ["sealed", "open"]
        assert is_settled(world)
        flow.finish()
        again = flow.seal(make_order(world, b"1", "1"), make_order(world, b"3", "3"))
        flow.finish()
    assert words(again) == ["sealed", "sealed"]
    assert head(world)[0] == head(world)[1]
    check_closed_once(world)


@pytest.mark.req("AU-1")
@pytest.mark.parametrize("alone", [False, True])
def test_an_order_that_no_entry_can_hold_harms_nobody(genesis_world: World, *, alone: bool) -> None:
    """With one batch ready, another under way and neighbours; the series of the ready one is asked for once."""
    world = genesis_world
    unheard = msgspec.structs.replace(make_draft(world, "director", "challenge", b"float"), what={"x": 0.5})
    with flow_of(world) as flow:
        ready, flying = flow.seal(make_order(world, b"1", "1")), flow.seal(make_order(world, b"2", "2"))
        neighbours = [] if alone else [make_order(world, b"3", "3"), make_order(world, b"4", "4")]
        mixed = flow.seal(*neighbours[:1], make_order(world, b"", "bad", draft=unheard), *neighbours[1:])
        expected = ["leaf-invalid"] if alone else ["sealed", "leaf-invalid", "sealed"]
        assert words([*ready, *flying, *mixed]) == ["sealed", "open", *expected]
        assert all(seq >= head(world)[1] for seq in find_open(world))
        flow.finish()
    assert words(flying) == ["sealed"]
    assert is_settled(world)
    assert world.room.store.find(RequestRow, id="bad") is None
    check_closed_once(world)


@pytest.mark.req("AU-1", "T27")
@pytest.mark.parametrize("merged", [False, True])
def test_an_outcome_that_no_entry_can_hold_is_closed_as_unknown(genesis_world: World, *, merged: bool) -> None:
    """The failure of an order cannot be worded: nothing leaves, and its intent does not stay open unseen."""
    world = genesis_world

    def fail(_: Any) -> bytes:
        raise ValueError("\ud800")

    broken = msgspec.structs.replace(make_draft(world, "director", "challenge", b"1"), assemble=fail)
    with flow_of(world) as flow:
        first = flow.seal(make_order(world, b"", "1", draft=broken))
        second = flow.seal(make_order(world, b"2", "2"))
        third = flow.seal(make_order(world, b"3", "3")) if merged else flow.seal()
        assert isinstance(first[0].result, LogError)
        assert not is_settled(world)
        fourth = flow.seal(make_order(world, b"4", "4"))
        flow.finish()
    assert words(second + fourth) == ["sealed", "sealed"]
    assert all(isinstance(job.result, LogError) for job in third)
    check_closed_once(world)


@pytest.mark.req("AU-1", "T27")
@pytest.mark.parametrize("where", ["start", "wait"])
def test_a_strongbox_that_breaks_leaves_no_intent_unseen(genesis_world: World, where: str) -> None:
    """Signing cannot be begun, or waited for: the intents are closed before the next."""
    world = genesis_world

    def fail(*_: object) -> Any:
        raise KeyNotFound("the process that holds the tokens has ended")

    with flow_of(world) as flow, pytest.MonkeyPatch.context() as patch:
        first, second = flow.seal(make_order(world, b"1", "1")), flow.seal(make_order(world, b"2", "2"))
        if where == "wait":
            flow.on_wait = fail
        else:
            owner, name = (flow.box, "start") if where == "start" else (world.room.ledger, "sign_checkpoint")
            patch.setattr(owner, name, fail)
        third = flow.seal(make_order(world, b"3", "3"))
        assert words(third) == ["hsm-key-not-found"]
        assert words(first) == ["sealed" if where == "start" else "hsm-key-not-found"]
        assert not is_settled(world)
        assert all(seq >= head(world)[1] for seq in find_open(world))
        patch.undo()
    with flow_of(world) as flow:
        flow.seal()
        again = flow.seal(*(make_order(world, bytes([48 + number]), f"{number}") for number in (1, 2, 3)))
        flow.finish()
    assert words(second)[0] in ("sealed", "hsm-key-not-found")
    assert set(words(again)) <= {"sealed", "replayed"}
    assert head(world)[0] == head(world)[1]
    check_closed_once(world)


@pytest.mark.req("HS-3", "AU-1")
@pytest.mark.parametrize("change", [lambda made: made[:-1], lambda made: made[1:], lambda made: [*made, made[-1]]])
def test_of_a_series_with_too_few_or_too_many_signatures_none_is_released(
    genesis_world: World, change: Callable[[list[Signed]], list[Signed]]
) -> None:
    """Whose they are is not known then, and the door does not verify them again."""
    world = genesis_world

    class Odd(HeldSeries):
        """A series of another length."""

        def wait(self) -> Sequence[Signed]:
            """One signature lacks, or comes twice."""
            return change(list(super().wait()))

    with flow_of(world) as flow:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(flow.box, "start", lambda items: Odd(flow.box, items, lambda: None))
            jobs = flow.seal(*(make_order(world, bytes([48 + number]), f"{number}") for number in (1, 2)))
            flow.finish()
        assert words(jobs) == ["hsm-signature-mismatch"] * 2
        assert not is_settled(world)
        again = flow.seal(*(make_order(world, bytes([48 + number]), f"{number}") for number in (1, 2)))
        flow.finish()
    assert words(again) == ["sealed"] * 2
    check_closed_once(world)


@pytest.mark.req("AU-1", "AU-2")
def test_a_checkpoint_that_is_not_signed_fails_the_answers_that_need_it_and_nothing_else(genesis_world: World) -> None:
    """What was released stays released: the same request is answered when the journal's key is back."""
    world = genesis_world

    def fail(*_: object) -> Any:
        raise KeyNotFound("the token of the journal is away")

    with flow_of(world) as flow:
        first, second = flow.seal(make_order(world, b"1", "1")), flow.seal(make_order(world, b"2", "2"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(world.room.ledger.log_key, "sign_head", fail)
            third = flow.seal(make_order(world, b"3", "3"))
        assert words(first + second + third) == ["hsm-key-not-found", "open", "open"]
        assert is_settled(world)
        flow.finish()
        again = flow.seal(make_order(world, b"1", "1"))
        flow.finish()
    assert words(second + third + again) == ["sealed", "sealed", "replayed"]
    check_closed_once(world)


@pytest.mark.req("KL-4", "HS-9")
def test_urgent_work_during_a_flood_sees_nothing_under_way(genesis_world: World) -> None:
    """Both batches that are under way have ended before a key is suspended; whatever comes afterwards is refused."""
    world = genesis_world
    seen: list[int] = []
    reached, go = threading.Event(), threading.Event()

    def hold() -> None:
        reached.set()
        assert go.wait(10)

    def suspend() -> None:
        seen.append(len(world.room.pipeline._batches))
        seen.extend(find_open(world))
        change_states(world.room.door, ["director"], "suspended", BY, why="theft")

    async def run() -> tuple[list[Any], list[Any]]:
        flood = [asyncio.create_task(world.room.seal(make_order(world, b"%d" % at))) for at in range(4 * BATCH)]
        await asyncio.to_thread(reached.wait, 10)
        stop = asyncio.create_task(world.room.act(suspend, urgent=True))
        await asyncio.sleep(0)
        go.set()
        await stop
        late = [asyncio.create_task(world.room.seal(make_order(world, b"late %d" % at))) for at in range(5)]
        given = await asyncio.gather(*flood, return_exceptions=True)
        return list(given), list(await asyncio.gather(*late, return_exceptions=True))

    with flow_of(world) as flow:
        flow.on_wait = hold
        flood, late = asyncio.run(run())
    assert seen == [0]
    assert set(passages(flood)) == {"sealed", "key-not-active"}
    assert set(passages(late)) == {"key-not-active"}
    stopped = next(leaf["seq"] for leaf in read_leaves(world) if leaf["type"] == "key.state" and leaf["seq"] > 100)
    assert {leaf["type"] for leaf in read_leaves(world, stopped + 1)} == {"key.sign.denied"}
    check_closed_once(world)


@pytest.mark.req("KL-4")
def test_a_key_suspended_while_it_signs_ends_what_it_began_and_begins_nothing(genesis_world: World) -> None:
    """The intent was durable before the suspension and the signature may exist: it is recorded and released.

    The writer ends what is under way before a suspension; here somebody goes past it. The state stays suspended when
    the counts of the batch's uses are written.
    """
    world = genesis_world
    with flow_of(world) as flow:
        begun = flow.seal(make_order(world, b"1"))
        act(world, lambda: change_states(world.room.door, ["director"], "suspended", BY, why="theft"))
        later = flow.seal(make_order(world, b"2"))
        flow.finish()
    assert words(begun + later) == ["sealed", "key-not-active"]
    key = world.room.door.keyring.labelled("director")
    row = world.room.store.find(KeyRow, spki=key.spki) or {}
    assert (key.state, row["state"], row["uses"]) == ("suspended", "suspended", key.uses)
    check_closed_once(world)


@pytest.mark.req("AU-1")
def test_a_batch_that_is_refused_is_answered_at_once(genesis_world: World) -> None:
    world = genesis_world
    with flow_of(world) as flow:
        flying = flow.seal(make_order(world, b"1"))
        denied = flow.seal(make_order(world, b"", draft=make_draft(world, "journal", "challenge", b"x")))
        assert words(flying + denied) == ["open", "key-purpose-refused"]
        assert len(world.room.pipeline._batches) == 1
        flow.finish()
    check_closed_once(world)


def test_devices_are_issued_while_signatures_are_held(factory_world: World) -> None:
    """The writer finishes what is under way when nothing else waits: nobody waits for the next request."""
    with flow_of(factory_world) as flow:
        issued = asyncio.run(issue_device(factory_world, 1, make_request()))
        assert not issued.replayed
        assert [series.waited for series in flow.held] == [1]
    check_closed_once(factory_world)
