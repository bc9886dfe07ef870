"""The anchor in the journal's token: kept up to date, demanded at a start, and every way in which it can be wrong."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ceremonies.anchors import ALARM, LABEL, NEVER_S, AnchorUnwritten, TokenAnchor
from ceremonies.errors import KeyroomError
from ceremonies.events import describe_entry
from ceremonies.journal import JournalForked
from ceremonies.ledger import Ledger
from ceremonies.logkey import CheckpointRejected
from ceremonies.settings import KeyroomSettings
from ceremonies.upkeep import FORKED, Upkeep
from hsm.errors import CallFailed, CallRefused, HsmError, MemoInvalid
from pki.log.checkpoints import parse_checkpoint
from pki.log.errors import LogError
from pki.log.notes import parse_note
from tests.ceremonies.examples import read_leaves
from tests.ceremonies.templates import Templates
from tests.softbox import Softbox
from tests.world import World, copy_world, issue_device, make_request, soft_keys, soft_world

PLACE = ("kedge-journal", LABEL)
REMOVED: tuple[bytes, ...] = ()


def kept(world: World) -> bytes:
    """What the token holds; one object."""
    (note,) = soft_keys(world).memos[PLACE]
    return note


def kept_size(world: World) -> int:
    return parse_checkpoint(parse_note(kept(world)).text).size


def work(world: World) -> None:
    """Let the journal grow by work that is no ceremony."""
    asyncio.run(world.open_order("more"))
    asyncio.run(issue_device(world, 1, make_request()))


def without(world: World) -> KeyroomSettings:
    return msgspec.structs.replace(world.settings(), token_anchor_every_s=0)


def pin(world: World) -> list[int]:
    """One turn of the chore; the statuses with which it ended the process."""
    ended: list[int] = []
    asyncio.run(Upkeep(world.room, ended.append).pin())
    return ended


def fail(error: HsmError) -> Callable[..., Any]:
    def raise_it(*_: object) -> None:
        raise error

    return raise_it


@pytest.fixture
def world(factory_world: World) -> World:
    return factory_world


@pytest.mark.req("AU-2", "T26")
def test_genesis_each_start_and_each_ceremony_write_it(tmp_path: Path) -> None:
    world = soft_world(tmp_path).start()
    assert soft_keys(world).memos == {}
    for hold in (world.genesis, world.open_order):
        asyncio.run(hold())
        closed = [leaf["seq"] for leaf in read_leaves(world) if leaf["type"] == "ceremony.close"]
        assert kept_size(world) > closed[-1], "the end of a ceremony waits for it"
    world.stop()
    world.start()
    assert kept(world) == world.room.ledger.sign_checkpoint()
    starts = [leaf for leaf in read_leaves(world) if leaf["type"] == "log.start"]
    assert [leaf["op"]["what"].get("token_anchor") for leaf in starts] == [True, True]
    world.stop()


@pytest.mark.req("AU-2", "T26")
def test_the_chore_follows_a_journal_that_has_grown(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(issue_device(world, 1, make_request()))
    assert kept_size(world) < world.room.ledger.journal.size
    assert pin(world) == []
    assert kept_size(world) == world.room.ledger.journal.size
    monkeypatch.setattr(Softbox, "write_memo", fail(CallFailed("nothing has grown")))
    assert pin(world) == []
    assert world.room.alarms == {}


@pytest.mark.req("AU-2", "T5", "T26")
def test_a_token_without_it_stops_the_start_and_the_operator_has_a_way_out(world: World) -> None:
    world.stop()
    soft_keys(world).memos[PLACE] = REMOVED
    with pytest.raises(JournalForked, match="is not there, and was") as caught:
        world.start()
    assert "docs/hsm.md" in caught.value.hint
    world.start(without(world))
    starts = [leaf for leaf in read_leaves(world) if leaf["type"] == "log.start"]
    assert starts[-1]["op"]["what"]["token_anchor"] is False, "the journal says that this start did without"
    event = describe_entry(starts[-1]["seq"], starts[-1])
    assert (event.severity, event.alarm, event.state) == ("critical", "token-anchor", "raised")
    world.stop()
    world.start(without(world))
    starts = [leaf for leaf in read_leaves(world) if leaf["type"] == "log.start"]
    assert "token_anchor" not in starts[-1]["op"]["what"], "told once"
    world.stop()
    world.start()
    assert kept_size(world) == world.room.ledger.journal.size


@pytest.mark.req("AU-2", "T26")
@pytest.mark.parametrize("broken", [b"text", b"\xff", b"\n".join([b"kedge.example/journal", b"5", b"AAAA", b""])])
def test_what_is_no_checkpoint_stops_the_start(world: World, broken: bytes) -> None:
    world.stop()
    soft_keys(world).memos[PLACE] = (broken,)
    with pytest.raises((CheckpointRejected, LogError)):
        world.start()


@pytest.mark.req("AU-2", "T26")
def test_a_checkpoint_of_another_key_or_with_another_size_stops_the_start(world: World) -> None:
    world.stop()
    origin, size, root, *rest = kept(world).split(b"\n")
    soft_keys(world).memos[PLACE] = (b"\n".join([origin, b"%d" % (int(size) - 1), root, *rest]),)
    with pytest.raises((CheckpointRejected, LogError)):
        world.start()


@pytest.mark.req("AU-2", "T26")
def test_an_object_that_cannot_be_read_stops_the_start(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.stop()
    with monkeypatch.context() as patched:
        patched.setattr(Softbox, "read_memos", fail(MemoInvalid("token kedge-journal: it is empty")))
        with pytest.raises(MemoInvalid):
            world.start()
    world.start()


@pytest.mark.req("AU-2", "T26")
def test_two_objects_of_a_replacement_that_was_cut_short_are_both_extended(world: World) -> None:
    older = kept(world)
    work(world)
    pin(world)
    world.stop()
    soft_keys(world).memos[PLACE] = (older, kept(world))
    world.start()
    assert kept_size(world) == world.room.ledger.journal.size


@pytest.mark.req("AU-2", "T5", "T26")
def test_one_of_two_objects_that_is_ahead_stops_the_start(
    world: World, factory_template: World, tmp_path: Path
) -> None:
    other = copy_world(factory_template, tmp_path / "other").start()
    for number in (1, 2, 3):
        asyncio.run(issue_device(other, number, make_request()))
    pin(other)
    other.stop()
    world.stop()
    soft_keys(world).memos[PLACE] = (kept(world), kept(other))
    with pytest.raises(JournalForked, match="does not extend the one in the token"):
        world.start()


@pytest.mark.req("AU-2", "T5", "T26", "T27")
def test_a_second_keyroom_on_a_copy_of_the_database_ends_both(world: World, tmp_path: Path) -> None:
    """The token is one, the journals are two: whoever comes second to it sees the other's checkpoint."""
    twin = copy_world(world, tmp_path / "twin")
    twin.strongbox = world.strongbox
    twin.start()
    asyncio.run(issue_device(world, 1, make_request()))
    asyncio.run(issue_device(twin, 2, make_request()))
    asyncio.run(issue_device(twin, 3, make_request()))
    assert pin(twin) == []
    before = kept(world)
    assert pin(world) == [FORKED]
    assert kept(world) == before, "the evidence is left"
    with pytest.raises(JournalForked):
        world.room.writer.run_now(world.room.anchor.keep)
    twin.stop()


