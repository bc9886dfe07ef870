"""A database from yesterday starts when a quorum of officers says so, and then as if the worst had happened."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ceremonies import commands, salvage
from ceremonies.approvals import parse_template
from ceremonies.commands import Problem
from ceremonies.errors import QuorumNotMet
from ceremonies.feeds import read_cursor
from ceremonies.journal import JournalForked
from ceremonies.keyring import KeyNotActive
from ceremonies.ledger import Ledger
from ceremonies.losses import FILE, Proposal, RecoveryRefused
from ceremonies.public import Publisher, anchor_path, published_path
from ceremonies.settings import FeedPlace
from ceremonies.tiling import read_tile
from pki.log.checkpoints import parse_checkpoint
from pki.log.errors import AuditFailed
from pki.log.exports import verify_export
from pki.log.files import Files
from pki.log.notes import parse_note
from pki.log.policy import parse_policy
from pki.log.tiles import list_tiles
from tests.ceremonies.field import problem, read_leaves
from tests.ceremonies.salvaging import REASON, Loss
from tests.ceremonies.small import act, make_order, seal
from tests.ceremonies.templates import on_both_keys
from tests.witnessed import log_vkey
from tests.world import World, audit_world, export_journal, make_request


@pytest.fixture
def loss(factory_world: World, tmp_path: Path) -> Iterator[Loss]:
    """Yesterday's database under today's anchors."""
    made = Loss(factory_world, tmp_path)
    yield made
    made.world.stop()


@pytest.mark.req("AU-2", "T26")
@on_both_keys
def test_officers_let_a_restored_journal_go_on(loss: Loss) -> None:
    with pytest.raises(JournalForked, match=rf"journal of {loss.known + 0} entries .* published one of {loss.size}"):
        loss.world.start()
    loss.propose()
    loss.approve("alice", "bob")
    world = loss.recover()
    recover, *following = read_leaves(world)[loss.known :]
    assert recover.type == "log.recover"
    assert recover.op and recover.op.what
    what = recover.op.what
    assert what["lost"] == {"from": loss.known, "to": loss.size}
    assert (what["reason"], [item["officer"] for item in what["approvals"]]) == (REASON, ["alice", "bob"])
    checkpoint = parse_checkpoint(parse_note(loss.checkpoint).text)
    *files, token = [(item["size"], item["root"], item["signed"]) for item in what["anchors"]]
    assert files == [(checkpoint.size, checkpoint.root.hex(), True)] * 2
    assert loss.known < token[0] <= checkpoint.size  # written at the start of the lost part
    assert asyncio.run(world.room.act(world.room.anchor.read))[0].size > loss.known
    states = {key.label: key.state for key in world.room.door.keyring if key.state == "active"}
    assert states == {"journal": "active"}
    assert {leaf.type for leaf in following} == {"key.state", "log.start", "hsm.inventory"}
    report = asyncio.run(audit_world(world))
    assert report.verdict == "authenticated"
    assert report.recoveries == (f"entry {loss.known} gives up {what['lost']}: {REASON}",)


@pytest.mark.req("T26")
def test_the_next_starts_need_no_directory_and_the_world_sees_the_new_journal(loss: Loss) -> None:
    loss.propose()
    loss.approve("alice", "bob")
    world = loss.recover()
    asyncio.run(Publisher(world.room).publish())
    size = parse_checkpoint(parse_note(published_path(world.settings()).read_bytes()).text).size
    assert loss.known < size == world.room.ledger.journal.size
    for tile in (tile for tile in list_tiles(size) if tile.level >= 0):
        written = (world.path / "public" / "journal" / tile.path).read_bytes()
        assert written == read_tile(world.room.store, tile)
    world.stop()
    world.start()
    world.stop()
    # The directory may stay in the settings: a journal that extends its anchors is left alone.
    before = loss.recover().room.ledger.replay.recovered
    assert before == [loss.known]


@pytest.mark.req("T27")
def test_a_crash_right_after_the_recovery_was_written(loss: Loss, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both anchors are still of the lost journal; the entry names them."""
    loss.propose()
    loss.approve("alice", "bob")
    monkeypatch.setattr(Ledger, "anchor", end_here)
    with pytest.raises(RuntimeError):
        loss.recover()
    monkeypatch.undo()
    settings = loss.world.settings()
    assert [path(settings).read_bytes() for path in (anchor_path, published_path)] == [loss.checkpoint] * 2
    assert loss.world.start().room.ledger.replay.recovered == [loss.known]
    assert anchor_path(settings).read_bytes() != loss.checkpoint


