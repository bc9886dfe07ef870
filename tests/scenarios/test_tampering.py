"""A database administrator against the keyroom: whatever is changed behind it is refused or stops the start."""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from structlog.testing import capture_logs

from ceremonies.commands import ExecuteStep, IssueDevice, KeysListed, Problem, SuspendKey
from ceremonies.errors import KeyroomError
from ceremonies.journal import ClockWentBack, JournalForked
from ceremonies.public import Publisher
from ceremonies.recovery import InventoryDiffers, KeyMissing, KeyResurrected
from ceremonies.store import Store, StoreLocked
from ceremonies.tables import EntryRow
from hsm.strongbox import Strongbox
from pki.log.errors import LogError
from tests.ceremonies.examples import read_leaves
from tests.ceremonies.templates import Templates
from tests.engines import UNLOCK, Engine
from tests.postgres import SQLITE
from tests.softbox import Softbox
from tests.world import TOKENS, World, audit_world, copy_world, issue_device, make_request, soft_keys

DAY_US = 86_400_000_000


def tamper(world: World, *statements: str) -> None:
    """What somebody with the database's password does."""
    connection = sqlite3.connect(world.path / "data" / "kedge.db")
    with connection:
        for drop in UNLOCK[SQLITE]:
            connection.execute(drop)
        for statement in statements:
            assert connection.execute(statement).rowcount > 0, f"{statement} changes nothing"
    connection.close()


def refused(world: World, number: int, csr: bytes) -> str:
    """The code of the problem that a station gets, with no signature asked of a token but checkpoints."""
    box = soft_keys(world)
    signed = box.signed - box.signed_by["journal"]
    answer = asyncio.run(world.try_ask(IssueDevice("wo-1", f"BMS-{number:06}", csr), "station"))
    assert isinstance(answer, Problem), "the tampered row was used"
    assert box.signed - box.signed_by["journal"] == signed, "a token was asked"
    return answer.code


@pytest.mark.req("T5", "AU-5")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE head SET size = size - 1",
        "UPDATE head SET last = lower(hex(randomblob(32)))",
        "UPDATE head SET ts_us = ts_us - 86400000000",
        "UPDATE head SET settled = settled + 1",
        "UPDATE head SET frontier = substr(frontier, 1, 8) || randomblob(length(frontier) - 8)",
        "DELETE FROM head",
        "UPDATE work_order SET issued = issued - 1",
        "UPDATE work_order SET quantity = 1000",
        "DELETE FROM work_order",
        "INSERT INTO entry SELECT seq + 1, type, leaf, hash FROM entry ORDER BY seq DESC LIMIT 1",
    ],
)
def test_a_row_changed_while_it_runs_is_not_used(factory_world: World, statement: str) -> None:
    asyncio.run(issue_device(factory_world, 1, make_request()))
    tamper(factory_world, statement)
    assert refused(factory_world, 2, make_request()) in ("journal-forked", "store-unavailable")


@pytest.mark.req("T5", "AU-5")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entry SET leaf = CAST(replace(leaf, 'BMS-000001', 'BMS-000002') AS BLOB) WHERE type LIKE '%outcome'",
        "UPDATE entry SET leaf = replace(leaf, 'BMS-000001', 'BMS-000002') WHERE type LIKE '%outcome'",
        "DELETE FROM entry WHERE seq = (SELECT max(seq) FROM entry)",
        "UPDATE evidence SET parts = CAST(parts || x'00' AS BLOB)",
        "UPDATE evidence SET parts = 'text'",
        "DELETE FROM evidence",
        "UPDATE request SET outcome = outcome - 2 WHERE id LIKE 'order/wo-1:BMS-000001:%'",
        "UPDATE request SET document = (SELECT document FROM request WHERE id LIKE '%BMS-000002%')"
        " WHERE id LIKE 'order/wo-1:BMS-000001:%'",
        "UPDATE request SET (outcome, document) = (SELECT outcome, document FROM request WHERE id LIKE '%BMS-000002%')"
        " WHERE id LIKE 'order/wo-1:BMS-000001:%'",
        "UPDATE request SET body = '00' WHERE id LIKE 'order/wo-1:BMS-000001:%'",
        "DELETE FROM request WHERE id LIKE 'order/wo-1:BMS-000001:%'",
    ],
)
def test_a_replay_gives_the_released_bytes_or_nothing(factory_world: World, statement: str) -> None:
    csr = make_request()
    asyncio.run(issue_device(factory_world, 2, make_request()))
    asyncio.run(issue_device(factory_world, 1, csr))
    tamper(factory_world, statement)
    expected = ("journal-forked", "store-unavailable", "request-mismatch", "serial-taken")
    assert refused(factory_world, 1, csr) in expected


