"""One certificate revoked by one officer; revocations that other flows write with their own entries."""

import asyncio
from typing import Any

import pytest

from ceremonies import entries, revocations
from ceremonies.certified import find_by_serial
from ceremonies.commands import CertificateShown, Problem, RevokeCertificate, ShowCertificate
from ceremonies.replay import replay_journal
from ceremonies.revocation_tables import RevocationRow
from ceremonies.revocations import Grounds, revoke_changes
from pki.x509.errors import ReasonUnknown
from tests.ceremonies.examples import read_leaves, write_sql
from tests.ceremonies.revoking import authority, issue, revoke
from tests.ceremonies.small import BY, act
from tests.world import World, audit_world


def refusal(world: World, role: str = "officer", token: str = "", **fields: Any) -> str:
    """The code of the refusal of a revocation."""
    given = {"reason": "keyCompromise", "why": "stolen", **fields}
    answer = asyncio.run(world.try_ask(RevokeCertificate(**given), role, token))
    assert isinstance(answer, Problem)
    return answer.code


def entries_of(world: World) -> list[dict[str, Any]]:
    return [leaf for leaf in read_leaves(world) if leaf["type"] == "certificate.revoke"]


@pytest.mark.engines
@pytest.mark.req("CA-9", "MP-11")
def test_one_officer_revokes_one_certificate(factory_world: World) -> None:
    world = factory_world
    (certificate,) = issue(world, 1)
    shown = revoke(world, "BMS-000001")
    number = f"{certificate.serial_number:040x}"
    assert (shown.number, shown.status, shown.reason, shown.ca) == (number, "revoked", "keyCompromise", "device-ca")
    (leaf,) = entries_of(world)
    assert (leaf["seq"], leaf["actor"]["role"]) == (shown.revoked_index, "officer")
    assert leaf["op"]["what"] == {
        "at": shown.revoked_us, "ca": world.room.door.keyring.labelled("device-ca").spki, "label": "device-ca",
        "numbers": [number], "reason": "keyCompromise", "serial": "BMS-000001", "why": "stolen",
    }  # fmt: skip
    asked = asyncio.run(world.ask(ShowCertificate(number=number.lstrip("0")), "auditor", CertificateShown))
    assert asked == shown
    assert asyncio.run(audit_world(world)).verdict == "authenticated"


@pytest.mark.req("CA-9")
def test_revoking_again_changes_nothing(factory_world: World) -> None:
    issue(factory_world, 1)
    first = revoke(factory_world, "BMS-000001")
    assert revoke(factory_world, "BMS-000001", reason="superseded") == first
    assert len(entries_of(factory_world)) == 1