@pytest.mark.req("AU-2", "T26")
def test_an_object_that_is_removed_while_it_runs_is_an_alarm_and_written_again(world: World) -> None:
    soft_keys(world).memos[PLACE] = REMOVED
    work(world)
    assert "was gone, and was written again" in world.room.alarms[ALARM]
    assert kept_size(world) <= world.room.ledger.journal.size
    pin(world)
    assert ALARM not in world.room.alarms


@pytest.mark.req("AU-2", "T26")
def test_an_object_that_is_altered_while_it_runs_is_an_alarm_and_left_for_the_start_to_refuse(world: World) -> None:
    soft_keys(world).memos[PLACE] = (b"somebody's",)
    asyncio.run(issue_device(world, 1, make_request()))
    assert pin(world) == []
    assert "could not be brought up to date" in world.room.alarms[ALARM]
    assert kept(world) == b"somebody's"
    asyncio.run(issue_device(world, 2, make_request()))
    world.stop()
    with pytest.raises((KeyroomError, LogError)):
        world.start()


def test_a_token_that_does_not_take_it_is_an_alarm_and_stops_no_key(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Softbox, "write_memo", fail(CallFailed("C_CreateObject: CKR_DEVICE_MEMORY")))
        asyncio.run(world.open_order("more"))
        assert "CKR_DEVICE_MEMORY" in world.room.alarms[ALARM]
        asyncio.run(issue_device(world, 1, make_request()))
    pin(world)
    assert ALARM not in world.room.alarms


def test_a_token_without_data_objects_is_told_at_the_start_and_turned_off_by_a_setting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.stop()
    monkeypatch.setattr(Softbox, "write_memo", fail(CallRefused("C_CreateObject: CKR_ATTRIBUTE_VALUE_INVALID")))
    with pytest.raises(AnchorUnwritten, match="CKR_ATTRIBUTE_VALUE_INVALID") as caught:
        world.start()
    assert "token_anchor_every_s = 0" in caught.value.hint
    world.start(without(world))
    work(world)
    assert pin(world) == []
    assert (world.room.alarms, world.room.anchor.every_s) == ({}, NEVER_S)


def test_what_is_turned_off_reads_nothing(world: World) -> None:
    world.stop()
    soft_keys(world).memos[PLACE] = (b"left from before",)
    world.start(without(world))
    assert kept(world) == b"left from before"


@pytest.mark.req("AU-6", "T26")
def test_a_crash_between_the_first_object_and_the_entry_that_names_it(
    templates: Templates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that had no such anchor: the next start goes on, whichever of the two was written."""
    world = copy_world(templates.genesis(), tmp_path)
    world.start(without(world))
    box = soft_keys(world)
    world.stop()
    box.memos[PLACE] = REMOVED
    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "record", fail(CallFailed("the power is cut")))
        with pytest.raises(CallFailed):
            world.start()
    assert len(box.memos[PLACE]) == 1
    world.start().stop()
    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "anchor", fail(CallFailed("the power is cut")))
        with pytest.raises(CallFailed):
            world.start()
    world.start().stop()


def test_an_inventory_knows_it_and_no_other_data(world: World) -> None:
    world.stop()
    soft_keys(world).memos["kedge-main", LABEL] = (b"x",)
    world.start()
    facts = [leaf for leaf in read_leaves(world) if leaf["type"] == "hsm.inventory"][-1]["op"]["what"]
    assert [(item["token"], item["kind"]) for item in facts["differences"]] == [("kedge-main", "unknown")]


def test_before_the_log_has_a_key_nothing_is_written(tmp_path: Path) -> None:
    world = soft_world(tmp_path).start()
    assert isinstance(world.room.anchor, TokenAnchor)
    assert pin(world) == []
    assert soft_keys(world).memos == {}
    world.stop()
    shutil.rmtree(tmp_path / "data")