@pytest.mark.req("T27")
def test_a_crash_right_before_it_was_written(loss: Loss, monkeypatch: pytest.MonkeyPatch) -> None:
    loss.propose()
    loss.approve("alice", "bob")
    monkeypatch.setattr(salvage, "write_recovery", end_here)
    with pytest.raises(RuntimeError):
        loss.recover()
    monkeypatch.undo()
    with pytest.raises(JournalForked):
        loss.world.start()
    assert loss.recover().room.ledger.replay.recovered == [loss.known]


def end_here(*_args: Any) -> None:
    """The process gets no further."""
    raise RuntimeError("the process ends here")


@pytest.mark.req("AZ-3", "T6")
def test_without_the_quorum_nothing_starts_and_nothing_is_written(loss: Loss) -> None:
    before = (loss.world.path / "data" / "kedge.db").read_bytes()
    with pytest.raises(RecoveryRefused, match=FILE):
        loss.recover()
    proposal = loss.propose()
    with pytest.raises(QuorumNotMet, match="0 of 2"):
        loss.recover()
    loss.approve("alice")
    with pytest.raises(QuorumNotMet, match="1 of 2"):
        loss.recover()
    # The same officer under another's name, a stranger, and a statement whose signature is another's.
    name = f"{proposal.ceremony}-plan-"
    for other in ("bob", "mallory"):
        for end in ("json", "json.sig"):
            shutil.copy(loss.directory / f"{name}alice.{end}", loss.directory / f"{name}{other}.{end}")
    with pytest.raises(QuorumNotMet, match="1 of 2"):
        loss.recover()
    loss.approve("bob")
    loss.approve("carol", decision="reject")
    with pytest.raises(QuorumNotMet, match="rejected by carol"):
        loss.recover()
    assert (loss.world.path / "data" / "kedge.db").read_bytes() == before
    assert anchor_path(loss.world.settings()).read_bytes() == loss.checkpoint


@pytest.mark.req("T6", "T26")
@pytest.mark.parametrize("field", ["reason", "lost", "database", "anchors"])
def test_a_statement_about_something_else_is_none(loss: Loss, field: str) -> None:
    """What officers signed is rebuilt from the database and the anchors: an altered file cannot be approved."""
    proposal = loss.propose()
    shown = json.loads(proposal.shown)
    shown[field] = {"reason": "nothing happened", "lost": {"from": 0, "to": 0}}.get(field, [])
    altered = msgspec.structs.replace(proposal, shown=msgspec.json.encode(shown, order="sorted"))
    (loss.directory / FILE).write_bytes(msgspec.json.encode(altered))
    loss.approve("alice", "bob")
    with pytest.raises(RecoveryRefused):
        loss.recover()


@pytest.mark.req("T6", "T26")
def test_an_approval_is_for_these_anchors_and_not_for_ever(loss: Loss) -> None:
    loss.propose()
    loss.approve("alice", "bob")
    anchor_path(loss.world.settings()).unlink()
    with pytest.raises(RecoveryRefused, match="other anchors"):
        loss.recover()
    anchor_path(loss.world.settings()).write_bytes(loss.checkpoint)
    proposal = msgspec.json.decode((loss.directory / FILE).read_bytes(), type=Proposal)
    seconds = parse_template(proposal.template).not_after.timestamp() + 1
    real = loss.world.around
    loss.world.around = msgspec.structs.replace(real, now_us=lambda: int(seconds * 1_000_000))
    with pytest.raises(QuorumNotMet):
        loss.recover()
    loss.world.around = real
    loss.recover()