@pytest.mark.req("AZ-3", "CA-9")
def test_one_officer_does_not_end_a_fleet_one_by_one(factory_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world = factory_world
    monkeypatch.setattr(revocations, "EACH_HOUR", 2)
    issue(world, 1, 2, 3)
    for number in (1, 2, 2, 1):
        revoke(world, f"BMS-00000{number}")
    revoke(world, "BMS-000003", dry_run=True)
    assert refusal(world, serial="BMS-000003") == "revocation-refused"
    other = world.token("officer", officer="bob")
    asyncio.run(
        world.ask(
            RevokeCertificate("BMS-000003", reason="keyCompromise", why="stolen"), "officer", CertificateShown, other
        )
    )
    assert len(entries_of(world)) == 3


@pytest.mark.req("CA-9")
def test_a_dry_run_writes_only_that_it_was_asked(factory_world: World) -> None:
    world = factory_world
    issue(world, 1)
    size = world.room.ledger.journal.size
    assert revoke(world, "BMS-000001", dry_run=True).status == "good"
    (leaf,) = read_leaves(world, size)
    assert (leaf["type"], leaf["op"]["what"]["serial"]) == ("export", "BMS-000001")
    assert world.room.store.list(RevocationRow, "number") == []


@pytest.mark.req("AZ-2", "CA-9")
def test_who_may_not_and_what_may_not_be_revoked_this_way(factory_world: World) -> None:
    world = factory_world
    issue(world, 1)
    for role in ("station", "pipeline", "auditor", "operator", "gateway"):
        assert refusal(world, role, serial="BMS-000001") == "role-refused"
    stranger = world.token("officer", officer="mallory")
    assert refusal(world, token=stranger, serial="BMS-000001") == "officer-unknown"
    assert refusal(world, serial="BMS-000001", reason="removeFromCRL") == "reason-unknown"
    assert refusal(world, serial="BMS-000001", reason="certificateHold") == "reason-unknown"
    assert refusal(world, serial="BMS-000002") == "certificate-unknown"
    assert refusal(world, number="ab" * 20) == "certificate-unknown"
    assert refusal(world, serial="BMS-000001", number="ab" * 20) == "certificate-unknown"
    assert refusal(world) == "certificate-unknown"
    assert refusal(world, number=f"{authority(world, 'device-ca').serial_number:x}") == "revocation-refused"
    assert entries_of(world) == []
    whys = [leaf["op"]["what"].get("why", "") for leaf in read_leaves(world) if leaf["type"] == "auth.fail"]
    assert len(whys) == 13, "a refusal left no entry"


@pytest.mark.req("CA-9")
def test_a_start_reads_the_same_from_the_entries(factory_world: World) -> None:
    world, room = factory_world, factory_world.room
    issue(world, 1, 2)
    revoke(world, "BMS-000002")
    assert replay_journal(room.store, room.ledger.journal).revoked == room.ledger.replay.revoked
    assert room.ledger.replay.revoked.count == 1
    world.stop()
    world.start()
    asked = asyncio.run(world.ask(ShowCertificate("BMS-000002"), "auditor", CertificateShown))
    assert asked.status == "revoked"


@pytest.mark.req("T5", "CA-9")
def test_a_lost_row_is_missed_at_the_next_question_and_the_next_start(factory_world: World) -> None:
    world = factory_world
    issue(world, 1)
    revoke(world, "BMS-000001")
    write_sql(world, "DELETE FROM revocation")
    answer = asyncio.run(world.try_ask(ShowCertificate("BMS-000001"), "auditor"))
    assert isinstance(answer, Problem)
    assert answer.code == "journal-forked"
    assert refusal(world, serial="BMS-000001") == "journal-forked"
    world.stop()
    with pytest.raises(Exception, match="revocation: 0 for 1"):
        world.start()


@pytest.mark.engines
def test_other_flows_revoke_in_their_own_commit(factory_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world, room = factory_world, factory_world.room
    issue(world, 1, 2, 3)
    revoke(world, "BMS-000002")
    monkeypatch.setattr(revocations, "NUMBERS_EACH", 1)
    own = entries.event("quota.close", BY, {"work_order": "wo-1"})

    def close() -> None:
        issued = [find_by_serial(room, f"BMS-00000{number}") for number in (1, 2, 3)]
        words = revoke_changes(room, [*issued, issued[0]], Grounds("superseded", "unconfirmed"), BY, {"chg": "CHG-1"})
        room.ledger.commit(
            lambda _: [*words.drafts, own], lambda placed: (words.changes(placed), ()), settles=room.ledger.settled
        )

    act(world, close)
    mine = entries_of(world)[1:]
    assert [len(leaf["op"]["what"]["numbers"]) for leaf in mine] == [1, 1]
    assert {leaf["chg"] for leaf in mine} == {"CHG-1"}
    rows = room.store.list(RevocationRow, "seq")
    assert [row["reason"] for row in rows] == ["keyCompromise", "superseded", "superseded"]
    assert [row["seq"] for row in rows][1:] == [leaf["seq"] for leaf in mine]
    nothing = act(world, lambda: revoke_changes(room, [find_by_serial(room, "BMS-000001")], Grounds("superseded"), BY))
    assert (nothing.drafts, nothing.changes([])) == ([], [])


def test_grounds_have_a_reason_of_the_standard() -> None:
    with pytest.raises(ReasonUnknown):
        Grounds("because")
