"""The journal's key is changed: both keys sign for an overlap, and whoever knows one of them can follow."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ceremonies import commands, succession
from ceremonies.approvals import parse_template
from ceremonies.commands import CeremonyShown, ExecuteStep, SuspendKey
from ceremonies.logkey import CheckpointRejected
from ceremonies.public import Publisher, anchor_path, published_path
from pki.log.audit import audit_journal
from pki.log.checkpoints import parse_checkpoint
from pki.log.errors import AuditFailed
from pki.log.exports import verify_export
from pki.log.files import Files
from pki.log.notes import VerifierKey, parse_note, verify_note
from pki.log.policy import parse_policy
from pki.log.reports import Report
from tests.ceremonies.field import execute, problem, propose, read_leaves
from tests.ceremonies.small import act
from tests.ceremonies.templates import on_both_keys
from tests.witnessed import Bench, log_vkey, witnessed_copy
from tests.world import RefusedError, World, export_journal

ROTATE = {"label": "journal-2", "token": "kedge-journal", "reason": "five years old"}
RETIRE = {"label": "journal", "reason": "every reader has the new key"}


def rotate(world: World) -> None:
    """Begin the overlap."""
    asyncio.run(world.ceremony("change", "log-key-rotate", ROTATE))


def retire(world: World) -> None:
    """End it."""
    asyncio.run(world.ceremony("end", "log-key-retire", RETIRE))


def signers(world: World) -> list[VerifierKey]:
    """Which keys sign the head now, in the order of their lines."""
    log_key = world.room.ledger.log_key
    assert log_key is not None
    note = act(world, world.room.ledger.sign_checkpoint)
    assert len(parse_note(note).signatures) == len(log_key.vkeys)
    return [item.key for item in verify_note(note, log_key.known)[1]]


def keys_of(world: World) -> dict[str, str]:
    """The states of the journal's keys."""
    return {key.label: key.state for key in world.room.door.keyring if key.role == "journal"}


def restart(world: World) -> World:
    """A crash: nothing is said, everything is read anew."""
    world.stop()
    return world.start()


def audit(files: dict[str, bytes], *vkeys: VerifierKey) -> Report:
    """What an auditor with these log keys finds."""
    lines = [f"log {vkey.encode()}\n" for vkey in vkeys]
    return audit_journal(files.__getitem__, list(files), parse_policy("".join([*lines, "quorum none\n"]).encode()))


@pytest.mark.req("AU-2", "AU-4")
@on_both_keys
def test_both_keys_sign_for_the_overlap_and_then_the_new_one(genesis_world: World) -> None:
    world = genesis_world
    (old,) = signers(world)
    rotate(world)
    _, new = signers(world)
    assert (signers(world), keys_of(world)) == ([old, new], {"journal": "active", "journal-2": "active"})
    overlap = asyncio.run(export_journal(world))
    for known in ([old], [new], [old, new]):
        assert audit(overlap, *known).verdict == "authenticated"
    assert signers(restart(world)) == [old, new]
    retire(world)
    assert (signers(world), keys_of(world)) == ([new], {"journal": "deactivated", "journal-2": "active"})
    after = asyncio.run(export_journal(world))
    assert [audit(after, *known).signers for known in ([new], [old, new])] == [(new.encode(),)] * 2
    with pytest.raises(AuditFailed, match="signed by no known key"):
        audit(after, old)
    assert signers(restart(world)) == [new]
    asyncio.run(world.ceremony("gone", "destroy", {"labels": ["journal"], "reason": "the overlap is over"}))
    assert keys_of(world) == {"journal": "destroyed", "journal-2": "active"}
    assert signers(restart(world)) == [new]
    assert audit(asyncio.run(export_journal(world)), new).open == 0


@pytest.mark.req("AU-4")
def test_an_auditor_follows_from_the_old_key_to_the_new_one(genesis_world: World) -> None:
    """With the old key to the overlap, from there with the new one."""
    world = genesis_world
    (old,) = signers(world)
    before = act(world, world.room.ledger.sign_checkpoint)
    rotate(world)
    overlap = asyncio.run(export_journal(world))
    _, new = signers(world)
    retire(world)
    after = asyncio.run(export_journal(world))
    for files, since, vkey in ((overlap, before, old), (after, overlap["checkpoint"], new)):
        policy = parse_policy(f"log {vkey.encode()}\nquorum none\n".encode())
        report = verify_export(Files(files.__getitem__, frozenset(files), policy), since)
        assert (report.verdict, report.since) == ("authenticated", parse_checkpoint(parse_note(since).text).size)