@pytest.mark.req("T5")
def test_an_open_request_cannot_be_bent_to_other_bytes(factory_template: World, tmp_path: Path) -> None:
    """The digest of an unreleased request is that of its intent, whatever the row says."""
    world = copy_world(factory_template, tmp_path).start()
    csr = make_request()
    asyncio.run(issue_device(world, 1, csr))
    recipe = json.dumps({"not_before": world.around.now_us() // 1_000_000, "number": "1" * 39}).encode().hex()
    tamper(
        world,
        f"UPDATE request SET outcome = NULL, document = NULL, digest = 'ab', recipe = x'{recipe}'"
        " WHERE id LIKE 'order/wo-1:BMS-000001:%'",
    )
    code = refused(world, 1, csr)
    assert code == "request-open"
    world.stop()


REJECTED = "UPDATE approval SET statement = x'00' WHERE officer = 'carol' AND ceremony = 'drop'"
REOPENED = "UPDATE ceremony SET state = 'open' WHERE id = 'genesis'"


@pytest.mark.req("T5")
@pytest.mark.parametrize("statement", ["DELETE FROM approval WHERE officer = 'carol' AND ceremony = 'drop'", REJECTED])
def test_a_rejection_cannot_be_taken_away(genesis_world: World, statement: str) -> None:
    async def hold() -> None:
        await genesis_world.propose("drop", "destroy", {"labels": ["site-ca"], "reason": "never used"})
        await genesis_world.approve("drop", "plan", "alice", "bob")
        await genesis_world.approve("drop", "plan", "carol", decision="reject")
        tamper(genesis_world, statement)
        answer = await genesis_world.try_ask(ExecuteStep("drop", "plan"), "officer")
        assert isinstance(answer, Problem)
        assert answer.code == "journal-forked"
        assert genesis_world.room.door.keyring.labelled("site-ca").state == "active"

    asyncio.run(hold())


@pytest.mark.req("T5", "KL-4")
def test_a_closed_ceremony_gives_no_mandate_again(genesis_world: World) -> None:
    async def hold() -> None:
        await genesis_world.ask(SuspendKey("device-ca", "theft"), "officer", KeysListed)
        tamper(
            genesis_world,
            REOPENED,
            "UPDATE step SET done = 0 WHERE ceremony = 'genesis'",
        )
        answer = await genesis_world.try_ask(ExecuteStep("genesis", "results"), "officer")
        assert isinstance(answer, Problem)
        assert genesis_world.room.door.keyring.labelled("device-ca").state == "suspended"

    asyncio.run(hold())


@pytest.mark.req("T5", "AU-5", "AU-2")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entry SET leaf = CAST(replace(leaf, 'alice', 'mallo') AS BLOB) WHERE type = 'approval'",
        "UPDATE entry SET leaf = 'text' WHERE seq = 9",
        "UPDATE entry SET hash = randomblob(32) WHERE seq = 7",
        "UPDATE entry SET type = 'probe' WHERE type = 'key.sign.intent'",
        "DELETE FROM entry WHERE seq = 5",
        "DELETE FROM entry WHERE seq = (SELECT max(seq) FROM entry)",
        "INSERT INTO entry SELECT seq + 1, type, leaf, hash FROM entry ORDER BY seq DESC LIMIT 1",
        "UPDATE head SET ts_us = 0",
        "UPDATE head SET size = size - 1",
        "DELETE FROM head",
        "UPDATE key SET state = 'active' WHERE label = 'device-ca'",
        "UPDATE key SET uses = uses - 1 WHERE label = 'device-ca'",
        "UPDATE key SET role = 'image-app' WHERE label = 'director'",
        "UPDATE key SET cka_id = (SELECT cka_id FROM key WHERE label = 'director') WHERE label = 'device-ca'",
        "DELETE FROM key WHERE label = 'director'",
        "DELETE FROM key WHERE label = 'journal'",
        "UPDATE work_order SET issued = 0",
        "UPDATE work_order SET quantity = 1000",
        "DELETE FROM request WHERE id LIKE 'order/wo-1:%'",
        "DELETE FROM document WHERE kind = 'certificate.idevid'",
        "DELETE FROM device",
        "DELETE FROM trust_set",
        "DELETE FROM approval WHERE officer = 'alice'",
        "UPDATE approval SET seq = 0",
        "DELETE FROM governing",
        "UPDATE blob SET data = x'00'",
    ],
)
def test_a_row_changed_between_starts_stops_the_start(used_world: World, tmp_path: Path, statement: str) -> None:
    world = copy_world(used_world, tmp_path)
    tamper(world, statement)
    with pytest.raises((KeyroomError, msgspec.MsgspecError)) as caught:
        world.start()
    assert cast(Any, caught.value).code in ("journal-forked", "store-unavailable", "checkpoint-rejected")


