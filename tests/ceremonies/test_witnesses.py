"""The keyroom and its witnesses: ceremonies wait, bulk work may run ahead a little, a restored database is noticed."""

import asyncio
import json
import os
import shutil
import signal
import time
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from api.witness.notary import Reply
from ceremonies import commands, witnesses
from ceremonies.commands import CeremonyShown, ExecuteStep, Problem
from ceremonies.cosigned import Cosigned, keep_cosigned
from ceremonies.journal import JournalForked
from ceremonies.logkey import SPKI_PREFIX_LENGTH
from ceremonies.process import serve
from ceremonies.public import Publisher, anchor_path, published_path
from ceremonies.statements import apply_changes
from ceremonies.store import Insert
from ceremonies.tables import CertificateRow, DocumentRow
from ceremonies.witnesses import WitnessesBehind
from pki.log.audit import audit_journal
from pki.log.checkpoints import Checkpoint, parse_checkpoint
from pki.log.errors import AuditFailed
from pki.log.notes import LOG_KEY, VerifierKey, parse_note
from pki.log.policy import TrustPolicy, parse_policy, verify_checkpoint
from pki.log.proofs import verify_proof
from pki.log.witnesses import SIZE_TYPE, encode_cosignature
from tests.ceremonies.small import make_order, seal
from tests.pki.log.building import ORIGIN
from tests.witnessed import Bench, log_vkey, policy_text, witnessed_copy
from tests.witnessing import make_notary, serving
from tests.world import (
    RefusedError,
    World,
    copy_world,
    export_journal,
    issue_device,
    make_request,
    soft_keys,
    soft_world,
)

T = TypeVar("T")


@pytest.fixture
def bench(genesis_template: World, tmp_path: Path) -> Iterator[Bench]:
    """Three witnesses that know the journal of the templates."""
    made = Bench(tmp_path, log_vkey(genesis_template), 3)
    yield made
    made.close()


@pytest.fixture
def world(factory_template: World, tmp_path: Path, bench: Bench) -> Iterator[World]:
    """A started world with the work order wo-1, and a quorum of two of three witnesses."""
    started = witnessed_copy(factory_template, tmp_path / "world", bench, 2).start()
    started.room.witnesses.patience_s = 1.0
    yield started
    started.stop()


def do(work: Awaitable[T]) -> T:
    async def run() -> T:
        return await work

    return asyncio.run(run())


async def issue(world: World, number: int) -> commands.DeviceIssued:
    """A certificate for a key of its own."""
    return await issue_device(world, number, make_request())


def newest_document(world: World) -> str:
    return str(world.room.store.list(DocumentRow, "seq")[-1]["sha256"])


def trust(world: World) -> TrustPolicy:
    """What an auditor has: the log's key, and the quorum."""
    return parse_policy(f"log {log_vkey(world).encode()}\n{world.witnesses}".encode())


def head_of(world: World) -> Checkpoint:
    """What the world sees, if the quorum has cosigned it."""
    return verify_checkpoint(trust(world), published_path(world.room.settings).read_bytes()).checkpoint


def refusal(world: World, work: Awaitable[object]) -> str:
    with pytest.raises(RefusedError) as caught:
        do(work)
    return caught.value.code


@pytest.mark.req("T26", "AU-2")
def test_a_ceremony_is_answered_when_a_quorum_has_cosigned_it(world: World) -> None:
    asked = world.room.witnesses
    before = asked.latest.size
    assert before == parse_checkpoint(parse_note(asked.latest.note).text).size > 0
    do(world.open_order("wo-2"))
    assert asked.latest.size > before
    head = verify_checkpoint(trust(world), asked.latest.note)
    assert head.checkpoint.size == asked.latest.size
    assert len(head.witnesses) >= 2


@pytest.mark.req("T26", "AU-11")
def test_without_a_quorum_a_ceremony_is_not_answered_and_the_next_try_answers(world: World, bench: Bench) -> None:
    bench.switch_off(0)
    do(world.open_order("wo-2"))  # two of three suffice
    bench.switch_off(1)
    assert refusal(world, world.open_order("wo-3")) == "witnesses-behind"
    again = ExecuteStep("order-wo-3", "plan")
    assert refusal(world, world.ask(again, "officer", CeremonyShown)) == "witnesses-behind"
    bench.switch_on(1)
    shown = do(world.ask(again, "officer", CeremonyShown))
    assert shown.state == "closed"
    assert refusal(world, world.ask(again, "officer", CeremonyShown)) == "ceremony-over"