@pytest.mark.req("AU-1", "KL-9")
def test_the_entries_say_what_was_approved_by_whom(genesis_world: World) -> None:
    world = genesis_world
    (old,) = signers(world)
    rotate(world)
    new = signers(world)[1]
    retire(world)
    begin, end = [leaf for leaf in read_leaves(world) if leaf.type == "log.key.rotate"]
    pair = {"old": old.encode(), "new": new.encode()}
    told = [("begin", ROTATE["reason"], "change"), ("end", RETIRE["reason"], "end")]
    assert end.op and end.op.what
    kept = world.room.store.blob(str(end.op.what.pop("checkpoint"))) or b""
    assert [item.key for item in verify_note(kept, [old, new])[1]] == [old, new]  # for who reads only afterwards
    for leaf, (moment, reason, ceremony) in zip((begin, end), told, strict=True):
        assert leaf.op and leaf.apr and leaf.keys
        assert (leaf.op.what, leaf.cer) == ({"act": moment, "reason": reason, **pair}, ceremony)
        assert [item.officer for item in leaf.apr] == ["bob", "carol"]
        assert [key.label for key in leaf.keys] == ["journal", "journal-2"]
    following = [leaf.type for leaf in read_leaves(world)[begin.seq : begin.seq + 3]]
    assert following == ["log.key.rotate", "key.state", "ceremony.close"]


@pytest.mark.req("AZ-3", "KL-9")
def test_nothing_changes_without_the_quorum(genesis_world: World) -> None:
    world = genesis_world
    before = signers(world)

    async def play() -> None:
        await world.propose("change", "log-key-rotate", ROTATE)
        for officers in ((), ("alice",)):
            await world.approve("change", "plan", *officers)
            assert problem(await execute(world, "change", "plan")).code == "quorum-not-met"
        await world.approve("change", "plan", "bob")
        shown = await world.ask(ExecuteStep("change", "plan"), "officer", CeremonyShown)
        kinds = {item.step: parse_template(item.template).params["kinds"] for item in shown.steps}
        assert kinds == {"plan": ["key.generate", "log.key.rotate"], "results": ["key.active", "log.key.rotate"]}
        assert problem(await execute(world, "change", "results")).code == "quorum-not-met"
        for role in ("station", "auditor", "operator", "pipeline"):
            command = commands.OpenCeremony("other", "log-key-rotate", msgspec.json.encode(ROTATE))
            assert problem(await world.try_ask(command, role)).code == "role-refused"

    asyncio.run(play())
    assert (signers(world), keys_of(world)["journal-2"]) == (before, "pre-activation")
    assert signers(restart(world)) == before
    asyncio.run(world.carry_out("change", "bob", "carol"))
    assert len(signers(world)) == 2
    asyncio.run(world.propose("end", "log-key-retire", RETIRE))
    assert problem(asyncio.run(execute(world, "end", "plan"))).code == "quorum-not-met"
    assert len(signers(world)) == 2