@pytest.mark.req("T26")
def test_a_recovery_that_nobody_approved_does_not_start(loss: Loss) -> None:
    """Who can write to the database writes the entry, in its place, and takes a statement away that it names."""
    loss.propose()
    loss.approve("alice", "bob")
    world = loss.recover()
    leaf = read_leaves(world)[loss.known]
    assert leaf.op and leaf.op.what
    gone = leaf.op.what["approvals"][0]["statement"]
    with world.room.store.write() as connection:
        connection.exec_driver_sql(f"DELETE FROM blob WHERE sha256 = '{gone}'")
    world.stop()
    with pytest.raises(JournalForked, match="no quorum of officers approved"):
        world.start()


@pytest.mark.req("T6", "T26")
def test_the_approvals_are_counted_again_at_every_start(loss: Loss, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes a `log.recover` into the database, with all that hangs on it, has no officers' signatures."""
    loss.propose()
    loss.approve("alice")
    with monkeypatch.context() as patched:
        patched.setattr(salvage, "demand_quorum", lambda *_: ("alice",))
        world = loss.recover()
    assert world.room.ledger.replay.recovered == [loss.known]
    world.stop()
    with pytest.raises(JournalForked, match="1 of 2 approvals"):
        world.start()


@pytest.mark.req("T26")
def test_a_second_loss_needs_a_second_approval(loss: Loss, tmp_path: Path) -> None:
    loss.propose()
    loss.approve("alice", "bob")
    world, data = loss.recover(), loss.world.path / "data"
    world.stop()
    shutil.copytree(data, tmp_path / "again")
    world.start()
    asyncio.run(world.ceremony("back", "resume", {"labels": ["director"], "reason": "looked at"}))
    asyncio.run(Publisher(world.room).publish())
    world.stop()
    shutil.rmtree(data)
    shutil.copytree(tmp_path / "again", data)
    with pytest.raises(JournalForked):
        world.start()
    with pytest.raises(RecoveryRefused):
        loss.recover()


@pytest.mark.req("KL-4", "T26")
def test_what_the_lost_entries_may_have_used_is_not_used_again(loss: Loss) -> None:
    async def ask(number: int) -> str:
        answer = await world.try_ask(commands.IssueDevice("wo-1", f"BMS-{number:06}", make_request()), "station")
        return answer.code if isinstance(answer, Problem) else ""

    loss.propose()
    loss.approve("alice", "bob")
    world = loss.recover()
    with pytest.raises(KeyNotActive, match="director is suspended"):
        seal(world, make_order(world, b"anything"))
    labels = ["device-ca", "identity-root", "site-ca"]
    asyncio.run(world.ceremony("back", "resume", {"labels": labels, "reason": "counted what was lost"}))
    # Serials 2 and 3 were certified by entries that are lost: the order is closed, for them and for all others.
    assert [asyncio.run(ask(number)) for number in (2, 4)] == ["work-order-closed"] * 2
    asyncio.run(world.open_order("wo-2"))
    csr = make_request()
    command = commands.IssueDevice("wo-2", "BMS-000009", csr)
    asyncio.run(world.ask(command, "station", commands.DeviceIssued))
    key = world.room.door.keyring.labelled("device-ca")
    assert key.uses == loss.uses["device-ca"] + loss.size - loss.known + 1
    report = asyncio.run(audit_world(world))
    assert report.uses[f"device-ca {key.spki[:16]}"] == key.uses


@pytest.mark.req("AU-10", "T26")
def test_an_increment_from_after_the_recovery_counts_on(loss: Loss) -> None:
    """The entry stands for the last use of each key that it names, also where it is carried."""
    loss.propose()
    loss.approve("alice", "bob")
    world = loss.recover()
    labels = ["device-ca", "identity-root", "site-ca"]
    asyncio.run(world.ceremony("back", "resume", {"labels": labels, "reason": "counted what was lost"}))
    asyncio.run(world.open_order("wo-2"))
    while world.room.ledger.journal.size < 256 + loss.known:  # so that the increment's first bundle begins after it
        act(world, lambda: world.room.ledger.record([{"type": "probe"}] * 64))
    before = asyncio.run(export_journal(world))["checkpoint"]
    command = commands.IssueDevice("wo-2", "BMS-000009", make_request())
    asyncio.run(world.ask(command, "station", commands.DeviceIssued))
    files = asyncio.run(export_since(world, before))
    policy = parse_policy(f"log {log_vkey(world).encode()}\nquorum none\n".encode())
    report = verify_export(Files(files.__getitem__, frozenset(files), policy), before)
    key = world.room.door.keyring.labelled("device-ca")
    assert report.uses[f"device-ca {key.spki[:16]}"] == key.uses
    assert f"proven/{loss.known}.json" in files


async def export_since(world: World, note: bytes) -> dict[str, bytes]:
    """Every file of an increment."""
    since, files, cursor, size = parse_checkpoint(parse_note(note).text), dict[str, bytes](), "", 0
    while True:
        command = commands.ExportJournal(size, cursor, since=since.size, root=since.root.hex())
        part = await world.ask(command, "auditor", commands.JournalPart)
        files.update(part.files)
        size, cursor = part.size, part.cursor
        if not cursor:
            return files


@pytest.mark.req("AZ-3", "T26")
def test_approvals_from_before_are_void(factory_world: World, tmp_path: Path) -> None:
    """A step that was approved in what is left may have been executed in what is lost."""
    plan = {"labels": ["site-ca"], "reason": "never used"}
    asyncio.run(factory_world.propose("drop", "destroy", plan))
    asyncio.run(factory_world.approve("drop", "plan", "bob", "carol"))
    loss = Loss(factory_world, tmp_path)
    loss.propose()
    loss.approve("alice", "bob")
    world = loss.recover()
    answer = problem(asyncio.run(world.try_ask(commands.ExecuteStep("drop", "plan"), "officer")))
    assert answer.code == "ceremony-over"
    shown = asyncio.run(world.ask(commands.ShowCeremony("drop"), "local", commands.CeremonyShown))
    assert shown.state == "aborted"
    world.stop()
    assert "drop" in world.start().room.ledger.replay.closed
    world.stop()


@pytest.mark.req("AU-2", "T26")
def test_a_fork_stays_visible_to_whoever_saw_the_lost_part(loss: Loss) -> None:
    loss.propose()
    loss.approve("alice", "bob")
    world = loss.recover()
    files = asyncio.run(export_journal(world))
    policy = parse_policy(f"log {log_vkey(world).encode()}\nquorum none\n".encode())
    export = Files(files.__getitem__, frozenset(files), policy)
    assert verify_export(export).recoveries
    with pytest.raises(AuditFailed, match="since"):
        verify_export(export, loss.checkpoint)


@pytest.mark.req("T26")
def test_a_milestone_of_the_lost_journal_is_left_behind(loss: Loss) -> None:
    milestone = loss.world.path / "data" / "milestone"
    milestone.write_bytes(b"of another journal")
    loss.propose()
    loss.approve("alice", "bob")
    loss.recover()
    assert not milestone.exists()


@pytest.mark.req("T26")
def test_feeds_go_back_to_where_the_journal_goes_on(loss: Loss) -> None:
    """Else they would never tell of the recovery."""
    feeds = loss.world.path / "data" / "feeds"
    feeds.mkdir()
    (feeds / "ahead").write_text(f"{loss.size}\n")
    (feeds / "behind").write_text("7\n")
    places = tuple(FeedPlace(name, f"file:{loss.world.path / name}") for name in ("ahead", "behind", "new"))
    loss.propose()
    loss.approve("alice", "bob")
    loss.world.start(msgspec.structs.replace(loss.world.settings(), recovery=loss.directory, feeds=places))
    assert [read_cursor(feeds / place.name) for place in places] == [loss.known, 7, 0]


def test_more_keys_than_one_entry_can_name(loss: Loss) -> None:
    loss.propose()
    loss.approve("alice", "bob")
    key = loss.recover().room.door.keyring.labelled("device-ca")
    keys = [msgspec.structs.replace(key, uses=number) for number in range(130)]
    drafts = list(salvage.word_recovery({"database": {}}, keys))
    assert [len(draft["keys"]) for draft in drafts] == [64, 64, 1]
    assert ["database" in draft["op"]["what"] for draft in drafts] == [True, False, False]
    assert [list(draft) for draft in salvage.word_recovery({}, [])] == [["type", "actor", "op"]]