@pytest.mark.req("T26", "AU-11")
def test_what_no_quorum_covers_is_not_given_out(world: World, bench: Bench) -> None:
    publisher = Publisher(world.room)
    do(publisher.publish())
    covered = world.room.witnesses.latest
    assert published_path(world.room.settings).read_bytes() == covered.note
    for number in (0, 1):
        bench.switch_off(number)
    do(issue(world, 1))
    digest = newest_document(world)
    assert refusal(world, world.ask(commands.ShowProof(digest), "local", commands.ProofShown)) == "witnesses-behind"
    reading = world.ask(commands.ReadDocument(digest), "auditor", commands.DocumentRead)
    assert refusal(world, reading) == "witnesses-behind"
    do(publisher.publish())
    assert published_path(world.room.settings).read_bytes() == covered.note
    anchor = parse_checkpoint(parse_note(anchor_path(world.room.settings).read_bytes()).text)
    assert anchor.size == world.room.ledger.journal.size > covered.size
    bench.switch_on(0)
    read = do(world.ask(commands.ReadDocument(digest), "auditor", commands.DocumentRead))
    shown = do(world.ask(commands.ShowProof(digest), "local", commands.ProofShown))
    for proven in (read.proven, shown.proven):
        assert len(verify_proof(proven.proof, proven.entry, trust(world)).head.witnesses) >= 2
    do(publisher.publish())
    assert published_path(world.room.settings).read_bytes() == world.room.witnesses.latest.note


@pytest.mark.req("T26", "AU-11")
def test_lists_and_public_files_show_only_what_a_quorum_covers(world: World) -> None:
    do(world.room.witnesses.advance())
    sealed = seal(world, make_order(world, b"late"))
    row = {"label": "late-ca", "spki": "0" * 64, "document": sealed.sha256}
    with world.room.store.write() as connection:
        apply_changes(connection, [Insert(CertificateRow, row)])

    def shown() -> tuple[set[str], set[str]]:
        listed = do(world.ask(commands.ListCertificates(), "local", commands.DocumentsListed))
        do(Publisher(world.room).publish())
        published = {path.stem for path in (world.path / "public" / "ca").glob("*.pem")}
        return {name for name, _, _ in listed.documents}, published

    before = shown()
    assert before[0] == before[1] == {"device-ca", "identity-root", "service-ca", "site-ca"}
    do(world.room.witnesses.advance())
    assert shown() == (before[0] | {"late-ca"},) * 2


@pytest.mark.req("T26", "AU-11")
def test_bulk_work_runs_ahead_for_a_minute_and_not_longer(
    factory_template: World, tmp_path: Path, bench: Bench
) -> None:
    world = witnessed_copy(factory_template, tmp_path / "late", bench, 2)
    real, later = world.around, [0]
    world.around = msgspec.structs.replace(
        real, now_us=lambda: real.now_us() + later[0], mono_us=lambda: real.mono_us() + later[0]
    )
    world.start()
    for number in range(3):
        bench.switch_off(number)
    do(issue(world, 1))
    later[0] = 50_000_000
    do(issue(world, 2))
    later[0] = 61_000_000
    assert refusal(world, issue(world, 3)) == "witnesses-behind"
    health = do(world.ask(commands.ShowHealth(), "local", commands.HealthShown))
    assert not health.ready
    assert "more than a minute ahead" in health.problems[0]
    bench.switch_on(0)
    bench.switch_on(2)
    do(world.room.witnesses.advance())
    do(issue(world, 3))
    world.stop()