@pytest.fixture(scope="module")
def used_world(factory_template: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A stopped world that has issued a certificate, suspended its CA and published its journal."""
    world = copy_world(factory_template, tmp_path_factory.mktemp("used")).start()

    async def use() -> None:
        await issue_device(world, 1, make_request())
        await world.ask(SuspendKey("device-ca", "drill"), "officer", KeysListed)
        await Publisher(world.room).publish()

    asyncio.run(use())
    world.stop()
    return world


def test_an_untouched_world_starts(used_world: World, tmp_path: Path) -> None:
    world = copy_world(used_world, tmp_path).start()
    assert asyncio.run(audit_world(world)).open == 0
    world.stop()


@pytest.mark.req("AU-2", "T5")
def test_yesterdays_database_does_not_start_beside_the_published_checkpoint(
    factory_template: World, used_world: World, tmp_path: Path
) -> None:
    world = copy_world(used_world, tmp_path)
    shutil.rmtree(world.path / "data")
    shutil.copytree(factory_template.path / "data", world.path / "data")
    with pytest.raises(JournalForked, match="does not extend the published one"):
        world.start()


@pytest.mark.req("AU-2", "T5", "T26")
@pytest.mark.parametrize("kept", ["public/journal/checkpoint", "data/anchor"])
def test_an_emptied_database_does_not_start_beside_a_checkpoint(used_world: World, tmp_path: Path, kept: str) -> None:
    """No entry and no key: nothing in the database contradicts itself, but something was there."""
    world = copy_world(used_world, tmp_path)
    note = (world.path / kept).read_bytes()
    shutil.rmtree(world.path / "data")
    shutil.rmtree(world.path / "public")
    (world.path / kept).parent.mkdir(parents=True)
    (world.path / kept).write_bytes(note)
    with pytest.raises(JournalForked, match="the journal has no key"):
        world.start()


@pytest.mark.req("AU-2", "T5", "T26")
def test_the_anchor_alone_stops_yesterdays_database(factory_template: World, used_world: World, tmp_path: Path) -> None:
    """The public directory is gone, or somebody took the checkpoint away."""
    world = copy_world(used_world, tmp_path)
    shutil.rmtree(world.path / "public")
    for path in (world.path / "data").glob("kedge.db*"):
        path.unlink()
    for path in (factory_template.path / "data").glob("kedge.db*"):
        shutil.copy(path, world.path / "data")
    with pytest.raises(JournalForked, match="does not extend the published one"):
        world.start()


@pytest.mark.engines
@pytest.mark.req("AU-2", "T5", "T26")
def test_the_token_stops_yesterdays_database_with_all_its_files(
    templates: Templates, engine: Engine, tmp_path: Path
) -> None:
    demand_refusal(templates.genesis(engine), tmp_path)


@pytest.mark.req("AU-2", "T5", "T26")
def test_softhsm_stops_yesterdays_database_with_all_its_files(templates: Templates, tmp_path: Path) -> None:
    demand_refusal(templates.genesis(keys="softhsm"), tmp_path)


def demand_refusal(yesterday: World, tmp_path: Path) -> None:
    """Database, anchor, milestone and public files of one moment: nothing on disk contradicts itself."""
    world = copy_world(yesterday, tmp_path).start()
    asyncio.run(world.open_order())
    world.stop()
    restore(world, yesterday)
    with pytest.raises(JournalForked, match="does not extend the one in the token"):
        world.start()


def restore(world: World, yesterday: World) -> None:
    """Bring everything back but the tokens."""
    world.database = yesterday.database and yesterday.database.copy()
    for name in ("data", "public"):
        shutil.rmtree(world.path / name)
        shutil.copytree(yesterday.path / name, world.path / name)


@pytest.mark.req("AU-2", "T5", "T26")
def test_after_genesis_a_start_needs_an_anchor(used_world: World, tmp_path: Path) -> None:
    world = copy_world(used_world, tmp_path)
    (world.path / "data" / "anchor").unlink()
    world.start().stop()
    (world.path / "data" / "anchor").unlink()
    (world.path / "public" / "journal" / "checkpoint").unlink()
    with pytest.raises(JournalForked, match="neither anchor nor published"):
        world.start()


@pytest.mark.req("AU-2", "T5")
@pytest.mark.parametrize("kept", ["public/journal/checkpoint", "data/anchor"])
def test_a_forged_checkpoint_stops_the_start(used_world: World, tmp_path: Path, kept: str) -> None:
    world = copy_world(used_world, tmp_path)
    origin, size, root, *signature = (world.path / kept).read_bytes().split(b"\n")
    (world.path / kept).write_bytes(b"\n".join([origin, b"%d" % (int(size) - 1), root, *signature]))
    with pytest.raises((KeyroomError, LogError)):
        world.start()


@pytest.mark.req("HS-7", "KL-12")
def test_a_foreign_object_in_a_token_is_an_alarm_and_an_entry(genesis_template: World, tmp_path: Path) -> None:
    world = copy_world(genesis_template, tmp_path).start()
    soft_keys(world).keys["kedge-main", b"\x07" * 16] = ec.generate_private_key(ec.SECP256R1())
    world.stop()
    with capture_logs() as logged:
        world.start()
    alarms = [entry for entry in logged if entry["log_level"] == "critical"]
    assert {(entry["event"], entry["kind"]) for entry in alarms} == {("a token differs from the journal", "unknown")}
    (leaf,) = [leaf for leaf in read_leaves(world)[-2:] if leaf["type"] == "hsm.inventory"]
    assert leaf["op"]["what"]["different"] == len(alarms) == 2
    assert {item["id"] for item in leaf["op"]["what"]["differences"]} == {"07" * 16}
    world.stop()


@pytest.mark.req("HS-7", "KL-12", "T30")
@pytest.mark.parametrize("token", ["kedge-main", "kedge-journal"])
def test_another_key_under_one_of_our_ids_stops_the_start(genesis_template: World, tmp_path: Path, token: str) -> None:
    """In the place of ours, or beside it in another token."""
    world = copy_world(genesis_template, tmp_path).start()
    cka_id = bytes.fromhex(world.room.door.keyring.labelled("site-ca").cka_id)
    soft_keys(world).keys[token, cka_id] = ec.generate_private_key(ec.SECP256R1())
    size = world.room.ledger.journal.size
    world.stop()
    with pytest.raises(InventoryDiffers):
        world.start()
    store = Store(f"sqlite:///{world.path / 'data' / 'kedge.db'}")
    types = [row["type"] for row in store.list(EntryRow, "seq")][size:]
    store.close()
    assert types == ["log.start", "hsm.inventory"]


@pytest.mark.req("T30", "KL-12")
def test_a_destroyed_key_that_comes_back_stops_the_start(genesis_template: World, tmp_path: Path) -> None:
    world = copy_world(genesis_template, tmp_path).start()
    before, memos = dict(soft_keys(world).keys), soft_keys(world).memos
    asyncio.run(world.ceremony("drop", "destroy", {"labels": ["site-ca"], "reason": "never used"}))
    assert len(soft_keys(world).keys) == len(before) - 1
    world.stop()
    world.strongbox = lambda: cast(Strongbox, Softbox(tuple(TOKENS), before, memos))
    with pytest.raises(KeyResurrected, match="site-ca"):
        world.start()


@pytest.mark.req("KL-12", "HS-7")
def test_a_missing_key_stops_the_start(genesis_template: World, tmp_path: Path) -> None:
    world = copy_world(genesis_template, tmp_path)
    left = dict(soft_keys(genesis_template).keys)
    del left[next(name for name in left if name[0] == "kedge-recovery")]
    world.strongbox = lambda: cast(Strongbox, Softbox(tuple(TOKENS), left, soft_keys(genesis_template).memos))
    with pytest.raises(KeyMissing, match="kedge-recovery"):
        world.start()


def test_a_second_keyroom_on_the_same_database_does_not_start(genesis_world: World) -> None:
    second = World(genesis_world.path, genesis_world.strongbox, genesis_world.around)
    second.roster = genesis_world.roster
    with pytest.raises(StoreLocked, match="another keyroom"):
        second.start()


@pytest.mark.req("T11", "AU-7")
@pytest.mark.parametrize("running", [True, False])
def test_a_clock_set_back_a_day_stops_signing(factory_template: World, tmp_path: Path, *, running: bool) -> None:
    world = copy_world(factory_template, tmp_path)
    shift = shift_clock(world)
    if running:
        shift(DAY_US)
        world.start()
        shift(0)
        assert refused(world, 1, make_request()) == "clock-went-back"
        shift(DAY_US)
        assert refused(world, 1, make_request()) == "work-order-closed"
        world.stop()
    else:
        shift(-DAY_US)
        with pytest.raises(ClockWentBack):
            world.start()


@pytest.mark.req("AU-7")
def test_a_jump_of_the_clock_is_recorded(factory_template: World, tmp_path: Path) -> None:
    world = copy_world(factory_template, tmp_path)
    shift = shift_clock(world)
    world.start()
    shift(3_000_000)
    asyncio.run(issue_device(world, 1, make_request()))
    shift(1_000_000)  # 2 s back: less than refuses, more than passes unseen
    asyncio.run(issue_device(world, 2, make_request()))
    report = asyncio.run(audit_world(world))
    world.stop()
    assert report.types["probe"] == 2


def shift_clock(world: World) -> Callable[[int], None]:
    """Give a world a wall clock that can be set; the monotonic clock goes on."""
    real, offset = world.around.now_us, [0]
    world.around = msgspec.structs.replace(world.around, now_us=lambda: real() + offset[0])

    def shift(by_us: int) -> None:
        offset[0] = by_us

    return shift
