"""Lists: signed again when something is revoked and at half of their life; never from rows that somebody changed."""

import asyncio
import json
import threading
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ceremonies.alarms import list_alarms
from ceremonies.commands import KeysListed, ListRevocations, RevocationsListed, SuspendKey
from ceremonies.crls import TURN_EVERY_S
from ceremonies.policy import Quorum
from ceremonies.revocation_tables import RevocationRow
from ceremonies.revoked import PARTITIONS, partition_of
from ceremonies.sums import SIZE
from tests.ceremonies.examples import read_leaves, write_sql
from tests.ceremonies.revoking import (
    PARTITIONED,
    authority,
    issue,
    list_lists,
    open_copy,
    openssl,
    read_list,
    revoke,
    turn,
)
from tests.ceremonies.salvaging import Loss
from tests.ceremonies.templates import on_both_keys
from tests.engines import SQLITE_ONLY
from tests.world import World, audit_world, copy_world, soft_world

LIST = "crl/device-ca.crl"


def number_of(crl: x509.CertificateRevocationList) -> int:
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def verify(world: World, path: Path, crl: x509.CertificateRevocationList, leaf: x509.Certificate) -> str:
    """What openssl says of a certificate by the device CA; empty when it is well."""
    for name in ("identity-root", "device-ca"):
        (path / f"{name}.pem").write_bytes(authority(world, name).public_bytes(Encoding.PEM))
    (path / "crl.pem").write_bytes(crl.public_bytes(Encoding.PEM))
    (path / "leaf.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
    check = ("-crl_check", "-CRLfile", "crl.pem", "-CAfile", "identity-root.pem", "-untrusted", "device-ca.pem")
    done = openssl("verify", "-x509_strict", *check, "leaf.pem", cwd=path)
    return "" if done.returncode == 0 else done.stderr


@pytest.mark.engines
@pytest.mark.req("CA-9")
@on_both_keys
def test_a_revocation_makes_a_new_list_with_a_higher_number(factory_world: World, tmp_path: Path) -> None:
    world = factory_world
    bad, good = issue(world, 1, 2)
    turn(world)
    assert set(list_lists(world)) == {LIST, "crl/identity-root.crl", "crl/service-ca.crl", "crl/site-ca.crl"}
    first = read_list(world, LIST)
    assert (len(list(first)), list_lists(world)[LIST].current) == (0, True)
    revoke(world, "BMS-000001")
    assert not list_lists(world)[LIST].current
    turn(world)
    second = read_list(world, LIST)
    assert [entry.serial_number for entry in second] == [bad.serial_number]
    assert number_of(first) < number_of(second)
    assert "certificate revoked" in verify(world, tmp_path, second, bad)
    assert verify(world, tmp_path, second, good) == ""
    assert asyncio.run(audit_world(world)).verdict == "authenticated"
    assert (list_alarms(world.room), world.room.counters["crls_late"]) == ({}, 0)


@pytest.mark.req("CA-9")
def test_a_turn_signs_what_is_due_and_nothing_else(factory_template: World, tmp_path: Path) -> None:
    assert TURN_EVERY_S < 60
    world, watch = open_copy(factory_template, tmp_path / "world")
    try:
        crls = turn(world)
        first = list_lists(world)
        asyncio.run(crls.turn())
        assert list_lists(world) == first
        life = first[LIST].next_update - first[LIST].this_update
        watch.go_on(life // 2 - 10)
        asyncio.run(crls.turn())
        assert list_lists(world) == first
        watch.go_on(20)
        asyncio.run(crls.turn())
        after = list_lists(world)
        assert [path for path in after if after[path] != first[path]] == [LIST, "crl/service-ca.crl", "crl/site-ca.crl"]
        assert after[LIST].this_update < first[LIST].next_update
        assert number_of(read_list(world, LIST)) == after[LIST].number > first[LIST].number
    finally:
        world.stop()


@pytest.mark.req("T25")
def test_strangers_who_ask_for_the_lists_keep_the_writer_from_nothing(factory_world: World) -> None:
    turn(factory_world)
    busy, idle = threading.Event(), threading.Event()

    def work() -> None:
        busy.set()
        idle.wait(30)

    async def run() -> None:
        working = asyncio.create_task(factory_world.room.act(work))
        await asyncio.to_thread(busy.wait, 30)
        try:
            asked = factory_world.ask(ListRevocations(), "", RevocationsListed)
            assert len((await asyncio.wait_for(asked, 10)).lists) == 4
        finally:
            idle.set()
            await working

    asyncio.run(run())


@pytest.mark.req("CA-9", "T26")
def test_a_published_list_that_a_recovery_gave_up_is_the_last_word_until_there_is_a_newer(
    factory_world: World, tmp_path: Path
) -> None:
    world = factory_world
    issue(world, 7)
    turn(world)
    loss = Loss(world, tmp_path, lose=lambda: (issue(world, *range(8, 20)), revoke(world, "BMS-000007"), turn(world)))
    path = world.path / "public" / LIST
    lost = path.read_bytes()
    listed = {item["path"] for item in json.loads(loss.propose().shown)["published"]}
    assert listed == {LIST}
    loss.approve("alice", "bob")
    loss.recover()
    crls = turn(world)
    assert path.read_bytes() == lost, "an older list took the place of the one that names the lost revocation"
    asyncio.run(world.ceremony("resume", "resume", {"labels": ["device-ca"], "reason": "recovered"}))
    revoke(world, "BMS-000007")
    asyncio.run(crls.turn())
    newest = read_list(world, LIST)
    assert number_of(newest) > number_of(x509.load_der_x509_crl(lost))
    assert number_of(newest) > loss.size - loss.known + loss.known // 2
    assert len(list(newest)) == 1
    world.stop()


@pytest.mark.req("CA-9")
def test_files_that_are_lost_come_back_and_old_ones_go(factory_world: World) -> None:
    turn(factory_world)
    path = factory_world.path / "public" / LIST
    data = path.read_bytes()
    path.write_bytes(b"old")
    turn(factory_world)
    assert path.read_bytes() == data


@pytest.fixture(scope="module")
def partitioned(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A stopped world whose policy partitions the lists, with a work order."""
    world = soft_world(tmp_path_factory.mktemp("partitioned"), SQLITE_ONLY.database())
    world.policy = msgspec.structs.replace(world.policy, fleet=PARTITIONED)
    world.start()
    asyncio.run(world.genesis())
    asyncio.run(world.open_order())
    world.stop()
    return world


@pytest.mark.req("CA-9")
def test_each_partition_has_its_list(partitioned: World, tmp_path: Path) -> None:
    world = copy_world(partitioned, tmp_path / "world").start()
    try:
        bad, good = issue(world, 1, 2)
        crls = turn(world)
        listed = list_lists(world)
        assert len(listed) == 1 + 3 * PARTITIONS
        assert listed["crl/device-ca/3f.crl"].next_update - listed["crl/device-ca/3f.crl"].this_update == 48 * 3600
        revoke(world, number=f"{bad.serial_number:x}")
        asyncio.run(crls.turn())
        after = list_lists(world)
        name = f"crl/device-ca/{partition_of(f'{bad.serial_number:040x}'):02x}.crl"
        assert name == f"crl/device-ca/{bad.serial_number >> 153:02x}.crl"
        assert [path for path in after if after[path] != listed[path]] == [name]
        crl = read_list(world, name)
        point = crl.extensions.get_extension_for_class(x509.IssuingDistributionPoint)
        assert point.critical
        assert [uri.value for uri in point.value.full_name or ()] == [f"http://crl.example:8080/pki/{name}"]
        assert [entry.serial_number for entry in crl] == [bad.serial_number]
        assert good.serial_number not in [entry.serial_number for entry in crl]
    finally:
        world.stop()


@pytest.mark.req("CA-9", "T5")
def test_changed_rows_stop_the_list_of_their_partition_alone(partitioned: World, tmp_path: Path) -> None:
    world = copy_world(partitioned, tmp_path / "world").start()
    try:
        first, *others = sorted(issue(world, *range(1, 8)), key=lambda item: item.serial_number)
        last = others[-1]
        assert first.serial_number >> 153 != last.serial_number >> 153
        crls = turn(world)
        for item in (first, last):
            revoke(world, number=f"{item.serial_number:x}")
        write_sql(world, f"DELETE FROM revocation WHERE number = '{first.serial_number:040x}'")
        asyncio.run(crls.turn())
        assert [entry.serial_number for entry in read_list(world, f"crl/device-ca/{last.serial_number >> 153:02x}.crl")]
        assert "not the 1 that the journal says" in list_alarms(world.room)["crl device-ca"]
    finally:
        world.stop()


@pytest.mark.req("CA-9")
def test_a_list_that_cannot_be_written_is_told_and_the_others_are(factory_world: World) -> None:
    world = factory_world
    (world.path / "public" / LIST).mkdir(parents=True)
    crls = turn(world)
    assert LIST in list_alarms(world.room)["crl files"]
    assert number_of(read_list(world, "crl/site-ca.crl"))
    (world.path / "public" / LIST).rmdir()
    asyncio.run(crls.turn())
    assert list_alarms(world.room) == {}


@pytest.mark.req("CA-9", "T5")
@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM revocation WHERE partition = (SELECT min(partition) FROM revocation)",
        "UPDATE revocation SET reason = 'superseded'",
        "UPDATE revocation SET revoked_us = revoked_us + 1",
        "INSERT INTO revocation SELECT ca, partition, substr(number, 40, 1) || substr(number, 1, 39), reason, "
        "revoked_us, seq FROM revocation WHERE partition = (SELECT min(partition) FROM revocation)",
    ],
)
def test_rows_that_were_changed_behind_the_keyroom_are_never_signed(factory_world: World, statement: str) -> None:
    world = factory_world
    issue(world, 1, 2, 3)
    revoke(world, "BMS-000001")
    revoke(world, "BMS-000002")
    crls = turn(world)
    before = list_lists(world)
    revoke(world, "BMS-000003")
    write_sql(world, statement)
    asyncio.run(crls.turn())
    assert {path: item.number for path, item in list_lists(world).items()} == {
        path: item.number for path, item in before.items()
    }
    assert "not the 3 that the journal says" in list_alarms(world.room)["crl device-ca"]
    assert world.room.counters["crls_late"] == 1


@pytest.mark.req("CA-9")
def test_a_ca_that_cannot_sign_is_an_alarm_before_its_list_ends(factory_template: World, tmp_path: Path) -> None:
    world, watch = open_copy(factory_template, tmp_path / "world")
    try:
        crls = turn(world)
        label = world.room.door.keyring.labelled("device-ca")
        box = world.room.door.strongbox
        key = (label.token, bytes.fromhex(label.cka_id))
        private = box.keys.pop(key)  # type: ignore[attr-defined]  # a soft token lets its key be lost
        watch.go_on(13 * 3600)
        asyncio.run(crls.turn())
        assert "crl device-ca" not in list_alarms(world.room)
        size = world.room.ledger.journal.size
        asyncio.run(crls.turn())
        assert world.room.ledger.journal.size == size, "it is not tried again at once"
        watch.go_on(6 * 3600)
        asyncio.run(crls.turn())
        assert "late" in list_alarms(world.room)["crl device-ca"]
        assert world.room.counters["crls_late"] == 1
        box.keys[key] = private  # type: ignore[attr-defined]
        watch.go_on(3600)
        asyncio.run(crls.turn())
        assert (list_alarms(world.room), world.room.counters["crls_late"]) == ({}, 0)
    finally:
        world.stop()


@pytest.mark.req("KL-1")
def test_a_suspended_ca_signs_no_list_and_that_is_told_in_time(factory_template: World, tmp_path: Path) -> None:
    world, watch = open_copy(factory_template, tmp_path / "world")
    try:
        crls = turn(world)
        before = list_lists(world)
        asyncio.run(world.ask(SuspendKey("device-ca", "a drill"), "officer", KeysListed))
        watch.go_on(13 * 3600)
        size = world.room.ledger.journal.size
        asyncio.run(crls.turn())
        assert list_lists(world)[LIST] == before[LIST]
        assert list_alarms(world.room) == {}
        watch.go_on(6 * 3600)
        asyncio.run(crls.turn())
        assert "key device-ca is suspended" in list_alarms(world.room)["crl device-ca"]
        denied = [leaf["type"] for leaf in read_leaves(world, size) if leaf["type"] == "key.sign.denied"]
        assert denied == [], "an entry for each try"
    finally:
        world.stop()


@pytest.mark.req("KL-1", "CA-9")
def test_nobody_is_told_of_the_lists_of_a_ca_that_was_destroyed(factory_template: World, tmp_path: Path) -> None:
    """It is destroyed only when nothing needs them any more. The last one stays where it was published."""
    world, watch = open_copy(factory_template, tmp_path / "world")
    try:
        crls = turn(world)
        asyncio.run(world.ask(SuspendKey("site-ca", "a drill"), "officer", KeysListed))
        watch.go_on(19 * 3600)
        asyncio.run(crls.turn())
        assert "key site-ca is suspended" in list_alarms(world.room)["crl site-ca"]
        asyncio.run(world.ceremony("drop", "destroy", {"labels": ["site-ca"], "reason": "never used"}))
        asyncio.run(crls.turn())
        assert "crl site-ca" not in list_alarms(world.room)
        assert "crl/site-ca.crl" not in list_lists(world)
        assert not list(read_list(world, "crl/site-ca.crl"))
    finally:
        world.stop()


@pytest.mark.req("AZ-3")
@pytest.mark.parametrize("quorums", [{}, {"crl": Quorum(2, ("officer",), assurance="software")}], ids=["none", "two"])
def test_a_policy_that_leaves_lists_to_nobody_or_to_officers_has_none(
    tmp_path: Path, quorums: dict[str, Quorum]
) -> None:
    world = soft_world(tmp_path)
    named = {kind: rule for kind, rule in world.policy.quorums.items() if kind != "crl"}
    world.policy = msgspec.structs.replace(world.policy, quorums=named | quorums)
    world.start()
    try:
        asyncio.run(world.genesis())
        size = world.room.ledger.journal.size
        turn(world)
        assert (list_lists(world), world.room.ledger.journal.size, list_alarms(world.room)) == ({}, size, {})
    finally:
        world.stop()


def test_the_entry_says_what_the_list_covers(factory_world: World) -> None:
    issue(factory_world, 1)
    revoke(factory_world, "BMS-000001")
    turn(factory_world)
    leaves = [leaf for leaf in read_leaves(factory_world) if leaf.get("op", {}).get("kind") == "crl"]
    outcomes = [leaf["op"]["what"] for leaf in leaves if leaf["type"] == "key.sign.outcome"]
    (mine,) = [what for what in outcomes if what["ca"] == "device-ca"]
    assert (mine["entries"], mine["partition"], len(mine["covers"])) == (1, -1, 2 * SIZE)
    assert factory_world.room.store.list(RevocationRow, "number")