@pytest.mark.parametrize(
    ("action", "plan", "code"),
    [
        ("log-key-rotate", {**ROTATE, "label": "director"}, "plan-malformed"),
        ("log-key-rotate", {**ROTATE, "token": "kedge-main"}, "plan-malformed"),
        ("log-key-rotate", {**ROTATE, "role": "journal"}, "plan-malformed"),
        ("log-key-retire", RETIRE, "overlap-refused"),
        ("log-key-retire", {**RETIRE, "label": "director"}, "overlap-refused"),
        ("log-key-retire", {**RETIRE, "label": "nobody"}, "key-unknown"),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_proposed(
    refusing_genesis: World, action: str, plan: dict[str, Any], code: str
) -> None:
    assert problem(asyncio.run(propose(refusing_genesis, "odd", action, plan))).code == code


def test_one_overlap_at_a_time(genesis_world: World) -> None:
    world = genesis_world

    async def play() -> None:
        for name, label in (("one", "journal-2"), ("two", "journal-3")):
            await world.propose(name, "log-key-rotate", {**ROTATE, "label": label})
            await world.approve(name, "plan", "bob", "carol")
        await world.ask(ExecuteStep("two", "plan"), "officer", CeremonyShown)
        await world.ask(ExecuteStep("one", "plan"), "officer", CeremonyShown)
        await world.carry_out("one", "bob", "carol")
        await world.approve("two", "results", "bob", "carol")
        assert problem(await execute(world, "two", "results")).code == "overlap-refused"
        refused = problem(await propose(world, "three", "log-key-rotate", {**ROTATE, "label": "journal-4"}))
        assert refused.code == "overlap-refused"
        await world.ceremony("tidy", "destroy", {"labels": ["journal-3"], "reason": "never used"})

    asyncio.run(play())
    assert keys_of(world) == {"journal": "active", "journal-2": "active", "journal-3": "destroyed"}
    assert len(signers(restart(world))) == 2


@pytest.mark.req("KL-9")
def test_one_officer_stops_one_of_two_keys_and_never_the_last(genesis_world: World) -> None:
    world = genesis_world
    rotate(world)
    old, new = signers(world)
    asyncio.run(world.ask(SuspendKey("journal", "stolen"), "officer", commands.KeysListed))
    assert signers(world) == [new]
    assert problem(asyncio.run(world.try_ask(SuspendKey("journal-2", "all"), "officer"))).code == "journal-key-needed"
    assert signers(restart(world)) == [new]
    asyncio.run(world.ceremony("back", "resume", {"labels": ["journal"], "reason": "found again"}))
    assert signers(world) == [old, new]


@pytest.mark.engines
@pytest.mark.req("T27")
def test_a_crash_after_the_change_was_committed(genesis_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The anchor is still by the keys of before. The start believes it, and the keys of now sign."""
    world, anchor = genesis_world, anchor_path(genesis_world.settings())
    for begin_or_end, count in ((rotate, 2), (retire, 1)):
        before = anchor.read_bytes()
        with monkeypatch.context() as patched:
            patched.setattr(succession, "adopt_log_key", end_here)
            with pytest.raises(RefusedError, match="internal-error"):
                begin_or_end(world)
        assert anchor.read_bytes() == before
        found = signers(restart(world))
        assert (len(found), len(parse_note(anchor.read_bytes()).signatures)) == (count, count)
    assert problem(asyncio.run(execute(world, "change", "results"))).code == "ceremony-over"


def end_here(*_args: Any) -> None:
    """The process gets no further."""
    raise RuntimeError("the process ends here")


@pytest.mark.req("T26")
def test_a_published_checkpoint_by_the_old_key_alone_is_believed_for_ever(genesis_world: World) -> None:
    """The public directory may lag behind; what it shows was signed by a key that the journal names."""
    world = genesis_world
    asyncio.run(Publisher(world.room).publish())
    published = published_path(world.settings()).read_bytes()
    rotate(world)
    retire(world)
    assert published_path(world.settings()).read_bytes() == published
    assert len(signers(restart(world))) == 1


@pytest.mark.req("T26")
def test_a_database_from_before_the_new_key_does_not_start(genesis_world: World, tmp_path: Path) -> None:
    """Its journal does not name the key that signed the anchor."""
    world, data = genesis_world, genesis_world.path / "data"
    world.stop()
    shutil.copytree(data, tmp_path / "yesterday")
    world.start()
    rotate(world)
    retire(world)
    world.stop()
    anchor = anchor_path(world.settings()).read_bytes()
    shutil.rmtree(data)
    shutil.copytree(tmp_path / "yesterday", data)
    anchor_path(world.settings()).write_bytes(anchor)
    with pytest.raises(CheckpointRejected, match="no key that this journal names"):
        world.start()


@pytest.mark.req("AU-4", "T26")
def test_witnesses_that_know_either_key_cosign_the_overlap(factory_template: World, tmp_path: Path) -> None:
    old = log_vkey(factory_template)
    bench = Bench(tmp_path, old, 2)
    world = witnessed_copy(factory_template, tmp_path / "world", bench, 2)
    world.start()
    world.room.witnesses.patience_s = 1.0
    try:
        asyncio.run(world.room.witnesses.advance())
        rotate(world)
        new = log_vkey(world)
        asyncio.run(Publisher(world.room).publish())
        # One witness is told of the new key, the other is not: after the overlap it knows nobody who signs.
        bench.notaries[0]._logs = {old.name: (old, new)}
        asyncio.run(world.room.witnesses.advance())
        assert world.room.witnesses.failures == {}
        with pytest.raises(RefusedError) as refused:
            retire(world)
        assert refused.value.code == "witnesses-behind"
        assert "403" in refused.value.problem.message
        bench.notaries[1]._logs = {old.name: (new,)}
        asyncio.run(world.room.witnesses.advance())
        files = asyncio.run(export_journal(world))
        earlier = [path for path in files if path.startswith("checkpoints/")]
        alone = [path for path in earlier if len(parse_note(files[path]).signatures) == 3]
        assert alone
        policy = parse_policy(f"log {new.encode()}\n{world.witnesses}".encode())
        assert audit_journal(files.__getitem__, list(files), policy).checkpoints == len(earlier)
        # The same files without the entries' word for the old key: nobody vouches for its checkpoints.
        mixed = parse_note(files[alone[0]])
        files[alone[0]] = files[alone[0]].replace(mixed.signatures[0].encode(), b"")
        with pytest.raises(AuditFailed, match=alone[0]):
            audit_journal(files.__getitem__, list(files), policy)
        restart(world)
    finally:
        world.stop()
        bench.close()
