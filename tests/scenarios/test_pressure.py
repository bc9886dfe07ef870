"""What a caller, or a part of the keyroom that fails, can do to others: stop, starve, exceed, repeat, look inside."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from ceremonies import writer
from ceremonies.commands import DeviceIssued, IssueDevice, KeysListed, Problem, SuspendKey
from ceremonies.keyring import KeyNotActive
from ceremonies.recording import Recording
from ceremonies.store import StoreUnavailable
from ceremonies.tables import EntryRow
from tests.engines import tamper
from tests.scenarios.test_crashes import check_journal, crash
from tests.world import RefusedError, World, copy_world, export_journal, make_request

FLOOD = 120


def orders(count: int) -> list[IssueDevice]:
    """Requests for as many devices."""
    return [IssueDevice("wo-1", f"BMS-{number:06}", make_request()) for number in range(1, count + 1)]


@pytest.mark.engines
@pytest.mark.req("KL-12", "T12")
def test_a_suspension_in_a_flood_is_done_in_time_and_nothing_is_signed_after_it(
    factory_template: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was under way ends; no intent follows the suspension, and nobody gets more than has an outcome."""
    monkeypatch.setattr(writer, "BATCH", 4)
    world = copy_world(factory_template, tmp_path).start()
    signing = asyncio.Event()
    real = world.room.door.strongbox.start

    async def run() -> None:
        loop = asyncio.get_running_loop()

        def start(items: Any) -> Any:
            loop.call_soon_threadsafe(signing.set)
            time.sleep(0.02)
            return real(items)

        monkeypatch.setattr(world.room.door.strongbox, "start", start)
        asked = [asyncio.create_task(world.try_ask(order, "station")) for order in orders(20) * (FLOOD // 20)]
        await asyncio.wait_for(signing.wait(), 30)
        begun = time.monotonic()
        await world.ask(SuspendKey("device-ca", "stolen"), "officer", KeysListed)
        assert time.monotonic() - begun < 1
        answers = await asyncio.gather(*asked)
        leaves = await check_journal(world)
        stop = next(leaf["seq"] for leaf in leaves if leaf["type"] == "key.state" and "out" not in leaf
                    and leaf["op"]["what"]["to"] == "suspended")  # fmt: skip
        late = [leaf for leaf in leaves[stop:] if leaf["type"] == "key.sign.intent"]
        released = {answer.proven.index for answer in answers if isinstance(answer, DeviceIssued)}
        assert late == []
        assert released <= {leaf["seq"] for leaf in leaves if leaf["type"] == "key.sign.outcome"}
        assert any(isinstance(answer, Problem) and answer.code == KeyNotActive.code for answer in answers)

    try:
        asyncio.run(run())
    finally:
        world.stop()


@pytest.mark.engines
@pytest.mark.req("T12")
@pytest.mark.parametrize("batch", [1, 3, 256])
def test_a_quota_is_not_exceeded_and_a_name_not_given_twice_by_concurrency(
    factory_template: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    """25 serials for 20 units; each serial asked for with two keys, one key for two serials: across batches."""
    monkeypatch.setattr(writer, "BATCH", batch)
    world = copy_world(factory_template, tmp_path).start()
    shared = make_request()

    async def run() -> None:
        asked = [IssueDevice("wo-1", f"BMS-{number:06}", make_request()) for number in range(1, 26) for _ in range(2)]
        asked += [IssueDevice("wo-1", f"BMS-{number:06}", shared) for number in range(1, 26)]
        answers = await asyncio.gather(*(world.try_ask(order, "station") for order in asked))
        issued = [answer for answer in answers if isinstance(answer, DeviceIssued)]
        codes = {answer.code for answer in answers if isinstance(answer, Problem)}
        assert len(issued) == len({item.serial for item in issued}) == len({item.ueid for item in issued}) == 20
        assert codes <= {"serial-taken", "key-known", "quota-exhausted"}
        assert world.room.ledger.replay.quotas["wo-1"].issued == 20
        await check_journal(world)

    try:
        asyncio.run(run())
    finally:
        world.stop()


@pytest.mark.req("AU-1", "T27")
def test_a_request_with_another_body_is_refused_across_a_crash_and_across_batches(
    hsm_template: World, tmp_path: Path
) -> None:
    world = copy_world(hsm_template, tmp_path)
    first, other = make_request(), make_request()
    crash(world, "after sign", "station", IssueDevice("wo-1", "BMS-000001", first))
    world.start()

    async def run() -> None:
        refused = await world.try_ask(IssueDevice("wo-1", "BMS-000001", other), "station")
        elsewhere = await world.try_ask(IssueDevice("wo-1", "BMS-000002", first), "station")
        both = await asyncio.gather(
            *(world.try_ask(IssueDevice("wo-1", "BMS-000001", csr), "station") for csr in (other, first, other, first))
        )
        assert [answer.code for answer in (refused, elsewhere) if isinstance(answer, Problem)] == [
            "serial-taken", "key-known",
        ]  # fmt: skip
        assert [isinstance(answer, DeviceIssued) for answer in both] == [False, True, False, True]
        assert len({answer.certificate for answer in both if isinstance(answer, DeviceIssued)}) == 1
        await check_journal(world)

    try:
        asyncio.run(run())
    finally:
        world.stop()


@pytest.mark.engines
@pytest.mark.req("AU-1", "AU-6")
def test_who_belongs_to_a_batch_whose_outcomes_fail_gets_nothing(
    factory_template: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T2 fails once in a pipeline of small batches: that batch is refused and closed as unknown, the others go on."""
    monkeypatch.setattr(writer, "BATCH", 2)
    world = copy_world(factory_template, tmp_path).start()
    real, failed = Recording.write, list[int]()

    def write(recording: Recording) -> object:
        if recording._closing and len(failed) < 3:  # one outcome or two, as they come in
            failed.append(len(recording._closing))
            raise StoreUnavailable("the disk is full")
        return real(recording)

    monkeypatch.setattr(Recording, "write", write)

    async def run() -> None:
        asked = orders(16)
        answers = await asyncio.gather(*(world.try_ask(order, "station") for order in asked))
        assert any(isinstance(answer, Problem) for answer in answers)
        again = await asyncio.gather(*(world.ask(order, "station", DeviceIssued) for order in asked))
        for before, after in zip(answers, again, strict=True):
            assert after.replayed == isinstance(before, DeviceIssued)
            assert not isinstance(before, DeviceIssued) or before.certificate == after.certificate
        assert world.room.ledger.replay.quotas["wo-1"].issued == 16
        leaves = await check_journal(world)
        assert sum(leaf["type"] == "key.sign.unknown" for leaf in leaves) >= max(failed)
        assert len(leaves) == len(world.room.store.list(EntryRow, "seq"))

    try:
        asyncio.run(run())
        assert failed
    finally:
        world.stop()


@pytest.mark.req("T26")
def test_an_entry_that_is_taken_away_behind_a_running_keyroom_is_no_proof(
    factory_template: World, tmp_path: Path
) -> None:
    """Somebody with the database's password hides an entry: what it released is refused, and no start accepts it."""
    world = copy_world(factory_template, tmp_path).start()

    async def run() -> None:
        command = IssueDevice("wo-1", "BMS-000001", make_request())
        issued = await world.ask(command, "station", DeviceIssued)
        tamper(world.room.store, "DELETE FROM entry WHERE seq = :seq", seq=issued.proven.index)
        answer = await world.try_ask(command, "station")
        assert isinstance(answer, Problem)
        assert answer.code == "journal-forked"
        with pytest.raises(RefusedError):
            await export_journal(world)

    try:
        asyncio.run(run())
    finally:
        world.stop()
    with pytest.raises(Exception, match=r"entry|journal") as refused:
        world.start()
    assert getattr(refused.value, "code", "") == "journal-forked"