@pytest.mark.req("T26", "AU-11")
def test_bulk_work_runs_ahead_by_so_many_entries_and_not_more(
    world: World, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (witnesses.MAX_AHEAD, witnesses.MAX_AHEAD_US) == (10_000, 60_000_000)
    monkeypatch.setattr(witnesses, "MAX_AHEAD", 10)
    do(world.room.witnesses.advance())
    for number in range(3):
        bench.switch_off(number)
    start, number = world.room.witnesses.latest.size, 1
    with pytest.raises(RefusedError) as caught:
        while number < 20:
            do(issue(world, number))
            number += 1
    assert caught.value.code == "witnesses-behind"
    assert number == 6
    assert world.room.ledger.journal.size - start == 11  # ten, and the refusal


@pytest.mark.req("T26", "AU-11")
def test_after_a_start_nothing_is_sealed_before_a_quorum_answers(
    factory_template: World, tmp_path: Path, bench: Bench
) -> None:
    """Else a restored database could run ahead again after every restart."""
    bench.switch_off(0)
    bench.switch_off(1)
    world = witnessed_copy(factory_template, tmp_path / "alone", bench, 2).start()
    assert refusal(world, issue(world, 1)) == "witnesses-behind"
    bench.switch_on(1)
    do(world.room.witnesses.advance())
    do(issue(world, 1))
    world.stop()


def copy_state(world: World, path: Path) -> None:
    for name in ("data", "public"):
        shutil.copytree(world.path / name, path / name, dirs_exist_ok=True)


@pytest.mark.req("T26", "AU-11")
def test_yesterdays_database_does_not_start(world: World, tmp_path: Path) -> None:
    """Database, anchor, public files and tokens are all restored: nothing here remembers. The witnesses do."""
    do(Publisher(world.room).publish())
    world.stop()
    copy_state(world, tmp_path / "yesterday")
    memos = dict(soft_keys(world).memos)
    world.start()
    do(issue(world, 1))
    do(world.room.witnesses.advance())
    size = world.room.ledger.journal.size
    world.stop()
    for name in ("data", "public"):
        shutil.rmtree(world.path / name)
        shutil.copytree(tmp_path / "yesterday" / name, world.path / name)
    soft_keys(world).memos.update(memos)
    with pytest.raises(JournalForked, match=f"has cosigned {size} entries, the journal has"):
        world.start()
    restored = msgspec.structs.replace(world.settings(), witnesses="quorum none\n")
    world.start(restored).stop()  # nothing else would have noticed


@pytest.mark.req("T26", "AU-11")
def test_another_history_does_not_start(world: World, tmp_path: Path) -> None:
    world.stop()
    copy_state(world, tmp_path / "yesterday")
    memos = dict(soft_keys(world).memos)
    world.start()
    do(issue(world, 1))
    do(world.room.witnesses.advance())
    world.stop()
    for name in ("data", "public"):
        shutil.rmtree(world.path / name)
        shutil.copytree(tmp_path / "yesterday" / name, world.path / name)
    soft_keys(world).memos.update(memos)
    world.start(msgspec.structs.replace(world.settings(), witnesses="quorum none\n"))
    for number in range(2, 12):
        do(issue(world, number))
    world.stop()
    with pytest.raises(JournalForked, match="does not extend"):
        world.start()


@pytest.mark.req("T26", "AU-11")
def test_one_lying_witness_stops_no_running_keyroom(
    world: World, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    lie = Reply(409, b"%d\n" % 10**9, SIZE_TYPE)
    monkeypatch.setattr(bench.notaries[0], "answer", lambda _: lie)
    do(world.open_order("wo-2"))
    assert list(world.room.witnesses.failures) == ["w1"]
    assert "has cosigned 1000000000 entries" in world.room.witnesses.failures["w1"]
    do(issue(world, 1))


def drop_cosignatures(note: bytes) -> bytes:
    return b"".join(line for line in note.splitlines(keepends=True) if b"witness.example" not in line)


@pytest.mark.req("T26", "AU-2")
def test_an_export_holds_every_cosigned_checkpoint_and_the_quorum_is_demanded(world: World, bench: Bench) -> None:
    for number in (2, 3):
        do(world.open_order(f"wo-{number}"))
    files = do(export_journal(world))
    earlier = sorted(int(path.partition("/")[2]) for path in files if path.startswith("checkpoints/"))
    assert len(earlier) >= 3
    report = audit_journal(files.__getitem__, list(files), trust(world))
    assert (report.verdict, report.checkpoints) == ("authenticated", len(earlier))
    assert set(report.witnesses) <= {"w1", "w2", "w3"}
    assert len(report.witnesses) >= 2
    for path in ("checkpoint", f"checkpoints/{earlier[0]}"):
        bad = files | {path: drop_cosignatures(files[path])}
        with pytest.raises(AuditFailed, match="more witnesses"):
            audit_journal(bad.__getitem__, list(bad), trust(world))


@pytest.mark.req("AU-2")
def test_an_export_without_witnesses_ends_where_they_did(world: World, bench: Bench) -> None:
    for number in range(3):
        bench.switch_off(number)
    do(issue(world, 1))
    files = do(export_journal(world))
    assert files["checkpoint"] == world.room.witnesses.latest.note
    assert audit_journal(files.__getitem__, list(files), trust(world)).verdict == "authenticated"


@pytest.mark.req("T26", "AU-11")
def test_genesis_waits_for_witnesses_that_learn_of_the_log(tmp_path: Path) -> None:
    """The witnesses cannot know the journal's key before genesis has made it."""
    notary = make_notary(tmp_path / "w", logs=())
    world = soft_world(tmp_path / "world")
    with serving(notary) as url:
        world.witnesses = policy_text([(notary, url)], 1)
        world.start()
        world.room.witnesses.patience_s = 0.3
        assert refusal(world, world.genesis()) == "witnesses-behind"
        assert "404" in next(iter(world.room.witnesses.failures.values()))
        notary._logs = {"kedge.example/journal": [log_vkey(world)]}
        answer = do(world.try_ask(ExecuteStep("genesis", "results"), "local"))
        assert not isinstance(answer, Problem), answer
        do(world.open_order())
        world.stop()


@pytest.mark.req("AU-11")
def test_the_journals_key_is_told_before_the_last_step_of_genesis(tmp_path: Path) -> None:
    notary = make_notary(tmp_path / "w", logs=())
    world = soft_world(tmp_path / "world")
    with serving(notary) as url:
        world.witnesses = policy_text([(notary, url)], 1)
        world.start()

        async def genesis() -> None:
            plan = json.dumps(world.genesis_plan()).encode()
            await world.ask(commands.OpenGenesis("genesis", plan), "local", CeremonyShown)
            await world.approve("genesis", "plan", *world.officers)
            await world.ask(ExecuteStep("genesis", "plan"), "local", CeremonyShown)
            listed = await world.ask(commands.ListKeys(), "officer", commands.KeysListed)
            spki = next(key.public_key for key in listed.keys if key.label == "journal")
            notary._logs = {ORIGIN: [VerifierKey(ORIGIN, LOG_KEY, spki[SPKI_PREFIX_LENGTH:])]}
            await world.carry_out("genesis", *world.officers, role="local")

        do(genesis())
        assert world.room.witnesses.latest.size == world.room.ledger.journal.size - 1  # the last reads what was done
        world.stop()


@pytest.mark.req("T5", "AU-11")
def test_cosignatures_that_a_database_administrator_made_up_count_for_nothing(world: World, bench: Bench) -> None:
    for number in range(3):
        bench.switch_off(number)
    covered = world.room.witnesses.latest.size
    do(issue(world, 1))
    head = do(world.room.act(world.room.ledger.sign_checkpoint))
    lines = b"".join(encode_cosignature(notary.vkey, 5, bytes(64)) for notary in bench.notaries)
    keep_cosigned(world.room.store, Cosigned(world.room.ledger.journal.size, head + lines))
    world.stop()
    world.start()
    assert world.room.witnesses.latest.size == covered
    digest = newest_document(world)
    assert refusal(world, world.ask(commands.ShowProof(digest), "local", commands.ProofShown)) == "witnesses-behind"


@pytest.mark.req("T26", "AU-11")
def test_a_stricter_quorum_does_not_count_what_the_earlier_one_had(world: World, bench: Bench) -> None:
    bench.switch_off(0)
    do(world.open_order("wo-2"))
    world.stop()
    world.witnesses = bench.policy(3)
    world.start()
    assert world.room.witnesses.latest.size < world.room.ledger.journal.size
    assert refusal(world, issue(world, 1)) == "witnesses-behind"
    bench.switch_on(0)
    do(world.room.witnesses.advance())
    files = do(export_journal(world))
    report = audit_journal(files.__getitem__, list(files), trust(world))
    assert (report.verdict, report.witnesses) == ("authenticated", ("w1", "w2", "w3"))


@pytest.mark.req("T26", "AU-2")
def test_the_process_has_its_journal_cosigned_until_the_last_entry(world: World) -> None:
    published = published_path(world.room.settings)

    def wait(size: int) -> None:
        deadline = time.monotonic() + 20
        while not published.exists() or head_of(world).size < size:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    async def run() -> None:
        serving = asyncio.create_task(serve(world.room, world.path / "keyroom.toml"))
        await issue(world, 1)
        await asyncio.to_thread(wait, world.room.ledger.journal.size)
        os.kill(os.getpid(), signal.SIGTERM)
        await serving

    do(run())
    world.stopped = True
    assert head_of(world).size == world.room.ledger.journal.size


def test_a_slow_witness_holds_nobody_up(world: World, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    real = bench.notaries[0].answer

    def slow(body: bytes) -> object:
        time.sleep(1)
        return real(body)

    monkeypatch.setattr(bench.notaries[0], "answer", slow)
    started = time.monotonic()
    do(world.room.witnesses.demand(world.room.ledger.journal.size))
    assert time.monotonic() - started < 0.9
    assert len(parse_note(world.room.witnesses.latest.note).signatures) == 3


def test_nothing_is_asked_of_nobody(factory_template: World, tmp_path: Path) -> None:
    world = copy_world(factory_template, tmp_path / "world").start()
    do(world.room.witnesses.advance())
    do(world.room.witnesses.demand(10_000))
    world.room.witnesses.check_order(1_000_000)
    assert world.room.witnesses.problems() == []
    assert world.room.witnesses.covers(10_000)
    assert WitnessesBehind.code == "witnesses-behind"
    world.stop()
